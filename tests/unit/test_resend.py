"""What is resent, after which backoff, and what is logged."""

import logging
import ssl
from typing import Any

import httpx
import pytest

from huaweicloud_retry import Resend
from huaweicloud_retry.runtime.http1 import NothingSentError
from huaweicloud_retry_client import APIConnectionError, APITimeoutError, Response


def response(status: int, **headers: str) -> Response[Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status_code=status, headers=httpx.Headers(named), content=b"{}")


def failure(error_class: type[Exception], cause: Exception | None = None) -> APIConnectionError:
    """The error of a call that failed with an exception, which may have a cause."""
    reason = error_class("")
    reason.__cause__ = cause
    is_timeout = isinstance(reason, httpx.TimeoutException)
    error = (APITimeoutError if is_timeout else APIConnectionError)("m", outcome_unknown=False)
    error.__cause__ = reason
    return error


NOT_PROCESSED = (httpx.ConnectError, httpx.ConnectTimeout, NothingSentError)


@pytest.mark.parametrize("outcome", [response(429), *map(failure, NOT_PROCESSED)])
def test_a_request_that_was_not_processed_is_resent(outcome: Response[Any] | APIConnectionError) -> None:
    waits = [Resend().wait(attempt, outcome) for attempt in (1, 2, 3)]
    assert [wait is not None for wait in waits] == [True, True, False]


STATUSES = (200, 302, 400, 401, 403, 404, 405, 408, 409, 425, 499, 500, 501, 502, 503, 504, 561)
FAILURES = [httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout, httpx.ReadError, httpx.WriteError]
FAILURES += [httpx.RemoteProtocolError, httpx.ProxyError]
BAD_CERTIFICATE = OSError()
BAD_CERTIFICATE.__cause__ = ssl.SSLCertVerificationError()


@pytest.mark.parametrize(
    "outcome",
    [
        *map(response, STATUSES),
        *map(failure, FAILURES),
        # TLS errors are permanent.
        failure(httpx.ConnectError, BAD_CERTIFICATE),
        failure(httpx.ConnectError, ssl.SSLError(1, "handshake failure")),
    ],
)
def test_nothing_else_is_resent(outcome: Response[Any] | APIConnectionError) -> None:
    assert Resend().wait(1, outcome) is None


@pytest.mark.parametrize(("asked", "least"), [("7", 7), ("0", 0), ("9999", 120), ("soon", 1), (None, 1)])
def test_the_backoff_is_what_the_server_asks_for_with_jitter(asked: str | None, least: float) -> None:
    headers = {} if asked is None else {"Retry_After": asked}
    waits = [Resend().wait(1, response(429, **headers)) for _ in range(100)]
    assert all(wait is not None and least <= wait <= least * 1.25 for wait in waits)
    assert least == 0 or len(set(waits)) > 90  # not all at once


def test_without_retry_after_the_backoff_doubles() -> None:
    resend = Resend(max_attempts=20, initial_backoff=2, max_backoff=30)
    for attempt, least in ((1, 2), (2, 4), (3, 8), (4, 16), (5, 30), (19, 30)):
        wait = resend.wait(attempt, response(429))
        assert wait is not None
        assert least <= wait <= least * 1.25


@pytest.mark.parametrize("wrong", [{"max_attempts": 0}, {"initial_backoff": -1}, {"max_backoff": -0.1}])
def test_an_invalid_policy_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Resend(**wrong)


def test_each_further_attempt_is_logged_at_info_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    resend = Resend(initial_backoff=0)
    resend.wait(1, response(429))
    assert caplog.messages == []
    caplog.set_level(logging.INFO, "huaweicloud_retry")
    resend.wait(1, response(429))
    resend.wait(1, response(500))
    assert caplog.messages == ["attempt 1 of 3: 429: {}; resending in 0.0 s"]
