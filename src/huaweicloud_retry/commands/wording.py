"""A journal's summary in words, for a terminal and a page alike."""

import math
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from huaweicloud_retry.bulk.report import Summary

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400


class Step(NamedTuple):
    """What to do next: why, and the command, if there is one."""

    text: str
    command: str = ""


def sentence(summary: Summary) -> str:
    """Say what happened."""
    counts = summary.counts
    if not counts.total:
        return "There was nothing to send."
    if counts.accepted == counts.total:
        return "The only one was accepted." if counts.total == 1 else f"All {counts.total:,} were accepted."
    others = [
        f"{count:,} {what}"
        for count, what in ((counts.refused, "refused"), (counts.planned, "not sent yet"), (counts.unknown, "unknown"))
        if count
    ]
    look = (
        f": look at {'it' if counts.unknown == 1 else 'these'} before sending {'it' if counts.unknown == 1 else 'them'} again"
        if counts.unknown
        else ""
    )
    return f"{counts.accepted:,} of {counts.total:,} accepted, {', '.join(others)}{look}."


def steps(summary: Summary) -> Iterator[Step]:
    """Say what to do next, the most pressing first."""
    counts, journal = summary.counts, shlex.quote(str(summary.file))
    bulk = f"hwc-retry bulk INPUT --journal {journal}"
    if counts.unknown:
        may = "The one that is unknown" if counts.unknown == 1 else f"Each of the {counts.unknown:,} that are unknown"
        yield Step(f"{may} may have run. Where running twice does no harm, send again:", f"{bulk} --resend-unknown")
    if counts.planned:
        left = "One is" if counts.planned == 1 else f"{counts.planned:,} are"
        yield Step(f"{left} not sent yet. Go on with the same input:", bulk)
    if counts.refused:
        which = "The one that was" if counts.refused == 1 else f"The {counts.refused:,} that were"
        yield Step(
            f"{which} refused surely did not run. Once the reason is gone, send again:", f"{bulk} --retry-refused"
        )
    if counts.accepted == counts.total:
        yield Step("Nothing is left to do.")


def list_all(summary: Summary, verdict: str) -> str:
    """Return the command that lists all of a verdict."""
    return f'hwc-retry report {shlex.quote(str(summary.file))} --output jsonl | grep \'^{{"verdict": "{verdict}"\''


def duration(seconds: float) -> str:
    """Return seconds as a person says them, two significant digits below a minute."""
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


def utc(at: float, form: str = "%Y-%m-%d %H:%M:%SZ") -> str:
    """Return a time, in seconds since the epoch, as RFC 3339 for a person; or in another form."""
    return datetime.fromtimestamp(at, UTC).strftime(form)


def rfc3339(at: float) -> str:
    """Return a time, in seconds since the epoch, as RFC 3339 for a program."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
