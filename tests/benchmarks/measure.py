"""What is measured and how: rows, rounds that alternate, servers, processes of their own."""

import math
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "reports"
HERE = Path(__file__).parent

Samples = dict[str, list[float]]
"""By the name of who was measured: "ours", a peer, a floor."""


FAILED = "failed: "
"""So begins the reason why a row was skipped if something went wrong."""


class UnavailableError(Exception):
    """What a row needs is not on this machine. One line, which says what, and how to get it."""


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int
    seconds: float
    """Of each round that has a length."""
    smoke: bool
    """As little as shows that the benchmark runs; the figures mean nothing."""

    def count(self, of_many: int) -> int:
        """Return how many of something to do."""
        return max(2, of_many // 500) if self.smoke else of_many


@dataclass(frozen=True)
class Aim:
    """What ours is to reach."""

    text: str
    ratio: float = 0
    """How many times better than the peer, at least."""
    most: float = math.inf
    """Of ours by itself, in the unit of the row."""

    def as_ratio(self, peer: float) -> float:
        """Return how many times better than a peer that is so good ours has to be at least."""
        return max(self.ratio, peer / self.most)

    def is_met(self, ours: float, ratio: float) -> bool:
        """Say whether it was reached, by the medians."""
        return ratio >= self.ratio and ours <= self.most


def at_most(times: float) -> Aim:
    """Return the aim to need no more than so many times what the peer needs."""
    return Aim(f"at most {times:g} times", ratio=1 / times)


def at_least(times: float) -> Aim:
    """Return the aim to be so many times better."""
    return Aim(f"at least {times:g} times better", ratio=times)


@dataclass(frozen=True)
class Row:
    """A line of the table: ours beside a peer, and beside the floor, which nobody can be better than."""

    name: str
    what: str
    unit: str
    peer: str
    floor: str | None = None
    ours: str = "ours"
    aim: Aim | None = None
    more_is_better: bool = False
    note: str = ""

    def result(self, samples: Samples, skipped: str | None = None) -> dict[str, Any]:
        """Return what the report says of this row; without samples, the reason why there are none."""
        measured = samples if skipped is None else {self.ours: [], self.peer: []}
        ours, peer = figures(measured[self.ours]), {"name": self.peer, **figures(measured[self.peer])}
        floor = None if self.floor is None else {"name": self.floor, **figures(measured.get(self.floor, []))}
        ratio = None
        if ours["median"] and peer["median"]:
            ratio = (
                ours["median"] / peer["median"] if self.more_is_better else peer["median"] / ours["median"]
            )
        return {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "aim": self.aim and self.aim.text,
            "more_is_better": self.more_is_better,
            "ours": ours,
            "peer": peer,
            "floor": floor,
            "ratio": ratio,
            "aim_ratio": self.aim.as_ratio(peer["median"]) if self.aim and ratio else None,
            "meets_aim": self.aim.is_met(ours["median"], ratio) if self.aim and ratio else None,
            "note": self.note,
            "skipped": skipped,
        }


def figures(samples: list[float]) -> dict[str, Any]:
    """Return what the report says of the samples of one side; all None if there are none."""
    if not samples:
        return {"median": None, "min": None, "max": None, "samples": []}
    return {
        "median": statistics.median(samples),
        "min": min(samples),
        "max": max(samples),
        "samples": samples,
    }


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write(file: Path, text: str) -> None:
    """Write a file in whole, or not at all."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)


@dataclass(frozen=True)
class Benchmark:
    """Rows that are measured together."""

    name: str
    rows: list[Row]
    run: Callable[[Effort], Samples]
    not_in_smoke: str = ""
    """Why the smoke run leaves it out, if it does."""


def alternate(effort: Effort, sides: Mapping[str, Callable[[], float]], *, warm: bool = False) -> Samples:
    """Measure all sides in turn, so that what else the machine does meets each of them.

    Args:
        effort: says how many rounds.
        sides: by name, what measures one.
        warm: one more round before, which does not count: files are read, and compiled, for the first time.
    """
    samples: Samples = {name: [] for name in sides}
    first = -1 if warm and not effort.smoke else 0
    for number in range(first, effort.rounds):
        for name, side in sides.items():
            sample = side()
            if number >= 0:
                samples[name].append(sample)
    return samples


@contextmanager
def server(command: Callable[[int], list[str]]) -> Iterator[str]:
    """Run a server until the block ends; yields its URL once it accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    words = command(port)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        try:
            while True:
                with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                    break
                if process.poll() is not None:
                    raise RuntimeError(f"{words} ended with code {process.returncode} and served nothing")
                time.sleep(0.002)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def floor(port: int) -> list[str]:
    """Return the command of a server that does next to nothing, so that it is never what a client waits for."""
    return [sys.executable, str(HERE / "floor.py"), str(port)]


ANSWERS_AFTER = 0.02  # seconds


def slow_floor(port: int) -> list[str]:
    """Return the command of one that takes as long as a service might, and has no limit otherwise."""
    return [*floor(port), str(ANSWERS_AFTER)]


def seconds_of(*command: str, cwd: Path = ROOT, environment: Mapping[str, str] | None = None) -> float:
    """Return how long a process takes, from its start to its end."""
    start = time.perf_counter()
    ran = subprocess.run(
        command, cwd=cwd, env=environment or os.environ, check=False, capture_output=True, text=True
    )
    took = time.perf_counter() - start
    if ran.returncode:
        raise RuntimeError(f"{command} ended with code {ran.returncode}: {ran.stdout}{ran.stderr}")
    return took


def peak_memory() -> float:
    """Return the most memory, in MiB, that this process ever had resident.

    Not getrusage, which on Linux counts what the process was before it became Python, a copy of its parent.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UnavailableError(
            "the most memory a process had is read from /proc, which only Linux has"
        ) from error
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def python(*arguments: str) -> str:
    """Return what a Python process prints."""
    ran = subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"{arguments} ended with code {ran.returncode}: {ran.stderr}")
    return ran.stdout
