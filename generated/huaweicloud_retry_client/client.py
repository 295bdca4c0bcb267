"""The client that the operations are called with."""

from __future__ import annotations

import re
import ssl
import string
import threading
import zlib
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from functools import cache
from typing import Any, Final, NoReturn, Self, TypeVar
from urllib.parse import quote, unquote

import httpx

from .errors import APIConnectionError, APITimeoutError, one_line
from .types import Response

T = TypeVar("T")

# Seconds. The gateway gives a service 30 s to answer, so a minute without a byte means that no answer will come.
DEFAULT_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
# Answers have about a hundred bytes. A gateway's page may have more; a hundred megabytes are somebody's mistake.
MAX_BODY_BYTES: Final = 1 << 20
USER_AGENT: Final = "huaweicloud-retry/0.1.0"

# The asynchronous transport lets an ssl.SSLError through that comes after the handshake, such as TLS 1.3's refusal of a client
# that has no certificate. It does not say whose request it was, so that one of the auth's own counts as ours.
_FAILURES: Final = (httpx.RequestError, httpx.InvalidURL, ssl.SSLError)
# By these a request was surely not sent: there was no connection to send it on. Any other failure may have come after
# the last byte of the request; httpx.LocalProtocolError too, with a transport that speaks HTTP/2.
_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
_OF_HEADER_NAMES: Final = f"!#$%&'*+-.^_`|~{string.digits}{string.ascii_letters}"


def path_segment(name: str, value: object) -> str:
    """Quote a value so that it arrives as one segment of the path.

    Raises:
        ValueError: It is empty, `.` or `..`, percent-encoded or not: servers and proxies drop such segments, and the
            request would go to another path. Or it is None, or not text that UTF-8 can encode.
    """
    text = "" if value is None else str(value)
    decoded, encoded = unquote(text), text
    while decoded != encoded:
        decoded, encoded = unquote(decoded), decoded
    if decoded in ("", ".", ".."):
        raise ValueError(f"{name} is {value!r}, which cannot be a segment of the path")
    return quote(text, safe="")


def _is_sendable(value: object) -> bool:
    return (
        isinstance(value, str) and value.isascii() and value.replace("\t", " ").isprintable() and value.strip() == value
    )


def _check_headers(headers: Mapping[str, Any]) -> None:
    for name, value in headers.items():
        if not name or name.strip(_OF_HEADER_NAMES):
            raise ValueError(f"{name!r} cannot be the name of a header")
        if not _is_sendable(value):  # not shown: it may be a token
            raise ValueError(
                f"the value of header {name} may be a str of printable ASCII only: no CR, LF or NUL, no blanks at its ends"
            )


