"""TokenAuth with a function, and PasswordAuth: one token for all, got once, renewed in time, and shown to nobody."""

import asyncio
import copy
import gc
import html
import json
import logging
import pickle
import re
import struct
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from itertools import count
from typing import Any
from urllib.parse import quote

import anyio
import httpx
import pytest

from huaweicloud_retry import IAMAuthenticationError, IAMError, PasswordAuth, TokenAuth, auth
from huaweicloud_retry.mock import running
from huaweicloud_retry.testing import Mock
from huaweicloud_retry_client import APIConnectionError, AuthenticationError, Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest

ENGINE = "/v2/demo-project/enginemgr/engines/4a1bc63d-4719-4bd3-b1ad-5ee590b05e87/actions"
GET_TOKEN = "KeystoneCreateUserTokenByPassword"
PASSWORD = "cAnArY-pAsSwOrD"
TOKEN = "cAnArY-tOkEn"
THREADS, TASKS = 50, 200
# What an uninstalled package leaves behind is found as well, but comes from no file.
BACKENDS = [name for name in ("asyncio", "trio") if (spec := find_spec(name)) and spec.origin]


@pytest.fixture(scope="module")
def mock_url() -> Iterator[str]:
    with running() as url:
        yield url


@pytest.fixture
def mock(mock_url: str) -> Iterator[Mock]:
    with Mock(mock_url) as seen:
        seen.reset()
        yield seen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The monotonic clock as PasswordAuth sees it; put forward by a call."""
    now = 1000.0

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(auth, "monotonic", lambda: now)
    return advance


NO_TRIO = pytest.mark.skipif("trio" not in BACKENDS, reason="trio is not installed")


@pytest.fixture(params=["asyncio", pytest.param("trio", marks=NO_TRIO)])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]:
    return lambda function: anyio.run(function, backend=request.param)


Run = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


def password_auth(url: str, **changes: Any) -> PasswordAuth:
    arguments = {"user_name": "mock-user", "password": "mock-password", "domain_name": "mock-domain"}
    return PasswordAuth(**{**arguments, "project_id": "demo-project", "iam_endpoint": url, **changes})


def asked(mock: Mock) -> int:
    """How often IAM was asked."""
    return sum(entry["operation"] == GET_TOKEN for entry in mock.journal())


def statuses(mock: Mock) -> list[tuple[str, int | None]]:
    return [("IAM" if entry["operation"] == GET_TOKEN else "CSE", entry["status"]) for entry in mock.journal()]


def put(http: httpx.Client) -> int:
    """Call RetryEngine; 400 is an answer of the engine, which runs after the first call."""
    return http.put(ENGINE, json={"action": "Retry"}).status_code


async def aput(http: httpx.AsyncClient) -> int:
    return (await http.put(ENGINE, json={"action": "Retry"})).status_code


def issued(request: httpx.Request, lifetime: str = "2020-01-05T09:05:22.701000Z") -> httpx.Response:
    """IAM's answer."""
    times = {"issued_at": "2020-01-04T09:05:22.701000Z", "expires_at": lifetime}
    return httpx.Response(201, json={"token": times}, headers={"X-Subject-Token": TOKEN})


def refused(code: str) -> httpx.Response:
    return httpx.Response(401, json={"error_code": code, "error_msg": "no"})


