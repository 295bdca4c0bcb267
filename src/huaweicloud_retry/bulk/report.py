"""What a journal tells, read without changing it: each item, or a summary that stays small however large the journal is.

with JournalReader(Path("engines.journal")) as journal:
    print(summarize(journal).counts)
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, Self, TypeAlias

from .items import Item, Outcome, Verdict
from .journal import Counts
from .journal_file import JournalReader, Row

VERDICTS: Final[tuple[Verdict, ...]] = ("accepted", "refused", "unknown")
LISTED: Final = 500  # items that a summary has of each verdict that is to be looked at
BINS_A_DECADE: Final = 200  # of seconds, so that a percentile is less than 1.2 % off

_REASONS: Final = 1000  # kinds that are told apart; those of a service are a handful
_EXAMPLES: Final = 3
_QUICKEST: Final = 1e-6  # seconds; a bin for what took no time is needed too
_BUCKETS: Final = 200  # of a chart
_KEPT_BUCKETS: Final = 20_000  # while the journal is read, when it is not known yet where there are pauses
_PAUSES: Final = 5  # that are cut out of a chart, the longest
# Widths of a bucket in tenths of a second, each a multiple of the one before: 0.1 s to 4 weeks.
_WIDTHS: Final = (*(1, 5, 10, 50, 100, 300, 600, 3000, 9000, 36_000, 108_000, 432_000, 864_000, 6_048_000, 24_192_000),)
_BY_NAME: Final[dict[str, Verdict]] = {verdict: verdict for verdict in VERDICTS}
_LAST_TIME: Final = 2.5e11  # seconds since the epoch: the year 9892, beyond which datetime does not go far
_TELLING: Final = 4  # characters from which on an ID is taken for one, wherever it stands in a message
_REQUEST_ID: Final = re.compile(r" \[request id [^\]]*\]$")
# What differs from item to item, such as an ID or a time, and not from reason to reason.
_PARTICULAR: Final = re.compile(
    r"(?<![\w.])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,}|\d{5,})(?!\.?\w)", re.IGNORECASE
)

_Reason: TypeAlias = tuple[Verdict, str, int | None, str | None, str]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why items were refused, or are unknown.

    Attributes:
        verdict: `refused` or `unknown`.
        operation: What to do about it may differ.
        status: HTTP status; None if no answer came.
        error_code: The service's or gateway's, or None.
        message: Without what differs from item to item.
        examples: The first outcomes; `started_at` and `seconds` are 0 if it is not known when.
    """

    verdict: Verdict
    operation: str
    status: int | None
    error_code: str | None
    message: str
    count: int
    examples: list[Outcome]


@dataclass(slots=True)
class Latency:
    """How long it took until outcomes were known, in seconds, waits and further attempts included.

    Attributes:
        bins: How many outcomes by `floor(log10(seconds) * BINS_A_DECADE)`.
    """

    count: int = 0
    shortest: float = math.inf
    longest: float = 0.0
    total: float = 0.0
    bins: dict[int, int] = field(default_factory=dict[int, int])

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.count += 1
        self.total += seconds
        self.shortest = min(self.shortest, seconds)
        self.longest = max(self.longest, seconds)
        bin_ = math.floor(math.log10(max(seconds, _QUICKEST)) * BINS_A_DECADE)
        self.bins[bin_] = self.bins.get(bin_, 0) + 1

    @classmethod
    def together(cls, several: Iterable["Latency"]) -> Self:
        """Return all as one."""
        one = cls()
        for each in several:
            one.count += each.count
            one.total += each.total
            one.shortest, one.longest = min(one.shortest, each.shortest), max(one.longest, each.longest)
            for bin_, count in each.bins.items():
                one.bins[bin_] = one.bins.get(bin_, 0) + count
        return one

    def percentile(self, percent: float) -> float:
        """Return the seconds within which so many percent were known, less than 1.2 % off."""
        wanted, seen = self.count * percent / 100, 0
        for bin_, count in sorted(self.bins.items()):
            seen += count
            if seen >= wanted:
                middle = 10 ** ((bin_ + 0.5) / BINS_A_DECADE)
                return min(max(middle, self.shortest), self.longest)
        return self.longest


