"""`Bulk` against the mock, whose request log is the witness. What a kill leaves: test_cli_process.py."""

import asyncio
import json
import resource
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry import AkSkAuth, ConfigurationError, PasswordAuth, Resend, TokenAuth
from huaweicloud_retry.bulk import Bulk, Counts, Item, JournalError, Outcome, Plan
from huaweicloud_retry.bulk.journal_file import JournalReader
from huaweicloud_retry.testing import Fault, LoggedRequest, Mock
from tests.connections import Line, Server

RECORDS = 40
KNOWN = {f"r{n}": {"status": "FAILED", "retries_end": ["FAILED"]} for n in range(RECORDS)}
STATE = json.dumps({"run_time": 0, "projects": {"p": {"script_tasks": {"t": {"records": KNOWN}}}}})
TOKENS = "KeystoneCreateUserTokenByPassword"


@pytest.fixture
def mock(mock: Mock) -> Mock:
    """The mock, which knows `RECORDS` records that can be retried any number of times."""
    mock.set_state(STATE)
    return mock


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def add(mock: Mock, *faults: Fault) -> None:
    for fault in faults:
        mock.add_fault(**fault)


def received(mock: Mock) -> list[LoggedRequest]:
    return [entry for entry in mock.request_log() if entry["operation"]]


def acted(mock: Mock) -> set[str]:
    return {entry["body"]["record_id"] for entry in received(mock) if entry["acted"]}


def record(id_: str) -> Item:
    return Item(operation="RetryScriptExecution", project_id="p", record_id=id_)


def records(count: int = RECORDS) -> list[Item]:
    return [record(f"r{n}") for n in range(count)]


def engines(*ids: str, project: str = "p") -> list[Item]:
    return [Item(operation="RetryEngine", project_id=project, engine_id=id_) for id_ in ids]


def bulk(mock: Mock, items: Any, journal: Path | None = None, **settings: Any) -> Bulk:
    usual: dict[str, Any] = {"rate": None, "endpoint": mock.url, "credentials": TokenAuth("mock-token")}
    usual["resend"] = Resend(max_attempts=5, initial_backoff=0)
    return Bulk(items, journal=journal, **{**usual, **settings})


def done(run: Bulk, on_outcome: Callable[[Outcome], object] = lambda _: None) -> list[Outcome]:
    async def main() -> list[Outcome]:
        outcomes: list[Outcome] = []
        async for outcome in run:
            outcomes.append(outcome)
            on_outcome(outcome)
        return outcomes

    return asyncio.run(main())


def verdicts(run: Bulk) -> Counter[str]:
    return Counter(outcome.verdict for outcome in done(run))


def in_flight(run: Bulk) -> int:
    """How many requests are out at this moment, which nothing else knows."""
    return 0 if run._writer is None else len(run._writer._workers.in_flight)


async def outcomes_until(run: Bulk, in_flight_: int, end: Callable[[], None]) -> list[Outcome]:
    """Call `end` as soon as so many requests are in flight."""

    async def watch() -> None:
        while in_flight(run) < in_flight_:  # noqa: ASYNC110 - no event says it
            await asyncio.sleep(0.001)
        end()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        return [outcome async for outcome in run]


# --- The outcomes -----------------------------------------------------------------------------------------------------


def test_each_item_is_sent_once_and_has_an_outcome(mock: Mock) -> None:
    engine = replace(engines("e")[0], enterprise_project_id="0")
    run = bulk(mock, [*records(), *records(3), record("no such record"), engine])
    outcomes = {outcome.item: outcome for outcome in done(run)}
    assert run.plan == Plan(RECORDS + 2, 3, before=Counts(planned=RECORDS + 2), to_send=RECORDS + 2)
    assert len(outcomes) == len(received(mock)) == RECORDS + 2
    assert run.counts == Counts(accepted=RECORDS, refused=2)
    first, last = outcomes[record("r0")], outcomes[record("no such record")]
    assert (first.message, first.status, first.attempts) == ("task t", 200, 1)
    assert first.response == {"task_id": "t"}
    assert (last.verdict, last.status, last.error_code) == ("refused", 404, "WKS.00211902")
    assert last.message.startswith("404 WKS.00211902: The script execution record does not exist")
    assert outcomes[engine].error_code == "SVCSTG.00501116"
    (sent,) = (entry for entry in received(mock) if entry["operation"] == "RetryEngine")
    assert sent["headers"]["x-enterprise-project-id"] == "0"
    with pytest.raises(RuntimeError, match="a Bulk is for one run"):
        done(run)


