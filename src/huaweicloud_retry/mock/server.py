"""Running the mock on a real socket: in a thread for tests and demos, or as the process itself."""

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from huaweicloud_retry.contract import Contract, SpecError
from huaweicloud_retry.parsing import UnreadableError, one_line

from .app import App
from .faults import Faults, parse_fault, read_faults
from .state import State, read_state
from .wire import TRANSPORT, Application

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

logger = logging.getLogger("huaweicloud_retry.mock")

T = TypeVar("T")

_GRACE = 0.5  # seconds that requests under way have to finish when the server stops
_LOOP = "uvloop" if find_spec("uvloop") else "asyncio"  # a loop in C, where there is one


class StartError(Exception):
    """Why the mock cannot start, in one line."""


@contextmanager
def running(
    contract: Contract | None = None, *, state: Path | None = None, seed: int | None = None
) -> Generator[str, None, None]:
    """Run a mock of its own on a free port of 127.0.0.1 as long as the block lasts.

        with running() as url, Client(url, auth=TokenAuth("mock-token")) as client: ...

    Args:
        contract: by default the packaged one.
        state: a state file; by default the built-in one.
        seed: makes faults that come by chance repeatable.

    Yields:
        The base URL, without a slash at its end.

    Raises:
        SpecError: the spec will not do.
        StartError: the state file will not do.
    """
    with serving(App(contract or Contract.load(), _state(state), Faults(seed=seed))) as url:
        yield url


@contextmanager
def serving(app: Application) -> Generator[str, None, None]:
    """Serve an application on a free port of 127.0.0.1 as long as the block lasts; yields its base URL."""
    # Listening before the server starts: whoever connects meanwhile is kept waiting by the kernel, not refused.
    with listen("127.0.0.1", 0) as sock:
        server = _Server(_config(app))
        thread = Thread(target=server.run, args=([sock],), name="huaweicloud-retry-mock", daemon=True)
        thread.start()
        try:
            yield base_url(sock)
        finally:
            server.should_exit = True
            thread.join()


def serve(  # noqa: PLR0913 - the options of the command
    host: str,
    port: int,
    *,
    state: Path | None,
    faults: Path | None,
    fault: Iterable[str],
    seed: int | None,
    delay: float,
    admin: bool,
) -> None:
    """Be the mock, in the main thread, until Ctrl-C or SIGTERM; print one line when ready.

    Args:
        host: the address to listen on.
        port: 0 picks a free one.
        state: a state file; None for the built-in one.
        faults: a file of faults.
        fault: more of them, as on the command line.
        seed: makes faults that come by chance repeatable.
        delay: seconds before each answer.
        admin: serve /_mock/.

    Raises:
        StartError: it cannot start.
    """
    try:
        contract = Contract.load()
    except SpecError as error:
        raise StartError(str(error)) from error
    known = _state(state)
    waiting = _read(faults, partial(read_faults, contract)) if faults else []
    for text in fault:
        try:
            waiting.append(parse_fault(contract, text))
        except UnreadableError as error:
            raise StartError(f"--fault {one_line(text)}: {error}") from error
    app = App(contract, known, Faults(waiting, seed), delay=delay, admin=admin)
    try:
        sock = listen(host, port)
    except OSError as error:
        hint = "choose another --port, or 0 for a free one"
        raise StartError(f"cannot listen on {host} port {port}: {error.strerror}; {hint}") from error
    server = _Server(_config(app))

    # uvicorn has handlers of its own while it serves, and afterwards raises the signal again, so as to die of it.
    def stop(_signal: int, _frame: object) -> None:
        server.should_exit = True

    for signal_ in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_, stop)
    with sock:
        url = base_url(sock)
        print(f"mock ready at {url} (page: {url}/docs; {known.credentials.hint}; Ctrl-C stops it)", flush=True)  # noqa: T201
        server.run([sock])


def _state(file: Path | None) -> State:
    return State(_read(file, read_state) if file else None)


def _read(file: Path, reader: Callable[[bytes], T]) -> T:
    try:
        return reader(file.read_bytes())
    except OSError as error:
        raise StartError(f"{file}: cannot be read: {error.strerror}") from error
    except UnreadableError as error:
        raise StartError(f"{file}: {error}") from error


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 picks a free one.

    Raises:
        OSError: the address is taken, or is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by name: asyncio sets TCP_NODELAY on no other, and then each answer waits 40 ms for an ACK.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere this option lets two servers share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


def base_url(sock: socket.socket) -> str:
    """Return the URL at which a listening socket is reached."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Stops soon: what is still under way after the grace is cut off, where uvicorn waits."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        cut = asyncio.get_running_loop().call_later(_GRACE, self._cut)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class _Protocol(HttpToolsProtocol):
    """uvicorn's own, with a few things more.

    It writes less often. It hands the connection to the application. It tells the request under way of the connection's
    end even if another one waits behind it. It reads the body beside an offer to upgrade to another protocol, which
    uvicorn declines as well, but loses the body (https://github.com/Kludex/uvicorn/issues/2722). It refuses in JSON what
    is not HTTP.
    """

    _under_way: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self.transport = _Gathering(transport, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._under_way and not self._under_way.response_complete:
            self._under_way.disconnected = True
            self._under_way.message_event.set()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self.parser.get_method() == b"CONNECT":
                self.send_400_response("this is no proxy.")
            else:
                self._go_on_without_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError:
            logger.info("what is not HTTP: 400")
            self.send_400_response("Invalid HTTP request received.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item] # more than uvicorn knows of

    def on_headers_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Read the request once more, without the offer, which makes httptools stop at the end of the headers."""
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/1.1"]
        lines += [b": ".join(header) for header in self.headers if header[0] not in {b"upgrade", b"connection"}]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._under_way = cycle
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        content = json.dumps({"error_code": "APIGW.0201", "error_msg": f"Bad request: {msg}"}).encode()
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n"
        self.transport.write(f"{head}connection: close\r\n\r\n".encode() + content)
        self.transport.close()


class _Gathering(asyncio.Transport):
    """Writes once what is written in one turn of the loop: head and body in one system call, a fifth of a request's time."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._call_soon = loop.call_soon
        self._parts: list[bytes | bytearray | memoryview] = []
        # What uvicorn asks of a transport, and does not change.
        self.is_closing = transport.is_closing  # type: ignore[method-assign]
        self.get_extra_info = transport.get_extra_info  # type: ignore[method-assign]
        self.abort = transport.abort  # type: ignore[method-assign]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._parts:
            self._call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts.clear()


def _config(app: Application) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        loop=_LOOP,
        ws="none",
        lifespan="off",
        log_config=None,  # the application's own logging; without one, warnings and errors go to stderr
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,  # seconds; longer than clients keep idle connections, so they never meet a closed one
    )
