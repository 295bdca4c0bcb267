"""How fast a bulk may go. Time is what the test says it is."""

import pytest

from huaweicloud_retry.bulk.rate_limiter import RateLimiter


def sent_within(limiter: RateLimiter, start: float, seconds: float, step: float = 0.001) -> int:
    """Take all that may go, in small steps of time."""
    return sum(limiter.take(1000, start + n * step) for n in range(int(seconds / step)))


def test_so_many_go_a_second_and_no_second_sees_more_than_the_rate_and_a_twentieth() -> None:
    limiter = RateLimiter(100, now=0.0)
    assert sent_within(limiter, 0.0, 10.0) == pytest.approx(1000, abs=2)
    assert sent_within(limiter, 60.0, 1.0) <= 105  # after silence


def test_a_rate_under_one_a_second_lets_one_go_after_its_time() -> None:
    limiter = RateLimiter(0.5, now=0.0)
    assert limiter.take(10, 0.0) == 1
    assert limiter.take(10, 1.9) == 0
    assert limiter.take(10, 2.1) == 1


def test_without_a_limit_whatever_is_ready_goes() -> None:
    limiter = RateLimiter(None, now=0.0)
    limiter.take(1, 0.0)
    assert limiter.take(32, 0.1) == 32


def test_a_429_stops_all_and_halves_the_rate_which_comes_back_within_ten_seconds() -> None:
    limiter = RateLimiter(100, now=0.0)
    limiter.slow_down(2.0, now=10.0)
    assert limiter.take(1, 11.9) == 0
    assert limiter.rate(12.0) == 50
    assert sent_within(limiter, 12.0, 1.0) == pytest.approx(55, abs=2)
    assert limiter.rate(14.5) == pytest.approx(75)
    assert limiter.rate(30.0) == 100


def test_those_that_were_under_way_together_halve_it_once() -> None:
    limiter = RateLimiter(100, now=0.0)
    for now in (10.0, 10.1, 10.2):
        limiter.slow_down(1.0, now)
    assert limiter.rate(11.2) == pytest.approx(50)


def test_the_longest_wait_counts() -> None:
    limiter = RateLimiter(100, now=0.0)
    limiter.slow_down(5.0, now=0.0)
    limiter.slow_down(1.0, now=0.5)
    assert limiter.take(1, 4.9) == 0
    assert limiter.take(1, 5.1) == 1


def test_it_never_gets_slower_than_one_a_second() -> None:
    limiter = RateLimiter(100, now=0.0)
    for now in range(0, 100, 2):
        limiter.slow_down(2.0, now)
    assert limiter.rate(100.0) == 1


def test_it_says_how_long_to_wait() -> None:
    limiter = RateLimiter(10, now=0.0)
    assert limiter.take(1, 0.0) == 1
    assert limiter.wait(0.0) == pytest.approx(0.1)
    limiter.slow_down(3.0, now=0.0)
    assert limiter.wait(1.0) == pytest.approx(2.2)
    assert limiter.wait(3.3) == 0
