"""Runs a `Bulk`: outcomes on standard output, messages on standard error, signals, exit code."""

import asyncio
import os
from collections.abc import Generator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from threading import Event

from huaweicloud_retry.bulk import Bulk, Item, JournalError

from . import signals
from .advice import in_options
from .exits import CommandError, Exit, OutputError
from .input import Interrupted
from .messages import Messages
from .output import Writer
from .screen import Screen


class Run:
    """Sends all items of a bulk.

    Args:
        bulk: Sends the items.
        screen: Prints.
        messages: Formats the messages.
        writer: Writes the outcomes.
        stop: Set at the first signal.
        journal: The journal file; None: only a few items, without progress and summary.
        grace: The grace period, for the message at the first signal.
    """

    def __init__(  # noqa: PLR0913 - its parts
        self,
        bulk: Bulk,
        screen: Screen,
        messages: Messages,
        *,
        writer: Writer,
        stop: Event,
        journal: Path | None = None,
        grace: float = 60.0,
    ) -> None:
        self._bulk = bulk
        self._screen = screen
        self._messages = messages
        self._writer = writer
        self._stop = stop
        self._journal = journal
        self._grace = grace
        self._signals = 0
        self._done: set[Item] = set()  # only without a journal
        self._output_failure: OutputError | None = None

    async def go(self, few: list[Item] | None = None) -> Exit:
        """Send all items; returns the exit code.

        Args:
            few: The items, if there are few enough to list them.

        Raises:
            CommandError: The journal cannot be used, or can no longer be written.
            ConfigurationError, InputError: As in `Bulk` and in the iterator of items.
            OutputError: The output can no longer be written; the outcomes are in the journal.
        """
        signals.handle(asyncio.get_running_loop(), self._interrupt)
        watch = asyncio.create_task(self._messages.watch(self._bulk)) if self._journal else None
        try:
            await self._send()
        finally:
            if watch:
                watch.cancel()
                with suppress(asyncio.CancelledError):
                    await watch
            self._screen.do(self._messages.end_progress)
            if self._bulk.counts.total and self._output_failure is None:
                self._screen.do(self._writer.end)
            if few is None:
                self._messages.sum_up(self._bulk)
            else:
                unsent = [item for item in dict.fromkeys(few) if item not in self._done]
                self._messages.say_unsent(self._bulk, unsent)
            with self._stop_on_output_error():
                if not await self._screen.close():
                    # A normal exit would wait for the blocked printing thread; the journal is already closed.
                    os._exit(Exit.INTERRUPTED)
        if self._output_failure:
            raise self._output_failure
        return self._exit_code()

    async def _send(self) -> None:
        try:
            async with aclosing(aiter(self._bulk)) as outcomes:
                async for outcome in outcomes:
                    self._messages.say_plan(self._bulk)
                    if self._journal is None:
                        self._done.add(outcome.item)
                    if self._output_failure is None:
                        self._screen.do(self._writer.write, outcome)
                        self._messages.say_reason(outcome)
                    with self._stop_on_output_error():
                        await self._screen.catch_up()
            self._messages.say_plan(self._bulk)
        except Interrupted:
            pass
        except JournalError as error:
            self._messages.say_unwritten(error)
            is_unknown = error.unwritten or self._bulk.counts.sending or self._bulk.counts.unknown
            code = Exit.USAGE
            if is_unknown:
                code = Exit.UNKNOWN
            elif self._bulk.plan is not None:  # the run had begun: some items were not sent
                code = Exit.REFUSED
            raise CommandError(in_options(str(error)), code) from error

    @contextmanager
    def _stop_on_output_error(self) -> Generator[None, None, None]:
        """Stop the run when the output can no longer be written."""
        try:
            yield
        except OutputError as error:
            self._output_failure = error
            self._bulk.stop()

    def _interrupt(self) -> None:
        self._signals += 1
        self._stop.set()
        if self._signals == 1:
            wait = f"waiting for requests in flight, {self._grace:g} s at most"
            self._screen.say_now(
                f"interrupted: nothing more is sent; {wait}. Press Ctrl-C again to end at once"
            )
            self._bulk.stop()
        elif self._signals == 2:  # noqa: PLR2004 - the second Ctrl-C
            self._bulk.abort()
            self._screen.hurry()
        else:
            os._exit(Exit.INTERRUPTED)  # a blocked stdout could delay the end; the journal survives this

    def _exit_code(self) -> Exit:
        counts = self._bulk.counts
        if self._signals:
            return Exit.INTERRUPTED
        if counts.unknown or counts.sending:
            return Exit.UNKNOWN
        return Exit.REFUSED if counts.refused or counts.planned or self._bulk.halted else Exit.OK
