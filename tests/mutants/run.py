"""How much the contract tests detect of what is broken on purpose. `make mutants` prints the score and the survivors.

server.yaml   mutants of the mock, tried by the contract suite
client.yaml   mutants of the client, tried by tests/contract/test_client*.py alone
spec.yaml     mutants of openapi.yaml, tried by tests/spec_checks.py and what `make` refuses

Each mutant has its own process, which imports changed copies of the packages: the suite has the same change as the mock,
so it finds only what it does not take from there. `python -m tests.mutants.run server spec` tries these kinds only;
EVERY=10 tries a tenth of them, always the same.
"""

import contextlib
import io
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

# Nothing of the project is imported here: a process would have it before it has the changed copies.
ROOT = Path(__file__).parents[2]
PACKAGES = "src/huaweicloud_retry", "generated/huaweicloud_retry_client"
_OURS = "huaweicloud_retry", "tests."
KINDS = "client", "server", "spec"
SEED, EXAMPLES = 1, 10


@dataclass(frozen=True)
class Mutant:
    """One thing that is wrong, and what has found it."""

    kind: str
    rule: str
    """The documented one that it breaks, with its source."""
    what: str
    changes: Mapping[str, Any]
    """FILE: [old, new, …], the file of a package; or what spec.yaml and hooks.py describe."""
    found_by: str = ""
    """The rule, check or test that found it first."""


def read(kind: str) -> list[Mutant]:
    """Return the mutants of a kind."""
    groups: Any = yaml.safe_load(Path(__file__).with_name(f"{kind}.yaml").read_bytes())
    return [
        Mutant(f"{kind}: {group}", rule, what, changes)
        for group, rules in groups.items()
        for rule, mutants in rules.items()
        for what, changes in mutants.items()
    ]


