"""The client: the exchange, written without I/O, and its sync and async drivers."""

from __future__ import annotations

import json
import re
import ssl
import string
import sys
import time
import zlib
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, Never, Protocol, Self, TypeAlias, TypeVar, cast

import attrs
import httpx

from .errors import APIConnectionError, APITimeoutError, IAMError, refuses, succeeds
from .http1 import MAX_BODY, MAX_RESULT, NothingSentError, body_limit
from .redaction import Secret, header_secrets, mask, one_line
from .resend import Resend
from .response import Response
from .transport import Transport, running_loop

if TYPE_CHECKING:
    import os

T = TypeVar("T")

# Seconds. The gateway waits 30 s for a service, so after a minute no response will come.
DEFAULT_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
_PREPARED: Final = 64  # combinations of headers
_FOREVER: Final = 2e6  # seconds; the system supports no longer timeouts
_MAX_QUICK_PATH: Final = 1 << 12

# With these errors, nothing was sent. With any other, the whole request may have been sent; also with
# httpx.LocalProtocolError, if the transport uses HTTP/2.
_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    NothingSentError,
)
# httpx's async transport does not convert an ssl.SSLError after the handshake.
_FAILURES: Final = (httpx.RequestError, httpx.InvalidURL, ssl.SSLError)
_READ_ONLY: Final = ("GET", "HEAD")  # RFC 9110, section 9.2.1
_SENDABLE: Final = re.compile(rb"([!-~]([ -~\t]*[!-~])?)?")
# The same options as httpx.
_TO_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_QUOTED_PATH: Final = re.compile(r"(/([\w~!$&'()*+,;=:@-]|%[\dA-F]{2}|\.(?![./]|$))+)+", re.ASCII)
_PRINTABLE: Final = bytes(range(0x20, 0x7F)) + b"\t"
_OF_HEADER_NAMES: Final = f"!#$%&'*+-.^_`|~{string.digits}{string.ascii_letters}"


@dataclass(slots=True)
class Trace:
    """The outcome of a call that is cancelled, or ends with a foreign exception. Set TRACE to one, then call.

    Attributes:
        may_be_processed: The operation's request was passed to the transport, and no response refused it.
    """

    may_be_processed: bool = False


TRACE: Final[ContextVar[Trace | None]] = ContextVar("TRACE", default=None)


class ContractCheck(Protocol):
    """Compares each attempt's request and response with the contract."""

    def request(self, path: str, request: httpx.Request) -> None:
        """Check a request before the auth changes it; raise if it must not be sent."""
        ...

    def response(self, method: str, path: str, response: Response[T]) -> Response[T]:
        """Check a response, and return it with its deviations."""
        ...


