"""An HTTP/1.1 client that sends the bytes it is given: a path is not normalised, a header not merged, a body not measured."""

import hmac
import http.client
import io
import json
import re
import socket
import ssl
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import cache
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

from huaweicloud_retry.contract import ErrorCode
from tests.contract.curl import curl

TIMEOUT = 60.0  # seconds; a guard, no rule is about time
PATIENCE = 3.0  # seconds for the first byte of a response
_AT_ONCE = 1 << 14  # bytes, which a socket takes without being read
# What curl writes in its own way.
_OF_CURL = {"host", "content-length", "transfer-encoding", "connection", "expect"}
_SHOWN = 400  # bytes of a text in a curl line; more can be read from the rule
_FIELDS = 20  # header fields in a curl line


class NoResponseError(Exception):
    """The server sent no HTTP response."""


@dataclass(frozen=True)
class Request:
    """What is sent. Header fields are a list, so that one can be sent twice."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    chunks: int = 0
    """Send the body in pieces of so many bytes, without Content-Length; 0: as a whole, or as it is in Transfer-Encoding."""
    version: str = "1.1"

    def with_headers(
        self, headers: Mapping[str, str | None] = MappingProxyType({}), /, **more: Any
    ) -> "Request":
        """Return it with headers replaced (None: taken away), and other fields changed."""
        lower = {name.lower() for name in headers}
        kept = [(name, value) for name, value in self.headers if name.lower() not in lower]
        given = [(name, value) for name, value in headers.items() if value is not None]
        return replace(self, headers=(*kept, *given), **more)

    def curl(self, token: str, secrets: Collection[str] = ()) -> str:
        """Return the line that sends it again."""
        body = self.body if len(self.body) <= _SHOWN else self.body[:_SHOWN] + b" ... "
        headers = {
            n[:_SHOWN]: v if len(v) <= _SHOWN else f"{v[:_SHOWN]}..." for n, v in self.headers[:_FIELDS]
        }
        target = self.target if len(self.target) <= _SHOWN else f"{self.target[:_SHOWN]}..."
        line = curl(self.method, target, headers, body, token=token, secrets=secrets)
        sizes = [len(self.target), len(self.body), *(len(text) for field in self.headers for text in field)]
        is_short = max(sizes) <= _SHOWN and len(self.headers) <= _FIELDS
        if {name.lower().strip() for name, _ in self.headers} & _OF_CURL or self.version != "1.1":
            return f"{line} # curl frames it in its own way: repeat the rule"
        return line if is_short else f"{line} # shortened from {sum(sizes)} bytes"


@dataclass(frozen=True)
class Reply:
    """What came."""

    request: Request
    status: int
    fields: Sequence[tuple[str, str]]
    content: bytes

    @property
    def headers(self) -> dict[str, str]:
        """The header fields, names in lower case, as HTTP joins them."""
        joined: dict[str, str] = {}
        for name, value in self.fields:
            key = name.lower()
            joined[key] = f"{joined[key]}, {value}" if key in joined else value
        return joined

    @property
    def json(self) -> Any:
        """The body; None if it is no JSON."""
        try:
            return json.loads(self.content)
        except ValueError:
            return None

    def get(self, name: str) -> Any:
        """Return a field of the body; None if there is none."""
        value = self.json
        return value.get(name) if isinstance(value, dict) else None


def about_any_response(
    errors: Sequence[ErrorCode], status: int, headers: Mapping[str, str], content: bytes
) -> Iterator[tuple[str, str]]:
    """Say what is wrong with a response, whatever was asked: rule and problem. `errors`: those of its operation."""
    lower = {name.lower(): value for name, value in headers.items()}
    fractions: list[str] = []
    try:
        body: Any = json.loads(content, parse_float=fractions.append)
    except ValueError:
        body = None
    for number in fractions:
        if float(number).is_integer():
            yield "integers_are_written_as_integers", f"{number} is an integer, and not written as one"
    code, id_ = (body.get(name) if isinstance(body, dict) else None for name in ("error_code", "request_id"))
    statuses = {error.status for error in errors if bare(error.code) == bare(str(code))}
    if statuses and status not in statuses:
        wanted = " or ".join(map(str, sorted(statuses)))
        problem = f"error_code {code} comes with status {wanted}, and not {status}"
        yield "an_error_code_comes_with_its_status", problem
    if status == 405 and not lower.get("allow"):
        yield "a_method_that_the_path_has_not_is_refused", "a 405 without Allow"
    if id_ is not None and id_ != lower.get("x-request-id", id_):
        yield "each_response_has_a_request_id_of_its_own", "request_id is not X-Request-Id"
    if "retry-after" in lower and not (lower["retry-after"].isascii() and lower["retry-after"].isdigit()):
        try:
            parsedate_to_datetime(lower["retry-after"])
        except ValueError:
            problem = f"Retry-After is {lower['retry-after']!r}: whole seconds or a date are needed"
            yield "a_throttled_request_says_when_to_come_back", problem


@cache
def bare(code: str) -> str:
    """Return an error code with one prefix for all generations of the gateway."""
    return re.sub(r"^API(G|C)\.", "APIGW.", code)


def authorization(
    key: tuple[str, str], method: str, target: str, covered: Mapping[str, str], date: str, payload: str
) -> str:
    """Return the Authorization header; `key`: access key and secret key, `covered`: headers, names in lower case.

    https://support.huaweicloud.com/intl/en-us/devg-apisign/api-sign-algorithm-002.html, written anew here, so
    that a mistake in signing.py shows.
    """
    path, _, query = target.partition("?")
    pairs = sorted("=".join(map(_encoded, pair.partition("=")[::2])) for pair in query.split("&") if pair)
    names = ";".join(sorted(covered))
    lines = [method, "/".join(map(_encoded, path.split("/"))).removesuffix("/") + "/", "&".join(pairs)]
    lines += [*(f"{name}:{covered[name].strip()}" for name in sorted(covered)), "", names, payload]
    digest = sha256("\n".join(lines).encode()).hexdigest()
    signature = hmac.digest(key[1].encode(), f"SDK-HMAC-SHA256\n{date}\n{digest}".encode(), "sha256").hex()
    return f"SDK-HMAC-SHA256 Access={key[0]}, SignedHeaders={names}, Signature={signature}"


def _encoded(text: str) -> str:
    return quote(unquote(text), safe="~")


def send(url: str, request: Request) -> Reply:
    """Send a request on a connection of its own.

    Raises:
        NoResponseError: there was no whole HTTP response.
    """
    return exchange(url, [request])[0]


def exchange(url: str, requests: Sequence[Request], *, at_once: bool = False) -> list[Reply]:
    """Send requests on one connection, one after the other, until the server closes it; at least one has a response.

    `at_once`: all of them before the first response.

    Raises:
        NoResponseError: there was no whole HTTP response.
    """
    parts, replies, status = urlsplit(url), list[Reply](), ""
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    last = len(requests) - 1
    sent = [_head(each, parts.netloc, at == last) + _framed(each) for at, each in enumerate(requests)]
    if at_once:
        sent = [b"".join(sent), *[b""] * last]
    try:
        with _connected(host, port, parts.scheme) as sock, _Reader(socket.SocketIO(sock, "r")) as reader:
            for at, request in enumerate(requests):
                is_last, status = at == last, ""
                writer = _send(sock, sent[at])
                if replies and not reader.peek(1):
                    break
                response = http.client.HTTPResponse(reader, method=request.method)  # type: ignore[arg-type] # has makefile
                response.begin()
                status = f"status {response.status}, then "
                # http.client takes it for granted that a response to HEAD has no body.
                content = reader.read() if request.method == "HEAD" and is_last else response.read()
                replies.append(Reply(request, response.status, response.getheaders(), content))
                if writer:
                    writer.join(PATIENCE)
                if response.will_close or (writer and writer.is_alive()):  # it reads no more
                    break
    except (OSError, http.client.HTTPException) as error:
        raise NoResponseError(f"{status}{type(error).__name__}: {error}") from error
    return replies


def responds_before_the_body(url: str, request: Request) -> bool:
    """Send the head of a request; say whether any response comes within PATIENCE."""
    parts = urlsplit(url)
    with _connected(parts.hostname or "", parts.port or 80, parts.scheme) as sock:
        _send(sock, _head(request, parts.netloc, is_last=True))
        sock.settimeout(PATIENCE)
        try:
            return sock.recv(4) == b"HTTP"
        except TimeoutError:
            return False


class _Reader(io.BufferedReader):
    """All bytes of a connection. http.client closes what it reads a response from, and would lose what is behind it."""

    def makefile(self, _mode: str) -> Self:
        return self

    def close(self) -> None:
        pass


def _head(request: Request, host: str, is_last: bool) -> bytes:
    named = {name.lower() for name, _ in request.headers}
    lines = [f"{request.method} {request.target} HTTP/{request.version}"]
    lines += [] if "host" in named else [f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    if request.chunks:
        lines.append("Transfer-Encoding: chunked")
    elif not named & {"content-length", "transfer-encoding"} and (
        request.body or request.method in {"POST", "PUT", "PATCH"}
    ):
        lines.append(f"Content-Length: {len(request.body)}")
    lines += ["Connection: close"] if is_last else []
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def _send(sock: socket.socket, data: bytes) -> threading.Thread | None:
    """Send; much of it aside, since a server may refuse before it has read all, and is read while it is written to."""
    if len(data) < _AT_ONCE:
        _write(sock, data)
        return None
    writer = threading.Thread(target=_write, args=(sock, data), daemon=True)
    writer.start()
    return writer


def _connected(host: str, port: int, scheme: str) -> socket.socket:
    sock = socket.create_connection((host, port), timeout=TIMEOUT)
    return ssl.create_default_context().wrap_socket(sock, server_hostname=host) if scheme == "https" else sock


def _write(sock: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # refused before it was read; the response says why
        sock.sendall(data)


def _framed(request: Request) -> bytes:
    if not request.chunks:
        return request.body
    pieces = [request.body[at : at + request.chunks] for at in range(0, len(request.body), request.chunks)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
