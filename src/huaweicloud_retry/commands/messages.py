"""The messages of a run, on standard error."""

import asyncio
import shlex
import time
from pathlib import Path

from huaweicloud_retry.bulk import Bulk, Counts, Item, JournalError, Outcome, Plan
from huaweicloud_retry.runtime.redaction import one_line

from .advice import advise
from .progress import Bar, Lines, Progress, Speed
from .screen import Screen
from .wording import duration, utc

_WHAT = {"refused": "not processed", "unknown": "unknown, it may have been processed"}


class Messages:
    """Prints the plan, the progress, errors with advice, and the summary.

    Args:
        screen: Prints.
        journal: The journal file, or None.
        is_quiet: Print only errors.
        has_bar: Show progress as a bar, otherwise as a line every few seconds.
        rate: Requests a second, as configured; None: no limit.
    """

    def __init__(
        self,
        screen: Screen,
        journal: Path | None = None,
        *,
        is_quiet: bool = False,
        has_bar: bool = False,
        rate: float | None = None,
    ) -> None:
        self.read = 0
        """Number of retries read from the input."""
        self._screen = screen
        self._journal = journal
        self._is_quiet = is_quiet
        self._has_bar = has_bar
        self._rate = rate
        self._progress: Progress = Lines(screen.say_here)
        self._speed = Speed()
        self._advice_given: set[str] = set()
        self._last_reason = ""
        self._is_plan_said = False
        self._has_journal_failed = False

    async def watch(self, bulk: Bulk) -> None:
        """Show the progress, until this is cancelled."""
        while True:
            await asyncio.sleep(self._progress.every)
            self.say_plan(bulk)
            if self._screen.is_behind or self._is_quiet:
                continue
            counts = bulk.counts
            if not counts.total:
                text = f"reading the input: {self.read:,} retries so far"
                self._screen.do(self._progress.show, text, 0, None)
                continue
            text = self._speed.text(counts, now=time.monotonic(), allowed=bulk.rate, limit=self._rate)
            done = counts.total - counts.planned - counts.sending
            self._screen.do(self._progress.show, text, done, counts.total)

    def end_progress(self) -> None:
        """Remove the progress bar."""
        self._progress.end()

    def say_plan(self, bulk: Bulk) -> None:
        """Print the plan, once."""
        plan, counts = bulk.plan, bulk.counts
        if self._is_plan_said or plan is None or self._journal is None:
            return
        self._is_plan_said = True
        self._speed.begin(counts, time.monotonic())
        if self._is_quiet:
            return
        for line in plan_lines(plan, self._journal):
            self._screen.say(line)
        if self._has_bar:
            self._progress = bar = Bar()
            self._screen.say_line = bar.say_line

    def say_attempt(self, item: Item, attempt: int, why: str, seconds: float) -> None:
        """Print that an item is resent."""
        self._screen.say(f"{one_line(item.name)}: attempt {attempt}: {why}; resending in {duration(seconds)}")

    def say_reason(self, outcome: Outcome) -> None:
        """Print why an item was not accepted, and advice; each advice once."""
        if outcome.verdict == "accepted":
            return
        advice = advise(outcome)
        if advice not in self._advice_given:
            self._advice_given.add(advice)
            self._last_reason = outcome.message
            name, what = one_line(outcome.item.name), _WHAT[outcome.verdict]
            self._screen.say(f"{name}: {what}: {outcome.message}\n  -> {advice}")

    def say_unwritten(self, error: JournalError) -> None:
        """Print the outcomes that the journal lacks."""
        self._has_journal_failed = True
        for outcome in error.unwritten:
            self._screen.say(f"not in the journal: {outcome.verdict}: {outcome.item.name}: {outcome.message}")

    def say_unsent(self, bulk: Bulk, items: list[Item]) -> None:
        """Print the items that were not sent, and why."""
        self._say_halt(bulk)
        if items and bulk.counts.planned:
            self._screen.say(f"{len(items)} not sent: {', '.join(one_line(item.name) for item in items)}")

    def sum_up(self, bulk: Bulk) -> None:
        """Print the summary, and what to do next."""
        counts = bulk.counts
        self._say_halt(bulk)
        if self._is_quiet or not self._is_plan_said:
            return
        self._screen.say(f"{_counted(counts.total, 'retry', 'retries')}: {counts_in_words(counts)}")
        if self._has_journal_failed:
            return
        file = shlex.quote(str(self._journal))
        if counts.planned:
            self._screen.say("to send the rest, run the same command again")
        if counts.refused or counts.unknown:
            self._screen.say(f"to list refused and unknown items with reasons: hwc-retry report {file}")
        if counts.refused:
            self._screen.say("to resend the refused items, add --retry-refused")
        if counts.unknown:
            self._screen.say(
                f"to find out whether the unknown items were processed: hwc-retry resolve {file}"
            )
            self._screen.say("to resend the unknown items, which may run them twice, add --resend-unknown")

    def _say_halt(self, bulk: Bulk) -> None:
        if bulk.halted:
            why = bulk.halted.replace(self._last_reason, "see above") if self._last_reason else bulk.halted
            self._screen.say(f"stopped: {why}")


def plan_lines(plan: Plan, journal: Path | None) -> list[str]:
    """Return the lines that describe a plan.

    Args:
        plan: The plan of the run.
        journal: The journal file; None: there is none yet.
    """
    about = _counted(plan.items, "retry", "retries")
    if plan.duplicates:
        about = f"{about}; {_counted(plan.duplicates, 'duplicate', 'duplicates')} sent once"
    lines = [f"{about}; journal {journal}" if journal else about]
    if plan.vanished:
        names = ", ".join(one_line(name) for name in plan.vanished_names)
        more = plan.vanished - len(plan.vanished_names)
        names += f" and {more:,} more" if more else ""
        lines.append(f"no longer in the input, unchanged in the journal: {names}")
    if plan.resumed:
        added = f"; new in the input {plan.added:,}" if plan.added else ""
        lines.append(f"earlier runs: {counts_in_words(plan.before)}{added}")
        if plan.items and not plan.to_send:
            lines.append(_nothing_to_send(plan, journal))
    return lines


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _nothing_to_send(plan: Plan, journal: Path | None) -> str:
    if plan.before.accepted < plan.items or plan.accepted_at is None:
        return "nothing to send; to resend refused or unknown items: --retry-refused, --resend-unknown"
    again, when = shlex.quote(f"{journal}.2"), utc(plan.accepted_at)
    which = "it was accepted on" if plan.items == 1 else f"all {plan.items:,} were accepted, the last on"
    return f"nothing to send: {which} {when}; to resend them, give another journal: --journal {again}"


def counts_in_words(counts: Counts) -> str:
    """Return counts in words."""
    unknown = counts.unknown + counts.sending
    text = f"accepted {counts.accepted:,}, refused {counts.refused:,}, unknown {unknown:,}"
    return f"{text}, not sent {counts.planned:,}" if counts.planned else text
