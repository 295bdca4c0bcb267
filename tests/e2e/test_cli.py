"""`hwc-retry` as a process, against the mock on a real socket: what it prints where, its exit codes, how it is stopped."""

import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from huaweicloud_retry.testing import Mock, mock_server

COMMAND = [sys.executable, "-m", "huaweicloud_retry"]
SECRETS = ("mock-token", "mock-sk", "mock-password", "mock-security-token")
RECORD, TASK = "r1", "t1"
STATE = {
    "run_time": 30,
    "credentials": {
        "tokens": {"mock-token": {}},
        "token_lifetime": 86400,
        "access_keys": {"mock-ak": {"secret_key": "mock-sk", "security_token": "mock-security-token"}},
        "users": {"mock-user": {"password": "mock-password", "domain": "mock-domain"}},
    },
    "projects": {
        "demo-project": {
            "name": "cn-north-4",
            "engines": {
                f"e{n}": {"name": f"engine-{n}", "jobs": [{"id": n, "status": "Error", "retries_end": ["Finished"]}]}
                for n in range(40)
            },
            "script_tasks": {TASK: {"records": {RECORD: {"status": "FAILED", "retries_end": ["SUCCESS"]}}}},
        }
    },
}
TOKEN = {"HW_AUTH_TOKEN": "mock-token"}
KEYS = {
    "HW_ACCESS_KEY": "mock-ak",
    "HW_SECRET_KEY": "mock-sk",
    "HW_SECURITY_TOKEN": "mock-security-token",
}
PASSWORD = {"HW_USER_NAME": "mock-user", "HW_USER_PASSWORD": "mock-password", "HW_DOMAIN_NAME": "mock-domain"}


@pytest.fixture(scope="module")
def server() -> Iterator[Mock]:
    with mock_server() as mock:
        yield mock


@pytest.fixture
def mock(server: Mock) -> Mock:
    server.reset()
    server.set_state(json.dumps(STATE))
    return server


