"""HTTP/1.1 on one connection, without I/O: a request, its response, and whether to reuse the connection.

httptools (llhttp) parses strictly, but does not track the connection. This module decides which response
belongs to the request, where its body ends, and whether more bytes follow (RFC 9112, sections 6 and 9).
"""

import errno
import os
import select
from collections.abc import AsyncIterator, Iterator
from time import monotonic
from typing import Final, NoReturn, TypeAlias

import httptools
import httpx

from .errors import succeeds

IDLE_LIMIT: Final = (
    5.0  # seconds, like httpx; some servers send a stray response before they close a connection
)
MAX_CONNECTIONS: Final = 100  # per event loop, like httpx
MAX_BODY: Final = 1 << 20  # bytes of an error or of IAM; typical errors have about a hundred
MAX_RESULT: Final = 16 << 20  # bytes of a successful operation
READ_SIZE: Final = 1 << 16
_MAX_HEAD: Final = 1 << 16  # bytes of all heads of one response
_MAX_INTERIM: Final = 16
_MOST_PER_BYTE: Final = 16  # received bytes per byte of a body, which may come in chunks of one byte
_SLICE: Final = 1 << 14  # bytes that are parsed before the limits are checked
_FRAMING: Final = (b"content-length", b"transfer-encoding")
_LEAST, _FINAL, _SWITCHING, _NO_BODY = 100, 200, 101, (204, 304)  # statuses

NOTHING_TAKEN: Final = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ECONNABORTED, errno.EHOSTUNREACH)
"""System errors that mean that the kernel accepted no byte. A signal handler may raise other errors."""

Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host and port of a connection."""


class NothingSentError(httpx.WriteError):
    """The connection broke before the kernel accepted a byte of the request: the server does not have it."""


class Payload(bytes):
    """The bytes of a request. The repr hides them: they hold credentials, and a traceback may show it."""

    is_for_head = asks_to_close = False
    max_result = MAX_BODY

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


def origin(url: httpx.URL) -> Origin:
    """Return the origin of a URL; raise httpx.UnsupportedProtocol if it is neither http nor https."""
    scheme, host = url.scheme, url.raw_host.decode("ascii")
    if scheme not in ("http", "https") or not host:
        raise httpx.UnsupportedProtocol("the URL must be http:// or https:// with a host")
    return scheme, host, url.port or (443 if scheme == "https" else 80)


def body_limit(status: int | None, max_result: int) -> int:
    """Return the maximum number of bytes to read of a response's body."""
    return max_result if status is not None and succeeds(status) else MAX_BODY


def payload(request: httpx.Request, body: bytes) -> Payload:
    """Return the bytes of a request, with its Content-Length.

    Raises:
        httpx.LocalProtocolError: A header or the path has a line break or NUL. The text does not show it: it
            may be a token.
    """
    start = b"%s %s HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)
    raw = request.headers.raw
    keys = [name.lower() for name, _ in raw]
    fields = [b"%s: %s" % field for key, field in zip(keys, raw, strict=True) if key not in _FRAMING]
    if b"host" not in keys:
        fields.append(b"Host: " + request.url.netloc)
    if body or request.method not in ("GET", "HEAD"):
        fields.append(b"Content-Length: %d" % len(body))
    made = Payload(b"\r\n".join((start, *fields, b"\r\n")))
    if not (made.count(b"\r") == made.count(b"\n") == len(fields) + 2) or made.count(b"\0"):
        del start, raw, fields, body
        raise httpx.LocalProtocolError("a header or the path has a line break or NUL; nothing was sent")
    made = Payload(made + body)
    made.is_for_head = request.method == "HEAD"
    made.max_result = request.extensions.get("max_result", MAX_BODY)
    if b"connection" in keys:
        made.asks_to_close = "close" in request.headers["Connection"].lower()
    return made


def raise_connect_error(error: BaseException) -> NoReturn:
    """Raise httpx's exception for an error of opening a connection."""
    if isinstance(error, TimeoutError | BlockingIOError):  # the latter if the timeout is 0
        raise httpx.ConnectTimeout("no connection in time") from None
    if isinstance(error, OSError | ValueError):  # ValueError: a host name that cannot be encoded
        raise httpx.ConnectError(str(error)) from error
    raise error


class Connection:
    """The common part of sync and async connections: socket, process, and idle time."""

    descriptor = -1

    def __init__(self) -> None:
        self._process = os.getpid()
        self.idle_since = monotonic()

    def is_old(self) -> bool:
        """Return whether it was idle for too long."""
        return monotonic() - self.idle_since >= IDLE_LIMIT

    def is_clean(self) -> bool:
        """Return whether it may be reused: this process opened it recently, and nothing was received."""
        if self.descriptor < 0 or self.is_old() or self._process != os.getpid():  # a fork changes the process
            return False
        if not hasattr(select, "poll"):  # Windows
            return not select.select([self.descriptor], [], [self.descriptor], 0)[0]
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN | select.POLLPRI)  # poll always reports errors
        return not poll.poll(0)


