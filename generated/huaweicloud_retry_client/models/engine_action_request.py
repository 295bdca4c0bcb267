from __future__ import annotations

from typing import Any, Literal

from attrs import define as _define
from attrs import field as _field

from ..types import OpenModel, short_repr


@_define(kw_only=True, field_transformer=short_repr)
class EngineActionRequest(OpenModel):
    """The action on an engine."""

    action: Literal["Retry"] = "Retry"
    """Operation type. Enumerated values: Retry."""
    additional_properties: dict[str, Any] = _field(init=False, factory=dict)
