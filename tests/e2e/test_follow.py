"""Waiting for the end of a retry, settling an outcome that is unknown, and reading page by page, against the mock."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
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
    Both,
    Read,
    Steps,
    Work,
    iter_script_records,
    iter_script_records_async,
    look,
    resolve,
    wait_for_job,
    wait_for_script,
)
from huaweicloud_retry.mock import running
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
      many: {records: LIST}
""".replace("LIST", "{" + ", ".join(f"m{number:03}: {{status: SUCCESS}}" for number in range(250)) + "}")
WORKS = {
    "engine": Work(project_id=PROJECT, engine_id="good"),
    "record": Work(project_id=PROJECT, record_id="g"),
    "task": Work(project_id=PROJECT, task_id="good"),
}
BAD = {
    "engine": Work(project_id=PROJECT, engine_id="bad"),
    "record": Work(project_id=PROJECT, record_id="b"),
    "task": Work(project_id=PROJECT, task_id="bad"),
}
REASONS = {"engine": "modify: No node.", "record": "28: No disk.", "task": "28: No disk."}
READS = {"engine": "ShowEngineJob", "record": "ShowScriptRecordDetail", "task": "ListScriptRecords"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Mock]:
    with running() as url, Mock(url) as mock:
        yield mock


@pytest.fixture
def mock(shared: Mock) -> Mock:
    shared.reset()
    shared.set_state(STATE)
    return shared


