"""Many retries at once, against the mock; its journal is the witness. What a kill leaves: test_cli.py."""

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry import AkSkAuth, ConfigurationError, PasswordAuth, Resend, TokenAuth
from huaweicloud_retry.bulk import Bulk, Counts, Item, JournalError, Outcome, Plan
from huaweicloud_retry.bulk.journal_file import JournalReader
from huaweicloud_retry.testing import Fault, JournalEntry, Mock, mock_server
from tests.connections import Line, Server

RECORDS = 40
AT_ONCE = Resend(max_attempts=5, initial_backoff=0)
KNOWN = {f"r{n}": {"status": "FAILED", "retries_end": ["FAILED"]} for n in range(RECORDS)}
STATE = json.dumps({"run_time": 0, "projects": {"p": {"script_tasks": {"t": {"records": KNOWN}}}}})


@pytest.fixture(scope="module")
def server() -> Iterator[Mock]:
    with mock_server() as mock:
        yield mock


@pytest.fixture
def mock(server: Mock) -> Mock:
    """The mock, which knows `RECORDS` records that can be retried any number of times."""
    server.reset()
    server.set_state(STATE)
    return server


def faults(mock: Mock, *given: Fault) -> None:
    for fault in given:
        mock.add_fault(**fault)


def asked(mock: Mock) -> list[JournalEntry]:
    return [entry for entry in mock.journal() if entry["operation"]]


def acted(mock: Mock) -> set[str]:
    return {entry["body"]["record_id"] for entry in asked(mock) if entry["acted"]}


def record(id_: str) -> Item:
    return Item(operation="RetryScriptExecution", project_id="p", record_id=id_)


def records(count: int = RECORDS) -> list[Item]:
    return [record(f"r{n}") for n in range(count)]


def bulk(mock: Mock, items: Any, **settings: Any) -> Bulk:
    usual = {"rate": None, "endpoint": mock.url, "credentials": TokenAuth("mock-token"), "resend": AT_ONCE}
    return Bulk(items, **{**usual, **settings})


def done(run: Bulk, on_outcome: Callable[[Outcome], object] = lambda _: None) -> list[Outcome]:
    async def main() -> list[Outcome]:
        outcomes: list[Outcome] = []
        async for outcome in run:
            outcomes.append(outcome)
            on_outcome(outcome)
        return outcomes

    return asyncio.run(main())


def in_flight(run: Bulk) -> int:
    """How many requests are out at this moment, which nobody else knows."""
    return 0 if run._writer is None else len(run._writer._workers.in_flight)


def verdicts(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(outcome.verdict for outcome in outcomes)


# --- What comes of items ----------------------------------------------------------------------------------------------


def test_each_item_is_sent_once_and_its_outcome_told(mock: Mock) -> None:
    run = bulk(mock, [*records(), record("no such record")])
    outcomes = done(run)
    assert verdicts(outcomes) == {"accepted": RECORDS, "refused": 1}
    assert len(asked(mock)) == RECORDS + 1
    assert run.counts == Counts(accepted=RECORDS, refused=1)
    first = next(outcome for outcome in outcomes if outcome.item == record("r0"))
    assert (first.message, first.status, first.response, first.attempts) == (
        "task t",
        200,
        {"task_id": "t"},
        1,
    )
    last = next(outcome for outcome in outcomes if outcome.verdict == "refused")
    assert (last.status, last.error_code) == (404, "WKS.00211902")
    assert last.message.startswith("404 WKS.00211902: The script execution record does not exist")


def test_both_operations_may_be_mixed(mock: Mock) -> None:
    engine = Item(operation="RetryEngine", project_id="p", engine_id="e", enterprise_project_id="0")
    outcomes = done(bulk(mock, [engine, record("r0")]))
    assert {outcome.item.name: outcome.error_code for outcome in outcomes} == {
        "engine e": "SVCSTG.00501116",
        "record r0": None,
    }
    assert asked(mock)[0]["headers"]["x-enterprise-project-id"] == "0"


def test_what_is_given_twice_is_sent_once(mock: Mock) -> None:
    run = bulk(mock, [*records(3), *records(3), record("r1")])
    assert len(done(run)) == 3
    assert run.plan == Plan(3, 4, before=Counts(planned=3), to_send=3)
    assert len(asked(mock)) == 3


def test_an_answer_that_does_not_come_leaves_the_item_unknown(mock: Mock) -> None:
    faults(mock, {"close": "after", "times": 1}, {"status": 504, "times": 1})
    outcomes = done(bulk(mock, records(5)))
    assert verdicts(outcomes) == {"accepted": 3, "unknown": 2}
    assert len(asked(mock)) == 5


def test_nothing_to_do_is_done_at_once(mock: Mock) -> None:
    assert done(bulk(mock, [])) == []


def test_what_the_items_raise_comes_out_before_anything_is_sent(mock: Mock, tmp_path: Path) -> None:
    def items() -> Iterator[Item]:
        yield record("r0")
        raise ValueError("the second line will not do")

    with pytest.raises(ValueError, match="the second line"):
        done(bulk(mock, items(), journal=tmp_path / "journal"))
    assert asked(mock) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("settings", [{"concurrency": 0}, {"rate": 0}, {"rate": -1.0}, {"grace": -1}])
def test_a_setting_that_will_not_do_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="concurrency must be 1 or more, rate above 0"):
        Bulk([], **settings)


