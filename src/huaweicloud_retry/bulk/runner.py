"""Many retries at once: what is sent when, and what is written to the journal in between.

            ┌──── the journal writer ─────┐               ┌── the journal writer ──┐
planned ──► │ sending, durable            │ ──► workers ─►│ outcome, durable       │ ──► the caller
            └─────────────────────────────┘               └────────────────────────┘

The writer admits items as fast as the rate limiter allows, one ahead of each worker, so that these do not wait for the
disk; what comes together is written in one fsync.
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
_GATHER: Final = (
    0.005  # seconds in which what happens is written together: a thread and an fsync have their price
)
_UNREAD: Final = 1000  # outcomes that wait for the caller; then no more is sent until they were taken

_Thread: TypeAlias = Callable[..., Awaitable[Any]]
"""Runs a function in the one thread that may use the journal."""


class Bulk:
    """Send many retries; iterate over it for the outcomes. For one run, in one event loop.

        async for outcome in Bulk(items, journal=Path("items.journal")): ...

    Each outcome is durable before it is given, and each item is in the journal before its request is sent: with a
    journal, the same items can be given again after a crash, and what was accepted is not sent again. An item in flight
    at the crash, or about to be, is `unknown`. Items that are new are added to the journal, those that are gone are left
    as they are there; the order does not matter. Of the same item given twice, one is sent. Items are read one after the
    other, so a generator of any length can be given; an exception that it raises comes out of the iteration, before
    anything is sent.

    The run begins with one request alone, since five wrong signatures lock an access key. It halts at a 401, when
    nothing can be reached, and when something fails before it is sent, such as a token function; `halted` then says
    why. If the service was not reached, or throttled all attempts, the outcome is `refused` and the item stays planned:
    the next run sends it.

    Args:
        items: All of them.
        journal: A file; None: nothing outlives the process.
        concurrency: Requests at the same time.
        rate: Requests a second, of all together; None: no limit. Halved at each 429, it comes back within ten seconds.
        retry_refused: Send again what an earlier run with this journal was refused.
        resend_unknown: Send again what is unknown from an earlier run. **It may run twice.**
        grace: Seconds that `stop` leaves to requests in flight.
        resend: What may be resent within this run, and when: only what was not processed.
        region: For items without one; by default that of the environment.
        endpoint: As of `connect`, and so are the next three. A journal is for one endpoint and one region.
        credentials: For all services and regions.
        timeout: Seconds.
        allow_http: Accept an endpoint that is neither https nor on this machine.
        input_name: Of the file that the items come from, for reports of the journal.

    Attributes:
        on_attempt: Called when an item is to be sent again: the item, the number of the attempt that failed, why, and
            the seconds to wait.

    Raises:
        ValueError: concurrency, rate or grace is invalid.
    """

    def __init__(  # noqa: PLR0913 - what there is to choose
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
        self._again = {"retry_refused": retry_refused, "resend_unknown": resend_unknown}
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
        """How many items of the input are in which state, at this moment."""
        return Counts() if self._writer is None else self._writer.counts

    @property
    def halted(self) -> str | None:
        """Why the run ended by itself before all was sent, in one line."""
        return self._breaker.halted

    @property
    def rate(self) -> float:
        """How many requests a second are allowed at this moment."""
        return self._limiter.rate(time.monotonic())

    def stop(self) -> None:
        """Send nothing more; the iteration ends when the requests in flight are done, or after `grace`."""
        self._stop.set()
        self._wake()

    def abort(self) -> None:
        """End at once; the requests in flight are unknown, and the journal says so."""
        self._stop.set(at_once=True)
        self._wake()

    def _wake(self) -> None:
        if self._writer is not None:
            self._writer.wake()

    async def __aiter__(self) -> AsyncGenerator[Outcome, None]:
        """Yield the outcomes of this run, in the order in which they come.

        Raises:
            JournalError: The journal cannot be used; or, later, cannot be written any more: then nothing more was sent,
                and `unwritten` of the error has the outcomes that the journal does not have.
            ConfigurationError: As of `connect`, for the region of an item. Nothing was sent.
        """
        if self._has_begun:
            raise RuntimeError("a Bulk is for one run: make another")
        self._has_begun = True
        outcomes = _Outcomes()
        run = asyncio.create_task(
            self._run(outcomes)
        )  # of its own: it has to come to its end even if nobody iterates
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
        """Run a function of the journal to its end. If it is cancelled before, the run ends in order, as by `abort`."""
        future = asyncio.get_running_loop().run_in_executor(executor, function, *args)
        while not future.done():
            try:
                await asyncio.wait([future])
            # The thread goes on all the same, and what it wrote has to be known.
            except asyncio.CancelledError:
                self._stop.set(at_once=True)
        return future.result()

    async def _send_all(self, journal: Journal, thread: _Thread, outcomes: "_Outcomes") -> None:
        items, places = self._places.of(self._items), self._places
        async with aclosing(self._places):
            plan = await thread(
                partial(journal.plan, items, places.target, places.urls, input_name=self._input_name)
            )
            workers = Workers(
                self._places.clients,
                limiter=self._limiter,
                resend=self._resend,
                stop=self._stop,
                breaker=self._breaker,
                on_attempt=self.on_attempt,
            )
            writer = _Writer(journal, thread, workers, outcomes, concurrency=self._concurrency)
            writer.counts = await thread(partial(journal.begin, **self._again))
            self.plan, self._writer = plan._replace(to_send=writer.counts.planned), writer
            await writer.run(self._limiter, self._stop, self._breaker)
            writer.counts = await thread(journal.counts)


class Places:
    """Where items are sent: a client for each service and region.

    Args:
        region: For items without one; by default that of the environment.
        settings: Of `connect`.

    Attributes:
        clients: By service and region. None of them resends by itself.
    """

    def __init__(self, region: str | None, **settings: Any) -> None:
        self.clients: dict[Place, Client] = {}
        self._given = region
        self._region = find_region(region, os.environ)
        self._settings = settings
        self._has_default = False

    def of(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, each in its region, once there is a client for it.

        Raises:
            ConfigurationError: As of `connect`.
        """
        for item in items:
            placed = item
            if not item.region:
                # The region is written to the journal: another one would be another place.
                placed, self._has_default = item.in_region(self._region) if self._region else item, True
            if (placed.service, placed.region) not in self.clients:
                self._connect(item, placed.region)
            yield placed

    def _connect(self, first: Item, region: str | None) -> None:
        given = first.region or self._given  # if neither, connect() finds it, and knows where
        try:
            self.clients[first.service, region] = connect(
                first.service, region=given, resend=None, **self._settings
            )
        except ConfigurationError as error:
            if not first.region:
                raise
            raise ConfigurationError(str(error).replace("(region=)", f"(of {first.name})")) from error

    def target(self, item: Item) -> str:
        """Return what is retried, and where: an item that was given before is known by it."""
        return f"{self.clients[item.service, item.region].base_url}\n{item.target}"

    def urls(self) -> dict[str, str]:
        """Return where each client sends to, and what items without a region were given."""
        urls = {
            " in ".join(filter(None, place)): client.base_url
            for place, client in sorted(self.clients.items(), key=str)
        }
        return urls | ({"items without a region": self._region or "no region"} if self._has_default else {})

    async def aclose(self) -> None:
        """Close the clients."""
        for client in self.clients.values():
            await client.aclose()


