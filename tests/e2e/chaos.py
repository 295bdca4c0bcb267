"""A server that breaks HTTP in every way we know. test_each_fault.py here and the slow test_chaos.py use it.

The server chooses a fault by the engine ID, and logs each request that it received. Then each call is judged:
is what it reported true?

    FAULTS      name -> what the server sends, and what this says about the request; tests/unit/test_http1.py has
                more responses that are invalid or cut off
    Server      receives, logs and responds, with one thread for each connection
    violations  the rules
    Play        makes the calls, sync or async, in waves; between two waves no call is in progress
    check_…     a whole test, for a fault or for many calls
"""

import asyncio
import gc
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
from itertools import count, islice, repeat
from random import Random
from typing import BinaryIO, Final, Literal, TypeAlias

import httpx
import uvloop

from huaweicloud_retry import Resend, TokenAuth, connect
from huaweicloud_retry_client import APIError, Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest, EngineActionResponse
from tests import connections
from tests.callers import RESET
from tests.connections import descriptors

WAVES: Final = 4
ATTEMPTS: Final = 3
LIMIT: Final = 30.0  # seconds for a response; no slow machine needs them
SHORT_LIMIT: Final = 0.05  # seconds for a response that never ends
DRIPS: Final = 250  # of 20 ms: a hundred times SHORT_LIMIT
FLOOD: Final = 1 << 25  # bytes; the client must stop reading long before
GIVE_UP: Final = 60.0  # seconds until a test that would hang fails

Reply: TypeAlias = Callable[[bytes], bytes]
Verdict: TypeAlias = Literal["accepted", "refused", "throttled", "unknown"]
End: TypeAlias = Literal["keep", "close", "reset"]
Outcome: TypeAlias = EngineActionResponse | BaseException


@dataclass(frozen=True)
class Fault:
    """What the server does with one request."""

    verdict: Verdict  # what the response says about the request
    reply: Reply  # makes the response from the body of a good one
    end: End = "keep"  # what happens to the connection after the response
    lenient: bool = False  # the client may also report an unknown outcome
    reuse: bool = False  # the client may send another request on this connection
    silent: bool = False  # the client can only time out
    early: bool = False  # the response is sent before the body of the request is read
    piece: int = 0  # bytes to send at a time; 0: all
    pause: float = 0.0  # seconds after each piece
    endless: bytes = b""  # sent after the response, again and again
    late: bytes | None = None  # sent while the connection is idle; only then comes `end`
    elsewhere: bool = False  # the response is sent on another connection, while that one is idle
    again: str = ""  # the fault for the request when it is resent


def head(status: int, *headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"HTTP/{version} {status} Reason", *headers, "", ""]).encode()


def sized(status: int, body: bytes = b"", *headers: str, version: str = "1.1") -> bytes:
    return head(status, f"Content-Length: {len(body)}", *headers, version=version) + body


def chunked(body: bytes, size: str = "{:x}", last: bytes = b"0\r\n\r\n") -> bytes:
    chunks = (size.format(len(data)).encode() + b"\r\n" + data + b"\r\n" for data in (body[:9], body[9:]))
    return CHUNKED + b"".join(chunks) + last


def with_lengths(lengths: Sequence[str], body: bytes) -> bytes:
    """Return a response with several Content-Length headers; N is the right length."""
    return head(200, *(f"Content-Length: {each.replace('N', str(len(body)))}" for each in lengths)) + body


def cut_off(cut: Callable[[bytes], int], whole: Reply, body: bytes) -> bytes:
    return whole(body)[: cut(whole(body))]


def behind(whole: Reply, stray: bytes) -> Reply:
    return lambda body: whole(body) + stray


def always(response: bytes) -> Reply:
    return lambda body: response


@cache
def bomb() -> bytes:
    return gzip.compress(bytes(1 << 25), compresslevel=1)


ok: Final = partial(sized, 200)
GOOD: Final = b'{"id": "another", "name": "e", "jobId": 1}'
CHUNKED: Final = head(200, "Transfer-Encoding: chunked")
CLOSE: Final = "Connection: close"
GZIP: Final = "Content-Encoding: gzip"
HINTS: Final = head(103, "Link: </style.css>")
OTHER: Final = ok(GOOD)  # the response to somebody else's request
THROTTLED: Final = sized(429, b"{}", "Retry-After: 0")
TRAILERS: Final = b"0\r\nX-Trailer: 1\r\nX-Other: 2\r\n\r\n"