def test_a_region_that_the_service_does_not_have_is_refused() -> None:
    items = [Item(operation="RetryEngine", project_id="p", engine_id="e", region="nowhere")]
    with pytest.raises(ConfigurationError, match="cse has no region 'nowhere'"):
        done(Bulk(items, credentials=TokenAuth("mock-token")))


# --- With a journal ---------------------------------------------------------------------------------------------------


def test_a_second_run_sends_only_what_was_not_sent(mock: Mock, tmp_path: Path) -> None:
    file = tmp_path / "journal"
    run = bulk(mock, records(), journal=file)
    first = done(run, lambda _: run.stop())
    again = bulk(mock, records(), journal=file)
    second = done(again)
    assert len(first) < RECORDS
    assert {o.item for o in first}.isdisjoint({o.item for o in second})
    assert len(first) + len(second) == len(asked(mock)) == RECORDS
    assert again.counts == Counts(accepted=RECORDS)
    assert again.plan is not None
    assert again.plan.before == Counts(planned=RECORDS - len(first), accepted=len(first))


def test_refused_and_unknown_are_sent_again_only_if_asked(mock: Mock, tmp_path: Path) -> None:
    file = tmp_path / "journal"
    faults(mock, {"status": 400, "times": 1}, {"status": 502, "times": 1})
    assert verdicts(done(bulk(mock, records(5), journal=file))) == {"refused": 1, "unknown": 1, "accepted": 3}
    assert done(bulk(mock, records(5), journal=file)) == []
    assert verdicts(done(bulk(mock, records(5), journal=file, retry_refused=True))) == {"accepted": 1}
    assert verdicts(done(bulk(mock, records(5), journal=file, resend_unknown=True))) == {"accepted": 1}
    assert len(asked(mock)) == 7


def test_a_refusal_of_what_may_have_run_leaves_it_unknown(mock: Mock, tmp_path: Path) -> None:
    file = tmp_path / "journal"
    faults(mock, {"close": "after", "times": 1}, {"status": 400, "times": 1})
    assert verdicts(done(bulk(mock, records(1), journal=file))) == {"unknown": 1}
    again = bulk(mock, records(1), journal=file, resend_unknown=True)
    (outcome,) = done(again)
    assert (outcome.verdict, outcome.status) == ("unknown", 400)
    assert outcome.message.endswith("; an earlier attempt may have been processed")
    assert done(bulk(mock, records(1), journal=file, retry_refused=True)) == []


def test_what_is_unknown_and_was_not_reached_again_is_unknown_still(mock: Mock, tmp_path: Path) -> None:
    file = tmp_path / "journal"
    faults(mock, {"close": "after", "times": 3})
    done(bulk(mock, records(3), journal=file, concurrency=1))
    run = bulk(mock, records(3), journal=file, resend_unknown=True, credentials=TokenAuth("no-such-token"))
    done(run)
    assert run.counts == Counts(unknown=3)
    assert done(bulk(mock, records(3), journal=file, retry_refused=True)) == []


