"""Thousands of calls against a server that breaks HTTP in every way we know: each call reports what happened.

The server chooses a fault by the engine ID, and logs each request that it received. Afterwards, the judge compares
this log with what the calls reported.

    FAULTS     name -> what is sent, and what this says about the request
    Server     receives, logs and responds; one thread for each connection
    problems   the rules
    play       makes the calls, sync or async, in waves; between two waves, no call is in progress
"""

import asyncio
import gzip
import json
import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import count, islice, takewhile
from pathlib import Path
from random import Random
from typing import BinaryIO, Final, Literal, Self, TypeAlias

import httpx
import pytest
import uvloop

from huaweicloud_retry import Resend, TokenAuth, connect
from huaweicloud_retry_client import APIConnectionError, APIError, Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest, EngineActionResponse

CALLS: Final = 560  # of each of the nine modes
WAVES: Final = 4
LIMIT: Final = 30.0  # seconds, so long that no slow machine reaches it
SHORT_LIMIT: Final = 0.05  # seconds, for the faults that can end only in a timeout
FLOOD: Final = 1 << 24  # bytes; a client has to stop reading long before
DRIPS: Final = 250  # of 20 ms: a hundred times SHORT_LIMIT
GIVE_UP: Final = 60.0  # seconds until a test that would wait forever fails

Reply: TypeAlias = Callable[[bytes], bytes]
Verdict: TypeAlias = Literal["accepted", "refused", "throttled", "unknown"]
End: TypeAlias = Literal["keep", "close", "reset"]
Outcome: TypeAlias = EngineActionResponse | BaseException


@dataclass(frozen=True)
class Fault:
    """What the server does with one request.

    Attributes:
        verdict: What the response says about the request.
        reply: Makes the response from the body of a good one.
        end: What happens to the connection after the response.
        lenient: The client may also report an unknown outcome.
        reuse: The client may send another request on this connection.
        silent: The client can only time out.
        piece: Bytes to send at a time; 0: all.
        pause: Seconds between two pieces.
        endless: Sent again and again, after the response.
        early: The response is sent before the body of the request is read.
        late: Sent while the connection is idle, and only then `end`.
        elsewhere: The whole response is sent while another connection is idle, and on that one.
        again: The fault for a request that is sent again.
    """

    verdict: Verdict
    reply: Reply
    end: End = "keep"
    lenient: bool = False
    reuse: bool = False
    silent: bool = False
    piece: int = 0
    pause: float = 0.0
    endless: bytes = b""
    early: bool = False
    late: bytes | None = None
    elsewhere: bool = False
    again: str = ""


def head(status: int, *headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"HTTP/{version} {status} Reason", *headers, "", ""]).encode()


def sized(status: int, body: bytes = b"", *headers: str, version: str = "1.1") -> bytes:
    return head(status, f"Content-Length: {len(body)}", *headers, version=version) + body


CHUNKED: Final = head(200, "Transfer-Encoding: chunked")


def chunked(body: bytes, size: str = "{:x}", last: bytes = b"0\r\n\r\n") -> bytes:
    chunks = (size.format(len(data)).encode() + b"\r\n" + data + b"\r\n" for data in (body[:9], body[9:]))
    return CHUNKED + b"".join(chunks) + last


@cache
def bomb() -> bytes:
    return gzip.compress(bytes(1 << 25), compresslevel=1)


GZIP: Final = "Content-Encoding: gzip"
CLOSE: Final = "Connection: close"
OTHER: Final = sized(200, b'{"id": "another", "name": "e", "jobId": 1}')  # the response to a request of somebody else
THROTTLED: Final = sized(429, b"{}", "Retry-After: 0")
HINTS: Final = head(103, "Link: </style.css>")
TRAILERS: Final = b"0\r\nX-Trailer: 1\r\nX-Other: 2\r\n\r\n"

ok: Final = partial(sized, 200)


def with_lengths(*lengths: str) -> Reply:
    """Return a response with these values of Content-Length; N is the right one."""

    def reply(body: bytes) -> bytes:
        return head(200, *(f"Content-Length: {each.replace('N', str(len(body)))}" for each in lengths)) + body

    return reply