def test_an_error_of_the_input_is_raised_before_anything_is_sent(mock: Mock, file: Path) -> None:
    def items() -> Iterator[Item]:
        yield record("r0")
        raise ValueError("the second line")

    assert done(bulk(mock, [])) == []
    with pytest.raises(ValueError, match="the second line"):
        done(bulk(mock, items(), file))
    assert (received(mock), [*file.parent.iterdir()]) == ([], [])


def test_an_invalid_setting_or_region_is_refused() -> None:
    wrong: list[dict[str, Any]] = [{"concurrency": 0}, {"rate": 0}, {"rate": -1.0}, {"grace": -1}]
    for settings in wrong:
        with pytest.raises(ValueError, match="concurrency must be 1 or more, rate above 0"):
            Bulk([], **settings)
    with pytest.raises(ConfigurationError, match="cse has no region 'nowhere'"):
        done(Bulk([replace(engines("e")[0], region="nowhere")], credentials=TokenAuth("mock-token")))


def test_the_project_of_the_item_is_signed(mock: Mock) -> None:
    keys = AkSkAuth("mock-ak", "mock-sk", project_id="mine")
    done(bulk(mock, [*engines("e", project="projectB"), *engines("e", project="projectC")], credentials=keys))
    for entry in received(mock):
        assert entry["headers"]["x-project-id"] == entry["path"].split("/")[2]


# --- With a journal ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["mock-token", "wrong"], ids=["refused", "not reached"])
def test_an_unknown_item_that_is_refused_later_stays_unknown(mock: Mock, file: Path, token: str) -> None:
    add(mock, {"close": "after", "times": 1}, {"status": 400, "times": 1})
    assert verdicts(bulk(mock, records(1), file)) == {"unknown": 1}
    run = bulk(mock, records(1), file, resend_unknown=True, credentials=TokenAuth(token))
    (outcome,) = done(run)
    assert run.counts == Counts(unknown=1)
    if token == "mock-token":
        assert (outcome.verdict, outcome.status) == ("unknown", 400)
        assert outcome.message.endswith("; an earlier attempt may have been processed")
    assert done(bulk(mock, records(1), file, retry_refused=True)) == []


def test_a_consumer_that_breaks_off_leaves_a_true_journal(mock: Mock, file: Path) -> None:
    async def main() -> None:
        async for _ in bulk(mock, records(10), file):
            break

    asyncio.run(main())
    with JournalReader(file) as journal:
        states = {each["record_id"]: each["verdict"] for each in journal.items()}
    assert {id_ for id_, state in states.items() if state == "accepted"} <= acted(mock)
    assert acted(mock) <= {id_ for id_, state in states.items() if state in {"accepted", "unknown"}}


def test_an_event_loop_that_ends_leaves_a_true_journal_that_is_free(mock: Mock, file: Path) -> None:
    async def cancelled(outcomes: AsyncIterator[Outcome], turns: int, errors: list[Any]) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        async with asyncio.TaskGroup() as tasks:
            task: asyncio.Task[Outcome] = tasks.create_task(anext(outcomes))  # type: ignore[arg-type] # a coroutine
            for _ in range(turns):
                await asyncio.sleep(0.0005)
            for each in asyncio.all_tasks() - {asyncio.current_task(), task}:
                each.cancel()  # as `asyncio.run` does when it ends
            task.cancel()

    for turns in (0, 20, 40, 80):
        errors: list[Any] = []
        journal = file.with_name(str(turns))
        with suppress(asyncio.CancelledError):
            asyncio.run(cancelled(aiter(bulk(mock, records(8), journal, concurrency=2)), turns, errors))
        again = bulk(mock, records(8), journal)
        done(again)
        assert (errors, again.counts.accepted + again.counts.unknown) == ([], 8)


