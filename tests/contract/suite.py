"""The contract suite: rules.py, then schemathesis, against a server, by openapi.yaml.

`make contract` runs it against the mock, or with URL= and STATE= against any server where writes are allowed, and writes
reports; test_contract.py runs it for pytest, tests/mutants against what is broken on purpose. All of them call `run`.
"""

import gc
import json
import os
import secrets
import sys
import warnings
from collections import Counter
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent
from typing import Any, cast
from unittest.mock import patch
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import click
from schemathesis import cli
from schemathesis.cli.context import BaseExecutionContext
from schemathesis.engine import Status, events
from schemathesis.engine.recorder import Request

from huaweicloud_retry.contract import Contract
from huaweicloud_retry.endpoints import url_problem
from huaweicloud_retry.mock import running
from huaweicloud_retry.mock.state import read_state
from huaweicloud_retry.parsing import UnreadableError, read_yaml
from tests.contract import checks, rules, wire
from tests.contract.curl import curl
from tests.contract.tested import Tested, Verdict, held_to

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "openapi.yaml"
REPORTS = ROOT / "reports"
CONFIG = Path(__file__).with_name("schemathesis.toml")

_INTERRUPTED = 130  # the exit code, as a shell and st have it

REPEATING = f"""\
To send a curl line again: .venv/bin/python -m huaweicloud_retry.mock --state {checks.STATE.relative_to(ROOT)}
and URL=http://127.0.0.1:8000 TOKEN=…, the first one in that file."""
_SHOWN = 3  # findings of a check


def mock() -> AbstractContextManager[str]:
    """Run a mock with the suite's state; yields its URL."""
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
    text: str
    """What is wrong; may have more than one line."""
    curl: str = ""
    """The line that sends the request again, if it was one."""


@dataclass
class Outcome:
    """What came of a run."""

    cases: int = 0
    findings: list[Finding] = field(default_factory=list)
    """What a check finds wrong with an operation is here once."""
    responses: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By operation ID and status."""
    verdicts: list[Verdict] = field(default_factory=list[Verdict])
    """Of the rules. What is broken is among the findings, too."""


def run(
    url: str,
    *,
    seed: int,
    examples: int,
    spec: Path = SPEC,
    options: tuple[str, ...] = (),
    first: bool = False,
    state: Path = checks.STATE,
    credentials: Path | None = None,
    only: Collection[str] = (),
) -> Outcome:
    """Run the suite: the rules, then st, whose own report goes to standard output.

    Args:
        url: of the server.
        seed: the same one makes the same cases.
        examples: of each operation in the fuzzing phase.
        spec: what the server is held to.
        options: more of those of `st run`.
        first: stop at the first rule that is broken.
        state: the file that describes what the server has.
        credentials: the file with those to use; by default they are in the state file.
        only: the names of rules to try; by default all.

    Raises:
        NotRunError: there is nothing to tell of the server.
        KeyboardInterrupt: it was interrupted, which st takes for an end.
    """
    outcome = _Recorder.outcome = Outcome()
    tested = Tested(url, Contract.load(spec), _described(state, credentials))
    _Recorder.tested = checks.server = tested
    token = next(iter(tested.state["credentials"]["tokens"]))
    tested.resets = _is_mock(url)
    checks.EveryStatusIsReached.is_due = tested.resets and not only
    if unknown := set(only) - {rule.name for rule in rules.RULES}:
        raise NotRunError(f"there is no rule {', '.join(sorted(unknown))}; see tests/contract/rules.py")
    chosen = [rule for rule in rules.RULES if not only or rule.name in only]
    with _without_proxy(url):
        for verdict in held_to(tested, chosen, first=first):
            outcome.verdicts.append(verdict)
            if verdict.verdict == "broken":
                outcome.findings.append(Finding("", "rules", verdict.rule.name, verdict.why, verdict.curl))
    if tested.down or (first and outcome.findings):
        return outcome
    tested.reset()
    checks.responses.clear()
    checks.responses.update(tested.responses)
    given = ["--url", url, "--header", f"X-Auth-Token: {token}"]
    given += ["--seed", str(seed), "--max-examples", str(examples)]
    with _without_proxy(url):
        _schemathesis(["--config-file", str(CONFIG), "run", str(spec), *given, *options], outcome)
    outcome.responses = +checks.responses
    return outcome


def _without_proxy(url: str) -> AbstractContextManager[object]:
    """Let schemathesis connect directly, as the rules do, whatever proxies the environment has."""
    host = urlsplit(url).hostname or ""
    return patch.dict(os.environ, {"no_proxy": host, "NO_PROXY": host})


def _described(file: Path, credentials: Path | None) -> dict[str, Any]:
    state, at = {}, file
    try:
        state = read_state(file.read_bytes())
        if credentials:
            at = credentials
            given = cast("dict[str, Any]", read_yaml(at.read_bytes()))
            state = read_state(json.dumps({**state, "credentials": given.get("credentials", given)}).encode())
    except (OSError, AttributeError, UnreadableError) as error:
        raise NotRunError(f"{at}: {getattr(error, 'strerror', None) or error}") from error
    if not state.get("credentials", {}).get("tokens"):
        raise NotRunError(f"{at}: credentials need a token; the suite sends it with most requests")
    return state


def _is_mock(url: str) -> bool:
    """Say whether the server is this project's mock, with a clock and a reset."""
    try:
        name = wire.send(url, wire.Request("GET", "/_mock/health")).get("name")
        return bool(name == "huaweicloud-retry-mock")
    except wire.NoResponseError as error:
        raise NotRunError(f"{url} does not respond: {error}") from error


