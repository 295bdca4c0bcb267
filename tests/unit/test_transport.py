"""What the client guarantees of its connections, on real sockets, sync and async: each request gets its own response.

How a response may break is in tests/e2e/chaos.py.
"""

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

import httpx
import pytest

from huaweicloud_retry import APIConnectionError, APITimeoutError
from huaweicloud_retry.runtime import http1
from huaweicloud_retry_client import Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest
from tests.connections import (
    LONG,
    Line,
    Mode,
    Server,
    check_cancellations,
    check_interrupts,
    client_of,
    response,
    tls_contexts,
    turns,
)


@pytest.fixture(params=["sync", "asyncio", "uvloop"])
def mode(request: pytest.FixtureRequest) -> Iterator[Mode]:
    made = Mode(request.param)
    with made.runner:
        yield made


TASKS, BUT_UVLOOP = (
    pytest.mark.parametrize("mode", modes, indirect=True)
    for modes in (["asyncio", "uvloop"], ["sync", "asyncio"])
)


@pytest.fixture(scope="module")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return tls_contexts()


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
NO_TLS = None, None


# ---- which connection a request goes out on


@pytest.mark.parametrize("encrypted", [False, True])
def test_calls_one_after_the_other_share_a_connection(mode: Mode, tls: Contexts, *, encrypted: bool) -> None:
    server_tls, client_tls = tls if encrypted else NO_TLS
    with Server(tls=server_tls) as server, client_of(mode, server.url, client_tls) as client:
        assert [mode.call(client, engine) for engine in (1, 2, 3)] == [1, 2, 3]
        assert server.connections == 1


def test_a_request_is_sent_in_one_piece(mode: Mode) -> None:
    pieces: list[bytes] = []

    def serve(line: Line) -> None:
        while piece := line.socket.recv(1 << 16):
            pieces.append(piece)
            line.socket.sendall(response(7))

    with Server(serve) as server, client_of(mode, server.url) as client:
        for _ in range(5):
            assert mode.call(client) == 7
    assert [piece.endswith(b'\r\n\r\n{"action":"Retry"}') for piece in pieces] == [True] * 5


def test_a_long_request_arrives_whole(mode: Mode) -> None:
    length = 20_000_000

    def serve(line: Line) -> None:
        while (received := line.socket.recv(1 << 20)) and b"?" not in received:
            pass
        line.socket.sendall(response(7))

    with Server(serve) as server, client_of(mode, server.url) as client:
        assert mode.put(client, length * b"x" + b"?").status_code == 200


SPOILT = {
    "closed": lambda line: line.socket.close(),
    "reset": Line.reset,
    "response": lambda line: line.socket.sendall(response(666)),
    "byte": lambda line: line.socket.sendall(b"x"),
}


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_an_idle_connection_that_something_came_on_is_not_used_again(
    mode: Mode, tls: Contexts, spoil: Callable[[Line], None], *, turned: bool, encrypted: bool
) -> None:
    may_spoil, is_spoilt = threading.Event(), threading.Event()

    def serve(line: Line) -> None:
        engine = line.request()
        line.socket.sendall(response(engine))
        if engine == 1:
            may_spoil.wait(LONG)
            spoil(line)
            is_spoilt.set()
        line.request()

    server_tls, client_tls = tls if encrypted else NO_TLS
    with Server(serve, server_tls) as server, client_of(mode, server.url, client_tls) as client:
        assert mode.call(client, 1) == 1
        may_spoil.set()
        assert is_spoilt.wait(LONG)
        if turned:
            mode.turn()
        assert mode.call(client, 2) == 2
        assert (server.connections, server.requests) == (2, [1, 2])


@pytest.mark.parametrize("behind", [response(666), b"x"], ids=["response", "byte"])
def test_bytes_behind_a_response_in_tls_are_never_the_next(mode: Mode, tls: Contexts, behind: bytes) -> None:
    def serve(line: Line) -> None:
        while (engine := line.request()) is not None:
            line.socket.sendall(response(engine) + behind)

    with Server(serve, tls[0]) as server, client_of(mode, server.url, tls[1]) as client:
        assert [mode.call(client, engine) for engine in (1, 2, 3)] == [1, 2, 3]
        assert (server.connections, server.requests) == (3, [1, 2, 3])


def test_a_connection_that_was_idle_too_long_is_closed(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "IDLE_LIMIT", 0.0)
    with Server() as server, client_of(mode, server.url) as client:
        assert [mode.call(client, engine) for engine in (1, 2, 3)] == [1, 2, 3]
        assert server.connections == 3
        mode.turn()
        server.wait_for_open(1)


@BUT_UVLOOP  # which does not tell
def test_an_idle_connection_that_takes_no_byte_is_replaced(
    mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1.Connection, "is_clean", lambda _: True)  # it breaks right after this check

    def serve(line: Line) -> None:
        line.socket.sendall(response(line.request()))
        line.reset()

    with Server(serve) as server, client_of(mode, server.url) as client:
        for engine in (1, 2, 3):
            assert mode.call(client, engine) == engine
            server.wait_for_open(0)
        assert (server.connections, server.requests) == (3, [1, 2, 3])


