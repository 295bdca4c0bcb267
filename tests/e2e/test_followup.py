"""What became of the items of a journal: unknown ones are settled, accepted ones followed. The mock is the witness."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from huaweicloud_retry import TokenAuth
from huaweicloud_retry.bulk import Bulk, Counts, Followup, Item, JournalError, Outcome
from huaweicloud_retry.bulk.journal_file import JournalReader
from huaweicloud_retry.cli import main
from huaweicloud_retry.testing import Mock, mock_server

RUNS = 100.0  # seconds; the mock's clock is put forward where a test needs the end


def job(id_: int, *ends: str, run_time: float = RUNS) -> dict[str, Any]:
    jobs = [
        {
            "id": id_,
            "status": "Error",
            "reason": "No space left.",
            "retries_end": [*ends],
            "run_time": run_time,
        }
    ]
    return {"name": f"engine {id_}", "jobs": jobs}


def record(*ends: str) -> dict[str, Any]:
    return {
        "status": "FAILED",
        "retries_end": [*ends],
        "run_time": RUNS,
        "script_id": "s",
        "resource_id": "d",
    }


STATE = {
    "projects": {
        "p": {
            "engines": {"e1": job(1, "Finished"), "e2": job(2, "Finished"), "e3": job(3, "Error")},
            "script_tasks": {"t": {"records": {"r1": record("SUCCESS"), "r2": record("FAILED")}}},
        }
    }
}
E1, E2, E3 = (Item(operation="RetryEngine", project_id="p", engine_id=id_) for id_ in ("e1", "e2", "e3"))
R1, R2 = (Item(operation="RetryScriptExecution", project_id="p", record_id=id_) for id_ in ("r1", "r2"))
T = Item(operation="RetryScriptExecution", project_id="p", task_id="t")


@pytest.fixture(scope="module")
def server() -> Iterator[Mock]:
    with mock_server() as mock:
        yield mock


@pytest.fixture
def mock(server: Mock) -> Mock:
    server.reset()
    server.set_state(json.dumps(STATE))
    return server


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def where(mock: Mock, token: str = "mock-token") -> dict[str, Any]:
    return {"endpoint": mock.url, "region": "cn-north-4", "credentials": TokenAuth(token), "rate": None}


def sent(mock: Mock, journal: Path, *items: Item, **settings: Any) -> dict[str, str]:
    """Send items one after the other; returns the verdicts by name."""
    run = Bulk(items, journal=journal, concurrency=1, resend=None, **where(mock), **settings)
    return {outcome.item.name: outcome.verdict for outcome in all_of(run)}


def followed(mock: Mock, journal: Path, **settings: Any) -> list[Outcome]:
    return all_of(Followup(journal, **{"settle": 0, **where(mock), **settings}))


def all_of(run: Bulk | Followup) -> list[Outcome]:
    async def outcomes() -> list[Outcome]:
        return [outcome async for outcome in run]

    return asyncio.run(outcomes())


def acted(mock: Mock) -> Counter[str]:
    paths_and_bodies = [(entry["path"], entry["body"] or {}) for entry in mock.journal() if entry["acted"]]
    ids = (
        body.get("record_id") or body.get("task_id") or path.split("/")[-2] for path, body in paths_and_bodies
    )
    return Counter(ids)


def rows(journal: Path) -> list[dict[str, Any]]:
    with JournalReader(journal) as reader:
        return list(reader.items())


def test_what_acted_is_accepted_and_what_did_not_is_sent_by_the_next_run(mock: Mock, journal: Path) -> None:
    for close in ("after", "before"):
        mock.add_fault(close=close, times=1)
    assert sent(mock, journal, E1, E2, R1) == {
        "engine e1": "unknown",
        "engine e2": "unknown",
        "record r1": "accepted",
    }

    found = {outcome.item: outcome for outcome in followed(mock, journal, resolve=True)}

    assert {item.name: outcome.verdict for item, outcome in found.items()} == {
        "engine e1": "accepted",
        "engine e2": "refused",
    }
    assert found[E1.in_region("cn-north-4")].seen is not None
    assert "job 1 is Executing" in found[E1.in_region("cn-north-4")].message
    assert [(row["verdict"], row["seen"] is not None) for row in rows(journal)] == [
        ("accepted", True),
        ("planned", True),
        ("accepted", False),
    ]
    assert sent(mock, journal, E1, E2, R1) == {"engine e2": "accepted"}
    assert acted(mock) == {"e1": 1, "e2": 1, "r1": 1}


@pytest.mark.parametrize("item", [R2, T], ids=["record", "task"])
@pytest.mark.parametrize(("close", "verdict"), [("after", "accepted"), ("before", "refused")])
def test_a_record_and_a_task_are_settled_as_an_engine_is(
    mock: Mock, journal: Path, item: Item, close: Any, verdict: str
) -> None:
    mock.add_fault(close=close, times=1)
    assert sent(mock, journal, item) == {item.name: "unknown"}
    assert [outcome.verdict for outcome in followed(mock, journal, resolve=True)] == [verdict]


def test_what_cannot_be_told_stays_unknown_and_says_why(mock: Mock, journal: Path) -> None:
    mock.set_state(json.dumps({"projects": {"p": {"engines": {"e1": job(1, "Error", run_time=0.0)}}}}))
    mock.add_fault(close="after", times=1)
    sent(mock, journal, E1)
    (outcome,) = followed(mock, journal, resolve=True)
    assert outcome.verdict == "unknown"
    assert "too near to when the request was sent" in str(outcome.seen)
    assert outcome.message.endswith("the request may have been processed")


def test_a_clock_that_is_set_between_sending_and_looking_misleads_nobody(mock: Mock, journal: Path) -> None:
    mock.add_fault(close="after", times=1)
    sent(mock, journal, E3, E1)  # the second response tells the server's time
    mock.advance(
        3600
    )  # in which the job has run and failed again: by the new clock, before the request was sent
    (outcome,) = followed(mock, journal, resolve=True)
    assert outcome.verdict == "unknown"


def sent_by_another_clock(
    mock: Mock, journal: Path, seconds: float, *ids: str, boot: Path | None = None
) -> None:
    """Send retries of engines from a process whose clock is so far ahead; on another machine if its boot is given."""
    script = f"""
