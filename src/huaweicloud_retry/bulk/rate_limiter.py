"""How many requests may be sent a second: fewer after a 429, then slowly more again. The caller gives the time."""

from typing import Final

_BURST: Final = 0.05  # seconds' worth of requests that may be sent at once after a pause
_RECOVERY: Final = 0.1  # of the full rate that comes back each second
_NO_LIMIT: Final = 10_000.0  # a second: more than one process can send


class RateLimiter:
    """A rate for all requests together: a token bucket.

    Args:
        rate: requests a second; None: no limit, until the gateway has one.
        now: seconds of any clock that only goes forward, as of all methods.
    """

    def __init__(self, rate: float | None, now: float) -> None:
        self._full = _NO_LIMIT if rate is None else rate
        self._rate = self._full
        self._tokens = 1.0
        self._at = now
        self._closed_until = now

    def rate(self, now: float) -> float:
        """Return how many requests a second are allowed at this moment."""
        self._move(now)
        return self._rate

    def take(self, wanted: int, now: float) -> int:
        """Take permits for up to so many requests; returns how many may be sent."""
        self._move(now)
        if now < self._closed_until:
            return 0
        taken = min(wanted, int(self._tokens))
        self._tokens -= taken
        return taken

    def wait(self, now: float) -> float:
        """Return the seconds until the next may be sent."""
        self._move(now)
        return max(self._closed_until - now, 0.0) + max(1 - self._tokens, 0.0) / self._rate

    def slow_down(self, seconds: float, now: float) -> None:
        """Send none for so many seconds, and half as many afterwards: the gateway refused one with 429."""
        self._move(now)
        if now >= self._closed_until:  # once for all that were in flight together
            self._rate = max(self._rate / 2, min(1.0, self._full))
            self._tokens = 0.0
        self._closed_until = max(self._closed_until, now + seconds)

    def _move(self, now: float) -> None:
        passed = now - max(self._at, min(now, self._closed_until))
        self._at = now
        if passed > 0:
            self._rate = min(self._full, self._rate + passed * self._full * _RECOVERY)
            self._tokens = min(max(1.0, self._rate * _BURST), self._tokens + passed * self._rate)
