from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define as _define
from attrs import field as _field

from ..types import UNSET, OpenModel, Unset, short_repr

if TYPE_CHECKING:
    from .job_status import JobStatus
    from .job_type import JobType
    from .task_executor_brief import TaskExecutorBrief


@_define(kw_only=True, field_transformer=short_repr)
class EngineJobTask(OpenModel):
    """A task of a step."""

    id: int | None | Unset = UNSET
    """Task ID."""
    job_id: int | None | Unset = _field(default=UNSET, metadata={"name": "jobId"})
    """ID of the task's job."""
    type_: JobType | str | None | Unset = _field(default=UNSET, metadata={"name": "type"})
    """What the job does."""
    status: JobStatus | str | None | Unset = UNSET
    """Has the values of the job's status."""
    task_name: str | None | Unset = _field(default=UNSET, metadata={"name": "taskName"})
    """Name of the task."""
    engine_name: str | None | Unset = _field(default=UNSET, metadata={"name": "engineName"})
    """Name of the engine."""
    assigned: str | None | Unset = UNSET
    """What executes the task."""
    task_order: int | None | Unset = _field(default=UNSET, metadata={"name": "taskOrder"})
    """Position of the task; the lowest runs first."""
    create_time: int | None | Unset = _field(default=UNSET, metadata={"name": "createTime"})
    """Milliseconds since the epoch."""
    update_time: int | None | Unset = _field(default=UNSET, metadata={"name": "updateTime"})
    """Milliseconds since the epoch."""
    start_time: int | None | Unset = _field(default=UNSET, metadata={"name": "startTime"})
    """Milliseconds since the epoch."""
    end_time: int | None | Unset = _field(default=UNSET, metadata={"name": "endTime"})
    """Milliseconds since the epoch."""
    timeout: int | None | Unset = UNSET
    """Whether the task timed out; -1 in the documentation's example."""
    log: str | None | Unset = UNSET
    """Log of the task."""
    output: str | None | Unset = UNSET
    """Output of the task."""
    task_executor_brief: TaskExecutorBrief | None | Unset = _field(
        default=UNSET, metadata={"name": "taskExecutorBrief"}
    )
    """Summary of the step."""
    taskex_ecutor_brief: TaskExecutorBrief | None | Unset = _field(
        default=UNSET, metadata={"name": "taskexEcutorBrief"}
    )
    """Summary of the step."""
    additional_properties: dict[str, Any] = _field(init=False, factory=dict)
