"""Runs of work, and what they say of a retry whose outcome is unknown. No I/O.

A run is a job of an engine, or a record of a script. All times are the server's. A run is

    fresh     if it did not begin before the request was sent, and runs, has succeeded, or failed after it was sent
    stale     if it failed, and ended before the request was sent (of an engine: and can be retried)
    unclear   if its status is not known, or its times are missing, impossible, or within the uncertainty

and the retry was

    accepted  if a run is fresh, none is stale, and the status of each is known
    not run   if a run is stale, and none is fresh or unclear (and the request is not under way any more)
    unknown   else

Status words: those of jobs are documented for ShowEngineJob, those of records nowhere (see ScriptRecord in openapi.yaml).
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

# By status word.
STATES: Final[dict[str, State]] = {
    **dict.fromkeys(("PreInit", "Init", "Executing", "WAITING", "INIT", "RUNNING"), "running"),
    **dict.fromkeys(("Finished", "SUCCESS", "FINISH"), "succeeded"),
    **dict.fromkeys(("Error", "Timeout", "FAILED"), "failed"),
}
_ORDER: Final[tuple[State, ...]] = (
    "running",
    "unknown",
    "failed",
    "succeeded",
)  # of several, the first counts
MARGIN: Final = 2.0
"""Seconds that the clocks of gateway and service may differ."""
_DAY: Final = 86_400.0  # seconds
_WIDEST: Final = 10.0  # seconds: of a longer uncertainty, a run may well have begun before the request
_LAST_TIME: Final = 2.5e11  # seconds since the epoch: the year 9892, near the end of datetime's range


class Place(NamedTuple):
    """What runs, and where."""

    script_id: str
    resource_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the work: a job of an engine, or a record of a script.

    Attributes:
        name: `job …` or `record …`.
        word: The status in the service's word.
        began_at: Seconds since the epoch by the server's clock; None: there is none. Infinite: it cannot be read.
        ended_at: As began_at.
        reason: Why it failed, in one line; or None.
        precision: Seconds by which the times may be too early, as they are cut to whole seconds.
        can_retry: False: the service says that it cannot be retried now.
        place: The script, and the desktop it runs on.
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
        """`unknown`: nobody knows the status word."""
        return STATES.get(self.word, "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far the work is.

    Attributes:
        state: `running`, `succeeded`, `failed`, or `unknown` if the service's word is not known. Of a task: `running`
            as long as a record runs, then `failed` if one has failed.
        runs: One job or record; of a task all of its records.
        clock: How far the server's clock is ahead of this machine's; None: its responses do not tell.
        is_whole: False: the list of records changed while it was read, or is not whole; the state is `unknown`.
        is_new: False: it is that of before the retry, and a new run does not show.
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
        """What is seen, in one line; of a failure with its reason."""
        if not self.is_new:
            return f"{self} as before the retry: a new run does not show"
        return f"{self}: {self.reason}" if self.state == "failed" and self.reason else str(self)

    def __str__(self) -> str:
        if len(self.runs) == 1:
            return f"{self.runs[0].name} is {one_line(self.runs[0].word)}"
        counts = Counter(run.word for run in self.runs)
        listed = ", ".join(f"{count} {one_line(word)}" for word, count in counts.items())
        return f"records: {listed or 'none'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What `resolve` found.

    Attributes:
        verdict: `accepted`, `not run` (it can be sent again without running twice), or `unknown`.
        evidence: In one line, what was seen.
        status: What was seen; None: it could not be read.
    """

    verdict: Verdict
    evidence: str
    status: Status | None = None


class Clock(NamedTuple):
    """How many seconds a server's clock is ahead of this machine's: at least, and at most."""

    least: float
    most: float

    @classmethod
    def of(cls, response: Response[Any], asked_at: float, came_at: float) -> Clock | None:
        """Return what the Date header of a response says; None: nothing.

        Args:
            response: Any.
            asked_at: When its request was sent, seconds since the epoch by this machine's clock.
            came_at: When it came.
        """
        try:
            date = parsedate_to_datetime(response.headers.get("Date", ""))
        except (ValueError, TypeError, OverflowError):  # the latter two: of some versions of Python
            return None
        # One that a cache has kept says nothing of now, and by one that is a day off nothing can be told.
        if (
            date.tzinfo is None
            or response.headers.get("Age", "0") != "0"
            or abs(date.timestamp() - came_at) > _DAY
        ):
            return None
        return cls(date.timestamp() - came_at, date.timestamp() + 1 - asked_at)  # it has whole seconds

    def widened(self, other: Clock | None) -> Clock:
        """Return what holds for both."""
        return self if other is None else Clock(min(self.least, other.least), max(self.most, other.most))


