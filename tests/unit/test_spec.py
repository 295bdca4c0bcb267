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
from ruamel.yaml import YAML

import huaweicloud_retry_client
from document import Document, openapi_problems

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "openapi.yaml").read_text(encoding="utf-8")
SPEC: dict[str, Any] = yaml.safe_load(TEXT)
SCRIPT = SPEC["paths"]["/v2/{project_id}/script-executions/retry"]
ENGINE = SPEC["paths"]["/v2/{project_id}/enginemgr/engines/{engine_id}/actions"]
METHODS = "get", "put", "post", "delete", "options", "head", "patch", "trace"
OPERATIONS = {
    operation["operationId"]: (path, method, operation)
    for path, item in SPEC["paths"].items()
    for method, operation in item.items()
    if method in METHODS
}
each_operation = pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS.values(), ids=OPERATIONS)


def resolved(node: Any) -> Any:
    """Follow `$ref` once, at the top of the node."""
    if "$ref" not in node:
        return node
    target: Any = SPEC
    for part in node["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return target


def schema_of(body: dict[str, Any], media_type: str = "application/json") -> Any:
    return resolved(body["content"][media_type]["schema"])


def examples_of(body: dict[str, Any], media_type: str = "application/json") -> list[Any]:
    return [resolved(example)["value"] for example in body["content"][media_type]["examples"].values()]


def fields(schema: Any, *keys: str) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(field.get(key) for key in keys) for name, field in schema["properties"].items()}


def walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_is_valid_openapi_31() -> None:
    assert [*openapi_problems(Document("openapi.yaml"))] == []
    assert SPEC["openapi"].startswith("3.1.")


def test_reads_the_same_to_the_generators_parser_and_to_the_mocks() -> None:
    # The generator reads YAML 1.2 (ruamel), the mock YAML 1.1 (PyYAML): an unquoted `no` or 1_000 would part them.
    assert YAML(typ="safe", pure=True).load(TEXT) == SPEC


def test_two_operations_act_and_all_others_only_read() -> None:
    acting = {(path, method, id_) for id_, (path, method, _) in OPERATIONS.items() if method != "get"}
    assert acting == {
        ("/v2/{project_id}/script-executions/retry", "post", "RetryScriptExecution"),
        ("/v2/{project_id}/enginemgr/engines/{engine_id}/actions", "put", "RetryEngine"),
    }


@each_operation
def test_the_description_says_which_operations_act_and_which_only_read(path: str, method: str, operation: Any) -> None:
    acting, reading = re.split(r"\w+ only reads?,", SPEC["info"]["description"])
    line = rf"\| `{operation['operationId']}` \| {operation['tags'][0]}( \(.*\))? \| `{method.upper()} {re.escape(path)}` \|"
    assert re.search(line, reading if method == "get" else acting)


DEFAULT = "If this parameter is not set, the default enterprise project is default and the ID is 0."


