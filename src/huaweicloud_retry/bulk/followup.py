"""After a bulk: resolve unknown outcomes, and wait until accepted work has ended. Only reads."""

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import httpx

from huaweicloud_retry.follow import SETTLE, Read, Steps, drive, look, resolve, wait_for_job, wait_for_script
from huaweicloud_retry.runs import Status
from huaweicloud_retry.runtime.errors import (
    APIError,
    AuthenticationError,
    IAMError,
    PermissionDeniedError,
    RateLimitError,
)
from huaweicloud_retry_client import Client

from .items import Item, Outcome
from .journal import Counts, Journal, Which
from .journal_file import Row, check_is_file
from .rate_limiter import RateLimiter
from .runner import Places

_BACKOFF: Final = 2.0  # seconds, Huawei Cloud's advice for a 429
_LONGEST_BACKOFF: Final = 120.0
_FIRST_PAUSE: Final = 2.0  # seconds between two rounds of polling
_LONGEST_PAUSE: Final = 30.0
_GROWTH: Final = 1.5
_AT_ONCE: Final = 1000  # items that are followed at the same time

_NO_CLOCK: Final = (
    "the clock of that run is not known: no response came, and since then this machine's clock was set, "
    "or it was restarted, or this is another machine"
)

_Thread: TypeAlias = Callable[..., Awaitable[Any]]
"""Runs a function in the one thread that may use the journal."""


class Followup:
    """Query the service for the items of a journal. Iterate for the outcomes; each is written to the journal.

        async for outcome in Followup(Path("engines.journal"), resolve=True, region="cn-north-4"): ...

    `seen` of an outcome is what the service showed. An unknown item becomes `accepted`, and is never resent;
    or `refused`: it was not run, and the next `Bulk` with this journal sends it; or it stays `unknown`.
    `ended` of an accepted item is how its work ended. For one use, and not while a `Bulk` uses the journal.

    Args:
        journal: The journal of a `Bulk`.
        resolve: Resolve unknown outcomes, as `huaweicloud_retry.follow.resolve` does.
        wait: Wait until all accepted work has ended.
        wait_timeout: Seconds to wait, for all items together.
        settle: Seconds that a lost request may still take to start its work; `not run` is reported only
            later.
        concurrency: Reads at the same time.
        rate: Reads a second; None: no limit.
        region: As in `Bulk`. The URLs must be those that the bulk was sent to.
        endpoint: As in `Bulk`.
        credentials: As in `Bulk`.
        timeout: Seconds for each read.
        allow_http: As in `Bulk`.

    Attributes:
        counts: Number of items of the journal by state.
        found: Number of outcomes so far: `accepted`, `refused` (not run), `unknown`, `succeeded`, `failed`,
            `running`.
        ended: At the end: how many accepted items succeeded, failed or still run.
        left: Number of items not yet queried.
        halted: Why it ended early, in one line; or None.
    """

    def __init__(  # noqa: PLR0913 - all are options
        self,
        journal: Path,
        *,
        resolve: bool = False,
        wait: bool = False,
        wait_timeout: float = 3600.0,
        settle: float = SETTLE,
        concurrency: int = 32,
        rate: float | None = 100.0,
        region: str | None = None,
        endpoint: str | None = None,
        credentials: httpx.Auth | None = None,
        timeout: float | httpx.Timeout | None = None,
        allow_http: bool = False,
    ) -> None:
        self.counts = Counts()
        self.found: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.left = 0
        self.halted: str | None = None
        self._file = journal
        self._is_resolving, self._is_waiting = resolve, wait
        self._wait_timeout, self._settle = wait_timeout, settle
        self._slots = asyncio.Semaphore(concurrency)
        self._limiter = RateLimiter(rate, time.monotonic())
        self._places = Places(
            region, endpoint=endpoint, credentials=credentials, timeout=timeout, allow_http=allow_http
        )

    async def __aiter__(self) -> AsyncGenerator[Outcome, None]:
        """Yield the outcomes in the order in which they are found.

        Raises:
            JournalError: The journal cannot be used, or can no longer be written.
            ConfigurationError: As in `connect`.
        """
        check_is_file(self._file)  # `Journal` would create it
        with ThreadPoolExecutor(1, "huaweicloud-retry-journal") as executor:

            async def thread(function: Callable[..., Any], *args: Any) -> Any:
                return await asyncio.get_running_loop().run_in_executor(executor, partial(function, *args))

            journal: Journal = await thread(Journal, self._file)
            try:
                async with aclosing(self._places):
                    await thread(journal.select_all, self._connect)
                    self.counts = await thread(journal.counts)
                    if self._is_resolving:
                        resolving = _Resolving(self._settle, time.time(), journal)
                        async with aclosing(self._run_phase(resolving, journal, thread)) as found:
                            async for each in found:
                                yield each
                    if self._is_waiting and self.halted is None:
                        async with aclosing(self._wait(journal, thread)) as found:
                            async for each in found:
                                yield each
                    self.counts, self.ended = await thread(journal.counts), await thread(journal.ended)
            finally:
                await thread(journal.close)

    def _connect(self, items: Iterable[Item]) -> Mapping[str, str]:
        for _ in self._places.place(items):
            pass
        return self._places.urls()

    @asynccontextmanager
    async def _slot(self, read: Read) -> AsyncGenerator[None, None]:
        """Hold a slot for one read, within concurrency and rate."""
        async with self._slots:
            while not self._limiter.take(1, time.monotonic()):  # noqa: ASYNC110 - only time changes it
                await asyncio.sleep(self._limiter.wait(time.monotonic()))
            yield
            error = read.error
            if isinstance(error, RateLimitError):
                backoff = min(error.retry_after or _BACKOFF, _LONGEST_BACKOFF)
                self._limiter.slow_down(backoff, time.monotonic())

    async def _run_phase(
        self, phase: "_Phase", journal: Journal, thread: _Thread
    ) -> AsyncGenerator[Outcome, None]:
        """Query all items of a phase concurrently, and write the outcomes."""
        self.counts, self.left = await thread(journal.counts), await thread(journal.count, phase.which)
        tasks: dict[asyncio.Task[Any], Row] = {}
        rows = deque[Row](await thread(journal.next_rows, phase.which, 0))
        try:
            if rows:
                await self._check_credentials(rows[0].item())
            while rows or tasks:
                while rows and len(tasks) < _AT_ONCE:
                    row = rows.popleft()
                    rows.extend(() if rows else await thread(journal.next_rows, phase.which, row.number))
                    tasks[asyncio.create_task(self._query(phase, row))] = row
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                found = [(tasks.pop(task), task.result()) for task in done]
                await thread(journal.update, found)
                self.left -= len(found)
                for before, row in found:
                    if row.state == "planned":  # it was not run
                        outcome = before._replace(state="refused", message=row.seen, seen=row.seen).outcome()
                    else:
                        outcome = row.outcome()
                    if outcome.ended != "running":
                        self._count(outcome)
                    yield outcome
        except (AuthenticationError, IAMError) as error:
            self.halted = f"authentication failed: {error}"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self, journal: Journal, thread: _Thread) -> AsyncGenerator[Outcome, None]:
        """Poll all items that have not ended, with growing pauses, until the timeout."""
        ends_at, pause, left = time.monotonic() + self._wait_timeout, _FIRST_PAUSE, 0.0
        while True:
            async with aclosing(self._run_phase(_Polling(journal), journal, thread)) as found:
                async for outcome in found:
                    if outcome.ended != "running":
                        yield outcome
            self.left, left = await thread(journal.count, "running"), ends_at - time.monotonic()
            if not self.left or left <= 0 or self.halted is not None:
                break
            await asyncio.sleep(min(pause, left))
            pause = min(pause * _GROWTH, _LONGEST_PAUSE)
        last = 0
        while rows := await thread(journal.next_rows, "running", last):
            for row in rows:
                self._count(outcome := row.outcome())
                yield outcome
            last = rows[-1].number

    def _count(self, outcome: Outcome) -> None:
        self.found[outcome.ended or outcome.verdict] += 1

    async def _check_credentials(self, item: Item) -> None:
        """Send one read alone: five wrong signatures lock an access key."""
        try:
            await drive(look.steps(self._places.clients[item.service, item.region], item), self._slot)
        except (AuthenticationError, IAMError):
            raise
        except APIError:
            pass  # an error of the item, which `_query` reports

    async def _query(self, phase: "_Phase", row: Row) -> Row:
        item = row.item()
        steps = phase.steps(self._places.clients[item.service, item.region], item, row)
        return await drive(steps, self._slot)


