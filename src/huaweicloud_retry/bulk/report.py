"""Summarize a journal in bounded memory, however large it is, without changing it.

with JournalReader(Path("engines.journal")) as journal:
    print(summarize(journal).counts)
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeAlias

from .items import Outcome, Verdict
from .journal import Counts
from .journal_file import JournalReader, Row

VERDICTS: Final[tuple[Verdict, ...]] = ("accepted", "refused", "unknown")
LISTED: Final = 500  # outcomes that a summary keeps of a reason, at most
BINS_A_DECADE: Final = 200  # of seconds, so that a percentile is less than 1.2 % off

_REASONS: Final = 1000  # distinct ones; a service has a handful
_EXAMPLES: Final = 10  # outcomes that it keeps in any case, and
_KEPT_EXAMPLES: Final = 2000  # of all reasons together, more only up to this
_QUICKEST: Final = 1e-6  # seconds; what took no time needs a bin, too
_BUCKETS: Final = 200  # of a chart, at most
_FEWEST: Final = 20  # buckets, so that a short run has a time axis
_KEPT_BUCKETS: Final = 20_000  # while the journal is read, when the pauses are not known yet
_PAUSES: Final = 5  # that are cut out of a chart, the longest
# Widths of a bucket in milliseconds, each a multiple of the one before: 1 ms to 4 weeks.
_WIDTHS: Final = (
    *(1, 5, 10, 50, 100, 500, 1000, 5000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000),
    *(10_800_000, 43_200_000, 86_400_000, 604_800_000, 2_419_200_000),
)
_BY_NAME: Final[dict[str, Verdict]] = {verdict: verdict for verdict in VERDICTS}
_LAST_TIME: Final = 2.5e11  # seconds since the epoch: the year 9892, near the end of datetime's range
_REQUEST_ID: Final = re.compile(r" \[request id [^\]]*\]$")
# What differs between items and not between reasons, such as the ID of a job.
_PARTICULAR: Final = re.compile(
    r"(?:(?<=\bjob )|(?<=\btask )|(?<=\bengine )|(?<=\brecord )|(?<=\bproject ))\d+(?!\.?\w)|"
    r"(?<![\w.])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,}|\d{5,})(?!\.?\w)",
    re.IGNORECASE,
)
_IDS: Final = ("engine_id", "record_id", "task_id", "enterprise_project_id", "project_id")
_NEAR: Final = 20  # characters before an ID that are searched for a name
_NAMED: Final = re.compile(r"(?i)(?:\b|_)(?:engine|record|task|project|job|id)(?:[ _-]?id)?([:=#] ?| )$")
_PAIRS: Final = frozenset({"''", '""', "``", "()", "[]", "<>", "{}", "//", "\u2018\u2019", "\u201c\u201d"})
_DIGIT, _LETTER = re.compile(r"\d"), re.compile(r"[^\W\d_]")
_JOINED_BEFORE: Final = re.compile(r"\w[.-]?$")
_JOINED_AFTER: Final = re.compile(r"[.-]?\w")

ReasonKey: TypeAlias = tuple[Verdict, str, int | None, str | None, str]


@dataclass(slots=True)
class Reason:
    """Why items were refused, or are unknown.

    Attributes:
        verdict: `refused` or `unknown`.
        operation: The advice may depend on it.
        status: HTTP status; None if there was no response.
        error_code: The service's or gateway's, or None.
        message: With … for what differs between items, such as an ID.
        examples: The first outcomes, 10 to LISTED; `started_at` and `seconds` are 0 if they are not known.
    """

    verdict: Verdict
    operation: str
    status: int | None
    error_code: str | None
    message: str
    count: int = 0
    examples: list[Outcome] = field(default_factory=list[Outcome])

    @property
    def key(self) -> ReasonKey:
        """What its items have in common."""
        return self.verdict, self.operation, self.status, self.error_code, self.message


@dataclass(slots=True)
class Latency:
    """Seconds until outcomes were known, including waits and further attempts.

    Attributes:
        bins: Number of outcomes by `floor(log10(seconds) * BINS_A_DECADE)`.
    """

    count: int = 0
    shortest: float = math.inf
    longest: float = 0.0
    total: float = 0.0
    bins: Counter[int] = field(default_factory=Counter[int])

    def add(self, seconds: float) -> None:
        """Count one outcome."""
        self.count += 1
        self.total += seconds
        self.shortest = min(self.shortest, seconds)
        self.longest = max(self.longest, seconds)
        self.bins[math.floor(math.log10(max(seconds, _QUICKEST)) * BINS_A_DECADE)] += 1

    @classmethod
    def together(cls, several: Iterable["Latency"]) -> Self:
        """Return the sum of several."""
        one = cls()
        for each in several:
            one.count += each.count
            one.total += each.total
            one.shortest, one.longest = min(one.shortest, each.shortest), max(one.longest, each.longest)
            one.bins.update(each.bins)
        return one

    def percentile(self, percent: float) -> float:
        """Return the seconds within which this share was known, less than 1.2 % off."""
        wanted, seen = self.count * percent / 100, 0
        for bin_, count in sorted(self.bins.items()):
            seen += count
            if seen >= wanted:
                return min(max(10 ** ((bin_ + 0.5) / BINS_A_DECADE), self.shortest), self.longest)
        return self.longest


class Stretch(NamedTuple):
    """A time without a long pause.

    Attributes:
        start: Seconds since the epoch, where the first bucket begins.
        buckets: Number of outcomes in each, by verdict.
    """

    start: float
    buckets: list[Counter[Verdict]]


class Timeline:
    """Number of outcomes over time, in buckets that grow wider as time goes on."""

    def __init__(self) -> None:
        self._ms = _WIDTHS[0]
        self._buckets: dict[int, Counter[Verdict]] = {}

    @property
    def width(self) -> float:
        """Seconds of a bucket."""
        return self._ms / 1000

    def add(self, at: float, verdict: Verdict) -> None:
        """Count an outcome at that time, in seconds since the epoch."""
        if int(at * 1000) // self._ms not in self._buckets:
            if len(self._buckets) == _KEPT_BUCKETS:
                self._widen()
            self._buckets.setdefault(int(at * 1000) // self._ms, Counter())
        self._buckets[int(at * 1000) // self._ms][verdict] += 1

    def stretches(self) -> list[Stretch]:
        """Return about 20 to 200 buckets in all, without the longest pauses, such as between two runs."""
        while sum(last - first + 1 for first, last in self._spans()) > _BUCKETS:
            self._widen()
        found: list[Stretch] = []
        spans = self._spans()
        for first, last in spans:
            missing = max(0, math.ceil(_FEWEST / len(spans)) - (last - first + 1))
            keys = range(first - missing // 2, last + 1 + missing - missing // 2)
            found.append(Stretch(keys[0] * self.width, [self._buckets.get(key, Counter()) for key in keys]))
        return found

    def _spans(self) -> list[tuple[int, int]]:
        keys = sorted(self._buckets)
        if not keys:
            return []
        least = max(20, 60_000 // self._ms)  # buckets, and a minute
        pauses = sorted(((b - a, a, b) for a, b in pairwise(keys) if b - a > least), reverse=True)[:_PAUSES]
        ends = sorted((a, b) for _, a, b in pauses)
        return list(zip([keys[0], *(b for _, b in ends)], [*(a for a, _ in ends), keys[-1]], strict=True))

    def _widen(self) -> None:
        narrow, old = self._ms, self._buckets
        self._ms, self._buckets = next((width for width in _WIDTHS if width > narrow), narrow * 10), {}
        for key, counts in old.items():
            self._buckets.setdefault(key * narrow // self._ms, Counter()).update(counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Totals, reasons and times of a journal.

    Attributes:
        file: The journal's.
        input: The file that was sent, or None if it is not known.
        duplicates: Lines of the input that repeat another.
        operations: Counts by operation.
        resent: Number of items with more than one attempt.
        reasons: Unknown ones first, then by count.
        latency: By verdict, those that occur.
        started_at: Seconds since the epoch, of the first attempt; None if it is not known.
        ended_at: Of the last outcome.
        ended: By operation, how many of the accepted ones succeeded, failed again, or still run, as far as it was looked at.
        timeline: Outcomes over time.
        width: Seconds of a bucket of the timeline.
    """

    file: Path
    input: str | None
    duplicates: int
    operations: dict[str, Counts]
    resent: int
    reasons: list[Reason]
    latency: dict[Verdict, Latency]
    started_at: float | None
    ended_at: float | None
    ended: dict[str, Counter[str]]
    timeline: list[Stretch]
    width: float

    @property
    def counts(self) -> Counts:
        """Of all operations together. None is `sending`: without a run, this is unknown."""
        return Counts(*map(sum, zip(*self.operations.values(), strict=True)))

    @property
    def all_ended(self) -> Counter[str]:
        """`ended` of all operations together."""
        return sum(self.ended.values(), Counter[str]())


