"""What `hwc-retry bulk` says of how far it is."""

import pytest

from huaweicloud_retry.bulk import Counts
from huaweicloud_retry.commands.progress import Speed


def test_at_first_there_is_no_speed_and_so_no_time_left() -> None:
    text = Speed().text(Counts(planned=9, sending=1), now=5, allowed=100, limit=100)
    assert text == "accepted 0, refused 0, unknown 0; 0/s"


@pytest.mark.parametrize(("left", "said"), [(200, "10 s"), (20 * 3661, "1 h 1 min")])
def test_the_time_left_follows_from_the_speed(left: int, said: str) -> None:
    speed = Speed()
    speed.text(Counts(planned=left + 40), now=5, allowed=100, limit=100)
    counts = Counts(planned=left - 1, sending=1, accepted=30, refused=6, unknown=4)
    text = speed.text(counts, now=7, allowed=100, limit=100)
    assert text == f"accepted 30, refused 6, unknown 4; 20/s; {said} left"


def test_the_speed_is_that_of_the_last_ten_seconds() -> None:
    speed = Speed()
    for now, accepted in ((0, 0), (1, 1000), (11, 1100)):
        text = speed.text(Counts(accepted=accepted), now=now, allowed=100, limit=100)
    assert text == "accepted 1,100, refused 0, unknown 0; 10/s"


@pytest.mark.parametrize(
    ("allowed", "limit", "is_told"), [(50, 100, True), (100, 100, False), (10_000, None, False)]
)
def test_throttling_is_told(allowed: float, limit: float | None, *, is_told: bool) -> None:
    text = Speed().text(Counts(planned=1), now=0, allowed=allowed, limit=limit)
    assert ("throttled to 50/s" in text) == is_told
