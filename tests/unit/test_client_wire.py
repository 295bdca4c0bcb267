"""What goes over the wire, and how a client object behaves.

Settings, auth flows, every way to fail, timeouts, closing. Connections: test_transport; what the contract says of
requests and responses: tests/contract/test_client*.py.
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from huaweicloud_retry import Resend
from huaweicloud_retry.runtime.http1 import NothingSentError
from huaweicloud_retry_client import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APITimeoutError,
    BadRequestError,
    Client,
    InternalServerError,
)
from huaweicloud_retry_client.api.cse import show_engine
from huaweicloud_retry_client.models import Engine, RetryScriptExecutionRequest
from tests.callers import (
    ACCEPTED,
    ENGINE,
    LOCAL,
    OPERATIONS,
    SECRET,
    SPEC,
    Caller,
    FixedResponse,
    LazyBody,
    LoopbackServer,
    Operation,
    Token,
)

# What no header value may hold: more than visible ASCII with blanks between (RFC 9110, 5.5).
UNSENDABLE = [SECRET + end for end in ("\r\nX-Evil: 1", "\n", "\r", "\0", "é", "\t", " ")] + [f" {SECRET}"]


# ---- the two requests


def test_a_body_is_compact_utf8_and_the_client_names_itself(caller: Caller, server: LoopbackServer) -> None:
    odd = RetryScriptExecutionRequest(record_id='Zoë "脚本"', task_id="t\n1")
    plain = RetryScriptExecutionRequest(task_id="t1")
    caller.calls(OPERATIONS["RetryScriptExecution"], Client(server.url), {"body": odd}, {"body": plain})
    sent = [request.body.decode() for request in server.requests]
    assert sent == ['{"record_id":"Zoë \\"脚本\\"","task_id":"t\\n1"}', '{"task_id":"t1"}']
    names = ("User-Agent", "Accept-Encoding")
    (user_agent,), (encoding,) = (server.requests[0].header(name) for name in names)
    assert (user_agent.decode(), encoding) == (f"huaweicloud-retry/{SPEC['info']['version']}", b"identity")


# ---- headers


def test_each_request_asks_the_auth_and_no_cookie_is_kept(caller: Caller, server: LoopbackServer) -> None:
    caller.calls(ENGINE, Client(server.url, auth=Token("first", "second")), {}, {})
    assert [request.header("X-Auth-Token") for request in server.requests] == [[b"first"], [b"second"]]
    assert [request.header("Cookie") for request in server.requests] == [[], []]


def test_headers_of_the_contract_win(caller: Caller, operation: Operation, server: LoopbackServer) -> None:
    headers = {"Accept": "text/html", "content-type": "text/plain", "X-Trace": "1", "user-agent": "mine"}
    caller.call(operation, Client(server.url, headers={**headers, "HOST": "a"}))
    (request,) = server.requests
    names = ("Accept", "X-Trace", "User-Agent", "Host")
    assert [request.header(name) for name in names] == [[b"application/json"], [b"1"], [b"mine"], [b"a"]]
    (content_type,) = request.header("Content-Type")
    assert content_type.startswith(b"application/json")


# ---- path segments


@pytest.mark.parametrize(
    "text", ["%25252E", "%2%65", "x" * 70_000, None], ids=["twice", "half", "long", "None"]
)
def test_what_cannot_be_a_segment_is_refused(caller: Caller, text: Any) -> None:
    transport = FixedResponse(content=ACCEPTED)
    for parameter in ("project_id", "engine_id"):
        with pytest.raises(ValueError, match=rf"{parameter}|long"):
            caller.call(ENGINE, Client(LOCAL, transport=transport), **{parameter: text})
    assert transport.requests == []


# ---- values that no header can hold


@pytest.mark.parametrize("value", UNSENDABLE, ids=ascii)
def test_an_unsendable_header_is_refused_and_not_shown(
    caller: Caller, server: LoopbackServer, value: Any
) -> None:
    """As an argument, of the client, of its auth."""
    with pytest.raises(ValueError, match="X-Auth-Token") as caught:
        Client(LOCAL, headers={"X-Auth-Token": value})
    of_call = caller.error(ENGINE, Client(server.url), x_enterprise_project_id=value)
    assert "X-Enterprise-Project-ID" in str(of_call)
    for error in (caught.value, of_call, caller.error(ENGINE, Client(server.url, auth=Token(value)))):
        assert isinstance(error, ValueError)
        assert SECRET not in "".join(traceback.format_exception(error))
    assert server.requests == []


@pytest.mark.parametrize("value", [None, 0])
def test_a_header_parameter_of_another_type_is_refused_and_nothing_sent(caller: Caller, value: Any) -> None:
    transport = FixedResponse()
    with pytest.raises(TypeError, match="x_enterprise_project_id: str expected"):
        caller.call(ENGINE, Client(LOCAL, transport=transport), x_enterprise_project_id=value)
    assert transport.requests == []


@pytest.mark.parametrize("name", ["X-Trace\r\nX-Evil", "X Trace", "X-Trace:", "", "X-Tracé"])
def test_a_header_name_that_cannot_be_sent_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a header"):
        Client(LOCAL, headers={name: "1"})


# ---- base_url


@pytest.mark.parametrize("prefix", ["", "/", "/gateway", "/gateway/", "/a/b%20c/"])
def test_base_url_may_have_a_path_and_a_last_slash(
    caller: Caller, server: LoopbackServer, prefix: str
) -> None:
    caller.call(ENGINE, Client(server.url + prefix))
    assert server.requests[0].line.split()[1].decode() == prefix.rstrip("/") + ENGINE.path


BASE_URLS = ["", "cse.cn-north-4.myhuaweicloud.com", "//cse.cn-north-4.myhuaweicloud.com", "ftp://127.0.0.1"]
BASE_URLS += ["http://", "http:///v2", "http://a..b"]
BASE_URLS += [LOCAL + rest for rest in (":port", ":-1", " ", "\n", "/?a=b", "#", "/#a")]
BASE_URLS += [f"{LOCAL}:99999"]  # or the request goes to port 34463
BASE_URLS += [f"{LOCAL}?"]  # or the path of the operation becomes a query
BASE_URLS += [f"http://{SECRET}@127.0.0.1", f"{LOCAL}/?token={SECRET}", f"user:{SECRET}@127.0.0.1"]
PASSWORDS = ["@127.0.0.1", "@127.0.0.1:port", "@[::1", "\0@127.0.0.1"]
# A password that is not quoted: host `user`, port {SECRET}; or port 1, and the rest a path.
PASSWORDS += ["/@127.0.0.1", "?@127.0.0.1", "#@127.0.0.1"]
BASE_URLS += [f"http://user:{SECRET}{rest}" for rest in PASSWORDS] + [f"http://user:1/{SECRET}@127.0.0.1"]


@pytest.mark.parametrize("base_url", BASE_URLS)
def test_a_base_url_that_is_wrong_or_has_a_password_is_refused_and_not_shown(
    base_url: str,
) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        Client(base_url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


# ---- no response: each exception of httpx


PUBLIC = [getattr(httpx, name) for name in httpx.__all__]
EXCEPTIONS = sorted(
    (each for each in PUBLIC if inspect.isclass(each) and issubclass(each, Exception)), key=str
)
FAILURES = [each for each in EXCEPTIONS if issubclass(each, httpx.RequestError | httpx.InvalidURL)]
# A mistake in a program, such as a transport's, and no failure of a connection: it is let through.
MISTAKES = [each for each in EXCEPTIONS if each not in FAILURES]
# After any other failure the request may have been processed.
NOT_SENT = {NothingSentError, httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout}
NOT_SENT |= {httpx.UnsupportedProtocol, httpx.ProxyError}


def made(error_class: type[Any]) -> Exception:
    """An exception of httpx; they differ in what they must be given."""
    given = {"request": httpx.Request("GET", LOCAL), "response": httpx.Response(500), "message": "boom"}
    parameters = inspect.signature(error_class).parameters.values()
    required = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    error: Exception = error_class(**{name: given[name] for name in required})
    return error


@pytest.mark.parametrize("error_class", [*FAILURES, NothingSentError], ids=lambda each: each.__name__)
def test_each_failure_is_ours_and_says_what_is_known(caller: Caller, error_class: type[Exception]) -> None:
    cause = made(error_class)
    error = caller.error(ENGINE, Client(LOCAL, transport=FixedResponse(failure=cause)))
    expected = APITimeoutError if "Timeout" in error_class.__name__ else APIConnectionError
    assert (type(error), error.outcome_unknown) == (expected, error_class not in NOT_SENT)
    quotes_headers = error_class is httpx.LocalProtocolError  # and one may be the token
    assert error.__cause__ is (None if quotes_headers else cause)


@pytest.mark.parametrize("error_class", MISTAKES, ids=lambda each: each.__name__)
def test_a_mistake_is_let_through(caller: Caller, error_class: type[Exception]) -> None:
    cause = made(error_class)
    assert caller.error(ENGINE, Client(LOCAL, transport=FixedResponse(failure=cause))) is cause


@pytest.mark.parametrize(
    "failure",
    [
        *map(made, (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.DecodingError)),
        ssl.SSLError(1, "[SSL: SSLV3_ALERT_BAD_RECORD_MAC] bad record"),
    ],
    ids=lambda each: type(each).__name__,
)
@pytest.mark.parametrize(
    ("status", "status_class", "unknown"),
    [
        (200, APIResponseValidationError, True),
        (400, BadRequestError, False),  # it refuses, whatever its body would have said
        (500, InternalServerError, True),
    ],
)
def test_a_body_that_breaks_off_leaves_the_typed_error_of_the_status(
    caller: Caller, failure: Exception, status: int, status_class: type[APIError], *, unknown: bool
) -> None:
    stream = LazyBody([b'{"error_code":'], failure=failure)
    error = caller.error(ENGINE, Client(LOCAL, transport=FixedResponse(status, stream=stream)))
    assert (type(error), error.outcome_unknown) == (status_class, unknown)
    assert error.response.content == b'{"error_code":'
    assert error.response.problem.startswith("its body cannot be read")
    assert stream.closed


READ_ERROR = httpx.ReadError("[Errno 104]\nReset")


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (READ_ERROR, "ReadError: [Errno 104] Reset; the request may have been processed"),
        (httpx.ConnectTimeout(""), "ConnectTimeout; nothing was sent"),
    ],
    ids=["unknown", "not sent"],
)
def test_it_reads_in_one_line(caller: Caller, operation: Operation, failure: Exception, says: str) -> None:
    error = caller.error(operation, Client(f"{LOCAL}:8000", transport=FixedResponse(failure=failure)))
    assert str(error) == f"{operation.method} {LOCAL}:8000{operation.path}: {says}"


def test_the_outcome_is_not_lost_behind_a_long_path_or_reason(caller: Caller) -> None:
    transport = FixedResponse(failure=httpx.ReadError("x" * 10_000))
    error = caller.error(ENGINE, Client(LOCAL, transport=transport), project_id="x" * 10_000)
    assert str(error).endswith("; the request may have been processed")
    assert len(str(error)) < 1_500


# ---- auth flows of others


Steps = Generator[httpx.Request, httpx.Response, None]


@dataclass
class Flow(httpx.Auth):
    """The flow of a function; reads every body."""

    function: Callable[[httpx.Request], Steps]
    requires_response_body = True

    def auth_flow(self, request: httpx.Request) -> Steps:
        yield from self.function(request)


def audited(request: httpx.Request) -> Steps:
    """Fetch a token before the request, and report its response."""
    token = yield httpx.Request("POST", "http://iam.test/v3/auth/tokens")
    request.headers["X-Auth-Token"] = token.json()["token"]
    response = yield request
    yield httpx.Request("POST", "http://iam.test/audit", json=response.json())


@dataclass
class Service:
    """Responds as `iam.test` and `cse.test`; the request of the given number fails."""

    status: int = 200
    failing: int = 0
    failure: Exception | None = None
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.failure is not None and len(self.asked) == self.failing:
            raise self.failure
        if request.url.host == "iam.test":
            return httpx.Response(201, json={"token": "t0ken"})
        return httpx.Response(self.status, content=ACCEPTED)

    def client(self, function: Callable[[httpx.Request], Steps]) -> Client:
        return Client("http://cse.test", auth=Flow(function), transport=httpx.MockTransport(self))


def test_a_flow_may_send_its_own_requests_and_read_every_body(caller: Caller) -> None:
    service = Service()
    assert type(caller.call(ENGINE, service.client(audited))) is ENGINE.model
    assert [request.url.host for request in service.asked] == ["iam.test", "cse.test", "iam.test"]
    assert service.asked[1].headers["X-Auth-Token"] == "t0ken"
    assert service.asked[2].read() == ACCEPTED


@pytest.mark.parametrize("failure", [httpx.ReadTimeout(""), httpx.ReadError(""), httpx.ConnectError("")])
@pytest.mark.parametrize(
    ("status", "failing", "outcome_unknown"),
    [
        (200, 1, False),  # before ours was sent
        (401, 3, False),  # after the service refused
        (200, 3, True),  # after it did what was asked
        (500, 3, True),
    ],
)
def test_a_request_of_the_flow_that_fails_says_nothing_of_ours(
    caller: Caller, failure: Exception, status: int, failing: int, *, outcome_unknown: bool
) -> None:
    error = caller.error(ENGINE, Service(status, failing, failure).client(audited))
    assert isinstance(error, APIConnectionError)
    assert error.outcome_unknown is outcome_unknown
    assert "http://iam.test/" in str(error)


@pytest.mark.parametrize(
    ("status", "after", "outcome_unknown"),
    [(200, False, False), (200, True, True), (502, True, True), (403, True, False)],
)
@pytest.mark.parametrize("cause", [httpx.RemoteProtocolError("the response is not signed"), KeyError("x")])
def test_a_flow_that_raises_leaves_the_outcome_as_the_status_has_it_and_its_mistakes_are_let_through(
    caller: Caller, cause: Exception, status: int, *, after: bool, outcome_unknown: bool
) -> None:
    def raising(request: httpx.Request) -> Steps:
        if after:
            yield request
        raise cause

    service = Service(status)
    error = caller.error(ENGINE, service.client(raising))
    assert len(service.asked) == after
    if isinstance(cause, KeyError):
        assert error is cause
    else:
        assert (type(error), error.outcome_unknown) == (APIConnectionError, outcome_unknown)
        assert error.__cause__ is cause


# ---- a read


READ = Operation(
    name="ShowEngine",
    module=show_engine,
    arguments={"project_id": "p1", "engine_id": "e1"},
    method="GET",
    path="/v2/p1/enginemgr/engines/e1",
    model=Engine,
    result={"id": "e1", "name": "engine one", "status": "Available"},
)


@pytest.mark.parametrize(
    ("fails", "says"),
    [
        ({"failure": httpx.ReadTimeout("")}, "ReadTimeout; no response"),
        ({"failure": httpx.ConnectError("")}, "ConnectError; nothing was sent"),
        ({"status": 504}, "504: no message"),
        ({"content": b"{}"}, "200, but not what the contract promises: 'id' is missing"),
    ],
    ids=["lost", "not sent", "504", "no engine"],
)
def test_the_outcome_of_a_read_is_never_unknown(caller: Caller, fails: dict[str, Any], says: str) -> None:
    error = caller.error(READ, Client(LOCAL, transport=FixedResponse(**fails)))
    assert (error.outcome_unknown, str(error).endswith(says)) == (False, True), str(error)


# ---- httpx's transports in place of our own


def httpx_transport(caller: Caller) -> httpx.BaseTransport | httpx.AsyncBaseTransport:
    return httpx.HTTPTransport() if caller.name == "sync" else httpx.AsyncHTTPTransport()


@pytest.mark.parametrize("is_httpx", [False, True], ids=["ours", "httpx"])
def test_libraries_that_patch_httpx_intercept_a_client_with_httpxs_transport_and_no_other(
    caller: Caller, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch, *, is_httpx: bool
) -> None:
    intercepted: list[httpx.Request] = []

    def handle(_: object, request: httpx.Request) -> httpx.Response:
        intercepted.append(request)
        return httpx.Response(200, content=ACCEPTED)

    async def ahandle(_: object, request: httpx.Request) -> httpx.Response:
        return handle(_, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", ahandle)
    caller.call(ENGINE, Client(server.url, transport=httpx_transport(caller) if is_httpx else None))
    assert (len(intercepted), len(server.requests)) == ((1, 0) if is_httpx else (0, 1))


# ---- timeouts


@pytest.mark.parametrize(
    ("timeout", "given"),
    [
        *((seven, 7.0) for seven in (7, 7.0, httpx.Timeout(7))),
        # The system takes no such numbers; None: without limit.
        *((huge, None) for huge in (httpx.Timeout(None), 1e300, float("inf"), 10**30)),
        (httpx.Timeout(3, connect=1), httpx.Timeout(3, connect=1)),
        (None, httpx.Timeout(60, connect=10)),  # the default
    ],
)
def test_a_timeout_per_client_or_call(caller: Caller, timeout: Any, given: Any) -> None:
    transport = FixedResponse(content=ACCEPTED)
    caller.call(ENGINE, Client(LOCAL, transport=transport, timeout=timeout))
    caller.call(ENGINE, Client(LOCAL, transport=transport), timeout=timeout)
    sent = [request.extensions["timeout"] for request in transport.requests]
    assert sent == [httpx.Timeout(given).as_dict()] * 2


@pytest.mark.parametrize("timeout", [-1, float("nan"), httpx.Timeout(5, read=-1), httpx.Timeout(5, pool=-1)])
def test_a_timeout_that_is_no_time_is_refused_and_nothing_sent(caller: Caller, timeout: Any) -> None:
    transport = FixedResponse(content=ACCEPTED)
    with pytest.raises(ValueError, match="0 or more seconds"):
        Client(LOCAL, transport=transport, timeout=timeout)
    with pytest.raises(ValueError, match="0 or more seconds"):
        caller.call(ENGINE, Client(LOCAL, transport=transport), timeout=timeout)
    assert transport.requests == []


# ---- closing


@pytest.mark.parametrize("of_view", [False, True])
def test_use_after_close_says_so_and_closing_twice_is_harmless(caller: Caller, *, of_view: bool) -> None:
    transport = FixedResponse(content=ACCEPTED)
    client = Client(LOCAL, transport=transport)
    view = client.with_resend(None)
    client.close()
    client.close()
    asyncio.run(client.aclose())
    with pytest.raises(RuntimeError, match="closed"):
        caller.call(ENGINE, view if of_view else client)
    assert transport.requests == []


def test_with_closes_the_transport_but_a_view_closes_nothing(caller: Caller, server: LoopbackServer) -> None:
    transport = FixedResponse(content=ACCEPTED)
    client = Client(LOCAL, transport=transport)
    for _ in range(2):
        caller.call(ENGINE, client.with_resend(None))
    assert (len(transport.requests), transport.closed) == (2, 0)
    caller.call(ENGINE, client)
    assert transport.closed == {"sync": 1, "asyncio": 2}[caller.name]  # async: both sides of it
    with Client(server.url) as client, client.with_resend(Resend()) as view:
        for each in (client, view):
            ENGINE.module.sync(client=each, **ENGINE.arguments)
    assert (len(server.requests), server.connections) == (2, 1)


def test_a_view_has_its_own_policy_and_the_client_keeps_its(caller: Caller) -> None:
    transport = FixedResponse(429)
    client = Client(LOCAL, transport=transport, resend=Resend(max_attempts=2, initial_backoff=0))
    view = client.with_resend(Resend(max_attempts=3, initial_backoff=0))
    attempts = [caller.error(ENGINE, each).attempts for each in (view, client.with_resend(None), client)]
    assert (attempts, len(transport.requests)) == ([3, 1, 2], 6)


# ---- transports


class SyncOnly(httpx.BaseTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=ACCEPTED, request=request)


class AsyncOnly(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=ACCEPTED, request=request)


@pytest.mark.parametrize("transport", [SyncOnly(), AsyncOnly()], ids=["sync only", "async only"])
def test_a_sync_or_async_transport_is_a_type_error_elsewhere(
    caller: Caller, transport: SyncOnly | AsyncOnly
) -> None:
    client = Client(LOCAL, transport=transport)
    if isinstance(transport, SyncOnly) == (caller.name == "sync"):
        assert type(caller.call(ENGINE, client)) is ENGINE.model
    else:
        says = "async only: call asyncio" if caller.name == "sync" else "is sync only: call sync"
        with pytest.raises(TypeError, match=says):
            caller.call(ENGINE, client)


def test_verify_beside_a_transport_is_refused_and_not_ignored() -> None:
    with pytest.raises(ValueError, match="verify"):
        Client(LOCAL, transport=SyncOnly(), verify=False)
