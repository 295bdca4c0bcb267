"""The contract suite: schemathesis against a server, by openapi.yaml.

`make contract` runs it against the mock and writes reports, test_contract.py for pytest, tests/mutants against what is
broken on purpose. All of them call `run`, which is `st run` within this process.
"""

import os
import secrets
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from schemathesis import cli
from schemathesis.cli.context import BaseExecutionContext
from schemathesis.engine import Status, events

from huaweicloud_retry.mock import running
from tests.contract import checks

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "openapi.yaml"
REPORTS = ROOT / "reports"

# Whatever is retried fails again at once, or only the first retry of each thing would be accepted.
STATE = """
run_time: 0
projects:
  demo-project:
    engines:
      4a1bc63d-4719-4bd3-b1ad-5ee590b05e87: {name: cse-gve7lg, jobs: [{id: 18638, status: Error, retries_end: [Error]}]}
    script_tasks:
      '0000000059071dbc01591661d3990019':
        records: {'0000000059071dbc01591661d3990020': {status: FAILED, retries_end: [FAILED]}}
"""


@contextmanager
def mock() -> Generator[str, None, None]:
    """Run a mock whose engine and script can be retried any number of times; yields its URL."""
    with running() as url:
        set_state(url)
        yield url


def set_state(url: str) -> None:
    httpx.put(f"{url}/_mock/state", content=STATE, trust_env=False).raise_for_status()


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    operation: str
    """`POST /v2/…`; empty if it is about the run as a whole."""
    phase: str
    check: str
    after: int
    """The case it was, of all in the order of the run."""
    text: str
    """More than one line: what is wrong, and if it was one request, the curl line that sends it again."""


@dataclass
class Outcome:
    """What came of a run."""

    cases: int = 0
    findings: list[Finding] = field(default_factory=list)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By operation ID and status."""


def run(url: str, *, seed: int, examples: int, spec: Path = SPEC, options: tuple[str, ...] = ()) -> Outcome:
    """Run the suite; st's own report of it goes to standard output.

    Args:
        url: of the server.
        seed: the same one makes the same cases.
        examples: of each operation in the fuzzing phase.
        spec: what the server is held to.
        options: more of those of `st run`.
    """
    outcome = _Recorder.outcome = Outcome()
    checks.answers.clear()
    config = Path(__file__).with_name("schemathesis.toml")
    given = ["--url", url, "--seed", str(seed), "--max-examples", str(examples), *options]
    try:
        cli.schemathesis.main(["--config-file", str(config), "run", str(spec), *given], standalone_mode=False)
    except SystemExit as stop:
        if stop.code and not outcome.findings:
            raise RuntimeError(f"st stopped with {stop.code} and has found nothing") from stop
    outcome.answers = +checks.answers
    return outcome


class _Recorder(cli.EventHandler[BaseExecutionContext]):
    """Takes down what comes of the run under way."""

    outcome = Outcome()

    def __init__(self, *_args: Any, **_params: Any) -> None:
        """Take what st gives to each handler."""

    def handle_event(self, ctx: BaseExecutionContext, event: events.EngineEvent) -> None:
        outcome = self.outcome
        match event:
            case events.ScenarioFinished():
                for case_id in event.recorder.cases:
                    outcome.cases += 1
                    for check in event.recorder.checks.get(case_id, ()):
                        if check.status is Status.FAILURE and (info := check.failure_info):
                            text = f"{info.failure.title}\n{info.failure.message}\n{info.code_sample}"
                            self._found(event.label or "", event.phase.value, check.name, text)
            case events.NonFatalError():
                self._found(event.label, str(event.phase), "error", str(event.value))
            case events.FatalError():
                self._found("", "loading", "error", str(event.exception))
            case events.EngineFinished():
                for failure in event.failures:
                    # There is no other check of the run as a whole.
                    self._found("", "end of the run", checks.EveryStatusIsReached.__name__, failure.message)
            case _:
                pass

    def _found(self, operation: str, phase: str, check: str, text: str) -> None:
        self.outcome.findings.append(Finding(operation, phase, check, self.outcome.cases, text))


cli.handler()(_Recorder)  # as a decorator it would leave None in the class's place


def table(answers: Counter[tuple[str, int]]) -> str:
    """Say how many answers had which status."""
    statuses = sorted({status for _, status in answers})
    width = max((len(operation) for operation, _ in answers), default=0)
    lines = [" ".join([" " * width, *(f"{status:5}" for status in statuses)])]
    for operation in sorted({operation for operation, _ in answers}):
        counts = (f"{answers[operation, status] or '-':>5}" for status in statuses)
        lines.append(" ".join([f"{operation:{width}}", *counts]))
    return "\n".join(lines)


def whole_number(name: str, default: int) -> int:
    """Return what an environment variable says.

    Raises:
        ValueError: it is no whole number, or not above 0.
    """
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ValueError(f"{name}={text!r}: a whole number above 0 is needed")
    return int(text)


def main() -> int:
    """Run the suite against the mock, as the environment says; returns the exit code."""
    try:
        examples = whole_number("EXAMPLES", 300)
        seed = secrets.randbelow(2**32) if os.environ.get("SEED") == "random" else whole_number("SEED", 1)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    REPORTS.mkdir(exist_ok=True)
    html, junit = REPORTS / "contract", REPORTS / "contract.xml"
    reports = ("--report", "html,junit", "--report-html-path", str(html), "--report-junit-path", str(junit))
    with mock() as url:
        outcome = run(url, seed=seed, examples=examples, options=reports)
    print("\nAnswers by status:\n")
    print(table(outcome.answers))
    print(f"\nreports: {html.relative_to(ROOT)}/index.html, {junit.relative_to(ROOT)}")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