class Client:
    """A connection to one service, for both worlds: `with` and `async with`, any number of threads or tasks.

    Opens one httpx client (and so one pool of connections) at the first call of each world, and closes what it opened.
    An asynchronous pool belongs to the event loop that first used it. No cookie is kept, no redirect followed.

    Args:
        base_url: Such as https://cse.cn-north-4.myhuaweicloud.com; may have a path.
        auth: Any httpx.Auth; it adds the token or the signature to each request.
        timeout: Seconds for each of connect, read, write and pool, or an httpx.Timeout; 60, and 10 to connect, by default.
        headers: Sent with each request; those that the contract names for an operation take precedence.
        transport: Any httpx transport, such as httpx.MockTransport; used by the worlds that it supports.
        verify: An ssl.SSLContext for a CA or client certificate of your own. False accepts any certificate.
        http_client: An httpx.Client of yours in place of the one opened here, for all else that httpx can do.
            Its timeout and auth hold unless given here; it is not closed.
        async_http_client: The same for the asynchronous world.

    Raises:
        ValueError: base_url is not an absolute http or https URL, or holds a password, query or fragment;
            a header cannot be sent; transport or verify come with a client, or verify with a transport, that has its own.
    """

    __slots__ = (
        "_async_http", "_auth", "_base_url", "_closed", "_headers", "_http", "_lock", "_loop", "_own_async_http", "_own_http",
        "_timeout", "_transport", "_verify",
    )  # fmt: skip

    def __init__(
        self,
        base_url: str,
        *,
        auth: httpx.Auth | None = None,
        timeout: float | httpx.Timeout | None = None,
        headers: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
        verify: ssl.SSLContext | bool = True,
        http_client: httpx.Client | None = None,
        async_http_client: httpx.AsyncClient | None = None,
    ) -> None:
        _check_base_url(base_url)
        _check_headers(headers or {})
        if (http_client or async_http_client) and (transport is not None or verify is not True):
            raise ValueError("transport and verify are settings of the httpx client, and one was given: set them there")
        if transport is not None and verify is not True:
            raise ValueError("verify is a setting of the transport, and one was given: set it there")
        self._base_url = base_url.rstrip("/")
        self._auth = None if auth is None else _CheckedAuth(auth)
        self._timeout = timeout
        self._headers = httpx.Headers({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        self._headers.update(headers)
        self._transport = transport
        self._verify = verify
        self._http = http_client
        self._async_http = async_http_client
        self._own_http = http_client is None
        self._own_async_http = async_http_client is None
        self._loop: object = None
        self._closed = False
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        auth = f", auth={type(self._auth.checked).__name__}" if self._auth else ""
        return f"Client({self._base_url!r}{auth})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def close(self) -> None:
        """Close the synchronous side. The client cannot be used afterwards."""
        with self._lock:  # or a first call in another thread might open what nobody closes
            self._closed = True
        if self._http is not None and self._own_http:
            self._http.close()

    async def aclose(self) -> None:
        """Close both sides. The client cannot be used afterwards."""
        self.close()
        if self._async_http is not None and self._own_async_http:
            await self._async_http.aclose()

    def call(
        self,
        kwargs: Mapping[str, Any],
        parse: Callable[[int, bytes], T],
        timeout: float | httpx.Timeout | None,
    ) -> Response[T]:
        """Send a request; what an operation module's `sync_detailed` does with its arguments.

        Raises:
            APIConnectionError: No answer came.
        """
        http = self._opened()
        request = self._request(http, timeout, **kwargs)
        try:
            answer = http.send(
                request, auth=self._auth or httpx.USE_CLIENT_DEFAULT, stream=True, follow_redirects=False
            )
        except _FAILURES as error:
            _raise_connection_error(request, error)
        body = _Body(answer)
        try:
            for chunk in [answer.content] if answer.is_stream_consumed else answer.iter_raw():
                if body.is_full_with(chunk):
                    break
        except _FAILURES as error:
            body.problem = f"its body cannot be read: {error}"
        finally:
            answer.close()
        return _response(answer, body, parse)

    async def acall(
        self,
        kwargs: Mapping[str, Any],
        parse: Callable[[int, bytes], T],
        timeout: float | httpx.Timeout | None,
    ) -> Response[T]:
        """Send a request; what an operation module's `asyncio_detailed` does with its arguments.

        Raises:
            APIConnectionError: No answer came.
        """
        http = self._async_opened()
        request = self._request(http, timeout, **kwargs)
        try:
            answer = await http.send(
                request, auth=self._auth or httpx.USE_CLIENT_DEFAULT, stream=True, follow_redirects=False
            )
        except _FAILURES as error:
            _raise_connection_error(request, error)
        body = _Body(answer)
        try:
            if answer.is_stream_consumed:
                body.is_full_with(answer.content)
            else:
                async for chunk in answer.aiter_raw():
                    if body.is_full_with(chunk):
                        break
        except _FAILURES as error:
            body.problem = f"its body cannot be read: {error}"
        finally:
            await answer.aclose()
        return _response(answer, body, parse)

    def _opened(self) -> httpx.Client:
        with self._lock:
            self._check_open()
            if self._http is None:
                if not isinstance(self._transport, httpx.BaseTransport | None):
                    raise TypeError(
                        "the transport given is asynchronous only: call asyncio(), or give one that serves both"
                    )
                self._http = _HTTPClient(
                    transport=self._transport,
                    verify=self._verify,
                    timeout=DEFAULT_TIMEOUT,
                    event_hooks={"response": [_hide_location]},
                )
            return self._http

    def _async_opened(self) -> httpx.AsyncClient:
        import asyncio  # here: who calls sync() need not wait for it to be imported

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # some other library's, which httpx supports as well
            loop = None
        with self._lock:
            self._check_open()
            if self._async_http is None:
                self._loop = loop
                if not isinstance(self._transport, httpx.AsyncBaseTransport | None):
                    raise TypeError(
                        "the transport given is synchronous only: call sync(), or give one that serves both"
                    )
                self._async_http = _AsyncHTTPClient(
                    transport=self._transport,
                    verify=self._verify,
                    timeout=DEFAULT_TIMEOUT,
                    event_hooks={"response": [_ahide_location]},
                )
            elif self._own_async_http and self._loop is not loop:
                raise RuntimeError("this Client's connections belong to another event loop: make one Client for each")
            return self._async_http

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this Client is closed; make a new one")

    def _request(
        self,
        http: httpx.Client | httpx.AsyncClient,
        timeout: float | httpx.Timeout | None,
        *,
        method: str,
        path: str,
        headers: Mapping[str, str],
        **content: Any,
    ) -> httpx.Request:
        _check_headers(headers)
        merged = self._headers.copy()
        merged.update(headers)
        if timeout is None:
            timeout = self._timeout
        try:
            return http.build_request(
                method,
                self._base_url + path,
                headers=merged,
                timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else timeout,
                **content,
            )
        except httpx.InvalidURL as error:
            raise ValueError(f"no URL can be made of this: {error}") from None


class _CheckedAuth(httpx.Auth):
    """An auth whose headers are checked like all others: h11 quotes what it refuses, and that may be the token."""

    def __init__(self, checked: httpx.Auth) -> None:
        self.checked = checked

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        flow = self.checked.sync_auth_flow(request)
        try:
            request = next(flow)
            while True:
                _check_headers(request.headers)
                answer = yield request
                request = flow.send(answer)
        except StopIteration:
            return
        finally:
            flow.close()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        flow = self.checked.async_auth_flow(request)
        try:
            request = await anext(flow)
            while True:
                _check_headers(request.headers)
                answer = yield request
                request = await flow.asend(answer)
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()


class _Body:
    """What was read of a body, and why not all of it.

    Unpacks by itself: httpx unpacks each chunk to its end, and 64 KiB may become gigabytes.
    """

    def __init__(self, answer: httpx.Response) -> None:
        self.content = bytearray()
        self.problem: str | None = None
        self._unpacker: Any = None
        encoding = answer.headers.get("Content-Encoding", "").strip().lower()
        if answer.is_stream_consumed or encoding in ("", "identity"):  # read by a hook or an auth, and so unpacked
            return
        if encoding in ("gzip", "x-gzip", "deflate"):
            self._unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # tells gzip and deflate apart
        else:
            self.problem = f"its body is packed as {encoding}, which was not asked for"

    def is_full_with(self, chunk: bytes) -> bool:
        if self._unpacker:
            try:
                chunk = self._unpacker.decompress(chunk, MAX_BODY_BYTES + 1 - len(self.content))
            except zlib.error as error:
                self.problem = f"its body cannot be read: {error}"
                return True
        self.content += chunk
        if len(self.content) <= MAX_BODY_BYTES:
            return False
        del self.content[MAX_BODY_BYTES:]
        self.problem = f"its body has more than {MAX_BODY_BYTES} bytes"
        return True


def _response(answer: httpx.Response, body: _Body, parse: Callable[[int, bytes], T]) -> Response[T]:
    content, problem, parsed = bytes(body.content), body.problem, None
    if "location" in answer.extensions:
        answer.headers["Location"] = answer.extensions["location"]
    if 200 <= answer.status_code < 300 and problem is None:
        try:
            parsed = parse(answer.status_code, content)
        except KeyError as error:
            problem = f"{error} is missing"
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            problem = str(error)
    return Response(
        status_code=answer.status_code, headers=answer.headers, content=content, parsed=parsed, problem=problem
    )


def _raise_connection_error(request: httpx.Request, error: Exception) -> NoReturn:
    failed: httpx.Request = getattr(error, "_request", None) or request
    # A request that the auth made for itself, such as for a token, comes before ours or after a 401 to ours.
    ours = (failed.method, failed.url) == (request.method, request.url)
    outcome_unknown = ours and not isinstance(error, _NOT_SENT)
    what = (
        "the service may have acted" if outcome_unknown else "nothing was sent" if ours else "the service did not act"
    )
    error_class = APITimeoutError if isinstance(error, httpx.TimeoutException) else APIConnectionError
    # h11 quotes a header that cannot be sent, and it may be the token.
    unsafe = isinstance(error, httpx.LocalProtocolError)
    reason = type(error).__name__ if unsafe or not str(error) else f"{type(error).__name__}: {error}"
    message = f"{one_line(f'{failed.method} {failed.url}')}: {one_line(reason)}; {what}"
    raise error_class(message, outcome_unknown) from (None if unsafe else error)


def _check_base_url(base_url: str) -> None:
    # None of these texts shows the URL: with a slip in it, a password may stand anywhere.
    if "@" in base_url or "?" in base_url or "#" in base_url:
        raise ValueError("base_url may not hold a user, password, query or fragment; give credentials with auth=")
    try:
        url = httpx.URL(base_url)
        good = url.scheme in ("http", "https") and "" not in url.host.split(".") and 0 < (url.port or 443) < 65536
    except httpx.InvalidURL:
        good = False
    if not good or re.search(r"\s", base_url):
        raise ValueError("base_url must be an absolute URL, such as https://cse.cn-north-4.myhuaweicloud.com")


def _hide_location(answer: httpx.Response) -> None:
    # httpx reads where a redirect leads even if it may not follow, and loses the answer if that is no URL
    if answer.has_redirect_location:
        answer.extensions["location"] = answer.headers.pop("Location")


async def _ahide_location(answer: httpx.Response) -> None:
    _hide_location(answer)


class _NoCookies(httpx.Cookies):
    """Keeps none, and looks for none, which with httpx's own takes a twelfth of a call."""

    def extract_cookies(self, response: httpx.Response) -> None:
        pass


@cache
def _no_cookies() -> _NoCookies:
    return _NoCookies()


class _HTTPClient(httpx.Client):
    @property  # type: ignore[misc] # without a setter: nobody sets them
    def cookies(self) -> httpx.Cookies:  # pyright: ignore[reportIncompatibleMethodOverride] - see above
        return _no_cookies()


class _AsyncHTTPClient(httpx.AsyncClient):
    @property  # type: ignore[misc] # see above
    def cookies(self) -> httpx.Cookies:  # pyright: ignore[reportIncompatibleMethodOverride] - see above
        return _no_cookies()