SOUND: Final = {
    "good": Fault("accepted", ok, reuse=True),
    "slow": Fault("accepted", ok, reuse=True, piece=40, pause=0.002),
    "byte-by-byte": Fault("accepted", ok, reuse=True, piece=1),
    "early": Fault("accepted", ok, reuse=True, early=True),
    "close-announced": Fault("accepted", lambda body: ok(body, CLOSE), "close"),
    "close-unannounced": Fault("accepted", ok, "close"),
    "close-while-idle": Fault("accepted", ok, "close", late=b""),
    "reset-unannounced": Fault("accepted", ok, "reset", lenient=True),
    "http-1.0": Fault("accepted", lambda body: ok(body, version="1.0"), "close"),
    "http-1.0-until-close": Fault("accepted", lambda body: head(200, version="1.0") + body, "close"),
    "until-close": Fault("accepted", lambda body: head(200) + body, "close"),
    "chunked": Fault("accepted", chunked, reuse=True),
    "chunk-trailers": Fault("accepted", lambda body: chunked(body, last=TRAILERS), reuse=True),
    "1xx-thousands": Fault("accepted", lambda body: HINTS * 5000 + ok(body), lenient=True, reuse=True),
    "gzip": Fault("accepted", lambda body: ok(gzip.compress(body), GZIP), lenient=True, reuse=True),
    "equal-lengths": Fault("accepted", partial(with_lengths, ["N", "N"]), lenient=True, reuse=True),
}  # fmt: skip

# Bytes that belong to no request: in one piece with a response, or later, while the connection is idle.
STRAY: Final = {
    "200": OTHER, "429": THROTTLED, "408": sized(408, b"", CLOSE), "1xx": head(100), "half-a-head": OTHER[:20], "line": b"\r\n",
}  # fmt: skip
STRAYS: Final = {
    **{f"stray-{name}": Fault("accepted", behind(ok, stray), lenient=True) for name, stray in STRAY.items()},
    **{f"stray-{name}-late": Fault("accepted", ok, late=stray) for name, stray in STRAY.items()},
    "stray-408-and-close": Fault("accepted", behind(ok, STRAY["408"]), "close", lenient=True),
    "stray-408-and-close-late": Fault("accepted", ok, "close", late=STRAY["408"]),
    "stray-behind-500": Fault("unknown", always(sized(500) + OTHER)),
    "stray-behind-429": Fault("throttled", always(THROTTLED + OTHER), lenient=True, again="good"),
    "elsewhere": Fault("unknown", ok, silent=True, elsewhere=True),
}

CUTS: Final[Mapping[str, Callable[[bytes], int]]] = {
    "at-once": lambda response: 0,
    "in-the-head": lambda response: response.index(b"\r\n\r\n") - 3,
    "after-the-head": lambda response: response.index(b"\r\n\r\n") + 4,
    "in-the-body": lambda response: len(response) - 9,
}
CHUNK_CUTS: Final[Mapping[str, Callable[[bytes], int]]] = {
    "in-a-chunk": lambda response: len(CHUNKED) + 6,
    "before-the-last-chunk": lambda response: len(response) - len("0\r\n\r\n"),
}


def begun(status: int) -> Reply:
    return always(head(status, "Content-Length: 9") + b"{")


ENDS: Final[Mapping[str, End]] = {"close": "close", "reset": "reset", "silence": "keep"}
CUT_OFF: Final = {
    **{
        f"{name}-{where}": Fault("unknown", partial(cut_off, cut, whole), end, silent=name == "silence")
        for whole, cuts in ((ok, CUTS), (chunked, CHUNK_CUTS))
        for where, cut in cuts.items()
        for name, end in ENDS.items()
    },
    "close-in-a-400": Fault("refused", begun(400), "close", lenient=True),
    "reset-in-a-503": Fault("refused", begun(503), "reset", lenient=True),
    "silence-in-a-404": Fault("refused", begun(404), lenient=True, silent=True),
    "close-in-a-429": Fault("throttled", begun(429), "close", lenient=True, again="good"),
    "close-in-a-500": Fault("unknown", begun(500), "close"),
    "reset-before-the-end": Fault("unknown", lambda body: head(200) + body[:-1], "reset"),
    "early-400-and-reset": Fault("refused", always(sized(400)), "reset", lenient=True, early=True),
    "close-after-1xx": Fault("unknown", always(head(100)), "close"),
    "silence-after-1xx": Fault("unknown", always(HINTS), silent=True),
}