class Cli:
    """Runs the command in an empty folder, with an environment of its own and nobody's home."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder = folder
        self.sending = ("--endpoint", endpoint)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")},
            **TOKEN,
            "HW_PROJECT_ID": "demo-project",
            "HOME": str(folder),
            "TERM": "xterm",
            "COLUMNS": "150",
        }
        self.environment.pop("PYTHONUNBUFFERED", None)  # most people do not have it, and pipes fail otherwise with it

    def __call__(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not [secret for secret in SECRETS if secret in ran.stdout + ran.stderr]
        assert "Traceback" not in ran.stderr or "--debug" in arguments
        return ran

    @contextmanager
    def started(self, *arguments: str, **streams: Any) -> Generator[subprocess.Popen[str], None, None]:
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(
            [*COMMAND, *arguments], cwd=self.folder, env=self.environment, text=True, **{**pipes, **streams}
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def on_terminal(self, *arguments: str) -> tuple[int, str]:
        """Run with a terminal for stdout and stderr; returns the exit code and the text on it, without its colours."""
        master, slave = pty.openpty()
        with self.started(*arguments, stdout=slave, stderr=slave) as process:
            os.close(slave)
            seen = b""
            try:
                while part := os.read(master, 1 << 16):
                    seen += part
            except OSError:  # Linux says so when the other side is closed
                pass
            os.close(master)
            code = process.wait(60)
        return code, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode()).replace("\r\n", "\n")

    def file(self, lines: Sequence[Any], name: str = "input.jsonl") -> str:
        (self.folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return name


@pytest.fixture
def cli(tmp_path: Path, mock: Mock) -> Cli:
    return Cli(tmp_path, mock.url)


def engines(*ids: str) -> list[dict[str, str]]:
    return [{"operation": "RetryEngine", "engine_id": each} for each in ids]


def sent(mock: Mock) -> list[str]:
    return [entry["path"].split("/")[5] for entry in mock.journal() if entry["operation"] == "RetryEngine"]


# --- engine and script ------------------------------------------------------------------------------------------------


def test_an_accepted_retry_is_json_on_stdout_and_nothing_on_stderr(cli: Cli) -> None:
    ran = cli("engine", "e1", *cli.sending)
    assert (ran.returncode, ran.stderr) == (0, "")
    (outcome,) = json.loads(ran.stdout)
    assert outcome["verdict"] == "accepted"
    assert (outcome["engine_id"], outcome["message"], outcome["answer"]["jobId"]) == ("e1", "job 1", 1)


def test_json_lines_are_one_outcome_a_line(cli: Cli) -> None:
    ran = cli("engine", "e1", "e2", "--output", "jsonl", *cli.sending)
    assert {json.loads(line)["engine_id"] for line in ran.stdout.splitlines()} == {"e1", "e2"}


def test_an_id_given_twice_is_sent_once(cli: Cli, mock: Mock) -> None:
    assert cli("engine", "e1", "e1", *cli.sending).returncode == 0
    assert sent(mock) == ["e1"]


@pytest.mark.parametrize("by", [["--record-id", RECORD], ["--task-id", TASK]])
def test_a_script_runs_again_by_record_or_by_task(cli: Cli, by: list[str]) -> None:
    ran = cli("script", *by, *cli.sending)
    assert ran.returncode == 0
    assert json.loads(ran.stdout)[0]["message"] == f"task {TASK}"


def test_the_enterprise_project_is_sent(cli: Cli, mock: Mock) -> None:
    cli("engine", "e1", "--enterprise-project-id", "7", *cli.sending)
    assert mock.journal()[-1]["headers"]["x-enterprise-project-id"] == "7"


def test_a_refused_retry_is_exit_code_1_with_what_happened_and_what_to_do(cli: Cli) -> None:
    ran = cli("engine", "e1", "nowhere", *cli.sending)
    assert ran.returncode == 1
    assert [each["verdict"] for each in json.loads(ran.stdout)] == ["accepted", "refused"]
    assert ran.stderr.startswith("hwc-retry engine: engine nowhere: refused, nothing was run: 400 SVCSTG.00501116: ")
    assert "\n  -> There is no such engine there: check the ID, --project-id and --region.\n" in ran.stderr


def test_an_unknown_outcome_is_exit_code_3_even_beside_a_refused_one(cli: Cli, mock: Mock) -> None:
    mock.add_fault(close="after", times=1)
    ran = cli("engine", "e1", "nowhere", *cli.sending)
    assert ran.returncode == 3
    assert [each["verdict"] for each in json.loads(ran.stdout)] == ["unknown", "refused"]
    assert "unknown, it may have been run" in ran.stderr
    assert "\n  -> Look at the engine's last job before you send this again" in ran.stderr


def test_the_same_advice_is_given_once(cli: Cli) -> None:
    ran = cli("engine", "no1", "no2", "no3", *cli.sending)
    assert ran.stderr.count("  -> ") == 1
    assert len(json.loads(ran.stdout)) == 3


def test_after_a_401_nothing_more_is_sent(cli: Cli, mock: Mock) -> None:
    cli.environment["HW_AUTH_TOKEN"] = "wrong"
    ran = cli("engine", "e1", "e2", "e3", *cli.sending)
    assert ran.returncode == 1
    assert sent(mock) == ["e1"]
    assert "five wrong signatures lock an access key for five minutes" in ran.stderr
    assert ran.stderr.endswith("hwc-retry engine: 2 not sent: engine e2, engine e3\n")


def test_a_service_that_cannot_be_reached_is_exit_code_1_with_what_to_look_at(cli: Cli) -> None:
    ran = cli("engine", "e1", "--endpoint", "http://127.0.0.1:9")
    assert ran.returncode == 1
    assert "  -> Check --region, --endpoint, the network" in ran.stderr


def test_verbose_tells_what_is_sent_again_and_when(cli: Cli, mock: Mock) -> None:
    mock.add_fault(status=429, retry_after=0, times=1)
    ran = cli("engine", "e1", "--verbose", *cli.sending)
    assert ran.returncode == 0
    assert re.search(r"engine e1: attempt 1: 429 APIGW\.0308: .*; again in 0\.0 s\n", ran.stderr)
    assert json.loads(ran.stdout)[0]["attempts"] == 2


def test_a_table_on_a_terminal(cli: Cli) -> None:
    code, seen = cli.on_terminal("engine", "e1", "nowhere", *cli.sending)
    assert code == 1
    assert re.search(r"^ *accepted +engine e1 +job 1 +\d+\.\d *$", seen, re.MULTILINE)
    assert re.search(r"^ *refused +engine nowhere +400 SVCSTG\.00501116: ", seen, re.MULTILINE)


def test_a_table_shows_what_a_server_says_as_it_is(cli: Cli) -> None:
    ran = cli("engine", "[red]x", "--output", "table", *cli.sending)
    assert "engine [red]x" in ran.stdout
    assert "\x1b" not in ran.stdout + ran.stderr


# --- Usage and configuration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "changes", "says"),
    [
        (["engine"], {}, "the following arguments are required: ENGINE_ID"),
        (["script"], {}, "one of the arguments --record-id --task-id is required"),
        (["engine", "e1", "--timeout", "0"], {}, "'0' is no number from 0.001 to 3600"),
        (
            ["engine", "e1"],
            {"HW_PROJECT_ID": ""},
            "no project: give --project-id, or set HUAWEICLOUD_SDK_PROJECT_ID or",
        ),
        (["engine", "e1"], {}, "no region: give --region, or set HW_REGION_NAME or OS_REGION_NAME"),
        (["engine", "e1", "--region", "cn-nort-4"], {}, "cse has no region 'cn-nort-4' (--region); did you mean"),
        (
            ["engine", "e1", "--endpoint", "http://example.com"],
            {},
            "would show its secrets to anyone on the way: use https\n",
        ),
        (["engine", "..", "--region", "cn-north-4"], {}, "engine_id is '..', which cannot be a segment of the path"),
        (
            ["engine", "e1", "--region", "cn-north-4"],
            {"HW_AUTH_TOKEN": ""},
            "no credentials, neither in the environment",
        ),
        (["engine", "e1", "--token-file", "nowhere"], {}, "--token-file: nowhere cannot be read: No such file"),
        (
            ["engine", "e1", "--token-file", "/dev/null"],
            {},
            "--token-file: /dev/null: the token must be printable ASCII",
        ),
        (["bulk", "nowhere"], {}, "nowhere cannot be read: No such file or directory"),
        (["bulk", "n" * 300], {}, "n cannot be read: File name too long"),
        pytest.param(
            ["bulk", "/proc/self/mem", "--journal", "j"],
            {},
            "/proc/self/mem cannot be read: Input/output error",
            marks=pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="this machine has no /proc"),
        ),
        (
            ["engine", "e1", "--region", "cn-north-4"],
            {"SSL_CERT_FILE": "/nowhere"},
            "the TLS settings of the environment cannot be used: No such file or directory; check SSL_CERT_FILE and SSL_CERT_DIR",
        ),
        (["bulk", "-"], {}, "standard input has no place for a journal: give --journal FILE"),
        (["bulk", "-", "--token-file", "-"], {}, "standard input cannot be both FILE and --token-file"),
        (["bulk", "x", "--concurrency", "101"], {}, "'101' is no whole number from 1 to 100"),
    ],
)
def test_what_cannot_be_done_is_exit_code_2_and_one_line(
    cli: Cli, mock: Mock, arguments: list[str], changes: dict[str, str], says: str
) -> None:
    cli.environment.update(changes)
    ran = cli(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert says in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith(f"hwc-retry {arguments[0]}: ")
    assert mock.journal() == []


@pytest.mark.parametrize(
    ("proxy", "says"),
    [
        ("foo://mock-password@x", "HTTPS_PROXY is not the URL of a proxy, such as http://proxy.example.com:3128"),
        ("::bad", "HTTPS_PROXY is not the URL of a proxy"),
        ("http://u:mock-password/@x", "HTTPS_PROXY is not the URL of a proxy"),
        ("socks5://127.0.0.1:9", "HTTPS_PROXY is a SOCKS proxy, which needs socksio: pip install 'httpx[socks]'"),
    ],
)
def test_an_invalid_proxy_is_exit_code_2_before_anything_is_sent(cli: Cli, proxy: str, says: str) -> None:
    cli.environment.update(HTTPS_PROXY=proxy)
    ran = cli("engine", "e1", "--region", "cn-north-4")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert says in ran.stderr
    assert cli("bulk", cli.file(engines("e1")), "--region", "cn-north-4").returncode == 2
    assert [path.name for path in cli.folder.iterdir()] == ["input.jsonl"]


@pytest.mark.parametrize("by", ["file", "stdin"])
def test_a_token_comes_from_a_file_or_from_stdin(cli: Cli, by: str) -> None:
    del cli.environment["HW_AUTH_TOKEN"]
    (cli.folder / "token").write_text("mock-token\n", encoding="utf-8")
    given = ["--token-file", "token"] if by == "file" else ["--token-file", "-"]
    assert cli("engine", "e1", *given, *cli.sending, stdin="mock-token\n" if by == "stdin" else None).returncode == 0


def test_the_project_comes_from_the_profile_file_too(cli: Cli, mock: Mock) -> None:
    del cli.environment["HW_PROJECT_ID"], cli.environment["HW_AUTH_TOKEN"]
    profile = cli.folder / ".huaweicloud" / "credentials"
    profile.parent.mkdir()
    keys = "ak = mock-ak\nsk = mock-sk\nsecurity_token = mock-security-token\n"
    profile.write_text(f"[basic]\n{keys}project_id = demo-project\n", encoding="utf-8")
    profile.chmod(0o644)
    ran = cli("engine", "e1", *cli.sending)
    assert ran.returncode == 0
    assert ran.stderr == f"hwc-retry engine: others can read or change your credentials: chmod 600 {profile}\n"


def test_only_debug_shows_a_traceback(cli: Cli) -> None:
    assert "Traceback" in cli("--debug", "engine", "e1").stderr
    assert "Traceback" in cli("engine", "e1", "--debug").stderr


# --- Dry runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credentials", [TOKEN, KEYS])
def test_a_dry_run_shows_what_is_sent_then_and_sends_nothing(cli: Cli, mock: Mock, credentials: dict[str, str]) -> None:
    del cli.environment["HW_AUTH_TOKEN"]
    cli.environment.update(credentials)
    given = ["engine", "e1", "--enterprise-project-id", "7", *cli.sending]
    ran = cli(*given, "--dry-run")
    assert (ran.returncode, mock.journal()) == (0, [])
    (shown,) = json.loads(ran.stdout)
    cli(*given)
    came = mock.journal()[-1]
    for headers in (shown["headers"], came["headers"]):
        headers.pop("x-sdk-date", None)
        if "authorization" in headers:
            assert "***" in headers.pop("authorization")
    assert shown["headers"] == came["headers"]
    assert (shown["method"], shown["url"]) == (came["method"], mock.url + came["path"])
    assert json.loads(shown["body"]) == came["body"]


def test_a_dry_run_asks_iam_for_no_token_but_shows_that_it_would(cli: Cli, mock: Mock) -> None:
    del cli.environment["HW_AUTH_TOKEN"]
    cli.environment.update(PASSWORD, HUAWEICLOUD_SDK_IAM_ENDPOINT=mock.url)
    iam, retry = json.loads(cli("script", "--task-id", TASK, *cli.sending, "--dry-run").stdout)
    assert (iam["method"], iam["url"], iam["body"]) == ("POST", f"{mock.url}/v3/auth/tokens?nocatalog=true", "***")
    assert retry["headers"]["x-auth-token"] == "***"
    assert json.loads(retry["body"]) == {"task_id": TASK}
    assert mock.journal() == []


def test_a_dry_run_on_a_terminal_reads_like_http(cli: Cli, mock: Mock) -> None:
    code, seen = cli.on_terminal("engine", "e1", *cli.sending, "--dry-run")
    assert code == 0
    assert seen.startswith(f"PUT {mock.url}/v2/demo-project/enginemgr/engines/e1/actions\n")
    assert "X-Auth-Token: ***\n" in seen
    assert seen.endswith('\n\n{"action":"Retry"}\n')


def test_a_dry_run_of_many_checks_the_input_and_shows_the_plan(cli: Cli, mock: Mock) -> None:
    file = cli.file([*engines("e1", "e2", "e1"), {"operation": "RetryScriptExecution", "task_id": TASK, "region": "x"}])
    ran = cli("bulk", file, *cli.sending, "--dry-run")
    assert ran.returncode == 0
    assert ran.stderr.splitlines() == [
        "hwc-retry bulk: 3 retries; 1 stood there once more, and are sent once",
        "hwc-retry bulk: RetryEngine in no region: 3",
        "hwc-retry bulk: RetryScriptExecution in x: 1",
        "hwc-retry bulk: 3 would be sent; the first request of the input:",
    ]
    assert json.loads(ran.stdout)[0]["url"].endswith("/engines/e1/actions")
    assert (mock.journal(), [path.name for path in cli.folder.iterdir()]) == ([], [file])


def test_a_dry_run_with_a_journal_tells_what_is_left(cli: Cli) -> None:
    file = cli.file(engines("e1", "nowhere"))
    cli("bulk", file, *cli.sending)
    assert "\nhwc-retry bulk: 0 would be sent;" in cli("bulk", file, *cli.sending, "--dry-run").stderr
    ran = cli("bulk", file, *cli.sending, "--dry-run", "--retry-refused")
    assert (
        "journal input.jsonl.journal: accepted 1, refused 1, unknown 0\nhwc-retry bulk: 1 would be sent;" in ran.stderr
    )


def test_a_dry_run_leaves_a_journal_without_a_plan_alone(cli: Cli) -> None:
    journal = cli.folder / "j"
    journal.touch()
    assert "1 would be sent" in cli("bulk", cli.file(engines("e1")), "--journal", "j", *cli.sending, "--dry-run").stderr
    assert journal.read_bytes() == b""
    assert cli("bulk", cli.file(engines("e2")), "--journal", "j", *cli.sending).returncode == 0


# --- bulk -------------------------------------------------------------------------------------------------------------


def test_many_are_sent_once_each_and_outcomes_are_json_lines(cli: Cli, mock: Mock) -> None:
    ids = [f"e{n}" for n in range(40)]
    ran = cli("bulk", cli.file(engines(*ids, "e1")), *cli.sending, "--rate", "0")
    assert ran.returncode == 0
    assert sorted(sent(mock)) == sorted(ids)
    assert sorted(json.loads(line)["engine_id"] for line in ran.stdout.splitlines()) == sorted(ids)
    assert ran.stderr.splitlines() == [
        "hwc-retry bulk: 40 retries; 1 stood there once more, and are sent once; journal input.jsonl.journal",
        "hwc-retry bulk: 40 retries: accepted 40, refused 0, unknown 0",
    ]


def test_the_same_command_again_sends_nothing_again_and_its_exit_code_is_of_the_whole_journal(
    cli: Cli, mock: Mock
) -> None:
    file = cli.file(engines("e1", "nowhere"))
    assert cli("bulk", file, *cli.sending).returncode == 1
    again = cli("bulk", file, *cli.sending)
    assert (again.returncode, again.stdout) == (1, "")
    assert "goes on where an earlier run ended: accepted 1, refused 1, unknown 0\n" in again.stderr
    assert sent(mock) == ["e1", "nowhere"]


def test_what_was_refused_and_what_is_unknown_is_sent_again_if_asked(cli: Cli, mock: Mock) -> None:
    file = cli.file(engines("e1", "e2"))
    mock.add_fault(status=403, times=1)
    mock.add_fault(close="before", times=1)
    first = cli("bulk", file, *cli.sending)
    assert first.returncode == 3
    assert "--retry-refused sends again what was refused" in first.stderr
    assert "--resend-unknown sends again what is unknown, which may run it twice" in first.stderr
    assert cli("bulk", file, *cli.sending, "--retry-refused").returncode == 3
    assert cli("bulk", file, *cli.sending, "--resend-unknown").returncode == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("input.csv", b"operation,engine_id\r\nRetryEngine,e1\r\n\r\nRetryEngine,e2\r\n"),
        ("input", b"\xef\xbb\xbfoperation,engine_id\nRetryEngine,e1\nRetryEngine,e2\n"),
        (
            "input",
            b'\xef\xbb\xbf{"operation": "RetryEngine", "engine_id": "e1"}\n{"operation": "RetryEngine", "engine_id": "e2"}',
        ),
    ],
)
def test_csv_and_json_lines_are_known_by_name_or_look(cli: Cli, mock: Mock, name: str, content: bytes) -> None:
    (cli.folder / name).write_bytes(content)
    assert cli("bulk", name, *cli.sending).returncode == 0
    assert sent(mock) == ["e1", "e2"]


def test_a_name_says_what_is_in_it_whatever_it_begins_with(cli: Cli) -> None:
    for name, says in (("input.csv", "line 1 must name the fields"), ("input.jsonl", "input.jsonl:1: is not JSON")):
        (cli.folder / name).write_bytes(b"{x" if name == "input.csv" else b"x")
        ran = cli("bulk", name, *cli.sending)
        assert ran.returncode == 2
        assert says in ran.stderr


def test_standard_input_is_taken_with_a_journal(cli: Cli, mock: Mock) -> None:
    lines = "".join(json.dumps(each) + "\n" for each in engines("e1", "e2"))
    assert cli("bulk", "-", "--journal", "j", *cli.sending, stdin=lines).returncode == 0
    assert sent(mock) == ["e1", "e2"]
    assert (cli.folder / "j").exists()


def test_each_bad_line_is_reported_and_nothing_is_sent_or_left(cli: Cli, mock: Mock) -> None:
    (cli.folder / "in").write_text(
        '{"operation": "RetryEngine", "engine_id": "e1"}\n{"operation": "Retry"}\n{\n\n'
        '{"operation": "RetryEngine", "engine_id": ".."}\n' + "x" * 3_000_000 + "\n{}\n",
        encoding="utf-8",
    )
    ran = cli("bulk", "in", *cli.sending)
    assert (ran.returncode, ran.stdout) == (2, "")
    *lines, last = ran.stderr.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["in:2:", "in:3:", "in:5:", "in:6:", "in:7:"]
    assert last == "hwc-retry bulk: 5 of 6 lines will not do; nothing was sent"
    assert (mock.journal(), [path.name for path in cli.folder.iterdir()]) == ([], ["in"])


def test_a_line_without_a_project_is_told_of_the_option(cli: Cli) -> None:
    del cli.environment["HW_PROJECT_ID"]
    ran = cli("bulk", cli.file(engines("e1")), *cli.sending)
    assert "input.jsonl:1: project_id missing: name it, or give --project-id for all\n" in ran.stderr


def test_nothing_in_the_input_is_said_so(cli: Cli) -> None:
    (cli.folder / "in").write_text("\n", encoding="utf-8")
    assert "there is nothing in it" in cli("bulk", "in", *cli.sending).stderr


def test_a_configuration_that_will_not_do_leaves_no_journal(cli: Cli) -> None:
    # It would hold the items with no region, and refuse them with one.
    file = cli.file(engines("e1"))
    assert cli("bulk", file).returncode == 2
    assert [path.name for path in cli.folder.iterdir()] == [file]


def test_a_journal_of_another_input_is_refused(cli: Cli) -> None:
    cli("bulk", cli.file(engines("e1")), *cli.sending)
    ran = cli("bulk", cli.file(engines("e2")), *cli.sending)
    assert ran.returncode == 2
    assert "input.jsonl.journal is the journal of another input" in ran.stderr


def test_a_bar_and_then_the_reasons_on_a_terminal(cli: Cli) -> None:
    code, seen = cli.on_terminal("bulk", cli.file(engines("e1", "no1", "no2")), *cli.sending)
    assert code == 1
    assert "0/?" in seen  # of the bar: its first look; it is gone at the end
    assert re.search(r"^ *refused +2 +400 SVCSTG\.00501116: .*engine no[12] *$", seen, re.MULTILINE)
    assert "hwc-retry bulk: 3 retries: accepted 1, refused 2, unknown 0\n" in seen


# --- Stopped ----------------------------------------------------------------------------------------------------------


class Holding(ThreadingHTTPServer):
    """A service that answers only when it is told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HoldingHandler)
        self.asked, self.answer = threading.Event(), threading.Event()


