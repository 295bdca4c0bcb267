"""Workers send items. A `Breaker` halts the run after repeated failures, a `Stop` at the caller's request."""

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

# Consecutive failures that halt the run, such as connection errors and 504. Otherwise an outage would leave
# thousands of items refused or, worse, unknown.
_IN_A_ROW: Final = 20
_AT_FIRST: Final = 3  # before the first response
_QUICK: Final = 2.0  # seconds; the Date of a slower response is too inexact

Place: TypeAlias = tuple[Service, str | None]
"""Service and region."""
_Received: TypeAlias = Response[Any] | APIConnectionError | IAMError


class Stop:
    """Ends the run, with a grace period for requests in flight.

    Args:
        grace: Seconds.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._ends_at: float | None = None
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        """Whether the run is ending: send nothing more."""
        return self._event.is_set()

    def set(self, *, at_once: bool = False) -> None:
        """End the run after the grace period, or at once."""
        now = time.monotonic()
        if self._ends_at is None or at_once:
            self._ends_at = now if at_once else now + self._grace
        self._event.set()

    def seconds_left(self) -> float | None:
        """Return the remaining seconds of the run; None: no limit."""
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    async def wait(self, seconds: float) -> None:
        """Wait, at most until the stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()


class Breaker:
    """Halts the run when further requests would fail as well.

    Args:
        concurrency: Requests at the same time, which may all fail together.
        stop: Set to halt the run.

    Attributes:
        halted: Why the run was halted, in one line.
        is_proven: The service has accepted the credentials.
    """

    def __init__(self, concurrency: int, stop: Stop) -> None:
        self.halted: str | None = None
        self.is_proven = False
        self._most = max(_IN_A_ROW, concurrency)
        self._stop = stop
        self._in_a_row = 0

    def halt(self, why: str) -> None:
        """End the run. The first reason is kept."""
        self.halted = self.halted or why
        self._stop.set()

    def note(self, error: APIError | None) -> None:
        """Record the result of an attempt."""
        if isinstance(error, AuthenticationError) or (isinstance(error, IAMError) and _is_final(error)):
            # Further requests would fail, too, and five wrong signatures lock the key.
            self.halt(f"authentication failed: {error}")
        elif error is None or not (error.outcome_unknown or _is_independent(error)):
            self.is_proven, self._in_a_row = True, 0
        elif not isinstance(error, RateLimitError):
            self._in_a_row += 1
            if self._in_a_row >= (self._most if self.is_proven else _AT_FIRST):
                self.halt(f"{self._in_a_row} failures in a row; the last: {error}")

    def note_last(self, error: APIError | None) -> None:
        """Record the result of the last attempt of an item."""
        if isinstance(error, APIConnectionError) and not (error.outcome_unknown or self.is_proven):
            self.halt(f"the service cannot be reached: {error}")  # such as with a wrong CA


def _is_independent(error: APIError) -> bool:
    """Return whether an error is about credentials, network or rate, and not about the item."""
    return isinstance(error, AuthenticationError | APIConnectionError | RateLimitError | IAMError)


def _is_final(error: IAMError) -> bool:
    return 400 <= error.status_code < 500 and error.status_code != 429  # noqa: PLR2004 - a 429 is temporary


class Result(NamedTuple):
    """The result of a worker for an item.

    Attributes:
        outcome: None: the item was not sent.
        stays_planned: The service was not reached, or throttled all attempts: the next run sends the item.
    """

    number: int
    outcome: Outcome | None = None
    stays_planned: bool = False


