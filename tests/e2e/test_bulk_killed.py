"""Killed at any moment and started again, a bulk loses nothing and repeats nothing; the mock's journal is the witness.

`KILLS=1000 pytest tests/e2e/test_bulk_killed.py` kills it more often.
"""

import asyncio
import multiprocessing
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry import TokenAuth
from huaweicloud_retry.bulk import Bulk, Item
from huaweicloud_retry.mock import running

KILLS = int(os.environ.get("KILLS") or 200)
JOBS = 4  # a new input each, killed again and again
ITEMS = 1000

# A record can be retried any number of times: if one is sent twice, it is accepted twice.
STATE: dict[str, Any] = {
    "run_time": 0,
    "projects": {
        "p": {
            "script_tasks": {
                "t": {"records": {f"r{n}": {"status": "FAILED", "retries_end": ["FAILED"]} for n in range(ITEMS)}}
            }
        }
    },
}
FAULTS: list[dict[str, Any]] = [
    {"status": 429, "retry_after": 0, "share": 0.05},
    {"close": "before", "share": 0.05},
    {"close": "after", "share": 0.05},
    {"status": 400, "share": 0.03},
    {"status": 500, "share": 0.03},
    {"status": 502, "acted": True, "share": 0.03},
    {"status": 503, "share": 0.03},
    {"reply": "garbage", "share": 0.03},
    {"reply": "truncated", "share": 0.03},
    {"delay": 0.02, "share": 0.3},
]


def items() -> Iterator[Item]:
    # The last hundred are no records of the mock, and are given twice.
    for n in (*range(ITEMS + 100), *range(ITEMS, ITEMS + 100)):
        yield Item(operation="RetryScriptExecution", project_id="p", record_id=f"r{n}")


def work(url: str, journal: Path, reported: Path) -> None:
    """Be one run, which may be killed; adds what it was told to a file."""

    async def main() -> None:
        bulk = Bulk(
            items(), journal=journal, rate=None, concurrency=8, endpoint=url, credentials=TokenAuth("mock-token")
        )
        with reported.open("a", encoding="utf-8") as file:
            async for outcome in bulk:
                file.write(f"{outcome.item.record_id} {outcome.verdict}\n")
                file.flush()

    asyncio.run(main())


def kill_and_resume(url: str, folder: Path, chance: random.Random, kills: int) -> int:
    """Kill runs until there were enough, or one came to its end before; returns how many were killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["huaweicloud_retry.bulk", "huaweicloud_retry.auth", __name__])
    killed = 0
    while True:
        process = context.Process(target=work, args=(url, folder / "journal", folder / "reported"))
        process.start()
        process.join(None if killed == kills else chance.uniform(0.0, 0.3))
        if process.exitcode is None:
            process.kill()
            process.join()
            killed += 1
        else:
            assert process.exitcode == 0
            if left(folder / "journal") == 0:
                return killed


def left(journal: Path) -> int:
    return sum(state in {"planned", "sending"} for state in states(journal).values())


def states(journal: Path) -> dict[str, str]:
    db = sqlite3.connect(journal)
    try:
        return dict(db.execute("SELECT fields ->> 'record_id', state FROM item"))
    finally:
        db.close()


@pytest.mark.parametrize("job", range(JOBS))
def test_nothing_is_lost_and_nothing_accepted_twice(job: int, tmp_path: Path) -> None:
    chance, kills = random.Random(job), KILLS // JOBS
    for (
        n
    ) in count():  # a quick machine comes to the end of the input before it was killed often enough: then another one
        folder = tmp_path / str(n)
        folder.mkdir()
        with running(seed=chance.randrange(2**32)) as url:
            httpx.put(f"{url}/_mock/state", json=STATE, trust_env=False).raise_for_status()
            httpx.post(f"{url}/_mock/faults", json=FAULTS, trust_env=False).raise_for_status()
            killed = kill_and_resume(url, folder, chance, kills)
            entries = httpx.get(f"{url}/_mock/journal", trust_env=False).json()["entries"]
        hold_against_the_mock(folder, entries)
        kills -= killed
        if kills == 0:
            break


def hold_against_the_mock(folder: Path, entries: list[dict[str, Any]]) -> None:
    acted = Counter(entry["body"]["record_id"] for entry in entries if entry["acted"])
    known = states(folder / "journal")
    reported = [line.split() for line in (folder / "reported").read_text("utf-8").splitlines()]

    assert known.keys() == {f"r{n}" for n in range(ITEMS + 100)}
    by_state = {state: {id_ for id_, each in known.items() if each == state} for state in set(known.values())}
    assert by_state.keys() == {"accepted", "refused", "unknown"}
    assert max(acted.values()) == 1
    assert by_state["accepted"] <= acted.keys()
    assert not by_state["refused"] & acted.keys()
    # A line that was being written when the process was killed may be cut short.
    whole = [line for line in reported if len(line) == 2 and line[1] in by_state]
    assert all(known[id_] == verdict for id_, verdict in whole)
    assert len(whole) == len({id_ for id_, _ in whole})
