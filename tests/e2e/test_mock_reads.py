"""What the operations that only read show of the mock's state, by the mock's clock."""

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from huaweicloud_retry.mock import running
from tests.mocks import JSON, RETRY, SCRIPT, client_for, error

ENGINES = "/v2/demo-project/enginemgr/engines"
RECORDS = "/v2/demo-project/script-execution-records"
STATE = """
run_time: 30
credentials: {tokens: {mock-token: {}}}
projects:
  demo-project:
    engines:
      e1:
        name: one
        jobs:
          - {id: 7, status: Finished}
          - {id: 8, status: Timeout, reason: No node., retries_end: [Error, Finished]}
      running: {name: two, jobs: [{id: 9, status: Init}]}
    script_tasks:
      t1:
        records:
          r1: {status: FAILED, script_id: s1, script_name: one, resource_id: d1, resource_group_id: g1, reason: No disk.,
               result_code: '28', output: df, retries_end: [FAILED, SUCCESS]}
          r2: {status: SUCCESS, script_id: s1, resource_id: d2, execute_order: 2}
      t2:
        records: {r3: {status: WAITING, task_type: COMMAND}}
      many:
        records: LIST
""".replace("LIST", ", ".join(f"m{number:02}: {{status: SUCCESS}}" for number in range(25)).join("{}"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    file = tmp_path_factory.mktemp("mock") / "state.yaml"
    file.write_text(STATE, "utf-8")
    with running(state=file) as url, client_for(url) as client:
        yield client


@pytest.fixture
def mock(shared: httpx.Client) -> httpx.Client:
    """Holds each response to the contract; the state is fresh."""
    assert shared.post("/_mock/reset").status_code == 204
    return shared


def get(mock: httpx.Client, path: str, **query: Any) -> Any:
    response = mock.get(path, params=query)
    assert response.status_code == 200
    return response.json()


def advance(mock: httpx.Client, seconds: float) -> None:
    assert mock.post("/_mock/clock", json={"advance": seconds}).status_code == 200


def now(mock: httpx.Client) -> float:
    """The mock's clock, as each response has it."""
    return parsedate_to_datetime(mock.get(ENGINES + "/e1").headers["Date"]).timestamp()


def test_a_job_runs_and_ends_by_the_mocks_clock(mock: httpx.Client) -> None:
    advance(mock, 1000)
    before = now(mock)
    failed = get(mock, f"{ENGINES}/e1/jobs/8")
    assert (failed["status"], failed["scheduling"], failed["engineId"]) == ("Timeout", 0, "e1")
    assert failed["startTime"] < failed["endTime"] < (before - 1000) * 1000
    assert failed["tasks"][0]["tasks"][0]["log"] == "No node."
    mock.put(f"{ENGINES}/e1/actions", json=RETRY)
    runs = get(mock, f"{ENGINES}/e1/jobs/8")
    assert (runs["status"], runs["scheduling"], runs["endTime"]) == ("Executing", 1, None)
    assert before * 1000 <= runs["startTime"] <= (now(mock) + 1) * 1000
    advance(mock, 30)
    again = get(mock, f"{ENGINES}/e1/jobs/8")
    assert (again["status"], again["startTime"], again["endTime"]) == (
        "Error",
        runs["startTime"],
        pytest.approx(runs["startTime"] + 30_000, abs=1),
    )
    assert get(mock, f"{ENGINES}/e1/jobs/7")["status"] == "Finished"
    assert get(mock, f"{ENGINES}/running/jobs/9")["status"] == "Finished"


def test_a_record_runs_and_ends_by_the_mocks_clock(mock: httpx.Client) -> None:
    fields = ("status", "result_code", "reason", "output")
    failed, running_, done = (
        ("FAILED", "28", "No disk.", "df"),
        ("RUNNING", None, None, None),
        ("SUCCESS", "0", "", "df"),
    )

    def shown() -> tuple[Any, ...]:
        record = get(mock, f"{RECORDS}/r1")
        listed = get(mock, RECORDS, script_task_id="t1")["script_records"][0]
        assert {**listed, "output": record["output"]} == record
        return tuple(record[name] for name in fields)

    seen = [shown()]
    for _ in range(2):
        assert mock.post(SCRIPT, json={"record_id": "r1"}).status_code == 200
        seen.append(shown())
        advance(mock, 30)
        seen.append(shown())
    assert seen == [failed, running_, failed, running_, done]
    record = get(mock, f"{RECORDS}/r1")
    began, ended = (
        datetime.strptime(record[name], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        for name in ("start_time", "end_time")
    )
    assert 29 <= (ended - began).total_seconds() <= 31
    assert ended.timestamp() <= now(mock)


REFUSED = {
    f"{ENGINES}/nope": (400, "SVCSTG.00501116", "Engine instance not found; the mock has e1, running."),
    f"{ENGINES}/nope/jobs/8": (
        400,
        "SVCSTG.00501116",
        "Engine instance not found; the mock has e1, running.",
    ),
    f"{ENGINES}/e1/jobs/9": (400, "SVCSTG.00501153", "Task not found; the engine has 7, 8."),
    f"{ENGINES}/e1/jobs/x": (400, "SVCSTG.00501152", "The task ID is invalid: it must be an integer."),
    f"{RECORDS}/t1": (
        404,
        "WKS.00211902",
        "The script execution record does not exist; the mock has r1, r2, r3, ….",
    ),
    f"{RECORDS}?limit=101": (
        400,
        "WKS.00211102",
        "The parameter is invalid: query limit: 101 is greater than the maximum of 100",
    ),
    f"{RECORDS}?show_history=true&script_id=s1": (
        400,
        "WKS.00211102",
        "The parameter is invalid: query show_history: true needs resource_id and script_id",
    ),
    RECORDS.replace("demo", "other"): (
        403,
        "APIGW.0310",
        "The project is unavailable; the mock has demo-project.",
    ),
}


READS = [f"{ENGINES}/e1", f"{ENGINES}/e1/jobs/8", RECORDS, f"{RECORDS}/r1"]


@pytest.mark.parametrize("path", READS)
def test_a_read_changes_nothing_and_needs_credentials_and_meets_faults(mock: httpx.Client, path: str) -> None:
    before = mock.get("/_mock/state").json()
    shown = get(mock, path)
    assert error(mock.get(path, headers={"X-Auth-Token": "wrong"}))[:2] == (401, "APIGW.0301")
    mock.post(
        "/_mock/faults", json=[{"status": 504, "acted": True, "times": 1}, {"close": "after", "times": 1}]
    )
    assert mock.get(path).status_code == 504
    with pytest.raises(httpx.RemoteProtocolError):
        mock.get(path)
    assert get(mock, path) == shown
    assert mock.get("/_mock/state").json() == before
    entries = mock.get("/_mock/request-log").json()["entries"]
    assert {entry["acted"] for entry in entries} == {False}
    assert [entry["outcome"] for entry in entries] == ["read", "refused", "refused", "unanswered", "read"]
    assert mock.head(path).status_code == 405
    assert mock.post(path, content=b"{}", headers=JSON).headers["Allow"] == "GET"


def test_a_job_that_has_not_ended_at_the_start_of_the_mock_runs(mock: httpx.Client) -> None:
    job, engine = get(mock, f"{ENGINES}/running/jobs/9"), get(mock, f"{ENGINES}/running")
    assert (job["status"], job["scheduling"], job["endTime"]) == ("Init", 0, None)
    assert (engine["status"], engine["engineAdditionalActions"]) == ("Modifying", ["Noting"])
