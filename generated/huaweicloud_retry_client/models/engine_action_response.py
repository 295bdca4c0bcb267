from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import short_repr

T = TypeVar("T", bound="EngineActionResponse")


@_attrs_define(kw_only=True, field_transformer=short_repr)
class EngineActionResponse:
    """The retry was accepted. `jobId` was spelt `job_id` in the SDK's releases up to 3.1.39."""

    id: str
    """ Microservice engine ID. """
    name: str
    """ Microservice engine name. """
    job_id: int
    """ ID of the job executed by a microservice engine. """
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = self.id

        name = self.name

        job_id = self.job_id

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "name": name,
                "jobId": job_id,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        id = d.pop("id")

        name = d.pop("name")

        job_id = d.pop("jobId")

        engine_action_response = cls(
            id=id,
            name=name,
            job_id=job_id,
        )

        engine_action_response.additional_properties = d
        return engine_action_response

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