def _schemathesis(arguments: list[str], outcome: Outcome) -> None:
    try:
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


class _Recorder(cli.EventHandler[BaseExecutionContext]):
    """Takes down what comes of the run under way."""

    outcome = Outcome()
    tested: Tested

    def __init__(self, *_args: Any, **_params: Any) -> None:
        """Take what st gives to each handler."""

    def handle_event(self, ctx: BaseExecutionContext, event: events.EngineEvent) -> None:
        outcome = self.outcome
        match event:
            case events.ScenarioFinished():
                for case_id, node in event.recorder.cases.items():
                    outcome.cases += 1
                    # In which order they ran depends on the runs before; ours come last.
                    ran = event.recorder.checks.get(case_id, ())
                    for check in sorted(ran, key=lambda each: hasattr(checks, each.name)):
                        if check.status is Status.FAILURE and (info := check.failure_info):
                            sent = event.recorder.interactions[case_id].request
                            text = f"{info.failure.title}: {info.failure.message}"
                            label = node.value.operation.label
                            self._found(label, event.phase.value, check.name, text, _curl(sent))
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
        text = self.tested.hidden(text)
        if (operation, check, text) not in known:
            self.outcome.findings.append(Finding(operation, phase, check, text, curl))


cli.handler()(_Recorder)  # as a decorator it would leave None in the class's place


def _curl(sent: Request) -> str:
    target = "/" + sent.uri.split("/", 3)[3]
    headers = {name: ", ".join(values) for name, values in sent.headers.items()}
    tokens = _Recorder.tested.state["credentials"]["tokens"]
    secrets = _Recorder.tested.secrets
    return curl(sent.method, target, headers, sent.body or b"", token=next(iter(tokens)), secrets=secrets)


