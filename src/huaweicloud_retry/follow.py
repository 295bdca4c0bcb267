"""Follow a retry: wait until its work ends, or resolve an unknown outcome. Nothing here sends a retry.

    status = wait_for_job(client, project_id, engine_id, job_id, timeout=600)  # status.state, status.reason
    found = resolve(client, item, sent_at=when_it_was_sent)                    # found.verdict, found.evidence

`runs` has the rules of `resolve`. Each function is sync, `resolve(…)`, and async, `await resolve.asyncio(…)`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import update_wrapper
from math import inf
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar

from huaweicloud_retry.runs import (
    MARGIN,
    Clock,
    Resolution,
    Status,
    all_clocks,
    judged,
    may_have_begun_since,
    of_all,
    run_of_job,
    run_of_record,
)
from huaweicloud_retry.runtime.errors import APIError, APIStatusError, IAMError, RateLimitError
from huaweicloud_retry_client.api.cse import show_engine, show_engine_job
from huaweicloud_retry_client.api.workspace import list_script_records, show_script_record_detail
from huaweicloud_retry_client.types import UNSET

if TYPE_CHECKING:
    from types import ModuleType

    from huaweicloud_retry.runs import Run, State
    from huaweicloud_retry_client import Client, Response
    from huaweicloud_retry_client.models import Engine, ScriptRecord, ScriptRecordPage

P = ParamSpec("P")
T = TypeVar("T")
SETTLE: Final = 30.0
"""Seconds after which a sent request has arrived or is lost: the gateway waits that long for a service."""
_MAX_INTERVAL: Final = 30.0  # seconds
_GROWTH: Final = 1.5
_FAILED_READS: Final = 2  # failed reads in a row that are retried
_MAX_THROTTLED: Final = 300.0  # seconds to wait for a read that gets 429
_PAGE: Final = 100  # records; the service's maximum
_MAX_RECORDS: Final = 100_000  # of a list


class RetryTarget(Protocol):
    """What was retried, such as a `huaweicloud_retry.bulk.Item`."""

    @property
    def project_id(self) -> str: ...
    @property
    def engine_id(self) -> str | None: ...
    @property
    def record_id(self) -> str | None: ...
    @property
    def task_id(self) -> str | None: ...
    @property
    def enterprise_project_id(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """An engine, or a script's record or task, for callers without a `bulk.Item`."""

    project_id: str
    engine_id: str | None = None
    record_id: str | None = None
    task_id: str | None = None
    enterprise_project_id: str | None = None


# --- Steps: reads and waits, without I/O ---


class Read:
    """A read to do. Records when it was sent and when its response arrived."""

    def __init__(self, client: Client, operation: ModuleType, *args: Any, **kwargs: Any) -> None:
        self._operation, self._args = operation, args
        self._kwargs = {"client": client.with_resend(None), **kwargs}  # the steps repeat reads themselves
        self.asked_at = self.came_at = 0.0
        self.error: APIError | None = None  # of the response

    def sync(self) -> Response[Any]:
        """Send it."""
        self.asked_at = time.time()
        response: Response[Any] = self._operation.sync_detailed(*self._args, **self._kwargs)
        self.came_at, self.error = time.time(), response.error
        return response

    async def asyncio(self) -> Response[Any]:
        """Send it."""
        self.asked_at = time.time()
        response: Response[Any] = await self._operation.asyncio_detailed(*self._args, **self._kwargs)
        self.came_at, self.error = time.time(), response.error
        return response


Steps: TypeAlias = Generator[Read | float, Any, T]
"""Yields a read, and receives its response; or yields seconds to wait."""


class SyncAndAsync(Generic[P, T]):
    """A function that can be called sync, `function(…)`, and async, `await function.asyncio(…)`."""

    def __init__(self, steps: Callable[P, Steps[T]]) -> None:
        self.steps = steps
        update_wrapper(self, steps)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run all steps, blocking the thread."""
        steps = self.steps(*args, **kwargs)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Read):
                    try:
                        response = step.sync()
                    except APIError as error:
                        step = steps.throw(error)
                    else:
                        step = steps.send(response)
                else:
                    time.sleep(step)
                    step = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result

    async def asyncio(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run all steps in an event loop."""
        return await drive(self.steps(*args, **kwargs))


