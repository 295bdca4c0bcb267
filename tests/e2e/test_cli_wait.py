"""`hwc-retry` after a retry was accepted: --wait, status, --failed-of, and `bulk` and `resolve` with a journal."""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from huaweicloud_retry.testing import Mock
from tests.callers import raw_response
from tests.connections import Line, Server
from tests.e2e.cli import PROJECT, STATE, Cli, Ran, Watched, interrupt, on_terminal, sent

JOBS: dict[str, dict[str, Any]] = {  # how the job of each engine ends once it is retried
    "ends": {"run_time": 0, "retries_end": ["Finished"]},
    "fails": {"run_time": 0, "retries_end": ["Error"], "reason": "No node."},
    "runs": {"run_time": 1000},
    "blinks": {"run_time": 1},
}
RECORDS: dict[str, dict[str, Any]] = {
    "r1": {"status": "FAILED", "run_time": 0, "retries_end": ["SUCCESS"], "reason": "No disk."},
    "r2": {"status": "FAILED", "run_time": 0, "retries_end": ["FAILED"], "reason": "No net."},
    "r3": {"status": "SUCCESS"},
    "r4": {"status": "RUNNING", "run_time": 1000},
}
TASKS = {"t1": RECORDS, "t2": {"done": {"status": "SUCCESS"}}, "t3": {"r9": RECORDS["r1"]}}


@pytest.fixture(autouse=True)
def _state(cli: Cli, mock: Mock) -> None:
    engines = {
        id_: {"name": f"the {id_}", "jobs": [{"id": n, "status": "Error", **job}]}
        for n, (id_, job) in enumerate(JOBS.items())
    }
    tasks = {id_: {"records": records} for id_, records in TASKS.items()}
    project = {**PROJECT, "engines": engines, "script_tasks": tasks}
    mock.set_state(json.dumps({**STATE, "projects": {"demo-project": project}}))


def ends(ran: Ran) -> list[tuple[str, str | None, str | None]]:
    return [(each["verdict"], each["ended"], each["seen"]) for each in ran.outcomes]


# --- --wait -----------------------------------------------------------------------------------------------------------

SUCCEEDED = ("accepted", "succeeded", "job 0 is Finished")
MIXED = "records: 2 SUCCESS, 1 FAILED, 1 RUNNING"


@pytest.mark.parametrize(
    ("line", "code", "end"),
    [
        ("engine ends", 0, SUCCEEDED),
        ("engine fails", 4, ("accepted", "failed", "job 1 is Error: modify: No node.")),
        ("engine runs --wait-timeout 0", 5, ("accepted", "running", "job 2 is Executing")),
        ("engine nowhere", 1, ("refused", None, None)),
        ("script --record-id r1", 0, ("accepted", "succeeded", "record r1 is SUCCESS")),
        ("script --record-id r2", 4, ("accepted", "failed", "record r2 is FAILED: 1: No net.")),
        ("script --task-id t3", 0, ("accepted", "succeeded", "record r9 is SUCCESS")),
        ("script --task-id t1 --wait-timeout 0", 5, ("accepted", "running", MIXED)),
        ("engine ends runs --wait-timeout 0", 5, SUCCEEDED),
        ("engine ends runs fails --wait-timeout 0", 4, SUCCEEDED),
        ("engine ends runs fails nowhere --wait-timeout 0", 1, SUCCEEDED),
    ],
)
def test_the_exit_code_is_that_of_the_worst_end(cli: Cli, line: str, code: int, end: tuple[Any, ...]) -> None:
    ran = cli(f"{line} --wait")
    assert (ran.code, ends(ran)[0]) == (code, end)


def test_failed_work_is_reported_with_its_reason_and_running_work_with_a_command_that_works(cli: Cli) -> None:
    given = ("--project-id", "demo-project", "--region", "cn-north-4", "--endpoint", cli.url)
    ran = cli("engine ends fails runs --wait --wait-timeout 0 --quiet --enterprise-project-id '0 ;x'", *given)
    failed, running, _, command = ran.err.splitlines()
    assert failed.endswith(": job 1 is Error: modify: No node.")
    assert "1 of 3 still running" in running
    assert command == f"  hwc-retry status runs {shlex.join(given)} --enterprise-project-id '0 ;x'"
    status = cli(command.removeprefix("  hwc-retry "))
    assert (status.code, status.outcomes[0]["job"]["state"]) == (0, "running")


