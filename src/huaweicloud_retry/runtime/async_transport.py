"""Connections for asyncio: `http1` on its transports."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from time import monotonic
from typing import Any, cast

import httpx

from . import http1
from .http1 import NothingSentError, Origin, Payload, ResponseReader


class AsyncTransport(httpx.AsyncBaseTransport):
    """Connections of one event loop of asyncio; each call has one for itself.

    Args:
        context: Gives the TLS settings when https first needs them.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context
        self._places = asyncio.Semaphore(http1.MAX_CONNECTIONS)
        self._idle: dict[Origin, list[_Connection]] = {}
        self._is_closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the response, of its body at most `MAX_BODY` bytes.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, NothingSentError: Nothing was sent.
            httpx.TransportError: Any other; the server may have the request.
        """
        timeouts: Mapping[str, float | None] = request.extensions.get("timeout", {})
        origin, stream = http1.origin(request.url), request.stream
        if isinstance(stream, httpx.SyncByteStream):  # most are both
            payload = http1.payload(request, b"".join(stream))
        else:
            payload = http1.payload(request, b"".join([part async for part in stream]))
        reader = ResponseReader(payload)
        await self._take_place(timeouts.get("pool"))
        try:
            connection = await self._send(origin, payload, timeouts)
            try:
                await connection.receive(reader, timeouts.get("read"))
            finally:  # cancelled, it is not reusable
                self._release(connection, origin, reader)
        finally:
            self._places.release()
        return reader.response()

    async def aclose(self) -> None:
        """Close the idle connections; those in use are closed when they have their response."""
        self._is_closed = True
        for idle in self._idle.values():
            while idle:
                idle.pop().close()

    async def _take_place(self, seconds: float | None) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(seconds):
                await self._places.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout(f"none of {http1.MAX_CONNECTIONS} connections became free in time") from None

    async def _send(self, origin: Origin, payload: Payload, timeouts: Mapping[str, float | None]) -> "_Connection":
        """Return the connection that the request went out on: one that is idle, else a new one."""
        idle = self._idle.get(origin, [])
        while idle:
            connection = idle.pop()
            if connection.is_clean() and await connection.send(payload, timeouts.get("write")):
                return connection
            connection.close()
        connection = await self._connected(origin, timeouts.get("connect"))
        if not await connection.send(payload, timeouts.get("write")):
            connection.close()
            raise NothingSentError("the connection broke before anything was sent")
        return connection

    async def _connected(self, origin: Origin, seconds: float | None) -> "_Connection":
        scheme, host, port = origin
        loop, connection = asyncio.get_running_loop(), _Connection()
        given: dict[str, Any] = {}
        if isinstance(loop, asyncio.BaseEventLoop) and not _is_address(host):
            # Tries the other family of addresses meanwhile (RFC 8305). uvloop cannot; and for one address asyncio's
            # way forgets to close a socket if it is cancelled at the moment that connects it.
            given["happy_eyeballs_delay"] = 0.25
        try:
            if scheme == "https":
                given["ssl"] = tls = self._context()
                tls.set_alpn_protocols(["http/1.1"])
            async with asyncio.timeout(seconds):
                await loop.create_connection(lambda: connection, host, port, **given)
        except BaseException as error:
            connection.close()
            if isinstance(error, TimeoutError):
                raise httpx.ConnectTimeout("no connection in time") from None
            if isinstance(error, OSError | ValueError):  # ValueError: a host name that cannot be encoded
                raise httpx.ConnectError(str(error)) from error
            raise
        return connection

    def _release(self, connection: "_Connection", origin: Origin, reader: ResponseReader) -> None:
        if reader.has_ended and reader.is_reusable and not self._is_closed and connection.descriptor >= 0:
            connection.idle_since = monotonic()
            self._idle.setdefault(origin, []).append(connection)
        else:
            connection.close()


class _Connection(http1.Connection, asyncio.Protocol):
    """A connection's bytes, fed to the reader of the response that is awaited; if there is none, they are the end of it."""

    def __init__(self) -> None:
        super().__init__()
        self._transport: asyncio.Transport | None = None
        self._reader: ResponseReader | None = None
        self._is_full = False  # what was written has to leave first
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has no base class
        self.descriptor = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        if self._reader is None or self._reader.has_ended:
            self.close()
        else:
            self._reader.feed(data)
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.descriptor, self._is_full = -1, False
        if self._reader is not None and exc is not None:
            self._reader.fail(httpx.ReadError(str(exc)))
        elif self._reader is not None:
            self._reader.feed(b"")
        self._wake()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._wake()

    async def send(self, payload: Payload, seconds: float | None) -> bool:
        """Send all of it; False: the kernel took none of it."""
        if self._transport is None or self.descriptor < 0:
            return False
        try:
            self._transport.write(payload)
            if self._transport.is_closing():  # asyncio tries at once; uvloop later, which then counts as sent
                return False
            self._set_deadline(seconds)
            while self._is_full and await self._has_time():
                pass
        except BaseException:
            self.close()
            raise
        if self._is_full:
            self.close()
            raise httpx.WriteTimeout("the request could not be sent in time")
        return True

    async def receive(self, reader: ResponseReader, seconds: float | None) -> None:
        """Read until the response has ended."""
        self._reader = reader
        if self.descriptor < 0:
            reader.feed(b"")
        self._set_deadline(seconds)
        while not reader.has_ended and await self._has_time():
            pass
        reader.fail(httpx.ReadTimeout("the response was not complete in time"))
        self._reader = None

    def close(self) -> None:
        self.descriptor = -1
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    # --- Waiting: one future for whatever happens next, and one timer that outlives a request, as both cost time ---

    def _set_deadline(self, seconds: float | None) -> None:
        self._deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds

    async def _has_time(self) -> bool:
        """Wait for whatever happens next; False: the deadline has passed."""
        loop = asyncio.get_running_loop()
        if self._deadline is not None:
            if loop.time() >= self._deadline:
                return False
            if self._timer is None or self._timer.when() > self._deadline:
                self._set_timer(loop, self._deadline)
        self._waiter = loop.create_future()
        await self._waiter
        return True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _set_timer(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(when, self._look_at_clock, loop)

    def _look_at_clock(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._deadline is not None and loop.time() < self._deadline and self._waiter is not None:
            self._set_timer(loop, self._deadline)
        else:
            self._wake()  # whose task sees that it is late


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
