"""Installs a lock's packages into .venv: `python codegen/environment.py LOCK`. Standard library only.

requirements.lock (generator and runtime) makes a new environment. requirements-dev.lock adds the test
dependencies; if they were already installed, it makes a new environment, so that no stale package stays.
requirements-docs.lock adds what `make docs` needs, with the same versions of shared packages.
uv installs, because it is fast; pip installs uv, and replaces it where uv cannot run. Both check the hash of
each package, and build none: that would download build tools that no lock pins.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv"
NEW, DEV_LOCK, UV_LOCK = "requirements.lock", "requirements-dev.lock", "requirements-uv.lock"
DEV = FOLDER / ".ready-dev"  # the Makefile's
PINNED = "--require-hashes", "--no-deps", "--only-binary=:all:", "--requirement"


class CommandError(Exception):
    """A command failed; the text is its output."""


def run(*command: str | Path, **environment: str) -> str:
    """Run a command and return its output, which may show this machine's configuration."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",  # on Windows, uv and pip use different encodings
        check=False,
    )
    if done.returncode:
        raise CommandError(done.stdout.strip() or f"{command[0]}: exit code {done.returncode}")
    return done.stdout.strip()


def executable(name: str) -> Path:
    """Return the path of a command of the environment."""
    return FOLDER / ("Scripts" if os.name == "nt" else "bin") / name


def pip(*arguments: str) -> str:
    """Run this Python's pip for the environment; if there is none, the environment's own pip."""
    try:
        return run(sys.executable, "-m", "pip", "--python", executable("python"), *arguments)
    except CommandError as failure:
        if "No module named pip" not in str(failure):
            raise
    run(executable("python"), "-m", "ensurepip")
    return run(executable("python"), "-m", "pip", *arguments)


def make_environment() -> None:
    """Make a new environment with the checkout's packages on its path, and with uv if it can run."""
    try:
        venv.create(FOLDER, clear=True, symlinks=os.name != "nt")
    except OSError as error:
        raise CommandError(f"no environment in {FOLDER}: {error}") from None
    purelib = run(executable("python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    Path(purelib, "checkout.pth").write_text(f"{ROOT / 'src'}\n{ROOT / 'generated'}\n", encoding="utf-8")
    try:
        pip("install", "-qq", *PINNED, UV_LOCK)
    except CommandError as failure:
        reason = str(failure).splitlines()[-1]
        print(f"uv cannot be installed, so pip installs the rest: {reason}", file=sys.stderr)


def install(lock: str) -> None:
    """Install a lock's packages from pip's index; uv does not read pip's configuration."""
    uv = executable("uv")
    try:
        index = os.environ.get("PIP_INDEX_URL") or pip("config", "get", "global.index-url")
    except CommandError:  # the value is not set
        index = ""
    settings = {"UV_DEFAULT_INDEX": index} if index and "UV_DEFAULT_INDEX" not in os.environ else {}
    try:
        compiled = "--compile-bytecode", "--python", executable("python")  # as pip does
        run(uv, "pip", "install", *compiled, *PINNED, lock, UV_SYSTEM_CERTS="true", **settings)
    except (OSError, CommandError):
        pip("install", "-qq", *PINNED, lock)


def main() -> int:
    """Return the exit code."""
    lock = sys.argv[1]
    if sys.version_info < (3, 11):  # noqa: UP036 - reports it to users of older versions
        version = ".".join(map(str, sys.version_info[:2]))
        text = f"Python 3.11 or newer is needed, and this is {version}. Try: make PYTHON=python3.11"
        print(text, file=sys.stderr)
        return 1
    print(f"setting up .venv from {lock} ...", end=" ", flush=True)
    started = time.monotonic()
    is_new = lock == NEW or (lock == DEV_LOCK and DEV.exists())
    try:
        if is_new:
            make_environment()
        install(lock)
    except (CommandError, KeyboardInterrupt) as failure:
        if is_new:
            shutil.rmtree(FOLDER, ignore_errors=True)
        print(f"failed\n{failure}" if isinstance(failure, CommandError) else "interrupted", file=sys.stderr)
        return 1
    print(f"done in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