LENGTHS: Final[Mapping[str, Sequence[str]]] = {
    "short": ["20"], "huge": ["N" + "0" * 30], "negative": ["-N"], "different": ["N", "20"]
}  # fmt: skip
CHUNK_SIZES: Final = {"short": "1", "missing": "", "huge": "{:x}" + "f" * 30}
NO_HTTP: Final = {
    "json": GOOD, "tls-alert": b"\x15\3\1\0\2\2\x28", "http-2": bytes.fromhex("000006040000000000000300000064"),
    "status": b"HTTP/1.1 2OO" + OTHER[12:],
}  # fmt: skip
FRAMING: Final = {
    **{f"length-{name}": Fault("unknown", partial(with_lengths, value)) for name, value in LENGTHS.items()},
    **{f"chunk-size-{name}": Fault("unknown", partial(chunked, size=s)) for name, s in CHUNK_SIZES.items()},
    **{f"no-http-{name}": Fault("unknown", always(data), "close") for name, data in NO_HTTP.items()},
    "length-long-and-silence": Fault("unknown", partial(with_lengths, ["1N"]), silent=True),
    "length-and-chunks": Fault(
        "accepted", lambda body: chunked(body).replace(b"\r\n", b"\r\nContent-Length: 5\r\n", 1), lenient=True
    ),
    "204-with-body": Fault("unknown", always(sized(204, GOOD))),
    "304-with-response": Fault("unknown", always(head(304) + OTHER)),
    "1xx-many-and-silence": Fault("unknown", always(HINTS * 40 + begun(200)(b"")), silent=True),
    "101": Fault("unknown", always(head(101, "Upgrade: h2c", "Connection: Upgrade"))),
}

FLOODS: Final = {
    "endless-headers": Fault("unknown", always(head(200)[:-2]), endless=b"X-A: a\r\n" * 512),
    "endless-1xx": Fault("unknown", always(b""), endless=HINTS * 100),
    "endless-body": Fault("unknown", always(head(200, f"Content-Length: {10**15}")), endless=b" " * 65536),
    "endless-until-close": Fault("unknown", always(head(200)), endless=b" " * 65536),
    "endless-chunks": Fault("unknown", always(CHUNKED), endless=b"400\r\n" + b" " * 1024 + b"\r\n"),
    "endless-trailers": Fault("unknown", partial(chunked, last=b"0\r\n"), endless=b"X-A: a\r\n" * 512),
    "endless-400": Fault("refused", always(head(400)), lenient=True, endless=b" " * 65536),
    "endless-zeros": Fault("unknown", always(b""), endless=bytes(65536)),
    "drip-of-a-body": Fault("unknown", always(head(200)), endless=b" ", pause=0.02, silent=True),
    "drip-of-1xx": Fault("unknown", always(b""), endless=HINTS, pause=0.02, silent=True),
}

JSON: Final = {
    "empty": b"", "html": b"<html>Log in first</html>", "nested": b"[" * 100_000, "without-job": b'{"id": "e", "name": "e"}',
}  # fmt: skip
REFUSED: Final = (400, 401, 403, 404, 405, 409, 413, 422, 494, 501, 503, 505)
UNKNOWN: Final = (201, 202, 206, 300, 302, 307, 308, 499, 500, 502, 504, 506, 561, 599)


def status(code: int) -> Reply:
    return always(sized(code, b'{"error_msg": "m"}', "Location: /elsewhere"))


