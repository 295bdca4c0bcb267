"""The client as an object: timeouts, one pool, what it opens and closes, threads, and what it and its models show."""

from __future__ import annotations

import asyncio
import copy
import importlib.resources
import json
import logging
import pickle
import subprocess
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import huaweicloud_retry_client
from huaweicloud_retry_client import UNSET, APIError, Client, Response
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import (
    EngineActionRequest,
    EngineActionResponse,
    EngineErrorBody,
    ErrorBody,
    RetryScriptExecutionRequest,
    RetryScriptExecutionResponse,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from tests.unit.conftest import Answering, LoopbackServer, Operation, World

# What both operations take for a good answer.
ACCEPTED = b'{"task_id":"t1","id":"e1","name":"engine one","jobId":18638}'
SECRET = "s3cret-canary"
LOCAL = "http://127.0.0.1"
AGAIN: Mapping[str, Any] = {}  # no changed arguments


class Token(httpx.Auth):
    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["X-Auth-Token"] = SECRET
        yield request


class SyncOnly(httpx.BaseTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=ACCEPTED, request=request)


class AsyncOnly(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=ACCEPTED, request=request)


@pytest.fixture
def server(loopback: type[LoopbackServer], on_the_wire: Callable[..., bytes]) -> Iterator[LoopbackServer]:
    with loopback(on_the_wire(200, ACCEPTED), keep_open=True) as running:
        yield running


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of httpx's clients in the order in which they are made."""
    made: list[str] = []

    def counted(kind: type[httpx.Client | httpx.AsyncClient]) -> Callable[..., None]:
        stock = kind.__init__

        def init(self: Any, **settings: Any) -> None:
            made.append(kind.__name__)
            stock(self, **settings)

        return init

    for kind in (httpx.Client, httpx.AsyncClient):
        monkeypatch.setattr(kind, "__init__", counted(kind))
    return made


# ---- timeouts


def timeouts(transport: Answering) -> list[dict[str, float | None]]:
    """The timeouts that httpx was told, request by request."""
    return [request.extensions["timeout"] for request in transport.requests]


def all_four(seconds: float) -> dict[str, float | None]:
    return httpx.Timeout(seconds).as_dict()


def test_timeouts_are_finite_by_default_connect_and_read_apart(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(content=ACCEPTED)
    world.call(operation, Client(LOCAL, transport=transport))
    assert timeouts(transport) == [{"connect": 10.0, "read": 60.0, "write": 60.0, "pool": 60.0}]


@pytest.mark.parametrize("timeout", [7, 7.0, httpx.Timeout(7)])
def test_a_timeout_per_client(world: World, operation: Operation, answering: type[Answering], timeout: Any) -> None:
    transport = answering(content=ACCEPTED)
    world.call(operation, Client(LOCAL, transport=transport, timeout=timeout))
    assert timeouts(transport) == [all_four(7)]


def test_a_timeout_per_call_takes_precedence_and_holds_for_that_call_only(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(content=ACCEPTED)
    apart = httpx.Timeout(3, connect=1)
    client = Client(LOCAL, transport=transport, timeout=7)
    world.calls(operation, client, {"timeout": 2.5}, {"timeout": apart}, {"timeout": None}, {})
    assert timeouts(transport) == [all_four(2.5), apart.as_dict(), all_four(7), all_four(7)]


def test_the_timeout_of_a_client_of_ones_own_holds_unless_given_here(
    operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(content=ACCEPTED)
    with httpx.Client(transport=transport, timeout=9) as http:
        operation.module.sync(client=Client(LOCAL, http_client=http), **operation.arguments)
        operation.module.sync(client=Client(LOCAL, http_client=http, timeout=7), **operation.arguments)
        operation.module.sync(client=Client(LOCAL, http_client=http), timeout=2, **operation.arguments)
    assert timeouts(transport) == [all_four(9), all_four(7), all_four(2)]


# ---- one pool, opened at the first call


def test_many_calls_use_one_connection(world: World, operation: Operation, server: LoopbackServer) -> None:
    world.calls(operation, Client(server.url), *[AGAIN] * 20)
    assert (len(server.requests), server.connections) == (20, 1)


def test_nothing_is_opened_before_the_first_call(opened: list[str], answering: type[Answering]) -> None:
    transport = answering()
    with Client(LOCAL, transport=transport):
        assert opened == []
    assert transport.closed == 0


def test_each_world_opens_its_own_client_only_and_once(world: World, operation: Operation, opened: list[str]) -> None:
    client = Client(LOCAL, transport=httpx.MockTransport(lambda _: httpx.Response(200, content=ACCEPTED)))
    world.calls(operation, client, {}, {}, {})
    assert opened == [{"sync": "Client", "asyncio": "AsyncClient"}[world.name]]


def together(many: int, do: Callable[[int], None]) -> None:
    """Run in many threads that all start at once."""
    barrier = threading.Barrier(many)

    def run(number: int) -> None:
        barrier.wait()
        do(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_that_all_make_the_first_call_open_one_client(
    operation: Operation, server: LoopbackServer, opened: list[str]
) -> None:
    # Without a transport httpx reads the machine's certificates, some 20 ms in which a race would show.
    with Client(server.url) as client:
        together(16, lambda _: operation.module.sync(client=client, **operation.arguments))
    assert len(server.requests) == 16
    assert opened == ["Client"]


def echo(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"task_id": json.loads(request.content)["record_id"]})


def test_threads_share_a_client_and_each_gets_its_own_answer() -> None:
    answers: dict[str, str] = {}

    with Client(LOCAL, transport=httpx.MockTransport(echo)) as client:

        def call(number: int) -> None:
            for asked in (f"{number}-{again}" for again in range(20)):
                body = RetryScriptExecutionRequest(record_id=asked)
                answers[asked] = retry_script_execution.sync("p1", client=client, body=body).task_id

        together(16, call)

    assert len(answers) == 16 * 20
    assert all(asked == answered for asked, answered in answers.items())


def test_tasks_share_a_client_and_each_gets_its_own_answer(opened: list[str]) -> None:
    async def run() -> list[str]:
        async with Client(LOCAL, transport=httpx.MockTransport(echo)) as client:
            bodies = [RetryScriptExecutionRequest(record_id=str(number)) for number in range(100)]
            calls = (retry_script_execution.asyncio("p1", client=client, body=body) for body in bodies)
            return [answer.task_id for answer in await asyncio.gather(*calls)]

    assert asyncio.run(run()) == [str(number) for number in range(100)]
    assert opened == ["AsyncClient"]


# ---- closing


def test_a_context_manager_closes_what_was_opened(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(content=ACCEPTED)
    world.call(operation, Client(LOCAL, transport=transport))
    assert transport.closed == 1


def test_async_with_closes_both_worlds(operation: Operation, answering: type[Answering]) -> None:
    transport = answering(content=ACCEPTED)

    async def run() -> None:
        async with Client(LOCAL, transport=transport) as client:
            operation.module.sync(client=client, **operation.arguments)
            await operation.module.asyncio(client=client, **operation.arguments)

    asyncio.run(run())
    assert transport.closed == 2


def test_the_connection_is_given_back_whatever_the_answer(
    world: World, operation: Operation, loopback: type[LoopbackServer], on_the_wire: Callable[..., bytes]
) -> None:
    with loopback(on_the_wire(404, b"{}"), keep_open=True) as server:
        world.calls(operation, Client(server.url), *[AGAIN] * 5, function="_detailed")
        assert server.connections == 1


def test_a_client_of_ones_own_is_used_and_not_closed(
    operation: Operation, answering: type[Answering], opened: list[str]
) -> None:
    transport = answering(content=ACCEPTED)
    with httpx.Client(transport=transport, headers={"X-Own": "1"}) as http:
        opened.clear()
        with Client(LOCAL, http_client=http, auth=Token()) as client:
            operation.module.sync(client=client, **operation.arguments)
        assert not http.is_closed
    assert opened == []
    assert transport.requests[0].headers["X-Own"] == "1"
    assert transport.requests[0].headers["X-Auth-Token"] == SECRET


def test_an_async_client_of_ones_own_is_used_and_not_closed(
    operation: Operation, answering: type[Answering], opened: list[str]
) -> None:
    transport = answering(content=ACCEPTED)

    async def run() -> None:
        async with httpx.AsyncClient(transport=transport, headers={"X-Own": "1"}) as http:
            opened.clear()
            async with Client(LOCAL, async_http_client=http, auth=Token()) as client:
                await operation.module.asyncio(client=client, **operation.arguments)
            assert not http.is_closed

    asyncio.run(run())
    assert opened == []
    assert transport.requests[0].headers["X-Own"] == "1"
    assert transport.requests[0].headers["X-Auth-Token"] == SECRET


def test_the_auth_of_a_client_of_ones_own_holds_unless_given_here(
    operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(content=ACCEPTED)
    with httpx.Client(transport=transport, auth=Token()) as http:
        for auth in (None, httpx.BasicAuth("u", "p")):
            operation.module.sync(client=Client(LOCAL, http_client=http, auth=auth), **operation.arguments)
    assert ["X-Auth-Token" in request.headers for request in transport.requests] == [True, False]


def test_settings_that_belong_to_a_client_of_ones_own_are_refused_beside_it(answering: type[Answering]) -> None:
    with httpx.Client() as http:
        with pytest.raises(ValueError, match="transport and verify"):
            Client(LOCAL, http_client=http, transport=answering())
        with pytest.raises(ValueError, match="transport and verify"):
            Client(LOCAL, http_client=http, verify=False)


def test_use_after_close_says_so(world: World, operation: Operation, answering: type[Answering]) -> None:
    transport = answering(content=ACCEPTED)
    client = Client(LOCAL, transport=transport)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        world.call(operation, client)
    assert transport.requests == []


def test_closing_twice_is_harmless(operation: Operation, answering: type[Answering]) -> None:
    client = Client(LOCAL, transport=answering(content=ACCEPTED))
    operation.module.sync(client=client, **operation.arguments)
    client.close()
    client.close()
    asyncio.run(client.aclose())


def test_a_cancelled_call_is_cancelled_and_its_connection_closed(
    operation: Operation, loopback: type[LoopbackServer]
) -> None:
    async def run(server: LoopbackServer) -> None:
        async with Client(server.url) as client:
            call = asyncio.create_task(operation.module.asyncio(client=client, **operation.arguments))
            await asyncio.to_thread(server.asked.wait)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    with loopback(None) as server:
        asyncio.run(run(server))


# ---- transports


def test_connections_of_another_event_loop_are_a_clear_error(operation: Operation, answering: type[Answering]) -> None:
    client = Client(LOCAL, transport=answering(content=ACCEPTED))
    asyncio.run(operation.module.asyncio(client=client, **operation.arguments))
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(operation.module.asyncio(client=client, **operation.arguments))


def test_verify_beside_a_transport_is_refused_and_not_ignored() -> None:
    with pytest.raises(ValueError, match="verify"):
        Client(LOCAL, transport=SyncOnly(), verify=False)


def test_a_transport_for_sync_only_used_by_asyncio_is_a_clear_type_error(operation: Operation) -> None:
    async def run() -> None:
        async with Client(LOCAL, transport=SyncOnly()) as client:
            await operation.module.asyncio(client=client, **operation.arguments)

    with pytest.raises(TypeError, match="transport given is synchronous only"):
        asyncio.run(run())


def test_a_transport_for_asyncio_only_used_by_sync_is_a_clear_type_error(operation: Operation) -> None:
    with (
        pytest.raises(TypeError, match="transport given is asynchronous only"),
        Client(LOCAL, transport=AsyncOnly()) as client,
    ):
        operation.module.sync(client=client, **operation.arguments)


def test_a_transport_for_one_world_works_in_that_world(operation: Operation) -> None:
    async def run() -> None:
        async with Client(LOCAL, transport=AsyncOnly()) as client:
            await operation.module.asyncio(client=client, **operation.arguments)

    asyncio.run(run())
    with Client(LOCAL, transport=SyncOnly()) as client:
        operation.module.sync(client=client, **operation.arguments)


# ---- what is shown


def response(**changes: Any) -> Response[RetryScriptExecutionResponse]:
    parsed = RetryScriptExecutionResponse(task_id="t1")
    values: dict[str, Any] = {"status_code": 200, "headers": httpx.Headers(), "content": b"{}", "parsed": parsed}
    return Response(**(values | changes))


@pytest.mark.parametrize(
    ("thing", "shown"),
    [
        (Client(LOCAL), "Client('http://127.0.0.1')"),
        (Client(f"{LOCAL}/", auth=Token(), headers={"X-Auth-Token": SECRET}), "Client('http://127.0.0.1', auth=Token)"),
        (UNSET, "UNSET"),
        (EngineActionRequest(), "EngineActionRequest(action='Retry', additional_properties={})"),
        (
            RetryScriptExecutionRequest(record_id="r1"),
            "RetryScriptExecutionRequest(record_id='r1', task_id=UNSET, additional_properties={})",
        ),
        (
            response(headers=httpx.Headers({"X-Subject-Token": SECRET}), content=SECRET.encode()),
            (
                "Response(status_code=200, content=<13 bytes>, "
                "parsed=RetryScriptExecutionResponse(task_id='t1', additional_properties={}), problem=None, attempts=1)"
            ),
        ),
    ],
)
def test_repr_is_short_and_useful_and_holds_no_secret(thing: object, shown: str) -> None:
    assert repr(thing) == str(thing) == shown


def test_repr_of_a_response_is_short_whatever_it_holds() -> None:
    long = "x" * 100_000
    parsed = RetryScriptExecutionResponse.from_dict({"task_id": long, "more": [long] * 3})
    assert len(repr(response(parsed=parsed, problem=long))) < 2_000


def test_repr_of_a_model_is_short_whatever_it_holds() -> None:
    long = "x" * 100_000
    shown = repr(RetryScriptExecutionResponse.from_dict({"task_id": long, "more": [long] * 3}))
    assert len(shown) < 500
    assert shown.startswith("RetryScriptExecutionResponse(task_id='xxx")
    assert repr(EngineActionRequest()) == "EngineActionRequest(action='Retry', additional_properties={})"


def test_the_attributes_of_a_client_cannot_be_dumped() -> None:
    client = Client(LOCAL, headers={"X-Auth-Token": SECRET}, auth=Token())
    with pytest.raises(TypeError):
        vars(client)
    with pytest.raises(TypeError):
        pickle.dumps(client)


FAILURES: Mapping[str, Mapping[str, Any]] = {
    "status": {"status": 401, "content": f'{{"error_msg": "x-auth-token:{SECRET}|"}}'.encode()},
    "no json": {"status": 200, "content": f"<html>{SECRET}".encode()},
    "wrong type": {"status": 200, "content": f'{{"task_id": ["{SECRET}"], "id": {{}}, "name": 1}}'.encode()},
    "wrong length": {"status": 200, "content": f'"{SECRET}"'.encode()},
    "redirect": {"status": 302, "headers": {"Location": f"http://127.0.0.1/?token={SECRET}"}},
    "connection": {"failure": httpx.ConnectError("refused")},
    "timeout": {"failure": httpx.ReadTimeout("slow")},
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_no_secret_in_an_error_a_log_line_or_a_traceback(
    world: World,
    operation: Operation,
    answering: type[Answering],
    caplog: pytest.LogCaptureFixture,
    failure: Mapping[str, Any],
) -> None:
    caplog.set_level(logging.DEBUG)
    client = Client(LOCAL, transport=answering(**failure), auth=Token(), headers={"X-Security-Token": SECRET})
    error = world.error(operation, client)
    assert isinstance(error, APIError)
    shown = [str(error), repr(error), repr(error.args), repr(client), *traceback.format_exception(error)]
    assert SECRET not in "".join(shown)
    assert SECRET not in "".join(map(str, (vars(record) for record in caplog.records)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"project_id": ".."},
        {"project_id": "x" * 70_000},
        {"body": RetryScriptExecutionRequest()},
        {"body": RetryScriptExecutionRequest(task_id="\ud800")},
        {"timeout": "soon"},
    ],
)
def test_no_secret_in_the_traceback_of_a_mistake_of_the_caller(
    world: World, operations: Mapping[str, Operation], answering: type[Answering], wrong: Mapping[str, Any]
) -> None:
    client = Client(LOCAL, transport=answering(), auth=Token(), headers={"X-Security-Token": SECRET})
    error = world.error(operations["RetryScriptExecution"], client, **wrong)
    assert SECRET not in "".join(traceback.format_exception(error))


def test_no_secret_in_any_log_line_of_a_call_on_a_real_socket(
    world: World, operation: Operation, server: LoopbackServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world.call(operation, Client(server.url, auth=Token(), headers={"X-Security-Token": SECRET}))
    assert {record.name.partition(".")[0] for record in caplog.records} >= {"httpx", "httpcore"}
    assert SECRET not in "".join(map(str, (vars(record) for record in caplog.records)))


# ---- models


def test_engine_action_request_needs_no_argument() -> None:
    assert EngineActionRequest().to_dict() == {"action": "Retry"}


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (EngineActionRequest, ["Retry"]),
        (EngineActionResponse, ["e1", "n", 1]),
        (EngineErrorBody, ["C", "M"]),
        (ErrorBody, ["C", "M"]),
        (RetryScriptExecutionRequest, ["r1"]),
        (RetryScriptExecutionResponse, ["t1"]),
        (Response, [200, httpx.Headers(), b""]),
    ],
)
def test_fields_are_keyword_only(model: type[Any], values: list[Any]) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        model(*values)


def test_unknown_fields_of_an_answer_are_kept(world: World, operation: Operation, answering: type[Answering]) -> None:
    content = json.dumps({**operation.answer, "more": {"a": [1]}}).encode()
    parsed = world.call(operation, Client(LOCAL, transport=answering(content=content)))
    assert parsed["more"] == {"a": [1]}
    assert parsed.to_dict() == json.loads(content)


def test_there_is_one_unset() -> None:
    twins = [pickle.loads(pickle.dumps(UNSET, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    assert all(twin is UNSET for twin in [*twins, copy.copy(UNSET), copy.deepcopy(UNSET)])
    assert not UNSET


def test_a_response_can_be_pickled_and_copied() -> None:
    whole = response(headers=httpx.Headers({"X-Request-Id": "r1"}))
    twins = [pickle.loads(pickle.dumps(whole, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    assert all(twin == whole for twin in [*twins, copy.copy(whole), copy.deepcopy(whole)])


# ---- the package


def test_the_package_says_that_it_is_typed() -> None:
    assert importlib.resources.files("huaweicloud_retry_client").joinpath("py.typed").is_file()


def test_the_version_is_that_of_the_spec(spec: Any) -> None:
    assert huaweicloud_retry_client.__version__ == spec["info"]["version"]


def test_all_public_names_exist() -> None:
    for name in huaweicloud_retry_client.__all__:
        assert hasattr(huaweicloud_retry_client, name)


def third_party_modules(imports: str) -> set[str]:
    """Top-level modules, beyond Python's own, of a fresh process with these imports."""
    code = f"import sys; before = {{*sys.modules}}; {imports}; print(*({{*sys.modules}} - before))"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in run.stdout.split()} - sys.stdlib_module_names


def test_only_attrs_and_httpx_and_their_own_requirements_are_imported(operations: Mapping[str, Operation]) -> None:
    package = "huaweicloud_retry_client"
    modules = [package, f"{package}.models", *(operation.module.__name__ for operation in operations.values())]
    ours = third_party_modules(f"import {', '.join(modules)}")
    assert ours == {"huaweicloud_retry_client"} | third_party_modules("import attrs, httpx")
