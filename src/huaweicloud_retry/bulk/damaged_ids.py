"""Finds the IDs of an input that a spreadsheet has changed, before anything is sent."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeAlias

_SHOWN: Final = 100  # characters of what is quoted
_MOST_LINES: Final = 10  # that are listed
_IDS: Final = frozenset({"engine_id", "record_id", "task_id"})
_PROJECTS: Final = frozenset({"project_id", "enterprise_project_id"})
_LEAST_USUAL: Final = 16  # characters: shorter IDs may well differ in length
_LEAST_OTHERS: Final = 3
_MOST_SHAPES: Final = 10_000  # lines of more shapes are not compared

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
    """Quote a text of the input, cut if it is long."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


@dataclass(slots=True)
class Lines:
    """Lines that have something in common: how many, and the numbers of the first."""

    count: int = 0
    first: list[int] = field(default_factory=list[int])

    def add(self, number: int) -> None:
        """Count a line."""
        self.count += 1
        if self.count <= _MOST_LINES:
            self.first.append(number)

    def include(self, other: "Lines") -> None:
        """Count the lines of another."""
        self.count += other.count
        self.first = sorted([*self.first, *other.first])[:_MOST_LINES]

    def others(self) -> str:
        """Return what to say of all but the first."""
        if self.count == 1:
            return ""
        others = self.count - 1
        listed = ", ".join([*map(str, self.first[1:]), *(["…"] if self.count > len(self.first) else [])])
        return f"; and {others:,} more {'line' if others == 1 else 'lines'}: {listed}"


_Kind: TypeAlias = tuple[str, bool, int]
"""Of an ID that is made of 0-9 and a-f: its field, whether it has hyphens, its length."""


def _kind(name: str, value: str) -> _Kind | None:
    plain = _PLAIN.fullmatch(value)
    if (not plain or value.endswith("00000")) and (damaged := _DAMAGED.fullmatch(value)):
        reason = _DAMAGE[str(damaged.lastgroup)]
        raise ValueError(f"{name} is {quoted(value)}: {reason}; or allow_odd_ids=True")
    return (name, plain[1] is not None, len(value)) if plain else None


_kind_of_project = lru_cache(1000)(_kind)  # most lines have the same


class DamagedIds:
    """Finds damaged IDs, in bounded memory.

    On its own, an ID is refused if it
    - is a number with an exponent or a decimal point, as 5.9071E+25 or 5907.0;
    - has 20 decimal digits or more, and only zeros from the 16th on;
    - begins with = or #, as ="59071" or #REF!;
    - has quotation marks, as '59071 or “59071”.

    For its length, an ID of 0-9 and a-f is refused if it differs from the others of its field that are made of
    these, too, and have hyphens if it has: three of them or more, and three quarters of all, have one length of at
    least 16 characters, and this one has another, from half to twice of it. So UUIDs and others can be in one file.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[_Kind | None, ...], Lines] = {}  # by the kinds of their IDs

    def check(self, number: int, given: Mapping[str, Any]) -> None:
        """Look at the fields of a valid line.

        Raises:
            ValueError: an ID is damaged.
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
        """Return the lines that have such IDs by reason, each line once."""
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
                    hint = "is a part missing? Correct it, or allow_odd_ids=True"
                    odd.setdefault(f"{what}: {hint}", Lines()).include(lines)
                    break
        return odd
