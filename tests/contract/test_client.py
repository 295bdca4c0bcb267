"""The client's side of the contract: what it sends, and what it makes of each response, seen from outside.

A server on a real socket keeps each request, and responds as the mock does, or with whatever else a server may send.
schemathesis makes the calls and responses; what no schema says stands in tables. `EXAMPLES=1000 pytest
tests/contract/test_client.py` makes more of them, with SEED=2 others; a failing example is printed as the Python call
that repeats it.
"""

import asyncio
import hashlib
import importlib
import inspect
import json
import keyword
import os
import pkgutil
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, unquote

import attrs
import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from huaweicloud_retry import AkSkAuth, IAMAuthenticationError, PasswordAuth, Resend, TokenAuth
from huaweicloud_retry.contract import Contract, Match, Problem
from huaweicloud_retry.contract import Operation as ContractOperation
from huaweicloud_retry.mock.app import App
from huaweicloud_retry.mock.faults import Faults
from huaweicloud_retry.mock.request import MockRequest
from huaweicloud_retry.mock.response import Encoded
from huaweicloud_retry.mock.server import serving
from huaweicloud_retry.mock.state import State, read_state
from huaweicloud_retry.mock.wire import Pause
from huaweicloud_retry_client import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    Client,
    InternalServerError,
    MethodNotAllowedError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    Response,
    api,
    models,
)
from tests.callers import ACCEPTED, ENGINE, OPERATIONS, Caller, FixedResponse, LoopbackServer, raw_response
from tests.connections import Line, Mode, Server, client_of, in_child, outcome, response
from tests.contract.suite import whole_number
from tests.contract.wire import authorization
from tests.spec_checks import fields

ROOT = Path(__file__).parents[2]
EXAMPLES, SEED = whole_number("EXAMPLES", 10), whole_number("SEED", 1)
CONTRACT = Contract.load(ROOT / "openapi.yaml")
DOCUMENT: Any = CONTRACT.document
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
SCHEMA = schemathesis.openapi.from_path(ROOT / "openapi.yaml", config=SchemathesisConfig())
TOKEN = "canary-t0ken"
CREDENTIALS = {scheme["name"] for scheme in DOCUMENT["components"]["securitySchemes"].values()}

CLASSES: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    429: RateLimitError,
}

both = pytest.mark.parametrize("caller", [Caller("sync"), Caller("asyncio")], ids=lambda caller: caller.name)

# Whatever is retried fails again at once, or only the first retry of each thing would be accepted.
STATE = b"""
run_time: 0
credentials: {tokens: {canary-t0ken: {}}, users: {canary-user: {password: canary-passw0rd, domain: d}}}
projects:
  demo-project:
    engines:
      4a1bc63d-4719-4bd3-b1ad-5ee590b05e87: {name: "it's \\"one\\"", jobs: [{id: 18638, status: Finished}, {id: -2147483648, status: Error, retries_end: [Error]}]}
    script_tasks:
      '0000000059071dbc01591661d3990019':
        records: {'0000000059071dbc01591661d3990020': {status: FAILED, retries_end: [FAILED]}}
"""


# ---- the operations of the spec, and what the generator made of them


