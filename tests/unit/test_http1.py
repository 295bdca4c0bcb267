"""HTTP/1.1 without I/O: the bytes from the server, and what they make of a response and its connection."""

import contextlib
from itertools import pairwise
from typing import NamedTuple

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huaweicloud_retry.runtime import http1
from huaweicloud_retry.runtime.http1 import MAX_BODY, READ_SIZE, ResponseReader

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
LIMIT = 1 << 16  # of heads, trailers and chunk extensions


class Seen(NamedTuple):
    """What came of a response; without a body, reading it raises."""

    status: int | None
    body: bytes | None
    is_reusable: bool
    has_ended: bool = True


REFUSED = Seen(None, None, is_reusable=False)
BROKEN = Seen(200, None, is_reusable=False)  # its status is known, the rest is invalid
REUSABLE = Seen(200, b"ok", is_reusable=True)
USED_UP = Seen(200, b"ok", is_reusable=False)
OPEN = Seen(200, b"ok", is_reusable=False, has_ended=False)  # until the connection ends


def read(*parts: bytes, method: str = "GET", headers: dict[str, str] | None = None) -> Seen:
    """Feed the parts of a response; an empty one is the end of the connection."""
    reader = ResponseReader(http1.payload(httpx.Request(method, "http://host/", headers=headers), b""))
    for part in parts:
        reader.feed(part)
    status = body = None
    with contextlib.suppress(httpx.RemoteProtocolError):
        response = reader.response()
        status = response.status_code
        body = response.read()
    return Seen(status, body, reader.has_ended and reader.is_reusable, reader.has_ended)