WHOLE: Final = {
    **{f"body-{name}": Fault("unknown", always(ok(body)), reuse=True) for name, body in JSON.items()},
    **{f"status-{code}": Fault("refused", status(code), reuse=True) for code in REFUSED},
    **{f"status-{code}": Fault("unknown", status(code), reuse=True) for code in UNKNOWN},
    "gzip-bomb": Fault("unknown", lambda body: ok(bomb(), GZIP), reuse=True),
    "gzip-broken": Fault("unknown", lambda body: ok(body, GZIP), reuse=True),
    "gzip-cut-off": Fault("unknown", lambda body: ok(gzip.compress(body)[:-12], GZIP), reuse=True),
    "brotli": Fault("unknown", lambda body: ok(body, "Content-Encoding: br"), reuse=True),
    "status-204": Fault("unknown", always(head(204)), reuse=True),
    "status-400-until-close": Fault("refused", always(head(400) + b"{}"), "close"),
    "status-400-after-1xx": Fault("refused", always(HINTS + sized(400)), reuse=True),
    "status-503-chunked": Fault("refused", lambda body: chunked(body).replace(b"200", b"503", 1), reuse=True),
    "429-always": Fault("throttled", always(THROTTLED), reuse=True),
    "429-and-then-good": Fault("throttled", always(THROTTLED), reuse=True, again="good"),
    "429-and-then-400": Fault("throttled", always(sized(429)), reuse=True, again="status-400"),
    "429-and-then-closed": Fault("throttled", always(THROTTLED), reuse=True, again="close-at-once"),
    "429-and-close": Fault("throttled", always(sized(429, b"{}", CLOSE)), "close", again="good"),
}

FAULTS: Final[Mapping[str, Fault]] = SOUND | STRAYS | CUT_OFF | FRAMING | FLOODS | WHOLE


def share(name: str, fault: Fault) -> float:
    """Return how often a fault is chosen: those that take long less often."""
    return 20 if name == "good" else 0.1 if fault.silent else 0.3 if fault.endless else 1


SHARES: Final = [share(*each) for each in FAULTS.items()]


@cache
def fault_of(engine_id: str) -> str:
    return Random(engine_id).choices(list(FAULTS), SHARES)[0]


def engines_with(fault: str, prefix: str) -> Iterator[str]:
    return (engine_id for engine_id in (f"{prefix}-{n}" for n in count()) if fault_of(engine_id) == fault)


def job_of(engine_id: str) -> int:
    return zlib.crc32(engine_id.encode()) & 0x7FFFFFFF


REQUEST: Final = re.compile(rb"(?is)PUT /v2/p/enginemgr/engines/([\w-]+)/actions .*\ncontent-length: (\d+)\b")


class Connection:
    """A connection of the server, and its thread."""

    def __init__(self, server: "Server", sock: socket.socket) -> None:
        self.busy = ""  # the fault in progress
        self.spoilt = ""  # the fault after which the client must not use this connection again
        self.socket = sock
        self.thread = threading.Thread(target=self._serve)
        self._server = server

    def _serve(self) -> None:
        try:
            # OSError: the client closed the connection.
            with suppress(OSError), self.socket, self.socket.makefile("rb") as stream:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while self._serve_one(stream):
                    self._server.update(self, busy="")
        finally:
            self._server.update(self, busy="", is_open=False)

    def _serve_one(self, stream: BinaryIO) -> bool:
        """Receive a request and respond. Returns whether the connection stays open."""
        self.socket.recv(1, socket.MSG_PEEK)
        self._server.update(self, busy="a request")
        request = b"\n".join(iter(lambda: stream.readline().strip(), b""))
        if not request:
            return False
        if self.spoilt:
            self._server.complaints.append(f"{self.spoilt}: another request came on its connection")
        found = REQUEST.match(request)
        assert found, request
        engine_id, length = found[1].decode(), int(found[2])
        name = fault_of(engine_id)
        if engine_id in self._server.log:
            name = FAULTS[name].again or name
        fault = FAULTS[name]
        self._server.update(self, busy=name)
        if fault.early:
            self._respond(name, engine_id)
        if len(stream.read(length)) == length:
            self._server.log.setdefault(engine_id, []).append(name)
        if not fault.early:
            self._respond(name, engine_id)
        if fault.end == "reset":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return fault.end == "keep" or fault.late is not None

    def is_idle(self) -> bool:
        """Say whether nothing is in progress: no response, no request that was received but not read."""
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError as error:
            return isinstance(error, BlockingIOError) and not self.busy
        return False

    def _respond(self, name: str, engine_id: str) -> None:
        fault = FAULTS[name]
        reply = fault.reply(json.dumps({"id": engine_id, "name": "e", "jobId": job_of(engine_id)}).encode())
        if fault.elsewhere:
            self._server.late.append((self, name, reply))
            return
        if fault.late is not None:
            self._server.late.append((self, name, fault.late))
        elif not fault.reuse:
            self.spoilt = name
        step = fault.piece or len(reply) or 1
        self._send((reply[start : start + step] for start in range(0, len(reply), step)), fault.pause)
        if fault.endless:
            times = DRIPS if fault.pause else FLOOD // len(fault.endless)
            self._send(repeat(fault.endless, times), fault.pause)
            self._server.complaints.append(f"{name}: the client read on and on")

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


