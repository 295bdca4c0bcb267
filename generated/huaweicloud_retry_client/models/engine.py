from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define as _define
from attrs import field as _field

from ..types import UNSET, OpenModel, Unset, short_repr

if TYPE_CHECKING:
    from .engine_additional_action import EngineAdditionalAction
    from .engine_status import EngineStatus


@_define(kw_only=True, field_transformer=short_repr)
class Engine(OpenModel):
    """A microservice engine. The documentation's fields for clusters, flavors and addresses (`cceSpec`,
    `externalEntrypoint`, `reference` and others) are not listed here."""

    id: str
    """Engine ID."""
    name: str
    """Engine name."""
    status: EngineStatus | str
    """Engine status."""
    type_: str | None | Unset = _field(default=UNSET, metadata={"name": "type"})
    """CSE is a dedicated ServiceComb engine, NACOS a registry, MICROGATEWAY a gateway."""
    spec_type: str | None | Unset = _field(default=UNSET, metadata={"name": "specType"})
    """How the engine is deployed, such as CSE2, Nacos2 or MicroGateway."""
    version: str | None | Unset = UNSET
    """Version of the engine."""
    latest_version: str | None | Unset = _field(default=UNSET, metadata={"name": "latestVersion"})
    """The newest available version."""
    latest_job_id: int | None | Unset = _field(default=UNSET, metadata={"name": "latestJobId"})
    """ID of the latest job."""
    engine_additional_actions: list[EngineAdditionalAction | str] | None | Unset = _field(
        default=UNSET, metadata={"name": "engineAdditionalActions"}
    )
    """Possible actions on the engine. RetryEngine is accepted only if `Retry` is among it. `Noting` is
    the documentation's spelling."""
    create_time: int | None | Unset = _field(default=UNSET, metadata={"name": "createTime"})
    """Milliseconds since the epoch."""
    project_id: str | None | Unset = _field(default=UNSET, metadata={"name": "projectId"})
    """Project ID."""
    enterprise_project_id: str | None | Unset = _field(default=UNSET, metadata={"name": "enterpriseProjectId"})
    """Enterprise project ID."""
    additional_properties: dict[str, Any] = _field(init=False, factory=dict)
