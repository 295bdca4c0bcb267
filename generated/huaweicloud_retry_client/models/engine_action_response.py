from __future__ import annotations

from typing import Any

from attrs import define as _define
from attrs import field as _field

from ..types import OpenModel, short_repr


@_define(kw_only=True, field_transformer=short_repr)
class EngineActionResponse(OpenModel):
    """The retry was accepted. `jobId` was spelt `job_id` in the SDK's releases up to 3.1.39."""

    id: str
    """Microservice engine ID."""
    name: str
    """Microservice engine name."""
    job_id: int = _field(metadata={"name": "jobId"})
    """ID of the job executed by a microservice engine."""
    additional_properties: dict[str, Any] = _field(init=False, factory=dict)
