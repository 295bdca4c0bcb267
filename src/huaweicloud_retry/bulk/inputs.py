"""Reads items from JSON lines or CSV. Each kind of error is reported once, with its line numbers.

read_items      the lines of a file -> items
_Problems       the errors, each with its lines
_Columns        the header of a CSV file
"""

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from itertools import chain
from typing import Any, Final, TypeAlias, cast

from .damaged_ids import DamagedIds, Lines, quoted
from .items import Item, Outcome

_LONGEST: Final = 100_000  # bytes of a line; an item has a few hundred
_MOST_REASONS: Final = 20

_FIELDS: Final = tuple(each.name for each in fields(Item))
_FIELD_SET: Final = frozenset(_FIELDS)
# The other fields of our own output, which is also valid input.
_OUTCOME: Final = {each.name for each in fields(Outcome)} - {"item"}
_OPERATIONS: Final = {
    "engine_id": "RetryEngine",
    "record_id": "RetryScriptExecution",
    "task_id": "RetryScriptExecution",
}

OnLine: TypeAlias = Callable[[int, str], None]
Line: TypeAlias = "tuple[int, dict[str, Any] | ValueError]"


class InputError(ValueError):
    """The input is invalid. The text is one line; the invalid lines were reported before."""


def read_items(  # noqa: PLR0913 - options of the input
    lines: Iterable[bytes],
    *,
    is_csv: bool,
    defaults: Mapping[str, str],
    on_bad_line: OnLine,
    on_note: OnLine = lambda _number, _text: None,
    strict_columns: bool = False,
    allow_odd_ids: bool = False,
) -> Iterator[Item]:
    """Yield the item of each line that is not blank. Use none before the end: the whole input may be invalid.

    A line without an operation gets the operation of its ID: engine_id, record_id or task_id.

    Args:
        lines: The raw lines.
        is_csv: The first line names the columns; otherwise each line is a JSON object.
        defaults: For fields that a line lacks, if its operation has the field. With a default operation, IDs
            of the other operation are ignored.
        on_bad_line: Called at the end, once for each error, with the number of the first line, from 1, and a
            text: the error, and the other lines.
        on_note: Called with a line number and a note, such as about ignored columns.
        strict_columns: Refuse unknown columns.
        allow_odd_ids: Accept IDs that a spreadsheet seems to have changed; see `DamagedIds`.

    Raises:
        InputError: At the end, if a line is invalid or there is none; at once, if the CSV header is invalid.
    """
    problems, ids, good = _Problems(), DamagedIds(), 0
    shared = {name: value for name, value in defaults.items() if name in {"project_id", "region"}}
    columns = _Columns(strict=strict_columns, on_note=on_note)
    for number, given in _csv(lines, columns, on_bad_line) if is_csv else _json(lines):
        try:
            values = _complete(given, shared, defaults)
            item = Item(**values)
            if not allow_odd_ids:
                ids.check(number, values)
        except ValueError as error:
            problems.add(str(error), number)
        else:
            good += 1
            yield item
    for reason, odd in ids.of_odd_length().items():
        problems.add_all(reason, odd)
        good -= odd.count
    if problems.count:
        problems.report(on_bad_line)
        total = problems.count + good
        what = f"{'line' if total == 1 else 'lines'} {'is' if problems.count == 1 else 'are'} invalid"
        raise InputError(f"{problems.count} of {total} {what}; nothing was sent")
    if not good:
        raise InputError("the input is empty: no line with a retry")


def _complete(
    given: dict[str, Any] | ValueError, shared: Mapping[str, str], defaults: Mapping[str, str]
) -> dict[str, Any]:
    """Return the fields of an item: operation and defaults added, fields of an outcome removed."""
    if isinstance(given, ValueError):
        raise given
    given = {**shared, **given}
    if not given.keys() <= _FIELD_SET:
        given = {name: value for name, value in given.items() if name not in _OUTCOME}
        for name in given:
            if name not in _FIELD_SET:
                meant = _meant(name)
                hint = f"did you mean {meant}?" if meant else f"the fields are {', '.join(_FIELDS)}"
                raise ValueError(f"no field {quoted(name)}; {hint}")
    if given.get("operation") is None:
        given["operation"] = _operation(given, defaults.get("operation"))
    if given.get("project_id") is None:
        raise ValueError("project_id missing")
    if given["operation"] == "RetryEngine" and "enterprise_project_id" in defaults:
        given.setdefault("enterprise_project_id", defaults["enterprise_project_id"])
    return given


