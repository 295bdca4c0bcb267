"""What a call returns and raises, and how that reads: models, responses, errors.

A call returns a model with exactly the contract's types, or raises an APIError that reads in one line, whatever
a server sends: 100 responses here, 2,500 in `make test-slow`.
"""

from __future__ import annotations

import asyncio
import copy
import gzip
import importlib.resources
import inspect
import json
import logging
import os
import pickle
import re
import tracemalloc
import zlib
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from httpx import Headers
from hypothesis import HealthCheck, Phase, example, given, note, settings
from hypothesis import strategies as st

import huaweicloud_retry
import huaweicloud_retry_client
from huaweicloud_retry import APIRequestValidationError, ConfigurationError, IAMAuthenticationError, IAMError
from huaweicloud_retry_client import (
    UNSET,
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
from huaweicloud_retry_client.models import (
    EngineActionRequest,
    EngineActionResponse,
    ErrorBody,
    RetryScriptExecutionRequest,
    RetryScriptExecutionResponse,
)
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

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

# What a call raises, with the base class; then what only connecting and authentication raise.
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
    (APIStatusError, False, [402, 409, 494]),
    (APIStatusError, True, [100, 101, 199, 300, 301, 399, 499, 600, 999]),
    (InternalServerError, False, [501, 503, 505]),
    (InternalServerError, True, [500, 502, 504, 507, 599]),
    (APIResponseValidationError, True, [201, 204, 299]),
]
THROTTLED = {"error_code": "APIGW.0308", "error_msg": "Threshold reached", "request_id": "5a1e4c8b"}
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def response(status: int, body: Any = b"", headers: Mapping[str, str] | None = None) -> Response[Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status_code=status, headers=Headers(headers), content=content)


def status_error(status: int, body: Any = b"", headers: Mapping[str, str] | None = None) -> Any:
    """The error of a response, made as the client makes it."""
    error = response(status, body, headers).error
    assert isinstance(error, APIStatusError)
    return error


def raised(caller: Caller, operation: Operation = ENGINE, **response: Any) -> Any:
    """The error of a call that gets this response."""
    return caller.error(operation, Client(LOCAL, transport=FixedResponse(**response)))


def copies(thing: Any) -> list[Any]:
    pickled = [pickle.loads(pickle.dumps(thing, protocol)) for protocol in PROTOCOLS]
    return [*pickled, copy.copy(thing), copy.deepcopy(thing)]


