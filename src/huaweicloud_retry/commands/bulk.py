"""`hwc-retry bulk`: many retries from a file, with a journal."""

import argparse
import os
import textwrap
from pathlib import Path

from .common import LONGEST, add_sending, add_speed, add_waiting, number
from .exits import CommandError

SAMPLE = """\
project_id,engine_id,record_id
0123456789abcdef0123456789abcdef,4a1bc63d-4719-4bd3-b1ad-5ee590b05e87,
0123456789abcdef0123456789abcdef,,0000000059071dbc01591661d3990020
"""
DESCRIPTION = (
    "Send the retries of a file, each once. After a crash, run it again: the journal resumes the run."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "file",
        metavar="FILE",
        help='CSV with a header, or JSON lines such as {"engine_id": "…"}; - for stdin',
    )
    parser.add_argument("--journal", type=Path, metavar="FILE", help="default: FILE.journal")
    _add_reading(parser)
    _add_earlier_runs(parser)
    add_waiting(parser)
    speed = add_speed(parser, "requests")
    speed.add_argument(
        "--grace",
        type=number(0, LONGEST),
        default=60.0,
        metavar="SECONDS",
        help="time for requests in flight after Ctrl-C (default: %(default)g)",
    )
    add_sending(parser, default_output="table of refused and unknown items on a terminal, else jsonl")
    parser.add_argument("--enterprise-project-id", metavar="ID", help="for engines without one in the input")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    sample, exit_codes = textwrap.indent(SAMPLE, "  "), textwrap.fill(str(parser.epilog), 78)
    parser.epilog = f"CSV, for example:\n\n{sample}\n{exit_codes}"
    parser.set_defaults(run=run, prog=parser.prog)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("input")
    group.add_argument(
        "--operation",
        choices=("RetryEngine", "RetryScriptExecution"),
        help="for lines without one (default: from the kind of ID); IDs of the other operation are ignored",
    )
    group.add_argument("--strict-columns", action="store_true", help="refuse unknown columns")
    group.add_argument(
        "--allow-odd-ids", action="store_true", help="accept IDs that a spreadsheet seems to have changed"
    )


def _add_earlier_runs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("items of an earlier run")
    group.add_argument("--retry-refused", action="store_true", help="resend refused items")
    group.add_argument(
        "--resend-unknown",
        action="store_true",
        help="resend unknown items, which may run them twice: check those jobs and tasks first",
    )
    group.add_argument(
        "--resolve", action="store_true", help="at the end, resolve unknown items, as hwc-retry resolve does"
    )


def run(options: argparse.Namespace) -> int:
    """Check the input and send it; returns the exit code, which covers the input, earlier runs included."""
    is_stdin = options.file == "-"
    if is_stdin and options.token_file == options.file:
        raise CommandError("standard input cannot be both FILE and --token-file")
    journal: Path | None = options.journal
    # Path's functions raise if a name is too long.
    is_file = not os.path.exists(options.file) or os.path.isfile(options.file)  # noqa: PTH110, PTH113
    if journal is None and not is_stdin and is_file:
        journal = Path(f"{options.file}.journal")
    if journal is None and not options.dry_run:
        name = "standard input" if is_stdin else options.file
        raise CommandError(f"{name} has no default journal: give --journal FILE")
    from .sending import send_many  # noqa: PLC0415 - see the package

    return send_many(options, journal)
