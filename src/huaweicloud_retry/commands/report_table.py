"""A journal's summary on a terminal."""

from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from huaweicloud_retry.bulk.report import Summary
from huaweicloud_retry.runtime.redaction import one_line

from .advice import advise
from .wording import duration, list_all, sentence, steps, utc

_STYLES: Final = {"accepted": "green", "refused": "red", "unknown": "yellow"}
_REASONS: Final = 15
_ITEMS: Final = 10


def show(summary: Summary) -> None:
    """Print it on standard output."""
    console = Console(highlight=False)
    console.print(Text(sentence(summary), "bold"))
    if summary.started_at is not None and summary.ended_at is not None:
        took = duration(summary.ended_at - summary.started_at)
        console.print(Text(f"{utc(summary.started_at)} to {utc(summary.ended_at)} UTC, {took}", "dim"))
    console.print(_operations(summary))
    if summary.reasons:
        console.print(_reasons(summary))
    if summary.latency:
        console.print(_latencies(summary))
    if unknown := summary.listed["unknown"]:
        console.print(Text("Unknown", "bold"))
        for each in unknown[:_ITEMS]:
            console.print(Text(f"  {one_line(each.item.name)}: {one_line(each.message)}"), soft_wrap=True)
        if summary.counts.unknown > _ITEMS:
            console.print(
                Text(f"  {summary.counts.unknown - _ITEMS:,} more: {list_all(summary, 'unknown')}"), soft_wrap=True
            )
        console.print()
    for step in steps(summary):
        console.print(Text(step.text))
        if step.command:
            console.print(Text(f"  {one_line(step.command)}", "dim"), soft_wrap=True)


def _operations(summary: Summary) -> Table:
    table = _table("", "accepted", "refused", "unknown", "not sent")
    rows = {**summary.operations, **({"all": summary.counts} if len(summary.operations) > 1 else {})}
    for operation, counts in rows.items():
        table.add_row(operation, *(f"{n:,}" for n in (counts.accepted, counts.refused, counts.unknown, counts.planned)))
    return table


def _reasons(summary: Summary) -> Table:
    more = len(summary.reasons) - _REASONS
    table = Table(
        "",
        "items",
        "reason",
        "what to do",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption=f"and {more:,} more" if more > 0 else None,
    )
    table.columns[1].justify = "right"
    table.columns[2].overflow = "fold"
    for reason in summary.reasons[:_REASONS]:
        known = [str(part) for part in (reason.status, reason.error_code) if part is not None]
        table.add_row(
            Text(reason.verdict, _STYLES[reason.verdict]),
            f"{reason.count:,}",
            Text(one_line(" ".join((*known, reason.message)))),
            Text(advise(reason.examples[0])),
        )
    return table


def _latencies(summary: Summary) -> Table:
    table = _table("took", "shortest", "50 % within", "90 %", "99 %", "longest")
    for verdict, each in summary.latency.items():
        figures = (each.shortest, *map(each.percentile, (50, 90, 99)), each.longest)
        table.add_row(Text(verdict, _STYLES[verdict]), *map(duration, figures))
    return table


def _table(*columns: str) -> Table:
    """Return a table whose first column names what the others have figures of."""
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    return table
