"""The README is true: its Python runs, its links lead somewhere, its tables say what the code does."""

import asyncio
import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import huaweicloud_retry
from huaweicloud_retry import TokenAuth
from huaweicloud_retry.cli import main
from huaweicloud_retry.commands.bulk import SAMPLE
from huaweicloud_retry.commands.exits import EXIT_CODES
from huaweicloud_retry.mock import running
from huaweicloud_retry.testing import mock_server
from huaweicloud_retry_client import APIStatusError, Client, Response

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
ENGINE = "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
FAILED = {"name": "n", "jobs": [{"id": 1, "status": "Error"}]}
RECORD = "0000000059071dbc01591661d3990020"


def run(index: int) -> tuple[dict[str, Any], str]:
    """Run one block of the README as it stands; returns its names and what it printed."""
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(BLOCKS[index], f"README.md, Python block {index + 1}", "exec"), names)
    return names, printed.getvalue()


def test_the_first_block_retries_an_engine() -> None:
    assert run(0)[1] == "engine cse-gve7lg: job 18638 runs again\n"


@pytest.fixture
def mock_in_place_of_cn_north_4(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with running() as url:
        monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_WORKSPACE_CN_NORTH_4", url)
        monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_CSE_CN_NORTH_4", url)
        monkeypatch.setenv("HUAWEICLOUD_SDK_AK", "mock-ak")
        monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "mock-sk")
        yield


@pytest.mark.usefixtures("mock_in_place_of_cn_north_4")
def test_the_block_on_scripts() -> None:
    assert run(1)[0]["retry_record"]("demo-project", RECORD) == "0000000059071dbc01591661d3990019"


@pytest.mark.usefixtures("mock_in_place_of_cn_north_4")
def test_the_block_on_many_engines_at_once() -> None:
    outcome = asyncio.run(run(2)[0]["retry_engines"]("demo-project", [ENGINE, "nowhere"]))
    assert outcome[ENGINE] == "job 18638"
    assert outcome["nowhere"].startswith("400 SVCSTG.00501116: ")


def test_the_block_on_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HW_AUTH_TOKEN", "mock-token")
    with running() as url:
        monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_WORKSPACE_CN_NORTH_4", url)
        retry_records = run(3)[0]["retry_records"]
        for _ in range(2):
            records = iter(["0000000059071dbc01591661d3990020", "nowhere"])
            assert asyncio.run(retry_records("demo-project", records, tmp_path / "journal")) == []
        entries = httpx.get(f"{url}/_mock/request-log", trust_env=False).json()["entries"]
    assert [entry["status"] for entry in entries] == [200, 404]


def test_the_block_on_errors() -> None:
    explain = run(4)[0]["retry_or_explain"]
    with running() as url, Client(url, auth=TokenAuth("mock-token")) as client:
        assert explain(client, "demo-project", ENGINE) == "accepted: job 18638"
        assert explain(client, "demo-project", ENGINE).startswith("refused: 400 SVCSTG.00501149: ")
    with Client(url, auth=TokenAuth("mock-token")) as client:
        assert explain(client, "demo-project", ENGINE).startswith("not sent: ")


def test_the_block_on_what_became_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HW_AUTH_TOKEN", "mock-token")
    with mock_server() as mock:
        monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_CSE_CN_NORTH_4", mock.url)
        retry_and_wait = run(5)[0]["retry_and_wait"]
        mock.set_state(json.dumps({"run_time": 0, "projects": {"p": {"engines": {"e": FAILED}}}}))
        assert retry_and_wait("p", "e") == "succeeded: job 1 is Finished"
        mock.set_state(json.dumps({"projects": {"p": {"engines": {"e": FAILED}}}}))
        mock.add_fault(operation="RetryEngine", close="after", times=1)
        assert retry_and_wait("p", "e").startswith("accepted: job 1 is Executing, began ")


def test_the_block_of_tests_passes_under_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(BLOCKS[6], encoding="utf-8")
    # In a checkout nothing is installed, so pytest does not find the plugin by itself; tests/e2e/test_wheel.py shows that.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "huaweicloud_retry.testing",
        str(tmp_path),
    ]
    ran = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr


def test_no_block_is_left_out() -> None:
    assert len(BLOCKS) == 7