class World:
    """Calls sync or async."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(
        self, function: Both[..., T], url: str, *arguments: Any, token: str = "mock-token", **more: Any
    ) -> T:
        client = Client(url, auth=TokenAuth(token))
        if self.name == "sync":
            with client:
                return function(client, *arguments, **more)

        async def run() -> T:
            async with client:
                return await function.asyncio(client, *arguments, **more)

        return asyncio.run(run())

    def wait(self, url: str, work: Work, **how: Any) -> Status:
        if work.engine_id is not None:
            return self(wait_for_job, url, PROJECT, work.engine_id, how.pop("job_id", None), **how)
        return self(wait_for_script, url, PROJECT, record_id=work.record_id, task_id=work.task_id, **how)


@pytest.fixture(params=["sync", "asyncio"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def retry(client: Client, work: Work) -> None:
    if work.engine_id is not None:
        retry_engine.sync(PROJECT, work.engine_id, client=client, body=EngineActionRequest())
    else:
        given = {"record_id": work.record_id, "task_id": work.task_id}
        body = RetryScriptExecutionRequest(**{name: value for name, value in given.items() if value})
        retry_script_execution.sync(PROJECT, client=client, body=body)


def by_hand(steps: Steps[T], on_pause: Callable[[float], object] = lambda _: None) -> tuple[T, list[float]]:
    """Do the steps, but instead of each pause what is given; returns the pauses, too."""
    pauses: list[float] = []
    try:
        step = next(steps)
        while True:
            if isinstance(step, Read):
                try:
                    response = step.sync()
                except APIError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
            else:
                pauses.append(step)
                on_pause(step)
                step = next(steps)
    except StopIteration as end:
        return end.value, pauses


def waiting(mock: Mock, work: Work, **how: Any) -> Steps[Status]:
    if work.engine_id is not None:
        return wait_for_job.steps(mock.cse, PROJECT, work.engine_id, None, **how)
    return wait_for_script.steps(
        mock.workspace, PROJECT, record_id=work.record_id, task_id=work.task_id, **how
    )


def reads(mock: Mock, operation: str) -> int:
    return sum(entry["operation"] == operation for entry in mock.request_log())


# --- Waiting -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WORKS)
def test_it_waits_until_the_work_has_succeeded(mock: Mock, world: World, kind: str) -> None:
    seen: list[Status] = []

    def on_status(status: Status) -> None:
        seen.append(status)
        mock.advance(15)

    retry(mock.cse, WORKS[kind])
    status = world.wait(mock.url, WORKS[kind], interval=0.001, on_status=on_status)
    assert (status.state, status.reason) == ("succeeded", None)
    assert [each.state for each in seen] == ["running", "running", "succeeded"]


@pytest.mark.parametrize("kind", BAD)
def test_it_waits_until_the_work_has_failed_and_says_why(mock: Mock, world: World, kind: str) -> None:
    retry(mock.cse, BAD[kind])
    status = world.wait(mock.url, BAD[kind], interval=0.001, on_status=lambda _: mock.advance(30))
    assert (status.state, status.reason) == ("failed", REASONS[kind])


@pytest.mark.parametrize("kind", WORKS)
def test_at_the_timeout_it_returns_what_still_runs(mock: Mock, world: World, kind: str) -> None:
    retry(mock.cse, WORKS[kind])
    for timeout in 0, 0.05:
        assert world.wait(mock.url, WORKS[kind], timeout=timeout, interval=0.001).state == "running"


@pytest.mark.parametrize("job_id", [6, "6"])
def test_a_job_is_waited_for_by_its_id_as_a_number_or_text(mock: Mock, world: World, job_id: object) -> None:
    status = world.wait(mock.url, WORKS["engine"], job_id=job_id)
    assert (status.state, str(status)) == ("succeeded", "job 6 is Finished")


def test_intervals_grow_from_2_to_30_seconds(mock: Mock) -> None:
    retry(mock.cse, WORKS["engine"])
    _, pauses = by_hand(waiting(mock, WORKS["engine"], timeout=None), lambda _: mock.advance(3))
    assert pauses == [2, 3, 4.5, 6.75, 10.125, 15.1875, 22.78125, 30, 30, 30]


def test_the_last_interval_ends_at_the_timeout(mock: Mock) -> None:
    retry(mock.cse, WORKS["engine"])
    status, pauses = by_hand(waiting(mock, WORKS["engine"], timeout=0.05, interval=1000), time.sleep)
    assert (status.state, len(pauses)) == ("running", 1)
    assert 0 < pauses[0] <= 0.05


FAILURES: list[dict[str, Any]] = [{"status": 503}, {"status": 502}, {"close": "after"}, {"reply": "garbage"}]


@pytest.mark.parametrize("fault", FAILURES, ids=str)
@pytest.mark.parametrize("kind", WORKS)
def test_two_failed_reads_in_a_row_are_survived_and_a_third_is_raised(
    mock: Mock, world: World, kind: str, fault: dict[str, Any]
) -> None:
    retry(mock.cse, WORKS[kind])
    failing: dict[str, Any] = {**fault, "operation": READS[kind], "times": 2}
    mock.add_fault(**failing)
    faults = deque([failing])

    def on_status(_: Status) -> None:
        if faults:
            mock.add_fault(**faults.pop())  # again two: they are not in a row with those before
        else:
            mock.advance(30)

    assert world.wait(mock.url, WORKS[kind], interval=0.001, on_status=on_status).state == "succeeded"
    failing["times"] = 3
    mock.add_fault(**failing)
    with pytest.raises(APIError):
        world.wait(mock.url, WORKS[kind], interval=0.001)
    assert mock._ask("GET", "faults").json() == []


def test_a_429_is_waited_for_as_retry_after_asks_and_is_no_failure(mock: Mock) -> None:
    mock.add_fault(status=429, retry_after=7, times=5)
    status, pauses = by_hand(waiting(mock, WORKS["task"], timeout=None))
    assert (status.state, pauses) == ("failed", [7, 7, 7, 7, 10.125])


def test_a_429_that_asks_for_more_than_the_timeout_is_raised_at_once(mock: Mock, world: World) -> None:
    mock.add_fault(status=429, retry_after=86400)
    with pytest.raises(RateLimitError):
        world.wait(mock.url, WORKS["task"], timeout=60)
    assert reads(mock, "ListScriptRecords") == 1


@pytest.mark.parametrize(
    ("kind", "how", "error"),
    [
        ("engine", {"token": "wrong"}, AuthenticationError),
        ("engine", {"job_id": 99}, APIError),
        ("record", {"record_id": "nope"}, NotFoundError),
    ],
)
def test_what_will_not_get_better_is_raised_at_once(
    mock: Mock, world: World, kind: str, how: dict[str, Any], error: type[APIError]
) -> None:
    how = dict(how)
    record_id = how.pop("record_id", None)
    work = Work(project_id=PROJECT, record_id=record_id) if record_id else WORKS[kind]
    with pytest.raises(error):
        world.wait(mock.url, work, **how)
    assert reads(mock, READS[kind]) <= 1


@pytest.mark.parametrize(
    "how", [{"timeout": -1}, {"interval": -1}, {"timeout": nan}, {"interval": nan}], ids=str
)
def test_a_wrong_time_is_refused_before_anything_is_sent(
    mock: Mock, world: World, how: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match="timeout and interval must be 0 or more seconds"):
        world.wait(mock.url, WORKS["engine"], **how)
    assert mock.request_log() == []


@pytest.mark.parametrize("kind", WORKS)
def test_the_failure_that_was_retried_is_not_taken_for_a_new_one(mock: Mock, kind: str) -> None:
    seen: list[Status] = []

    def go_on(_: float) -> None:
        if len(seen) == 1:  # the retry shows only after the first read
            retry(mock.cse, WORKS[kind])
        else:
            mock.advance(30)

    steps = waiting(mock, WORKS[kind], sent_at=time.time(), on_status=seen.append)
    status, _ = by_hand(steps, go_on)
    assert ([each.state for each in seen], status.state) == (["running", "running", "succeeded"], "succeeded")


@pytest.mark.parametrize("kind", BAD)
def test_a_failure_since_is_a_new_one(mock: Mock, world: World, kind: str) -> None:
    sent_at = time.time()
    retry(mock.cse, BAD[kind])
    mock.advance(30)
    assert world.wait(mock.url, BAD[kind], sent_at=sent_at - 30).state == "failed"


@pytest.mark.parametrize("kind", WORKS)
def test_a_failure_of_before_the_retry_is_none_of_it(mock: Mock, world: World, kind: str) -> None:
    """A new run that does not show after all that time cannot be said to have failed."""
    status = world.wait(mock.url, WORKS[kind], sent_at=time.time() - SETTLE - 1)
    assert (status.state, status.is_new) == ("unknown", False)
    assert world.wait(mock.url, WORKS[kind]).state == "failed"  # as nothing is said of a retry


@pytest.mark.parametrize("dated", [True, False])
def test_a_failure_right_before_the_retry_is_not_taken_for_a_new_one(dated: bool) -> None:
    ended = time.time() - 0.5
    job = {"id": 7, "status": "Error", "startTime": int((ended - 60) * 1000), "endTime": int(ended * 1000)}
    date = [f"Date: {httpdate(time.time())}"] if dated else []
    with LoopbackServer(raw_response(200, json.dumps(job).encode(), *date), keep_open=True) as server:
        steps = wait_for_job.steps(Client(server.url), "p", "e", 7, timeout=None, sent_at=time.time())
        read = next(steps)
        assert isinstance(read, Read)
        assert steps.send(read.sync()) == 2


def httpdate(at: float) -> str:
    return formatdate(at, usegmt=True)


# --- Settling ----------------------------------------------------------------------------------------------------------

NO_ANSWER: dict[str, tuple[dict[str, Any], bool]] = {
    "closed before it acted": ({"close": "before"}, False),
    "closed after it acted": ({"close": "after"}, True),
    "a drip": ({"reply": "drip", "seconds": 3600}, True),
    "502 that acted": ({"status": 502, "acted": True}, True),
    "504 that did not act": ({"status": 504}, False),
}


def lost(mock: Mock, work: Work, **fault: Any) -> float:
    """Retry, get no response, and return when it was sent."""
    mock.add_fault(times=1, **fault)
    timeout = httpx.Timeout(60, read=0.5)
    sent_at = time.time()
    with (
        Client(mock.url, auth=TokenAuth("mock-token"), timeout=timeout) as client,
        pytest.raises(APIError) as caught,
    ):
        retry(client, work)
    assert caught.value.outcome_unknown
    return sent_at


@pytest.mark.parametrize(("fault", "acted"), NO_ANSWER.values(), ids=NO_ANSWER)
@pytest.mark.parametrize("kind", WORKS)
def test_an_unknown_outcome_is_settled(
    mock: Mock, world: World, kind: str, fault: dict[str, Any], acted: bool
) -> None:
    sent_at = lost(mock, WORKS[kind], **fault)
    found = world(resolve, mock.url, WORKS[kind], sent_at, settle=0)
    assert [
        entry["acted"] for entry in mock.request_log() if str(entry["operation"]).startswith("Retry")
    ] == [acted]
    assert (found.verdict, found.status is not None) == ("accepted" if acted else "not run", True)
    assert "the request was sent" in found.evidence


@pytest.mark.parametrize("kind", BAD)
def test_what_has_failed_again_was_accepted(mock: Mock, world: World, kind: str) -> None:
    sent_at = lost(mock, BAD[kind], close="after")
    mock.advance(30)  # the clocks now differ, but each says what it said
    assert world(resolve, mock.url, BAD[kind], sent_at - 30, settle=0).verdict == "accepted"


def test_while_the_request_may_be_under_way_it_looks_again(mock: Mock) -> None:
    sent_at = lost(mock, WORKS["engine"], close="before")
    steps = resolve.steps(mock.cse, WORKS["engine"], sent_at, lost_at=time.time())
    found, pauses = by_hand(steps, lambda _: retry(mock.cse, WORKS["engine"]))  # a gateway passes it on late
    assert (found.verdict, len(pauses)) == ("accepted", 1)
    assert 0 < pauses[0] <= SETTLE


def test_a_request_from_the_future_is_not_waited_for(mock: Mock) -> None:
    steps = resolve.steps(mock.cse, WORKS["engine"], time.time() * 1000, settle=0.01)
    found, pauses = by_hand(steps, time.sleep)
    assert found.verdict == "unknown"
    assert sum(pauses) <= 0.02


@pytest.mark.parametrize("seconds", [600, -600])
@pytest.mark.parametrize("acted", [True, False])
@pytest.mark.parametrize("kind", WORKS)
def test_clocks_ten_minutes_apart_do_not_matter(
    mock: Mock, world: World, kind: str, acted: bool, seconds: int
) -> None:
    mock.set_state(f"seconds_ahead: {seconds}\n{STATE}")
    sent_at = lost(mock, WORKS[kind], close="after" if acted else "before")
    found = world(resolve, mock.url, WORKS[kind], sent_at, settle=0)
    assert found.verdict == ("accepted" if acted else "not run")


@pytest.mark.parametrize("kind", BAD)
def test_a_clock_that_was_set_meanwhile_settles_nothing_wrong(mock: Mock, world: World, kind: str) -> None:
    work = BAD[kind]
    before = world(look, mock.url, work).clock
    sent_at = lost(mock, work, close="after")
    mock.advance(600)  # it has failed again, ten minutes too late by the clock
    assert world(resolve, mock.url, work, sent_at, settle=0, clock=before).verdict in {"accepted", "unknown"}


@pytest.mark.parametrize("kind", WORKS)
def test_a_second_retry_of_what_runs_is_not_called_accepted(mock: Mock, world: World, kind: str) -> None:
    retry(mock.cse, WORKS[kind])
    mock.advance(20)
    sent_at = lost(mock, WORKS[kind], close="after")  # it was refused, since it runs
    found = world(resolve, mock.url, WORKS[kind], sent_at, settle=0)
    assert found.verdict == "unknown"
    assert found.evidence.endswith("; nothing began since, and nothing has failed before")


@pytest.mark.parametrize(
    ("kind", "work"),
    [
        ("engine", Work(project_id=PROJECT, engine_id="nope")),
        ("record", Work(project_id=PROJECT, record_id="nope")),
        ("task", Work(project_id=PROJECT, task_id="nope")),
    ],
)
def test_what_is_not_found_stays_unknown(mock: Mock, world: World, kind: str, work: Work) -> None:
    found = world(resolve, mock.url, work, time.time(), settle=0)
    says = {
        "engine": "Engine instance not found",
        "record": "record does not exist",
        "task": "the service shows no such job or record",
    }
    assert found.verdict == "unknown"
    assert says[kind] in found.evidence


@pytest.mark.parametrize("kind", WORKS)
def test_refused_credentials_are_raised(mock: Mock, world: World, kind: str) -> None:
    with pytest.raises(AuthenticationError):
        world(resolve, mock.url, WORKS[kind], time.time(), token="wrong")
    mock.add_fault(status=403)
    with pytest.raises(PermissionDeniedError):
        world(resolve, mock.url, WORKS[kind], time.time())


def test_an_item_of_nothing_is_refused(mock: Mock, world: World) -> None:
    with pytest.raises(ValueError, match="an engine, a record or a task must be given"):
        world(resolve, mock.url, Work(project_id=PROJECT), time.time())


@pytest.mark.parametrize("kind", WORKS)
def test_a_read_that_fails_three_times_settles_nothing(mock: Mock, kind: str) -> None:
    mock.add_fault(status=503, times=3)
    found, pauses = by_hand(resolve.steps(mock.cse, WORKS[kind], time.time(), settle=0))
    assert (found.verdict, pauses, found.evidence[:30]) == (
        "unknown",
        [2, 4],
        "the state cannot be read: 503 ",
    )


def test_a_quota_that_is_used_up_is_not_waited_for_without_end(mock: Mock) -> None:
    mock.add_fault(status=429, retry_after=7)
    found, pauses = by_hand(resolve.steps(mock.cse, WORKS["task"], time.time(), settle=0))
    assert (found.verdict, found.evidence[:30]) == ("unknown", "the state cannot be read: 429 ")
    assert 200 < sum(pauses) < 400


# --- What a retry may make that is documented nowhere -------------------------------------------------------------------


def script_state(*records: str) -> str:
    own = "old: {records: {old: {status: FAILED, script_id: s1, resource_id: d1}, no-place: {status: FAILED, script_id: '', resource_id: ''}}}"
    tasks = ", ".join(
        f"t{number}: {{records: {{n{number}: {record}}}}}" for number, record in enumerate(records)
    )
    return f"projects: {{{PROJECT}: {{script_tasks: {{{own}, {tasks}}}}}}}"


@pytest.mark.parametrize(
    ("record_id", "other", "verdict"),
    [
        ("old", "{status: RUNNING, script_id: s1, resource_id: d1}", "unknown"),
        ("old", "{status: RUNNING, script_id: s1, resource_id: d2}", "not run"),
        ("old", "{status: RUNNING, script_id: s2, resource_id: d1}", "not run"),
        ("old", "{status: SUCCESS, script_id: s1, resource_id: d1}", "not run"),  # an hour ago
        ("old", "{status: RUNNING}", "not run"),
        ("no-place", "{status: RUNNING, script_id: s2, resource_id: d2}", "unknown"),
        ("no-place", "{status: SUCCESS, script_id: s2, resource_id: d2}", "not run"),
    ],
)
def test_a_new_record_may_be_the_retry(
    mock: Mock, world: World, record_id: str, other: str, verdict: str
) -> None:
    mock.set_state(script_state(other))
    work = Work(project_id=PROJECT, record_id=record_id)
    found = world(resolve, mock.url, work, time.time(), settle=0)
    assert found.verdict == verdict
    if verdict == "unknown":
        assert (
            found.evidence
            == "record n0 of the same script and desktop may have begun since: perhaps it is the retry"
        )


def test_a_new_job_of_an_engine_is_the_retry(mock: Mock, world: World) -> None:
    jobs = "[{id: 7, status: Error}, {id: 8, status: Executing}]"
    mock.set_state(f"projects: {{{PROJECT}: {{engines: {{good: {{name: n, jobs: {jobs}}}}}}}}}")
    found = world(resolve, mock.url, WORKS["engine"], time.time(), settle=0)
    assert (found.verdict, found.evidence[:18]) == ("accepted", "job 8 is Executing")


# --- Responses that are none -------------------------------------------------------------------------------------------


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
        headers = {"Content-Type": "application/json", "Date": httpdate(time.time())}
        return httpx.Response(200, headers=headers, content=content)


ENGINE = {
    "id": "e",
    "name": "n",
    "status": "ModifyFailed",
    "latestJobId": 7,
    "engineAdditionalActions": ["Retry"],
}
PAST = 1_000_000_000_000
JOB = {"id": 7, "status": "Error", "startTime": PAST, "endTime": PAST + 1000}
RECORD = {"id": "r", "status": "FAILED", "script_id": "s", "resource_id": "d", "start_time": "2001-09-09T01:46:40Z",
          "end_time": "2001-09-09T01:46:50Z"}  # fmt: skip
ODD_ENGINES: list[Any] = [
    b"", b"\xff" * 1000, b"[" * 100_000, b"null", b"[]", b'"x"', b"{}", b" " * 1_000_000,
    {**ENGINE, "latestJobId": "7"}, {**ENGINE, "latestJobId": True}, {**ENGINE, "latestJobId": None},
    {**ENGINE, "latestJobId": [7]}, {**ENGINE, "engineAdditionalActions": {}}, {**ENGINE, "engineAdditionalActions": []},
    {**ENGINE, "engineAdditionalActions": ["retry"]},
]  # fmt: skip
ODD_JOBS: list[Any] = [
    b"", b"\xff" * 1000, b"null", b"{}", {**JOB, "id": "7"}, {**JOB, "status": None}, {**JOB, "status": ["Error"]},
    {**JOB, "status": "error"}, {**JOB, "status": "Error\n"}, {**JOB, "startTime": str(PAST)},
    {**JOB, "endTime": str(PAST)}, {**JOB, "endTime": -1}, {**JOB, "endTime": 10**18}, {**JOB, "endTime": 1e18},
    {**JOB, "endTime": 10**400}, {**JOB, "startTime": 10**18}, {**JOB, "endTime": 0}, {**JOB, "endTime": None},
    {**JOB, "endTime": PAST / 1000}, {**JOB, "tasks": "x"}, {**JOB, "tasks": [{"tasks": [{"log": 5}]}]},
]  # fmt: skip
ODD_RECORDS: list[Any] = [
    b"", b"\xff" * 1000, b"null", b"{}", {**RECORD, "id": 5}, {**RECORD, "status": 5}, {**RECORD, "status": "failed"},
    {**RECORD, "end_time": 1000}, {**RECORD, "end_time": "-1"}, {**RECORD, "end_time": "2001-09-09 01:46:50"},
    {**RECORD, "end_time": "9999-12-31T23:59:59-23:59"}, {**RECORD, "end_time": ""}, {**RECORD, "end_time": "1e18"},
    {**RECORD, "end_time": "2001-09-09T01:46:00Z"}, {**RECORD, "end_time": "2001-09-09T01:46:50Z" * 10_000},
]  # fmt: skip


def settled(transport: Fixed, **work: str) -> str:
    client = Client("http://127.0.0.1", transport=transport)
    found, _ = by_hand(resolve.steps(client, Work(project_id="p", **work), time.time(), settle=0))
    assert len(found.evidence.splitlines()) == 1
    assert len(found.evidence) < 2000
    return found.verdict


def test_good_responses_settle_it() -> None:
    page = {"count": 1, "script_records": [RECORD]}
    assert settled(Fixed(e=ENGINE, **{"7": JOB}), engine_id="e") == "not run"
    assert settled(Fixed(r=RECORD, script_execution_records=page), record_id="r") == "not run"
    assert settled(Fixed(script_execution_records=page), task_id="t") == "not run"


@pytest.mark.parametrize("body", ODD_ENGINES, ids=lambda body: str(body)[:80])
def test_an_odd_engine_settles_nothing(body: Any) -> None:
    assert settled(Fixed(e=body, **{"7": JOB}), engine_id="e") == "unknown"


@pytest.mark.parametrize("body", ODD_JOBS, ids=lambda body: str(body)[:200])
def test_an_odd_job_settles_nothing(body: Any) -> None:
    assert settled(Fixed(e=ENGINE, **{"7": body}), engine_id="e") == "unknown"


@pytest.mark.parametrize("body", ODD_RECORDS, ids=lambda body: str(body)[:200])
def test_an_odd_record_settles_nothing(body: Any) -> None:
    page = {"count": 1, "script_records": [body]} if isinstance(body, dict) else body
    assert settled(Fixed(r=body, script_execution_records=page), record_id="r") == "unknown"
    assert settled(Fixed(script_execution_records=page), task_id="t") == "unknown"


@pytest.mark.parametrize("start_time", [None, "", "2001-09-09"])
def test_a_new_record_that_waits_for_its_turn_may_be_the_retry(start_time: str | None) -> None:
    new = {**RECORD, "id": "new", "status": "WAITING", "start_time": start_time, "end_time": None}
    page = {"count": 2, "script_records": [RECORD, new]}
    transport = Fixed(r=RECORD, script_execution_records=page)
    assert settled(transport, record_id="r") == "unknown"
    # Nothing says whether a filter by time would find what has not begun.
    assert dict(transport.requests[-1].url.params) == {
        "limit": "100",
        "offset": "0",
        "script_id": "s",
        "resource_id": "d",
    }


# --- Page by page ------------------------------------------------------------------------------------------------------


class Listing:
    """Reads pages sync or async, one record after the other."""

    def __init__(self, mock: Mock, name: str) -> None:
        self._mock, self._name = mock, name

    def __call__(self, between: Callable[[int], object] = lambda _: None, **filters: Any) -> list[str]:
        if self._name == "sync":
            found: list[str] = []
            for record in iter_script_records(self._mock.workspace, PROJECT, **filters):
                found.append(record.id)
                between(len(found))
            return found

        async def collect(records: AsyncIterator[ScriptRecord]) -> list[str]:
            found: list[str] = []
            async for record in records:
                found.append(record.id)
                between(len(found))
            return found

        async def run() -> list[str]:
            async with Client(self._mock.url, auth=TokenAuth("mock-token")) as client:
                return await collect(iter_script_records_async(client, PROJECT, **filters))

        return asyncio.run(run())


@pytest.fixture(params=["sync", "asyncio"])
def listing(request: pytest.FixtureRequest, mock: Mock) -> Listing:
    return Listing(mock, request.param)


MANY = [f"m{number:03}" for number in range(250)]


@pytest.mark.parametrize(("limit", "pages"), [(None, 3), (100, 3), (99, 3), (50, 5), (7, 36), (1, 250)])
def test_all_pages_are_read(mock: Mock, listing: Listing, limit: int | None, pages: int) -> None:
    filters: dict[str, Any] = {} if limit is None else {"limit": limit}
    assert listing(script_task_id="many", **filters) == MANY
    assert reads(mock, "ListScriptRecords") == pages


def test_pages_begin_where_they_are_asked_to(listing: Listing) -> None:
    assert listing(script_task_id="many", limit=10, offset=245) == MANY[245:]
    assert listing(script_task_id="many", offset=1000) == []
    assert listing(script_task_id="nope") == []


def of(*ids: str) -> str:
    records = ", ".join(f"{id_}: {{status: SUCCESS}}" for id_ in ids)
    return f"projects: {{{PROJECT}: {{script_tasks: {{many: {{records: {{{records}}}}}}}}}}}"


CHANGES = {
    "one is added at the front": ["new", *MANY[:25]],
    "one is added at the end": [*MANY[:25], "new"],
    "a page is added at the front": [*(f"new{number}" for number in range(10)), *MANY[:25]],
    "one of the first page is gone": MANY[1:25],
    "all of the first page are gone": MANY[10:25],
}


@pytest.mark.parametrize("after", CHANGES.values(), ids=CHANGES)
def test_what_changes_between_pages_is_read_once(mock: Mock, listing: Listing, after: list[str]) -> None:
    mock.set_state(of(*MANY[:25]))
    found = listing(lambda number: mock.set_state(of(*after)) if number == 10 else None, limit=10)
    assert sorted(found) == sorted({*MANY[:25], *after})


def test_a_server_that_does_not_mind_the_offset_has_one_page() -> None:
    transport = Fixed(script_execution_records={"count": 250, "script_records": [RECORD]})
    client = Client("http://127.0.0.1", transport=transport)
    assert [record.id for record in iter_script_records(client, "p")] == ["r"]
    assert len(transport.requests) == 4


@pytest.mark.parametrize("count", [0, -1, 10**18])
def test_a_wrong_count_does_no_harm(count: int) -> None:
    transport = Fixed(script_execution_records={"count": count, "script_records": []})
    assert list(iter_script_records(Client("http://127.0.0.1", transport=transport), "p")) == []
    assert len(transport.requests) == 1