async def drive(
    steps: Steps[T], admitted: Callable[[Read], AbstractAsyncContextManager[object]] = nullcontext
) -> T:
    """Run all steps in an event loop.

    Args:
        steps: The steps to run.
        admitted: Returns the context manager that a read runs in, such as a limit of concurrent reads.
    """
    import anyio  # noqa: PLC0415 - httpx installs it; importing it is slow

    try:
        step = next(steps)
        while True:
            if isinstance(step, Read):
                try:
                    async with admitted(step):
                        response = await step.asyncio()
                except APIError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
            else:
                await anyio.sleep(step)
                step = next(steps)
    except StopIteration as end:
        result: T = end.value
        return result


# --- The functions to call ---


@SyncAndAsync
def wait_for_job(  # noqa: PLR0913 - the job, and how to wait
    client: Client,
    project_id: str,
    engine_id: str,
    job_id: int | str | None,
    *,
    timeout: float | None = 3600.0,
    interval: float = 2.0,
    sent_at: float | None = None,
    enterprise_project_id: str | None = None,
    on_status: Callable[[Status], object] | None = None,
    clock: Clock | None = None,
) -> Steps[Status]:
    """Wait until a job of an engine has ended.

    Repeats failed reads, up to two in a row; after a 429, waits as Retry-After says.

    Args:
        client: For CSE.
        project_id: Project ID.
        engine_id: Engine ID.
        job_id: `jobId` of RetryEngine's response; None: the latest job.
        timeout: Maximum seconds to wait; then the state is still `running`. None: no limit.
        interval: Seconds between the first two reads; grows by half each time, up to 30.
        sent_at: When the retry was sent, seconds since the epoch. Earlier failures are then ignored.
        enterprise_project_id: Sent as X-Enterprise-Project-ID.
        on_status: Called after each read.
        clock: See `resolve`.

    Raises:
        APIError: The job cannot be read: credentials, permission, no such job, or three failures in a row.
        ValueError: timeout or interval is negative.
    """
    work = Work(project_id=project_id, engine_id=engine_id, enterprise_project_id=enterprise_project_id)
    return _wait(client, work, job_id, _Waiting(timeout, interval, sent_at, on_status, clock))


@SyncAndAsync
def wait_for_script(  # noqa: PLR0913 - the script, and how to wait
    client: Client,
    project_id: str,
    *,
    record_id: str | None = None,
    task_id: str | None = None,
    timeout: float | None = 3600.0,
    interval: float = 2.0,
    sent_at: float | None = None,
    on_status: Callable[[Status], object] | None = None,
    clock: Clock | None = None,
) -> Steps[Status]:
    """Wait until a record, or all records of a task, have ended.

    Args:
        client: For Workspace.
        project_id: Project ID.
        record_id: One run on one desktop.
        task_id: A task. Needed if there is no record_id; ignored if there is one.
        timeout: See `wait_for_job`.
        interval: See `wait_for_job`.
        sent_at: See `wait_for_job`.
        on_status: See `wait_for_job`.
        clock: See `resolve`.

    Raises:
        APIError, ValueError: See `wait_for_job`.
    """
    work = Work(project_id=project_id, record_id=record_id, task_id=task_id)
    return _wait(client, work, None, _Waiting(timeout, interval, sent_at, on_status, clock))


@SyncAndAsync
def look(client: Client, work: RetryTarget) -> Steps[Status]:
    """Return the current status of work; for an engine, of its latest job.

    Raises:
        APIError: See `wait_for_job`.
    """
    return (yield from _read_status(client, work))


