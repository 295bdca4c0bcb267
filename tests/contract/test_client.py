"""The client's side of the contract: what it sends, and what it makes of each response, seen from outside.

A server on a real socket keeps each request, and responds as the mock does, or with whatever else a server may send.
schemathesis makes the calls and responses; what no schema says stands in tables. `EXAMPLES=1000 pytest
tests/contract/test_client.py` makes more of them, with SEED=2 others; a failing example is printed as the Python call
that repeats it.
"""

import asyncio
import gzip
import hashlib
import importlib
import inspect
import itertools
import json
import keyword
import os
import pickle
import pkgutil
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from operator import getitem, or_
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, unquote

import attrs
import httpx
import pytest
import schemathesis
import trio
import trustme
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from huaweicloud_retry import (
    AkSkAuth,
    APIRequestValidationError,
    ConfigurationError,
    IAMAuthenticationError,
    IAMError,
    PasswordAuth,
    Resend,
    TokenAuth,
    connect,
)
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
    APIError,
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
from tests.callers import (
    ACCEPTED,
    ENGINE,
    OPERATIONS,
    SECRET,
    Caller,
    FixedResponse,
    LoopbackServer,
    Request,
    raw_response,
)
from tests.connections import (
    Line,
    Mode,
    Server,
    client_of,
    in_child,
    outcome,
    respond,
    response,
    tls_contexts,
    turns,
)
from tests.contract.suite import whole_number
from tests.contract.wire import authorization
from tests.leaks import Check, shown
from tests.spec_checks import fields

ROOT = Path(__file__).parents[2]
EXAMPLES, SEED = whole_number("EXAMPLES", 10), whole_number("SEED", 1)
CONTRACT = Contract.load(ROOT / "openapi.yaml")
DOCUMENT: Any = CONTRACT.document
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
SCHEMA = schemathesis.openapi.from_path(ROOT / "openapi.yaml", config=SchemathesisConfig())
TOKEN = "canary-t0ken"
KEYS = AkSkAuth("ak", "canary-sk", security_token=TOKEN)
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
    def success(self) -> bytes:
        """The first example of its 200."""
        return json.dumps(next(iter(dict(self.responses)[200]["examples"].values()))["value"]).encode()

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

    def functions(self, operation: Operation, *names: str) -> list[Callable[..., Any]]:
        """Return functions of an operation, all of them sync; by default those that return a Response."""
        names = names or ("sync_detailed", "asyncio_detailed")
        return [partial(self._call, getattr(operation.module, name)) for name in names]

    def _call(self, function: Callable[..., Any], **arguments: Any) -> Any:
        made = function(**arguments)
        return self.loop.run(made) if inspect.iscoroutine(made) else made

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


@pytest.fixture(scope="module", autouse=True)
def _time_zone() -> Iterator[None]:
    """Run all tests where local time is not UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Kathmandu")
        time.tzset()
        yield
    time.tzset()


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
    headers |= {"accept-encoding": "identity"}
    assert {n: sent.headers[n] for n in sent.headers.keys() - {"host", "user-agent"}} == headers
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


def sample(schema: Any) -> Any:
    """Return a value of a schema, with all that it may have: each field, and two items in a list."""
    schema = follow(schema)
    if parts := schema.get("allOf"):
        return reduce(or_, map(sample, parts))
    if parts := schema.get("anyOf"):
        return sample(parts[0])
    types = schema.get("type", "string")
    type_ = types if isinstance(types, str) else types[0]
    if type_ == "object":
        return {name: sample(part) for name, part in schema["properties"].items()}
    if type_ == "array":
        return [sample(schema["items"])] * 2
    others = {"boolean": True, "integer": 7, "string": "é脚,&=+/ b"}[type_]
    return schema.get("const", schema.get("enum", [others])[-1])


def named(name: str, value: Any) -> Any:
    """Return a value that no other parameter has, if it is a text."""
    return f"{value} {name}" if isinstance(value, str) and name != "task_type" else value


def whole(operation: Operation) -> Call:
    """Return a call with all that the spec has."""
    call = calls_of_the_spec(operation)[0]
    path = {name: f"{id_}." for name, id_ in call.path.items()}
    query = {
        each.name: named(each.name, sample(each.definition["schema"])) for each in operation.generator.query
    }
    body = call.body and {**sample(operation.schema), "x": {"y": ["é脚", None, 1.5, True]}}
    return replace(call, path=path, query=query, headers=dict.fromkeys(operation.headers, "ep 1"), body=body)


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


# ---- credentials


@dataclass
class Cloud:
    """IAM and a service in one. The service refuses with the codes, one after the other, then it accepts."""

    iam: bytes
    codes: list[str] = field(default_factory=list[str])
    pause: float = 0
    log: str = ""
    """What was asked: I for IAM, S for the service."""
    now: float = 0

    def __call__(self, request: Request) -> bytes:
        if b"/v3/auth/tokens" in request.line:
            self.log += "I"
            return self.iam
        self.log += "S"
        self.now += self.pause
        if (code := self.codes.pop(0) if self.codes else "") == "lost":
            return b""
        if code:
            status, _, code = code.rpartition(" ")
            return raw_response(int(status or 401), json.dumps({"error_code": code}).encode())
        return raw_response(200, ACCEPTED)

    def auth(self, kind: str, url: str) -> httpx.Auth:
        def function() -> str:
            with pytest.raises(RuntimeError, match="no running event loop"):  # which it may not block
                asyncio.get_running_loop()
            self.log += "I"
            return TOKEN

        if kind == "password":
            return PasswordAuth("u", "canary-passw0rd", domain_name="d", iam_endpoint=url)
        return {"function": TokenAuth(function), "token": TokenAuth(TOKEN), "keys": KEYS}[kind]


def granted(seconds: float = 86400) -> bytes:
    """IAM's response with a token that is valid for so long."""
    issued = datetime(2026, 1, 1, tzinfo=UTC)
    times = {"issued_at": issued.isoformat(), "expires_at": (issued + timedelta(seconds=seconds)).isoformat()}
    return raw_response(201, json.dumps({"token": times}).encode(), f"X-Subject-Token: {TOKEN}")