def shell(start: str, replacements: dict[str, str]) -> str:
    """Run the shell block that starts so, and return what it printed."""
    (block,) = re.findall(rf"^```sh\n({re.escape(start)}.*?)^```$", README, re.MULTILINE | re.DOTALL)
    for old, new in replacements.items():
        assert old in block
        block = block.replace(old, new)
    ran = subprocess.run(["sh", "-ec", block], cwd=ROOT, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="this machine has no curl")
def test_the_curl_line() -> None:
    with running() as url:
        said = shell("curl -X PUT", {"http://127.0.0.1:8000": url, "curl": "curl --silent"})
    assert json.loads(said) == {"id": ENGINE, "name": "cse-gve7lg", "jobId": 18638}


@pytest.mark.skipif(shutil.which("curl") is None, reason="this machine has no curl")
def test_the_curl_lines_that_make_faults() -> None:
    with running() as url:
        shell("curl -H", {"http://127.0.0.1:8000": url, "curl": "curl --silent --fail"})
        faults = httpx.get(f"{url}/_mock/faults", trust_env=False).json()
    assert faults == [{"close": "after", "times": 1}, {"status": 429, "retry_after": 2, "share": 0.1}]


def test_the_faults_named_are_all_there_are() -> None:
    schema = yaml.safe_load(
        (ROOT / "src/huaweicloud_retry/mock/faults.schema.yaml").read_text(encoding="utf-8")
    )
    (said,) = re.findall(r"^The faults: .*?\n\n", README, re.MULTILINE | re.DOTALL)
    fields = schema["items"]["properties"]
    names = {*fields, *fields["close"]["enum"], *fields["reply"]["enum"]}
    assert names - set(re.findall(r"`([a-z-_]+)`", said)) == {"close", "reply", "example", "acted", "seconds"}


@pytest.mark.parametrize("line", re.findall(r"^hwc-retry .*$", README, re.MULTILINE))
def test_the_command_lines_can_be_given(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = re.sub(r" [<>] .*", "", line)
    with pytest.raises(SystemExit) as end:
        main([*shlex.split(line)[1:], "--help"])
    assert end.value.code == 0
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert set(re.findall(r"--[a-z-]+", line)) <= known


def test_the_csv_is_that_of_the_help() -> None:
    assert f"```csv\n{SAMPLE}```\n" in README


def test_the_table_of_exit_codes_is_that_of_the_help() -> None:
    table = re.findall(r"^\| (\d+) \| (.*?) \|$", README, re.MULTILINE)
    said = re.findall(r"(\d+) ([a-z ]+)", EXIT_CODES)
    assert [code for code, _ in table] == [code for code, _ in said]


@pytest.mark.parametrize("page", sorted(set(re.findall(r"`(?:[A-Z]+ )?(/_mock/[a-z]+)`", README))))
def test_the_mocks_pages_named_exist(page: str) -> None:
    with running() as url:
        assert httpx.get(url + page, trust_env=False).status_code in (200, 405)


def test_the_error_table_names_every_error_with_its_outcome() -> None:
    table = dict(re.findall(r"^\| `(\w+Error)` \| .*? \| (.*?) \|$", README, re.MULTILINE))
    listed = {n for n in huaweicloud_retry.__all__ if n.endswith("Error")} - {"APIError"}
    assert listed == {
        *table,
        "IAMAuthenticationError",
        "APIRequestValidationError",
    }  # with IAMError, and further down
    for status in (400, 401, 403, 404, 405, 429, 500, 501, 502, 503, 504, 505, 302, 499, 413):
        error = APIStatusError.of(Response(status_code=status, headers=httpx.Headers(), content=b""))
        says = table[type(error).__name__]
        if type(error) is APIStatusError:
            assert (says, error.outcome_unknown) == ("False for 4xx but 499, else True", status in (302, 499))
        elif status >= 500:
            assert (says, error.outcome_unknown) == (
                "True; False for 501, 503, 505",
                status not in (501, 503, 505),
            )
        else:
            assert (says, error.outcome_unknown) == ("False", False)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?:)(.*?)\)", README))))
def test_links_within_the_repository_lead_somewhere(target: str) -> None:
    path, _, anchor = target.partition("#")
    assert (ROOT / path).exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([a-z-]+)`", README))))
def test_make_targets_named_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
