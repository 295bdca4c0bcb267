"""A journal's summary in words, for a terminal and a page."""

import math
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from huaweicloud_retry.bulk.items import rfc3339
from huaweicloud_retry.bulk.report import Summary

OPERATIONS: Final = ("", "accepted", "refused", "unknown", "not sent")
ENDED: Final = {"succeeded": "succeeded", "failed": "failed again", "running": "still running"}
ENDINGS: Final = ("Of the accepted ones", *ENDED.values())
LATENCIES: Final = ("Known after", "shortest", "50 % within", "90 %", "99 %", "longest")
PERCENTILES: Final = (50, 90, 99)
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400


class Step(NamedTuple):
    """What to do next: why, and the command, if there is one."""

    text: str
    command: str = ""


def sentence(summary: Summary) -> str:
    """Return the outcome of all items in one sentence."""
    counts = summary.counts
    if not counts.total:
        return "There was nothing to send."
    became = ended_in_words(summary.all_ended)
    if counts.accepted == counts.total:
        which = "The only item was" if counts.total == 1 else f"All {counts.total:,} were"
        return f"{which} accepted{became and f': {became}'}."
    others = {"refused": counts.refused, "not sent yet": counts.planned, "unknown": counts.unknown}
    listed = ", ".join(f"{count:,} {what}" for what, count in others.items() if count)
    them = "it" if counts.unknown == 1 else "them"
    check = f": check {them} before you resend {them}" if counts.unknown else ""
    return f"{counts.accepted:,} of {counts.total:,} accepted{became and f' ({became})'}, {listed}{check}."


def ended_in_words(ended: Mapping[str, int]) -> str:
    """Return how what was accepted ended, as far as it was looked at; else nothing."""
    return ", ".join(f"{ended[name]:,} {what}" for name, what in ENDED.items() if ended.get(name))


def steps(summary: Summary) -> Iterator[Step]:
    """Yield what to do next, the most urgent first."""
    counts, given = summary.counts, summary.input or "INPUT"
    bulk = f"hwc-retry bulk {shlex.quote(given)}"
    if f"{given}.journal" != str(summary.file):  # which is the default
        bulk += f" --journal {shlex.quote(str(summary.file))}"
    if counts.unknown:
        items, them = _items(counts.unknown, "unknown")
        text = f"{items} may have been processed. Look at the service what became of {them}:"
        yield Step(text, f"hwc-retry resolve {shlex.quote(str(summary.file))}")
        text = f"If that does not settle it, and it does no harm to process {them} twice, resend {them}:"
        yield Step(text, f"{bulk} --resend-unknown")
    if counts.planned:
        yield Step(f"{counts.planned:,} not sent yet. Continue:", bulk)
    if counts.refused:
        items, them = _items(counts.refused, "refused")
        was = "was" if counts.refused == 1 else "were"
        text = f"{items} {was} not processed. Fix the reason, then resend {them}:"
        yield Step(text, f"{bulk} --retry-refused")
    if failed := summary.all_ended["failed"]:
        yield Step(
            f"{failed:,} failed again. List them, as an input of another bulk:", list_all(summary, "failed")
        )
    elif counts.accepted == counts.total:
        yield Step("Nothing is left to do.")


def _items(count: int, verdict: str) -> tuple[str, str]:
    return (f"The {verdict} item", "it") if count == 1 else (f"The {count:,} {verdict} items", "them")


def operations(summary: Summary) -> list[list[str]]:
    """Return the figures of each operation, as OPERATIONS names them, and of all if there are several."""
    rows = {**summary.operations, **({"all": summary.counts} if len(summary.operations) > 1 else {})}
    states = ("accepted", "refused", "unknown", "planned")
    return [[name, *(f"{getattr(counts, state):,}" for state in states)] for name, counts in rows.items()]


def endings(summary: Summary) -> list[list[str]]:
    """Return how what was accepted ended, as ENDINGS names it; nothing if it was not looked at."""
    rows = {**summary.ended, **({"all": summary.all_ended} if len(summary.ended) > 1 else {})}
    return [[name, *(f"{counts[each]:,}" for each in ENDED)] for name, counts in rows.items()]


def latencies(summary: Summary) -> list[list[str]]:
    """Return the figures of each verdict, as LATENCIES names them."""
    return [
        [verdict, *map(duration, (each.shortest, *map(each.percentile, PERCENTILES), each.longest))]
        for verdict, each in summary.latency.items()
    ]


def list_all(summary: Summary, *verdicts: str) -> str:
    """Return the command that lists all items with these verdicts."""
    return f"hwc-retry report {shlex.quote(str(summary.file))} --output csv --only {','.join(verdicts)}"


def duration(seconds: float) -> str:
    """Return seconds for a person: two significant digits below a minute, two units above."""
    if 0 < seconds < _MINUTE:
        seconds = round(seconds, max(0, 1 - math.floor(math.log10(seconds))))
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < _MINUTE:
        return f"{seconds:.2g} s"
    if round(seconds) < _HOUR:
        return _in_two(seconds, _MINUTE, "min", 1, "s")
    if round(seconds / _MINUTE) * _MINUTE < _DAY:
        return _in_two(seconds, _HOUR, "h", _MINUTE, "min")
    return _in_two(seconds, _DAY, "d", _HOUR, "h")


def _in_two(seconds: float, large: int, of_large: str, small: int, of_small: str) -> str:
    whole, rest = divmod(round(seconds / small), large // small)
    return f"{whole:,} {of_large} {rest} {of_small}" if rest else f"{whole:,} {of_large}"


def utc(at: float, form: str = "%Y-%m-%d %H:%M:%SZ", *, exact: bool = False) -> str:
    """Return a time, in seconds since the epoch, for a person, as RFC 3339; with milliseconds if exact."""
    return rfc3339(at).replace("T", " ") if exact else datetime.fromtimestamp(at, UTC).strftime(form)