def summarize(journal: JournalReader) -> Summary:
    """Read a journal once, from the first item to the last.

    Raises:
        JournalError: It cannot be read any more.
    """
    return _summary(journal.file, journal.about.duplicates, journal.rows(), journal.about.input)


def _summary(file: Path, duplicates: int, rows: Iterable[Row], input_name: str | None = None) -> Summary:
    """Read the rows of a journal once.

    Raises:
        ValueError: a row has a time that cannot be.
    """
    states: Counter[tuple[str, str]] = Counter()
    ended: dict[str, Counter[str]] = {}
    times, reasons = _Times(), _Reasons()
    resent = 0
    for row in rows:
        # As exact as parsing JSON, in a tenth of the time: within a value, a quotation mark has a backslash.
        operation = row.fields.partition('"operation":"')[2].partition('"')[0]
        states[operation, row.state] += 1
        if row.ended is not None:
            ended.setdefault(operation, Counter())[row.ended] += 1
        if row.state == "planned":
            continue
        verdict = _BY_NAME[row.state]
        if row.attempts is not None and row.attempts > 1:
            resent += 1
        if row.started_at is not None and row.seconds is not None:
            times.add(verdict, row.started_at, row.seconds)
        if verdict != "accepted":
            reasons.add(verdict, row)
    return Summary(
        file=file,
        input=input_name,
        duplicates=duplicates,
        operations={
            operation: Counts(**{state: count for (of, state), count in states.items() if of == operation})
            for operation in sorted({operation for operation, _ in states})
        },
        resent=resent,
        reasons=sorted(reasons.found.values(), key=lambda each: (each.verdict != "unknown", -each.count)),
        latency={verdict: each for verdict, each in times.latency.items() if each.count},
        started_at=times.first if times.last else None,
        ended_at=times.last or None,
        ended=ended,
        timeline=times.timeline.stretches(),
        width=times.timeline.width,
    )


