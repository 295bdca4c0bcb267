"""The contract: what it checks, how it describes an invalid message, which specs it refuses."""

import copy
import hashlib
import importlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from huaweicloud_retry.contract import CheckedRequest, Contract, Match, Operation, SpecError, WrongMethod
from huaweicloud_retry.parsing import read_yaml

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "openapi.yaml"
DOCUMENT: Any = read_yaml(SPEC.read_bytes())
CONTRACT = Contract.load()
ENGINE = "/v2/demo-project/enginemgr/engines/e1/actions"
JSON = {"Content-Type": "application/json"}


def operation(contract: Contract, operation_id: str) -> Operation:
    (found,) = (o for o in contract.operations if o.id == operation_id)
    return found


RETRY_ENGINE = operation(CONTRACT, "RetryEngine")
RETRY_SCRIPT = operation(CONTRACT, "RetryScriptExecution")


def lines(problems: Iterable[object]) -> list[str]:
    return [str(problem) for problem in problems]


def checked(
    body: bytes = b'{"action": "Retry"}',
    headers: Mapping[str, str] = JSON,
    path: Mapping[str, str] | None = None,
    query: str = "",
    contract: Contract = CONTRACT,
) -> CheckedRequest:
    """Check a request to RetryEngine, or to the first operation of another contract."""
    each = RETRY_ENGINE if contract is CONTRACT else contract.operations[0]
    return each.check_request({"project_id": "p", "engine_id": "e", **(path or {})}, query, headers, body)


def engine_request(*request: Any, **more: Any) -> list[str]:
    """What is wrong with a request to RetryEngine, one line each."""
    return lines(checked(*request, **more).problems)


def script_request(body: bytes) -> list[str]:
    return lines(RETRY_SCRIPT.check_request({"project_id": "p"}, "", JSON, body).problems)


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


@pytest.mark.parametrize("method", ["GET", "DELETE", "put", "BREW"])
def test_another_method_is_told_from_another_path(method: str) -> None:
    found = CONTRACT.match(method, ENGINE)
    assert isinstance(found, WrongMethod)
    assert (found.allowed, found.operations) == ("PUT", (RETRY_ENGINE,))


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


def test_a_segment_that_is_not_utf_8_is_matched_and_refused_when_checked() -> None:
    found = CONTRACT.match("PUT", "/v2//enginemgr/engines/%ff/actions")
    assert isinstance(found, Match)
    empty, invalid = checked(path=found.path_params).problems
    assert (str(empty), empty.malformed) == ("path project_id: is empty", False)
    assert (str(invalid), invalid.malformed) == ("path engine_id: is not UTF-8 once percent-decoded", True)


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
    (found,) = checked(body).problems
    assert str(found).startswith(problem)
    assert found.malformed


PROJECT, LONG = "X-Enterprise-Project-ID", "x" * 65


@pytest.mark.parametrize(
    ("request_", "problems"),
    [
        ({}, []),
        ({"body": b'{"action": "Retry", "\\ud83d\\ude00": "\\uD83D\\uDE00", "n": 1e999}'}, []),
        ({"path": {"engine_id": LONG[1:]}, "headers": JSON | {PROJECT: "0"}}, []),
        ({"path": {"engine_id": "引" * 64}, "headers": JSON | {PROJECT.lower(): "0"}}, []),
        ({"path": {"engine_id": LONG}}, [f'path engine_id: "{LONG}" is longer than 64 characters']),
        ({"headers": JSON | {PROJECT: ""}}, [f'header {PROJECT}: "" is shorter than 1 character']),
        (
            {"headers": JSON | {PROJECT.lower(): LONG}},
            [f'header {PROJECT}: "{LONG}" is longer than 64 characters'],
        ),
        ({"body": b"{}"}, ['body: "action" is a required property']),
        ({"body": b"null"}, ['body: null is not of type "object"']),
        ({"body": b"[]"}, ['body: [] is not of type "object"']),
        ({"body": b'{"action": "retry"}'}, ['body /action: "Retry" was expected']),
        ({"body": b'{"action": null}'}, ['body /action: "Retry" was expected']),
    ],
    ids=range(12),
)
def test_path_headers_and_body_of_a_request_are_checked(
    request_: dict[str, Any], problems: list[str]
) -> None:
    found = checked(**request_).problems
    assert (lines(found), [each.malformed for each in found]) == (problems, [False] * len(problems))


