"""The contract suite within pytest: each case that fails is a test that fails, with a curl line to repeat it.

`EXAMPLES=1000 pytest tests/contract` makes more cases.
"""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from huaweicloud_retry.mock import running
from tests.contract import checks, suite
from tests.contract.curl import curl
from tests.mutants import server

EXAMPLES = suite.whole_number("EXAMPLES", 100)


def test_the_mock_keeps_the_contract(subtests: pytest.Subtests) -> None:
    with suite.mock() as url:
        outcomes = [suite.run(url, seed=seed, examples=EXAMPLES) for seed in (1, 2, 3)]
    # What one seed has found is found by the others in other cases, and is the same failure.
    told = dict(case for outcome in reversed(outcomes) for case in reversed(suite.by_case(outcome.findings)))
    for title, text in reversed(told.items()):
        with subtests.test(title):
            pytest.fail(f"{text}\n{suite.REPEATING}")


def run(what: str = "", *options: str) -> suite.Outcome:
    """Run the suite in small, against the mock or a mutant."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(server.broken(what))[0] if what else stack.enter_context(suite.mock())
        return suite.run(url, seed=1, examples=5, options=options)


def test_the_same_seed_makes_the_same_cases() -> None:
    with suite.mock() as url:
        first, second = (suite.run(url, seed=4, examples=10) for _ in range(2))
    assert first.answers == second.answers
    assert first.cases == second.cases


# --- What is found ----------------------------------------------------------------------------------------------------


def test_an_operation_that_is_not_tested_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    (finding,) = run("", "--exclude-operation-id", "RetryEngine").findings
    assert finding.check == "EveryStatusIsReached"
    assert "RetryEngine never answered 200; RetryEngine never answered 400" in finding.text
    assert "RetryScriptExecution" not in finding.text
    assert finding.text in capsys.readouterr().out


@pytest.mark.parametrize("options", [("--exclude-path-regex", "/v2"), ("--phases", "stateful")], ids=" ".join)
def test_a_run_in_which_nothing_is_tested_does_not_pass(options: tuple[str, ...]) -> None:
    assert [finding.check for finding in run("", *options).findings] == ["EveryStatusIsReached"]


def test_an_option_that_st_does_not_know_is_an_error() -> None:
    with pytest.raises(suite.NotRunError, match="No such option"):
        run("", "--no-such-option")


def test_a_configuration_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "schemathesis.toml"
    wrong.write_text("no-such-setting = true\n", encoding="utf-8")
    monkeypatch.setattr(suite, "CONFIG", wrong)
    with pytest.raises(suite.NotRunError, match="after 0 cases"):
        run()


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


@pytest.fixture
def shell() -> Iterator[str]:
    if not shutil.which("curl"):
        pytest.skip("no curl")
    with running(state=checks.STATE) as url:
        yield url


def sent_again(line: str, url: str) -> str:
    """Run a curl line with sh, and return the status it gets."""
    environ = {"PATH": os.environ["PATH"], "URL": url, "TOKEN": checks.TOKEN, "NO_PROXY": "127.0.0.1"}
    ran = subprocess.run(["sh", "-c", line], env=environ, capture_output=True, timeout=30, check=True)
    return ran.stdout.split()[1].decode()


@pytest.mark.parametrize(
    ("method", "headers", "content"),
    [
        ("PUT", {"content-type": "application/json"}, b'{"action": "Retry"}'),
        ("PUT", {"content-type": "text/plain", "x-empty": ""}, "it's an ü\n".encode()),
        ("POST", {}, b"@no file"),
        ("PUT", {"x-enterprise-project-id": "a 'b' $URL `c`"}, bytes(range(256))),
        ("HEAD", {}, b""),
    ],
    ids=["usual", "text", "at", "bytes", "HEAD"],
)
@pytest.mark.parametrize(
    "target", ["/v2/%2E%2e/enginemgr/engines/[1-2]/actions", "/v2/p/script-executions/retry?a='b'"]
)
def test_a_curl_line_sends_the_request_again(
    shell: str, method: str, target: str, headers: dict[str, str], content: bytes
) -> None:
    sent_again(curl(method, target, {"X-Auth-Token": checks.TOKEN, **headers}, content, token=checks.TOKEN), shell)
    entry = httpx.get(f"{shell}/_mock/journal", trust_env=False).json()["entries"][-1]
    assert entry["method"] == method
    assert entry["path"] + (f"?{entry['query']}" if entry["query"] else "") == target
    own = {"host", "user-agent", "accept", "content-length", "x-auth-token"}
    assert {name: value for name, value in entry["headers"].items() if name not in own} == headers
    assert int(entry["headers"].get("content-length", "0")) == len(content)
    assert entry["status"] != 401


@pytest.mark.parametrize("what", ["400 without error_code", "a long enterprise project is a 500", "405 without Allow"])
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


def test_the_curl_line_of_an_attempt_repeats_it(shell: str) -> None:
    texts = "\n".join(finding.text for finding in run("any Content-Type will do").findings)
    lines = re.findall(r"^  (curl .*)$", texts, re.MULTILINE)
    assert len(lines) == 2
    assert {sent_again(line, shell) for line in lines} == {"400"}


# --- make contract ----------------------------------------------------------------------------------------------------


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
    header, engine, script = run.stdout.split("Answers by status:\n\n")[1].splitlines()[:3]
    statuses = "200 400 401 403 404 405 413 414 429 494 500 502 503 504"
    assert header.split() == statuses.split()
    for line, operation in ((engine, "RetryEngine"), (script, "RetryScriptExecution")):
        name, *counts = line.split()
        assert name == operation
        assert all(int(count) > 0 for count in counts)
    for text in (run.stdout, reports()):
        assert "RetryEngine" in text or "/actions" in text
        assert not secrets_in(text)


def secrets_in(text: str) -> set[str]:
    ours = {checks.TOKEN, *checks.KEYS}
    return {secret for secret in {*ours, "mock-token", "mock-ak", "mock-sk"} if secret in text}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # that st opens to see whether it can be written
@pytest.mark.parametrize("what", ["any signature will do", "no signature will do", "400 without error_code"])
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


@pytest.mark.parametrize("setting", [{"EXAMPLES": "many"}, {"EXAMPLES": "0"}, {"SEED": "-1"}])
def test_a_number_that_is_none_is_refused(setting: dict[str, str]) -> None:
    ((name, value),) = setting.items()
    run = make_contract(**setting)
    assert run.returncode == 2
    assert f"{name}='{value}': a whole number above 0 is needed" in run.stderr


@pytest.mark.parametrize("name", ["TAG", "CONFIRM", "ALLOW_WRITES"])
def test_what_is_for_a_live_endpoint_is_refused_without_one(name: str) -> None:
    run = make_contract(**{name: "yes"})
    assert run.returncode == 2
    assert f"make contract: {name}: only for a live endpoint, so give its URL= as well\n" in run.stderr


@pytest.mark.parametrize("in_the_way", ["reports", "contract.xml"])
def test_reports_that_cannot_be_written_are_an_error(
    in_the_way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "reports"
    monkeypatch.setattr(suite, "REPORTS", folder)
    folder.touch() if in_the_way == "reports" else (folder / "contract.xml").mkdir(parents=True)
    assert suite.main() == 2
    error = capsys.readouterr().err
    assert error.startswith("make contract: ")
    assert in_the_way in error
    assert error.count("\n") == 1


def test_ctrl_c_ends_it_in_one_line() -> None:
    environ = {**os.environ, "EXAMPLES": "100000", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "tests.contract.suite"]
    process = subprocess.Popen(
        command, cwd=suite.ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert any("Loaded specification" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert error == "make contract: interrupted\n"
