"""The options of the commands that send, and how they are read."""

import argparse
import sys
from collections.abc import Callable
from typing import Final

from .exits import EXIT_CODES, CommandError

OUTPUTS: Final = ("json", "jsonl", "csv", "table")
MOST_CONNECTIONS: Final = 100  # as many as the transport opens
LONGEST: Final = 3600.0  # seconds
WAIT_TIMEOUT: Final = 3600.0  # seconds
_LONGEST_WAIT: Final = 604_800.0  # seconds: a week


def add_sending(parser: argparse.ArgumentParser, *, default_output: str) -> None:
    """Give a parser the options of every command that sends.

    Args:
        parser: to be given them.
        default_output: what the help says of --output.
    """
    add_where(parser)
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--output", choices=OUTPUTS, help=f"on stdout; default: {default_output}")
    shown.add_argument(
        "--dry-run", action="store_true", help="show the request, secrets masked, and send nothing"
    )
    amount = shown.add_mutually_exclusive_group()
    amount.add_argument("--verbose", action="store_true", help="log on stderr what is resent, why and when")
    amount.add_argument("--quiet", action="store_true", help="on stderr only what went wrong")
    parser.epilog = EXIT_CODES


def add_waiting(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of waiting until the work has ended."""
    waiting = parser.add_argument_group("what becomes of it")
    waiting.add_argument(
        "--wait",
        action="store_true",
        help="wait until what was accepted has ended",
    )
    waiting.add_argument(
        "--wait-timeout",
        type=number(0, _LONGEST_WAIT),
        metavar="SECONDS",
        help=f"to wait at most (default: {WAIT_TIMEOUT:g})",
    )


def add_where(parser: argparse.ArgumentParser, *, has_project: bool = True) -> None:
    """Give a parser the options that say where requests go, and with which credentials.

    Args:
        parser: to be given them.
        has_project: Whether it needs a project.
    """
    where = parser.add_argument_group("where to")
    if has_project:
        where.add_argument(
            "--project-id",
            metavar="ID",
            help="default: HUAWEICLOUD_SDK_PROJECT_ID, HW_PROJECT_ID or OS_PROJECT_ID",
        )
    where.add_argument(
        "--region", metavar="NAME", help="such as cn-north-4; default: HW_REGION_NAME or OS_REGION_NAME"
    )
    where.add_argument("--endpoint", metavar="URL", help="the host, in place of the one that the region has")
    credentials = where.add_mutually_exclusive_group()
    credentials.add_argument(
        "--token-file",
        metavar="FILE",
        help="has an IAM token; - for stdin; default: credentials of the environment or ~/.huaweicloud/credentials",
    )
    credentials.add_argument(
        "--profile",
        metavar="NAME",
        help="of the credentials file: a section other than [basic]; before the environment",
    )
    where.add_argument(
        "--timeout",
        type=number(0.001, LONGEST),
        metavar="SECONDS",
        help="for the whole response (default: 60, and 10 to connect)",
    )


def number(least: float, most: float) -> Callable[[str], float]:
    """Return what reads a number in a range, for `type=` of an argument."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least:g} to {most:g}")
        return value

    return read


def integer(least: int, most: int) -> Callable[[str], int]:
    """Return what reads an integer in a range, for `type=` of an argument."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is no integer from {least} to {most}")
        return int(text)

    return read


def ids_of(given: list[str], options: argparse.Namespace) -> list[str]:
    """Return the IDs that are given, those of standard input in place of a `-`.

    Raises:
        CommandError: There are none, or it is read for the token, too.
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
