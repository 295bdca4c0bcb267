"""Imports the project's packages with some text changed, and leaves the files as they are.

A mutant's change: FILE: [old, new, old, new, …], the file below src/huaweicloud_retry or generated/huaweicloud_retry_client.
"""

import re
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any, cast

from huaweicloud_retry.parsing import read_yaml

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "huaweicloud_retry": ROOT / "src/huaweicloud_retry",
    "huaweicloud_retry_client": ROOT / "generated/huaweicloud_retry_client",
}


@dataclass(frozen=True)
class Mutant:
    """One thing that is wrong."""

    kind: str
    """Of bug."""
    rule: str
    """The documented one that it breaks, with its source."""
    what: str
    changes: Mapping[str, Any]

    @property
    def texts(self) -> dict[Path, str]:
        """Return each changed file as the mutant has it."""
        return {
            file: self._changed(file, given) for name, given in self.changes.items() for file in _files(name)
        }

    def _changed(self, file: Path, given: Sequence[str]) -> str:
        text = file.read_text("utf-8")
        for old, new in zip(given[::2], given[1::2], strict=True):
            if old not in text:
                raise LookupError(
                    f"mutant {self.what!r}: {file.relative_to(ROOT)} has no {old!r}: change one of both"
                )
            text = text.replace(old, new)
        return text


def read(file: Path) -> list[Mutant]:
    """Return the mutants of a file: kind -> rule (source) -> what is wrong -> changes."""
    kinds = cast("dict[str, dict[str, dict[str, Any]]]", read_yaml(file.read_bytes()))
    return [
        Mutant(kind, rule, what, changes)
        for kind, rules in kinds.items()
        for rule, mutants in rules.items()
        for what, changes in mutants.items()
    ]


def _files(name: str) -> Iterator[Path]:
    if name.endswith(".py"):
        found = [folder / name for folder in PACKAGES.values() if (folder / name).is_file()]
        if not found:
            raise LookupError(f"there is no {name} in {' or '.join(map(str, PACKAGES.values()))}")
        yield from found[:1]


class _Loader(SourceFileLoader):
    """Loads a text in the place of the file's."""

    def __init__(self, name: str, file: Path, text: str) -> None:
        super().__init__(name, str(file))
        self._text = text

    def path_stats(self, path: Any) -> Any:
        """Find no bytecode, and write none: it would be that of the unchanged file."""
        raise OSError(path)

    def get_data(self, path: Any) -> bytes:
        """Return the text."""
        return self._text.encode()


class Finder(MetaPathFinder):
    """Finds changed modules, under the package's name or, with all others of the package, under an alias."""

    def __init__(self, texts: Mapping[Path, str], alias: str = "") -> None:
        self._texts, self._alias = texts, alias

    def find_spec(self, fullname: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Find a module."""
        first, *rest = fullname.split(".")
        folder = PACKAGES["huaweicloud_retry"] if first == self._alias else PACKAGES.get(first, ROOT)
        file = folder.joinpath(*rest)
        file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        if first != self._alias and file not in self._texts:
            return None
        text = self._texts.get(file) or file.read_text("utf-8")
        if self._alias:
            text = re.sub(r"(?m)^(\s*(?:from|import) )huaweicloud_retry\b", rf"\1{self._alias}", text)
        package = [str(file.parent)] if file.name == "__init__.py" else None
        loader = _Loader(fullname, file, text)
        return spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=package)


@contextmanager
def imported(mutant: Mutant, alias: str) -> Generator[None, None, None]:
    """Have the package under an alias as the mutant changes it, beside the one that is right."""
    finder = Finder(mutant.texts, alias)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.split(".")[0] == alias]:
            del sys.modules[name]
