"""What the generated client raises when no answer comes, and whether the service may have acted by then.

First a table of every exception that httpx has; then the failures themselves, on real sockets.
"""

from __future__ import annotations

import inspect
import socket
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from huaweicloud_retry_client import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APITimeoutError,
    AuthenticationError,
    Client,
    InternalServerError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.unit.conftest import Answering, LoopbackServer, Operation, World

# httpx's exception -> ours, and outcome_unknown: can it mean that the request was sent?
TABLE: dict[type[Exception], tuple[type[APIError], bool]] = {
    # There was no connection to send the request on.
    httpx.ConnectError: (APIConnectionError, False),
    httpx.ConnectTimeout: (APITimeoutError, False),
    httpx.PoolTimeout: (APITimeoutError, False),
    httpx.ProxyError: (APIConnectionError, False),  # the proxy refused to connect
    httpx.UnsupportedProtocol: (APIConnectionError, False),
    # The request was on its way, and nobody knows how far it came.
    httpx.WriteError: (APIConnectionError, True),
    httpx.WriteTimeout: (APITimeoutError, True),
    httpx.ReadError: (APIConnectionError, True),
    httpx.ReadTimeout: (APITimeoutError, True),
    httpx.CloseError: (APIConnectionError, True),
    httpx.RemoteProtocolError: (APIConnectionError, True),
    httpx.LocalProtocolError: (APIConnectionError, True),  # over HTTP/2 also a stream that the server ended
    httpx.DecodingError: (APIConnectionError, True),
    httpx.TooManyRedirects: (APIConnectionError, True),
    httpx.InvalidURL: (APIConnectionError, True),  # a redirect to no URL: httpx reads it, although it may not follow
    # Classes above these; a transport of one's own may raise them.
    httpx.RequestError: (APIConnectionError, True),
    httpx.TransportError: (APIConnectionError, True),
    httpx.TimeoutException: (APITimeoutError, True),
    httpx.NetworkError: (APIConnectionError, True),
    httpx.ProtocolError: (APIConnectionError, True),
}

# No failure of a connection but a mistake in a program, such as a transport's or a hook's: it is let through.
MISTAKES = {
    httpx.HTTPError,
    httpx.HTTPStatusError,
    httpx.CookieConflict,
    httpx.StreamError,
    httpx.StreamConsumed,
    httpx.StreamClosed,
    httpx.ResponseNotRead,
    httpx.RequestNotRead,
}


def made(error_class: type[Any]) -> Exception:
    """An exception of httpx; they differ in what they must be given."""
    given = {"request": httpx.Request("GET", "http://127.0.0.1"), "response": httpx.Response(500), "message": "boom"}
    parameters = inspect.signature(error_class).parameters.values()
    required = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    error: Exception = error_class(**{name: given[name] for name in required})
    return error


