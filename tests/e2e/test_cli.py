"""`hwc-retry` against the mock on a real socket: what it prints where, its exit codes, how it is stopped.

What needs no process of its own is `main()` in this one; signals, pipes and terminals are those of a real process.
"""

import asyncio
import errno
import fcntl
import gc
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
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from huaweicloud_retry.cli import main
from huaweicloud_retry.commands.exits import CommandError, OutputError
from huaweicloud_retry.commands.screen import Screen
from huaweicloud_retry.testing import Mock, mock_server

COMMAND = [sys.executable, "-m", "huaweicloud_retry"]
SECRETS = ("mock-token", "mock-sk", "mock-password", "mock-security-token")
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
LIMIT = 60  # seconds: a last guard, on a machine that has much else to do
IDS = [f"e{n}" for n in range(40)]
RECORD, TASK = "r1", "t1"
STATE: dict[str, Any] = {
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
                id_: {"name": id_, "jobs": [{"id": n, "status": "Error", "retries_end": ["Finished"]}]}
                for n, id_ in enumerate(IDS)
            },
            "script_tasks": {TASK: {"records": {RECORD: {"status": "FAILED", "retries_end": ["SUCCESS"]}}}},
        }
    },
}
TOKEN = {"HW_AUTH_TOKEN": "mock-token"}
KEYS = {"HW_ACCESS_KEY": "mock-ak", "HW_SECRET_KEY": "mock-sk", "HW_SECURITY_TOKEN": "mock-security-token"}
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


@dataclass
class Ran:
    """What came of a run."""

    code: int
    out: str
    err: str


