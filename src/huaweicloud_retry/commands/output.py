"""Outcomes on standard output: JSON, JSON lines or a table; messages on standard error.

All of it happens in one thread of its own: whoever reads may stop reading, as `less` does, and requests that are under way
must not time out because of that.
"""

import asyncio
import json
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from threading import Thread
from typing import Any, Final, Protocol

from huaweicloud_retry.bulk import Outcome
from huaweicloud_retry.runtime.redaction import one_line

from .common import CommandError, printing

_LAST: Final = 1.0  # seconds that `hurry` leaves to what is to be written
_AHEAD: Final = 1000  # of what is to be written, that may wait for whoever reads
_STYLES: Final = {"accepted": "green", "refused": "red", "unknown": "yellow"}
_NEEDS_RICH: Final = "a table needs rich: pip install 'huaweicloud-retry[cli]', or choose --output jsonl"


class Writer(Protocol):
    """Writes outcomes on standard output."""

    def write(self, outcome: Outcome) -> None:
        """Write one, or keep it until the end."""

    def end(self) -> None:
        """Write what is left."""


class JSONLines:
    """A JSON object on each line, as they come."""

    def write(self, outcome: Outcome) -> None:
        """Write one, at once."""
        _print(json.dumps(outcome.to_dict()) + "\n")

    def end(self) -> None:
        """Nothing is left."""


class JSONArray:
    """One JSON array, one outcome on each line, as they come."""

    def __init__(self) -> None:
        self._before = "["

    def write(self, outcome: Outcome) -> None:
        """Write one, at once."""
        _print(self._before + json.dumps(outcome.to_dict()))
        self._before = ",\n "

    def end(self) -> None:
        """Close the array."""
        _print("[]\n" if self._before == "[" else "]\n")


class EachInTable:
    """A table with a row for each outcome, at the end."""

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []

    def write(self, outcome: Outcome) -> None:
        """Keep it."""
        self._outcomes.append(outcome)

    def end(self) -> None:
        """Print them all."""
        rows = [(o.verdict, o.item.name, o.message, f"{o.seconds:.1f}") for o in self._outcomes]
        _print_table(("", "", "result", "seconds"), rows)


class ReasonsInTable:
    """A table with a row for each reason why something was not accepted, and how often, at the end."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, str, int | None, str | None], tuple[int, Outcome]] = {}

    def write(self, outcome: Outcome) -> None:
        """Count it."""
        if outcome.verdict != "accepted":
            reason = (outcome.verdict, outcome.item.operation, outcome.status, outcome.error_code)
            count, first = self._reasons.get(reason, (0, outcome))
            self._reasons[reason] = (count + 1, first)

    def end(self) -> None:
        """Print the reasons, the most frequent first."""
        by_count = sorted(self._reasons.values(), key=lambda each: -each[0])
        rows = [(first.verdict, f"{count:,}", first.message, first.item.name) for count, first in by_count]
        _print_table(("", "how many", "reason, of the first", "the first"), rows)


def chosen(output: str | None, *, on_terminal: type[Writer], else_: type[Writer]) -> Writer:
    """Return the writer that was asked for, or the one that fits where standard output goes.

    Args:
        output: Of --output.
        on_terminal: What `table` is.
        else_: What it is by default if standard output is no terminal, or there is no rich.

    Raises:
        CommandError: a table was asked for, and there is no rich.
    """
    has_rich = find_spec("rich") is not None
    if output is None:
        return on_terminal() if sys.stdout.isatty() and has_rich else else_()
    if output == "table" and not has_rich:
        raise CommandError(_NEEDS_RICH)
    by_name: dict[str, type[Writer]] = {"json": JSONArray, "jsonl": JSONLines, "table": on_terminal}
    return by_name[output]()


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich import box  # noqa: PLC0415 - is no part of the base install
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not rows:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for verdict, *cells in rows:
        table.add_row(Text(verdict, style=_STYLES[verdict]), *(Text(one_line(cell, 1200)) for cell in cells))
    Console(highlight=False).print(table)
    sys.stdout.flush()


class Screen:
    """The thread that prints, and the command's voice on standard error."""

    def __init__(self, prog: str) -> None:
        self._prog = prog
        self._thread = ThreadPoolExecutor(1, "huaweicloud-retry-output")
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._hurried = asyncio.Event()
        self.say_line: Callable[[str], None] = _to_stderr
        """Prints a line on standard error; another while there is a progress bar."""

    def say(self, text: str) -> None:
        """Say something on standard error."""
        self.do(self.say_here, text)

    def say_here(self, text: str) -> None:
        """Say it now; in that thread only."""
        self.say_line(f"{self._prog}: {text}")

    def say_now(self, text: str) -> None:
        """Say it even while that thread is held up by whoever reads standard output."""
        if self.is_behind:
            # A thread of its own: standard error may be held up too.
            Thread(target=self.say_here, args=(text,), daemon=True).start()
        else:
            self.say(text)

    def hurry(self) -> None:
        """Wait no more for whoever reads, but a moment at the end."""
        self._hurried.set()

    def do(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in that thread, after all before it."""
        self._pending.append(asyncio.get_running_loop().run_in_executor(self._thread, _printed, function, *args))

    @property
    def is_behind(self) -> bool:
        """Something waits to be printed."""
        return any(not each.done() for each in self._pending)

    async def caught_up(self, *, wholly: bool = False) -> None:
        """Wait if too much waits to be printed; not after `hurry`.

        Args:
            wholly: wait for all of it.

        Raises:
            OutputError: it cannot be printed.
        """
        most = 0 if wholly else _AHEAD
        while self._pending and (self._pending[0].done() or len(self._pending) > most):
            if not self._pending[0].done():
                hurried = asyncio.create_task(self._hurried.wait())
                await asyncio.wait([self._pending[0], hurried], return_when=asyncio.FIRST_COMPLETED)
                hurried.cancel()
                if not self._pending[0].done():
                    return
            await self._pending.popleft()

    async def close(self) -> bool:
        """Wait for all of it, and end the thread; False: `hurry` was called, and whoever reads still holds it up.

        Raises:
            OutputError: it cannot be printed.
        """
        try:
            await self.caught_up(wholly=True)
            if self._pending:
                await asyncio.wait(self._pending, timeout=_LAST)
                await self.caught_up(wholly=True)
            return not self._pending
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)


def _printed(function: Callable[..., object], *args: Any) -> None:
    with printing():
        function(*args)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the command's voice
