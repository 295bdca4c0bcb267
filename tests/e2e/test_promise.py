"""Ways in which the promise was broken once: a request sent twice, or an outcome called known that was not."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, Self

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

AT_ONCE = Resend(initial_backoff=0)
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n{"id":"e","name":"n","jobId":7}  '


def sync(client: Client) -> int:
    return retry_engine.sync("p", "e", client=client, body=EngineActionRequest()).job_id


def in_asyncio(client: Client) -> int:
    return asyncio.run(retry_engine.asyncio("p", "e", client=client, body=EngineActionRequest())).job_id


BOTH = pytest.mark.parametrize("call", [sync, in_asyncio])


class Server:
    """Reads requests on a real socket, one connection at a time, and responds to each with the same bytes."""

    def __init__(self, response: bytes) -> None:
        self.requests = self.responses = 0
        self._response = response
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # ends accept()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                self._one(self._socket.accept()[0])

    def _one(self, line: socket.socket) -> None:
        with line, suppress(ConnectionError):
            while data := line.recv(65536):
                self.requests += data.count(b" HTTP/1.1\r\n")
                line.sendall(self._response)
                self.responses += 1


@BOTH
@pytest.mark.parametrize("error", [TimeoutError, OSError])
@pytest.mark.parametrize("resend", [None, AT_ONCE])
def test_an_alarm_that_comes_when_the_request_has_left_is_no_failure_to_send(
    call: Callable[[Client], int], error: type[OSError], resend: Resend | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, alarms = socket.socket.send, [error("alarm")]

    def interrupted(sock: socket.socket, data: Any, *flags: int) -> int:
        sent = send(sock, data, *flags)
        if alarms and bytes(data[:4]) == b"PUT ":
            raise alarms.pop()
        return sent

    monkeypatch.setattr(socket.socket, "send", interrupted)
    with Server(OK) as server, Client(server.url, auth=TokenAuth("t0ken-t0ken"), resend=resend) as client:
        with pytest.raises(APIConnectionError) as caught:
            call(client)
        assert caught.value.outcome_unknown
        assert call(client) == 7  # which the server reads after the one before
        assert server.requests == 2


class Audited(httpx.Auth):
    """Sends a request of its own after the operation's."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        yield request
        yield httpx.Request("POST", "http://127.0.0.1/audit")


@pytest.mark.parametrize("own", [200, 504])
def test_what_an_auth_does_afterwards_makes_no_known_outcome_and_no_resend(own: int) -> None:
    sent: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request.method)
        if request.method == "POST":
            raise httpx.ConnectError("down")
        return httpx.Response(own, json={"id": "e", "name": "n", "jobId": 7})

    client = Client("http://127.0.0.1", auth=Audited(), transport=httpx.MockTransport(handler), resend=AT_ONCE)
    with pytest.raises(APIConnectionError) as caught:
        sync(client)
    assert (caught.value.outcome_unknown, sent) == (True, ["PUT", "POST"])


def test_a_refusal_of_an_auths_own_request_is_not_the_operations_response() -> None:
    statuses = {"PUT": 504, "POST": 401}
    transport = httpx.MockTransport(lambda request: httpx.Response(statuses[request.method]))
    with pytest.raises(InternalServerError) as caught:
        sync(Client("http://127.0.0.1", auth=Audited(), transport=transport))
    assert (caught.value.status_code, caught.value.outcome_unknown) == (504, True)


@pytest.mark.parametrize("wrong", [False, True, 3, Resend])
def test_a_wrong_policy_is_refused_before_anything_is_sent(wrong: Any) -> None:
    with pytest.raises(ValueError, match="resend must be a Resend"):
        connect("cse", endpoint="http://127.0.0.1", credentials=TokenAuth("t"), resend=wrong)
    with pytest.raises(ValueError, match="resend must be a Resend"):
        Client("http://127.0.0.1").with_resend(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": float("nan")},
        {"max_attempts": True},
        {"initial_backoff": float("nan")},
        {"max_backoff": float("inf")},
    ],
)
def test_a_policy_without_end_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Resend(**wrong)


