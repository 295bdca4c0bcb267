"""PasswordAuth and TokenAuth: one fetch for all, renewal in time, no secret in any text."""

import asyncio
import copy
import gzip
import itertools
import json
import logging
import pickle
import re
import socket
import threading
import traceback
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import anyio
import httpx
import pytest

from huaweicloud_retry import (
    AkSkAuth,
    ConfigurationError,
    IAMAuthenticationError,
    IAMError,
    PasswordAuth,
    TokenAuth,
    token_cache,
)
from huaweicloud_retry.testing import Mock
from huaweicloud_retry_client import APIConnectionError, Client, Response
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest
from tests.callers import LazyBody, LoopbackServer, raw_response

ENGINE = "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
PASSWORD, TOKEN = "cAnArY-pAsSwOrD", "cAnArY-tOkEn"
MIB = 1 << 20

Send = Callable[..., Response[Any]]
Then = Callable[[], object] | None
Handler = Callable[[httpx.Request], httpx.Response]


def send(client: Client, project: str = "p1") -> Response[Any]:
    return retry_engine.sync_detailed(project, ENGINE, client=client, body=EngineActionRequest())


async def asend(client: Client, project: str = "p1") -> Response[Any]:
    return await retry_engine.asyncio_detailed(project, ENGINE, client=client, body=EngineActionRequest())


def send_in_asyncio(client: Client, project: str = "p1") -> Response[Any]:
    return asyncio.run(asend(client, project))


@pytest.fixture(params=[send, send_in_asyncio], ids=["sync", "async"])
def sends(request: pytest.FixtureRequest) -> Send:
    how: Send = request.param
    return how


