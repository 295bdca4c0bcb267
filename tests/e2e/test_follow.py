"""Waiting for the end of a retry, resolving an unknown outcome, and reading page by page, against the mock."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from email.utils import formatdate
from math import nan
from typing import Any, TypeVar

import httpx
import pytest

from huaweicloud_retry import (
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    TokenAuth,
)
from huaweicloud_retry.follow import (
    SETTLE,
    Read,
    Steps,
    SyncAndAsync,
    Work,
    iter_script_records,
    iter_script_records_async,
    look,
    resolve,
    wait_for_job,
    wait_for_script,
)
from huaweicloud_retry.runs import Status
from huaweicloud_retry.testing import Mock
from huaweicloud_retry_client import APIError, Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import EngineActionRequest, RetryScriptExecutionRequest, ScriptRecord
from tests.callers import LoopbackServer, raw_response

T = TypeVar("T")
PROJECT = "demo-project"
STATE = """
run_time: 30
projects:
  demo-project:
    engines:
      good: {name: one, jobs: [{id: 6, status: Finished}, {id: 7, status: Error}]}
      bad: {name: two, jobs: [{id: 8, status: Timeout, retries_end: [Error], reason: No node.}]}
    script_tasks:
      good: {records: {g: {status: FAILED, script_id: s1, resource_id: d1}, old: {status: SUCCESS, script_id: s1}}}
      bad:
        records:
          b: {status: FAILED, script_id: s2, resource_id: d2, retries_end: [FAILED], result_code: '28', reason: No disk.}
"""
NAMES = {"engine": "engine_id", "record": "record_id", "task": "task_id"}


def work_of(kind: str, id_: str) -> Work:
    return Work(project_id=PROJECT, **{NAMES[kind]: id_})


WORKS = {kind: work_of(kind, "g" if kind == "record" else "good") for kind in NAMES}
BAD = {kind: work_of(kind, "b" if kind == "record" else "bad") for kind in NAMES}
REASONS = {"engine": "modify: No node.", "record": "28: No disk.", "task": "28: No disk."}
READS = {"engine": "ShowEngineJob", "record": "ShowScriptRecordDetail", "task": "ListScriptRecords"}
each_kind = pytest.mark.parametrize("kind", NAMES)


@pytest.fixture
def mock(mock: Mock) -> Mock:
    mock.set_state(STATE)
    return mock


@pytest.fixture(params=["sync", "async"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def do(
    function: SyncAndAsync[..., T],
    mock: Mock,
    *given: Any,
    mode: str = "sync",
    token: str = "mock-token",
    **how: Any,
) -> T:
    """Call a function, sync or async, with a client of its own."""
    client = Client(mock.url, auth=TokenAuth(token))
    if mode == "sync":
        with client:
            return function(client, *given, **how)

    async def run() -> T:
        async with client:
            return await function.asyncio(client, *given, **how)

    return asyncio.run(run())


def waiter(work: Work, job_id: object = None) -> tuple[SyncAndAsync[..., Status], list[Any], dict[str, Any]]:
    if work.engine_id is not None:
        return wait_for_job, [PROJECT, work.engine_id, job_id], {}
    return wait_for_script, [PROJECT], {"record_id": work.record_id, "task_id": work.task_id}


def wait(mock: Mock, work: Work, job_id: object = None, **how: Any) -> Status:
    function, given, names = waiter(work, job_id)
    return do(function, mock, *given, **names, **how)


def waiting(mock: Mock, work: Work, **how: Any) -> Steps[Status]:
    function, given, names = waiter(work)
    return function.steps(mock.cse, *given, **names, **how)


def by_hand(steps: Steps[T], on_pause: Callable[[float], object] = lambda _: None) -> tuple[T, list[float]]:
    """Do the steps, but call `on_pause` in place of each pause; returns the pauses, too."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        on_pause(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", pause)
        return SyncAndAsync(lambda: steps)(), pauses