def with_default_signals() -> None:
    """What whoever runs the tests ignores, as nohup does, is not ignored in the process that begins here."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)


class Cli:
    """Runs the command in an empty folder, with an environment of its own and nobody's home."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.sending: tuple[str, ...] = ()
        self._patch, self._capsys = patch, capsys
        patch.chdir(folder)
        ours = ("HW_", "OS_", "HUAWEICLOUD_", "SSL_CERT_")
        for name in [each for each in os.environ if each.startswith(ours) or each.upper().endswith("_PROXY")]:
            patch.delenv(name)
        patch.delenv(
            "PYTHONUNBUFFERED", raising=False
        )  # most people do not have it, and pipes fail otherwise with it
        self.set(**TOKEN, HW_PROJECT_ID="demo-project", HOME=str(folder), TERM="xterm", COLUMNS="150")

    def set(self, **environment: str) -> None:
        for name, value in environment.items():
            self._patch.setenv(name, value)

    def unset(self, *names: str) -> None:
        for name in names:
            self._patch.delenv(name)

    def has_terminal(self) -> None:
        """Say to the command in this process that its standard output is a terminal, though one without colours."""
        self.set(TTY_COMPATIBLE="0")
        self._patch.setattr(sys.stdout, "isatty", lambda: True)

    def __call__(self, *arguments: str, stdin: str = "") -> Ran:
        """Run it in this process."""
        handlers = {each: signal.getsignal(each) for each in SIGNALS}
        reading, writing = os.pipe()
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            pipe.write(stdin)
        with os.fdopen(reading, encoding="utf-8") as given, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", given)
            try:
                code: Any = main(arguments)
            except SystemExit as end:  # argparse's
                code = end.code
            finally:
                for each, handler in handlers.items():
                    signal.signal(each, handler)
        out, err = self._capsys.readouterr()
        assert not [secret for secret in SECRETS if secret in out + err]
        return Ran(code, out, err)

    @contextmanager
    def started(self, *arguments: str, **streams: Any) -> Generator[subprocess.Popen[str], None, None]:
        """Start it as a process."""
        settings: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "preexec_fn": with_default_signals,
            **streams,
        }
        with subprocess.Popen([*COMMAND, *arguments], text=True, **settings) as process:
            try:
                yield process
            finally:
                process.kill()

    def file(self, lines: Sequence[Any], name: str = "input.jsonl") -> str:
        (self.folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return name

    def files(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()]


@pytest.fixture
def idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command with no service to send to."""
    return Cli(tmp_path, monkeypatch, capsys)


@pytest.fixture
def cli(idle: Cli, mock: Mock) -> Cli:
    """The command, to send to the mock."""
    idle.sending = ("--endpoint", mock.url)
    return idle


def engines(*ids: str) -> list[dict[str, str]]:
    return [{"operation": "RetryEngine", "engine_id": each} for each in ids]


def sent(mock: Mock) -> list[str]:
    return [entry["path"].split("/")[5] for entry in mock.journal() if entry["operation"] == "RetryEngine"]


# --- engine and script ------------------------------------------------------------------------------------------------


def test_an_accepted_retry_is_json_on_stdout_and_nothing_on_stderr(cli: Cli) -> None:
    with cli.started("engine", "e1", *cli.sending) as process:
        out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (0, "")
    (outcome,) = json.loads(out)
    assert outcome["verdict"] == "accepted"
    assert (outcome["engine_id"], outcome["message"], outcome["response"]["jobId"]) == ("e1", "job 1", 1)


def test_an_id_given_twice_is_sent_once_and_json_lines_are_one_outcome_a_line(cli: Cli, mock: Mock) -> None:
    ran = cli("engine", "e1", "e1", "e2", "--output", "jsonl", *cli.sending)
    assert ran.code == 0
    assert [json.loads(line)["engine_id"] for line in ran.out.splitlines()] == sent(mock) == ["e1", "e2"]


@pytest.mark.parametrize("command", ["engine e1 -", "engine -"])
def test_ids_come_from_stdin_too(cli: Cli, mock: Mock, command: str) -> None:
    assert cli(*command.split(), *cli.sending, stdin="e2\n e3\n\n").code == 0
    assert sent(mock) == [*command.split()[1:-1], "e2", "e3"]


def test_records_come_from_stdin_too(cli: Cli) -> None:
    ran = cli("script", "--record-id", "-", *cli.sending, stdin=RECORD)
    assert (ran.code, json.loads(ran.out)[0]["record_id"]) == (0, RECORD)


@pytest.mark.parametrize("by", [("--record-id", RECORD), ("--task-id", TASK)])
def test_a_script_runs_again_by_record_or_by_task(cli: Cli, by: tuple[str, str]) -> None:
    ran = cli("script", *by, *cli.sending)
    assert ran.code == 0
    assert json.loads(ran.out)[0]["message"] == f"task {TASK}"


def test_a_refused_retry_is_exit_code_1_with_what_happened_and_what_to_do_once(cli: Cli) -> None:
    ran = cli("engine", "e1", "no1", "no2", *cli.sending)
    assert ran.code == 1
    assert [each["verdict"] for each in json.loads(ran.out)] == ["accepted", "refused", "refused"]
    assert ran.err.startswith("hwc-retry engine: engine no1: not processed: 400 SVCSTG.00501116: ")
    assert "\n  -> There is no such engine there: check the ID, --project-id and --region.\n" in ran.err
    assert ran.err.count("  -> ") == 1


def test_an_unknown_outcome_is_exit_code_3_even_beside_a_refused_one(cli: Cli, mock: Mock) -> None:
    mock.add_fault(close="after", times=1)
    ran = cli("engine", "e1", "nowhere", *cli.sending)
    assert ran.code == 3
    assert [each["verdict"] for each in json.loads(ran.out)] == ["unknown", "refused"]
    assert "unknown, it may have been processed" in ran.err
    assert "\n  -> Check the engine's last job before you resend this" in ran.err


def test_after_a_401_nothing_more_is_sent(cli: Cli, mock: Mock) -> None:
    cli.set(HW_AUTH_TOKEN="wrong")
    ran = cli("engine", "e1", "e2", "e3", *cli.sending)
    assert ran.code == 1
    assert sent(mock) == ["e1"]
    assert "five wrong signatures lock an access key for five minutes" in ran.err
    assert ran.err.endswith("hwc-retry engine: 2 not sent: engine e2, engine e3\n")


def test_verbose_tells_what_is_sent_again_and_when(cli: Cli, mock: Mock) -> None:
    mock.add_fault(status=429, retry_after=0, times=1)
    ran = cli("engine", "e1", "--verbose", *cli.sending)
    assert ran.code == 0
    assert re.search(r"engine e1: attempt 1: 429 APIGW\.0308: .*; resending in 0 ms\n", ran.err)
    assert json.loads(ran.out)[0]["attempts"] == 2


def test_a_service_that_cannot_be_reached_is_exit_code_1_with_what_to_look_at(cli: Cli) -> None:
    ran = cli("engine", "e1", "--endpoint", "http://127.0.0.1:9")
    assert ran.code == 1
    assert "  -> Check --region, --endpoint, the network" in ran.err


def test_a_table_on_a_terminal_shows_what_a_server_says_as_it_is(cli: Cli) -> None:
    cli.has_terminal()
    ran = cli("engine", "e1", "[red]x", *cli.sending)
    assert re.search(r"^ *accepted +[\d.]+ ms +engine e1: job 1 *$", ran.out, re.MULTILINE)
    assert re.search(r"^ *refused +[\d.]+ ms +engine \[red\]x: 400 SVCSTG\.00501116: ", ran.out, re.MULTILINE)
    assert "\x1b" not in ran.out + ran.err


def test_a_table_at_80_columns_breaks_no_word(cli: Cli) -> None:
    cli.has_terminal()
    cli.set(COLUMNS="80")
    id_ = "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
    assert cli("engine", id_, *cli.sending).out.split().count(f"{id_}:") == 1


def test_csv_has_a_header_and_a_line_for_each_outcome(cli: Cli) -> None:
    ran = cli("engine", "e1", "nowhere", "--output", "csv", *cli.sending)
    assert ran.out.startswith("verdict,operation,project_id,region,engine_id,")
    assert [line.split(",")[0] for line in ran.out.splitlines()[1:]] == ["accepted", "refused"]


def test_quiet_says_only_what_went_wrong(cli: Cli) -> None:
    assert cli("bulk", cli.file(engines("e1")), *cli.sending, "--quiet").err == ""
    said = cli("bulk", cli.file(engines("e1", "nowhere")), *cli.sending, "--quiet").err
    assert said.startswith("hwc-retry bulk: engine nowhere: not processed: 400 ")
    assert said.count("hwc-retry bulk: ") == 1


# --- What became of it ------------------------------------------------------------------------------------------------

FATES: dict[str, dict[str, Any]] = {  # what the job of each engine comes to once it is retried
    "ends": {"run_time": 0, "retries_end": ["Finished"]},
    "fails": {"run_time": 0, "retries_end": ["Error"], "reason": "No node."},
    "runs": {"run_time": 1000},
    "blinks": {"run_time": 1},
}
RECORDS: dict[str, dict[str, Any]] = {
    "r1": {"status": "FAILED", "run_time": 0, "retries_end": ["SUCCESS"], "reason": "No disk."},
    "r2": {"status": "FAILED", "run_time": 0, "retries_end": ["FAILED"], "reason": "No net."},
    "r3": {"status": "SUCCESS"},
    "r4": {"status": "RUNNING", "run_time": 1000},
}


@pytest.fixture
def fates(mock: Mock) -> Mock:
    jobs = {id_: [{"id": n, "status": "Error", **fate}] for n, (id_, fate) in enumerate(FATES.items())}
    project = {
        **STATE["projects"]["demo-project"],
        "engines": {id_: {"name": f"the {id_}", "jobs": each} for id_, each in jobs.items()},
        "script_tasks": {
            "t1": {"records": RECORDS},
            "t2": {"records": {"done": {"status": "SUCCESS"}}},
            "t3": {"records": {"r9": {**RECORDS["r1"]}}},
        },
    }
    mock.set_state(json.dumps({**STATE, "projects": {"demo-project": project}}))
    return mock


def ends(out: str) -> list[tuple[str, str | None, str | None]]:
    return [(each["verdict"], each["ended"], each["seen"]) for each in json.loads(out)]


@pytest.mark.usefixtures("fates")
@pytest.mark.parametrize(
    ("command", "code", "end"),
    [
        ("engine ends", 0, ("accepted", "succeeded", "job 0 is Finished")),
        ("engine fails", 4, ("accepted", "failed", "job 1 is Error: modify: No node.")),
        ("engine runs --wait-timeout 0", 5, ("accepted", "running", "job 2 is Executing")),
        ("engine nowhere", 1, ("refused", None, None)),
        ("script --record-id r1", 0, ("accepted", "succeeded", "record r1 is SUCCESS")),
        ("script --record-id r2", 4, ("accepted", "failed", "record r2 is FAILED: 1: No net.")),
        ("script --task-id t3", 0, ("accepted", "succeeded", "record r9 is SUCCESS")),
        (
            "script --task-id t1 --wait-timeout 0",
            5,
            ("accepted", "running", "records: 2 SUCCESS, 1 FAILED, 1 RUNNING"),
        ),
    ],
)
def test_waited_for_the_exit_code_says_whether_it_succeeded(
    cli: Cli, command: str, code: int, end: tuple[str, str, str]
) -> None:
    ran = cli(*command.split(), "--wait", *cli.sending)
    assert (ran.code, ends(ran.out)) == (code, [end])


@pytest.mark.usefixtures("fates")
@pytest.mark.parametrize(
    ("ids", "code"), [("ends", 0), ("ends runs", 5), ("ends runs fails", 4), ("ends runs fails nowhere", 1)]
)
def test_of_several_the_worst_is_the_exit_code(cli: Cli, ids: str, code: int) -> None:
    assert cli("engine", *ids.split(), "--wait", "--wait-timeout", "0", *cli.sending).code == code


@pytest.mark.usefixtures("fates")
def test_what_failed_again_is_said_with_its_reason_and_what_still_runs_with_how_to_look_again(
    cli: Cli,
) -> None:
    ran = cli("engine", "ends", "fails", "runs", "--wait", "--wait-timeout", "0", "--quiet", *cli.sending)
    assert [each["seen"] for each in json.loads(ran.out)] == [
        "job 0 is Finished",
        "job 1 is Error: modify: No node.",
        "job 2 is Executing",
    ]
    assert ran.err.splitlines() == [
        "hwc-retry engine: engine fails: ran and failed again: job 1 is Error: modify: No node.",
        "hwc-retry engine: 1 of 3 still running: the --wait-timeout of 0 s is over",
        "hwc-retry engine: to check again:",
        f"  hwc-retry status runs {shlex.join(cli.sending)}",
    ]


@pytest.mark.usefixtures("fates")
def test_the_command_to_look_again_has_the_options_that_were_given_and_works(cli: Cli) -> None:
    given = ("--project-id", "demo-project", "--region", "cn-north-4", *cli.sending)
    ran = cli("engine", "runs", "--wait", "--wait-timeout", "0", "--enterprise-project-id", "0 ;x", *given)
    command = ran.err.splitlines()[-1]
    assert command == f"  hwc-retry status runs {shlex.join(given)} --enterprise-project-id '0 ;x'"
    looked = cli(*shlex.split(command)[1:])
    assert (looked.code, json.loads(looked.out)[0]["job"]["state"]) == (0, "running")


@pytest.mark.usefixtures("fates")
@pytest.mark.parametrize(
    ("output", "shows"),
    [
        ("jsonl", r'"seen": "job 1 is Error: modify: No node.", "ended": "failed"}\n'),
        ("csv", r",seen,ended\nac.*,job 1 is Error: modify: No node\.,failed\n"),
        ("table", r"(?m)^ failed +engine fails: job 1 is Error: modify: No node\. *$"),
    ],
)
def test_each_output_has_what_became_of_it(cli: Cli, output: str, shows: str) -> None:
    ran = cli("engine", "fails", "--wait", "--output", output, *cli.sending)
    assert re.search(shows, ran.out), ran.out


@pytest.mark.usefixtures("fates")
def test_on_a_terminal_one_line_changes_and_then_a_table_says_succeeded(cli: Cli) -> None:
    code, seen = on_terminal(cli, "engine", "blinks", "--wait", *cli.sending)
    assert code == 0
    lines = seen.splitlines()  # at \r, too
    assert any(re.fullmatch(r"engine blinks: Executing, \d s", line) for line in lines)
    assert lines[-2].strip().split(maxsplit=1) == ["succeeded", "engine blinks: job 3 is Finished"]


@pytest.mark.usefixtures("fates")
def test_without_a_terminal_a_line_says_each_change_and_quiet_none(cli: Cli) -> None:
    said = cli("engine", "blinks", "--wait", *cli.sending).err
    assert re.search(r"^hwc-retry engine: engine blinks: Executing, \d s$", said, re.MULTILINE)
    assert cli("engine", "ends", "--wait", "--quiet", *cli.sending).err == ""


@pytest.mark.usefixtures("fates")
def test_interrupted_it_says_that_the_retry_goes_on_and_how_to_look_again(cli: Cli) -> None:
    with cli.started("engine", "runs", "ends", "--wait", *cli.sending) as process:
        read_until(process.stderr, "1 Executing")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert [end for _, end, _ in ends(out)] == ["running", "succeeded"]
    assert "hwc-retry engine: stopped waiting: the accepted work continues\n" in err
    assert err.endswith(
        f"hwc-retry engine: to check again:\n  hwc-retry status runs {shlex.join(cli.sending)}\n"
    )


@pytest.mark.parametrize(
    ("status", "says"), [(401, "five wrong signatures lock"), (403, "the action cse:engine:get")]
)
def test_a_read_that_is_refused_is_exit_code_5_and_does_not_hide_that_the_retry_was_accepted(
    cli: Cli, fates: Mock, status: int, says: str
) -> None:
    fates.add_fault(operation="ShowEngineJob", status=status)
    ran = cli("engine", "ends", "--wait", *cli.sending)
    ((verdict, ended, seen),) = ends(ran.out)
    assert (ran.code, verdict, ended) == (5, "accepted", "unknown")
    assert str(seen).startswith(f"the state cannot be read: {status} ")
    assert f"engine ends: accepted, but it cannot be followed: {status} " in ran.err
    assert re.search(f"\n  -> .*{says}", ran.err), ran.err


def test_after_a_read_with_401_no_other_is_tried(cli: Cli, fates: Mock) -> None:
    fates.add_fault(operation="ShowEngineJob", status=401)
    ran = cli("engine", "ends", "runs", "fails", "--wait", "--wait-timeout", "50", *cli.sending)
    assert ran.code == 5
    assert sum(entry["operation"] == "ShowEngineJob" for entry in fates.journal()) <= 3


def test_what_is_unknown_is_looked_at_and_what_turns_out_accepted_is_waited_for(
    cli: Cli, fates: Mock
) -> None:
    fates.add_fault(operation="RetryEngine", close="after", times=1)
    ran = cli("engine", "ends", "--wait", *cli.sending)
    assert (ran.code, ends(ran.out)) == (0, [("accepted", "succeeded", "job 0 is Finished")])
    assert re.search(r"engine ends: accepted: job 0 is Finished, ended 20.* the request was sent", ran.err), (
        ran.err
    )


def test_what_stays_unknown_is_exit_code_3_with_how_to_look_again(cli: Cli, fates: Mock) -> None:
    fates.add_fault(operation="RetryEngine", close="before", times=1)
    ran = cli("engine", "ends", "--wait", "--wait-timeout", "0.5", *cli.sending)
    assert (ran.code, ends(ran.out)) == (3, [("unknown", None, None)])
    assert "engine ends: still unknown when --wait-timeout ended: it may start later\n" in ran.err
    assert ran.err.endswith(f"  hwc-retry status ends {shlex.join(cli.sending)}\n")


@contextmanager
def engine_with_status(word: str) -> Generator[str, None, None]:
    """A service whose job has this status, since long ago; yields its URL."""
    engine = {"id": "e", "name": "e", "status": "Available", "latestJobId": 7, "jobId": 7}

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            job = {
                "id": 7,
                "engineId": "e",
                "status": word,
                "startTime": 1_600_000_000_000,
                "endTime": 1_600_000_001_000,
            }
            body = json.dumps(job if "/jobs/" in self.path else engine).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any, **__: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{service.server_port}"
        finally:
            service.shutdown()
            thread.join()


def test_a_status_that_nobody_knows_is_said_so_and_is_exit_code_5_at_the_timeout(idle: Cli) -> None:
    with engine_with_status("Pausing") as url:
        ran = idle("engine", "e", "--wait", "--wait-timeout", "0", "--endpoint", url)
        looked = idle("status", "e", "--endpoint", url)
    assert (ran.code, ends(ran.out)) == (5, [("accepted", "unknown", "job 7 is Pausing")])
    assert "engine e: job 7 is Pausing; this status is not documented: it may have ended" in ran.err
    assert (looked.code, json.loads(looked.out)[0]["job"]["state"]) == (0, "unknown")


def test_the_failure_before_is_not_taken_for_a_new_one_while_the_new_run_does_not_show(idle: Cli) -> None:
    with engine_with_status("Error") as url:
        ran = idle("engine", "e", "--wait", "--wait-timeout", "0", "--endpoint", url)
    seen = "job 7 is Error as before the retry: a new run does not show"
    assert (ran.code, ends(ran.out)) == (5, [("accepted", "running", seen)])


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_shows_engines_and_retries_none(cli: Cli, fates: Mock) -> None:
    cli("engine", "runs", *cli.sending)
    ran = cli("status", "runs", "fails", *cli.sending)
    runs, fails = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert [runs["name"], runs["status"], runs["can_retry"]] == ["the runs", "Modifying", False]
    assert [runs["job"][name] for name in ("id", "status", "state", "ended_at")] == [
        2,
        "Executing",
        "running",
        None,
    ]
    assert (fails["can_retry"], fails["job"]["reason"]) == (True, "modify: No node.")
    assert sent(fates) == ["runs"]


@pytest.mark.usefixtures("fates")
def test_status_shows_records_and_tasks(cli: Cli) -> None:
    ran = cli("status", "--record-id", "r1", "r3", *cli.sending)
    assert [(each["state"], each["can_retry"]) for each in json.loads(ran.out)] == [
        ("failed", True),
        ("succeeded", False),
    ]
    (task,) = json.loads(cli("status", "--task-id", "t1", *cli.sending).out)
    assert (task["state"], task["records"]) == ("running", {"FAILED": 2, "SUCCESS": 1, "RUNNING": 1})
    failed = [(each["record_id"], each["reason"]) for each in task["failed"]]
    assert failed == [("r1", "1: No disk."), ("r2", "1: No net.")]


@pytest.mark.usefixtures("fates")
@pytest.mark.parametrize(
    ("what", "shows"),
    [
        ("fails", r"^ failed +engine fails \(the fails\) is ModifyFailed; a retry would be accepted *$"),
        ("fails", r"^ +job 1 is Error, ended 20[\d-]+ [\d:]+Z: modify: No node\. *$"),
        ("--record-id r4", r"^ running +record r4 is RUNNING; a retry would be refused *$"),
        ("--task-id t1", r"^ +record r2 is FAILED, ended 20[\d-]+ [\d:]+Z: 1: No net\. *$"),
        ("--task-id none", r"^ unknown +task none: it has no records: check the ID *$"),
    ],
)
def test_status_as_a_table(cli: Cli, what: str, shows: str) -> None:
    ran = cli("status", *what.split(), "--output", "table", *cli.sending)
    assert (ran.code, ran.err) == (0, "")
    assert re.search(shows, ran.out, re.MULTILINE), ran.out


def test_status_is_exit_code_1_if_one_cannot_be_read(cli: Cli) -> None:
    ran = cli("status", "e1", "nowhere", *cli.sending)
    assert (ran.code, ["error" in each for each in json.loads(ran.out)]) == (1, [False, True])
    assert "hwc-retry status: engine nowhere cannot be read: 400 SVCSTG.00501116: " in ran.err
    assert "\n  -> There is no such engine there" in ran.err


def test_status_reads_nothing_more_after_a_401(cli: Cli, mock: Mock) -> None:
    cli.set(HW_AUTH_TOKEN="wrong")
    ran = cli("status", "e1", "e2", "e3", *cli.sending)
    assert (ran.code, len(mock.journal())) == (1, 1)
    assert json.loads(ran.out)[2] == {"engine_id": "e3", "error": "not read: authentication failed before"}


# --- The failed records of a task -------------------------------------------------------------------------------------


def test_the_failed_records_of_a_task_are_retried_each_by_itself(cli: Cli, fates: Mock) -> None:
    ran = cli("script", "--failed-of", "t1", "--wait", *cli.sending)
    assert (ran.code, [end for _, end, _ in ends(ran.out)]) == (4, ["succeeded", "failed"])
    retries = [entry["body"] for entry in fates.journal() if entry["operation"] == "RetryScriptExecution"]
    assert retries == [{"record_id": "r1"}, {"record_id": "r2"}]
    assert ran.err.splitlines()[:3] == [
        "hwc-retry script: task t1: 2 FAILED, 1 SUCCESS, 1 RUNNING",
        "hwc-retry script: record r1 is FAILED: 1: No disk.",
        "hwc-retry script: record r2 is FAILED: 1: No net.",
    ]


def test_a_dry_run_shows_the_failed_records_and_only_reads(cli: Cli, fates: Mock) -> None:
    ran = cli("script", "--failed-of", "t1", "--dry-run", *cli.sending)
    assert (ran.code, [each["body"] for each in json.loads(ran.out)]) == (
        0,
        ['{"record_id":"r1"}', '{"record_id":"r2"}'],
    )
    assert {entry["operation"] for entry in fates.journal()} == {"ListScriptRecords"}


@pytest.mark.usefixtures("fates")
@pytest.mark.parametrize("also", [[], ["--wait"], ["--dry-run"]])
def test_a_task_with_no_failed_record_has_nothing_to_retry(cli: Cli, also: list[str]) -> None:
    ran = cli("script", "--failed-of", "t2", *also, *cli.sending)
    said = "hwc-retry script: task t2: 1 SUCCESS; none has failed: nothing to retry\n"
    assert (ran.code, ran.out, ran.err) == (0, "[]\n", said)


def test_a_task_that_cannot_be_read_or_has_no_records_is_exit_code_1(cli: Cli, fates: Mock) -> None:
    ran = cli("script", "--failed-of", "nowhere", *cli.sending)
    assert (ran.code, ran.out) == (1, "")
    assert "task nowhere has no records: check the ID, --project-id and --region\n" in ran.err
    fates.add_fault(operation="ListScriptRecords", status=403)
    ran = cli("script", "--failed-of", "t1", *cli.sending)
    assert ran.code == 1
    assert "task t1 cannot be read: 403 " in ran.err


# --- Usage and configuration ------------------------------------------------------------------------------------------

PLACED = "engine e1 --region cn-north-4"
NO_PROXY = "HTTPS_PROXY is not the URL of a proxy"


@pytest.mark.parametrize(
    ("command", "changes", "says"),
    [
        ("engine", {}, "the following arguments are required: ENGINE_ID"),
        ("script", {}, "one of the arguments --record-id --task-id --failed-of is required"),
        (
            "script --record-id r --failed-of t",
            {},
            "argument --failed-of: not allowed with argument --record-id",
        ),
        ("engine e1 --region cn-north-4 --wait-timeout 5", {}, "--wait-timeout needs --wait"),
        ("status", {}, "give IDs of one kind: ENGINE_ID, --record-id or --task-id"),
        ("status e1 --task-id t1", {}, "give IDs of one kind: ENGINE_ID, --record-id or --task-id"),
        (
            "status --record-id .. --region cn-north-4",
            {},
            "record_id is '..', which cannot be a segment of the path",
        ),
        ("status e1", {}, "no region: give --region, or set HW_REGION_NAME or OS_REGION_NAME"),
        ("engine e1 --timeout 0", {}, "'0' is not a number from 0.001 to 3600"),
        (
            "engine e1",
            {"HW_PROJECT_ID": ""},
            "no project: give --project-id, or set HUAWEICLOUD_SDK_PROJECT_ID or",
        ),
        ("engine e1", {}, "no region: give --region, or set HW_REGION_NAME or OS_REGION_NAME"),
        ("engine e1 --region cn-nort-4", {}, "cse has no region 'cn-nort-4' (--region); did you mean"),
        (
            "engine e1 --endpoint http://a.test",
            {},
            "would show its secrets to anyone on the way: use https\n",
        ),
        ("engine .. --region cn-north-4", {}, "engine_id is '..', which cannot be a segment of the path"),
        (PLACED, {"HW_AUTH_TOKEN": ""}, "no credentials, neither in the environment"),
        ("engine e1 --token-file nowhere", {}, "--token-file: nowhere cannot be read: No such file"),
        (
            "engine e1 --token-file /dev/null",
            {},
            "--token-file: /dev/null: the token must be printable ASCII",
        ),
        ("engine - --token-file -", {}, "standard input cannot have both IDs and --token-file"),
        ("engine -", {}, "standard input has no ID"),
        ("engine e1 --quiet --verbose", {}, "argument --verbose: not allowed with argument --quiet"),
        ("engine e1 --profile p --token-file t", {}, "not allowed with argument --profile"),
        (
            "engine e1 --profile p",
            {},
            "credentials cannot be read: No such file or directory; profile 'p' is looked",
        ),
        ("engine e1 --output tabel", {}, "; did you mean table?"),
        ("engine e1 --regoin x", {}, "unrecognized arguments: --regoin x; did you mean --region?"),
        (
            "engine e1",
            {"HW_REGION_NAME": "cn-nort-4"},
            "cse has no region 'cn-nort-4' (HW_REGION_NAME); did you mean",
        ),
        ("bulk nowhere", {}, "nowhere cannot be read: No such file or directory"),
        (f"bulk {'n' * 300}", {}, "n cannot be read: File name too long"),
        pytest.param(
            "bulk /proc/self/mem --journal j",
            {},
            "/proc/self/mem cannot be read: Input/output error",
            marks=pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="this machine has no /proc"),
        ),
        ("bulk -", {}, "standard input has no place for a journal: give --journal FILE"),
        ("bulk - --token-file -", {}, "standard input cannot be both FILE and --token-file"),
        ("bulk x --concurrency 101", {}, "'101' is not an integer from 1 to 100"),
        (
            PLACED,
            {"HTTPS_PROXY": "foo://mock-password@x"},
            f"{NO_PROXY}, such as http://proxy.example.com:3128",
        ),
        (PLACED, {"HTTPS_PROXY": "::bad"}, NO_PROXY),
        (PLACED, {"HTTPS_PROXY": "http://u:mock-password/@x"}, NO_PROXY),
        (PLACED, {"HTTPS_PROXY": "socks5://127.0.0.1:9"}, "needs socksio: pip install 'httpx[socks]', "),
    ],
)
def test_what_cannot_be_done_is_exit_code_2_and_one_line(
    idle: Cli, command: str, changes: dict[str, str], says: str
) -> None:
    idle.set(**changes)
    ran = idle(*command.split())
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert ran.err.splitlines()[-1].startswith(f"hwc-retry {command.split(maxsplit=1)[0]}: ")


def test_a_command_that_there_is_not_gets_a_suggestion_and_none_gets_help(idle: Cli) -> None:
    ran = idle("engin", "e1")
    assert (ran.code, ran.err.splitlines()[-1].endswith("; did you mean engine?")) == (2, True)
    ran = idle()
    assert (ran.code, ran.err) == (0, "")
    assert "COMMAND" in ran.out


def test_the_version_is_told_shortly_too(idle: Cli) -> None:
    assert idle("-V").out == idle("--version").out != ""


def test_a_region_of_a_row_is_called_that(idle: Cli) -> None:
    file = idle.file([{**engines("e1")[0], "region": "cn-nort-4"}])
    ran = idle("bulk", file, "--region", "cn-north-4")
    assert (ran.code, idle.files()) == (2, [file])
    assert "cse has no region 'cn-nort-4' (of engine e1); did you mean 'cn-north-4'?" in ran.err


def test_tls_settings_that_cannot_be_used_are_exit_code_2(idle: Cli) -> None:
    idle.set(SSL_CERT_FILE="/nowhere")
    with idle.started(*PLACED.split()) as process:  # they are read once in the life of a process
        _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 2
    assert "cannot be used: No such file or directory; check SSL_CERT_FILE\n" in said


def test_a_configuration_that_will_not_do_leaves_no_journal(idle: Cli) -> None:
    # It would hold the items with no region, and refuse them with one.
    file = idle.file(engines("e1"))
    assert idle("bulk", file).code == 2
    idle.set(HTTPS_PROXY="::bad")
    assert idle("bulk", file, "--region", "cn-north-4").code == 2
    assert idle.files() == [file]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(("name", "stdin"), [("token", ""), ("-", "mock-token\n")])
def test_a_token_comes_from_a_file_or_from_stdin(cli: Cli, name: str, stdin: str, encoding: str) -> None:
    cli.unset("HW_AUTH_TOKEN")
    (cli.folder / "token").write_text("mock-token\n", encoding=encoding)
    assert cli("engine", "e1", "--token-file", name, *cli.sending, stdin=stdin).code == 0


def test_the_project_comes_from_the_profile_file_too(cli: Cli) -> None:
    cli.unset("HW_PROJECT_ID", "HW_AUTH_TOKEN")
    profile = cli.folder / ".huaweicloud" / "credentials"
    profile.parent.mkdir()
    keys = "ak = mock-ak\nsk = mock-sk\nsecurity_token = mock-security-token\n"
    profile.write_text(f"[basic]\n{keys}project_id = demo-project\n", encoding="utf-8")
    profile.chmod(0o644)
    ran = cli("engine", "e1", *cli.sending)
    assert ran.code == 0
    assert ran.err == f"hwc-retry engine: others can read or change your credentials: chmod 600 {profile}\n"


def test_a_profile_is_a_section_of_the_file_and_comes_before_the_environment(cli: Cli, mock: Mock) -> None:
    cli.set(HW_AUTH_TOKEN="wrong", HW_PROJECT_ID="wrong")
    profile = cli.folder / ".huaweicloud" / "credentials"
    profile.parent.mkdir()
    keys = "ak = mock-ak\nsk = mock-sk\nsecurity_token = mock-security-token\n"
    profile.write_text(
        f"[basic]\nak = x\nsk = y\n[test]\n{keys}project_id = demo-project\n[empty]\n", encoding="utf-8"
    )
    profile.chmod(0o600)
    assert cli("engine", "e1", "--profile", "test", *cli.sending).code == 0
    assert cli("bulk", cli.file(engines("e2")), "--profile", "test", *cli.sending).code == 0
    for name, says in (
        ("tset", "has no profile 'tset'; there are: basic, test, empty"),
        ("empty", "it needs ak and sk"),
    ):
        ran = cli("engine", "e1", "--profile", name, *cli.sending)
        assert (ran.code, says in ran.err) == (2, True)
    assert sent(mock) == ["e1", "e2"]


@pytest.mark.parametrize("arguments", [("--debug", "engine", "e1"), ("engine", "e1", "--debug")])
def test_debug_leaves_an_error_to_python_and_its_traceback(idle: Cli, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="no region"):
        idle(*arguments)


# --- Dry runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credentials", [TOKEN, KEYS], ids=["token", "keys"])
def test_a_dry_run_shows_what_is_sent_then_and_sends_nothing(
    cli: Cli, mock: Mock, credentials: dict[str, str]
) -> None:
    cli.unset("HW_AUTH_TOKEN")
    cli.set(**credentials)
    given = ["engine", "e1", "--enterprise-project-id", "7", *cli.sending]
    ran = cli(*given, "--dry-run")
    assert (ran.code, mock.journal()) == (0, [])
    (shown,) = json.loads(ran.out)
    cli(*given)
    came = mock.journal()[-1]
    for headers in (shown["headers"], came["headers"]):
        headers.pop("x-sdk-date", None)
        if "authorization" in headers:
            assert "***" in headers.pop("authorization")
    assert shown["headers"] == came["headers"]
    assert came["headers"]["x-enterprise-project-id"] == "7"
    assert (shown["method"], shown["url"]) == (came["method"], mock.url + came["path"])
    assert json.loads(shown["body"]) == came["body"]


def test_a_dry_run_asks_iam_for_no_token_but_shows_that_it_would(cli: Cli, mock: Mock) -> None:
    cli.unset("HW_AUTH_TOKEN")
    cli.set(**PASSWORD, HUAWEICLOUD_SDK_IAM_ENDPOINT=mock.url)
    iam, retry = json.loads(cli("script", "--task-id", TASK, *cli.sending, "--dry-run").out)
    assert (iam["method"], iam["url"], iam["body"]) == (
        "POST",
        f"{mock.url}/v3/auth/tokens?nocatalog=true",
        "***",
    )
    assert retry["headers"]["x-auth-token"] == "***"
    assert json.loads(retry["body"]) == {"task_id": TASK}
    assert mock.journal() == []


def test_a_dry_run_on_a_terminal_reads_like_http(cli: Cli, mock: Mock) -> None:
    cli.has_terminal()
    ran = cli("engine", "e1", *cli.sending, "--dry-run")
    assert ran.code == 0
    assert ran.out.startswith(f"PUT {mock.url}/v2/demo-project/enginemgr/engines/e1/actions\n")
    assert "X-Auth-Token: ***\n" in ran.out
    assert ran.out.endswith('\n\n{"action":"Retry"}\n')


def test_a_dry_run_of_many_checks_the_input_and_shows_the_plan(cli: Cli, mock: Mock) -> None:
    script = {"operation": "RetryScriptExecution", "task_id": TASK, "region": "x"}
    file = cli.file([*engines("e1", "e2", "e1"), script])
    ran = cli("bulk", file, *cli.sending, "--dry-run")
    assert ran.code == 0
    assert ran.err.splitlines() == [
        "hwc-retry bulk: 3 retries; 1 duplicate sent once",
        f"hwc-retry bulk: RetryEngine at {mock.url}: 3",
        "hwc-retry bulk: RetryScriptExecution in x: 1",
        "hwc-retry bulk: 3 would be sent; the first request of the input:",
    ]
    assert json.loads(ran.out)[0]["url"].endswith("/engines/e1/actions")
    assert (mock.journal(), cli.files()) == ([], [file])


def test_a_dry_run_with_a_journal_tells_what_is_left(cli: Cli) -> None:
    file = cli.file(engines("e1", "nowhere"))
    cli("bulk", file, *cli.sending)
    assert "\nhwc-retry bulk: 0 would be sent;" in cli("bulk", file, *cli.sending, "--dry-run").err
    told = "; journal input.jsonl.journal\nhwc-retry bulk: earlier runs: accepted 1, refused 1, unknown 0\n"
    assert told in cli("bulk", file, *cli.sending, "--dry-run", "--retry-refused").err


def test_a_dry_run_leaves_a_journal_without_a_plan_alone(cli: Cli) -> None:
    journal = cli.folder / "j"
    for name in ("j", "j.lock"):  # as a run leaves them that is killed when it begins
        (cli.folder / name).touch()
    assert (
        "1 would be sent"
        in cli("bulk", cli.file(engines("e1")), "--journal", "j", *cli.sending, "--dry-run").err
    )
    assert journal.read_bytes() == b""
    assert cli("bulk", cli.file(engines("e2")), "--journal", "j", *cli.sending).code == 0


# --- bulk -------------------------------------------------------------------------------------------------------------


def test_many_are_sent_once_each_and_outcomes_are_json_lines(cli: Cli, mock: Mock) -> None:
    ran = cli("bulk", cli.file(engines(*IDS, "e1")), *cli.sending, "--rate", "0")
    assert ran.code == 0
    assert sorted(sent(mock)) == sorted(IDS)
    assert sorted(json.loads(line)["engine_id"] for line in ran.out.splitlines()) == sorted(IDS)
    assert ran.err.splitlines() == [
        "hwc-retry bulk: 40 retries; 1 duplicate sent once; journal input.jsonl.journal",
        "hwc-retry bulk: 40 retries: accepted 40, refused 0, unknown 0",
    ]


def test_the_same_command_again_sends_nothing_again_and_its_exit_code_is_of_the_whole_journal(
    cli: Cli, mock: Mock
) -> None:
    file = cli.file(engines("e1", "nowhere"))
    assert cli("bulk", file, *cli.sending).code == 1
    again = cli("bulk", file, *cli.sending)
    assert (again.code, again.out) == (1, "")
    assert "earlier runs: accepted 1, refused 1, unknown 0\n" in again.err
    assert sent(mock) == ["e1", "nowhere"]


def test_wrong_credentials_once_corrected_the_same_command_sends_all(cli: Cli, mock: Mock) -> None:
    file = cli.file(engines("e1", "e2"))
    cli.set(HW_AUTH_TOKEN="wrong")
    first = cli("bulk", file, *cli.sending)
    assert first.code == 1
    assert "hwc-retry bulk: stopped: authentication failed: see above\n" in first.err
    assert "2 retries: accepted 0, refused 0, unknown 0, not sent 2\n" in first.err
    cli.set(**TOKEN)
    assert cli("bulk", file, *cli.sending).code == 0
    assert sent(mock) == ["e1", "e1", "e2"]


def test_all_accepted_before_is_said_in_one_line_with_the_date_and_what_to_do(cli: Cli, mock: Mock) -> None:
    file = cli.file(engines("e1", "e2"))
    cli("bulk", file, *cli.sending)
    again = cli("bulk", file, *cli.sending)
    assert (again.code, again.out, len(sent(mock))) == (0, "", 2)
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"
    said = rf"nothing to send: all 2 were accepted, the last on {when}; to resend them, give another journal: (.*)\n"
    found = re.search(said, again.err)
    assert found
    assert cli("bulk", file, *cli.sending, *shlex.split(found[1])).code == 1  # their jobs run already
    assert len(sent(mock)) == 4


def test_an_input_may_gain_and_lose_rows(cli: Cli, mock: Mock) -> None:
    cli("bulk", cli.file(engines("e1", "typo")), *cli.sending)
    ran = cli("bulk", cli.file(engines("e2", "e1")), *cli.sending)
    assert ran.code == 0
    assert ran.err.splitlines()[1:3] == [
        "hwc-retry bulk: no longer in the input, unchanged in the journal: engine typo (refused)",
        "hwc-retry bulk: earlier runs: accepted 1, refused 0, unknown 0; new in the input 1",
    ]
    assert sent(mock) == ["e1", "typo", "e2"]


def test_a_journal_of_another_endpoint_is_refused_with_what_to_do(cli: Cli, mock: Mock) -> None:
    file = cli.file(engines("e1"))
    cli("bulk", file, *cli.sending)
    for flags in ([], ["--dry-run"]):
        ran = cli("bulk", file, "--endpoint", "http://localhost:1", *flags)
        assert ran.code == 2
        assert (
            f"input.jsonl.journal was sent to {mock.url} (cse), but this run sends to http://localhost:1"
            in ran.err
        )
        assert "give --region and --endpoint as before, or another --journal\n" in ran.err


def test_a_journal_that_is_removed_while_it_is_in_use_is_not_recommended(cli: Cli, mock: Mock) -> None:
    slowly = ("--rate", "1", "--concurrency", "1")
    with cli.started("bulk", cli.file(engines("e1", "e2", "e3", "e4")), *cli.sending, *slowly) as process:
        assert process.stdout
        process.stdout.readline()
        (cli.folder / "input.jsonl.journal").unlink()
        err = process.communicate(timeout=60)[1]
    assert process.returncode in {1, 3}  # 3 if a request was in flight then
    assert "put the journal back before the next run, or accepted items are sent again" in err
    assert "to send the rest" not in err
    assert len(sent(mock)) < 4


def test_a_damaged_journal_sends_nothing_and_the_report_names_the_rows(cli: Cli, mock: Mock) -> None:
    file = cli.file(engines("e1", "nowhere"))
    cli("bulk", file, *cli.sending)
    journal = cli.folder / f"{file}.journal"
    journal.write_bytes(journal.read_bytes().replace(b"refused", b"planned"))
    for command in (["bulk", file, *cli.sending], ["report", journal.name, "--output", "csv"]):
        ran = cli(*command)
        assert (ran.code, ran.out) == (2, "")
        assert "is damaged: rows that do not match their checksums: 2. Nothing was sent" in ran.err
    assert len(sent(mock)) == 2


def test_what_was_refused_comes_back_from_the_report_as_an_input(cli: Cli, mock: Mock) -> None:
    cli("bulk", cli.file(engines("e1", "nowhere")), *cli.sending)
    ran = cli("report", "input.jsonl.journal", "--output", "csv", "--only", "refused,unknown")
    (cli.folder / "again.csv").write_text(ran.out, encoding="utf-8")
    assert cli("bulk", "again.csv", *cli.sending).code == 1
    assert sent(mock) == ["e1", "nowhere", "nowhere"]


def test_what_was_refused_and_what_is_unknown_is_sent_again_if_asked(cli: Cli, mock: Mock) -> None:
    file = cli.file(engines("e1", "e2"))
    mock.add_fault(status=403, times=1)
    mock.add_fault(close="before", times=1)
    first = cli("bulk", file, *cli.sending)
    assert first.code == 3
    assert "to resend the refused items, add --retry-refused\n" in first.err
    assert (
        f"to find out whether the unknown items were processed: hwc-retry resolve {file}.journal\n"
        in first.err
    )
    assert "to resend the unknown items, which may run them twice, add --resend-unknown\n" in first.err
    assert cli("bulk", file, *cli.sending, "--retry-refused").code == 3
    assert cli("bulk", file, *cli.sending, "--resend-unknown").code == 0


BOM = b"\xef\xbb\xbf"
CSV = b"operation,engine_id\r\nRetryEngine,e1\r\n\r\nRetryEngine,e2\r\n"
JSON_LINES = "\n".join(map(json.dumps, engines("e1", "e2")))


@pytest.mark.parametrize(
    ("name", "content"),
    [("input.csv", CSV), ("input", BOM + CSV), ("input", BOM + JSON_LINES.encode())],
    ids=["by name", "CSV by its look", "JSON lines by their look"],
)
def test_csv_and_json_lines_are_known_by_name_or_look(
    cli: Cli, mock: Mock, name: str, content: bytes
) -> None:
    (cli.folder / name).write_bytes(content)
    assert cli("bulk", name, *cli.sending).code == 0
    assert sent(mock) == ["e1", "e2"]


def test_standard_input_is_taken_with_a_journal(cli: Cli, mock: Mock) -> None:
    assert cli("bulk", "-", "--journal", "j", *cli.sending, stdin=JSON_LINES).code == 0
    assert sent(mock) == ["e1", "e2"]
    assert cli.files() == ["j"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        # The name says what is in it, whatever it begins with.
        ("input.csv", "{x", "input.csv:1: the first line must name the columns"),
        ("input.jsonl", "x", "input.jsonl:1: is not JSON"),
        ("in", "\n", "the input is empty"),
        (
            "in",
            JSON_LINES,
            "in:1: project_id missing: name it, or give --project-id for all; and 1 more line: 2\n",
        ),
    ],
)
def test_an_input_that_will_not_do_is_told_why(idle: Cli, name: str, content: str, says: str) -> None:
    idle.unset("HW_PROJECT_ID")
    (idle.folder / name).write_text(content, encoding="utf-8")
    ran = idle("bulk", name)
    assert ran.code == 2
    assert says in ran.err


def test_each_bad_line_is_reported_and_nothing_is_sent_or_left(cli: Cli, mock: Mock) -> None:
    good, bad = map(json.dumps, engines("e1", ".."))
    lines = [good, '{"operation": "Retry"}', "{", "", bad, "x" * 3_000_000, "{}", ""]
    (cli.folder / "in").write_text("\n".join(lines), encoding="utf-8")
    ran = cli("bulk", "in", *cli.sending)
    assert (ran.code, ran.out) == (2, "")
    *told, last = ran.err.splitlines()
    assert [line.split(" ")[0] for line in told] == ["in:2:", "in:3:", "in:5:", "in:6:", "in:7:"]
    assert last == "hwc-retry bulk: 5 of 6 lines are invalid; nothing was sent"
    assert (mock.journal(), cli.files()) == ([], ["in"])


def test_a_bar_and_then_the_reasons_on_a_terminal(cli: Cli) -> None:
    code, seen = on_terminal(cli, "bulk", cli.file(engines("e1", "no1", "no2")), *cli.sending)
    assert code == 1
    assert "0/?" in seen  # of the bar: its first look; it is gone at the end
    assert re.search(r"^ *refused +2 +engine no[12]: 400 SVCSTG\.00501116: ", seen, re.MULTILINE)
    assert "hwc-retry bulk: 3 retries: accepted 1, refused 2, unknown 0\n" in seen


def on_terminal(cli: Cli, *arguments: str) -> tuple[int, str]:
    """Run with a terminal for stdout and stderr; returns the exit code and the text on it, without its colours."""
    master, slave = pty.openpty()
    with cli.started(*arguments, stdout=slave, stderr=slave) as process:
        os.close(slave)
        seen = b""
        with suppress(OSError):  # Linux says so when the other side is closed
            while part := os.read(master, 1 << 16):
                seen += part
        os.close(master)
        code = process.wait(LIMIT)
    return code, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode()).replace("\r\n", "\n")


def test_killed_at_any_moment_it_goes_on_and_repeats_nothing(cli: Cli, mock: Mock) -> None:
    # A record that can be retried any number of times: if one is sent twice, it is accepted twice.
    ids = [f"r{n}" for n in range(120)]
    records = {id_: {"status": "FAILED", "retries_end": ["FAILED"]} for id_ in ids}
    mock.set_state(json.dumps({"projects": {"demo-project": {"script_tasks": {"t": {"records": records}}}}}))
    file = cli.file(
        [{"operation": "RetryScriptExecution", "record_id": id_} for id_ in (*ids, "nowhere", "r0")]
    )
    given = ["bulk", file, *cli.sending, "--rate", "0", "--concurrency", "8"]
    printed: list[dict[str, Any]] = []
    for lines in (1, 9, 20):
        mock.clear_faults()
        mock.add_fault(delay=0, times=lines)
        mock.add_fault(close="after", times=1)
        mock.add_fault(status=502, acted=True, times=1)
        mock.add_fault(status=400, times=1)
        mock.add_fault(delay=3000)  # so that it does not come to its end before it is killed
        with cli.started(*given) as process:
            assert process.stdout
            printed += [json.loads(process.stdout.readline()) for _ in range(lines)]
            process.kill()
    mock.clear_faults()
    assert cli(*given).code == 3

    acted = Counter(entry["body"]["record_id"] for entry in mock.journal() if entry["acted"])
    told = map(json.loads, cli("report", f"{file}.journal", "--output", "jsonl").out.splitlines())
    known = {each["record_id"]: each["verdict"] for each in told}
    assert known.keys() == {*ids, "nowhere"}
    assert set(known.values()) == {"accepted", "refused", "unknown"}
    assert set(acted.values()) == {1}
    assert {id_ for id_, verdict in known.items() if verdict == "accepted"} <= acted.keys()
    assert not {id_ for id_, verdict in known.items() if verdict == "refused"} & acted.keys()
    assert all(known[each["record_id"]] == each["verdict"] for each in printed)
    assert len({each["record_id"] for each in printed}) == len(printed) == 30


# --- Stopped ----------------------------------------------------------------------------------------------------------


class Holding(ThreadingHTTPServer):
    """A service that answers only when it is told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HoldingHandler)
        self.requests: SimpleQueue[str] = SimpleQueue()
        self.answer = threading.Event()

    def asked(self, requests: int = 1) -> None:
        """Wait until so many have come."""
        for _ in range(requests):
            self.requests.get(timeout=LIMIT)


