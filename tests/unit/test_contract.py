"""The contract: what of openapi.yaml is checked, how a message that breaks it is described, which specs are refused."""

import copy
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from huaweicloud_retry.contract import Contract, Match, Operation, SpecError, WrongMethod

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "openapi.yaml"
DOCUMENT = yaml.safe_load(SPEC.read_bytes())
CONTRACT = Contract.load()
ENGINE = "/v2/demo-project/enginemgr/engines/e1/actions"
SCRIPT = "/v2/demo-project/script-executions/retry"
JSON = {"Content-Type": "application/json"}


def operation(contract: Contract, operation_id: str) -> Operation:
    (found,) = (o for o in contract.operations if o.id == operation_id)
    return found


RETRY_ENGINE = operation(CONTRACT, "RetryEngine")
RETRY_SCRIPT = operation(CONTRACT, "RetryScriptExecution")


def engine_request(
    body: bytes = b'{"action": "Retry"}',
    headers: Mapping[str, str] = JSON,
    path: Mapping[str, str] | None = None,
) -> list[str]:
    """What is wrong with a request to RetryEngine, one line each."""
    params = {"project_id": "demo-project", "engine_id": "e1", **(path or {})}
    return [str(problem) for problem in RETRY_ENGINE.check_request(params, "", headers, body).problems]


def script_request(body: bytes) -> list[str]:
    return [
        str(p) for p in RETRY_SCRIPT.check_request({"project_id": "demo-project"}, "", JSON, body).problems
    ]


