"""Nothing that a server sends gets past the typed errors: 1,000 responses in all, and 10,000 in `make test-slow`.

A call returns a model whose fields have exactly the contract's types, or raises an APIError that reads in one
line and can be pickled.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import pickle
import tracemalloc
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from huaweicloud_retry_client import (
    APIError,
    APIResponseValidationError,
    APIStatusError,
    Client,
    InternalServerError,
    NotFoundError,
    Response,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from tests.unit.conftest import Answering, LoopbackServer, Operation, Stream, World

MEBIBYTE = 1 << 20
RESPONSES = int(os.environ.get("RESPONSES", "250"))  # each for both operations, sync and async
LOCAL = "http://127.0.0.1"

# Exactly the types of the contract, by field of the model.
TYPES: dict[str, dict[str, type]] = {
    "RetryScriptExecution": {"task_id": str},
    "RetryEngine": {"id": str, "name": str, "job_id": int},
}


# ---- what a server may send

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
    b"",
    b"\0",
    b"\xef\xbb\xbf",
    b"NaN",
    b"-Infinity",
    b"<!DOCTYPE html><html><head><title>502</title></head>\r\n<body>Bad Gateway</body></html>",
    b"<html>" + b"\xe8\x84" * 3_000,
    MODEL + b"{}",
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
    b"Location": [
        b"/",
        b"//",
        b"\0",
        b"https://[::1",
        b"http:x",
        b"javascript:x",
        b"http://h:x/",
        b"https://xn--a/",
    ],
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


# ---- what a caller may get


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


def test_any_response_is_a_model_or_a_typed_error(
    operations: Mapping[str, Operation], answering: type[Answering]
) -> None:
    transport = answering()
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
        for operation in operations.values():
            arguments = {**operation.arguments, "client": client}
            check(operation, status, operation.module.sync_detailed(**arguments))
            check(operation, status, loop.run(operation.module.asyncio_detailed(**arguments)))
        transport.requests.clear()
        seen += 1

    with asyncio.Runner() as loop:
        is_understood()
    assert seen >= RESPONSES


# ---- single responses


@pytest.mark.parametrize(
    ("status", "error_class"),
    [(200, APIResponseValidationError), (404, NotFoundError), (500, InternalServerError)],
)
def test_of_a_body_of_100_megabytes_one_mebibyte_is_read(
    world: World,
    operation: Operation,
    answering: type[Answering],
    lazy_stream: type[Stream],
    status: int,
    error_class: type[APIError],
) -> None:
    stream = lazy_stream(b" " * 65_536 for _ in range(1_600))
    client = Client(LOCAL, transport=answering(status, stream=stream))
    with memory() as peak:
        response = world.detailed(operation, client)
    assert (len(response.content), response.problem) == (MEBIBYTE, "its body has more than 1048576 bytes")
    assert type(response.error) is error_class
    assert (stream.read, stream.closed) == (17, True)
    assert peak() < 8 * MEBIBYTE


def test_a_body_of_exactly_one_mebibyte_is_read_whole(
    world: World, operation: Operation, answering: type[Answering]
) -> None:
    content = json.dumps(dict(operation.answer)).encode().ljust(MEBIBYTE)
    assert type(world.call(operation, Client(LOCAL, transport=answering(content=content)))) is operation.model


def packed(times: int) -> bytes:
    """64 MiB of blanks: gzip makes 64 kB of them, and once more 300 bytes."""
    content = gzip.compress(b" " * (64 * MEBIBYTE), mtime=0)
    return content if times == 1 else gzip.compress(content, mtime=0)


@pytest.mark.parametrize(("times", "encoding"), [(1, "gzip"), (2, "gzip, gzip")])
def test_a_gzip_bomb_does_not_fill_the_memory(
    world: World, operation: Operation, answering: type[Answering], times: int, encoding: str
) -> None:
    content = packed(times)
    client = Client(LOCAL, transport=answering(content=content, headers={"Content-Encoding": encoding}))
    with memory() as peak:
        error = world.error(operation, client)
    assert type(error) is APIResponseValidationError
    assert peak() < 8 * MEBIBYTE


@pytest.mark.parametrize(
    ("pack", "encoding"), [(gzip.compress, "gzip"), (gzip.compress, "GZip"), (zlib.compress, "deflate")]
)
def test_a_packed_body_is_unpacked(
    world: World,
    operation: Operation,
    answering: type[Answering],
    pack: Callable[[bytes], bytes],
    encoding: str,
) -> None:
    content = pack(json.dumps(dict(operation.answer)).encode())
    client = Client(LOCAL, transport=answering(content=content, headers={"Content-Encoding": encoding}))
    assert type(world.call(operation, client)) is operation.model


@pytest.mark.parametrize(
    ("status", "location"),
    [
        *((status, "http://127.0.0.2/elsewhere") for status in (301, 302, 303, 307, 308)),
        *((302, url) for url in ("/", "javascript:x", "http://h:port/", "https://[", "\0", "x" * 70_000)),
    ],
)
def test_a_redirect_is_not_followed_but_a_status_like_any_other(
    world: World, operation: Operation, answering: type[Answering], status: int, location: str
) -> None:
    transport = answering(status, headers={"Location": location})
    error = world.error(operation, Client(LOCAL, transport=transport))
    assert (type(error), error.status_code, len(transport.requests)) == (APIStatusError, status, 1)
    assert error.response.headers["location"] == location


@pytest.mark.parametrize("status", [203, 600, 700, 999])
def test_a_status_that_http_does_not_know_is_a_status_like_any_other(
    world: World,
    operation: Operation,
    loopback: type[LoopbackServer],
    on_the_wire: Callable[..., bytes],
    status: int,
) -> None:
    with loopback(on_the_wire(status, b"{}")) as server:
        assert world.error(operation, Client(server.url)).status_code == status


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (b"", "the body is not JSON"),
        (b"<html>", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b'{"jobId":' + b"9" * 5_000 + b"}", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b"null", "the body: dict expected, got NoneType"),
        (
            b'[["task_id", "t"], ["id", "i"], ["name", "n"], ["jobId", 1]]',
            "the body: dict expected, got list",
        ),
        (b'{"task_id": 1, "id": 1, "name": "n", "jobId": 1}', "id: str expected, got int"),
        (b'{"task_id": null, "id": null, "name": "n", "jobId": 1}', "id: str expected, got NoneType"),
    ],
)
def test_a_200_that_breaks_the_contract_says_where(
    world: World, operation: Operation, answering: type[Answering], wrong: bytes, problem: str
) -> None:
    error = world.error(operation, Client(LOCAL, transport=answering(200, wrong)))
    assert type(error) is APIResponseValidationError
    assert problem in error.problem
    assert error.response.content == wrong


@pytest.mark.parametrize("job_id", [b'"1"', b"1.5", b"true", b"null", b"[1]"])
def test_a_job_id_that_is_no_integer_breaks_the_contract(
    world: World, operations: Mapping[str, Operation], answering: type[Answering], job_id: bytes
) -> None:
    content = b'{"id": "i", "name": "n", "jobId": %s}' % job_id
    error = world.error(operations["RetryEngine"], Client(LOCAL, transport=answering(200, content)))
    assert type(error) is APIResponseValidationError
    assert error.problem.startswith("job_id: int expected, got ")