def judged(status: Status, sent_at: float, clock: Clock | None) -> Resolution:
    """Decide by the table at the head of this module.

    Args:
        status: What was seen.
        sent_at: Seconds since the epoch by this machine's clock.
        clock: What was known of the server's clock when it was sent.
    """
    if not status.runs:
        return Resolution(
            verdict="unknown", evidence="the service shows no such job or record", status=status
        )
    if not status.is_whole:
        evidence = f"{status}, but the list of records changes, or is not whole"
        return Resolution(verdict="unknown", evidence=evidence, status=status)
    if clock is None and not sent_at <= time.time():
        why = "the request was sent at a time that is still to come: this machine's clock was set back"
        return Resolution(verdict="unknown", evidence=f"{status}; {why}", status=status)
    known = None if status.clock is None else status.clock.widened(clock)
    marked = [(_mark(run, sent_at, status.clock, known), run) for run in status.runs]
    marks = {mark for mark, _ in marked}
    verdict: Verdict = "unknown"
    if "fresh" in marks and "stale" not in marks and all(run.state != "unknown" for run in status.runs):
        verdict = "accepted"
    elif "stale" in marks and not marks & {"fresh", "unclear"}:
        verdict = "not run"
    telling = {"accepted": "fresh", "not run": "stale"}.get(
        verdict, "unclear" if "unclear" in marks else "fresh"
    )
    run = next((run for mark, run in marked if mark == telling), status.runs[0])
    evidence = _evidence(run, sent_at, known)
    if verdict == "unknown":
        evidence = f"{evidence}; {_why_unknown(run, marks, known)}"
    return Resolution(verdict=verdict, evidence=evidence, status=status)


def _mark(run: Run, sent_at: float, now: Clock | None, clock: Clock | None) -> str:
    """Return `fresh`, `stale`, `unclear`, or `old`: neither."""
    if run.state == "unknown":
        return "unclear"
    if run.state == "running" and run.began_at is None:
        return "fresh"  # it waits for its turn
    if now is None or clock is None or not _is_possible(run, now):
        return "unclear"
    earliest, latest = sent_at + clock.least - MARGIN, sent_at + clock.most + MARGIN
    ended, began = run.ended_at, run.began_at
    if began is not None and began + run.precision >= earliest:
        is_near = began > latest or latest - earliest <= _WIDEST
        is_later = run.state != "failed" or (ended is not None and ended > latest)
        return "fresh" if is_near and is_later else "unclear"
    if run.state == "failed":
        is_earlier = ended is not None and ended + run.precision < earliest
        return "stale" if is_earlier and run.can_retry else "unclear"
    return "old" if began is not None else "unclear"


def may_have_begun_since(run: Run, sent_at: float, clock: Clock) -> bool:
    """Say whether a run may have begun after the request was sent: also if its times do not say."""
    at = run.ended_at if run.began_at is None else run.began_at
    return at is None or at + run.precision >= sent_at + clock.least - MARGIN


def _is_possible(run: Run, now: Clock) -> bool:
    """Say whether no time lies in the future, and none before another that it follows."""
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
        return "what this status means is documented nowhere"
    if clock is None:
        return "the response has no Date, so times cannot be compared"
    if {"fresh", "stale"} <= marks:
        return "some records have run since, and some have not"
    if "unclear" not in marks:
        return "nothing began since, and nothing has failed before"
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
    """Return what holds for all pages."""
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
    """Return what the first step or task that failed says."""
    for step in job.tasks or ():
        for part in (*(step.tasks or ()), step):
            if STATES.get(part.status or "") == "failed":
                brief = part.task_executor_brief
                said = getattr(part, "log", None) or (brief.description if brief else None) or part.status
                return one_line(": ".join(str(each) for each in (part.task_name, said) if each))
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
    # Without a zone it is not known which time is meant.
    return found.timestamp() if found.tzinfo is not None and 0 < found.timestamp() < _LAST_TIME else inf
