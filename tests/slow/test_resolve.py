"""Hundreds of retries under every fault, each unknown outcome resolved, and judged by the mock's request log."""

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from huaweicloud_retry import TokenAuth
from huaweicloud_retry.follow import Work, resolve
from huaweicloud_retry.testing import mock_server
from huaweicloud_retry_client import APIError, Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import EngineActionRequest, RetryScriptExecutionRequest

RETRIES = 400
FAULTS: list[dict[str, Any]] = [
    {"close": "before", "share": 0.2},
    {"close": "after", "share": 0.25},
    {"reply": "drip", "seconds": 3600, "share": 0.1},
    {"status": 502, "acted": True, "share": 0.3},
    {"status": 504, "share": 0.4},
]
OPERATIONS = ("RetryEngine", "RetryScriptExecution")
PROJECTS = 10  # so that a list is short
KINDS = ("engine_id", "record_id", "task_id")  # a third each; each task has a few records
WORKS = [Work(project_id=f"p{n % PROJECTS}", **{KINDS[n % 3]: f"i{n}"}) for n in range(RETRIES)]


def state(seconds_ahead: float) -> str:
    """Of work whose retry runs on, ends well, or fails again at once or after a while."""
    projects: dict[str, Any] = {f"p{n}": {"engines": {}, "script_tasks": {}} for n in range(PROJECTS)}
    for number, work in enumerate(WORKS):
        project, is_good = projects[work.project_id], number % 2 == 0
        run_time = 0 if number % 20 == 1 else (20, 40, 1000)[number % 3]
        if work.engine_id:
            end = "Finished" if is_good else "Error"
            job = {"id": number, "status": "Error", "run_time": run_time, "retries_end": [end]}
            project["engines"][work.engine_id] = {"name": "n", "jobs": [job]}
        else:
            ends = {"run_time": run_time, "retries_end": ["SUCCESS" if is_good else "FAILED"]}
            names = [f"i{number}", *(f"i{number}-{more}" for more in range(3) if work.task_id)]
            records = {
                name: {"status": "FAILED", "script_id": f"s{number}", "resource_id": f"d-{name}", **ends}
                for name in names
            }
            project["script_tasks"][f"i{number}"] = {"records": records}
    return json.dumps({"seconds_ahead": seconds_ahead, "projects": projects})


def time_of_lost(client: Client, work: Work) -> float | None:
    """Retry; returns when it was sent if the outcome is unknown."""
    sent_at = time.time()
    try:
        if work.engine_id:
            retry_engine.sync(work.project_id, work.engine_id, client=client, body=EngineActionRequest())
        else:
            given = {"record_id": work.record_id} if work.record_id else {"task_id": work.task_id}
            body = RetryScriptExecutionRequest.from_dict(given)
            retry_script_execution.sync(work.project_id, client=client, body=body)
    except APIError as error:
        return sent_at if error.outcome_unknown else None
    return None


@pytest.mark.parametrize(("seconds_ahead", "failing_reads"), [(0, False), (600, True), (-600, True)])
def test_none_is_resolved_wrong_and_nearly_all_are(seconds_ahead: float, failing_reads: bool) -> None:
    timeout = httpx.Timeout(60, read=1)  # a drip is given up after a second
    with mock_server() as mock, Client(mock.url, auth=TokenAuth("mock-token"), timeout=timeout) as client:
        mock.set_state(state(seconds_ahead))
        for operation in OPERATIONS:
            for fault in FAULTS:
                mock.add_fault(operation=operation, **fault)
        with ThreadPoolExecutor(32) as pool:
            sent = list(pool.map(partial(time_of_lost, client), WORKS))
            acted = {key(entry) for entry in mock.request_log() if entry["acted"]}
            faults = {
                json.dumps(entry["fault"], sort_keys=True) for entry in mock.request_log() if entry["fault"]
            }
            assert len(faults) == len(OPERATIONS) * len(FAULTS)
            mock.clear_faults()
            if failing_reads:
                mock.add_fault(close="after", share=0.05)
            lost = [(work, at) for work, at in zip(WORKS, sent, strict=True) if at is not None]
            # Nothing is under way any more.
            found = pool.map(lambda each: resolve(client, *each, settle=0).verdict, lost)
            counted = Counter(
                (name(work) in acted, verdict) for (work, _), verdict in zip(lost, found, strict=True)
            )
    assert (counted[True, "not run"], counted[False, "accepted"]) == (0, 0), counted
    assert min(counted[True, "accepted"], counted[False, "not run"]) > RETRIES / 10, counted
    # Not to be told apart are those alone that failed again within the uncertainty.
    assert counted[True, "unknown"] + counted[False, "unknown"] <= len(lost) * 0.05, counted


def name(work: Work) -> str:
    return str(work.engine_id or work.record_id or work.task_id)


def key(entry: Any) -> str:
    """Which work a logged retry was of."""
    body = entry["body"]
    return str(body.get("record_id") or body.get("task_id") or entry["path"].split("/")[-2])
