"""Many retries at once: who sends what, when, and what is written down in between.

            ┌────────── the keeper, who writes the journal ─────────┐
planned ──► │ sending, durable ──► ready ──► senders ──► came back  │ ──► outcome, durable ──► whoever iterates
            └────── all that has come together, in one fsync ───────┘

The keeper lets items through as fast as the pace allows, one ahead of each sender, so that these do not wait for the disk.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx

from huaweicloud_retry.connection import connect
from huaweicloud_retry.runtime.errors import IAMError
from huaweicloud_retry.runtime.resend import Resend
from huaweicloud_retry_client import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    Client,
    RateLimitError,
    Response,
)

from .items import Item, Outcome, Service
from .journal import Counts, Journal, JournalError, Plan, Planned
from .pace import Pace

_RESEND: Final = Resend(max_attempts=5)
# So many in a row without an answer of the service, and nothing more is sent: with the service gone, or a gateway that only
# says 504, going on would leave thousands of items refused or, worse, unknown. The first few say it sooner.
_IN_A_ROW: Final = 20
_AT_FIRST: Final = 3
_GATHER: Final = 0.005  # seconds in which what happens is written down together: a thread and an fsync have their price
_TOLD: Final = 1000  # outcomes that wait for whoever iterates; then no more is sent until they were taken


_Came: TypeAlias = Response[Any] | APIConnectionError | IAMError
"""What came of one attempt."""
_Thread: TypeAlias = Callable[..., Awaitable[Any]]
"""Runs a function in the one thread that may use the journal."""


class Bulk:
    """Send many retries; iterate over it for what comes of them. For one run, in one event loop.

        async for outcome in Bulk(items, journal=Path("items.journal")): ...

    Each outcome is durable before it is given, and each intention before its request is sent: with a journal, the same
    items can be given again after a crash, and what was accepted is not sent again. An item under way at the crash, or about
    to be, is `unknown`. Of the same item given twice, one is sent. Items are taken in one after the other, so a generator
    of any length will do; an exception that it raises comes out of the iteration, before anything is sent.

    It begins with one request alone, since five wrong signatures lock an access key, and halts at a 401, or when nothing
    can be reached; `halted` then says so, and what was not sent stays planned.

    Args:
        items: All of them.
        journal: A file; None: nothing outlives the process.
        concurrency: Requests at the same time.
        rate: Requests a second, of all together; None: no limit. Halved at each 429, it comes back within ten seconds.
        retry_refused: Send again what an earlier run with this journal was refused.
        resend_unknown: Send again what is unknown from an earlier run. **It may run twice.**
        grace: Seconds that `stop` leaves to requests under way.
        resend: What may be sent again within this run, and when: only what surely did not act.
        region: For items without one; by default that of the environment.
        endpoint: As of `connect`, and so are the next three.
        credentials: For all services and regions.
        timeout: Seconds.
        allow_http: Take an endpoint that is neither https nor on this machine's loopback.

    Attributes:
        plan: What the items are about, once they were taken in.
        counts: How many items of the journal are in which state.
        halted: Why it ended by itself before all was sent, in one line.
        on_attempt: Called when an item is to be sent again: the item, the number of the attempt that failed, why, and the
            seconds to wait.

    Raises:
        ValueError: concurrency, rate or grace will not do.
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
    ) -> None:
        if concurrency < 1 or (rate is not None and not rate > 0) or grace < 0:
            raise ValueError("concurrency must be 1 or more, rate above 0, grace 0 or more seconds")
        self.plan: Plan | None = None
        self.counts = Counts()
        self.halted: str | None = None
        self.on_attempt: Callable[[Item, int, str, float], None] | None = None
        self._items = items
        self._file = journal
        self._concurrency = concurrency
        self._again = {"retry_refused": retry_refused, "resend_unknown": resend_unknown}
        self._grace = grace
        self._resend = resend
        self._region = region
        self._settings: dict[str, Any] = {
            "endpoint": endpoint, "credentials": credentials, "timeout": timeout, "allow_http": allow_http,
        }  # fmt: skip
        self._pace = Pace(rate, time.monotonic())
        self._wanted: set[tuple[Service, str | None]] = set()
        self._connections: dict[tuple[Service, str | None], Client] = {}
        self._stop = asyncio.Event()
        self._stopped_at: float | None = None
        self._news = asyncio.Event()  # for the keeper
        self._planned: deque[Planned] = deque()  # the next ones
        self._last_planned = 0
        self._ready: asyncio.Queue[Planned] = asyncio.Queue()
        self._under_way: dict[int, Item] = {}  # from the intention until the outcome is written down
        self._flying: dict[int, float] = {}  # those whose request is out: since when, by the clock on the wall
        self._done: list[tuple[int, Outcome]] = []
        self._told: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._room_to_tell = asyncio.Semaphore(_TOLD)
        self._has_listener = True
        self._has_begun = False
        self._unsent: list[int] = []
        self._let_in = False  # the service has answered, and not that it does not know who asks
        self._in_a_row = 0  # outcomes without an answer that says what became of the item

    @property
    def rate(self) -> float:
        """How many requests may go a second, at this moment."""
        return self._pace.rate(time.monotonic())

    def stop(self) -> None:
        """Send nothing more; the iteration ends when the requests under way are done, or after `grace`."""
        self._stopped_at = self._stopped_at or time.monotonic()
        self._stop.set()
        self._news.set()
        self._room_to_tell.release()  # whoever listens slowly holds up no end

    def abort(self) -> None:
        """End at once; the requests under way are unknown, and the journal says so."""
        self._grace = 0.0
        self.stop()

    async def __aiter__(self) -> AsyncGenerator[Outcome, None]:
        """Yield the outcomes of this run, in the order in which they come.

        Raises:
            JournalError: the journal will not do; or, later, cannot be written any more: then nothing more was sent, and
                `unwritten` of the error has the outcomes that the journal has not.
            ConfigurationError: as of `connect`, for the region of an item. Nothing was sent.
        """
        if self._has_begun:
            raise RuntimeError("a Bulk is for one run: make another")
        self._has_begun = True
        # A task of its own: it has to come to its end even if nobody listens any more.
        keeper = asyncio.create_task(self._run())
        try:
            while (outcome := await self._told.get()) is not None:
                self._room_to_tell.release()
                yield outcome
            await keeper
        finally:
            self._has_listener = False
            if not keeper.done():
                self.abort()
                await asyncio.wait([keeper])

    async def _run(self) -> None:
        try:
            with ThreadPoolExecutor(1, "huaweicloud-retry-journal") as thread:
                write = partial(asyncio.get_running_loop().run_in_executor, thread)
                journal = await write(Journal, self._file)
                try:
                    await self._prepare_and_keep(journal, write)
                finally:
                    await write(journal.close)
        finally:
            self._told.put_nowait(None)

    async def _prepare_and_keep(self, journal: Journal, thread: _Thread) -> None:
        self.plan = await thread(journal.plan, self._noting_connections())
        async with AsyncExitStack() as stack:
            for service, region in sorted(self._wanted, key=str):
                connection = connect(service, region=region, resend=None, **self._settings)
                self._connections[service, region] = await stack.enter_async_context(connection)
            self.counts = await thread(partial(journal.begin, **self._again))
            await self._keep(journal, thread)
        self.counts = await thread(journal.counts)

    def _noting_connections(self) -> Iterator[Item]:
        for item in self._items:
            # The region is part of what is written down: another one would be another place.
            placed = replace(item, region=self._region) if self._region and not item.region else item
            self._wanted.add((placed.service, placed.region))
            yield placed

    # --- The keeper ---------------------------------------------------------------------------------------------------

    async def _keep(self, journal: Journal, thread: _Thread) -> None:
        senders = [asyncio.create_task(self._send_all()) for _ in range(min(self._concurrency, self.counts.planned))]
        for sender in senders:
            sender.add_done_callback(lambda _: self._news.set())
        try:
            while self._is_more() and not self._time_is_up():
                if not self._planned:
                    await self._refill(journal, thread)
                await self._write(journal, thread, self._admitted())
                if self._is_more():
                    await self._wait_for_news(senders)
                    await asyncio.sleep(_GATHER)
        except JournalError:
            self.stop()
            while self._flying and not self._time_is_up():
                await self._wait_for_news(senders)
            raise
        finally:
            await self._cut_off(senders)
            await self._write_the_last(journal, thread)

    async def _write_the_last(self, journal: Journal, thread: _Thread) -> None:
        try:
            await self._write(journal, thread, [])
        except JournalError as error:
            error.unwritten = [outcome for _, outcome in self._done]
            raise

    def _is_more(self) -> bool:
        return bool(self._under_way or (self.counts.planned and not self._stop.is_set()))

    async def _refill(self, journal: Journal, thread: _Thread) -> None:
        self._planned.extend(await thread(journal.planned, self._last_planned))
        if self._planned:
            self._last_planned = self._planned[-1].number

    def _admitted(self) -> list[Planned]:
        """Take the next items, as many as may go now."""
        wanted = min(self._room(), len(self._planned))
        if wanted <= 0 or self._stop.is_set():
            return []
        return [self._planned.popleft() for _ in range(self._pace.take(wanted, time.monotonic()))]

    def _room(self) -> int:
        """Say how many more may be out, or ready."""
        # One alone, until it is known that the credentials are good.
        most = 2 * self._concurrency if self._let_in else 1
        return most - len(self._under_way) + len(self._done) + len(self._unsent)

    async def _write(self, journal: Journal, thread: _Thread, admitted: list[Planned]) -> None:
        """Write down all that has come together; then the outcomes are durable, and told."""
        done, unsent = self._done, self._unsent
        if not (done or unsent or admitted):
            return
        self._done, self._unsent = [], []
        numbers = [each.number for each in admitted]
        self._under_way.update((each.number, each.item) for each in admitted)
        try:
            await thread(journal.write, numbers, done, unsent)
        except BaseException:
            self._done, self._unsent = done + self._done, [*unsent, *numbers, *self._unsent]
            raise
        for each in admitted:
            self._ready.put_nowait(each)
        for number in (*unsent, *(number for number, _ in done)):
            del self._under_way[number]
        self._count(admitted=len(admitted), unsent=len(unsent), outcomes=[outcome for _, outcome in done])
        for _, outcome in done:
            if self._has_listener:
                if not self._stop.is_set():
                    await self._room_to_tell.acquire()
                self._told.put_nowait(outcome)

    def _count(self, *, admitted: int, unsent: int, outcomes: list[Outcome]) -> None:
        counts = self.counts._asdict()
        counts["planned"] += unsent - admitted
        counts["sending"] += admitted - unsent - len(outcomes)
        for outcome in outcomes:
            counts[outcome.verdict] += 1
        self.counts = Counts(**counts)

    def _time_is_up(self) -> bool:
        return self._stopped_at is not None and time.monotonic() >= self._stopped_at + self._grace

    async def _wait_for_news(self, senders: list[asyncio.Task[None]]) -> None:
        seconds: float | None = None
        if self._stopped_at is not None:
            seconds = max(0.0, self._stopped_at + self._grace - time.monotonic())
        elif self._planned and self._room() > 0:
            seconds = self._pace.wait(time.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()
        for sender in senders:
            if sender.done():
                sender.result()  # raises: none ends by itself

    async def _cut_off(self, senders: list[asyncio.Task[None]]) -> None:
        """End the senders, and say what became of what they had."""
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
        known = {*self._unsent, *(number for number, _ in self._done)}
        for number, item in self._under_way.items():
            if number in known:
                continue
            started_at = self._flying.get(number)
            if started_at is None:
                self._unsent.append(number)
            else:
                message = "cut off while under way; the service may have acted"
                seconds = time.time() - started_at
                outcome = Outcome(item=item, verdict="unknown", message=message, started_at=started_at, seconds=seconds)
                self._done.append((number, outcome))
        self._flying.clear()

    # --- The senders --------------------------------------------------------------------------------------------------

    async def _send_all(self) -> None:
        while True:
            planned = await self._ready.get()
            outcome = await self._send(planned.number, planned.item)
            if outcome is None:
                self._unsent.append(planned.number)
            elif planned.may_have_run and outcome.verdict == "refused":
                # Perhaps just because the attempt before did run.
                message = f"{outcome.message}; an earlier attempt may have run"
                self._done.append((planned.number, replace(outcome, verdict="unknown", message=message)))
            else:
                self._done.append((planned.number, outcome))
            self._news.set()

    async def _send(self, number: int, item: Item) -> Outcome | None:
        """Send an item, again if it surely did not act; None: not sent after all, or to no effect, because of a stop."""
        connection = self._connections[item.service, item.region]
        started_at, started = time.time(), time.monotonic()
        attempt = 1
        while not self._stop.is_set():
            came = await self._attempt(number, item, connection)
            wait = self._wait_before_next(attempt, came)
            if wait is None:
                seconds = time.monotonic() - started
                return Outcome.of(item, came, attempts=attempt, started_at=started_at, seconds=seconds)
            error = came.error if isinstance(came, Response) else came
            if isinstance(error, RateLimitError):
                self._pace.slow_down(wait, time.monotonic())
            if self.on_attempt is not None:
                self.on_attempt(item, attempt, str(error), wait)
            await self._rest(wait)
            while not (self._stop.is_set() or self._pace.take(1, time.monotonic())):
                await self._rest(self._pace.wait(time.monotonic()))
            attempt += 1
        return None

    def _wait_before_next(self, attempt: int, came: _Came) -> float | None:
        """Say how long to wait before the item is sent again; None: that was its last attempt."""
        if self._resend is None or self.halted is not None:
            return None
        return self._resend.wait(attempt, came.response if isinstance(came, IAMError) else came)

    async def _attempt(self, number: int, item: Item, connection: Client) -> _Came:
        self._flying[number] = time.time()
        try:
            came: _Came = await item.send(connection)
        except (APIConnectionError, IAMError) as error:
            came = error
        del self._flying[number]
        self._look_at(came.error if isinstance(came, Response) else came)
        return came

    def _look_at(self, error: APIError | None) -> None:
        """See whether it makes sense to go on."""
        if isinstance(error, AuthenticationError) or (isinstance(error, IAMError) and _is_final(error)):
            # Every further request would be refused as well, and after five wrong signatures the key is locked.
            self._halt(f"the credentials do not let in: {error}")
        elif error is None or not (
            error.outcome_unknown or isinstance(error, APIConnectionError | RateLimitError | IAMError)
        ):
            self._let_in, self._in_a_row = True, 0
        else:
            self._in_a_row += 0 if isinstance(error, RateLimitError) else 1
            if self._in_a_row >= (max(_IN_A_ROW, self._concurrency) if self._let_in else _AT_FIRST):
                self._halt(
                    f"{self._in_a_row} in a row without an answer that tells what became of it; the last: {error}"
                )

    def _halt(self, why: str) -> None:
        if self.halted is None:
            self.halted = why
        self.stop()

    async def _rest(self, seconds: float) -> None:
        """Wait, but not beyond a stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()


def _is_final(error: IAMError) -> bool:
    return 400 <= error.status_code < 500 and error.status_code != 429  # noqa: PLR2004 - refused, and not for now
