"""Limits the rate of requests. A 429 halves the rate; it recovers slowly. The caller passes the time."""

from typing import Final

_BURST: Final = 0.05  # seconds: the size of the bucket, in time at the current rate
_RECOVERY: Final = 0.1  # share of the full rate that is recovered each second
_NO_LIMIT: Final = 10_000.0  # a second: more than one process can send


class RateLimiter:
    """A token bucket for all requests together.

    Args:
        rate: Requests a second; None: no limit until the first 429.
        now: Seconds of a monotonic clock, as in all methods.
    """

    def __init__(self, rate: float | None, now: float) -> None:
        self._full = _NO_LIMIT if rate is None else rate
        self._rate = self._full
        self._tokens = 1.0
        self._at = now
        self._closed_until = now

    def rate(self, now: float) -> float:
        """Return the requests a second that are allowed now."""
        self._move(now)
        return self._rate

    def take(self, wanted: int, now: float) -> int:
        """Take up to `wanted` permits; returns how many requests may be sent."""
        self._move(now)
        if now < self._closed_until:
            return 0
        taken = min(wanted, int(self._tokens))
        self._tokens -= taken
        return taken

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may be sent."""
        self._move(now)
        return max(self._closed_until - now, 0.0) + max(1 - self._tokens, 0.0) / self._rate

    def slow_down(self, seconds: float, now: float) -> None:
        """After a 429: send nothing for this long, then continue at half the rate."""
        self._move(now)
        if now >= self._closed_until:  # halve once for all requests that were in flight together
            self._rate = max(self._rate / 2, min(1.0, self._full))
            self._tokens = 0.0
        self._closed_until = max(self._closed_until, now + seconds)

    def _move(self, now: float) -> None:
        passed = now - max(self._at, min(now, self._closed_until))
        self._at = now
        if passed > 0:
            self._rate = min(self._full, self._rate + passed * self._full * _RECOVERY)
            self._tokens = min(max(1.0, self._rate * _BURST), self._tokens + passed * self._rate)
