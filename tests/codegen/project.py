"""A folder in which codegen/generate.py runs, and the client that it makes there."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import document
import generate

ROOT = Path(__file__).parents[2]
NAME = "huaweicloud_retry_client"
PACKAGE = Path("generated", NAME)
STAMP = ".codegen/stamp"
LOCK = "requirements.lock"
SET_MASK = signal.pthread_sigmask  # which one test takes away


class Ran(NamedTuple):
    """What a run of generate.py came to."""

    code: int
    out: str
    err: str


def run_main(script: Any, root: Path, *arguments: str) -> Ran:
    """Call main() of a script of codegen/ in this process, for the project in a folder."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for module in (document, script):
            patch.setattr(module, "ROOT", root)
        patch.setattr(sys, "argv", [script.__name__, *arguments])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = script.main()
    return Ran(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Project:
    """A folder with what generate.py reads and writes."""

    root: Path

    @contextlib.contextmanager
    def entered(self) -> Generator[None]:
        """Let generate.py of this process work on this project. What it does to signals ends with the block."""
        mask, handler = SET_MASK(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGINT)
        with pytest.MonkeyPatch.context() as patch:
            for module in (document, generate):
                patch.setattr(module, "ROOT", self.root)
            try:
                yield
            finally:
                signal.signal(signal.SIGINT, handler)
                SET_MASK(signal.SIG_SETMASK, mask)

    def run(self, *arguments: str) -> Ran:
        """Call main()."""
        with self.entered():
            return run_main(generate, self.root, *arguments)

    def make(self) -> str:
        """Run to success; what it reports."""
        ran = self.run()
        assert (ran.code, ran.err, self.leftovers()) == (0, "", [])
        return ran.out

    def start(self, *arguments: str, python: Sequence[str] = (), **options: Any) -> subprocess.Popen[str]:
        """Run the script."""
        command = [sys.executable, *python, str(self.root / "codegen/generate.py"), *arguments]
        options = {"cwd": self.root, "encoding": "utf-8", **options}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def script(self, *arguments: str, **options: Any) -> Ran:
        """Run the script to its end."""
        with self.start(*arguments, **options) as process:
            out, err = process.communicate(timeout=120)
        return Ran(process.returncode, out, err)

    def generated(self) -> dict[str, bytes]:
        """Everything under generated/, by its path in the package."""
        files = [file for file in (self.root / "generated").rglob("*") if file.is_file()]
        return {str(file.relative_to(self.root / PACKAGE)): file.read_bytes() for file in files}

    def leftovers(self) -> list[Path]:
        return [*self.root.glob(".generated-*")]

    def state(self) -> tuple[object, ...]:
        """Whatever a run may change."""
        stamp = self.root / STAMP
        return self.generated(), stamp.is_file() and stamp.read_bytes(), self.leftovers()

    def edit(self, *pairs: tuple[str, str], file: str = "openapi.yaml") -> None:
        text = (self.root / file).read_text("utf-8")
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new, 1)
        (self.root / file).write_text(text, "utf-8")

    def add_path(self, text: str) -> None:
        """Add to the end of `paths`."""
        self.edit(("\ncomponents:\n", f"\n{text}\ncomponents:\n"))

    def place(self, marker: str, file: str = "openapi.yaml", below: int = 0) -> str:
        """`file:line` of the one line that has the marker, or of one so far below it."""
        lines = (self.root / file).read_text("utf-8").splitlines()
        (number,) = (number for number, line in enumerate(lines, 1) if marker in line)
        return f"{file}:{number + below}"


def new_project(root: Path, spec: str) -> Project:
    """Make a project with a spec, of which nothing was generated yet."""
    project = Project(root)
    shutil.copytree(ROOT / "codegen", project.root / "codegen", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / LOCK, project.root)
    (project.root / "openapi.yaml").write_text(spec, "utf-8")
    return project


def generated_once(factory: pytest.TempPathFactory, name: str, spec: str) -> tuple[Project, Ran]:
    """Make a project and run generate.py there, once for all workers of pytest-xdist. It is not to be changed."""
    base = factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "generated once" / name
    root.parent.mkdir(exist_ok=True)
    report = root.with_name(f"{name}.json")
    with root.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not report.exists():
            report.write_text(json.dumps(new_project(root, spec).run()), "utf-8")
    return Project(root), Ran(*json.loads(report.read_text("utf-8")))


@dataclass(frozen=True, eq=False)
class Generated:
    """A generated client. All have one package name, so it is among the imported modules only within `entered`."""

    folder: Path
    modules: dict[str, ModuleType] = field(default_factory=dict[str, ModuleType])

    @contextlib.contextmanager
    def entered(self) -> Generator[None]:
        """Import from this client, not from that of the project."""
        kept = _taken_out()
        sys.modules.update(self.modules)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.syspath_prepend(str(self.folder))
                yield
        finally:
            self.modules.update(_taken_out())
            sys.modules.update(kept)

    def module(self, name: str) -> Any:
        """Import a module of the package, by its name in it."""
        return importlib.import_module(f"{NAME}.{name}" if name else NAME)


def _taken_out() -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] == NAME}