def test_a_journal_that_cannot_grow_ends_the_run_and_loses_nothing(mock: Mock, file: Path) -> None:
    reported: list[str] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(outcome: Outcome) -> None:
        reported.append(str(outcome.item.record_id))
        if len(reported) == 10:
            resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))  # as a full disk

    try:
        with pytest.raises(JournalError, match="journal cannot be written: ") as caught:
            done(bulk(mock, records(), file, concurrency=4), fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    unwritten = {str(outcome.item.record_id) for outcome in caught.value.unwritten}
    assert len(acted(mock)) < RECORDS
    assert acted(mock) == set(reported) | unwritten
    # What the journal does not have, and what was ready to be sent, is in flight there: unknown, and not resent.
    again = bulk(mock, records(), file)
    done(again)
    assert again.counts.accepted + again.counts.unknown == RECORDS
    assert again.counts.unknown >= len(unwritten)
    assert max(Counter(entry["body"]["record_id"] for entry in received(mock)).values()) == 1


@pytest.mark.parametrize(
    ("field", "before", "now"), [("enterprise_project_id", None, "7"), ("region", "a", "b")]
)
def test_the_same_target_is_the_same_item(mock: Mock, file: Path, field: str, before: Any, now: str) -> None:
    plain, given = (
        [replace(each, **{field: value}) for each in engines("e0", "e1")] for value in (before, now)
    )
    assert verdicts(bulk(mock, plain, file)) == {"refused": 2}
    again = bulk(mock, given, file)
    assert (done(again), again.counts) == ([], Counts(refused=2))
    resent = done(bulk(mock, given, file, retry_refused=True))
    assert [outcome.item for outcome in resent] == given  # as it is given now
    assert len(done(bulk(mock, [*plain, *given]))) == 2
    assert len(received(mock)) == 6


def test_a_default_and_a_named_region_are_one_item(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_WORKSPACE_CN_NORTH_4", mock.url)
    named = replace(record("r0"), region="cn-north-4")
    run = Bulk([record("r0"), named], region="cn-north-4", credentials=TokenAuth("mock-token"))
    assert [outcome.item for outcome in done(run)] == [named]


LIVE = {"region": "cn-north-4", "endpoint": None}


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ({}, {"endpoint": "http://localhost:9"}, r"http://127.0.0.1:\d+ \(workspace\), .* http://localhost:9"),
        ({}, {"region": "cn-north-4"}, r"no region \(items without a region\), .* cn-north-4"),
        ({"region": "cn-north-1"}, {"region": "cn-north-4"}, "to cn-north-4: give region= and endpoint="),
        ({"region": "cn-north-4"}, LIVE, "https://workspace.cn-north-4"),
        (LIVE, LIVE, "https://workspace.cn-north-4"),  # and the first time with the mock as the environment's host
    ],
    ids=["endpoint", "region", "other region", "mock, then production", "environment"],
)  # fmt: skip
def test_a_journal_is_for_one_endpoint_and_region(
    mock: Mock,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: dict[str, Any],
    second: dict[str, Any],
    why: str,
) -> None:
    if first is LIVE:
        monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_WORKSPACE_CN_NORTH_4", mock.url)
    assert verdicts(bulk(mock, records(2), file, **first)) == {"accepted": 2}
    assert done(bulk(mock, records(2), file, **first)) == []
    monkeypatch.delenv("HUAWEICLOUD_SDK_REGION_WORKSPACE_CN_NORTH_4", raising=False)
    with pytest.raises(JournalError, match=why):
        done(bulk(mock, records(2), file, **second))


# --- Credentials that fail --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FrozenError(Exception):
    """Takes no attributes."""

    code: int


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError("vault"), KeyError("token"), FrozenError(7), httpx.ConnectError("vault"), SystemExit(3),
     KeyboardInterrupt(), asyncio.CancelledError()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_a_token_fetch_that_fails_leaves_all_planned(mock: Mock, file: Path, error: BaseException) -> None:
    def fetch() -> str:
        raise error

    run = bulk(mock, records(3), file, credentials=TokenAuth(fetch), resend=None)
    if isinstance(error, httpx.ConnectError):
        assert verdicts(run) == {"refused": 1}  # of this run
    elif isinstance(error, Exception):
        assert done(run) == []
        assert run.halted == f"{type(error).__name__}: {error}; nothing was sent"
    else:
        with pytest.raises(type(error)):
            done(run)
    assert run.counts == Counts(planned=3) or not isinstance(error, Exception)
    assert verdicts(bulk(mock, records(3), file)) == {"accepted": 3}


