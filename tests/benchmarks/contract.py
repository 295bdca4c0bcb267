"""The contract suite against our mock beside schemathesis alone against Prism: cases a second, as schemathesis counts them.

Without the fuzzing phase: Prism never answers a request whose body is a NUL byte, and schemathesis ends the phase there.
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


def cases_per_second(said: str) -> float:
    """Read what st says of a run."""
    cases, seconds = (
        re.search(r"^ *(\d+) generated", said, re.MULTILINE),
        re.search(r" in ([\d.]+)s =+\s*$", said),
    )
    if not cases or not seconds:
        raise RuntimeError(f"st does not say how many cases it ran in what time: {said}")
    return int(cases[1]) / float(seconds[1])


def run(effort: Effort) -> Samples:
    with server(prism) as url:
        config = str(ROOT / "tests" / "contract" / "schemathesis.toml")
        script = str(Path(sys.executable).with_name("st"))
        command = [
            script,
            "--config-file",
            config,
            "run",
            str(ROOT / "openapi.yaml"),
            "--url",
            url,
            "--seed",
            str(SEED),
        ]

        def peer() -> float:
            # 1: it finds something wrong with Prism.
            ran = subprocess.run([*command, *OPTIONS], cwd=ROOT, check=False, capture_output=True, text=True)
            if ran.returncode not in {0, 1}:
                raise RuntimeError(f"st ended with code {ran.returncode}: {ran.stdout}{ran.stderr}")
            return cases_per_second(ran.stdout)

        return alternate(effort, {"ours": lambda: cases_per_second(python("-c", OURS)), PEER: peer})


BENCHMARKS = [
    Benchmark(
        "contract",
        [
            Row(
                "contract",
                "contract suite: examples and coverage phases, seed 1",
                "cases/s",
                PEER,
                more_is_better=True,
                note=(
                    "the same settings; ours has cases and checks of its own, whose requests by themselves are not counted; the "
                    "fuzzing phase is left out because Prism never responds to a body of a NUL byte, which ends it"
                ),
            )
        ],
        run,
        not_in_smoke="needs the npm registry",
    )
]
