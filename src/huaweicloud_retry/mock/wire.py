"""HTTP/1.1 on httptools, with size and time limits, and faults that no HTTP server has.

Connections   all connections of a server, and their shared limits
Connection    passes requests to the application, one at a time, and sends the responses
Parser        bytes -> requests
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from time import monotonic
from typing import TypeAlias

import httptools

from huaweicloud_retry.contract import Contract

from . import gateway
from .request import MockRequest
from .response import Encoded, Refusal

MAX_CONNECTIONS = 512
MAX_FIELDS = 1000  # headers of a request: many small ones take far more memory than their bytes
MAX_HELD = 48 * 1024 * 1024  # bytes of all bodies that are being received
# Bytes of a body that do not count, so that large bodies never block small ones; also the size of a write.
_SMALL = 64 * 1024
PIECE = 4096  # bytes of a read: many pipelined requests take far more memory than their bytes
_IDLE = 75.0  # seconds; clients close idle connections earlier, so they never use a closed one
_LINGER = 1.0  # seconds for the caller to read an early response
_PHRASES = {status.value: status.phrase for status in HTTPStatus}

logger = logging.getLogger("huaweicloud_retry.mock")

Pause: TypeAlias = Callable[[float], Awaitable[bool]]
"""Waits for some seconds, or until the caller closes the connection; returns whether it did."""
Application: TypeAlias = Callable[[MockRequest, Pause], Awaitable[Encoded]]


class Connections:
    """All connections of a server. `timeout`: seconds to receive a request, and to send its response."""

    def __init__(self, app: Application, timeout: float, contract: Contract) -> None:
        self.app, self.timeout, self.contract = app, timeout, contract
        self.limits = contract.limits
        # Bytes of request line and headers, or of a body's framing.
        self.max_unparsed = self.limits.uri + self.limits.headers + 4 * MAX_FIELDS
        self.open: dict[asyncio.Task[None] | None, Connection] = {}
        self.held = 0  # bytes of large bodies that are being received

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection to its end."""
        await Connection(self, reader, writer).serve()

    async def stop(self, grace: float) -> None:
        """Close all connections; open requests have `grace` seconds to finish."""
        for task, connection in self.open.items():
            if task and not connection.busy:
                task.cancel()
        for seconds in grace, None:
            if tasks := [task for task in self.open if task]:
                _, late = await asyncio.wait(tasks, timeout=seconds)
                for task in late:
                    task.cancel()


