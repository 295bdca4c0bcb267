"""What commands have in common: how they fail, and the options of those that send."""

import argparse
import errno
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

EXIT_CODES: Final = (
    "Exit code: 0 all accepted; 1 at least one refused or not sent; 2 usage or configuration; "
    "3 at least one outcome unknown; 130 interrupted."
)
OUTPUTS: Final = ("json", "jsonl", "table")
MOST_CONNECTIONS: Final = 100  # as many as the transport opens
LONGEST: Final = 3600.0  # seconds


class CommandError(Exception):
    """The command cannot do what it is asked. The text is for a person: what is wrong, and what to do.

    Attributes:
        exit_code: 2, unless something was sent.
    """

    def __init__(self, text: str, exit_code: int = 2) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class OutputError(Exception):
    """Standard output or standard error cannot be written.

    Attributes:
        is_unread: whoever read it has gone away.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror}")
        self.is_unread = isinstance(error, BrokenPipeError) or error.errno == errno.EINVAL  # the latter on Windows


@contextmanager
def printing() -> Generator[None, None, None]:
    """Tell what goes wrong with what is printed here from all else that may go wrong with files.

    Raises:
        OutputError: it cannot be printed.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(error) from error


def add_sending(parser: argparse.ArgumentParser, *, default_output: str) -> None:
    """Give a parser the options of every command that sends.

    Args:
        parser: to be given them.
        default_output: what the help says of --output.
    """
    where = parser.add_argument_group("where to")
    where.add_argument(
        "--project-id", metavar="ID", help="default: HUAWEICLOUD_SDK_PROJECT_ID, HW_PROJECT_ID or OS_PROJECT_ID"
    )
    where.add_argument("--region", metavar="NAME", help="such as cn-north-4; default: HW_REGION_NAME or OS_REGION_NAME")
    where.add_argument("--endpoint", metavar="URL", help="the host, in place of the one that the region has")
    where.add_argument(
        "--token-file",
        metavar="FILE",
        help="has an IAM token; - for stdin; default: credentials of the environment or ~/.huaweicloud/credentials",
    )
    where.add_argument(
        "--timeout",
        type=number(0.001, LONGEST),
        metavar="SECONDS",
        help="for an answer (default: 60, and 10 to connect)",
    )
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--output", choices=OUTPUTS, help=f"on stdout; default: {default_output}")
    shown.add_argument("--dry-run", action="store_true", help="show the request, secrets masked, and send nothing")
    shown.add_argument("--verbose", action="store_true", help="say on stderr what is sent again, why and when")
    parser.epilog = EXIT_CODES


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


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return what reads a whole number in a range, for `type=` of an argument."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return read
