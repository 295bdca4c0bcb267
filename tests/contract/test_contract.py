"""The contract suite within pytest: each case that fails is a test that fails, with a curl line to repeat it.

Here with one seed; tests/slow/test_contract_seeds.py has three, with more cases.
"""

import os
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
from tests.mocks import NO_TLS


def test_the_mock_keeps_the_contract(subtests: pytest.Subtests) -> None:
    with suite.mock() as url:
        outcome = suite.run(url, seed=1, examples=30)
    for title, text in suite.by_case(outcome.findings):
        with subtests.test(title):
            pytest.fail(f"{text}\n{suite.REPEATING}")


def run(*options: str) -> suite.Outcome:
    """Run the suite in small."""
    with suite.mock() as url:
        return suite.run(url, seed=1, examples=5, options=options)


# --- What is found ----------------------------------------------------------------------------------------------------


def test_an_operation_that_is_not_tested_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    (finding,) = run("--exclude-operation-id", "RetryEngine").findings
    assert finding.check == "EveryStatusIsReached"
    assert "RetryEngine never answered 200; RetryEngine never answered 400" in finding.text
    assert "RetryScriptExecution" not in finding.text
    assert finding.text in capsys.readouterr().out


@pytest.mark.parametrize("options", [("--exclude-path-regex", "/v2"), ("--phases", "stateful")], ids=" ".join)
def test_a_run_in_which_nothing_is_tested_does_not_pass(options: tuple[str, ...]) -> None:
    assert [finding.check for finding in run(*options).findings] == ["EveryStatusIsReached"]


def test_an_option_that_st_does_not_know_is_an_error() -> None:
    with pytest.raises(suite.NotRunError, match="No such option"):
        run("--no-such-option")


def test_a_configuration_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "schemathesis.toml"
    wrong.write_text("no-such-setting = true\n", encoding="utf-8")
    monkeypatch.setattr(suite, "CONFIG", wrong)
    with pytest.raises(suite.NotRunError, match="after 0 cases"):
        run()


@pytest.fixture(scope="module")
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
    entry = httpx.get(f"{shell}/_mock/journal", verify=NO_TLS, trust_env=False).json()["entries"][-1]
    assert entry["method"] == method
    assert entry["path"] + (f"?{entry['query']}" if entry["query"] else "") == target
    own = {"host", "user-agent", "accept", "content-length", "x-auth-token"}
    assert {name: value for name, value in entry["headers"].items() if name not in own} == headers
    assert int(entry["headers"].get("content-length", "0")) == len(content)
    assert entry["status"] != 401


# --- make contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [("EXAMPLES", "many"), ("EXAMPLES", "0"), ("SEED", "-1")])
def test_a_number_that_is_none_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert suite.main() == 2
    assert capsys.readouterr().err == f"make contract: {name}='{value}': a whole number above 0 is needed\n"


@pytest.mark.parametrize("name", ["TAG", "CONFIRM", "ALLOW_WRITES"])
def test_what_is_for_a_live_endpoint_is_refused_without_one(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "yes")
    assert suite.main() == 2
    assert capsys.readouterr().err == (f"make contract: {name}: only for a live endpoint, so give its URL= as well\n")


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
