"""The client's side of the contract: what each operation sends, and what it makes of each response, seen from outside.

A server on a real socket keeps each request, and responds as the mock does, or as openapi.yaml allows. schemathesis makes
the calls and responses. What openapi.yaml does not say is in tests/unit. `EXAMPLES=1000 pytest
tests/contract/test_client.py` makes more of them, with SEED=2 others; a failing example is printed as the Python call
that repeats it.
"""

import asyncio
import importlib
import inspect
import json
import keyword
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, unquote

import attrs
import pytest
import schemathesis
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from huaweicloud_retry import TokenAuth
from huaweicloud_retry.contract import Contract, Match, Problem
from huaweicloud_retry.contract import Operation as ContractOperation
from huaweicloud_retry.mock.app import App
from huaweicloud_retry.mock.faults import Faults
from huaweicloud_retry.mock.request import MockRequest
from huaweicloud_retry.mock.response import Encoded
from huaweicloud_retry.mock.server import serving
from huaweicloud_retry.mock.state import State, read_state
from huaweicloud_retry.mock.wire import Pause
from huaweicloud_retry_client import APIResponseValidationError, APIStatusError, Client, Response, api, models
from tests.contract.suite import whole_number

ROOT = Path(__file__).parents[2]
EXAMPLES, SEED = whole_number("EXAMPLES", 10), whole_number("SEED", 1)
CONTRACT = Contract.load(ROOT / "openapi.yaml")
DOCUMENT: Any = CONTRACT.document
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
SCHEMA = schemathesis.openapi.from_path(ROOT / "openapi.yaml", config=SchemathesisConfig())
TOKEN = "canary-t0ken"
CREDENTIALS = {scheme["name"] for scheme in DOCUMENT["components"]["securitySchemes"].values()}

# Whatever is retried fails again at once, or only the first retry of each thing would be accepted.
STATE = b"""
run_time: 0
credentials: {tokens: {canary-t0ken: {}}}
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
        return [
            (int(status), media)
            for status, response in self.document["responses"].items()
            for media in follow(response).get("content", {}).values()
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
        with_model = cases.filter(lambda case: isinstance(case.body, dict) or not self.model)
        calls = with_model.map(partial(Call.of, self))
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
        encoded = case.path_parameters
        path = {name: unquote(text) for name, text in encoded.items()}
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


ALL = {operation.id: Operation(operation) for operation in CONTRACT.operations}
each_operation = pytest.mark.parametrize("operation", ALL.values(), ids=ALL)


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
    server.given = None
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
            yield f"{snake(name)} is .* cannot be a segment of the path"
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
        assert came.status == 400
    return problems


def check_response_of(operation: Operation, came: Encoded, result: Response[Any]) -> None:
    """Hold a response to the contract, and what the client made of it to the response."""
    assert operation.contract.check_response(came.status, came.headers, came.content) == []
    assert (result.status_code, result.content) == (came.status, came.content)
    if came.status == 200:  # the only success that is documented
        assert result.error is None
        assert exactly(result.result().to_dict()) == exactly(json.loads(came.content))
    else:
        assert isinstance(result.error, APIStatusError)
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
    path = {each.name: each.definition["example"] for each in operation.generator.path_parameters}
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


def test_each_parameter_of_a_list_arrives(client: Client, callers: Callers) -> None:
    call = calls_of_the_spec(ALL["ListScriptRecords"])[0]
    query = {"offset": 0, "limit": 7, "script_id": ["a&b", "c=d"], "resource_id": ["é", ","]}
    callers.play(client, replace(call, query={**query, "show_history": True}))


@pytest.mark.parametrize(
    "body", [None, {"record_id": "r"}, models.EngineActionRequest()], ids=["none", "dict", "other"]
)
def test_a_body_of_another_type_is_refused(body: Any, client: Client, callers: Callers) -> None:
    for function in callers.functions(ALL["RetryScriptExecution"]):
        with pytest.raises(TypeError):
            function(project_id="p", client=client, body=body)
    assert callers.wire.statuses == set()


# ---- responses


def documented() -> list[Any]:
    return [
        pytest.param(operation, status, name, id=f"{operation.contract.id}-{status}-{name}")
        for operation in ALL.values()
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
def test_a_success_that_is_not_documented_is_an_error(
    operation: Operation, client: Client, callers: Callers
) -> None:
    content = json.dumps(operation.contract.example().body).encode()
    callers.wire.given = Encoded(201, {"content-type": "application/json"}, content)
    for function in callers.functions(operation):
        result = function(**calls_of_the_spec(operation)[0].arguments(), client=client)
        assert type(result.error) is APIResponseValidationError


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


@pytest.mark.parametrize("id_", [id_ for id_, operation in ALL.items() if operation.model])
def test_what_breaks_the_contract_goes_out_as_it_is_and_comes_back_as_a_bad_request(
    id_: str, client: Client, callers: Callers
) -> None:
    operation = ALL[id_]

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


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
plain = st.none() | st.booleans() | numbers | st.text(max_size=5)
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
    names = (st.sampled_from(names_that_clash(model)) | st.text(max_size=5)).filter(lambda n: n not in known)
    property_test(
        check,
        document=documents({"$ref": f"#/components/schemas/{name}"}),
        unknown=st.dictionaries(names, anything, max_size=3),
    )