def snake(name: str) -> str:
    """The name that the generator gives to a module or an argument."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\W+", "_", name).lower()


def follow(node: Any) -> Any:
    while "$ref" in node:
        node = reduce(getitem, node["$ref"].split("/")[1:], DOCUMENT)
    return node


MODULES: dict[str, ModuleType] = {
    info.name.rpartition(".")[2]: importlib.import_module(info.name)
    for info in pkgutil.walk_packages(api.__path__, f"{api.__name__}.")
}


@dataclass(frozen=True)
class Operation:
    """An operation in the three forms in which it is here: the contract's, schemathesis's and the client's."""

    contract: ContractOperation

    @property
    def document(self) -> Any:
        return DOCUMENT["paths"][self.contract.path][self.contract.method.lower()]

    @property
    def responses(self) -> list[tuple[int, Any]]:
        """Of each documented status with a body, the schema and examples."""
        responses = [
            (int(status), follow(response)) for status, response in self.document["responses"].items()
        ]
        return [
            (status, media)
            for status, response in responses
            for media in response.get("content", {}).values()
        ]

    @property
    def generator(self) -> Any:
        return SCHEMA[self.contract.path][self.contract.method]

    @property
    def module(self) -> ModuleType:
        return MODULES[snake(self.contract.id)]

    @property
    def model(self) -> Any:
        """Of the request's body; None if it has none."""
        body = inspect.signature(self.module.sync_detailed).parameters.get("body")
        return body and body.annotation

    @property
    def schema(self) -> Any:
        """Of the model."""
        return SCHEMAS.get(self.model.__name__, {}) if self.model else {}

    @property
    def headers(self) -> list[str]:
        return [header.name for header in self.generator.headers if header.name not in CREDENTIALS]

    def typed(self, name: str, value: Any) -> Any:
        """Turn what a query has as text into what the client takes."""
        (parameter,) = (each for each in self.generator.query if each.name == name)
        type_ = parameter.definition["schema"].get("type")
        return json.loads(value) if type_ in {"boolean", "integer"} and isinstance(value, str) else value

    def calls(self, mode: GenerationMode = GenerationMode.POSITIVE) -> st.SearchStrategy["Call"]:
        """What schemathesis generates, but for bodies that are no JSON object: no model can be made of them."""
        cases: st.SearchStrategy[Any] = self.generator.as_strategy(generation_mode=mode)
        calls = cases.filter(lambda case: isinstance(case.body, dict) or not self.model).map(
            partial(Call.of, self)
        )
        # The client takes nothing for the query but what has the type that the contract says.
        return calls if mode is GenerationMode.POSITIVE else calls.map(lambda call: replace(call, query={}))


@dataclass(frozen=True)
class Call:
    """A call of the client, with what is to arrive."""

    operation: Operation
    path: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    """A JSON object; None for none."""
    media_type: str | None
    query: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, operation: Operation, case: Any) -> "Call":
        path = {
            name: unquote(text) for name, text in case.path_parameters.items()
        }  # they come percent-encoded
        headers = {name: case.headers[name] for name in operation.headers if name in case.headers}
        body = case.body if operation.model else None
        query = {name: operation.typed(name, value) for name, value in (case.query or {}).items()}
        return cls(operation, path, headers, body, case.media_type, query)

    def __repr__(self) -> str:
        arguments = [f"{name}={value!r}" for name, value in self._values.items()]
        if model := self.operation.model:
            arguments.append(f"body={model.__name__}.from_dict({self.body!r})")
        return f"{snake(self.operation.contract.id)}.sync_detailed({', '.join(arguments)}, client=client)"

    @property
    def _values(self) -> dict[str, Any]:
        return {snake(name): value for name, value in {**self.path, **self.query, **self.headers}.items()}

    def arguments(self) -> dict[str, Any]:
        model = self.operation.model
        return self._values | ({"body": model.from_dict(self.body)} if model else {})

    def pairs(self) -> list[tuple[str, str]]:
        """What the query is to have."""
        return [
            (name, str(each).lower() if isinstance(each, bool) else str(each))
            for name, value in self.query.items()
            for each in (value if isinstance(value, list) else [value])
        ]


ALL = [Operation(operation) for operation in CONTRACT.operations]
each_operation = pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.contract.id)


# ---- the wire


@dataclass(frozen=True)
class Exchange:
    """A request as it arrived, and the response to it."""

    request: MockRequest
    response: Encoded


class Wire:
    """An application that keeps what passes: the mock, or whatever responds in its place."""

    def __init__(self) -> None:
        self.url = ""
        self.exchanges: list[Exchange] = []
        self.statuses: set[int] = set()
        self.given: Encoded | None = None
        self.next: list[Encoded | None] = []
        """The responses to the next requests, but those to IAM; None: the mock's."""
        self._mock = App(CONTRACT, State(read_state(STATE)), Faults())

    async def __call__(self, request: MockRequest, pause: Pause) -> Encoded:
        is_of_iam = request.path.startswith("/v3/")
        next_one = None if is_of_iam or not self.next else self.next.pop(0)
        responded = self.given or next_one or await self._mock(request, pause)
        self.exchanges.append(Exchange(request, responded))
        self.statuses.add(responded.status)
        return responded