def always(response: bytes) -> Reply:
    return lambda body: response


def up_to(cut: Callable[[bytes], int], whole: Reply) -> Reply:
    return lambda body: whole(body)[: cut(whole(body))]


SOUND: Final = {
    "good": Fault("accepted", ok, reuse=True),
    "slow": Fault("accepted", ok, reuse=True, piece=40, pause=0.002),
    "byte-by-byte": Fault("accepted", ok, reuse=True, piece=1),
    "early": Fault("accepted", ok, reuse=True, early=True),
    "close-announced": Fault("accepted", lambda body: ok(body, CLOSE), "close"),
    "close-announced-but-kept": Fault("accepted", lambda body: ok(body, CLOSE)),
    "close-unannounced": Fault("accepted", ok, "close"),
    "close-while-idle": Fault("accepted", ok, "close", late=b""),
    "reset-after-all": Fault("accepted", ok, "reset", lenient=True),
    "http-1.0": Fault("accepted", lambda body: ok(body, version="1.0"), "close"),
    "http-1.0-kept": Fault("accepted", lambda body: ok(body, version="1.0")),
    "http-1.0-keep-alive": Fault("accepted", lambda body: ok(body, "Connection: keep-alive", version="1.0"), reuse=True),
    "until-close": Fault("accepted", lambda body: head(200) + body, "close"),
    "http-1.0-until-close": Fault("accepted", lambda body: head(200, version="1.0") + body, "close"),
    "chunked": Fault("accepted", chunked, reuse=True),
    "chunked-byte-by-byte": Fault("accepted", chunked, reuse=True, piece=1),
    "chunk-extensions": Fault("accepted", lambda body: chunked(body, '{:X};a=b;c="d"'), reuse=True),
    "chunk-trailers": Fault("accepted", lambda body: chunked(body, last=TRAILERS), reuse=True),
    "continue": Fault("accepted", lambda body: head(100) + ok(body), reuse=True),
    "several-1xx": Fault("accepted", lambda body: head(100) + HINTS * 3 + head(102) + ok(body), reuse=True),
    "1xx-by-bytes": Fault("accepted", lambda body: HINTS + ok(body), reuse=True, piece=1),
    "thousands-of-1xx": Fault("accepted", lambda body: HINTS * 5000 + ok(body), lenient=True, reuse=True),
    "gzip": Fault("accepted", lambda body: ok(gzip.compress(body), GZIP), lenient=True, reuse=True),
    "equal-lengths": Fault("accepted", with_lengths("N", "N"), lenient=True, reuse=True),
    "list-of-equal-lengths": Fault("accepted", with_lengths("N, N"), lenient=True, reuse=True),
}  # fmt: skip


def behind(stray: bytes, whole: Reply = ok, end: End = "keep") -> Fault:
    return Fault("accepted", lambda body: whole(body) + stray, end, lenient=True)


STRAYS: Final = {
    "stray-200": behind(OTHER),
    "stray-429": behind(THROTTLED),
    "stray-400": behind(sized(400)),
    "stray-408-and-close": behind(sized(408, b"", CLOSE), end="close"),
    "stray-half-a-head": behind(OTHER[:20]),
    "stray-line": behind(b"\r\n"),
    "stray-byte": behind(b"H"),
    "stray-spaces": behind(b"   "),
    "stray-behind-chunks": behind(OTHER, chunked),
    "stray-behind-chunks-400": behind(sized(400), chunked),
    "stray-behind-1xx": behind(OTHER, lambda body: HINTS + ok(body)),
    "stray-continue": behind(head(100)),
    "stray-behind-400": Fault("refused", lambda body: sized(400) + OTHER, lenient=True),
    "stray-behind-429": Fault("throttled", lambda body: THROTTLED + OTHER, lenient=True, again="good"),
    "stray-400-behind-429": Fault("throttled", lambda body: THROTTLED + sized(400), lenient=True, again="close-at-once"),
    "stray-behind-500": Fault("unknown", lambda body: sized(500) + OTHER),
    "late-200": Fault("accepted", ok, late=OTHER),
    "late-429": Fault("accepted", ok, late=THROTTLED),
    "late-400": Fault("accepted", chunked, late=sized(400)),
    "late-408-and-close": Fault("accepted", ok, "close", late=sized(408, b"", CLOSE)),
    "late-byte": Fault("accepted", ok, late=b"\n"),
    "late-behind-400": Fault("refused", always(sized(400, b"{}")), late=OTHER),
    "elsewhere": Fault("unknown", ok, silent=True, elsewhere=True),
}

