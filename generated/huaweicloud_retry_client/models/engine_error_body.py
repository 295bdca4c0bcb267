from __future__ import annotations

from typing import Any

from attrs import define as _define
from attrs import field as _field

from ..types import UNSET, OpenModel, Unset, short_repr


@_define(kw_only=True, field_transformer=short_repr)
class EngineErrorBody(OpenModel):
    """An error of the CSE service. Pages of its predecessor ServiceStage spell the fields errorCode and errorMessage."""

    error_code: str
    """Error code."""
    error_msg: str
    """Error message."""
    detail: str | Unset = UNSET
    """Location details. The page has it; the API definition and the SDK do not."""
    request_id: str | Unset = UNSET
    """The gateway's ID of the request, to quote to support."""
    additional_properties: dict[str, Any] = _field(init=False, factory=dict)
