"""Running the mock on a real socket: in a thread for tests and demos, or as the process itself."""

import asyncio
import os
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from threading import Thread

import uvicorn
from starlette.types import ASGIApp

from huaweicloud_retry.contract import Contract

from .app import create_app
from .gateway import ACCESS_KEY, MAX_HEADERS, MAX_URI, SECRET_KEY, TOKEN

_GRACE = 0.5  # seconds that requests under way have to finish when the server stops


@contextmanager
def running(contract: Contract | None = None) -> Generator[str, None, None]:
    """Run a mock of its own, with fresh state, on a free port of 127.0.0.1 as long as the block lasts.

        with running() as url, Client(url, auth=TokenAuth("mock-token")) as client: ...

    Args:
        contract: by default the packaged one.

    Yields:
        The base URL, without a slash at its end.

    Raises:
        SpecError: the spec will not do.
    """
    app = create_app(contract or Contract.load())
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


def run(sock: socket.socket, contract: Contract) -> None:
    """Serve on `sock` in the main thread until Ctrl-C or SIGTERM, having printed one line when ready."""
    server = _Server(_config(create_app(contract)))

    # uvicorn has handlers of its own while it serves, and afterwards raises the signal again, so as to die of it.
    def stop(_signal: int, _frame: object) -> None:
        server.should_exit = True

    for signal_ in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_, stop)
    credentials = f"X-Auth-Token: {TOKEN}, or sign with {ACCESS_KEY} and {SECRET_KEY}"
    print(f"mock ready at {base_url(sock)} ({credentials}; Ctrl-C stops it)", flush=True)  # noqa: T201
    server.run([sock])


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


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",  # the one that comes with uvicorn, whatever else is installed
        ws="none",
        lifespan="off",
        log_config=None,  # the application's own logging; without one, warnings and errors go to stderr
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,  # seconds; longer than clients keep idle connections, so they never meet a closed one
        h11_max_incomplete_event_size=2 * (MAX_HEADERS + MAX_URI),  # what is over the limits shall reach the app
    )
