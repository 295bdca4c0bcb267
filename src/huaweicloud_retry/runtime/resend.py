"""The policy for resending requests. A retry that is sent twice can run a script twice.

So only requests that were not processed are resent: there was no connection, no byte was sent, or the
gateway refused the request (429). Never after a read timeout, a 502 or a 504. Never after a 401: five of
them lock an access key.
"""

import logging
import random
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

import httpx

from .errors import APIConnectionError, RateLimitError
from .http1 import NothingSentError
from .response import Response

logger = logging.getLogger("huaweicloud_retry")

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, NothingSentError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resend:
    """The policy for resending requests that were not processed.

    The backoff is the time of `Retry-After` or, without it, `initial_backoff` doubled with each attempt;
    plus jitter of up to a quarter, so that many clients do not return at the same time.

    Attributes:
        max_attempts: Maximum number of attempts, including the first.
        initial_backoff: Seconds. Huawei Cloud's advice for a 429 is 2 to 5.
        max_backoff: Seconds, without jitter. Also limits `Retry-After`.

    Raises:
        ValueError: max_attempts is below 1, or a backoff is negative.
    """

    max_attempts: int = 3
    initial_backoff: float = 1.0
    max_backoff: float = 120.0

    def __post_init__(self) -> None:
        are_attempts_valid = type(self.max_attempts) is int and self.max_attempts >= 1
        if not are_attempts_valid or not (0 <= self.initial_backoff < inf and 0 <= self.max_backoff < inf):
            raise ValueError(
                "max_attempts must be 1 or more, initial_backoff and max_backoff 0 or more seconds"
            )

    def wait(self, attempt: int, outcome: Response[Any] | APIConnectionError) -> float | None:
        """Return how many seconds to wait before the next attempt; None if there must not be one.

        Args:
            attempt: The number of the failed attempt, from 1.
            outcome: Its response or error.
        """
        if attempt >= self.max_attempts:
            return None
        if isinstance(outcome, APIConnectionError) and outcome.outcome_unknown:
            return None
        asked: float | None = None
        if isinstance(outcome, Response):
            error = outcome.error
            if not isinstance(error, RateLimitError):
                return None
            asked, why = error.retry_after, str(error)
        else:
            # TLS errors are permanent: do not resend.
            by_tls = any(isinstance(cause, ssl.SSLError) for cause in _causes(outcome))
            if by_tls or not isinstance(outcome.__cause__, _NOT_SENT):
                return None
            why = str(outcome)
        backoff = min(
            self.initial_backoff * 2 ** min(attempt - 1, 60) if asked is None else asked, self.max_backoff
        )
        backoff += random.uniform(0, backoff / 4)  # noqa: S311 - no secret
        logger.info("attempt %d of %d: %s; resending in %.1f s", attempt, self.max_attempts, why, backoff)
        return backoff


def _causes(error: BaseException) -> Iterator[BaseException]:
    while (cause := error.__cause__ or error.__context__) is not None:  # httpcore sets only the context
        yield cause
        error = cause