@pytest.mark.parametrize(
    ("kind", "lifetime", "pause", "codes", "statuses", "log"),
    [
        # renewed when 5 % of the lifetime are left, at most 5 minutes
        *(("password", life, used, [], [200] * 2, "ISS") for life, used in ((240, 227), (600, 569), (86400, 86099))),
        *(("password", life, used, [], [200] * 2, "ISIS") for life, used in ((240, 229), (600, 571), (86400, 86101))),
        # renewed once when the gateway reports it as invalid, unless it was fetched for the same request
        *(("password", 600, 0, ["", code], [200] * 2, "ISSIS") for code in ("APIGW.0301", "APIG.0307", "APIC.0307")),
        *(("password", 600, 0, ["", code], [200, 401], "ISS") for code in ("APIGW.0303", "WKS.00210301", "03011")),
        ("password", 600, 0, ["", "APIG.0301", "APIG.0301"], [200, 401], "ISSIS"),
        ("password", 600, 0, ["", "403 APIGW.0301"], [200, 403], "ISS"),
        ("password", 600, 0, ["APIGW.0301"], [401], "IS"),
        ("function", 0, 0, ["APIGW.0301"], [200], "ISIS"),
        ("function", 0, 0, ["APIGW.0307"] * 2, [401], "ISIS"),
        ("token", 0, 0, ["APIGW.0301"], [401], "S"),
        ("keys", 0, 0, ["APIGW.0301"], [401], "S"),
    ],
)  # fmt: skip
@both
def test_a_token_is_used_as_long_as_it_is_valid_and_renewed_once(
    caller: Caller, kind: str, lifetime: float, pause: float, codes: list[str], statuses: list[int], log: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    cloud = Cloud(granted(lifetime), [*codes], pause)
    for module in ("auth", "token_cache"):
        monkeypatch.setattr(f"huaweicloud_retry.{module}.monotonic", lambda: cloud.now)
    with LoopbackServer(cloud, keep_open=True) as server:
        client = Client(server.url, auth=cloud.auth(kind, server.url))
        responses = caller.calls(ENGINE, client, *({} for _ in statuses), function="_detailed")
    assert ([each.status_code for each in responses], cloud.log) == (statuses, log)


@both
def test_a_response_that_is_lost_after_a_renewal_leaves_the_outcome_unknown(caller: Caller) -> None:
    cloud = Cloud(granted(), ["APIGW.0301", "lost"])

    def closing(request: Request) -> bytes:
        return cloud(request).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)

    with LoopbackServer(closing) as server:
        client = Client(server.url, auth=cloud.auth("function", server.url), resend=Resend(initial_backoff=0))
        error = caller.error(ENGINE, client)
    assert (type(error), error.outcome_unknown, cloud.log) == (APIConnectionError, True, "ISIS")


def at_once(caller: Caller, client: Client, changes: list[dict[str, Any]]) -> list[Any]:
    """Call once for each set of changed arguments, all at the same time; return what they return or raise."""
    all_began = threading.Barrier(len(changes))

    def in_thread(change: dict[str, Any]) -> Any:
        all_began.wait(60)
        try:
            return ENGINE.module.sync(client=client, **{**ENGINE.arguments, **change})
        except APIError as error:
            return error

    async def in_tasks() -> list[Any]:
        calls = (ENGINE.module.asyncio(client=client, **{**ENGINE.arguments, **each}) for each in changes)
        async with client:
            return [*await asyncio.gather(*calls, return_exceptions=True)]

    if caller.name == "asyncio":
        return asyncio.run(in_tasks())
    with client, ThreadPoolExecutor(len(changes)) as pool:
        return [*pool.map(in_thread, changes)]


@pytest.mark.parametrize(("iam", "log"), [(granted(), "I" + 10 * "S"), (raw_response(401, b"{}"), "I")])
@both
def test_calls_at_once_share_one_fetch(caller: Caller, iam: bytes, log: str) -> None:
    cloud = Cloud(iam)
    with LoopbackServer(cloud, keep_open=True) as server:
        made = at_once(caller, Client(server.url, auth=cloud.auth("password", server.url)), [{}] * 10)
    assert {type(each) for each in made} == {ENGINE.model if "S" in log else IAMAuthenticationError}
    assert cloud.log == log


@both
def test_calls_at_once_for_two_projects_have_a_token_each(caller: Caller) -> None:
    def respond(request: Request) -> bytes:
        if b"/v3/auth/tokens" in request.line:
            project = json.loads(request.body)["auth"]["scope"]["project"]["id"]
            return granted().replace(TOKEN.encode(), project.encode())
        project, (token,) = request.line.split(b"/")[2], request.header("X-Auth-Token")
        return raw_response(400 if project == token else 403, b'{"error_msg": "no %b"}' % token)

    with LoopbackServer(respond, keep_open=True) as server:
        auth = PasswordAuth("u", "canary-passw0rd", domain_name="d", iam_endpoint=server.url)
        projects = [{"project_id": f"canary-p{number % 2}"} for number in range(10)]
        made = at_once(caller, Client(server.url, auth=auth), projects)
    assert {(type(each), each.error_msg) for each in made} == {(BadRequestError, "no ***")}
    assert len(server.requests) == 12