class Client:
    """Client for one service, sync and async; safe for any number of threads and tasks.

    Keeps connections open between calls. Stores no cookies and follows no redirects. Uses the environment's
    proxies (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY), chosen for the host of each request; never for
    this machine.

    To test without a network, pass `transport=httpx.MockTransport(handler)`. Libraries that patch httpx
    (respx, pytest-httpx) intercept a client only if it was given `transport=httpx.HTTPTransport()`, or
    AsyncHTTPTransport.

    Args:
        base_url: Such as https://cse.cn-north-4.myhuaweicloud.com; may have a path.
        auth: Any httpx.Auth; it adds the token or the signature to each request.
        timeout: Seconds to connect, to write, and for the whole response; or an httpx.Timeout, whose `read`
            is the time for the whole response. 60, and 10 to connect, by default. To disable timeouts, pass
            httpx.Timeout(None).
        headers: Sent with each request; an operation's own headers take precedence.
        transport: Any httpx transport instead of our own: sync, async or both.
        verify: True: the CAs of SSL_CERT_FILE, SSL_CERT_DIR or certifi. A path: a file or folder of CAs. An
            ssl.SSLContext: everything else, such as a client certificate. False accepts any certificate, and
            logs a WARNING.
        resend: The policy for resending requests; None: resend nothing.
        service: Limits calls to the operations of a service, such as "cse"; None: no limit.
        check: Compares requests and responses with the contract.

    Raises:
        ConfigurationError: The environment's proxies or CAs are invalid, or `verify` is.
        ValueError: base_url is not an absolute http or https URL, or holds a password, query or fragment; a
            header cannot be sent; or both transport and verify are given.
    """

    user_agent = "huaweicloud-retry"
    """Sent with each request, unless `headers` has another."""

    _base_url = "?"  # for the repr, if __init__ failed
    _auth: httpx.Auth | None = None

    def __init__(  # noqa: PLR0913 - the settings of a client
        self,
        base_url: str,
        *,
        auth: httpx.Auth | None = None,
        timeout: float | httpx.Timeout | None = None,
        headers: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
        verify: ssl.SSLContext | str | os.PathLike[str] | bool = True,
        resend: Resend | None = None,
        service: str | None = None,
        check: ContractCheck | None = None,
    ) -> None:
        own, headers = Secret(dict(headers or {})), None
        problem = (
            _url_problem(base_url) or _headers_problem(own.reveal()) or _kind_problem(auth, transport, resend)
        )
        if transport is not None and verify is not True:
            problem = problem or "verify is a setting of the transport, and one was given: set it there"
        if problem is not None:
            base_url = "?"  # it may hold a password, and a traceback may show it
            raise ValueError(problem)
        self._transport = Transport(verify, base_url) if transport is None else transport
        self._url = httpx.URL(base_url)
        self._headers = _Headers({"Host": self._url.netloc.decode(), "User-Agent": self.user_agent}, own)
        self._auth = auth
        self._timeout = _seconds(DEFAULT_TIMEOUT if timeout is None else timeout)
        self._resend = resend
        self._service = service
        self._check = check
        self._is_open = [True]  # shared with all views
        self._is_view = False
        self._base_url = base_url.rstrip("/")

    def __repr__(self) -> str:
        auth = f", auth={type(self._auth).__name__}" if self._auth is not None else ""
        return f"Client({self._base_url!r}{auth})"

    @property
    def base_url(self) -> str:
        """The normalized URL to which paths are appended."""
        return str(self._url).rstrip("/")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def with_resend(self, resend: Resend | None) -> Self:
        """Return a view of this client with another policy, for single calls. Closing the view has no effect.

        Args:
            resend: None: resend nothing.
        """
        if problem := _kind_problem(None, None, resend):
            raise ValueError(problem)
        view = object.__new__(type(self))
        vars(view).update(vars(self), _resend=resend, _is_view=True)
        return view

    def __reduce_ex__(self, _protocol: object) -> Never:
        raise TypeError("a Client has connections and secrets and cannot be pickled")

    def close(self) -> None:
        """Close the sync side. The client cannot be used afterwards."""
        if self._is_view:
            return
        self._is_open[0] = False
        if isinstance(self._transport, httpx.BaseTransport):
            self._transport.close()

    async def aclose(self) -> None:
        """Close both sides. The client cannot be used afterwards."""
        self.close()
        if not self._is_view and isinstance(self._transport, httpx.AsyncBaseTransport):
            await self._transport.aclose()

    def call(
        self, call: Mapping[str, Any], parse: Callable[[int, bytes], T], timeout: float | httpx.Timeout | None
    ) -> Response[T]:
        """Send a request, resend it if the policy allows. Called by `sync_detailed`.

        Raises:
            APIConnectionError: There is no response.
        """
        if not isinstance(self._transport, httpx.BaseTransport):
            raise TypeError("the transport is async only: call asyncio(), or give a transport that is both")
        io = _SyncIO(self._transport, self._auth if call.get("auth", True) else None)
        steps = self._exchange(io, call, parse, timeout)
        try:
            do, argument = next(steps)
            while True:
                try:
                    result = do(argument)
                except Exception as error:  # noqa: BLE001 - the exchange handles it
                    do, argument = steps.throw(error)
                else:
                    do, argument = steps.send(result)
        except StopIteration as end:
            response: Response[T] = end.value
            return response
        finally:
            io.close()

    async def acall(
        self,
        call: Mapping[str, Any],
        parse: Callable[[int, bytes], T],
        timeout: float | httpx.Timeout | None,  # noqa: ASYNC109 - as in httpx
    ) -> Response[T]:
        """Send a request, resend it if the policy allows. Called by `asyncio_detailed`.

        Raises:
            APIConnectionError: There is no response.
        """
        if not isinstance(self._transport, httpx.AsyncBaseTransport):
            raise TypeError("the transport is sync only: call sync(), or give a transport that is both")
        io = _AsyncIO(self._transport, self._auth if call.get("auth", True) else None)
        steps = self._exchange(io, call, parse, timeout)
        try:
            do, argument = next(steps)
            while True:
                try:
                    result = await do(argument)
                except Exception as error:  # noqa: BLE001 - see above
                    do, argument = steps.throw(error)
                else:
                    do, argument = steps.send(result)
        except StopIteration as end:
            response: Response[T] = end.value
            return response
        finally:
            await io.close()

    # --- The exchange: yields functions to call, receives their results ---

    def _exchange(
        self,
        io: _IO,
        call: Mapping[str, Any],
        parse: Callable[[int, bytes], T],
        timeout: float | httpx.Timeout | None,
    ) -> _Steps[Response[T]]:
        if self._service is not None and self._service != (other := call.get("service", self._service)):
            raise ValueError(
                f"this client is for {self._service}, the operation is of {other}; nothing was sent"
            )
        attempt = 1
        while True:
            if not self._is_open[0]:
                raise RuntimeError("this Client is closed; make a new one")
            outcome: Response[T] | APIConnectionError
            try:
                outcome = yield from self._attempt(io, call, parse, timeout)
            except IAMError as error:
                error.attempts = attempt
                raise
            except APIConnectionError as error:
                outcome = error
            wait = None if self._resend is None else self._resend.wait(attempt, outcome)
            if wait is not None:
                yield io.sleep, wait
                attempt += 1
            elif isinstance(outcome, APIConnectionError):
                outcome.attempts = attempt
                raise outcome
            else:
                return outcome if attempt == 1 else attrs.evolve(outcome, attempts=attempt)

    def _attempt(
        self,
        io: _IO,
        call: Mapping[str, Any],
        parse: Callable[[int, bytes], T],
        timeout: float | httpx.Timeout | None,
    ) -> _Steps[Response[T]]:
        own = self._request(call, timeout)
        if self._check is not None:
            own.read()
            self._check.request(call["path"], own)
        response = _response((yield from self._sent(io, own)), own, parse)
        if self._check is None:
            return response
        return self._check.response(call["method"], call["path"], response)

    def _sent(self, io: _IO, own: httpx.Request) -> _Steps[_Received]:
        """Send the operation's own request, and the auth's requests before and after it."""
        sending, is_sending, may_be_processed = own, False, False
        kept: _Received | None = None  # the response to the operation's own request
        trace = TRACE.get()
        try:
            if io.auth is not None:
                sending = yield io.begin, own
            while True:
                _check_sendable(sending.headers)
                is_sending = True
                if trace is not None and _is_same(sending, own):
                    trace.may_be_processed = True
                received: _Received = yield io.send, sending
                is_sending = False
                # Once it may have been processed, a later refusal does not change that.
                if _is_same(sending, own) and not may_be_processed:
                    kept, may_be_processed = received, not refuses(received.response.status_code)
                    if trace is not None:
                        trace.may_be_processed = may_be_processed
                following = None if io.auth is None else (yield io.resume, received.response)
                if following is None:
                    return kept or received
                sending = following
        except (*_FAILURES, OSError) as error:
            if not (is_sending or isinstance(error, _FAILURES)):
                raise  # a token function raised it
            failed = sending if is_sending else getattr(error, "_request", None) or sending
            is_own = is_sending and _is_same(sending, own)
            failure = _connection_error(
                failed,
                error,
                is_own=is_own,
                may_be_processed=may_be_processed,
                read_only=own.method in _READ_ONLY,
            )
            if is_sending:
                yield io.fail, Secret(error)  # other requests may wait for the same token
        raise failure  # outside the except clause: as its context, the error could show a token

    def _request(self, call: Mapping[str, Any], timeout: float | httpx.Timeout | None) -> httpx.Request:
        try:
            url = _url(self._url, call["path"])
            if call.get("query"):
                url = url.copy_with(query=call["query"].encode())
        except httpx.InvalidURL as error:
            raise ValueError(f"these arguments make no valid URL: {error}") from None
        extensions = {
            "timeout": self._timeout if timeout is None else _seconds(timeout),
            "project_id": str(call["project_id"]) if "project_id" in call else None,
            "max_result": MAX_RESULT,
        }
        method, headers = call["method"], call["headers"]
        if "json" not in call and "content" not in call:
            headers = self._headers.merged(headers)
            return httpx.Request(method, url, headers=headers, extensions=extensions)
        if "media_type" in call:
            headers = {**headers, "Content-Type": call["media_type"]}
        body = call["content"] if "content" in call else _TO_JSON(call["json"]).encode()
        headers = self._headers.merged(headers, len(body))
        stream = httpx.ByteStream(body)  # faster than `content=`, which httpx encodes again
        request = httpx.Request(method, url, headers=headers, extensions=extensions, stream=stream)
        request.read()  # so that auth flows and transports can use `content`
        return request


