"""Many retries with a journal: how long they take, and in how much memory, as their number grows.

`python -m tests.benchmarks.bulk SIDE URL ITEMS` runs them in a process of its own and prints the seconds that they took and the
most memory, in MiB, that the process ever had.
"""
# ruff: noqa: PLC0415 - imports stand where they are used: a side loads nothing of the other

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.contenders import BODY, HEADERS
from tests.benchmarks.measure import (
    ANSWERS_AFTER,
    REPORTS,
    Aim,
    Benchmark,
    Effort,
    Row,
    Samples,
    at_most,
    peak_memory,
    python,
    server,
    slow_floor,
)

AT_ONCE = 32
SIZES = (1_000, 10_000, 100_000)
STOCK = "httpx.AsyncClient"
TENFOLD = f"ours, ten times {SIZES[-2]:,} items"


def ours(url: str, items: int) -> float:
    from huaweicloud_retry import TokenAuth
    from huaweicloud_retry.bulk import Bulk, Item

    async def main(journal: Path) -> float:
        given = (Item(operation="RetryEngine", project_id="p", engine_id=f"e{n}") for n in range(items))
        start = time.perf_counter()
        run = Bulk(
            given,
            journal=journal,
            concurrency=AT_ONCE,
            rate=None,
            endpoint=url,
            credentials=TokenAuth("mock-token"),
        )
        async for outcome in run:
            if outcome.verdict != "accepted":
                raise RuntimeError(str(outcome))
        return time.perf_counter() - start

    REPORTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=REPORTS
    ) as folder:  # on a disk, where the system's own may be in memory
        return asyncio.run(main(Path(folder) / "bench.journal"))


def stock(url: str, items: int) -> float:
    import httpx

    async def main() -> float:
        left = iter(range(items))
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:

            async def one_after_the_other() -> None:
                for n in left:
                    answer = await client.put(
                        f"/v2/p/enginemgr/engines/e{n}/actions", content=BODY, headers=HEADERS
                    )
                    answer.raise_for_status().json()

            start = time.perf_counter()
            await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
            return time.perf_counter() - start

    return asyncio.run(main())


SIDES: dict[str, Callable[[str, int], float]] = {"ours": ours, STOCK: stock}


def sending(effort: Effort) -> Samples:
    peak_memory()  # can be known here
    samples: Samples = {bound(items): [items * ANSWERS_AFTER / AT_ONCE] for items in SIZES}

    def measure(side: str, url: str, items: int) -> None:
        some = effort.count(items)
        if effort.smoke:  # in this process: starting another takes longer than the items
            seconds, mebibytes = SIDES[side](url, some), peak_memory()
        else:
            said = python("-m", "tests.benchmarks.bulk", side, url, str(some))
            seconds, mebibytes = map(float, said.split())
        samples.setdefault(timed(side, items), []).append(seconds)
        if side == "ours":
            samples.setdefault(resident(items), []).append(mebibytes)

    with server(slow_floor) as url:
        for items in SIZES[:-1]:
            for _ in range(effort.rounds):
                measure("ours", url, items)
                measure(STOCK, url, items)
        measure("ours", url, SIZES[-1])
    samples[TENFOLD] = [10 * seconds for seconds in samples[timed("ours", SIZES[-2])]]
    return samples


def timed(side: str, items: int) -> str:
    return f"{side}, {items:,} items"


def resident(items: int) -> str:
    return f"{items:,} items"


def bound(items: int) -> str:
    return f"{items:,} times {ANSWERS_AFTER * 1000:g} ms / {AT_ONCE}"


PLAN = """
import sys
from huaweicloud_retry.bulk.inputs import read_items
from huaweicloud_retry.bulk.journal import Journal
from tests.benchmarks.measure import peak_memory
lines = (b'{"operation": "RetryEngine", "project_id": "p", "engine_id": "%036d"}' % n for n in range(int(sys.argv[1])))
Journal(None).plan(read_items(lines, is_csv=False, defaults={}, on_bad_line=print))
print(peak_memory())
"""


def planning(effort: Effort) -> Samples:
    """Measure the memory in which a million items are taken in, beside that for a tenth of them."""
    peak_memory()  # can be known here
    many = effort.count(1_000_000)
    return {
        "ours": [float(python("-c", PLAN, str(many)))],
        "a tenth of the items": [float(python("-c", PLAN, str(many // 10)))],
    }


def duration(
    items: int, peer: str, aim: Aim | None = None, note: str = "httpx keeps no journal", name: str = ""
) -> Row:
    what = f"bulk: {items:,} items, {AT_ONCE} at once, journal"
    name = "-".join(filter(None, ("bulk", str(items), name)))
    return Row(name, what, "s", peer, bound(items), ours=timed("ours", items), aim=aim, note=note)


def memory(items: int) -> Row:
    what = f"bulk: {items:,} items, peak resident memory"
    peer = resident(items // 10)
    return Row(f"bulk-memory-{items}", what, "MiB", peer, ours=resident(items), aim=at_most(1.1))


BENCHMARKS = [
    Benchmark(
        "bulk",
        [
            duration(SIZES[0], timed(STOCK, SIZES[0])),
            duration(SIZES[1], timed(STOCK, SIZES[1]), at_most(0.4)),
            duration(
                SIZES[1], bound(SIZES[1]), at_most(1.2), "what no client can be faster than", name="bound"
            ),
            duration(SIZES[-1], TENFOLD, at_most(1.1), "once, and without httpx, since it takes minutes"),
            *(memory(items) for items in SIZES[1:]),
        ],
        sending,
    ),
    Benchmark(
        "bulk-planning",
        [
            Row(
                "bulk-planning",
                "bulk: 1,000,000 items planned, peak resident memory",
                "MiB",
                "a tenth of the items",
                aim=at_most(1.1),
            )
        ],
        planning,
    ),
]

if __name__ == "__main__":
    took = SIDES[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    print(took, peak_memory())