def retry(client: Client, work: Work) -> None:
    if work.engine_id is not None:
        retry_engine.sync(PROJECT, work.engine_id, client=client, body=EngineActionRequest())
    else:
        given = {"record_id": work.record_id, "task_id": work.task_id}
        body = RetryScriptExecutionRequest(**{name: value for name, value in given.items() if value})
        retry_script_execution.sync(PROJECT, client=client, body=body)


def reads(mock: Mock, operation: str) -> int:
    return sum(entry["operation"] == operation for entry in mock.request_log())


# --- Waiting -----------------------------------------------------------------------------------------------------------


@each_kind
def test_it_waits_until_the_work_has_ended(mock: Mock, mode: str, kind: str) -> None:
    seen: list[str] = []

    def on_status(status: Status) -> None:
        seen.append(status.state)
        mock.advance(15)

    retry(mock.cse, WORKS[kind])
    status = wait(mock, WORKS[kind], mode=mode, interval=0.001, on_status=on_status)
    assert (status.state, status.reason, seen) == ("succeeded", None, ["running", "running", "succeeded"])
    retry(mock.cse, BAD[kind])
    status = wait(mock, BAD[kind], mode=mode, interval=0.001, on_status=on_status)
    assert (status.state, status.reason) == ("failed", REASONS[kind])


@each_kind
def test_at_the_timeout_it_returns_what_still_runs(mock: Mock, kind: str) -> None:
    retry(mock.cse, WORKS[kind])
    for timeout in 0, 0.05:
        assert wait(mock, WORKS[kind], timeout=timeout, interval=0.001).state == "running"


def test_a_job_id_may_be_a_number_or_text(mock: Mock) -> None:
    for job_id in 6, "6":
        assert str(wait(mock, WORKS["engine"], job_id)) == "job 6 is Finished"


def test_intervals_grow_from_2_to_30_seconds_and_the_last_ends_at_the_timeout(mock: Mock) -> None:
    retry(mock.cse, WORKS["engine"])
    _, pauses = by_hand(waiting(mock, WORKS["engine"], timeout=None), lambda _: mock.advance(3))
    assert pauses == [2, 3, 4.5, 6.75, 10.125, 15.1875, 22.78125, 30, 30, 30]
    mock.set_state(STATE)
    retry(mock.cse, WORKS["engine"])
    steps = waiting(mock, WORKS["engine"], timeout=50, interval=1000)
    step = next(steps)
    while isinstance(step, Read):
        step = steps.send(step.sync())
    assert 0 < step <= 50


@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"status": 502}, {"close": "after"}, {"reply": "garbage"}], ids=str
)
@each_kind
def test_a_third_failed_read_in_a_row_is_raised(mock: Mock, kind: str, fault: dict[str, Any]) -> None:
    def fail(times: int) -> None:
        mock.add_fault(**fault, operation=READS[kind], times=times)

    rest = [2]

    def on_status(_: Status) -> None:
        if rest:
            fail(rest.pop())  # again two: they are not in a row with those before
        else:
            mock.advance(30)

    retry(mock.cse, WORKS[kind])
    fail(2)
    status, pauses = by_hand(waiting(mock, WORKS[kind], interval=0.001, on_status=on_status))
    assert (status.state, len(pauses)) == ("succeeded", 6)
    fail(3)
    with pytest.raises(APIError):
        by_hand(waiting(mock, WORKS[kind], interval=0.001))
    assert mock._ask("GET", "faults").json() == []  # all three were met


def test_a_429_is_waited_for_as_asked_and_is_no_failed_read(mock: Mock) -> None:
    mock.add_fault(status=429, retry_after=7, times=5)
    status, pauses = by_hand(waiting(mock, WORKS["task"], timeout=None))
    assert (status.state, pauses) == ("failed", [7, 7, 7, 7, 10.125])
    mock.reset()
    mock.add_fault(status=429, retry_after=86400)
    with pytest.raises(RateLimitError):  # it asks for more than the timeout
        by_hand(waiting(mock, WORKS["task"], timeout=60))
    assert reads(mock, "ListScriptRecords") == 1