def head(*lines: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join((status, *lines, "", "")).encode()


def in_parts(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


LENGTH = "Content-Length: 2"
RESPONSES = [
    # the body ends by length, by chunks, or with the connection
    (OK, REUSABLE),
    (head(LENGTH, status="HTTP/1.1 200") + b"ok", REUSABLE),
    (CHUNKED + b"2\r\nok\r\n0\r\n\r\n", REUSABLE),
    (head("transfer-encoding: Chunked") + b"1;a=b\r\no\r\n1\r\nk\r\n0\r\nTrailer: 1\r\n\r\n", REUSABLE),
    (head() + b"ok", OPEN),
    (head(status="HTTP/1.0 200 OK") + b"ok", OPEN),
    (OK[:-1], Seen(200, b"o", is_reusable=False, has_ended=False)),
    (head("Content-Length: 0", status="HTTP/1.1 999 ?"), Seen(999, b"", is_reusable=True)),
    # 204 and 304 have no body, whatever their headers say
    (head(status="HTTP/1.1 204 No Content"), Seen(204, b"", is_reusable=True)),
    (head("Content-Length: 9", status="HTTP/1.1 304 Not Modified"), Seen(304, b"", is_reusable=True)),
    (head(LENGTH, status="HTTP/1.1 204 No Content") + b"ok", Seen(204, b"", is_reusable=False)),
    (head(LENGTH, status="HTTP/1.1 304 Not Modified") + OK, Seen(304, b"", is_reusable=False)),
    # a side that closes, or cannot keep open
    (head(LENGTH, "Connection: close") + b"ok", USED_UP),
    (head(LENGTH, "Connection: keep-alive", "Connection: x, Close") + b"ok", USED_UP),
    (head(LENGTH, status="HTTP/1.0 200 OK") + b"ok", USED_UP),
    (head(LENGTH, "Connection: Keep-Alive", status="HTTP/1.0 200 OK") + b"ok", REUSABLE),
    # anything behind the response
    *((OK + behind, USED_UP) for behind in (OK, OK[:20], b"\r\n", b"\n", b"x", b" ", b"\0")),
    (CHUNKED + b"2\r\nok\r\n0\r\n\r\n\r\n", USED_UP),
    # interim responses
    (HINTS + OK, REUSABLE),
    (HINTS * 16 + OK, REUSABLE),
    (HINTS * 17 + OK, REFUSED),
    (head("Content-Length: 9", status="HTTP/1.1 100 Continue") + OK, REFUSED),
    (head("Transfer-Encoding: chunked", status="HTTP/1.1 103 Hints") + b"2\r\nno\r\n0\r\n\r\n" + OK, REFUSED),
    (HINTS, Seen(None, None, is_reusable=False, has_ended=False)),
    (head("Upgrade: x", "Connection: upgrade", status="HTTP/1.1 101 Switching") + OK, REFUSED),
    # more than one way to see where the body ends
    (head(LENGTH, LENGTH) + b"ok", REFUSED),
    (head(LENGTH, "Content-Length: 1") + b"ok", REFUSED),
    *(
        (head(f"Content-Length: {length}") + b"ok", REFUSED)
        for length in ("2, 2", "-2", "+2", "", "0x2", "9" * 30)
    ),
    (head(LENGTH, "Transfer-Encoding: chunked") + b"2\r\nok\r\n0\r\n\r\n", REFUSED),
    (head("Transfer-Encoding: chunked", LENGTH) + b"2\r\nok\r\n0\r\n\r\n", REFUSED),
    *(
        (head(f"Transfer-Encoding: {coding}") + b"2\r\nok\r\n0\r\n\r\n", REFUSED)
        for coding in ("gzip", "gzip, chunked", "chunked, chunked", "xchunked", "identity", "")
    ),
    (head("Transfer-Encoding: chunked", status="HTTP/1.0 200 OK") + b"2\r\nok\r\n0\r\n\r\n", REFUSED),
    *(
        (CHUNKED + size + b"\r\nok\r\n0\r\n\r\n", BROKEN)
        for size in (b"-2", b"0x2", b"2 ", b"x", b"f" * 17, b"1", b"")
    ),
    (CHUNKED + b"2\nok\n0\n\n", BROKEN),
    # what is not HTTP/1
    *(
        (head(LENGTH, status=f"HTTP/{version} 200 OK") + b"ok", REFUSED)
        for version in ("2.0", "1.2", "0.9", "11")
    ),
    *(
        (head(LENGTH, status=f"HTTP/1.1 {status} OK") + b"ok", REFUSED)
        for status in ("099", "20", "1000", "2x0", "")
    ),
    (OK.replace(b"\r\n", b"\n"), REFUSED),
    (b"GET / HTTP/1.1\r\n\r\n", REFUSED),
    (b"\x15\x03\x01\x00\x02\x02\x0a", REFUSED),  # a TLS alert
    *(
        (head(LENGTH, line) + b"ok", REFUSED)
        for line in ("X: a\r\n folded", "X : a", "X y: a", "X: a\0b", ": a")
    ),
]


@pytest.mark.parametrize(("data", "expected"), RESPONSES)
def test_a_response_reads_the_same_however_it_is_cut(data: bytes, expected: Seen) -> None:
    assert read(data) == expected
    assert {read(data[:at], data[at:]) for at in range(1, len(data))} <= {expected}
    assert read(*in_parts(data, 1)) == expected


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_responses_and_what_is_behind_them_read_the_same_however_they_are_cut(data: st.DataObject) -> None:
    pieces = [
        HINTS,
        OK,
        CHUNKED,
        b"2\r\nok\r\n",
        b"0\r\n\r\n",
        b"\r\n",
        b"X: y\r\n",
        b"HTTP/1.1 204 N\r\n\r\n",
        b"\0",
    ]
    sent = b"".join(data.draw(st.lists(st.sampled_from(pieces), min_size=1, max_size=6)))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent)), max_size=6)) | {0, len(sent)})
    parts = [sent[start:end] for start, end in pairwise(cuts)]
    assert read(*parts) == read(sent)
    assert read(*parts, b"") == read(sent, b"")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (head(LENGTH), Seen(200, b"", is_reusable=True)),
        (head("Transfer-Encoding: chunked"), Seen(200, b"", is_reusable=True)),
        (head(), Seen(200, b"", is_reusable=True)),
        (OK, Seen(200, b"", is_reusable=False)),  # its body would be the next response
    ],
)
def test_a_response_to_head_has_no_body(data: bytes, expected: Seen) -> None:
    assert read(data, method="HEAD") == expected


def test_a_request_that_asks_to_close_leaves_no_connection() -> None:
    assert read(OK, headers={"connection": "x, Close"}) == USED_UP


# ---- the end of the connection


@pytest.mark.parametrize("data", [OK, HINTS + OK, CHUNKED + b"2\r\nok\r\n0\r\nTrailer: 1\r\n\r\n"])
def test_a_connection_that_ends_within_a_response_is_an_error_at_every_byte(data: bytes) -> None:
    start = data.index(b"200 OK")
    known = data.index(b"\r\n\r\n", start) + 4
    for at in range(len(data)):
        assert read(*in_parts(data[:at], 9), b"") == (REFUSED if at < known else BROKEN), at
    assert read(data, b"")[:2] == (200, b"ok")


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    assert read(head() + b"ok", b"") == USED_UP
    assert read(head(), b"") == Seen(200, b"", is_reusable=False)


