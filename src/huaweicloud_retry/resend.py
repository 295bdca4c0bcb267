"""Which failed attempts may be sent again, and when. A retry of a retry can run a script twice, so: hardly any.

Sent again is only what surely did not act: no connection was made, or the gateway refused it before the service (429).
Never after a timeout in reading, a 502 or a 504; never on a 401, five of which lock an access key.
"""

import logging
import random
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from huaweicloud_retry_client import APIConnectionError, RateLimitError, Response

logger = logging.getLogger("huaweicloud_retry")

_NO_CONNECTION = (httpx.ConnectError, httpx.ConnectTimeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resend:
    """How often, and after how long, a request is sent again that surely did not act.

    The wait is what `Retry-After` asks for or, without it, `first_wait` doubled with each attempt; up to a quarter more of
    either, by chance, so that many clients do not come back at once.

    Attributes:
        attempts: All of them together, the first included.
        first_wait: Seconds. Huawei Cloud's advice for a 429 is 2 to 5.
        longest_wait: Seconds; a `Retry-After` that asks for more is cut to it.

    Raises:
        ValueError: There must be an attempt, and waits are not negative.
    """

    attempts: int = 3
    first_wait: float = 1.0
    longest_wait: float = 120.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_wait < 0 or self.longest_wait < 0:
            raise ValueError("attempts must be 1 or more, first_wait and longest_wait 0 or more seconds")

    def wait(self, attempt: int, outcome: Response[Any] | APIConnectionError) -> float | None:
        """Return how many seconds to wait before the next attempt; None if there must not be one.

        Args:
            attempt: the number of the one that failed, from 1.
            outcome: what came of it.
        """
        if attempt >= self.attempts:
            return None
        asked: float | None = None
        if isinstance(outcome, Response):
            error = outcome.error
            if not isinstance(error, RateLimitError):
                return None
            asked, why = error.retry_after, str(error)
        else:
            # A certificate or version that will not do will not do the next time either.
            by_tls = any(isinstance(cause, ssl.SSLError) for cause in _causes(outcome))
            if by_tls or not isinstance(outcome.__cause__, _NO_CONNECTION):
                return None
            why = str(outcome)
        wait = min(self.first_wait * 2 ** (attempt - 1) if asked is None else asked, self.longest_wait)
        wait += random.uniform(0, wait / 4)  # noqa: S311 - no secret
        logger.info("attempt %d of %d: %s; again in %.1f s", attempt, self.attempts, why, wait)
        return wait


def _causes(error: BaseException) -> Iterator[BaseException]:
    while (cause := error.__cause__ or error.__context__) is not None:  # httpcore leaves it at the context
        yield cause
        error = cause
