from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define as _define
from attrs import field as _field

from ..types import UNSET, OpenModel, Unset, short_repr

if TYPE_CHECKING:
    from .engine_job_step import EngineJobStep
    from .job_status import JobStatus
    from .job_type import JobType


@_define(kw_only=True, field_transformer=short_repr)
class EngineJob(OpenModel):
    """A job of an engine."""

    id: int
    """Job ID."""
    status: JobStatus | str
    """Job status."""
    engine_id: str | None | Unset = _field(default=UNSET, metadata={"name": "engineId"})
    """Engine ID."""
    type_: JobType | str | None | Unset = _field(default=UNSET, metadata={"name": "type"})
    """What the job does."""
    scheduling: int | None | Unset = UNSET
    """1 while the job is being executed, or else 0."""
    create_user: str | None | Unset = _field(default=UNSET, metadata={"name": "createUser"})
    """Who created the job."""
    description: str | None | Unset = UNSET
    """Description of the job."""
    context: str | None | Unset = UNSET
    """Context of the job's execution."""
    start_time: int | None | Unset = _field(default=UNSET, metadata={"name": "startTime"})
    """Milliseconds since the epoch."""
    end_time: int | None | Unset = _field(default=UNSET, metadata={"name": "endTime"})
    """Milliseconds since the epoch."""
    tasks: list[EngineJobStep] | None | Unset = UNSET
    """The steps of the job."""
    additional_properties: dict[str, Any] = _field(init=False, factory=dict)