class Workers:
    """Send the items of a queue. Resends a request that was not processed.

    Args:
        clients: By service and region; they do not resend.
        limiter: Rate limiter for all requests.
        resend: Policy for resends; None: never.
        stop: Ends the workers between two attempts.
        breaker: Records each attempt.
        on_attempt: Called before a resend; see `Bulk`.

    Attributes:
        queue: Items to send.
        in_flight: By number of the item: start of the attempt, in seconds since the epoch, and its trace.
        results: Results that are not in the journal yet.
        changed: Set when there is a result.
        clock: Offset of the servers' clocks, from responses; None: not known.
    """

    def __init__(  # noqa: PLR0913 - its parts
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
        self.changed = asyncio.Event()
        self.clock: Clock | None = None
        self._last_date = ""
        self._clients = clients
        self._limiter = limiter
        self._resend = resend
        self._stop = stop
        self._breaker = breaker
        self._on_attempt = on_attempt

    async def work(self) -> None:
        """Run one worker, until it is cancelled."""
        while True:
            planned = await self.queue.get()
            result = await self._send(planned)
            outcome = result.outcome
            is_refused = outcome is not None and outcome.verdict == "refused" and not result.stays_planned
            if outcome is not None and is_refused and planned.may_have_run:
                # The reason for the refusal can be that an earlier attempt was processed.
                message = f"{outcome.message}; an earlier attempt may have been processed"
                result = result._replace(outcome=replace(outcome, verdict="unknown", message=message))
            self.results.append(result)
            self.changed.set()

    async def _send(self, planned: Planned) -> Result:
        number, item = planned.number, planned.item
        started_at, started = time.time(), time.monotonic()
        attempt = 1
        while not self._stop.is_set:
            trace = Trace()
            TRACE.set(trace)
            self.in_flight[number] = time.time(), trace
            received: _Received
            try:
                try:
                    received = await item.send(self._clients[item.service, item.region])
                except (APIConnectionError, IAMError) as failure:
                    received = failure
                seconds = time.monotonic() - started
                outcome = Outcome.of(item, received, attempts=attempt, started_at=started_at, seconds=seconds)
            except Exception as failure:  # noqa: BLE001 - of a token function, or of an unusual response
                del self.in_flight[number]
                # A ConfigurationError is about the proxy, before the request.
                is_sent = trace.may_be_processed and not isinstance(failure, ConfigurationError)
                return self._failed(planned, failure, started_at, is_sent=is_sent)
            asked_at, _ = self.in_flight.pop(number)  # kept on cancellation: `aborted` needs it
            self._note_clock(received, asked_at)
            error = received.error if isinstance(received, Response) else received
            self._breaker.note(error)
            wait = self._backoff(attempt, received)
            if wait is None:
                self._breaker.note_last(error)
                stays_planned = error is not None and outcome.verdict == "refused" and _is_independent(error)
                return Result(number, outcome, stays_planned=stays_planned)
            if isinstance(error, RateLimitError):
                self._limiter.slow_down(wait, time.monotonic())
            if self._on_attempt is not None:
                self._on_attempt(item, attempt, str(error), wait)
            await self._stop.wait(wait)
            while not (self._stop.is_set or self._limiter.take(1, time.monotonic())):
                await self._stop.wait(self._limiter.wait(time.monotonic()))
            attempt += 1
        return Result(number)

    def _note_clock(self, received: _Received, asked_at: float) -> None:
        """Update the clock from the Date of a quick response, once for each second."""
        came_at = time.time()
        if not isinstance(received, Response) or not 0 <= came_at - asked_at < _QUICK:
            return
        date = received.headers.get("Date", "")
        if date != self._last_date and (seen := Clock.of(received, asked_at, came_at)) is not None:
            self._last_date, self.clock = date, seen.widened(self.clock)

    def _backoff(self, attempt: int, received: _Received) -> float | None:
        """Return the seconds to wait before the next attempt; None: there is none."""
        if self._resend is None or self._breaker.halted is not None:
            return None
        return self._resend.wait(attempt, received.response if isinstance(received, IAMError) else received)

    def _failed(self, planned: Planned, error: Exception, started_at: float, *, is_sent: bool) -> Result:
        """Halt the run after an exception that is no APIError, such as of a token function."""
        try:
            text = str(error)
        except Exception:  # noqa: BLE001 - of a foreign class
            text = ""
        what = one_line(": ".join(filter(None, (type(error).__name__, text))))
        if not is_sent:
            self._breaker.halt(f"{what}; nothing was sent")
            return Result(planned.number)
        message = f"{what}; the request may have been processed"
        self._breaker.halt(message)
        return Result(planned.number, _unknown(planned.item, message, started_at))

    def aborted(self, number: int, item: Item) -> Result:
        """Return the result of an item whose worker was cancelled."""
        started_at, trace = self.in_flight.pop(number, (0.0, Trace()))
        if not trace.may_be_processed:
            return Result(number)
        message = "aborted while in flight; the request may have been processed"
        return Result(number, _unknown(item, message, started_at))


def _unknown(item: Item, message: str, started_at: float) -> Outcome:
    seconds = time.time() - started_at
    return Outcome(item=item, verdict="unknown", message=message, started_at=started_at, seconds=seconds)