class Unread(httpx.MockTransport):
    """Leaves the body of a request as it is, as a connection does."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.handler(request)
        assert isinstance(answer, httpx.Response)
        return answer


class Gateway(httpx.MockTransport):
    """IAM and a service in one: takes the answers to each from an iterator, and keeps the tokens that were sent."""

    def __init__(self, *answers: httpx.Response, iam: Callable[[httpx.Request], httpx.Response] = issued) -> None:
        self.tokens: list[str] = []
        self.asked: list[httpx.Request] = []
        left = iter(answers)

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/v3/auth/tokens":
                self.asked.append(request)
                return iam(request)
            self.tokens.append(request.headers["X-Auth-Token"])
            return next(left, httpx.Response(200))

        super().__init__(answer)


def call(gateway: httpx.MockTransport, how: httpx.Auth, **content: Any) -> httpx.Response:
    with httpx.Client(transport=gateway, auth=how) as http:
        return http.post("https://cse.test/", **content)


# ---- what is asked of IAM, and when


def test_the_token_is_got_at_first_use_and_kept(mock: Mock) -> None:
    with httpx.Client(base_url=mock.url, auth=password_auth(mock.url)) as http:
        assert asked(mock) == 0
        assert [put(http), put(http)] == [200, 400]
    assert statuses(mock) == [("IAM", 201), ("CSE", 200), ("CSE", 400)]
    assert mock.journal()[0]["query"] == "nocatalog=true"
    assert mock.journal()[0]["headers"]["content-type"] == "application/json;charset=utf8"


def test_the_generated_client_takes_it_in_both_worlds(mock: Mock) -> None:
    how = password_auth(mock.url)
    path: dict[str, Any] = {"engine_id": ENGINE.split("/")[5], "body": EngineActionRequest()}
    with Client(mock.url, auth=how) as client:
        assert retry_engine.sync("demo-project", **path, client=client).job_id == 18638

    async def main() -> int:
        async with Client(mock.url, auth=how) as client:
            return (await retry_engine.asyncio_detailed("demo-project", **path, client=client)).status_code

    assert asyncio.run(main()) == 400
    assert asked(mock) == 1


@pytest.mark.parametrize(
    ("project", "scope"),
    [
        ({"project_id": "p1"}, {"project": {"id": "p1"}}),
        ({"project_name": "cn-north-4"}, {"project": {"name": "cn-north-4"}}),
        ({}, {"domain": {"name": "d"}}),
    ],
)
def test_what_iam_is_sent(project: dict[str, str], scope: dict[str, Any]) -> None:
    gateway = Gateway()
    call(gateway, PasswordAuth("u", PASSWORD, domain_name="d", **project))
    (request,) = gateway.asked
    user = {"name": "u", "password": PASSWORD, "domain": {"name": "d"}}
    identity = {"methods": ["password"], "password": {"user": user}}
    assert json.loads(request.content) == {"auth": {"identity": identity, "scope": scope}}
    assert request.url == "https://iam.myhuaweicloud.com/v3/auth/tokens?nocatalog=true"
    assert request.headers["Host"] == "iam.myhuaweicloud.com"


def test_iam_is_given_as_long_as_the_request_that_needs_the_token() -> None:
    gateway = Gateway()
    with httpx.Client(transport=gateway, auth=password_auth("https://iam.test"), timeout=7) as http:
        http.get("https://cse.test", timeout=3)
    assert gateway.asked[0].extensions["timeout"] == dict.fromkeys(("connect", "read", "write", "pool"), 3)


@pytest.mark.parametrize(("lifetime", "margin"), [(86400, 300), (600, 30)])
def test_it_is_renewed_before_it_expires(
    mock: Mock, clock: Callable[[float], None], lifetime: float, margin: float
) -> None:
    mock.set_state(
        f"""{{projects: {{demo-project: {{}}}}, credentials: {{token_lifetime: {lifetime},
        users: {{mock-user: {{password: mock-password, domain: mock-domain}}}}}}}}"""
    )
    with httpx.Client(base_url=mock.url, auth=password_auth(mock.url)) as http:
        put(http)
        clock(lifetime - margin - 1)
        put(http)
        assert asked(mock) == 1
        clock(1)
        put(http)
        assert asked(mock) == 2


def test_its_lifetime_begins_when_the_answer_comes(clock: Callable[[float], None]) -> None:
    def slow(request: httpx.Request) -> httpx.Response:
        def body() -> Iterator[bytes]:
            clock(86400)
            yield issued(request).content

        return httpx.Response(201, headers={"X-Subject-Token": TOKEN}, content=body())

    gateway, how = Gateway(iam=slow), password_auth("https://iam.test")
    call(gateway, how)
    call(gateway, how)
    assert len(gateway.asked) == 2


# ---- 401


def test_a_token_that_has_expired_is_renewed_once_and_the_request_sent_again(mock: Mock, run: Run) -> None:
    how = password_auth(mock.url)

    async def main() -> None:
        async with httpx.AsyncClient(base_url=mock.url, auth=how) as http:
            await aput(http)
            mock.advance(86400)
            assert await aput(http) == 400

    run(main)
    assert statuses(mock) == [("IAM", 201), ("CSE", 200), ("CSE", 401), ("IAM", 201), ("CSE", 400)]
    with httpx.Client(base_url=mock.url, auth=how) as http:
        mock.advance(86400)
        assert put(http) == 400
    assert statuses(mock)[5:] == [("CSE", 401), ("IAM", 201), ("CSE", 400)]


def test_a_token_that_came_fresh_is_not_renewed() -> None:
    gateway = Gateway(refused("APIGW.0301"))
    assert call(gateway, password_auth("https://iam.test")).status_code == 401
    assert (len(gateway.asked), len(gateway.tokens)) == (1, 1)


def test_it_is_renewed_no_more_than_once_for_a_request() -> None:
    gateway = Gateway(httpx.Response(200), *[refused("APIGW.0307")] * 9)
    how = password_auth("https://iam.test")
    call(gateway, how)
    assert call(gateway, how).status_code == 401
    assert (len(gateway.asked), len(gateway.tokens)) == (2, 3)


@pytest.mark.parametrize(
    ("answer", "renewed"),
    [
        (refused("APIG.0307"), True),
        (refused("APIC.0301"), True),
        (refused("APIGW.0303"), False),
        (refused("WKS.00210301"), False),
        (httpx.Response(403, json={"error_code": "APIGW.0301"}), False),
        (httpx.Response(401, text="no"), False),
        (httpx.Response(401, headers={"Content-Length": "0"}), False),
        (httpx.Response(401, headers={"Content-Length": "65537"}, json={"error_code": "APIGW.0301"}), False),
        (httpx.Response(401, headers={"Content-Length": "9" * 5000}, json={"error_code": "APIGW.0301"}), False),
        (httpx.Response(401, content=iter([b"large"])), True),
    ],
)
def test_which_answers_make_it_renew(answer: httpx.Response, renewed: bool) -> None:
    gateway = Gateway(httpx.Response(200), answer)
    how = password_auth("https://iam.test")
    call(gateway, how)
    assert call(gateway, how).status_code == (200 if renewed else answer.status_code)
    assert len(gateway.asked) == 1 + renewed


class Endless(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that nobody should wait for, and that holds a connection until it is closed."""

    closed = False

    def __iter__(self) -> Iterator[bytes]:
        raise AssertionError("read")

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("read")

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "9", "Content-Encoding": "gzip"}])
def test_a_401_of_unknown_length_is_not_read_and_gives_its_connection_back(run: Run, headers: dict[str, str]) -> None:
    async def acall(gateway: httpx.MockTransport, how: httpx.Auth) -> httpx.Response:
        async with httpx.AsyncClient(transport=gateway, auth=how) as http:
            return await http.get("https://cse.test")

    for again in (call, lambda gateway, how: run(lambda: acall(gateway, how))):
        body = Endless()
        gone: list[bool] = []

        def iam(request: httpx.Request, body: Endless = body, gone: list[bool] = gone) -> httpx.Response:
            gone.append(body.closed)
            return issued(request)

        gateway = Gateway(httpx.Response(200), httpx.Response(401, headers=headers, stream=body), iam=iam)
        how = password_auth("https://iam.test")
        call(gateway, how)
        assert again(gateway, how).status_code == 200
        assert gone == [False, True]


