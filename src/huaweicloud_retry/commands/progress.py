"""Progress: a bar on a terminal, otherwise a line every few seconds."""

import os
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import Final, Protocol

from huaweicloud_retry.bulk import Counts

from .wording import duration

_WINDOW: Final = 10.0  # seconds over which the speed is measured


class Progress(Protocol):
    """Shows the progress."""

    every: float
    """Seconds between two updates."""

    def show(self, text: str, done: int, total: int | None) -> None:
        """Show the progress; total is None until it is known."""

    def end(self) -> None:
        """Remove it from the terminal."""


class Lines:
    """A line every few seconds, for logs."""

    every = 3.0

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def show(self, text: str, done: int, total: int | None) -> None:  # noqa: ARG002 - the text has them
        """Print a line."""
        self._say(text)

    def end(self) -> None:
        """Do nothing."""


class Bar:
    """A bar at the bottom of the terminal."""

    every = 0.2

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - not in the base install
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415
        from rich.progress import Progress as RichProgress  # noqa: PLC0415

        self._progress = RichProgress(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True, highlight=False),
            auto_refresh=False,
            transient=True,  # the summary replaces it
            redirect_stdout=False,  # standard output can be a file
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=None)
        self._progress.start()

    def say_line(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, markup=False, soft_wrap=True)

    def show(self, text: str, done: int, total: int | None) -> None:
        """Update the bar."""
        self._progress.update(self._task, description=text, completed=done, total=total, refresh=True)

    def end(self) -> None:
        """Remove the bar."""
        self._progress.stop()


class Line:
    """A line at the bottom of the terminal, without rich."""

    every = 0.5

    def __init__(self) -> None:
        self._shown = ""

    def say_line(self, text: str) -> None:
        """Print another line above it."""
        _to_stderr(f"{self._cleared()}{text}\n")

    def show(self, text: str, done: int, total: int | None) -> None:  # noqa: ARG002 - the text has them
        """Update the line. A long one is cut in the middle, since its end is the progress."""
        with suppress(OSError):
            width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
            if width > 0 and len(text) > width:
                text = f"{text[: width // 2]}…{text[len(text) - (width - width // 2 - 1) :]}"
        _to_stderr(f"{self._cleared()}{text}")
        self._shown = text

    def end(self) -> None:
        """Remove the line."""
        _to_stderr(self._cleared())

    def _cleared(self) -> str:
        shown, self._shown = self._shown, ""
        return f"\r{' ' * len(shown)}\r" if shown else ""


def _to_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def line_fits() -> bool:
    """Return whether stderr is a terminal that can update a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in {"dumb", "unknown", None}


def bar_fits(*, stdout_is_written: bool) -> bool:
    """Return whether stderr is a terminal for a bar, and no output is written there meanwhile."""
    return line_fits() and find_spec("rich") is not None and not (stdout_is_written and sys.stdout.isatty())


class Speed:
    """The current speed, in items a second."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def begin(self, counts: Counts, now: float) -> None:
        """Start measuring; otherwise the first `text` does."""
        self._seen.append((now, _done(counts)))

    def text(self, counts: Counts, *, now: float, allowed: float, limit: float | None) -> str:
        """Return counts, speed and time left in one line.

        Args:
            counts: Counts of the input.
            now: Seconds of a monotonic clock.
            allowed: Requests a second that are allowed now.
            limit: The same without throttling, or None.
        """
        done = _done(counts)
        self._seen.append((now, done))
        while now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        then, before = self._seen[0]
        speed = (done - before) / (now - then) if now > then else 0.0
        parts = [
            f"accepted {counts.accepted:,}, refused {counts.refused:,}, unknown {counts.unknown:,}",
            f"{speed:.0f}/s",
        ]
        if limit is not None and allowed < limit:
            parts.append(f"throttled to {allowed:.0f}/s")
        left = counts.planned + counts.sending
        if speed and left:
            parts.append(f"{duration(left / speed)} left")
        return "; ".join(parts)


def _done(counts: Counts) -> int:
    return counts.accepted + counts.refused + counts.unknown
