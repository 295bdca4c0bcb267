"""`hwc-retry report`: what a journal tells, as a table, as JSON, or as a page."""

import argparse
import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from .exits import CommandError, printing

if TYPE_CHECKING:
    from huaweicloud_retry.bulk.journal_file import JournalReader
    from huaweicloud_retry.bulk.report import Summary

DESCRIPTION = "What came of a bulk: totals, reasons, latencies, and what is to be looked at, from its journal."


def configure(parser: argparse.ArgumentParser) -> None:
    """Give a parser the command's options."""
    parser.add_argument("journal", type=Path, metavar="JOURNAL", help="of hwc-retry bulk; it is read, and not changed")
    parser.add_argument(
        "--output",
        choices=("table", "json", "jsonl"),
        help="table or json: the summary; jsonl: every item, a line each "
        "(default: table on a terminal, else json; with --html none)",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts, in one file")
    parser.epilog = "Exit code: 0 reported, whatever the outcomes are; 2 nothing could be reported."
    parser.set_defaults(run=run, prog=parser.prog)


def run(options: argparse.Namespace) -> int:
    """Report.

    Returns:
        The exit code: 0 reported.

    Raises:
        CommandError: it cannot be reported, or not be written.
    """
    # Here, so that --help is quick.
    from huaweicloud_retry.bulk.journal_file import JournalError, JournalReader  # noqa: PLC0415
    from huaweicloud_retry.bulk.report import summarize  # noqa: PLC0415

    output = options.output
    if output is None and options.html is None:
        output = "table" if sys.stdout.isatty() and find_spec("rich") is not None else "json"
    try:
        with JournalReader(options.journal) as journal:
            if output == "jsonl":
                _print_items(journal)
            if options.html is not None or output != "jsonl":
                _report(summarize(journal), options, output)
    except JournalError as error:
        raise CommandError(str(error)) from error
    return 0


def _report(summary: "Summary", options: argparse.Namespace, output: str | None) -> None:
    if options.html is not None:
        _write_page(summary, options.html)
        with printing():
            print(f"{options.prog}: {options.html} written", file=sys.stderr)  # noqa: T201 - the command's voice
    if output == "table":
        try:
            from .report_table import show  # noqa: PLC0415 - needs what is no part of the base install
        except ModuleNotFoundError as error:
            raise CommandError(f"{error}; pip install 'huaweicloud-retry[cli]', or --output json") from error
        with printing():
            show(summary)
    elif output == "json":
        with printing():
            print(json.dumps(_totals(summary), indent=2))  # noqa: T201


def _print_items(journal: "JournalReader") -> None:
    with printing():
        for told in journal.items():
            sys.stdout.write(f"{json.dumps(told)}\n")


def _totals(summary: "Summary") -> dict[str, Any]:
    from .advice import advise  # noqa: PLC0415
    from .wording import sentence  # noqa: PLC0415

    return {
        "journal": str(summary.file),
        "summary": sentence(summary),
        "items": summary.counts.total,
        "duplicates": summary.duplicates,
        **_counts(summary.counts._asdict()),
        "resent": summary.resent,
        "started_at": summary.started_at,
        "ended_at": summary.ended_at,
        "operations": {name: _counts(counts._asdict()) for name, counts in summary.operations.items()},
        "reasons": [
            {
                "verdict": reason.verdict,
                "operation": reason.operation,
                "count": reason.count,
                "status": reason.status,
                "error_code": reason.error_code,
                "message": reason.message,
                "advice": advise(reason.examples[0]),
                "examples": [example.item.name for example in reason.examples],
            }
            for reason in summary.reasons
        ],
        "seconds": {
            verdict: {
                "shortest": each.shortest,
                "mean": each.total / each.count,
                **{f"p{percent}": each.percentile(percent) for percent in (50, 90, 99)},
                "longest": each.longest,
            }
            for verdict, each in summary.latency.items()
        },
    }


def _counts(counts: dict[str, int]) -> dict[str, int]:
    return {state: counts[state] for state in ("accepted", "refused", "unknown", "planned")}


def _write_page(summary: "Summary", file: Path) -> None:
    from .report_page import page  # noqa: PLC0415

    text = page(summary, time.time())
    try:
        if file.exists() and (not file.is_file() or file.samefile(summary.file)):
            raise CommandError(
                f"--html {file} {'is no file' if not file.is_file() else 'is the journal'}: name another file"
            )
        # In the same folder, from which a rename is all it takes: the page is there in whole, or not at all.
        with TemporaryDirectory(prefix=".hwc-retry-", dir=file.parent) as folder:
            whole = Path(folder, "report.html")
            whole.write_text(text, encoding="utf-8")
            whole.replace(file)
    except OSError as error:
        raise CommandError(f"--html {file} cannot be written: {error.strerror}") from error