class Listed(NamedTuple):
    """An item that is to be looked at.

    Attributes:
        message: What came of it.
        request_id: To quote to support, or None.
        started_at: Seconds since the epoch, of the first attempt; None if it was under way when its run ended.
    """

    item: Item
    message: str
    request_id: str | None
    started_at: float | None


class Stretch(NamedTuple):
    """A time without a long pause.

    Attributes:
        start: Seconds since the epoch, where the first bucket begins.
        buckets: How many outcomes there were in each, by verdict.
    """

    start: float
    buckets: list[dict[Verdict, int]]


class Timeline:
    """How many outcomes there were when, in buckets that grow wider as time goes on."""

    def __init__(self) -> None:
        self._level = 0
        self._tenths = _WIDTHS[0]
        self._buckets: dict[int, dict[Verdict, int]] = {}

    @property
    def width(self) -> float:
        """Seconds of a bucket."""
        return self._tenths / 10

    def add(self, at: float, verdict: Verdict) -> None:
        """Count an outcome at that time, in seconds since the epoch."""
        bucket = self._buckets.get(int(at * 10) // self._tenths)
        if bucket is None:
            if len(self._buckets) == _KEPT_BUCKETS:
                self._widen()
            bucket = self._buckets.setdefault(int(at * 10) // self._tenths, dict.fromkeys(VERDICTS, 0))
        bucket[verdict] += 1

    def stretches(self) -> list[Stretch]:
        """Return at most about 200 buckets in all, without the longest pauses, such as those between two runs."""
        while sum(last - first + 1 for first, last in self._spans()) > _BUCKETS:
            self._widen()
        none = dict.fromkeys(VERDICTS, 0)
        return [
            Stretch(first * self.width, [self._buckets.get(key, none) for key in range(first, last + 1)])
            for first, last in self._spans()
        ]

    def _spans(self) -> list[tuple[int, int]]:
        keys = sorted(self._buckets)
        if not keys:
            return []
        least = max(20, 600 // self._tenths)  # buckets, and a minute
        pauses = sorted(((b - a, a, b) for a, b in pairwise(keys) if b - a > least), reverse=True)[:_PAUSES]
        ends = sorted((a, b) for _, a, b in pauses)
        return list(zip([keys[0], *(b for _, b in ends)], [*(a for a, _ in ends), keys[-1]], strict=True))

    def _widen(self) -> None:
        narrow, old = self._tenths, self._buckets
        self._level += 1
        self._tenths = _WIDTHS[self._level] if self._level < len(_WIDTHS) else narrow * 10
        self._buckets = {}
        for key, counts in old.items():
            wide = self._buckets.setdefault(key * narrow // self._tenths, dict.fromkeys(VERDICTS, 0))
            for verdict, count in counts.items():
                wide[verdict] += count


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A journal, in short.

    Attributes:
        file: The journal's.
        duplicates: What stood in the input once more.
        operations: Counts by operation.
        resent: How many items took more than one attempt.
        reasons: Unknown ones first, then by how many.
        latency: By verdict, those that there are.
        started_at: Seconds since the epoch, of the first attempt; None if no outcome tells.
        ended_at: Of the last outcome.
        timeline: Outcomes over time.
        width: Seconds of a bucket of the timeline.
        listed: By verdict, unknown and refused: the first of them, at most LISTED.
    """

    file: Path
    duplicates: int
    operations: dict[str, Counts]
    resent: int
    reasons: list[Reason]
    latency: dict[Verdict, Latency]
    started_at: float | None
    ended_at: float | None
    timeline: list[Stretch]
    width: float
    listed: dict[Verdict, list[Listed]]

    @property
    def counts(self) -> Counts:
        """Of all operations together. None is `sending`: what nobody sends any more is unknown."""
        return Counts(*map(sum, zip(*self.operations.values(), strict=True)))


def summarize(journal: JournalReader) -> Summary:
    """Read a journal once, from the first item to the last.

    Raises:
        JournalError: It cannot be read any more.
    """
    return _summary(journal.file, journal.about.duplicates, journal.rows())


def _summary(file: Path, duplicates: int, rows: Iterator[Row]) -> Summary:
    states: dict[tuple[str, str], int] = {}
    times, reasons = _Times(), _Reasons()
    resent = 0
    for row in rows:
        _, text, state, *_, attempts, started_at, seconds = row
        # As exact as parsing it all, at a tenth of the time: a quotation mark within a value has a backslash before it.
        tally = text.partition('"operation":"')[2].partition('"')[0], state
        states[tally] = states.get(tally, 0) + 1
        if state == "planned":
            continue
        verdict = _BY_NAME[state]
        if attempts is not None and attempts > 1:
            resent += 1
        if started_at is not None and seconds is not None:
            times.add(verdict, started_at, seconds)
        if verdict != "accepted":
            reasons.add(verdict, row)
    return Summary(
        file=file,
        duplicates=duplicates,
        operations={
            operation: Counts(**{state: count for (of, state), count in states.items() if of == operation})
            for operation in sorted({operation for operation, _ in states})
        },
        resent=resent,
        reasons=reasons.sorted(),
        latency={verdict: each for verdict, each in times.latency.items() if each.count},
        started_at=times.first if times.last else None,
        ended_at=times.last or None,
        timeline=times.timeline.stretches(),
        width=times.timeline.width,
        listed=reasons.listed,
    )


class _Times:
    """When outcomes came, and how long they took."""

    def __init__(self) -> None:
        self.first, self.last = math.inf, 0.0
        self.timeline = Timeline()
        self.latency: dict[Verdict, Latency] = {verdict: Latency() for verdict in VERDICTS}

    def add(self, verdict: Verdict, started_at: float, seconds: float) -> None:
        ended_at = started_at + seconds
        if not 0 <= started_at <= ended_at < _LAST_TIME:
            raise ValueError(f"{started_at} and {seconds} are no times")
        self.first = min(self.first, started_at)
        self.last = max(self.last, ended_at)
        self.timeline.add(ended_at, verdict)
        self.latency[verdict].add(seconds)


class _Reasons:
    """Why items were refused, or are unknown, and the first of them."""

    def __init__(self) -> None:
        self.listed: dict[Verdict, list[Listed]] = {"unknown": [], "refused": []}
        self._reasons: dict[_Reason, tuple[list[int], list[Outcome]]] = {}

    def add(self, verdict: Verdict, row: Row) -> None:
        _, text, _, _, message, status, error_code, request_id, _, attempts, started_at, seconds = row
        fields: dict[str, str] = json.loads(text)
        general = _general(message or "", status, error_code, fields)
        reason: _Reason = (verdict, fields["operation"], status, error_code, general)
        if reason not in self._reasons and len(self._reasons) >= _REASONS:
            reason = (verdict, fields["operation"], None, None, "other reasons")
        count, examples = self._reasons.setdefault(reason, ([0], []))
        count[0] += 1
        if len(examples) < _EXAMPLES:
            examples.append(
                Outcome(
                    item=Item(**fields),
                    verdict=verdict,
                    message=message or "",
                    status=status,
                    error_code=error_code,
                    request_id=request_id,
                    attempts=attempts or 0,
                    started_at=started_at or 0.0,
                    seconds=seconds or 0.0,
                )
            )
        listed = self.listed[verdict]
        if len(listed) < LISTED:
            listed.append(Listed(Item(**fields), _REQUEST_ID.sub("", message or ""), request_id, started_at))

    def sorted(self) -> list[Reason]:
        found = [Reason(*reason, count, examples) for reason, ((count,), examples) in self._reasons.items()]
        return sorted(found, key=lambda reason: (reason.verdict != "unknown", -reason.count))


def _general(message: str, status: int | None, error_code: str | None, fields: dict[str, str]) -> str:
    """Return the message without what the reason has beside it, and what differs from item to item."""
    if message.endswith("]"):
        message = _REQUEST_ID.sub("", message)
    if status is not None:
        message = message.removeprefix(f"{status} {error_code}: ").removeprefix(f"{status}: ")
    for name, value in fields.items():
        if len(value) >= _TELLING and name != "operation":
            message = message.replace(value, "…")
    return _without_particulars(message)


@lru_cache(1000)
def _without_particulars(message: str) -> str:
    return _PARTICULAR.sub("…", message)
