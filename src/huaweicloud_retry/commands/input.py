"""The input of `bulk`: a file, or a pipe that is read to its end first."""

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

_LARGEST_LINE: Final = 1 << 20  # bytes; of a longer one this is enough to see that it is too long
_BOM: Final = b"\xef\xbb\xbf"
_CSV_NAMES: Final = {".csv", ".tsv"}
_JSON_NAMES: Final = {".json", ".jsonl", ".ndjson"}
_WORKBOOK: Final = "an Excel workbook; save it as CSV UTF-8"
_OTHER_FORMATS: Final = (  # how each begins, what it is called, what to say
    (b"PK\3\4", {".xlsx", ".xlsm", ".ods"}, _WORKBOOK),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", {".xls"}, _WORKBOOK),
    (b"\x1f\x8b", {".gz"}, "compressed with gzip; unpack it first"),
    (b"[", set[str](), "a JSON array; give one object on each line, as --output jsonl writes them"),
)


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


def items_of(
    options: argparse.Namespace, stream: BufferedReader, defaults: Mapping[str, str], stop: Event
) -> Iterator[Item]:
    """Yield the items of the input, and print what is wrong with it, once for each reason.

    CSV is what is called .csv or .tsv, and what does not begin with a brace and is not called .json, .jsonl or
    .ndjson.

    Args:
        options: of the command.
        stream: the input.
        defaults: of `read_items`.
        stop: ends it, between two lines, good or bad.

    Raises:
        Interrupted: it was stopped.
        InputError: as of `read_items`.
        CommandError: it is of another format, or cannot be read to its end.
    """
    name, suffix = _name(options.file), Path(options.file).suffix.lower()

    def tell(number: int, what: str) -> None:
        with printing():
            print(f"{name}:{number}: {one_line(in_options(what))}", file=sys.stderr, flush=True)  # noqa: T201 - the command's voice

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
            on_bad_line=tell,
            on_note=tell,
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