def test_the_region_is_part_of_the_item(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_WORKSPACE_CN_NORTH_4", mock.url)
    named = Item(operation="RetryScriptExecution", project_id="p", record_id="r0", region="cn-north-4")
    run = Bulk([record("r0"), named], region="cn-north-4", credentials=TokenAuth("mock-token"))
    assert [outcome.item for outcome in done(run)] == [named]


def test_a_bulk_is_for_one_run(mock: Mock) -> None:
    run = bulk(mock, records(1))
    done(run)
    with pytest.raises(RuntimeError, match="a Bulk is for one run: create another"):
        done(run)


def test_who_stops_listening_leaves_a_true_journal(mock: Mock, tmp_path: Path) -> None:
    async def main() -> None:
        async for _ in bulk(mock, records(), journal=tmp_path / "journal"):
            break

    asyncio.run(main())
    with JournalReader(tmp_path / "journal") as journal:
        states = {each["record_id"]: each["verdict"] for each in journal.items()}
    assert {id_ for id_, state in states.items() if state == "accepted"} <= acted(mock)
    assert acted(mock) <= {id_ for id_, state in states.items() if state in {"accepted", "unknown"}}


def test_an_event_loop_that_ends_leaves_a_true_journal_that_is_free(mock: Mock, tmp_path: Path) -> None:
    for turns in range(0, 90, 9):
        errors: list[Any] = []

        async def main(file: Path, turns: int = turns, errors: list[Any] = errors) -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
            outcomes = aiter(bulk(mock, records(8), journal=file, concurrency=2))
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(anext(outcomes))
                for _ in range(turns):
                    await asyncio.sleep(0.0005)
                for each in asyncio.all_tasks() - {asyncio.current_task(), task}:
                    each.cancel()  # as `asyncio.run` does when it ends
                task.cancel()

        with suppress(asyncio.CancelledError):
            asyncio.run(main(tmp_path / f"{turns}"))
        assert errors == []
        again = bulk(mock, records(8), journal=tmp_path / f"{turns}")
        done(again)
        assert again.counts.accepted + again.counts.unknown == 8


def test_a_journal_that_cannot_be_written_any_more_ends_the_run_and_loses_nothing(
    mock: Mock, tmp_path: Path
) -> None:
    told: list[str] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(outcome: Outcome) -> None:
        told.append(str(outcome.item.record_id))
        if len(told) == 10:
            resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))  # as a full disk

    try:
        with pytest.raises(JournalError, match="journal cannot be written: ") as caught:
            done(bulk(mock, records(), journal=tmp_path / "journal", concurrency=4), fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    unwritten = {str(outcome.item.record_id) for outcome in caught.value.unwritten}
    assert len(acted(mock)) < RECORDS
    assert acted(mock) == set(told) | unwritten
    # What the journal does not have, and what was ready to be sent, is in flight there: unknown, and not sent again.
    again = bulk(mock, records(), journal=tmp_path / "journal")
    done(again)
    assert again.counts.accepted + again.counts.unknown == RECORDS
    assert again.counts.unknown >= len(unwritten)
    assert max(Counter(entry["body"]["record_id"] for entry in asked(mock)).values()) == 1


@pytest.mark.parametrize(
    "changes",
    [{"enterprise_project_id": "7"}, {"region": "cn-north-4"}],
    ids=["enterprise project", "region"],
)
def test_the_same_thing_at_the_same_place_is_known_again_however_it_is_given(
    mock: Mock, tmp_path: Path, changes: dict[str, str]
) -> None:
    file = tmp_path / "journal"
    plain = [Item(operation="RetryEngine", project_id="p", engine_id=f"e{n}") for n in range(3)]
    given = [replace(item, **changes) for item in plain]
    if "region" in changes:
        plain = [replace(item, region="cn-north-1") for item in plain]
    assert verdicts(done(bulk(mock, plain, journal=file))) == {"refused": 3}
    again = bulk(mock, given, journal=file)
    assert done(again) == []
    assert again.counts == Counts(refused=3)
    outcomes = done(bulk(mock, given, journal=file, retry_refused=True))
    assert [outcome.item for outcome in outcomes] == given  # as it is given now
    assert done(bulk(mock, [*plain, *given], endpoint=mock.url)) != []
    assert len(asked(mock)) == 9


@pytest.mark.parametrize("accessed_by", ["read", "hard link"])
def test_no_second_process_sends_what_a_run_has_in_its_journal(
    mock: Mock, tmp_path: Path, accessed_by: str
) -> None:
    file, other = tmp_path / "journal", tmp_path / "link"
    lines = [
        json.dumps({"operation": "RetryScriptExecution", "project_id": "p", "record_id": id_})
        for id_ in KNOWN
    ]
    (tmp_path / "input").write_text("\n".join(lines), encoding="utf-8")
    second: list[subprocess.CompletedProcess[str]] = []

    def start_second(_: Outcome) -> None:
        if second:
            return
        if accessed_by == "read":
            file.read_bytes()  # as a backup does; it takes SQLite's lock from this process
        else:
            other.hardlink_to(file)
        journal = file if accessed_by == "read" else other
        command = ["bulk", str(tmp_path / "input"), "--journal", str(journal), "--endpoint", mock.url]
        second.append(
            subprocess.run(
                [sys.executable, "-m", "huaweicloud_retry", *command],
                env={**os.environ, "HW_AUTH_TOKEN": "mock-token"},
                capture_output=True,
                text=True,
                check=False,
            )
        )

    assert verdicts(done(bulk(mock, records(), journal=file, concurrency=2), start_second)) == {
        "accepted": RECORDS
    }
    assert second[0].returncode == 2
    assert ("in use" if accessed_by == "read" else "hard link") in second[0].stderr
    assert len(asked(mock)) == RECORDS


def test_one_flipped_bit_sends_nothing(mock: Mock, tmp_path: Path) -> None:
    file = tmp_path / "journal"
    run = bulk(mock, records(9), journal=file, concurrency=1)
    assert len(done(run, lambda _: run.stop())) < 8
    content = bytearray(file.read_bytes())
    content[content.index(b'"record_id":"r8"') + len('"record_id":"r')] ^= (
        8  # r8, which is planned, is now r0
    )
    file.write_bytes(content)
    sent = len(asked(mock))
    with pytest.raises(
        JournalError, match=r"is damaged: rows that do not match their checksums: 9. Nothing was sent"
    ):
        done(bulk(mock, records(9), journal=file))
    assert len(asked(mock)) == sent


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (
            {},
            {"endpoint": "http://localhost:9"},
            r"was sent to http://127.0.0.1:\d+ \(workspace\), but this run sends to http",
        ),
        (
            {},
            {"region": "cn-north-4"},
            r"was sent to no region \(items without a region\), but this run sends to cn-north-4",
        ),
        (
            {"region": "cn-north-1"},
            {"region": "cn-north-4"},
            "but this run sends to cn-north-4: give region= and endpoint=",
        ),
        (
            {"region": "cn-north-4"},
            {"region": "cn-north-4", "endpoint": None},
            "sends to https://workspace.cn-north-4",
        ),
    ],
    ids=["endpoint", "region", "other region", "mock, then production"],
)
def test_a_journal_is_for_one_endpoint_and_region(
    mock: Mock, tmp_path: Path, first: dict[str, Any], second: dict[str, Any], why: str
) -> None:
    file = tmp_path / "journal"
    done(bulk(mock, records(2), journal=file, **first))
    with pytest.raises(JournalError, match=why):
        done(bulk(mock, records(2), journal=file, **second))
    assert done(bulk(mock, records(2), journal=file, **first)) == []


