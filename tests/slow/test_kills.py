"""Killed 200 times at random moments, a bulk loses and repeats nothing; the mock's request log is the witness.

A quick version is in tests/e2e/test_cli_process.py. `KILLS=1000 pytest tests/slow/test_kills.py` kills it more often.
"""

import asyncio
import json
import multiprocessing
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from huaweicloud_retry import Resend, TokenAuth, mock
from huaweicloud_retry.bulk import Bulk, Followup, Item
from huaweicloud_retry.bulk.journal_file import JournalReader
from huaweicloud_retry.testing import Fault, Mock
from tests.e2e.cli import judge

KILLS = int(os.environ.get("KILLS") or 200)
JOBS = 4  # a new input each, killed again and again
KNOWN, ITEMS = 1000, 1100  # records of the mock, and what is sent
VERDICTS = {"accepted", "refused", "unknown"}
RESOLVED = 300  # records whose retry is still seen later

LOSSES: list[Fault] = [
    {"close": "before", "share": 0.05},
    {"close": "after", "share": 0.05},
    {"status": 502, "acted": True, "share": 0.03},
    {"status": 504, "share": 0.03},
    {"delay": 0.02, "share": 0.3},
]
FAULTS: list[Fault] = [
    *LOSSES,
    {"status": 429, "retry_after": 0, "share": 0.05},
    {"status": 400, "share": 0.03},
    {"status": 500, "share": 0.03},
    {"status": 503, "share": 0.03},
    {"reply": "garbage", "share": 0.03},
    {"reply": "truncated", "share": 0.03},
]


def state(records: int, run_time: float, **more: Any) -> str:
    tasks = {"t": {"records": {f"r{n}": {"status": "FAILED", **more} for n in range(records)}}}
    return json.dumps({"run_time": run_time, "projects": {"p": {"script_tasks": tasks}}})


def send(url: str, journal: Path, reported: Path, count: int) -> None:
    """Be one run, which may be killed; adds the outcomes to a file."""
    # What is no record of the mock is given twice.
    ids = [f"r{n}" for n in (*range(count), *range(KNOWN, count))]
    items = [Item(operation="RetryScriptExecution", project_id="p", record_id=id_) for id_ in ids]
    resend = Resend(max_attempts=5, initial_backoff=0.01)  # a 429 holds up all others for that long
    where: dict[str, Any] = {"endpoint": url, "credentials": TokenAuth("mock-token"), "rate": None}
    run = Bulk(items, journal=journal, concurrency=8, resend=resend, **where)

    async def main() -> None:
        with reported.open("a", encoding="utf-8") as file:
            async for outcome in run:
                file.write(f"{outcome.item.record_id} {outcome.verdict}\n")
                file.flush()

    asyncio.run(main())


def kill_and_resume(url: str, folder: Path, chance: random.Random, kills: int, count: int) -> int:
    """Kill runs until there were enough, or one came to its end before; returns how many were killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["huaweicloud_retry.bulk", "huaweicloud_retry.auth", __name__])
    killed = 0
    while True:
        process = context.Process(target=send, args=(url, folder / "journal", folder / "reported", count))
        process.start()
        process.join(None if killed == kills else chance.uniform(0.0, 0.3))
        if process.exitcode is None:
            process.kill()
            process.join()
            killed += 1
        else:
            assert process.exitcode == 0
            if "planned" not in verdicts(folder).values():  # it may have halted before
                return killed


def verdicts(folder: Path) -> dict[str, str]:
    with JournalReader(folder / "journal") as journal:
        return {each["record_id"]: each["verdict"] for each in journal.items()}


@pytest.mark.parametrize("job", range(JOBS))
def test_nothing_is_lost_and_nothing_accepted_twice(job: int, tmp_path: Path) -> None:
    chance, kills = random.Random(job), KILLS // JOBS
    while kills:  # an input may come to its end before there were enough: then another one
        folder = tmp_path / str(kills)
        folder.mkdir()
        with mock.running(seed=chance.randrange(2**32)) as url, Mock(url) as seen:
            # A record can be retried any number of times: if one is sent twice, it is accepted twice.
            seen.set_state(state(KNOWN, run_time=0, retries_end=["FAILED"]))
            for fault in FAULTS:
                seen.add_fault(**fault)
            kills -= kill_and_resume(url, folder, chance, kills, ITEMS)
            known = verdicts(folder)
            assert known.keys() == {f"r{n}" for n in range(ITEMS)}
            # A line that was being written when the process was killed may be cut short.
            reported = [line.split() for line in (folder / "reported").read_text("utf-8").splitlines()]
            whole = [(line[0], line[1]) for line in reported if len(line) == 2 and line[1] in VERDICTS]
            judge(known, seen, whole)


@pytest.mark.parametrize("job", range(JOBS))
def test_what_was_lost_is_resolved_and_the_rest_sent_once(job: int, tmp_path: Path) -> None:
    chance = random.Random(job)
    with mock.running(seed=chance.randrange(2**32)) as url, Mock(url) as seen:
        seen.set_state(state(RESOLVED, run_time=1))
        for fault in LOSSES:
            seen.add_fault(**fault)
        assert kill_and_resume(url, tmp_path, chance, KILLS // (4 * JOBS), RESOLVED)
        assert "unknown" in verdicts(tmp_path).values()
        seen.clear_faults()
        for _ in range(2):  # what was not run is sent, and nothing is lost any more
            asyncio.run(resolve(url, tmp_path / "journal"))
            send(url, tmp_path / "journal", tmp_path / "reported", RESOLVED)
        acted = Counter(entry["body"]["record_id"] for entry in seen.request_log() if entry["acted"])
    assert acted == {f"r{n}": 1 for n in range(RESOLVED)}
    assert Counter(verdicts(tmp_path).values()) == {"accepted": RESOLVED}


async def resolve(url: str, journal: Path) -> None:
    """Resolve what is unknown. Nothing is under way any more: the mock acts at once, or not at all."""
    where: dict[str, Any] = {"endpoint": url, "credentials": TokenAuth("mock-token"), "rate": None}
    async for _ in Followup(journal, resolve=True, settle=0, **where):
        pass