import time
now = time.time
time.time = lambda: now() + {seconds}
import asyncio
from pathlib import Path
from huaweicloud_retry import TokenAuth
from huaweicloud_retry.bulk import Bulk, Item, clocks
clocks._BOOT = Path({str(boot)!r}) if {boot is not None} else clocks._BOOT

async def main():
    items = [Item(operation="RetryEngine", project_id="p", engine_id=id_) for id_ in {ids!r}]
    run = Bulk(items, journal=Path({str(journal)!r}), concurrency=1, resend=None, endpoint={mock.url!r},
               region="cn-north-4", credentials=TokenAuth("mock-token"))
    async for outcome in run:
        pass

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not name the boot")
@pytest.mark.parametrize("seconds", [600, -600])
def test_a_clock_that_was_wrong_at_the_sending_misleads_nobody(
    mock: Mock, journal: Path, seconds: float
) -> None:
    for close in ("after", "before"):
        mock.add_fault(close=close, times=1)
    sent_by_another_clock(
        mock, journal, seconds, "e1", "e2"
    )  # no response: nothing is known of the server's clock
    verdicts = {outcome.item.name: outcome.verdict for outcome in followed(mock, journal, resolve=True)}
    assert verdicts == {"engine e1": "unknown", "engine e2": "unknown"}


@pytest.mark.parametrize("has_response", [False, True])
def test_on_another_machine_only_responses_tell_the_clock(
    mock: Mock, journal: Path, tmp_path: Path, has_response: bool
) -> None:
    boot = tmp_path / "boot"
    boot.write_text("another machine", "ascii")
    mock.add_fault(close="after", times=1)
    sent_by_another_clock(mock, journal, 600, "e3", *(["e2"] if has_response else []), boot=boot)
    mock.advance(3 * RUNS)  # the job has failed again, which by the clock of now was long before the request
    (outcome,) = followed(mock, journal, resolve=True)
    assert outcome.verdict == "unknown"
    assert ("the clock of that run is not known" in str(outcome.seen)) is not has_response