@both
def test_a_late_401_to_an_old_token_leaves_the_new_one(caller: Caller) -> None:
    late_came, released = threading.Event(), threading.Event()
    fetches: list[Request] = []

    def respond(request: Request) -> bytes:
        if b"/v3/auth/tokens" in request.line:
            fetches.append(request)
            return granted().replace(TOKEN.encode(), b"%d" % len(fetches))
        if b"/first/" in request.line or request.header("X-Auth-Token") == [b"2"]:
            return raw_response(200, ACCEPTED)
        if b"/late/" in request.line:
            late_came.set()
            released.wait(60)
        return raw_response(401, b'{"error_code": "APIGW.0307"}')

    async def three() -> list[Any]:
        calls = {
            name: partial(ENGINE.module.asyncio, client=client, **{**ENGINE.arguments, "engine_id": name})
            for name in ("first", "late", "other")
        }
        if caller.name == "sync":
            calls = {
                name: partial(asyncio.to_thread, ENGINE.module.sync, **call.keywords)
                for name, call in calls.items()
            }
        made = [await calls["first"]()]
        late = asyncio.create_task(calls["late"]())
        await asyncio.to_thread(late_came.wait, 60)
        made.append(await calls["other"]())
        released.set()
        return [*made, await late]

    with LoopbackServer(respond, keep_open=True) as server, asyncio.Runner() as runner:
        client = Client(server.url, auth=PasswordAuth("u", "p", domain_name="d", iam_endpoint=server.url))
        made = runner.run(three())
        client.close()
        runner.run(client.aclose())
    assert {type(each) for each in made} == {ENGINE.model}
    assert len(fetches) == 2


def test_a_fetch_that_is_cancelled_is_taken_over() -> None:
    asked, released = threading.Event(), threading.Event()

    def respond(request: Request) -> bytes:
        if b"/v3/auth/tokens" in request.line:
            if not asked.is_set():  # the first one
                asked.set()
                released.wait(60)
            return granted()
        return raw_response(200, ACCEPTED)

    async def run(client: Client) -> Any:
        async with client:
            first, second = (
                asyncio.create_task(ENGINE.module.asyncio(client=client, **ENGINE.arguments))
                for _ in range(2)
            )
            await asyncio.to_thread(asked.wait, 60)
            await turns(10)
            first.cancel()
            await asyncio.wait([first])
            return await second

    with LoopbackServer(respond, keep_open=True) as server:
        auth = PasswordAuth("u", "p", domain_name="d", iam_endpoint=server.url)
        assert type(asyncio.run(run(Client(server.url, auth=auth)))) is ENGINE.model
        released.set()