def test_an_item_that_waits_for_a_token_at_the_end_was_not_sent(mock: Mock, file: Path) -> None:
    mock.reset()  # to the built-in state, whose user IAM knows
    mock.add_fault(delay=3000, operation=TOKENS)
    password = PasswordAuth("mock-user", "mock-password", domain_name="mock-domain", iam_endpoint=mock.url)
    run = bulk(mock, records(2), file, credentials=password)
    assert asyncio.run(outcomes_until(run, 1, run.abort)) == []
    assert run.counts == Counts(planned=2)


def test_an_auth_that_fails_after_the_response_leaves_the_item_unknown(mock: Mock, file: Path) -> None:
    class Failing(httpx.Auth):
        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            request.headers["X-Auth-Token"] = "mock-token"
            yield request
            raise RuntimeError("no response expected")

    run = bulk(mock, records(3), file, credentials=Failing())
    (outcome,) = done(run)
    assert (outcome.verdict, outcome.item) == ("unknown", record("r0"))
    assert outcome.message == "RuntimeError: no response expected; the request may have been processed"
    assert run.halted == outcome.message
    assert (acted(mock), run.counts) == ({"r0"}, Counts(planned=2, unknown=1))


@pytest.mark.parametrize(("status", "first", "attempts"), [(429, 404, 2), (503, 503, 1)])
def test_one_failed_token_fetch_halts_no_run(mock: Mock, status: int, first: int, attempts: int) -> None:
    mock.reset()  # to the built-in state, whose user IAM knows
    mock.add_fault(status=status, operation=TOKENS, times=1)
    names = {"domain_name": "mock-domain", "project_name": "cn-north-4"}
    ids = ("nowhere", "0000000059071dbc01591661d3990020")
    items = [replace(record(id_), project_id="demo-project") for id_ in ids]
    password = PasswordAuth("mock-user", "mock-password", **names, iam_endpoint=mock.url)
    run = bulk(mock, items, credentials=password)
    outcomes = done(run)
    assert (run.halted, [outcome.status for outcome in outcomes]) == (None, [first, 200])
    assert outcomes[0].attempts == attempts


# --- Odd responses ----------------------------------------------------------------------------------------------------


def serving(status: bytes, body: bytes) -> Server:
    """A server with this response to each request."""

    def serve(line: Line) -> None:
        while line.request() is not None:
            line.socket.sendall(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))

    return Server(serve)


def test_an_item_whose_response_cannot_be_kept_is_not_resent(file: Path) -> None:
    deep = b'{"id": "e", "name": "n", "jobId": 1, "more": %b}' % (b"[" * 600 + b"]" * 600)
    with serving(b"200 OK", deep) as server:
        for _ in range(2):
            done(Bulk(engines("0", "1", "2"), journal=file, endpoint=server.url, credentials=TokenAuth("t")))
        assert len(server.requests) == len(set(server.requests))
    with JournalReader(file) as journal:
        planned = [each for each in journal.items() if each["verdict"] == "planned"]
    assert len(planned) == 3 - len(server.requests)


def test_characters_that_cannot_be_written_are_left_out(file: Path) -> None:
    body = rb'{"error_code": "\ud800C", "error_msg": "\ud800m", "request_id": "\ud800i"}'
    with serving(b"400 Bad Request", body) as server:
        run = Bulk(engines("1"), journal=file, endpoint=server.url, credentials=TokenAuth("t"))
        (outcome,) = done(run)
    assert (outcome.verdict, outcome.error_code, outcome.request_id) == ("refused", "C", "i")
    assert run.counts == Counts(refused=1)


# --- How many at once, and when to stop -------------------------------------------------------------------------------


def test_no_more_requests_are_in_flight_than_asked_for(mock: Mock) -> None:
    add(mock, {"delay": 0.02})
    run = bulk(mock, records(15), concurrency=5)
    seen: list[int] = []
    done(run, lambda _: seen.append(in_flight(run)))
    assert max(seen) == 5


