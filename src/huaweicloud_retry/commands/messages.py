"""What a run says on standard error."""

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
    """Says what a run is about, how far it is, why something was not accepted, and what to do next.

    Args:
        screen: Prints.
        journal: None: there is none, so there is nothing to say of it.
        is_quiet: Say only what went wrong.
        has_bar: Progress is a bar, else a line every few seconds.
        rate: Requests a second that were asked for; None: no limit.
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
        """How many retries of the input were read."""
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
        self._is_journal_lost = False

    async def watch(self, bulk: Bulk) -> None:
        """Show how far it is, until it is cancelled."""
        while True:
            await asyncio.sleep(self._progress.every)
            self.say_plan(bulk)
            if self._screen.is_behind or self._is_quiet:
                continue
            counts = bulk.counts
            if not counts.total:
                self._screen.do(
                    self._progress.show, f"reading the input: {self.read:,} retries so far", 0, None
                )
                continue
            text = self._speed.text(counts, now=time.monotonic(), allowed=bulk.rate, limit=self._rate)
            done = counts.total - counts.planned - counts.sending
            self._screen.do(self._progress.show, text, done, counts.total)

    def end_progress(self) -> None:
        """Leave the terminal as it was."""
        self._progress.end()

    def say_plan(self, bulk: Bulk) -> None:
        """Say once what the run is about."""
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
        """Say that an item is to be sent again."""
        self._screen.say(f"{one_line(item.name)}: attempt {attempt}: {why}; resending in {duration(seconds)}")

    def say_reason(self, outcome: Outcome) -> None:
        """Say why an item was not accepted, and what to do; once for all with the same advice."""
        if outcome.verdict == "accepted":
            return
        advice = advise(outcome)
        if advice not in self._advice_given:
            self._advice_given.add(advice)
            name, what, self._last_reason = (
                one_line(outcome.item.name),
                _WHAT[outcome.verdict],
                outcome.message,
            )
            self._screen.say(f"{name}: {what}: {outcome.message}\n  -> {advice}")

    def say_unwritten(self, error: JournalError) -> None:
        """Say what came of items and is in no journal."""
        self._is_journal_lost = True
        for outcome in error.unwritten:
            self._screen.say(f"not in the journal: {outcome.verdict}: {outcome.item.name}: {outcome.message}")

    def name_unsent(self, bulk: Bulk, items: list[Item]) -> None:
        """Say which of a few items were not sent, and why."""
        self._say_halt(bulk)
        if items and bulk.counts.planned:
            self._screen.say(f"{len(items)} not sent: {', '.join(one_line(item.name) for item in items)}")

    def sum_up(self, bulk: Bulk) -> None:
        """Say what came of it all, and what to do next."""
        counts = bulk.counts
        self._say_halt(bulk)
        if self._is_quiet or not self._is_plan_said:
            return
        self._screen.say(f"{_counted(counts.total, 'retry', 'retries')}: {counts_in_words(counts)}")
        if self._is_journal_lost:
            return
        if counts.planned:
            self._screen.say("the same command goes on with those that were not sent")
        if counts.refused or counts.unknown:
            file = shlex.quote(str(self._journal))
            self._screen.say(f"hwc-retry report {file} lists those that were not accepted, and why")
        if counts.refused:
            self._screen.say("--retry-refused sends those that were refused again")
        if counts.unknown:
            self._screen.say(
                f"hwc-retry resolve {shlex.quote(str(self._journal))} looks at the service what became of those that are "
                "unknown; --resend-unknown sends them again, which may run them twice"
            )

    def _say_halt(self, bulk: Bulk) -> None:
        if bulk.halted:
            why = bulk.halted.replace(self._last_reason, "see above") if self._last_reason else bulk.halted
            self._screen.say(f"stopped: {why}")


def plan_lines(plan: Plan, journal: Path | None) -> list[str]:
    """Return what a run is about, a line each.

    Args:
        plan: Of the run.
        journal: None: there is none yet.
    """
    about = _counted(plan.items, "retry", "retries")
    if plan.duplicates:
        about = f"{about}; {_counted(plan.duplicates, 'duplicate', 'duplicates')} sent once"
    lines = [f"{about}; journal {journal}" if journal else about]
    if plan.vanished:
        names = ", ".join(one_line(name) for name in plan.vanished_names)
        more = plan.vanished - len(plan.vanished_names)
        names += f" and {more:,} more" if more else ""
        lines.append(f"no longer in the input, and left as they are in the journal: {names}")
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
        return "nothing to send: what was refused or is unknown is sent again only if asked"
    again, when = shlex.quote(f"{journal}.2"), utc(plan.accepted_at)
    which = "it was accepted on" if plan.items == 1 else f"all {plan.items:,} were accepted, the last on"
    return f"nothing to send: {which} {when}; to send them again, give another journal: --journal {again}"


def counts_in_words(counts: Counts) -> str:
    """Return counts as a line has them."""
    unknown = counts.unknown + counts.sending
    text = f"accepted {counts.accepted:,}, refused {counts.refused:,}, unknown {unknown:,}"
    return f"{text}, not sent {counts.planned:,}" if counts.planned else text
