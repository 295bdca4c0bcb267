"""The contract suite: schemathesis against a server, by openapi.yaml.

`make contract` runs it against the mock and writes reports, test_contract.py for pytest, tests/mutants against what is
broken on purpose. All of them call `run`, which is `st run` within this process.
"""

import gc
import os
import secrets
import sys
import warnings
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
from schemathesis import cli
from schemathesis.cli.context import BaseExecutionContext
from schemathesis.engine import Status, events
from schemathesis.engine.recorder import Request

from huaweicloud_retry.contract import Contract
from huaweicloud_retry.mock import running
from tests.contract import checks
from tests.contract.curl import curl

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "openapi.yaml"
REPORTS = ROOT / "reports"
CONFIG = Path(__file__).with_name("schemathesis.toml")

_INTERRUPTED = 130  # the exit code, as a shell and st have it

REPEATING = f"""\
To send a curl line again: .venv/bin/python -m huaweicloud_retry.mock --state {checks.STATE.relative_to(ROOT)}
and URL=http://127.0.0.1:8000 TOKEN=…, the one in that file."""


def mock() -> AbstractContextManager[str]:
    """Run a mock whose engine and script can be retried any number of times; yields its URL."""
    return running(state=checks.STATE)


class NotRunError(Exception):
    """The suite could not be run. One line, which says why as far as st has not."""


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
    """What is wrong; may have more than one line."""
    curl: str = ""
    """The line that sends the request again, if it was one."""


@dataclass
class Outcome:
    """What came of a run."""

    cases: int = 0
    findings: list[Finding] = field(default_factory=list)
    """What a check finds wrong with an operation is here once, with the first case that showed it."""
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By operation ID and status."""


def run(url: str, *, seed: int, examples: int, spec: Path = SPEC, options: tuple[str, ...] = ()) -> Outcome:
    """Run the suite; st's own report of it goes to standard output.

    Args:
        url: of the server, on this machine.
        seed: the same one makes the same cases.
        examples: of each operation in the fuzzing phase.
        spec: what the server is held to.
        options: more of those of `st run`.

    Raises:
        NotRunError: there is nothing to tell of the server.
        KeyboardInterrupt: it was interrupted, which st takes for an end.
    """
    outcome = _Recorder.outcome = Outcome()
    checks.answers.clear()
    checks.contract = Contract.load(spec)
    given = ["--url", url, "--seed", str(seed), "--max-examples", str(examples), *options]
    arguments = ["--config-file", str(CONFIG), "run", str(spec), *given]
    try:
        # Whatever proxies the environment has, none leads to this machine.
        with patch.dict(os.environ, {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}):
            code: object = cli.schemathesis.main(arguments, standalone_mode=False)
    except SystemExit as stop:
        code = stop.code
    except click.ClickException as error:
        raise NotRunError(error.format_message()) from error
    finally:
        # st leaves the files of its reports to the garbage collector, which would warn of them in anybody's test.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    if not outcome.findings and (code or not outcome.cases):
        raise NotRunError(f"st ended with code {code} after {outcome.cases} cases, and has found nothing")
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
                    # In which order they ran depends on the runs before; ours come last.
                    ran = event.recorder.checks.get(case_id, ())
                    for check in sorted(ran, key=lambda each: hasattr(checks, each.name)):
                        if check.status is Status.FAILURE and (info := check.failure_info):
                            sent = event.recorder.interactions[case_id].request
                            text = f"{info.failure.title}: {info.failure.message}"
                            self._found(event.label or "", event.phase.value, check.name, text, _curl(sent))
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

    def _found(self, operation: str, phase: str, check: str, text: str, curl: str = "") -> None:
        known = {(each.operation, each.check, each.text) for each in self.outcome.findings}
        if (operation, check, text) not in known:
            self.outcome.findings.append(Finding(operation, phase, check, self.outcome.cases, text, curl))


cli.handler()(_Recorder)  # as a decorator it would leave None in the class's place


def _curl(sent: Request) -> str:
    target = "/" + sent.uri.split("/", 3)[3]
    headers = {name: ", ".join(values) for name, values in sent.headers.items()}
    return curl(sent.method, target, headers, sent.body or b"", token=checks.TOKEN)


def by_case(findings: list[Finding]) -> list[tuple[str, str]]:
    """Put findings into words, those of one case together: which checks of what, and what is wrong."""
    told: list[tuple[str, str]] = []
    for (operation, after), group in groupby(findings, key=lambda finding: (finding.operation, finding.after)):
        found = list(group)
        title = f"{', '.join(dict.fromkeys(each.check for each in found))}: {operation or 'the run as a whole'}"
        lines = [f"case {after}, phase {found[0].phase}", *(each.text for each in found), found[0].curl]
        told.append((title, "\n".join(filter(None, lines))))
    return told


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
        return _main()
    except (ValueError, NotRunError, OSError) as error:
        print(f"make contract: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("make contract: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _main() -> int:
    examples = whole_number("EXAMPLES", 300)
    seed = secrets.randbelow(2**32) if os.environ.get("SEED") == "random" else whole_number("SEED", 1)
    if of_live := [name for name in ("TAG", "CONFIRM", "ALLOW_WRITES") if os.environ.get(name)]:
        raise ValueError(f"{' and '.join(of_live)}: only for a live endpoint, so give its URL= as well")
    REPORTS.mkdir(exist_ok=True)
    html, junit = REPORTS / "contract", REPORTS / "contract.xml"
    reports = ("--report", "html,junit", "--report-html-path", str(html), "--report-junit-path", str(junit))
    with mock() as url:
        outcome = run(url, seed=seed, examples=examples, options=reports)
    for title, text in by_case(outcome.findings):
        print(f"\n{title}\n{text}")
    print(f"\n{REPEATING}\n" if outcome.findings else "")
    print("Answers by status:\n")
    print(table(outcome.answers))
    print(f"\nreports: {html.relative_to(ROOT)}/index.html, {junit.relative_to(ROOT)}")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
