"""One retry, and its outcome."""

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self, TypeAlias, cast

from huaweicloud_retry.runtime.redaction import one_line
from huaweicloud_retry_client import APIError, APIStatusError, Client, Response
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.client import path_segment
from huaweicloud_retry_client.models import EngineActionRequest, RetryScriptExecutionRequest
from huaweicloud_retry_client.types import UNSET

Verdict: TypeAlias = Literal["accepted", "refused", "unknown"]
"""Whether the retry went through. `refused`: it was not processed, or could not be sent."""

Service: TypeAlias = Literal["cse", "workspace"]

SERVICES: Final[dict[str, Service]] = {"RetryEngine": "cse", "RetryScriptExecution": "workspace"}
_FIELDS: Final = {
    "RetryEngine": {"engine_id", "enterprise_project_id"},
    "RetryScriptExecution": {"record_id", "task_id"},
}
_ALL: Final = {"operation", "project_id", "region"}
_NAMES: Final = (*sorted(_ALL), "engine_id", "record_id", "task_id", "enterprise_project_id")
_ENCODER: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
_LONGEST: Final = 1000  # characters; in the contract, IDs have up to 64
_TEXT: Final = re.compile(r"[!-~]([ -~]*[!-~])?")


def _check(name: str, value: object) -> None:
    """Check that a JSON value can be an ID."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be a non-empty string")
    if len(value) > _LONGEST:
        raise ValueError(f"{name} has {len(value)} characters; the limit is {_LONGEST}")
    if not value.isprintable() or value != value.strip():
        raise ValueError(f"{name} must be printable, without blanks at its ends")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One retry: of the failed job of an engine, or of a script execution by record or task.

    Attributes:
        operation: `RetryEngine` or `RetryScriptExecution`.
        project_id: Project ID.
        engine_id: For RetryEngine: the engine.
        record_id: For RetryScriptExecution: one run on one desktop.
        task_id: For RetryScriptExecution: a task. Give at least one of the two.
        enterprise_project_id: For RetryEngine: sent as X-Enterprise-Project-ID.
        region: Such as cn-north-4; None: the region of the environment.

    Raises:
        ValueError: A field is missing, invalid, or belongs to the other operation.
    """

    operation: str
    project_id: str
    engine_id: str | None = None
    record_id: str | None = None
    task_id: str | None = None
    enterprise_project_id: str | None = None
    region: str | None = None

    def __post_init__(self) -> None:
        given = self.fields()
        for name, value in given.items():
            _check(name, value)
        if self.operation not in SERVICES:
            raise ValueError(f"operation is {self.operation!r}; it must be {' or '.join(SERVICES)}")
        own = _FIELDS[self.operation]
        if foreign := sorted(given.keys() - own - _ALL):
            raise ValueError(f"{self.operation} has no {' and no '.join(foreign)}")
        if self.operation == "RetryEngine" and self.engine_id is None:
            raise ValueError("RetryEngine needs engine_id")
        if self.operation == "RetryScriptExecution" and self.record_id is None and self.task_id is None:
            raise ValueError("RetryScriptExecution needs record_id or task_id")
        path_segment("project_id", self.project_id)
        if self.engine_id is not None:
            path_segment("engine_id", self.engine_id)
        if self.enterprise_project_id is not None and not _TEXT.fullmatch(self.enterprise_project_id):
            raise ValueError("enterprise_project_id must be printable ASCII")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Create an item from the fields of a JSON object or a CSV line.

        Raises:
            ValueError: A field is missing, unknown or invalid.
        """
        if unknown := sorted(given.keys() - set(_NAMES)):
            raise ValueError(f"unknown field {', '.join(map(repr, unknown))}")
        if missing := [name for name in ("operation", "project_id") if given.get(name) is None]:
            raise ValueError(f"{' and '.join(missing)} missing")
        return cls(**given)

    def fields(self) -> dict[str, str]:
        """Return the fields that are not None."""
        return {name: value for name in _NAMES if (value := getattr(self, name)) is not None}

    @property
    def key(self) -> str:
        """The fields as JSON, in a fixed order: equal items have equal keys."""
        return _ENCODER.encode(self.fields())

    @property
    def target(self) -> str:
        """Identifies the work that is retried, whatever the headers of the request are."""
        kind = "record" if self.record_id else "task"  # a record is one run of its task
        id_ = self.engine_id or self.record_id or self.task_id
        return f"{self.operation}\n{self.project_id}\n{kind}\n{id_}"

    @property
    def service(self) -> Service:
        """`cse` or `workspace`."""
        return SERVICES[self.operation]

    @property
    def name(self) -> str:
        """Display name: `engine …`, `record …` or `task …`."""
        named = (("engine", self.engine_id), ("record", self.record_id), ("task", self.task_id))
        return ", ".join(f"{what} {id_}" for what, id_ in named if id_ is not None)

    def in_region(self, region: str) -> Self:
        """Return a copy of the item in a region."""
        copied = copy.copy(self)  # `replace` would repeat the checks: a third of the time to read a line
        object.__setattr__(copied, "region", region)
        return copied

    async def send(self, client: Client) -> Response[Any]:
        """Send the request once; returns the response, of any status.

        Raises:
            APIConnectionError: There is no response.
            IAMError: IAM issued no token.
        """
        if self.engine_id is not None:
            return await retry_engine.asyncio_detailed(
                self.project_id,
                self.engine_id,
                client=client,
                body=EngineActionRequest(),
                x_enterprise_project_id=self.enterprise_project_id or UNSET,
            )
        body = RetryScriptExecutionRequest(record_id=self.record_id or UNSET, task_id=self.task_id or UNSET)
        return await retry_script_execution.asyncio_detailed(self.project_id, client=client, body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of an item.

    Attributes:
        item: The item.
        verdict: Whether the retry went through.
        message: In one line: the job or task that runs, or the error.
        status: HTTP status; None: no response.
        error_code: Error code of the service or the gateway, or None.
        request_id: Request ID to quote to support, or None.
        response: The body of a 200, or None.
        attempts: Number of attempts to send the request.
        started_at: Time of the first attempt, in seconds since the epoch.
        seconds: From the first attempt to the outcome, backoffs included.
        seen: What the service showed later, in one line; None: it was not queried.
        ended: How the work ended: `succeeded` or `failed`; `running`: not yet when last queried; None: not
            followed.
    """

    item: Item
    verdict: Verdict
    message: str
    status: int | None = None
    error_code: str | None = None
    request_id: str | None = None
    response: dict[str, Any] | None = None
    attempts: int = 1
    started_at: float
    seconds: float
    seen: str | None = None
    ended: str | None = None

    @classmethod
    def of(
        cls,
        item: Item,
        received: Response[Any] | APIError,
        *,
        attempts: int,
        started_at: float,
        seconds: float,
    ) -> Self:
        """Return the outcome for a response or an error."""
        error = received.error if isinstance(received, Response) else received
        shared: dict[str, Any] = {
            "item": item,
            "attempts": attempts,
            "started_at": started_at,
            "seconds": seconds,
        }
        if error is None:
            body: dict[str, Any] = cast("Response[Any]", received).result().to_dict()
            what = f"job {body['jobId']}" if item.engine_id is not None else f"task {body['task_id']}"
            return cls(verdict="accepted", message=one_line(what), status=200, response=body, **shared)
        return cls(
            verdict="unknown" if error.outcome_unknown else "refused",
            message=str(error),
            status=getattr(error, "status_code", None),
            error_code=_shown(error.error_code) if isinstance(error, APIStatusError) else None,
            request_id=_shown(getattr(error, "request_id", None)),
            **shared,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for JSON: the verdict, the fields of the item, and the rest."""
        rest = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name not in {"item", "verdict"}
        }
        return {"verdict": self.verdict, **self.item.fields(), **rest, "started_at": rfc3339(self.started_at)}


def _shown(text: str | None) -> str | None:
    # JSON can have lone surrogates, which SQLite cannot store.
    return text and one_line(text)


def rfc3339(at: float) -> str:
    """Format a time in seconds since the epoch: 2026-01-31T23:59:59.123Z."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