def test_a_host_of_the_environment_counts_as_an_endpoint(
    mock: Mock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"journal": tmp_path / "journal", "region": "cn-north-4", "endpoint": None}
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_WORKSPACE_CN_NORTH_4", mock.url)
    assert verdicts(done(bulk(mock, records(2), **given))) == {"accepted": 2}
    monkeypatch.delenv("HUAWEICLOUD_SDK_REGION_WORKSPACE_CN_NORTH_4")
    with pytest.raises(
        JournalError, match=r"this run sends to https://workspace.cn-north-4.myhuaweicloud.com"
    ):
        done(bulk(mock, records(2), **given))


def test_rows_may_be_added_and_taken_away(mock: Mock, tmp_path: Path) -> None:
    file = tmp_path / "journal"
    done(bulk(mock, [record("r0"), record("nowhere")], journal=file))
    again = bulk(mock, [record("r2"), record("r0"), record("r1")], journal=file)
    assert [outcome.item for outcome in done(again)] == [record("r2"), record("r1")]
    assert again.plan is not None
    assert (again.plan.added, again.plan.vanished_names) == (2, ("record nowhere (refused)",))
    assert again.counts == Counts(accepted=3)


@dataclass(frozen=True)
class FrozenError(Exception):
    """Takes no attributes."""

    code: int


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("vault: command not found"),
        ValueError("no secret"),
        KeyError("token"),
        FrozenError(7),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_failed_before_it_was_sent_stays_planned(mock: Mock, tmp_path: Path, error: Exception) -> None:
    def fetch() -> str:
        raise error

    for _ in range(2):
        run = bulk(mock, records(3), journal=tmp_path / "journal", credentials=TokenAuth(fetch))
        assert done(run) == []
        assert run.halted == f"{type(error).__name__}: {error}; nothing was sent"
        assert run.counts == Counts(planned=3)
    assert verdicts(done(bulk(mock, records(3), journal=tmp_path / "journal"))) == {"accepted": 3}


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
def test_what_ends_the_process_before_anything_is_sent_leaves_all_planned(
    mock: Mock, tmp_path: Path, error: BaseException
) -> None:
    def fetch() -> str:
        raise error

    with pytest.raises(type(error)):
        done(bulk(mock, records(3), journal=tmp_path / "journal", credentials=TokenAuth(fetch)))
    assert verdicts(done(bulk(mock, records(3), journal=tmp_path / "journal"))) == {"accepted": 3}


