"""JSON lines or CSV -> items, one after the other, with a word on each line that will not do."""

import codecs
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

from .items import SERVICES, Item

_LONGEST: Final = 100_000  # bytes of a line; an item has a few hundred
_SHOWN: Final = 100  # characters of what is quoted

OnBadLine: TypeAlias = Callable[[int, str], None]


class InputError(ValueError):
    """The input will not do. One line; what is wrong with which line was told before."""


def read_items(
    lines: Iterable[bytes], *, is_csv: bool, defaults: Mapping[str, str], on_bad_line: OnBadLine
) -> Iterator[Item]:
    """Yield the item of each line; blank lines are none.

    Args:
        lines: of the input, as they are.
        is_csv: the first line names the fields; else each line is a JSON object.
        defaults: for fields that a line does not give; those that its operation does not have are not used.
        on_bad_line: called with the number of a line, from 1, and what is wrong with it.

    Raises:
        InputError: at the end, if a line was bad or there was none; at once, if a CSV has no header.
    """
    bad = good = 0
    for number, given in _csv(lines) if is_csv else _json_lines(lines):
        try:
            if isinstance(given, ValueError):
                raise given
            item = Item.of(_with_defaults(given, defaults))
        except ValueError as error:
            bad += 1
            on_bad_line(number, str(error))
        else:
            good += 1
            yield item
    if bad:
        raise InputError(f"{bad} of {bad + good} lines will not do; nothing was sent")
    if not good:
        raise InputError("there is nothing in it: no line with a retry")


Line: TypeAlias = "tuple[int, dict[str, Any] | ValueError]"


def _json_lines(lines: Iterable[bytes]) -> Iterator[Line]:
    for number, line in enumerate(lines, start=1):
        try:
            if text := _text(line, first=number == 1).strip():
                yield number, _object(text)
        except ValueError as error:
            yield number, error


def _object(text: str) -> dict[str, Any]:
    try:
        value: Any = json.loads(text, object_pairs_hook=_unique, parse_int=_whole_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 - of the line, as all that is wrong with it
            'is no JSON object, such as {"operation": "RetryEngine", "engine_id": "…"}'
        )
    return cast("dict[str, Any]", value)


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("has a number with too many digits") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("has a field twice")
    return value


def _csv(lines: Iterable[bytes]) -> Iterator[Line]:
    broken: dict[int, ValueError] = {}
    reader = csv.reader(_texts(lines, broken), strict=True, skipinitialspace=True)
    try:
        header = [name.strip() for name in next(reader, list[str]())]
    except csv.Error as error:
        raise InputError(f"line 1: {error}") from None
    if 1 in broken:
        raise InputError(f"line 1 {broken[1]}")
    if len(set(header)) < len(header) or not {"engine_id", "record_id", "task_id"} & set(header):
        shown = ", ".join(header)[:_SHOWN]
        raise InputError(f"line 1 must name the fields, such as operation,project_id,engine_id; it is: {shown}")
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
            given = broken.pop(number, None) or _named(header, row)
        except csv.Error as error:
            given = ValueError(f"is not CSV: {error}")
        except StopIteration:
            return
        if reader.line_num > number:  # or the lines after it would be missing without a word
            given = ValueError(f"spans lines {number} to {reader.line_num}: is a quote missing?")
        if given:
            yield number, given


def _named(header: list[str], row: list[str]) -> dict[str, Any] | ValueError:
    if len(row) > len(header):
        return ValueError(f"has {len(row)} fields, and line 1 names {len(header)}")
    return {name: value.strip() for name, value in zip(header, row, strict=False) if value.strip()}


def _texts(lines: Iterable[bytes], broken: dict[int, ValueError]) -> Iterator[str]:
    """Decode one by one, so that a bad line is only itself; what is no text goes to `broken`, and is blank here."""
    for number, line in enumerate(lines, start=1):
        try:
            yield _text(line, first=number == 1)
        except ValueError as error:
            broken[number] = error
            yield "\n"


def _text(line: bytes, *, first: bool) -> str:
    if len(line) > _LONGEST:
        raise ValueError(f"has {len(line)} bytes, and {_LONGEST} are allowed")
    if b"\0" in line or (first and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))):
        raise ValueError("is not UTF-8 text: is it UTF-16?")
    try:
        return line.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8: {error.reason} at byte {error.start}") from None


def _with_defaults(given: dict[str, Any], defaults: Mapping[str, str]) -> dict[str, Any]:
    merged = {**{name: value for name, value in defaults.items() if name in {"project_id", "region"}}, **given}
    if "operation" not in merged:
        raise ValueError(f"operation is missing: {' or '.join(SERVICES)}")
    if merged["operation"] == "RetryEngine" and "enterprise_project_id" in defaults:
        merged.setdefault("enterprise_project_id", defaults["enterprise_project_id"])
    return merged