def one_of_each() -> list[Exception]:
    """An error of each class, with all that it can hold."""
    headers = {"X-Request-Id": "r1", "Retry-After": "2", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    body = THROTTLED | {"detail": "d"}
    invalid = Response[Any](status_code=200, headers=Headers(headers), content=b"{}", problem="no task_id")
    return [
        APIError("any"),
        APIConnectionError("PUT http://127.0.0.1: ReadError", True),
        APITimeoutError("PUT http://127.0.0.1: ConnectTimeout", outcome_unknown=False),
        *(status_error(status, body, headers) for status in (402, 400, 401, 403, 404, 405, 429, 500)),
        APIResponseValidationError(invalid),
        ConfigurationError("no region"),
        APIRequestValidationError("the body has no action"),
        IAMError(response(403, body, headers)),
        IAMAuthenticationError(response(401, body, headers)),
    ]


# ---- the tree


def test_the_tree_of_exceptions_is_as_designed_and_all_of_it_is_public() -> None:
    assert {error_class: error_class.__bases__ for error_class in TREE} == TREE
    assert {type(error) for error in one_of_each()} == set(TREE)
    for package, tree in ((huaweicloud_retry_client, CALLING), (huaweicloud_retry, TREE)):
        classes = filter(inspect.isclass, (getattr(package, name) for name in package.__all__))
        assert {each for each in classes if issubclass(each, Exception)} == set(tree)


@pytest.mark.parametrize(("error_class", "unknown", "statuses"), STATUSES)
def test_each_status_has_its_class_and_says_whether_the_request_may_have_been_processed(
    caller: Caller, error_class: type[APIError], statuses: list[int], *, unknown: bool
) -> None:
    for status in statuses:
        error = raised(caller, status=status, content=b"{}")
        assert (type(error), error.status_code, error.outcome_unknown) == (error_class, status, unknown)
        detailed = caller.detailed(ENGINE, Client(LOCAL, transport=FixedResponse(status, b"{}")))
        assert (detailed.status_code, detailed.parsed, type(detailed.error)) == (status, None, error_class)
        assert (detailed.problem is None) == (not 200 <= status < 300)
        with pytest.raises(error_class):
            detailed.result()


def test_a_request_refused_by_iam_never_reached_the_service() -> None:
    assert not any(IAMError(response(status)).outcome_unknown for status in (200, 401, 500))


# ---- what the body says


@pytest.mark.parametrize(
    ("body", "error_code", "error_msg", "detail"),
    [
        (THROTTLED, "APIGW.0308", "Threshold reached", None),
        ({"error_code": "S.1", "error_msg": "No.", "detail": "engine_id"}, "S.1", "No.", "engine_id"),
        ({"errorCode": "SVCSTG.1", "errorMessage": "No."}, "SVCSTG.1", "No.", None),
        ({"error": {"code": 401, "message": "Wrong.", "title": "Unauthorized"}}, "401", "Wrong.", None),
        ({"error": {"code": 401, "title": "Unauthorized"}}, "401", "Unauthorized", None),
        ({"error_code": 1101, "error_msg": 7}, "1101", "7", None),  # IAM's older pages have numbers
        ({"error_code": "S.1"}, "S.1", '{"error_code": "S.1"}', None),
        ({"code": None, "error_msg": ["x"]}, None, '{"code": null, "error_msg": ["x"]}', None),
        ({"error_msg": "No.", "detail": {}}, None, "No.", None),
        ({"error": "down"}, None, '{"error": "down"}', None),
        ([["error_code", "S.1"]], None, '[["error_code", "S.1"]]', None),
        (b"<html>\n<h1>502</h1>\n</html>", None, "<html> <h1>502</h1> </html>", None),
        (b'{"error_code": "S.1', None, '{"error_code": "S.1', None),
        (b"", None, "", None),
        (b"\xff\xfe\xfa", None, "\ufffd\ufffd\ufffd", None),
    ],
)
def test_each_body_shape_is_read(
    body: object, error_code: str | None, error_msg: str, detail: str | None
) -> None:
    error = status_error(500, body)
    assert (error.error_code, error.error_msg, error.detail) == (error_code, error_msg, detail)


@pytest.mark.parametrize("content", [b"x" * 50_000, b'{"error":' * 100_000], ids=["text", "deep"])
def test_text_of_no_known_shape_is_bounded_and_the_whole_body_kept(content: bytes) -> None:
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
def test_a_text_body_is_decoded_with_its_charset(charset: str, content: bytes, message: str) -> None:
    assert status_error(502, content, {"Content-Type": f"text/html; charset={charset}"}).error_msg == message


# ---- how it reads


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (status_error(429, THROTTLED), "429 APIGW.0308: Threshold reached [request id 5a1e4c8b]"),
        (
            status_error(400, {"error_code": "C.1", "error_msg": "No.", "detail": "engine_id"}),
            "400 C.1: No. (engine_id)",
        ),
        (status_error(502, b"<h1>Bad</h1>", {"X-Request-Id": "r1"}), "502: <h1>Bad</h1> [request id r1]"),
        (status_error(500), "500: no message"),
    ],
)
def test_str_has_status_code_message_detail_and_request_id(error: APIError, text: str) -> None:
    assert str(error) == text
    assert repr(error) == f"{type(error).__name__}({text!r})"


def test_str_of_an_invalid_200_has_status_problem_and_request_id(
    caller: Caller, operation: Operation
) -> None:
    error = raised(caller, operation, content=b"{}", headers={"X-Request-Id": "r1"})
    problem = f"'{next(iter(operation.result))}' is missing"
    assert (error.problem, error.request_id) == (problem, "r1")
    assert re.fullmatch(rf"200, .*: {problem} \[request id r1\]", str(error))


