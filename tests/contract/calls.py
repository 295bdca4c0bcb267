"""What a client is called with, and what has to come of it: the operations of the spec in three forms.

Operation   the contract's, schemathesis's and the client's
Call        a call of the client, with what is to arrive
Wire        a server that keeps what passes, and responds as the mock does, or with whatever else a server may send
Callers     a client, called sync and async
"""

import asyncio
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from operator import getitem, or_
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
import schemathesis
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from huaweicloud_retry import AkSkAuth
from huaweicloud_retry.contract import Contract, Match, Problem
from huaweicloud_retry.contract import Operation as ContractOperation
from huaweicloud_retry.mock.app import App
from huaweicloud_retry.mock.faults import Faults
from huaweicloud_retry.mock.request import MockRequest
from huaweicloud_retry.mock.response import Encoded
from huaweicloud_retry.mock.state import State, read_state
from huaweicloud_retry.mock.wire import Pause
from huaweicloud_retry_client import (
    APIStatusError,
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
)
from tests.contract.suite import whole_number

ROOT = Path(__file__).parents[2]
EXAMPLES, SEED = whole_number("EXAMPLES", 10), whole_number("SEED", 1)
CONTRACT = Contract.load(ROOT / "openapi.yaml")
DOCUMENT: Any = CONTRACT.document
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
SCHEMA = schemathesis.openapi.from_path(ROOT / "openapi.yaml", config=SchemathesisConfig())
TOKEN = "canary-t0ken"
KEYS = AkSkAuth("ak", "canary-sk", security_token=TOKEN)
CREDENTIALS = {scheme["name"] for scheme in DOCUMENT["components"]["securitySchemes"].values()}

# Written again, not taken from the client, which is tested by it.
CLASSES: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    429: RateLimitError,
}

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
        self._mock = App(CONTRACT, State(read_state(STATE)), Faults())

    async def __call__(self, request: MockRequest, pause: Pause) -> Encoded:
        responded = self.given or await self._mock(request, pause)
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
