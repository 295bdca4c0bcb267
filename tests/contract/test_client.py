"""The generated client in the loop: what schemathesis makes of openapi.yaml goes out through it, to the mock, and back.

What is on the wire, either way, is held to the contract. `EXAMPLES=1000 pytest tests/contract/test_client.py` makes more of
it, with SEED=2 another; a failing example is printed as the Python call that repeats it.
"""

import asyncio
import copy
import importlib
import inspect
import json
import keyword
import pickle
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
import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from huaweicloud_retry import TokenAuth
from huaweicloud_retry.contract import Contract, Match, Problem
from huaweicloud_retry.contract import Operation as ContractOperation
from huaweicloud_retry.mock import running
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
    models,
)
from tests.contract.suite import whole_number
from tests.mocks import NO_TLS

ROOT = Path(__file__).parents[2]
EXAMPLES, SEED = whole_number("EXAMPLES", 10), whole_number("SEED", 1)
CONTRACT = Contract.load(ROOT / "openapi.yaml")
DOCUMENT: Any = CONTRACT.document
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
SCHEMA = schemathesis.openapi.from_path(ROOT / "openapi.yaml", config=SchemathesisConfig())
CREDENTIALS = {scheme["name"] for scheme in DOCUMENT["components"]["securitySchemes"].values()}

CLASSES: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    429: RateLimitError,
}

