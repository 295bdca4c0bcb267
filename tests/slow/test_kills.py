"""Killed 200 times at random moments, a bulk loses and repeats nothing; the mock's journal is the witness.

A quick version is in tests/e2e/test_cli.py. `KILLS=1000 pytest tests/slow/test_kills.py` kills it more often.
"""

import asyncio
import json
import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from huaweicloud_retry import Resend, TokenAuth, mock
from huaweicloud_retry.bulk import Bulk, Item
from huaweicloud_retry.bulk.journal_file import JournalReader
from huaweicloud_retry.testing import Fault, JournalEntry, Mock

KILLS = int(os.environ.get("KILLS") or 200)
JOBS = 4  # a new input each, killed again and again
ITEMS = 1000

# A record can be retried any number of times: if one is sent twice, it is accepted twice.
RECORDS = {f"r{n}": {"status": "FAILED", "retries_end": ["FAILED"]} for n in range(ITEMS)}
STATE = {"run_time": 0, "projects": {"p": {"script_tasks": {"t": {"records": RECORDS}}}}}
FAULTS: list[Fault] = [
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
    resend = Resend(max_attempts=5, initial_backoff=0.01)  # a 429 holds up all others for that long
    where: dict[str, Any] = {"endpoint": url, "credentials": TokenAuth("mock-token")}
    run = Bulk(items(), journal=journal, rate=None, concurrency=8, resend=resend, **where)

    async def main() -> None:
        with reported.open("a", encoding="utf-8") as file:
            async for outcome in run:
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
            if "planned" not in verdicts(folder / "journal").values():  # it may have halted before
                return killed


def verdicts(file: Path) -> dict[str, str]:
    with JournalReader(file) as journal:
        return {each["record_id"]: each["verdict"] for each in journal.items()}


@pytest.mark.parametrize("job", range(JOBS))
def test_nothing_is_lost_and_nothing_accepted_twice(job: int, tmp_path: Path) -> None:
    chance, kills = random.Random(job), KILLS // JOBS
    while kills:  # an input may come to its end before there were enough: then another one
        folder = tmp_path / str(kills)
        folder.mkdir()
        with mock.running(seed=chance.randrange(2**32)) as url, Mock(url) as seen:
            seen.set_state(json.dumps(STATE))
            for fault in FAULTS:
                seen.add_fault(**fault)
            kills -= kill_and_resume(url, folder, chance, kills)
            hold_against_the_mock(folder, seen.journal())


def hold_against_the_mock(folder: Path, entries: list[JournalEntry]) -> None:
    acted = Counter(entry["body"]["record_id"] for entry in entries if entry["acted"])
    known = verdicts(folder / "journal")
    by_verdict: dict[str, set[str]] = {}
    for id_, verdict in known.items():
        by_verdict.setdefault(verdict, set()).add(id_)

    assert known.keys() == {f"r{n}" for n in range(ITEMS + 100)}
    assert by_verdict.keys() == {"accepted", "refused", "unknown"}
    assert max(acted.values()) == 1
    assert by_verdict["accepted"] <= acted.keys()
    assert not by_verdict["refused"] & acted.keys()
    # A line that was being written when the process was killed may be cut short.
    reported = [line.split() for line in (folder / "reported").read_text("utf-8").splitlines()]
    whole = [line for line in reported if len(line) == 2 and line[1] in by_verdict]
    assert all(known[id_] == verdict for id_, verdict in whole)
    assert len(whole) == len({id_ for id_, _ in whole})