def wait_steps(client: Client, item: Item, response: Mapping[str, Any], **how: Any) -> Steps[Status]:
    """Return the steps of waiting for an accepted item, as `wait_for_job` and `wait_for_script` take them."""
    if item.engine_id is not None:
        how["enterprise_project_id"] = item.enterprise_project_id
        return wait_for_job.steps(client, item.project_id, item.engine_id, response.get("jobId"), **how)
    task_id = response.get("task_id") or item.task_id
    return wait_for_script.steps(client, item.project_id, record_id=item.record_id, task_id=task_id, **how)


class _Phase(Protocol):
    """A query for some rows of the journal."""

    which: Which

    def steps(self, client: Client, item: Item, row: Row) -> Steps[Row]:
        """Query an item; returns the new row."""
        ...


class _Resolving:
    """Resolves unknown outcomes."""

    which: Which = "unknown"

    def __init__(self, settle: float, opened_at: float, journal: Journal) -> None:
        self._settle, self._opened_at, self._journal = settle, opened_at, journal

    def steps(self, client: Client, item: Item, row: Row) -> Steps[Row]:
        """Resolve an item."""
        clock = self._journal.clock_of(row)
        is_current = clock is not None and clock.is_current()
        if row.started_at is None or clock is None or not (is_current or clock.server):
            return row._replace(seen=_NO_CLOCK)
        lost_at = self._opened_at  # the latest possible time, for a killed run or another clock
        if is_current and row.seconds is not None:
            lost_at = row.started_at + row.seconds
        try:
            found = yield from resolve.steps(
                client, item, row.started_at, lost_at=lost_at, settle=self._settle, clock=clock.server
            )
        except PermissionDeniedError as error:
            return row._replace(seen=f"the state cannot be read: {error}")
        if found.verdict == "accepted":
            return row._replace(state="accepted", may_have_run=0, message=found.evidence, seen=found.evidence)
        if found.verdict == "not run":
            return row.as_planned(found.evidence)
        return row._replace(seen=found.evidence)


class _Polling:
    """Checks once whether accepted work has ended."""

    which: Which = "running"

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def steps(self, client: Client, item: Item, row: Row) -> Steps[Row]:
        """Query an item."""
        body: dict[str, Any] = json.loads(row.response or "{}")
        clock = self._journal.clock_of(row)
        how: dict[str, Any] = {"timeout": 0}
        if clock is not None and (clock.is_current() or clock.server):
            how |= {"sent_at": row.started_at, "clock": clock.server}
        try:
            status = yield from wait_steps(client, item, body, **how)
        except (AuthenticationError, IAMError):
            raise
        except APIError as error:
            return row._replace(seen=f"the state cannot be read: {error}", ended="running")
        return row._replace(seen=status.text, ended="running" if status.state == "unknown" else status.state)
