"""Connections for threads."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from threading import BoundedSemaphore
from typing import Any

import httpcore
import httpx

from . import core


class SyncTransport(httpx.BaseTransport):
    """Connections that any number of threads may use.

    Args:
        context: gives what https needs.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context
        self._free = BoundedSemaphore(core.MOST)
        self._idle: dict[core.Origin, list[httpcore.HTTP11Connection]] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, on a connection that nobody else uses meanwhile.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout: nothing was sent.
            httpx.TransportError: any other; the request may have arrived.
        """
        given = core.to_httpcore(request)
        idle = self._idle.setdefault(core.origin(given.url), [])
        seconds = core.timeout(request, "pool")
        if not self._free.acquire(timeout=seconds):
            raise core.nothing_free(seconds)
        try:
            connection = _usable(idle) or self._connect(given.url.origin, core.timeout(request, "connect"))
            answer = connection.handle_request(given)
        except core.FAILURES as error:
            self._free.release()
            raise core.as_httpx(error) from error
        except BaseException:  # KeyboardInterrupt too
            self._free.release()
            raise
        return core.to_httpx(answer, _Body(answer, partial(self._give_back, connection, idle)))

    def close(self) -> None:
        """Close the connections that are idle."""
        for idle in self._idle.values():
            while idle:
                idle.pop().close()

    def _connect(self, origin: httpcore.Origin, seconds: float | None) -> httpcore.HTTP11Connection:
        host = origin.host.decode("ascii")
        try:
            stream = httpcore.SyncBackend().connect_tcp(host, origin.port, seconds)
        except UnicodeError as error:  # of a host's name
            raise httpx.ConnectError(str(error)) from error
        if origin.scheme == b"https":
            context = self._context()
            context.set_alpn_protocols(["http/1.1"])  # as httpcore does
            stream = stream.start_tls(context, host, seconds)
        return httpcore.HTTP11Connection(origin, _Stream(stream), keepalive_expiry=core.IDLE_FOR)

    def _give_back(self, connection: httpcore.HTTP11Connection, idle: list[httpcore.HTTP11Connection]) -> None:
        if connection.is_available():
            idle.append(connection)
        self._free.release()


def _usable(idle: list[httpcore.HTTP11Connection]) -> httpcore.HTTP11Connection | None:
    while True:
        try:
            connection = idle.pop()
        except IndexError:  # another thread may have taken the last
            return None
        if not connection.has_expired():
            return connection
        connection.close()


class _Body(httpx.SyncByteStream):
    """A body; at its end the connection is given back."""

    def __init__(self, answer: httpcore.Response, give_back: Callable[[], None]) -> None:
        self._answer = answer
        self._give_back: Callable[[], None] | None = give_back

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._answer.iter_stream()
        except core.FAILURES as error:
            raise core.as_httpx(error) from error

    def close(self) -> None:
        try:
            self._answer.close()
        finally:
            give_back, self._give_back = self._give_back, None
            if give_back is not None:
                give_back()


class _Stream(httpcore.NetworkStream):
    """A connection's bytes; those of a request go together."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._to_send = bytearray()
        self._write_timeout: float | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = bytes(self._to_send)
        self._to_send.clear()
        with suppress(httpcore.WriteError):  # reading tells why; there may even be an answer
            self._stream.write(data, self._write_timeout)
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Take bytes; they are sent when an answer is waited for."""
        self._to_send += buffer
        self._write_timeout = timeout

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