def test_a_401_that_was_looked_at_can_still_be_streamed() -> None:
    answer = httpx.Response(401, headers={"Content-Length": "2"}, content=iter([b"n", b"o"]))
    gateway = Gateway(httpx.Response(200), answer)
    with httpx.Client(transport=gateway, auth=password_auth("https://iam.test")) as http:
        http.get("https://cse.test")
        with http.stream("GET", "https://cse.test") as response:
            assert b"".join(response.iter_raw()) == b"no"


def test_a_401_that_a_hook_has_read_is_looked_at_too() -> None:
    body = refused("APIGW.0307").content
    answer = httpx.Response(401, headers={"Content-Length": str(len(body))}, content=iter([body]))
    gateway, hooks = Gateway(httpx.Response(200), answer), {"response": [lambda response: response.read()]}
    with httpx.Client(transport=gateway, auth=password_auth("https://iam.test"), event_hooks=hooks) as http:
        assert [http.get("https://cse.test").status_code for _ in range(2)] == [200, 200]
    assert len(gateway.asked) == 2


def test_a_401_whose_body_breaks_off_is_a_401(run: Run, lazy_stream: Any) -> None:
    def broken() -> httpx.Response:
        stream = lazy_stream([b"{"], failure=httpx.ReadError("reset"))
        return httpx.Response(401, headers={"Content-Length": "9"}, stream=stream)

    gateway, how = Gateway(httpx.Response(200), broken(), broken()), password_auth("https://iam.test")

    async def main() -> httpx.Response:
        async with httpx.AsyncClient(transport=gateway, auth=how) as http:
            return await http.get("https://cse.test")

    call(gateway, how)
    for answer in (call(gateway, how), run(main)):
        assert (answer.status_code, answer.content) == (401, b"{")


def test_a_body_that_can_be_sent_but_once_is_not_sent_again() -> None:
    gateway = Gateway(httpx.Response(200), refused("APIGW.0307"))
    how = password_auth("https://iam.test")
    call(gateway, how)
    assert call(Unread(gateway.handler), how, content=iter([b"x"])).status_code == 401
    assert len(gateway.asked) == 1
    assert call(gateway, how).status_code == 200
    assert len(gateway.asked) == 2


# ---- many at once


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Released by each thread that is about to wait for another's token."""
    arrived = threading.Semaphore(0)

    class Watched(auth._Flight):  # nothing else tells when a thread waits
        def result(self, timeout: float | None = None) -> auth._Token | None:
            arrived.release()
            return super().result(timeout)

    monkeypatch.setattr(auth, "_Flight", Watched)
    return arrived


def in_threads(function: Callable[[], Any], count: int) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return [future.exception() or future.result() for future in [pool.submit(function) for _ in range(count)]]


def test_fifty_threads_ask_iam_once_and_once_more_to_renew(mock: Mock) -> None:
    with httpx.Client(base_url=mock.url, auth=password_auth(mock.url)) as http:
        assert sorted(in_threads(lambda: put(http), THREADS)) == [200] + [400] * (THREADS - 1)
        assert asked(mock) == 1
        mock.advance(86400)
        assert in_threads(lambda: put(http), THREADS) == [400] * THREADS
        assert asked(mock) == 2


