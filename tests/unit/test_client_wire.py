"""What the generated client sends: byte by byte on a real socket, and what it refuses to send at all.

The order of the header lines is httpx's, and means nothing. All else is compared exactly.
"""

from __future__ import annotations

import re
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import httpx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from huaweicloud_retry_client import Client
from huaweicloud_retry_client.models import EngineActionRequest, RetryScriptExecutionRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from tests.unit.conftest import Answering, LoopbackServer, Operation, World

# What both operations take for a good answer.
ACCEPTED = b'{"task_id":"t1","id":"e1","name":"engine one","jobId":18638}'
SECRET = "s3cret-canary"

# Dot segments, as they are, percent-encoded once or more, and in parts; RFC 3986, 5.2.4, takes them out of a path.
DOT_SEGMENTS = ["", ".", "..", "%2e", "%2E%2e", ".%2E", "%252e%252e", "%25252E", "%2%65"]
# What no header value may hold: RFC 9110, 5.5, beyond visible ASCII with blanks between.
UNSENDABLE = [SECRET + end for end in ("\r\nX-Evil: 1", "\n", "\r", "\0", "é", "\t", " ")] + [f" {SECRET}"]


class Token(httpx.Auth):
    """The simplest of auths: a header, with the next of several values for each request."""

    def __init__(self, *values: str, header: str = "X-Auth-Token") -> None:
        self._values = iter(values)
        self._header = header

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers[self._header] = next(self._values)
        yield request


@pytest.fixture
def server(loopback: type[LoopbackServer], on_the_wire: Callable[..., bytes]) -> Iterator[LoopbackServer]:
    """Answers both operations with 200, and tries to set a cookie."""
    with loopback(on_the_wire(200, ACCEPTED, "Set-Cookie: session=1; Path=/"), keep_open=True) as running:
        yield running


@pytest.fixture(scope="session")
def user_agent(spec: Any) -> bytes:
    return f"huaweicloud-retry/{spec['info']['version']}".encode()


# ---- the two requests


def test_retry_script_execution_byte_by_byte(
    world: World, operations: Mapping[str, Operation], server: LoopbackServer, user_agent: bytes
) -> None:
    client = Client(server.url, auth=Token("t0ken"))
    world.call(operations["RetryScriptExecution"], client, body=RetryScriptExecutionRequest(record_id="r1"))
    (request,) = server.requests
    assert request.line == b"POST /v2/p1/script-executions/retry HTTP/1.1"
    assert sorted(request.headers) == [
        b"Accept-Encoding: identity",
        b"Accept: application/json",
        b"Connection: keep-alive",
        b"Content-Length: 18",
        b"Content-Type: application/json",
        b"Host: " + server.host.encode(),
        b"User-Agent: " + user_agent,
        b"X-Auth-Token: t0ken",
    ]
    assert request.body == b'{"record_id":"r1"}'


def test_retry_engine_byte_by_byte(
    world: World, operations: Mapping[str, Operation], server: LoopbackServer, user_agent: bytes
) -> None:
    client = Client(server.url, auth=Token("t0ken"))
    world.call(operations["RetryEngine"], client, body=EngineActionRequest(), x_enterprise_project_id="0")
    (request,) = server.requests
    assert request.line == b"PUT /v2/p1/enginemgr/engines/e1/actions HTTP/1.1"
    assert sorted(request.headers) == [
        b"Accept-Encoding: identity",
        b"Accept: application/json",
        b"Connection: keep-alive",
        b"Content-Length: 18",
        b"Content-Type: application/json;charset=UTF-8",
        b"Host: " + server.host.encode(),
        b"User-Agent: " + user_agent,
        b"X-Auth-Token: t0ken",
        b"X-Enterprise-Project-ID: 0",
    ]
    assert request.body == b'{"action":"Retry"}'


def test_the_body_is_compact_json_with_text_as_utf8(
    world: World, operations: Mapping[str, Operation], server: LoopbackServer
) -> None:
    body = RetryScriptExecutionRequest(record_id='Zoë "脚本"', task_id="t\n1")
    world.call(operations["RetryScriptExecution"], Client(server.url), body=body)
    assert server.requests[0].body == '{"record_id":"Zoë \\"脚本\\"","task_id":"t\\n1"}'.encode()