@pytest.mark.parametrize(
    ("output", "shows"),
    [
        ("jsonl", r'"seen": "job 1 is Error: modify: No node.", "ended": "failed"}\n'),
        ("csv", r",seen,ended\nac.*,job 1 is Error: modify: No node\.,failed\n"),
        ("table", r"(?m)^ failed +engine fails: job 1 is Error: modify: No node\. *$"),
    ],
)
def test_each_output_shows_how_the_work_ended(cli: Cli, output: str, shows: str) -> None:
    ran = cli(f"engine fails --wait --output {output}")
    assert re.search(shows, ran.out), ran.out


def test_progress_is_a_line_that_changes_on_a_terminal(cli: Cli) -> None:
    code, seen = on_terminal(cli, "engine blinks --wait")
    lines = seen.splitlines()  # at \r, too
    assert code == 0
    assert any(re.fullmatch(r"engine blinks: Executing, \d s", line) for line in lines)
    assert lines[-2].strip().split(maxsplit=1) == ["succeeded", "engine blinks: job 3 is Finished"]


def test_an_interrupted_wait_reports_that_the_work_goes_on_and_how_to_look_again(cli: Cli) -> None:
    assert cli("engine ends --wait --quiet").err == ""
    ran = cli("engine runs --wait", stderr=Watched(r"engine runs: Executing, \d+ s\n", interrupt))
    assert (ran.code, ran.outcomes[0]["ended"]) == (130, "running")
    assert "stopped waiting" in ran.err
    assert ran.err.endswith(f"  hwc-retry status runs --endpoint {cli.url}\n")


@pytest.mark.parametrize(("status", "says"), [(401, "five wrong signatures"), (403, "cse:engine:get")])
def test_a_refused_read_ends_the_wait_with_exit_code_5(cli: Cli, mock: Mock, status: int, says: str) -> None:
    mock.add_fault(operation="ShowEngineJob", status=status)
    ran = cli("engine ends runs fails --wait --wait-timeout 50")
    assert (ran.code, ran.verdicts) == (5, ["accepted"] * 3)
    assert {each["ended"] for each in ran.outcomes} == {"unknown"}
    seen = {str(each["seen"])[:29] for each in ran.outcomes} - {"None"}  # a 401 ends the reads of the others
    assert seen == {f"the state cannot be read: {status}"}
    assert re.search(rf"engine \w+: accepted, .*: {status} .*\n  -> .*{says}", ran.err), ran.err
    assert sum(entry["operation"] == "ShowEngineJob" for entry in mock.request_log()) <= 3


def test_an_unknown_outcome_that_is_found_accepted_is_waited_for(cli: Cli, mock: Mock) -> None:
    mock.add_fault(operation="RetryEngine", close="after", times=1)
    ran = cli("engine ends --wait")
    assert (ran.code, ends(ran)) == (0, [SUCCEEDED])
    assert re.search(r"engine ends: accepted: job 0 is Finished, ended 20", ran.err), ran.err


def test_an_outcome_that_stays_unknown_is_exit_code_3_with_how_to_look_again(cli: Cli, mock: Mock) -> None:
    mock.add_fault(operation="RetryEngine", close="before", times=1)
    ran = cli("engine ends --wait --wait-timeout 0.5")
    assert (ran.code, ends(ran)) == (3, [("unknown", None, None)])
    assert "engine ends: still unknown" in ran.err
    assert ran.err.endswith(f"  hwc-retry status ends --endpoint {cli.url}\n")