def test_two_hundred_tasks_ask_iam_once_and_once_more_to_renew(mock: Mock, run: Run) -> None:
    async def main() -> None:
        # Fewer connections than tasks: a 401 that waits for the new token must not hold one.
        limits = httpx.Limits(max_connections=5)
        async with httpx.AsyncClient(
            base_url=mock.url, auth=password_auth(mock.url), limits=limits, timeout=60
        ) as http:
            for times in (1, 2):
                async with anyio.create_task_group() as tasks:
                    for _ in range(TASKS):
                        tasks.start_soon(aput, http)
                assert asked(mock) == times
                mock.advance(86400)

    run(main)
    assert len(mock.journal()) >= 2 * TASKS + 2


@pytest.mark.parametrize("status", [201, 503])
def test_all_that_wait_take_what_comes_even_if_it_is_over_at_once(
    run: Run, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "monotonic", count(step=1_000_000).__next__)
    times, got = 0, []

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal times
        if request.url.host == "cse.test":
            return httpx.Response(200)
        times += 1
        await anyio.wait_all_tasks_blocked()
        return issued(request) if status == 201 else httpx.Response(status)

    async def main() -> None:
        async def get() -> None:
            try:
                got.append((await http.get("https://cse.test")).status_code)
            except IAMError as error:
                got.append(error.status_code)

        how = password_auth("https://iam.test")
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(answer), auth=how) as http,
            anyio.create_task_group() as group,
        ):
            for _ in range(TASKS):
                group.start_soon(get)

    run(main)
    assert (times, got) == (1, [200 if status == 201 else 503] * TASKS)


def test_an_event_loop_that_ended_while_it_waited_is_forgotten(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    how = password_auth("https://iam.test")
    leader = how.sync_auth_flow(httpx.Request("GET", "https://cse.test"))
    ask = next(leader)

    async def main() -> None:
        async with httpx.AsyncClient(transport=Gateway(), auth=how) as http, anyio.create_task_group() as group:
            group.start_soon(http.get, "https://cse.test")
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    run(main)
    assert leader.send(issued(ask)).headers["X-Auth-Token"] == TOKEN
    leader.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_threads_and_event_loops_share_one_call(waiting: threading.Semaphore) -> None:
    ready = threading.Semaphore(0)

    def iam(request: httpx.Request) -> httpx.Response:
        for _ in range(9):
            assert waiting.acquire(timeout=60)
        for _ in BACKENDS:
            assert ready.acquire(timeout=60)
        return issued(request)

    gateway, how = Gateway(iam=iam), password_auth("https://iam.test")
    started = threading.Event()

    async def tasks() -> None:
        async with httpx.AsyncClient(transport=gateway, auth=how) as http, anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(http.get, "https://cse.test")
            await anyio.wait_all_tasks_blocked()
            ready.release()

    def first() -> int:
        flow = how.sync_auth_flow(httpx.Request("GET", "https://cse.test"))
        request = next(flow)
        started.set()
        gateway.asked.append(request)
        flow.send(iam(request))
        return 200

    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(first)]
        assert started.wait(60)
        futures += [pool.submit(lambda: call(gateway, how).status_code) for _ in range(9)]
        loops = [pool.submit(partial(anyio.run, tasks, backend=backend)) for backend in BACKENDS]
        assert {future.result() for future in futures} == {200}
        assert [loop.result() for loop in loops] == [None] * len(BACKENDS)
    assert len(gateway.asked) == 1
    assert gateway.tokens == [TOKEN] * (9 + 20 * len(BACKENDS))


def test_a_cancelled_leader_is_replaced(run: Run) -> None:
    async def main() -> None:
        hanging, how, tokens, times = anyio.Event(), password_auth("https://iam.test"), [], 0

        async def answer(request: httpx.Request) -> httpx.Response:
            nonlocal times
            if request.url.host == "cse.test":
                tokens.append(request.headers["X-Auth-Token"])
                return httpx.Response(200)
            times += 1
            if times == 1:
                hanging.set()
                await anyio.sleep_forever()
            return issued(request)

        leader = anyio.CancelScope()

        async def lead() -> None:
            with leader:
                await http.get("https://cse.test")

        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(answer), auth=how) as http,
            anyio.create_task_group() as group,
        ):
            group.start_soon(lead)
            await hanging.wait()
            for _ in range(TASKS):
                group.start_soon(http.get, "https://cse.test")
            await anyio.wait_all_tasks_blocked()
            leader.cancel()
        assert (times, tokens) == (2, [TOKEN] * TASKS)

    run(main)


