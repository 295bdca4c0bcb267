"""Connections for threads: `http1` on sockets."""

import socket
import ssl
from collections.abc import Callable, Mapping
from time import monotonic

import httpx

from . import http1
from .http1 import NothingSentError, Origin, Payload, ResponseReader


class SyncTransport(httpx.BaseTransport):
    """A thread-safe connection pool; each call uses one connection.

    Args:
        context: Returns the TLS settings; called when https first needs them.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context
        self._idle: dict[Origin, list[_Connection]] = {}
        self._is_closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the response, with its body up to the limit.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout, NothingSentError: Nothing was sent.
            httpx.TransportError: Any other; the server may have received the request.
        """
        assert isinstance(request.stream, httpx.SyncByteStream)  # noqa: S101 - like httpx's transports
        timeouts: Mapping[str, float | None] = request.extensions.get("timeout", {})
        origin, payload = http1.origin(request.url), http1.payload(request, b"".join(request.stream))
        connection, reader = self._send(origin, payload, timeouts), ResponseReader(payload)
        try:
            connection.receive(reader, timeouts.get("read"))
        except BaseException:  # KeyboardInterrupt too
            request.extensions["status"] = reader.status  # PasswordAuth needs it
            connection.close()
            raise
        if reader.is_reusable and not self._is_closed:
            connection.idle_since = monotonic()
            idle = self._idle.setdefault(origin, [])
            idle.append(connection)
            while len(idle) > 1 and idle[0].is_old() and (old := _popped(idle, 0)):
                old.close()
        else:
            connection.close()
        return reader.response()

    def close(self) -> None:
        """Close the idle connections; connections in use close after their response."""
        self._is_closed = True
        for idle in list(self._idle.values()):
            while connection := _popped(idle):
                connection.close()

    def _send(self, origin: Origin, payload: Payload, timeouts: Mapping[str, float | None]) -> "_Connection":
        """Send on an idle connection, else on a new one; return the connection."""
        idle = self._idle.get(origin, [])
        while connection := _popped(idle):
            if connection.is_clean() and connection.send(payload, timeouts.get("write")):
                return connection
            connection.close()
        connection = self._connected(*origin, timeouts.get("connect"))
        if not connection.send(payload, timeouts.get("write")):
            raise NothingSentError("the connection broke before anything was sent")
        return connection

    def _connected(self, scheme: str, host: str, port: int, seconds: float | None) -> "_Connection":
        context = self._context() if scheme == "https" else None
        sock: socket.socket | None = None
        try:
            sock = socket.create_connection((host, port), seconds)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                context.set_alpn_protocols(["http/1.1"])
                # A body that ends with the connection is complete only if TLS closed properly.
                sock = context.wrap_socket(sock, server_hostname=host, suppress_ragged_eofs=False)
        except BaseException as error:  # noqa: BLE001 - Ctrl-C too
            if sock is not None:
                sock.close()
            http1.raise_connect_error(error)
        return _Connection(sock)


class _Connection(http1.Connection):
    """The only owner of a socket; __del__ closes it if a call is interrupted."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock  # first: an interrupt may come at any time, and __del__ needs it
        super().__init__()
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self.descriptor = sock.fileno()

    def is_clean(self) -> bool:
        return super().is_clean() and not (self._tls and self._tls.pending())

    def send(self, payload: Payload, seconds: float | None) -> bool:
        """Send the whole payload; False: the kernel accepted none of it."""
        view, sent = memoryview(payload), 0
        try:
            self._socket.settimeout(seconds)
            while sent < len(view):
                sent += self._socket.send(view[sent:])
        except OSError as error:
            # With TLS, a part of a record may have been sent.
            if not (sent or self._tls) and error.errno in http1.NOTHING_TAKEN:
                self.close()
                return False
            if isinstance(error, TimeoutError):
                self.close()
                raise httpx.WriteTimeout("the request could not be sent in time") from None
            if error.errno is None:  # raised by a signal handler
                self.close()
                raise
        return True  # also if only a part was sent: reading gets the error, or even a response

    def receive(self, reader: ResponseReader, seconds: float | None) -> None:
        """Read until the response has ended."""
        deadline = None if seconds is None else monotonic() + seconds
        try:
            while not reader.has_ended:
                self._socket.settimeout(None if deadline is None else max(0.0, deadline - monotonic()))
                reader.feed(self._socket.recv(http1.READ_SIZE))
        # The latter two if the timeout is 0.
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            reader.fail(httpx.ReadTimeout("the response was not complete in time"))
        except OSError as error:
            reader.fail(httpx.ReadError(str(error)))

    def close(self) -> None:
        self.descriptor = -1
        self._socket.close()

    __del__ = close


def _popped(idle: list[_Connection], index: int = -1) -> _Connection | None:
    try:
        return idle.pop(index)
    except IndexError:  # another thread may have taken the last
        return None