LOOPS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def issued(request: httpx.Request, *, seconds: float = 86400, project: str | None = None) -> httpx.Response:
    """Return IAM's response: a token for the project that was asked for, or for another."""
    scope = json.loads(request.content)["auth"]["scope"].get("project", {})
    start = datetime(2020, 1, 4, 9, 5, 22, 701000, UTC)
    token: dict[str, Any] = {
        "issued_at": start.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "expires_at": (start + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z"),
    }
    if project := project or scope.get("id"):
        token["project"] = {"id": project, "name": "cn-north-4"}
    return httpx.Response(201, json={"token": token}, headers={"X-Subject-Token": f"{TOKEN} {project}"})


def refused(code: str, status: int = 401) -> httpx.Response:
    return httpx.Response(status, json={"error_code": code, "error_msg": "no"})


class Gateway(httpx.MockTransport):
    """IAM and a service in one. The service gives `responses` one after the other, then 200."""

    def __init__(self, *responses: httpx.Response, iam: Handler = issued) -> None:
        self.fetches: list[httpx.Request] = []
        self.tokens: list[str] = []
        left = iter(responses)

        def respond(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/v3/auth/tokens":
                self.fetches.append(request)
                return iam(request)
            self.tokens.append(request.headers["X-Auth-Token"])
            return next(left, httpx.Response(200))

        super().__init__(respond)

    def client(self, how: httpx.Auth) -> Client:
        return Client("https://cse.test", auth=how, transport=self)


def password_auth(**changes: Any) -> PasswordAuth:
    arguments = {"user_name": "mock-user", "password": "mock-password", "domain_name": "mock-domain"}
    return PasswordAuth(**{**arguments, "iam_endpoint": "https://iam.test", **changes})


# --- What IAM is asked for, and which project a token is for ---


@pytest.mark.parametrize(
    ("project", "scope"),
    [
        ({}, {"project": {"id": "p1"}}),
        ({"project_id": "p1"}, {"project": {"id": "p1"}}),
        ({"project_name": "cn-north-4"}, {"project": {"name": "cn-north-4"}}),
    ],
)
def test_iam_is_asked_for_a_token_of_the_project(project: dict[str, str], scope: dict[str, Any]) -> None:
    gateway = Gateway()
    send(gateway.client(PasswordAuth("u", PASSWORD, domain_name="d", **project)))
    (request,) = gateway.fetches
    user = {"name": "u", "password": PASSWORD, "domain": {"name": "d"}}
    identity = {"methods": ["password"], "password": {"user": user}}
    assert json.loads(request.content) == {"auth": {"identity": identity, "scope": scope}}
    assert request.method == "POST"
    assert request.url == "https://iam.myhuaweicloud.com/v3/auth/tokens?nocatalog=true"
    assert request.headers["Host"] == "iam.myhuaweicloud.com"
    assert request.headers["Content-Type"] == "application/json;charset=utf8"


def test_a_plain_httpx_client_gets_a_token_of_the_account_in_its_own_timeout() -> None:
    gateway = Gateway()
    with httpx.Client(transport=gateway, auth=password_auth()) as http:
        http.get("https://cse.test", timeout=3)
    (request,) = gateway.fetches
    assert json.loads(request.content)["auth"]["scope"] == {"domain": {"name": "mock-domain"}}
    assert set(request.extensions["timeout"].values()) == {3}


def test_each_project_gets_its_own_token(sends: Send) -> None:
    gateway = Gateway()
    client = gateway.client(password_auth())
    for project in ("projectA", "projectB", "projectA", "projectB"):
        sends(client, project)
    assert gateway.tokens == [f"{TOKEN} projectA", f"{TOKEN} projectB"] * 2
    assert len(gateway.fetches) == 2


@pytest.mark.parametrize(("kind", "fetches"), [("project_id", 0), ("project_name", 1)])
def test_a_token_of_one_project_is_not_sent_for_another(sends: Send, kind: str, fetches: int) -> None:
    gateway = Gateway(iam=lambda request: issued(request, project="projectA"))
    client = gateway.client(password_auth(**{kind: "projectA"}))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"for project projectA, .* is for projectB"):
            sends(client, "projectB")
    assert (gateway.tokens, len(gateway.fetches)) == ([], fetches)
    assert sends(client, "projectA").status_code == 200
    assert (gateway.tokens, len(gateway.fetches)) == ([f"{TOKEN} projectA"], 1)


# --- Renewal ---


def test_a_body_that_can_be_read_only_once_is_not_resent_but_the_next_request_renews_the_token() -> None:
    gateway = Gateway(httpx.Response(200), refused("APIGW.0307"))

    class Unread(httpx.BaseTransport):  # unlike MockTransport, which reads the body first
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = gateway.handler(request)
            assert isinstance(response, httpx.Response)
            return response

    uploads = {"https://upload.test": Unread()}
    with httpx.Client(transport=gateway, mounts=uploads, auth=password_auth()) as http:
        assert http.get("https://cse.test").status_code == 200
        assert http.post("https://upload.test", content=iter([b"x"])).status_code == 401
        assert (len(gateway.fetches), len(gateway.tokens)) == (1, 2)
        assert http.get("https://cse.test").status_code == 200
    assert len(gateway.fetches) == 2


# --- Many callers ---


TWENTY = ("p1",) * 20


class Callers(NamedTuple):
    """Many calls at once, in threads or in the tasks of an event loop."""

    kind: str
    waiting: threading.Semaphore

    def outcomes(self, client: Client, projects: Sequence[str] = TWENTY, then: Then = None) -> list[Any]:
        """Call once for each project; return responses and errors. Call `then` when all wait for a token."""
        if self.kind == "threads":
            return self._of_threads(client, projects, then)
        outcomes: list[Any] = []

        async def one(project: str) -> None:
            try:
                outcomes.append(await asend(client, project))
            except Exception as error:  # noqa: BLE001 - the test looks at it
                outcomes.append(error)

        async def main() -> None:
            async with client, anyio.create_task_group() as group:
                for project in projects:
                    group.start_soon(one, project)
                if then is not None:
                    await anyio.wait_all_tasks_blocked()
                    then()

        anyio.run(main, backend=self.kind)
        return outcomes

    def _of_threads(self, client: Client, projects: Sequence[str], then: Then) -> list[Any]:
        with ThreadPoolExecutor(len(projects)) as pool, client:
            futures = [pool.submit(send, client, project) for project in projects]
            if then is not None:
                for _ in projects:
                    assert self.waiting.acquire(timeout=60)
                then()
            return [future.exception() or future.result() for future in futures]


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Released by each thread that is about to wait for a fetch."""
    arrived = threading.Semaphore(0)

    class Watched(token_cache.Fetch):  # nothing else reports that a thread waits
        def exception(self, timeout: float | None = None) -> BaseException | None:
            if not self.done():
                arrived.release()
            return super().exception(timeout)

    monkeypatch.setattr(token_cache, "Fetch", Watched)
    return arrived


@pytest.fixture(params=["threads", "asyncio", "trio"])
def callers(request: pytest.FixtureRequest, waiting: threading.Semaphore) -> Callers:
    return Callers(request.param, waiting)


class Fetches:
    """Fetches tokens. The first fetch takes until `go` is set, and then ends with `first`."""

    def __init__(self, first: BaseException | None = None) -> None:
        self.count = 0
        self.begun, self.go = threading.Event(), threading.Event()
        self._first = first

    def function(self) -> str:
        self.count += 1
        if self.count == 1:
            self.begun.set()
            assert self.go.wait(60)
            if self._first is not None:
                raise self._first
        return TOKEN

    def iam(self, request: httpx.Request) -> httpx.Response:
        self.function()
        return issued(request)

    def auth(self, kind: str) -> httpx.Auth:
        return TokenAuth(self.function) if kind == "function" else password_auth()


WHENCE = pytest.mark.parametrize("whence", ["function", "IAM"])


@WHENCE
@pytest.mark.parametrize("first", [None, httpx.ConnectError("down"), KeyboardInterrupt()], ids=repr)
def test_all_share_one_fetch_but_not_its_interruption(
    callers: Callers, whence: str, first: BaseException | None
) -> None:
    fetches = Fetches(first)
    gateway, how = Gateway(iam=fetches.iam), fetches.auth(whence)
    with ThreadPoolExecutor(1) as pool:
        own = pool.submit(send, gateway.client(how))
        assert fetches.begun.wait(60)
        outcomes = callers.outcomes(gateway.client(how), then=fetches.go.set)
        error = own.exception()
    assert len(outcomes) == 20
    if isinstance(first, httpx.ConnectError):
        assert {type(each) for each in [error, *outcomes]} == {APIConnectionError}
        if whence == "IAM":
            assert {str(each) for each in outcomes} == {str(error)}
            assert str(error).startswith("POST https://iam.test/v3/auth/tokens")
        assert (fetches.count, gateway.tokens) == (1, [])
    else:
        assert type(error) is type(first)
        assert {each.status_code for each in outcomes} == {200}
        assert fetches.count == (1 if first is None else 2)  # one of the others took over


def test_threads_and_event_loops_share_one_fetch(waiting: threading.Semaphore) -> None:
    fetches = Fetches()
    gateway, how = Gateway(iam=fetches.iam), password_auth()
    all_wait = threading.Barrier(3, action=fetches.go.set)
    with ThreadPoolExecutor(4) as pool:
        own = pool.submit(send, gateway.client(how))
        assert fetches.begun.wait(60)
        groups = [
            pool.submit(Callers(kind, waiting).outcomes, gateway.client(how), then=lambda: all_wait.wait(60))
            for kind in ("threads", "asyncio", "trio")
        ]
        assert own.result().status_code == 200
        assert {each.status_code for group in groups for each in group.result()} == {200}
    assert (fetches.count, len(gateway.tokens)) == (1, 61)


def test_many_callers_fetch_one_token_and_renew_it_once(callers: Callers, mock: Mock) -> None:
    how = password_auth(iam_endpoint=mock.url)
    for fetches in (1, 2):
        outcomes = callers.outcomes(Client(mock.url, auth=how), ["demo-project"] * 20)
        assert {each.status_code for each in outcomes} <= {200, 400}  # 400: nothing is left to retry
        operations = [entry["operation"] for entry in mock.request_log()]
        assert operations.count("KeystoneCreateUserTokenByPassword") == fetches
        mock.advance(86400)


def test_a_wrong_password_is_tried_once_for_all_callers_and_projects(callers: Callers, mock: Mock) -> None:
    how = password_auth(iam_endpoint=mock.url, password=PASSWORD)
    projects = [f"project-{number}" for number in range(32)]
    outcomes = callers.outcomes(Client(mock.url, auth=how), projects)
    with pytest.raises(IAMAuthenticationError) as last:
        send(Client(mock.url, auth=how), "yet another")
    assert [entry["status"] for entry in mock.request_log()] == [401]
    assert {type(each) for each in outcomes} == {IAMAuthenticationError}
    assert {str(each) for each in outcomes} == {str(last.value)}
    says = r"401: The username or password is wrong.*\[request id .*check user_name.*lock the account"
    assert re.search(says, str(last.value))
    assert not last.value.outcome_unknown


async def cancelled(client: Client, scope: anyio.CancelScope) -> None:
    with scope:
        await asend(client)


@LOOPS
def test_a_cancelled_fetch_is_taken_over_and_all_get_its_error(backend: str) -> None:
    errors: list[str] = []

    async def one(client: Client) -> None:
        with pytest.raises(APIConnectionError) as caught:
            await asend(client)
        errors.append(str(caught.value).partition(": ")[2])

    async def main(silent: LoopbackServer) -> None:
        scope = anyio.CancelScope()
        client = Client(silent.url, auth=password_auth(iam_endpoint=silent.url))
        async with client, anyio.create_task_group() as group:
            group.start_soon(cancelled, client, scope)
            await anyio.to_thread.run_sync(silent.asked.wait)
            silent.asked.clear()
            for _ in range(20):
                group.start_soon(one, client)
            await anyio.wait_all_tasks_blocked()
            assert len(silent.requests) == 1
            scope.cancel()
            await anyio.to_thread.run_sync(silent.asked.wait)
            silent.stop()

    with LoopbackServer(response=None) as silent:
        anyio.run(main, silent, backend=backend)
    assert (len(silent.requests), len(errors), len(set(errors))) == (2, 20, 1)


@LOOPS
def test_a_cancelled_caller_does_not_wait_for_the_function(backend: str) -> None:
    fetches, gateway = Fetches(), Gateway()
    client = gateway.client(TokenAuth(fetches.function))

    async def main() -> None:
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(cancelled, client, scope)
            await anyio.to_thread.run_sync(fetches.begun.wait)
            group.start_soon(asend, client)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
        fetches.go.set()

    anyio.run(main, backend=backend)
    assert (fetches.count, gateway.tokens) == (2, [TOKEN])


@LOOPS
def test_an_event_loop_may_end_while_it_waits(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    how, gateway = password_auth(), Gateway()
    flow = how.sync_auth_flow(httpx.Request("GET", "https://cse.test"))
    fetch = next(flow)
    fetch.read()

    async def main() -> None:
        async with httpx.AsyncClient(transport=gateway, auth=how) as http, anyio.create_task_group() as group:
            group.start_soon(http.get, "https://cse.test")
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    assert flow.send(issued(fetch)).headers["X-Auth-Token"] == f"{TOKEN} None"
    flow.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_call_within_the_event_loop_of_a_fetch_does_not_wait_for_it() -> None:
    how, gateway = password_auth(project_id="p1"), Gateway()

    async def main() -> None:
        flow = how.async_auth_flow(httpx.Request("GET", "https://cse.test"))
        fetch = await anext(flow)
        assert send(gateway.client(how)).status_code == 200
        fetch.read()
        assert (await flow.asend(issued(fetch))).headers["X-Auth-Token"] == f"{TOKEN} p1"
        await flow.aclose()

    asyncio.run(main())
    assert send(gateway.client(how)).status_code == 200
    assert len(gateway.fetches) == 1


# --- When IAM gives no token ---


def test_a_wrong_password_is_tried_once_even_if_a_hook_of_the_client_raises_first() -> None:
    def hook(response: httpx.Response) -> None:
        response.raise_for_status()

    with LoopbackServer(raw_response(401, b"{}")) as iam:
        auth = PasswordAuth("u", PASSWORD, domain_name="d", iam_endpoint=iam.url)
        with httpx.Client(auth=auth, event_hooks={"response": [hook]}) as http:
            for _ in range(3):
                with pytest.raises((httpx.HTTPStatusError, IAMAuthenticationError)):
                    http.get("https://cse.test")
        assert len(iam.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "code", "text"),
    [
        (403, {"error": {"code": 403, "message": "M", "title": "T"}}, "403", "403: M; the IAM user"),
        (404, {"error": {"code": 404, "message": "M", "title": "T"}}, "404", "404: M; check the project"),
        (400, {"error_msg": "M", "error_code": "IAM.0011"}, "IAM.0011", "400 IAM.0011: M"),
        (503, {"error_msg": "M", "error_code": "A.1", "request_id": "r1"}, "A.1", r"M \[request id r1"),
        (307, {}, None, "307: "),
    ],
)
def test_any_other_refusal_is_explained(
    sends: Send, status: int, body: Any, code: str | None, text: str
) -> None:
    left = iter([httpx.Response(status, json=body)])
    client = Gateway(iam=lambda request: next(left, None) or issued(request)).client(password_auth())
    with pytest.raises(IAMError, match=f"IAM refused .*{text}") as refusal:
        sends(client)
    assert type(refusal.value) is IAMError
    assert (refusal.value.status_code, refusal.value.error_code) == (status, code)
    assert not refusal.value.outcome_unknown
    assert sends(client).status_code == 200


GOOD_BODY = {"token": {"issued_at": "2020-01-04T09:05:22Z", "expires_at": "2020-01-05T09:05:22Z"}}


def with_token(body: Any, token: str = TOKEN) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body)
    return httpx.Response(201, content=content, headers={"X-Subject-Token": token})


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(201, json=GOOD_BODY),
        with_token(GOOD_BODY, f"{TOKEN}\t"),
        with_token({"token": {}}),
        with_token(f"<html>{TOKEN}".encode()),
        with_token(b"[" * 100_000),
        with_token({"token": {**GOOD_BODY["token"], "expires_at": "2020-01-04T09:05:22Z"}}),
        with_token({"token": {**GOOD_BODY["token"], "expires_at": "2020-01-05T09:05:22"}}),  # no time zone
    ],
)
def test_a_201_without_a_usable_token_is_explained(response: httpx.Response) -> None:
    with pytest.raises(IAMError, match="IAM's response has no token: 201, but") as refusal:
        send(Gateway(iam=lambda _: response).client(password_auth()))
    assert TOKEN not in "".join(traceback.format_exception(refusal.value))
    assert "X-Subject-Token" not in refusal.value.response.headers


@pytest.mark.parametrize(
    ("status", "encoding", "chunks", "most"),
    [
        (201, "identity", itertools.repeat(bytes(1 << 16)), 17),
        (400, "identity", itertools.repeat(bytes(1 << 16)), 17),
        (400, "gzip", [gzip.compress(bytes(50 * MIB))], 1),
    ],
    ids=["endless 201", "endless 400", "gzip bomb"],
)
def test_one_mebibyte_is_read(
    sends: Send, status: int, encoding: str, chunks: Iterable[bytes], most: int
) -> None:
    stream = LazyBody(chunks)
    headers = {"Content-Encoding": encoding, "X-Subject-Token": TOKEN}
    gateway = Gateway(iam=lambda _: httpx.Response(status, headers=headers, stream=stream))
    tracemalloc.start()
    try:
        with pytest.raises(IAMError) as error:
            sends(gateway.client(password_auth()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (stream.read <= most, stream.closed) == (True, True)
    assert len(error.value.response.content) == MIB
    assert peak < 16 * MIB


def test_a_drip_of_iam_is_not_waited_for_longer_than_the_timeout(sends: Send) -> None:
    stream = LazyBody(itertools.repeat(b" "))
    gateway = Gateway(iam=lambda _: httpx.Response(201, headers={"X-Subject-Token": TOKEN}, stream=stream))
    timeout = httpx.Timeout(5, read=0)
    client = Client("https://cse.test", auth=password_auth(), transport=gateway, timeout=timeout)
    with pytest.raises(IAMError, match="its body cannot be read: it was not complete in time"):
        sends(client)
    assert (stream.read, stream.closed) == (1, True)


def test_a_fetch_without_a_response_is_a_connection_error_of_the_client(sends: Send) -> None:
    def down(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("the response was not complete in time")

    with pytest.raises(APIConnectionError, match=r"/v3/auth/tokens.*the request was not processed") as error:
        sends(Gateway(iam=down).client(password_auth()))
    assert not error.value.outcome_unknown


def test_a_redirect_does_not_get_the_password() -> None:
    bodies: list[bytes] = []

    class Redirecting(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            assert isinstance(request.stream, httpx.SyncByteStream)
            bodies.extend(request.stream)
            return httpx.Response(307, headers={"Location": "http://elsewhere.test"})

    client = Client("https://cse.test", auth=password_auth(), transport=Redirecting())
    with pytest.raises(IAMError, match="307"):
        send(client)
    with (
        httpx.Client(transport=Redirecting(), auth=password_auth(), follow_redirects=True) as http,
        pytest.raises(httpx.TooManyRedirects, match="goes to iam_endpoint only"),
    ):
        http.get("https://cse.test")
    assert len(bodies) == 2  # one for each client


# --- TokenAuth with a function ---


@pytest.mark.parametrize("failure", [OSError("vault"), StopIteration(), f"{TOKEN}\r\nX-Admin: 1"], ids=repr)
def test_what_a_function_raises_is_shown_but_no_invalid_token(sends: Send, failure: Exception | str) -> None:
    def function() -> str:
        if isinstance(failure, Exception):
            raise failure
        return failure

    # Python makes a RuntimeError of a StopIteration that leaves a generator.
    expected = (OSError, RuntimeError, ValueError)
    with pytest.raises(expected, match=r"vault|StopIteration|printable ASCII") as error:
        sends(Gateway().client(TokenAuth(function)))
    assert TOKEN not in str(error.value)


# --- Secrets ---


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_no_log_and_no_history_of_httpx_shows_a_secret(
    caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    async def get(url: str, how: httpx.Auth) -> httpx.Response:
        async with httpx.AsyncClient(auth=how) as http:
            return await http.get(url)

    caplog.set_level(logging.DEBUG)
    iam_sends = raw_response(201, json.dumps(GOOD_BODY).encode(), f"X-Subject-Token: {TOKEN}")
    with LoopbackServer(iam_sends) as iam, LoopbackServer(raw_response(200, b"")) as cse:
        how = password_auth(password=PASSWORD, iam_endpoint=iam.url)
        response = asyncio.run(get(cse.url, how)) if is_async else httpx.get(cse.url, auth=how)
    assert PASSWORD.encode() in iam.requests[0].body
    assert [request.header("X-Auth-Token") for request in cse.requests] == [[TOKEN.encode()]]
    assert "receive_response_headers.complete" in caplog.text
    text = caplog.text
    for each in response.history:
        text += repr([each.headers, vars(each), each.request.headers, vars(each.request)])
    assert PASSWORD not in text
    assert TOKEN not in text


def test_an_exception_of_httpx_does_not_carry_the_password() -> None:
    with socket.socket() as held:  # an address that nobody listens at
        held.bind(("127.0.0.1", 0))
        how = password_auth(password=PASSWORD, iam_endpoint=f"http://127.0.0.1:{held.getsockname()[1]}")
        with pytest.raises(httpx.ConnectError) as error:
            httpx.get("https://cse.test", auth=how)
    shown = [pickle.dumps(error.value), *traceback.format_exception(error.value), vars(error.value.request)]
    assert PASSWORD not in repr(shown)


@pytest.mark.parametrize(
    "how",
    [
        *(TokenAuth(TOKEN), TokenAuth(lambda: TOKEN), PasswordAuth("u", PASSWORD, domain_name="d")),
        AkSkAuth("AK", PASSWORD, security_token=TOKEN),
    ],
    ids=repr,
)
def test_it_cannot_be_pickled_and_copies_share_the_token(how: httpx.Auth) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="holds a secret and cannot be pickled"):
            pickle.dumps(how, protocol)
    assert copy.copy(how) is copy.deepcopy(how) is how
    assert repr(how) == f"{type(how).__name__}(<hidden>)"
    assert not {PASSWORD, TOKEN} & {
        *map(repr, vars(how).values()),
        *(repr(getattr(how, name)) for name in dir(how)),
    }


# --- Arguments ---


@pytest.mark.parametrize("name", ["user_name", "password", "domain_name", "project_id", "project_name"])
@pytest.mark.parametrize("invalid", ["", f"{PASSWORD}\ud800"], ids=["empty", "surrogate"])
def test_an_invalid_argument_is_named_and_not_shown(name: str, invalid: str) -> None:
    with pytest.raises(ValueError, match=f"the {name} must be text, and not empty$"):
        password_auth(**{name: invalid})


def test_a_project_is_given_by_its_id_or_its_name() -> None:
    with pytest.raises(ValueError, match="not both"):
        password_auth(project_id="p1", project_name="cn-north-4")


@pytest.mark.parametrize("host", ["https://iam.test/", "http://localhost:8000"])
def test_a_valid_endpoint(host: str) -> None:
    """Of invalid ones: test_secrets."""
    gateway = Gateway()
    assert send(gateway.client(password_auth(iam_endpoint=host))).status_code == 200
    assert gateway.fetches[0].url.path == "/v3/auth/tokens"


# --- TokenAuth with a token ---


@pytest.mark.parametrize("token", [f"{TOKEN}+/=-_.~", "a b"])
def test_a_token_replaces_a_header_of_the_client_and_a_401_is_final(sends: Send, token: str) -> None:
    gateway = Gateway(*[refused("APIGW.0301")] * 2)
    client = Client(
        "https://cse.test", auth=TokenAuth(token), headers={"x-auth-token": "old"}, transport=gateway
    )
    assert sends(client).status_code == 401
    assert gateway.tokens == [token]


UNSENDABLE = [
    f"{TOKEN}{end}" for end in (" ", "\n", "\r\nX-Admin: 1", "\0", "\t", "\x7f", "é", "\N{NO-BREAK SPACE}")
]


@pytest.mark.parametrize("token", ["", f" {TOKEN}", *UNSENDABLE], ids=ascii)
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as refusal:
        TokenAuth(token)
    assert TOKEN not in str(refusal.value)
