"""What the generated client raises for an answer that is not a good one, and how such an error reads."""

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

import huaweicloud_retry_client
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

TREE: dict[type[Exception], type[Exception]] = {
    APIError: Exception,
    APIConnectionError: APIError,
    APITimeoutError: APIConnectionError,
    APIStatusError: APIError,
    BadRequestError: APIStatusError,
    AuthenticationError: APIStatusError,
    PermissionDeniedError: APIStatusError,
    NotFoundError: APIStatusError,
    MethodNotAllowedError: APIStatusError,
    RateLimitError: APIStatusError,
    InternalServerError: APIStatusError,
    APIResponseValidationError: APIError,
}

CLASS_OF_STATUS: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    429: RateLimitError,
    **dict.fromkeys([500, 501, 502, 503, 504, 507, 561, 599], InternalServerError),
    **dict.fromkeys([100, 101, 199, 300, 301, 304, 399, 402, 406, 409, 413, 414, 494, 499, 600, 999], APIStatusError),
    **dict.fromkeys([201, 202, 204, 299], APIResponseValidationError),
}

THROTTLED = {"error_code": "APIGW.0308", "error_msg": "The throttling threshold is reached", "request_id": "5a1e4c8b"}


def answer(status: int, body: Any = b"", headers: Mapping[str, str] | None = None) -> Response[Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status_code=status, headers=Headers(headers), content=content)


def status_error(status: int, body: Any = b"", headers: Mapping[str, str] | None = None) -> Any:
    """The error of an answer, made as the client makes it."""
    error = answer(status, body, headers).error
    assert isinstance(error, APIStatusError)
    return error


def one_of_each() -> list[APIError]:
    """An error of each class, with all that it can hold."""
    headers = {"X-Request-Id": "r1", "Retry-After": "2"}
    body = THROTTLED | {"detail": "d"}
    return [
        APIError("any"),
        APIConnectionError("PUT http://127.0.0.1: ReadError; the service may have acted", outcome_unknown=True),
        APITimeoutError("PUT http://127.0.0.1: ConnectTimeout; nothing was sent", outcome_unknown=False),
        *(status_error(status, body, headers) for status in (402, 400, 401, 403, 404, 405, 429, 500)),
        APIResponseValidationError(
            Response(status_code=200, headers=Headers(headers), content=b"{}", problem="'task_id' is missing")
        ),
    ]


# ---- the tree


def test_the_tree_is_as_designed() -> None:
    assert {error_class: error_class.__base__ for error_class in TREE} == TREE


def test_every_exception_of_the_tree_is_public_and_there_is_no_other() -> None:
    public = {getattr(huaweicloud_retry_client, name) for name in huaweicloud_retry_client.__all__}
    assert {thing for thing in public if inspect.isclass(thing) and issubclass(thing, Exception)} == set(TREE)
    assert {type(error) for error in one_of_each()} == set(TREE)


@pytest.mark.parametrize(("status", "error_class"), CLASS_OF_STATUS.items())
def test_each_status_raises_its_class(
    world: World, operation: Operation, answering: type[Answering], status: int, error_class: type[APIError]
) -> None:
    error = world.error(operation, Client("http://127.0.0.1", transport=answering(status, b"{}")))
    assert (error.status_code, error.response.status_code) == (status, status)
    assert type(error) is error_class


def test_detailed_raises_on_no_status(world: World, operation: Operation, answering: type[Answering]) -> None:
    for status, error_class in CLASS_OF_STATUS.items():
        response = world.detailed(operation, Client("http://127.0.0.1", transport=answering(status, b"{}")))
        assert (response.status_code, response.parsed, type(response.error)) == (status, None, error_class)
        assert (response.problem is None) == (not 200 <= status < 300)
        with pytest.raises(error_class):
            response.result()


def test_a_good_answer_has_no_error(world: World, operation: Operation, answering: type[Answering]) -> None:
    transport = answering(200, json.dumps(dict(operation.answer)).encode())
    response = world.detailed(operation, Client("http://127.0.0.1", transport=transport))
    assert response.error is None
    assert response.result() is response.parsed
    assert type(response.parsed) is operation.model


# ---- what the body says


