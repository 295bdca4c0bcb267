"""`--wait`: follows a few retries until their work has ended."""

import argparse
import asyncio
import os
import shlex
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from huaweicloud_retry.bulk import Item, Outcome
from huaweicloud_retry.bulk.followup import wait_steps
from huaweicloud_retry.follow import Steps, drive, resolve
from huaweicloud_retry.runs import Status
from huaweicloud_retry.runtime.errors import APIError, AuthenticationError, IAMError
from huaweicloud_retry.runtime.redaction import one_line
from huaweicloud_retry_client import Client

from . import signals
from .advice import advise_read, read_operation
from .common import WAIT_TIMEOUT
from .exits import Exit
from .output import Writer
from .progress import Line, Lines, Progress, line_fits
from .screen import Screen
from .wording import duration

_AT_ONCE: Final = 16  # reads
_TWICE: Final = 0.5  # seconds in which a second Ctrl-C is ignored as a double keypress
_UPDATE: Final = 0.5  # seconds between two updates of the progress
_EVERY: Final = 30.0  # seconds between two equal lines, without a terminal
_COPIED: Final = ("project_id", "region", "endpoint", "token_file", "profile", "enterprise_project_id")


class Collector:
    """A writer that collects the outcomes until their work has ended."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def write(self, outcome: Outcome) -> None:
        """Keep the outcome."""
        self.outcomes.append(outcome)

    def end(self) -> None:
        """Do nothing."""


async def wait_for_work(
    outcomes: list[Outcome],
    client: Client,
    options: argparse.Namespace,
    writer: Writer,
    *,
    is_interrupted: bool,
) -> Exit:
    """Wait for the end of the work, and print the results; returns the exit code for these items.

    Args:
        outcomes: Outcomes of distinct items.
        client: For reads.
        options: Options of the command.
        writer: Writes the results.
        is_interrupted: Do not wait.

    Raises:
        OutputError: The output can no longer be written.
    """
    screen = Screen(options.prog)
    waiting = _Waiting(outcomes, client, screen, options)
    signals.handle(asyncio.get_running_loop(), waiting.interrupt)
    if is_interrupted:
        waiting.interrupt()
    failure: Exception | None = None
    try:
        await waiting.go()
    except Exception as error:  # noqa: BLE001 - raised again after the outcomes are printed
        failure = error
    followed = waiting.followed()
    for each in followed:
        screen.do(writer.write, each)
    if followed:
        screen.do(writer.end)
    waiting.say_rest(followed)
    await screen.close()
    if failure is not None:
        raise failure
    return Exit.INTERRUPTED if waiting.is_interrupted else _exit_code(followed)


def _exit_code(followed: list[Outcome]) -> Exit:
    verdicts, ends = {each.verdict for each in followed}, {each.ended for each in followed} - {None}
    if "unknown" in verdicts:
        return Exit.UNKNOWN
    if "refused" in verdicts:
        return Exit.REFUSED
    if "failed" in ends:
        return Exit.FAILED
    return Exit.RUNNING if ends - {"succeeded"} else Exit.OK


class _Waiting:
    """Follows all items concurrently, and prints progress and errors."""

    def __init__(
        self, outcomes: list[Outcome], client: Client, screen: Screen, options: argparse.Namespace
    ) -> None:
        self.is_interrupted = False
        self._outcomes = {each.item: each for each in outcomes}
        self._client = client
        self._screen = screen
        self._options = options
        self._timeout: float = WAIT_TIMEOUT if options.wait_timeout is None else options.wait_timeout
        self._ends_at = time.monotonic() + self._timeout
        self._interrupted_at = 0.0
        self._seen: dict[Item, Status] = {}
        self._ended: dict[Item, Outcome] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._advice_given: set[str] = set()

    def interrupt(self) -> None:
        """Stop waiting; a second call ends the process."""
        if self.is_interrupted and time.monotonic() > self._interrupted_at + _TWICE:
            os._exit(Exit.INTERRUPTED)
        self.is_interrupted, self._interrupted_at = True, time.monotonic()
        self._stop()

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def go(self) -> None:
        """Wait until all work has ended, the timeout, or `interrupt`.

        Raises:
            OutputError: The output can no longer be written.
        """
        if not self.is_interrupted:
            followed = [each for each in self._outcomes.values() if each.verdict != "refused"]
            self._tasks = [asyncio.create_task(self._follow(each)) for each in followed]
        progress = self._progress()
        said, said_at = "", 0.0
        try:
            while not all(task.done() for task in self._tasks):
                text, now = self._text(), time.monotonic()
                is_due = isinstance(progress, Line) or text != said or now >= said_at + _EVERY
                if progress is not None and is_due and not self._screen.is_behind:
                    said, said_at = text, now
                    self._screen.do(progress.show, f"{text}, {self._since()}", 0, None)
                await asyncio.wait(self._tasks, timeout=_UPDATE, return_when=asyncio.ALL_COMPLETED)
                await self._screen.catch_up()
        finally:
            self._stop()
            results = await asyncio.gather(*self._tasks, return_exceptions=True)
            if progress is not None:
                self._screen.do(progress.end)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _progress(self) -> Progress | None:
        if self._options.quiet:
            return None
        if not line_fits():
            return Lines(self._screen.say_here)
        line = Line()
        self._screen.say_line = line.say_line
        return line

    def followed(self) -> list[Outcome]:
        """Return the outcomes, with the end of the work if it is known."""
        each = self._outcomes.items()
        return [self._ended.get(item) or self._unfinished(outcome) for item, outcome in each]

    # --- One item ---

    async def _follow(self, outcome: Outcome) -> None:
        item = outcome.item
        try:
            if outcome.verdict == "unknown":
                self._outcomes[item] = outcome = await self._resolved(outcome)
            if outcome.verdict == "accepted":
                status = await drive(self._steps(outcome), lambda _: self._slots)
                self._ended[item] = replace(outcome, seen=status.text, ended=status.state)
        except APIError as error:
            self._give_up(outcome, error)

    async def _resolved(self, outcome: Outcome) -> Outcome:
        """Resolve an unknown outcome."""
        name, lost_at = one_line(outcome.item.name), outcome.started_at + outcome.seconds
        steps = resolve.steps(self._client, outcome.item, outcome.started_at, lost_at=lost_at)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + self._left()):
                found = await drive(steps, lambda _: self._slots)
        except TimeoutError:
            self._screen.say(f"{name}: still unknown when --wait-timeout ended: it may start later")
            return outcome
        what = "still unknown" if found.verdict == "unknown" else found.verdict
        self._screen.say(f"{name}: {what}: {found.evidence}")
        if found.verdict == "accepted":
            return replace(outcome, verdict="accepted", message=found.evidence, seen=found.evidence)
        if found.verdict == "not run":
            message = f"not run: {found.evidence}"
            return replace(outcome, verdict="refused", message=message, seen=found.evidence)
        return replace(outcome, seen=found.evidence)

    def _steps(self, outcome: Outcome) -> Steps[Status]:
        return wait_steps(
            self._client,
            outcome.item,
            outcome.response or {},
            timeout=self._left(),
            sent_at=outcome.started_at,
            on_status=partial(self._seen.__setitem__, outcome.item),
        )

    def _left(self) -> float:
        return max(0.0, self._ends_at - time.monotonic())

    def _give_up(self, outcome: Outcome, error: APIError) -> None:
        """Print why an item cannot be followed. A 401 stops all, since five wrong signatures lock a key."""
        item = outcome.item
        advice = advise_read(read_operation(item), error)
        text = f"{one_line(item.name)}: {outcome.verdict}, but it cannot be followed: {error}"
        self._screen.say(text if advice in self._advice_given else f"{text}\n  -> {advice}")
        self._advice_given.add(advice)
        seen = f"the state cannot be read: {error}"
        ended = "unknown" if outcome.verdict == "accepted" else None
        self._ended[item] = replace(outcome, seen=seen, ended=ended)
        if isinstance(error, AuthenticationError | IAMError):
            self._stop()

    def _unfinished(self, outcome: Outcome) -> Outcome:
        """Return the outcome of an item whose work has not ended."""
        if outcome.verdict != "accepted":
            return outcome
        status = self._seen.get(outcome.item)
        if status is None:
            return replace(outcome, ended="unknown")
        return replace(outcome, seen=status.text, ended=status.state)

    # --- Messages ---

    def _text(self) -> str:
        """Return the items, and their status."""
        words = [self._word(each) for each in self._outcomes.values()]
        if len(words) == 1:
            return f"{one_line(next(iter(self._outcomes)).name)}: {words[0]}"
        return ", ".join(f"{count:,} {word}" for word, count in Counter(words).items())

    def _word(self, outcome: Outcome) -> str:
        status = self._seen.get(outcome.item)
        if status is not None:
            return _words(status)
        return "resolving" if outcome.verdict == "unknown" else outcome.verdict

    def _since(self) -> str:
        began = min(outcome.started_at for outcome in self._outcomes.values())
        return duration(max(1, round(time.time() - began)))

    def say_rest(self, followed: list[Outcome]) -> None:
        """Print what failed again, and the command to check what has not ended."""
        for each in followed:
            if each.ended == "failed":
                self._screen.say(f"{one_line(each.item.name)}: ran and failed again: {each.seen}")
            elif each.ended == "unknown" and (status := self._seen.get(each.item)) is not None:
                why = "; this status is not documented: it may have ended" if status.is_new else ""
                self._screen.say(f"{one_line(each.item.name)}: {status.text}{why}")
        left = [
            each for each in followed if "unknown" in {each.verdict, each.ended} or each.ended == "running"
        ]
        if not left:
            return
        running = sum(each.ended == "running" for each in left)
        if self.is_interrupted:
            self._screen.say("stopped waiting: the accepted work continues")
        elif running:
            some = f"{running:,} of {len(followed):,} still running"
            what = "it still runs" if len(followed) == 1 else some
            self._screen.say(f"{what}: the --wait-timeout of {self._timeout:g} s is over")
        command = status_command(self._options, [each.item for each in left])
        self._screen.say(f"to check again:\n  {command}")


def status_command(options: argparse.Namespace, items: Iterable[Item]) -> str:
    """Return the `hwc-retry status` command for items of one kind."""
    words = ["hwc-retry", "status"]
    for option, name in (("--record-id", "record_id"), ("--task-id", "task_id"), ("", "engine_id")):
        ids = [id_ for item in items if (id_ := getattr(item, name)) is not None]
        words += [option, *ids] if ids and option else ids
    for name in _COPIED:
        value = getattr(options, name, None)
        words += [] if value is None else [f"--{name.replace('_', '-')}", value]
    return shlex.join(words)


def _words(status: Status) -> str:
    """Return the status in the service's words; for several runs, with counts."""
    if not status.is_new:
        return "not begun yet"
    if len(status.runs) == 1:
        return one_line(status.runs[0].word)
    counts = Counter(run.word for run in status.runs)
    return ", ".join(f"{count:,} {one_line(word)}" for word, count in counts.items())
