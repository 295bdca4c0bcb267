"""`hwc-retry` as a process: signals, pipes, terminals, a journal that is lost or in use, and kills."""

import asyncio
import errno
import fcntl
import gc
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from huaweicloud_retry.commands.exits import OutputError
from huaweicloud_retry.commands.screen import Screen
from huaweicloud_retry.testing import Mock
from tests.e2e.cli import COMMAND, IDS, LIMIT, Cli, on_terminal, read_until, sent


class Holding(ThreadingHTTPServer):
    """A service that responds when the test lets it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HoldingHandler)
        self.requests: SimpleQueue[str] = SimpleQueue()
        self.may_respond = threading.Event()

    def wait_for(self, requests: int = 1) -> None:
        for _ in range(requests):
            self.requests.get(timeout=LIMIT)


class HoldingHandler(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        assert isinstance(self.server, Holding)
        self.server.requests.put(self.path)
        self.server.may_respond.wait(LIMIT)
        body = b'{"id": "e", "name": "n", "jobId": 1}'
        with suppress(OSError):  # the client may be gone
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: Any, **__: Any) -> None:
        pass


@pytest.fixture
def holding(idle: Cli) -> Iterator[Holding]:
    """A service that does not respond yet, to which the command sends."""
    with Holding() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        idle.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.may_respond.set()
        server.shutdown()
        thread.join()


# --- Signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP])
def test_at_the_first_signal_it_waits_for_requests_in_flight_and_sends_no_more(
    idle: Cli, holding: Holding, by: signal.Signals
) -> None:
    line = f"bulk {idle.engines('e1', 'e2', 'e3')}"
    with idle.started(line) as process:
        holding.wait_for()
        process.send_signal(by)
        read_until(process.stderr, "interrupted: .* 60 s at most")
        holding.may_respond.set()
        out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, json.loads(out)["verdict"]) == (130, "accepted")
    assert "accepted 1, refused 0, unknown 0, not sent 2\n" in err
    assert idle(line).code == 0


@pytest.mark.parametrize("command", ["engine e1 e2 --output jsonl", "bulk in.jsonl"])
def test_at_the_second_signal_it_ends_at_once_and_reports_what_is_unknown(
    idle: Cli, holding: Holding, command: str
) -> None:
    idle.engines("e1", "e2")
    with idle.started(command) as process:
        holding.wait_for()
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "interrupted")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, json.loads(out)["verdict"]) == (130, "unknown")
    assert re.search("unknown 1, not sent 1\n" if "bulk" in command else "1 not sent: engine e2\n", err)


def test_nohup_lets_it_go_on_when_the_terminal_closes(idle: Cli, holding: Holding) -> None:
    ignoring = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    with idle.started("bulk", idle.engines("e1"), preexec_fn=ignoring) as process:
        holding.wait_for()
        process.send_signal(signal.SIGHUP)
        holding.may_respond.set()
        assert process.wait(LIMIT) == 0


def test_a_signal_ends_the_reading_of_invalid_lines(idle: Cli) -> None:
    idle.write("in", "engine_id,Name\n" + "..,\n" * 500_000)
    with idle.started("bulk in") as process:
        read_until(process.stderr, "in:1: ignored columns: 'Name'")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, "interrupted" in err, "in:2:" in err) == (130, True, False)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_stdin(idle: Cli, by: signal.Signals) -> None:
    with idle.started("bulk - --journal j", stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(" " * (1 << 20))  # more than a pipe holds, so that it has begun to read
        process.stdin.flush()
        process.send_signal(by)
        assert process.wait(LIMIT) == 130
        assert process.stderr.read() == "hwc-retry: interrupted\n"
    assert idle.files() == []


def test_a_signal_during_the_start_is_reported_in_one_line(idle: Cli) -> None:
    idle.write("shtab.py", "")  # a module that it imports is slow to load: at that moment comes Ctrl-C
    idle.write("difflib.py", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    with idle.started("--help") as process:
        assert process.communicate(timeout=LIMIT) == ("", "hwc-retry: interrupted\n")
    assert process.returncode == 130


# --- Output -----------------------------------------------------------------------------------------------------------


def test_a_terminal_shows_a_progress_bar_and_then_the_reasons(cli: Cli) -> None:
    code, seen = on_terminal(cli, f"bulk {cli.engines('e1', 'no1', 'no2')}")
    assert code == 1
    assert "0/?" in seen  # the bar's first look; it is gone at the end
    assert re.search(r"^ *refused +2 +engine no[12]: 400 SVCSTG\.00501116: ", seen, re.MULTILINE)
    assert "3 retries: accepted 1, refused 2, unknown 0\n" in seen


def test_without_a_terminal_a_line_every_few_seconds_shows_counts_and_speed(cli: Cli, mock: Mock) -> None:
    mock.add_fault(delay=0, times=39)
    mock.add_fault(delay=3000)
    with cli.started("bulk", cli.engines(*IDS)) as process:
        # All outcomes come before the first of these lines: it knows the speed nevertheless.
        read_until(process.stderr, r"accepted 39, refused 0, unknown 0; [1-9]\d*/s; \d+ m?s left\n")


@contextmanager
def unread_pipe() -> Generator[int, None, None]:
    """A pipe whose other end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