def by_check(findings: list[Finding]) -> list[tuple[str, str]]:
    """Put findings into words, those of a check together: title and text."""
    groups: dict[str, list[Finding]] = {}
    for each in findings:
        groups.setdefault(each.check, []).append(each)
    told: list[tuple[str, str]] = []
    for check, found in groups.items():
        where = dict.fromkeys(each.operation or "the run as a whole" for each in found)
        lines = [f"{each.text}\n(phase {each.phase})\n{each.curl}".rstrip() for each in found[:_SHOWN]]
        lines += [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        told.append((f"{check}: {', '.join(where)}", "\n\n".join(lines)))
    return told


def table(responses: Counter[tuple[str, int]]) -> str:
    """Say how many responses had which status."""
    statuses = sorted({status for _, status in responses})
    width = max((len(operation) for operation, _ in responses), default=0)
    lines = [" ".join([" " * width, *(f"{status:5}" for status in statuses)])]
    for operation in sorted({operation for operation, _ in responses}):
        counts = (f"{responses[operation, status] or '-':>5}" for status in statuses)
        lines.append(" ".join([f"{operation:{width}}", *counts]))
    return "\n".join(lines)


def whole_number(name: str, default: int) -> int:
    """Return what an environment variable says.

    Raises:
        ValueError: it is no integer above 0.
    """
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ValueError(f"{name}={text!r}: an integer above 0 is needed")
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
    examples = whole_number("EXAMPLES", 50)
    seed = secrets.randbelow(2**32) if os.environ.get("SEED") == "random" else whole_number("SEED", 1)
    if of_live := [name for name in ("TAG", "CONFIRM", "ALLOW_WRITES") if os.environ.get(name)]:
        with_url = "leave STATE= out" if os.environ.get("STATE") else "give its URL= as well"
        raise ValueError(f"{' and '.join(of_live)}: only for a live endpoint, so {with_url}")
    url, state, credentials = (os.environ.get(name, "") for name in ("URL", "STATE", "CREDENTIALS"))
    if not url and (state or credentials):
        raise ValueError(
            "STATE and CREDENTIALS describe the server at URL=; without it, the mock has its own"
        )
    if url and (problem := url_problem(url, allow_http=True)):
        raise ValueError(f"URL: {problem}")
    REPORTS.mkdir(exist_ok=True)
    html, junit, log, of_rules = (
        REPORTS / name for name in ("contract", "contract.xml", "schemathesis.txt", "rules.xml")
    )
    for old in (
        html / "index.html",
        junit,
        log,
        of_rules,
    ):  # or those of an earlier run would be taken for these
        old.unlink(missing_ok=True)
    reports = ("--report", "html,junit", "--report-html-path", str(html), "--report-junit-path", str(junit))
    print("The rules, then schemathesis; this takes up to a minute against the mock.", flush=True)
    with (
        nullcontext(url.rstrip("/")) if url else mock() as tested,
        log.open("w") as file,
        redirect_stdout(file),
    ):
        outcome = run(
            tested,
            seed=seed,
            examples=examples,
            options=reports,
            state=Path(state) if state else checks.STATE,
            credentials=Path(credentials) if credentials else None,
            only=[name for name in os.environ.get("RULES", "").split(",") if name],
        )
    write_rules(of_rules, outcome.verdicts)
    print(f"\nRules:\n\n{by_rule(outcome)}")
    print("\nschemathesis:\n" if outcome.cases else "\nschemathesis did not run: the server was down")
    for title, text in by_check([finding for finding in outcome.findings if finding.phase != "rules"]):
        print(f"{title}\n{indent(text, '    ')}\n")
    print(
        f"{outcome.cases} cases. All responses, those to rules too, by status:\n\n{table(outcome.responses)}"
    )
    if outcome.findings:
        print(
            "\nTo send a curl line again, set URL and TOKEN, the first one of your file."
            if url
            else f"\n{REPEATING}"
        )
    files = (file.relative_to(ROOT) for file in (of_rules, junit, html / "index.html", log) if file.exists())
    print("\nreports:", *files)
    return 1 if outcome.findings else 0


def by_rule(outcome: Outcome) -> str:
    """Say of each rule whether it is held, or else why not, with a curl line."""
    lines, broken = list[str](), {each.rule.name for each in outcome.verdicts if each.verdict == "broken"}
    for rule, verdict, why, line in outcome.verdicts:
        little = f" (says little, since {rule.with_} is broken)" if rule.with_ in broken else ""
        lines.append(f"{verdict:15} {rule.name}{little * (verdict == 'held')}")
        if verdict != "held":
            more = (*why.splitlines(), f"{rule.sentence} ({rule.source})", *filter(None, [line]))
            lines += [f"{'':16}{each}" for each in more]
    count = Counter(verdict.verdict for verdict in outcome.verdicts)
    lines += ["", ", ".join(f"{count[name]} {name}" for name in ("held", "broken", "not applicable"))]
    return "\n".join(lines)


def write_rules(file: Path, verdicts: list[Verdict]) -> None:
    """Write a JUnit report of the rules, a test case each. st writes its own when the process ends, so this is another."""
    count = Counter(verdict.verdict for verdict in verdicts)
    figures = {"failures": str(count["broken"]), "skipped": str(count["not applicable"]), "errors": "0"}
    suite = ET.Element("testsuite", {"name": "rules", "tests": str(len(verdicts)), **figures})
    for rule, verdict, why, line in verdicts:
        case = ET.SubElement(suite, "testcase", {"name": rule.name, "classname": "rules"})
        if verdict == "broken":
            failure = ET.SubElement(case, "failure", {"message": why.splitlines()[0]})
            failure.text = f"{rule.sentence}\n{why}\n{line}"
        elif verdict == "not applicable":
            ET.SubElement(case, "skipped", {"message": why})
    ET.ElementTree(suite).write(file, encoding="utf-8", xml_declaration=True)


if __name__ == "__main__":
    sys.exit(main())
