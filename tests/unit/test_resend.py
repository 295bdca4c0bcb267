"""What is sent again, after how long, and what a log says of it."""

import logging
import ssl
from typing import Any

import httpx
import pytest

from huaweicloud_retry import Resend
from huaweicloud_retry_client import APIConnectionError, APITimeoutError, Response


def answer(status: int, **headers: str) -> Response[Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status_code=status, headers=httpx.Headers(named), content=b"{}")


def failure(cause: Exception) -> APIConnectionError:
    error = (APITimeoutError if isinstance(cause, httpx.TimeoutException) else APIConnectionError)("m", False)
    error.__cause__ = cause
    return error


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "outcome", [answer(429), failure(httpx.ConnectError("refused")), failure(httpx.ConnectTimeout(""))]
)
def test_what_surely_did_not_act_is_sent_again(outcome: Response[Any] | APIConnectionError) -> None:
    waits = [Resend().wait(attempt, outcome) for attempt in (1, 2, 3)]
    assert [wait is not None for wait in waits] == [True, True, False]


@pytest.mark.parametrize(
    "outcome",
    [
        *map(answer, (200, 302, 400, 401, 403, 404, 405, 408, 409, 425, 499, 500, 501, 502, 503, 504, 561)),
        failure(httpx.ReadTimeout("")),
        failure(httpx.WriteTimeout("")),
        failure(httpx.ReadError("")),
        failure(httpx.WriteError("")),
        failure(httpx.RemoteProtocolError("")),
        failure(httpx.PoolTimeout("")),
        failure(httpx.ProxyError("")),
        # Another try would find the same certificate.
        failure(caused(httpx.ConnectError("TLS"), caused(OSError(), ssl.SSLCertVerificationError()))),
        failure(caused(httpx.ConnectError("TLS"), ssl.SSLError(1, "handshake failure"))),
    ],
)
def test_nothing_else_is(outcome: Response[Any] | APIConnectionError) -> None:
    assert Resend().wait(1, outcome) is None


@pytest.mark.parametrize(
    ("headers", "least"),
    [
        ({"Retry_After": "7"}, 7),
        ({"Retry_After": "0"}, 0),
        ({"Retry_After": "9999"}, 120),
        ({"Retry_After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        ({"Retry_After": "Wed, 21 Oct 2020 07:28:00 GMT"}, 0),
        ({"Retry_After": "soon"}, 1),
        ({}, 1),
    ],
)
def test_the_wait_is_what_is_asked_for_and_up_to_a_quarter_more(headers: dict[str, str], least: float) -> None:
    waits = [Resend().wait(1, answer(429, **headers)) for _ in range(100)]
    assert all(wait is not None and least <= wait <= least * 1.25 for wait in waits)
    assert least == 0 or len(set(waits)) > 90  # not all at once


def test_without_a_wish_the_wait_doubles() -> None:
    resend = Resend(max_attempts=20, initial_backoff=2, max_backoff=30)
    for attempt, least in ((1, 2), (2, 4), (3, 8), (4, 16), (5, 30), (19, 30)):
        wait = resend.wait(attempt, answer(429))
        assert wait is not None
        assert least <= wait <= least * 1.25


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"first_wait": -1}, {"longest_wait": -0.1}])
def test_what_is_no_rule(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Resend(**wrong)


def test_each_further_attempt_is_logged_at_info_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    Resend(initial_backoff=0).wait(1, answer(429))
    assert caplog.records == []  # silent unless asked
    caplog.set_level(logging.INFO, "huaweicloud_retry")
    Resend(initial_backoff=0).wait(1, answer(429))
    Resend(initial_backoff=0).wait(1, answer(500))
    assert [record.getMessage() for record in caplog.records] == ["attempt 1 of 3: 429: {}; again in 0.0 s"]