# Whatever is retried fails again at once, or only the first retry of each thing would be accepted.
STATE = """
run_time: 0
projects:
  demo-project:
    engines:
      4a1bc63d-4719-4bd3-b1ad-5ee590b05e87: {name: 引擎 "ü", jobs: [{id: 18638, status: Finished}, {id: -2147483648, status: Error, retries_end: [Error]}]}
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
    def answers(self) -> list[tuple[int, Any]]:
        """Of each documented status with a body, the schema and examples."""
        answers = [(int(status), follow(answer)) for status, answer in self.document["responses"].items()]
        return [(status, media) for status, answer in answers for media in answer.get("content", {}).values()]

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
        calls = cases.filter(lambda case: isinstance(case.body, dict) or not self.model).map(partial(Call.of, self))
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
        path = {name: unquote(text) for name, text in case.path_parameters.items()}  # they come percent-encoded
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
        values = ((name, value if isinstance(value, list) else [value]) for name, value in self.query.items())
        return [
            (name, str(each).lower() if isinstance(each, bool) else str(each)) for name, all_ in values for each in all_
        ]


OPERATIONS = [Operation(operation) for operation in CONTRACT.operations]
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.contract.id)


# ---- the wire


@dataclass(frozen=True)
class Exchange:
    """A request and its answer, as they went over the wire."""

    request: httpx.Request
    answer: httpx.Response


class Wire(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Passes on, in both worlds, and keeps what it passed."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._sync, self._async = httpx.HTTPTransport(verify=NO_TLS), httpx.AsyncHTTPTransport(verify=NO_TLS)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._sync.handle_request(request)
        answer.read()
        return self._kept(request, answer)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._async.handle_async_request(request)
        await answer.aread()
        return self._kept(request, answer)

    def _kept(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        self.exchanges.append(Exchange(request, answer))
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content))

    def close(self) -> None:
        self._sync.close()

    async def aclose(self) -> None:
        await self._async.aclose()


@dataclass(frozen=True)
class Worlds:
    """The client in both worlds, before one mock."""

    url: str
    wire: Wire
    loop: asyncio.Runner

    def functions(self, operation: Operation) -> list[Callable[..., Response[Any]]]:
        async def run(**arguments: Any) -> Response[Any]:
            answer: Response[Any] = await operation.module.asyncio_detailed(**arguments)
            return answer

        return [operation.module.sync_detailed, lambda **arguments: self.loop.run(run(**arguments))]

    def play(self, client: Client, call: Call) -> list[Problem]:
        """Call in both worlds, hold what passed over the wire to the contract, and return what that has against the data."""
        rules = "|".join(refusals(call))
        problems: list[Problem] = []
        for function in self.functions(call.operation):
            arguments = call.arguments()
            before = len(self.wire.exchanges)
            if rules:
                with pytest.raises(ValueError, match=rules):
                    function(**arguments, client=client)
                assert self.wire.exchanges[before:] == []
            else:
                result = function(**arguments, client=client)
                (exchange,) = self.wire.exchanges[before:]
                problems += check_exchange(call, exchange, result)
        return problems

    def check_journal(self) -> None:
        """Hold what the mock wrote down, as the other witness, to what passed over the wire."""
        entries = httpx.get(f"{self.url}/_mock/journal", verify=NO_TLS, trust_env=False).json()["entries"]
        seen = [
            (
                sent.method,
                sent.url.raw_path.decode().partition("?")[0][:100],
                came.status_code,
                came.headers["X-Request-Id"],
            )
            for sent, came in ((exchange.request, exchange.answer) for exchange in self.wire.exchanges)
        ]
        noted = [(entry["method"], entry["path"][:100], entry["status"], entry["request_id"]) for entry in entries]
        assert noted == seen[len(seen) - len(noted) :]  # it keeps the last ones only


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state = tmp_path_factory.mktemp("mock") / "state.yaml"
    state.write_text(STATE, encoding="utf-8")
    with running(state=state) as url:
        yield url


@pytest.fixture
def worlds(url: str) -> Iterator[Worlds]:
    httpx.post(f"{url}/_mock/reset", verify=NO_TLS, trust_env=False).raise_for_status()
    with asyncio.Runner() as loop:
        wire = Wire()
        yield Worlds(url, wire, loop)
        wire.close()
        loop.run(wire.aclose())


@pytest.fixture
def client(worlds: Worlds) -> Client:
    return Client(worlds.url, auth=TokenAuth("mock-token"), transport=worlds.wire)


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
            yield f"the value of header {name} may be a str of printable ASCII only"
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
    sent, came = exchange.request, exchange.answer
    path, _, query = sent.url.raw_path.decode("ascii").partition("?")
    match = CONTRACT.match(sent.method, path)
    assert isinstance(match, Match)
    assert match.operation is call.operation.contract
    assert match.path_params == call.path
    assert sorted(parse_qsl(query, keep_blank_values=True)) == sorted(call.pairs())
    for name in call.operation.headers:
        assert sent.headers.get(name) == call.headers.get(name)
    assert sent.headers.get("Content-Type") == call.media_type
    assert sent.headers["Accept"] == came.headers["Content-Type"]
    assert sent.content == b"" if call.body is None else exactly(json.loads(sent.content)) == exactly(call.body)
    problems = match.operation.check_request(match.path_params, query, sent.headers, sent.content).problems
    check_answer(call.operation, came, result)
    if problems:
        assert type(result.error) is BadRequestError
    return problems


def check_answer(operation: Operation, came: httpx.Response, result: Response[Any]) -> None:
    """Hold an answer to the contract, and what the client made of it to the answer."""
    assert operation.contract.check_response(came.status_code, came.headers, came.content) == []
    assert (result.status_code, result.content) == (came.status_code, came.content)
    if came.is_success:
        assert result.error is None
        assert exactly(result.result().to_dict()) == exactly(came.json())
    else:
        by_status = InternalServerError if came.is_server_error else APIStatusError
        assert type(result.error) is CLASSES.get(came.status_code, by_status)
        assert result.parsed is None


def property_test(function: Callable[..., object], **strategies: st.SearchStrategy[Any]) -> None:
    """Run a function with examples, and show those with which it fails."""

    @seed(SEED)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=[HealthCheck.filter_too_much])
    @given(**strategies)
    def run(**example: Any) -> None:
        for name, value in example.items():
            note(f"{name} = {value!r}")
        function(**example)

    run()


# ---- requests


def calls_of_the_spec(operation: Operation) -> list[Call]:
    """The requests that the spec shows, of things that the mock knows."""
    path = {parameter.name: parameter.definition["example"] for parameter in operation.generator.path_parameters}
    if not operation.model:
        return [Call(operation, path, {}, None, None)]
    return [
        Call(operation, path, {}, example["value"], media_type)
        for media_type, media in operation.document["requestBody"]["content"].items()
        for example in media["examples"].values()
    ]


@each_operation
def test_each_request_that_the_spec_shows_is_accepted(operation: Operation, client: Client, worlds: Worlds) -> None:
    for call in calls_of_the_spec(operation):
        assert worlds.play(client, call) == []
    assert {exchange.answer.status_code for exchange in worlds.wire.exchanges} == {200}


@each_operation
def test_what_keeps_the_contract_goes_out_as_it_is_and_the_answer_comes_back_as_it_is(
    operation: Operation, client: Client, worlds: Worlds
) -> None:
    def check(call: Call) -> None:
        assert worlds.play(client, call) == []

    def known(call: Call, shown: Call) -> Call:
        return replace(call, path=shown.path, body=shown.body and call.body | shown.body)

    to_what_the_mock_knows = st.builds(known, operation.calls(), st.sampled_from(calls_of_the_spec(operation)))
    property_test(check, call=to_what_the_mock_knows | operation.calls())
    worlds.check_journal()
    assert 200 in {exchange.answer.status_code for exchange in worlds.wire.exchanges}


pieces = [".", "%2e", "%252E", "%2", "%", "/", ";", "?", "#", "\r\n", " ", "é", "脚", "\ud800", "a"]
ids = st.lists(st.sampled_from(pieces), max_size=3).map("".join) | st.text(max_size=64)
values = st.text("xy~ \t\r\n\0é", max_size=3) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64)


@each_operation
def test_any_text_for_an_id_or_header_arrives_or_is_refused_by_the_documented_rule(
    operation: Operation, client: Client, worlds: Worlds
) -> None:
    calls = st.builds(
        replace,
        st.sampled_from(calls_of_the_spec(operation)),
        path=st.fixed_dictionaries({parameter.name: ids for parameter in operation.generator.path_parameters}),
        headers=st.fixed_dictionaries({}, optional=dict.fromkeys(operation.headers, values)),
    )
    property_test(lambda call: worlds.play(client, call), call=calls)
    worlds.check_journal()


@each_operation
def test_what_breaks_the_contract_goes_out_as_it_is_and_comes_back_as_a_bad_request(
    operation: Operation, client: Client, worlds: Worlds
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
            worlds.play(client, call)

    property_test(check, call=operation.calls(GenerationMode.NEGATIVE))
    worlds.check_journal()


# ---- answers


def documents(schema: object) -> st.SearchStrategy[Any]:
    """What schemathesis generates for a schema: as the body of a request, which it has in a spec of its own."""
    operation = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
    spec = {
        "openapi": DOCUMENT["openapi"],
        "info": DOCUMENT["info"],
        "paths": {"/": {"post": operation | {"responses": {"200": {"description": ""}}}}},
        "components": {"schemas": SCHEMAS},
    }
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


def documented() -> list[Any]:
    return [
        pytest.param(operation, status, name, id=f"{operation.contract.id}-{status}-{name}")
        for operation in OPERATIONS
        for status, answer in operation.answers
        for name in answer["examples"]
    ]


@pytest.mark.parametrize(("operation", "status", "name"), documented())
def test_each_answer_that_the_spec_shows_is_understood(
    operation: Operation, status: int, name: str, worlds: Worlds
) -> None:
    prefer = {"Prefer": f"code={status}, example={name}"}
    client = Client(worlds.url, auth=TokenAuth("mock-token"), transport=worlds.wire, headers=prefer)
    worlds.play(client, calls_of_the_spec(operation)[0])
    shown = operation.contract.example(status, name).body
    assert [(e.answer.status_code, e.answer.json()) for e in worlds.wire.exchanges] == [(status, shown)] * 2


@each_operation
def test_any_answer_that_keeps_the_contract_is_read_whole(operation: Operation, worlds: Worlds) -> None:
    def check(status: int, document: Any) -> None:
        def answer(_: object) -> httpx.Response:
            content = httpx.ByteStream(json.dumps(document).encode())
            return httpx.Response(status, headers={"Content-Type": "application/json"}, stream=content)

        client = Client("http://127.0.0.1", transport=httpx.MockTransport(answer))
        came = answer(None)
        came.read()
        for function in worlds.functions(operation):
            check_answer(operation, came, function(client=client, **calls_of_the_spec(operation)[0].arguments()))

    answers = [st.tuples(st.just(status), documents(answer["schema"])) for status, answer in operation.answers]
    property_test(lambda answer: check(*answer), answer=st.one_of(answers))


# ---- models

MODELS: dict[str, Any] = {name: getattr(models, name) for name in models.__all__ if attrs.has(getattr(models, name))}


def test_each_schema_has_a_model_and_each_model_is_one_of_a_schema_or_part_of_one() -> None:
    parts = {
        word
        for model in MODELS.values()
        for field in attrs.fields(model)
        for word in re.findall(r"\w+", str(field.type))
    }
    assert {name for name, schema in SCHEMAS.items() if "properties" in schema} <= MODELS.keys()
    assert MODELS.keys() - parts <= SCHEMAS.keys()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
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
        made = model.from_dict(document)
        again = pickle.loads(pickle.dumps(made))
        for twin in (made, again, copy.copy(made), copy.deepcopy(made)):
            assert twin == made
            assert exactly(twin.to_dict()) == before
        assert exactly(document) == before

    known = {field.metadata.get("name", field.name) for field in attrs.fields(model)}
    names = (st.sampled_from(names_that_clash(model)) | st.text(max_size=5)).filter(lambda n: n not in known)
    property_test(
        check,
        document=documents({"$ref": f"#/components/schemas/{name}"}),
        unknown=st.dictionaries(names, anything, max_size=3),
    )