def _operation(given: dict[str, Any], chosen: str | None) -> str:
    ids = [name for name in _OPERATIONS if given.get(name) is not None]
    if chosen is not None:
        for name in ids:
            if _OPERATIONS[name] != chosen:
                del given[name]
        return chosen
    if not ids:
        raise ValueError("engine_id, record_id or task_id missing")
    if len({_OPERATIONS[name] for name in ids}) > 1:
        both = " and ".join(ids)
        raise ValueError(f"has {both}, of two different operations: leave one empty, or give operation=")
    return _OPERATIONS[ids[0]]


def _meant(name: str, names: Iterable[str] = _FIELDS) -> str | None:
    """Return the field that is most similar to a name."""
    plain = _plain(name)
    if plain.endswith("_name"):  # project_name does not mean project_id
        return None
    return next(iter(get_close_matches(plain, names, n=1, cutoff=0.8)), None)


def _plain(name: str) -> str:
    """Return a heading in the form of a field: `Record ID`, `record-id` and `recordId` become record_id."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s_-]+", "_", words).lower()


# --- Errors -------------------------------------------------------------------------------------------------

# Errors that differ only in a value are grouped. The name of a field is part of the error.
_VALUE: Final = re.compile(r"""(?<!no field )(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")|\d++""")


class _Problems:
    """The errors of lines, grouped, in bounded memory."""

    def __init__(self) -> None:
        self.count = 0
        self._lines: dict[str, tuple[str, Lines]] = {}

    def add(self, reason: str, number: int) -> None:
        key = _VALUE.sub("", reason)
        if key not in self._lines and len(self._lines) >= _MOST_REASONS:
            key, reason = "", "is invalid for another reason"
        self._lines.setdefault(key, (reason, Lines()))[1].add(number)
        self.count += 1

    def add_all(self, reason: str, lines: Lines) -> None:
        self._lines[reason] = reason, lines
        self.count += lines.count

    def report(self, on_bad_line: OnLine) -> None:
        for reason, lines in sorted(self._lines.values(), key=lambda each: each[1].first):
            on_bad_line(lines.first[0], f"{reason}{lines.others()}")


# --- JSON lines ---------------------------------------------------------------------------------------------


def _json(lines: Iterable[bytes]) -> Iterator[Line]:
    for number, line in enumerate(lines, start=1):
        try:
            if text := _text(line, first=number == 1).strip():
                yield number, _object(text)
        except ValueError as error:
            yield number, error


def _object(text: str) -> dict[str, Any]:
    try:
        value: Any = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError('is no JSON object, such as {"engine_id": "…"}')  # noqa: TRY004 - as all errors of a line
    return cast("dict[str, Any]", value)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("has a number with too many digits") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("has a field twice")
    return value


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer)


# --- CSV ----------------------------------------------------------------------------------------------------

_SEPARATOR: Final = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)  # Excel's own first line
_DELIMITERS: Final = ",;\t"