@pytest.mark.parametrize(
    ("body", "error_code", "error_msg", "detail", "request_id"),
    [
        (THROTTLED, "APIGW.0308", "The throttling threshold is reached", None, "5a1e4c8b"),
        ({"error_code": "WKS.00211102", "error_msg": "Invalid."}, "WKS.00211102", "Invalid.", None, None),
        ({"error_code": "S.1", "error_msg": "No.", "detail": "engine_id"}, "S.1", "No.", "engine_id", None),
        ({"errorCode": "SVCSTG.1", "errorMessage": "No."}, "SVCSTG.1", "No.", None, None),
        ({"error": {"code": 401, "message": "Wrong password.", "title": "Unauthorized"}}, "401", "Wrong password.", None, None),
        ({"error": {"code": 401, "title": "Unauthorized"}}, "401", "Unauthorized", None, None),
        ({"error_code": 1101, "error_msg": 7}, "1101", "7", None, None),  # IAM's older pages have numbers
        ({"error_code": "S.1"}, "S.1", '{"error_code": "S.1"}', None, None),
        ({"error_code": None, "error_msg": ["x"], "detail": {}}, None, '{"error_code": null, "error_msg": ["x"], "detail": {}}', None, None),
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
    error = status_error(500, b"x" * 50_000)
    assert len(error.error_msg) <= 501
    assert error.response.content == b"x" * 50_000


def test_deep_nesting_is_text_like_any_other() -> None:
    error = status_error(500, b'{"error":' * 100_000)
    assert error.error_msg.startswith('{"error":')


def test_the_request_id_is_taken_from_the_body_first_and_then_from_the_header() -> None:
    header = {"x-request-id": "of-header"}
    assert status_error(429, THROTTLED, header).request_id == "5a1e4c8b"
    assert status_error(502, b"", header).request_id == "of-header"
    assert status_error(502, b"").request_id is None
    assert APIResponseValidationError(answer(200, b"", header)).request_id == "of-header"


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_each_class_keeps_what_the_body_says(
    world: World, operation: Operation, answering: type[Answering], status: int
) -> None:
    transport = answering(status, json.dumps(THROTTLED).encode())
    error = world.error(operation, Client("http://127.0.0.1", transport=transport))
    assert (error.error_code, error.request_id) == ("APIGW.0308", "5a1e4c8b")
    assert json.loads(error.response.content) == THROTTLED


# ---- how it reads


def test_str_has_status_code_message_and_request_id() -> None:
    assert str(status_error(429, THROTTLED)) == (
        "429 APIGW.0308: The throttling threshold is reached [request id 5a1e4c8b]"
    )


def test_str_has_the_detail() -> None:
    body = {"error_code": "SVCSTG.00501116", "error_msg": "Engine instance not found.", "detail": "engine_id"}
    assert str(status_error(400, body)) == "400 SVCSTG.00501116: Engine instance not found. (engine_id)"


def test_str_without_a_code() -> None:
    assert str(status_error(502, b"<h1>Bad Gateway</h1>", {"X-Request-Id": "r1"})) == (
        "502: <h1>Bad Gateway</h1> [request id r1]"
    )


def test_str_of_an_answer_that_breaks_the_contract_says_that_the_server_did_answer(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    transport = answering(200, b"{}", {"X-Request-Id": "r1"})
    error = world.error(operation, Client("http://127.0.0.1", transport=transport))
    missing = {"RetryScriptExecution": "task_id", "RetryEngine": "id"}[operation.name]
    assert str(error) == f"200, but not what the contract promises: '{missing}' is missing [request id r1]"
    assert (error.problem, error.request_id) == (f"'{missing}' is missing", "r1")


def test_repr_is_the_class_and_the_line() -> None:
    assert repr(status_error(404, {"error_code": "C", "error_msg": "M"})) == "NotFoundError('404 C: M')"


any_text = st.text(st.characters(exclude_categories=()), max_size=60)  # lone surrogates and control characters too


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


def test_a_request_id_is_not_lost_behind_a_long_message() -> None:
    assert "[request id r1]" in str(status_error(500, {"error_msg": "x" * 100_000, "request_id": "r1"}))


# ---- pickle and copy


@pytest.mark.parametrize("error", one_of_each(), ids=lambda error: type(error).__name__)
def test_an_error_survives_pickle_and_copy_with_its_attributes(error: APIError) -> None:
    pickled = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for twin in [*pickled, copy.copy(error), copy.deepcopy(error)]:
        assert type(twin) is type(error)
        assert (str(twin), repr(twin), vars(twin)) == (str(error), repr(error), vars(error))
        assert twin.outcome_unknown is error.outcome_unknown


# ---- retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": " 120 "}, 120.0),
        # held against the server's own clock, which may differ from ours
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
    ],
)
def test_retry_after_is_seconds_whether_number_or_date(headers: dict[str, str], seconds: float | None) -> None:
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


def test_retry_after_as_a_date_without_a_date_of_the_answer_is_held_against_our_clock() -> None:
    assert status_error(429, b"", {"Retry-After": "Fri, 31 Dec 2999 23:59:59 GMT"}).retry_after > 1e9


def test_retry_after_as_a_date_is_read_although_the_date_of_the_answer_is_garbage() -> None:
    headers = {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT", "Date": "today"}
    assert status_error(429, b"", headers).retry_after == 0.0


# ---- did it go through?


@pytest.mark.parametrize(
    ("statuses", "outcome_unknown"),
    [
        ([400, 401, 403, 404, 405, 413, 414, 429, 494], False),  # refused; nothing was run
        ([503], False),  # refused before anything was run
        ([500, 502, 504, 507, 599], True),
        ([499], True),  # the caller went away, says the gateway; nothing of the service
        ([100, 199, 300, 302, 600, 999], True),  # no word of refusal
    ],
)
def test_a_status_says_whether_the_service_may_have_acted(statuses: list[int], *, outcome_unknown: bool) -> None:
    assert [status_error(status).outcome_unknown for status in statuses] == [outcome_unknown] * len(statuses)


def test_an_answer_that_breaks_the_contract_leaves_the_outcome_unknown() -> None:
    assert APIResponseValidationError(answer(200)).outcome_unknown is True


# ---- secrets that the gateway sends back


@pytest.mark.parametrize(
    "echo",
    [
        f"canonical request: PUT|/v2/|x-sdk-date:20200608T023900Z|x-security-token:{SECRET}||host;x-sdk-date|e3b0",
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
    echo = f"verify aksk signature fail: PUT|/v2/p1|x-security-token:{SECRET}|x-sdk-date:20200608T023900Z|e3b0"
    message = status_error(401, {"error_code": "APIGW.0301", "error_msg": echo}).error_msg
    assert message == echo.replace(SECRET, "***")


# ---- docstrings


def described(spec: Any, operation: Operation) -> Any:
    """What the spec says of an operation; it has one of each method."""
    verb = operation.method.lower()
    (found,) = [path[verb] for path in spec["paths"].values() if verb in path]
    return found


def lines_with_status(docstring: str) -> dict[int, str]:
    """`NotFoundError: 404. …` -> {404: "NotFoundError"}; `404: …` -> {404: ""}."""
    found = re.findall(r"^ +(?:(\w+): (\d{3})\. |(\d{3}): )", docstring, re.MULTILINE)
    return {int(raised or plain): name for name, raised, plain in found}


def test_the_docstring_names_for_each_status_the_class_that_is_raised(
    world: World, operation: Operation, answering: type[Answering], spec: Any
) -> None:
    documented = lines_with_status(getattr(operation.module, world.name).__doc__)
    assert set(documented) == {int(status) for status in described(spec, operation)["responses"]}
    for status, name in documented.items():
        if status != 200:
            error = world.error(operation, Client("http://127.0.0.1", transport=answering(status)))
            assert type(error).__name__ == name
    assert set(lines_with_status(getattr(operation.module, f"{world.name}_detailed").__doc__)) == set(documented)


@pytest.mark.parametrize("suffix", ["", "_detailed"])
def test_the_docstring_has_summary_parameters_and_the_official_page(
    world: World, operation: Operation, spec: Any, suffix: str
) -> None:
    function = getattr(operation.module, world.name + suffix)
    says = described(spec, operation)
    assert function.__doc__.splitlines()[0] == says["summary"]
    assert f"Official page: {spec['info']['x-sources'][says['x-source']]}" in function.__doc__
    for parameter in inspect.signature(function).parameters:
        assert re.search(rf"^ +{parameter} \(.+\): \w", function.__doc__, re.MULTILINE), parameter
    for raised in ("APIConnectionError", "ValueError"):
        assert f" {raised}: " in function.__doc__


# --- A clock that is off ----------------------------------------------------------------------------------------------


def dated(minutes: float, status: int = 401) -> Any:
    """An answer of a server whose clock says that many minutes more than ours."""
    date = datetime.now(UTC) + timedelta(minutes=minutes)
    return status_error(status, THROTTLED, {"Date": format_datetime(date, usegmt=True)})


@pytest.mark.parametrize(
    ("minutes", "hint"), [(20, "20 minutes behind"), (-20, "20 minutes ahead of"), (600, "600 minutes behind")]
)
def test_a_401_tells_of_a_clock_that_is_off(minutes: float, hint: str) -> None:
    error = dated(minutes)
    assert str(error).endswith(f"[request id 5a1e4c8b]; mind that this machine's clock is {hint} the server's")
    assert error.clock_ahead == pytest.approx(-60 * minutes, abs=60)
    assert str(pickle.loads(pickle.dumps(error))) == str(copy.copy(error)) == str(error)


@pytest.mark.parametrize("minutes", [0, 4, -4])
def test_it_says_nothing_of_one_that_is_about_right(minutes: float) -> None:
    assert "clock" not in str(dated(minutes))


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}, {"Date": ""}])
def test_without_the_servers_date_there_is_nothing_to_say(headers: dict[str, str]) -> None:
    error = status_error(401, THROTTLED, headers)
    assert error.clock_ahead is None
    assert "clock" not in str(error)


def test_other_errors_have_nothing_to_do_with_clocks() -> None:
    assert "clock" not in str(dated(600, 403))
