"""The client's side of the contract: what it sends, and what it makes of each response, seen from outside.

schemathesis makes the calls and responses; what no schema says stands in tables. `EXAMPLES=1000 pytest
tests/contract/test_client.py` makes more of them, with SEED=2 others; a failing example is printed as the Python call
that repeats it.
"""

import hashlib
import itertools
import json
import keyword
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import attrs
import httpx
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from huaweicloud_retry import AkSkAuth, Resend
from huaweicloud_retry.mock.response import Encoded
from huaweicloud_retry_client import (
    APIResponseValidationError,
    APIStatusError,
    Client,
    InternalServerError,
    NotFoundError,
    models,
)
from tests.callers import ENGINE, OPERATIONS, Caller, FixedResponse
from tests.contract.calls import (
    ALL,
    CLASSES,
    DOCUMENT,
    SCHEMAS,
    Call,
    Callers,
    Operation,
    Wire,
    calls_of_the_spec,
    each_operation,
    exactly,
    has_no_model,
    property_test,
    sample,
    whole,
)
from tests.contract.wire import authorization
from tests.spec_checks import fields

# ---- requests


@each_operation
def test_each_request_that_the_spec_shows_is_accepted(
    operation: Operation, client: Client, callers: Callers
) -> None:
    for call in calls_of_the_spec(operation):
        assert callers.play(client, call) == []
    assert callers.wire.statuses == {200}


ODD = (
    *("..", ".", "", "%2e%2E", "%252e.", "a/b", "a%2Fb", "a?b#c", "a;b", "a b", "a+b", "é脚", "\ud800"),
    "...",
)


@each_operation
def test_an_odd_id_arrives_as_it_is_or_is_refused(
    operation: Operation, client: Client, callers: Callers
) -> None:
    call = calls_of_the_spec(operation)[0]
    for name in call.path:
        for id_ in ODD:
            callers.play(client, replace(call, path={**call.path, name: id_}))


@pytest.mark.parametrize(
    "body", [{}, {"x": 1}, {"task_id": "t"}, {"record_id": "脚", "x": {"y": [None, 1.5, True]}}], ids=str
)
def test_a_script_is_named_and_all_else_arrives(
    body: dict[str, Any], client: Client, callers: Callers
) -> None:
    (operation,) = (each for each in ALL if each.contract.id == "RetryScriptExecution")
    callers.play(client, replace(calls_of_the_spec(operation)[0], body=body))


TIMEOUTS: list[tuple[dict[str, Any], dict[str, Any], httpx.Timeout]] = [  # of a client, of a call
    ({}, {}, httpx.Timeout(60, connect=10)),
    ({"timeout": 7}, {}, httpx.Timeout(7)),
    ({}, {"timeout": 2.5}, httpx.Timeout(2.5)),
    ({"timeout": 7}, {"timeout": httpx.Timeout(3, read=1)}, httpx.Timeout(3, read=1)),
]


@each_operation
def test_the_four_functions_send_the_same_with_their_timeout_and_return_the_same(
    operation: Operation, client: Client, callers: Callers
) -> None:
    callers.play(client, whole(operation))
    functions = callers.functions(operation, "sync_detailed", "asyncio_detailed", "sync", "asyncio")
    for (of_client, of_call, timeout), status in itertools.product(TIMEOUTS, (200, 404)):
        transport = FixedResponse(status, operation.success)
        client = Client("http://h:81/a.b/c/", transport=transport, **of_client)
        outcomes: list[Any] = []
        for function in functions:
            try:
                outcomes.append(function(client=client, **whole(operation).arguments(), **of_call))
            except NotFoundError as error:
                outcomes.append(error)
        outcomes[:2] = [each.parsed or each.error for each in outcomes[:2]]
        assert len({repr(each) for each in outcomes}) == 1
        sent = [(each.method, each.url, each.headers, each.content) for each in transport.requests]
        assert sent == [sent[0]] * 4
        callers.functions(operation)[0](client=client, **calls_of_the_spec(operation)[0].arguments())
        for request in transport.requests:  # an ID with a dot at its end takes another way
            assert request.url.raw_path.startswith(b"/a.b/c/v2/")
        assert sent[0][2].get("content-length", "0") == str(len(sent[0][3]))
        assert [each.extensions["timeout"] for each in transport.requests[:4]] == [timeout.as_dict()] * 4


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\n", " a", "é", "\0"], ids=ascii)
def test_a_header_that_cannot_be_sent_is_refused(value: str, client: Client, callers: Callers) -> None:
    (operation,) = (each for each in ALL if each.contract.id == "RetryEngine")
    callers.play(client, replace(calls_of_the_spec(operation)[0], headers={"X-Enterprise-Project-ID": value}))


@pytest.mark.parametrize(
    "body", [None, {"record_id": "r"}, models.EngineActionRequest()], ids=["None", "dict", "other"]
)
def test_a_body_of_another_type_is_refused(body: Any, caller: Caller, wire: Wire) -> None:
    error = caller.error(OPERATIONS["RetryScriptExecution"], Client(wire.url), body=body)
    assert (type(error), wire.statuses) == (TypeError, set())