@pytest.mark.parametrize("command", ["engine", "bulk"])
def test_when_stdout_is_closed_it_ends_quietly_and_loses_nothing(cli: Cli, mock: Mock, command: str) -> None:
    line = f"{command} --output jsonl {cli.engines(*IDS) if command == 'bulk' else ' '.join(IDS)}"
    with unread_pipe() as writing, cli.started(line, stdout=writing) as process:
        assert process.wait(LIMIT) == 130
        assert process.stderr
        assert not re.search("Error|Broken", process.stderr.read())
    assert len(sent(mock)) < 40
    if command == "bulk":
        assert (cli(line).code, sorted(sent(mock))) == (0, sorted(IDS))


@pytest.mark.parametrize(("line", "stream"), [("bulk in.jsonl", "stderr"), ("--help", "stdout")])
def test_when_messages_or_help_are_not_read_it_ends_quietly(cli: Cli, line: str, stream: str) -> None:
    cli.engines("e1", "e2")
    with unread_pipe() as writing, cli.started(line, **{stream: writing}) as process:
        _, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err or "") == (130, "")


def test_only_the_first_failure_to_print_is_reported() -> None:
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
        while len(failed) < 2:  # noqa: ASYNC110 - no event says it
            await asyncio.sleep(0)
        with pytest.raises(OutputError, match="No space left"):
            await screen.close()

    asyncio.run(main())
    gc.collect()
    assert reported == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this machine has no /dev/full")
@pytest.mark.parametrize("line", ["engine e1 --output jsonl", "completion bash"])
def test_a_full_disk_is_reported_in_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        ran = cli(line)
    assert (ran.code, ran.out, ran.err.count("\n")) == (130, "", 1)
    assert ran.err.endswith("standard output cannot be written: No space left on device\n")


@pytest.mark.parametrize(
    ("closed", "line", "code", "says", "sends"),
    [
        (">&-", "engine e1", 2, "standard output is closed", 0),
        ("<&-", "bulk - --journal j", 2, "the input is empty", 0),
        ("2>&-", "engine e1 nowhere", 1, "", 2),
    ],
)
def test_standard_streams_may_be_closed(
    cli: Cli, mock: Mock, closed: str, line: str, code: int, says: str, sends: int
) -> None:
    command = f"{shlex.join([*COMMAND, *cli.arguments(line)])} {closed}"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (ran.returncode, says in ran.stderr, ran.stderr.count("\n")) == (code, True, bool(says))
    assert len(json.loads(ran.stdout or "[]")) == len(mock.request_log()) == sends


@pytest.fixture
def unread(idle: Cli, holding: Holding) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that has sent all and has more to print than its pipe takes; and the pipe's other end."""
    holding.may_respond.set()
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)  # of 13,000 bytes that are to be written
    with idle.started("bulk --output jsonl", idle.engines(*IDS), stdout=writing) as process:
        os.close(writing)
        holding.wait_for(len(IDS))
        yield process, reading


