"""Runs a `Followup`: prints its outcomes on standard output, progress and totals on standard error."""

import asyncio
import os
from collections import Counter
from contextlib import aclosing, suppress
from typing import Final

from huaweicloud_retry.bulk import Followup

from . import signals
from .exits import Exit
from .messages import counts_in_words
from .output import Writer
from .progress import Bar, Lines, Progress
from .screen import Screen
from .wording import ENDED

_FOUND: Final = {"accepted": "accepted", "refused": "not run", "unknown": "still unknown"}


class OpenWriter:
    """Keeps a writer open after a run, for the follow-up."""

    def __init__(self, writer: Writer) -> None:
        self.write = writer.write

    def end(self) -> None:
        """Do nothing."""


async def follow(  # noqa: PLR0913 - its parts
    followup: Followup, writer: Writer, prog: str, *, is_quiet: bool, has_bar: bool, is_waiting: bool
) -> Exit:
    """Follow the items of a journal; returns the exit code.

    Args:
        followup: Yields the outcomes.
        writer: Writes the outcomes.
        prog: Name of the command.
        is_quiet: Print only errors.
        has_bar: Show progress as a bar, otherwise as a line every few seconds.
        is_waiting: Include the end of the work in the exit code.

    Raises:
        JournalError, ConfigurationError: As in `Followup`.
        OutputError: The output can no longer be written.
    """
    screen = Screen(prog)
    progress: Progress = Lines(screen.say_here)
    if has_bar:
        progress = bar = Bar()
        screen.say_line = bar.say_line
    following = Following(followup, screen, writer, is_quiet=is_quiet, progress=progress)
    signals.handle(asyncio.get_running_loop(), following.stop)
    try:
        await following.go()
        return following.exit_code(is_waiting=is_waiting)
    finally:
        screen.do(writer.end)
        if not await screen.close():
            # A normal exit would wait for the blocked printing thread; the journal is already closed.
            os._exit(Exit.INTERRUPTED)


class Following:
    """Follows the items of a journal.

    Args:
        followup: Yields the outcomes.
        screen: Prints.
        writer: Writes the outcomes.
        is_quiet: Print only errors.
        progress: Shows the progress.
    """

    def __init__(
        self, followup: Followup, screen: Screen, writer: Writer, *, is_quiet: bool, progress: Progress
    ) -> None:
        self._followup = followup
        self._screen = screen
        self._writer = writer
        self._is_quiet = is_quiet
        self._progress = progress
        self._task: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._said = ""

    async def go(self) -> None:
        """Follow all items, or until `stop`.

        Raises:
            JournalError, ConfigurationError: As in `Followup`.
            OutputError: The output can no longer be written.
        """
        self._task = asyncio.create_task(self._follow())
        watch = asyncio.create_task(self._watch())
        try:
            await self._task
        except asyncio.CancelledError:
            if not self._is_stopped:
                raise
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            self._screen.do(self._progress.end)
        self._sum_up()

    def stop(self) -> None:
        """Stop now; the outcomes so far are in the journal. Called again, it does not wait for the output."""
        if self._is_stopped:
            self._screen.hurry()
        self._is_stopped = True
        if self._task is not None:
            self._task.cancel()

    async def _follow(self) -> None:
        async with aclosing(aiter(self._followup)) as found:
            async for outcome in found:
                self._screen.do(self._writer.write, outcome)
                await self._screen.catch_up()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._progress.every)
            if self._is_quiet or self._screen.is_behind:
                continue
            found, left = self._followup.found, self._followup.left
            done = sum(found.values())
            parts = (in_words(found, _FOUND), in_words(found, ENDED), f"{left:,} left")
            text = "; ".join(filter(None, parts))
            if text != self._said or isinstance(self._progress, Bar):
                self._said = text
                self._screen.do(self._progress.show, text, done, done + left)

    def _sum_up(self) -> None:
        followup, found = self._followup, self._followup.found
        if followup.halted:
            self._screen.say(f"stopped: {followup.halted}")
        if self._is_stopped:
            self._screen.say("interrupted: the accepted work continues; run the same command to check again")
        if self._is_quiet:
            return
        resolved, waited = (sum(found[name] for name in names) for names in (_FOUND, ENDED))
        if resolved:
            self._screen.say(f"{resolved:,} unknown before: {in_words(found, _FOUND)}")
        if waited:
            self._screen.say(f"{waited:,} accepted: {in_words(found, ENDED)}")
        if found["refused"]:
            self._screen.say("to send the items that were not run, run the same bulk command again")
        self._screen.say(f"whole journal: {counts_in_words(followup.counts)}")

    def exit_code(self, *, is_waiting: bool) -> Exit:
        """Return the exit code for the whole journal; `is_waiting` includes the end of the work."""
        counts, ended = self._followup.counts, self._followup.ended if is_waiting else Counter[str]()
        if self._is_stopped:
            return Exit.INTERRUPTED
        if counts.unknown or counts.sending:
            return Exit.UNKNOWN
        if counts.refused or counts.planned:
            return Exit.REFUSED
        if ended["failed"]:
            return Exit.FAILED
        return Exit.RUNNING if ended["running"] else Exit.OK


def in_words(found: dict[str, int], names: dict[str, str]) -> str:
    """Return the numbers that are not 0, in words."""
    return ", ".join(f"{found[name]:,} {what}" for name, what in names.items() if found[name])