def test_a_429_slows_all_down_and_loses_nothing_and_is_a_refusal_if_it_does_not_end(mock: Mock) -> None:
    add(mock, {"status": 429, "retry_after": 0, "times": 3})
    attempts: list[str] = []
    rates: list[float] = []
    run = bulk(mock, records(), rate=1000.0)
    run.on_attempt = lambda item, attempt, why, _: attempts.append(why[:3])
    outcomes = done(run, lambda _: rates.append(run.rate))
    assert (run.counts, attempts) == (Counts(accepted=RECORDS), ["429"] * 3)
    assert min(rates) < 600
    assert sum(outcome.attempts for outcome in outcomes) == RECORDS + 3
    add(mock, {"status": 429, "retry_after": 0})
    (outcome,) = done(bulk(mock, records(1), resend=Resend(max_attempts=2, initial_backoff=0)))
    assert (outcome.verdict, outcome.status, outcome.attempts) == ("refused", 429, 2)


@pytest.mark.parametrize(
    ("resend", "attempts", "halted"),
    [(Resend(initial_backoff=0), 3, "3 failures in a row; the last: POST "), (None, 1, "the service cannot be reached")],
    ids=["resend", "once"],
)  # fmt: skip
def test_an_unreachable_endpoint_halts_the_run(mock: Mock, resend: Any, attempts: int, halted: str) -> None:
    run = bulk(mock, records(), endpoint="http://127.0.0.1:9", resend=resend)
    (outcome,) = done(run)
    assert (outcome.verdict, outcome.attempts, run.counts) == ("refused", attempts, Counts(planned=RECORDS))
    assert "nothing was sent" in outcome.message
    assert halted in str(run.halted)


def test_a_service_that_is_gone_halts_the_run_before_all_are_unknown(mock: Mock) -> None:
    add(mock, {"delay": 0, "times": 10}, {"status": 504})
    run = bulk(mock, records(), concurrency=2)
    done(run)
    assert "20 failures in a row" in str(run.halted)
    assert run.counts.accepted == 10
    assert 20 <= run.counts.unknown <= 23


@pytest.mark.parametrize("at_once", [True, False], ids=["abort", "grace"])
def test_requests_in_flight_at_the_end_are_unknown(mock: Mock, at_once: bool) -> None:
    add(mock, {"delay": 0, "times": 1}, {"delay": 3000})
    run = bulk(mock, records(), concurrency=4, grace=60.0 if at_once else 0.1)
    outcomes = asyncio.run(outcomes_until(run, 4, run.abort if at_once else run.stop))
    cut_off = "aborted while in flight; the request may have been processed"
    assert sorted(outcome.message for outcome in outcomes) == [cut_off] * 4 + ["task t"]
    assert run.counts == Counts(planned=RECORDS - 5, accepted=1, unknown=4)


def test_an_item_that_waits_after_a_429_at_a_stop_is_sent_by_the_next_run(mock: Mock, file: Path) -> None:
    add(mock, {"delay": 0, "times": 1}, {"status": 429, "retry_after": 3000})
    run = bulk(mock, records(3), file)
    run.on_attempt = lambda *_: run.stop()
    assert verdicts(run) == {"accepted": 1}
    mock.clear_faults()
    assert verdicts(bulk(mock, records(3), file)) == {"accepted": 2}


@pytest.mark.parametrize("stops", [False, True])
def test_a_slow_consumer_holds_up_no_stop(mock: Mock, monkeypatch: pytest.MonkeyPatch, stops: bool) -> None:
    monkeypatch.setattr("huaweicloud_retry.bulk.runner._UNREAD", 3)

    async def main() -> Counts:
        run = bulk(mock, records(), concurrency=4)
        iterator = aiter(run)
        await anext(iterator)
        for _ in range(3000):  # turns of the loop, in which all could be sent
            await asyncio.sleep(0)
        assert len(received(mock)) < RECORDS
        if not stops:
            assert len([outcome async for outcome in iterator]) == RECORDS - 1
            return run.counts
        run.stop()
        async with asyncio.timeout(30):
            while run.counts.sending:  # noqa: ASYNC110 - no event says it
                await asyncio.sleep(0)
        return run.counts

    counts = asyncio.run(main())
    assert (counts.unknown, counts.accepted + counts.planned) == (0, RECORDS)
    assert (counts.planned > 0) == stops
