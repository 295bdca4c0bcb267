from __future__ import annotations

from typing import Any

from attrs import define as _define
from attrs import field as _field

from ..types import UNSET, OpenModel, Unset, short_repr


@_define(kw_only=True, field_transformer=short_repr)
class RetryScriptExecutionRequest(OpenModel):
    """What to run again: a record or a task. Each is optional, and what the service does with neither, or
    with both, is documented nowhere. This client refuses a request with neither."""

    record_id: str | Unset = UNSET
    """Script execution record ID."""
    task_id: str | Unset = UNSET
    """Script execution task ID."""
    additional_properties: dict[str, Any] = _field(init=False, factory=dict)

    _sets = (("record_id",), ("task_id",))
