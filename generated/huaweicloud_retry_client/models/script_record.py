from __future__ import annotations

from typing import Any

from attrs import define as _define
from attrs import field as _field

from ..types import UNSET, OpenModel, Unset, short_repr


@_define(kw_only=True, field_transformer=short_repr)
class ScriptRecord(OpenModel):
    """A run of a script on one desktop."""

    id: str
    """Script execution record ID."""
    status: str
    """Documented nowhere. Related operations have SUCCESS, FINISH (succeeded), FAILED (failed),
    RUNNING, WAITING, INIT (in progress), and do not agree with each other; expect others."""
    script_id: str | None | Unset = UNSET
    """Script ID."""
    script_name: str | None | Unset = UNSET
    """Script name."""
    script_task_id: str | None | Unset = UNSET
    """Script execution task ID."""
    resource_id: str | None | Unset = UNSET
    """ID of the resource on which the script runs, for example a desktop."""
    resource_name: str | None | Unset = UNSET
    """Its name."""
    resource_type: str | None | Unset = UNSET
    """Its type, for example DESKTOP."""
    start_time: str | None | Unset = UNSET
    """Probably like 2021-10-01T12:00:00Z, as in the filters of ListScriptRecords. The pages of 2026 say
    String, those of 2025 and the SDK DateTime."""
    end_time: str | None | Unset = UNSET
    """Probably like 2021-10-01T12:00:00Z, as in the filters of ListScriptRecords. The pages of 2026 say
    String, those of 2025 and the SDK DateTime."""
    execute_order: int | None | Unset = UNSET
    """Batch: 0 by default, 1 gray, 2 not gray."""
    result_code: str | None | Unset = UNSET
    """Error code."""
    reason: str | None | Unset = UNSET
    """Cause."""
    additional_properties: dict[str, Any] = _field(init=False, factory=dict)
