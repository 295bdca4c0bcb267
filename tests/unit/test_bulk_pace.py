"""How fast a bulk may go. Time is what the test says it is."""

import pytest

from huaweicloud_retry.bulk.pace import Pace


def sent_within(pace: Pace, start: float, seconds: float, step: float = 0.001) -> int:
    """Take all that may go, in small steps of time."""
    return sum(pace.take(1000, start + n * step) for n in range(int(seconds / step)))


def test_so_many_go_a_second() -> None:
    assert sent_within(Pace(100, now=0.0), 0.0, 10.0) == pytest.approx(1000, abs=2)


def test_no_second_sees_more_than_the_rate_and_a_twentieth() -> None:
    pace = Pace(100, now=0.0)
    assert sent_within(pace, 60.0, 1.0) <= 105  # after a minute of silence


def test_a_rate_under_one_a_second_lets_one_go_after_its_time() -> None:
    pace = Pace(0.5, now=0.0)
    assert pace.take(10, 0.0) == 1
    assert pace.take(10, 1.9) == 0
    assert pace.take(10, 2.1) == 1


def test_without_a_limit_whatever_is_ready_goes() -> None:
    pace = Pace(None, now=0.0)
    pace.take(1, 0.0)
    assert pace.take(32, 0.1) == 32


def test_a_429_closes_the_door_and_halves_the_rate() -> None:
    pace = Pace(100, now=0.0)
    pace.slow_down(2.0, now=10.0)
    assert pace.take(1, 11.9) == 0
    assert pace.rate(12.0) == 50
    assert sent_within(pace, 12.0, 1.0) == pytest.approx(55, abs=2)


def test_those_that_were_under_way_together_halve_it_once() -> None:
    pace = Pace(100, now=0.0)
    for now in (10.0, 10.1, 10.2):
        pace.slow_down(1.0, now)
    assert pace.rate(11.2) == pytest.approx(50)


def test_the_longest_wait_counts() -> None:
    pace = Pace(100, now=0.0)
    pace.slow_down(5.0, now=0.0)
    pace.slow_down(1.0, now=0.5)
    assert pace.take(1, 4.9) == 0
    assert pace.take(1, 5.1) == 1


def test_the_rate_comes_back_within_ten_seconds() -> None:
    pace = Pace(100, now=0.0)
    pace.slow_down(1.0, now=0.0)
    assert pace.rate(3.5) == pytest.approx(75)
    assert pace.rate(20.0) == 100


def test_it_never_gets_slower_than_one_a_second() -> None:
    pace = Pace(100, now=0.0)
    for now in range(0, 100, 2):
        pace.slow_down(2.0, now)
    assert pace.rate(100.0) == 1


def test_it_says_how_long_to_wait() -> None:
    pace = Pace(10, now=0.0)
    assert pace.take(1, 0.0) == 1
    assert pace.wait(0.0) == pytest.approx(0.1)
    pace.slow_down(3.0, now=0.0)
    assert pace.wait(1.0) == pytest.approx(2.2)
    assert pace.wait(3.3) == 0