def test_of_an_item_that_was_sent_twice_the_first_time_counts(mock: Mock, journal: Path) -> None:
    mock.add_fault(close="after", times=1)
    sent(mock, journal, E3)
    first = rows(journal)[0]["started_at"]
    mock.add_fault(close="before", times=1)
    sent(mock, journal, E3, resend_unknown=True)
    assert rows(journal)[0]["started_at"] == first


def test_work_is_followed_to_its_end(mock: Mock, journal: Path) -> None:
    sent(mock, journal, E1, E3, R1, R2)
    running = followed(mock, journal, wait=True, wait_timeout=0)
    assert [outcome.ended for outcome in running] == ["running"] * 4
    assert "job 1 is Executing" in {outcome.seen for outcome in running}
    mock.advance(2 * RUNS)

    found = followed(mock, journal, wait=True)

    assert {outcome.item.name: (outcome.ended, outcome.seen) for outcome in found} == {
        "engine e1": ("succeeded", "job 1 is Finished"),
        "engine e3": ("failed", "job 3 is Error: modify: No space left."),
        "record r1": ("succeeded", "record r1 is SUCCESS"),
        "record r2": ("failed", "record r2 is FAILED: 1: The script ended with exit code 1."),
    }
    assert [row["ended"] for row in rows(journal)] == ["succeeded", "failed", "succeeded", "failed"]
    assert followed(mock, journal, wait=True) == []


def test_refused_credentials_end_it_after_one_read(mock: Mock, journal: Path) -> None:
    mock.add_fault(close="after", times=2)
    sent(mock, journal, E1, E2)
    before, asked = rows(journal), len(mock.journal())
    run = Followup(journal, resolve=True, wait=True, **where(mock, token="wrong"))
    assert all_of(run) == []
    assert str(run.halted).startswith("authentication failed: 401 APIGW.0301")
    assert (rows(journal), len(mock.journal())) == (before, asked + 1)


def test_nothing_is_looked_at_elsewhere_than_where_it_was_sent(mock: Mock, journal: Path) -> None:
    sent(mock, journal, E1)
    with pytest.raises(JournalError, match=r"was sent to .*, but this run sends to http://127\.0\.0\.1:9"):
        followed(mock, journal, resolve=True, endpoint="http://127.0.0.1:9")


def test_a_journal_that_is_not_there_is_not_made(mock: Mock, journal: Path) -> None:
    with pytest.raises(JournalError, match="does not exist: name the journal of a bulk"):
        followed(mock, journal, resolve=True)
    assert list(journal.parent.iterdir()) == []