@dataclass(frozen=True)
class Callers:
    """A client, called sync and async."""

    wire: Wire
    loop: asyncio.Runner

    def functions(self, operation: Operation) -> list[Callable[..., Response[Any]]]:
        async def run(**arguments: Any) -> Response[Any]:
            response: Response[Any] = await operation.module.asyncio_detailed(**arguments)
            return response

        return [operation.module.sync_detailed, lambda **arguments: self.loop.run(run(**arguments))]

    def play(self, client: Client, call: Call) -> list[Problem]:
        """Call both ways, hold what passed to the contract, and return what the contract has against the data."""
        rules = "|".join(refusals(call))
        problems: list[Problem] = []
        for function in self.functions(call.operation):
            arguments = call.arguments()
            self.wire.exchanges.clear()
            if rules:
                with pytest.raises(ValueError, match=rules):
                    function(**arguments, client=client)
                assert self.wire.exchanges == []
            else:
                result = function(**arguments, client=client)
                (exchange,) = self.wire.exchanges
                problems += check_exchange(call, exchange, result)
        return problems


@pytest.fixture(scope="module")
def server() -> Iterator[Wire]:
    wire = Wire()
    with serving(wire) as wire.url:
        yield wire


@pytest.fixture
def wire(server: Wire) -> Wire:
    server.given, server.next = None, []
    server.statuses.clear()
    return server


@pytest.fixture
def callers(wire: Wire) -> Iterator[Callers]:
    with asyncio.Runner() as loop:
        yield Callers(wire, loop)


@pytest.fixture
def client(callers: Callers) -> Iterator[Client]:
    client = Client(callers.wire.url, auth=TokenAuth(TOKEN))
    yield client
    callers.loop.run(client.aclose())


# ---- what has to hold


def exactly(document: object) -> str:
    """JSON in one form only: 1 is not 1.0 is not true."""
    return json.dumps(document, sort_keys=True)


def refusals(call: Call) -> Iterator[str]:
    """Find the documented rules by which the client sends nothing, in the words of its error; if there are none it has to."""
    for name, text in call.path.items():
        if re.search("[\ud800-\udfff]", text):
            yield "surrogates not allowed"
        elif {"", ".", ".."} & set(decodings(text)):
            yield f"{snake(name)} is .* would change the path of the request"
    for name, text in call.headers.items():
        if text.strip(" \t") != text or not re.fullmatch(r"[\t -~]*", text):
            yield f"the value of header {name} must be a str of printable ASCII"
    names: list[str] = call.operation.schema.get("x-at-least-one-of", [])
    if names and not any(name in call.body for name in names):
        yield f"needs {' or '.join(map(snake, names))}; neither was given"


def has_no_model(schema: Any, body: Any) -> bool:
    """Say whether a body lacks what a model must have, or has another value where there is one only."""
    only = {name: part["const"] for name, part in schema.get("properties", {}).items() if "const" in part}
    missing = [name for name in schema.get("required", []) if name not in body]
    return bool(missing) or any(body.get(name, value) != value for name, value in only.items())


def decodings(text: str) -> Iterator[str]:
    """A text percent-decoded once, twice …, as proxies on the way may do."""
    yield text
    while (decoded := unquote(text)) != text:
        yield (text := decoded)


def check_exchange(call: Call, exchange: Exchange, result: Response[Any]) -> list[Problem]:
    """Hold a request to the data that it was made of, and all to the contract; return what that has against the data."""
    sent, came = exchange.request, exchange.response
    match = CONTRACT.match(sent.method, sent.path)
    assert isinstance(match, Match)
    assert match.operation is call.operation.contract
    assert match.path_params == call.path
    assert sorted(parse_qsl(sent.query, keep_blank_values=True)) == sorted(call.pairs())
    headers = {name.lower(): value for name, value in call.headers.items()}
    if call.media_type:
        headers |= {"content-type": call.media_type, "content-length": str(len(sent.body))}
    headers |= {"accept": "application/json", "x-auth-token": TOKEN}
    assert {
        n: sent.headers[n] for n in sent.headers.keys() - {"host", "user-agent", "accept-encoding"}
    } == headers
    assert re.fullmatch(r"127\.0\.0\.1:\d+", sent.headers["host"])
    assert sent.body == b"" if call.body is None else exactly(json.loads(sent.body)) == exactly(call.body)
    problems = match.operation.check_request(match.path_params, sent.query, sent.headers, sent.body).problems
    check_response_of(call.operation, came, result)
    if problems:
        assert type(result.error) is BadRequestError
    return problems


