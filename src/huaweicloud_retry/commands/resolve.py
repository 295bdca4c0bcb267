"""`hwc-retry resolve`: resolves the unknown items of a journal."""

import argparse
from pathlib import Path

from .common import OUTPUTS, add_speed, add_waiting, add_where

DESCRIPTION = "Query the service for the unknown items of a journal, and write the outcomes to the journal."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("journal", type=Path, metavar="JOURNAL", help="journal of a bulk; nothing is retried")
    add_waiting(parser)
    add_speed(parser, "reads")
    add_where(parser, has_project=False)
    shown = parser.add_argument_group("output")
    help_ = "format of stdout; default: table on a terminal, else jsonl"
    shown.add_argument("--output", choices=OUTPUTS, help=help_)
    shown.add_argument("--quiet", action="store_true", help="only errors on stderr")
    parser.epilog = (
        "An item becomes accepted if its work runs, or began after the request. It becomes not run if the "
        "work is in the same failed state as before; the bulk command then resends it. Otherwise it stays "
        "unknown. The exit code covers the whole journal: 0 all accepted, with --wait succeeded; 1 at least "
        "one refused or not sent; 2 usage or configuration; 3 at least one still unknown; 4, 5 as in bulk "
        "--wait; 130 interrupted."
    )
    parser.set_defaults(run=run, prog=parser.prog, resolve=True)


def run(options: argparse.Namespace) -> int:
    """Resolve the items; returns the exit code."""
    from .sending import resolve_journal  # noqa: PLC0415 - see the package

    return resolve_journal(options)