def test_a_slow_reader_holds_up_no_request(unread: tuple[subprocess.Popen[str], int]) -> None:
    process, reading = unread
    with os.fdopen(reading, encoding="utf-8") as stdout:
        assert [json.loads(line)["verdict"] for line in stdout] == ["accepted"] * 40
    assert process.wait(LIMIT) == 0


@pytest.mark.parametrize("times", [2, 3])
def test_a_reader_that_stops_does_not_hold_up_the_end(
    unread: tuple[subprocess.Popen[str], int], times: int
) -> None:
    process, reading = unread
    process.send_signal(signal.SIGINT)
    read_until(process.stderr, "interrupted: nothing more is sent")
    for _ in range(times - 1):
        process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130
    os.close(reading)


# --- The journal ------------------------------------------------------------------------------------------------------


def test_a_journal_in_use_is_refused(idle: Cli, holding: Holding) -> None:
    line = f"bulk {idle.engines('e1')}"
    with idle.started(line) as process:
        holding.wait_for()
        ran = idle(line)
        holding.may_respond.set()
        assert process.wait(LIMIT) == 0
    assert (ran.code, "in.jsonl.journal is in use" in ran.err) == (2, True)


def test_a_journal_that_is_removed_during_a_run_ends_it_with_a_warning(cli: Cli, mock: Mock) -> None:
    with cli.started("bulk --rate 1 --concurrency 1", cli.engines("e1", "e2", "e3", "e4")) as process:
        assert process.stdout
        process.stdout.readline()
        (cli.folder / "in.jsonl.journal").unlink()
        err = process.communicate(timeout=LIMIT)[1]
    assert process.returncode in {1, 3}  # 3 if a request was in flight then
    assert "put the journal back before the next run" in err
    assert "to send the rest" not in err
    assert len(sent(mock)) < 4


def test_a_run_that_is_killed_at_any_moment_goes_on_and_repeats_nothing(cli: Cli, mock: Mock) -> None:
    # A record that can be retried any number of times: if one is sent twice, it is accepted twice.
    ids = [f"r{n}" for n in range(120)]
    records = {id_: {"status": "FAILED", "retries_end": ["FAILED"]} for id_ in ids}
    mock.set_state(json.dumps({"projects": {"demo-project": {"script_tasks": {"t": {"records": records}}}}}))
    rows = [{"operation": "RetryScriptExecution", "record_id": id_} for id_ in (*ids, "nowhere", "r0")]
    line = f"bulk --rate 0 --concurrency 8 {cli.file(*rows)}"
    printed: list[dict[str, Any]] = []
    for lines in (1, 9, 20):
        mock.clear_faults()
        mock.add_fault(delay=0, times=lines)
        mock.add_fault(close="after", times=1)
        mock.add_fault(status=502, acted=True, times=1)
        mock.add_fault(status=400, times=1)
        mock.add_fault(delay=3000)  # so that it does not end before it is killed
        with cli.started(line) as process:
            assert process.stdout
            printed += [json.loads(process.stdout.readline()) for _ in range(lines)]
            process.kill()
    mock.clear_faults()
    assert cli(line).code == 3

    acted = Counter(entry["body"]["record_id"] for entry in mock.request_log() if entry["acted"])
    outcomes = cli("report in.jsonl.journal --output jsonl").outcomes
    known = {each["record_id"]: each["verdict"] for each in outcomes}
    assert known.keys() == {*ids, "nowhere"}
    assert set(known.values()) == {"accepted", "refused", "unknown"}
    assert set(acted.values()) == {1}
    assert {id_ for id_, verdict in known.items() if verdict == "accepted"} <= acted.keys()
    assert not {id_ for id_, verdict in known.items() if verdict == "refused"} & acted.keys()
    assert all(known[each["record_id"]] == each["verdict"] for each in printed)
    assert len({each["record_id"] for each in printed}) == len(printed) == 30