class _Columns:
    """The columns of a CSV file."""

    def __init__(self, *, strict: bool, on_note: OnLine) -> None:
        self._strict = strict
        self._on_note = on_note
        self._line = 0
        self._names: list[str | None] = []  # the field of each column up to the last heading; None: ignored

    def read(self, line: int, header: Sequence[str]) -> list[str]:
        """Read the header; returns its errors."""
        header = [heading.strip() for heading in header]
        plain = [_plain(heading) for heading in header]
        while plain and not plain[-1]:
            plain.pop()
        self._line = line
        self._names = [name if name in _FIELD_SET else None for name in plain]
        missing = [name for name in _FIELDS if name not in plain]
        problems = [f"names {name} twice" for name in _FIELDS if plain.count(name) > 1]
        ignored: list[str] = []
        for place, (name, heading) in enumerate(zip(plain, header, strict=False), start=1):
            if name in _FIELD_SET or name in _OUTCOME:
                continue
            if meant := _meant(name, missing):
                problems.append(f"no column {quoted(heading)}; did you mean {meant}? Rename or remove it")
            else:
                ignored.append(quoted(heading) if name else f"column {place} without a name")
        listed = ", ".join([*ignored[:_MOST_REASONS], *(["…"] if len(ignored) > _MOST_REASONS else [])])
        if not problems and not _OPERATIONS.keys() & set(plain):
            must = "the first line must name the columns, such as engine_id or record_id"
            problems.append(f"{must}; it is {quoted(', '.join(header))}")
        elif ignored and self._strict:
            problems.append(f"unknown columns: {listed}; remove them")
        elif ignored and not problems:
            self._on_note(line, f"ignored columns: {listed}")
        return problems

    def named(self, row: list[str]) -> dict[str, Any] | ValueError | None:
        """Return the fields of a row; None: the row is blank."""
        names = self._names
        cells = zip(names, row, strict=False)
        given = {name: value for name, cell in cells if name and (value := cell.strip())}
        if len(row) > len(names):
            while row and not row[-1].strip():
                row.pop()
            if len(row) > len(names):
                what = f"has {len(row)} fields, but line {self._line} names {len(names)}"
                return ValueError(f"{what}: does a text with commas need quotes?")
        return given if given or any(map(str.strip, row)) else None


def _csv(lines: Iterable[bytes], columns: _Columns, on_bad_line: OnLine) -> Iterator[Line]:
    broken: dict[int, ValueError] = {}
    texts = _texts(lines, broken)
    first, header, delimiter = _header(texts, broken)
    reader = csv.reader(chain([header], texts), delimiter=delimiter, strict=True, skipinitialspace=True)
    number, is_header = first, True
    given: dict[str, Any] | ValueError | None
    while True:
        try:
            row = next(reader)
            given = broken.pop(number, None) if broken else None
            if given is None and not is_header:
                given = columns.named(row)
        except csv.Error as error:
            row, given = [], ValueError(f"is not CSV: {error}")
        except StopIteration:
            return
        last = first + reader.line_num - 1
        if last > number:  # otherwise the lines that the row has swallowed would be lost silently
            given = ValueError(f"spans lines {number} to {last}: is a quote missing?")
        if is_header:
            problems = [str(given)] if given else columns.read(number, row)
            for problem in problems:
                on_bad_line(number, problem)
            if problems:
                raise InputError("the header is invalid; nothing was sent")
        elif given is not None:
            yield number, given
        number, is_header = last + 1, False


def _header(texts: Iterator[str], broken: Mapping[int, ValueError]) -> tuple[int, str, str]:
    """Return the line number of the header, its text and the delimiter; skips blank lines before it."""
    number, text, delimiter = 1, "", None
    for number, text in enumerate(texts, start=1):
        separator = _SEPARATOR.fullmatch(text) if number == 1 else None
        if separator:
            delimiter = separator[1]
        elif number in broken or text.strip(f" \r\n{_DELIMITERS}"):
            break
    return number, text, delimiter or max(_DELIMITERS, key=lambda each: _fit(text, each))


def _fit(header: str, delimiter: str) -> tuple[int, int]:
    """Return the number of known columns, and of all columns, that a delimiter yields."""
    row = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), list[str]())
    return sum(_plain(heading) in _FIELD_SET for heading in row), len(row)


def _texts(lines: Iterable[bytes], broken: dict[int, ValueError]) -> Iterator[str]:
    """Decode each line on its own. The error of a bad line goes to `broken`, and a blank line replaces it."""
    for number, line in enumerate(lines, start=1):
        try:
            yield _text(line, first=number == 1)
        except ValueError as error:
            broken[number] = error
            yield "\n"


def _text(line: bytes, *, first: bool) -> str:
    if len(line) > _LONGEST:
        raise ValueError(f"has {len(line)} bytes; the limit is {_LONGEST}")
    if b"\0" in line or (first and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))):
        raise ValueError("is not UTF-8 text: is it UTF-16? Save the file as UTF-8")
    try:
        return line.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        what = f"is not UTF-8: {error.reason} at byte {error.start}"
        raise ValueError(f"{what}; save the file as UTF-8") from None
