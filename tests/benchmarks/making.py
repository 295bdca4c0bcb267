"""`make` with and without an edit of the spec, and the generator that it runs, in a copy of the checkout."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.measure import (
    ROOT,
    Aim,
    Benchmark,
    Effort,
    Row,
    Samples,
    alternate,
    at_most,
    seconds_of,
)

GENERATOR = "openapi-python-client"
EDITED, UNCHANGED = "ours, edited", "ours, nothing to do"
SUMMARY = "summary: Retry a (failed) script execution task."
# A copy, so that nothing here is touched; all that `make` reads.
COPIED = ("Makefile", "openapi.yaml", "pyproject.toml", "requirements.lock", "codegen", "generated")


def run(effort: Effort) -> Samples:
    with tempfile.TemporaryDirectory() as folder:
        copy, made = Path(folder) / "checkout", Path(folder) / "made"
        copy.mkdir()
        for name in COPIED:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, copy / name)
        # The environment is shared, and used as it is: were it out of date, make would make it anew.
        (copy / ".venv").symlink_to(sys.prefix, target_is_directory=True)
        make = ("make", "--old-file", ".venv/.ready")
        spec = copy / "openapi.yaml"
        text = spec.read_text(encoding="utf-8")
        if SUMMARY not in text:
            raise RuntimeError(f"openapi.yaml has no {SUMMARY!r}, which would be edited")
        generate = (GENERATOR, "generate", "--path", str(spec), "--meta", "none", "--overwrite")
        # Where the generator looks for ruff.
        scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": scripts}
        edits = 0

        def edited() -> float:
            nonlocal edits
            edits += 1
            spec.write_text(text.replace(SUMMARY, f"{SUMMARY} Edit {edits}."), encoding="utf-8")
            return seconds_of(*make, cwd=copy)

        sides = {
            EDITED: edited,
            UNCHANGED: lambda: seconds_of(*make, cwd=copy),
            GENERATOR: lambda: seconds_of(*generate, "--output-path", str(made), environment=environment),
        }
        return alternate(effort, sides, warm=True)


NOTE = "ours also validates the spec and the code, and imports it before it is swapped in"
HALF_A_SECOND = Aim("at most 0.5 s", most=0.5)
BENCHMARKS = [
    Benchmark(
        "make",
        [
            Row(
                "make-edited",
                "make after an edit of the spec",
                "s",
                GENERATOR,
                None,
                EDITED,
                at_most(2),
                note=NOTE,
            ),
            Row("make-unchanged", "make with nothing to do", "s", GENERATOR, None, UNCHANGED, HALF_A_SECOND),
        ],
        run,
        not_in_smoke="takes seconds, and is no more than make itself",
    )
]
