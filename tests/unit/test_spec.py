"""openapi.yaml holds every fact of the two documented pages, and each thing in it says where it comes from.

The tables below repeat the pages, not the spec: what they say was read off the pages a second time.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema_rs import validator_for
from openapi_spec_validator import validate
from ruamel.yaml import YAML

import huaweicloud_retry_client

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "openapi.yaml").read_text(encoding="utf-8")
SPEC: dict[str, Any] = yaml.safe_load(TEXT)
SCRIPT = SPEC["paths"]["/v2/{project_id}/script-executions/retry"]
ENGINE = SPEC["paths"]["/v2/{project_id}/enginemgr/engines/{engine_id}/actions"]


def resolved(node: Any) -> Any:
    """Follow `$ref` once, at the top of the node."""
    if "$ref" not in node:
        return node
    target: Any = SPEC
    for part in node["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return target


def body_schema(content: dict[str, Any], media_type: str) -> Any:
    return resolved(content["content"][media_type]["schema"])


def walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


def test_is_valid_openapi_31() -> None:
    validate(SPEC)
    assert SPEC["openapi"].startswith("3.1.")


def test_reads_the_same_to_the_generators_parser_and_to_the_mocks() -> None:
    # The generator reads YAML 1.2 (ruamel), the mock YAML 1.1 (PyYAML): an unquoted `no` or 1_000 would part them.
    assert YAML(typ="safe", pure=True).load(TEXT) == SPEC


def test_has_exactly_the_two_operations() -> None:
    found = {
        (path, method, operation["operationId"], *operation["tags"])
        for path, item in SPEC["paths"].items()
        for method, operation in item.items()
        if method in {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
    }
    assert found == {
        ("/v2/{project_id}/script-executions/retry", "post", "RetryScriptExecution", "Workspace"),
        ("/v2/{project_id}/enginemgr/engines/{engine_id}/actions", "put", "RetryEngine", "CSE"),
    }


@pytest.mark.parametrize(
    ("holder", "place", "name", "mandatory", "description"),
    [
        (SCRIPT, "path", "project_id", True, "Project ID."),
        (ENGINE, "path", "project_id", True, "Project ID."),
        (ENGINE, "path", "engine_id", True, "Engine ID."),
        (
            ENGINE["put"],
            "header",
            "X-Enterprise-Project-ID",
            False,
            "If this parameter is not set, the default enterprise project is default and the ID is 0.",
        ),
    ],
)
def test_parameters(holder: Any, place: str, name: str, mandatory: bool, description: str) -> None:
    parameters = [resolved(parameter) for parameter in holder["parameters"]]
    (parameter,) = [p for p in parameters if p["name"] == name]
    assert (parameter["in"], parameter["required"]) == (place, mandatory)
    assert parameter["schema"]["type"] == "string"
    assert description in parameter["description"]
    assert parameter["schema"]["description"] == parameter["description"]


def test_the_enterprise_project_has_no_default_that_a_client_would_send() -> None:
    header = SPEC["components"]["parameters"]["EnterpriseProjectId"]
    assert "default" not in header["schema"]
    assert header["x-server-default"] == "0"


def test_either_a_token_or_a_signature_authenticates_each_operation() -> None:
    assert SCRIPT["post"]["security"] == ENGINE["put"]["security"] == [{"AuthToken": []}, {"Signature": []}]
    token = SPEC["components"]["securitySchemes"]["AuthToken"]
    assert (token["in"], token["name"]) == ("header", "X-Auth-Token")
    for fact in ("X-Subject-Token", "/v3/auth/tokens", "24 hours", "not\nmandatory", "CSE page that it is"):
        assert re.sub(r"\s+", " ", fact) in re.sub(r"\s+", " ", token["description"])


def test_script_request_body() -> None:
    schema = body_schema(SCRIPT["post"]["requestBody"], "application/json")
    assert {name: (p["type"], p["description"]) for name, p in schema["properties"].items()} == {
        "record_id": ("string", "Script execution record ID."),
        "task_id": ("string", "Script execution task ID."),
    }
    assert "required" not in schema  # both "No" on the page
    assert SCRIPT["post"]["requestBody"]["x-page-example"] == {"record_id": [{"record_id": "record_id"}]}


def test_engine_request_body() -> None:
    schema = body_schema(ENGINE["put"]["requestBody"], "application/json;charset=UTF-8")
    assert schema["required"] == ["action"]
    assert schema["properties"]["action"]["const"] == schema["properties"]["action"]["default"] == "Retry"
    assert "Operation type." in schema["properties"]["action"]["description"]
    examples = ENGINE["put"]["requestBody"]["content"]["application/json;charset=UTF-8"]["examples"]
    assert {"action": "Retry"} in [example["value"] for example in examples.values()]


def test_answers_200() -> None:
    script = SCRIPT["post"]["responses"]["200"]
    schema = body_schema(script, "application/json")
    assert schema["required"] == ["task_id"]
    assert schema["properties"]["task_id"]["type"] == "string"
    assert schema["properties"]["task_id"]["description"] == "Script execution task ID."
    assert script["description"] == "Response to the request for retrying a script."
    assert {"task_id": "0000000059071dbc01591661d3990019"} in values(script)

    engine = ENGINE["put"]["responses"]["200"]
    schema = body_schema(engine, "application/json")
    assert schema["required"] == ["id", "name", "jobId"]
    assert {n: (p["type"], p.get("format"), p["description"]) for n, p in schema["properties"].items()} == {
        "id": ("string", None, "Microservice engine ID."),
        "name": ("string", None, "Microservice engine name."),
        "jobId": ("integer", "int32", "ID of the job executed by a microservice engine."),
    }
    assert engine["description"].startswith("OK")
    assert "Response body for retrying an exclusive ServiceComb engine job." in engine["description"]
    assert {"id": "string", "name": "string", "jobId": 0} in values(engine)


def values(response: dict[str, Any]) -> list[Any]:
    return [resolved(example)["value"] for example in response["content"]["application/json"]["examples"].values()]


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        ("400", "The request cannot be understood by the server due to malformed syntax."),
        ("401", "Authentication failed."),
        ("403", "No operation permissions."),
        ("404", "No resources found."),
        ("405", "The method specified in the request is not allowed."),
        ("500", "An internal service error occurred. For details, see the error code description."),
        ("503", "Service unavailable."),
    ],
)
def test_script_errors(status: str, meaning: str) -> None:
    response = SCRIPT["post"]["responses"][status]
    assert response["description"] == meaning
    assert response["x-source"] == "workspace-page"
    assert body_schema(response, "application/json")["required"] == ["error_code", "error_msg"]


@pytest.mark.parametrize(("status", "meaning"), [("400", "Bad Request"), ("500", "Internal Server Error")])
def test_engine_errors(status: str, meaning: str) -> None:
    response = ENGINE["put"]["responses"][status]
    assert response["description"].startswith(meaning)
    assert response["x-source"] == "cse-page"
    schema = body_schema(response, "application/json")
    assert schema["required"] == ["error_code", "error_msg"]
    assert schema["properties"]["detail"]["description"].startswith("Location details.")


@pytest.mark.parametrize(
    ("responses", "statuses"),
    [
        (SCRIPT["post"]["responses"], {"413", "414", "429", "494", "502", "504"}),
        (
            ENGINE["put"]["responses"],
            {"401", "403", "404", "405", "413", "414", "429", "494", "502", "503", "504"},
        ),
    ],
    ids=["script", "engine"],
)
def test_gateway_statuses_are_marked_as_such(responses: dict[str, Any], statuses: set[str]) -> None:
    by_gateway = {status for status, response in responses.items() if resolved(response)["x-source"] == "gateway-docs"}
    assert by_gateway == statuses
    for status in statuses:
        schema = body_schema(resolved(responses[status]), "application/json")
        assert {"error_code", "error_msg", "request_id"} <= schema["properties"].keys()


def test_no_default_response_would_make_every_status_documented() -> None:
    assert all("default" not in o["responses"] for o in (SCRIPT["post"], ENGINE["put"]))


def test_iam_actions() -> None:
    assert SCRIPT["post"]["x-iam-action"]["action"] == "workspace:scripts:retry"
    action = ENGINE["put"]["x-iam-action"]
    assert (action["action"], action["access-level"], action["resource-type"]) == (
        "cse:engine:update",
        "write",
        "engine",
    )


@pytest.mark.parametrize(
    ("path", "host", "count", "only_here"),
    [
        (SCRIPT, "https://workspace.{region}.myhuaweicloud.com", 18, {"af-north-1", "eu-west-101"}),
        (ENGINE, "https://cse.{region}.myhuaweicloud.com", 27, {"cn-north-1", "my-kualalumpur-1", "ru-moscow-1"}),
    ],
    ids=["workspace", "cse"],
)
def test_one_server_a_path_with_the_sdks_regions(path: Any, host: str, count: int, only_here: set[str]) -> None:
    (server,) = path["servers"]
    region = server["variables"]["region"]
    assert server["url"] == host
    assert len(set(region["enum"])) == len(region["enum"]) == count
    assert only_here <= set(region["enum"])
    assert region["default"] in region["enum"]


def test_objects_stay_open_to_unknown_fields() -> None:
    assert not any("additionalProperties" in node for node in walk(SPEC))


def test_every_example_keeps_its_schema() -> None:
    checked = 0
    for media in (node for node in walk(SPEC) if "examples" in node and "schema" in node):
        schema = {**resolved(media["schema"]), "components": SPEC["components"]}
        for example in media["examples"].values():
            validator_for(schema).validate(resolved(example)["value"])
            checked += 1
    assert checked >= 30


def test_every_source_named_is_in_the_legend() -> None:
    named = {node["x-source"] for node in walk(SPEC) if "x-source" in node}
    assert named == set(SPEC["info"]["x-sources"]), "each source explained, and none explained for nothing"


@pytest.mark.parametrize(
    "contradiction",
    [
        "array of objects",  # record_id
        "500 on another",  # 0103 to 0105
        "`job_id`",  # jobId
        "the API definition and the SDK do not",  # CSE detail
        "errorCode and errorMessage",
        "The SDK sends plain `application/json`",
        "the SDK sends it for neither",  # X-Auth-Token
        "`.com` where Terraform's provider says `.eu`",
        "na-mexico-1, which the SDK does not",
        'English error code page gives "Bad Request"',
        "WKS.00211102 has two",
        "come with status 200",
        "general status page lists 404",
    ],
)
def test_contradictions_are_said_where_they_apply(contradiction: str) -> None:
    assert contradiction in re.sub(r"\s+", " ", TEXT)


def test_the_version_is_stated_once() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in pyproject["project"]
    assert pyproject["tool"]["hatch"]["version"]["path"] == "openapi.yaml"
    assert huaweicloud_retry_client.__version__ == SPEC["info"]["version"]