class Server(connections.Server):
    """A server on the loopback interface. Close the client before the `with` block ends."""

    def __init__(self) -> None:
        super().__init__()
        self.log: dict[str, list[str]] = {}  # by engine ID: the fault of each request received in full
        self.complaints: list[str] = []  # what no client may do, whatever it reports
        self.late: list[tuple[Connection, str, bytes]] = []  # to be sent while no call is in progress
        self._threads: list[threading.Thread] = []
        self._connected: list[Connection] = []

    def __exit__(self, *_: object) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: not self._open, GIVE_UP):
                self.complaints.append(f"the client left {len(self._open)} connections open")
        super().__exit__()
        for thread in self._threads:
            thread.join()

    def _start(self, sock: socket.socket) -> None:
        connection = Connection(self, sock)
        with self._changed:
            self._open.add(sock)
            self._connected.append(connection)
        self._threads.append(connection.thread)
        connection.thread.start()

    def update(self, connection: Connection, *, busy: str, is_open: bool = True) -> None:
        with self._changed:
            connection.busy = busy
            if not is_open:
                self._open.discard(connection.socket)
                self._connected.remove(connection)
            self._changed.notify_all()

    def settle(self) -> None:
        """Wait until each response has been sent, and each connection is idle or closed."""
        with self._changed:
            done = self._changed.wait_for(lambda: all(each.is_idle() for each in self._connected), GIVE_UP)
            assert done, f"in progress without end: {[each.busy for each in self._connected if each.busy]}"

    def send_late(self) -> None:
        """Send what is to be sent on an idle connection. Call this only while no call is in progress.

        Bytes that come while the next request is on its way look like its response. No client of HTTP/1.1 can
        tell them apart. On the loopback interface, bytes have arrived when send() returns.
        """
        with self._changed:
            due, self.late = self.late, []
            for own, name, data in due:
                fault = FAULTS[name]
                idle = [
                    each for each in self._connected if not each.spoilt and (each is own) != fault.elsewhere
                ]
                if fault.elsewhere and not idle:
                    self.late.append((own, name, data))
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


def violations(engine_id: str, outcome: Outcome, received: Sequence[str], *, alone: bool) -> Iterator[str]:
    """Compare what a call reported with the faults it met. `alone`: no other call was in progress."""
    if any(FAULTS[name].verdict != "throttled" for name in received[:-1]):
        yield "was resent after a response other than 429"
    if isinstance(outcome, asyncio.CancelledError):
        return
    if received:
        last = FAULTS[received[-1]]
        truth = "refused" if last.verdict == "throttled" else last.verdict
        allowed = {truth, "unknown"} if last.lenient else {truth}
    else:  # not sent, or lost on a connection that the server was closing
        allowed = {"refused", "unknown"}
    if reported(outcome) not in allowed:
        yield f"is {' or '.join(sorted(allowed))}, and was reported as {reported(outcome)}"
    if isinstance(outcome, EngineActionResponse):
        if (outcome.id, outcome.job_id) != (engine_id, job_of(engine_id)):
            yield "got the response to another request"
    elif isinstance(outcome, APIError):
        possible = range(len(received), (len(received) if alone else ATTEMPTS) + 1)
        if outcome.attempts not in possible:
            yield f"was received {len(received)} times, and {outcome.attempts} attempts were reported"
    if alone and not received:
        yield "was not received"