def test_what_a_killed_run_left_in_flight_is_settled(mock: Mock, journal: Path) -> None:
    """A run that was killed has not written what came of an item; when it was killed, nobody knows."""
    script = f"""
import asyncio, os
from huaweicloud_retry import TokenAuth
from huaweicloud_retry.bulk import Bulk, Item
from pathlib import Path

async def main():
    items = [Item(operation="RetryEngine", project_id="p", engine_id=id_) for id_ in ("e1", "e2")]
    run = Bulk(items, journal=Path({str(journal)!r}), concurrency=1, resend=None, endpoint={mock.url!r},
               region="cn-north-4", credentials=TokenAuth("mock-token"))
    async for outcome in run:
        os.kill(os.getpid(), 9)  # the second is at least about to be sent

asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    found = followed(mock, journal, resolve=True)
    assert {outcome.verdict for outcome in found} <= {"accepted", "refused"}
    sent(mock, journal, E1, E2)
    assert acted(mock) == {"e1": 1, "e2": 1}


# --- The command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def options(mock: Mock, tmp_path: Path) -> list[str]:
    token = tmp_path / "token"
    token.write_text("mock-token", encoding="utf-8")
    return ["--endpoint", mock.url, "--region", "cn-north-4", "--token-file", str(token)]


def given(tmp_path: Path, *ids: str) -> str:
    file = tmp_path / "in.csv"
    file.write_text("project_id,engine_id\n" + "".join(f"p,{id_}\n" for id_ in ids), encoding="utf-8")
    return str(file)


def test_bulk_waits_if_asked_and_the_exit_code_says_how_it_ended(
    mock: Mock, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = given(tmp_path, "e1", "e3")
    waiting = ["bulk", file, *options, "--wait", "--wait-timeout"]
    assert main([*waiting, "0"]) == 5
    mock.advance(2 * RUNS)
    capsys.readouterr()
    assert main([*waiting, "60", "--output", "json"]) == 4
    out, err = capsys.readouterr()
    assert {each["engine_id"]: each["ended"] for each in json.loads(out)} == {
        "e1": "succeeded",
        "e3": "failed",
    }
    assert "2 accepted: 1 succeeded, 1 failed again" in err

    assert main(["report", f"{file}.journal", "--output", "csv", "--only", "failed"]) == 0
    assert ",e3," in capsys.readouterr().out
    assert main(["report", f"{file}.journal"]) == 0
    assert json.loads(capsys.readouterr().out)["ended"] == {"succeeded": 1, "failed": 1, "running": 0}


def test_all_that_succeeded_is_0(mock: Mock, tmp_path: Path, options: list[str]) -> None:
    file = given(tmp_path, "e1", "e2")
    assert main(["bulk", file, *options]) == 0
    mock.advance(2 * RUNS)
    assert main(["bulk", file, *options, "--wait"]) == 0


def test_resolve_says_what_it_found_and_what_is_left(
    mock: Mock, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = given(tmp_path, "e1", "e2")
    mock.add_fault(close="after", times=1)
    assert main(["bulk", file, *options, "--concurrency", "1"]) == 3
    assert f"to find out whether the unknown items were processed: hwc-retry resolve {file}.journal" in capsys.readouterr().err
    assert main(["resolve", f"{file}.journal", *options]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["verdict"] == "accepted"
    assert "1 unknown before: 1 accepted" in err
    assert main(["resolve", f"{file}.journal", *options]) == 0
    assert capsys.readouterr().out == ""


def test_bulk_resolves_at_its_end_if_asked(
    mock: Mock, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = given(tmp_path, "e1", "e2")
    mock.add_fault(close="after", times=1)
    assert main(["bulk", file, *options, "--concurrency", "1", "--resolve", "--output", "jsonl"]) == 0
    verdicts = [json.loads(line)["verdict"] for line in capsys.readouterr().out.splitlines()]
    assert sorted(verdicts) == ["accepted", "accepted", "unknown"]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda _: None, "does not exist"),
        (lambda file: file.write_bytes(b""), "is empty"),
        (lambda file: file.write_text("notes " * 999, "utf-8"), "is damaged, or not a journal"),
    ],
    ids=["missing", "empty", "other"],
)
def test_what_is_no_journal_is_refused(
    options: list[str], journal: Path, make: Any, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(journal)
    assert main(["resolve", str(journal), *options]) == 2
    assert why in capsys.readouterr().err


def test_a_damaged_row_is_not_acted_upon(mock: Mock, journal: Path) -> None:
    mock.add_fault(close="after", times=1)
    sent(mock, journal, E1)
    with closing(sqlite3.connect(journal)) as db:
        db.execute("UPDATE item SET started_at = started_at + 9999")
        db.commit()
    with pytest.raises(JournalError, match="rows that do not match their checksums: 1"):
        followed(mock, journal, resolve=True)


def test_counts_are_of_the_whole_journal(mock: Mock, journal: Path) -> None:
    mock.add_fault(close="after", times=1)
    sent(mock, journal, E1, E2)
    run = Followup(journal, resolve=True, settle=0, **where(mock))
    all_of(run)
    assert (run.counts, run.left) == (Counts(accepted=2), 0)