def unused_address() -> socket.socket:
    """A socket with an address that nobody listens at, for as long as it is open."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held


# ---- the table


def test_the_table_has_every_exception_of_httpx() -> None:
    public = [getattr(httpx, name) for name in httpx.__all__]
    exceptions = {thing for thing in public if inspect.isclass(thing) and issubclass(thing, Exception)}
    assert exceptions == set(TABLE) | MISTAKES


@pytest.mark.parametrize("error_class", TABLE, ids=lambda error_class: error_class.__name__)
def test_each_exception_of_httpx_is_ours_and_says_whether_the_service_may_have_acted(
    world: World, operation: Operation, answering: type[Answering], error_class: type[Exception]
) -> None:
    cause = made(error_class)
    error = world.error(operation, Client("http://127.0.0.1", transport=answering(failure=cause)))
    assert (type(error), error.outcome_unknown) == TABLE[error_class]
    quotes_headers = error_class is httpx.LocalProtocolError  # one that cannot be sent, and that may be the token
    assert error.__cause__ is (None if quotes_headers else cause)


@pytest.mark.parametrize("error_class", MISTAKES, ids=lambda error_class: error_class.__name__)
def test_a_mistake_is_let_through(
    world: World, operation: Operation, answering: type[Answering], error_class: type[Exception]
) -> None:
    cause = made(error_class)
    assert world.error(operation, Client("http://127.0.0.1", transport=answering(failure=cause))) is cause


@pytest.mark.parametrize(
    "error_class", [httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.DecodingError]
)
def test_a_body_that_breaks_off_leaves_the_typed_error_of_the_status(
    world: World,
    operation: Operation,
    answering: type[Answering],
    lazy_stream: type[Any],
    error_class: type[Exception],
) -> None:
    stream = lazy_stream([b'{"error_code":'], failure=made(error_class))
    error = world.error(operation, Client("http://127.0.0.1", transport=answering(500, stream=stream)))
    assert (type(error), error.error_msg) == (InternalServerError, '{"error_code":')
    assert stream.closed


def test_detailed_raises_too_when_no_answer_came(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    with pytest.raises(APITimeoutError):
        world.detailed(operation, Client("http://127.0.0.1", transport=answering(failure=httpx.ReadTimeout("slow"))))


# ---- how it reads


def test_it_reads_in_one_line_with_request_reason_and_outcome(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(failure=httpx.ReadError("[Errno 104]\nConnection reset"))
    assert str(world.error(operation, Client("http://127.0.0.1:8000", transport=transport))) == (
        f"{operation.method} http://127.0.0.1:8000{operation.path}: "
        "ReadError: [Errno 104] Connection reset; the service may have acted"
    )
    transport = answering(failure=httpx.ConnectTimeout(""))
    assert str(world.error(operation, Client("http://127.0.0.1:8000", transport=transport))) == (
        f"{operation.method} http://127.0.0.1:8000{operation.path}: ConnectTimeout; nothing was sent"
    )


def test_the_outcome_is_not_lost_behind_a_long_path_or_reason(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(failure=httpx.ReadError("x" * 10_000))
    error = world.error(operation, Client("http://127.0.0.1", transport=transport), project_id="x" * 10_000)
    assert str(error).endswith("; the service may have acted")
    assert len(str(error)) < 1_500


# ---- a request that the auth makes for itself, such as for a token


class OwnRequest(httpx.Auth):
    """Asks for a token first, and again after a 401."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        yield httpx.Request("POST", "http://iam.test/v3/auth/tokens")
        answer = yield request
        if answer.status_code == 401:
            yield httpx.Request("POST", "http://iam.test/v3/auth/tokens")