any_text = st.text(st.characters(exclude_categories=()), max_size=60)  # lone surrogates too


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
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


def test_str_and_repr_are_bounded() -> None:
    long = "x" * 100_000
    error = status_error(500, {"error_code": long, "error_msg": long, "detail": long, "request_id": long})
    for text in (str(error), repr(error), str(APIConnectionError(long, outcome_unknown=True))):
        assert len(text) < 1_500
    assert "[request id r1]" in str(status_error(500, {"error_msg": long, "request_id": "r1"}))
    model = RetryScriptExecutionResponse.from_dict({"task_id": long, "more": [long] * 3})
    assert len(repr(model)) < 500
    assert len(repr(success(parsed=model, problem=long))) < 2_000


@pytest.mark.parametrize("error", one_of_each(), ids=lambda error: type(error).__name__)
def test_an_error_survives_pickle_and_copy_with_its_attributes(error: Exception) -> None:
    for twin in copies(error):
        assert type(twin) is type(error)
        assert (str(twin), repr(twin), vars(twin)) == (str(error), repr(error), vars(error))
        for name in ("outcome_unknown", "attempts"):
            assert getattr(twin, name, None) == getattr(error, name, None)


# ---- headers: Retry-After, Date

NOW, PAST = "Wed, 21 Oct 2026 07:28:00 GMT", "Fri, 31 Dec 1999 23:59:59 GMT"
INVALID = [None, "", "soon", "-3", "nan", "1e9", "9" * 5_000, "Wed, 99 Oct 2026 07:28:00 GMT"]
INVALID += ["Wed, 21 Oct 2026 07:28:00 -0000", "\u0663"]  # a digit to str.isdigit


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("3", None, 3.0),
        ("0", None, 0.0),
        (" 120 ", None, 120.0),
        # compared with the server's own clock, which may differ from ours
        ("Wed, 21 Oct 2026 07:28:30 GMT", NOW, 30.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", NOW, 0.0),
        (PAST, None, 0.0),
        (PAST, "today", 0.0),  # then with our own
        *((invalid, NOW, None) for invalid in INVALID),
    ],
)
def test_retry_after_is_number_or_date(value: str | None, date: str | None, seconds: float | None) -> None:
    pairs = {"Retry-After": value, "Date": date}
    raw = [(name.encode(), each.encode()) for name, each in pairs.items() if each is not None]
    error = Response[Any](status_code=429, headers=Headers(raw), content=b"").error
    assert isinstance(error, RateLimitError)
    assert error.retry_after == seconds


def test_retry_after_as_a_date_is_compared_with_our_clock_if_the_response_has_no_date() -> None:
    assert status_error(429, b"", {"Retry-After": "Fri, 31 Dec 2999 23:59:59 GMT"}).retry_after > 1e9


@pytest.mark.parametrize(("minutes", "hint"), [(20, "behind"), (-20, "ahead of"), (4, ""), (-4, "")])
def test_a_401_mentions_a_clock_that_is_wrong(minutes: float, hint: str) -> None:
    date = datetime.now(UTC) + timedelta(minutes=minutes)  # of the server
    headers = {"Date": format_datetime(date, usegmt=True)}
    error = status_error(401, THROTTLED, headers)
    hint = hint and f"; this machine's clock is 20 minutes {hint} the server's"
    assert str(error).endswith(f"[request id 5a1e4c8b]{hint}")
    assert error.clock_ahead == pytest.approx(-60 * minutes, abs=60)
    assert "clock" not in str(status_error(403, THROTTLED, headers))
    for without in ({}, {"Date": "yesterday"}, {"Date": ""}):
        error = status_error(401, THROTTLED, without)
        assert (error.clock_ahead, "clock" in str(error)) == (None, False)


# ---- docstrings


def described(operation: Operation) -> Any:
    """What the spec says of an operation; it has one of each method."""
    verb = operation.method.lower()
    (found,) = [path[verb] for path in SPEC["paths"].values() if verb in path]
    return found