@SyncAndAsync
def resolve(  # noqa: PLR0913 - what is known of the request
    client: Client,
    item: RetryTarget,
    sent_at: float,
    *,
    lost_at: float | None = None,
    settle: float = SETTLE,
    clock: Clock | None = None,
) -> Steps[Resolution]:
    """Find out whether a retry with an unknown outcome was accepted. Never guesses: see `runs` for the rules.

    Compares times on the server's clock, which the Date header of the read shows; assumes that the clocks of
    gateway and services differ by two seconds at most. If two callers retry the same work at the same time,
    it cannot know whose request was accepted.

    If nothing has begun and the request may still arrive, it waits for the rest of `settle` and reads again.

    Args:
        client: For the item's service.
        item: What was retried: a `huaweicloud_retry.bulk.Item`, or a `Work`.
        sent_at: When the request was sent, seconds since the epoch on this machine's clock.
        lost_at: When the call failed without a response; sent_at by default.
        settle: Seconds after lost_at in which the service may still begin.
        clock: The server's clock, as responses at the time of sending showed it. Needed if this machine's
            clock was set since then, or if another machine sent the request.

    Raises:
        APIError: The credentials are refused (401, 403), or IAM gives no token. If the read fails for another
            reason, the verdict is `unknown`.
        ValueError: The item names no engine, record or task.
    """
    # If lost_at is in the future, this machine's clock was set back; really it is in the past.
    lost_at = sent_at if lost_at is None else lost_at
    ready_at = time.monotonic() + min(settle, lost_at + settle - time.time())
    while True:
        left = ready_at - time.monotonic()
        try:
            status = yield from _read_status(client, item)
            found = judged(status, sent_at, clock)
            if found.verdict == "not run" and left <= 0 and item.engine_id is None:
                found = yield from _unless_in_new_record(client, item, sent_at, found, clock)
        except APIError as error:
            if isinstance(error, IAMError) or getattr(error, "status_code", None) in {401, 403}:
                raise
            return Resolution(verdict="unknown", evidence=f"the state cannot be read: {error}")
        if found.verdict == "accepted" or left <= 0:
            return found
        yield left


def iter_script_records(client: Client, project_id: str, **filters: Any) -> Iterator[ScriptRecord]:
    """Yield all script execution records that match, page by page, each once.

    Args:
        client: For Workspace.
        project_id: Project ID.
        filters: Those of ListScriptRecords, such as script_task_id=…, status="FAILED"; limit: the page size.

    Raises:
        APIError: See ListScriptRecords.
    """
    pages = _Pages(client, project_id, filters)
    while (read := pages.next()) is not None:
        yield from pages.take(read.sync().result())


async def iter_script_records_async(
    client: Client, project_id: str, **filters: Any
) -> AsyncIterator[ScriptRecord]:
    """See `iter_script_records`."""
    pages = _Pages(client, project_id, filters)
    while (read := pages.next()) is not None:
        for record in pages.take((await read.asyncio()).result()):
            yield record


# --- Their steps ---


class _Waiting(NamedTuple):
    timeout: float | None
    interval: float
    sent_at: float | None
    on_status: Callable[[Status], object] | None
    clock: Clock | None


def _wait(client: Client, work: RetryTarget, job_id: int | str | None, how: _Waiting) -> Steps[Status]:
    if not (how.interval >= 0 and (how.timeout is None or how.timeout >= 0)):
        raise ValueError("timeout and interval must be 0 or more seconds")
    ends_at = inf if how.timeout is None else time.monotonic() + how.timeout
    status: Status | None = None
    interval, failures = how.interval, 0
    while True:
        pause = interval
        try:
            status = yield from _read_status(client, work, job_id, tries=1, is_of_task=True)
        except APIError as error:
            failures += not isinstance(error, RateLimitError)
            pause = max(interval, getattr(error, "retry_after", None) or 0.0)
            is_late = status is None and time.monotonic() + pause >= ends_at
            if is_late or failures > _FAILED_READS or not _is_temporary(error):
                raise
        else:
            failures = 0
            status = _without_old_failure(status, how)
            if how.on_status is not None:
                how.on_status(status)
            if status.state in {"succeeded", "failed"} or not (status.is_new or status.state == "running"):
                return status
        left = ends_at - time.monotonic()
        if left <= 0 and status is not None:
            return status
        yield max(0.0, min(pause, left))
        interval = max(interval, min(interval * _GROWTH, _MAX_INTERVAL))