@pytest.mark.parametrize("service", ["cse", "workspace"])
@each_operation
def test_a_client_of_connect_is_for_the_operations_of_its_service(
    operation: Operation, service: Any, callers: Callers
) -> None:
    transport = FixedResponse(content=b"{}")
    settings: dict[str, Any] = {"credentials": TokenAuth(TOKEN), "transport": transport}
    of_region = connect(service, region="cn-north-4", **settings)
    of_endpoint = connect(service, endpoint="https://other.example.com/", **settings)
    for function in callers.functions(operation):
        transport.requests.clear()
        if operation.document["tags"][0].lower() == service:
            function(client=of_region, **whole(operation).arguments())
        else:
            with pytest.raises(ValueError, match=f"this client is for {service}, .*; nothing was sent"):
                function(client=of_region, **whole(operation).arguments())
        function(client=of_endpoint, **whole(operation).arguments())
        hosts = [request.url.host.partition(".")[0] for request in transport.requests]
        assert hosts == [service, "other"][-len(hosts) :]
        assert len(hosts) == 1 + (operation.document["tags"][0].lower() == service)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Without credentials."""
    for name in [name for name in os.environ if name.startswith(("HUAWEICLOUD_SDK_", "HW_", "OS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


@pytest.mark.parametrize(
    "names",
    ["HUAWEICLOUD_SDK_AK HUAWEICLOUD_SDK_SK", "HW_ACCESS_KEY HW_SECRET_KEY", "OS_ACCESS_KEY OS_SECRET_KEY"],
)
def test_keys_and_a_region_of_the_environment_are_used(names: str, environment: pytest.MonkeyPatch) -> None:
    access, secret = names.split()
    token = f"{access.rpartition('_A')[0]}_SECURITY_TOKEN"
    for name, value in {access: "ak", secret: "canary-sk", token: "canary-st"}.items():
        environment.setenv(name, value)
    environment.setenv("HUAWEICLOUD_SDK_REGION_CSE_MOON_1", "https://cse.example.com")
    transport = FixedResponse(403, b"{}")
    Caller("sync").error(ENGINE, connect("cse", region="moon-1", transport=transport))
    (request,) = transport.requests
    assert request.headers["Authorization"].startswith("SDK-HMAC-SHA256 Access=ak, ")
    assert (request.headers["X-Security-Token"], request.url.host) == ("canary-st", "cse.example.com")


def test_half_a_credential_is_refused_and_no_other_is_taken(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OS_AUTH_TOKEN", TOKEN)
    for half in ("HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_AK", "HW_SECRET_KEY", "HW_ACCESS_KEY"):
        with environment.context() as of_half:
            of_half.setenv(half, "canary-half")
            with pytest.raises(ConfigurationError, match=half):
                connect("cse", region="cn-north-4", transport=FixedResponse())


GIVEN = {
    "HUAWEICLOUD_SDK_IAM_ENDPOINT": "1.example.com:8443/v3",
    "HW_AUTH_URL": "https://2.example.com/id/v3/",
}
GIVEN |= {"OS_AUTH_URL": "http://127.0.0.1:8003"}
LOGIN = {"HW_USER_NAME": "canary-user", "HW_USER_PASSWORD": "canary-passw0rd", "HW_DOMAIN_NAME": "d"}


@pytest.mark.parametrize(
    ("region", "given", "url"),
    [
        ("cn-north-4", {}, "https://iam.cn-north-4.myhuaweicloud.com"),
        ("cn-north-11", {}, "https://iam.myhuaweicloud.com"),
        ("cn-north-4", {"HW_AUTH_URL": "https://iam3.example.com:8003/v3"}, "https://iam3.example.com:8003"),
        *(("cn-north-4", dict([*GIVEN.items()][at:]), url) for at, url in enumerate(
            ("https://1.example.com:8443", "https://2.example.com/id", "http://127.0.0.1:8003"))),
    ],
)  # fmt: skip
def test_a_token_is_asked_for_at_the_url_of_iam(
    region: str, given: dict[str, str], url: str, environment: pytest.MonkeyPatch
) -> None:
    for name, value in {**LOGIN, **given}.items():
        environment.setenv(name, value)
    transport = FixedResponse(403, b"{}")
    error = Caller("sync").error(ENGINE, connect("cse", region=region, transport=transport))
    (request,) = transport.requests
    assert (type(error), str(request.url)) == (IAMError, f"{url}/v3/auth/tokens?nocatalog=true")


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


def raw(start: str, *lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {start}", *lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


DATE, ID = "Date: Thu, 01 Oct 2026 12:00:00 GMT", "X-Request-Id: r-1"
AFTER = {
    "0": 0,
    "2": 2,
    " 3600\t": 3600,
    "Thu, 01 Oct 2026 12:00:09 GMT": 9,
    "Thu, 01 Oct 2026 11:00:00 GMT": 0,
}
NOTHING = {"retry_after": None, "request_id": None, "error_code": None, "detail": None}
SAID: list[tuple[bytes, dict[str, Any]]] = [
    (raw("429 X", body=b"{}"), NOTHING),
    *((raw("429 X", DATE, f"retry-AFTER:{text}"), {"retry_after": seconds}) for text, seconds in AFTER.items()),
    *((raw("429 X", DATE, f"Retry-After: {text}"), NOTHING) for text in ("x", "-1", "1.5", "2\r\nRetry-After: 3")),
    # neither an interim response nor a trailer says anything of the response
    (f"HTTP/1.1 103 X\r\n{ID}\r\nRetry-After: 9\r\n\r\n".encode() + raw("429 X"), NOTHING),
    (f"HTTP/1.1 429 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{ID}\r\nRetry-After: 9\r\n\r\n".encode(), NOTHING),
    # the body comes before the header
    (raw("400 X", ID, body=b'{"error_code":"A.1","error_msg":"m","detail":"d","request_id":"r"}'),
     {"error_code": "A.1", "error_msg": "m", "detail": "d", "request_id": "r"}),
    (raw("500 X", ID, body=b'{"errorCode":"A.1","errorMessage":"m"}'), {"error_code": "A.1", "error_msg": "m", "request_id": "r-1"}),
    (raw("500 X", body=b'{"error":' * 100_000), {"error_code": None, "status_code": 500}),
    *((raw("502 X", f"Content-Type: text/html{charset}", body="<p>网关é".encode(coding)), {"error_msg": "<p>网关é"})
      for charset, coding in {"": "utf-8", "; charset=no-such": "utf-8", "; charset=GB18030": "gb18030", ';charset="utf-16"': "utf-16"}.items()),
]  # fmt: skip


@pytest.mark.parametrize(("response", "said"), SAID)
@both
def test_an_error_says_what_the_server_said(caller: Caller, response: bytes, said: dict[str, Any]) -> None:
    with LoopbackServer(response) as server:
        error = caller.error(ENGINE, Client(server.url))
    assert {name: getattr(error, name, None) for name in said} == said


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [(httpx.ConnectError, [2, 4]), (httpx.ConnectTimeout, [2, 4]), ({"retry-after": "0"}, [0, 0]), ({"retry-after": "40"}, [40, 40]), ({"retry-after": "600"}, [60, 60])],
)  # fmt: skip
@both
def test_a_request_that_was_not_processed_is_resent_after_the_time_that_the_server_asks_for(
    caller: Caller, headers: Any, seconds: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr("asyncio.sleep", wait)
    responds = {"headers": headers} if isinstance(headers, dict) else {"failure": headers("no connection")}
    transport = FixedResponse(429, **responds)
    client = Client(
        "http://h", transport=transport, resend=Resend(max_attempts=3, initial_backoff=2, max_backoff=60)
    )
    caller.error(ENGINE, client.with_resend(None))
    assert (len(transport.requests), waited) == (1, [])
    assert caller.error(ENGINE, client).attempts == 3
    assert len(transport.requests) == 4
    assert all(least <= real <= least * 1.25 for least, real in zip(seconds, waited, strict=True)), waited


LAST = [b"", raw("200 X", body=ACCEPTED), raw("200 X", body=b"{}"), raw("404 X"), raw("500 X")]


@pytest.mark.parametrize("last", LAST, ids=ascii)
@both
def test_a_response_or_error_says_how_often_the_request_was_sent(caller: Caller, last: bytes) -> None:
    responses = [raw("429 X", "Retry-After: 0", "Connection: close"), last]
    with LoopbackServer(lambda _: responses.pop(0)) as server:
        client = Client(server.url, resend=Resend())
        said = caller.detailed(ENGINE, client) if last else caller.error(ENGINE, client)
        assert (said.attempts, len(server.requests)) == (2, 2)


def test_in_the_event_loop_of_trio_a_429_is_resent() -> None:
    async def call() -> Response[Any]:
        transport = FixedResponse(429, headers={"retry-after": "0"})
        async with Client("http://h", transport=transport, resend=Resend()) as client:
            result: Response[Any] = await ENGINE.module.asyncio_detailed(client=client, **ENGINE.arguments)
            return result

    result = trio.run(call)
    assert (result.status_code, result.attempts) == (429, 3)


# ---- connections


@both
def test_of_a_connection_that_was_refused_nothing_was_sent(caller: Caller) -> None:
    with socket.socket() as held:  # an address that nobody listens at
        held.bind(("127.0.0.1", 0))
        error = caller.error(ENGINE, Client(f"http://127.0.0.1:{held.getsockname()[1]}"))
    assert (type(error), error.outcome_unknown) == (APIConnectionError, False)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%b\r\n" % (len(ACCEPTED), ACCEPTED)
GOOD = raw_response(200, ACCEPTED)
# Whole, but no response that can be believed: where its body ends can be read in two ways, or it is none of HTTP/1.
ODD_ONES = [
    GOOD.replace(b"HTTP/1.1 200", odd)
    for odd in (b"HTTP/2.0 200", b"HTTP/1.1 101", b"HTTP/1.1 099", b"HTTP/1.1 103")
]
ODD_ONES += [
    GOOD.replace(b"\r\n", b"\r\n" + field + b"\r\n", 1)
    for field in (
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 7",
        b"X: " + b"a" * (1 << 20),
    )
]
PARTS: dict[int | None, list[bytes]] = {
    None: [b"", b"HTTP/1.1 200", HEAD[:-2], b"HTTP/1.1 103 X\r\n\r\n", b"SSH-2.0\r\n", *ODD_ONES],
    200: [HEAD, HEAD + ACCEPTED, CHUNKED, CHUNKED + b"ff", CHUNKED + b"ff\r\n" + ACCEPTED, CHUNKED + CHUNK, CHUNKED + CHUNK + b"0\r\nX: 1\r\n"],
    **{status: [HEAD.replace(b"200", b"%d" % status) + b"{}"] for status in (400, 500, 503)},
}  # fmt: skip


class Copying(httpx.Auth):
    """Sends a copy of the request, as one does that signs the query."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        yield httpx.Request(request.method, request.url, headers=request.headers, content=request.content)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("status", "part"), [(status, part) for status, parts in PARTS.items() for part in parts]
)
@both
def test_a_response_that_breaks_off_leaves_the_outcome_as_its_status_has_it_and_nothing_is_resent(
    caller: Caller, status: int | None, part: bytes, *, reset: bool
) -> None:
    with LoopbackServer(part, reset=reset) as service, LoopbackServer(part, reset=reset) as iam:
        login = PasswordAuth("u", "p", domain_name="d", iam_endpoint=iam.url)
        errors = [
            caller.error(ENGINE, Client(service.url, auth=auth, resend=Resend(initial_backoff=0)))
            for auth in (None, Copying(), login)
        ]
        assert (len(service.requests), len(iam.requests)) == (2, 1)
    assert [repr(pickle.loads(pickle.dumps(error))) for error in errors] == [*map(repr, errors)]
    known = [status in {400, 503} and error.__cause__ is None for error in errors]
    assert [error.outcome_unknown for error in errors] == [not known[0], not known[1], False]
    if not reset:  # which may overtake the response
        assert [getattr(error, "status_code", None) for error in errors] == [status] * 3