def test_a_cancelled_leader_on_a_real_connection_is_replaced(run: Run, loopback: Any) -> None:
    with loopback(answer=None) as silent:

        async def main() -> None:
            scope = anyio.CancelScope()

            async def lead() -> None:
                with scope:
                    await http.get("https://cse.test")

            async def follow() -> None:
                with pytest.raises(httpx.RemoteProtocolError):
                    await http.get("https://cse.test")

            async with (
                httpx.AsyncClient(auth=password_auth(silent.url)) as http,
                anyio.create_task_group() as group,
            ):
                group.start_soon(lead)
                await anyio.to_thread.run_sync(silent.asked.wait)
                silent.asked.clear()
                group.start_soon(follow)
                await anyio.wait_all_tasks_blocked()
                assert len(silent.requests) == 1
                scope.cancel()
                await anyio.to_thread.run_sync(silent.asked.wait)
                silent.stop()

        run(main)
        assert len(silent.requests) == 2


def test_a_forgotten_leader_is_replaced(waiting: threading.Semaphore) -> None:
    how = password_auth("https://iam.test")
    gateway = Gateway()
    flow: Generator[Any, Any, None] | None = how.sync_auth_flow(httpx.Request("GET", "https://cse.test"))
    assert flow
    next(flow)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: call(gateway, how).status_code)
        assert waiting.acquire(timeout=60)
        flow = None
        gc.collect()
        assert other.result(60) == 200


def test_all_that_wait_get_the_error_of_the_one_that_lost_the_connection(run: Run, loopback: Any) -> None:
    with loopback(answer=None) as silent:
        errors: list[Exception] = []

        async def main() -> None:
            async def get() -> None:
                with pytest.raises(httpx.RemoteProtocolError) as caught:
                    await http.get("http://127.0.0.1:1")
                errors.append(caught.value)

            async with (
                httpx.AsyncClient(auth=password_auth(silent.url)) as http,
                anyio.create_task_group() as group,
            ):
                group.start_soon(get)
                await anyio.to_thread.run_sync(silent.asked.wait)
                for _ in range(TASKS):
                    group.start_soon(get)
                await anyio.wait_all_tasks_blocked()
                silent.stop()

        run(main)
        assert len(silent.requests) == 1
        assert {str(error) for error in errors} == {"Server disconnected without sending a response."}
        assert len(errors) == TASKS + 1


def test_all_threads_that_wait_get_that_error_too(waiting: threading.Semaphore, loopback: Any) -> None:
    with loopback(answer=None) as silent, httpx.Client(auth=password_auth(silent.url)) as http:
        with ThreadPoolExecutor(THREADS) as pool:
            futures = [pool.submit(http.get, "http://127.0.0.1:1")]
            assert silent.asked.wait(60)
            futures += [pool.submit(http.get, "http://127.0.0.1:1") for _ in range(THREADS - 1)]
            for _ in range(THREADS - 1):
                assert waiting.acquire(timeout=60)
            silent.stop()
            assert {type(future.exception()) for future in futures} == {httpx.RemoteProtocolError}
        assert len(silent.requests) == 1


def test_a_call_that_blocks_the_event_loop_of_the_leader_does_not_wait_for_it() -> None:
    how, gateway = password_auth("https://iam.test"), Gateway()

    async def main() -> None:
        leader = how.async_auth_flow(httpx.Request("GET", "https://cse.test"))
        ask = await anext(leader)
        assert call(gateway, how).status_code == 200
        request = await leader.asend(issued(ask))
        assert request.headers["X-Auth-Token"] == TOKEN
        await leader.aclose()

    asyncio.run(main())
    assert call(gateway, how).status_code == 200
    assert len(gateway.asked) == 1


# ---- when IAM gives no token


def test_wrong_passwords_are_tried_once(mock: Mock, run: Run) -> None:
    how = password_auth(mock.url, password=PASSWORD)
    with httpx.Client(base_url=mock.url, auth=how) as http:
        errors = in_threads(lambda: put(http), THREADS)

    async def main() -> None:
        async with httpx.AsyncClient(base_url=mock.url, auth=how) as http:
            await aput(http)

    with pytest.raises(IAMAuthenticationError) as last:
        run(main)
    assert len({str(error) for error in [*errors, last.value]}) == 1
    assert re.fullmatch(
        r"IAM refused to give a token: 401: The username or password is wrong\. \[request id \w+\]; check user_name, "
        "password and domain_name before you try again: repeated wrong passwords lock the account",
        str(last.value),
    )
    assert isinstance(last.value, AuthenticationError)
    assert not last.value.outcome_unknown
    assert statuses(mock) == [("IAM", 401)]


@pytest.mark.parametrize("world", ["sync", "async"])
def test_they_are_when_a_hook_of_the_client_raises_first(mock: Mock, world: str) -> None:
    how = password_auth(mock.url, password=PASSWORD)

    def hook(response: httpx.Response) -> None:
        response.raise_for_status()

    async def ahook(response: httpx.Response) -> None:
        response.raise_for_status()

    async def main() -> None:
        async with httpx.AsyncClient(base_url=mock.url, auth=how, event_hooks={"response": [ahook]}) as http:
            await aput(http)

    with httpx.Client(base_url=mock.url, auth=how, event_hooks={"response": [hook]}) as http:
        for expected in (httpx.HTTPStatusError, IAMAuthenticationError):
            with pytest.raises(expected):
                put(http) if world == "sync" else asyncio.run(main())
    assert asked(mock) == 1


