from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define as _define
from attrs import field as _field

from ..types import UNSET, OpenModel, Unset, short_repr

if TYPE_CHECKING:
    from .engine_job_task import EngineJobTask
    from .job_status import JobStatus
    from .task_executor_brief import TaskExecutorBrief


@_define(kw_only=True, field_transformer=short_repr)
class EngineJobStep(OpenModel):
    """A step of a job."""

    task_name: str | None | Unset = _field(default=UNSET, metadata={"name": "taskName"})
    """Name of the step."""
    task_names: list[str] | None | Unset = _field(default=UNSET, metadata={"name": "taskNames"})
    """Names of its tasks."""
    status: JobStatus | str | None | Unset = UNSET
    """Has the values of the job's status."""
    start_time: int | None | Unset = _field(default=UNSET, metadata={"name": "startTime"})
    """Milliseconds since the epoch."""
    end_time: int | None | Unset = _field(default=UNSET, metadata={"name": "endTime"})
    """Milliseconds since the epoch."""
    task_executor_brief: TaskExecutorBrief | None | Unset = _field(
        default=UNSET, metadata={"name": "taskExecutorBrief"}
    )
    """Summary of the step."""
    tasks: list[EngineJobTask] | None | Unset = UNSET
    """The tasks of the step."""
    additional_properties: dict[str, Any] = _field(init=False, factory=dict)