class HoldingHandler(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        assert isinstance(self.server, Holding)
        self.server.requests.put(self.path)
        if not self.server.answer.wait(LIMIT):
            return
        body = b'{"id": "e", "name": "n", "jobId": 1}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):  # who asked may be gone
            self.wfile.write(body)

    def log_message(self, *_: Any, **__: Any) -> None:
        pass


@pytest.fixture
def holding() -> Iterator[Holding]:
    with Holding() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.answer.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def held(idle: Cli, holding: Holding) -> Cli:
    """The command, to send to a service that does not answer yet."""
    idle.sending = ("--endpoint", f"http://127.0.0.1:{holding.server_port}")
    return idle


def read_until(stream: Any, what: str) -> str:
    """Read lines until one matches."""
    seen = ""
    while not re.search(what, seen):
        line = stream.readline()
        assert line, seen
        seen += line
    return seen


@pytest.mark.parametrize("by", SIGNALS)
def test_interrupted_once_it_waits_for_those_under_way_and_sends_nothing_more(
    held: Cli, holding: Holding, by: signal.Signals
) -> None:
    file = held.file(engines("e1", "e2", "e3"))
    with held.started("bulk", file, *held.sending) as process:
        holding.asked()
        process.send_signal(by)
        read_until(
            process.stderr, "interrupted: nothing more is sent; waiting for requests in flight, 60 s at most"
        )
        holding.answer.set()
        out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert [json.loads(line)["verdict"] for line in out.splitlines()] == ["accepted"]
    assert "3 retries: accepted 1, refused 0, unknown 0, not sent 2\n" in err
    assert held("bulk", file, *held.sending).code == 0


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("engine", "1 not sent: engine e2\n"),
        ("bulk", "2 retries: accepted 0, refused 0, unknown 1, not sent 1\n"),
    ],
)
def test_interrupted_twice_it_ends_at_once_and_says_what_is_unknown(
    held: Cli, holding: Holding, command: str, says: str
) -> None:
    what = [held.file(engines("e1", "e2"))] if command == "bulk" else ["e1", "e2"]
    with held.started(command, *what, "--output", "jsonl", *held.sending) as process:
        holding.asked()
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "interrupted")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert [json.loads(line)["verdict"] for line in out.splitlines()] == ["unknown"]
    assert f"hwc-retry {command}: {says}" in err


