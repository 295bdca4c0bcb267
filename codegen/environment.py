"""Installs what a lock pins into .venv: `python codegen/environment.py LOCK`. Needs the standard library only.

requirements.lock is for a new environment: the generator and the runtime. requirements-dev.lock adds what the tests need,
or, where it had been installed and has changed, makes the environment anew, so that nothing stale stays in it.
requirements-docs.lock adds what `make docs` needs, with the same versions of what both have.
uv does the work, for it takes seconds; pip installs uv, and takes its place where uv cannot run. Both check the hash of
every package, and neither builds one, since that would fetch build tools that no lock pins.
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
    """A command failed; the text is what it printed."""


def run(*command: str | Path, **environment: str) -> str:
    """Returns what the command printed. What it says of this machine's configuration is shown only if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",  # on Windows, uv and pip do not write in one encoding
        check=False,
    )
    if done.returncode:
        raise CommandError(done.stdout.strip() or f"{command[0]}: exit code {done.returncode}")
    return done.stdout.strip()


def executable(name: str) -> Path:
    """A command of the environment, wherever the platform puts it."""
    return FOLDER / ("Scripts" if os.name == "nt" else "bin") / name


def pip(*arguments: str) -> str:
    """Run the pip of the Python that runs this, for the environment; or the environment's own, where that has none."""
    try:
        return run(sys.executable, "-m", "pip", "--python", executable("python"), *arguments)
    except CommandError as failure:
        if "No module named pip" not in str(failure):
            raise
    run(executable("python"), "-m", "ensurepip")
    return run(executable("python"), "-m", "pip", *arguments)


def make_environment() -> None:
    """A new environment that finds the checkout's packages, with uv if it can run."""
    try:
        venv.create(FOLDER, clear=True, symlinks=os.name != "nt")
    except OSError as error:
        raise CommandError(f"no environment in {FOLDER}: {error}") from None
    purelib = run(executable("python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    Path(purelib, "checkout.pth").write_text(f"{ROOT / 'src'}\n{ROOT / 'generated'}\n", encoding="utf-8")
    try:
        pip("install", "-qq", *PINNED, UV_LOCK)
    except CommandError as failure:
        print(
            f"uv cannot be installed, so pip installs the rest: {str(failure).splitlines()[-1]}",
            file=sys.stderr,
        )


def install(lock: str) -> None:
    """Install what the lock pins, from the index that pip is configured for; uv reads no configuration of pip."""
    uv = executable("uv")
    try:
        index = os.environ.get("PIP_INDEX_URL") or pip("config", "get", "global.index-url")
    except CommandError:  # pip has no such value
        index = ""
    settings = {"UV_DEFAULT_INDEX": index} if index and "UV_DEFAULT_INDEX" not in os.environ else {}
    try:
        compiled = "--compile-bytecode", "--python", executable("python")  # as pip does
        run(uv, "pip", "install", *compiled, *PINNED, lock, UV_SYSTEM_CERTS="true", **settings)
    except (OSError, CommandError):
        pip("install", "-qq", *PINNED, lock)


def main() -> int:
    """Returns the exit code."""
    lock = sys.argv[1]
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what tells a user of an older one
        version = ".".join(map(str, sys.version_info[:2]))
        print(
            f"Python 3.11 or newer is needed, and this is {version}. Try: make PYTHON=python3.11",
            file=sys.stderr,
        )
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
