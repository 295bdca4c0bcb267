"""`hwc-retry` in an empty folder: in this process or, for signals, pipes and terminals, in its own."""

import io
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from huaweicloud_retry.cli import main
from huaweicloud_retry.testing import Mock

COMMAND = [sys.executable, "-m", "huaweicloud_retry"]
SECRETS = ("mock-token", "mock-sk", "mock-password", "mock-security-token")
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
LIMIT = 60  # seconds: a last guard
SENDS = {"engine", "script", "bulk", "status", "resolve"}  # commands with --endpoint
IDS = [f"e{n}" for n in range(40)]
TOKEN = {"HW_AUTH_TOKEN": "mock-token"}
KEYS = {"HW_ACCESS_KEY": "mock-ak", "HW_SECRET_KEY": "mock-sk", "HW_SECURITY_TOKEN": "mock-security-token"}
PASSWORD = {"HW_USER_NAME": "mock-user", "HW_USER_PASSWORD": "mock-password", "HW_DOMAIN_NAME": "mock-domain"}
ENGINES = {
    id_: {"name": id_, "jobs": [{"id": n, "status": "Error", "retries_end": ["Finished"]}]}
    for n, id_ in enumerate(IDS)
}
PROJECT: dict[str, Any] = {
    "name": "cn-north-4",
    "engines": ENGINES,
    "script_tasks": {"t1": {"records": {"r1": {"status": "FAILED", "retries_end": ["SUCCESS"]}}}},
}
STATE: dict[str, Any] = {
    "run_time": 30,
    "credentials": {
        "tokens": {"mock-token": {}},
        "token_lifetime": 86400,
        "access_keys": {"mock-ak": {"secret_key": "mock-sk", "security_token": "mock-security-token"}},
        "users": {"mock-user": {"password": "mock-password", "domain": "mock-domain"}},
    },
    "projects": {"demo-project": PROJECT},
}


@dataclass
class Ran:
    """A run: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        found: Any = json.loads(self.out) if self.out[:1] == "[" else map(json.loads, self.out.splitlines())
        return list(found)

    @property
    def verdicts(self) -> list[str]:
        return [each["verdict"] for each in self.outcomes]


def with_default_signals() -> None:
    """A process that begins here handles signals that the tests' parent may ignore, as nohup does."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)


def interrupt(by: signal.Signals = signal.SIGINT) -> None:
    """Send a signal to the command that runs in this process."""
    signal.pthread_kill(threading.main_thread().ident or 0, by)


class Watched(io.StringIO):
    """A stderr that calls a function when it has a text."""

    def __init__(self, text: str, then: Callable[[], object]) -> None:
        super().__init__()
        self._text = text
        self._then: Callable[[], object] | None = then

    def write(self, part: str) -> int:
        super().write(part)
        if self._then and re.search(self._text, self.getvalue()):
            then, self._then = self._then, None
            then()
        return len(part)