def test_a_token_that_cannot_be_fetched_for_want_of_a_connection_leaves_all_planned(
    mock: Mock, tmp_path: Path
) -> None:
    def fetch() -> str:
        raise httpx.ConnectError("the vault is gone")

    run = bulk(mock, records(5), journal=tmp_path / "journal", credentials=TokenAuth(fetch), resend=None)
    assert verdicts(done(run)) == {"refused": 1}  # of this run
    assert run.counts == Counts(planned=5)
    assert verdicts(done(bulk(mock, records(5), journal=tmp_path / "journal"))) == {"accepted": 5}


def test_what_waits_for_a_token_when_the_time_is_up_was_not_sent(mock: Mock, tmp_path: Path) -> None:
    mock.reset()  # to the built-in state, whose user IAM knows
    mock.add_fault(delay=3000, operation="KeystoneCreateUserTokenByPassword")
    password = PasswordAuth("mock-user", "mock-password", domain_name="mock-domain", iam_endpoint=mock.url)
    run = bulk(mock, records(2), journal=tmp_path / "journal", credentials=password)

    async def main() -> list[Outcome]:
        async with asyncio.TaskGroup() as tasks:

            async def abort() -> None:
                while not in_flight(run):  # noqa: ASYNC110 - nobody else tells when it is out
                    await asyncio.sleep(0.001)
                run.abort()

            tasks.create_task(abort())
            return [outcome async for outcome in run]

    assert asyncio.run(main()) == []
    assert run.counts == Counts(planned=2)


def test_a_response_that_cannot_be_kept_does_not_send_the_item_again(tmp_path: Path) -> None:
    deep = b'{"id": "e", "name": "n", "jobId": 1, "more": %b}' % (b"[" * 600 + b"]" * 600)

    def serve(line: Line) -> None:
        while line.request() is not None:
            line.socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(deep), deep))

    items = [Item(operation="RetryEngine", project_id="p", engine_id=f"{n}") for n in range(3)]
    with Server(serve) as server:
        for _ in range(2):
            done(Bulk(items, journal=tmp_path / "journal", endpoint=server.url, credentials=TokenAuth("t")))
        assert len(server.requests) == len(set(server.requests))
    with JournalReader(tmp_path / "journal") as journal:
        planned = [each for each in journal.items() if each["verdict"] == "planned"]
    assert len(planned) == len(items) - len(server.requests)


def test_text_that_cannot_be_written_is_written_without_it(tmp_path: Path) -> None:
    body = rb'{"error_code": "\ud800C", "error_msg": "\ud800m", "request_id": "\ud800i"}'

    def serve(line: Line) -> None:
        while line.request() is not None:
            line.socket.sendall(
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )

    items = [Item(operation="RetryEngine", project_id="p", engine_id="1")]
    with Server(serve) as server:
        run = Bulk(items, journal=tmp_path / "journal", endpoint=server.url, credentials=TokenAuth("t"))
        (outcome,) = done(run)
    assert (outcome.verdict, outcome.error_code, outcome.request_id) == ("refused", "C", "i")
    assert run.counts == Counts(refused=1)


