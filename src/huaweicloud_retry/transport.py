"""What carries the requests of a client that `connect` makes: httpx's own transports, but for asyncio."""

import ssl
from threading import Lock

import httpx


class Transport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """For both worlds, and each part made when it is first used.

    Args:
        context: for https.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._lock = Lock()
        self._sync: httpx.HTTPTransport | None = None
        self._async: httpx.AsyncBaseTransport | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        with self._lock:
            self._sync = self._sync or httpx.HTTPTransport(verify=self._context)
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
            return httpx.AsyncHTTPTransport(verify=self._context)
        from .asyncio_transport import AsyncioTransport  # noqa: PLC0415 - see above

        return AsyncioTransport(self._context)