@pytest.mark.parametrize(
    ("holder", "place", "name", "mandatory", "description"),
    [
        (SCRIPT, "path", "project_id", True, "Project ID."),
        (ENGINE, "path", "project_id", True, "Project ID."),
        (ENGINE, "path", "engine_id", True, "Engine ID."),
        (ENGINE["put"], "header", "X-Enterprise-Project-ID", False, DEFAULT),
    ],
    ids=["script project", "engine project", "engine", "enterprise project"],
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
    for _, _, operation in OPERATIONS.values():
        assert operation["security"] == [{"AuthToken": []}, {"Signature": []}]
    token = SPEC["components"]["securitySchemes"]["AuthToken"]
    assert (token["in"], token["name"]) == ("header", "X-Auth-Token")
    for fact in ("X-Subject-Token", "/v3/auth/tokens", "24 hours", "not mandatory", "CSE page that it is"):
        assert fact in flat(token["description"])


def test_script_request_body() -> None:
    body = SCRIPT["post"]["requestBody"]
    assert fields(schema_of(body), "type", "description") == {
        "record_id": ("string", "Script execution record ID."),
        "task_id": ("string", "Script execution task ID."),
    }
    assert "required" not in schema_of(body)  # both "No" on the page
    assert body["x-page-example"] == {"record_id": [{"record_id": "record_id"}]}


def test_engine_request_body() -> None:
    body, media_type = ENGINE["put"]["requestBody"], "application/json;charset=UTF-8"
    schema = schema_of(body, media_type)
    assert schema["required"] == ["action"]
    assert fields(schema, "const", "default") == {"action": ("Retry", "Retry")}
    assert "Operation type." in schema["properties"]["action"]["description"]
    assert {"action": "Retry"} in examples_of(body, media_type)


def test_script_response() -> None:
    response = SCRIPT["post"]["responses"]["200"]
    schema = schema_of(response)
    assert schema["required"] == ["task_id"]
    assert fields(schema, "type", "description")["task_id"] == ("string", "Script execution task ID.")
    assert response["description"] == "Response to the request for retrying a script."
    assert {"task_id": "0000000059071dbc01591661d3990019"} in examples_of(response)


def test_engine_response() -> None:
    response = ENGINE["put"]["responses"]["200"]
    schema = schema_of(response)
    assert schema["required"] == ["id", "name", "jobId"]
    assert fields(schema, "type", "format", "description") == {
        "id": ("string", None, "Microservice engine ID."),
        "name": ("string", None, "Microservice engine name."),
        "jobId": ("integer", "int32", "ID of the job executed by a microservice engine."),
    }
    assert response["description"].startswith("OK")
    assert "Response body for retrying an exclusive ServiceComb engine job." in response["description"]
    assert {"id": "string", "name": "string", "jobId": 0} in examples_of(response)


def test_script_errors() -> None:
    responses = {status: resolved(each) for status, each in SCRIPT["post"]["responses"].items() if status != "200"}
    responses = {status: each for status, each in responses.items() if each["x-source"] == "workspace-page"}
    assert {status: each["description"] for status, each in responses.items()} == {
        "400": "The request cannot be understood by the server due to malformed syntax.",
        "401": "Authentication failed.",
        "403": "No operation permissions.",
        "404": "No resources found.",
        "405": "The method specified in the request is not allowed.",
        "500": "An internal service error occurred. For details, see the error code description.",
        "503": "Service unavailable.",
    }
    for each in responses.values():
        assert schema_of(each)["required"] == ["error_code", "error_msg"]


@pytest.mark.parametrize(("status", "meaning"), [("400", "Bad Request"), ("500", "Internal Server Error")])
def test_engine_errors(status: str, meaning: str) -> None:
    response = resolved(ENGINE["put"]["responses"][status])
    assert response["description"].startswith(meaning)
    assert response["x-source"] == "cse-page"
    assert schema_of(response)["required"] == ["error_code", "error_msg"]
    assert schema_of(response)["properties"]["detail"]["description"].startswith("Location details.")


@pytest.mark.parametrize(
    ("operation", "statuses"),
    [
        (SCRIPT["post"], {"413", "414", "429", "494", "502", "504"}),
        (ENGINE["put"], {"401", "403", "404", "405", "413", "414", "429", "494", "502", "503", "504"}),
    ],
    ids=["script", "engine"],
)
def test_gateway_statuses_are_marked_as_such(operation: dict[str, Any], statuses: set[str]) -> None:
    responses = {status: resolved(response) for status, response in operation["responses"].items()}
    assert {status for status, each in responses.items() if each["x-source"] == "gateway-docs"} == statuses
    for status in statuses:
        assert {"error_code", "error_msg", "request_id"} <= schema_of(responses[status])["properties"].keys()


@each_operation
def test_each_operation_has_the_statuses_of_the_gateway_and_no_default(path: str, method: str, operation: Any) -> None:
    body = {"413"} if "requestBody" in operation else set[str]()
    assert {"200", "400", "401", "403", "404", "405", "414", "429", "494", *body} <= operation["responses"].keys()
    assert {"500", "502", "503", "504"} <= operation["responses"].keys()
    assert "default" not in operation["responses"], "it would make every status a documented one"


@each_operation
def test_each_operation_names_its_iam_action_and_its_page(path: str, method: str, operation: Any) -> None:
    action = operation["x-iam-action"]["action"]
    assert action.startswith("cse:engine:" if operation["tags"] == ["CSE"] else "workspace:scripts:")
    assert f"IAM action: {action}" in operation["description"]
    assert "Official page: https://support.huaweicloud.com/" in operation["description"]


def test_iam_actions() -> None:
    assert SCRIPT["post"]["x-iam-action"]["action"] == "workspace:scripts:retry"
    action = ENGINE["put"]["x-iam-action"]
    found = action["action"], action["access-level"], action["resource-type"]
    assert found == ("cse:engine:update", "write", "engine")


HOSTS = {
    "Workspace": ("https://workspace.{region}.myhuaweicloud.com", 18, {"af-north-1", "eu-west-101"}),
    "CSE": ("https://cse.{region}.myhuaweicloud.com", 27, {"cn-north-1", "my-kualalumpur-1", "ru-moscow-1"}),
}


@each_operation
def test_one_server_a_path_with_the_sdks_regions(path: str, method: str, operation: Any) -> None:
    host, count, only_here = HOSTS[operation["tags"][0]]
    (server,) = SPEC["paths"][path]["servers"]
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


CONTRADICTIONS = [
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
    "do not agree with each other",  # statuses of script records
    "Modify in the API definition is Configure",
    "PreInit is on the page of the job list only",
    "The pages of 2026 say String",  # times of script records
]


def test_contradictions_are_said_where_they_apply() -> None:
    assert [each for each in CONTRADICTIONS if each not in flat(TEXT)] == []


def test_the_version_is_stated_once() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in pyproject["project"]
    assert pyproject["tool"]["hatch"]["version"]["path"] == "openapi.yaml"
    assert huaweicloud_retry_client.__version__ == SPEC["info"]["version"]