def test_what_is_not_given_is_not_in_the_body(
    world: World, operations: Mapping[str, Operation], server: LoopbackServer
) -> None:
    body = RetryScriptExecutionRequest(task_id="t1")
    world.call(operations["RetryScriptExecution"], Client(server.url), body=body)
    assert server.requests[0].body == b'{"task_id":"t1"}'


# ---- headers


def test_a_token_may_come_from_an_auth(world: World, operation: Operation, server: LoopbackServer) -> None:
    world.call(operation, Client(server.url, auth=Token("t0ken")))
    assert server.requests[0].header("X-Auth-Token") == [b"t0ken"]


def test_an_auth_is_asked_for_each_request_anew(world: World, operation: Operation, server: LoopbackServer) -> None:
    world.calls(operation, Client(server.url, auth=Token("first", "second")), {}, {})
    assert [request.header("X-Auth-Token") for request in server.requests] == [[b"first"], [b"second"]]


def test_a_token_may_come_from_headers(world: World, operation: Operation, server: LoopbackServer) -> None:
    world.call(operation, Client(server.url, headers={"x-auth-token": "t0ken"}))
    assert server.requests[0].header("X-Auth-Token") == [b"t0ken"]


def test_a_signature_in_authorization_may_come_from_an_auth(
    world: World, operation: Operation, server: LoopbackServer
) -> None:
    signature = "SDK-HMAC-SHA256 Access=AK, SignedHeaders=host;x-sdk-date, Signature=0123"
    world.call(operation, Client(server.url, auth=Token(signature, header="Authorization")))
    (request,) = server.requests
    assert (request.header("Authorization"), request.header("X-Auth-Token")) == ([signature.encode()], [])


def test_nothing_is_sent_for_credentials_that_were_not_given(
    world: World, operation: Operation, server: LoopbackServer
) -> None:
    world.call(operation, Client(server.url))
    assert server.requests[0].header("X-Auth-Token") == server.requests[0].header("Authorization") == []


def test_x_enterprise_project_id_is_sent_only_when_given(
    world: World, operations: Mapping[str, Operation], server: LoopbackServer
) -> None:
    world.calls(operations["RetryEngine"], Client(server.url), {}, {"x_enterprise_project_id": "ep-1"})
    assert [request.header("X-Enterprise-Project-ID") for request in server.requests] == [[], [b"ep-1"]]


def test_headers_of_the_contract_take_precedence_over_those_of_the_client(
    world: World, operation: Operation, server: LoopbackServer
) -> None:
    headers = {"Accept": "text/html", "content-type": "text/plain", "X-Trace": "1"}
    world.call(operation, Client(server.url, headers=headers))
    (request,) = server.requests
    assert request.header("Accept") == [b"application/json"]
    assert request.header("Content-Type")[0].startswith(b"application/json")
    assert request.header("X-Trace") == [b"1"]


# ---- path segments


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(project_id=st.text(min_size=1), engine_id=st.text(alphabet="a./%25eE?#;:@\\&+= \0\n\t脚", min_size=1))
def test_any_text_arrives_as_that_one_segment(
    operations: Mapping[str, Operation], answering: type[Answering], project_id: str, engine_id: str
) -> None:
    for text in (project_id, engine_id):
        assume(not re.fullmatch(r"((\.|%(25)*2[eE]){1,2})?", text))
    transport = answering(content=ACCEPTED)
    operation = operations["RetryEngine"]
    with Client("http://127.0.0.1", transport=transport) as client:
        operation.module.sync(project_id, engine_id, client=client, body=EngineActionRequest())
    path = transport.requests[0].url.raw_path  # the bytes that httpx writes into the request line
    segments = [unquote_to_bytes(segment).decode() for segment in path.split(b"/")]
    assert segments == ["", "v2", project_id, "enginemgr", "engines", engine_id, "actions"]
    assert re.fullmatch(rb"[!-~]+", path)


def test_odd_text_arrives_as_that_one_segment_on_a_real_socket(
    world: World, operation: Operation, server: LoopbackServer
) -> None:
    odd = "a/../b?c#d%2F;é 脚\r\n"
    world.call(operation, Client(server.url), project_id=odd)
    quoted = b"a%2F..%2Fb%3Fc%23d%252F%3B%C3%A9%20%E8%84%9A%0D%0A"
    assert server.requests[0].line.split()[1] == operation.path.encode().replace(b"p1", quoted)