class ResponseReader:
    """Reads the response to one request from the bytes of its connection.

    Attributes:
        has_ended: Nothing more is read: it is complete, has failed, or its body exceeds the limit.
        is_reusable: It ended by its framing, no bytes follow it, and neither side closes the connection.
        status: HTTP status, when it is known.
    """

    def __init__(self, request: Payload) -> None:
        self.has_ended = self.is_reusable = False
        self._request = request
        self.status: int | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._error: httpx.TransportError | None = None
        self._ends_with_connection = False
        self._interim = self._received = 0  # interim responses; received bytes
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Process received bytes; no bytes: the server has closed the connection."""
        if not data:
            self.has_ended, self.is_reusable = self.has_ended or self._ends_with_connection, False
            what = "before the response was complete" if self._received else "without a response"
            self.fail(f"the server closed the connection {what}")
            return
        view = memoryview(data)
        del data  # it may repeat a secret, and a traceback may show it
        # Parse the last byte separately: if the response has ended before it, more bytes follow. Otherwise
        # the parser would skip a single CR LF.
        last = len(view) - 1
        for start in (*range(0, last, _SLICE), last):
            if self.has_ended:
                self.is_reusable = False
            else:
                self._parse(view[start : min(start + _SLICE, max(last, start + 1))])
        if self.has_ended:
            self._parser = None  # breaks a reference cycle

    def fail(self, error: httpx.TransportError | str) -> None:
        """End without the rest of the response."""
        if not self.has_ended:
            self._error = httpx.RemoteProtocolError(error) if isinstance(error, str) else error
            self.has_ended, self.is_reusable = True, False

    def response(self) -> httpx.Response:
        """Return the response, whose body raises its error; without a response, raise the error."""
        if self.status is not None:
            return httpx.Response(self.status, headers=self._headers, stream=_Body(self._body, self._error))
        raise self._error or httpx.RemoteProtocolError("there is no response")

    def _parse(self, part: memoryview) -> None:
        assert self._parser is not None  # noqa: S101 - the response has not ended
        self._received += len(part)
        try:
            self._parser.feed_data(part)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if isinstance(error, httptools.HttpParserCallbackError) and error.__context__ is not None:
                raise error.__context__  # noqa: B904 - Ctrl-C during a callback
            self.is_reusable = False
            self.fail(f"the response is not valid HTTP/1.1: {error}")
        if self._received > _MAX_HEAD + _MOST_PER_BYTE * len(self._body):
            self.fail(f"over {_MAX_HEAD} bytes of the response are not of its body")

    # --- Callbacks of httptools. For a message after the response, they change nothing. ---

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status is None:  # otherwise it is a trailer
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.status is not None or self._parser is None:
            return
        status = self._parser.get_status_code()
        refusal = self._judge(status, self._parser.get_http_version())
        if refusal is not None:
            self.fail(refusal)
        elif status < _FINAL:
            self._headers.clear()
            self._interim += 1
        elif not self.has_ended:
            self.status, self.has_ended = status, self._request.is_for_head

    def on_body(self, data: bytes) -> None:
        if not self.has_ended:
            self._body += data
            if len(self._body) > body_limit(self.status, self._request.max_result):
                self.has_ended, self.is_reusable = True, False

    def on_message_complete(self) -> None:
        self.has_ended = self.has_ended or self.status is not None

    def _judge(self, status: int, version: str) -> str | None:
        """Decide where the body ends and whether the connection stays open; return why it is invalid."""
        fields: dict[bytes, bytes] = {}
        for name, value in self._headers:
            key = name.lower()
            fields[key] = fields[key] + b"," + value if key in fields else value
        coding, options = fields.get(b"transfer-encoding"), fields.get(b"connection", b"").lower().split(b",")
        if status == _SWITCHING or status < _LEAST or version not in ("1.0", "1.1"):
            return f"the server sent {status} of HTTP/{version} instead of a response"
        if self._interim > _MAX_INTERIM or (status < _FINAL and not fields.keys().isdisjoint(_FRAMING)):
            return "the server sent too many interim responses (1xx), or one with a body"
        if coding is not None and (coding.lower() != b"chunked" or version == "1.0"):
            return "the body is framed by a Transfer-Encoding other than chunked"
        if sum(len(name) + len(value) + 4 for name, value in self._headers) > _MAX_HEAD:
            return f"the headers have over {_MAX_HEAD} bytes"
        wishes = {option.strip() for option in options}
        stays_open = b"close" not in wishes and (version == "1.1" or b"keep-alive" in wishes)
        is_framed = self._request.is_for_head or status in _NO_BODY or not fields.keys().isdisjoint(_FRAMING)
        self._ends_with_connection = not is_framed
        self.is_reusable = stays_open and is_framed and not self._request.asks_to_close
        return None


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The received part of a body, and the error that ended it."""

    def __init__(self, content: bytearray, error: Exception | None) -> None:
        self._content, self._error = bytes(content), error

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part