@pytest.mark.parametrize(
    ("work", "how", "error"),
    [
        (WORKS["engine"], {"token": "wrong"}, AuthenticationError),
        (WORKS["engine"], {"job_id": 99}, APIError),
        (work_of("record", "nope"), {}, NotFoundError),
        (WORKS["engine"], {"timeout": -1}, ValueError),
        (WORKS["engine"], {"timeout": nan}, ValueError),
        (WORKS["engine"], {"interval": -1}, ValueError),
        (WORKS["engine"], {"interval": nan}, ValueError),
    ],
    ids=str,
)
def test_a_lasting_error_is_raised_at_once(mock: Mock, mode: str, work: Work, how: Any, error: Any) -> None:
    with pytest.raises(error):
        wait(mock, work, mode=mode, **how)
    assert len(mock.request_log()) <= (error is not ValueError)


@each_kind
def test_a_failure_counts_only_if_it_is_newer_than_the_retry(mock: Mock, kind: str) -> None:
    seen: list[str] = []

    def go_on(_: float) -> None:
        if len(seen) == 1:  # the retry shows only after the first read
            retry(mock.cse, WORKS[kind])
        else:
            mock.advance(30)

    sent_at = time.time()
    status = wait(mock, WORKS[kind], sent_at=sent_at - SETTLE - 1)  # no run shows after all that time
    assert (status.state, status.is_new) == ("unknown", False)
    assert wait(mock, WORKS[kind]).state == "failed"  # nothing is said of a retry
    steps = waiting(mock, WORKS[kind], sent_at=sent_at, on_status=lambda status: seen.append(status.state))
    status, _ = by_hand(steps, go_on)
    assert (status.state, seen) == ("succeeded", ["running", "running", "succeeded"])
    retry(mock.cse, BAD[kind])
    mock.advance(30)
    assert wait(mock, BAD[kind], sent_at=sent_at - 30).state == "failed"


@pytest.mark.parametrize("dated", [True, False])
def test_a_failure_right_before_the_retry_is_not_that_of_the_new_run(dated: bool) -> None:
    ended = time.time() - 0.5
    job = {"id": 7, "status": "Error", "startTime": int((ended - 60) * 1000), "endTime": int(ended * 1000)}
    date = [f"Date: {formatdate(time.time(), usegmt=True)}"] if dated else []
    with LoopbackServer(raw_response(200, json.dumps(job).encode(), *date), keep_open=True) as server:
        steps = wait_for_job.steps(Client(server.url), "p", "e", 7, timeout=None, sent_at=time.time())
        read = next(steps)
        assert isinstance(read, Read)
        assert steps.send(read.sync()) == 2


# --- Resolving ---------------------------------------------------------------------------------------------------------


def lost(mock: Mock, work: Work, **fault: Any) -> float:
    """Retry, get no response, and return when it was sent."""
    mock.add_fault(times=1, **fault)
    timeout = httpx.Timeout(60, read=0.5)
    sent_at = time.time()
    client = Client(mock.url, auth=TokenAuth("mock-token"), timeout=timeout)
    with client, pytest.raises(APIError) as caught:
        retry(client, work)
    assert caught.value.outcome_unknown
    return sent_at


LOSSES: list[tuple[dict[str, Any], bool]] = [
    ({"close": "before"}, False),
    ({"close": "after"}, True),
    ({"reply": "drip", "seconds": 3600}, True),
    ({"status": 502, "acted": True}, True),
    ({"status": 504}, False),
]


@pytest.mark.parametrize(("mode", "seconds_ahead"), [("sync", 0), ("sync", 600), ("async", -600)])
@pytest.mark.parametrize(("fault", "acted"), LOSSES, ids=str)
@each_kind
def test_an_unknown_outcome_is_resolved_by_any_clock_of_the_server(
    mock: Mock, mode: str, kind: str, fault: dict[str, Any], acted: bool, seconds_ahead: int
) -> None:
    mock.set_state(f"seconds_ahead: {seconds_ahead}\n{STATE}")
    sent_at = lost(mock, WORKS[kind], **fault)
    found = do(resolve, mock, WORKS[kind], sent_at, settle=0, mode=mode)
    retries = [entry["acted"] for entry in mock.request_log() if str(entry["operation"]).startswith("Retry")]
    assert retries == [acted]
    assert (found.verdict, found.status is not None) == ("accepted" if acted else "not run", True)
    assert "the request was sent" in found.evidence