@BUT_UVLOOP
def test_of_a_new_connection_that_takes_no_byte_nothing_was_sent(
    mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_reset = threading.Event()

    def serve(line: Line) -> None:
        line.reset()
        is_reset.set()

    connect, create = socket.create_connection, asyncio.BaseEventLoop.create_connection

    def connected(*arguments: Any) -> socket.socket:
        sock = connect(*arguments)
        assert is_reset.wait(LONG)
        return sock

    async def created(*arguments: Any, **settings: Any) -> Any:
        made = await create(*arguments, **settings)
        assert is_reset.wait(LONG)
        return made

    monkeypatch.setattr(socket, "create_connection", connected)
    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", created)
    with Server(serve) as server, client_of(mode, server.url) as client:
        error = mode.error(client)
        assert (type(error), error.outcome_unknown) == (APIConnectionError, False)
        assert str(error).endswith("; nothing was sent")
        assert server.requests == []


# ---- the end of a response


def test_a_server_that_takes_nothing_is_a_timeout_of_unknown_outcome(mode: Mode) -> None:
    has_failed = threading.Event()

    def serve(line: Line) -> None:
        has_failed.wait(LONG)
        while line.socket.recv(1 << 20):
            pass

    with Server(serve) as server, client_of(mode, server.url) as client:
        with pytest.raises(APITimeoutError) as caught:
            mode.put(client, bytes(1 << 25), httpx.Timeout(LONG, write=0.2))
        assert caught.value.outcome_unknown
        has_failed.set()
        mode.turn()
        server.wait_for_open(0)  # although the error is kept


# ---- how many connections


def test_of_many_calls_at_once_each_gets_its_own_response_on_at_most_100_connections(mode: Mode) -> None:
    engines = range(1, 251)

    async def calls(client: Client) -> list[int]:
        async def one(engine: int) -> int:
            body = EngineActionRequest()
            return (await retry_engine.asyncio("p", str(engine), client=client, body=body)).job_id

        return await asyncio.gather(*map(one, engines))

    with Server() as server, client_of(mode, server.url) as client:
        if mode.name == "sync":
            with ThreadPoolExecutor(16) as pool:
                came = list(pool.map(lambda engine: mode.call(client, engine), engines))
        else:
            came = [*mode.runner.run(calls(client))]
        assert came == list(engines)
        assert 1 < server.connections <= 100


@TASKS
def test_a_call_waits_for_a_free_connection_in_its_time(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "MAX_CONNECTIONS", 2)
    has_two = threading.Barrier(3)

    def serve(line: Line) -> None:
        while (engine := line.request()) is not None:
            if engine == 1:
                has_two.wait(LONG)
            else:
                line.socket.sendall(response(engine))

    async def calls(client: Client) -> None:
        def call(engine: str, **timeouts: float) -> "asyncio.Task[Any]":
            timeout = httpx.Timeout(LONG, **timeouts)
            body = EngineActionRequest()
            return asyncio.create_task(
                retry_engine.asyncio("p", engine, client=client, body=body, timeout=timeout)
            )

        held = [call("1"), call("1")]
        await asyncio.to_thread(has_two.wait, LONG)
        with pytest.raises(APITimeoutError, match=r"none of 2 connections .*; nothing was sent") as caught:
            await call("2", pool=0.05)
        assert caught.value.outcome_unknown is False
        waiting = call("3")
        await turns(10)
        waiting.cancel()  # its turn must not be lost
        held[0].cancel()
        await asyncio.wait([waiting, held[0]])
        assert (await call("4")).job_id == 4
        held[1].cancel()
        await asyncio.wait(held)

    with Server(serve) as server, client_of(mode, server.url) as client:
        mode.runner.run(calls(client))
        assert 2 not in server.requests
        assert 3 not in server.requests


@TASKS
def test_a_failed_call_gives_its_place_back(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "MAX_CONNECTIONS", 1)
    kinds = cycle(range(4))  # of connections, each of which carries one request

    def serve(line: Line) -> None:
        kind = next(kinds)
        if line.request() is None:
            return
        if kind == 0:
            line.reset()
        elif kind == 1:
            line.socket.sendall(b"garbage\r\n\r\n")
        elif kind == 2:
            line.socket.recv(1)
        else:
            line.socket.sendall(response(7).replace(b"\r\n", b"\r\nConnection: close\r\n", 1))

    with Server(serve) as server, client_of(mode, server.url) as client:
        for _ in range(2):
            for _ in range(3):
                assert mode.error(client, read=0.1).outcome_unknown
            assert mode.call(client) == 7


@TASKS
def test_a_client_works_in_several_event_loops(mode: Mode) -> None:
    with Server() as server, client_of(mode, server.url) as client:
        with (other := mode.other()).runner:
            for engine in (1, 3, 5):
                assert mode.call(client, engine) == engine
                assert other.call(client, engine + 1) == engine + 1
            assert server.connections == 2  # each loop has its own
            other.runner.run(client._transport.aclose())  # type: ignore[union-attr] # of that loop only
        assert mode.call(client, 7) == 7
        assert server.connections == 2


# ---- interrupts, cancellations


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
def test_a_client_survives_interrupts_at_any_moment() -> None:
    check_interrupts(200)


@needs_fork
@TASKS
def test_a_client_survives_cancellations_at_any_moment(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "MAX_CONNECTIONS", 1)
    check_cancellations(mode, 200)
