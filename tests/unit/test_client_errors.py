"""Which error each response raises, whether the request may have been processed, and how the errors read."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from httpx import Headers
from hypothesis import example, given, settings
from hypothesis import strategies as st

import huaweicloud_retry
import huaweicloud_retry_client
from huaweicloud_retry import APIRequestValidationError, ConfigurationError, IAMAuthenticationError, IAMError
from huaweicloud_retry_client import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    Client,
    InternalServerError,
    MethodNotAllowedError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    Response,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.unit.conftest import Answering, Operation, World

SECRET = "s3cret-canary"
LOCAL = "http://127.0.0.1"

# What calling raises, and its base classes; then what only connecting and authentication raise.
CALLING: dict[type[Exception], tuple[type[Exception], ...]] = {
    APIError: (Exception,),
    APIConnectionError: (APIError,),
    APITimeoutError: (APIConnectionError,),
    APIStatusError: (APIError,),
    BadRequestError: (APIStatusError,),
    AuthenticationError: (APIStatusError,),
    PermissionDeniedError: (APIStatusError,),
    NotFoundError: (APIStatusError,),
    MethodNotAllowedError: (APIStatusError,),
    RateLimitError: (APIStatusError,),
    InternalServerError: (APIStatusError,),
    APIResponseValidationError: (APIError,),
}
TREE: dict[type[Exception], tuple[type[Exception], ...]] = CALLING | {
    ConfigurationError: (ValueError,),
    APIRequestValidationError: (APIError, ValueError),
    IAMError: (APIStatusError,),
    IAMAuthenticationError: (IAMError, AuthenticationError),
}

# A class, whether the outcome is unknown, and the statuses of both. RFC 9110, section 15: 4xx refuses the
# request, and 501, 503 and 505 do not take it up. 499 is the gateway's for a caller that went away.
STATUSES: list[tuple[type[APIError], bool, list[int]]] = [
    (BadRequestError, False, [400]),
    (AuthenticationError, False, [401]),
    (PermissionDeniedError, False, [403]),
    (NotFoundError, False, [404]),
    (MethodNotAllowedError, False, [405]),
    (RateLimitError, False, [429]),
    (APIStatusError, False, [402, 406, 409, 413, 414, 494]),
    (APIStatusError, True, [100, 101, 199, 300, 301, 304, 399, 499, 600, 999]),
    (InternalServerError, False, [501, 503, 505]),
    (InternalServerError, True, [500, 502, 504, 507, 561, 599]),
    (APIResponseValidationError, True, [201, 202, 204, 299]),
]

THROTTLED = {
    "error_code": "APIGW.0308",
    "error_msg": "The throttling threshold is reached",
    "request_id": "5a1e4c8b",
}


def response(status: int, body: Any = b"", headers: Mapping[str, str] | None = None) -> Response[Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status_code=status, headers=Headers(headers), content=content)


def status_error(status: int, body: Any = b"", headers: Mapping[str, str] | None = None) -> Any:
    """The error of a response, made as the client makes it."""
    error = response(status, body, headers).error
    assert isinstance(error, APIStatusError)
    return error


def one_of_each() -> list[Exception]:
    """An error of each class, with all that it can hold."""
    headers = {"X-Request-Id": "r1", "Retry-After": "2", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    body = THROTTLED | {"detail": "d"}
    return [
        APIError("any"),
        APIConnectionError("PUT http://127.0.0.1: ReadError; the request may have been processed", True),
        APITimeoutError("PUT http://127.0.0.1: ConnectTimeout; nothing was sent", outcome_unknown=False),
        *(status_error(status, body, headers) for status in (402, 400, 401, 403, 404, 405, 429, 500)),
        APIResponseValidationError(
            Response(status_code=200, headers=Headers(headers), content=b"{}", problem="'task_id' is missing")
        ),
        ConfigurationError("no region"),
        APIRequestValidationError("the body has no action"),
        IAMError(response(403, body, headers)),
        IAMAuthenticationError(response(401, body, headers)),
    ]


# ---- the tree


def test_the_tree_is_as_designed() -> None:
    assert {error_class: error_class.__bases__ for error_class in TREE} == TREE


def test_every_exception_of_the_tree_is_public_and_there_is_no_other() -> None:
    for package, tree in ((huaweicloud_retry_client, CALLING), (huaweicloud_retry, TREE)):
        classes = filter(inspect.isclass, (getattr(package, name) for name in package.__all__))
        assert {each for each in classes if issubclass(each, Exception)} == set(tree)
    assert {type(error) for error in one_of_each()} == set(TREE)


@pytest.mark.parametrize(("error_class", "outcome_unknown", "statuses"), STATUSES)
def test_each_status_has_its_class_and_says_whether_the_request_may_have_been_processed(
    world: World,
    operation: Operation,
    answering: type[Answering],
    error_class: type[APIError],
    statuses: list[int],
    *,
    outcome_unknown: bool,
) -> None:
    for status in statuses:
        transport = answering(status, b"{}")
        error = world.error(operation, Client(LOCAL, transport=transport))
        assert (type(error), error.status_code, error.outcome_unknown) == (
            error_class,
            status,
            outcome_unknown,
        )
        detailed = world.detailed(operation, Client(LOCAL, transport=transport))
        assert (detailed.status_code, detailed.parsed, type(detailed.error)) == (status, None, error_class)
        assert (detailed.problem is None) == (not 200 <= status < 300)
        with pytest.raises(error_class):
            detailed.result()


@pytest.mark.parametrize("status", [200, 401, 500])
def test_what_iam_refused_never_reached_the_service(status: int) -> None:
    assert IAMError(response(status)).outcome_unknown is False


def test_a_good_response_has_no_error(world: World, operation: Operation, answering: type[Answering]) -> None:
    transport = answering(content=json.dumps(dict(operation.answer)).encode())
    good = world.detailed(operation, Client(LOCAL, transport=transport))
    assert good.error is None
    assert good.result() is good.parsed
    assert type(good.parsed) is operation.model


# ---- what the body says


@pytest.mark.parametrize(
    ("body", "error_code", "error_msg", "detail", "request_id"),
    [
        (THROTTLED, "APIGW.0308", "The throttling threshold is reached", None, "5a1e4c8b"),
        ({"error_code": "WKS.00211102", "error_msg": "Invalid."}, "WKS.00211102", "Invalid.", None, None),
        ({"error_code": "S.1", "error_msg": "No.", "detail": "engine_id"}, "S.1", "No.", "engine_id", None),
        ({"errorCode": "SVCSTG.1", "errorMessage": "No."}, "SVCSTG.1", "No.", None, None),
        ({"error": {"code": 401, "message": "Wrong.", "title": "Unauthorized"}}, "401", "Wrong.", None, None),
        ({"error": {"code": 401, "title": "Unauthorized"}}, "401", "Unauthorized", None, None),
        ({"error_code": 1101, "error_msg": 7}, "1101", "7", None, None),  # IAM's older pages have numbers
        ({"error_code": "S.1"}, "S.1", '{"error_code": "S.1"}', None, None),
        ({"code": None, "error_msg": ["x"]}, None, '{"code": null, "error_msg": ["x"]}', None, None),
        ({"error_msg": "No.", "detail": {}}, None, "No.", None, None),
        ({"error": "down"}, None, '{"error": "down"}', None, None),
        ([["error_code", "S.1"]], None, '[["error_code", "S.1"]]', None, None),
        (b"null", None, "null", None, None),
        (b"<html>\n<h1>502</h1>\n</html>", None, "<html> <h1>502</h1> </html>", None, None),
        (b'{"error_code": "S.1', None, '{"error_code": "S.1', None, None),
        (b"", None, "", None, None),
        (b"\xff\xfe\xfa", None, "\ufffd\ufffd\ufffd", None, None),
    ],
)  # fmt: skip
def test_all_body_shapes_are_understood(
    body: object, error_code: str | None, error_msg: str, detail: str | None, request_id: str | None
) -> None:
    error = status_error(500, body)
    assert (error.error_code, error.error_msg) == (error_code, error_msg)
    assert (error.detail, error.request_id) == (detail, request_id)


def test_text_of_no_known_shape_is_bounded_and_the_whole_body_kept() -> None:
    for content in (b"x" * 50_000, b'{"error":' * 100_000):  # nested too deeply
        error = status_error(500, content)
        assert len(error.error_msg) <= 501
        assert content.startswith(error.error_msg[:500].encode())
        assert error.response.content == content


def test_the_request_id_is_taken_from_the_body_first_and_then_from_the_header() -> None:
    header = {"x-request-id": "of-header"}
    assert status_error(429, THROTTLED, header).request_id == "5a1e4c8b"
    assert status_error(502, b"", header).request_id == "of-header"
    assert status_error(502, b"").request_id is None
    assert APIResponseValidationError(response(200, b"", header)).request_id == "of-header"


# ---- how it reads


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            status_error(429, THROTTLED),
            "429 APIGW.0308: The throttling threshold is reached [request id 5a1e4c8b]",
        ),
        (
            status_error(400, {"error_code": "SVCSTG.1", "error_msg": "No engine.", "detail": "engine_id"}),
            "400 SVCSTG.1: No engine. (engine_id)",
        ),
        (
            status_error(502, b"<h1>Bad Gateway</h1>", {"X-Request-Id": "r1"}),
            "502: <h1>Bad Gateway</h1> [request id r1]",
        ),
        (status_error(500), "500: no message"),
    ],
)
def test_str_has_status_code_message_detail_and_request_id(error: APIError, text: str) -> None:
    assert str(error) == text


def test_str_of_a_200_that_breaks_the_contract_has_status_problem_and_request_id(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(200, b"{}", {"X-Request-Id": "r1"})
    error = world.error(operation, Client(LOCAL, transport=transport))
    missing = {"RetryScriptExecution": "task_id", "RetryEngine": "id"}[operation.name]
    assert str(error) == f"200, but not what the contract promises: '{missing}' is missing [request id r1]"
    assert (error.problem, error.request_id) == (f"'{missing}' is missing", "r1")


def test_repr_is_the_class_and_the_line() -> None:
    assert repr(status_error(404, {"error_code": "C", "error_msg": "M"})) == "NotFoundError('404 C: M')"


any_text = st.text(st.characters(exclude_categories=()), max_size=60)  # lone surrogates too


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(st.integers(300, 999), any_text, any_text, any_text, any_text)
@example(401, "C\nD", "\x1b[31mred\r\n\0", "\u2028\u202e\x85", "\ud800")
def test_str_and_repr_are_one_printable_line_whatever_the_server_says(
    status: int, code: str, message: str, detail: str, request_id: str
) -> None:
    body = {"error_code": code, "error_msg": message, "detail": detail, "request_id": request_id}
    error = status_error(status, body)
    assert str(error).isprintable()
    assert repr(error).isprintable()
    assert str(error).startswith(str(status))
    str(error).encode()


def test_str_is_bounded() -> None:
    long = "x" * 100_000
    error = status_error(500, {"error_code": long, "error_msg": long, "detail": long, "request_id": long})
    assert len(str(error)) < 1_500
    assert len(str(APIConnectionError(long, outcome_unknown=True))) < 1_500
    assert len(repr(error)) < 1_500
    assert "[request id r1]" in str(status_error(500, {"error_msg": long, "request_id": "r1"}))


# ---- pickle and copy


@pytest.mark.parametrize("error", one_of_each(), ids=lambda error: type(error).__name__)
def test_an_error_survives_pickle_and_copy_with_its_attributes(error: Exception) -> None:
    pickled = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for twin in [*pickled, copy.copy(error), copy.deepcopy(error)]:
        assert type(twin) is type(error)
        assert (str(twin), repr(twin), vars(twin)) == (str(error), repr(error), vars(error))
        for name in ("outcome_unknown", "attempts"):
            assert getattr(twin, name, None) == getattr(error, name, None)


# ---- retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": " 120 "}, 120.0),
        # compared with the server's own clock, which may differ from ours
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:27:00 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.0),
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "1e9"}, None),
        ({"Retry-After": "9" * 5_000}, None),
        ({"Retry-After": "\u0663"}, None),  # a digit to str.isdigit
        ({"Retry-After": "Wed, 99 Oct 2026 07:28:00 GMT"}, None),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 -0000", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT", "Date": "today"}, 0.0),  # then with our own
    ],
)
def test_retry_after_is_a_number_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    error = Response[Any](status_code=429, headers=Headers(raw), content=b"").error
    assert isinstance(error, RateLimitError)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("charset", "content", "message"),
    [
        ("GBK", "服务不可用".encode("gbk"), "服务不可用"),
        ('"utf-16"', "服务".encode("utf-16"), "服务"),
        ("no-such", "服务".encode(), "服务"),
        ("idna", b"plain", "plain"),  # a codec that cannot replace what it does not know
        ("zlib", b"plain", "plain"),  # a codec, but of no text
    ],
)
def test_a_body_that_is_text_is_read_by_its_charset(charset: str, content: bytes, message: str) -> None:
    assert status_error(502, content, {"Content-Type": f"text/html; charset={charset}"}).error_msg == message


def test_retry_after_as_a_date_is_compared_with_our_clock_if_the_response_has_no_date() -> None:
    assert status_error(429, b"", {"Retry-After": "Fri, 31 Dec 2999 23:59:59 GMT"}).retry_after > 1e9


# ---- secrets that the gateway sends back


@pytest.mark.parametrize(
    "echo",
    [
        f"canonical request: PUT|/v2/|x-sdk-date:2020|x-security-token:{SECRET}||host;x-sdk-date|e3b0",
        f"X-Security-Token: {SECRET}\nX-Sdk-Date: 20200608T023900Z",
        f"x-auth-token={SECRET}",
        f'{{"X-Auth-Token": "{SECRET}"}}',
        f"{{'x-auth-token': ['{SECRET}']}}",
        f'x-subject-token:"{SECRET}"',
        f'x-auth-token\\": \\"{SECRET}',  # JSON within JSON
        f"<td>&quot;x-auth-token&quot;: &quot;{SECRET}&quot;</td>",
        f"Authorization: SDK-HMAC-SHA256 Access=AK, SignedHeaders=host, Signature={SECRET}",
        f"authorization:Bearer {SECRET}",
    ],
)
@pytest.mark.parametrize("shape", ["error_msg", "detail", "message", "text"])
def test_a_secret_that_the_gateway_echoes_is_masked(echo: str, shape: str) -> None:
    error = status_error(401, echo.encode() if shape == "text" else {"error_code": "APIGW.0301", shape: echo})
    shown = [str(error), repr(error), repr(error.response), error.error_code, error.error_msg, error.detail]
    assert SECRET not in "\n".join(map(str, shown))


def test_masking_leaves_the_rest_of_the_message_for_debugging() -> None:
    echo = f"verify aksk signature fail: PUT|/v2/p1|x-security-token:{SECRET}|x-sdk-date:2020|e3b0"
    message = status_error(401, {"error_code": "APIGW.0301", "error_msg": echo}).error_msg
    assert message == echo.replace(SECRET, "***")


# ---- docstrings


def described(spec: Any, operation: Operation) -> Any:
    """What the spec says of an operation; it has one of each method."""
    verb = operation.method.lower()
    (found,) = [path[verb] for path in spec["paths"].values() if verb in path]
    return found


def test_the_docstring_names_for_each_status_the_class_that_is_raised(
    world: World, operation: Operation, answering: type[Answering], spec: Any
) -> None:
    docstring = getattr(operation.module, world.name).__doc__
    # `NotFoundError: 404. …` -> {404: "NotFoundError"}; `200: …` -> {200: ""}
    found = re.findall(r"^ +(?:(\w+): (\d{3})\. |(\d{3}): )", docstring, re.MULTILINE)
    documented = {int(raised or plain): name for name, raised, plain in found}
    assert set(documented) == {int(status) for status in described(spec, operation)["responses"]}
    del documented[200]
    for status, name in documented.items():
        error = world.error(operation, Client(LOCAL, transport=answering(status)))
        assert type(error).__name__ == name


def test_the_docstring_has_summary_parameters_and_the_official_page(
    world: World, operation: Operation, spec: Any
) -> None:
    function = getattr(operation.module, world.name)
    says = described(spec, operation)
    assert function.__doc__.splitlines()[0] == says["summary"]
    assert f"Official page: {spec['info']['x-sources'][says['x-source']]}" in function.__doc__
    for parameter in inspect.signature(function).parameters:
        assert re.search(rf"^ +{parameter} \(.+\): \w", function.__doc__, re.MULTILINE), parameter
    for raised in ("APIConnectionError", "ValueError"):
        assert f" {raised}: " in function.__doc__


def test_the_docstring_of_detailed_refers_to_the_plain_function(world: World, operation: Operation) -> None:
    plain, detailed = (getattr(operation.module, world.name + suffix) for suffix in ("", "_detailed"))
    assert f"`{world.name}`" in detailed.__doc__
    assert inspect.signature(detailed).parameters == inspect.signature(plain).parameters


# ---- a clock that is wrong


@pytest.mark.parametrize(
    ("minutes", "hint"),
    [
        (20, "20 minutes behind"),
        (-20, "20 minutes ahead of"),
        (600, "600 minutes behind"),
        (0, ""),
        (4, ""),
        (-4, ""),
    ],
)
def test_a_401_mentions_a_clock_that_is_wrong(minutes: float, hint: str) -> None:
    date = datetime.now(UTC) + timedelta(minutes=minutes)  # of the server
    headers = {"Date": format_datetime(date, usegmt=True)}
    error = status_error(401, THROTTLED, headers)
    hint = hint and f"; this machine's clock is {hint} the server's"
    assert str(error).endswith(f"[request id 5a1e4c8b]{hint}")
    assert error.clock_ahead == pytest.approx(-60 * minutes, abs=60)
    assert "clock" not in str(status_error(403, THROTTLED, headers))


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}, {"Date": ""}])
def test_without_the_servers_date_a_401_mentions_no_clock(headers: dict[str, str]) -> None:
    error = status_error(401, THROTTLED, headers)
    assert error.clock_ahead is None
    assert "clock" not in str(error)
