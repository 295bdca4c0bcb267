"""What the contract suite says of a server that is broken on purpose: once, with a line to repeat it, without secrets."""

import contextlib
import functools
import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from huaweicloud_retry.contract import Contract
from huaweicloud_retry.mock import running
from tests.contract import checks, suite
from tests.contract.test_contract import sent_again
from tests.mutants import server


@functools.cache
def run(what: str, *options: str) -> suite.Outcome:
    """Run the suite in small, against a mutant."""
    with server.broken(what) as (url, _):
        return suite.run(url, seed=1, examples=5, options=options)


def test_a_failure_is_told_once_and_names_its_checks_and_operation() -> None:
    told = suite.by_case(run("200 without task_id").findings)
    titles = [title for title, _ in told]
    assert titles == [
        "response_schema_conformance, agrees_with_contract, CredentialsAndFormAreChecked: POST /v2/{project_id}/script-executions/retry"
    ]


def test_one_failure_does_not_hide_others_of_its_operation() -> None:
    outcome = run("400 without error_code")
    assert {finding.check for finding in outcome.findings} == {
        "response_schema_conformance",
        "agrees_with_contract",
        "CredentialsAndFormAreChecked",
    }
    assert "half the body" in "".join(finding.text for finding in outcome.findings)
    assert "the body as text" in "".join(finding.text for finding in outcome.findings)


@pytest.mark.parametrize("what", ["a long enterprise project is a 500", "405 without Allow"])
def test_the_curl_line_of_a_failure_repeats_it(what: str) -> None:
    if not shutil.which("curl"):
        pytest.skip("no curl")
    with server.broken(what) as (url, between), contextlib.redirect_stdout(io.StringIO()):
        lines = [
            finding.curl
            for finding in suite.run(url, seed=1, examples=5).findings
            if "Credentials" not in finding.check
        ]
        assert lines
        for line in lines:
            before = between.changed
            sent_again(line, url)
            assert between.changed == before + 1, line


def test_the_curl_line_of_an_attempt_repeats_it() -> None:
    texts = "\n".join(finding.text for finding in run("any Content-Type will do").findings)
    lines = re.findall(r"^  (curl .*)$", texts, re.MULTILINE)
    assert len(lines) == 2
    with running(state=checks.STATE) as url:
        assert {sent_again(line, url) for line in lines} == {"400"}


def make_contract(**environment: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "contract"]
    ambient = {name: value for name, value in os.environ.items() if name not in {"URL", "TAG", "CONFIRM"}}
    return subprocess.run(
        command, cwd=suite.ROOT, env={**ambient, **environment}, capture_output=True, text=True, check=False
    )


def reports() -> str:
    files = [suite.REPORTS / "contract.xml", suite.REPORTS / "contract" / "index.html"]
    return "".join(report.read_text("utf-8") for report in files)


def test_the_command_counts_the_answers_and_writes_reports_without_secrets() -> None:
    # A proxy that is not there: nothing of this leaves the machine.
    run = make_contract(EXAMPLES="10", SEED="random", HTTP_PROXY="http://127.0.0.1:1", http_proxy="http://127.0.0.1:1")
    assert run.returncode == 0, run.stdout
    header, *lines = run.stdout.split("Answers by status:\n\n")[1].partition("\n\n")[0].splitlines()
    statuses = "200 400 401 403 404 405 413 414 429 494 500 502 503 504"
    assert header.split() == statuses.split()
    by_id = {operation.id: operation for operation in Contract.load().operations}
    assert [line.split()[0] for line in lines] == sorted(by_id)
    for name, *counts in map(str.split, lines):
        seen = {int(status) for status, count in zip(header.split(), counts, strict=True) if count != "-"}
        assert seen == {*by_id[name].statuses}
    for text in (run.stdout, reports()):
        assert "RetryEngine" in text or "/actions" in text
        assert not secrets_in(text)


def secrets_in(text: str) -> set[str]:
    ours = {checks.TOKEN, *checks.KEYS}
    return {secret for secret in {*ours, "mock-token", "mock-ak", "mock-sk"} if secret in text}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # that st opens to see whether it can be written
@pytest.mark.parametrize("what", ["any signature will do", "no signature will do"])
def test_a_run_that_fails_shows_no_secret_either(what: str, tmp_path: Path) -> None:
    html, junit = tmp_path / "html", tmp_path / "junit.xml"
    options = ("--report", "html,junit", "--report-html-path", str(html), "--report-junit-path", str(junit))
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        outcome = run(what, *options)
    assert outcome.findings
    texts = [junit.read_text("utf-8"), (html / "index.html").read_text("utf-8"), shown.getvalue(), str(outcome)]
    for text in texts:
        assert "CredentialsAndFormAreChecked" in text
        assert not secrets_in(text)
