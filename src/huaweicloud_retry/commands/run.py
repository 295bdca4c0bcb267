"""One run of `Bulk`: its outcomes to standard output, its messages to standard error, its signals, its exit code."""

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
        bulk: What is to be sent.
        screen: Prints.
        messages: Says what happens.
        writer: Of the outcomes.
        stop: Is set at the first signal.
        journal: None: it is about a few, so there is no progress and no summary.
        grace: Seconds that requests in flight have after the first signal, for the message about it.
    """

    def __init__(  # noqa: PLR0913 - what it connects
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
        self._done: set[Item] = set()  # of a few
        self._output_failure: OutputError | None = None

    async def go(self, few: list[Item] | None = None) -> Exit:
        """Send all; returns the exit code.

        Args:
            few: The items, if they are few enough to be named.

        Raises:
            CommandError: The journal cannot be used, or not be written any more.
            ConfigurationError, InputError: As of `Bulk` and of the items.
            OutputError: Nothing can be printed any more; what was in flight is in the journal.
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
                self._messages.name_unsent(
                    self._bulk, [item for item in dict.fromkeys(few) if item not in self._done]
                )
            with self._minding_output():
                if not await self._screen.close():
                    # The thread that prints would be waited for; the journal is closed already.
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
                    with self._minding_output():
                        await self._screen.caught_up()
            self._messages.say_plan(self._bulk)
        except Interrupted:
            pass
        except JournalError as error:
            self._messages.say_unwritten(error)
            is_unknown = error.unwritten or self._bulk.counts.sending or self._bulk.counts.unknown
            has_begun = self._bulk.plan is not None  # so the rest was not sent
            code = Exit.UNKNOWN if is_unknown else Exit.REFUSED if has_begun else Exit.USAGE
            raise CommandError(in_options(str(error)), code) from error

    @contextmanager
    def _minding_output(self) -> Generator[None, None, None]:
        """Stop, in order, when nothing can be printed any more."""
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
            self._screen.say_now(f"interrupted: nothing more is sent; {wait}. Ctrl-C again ends at once")
            self._bulk.stop()
        elif self._signals == 2:  # noqa: PLR2004 - the second Ctrl-C
            self._bulk.abort()
            self._screen.hurry()
        else:
            os._exit(
                Exit.INTERRUPTED
            )  # the reader of stdout may hold it up; the journal is true at any moment

    def _exit_code(self) -> Exit:
        counts = self._bulk.counts
        if self._signals:
            return Exit.INTERRUPTED
        if counts.unknown or counts.sending:
            return Exit.UNKNOWN
        return Exit.REFUSED if counts.refused or counts.planned or self._bulk.halted else Exit.OK