def test_every_problem_is_reported_at_once() -> None:
    assert script_request(b'{"record_id": "", "task_id": 5}') == [
        'body /record_id: "" is shorter than 1 character',
        'body /task_id: 5 is not of type "string"',
    ]
    assert len(engine_request(b"{}", JSON | {PROJECT: ""}, {"project_id": LONG})) == 3


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
    (problem,) = hiding.check_response(400, JSON, body)
    assert str(problem) == 'body /error_code: the value is not of type "string"'


def test_of_very_many_problems_ten_are_reported(tmp_path: Path) -> None:
    contract = loaded(tmp_path, with_body({"type": "array", "items": {"type": "string"}}))
    problems = engine_request(json.dumps([1] * 1000).encode(), contract=contract)
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
    assert all(len(problem) < 500 for problem in engine_request(body))


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


ERROR = b'{"error_code": "X", "error_msg": "m"}'


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (200, accepted(jobId=2**31 - 1), None),
        (200, accepted(jobId=-(2**31)), None),
        (200, accepted(jobId=2**31), "body /jobId: 2147483648 is greater than the maximum of 2147483647"),
        (
            200,
            accepted(jobId=-(2**31) - 1),
            "body /jobId: -2147483649 is less than the minimum of -2147483648",
        ),
        (200, accepted(jobId="7"), 'body /jobId: "7" is not of type "integer"'),
        (200, {"id": "e1", "name": "n"}, 'body: "jobId" is a required property'),
        (200, b"", "body: is empty; application/json is needed"),
        (200, b"<html>", "body: is not JSON: Expecting value, line 1 column 1"),
        (400, {"error_code": "X", "error_msg": "m", "more": 1}, None),
        (400, {"error_code": 1, "error_msg": "m"}, 'body /error_code: 1 is not of type "string"'),
    ],
)
def test_a_response_is_checked(status: int, body: object, problem: str | None) -> None:
    assert response(status, body) == ([problem] if problem else [])


def test_an_undocumented_status_or_media_type_is_a_problem() -> None:
    (problem,) = response(418, ERROR)
    assert problem.startswith("status: 418 is not documented; documented are 200, 400, 401, ")
    (problem,) = response(400, ERROR, {"content-type": "text/html"})
    assert problem.startswith("header Content-Type: 'text/html'")


def test_documented_headers_of_a_response_are_checked(tmp_path: Path) -> None:
    def with_header(spec: Any) -> None:
        spec["components"]["headers"]["RetryAfter"] = {"required": True, "schema": {"type": "integer"}}

    retry = edited(tmp_path, with_header).operations[0]
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
    assert RETRY_ENGINE.example(429).headers == {"Retry-After": "2"}
    _, headers, body = RETRY_ENGINE.example(401)
    assert headers == {}
    assert "APIGW.0301" in json.dumps(body)  # behind three references


def test_an_example_that_the_spec_does_not_have() -> None:
    with pytest.raises(LookupError, match="has no example 'nope' for status 200; it has: accepted, page"):
        RETRY_ENGINE.example(200, "nope")
    with pytest.raises(LookupError, match="RetryEngine documents no status 418; it has: 200, 400, 401, "):
        RETRY_ENGINE.example(418)


# --- An edited spec ---------------------------------------------------------------------------------------------------


def written(folder: Path, spec: object) -> Path:
    file = folder / "openapi.yaml"
    text = spec if isinstance(spec, str) else yaml.dump(spec, Dumper=yaml.CSafeDumper)
    file.write_text(text, encoding="utf-8")
    return file


def edited(folder: Path, edit: Callable[[Any], None]) -> Contract:
    spec = copy.deepcopy(DOCUMENT)
    spec["paths"] = {ENGINE_PATH: spec["paths"][ENGINE_PATH]}  # the rest takes time only
    edit(spec)
    return Contract.load(written(folder, spec))


ENGINE_PATH = "/v2/{project_id}/enginemgr/engines/{engine_id}/actions"


def loaded(folder: Path, spec: object) -> Contract:
    return Contract.load(written(folder, spec))


def one_operation(path: str = "/x", **parts: object) -> dict[str, Any]:
    """A spec with one operation."""
    info = {"title": "t", "version": "1"}
    paths = {path: {"post": {"operationId": "X", "responses": {"200": {}}, **parts}}}
    return {"openapi": "3.1.0", "info": info, "paths": paths}