@pytest.mark.parametrize(
    ("status", "body", "code", "text"),
    [
        (403, {"error": {"code": 403, "message": "M", "title": "T"}}, "403", "M; the IAM user may not get a token"),
        (404, {"error": {"code": 404, "message": "M", "title": "T"}}, "404", "M; check project_id or project_name"),
        (400, {"error_msg": "M", "error_code": "IAM.0011"}, "IAM.0011", "IAM refused to give a token: 400 IAM.0011: M"),
        (503, {"error_msg": "M", "error_code": "APIGW.0613", "request_id": "r1"}, "APIGW.0613", r"M \[request id r1\]"),
        (307, {}, None, "IAM refused to give a token: 307"),
    ],
)
def test_other_refusals_are_told_and_not_remembered(status: int, body: Any, code: str | None, text: str) -> None:
    answers = iter([httpx.Response(status, json=body), issued(httpx.Request("POST", "https://iam.test"))])
    gateway, how = Gateway(iam=lambda _: next(answers)), password_auth("https://iam.test")
    with pytest.raises(IAMError, match=text) as refusal:
        call(gateway, how)
    assert type(refusal.value) is IAMError
    assert (refusal.value.status_code, refusal.value.error_code) == (status, code)
    assert not refusal.value.outcome_unknown
    assert str(pickle.loads(pickle.dumps(refusal.value))) == str(refusal.value)
    assert call(gateway, how).status_code == 200


def test_an_error_keeps_a_mebibyte_at_most() -> None:
    with pytest.raises(IAMError) as refusal:
        call(Gateway(iam=lambda _: httpx.Response(502, content=b"x" * (1 << 21))), password_auth("https://iam.test"))
    assert len(refusal.value.response.content) == 1 << 20


def test_an_unknown_project_and_a_failing_iam_of_the_mock(mock: Mock) -> None:
    other = password_auth(mock.url, project_id="other")
    with httpx.Client(base_url=mock.url, auth=other) as http, pytest.raises(IAMError, match=r"404.*check project_id"):
        put(http)
    mock.add_fault(operation=GET_TOKEN, status=503, times=1)
    with httpx.Client(base_url=mock.url, auth=password_auth(mock.url)) as http:
        with pytest.raises(IAMError, match="503"):
            put(http)
        assert put(http) == 200


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(201, json={"token": {}}),
        httpx.Response(201, json={"token": {}}, headers={"X-Subject-Token": TOKEN}),
        httpx.Response(201, text=f"<html>{TOKEN}", headers={"X-Subject-Token": TOKEN}),
        httpx.Response(
            201, json=issued(httpx.Request("GET", "https://x")).json(), headers={"X-Subject-Token": f"{TOKEN}\t"}
        ),
        httpx.Response(201, content=b"[" * 100_000, headers={"X-Subject-Token": TOKEN}),
        issued(httpx.Request("GET", "https://iam.test"), "2020-01-04T09:05:22.701000Z"),
        issued(httpx.Request("GET", "https://iam.test"), "2020-01-05T09:05:22.701000"),
    ],
)
def test_a_201_that_is_no_token_is_told(answer: httpx.Response) -> None:
    with pytest.raises(IAMError, match="IAM's answer is no token: 201, but") as refusal:
        call(Gateway(iam=lambda _: answer), password_auth("https://iam.test"))
    assert TOKEN not in "".join(traceback.format_exception(refusal.value))
    assert "X-Subject-Token" not in refusal.value.response.headers


@pytest.mark.parametrize("world", ["sync", "async"])
def test_an_iam_out_of_reach_is_a_connection_error_of_the_client(world: str) -> None:
    path: dict[str, Any] = {"project_id": "p", "engine_id": "e", "body": EngineActionRequest()}

    async def main(client: Client) -> None:
        async with client:
            await retry_engine.asyncio(**path, client=client)

    with (
        Client("http://127.0.0.1:1", auth=password_auth("http://127.0.0.1:1")) as client,
        pytest.raises(APIConnectionError, match=r"/v3/auth/tokens.*the service did not act") as error,
    ):
        retry_engine.sync(**path, client=client) if world == "sync" else asyncio.run(main(client))
    assert not error.value.outcome_unknown
    assert isinstance(error.value.__cause__, httpx.ConnectError)


def test_the_password_does_not_follow_a_redirect() -> None:
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        bodies.extend(request.stream)
        return httpx.Response(307, headers={"Location": "http://elsewhere.test"})

    with (
        httpx.Client(transport=Unread(answer), auth=password_auth("https://iam.test"), follow_redirects=True) as http,
        pytest.raises(httpx.TooManyRedirects, match="goes to iam_endpoint only"),
    ):
        http.get("https://cse.test")
    assert len(bodies) == 1