@each_kind
def test_work_that_failed_again_was_accepted_and_a_set_clock_misleads_nobody(mock: Mock, kind: str) -> None:
    clock = do(look, mock, BAD[kind]).clock
    sent_at = lost(mock, BAD[kind], close="after")
    mock.advance(30)  # the clocks now differ, but each is consistent
    assert do(resolve, mock, BAD[kind], sent_at - 30, settle=0).verdict == "accepted"
    mock.advance(570)  # it has failed again, ten minutes too late by the clock
    found = do(resolve, mock, BAD[kind], sent_at, settle=0, clock=clock)
    assert found.verdict in {"accepted", "unknown"}


def test_while_the_request_may_be_under_way_it_looks_again(mock: Mock) -> None:
    sent_at = lost(mock, WORKS["engine"], close="before")
    steps = resolve.steps(mock.cse, WORKS["engine"], sent_at, lost_at=time.time())
    found, pauses = by_hand(steps, lambda _: retry(mock.cse, WORKS["engine"]))  # a gateway passes it on late
    assert (found.verdict, len(pauses)) == ("accepted", 1)
    assert 0 < pauses[0] <= SETTLE
    mock.set_state(STATE)
    steps = resolve.steps(mock.cse, WORKS["engine"], time.time() * 1000, settle=0.01)  # sent in the future
    found, pauses = by_hand(steps, time.sleep)
    assert (found.verdict, sum(pauses) <= 0.02) == ("unknown", True)


@each_kind
def test_work_that_is_not_found_stays_unknown(mock: Mock, kind: str) -> None:
    found = do(resolve, mock, work_of(kind, "nope"), time.time(), settle=0)
    assert found.verdict == "unknown"
    assert re.search("nstance not found|does not exist|shows no such job or record", found.evidence)


@each_kind
def test_refused_credentials_and_wrong_work_are_raised(mock: Mock, mode: str, kind: str) -> None:
    with pytest.raises(AuthenticationError):
        do(resolve, mock, WORKS[kind], time.time(), token="wrong", mode=mode)
    mock.add_fault(status=403)
    with pytest.raises(PermissionDeniedError):
        do(resolve, mock, WORKS[kind], time.time(), mode=mode)
    with pytest.raises(ValueError, match="an engine, a record or a task must be given"):
        do(resolve, mock, Work(project_id=PROJECT), time.time(), mode=mode)


@each_kind
def test_work_that_cannot_be_read_stays_unknown(mock: Mock, kind: str) -> None:
    mock.add_fault(status=503, times=3)
    found, pauses = by_hand(resolve.steps(mock.cse, WORKS[kind], time.time(), settle=0))
    assert (found.verdict, pauses) == ("unknown", [2, 4])
    assert found.evidence.startswith("the state cannot be read: 503 ")
    mock.add_fault(status=429, retry_after=7)
    found, pauses = by_hand(resolve.steps(mock.cse, WORKS[kind], time.time(), settle=0))
    assert found.evidence.startswith("the state cannot be read: 429 ")
    assert 200 < sum(pauses) < 400


@pytest.mark.parametrize(
    ("record_id", "other", "verdict"),
    [
        ("old", "status: RUNNING, script_id: s1, resource_id: d1", "unknown"),
        ("old", "status: RUNNING, script_id: s1, resource_id: d2", "not run"),
        ("old", "status: RUNNING, script_id: s2, resource_id: d1", "not run"),
        ("old", "status: SUCCESS, script_id: s1, resource_id: d1", "not run"),  # an hour ago
        ("old", "status: RUNNING", "not run"),
        ("no-place", "status: RUNNING, script_id: s2, resource_id: d2", "unknown"),
        ("no-place", "status: SUCCESS, script_id: s2, resource_id: d2", "not run"),
    ],
)
def test_a_new_record_may_be_the_retry(mock: Mock, record_id: str, other: str, verdict: str) -> None:
    old = "old: {status: FAILED, script_id: s1, resource_id: d1}"
    tasks = f"t: {{records: {{{old}, no-place: {{status: FAILED, script_id: '', resource_id: ''}}, new: {{{other}}}}}}}"
    mock.set_state(f"projects: {{{PROJECT}: {{script_tasks: {{{tasks}}}}}}}")
    found = do(resolve, mock, work_of("record", record_id), time.time(), settle=0)
    assert found.verdict == verdict
    assert found.evidence.startswith("record new of the same script and desktop") == (verdict == "unknown")


