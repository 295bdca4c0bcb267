"""Connections for asyncio, which reads and writes them by itself."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from functools import partial
from ipaddress import ip_address
from typing import Any, Final, cast

import httpcore
import httpx

from . import core

_AHEAD: Final = 1 << 18  # bytes that may wait to be read before the peer is kept from sending more


class AsyncioTransport(httpx.AsyncBaseTransport):
    """Connections that belong to one event loop of asyncio.

    Args:
        context: gives what https needs.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context
        self._free = asyncio.Semaphore(core.MOST)
        self._idle: dict[core.Origin, list[httpcore.AsyncHTTP11Connection]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, on a connection that nobody else uses meanwhile.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout: nothing was sent.
            httpx.TransportError: any other; the request may have arrived.
        """
        given = core.to_httpcore(request)
        idle = self._idle.setdefault(core.origin(given.url), [])
        await self._take_place(core.timeout(request, "pool"))
        connection = None
        try:
            connection = await _usable(idle) or await self._connect(given.url.origin, core.timeout(request, "connect"))
            answer = await connection.handle_async_request(given)
        except BaseException as error:  # cancellation too, before which httpcore may not have begun
            self._free.release()
            if connection is not None:
                await connection.aclose()
            if isinstance(error, core.FAILURES):
                raise core.as_httpx(error) from error
            raise
        return core.to_httpx(answer, _Body(answer, connection, partial(self._give_back, connection, idle)))

    async def aclose(self) -> None:
        """Close the connections that are idle."""
        for idle in self._idle.values():
            while idle:
                await idle.pop().aclose()

    async def _take_place(self, seconds: float | None) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(seconds):
                await self._free.acquire()
        except TimeoutError:
            raise core.nothing_free(seconds) from None

    async def _connect(self, origin: httpcore.Origin, seconds: float | None) -> httpcore.AsyncHTTP11Connection:
        loop = asyncio.get_running_loop()
        host = origin.host.decode("ascii")
        given: dict[str, Any] = {}
        if isinstance(loop, asyncio.BaseEventLoop) and not _is_address(host):
            # So long is waited for one family of addresses before the other is tried (RFC 8305). uvloop does not have it, and
            # one address does without: asyncio forgets to close a socket if it is cancelled just when that was connected.
            given["happy_eyeballs_delay"] = 0.25
        tls: ssl.SSLContext | None = None
        if origin.scheme == b"https":
            tls = self._context()
            tls.set_alpn_protocols(["http/1.1"])  # as httpcore does
        try:
            async with asyncio.timeout(seconds):
                _, stream = await loop.create_connection(_Stream, host, origin.port, ssl=tls, **given)
        except TimeoutError:
            raise httpx.ConnectTimeout(f"no connection within {seconds} s") from None
        except (OSError, UnicodeError) as error:  # of TLS too; UnicodeError: of a host's name
            raise httpx.ConnectError(str(error)) from error
        return httpcore.AsyncHTTP11Connection(origin, stream, keepalive_expiry=core.IDLE_FOR)

    def _give_back(
        self, connection: httpcore.AsyncHTTP11Connection, idle: list[httpcore.AsyncHTTP11Connection]
    ) -> None:
        if connection.is_available():
            idle.append(connection)
        self._free.release()


async def _usable(idle: list[httpcore.AsyncHTTP11Connection]) -> httpcore.AsyncHTTP11Connection | None:
    while idle:
        connection = idle.pop()
        if not connection.has_expired():
            return connection
        await connection.aclose()
    return None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class _Body(httpx.AsyncByteStream):
    """A body; at its end the connection is given back."""

    def __init__(
        self,
        answer: httpcore.Response,
        connection: httpcore.AsyncHTTP11Connection,
        give_back: Callable[[], None],
    ) -> None:
        self._answer = answer
        self._connection = connection
        self._give_back: Callable[[], None] | None = give_back

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in self._answer.aiter_stream():
                yield chunk
        except core.FAILURES as error:
            raise core.as_httpx(error) from error

    async def aclose(self) -> None:
        try:
            await self._answer.aclose()
        except BaseException:  # cancelled, and so httpcore has perhaps not closed it
            await self._connection.aclose()
            raise
        finally:
            give_back, self._give_back = self._give_back, None
            if give_back is not None:
                give_back()


class _Stream(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """A connection's bytes, as httpcore wants them. It reads or writes, never both at once."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._to_send = bytearray()
        self._write_timeout: float | None = None
        self._received = bytearray()
        self._has_ended = False  # nothing more will come
        self._error: Exception | None = None
        self._is_full = False  # what was written has to leave first
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # it is one, but for uvloop's, which has no base class

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > _AHEAD:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_ended, self._error, self._is_full = True, exc, False
        self._wake()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._wake()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        await self._send()
        while not self._received:
            if self._error is not None:
                raise httpcore.ReadError(str(self._error))
            if self._has_ended:
                return b""
            await self._wait(timeout, httpcore.ReadTimeout)
        data = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        """Take bytes; they are sent when an answer is waited for."""
        self._to_send += buffer
        self._write_timeout = timeout

    async def _send(self) -> None:
        if self._to_send and not self._transport.is_closing():  # else reading tells why
            self._transport.write(bytes(self._to_send))
            while self._is_full:
                await self._wait(self._write_timeout, httpcore.WriteTimeout)
        self._to_send.clear()

    async def aclose(self) -> None:
        self._transport.abort()

    def get_extra_info(self, info: str) -> Any:
        """Answer the one question that httpcore asks of an idle connection: has the peer closed it?"""
        return bool(self._received or self._has_ended) if info == "is_readable" else None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, seconds: float | None, late: type[Exception]) -> None:
        """Wait for whatever happens next; as asyncio.timeout does, but without cancelling the task, which takes longer."""
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, _set_late, waiter, late)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()


def _set_late(waiter: "asyncio.Future[None]", late: type[Exception]) -> None:
    if not waiter.done():
        waiter.set_exception(late())
