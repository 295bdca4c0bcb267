from __future__ import annotations

from typing import Any

from attrs import define as _define
from attrs import field as _field

from ..types import OpenModel, short_repr


@_define(kw_only=True, field_transformer=short_repr)
class RetryScriptExecutionResponse(OpenModel):
    """The retry was accepted."""

    task_id: str
    """Script execution task ID."""
    additional_properties: dict[str, Any] = _field(init=False, factory=dict)
