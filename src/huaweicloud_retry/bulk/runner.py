"""Sends many retries concurrently, and keeps the journal.

            ┌─ journal writer ─┐               ┌─ journal writer ─┐
planned ──► │ writes `sending` │ ──► workers ─►│ writes outcomes  │ ──► the caller
            └──────────────────┘               └──────────────────┘

The writer admits items as fast as the rate limiter allows, one more than each worker needs, so that no worker
waits for the disk. One fsync covers all writes that are due.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import httpx

from huaweicloud_retry.connection import connect
from huaweicloud_retry.endpoints import find_region
from huaweicloud_retry.runtime.errors import ConfigurationError
from huaweicloud_retry.runtime.resend import Resend

from .items import Item, Outcome
from .journal import Counts, Journal, Plan, Planned
from .journal_file import JournalError
from .rate_limiter import RateLimiter
from .workers import Breaker, Place, Result, Stop, Workers

if TYPE_CHECKING:
    from huaweicloud_retry_client import Client

_RESEND: Final = Resend(max_attempts=5)
_GATHER: Final = 0.005  # seconds to collect writes, since each thread switch and fsync costs time
_UNREAD: Final = 1000  # outcomes that the caller has not read; with more, sending pauses

_Thread: TypeAlias = Callable[..., Awaitable[Any]]
"""Runs a function in the one thread that may use the journal."""


class Bulk:
    """Send many retries. Iterate for the outcomes. For one run, in one event loop.

        async for outcome in Bulk(items, journal=Path("items.journal")): ...

    Each request is written to the journal before it is sent, each outcome before it is yielded. After a
    crash, run the same items with the same journal: accepted items are not resent, and items in flight, or
    about to be sent, are `unknown`. New items are added to the journal; items that are no longer
    in the input stay there unchanged. The order of items does not matter, and duplicates are sent once. Items
    are read one at a time, so a generator of any length works; if it raises an exception, the iteration
    raises it, and nothing is sent.

    The first request is sent alone, since five wrong signatures lock an access key. The run halts at a 401,
    if the service cannot be reached, and if something fails before a request is sent, such as a token
    function; `halted` explains why. If the service was not reached, or throttled all attempts, the outcome is
    `refused`, but the item stays planned: the next run sends it.

    Args:
        items: All items.
        journal: The journal file; None: the outcomes are lost when the process ends.
        concurrency: Requests at the same time.
        rate: Requests a second, for all workers; None: no limit. A 429 halves it; it recovers within ten
            seconds.
        retry_refused: Resend items that an earlier run with this journal reported as refused.
        resend_unknown: Resend items that are unknown from an earlier run. **They may run twice.**
        grace: Seconds that requests in flight get after `stop`.
        resend: Policy for resends within this run: only requests that were not processed.
        region: For items without one; default: the region of the environment.
        endpoint: As in `connect`, like the next three. A journal is for one endpoint and one region.
        credentials: For all services and regions.
        timeout: Seconds.
        allow_http: Accept an endpoint that is neither https nor on this machine.
        input_name: Name of the input file, for reports of the journal.

    Attributes:
        on_attempt: Called before a resend with the item, the number of the failed attempt, the reason, and
            the backoff in seconds.
        plan: What the run will send; None until the input was read.

    Raises:
        ValueError: concurrency, rate or grace is invalid.
    """

    def __init__(  # noqa: PLR0913 - all are options
        self,
        items: Iterable[Item],
        *,
        journal: Path | None = None,
        concurrency: int = 32,
        rate: float | None = 100.0,
        retry_refused: bool = False,
        resend_unknown: bool = False,
        grace: float = 60.0,
        resend: Resend | None = _RESEND,
        region: str | None = None,
        endpoint: str | None = None,
        credentials: httpx.Auth | None = None,
        timeout: float | httpx.Timeout | None = None,
        allow_http: bool = False,
        input_name: str | None = None,
    ) -> None:
        if concurrency < 1 or (rate is not None and not rate > 0) or grace < 0:
            raise ValueError("concurrency must be 1 or more, rate above 0, grace 0 or more seconds")
        self.on_attempt: Callable[[Item, int, str, float], None] | None = None
        self.plan: Plan | None = None
        self._items = items
        self._journal = journal
        self._input_name = input_name
        self._resends = {"retry_refused": retry_refused, "resend_unknown": resend_unknown}
        self._places = Places(
            region, endpoint=endpoint, credentials=credentials, timeout=timeout, allow_http=allow_http
        )
        self._concurrency = concurrency
        self._resend = resend
        self._limiter = RateLimiter(rate, time.monotonic())
        self._stop = Stop(grace)
        self._breaker = Breaker(concurrency, self._stop)
        self._writer: _Writer | None = None
        self._has_begun = False

    @property
    def counts(self) -> Counts:
        """Current number of items of the input by state."""
        return Counts() if self._writer is None else self._writer.counts

    @property
    def halted(self) -> str | None:
        """Why the run ended early by itself, in one line."""
        return self._breaker.halted

    @property
    def rate(self) -> float:
        """Requests a second that are allowed now."""
        return self._limiter.rate(time.monotonic())

    def stop(self) -> None:
        """Send nothing more. The iteration ends when the requests in flight are done, or after `grace`."""
        self._stop.set()
        self._wake()

    def abort(self) -> None:
        """End at once. The requests in flight are recorded as unknown."""
        self._stop.set(at_once=True)
        self._wake()

    def _wake(self) -> None:
        if self._writer is not None:
            self._writer.wake()

    async def __aiter__(self) -> AsyncGenerator[Outcome, None]:
        """Yield the outcomes of this run as they arrive.

        Raises:
            JournalError: The journal cannot be used, or can no longer be written. In the second case sending
                stopped, and `unwritten` of the error has the outcomes that the journal lacks.
            ConfigurationError: As in `connect`, for the region of an item. Nothing was sent.
        """
        if self._has_begun:
            raise RuntimeError("a Bulk is for one run: create another")
        self._has_begun = True
        outcomes = _Outcomes()
        # A separate task, so that the run completes even if the caller stops iterating.
        run = asyncio.create_task(self._run(outcomes))
        try:
            while (outcome := await outcomes.get()) is not None:
                yield outcome
            await run
        finally:
            outcomes.is_read = False
            if not run.done():
                self.abort()
                await asyncio.wait([run])

    async def _run(self, outcomes: "_Outcomes") -> None:
        try:
            with ThreadPoolExecutor(1, "huaweicloud-retry-journal") as executor:
                thread = partial(self._in_thread, executor)
                journal = await thread(Journal, self._journal)
                try:
                    await self._send_all(journal, thread, outcomes)
                finally:
                    await thread(journal.close)
        finally:
            outcomes.end()

    async def _in_thread(self, executor: ThreadPoolExecutor, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function of the journal to its end. A cancellation meanwhile acts as `abort`."""
        future = asyncio.get_running_loop().run_in_executor(executor, function, *args)
        while not future.done():
            try:
                await asyncio.wait([future])
            # A thread cannot be cancelled, and the result of its write is needed.
            except asyncio.CancelledError:
                self._stop.set(at_once=True)
        return future.result()

    async def _send_all(self, journal: Journal, thread: _Thread, outcomes: "_Outcomes") -> None:
        items, places = self._places.place(self._items), self._places
        async with aclosing(places):
            plan = await thread(
                partial(journal.plan, items, places.target, places.urls, input_name=self._input_name)
            )
            workers = Workers(
                places.clients,
                limiter=self._limiter,
                resend=self._resend,
                stop=self._stop,
                breaker=self._breaker,
                on_attempt=self.on_attempt,
            )
            writer = _Writer(journal, thread, workers, outcomes, concurrency=self._concurrency)
            writer.counts = await thread(partial(journal.begin, **self._resends))
            self.plan, self._writer = plan._replace(to_send=writer.counts.planned), writer
            await writer.run(self._limiter, self._stop, self._breaker)
            writer.counts = await thread(journal.counts)