# --- Invalid responses -------------------------------------------------------------------------------------------------


class Fixed(httpx.MockTransport):
    """A service that has one response to each path, by its last segment; dated now."""

    def __init__(self, **bodies: Any) -> None:
        self.requests: list[httpx.Request] = []
        self._bodies = bodies
        super().__init__(self._respond)

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        body = self._bodies[request.url.path.rpartition("/")[2].replace("-", "_")]
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Date": formatdate(time.time(), usegmt=True)}
        return httpx.Response(200, headers=headers, content=content)


ACTIONS = {"engineAdditionalActions": ["Retry"]}
ENGINE = {"id": "e", "name": "n", "status": "ModifyFailed", "latestJobId": 7, **ACTIONS}
PAST = 1_000_000_000_000
JOB = {"id": 7, "status": "Error", "startTime": PAST, "endTime": PAST + 1000}
TIMES = {"start_time": "2001-09-09T01:46:40Z", "end_time": "2001-09-09T01:46:50Z"}
RECORD = {"id": "r", "status": "FAILED", "script_id": "s", "resource_id": "d", **TIMES}
ODD_ENGINES: list[Any] = [
    b"", b"\xff" * 1000, b"[" * 100_000, b"null", b"[]", b'"x"', b"{}", b" " * 1_000_000,
    {**ENGINE, "latestJobId": "7"}, {**ENGINE, "latestJobId": True}, {**ENGINE, "latestJobId": None},
    {**ENGINE, "latestJobId": [7]}, {**ENGINE, "engineAdditionalActions": {}}, {**ENGINE, "engineAdditionalActions": []},
    {**ENGINE, "engineAdditionalActions": ["retry"]},
]  # fmt: skip
ODD_JOBS: list[Any] = [
    b"", b"\xff" * 1000, b"null", b"{}", {**JOB, "id": "7"}, {**JOB, "status": None}, {**JOB, "status": ["Error"]},
    {**JOB, "status": "error"}, {**JOB, "status": "Error\n"}, {**JOB, "startTime": str(PAST)},
    {**JOB, "endTime": str(PAST)}, {**JOB, "endTime": 10**400}, {**JOB, "startTime": 10**18},
    {**JOB, "endTime": None}, {**JOB, "tasks": "x"}, {**JOB, "tasks": [{"tasks": [{"log": 5}]}]},
]  # fmt: skip
ODD_RECORDS: list[Any] = [
    b"", b"\xff" * 1000, b"null", b"{}", {**RECORD, "id": 5}, {**RECORD, "status": 5}, {**RECORD, "status": "failed"},
    {**RECORD, "end_time": 1000}, {**RECORD, "end_time": "2001-09-09 01:46:50"}, {**RECORD, "end_time": ""},
    {**RECORD, "end_time": "9999-12-31T23:59:59-23:59"}, {**RECORD, "end_time": "2001-09-09T01:46:50Z" * 10_000},
]  # fmt: skip


def resolved(transport: Fixed, **work: str) -> str:
    client = Client("http://127.0.0.1", transport=transport)
    found, _ = by_hand(resolve.steps(client, Work(project_id="p", **work), time.time(), settle=0))
    assert len(found.evidence.splitlines()) == 1
    assert len(found.evidence) < 2000
    return found.verdict


def verdicts(record: Any) -> set[str]:
    """The verdicts of a record and of a task with such a record."""
    page = record if isinstance(record, bytes) else {"count": 1, "script_records": [record]}
    alone = resolved(Fixed(r=record, script_execution_records=page), record_id="r")
    return {alone, resolved(Fixed(script_execution_records=page), task_id="t")}