@each_operation
def test_a_signature_is_that_of_the_request_with_its_project_and_security_token(
    caller: Caller, operation: Operation, wire: Wire
) -> None:
    call = calls_of_the_spec(operation)[0]
    call = replace(call, path={name: f"{value} a/" for name, value in call.path.items()})
    if operation.contract.id == "ListScriptRecords":
        call = replace(call, query={"script_id": ["b c", "a"], "limit": 5, "status": ""})
    wire.given = Encoded(404, {}, b"")
    call = replace(call, headers=dict.fromkeys(operation.headers, "1"))
    auth = AkSkAuth("ak", "canary-sk", project_id="another", security_token="canary-st")
    own = replace(ENGINE, module=operation.module, arguments=call.arguments())
    caller.detailed(own, Client(wire.url, auth=auth))
    sent = wire.exchanges[-1].request
    names = sent.headers["authorization"].split("SignedHeaders=")[1].partition(",")[0].split(";")
    assert sent.headers["x-security-token"] == "canary-st"
    assert unquote(sent.path.split("/")[2]) == sent.headers["x-project-id"] == call.path["project_id"]
    date = sent.headers["x-sdk-date"]
    age = datetime.now(UTC) - datetime.strptime(f"{date}+0000", "%Y%m%dT%H%M%SZ%z")
    assert abs(age.total_seconds()) < 15 * 60
    own_names = map(str.lower, operation.headers)
    assert {"x-sdk-date", "host", "x-project-id", "x-security-token", *own_names} <= set(names)
    covered, hashed = {name: sent.headers[name] for name in names}, hashlib.sha256(sent.body).hexdigest()
    keys = "ak", "canary-sk"
    expected = authorization(keys, sent.method, sent.target, covered, date, hashed)
    assert sent.headers["authorization"] == expected


# ---- responses


def documented() -> list[Any]:
    return [
        pytest.param(operation, status, name, id=f"{operation.contract.id}-{status}-{name}")
        for operation in ALL
        for status, response in operation.responses
        for name in response["examples"]
    ]


@pytest.mark.parametrize(("operation", "status", "name"), documented())
def test_each_response_that_the_spec_shows_is_understood(
    operation: Operation, status: int, name: str, client: Client, callers: Callers
) -> None:
    shown = operation.contract.example(status, name)
    content = json.dumps(shown.body).encode()
    callers.wire.given = Encoded(status, {**shown.headers, "content-type": "application/json"}, content)
    callers.play(client, calls_of_the_spec(operation)[0])


@each_operation
def test_each_status_is_a_model_or_its_error_and_only_429_is_resent(
    operation: Operation, callers: Callers
) -> None:
    transport = FixedResponse(content=operation.success, headers={"location": "/", "retry-after": "0"})
    client = Client("http://h", transport=transport, resend=Resend(max_attempts=2))
    for status, function in itertools.product(range(200, 600), callers.functions(operation)):
        transport.status = status
        transport.requests.clear()
        result = function(client=client, **whole(operation).arguments())
        if status == 200:
            assert exactly(result.result().to_dict()) == exactly(json.loads(operation.success))
        else:
            by_class = {2: APIResponseValidationError, 5: InternalServerError}.get(
                status // 100, APIStatusError
            )
            # openapi.yaml, "Did it go through?"
            is_refused = (400 <= status < 500 and status != 499) or status in {501, 503, 505}
            unknown = not (is_refused or operation.contract.method == "GET")
            assert (type(result.error), result.parsed) == (CLASSES.get(status, by_class), None)
            assert (result.error.status_code, result.error.outcome_unknown) == (status, unknown)
        assert result.attempts == len(transport.requests) == 1 + (status == 429)


MISSING = object()


