"""`make bench`: each speed claim measured beside its peer, in one run, on loopback. Nothing here asserts.

Rounds alternate (ours, peer, floor, ours, …), so that what else the machine does meets each side. The figures are medians with
the range of all rounds; the claim is the ratio of the medians. reports/bench.json has all samples;
publish.py puts them into docs/performance.md.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks import bulk, calls, contract, making, mocks, signing, starting
from tests.benchmarks.measure import FAILED, REPORTS, Benchmark, Effort, UnavailableError, number, write

BENCHMARKS = [
    *calls.BENCHMARKS,
    *starting.BENCHMARKS,
    *signing.BENCHMARKS,
    *mocks.BENCHMARKS,
    *making.BENCHMARKS,
    *contract.BENCHMARKS,
    *bulk.BENCHMARKS,
]
PACKAGES = (
    "httpx",
    "httpcore",
    "anyio",
    "urllib3",
    "attrs",
    "aiohttp",
    "httpx-aiohttp",
    "huaweicloudsdkcore",
    "huaweicloudsdkcse",
    "huaweicloudsdkworkspace",
    "openapi-python-client",
    "schemathesis",
    "httptools",
    "uvloop",
    "jsonschema-rs",
)


def machine() -> str:
    """Say what the figures were taken on."""
    cpu, system = platform.processor() or platform.machine(), f"{platform.system()} {platform.release()}"
    if (info := Path("/proc/cpuinfo")).exists():
        cpu = next(
            iter(re.findall(r"^model name\s*: (.*)$", info.read_text(encoding="utf-8"), re.MULTILINE)), cpu
        )
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{cpu}, {os.cpu_count()} cores, {system}, {platform.python_implementation()} {platform.python_version()}"


def measure(benchmark: Benchmark, effort: Effort) -> tuple[list[dict[str, Any]], bool]:
    """Return the rows of a benchmark, and whether it failed; what fails must not take the other rows' figures with it."""
    if effort.smoke and benchmark.not_in_smoke:
        reason = f"not in a smoke run: {benchmark.not_in_smoke}"
        return [row.result({}, reason) for row in benchmark.rows], False
    try:
        samples = benchmark.run(effort)
    except UnavailableError as error:
        return [row.result({}, str(error)) for row in benchmark.rows], False
    except Exception as error:  # noqa: BLE001 - see above
        traceback.print_exc()
        return [row.result({}, f"{FAILED}{error}".splitlines()[0]) for row in benchmark.rows], True
    return [row.result(samples) for row in benchmark.rows], False


def cells(row: dict[str, Any]) -> Iterator[str]:
    yield row["what"]
    yield row["unit"]
    for side in ("ours", "peer", "floor"):
        figure: dict[str, Any] = row[side] or {"median": None}
        some = "-"
        if figure["median"]:
            some = f"{number(figure['median'])} ({number(figure['min'])} to {number(figure['max'])})"
        yield some if side == "ours" or not figure.get("name") else f"{figure['name']}: {some}"
    yield "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
    met = {None: "", True: ": yes", False: ": NO"}[row["meets_aim"]]
    yield f"{row['aim'] or '-'}{met}"


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    head = ["what", "unit", "ours: median (range)", "peer", "floor", "times better", "aim"]
    lines = [head, *(list(cells(row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for row in rows:
        for text in filter(None, (row["note"], row["skipped"] and f"skipped: {row['skipped']}")):
            print(f"  {row['name']}: {text}")


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES} | {"prism": mocks.PRISM_VERSION}


def options_given() -> argparse.Namespace:
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each side (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=4, help="of each round that has a length (default: %(default)s)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=f"of: {', '.join(names)}"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="only see that they run; the figures mean nothing"
    )
    parser.add_argument(
        "--report", type=Path, help="the JSON file (default: bench.json in reports/, if all were run)"
    )
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds < 1:
        parser.error("--rounds and --seconds may be 1 or more")
    return options


def main() -> int:
    """Measure, print, write the report; returns the exit code: 1 if a benchmark failed."""
    options = options_given()
    whole = len(options.only) == len(BENCHMARKS) and not options.smoke
    report: Path = options.report or REPORTS / ("bench.json" if whole else "bench-part.json")
    effort = Effort(1 if options.smoke else options.rounds, options.seconds, smoke=options.smoke)
    command = (
        shlex.join(["python", "-m", "tests.benchmarks.bench", *sys.argv[1:]])
        if sys.argv[1:]
        else "make bench"
    )
    head: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine(),
        "command": command,
        "versions": versions(),
    }
    rows: list[dict[str, Any]] = []
    failed = False
    with tempfile.TemporaryDirectory() as home:
        # The official SDK writes into the home of its user; and no proxy leads to this machine.
        os.environ["HOME"] = home
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            del os.environ[name]
        for benchmark in BENCHMARKS:
            if benchmark.name in options.only:
                start = time.perf_counter()
                print(f"{benchmark.name} ...", end=" ", file=sys.stderr, flush=True)
                measured, this_failed = measure(benchmark, effort)
                failed |= this_failed
                rows += measured
                print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    print(f"{head['date']}, {head['machine']}")
    print(", ".join(f"{name} {version}" for name, version in head["versions"].items()), end="\n\n")
    show(rows)
    report.parent.mkdir(exist_ok=True)
    write(report, json.dumps({**head, "rows": rows}, indent=2) + "\n")
    print(f"\nall samples: {report}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