class Cli:
    """Runs the command with an environment and a home of its own."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.url = ""
        self._patch, self._capsys = patch, capsys
        patch.chdir(folder)
        ours = ("HW_", "OS_", "HUAWEICLOUD_", "SSL_CERT_", "PYTHONUNBUFFERED")
        for name in [each for each in os.environ if each.startswith(ours) or each.upper().endswith("_PROXY")]:
            patch.delenv(name)
        self.set(**TOKEN, HW_PROJECT_ID="demo-project", HOME=str(folder), TERM="xterm", COLUMNS="150")

    def set(self, **environment: str) -> None:
        for name, value in environment.items():
            self._patch.setenv(name, value)

    def unset(self, *names: str) -> None:
        for name in names:
            self._patch.delenv(name)

    def has_terminal(self, columns: int = 150) -> None:
        """Make the command in this process see a terminal without colours."""
        self.set(TTY_COMPATIBLE="0", COLUMNS=str(columns))
        self._patch.setattr(sys.stdout, "isatty", lambda: True)

    def arguments(self, line: str, *more: str) -> list[str]:
        given = [*shlex.split(line), *more]
        sends = self.url and not SENDS.isdisjoint(given[:1]) and "--endpoint" not in given
        return [*given, "--endpoint", self.url] if sends else given

    def __call__(self, line: str, *more: str, stdin: str = "", **streams: Any) -> Ran:
        """Run it in this process, with a text for stdin, or other streams."""
        handlers = {each: signal.getsignal(each) for each in SIGNALS}
        reading, writing = os.pipe()
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            pipe.write(stdin)
        with os.fdopen(reading, encoding="utf-8") as given, pytest.MonkeyPatch.context() as patch:
            for name, stream in {"stdin": given, **streams}.items():
                patch.setattr(sys, name, stream)
            try:
                code: Any = main(self.arguments(line, *more))
            except SystemExit as end:  # argparse's
                code = end.code
            finally:
                for each, handler in handlers.items():
                    signal.signal(each, handler)
        out, err = self._capsys.readouterr()
        if isinstance(watched := streams.get("stderr"), Watched):
            err = watched.getvalue()
        ran = Ran(code, out, err)
        assert not [secret for secret in SECRETS if secret in ran.out + ran.err]
        return ran

    @contextmanager
    def started(self, line: str, *more: str, **streams: Any) -> Generator[subprocess.Popen[str], None, None]:
        """Start it as a process."""
        pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, **pipes, "preexec_fn": with_default_signals}
        command = [*COMMAND, *self.arguments(line, *more)]
        with subprocess.Popen(command, text=True, **{**settings, **streams}) as process:
            try:
                yield process
            finally:
                process.kill()

    def write(self, name: str, content: str) -> str:
        (self.folder / name).write_text(content, encoding="utf-8")
        return name

    def file(self, *rows: dict[str, str]) -> str:
        """Write an input of these rows."""
        return self.write("in.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def engines(self, *ids: str) -> str:
        """Write an input of these engines."""
        return self.file(*({"operation": "RetryEngine", "engine_id": each} for each in ids))

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


def sent(mock: Mock) -> list[str]:
    """The IDs of all retries, in order."""
    found: list[str] = []
    for entry in mock.request_log():
        if entry["operation"] == "RetryEngine":
            found.append(entry["path"].split("/")[5])
        elif entry["operation"] == "RetryScriptExecution":
            found.append(entry["body"].get("record_id") or entry["body"]["task_id"])
    return found


def judge(known: dict[str, str], mock: Mock, printed: list[tuple[str, str]]) -> None:
    """Hold a journal's verdicts by record against what the mock did, and against what was printed."""
    acted = Counter(entry["body"]["record_id"] for entry in mock.request_log() if entry["acted"])
    of = {each: {id_ for id_, verdict in known.items() if verdict == each} for each in set(known.values())}
    assert of.keys() == {"accepted", "refused", "unknown"}
    assert set(acted.values()) == {1}
    assert of["accepted"] <= acted.keys()
    assert not of["refused"] & acted.keys()
    assert all(known[id_] == verdict for id_, verdict in printed)
    assert len(printed) == len({id_ for id_, _ in printed})


def read_until(stream: Any, what: str) -> str:
    """Read lines until one matches."""
    seen = ""
    while not re.search(what, seen):
        line = stream.readline()
        assert line, seen
        seen += line
    return seen


def on_terminal(cli: Cli, line: str) -> tuple[int, str]:
    """Run with a terminal for stdout and stderr; returns the exit code and the text without its colours."""
    master, slave = pty.openpty()
    with cli.started(line, stdout=slave, stderr=slave) as process:
        os.close(slave)
        seen = b""
        with suppress(OSError):  # Linux raises it when the other side is closed
            while part := os.read(master, 1 << 16):
                seen += part
        os.close(master)
        code = process.wait(LIMIT)
    return code, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode()).replace("\r\n", "\n")