def test_the_docstring_has_summary_source_parameters_and_errors(caller: Caller, operation: Operation) -> None:
    says = described(operation)
    plain, detailed = (getattr(operation.module, caller.name + suffix) for suffix in ("", "_detailed"))
    assert plain.__doc__.splitlines()[0] == says["summary"]
    assert f"Official page: {SPEC['info']['x-sources'][says['x-source']]}" in plain.__doc__
    for parameter in inspect.signature(plain).parameters:
        assert re.search(rf"^ +{parameter} \(.+\): \w", plain.__doc__, re.MULTILINE), parameter
    for name in ("APIConnectionError", "ValueError"):
        assert re.search(rf"^ +{name}[:,] ", plain.__doc__, re.MULTILINE), name
    # `NotFoundError: 404. …` -> {404: "NotFoundError"}; `200: …` -> {200: ""}
    found = re.findall(r"^ +(?:(\w+): (\d{3})\. |(\d{3}): )", plain.__doc__, re.MULTILINE)
    documented = {int(status or ok): name for name, status, ok in found}
    assert set(documented) == {int(status) for status in says["responses"]}
    del documented[200]
    for status, name in documented.items():
        assert type(raised(caller, operation, status=status)).__name__ == name
    assert f"`{caller.name}`" in detailed.__doc__
    assert inspect.signature(detailed).parameters == inspect.signature(plain).parameters


# ---- any response

MEBIBYTE = 1 << 20
RESPONSES = int(os.environ.get("RESPONSES", "100"))  # each for both operations, sync and async

# Exactly the types of the contract, by field of the model.
TYPES: dict[str, dict[str, type]] = {
    "RetryScriptExecution": {"task_id": str},
    "RetryEngine": {"id": str, "name": str, "job_id": int},
}

anything = st.one_of(
    st.sampled_from(
        [None, True, False, 0, -1, 2**31, 2**63, 10**30, 1.5, 18638.0, 1e308, "", "0", "x" * 3000, "\ud800"]
    ),
    st.sampled_from([[], {}, [[]], [["task_id", "t1"], ["id", "e1"]], {"task_id": "t1"}, {"$ref": "#"}]),
    st.text(max_size=8),
    st.integers(),
)
word = st.text(max_size=8)
valid = {"task_id": word, "id": word, "name": word, "jobId": st.integers(0, 10**6)}  # for either operation
of_errors = ["error_code", "error_msg", "detail", "request_id", "errorCode", "errorMessage", "error"]
documents = st.one_of(
    st.fixed_dictionaries(valid, optional={"more": anything}),
    st.fixed_dictionaries({}, optional={name: value | value | anything for name, value in valid.items()}),
    st.fixed_dictionaries({}, optional=dict.fromkeys(of_errors, anything)),
    anything,
)