def with_body(schema: object, media_type: str = "application/json", **more: object) -> dict[str, Any]:
    return one_operation(requestBody={"content": {media_type: {"schema": schema}}, **more})


def with_parameters(where: str, **schemas: object) -> dict[str, Any]:
    """A spec with parameters; a name that ends with `_` is mandatory."""
    return one_operation(
        parameters=[
            {"name": name.removesuffix("_"), "in": where, "required": name.endswith("_"), "schema": schema}
            for name, schema in schemas.items()
        ]
    )


def test_a_longer_maximum_and_a_new_error_status_are_taken(tmp_path: Path) -> None:
    def edit(spec: Any) -> None:
        spec["components"]["parameters"]["EnterpriseProjectId"]["schema"]["maxLength"] = 100
        spec["paths"][ENGINE_PATH]["put"]["responses"]["418"] = {"$ref": "#/components/responses/Forbidden"}

    contract = edited(tmp_path, edit)
    headers = {**JSON, "X-Enterprise-Project-ID": "0" * 100}
    assert engine_request(headers=headers, contract=contract) == []
    assert engine_request(headers=headers) != []
    assert contract.operations[0].check_response(418, JSON, ERROR) == []


TEXT, INTEGER, INTEGERS = (
    {"type": "string"},
    {"type": "integer"},
    {"type": "array", "items": {"type": "integer"}},
)


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    more: dict[str, Any] = {
        "limit_": INTEGER | {"maximum": 10},
        "number": INTEGERS,
        "flag": {"type": "boolean"},
    }
    more["tag"] = {"type": "array", "items": {"type": "string", "minLength": 1}}
    more["at"] = {"type": "string", "format": "date-time"}
    return loaded(tmp_path_factory.mktemp("queries"), with_parameters("query", **more))


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
    assert engine_request(query=query, contract=queries) == problems


def test_a_new_required_header_is_checked_and_those_that_openapi_ignores_are_not(tmp_path: Path) -> None:
    names = ("X-Language_", "Accept_", "Content-Type_", "Authorization_")
    schemas = {name: {"enum": ["zh-cn", "en-us"]} for name in names}
    contract = loaded(tmp_path, with_parameters("header", **schemas, **{"X-Numbers": INTEGERS}))
    assert engine_request(contract=contract) == ["header X-Language: is missing"]
    # A header of several values is split at its commas.
    for language, numbers, problems in (
        ("en-us", "1, 2,3", []),
        ("en", "1", ['header X-Language: "en" is not one of "zh-cn" or "en-us"']),
        ("en-us", "1,x", ['header X-Numbers /1: "x" is not of type "integer"']),
    ):
        headers = {**JSON, "x-language": language, "x-numbers": numbers}
        assert engine_request(headers=headers, contract=contract) == problems


def test_integer_ranges_are_checked_wherever_a_schema_may_be_and_nowhere_else(tmp_path: Path) -> None:
    number = {"type": "integer", "format": "int32"}
    schemas: dict[str, Any] = {"in_list": {"items": number}, "in_map": {"additionalProperties": number}}
    schemas |= {
        "const": number,
        "long": {"format": "int64"},
        "bounded": {"allOf": [{"minimum": 0}], **number},
    }
    schemas["data"] = {"const": {"format": "int32"}}  # no schema, a value
    contract = loaded(tmp_path, with_body({"properties": schemas}, required=True))

    def wrong(value: int, **values: object) -> set[str]:
        body = {"in_list": [value], "in_map": {"x": value}, "const": value, "long": value, "bounded": value}
        problems = engine_request(json.dumps(body | values).encode(), contract=contract)
        return {problem.partition(":")[0] for problem in problems}

    assert wrong(1, long=2**40, data={"format": "int32"}) == set()
    places = ("bounded", "const", "data", "in_list/0", "in_map/x", "long")
    assert wrong(2**31, bounded=-1, long=2**63, data={}) == {f"body /{place}" for place in places}


def test_a_pointer_escapes_what_rfc_6901_escapes(tmp_path: Path) -> None:
    contract = loaded(tmp_path, with_body({"additionalProperties": {"type": "string"}}))
    assert engine_request(b'{"a/b~c": 1}', contract=contract) == ['body /a~1b~0c: 1 is not of type "string"']


def test_an_optional_body_may_be_left_out(tmp_path: Path) -> None:
    assert engine_request(b"", contract=loaded(tmp_path, with_body({}))) == []


