"""The contract: what of openapi.yaml is checked, how an invalid message is described, which specs are refused."""

import copy
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from huaweicloud_retry.contract import Contract, Match, Operation, SpecError, WrongMethod
from huaweicloud_retry.parsing import read_yaml

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "openapi.yaml"
DOCUMENT: Any = read_yaml(SPEC.read_bytes())
CONTRACT = Contract.load()
ENGINE = "/v2/demo-project/enginemgr/engines/e1/actions"
SCRIPT = "/v2/demo-project/script-executions/retry"
JSON = {"Content-Type": "application/json"}


def operation(contract: Contract, operation_id: str) -> Operation:
    (found,) = (o for o in contract.operations if o.id == operation_id)
    return found


RETRY_ENGINE = operation(CONTRACT, "RetryEngine")
RETRY_SCRIPT = operation(CONTRACT, "RetryScriptExecution")


def lines(problems: Iterable[object]) -> list[str]:
    return [str(problem) for problem in problems]


def engine_request(
    body: bytes = b'{"action": "Retry"}',
    headers: Mapping[str, str] = JSON,
    path: Mapping[str, str] | None = None,
) -> list[str]:
    """What is wrong with a request to RetryEngine, one line each."""
    params = {"project_id": "demo-project", "engine_id": "e1", **(path or {})}
    return lines(RETRY_ENGINE.check_request(params, "", headers, body).problems)


def script_request(body: bytes) -> list[str]:
    return lines(RETRY_SCRIPT.check_request({"project_id": "demo-project"}, "", JSON, body).problems)