def written(document: object, encoding: str, quarters: int, *, ascii_only: bool) -> bytes:
    """Write JSON in an encoding, and keep the first quarters of it."""
    text = json.dumps(document, ensure_ascii=ascii_only)
    content = text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")
    return content[: len(content) * quarters // 4]


MODEL = b'{"task_id":"t","id":"i","name":"n","jobId":1}'
ODD_BODIES = [
    *(b"", b"\0", b"\xef\xbb\xbf", b"NaN", b"-Infinity", b"<html>" + b"\xe8\x84" * 3_000, MODEL + b"{}"),
    MODEL.replace(b'"t"', b"NaN"),
    MODEL.replace(b"{", b'{"jobId":"1",'),  # twice, and the last one counts
    *(MODEL.replace(b"1", number) for number in (b"-0", b"1e3", b"Infinity", b"9" * 4_000, b"9" * 5_000)),
    *(opening * depth for opening in (b"[", b'{"a":', b'{"error":') for depth in (50, 990, 20_000)),
    *(MODEL.replace(b"1}", b'1,"a":' + b"[" * depth + b"]" * depth + b"}") for depth in (50, 900, 20_000)),
    gzip.compress(MODEL),
    zlib.compress(MODEL),
]
bodies = st.one_of(
    st.builds(
        written,
        documents,
        st.sampled_from(["utf-8"] * 4 + ["utf-8-sig", "utf-16", "utf-32-be", "latin-1", "shift_jis"]),
        st.sampled_from([4, 4, 4, 1, 2, 3]),
        ascii_only=st.booleans(),
    ),
    st.binary(max_size=40),
    st.sampled_from(ODD_BODIES),
)

ODD_HEADERS = {
    b"Content-Type": [b"application/json", b"text/html; charset=x", b"a/b;charset=utf-7"],
    b"Content-Encoding": [b"gzip", b"deflate", b"br", b"zstd", b"x", b"gzip, gzip"],
    b"Content-Length": [b"0", b"-1", b"9" * 400],
    b"Transfer-Encoding": [b"chunked", b"x"],
    b"Retry-After": [b"3", b"-1", b"1e9", b"9" * 400, b"Wed, 21 Oct 2026 07:28:00 GMT", b"Wed, 21"],
    b"Date": [b"", b"Wed, 21 Oct 2026 07:28:00 GMT", b"Wed, 21 Oct 2026 07:28:00 -0000"],
    b"Location": [b"/", b"//", b"\0", b"https://[::1", b"http:x", b"http://h:x/", b"https://xn--a/"],
    b"Set-Cookie": [b"a=b; expires=Thu, 01 Jan 99999 00:00:00 GMT", b"=;=", b"a"],
    b"X-Request-Id": [b"r1", "脚".encode(), b"a\tb", b"x" * 3000],
    b"\xff": [b"\xff"],
}
header = st.one_of(
    st.sampled_from([(name, value) for name, values in ODD_HEADERS.items() for value in values]),
    st.tuples(st.sampled_from(sorted(ODD_HEADERS)), st.binary(max_size=12)),
)
statuses = st.one_of(
    st.just(200), st.sampled_from([200, 201, 204, 302, 400, 401, 429, 500, 502]), st.integers(100, 999)
)


def check(operation: Operation, status: int, response: Response[Any]) -> None:
    outcome: object
    try:
        outcome = response.result()  # as the plain functions do
    except APIError as error:
        outcome = error
    assert response.status_code == status
    repr(response)
    if isinstance(outcome, operation.model):
        assert status == 200
        for field, expected in TYPES[operation.name].items():
            assert type(getattr(outcome, field)) is expected
        assert outcome == response.parsed
        assert response.error is None
        return
    assert isinstance(outcome, APIResponseValidationError if 200 <= status < 300 else APIStatusError)
    assert type(outcome) is type(response.error)
    assert (outcome.status_code, response.parsed) == (status, None)
    for text in (str(outcome), repr(outcome)):
        assert text.isprintable()
        assert len(text) < 1_500
    twin = pickle.loads(pickle.dumps(outcome))
    assert (str(twin), twin.response.content) == (str(outcome), outcome.response.content)


def test_any_response_is_a_model_or_a_typed_error() -> None:
    transport = FixedResponse()
    client = Client(LOCAL, transport=transport)
    seen = 0

    @settings(
        max_examples=RESPONSES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(statuses, st.lists(header, max_size=3), bodies)
    def is_understood(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        nonlocal seen
        note(f"{status} {headers} {body[:300]!r}")
        transport.status, transport.headers, transport.content = status, headers, body
        for operation in OPERATIONS.values():
            arguments = {**operation.arguments, "client": client}
            check(operation, status, operation.module.sync_detailed(**arguments))
            check(operation, status, loop.run(operation.module.asyncio_detailed(**arguments)))
        transport.requests.clear()
        seen += 1

    with asyncio.Runner() as loop:
        is_understood()
    assert seen >= RESPONSES


# ---- single responses: size, encoding, invalid bodies


@contextmanager
def memory() -> Generator[Callable[[], int]]:
    """Give the peak, in bytes, of what Python held within the block beyond what it held before."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    peaks: list[int] = []
    try:
        yield lambda: peaks[0] - before
        peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("status", "mebibytes", "error_class"), [(200, 16, APIResponseValidationError), (404, 1, NotFoundError)]
)
def test_at_most_16_mebibytes_of_a_result_and_one_of_an_error_are_read(
    caller: Caller, status: int, mebibytes: int, error_class: type[APIError]
) -> None:
    body = LazyBody(b" " * 65_536 for _ in range(1_600))
    client = Client(LOCAL, transport=FixedResponse(status, stream=body))
    with memory() as peak:
        response = caller.detailed(ENGINE, client)
    assert str(mebibytes * MEBIBYTE) in response.problem
    assert len(response.content) == MEBIBYTE
    assert type(response.error) is error_class
    assert (body.read, body.closed) == (16 * mebibytes + 1, True)
    assert peak() < max(8, 4 * mebibytes) * MEBIBYTE


@cache
def bomb(times: int) -> bytes:
    """128 MiB of blanks: gzip makes 128 kB of them, and once more a few hundred bytes."""
    content = bomb(times - 1) if times > 1 else b" " * (128 * MEBIBYTE)
    return gzip.compress(content, 1, mtime=0)


@pytest.mark.parametrize(
    ("times", "status", "most", "error_class"),
    [
        (1, 200, 64, APIResponseValidationError),
        (1, 404, 8, NotFoundError),
        (2, 404, 8, NotFoundError),
    ],
)
def test_a_gzip_bomb_does_not_fill_the_memory(
    caller: Caller, times: int, status: int, most: int, error_class: type[APIError]
) -> None:
    content, encoding = bomb(times), ", ".join(["gzip"] * times)
    with memory() as peak:
        error = raised(caller, status=status, content=content, headers={"Content-Encoding": encoding})
    assert type(error) is error_class
    assert peak() < most * MEBIBYTE


def test_a_compressed_body_is_decompressed(caller: Caller) -> None:
    for compress, encoding in ((gzip.compress, "gzip"), (gzip.compress, "GZip"), (zlib.compress, "deflate")):
        transport = FixedResponse(content=compress(ACCEPTED), headers={"Content-Encoding": encoding})
        assert type(caller.call(ENGINE, Client(LOCAL, transport=transport))) is ENGINE.model


NOT_JSON = (b"", b"<html>", b"[" * 100_000, b'{"jobId":' + b"9" * 5_000 + b"}", b"\xff\xfe")
ENGINE_BODY = b'{"id": "i", "name": "n", "jobId": 1}'


@pytest.mark.parametrize(
    ("invalid", "problem"),
    [
        *((each, "the body is not JSON") for each in NOT_JSON),
        (b"null", "the body: dict expected, got NoneType"),
        (b'[["task_id", "t"], ["id", "i"], ["name", "n"]]', "the body: dict expected, got list"),
        (ENGINE_BODY.replace(b'"i"', b"null"), "id: str expected, got NoneType"),
        *(
            (ENGINE_BODY.replace(b"1", number), f"jobId: int expected, got {kind}")
            for number, kind in ((b'"1"', "str"), (b"1.5", "float"), (b"true", "bool"))
        ),
    ],
    ids=range(11),
)
def test_a_200_that_breaks_the_contract_says_where(caller: Caller, invalid: bytes, problem: str) -> None:
    error = raised(caller, content=invalid)
    assert type(error) is APIResponseValidationError
    assert problem in error.problem
    assert error.response.content == invalid


# ---- what is shown


def success(**changes: Any) -> Response[RetryScriptExecutionResponse]:
    parsed = RetryScriptExecutionResponse(task_id="t1")
    given: dict[str, Any] = {"headers": Headers(), "content": b"{}", "parsed": parsed, **changes}
    return Response(status_code=200, **given)


CLIENT = Client(f"{LOCAL}/", auth=Token(SECRET), headers={"X-Auth-Token": SECRET})
MODEL_TEXT = "RetryScriptExecutionResponse(task_id='t1', additional_properties={})"


@pytest.mark.parametrize(
    ("thing", "shown"),
    [
        (Client(LOCAL), "Client('http://127.0.0.1')"),
        (CLIENT, "Client('http://127.0.0.1', auth=Token)"),
        (object.__new__(Client), "Client('?')"),  # __init__ failed, and a traceback shows it
        (UNSET, "UNSET"),
        (
            RetryScriptExecutionRequest(record_id="r1"),
            "RetryScriptExecutionRequest(record_id='r1', task_id=UNSET, additional_properties={})",
        ),
        (
            success(headers=httpx.Headers({"X-Subject-Token": SECRET}), content=SECRET.encode()),
            f"Response(status_code=200, content=<13 bytes>, parsed={MODEL_TEXT}, problem=None, attempts=1)",
        ),
    ],
)
def test_repr_is_short_and_useful_and_holds_no_secret(thing: object, shown: str) -> None:
    assert repr(thing) == str(thing) == shown


@pytest.mark.parametrize("transport", [None, FixedResponse()], ids=["ours", "given"])
def test_a_dump_of_a_client_shows_no_secret(transport: httpx.BaseTransport | None) -> None:
    client = Client(LOCAL, headers={"X-Auth-Token": SECRET}, auth=Token(SECRET), transport=transport)
    assert SECRET not in repr(vars(client))
    with pytest.raises(TypeError):
        pickle.dumps(client)


ECHO = f"canonical request: PUT|/v2/|x-sdk-date:2020|x-security-token:{SECRET}|host;x-sdk-date|e3b0"


@pytest.mark.parametrize("field", ["error_msg", "detail", "message", None])
def test_a_secret_that_the_gateway_repeats_is_masked_and_nothing_else(field: str | None) -> None:
    """In which shapes: test_redaction."""
    error = status_error(401, {"error_code": "APIGW.0301", field: ECHO} if field else ECHO.encode())
    shown = [str(error), repr(error), repr(error.response), error.error_code, error.error_msg, error.detail]
    text = "\n".join(map(str, shown))
    assert SECRET not in text
    assert ECHO.replace(SECRET, "***") in text


@pytest.mark.parametrize("is_httpx", [False, True], ids=["ours", "httpx"])
def test_no_secret_in_any_log_line_of_a_call_on_a_real_socket(
    caller: Caller, server: LoopbackServer, caplog: pytest.LogCaptureFixture, *, is_httpx: bool
) -> None:
    """Of calls that fail: test_secrets."""
    caplog.set_level(logging.DEBUG)
    theirs = httpx.HTTPTransport() if caller.name == "sync" else httpx.AsyncHTTPTransport()
    settings: dict[str, Any] = {"transport": theirs} if is_httpx else {}
    headers = {"X-Security-Token": SECRET}
    caller.call(ENGINE, Client(server.url, auth=Token(SECRET), headers=headers, **settings))
    assert is_httpx == any(record.name.startswith("httpcore") for record in caplog.records)
    assert SECRET not in "".join(str(vars(record)) for record in caplog.records)


# ---- models and the package


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (EngineActionRequest, ["Retry"]),
        (EngineActionResponse, ["e1", "n", 1]),
        (ErrorBody, ["C", "M"]),
        (Response, [200, httpx.Headers(), b""]),
    ],
)
def test_fields_are_keyword_only(model: type[Any], values: list[Any]) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        model(*values)


def test_a_response_can_be_pickled_and_copied_and_there_is_one_unset() -> None:
    whole = success(headers=httpx.Headers({"X-Request-Id": "r1"}))
    assert all(twin == whole for twin in copies(whole))
    assert all(twin is UNSET for twin in copies(UNSET))
    assert not UNSET


def test_the_package_is_typed_and_complete_and_has_the_version_of_the_spec() -> None:
    assert importlib.resources.files("huaweicloud_retry_client").joinpath("py.typed").is_file()
    assert huaweicloud_retry_client.__version__ == SPEC["info"]["version"]
    for name in huaweicloud_retry_client.__all__:
        assert hasattr(huaweicloud_retry_client, name)