@pytest.fixture
def old_job(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a service whose one job has this status, and ended long ago."""
    times = {"startTime": 1_600_000_000_000, "endTime": 1_600_000_001_000}

    def serve(line: Line) -> None:
        while received := line.socket.recv(1 << 16):
            id_ = 7 if b"/jobs/" in received else "e"
            shown = {"id": id_, "name": "e", "status": request.param, "latestJobId": 7, "jobId": 7, **times}
            line.socket.sendall(raw_response(200, json.dumps(shown).encode()))

    with Server(serve) as server:
        yield server.url


@pytest.mark.parametrize(
    ("old_job", "ended", "seen"),
    [("Pausing", "unknown", "job 7 is Pausing"), ("Error", "running", "job 7 is Error as before the retry")],
    indirect=["old_job"],
)
def test_no_new_run_or_an_unknown_status_is_exit_code_5(
    cli: Cli, old_job: str, ended: str, seen: str
) -> None:
    ran = cli(f"engine e --wait --wait-timeout 0 --endpoint {old_job}")
    (outcome,) = ran.outcomes
    assert (ran.code, outcome["verdict"], outcome["ended"]) == (5, "accepted", ended)
    assert outcome["seen"].startswith(seen)
    if ended == "unknown":
        assert re.search("job 7 is Pausing; .*documented", ran.err)
        assert cli(f"status e --endpoint {old_job}").outcomes[0]["job"]["state"] == "unknown"


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_shows_engines_records_and_tasks_and_retries_none(cli: Cli, mock: Mock) -> None:
    cli("engine runs")
    ran = cli("status runs fails")
    runs, fails = ran.outcomes
    assert (ran.code, ran.err) == (0, "")
    assert (runs["name"], runs["status"], runs["can_retry"]) == ("the runs", "Modifying", False)
    job = {"id": 2, "status": "Executing", "state": "running", "ended_at": None}
    assert runs["job"].items() >= job.items()
    assert (fails["can_retry"], fails["job"]["reason"]) == (True, "modify: No node.")
    r1, r3 = cli("status --record-id r1 r3").outcomes
    assert (r1["state"], r1["can_retry"], r3["state"], r3["can_retry"]) == (
        "failed",
        True,
        "succeeded",
        False,
    )
    (task,) = cli("status --task-id t1").outcomes
    assert (task["state"], task["records"]) == ("running", {"FAILED": 2, "SUCCESS": 1, "RUNNING": 1})
    failed = [(each["record_id"], each["reason"]) for each in task["failed"]]
    assert failed == [("r1", "1: No disk."), ("r2", "1: No net.")]
    assert sent(mock) == ["runs"]


@pytest.mark.parametrize(
    ("what", "shows"),
    [
        ("fails", r"^ failed +engine fails \(the fails\) is ModifyFailed; a retry would be accepted *$"),
        ("fails", r"^ +job 1 is Error, ended 20[\d-]+ [\d:]+Z: modify: No node\. *$"),
        ("--record-id r4", r"^ running +record r4 is RUNNING; a retry would be refused *$"),
        ("--task-id t1", r"^ +record r2 is FAILED, ended 20[\d-]+ [\d:]+Z: 1: No net\. *$"),
        ("--task-id none", r"^ unknown +task none: it has no records: check the ID *$"),
    ],
)
def test_status_as_a_table(cli: Cli, what: str, shows: str) -> None:
    ran = cli(f"status {what} --output table")
    assert (ran.code, ran.err) == (0, "")
    assert re.search(shows, ran.out, re.MULTILINE), ran.out


def test_status_is_exit_code_1_if_one_cannot_be_read_and_ends_after_a_401(cli: Cli, mock: Mock) -> None:
    ran = cli("status ends nowhere")
    assert (ran.code, ["error" in each for each in ran.outcomes]) == (1, [False, True])
    assert re.search(r"engine nowhere cannot be read: 400 SVCSTG.00501116: .*\n  -> ", ran.err)
    cli.set(HW_AUTH_TOKEN="wrong")
    before = len(mock.request_log())
    ran = cli("status e1 e2 e3")
    assert (ran.code, len(mock.request_log())) == (1, before + 1)
    assert ran.outcomes[2]["error"].startswith("not read: authentication failed")


# --- The failed records of a task -------------------------------------------------------------------------------------


def test_failed_of_retries_each_failed_record_of_a_task(cli: Cli, mock: Mock) -> None:
    shown = cli("script --failed-of t1 --dry-run")
    assert [each["body"] for each in shown.outcomes] == ['{"record_id":"r1"}', '{"record_id":"r2"}']
    assert (shown.code, {entry["operation"] for entry in mock.request_log()}) == (0, {"ListScriptRecords"})
    ran = cli("script --failed-of t1 --wait")
    assert (ran.code, sent(mock)) == (4, ["r1", "r2"])
    assert [end for _, end, _ in ends(ran)] == ["succeeded", "failed"]
    assert ran.err.splitlines()[:3] == [
        "hwc-retry script: task t1: 2 FAILED, 1 SUCCESS, 1 RUNNING",
        "hwc-retry script: record r1 is FAILED: 1: No disk.",
        "hwc-retry script: record r2 is FAILED: 1: No net.",
    ]


@pytest.mark.parametrize("also", ["", " --wait", " --dry-run"])
def test_failed_of_a_task_without_failed_records_retries_nothing(cli: Cli, also: str) -> None:
    ran = cli(f"script --failed-of t2{also}")
    assert (ran.code, ran.out) == (0, "[]\n")
    assert "task t2: 1 SUCCESS; none has failed" in ran.err


def test_failed_of_a_task_that_cannot_be_read_or_has_no_records_is_exit_code_1(cli: Cli, mock: Mock) -> None:
    for task, says in (("nowhere", "task nowhere has no records"), ("t1", "task t1 cannot be read: 403 ")):
        ran = cli(f"script --failed-of {task}")
        assert (ran.code, ran.out, says in ran.err) == (1, "", True)
        mock.add_fault(operation="ListScriptRecords", status=403)


# --- bulk and resolve -------------------------------------------------------------------------------------------------


def test_bulk_waits_and_its_report_shows_how_the_work_ended(cli: Cli) -> None:
    line = f"bulk {cli.engines('ends', 'fails', 'runs')} --wait --wait-timeout 0"
    ran = cli(line, "--output", "json")
    found = {each["engine_id"]: each["ended"] for each in ran.outcomes}
    assert (ran.code, found) == (4, {"ends": "succeeded", "fails": "failed", "runs": "running"})
    assert re.search("3 accepted: 1 succeeded, 1 failed again, 1 .*running", ran.err)
    assert ",fails," in cli("report in.jsonl.journal --output csv --only failed").out
    ended = cli("report in.jsonl.journal --output json").out
    assert json.loads(ended)["ended"] == {"succeeded": 1, "failed": 1, "running": 1}


@pytest.mark.parametrize(("ids", "code"), [("ends blinks", 0), ("ends runs", 5)])
def test_bulk_waits_for_what_an_earlier_run_sent(cli: Cli, mock: Mock, ids: str, code: int) -> None:
    line = f"bulk {cli.engines(*ids.split())}"
    assert cli(line).code == 0
    mock.advance(10)
    assert (cli(f"{line} --wait --wait-timeout 0").code, sent(mock)) == (code, ids.split())


@pytest.mark.parametrize("at_once", [True, False])
def test_resolve_settles_unknown_outcomes_then_has_nothing_left(cli: Cli, mock: Mock, at_once: bool) -> None:
    mock.add_fault(operation="RetryEngine", close="after", times=1)
    line = f"bulk --concurrency 1 {cli.engines('runs', 'ends')}"
    if at_once:
        ran = cli(line, "--resolve")
        assert (ran.code, sorted(ran.verdicts)) == (0, ["accepted", "accepted", "unknown"])
    else:
        assert cli(line).code == 3
        ran = cli("resolve in.jsonl.journal")
        assert (ran.code, ran.verdicts) == (0, ["accepted"])
        assert "1 unknown before: 1 accepted" in ran.err
    again = cli("resolve in.jsonl.journal")
    assert (again.code, again.out) == (0, "")
    assert again.err == "hwc-retry resolve: whole journal: accepted 2, refused 0, unknown 0\n"