def test_a_closed_client_resends_nothing() -> None:
    sent: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        client.close()
        return httpx.Response(429, headers={"Retry-After": "0"})

    client = Client("http://127.0.0.1", transport=httpx.MockTransport(handler), resend=AT_ONCE)
    with pytest.raises(RuntimeError, match="closed"):
        sync(client)
    assert len(sent) == 1


def test_a_process_that_is_forked_while_a_token_is_fetched_fetches_its_own() -> None:
    code = """
import os, signal, threading
import httpx
from huaweicloud_retry import TokenAuth
begun, may_end, parent = threading.Event(), threading.Event(), os.getpid()
def fetch():
    begun.set()
    if os.getpid() == parent:
        may_end.wait()
    return "t0ken"
auth = TokenAuth(fetch)
def token():
    return next(auth.sync_auth_flow(httpx.Request("GET", "http://h"))).headers["X-Auth-Token"]
thread = threading.Thread(target=token)
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)  # a child that hangs ends with a signal
    os._exit(0 if token() == "t0ken" else 1)
status = os.waitpid(child, 0)[1]
may_end.set()
thread.join()
print(status)
"""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "0\n"


def test_a_wrong_password_is_tried_once_even_if_the_caller_gives_up_in_the_middle_of_the_401() -> None:
    async def calls(iam: Server) -> None:
        auth = PasswordAuth("u", "s3cret-pass", domain_name="d", iam_endpoint=iam.url)
        async with Client("http://127.0.0.1:1", auth=auth) as client:
            call = retry_engine.asyncio("p", "e", client=client, body=EngineActionRequest())
            first = asyncio.create_task(call)
            while not iam.responses:  # noqa: ASYNC110 - what is awaited happens in a thread
                await asyncio.sleep(0)
            for _ in range(3):  # turns of the event loop, in which it reads what is there
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first])
            with pytest.raises(APIError):
                await retry_engine.asyncio("p", "e", client=client, body=EngineActionRequest())

    with Server(b"HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\n") as iam:  # whose body never comes
        asyncio.run(calls(iam))
        assert iam.requests == 1


def test_a_folder_of_cas_that_is_none_is_reported_at_connect() -> None:
    code = """
from huaweicloud_retry import ConfigurationError, TokenAuth, connect
try:
    connect("cse", region="cn-north-4", credentials=TokenAuth("t"))
except ConfigurationError as error:
    print(error)
"""
    environ = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
    environ["SSL_CERT_DIR"] = "/nowhere"
    ran = subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True, text=True)
    assert "check SSL_CERT_DIR" in ran.stdout


@pytest.mark.parametrize(
    "make",
    [
        lambda: Client("http://h", auth="t0ken"),  # type: ignore[arg-type]
        lambda: Client("http://h", transport="x"),  # type: ignore[arg-type]
        lambda: Client(httpx.URL("http://h")),  # type: ignore[arg-type]
        lambda: Client("http://h", timeout="5"),  # type: ignore[arg-type]
        lambda: Client("http://h", headers={b"X": "y"}),  # type: ignore[dict-item]
        lambda: Client("http://h", verify=""),
        lambda: connect(None),  # type: ignore[arg-type]
        lambda: connect("cse", endpoint=httpx.URL("https://h")),  # type: ignore[arg-type]
        lambda: connect("cse", region=5),  # type: ignore[arg-type]
        lambda: TokenAuth(b"t0ken"),  # type: ignore[arg-type]
        lambda: AkSkAuth(None, "sk"),  # type: ignore[arg-type]
        lambda: PasswordAuth("u", b"p", domain_name="d"),  # type: ignore[arg-type]
    ],
)
def test_an_argument_of_the_wrong_type_is_a_clear_error(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must be|cannot be|no service|no region|may be"):
        make()