def places(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """Find each place in a document."""
    yield path
    for key, part in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(part, *path, key)


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a document with another value at a place, or none."""
    if not path:
        return value
    copied, (key, *rest) = document.copy(), path
    copied[key] = replaced(document[key], tuple(rest), value)
    if copied[key] is MISSING:
        del copied[key]
    return copied


@each_operation
def test_each_field_is_read_with_each_value_that_the_contract_allows_and_no_other(
    operation: Operation, callers: Callers
) -> None:
    full = sample(dict(operation.responses)[200]["schema"])
    transport = FixedResponse()
    client = Client("http://h", transport=transport)
    arguments = whole(operation).arguments()
    for path, value in itertools.product(
        places(full), (MISSING, None, True, 0, 7.0, 1.5, "", "7", [], {}, ["7"])
    ):
        if not path and value is MISSING:
            continue
        document = replaced(full, path, value)
        transport.content = json.dumps(document).encode()
        headers = {"content-type": "application/json"}
        is_valid = operation.contract.check_response(200, headers, transport.content) == []
        result = operation.module.sync_detailed(client=client, **arguments)
        assert (result.error is None) == is_valid, (path, value)
        if is_valid:  # to JSON Schema, 7.0 is an integer
            expected = replaced(full, path, 7) if value == 7.0 else document
            assert exactly(result.result().to_dict()) == exactly(expected), (path, value)
        else:
            assert result.error.outcome_unknown == (operation.contract.method != "GET")
    for transport.content in (b"", b"<html>", operation.success + b"x", operation.success[:-1]):
        for function in callers.functions(operation):
            assert type(function(client=client, **arguments).error) is APIResponseValidationError


# ---- what schemathesis makes of the spec


@each_operation
def test_what_keeps_the_contract_goes_out_as_it_is_and_the_response_comes_back_as_it_is(
    operation: Operation, client: Client, callers: Callers
) -> None:
    def check(call: Call) -> None:
        assert callers.play(client, call) == []

    def known(call: Call, shown: Call) -> Call:
        return replace(call, path=shown.path, body=shown.body and call.body | shown.body)

    known_calls = st.builds(known, operation.calls(), st.sampled_from(calls_of_the_spec(operation)))
    property_test(check, call=known_calls | operation.calls())
    assert 200 in callers.wire.statuses


@pytest.mark.parametrize("operation", [each for each in ALL if each.model], ids=lambda each: each.contract.id)
def test_what_breaks_the_contract_goes_out_as_it_is_and_comes_back_as_a_bad_request(
    operation: Operation, client: Client, callers: Callers
) -> None:
    def check(call: Call) -> None:
        try:
            call.arguments()
        except (KeyError, TypeError, ValueError):
            content = json.dumps(call.body).encode()
            checked = operation.contract.check_request({}, "", {"Content-Type": "application/json"}, content)
            assert [problem for problem in checked.problems if problem.where.startswith("body")]
        else:
            assert not has_no_model(operation.schema, call.body)
            callers.play(client, call)

    property_test(check, call=operation.calls(GenerationMode.NEGATIVE))


def documents(schema: object) -> st.SearchStrategy[Any]:
    """What schemathesis generates for a schema: as the body of a request, which it has in a spec of its own."""
    operation = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
    paths = {"/": {"post": operation | {"responses": {"200": {"description": ""}}}}}
    spec = {"openapi": "3.1.0", "info": DOCUMENT["info"], "paths": paths, "components": {"schemas": SCHEMAS}}
    loaded: Any = schemathesis.openapi.from_dict(spec, config=SchemathesisConfig())
    cases: st.SearchStrategy[Any] = loaded["/"]["POST"].as_strategy()
    return cases.map(lambda case: with_whole_numbers(case.body))


def with_whole_numbers(value: Any) -> Any:
    """Write 1.0 as 1: the client returns an int. A test of its own has integers that are written as 1.0."""
    if isinstance(value, dict):
        return {name: with_whole_numbers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [with_whole_numbers(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@each_operation
def test_any_response_that_keeps_the_contract_is_read_whole(
    operation: Operation, client: Client, callers: Callers
) -> None:
    def check(status: int, document: Any) -> None:
        content = json.dumps(document).encode()
        callers.wire.given = Encoded(status, {"content-type": "application/json"}, content)
        callers.play(client, calls_of_the_spec(operation)[0])

    responses = [
        st.tuples(st.just(status), documents(media["schema"])) for status, media in operation.responses
    ]
    property_test(lambda response: check(*response), response=st.one_of(responses))


# ---- models

MODELS: dict[str, Any] = {
    name: getattr(models, name) for name in models.__all__ if attrs.has(getattr(models, name))
}


plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
anything = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)


def names_that_clash(model: Any) -> list[str]:
    """What means something to Python, to the model, or in the functions that read and write it."""
    functions = (model.from_dict.__func__, model.to_dict)
    variables = {name for function in functions for name in function.__code__.co_varnames}
    return sorted({"", "UNSET", *keyword.kwlist, *dir(model), *variables})


@pytest.mark.parametrize("name", sorted(MODELS.keys() & SCHEMAS.keys()))
def test_a_round_trip_loses_nothing_and_adds_nothing_whatever_else_there_is(name: str) -> None:
    model = MODELS[name]

    def check(document: dict[str, Any], unknown: dict[str, Any]) -> None:
        document = unknown | document
        before = exactly(document)
        assert exactly(model.from_dict(document).to_dict()) == before
        assert exactly(document) == before

    known = {field.metadata.get("name", field.name) for field in attrs.fields(model)}
    assert known >= {field for field, _, _ in fields(SCHEMAS[name])}
    names = (st.sampled_from(names_that_clash(model)) | st.text(max_size=5)).filter(lambda n: n not in known)
    property_test(
        check,
        document=documents({"$ref": f"#/components/schemas/{name}"}),
        unknown=st.dictionaries(names, anything, max_size=3),
    )