def check_response_of(operation: Operation, came: Encoded, result: Response[Any]) -> None:
    """Hold a response to the contract, and what the client made of it to the response."""
    assert operation.contract.check_response(came.status, came.headers, came.content) == []
    assert (result.status_code, result.content) == (came.status, came.content)
    if came.status == 200:  # the only success that is documented
        assert result.error is None
        assert exactly(result.result().to_dict()) == exactly(json.loads(came.content))
    else:
        by_status = InternalServerError if came.status >= 500 else APIStatusError
        assert type(result.error) is CLASSES.get(came.status, by_status)
        assert result.parsed is None


def property_test(function: Callable[..., object], **strategies: st.SearchStrategy[Any]) -> None:
    """Run a function with examples, and show those with which it fails."""

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.filter_too_much],
    )
    @given(**strategies)
    def run(**example: Any) -> None:
        for name, value in example.items():
            note(f"{name} = {value!r}")
        function(**example)

    run()


# ---- requests


def calls_of_the_spec(operation: Operation) -> list[Call]:
    """The requests that the spec shows, of things that the mock knows."""
    path = {
        parameter.name: parameter.definition["example"] for parameter in operation.generator.path_parameters
    }
    if not operation.model:
        return [Call(operation, path, {}, None, None)]
    return [
        Call(operation, path, {}, example["value"], media_type)
        for media_type, media in operation.document["requestBody"]["content"].items()
        for example in media["examples"].values()
    ]


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


def test_each_parameter_of_a_list_arrives(client: Client, callers: Callers) -> None:
    (operation,) = (each for each in ALL if each.contract.id == "ListScriptRecords")
    query = {
        "offset": 0,
        "limit": 7,
        "script_id": ["a&b", "c=d"],
        "resource_id": ["é", ","],
        "show_history": True,
    }
    callers.play(client, replace(calls_of_the_spec(operation)[0], query=query))


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\n", " a", "é", "\0"], ids=ascii)
def test_a_header_that_cannot_be_sent_is_refused(value: str, client: Client, callers: Callers) -> None:
    (operation,) = (each for each in ALL if each.contract.id == "RetryEngine")
    callers.play(client, replace(calls_of_the_spec(operation)[0], headers={"X-Enterprise-Project-ID": value}))


@pytest.mark.parametrize(
    "body", [None, {"record_id": "r"}, models.EngineActionRequest()], ids=["None", "dict", "other"]
)
@both
def test_a_body_of_another_type_is_refused(body: Any, caller: Caller, wire: Wire) -> None:
    error = caller.error(OPERATIONS["RetryScriptExecution"], Client(wire.url), body=body)
    assert (type(error), wire.statuses) == (TypeError, set())


@each_operation
@both
def test_a_signature_is_that_of_the_request_with_its_project_and_security_token(
    caller: Caller, operation: Operation, wire: Wire
) -> None:
    call = calls_of_the_spec(operation)[0]
    call = replace(call, path={name: f"{value} a/" for name, value in call.path.items()})
    if operation.contract.id == "ListScriptRecords":
        call = replace(call, query={"script_id": ["b c", "a"], "limit": 5})
    wire.given = Encoded(404, {}, b"")
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
    assert {"x-sdk-date", "host", "x-project-id", "x-security-token"} <= set(names)
    covered, hashed = {name: sent.headers[name] for name in names}, hashlib.sha256(sent.body).hexdigest()
    keys = "ak", "canary-sk"
    expected = authorization(keys, sent.method, sent.target, covered, date, hashed)
    assert sent.headers["authorization"] == expected


MOCKED = {"project_id": "demo-project", "engine_id": "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"}


