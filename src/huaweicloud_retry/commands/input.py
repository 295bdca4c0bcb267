"""The input of `bulk`: a file, or a pipe that is read to its end first."""

import os
import shutil
import stat
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event
from typing import Final

from huaweicloud_retry.bulk import Item
from huaweicloud_retry.bulk.inputs import read_items
from huaweicloud_retry.runtime.redaction import one_line

from .advice import in_options
from .exits import CommandError, printing

_LARGEST_LINE: Final = 1 << 20  # bytes; of a longer one this is enough to see that it is too long
_BOM: Final = b"\xef\xbb\xbf"


@contextmanager
def opened(file: str) -> Generator[BufferedReader, None, None]:
    """Open the input. A pipe is copied to a temporary file, here, where Ctrl-C can still end the wait for it.

    Args:
        file: a path, or - for standard input.

    Raises:
        CommandError: it cannot be read.
    """
    with ExitStack() as stack:
        try:
            stream = sys.stdin.buffer if file == "-" else stack.enter_context(Path(file).open("rb"))
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                copy = stack.enter_context(TemporaryFile())
                shutil.copyfileobj(stream, copy)
                copy.seek(0)
                stream = stack.enter_context(open(copy.fileno(), "rb", closefd=False))
        except OSError as error:
            raise CommandError(f"{_name(file)} cannot be read: {error.strerror}") from error
        assert isinstance(stream, BufferedReader)  # noqa: S101 - which is what open() makes
        yield stream


class Interrupted(Exception):  # noqa: N818 - is no error
    """Ctrl-C while the input is read."""


def items_of(file: str, stream: BufferedReader, defaults: Mapping[str, str], stop: Event) -> Iterator[Item]:
    """Yield the items of the input, and print what is wrong with each bad line.

    CSV is what is called .csv, and what begins with anything but a brace and is not called .json, .jsonl or .ndjson.

    Args:
        file: what it is called.
        stream: where it comes from.
        defaults: of `read_items`.
        stop: ends it, between two lines, good or bad.

    Raises:
        Interrupted: it was stopped.
        InputError: as of `read_items`.
        CommandError: it cannot be read to its end.
    """
    suffix = Path(file).suffix.lower()

    def tell(number: int, problem: str) -> None:
        with printing():
            print(f"{_name(file)}:{number}: {one_line(in_options(problem))}", file=sys.stderr, flush=True)  # noqa: T201 - the command's voice

    try:
        begin = stream.peek(1 << 12).removeprefix(_BOM).lstrip()
        is_csv = suffix == ".csv" or (suffix not in {".json", ".jsonl", ".ndjson"} and begin[:1] not in {b"{", b""})
        yield from read_items(_lines(stream, stop), is_csv=is_csv, defaults=defaults, on_bad_line=tell)
    except OSError as error:
        raise CommandError(f"{_name(file)} cannot be read: {error.strerror}") from error


def _lines(stream: BufferedReader, stop: Event) -> Iterator[bytes]:
    while line := stream.readline(_LARGEST_LINE):
        if stop.is_set():
            raise Interrupted
        rest = line
        while len(rest) == _LARGEST_LINE and not rest.endswith(b"\n"):
            rest = stream.readline(_LARGEST_LINE)
        yield line


def _name(file: str) -> str:
    return "standard input" if file == "-" else file