def answer(status: int, body: object, headers: dict[str, str] = JSON) -> list[str]:
    """What is wrong with an answer of RetryEngine."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [str(problem) for problem in RETRY_ENGINE.check_response(status, headers, content)]


# --- Which operation a request is for ---------------------------------------------------------------------------------


def test_the_contract_names_its_spec() -> None:
    assert (CONTRACT.title, CONTRACT.version) == (DOCUMENT["info"]["title"], DOCUMENT["info"]["version"])
    assert CONTRACT.sha256 == hashlib.sha256(SPEC.read_bytes()).hexdigest()
    assert Path(CONTRACT.source) == SPEC


def test_it_has_every_operation_of_the_spec() -> None:
    assert {(o.id, o.method, o.path, o.tags) for o in CONTRACT.operations} == {
        (operation["operationId"], method.upper(), path, tuple(operation["tags"]))
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method in {"get", "put", "post", "delete"}
    }


def test_a_token_or_a_signature_authenticates() -> None:
    assert {o.security for o in CONTRACT.operations} == {(frozenset({"AuthToken"}), frozenset({"Signature"}))}


def test_a_request_is_matched_by_method_and_path() -> None:
    assert CONTRACT.match("PUT", ENGINE) == Match(
        RETRY_ENGINE, {"project_id": "demo-project", "engine_id": "e1"}
    )
    assert CONTRACT.match("POST", SCRIPT) == Match(RETRY_SCRIPT, {"project_id": "demo-project"})


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "HEAD", "put", "BREW"])
def test_another_method_is_told_from_another_path(method: str) -> None:
    found = CONTRACT.match(method, ENGINE)
    assert isinstance(found, WrongMethod)
    assert found.allowed == "PUT"
    assert found.operations == (RETRY_ENGINE,)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "*",
        "/v2",
        f"{ENGINE}/",
        f"/{ENGINE}",
        f"{ENGINE}/x",
        ENGINE.upper(),
        f"{ENGINE}%2F",
        f"{ENGINE}\n",
    ],
)
def test_a_path_that_the_spec_does_not_have(path: str) -> None:
    assert CONTRACT.match("PUT", path) is None


@pytest.mark.parametrize(
    ("raw", "engine_id"),
    [
        ("a%2Fb", "a/b"),
        ("%2e%2e", ".."),
        ("a%20b+c", "a b+c"),
        ("%E5%BC%95%E6%93%8E", "引擎"),
        ("a;b=c,d", "a;b=c,d"),
        ("a%252Fb", "a%2Fb"),
    ],
)
def test_a_segment_is_decoded_once_and_after_the_path_is_split(raw: str, engine_id: str) -> None:
    found = CONTRACT.match("PUT", f"/v2/p/enginemgr/engines/{raw}/actions")
    assert isinstance(found, Match)
    assert found.path_params["engine_id"] == engine_id


def test_a_segment_that_is_not_utf_8_is_refused_when_checked() -> None:
    found = CONTRACT.match("PUT", "/v2/p/enginemgr/engines/%ff/actions")
    assert isinstance(found, Match)
    assert engine_request(path=found.path_params) == ["path engine_id: is not UTF-8 once percent-decoded"]


def test_an_empty_segment_is_that_parameter_left_empty() -> None:
    found = CONTRACT.match("PUT", "/v2//enginemgr/engines/e1/actions")
    assert isinstance(found, Match)
    (problem,) = found.operation.check_request(found.path_params, "", JSON, b'{"action": "Retry"}').problems
    assert str(problem) == "path project_id: is empty"


# --- Requests ---------------------------------------------------------------------------------------------------------


def test_the_bodies_that_the_spec_shows_keep_the_contract() -> None:
    assert engine_request(b'{"action": "Retry"}') == []
    assert script_request(b'{"record_id": "0000000059071dbc01591661d3990020"}') == []
    assert script_request(b'{"task_id": "0000000059071dbc01591661d3990019"}') == []


def test_a_checked_request_has_the_parsed_body() -> None:
    checked = RETRY_SCRIPT.check_request(
        {"project_id": "p"}, "", JSON, b' {"record_id": "r", "new": [1.5, null]} '
    )
    assert checked.problems == []
    assert checked.body == {"record_id": "r", "new": [1.5, None]}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "body: is empty; application/json is needed"),
        (b" ", "body: is not JSON: Expecting value, line 1 column 2"),
        (b'{"action": "Retry"', "body: is not JSON: Expecting ',' delimiter, line 1 column 19"),
        (b'{"action": "Retry"} x', "body: is not JSON: Extra data, line 1 column 21"),
        (b"action=Retry", "body: is not JSON: Expecting value, line 1 column 1"),
        (b'{"action": "Retr\xff"}', "body: is not UTF-8: invalid start byte at byte 16"),
        ('{"action": "Retry"}'.encode("utf-16"), "body: is not UTF-8: invalid start byte at byte 0"),
        (b'{"action": "Retry", "n": NaN}', "body: is not JSON: NaN is no number"),
        (b'{"action": "Retry", "n": -Infinity}', "body: is not JSON: -Infinity is no number"),
        (b'{"action": "No", "action": "Retry"}', 'body: has the field "action" twice in one object'),
        (b'{"action": "Retry", "x": [{"a": 1, "a": 1}]}', 'body: has the field "a" twice in one object'),
        (b'{"action": "\\ud800"}', "body: has half a surrogate pair (\\ud800 to \\udfff), which is no text"),
        (
            b'{"action": "Retry", "\\uDFFF": 1}',
            "body: has half a surrogate pair (\\ud800 to \\udfff), which is no text",
        ),
        (b'{"action": ' + b"9" * 5000 + b"}", "body: has a number with more than 4300 digits"),
        (b"[" * 100_000, "body: is nested too deeply"),
        (b'{"action": ' + b"[" * 500 + b"]" * 500 + b"}", "body: is nested too deeply"),
    ],
)
def test_a_body_that_cannot_be_read_is_malformed(body: bytes, problem: str) -> None:
    (found,) = RETRY_ENGINE.check_request({"project_id": "p", "engine_id": "e"}, "", JSON, body).problems
    assert str(found) == problem
    assert found.malformed


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{}", 'body: "action" is a required property'),
        (b"null", 'body: null is not of type "object"'),
        (b"[]", 'body: [] is not of type "object"'),
        (b'{"action": "retry"}', 'body /action: "Retry" was expected'),
        (b'{"action": null}', 'body /action: "Retry" was expected'),
        (b'{"action": ["Retry"]}', 'body /action: "Retry" was expected'),
    ],
)
def test_a_body_that_breaks_the_schema_is_not_malformed_and_is_pointed_into(
    body: bytes, problem: str
) -> None:
    (found,) = RETRY_ENGINE.check_request({"project_id": "p", "engine_id": "e"}, "", JSON, body).problems
    assert str(found) == problem
    assert not found.malformed


def test_every_problem_is_told_at_once() -> None:
    assert script_request(b'{"record_id": "", "task_id": 5}') == [
        'body /record_id: "" is shorter than 1 character',
        'body /task_id: 5 is not of type "string"',
    ]
    assert len(engine_request(b"{}", JSON | {"X-Enterprise-Project-ID": ""}, {"project_id": "x" * 65})) == 3


def test_surrogate_pairs_and_unknown_fields_are_fine() -> None:
    assert engine_request(b'{"action": "Retry", "\\ud83d\\ude00": "\\uD83D\\uDE00", "n": 1e999}') == []


@pytest.mark.parametrize("length", [100, 1_000_000])
def test_a_problem_quotes_little_of_what_was_sent_and_keeps_the_reason(length: int) -> None:
    (problem,) = script_request(json.dumps({"record_id": "a" * length}).encode())
    assert problem.startswith('body /record_id: "aaa')
    assert problem.endswith("is longer than 64 characters")
    assert len(problem) < 250


def test_no_problem_quotes_a_value_where_that_was_asked_for() -> None:
    hiding = operation(Contract.load(hide_values=True), "RetryEngine")
    params = {"project_id": "p" * 65, "engine_id": ""}
    problems = hiding.check_request(params, "", JSON, b'{"action": "s3cret"}').problems
    assert [str(problem) for problem in problems] == [
        "path project_id: the value is longer than 64 characters",
        "path engine_id: is empty",
        'body /action: "Retry" was expected',
    ]
    (problem,) = hiding.check_response(400, JSON, b'{"error_code": {"s3cret": "s3cret"}, "error_msg": ""}')
    assert str(problem) == 'body /error_code: the value is not of type "string"'


def test_of_very_many_problems_a_few_are_told(tmp_path: Path) -> None:
    schema = {"type": "array", "items": {"type": "string"}}
    listing = operation(edited(tmp_path, with_body(schema)), "RetryEngine")
    checked = listing.check_request(
        {"project_id": "p", "engine_id": "e"}, "", JSON, json.dumps([1] * 1000).encode()
    )
    assert [str(problem) for problem in checked.problems[:2]] == [
        'body /0: 1 is not of type "string"',
        'body /1: 1 is not of type "string"',
    ]
    assert len(checked.problems) == 10


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json;charset=UTF-8",
        "application/json; charset=utf-8",
        'application/json ; CHARSET="Utf-8"',
        "application/json;charset=utf8",
        "APPLICATION/JSON",
        "application/json;",
        "application/json; profile=x",
        "application/merge-patch+json",
    ],
)
@pytest.mark.parametrize("name", ["Content-Type", "content-type", "CONTENT-TYPE"])
def test_every_json_media_type_in_utf_8_passes(content_type: str, name: str) -> None:
    assert engine_request(headers={name: content_type}) == []


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({}, "header Content-Type: is missing; the body must be application/json"),
        ({"Content-Type": ""}, "header Content-Type: '' is invalid; the body must be application/json"),
        (
            {"Content-Type": "text/json; key=s3cret"},
            "header Content-Type: 'text/json' is invalid; the body must be application/json",
        ),
        (
            {"Content-Type": "application/jsonp"},
            "header Content-Type: 'application/jsonp' is invalid; the body must be application/json",
        ),
        (
            {"Content-Type": "application/json;charset=ISO-8859-1"},
            "header Content-Type: the charset is invalid; JSON is UTF-8",
        ),
        (
            {"Content-Type": "application/json;charset"},
            "header Content-Type: the charset is invalid; JSON is UTF-8",
        ),
    ],
)
def test_other_media_types_and_charsets_do_not(headers: dict[str, str], problem: str) -> None:
    assert engine_request(headers=headers) == [problem]


@pytest.mark.parametrize(
    ("path", "problems"),
    [
        ({"engine_id": "x" * 64}, []),
        ({"engine_id": "x" * 65}, [f'path engine_id: "{"x" * 65}" is longer than 64 characters']),
        ({"project_id": ""}, ["path project_id: is empty"]),
        ({"engine_id": "\udcff"}, ["path engine_id: is not UTF-8 once percent-decoded"]),
        ({"engine_id": "引" * 64}, []),
    ],
)
def test_path_parameters(path: dict[str, str], problems: list[str]) -> None:
    assert engine_request(path=path) == problems


@pytest.mark.parametrize("name", ["X-Enterprise-Project-ID", "x-enterprise-project-id"])
def test_header_parameters(name: str) -> None:
    assert engine_request(headers=JSON) == []
    assert engine_request(headers={**JSON, name: "0"}) == []
    assert engine_request(headers={**JSON, name: ""}) == [
        'header X-Enterprise-Project-ID: "" is shorter than 1 character'
    ]
    assert engine_request(headers={**JSON, name: "0" * 65}) == [
        f'header X-Enterprise-Project-ID: "{"0" * 65}" is longer than 64 characters'
    ]


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_body_whatever_makes_the_check_fail(body: bytes) -> None:
    problems = RETRY_ENGINE.check_request({"project_id": "p", "engine_id": "e"}, "", JSON, body).problems
    assert all(len(str(problem)) < 500 for problem in problems)


# --- Answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("each", CONTRACT.operations, ids=lambda each: each.id)
def test_every_example_of_the_spec_keeps_the_contract(each: Operation) -> None:
    responses = DOCUMENT["paths"][each.path][each.method.lower()]["responses"]
    checked = 0
    for status, response in responses.items():
        shared = DOCUMENT["components"]["responses"].get(response.get("$ref", "").rpartition("/")[2])
        for name in (shared or response)["content"]["application/json"]["examples"]:
            body = json.dumps(each.example(int(status), name).body).encode()
            assert each.check_response(int(status), JSON, body) == [], (status, name)
            checked += 1
    assert checked > len(responses)


@pytest.mark.parametrize(
    ("status", "body", "problems"),
    [
        (200, {"id": "e1", "name": "n", "jobId": 2**31 - 1}, []),
        (200, {"id": "e1", "name": "n", "jobId": -(2**31)}, []),
        (200, {"id": "e1", "name": "n", "jobId": 2**31}, ["body /jobId: 2147483648 is greater than the maximum of 2147483647"]),
        (200, {"id": "e1", "name": "n", "jobId": -(2**31) - 1}, ["body /jobId: -2147483649 is less than the minimum of -2147483648"]),
        (200, {"id": "e1", "name": "n", "jobId": "7"}, ['body /jobId: "7" is not of type "integer"']),
        (200, {"id": "e1", "name": "n"}, ['body: "jobId" is a required property']),
        (200, b"", ["body: is empty; application/json is needed"]),
        (200, b"<html>", ["body: is not JSON: Expecting value, line 1 column 1"]),
        (400, {"error_code": "X", "error_msg": "m", "detail": "d", "more": 1}, []),
        (400, {"error_code": 1}, ['body: "error_msg" is a required property', 'body /error_code: 1 is not of type "string"']),
        (504, {"error_code": "X", "error_msg": "m"}, []),
    ],
)  # fmt: skip
def test_answers(status: int, body: object, problems: list[str]) -> None:
    assert sorted(answer(status, body)) == sorted(problems)


def test_an_undocumented_status_is_a_problem() -> None:
    (problem,) = answer(418, {"error_code": "X", "error_msg": "m"})
    assert problem.startswith("status: 418 is not documented; documented are 200, 400, 401, ")


def test_documented_headers_of_an_answer_are_checked(tmp_path: Path) -> None:
    def with_header(spec: Any) -> None:
        spec["components"]["headers"]["RetryAfter"] = {"required": True, "schema": {"type": "integer"}}

    retry = operation(edited(tmp_path, with_header), "RetryEngine")

    def problems(**headers: str) -> list[str]:
        body = json.dumps(retry.example(429).body).encode()
        return [str(problem) for problem in retry.check_response(429, JSON | headers, body)]

    assert problems(**{"retry-after": "5"}) == []
    assert problems(**{"Retry-After": "soon"}) == ['header Retry-After: "soon" is not of type "integer"']
    assert problems() == ["header Retry-After: is missing"]


def test_an_answer_must_say_that_it_is_json() -> None:
    assert answer(400, b'{"error_code": "X", "error_msg": "m"}', {"content-type": "text/html"}) == [
        "header Content-Type: 'text/html' is invalid; the body must be application/json"
    ]


# --- Examples ---------------------------------------------------------------------------------------------------------


def test_an_example_is_found_by_name_or_the_first_is_taken() -> None:
    assert RETRY_ENGINE.example(200) == RETRY_ENGINE.example(200, "accepted")
    assert RETRY_ENGINE.example(200, "page").body == {"id": "string", "name": "string", "jobId": 0}
    wrong = RETRY_ENGINE.example(401).body
    assert isinstance(wrong, dict)
    assert wrong["error_code"] == "APIGW.0301"  # behind three references


@pytest.mark.parametrize(
    ("status", "name", "message"),
    [
        (200, "nope", "RetryEngine has no example 'nope' for status 200; it has: accepted, page"),
        (
            418,
            None,
            "RetryEngine documents no status 418; it has: 200, 400, 401, 403, 404, 405, 413, 414, 429, 494, 500, 502, 503, 504",
        ),
    ],
)
def test_an_example_that_the_spec_does_not_have(status: int, name: str | None, message: str) -> None:
    with pytest.raises(LookupError) as error:
        RETRY_ENGINE.example(status, name)
    assert error.value.args == (message,)


def test_success_is_the_first_good_status_with_its_first_example() -> None:
    assert RETRY_ENGINE.example() == RETRY_ENGINE.example(200, "accepted")
    assert RETRY_ENGINE.example(name="page") == RETRY_ENGINE.example(200, "page")


def test_an_example_brings_the_headers_that_have_one() -> None:
    assert RETRY_ENGINE.example(429).headers == {"Retry-After": "2"}
    assert RETRY_ENGINE.example(401).headers == {}


# --- An edited spec ---------------------------------------------------------------------------------------------------


def written(folder: Path, spec: object) -> Path:
    file = folder / "openapi.yaml"
    file.write_text(
        spec if isinstance(spec, str) else yaml.safe_dump(spec, sort_keys=False), encoding="utf-8"
    )
    return file


def edited(folder: Path, edit: Callable[[Any], None]) -> Contract:
    spec = copy.deepcopy(DOCUMENT)
    edit(spec)
    return Contract.load(written(folder, spec))


def engine_operation(spec: Any) -> Any:
    return spec["paths"]["/v2/{project_id}/enginemgr/engines/{engine_id}/actions"]["put"]


def with_body(schema: object) -> Callable[[Any], None]:
    def edit(spec: Any) -> None:
        engine_operation(spec)["requestBody"]["content"]["application/json;charset=UTF-8"]["schema"] = schema

    return edit


def add_parameter(spec: Any, **parameter: object) -> None:
    engine_operation(spec)["parameters"].append(parameter)


def problems_with(
    contract: Contract,
    query: str = "",
    headers: dict[str, str] | None = None,
    body: bytes = b'{"action": "Retry"}',
) -> list[str]:
    params = {"project_id": "p", "engine_id": "e"}
    checked = operation(contract, "RetryEngine").check_request(params, query, JSON | (headers or {}), body)
    return [str(problem) for problem in checked.problems]


def test_a_longer_maximum_is_taken(tmp_path: Path) -> None:
    def longer(spec: Any) -> None:
        spec["components"]["parameters"]["EnterpriseProjectId"]["schema"]["maxLength"] = 100

    assert problems_with(edited(tmp_path, longer), headers={"X-Enterprise-Project-ID": "0" * 100}) == []


def test_a_new_error_status_is_documented(tmp_path: Path) -> None:
    def teapot(spec: Any) -> None:
        engine_operation(spec)["responses"]["418"] = {"$ref": "#/components/responses/Forbidden"}

    retry = operation(edited(tmp_path, teapot), "RetryEngine")
    assert retry.check_response(418, JSON, b'{"error_code": "X", "error_msg": "m"}') == []


@pytest.mark.parametrize(
    ("query", "problems"),
    [
        ("limit=5", []),
        ("limit=5&other=x", []),
        ("", ["query limit: is missing"]),
        ("limit=11", ["query limit: 11 is greater than the maximum of 10"]),
        ("limit=x", ['query limit: "x" is not of type "integer"']),
        ("limit=", ['query limit: "" is not of type "integer"']),
        ("limit=NaN", ['query limit: "NaN" is not of type "integer"']),
        ("limit=1&limit=2", ["query limit: is given 2 times"]),
        ("limit=%ff", ["query limit: is not UTF-8 once percent-decoded"]),
        ("limit=1&tag=a&tag=b%26c", []),
        ("limit=1&tag=a&tag=", ['query tag /1: "" is shorter than 1 character']),
        ("limit=1&number=1&number=2", []),
        ("limit=1&number=1&number=x", ['query number /1: "x" is not of type "integer"']),
        ("limit=1&flag=true", []),
        ("limit=1&flag=yes", ['query flag: "yes" is not of type "boolean"']),
        ("limit=1&at=2026-11-21T00:00:00Z", []),
        ("limit=1&at=yesterday", ['query at: "yesterday" is not a "date-time"']),
    ],
)
def test_new_query_parameters_are_checked(tmp_path: Path, query: str, problems: list[str]) -> None:
    def with_query(spec: Any) -> None:
        tags = {"type": "array", "items": {"type": "string", "minLength": 1}}
        add_parameter(
            spec, name="limit", **{"in": "query"}, required=True, schema={"type": "integer", "maximum": 10}
        )
        add_parameter(spec, name="tag", **{"in": "query"}, schema=tags)
        numbers = {"type": "array", "items": {"type": "integer"}}
        add_parameter(spec, name="number", **{"in": "query"}, schema=numbers)
        add_parameter(spec, name="flag", **{"in": "query"}, schema={"type": "boolean"})
        add_parameter(spec, name="at", **{"in": "query"}, schema={"type": "string", "format": "date-time"})

    assert problems_with(edited(tmp_path, with_query), query=query) == problems


def test_a_new_required_header_is_checked_and_those_that_openapi_ignores_are_not(tmp_path: Path) -> None:
    def with_headers(spec: Any) -> None:
        for name in ("X-Language", "Accept", "Content-Type", "Authorization"):
            add_parameter(
                spec, name=name, **{"in": "header"}, required=True, schema={"enum": ["zh-cn", "en-us"]}
            )

    contract = edited(tmp_path, with_headers)
    assert problems_with(contract) == ["header X-Language: is missing"]
    assert problems_with(contract, headers={"x-language": "en-us"}) == []
    assert problems_with(contract, headers={"x-language": "en"}) == [
        'header X-Language: "en" is not one of "zh-cn" or "en-us"'
    ]


def test_a_header_of_several_values_is_split_at_its_commas(tmp_path: Path) -> None:
    def with_list(spec: Any) -> None:
        numbers = {"type": "array", "items": {"type": "integer"}}
        add_parameter(spec, name="X-Numbers", **{"in": "header"}, schema=numbers)

    contract = edited(tmp_path, with_list)
    assert problems_with(contract, headers={"X-Numbers": "1, 2,3"}) == []
    assert problems_with(contract, headers={"X-Numbers": "1,x"}) == [
        'header X-Numbers /1: "x" is not of type "integer"'
    ]


def test_an_operations_own_parameter_replaces_the_paths(tmp_path: Path) -> None:
    def own(spec: Any) -> None:
        add_parameter(spec, name="engine_id", **{"in": "path"}, required=True, schema={"type": "integer"})

    assert problems_with(edited(tmp_path, own)) == ['path engine_id: "e" is not of type "integer"']


def test_integer_ranges_are_checked_wherever_a_schema_may_stand_and_nowhere_else(tmp_path: Path) -> None:
    number = {"type": "integer", "format": "int32"}
    schema = {
        "properties": {
            "in_list": {"items": number},
            "in_map": {"additionalProperties": number},
            "const": number,  # a field of that name
            "long": {"format": "int64"},
            "bounded": {"allOf": [{"minimum": 0}], **number},
            "data": {"const": {"format": "int32"}},  # no schema, a value
        }
    }
    contract = edited(tmp_path, with_body(schema))
    good = {
        "in_list": [1],
        "in_map": {"x": 1},
        "const": 1,
        "long": 2**40,
        "bounded": 1,
        "data": {"format": "int32"},
    }
    assert problems_with(contract, body=json.dumps(good).encode()) == []
    bad = {
        "in_list": [2**31],
        "in_map": {"x": 2**31},
        "const": 2**31,
        "long": 2**63,
        "bounded": -1,
        "data": {},
    }
    where = [problem.partition(":")[0] for problem in problems_with(contract, body=json.dumps(bad).encode())]
    assert sorted(where) == [
        "body /bounded",
        "body /const",
        "body /data",
        "body /in_list/0",
        "body /in_map/x",
        "body /long",
    ]


def test_a_pointer_escapes_what_rfc_6901_escapes(tmp_path: Path) -> None:
    contract = edited(tmp_path, with_body({"additionalProperties": {"type": "string"}}))
    assert problems_with(contract, body=b'{"a/b~c": 1}') == ['body /a~1b~0c: 1 is not of type "string"']


def test_an_optional_body_may_be_left_out(tmp_path: Path) -> None:
    def optional(spec: Any) -> None:
        engine_operation(spec)["requestBody"]["required"] = False

    assert problems_with(edited(tmp_path, optional), body=b"") == []


MINIMAL: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "t", "version": "1"},
    "security": [{"Token": []}],
    "paths": {
        "/engines/{engine_id}": {
            "parameters": [
                {"name": "engine_id", "in": "path", "required": True, "schema": {"type": "string"}}
            ],
            "delete": {"operationId": "Delete", "responses": {204: {"description": "gone"}}},
            "get": {
                "responses": {"2XX": {"description": "", "content": {"application/json": {"example": [1]}}}}
            },
        },
        "/engines/all": {"get": {"operationId": "ListAll", "security": [], "responses": {"default": {}}}},
        "/engines/{engine_id}.{ext}": {
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in ("engine_id", "ext")
            ],
            "put": {"operationId": "Put", "responses": {"200": {}}},
        },
    },
}


@pytest.fixture
def minimal(tmp_path: Path) -> Contract:
    return Contract.load(written(tmp_path, MINIMAL))


@pytest.mark.parametrize(
    ("method", "path", "operation_id", "params"),
    [
        ("GET", "/engines/all", "ListAll", {}),
        ("GET", "/engines/al", "GET /engines/{engine_id}", {"engine_id": "al"}),
        ("DELETE", "/engines/all", "Delete", {"engine_id": "all"}),
        ("PUT", "/engines/e.1.txt", "Put", {"engine_id": "e.1", "ext": "txt"}),
        ("DELETE", "/engines/e.1.txt", "Delete", {"engine_id": "e.1.txt"}),
    ],
)
def test_of_paths_that_fit_the_one_that_spells_out_more_goes_first(
    minimal: Contract, method: str, path: str, operation_id: str, params: dict[str, str]
) -> None:
    found = minimal.match(method, path)
    assert isinstance(found, Match)
    assert (found.operation.id, found.path_params) == (operation_id, params)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/engines/all", "GET, DELETE"), ("/engines/e1", "GET, DELETE"), ("/engines/e.1", "PUT, GET, DELETE")],
)
def test_allowed_are_the_methods_of_every_path_that_fits(minimal: Contract, path: str, allowed: str) -> None:
    found = minimal.match("POST", path)
    assert isinstance(found, WrongMethod)
    assert found.allowed == allowed


def test_an_operation_without_security_of_its_own_has_that_of_the_document(minimal: Contract) -> None:
    assert operation(minimal, "Delete").security == (frozenset({"Token"}),)
    assert operation(minimal, "ListAll").security == ()


def test_an_operation_without_id_is_named_by_method_and_path(minimal: Contract) -> None:
    found = minimal.match("GET", "/engines/e1")
    assert isinstance(found, Match)
    assert found.operation.id == "GET /engines/{engine_id}"


def test_a_status_without_content_must_have_none(minimal: Contract) -> None:
    delete = operation(minimal, "Delete")
    assert delete.example() == (204, {}, None)
    assert delete.check_response(204, {}, b"") == []
    assert [str(p) for p in delete.check_response(204, JSON, b"{}")] == [
        "body: must be empty with status 204"
    ]


def test_ranges_and_default_document_statuses(minimal: Contract) -> None:
    listing = operation(minimal, "GET /engines/{engine_id}")
    assert listing.check_response(206, JSON, b"[]") == []
    assert listing.check_response(300, JSON, b"[]") != []
    assert operation(minimal, "ListAll").check_response(599, {}, b"") == []


def test_without_a_good_status_or_its_example_there_is_no_success(minimal: Contract) -> None:
    with pytest.raises(LookupError, match="ListAll documents no successful status"):
        operation(minimal, "ListAll").example()


# --- Invalid specs ----------------------------------------------------------------------------------------------------


def with_minimal(**changes: object) -> dict[str, Any]:
    return {**MINIMAL, **changes}


def one_operation(**parts: object) -> dict[str, Any]:
    return with_minimal(paths={"/x": {"post": {"operationId": "X", "responses": {"200": {}}, **parts}}})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("a: [1", "is not YAML: line 2, column 1: did not find expected"),
        ("a: !!python/object:os.system {}", "is not YAML: line 1, column 4: could not determine a constructor"),
        ("a: .nan", "not a valid OpenAPI document"),
        ("", "not a mapping"),
        ("- 1", "not a mapping"),
        ("a: 1", r"not a valid OpenAPI document .*'paths'.*`make` explains where"),
        (with_minimal(paths={"/x/{id}": {"get": {"responses": {}}}}), r"GET /x/\{id\}: its path and .* differ in id$"),
        (
            one_operation(parameters=[{"name": "p", "in": "path", "schema": {"type": "string"}}]),
            "X: its path and its path parameters differ in p$",
        ),
        (one_operation(parameters=[{"$ref": "#/nope"}]), "#/nope': its target does not exist"),
        (one_operation(parameters=[{"$ref": "other.yaml#/x"}]), "or outside this file"),
        (with_minimal(a={"$ref": "#/a"}, paths={"/x": {"get": {"responses": {"200": {"$ref": "#/a"}}}}}), "it is circular"),
        (
            one_operation(requestBody={"content": {"application/json": {"schema": {"$ref": "#/components/schemas/No"}}}}),
            "X, request body, application/json: its schema is invalid: .*/components/schemas/No",
        ),
        (
            one_operation(requestBody={"content": {"application/json": {"schema": {"type": "strnig"}}}}),
            'X, request body, application/json: its schema is invalid: "strnig"',
        ),
        (one_operation(requestBody={"content": {"text/xml": {}}}), "X, request body: only JSON is supported, not text/xml"),
        (
            one_operation(parameters=[{"name": "q", "in": "query", "schema": {"type": "object"}}]),
            "X, parameter q: only path, query and header parameters of a plain type",
        ),
        (
            one_operation(parameters=[{"name": "c", "in": "cookie", "schema": {"type": "string"}}]),
            "X, parameter c: only path, query and header",
        ),
    ],
)  # fmt: skip
def test_a_spec_that_will_not_do_is_refused_in_one_line_that_names_file_and_place(
    tmp_path: Path, spec: object, message: str
) -> None:
    file = written(tmp_path, spec)
    with pytest.raises(SpecError, match=message) as error:
        Contract.load(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_a_spec_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere\.yaml: cannot be read: No such file or directory"):
        Contract.load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("2026-11-21", "2026-11-21"),
        ("12:30", "12:30"),
        ("0777", 777),
        ("0x1F", 31),
        ("0o17", 15),
        ("-5", -5),
        ("1e3", 1000.0),
        ("True", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("0.1.0", "0.1.0"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    file = written(
        tmp_path,
        f"""
        info: {{title: t, version: '1'}}
        paths: {{/x: {{get: {{operationId: X, responses: {{200: {{content: {{application/json: {{example: {text} }}}}}}}}}}}}}}
        """,
    )
    example = operation(Contract.load(file), "X").example(200).body
    assert example == value
    assert type(example) is type(value)


def test_a_package_without_its_spec_says_where_it_looked(tmp_path: Path) -> None:
    package = tmp_path / "src" / "huaweicloud_retry"
    shutil.copytree(ROOT / "src" / "huaweicloud_retry", package)
    code = "from huaweicloud_retry.contract import Contract; print(Contract.load().source)"

    def load() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONPATH": str(tmp_path / "src")},
        )

    assert f"openapi.yaml is neither in the package nor at {tmp_path / 'openapi.yaml'}" in load().stderr
    shutil.copy(SPEC, tmp_path)
    assert load().stdout == f"{tmp_path / 'openapi.yaml'}\n"
    shutil.copy(SPEC, package)  # as in the wheel
    assert load().stdout == f"{package / 'openapi.yaml'}\n"
