"""Cases a second, as schemathesis counts them: the contract suite and our mock, schemathesis alone and Prism.

Without the fuzzing phase: Prism never responds to a body of a NUL byte, and schemathesis ends the phase.
"""

import re
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.measure import ROOT, Benchmark, Effort, Row, Samples, alternate, python, server
from tests.benchmarks.mocks import PRISM, prism

PEER = f"st run against {PRISM}"
OPTIONS = ("--phases", "examples,coverage", "--no-shrink")
SEED = 1
OURS = f"""
from tests.contract import suite
with suite.mock() as url:
    suite.run(url, seed={SEED}, examples=1, options={OPTIONS})
"""
NOTE = (
    "the same settings; ours has cases and checks of its own, whose requests by themselves are not counted; "
    "the fuzzing phase is left out because Prism never responds to a body of a NUL byte, which ends it"
)


def cases_per_second(report: str) -> float:
    """Read what st prints of a run."""
    cases = re.search(r"^ *(\d+) generated", report, re.MULTILINE)
    seconds = re.search(r" in ([\d.]+)s =+\s*$", report)
    if not cases or not seconds:
        raise RuntimeError(f"st does not say how many cases it ran in what time: {report}")
    return int(cases[1]) / float(seconds[1])


def run(effort: Effort) -> Samples:
    with server(prism) as url:
        script = str(Path(sys.executable).with_name("st"))
        config, spec = str(ROOT / "tests" / "contract" / "schemathesis.toml"), str(ROOT / "openapi.yaml")
        command = [script, "--config-file", config, "run", spec, "--url", url, "--seed", str(SEED)]

        def peer() -> float:
            # 1: it finds something wrong with Prism.
            ran = subprocess.run([*command, *OPTIONS], cwd=ROOT, check=False, capture_output=True, text=True)
            if ran.returncode not in {0, 1}:
                raise RuntimeError(f"st ended with code {ran.returncode}: {ran.stdout}{ran.stderr}")
            return cases_per_second(ran.stdout)

        return alternate(effort, {"ours": lambda: cases_per_second(python("-c", OURS)), PEER: peer})


WHAT = "contract suite: examples and coverage phases, seed 1"
ROW = Row("contract", WHAT, "cases/s", PEER, more_is_better=True, note=NOTE)
BENCHMARKS = [Benchmark("contract", [ROW], run, not_in_smoke="needs the npm registry")]
