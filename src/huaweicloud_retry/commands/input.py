"""The input of `bulk`: a file or a pipe."""

import argparse
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

_LARGEST_LINE: Final = 1 << 20  # bytes; the rest of a longer line is skipped, since it is invalid
_BOM: Final = b"\xef\xbb\xbf"
_CSV_NAMES: Final = {".csv", ".tsv"}
_JSON_NAMES: Final = {".json", ".jsonl", ".ndjson"}
_WORKBOOK: Final = "an Excel workbook; save it as CSV UTF-8"
_OTHER_FORMATS: Final = (  # first bytes, suffixes, message
    (b"PK\3\4", {".xlsx", ".xlsm", ".ods"}, _WORKBOOK),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", {".xls"}, _WORKBOOK),
    (b"\x1f\x8b", {".gz"}, "compressed with gzip; unpack it first"),
    (b"[", set[str](), "a JSON array; give one object on each line, as --output jsonl writes them"),
)


@contextmanager
def opened(file: str) -> Generator[BufferedReader, None, None]:
    """Open the input. A pipe is first copied to a temporary file: here, Ctrl-C can still end the read.

    Args:
        file: A path, or - for standard input.

    Raises:
        CommandError: The input cannot be read.
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
        assert isinstance(stream, BufferedReader)  # noqa: S101 - for the type checker
        yield stream


class Interrupted(Exception):  # noqa: N818 - not an error
    """Ctrl-C while the input is read."""


def items_of(
    options: argparse.Namespace, stream: BufferedReader, defaults: Mapping[str, str], stop: Event
) -> Iterator[Item]:
    """Yield the items of the input, and print its errors, one line for each kind.

    The input is CSV if its suffix is .csv or .tsv, or if it does not begin with a brace and its suffix is not
    .json, .jsonl or .ndjson.

    Args:
        options: Options of the command.
        stream: The input.
        defaults: As in `read_items`.
        stop: Ends the reading between two lines.

    Raises:
        Interrupted: `stop` was set.
        InputError: As in `read_items`.
        CommandError: The input has another format, or cannot be read.
    """
    name, suffix = _name(options.file), Path(options.file).suffix.lower()

    def report(number: int, what: str) -> None:
        with printing():
            print(f"{name}:{number}: {one_line(in_options(what))}", file=sys.stderr, flush=True)  # noqa: T201 - a message

    if options.operation is not None:
        defaults = {**defaults, "operation": options.operation}
    try:
        begin = stream.peek(1 << 12).removeprefix(_BOM).lstrip()
        is_csv = suffix in _CSV_NAMES or (suffix not in _JSON_NAMES and begin[:1] not in {b"{", b""})
        for magic, suffixes, what in _OTHER_FORMATS:
            if suffix in suffixes or begin.startswith(magic):
                raise CommandError(f"{name} is {what}")
        yield from read_items(
            _lines(stream, stop),
            is_csv=is_csv,
            defaults=defaults,
            on_bad_line=report,
            on_note=report,
            strict_columns=options.strict_columns,
            allow_odd_ids=options.allow_odd_ids,
        )
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}") from error


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
