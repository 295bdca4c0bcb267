"""Ways in which the promise was broken once: a request sent twice, or an outcome called known that was not."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator
from functools import partial
from math import inf, nan
from typing import Any

import httpx
import pytest

from huaweicloud_retry import (
    AkSkAuth,
    APIConnectionError,
    APIError,
    InternalServerError,
    PasswordAuth,
    Resend,
    TokenAuth,
    connect,
)
from huaweicloud_retry_client import Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest
from tests.connections import LONG, Line, Mode, Server, in_child, outcome

AT_ONCE = Resend(initial_backoff=0)


@pytest.mark.parametrize("name", ["sync", "asyncio"])
@pytest.mark.parametrize("error", [TimeoutError, OSError])
@pytest.mark.parametrize("resend", [None, AT_ONCE])
def test_an_alarm_that_comes_when_the_request_has_left_is_no_failure_to_send(
    name: str, error: type[OSError], resend: Resend | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, alarms = socket.socket.send, [error("alarm")]

    def interrupted(sock: socket.socket, data: Any, *flags: int) -> int:
        sent = send(sock, data, *flags)
        if alarms and bytes(data[:4]) == b"PUT ":
            raise alarms.pop()
        return sent

    monkeypatch.setattr(socket.socket, "send", interrupted)
    mode = Mode(name)
    with mode.runner, Server() as server:
        client = Client(server.url, auth=TokenAuth("t0ken-t0ken"), resend=resend)
        assert mode.error(client).outcome_unknown
        assert mode.call(client, 8) == 8
        mode.close(client)
        server.wait_for_open(0)
    assert sorted(server.requests) == [7, 8]


class Audited(httpx.Auth):
    """Sends a request of its own after the operation's."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        yield request
        yield httpx.Request("POST", "http://127.0.0.1/audit")


@pytest.mark.parametrize(
    ("own", "audit", "error"),
    [(200, None, APIConnectionError), (504, None, APIConnectionError), (504, 401, InternalServerError)],
)
def test_an_auths_own_request_makes_nothing_known(own: int, audit: int | None, error: type[APIError]) -> None:
    sent: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request.method)
        if request.method == "POST" and audit is None:
            raise httpx.ConnectError("down")
        status = own if request.method == "PUT" else audit
        return httpx.Response(status or own, json={"id": "e", "name": "n", "jobId": 7})

    transport = httpx.MockTransport(handler)
    with pytest.raises(error) as caught:
        Mode("sync").call(Client("http://127.0.0.1", auth=Audited(), transport=transport, resend=AT_ONCE))
    assert (caught.value.outcome_unknown, sent) == (True, ["PUT", "POST"])


def test_a_closed_client_resends_nothing() -> None:
    sent: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        client.close()
        return httpx.Response(429, headers={"Retry-After": "0"})

    client = Client("http://127.0.0.1", transport=httpx.MockTransport(handler), resend=AT_ONCE)
    with pytest.raises(RuntimeError, match="closed"):
        Mode("sync").call(client)
    assert len(sent) == 1


def test_a_process_that_is_forked_while_a_token_is_fetched_fetches_its_own() -> None:
    begun, may_end, parent = threading.Event(), threading.Event(), os.getpid()

    def fetch() -> str:
        begun.set()
        if os.getpid() == parent:
            may_end.wait()
        return "t0ken"

    auth = TokenAuth(fetch)

    def check() -> None:
        signal.alarm(LONG)  # a process that hangs ends with a signal
        request = next(auth.sync_auth_flow(httpx.Request("GET", "http://h")))
        assert request.headers["X-Auth-Token"] == "t0ken"
        signal.alarm(0)

    fetching = threading.Thread(target=lambda: next(auth.sync_auth_flow(httpx.Request("GET", "http://h"))))
    fetching.start()
    begun.wait()
    assert outcome(in_child(check)) == 0
    may_end.set()
    fetching.join()


def test_a_wrong_password_is_tried_once_even_if_the_caller_gives_up_in_the_middle_of_the_401() -> None:
    requests: list[bytes] = []
    is_sent = threading.Event()

    def serve(line: Line) -> None:
        while part := line.socket.recv(1 << 16):
            requests.append(part)
            line.socket.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\n")  # the body never comes
            is_sent.set()

    async def calls(iam: Server) -> None:
        auth = PasswordAuth("u", "s3cret-pass", domain_name="d", iam_endpoint=iam.url)
        async with Client("http://127.0.0.1:1", auth=auth) as client:
            arguments: dict[str, Any] = {"client": client, "body": EngineActionRequest()}
            first = asyncio.create_task(retry_engine.asyncio("p", "e", **arguments))
            await asyncio.to_thread(is_sent.wait)
            for _ in range(3):  # turns of the event loop, in which it reads what is there
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first])
            with pytest.raises(APIError):
                await retry_engine.asyncio("p", "e", **arguments)

    with Server(serve) as iam:
        asyncio.run(calls(iam))
    assert b"".join(requests).count(b" HTTP/1.1\r\n") == 1


late: Any = partial  # of no type: type checkers see that these arguments are wrong


@pytest.mark.parametrize(
    "make",
    [
        *(late(Client("http://h").with_resend, wrong) for wrong in (False, True, 3, Resend)),
        late(connect, "cse", endpoint="http://127.0.0.1", credentials=TokenAuth("t"), resend=True),
        *(late(Resend, max_attempts=wrong) for wrong in (nan, True)),
        late(Resend, initial_backoff=nan),
        late(Resend, max_backoff=inf),
        late(Client, "http://h", auth="t0ken"),
        late(Client, "http://h", transport="x"),
        late(Client, httpx.URL("http://h")),
        late(Client, "http://h", timeout="5"),
        late(Client, "http://h", headers={b"X": "y"}),
        late(Client, "http://h", verify=""),
        late(connect, None),
        late(connect, "cse", endpoint=httpx.URL("https://h")),
        late(connect, "cse", region=5),
        late(TokenAuth, b"t0ken"),
        late(AkSkAuth, None, "sk"),
        late(PasswordAuth, "u", b"p", domain_name="d"),
    ],
)  # fmt: skip
def test_an_invalid_argument_is_refused_before_anything_is_sent(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must be|cannot be|no service|no region|may be"):
        make()
