"""Workers send items; a breaker ends the run when sending more makes no sense; a stop ends it when the caller says so."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeAlias

from huaweicloud_retry.runs import Clock
from huaweicloud_retry.runtime.client import TRACE, Trace
from huaweicloud_retry.runtime.errors import ConfigurationError, IAMError
from huaweicloud_retry.runtime.redaction import one_line
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
from .journal import Planned
from .rate_limiter import RateLimiter

# So many failures in a row that say nothing of the item, and the run halts: with the service gone, or a gateway that only
# says 504, going on would leave thousands of items refused or, worse, unknown. Before the first response it takes less.
_IN_A_ROW: Final = 20
_AT_FIRST: Final = 3
_QUICK: Final = 2.0  # seconds; a slower response says little about the server's clock

Place: TypeAlias = tuple[Service, str | None]
"""Service and region."""


class Stop:
    """Whether the run is to end, and how long what is in flight may take then.

    Args:
        grace: Seconds.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._ends_at: float | None = None
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        """Nothing more is to be sent."""
        return self._event.is_set()

    def set(self, *, at_once: bool = False) -> None:
        """End the run, after the grace period or at once."""
        now = time.monotonic()
        if self._ends_at is None or at_once:
            self._ends_at = now if at_once else now + self._grace
        self._event.set()

    def seconds_left(self) -> float | None:
        """Return how many seconds the run may take from now; None: as many as it needs."""
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    async def wait(self, seconds: float) -> None:
        """Wait, but not beyond the stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()


class Breaker:
    """Halts the run when all further requests would fail as well.

    Args:
        concurrency: Requests at the same time, which may all fail together.
        stop: Is set when it halts.

    Attributes:
        halted: Why it did, in one line.
        is_proven: The service has responded, and not that it does not know the caller.
    """

    def __init__(self, concurrency: int, stop: Stop) -> None:
        self.halted: str | None = None
        self.is_proven = False
        self._most = max(_IN_A_ROW, concurrency)
        self._stop = stop
        self._in_a_row = 0

    def halt(self, why: str) -> None:
        """End the run, for the first reason that is given."""
        self.halted = self.halted or why
        self._stop.set()

    def note(self, error: APIError | None) -> None:
        """Look at what an attempt came to."""
        if isinstance(error, AuthenticationError) or (isinstance(error, IAMError) and _is_final(error)):
            # Every further request would be refused as well, and after five wrong signatures the key is locked.
            self.halt(f"authentication failed: {error}")
        elif error is None or not (error.outcome_unknown or _is_of_the_way(error)):
            self.is_proven, self._in_a_row = True, 0
        elif not isinstance(error, RateLimitError):
            self._in_a_row += 1
            if self._in_a_row >= (self._most if self.is_proven else _AT_FIRST):
                self.halt(f"{self._in_a_row} failures in a row; the last: {error}")

    def note_last(self, error: APIError | None) -> None:
        """Look at what the last attempt of an item came to."""
        if isinstance(error, APIConnectionError) and not (error.outcome_unknown or self.is_proven):
            self.halt(f"the service cannot be reached: {error}")  # as with a wrong CA


def _is_of_the_way(error: APIError) -> bool:
    """Say whether an error is about credentials, network or rate, and not about the item."""
    return isinstance(error, AuthenticationError | APIConnectionError | RateLimitError | IAMError)


def _is_final(error: IAMError) -> bool:
    return 400 <= error.status_code < 500 and error.status_code != 429  # noqa: PLR2004 - refused, and not for now


class Result(NamedTuple):
    """What a worker did with an item.

    Attributes:
        outcome: None: it was not sent after all.
        is_settled: False: the item stays planned, since the service was not reached, or throttled all attempts.
    """

    number: int
    outcome: Outcome | None = None
    is_settled: bool = True


class Workers:
    """Send the items of a queue, each again if an attempt was not processed.

    Args:
        clients: By service and region; none of them resends by itself.
        limiter: Of all requests together.
        resend: Which attempts may be sent again, and when; None: none.
        stop: Ends them between two attempts.
        breaker: Is told of each attempt.
        on_attempt: Called before an item is sent again; see `Bulk`.

    Attributes:
        queue: What may be sent.
        in_flight: The numbers of items that are being sent: since when, in seconds since the epoch, and how far.
        results: What came of items, until somebody takes it.
        news: Set when there is a result.
        clock: What responses have said of the servers' clocks; None: nothing.
    """

    def __init__(  # noqa: PLR0913 - what they need
        self,
        clients: Mapping[Place, Client],
        *,
        limiter: RateLimiter,
        resend: Resend | None,
        stop: Stop,
        breaker: Breaker,
        on_attempt: Callable[[Item, int, str, float], None] | None,
    ) -> None:
        self.queue: asyncio.Queue[Planned] = asyncio.Queue()
        self.in_flight: dict[int, tuple[float, Trace]] = {}
        self.results: list[Result] = []
        self.news = asyncio.Event()
        self.clock: Clock | None = None
        self._last_date = ""
        self._clients = clients
        self._limiter = limiter
        self._resend = resend
        self._stop = stop
        self._breaker = breaker
        self._on_attempt = on_attempt

    async def work(self) -> None:
        """Be one worker, until it is cancelled."""
        while True:
            planned = await self.queue.get()
            result = await self._send(planned)
            outcome = result.outcome
            if (
                planned.may_have_run
                and outcome is not None
                and outcome.verdict == "refused"
                and result.is_settled
            ):
                # Perhaps just because the attempt before was processed.
                message = f"{outcome.message}; an earlier attempt may have been processed"
                result = result._replace(outcome=replace(outcome, verdict="unknown", message=message))
            self.results.append(result)
            self.news.set()

    async def _send(self, planned: Planned) -> Result:
        number, item = planned.number, planned.item
        started_at, started = time.time(), time.monotonic()
        attempt = 1
        while not self._stop.is_set:
            trace = Trace()
            TRACE.set(trace)
            self.in_flight[number] = time.time(), trace
            came: Response[Any] | APIConnectionError | IAMError
            try:
                try:
                    came = await item.send(self._clients[item.service, item.region])
                except (APIConnectionError, IAMError) as failure:
                    came = failure
                seconds = time.monotonic() - started
                outcome = Outcome.of(item, came, attempts=attempt, started_at=started_at, seconds=seconds)
            except Exception as failure:  # noqa: BLE001 - of a token function, or of a response that cannot be kept
                del self.in_flight[number]
                is_sent = trace.may_be_processed and not isinstance(failure, ConfigurationError)  # of a proxy
                return self._failed(planned, failure, started_at, is_sent=is_sent)
            asked_at, _ = self.in_flight.pop(number)  # not if this is cancelled: `cut_off` looks at it then
            self._note_clock(came, asked_at)
            error = came.error if isinstance(came, Response) else came
            self._breaker.note(error)
            wait = self._wait_before_next(attempt, came)
            if wait is None:
                self._breaker.note_last(error)
                is_refused = error is None or outcome.verdict != "refused" or not _is_of_the_way(error)
                return Result(number, outcome, is_settled=is_refused)
            if isinstance(error, RateLimitError):
                self._limiter.slow_down(wait, time.monotonic())
            if self._on_attempt is not None:
                self._on_attempt(item, attempt, str(error), wait)
            await self._stop.wait(wait)
            while not (self._stop.is_set or self._limiter.take(1, time.monotonic())):
                await self._stop.wait(self._limiter.wait(time.monotonic()))
            attempt += 1
        return Result(number)

    def _note_clock(self, came: Response[Any] | APIConnectionError | IAMError, asked_at: float) -> None:
        """Take from a quick response what it says of the server's clock, once for each second of it."""
        came_at = time.time()
        if not isinstance(came, Response) or not 0 <= came_at - asked_at < _QUICK:
            return
        date = came.headers.get("Date", "")
        if date != self._last_date and (seen := Clock.of(came, asked_at, came_at)) is not None:
            self._last_date, self.clock = date, seen.widened(self.clock)

    def _wait_before_next(
        self, attempt: int, came: Response[Any] | APIConnectionError | IAMError
    ) -> float | None:
        """Return how many seconds to wait before the item is sent again; None: that was its last attempt."""
        if self._resend is None or self._breaker.halted is not None:
            return None
        return self._resend.wait(attempt, came.response if isinstance(came, IAMError) else came)

    def _failed(self, planned: Planned, error: Exception, started_at: float, *, is_sent: bool) -> Result:
        """End the run with an exception that is no APIError, such as of a token function."""
        try:
            text = str(error)
        except Exception:  # noqa: BLE001 - of somebody else's class
            text = ""
        what = one_line(": ".join(filter(None, (type(error).__name__, text))))
        if not is_sent:
            self._breaker.halt(f"{what}; nothing was sent")
            return Result(planned.number)
        self._breaker.halt(f"{what}; the request may have been processed")
        return Result(
            planned.number, _unknown(planned.item, f"{what}; the request may have been processed", started_at)
        )

    def cut_off(self, number: int, item: Item) -> Result:
        """Return what came of an item whose worker was cancelled."""
        started_at, trace = self.in_flight.pop(number, (0.0, Trace()))
        if not trace.may_be_processed:
            return Result(number)
        return Result(
            number, _unknown(item, "cut off while in flight; the request may have been processed", started_at)
        )


def _unknown(item: Item, message: str, started_at: float) -> Outcome:
    seconds = time.time() - started_at
    return Outcome(item=item, verdict="unknown", message=message, started_at=started_at, seconds=seconds)