class _Headers:
    """The headers of requests. Checks and merges each combination once."""

    def __init__(self, default: dict[str, str], own: Secret[dict[str, str]]) -> None:
        self._own = httpx.Headers({**default, "Accept-Encoding": "identity"})
        self._own.update(own.reveal())
        self._prepared: dict[object, httpx.Headers] = {}

    def merged(self, operation: Mapping[str, str], length: int | None = None) -> httpx.Headers:
        """Return the client's headers with an operation's, which take precedence, and the length of a body.

        Raises:
            ValueError: A header cannot be sent.
        """
        key = (length, *operation.items())
        prepared = self._prepared.get(key)
        if prepared is None:
            if problem := _headers_problem(operation):
                raise ValueError(problem)
            prepared = self._own.copy()
            prepared.update(operation)
            if length is not None:
                prepared["Content-Length"] = str(length)
            if len(self._prepared) >= _PREPARED:
                self._prepared.clear()
            self._prepared[key] = prepared
        return prepared


class _Received:
    """A response whose body is read and decompressed up to its limit.

    httpx would decompress each chunk completely, and 64 KiB may become gigabytes.
    """

    def __init__(self, request: httpx.Request, response: httpx.Response) -> None:
        self.response = response
        self.headers = response.headers
        self.content = bytearray()
        self.problem: str | None = None
        self._request = request
        self._unpacker: Any = None
        self._limit = body_limit(response.status_code, request.extensions.get("max_result", MAX_BODY))
        seconds = request.extensions["timeout"].get("read") if "timeout" in request.extensions else None
        self._deadline = None if seconds is None else time.monotonic() + seconds
        if response.is_stream_consumed:  # the transport has read and decompressed it
            return
        codings = [value for name, value in response.headers.raw if name.lower() == b"content-encoding"]
        encoding = b",".join(codings).decode("latin-1").strip().lower()
        if encoding in ("gzip", "x-gzip", "deflate"):
            self._unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # recognizes gzip and deflate
        elif encoding not in ("", "identity"):
            self.problem = f"its Content-Encoding is {encoding}, which was not requested"

    def add(self, chunk: bytes) -> bool:
        """Add a part of the body; return whether reading must stop."""
        if self._unpacker:
            try:
                chunk = self._unpacker.decompress(chunk, self._limit + 1 - len(self.content))
            except zlib.error as error:
                return self.fail(error)
        self.content += chunk
        if len(self.content) > self._limit:
            del self.content[self._limit :]
            self.problem = f"its body has more than {self._limit} bytes"
            return True
        # Other transports apply the timeout to single reads.
        if self._deadline is not None and time.monotonic() > self._deadline:
            return self.fail("it was not complete in time")
        return False

    def fail(self, why: object) -> bool:
        """Record that the rest of the body cannot be read."""
        self.problem = f"its body cannot be read: {why}"
        return True

    def end(self) -> Self:
        """Replace the body by the part that was read, for an auth flow to read."""
        response, stream = self.response, httpx.ByteStream(bytes(self.content))
        if self._unpacker or self.problem or response.is_stream_consumed:
            headers = [each for each in response.headers.raw if each[0].lower() != b"content-encoding"]
            response = httpx.Response(response.status_code, headers=headers, stream=stream)
            response.extensions["problem"] = self.problem
        else:
            response.stream = stream
        response.request, self.response = self._request, response
        return self


