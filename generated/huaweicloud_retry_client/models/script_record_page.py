from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define as _define
from attrs import field as _field

from ..types import OpenModel, short_repr

if TYPE_CHECKING:
    from .script_record import ScriptRecord


@_define(kw_only=True, field_transformer=short_repr)
class ScriptRecordPage(OpenModel):
    """A page of script execution records."""

    count: int
    """How many records match, on all pages."""
    script_records: list[ScriptRecord]
    """The records of this page."""
    additional_properties: dict[str, Any] = _field(init=False, factory=dict)
