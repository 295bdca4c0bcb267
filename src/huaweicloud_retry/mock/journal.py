"""What was asked of the mock and what came of it, secrets masked."""

import re
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from huaweicloud_retry.parsing import Json, UnreadableError, read_json, shorten

KEPT = 10_000  # entries; older ones are dropped, so that memory does not grow
_MAX_KEPT = 4096  # bytes, of a body and of all that stands before it; a larger one is not kept
_SECRET = re.compile(r"auth|token|secret|passw|credential|signature|cookie|api-?key|access-?key", re.IGNORECASE)
_SIGNATURE = re.compile(r"(?<=Signature=)[^,\s]+")
_MASK = "***"


class Entry(NamedTuple):
    """A request and what came of it."""

    number: int
    """From 1; a reset begins again."""
    time: float
    """Seconds since the epoch, by the machine's clock."""
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    size: int
    """Bytes of path, query and headers."""
    request_id: str
    operation: str | None
    status: int | None
    """None: no answer was sent."""
    error_code: str | None
    acted: bool
    """Something was run, made or issued."""
    fault: dict[str, Json] | None

    @property
    def outcome(self) -> str:
        """What a journal reader looks for first."""
        if self.acted:
            return "accepted"
        if self.status is None:
            return "unanswered"
        return "refused" if self.status >= 400 else "example"  # noqa: PLR2004 - where errors begin in HTTP

    def as_json(self) -> dict[str, Json]:
        """Return what /_mock/journal shows."""
        return {
            "number": self.number,
            "time": datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds"),
            "method": self.method,
            "path": self.path,
            "query": urlencode([(n, _masked(n, v)) for n, v in parse_qsl(self.query, keep_blank_values=True)]),
            "headers": {name: _masked(name, value) for name, value in self.headers.items()},
            "body": _body(self.body),
            "request_id": self.request_id,
            "operation": self.operation,
            "outcome": self.outcome,
            "acted": self.acted,
            "status": self.status,
            "error_code": self.error_code,
            "fault": self.fault,
        }


class Journal:
    """The last requests, the newest at the end."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self.count = 0
        """Requests since the last reset."""

    def reset(self) -> None:
        """Forget all."""
        self._entries.clear()
        self.count = 0

    def add(self, entry: Entry) -> None:
        """Write one down."""
        self.count = entry.number
        if entry.size > _MAX_KEPT:
            entry = entry._replace(path=shorten(entry.path), query="", headers={})
        if len(entry.body) > _MAX_KEPT:
            entry = entry._replace(body=b"")
        self._entries.append(entry)

    def as_json(self) -> dict[str, Json]:
        """Return what /_mock/journal shows."""
        return {
            "count": self.count,
            "dropped": self.count - len(self._entries),
            "entries": [entry.as_json() for entry in self._entries],
        }


def _masked(name: str, value: str) -> str:
    if name == "authorization" and value.startswith("SDK-HMAC-SHA256 "):
        return _SIGNATURE.sub(_MASK, value)  # which headers were signed is worth seeing
    return _MASK if _SECRET.search(name) else value


def _body(body: bytes) -> Json:
    try:
        return _without_secrets(read_json(body)) if body else None
    except UnreadableError:  # so that it cannot be searched for secrets
        return f"<{len(body)} bytes, not JSON>"


def _without_secrets(value: Json) -> Json:
    if isinstance(value, dict):
        # The one secret of IAM's request is a string; its parents are objects with names like it.
        return {
            name: _MASK if _SECRET.search(name) and isinstance(part, str) else _without_secrets(part)
            for name, part in value.items()
        }
    return [_without_secrets(part) for part in value] if isinstance(value, list) else value
