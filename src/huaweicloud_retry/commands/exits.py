"""Exit codes, and the two exceptions that lead to one."""

import errno
from collections.abc import Generator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

EXIT_CODES: Final = (
    "Exit code: 0 all accepted, and with --wait succeeded; 1 at least one refused or not sent; "
    "2 usage or configuration; 3 at least one outcome unknown; "
    "4 with --wait: at least one ran and failed again; "
    "5 with --wait: at least one still runs, or cannot be followed; 130 interrupted, or stdout was closed. "
    "If several apply, this order counts: 130, 3, 1, 4, 5."
)


class Exit(IntEnum):
    """Exit codes."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNKNOWN = 3
    FAILED = 4
    RUNNING = 5
    INTERRUPTED = 130  # by the shells' convention: 128 and the number of SIGINT


class CommandError(Exception):
    """The command failed. The text is for the user: what is wrong, and what to do.

    Attributes:
        exit_code: USAGE, unless something was sent.
    """

    def __init__(self, text: str, exit_code: Exit = Exit.USAGE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class OutputError(Exception):
    """Standard output or standard error cannot be written.

    Attributes:
        is_closed: The reader has closed it.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror}")
        # EINVAL: on Windows.
        self.is_closed = isinstance(error, BrokenPipeError) or error.errno == errno.EINVAL


@contextmanager
def printing() -> Generator[None, None, None]:
    """Turn errors of printing into an `OutputError`, to distinguish them from errors of other files."""
    try:
        yield
    except OSError as error:
        raise OutputError(error) from error
