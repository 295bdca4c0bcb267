"""The client as an object: timeouts, connections, threads, event loops, closing, and what it shows."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
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
from huaweicloud_retry import Resend
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

# A good response to either operation.
ACCEPTED = b'{"task_id":"t1","id":"e1","name":"engine one","jobId":18638}'
SECRET = "s3cret-canary"
LOCAL = "http://127.0.0.1"


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


# ---- timeouts


def timeouts(transport: Answering) -> list[dict[str, float | None]]:
    """The timeouts that the transport was given, request by request."""
    return [request.extensions["timeout"] for request in transport.requests]


def test_timeouts_are_finite_by_default_connect_and_read_apart(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(content=ACCEPTED)
    world.call(operation, Client(LOCAL, transport=transport))
    assert timeouts(transport) == [{"connect": 10.0, "read": 60.0, "write": 60.0, "pool": 60.0}]


@pytest.mark.parametrize(
    ("timeout", "given"),
    [
        *((seven, 7.0) for seven in (7, 7.0, httpx.Timeout(7))),
        # The system takes no such numbers; None: without limit.
        *((huge, None) for huge in (httpx.Timeout(None), 1e300, float("inf"), 10**30)),
    ],
)
def test_a_timeout_per_client_or_call(
    world: World, operation: Operation, answering: type[Answering], timeout: Any, given: float | None
) -> None:
    transport = answering(content=ACCEPTED)
    world.call(operation, Client(LOCAL, transport=transport, timeout=timeout))
    world.call(operation, Client(LOCAL, transport=transport), timeout=timeout)
    assert timeouts(transport) == [httpx.Timeout(given).as_dict()] * 2


@pytest.mark.parametrize("timeout", [-1, float("nan"), httpx.Timeout(5, read=-1), httpx.Timeout(5, pool=-1)])
def test_a_timeout_that_is_no_time_is_refused_and_nothing_sent(
    world: World, operation: Operation, answering: type[Answering], timeout: Any
) -> None:
    transport = answering(content=ACCEPTED)
    with pytest.raises(ValueError, match="0 or more seconds"):
        Client(LOCAL, transport=transport, timeout=timeout)
    with pytest.raises(ValueError, match="0 or more seconds"):
        world.call(operation, Client(LOCAL, transport=transport), timeout=timeout)
    assert transport.requests == []


def test_a_timeout_per_call_takes_precedence_and_holds_for_that_call_only(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(content=ACCEPTED)
    apart = httpx.Timeout(3, connect=1)
    client = Client(LOCAL, transport=transport, timeout=7)
    world.calls(operation, client, {"timeout": 2.5}, {"timeout": apart}, {"timeout": None}, {})
    expected = [httpx.Timeout(2.5), apart, httpx.Timeout(7), httpx.Timeout(7)]
    assert timeouts(transport) == [each.as_dict() for each in expected]


# ---- connections, threads, tasks and event loops


@pytest.mark.parametrize("status", [200, 404])
def test_many_calls_use_one_connection(
    world: World,
    operation: Operation,
    loopback: type[LoopbackServer],
    on_the_wire: Callable[..., bytes],
    status: int,
) -> None:
    with loopback(on_the_wire(status, ACCEPTED), keep_open=True) as server:
        changes: list[dict[str, Any]] = [{}] * 20
        world.calls(operation, Client(server.url), *changes, function="_detailed")
        assert (len(server.requests), server.connections) == (20, 1)


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


def echo(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"task_id": json.loads(request.content)["record_id"]})


def test_threads_share_a_client_and_each_gets_its_own_response() -> None:
    came: dict[str, str] = {}

    with Client(LOCAL, transport=httpx.MockTransport(echo)) as client:

        def call(number: int) -> None:
            for asked in (f"{number}-{again}" for again in range(20)):
                body = RetryScriptExecutionRequest(record_id=asked)
                came[asked] = retry_script_execution.sync("p1", client=client, body=body).task_id

        together(16, call)

    assert len(came) == 16 * 20
    assert all(asked == answered for asked, answered in came.items())


def test_tasks_share_a_client_and_each_gets_its_own_response() -> None:
    async def run() -> list[str]:
        async with Client(LOCAL, transport=httpx.MockTransport(echo)) as client:
            bodies = [RetryScriptExecutionRequest(record_id=str(number)) for number in range(100)]
            calls = (retry_script_execution.asyncio("p1", client=client, body=body) for body in bodies)
            return [response.task_id for response in await asyncio.gather(*calls)]

    assert asyncio.run(run()) == [str(number) for number in range(100)]


@pytest.mark.parametrize("keep_open", [False, True])
def test_one_client_works_in_two_event_loops_one_after_the_other(
    operation: Operation,
    loopback: type[LoopbackServer],
    on_the_wire: Callable[..., bytes],
    *,
    keep_open: bool,
) -> None:
    async def call() -> None:
        assert type(await operation.module.asyncio(client=client, **operation.arguments)) is operation.model

    async def call_and_close() -> None:
        async with client:
            await call()

    headers = [] if keep_open else ["Connection: close"]
    with loopback(on_the_wire(200, ACCEPTED, *headers), keep_open=keep_open) as server:
        client = Client(server.url)
        asyncio.run(call())
        asyncio.run(call_and_close())
        gc.collect()  # of a connection left open, Python warns now
        assert server.connections == 2


# ---- closing


def test_with_closes_the_transport(world: World, operation: Operation, answering: type[Answering]) -> None:
    transport = answering(content=ACCEPTED)
    world.call(operation, Client(LOCAL, transport=transport))
    assert transport.closed == {"sync": 1, "asyncio": 2}[world.name]  # async: both sides of it


@pytest.mark.parametrize("of_view", [False, True])
def test_use_after_close_says_so(
    world: World, operation: Operation, answering: type[Answering], *, of_view: bool
) -> None:
    transport = answering(content=ACCEPTED)
    client = Client(LOCAL, transport=transport)
    view = client.with_resend(None)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        world.call(operation, view if of_view else client)
    assert transport.requests == []


def test_closing_twice_is_harmless(operation: Operation, server: LoopbackServer) -> None:
    client = Client(server.url)
    operation.module.sync(client=client, **operation.arguments)
    client.close()
    client.close()
    asyncio.run(client.aclose())


def test_a_view_shares_the_connections_and_closes_nothing(
    world: World, operation: Operation, server: LoopbackServer, answering: type[Answering]
) -> None:
    transport = answering(content=ACCEPTED)
    client = Client(LOCAL, transport=transport)
    for _ in range(2):
        world.call(operation, client.with_resend(None))
    assert (len(transport.requests), transport.closed) == (2, 0)
    with Client(server.url) as client, client.with_resend(Resend()) as view:
        for each in (client, view):
            operation.module.sync(client=each, **operation.arguments)
    assert (len(server.requests), server.connections) == (2, 1)


def test_a_view_has_its_own_policy_and_the_client_keeps_its(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(429)
    client = Client(LOCAL, transport=transport, resend=Resend(max_attempts=2, initial_backoff=0))
    view = client.with_resend(Resend(max_attempts=3, initial_backoff=0))
    attempts = [world.error(operation, each).attempts for each in (view, client.with_resend(None), client)]
    assert (attempts, len(transport.requests)) == ([3, 1, 2], 6)


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


@pytest.mark.parametrize("transport", [SyncOnly(), AsyncOnly()], ids=["sync only", "async only"])
def test_a_transport_that_is_sync_or_async_only_works_there_and_is_a_type_error_elsewhere(
    world: World, operation: Operation, transport: SyncOnly | AsyncOnly
) -> None:
    client = Client(LOCAL, transport=transport)
    if isinstance(transport, SyncOnly) == (world.name == "sync"):
        assert type(world.call(operation, client)) is operation.model
    else:
        says = "async only: call asyncio" if world.name == "sync" else "is sync only: call sync"
        with pytest.raises(TypeError, match=says):
            world.call(operation, client)


def test_verify_beside_a_transport_is_refused_and_not_ignored() -> None:
    with pytest.raises(ValueError, match="verify"):
        Client(LOCAL, transport=SyncOnly(), verify=False)


# ---- what is shown


def response(**changes: Any) -> Response[RetryScriptExecutionResponse]:
    parsed = RetryScriptExecutionResponse(task_id="t1")
    values: dict[str, Any] = {
        "status_code": 200,
        "headers": httpx.Headers(),
        "content": b"{}",
        "parsed": parsed,
    }
    return Response(**(values | changes))


@pytest.mark.parametrize(
    ("thing", "shown"),
    [
        (Client(LOCAL), "Client('http://127.0.0.1')"),
        (
            Client(f"{LOCAL}/", auth=Token(), headers={"X-Auth-Token": SECRET}),
            "Client('http://127.0.0.1', auth=Token)",
        ),
        (UNSET, "UNSET"),
        (EngineActionRequest(), "EngineActionRequest(action='Retry', additional_properties={})"),
        (
            RetryScriptExecutionRequest(record_id="r1"),
            "RetryScriptExecutionRequest(record_id='r1', task_id=UNSET, additional_properties={})",
        ),
        (
            response(headers=httpx.Headers({"X-Subject-Token": SECRET}), content=SECRET.encode()),
            (
                "Response(status_code=200, content=<13 bytes>, parsed=RetryScriptExecutionResponse("
                "task_id='t1', additional_properties={}), problem=None, attempts=1)"
            ),
        ),
    ],
)
def test_repr_is_short_and_useful_and_holds_no_secret(thing: object, shown: str) -> None:
    assert repr(thing) == str(thing) == shown


def test_repr_of_a_response_or_model_is_short_whatever_it_holds() -> None:
    long = "x" * 100_000
    model = RetryScriptExecutionResponse.from_dict({"task_id": long, "more": [long] * 3})
    assert len(repr(model)) < 500
    assert len(repr(response(parsed=model, problem=long))) < 2_000


def test_repr_of_a_client_whose_init_failed_works_in_a_traceback() -> None:
    assert repr(object.__new__(Client)) == "Client('?')"
    with pytest.raises(ValueError, match="base_url") as caught:
        Client(f"http://user:{SECRET}@127.0.0.1")
    shown = with_locals(caught.value)
    assert "Client('?')" in shown
    assert SECRET not in shown


@pytest.mark.parametrize("transport", [None, SyncOnly()])
def test_a_dump_of_a_client_shows_no_secret(transport: httpx.BaseTransport | None) -> None:
    client = Client(LOCAL, headers={"X-Auth-Token": SECRET}, auth=Token(), transport=transport)
    assert SECRET not in repr(vars(client))
    with pytest.raises(TypeError):
        pickle.dumps(client)


FAILURES: Mapping[str, Mapping[str, Any]] = {
    "status": {"status": 401, "content": f'{{"error_msg": "x-auth-token:{SECRET}|{SECRET}"}}'.encode()},
    "no json": {"status": 200, "content": f"<html>{SECRET}".encode()},
    "wrong type": {"status": 200, "content": f'{{"task_id": ["{SECRET}"], "id": {{}}, "name": 1}}'.encode()},
    "wrong length": {"status": 200, "content": f'"{SECRET}"'.encode()},
    "redirect": {"status": 302, "headers": {"Location": f"http://127.0.0.1/?token={SECRET}"}},
    "connection": {"failure": httpx.ConnectError("refused")},
    "timeout": {"failure": httpx.ReadTimeout("slow")},
}


def with_locals(error: BaseException) -> str:
    """The traceback of an error and the local variables of each frame, as tools for debugging show them."""
    shown = traceback.format_exception(error)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for value in frame.f_locals.values():
            with contextlib.suppress(AttributeError):  # the repr of an object whose __init__ failed
                shown.append(repr(value))
    return "".join(shown)


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
    shown = [repr(error), repr(error.args), repr(client), str(pickle.dumps(error)), with_locals(error)]
    assert SECRET not in "".join(shown)
    assert SECRET not in "".join(map(str, (vars(record) for record in caplog.records)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"project_id": ".."},
        {"project_id": "x" * 70_000},
        {"body": RetryScriptExecutionRequest()},
        {"body": RetryScriptExecutionRequest(task_id="\ud800")},
        {"timeout": -1},
    ],
)
def test_no_secret_in_the_traceback_of_a_mistake_of_the_caller(
    world: World, operations: Mapping[str, Operation], answering: type[Answering], wrong: Mapping[str, Any]
) -> None:
    client = Client(LOCAL, transport=answering(), auth=Token(), headers={"X-Security-Token": SECRET})
    error = world.error(operations["RetryScriptExecution"], client, **wrong)
    assert isinstance(error, ValueError)
    assert SECRET not in with_locals(error)


@pytest.mark.parametrize("is_httpx", [False, True], ids=["ours", "httpx"])
def test_no_secret_in_any_log_line_of_a_call_on_a_real_socket(
    world: World,
    operation: Operation,
    server: LoopbackServer,
    caplog: pytest.LogCaptureFixture,
    *,
    is_httpx: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    theirs = httpx.HTTPTransport() if world.name == "sync" else httpx.AsyncHTTPTransport()
    settings: dict[str, Any] = {"transport": theirs} if is_httpx else {}
    world.call(operation, Client(server.url, auth=Token(), headers={"X-Security-Token": SECRET}, **settings))
    assert is_httpx == any(record.name.startswith("httpcore") for record in caplog.records)
    assert SECRET not in "".join(map(str, (vars(record) for record in caplog.records)))


# ---- models


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


def test_unknown_fields_are_kept(world: World, operation: Operation, answering: type[Answering]) -> None:
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


def test_the_package_is_typed_and_complete_and_has_the_version_of_the_spec(spec: Any) -> None:
    assert importlib.resources.files("huaweicloud_retry_client").joinpath("py.typed").is_file()
    assert huaweicloud_retry_client.__version__ == spec["info"]["version"]
    for name in huaweicloud_retry_client.__all__:
        assert hasattr(huaweicloud_retry_client, name)


def third_party_modules(imports: str) -> set[str]:
    """Top-level modules, beyond Python's own, of a fresh process with these imports."""
    code = f"import sys; before = {{*sys.modules}}; {imports}; print(*({{*sys.modules}} - before))"
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in run.stdout.split()} - sys.stdlib_module_names


def test_only_attrs_httpx_and_httptools_and_their_own_requirements_are_imported(
    operations: Mapping[str, Operation],
) -> None:
    package = "huaweicloud_retry_client"
    modules = [
        package,
        f"{package}.models",
        *(operation.module.__name__ for operation in operations.values()),
    ]
    ours = third_party_modules(f"import {', '.join(modules)}")
    assert ours == {package, "huaweicloud_retry"} | third_party_modules("import attrs, httpx, httptools")
