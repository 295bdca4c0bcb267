"""What is measured and how: rows, rounds that alternate, servers, processes of their own."""

import json
import math
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "reports"
HERE = Path(__file__).parent
FAILED = "failed: "  # the reason why a row was skipped begins so if something went wrong
RESPONDS_AFTER = 0.02  # seconds, of the slow server

Samples = dict[str, list[float]]
"""By the name of what was measured: "ours", a peer, a floor."""


class UnavailableError(Exception):
    """This machine lacks what a row needs. One line: what, and how to get it."""


@dataclass(frozen=True)
class Effort:
    """How long to measure. A smoke run only shows that the benchmark runs; its figures mean nothing."""

    rounds: int
    seconds: float
    """Of each round that has a length."""
    smoke: bool

    def count(self, of_many: int) -> int:
        """Return how many of something to do."""
        return max(2, of_many // 500) if self.smoke else of_many

    def alone(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in a process of its own, which loads nothing else; in a smoke run, in this one."""
        if self.smoke:
            return function(*arguments)
        call = f"{function.__name__}(*json.loads(sys.argv[1]))"
        code = f"import json, sys; from {function.__module__} import *; print(json.dumps({call}))"
        result: T = json.loads(python("-c", code, json.dumps(arguments)))
        return result


@dataclass(frozen=True)
class Aim:
    """What ours is to reach: so many times better than the peer, or so much at most, in its unit."""

    text: str
    ratio: float = 0
    most: float = math.inf

    def as_ratio(self, peer: float) -> float:
        """Return how many times better than this peer ours has to be at least."""
        return max(self.ratio, peer / self.most)


def at_most(times: float) -> Aim:
    """Return the aim to need no more than so many times what the peer needs."""
    return Aim(f"at most {times:g} times", ratio=1 / times)


def at_least(times: float) -> Aim:
    """Return the aim to be so many times better."""
    return Aim(f"at least {times:g} times better", ratio=times)


@dataclass(frozen=True)
class Row:
    """A line of the table: ours, a peer, and the floor, which nothing can be better than."""

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

        def figures(side: str) -> dict[str, Any]:
            values = samples[side] if skipped is None else []
            median, low, high = (
                (statistics.median(values), min(values), max(values)) if values else [None] * 3
            )
            return {"median": median, "min": low, "max": high, "samples": values}

        ours, peer = figures(self.ours), {"name": self.peer, **figures(self.peer)}
        ratio = aim_ratio = None
        if ours["median"] and peer["median"]:
            better, worse = (ours, peer) if self.more_is_better else (peer, ours)
            ratio = better["median"] / worse["median"]
            aim_ratio = self.aim and self.aim.as_ratio(peer["median"])
        return {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "aim": self.aim and self.aim.text,
            "more_is_better": self.more_is_better,
            "ours": ours,
            "peer": peer,
            "floor": self.floor and {"name": self.floor, **figures(self.floor)},
            "ratio": ratio,
            "aim_ratio": aim_ratio,
            "meets_aim": ratio >= aim_ratio if ratio and aim_ratio else None,
            "note": self.note,
            "skipped": skipped,
        }


@dataclass(frozen=True)
class Benchmark:
    """Rows that are measured together."""

    name: str
    rows: list[Row]
    run: Callable[[Effort], Samples]
    not_in_smoke: str = ""
    """Why the smoke run leaves it out, if it does."""


def alternate(effort: Effort, sides: Mapping[str, Callable[[], float]], *, warm: bool = False) -> Samples:
    """Measure all sides in turn, so that other load on the machine affects each of them.

    Args:
        effort: The number of rounds.
        sides: By name, what measures one.
        warm: Do one more round first, which does not count: it reads and compiles files.
    """
    samples: Samples = {name: [] for name in sides}
    for round_ in range(-1 if warm and not effort.smoke else 0, effort.rounds):
        for name, side in sides.items():
            sample = side()
            if round_ >= 0:
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
    """Return the command of a server that does next to nothing, so that a client never waits for it."""
    return [sys.executable, str(HERE / "floor.py"), str(port)]


def slow_floor(port: int) -> list[str]:
    """Return the command of one that takes as long as a service might, for any number of requests at once."""
    return [*floor(port), str(RESPONDS_AFTER)]


def output(*command: str, cwd: Path = ROOT, environment: Mapping[str, str] | None = None) -> str:
    """Run a process; return what it prints."""
    ran = subprocess.run(command, cwd=cwd, env=environment, check=False, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"{command} ended with code {ran.returncode}: {ran.stdout}{ran.stderr}")
    return ran.stdout


def seconds_of(*command: str, cwd: Path = ROOT, environment: Mapping[str, str] | None = None) -> float:
    """Return how long a process takes, from its start to its end."""
    start = time.perf_counter()
    output(*command, cwd=cwd, environment=environment)
    return time.perf_counter() - start


def python(*arguments: str) -> str:
    """Return what a Python process prints."""
    return output(sys.executable, *arguments)


def peak_memory() -> float:
    """Return the most memory, in MiB, that this process ever had resident.

    Not getrusage: on Linux it counts what the process was before it became Python, a copy of its parent.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UnavailableError("peak memory is read from /proc, which only Linux has") from error
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write(file: Path, text: str) -> None:
    """Write a file in whole, or not at all."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