def test_an_auth_that_fails_after_the_response_leaves_the_item_unknown(mock: Mock, tmp_path: Path) -> None:
    class Curious(httpx.Auth):
        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            request.headers["X-Auth-Token"] = "mock-token"
            yield request
            raise RuntimeError("I had not expected a response")

    run = bulk(mock, records(3), journal=tmp_path / "journal", credentials=Curious())
    (outcome,) = done(run)
    assert (outcome.verdict, outcome.item) == ("unknown", record("r0"))
    assert (
        outcome.message == "RuntimeError: I had not expected a response; the request may have been processed"
    )
    assert run.halted == outcome.message
    assert (acted(mock), run.counts) == ({"r0"}, Counts(planned=2, unknown=1))


def test_the_project_of_a_row_is_the_one_that_is_signed(mock: Mock) -> None:
    keys = AkSkAuth("mock-ak", "mock-sk", project_id="mine")
    items = [Item(operation="RetryEngine", project_id=id_, engine_id="e") for id_ in ("projectB", "projectC")]
    done(bulk(mock, items, credentials=keys))
    for entry in asked(mock):
        assert entry["headers"]["x-project-id"] == entry["path"].split("/")[2]


# --- How many at once, and when to stop -------------------------------------------------------------------------------


def test_never_more_at_once_than_asked_for(mock: Mock) -> None:
    faults(mock, {"delay": 0.02})
    run = bulk(mock, records(), concurrency=5)
    seen: list[int] = []
    done(run, lambda _: seen.append(in_flight(run)))
    assert max(seen) == 5


def test_a_429_slows_all_down_and_loses_nothing(mock: Mock) -> None:
    faults(mock, {"status": 429, "retry_after": 0, "times": 3})
    told: list[tuple[str, int]] = []
    run = bulk(mock, records(), rate=1000.0)
    run.on_attempt = lambda item, attempt, why, _: told.append((why[:3], attempt))
    rates: list[float] = []
    outcomes = done(run, lambda _: rates.append(run.rate))
    assert verdicts(outcomes) == {"accepted": RECORDS}
    assert [why for why, _ in told] == ["429"] * 3
    assert min(rates) < 600
    assert sum(outcome.attempts for outcome in outcomes) == RECORDS + 3


def test_a_429_that_does_not_end_is_a_refusal(mock: Mock) -> None:
    faults(mock, {"status": 429, "retry_after": 0})
    (outcome,) = done(bulk(mock, records(1), resend=Resend(max_attempts=2, initial_backoff=0)))
    assert (outcome.verdict, outcome.status, outcome.attempts) == ("refused", 429, 2)


def test_wrong_credentials_are_sent_once(mock: Mock, tmp_path: Path) -> None:
    run = bulk(mock, records(), credentials=TokenAuth("no-such-token"), journal=tmp_path / "journal")
    (outcome,) = done(run)
    assert outcome.status == 401
    assert len(asked(mock)) == 1
    assert run.halted is not None
    assert run.halted.startswith("authentication failed: 401 APIGW.0301")
    assert run.counts == Counts(planned=RECORDS)
    assert verdicts(done(bulk(mock, records(), journal=tmp_path / "journal"))) == {"accepted": RECORDS}


def test_when_nothing_can_be_reached_it_halts(mock: Mock) -> None:
    run = bulk(mock, records(), endpoint="http://127.0.0.1:9")
    (outcome,) = done(run)
    assert (outcome.verdict, outcome.attempts) == ("refused", 3)
    assert "nothing was sent" in outcome.message
    assert run.halted is not None
    assert run.halted.startswith("3 failures in a row; the last: POST http://127.0.0.1:9/")
    assert run.counts == Counts(planned=RECORDS)


def test_what_cannot_be_reached_and_is_not_tried_again_leaves_all_planned(mock: Mock, tmp_path: Path) -> None:
    with Server(lambda _: None) as server:
        nowhere = server.url
    again = {"journal": tmp_path / "journal", "resend": None}
    run = bulk(mock, records(3), **again, endpoint=nowhere)
    assert [outcome.item for outcome in done(run)] == [record("r0")]
    assert run.halted is not None
    assert "the service cannot be reached: " in run.halted
    assert run.counts == Counts(planned=3)


def test_when_the_service_is_gone_it_halts_before_all_are_unknown(mock: Mock) -> None:
    faults(mock, {"delay": 0, "times": 10}, {"status": 504})
    run = bulk(mock, records(), concurrency=2)
    outcomes = done(run)
    assert run.halted is not None
    assert "20 failures in a row" in run.halted
    assert verdicts(outcomes)["accepted"] == 10
    assert 20 <= verdicts(outcomes)["unknown"] <= 23