def test_nohup_lets_it_go_on_when_the_terminal_closes(held: Cli, holding: Holding) -> None:
    ignoring = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    with held.started("bulk", held.file(engines("e1")), *held.sending, preexec_fn=ignoring) as process:
        holding.asked()
        process.send_signal(signal.SIGHUP)
        holding.answer.set()
        assert process.wait(LIMIT) == 0


def test_interrupted_while_bad_lines_are_read(idle: Cli) -> None:
    (idle.folder / "in").write_text("engine_id,Name\n" + "..,\n" * 500_000, encoding="utf-8")
    with idle.started("bulk", "in") as process:
        read_until(process.stderr, "in:1: ignored columns: 'Name'")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "in:2:" not in said


@pytest.mark.parametrize("by", SIGNALS)
def test_interrupted_while_it_waits_for_its_input(idle: Cli, by: signal.Signals) -> None:
    with idle.started("bulk", "-", "--journal", "j", stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(" " * (1 << 20))  # more than a pipe holds, so that it has begun to read
        process.stdin.flush()
        process.send_signal(by)
        assert process.wait(LIMIT) == 130
        assert process.stderr
        assert process.stderr.read() == "hwc-retry: interrupted\n"
    assert idle.files() == []


def test_a_second_process_on_a_journal_is_refused(held: Cli, holding: Holding) -> None:
    file = held.file(engines("e1"))
    with held.started("bulk", file, *held.sending) as process:
        holding.asked()
        ran = held("bulk", file, *held.sending)
        holding.answer.set()
        assert process.wait(LIMIT) == 0
    assert ran.code == 2
    assert "input.jsonl.journal is in use by another run or report" in ran.err


def test_where_there_is_no_terminal_a_line_every_few_seconds_tells_counts_and_speed(
    cli: Cli, mock: Mock
) -> None:
    mock.add_fault(delay=0, times=39)
    mock.add_fault(delay=3000)
    with cli.started("bulk", cli.file(engines(*IDS)), *cli.sending) as process:
        # All of them were there before the first of these lines: it knows the speed nevertheless.
        read_until(
            process.stderr, r"hwc-retry bulk: accepted 39, refused 0, unknown 0; [1-9]\d*/s; \d+ m?s left\n"
        )


@pytest.mark.parametrize("command", ["engine", "bulk"])
def test_when_nobody_reads_any_more_it_ends_quietly_and_loses_nothing(
    cli: Cli, mock: Mock, command: str
) -> None:
    what = IDS if command == "engine" else [cli.file(engines(*IDS))]
    with (
        read_by_nobody() as writing,
        cli.started(command, *what, "--output", "jsonl", *cli.sending, stdout=writing) as process,
    ):
        assert process.wait(LIMIT) == 130
        assert process.stderr
        said = process.stderr.read()
    assert "Error" not in said
    assert "Broken" not in said
    assert len(sent(mock)) < 40
    if command == "bulk":
        assert cli(command, *what, *cli.sending).code == 0
        assert sorted(sent(mock)) == sorted(IDS)


@contextmanager
def read_by_nobody() -> Generator[int, None, None]:
    """A pipe whose other end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


def test_it_ends_too_when_nobody_reads_its_messages_or_its_help(cli: Cli) -> None:
    with read_by_nobody() as writing:
        file = cli.file(engines("e1", "e2"))
        with cli.started("bulk", file, *cli.sending, stderr=writing) as process:
            assert process.wait(LIMIT) == 130
        with cli.started("--help", stdout=writing) as process:
            assert process.wait(LIMIT) == 130
            assert process.stderr
            assert process.stderr.read() == ""


def test_of_all_that_cannot_be_printed_the_first_is_reported_alone() -> None:
    reported: list[object] = []
    failed: list[bool] = []

    def fail() -> None:
        failed.append(True)
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        screen = Screen("hwc-retry")
        screen.do(fail)
        screen.do(fail)
        while len(failed) < 2:  # noqa: ASYNC110 - nobody else tells
            await asyncio.sleep(0)
        with pytest.raises(OutputError, match="No space left"):
            await screen.close()

    asyncio.run(main())
    gc.collect()
    assert reported == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this machine has no /dev/full")
@pytest.mark.parametrize("command", ["engine e1 --output jsonl", "completion bash"])
def test_an_output_that_cannot_be_written_is_said_so(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    sending = cli.sending if command.startswith("engine") else ()
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        ran = cli(*command.split(), *sending)
    assert (ran.code, ran.out) == (130, "")
    assert ran.err.endswith("standard output cannot be written: No space left on device\n")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("closed", "command", "code", "says", "sends"),
    [
        (">&-", "engine e1", 2, "hwc-retry: standard output is closed: give it a file, or /dev/null\n", 0),
        ("<&-", "bulk - --journal j", 2, "hwc-retry bulk: the input is empty: no line with a retry\n", 0),
        ("2>&-", "engine e1 nowhere", 1, "", 2),
    ],
)
def test_standard_streams_may_be_closed(
    cli: Cli, mock: Mock, closed: str, command: str, code: int, says: str, sends: int
) -> None:
    line = f"{shlex.join([*COMMAND, *command.split(), *cli.sending])} {closed}"
    ran = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (code, says)
    assert len(json.loads(ran.stdout or "[]")) == len(mock.journal()) == sends


Unread = tuple[subprocess.Popen[str], int]


@pytest.fixture
def unread(held: Cli, holding: Holding) -> Iterator[Unread]:
    """A process that has sent all, and has more to print than its pipe takes; and the other end of that."""
    holding.answer.set()
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)  # of 13,000 bytes that are to be written
    with held.started(
        "bulk", held.file(engines(*IDS)), "--output", "jsonl", *held.sending, stdout=writing
    ) as process:
        os.close(writing)
        holding.asked(len(IDS))
        yield process, reading


def test_who_does_not_read_on_holds_up_no_request(unread: Unread) -> None:
    process, reading = unread
    with os.fdopen(reading, encoding="utf-8") as stdout:
        assert [json.loads(line)["verdict"] for line in stdout] == ["accepted"] * 40
    assert process.wait(LIMIT) == 0


@pytest.mark.parametrize("times", [2, 3])
def test_interrupted_while_nobody_reads_on_it_says_so_and_ends_at_the_second_or_third_time(
    unread: Unread, times: int
) -> None:
    process, reading = unread
    process.send_signal(signal.SIGINT)
    read_until(process.stderr, "interrupted: nothing more is sent")
    for _ in range(times - 1):
        process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130
    os.close(reading)


def test_output_that_stdout_cannot_hold_is_escaped(cli: Cli) -> None:
    (cli.folder / "in.csv").write_text("operation,engine_id\nRetryEngine,\u5f15\u64ce\n", encoding="utf-8")
    cli.set(PYTHONIOENCODING="ascii")
    for output in ("jsonl", "csv", "table"):
        given = ("bulk", "in.csv", "--output", output, "--journal", output)
        with cli.started(*given, *cli.sending) as process:
            out, err = process.communicate(timeout=LIMIT)
        assert (process.returncode, "Traceback" in err) == (1, False)
        assert "\\u5f15\\u64ce" in out


def test_interrupted_while_it_starts_it_says_so_in_one_line(idle: Cli) -> None:
    # A module that it imports is slow to load: at that moment comes Ctrl-C.
    (idle.folder / "shtab.py").touch()
    slow = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    (idle.folder / "difflib.py").write_text(slow, encoding="utf-8")
    with idle.started("--help") as process:
        assert process.communicate(timeout=LIMIT) == ("", "hwc-retry: interrupted\n")
    assert process.returncode == 130


# --- Completion -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("bash") is None, reason="this machine has no bash")
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("hwc-retry en", ["engine"]),
        ("hwc-retry bulk --re", ["--retry-refused", "--resend-unknown", "--resolve", "--region"]),
        ("hwc-retry engine --output js", ["json", "jsonl"]),
        ("hwc-retry engine --output c", ["csv"]),
        ("hwc-retry sta", ["status"]),
        ("hwc-retry status --t", ["--task-id", "--token-file", "--timeout"]),
        ("hwc-retry script --fa", ["--failed-of"]),
        ("hwc-retry engine --wa", ["--wait", "--wait-timeout"]),
        ("hwc-retry engine --region eu-west-", ["eu-west-101"]),
        ("hwc-retry bulk --journal inp", ["input.jsonl"]),
    ],
)
def test_bash_completes_commands_options_choices_and_files(
    idle: Cli, line: str, completed: list[str]
) -> None:
    idle.file([])
    (idle.folder / "script").write_text(idle("completion", "bash").out, encoding="utf-8")
    words = f"COMP_WORDS=({line}); COMP_CWORD={line.count(' ')}; COMP_LINE={line!r}; COMP_POINT={len(line)}"
    ask = f'source ./script; {words}; _shtab_hwc_retry; printf "%s\\n" "${{COMPREPLY[@]}}"'
    ran = subprocess.run(["bash", "-c", ask], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == completed


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_there_is_completion_for_other_shells(idle: Cli, shell: str) -> None:
    ran = idle("completion", shell)
    assert ran.code == 0
    assert "retry-refused" in ran.out
