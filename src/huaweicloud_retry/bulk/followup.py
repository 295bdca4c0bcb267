"""After a bulk: settle what is unknown, and wait until what was accepted has ended. Sends nothing that acts."""

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
from .journal_file import JournalError, Row
from .rate_limiter import RateLimiter
from .runner import Places

_BACKOFF: Final = 2.0  # seconds, Huawei Cloud's advice for a 429
_LONGEST_BACKOFF: Final = 120.0
_FIRST_PAUSE: Final = 2.0  # seconds, of waiting
_LONGEST_PAUSE: Final = 30.0
_GROWTH: Final = 1.5
_AT_ONCE: Final = 1000  # items that are followed at the same time

_NO_CLOCK: Final = (
    "by which clock it was sent is not known: no response came in that run, and this machine's clock was set since, or it "
    "was started again, or is another one"
)

_Thread: TypeAlias = Callable[..., Awaitable[Any]]
"""Runs a function in the one thread that may use the journal."""


class Followup:
    """Look at the items of a journal; iterate over it for what is found, which the journal has by then. For one use.

        async for outcome in Followup(Path("engines.journal"), resolve=True, region="cn-north-4"): ...

    Each outcome says in `seen` what the service showed. What was unknown is then `accepted`, and never sent again; or
    `refused`, since it was not run, and planned: the next `Bulk` with this journal sends it; or still `unknown`. What was
    accepted says in `ended` what became of it. A `Bulk` cannot use the journal at the same time.

    Args:
        journal: Of a `Bulk`.
        resolve: Settle what is unknown, as `huaweicloud_retry.follow.resolve` does.
        wait: Wait until all that was accepted has ended.
        wait_timeout: Seconds to wait, for all together.
        settle: Seconds after a request was lost in which the service may still begin; before, nothing is said to be not run.
        concurrency: Reads at the same time.
        rate: Reads a second; None: no limit.
        region: As of `Bulk`, and so are the rest. They must lead to where the bulk was sent.
        endpoint: See there.
        credentials: See there.
        timeout: Seconds, of each read.
        allow_http: See there.

    Attributes:
        counts: How many items of the journal are in which state.
        found: How many were found `accepted`, `refused` (not run), `unknown`, `succeeded`, `failed` or `running`.
        ended: At the end, of all that were accepted, how many succeeded, failed or still run.
        left: How many are yet to be looked at.
        halted: Why it ended before all were looked at, in one line; or None.
    """

    def __init__(  # noqa: PLR0913 - what there is to choose
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
        """Yield what is found, in the order in which it is found.

        Raises:
            JournalError: The journal cannot be used, or not be written any more.
            ConfigurationError: As of `connect`.
        """
        with ThreadPoolExecutor(1, "huaweicloud-retry-journal") as executor:

            async def thread(function: Callable[..., Any], *args: Any) -> Any:
                return await asyncio.get_running_loop().run_in_executor(executor, partial(function, *args))

            if not self._file.is_file():  # or it would be made
                raise JournalError(
                    f"{self._file} is {'no file' if self._file.exists() else 'not there'}: name a bulk's journal"
                )
            journal: Journal = await thread(Journal, self._file)
            try:
                async with aclosing(self._places):
                    await thread(journal.take_up, self._connected)
                    self.counts = await thread(journal.counts)
                    if self._is_resolving:
                        resolving = _Resolving(self._settle, time.time(), journal)
                        async with aclosing(self._all(resolving, journal, thread)) as found:
                            async for each in found:
                                yield each
                    if self._is_waiting and self.halted is None:
                        async with aclosing(self._waited(journal, thread)) as found:
                            async for each in found:
                                yield each
                    self.counts, self.ended = await thread(journal.counts), await thread(journal.ended)
            finally:
                await thread(journal.close)

    def _connected(self, items: Iterable[Item]) -> Mapping[str, str]:
        for _ in self._places.of(items):
            pass
        return self._places.urls()

    @asynccontextmanager
    async def _admitted(self, read: Read) -> AsyncGenerator[None, None]:
        async with self._slots:
            while not self._limiter.take(1, time.monotonic()):  # noqa: ASYNC110 - only time changes it
                await asyncio.sleep(self._limiter.wait(time.monotonic()))
            yield
            error = read.error
            if isinstance(error, RateLimitError):
                self._limiter.slow_down(
                    min(error.retry_after or _BACKOFF, _LONGEST_BACKOFF), time.monotonic()
                )

    async def _all(self, phase: "_Phase", journal: Journal, thread: _Thread) -> AsyncGenerator[Outcome, None]:
        """Follow all items of a phase, so many at a time, and write what is found."""
        self.counts, self.left = await thread(journal.counts), await thread(journal.count, phase.which)
        tasks: dict[asyncio.Task[Any], Row] = {}
        rows = deque[Row](await thread(journal.next, phase.which, 0))
        try:
            if rows:
                await self._check_credentials(rows[0].item())
            while rows or tasks:
                while rows and len(tasks) < _AT_ONCE:
                    row = rows.popleft()
                    rows.extend(() if rows else await thread(journal.next, phase.which, row.number))
                    tasks[asyncio.create_task(self._followed(phase, row))] = row
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                found = [(tasks.pop(task), task.result()) for task in done]
                await thread(journal.settle, found)
                self.left -= len(found)
                for before, row in found:
                    is_not_run = row.state == "planned"
                    shown = (
                        before._replace(state="refused", message=row.seen, seen=row.seen)
                        if is_not_run
                        else row
                    )
                    outcome = shown.outcome()
                    if outcome.ended != "running":
                        self._count(outcome)
                    yield outcome
        except (AuthenticationError, IAMError) as error:
            self.halted = f"authentication failed: {error}"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _waited(self, journal: Journal, thread: _Thread) -> AsyncGenerator[Outcome, None]:
        """Look at all that have not ended, again and again, less and less often, until the time is over."""
        ends_at, pause, left = time.monotonic() + self._wait_timeout, _FIRST_PAUSE, 0.0
        while True:
            async with aclosing(self._all(_Looking(journal), journal, thread)) as found:
                async for outcome in found:
                    if outcome.ended != "running":
                        yield outcome
            self.left, left = await thread(journal.count, "running"), ends_at - time.monotonic()
            if not self.left or left <= 0 or self.halted is not None:
                break
            await asyncio.sleep(min(pause, left))
            pause = min(pause * _GROWTH, _LONGEST_PAUSE)
        last = 0
        while rows := await thread(journal.next, "running", last):
            for row in rows:
                self._count(outcome := row.outcome())
                yield outcome
            last = rows[-1].number

    def _count(self, outcome: Outcome) -> None:
        self.found[outcome.ended or outcome.verdict] += 1

    async def _check_credentials(self, item: Item) -> None:
        """Read once, alone: five wrong signatures lock an access key."""
        try:
            await drive(look.steps(self._places.clients[item.service, item.region], item), self._admitted)
        except (AuthenticationError, IAMError):
            raise
        except APIError:
            pass  # of the item

    async def _followed(self, phase: "_Phase", row: Row) -> Row:
        item = row.item()
        steps = phase.steps(self._places.clients[item.service, item.region], item, row)
        return await drive(steps, self._admitted)


class _Phase(Protocol):
    """What is done with rows of the journal."""

    which: Which

    def steps(self, client: Client, item: Item, row: Row) -> Steps[Row]:
        """Look at an item; returns the row as it is then."""
        ...


class _Resolving:
    """Settles what is unknown."""

    which: Which = "unknown"

    def __init__(self, settle: float, opened_at: float, journal: Journal) -> None:
        self._settle, self._opened_at, self._journal = settle, opened_at, journal

    def steps(self, client: Client, item: Item, row: Row) -> Steps[Row]:
        """Resolve it."""
        clock = self._journal.clock_of(row)
        is_current = clock is not None and clock.is_current()
        if row.started_at is None or clock is None or not (is_current or clock.server):
            return row._replace(seen=_NO_CLOCK)
        # How long ago a run ended that was killed, or had another clock, is not known.
        lost_at = row.started_at + row.seconds if is_current and row.seconds is not None else self._opened_at
        try:
            found = yield from resolve.steps(
                client, item, row.started_at, lost_at=lost_at, settle=self._settle, clock=clock.server
            )
        except PermissionDeniedError as error:
            return row._replace(seen=f"the state cannot be read: {error}")
        if found.verdict == "accepted":
            return row._replace(state="accepted", may_have_run=0, message=found.evidence, seen=found.evidence)
        return (
            row.planned(found.evidence) if found.verdict == "not run" else row._replace(seen=found.evidence)
        )


class _Looking:
    """Looks once whether what was accepted has ended."""

    which: Which = "running"

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def steps(self, client: Client, item: Item, row: Row) -> Steps[Row]:
        """Look at it."""
        body: dict[str, Any] = json.loads(row.response or "{}")
        clock = self._journal.clock_of(row)
        how: dict[str, Any] = {"timeout": 0}
        if clock is not None and (clock.is_current() or clock.server):
            how |= {"sent_at": row.started_at, "clock": clock.server}
        try:
            if item.engine_id is not None:
                how["enterprise_project_id"] = item.enterprise_project_id
                status = yield from wait_for_job.steps(
                    client, item.project_id, item.engine_id, body.get("jobId"), **how
                )
            else:
                task_id = body.get("task_id") or item.task_id
                status = yield from wait_for_script.steps(
                    client, item.project_id, record_id=item.record_id, task_id=task_id, **how
                )
        except (AuthenticationError, IAMError):
            raise
        except APIError as error:
            return row._replace(seen=f"the state cannot be read: {error}", ended="running")
        return row._replace(seen=status.text, ended="running" if status.state == "unknown" else status.state)
