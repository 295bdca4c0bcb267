"""`hwc-retry` with signals, pipes and terminals, a journal that is lost, and kills.

Most tests run it in this process; a few start one, as a shell does.
"""

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
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO, TypeAlias

import pytest

from huaweicloud_retry.commands.exits import OutputError
from huaweicloud_retry.commands.screen import Screen
from huaweicloud_retry.testing import Mock
from tests.connections import Line, Server, response
from tests.e2e.cli import COMMAND, IDS, LIMIT, Cli, Watched, interrupt, judge, on_terminal, read_until, sent

Pipe: TypeAlias = tuple[int, int]  # its ends for reading and writing
NUMBERS = [str(number) for number in range(1, 41)]  # engines


class Holding(Server):
    """A service that responds when the test lets it."""

    def __init__(self) -> None:
        super().__init__(self._hold)
        self.arrived: SimpleQueue[int] = SimpleQueue()
        self.on_request: Callable[[], object] = lambda: None
        self.may_respond = threading.Event()

    def wait_for(self, requests: int = 1) -> None:
        for _ in range(requests):
            self.arrived.get(timeout=LIMIT)

    def _hold(self, line: Line) -> None:
        while (engine := line.request()) is not None:
            self.arrived.put(engine)
            self.on_request()
            self.may_respond.wait(LIMIT)
            line.socket.sendall(response(engine))


@pytest.fixture
def holding(idle: Cli) -> Iterator[Holding]:
    """A service that does not respond yet, to which the command sends."""
    with Holding() as server:
        idle.url = server.url
        yield server
        server.may_respond.set()


# --- Signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_waits_for_what_is_in_flight(
    idle: Cli, holding: Holding, by: signal.Signals
) -> None:
    line = f"bulk --concurrency 1 {idle.engines('1', '2', '3')}"
    holding.on_request = lambda: interrupt(by)
    ran = idle(line, stderr=Watched("interrupted: .* 60 s at most", holding.may_respond.set))
    assert (ran.code, ran.verdicts) == (130, ["accepted"])
    assert "accepted 1, refused 0, unknown 0, not sent 2\n" in ran.err
    holding.on_request = lambda: None
    assert (idle(line).code, holding.requests) == (0, [1, 2, 3])


@pytest.mark.parametrize("command", ["engine 1 2 --output jsonl", "bulk --concurrency 1 in.jsonl"])
def test_the_second_signal_ends_it_and_says_what_is_unknown(
    idle: Cli, holding: Holding, command: str
) -> None:
    idle.engines("1", "2")
    holding.on_request = interrupt
    ran = idle(command, stderr=Watched("interrupted", interrupt))
    assert (ran.code, ran.verdicts) == (130, ["unknown"])
    assert re.search("unknown 1, not sent 1\n" if "bulk" in command else "1 not sent: engine 2\n", ran.err)


def test_nohup_lets_it_go_on_when_the_terminal_closes(idle: Cli, holding: Holding) -> None:
    holding.on_request = lambda: interrupt(signal.SIGHUP)
    holding.may_respond.set()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert idle("bulk", idle.engines("1")).code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_ends_the_reading_of_invalid_lines(idle: Cli) -> None:
    idle.write("in", "engine_id,Name\n" + "..,\n" * 100_000)
    ran = idle("bulk in", stderr=Watched("in:1: ignored columns: 'Name'", interrupt))
    assert (ran.code, "interrupted" in ran.err, "in:2:" in ran.err) == (130, True, False)