class HoldingHandler(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        assert isinstance(self.server, Holding)
        self.server.asked.set()
        if not self.server.answer.wait(60):
            return
        body = b'{"id": "e", "name": "n", "jobId": 1}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any, **__: Any) -> None:
        pass


@pytest.fixture
def holding() -> Iterator[Holding]:
    with Holding() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.answer.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def held(tmp_path: Path, holding: Holding) -> Cli:
    return Cli(tmp_path, f"http://127.0.0.1:{holding.server_port}")


def read_until(stream: Any, what: str) -> str:
    seen = ""
    while what not in seen:
        line = stream.readline()
        assert line, seen
        seen += line
    return seen


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("by", SIGNALS)
def test_interrupted_once_it_waits_for_those_under_way_and_sends_nothing_more(
    held: Cli, holding: Holding, by: signal.Signals
) -> None:
    file = held.file(engines("e1", "e2", "e3"))
    with held.started("bulk", file, *held.sending) as process:
        assert holding.asked.wait(60)
        process.send_signal(by)
        read_until(process.stderr, "interrupted: nothing more is sent; waiting for those under way, 60 s at most")
        holding.answer.set()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [json.loads(line)["verdict"] for line in out.splitlines()] == ["accepted"]
    assert "3 retries: accepted 1, refused 0, unknown 0, not sent 2\n" in err
    assert held("bulk", file, *held.sending).returncode == 0


def test_interrupted_twice_it_ends_at_once_and_says_what_is_unknown(held: Cli, holding: Holding) -> None:
    file = held.file(engines("e1", "e2"))
    with held.started("bulk", file, *held.sending) as process:
        assert holding.asked.wait(60)
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "interrupted")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [json.loads(line)["verdict"] for line in out.splitlines()] == ["unknown"]
    assert "2 retries: accepted 0, refused 0, unknown 1, not sent 1\n" in err