# ---- limits

LARGE = 4 * LIMIT


@pytest.mark.parametrize(
    "data",
    [
        head("X: " + LARGE * "x", LENGTH) + b"ok",
        head(*LARGE * ["X:"], LENGTH) + b"ok",
        head(LENGTH, status="HTTP/1.1 200 " + LARGE * "x") + b"ok",
        14 * head("X: " + 20_000 * "x", status="HTTP/1.1 103 Early Hints") + OK,
        CHUNKED + b"2;" + LARGE * b"x" + b"\r\nok\r\n0\r\n\r\n",
        CHUNKED + LARGE * b"0" + b"2\r\nok\r\n0\r\n\r\n",
        CHUNKED + b"2\r\nok\r\n0\r\nX: " + LARGE * b"x" + b"\r\n\r\n",
        CHUNKED + b"2\r\nok\r\n0\r\n" + LARGE * b"X:\r\n" + b"\r\n",
    ],
    ids=["a header", "headers", "reason", "interim", "extension", "chunk size", "a trailer", "trailers"],
)
def test_what_is_no_body_is_bounded(data: bytes) -> None:
    for size in (READ_SIZE, 1000):
        assert read(*in_parts(data, size)) in (REFUSED, BROKEN)


def test_heads_and_trailers_below_the_limit_are_read() -> None:
    assert read(head("X: " + 60_000 * "x", LENGTH) + b"ok") == REUSABLE
    assert read(CHUNKED + b"2\r\nok\r\n0\r\nX: " + 60_000 * b"x" + b"\r\n\r\n") == REUSABLE


@pytest.mark.parametrize("size", [1000, READ_SIZE, 2 * MAX_BODY])
def test_a_body_over_the_limit_ends_the_reading(size: int) -> None:
    whole, over = b"x" * MAX_BODY, b"x" * (MAX_BODY + 1)
    parts = in_parts(head(f"Content-Length: {MAX_BODY}") + whole, size)
    assert read(*parts) == Seen(200, whole, is_reusable=True)
    of_length, in_chunks = head(f"Content-Length: {9 * MAX_BODY}"), CHUNKED + b"%x\r\n" % (9 * MAX_BODY)
    for framed in (of_length + over, in_chunks + over):
        seen = read(*in_parts(framed, size))
        assert (seen.status, seen.is_reusable, seen.has_ended) == (200, False, True)
        assert MAX_BODY < len(seen.body or b"") <= MAX_BODY + size


# ---- the request


def test_a_request_is_one_piece_with_a_length_of_its_own() -> None:
    headers = [("content-length", "99"), ("Transfer-Encoding", "chunked"), ("X-A", "1"), ("X-A", "2")]
    request = httpx.Request("PUT", "http://host:81/a%2Fb?c=d", headers=headers)
    expected = b"PUT /a%2Fb?c=d HTTP/1.1\r\nHost: host:81\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: "
    for body in (b"", b"body"):
        assert bytes(http1.payload(request, body)) == expected + b"%d\r\n\r\n%b" % (len(body), body)
    assert b"Content-Length" not in bytes(http1.payload(httpx.Request("GET", "http://host/"), b""))


@pytest.mark.parametrize("sign", ["\r", "\n", "\r\n", "\0", "\r\nX: y\r\n\r\n"])
def test_a_request_with_a_line_break_is_refused_and_not_shown(sign: str) -> None:
    pairs = {"X": f"s3cret{sign}"}, {f"X{sign}": "s3cret"}
    in_a_header = [httpx.Request("GET", "http://host/", headers=pair) for pair in pairs]
    in_the_path = httpx.Request("GET", "http://host/")
    in_the_path.url = type("Raw", (httpx.URL,), {"raw_path": f"/s3cret{sign}".encode()})("http://host/")
    for request in (*in_a_header, in_the_path):
        with pytest.raises(httpx.LocalProtocolError, match="line break or NUL; nothing was sent") as caught:
            http1.payload(request, b"")
        assert "s3cret" not in repr(caught.value)
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    request = httpx.Request("GET", "http://host/", headers={"X": "s3cret"})
    assert "s3cret" not in repr(http1.payload(request, b"s3cret"))