@pytest.mark.parametrize("code", ["APIGW.0301", "APIG.0307", "APIC.0307"])
@both
def test_a_token_that_the_gateway_refuses_is_renewed(caller: Caller, code: str, wire: Wire) -> None:
    auth = PasswordAuth("canary-user", "canary-passw0rd", domain_name="d", iam_endpoint=wire.url)
    wire.next = [None, Encoded(401, {}, json.dumps({"error_code": code}).encode())]
    wire.exchanges.clear()
    jobs = caller.calls(ENGINE, Client(wire.url, auth=auth), MOCKED, MOCKED)
    assert [job.id for job in jobs] == [MOCKED["engine_id"]] * 2
    assert [each.response.status for each in wire.exchanges] == [201, 200, 401, 201, 200]


@both
def test_a_wrong_password_is_sent_once(caller: Caller, wire: Wire) -> None:
    auth = PasswordAuth("canary-user", "wrong", domain_name="d", iam_endpoint=wire.url)
    wire.exchanges.clear()
    errors = [caller.error(ENGINE, Client(wire.url, auth=auth)) for _ in range(2)]
    assert {type(error) for error in errors} == {IAMAuthenticationError}
    assert [each.response.status for each in wire.exchanges] == [401]


@both
def test_an_operation_of_another_service_is_not_sent(caller: Caller, wire: Wire) -> None:
    error = caller.error(OPERATIONS["RetryScriptExecution"], Client(wire.url, service="cse"))
    assert (type(error), wire.statuses) == (ValueError, set())


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


BROKEN: dict[str, Any] = {
    "no jobId": {"id": "e", "name": "n"},
    "job_id": {"id": "e", "name": "n", "job_id": 1},
    "jobId is text": {"id": "e", "name": "n", "jobId": "1"},
    "jobId is true": {"id": "e", "name": "n", "jobId": True},
    "id is null": {"id": None, "name": "n", "jobId": 1},
    "a list": [{"id": "e", "name": "n", "jobId": 1}],
    "no object": None,
}


@pytest.mark.parametrize(
    "content", [*(json.dumps(each).encode() for each in BROKEN.values()), b"<html>", b""], ids=ascii
)
@both
def test_a_success_that_breaks_the_contract_is_an_error_of_unknown_outcome(
    caller: Caller, content: bytes, wire: Wire
) -> None:
    wire.given = Encoded(200, {"content-type": "application/json"}, content)
    error = caller.error(ENGINE, Client(wire.url))
    assert (type(error), error.outcome_unknown) == (APIResponseValidationError, True)


# Statuses, and what they say of the request: openapi.yaml, "Did it go through?".
KNOWN = {
    **dict.fromkeys((400, 401, 403, 404, 405, 409, 413, 414, 429, 494, 503), False),
    **dict.fromkeys((201, 204, 302, 499, 500, 502, 504), True),
}