def test_an_interrupted_engine_says_what_became_of_it(held: Cli, holding: Holding) -> None:
    with held.started("engine", "e1", "e2", *held.sending) as process:
        assert holding.asked.wait(60)
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "interrupted")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [each["verdict"] for each in json.loads(out)] == ["unknown"]
    assert err.endswith("hwc-retry engine: 1 not sent: engine e2\n")


def test_nohup_lets_it_go_on_when_the_terminal_closes(held: Cli, holding: Holding) -> None:
    ignoring = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    with held.started("bulk", held.file(engines("e1")), *held.sending, preexec_fn=ignoring) as process:
        assert holding.asked.wait(60)
        process.send_signal(signal.SIGHUP)
        holding.answer.set()
        assert process.wait(60) == 0


def test_interrupted_while_bad_lines_are_told(cli: Cli) -> None:
    (cli.folder / "in").write_text("{\n" * 100_000, encoding="utf-8")
    with cli.started("bulk", "in", *cli.sending) as process:
        read_until(process.stderr, "in:1:")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "in:100000:" not in said


@pytest.mark.parametrize("by", SIGNALS)
def test_interrupted_while_it_waits_for_its_input(cli: Cli, mock: Mock, by: signal.Signals) -> None:
    with cli.started("bulk", "-", "--journal", "j", *cli.sending, stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(" " * (1 << 20))  # more than a pipe holds, so that it has begun to read
        process.stdin.flush()
        process.send_signal(by)
        assert process.wait(60) == 130
        assert process.stderr
        assert process.stderr.read() == ""
    assert (mock.journal(), list(cli.folder.iterdir())) == ([], [])


def test_a_second_process_on_a_journal_is_refused(held: Cli, holding: Holding) -> None:
    file = held.file(engines("e1"))
    with held.started("bulk", file, *held.sending) as process:
        assert holding.asked.wait(60)
        ran = held("bulk", file, *held.sending)
        holding.answer.set()
        assert process.wait(60) == 0
    assert ran.returncode == 2
    assert "input.jsonl.journal is in use by another process" in ran.stderr


def test_a_line_every_few_seconds_where_there_is_no_terminal(held: Cli, holding: Holding) -> None:
    with held.started("bulk", held.file(engines("e1", "e2")), *held.sending) as process:
        read_until(process.stderr, "hwc-retry bulk: accepted 0, refused 0, unknown 0; 0/s\n")
        holding.answer.set()
        assert process.wait(60) == 0


def test_the_first_of_these_lines_knows_the_speed(cli: Cli) -> None:
    ran = cli("bulk", cli.file(engines(*(f"e{n}" for n in range(40)))), *cli.sending, "--rate", "10")
    assert re.search(r"unknown 0; [1-9]\d*/s; ", ran.stderr)


@pytest.mark.parametrize("command", ["engine", "bulk"])
def test_when_nobody_reads_any_more_it_ends_quietly_and_loses_nothing(cli: Cli, mock: Mock, command: str) -> None:
    ids = [f"e{n}" for n in range(40)]
    what = ids if command == "engine" else [cli.file(engines(*ids))]
    reading, writing = os.pipe()
    os.close(reading)
    with cli.started(command, *what, "--output", "jsonl", *cli.sending, stdout=writing) as process:
        os.close(writing)
        assert process.wait(60) == 130
        assert process.stderr
        said = process.stderr.read()
    assert "Error" not in said
    assert "Broken" not in said
    assert len(sent(mock)) < 40
    if command == "bulk":
        assert cli(command, *what, *cli.sending).returncode == 0
        assert sorted(sent(mock)) == sorted(ids)


def test_it_ends_too_when_nobody_reads_its_messages(cli: Cli) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with cli.started("bulk", cli.file(engines("e1", "e2")), *cli.sending, stderr=writing) as process:
        os.close(writing)
        assert process.wait(60) == 130


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this machine has no /dev/full")
@pytest.mark.parametrize("arguments", [["engine", "e1", "--output", "jsonl"], ["completion", "bash"]])
def test_an_output_that_cannot_be_written_is_said_so(cli: Cli, arguments: list[str]) -> None:
    sending = cli.sending if arguments[0] == "engine" else ()
    with open("/dev/full", "w", encoding="utf-8") as full, cli.started(*arguments, *sending, stdout=full) as process:  # noqa: PTH123 - no folder's
        assert process.wait(60) == 130
        assert process.stderr
        said = process.stderr.read()
    assert said.endswith("standard output cannot be written: No space left on device\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("closed", "command", "code", "says"),
    [
        (">&-", "engine e1", 2, "hwc-retry: standard output is closed: give it a file, or /dev/null\n"),
        ("<&-", "bulk - --journal j", 2, "hwc-retry bulk: there is nothing in it: no line with a retry\n"),
        ("2>&-", "engine e1 nowhere", 1, ""),
    ],
)
def test_standard_streams_may_be_closed(cli: Cli, mock: Mock, closed: str, command: str, code: int, says: str) -> None:
    line = shlex.join([*COMMAND, *command.split(), *cli.sending])
    ran = subprocess.run(
        ["sh", "-c", f"{line} {closed}"],
        cwd=cli.folder,
        env=cli.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (code, says)
    if closed == "2>&-":
        assert len(json.loads(ran.stdout)) == 2
    else:
        assert mock.journal() == []


@pytest.fixture
def unread(cli: Cli, mock: Mock) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that has sent all, and has more to print than its pipe takes; and the other end of that."""
    ids = [f"e{n}" for n in range(40)]
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)  # of 13,000 bytes that are to be written
    with cli.started("bulk", cli.file(engines(*ids)), "--output", "jsonl", *cli.sending, stdout=writing) as process:
        os.close(writing)
        deadline = time.monotonic() + 60
        while len(sent(mock)) < len(ids):
            assert time.monotonic() < deadline
        yield process, reading


def test_who_does_not_read_on_holds_up_no_request(unread: tuple[subprocess.Popen[str], int]) -> None:
    process, reading = unread
    with os.fdopen(reading, encoding="utf-8") as stdout:
        assert [json.loads(line)["verdict"] for line in stdout] == ["accepted"] * 40
    assert process.wait(60) == 0


def test_who_does_not_read_on_holds_up_no_interruption(unread: tuple[subprocess.Popen[str], int]) -> None:
    process, reading = unread
    deadline = time.monotonic() + 60
    while process.poll() is None:
        assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)  # or the kernel makes one signal of many
    os.close(reading)
    assert process.returncode == 130


def test_interrupted_while_nobody_reads_on_it_says_so_and_ends_at_the_second_time(
    unread: tuple[subprocess.Popen[str], int],
) -> None:
    process, reading = unread
    process.send_signal(signal.SIGINT)
    read_until(process.stderr, "interrupted: nothing more is sent")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    os.close(reading)


def test_help_that_nobody_reads_to_its_end_is_no_error(cli: Cli) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with cli.started("--help", stdout=writing) as process:
        os.close(writing)
        assert process.wait(60) == 130
        assert process.stderr
        assert process.stderr.read() == ""


# --- Completion -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("bash") is None, reason="this machine has no bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["hwc-retry", "en"], ["engine"]),
        (["hwc-retry", "bulk", "--re"], ["--retry-refused", "--resend-unknown", "--region"]),
        (["hwc-retry", "engine", "--output", "js"], ["json", "jsonl"]),
        (["hwc-retry", "bulk", "--journal", "inp"], ["input.jsonl"]),
    ],
)
def test_bash_completes_commands_options_choices_and_files(cli: Cli, words: list[str], completed: list[str]) -> None:
    cli.file([])
    (cli.folder / "script").write_text(cli("completion", "bash").stdout, encoding="utf-8")
    line = " ".join(words)
    ask = f'source ./script; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE="{line}"; COMP_POINT={len(line)}; '
    ask += '_shtab_hwc_retry; printf "%s\\n" "${COMPREPLY[@]}"'
    ran = subprocess.run(["bash", "-c", ask], cwd=cli.folder, check=True, capture_output=True, text=True)
    assert ran.stdout.split() == completed


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_there_is_completion_for_other_shells(cli: Cli, shell: str) -> None:
    ran = cli("completion", shell)
    assert ran.returncode == 0
    assert "retry-refused" in ran.stdout