@pytest.mark.parametrize("text", [*DOT_SEGMENTS, "\ud800"])
@pytest.mark.parametrize("parameter", ["project_id", "engine_id"])
def test_a_text_that_cannot_be_a_segment_is_refused_and_nothing_sent(
    world: World, operations: Mapping[str, Operation], answering: type[Answering], parameter: str, text: str
) -> None:
    transport = answering(content=ACCEPTED)
    client = Client("http://127.0.0.1", transport=transport)
    with pytest.raises(ValueError, match=f"{parameter}|surrogates"):
        world.call(operations["RetryEngine"], client, **{parameter: text})
    assert transport.requests == []


def test_a_project_id_that_is_a_dot_segment_is_refused_by_both_operations(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(content=ACCEPTED)
    with pytest.raises(ValueError, match="project_id"):
        world.call(operation, Client("http://127.0.0.1", transport=transport), project_id="..")
    assert transport.requests == []


def test_a_segment_too_long_for_any_url_is_refused_with_valueerror(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(content=ACCEPTED)
    with pytest.raises(ValueError, match="long"):
        world.call(operation, Client("http://127.0.0.1", transport=transport), project_id="x" * 70_000)
    assert transport.requests == []


def test_none_for_an_id_is_refused_and_not_sent_as_the_word_none(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(content=ACCEPTED)
    with pytest.raises((TypeError, ValueError)):  # os.environ.get("PROJECT_ID") where it is not set
        world.call(operation, Client("http://127.0.0.1", transport=transport), project_id=None)
    assert transport.requests == []


# ---- values that no header can hold


@pytest.mark.parametrize("value", UNSENDABLE)
def test_a_header_parameter_that_cannot_be_sent_is_refused_without_showing_it(
    world: World, operations: Mapping[str, Operation], server: LoopbackServer, value: str
) -> None:
    error = world.error(operations["RetryEngine"], Client(server.url), x_enterprise_project_id=value)
    assert isinstance(error, ValueError)
    assert "X-Enterprise-Project-ID" in str(error)
    assert SECRET not in "".join(traceback.format_exception(error))
    assert server.requests == []


@pytest.mark.parametrize("value", [None, 0])
def test_a_header_parameter_that_is_no_text_is_refused_by_name(
    world: World, operations: Mapping[str, Operation], server: LoopbackServer, value: object
) -> None:
    error = world.error(operations["RetryEngine"], Client(server.url), x_enterprise_project_id=value)
    assert isinstance(error, ValueError)
    assert "X-Enterprise-Project-ID" in str(error)
    assert server.requests == []


@pytest.mark.parametrize("value", UNSENDABLE)
def test_a_header_of_the_client_that_cannot_be_sent_is_refused_without_showing_it(value: str) -> None:
    with pytest.raises(ValueError, match="X-Auth-Token") as caught:
        Client("http://127.0.0.1", headers={"X-Auth-Token": value})
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("value", UNSENDABLE)
def test_a_header_of_an_auth_that_cannot_be_sent_is_refused_without_showing_it(
    world: World, operations: Mapping[str, Operation], server: LoopbackServer, value: str
) -> None:
    error = world.error(operations["RetryEngine"], Client(server.url, auth=Token(value)))
    assert SECRET not in "".join(traceback.format_exception(error))
    assert isinstance(error, ValueError)
    assert server.requests == []


@pytest.mark.parametrize("value", UNSENDABLE)
def test_a_header_of_an_auth_is_checked_with_a_client_of_ones_own_too(
    operation: Operation, server: LoopbackServer, value: str
) -> None:
    with httpx.Client() as http, pytest.raises(ValueError, match=r"(?i)x-auth-token|codec") as caught:
        operation.module.sync(client=Client(server.url, auth=Token(value), http_client=http), **operation.arguments)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert server.requests == []


@pytest.mark.parametrize("name", ["X-Trace\r\nX-Evil", "X Trace", "X-Trace:", "", "X-Tracé"])
def test_a_header_name_that_cannot_be_sent_is_refused(name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any wording
        Client("http://127.0.0.1", headers={name: "1"})


# ---- a body that cannot be meant


@pytest.mark.parametrize("document", [{}, {"more": 1}, {"record_id": None}, {"record_id": None, "task_id": None}])
def test_neither_record_id_nor_task_id_is_refused_and_nothing_sent(
    world: World, operations: Mapping[str, Operation], answering: type[Answering], document: Mapping[str, Any]
) -> None:
    transport = answering(content=ACCEPTED)
    client = Client("http://127.0.0.1", transport=transport)
    body = RetryScriptExecutionRequest.from_dict(document)
    with pytest.raises(ValueError, match="record_id or task_id"):
        world.call(operations["RetryScriptExecution"], client, body=body)
    assert transport.requests == []


def test_text_that_utf8_cannot_encode_is_refused_and_nothing_sent(
    world: World, operations: Mapping[str, Operation], answering: type[Answering]
) -> None:
    transport = answering(content=ACCEPTED)
    client = Client("http://127.0.0.1", transport=transport)
    with pytest.raises(ValueError, match="surrogates"):
        world.call(operations["RetryScriptExecution"], client, body=RetryScriptExecutionRequest(task_id="\ud800"))
    assert transport.requests == []


# ---- redirects and cookies


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(
    world: World,
    operation: Operation,
    server: LoopbackServer,
    loopback: type[LoopbackServer],
    on_the_wire: Callable[..., bytes],
    status: int,
) -> None:
    with loopback(on_the_wire(status, b"", f"Location: {server.url}/elsewhere")) as redirecting:
        error = world.error(operation, Client(redirecting.url, auth=Token(SECRET)))
    assert (error.status_code, server.requests) == (status, [])


def test_a_redirect_is_not_followed_even_by_a_client_of_ones_own_that_would(
    operation: Operation,
    server: LoopbackServer,
    loopback: type[LoopbackServer],
    on_the_wire: Callable[..., bytes],
) -> None:
    with (
        loopback(on_the_wire(307, b"", f"Location: {server.url}/elsewhere")) as redirecting,
        httpx.Client(follow_redirects=True) as http,
    ):
        client = Client(redirecting.url, http_client=http)
        answer = operation.module.sync_detailed(client=client, **operation.arguments)
    assert (answer.status_code, server.requests) == (307, [])


def test_no_cookie_is_kept(world: World, operation: Operation, server: LoopbackServer) -> None:
    world.calls(operation, Client(server.url), {}, {})
    assert [request.header("Cookie") for request in server.requests] == [[], []]


# ---- base_url


@pytest.mark.parametrize("prefix", ["", "/", "/gateway", "/gateway/", "/a/b%20c/"])
def test_base_url_may_have_a_path_with_or_without_a_slash_at_its_end(
    world: World, operation: Operation, server: LoopbackServer, prefix: str
) -> None:
    world.call(operation, Client(server.url + prefix))
    assert server.requests[0].line.split()[1].decode() == prefix.rstrip("/") + operation.path


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "cse.cn-north-4.myhuaweicloud.com",
        "//cse.cn-north-4.myhuaweicloud.com",
        "ftp://127.0.0.1",
        "http://",
        "http:///v2",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999",  # or the request goes to port 34463
        "http://127.0.0.1:-1",
        "http://127.0.0.1 ",
        "http://127.0.0.1\n",
        "http://a..b",
        "http://127.0.0.1?",  # or the path of the operation becomes a query
        "http://127.0.0.1/?a=b",
        "http://127.0.0.1#",
        "http://127.0.0.1/#a",
    ],
)
def test_a_base_url_that_leads_nowhere_or_elsewhere_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        Client(base_url)


@pytest.mark.parametrize(
    "base_url",
    [
        f"http://user:{SECRET}@127.0.0.1",
        f"http://{SECRET}@127.0.0.1",
        f"http://user:{SECRET}@127.0.0.1:port",
        f"http://user:{SECRET}@[::1",
        f"http://user:{SECRET}\0@127.0.0.1",
        f"http://user:{SECRET}/@127.0.0.1",  # a password with a slash, unquoted: host `user`, port {SECRET}
        f"http://user:{SECRET}?@127.0.0.1",
        f"http://user:{SECRET}#@127.0.0.1",
        f"http://user:1/{SECRET}@127.0.0.1",  # ... or host `user`, port 1, and the rest a path
        f"http://127.0.0.1/?token={SECRET}",
        f"user:{SECRET}@127.0.0.1",
    ],
)
def test_a_password_in_base_url_is_refused_and_never_shown(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        Client(base_url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