class Connection:
    """One connection."""

    def __init__(self, all_: Connections, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._all, self._reader, self._writer = all_, reader, writer
        self._parser = Parser(all_, writer.get_extra_info("sockname")[0])
        self._later = b""  # bytes received while a request was processed
        self.busy = False  # a request is being processed

    async def serve(self) -> None:
        task = asyncio.current_task()
        self._all.open[task] = self
        try:
            if len(self._all.open) > MAX_CONNECTIONS:
                await self._turn_away(Refusal("MOCK.503", f"The mock accepts {MAX_CONNECTIONS} connections."))
            else:
                await self._serve_requests()
            self._writer.close()
            async with asyncio.timeout(self._all.timeout):
                await self._writer.wait_closed()
        except (OSError, asyncio.CancelledError):
            pass  # the caller closed the connection or does not read, or the server stops
        except Exception:
            logger.exception("internal error")
        finally:
            del self._all.open[task]
            self._parser.release()
            self._writer.transport.abort()
            with suppress(OSError, asyncio.CancelledError):
                await self._writer.wait_closed()  # or asyncio may log an unretrieved exception

    async def _serve_requests(self) -> None:
        while request := await self._next():
            self.busy = True
            response = await self._all.app(request, self._pause)
            async with asyncio.timeout(self._all.timeout + response.seconds):
                await self._send(request, response)
            self.busy = False
            self._parser.responded()
            if self._parser.queue:
                await asyncio.sleep(0)  # let the other connections run
            if not request.keep_alive or response.how not in {"whole", "drip"}:
                return

    async def _next(self) -> MockRequest | None:
        parser, idle = self._parser, monotonic() + _IDLE
        while not parser.queue:
            if parser.refusal:
                await self._turn_away(parser.refusal)
                return None
            if parser.expects_100:
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
                parser.expects_100 = False
            end = parser.begun + self._all.timeout if parser.begun else idle
            data, self._later = self._later, b""
            try:
                async with asyncio.timeout(end - monotonic()):
                    data = data or await self._reader.read(PIECE)
            except TimeoutError:
                what = f"The request was not complete within {self._all.timeout:g} seconds."
                if parser.begun:
                    await self._turn_away(Refusal("MOCK.408", what))
                return None
            if not data:
                return None
            parser.feed(data)
        return parser.queue.popleft()

    async def _turn_away(self, refusal: Refusal) -> None:
        """Refuse to read more, and give the caller time to read the response."""
        logger.info("%s", refusal)
        request = MockRequest("", "")
        request.keep_alive = False
        self._parser.release()
        await self._send(request, refusal.response(request.id, self._all.contract).encoded(request.id))
        self._writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while await self._reader.read(PIECE):
                    pass

    async def _pause(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while len(self._later) < PIECE:
                    if not (data := await self._reader.read(PIECE)):
                        return True
                    self._later += data
                await asyncio.sleep(seconds)
        except OSError as error:
            return not isinstance(error, TimeoutError)
        return True

    async def _send(self, request: MockRequest, response: Encoded) -> None:
        head, content = _head(request, response), b"" if request.method == "HEAD" else response.content
        if response.how == "drip":
            self._write(head)
            for byte in content:
                if await self._pause(response.seconds / len(content)):
                    raise ConnectionResetError
                self._write(bytes((byte,)))
        elif response.how != "nothing":
            end = len(content) // 2 if response.how == "truncated" else len(content)
            self._write((b"" if response.how == "bare" else head) + content[: min(end, _SMALL)])
            for begin in range(_SMALL, end, _SMALL):
                await self._writer.drain()
                await asyncio.sleep(0)  # let the other connections run
                self._write(content[begin : min(end, begin + _SMALL)])
        await self._writer.drain()

    def _write(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(data)


def _head(request: MockRequest, response: Encoded) -> bytes:
    status = response.status
    headers = {"date": formatdate(usegmt=True), **response.headers}
    lines = [
        f"HTTP/1.1 {status} {_PHRASES.get(status, '')}",
        *(f"{name.lower()}: {value}" for name, value in headers.items()),
    ]
    if status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
        lines.append(f"content-length: {len(response.content)}")
    if not request.keep_alive:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Parser:
    """Bytes -> requests, with the callbacks of httptools."""

    def __init__(self, all_: Connections, address: str) -> None:
        self._all, self._address = all_, address.removeprefix("::ffff:")
        self._http = httptools.HttpRequestParser(self)
        self._unparsed = 0  # bytes since the last progress
        self._held = 0  # bytes counted in Connections.held
        self._request: MockRequest | None = None  # being received; its headers are complete
        self._url, self._fields, self._body = b"", list[tuple[bytes, bytes]](), bytearray()
        self.queue: deque[MockRequest] = deque()
        self.refusal: Refusal | None = None  # why nothing more can be read
        self.begun = 0.0  # when the first byte of the current request arrived
        self.expects_100 = False

    def feed(self, data: bytes) -> None:
        self._unparsed += len(data)
        while data:
            try:
                self._http.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade(data[upgrade.args[0] :])
            except httptools.HttpParserError:
                data, self.refusal = b"", Refusal("malformed", "Bad request: Invalid HTTP request received.")
        if self._unparsed > self._all.max_unparsed:
            self.refusal = gateway.too_large_headers(self._all.limits)

    def _without_upgrade(self, rest: bytes) -> bytes:
        """Return the request without its Upgrade header, at which httptools stops after the headers."""
        method, version = self._http.get_method(), self._http.get_http_version().encode()
        if method == b"CONNECT":
            self.refusal = Refusal("malformed", "Bad request: this is not a proxy.")
            return b""
        lines = [b"%b %b HTTP/%b" % (method, self._url, version)]
        lines += [b": ".join(field) for field in self._fields if field[0].lower() != b"upgrade"]
        self._http = httptools.HttpRequestParser(self)
        return b"\r\n".join([*lines, b"", rest])

    def responded(self) -> None:
        """Start the timeout of the next request."""
        if self.begun:
            self.begun = monotonic()
        else:
            self.release()

    def release(self) -> None:
        self._all.held -= self._held
        self._held = 0

    def on_message_begin(self) -> None:
        self.begun, self._unparsed, self._request = monotonic(), 0, None
        self._url, self._fields, self._body = b"", [], bytearray()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._request is None and len(self._fields) <= MAX_FIELDS:  # trailers are ignored
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        if self._http.should_upgrade():
            return
        self._unparsed = 0
        self._request = request = MockRequest(
            self._http.get_method().decode(), _target(self._url), self._fields
        )
        request.address = self._address
        request.keep_alive = self._http.get_http_version() != "1.0" and self._http.should_keep_alive()
        if len(self._fields) > MAX_FIELDS:
            self._drop(gateway.too_large_headers(self._all.limits))
        elif int(request.headers.get("content-length", "0")) > self._all.limits.body:
            self._drop(gateway.too_large_body(self._all.limits))
        else:
            expects_100 = request.headers.get("expect", "").lower() == "100-continue"
            self.expects_100 = expects_100 and self._http.get_http_version() != "1.0"
        self._fields = []  # free the memory: the request has a copy

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        if self._request is None or self._request.refusal:
            return
        self._body += body
        counted = max(0, len(self._body) - _SMALL)
        self._all.held += counted - self._held
        self._held = counted
        if len(self._body) > self._all.limits.body:
            self._drop(gateway.too_large_body(self._all.limits))
        elif counted and self._all.held > MAX_HELD:
            self._drop(
                Refusal("MOCK.503", f"All bodies that are being received may have {MAX_HELD} bytes together.")
            )

    def _drop(self, refusal: Refusal) -> None:
        """Refuse the request at once; its remaining bytes are read and dropped."""
        if self._request:
            self._request.refusal = refusal
            self.queue.append(self._request)
        self._body = bytearray()
        self.release()

    def on_message_complete(self) -> None:
        if self._request is None:  # an upgrade
            return
        self.begun, self._unparsed, self.expects_100 = 0.0, 0, False
        if not self._request.refusal:
            self._request.body, self._body = bytes(self._body), bytearray()
            self.queue.append(self._request)


def _target(url: bytes) -> str:
    """Return path and query. A request to a proxy also has scheme and host."""
    if not url.startswith(b"/") and url != b"*":
        parsed = httptools.parse_url(url)
        url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
    return url.partition(b"#")[0].decode("ascii")
