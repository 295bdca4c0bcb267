"""The summary of a journal on a terminal. Lines break between words."""

from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from huaweicloud_retry.bulk.report import Reason, Summary
from huaweicloud_retry.runtime.redaction import one_line

from .advice import advise
from .wording import (
    ENDINGS,
    LATENCIES,
    OPERATIONS,
    duration,
    endings,
    latencies,
    list_all,
    operations,
    sentence,
    steps,
    utc,
)

_STYLES: Final = {"accepted": "green", "refused": "red", "unknown": "yellow"}
_REASONS: Final = 15
_ITEMS: Final = 10  # of a reason


def show(summary: Summary) -> None:
    """Print the summary on standard output."""
    console = Console(highlight=False)
    console.print(Text(sentence(summary), "bold"))
    if summary.started_at is not None and summary.ended_at is not None:
        took = duration(summary.ended_at - summary.started_at)
        console.print(Text(f"{utc(summary.started_at)} to {utc(summary.ended_at)}, {took}", "dim"))
    _print_figures(console, OPERATIONS, operations(summary))
    if summary.ended:
        _print_figures(console, ENDINGS, endings(summary))
    for reason in summary.reasons[:_REASONS]:
        _print_reason(console, reason)
    if (more := len(summary.reasons) - _REASONS) > 0:
        console.print(Text(f"{more:,} more reasons, with fewer items each.\n"))
    if summary.reasons:
        verdicts = [verdict for verdict in ("refused", "unknown") if getattr(summary.counts, verdict)]
        _print_command(console, "List all of them:", list_all(summary, *verdicts))
    if summary.latency:
        _print_figures(console, LATENCIES, latencies(summary))
    for step in steps(summary):
        _print_command(console, step.text, step.command)


def _print_figures(console: Console, head: tuple[str, ...], rows: list[list[str]]) -> None:
    """Print a table; the first column is the header of each row."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for number, cells in enumerate(zip(head, *rows, strict=True)):
        longest = max(len(word) for cell in cells for word in (cell.split() or [""]))
        table.add_column(cells[0], justify="right" if number else "left", min_width=longest)
    for name, *figures in rows:
        table.add_row(Text(name, _STYLES.get(name, "")), *figures)
    console.print(table)


def _print_reason(console: Console, reason: Reason) -> None:
    """Print a reason, the advice, and its first items."""
    known = [str(part) for part in (reason.status, reason.error_code) if part is not None]
    head = Text(f"{reason.count:,} {reason.verdict}", _STYLES[reason.verdict])
    head.append(f": {one_line(' '.join((*known, reason.message)))}", "default")
    lines = [Text(one_line(each.item.name)) for each in reason.examples[:_ITEMS]]
    if reason.count > len(lines):
        lines.append(Text(f"and {reason.count - len(lines):,} more"))
    console.print(head)
    for text in (Text(advise(reason.examples[0]), "dim"), *lines):
        for line in text.wrap(console, console.width - 2):
            console.print(Text("  ").append_text(line))
    console.print()


def _print_command(console: Console, text: str, command: str) -> None:
    console.print(Text(text))
    if command:
        console.print(Text(f"  {one_line(command)}", "dim"), soft_wrap=True)
