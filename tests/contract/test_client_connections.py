"""The client's side of the contract: what an error says, what is resent, and which response belongs to which request."""

import asyncio
import gzip
import os
import pickle
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trustme

from huaweicloud_retry import PasswordAuth, Resend
from huaweicloud_retry_client import (
    APIConnectionError,
    APIResponseValidationError,
    APITimeoutError,
    Client,
    Response,
    models,
)
from tests.callers import ACCEPTED, ENGINE, OPERATIONS, Caller, FixedResponse, LoopbackServer, raw_response
from tests.connections import (
    Line,
    Mode,
    Server,
    cancelled_and_called_again,
    client_of,
    in_child,
    outcome,
    respond,
    response,
    tls_contexts,
    turns,
)
from tests.contract.calls import ALL, Operation, whole


def raw(start: str, *lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {start}", *lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [(httpx.ConnectError, [2, 4]), (httpx.ConnectTimeout, [2, 4]), ({"retry-after": "0"}, [0, 0]), ({"retry-after": "40"}, [40, 40]), ({"retry-after": "600"}, [60, 60])],
)  # fmt: skip
def test_a_request_that_was_not_processed_is_resent_after_the_time_that_the_server_asks_for(
    caller: Caller, headers: Any, seconds: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr("asyncio.sleep", wait)
    responds = {"headers": headers} if isinstance(headers, dict) else {"failure": headers("no connection")}
    transport = FixedResponse(429, **responds)
    client = Client(
        "http://h", transport=transport, resend=Resend(max_attempts=3, initial_backoff=2, max_backoff=60)
    )
    caller.error(ENGINE, client.with_resend(None))
    assert (len(transport.requests), waited) == (1, [])
    assert caller.error(ENGINE, client).attempts == 3
    assert len(transport.requests) == 4
    assert all(least <= real <= least * 1.25 for least, real in zip(seconds, waited, strict=True)), waited


DATE, ID = "Date: Thu, 01 Oct 2026 12:00:00 GMT", "X-Request-Id: r-1"
AFTER = {
    "0": 0,
    "2": 2,
    " 3600\t": 3600,
    "Thu, 01 Oct 2026 12:00:09 GMT": 9,
    "Thu, 01 Oct 2026 11:00:00 GMT": 0,
}
NOTHING = {"retry_after": None, "request_id": None, "error_code": None, "detail": None}
SAID: list[tuple[bytes, dict[str, Any]]] = [
    (raw("429 X", body=b"{}"), NOTHING),
    *((raw("429 X", DATE, f"retry-AFTER:{text}"), {"retry_after": seconds}) for text, seconds in AFTER.items()),
    *((raw("429 X", DATE, f"Retry-After: {text}"), NOTHING) for text in ("x", "-1", "1.5", "2\r\nRetry-After: 3")),
    # neither an interim response nor a trailer says anything of the response
    (f"HTTP/1.1 103 X\r\n{ID}\r\nRetry-After: 9\r\n\r\n".encode() + raw("429 X"), NOTHING),
    (f"HTTP/1.1 429 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{ID}\r\nRetry-After: 9\r\n\r\n".encode(), NOTHING),
    # the body comes before the header
    (raw("400 X", ID, body=b'{"error_code":"A.1","error_msg":"m","detail":"d","request_id":"r"}'),
     {"error_code": "A.1", "error_msg": "m", "detail": "d", "request_id": "r"}),
    (raw("500 X", ID, body=b'{"errorCode":"A.1","errorMessage":"m"}'), {"error_code": "A.1", "error_msg": "m", "request_id": "r-1"}),
    (raw("500 X", body=b'{"error":' * 100_000), {"error_code": None, "status_code": 500}),
    *((raw("502 X", f"Content-Type: text/html{charset}", body="<p>网关é".encode(coding)), {"error_msg": "<p>网关é"})
      for charset, coding in {"": "utf-8", "; charset=no-such": "utf-8", "; charset=GB18030": "gb18030", ';charset="utf-16"': "utf-16"}.items()),
]  # fmt: skip


@pytest.mark.parametrize(("response", "said"), SAID)
def test_an_error_says_what_the_server_said(caller: Caller, response: bytes, said: dict[str, Any]) -> None:
    with LoopbackServer(response) as server:
        error = caller.error(ENGINE, Client(server.url))
    assert {name: getattr(error, name, None) for name in said} == said
    assert len(server.requests) == 1


LAST = [b"", raw("200 X", body=ACCEPTED), raw("200 X", body=b"{}"), raw("404 X"), raw("500 X")]


@pytest.mark.parametrize("last", LAST, ids=ascii)
def test_a_response_or_error_says_how_often_the_request_was_sent(caller: Caller, last: bytes) -> None:
    responses = [raw("429 X", "Retry-After: 0", "Connection: close"), last]
    with LoopbackServer(lambda _: responses.pop(0)) as server:
        client = Client(server.url, resend=Resend())
        said = caller.detailed(ENGINE, client) if last else caller.error(ENGINE, client)
        assert (said.attempts, len(server.requests)) == (2, 2)


def test_in_the_event_loop_of_trio_a_429_is_resent() -> None:
    async def call() -> Response[Any]:
        transport = FixedResponse(429, headers={"retry-after": "0"})
        async with Client("http://h", transport=transport, resend=Resend()) as client:
            result: Response[Any] = await ENGINE.module.asyncio_detailed(client=client, **ENGINE.arguments)
            return result

    result = trio.run(call)
    assert (result.status_code, result.attempts) == (429, 3)


def test_of_a_connection_that_was_refused_nothing_was_sent(caller: Caller) -> None:
    with socket.socket() as held:  # an address that nobody listens at
        held.bind(("127.0.0.1", 0))
        error = caller.error(ENGINE, Client(f"http://127.0.0.1:{held.getsockname()[1]}"))
    assert (type(error), error.outcome_unknown) == (APIConnectionError, False)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%b\r\n" % (len(ACCEPTED), ACCEPTED)
GOOD = raw_response(200, ACCEPTED)
# Whole, but no response that can be believed: where its body ends can be read in two ways, or it is none of HTTP/1.
ODD_ONES = [
    GOOD.replace(b"HTTP/1.1 200", odd)
    for odd in (b"HTTP/2.0 200", b"HTTP/1.1 101", b"HTTP/1.1 099", b"HTTP/1.1 103")
]
ODD_ONES += [
    GOOD.replace(b"\r\n", b"\r\n" + field + b"\r\n", 1)
    for field in (
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 7",
        b"X: " + b"a" * (1 << 20),
    )
]
PARTS: dict[int | None, list[bytes]] = {
    None: [b"", b"HTTP/1.1 200", HEAD[:-2], b"HTTP/1.1 103 X\r\n\r\n", b"SSH-2.0\r\n", *ODD_ONES],
    200: [HEAD, HEAD + ACCEPTED, CHUNKED, CHUNKED + b"ff", CHUNKED + b"ff\r\n" + ACCEPTED, CHUNKED + CHUNK, CHUNKED + CHUNK + b"0\r\nX: 1\r\n"],
    **{status: [HEAD.replace(b"200", b"%d" % status) + b"{}"] for status in (400, 500, 503)},
}  # fmt: skip


class Copying(httpx.Auth):
    """Sends a copy of the request, as one does that signs the query."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        yield httpx.Request(request.method, request.url, headers=request.headers, content=request.content)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("status", "part"), [(status, part) for status, parts in PARTS.items() for part in parts]
)
def test_a_response_that_breaks_off_leaves_the_outcome_as_its_status_has_it_and_nothing_is_resent(
    caller: Caller, status: int | None, part: bytes, *, reset: bool
) -> None:
    with LoopbackServer(part, reset=reset) as service, LoopbackServer(part, reset=reset) as iam:
        login = PasswordAuth("u", "p", domain_name="d", iam_endpoint=iam.url)
        errors = [
            caller.error(ENGINE, Client(service.url, auth=auth, resend=Resend(initial_backoff=0)))
            for auth in (None, Copying(), login)
        ]
        assert (len(service.requests), len(iam.requests)) == (2, 1)
    assert [repr(pickle.loads(pickle.dumps(error))) for error in errors] == [*map(repr, errors)]
    known = [status in {400, 503} and error.__cause__ is None for error in errors]
    assert [error.outcome_unknown for error in errors] == [not known[0], not known[1], False]
    if not reset:  # which may overtake the response
        assert [getattr(error, "status_code", None) for error in errors] == [status] * 3


def garbage(line: Line) -> None:
    line.socket.recv(1 << 16)  # or closing would reset the connection, and the reset may come first
    line.socket.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    line.socket.recv(1)


HANDSHAKES: dict[str, Callable[[Line], object]] = {
    "closed": lambda _: None,
    "reset": Line.reset,
    "garbage": garbage,
    "silence": lambda line: line.socket.recv(1 << 16) and line.socket.recv(1),
    "untrusted": respond,
}


@pytest.mark.parametrize("how", HANDSHAKES)
def test_of_a_failed_handshake_nothing_was_sent_and_an_error_of_tls_is_not_resent(
    mode: Mode, how: str
) -> None:
    tls = tls_contexts()[0] if how == "untrusted" else None
    with Server(HANDSHAKES[how], tls) as server:  # type: ignore[arg-type] # the result is not used
        with client_of(mode, server.url.replace("http:", "https:")) as client:
            resending = client.with_resend(Resend(initial_backoff=0))
            error = mode.error(resending, connect=0.2 if how == "silence" else 60)
        assert type(error) is (APITimeoutError if how == "silence" else APIConnectionError)
        assert (error.outcome_unknown, str(error)[-18:]) == (False, "; nothing was sent")
        assert server.requests == []
        assert server.connections == 1 or how not in {"garbage", "untrusted"}


def test_a_certificate_of_another_host_or_ca_is_refused_however_the_ca_is_given(
    mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, of_server, of_client = (
        trustme.CA(),
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.create_default_context(),
    )
    ca.issue_cert("other.example.com").configure_cert(of_server)
    ca.configure_trust(of_client)
    ca.cert_pem.write_to_path(file := tmp_path / "ca.pem")
    another, of_another = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    another.issue_cert("127.0.0.1").configure_cert(of_another)
    another.cert_pem.write_to_path(tmp_path / "another.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "another.pem"))
    for context, why in (of_server, "IP address mismatch"), (of_another, "unable to get local issuer"):
        with Server(tls=context) as server:
            for verify in (of_client, file, str(file)):
                with client_of(mode, server.url, verify) as client:
                    assert why in str(mode.error(client))
        assert server.requests == []


@pytest.mark.parametrize("is_said", [False, True])
def test_a_body_that_ends_with_tls_is_whole_if_tls_says_so(*, is_said: bool) -> None:
    def serve(line: Line) -> None:
        line.request()
        line.socket.sendall(response(7, framed=False))
        if is_said:
            assert isinstance(line.socket, ssl.SSLSocket)
            line.socket.unwrap()

    mode, (server_tls, client_tls) = Mode("sync"), tls_contexts()  # asyncio does not tell
    with mode.runner, Server(serve, server_tls) as server, client_of(mode, server.url, client_tls) as client:
        if is_said:
            assert mode.call(client) == 7
        else:
            assert "its body cannot be read" in str(mode.error(client))


@pytest.mark.parametrize("is_built_in", [True, False])
def test_a_response_has_its_time_as_a_whole(caller: Caller, *, is_built_in: bool) -> None:
    own = httpx.HTTPTransport() if caller.name == "sync" else httpx.AsyncHTTPTransport()
    with LoopbackServer(HEAD, drip=ACCEPTED.ljust(1000)) as server:  # 10 s, each read of it 10 ms
        timeout = httpx.Timeout(10, read=0.3)
        error = caller.error(
            ENGINE, Client(server.url, timeout=timeout, transport=None if is_built_in else own)
        )
    assert (type(error), error.problem[-20:]) == (APIResponseValidationError, "not complete in time")


def test_no_response_in_time_leaves_the_outcome_unknown_but_that_of_iam(caller: Caller) -> None:
    with LoopbackServer(None) as server:
        login = PasswordAuth("u", "p", domain_name="d", iam_endpoint=server.url)
        for auth, is_unknown in ((None, True), (login, False)):
            error = caller.error(ENGINE, Client(server.url, auth=auth, timeout=httpx.Timeout(10, read=0.05)))
            error = pickle.loads(pickle.dumps(error))
            assert (type(error), error.outcome_unknown) == (APITimeoutError, is_unknown)
        assert len(server.requests) == 2
        assert type(caller.error(ENGINE, Client(server.url), timeout=0)) is APITimeoutError


def test_a_request_and_its_response_have_their_own_time(caller: Caller) -> None:
    def serve(line: Line) -> None:
        line.socket.recv(1)
        threading.Event().wait(0.5)  # a slow server
        while line.socket.recv(1 << 20)[-2:] != b'"}':
            pass
        threading.Event().wait(0.5)
        line.socket.sendall(GOOD)

    body = models.RetryScriptExecutionRequest(record_id="r" * (1 << 24))
    with Server(serve) as server:
        client = Client(server.url, timeout=httpx.Timeout(60, connect=0.3))
        assert caller.call(OPERATIONS["RetryScriptExecution"], client, body=body).task_id == "t1"


@pytest.mark.parametrize("reset", [False, True])
def test_what_was_sent_in_part_leaves_the_outcome_unknown_and_is_not_resent(
    caller: Caller, *, reset: bool
) -> None:
    released = threading.Event()
    body = models.RetryScriptExecutionRequest(record_id="r" * (1 << 24))

    def serve(line: Line) -> None:
        line.socket.recv(1000)
        if reset:
            line.reset()
        released.wait(60)

    with Server(serve) as server:
        timeout = httpx.Timeout(10, write=10 if reset else 0.2)
        client = Client(server.url, timeout=timeout, resend=Resend(initial_backoff=0))
        error = caller.error(OPERATIONS["RetryScriptExecution"], client, body=body)
        released.set()
    expected = APIConnectionError if reset else APITimeoutError
    assert (type(error), error.outcome_unknown, server.connections) == (expected, True, 1)


@pytest.mark.parametrize("part", [b"", HEAD[:-9], HEAD, HEAD + ACCEPTED[:9], CHUNKED + b"ff\r\n"])
def test_a_cancelled_call_leaves_no_connection_with_the_rest_of_its_response(part: bytes) -> None:
    whole = raw_response(200, ACCEPTED)
    server = LoopbackServer(lambda request: whole if b"/again/" in request.line else part, keep_open=True)
    assert type(cancelled_and_called_again(server, None)) is ENGINE.model
    assert server.connections == 2


def test_an_event_loop_has_100_connections_and_a_call_that_gets_none_in_time_was_not_sent() -> None:
    released = threading.Event()

    def serve(line: Line) -> None:
        while engine := line.request():
            released.wait(60)
            line.socket.sendall(response(engine))

    async def run(client: Client) -> None:
        def call(engine: int, **timeout: Any) -> "asyncio.Task[Any]":
            arguments = {**ENGINE.arguments, "engine_id": str(engine), **timeout}
            return asyncio.create_task(ENGINE.module.asyncio(client=client, **arguments))

        tasks = [call(engine) for engine in range(1, 101)]
        await turns(3)
        with pytest.raises(APITimeoutError) as caught:
            await call(666, timeout=httpx.Timeout(60, pool=0))
        assert not caught.value.outcome_unknown
        tasks.append(call(101))
        await turns(3)
        released.set()
        assert [(await task).job_id for task in tasks] == list(range(1, 102))

    mode = Mode("asyncio")
    with mode.runner, Server(serve) as server, client_of(mode, server.url) as client:
        mode.runner.run(run(client))
        assert (server.connections, 666 in server.requests) == (100, False)


@pytest.mark.parametrize(
    "operation", [each for each in ALL if each.contract.method == "GET"], ids=lambda each: each.contract.id
)
def test_the_outcome_of_a_read_is_never_unknown(caller: Caller, operation: Operation) -> None:
    read = replace(ENGINE, module=operation.module, arguments=whole(operation).arguments())
    for part in (b"", HEAD + ACCEPTED[:9], HEAD.replace(b"200", b"504")):
        with LoopbackServer(part) as server:
            assert caller.error(read, Client(server.url)).outcome_unknown is False


def test_a_connection_that_was_refused_takes_no_place() -> None:
    async def run(url: str) -> None:
        async with Client(url, timeout=httpx.Timeout(60, pool=0), resend=None) as client:
            for _ in range(101):
                with pytest.raises(APIConnectionError, match="ConnectError"):
                    await ENGINE.module.asyncio(client=client, **ENGINE.arguments)

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        asyncio.run(run(f"http://127.0.0.1:{held.getsockname()[1]}"))


@pytest.mark.parametrize("how", ["length", "chunks", "gzip"])
@pytest.mark.parametrize(("status", "limit"), [(200, 16 << 20), (404, 1 << 20)])
def test_a_body_is_read_to_its_limit(caller: Caller, status: int, limit: int, how: str) -> None:
    for more in (0, 1):
        body = ACCEPTED.ljust(limit + more)
        sent = raw_response(status, body)
        if how == "gzip":
            sent = raw_response(status, gzip.compress(body, 1), "Content-Encoding: gzip")
        if how == "chunks":
            sent = CHUNKED.replace(b"200", b"%d" % status) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        with LoopbackServer(sent) as server:
            result = caller.detailed(ENGINE, Client(server.url))
        is_good = status == 200 and not more
        problem = f"its body has more than {limit} bytes" if more else None
        assert (len(result.content), result.problem) == (limit if is_good else 1 << 20, problem)
        assert (result.parsed is not None) == is_good


def test_an_interim_response_is_passed_over(caller: Caller) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"
    with LoopbackServer(interim + raw_response(200, ACCEPTED)) as server:
        assert caller.call(ENGINE, Client(server.url)).job_id == 18638


def spoilt_by(late: bytes) -> Callable[[Line], None]:
    """Send a response, and something behind it when the next call is about to begin."""

    def serve(line: Line) -> None:
        if engine := line.request():
            line.socket.sendall(response(engine))
            SPOIL.acquire()
            line.socket.sendall(late)
            SPOILT.release()
            line.request()

    return serve


SPOIL, SPOILT = threading.Semaphore(0), threading.Semaphore(0)


@pytest.mark.parametrize("behind", [b"x", b"\r\n", response(666)], ids=ascii)
def test_what_comes_behind_a_response_is_never_the_next_one(mode: Mode, behind: bytes) -> None:
    def serve(line: Line) -> None:
        while engine := line.request():
            line.socket.sendall(response(engine) + behind)

    with Server(serve) as server, client_of(mode, server.url) as client:
        assert [mode.call(client, engine) for engine in (1, 2, 3)] == [1, 2, 3]
        assert (server.connections, server.requests) == (3, [1, 2, 3])


def test_each_event_loop_has_connections_of_its_own() -> None:
    first, second = Mode("asyncio"), Mode("asyncio")
    with first.runner, second.runner, Server() as server, client_of(first, server.url) as client:
        assert [mode.call(client, number) for number, mode in enumerate((first, second, first), 1)] == [
            1,
            2,
            3,
        ]
        assert server.connections == 2
        second.runner.run(client.aclose())


def test_what_a_kept_connection_has_no_response_to_is_not_resent(mode: Mode) -> None:
    def serve(line: Line) -> None:
        line.socket.sendall(response(line.request()))
        line.request()

    with Server(serve) as server, client_of(mode, server.url) as client:
        assert mode.call(client, 1) == 1
        assert mode.error(client.with_resend(Resend(initial_backoff=0))).outcome_unknown
        assert (server.connections, server.requests) == (1, [1, 7])


def test_what_comes_while_a_connection_is_idle_is_never_the_next_response(mode: Mode) -> None:
    with Server(spoilt_by(response(666))) as server, client_of(mode, server.url) as client:
        for engine in (1, 2):
            assert mode.call(client, engine) == engine
            SPOIL.release()
            assert SPOILT.acquire(timeout=60)
        assert (server.connections, server.requests) == (2, [1, 2])


@pytest.mark.parametrize(
    ("version", "header", "is_kept"),
    [
        *(("1.1", each, True) for each in ("X: close", "Connection: keep-alive", "Connection: x,closed", "Proxy-Connection: close")),
        *(("1.1", f"cOnnection:{each}", False) for each in (" close", "Close", " keep-alive, close", "x,\tCLOSE ,y", " keep-alive\r\nConnection: close")),
        *(("1.0", each, False) for each in ("X: keep-alive", "Connection: x", "Connection: keep-alive, close")),
        *(("1.0", f"Connection: {each}", True) for each in ("keep-alive", "x , Keep-Alive")),
    ],
)  # fmt: skip
def test_a_connection_is_used_again_unless_the_server_closes_it(
    caller: Caller, version: str, header: str, *, is_kept: bool
) -> None:
    sent = raw_response(200, ACCEPTED, header).replace(b"1.1", version.encode(), 1)
    with LoopbackServer(sent, keep_open=True) as server:
        assert len(caller.calls(ENGINE, Client(server.url), {}, {}, {})) == 3
        assert server.connections == (1 if is_kept else 3)


def test_a_connection_is_not_used_again_if_the_caller_asks_to_close_it(caller: Caller) -> None:
    with LoopbackServer(GOOD, keep_open=True) as server:
        client = Client(server.url, headers={"Connection": "close"})
        assert len(caller.calls(ENGINE, client, {}, {})) == server.connections == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_connections_of_its_own(mode: Mode) -> None:
    with Server() as server, client_of(mode, server.url) as client:

        def check(own: Mode, first: int) -> None:
            assert [own.call(client, first + n) for n in range(20)] == [first + n for n in range(20)]

        check(mode, 1)
        assert outcome(in_child(lambda: check(mode.other(), 100))) == 0
        assert server.connections == 2