def _without_old_failure(status: Status, how: _Waiting) -> Status:
    """Return the status of the work since the retry: a failure may be from before it."""
    if how.sent_at is None or status.state != "failed":
        return status
    clock = None if status.clock is None else status.clock.widened(how.clock)
    new = [run for run in status.runs if clock is not None and _is_new(run, how.sent_at, clock)]
    if all(run in new for run in status.runs if run.state == "failed"):
        return status
    # Other runs may wait for those that ended last, such as the second batch of a task.
    ends = [run.ended_at - clock.least for run in new if run.ended_at is not None and clock is not None]
    state: State = "failed" if any(run.state == "failed" for run in new) else "unknown"
    if time.time() < max([how.sent_at, *ends]) + SETTLE:
        state = "running"
    return replace(status, state=state, is_new=bool(new))


def _is_new(run: Run, sent_at: float, clock: Clock) -> bool:
    return run.began_at not in {None, inf} and may_have_begun_since(run, sent_at, clock)


def _unless_in_new_record(
    client: Client, item: RetryTarget, sent_at: float, found: Resolution, clock: Clock | None
) -> Steps[Resolution]:
    """Look for a new record of the retry, perhaps of a new task: nothing documents whether there is one."""
    status = found.status
    if status is None or status.clock is None:
        return found
    clock = status.clock.widened(clock)
    own = {run.name for run in status.runs}
    places = [run.place for run in status.runs if run.place is not None]
    has_all = len(places) == len(status.runs)
    if has_all:  # not by time: a filter by time may miss records that have not begun
        filters: dict[str, Any] = {"script_id": sorted({place.script_id for place in places})}
        resources = sorted({place.resource_id for place in places})
        filters |= {"resource_id": resources} if len(resources) <= _PAGE else {}
    else:
        since = datetime.fromtimestamp(int(sent_at + clock.least - MARGIN), UTC)
        filters = {"execute_time_start": f"{since:%Y-%m-%dT%H:%M:%SZ}"}
    pages = _Pages(client, item.project_id, filters)
    records = yield from _records(pages)
    if not pages.is_whole:
        evidence = f"{found.evidence}; but the list of records changes, or is incomplete"
        return Resolution(verdict="unknown", evidence=evidence, status=status)
    for record in records:
        run = run_of_record(record)
        is_of_same = not has_all or run.place is None or run.place in places
        if run.name not in own and is_of_same and may_have_begun_since(run, sent_at, clock):
            evidence = (
                f"{run.name} of the same script and desktop may have begun since: perhaps it is the retry"
            )
            return Resolution(verdict="unknown", evidence=evidence, status=status)
    return found


def _read_status(
    client: Client,
    work: RetryTarget,
    job_id: int | str | None = None,
    *,
    tries: int = _FAILED_READS + 1,
    is_of_task: bool = False,
) -> Steps[Status]:
    """Read the status of work. `is_of_task`: if the record belongs to another task, read the task."""
    if work.engine_id is not None:
        return (yield from _job(client, work, job_id, tries))
    if work.record_id is not None:
        read = Read(client, show_script_record_detail, work.project_id, work.record_id)
        detail = yield from _result(read, tries)
        record: ScriptRecord = detail.result()
        if record.id != work.record_id:
            return Status(state="unknown", runs=())
        if not is_of_task or work.task_id in {None, record.script_task_id or None}:
            run = run_of_record(record)
            return Status(state=run.state, runs=(run,), clock=Clock.of(detail, read.asked_at, read.came_at))
    if work.task_id is None:
        raise ValueError("an engine, a record or a task must be given")
    clocks: list[Clock | None] = []
    pages = _Pages(client, work.project_id, {"script_task_id": work.task_id})
    records = yield from _records(pages, tries, clocks)
    runs = tuple(map(run_of_record, records))
    state = of_all(runs) if pages.is_whole else "unknown"
    return Status(state=state, runs=runs, clock=all_clocks(clocks), is_whole=pages.is_whole)


