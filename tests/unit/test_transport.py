"""What the client guarantees of its connections, on real sockets, sync and async: each request gets its own response."""

import asyncio
import contextlib
import gc
import os
import random
import signal
import socket
import ssl
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import trustme
import uvloop

from huaweicloud_retry import APIConnectionError, APIError, APIResponseValidationError, APITimeoutError
from huaweicloud_retry.runtime import http1
from huaweicloud_retry_client import Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest

LONG = 10  # seconds that no test takes
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER: closing resets


class Line:
    """The server's end of a connection."""

    def __init__(self, sock: socket.socket, requests: list[int]) -> None:
        self.socket = sock
        self._requests = requests

    def request(self) -> int | None:
        """Read a request, and return the engine that it is for; None: the client has closed the connection."""
        received = b""
        while not received.endswith(b'{"action":"Retry"}'):
            part = self.socket.recv(1 << 16)
            if not part:
                return None
            received += part
        engine = int(received.split(b"/engines/")[1].split(b"/")[0])
        self._requests.append(engine)
        return engine

    def reset(self) -> None:
        """Close the connection with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.close()


def response(engine: int | None, *, framed: bool = True) -> bytes:
    body = b'{"id":"e","name":"n","jobId":%d}' % (engine or 0)
    return b"HTTP/1.1 200 OK\r\n%b\r\n%b" % (b"Content-Length: %d\r\n" % len(body) if framed else b"", body)


def respond(line: Line) -> None:
    """Respond to each request with its own engine as the job."""
    while (engine := line.request()) is not None:
        line.socket.sendall(response(engine))


class Server:
    """Serves each connection by a function, in a thread of its own, and closes it with the function's end.

    `requests` are the engines that were asked for, `connections` how many were opened.
    """

    def __init__(self, serve: Callable[[Line], None] = respond, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[int] = []
        self.connections = 0
        self._serve = serve
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # on some systems this wakes accept(), on others it is an error
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(LONG)
        with self._changed:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self.wait_for_open(0)

    def wait_for_open(self, number: int) -> None:
        """Wait until no more connections than these are open."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._open) <= number, LONG), "connections were left open"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                self._start(self._listener.accept()[0])

    def _start(self, sock: socket.socket) -> None:
        with self._changed:
            self.connections += 1
            self._open.add(sock)
        threading.Thread(target=self._run, args=(sock,)).start()

    def _wrapped(self, sock: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(sock, server_side=True) if self._tls else sock

    def _run(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock, self._wrapped(sock) as wrapped:  # the client may go away
            self._serve(Line(wrapped, self.requests))
        with self._changed:
            self._open.discard(sock)
            self._changed.notify_all()


class World:
    """Sync, or an event loop that runs only as long as a call does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._loop = uvloop.new_event_loop if name == "uvloop" else asyncio.new_event_loop
        self.runner = asyncio.Runner(loop_factory=self._loop)

    def other(self) -> "World":
        """Return one with an event loop of its own."""
        return World(self.name)

    def call(self, client: Client, engine: int = 7, **timeouts: float) -> int | None:
        """Call once, and return the job that the server responded with."""
        arguments: dict[str, Any] = {"client": client, "body": EngineActionRequest()}
        if timeouts:
            arguments["timeout"] = httpx.Timeout(LONG, **timeouts)
        if self.name == "sync":
            job = retry_engine.sync("p", str(engine), **arguments)
        else:
            job = self.runner.run(retry_engine.asyncio("p", str(engine), **arguments))
        return job.job_id or None

    def put(self, client: Client, content: bytes, timeout: httpx.Timeout | None = None) -> Any:
        """Send a long body, and return what the client returns."""
        call = {"method": "PUT", "path": "/", "headers": {}, "content": content}
        if self.name == "sync":
            return client.call(call, lambda *_: None, timeout)
        return self.runner.run(client.acall(call, lambda *_: None, timeout))

    def error(self, client: Client, **timeouts: float) -> APIError:
        with pytest.raises(APIError) as caught:
            self.call(client, 7, **timeouts)
        return caught.value

    def turn(self) -> None:
        """Let the event loop see what has come meanwhile."""
        self.runner.run(turns(10))

    def close(self, client: Client) -> None:
        client.close()
        self.runner.run(client.aclose())


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@contextlib.contextmanager
def client_of(world: World, url: str, tls: ssl.SSLContext | None = None) -> Iterator[Client]:
    client = Client(url, verify=tls or True, timeout=LONG)
    try:
        yield client
    finally:
        world.close(client)


@pytest.fixture(params=["sync", "asyncio", "uvloop"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(request.param)
    with made.runner:
        yield made


@pytest.fixture(params=["asyncio", "uvloop"])
def tasks(request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(request.param)
    with made.runner:
        yield made


@pytest.fixture(scope="module")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and a client's that trusts it."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
NO_TLS = None, None


# ---- which connection a request goes out on


@pytest.mark.parametrize("encrypted", [False, True])
def test_calls_one_after_the_other_share_a_connection(world: World, tls: Contexts, *, encrypted: bool) -> None:
    server_tls, client_tls = tls if encrypted else NO_TLS
    with Server(tls=server_tls) as server, client_of(world, server.url, client_tls) as client:
        assert [world.call(client, engine) for engine in (1, 2, 3)] == [1, 2, 3]
        assert server.connections == 1


def test_a_request_is_sent_in_one_piece(world: World) -> None:
    pieces: list[bytes] = []

    def serve(line: Line) -> None:
        while piece := line.socket.recv(1 << 16):
            pieces.append(piece)
            line.socket.sendall(response(7))

    with Server(serve) as server, client_of(world, server.url) as client:
        for _ in range(5):
            assert world.call(client) == 7
    assert [piece.endswith(b'\r\n\r\n{"action":"Retry"}') for piece in pieces] == [True] * 5


def test_a_long_request_arrives_whole(world: World) -> None:
    length = 20_000_000

    def serve(line: Line) -> None:
        while (received := line.socket.recv(1 << 20)) and b"?" not in received:
            pass
        line.socket.sendall(response(7))

    with Server(serve) as server, client_of(world, server.url) as client:
        assert world.put(client, length * b"x" + b"?").status_code == 200


SPOILT = {
    "closed": lambda line: line.socket.close(),
    "reset": Line.reset,
    "response": lambda line: line.socket.sendall(response(666)),
    "start of one": lambda line: line.socket.sendall(response(666)[:20]),
    "line break": lambda line: line.socket.sendall(b"\r\n"),
    "byte": lambda line: line.socket.sendall(b"x"),
}


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_an_idle_connection_that_something_came_on_is_not_used_again(
    world: World, tls: Contexts, spoil: Callable[[Line], None], *, turned: bool, encrypted: bool
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
    with Server(serve, server_tls) as server, client_of(world, server.url, client_tls) as client:
        assert world.call(client, 1) == 1
        may_spoil.set()
        assert is_spoilt.wait(LONG)
        if turned:
            world.turn()
        assert world.call(client, 2) == 2
        assert (server.connections, server.requests) == (2, [1, 2])


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("behind", [response(666), response(666)[:20], b"\r\n", b"x", b"HTTP/1.1 408 Timeout\r\n\r\n"])
def test_bytes_behind_a_response_never_become_the_next_one(
    world: World, tls: Contexts, behind: bytes, *, encrypted: bool
) -> None:
    def serve(line: Line) -> None:
        while (engine := line.request()) is not None:
            line.socket.sendall(response(engine) + behind)

    server_tls, client_tls = tls if encrypted else NO_TLS
    with Server(serve, server_tls) as server, client_of(world, server.url, client_tls) as client:
        assert [world.call(client, engine) for engine in (1, 2, 3)] == [1, 2, 3]
        assert (server.connections, server.requests) == (3, [1, 2, 3])


def test_a_connection_that_was_idle_for_too_long_is_not_used_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "IDLE_LIMIT", 0.0)
    with Server() as server, client_of(world, server.url) as client:
        assert [world.call(client, engine) for engine in (1, 2, 3)] == [1, 2, 3]
        assert server.connections == 3
        world.turn()
        server.wait_for_open(1)


def test_an_idle_connection_that_breaks_before_it_takes_a_byte_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http1.Connection, "is_clean", lambda _: True)  # it breaks right after this check

    def serve(line: Line) -> None:
        line.socket.sendall(response(line.request()))
        line.reset()

    for name in ("sync", "asyncio"):  # uvloop does not tell
        world = World(name)
        with world.runner, Server(serve) as server, client_of(world, server.url) as client:
            for engine in (1, 2, 3):
                assert world.call(client, engine) == engine
                server.wait_for_open(0)
            assert (server.connections, server.requests) == (3, [1, 2, 3])


def test_a_new_connection_that_breaks_before_it_takes_a_byte_says_that_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch,
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
    for name in ("sync", "asyncio"):  # uvloop does not tell
        is_reset.clear()
        world = World(name)
        with world.runner, Server(serve) as server, client_of(world, server.url) as client:
            error = world.error(client)
            assert (type(error), error.outcome_unknown) == (APIConnectionError, False)
            assert str(error).endswith("; nothing was sent")
            assert server.requests == []


# ---- the end of a response


ENDS: list[tuple[bytes, type[APIError]]] = [
    (b"", APIConnectionError),
    (b"\x15\x03\x01\x00\x02\x02\x0a", APIConnectionError),
    (response(7)[:30], APIConnectionError),
    (response(7)[:-1], APIResponseValidationError),
]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("sent", "kind"), ENDS)
def test_a_connection_that_ends_within_a_response_leaves_the_outcome_unknown(
    world: World, sent: bytes, kind: type[APIError], *, reset: bool
) -> None:
    def serve(line: Line) -> None:
        if line.request() is not None:
            line.socket.sendall(sent)
            if reset:
                line.reset()

    with Server(serve) as server, client_of(world, server.url) as client:
        error = world.error(client)
        if not (reset and kind is APIResponseValidationError):  # a reset may overtake what was sent
            assert type(error) is kind
        assert error.outcome_unknown
        assert server.requests == [7]


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX: ", response(7, framed=False)])
def test_a_response_that_drips_takes_no_longer_than_read_allows(world: World, start: bytes) -> None:
    is_over = threading.Event()

    def serve(line: Line) -> None:
        line.request()
        line.socket.sendall(start)
        for _ in range(500):  # each gap is far shorter than the limit
            is_over.wait(0.01)
            line.socket.sendall(b" ")
        line.socket.sendall(b"\r\n\r\n" + response(7, framed=False) if b"X" in start else b"")

    with Server(serve) as server, client_of(world, server.url) as client:
        error = world.error(client, read=0.3)
        is_over.set()
        assert "not complete in time" in str(error)
        assert type(error) is (APITimeoutError if b"X" in start else APIResponseValidationError)
        assert error.outcome_unknown


def test_a_server_that_takes_nothing_is_a_timeout_of_unknown_outcome(world: World) -> None:
    has_failed = threading.Event()

    def serve(line: Line) -> None:
        has_failed.wait(LONG)
        while line.socket.recv(1 << 20):
            pass

    with Server(serve) as server, client_of(world, server.url) as client:
        with pytest.raises(APITimeoutError) as caught:
            world.put(client, bytes(1 << 25), httpx.Timeout(LONG, write=0.2))
        assert caught.value.outcome_unknown
        has_failed.set()
        world.turn()
        server.wait_for_open(0)  # although the error is kept


@pytest.mark.parametrize("is_said", [False, True])
def test_a_body_that_ends_with_the_connection_is_whole_only_if_tls_says_so(tls: Contexts, *, is_said: bool) -> None:
    def serve(line: Line) -> None:
        line.request()
        line.socket.sendall(response(7, framed=False))
        if is_said:
            assert isinstance(line.socket, ssl.SSLSocket)
            line.socket.unwrap()

    world = World("sync")
    with world.runner, Server(serve, tls[0]) as server, client_of(world, server.url, tls[1]) as client:
        if is_said:
            assert world.call(client) == 7
        else:
            error = world.error(client)
            assert isinstance(error, APIResponseValidationError)
            assert "its body cannot be read" in error.problem


HANDSHAKES = {
    "closed": lambda _: None,
    "reset": Line.reset,
    "garbage": lambda line: line.socket.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "silence": lambda line: line.socket.recv(1 << 16) and line.socket.recv(1),
}


@pytest.mark.parametrize("serve", HANDSHAKES.values(), ids=HANDSHAKES)
def test_of_a_failed_handshake_nothing_was_sent(world: World, serve: Callable[[Line], None]) -> None:
    with Server(serve) as server, client_of(world, server.url.replace("http:", "https:")) as client:
        error = world.error(client, connect=0.2 if serve is HANDSHAKES["silence"] else LONG)
        assert type(error) is (APITimeoutError if serve is HANDSHAKES["silence"] else APIConnectionError)
        assert (error.outcome_unknown, str(error)[-18:]) == (False, "; nothing was sent")


# ---- how many connections


def test_of_many_calls_at_once_each_gets_its_own_response_on_at_most_100_connections(tasks: World) -> None:
    async def calls(client: Client) -> list[int]:
        async def one(engine: int) -> int:
            return (await retry_engine.asyncio("p", str(engine), client=client, body=EngineActionRequest())).job_id

        return await asyncio.gather(*(one(engine) for engine in range(1, 251)))

    with Server() as server, client_of(tasks, server.url) as client:
        assert tasks.runner.run(calls(client)) == list(range(1, 251))
        assert 1 < server.connections <= 100


def test_a_call_waits_for_a_free_connection_no_longer_than_it_may(
    tasks: World, monkeypatch: pytest.MonkeyPatch
) -> None:
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
            coroutine = retry_engine.asyncio("p", engine, client=client, body=EngineActionRequest(), timeout=timeout)
            return asyncio.create_task(coroutine)

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

    with Server(serve) as server, client_of(tasks, server.url) as client:
        tasks.runner.run(calls(client))
        assert 2 not in server.requests
        assert 3 not in server.requests


def test_a_failed_call_gives_its_place_back(tasks: World, monkeypatch: pytest.MonkeyPatch) -> None:
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

    with Server(serve) as server, client_of(tasks, server.url) as client:
        for _ in range(2):
            for _ in range(3):
                assert tasks.error(client, read=0.1, pool=1).outcome_unknown
            assert tasks.call(client, pool=1) == 7


def test_a_client_works_in_several_event_loops(tasks: World) -> None:
    with Server() as server, client_of(tasks, server.url) as client:
        with (other := tasks.other()).runner:
            for engine in (1, 3, 5):
                assert tasks.call(client, engine) == engine
                assert other.call(client, engine + 1) == engine + 1
            assert server.connections == 2  # each loop has its own
            other.runner.run(client._transport.aclose())  # type: ignore[union-attr] # of that loop only
        assert tasks.call(client, 7) == 7
        assert server.connections == 2


# ---- forks, interrupts, cancellations


def in_child(check: Callable[[], object]) -> int:
    """Run a check in a forked process; return the ID of the process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks while threads run, which is the point
        process = os.fork()
    if process == 0:
        sys.unraisablehook = lambda _: None  # pytest's keeps what it is given, and with it the connection
        try:
            check()
        except BaseException as error:  # noqa: BLE001 - nothing may return to pytest from here
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    return process


def outcome(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
def test_after_a_fork_each_process_gets_its_own_responses(world: World) -> None:
    with Server() as server, client_of(world, server.url) as client:
        assert world.call(client, 1) == 1

        def check(first: int, own: World) -> None:
            expected = list(range(first, first + 50))
            assert [own.call(client, engine) for engine in expected] == expected

        assert outcome(in_child(lambda: check(1000, world.other()))) == 0  # a forked event loop cannot be used
        assert server.connections == 2  # the child has its own
        child = in_child(lambda: check(2000, world.other()))
        check(3000, world)
        assert outcome(child) == 0
        assert sorted(server.requests) == [1, *(first + n for first in (1000, 2000, 3000) for n in range(50))]


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@needs_fork
def test_a_client_survives_interrupts_at_any_moment() -> None:
    world = World("sync")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def check(client: Client) -> None:
        signal.signal(signal.SIGALRM, interrupt)
        chance, interrupted, before = random.Random(1), 0, (world.call(client, 1), descriptors())[1]
        engine = 1
        while interrupted < 2000:
            engine += 1
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00002, 0.002))
                try:
                    job = world.call(client, engine)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                assert job == engine, (job, engine)
            except KeyboardInterrupt:
                interrupted += 1
        assert world.call(client, 7) == 7
        gc.collect()  # an interrupt's traceback may hold a connection in a cycle
        assert descriptors() <= before, (descriptors(), before)

    with world.runner, Server() as server, client_of(world, server.url) as client:
        assert outcome(in_child(lambda: check(client))) == 0


@needs_fork
def test_a_client_survives_cancellations_at_any_moment(tasks: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "MAX_CONNECTIONS", 1)

    async def check(client: Client) -> None:
        loop, chance, cancelled = asyncio.get_running_loop(), random.Random(1), 0

        async def call(engine: int) -> None:
            job = await retry_engine.asyncio("p", str(engine), client=client, body=EngineActionRequest())
            assert job.job_id == engine, (job.job_id, engine)

        await call(1)
        before, engine = descriptors(), 1
        while cancelled < 2000:
            engine += 1
            task = asyncio.create_task(call(engine))
            if engine % 2:
                await turns(chance.randrange(12))
                task.cancel()
            else:
                loop.call_later(chance.uniform(0, 0.002), task.cancel)
            await asyncio.wait([task])
            cancelled += task.cancelled()
            if not task.cancelled():
                task.result()
        await call(7)
        await turns(10)  # asyncio closes sockets at its next turn
        assert descriptors() <= before, (descriptors(), before)

    with Server() as server, client_of(tasks, server.url) as client:
        assert outcome(in_child(lambda: tasks.other().runner.run(check(client)))) == 0