# Where the response is cut off.
CUTS: Final[Mapping[str, Callable[[bytes], int]]] = {
    "at-once": lambda response: 0,
    "in-the-status-line": lambda response: 7,
    "after-the-status-line": lambda response: response.index(b"\r\n") + 2,
    "in-the-head": lambda response: response.index(b"\r\n\r\n") - 3,
    "after-the-head": lambda response: response.index(b"\r\n\r\n") + 4,
    "in-the-body": lambda response: len(response) - 9,
    "before-the-last-byte": lambda response: len(response) - 1,
}
CHUNK_CUTS: Final[Mapping[str, Callable[[bytes], int]]] = {
    "in-a-chunk-size": lambda response: len(CHUNKED) + 1,
    "in-a-chunk": lambda response: len(CHUNKED) + 6,
    "before-the-last-chunk": lambda response: len(response) - len("0\r\n\r\n"),
    "in-the-last-chunk": lambda response: len(response) - len("\r\n"),
}
ENDS: Final[Mapping[str, End]] = {"close": "close", "reset": "reset", "silence": "keep"}
CUT_OFF: Final = {
    f"{name}-{where}": Fault("unknown", up_to(cut, whole), end, silent=name == "silence")
    for whole, cuts in ((ok, CUTS), (chunked, CHUNK_CUTS))
    for where, cut in cuts.items()
    for name, end in ENDS.items()
} | {
    "close-in-400": Fault("refused", up_to(CUTS["in-the-body"], always(sized(400, bytes(20)))), "close", lenient=True),
    "reset-in-503": Fault("refused", up_to(CUTS["in-the-body"], always(sized(503, bytes(20)))), "reset", lenient=True),
    "silence-in-404": Fault("refused", always(head(404, "Content-Length: 9")), lenient=True, silent=True),
    "close-in-500": Fault("unknown", always(head(500, "Content-Length: 9")), "close"),
    "reset-until-close": Fault("unknown", lambda body: head(200) + body[:9], "reset"),
    "close-until-close": Fault("unknown", lambda body: head(200) + body[:-1], "close"),
    "early-400-and-reset": Fault("refused", always(sized(400)), "reset", lenient=True, early=True),
    "close-after-1xx": Fault("unknown", always(head(100)), "close"),
    "silence-after-1xx": Fault("unknown", always(HINTS), silent=True),
}  # fmt: skip

