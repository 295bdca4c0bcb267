"""How much the contract suite finds of what was broken on purpose. `make mutants` prints the score and the survivors.

`python -m tests.mutants.run server spec` tries these kinds only; EVERY=10 tries a tenth of them, always the same.
"""

import contextlib
import io
import multiprocessing
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tests.contract import checks, suite
from tests.mutants import client, server, spec

SEED = 1
EXAMPLES = 10


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    kind: str
    what: str
    rule: str
    """The one that it breaks."""
    found_by: str
    """The rule, check or test that found it first; empty if it survived."""


def try_server(what: str) -> Verdict:
    """Run the suite against a mutant of the mock, up to the first finding."""
    (mutant,) = (mutant for mutant in server.mutants() if mutant.what == what)
    with server.broken(mutant, checks.STATE) as url, contextlib.redirect_stdout(io.StringIO()):
        options = "--max-failures", "1", "--no-shrink"
        outcome = suite.run(url, seed=SEED, examples=EXAMPLES, options=options, first=True)
    found_by = outcome.findings[0].check if outcome.findings else ""
    return Verdict(f"server: {mutant.kind}", what, mutant.rule, found_by)


def try_client(what: str) -> Verdict:
    """Run the client's contract test on a mutant of the client, up to the first failure."""
    (mutant,) = (mutant for mutant in client.mutants() if mutant.what == what)
    return Verdict(f"client: {mutant.kind}", what, mutant.rule, client.first_failure(mutant, SEED))


def try_spec(what: str) -> Verdict:
    """Hold a mutant of openapi.yaml to the checks of the spec."""
    (mutant,) = (mutant for mutant in spec.mutants() if mutant.what == what)
    return Verdict("spec", what, "", spec.first_finding(mutant)[0])


TRIES: dict[str, tuple[Callable[[str], Verdict], Callable[[], Sequence[Any]]]] = {
    "client": (try_client, client.mutants),
    "server": (try_server, server.mutants),
    "spec": (try_spec, spec.mutants),
}


def names(kind: str, every: int = 1) -> list[str]:
    """Return the mutants of a kind, or a sample of them, always the same."""
    all_ = [mutant.what for mutant in TRIES[kind][1]()]
    return all_ if every == 1 else sorted(random.Random(SEED).sample(all_, len(all_) // every))


def tried(tries: Sequence[tuple[Callable[[str], Verdict], str]]) -> Iterator[Verdict]:
    """Try mutants, as many at a time as there are cores, each in a process of its own that has all imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module.__name__ for module in (suite, client, server, spec)])
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, max_tasks_per_child=1) as pool:
        for future in [pool.submit(try_, what) for try_, what in tries]:
            yield future.result()


def summary(verdicts: list[Verdict]) -> str:
    """Say how many of each kind were found, and name the survivors."""
    lines = [f"{'found':>5} {'of':>5}  kind"]
    for kind, group in groupby(sorted(verdicts, key=lambda each: each.kind), key=lambda each: each.kind):
        tried = list(group)
        lines.append(f"{sum(bool(each.found_by) for each in tried):>5} {len(tried):>5}  {kind}")
    lines.append(f"{sum(bool(each.found_by) for each in verdicts):>5} {len(verdicts):>5}  all")
    lines += [f"survives: {each.kind}: {each.what}  [{each.rule}]" for each in verdicts if not each.found_by]
    return "\n".join(lines)


def main() -> int:
    """Try them, two at a time; returns the exit code."""
    kinds, every = sys.argv[1:] or list(TRIES), suite.whole_number("EVERY", 1)
    if unknown := [kind for kind in kinds if kind not in TRIES]:
        print(f"there are mutants of {', '.join(TRIES)}, and not of {', '.join(unknown)}", file=sys.stderr)
        return 2
    verdicts: list[Verdict] = []
    tries = [(TRIES[kind][0], what) for kind in kinds for what in names(kind, every)]
    for verdict in tried(tries):
        verdicts.append(verdict)
        print(f"\r{len(verdicts)} of {len(tries)}", end="", file=sys.stderr, flush=True)
    print(f"\n{summary(verdicts)}")
    return 0 if all(verdict.found_by for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