def sample(kind: str, every: int) -> list[Mutant]:
    """Return a sample of a kind, always the same."""
    mutants = read(kind)
    return mutants if every == 1 else random.Random(SEED).sample(mutants, len(mutants) // every)


def edited(text: str, edits: Sequence[str], what: str) -> str:
    """Return a text with its edits made."""
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        if old not in text:
            raise LookupError(f"mutant {what!r}: there is no {old!r}: change one of both")
        text = text.replace(old, new)
    return text


def lay_out(mutant: Mutant, folder: Path) -> None:
    """Link the packages into a folder, but for the files that the mutant changes."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, copy_function=os.symlink)
    (folder / "openapi.yaml").symlink_to(ROOT / "openapi.yaml")
    for name, edits in mutant.changes.items():
        if name.endswith(".py"):
            files = [folder / package / name for package in PACKAGES]
            file = next((file for file in files if file.exists()), None)
            if not file:
                raise LookupError(f"mutant {mutant.what!r}: there is no {name} in {' or '.join(PACKAGES)}")
            text = edited(file.read_text("utf-8"), edits, mutant.what)
            file.unlink()
            file.write_text(text, "utf-8")


def tried(mutant: Mutant) -> Mutant:
    """Try a mutant in this process, which should end with this."""
    for name in [name for name in sys.modules if name != __name__ and name.startswith(_OURS)]:
        del sys.modules[name]  # where another test has started the server of processes
    with tempfile.TemporaryDirectory() as name:
        lay_out(mutant, Path(name))
        sys.path[:0] = [str(Path(name, package).parent) for package in PACKAGES]
        try_ = {"server": _server, "client": _client, "spec": _spec}[mutant.kind.partition(":")[0]]
        with contextlib.redirect_stdout(io.StringIO()):
            return replace(mutant, found_by=try_(mutant))


def _server(mutant: Mutant) -> str:
    suite, hooks, checks = map(
        import_module, ("tests.contract.suite", "tests.mutants.hooks", "tests.contract.checks")
    )
    with hooks.serving(mutant.what, mutant.changes, checks.STATE) as url:
        options = "--max-failures", "1", "--no-shrink"
        outcome = suite.run(url, seed=SEED, examples=EXAMPLES, options=options, first=True)
    return outcome.findings[0].check if outcome.findings else ""


class _FirstFailure:
    """A plugin of pytest: the name of the first test that fails."""

    name = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid.rpartition("::")[2].partition("[")[0]


def _client(_mutant: Mutant) -> str:
    pytest, hypothesis, first = import_module("pytest"), import_module("hypothesis"), _FirstFailure()
    os.environ |= {"EXAMPLES": str(EXAMPLES), "SEED": str(SEED)}
    # Shrinking takes longer than to find a failure.
    phases = set(hypothesis.Phase) - {hypothesis.Phase.shrink, hypothesis.Phase.explain}
    hypothesis.settings.register_profile("first failure", phases=phases)
    hypothesis.settings.load_profile("first failure")
    options = ["--exitfirst", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is imported already
    tests = map(str, sorted(ROOT.glob("tests/contract/test_client*.py")))
    if pytest.main([*options, f"--rootdir={ROOT}", *tests], [first]) not in {0, 1}:
        raise RuntimeError(f"mutant {_mutant.what!r}: pytest could not run the tests")
    return first.name


def _spec(mutant: Mutant) -> str:
    """Return the check that finds it, and what that says; what takes longest comes last."""
    checks, generate, document = map(import_module, ("tests.spec_checks", "generate", "document"))
    text = (ROOT / "openapi.yaml").read_text("utf-8")
    spec = merged(
        yaml.safe_load(edited(text, mutant.changes.get("edit", ()), mutant.what)),
        mutant.changes.get("patch", {}),
    )
    if spec == yaml.safe_load(text):
        raise LookupError(f"mutant {mutant.what!r} changes nothing")
    for check in checks.CHECKS:
        for finding in check(spec):
            return f"{check.__name__}: {finding}"
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(spec, file)
        file.flush()
        try:
            generate.read_spec(file.name)
        except document.Refused as refused:
            return f"make: {refused}"
    return ""


def merged(target: Any, patch: Any) -> Any:
    """Apply a merge patch, as RFC 7396 describes it; in a list, the keys are indexes."""
    if not isinstance(patch, dict):
        return patch
    if isinstance(target, list):
        items = merged({str(index): item for index, item in enumerate(target)}, patch)
        return [items[index] for index in sorted(items, key=int)]
    result: dict[str, Any] = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def all_tried(mutants: Sequence[Mutant]) -> Iterator[Mutant]:
    """Try mutants, as many at a time as there are cores, each in a process that has the libraries imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["schemathesis.cli", "pytest", "httpx"])
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, max_tasks_per_child=1) as pool:
        for future in [pool.submit(tried, mutant) for mutant in mutants]:
            yield future.result()


def summary(mutants: Sequence[Mutant]) -> str:
    """Say how many of each kind were found, and name the survivors."""
    lines = [f"{'found':>5} {'of':>5}  kind"]
    for kind, group in groupby(sorted(mutants, key=lambda each: each.kind), key=lambda each: each.kind):
        found = [bool(each.found_by) for each in group]
        lines.append(f"{sum(found):>5} {len(found):>5}  {kind}")
    lines.append(f"{sum(bool(each.found_by) for each in mutants):>5} {len(mutants):>5}  all")
    lines += [f"survives: {each.kind}: {each.what}  [{each.rule}]" for each in mutants if not each.found_by]
    return "\n".join(lines)


def main() -> int:
    """Try them, as many at a time as there are cores; returns the exit code."""
    kinds, every = sys.argv[1:] or KINDS, os.environ.get("EVERY") or "1"
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        print(f"there are mutants of {', '.join(KINDS)}, and not of {', '.join(unknown)}", file=sys.stderr)
        return 2
    done: list[Mutant] = []
    mutants = [mutant for kind in kinds for mutant in sample(kind, int(every))]
    for mutant in all_tried(mutants):
        done.append(mutant)
        print(f"\r{len(done)} of {len(mutants)}", end="", file=sys.stderr, flush=True)
    print(f"\n{summary(done)}")
    return 0 if all(mutant.found_by for mutant in done) else 1


if __name__ == "__main__":
    sys.exit(main())
