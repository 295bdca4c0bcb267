"""`make bench`: each speed claim and its peer measured in one run, on loopback. Nothing here asserts.

Rounds alternate (ours, peer, floor, ours, …), so that other load on the machine affects each side. The
figures are medians with the range of all rounds; the claim is the ratio of the medians. reports/bench.json
has all samples; publish.py puts them into docs/performance.md.
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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks import bulk, calls, contract, making, mocks, publish, starting
from tests.benchmarks.measure import FAILED, REPORTS, Benchmark, Effort, UnavailableError, write

BENCHMARKS = [
    *calls.BENCHMARKS,
    *starting.BENCHMARKS,
    *mocks.BENCHMARKS,
    *making.BENCHMARKS,
    *contract.BENCHMARKS,
    *bulk.BENCHMARKS,
]
PACKAGES = (
    "httpx httpcore anyio urllib3 attrs aiohttp httpx-aiohttp huaweicloudsdkcore huaweicloudsdkcse "
    "huaweicloudsdkworkspace openapi-python-client schemathesis httptools uvloop jsonschema-rs"
)


def machine() -> str:
    """Describe what the figures were taken on."""
    cpu, system = platform.processor() or platform.machine(), f"{platform.system()} {platform.release()}"
    if (info := Path("/proc/cpuinfo")).exists():
        if model := re.search(r"^model name\s*: (.*)$", info.read_text(encoding="utf-8"), re.MULTILINE):
            cpu = model[1]
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{cpu}, {os.cpu_count()} cores, {system}, {python}"


def measure(benchmark: Benchmark, effort: Effort) -> tuple[list[dict[str, Any]], bool]:
    """Return the rows of a benchmark, and whether it failed. The others keep their figures."""
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


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES.split()} | {
        "prism": mocks.PRISM_VERSION
    }


def options_given() -> argparse.Namespace:
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="of each side (default: %(default)s)")
    add("--seconds", type=float, default=4, help="of each round that has a length (default: %(default)s)")
    add("--only", nargs="+", choices=names, default=names, metavar="NAME", help=f"of: {', '.join(names)}")
    add("--smoke", action="store_true", help="only show that they run; the figures mean nothing")
    add("--report", type=Path, help="the JSON file (default: bench.json in reports/, if all were run)")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds < 1:
        parser.error("--rounds and --seconds may be 1 or more")
    return options


def main() -> int:
    """Measure, print, write the report; returns the exit code: 1 if a benchmark failed."""
    options = options_given()
    whole = len(options.only) == len(BENCHMARKS) and not options.smoke
    file: Path = options.report or REPORTS / ("bench.json" if whole else "bench-part.json")
    effort = Effort(1 if options.smoke else options.rounds, options.seconds, smoke=options.smoke)
    given = shlex.join(["python", "-m", "tests.benchmarks.bench", *sys.argv[1:]])
    report: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine(),
        "command": given if sys.argv[1:] else publish.COMMAND,
        "versions": versions(),
        "rows": [],
    }
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
                report["rows"] += measured
                print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    print(re.sub(" <sub>(.*?)</sub>", r" (\1)", publish.speed(report)))
    file.parent.mkdir(exist_ok=True)
    write(file, json.dumps(report, indent=2) + "\n")
    print(f"all samples: {file}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
