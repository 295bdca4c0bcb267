"""What the contract suite reports of a server that is broken on purpose: once, with a line to repeat it, without secrets."""

import contextlib
import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from huaweicloud_retry.contract import Contract
from huaweicloud_retry.mock.app import App
from huaweicloud_retry.mock.faults import Faults
from huaweicloud_retry.mock.server import serving
from huaweicloud_retry.mock.state import State, read_state
from tests.contract import checks, rules, suite
from tests.contract.test_contract import sent_again
from tests.contract.tested import Tested, held_to
from tests.mutants import hooks
from tests.mutants import run as run_mutants


def broken(what: str) -> contextlib.AbstractContextManager[str]:
    """Serve a mutant that hooks make."""
    (mutant,) = (mutant for mutant in run_mutants.read("server") if mutant.what == what)
    return hooks.serving(what, mutant.changes, checks.STATE)


# Enough of the rules to be broken by these mutants.
RULES = (
    *("a_script_retry_names_the_task_that_runs", "a_wrong_token_is_refused", "a_wrong_signature_is_refused"),
    *("what_is_no_json_is_refused", "no_response_repeats_a_secret"),
)


def run(what: str, *options: str) -> suite.Outcome:
    """Run the suite in small, against a mutant."""
    with broken(what) as url:
        return suite.run(url, seed=1, examples=5, options=options, only=RULES)


def test_a_failure_is_reported_once_and_names_its_checks_and_operation() -> None:
    titles = [title for title, _ in suite.by_check(run("no task_id").findings)]
    operation = "POST /v2/{project_id}/script-executions/retry"
    for check in ("response_schema_conformance", "agrees_with_contract"):
        assert [title for title in titles if title.startswith(check)] == [f"{check}: {operation}"]
    assert any(title.startswith("a_script_retry_names_the_task_that_runs: ") for title in titles)


@pytest.mark.parametrize(
    ("what", "status"), [("405 without Allow", "405"), ("any Content-Type is accepted", "200")]
)
def test_the_curl_line_of_a_failure_repeats_it(what: str, status: str) -> None:
    if not shutil.which("curl"):
        pytest.skip("no curl")
    with broken(what) as url:
        lines = [
            finding.curl
            for finding in suite.run(url, seed=1, examples=5, only=RULES).findings
            if finding.curl
        ]
        assert lines
        assert {sent_again(line, url) for line in lines} == {status}


def test_a_server_without_a_reset_and_a_clock_is_not_blamed_for_what_it_has_not() -> None:
    text = checks.STATE.read_text("utf-8").replace("run_time: 30", "run_time: 1")
    state = read_state(text.replace("expires_in: 600", "expires_in: 20").encode())
    contract = Contract.load()
    with serving(App(contract, State(state), Faults(), admin=False)) as url:
        verdicts = list(held_to(Tested(url, contract, state), rules.RULES))
    assert [each for each in verdicts if each.verdict == "broken"] == []
    unused = [each.rule.name for each in verdicts if each.verdict == "not applicable"]
    assert len(unused) <= 3, unused


def test_the_command_counts_the_responses_and_writes_reports_without_secrets() -> None:
    # A proxy that is not there: nothing of this leaves the machine.
    proxy = {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}
    ambient = {name: value for name, value in os.environ.items() if name not in {"URL", "TAG", "CONFIRM"}}
    ran = subprocess.run(
        ["make", "--no-print-directory", "contract"],
        cwd=suite.ROOT,
        env={**ambient, **proxy, "EXAMPLES": "10", "SEED": "random"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    table = ran.stdout.split("by status:\n\n")[1].partition("\n\n")[0]
    header, *lines = table.splitlines()
    seen = {
        name: {int(status) for status, count in zip(header.split(), counts, strict=True) if count != "-"}
        for name, *counts in map(str.split, lines)
    }
    assert seen == {operation.id: {*operation.statuses} for operation in Contract.load().operations}
    files = ("contract.xml", "rules.xml", "contract/index.html")
    for text in (ran.stdout, *((suite.REPORTS / file).read_text("utf-8") for file in files)):
        assert "/actions" in text or "RetryEngine" in text or "a_wrong_token_is_refused" in text
        assert not secrets_in(text)


def secrets_in(text: str) -> set[str]:
    ours = {checks.TOKEN, *checks.KEYS[1:], "contract-sk-temporary", "contract-security-token"}
    return {secret for secret in {*ours, "mock-token", "mock-sk"} if secret in text}


@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning"
)  # that st opens to see whether it can be written
@pytest.mark.parametrize(
    "what", ["any Content-Type is accepted", "X-Request-Id is the token", "the token is in the error"]
)
def test_a_run_that_fails_shows_no_secret_either(what: str, tmp_path: Path) -> None:
    html, junit, of_rules = tmp_path / "html", tmp_path / "junit.xml", tmp_path / "rules.xml"
    options = ("--report", "html,junit", "--report-html-path", str(html), "--report-junit-path", str(junit))
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        outcome = run(what, *options)
    suite.write_rules(of_rules, outcome.verdicts)
    assert outcome.findings
    texts = [file.read_text("utf-8") for file in (junit, html / "index.html", of_rules)]
    for text in (*texts, shown.getvalue(), str(outcome), suite.by_rule(outcome)):
        assert not secrets_in(text)
