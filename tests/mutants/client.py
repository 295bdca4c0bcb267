"""Clients that break a documented rule, found by tests/contract/test_client.py alone. client.yaml says what.

It is also the pytest plugin that puts the mutant named by MUTANT in the place of the client.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

import pytest

from tests.mutants import changed

TESTS = "tests/contract/test_client.py"


def mutants() -> list[changed.Mutant]:
    """Return all of them."""
    return changed.read(Path(__file__).with_suffix(".yaml"))


def first_failure(what: str, seed: int) -> str:
    """Run the tests on a mutant; returns the name of the first that fails, or nothing."""
    with TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-p", __name__, "-p", "no:cacheprovider", "-p", "no:randomly"]
        paths = os.pathsep.join(map(str, (changed.ROOT, *(path.parent for path in changed.PACKAGES.values()))))
        environment = {**os.environ, "PYTHONPATH": paths, "MUTANT": what, "EXAMPLES": "20", "SEED": str(seed)}
        ran = subprocess.run(
            [*command, "--exitfirst", "--junit-xml", str(report), TESTS],
            cwd=changed.ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        if ran.returncode not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
            raise RuntimeError(f"pytest could not run the tests: {ran.stdout}{ran.stderr}")
        for case in ET.parse(report).iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                return case.get("name", "").partition("[")[0]
    return ""


def pytest_configure() -> None:
    """Put the mutant in the client's place; leave out shrinking, which takes longer than to find a failure."""
    from hypothesis import Phase, settings  # noqa: PLC0415 - pytest wants to import it first

    settings.register_profile("no shrinking", phases=set(Phase) - {Phase.shrink, Phase.explain})
    settings.load_profile("no shrinking")
    mutant = next(mutant for mutant in mutants() if mutant.what == os.environ["MUTANT"])
    sys.meta_path.insert(0, changed.Finder(mutant.texts))
