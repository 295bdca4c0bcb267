"""Options that several commands share."""

import argparse
import sys
from collections.abc import Callable
from typing import Any, Final

from .exits import EXIT_CODES, CommandError

OUTPUTS: Final = ("json", "jsonl", "csv", "table")
MOST_CONNECTIONS: Final = 100  # as many as the transport opens
LONGEST: Final = 3600.0  # seconds
WAIT_TIMEOUT: Final = 3600.0  # seconds
_LONGEST_WAIT: Final = 604_800.0  # seconds: a week


def add_sending(parser: argparse.ArgumentParser, *, default_output: str) -> None:
    """Add the options of every command that sends.

    Args:
        parser: The parser of the command.
        default_output: The default of --output, for the help.
    """
    add_where(parser)
    shown = parser.add_argument_group("output")
    shown.add_argument("--output", choices=OUTPUTS, help=f"format of stdout; default: {default_output}")
    shown.add_argument(
        "--dry-run", action="store_true", help="show the request, secrets masked, and send nothing"
    )
    amount = shown.add_mutually_exclusive_group()
    amount.add_argument(
        "--verbose", action="store_true", help="log resends on stderr, with reason and backoff"
    )
    amount.add_argument("--quiet", action="store_true", help="only errors on stderr")
    parser.epilog = EXIT_CODES


def add_waiting(parser: argparse.ArgumentParser) -> None:
    """Add the options of waiting for the end of the work."""
    waiting = parser.add_argument_group("waiting")
    waiting.add_argument("--wait", action="store_true", help="wait until the accepted work has ended")
    waiting.add_argument(
        "--wait-timeout",
        type=number(0, _LONGEST_WAIT),
        metavar="SECONDS",
        help=f"maximum time to wait (default: {WAIT_TIMEOUT:g})",
    )


def add_speed(parser: argparse.ArgumentParser, what: str) -> Any:
    """Add the options of concurrency and rate, and return their group; `what` is sent."""
    speed = parser.add_argument_group("speed")
    speed.add_argument(
        "--concurrency",
        type=integer(1, MOST_CONNECTIONS),
        default=32,
        metavar="N",
        help=f"{what} at the same time (default: %(default)s)",
    )
    speed.add_argument(
        "--rate",
        type=number(0, 10_000),
        default=100.0,
        metavar="N",
        help=f"{what} a second; 0: no limit (default: %(default)g; the gateway allows 200 for each API)",
    )
    return speed


def add_where(parser: argparse.ArgumentParser, *, has_project: bool = True) -> None:
    """Add the options of endpoint and credentials.

    Args:
        parser: The parser of the command.
        has_project: Whether the command needs a project.
    """
    where = parser.add_argument_group("endpoint and credentials")
    if has_project:
        where.add_argument(
            "--project-id",
            metavar="ID",
            help="default: HUAWEICLOUD_SDK_PROJECT_ID, HW_PROJECT_ID or OS_PROJECT_ID",
        )
    where.add_argument(
        "--region", metavar="NAME", help="such as cn-north-4; default: HW_REGION_NAME or OS_REGION_NAME"
    )
    where.add_argument("--endpoint", metavar="URL", help="the host, instead of that of the region")
    credentials = where.add_mutually_exclusive_group()
    credentials.add_argument(
        "--token-file",
        metavar="FILE",
        help="file with an IAM token; - for stdin; default: credentials of the environment, "
        "or ~/.huaweicloud/credentials",
    )
    credentials.add_argument(
        "--profile",
        metavar="NAME",
        help="section of the credentials file, instead of [basic]; overrides the environment",
    )
    where.add_argument(
        "--timeout",
        type=number(0.001, LONGEST),
        metavar="SECONDS",
        help="for the whole response (default: 60, and 10 to connect)",
    )


def number(least: float, most: float) -> Callable[[str], float]:
    """Return a parser of numbers in a range, for `type=` of an argument."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least:g} to {most:g}")
        return value

    return read


def integer(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of integers in a range, for `type=` of an argument."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {least} to {most}")
        return int(text)

    return read


def ids_of(given: list[str], options: argparse.Namespace) -> list[str]:
    """Return the IDs; `-` stands for those of standard input.

    Raises:
        CommandError: Standard input has no ID, or is also used for the token.
    """
    if "-" not in given:
        return given
    if options.token_file == "-":  # noqa: S105 - the name of a file
        raise CommandError("standard input cannot have both IDs and --token-file")
    found = sys.stdin.read().split()
    ids = [id_ for each in given for id_ in (found if each == "-" else [each])]
    if not ids:
        raise CommandError("standard input has no ID")
    return ids
