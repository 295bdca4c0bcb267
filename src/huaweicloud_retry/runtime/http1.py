"""HTTP/1.1 of one connection, without I/O: a request, the response to it, and whether to reuse the connection.

httptools (llhttp) parses, strictly, and knows nothing of a connection. What it leaves open is decided here:
which response belongs to the request, where its body ends, and whether anything came behind it. Source: RFC
9112, sections 6 and 9.
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
    5.0  # seconds, as httpx; servers close idle connections, and some send a stray response first
)
MAX_CONNECTIONS: Final = 100  # of one event loop, as httpx
MAX_BODY: Final = 1 << 20  # bytes, of an error or of IAM; those of the services have about a hundred
MAX_RESULT: Final = 16 << 20  # bytes, of an operation that succeeded
READ_SIZE: Final = 1 << 16
_MAX_HEAD: Final = 1 << 16  # bytes, of all heads of one response together
_MAX_INTERIM: Final = 16
_MOST_PER_BYTE: Final = 16  # received for a byte of a body, which may come in chunks of one
_SLICE: Final = 1 << 14  # bytes that are parsed before the bounds are looked at
_FRAMING: Final = (b"content-length", b"transfer-encoding")
_LEAST, _FINAL, _SWITCHING, _NO_BODY = 100, 200, 101, (204, 304)  # statuses

NOTHING_TAKEN: Final = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ECONNABORTED, errno.EHOSTUNREACH)
"""Errors of the system by which it says that it took no byte to send. Others may be raised by a signal's handler."""

Origin: TypeAlias = tuple[str, str, int]
"""Where a connection leads to: scheme, host, port."""


class NothingSentError(httpx.WriteError):
    """The connection broke before the kernel took a byte of the request, so the server cannot have it."""


class Payload(bytes):
    """The bytes of a request. They hold credentials, and a traceback may show the repr of any local variable."""

    is_for_head = asks_to_close = False
    max_result = MAX_BODY

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


def origin(url: httpx.URL) -> Origin:
    """Return where a request goes; raise httpx.UnsupportedProtocol if that is neither http nor https."""
    scheme, host = url.scheme, url.raw_host.decode("ascii")
    if scheme not in ("http", "https") or not host:
        raise httpx.UnsupportedProtocol("the URL must be http:// or https:// with a host")
    return scheme, host, url.port or (443 if scheme == "https" else 80)


def body_limit(status: int | None, max_result: int) -> int:
    """Return how many bytes of a response's body are read."""
    return max_result if status is not None and succeeds(status) else MAX_BODY


def payload(request: httpx.Request, body: bytes) -> Payload:
    """Return a request as it is sent: in one piece, its length known.

    Raises:
        httpx.LocalProtocolError: A header or the path has a line break or NUL. Which one is not shown: it may
            be a token.
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
    """Raise what httpx has for an error of making a connection."""
    if isinstance(error, TimeoutError | BlockingIOError):  # the latter if no time is left at all
        raise httpx.ConnectTimeout("no connection in time") from None
    if isinstance(error, OSError | ValueError):  # ValueError: a host name that cannot be encoded
        raise httpx.ConnectError(str(error)) from error
    raise error


class Connection:
    """What a connection of either kind knows of itself: socket, process, and how long it was idle."""

    descriptor = -1

    def __init__(self) -> None:
        self._process = os.getpid()
        self.idle_since = monotonic()

    def is_old(self) -> bool:
        """Say whether it was idle for too long."""
        return monotonic() - self.idle_since >= IDLE_LIMIT

    def is_clean(self) -> bool:
        """Say whether it may be reused: it is ours, young, and nothing has come: no byte, end or error."""
        if self.descriptor < 0 or self.is_old() or self._process != os.getpid():  # which a fork changes
            return False
        if not hasattr(select, "poll"):  # Windows
            return not select.select([self.descriptor], [], [self.descriptor], 0)[0]
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN | select.POLLPRI)  # errors are reported without asking
        return not poll.poll(0)


class ResponseReader:
    """Reads the response to one request from the bytes of its connection.

    Attributes:
        has_ended: Nothing more is to be read: it is complete, or has failed, or its body is larger than
            its limit.
        is_reusable: It ended by its own framing, nothing came behind it, and neither side wants to close.
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
        self._interim = self._received = 0  # responses before this one; bytes of all
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take received bytes; none: the server has closed the connection."""
        if not data:
            self.has_ended, self.is_reusable = self.has_ended or self._ends_with_connection, False
            what = "before the response was complete" if self._received else "without a response"
            self.fail(f"the server closed the connection {what}")
            return
        view = memoryview(data)
        del data  # it may echo a secret, and is not to show in a traceback
        # The last byte goes alone. If the response has ended before it, something came behind: be it one CR
        # LF, which the parser would skip.
        last = len(view) - 1
        for start in (*range(0, last, _SLICE), last):
            if self.has_ended:
                self.is_reusable = False
            else:
                self._parse(view[start : min(start + _SLICE, max(last, start + 1))])
        if self.has_ended:
            self._parser = None  # they know each other, and should not wait for the garbage collector

    def fail(self, error: httpx.TransportError | str) -> None:
        """End without the rest of the response."""
        if not self.has_ended:
            self._error = httpx.RemoteProtocolError(error) if isinstance(error, str) else error
            self.has_ended, self.is_reusable = True, False

    def response(self) -> httpx.Response:
        """Return the response, whose body raises what is wrong with it; raise why there is none."""
        if self.status is not None:
            return httpx.Response(self.status, headers=self._headers, stream=_Body(self._body, self._error))
        raise self._error or httpx.RemoteProtocolError("there is no response")

    def _parse(self, part: memoryview) -> None:
        assert self._parser is not None  # noqa: S101 - it is until the response has ended
        self._received += len(part)
        try:
            self._parser.feed_data(part)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if isinstance(error, httptools.HttpParserCallbackError) and error.__context__ is not None:
                raise error.__context__  # noqa: B904 - Ctrl-C came while it called us
            self.is_reusable = False
            self.fail(f"the response is not valid HTTP/1.1: {error}")
        if self._received > _MAX_HEAD + _MOST_PER_BYTE * len(self._body):
            self.fail(f"over {_MAX_HEAD} bytes of the response are not of its body")

    # --- What httptools calls. A message behind the response calls them too, and changes nothing. ---

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status is None:  # else it is a trailer
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
        """Decide where the body ends and whether the connection stays open; return a reason to refuse."""
        fields: dict[bytes, bytes] = {}
        for name, value in self._headers:
            key = name.lower()
            fields[key] = fields[key] + b"," + value if key in fields else value
        coding, options = fields.get(b"transfer-encoding"), fields.get(b"connection", b"").lower().split(b",")
        if status == _SWITCHING or status < _LEAST or version not in ("1.0", "1.1"):
            return f"the server sent {status} of HTTP/{version} in place of a response"
        if self._interim > _MAX_INTERIM or (status < _FINAL and not fields.keys().isdisjoint(_FRAMING)):
            return "the server sent interim responses (1xx) that are too many, or have a body"
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
    """What came of a body, and then why not all of it."""

    def __init__(self, content: bytearray, error: Exception | None) -> None:
        self._content, self._error = bytes(content), error

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part