def _hide(event: str, info: dict[str, Any]) -> None:
    """Keep response headers out of httpcore's log: https://www.encode.io/httpcore/extensions/#trace."""
    if event.endswith(".receive_response_headers.complete"):
        info["return_value"] = "<hidden>"


async def _ahide(event: str, info: dict[str, Any]) -> None:
    _hide(event, info)


class _SyncIO:
    """The functions that an exchange calls, blocking the thread."""

    def __init__(self, transport: httpx.BaseTransport, auth: httpx.Auth | None) -> None:
        self._transport = transport
        self.auth = auth
        self._flow: Generator[httpx.Request, httpx.Response, None] | None = None

    def send(self, request: httpx.Request) -> _Received:
        request.extensions.setdefault("trace", _hide)
        response = self._transport.handle_request(request)
        received, stream = _Received(request, response), cast("httpx.SyncByteStream", response.stream)
        try:
            for chunk in (response.content,) if response.is_stream_consumed else stream:
                if received.add(chunk):
                    break
        except _FAILURES as error:
            received.fail(error)
        finally:
            stream.close()
        return received.end()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def begin(self, request: httpx.Request) -> httpx.Request:
        self.close()
        self._flow = cast("httpx.Auth", self.auth).sync_auth_flow(request)
        return next(self._flow)

    def resume(self, response: httpx.Response) -> httpx.Request | None:
        try:
            return None if self._flow is None else self._flow.send(response)
        except StopIteration:
            return None

    def fail(self, error: Secret[Exception]) -> None:
        if self._flow is not None:
            with suppress(Exception):  # most likely it raises the same error
                self._flow.throw(error.reveal())

    def close(self) -> None:
        if self._flow is not None:
            self._flow.close()


