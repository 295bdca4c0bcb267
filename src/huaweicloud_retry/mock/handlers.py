"""What an operation does, beyond what the spec says of it: one function per operation ID.

An operation of the spec that is not here is answered from the spec's examples.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from huaweicloud_retry.parsing import Json

from .state import State

# Called with the path parameters and the parsed body, both checked against the spec; returns the body of a 200.
Handler: TypeAlias = Callable[[State, Mapping[str, str], Any], Json]


def retry_engine(state: State, path: Mapping[str, str], _body: dict[str, str]) -> Json:
    """RetryEngine: its one action needs no telling apart."""
    engine_id = path["engine_id"]
    engine, job = state.project(path["project_id"]).retry_engine(engine_id)
    return {"id": engine_id, "name": engine.name, "jobId": job.id}


def retry_script_execution(state: State, path: Mapping[str, str], body: dict[str, str]) -> Json:
    """RetryScriptExecution: by record, by task, or by both if they belong together."""
    project = state.project(path["project_id"])
    return {"task_id": project.retry_script(body.get("record_id"), body.get("task_id"))}


HANDLERS: dict[str, Handler] = {
    "RetryEngine": retry_engine,
    "RetryScriptExecution": retry_script_execution,
}
