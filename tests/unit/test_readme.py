"""README and docs/ are true: their code runs, their links lead somewhere, their tables say what the code does."""

import asyncio
import contextlib
import io
import json
import os
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
from huaweicloud_retry.bulk import Item
from huaweicloud_retry.commands.bulk import SAMPLE
from huaweicloud_retry.commands.exits import EXIT_CODES
from huaweicloud_retry.mock import running
from huaweicloud_retry.testing import mock_server
from huaweicloud_retry_client import APIStatusError, Client, Response
from tests.e2e.cli import Cli

ROOT = Path(__file__).parents[2]
PAGES = {
    file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README, MOCK, COMMANDS = PAGES["README.md"], PAGES["docs/mock.md"], PAGES["docs/command-line.md"]
OUTCOMES, SPEED = PAGES["docs/did-it-go-through.md"], PAGES["docs/performance.md"]
ENGINE = "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
RECORD = "0000000059071dbc01591661d3990020"
TASK = "0000000059071dbc01591661d3990019"
FAILED = {"name": "n", "jobs": [{"id": 1, "status": "Error"}]}


def blocks(language: str) -> list[tuple[str, str]]:
    """The code blocks of all pages in one language, each with the name of its page."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(page, code) for page, text in PAGES.items() for code in fence.findall(text)]


def name_of(page: str, code: str) -> str:
    """A Python block is known by the last function that it defines, or else by its page."""
    names: list[str] = re.findall(r"^(?:async )?def (\w+)", code, re.MULTILINE)
    return names[-1] if names else page


def python(name: str) -> str:
    (code,) = (code for page, code in blocks("python") if name_of(page, code) == name)
    return code


def run(name: str, old: str = "", new: str = "") -> tuple[dict[str, Any], str]:
    """Run a Python block, with one text replaced; returns its names and what it printed."""
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(python(name).replace(old, new), name, "exec"), names)
    return names, printed.getvalue()


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, monkeypatch, capsys)


@pytest.fixture
def cn_north_4(cli: Cli) -> Iterator[str]:
    """The mock in place of a region; yields its URL."""
    cli.unset("HW_AUTH_TOKEN")
    keys = {"AK": "mock-ak", "SK": "mock-sk", "PROJECT_ID": "demo-project"}
    with running() as url:
        hosts = dict.fromkeys(("REGION_WORKSPACE_CN_NORTH_4", "REGION_CSE_CN_NORTH_4"), url)
        cli.set(**{f"HUAWEICLOUD_SDK_{name}": value for name, value in {**keys, **hosts}.items()})
        yield url


# --- the Python blocks -----------------------------------------------------------------------------------------


def test_every_python_block_is_run_by_a_test() -> None:
    tested = re.findall(r'\b(?:run|python)\("(\S+?)"', Path(__file__).read_text(encoding="utf-8"))
    of_the_wheel = "test_a_lost_response_leaves_the_outcome_unknown"  # tests/e2e/test_wheel.py
    assert sorted(name_of(*block) for block in blocks("python")) == sorted({*tested, of_the_wheel})


def test_the_first_block_retries_an_engine() -> None:
    assert run("README.md")[1] == "engine cse-gve7lg: job 18638 runs again\n"
    assert python("docs/index.md") == python("README.md")


def test_a_record_with_a_retry_policy(cn_north_4: str) -> None:
    retry_script = run("retry_script")[0]["retry_script"]
    assert asyncio.run(retry_script("demo-project", RECORD)) == f"task {TASK} runs"
    assert asyncio.run(retry_script("demo-project", "nowhere")).startswith("not processed: 404 ")


def test_a_record(cn_north_4: str) -> None:
    assert run("retry_record")[0]["retry_record"]("demo-project", RECORD) == TASK


def test_many_engines_at_once(cn_north_4: str) -> None:
    outcome = asyncio.run(run("retry_engines")[0]["retry_engines"]("demo-project", [ENGINE, "nowhere"]))
    assert outcome[ENGINE] == "job 18638"
    assert outcome["nowhere"].startswith("400 SVCSTG.00501116: ")


def test_a_token_fetched_with_a_password(cn_north_4: str) -> None:
    engine_status = run("engine_status", "http://127.0.0.1:8000", cn_north_4)[0]["engine_status"]
    assert engine_status("mock-password", "demo-project", ENGINE) == "ModifyFailed"


def test_bulk_sends_each_item_once_and_followup_settles_it(cn_north_4: str, tmp_path: Path) -> None:
    retry_records, settle = run("retry_records")[0]["retry_records"], run("settle")[0]["settle"]
    for _ in range(2):
        records = iter([RECORD, "nowhere"])
        assert asyncio.run(retry_records("demo-project", records, tmp_path / "journal")) == []
    entries = httpx.get(f"{cn_north_4}/_mock/request-log", trust_env=False).json()["entries"]
    assert [entry["status"] for entry in entries] == [200, 404]
    advance = {"json": {"advance": 60}, "trust_env": False}
    httpx.post(f"{cn_north_4}/_mock/clock", **advance)  # type: ignore[arg-type] # mypy does not read keywords in a dict
    assert asyncio.run(settle(tmp_path / "journal")) == {"succeeded": 1}


def test_errors_are_explained() -> None:
    explain = run("retry_or_explain")[0]["retry_or_explain"]
    with mock_server() as mock:
        assert explain(mock.cse, "demo-project", ENGINE) == "accepted: job 18638"
        assert explain(mock.cse, "demo-project", ENGINE).startswith("refused: 400 SVCSTG.00501149: ")
        mock.add_fault(operation="RetryEngine", close="after", times=1)
        assert explain(mock.cse, "demo-project", ENGINE).startswith("unknown: ")
    with Client(mock.url, auth=TokenAuth("mock-token")) as client:
        assert explain(client, "demo-project", ENGINE).startswith("not sent: ")


def test_a_retry_is_waited_for_or_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HW_AUTH_TOKEN", "mock-token")
    with mock_server() as mock:
        monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_CSE_CN_NORTH_4", mock.url)
        retry_and_wait = run("retry_and_wait")[0]["retry_and_wait"]
        mock.set_state(json.dumps({"run_time": 0, "projects": {"p": {"engines": {"e": FAILED}}}}))
        assert retry_and_wait("p", "e") == "succeeded: job 1 is Finished"
        mock.set_state(json.dumps({"projects": {"p": {"engines": {"e": FAILED}}}}))
        mock.add_fault(operation="RetryEngine", close="after", times=1)
        assert retry_and_wait("p", "e").startswith("accepted: job 1 is Executing, began ")


def test_the_logging_setup() -> None:
    subprocess.run([sys.executable, "-c", python("docs/project.md")], check=True)


# --- the shell blocks, and what they read ----------------------------------------------------------------------


def test_every_code_block_is_in_a_language_that_is_tried_here() -> None:
    fences = [fence for text in PAGES.values() for fence in re.findall(r"^```(.*)$", text, re.MULTILINE)]
    assert set(fences[::2]) == {"python", "sh", "console", "csv", "json", "yaml"}
    lines = "".join(code for _, code in blocks("sh")).replace("\\\n", " ").splitlines()
    assert {line.split()[0] for line in lines} == {"make", "hwc-retry", "curl", ".venv/bin/st"}


def test_the_lines_of_make_can_be_given_and_its_targets_exist() -> None:
    lines = {line for _, code in blocks("sh") for line in re.findall(r"^make[^&\n]*", code, re.MULTILINE)}
    assert lines
    for line in lines:
        dry = line.replace("make", "make --dry-run", 1)
        subprocess.run(["sh", "-c", dry], cwd=ROOT, check=True, capture_output=True)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", "".join(PAGES.values()))) <= targets


def test_the_wheel_is_named_so_that_pip_finds_it_with_its_extras(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/huaweicloud_retry-0.1.0-py3-none-any.whl").touch()
    (code,) = {code for _, code in blocks("sh") if "pip install" in code}
    stubs = "make() { :; }\npip() { printf '%s|' \"$@\"; }\n"
    said = subprocess.check_output(["sh", "-ec", stubs + code], cwd=tmp_path, text=True)
    assert said == "install|dist/huaweicloud_retry-0.1.0-py3-none-any.whl[all]|"


@pytest.fixture
def files(cli: Cli, cn_north_4: str) -> None:
    """The files that the command lines read, and a mock where work ends at once."""
    state = yaml.safe_load((ROOT / "src/huaweicloud_retry/mock/state.yaml").read_text("utf-8"))
    put = httpx.put(f"{cn_north_4}/_mock/state", json={**state, "run_time": 0}, trust_env=False)
    put.raise_for_status()
    for folder in (".local/share/bash-completion/completions", ".config/fish/completions"):
        (cli.folder / folder).mkdir(parents=True)
    texts = {"failed.csv": SAMPLE, "failed.jsonl": blocks("json")[0][1], "token.txt": "mock-token"}
    for name, text in texts.items():
        cli.write(name, text)


EXAMPLES = [(page, code) for page, code in blocks("sh") if code.startswith("hwc-retry")]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("code", [code for _, code in EXAMPLES], ids=[page for page, _ in EXAMPLES])
def test_the_command_lines_run(code: str, cli: Cli) -> None:
    for line in code.splitlines():
        command, _, output = line.removeprefix("hwc-retry ").partition(" > ")
        command, _, given = command.partition(" < ")
        ran = cli(command, stdin=Path(given).read_text("utf-8") if given else "")
        # 1: the mock does not have what the sample names, or it was retried before.
        assert ran.code in (0, 1), line + ran.err
        if output:
            Path(output).expanduser().write_text(ran.out, "utf-8")


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.usefixtures("files")
def test_the_command_shown_prints_on_a_terminal_what_is_shown() -> None:
    ((_, shown),) = blocks("console")
    line, _, output = shown.partition("\n")
    command = [sys.executable, "-m", *shlex.split(line.replace("$ hwc-retry", "huaweicloud_retry"))]
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        environment = {**os.environ, "COLUMNS": "110"}
        subprocess.run(command, env=environment, check=True, stdout=theirs, stderr=subprocess.PIPE)
        os.close(theirs)
        printed = re.sub(r"\x1b\[[0-9;?]*\w", "", terminal.read(4096).decode())
    rows = [row.rstrip() for row in printed.splitlines()]
    assert [row for row in rows if row] == output.splitlines()


def shell(start: str, replacements: dict[str, str]) -> str:
    """Run the shell block that starts so, and return what it printed."""
    (block,) = {code for _, code in blocks("sh") if code.startswith(start)}
    for old, new in replacements.items():
        assert old in block
        block = block.replace(old, new)
    ran = subprocess.run(["sh", "-ec", block], cwd=ROOT, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="this machine has no curl")
def test_the_curl_lines() -> None:
    with running() as url:
        said = shell("curl -X PUT", {"http://127.0.0.1:8000": url, "curl": "curl --silent"})
        assert json.loads(said) == {"id": ENGINE, "name": "cse-gve7lg", "jobId": 18638}
        shell("curl -H", {"http://127.0.0.1:8000": url, "curl": "curl --silent --fail"})
        faults = httpx.get(f"{url}/_mock/faults", trust_env=False).json()
    assert faults == [{"close": "after", "times": 1}, {"status": 429, "retry_after": 2, "share": 0.1}]


def test_the_csv_and_json_lines_are_input_of_bulk_and_the_yaml_is_a_state() -> None:
    assert [code for _, code in blocks("csv")] == [SAMPLE]
    for _, code in blocks("json"):
        assert Item.of({"project_id": "p", **json.loads(code)})
    (state,) = {code for _, code in blocks("yaml")}
    with mock_server() as mock:
        mock.set_state(state)


# --- tables and lists ------------------------------------------------------------------------------------------


def test_the_readme_is_short_and_has_the_words_that_readers_search() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert max(len(line) for line in lines if not line.startswith("|")) <= 110
    words = [
        "retry",
        "backoff",
        "jitter",
        "base URL",
        "rate limit",
        "retry policy",
        "timeout",
        "proxy",
        "logging",
    ]
    assert [word for word in words if word.lower() not in README.lower()] == []


def error_rows(page: str) -> dict[str, str]:
    return dict(re.findall(r"^\| `(\w+Error)` \| .*? \| (.*?) \|$", page, re.MULTILINE))


def test_the_error_tables_name_every_error_with_its_outcome() -> None:
    table = error_rows(README)
    assert table == error_rows(OUTCOMES)
    exported = {name for name in huaweicloud_retry.__all__ if name.endswith("Error")}
    assert exported == {
        *table,
        "APIError",
        "IAMAuthenticationError",
    }  # the base class; in the row of IAMError
    for status in (400, 401, 403, 404, 405, 429, 500, 501, 502, 503, 504, 505, 302, 499, 413):
        error = APIStatusError.of(Response(status_code=status, headers=httpx.Headers(), content=b""))
        unknown = status in (302, 499, 500, 502, 504)
        rule = "True; False for 501, 503, 505" if status >= 500 else "False"
        if type(error) is APIStatusError:
            rule = "False for 4xx but 499, else True"
        assert (table[type(error).__name__], error.outcome_unknown) == (rule, unknown)


def test_the_table_of_exit_codes_is_that_of_the_help() -> None:
    table = re.findall(r"^\| (\d+) \| .*? \|$", COMMANDS, re.MULTILINE)
    assert table == re.findall(r"[:;] (\d+) ", EXIT_CODES)


def test_the_faults_named_are_all_there_are() -> None:
    schema = yaml.safe_load((ROOT / "src/huaweicloud_retry/mock/faults.schema.yaml").read_text("utf-8"))
    (said,) = re.findall(r"^The faults: .*?\n\n", MOCK, re.MULTILINE | re.DOTALL)
    fields = schema["items"]["properties"]
    names = {*fields, *fields["close"]["enum"], *fields["reply"]["enum"]}
    assert names - set(re.findall(r"`([a-z-_]+)`", said)) == {"close", "reply", "example", "acted", "seconds"}


def test_the_admin_endpoints_named_exist() -> None:
    with running() as url:
        for path in set(re.findall(r"`(?:[A-Z]+ )?(/_mock/[a-z]+)`", MOCK)):
            assert httpx.get(url + path, trust_env=False).status_code in (200, 405)


def test_each_row_that_misses_its_aim_has_its_reason_once() -> None:
    missed = set(re.findall(r"^\| ([^|]+) \|.*\*\*missed\*\* \|$", SPEED, re.MULTILINE))
    reasons = " ".join(SPEED.partition("## Rows that miss their aim")[2].split())
    assert sorted(re.findall(r"\*\*([^*]+?):?\*\*", reasons)) == sorted(missed)


def test_the_readme_links_only_to_its_own_headings_so_that_links_work_on_a_package_index() -> None:
    headings = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    links = re.findall(r"(?<!!)\[[^\]]*\]\((?!https?:)(.*?)\)", README)
    assert {link.removeprefix("#") for link in links} <= anchors
    for named in re.findall(r"`(docs/\S+?)`|\]\((docs/.*?)\)", README):
        assert (ROOT / "".join(named)).exists()