HANDSHAKES: dict[str, Callable[[Line], object]] = {
    "closed": lambda _: None,
    "reset": Line.reset,
    "garbage": lambda line: line.socket.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "silence": lambda line: line.socket.recv(1 << 16) and line.socket.recv(1),
    "untrusted": respond,
}


@pytest.mark.parametrize("how", HANDSHAKES)
def test_of_a_failed_handshake_nothing_was_sent_and_an_error_of_tls_is_not_resent(
    mode: Mode, how: str
) -> None:
    tls = tls_contexts()[0] if how == "untrusted" else None
    with Server(HANDSHAKES[how], tls) as server:  # type: ignore[arg-type] # the result is not used
        with client_of(mode, server.url.replace("http:", "https:")) as client:
            resending = client.with_resend(Resend(initial_backoff=0))
            error = mode.error(resending, connect=0.2 if how == "silence" else 60)
        assert type(error) is (APITimeoutError if how == "silence" else APIConnectionError)
        assert (error.outcome_unknown, str(error)[-18:]) == (False, "; nothing was sent")
        assert server.requests == []
        assert server.connections == 1 or how not in {"garbage", "untrusted"}


def test_a_certificate_of_another_host_or_ca_is_refused_however_the_ca_is_given(
    mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, of_server, of_client = (
        trustme.CA(),
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.create_default_context(),
    )
    ca.issue_cert("other.example.com").configure_cert(of_server)
    ca.configure_trust(of_client)
    ca.cert_pem.write_to_path(file := tmp_path / "ca.pem")
    another, of_another = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    another.issue_cert("127.0.0.1").configure_cert(of_another)
    another.cert_pem.write_to_path(tmp_path / "another.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "another.pem"))
    for context, why in (of_server, "IP address mismatch"), (of_another, "unable to get local issuer"):
        with Server(tls=context) as server:
            for verify in (of_client, file, str(file)):
                with client_of(mode, server.url, verify) as client:
                    assert why in str(mode.error(client))
        assert server.requests == []


@both
def test_a_proxy_is_chosen_for_each_host_and_its_password_shows_nowhere(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = b'{"error_msg": "Pr0xy-Pa55", "error_code": "Pr0xy-Pa55"}'
    with LoopbackServer(raw_response(403, told)) as proxy, LoopbackServer(granted()) as iam:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:Pr0xy-Pa55@{proxy.host}")
        monkeypatch.setenv("NO_PROXY", "example.test")
        auth = PasswordAuth("u", "p", domain_name="d", iam_endpoint=iam.url)
        of_host = "http://notexample.test"
        error = caller.error(ENGINE, connect("cse", endpoint=of_host, credentials=auth, allow_http=True))
        assert ([each.line.split(b" ")[0] for each in iam.requests], len(proxy.requests)) == ([b"POST"], 1)
        assert proxy.requests[0].line.startswith(f"PUT {of_host}/v2/".encode())
    assert type(error) is PermissionDeniedError
    assert not [value for _, value in shown(error) if "Pr0xy" in repr(value)]


@both
def test_check_contract_refuses_what_deviates_and_shows_no_value(caller: Caller) -> None:
    body = b'{"id": "canary-1", "name": "n", "jobId": %d}'
    with LoopbackServer(lambda _: raw_response(200, bodies.pop())) as server:
        bodies = [body % (1 << 31), body.replace(b"}", b', "id": "canary-2"}') % 1]
        settings: dict[str, Any] = {
            "credentials": TokenAuth(TOKEN),
            "allow_http": True,
            "check_contract": "raise",
        }
        for _ in range(2):
            error = caller.error(ENGINE, connect("cse", endpoint=server.url, **settings))
            assert (type(error), error.outcome_unknown) == (APIResponseValidationError, True)
            assert not re.search("canary|2147483648", str(error))
        records = replace(ENGINE, module=MODULES["list_script_records"], arguments={"project_id": "p"})
        client = connect("workspace", endpoint=server.url, **settings)
        assert type(caller.error(records, client, offset=1 << 31)) is APIRequestValidationError
        assert len(server.requests) == 2


@pytest.mark.parametrize("is_said", [False, True])
def test_a_body_that_ends_with_tls_is_whole_if_tls_says_so(*, is_said: bool) -> None:
    def serve(line: Line) -> None:
        line.request()
        line.socket.sendall(response(7, framed=False))
        if is_said:
            assert isinstance(line.socket, ssl.SSLSocket)
            line.socket.unwrap()

    mode, (server_tls, client_tls) = Mode("sync"), tls_contexts()  # asyncio does not tell
    with mode.runner, Server(serve, server_tls) as server, client_of(mode, server.url, client_tls) as client:
        if is_said:
            assert mode.call(client) == 7
        else:
            assert "its body cannot be read" in str(mode.error(client))


@pytest.mark.parametrize("is_built_in", [True, False])
@both
def test_a_response_has_its_time_as_a_whole(caller: Caller, *, is_built_in: bool) -> None:
    own = httpx.HTTPTransport() if caller.name == "sync" else httpx.AsyncHTTPTransport()
    with LoopbackServer(HEAD, drip=ACCEPTED.ljust(1000)) as server:  # 10 s, each read of it 10 ms
        timeout = httpx.Timeout(10, read=0.3)
        error = caller.error(
            ENGINE, Client(server.url, timeout=timeout, transport=None if is_built_in else own)
        )
    assert (type(error), error.problem[-20:]) == (APIResponseValidationError, "not complete in time")


@both
def test_no_response_in_time_leaves_the_outcome_unknown_but_that_of_iam(caller: Caller) -> None:
    with LoopbackServer(None) as server:
        login = PasswordAuth("u", "p", domain_name="d", iam_endpoint=server.url)
        for auth, is_unknown in ((None, True), (login, False)):
            error = caller.error(ENGINE, Client(server.url, auth=auth, timeout=httpx.Timeout(10, read=0.05)))
            error = pickle.loads(pickle.dumps(error))
            assert (type(error), error.outcome_unknown) == (APITimeoutError, is_unknown)
        assert len(server.requests) == 2
        assert type(caller.error(ENGINE, Client(server.url), timeout=0)) is APITimeoutError


@both
def test_a_request_has_its_own_time_to_be_written(caller: Caller) -> None:
    def serve(line: Line) -> None:
        line.socket.recv(1)
        threading.Event().wait(0.5)  # a slow server
        while line.socket.recv(1 << 20)[-2:] != b'"}':
            pass
        line.socket.sendall(GOOD)

    body = models.RetryScriptExecutionRequest(record_id="r" * (1 << 24))
    with Server(serve) as server:
        client = Client(server.url, timeout=httpx.Timeout(60, connect=0.3))
        assert caller.call(OPERATIONS["RetryScriptExecution"], client, body=body).task_id == "t1"


@pytest.mark.parametrize("reset", [False, True])
@both
def test_what_was_sent_in_part_leaves_the_outcome_unknown_and_is_not_resent(
    caller: Caller, *, reset: bool
) -> None:
    released = threading.Event()
    body = models.RetryScriptExecutionRequest(record_id="r" * (1 << 24))

    def serve(line: Line) -> None:
        line.socket.recv(1000)
        if reset:
            line.reset()
        released.wait(60)

    with Server(serve) as server:
        timeout = httpx.Timeout(10, write=10 if reset else 0.2)
        client = Client(server.url, timeout=timeout, resend=Resend(initial_backoff=0))
        error = caller.error(OPERATIONS["RetryScriptExecution"], client, body=body)
        released.set()
    expected = APIConnectionError if reset else APITimeoutError
    assert (type(error), error.outcome_unknown, server.connections) == (expected, True, 1)


def cancelled_and_called_again(server: LoopbackServer, auth: httpx.Auth | None) -> Any:
    """Cancel a call when the server has responded; return what the next one returns or raises."""

    async def run() -> Any:
        async with Client(server.url, auth=auth) as client:
            task = asyncio.create_task(ENGINE.module.asyncio(client=client, **ENGINE.arguments))
            await asyncio.to_thread(server.responded.wait, 60)
            await turns(10)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            again = {**ENGINE.arguments, "engine_id": "again"}
            call = ENGINE.module.asyncio(client=client, **again)
            return (await asyncio.gather(call, return_exceptions=True))[0]

    with server:
        return asyncio.run(run())


@pytest.mark.parametrize("part", [b"", HEAD[:-9], HEAD, HEAD + ACCEPTED[:9], CHUNKED + b"ff\r\n"])
def test_a_cancelled_call_leaves_no_connection_with_the_rest_of_its_response(part: bytes) -> None:
    whole = raw_response(200, ACCEPTED)
    server = LoopbackServer(lambda request: whole if b"/again/" in request.line else part, keep_open=True)
    assert type(cancelled_and_called_again(server, None)) is ENGINE.model
    assert server.connections == 2


@both
def test_iam_gives_a_token_for_a_password(caller: Caller, wire: Wire) -> None:
    auth = PasswordAuth("canary-user", "canary-passw0rd", domain_name="d", iam_endpoint=wire.url)
    known = calls_of_the_spec(next(each for each in ALL if each.contract.id == "RetryEngine"))[0]
    assert caller.call(ENGINE, Client(wire.url, auth=auth), **known.path).job_id == -2147483648


@both
def test_a_wrong_password_is_sent_once(caller: Caller) -> None:
    with LoopbackServer(raw_response(401, b"{}"), keep_open=True) as server:
        auth = PasswordAuth("u", "wrong", domain_name="d", iam_endpoint=server.url)
        projects = [{"project_id": f"p{number}"} for number in range(10)]
        errors = [
            *at_once(caller, Client(server.url, auth=auth), projects),
            caller.error(ENGINE, Client(server.url, auth=auth)),
        ]
    assert {type(error) for error in errors} == {IAMAuthenticationError}
    assert len(server.requests) == 1


def test_a_wrong_password_is_sent_once_even_if_the_call_is_cancelled() -> None:
    server = LoopbackServer(b"HTTP/1.1 401 X\r\nContent-Length: 9\r\n\r\n{", keep_open=True)
    auth = PasswordAuth("u", "wrong", domain_name="d", iam_endpoint=server.url)
    assert type(cancelled_and_called_again(server, auth)) is IAMAuthenticationError
    assert len(server.requests) == 1


def test_an_event_loop_has_100_connections_and_a_call_that_gets_none_in_time_was_not_sent() -> None:
    released = threading.Event()

    def serve(line: Line) -> None:
        while engine := line.request():
            released.wait(60)
            line.socket.sendall(response(engine))

    async def run(client: Client) -> None:
        def call(engine: int, **timeout: Any) -> "asyncio.Task[Any]":
            arguments = {**ENGINE.arguments, "engine_id": str(engine), **timeout}
            return asyncio.create_task(ENGINE.module.asyncio(client=client, **arguments))

        tasks = [call(engine) for engine in range(1, 101)]
        await turns(3)
        with pytest.raises(APITimeoutError) as caught:
            await call(666, timeout=httpx.Timeout(60, pool=0))
        assert not caught.value.outcome_unknown
        tasks.append(call(101))
        await turns(3)
        released.set()
        assert [(await task).job_id for task in tasks] == list(range(1, 102))

    mode = Mode("asyncio")
    with mode.runner, Server(serve) as server, client_of(mode, server.url) as client:
        mode.runner.run(run(client))
        assert (server.connections, 666 in server.requests) == (100, False)


def test_a_connection_that_was_refused_takes_no_place() -> None:
    async def run(url: str) -> None:
        async with Client(url, timeout=httpx.Timeout(60, pool=0), resend=None) as client:
            for _ in range(101):
                with pytest.raises(APIConnectionError, match="ConnectError"):
                    await ENGINE.module.asyncio(client=client, **ENGINE.arguments)

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        asyncio.run(run(f"http://127.0.0.1:{held.getsockname()[1]}"))


@pytest.mark.parametrize("how", ["length", "chunks", "gzip"])
@pytest.mark.parametrize(("status", "limit"), [(200, 16 << 20), (404, 1 << 20)])
@both
def test_a_body_is_read_to_its_limit(caller: Caller, status: int, limit: int, how: str) -> None:
    for more in (0, 1):
        body = ACCEPTED.ljust(limit + more)
        sent = raw_response(status, body)
        if how == "gzip":
            sent = raw_response(status, gzip.compress(body, 1), "Content-Encoding: gzip")
        if how == "chunks":
            sent = CHUNKED.replace(b"200", b"%d" % status) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        with LoopbackServer(sent) as server:
            result = caller.detailed(ENGINE, Client(server.url))
        is_good = status == 200 and not more
        problem = f"its body has more than {limit} bytes" if more else None
        assert (len(result.content), result.problem) == (limit if is_good else 1 << 20, problem)
        assert (result.parsed is not None) == is_good


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


def test_what_a_kept_connection_has_no_response_to_is_not_resent(mode: Mode) -> None:
    def serve(line: Line) -> None:
        line.socket.sendall(response(line.request()))
        line.request()

    with Server(serve) as server, client_of(mode, server.url) as client:
        assert mode.call(client, 1) == 1
        assert mode.error(client.with_resend(Resend(initial_backoff=0))).outcome_unknown
        assert (server.connections, server.requests) == (1, [1, 7])


def test_what_comes_while_a_connection_is_idle_is_never_the_next_response(mode: Mode) -> None:
    with Server(spoilt_by(response(666))) as server, client_of(mode, server.url) as client:
        for engine in (1, 2):
            assert mode.call(client, engine) == engine
            SPOIL.release()
            assert SPOILT.acquire(timeout=60)
        assert (server.connections, server.requests) == (2, [1, 2])


@pytest.mark.parametrize(
    ("version", "header", "is_kept"),
    [
        *(("1.1", each, True) for each in ("X: close", "Connection: keep-alive", "Connection: x,closed", "Proxy-Connection: close")),
        *(("1.1", f"cOnnection:{each}", False) for each in (" close", "Close", " keep-alive, close", "x,\tCLOSE ,y", " keep-alive\r\nConnection: close")),
        *(("1.0", each, False) for each in ("X: keep-alive", "Connection: x", "Connection: keep-alive, close")),
        *(("1.0", f"Connection: {each}", True) for each in ("keep-alive", "x , Keep-Alive")),
    ],
)  # fmt: skip
@both
def test_a_connection_is_used_again_unless_the_server_closes_it(
    caller: Caller, version: str, header: str, *, is_kept: bool
) -> None:
    sent = raw_response(200, ACCEPTED, header).replace(b"1.1", version.encode(), 1)
    with LoopbackServer(sent, keep_open=True) as server:
        assert len(caller.calls(ENGINE, Client(server.url), {}, {}, {})) == 3
        assert server.connections == (1 if is_kept else 3)


@both
def test_a_connection_is_not_used_again_if_the_caller_asks_to_close_it(caller: Caller) -> None:
    with LoopbackServer(GOOD, keep_open=True) as server:
        client = Client(server.url, headers={"Connection": "close"})
        assert len(caller.calls(ENGINE, client, {}, {})) == server.connections == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_connections_of_its_own(mode: Mode) -> None:
    with Server() as server, client_of(mode, server.url) as client:

        def check(own: Mode, first: int) -> None:
            assert [own.call(client, first + n) for n in range(20)] == [first + n for n in range(20)]

        check(mode, 1)
        assert outcome(in_child(lambda: check(mode.other(), 100))) == 0
        assert server.connections == 2


# ---- secrets


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
    texts = [repr(client), repr(attrs.evolve(result, parsed=None))]
    if error := result.error:
        texts += [repr(value) for _, value in shown(error)]
    assert not [text for text in texts if "canary" in text]


URL, BROKEN = f"https://user:{SECRET}@host.test", f"{SECRET}\r\n"
HOST: dict[str, Any] = {"endpoint": "https://host.test", "credentials": TokenAuth("t")}


@pytest.mark.parametrize(
    "fail",
    [
        lambda: TokenAuth(BROKEN),
        lambda: AkSkAuth(BROKEN, SECRET),
        lambda: AkSkAuth("AK", BROKEN),
        lambda: AkSkAuth("AK", SECRET, security_token=BROKEN),
        lambda: AkSkAuth("AK", SECRET, project_id="\n"),
        lambda: PasswordAuth("user", f"{SECRET}\ud800", domain_name="d"),
        lambda: PasswordAuth("", SECRET, domain_name="d"),
        *(partial(PasswordAuth, "user", SECRET, **{"domain_name": "d", **wrong}) for wrong in (
            {"domain_name": ""}, {"iam_endpoint": URL}, {"iam_endpoint": "http://host.test"}, {"project_id": "a", "project_name": "b"})),
        lambda: Client(URL),
        lambda: Client(f"https://host.test/?{SECRET}"),
        lambda: Client("https://host.test", headers={"X-A": BROKEN}),
        lambda: Client("", headers={"X-A": SECRET}),
        lambda: Client("https://host.test", headers={"X-A": SECRET}, verify="/nowhere"),
        lambda: Client("https://host.test", headers={"X-A": SECRET}, timeout=-1),
        *(partial(connect, "cse", **{**HOST, "endpoint": wrong}) for wrong in (URL, f"{SECRET}-no-url", f"http://host.test:{SECRET}")),
        lambda: connect("cse", **HOST, headers={"X-A": BROKEN}),
        lambda: connect("cse", **HOST, headers={"X-A": SECRET}, check_contract="no"),  # type: ignore[arg-type]
        lambda: connect("cse", region="cn-nowhere", headers={"X-A": SECRET}),
        lambda: connect("no", region="cn-north-4", headers={"X-A": SECRET}),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_no_invalid_setting_is_shown(check: Check, fail: Callable[[], object]) -> None:
    assert isinstance(check(fail), ValueError)


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