def _job(client: Client, work: RetryTarget, job_id: int | str | None, tries: int) -> Steps[Status]:
    where = (work.project_id, work.engine_id)
    more: dict[str, Any] = {"x_enterprise_project_id": work.enterprise_project_id or UNSET}
    can_retry = True
    if job_id is None:
        engine: Engine = (yield from _result(Read(client, show_engine, *where, **more), tries)).result()
        actions = engine.engine_additional_actions
        can_retry = not isinstance(actions, list) or "Retry" in actions
        if engine.id != work.engine_id or not isinstance(engine.latest_job_id, int):
            return Status(state="unknown", runs=())
        job_id = engine.latest_job_id
    read = Read(client, show_engine_job, *where, str(job_id), **more)
    response = yield from _result(read, tries)
    run = run_of_job(response.result(), can_retry=can_retry)
    if run.name != f"job {job_id}":
        return Status(state="unknown", runs=())
    return Status(state=run.state, runs=(run,), clock=Clock.of(response, read.asked_at, read.came_at))


def _records(
    pages: _Pages, tries: int = _FAILED_READS + 1, clocks: list[Clock | None] | None = None
) -> Steps[list[ScriptRecord]]:
    found: list[ScriptRecord] = []
    while (read := pages.next()) is not None:
        response = yield from _result(read, tries)
        found += pages.take(response.result())
        if clocks is not None:
            clocks.append(Clock.of(response, read.asked_at, read.came_at))
    return found


def _result(read: Read, tries: int) -> Steps[Response[Any]]:
    """Read, and repeat after temporary failures. A 429 is not counted as one, but waited for only so long."""
    backoff, waited, failures = 2.0, 0.0, 0
    while True:
        try:
            response: Response[Any] = yield read
            if response.error is None:
                return response
            raise response.error
        except APIError as error:
            failures += tries == 1 or not isinstance(error, RateLimitError)
            pause = max(backoff, getattr(error, "retry_after", None) or 0.0)
            waited += pause
            if failures >= tries or waited > _MAX_THROTTLED or not _is_temporary(error):
                raise
        yield pause
        backoff = min(backoff * 2, _MAX_INTERVAL)


def _is_temporary(error: APIError) -> bool:
    """Return whether a read that failed may succeed a little later."""
    if isinstance(error, APIStatusError):
        return error.status_code >= 500 or isinstance(error, RateLimitError)  # noqa: PLR2004 - of HTTP
    return True


class _Pages:
    """The pages of a list. If the list changes while it is read, reads it again until nothing is new.

    Also ends if the server ignores `offset`.
    """

    def __init__(self, client: Client, project_id: str, filters: dict[str, Any]) -> None:
        self._client, self._project_id = client, project_id
        self._filters: dict[str, Any] = {"limit": _PAGE, **filters}
        self._start: int = self._filters.pop("offset", 0)
        self._seen: set[str] = set()
        self._is_last = False
        self.is_whole = False  # all records were seen
        self._begin()

    def _begin(self) -> None:
        self._offset = self._start
        self._listed: set[str] = set()  # since the start
        self._counts: set[int] = set()
        self._has_new = False

    def next(self) -> Read | None:
        if self._is_last:
            return None
        return Read(self._client, list_script_records, self._project_id, offset=self._offset, **self._filters)

    def take(self, page: ScriptRecordPage) -> list[ScriptRecord]:
        """Return the new records of a page."""
        records = {record.id: record for record in page.script_records}
        new = [record for id_, record in records.items() if id_ not in self._seen]
        self._has_new = self._has_new or bool(new)
        self._seen |= records.keys()
        self._counts.add(page.count)
        self._offset += len(page.script_records)
        if self._offset >= page.count or records.keys() <= self._listed:
            is_whole = len(self._counts) == 1 and self._start + len(self._seen) >= page.count
            self._is_last = is_whole or not self._has_new or len(self._seen) > _MAX_RECORDS
            self.is_whole = is_whole
            self._begin()
        else:
            self._listed |= records.keys()
        return new
