"""Runs the mock on a real socket: in a thread for tests and demos, or as a process."""

import asyncio
import os
import signal
import socket
import sys
from argparse import Namespace
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TypeVar

from huaweicloud_retry.contract import Contract, SpecError
from huaweicloud_retry.parsing import UnreadableError, escape_unprintable

from .app import App
from .faults import Faults, parse_fault, read_faults
from .guard import Guard, is_loopback
from .state import State, read_state
from .wire import PIECE, Application, Connections

try:
    import uvloop as loops  # in C: twice the requests per second
except ImportError:
    import asyncio as loops  # type: ignore[no-redef]

T = TypeVar("T")

TIMEOUT = 60.0  # seconds to receive a request, and to send its response
_GRACE = 0.5  # seconds for open requests to finish when the server stops


class StartError(Exception):
    """The mock cannot start. The message is one line."""


@contextmanager
def running(
    contract: Contract | None = None,
    *,
    state: Path | None = None,
    seed: int | None = None,
    allow_hosts: Iterable[str] = (),
) -> Generator[str, None, None]:
    """Run a new mock on a free port of 127.0.0.1 during the block; yields its base URL.

        with running() as url, Client(url, auth=TokenAuth("mock-token")) as client: ...

    Defaults: the packaged contract, the built-in state. `seed` makes random faults repeatable. `allow_hosts`
    are accepted host names, in addition to localhost and loopback addresses.
    """
    contract = contract or Contract.load()
    app = App(contract, _state(state), Faults(seed=seed), Guard(allow_hosts))
    with serving(app, contract=contract) as url:
        yield url


@contextmanager
def serving(
    app: Application, timeout: float = TIMEOUT, contract: Contract | None = None
) -> Generator[str, None, None]:
    """Serve an application on a free port of 127.0.0.1 during the block; yields its base URL.

    The contract, by default the packaged one, sets the size limits.
    """
    # Listen before the server starts, so that the kernel queues early connections instead of refusing them.
    with listen("127.0.0.1", 0) as sock:
        server = Server(app, sock, timeout, contract or Contract.load())
        thread = Thread(target=server.run, name="huaweicloud-retry-mock", daemon=True)
        thread.start()
        try:
            yield base_url(sock)
        finally:
            server.stop()
            thread.join()


def serve(options: Namespace) -> None:
    """Run the mock with the options of `__main__` until Ctrl-C or SIGTERM. Raises StartError."""
    try:
        contract = Contract.load()
    except SpecError as error:
        raise StartError(str(error)) from error
    state = _state(options.state)
    faults = _read(options.faults, partial(read_faults, contract)) if options.faults else []
    for text in options.fault:
        try:
            faults.append(parse_fault(contract, text))
        except UnreadableError as error:
            raise StartError(f"--fault {escape_unprintable(text)}: {error}") from error
    guard = Guard([options.host, *options.allow_host], options.cors)
    try:
        sock = listen(options.host, options.port)
    except OSError as error:
        what = f"{options.host} port {options.port}: {error.strerror}"
        raise StartError(f"cannot listen on {what}; choose another --port, or 0 for a free one") from error
    with sock:
        local = is_loopback(sock.getsockname()[0])
        admin = local if options.admin is None else options.admin
        app = App(contract, state, Faults(faults, options.seed), guard, delay=options.delay, admin=admin)
        server = Server(app, sock, TIMEOUT, contract)
        for signal_ in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_, lambda _signal, _frame: server.stop())
        url = base_url(sock)
        if not local:
            endpoints = "admin endpoints" if admin else "no admin endpoints, see --admin"
            what = f"{url} accepts requests from other machines: operations, tokens, docs, {endpoints}"
            print(f"warning: {what}", file=sys.stderr)  # noqa: T201
        ready = f"mock ready at {url} (docs: {url}/docs; {state.credentials.hint}; Ctrl-C stops it)"
        print(ready, flush=True)  # noqa: T201
        server.run()


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
    """Return a listening socket; port 0 chooses a free one. Raises OSError: in use, or not local."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only for an explicit protocol. Without it, a response waits 40 ms for an ACK.
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
    """Return the URL of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server:
    """Serves an application on a listening socket, with a timeout for each request and response."""

    def __init__(self, app: Application, sock: socket.socket, timeout: float, contract: Contract) -> None:
        self._app, self._sock, self._timeout, self._contract = app, sock, timeout, contract
        self._loop: asyncio.AbstractEventLoop = loops.new_event_loop()
        self._stopping = asyncio.Event()

    def run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    def stop(self) -> None:
        """Stop it, from any thread or a signal handler."""
        with suppress(RuntimeError):  # it has already stopped
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _serve(self) -> None:
        connections = Connections(self._app, self._timeout, self._contract)
        server = await asyncio.start_server(connections.serve, sock=self._sock, backlog=2048, limit=2 * PIECE)
        await self._stopping.wait()
        server.close()
        await connections.stop(_GRACE)
        await self._loop.shutdown_default_executor()
