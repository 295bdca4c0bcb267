"""Environments with nothing in them but what one thing needs, as its users have it.

The one of the tests will not do to measure an import: there, httpx finds trio and rich, which it imports where they are, and
spends most of its time on them.
"""

import importlib.metadata
import tomllib
import venv
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

from tests.benchmarks.measure import ROOT

OUR_PACKAGES = (ROOT / "src" / "huaweicloud_retry", ROOT / "generated" / "huaweicloud_retry_client")


def ours(folder: Path) -> str:
    """Make an environment as one has it who installs our wheel, without extras; return its Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return _environment(folder, project["dependencies"], OUR_PACKAGES)


def of(folder: Path, *packages: str) -> str:
    """Make an environment of some packages and what they need; return its Python."""
    return _environment(folder, packages)


def _environment(folder: Path, requirements: Iterable[str], more: Iterable[Path] = ()) -> str:
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    entries = {site / path.name: path for path in more}
    for distribution in _needed(requirements).values():
        for file in distribution.files or ():
            if file.parts[0] != "..":  # of scripts and manual pages
                entries[site / file.parts[0]] = Path(str(distribution.locate_file(file.parts[0])))
    for link, target in entries.items():
        link.symlink_to(target)
    return str(folder / "bin" / "python")


def _needed(requirements: Iterable[str]) -> dict[str, importlib.metadata.Distribution]:
    found: dict[str, importlib.metadata.Distribution] = {}
    left = [*requirements]
    while left:
        requirement = Requirement(left.pop())
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and requirement.name not in found:
            found[requirement.name] = importlib.metadata.distribution(requirement.name)
            left += found[requirement.name].requires or []
    return found
