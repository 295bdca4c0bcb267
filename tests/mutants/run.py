"""How strong the contract suite is: it has to find what was broken on purpose. `make mutants` prints what found what.

`python -m tests.mutants.run server spec` tries these kinds only.
"""

import contextlib
import io
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tests.contract import suite
from tests.mutants import client, server, spec

KINDS = ["client", "server", "spec"]
SEEDS = (1, 2, 3)
EXAMPLES = 100
_UNTIL_FOUND = ("--max-failures", "1", "--no-shrink")


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant, with one seed."""

    kind: str
    what: str
    check: str
    """Which found it; empty if it survived."""
    phase: str = ""
    """Of the run; of a spec, what the check says is wrong."""
    after: int = 0
    """The case that did, or the test, of all in the order of the run; what checks send by themselves is not counted."""
    reason: str = ""
    """Why it may survive."""


def try_server(what: str, seed: int) -> list[Verdict]:
    with server.broken(what) as (url, between):
        found = _first_finding(url, seed)
    if not between.changed:
        raise RuntimeError(f"{what!r} changed nothing in a whole run, so it is no mutant")
    return [Verdict("server", what, *found)]


def try_spec(what: str) -> list[Verdict]:
    mutant = next(mutant for mutant in spec.mutants() if mutant.what == what)
    return [Verdict("spec", what, *spec.first_finding(mutant))]


def try_client(what: str, *seeds: int) -> list[Verdict]:
    mutant = next(mutant for mutant in client.mutants() if mutant.what == what)
    with tempfile.TemporaryDirectory() as folder:
        client.copy(mutant, Path(folder))
        failures = client.first_failures(Path(folder), seeds)
    return [Verdict("client", what, name, "pytest" if name else "", after) for name, after in failures]


def _first_finding(url: str, seed: int) -> tuple[str, str, int]:
    with contextlib.redirect_stdout(io.StringIO()):
        outcome = suite.run(url, seed=seed, examples=EXAMPLES, options=_UNTIL_FOUND)
    for finding in outcome.findings:
        return finding.check, finding.phase, finding.after
    return "", "", outcome.cases


def table(verdicts: list[Verdict]) -> str:
    """Say of each mutant what found it; the cases with each seed."""
    lines = ["| kind | mutant | found by | phase | after cases or tests |", "|---|---|---|---|---|"]
    for (kind, what), group in groupby(verdicts, key=lambda verdict: (verdict.kind, verdict.what)):
        tried = list(group)
        found = ", ".join(dict.fromkeys(v.check or f"survives: {v.reason or 'NOTHING FOUND IT'}" for v in tried))
        phases = ", ".join(dict.fromkeys(v.phase for v in tried if v.phase))
        lines.append(f"| {kind} | {what} | {found} | {phases} | {' '.join(str(v.after) for v in tried)} |")
    return "\n".join(lines)


def summary(verdicts: list[Verdict]) -> str:
    """Count them."""
    mutants = {(v.kind, v.what) for v in verdicts}
    survivors = {(v.kind, v.what) for v in verdicts if not v.check}
    kinds = sorted({kind for kind, _ in mutants})
    counts = {kind: sum(k == kind for k, _ in mutants) for kind in kinds}
    found = {kind: counts[kind] - sum(k == kind for k, _ in survivors) for kind in kinds}
    return "; ".join(f"{kind}: {found[kind]} of {counts[kind]} found" for kind in kinds)


def unexpected(verdicts: list[Verdict]) -> list[str]:
    """Say which survived without a reason, or were found although there is one."""
    return [
        f"{v.kind} mutant {v.what!r} {'was found by ' + v.check if v.check else 'survives'}"
        for v in verdicts
        if bool(v.check) == bool(v.reason)
    ]


def main() -> int:
    """Try all of them; returns the exit code."""
    kinds = sys.argv[1:] or KINDS
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        print(f"there are mutants of {', '.join(KINDS)}, and not of {', '.join(unknown)}", file=sys.stderr)
        return 2
    tries: list[tuple[Callable[..., list[Verdict]], str, tuple[int, ...]]] = []
    if "client" in kinds:
        tries += [(try_client, mutant.what, SEEDS) for mutant in client.mutants()]
    if "server" in kinds:
        tries += [(try_server, what, (seed,)) for what in server.MUTANTS for seed in SEEDS]
    if "spec" in kinds:
        tries += [(try_spec, mutant.what, ()) for mutant in spec.mutants()]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(try_, what, *seeds) for try_, what, seeds in tries]
        verdicts: list[Verdict] = []
        for number, future in enumerate(futures, start=1):
            verdicts += future.result()
            print(f"\r{number} of {len(futures)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(table(verdicts))
    print(f"\n{summary(verdicts)}; seeds {', '.join(map(str, SEEDS))}")
    wrong = unexpected(verdicts)
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
