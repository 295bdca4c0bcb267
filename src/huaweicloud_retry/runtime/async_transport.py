"""Connections for asyncio: `http1` on its transports."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from time import monotonic
from typing import Any, cast

import httpx

from . import http1
from .http1 import NothingSentError, Origin, Payload, ResponseReader


class AsyncTransport(httpx.AsyncBaseTransport):
    """The connection pool of one asyncio event loop; each call uses one connection.

    Args:
        context: Returns the TLS settings; called when https first needs them.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context
        self._places = asyncio.Semaphore(http1.MAX_CONNECTIONS)
        self._idle: dict[Origin, list[_Connection]] = {}
        self._is_closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the response, with its body up to the limit.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, NothingSentError: Nothing was sent.
            httpx.TransportError: Any other; the server may have received the request.
        """
        timeouts: Mapping[str, float | None] = request.extensions.get("timeout", {})
        origin, stream = http1.origin(request.url), request.stream
        if isinstance(stream, httpx.SyncByteStream):  # most streams are both sync and async
            payload = http1.payload(request, b"".join(stream))
        else:
            payload = http1.payload(request, b"".join([part async for part in stream]))
        reader = ResponseReader(payload)
        await self._take_place(timeouts.get("pool"))
        try:
            connection = await self._send(origin, payload, timeouts)
            try:
                await connection.receive(reader, timeouts.get("read"))
            finally:
                request.extensions["status"] = reader.status  # PasswordAuth needs it, if this was cancelled
                is_reusable = reader.has_ended and reader.is_reusable and connection.descriptor >= 0
                if is_reusable and not self._is_closed:
                    connection.idle_since = monotonic()
                    self._idle.setdefault(origin, []).append(connection)
                else:
                    connection.close()
        finally:
            self._places.release()
        return reader.response()

    async def until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        """Close the idle connections when the event loop ends, since that closes all async generators."""
        try:
            yield
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the idle connections; connections in use close after their response."""
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
            text = f"none of {http1.MAX_CONNECTIONS} connections became free in time"
            raise httpx.PoolTimeout(text) from None

    async def _send(
        self, origin: Origin, payload: Payload, timeouts: Mapping[str, float | None]
    ) -> "_Connection":
        """Send on an idle connection, else on a new one; return the connection."""
        idle = self._idle.get(origin, [])
        while idle:
            connection = idle.pop()
            if connection.is_clean() and await connection.send(payload, timeouts.get("write")):
                return connection
            connection.close()
        connection = await self._connected(*origin, timeouts.get("connect"))
        if not await connection.send(payload, timeouts.get("write")):
            connection.close()
            raise NothingSentError("the connection broke before anything was sent")
        return connection

    async def _connected(self, scheme: str, host: str, port: int, seconds: float | None) -> "_Connection":
        loop, connection = asyncio.get_running_loop(), _Connection()
        given: dict[str, Any] = {}
        if isinstance(loop, asyncio.BaseEventLoop) and not (":" in host or host[-1:].isdigit()):
            # For host names, try IPv4 and IPv6 in parallel (RFC 8305). Not with uvloop, which cannot do it.
            # Not for addresses: asyncio then leaks a socket if it is cancelled just as it connects.
            given["happy_eyeballs_delay"] = 0.25
        if scheme == "https":
            given["ssl"] = context = self._context()
            context.set_alpn_protocols(["http/1.1"])
        try:
            async with asyncio.timeout(seconds):
                await loop.create_connection(lambda: connection, host, port, **given)
        except BaseException as error:  # noqa: BLE001 - cancellation too
            connection.close()
            http1.raise_connect_error(error)
        return connection


class _Connection(http1.Connection, asyncio.Protocol):
    """Feeds received bytes to the reader of the awaited response; closes if no response is awaited."""

    def __init__(self) -> None:
        super().__init__()
        self._transport: asyncio.Transport | None = None
        self._reader: ResponseReader | None = None
        self._is_full = False  # the write buffer is full
        self._lost: Exception | None = None  # why the connection was lost
        self._waiter: asyncio.Future[None] | None = None

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
        self.descriptor, self._lost = -1, exc or ConnectionError("closed")
        if self._reader is not None:
            self._reader.fail(httpx.ReadError(str(exc))) if exc else self._reader.feed(b"")
        self.resume_writing()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._wake()

    async def send(self, payload: Payload, seconds: float | None) -> bool:
        """Send the whole payload; False: the kernel accepted none of it."""
        if self._transport is None or self.descriptor < 0 or self._transport.is_closing():
            return False
        self._transport.write(payload)
        if self._transport.is_closing():  # asyncio writes at once; uvloop later, so failures count as sent
            while self._lost is None:
                await self._event()
            if isinstance(self._lost, OSError) and self._lost.errno in http1.NOTHING_TAKEN:
                return False
            raise httpx.WriteError(str(self._lost))  # a signal handler may have raised it
        if self._is_full:
            await self._drain(seconds)
        return True

    async def _drain(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._is_full:
                    await self._event()
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise httpx.WriteTimeout("the request could not be sent in time") from None
            raise

    async def receive(self, reader: ResponseReader, seconds: float | None) -> None:
        """Read until the response has ended."""
        self._reader = reader
        if self.descriptor < 0:
            reader.feed(b"")
        try:
            async with asyncio.timeout(seconds):
                while not reader.has_ended:
                    await self._event()
        except TimeoutError:
            reader.fail(httpx.ReadTimeout("the response was not complete in time"))
        self._reader = None

    def close(self) -> None:
        self.descriptor = -1
        if self._transport is not None:
            self._transport.abort()

    async def _event(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