# ---- TokenAuth with a function


def test_a_function_is_asked_at_first_use_and_again_at_401(mock: Mock) -> None:
    tokens = iter(["mock-token", "mock-token", "never"])
    with httpx.Client(base_url=mock.url, auth=TokenAuth(lambda: next(tokens))) as http:
        assert [put(http), put(http)] == [200, 400]
        mock.add_fault(status=401, times=1)
        assert put(http) == 400
    assert list(tokens) == ["never"]


def test_it_is_asked_once_more_for_a_request_even_if_its_token_is_new(mock: Mock, run: Run) -> None:
    tokens = iter(["stale", "mock-token", "stale", "stale", "never"])

    async def main() -> None:
        async with httpx.AsyncClient(base_url=mock.url, auth=TokenAuth(lambda: next(tokens))) as http:
            assert await aput(http) == 200

    run(main)
    with httpx.Client(base_url=mock.url, auth=TokenAuth(lambda: next(tokens))) as http:
        assert put(http) == 401
    assert list(tokens) == ["never"]


def test_it_may_block_and_is_called_once_for_all_tasks(run: Run) -> None:
    gateway, threads, go = Gateway(), [], threading.Event()

    def token() -> str:
        threads.append(threading.get_ident())
        assert go.wait(60)
        return TOKEN

    async def main() -> None:
        async with (
            httpx.AsyncClient(transport=gateway, auth=TokenAuth(token)) as http,
            anyio.create_task_group() as group,
        ):
            for _ in range(TASKS):
                group.start_soon(http.get, "https://cse.test")
            await anyio.wait_all_tasks_blocked()
            go.set()

    run(main)
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
    assert gateway.tokens == [TOKEN] * TASKS


def test_who_is_cancelled_does_not_wait_for_it_to_return(run: Run) -> None:
    gateway, begun, go, calls = Gateway(), threading.Event(), threading.Event(), count()

    def token() -> str:
        if next(calls) == 0:
            begun.set()
            assert go.wait(60)
        return TOKEN

    async def main() -> None:
        scope = anyio.CancelScope()

        async def lead() -> None:
            with scope:
                await http.get("https://cse.test")

        async with httpx.AsyncClient(transport=gateway, auth=TokenAuth(token)) as http:
            async with anyio.create_task_group() as group:
                group.start_soon(lead)
                await anyio.to_thread.run_sync(begun.wait)
                group.start_soon(http.get, "https://cse.test")
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
            go.set()

    run(main)
    assert gateway.tokens == [TOKEN]


@pytest.mark.parametrize("failure", [OSError("vault"), StopIteration()])
def test_what_it_raises_reaches_the_caller(failure: Exception, run: Run) -> None:
    def token() -> str:
        raise failure

    async def main() -> None:
        async with httpx.AsyncClient(transport=Gateway(), auth=TokenAuth(token)) as http:
            await http.get("https://cse.test")

    # Python makes a RuntimeError of a StopIteration that leaves a generator.
    with pytest.raises((OSError, RuntimeError)):
        run(main)
    with pytest.raises((OSError, RuntimeError)):
        call(Gateway(), TokenAuth(token))


def test_a_token_of_its_that_cannot_stand_in_a_header_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="printable ASCII") as refusal:
        call(Gateway(), TokenAuth(lambda: f"{TOKEN}\r\nX-Admin: 1"))
    assert TOKEN not in str(refusal.value)


# ---- secrets


@pytest.mark.parametrize("world", ["sync", "async"])
@pytest.mark.parametrize("succeeds", [True, False])
def test_neither_password_nor_token_shows_anywhere(
    loopback: Any, on_the_wire: Any, caplog: pytest.LogCaptureFixture, world: str, succeeds: bool
) -> None:
    times = {"issued_at": "2020-01-04T09:05:22Z", "expires_at": "2020-01-05T09:05:22Z"}
    password = f'{PASSWORD}"\\'
    good = on_the_wire(201, json.dumps({"token": times}).encode(), f"X-Subject-Token: {TOKEN}")
    bad = on_the_wire(400, json.dumps({"error_msg": f"invalid: {password}", "error_code": "IAM.0011"}).encode())
    objects: list[object] = []

    async def main(url: str, how: PasswordAuth) -> None:
        async with httpx.AsyncClient(auth=how) as http:
            objects.extend((await http.get(url)).history)

    with (
        caplog.at_level(logging.DEBUG),
        loopback(good if succeeds else bad) as iam,
        loopback(on_the_wire(200, b"")) as cse,
    ):
        how = PasswordAuth("u", password, domain_name="d", iam_endpoint=iam.url)
        objects.append(how)
        try:
            if world == "sync":
                with httpx.Client(auth=how) as http:
                    objects.extend(http.get(cse.url).history)
            else:
                asyncio.run(main(cse.url, how))
        except IAMError as error:
            objects.extend([error, error.args, error.response, error.response.headers, error.response.content])
            objects.append("".join(traceback.format_exception(error)))
            objects.append(pickle.dumps(error))
        assert PASSWORD.encode() in iam.requests[0].body
        assert any(TOKEN.encode() in line for line in cse.requests[0].headers) if succeeds else not cse.requests
    for each in list(objects):
        objects.extend([vars(each)] if hasattr(each, "__dict__") else [])
        objects.extend(getattr(each, name) for name in ("headers", "request") if hasattr(each, name))
    objects.extend(vars(each) for each in list(objects) if hasattr(each, "__dict__"))
    objects.extend(getattr(how, name) for name in dir(how))
    shown = caplog.text + "".join(f"{each!r}{each!s}" for each in objects)
    assert "receive_response_headers.complete" in caplog.text
    assert PASSWORD not in shown
    assert TOKEN not in shown