class _AsyncIO:
    """The same functions, async, in any event loop that httpx supports."""

    def __init__(self, transport: httpx.AsyncBaseTransport, auth: httpx.Auth | None) -> None:
        self._transport = transport
        self.auth = auth
        self._flow: AsyncGenerator[httpx.Request, httpx.Response] | None = None

    async def send(self, request: httpx.Request) -> _Received:
        request.extensions.setdefault("trace", _ahide)
        response = await self._transport.handle_async_request(request)
        received, stream = _Received(request, response), cast("httpx.AsyncByteStream", response.stream)
        try:
            if response.is_stream_consumed:
                received.add(response.content)
            else:
                async for chunk in stream:
                    if received.add(chunk):
                        break
        except _FAILURES as error:
            received.fail(error)
        finally:
            await stream.aclose()
        return received.end()

    async def sleep(self, seconds: float) -> None:
        library = "asyncio" if running_loop() is not None else "trio"
        await sys.modules[library].sleep(seconds)

    async def begin(self, request: httpx.Request) -> httpx.Request:
        await self.close()
        self._flow = cast("httpx.Auth", self.auth).async_auth_flow(request)
        return await anext(self._flow)

    async def resume(self, response: httpx.Response) -> httpx.Request | None:
        try:
            return None if self._flow is None else await self._flow.asend(response)
        except StopAsyncIteration:
            return None

    async def fail(self, error: Secret[Exception]) -> None:
        if self._flow is not None:
            with suppress(Exception):  # see above
                await self._flow.athrow(error.reveal())

    async def close(self) -> None:
        if self._flow is not None:
            await self._flow.aclose()


_IO: TypeAlias = _SyncIO | _AsyncIO
_Steps: TypeAlias = Generator[tuple[Callable[[Any], Any], Any], Any, T]
"""Yields a function and its argument; receives its result."""


def _response(received: _Received, own: httpx.Request, parse: Callable[[int, bytes], T]) -> Response[T]:
    status, content = received.response.status_code, bytes(received.content)
    problem, parsed = received.problem, None
    read_only = own.method in _READ_ONLY
    # A read may return logs, with parts of secrets. For other bodies, a quick look saves time in most cases.
    if read_only or _repeats_secret(content, own):
        content = _masked(content, own)
    if is_good := succeeds(status) and problem is None:
        try:
            parsed = parse(status, content)
        except KeyError as error:
            problem = f"{error} is missing"
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            problem = str(error)
    headers = received.headers
    if not is_good or problem is not None:
        headers = httpx.Headers([(name, _masked(value, own)) for name, value in headers.raw])
        content = _masked(content[:MAX_BODY], own)
        problem = None if problem is None else _masked(problem.encode(errors="replace"), own).decode()
    return Response(
        status_code=status,
        headers=headers,
        content=content,
        parsed=parsed,
        problem=problem,
        read_only=read_only,
    )


def _masked(text: bytes, own: httpx.Request) -> bytes:
    """Return text without the secrets of a request."""
    return reduce(mask, _secrets(own), text)


def _repeats_secret(text: bytes, own: httpx.Request) -> bool:
    plain = text.replace(b"\\", b"")  # JSON may escape a slash
    return any(secret.reveal().encode(errors="surrogatepass") in plain for secret in _secrets(own))


def _secrets(own: httpx.Request) -> list[Secret[str]]:
    return [*header_secrets(own.headers), *own.extensions.get("secrets", ())]


