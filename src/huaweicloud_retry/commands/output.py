"""Outcomes on standard output: JSON, JSON lines, CSV or a table."""

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final, Protocol

from huaweicloud_retry.bulk import Outcome
from huaweicloud_retry.runtime.redaction import one_line

from .exits import CommandError
from .output_csv import CSV_HEADER, csv_row
from .wording import ENDED, duration

_STYLES: Final = {
    "accepted": "green",
    "refused": "red",
    "unknown": "yellow",
    "succeeded": "green",
    "failed": "red",
    "running": "yellow",
    "": "",
}
_NEEDS_RICH: Final = "a table needs rich: pip install 'huaweicloud-retry[cli]', or choose --output jsonl"


class Writer(Protocol):
    """Writes outcomes on standard output."""

    def write(self, outcome: Outcome) -> None:
        """Write one outcome, or keep it until `end`."""

    def end(self) -> None:
        """Write the rest."""


class JSONLines:
    """Writes each outcome at once, as a line of JSON."""

    def write(self, outcome: Outcome) -> None:
        """Write a line."""
        _print(json.dumps(outcome.to_dict()) + "\n")

    def end(self) -> None:
        """Do nothing."""


class JSONArray:
    """Writes each outcome at once, as a line of a JSON array."""

    def __init__(self) -> None:
        self._before = "["

    def write(self, outcome: Outcome) -> None:
        """Write a line."""
        _print(self._before + json.dumps(outcome.to_dict()))
        self._before = ",\n "

    def end(self) -> None:
        """Close the array."""
        _print("[]\n" if self._before == "[" else "]\n")


class CSV:
    """Writes each outcome at once, as a line of CSV, which `bulk` can read."""

    def __init__(self) -> None:
        self._before = CSV_HEADER

    def write(self, outcome: Outcome) -> None:
        """Write a line, the first one with the header."""
        _print(self._before + csv_row(outcome.to_dict()))
        self._before = ""

    def end(self) -> None:
        """Write the header, if there was no line."""
        _print(self._before)


class EachInTable:
    """At the end, prints a table with a row for each outcome."""

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []

    def write(self, outcome: Outcome) -> None:
        """Keep the outcome."""
        self._outcomes.append(outcome)

    def end(self) -> None:
        """Print the table."""
        rows = [(o.verdict, duration(o.seconds), f"{o.item.name}: {o.message}") for o in self._outcomes]
        print_table(("", "took", "result"), rows)


class EndsInTable(EachInTable):
    """The same, with the end of the work."""

    def end(self) -> None:
        """Print the table."""
        rows: list[tuple[str, ...]] = []
        for each in self._outcomes:
            name, text = each.item.name, (each.ended and each.seen) or each.message
            rows.append((each.ended or each.verdict, text if text.startswith(name) else f"{name}: {text}"))
        print_table(("", "result"), rows)


class ReasonsInTable:
    """At the end, prints a table with a row for each reason of refused and unknown items."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, str, int | None, str | None], tuple[int, Outcome]] = {}

    def write(self, outcome: Outcome) -> None:
        """Count the outcome."""
        if outcome.verdict != "accepted":
            reason = (outcome.verdict, outcome.item.operation, outcome.status, outcome.error_code)
            count, first = self._reasons.get(reason, (0, outcome))
            self._reasons[reason] = (count + 1, first)

    def end(self) -> None:
        """Print the reasons, the most frequent first."""
        by_count = sorted(self._reasons.values(), key=lambda each: -each[0])
        rows = [
            (first.verdict, f"{count:,}", f"{first.item.name}: {first.message}") for count, first in by_count
        ]
        print_table(("", "items", "the first of them"), rows)


class FoundInTable:
    """At the end, prints a table with a row for each item that was resolved, or has not succeeded."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, ...]] = []

    def write(self, outcome: Outcome) -> None:
        """Keep the outcome, unless its work has succeeded."""
        if outcome.ended is not None and outcome.ended != "succeeded":
            self._rows.append((ENDED[outcome.ended], f"{outcome.item.name}: {outcome.seen}"))
        elif outcome.ended is None:
            label = "not run" if outcome.verdict == "refused" else outcome.verdict
            self._rows.append((label, f"{outcome.item.name}: {outcome.seen}"))

    def end(self) -> None:
        """Print the table."""
        print_table(("", "what the service showed"), self._rows)


def chosen(output: str | None, *, on_terminal: type[Writer], else_: type[Writer]) -> Writer:
    """Return the writer for --output, or the default.

    Args:
        output: Value of --output, or None.
        on_terminal: Writer for `table`, the default on a terminal with rich installed.
        else_: Default otherwise.

    Raises:
        CommandError: --output is table, but rich is not installed.
    """
    if is_table(output):
        return on_terminal()
    by_name: dict[str | None, type[Writer]] = {"json": JSONArray, "jsonl": JSONLines, "csv": CSV, None: else_}
    return by_name[output]()


def is_table(output: str | None) -> bool:
    """Return whether to print a table: --output is table, or by default on a terminal with rich installed.

    Raises:
        CommandError: --output is table, but rich is not installed.
    """
    has_rich = find_spec("rich") is not None
    if output == "table" and not has_rich:
        raise CommandError(_NEEDS_RICH)
    return output == "table" or (output is None and has_rich and sys.stdout.isatty())


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table; the first cell of a row is its verdict or state."""
    from rich import box  # noqa: PLC0415 - not in the base install
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not rows:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    for verdict, *cells in rows:
        texts = (Text(one_line(cell, 1200)) for cell in cells)
        table.add_row(Text(verdict, style=_STYLES.get(verdict, "red")), *texts)
    Console(highlight=False).print(table)
    sys.stdout.flush()
