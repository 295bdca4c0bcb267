"""Killed 200 times at random moments, a bulk loses and repeats nothing; the mock's request log is the witness.

A quick version is in tests/e2e/test_cli_process.py. `KILLS=1000 pytest tests/slow/test_kills.py` kills it more often.
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
from huaweicloud_retry.bulk import Bulk, Followup, Item
from huaweicloud_retry.bulk.journal_file import JournalReader
from huaweicloud_retry.testing import Fault, LoggedRequest, Mock

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


# Of these it is seen later whether they ran.
RESOLVED = 300
LASTING = {f"r{n}": {"status": "FAILED"} for n in range(RESOLVED)}
TO_RESOLVE = {"run_time": 1, "projects": {"p": {"script_tasks": {"t": {"records": LASTING}}}}}
LOSSES: list[Fault] = [
    {"close": "before", "share": 0.05},
    {"close": "after", "share": 0.05},
    {"status": 502, "acted": True, "share": 0.03},
    {"status": 504, "share": 0.03},
    {"delay": 0.02, "share": 0.3},
]


def items(count: int) -> Iterator[Item]:
    # Beyond the first thousand they are no records of the mock, and are given twice.
    for n in (*range(count), *range(ITEMS, count)):
        yield Item(operation="RetryScriptExecution", project_id="p", record_id=f"r{n}")


def work(url: str, journal: Path, reported: Path, count: int) -> None:
    """Be one run, which may be killed; adds what it was told to a file."""
    resend = Resend(max_attempts=5, initial_backoff=0.01)  # a 429 holds up all others for that long
    where: dict[str, Any] = {"endpoint": url, "credentials": TokenAuth("mock-token")}
    run = Bulk(items(count), journal=journal, rate=None, concurrency=8, resend=resend, **where)

    async def main() -> None:
        with reported.open("a", encoding="utf-8") as file:
            async for outcome in run:
                file.write(f"{outcome.item.record_id} {outcome.verdict}\n")
                file.flush()

    asyncio.run(main())


def kill_and_resume(
    url: str, folder: Path, chance: random.Random, kills: int, count: int = ITEMS + 100
) -> int:
    """Kill runs until there were enough, or one came to its end before; returns how many were killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["huaweicloud_retry.bulk", "huaweicloud_retry.auth", __name__])
    killed = 0
    while True:
        process = context.Process(target=work, args=(url, folder / "journal", folder / "reported", count))
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
            hold_against_the_mock(folder, seen.request_log())


def times_acted(entries: list[LoggedRequest]) -> Counter[str]:
    return Counter(entry["body"]["record_id"] for entry in entries if entry["acted"])


def hold_against_the_mock(folder: Path, entries: list[LoggedRequest]) -> None:
    acted = times_acted(entries)
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


@pytest.mark.parametrize("job", range(JOBS))
def test_what_was_lost_is_resolved_and_the_rest_sent_once(job: int, tmp_path: Path) -> None:
    chance = random.Random(job)
    with mock.running(seed=chance.randrange(2**32)) as url, Mock(url) as seen:
        seen.set_state(json.dumps(TO_RESOLVE))
        for fault in LOSSES:
            seen.add_fault(**fault)
        assert kill_and_resume(url, tmp_path, chance, KILLS // (4 * JOBS), RESOLVED)
        assert "unknown" in verdicts(tmp_path / "journal").values()
        seen.clear_faults()
        for _ in range(2):  # what was not run is sent, and nothing is lost any more
            asyncio.run(resolved(url, tmp_path / "journal"))
            work(url, tmp_path / "journal", tmp_path / "reported", RESOLVED)
        acted = times_acted(seen.request_log())
    assert Counter(verdicts(tmp_path / "journal").values()) == {"accepted": RESOLVED}
    assert acted == dict.fromkeys(LASTING, 1)


async def resolved(url: str, journal: Path) -> None:
    """Settle what is unknown. Nothing is under way any more: the mock acts at once, or not at all."""
    where: dict[str, Any] = {"endpoint": url, "credentials": TokenAuth("mock-token"), "rate": None}
    async for _ in Followup(journal, resolve=True, settle=0, **where):
        pass
