"""Decides from the runs of work whether a retry with an unknown outcome was accepted. No I/O.

A run is a job of an engine, or a record of a script. All times are the server's. A run is

    fresh     if it began after the request was sent, and is running, has succeeded, or failed after that
    stale     if it failed, and ended before the request was sent (an engine must also be retriable)
    unclear   if its status is not known, or its times are missing, impossible, or within the uncertainty

and the retry was

    accepted  if a run is fresh, none is stale, and the status of each is known
    not run   if a run is stale, none is fresh or unclear, and the request can no longer arrive
    unknown   otherwise

ShowEngineJob documents the status words of jobs; nothing documents those of records (see ScriptRecord in
openapi.yaml).
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import reduce
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from huaweicloud_retry.runtime.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from huaweicloud_retry_client import Response
    from huaweicloud_retry_client.models import EngineJob, ScriptRecord
    from huaweicloud_retry_client.types import Unset

State: TypeAlias = Literal["running", "succeeded", "failed", "unknown"]
Verdict: TypeAlias = Literal["accepted", "not run", "unknown"]

STATES: Final[dict[str, State]] = {  # by the service's status word
    **dict.fromkeys(("PreInit", "Init", "Executing", "WAITING", "INIT", "RUNNING"), "running"),
    **dict.fromkeys(("Finished", "SUCCESS", "FINISH"), "succeeded"),
    **dict.fromkeys(("Error", "Timeout", "FAILED"), "failed"),
}
# If runs have several states, the first of these is the state of all.
_ORDER: Final[tuple[State, ...]] = ("running", "unknown", "failed", "succeeded")
MARGIN: Final = 2.0
"""Seconds by which the clocks of gateway and service may differ."""
_DAY: Final = 86_400.0  # seconds
_MAX_UNCERTAINTY: Final = 10.0  # seconds; with more, a run may have begun before the request
_LAST_TIME: Final = 2.5e11  # seconds since the epoch: the year 9892, near the end of datetime's range


class Place(NamedTuple):
    """A script, and the resource on which it runs."""

    script_id: str
    resource_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the work: a job of an engine, or a record of a script.

    Attributes:
        name: `job …` or `record …`.
        word: The service's status word.
        began_at: Seconds since the epoch on the server's clock; None: not given. Infinite: not readable.
        ended_at: Like began_at.
        reason: Why it failed, in one line; or None.
        precision: Seconds by which the times may be too early, because they have no fractions.
        can_retry: False: the service says that it cannot be retried now.
        place: The script, and the desktop on which it runs.
    """

    name: str
    word: str
    began_at: float | None = None
    ended_at: float | None = None
    reason: str | None = None
    precision: float = 0.0
    can_retry: bool = True
    place: Place | None = None

    @property
    def state(self) -> State:
        """`unknown`: the status word is not known."""
        return STATES.get(self.word, "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The status of work.

    Attributes:
        state: `running`, `succeeded`, `failed`, or `unknown` if the service's word is not known. A task is
            `running` while one of its records runs, then `failed` if one has failed.
        runs: One job or record; for a task, all its records.
        clock: How far the server's clock is ahead of this machine's; None: its responses have no Date.
        is_whole: False: the list of records changed while it was read, or is incomplete: state `unknown`.
        is_new: False: it is the status from before the retry; there is no new run.
    """

    state: State
    runs: tuple[Run, ...]
    clock: Clock | None = field(default=None, repr=False)
    is_whole: bool = True
    is_new: bool = True

    @property
    def reason(self) -> str | None:
        """Why it failed, in one line; or None."""
        return next((run.reason for run in self.runs if run.state == "failed" and run.reason), None)

    @property
    def text(self) -> str:
        """The status in one line; a failure with its reason."""
        if not self.is_new:
            return f"{self} as before the retry: there is no new run"
        return f"{self}: {self.reason}" if self.state == "failed" and self.reason else str(self)

    def __str__(self) -> str:
        if len(self.runs) == 1:
            return f"{self.runs[0].name} is {one_line(self.runs[0].word)}"
        counts = Counter(run.word for run in self.runs)
        listed = ", ".join(f"{count} {one_line(word)}" for word, count in counts.items())
        return f"records: {listed or 'none'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The result of `resolve`.

    Attributes:
        verdict: `accepted`, `not run` (it can be resent without running twice), or `unknown`.
        evidence: The reason, in one line.
        status: The status that was read; None: it could not be read.
    """

    verdict: Verdict
    evidence: str
    status: Status | None = None


class Clock(NamedTuple):
    """By how many seconds a server's clock is ahead of this machine's: minimum and maximum."""

    least: float
    most: float

    @classmethod
    def of(cls, response: Response[Any], asked_at: float, came_at: float) -> Clock | None:
        """Return what the Date header of a response shows; None: nothing.

        Args:
            response: Any response.
            asked_at: When its request was sent, seconds since the epoch on this machine's clock.
            came_at: When it arrived.
        """
        try:
            date = parsedate_to_datetime(response.headers.get("Date", ""))
        except (ValueError, TypeError, OverflowError):  # the latter two in some versions of Python
            return None
        # Useless: a date from a cache, or one that is a day off.
        is_cached = response.headers.get("Age", "0") != "0"
        if date.tzinfo is None or is_cached or abs(date.timestamp() - came_at) > _DAY:
            return None
        return cls(date.timestamp() - came_at, date.timestamp() + 1 - asked_at)  # a date has no fractions

    def widened(self, other: Clock | None) -> Clock:
        """Return the range that includes both."""
        return self if other is None else Clock(min(self.least, other.least), max(self.most, other.most))


def judged(status: Status, sent_at: float, clock: Clock | None) -> Resolution:
    """Decide by the rules at the top of this module.

    Args:
        status: The status that was read.
        sent_at: Seconds since the epoch on this machine's clock.
        clock: The server's clock when the request was sent.
    """
    if not status.runs:
        evidence = "the service shows no such job or record"
        return Resolution(verdict="unknown", evidence=evidence, status=status)
    if not status.is_whole:
        evidence = f"{status}, but the list of records changes, or is incomplete"
        return Resolution(verdict="unknown", evidence=evidence, status=status)
    if clock is None and not sent_at <= time.time():
        why = "the request was sent in the future: this machine's clock was set back"
        return Resolution(verdict="unknown", evidence=f"{status}; {why}", status=status)
    known = None if status.clock is None else status.clock.widened(clock)
    marked = [(_mark(run, sent_at, status.clock, known), run) for run in status.runs]
    marks = {mark for mark, _ in marked}
    verdict: Verdict = "unknown"
    decisive = "unclear" if "unclear" in marks else "fresh"
    if "fresh" in marks and "stale" not in marks and all(run.state != "unknown" for run in status.runs):
        verdict, decisive = "accepted", "fresh"
    elif "stale" in marks and not marks & {"fresh", "unclear"}:
        verdict, decisive = "not run", "stale"
    run = next((run for mark, run in marked if mark == decisive), status.runs[0])
    evidence = _evidence(run, sent_at, known)
    if verdict == "unknown":
        evidence = f"{evidence}; {_why_unknown(run, marks, known)}"
    return Resolution(verdict=verdict, evidence=evidence, status=status)


def _mark(run: Run, sent_at: float, now: Clock | None, clock: Clock | None) -> str:
    """Return `fresh`, `stale`, `unclear`, or `old` if it is none of them."""
    if run.state == "unknown":
        return "unclear"
    if run.state == "running" and run.began_at is None:
        return "fresh"  # it is queued
    if now is None or clock is None or not _is_possible(run, now):
        return "unclear"
    earliest, latest = sent_at + clock.least - MARGIN, sent_at + clock.most + MARGIN
    ended, began = run.ended_at, run.began_at
    if began is not None and began + run.precision >= earliest:
        is_near = began > latest or latest - earliest <= _MAX_UNCERTAINTY
        is_later = run.state != "failed" or (ended is not None and ended > latest)
        return "fresh" if is_near and is_later else "unclear"
    if run.state == "failed":
        is_earlier = ended is not None and ended + run.precision < earliest
        return "stale" if is_earlier and run.can_retry else "unclear"
    return "old" if began is not None else "unclear"


def may_have_begun_since(run: Run, sent_at: float, clock: Clock) -> bool:
    """Return whether a run may have begun after the request was sent. True if its times are missing."""
    at = run.ended_at if run.began_at is None else run.began_at
    return at is None or at + run.precision >= sent_at + clock.least - MARGIN


def _is_possible(run: Run, now: Clock) -> bool:
    """Return whether its times are in the past, and in order."""
    latest = time.time() + now.most + MARGIN
    began, ended = run.began_at, None if run.state == "running" else run.ended_at
    is_past = all(at is None or at <= latest for at in (began, ended))
    return is_past and (began is None or ended is None or began <= ended + run.precision)


def _evidence(run: Run, sent_at: float, clock: Clock | None) -> str:
    text = f"{run.name} is {one_line(run.word)}"
    at, what = (run.ended_at, "ended") if run.state != "running" and run.ended_at else (run.began_at, "began")
    if at is None or at == inf:
        return text
    shown = f"{text}, {what} {datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
    if clock is None:
        return shown
    after = at - sent_at - (clock.least + clock.most) / 2
    if abs(after) <= _uncertainty(clock):
        return f"{shown}, when the request was sent (to within {_uncertainty(clock):.1f} s)"
    return f"{shown}, {abs(after):,.1f} s {'after' if after > 0 else 'before'} the request was sent"


def _uncertainty(clock: Clock) -> float:
    return (clock.most - clock.least) / 2 + MARGIN


def _why_unknown(run: Run, marks: set[str], clock: Clock | None) -> str:
    if run.state == "unknown":
        return "nothing documents the meaning of this status"
    if clock is None:
        return "the response has no Date, so times cannot be compared"
    if {"fresh", "stale"} <= marks:
        return "some records have run since, and some have not"
    if "unclear" not in marks:
        return "nothing began after the request, and nothing failed before it"
    if not run.can_retry:
        return "the engine cannot be retried now"
    return "its times are missing, impossible, or too near to when the request was sent"


def of_all(runs: Iterable[Run]) -> State:
    """Return the state of all runs together."""
    states = {run.state for run in runs}
    for state in _ORDER:
        if state in states:
            return state
    return "unknown"


def all_clocks(clocks: list[Clock | None]) -> Clock | None:
    """Return the range that includes the clocks of all pages."""
    known = [clock for clock in clocks if clock is not None]
    return reduce(Clock.widened, known) if known and len(known) == len(clocks) else None


def run_of_job(job: EngineJob, *, can_retry: bool = True) -> Run:
    """Return a job as a run."""
    return Run(
        name=f"job {job.id}",
        word=job.status,
        began_at=_of_ms(job.start_time),
        ended_at=_of_ms(job.end_time),
        reason=_reason_of(job),
        can_retry=can_retry,
    )


def run_of_record(record: ScriptRecord) -> Run:
    """Return a record as a run."""
    reason = ": ".join(one_line(part) for part in (record.result_code, record.reason) if part)
    script, resource = record.script_id, record.resource_id
    return Run(
        name=f"record {one_line(record.id)}",
        word=record.status,
        began_at=_of_text(record.start_time),
        ended_at=_of_text(record.end_time),
        reason=reason or None,
        precision=1.0,
        place=Place(script, resource) if script and resource else None,
    )


def _reason_of(job: EngineJob) -> str | None:
    """Return the reason of the first step or task that failed."""
    for step in job.tasks or ():
        for part in (*(step.tasks or ()), step):
            if STATES.get(part.status or "") == "failed":
                brief = part.task_executor_brief
                reason = getattr(part, "log", None) or (brief.description if brief else None) or part.status
                return one_line(": ".join(str(each) for each in (part.task_name, reason) if each))
    return None


def _of_ms(at: int | Unset | None) -> float | None:
    if not isinstance(at, int) or at == 0:
        return None
    return at / 1000 if 0 < at < _LAST_TIME * 1000 else inf


def _of_text(at: str | Unset | None) -> float | None:
    if not isinstance(at, str) or not at:
        return None
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        return inf
    # A time without a zone is ambiguous.
    return found.timestamp() if found.tzinfo is not None and 0 < found.timestamp() < _LAST_TIME else inf