class _Times:
    """When outcomes were known, and how long they took."""

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
    """Outcomes that are not accepted, grouped."""

    def __init__(self) -> None:
        self._kept = 0
        self.found: dict[ReasonKey, Reason] = {}

    def add(self, verdict: Verdict, row: Row) -> None:
        fields: dict[str, str] = json.loads(row.fields)
        key = reason_key(verdict, fields, row.message, row.status, row.error_code)
        if key not in self.found:
            key = key if len(self.found) < _REASONS else other_reasons(key)
            self.found.setdefault(key, Reason(*key))
        reason = self.found[key]
        reason.count += 1
        kept = len(reason.examples)
        if kept >= _EXAMPLES and (kept >= LISTED or self._kept >= _KEPT_EXAMPLES):
            return
        self._kept += 1
        reason.examples.append(row.outcome())


def other_reasons(key: ReasonKey) -> ReasonKey:
    """Return the key of what comes after the first 1000 reasons."""
    return key[0], key[1], None, None, "other reasons"


def reason_key(
    verdict: Verdict, fields: Mapping[str, Any], message: str | None, status: int | None, code: str | None
) -> ReasonKey:
    """Return what an outcome has in common with others of the same reason. `fields` has those of its item."""
    general = without_request_id(message or "")
    if status is not None:
        general = general.removeprefix(f"{status} {code}: ").removeprefix(f"{status}: ")
    ids = [id_ for name in _IDS if (id_ := fields.get(name)) is not None and id_ in general]
    for id_ in sorted(ids, key=len, reverse=True):  # one may be a part of another
        general = _without_id(general, id_)
    return verdict, fields["operation"], status, code, _without_particulars(general)


def without_request_id(message: str) -> str:
    """Return an outcome's message without the request ID at its end."""
    return _REQUEST_ID.sub("", message) if message.endswith("]") else message


def _without_id(message: str, id_: str) -> str:
    """Put … for an ID where it is a whole word."""
    at = message.find(id_)
    while at >= 0:
        end = at + len(id_)
        if _is_id(id_, message[max(0, at - _NEAR) : at], message[end : end + 2]):
            message = f"{message[:at]}…{message[end:]}"
        at = message.find(id_, at + 1)
    return message


def _is_id(id_: str, before: str, after: str) -> bool:
    """Tell an ID from a part of a word, and from an ordinary word or number such as "the" or 400.

    With letters and digits it is an ID anywhere; else only in quotation marks, brackets or slashes, or after a
    name ("engine prod", "task_id=16"), but not up to 3 letters after a name and a space ("engine no longer").
    """
    if _JOINED_BEFORE.search(before) or _JOINED_AFTER.match(after):
        return False
    has_digits = _DIGIT.search(id_) is not None
    if (has_digits and _LETTER.search(id_)) or before[-1:] + after[:1] in _PAIRS:
        return True
    named = _NAMED.search(before)
    is_word = has_digits or len(id_) > 3  # noqa: PLR2004 - see above
    return named is not None and (is_word or not named[1].endswith(" "))


@lru_cache(1000)
def _without_particulars(message: str) -> str:
    return _PARTICULAR.sub("…", message)