def call_sync(client: Client, engine_id: str) -> Outcome:
    timeout = timeout_for(engine_id)
    try:
        return retry_engine.sync("p", engine_id, client=client, body=EngineActionRequest(), timeout=timeout)
    except Exception as error:  # noqa: BLE001 - it is judged
        return error


async def call_async(client: Client, engine_id: str, cancel_after: int | None = None) -> Outcome:
    """Call, and cancel the call after so many turns of the event loop."""
    timeout, body = timeout_for(engine_id), EngineActionRequest()
    call = retry_engine.asyncio("p", engine_id, client=client, body=body, timeout=timeout)
    try:
        if cancel_after is None:
            return await call
        task = asyncio.create_task(call)
        for _ in range(cancel_after):
            await asyncio.sleep(0)
        task.cancel()
        return await task
    except asyncio.CancelledError as error:
        if cancel_after is None:
            raise
        return error
    except Exception as error:  # noqa: BLE001 - see above
        return error


def timeout_for(engine_id: str) -> httpx.Timeout:
    return httpx.Timeout(LIMIT, read=SHORT_LIMIT if FAULTS[fault_of(engine_id)].silent else LIMIT)


LOOPS: Final = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
MODES: Final = ["sync", *LOOPS]
ROTATED: Final = [
    (fault, MODES[number % len(MODES)]) for number, fault in enumerate(FAULTS)
]  # each fault once
uvloop.new_event_loop().close()  # the first one of a process opens a pipe and keeps it


@dataclass(frozen=True)
class Play:
    """The calls of a test in waves, with a client and a server of their own."""

    mode: str
    workers: int
    waves: Sequence[Sequence[str]]

    def check(self) -> None:
        """Make the calls and judge them."""
        gc.collect()  # what tests before this one left
        before = descriptors(), threading.active_count()
        with Server() as server:
            resend = Resend(max_attempts=ATTEMPTS, initial_backoff=0, max_backoff=0)
            client = connect("cse", endpoint=server.url, credentials=TokenAuth("t"), resend=resend)
            if self.mode == "sync":
                outcomes = self._sync(server, client)
            else:
                with asyncio.Runner(loop_factory=LOOPS[self.mode]) as runner:
                    outcomes = runner.run(self._async(server, client))
        after = descriptors(), threading.active_count()
        wrong = server.complaints
        for wave in self.waves:
            for engine_id in wave:
                outcome, received = outcomes[engine_id], server.log.get(engine_id, [])
                about = f"{fault_of(engine_id)}: {engine_id}, received {received}, reported {outcome!r:.300}"
                found = violations(engine_id, outcome, received, alone=len(wave) == 1)
                wrong += [f"{about}; it {violation}" for violation in found]
        assert not wrong, "\n".join(wrong)
        assert max(now - then for now, then in zip(after, before, strict=True)) <= 0, (
            "files or threads are left"
        )

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

        async def call(engine_id: str, cancelled: float) -> None:
            dice = Random(f"cancel {engine_id}")
            cancel_after = int(2 ** dice.uniform(0, 6)) - 1 if dice.random() < cancelled else None
            async with turn:
                outcomes[engine_id] = await call_async(client, engine_id, cancel_after)

        async with client:
            for wave in self.waves:
                await asyncio.gather(*map(call, wave, repeat(0.2 if len(wave) > 1 else 0.0)))
                await asyncio.to_thread(server.settle)  # meanwhile the event loop closes connections
                server.send_late()
        return outcomes


def check_fault(fault: str, mode: str) -> None:
    """Meet a fault once, then make two good calls."""
    calls = next(engines_with(fault, "engine")), *islice(engines_with("good", "good"), 2)
    Play(mode, 1, [[engine_id] for engine_id in calls]).check()


def check_many(mode: str, workers: int, number: int) -> None:
    """Make so many calls in waves; the last one, after all faults, is a good one."""
    calls = [f"{mode}-{workers}-{n}" for n in range(number)]
    last = next(engines_with("good", "last"))
    Play(mode, workers, [*(calls[start::WAVES] for start in range(WAVES)), [last]]).check()
