"""`hwc-retry bulk`: many retries from a file, with a journal."""

import argparse
import os
import textwrap
from pathlib import Path

from .common import LONGEST, MOST_CONNECTIONS, add_sending, add_waiting, integer, number
from .exits import CommandError

SAMPLE = """\
project_id,engine_id,record_id
0123456789abcdef0123456789abcdef,4a1bc63d-4719-4bd3-b1ad-5ee590b05e87,
0123456789abcdef0123456789abcdef,,0000000059071dbc01591661d3990020
"""
DESCRIPTION = (
    "Send the retries of a file, each once, with a journal: started again after a crash, it goes on."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Give a parser the command's options."""
    parser.add_argument(
        "file",
        metavar="FILE",
        help='CSV with a header, or JSON lines such as {"engine_id": "…"}; - for stdin',
    )
    parser.add_argument(
        "--journal", type=Path, metavar="FILE", help="default: next to the input, FILE.journal"
    )
    reading = parser.add_argument_group("how FILE is read")
    reading.add_argument(
        "--operation",
        choices=("RetryEngine", "RetryScriptExecution"),
        help="of lines that name none (default: that of the ID); IDs of the other one are then ignored",
    )
    reading.add_argument("--strict-columns", action="store_true", help="refuse columns that are not known")
    reading.add_argument(
        "--allow-odd-ids", action="store_true", help="take IDs that look as if a spreadsheet had changed them"
    )
    again = parser.add_argument_group("what an earlier run has left")
    again.add_argument("--retry-refused", action="store_true", help="send again what was refused")
    again.add_argument(
        "--resend-unknown",
        action="store_true",
        help="send again what is unknown, which may run it twice: look at those jobs and tasks first",
    )
    again.add_argument(
        "--resolve",
        action="store_true",
        help="at the end, look at the service for what is unknown, as hwc-retry resolve",
    )
    add_waiting(parser)
    pace = parser.add_argument_group("how fast")
    pace.add_argument(
        "--concurrency",
        type=integer(1, MOST_CONNECTIONS),
        default=32,
        metavar="N",
        help="requests at the same time (default: %(default)s)",
    )
    pace.add_argument(
        "--rate",
        type=number(0, 10_000),
        default=100.0,
        metavar="N",
        help="requests a second, 0 for no limit (default: %(default)g; the gateway's is 200 for each API)",
    )
    pace.add_argument(
        "--grace",
        type=number(0, LONGEST),
        default=60.0,
        metavar="SECONDS",
        help="that Ctrl-C leaves to requests in flight (default: %(default)g)",
    )
    add_sending(parser, default_output="table of what was refused or is unknown on a terminal, else jsonl")
    parser.add_argument(
        "--enterprise-project-id", metavar="ID", help="of engines for which the input does not give one"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        f"CSV, for example:\n\n{textwrap.indent(SAMPLE, '  ')}\n{textwrap.fill(str(parser.epilog), 78)}"
    )
    parser.set_defaults(run=run, prog=parser.prog)


def run(options: argparse.Namespace) -> int:
    """Check the input and send it; returns the exit code, which covers the whole input, earlier runs included."""
    is_stdin = options.file == "-"
    if is_stdin and options.token_file == options.file:
        raise CommandError("standard input cannot be both FILE and --token-file")
    journal: Path | None = options.journal
    # Path's raise where a name is too long.
    is_file = not os.path.exists(options.file) or os.path.isfile(options.file)  # noqa: PTH110, PTH113
    if journal is None and not is_stdin and is_file:
        journal = Path(f"{options.file}.journal")
    if journal is None and not options.dry_run:
        raise CommandError(
            f"{'standard input' if is_stdin else options.file} has no place for a journal: give --journal FILE"
        )
    from .sending import send_many  # noqa: PLC0415 - see the package

    return send_many(options, journal)