def test_an_invalid_response_resolves_nothing() -> None:
    assert resolved(Fixed(e=ENGINE, **{"7": JOB}), engine_id="e") == "not run"
    assert verdicts(RECORD) == {"not run"}
    for engine, job in [*((odd, JOB) for odd in ODD_ENGINES), *((ENGINE, odd) for odd in ODD_JOBS)]:
        assert resolved(Fixed(e=engine, **{"7": job}), engine_id="e") == "unknown", (engine, job)
    for body in ODD_RECORDS:
        assert verdicts(body) == {"unknown"}, body


@pytest.mark.parametrize("start_time", [None, "", "2001-09-09"])
def test_a_new_record_that_waits_for_its_turn_may_be_the_retry(start_time: str | None) -> None:
    new = {**RECORD, "id": "new", "status": "WAITING", "start_time": start_time, "end_time": None}
    transport = Fixed(r=RECORD, script_execution_records={"count": 2, "script_records": [RECORD, new]})
    assert resolved(transport, record_id="r") == "unknown"
    # Nothing says whether a filter by time would find what has not begun.
    asked = {"limit": "100", "offset": "0", "script_id": "s", "resource_id": "d"}
    assert dict(transport.requests[-1].url.params) == asked


# --- Page by page ------------------------------------------------------------------------------------------------------

MANY = [f"m{number:03}" for number in range(25)]


def listed(
    mock: Mock, mode: str, between: Callable[[int], object] = lambda _: None, **filters: Any
) -> list[str]:
    """Read all records, and call `between` with their number after each."""
    found: list[str] = []
    filters["script_task_id"] = "many"

    def take(record: ScriptRecord) -> None:
        found.append(record.id)
        between(len(found))

    async def run() -> None:
        async with Client(mock.url, auth=TokenAuth("mock-token")) as client:
            async for record in iter_script_records_async(client, PROJECT, **filters):
                take(record)

    if mode == "sync":
        for record in iter_script_records(mock.workspace, PROJECT, **filters):
            take(record)
    else:
        asyncio.run(run())
    return found


def set_records(mock: Mock, *ids: str) -> None:
    records = {id_: {"status": "SUCCESS"} for id_ in ids}
    mock.set_state(json.dumps({"projects": {PROJECT: {"script_tasks": {"many": {"records": records}}}}}))


@pytest.mark.parametrize(
    ("filters", "first", "pages"),
    [({}, 0, 1), ({"limit": 25}, 0, 1), ({"limit": 24}, 0, 2), ({"limit": 5}, 0, 5), ({"limit": 10, "offset": 20}, 20, 1),
     ({"offset": 1000}, 25, 1)],
    ids=str,
)  # fmt: skip
def test_all_pages_are_read(mock: Mock, mode: str, filters: dict[str, Any], first: int, pages: int) -> None:
    set_records(mock, *MANY)
    assert listed(mock, mode, **filters) == MANY[first:]
    assert reads(mock, "ListScriptRecords") == pages


@pytest.mark.parametrize(
    "after",
    [["new", *MANY], [*MANY, "new"], [*(f"new{n}" for n in range(10)), *MANY], MANY[1:], MANY[10:]],
    ids=["new first", "new last", "a page more", "first is gone", "a page is gone"],
)
def test_a_list_that_changes_between_pages_is_read_whole(mock: Mock, mode: str, after: list[str]) -> None:
    set_records(mock, *MANY)
    found = listed(mock, mode, lambda number: set_records(mock, *after) if number == 10 else None, limit=10)
    assert sorted(found) == sorted({*MANY, *after})


@pytest.mark.parametrize(
    ("count", "records", "requests"), [(250, [0], 4), (0, [], 1), (-1, [], 1), (10**18, [], 1)]
)
def test_a_wrong_count_or_an_ignored_offset_does_no_harm(
    count: int, records: list[int], requests: int
) -> None:
    transport = Fixed(script_execution_records={"count": count, "script_records": [RECORD for _ in records]})
    read = list(iter_script_records(Client("http://127.0.0.1", transport=transport), "p"))
    assert (len(read), len(transport.requests)) == (len(records), requests)
