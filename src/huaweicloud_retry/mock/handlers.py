"""What each operation does in the mock. An operation without a handler returns the spec's example."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from huaweicloud_retry.parsing import Json

from .response import Refusal
from .state import JOB, Project, Work

Path: TypeAlias = Mapping[str, str]
Handler: TypeAlias = Callable[[Project, Path, str, Any], Json]
"""Called with path parameters, query and body, all valid. Raises Refusal."""

# The engine's status, by that of its latest job.
_ENGINE_IS = {**dict.fromkeys(JOB.failed, "ModifyFailed"), **dict.fromkeys(JOB.running, "Modifying")}
_FROM_STATE = ("script_id", "script_name", "resource_id", "resource_name")
_FILTERS = (*_FROM_STATE[:3], "resource_group_id", "script_task_id", "task_type", "status")
_SECOND_BATCH = 2


def _show_engine(project: Project, path: Path, _query: str, _body: Any) -> Json:
    engine, now = project.engine(path["engine_id"]), project.now()
    job = engine.jobs[-1]
    return {
        "id": path["engine_id"],
        "name": engine.name,
        "projectId": path["project_id"],
        "type": "CSE",
        "specType": "CSE2",
        "status": _ENGINE_IS.get(job.status(now), "Available"),
        "latestJobId": job.id,
        "engineAdditionalActions": ["Retry" if job.failed(now) else "Noting"],
    }


def _show_job(project: Project, path: Path, _query: str, _body: Any) -> Json:
    job, now = project.job(path["engine_id"], path["job_id"]), project.now()
    began, ended = (None if at is None else int(at * 1000) for at in job.times(now))
    state: dict[str, Json] = {"status": job.status(now), "startTime": began, "endTime": ended}
    log = job.given.get("reason", "A step failed.") if job.failed(now) else ""
    task: dict[str, Json] = {**state, "id": 1, "jobId": job.id, "taskName": "modify", "log": log}
    return {
        **state,
        "id": job.id,
        "engineId": path["engine_id"],
        "type": "Modify",
        "scheduling": int(job.status(now) == "Executing"),
        "tasks": [{**state, "taskName": "modify", "taskNames": ["modify"], "tasks": [task]}],
    }


def _list_records(project: Project, _path: Path, query: str, _body: Any) -> Json:
    asked, now = parse_qs(query, keep_blank_values=True), project.now()
    if asked.get("show_history") == ["true"] and not {"resource_id", "script_id"} <= asked.keys():
        what = "The parameter is invalid: query show_history: true needs resource_id and script_id"
        raise Refusal("invalid", what)
    found: list[Json] = []
    for task_id, records in project.tasks.items():
        for record in records.values():
            shown = _record(record, task_id, now)
            if _passes(shown, record.given, asked):
                found.append(shown)
    offset, limit = int(asked.get("offset", ["0"])[0]), int(asked.get("limit", ["10"])[0])
    return {"count": len(found), "script_records": [*found[offset : offset + limit]]}


def _passes(shown: Mapping[str, Any], given: Mapping[str, Any], asked: Mapping[str, list[str]]) -> bool:
    """Return whether a record matches all filters of a query."""
    known = {"task_type": "SCRIPT", **given, **shown}
    first = asked.get("is_first_order", [""])[0]
    start, end = asked.get("execute_time_start", [""])[0], asked.get("execute_time_end", ["~"])[0]
    return (
        all(known.get(name) in asked[name] for name in _FILTERS if name in asked)
        and first in {"", "false" if shown["execute_order"] == _SECOND_BATCH else "true"}
        and start < shown["start_time"] < end  # ISO 8601 in UTC sorts as text
    )


def _show_record(project: Project, path: Path, _query: str, _body: Any) -> Json:
    task_id, record = project.record(path["record_id"])
    now = project.now()
    output = None if record.runs(now) else record.given.get("output", "")
    return {**_record(record, task_id, now), "output": output}


def _iso_time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _record(record: Work, task_id: str, now: float) -> dict[str, Json]:
    given = record.given
    began, ended = (None if at is None else _iso_time(at) for at in record.times(now))
    result_code, reason = ("0", "") if ended else (None, None)
    if record.failed(now):
        result_code = given.get("result_code", "1")
        reason = given.get("reason", "The script ended with exit code 1.")
    return {
        "id": record.id,
        "script_task_id": task_id,
        # Documented as present in each record.
        "script_id": f"script-of-{task_id}",
        "resource_id": f"desktop-of-{record.id}",
        **{name: given[name] for name in _FROM_STATE if name in given},
        "resource_type": "DESKTOP",
        "start_time": began,
        "end_time": ended,
        "status": record.status(now),
        "execute_order": given.get("execute_order", 0),
        "result_code": result_code,
        "reason": reason,
    }


HANDLERS: dict[str, Handler] = {
    "RetryEngine": lambda project, path, _, __: project.retry_engine(path["engine_id"]),
    "RetryScriptExecution": lambda project, _, __, body: project.retry_script(
        body.get("record_id"), body.get("task_id")
    ),
    "ShowEngine": _show_engine,
    "ShowEngineJob": _show_job,
    "ListScriptRecords": _list_records,
    "ShowScriptRecordDetail": _show_record,
}