class Places:
    """A client for each service and region of the items.

    Args:
        region: For items without one; default: the region of the environment.
        settings: Arguments of `connect`.

    Attributes:
        clients: By service and region. They do not resend.
    """

    def __init__(self, region: str | None, **settings: Any) -> None:
        self.clients: dict[Place, Client] = {}
        self._given = region
        self._region = find_region(region, os.environ)
        self._settings = settings
        self._has_default = False

    def place(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items with their regions, and create the client of each.

        Raises:
            ConfigurationError: As in `connect`.
        """
        for item in items:
            placed = item
            if not item.region:
                self._has_default = True
                # The journal has to record the region: in another one, the item is different work.
                placed = item.in_region(self._region) if self._region else item
            if (placed.service, placed.region) not in self.clients:
                self._connect(item, placed.region)
            yield placed

    def _connect(self, first: Item, region: str | None) -> None:
        settings: dict[str, Any] = {**self._settings, "resend": None}
        # Without a region, connect() reads the environment again, and its errors name the variable.
        settings["region"] = first.region or self._given
        try:
            self.clients[first.service, region] = connect(first.service, **settings)
        except ConfigurationError as error:
            if not first.region:
                raise
            raise ConfigurationError(str(error).replace("(region=)", f"(of {first.name})")) from error

    def target(self, item: Item) -> str:
        """Return the identity of an item: the work, and the URL."""
        return f"{self.clients[item.service, item.region].base_url}\n{item.target}"

    def urls(self) -> dict[str, str]:
        """Return the URL of each client, and the region of items without one."""
        urls: dict[str, str] = {}
        for (service, region), client in sorted(self.clients.items(), key=str):
            urls[f"{service} in {region}" if region else service] = client.base_url
        if self._has_default:
            urls["items without a region"] = self._region or "no region"
        return urls

    async def aclose(self) -> None:
        """Close the clients."""
        for client in self.clients.values():
            await client.aclose()


class _Outcomes:
    """A bounded queue of outcomes for the caller."""

    def __init__(self) -> None:
        self.is_read = True
        self._queue: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_UNREAD)

    async def put(self, outcome: Outcome, stop: Stop) -> None:
        """Add an outcome; wait for room, unless the run is ending."""
        if self.is_read:
            if not stop.is_set:
                await self._room.acquire()
            self._queue.put_nowait(outcome)

    async def get(self) -> Outcome | None:
        """Return the next outcome; None: there are no more."""
        outcome = await self._queue.get()
        self._room.release()
        return outcome

    def wake(self) -> None:
        """Let `put` continue: a slow caller does not delay the end of the run."""
        self._room.release()

    def end(self) -> None:
        """Mark the end of the outcomes."""
        self._queue.put_nowait(None)


class _Writer:
    """Writes the journal, and admits items to the workers."""

    def __init__(
        self, journal: Journal, thread: _Thread, workers: Workers, outcomes: _Outcomes, *, concurrency: int
    ) -> None:
        self.counts = Counts()
        self._journal = journal
        self._thread = thread
        self._workers = workers
        self._outcomes = outcomes
        self._concurrency = concurrency
        self._planned: deque[Planned] = deque()  # the next items
        self._last = 0  # number of the last planned item that was read
        self._is_exhausted = False  # the journal has no more planned items
        self._sending: dict[int, Item] = {}  # written as `sending`, outcome not written yet

    def wake(self) -> None:
        """Check now whether the run is ending."""
        self._workers.changed.set()
        self._outcomes.wake()

    async def run(self, limiter: RateLimiter, stop: Stop, breaker: Breaker) -> None:
        """Send all items, and write their outcomes."""
        number = min(self._concurrency, self.counts.planned)
        tasks = [asyncio.create_task(self._workers.work()) for _ in range(number)]
        for task in tasks:
            task.add_done_callback(lambda _: self._workers.changed.set())
        try:
            while self._has_work(stop) and stop.seconds_left() != 0:
                if not (self._planned or self._is_exhausted):
                    await self._refill()
                room = self._room(breaker)
                await self._write(self._admit(room, limiter, stop), stop)
                if self._has_work(stop):
                    can_admit = self._planned and self._room(breaker) > 0
                    await self._wait(tasks, limiter.wait(time.monotonic()) if can_admit else None, stop)
                    await asyncio.sleep(_GATHER)
        except JournalError:
            stop.set()
            while self._workers.in_flight and stop.seconds_left() != 0:
                await self._wait(tasks, None, stop)
            raise
        finally:
            await self._cancel_workers(tasks)
            await self._write_last(stop)

    def _has_work(self, stop: Stop) -> bool:
        return bool(self._sending or (not stop.is_set and (self._planned or not self._is_exhausted)))

    async def _refill(self) -> None:
        self._planned.extend(await self._thread(self._journal.planned, self._last))
        self._is_exhausted = not self._planned
        self._last = self._planned[-1].number if self._planned else self._last

    def _room(self, breaker: Breaker) -> int:
        """Return how many more items may be queued or in flight."""
        # Only one until the credentials are proven.
        most = 2 * self._concurrency if breaker.is_proven else 1
        return most - len(self._sending) + len(self._workers.results)

    def _admit(self, room: int, limiter: RateLimiter, stop: Stop) -> list[Planned]:
        """Return the next items that may be sent now."""
        wanted = min(room, len(self._planned))
        if wanted <= 0 or stop.is_set:
            return []
        return [self._planned.popleft() for _ in range(limiter.take(wanted, time.monotonic()))]

    async def _write(self, admitted: list[Planned], stop: Stop) -> None:
        """Write results and admitted items to the journal; then send the items, and report the results."""
        results = self._workers.results
        if not (results or admitted):
            return
        self._workers.results = []
        await self._write_journal(results, admitted)
        for each in admitted:
            self._workers.queue.put_nowait(each)
        for result in results:
            if result.outcome is not None:
                await self._outcomes.put(result.outcome, stop)

    async def _write_journal(self, results: list[Result], admitted: list[Planned]) -> None:
        numbers = [each.number for each in admitted]
        outcomes = [
            (each.number, each.outcome) for each in results if each.outcome and not each.stays_planned
        ]
        unsent = [each.number for each in results if not each.outcome or each.stays_planned]
        self._sending.update((each.number, each.item) for each in admitted)
        try:
            await self._thread(self._journal.write, numbers, outcomes, unsent, self._workers.clock)
        except BaseException:
            # `_write_last` tries once more, and lists the outcomes in `unwritten` if it fails, too.
            self._workers.results = [*results, *map(Result, numbers), *self._workers.results]
            raise
        for result in results:
            del self._sending[result.number]
        counts = self.counts._asdict()
        counts["planned"] += len(unsent) - len(admitted)
        counts["sending"] += len(admitted) - len(results)
        for _, outcome in outcomes:
            counts[outcome.verdict] += 1
        self.counts = Counts(**counts)

    async def _wait(self, tasks: list[asyncio.Task[None]], wait: float | None, stop: Stop) -> None:
        """Wait for a result, for the rate limiter, or for the end of the grace period."""
        left = stop.seconds_left()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait if left is None else left):
                await self._workers.changed.wait()
        self._workers.changed.clear()
        for task in tasks:
            if task.done():
                task.result()  # raises: workers end only with an exception

    async def _cancel_workers(self, tasks: list[asyncio.Task[None]]) -> None:
        """Cancel the workers, and add the results of their items."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        known = {result.number for result in self._workers.results}
        for number, item in self._sending.items():
            if number not in known:
                self._workers.results.append(self._workers.aborted(number, item))

    async def _write_last(self, stop: Stop) -> None:
        try:
            await self._write([], stop)
        except JournalError as error:
            error.unwritten = tuple(result.outcome for result in self._workers.results if result.outcome)
            raise