ECHOES: dict[str, Callable[[str], str]] = {
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with a slash escaped": lambda text: json.dumps(text)[1:-1].replace("/", r"\/"),
    "JSON within JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "JSON with all escaped": lambda text: "".join(
        f"\\u{unit:04X}" for unit in struct.unpack(f">{len(text.encode('utf-16-be')) // 2}H", text.encode("utf-16-be"))
    ),
    "JSON with some escaped": lambda text: text.replace("=", r"\u003d").replace('"', r"\""),
    "a URL": lambda text: quote(text, safe=""),
    "a URL in small letters": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text)),
    "HTML": html.escape,
    "HTML by number": lambda text: "".join(f"&#{ord(char)};" for char in text),
}


@pytest.mark.parametrize("escape", ECHOES.values(), ids=list(ECHOES))
def test_a_password_that_iam_quotes_does_not_show_however_it_is_escaped(escape: Callable[[str], str]) -> None:
    password = "Ab/c=1&\"'<\\+% ü脚\U0001f511"
    refusal = httpx.Response(400, content=f'{{"error_msg": "invalid: {escape(password)}!"}}'.encode())
    with pytest.raises(IAMError) as error:
        call(Gateway(iam=lambda _: refusal), password_auth("https://iam.test", password=password))
    assert error.value.response.content == b'{"error_msg": "invalid: ***!"}'


def test_a_request_that_failed_does_not_carry_the_password_in_its_exception() -> None:
    with pytest.raises(httpx.ConnectError) as error, httpx.Client() as http:
        http.get("http://127.0.0.1:1", auth=PasswordAuth("u", PASSWORD, domain_name="d", iam_endpoint="http://[::1]:1"))
    assert PASSWORD.encode() not in pickle.dumps(error.value)
    assert PASSWORD not in "".join(traceback.format_exception(error.value)) + str(vars(error.value.request))


@pytest.mark.parametrize(
    "how", [TokenAuth(TOKEN), TokenAuth(lambda: TOKEN), PasswordAuth("u", PASSWORD, domain_name="d")], ids=repr
)
def test_it_cannot_be_pickled_and_its_copies_share_its_token(how: httpx.Auth) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="holds a secret and cannot be pickled"):
            pickle.dumps(how, protocol)
    assert copy.copy(how) is copy.deepcopy(how) is how
    assert repr(how) == f"{type(how).__name__}(<hidden>)"


# ---- arguments


@pytest.mark.parametrize("name", ["user_name", "password", "domain_name", "project_id", "project_name"])
@pytest.mark.parametrize("wrong", ["", f"{PASSWORD}\ud800"])
def test_arguments_that_will_not_do_are_refused_without_being_shown(name: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"the {name} must be text") as refusal:
        password_auth("https://iam.test", **{"project_id": None, name: wrong})
    assert PASSWORD not in str(refusal.value)


def test_a_project_has_one_name() -> None:
    with pytest.raises(ValueError, match="not both"):
        password_auth("https://iam.test", project_id="p1", project_name="cn-north-4")


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://iam.myhuaweicloud.com",
        "http://127.0.0.1.evil.test",
        "http://localhost.evil.test",
        "http://evil.test:80#localhost",
        f"https://u:{PASSWORD}@iam.test",
        "https://iam.test?x=1",
        "https://",
        "iam.test",
        "ftp://127.0.0.1",
        "https://iam.test:port",
        "https://iam.test/ x",
        "",
    ],
)
def test_endpoints_that_will_not_do_are_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"must be an http|plain http to") as refusal:
        password_auth(endpoint)
    assert PASSWORD not in str(refusal.value)


@pytest.mark.parametrize(
    "endpoint",
    ["https://iam.test/", "HTTPS://iam.test", "http://localhost:8000", "http://127.9.9.9", "http://[::1]:8000"],
)
def test_endpoints_that_will_do(endpoint: str) -> None:
    gateway = Gateway()
    assert call(gateway, password_auth(endpoint)).status_code == 200
    assert gateway.asked[0].url.path == "/v3/auth/tokens"