def test_a_stop_lets_those_under_way_end(mock: Mock) -> None:
    faults(mock, {"delay": 0.05})
    run = bulk(mock, records(), concurrency=8)
    outcomes = done(run, lambda _: run.stop())
    assert verdicts(outcomes) == {"accepted": len(outcomes)}
    assert len(asked(mock)) == len(outcomes) < RECORDS
    assert run.counts == Counts(planned=RECORDS - len(outcomes), accepted=len(outcomes))


@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_under_way_when_the_time_is_up_is_unknown(mock: Mock, at_once: bool) -> None:
    faults(mock, {"delay": 0, "times": 1}, {"delay": 3000})
    run = bulk(mock, records(), concurrency=4, grace=60.0 if at_once else 0.1)

    async def main() -> list[Outcome]:
        async with asyncio.TaskGroup() as tasks:

            async def stop() -> None:
                while in_flight(run) < 4:  # noqa: ASYNC110 - nobody else tells when they are out
                    await asyncio.sleep(0.001)
                (run.abort if at_once else run.stop)()

            tasks.create_task(stop())
            return [outcome async for outcome in run]

    outcomes = asyncio.run(main())
    assert verdicts(outcomes) == {"accepted": 1, "unknown": 4}
    cut_off = "aborted while in flight; the request may have been processed"
    assert {outcome.message for outcome in outcomes} == {"task t", cut_off}
    assert run.counts == Counts(planned=RECORDS - 5, accepted=1, unknown=4)


def test_who_waits_for_a_429_to_pass_when_it_stops_is_sent_by_the_next_run(
    mock: Mock, tmp_path: Path
) -> None:
    faults(mock, {"delay": 0, "times": 1}, {"status": 429, "retry_after": 3000})
    run = bulk(mock, records(3), journal=tmp_path / "journal")
    run.on_attempt = lambda *_: run.stop()
    assert verdicts(done(run)) == {"accepted": 1}
    mock.clear_faults()
    assert verdicts(done(bulk(mock, records(3), journal=tmp_path / "journal"))) == {"accepted": 2}


def test_who_listens_slowly_holds_it_up(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huaweicloud_retry.bulk.runner._UNREAD", 3)

    async def main() -> int:
        iterator = aiter(bulk(mock, records(), concurrency=4))
        await anext(iterator)
        for _ in range(3000):  # turns of the loop, in which all could be sent
            await asyncio.sleep(0)
        sent = len(asked(mock))
        assert len([outcome async for outcome in iterator]) == RECORDS - 1
        return sent

    assert asyncio.run(main()) < RECORDS


def test_who_does_not_listen_at_all_holds_up_no_stop(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huaweicloud_retry.bulk.runner._UNREAD", 1)

    async def main() -> Counts:
        run = bulk(mock, records())
        iterator = aiter(run)
        await anext(iterator)
        for _ in range(1000):
            await asyncio.sleep(0)
        run.stop()
        async with asyncio.timeout(30):
            while run.counts.sending:  # noqa: ASYNC110 - nobody else tells
                await asyncio.sleep(0)
        return run.counts

    counts = asyncio.run(main())
    assert counts.unknown == 0
    assert counts.accepted + counts.planned == RECORDS


@pytest.mark.parametrize(("status", "first", "attempts"), [(429, 404, 2), (503, 503, 1)])
def test_iam_that_is_busy_does_not_end_the_run_at_once(
    mock: Mock, status: int, first: int, attempts: int
) -> None:
    mock.reset()  # to the built-in state, whose user IAM knows
    mock.add_fault(status=status, operation="KeystoneCreateUserTokenByPassword", times=1)
    names = {"domain_name": "mock-domain", "project_name": "cn-north-4"}
    items = [
        Item(operation="RetryScriptExecution", project_id="demo-project", record_id=record_id)
        for record_id in ("nowhere", "0000000059071dbc01591661d3990020")
    ]
    password = PasswordAuth("mock-user", "mock-password", **names, iam_endpoint=mock.url)
    run = bulk(mock, items, credentials=password)
    outcomes = done(run)
    assert run.halted is None
    assert [outcome.status for outcome in outcomes] == [first, 200]
    assert outcomes[0].attempts == attempts
