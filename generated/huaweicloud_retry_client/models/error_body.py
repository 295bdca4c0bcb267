from __future__ import annotations

from typing import Any

from attrs import define as _define
from attrs import field as _field

from ..types import UNSET, OpenModel, Unset, short_repr


@_define(kw_only=True, field_transformer=short_repr)
class ErrorBody(OpenModel):
    """An error of the Workspace service, or of the gateway in front of either service."""

    error_code: str
    """Error code, which is returned upon failure. Codes are reused with other meanings (WKS.00211102 has
    two), and the Workspace list has some that come with status 200, so check the status first."""
    error_msg: str
    """Error message."""
    request_id: str | Unset = UNSET
    """The gateway's ID of the request, to quote to support."""
    additional_properties: dict[str, Any] = _field(init=False, factory=dict)