def response(status: int, body: object, headers: dict[str, str] = JSON) -> list[str]:
    """What is wrong with a response of RetryEngine."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lines(RETRY_ENGINE.check_response(status, headers, content))


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
    assert {o.security for o in CONTRACT.operations} == {(frozenset({"AuthToken"}), frozenset({"Signature"}))}


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "HEAD", "put", "BREW"])
def test_another_method_is_told_from_another_path(method: str) -> None:
    found = CONTRACT.match(method, ENGINE)
    assert isinstance(found, WrongMethod)
    assert found.allowed == "PUT"
    assert found.operations == (RETRY_ENGINE,)


@pytest.mark.parametrize("path", ["", "/", "*", "/v2", f"/{ENGINE}", ENGINE.upper()])
def test_a_path_that_the_spec_does_not_have(path: str) -> None:
    for end in ("/", "/x", "%2F", "\n"):
        assert CONTRACT.match("PUT", path) is CONTRACT.match("PUT", ENGINE + end) is None


@pytest.mark.parametrize(
    ("raw", "engine_id"),
    [
        *[("e1", "e1"), ("a%2Fb", "a/b"), ("%2e%2e", ".."), ("a%20b+c", "a b+c"), ("a%252Fb", "a%2Fb")],
        *[("%E5%BC%95%E6%93%8E", "引擎"), ("a;b=c,d", "a;b=c,d")],
    ],
)
def test_a_request_is_matched_by_method_and_path_and_a_segment_decoded_once(raw: str, engine_id: str) -> None:
    found = CONTRACT.match("PUT", f"/v2/p/enginemgr/engines/{raw}/actions")
    assert found == Match(RETRY_ENGINE, {"project_id": "p", "engine_id": engine_id})


@pytest.mark.parametrize(
    ("project_id", "engine_id", "problem"),
    [
        ("p", "%ff", "path engine_id: is not UTF-8 once percent-decoded"),
        ("", "e1", "path project_id: is empty"),
    ],
)
def test_a_segment_that_is_empty_or_not_utf_8_is_refused_when_checked(
    project_id: str, engine_id: str, problem: str
) -> None:
    found = CONTRACT.match("PUT", f"/v2/{project_id}/enginemgr/engines/{engine_id}/actions")
    assert isinstance(found, Match)
    assert engine_request(path=found.path_params) == [problem]


# --- Requests ---------------------------------------------------------------------------------------------------------


def test_a_checked_request_has_the_parsed_body() -> None:
    body = b' {"record_id": "r", "new": [1.5, null]} '
    checked = RETRY_SCRIPT.check_request({"project_id": "p"}, "", JSON, body)
    assert (checked.problems, checked.body) == ([], {"record_id": "r", "new": [1.5, None]})


SURROGATE = "body: has half a surrogate pair"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "body: is empty; application/json is needed"),
        (b" ", "body: is not JSON: Expecting value, line 1 column 2"),
        (b'{"action": "Retry"', "body: is not JSON: Expecting ',' delimiter, line 1 column 19"),
        (b'{"action": "Retry"} x', "body: is not JSON: Extra data, line 1 column 21"),
        (b'{"action": "Retr\xff"}', "body: is not UTF-8: invalid start byte at byte 16"),
        ('{"action": "Retry"}'.encode("utf-16"), "body: is not UTF-8: invalid start byte at byte 0"),
        (b'{"action": "Retry", "n": NaN}', "body: is not JSON: NaN is not a number"),
        (b'{"action": "Retry", "n": -Infinity}', "body: is not JSON: -Infinity is not a number"),
        (b'{"action": "No", "action": "Retry"}', 'body: has the field "action" twice in one object'),
        (b'{"action": "Retry", "x": [{"a": 1, "a": 1}]}', 'body: has the field "a" twice in one object'),
        (b'{"action": "\\ud800"}', SURROGATE),
        (b'{"action": "Retry", "\\uDFFF": 1}', SURROGATE),
        (b'{"action": ' + b"9" * 5000 + b"}", "body: has a number with more than 4300 digits"),
        (b"[" * 100_000, "body: is nested too deeply"),
        (b'{"action": ' + b"[" * 500 + b"]" * 500 + b"}", "body: is nested too deeply"),
    ],
)
def test_a_body_that_cannot_be_read_is_malformed(body: bytes, problem: str) -> None:
    (found,) = RETRY_ENGINE.check_request({"project_id": "p", "engine_id": "e"}, "", JSON, body).problems
    assert str(found).startswith(problem)
    assert found.malformed


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{}", 'body: "action" is a required property'),
        (b"null", 'body: null is not of type "object"'),
        (b"[]", 'body: [] is not of type "object"'),
        *(
            (b'{"action": %b}' % value, 'body /action: "Retry" was expected')
            for value in (b'"retry"', b"null")
        ),
    ],
)
def test_an_invalid_body_is_not_malformed_and_is_pointed_into(body: bytes, problem: str) -> None:
    (found,) = RETRY_ENGINE.check_request({"project_id": "p", "engine_id": "e"}, "", JSON, body).problems
    assert (str(found), found.malformed) == (problem, False)


def test_every_problem_is_reported_at_once() -> None:
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
    assert lines(hiding.check_request(params, "", JSON, b'{"action": "s3cret"}').problems) == [
        "path project_id: the value is longer than 64 characters",
        "path engine_id: is empty",
        'body /action: "Retry" was expected',
    ]
    body = b'{"error_code": {"s3cret": "s3cret"}, "error_msg": ""}'
    assert lines(hiding.check_response(400, JSON, body)) == [
        'body /error_code: the value is not of type "string"'
    ]


def test_of_very_many_problems_ten_are_reported(tmp_path: Path) -> None:
    contract = edited(tmp_path, with_body({"type": "array", "items": {"type": "string"}}))
    problems = problems_with(contract, body=json.dumps([1] * 1000).encode())
    assert problems == [f'body /{number}: 1 is not of type "string"' for number in range(10)]


UTF_8 = [f"application/json{end}" for end in ("", ";", ";charset=UTF-8", "; charset=utf-8", ";charset=utf8")]
UTF_8 += ['application/json ; CHARSET="Utf-8"', "APPLICATION/JSON", "application/json; profile=x"]


@pytest.mark.parametrize("content_type", [*UTF_8, "application/merge-patch+json"])
def test_every_json_media_type_in_utf_8_passes(content_type: str) -> None:
    for name in ("Content-Type", "content-type", "CONTENT-TYPE"):
        assert engine_request(headers={name: content_type}) == []


@pytest.mark.parametrize(
    ("content_type", "problem"),
    [
        (None, "is missing; the body must be application/json"),
        ("", "''"),
        ("text/json; key=s3cret", "'text/json'"),
        ("application/jsonp", "'application/jsonp'"),
        ("application/json;charset=ISO-8859-1", "the charset"),
        ("application/json;charset", "the charset"),
    ],
)
def test_other_media_types_and_charsets_do_not(content_type: str | None, problem: str) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    (found,) = engine_request(headers=headers)
    assert found.startswith(f"header Content-Type: {problem}")
    assert "s3cret" not in found


@pytest.mark.parametrize(
    ("path", "problems"),
    [
        ({"engine_id": "x" * 64}, []),
        ({"engine_id": "x" * 65}, [f'path engine_id: "{"x" * 65}" is longer than 64 characters']),
        ({"engine_id": "\udcff"}, ["path engine_id: is not UTF-8 once percent-decoded"]),
        ({"engine_id": "引" * 64}, []),
    ],
)
def test_path_parameters(path: dict[str, str], problems: list[str]) -> None:
    assert engine_request(path=path) == problems


@pytest.mark.parametrize("name", ["X-Enterprise-Project-ID", "x-enterprise-project-id"])
@pytest.mark.parametrize(
    ("value", "problem"), [("0", ""), ("", "shorter than 1"), ("0" * 65, "longer than 64")]
)
def test_header_parameters(name: str, value: str, problem: str) -> None:
    expected = [f'header X-Enterprise-Project-ID: "{value}" is {problem} character'] if problem else []
    assert [each.removesuffix("s") for each in engine_request(headers={**JSON, name: value})] == expected


@settings(max_examples=50, deadline=None)
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


# --- Responses -------------------------------------------------------------------------------------------------------


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


def accepted(**changes: object) -> dict[str, object]:
    return {"id": "e1", "name": "n", "jobId": 1, **changes}


@pytest.mark.parametrize(
    ("status", "body", "problems"),
    [
        (200, accepted(jobId=2**31 - 1), []),
        (200, accepted(jobId=-(2**31)), []),
        (200, accepted(jobId=2**31), ["body /jobId: 2147483648 is greater than the maximum of 2147483647"]),
        (
            200,
            accepted(jobId=-(2**31) - 1),
            ["body /jobId: -2147483649 is less than the minimum of -2147483648"],
        ),
        (200, accepted(jobId="7"), ['body /jobId: "7" is not of type "integer"']),
        (200, {"id": "e1", "name": "n"}, ['body: "jobId" is a required property']),
        (200, b"", ["body: is empty; application/json is needed"]),
        (200, b"<html>", ["body: is not JSON: Expecting value, line 1 column 1"]),
        (400, {"error_code": "X", "error_msg": "m", "detail": "d", "more": 1}, []),
        (400, {"error_code": 1, "error_msg": "m"}, ['body /error_code: 1 is not of type "string"']),
        (504, {"error_code": "X", "error_msg": "m"}, []),
    ],
)
def test_responses(status: int, body: object, problems: list[str]) -> None:
    assert response(status, body) == problems


ERROR = b'{"error_code": "X", "error_msg": "m"}'


def test_an_undocumented_status_or_media_type_is_a_problem() -> None:
    (problem,) = response(418, ERROR)
    assert problem.startswith("status: 418 is not documented; documented are 200, 400, 401, ")
    (problem,) = response(400, ERROR, {"content-type": "text/html"})
    assert problem.startswith("header Content-Type: 'text/html'")


def test_documented_headers_of_a_response_are_checked(tmp_path: Path) -> None:
    def with_header(spec: Any) -> None:
        spec["components"]["headers"]["RetryAfter"] = {"required": True, "schema": {"type": "integer"}}

    retry = operation(edited(tmp_path, with_header), "RetryEngine")
    soon = 'header Retry-After: "soon" is not of type "integer"'
    for headers, problems in (
        ({"retry-after": "5"}, []),
        ({"Retry-After": "soon"}, [soon]),
        ({}, ["header Retry-After: is missing"]),
    ):
        assert lines(retry.check_response(429, JSON | headers, ERROR)) == problems


# --- Examples ---------------------------------------------------------------------------------------------------------


def test_an_example_is_found_by_name_or_the_first_of_the_first_good_status_is_taken() -> None:
    assert RETRY_ENGINE.example() == RETRY_ENGINE.example(200) == RETRY_ENGINE.example(200, "accepted")
    assert RETRY_ENGINE.example(name="page") == RETRY_ENGINE.example(200, "page")
    assert RETRY_ENGINE.example(200, "page").body == {"id": "string", "name": "string", "jobId": 0}
    wrong = RETRY_ENGINE.example(401).body
    assert isinstance(wrong, dict)
    assert wrong["error_code"] == "APIGW.0301"  # behind three references


@pytest.mark.parametrize(
    ("status", "name", "message"),
    [
        (200, "nope", "RetryEngine has no example 'nope' for status 200; it has: accepted, page"),
        (418, None, "RetryEngine documents no status 418; it has: 200, 400, 401, "),
    ],
)
def test_an_example_that_the_spec_does_not_have(status: int, name: str | None, message: str) -> None:
    with pytest.raises(LookupError) as error:
        RETRY_ENGINE.example(status, name)
    assert error.value.args[0].startswith(message)


def test_an_example_brings_the_headers_that_have_one() -> None:
    assert RETRY_ENGINE.example(429).headers == {"Retry-After": "2"}
    assert RETRY_ENGINE.example(401).headers == {}


# --- An edited spec ---------------------------------------------------------------------------------------------------


def written(folder: Path, spec: object) -> Path:
    file = folder / "openapi.yaml"
    file.write_text(
        spec if isinstance(spec, str) else yaml.dump(spec, Dumper=yaml.CSafeDumper), encoding="utf-8"
    )
    return file


def edited(folder: Path, edit: Callable[[Any], None]) -> Contract:
    spec = copy.deepcopy(DOCUMENT)
    spec["paths"] = {ENGINE_PATH: spec["paths"][ENGINE_PATH]}  # the rest takes time only
    edit(spec)
    return Contract.load(written(folder, spec))


ENGINE_PATH = "/v2/{project_id}/enginemgr/engines/{engine_id}/actions"


def engine_operation(spec: Any) -> Any:
    return spec["paths"][ENGINE_PATH]["put"]


def with_body(schema: object) -> Callable[[Any], None]:
    def edit(spec: Any) -> None:
        engine_operation(spec)["requestBody"]["content"]["application/json;charset=UTF-8"]["schema"] = schema

    return edit


def with_parameters(where: str, **schemas: Mapping[str, object]) -> Callable[[Any], None]:
    """Add parameters; a name that ends with `_` is mandatory."""

    def edit(spec: Any) -> None:
        for name, schema in schemas.items():
            required = name.endswith("_")
            added = {"name": name.removesuffix("_"), "in": where, "required": required, "schema": schema}
            engine_operation(spec)["parameters"].append(added)

    return edit


def problems_with(
    contract: Contract,
    query: str = "",
    headers: dict[str, str] | None = None,
    body: bytes = b'{"action": "Retry"}',
) -> list[str]:
    params = {"project_id": "p", "engine_id": "e"}
    checked = operation(contract, "RetryEngine").check_request(params, query, JSON | (headers or {}), body)
    return lines(checked.problems)


def test_a_longer_maximum_and_a_new_error_status_are_taken(tmp_path: Path) -> None:
    def edit(spec: Any) -> None:
        spec["components"]["parameters"]["EnterpriseProjectId"]["schema"]["maxLength"] = 100
        engine_operation(spec)["responses"]["418"] = {"$ref": "#/components/responses/Forbidden"}

    contract = edited(tmp_path, edit)
    assert problems_with(contract, headers={"X-Enterprise-Project-ID": "0" * 100}) == []
    assert operation(contract, "RetryEngine").check_response(418, JSON, ERROR) == []


INTEGER, INTEGERS = {"type": "integer"}, {"type": "array", "items": {"type": "integer"}}


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    more: dict[str, Any] = {
        "limit_": INTEGER | {"maximum": 10},
        "number": INTEGERS,
        "flag": {"type": "boolean"},
    }
    more["tag"] = {"type": "array", "items": {"type": "string", "minLength": 1}}
    more["at"] = {"type": "string", "format": "date-time"}
    return edited(tmp_path_factory.mktemp("queries"), with_parameters("query", **more))


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
def test_new_query_parameters_are_checked(queries: Contract, query: str, problems: list[str]) -> None:
    assert problems_with(queries, query=query) == problems


def test_a_new_required_header_is_checked_and_those_that_openapi_ignores_are_not(tmp_path: Path) -> None:
    names = ("X-Language_", "Accept_", "Content-Type_", "Authorization_")
    contract = edited(
        tmp_path, with_parameters("header", **{name: {"enum": ["zh-cn", "en-us"]} for name in names})
    )
    assert problems_with(contract) == ["header X-Language: is missing"]
    assert problems_with(contract, headers={"x-language": "en-us"}) == []
    (problem,) = problems_with(contract, headers={"x-language": "en"})
    assert problem == 'header X-Language: "en" is not one of "zh-cn" or "en-us"'


def test_a_header_of_several_values_is_split_at_its_commas(tmp_path: Path) -> None:
    contract = edited(tmp_path, with_parameters("header", **{"X-Numbers": INTEGERS}))
    assert problems_with(contract, headers={"X-Numbers": "1, 2,3"}) == []
    (problem,) = problems_with(contract, headers={"X-Numbers": "1,x"})
    assert problem == 'header X-Numbers /1: "x" is not of type "integer"'


def test_an_operations_own_parameter_replaces_the_paths(tmp_path: Path) -> None:
    contract = edited(tmp_path, with_parameters("path", engine_id_=INTEGER))
    assert problems_with(contract) == ['path engine_id: "e" is not of type "integer"']


def test_integer_ranges_are_checked_wherever_a_schema_may_be_and_nowhere_else(tmp_path: Path) -> None:
    number = {"type": "integer", "format": "int32"}
    schemas: dict[str, Any] = {"in_list": {"items": number}, "in_map": {"additionalProperties": number}}
    schemas |= {
        "const": number,
        "long": {"format": "int64"},
        "bounded": {"allOf": [{"minimum": 0}], **number},
    }
    schemas["data"] = {"const": {"format": "int32"}}  # no schema, a value
    contract = edited(tmp_path, with_body({"properties": schemas}))
    valid: dict[str, Any] = {"in_list": [1], "in_map": {"x": 1}, "const": 1, "long": 2**40, "bounded": 1}
    assert problems_with(contract, body=json.dumps(valid | {"data": {"format": "int32"}}).encode()) == []
    large = 2**31
    invalid = {
        "in_list": [large],
        "in_map": {"x": large},
        "const": large,
        "long": 2**63,
        "bounded": -1,
        "data": {},
    }
    where = {each.partition(":")[0] for each in problems_with(contract, body=json.dumps(invalid).encode())}
    assert where == {
        f"body /{place}" for place in ("bounded", "const", "data", "in_list/0", "in_map/x", "long")
    }


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


def test_an_operation_may_have_neither_id_nor_security_of_its_own(minimal: Contract) -> None:
    assert operation(minimal, "Delete").security == (frozenset({"Token"}),)
    assert operation(minimal, "ListAll").security == ()


def test_a_status_without_content_must_have_none(minimal: Contract) -> None:
    delete = operation(minimal, "Delete")
    assert delete.example() == (204, {}, None)
    assert delete.check_response(204, {}, b"") == []
    assert lines(delete.check_response(204, JSON, b"{}")) == ["body: must be empty with status 204"]


def test_ranges_and_default_document_statuses(minimal: Contract) -> None:
    listing = operation(minimal, "GET /engines/{engine_id}")
    assert listing.check_response(206, JSON, b"[]") == []
    assert listing.check_response(300, JSON, b"[]") != []
    assert operation(minimal, "ListAll").check_response(599, {}, b"") == []


def test_without_a_good_status_or_its_example_there_is_no_success(minimal: Contract) -> None:
    with pytest.raises(LookupError, match="ListAll documents no successful status"):
        operation(minimal, "ListAll").example()


# --- Specs that are invalid -----------------------------------------------------------------------------------------


def with_minimal(**changes: object) -> dict[str, Any]:
    return {**MINIMAL, **changes}


def one_operation(**parts: object) -> dict[str, Any]:
    return with_minimal(paths={"/x": {"post": {"operationId": "X", "responses": {"200": {}}, **parts}}})


def with_parameter(name: str, where: str, kind: str) -> dict[str, Any]:
    return one_operation(parameters=[{"name": name, "in": where, "schema": {"type": kind}}])


def with_content(media_type: str, **schema: object) -> dict[str, Any]:
    return one_operation(requestBody={"content": {media_type: {"schema": schema} if schema else {}}})


LOOP = with_minimal(a={"$ref": "#/a"}, paths={"/x": {"get": {"responses": {"200": {"$ref": "#/a"}}}}})
NO_PARAMETER = with_minimal(paths={"/x/{id}": {"get": {"responses": {}}}})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("a: [1", "is not YAML: line 2, column 1: did not find expected"),
        (
            "a: !!python/object:os.system {}",
            "is not YAML: line 1, column 4: could not determine a constructor",
        ),
        ("a: .nan", "not a valid OpenAPI document"),
        *((text, "not a mapping") for text in ("", "- 1")),
        ("a: 1", r"not a valid OpenAPI document .*'paths'"),
        (NO_PARAMETER, r"GET /x/\{id\}: its path and .* differ in id$"),
        (with_parameter("p", "path", "string"), "X: its path and its path parameters differ in p$"),
        (one_operation(parameters=[{"$ref": "#/nope"}]), "#/nope"),
        (one_operation(parameters=[{"$ref": "other.yaml#/x"}]), "or outside this file"),
        (LOOP, "it is circular"),
        (
            with_content("application/json", **{"$ref": "#/components/schemas/No"}),
            "X, .*/components/schemas/No",
        ),
        (with_content("application/json", type="strnig"), 'X, request body, application/json: .*: "strnig"'),
        (with_content("text/xml"), "X, request body: only JSON .* text/xml"),
        (with_parameter("q", "query", "object"), "X, parameter q: only path, query and header .* plain type"),
        (with_parameter("c", "cookie", "string"), "X, parameter c: only path, query and header"),
    ],
)
def test_an_invalid_spec_is_refused_in_one_line_that_names_file_and_place(
    tmp_path: Path, spec: object, message: str
) -> None:
    file = written(tmp_path, spec)
    with pytest.raises(SpecError, match=message) as error:
        Contract.load(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_a_spec_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere\.yaml: cannot be read: No such file or directory"):
        Contract.load(tmp_path / "nowhere.yaml")


def test_scalars_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    texts: dict[str, Any] = {
        "no": "no",
        "2026-11-21": "2026-11-21",
        "12:30": "12:30",
        "0777": 777,
        "0x1F": 31,
    }
    texts |= {
        "0o17": 15,
        "-5": -5,
        "1e3": 1000.0,
        "True": True,
        "~": None,
        "''": "",
        "'1'": "1",
        "0.1.0": "0.1.0",
    }
    examples = ", ".join(f'"{number}": {{ value: {text} }}' for number, text in enumerate(texts))
    file = written(tmp_path, f"""
        info: {{title: t, version: '1'}}
        paths:
          /x:
            get: {{operationId: X, responses: {{200: {{content: {{application/json: {{examples: {{ {examples} }} }} }} }} }} }}
        """)  # fmt: skip
    found = operation(Contract.load(file), "X")
    read = [found.example(200, str(number)).body for number in range(len(texts))]
    assert [(type(value), value) for value in read] == [(type(value), value) for value in texts.values()]


def test_a_package_without_its_spec_says_where_it_looked(tmp_path: Path) -> None:
    package = tmp_path / "src" / "huaweicloud_retry"
    shutil.copytree(ROOT / "src" / "huaweicloud_retry", package)
    code = "from huaweicloud_retry.contract import Contract; print(Contract.load().source)"

    def load() -> subprocess.CompletedProcess[str]:
        environ = {"PYTHONPATH": str(tmp_path / "src")}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)

    assert f"openapi.yaml is neither in the package nor at {tmp_path / 'openapi.yaml'}" in load().stderr
    shutil.copy(SPEC, tmp_path)
    assert load().stdout == f"{tmp_path / 'openapi.yaml'}\n"
    shutil.copy(SPEC, package)  # as in the wheel
    assert load().stdout == f"{package / 'openapi.yaml'}\n"
