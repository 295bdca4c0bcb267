"""What carries the requests of a client that `connect` makes.

httpx's own transport sends the head and the body of a request apart, and in the asynchronous world it looks through all of its
connections at each request and comes to asyncio by way of anyio: with many calls at once, this takes longer than all the rest
of a call. So httpcore's connections are used as they are, on streams of our own; httpcore documents the interface of both.
What is sent, what counts as an answer, and what an error is called stays httpcore's and httpx's.

`sync` is for threads, `aio` for asyncio, `core` what both share; another event loop has httpx's own.
"""

import ssl
from collections.abc import Callable
from threading import Lock

import httpx


class Transport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """For both worlds, and each part made when it is first used.

    Args:
        context: gives what https needs, when it is first needed.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context
        self._lock = Lock()
        self._sync: httpx.BaseTransport | None = None
        self._async: httpx.AsyncBaseTransport | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        if self._sync is None:
            from .sync import SyncTransport  # noqa: PLC0415 - it needs httpcore, which httpx imports no earlier either

            with self._lock:
                self._sync = self._sync or SyncTransport(self._context)
        return self._sync.handle_request(request)

    def close(self) -> None:
        """Close the synchronous side."""
        if self._sync is not None:
            self._sync.close()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        self._async = self._async or self._for_this_loop()
        return await self._async.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the asynchronous side."""
        if self._async is not None:
            await self._async.aclose()

    def _for_this_loop(self) -> httpx.AsyncBaseTransport:
        import asyncio  # noqa: PLC0415 - the synchronous world does without it

        try:
            asyncio.get_running_loop()
        except RuntimeError:  # some other library's, which httpx supports as well
            return httpx.AsyncHTTPTransport(verify=self._context())
        from .aio import AsyncioTransport  # noqa: PLC0415 - see above

        return AsyncioTransport(self._context)