def _connection_error(
    failed: httpx.Request, error: Exception, *, is_own: bool, may_be_processed: bool, read_only: bool
) -> APIConnectionError:
    outcome_unknown = may_be_processed or (is_own and not isinstance(error, _NOT_SENT))
    what = "the request may have been processed" if outcome_unknown else "nothing was sent"
    # The auth's own request failed, such as a token fetch: before our request, or after its 401.
    if not (outcome_unknown or is_own):
        what = "the request was not processed"
    if outcome_unknown and read_only:
        outcome_unknown, what = False, "no response"
    error_class = APITimeoutError if isinstance(error, httpx.TimeoutException) else APIConnectionError
    # h11 quotes a header that cannot be sent, and it may be the token; a proxy may repeat its credentials.
    is_safe = not isinstance(error, httpx.LocalProtocolError) or "nothing was sent" in str(error)
    is_safe = is_safe and not _repeats_secret(str(error).encode(errors="surrogatepass"), failed)
    reason = f"{type(error).__name__}: {error}" if is_safe and str(error) else type(error).__name__
    where = one_line(f"{failed.method} {failed.url}")
    made = error_class(f"{where}: {one_line(reason)}; {what}", outcome_unknown)
    made.__cause__ = error if is_safe else None
    return made


def _url(base: httpx.URL, path: str) -> httpx.URL:
    """Append a path to a URL. httpx would parse the whole URL again, which takes an eighth of a call."""
    path = base.raw_path.decode("ascii").rstrip("/") + path
    if len(path) > _MAX_QUICK_PATH or not _QUOTED_PATH.fullmatch(path):
        return httpx.URL(str(base.copy_with(raw_path=b"/")).rstrip("/") + path)
    url = httpx.URL(base)
    url._uri_reference = base._uri_reference._replace(path=path)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return url


def _is_same(one: httpx.Request, other: httpx.Request) -> bool:
    """Return whether a request is the operation's, or an auth's copy of it with a signed query."""
    return one is other or _target(one) == _target(other)


def _target(request: httpx.Request) -> tuple[str, str, bytes, bytes]:
    url = request.url
    return request.method, url.scheme, url.netloc, url.raw_path.partition(b"?")[0]


def _seconds(timeout: float | httpx.Timeout) -> dict[str, float | None]:
    given: dict[str, Any] = httpx.Timeout(timeout).as_dict()
    if not all(value is None or (isinstance(value, int | float) and value >= 0) for value in given.values()):
        raise ValueError("a timeout must be 0 or more seconds, or None for no limit")
    return {name: None if value is None or value > _FOREVER else value for name, value in given.items()}


def _are_sendable(values: list[bytes]) -> bool:
    joined = b"\n".join((b"", *values, b""))  # one check of all is faster than a check of each
    is_printable = len(joined.translate(None, _PRINTABLE)) == len(values) + 1
    return is_printable and not any(end in joined for end in (b"\n ", b"\n\t", b" \n", b"\t\n"))


def _check_sendable(headers: httpx.Headers) -> None:
    if not _are_sendable([value for _, value in headers.raw]):
        raise ValueError(_headers_problem(headers))


def _headers_problem(headers: Mapping[Any, Any]) -> str | None:
    for name, value in headers.items():
        if not isinstance(name, str) or not name or name.strip(_OF_HEADER_NAMES):
            return f"{name!r} cannot be the name of a header"
        if not isinstance(value, str) or not _SENDABLE.fullmatch(value.encode(errors="replace")):
            # The value is not shown: it may be a token.
            rule = "must be a str of printable ASCII: no CR, LF or NUL, no blanks at its ends"
            return f"the value of header {name} {rule}"
    return None


def _kind_problem(auth: object, transport: object, resend: object) -> str | None:
    if not isinstance(auth, httpx.Auth | None):
        return "auth must be an httpx.Auth, such as TokenAuth(token)"
    if not isinstance(transport, httpx.BaseTransport | httpx.AsyncBaseTransport | None):
        return "transport must be one of httpx's, such as httpx.MockTransport(handler)"
    return None if isinstance(resend, Resend | None) else "resend must be a Resend(…) or None"


def _url_problem(base_url: object) -> str | None:
    # No text shows the URL: it may hold a password.
    if not isinstance(base_url, str):
        return "base_url must be a str"
    if "@" in base_url or "?" in base_url or "#" in base_url:
        return "base_url may not hold a user, password, query or fragment; give credentials with auth="
    try:
        url = httpx.URL(base_url)
        is_web = url.scheme in ("http", "https")
        is_valid = is_web and "" not in url.host.split(".") and 0 < (url.port or 443) < 1 << 16
    except httpx.InvalidURL:
        is_valid = False
    if not is_valid or re.search(r"\s", base_url):
        return "base_url must be an absolute URL, such as https://cse.cn-north-4.myhuaweicloud.com"
    return None
