"""codegen/environment.py sets up .venv: from the index that pip is configured for, with hashes, or not at all."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).parents[2]
BASE_PYTHON = Path(sys.base_prefix, "bin/python3")  # as a user has it; the tests' own has no pip
SCRIPT = ROOT / "codegen" / "environment.py"


Checkout = tuple[Path, dict[str, str]]  # its folder, and the environment to run in


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - so it is called there
        pass


def package(folder: Path, name: str) -> str:
    """Put a package of one module into an index; returns its line for a lock."""
    wheel = folder / name / f"{name}-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """A folder with two locks, and an environment whose pip takes packages from an index of this test.

    The package that is called uv there has no command, as if uv could not run on this machine.
    """
    root, index = tmp_path / "checkout", tmp_path / "index"
    for name in ("codegen", "src", "generated"):
        (root / name).mkdir(parents=True)
    shutil.copy(SCRIPT, root / "codegen")
    (root / "requirements-uv.lock").write_text(package(index, "uv"), encoding="utf-8")
    (root / "requirements.lock").write_text(package(index, "tiny"), encoding="utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(index))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
        url = f"http://127.0.0.1:{server.server_port}"
        yield root, {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": url}
        server.shutdown()


def set_up(checkout: Checkout, lock: str = "requirements.lock") -> subprocess.CompletedProcess[str]:
    root, environment = checkout
    command = [str(BASE_PYTHON), str(root / "codegen/environment.py"), lock]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)


def test_without_uv_pip_installs_what_the_lock_pins_in_a_new_environment(checkout: Checkout) -> None:
    root = checkout[0]
    shutil.copy(root / "requirements.lock", root / "requirements-dev.lock")
    (root / ".venv").mkdir()
    for name in (".ready-dev", "stale"):  # an environment with other pins
        (root / ".venv" / name).touch()
    done = set_up(checkout, "requirements-dev.lock")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("setting up .venv from requirements-dev.lock ... done in ")
    assert not (root / ".venv/stale").exists()
    command = [str(root / ".venv/bin/python"), "-c", "import sys, tiny; print(*sys.path, sep='\\n')"]
    path = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert path[-2:] == [str(root / "src"), str(root / "generated")]


def test_a_package_with_another_hash_is_refused_and_no_environment_is_left(checkout: Checkout) -> None:
    (checkout[0] / "requirements.lock").write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    done = set_up(checkout)
    assert (done.returncode, (checkout[0] / ".venv").exists()) == (1, False)
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    code = f"import runpy, sys; sys.version_info = (3, 10, 9); runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    command = [sys.executable, "-c", code, "requirements.lock"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "Python 3.11 or newer is needed, and this is 3.10." in done.stderr
