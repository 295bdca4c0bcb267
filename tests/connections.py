"""A server on real sockets, and a caller in sync or async, for tests of what happens on a connection."""

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
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import trustme
import uvloop

from huaweicloud_retry import APIError
from huaweicloud_retry_client import Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest
from tests.callers import ENGINE, RESET, LoopbackServer

LONG = 60  # seconds that no test takes


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

    `requests` are the engines that were asked for, `connections` how many were opened, `refusals` why handshakes
    failed.
    """

    def __init__(self, serve: Callable[[Line], None] = respond, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[int] = []
        self.refusals: list[str] = []
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
            assert self._changed.wait_for(lambda: len(self._open) <= number, LONG), (
                "connections were left open"
            )

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                self._start(self._listener.accept()[0])

    def _start(self, sock: socket.socket) -> None:
        if self._tls:
            sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        with self._changed:
            self.connections += 1
            self._open.add(sock)
        threading.Thread(target=self._run, args=(sock,)).start()

    def _run(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:  # the client may go away
            if self._handshake(sock):
                self._serve(Line(sock, self.requests))
        with self._changed:
            self._open.discard(sock)
            self._changed.notify_all()

    def _handshake(self, sock: socket.socket) -> bool:
        """Return whether it succeeds."""
        if isinstance(sock, ssl.SSLSocket):
            try:
                sock.do_handshake()
            except OSError as error:
                self.refusals.append(str(error))
                # Read until the client closes: closing first would reset the connection, and a reset may overtake
                # the alert with the reason.
                with socket.socket(fileno=sock.detach()) as plain:
                    while plain.recv(4096):
                        pass
                return False
        return True


def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the TLS settings of a server, and those of a client that trusts it."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


class Mode:
    """Sync, or an event loop that runs only as long as a call does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._loop = uvloop.new_event_loop if name == "uvloop" else asyncio.new_event_loop
        self.runner = asyncio.Runner(loop_factory=self._loop)

    def other(self) -> "Mode":
        """Return one with an event loop of its own."""
        return Mode(self.name)

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
def client_of(
    mode: Mode, url: str, tls: ssl.SSLContext | str | os.PathLike[str] | None = None
) -> Iterator[Client]:
    client = Client(url, verify=tls or True, timeout=LONG)
    try:
        yield client
    finally:
        mode.close(client)


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


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


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


def check_interrupts(number: int) -> None:
    """Interrupt so many sync calls, each at a moment of its own; in a child process."""
    mode = Mode("sync")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def check(client: Client) -> None:
        signal.signal(signal.SIGALRM, interrupt)
        chance, interrupted, before = random.Random(1), 0, (mode.call(client, 1), descriptors())[1]
        engine = 1
        while interrupted < number:
            engine += 1
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00002, 0.002))
                try:
                    job = mode.call(client, engine)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                assert job == engine, (job, engine)
            except KeyboardInterrupt:
                interrupted += 1
        assert mode.call(client, 7) == 7
        gc.collect()  # an interrupt's traceback may hold a connection in a cycle
        assert descriptors() <= before, (descriptors(), before)

    with mode.runner, Server() as server, client_of(mode, server.url) as client:
        assert outcome(in_child(lambda: check(client))) == 0


def check_cancellations(mode: Mode, number: int) -> None:
    """Cancel so many async calls, each at a moment of its own; in a child process."""

    async def check(client: Client) -> None:
        loop, chance, cancelled = asyncio.get_running_loop(), random.Random(1), 0

        async def call(engine: int) -> None:
            job = await retry_engine.asyncio("p", str(engine), client=client, body=EngineActionRequest())
            assert job.job_id == engine, (job.job_id, engine)

        await call(1)
        before, engine = descriptors(), 1
        while cancelled < number:
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

    with Server() as server, client_of(mode, server.url) as client:
        assert outcome(in_child(lambda: mode.other().runner.run(check(client)))) == 0