def test_a_signal_ends_the_wait_for_stdin(idle: Cli) -> None:
    with idle.started("bulk - --journal j", stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(" " * (1 << 20))  # more than a pipe holds, so that it has begun to read
        process.stdin.flush()
        process.send_signal(signal.SIGTERM)
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


def test_without_a_terminal_a_line_at_times_shows_counts_and_speed(idle: Cli, holding: Holding) -> None:
    def hold_the_last() -> None:
        if len(holding.requests) == 40:
            holding.may_respond.clear()

    holding.may_respond.set()
    holding.on_request = hold_the_last
    # 39 outcomes come before the first of these lines: it knows the speed nevertheless.
    line = r"accepted 39, refused 0, unknown 0; [1-9]\d*/s; \d+ m?s left\n"
    stderr = Watched(line, holding.may_respond.set)
    assert idle("bulk --concurrency 1 --rate 0", idle.engines(*NUMBERS), stderr=stderr).code == 0
    assert re.search(line, stderr.getvalue())


@pytest.fixture
def unread() -> Iterator[TextIO]:
    """A pipe whose other end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as pipe:
        yield pipe


@pytest.mark.parametrize("command", ["engine", "bulk"])
def test_when_stdout_is_closed_it_ends_quietly_and_loses_nothing(
    cli: Cli, mock: Mock, unread: TextIO, command: str
) -> None:
    line = f"{command} --output jsonl {cli.engines(*IDS) if command == 'bulk' else ' '.join(IDS)}"
    ran = cli(line, stdout=unread)
    assert (ran.code, re.search("Error|Broken", ran.err)) == (130, None)
    assert len(sent(mock)) < 40
    if command == "bulk":
        assert (cli(line).code, sorted(sent(mock))) == (0, sorted(IDS))


@pytest.mark.parametrize(("line", "stream"), [("bulk in.jsonl", "stderr"), ("--help", "stdout")])
def test_unread_messages_or_help_end_it_quietly(cli: Cli, unread: TextIO, line: str, stream: str) -> None:
    cli.engines("e1", "e2")
    streams: dict[str, Any] = {stream: unread}
    ran = cli(line, **streams)
    assert (ran.code, ran.err) == (130, "")


def test_only_the_first_failure_to_print_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()

    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        screen = Screen("hwc-retry")
        for each in (fail, fail, done.set):
            screen.do(each)
        await asyncio.to_thread(done.wait)
        with pytest.raises(OutputError, match="No space left"):
            await screen.close()

    asyncio.run(main())
    gc.collect()  # asyncio logs an exception that nobody retrieved
    assert caplog.records == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this machine has no /dev/full")
@pytest.mark.parametrize("line", ["engine e1 --output jsonl", "completion bash"])
def test_a_full_disk_is_reported_in_one_line(cli: Cli, line: str) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ran = cli(line, stdout=full)
    assert (ran.code, ran.out, ran.err.count("\n")) == (130, "", 1)
    assert ran.err.endswith("standard output cannot be written: No space left on device\n")


@pytest.mark.parametrize(
    ("line", "code", "says", "sends"),
    [
        ("engine e1 >&-", 2, "standard output is closed", 0),
        ("bulk - --journal j <&-", 2, "the input is empty", 0),
        ("engine e1 nowhere 2>&-", 1, "", 2),
    ],
)
def test_streams_may_be_closed(cli: Cli, mock: Mock, line: str, code: int, says: str, sends: int) -> None:
    command = f"{shlex.join(COMMAND)} {line} --endpoint {cli.url}"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (ran.returncode, says in ran.stderr, ran.stderr.count("\n")) == (code, True, bool(says))
    assert len(mock.request_log()) == sends


@pytest.fixture
def small_pipe(holding: Holding) -> Pipe:
    """A pipe that takes less than the 13,000 bytes that a bulk of `NUMBERS` writes; its service responds."""
    holding.may_respond.set()
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    return reading, writing


def test_a_slow_reader_holds_up_no_request(idle: Cli, holding: Holding, small_pipe: Pipe) -> None:
    def read() -> list[str]:
        holding.wait_for(len(NUMBERS))
        with os.fdopen(small_pipe[0], encoding="utf-8") as reading:
            return [json.loads(line)["verdict"] for line in reading]

    with ThreadPoolExecutor(1) as reader, os.fdopen(small_pipe[1], "w", encoding="utf-8") as writing:
        verdicts = reader.submit(read)
        assert idle("bulk --output jsonl", idle.engines(*NUMBERS), stdout=writing).code == 0
        writing.close()
        assert verdicts.result(LIMIT) == ["accepted"] * 40


@pytest.mark.parametrize("times", [2, 3])
def test_a_stopped_reader_holds_up_no_end(idle: Cli, holding: Holding, small_pipe: Pipe, times: int) -> None:
    reading, writing = small_pipe
    with idle.started("bulk --output jsonl", idle.engines(*NUMBERS), stdout=writing) as process:
        os.close(writing)
        holding.wait_for(len(NUMBERS))
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "interrupted: nothing more is sent")
        for _ in range(times - 1):
            process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
    os.close(reading)


# --- The journal ------------------------------------------------------------------------------------------------------


def test_a_journal_that_is_removed_during_a_run_ends_it_with_a_warning(idle: Cli, holding: Holding) -> None:
    holding.may_respond.set()
    holding.on_request = lambda: (idle.folder / "in.jsonl.journal").unlink(missing_ok=True)
    ran = idle("bulk --concurrency 1", idle.engines("1", "2", "3", "4"))
    assert ran.code in {1, 3}  # 3 if a request was in flight then
    assert "put the journal back before the next run" in ran.err
    assert "to send the rest" not in ran.err
    assert len(holding.requests) < 4


def test_a_run_that_is_killed_at_any_moment_goes_on_and_repeats_nothing(cli: Cli, mock: Mock) -> None:
    # A record that can be retried any number of times: if one is sent twice, it is accepted twice.
    ids = [f"r{n}" for n in range(120)]
    records = {id_: {"status": "FAILED", "retries_end": ["FAILED"]} for id_ in ids}
    mock.set_state(json.dumps({"projects": {"demo-project": {"script_tasks": {"t": {"records": records}}}}}))
    rows = [{"operation": "RetryScriptExecution", "record_id": id_} for id_ in (*ids, "nowhere", "r0")]
    line = f"bulk --rate 0 --concurrency 8 {cli.file(*rows)}"
    printed: list[str] = []
    for lines in (1, 9, 20):
        mock.clear_faults()
        mock.add_fault(delay=0, times=lines)
        mock.add_fault(close="after", times=1)
        mock.add_fault(status=502, acted=True, times=1)
        mock.add_fault(status=400, times=1)
        mock.add_fault(delay=3000)  # so that it does not end before it is killed
        with cli.started(line) as process:
            assert process.stdout
            printed += [process.stdout.readline() for _ in range(lines)]
            process.kill()
    mock.clear_faults()
    assert cli(line).code == 3

    def verdicts(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
        return [(each["record_id"], each["verdict"]) for each in lines]

    known = dict(verdicts(cli("report in.jsonl.journal --output jsonl").outcomes))
    assert known.keys() == {*ids, "nowhere"}
    judge(known, mock, verdicts([json.loads(line) for line in printed]))
