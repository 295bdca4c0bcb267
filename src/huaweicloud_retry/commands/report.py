"""`hwc-retry report`: the outcomes of a journal as a table, JSON, CSV, or an HTML page."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from .exits import CommandError, printing

if TYPE_CHECKING:
    from huaweicloud_retry.bulk.journal_file import JournalReader
    from huaweicloud_retry.bulk.report import Summary

DESCRIPTION: Final = "Report the outcomes of a bulk from its journal: totals, reasons with items, latencies."
_STATES: Final = ("accepted", "refused", "unknown", "planned", "succeeded", "failed", "running")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("journal", type=Path, metavar="JOURNAL", help="journal of a bulk; it is not changed")
    parser.add_argument(
        "--output",
        choices=("table", "json", "jsonl", "csv"),
        help="table: the summary; json: the summary and all items of each reason; jsonl, csv: a line for "
        "each item; bulk can read the csv (default: table on a terminal, else json; none with --html)",
    )
    parser.add_argument(
        "--only",
        type=_states,
        metavar="STATES",
        help=f"with --output csv or jsonl: only items in these states, of {', '.join(_STATES)}; "
        "such as refused,unknown",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts, in one file")
    parser.epilog = "Exit code: 0 the report was written, for any outcomes; 2 it was not."
    parser.set_defaults(run=run, prog=parser.prog)


def _states(text: str) -> set[str]:
    states = {state.strip() for state in text.split(",")}
    if wrong := sorted(states - set(_STATES)):
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is not one of {', '.join(_STATES)}")
    return states


def run(options: argparse.Namespace) -> int:
    """Write the report; returns 0.

    Raises:
        CommandError: The journal cannot be read, or the report cannot be written.
    """
    from huaweicloud_retry.bulk.journal_file import JournalError, JournalReader  # noqa: PLC0415 - lazy

    output = options.output
    if options.only is not None and output not in {"csv", "jsonl"}:
        raise CommandError("--only needs --output csv or --output jsonl")
    if output is None and options.html is None:
        output = "table" if sys.stdout.isatty() and find_spec("rich") is not None else "json"
    try:
        with JournalReader(options.journal) as journal:
            if output in {"csv", "jsonl"}:
                _print_items(items(journal, options.only), is_csv=output == "csv")
            if options.html is not None or output in {"table", "json"}:
                _report(journal, options, output)
    except JournalError as error:
        raise CommandError(str(error)) from error
    return 0


def _report(journal: "JournalReader", options: argparse.Namespace, output: str | None) -> None:
    from huaweicloud_retry.bulk.report import summarize  # noqa: PLC0415 - see above

    summary = summarize(journal)
    if options.html is not None:
        _write_page(summary, options.html)
        with printing():
            sys.stderr.write(f"{options.prog}: {options.html} written\n")
    if output == "table":
        try:
            from .report_table import show  # noqa: PLC0415 - needs rich, not in the base install
        except ModuleNotFoundError as error:
            raise CommandError(f"{error}; pip install 'huaweicloud-retry[cli]', or --output json") from error
        with printing():
            show(summary)
    elif output == "json":
        from .report_json import pieces  # noqa: PLC0415

        with printing():
            sys.stdout.writelines(pieces(summary, items(journal, {"refused", "unknown"})))


def items(journal: "JournalReader", only: set[str] | None) -> Iterator[dict[str, Any]]:
    """Yield the items in these states, or all, in the form of `Outcome.to_dict`."""
    return (each for each in journal.items() if only is None or only & {each["verdict"], each["ended"]})


def _print_items(items: Iterator[dict[str, Any]], *, is_csv: bool) -> None:
    from .output_csv import CSV_HEADER, csv_row  # noqa: PLC0415

    with printing():
        sys.stdout.write(CSV_HEADER if is_csv else "")
        sys.stdout.writelines(csv_row(each) if is_csv else f"{json.dumps(each)}\n" for each in items)


def _write_page(summary: "Summary", file: Path) -> None:
    from .report_page import page  # noqa: PLC0415

    text = page(summary, time.time())
    try:
        if file.exists() and not file.is_file():
            raise CommandError(f"--html {file} is not a file: name another file")
        if file.exists() and file.samefile(summary.file):
            raise CommandError(f"--html {file} is the journal: name another file")
        # Written next to the file, then renamed: the page is complete, or not there.
        with TemporaryDirectory(prefix=".hwc-retry-", dir=file.parent) as folder:
            written = Path(folder, "report.html")
            written.write_text(text, encoding="utf-8")
            written.replace(file)
    except OSError as error:
        raise CommandError(f"--html {file} cannot be written: {error.strerror}") from error
