"""The default transport: our connections, or httpx's through a proxy."""

import logging
import os
import ssl
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.request import getproxies

import httpx

from .errors import ConfigurationError
from .http1 import MAX_CONNECTIONS
from .proxies import Proxies
from .sync_transport import SyncTransport

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T", httpx.HTTPTransport, httpx.AsyncHTTPTransport)

logger = logging.getLogger("huaweicloud_retry")

# httpx's connections do not notice bytes after a response, so each is used for one request.
_ONE_REQUEST: Final = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=0)


class Transport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Sync and async transport, direct or through the environment's proxy for the host.

    Args:
        verify: See Client.
        base_url: The proxy and TLS settings for this URL are checked at once.

    Raises:
        ConfigurationError: `verify`, or the environment's CAs or proxies, are invalid.
    """

    def __init__(self, verify: ssl.SSLContext | str | os.PathLike[str] | bool, base_url: str) -> None:
        self._context = tls_context(verify)
        self._proxies = Proxies(getproxies())
        self._lock = threading.Lock()
        self._direct = SyncTransport(self._context)
        self._proxied: dict[str, httpx.BaseTransport] = {}
        self._async: dict[tuple[asyncio.AbstractEventLoop | None, str | None], httpx.AsyncBaseTransport] = {}
        self._ends: dict[object, AsyncGenerator[None, None]] = {}
        url = httpx.URL(base_url)
        variable = self._proxies.variable(url)
        if variable is not None:
            self._through(variable, httpx.HTTPTransport).close()
        elif url.scheme == "https":
            self._context()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        variable = self._proxies.variable(request.url)
        if variable is None:
            return self._direct.handle_request(request)
        with self._lock:
            if variable not in self._proxied:
                self._proxied[variable] = self._through(variable, httpx.HTTPTransport)
        request.extensions["secrets"] = self._proxies.secrets(variable)
        return self._proxied[variable].handle_request(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        key = running_loop(), self._proxies.variable(request.url)
        if key not in self._async:
            self._async[key] = self._async_transport(*key)
            if key in self._ends:
                await anext(self._ends[key])
        if key[1] is not None:
            request.extensions["secrets"] = self._proxies.secrets(key[1])
        return await self._async[key].handle_async_request(request)

    def close(self) -> None:
        """Close the sync side."""
        for transport in (self._direct, *self._proxied.values()):
            transport.close()

    async def aclose(self) -> None:
        """Close the async connections of this event loop."""
        for key in [key for key in list(self._async) if key[0] is running_loop()]:
            await self._async[key].aclose()

    def _async_transport(
        self, loop: "asyncio.AbstractEventLoop | None", variable: str | None
    ) -> httpx.AsyncBaseTransport:
        for key in [key for key in list(self._async) if key[0] is not None and key[0].is_closed()]:
            self._async.pop(key, None)  # its connections ended with their event loop
            self._ends.pop(key, None)
        if variable is not None:
            return self._through(variable, httpx.AsyncHTTPTransport)
        if loop is None:
            return httpx.AsyncHTTPTransport(verify=self._context(), limits=_ONE_REQUEST)
        from .async_transport import AsyncTransport  # noqa: PLC0415 - sync calls do not need asyncio

        transport = AsyncTransport(self._context)
        self._ends[loop, None] = transport.until_the_loop_ends()
        return transport

    def _through(self, variable: str, kind: Callable[..., T]) -> T:
        try:
            return kind(verify=self._context(), limits=_ONE_REQUEST, proxy=self._proxies.proxy(variable))
        except ImportError:
            advice = "pip install 'httpx[socks]', or set an http proxy"
            raise ConfigurationError(f"{variable} is a SOCKS proxy, which needs socksio: {advice}") from None


def tls_context(verify: object) -> Callable[[], ssl.SSLContext]:
    """Return a function that returns the TLS settings, which it makes when they are first needed.

    Raises:
        ConfigurationError: `verify` has another type, or its CAs cannot be read.
    """
    if isinstance(verify, ssl.SSLContext):
        return lambda: verify
    if verify is True:
        return _default_context
    if verify is False:
        logger.warning(
            "verify=False: certificates are not checked, so anyone on the way can read and change requests"
        )
        return cache(lambda: httpx.create_ssl_context(verify=False))
    if not isinstance(verify, str | os.PathLike) or not os.fspath(verify):
        raise ConfigurationError(
            f"verify is {verify!r}; it may be True, False, a path of CAs or an ssl.SSLContext"
        )
    path: str = os.fspath(verify)
    cafile, capath = (None, path) if os.path.isdir(path) else (path, None)  # noqa: PTH112 - may be any text
    try:
        context = ssl.create_default_context(cafile=cafile, capath=capath)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"verify: {path} has no CAs that can be read: {error}") from error
    return lambda: context


@cache
def _default_context() -> ssl.SSLContext:
    """Return the TLS settings, made once per process: reading all CAs takes longer than a call."""
    try:
        folder = os.environ.get("SSL_CERT_DIR")
        if folder and not os.environ.get("SSL_CERT_FILE"):
            os.listdir(folder)  # noqa: PTH208 - OpenSSL does not report a missing folder
        return httpx.create_ssl_context()
    except OSError as error:
        names = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE") if os.environ.get(name)]
        reason = error.strerror or str(error)
        text = f"the TLS settings of the environment cannot be used: {reason}; check {' and '.join(names)}"
        raise ConfigurationError(text) from error


def running_loop() -> "asyncio.AbstractEventLoop | None":
    """Return the running event loop of asyncio; None: another library's loop is running."""
    if "asyncio" not in sys.modules:
        return None
    import asyncio  # noqa: PLC0415 - see above

    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # another library's
        return None
