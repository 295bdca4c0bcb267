"""Clients that break a documented rule, found by the tests in TESTS. client.yaml says what."""

import contextlib
import io
import os
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from tests.mutants import changed

# What takes longest comes last.
TESTS = (
    *("unit/test_signing.py", "unit/test_resend.py", "unit/test_http1.py", "unit/test_client_wire.py"),
    *("unit/test_secrets.py", "unit/test_transport.py", "unit/test_client.py", "contract/test_client.py"),
)


def mutants() -> list[changed.Mutant]:
    """Return all of them."""
    return changed.read(Path(__file__).with_suffix(".yaml"))


class _FirstFailure:
    """A plugin of pytest: the name of the first test that fails."""

    name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid.rpartition("::")[2].partition("[")[0]


def first_failure(mutant: changed.Mutant, seed: int) -> str:
    """Run the tests on a mutant; returns the name of the first that fails, or nothing.

    It takes the place of the client in this process, which should end with this.
    """
    for name in list(sys.modules):
        if name.partition(".")[0] in changed.PACKAGES or (
            name.startswith("tests.") and "mutants" not in name
        ):
            del sys.modules[name]
    sys.meta_path.insert(0, changed.Finder(mutant.texts))
    os.environ |= {"EXAMPLES": "10", "SEED": str(seed)}
    # Shrinking takes longer than to find a failure.
    settings.register_profile("first failure", phases=set(Phase) - {Phase.shrink, Phase.explain})
    settings.load_profile("first failure")
    first, out = _FirstFailure(), io.StringIO()
    plugins = ["-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"]
    plugins += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is imported already
    tests = [str(changed.ROOT / "tests" / name) for name in TESTS]
    with contextlib.redirect_stdout(out):
        code = pytest.main(["--exitfirst", *plugins, f"--rootdir={changed.ROOT}", *tests], [first])
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        raise RuntimeError(f"pytest could not run the tests: {out.getvalue()}")
    return first.name
