"""Clients with something wrong, in copies of the checkout: client.toml, which says what."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.contract.suite import ROOT

COPIED = (
    "codegen",
    "generated",
    "src",
    "tests",
    "openapi.yaml",
    "pyproject.toml",
    "requirements.lock",
    "README.md",
    "CHANGELOG.md",
)
# What holds the client to its word: what schemathesis generates, with each seed; then what has no seed, first what is quick,
# then what takes a minute. Not the test that the generated package is current, which no mutant could pass.
SEEDED = ("tests/contract/test_client.py",)
UNSEEDED = (
    (
        "tests/unit/test_client_wire.py",
        "tests/unit/test_http1.py",
        "tests/unit/test_secrets.py",
        "tests/unit/test_redaction.py",
    ),
    ("tests/unit/test_client.py", "tests/unit/test_transport.py"),
)


@dataclass(frozen=True)
class Mutant:
    what: str
    file: str
    old: str
    new: str


def mutants() -> list[Mutant]:
    described = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    return [Mutant(**mutant) for mutant in described["mutant"]]


def copy(mutant: Mutant, folder: Path) -> None:
    """Copy the checkout with the mutant's change."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, folder / name)
    file = folder / mutant.file
    text = file.read_text("utf-8")
    assert mutant.old in text, f"{mutant.what!r}: {mutant.file} has no {mutant.old!r}"
    file.write_text(text.replace(mutant.old, mutant.new), "utf-8")


def first_failures(folder: Path, seeds: Sequence[int]) -> list[tuple[str, int]]:
    """Run the tests on a copy; returns for each seed the first that fails and how many had run; no name if all pass."""
    failures = [_first_failure(folder, SEEDED, seeds[0])]
    if failures[0][0]:  # or else it is left to what has no seed
        failures += [_first_failure(folder, SEEDED, seed) for seed in seeds[1:]]
    for files in UNSEEDED:
        if all(name for name, _ in failures):
            break
        found, ran = _first_failure(folder, files, seeds[0])
        failures = [(name, after) if name else (found, after + ran) for name, after in failures]
    return failures if len(failures) == len(seeds) else failures * len(seeds)


def _first_failure(folder: Path, files: Sequence[str], seed: int) -> tuple[str, int]:
    report = folder / "report.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.mutants.no_shrinking",
        "--exitfirst",
        "--junit-xml",
        str(report),
        *files,
    ]
    paths = os.pathsep.join(str(folder / name) for name in ("src", "generated"))
    environment = {**os.environ, "PYTHONPATH": paths, "EXAMPLES": "50", "SEED": str(seed)}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        raise RuntimeError(f"pytest could not run the tests: {ran.stdout}{ran.stderr}")
    cases = list(ET.parse(report).iter("testcase"))
    for number, case in enumerate(cases, start=1):
        if case.find("failure") is not None or case.find("error") is not None:
            return case.get("name", "").partition("[")[0], number
    return "", len(cases)