@pytest.mark.parametrize(("status", "outcome_unknown"), KNOWN.items())
@both
def test_a_status_is_raised_as_its_class_and_says_whether_the_request_may_have_been_processed(
    caller: Caller, status: int, wire: Wire, *, outcome_unknown: bool
) -> None:
    wire.given = Encoded(status, {"location": "/"}, b"" if status == 204 else ACCEPTED)
    wire.exchanges.clear()
    error = caller.error(ENGINE, Client(wire.url))
    by_class = {2: APIResponseValidationError, 5: InternalServerError}.get(status // 100, APIStatusError)
    assert (type(error), error.outcome_unknown) == (CLASSES.get(status, by_class), outcome_unknown)
    assert len(wire.exchanges) == 1


@pytest.mark.parametrize(
    ("after", "seconds"),
    [({"retry-after": "2"}, 2), ({"retry-after": "3600"}, 3600), ({"retry-after": "Thu, 01 Oct 2026 12:00:09 GMT"}, 9), ({"retry-after": "x"}, None), ({}, None)],
    ids=str,
)  # fmt: skip
@both
def test_an_error_says_what_the_server_said(
    caller: Caller, after: dict[str, str], seconds: float | None, wire: Wire
) -> None:
    body = {"error_code": "APIGW.0308", "error_msg": "Too much.", "detail": "d"}
    headers = {"x-request-id": "r-1", "date": "Thu, 01 Oct 2026 12:00:00 GMT", **after}
    wire.given = Encoded(429, headers, json.dumps(body).encode())
    error = caller.error(ENGINE, Client(wire.url))
    assert (error.error_code, error.error_msg, error.detail) == tuple(body.values())
    assert (error.request_id, error.retry_after) == ("r-1", seconds)


@pytest.mark.parametrize(
    ("status", "requests"), [(429, 3), *((status, 1) for status in (400, 401, 500, 502, 503, 504))]
)
@both
def test_only_what_was_not_processed_is_sent_again_and_after_the_time_that_was_asked_for(
    caller: Caller, status: int, requests: int, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr("asyncio.sleep", wait)
    wire.given = Encoded(status, {"retry-after": "40"}, ACCEPTED)
    wire.exchanges.clear()
    client = Client(wire.url, resend=Resend(max_attempts=3, initial_backoff=0, max_backoff=60))
    caller.error(ENGINE, client.with_resend(None))
    assert len(wire.exchanges) == 1
    caller.error(ENGINE, client)
    assert len(wire.exchanges) == 1 + requests
    assert [40 <= seconds <= 50 for seconds in waited if seconds] == [True] * (requests - 1)


# ---- connections


@both
def test_of_a_connection_that_was_refused_nothing_was_sent(caller: Caller) -> None:
    with socket.socket() as held:  # an address that nobody listens at
        held.bind(("127.0.0.1", 0))
        error = caller.error(ENGINE, Client(f"http://127.0.0.1:{held.getsockname()[1]}"))
    assert (type(error), error.outcome_unknown) == (APIConnectionError, False)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [(b"", None), (b"HTTP/1.1 200", None), (b"SSH-2.0\r\n", None), (HEAD + ACCEPTED, 200)],
    ids=ascii,
)
@both
def test_a_response_that_breaks_off_leaves_the_outcome_unknown_and_nothing_is_sent_again(
    caller: Caller, raw: bytes, status: int | None
) -> None:
    with LoopbackServer(raw) as server:
        error = caller.error(ENGINE, Client(server.url, resend=Resend(initial_backoff=0)))
    assert (getattr(error, "status_code", None), error.outcome_unknown) == (status, True)
    assert len(server.requests) == 1


@both
def test_a_response_has_its_time_as_a_whole(caller: Caller) -> None:
    with LoopbackServer(HEAD, drip=ACCEPTED.ljust(1000)) as server:  # 10 s, each read of it 10 ms
        error = caller.error(ENGINE, Client(server.url, timeout=httpx.Timeout(10, read=0.3)))
    assert (type(error), error.problem[-20:]) == (APIResponseValidationError, "not complete in time")


@both
def test_no_response_in_time_leaves_the_outcome_unknown(caller: Caller) -> None:
    with LoopbackServer(None) as server:
        error = caller.error(ENGINE, Client(server.url, timeout=httpx.Timeout(10, read=0.05)))
    assert (type(error), error.outcome_unknown, len(server.requests)) == (APITimeoutError, True, 1)


@both
def test_what_left_in_part_leaves_the_outcome_unknown(caller: Caller) -> None:
    released = threading.Event()
    body = models.RetryScriptExecutionRequest(record_id="r" * (1 << 24))

    def serve(_: Line) -> None:
        released.wait(60)

    with Server(serve) as server:
        client = Client(server.url, timeout=httpx.Timeout(10, write=0.2))
        error = caller.error(OPERATIONS["RetryScriptExecution"], client, body=body)
        released.set()
    assert (type(error), error.outcome_unknown) == (APITimeoutError, True)


@both
def test_a_timeout_is_that_of_the_call_or_client_or_a_minute(caller: Caller) -> None:
    transport = FixedResponse(content=ACCEPTED)
    for client in (
        Client("http://h", transport=transport),
        Client("http://h", transport=transport, timeout=7),
    ):
        caller.calls(ENGINE, client, {}, {"timeout": 2.5})
    reads = [request.extensions["timeout"]["read"] for request in transport.requests]
    assert reads == [60, 2.5, 7, 2.5]


@pytest.mark.parametrize(("status", "most"), [(200, 16 << 20), (404, 1 << 20)])
@both
def test_a_body_is_read_to_its_limit_only(caller: Caller, status: int, most: int) -> None:
    with LoopbackServer(raw_response(status, ACCEPTED + b" " * most)) as server:
        result = caller.detailed(ENGINE, Client(server.url))
    assert (len(result.content), result.problem) == (1 << 20, f"its body has more than {most} bytes")


@both
def test_an_interim_response_is_passed_over(caller: Caller) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"
    with LoopbackServer(interim + raw_response(200, ACCEPTED)) as server:
        assert caller.call(ENGINE, Client(server.url)).job_id == 18638


def spoilt_by(late: bytes) -> Callable[[Line], None]:
    """Send a response, and something behind it when the next call is about to begin."""

    def serve(line: Line) -> None:
        if engine := line.request():
            line.socket.sendall(response(engine))
            SPOIL.acquire()
            line.socket.sendall(late)
            SPOILT.release()
            line.request()

    return serve


SPOIL, SPOILT = threading.Semaphore(0), threading.Semaphore(0)


@pytest.fixture(params=["sync", "asyncio"])
def mode(request: pytest.FixtureRequest) -> Iterator[Mode]:
    mode = Mode(request.param)
    with mode.runner:
        yield mode


@pytest.mark.parametrize("behind", [b"x", b"\r\n", response(666)], ids=ascii)
def test_what_comes_behind_a_response_is_never_the_next_one(mode: Mode, behind: bytes) -> None:
    def serve(line: Line) -> None:
        while engine := line.request():
            line.socket.sendall(response(engine) + behind)

    with Server(serve) as server, client_of(mode, server.url) as client:
        assert [mode.call(client, engine) for engine in (1, 2, 3)] == [1, 2, 3]
        assert (server.connections, server.requests) == (3, [1, 2, 3])


def test_what_comes_while_a_connection_is_idle_is_never_the_next_response(mode: Mode) -> None:
    with Server(spoilt_by(response(666))) as server, client_of(mode, server.url) as client:
        for engine in (1, 2):
            assert mode.call(client, engine) == engine
            SPOIL.release()
            assert SPOILT.acquire(timeout=60)
        assert (server.connections, server.requests) == (2, [1, 2])


@pytest.mark.parametrize(("header", "connections"), [("Connection: keep-alive", 1), ("Connection: Close", 3)])
@both
def test_a_connection_is_used_again_unless_the_server_closes_it(
    caller: Caller, header: str, connections: int
) -> None:
    with LoopbackServer(raw_response(200, ACCEPTED, header), keep_open=True) as server:
        assert len(caller.calls(ENGINE, Client(server.url), {}, {}, {})) == 3
        assert server.connections == connections


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_connections_of_its_own(mode: Mode) -> None:
    with Server() as server, client_of(mode, server.url) as client:

        def check(own: Mode, first: int) -> None:
            assert [own.call(client, first + n) for n in range(20)] == [first + n for n in range(20)]

        check(mode, 1)
        assert outcome(in_child(lambda: check(mode.other(), 100))) == 0
        assert server.connections == 2


# ---- secrets


KEYS = AkSkAuth("ak", "canary-sk", security_token=TOKEN)


@pytest.mark.parametrize("auth", [TokenAuth(TOKEN), KEYS], ids=["token", "security token"])
@pytest.mark.parametrize("status", [200, 201, 400, 401, 500])
@both
def test_no_repr_or_error_shows_a_token(caller: Caller, status: int, wire: Wire, auth: httpx.Auth) -> None:
    echo = json.dumps({"error_code": TOKEN, "error_msg": f"No {TOKEN} here", "id": TOKEN}).encode()
    headers = {"x-echo": TOKEN, "x-request-id": TOKEN}
    content = ACCEPTED.replace(b"}", b',"x":"canary-body"}') if status == 200 else echo
    wire.given = Encoded(status, headers, content)
    client = Client(wire.url, auth=auth)
    result = caller.detailed(ENGINE, client)
    shown = [repr(client), repr(attrs.evolve(result, parsed=None))]
    if error := result.error:
        shown += [repr(error), str(error), str(vars(error))]
    assert not [text for text in shown if "canary" in text]


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
    """To JSON Schema 1.0 is an integer as well; to the client it is none, and no service writes one so."""
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
