from __future__ import annotations

from typing import Any

from attrs import define as _define
from attrs import field as _field

from ..types import UNSET, OpenModel, Unset, short_repr


@_define(kw_only=True, field_transformer=short_repr)
class TaskExecutorBrief(OpenModel):
    """Summary of a step or task."""

    description: str | None | Unset = UNSET
    """Description of the step or task."""
    duration: int | None | Unset = UNSET
    """How long it takes; the unit is documented nowhere."""
    additional_properties: dict[str, Any] = _field(init=False, factory=dict)
