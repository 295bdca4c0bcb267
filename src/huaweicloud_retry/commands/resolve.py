"""`hwc-retry resolve`: what became of the items of a journal whose outcome is unknown."""

import argparse
from pathlib import Path

from .common import MOST_CONNECTIONS, OUTPUTS, add_waiting, add_where, integer, number

DESCRIPTION = (
    "Look at the service for the items of a journal whose outcome is unknown, and write there what is found."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Give a parser the command's options."""
    parser.add_argument("journal", type=Path, metavar="JOURNAL", help="of hwc-retry bulk; nothing is retried")
    add_waiting(parser)
    pace = parser.add_argument_group("how fast")
    pace.add_argument(
        "--concurrency", type=integer(1, MOST_CONNECTIONS), default=32, metavar="N", help="reads at once"
    )
    pace.add_argument(
        "--rate", type=number(0, 10_000), default=100.0, metavar="N", help="reads a second, 0 for no limit"
    )
    add_where(parser, has_project=False)
    shown = parser.add_argument_group("what is shown")
    shown.add_argument(
        "--output", choices=OUTPUTS, help="on stdout; default: table on a terminal, else jsonl"
    )
    shown.add_argument("--quiet", action="store_true", help="on stderr only what went wrong")
    parser.epilog = (
        "An item is accepted if its work runs or began since it was sent, and not run if it is failed as before: then the "
        "bulk command sends it again. What cannot be told stays unknown. Exit code: 0 all of the journal accepted, with "
        "--wait all succeeded; 1 at least one refused or not sent; 2 usage or configuration; 3 at least one still unknown; "
        "4, 5 as of bulk --wait; 130 interrupted."
    )
    parser.set_defaults(run=run, prog=parser.prog, resolve=True)


def run(options: argparse.Namespace) -> int:
    """Look at them; returns the exit code."""
    from .sending import resolve_journal  # noqa: PLC0415 - see the package

    return resolve_journal(options)
