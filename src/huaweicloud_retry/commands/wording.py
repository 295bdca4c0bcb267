"""The texts of a summary, for the terminal and the HTML page."""

import math
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from huaweicloud_retry.bulk.items import rfc3339
from huaweicloud_retry.bulk.report import Summary

OPERATIONS: Final = ("", "accepted", "refused", "unknown", "not sent")
ENDED: Final = {"succeeded": "succeeded", "failed": "failed again", "running": "still running"}
ENDINGS: Final = ("Accepted items", *ENDED.values())
LATENCIES: Final = ("Latency", "shortest", "50 % within", "90 %", "99 %", "longest")
PERCENTILES: Final = (50, 90, 99)
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400


class Step(NamedTuple):
    """What to do next: a text, and the command, if there is one."""

    text: str
    command: str = ""


def sentence(summary: Summary) -> str:
    """Return the outcome of all items in one sentence."""
    counts = summary.counts
    if not counts.total:
        return "There was nothing to send."
    ended = ended_in_words(summary.all_ended)
    if counts.accepted == counts.total:
        which = "The only item was" if counts.total == 1 else f"All {counts.total:,} were"
        return f"{which} accepted: {ended}." if ended else f"{which} accepted."
    parts = {"refused": counts.refused, "not sent yet": counts.planned, "unknown": counts.unknown}
    others = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)
    accepted = f"{counts.accepted:,} of {counts.total:,} accepted"
    if ended:
        accepted += f" ({ended})"
    if counts.unknown:
        them = "it" if counts.unknown == 1 else "them"
        others += f": check {them} before you resend {them}"
    return f"{accepted}, {others}."


def ended_in_words(ended: Mapping[str, int]) -> str:
    """Return how the accepted work ended, in words, or an empty text."""
    return ", ".join(f"{ended[name]:,} {what}" for name, what in ENDED.items() if ended.get(name))


def steps(summary: Summary) -> Iterator[Step]:
    """Yield what to do next, the most urgent first."""
    counts, given = summary.counts, summary.input or "INPUT"
    bulk = f"hwc-retry bulk {shlex.quote(given)}"
    if f"{given}.journal" != str(summary.file):  # which is the default
        bulk += f" --journal {shlex.quote(str(summary.file))}"
    if counts.unknown:
        items, them = _items(counts.unknown, "unknown")
        text = f"{items} may have been processed. Query the service for {them}:"
        yield Step(text, f"hwc-retry resolve {shlex.quote(str(summary.file))}")
        text = f"If that does not resolve {them}, and it does no harm to run {them} twice, resend {them}:"
        yield Step(text, f"{bulk} --resend-unknown")
    if counts.planned:
        yield Step(f"{counts.planned:,} not sent yet. Continue:", bulk)
    if counts.refused:
        items, them = _items(counts.refused, "refused")
        was = "was" if counts.refused == 1 else "were"
        text = f"{items} {was} not processed. Fix the reason, then resend {them}:"
        yield Step(text, f"{bulk} --retry-refused")
    if failed := summary.all_ended["failed"]:
        text = f"{failed:,} failed again. List them as CSV, which bulk can read:"
        yield Step(text, list_all(summary, "failed"))
    elif counts.accepted == counts.total:
        yield Step("Nothing is left to do.")


def _items(count: int, verdict: str) -> tuple[str, str]:
    return (f"The {verdict} item", "it") if count == 1 else (f"The {count:,} {verdict} items", "them")


def operations(summary: Summary) -> list[list[str]]:
    """Return a row for each operation, with the columns of OPERATIONS, and a total if there are several."""
    rows = dict(summary.operations)
    if len(rows) > 1:
        rows["all"] = summary.counts
    states = ("accepted", "refused", "unknown", "planned")
    return [[name, *(f"{getattr(counts, state):,}" for state in states)] for name, counts in rows.items()]


def endings(summary: Summary) -> list[list[str]]:
    """Return a row for each operation whose work was followed, with the columns of ENDINGS."""
    rows = dict(summary.ended)
    if len(rows) > 1:
        rows["all"] = summary.all_ended
    return [[name, *(f"{counts[each]:,}" for each in ENDED)] for name, counts in rows.items()]


def latencies(summary: Summary) -> list[list[str]]:
    """Return a row for each verdict, with the columns of LATENCIES."""
    rows: list[list[str]] = []
    for verdict, each in summary.latency.items():
        seconds = (each.shortest, *map(each.percentile, PERCENTILES), each.longest)
        rows.append([verdict, *map(duration, seconds)])
    return rows


def list_all(summary: Summary, *verdicts: str) -> str:
    """Return the command that lists all items with these verdicts."""
    return f"hwc-retry report {shlex.quote(str(summary.file))} --output csv --only {','.join(verdicts)}"


def duration(seconds: float) -> str:
    """Format seconds: two significant digits below a minute, two units above."""
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
    """Format a time in seconds since the epoch, as RFC 3339 with a blank; with milliseconds if exact."""
    return rfc3339(at).replace("T", " ") if exact else datetime.fromtimestamp(at, UTC).strftime(form)
