"""The connections of a client that makes many calls at once.

httpx looks through all of its pool's connections at each request and at each end of one, so that with many at once this takes
far longer than the request does. Here each connection is a pool of its own, and the idle ones lie on a stack.
Everything on the wire, every error and every timeout is httpx's own.
"""

import ssl
from collections.abc import AsyncIterator, Callable
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import anyio

_MOST = 100  # connections at once, as httpx's own default
_SINGLE = httpx.Limits(max_connections=1, max_keepalive_connections=1)


class Transport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """For both worlds; the synchronous one is httpx's own, whose callers are threads and so few.

    Args:
        verify: as httpx has it.
    """

    def __init__(self, verify: ssl.SSLContext | bool) -> None:
        self._verify = verify
        self._lock = Lock()
        self._sync: httpx.HTTPTransport | None = None
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._free: anyio.Semaphore | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        with self._lock:
            self._sync = self._sync or httpx.HTTPTransport(verify=self._verify)
        return self._sync.handle_request(request)

    def close(self) -> None:
        """Close the synchronous side."""
        if self._sync is not None:
            self._sync.close()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, on a connection that nobody else uses meanwhile.

        Raises:
            httpx.PoolTimeout: none became free in time.
        """
        import anyio  # noqa: PLC0415 - the synchronous world does without it

        self._free = free = self._free or anyio.Semaphore(_MOST)
        seconds: float | None = request.extensions.get("timeout", {}).get("pool")
        try:
            with anyio.fail_after(seconds):
                await free.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout(f"no connection of {_MOST} became free in {seconds} s", request=request) from None
        connection = self._idle.pop() if self._idle else httpx.AsyncHTTPTransport(verify=self._verify, limits=_SINGLE)
        try:
            response = await connection.handle_async_request(request)
        except BaseException:  # cancellation too
            self._give_back(connection, free)
            raise
        stream = response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("an asynchronous transport answers with an asynchronous stream")
        response.stream = _Stream(stream, partial(self._give_back, connection, free))
        return response

    async def aclose(self) -> None:
        """Close the asynchronous side."""
        for connection in self._idle:
            await connection.aclose()

    def _give_back(self, connection: httpx.AsyncHTTPTransport, free: "anyio.Semaphore") -> None:
        self._idle.append(connection)
        free.release()


class _Stream(httpx.AsyncByteStream):
    """A body; at its end the connection is given back."""

    def __init__(self, stream: httpx.AsyncByteStream, at_end: Callable[[], None]) -> None:
        self._stream = stream
        self._at_end: Callable[[], None] | None = at_end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            at_end, self._at_end = self._at_end, None
            if at_end is not None:
                at_end()
