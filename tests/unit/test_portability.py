"""The command on a system without what only POSIX has. Each test runs it in a process from which that was removed."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from huaweicloud_retry.cli import main
from huaweicloud_retry.testing import Mock, mock_server
from tests.callers import LoopbackServer

ENGINE = "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
# As on Windows: no SIGHUP, loops that handle no signal, and modules and functions that are not there. Its locks are made of
# those of this system, which is what `msvcrt.locking` is documented to do: no wait, and EACCES if another has it.
WITHOUT_POSIX = """
import errno, fcntl, types
import os
os.supports_dir_fd = os.supports_fd = frozenset()  # by which shutil goes
import asyncio, select, signal, socket, sys

def refuse(*_):
    raise NotImplementedError

for module, names in (
    (os, "fork register_at_fork getuid geteuid fchmod fchown O_NOFOLLOW O_DIRECTORY O_NONBLOCK O_CLOEXEC"),
    (select, "poll"),
    (signal, "SIGHUP SIGPIPE SIGALRM pthread_sigmask"),
    (socket, "SO_REUSEPORT TCP_KEEPIDLE"),
):
    for name in names.split():
        delattr(module, name)
asyncio.SelectorEventLoop.add_signal_handler = refuse
import subprocess, tempfile  # which take a msvcrt for Windows

def locking(handle, mode, size, flock=fcntl.flock, flags=fcntl.LOCK_EX | fcntl.LOCK_NB):
    assert (mode, size) == (2, 1)
    try:
        flock(handle, flags)
    except BlockingIOError:
        raise PermissionError(errno.EACCES, "Permission denied") from None

sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=locking)
sys.modules.update(dict.fromkeys(("fcntl", "termios", "pwd", "grp", "resource", "uvloop")))
from huaweicloud_retry.cli import main
sys.exit(main())
"""


@contextmanager
def command(folder: Path, *arguments: str) -> Generator[subprocess.Popen[str], None, None]:
    """Start `hwc-retry` in a folder, with a terminal's encoding that has few letters."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HW_AUTH_TOKEN": "mock-token",
        "HW_PROJECT_ID": "demo-project",
        "PYTHONIOENCODING": "cp1252",
    }
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WITHOUT_POSIX, *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="cp1252",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def mock() -> Generator[Mock, None, None]:
    with mock_server() as mock:
        engine = {"name": "one", "jobs": [{"id": 1, "status": "Error"}]}
        projects = {"demo-project": {"engines": {ENGINE: engine}}}
        mock.set_state(json.dumps({"credentials": {"tokens": {"mock-token": {}}}, "projects": projects}))
        yield mock


def test_a_bulk_with_its_journal_is_sent_and_reported_and_what_a_terminal_cannot_show_is_escaped(
    mock: Mock, tmp_path: Path
) -> None:
    (tmp_path / "engines.csv").write_text(f"engine_id\n{ENGINE}\n引擎\n", encoding="utf-8")
    with command(tmp_path, "bulk", "engines.csv", "--endpoint", mock.url, "--output", "table") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "\\u5f15\\u64ce" in out
    with command(tmp_path, "report", "engines.csv.journal", "--html", "report.html") as process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert "1 of 2 accepted, 1 refused" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_journal_that_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "engines.csv").write_text(f"engine_id\n{ENGINE}\n", encoding="utf-8")
    server = LoopbackServer(None)
    bulk = ["bulk", "engines.csv", "--endpoint", server.url]
    with server, command(tmp_path, *bulk) as first:
        assert server.asked.wait(60)
        for second in (bulk, ["report", "engines.csv.journal"]):
            with command(tmp_path, *second) as process:
                _, err = process.communicate(timeout=60)
            assert process.returncode == 2
            assert "engines.csv.journal is in use by another run or report" in err
        server.stop()
        first.communicate(timeout=60)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["engines.csv", "engines.csv.journal"]


def test_the_mock_runs_and_stops(tmp_path: Path) -> None:
    with command(tmp_path, "mock", "--port", "0", "--quiet") as process:
        assert process.stdout
        assert process.stdout.readline().startswith("mock ready at ")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_ctrl_c_waits_for_the_request_in_flight_and_a_second_one_ends_it(tmp_path: Path) -> None:
    with (
        LoopbackServer(None) as server,
        command(tmp_path, "engine", ENGINE, "--endpoint", server.url) as process,
    ):
        assert server.asked.wait(60)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        assert "interrupted: nothing more is sent" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "unknown" in out


def test_a_closed_pipe_ends_the_command_without_a_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")  # what Windows says of it

    monkeypatch.setattr("sys.stdout.write", refuse)
    assert main(["completion", "bash"]) == 130
    assert capsys.readouterr().err == ""
