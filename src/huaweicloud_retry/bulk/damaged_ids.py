"""Finds IDs that a spreadsheet has changed, before anything is sent."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeAlias

_SHOWN: Final = 100  # characters of a quoted text
_MOST_LINES: Final = 10  # line numbers in a message
_IDS: Final = frozenset({"engine_id", "record_id", "task_id"})
_PROJECTS: Final = frozenset({"project_id", "enterprise_project_id"})
_LEAST_USUAL: Final = 16  # characters: shorter IDs may differ in length
_LEAST_OTHERS: Final = 3
_MOST_SHAPES: Final = 10_000  # bounds memory; lines of further shapes are not compared

_PLAIN: Final = re.compile(r"[0-9A-Fa-f]*(-)?[0-9A-Fa-f-]*")
_DAMAGED: Final = re.compile(
    r"""(?P<number>\d+([.,]\d*)?[eE]\+\d+|\d+[.,]\d*[eE]-?\d+|\d+[.,]0+)
    |(?P<rounded>[1-9]\d{14}0{5,})
    |(?P<formula>[=\#].*)
    |(?P<quotes>.*["'`\u2018-\u201f\u00ab\u00bb].*)""",
    re.VERBOSE,
)
_AS_TEXT: Final = "format the column as text, then paste the IDs again"
_DAMAGE: Final = {
    "number": f"a spreadsheet made it a number; {_AS_TEXT}",
    "rounded": f"a spreadsheet rounded it to 15 digits; {_AS_TEXT}",
    "formula": "it is a formula or an error value; give the ID itself",
    "quotes": "remove the quotation marks",
}


def quoted(text: str) -> str:
    """Quote a text of the input; a long one is cut."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


@dataclass(slots=True)
class Lines:
    """A group of lines: how many, and the numbers of the first."""

    count: int = 0
    first: list[int] = field(default_factory=list[int])

    def add(self, number: int) -> None:
        """Count a line."""
        self.count += 1
        if self.count <= _MOST_LINES:
            self.first.append(number)

    def include(self, other: "Lines") -> None:
        """Count the lines of another group."""
        self.count += other.count
        self.first = sorted([*self.first, *other.first])[:_MOST_LINES]

    def others(self) -> str:
        """Return the end of a message that begins with the first line."""
        if self.count == 1:
            return ""
        others = self.count - 1
        numbers = [str(number) for number in self.first[1:]]
        if self.count > len(self.first):
            numbers.append("…")
        return f"; and {others:,} more {'line' if others == 1 else 'lines'}: {', '.join(numbers)}"


_Kind: TypeAlias = tuple[str, bool, int]
"""The kind of a hexadecimal ID: its field, whether it has hyphens, its length."""


def _kind(name: str, value: str) -> _Kind | None:
    plain = _PLAIN.fullmatch(value)
    if (not plain or value.endswith("00000")) and (damaged := _DAMAGED.fullmatch(value)):
        reason = _DAMAGE[str(damaged.lastgroup)]
        raise ValueError(f"{name} is {quoted(value)}: {reason}; or give allow_odd_ids=True")
    return (name, plain[1] is not None, len(value)) if plain else None


_kind_of_project = lru_cache(1000)(_kind)  # most lines have the same project


class DamagedIds:
    """Finds damaged IDs, in bounded memory.

    A single ID is invalid if it
    - is a number with an exponent or a decimal point: 5.9071E+25, 5907.0;
    - has 20 decimal digits or more, and only zeros from the 16th on;
    - begins with = or #: ="59071", #REF!;
    - has quotation marks: '59071, “59071”.

    A hexadecimal ID is also compared with the other hexadecimal IDs of its field; IDs with and without
    hyphens are compared separately. It is invalid if at least three IDs, and three quarters of all, have the
    same length of at least 16 characters, and its own length differs but is between half and twice that
    length.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[_Kind | None, ...], Lines] = {}  # by the kinds of their IDs

    def check(self, number: int, given: Mapping[str, Any]) -> None:
        """Check the fields of a valid line.

        Raises:
            ValueError: An ID is damaged.
        """
        kinds: tuple[_Kind | None, ...] = ()
        for name, value in given.items():
            if value is None:
                continue
            if name in _IDS:
                kinds += (_kind(name, value),)
            elif name in _PROJECTS:
                kinds += (_kind_of_project(name, value),)
        lines = self._lines.get(kinds)
        if lines is None and len(self._lines) < _MOST_SHAPES:
            lines = self._lines[kinds] = Lines()
        if lines is not None:
            lines.add(number)

    def of_odd_length(self) -> dict[str, Lines]:
        """Return the lines with an ID of unusual length, by reason, each line once."""
        lengths: dict[tuple[str, bool], Counter[int]] = {}
        for kinds, lines in self._lines.items():
            for name, has_hyphens, length in filter(None, kinds):
                lengths.setdefault((name, has_hyphens), Counter())[length] += lines.count
        odd: dict[str, Lines] = {}
        for kinds, lines in self._lines.items():
            for name, has_hyphens, length in filter(None, kinds):
                counts = lengths[name, has_hyphens]
                right, others = counts.most_common(1)[0]
                are_alike = others >= _LEAST_OTHERS and 4 * others >= 3 * counts.total()
                is_odd = length != right and right <= 2 * length <= 4 * right
                if right >= _LEAST_USUAL and are_alike and is_odd:
                    what = f"{name} is not {right} characters long, as {others:,} others are"
                    hint = "is a part missing? Correct it, or give allow_odd_ids=True"
                    odd.setdefault(f"{what}: {hint}", Lines()).include(lines)
                    break
        return odd