@pytest.mark.parametrize(
    "failure", [httpx.ReadTimeout("slow"), httpx.ReadError("broke"), httpx.ConnectError("refused")]
)
def test_when_the_auths_own_request_fails_nothing_was_sent_to_the_service(
    world: World, operation: Operation, failure: httpx.TransportError
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "iam.test"
        failure.request = request
        raise failure

    client = Client("http://cse.test", auth=OwnRequest(), transport=httpx.MockTransport(answer))
    error = world.error(operation, client)
    assert error.outcome_unknown is False
    assert "http://iam.test/v3/auth/tokens" in str(error)


def test_when_the_auths_request_after_a_401_fails_the_service_has_refused(world: World, operation: Operation) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if asked == ["iam.test", "cse.test", "iam.test"]:
            raise httpx.ReadTimeout("slow", request=request)
        return httpx.Response(401 if request.url.host == "cse.test" else 201)

    client = Client("http://cse.test", auth=OwnRequest(), transport=httpx.MockTransport(answer))
    assert world.error(operation, client).outcome_unknown is False


# ---- the real thing


def test_connection_refused(world: World, operation: Operation) -> None:
    with unused_address() as held:
        error = world.error(operation, Client(f"http://127.0.0.1:{held.getsockname()[1]}"))
    assert (type(error), error.outcome_unknown) == (APIConnectionError, False)


def test_tls_with_a_server_that_speaks_none(world: World, operation: Operation, loopback: type[LoopbackServer]) -> None:
    with loopback(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        error = world.error(operation, Client(f"https://{server.host}"))
    assert (type(error), error.outcome_unknown) == (APIConnectionError, False)


def test_no_free_connection_in_time(operation: Operation, loopback: type[LoopbackServer]) -> None:
    limits = httpx.Limits(max_connections=1)
    with loopback(None) as server, httpx.Client(limits=limits, timeout=httpx.Timeout(None, pool=0.01)) as http:
        client = Client(server.url, http_client=http)
        raised: list[Exception] = []

        def first() -> None:
            try:
                operation.module.sync(client=client, **operation.arguments)
            except APIConnectionError as error:
                raised.append(error)

        thread = threading.Thread(target=first)
        thread.start()
        server.asked.wait()
        with pytest.raises(APITimeoutError) as caught:
            operation.module.sync(client=client, **operation.arguments)
        server.stop()
        thread.join()
    assert caught.value.outcome_unknown is False
    assert [type(error) for error in raised] == [APIConnectionError]


def test_the_server_closes_before_it_answers(
    world: World, operation: Operation, loopback: type[LoopbackServer]
) -> None:
    with loopback(b"") as server:
        error = world.error(operation, Client(server.url))
    assert (type(error), error.outcome_unknown) == (APIConnectionError, True)


def test_the_server_resets_the_connection(world: World, operation: Operation, loopback: type[LoopbackServer]) -> None:
    with loopback(b"", reset=True) as server:
        error = world.error(operation, Client(server.url))
    assert (type(error), error.outcome_unknown) == (APIConnectionError, True)


def test_the_server_never_answers(world: World, operation: Operation, loopback: type[LoopbackServer]) -> None:
    with loopback(None) as server:
        error = world.error(operation, Client(server.url, timeout=httpx.Timeout(10, read=0.05)))
        assert len(server.requests) == 1
    assert (type(error), error.outcome_unknown) == (APITimeoutError, True)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02",
        b"HTTP/1.1 20 OK\r\n\r\n",
    ],
)
def test_the_head_of_the_answer_is_cut_or_no_http(
    world: World, operation: Operation, loopback: type[LoopbackServer], head: bytes
) -> None:
    with loopback(head) as server:
        error = world.error(operation, Client(server.url))
    assert (type(error), error.outcome_unknown) == (APIConnectionError, True)


CUT = b"Status\r\nContent-Length: 1000\r\n\r\n" + b'{"error_code":'
NO_GZIP = b"Status\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\nno gzip!"


@pytest.mark.parametrize("rest", [CUT, NO_GZIP], ids=["cut", "no gzip"])
@pytest.mark.parametrize(
    ("status", "error_class", "outcome_unknown"),
    [
        (b"200", APIResponseValidationError, True),
        (b"401", AuthenticationError, False),
        (b"500", InternalServerError, True),
    ],
)
def test_the_status_counts_although_the_body_cannot_be_read(
    world: World,
    operation: Operation,
    loopback: type[LoopbackServer],
    rest: bytes,
    status: bytes,
    error_class: type[APIError],
    *,
    outcome_unknown: bool,
) -> None:
    with loopback(b"HTTP/1.1 %s %s" % (status, rest)) as server:
        error = world.error(operation, Client(server.url))
    assert (type(error), error.outcome_unknown) == (error_class, outcome_unknown)
    assert error.response.problem.startswith("its body cannot be ")  # read, unpacked


def test_an_interim_answer_is_none(
    world: World, operation: Operation, loopback: type[LoopbackServer], on_the_wire: Callable[..., bytes]
) -> None:
    with loopback(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + on_the_wire(404, b"{}")) as server:
        assert world.error(operation, Client(server.url)).status_code == 404


def test_a_connection_that_the_server_closed_between_two_calls_is_not_used_again(
    world: World, operation: Operation, loopback: type[LoopbackServer], on_the_wire: Callable[..., bytes]
) -> None:
    good = b'{"task_id":"t1","id":"e1","name":"n","jobId":1}'
    with loopback(on_the_wire(200, good, "Connection: close")) as server:
        assert len(world.calls(operation, Client(server.url), {}, {})) == 2
        assert server.connections == 2
