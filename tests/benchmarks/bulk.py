"""Many retries with a journal: how long they take, and in how much memory, as their number grows."""
# ruff: noqa: PLC0415 - each side imports what it uses, so that its process loads nothing of the other

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.contenders import BODY, HEADERS
from tests.benchmarks.measure import (
    REPORTS,
    RESPONDS_AFTER,
    Aim,
    Benchmark,
    Effort,
    Row,
    Samples,
    at_most,
    peak_memory,
    server,
    slow_floor,
)

AT_ONCE = 32
SMALL, MIDDLE, LARGE = SIZES = (1_000, 10_000, 100_000)
PLANNED = 1_000_000
STOCK = "httpx.AsyncClient"
TENFOLD = f"ours, ten times {MIDDLE:,} items"


def ours(url: str, items: int) -> tuple[float, float]:
    """Return the seconds that so many items take, and the peak memory."""
    from huaweicloud_retry import TokenAuth
    from huaweicloud_retry.bulk import Bulk, Item

    async def main(journal: Path) -> float:
        given = (Item(operation="RetryEngine", project_id="p", engine_id=f"e{n}") for n in range(items))
        auth = TokenAuth("mock-token")
        start = time.perf_counter()
        run = Bulk(given, journal=journal, concurrency=AT_ONCE, rate=None, endpoint=url, credentials=auth)
        async for outcome in run:
            if outcome.verdict != "accepted":
                raise RuntimeError(str(outcome))
        return time.perf_counter() - start

    REPORTS.mkdir(exist_ok=True)
    # On a disk: the system's own folder may be in memory.
    with tempfile.TemporaryDirectory(dir=REPORTS) as folder:
        return asyncio.run(main(Path(folder) / "bench.journal")), peak_memory()


def stock(url: str, items: int) -> tuple[float, float]:
    """Return the same of httpx, without a journal."""
    import httpx

    async def main() -> float:
        left = iter(range(items))
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:

            async def call_each() -> None:
                for n in left:
                    path = f"/v2/p/enginemgr/engines/e{n}/actions"
                    response = await client.put(path, content=BODY, headers=HEADERS)
                    response.raise_for_status().json()

            start = time.perf_counter()
            await asyncio.gather(*(call_each() for _ in range(AT_ONCE)))
            return time.perf_counter() - start

    return asyncio.run(main()), peak_memory()


def plan(items: int) -> float:
    """Return the peak memory after so many items were read into a plan."""
    from huaweicloud_retry.bulk.inputs import read_items
    from huaweicloud_retry.bulk.journal import Journal

    line = b'{"operation": "RetryEngine", "project_id": "p", "engine_id": "%036d"}'
    lines = (line % n for n in range(items))
    Journal(None).plan(read_items(lines, is_csv=False, defaults={}, on_bad_line=print))
    return peak_memory()


def sending(effort: Effort) -> Samples:
    peak_memory()  # raises here if this machine cannot tell
    samples: Samples = {bound(items): [items * RESPONDS_AFTER / AT_ONCE] for items in SIZES}

    def measure(side: str, function: Callable[..., tuple[float, float]], url: str, items: int) -> None:
        seconds, mebibytes = effort.alone(function, url, effort.count(items))
        samples.setdefault(timed(side, items), []).append(seconds)
        if side == "ours":
            samples.setdefault(resident(items), []).append(mebibytes)

    with server(slow_floor) as url:
        for items in (SMALL, MIDDLE):
            for _ in range(effort.rounds):
                measure("ours", ours, url, items)
                measure(STOCK, stock, url, items)
        measure("ours", ours, url, LARGE)
    samples[TENFOLD] = [10 * seconds for seconds in samples[timed("ours", MIDDLE)]]
    return samples


def planning(effort: Effort) -> Samples:
    peak_memory()  # raises here if this machine cannot tell
    many = effort.count(PLANNED)
    return {"ours": [effort.alone(plan, many)], "a tenth of the items": [effort.alone(plan, many // 10)]}


def timed(side: str, items: int) -> str:
    return f"{side}, {items:,} items"


def resident(items: int) -> str:
    return f"{items:,} items"


def bound(items: int) -> str:
    return f"{items:,} times {RESPONDS_AFTER * 1000:g} ms / {AT_ONCE}"


def duration(items: int, peer: str, note: str, aim: Aim | None = None, name: str = "") -> Row:
    what = f"bulk: {items:,} items, {AT_ONCE} at once, journal"
    return Row(f"bulk-{items}{name}", what, "s", peer, bound(items), timed("ours", items), aim, note=note)


def memory(items: int) -> Row:
    what = f"bulk: {items:,} items, peak resident memory"
    peer = resident(items // 10)
    return Row(f"bulk-memory-{items}", what, "MiB", peer, ours=resident(items), aim=at_most(1.1))


NO_JOURNAL = "httpx keeps no journal"
BENCHMARKS = [
    Benchmark(
        "bulk",
        [
            duration(SMALL, timed(STOCK, SMALL), NO_JOURNAL),
            duration(MIDDLE, timed(STOCK, MIDDLE), NO_JOURNAL, at_most(0.4)),
            duration(
                MIDDLE,
                bound(MIDDLE),
                "the shortest possible time: each response takes 20 ms",
                at_most(1.2),
                "-bound",
            ),
            duration(LARGE, TENFOLD, "once, and without httpx, since it takes minutes", at_most(1.1)),
            memory(MIDDLE),
            memory(LARGE),
        ],
        sending,
    ),
    Benchmark(
        "bulk-planning",
        [
            Row(
                "bulk-planning",
                f"bulk: {PLANNED:,} items planned, peak resident memory",
                "MiB",
                "a tenth of the items",
                aim=at_most(1.1),
            )
        ],
        planning,
    ),
]
