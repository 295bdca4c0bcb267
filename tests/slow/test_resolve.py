"""Hundreds of retries under every fault, each unknown outcome settled, and judged by the mock's request log."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from huaweicloud_retry import TokenAuth
from huaweicloud_retry.follow import Work, drive, resolve
from huaweicloud_retry.testing import mock_server
from huaweicloud_retry_client import APIError, Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import EngineActionRequest, RetryScriptExecutionRequest

RETRIES = 400
AT_ONCE = 32
FAULTS: list[dict[str, Any]] = [
    {"close": "before", "share": 0.2},
    {"close": "after", "share": 0.25},
    {"reply": "drip", "seconds": 3600, "share": 0.1},
    {"status": 502, "acted": True, "share": 0.3},
    {"status": 504, "share": 0.4},
]
OPERATIONS = ("RetryEngine", "RetryScriptExecution")
PROJECTS = 10  # so that a list is short


class Sent(NamedTuple):
    """A retry without a response."""

    work: Work
    at: float


def works() -> list[Work]:
    """A third each of engines, records and tasks; each task has a few records."""
    kinds = ("engine_id", "record_id", "task_id")
    return [
        Work(project_id=f"p{number % PROJECTS}", **{kinds[number % 3]: f"i{number}"})
        for number in range(RETRIES)
    ]


def state(seconds_ahead: float) -> str:
    """Of work whose retry runs on, ends well, or fails again at once or after a while."""
    projects: dict[str, Any] = {
        f"p{number}": {"engines": {}, "script_tasks": {}} for number in range(PROJECTS)
    }
    for number, work in enumerate(works()):
        ends: dict[str, Any] = {"run_time": 0 if number % 20 == 1 else (20, 40, 1000)[number % 3]}
        good = number % 2 == 0
        if work.engine_id:
            ends["retries_end"] = ["Finished" if good else "Error"]
            projects[work.project_id]["engines"][work.engine_id] = {
                "name": "n",
                "jobs": [{"id": number, "status": "Error", **ends}],
            }
        else:
            ends["retries_end"] = ["SUCCESS" if good else "FAILED"]
            names = [f"i{number}", *(f"i{number}-{more}" for more in range(3) if work.task_id)]
            records = {
                name: {"status": "FAILED", "script_id": f"s{number}", "resource_id": f"d-{name}", **ends}
                for name in names
            }
            projects[work.project_id]["script_tasks"][f"i{number}"] = {"records": records}
    return json.dumps({"seconds_ahead": seconds_ahead, "projects": projects})


async def send(client: Client, work: Work) -> Sent | None:
    """Retry, and return it if it has no response."""
    at = time.time()
    try:
        if work.engine_id:
            await retry_engine.asyncio(
                work.project_id, work.engine_id, client=client, body=EngineActionRequest()
            )
        else:
            given = {"record_id": work.record_id} if work.record_id else {"task_id": work.task_id}
            body = RetryScriptExecutionRequest.from_dict(given)
            await retry_script_execution.asyncio(work.project_id, client=client, body=body)
    except APIError as error:
        return Sent(work, at) if error.outcome_unknown else None
    return None


async def retried(url: str) -> list[Sent]:
    timeout = httpx.Timeout(60, read=1)  # a drip is given up after a second
    places = asyncio.Semaphore(AT_ONCE)
    async with Client(url, auth=TokenAuth("mock-token"), timeout=timeout) as client:

        async def one(work: Work) -> Sent | None:
            async with places:
                return await send(client, work)

        return [sent for sent in await asyncio.gather(*map(one, works())) if sent is not None]


async def settled(url: str, lost: list[Sent]) -> list[str]:
    """Settle each; nothing is under way any more."""
    places = asyncio.Semaphore(AT_ONCE)
    async with Client(url, auth=TokenAuth("mock-token")) as client:

        async def one(sent: Sent) -> str:
            async with places:
                return (await drive(resolve.steps(client, sent.work, sent.at, settle=0))).verdict

        return list(await asyncio.gather(*map(one, lost)))


@pytest.mark.parametrize(("seconds_ahead", "failing_reads"), [(0, False), (600, True), (-600, True)])
def test_no_unknown_outcome_is_settled_wrong_and_nearly_all_are_settled(
    tmp_path: Path, seconds_ahead: float, failing_reads: bool
) -> None:
    file = tmp_path / "state.json"
    file.write_text(state(seconds_ahead), "utf-8")
    with mock_server(file) as mock:
        for operation in OPERATIONS:
            for fault in FAULTS:
                mock.add_fault(operation=operation, **fault)
        lost = asyncio.run(retried(mock.url))
        acted = {key(entry) for entry in mock.request_log() if entry["acted"]}
        met = {json.dumps(entry["fault"], sort_keys=True) for entry in mock.request_log() if entry["fault"]}
        assert len(met) == len(OPERATIONS) * len(FAULTS)
        mock.clear_faults()
        if failing_reads:
            mock.add_fault(close="after", share=0.05)
        verdicts = asyncio.run(settled(mock.url, lost))

    found = Counter((name(sent.work) in acted, verdict) for sent, verdict in zip(lost, verdicts, strict=True))
    assert (found[True, "not run"], found[False, "accepted"]) == (0, 0), found
    assert min(found[True, "accepted"], found[False, "not run"]) > RETRIES / 10, found
    # Not to be told apart are those alone that failed again within the uncertainty.
    assert found[True, "unknown"] + found[False, "unknown"] <= len(lost) * 0.05, found


def name(work: Work) -> str:
    return str(work.engine_id or work.record_id or work.task_id)


def key(entry: Any) -> str:
    """Which work a logged retry was of."""
    if entry["operation"] == "RetryEngine":
        return str(entry["path"].split("/")[-2])
    body = entry["body"]
    return str(body.get("record_id") or body.get("task_id"))
