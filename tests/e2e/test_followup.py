"""`Followup` resolves the unknown items of a journal and waits for the accepted ones. The mock is the witness."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from huaweicloud_retry import TokenAuth
from huaweicloud_retry.bulk import Bulk, Counts, Followup, Item, JournalError, Outcome, clocks
from huaweicloud_retry.bulk.journal_file import JournalReader
from huaweicloud_retry.testing import Mock
from tests.connections import in_child, outcome

RUNS = 100.0  # seconds; the mock's clock is put forward where a test needs the end


def job(id_: int, *ends: str, run_time: float = RUNS) -> dict[str, Any]:
    rest = {"reason": "No space left.", "retries_end": [*ends], "run_time": run_time}
    return {"name": f"engine {id_}", "jobs": [{"id": id_, "status": "Error", **rest}]}


def record(*ends: str) -> dict[str, Any]:
    place = {"script_id": "s", "resource_id": "d"}
    return {"status": "FAILED", "retries_end": [*ends], "run_time": RUNS, **place}


ENGINES = {"e1": job(1, "Finished"), "e2": job(2, "Finished"), "e3": job(3, "Error")}
TASKS = {"t": {"records": {"r1": record("SUCCESS"), "r2": record("FAILED")}}}
E1, E2, E3 = (Item(operation="RetryEngine", project_id="p", engine_id=id_) for id_ in ENGINES)
R1, R2 = (Item(operation="RetryScriptExecution", project_id="p", record_id=id_) for id_ in ("r1", "r2"))
T = Item(operation="RetryScriptExecution", project_id="p", task_id="t")


@pytest.fixture
def mock(mock: Mock) -> Mock:
    mock.set_state(json.dumps({"projects": {"p": {"engines": ENGINES, "script_tasks": TASKS}}}))
    return mock


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def where(mock: Mock, token: str = "mock-token") -> dict[str, Any]:
    return {"endpoint": mock.url, "region": "cn-north-4", "credentials": TokenAuth(token), "rate": None}


def outcomes(run: Bulk | Followup) -> list[Outcome]:
    async def main() -> list[Outcome]:
        return [each async for each in run]

    return asyncio.run(main())


def sent(mock: Mock, journal: Path, *items: Item, **settings: Any) -> dict[str, str]:
    """Send items one after the other; returns the verdicts by name."""
    run = Bulk(items, journal=journal, concurrency=1, resend=None, **where(mock), **settings)
    return {each.item.name: each.verdict for each in outcomes(run)}


def followed(mock: Mock, journal: Path, **settings: Any) -> list[Outcome]:
    return outcomes(Followup(journal, **{"settle": 0, **where(mock), **settings}))


def lose(mock: Mock, *closed: Any) -> None:
    """The next requests get no response: the connection is closed before or after they are processed."""
    for close in closed:
        mock.add_fault(close=close, times=1)


def acted(mock: Mock) -> Counter[str]:
    entries = [(entry["path"], entry["body"] or {}) for entry in mock.request_log() if entry["acted"]]
    return Counter(
        body.get("record_id") or body.get("task_id") or path.split("/")[-2] for path, body in entries
    )


def rows(journal: Path) -> list[dict[str, Any]]:
    with JournalReader(journal) as reader:
        return list(reader.items())


def test_a_processed_item_becomes_accepted_and_another_is_sent_next(mock: Mock, journal: Path) -> None:
    lose(mock, "after", "before")
    verdicts = {"engine e1": "unknown", "engine e2": "unknown", "record r1": "accepted"}
    assert sent(mock, journal, E1, E2, R1) == verdicts
    run = Followup(journal, resolve=True, settle=0, **where(mock))
    first, second = sorted(outcomes(run), key=lambda each: each.item.name)
    assert (run.counts, run.left) == (Counts(planned=1, accepted=2), 0)
    assert (first.item.name, first.verdict, second.verdict) == ("engine e1", "accepted", "refused")
    assert first.seen is not None
    assert "job 1 is Executing" in first.message
    states = [(row["verdict"], row["seen"] is not None) for row in rows(journal)]
    assert states == [("accepted", True), ("planned", True), ("accepted", False)]
    assert sent(mock, journal, E1, E2, R1) == {"engine e2": "accepted"}
    assert acted(mock) == {"e1": 1, "e2": 1, "r1": 1}


@pytest.mark.parametrize("item", [R2, T], ids=["record", "task"])
@pytest.mark.parametrize(("close", "verdict"), [("after", "accepted"), ("before", "refused")])
def test_scripts_are_resolved_too(mock: Mock, journal: Path, item: Item, close: str, verdict: str) -> None:
    lose(mock, close)
    assert sent(mock, journal, item) == {item.name: "unknown"}
    assert [each.verdict for each in followed(mock, journal, resolve=True)] == [verdict]


def test_an_item_that_cannot_be_resolved_stays_unknown_with_the_reason(mock: Mock, journal: Path) -> None:
    mock.set_state(json.dumps({"projects": {"p": {"engines": {"e1": job(1, "Error", run_time=0.0)}}}}))
    lose(mock, "after")
    sent(mock, journal, E1)
    (found,) = followed(mock, journal, resolve=True)
    assert found.verdict == "unknown"
    assert "too near to when the request was sent" in str(found.seen)
    assert found.message.endswith("the request may have been processed")


# --- Clocks -----------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_after_the_request_misleads_nobody(mock: Mock, journal: Path) -> None:
    lose(mock, "after")
    sent(mock, journal, E3, E1)  # the second response shows the server's time
    mock.advance(3600)  # the job has run and failed again: by the new clock, before the request was sent
    assert [each.verdict for each in followed(mock, journal, resolve=True)] == ["unknown"]


def sent_apart(mock: Mock, journal: Path, *items: Item, ahead: float = 0, boot: Path = clocks._BOOT) -> None:
    """Send items in a process with a clock of its own."""

    def send() -> None:
        now = time.time
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: now() + ahead)
            patch.setattr(clocks, "_BOOT", boot)
            sent(mock, journal, *items)

    assert outcome(in_child(send)) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not name the boot")
@pytest.mark.parametrize("seconds", [600, -600])
def test_a_wrong_clock_at_the_request_misleads_nobody(mock: Mock, journal: Path, seconds: int) -> None:
    lose(mock, "after", "before")  # no response: nothing is known of the server's clock
    sent_apart(mock, journal, E1, E2, ahead=seconds)
    assert [each.verdict for each in followed(mock, journal, resolve=True)] == ["unknown", "unknown"]


@pytest.mark.parametrize("items", [(E3,), (E3, E2)], ids=["no response", "a response"])
def test_on_another_machine_only_a_response_tells_the_clock(mock: Mock, journal: Path, items: Any) -> None:
    boot = journal.with_name("boot")
    boot.write_text("another machine", "ascii")
    lose(mock, "after")
    sent_apart(mock, journal, *items, ahead=600, boot=boot)
    mock.advance(3 * RUNS)  # the job has failed again, by the clock of now long before the request
    (found,) = followed(mock, journal, resolve=True)
    assert found.verdict == "unknown"
    assert ("the clock of that run is not known" in str(found.seen)) == (len(items) == 1)


def test_the_first_of_two_requests_counts(mock: Mock, journal: Path) -> None:
    lose(mock, "after")
    sent(mock, journal, E3)
    first = rows(journal)[0]["started_at"]
    lose(mock, "before")
    sent(mock, journal, E3, resend_unknown=True)
    assert rows(journal)[0]["started_at"] == first


# --- Waiting, and what ends it ----------------------------------------------------------------------------------------


def test_accepted_work_is_followed_to_its_end(mock: Mock, journal: Path) -> None:
    sent(mock, journal, E1, E3, R1, R2)
    running = followed(mock, journal, wait=True, wait_timeout=0)
    assert [each.ended for each in running] == ["running"] * 4
    assert "job 1 is Executing" in {each.seen for each in running}
    mock.advance(2 * RUNS)
    found = followed(mock, journal, wait=True)
    assert {each.item.name: (each.ended, each.seen) for each in found} == {
        "engine e1": ("succeeded", "job 1 is Finished"),
        "engine e3": ("failed", "job 3 is Error: modify: No space left."),
        "record r1": ("succeeded", "record r1 is SUCCESS"),
        "record r2": ("failed", "record r2 is FAILED: 1: The script ended with exit code 1."),
    }
    assert [row["ended"] for row in rows(journal)] == ["succeeded", "failed", "succeeded", "failed"]
    assert followed(mock, journal, wait=True) == []


def test_refused_credentials_end_it_after_one_read(mock: Mock, journal: Path) -> None:
    lose(mock, "after", "after")
    sent(mock, journal, E1, E2)
    before, received = rows(journal), len(mock.request_log())
    run = Followup(journal, resolve=True, wait=True, **where(mock, token="wrong"))
    assert outcomes(run) == []
    assert str(run.halted).startswith("authentication failed: 401 APIGW.0301")
    assert (rows(journal), len(mock.request_log())) == (before, received + 1)


def test_another_endpoint_or_a_damaged_row_is_refused_and_makes_no_journal(mock: Mock, journal: Path) -> None:
    with pytest.raises(JournalError, match="does not exist"):
        followed(mock, journal, resolve=True)
    assert list(journal.parent.iterdir()) == []
    lose(mock, "after")
    sent(mock, journal, E1)
    with pytest.raises(JournalError, match=r"was sent to .*http://127\.0\.0\.1:9"):
        followed(mock, journal, resolve=True, endpoint="http://127.0.0.1:9")
    with closing(sqlite3.connect(journal)) as db:
        db.execute("UPDATE item SET started_at = started_at + 9999")
        db.commit()
    with pytest.raises(JournalError, match="rows that do not match their checksums: 1"):
        followed(mock, journal, resolve=True)


def test_what_a_killed_run_left_in_flight_is_resolved(mock: Mock, journal: Path) -> None:
    async def killed() -> None:
        async for _ in Bulk([E1, E2], journal=journal, concurrency=1, resend=None, **where(mock)):
            os.kill(os.getpid(), signal.SIGKILL)  # the second request is at least about to be sent

    assert outcome(in_child(lambda: asyncio.run(killed()))) == -signal.SIGKILL
    assert {each.verdict for each in followed(mock, journal, resolve=True)} <= {"accepted", "refused"}
    sent(mock, journal, E1, E2)
    assert acted(mock) == {"e1": 1, "e2": 1}