def in_path(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


NUMBERED = [{**in_path("engine_id")[0], "schema": INTEGER}]
LISTED = {"description": "", "content": {"application/json": {"example": [1]}}}
MINIMAL: dict[str, Any] = {
    **one_operation(),
    "security": [{"Token": []}],
    "paths": {
        "/engines/{engine_id}": {
            "parameters": in_path("engine_id"),
            "delete": {
                "operationId": "Delete",
                "parameters": NUMBERED,
                "responses": {204: {"description": "gone"}},
            },
            "get": {"responses": {"2XX": LISTED}},
        },
        "/engines/all": {"get": {"operationId": "ListAll", "security": [], "responses": {"default": {}}}},
        "/engines/{engine_id}.{ext}": {
            "parameters": in_path("engine_id", "ext"),
            "put": {"operationId": "Put", "responses": {"200": {}}},
        },
    },
}


@pytest.fixture
def minimal(tmp_path: Path) -> Contract:
    return loaded(tmp_path, MINIMAL)


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


def test_an_operations_own_parameter_replaces_the_paths(minimal: Contract) -> None:
    (problem,) = operation(minimal, "Delete").check_request({"engine_id": "e"}, "", {}, b"").problems
    assert str(problem) == 'path engine_id: "e" is not of type "integer"'


def test_an_operation_may_have_neither_id_nor_security_of_its_own(minimal: Contract) -> None:
    assert operation(minimal, "Delete").security == (frozenset({"Token"}),)
    assert operation(minimal, "ListAll").security == ()


def test_statuses_by_range_by_default_and_without_content(minimal: Contract) -> None:
    listing, delete = operation(minimal, "GET /engines/{engine_id}"), operation(minimal, "Delete")
    assert listing.check_response(206, JSON, b"[]") == []
    assert listing.check_response(300, JSON, b"[]") != []
    assert operation(minimal, "ListAll").check_response(599, {}, b"") == []
    assert delete.check_response(204, {}, b"") == []
    assert lines(delete.check_response(204, JSON, b"{}")) == ["body: must be empty with status 204"]
    assert delete.example() == (204, {}, None)
    with pytest.raises(LookupError, match="ListAll documents no successful status"):
        operation(minimal, "ListAll").example()


# --- Specs that are invalid -----------------------------------------------------------------------------------------


LOOP = {**one_operation(responses={"200": {"$ref": "#/a"}}), "a": {"$ref": "#/a"}}
DANGLING = with_body({"$ref": "#/components/schemas/No"})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("a: [1", "is not YAML: line 2, column 1: did not find expected"),
        ("- 1", "not a mapping"),
        ("a: 1", r"not a valid OpenAPI document .*'paths'"),
        (one_operation("/x/{id}"), "X: its path and its path parameters differ in id$"),
        (with_parameters("path", p=TEXT), "X: its path and its path parameters differ in p$"),
        (one_operation(parameters=[{"$ref": "#/nope"}]), "#/nope"),
        (one_operation(parameters=[{"$ref": "other.yaml#/x"}]), "or outside this file"),
        (LOOP, "it is circular"),
        (DANGLING, "X, .*/components/schemas/No"),
        (with_body({"type": "strnig"}), 'X, request body, application/json: .*: "strnig"'),
        (with_body({}, "text/xml"), "X, request body: only JSON .* text/xml"),
        (
            with_parameters("query", q={"type": "object"}),
            "X, parameter q: only path, query and header .* plain type",
        ),
        (with_parameters("cookie", c=TEXT), "X, parameter c: only path, query and header"),
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


def test_a_package_without_its_spec_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "src" / "installed_elsewhere"
    package.mkdir(parents=True)
    for name in ("__init__", "contract", "parsing"):
        shutil.copy(ROOT / "src" / "huaweicloud_retry" / f"{name}.py", package)
    monkeypatch.syspath_prepend(package.parent)
    elsewhere = importlib.import_module("installed_elsewhere.contract")
    with pytest.raises(elsewhere.SpecError) as error:
        elsewhere.Contract.load()
    looked = f"openapi.yaml is neither in the package nor at {tmp_path / 'openapi.yaml'}"
    assert str(error.value).startswith(looked)
    for folder in (tmp_path, package):  # then as in the wheel
        shutil.copy(SPEC, folder)
        assert elsewhere.Contract.load().source == str(folder / "openapi.yaml")