FRAMING: Final = {
    "short-length": Fault("unknown", with_lengths("20")),
    "length-of-none": Fault("unknown", with_lengths("0")),
    "long-length-and-close": Fault("unknown", with_lengths("1N"), "close"),
    "long-length-and-silence": Fault("unknown", with_lengths("1N"), silent=True),
    "different-lengths": Fault("unknown", with_lengths("N", "20")),
    "different-lengths-reversed": Fault("unknown", with_lengths("20", "N")),
    "list-of-different-lengths": Fault("unknown", with_lengths("N, 20")),
    "negative-length": Fault("unknown", with_lengths("-N")),
    "length-with-plus": Fault("unknown", with_lengths("+N")),
    "hexadecimal-length": Fault("unknown", with_lengths("0xN")),
    "length-in-words": Fault("unknown", with_lengths("many")),
    "huge-length": Fault("unknown", with_lengths("N" + "0" * 30)),
    "length-and-chunks": Fault(
        "accepted", lambda body: chunked(body).replace(b"\r\n", b"\r\nContent-Length: 5\r\n", 1), lenient=True
    ),
    "different-lengths-of-400": Fault("refused", always(head(400, "Content-Length: 0", "Content-Length: 2")), lenient=True),
    "chunk-size-in-words": Fault("unknown", lambda body: chunked(body, "many")),
    "chunk-size-negative": Fault("unknown", lambda body: chunked(body, "-{:x}")),
    "chunk-size-with-prefix": Fault("unknown", lambda body: chunked(body, "0x{:x}")),
    "chunk-size-huge": Fault("unknown", lambda body: chunked(body, "{:x}" + "f" * 30)),
    "chunk-size-missing": Fault("unknown", lambda body: chunked(body, "")),
    "chunk-size-short": Fault("unknown", lambda body: chunked(body, "1")),
    "204-with-length": Fault("unknown", lambda body: sized(204, body)),
    "204-and-stray": Fault("unknown", always(head(204) + OTHER)),
    "204-chunked": Fault("unknown", always(head(204, "Transfer-Encoding: chunked") + b"0\r\n\r\n")),
    "205-with-body": Fault("unknown", lambda body: sized(205, body), reuse=True),
    "304-with-length": Fault("unknown", always(head(304, f"Content-Length: {len(OTHER)}") + OTHER)),
    "304-and-stray": Fault("unknown", always(head(304) + OTHER)),
    "switching-protocols": Fault("unknown", always(head(101, "Upgrade: h2c", "Connection: Upgrade"))),
    "switching-protocols-and-200": Fault("unknown", lambda body: head(101, "Upgrade: h2c") + ok(body)),
    "http-0.9": Fault("unknown", lambda body: body, "close"),
    "html-without-head": Fault("unknown", always(b"<html><body>It works!</body></html>\r\n\r\n"), "close"),
    "http-2": Fault("unknown", always(bytes.fromhex("000006040000000000000300000064"))),
    "http-2-preface": Fault("unknown", always(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
    "tls-alert": Fault("unknown", always(b"\x15\x03\x01\x00\x02\x02\x28"), "close"),
    "status-in-words": Fault("unknown", lambda body: ok(body).replace(b"200", b"2OO", 1)),
    "status-of-two-digits": Fault("unknown", lambda body: ok(body).replace(b"200", b"20", 1)),
    "status-of-four-digits": Fault("unknown", lambda body: ok(body).replace(b"200", b"2000", 1)),
}  # fmt: skip

FLOODS: Final = {
    "endless-status-line": Fault("unknown", always(b"HTTP/1.1 200 "), endless=b"a" * 4096),
    "endless-header": Fault("unknown", always(b"HTTP/1.1 200 OK\r\nX-A: "), endless=b"a" * 4096),
    "endless-headers": Fault("unknown", always(b"HTTP/1.1 200 OK\r\n"), endless=b"X-A: a\r\n" * 512),
    "endless-1xx": Fault("unknown", always(b""), endless=HINTS * 100),
    "endless-body": Fault("unknown", always(head(200, f"Content-Length: {10**15}")), endless=b" " * 65536),
    "endless-until-close": Fault("unknown", always(head(200)), endless=b" " * 65536),
    "endless-chunks": Fault("unknown", always(CHUNKED), endless=b"400\r\n" + b" " * 1024 + b"\r\n"),
    "endless-chunk-size": Fault("unknown", always(CHUNKED), endless=b"0" * 4096),
    "endless-chunk-extension": Fault("unknown", always(CHUNKED + b"1;"), endless=b"a" * 4096),
    "endless-trailers": Fault("unknown", lambda body: chunked(body, last=b"0\r\n"), endless=b"X-A: a\r\n" * 512),
    "endless-trailer": Fault("unknown", lambda body: chunked(body, last=b"0\r\nX-A: "), endless=b"a" * 4096),
    "endless-body-of-400": Fault("refused", always(head(400)), lenient=True, endless=b" " * 65536),
    "endless-noise": Fault("unknown", always(b"\0"), endless=b"\0" * 65536),
    "header-of-70-kb": Fault("unknown", lambda body: ok(body, "X-A: " + "a" * 70_000)),
    "drip-of-a-header": Fault(
        "unknown", always(b"HTTP/1.1 200 OK\r\nX-A: "), endless=b"a", pause=0.02, silent=True
    ),
    "drip-of-a-body": Fault(
        "unknown", always(head(200, "Content-Length: 999999")), endless=b" ", pause=0.02, silent=True
    ),
    "drip-of-1xx": Fault("unknown", always(b""), endless=HINTS, pause=0.02, silent=True),
}  # fmt: skip

BODIES: Final = {
    f"body-{name}": Fault("unknown", always(sized(200, body, *headers)), reuse=True)
    for name, body, headers in (
        ("empty", b"", ()),
        ("html", b"<html>Log in first</html>", ()),
        ("list", b"[]", ()),
        ("without-job", b'{"id": "e", "name": "e"}', ()),
        ("job-as-text", b'{"id": "e", "name": "e", "jobId": "1"}', ()),
        ("job-as-bool", b'{"id": "e", "name": "e", "jobId": true}', ()),
        ("null-id", b'{"id": null, "name": "e", "jobId": 1}', ()),
        ("nested", b"[" * 100_000, ()),
        ("not-utf-8", b'{"id": "\xff", "name": "e", "jobId": 1}', ()),
        ("broken-gzip", b'{"id": "e", "name": "e", "jobId": 1}', (GZIP,)),
        ("brotli", b'{"id": "e", "name": "e", "jobId": 1}', ("Content-Encoding: br",)),
    )
} | {
    "gzip-cut-off": Fault("unknown", lambda body: ok(gzip.compress(body)[:-12], GZIP), reuse=True),
    "gzip-bomb": Fault("unknown", lambda body: ok(bomb(), GZIP), reuse=True),
    "broken-gzip-of-400": Fault("refused", always(sized(400, b"{}", GZIP)), reuse=True),
}

def status(code: int) -> Reply:
    return always(sized(code, b'{"error_msg": "m"}', "Location: /elsewhere"))


REFUSED: Final = (400, 401, 403, 404, 405, 409, 413, 422, 494, 501, 503, 505)
UNKNOWN: Final = (201, 202, 206, 300, 302, 307, 308, 499, 500, 502, 504, 506, 561, 599)
STATUSES: Final = {
    **{f"status-{code}": Fault("refused", status(code), reuse=True) for code in REFUSED},
    **{f"status-{code}": Fault("unknown", status(code), reuse=True) for code in UNKNOWN},
    "status-204": Fault("unknown", always(head(204)), reuse=True),
    "status-400-until-close": Fault("refused", always(head(400) + b"{}"), "close"),
    "status-503-chunked": Fault("refused", lambda body: chunked(body).replace(b"200", b"503", 1), reuse=True),
    "status-400-after-1xx": Fault("refused", always(HINTS + sized(400)), reuse=True),
    "429-always": Fault("throttled", always(THROTTLED), reuse=True),
    "429-once": Fault("throttled", always(THROTTLED), reuse=True, again="good"),
    "429-without-retry-after": Fault("throttled", always(sized(429)), reuse=True, again="good"),
    "429-and-close": Fault("throttled", always(sized(429, b"{}", CLOSE)), "close", again="good"),
    "429-kept": Fault("throttled", always(sized(429, b"{}", CLOSE)), again="status-400"),
    "429-and-then-lost": Fault("throttled", always(THROTTLED), reuse=True, again="close-at-once"),
    "429-and-then-cut-off": Fault("throttled", always(THROTTLED), reuse=True, again="reset-in-the-body"),
    "429-cut-off": Fault("throttled", always(head(429, "Content-Length: 9")), "close", lenient=True, again="good"),
}

FAULTS: Final[Mapping[str, Fault]] = {
    **SOUND, **STRAYS, **CUT_OFF, **FRAMING, **FLOODS, **BODIES, **STATUSES
}  # fmt: skip
SHARES: Final = [15.0 if name == "good" else 0.1 if fault.silent else 1.0 for name, fault in FAULTS.items()]


@cache
def fault_of(engine_id: str) -> str:
    return Random(engine_id).choices(list(FAULTS), SHARES)[0]


def engines_with(fault: str, prefix: str = "engine") -> Iterator[str]:
    return (engine_id for engine_id in (f"{prefix}-{n}" for n in count()) if fault_of(engine_id) == fault)


def job_of(engine_id: str) -> int:
    return zlib.crc32(engine_id.encode()) & 0x7FFFFFFF


class Connection:
    """A connection of the server, and its thread.

    Attributes:
        busy: The fault in progress.
        spoilt: The fault after which the client must not use this connection again.
    """

    def __init__(self, server: "Server", sock: socket.socket) -> None:
        self.busy = self.spoilt = ""
        self.socket = sock
        self._server = server
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        try:
            with suppress(OSError), self.socket, self.socket.makefile("rb") as stream:  # OSError: the client left
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while self._serve_one(stream):
                    self._server.set_busy(self, "")
        finally:
            self._server.remove(self)

    def _serve_one(self, stream: BinaryIO) -> bool:
        """Receive a request and respond. Returns whether the connection stays open."""
        request = b"\n".join(iter(lambda: stream.readline().strip(), b""))
        if not request:
            return False
        if self.spoilt:
            self._server.complain(f"{self.spoilt}: another request came on its connection")
        found = re.match(rb"(?is)PUT /v2/p/enginemgr/engines/([\w.-]+)/actions .*\ncontent-length: (\d+)\b", request)
        assert found, request
        engine_id, length = found[1].decode(), int(found[2])
        name = self._server.fault_for(engine_id)
        fault = FAULTS[name]
        self._server.set_busy(self, name)
        if fault.early:
            self._respond(name, engine_id)
        if len(stream.read(length)) == length:
            self._server.add(engine_id, name)
        if not fault.early:
            self._respond(name, engine_id)
        if fault.end == "reset":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return fault.end == "keep" or fault.late is not None

    def _respond(self, name: str, engine_id: str) -> None:
        fault = FAULTS[name]
        reply = fault.reply(json.dumps({"id": engine_id, "name": "e", "jobId": job_of(engine_id)}).encode())
        if fault.late is not None:
            self._server.send_later(self, name, fault.late)
        elif fault.elsewhere:
            self._server.send_later(self, name, reply)
            return
        elif not fault.reuse:
            self.spoilt = name
        step = fault.piece or len(reply) or 1
        self._send((reply[start : start + step] for start in range(0, len(reply), step)), fault.pause)
        if fault.endless:
            times = DRIPS if fault.pause else FLOOD // len(fault.endless)
            self._send((fault.endless for _ in range(times)), fault.pause)
            self._server.complain(f"{name}: the client read on and on")

    def _send(self, parts: Iterable[bytes], pause: float) -> None:
        for part in parts:
            self.socket.sendall(part)
            if pause:
                self._wait(pause)

    def _wait(self, seconds: float) -> None:
        """Wait, unless the client closes the connection."""
        self.socket.settimeout(seconds)
        with suppress(TimeoutError):
            if not self.socket.recv(1, socket.MSG_PEEK):
                raise ConnectionAbortedError
        self.socket.settimeout(None)


class Server:
    """A server on the loopback interface. To leave the `with` block, close the client first.

    Attributes:
        log: The fault that each request met, by engine ID.
        complaints: What a client must not do, whatever it reports.
    """

    def __init__(self) -> None:
        self.log: dict[str, list[str]] = {}
        self.complaints: list[str] = []
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._open: list[Connection] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._late: list[tuple[Connection, str, bytes]] = []
        self._stopping = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        socket.create_connection(self._listener.getsockname()).close()  # wakes accept()
        self._threads[0].join()
        with self._changed:
            if not self._changed.wait_for(lambda: not self._open, GIVE_UP):
                self.complain(f"the client left connections open: {len(self._open)}")
        for connection in self._open[:]:
            connection.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self._stopping:
                sock.close()
                return
            with self._changed:
                connection = Connection(self, sock)
                self._open.append(connection)
                self._threads.append(connection.thread)

    def fault_for(self, engine_id: str) -> str:
        name = fault_of(engine_id)
        return FAULTS[name].again or name if engine_id in self.log else name

    def add(self, engine_id: str, name: str) -> None:
        with self._changed:
            self.log.setdefault(engine_id, []).append(name)

    def complain(self, text: str) -> None:
        self.complaints.append(text)

    def set_busy(self, connection: Connection, name: str) -> None:
        with self._changed:
            connection.busy = name
            self._changed.notify_all()

    def remove(self, connection: Connection) -> None:
        with self._changed:
            self._open.remove(connection)
            self._changed.notify_all()

    def send_later(self, connection: Connection, name: str, data: bytes) -> None:
        with self._changed:
            self._late.append((connection, name, data))

    def settle(self) -> None:
        """Wait until each response has been sent and each connection that had to be closed is closed."""
        with self._changed:
            done = self._changed.wait_for(lambda: not any(each.busy for each in self._open), GIVE_UP)
            assert done, f"in progress without end: {[each.busy for each in self._open]}"

    def send_late(self) -> None:
        """Send what is due on an idle connection. Only while no call is in progress!

        Bytes that come while the next request is on its way look like its response. No client of HTTP/1.1 can tell
        them apart, so that a test of it would prove nothing. On the loopback interface, bytes arrive before send() returns.
        """
        with self._changed:
            due, self._late = self._late, []
            for own, name, data in due:
                fault = FAULTS[name]
                idle = [each for each in self._open if not each.spoilt and (each is own) != fault.elsewhere]
                if fault.elsewhere and not idle:
                    self._late.append((own, name, data))
                for connection in idle[:1]:
                    connection.spoilt = name
                    with suppress(OSError):  # the client has closed it
                        connection.socket.sendall(data)
                        if fault.end == "close":
                            connection.socket.shutdown(socket.SHUT_WR)


def reported(outcome: Outcome) -> str:
    if isinstance(outcome, EngineActionResponse):
        return "accepted"
    if isinstance(outcome, APIError):
        return "unknown" if outcome.outcome_unknown else "refused"
    return "an internal error"


def problems(engine_id: str, outcome: Outcome, received: Sequence[str], *, alone: bool) -> Iterator[str]:
    """Compare what a call reported with the faults that its requests met; `alone`: no other call was in progress."""
    if any(FAULTS[name].verdict != "throttled" for name in received[:-1]):
        yield "was sent again after a response other than 429"
    if isinstance(outcome, asyncio.CancelledError):
        return
    if received:
        last = FAULTS[received[-1]]
        truth = "refused" if last.verdict == "throttled" else last.verdict
        allowed = {truth, "unknown"} if last.lenient else {truth}
    else:
        allowed = {"refused", "unknown"}  # lost on a connection that the server was just closing, or not sent
    if reported(outcome) not in allowed:
        yield f"is {' or '.join(sorted(allowed))}, but was reported as {reported(outcome)}"
    if isinstance(outcome, EngineActionResponse) and (outcome.id, outcome.job_id) != (engine_id, job_of(engine_id)):
        yield "got the response of another request"
    if isinstance(outcome, APIError) and not len(received) <= outcome.attempts <= 3:
        yield f"was received {len(received)} times, but {outcome.attempts} attempts were reported"
    if alone and not received:
        yield "was not received"
    if alone and isinstance(outcome, APIError) and outcome.attempts > len(received):
        yield f"was received {len(received)} times only, and {outcome.attempts} attempts were reported"


def violations(server: Server, outcomes: Mapping[str, Outcome], *, alone: bool = False) -> list[str]:
    """Judge all calls, after the server has stopped."""
    found = list(server.complaints)
    for engine_id, outcome in outcomes.items():
        received = server.log.get(engine_id, [])
        found += [
            f"{fault_of(engine_id)}: {engine_id} {problem}; received: {received}; {outcome!r:.300}"
            for problem in problems(engine_id, outcome, received, alone=alone)
        ]
    return found


def timeout_for(engine_id: str) -> httpx.Timeout:
    return httpx.Timeout(LIMIT, read=SHORT_LIMIT if FAULTS[fault_of(engine_id)].silent else LIMIT)


def call_sync(client: Client, engine_id: str) -> Outcome:
    limit = timeout_for(engine_id)
    try:
        return retry_engine.sync("p", engine_id, client=client, body=EngineActionRequest(), timeout=limit)
    except Exception as error:  # noqa: BLE001 - the judge looks at it
        return error


async def call_async(client: Client, engine_id: str, cancel_after: int | None) -> Outcome:
    """Call, and cancel the call after a number of turns of the event loop."""
    limit, body = timeout_for(engine_id), EngineActionRequest()
    call = retry_engine.asyncio("p", engine_id, client=client, body=body, timeout=limit)
    try:
        if cancel_after is None:
            return await call
        task = asyncio.create_task(call)
        for _ in range(cancel_after):
            await asyncio.sleep(0)
        task.cancel()
        return await task
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - see above
        return error


LOOPS: Final = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
uvloop.new_event_loop().close()  # the first one of a process opens a pipe that stays


@dataclass(frozen=True)
class Play:
    """The calls of a test, in waves, with a client and a server of their own."""

    mode: str
    workers: int
    waves: Sequence[Sequence[str]]
    cancel: float = 0.0  # the share of async calls

    def run(self) -> list[str]:
        """Return what is wrong."""
        before = open_files(), threading.active_count()
        with Server() as server:
            resend = Resend(max_attempts=3, initial_backoff=0, max_backoff=0)
            client = connect("cse", endpoint=server.url, credentials=TokenAuth("t"), resend=resend)
            if self.mode == "sync":
                outcomes = self._sync(server, client)
            else:
                with asyncio.Runner(loop_factory=LOOPS[self.mode]) as runner:
                    outcomes = runner.run(self._async(server, client))
        found = violations(server, outcomes, alone=self.workers == 1 and not self.cancel)
        after = open_files(), threading.active_count()
        return found if after == before else [*found, f"open files and threads before: {before}, after: {after}"]

    def _sync(self, server: Server, client: Client) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        with client, ThreadPoolExecutor(self.workers) as pool:
            for wave in self.waves:
                outcomes.update(zip(wave, pool.map(partial(call_sync, client), wave), strict=True))
                server.settle()
                server.send_late()
        return outcomes

    async def _async(self, server: Server, client: Client) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        turn = asyncio.Semaphore(self.workers)

        async def call(engine_id: str) -> None:
            dice = Random(f"cancel {engine_id}")
            cancel_after = dice.randrange(60) if dice.random() < self.cancel else None
            async with turn:
                outcomes[engine_id] = await call_async(client, engine_id, cancel_after)

        async with client:
            for wave in self.waves:
                await asyncio.gather(*map(call, wave))
                await asyncio.to_thread(server.settle)  # meanwhile, the event loop closes connections
                server.send_late()
        return outcomes


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize("workers", [1, 8, 64])
@pytest.mark.parametrize("mode", ["sync", "asyncio", "uvloop"])
def test_each_of_many_calls_reports_what_happened(mode: str, workers: int) -> None:
    calls = [f"{mode}-{workers}-{n}" for n in range(CALLS)]
    waves = [calls[start::WAVES] for start in range(WAVES)]
    last = next(engines_with("good", f"{mode}-{workers}-last"))
    found = Play(mode, workers, [*waves, [last]], cancel=0.2).run()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("mode", ["sync", "asyncio"])
@pytest.mark.parametrize("fault", FAULTS)
def test_two_good_calls_follow_a_fault(fault: str, mode: str) -> None:
    good = islice(engines_with("good", "good"), 2)
    found = Play(mode, 1, [[each] for each in (next(engines_with(fault)), *good)]).run()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("mode", ["sync", "asyncio"])
def test_without_a_server_each_attempt_is_counted_and_nothing_was_sent(mode: str) -> None:
    with Server() as server:
        url = server.url
    client = connect("cse", endpoint=url, credentials=TokenAuth("t"), resend=Resend(initial_backoff=0))
    outcome = call_sync(client, "e") if mode == "sync" else asyncio.run(call_async(client, "e", None))
    assert isinstance(outcome, APIConnectionError)
    assert (outcome.outcome_unknown, outcome.attempts) == (False, 3)