class _Outcomes:
    """Outcomes on their way to the caller: only so many wait."""

    def __init__(self) -> None:
        self.is_read = True
        self._queue: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_UNREAD)

    async def put(self, outcome: Outcome, stop: Stop) -> None:
        """Hand over an outcome; wait for room, unless the run is to end."""
        if self.is_read:
            if not stop.is_set:
                await self._room.acquire()
            self._queue.put_nowait(outcome)

    async def get(self) -> Outcome | None:
        """Return the next; None: that was the last."""
        outcome = await self._queue.get()
        self._room.release()
        return outcome

    def wake(self) -> None:
        """Let `put` go on: a caller who reads slowly delays no end."""
        self._room.release()

    def end(self) -> None:
        """Say that there are no more."""
        self._queue.put_nowait(None)


class _Writer:
    """Writes the journal, and admits what may be sent next."""

    def __init__(
        self, journal: Journal, thread: _Thread, workers: Workers, outcomes: _Outcomes, *, concurrency: int
    ) -> None:
        self.counts = Counts()
        self._journal = journal
        self._thread = thread
        self._workers = workers
        self._outcomes = outcomes
        self._concurrency = concurrency
        self._planned: deque[Planned] = deque()  # the next ones
        self._last = 0  # the number of the last of them
        self._is_exhausted = False  # there are no more in the journal
        self._under_way: dict[int, Item] = {}  # from the intention until the outcome is written

    def wake(self) -> None:
        """Look at once whether the run is to end."""
        self._workers.news.set()
        self._outcomes.wake()

    async def run(self, limiter: RateLimiter, stop: Stop, breaker: Breaker) -> None:
        """Send all, and write what comes of it."""
        number = min(self._concurrency, self.counts.planned)
        tasks = [asyncio.create_task(self._workers.work()) for _ in range(number)]
        for task in tasks:
            task.add_done_callback(lambda _: self._workers.news.set())
        try:
            while self._is_more(stop) and stop.seconds_left() != 0:
                if not (self._planned or self._is_exhausted):
                    await self._refill()
                room = self._room(breaker)
                await self._write(self._admitted(room, limiter, stop), stop)
                if self._is_more(stop):
                    wait = (
                        limiter.wait(time.monotonic()) if self._planned and self._room(breaker) > 0 else None
                    )
                    await self._news(tasks, wait, stop)
                    await asyncio.sleep(_GATHER)
        except JournalError:
            stop.set()
            while self._workers.in_flight and stop.seconds_left() != 0:
                await self._news(tasks, None, stop)
            raise
        finally:
            await self._cut_off(tasks)
            await self._write_the_last(stop)

    def _is_more(self, stop: Stop) -> bool:
        return bool(self._under_way or (not stop.is_set and (self._planned or not self._is_exhausted)))

    async def _refill(self) -> None:
        self._planned.extend(await self._thread(self._journal.planned, self._last))
        self._is_exhausted = not self._planned
        self._last = self._planned[-1].number if self._planned else self._last

    def _room(self, breaker: Breaker) -> int:
        """Return how many more may be in flight, or ready to be."""
        # One alone, until it is known that the credentials are good.
        most = 2 * self._concurrency if breaker.is_proven else 1
        return most - len(self._under_way) + len(self._workers.results)

    def _admitted(self, room: int, limiter: RateLimiter, stop: Stop) -> list[Planned]:
        """Take the next items, as many as may be sent now."""
        wanted = min(room, len(self._planned))
        if wanted <= 0 or stop.is_set:
            return []
        return [self._planned.popleft() for _ in range(limiter.take(wanted, time.monotonic()))]

    async def _write(self, admitted: list[Planned], stop: Stop) -> None:
        """Write all that came together; then the outcomes are durable, and reported."""
        results = self._workers.results
        if not (results or admitted):
            return
        self._workers.results = []
        numbers = [each.number for each in admitted]
        settled = [
            (result.number, result.outcome) for result in results if result.outcome and result.is_settled
        ]
        unsent = [result.number for result in results if not (result.outcome and result.is_settled)]
        self._under_way.update((each.number, each.item) for each in admitted)
        try:
            await self._thread(self._journal.write, numbers, settled, unsent, self._workers.clock)
        except BaseException:
            self._workers.results = [*results, *map(Result, numbers), *self._workers.results]
            raise
        for each in admitted:
            self._workers.queue.put_nowait(each)
        for result in results:
            del self._under_way[result.number]
        counts = self.counts._asdict()
        counts["planned"] += len(unsent) - len(admitted)
        counts["sending"] += len(admitted) - len(results)
        for _, outcome in settled:
            counts[outcome.verdict] += 1
        self.counts = Counts(**counts)
        for result in results:
            if result.outcome is not None:
                await self._outcomes.put(result.outcome, stop)

    async def _news(self, tasks: list[asyncio.Task[None]], wait: float | None, stop: Stop) -> None:
        """Wait for a result, for the limiter, or for the end of the grace period."""
        left = stop.seconds_left()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait if left is None else left):
                await self._workers.news.wait()
        self._workers.news.clear()
        for task in tasks:
            if task.done():
                task.result()  # raises: none ends by itself

    async def _cut_off(self, tasks: list[asyncio.Task[None]]) -> None:
        """End the workers, and note what came of what they had."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        known = {result.number for result in self._workers.results}
        self._workers.results += [
            self._workers.cut_off(number, item)
            for number, item in self._under_way.items()
            if number not in known
        ]

    async def _write_the_last(self, stop: Stop) -> None:
        try:
            await self._write([], stop)
        except JournalError as error:
            error.unwritten = tuple(result.outcome for result in self._workers.results if result.outcome)
            raise
