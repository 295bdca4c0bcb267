"""The mock's request log: requests and how they ended, with secrets masked."""

import re
import time
from collections import deque
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import unquote

from huaweicloud_retry import signing
from huaweicloud_retry.parsing import Json, UnreadableError, read_json, shorten

from .request import MockRequest

KEPT = 10_000  # entries; older ones are dropped to limit memory
_MAX_KEPT = 4096  # bytes of a body, and of path, query and headers; larger ones are not kept
_MAX_ALL = 10 * 1024 * 1024  # bytes of all that is kept, roughly
_MAX_HEADERS = 64  # more are not kept: many small ones take far more memory than their bytes
_SECRET = re.compile(
    r"auth|token|secret|passw|pwd|credential|signature|cookie|api[-_]?key|access[-_]?key|\bsk\b",
    re.IGNORECASE,
)
_OPEN = {"id", "methods", "name"}  # fields of IAM's request that are no secrets, in auth and password
_SIGNED = re.compile(rf"({signing.ALGORITHM} Access=[\w-]+, SignedHeaders=[\w;-]+, Signature=)[0-9a-f]{{64}}")
_MASK = "***"


class Entry(NamedTuple):
    """A request and how it ended."""

    number: int  # from 1; a reset restarts it
    time: float  # seconds since the epoch, by the machine's clock
    request: MockRequest
    status: int | None  # None: no response was sent
    error_code: str | None
    acted: bool  # something was run, created or issued
    fault: Json

    @property
    def outcome(self) -> str:
        """How the request ended, in one word."""
        if self.acted:
            return "accepted"
        if self.status is None:
            return "unanswered"
        if self.status >= 300:  # noqa: PLR2004 - where success ends in HTTP
            return "refused"
        return "read" if self.request.method == "GET" else "example"

    def as_json(self) -> dict[str, Json]:
        """Return the entry for the admin API."""
        request = self.request
        return {
            "number": self.number,
            "time": datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds"),
            "method": request.method,
            "path": request.path,
            "query": _query(request.query),
            "headers": {name: _masked(name, value) for name, value in request.headers.items()},
            "body": _body(request.body),
            "request_id": request.id,
            "operation": request.operation,
            "outcome": self.outcome,
            "acted": self.acted,
            "status": self.status,
            "error_code": self.error_code,
            "fault": self.fault,
        }


class RequestLog:
    """The last requests, the newest at the end."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._size = 0
        self.count = 0  # requests since the last reset

    def reset(self) -> None:
        self._entries.clear()
        self.count = self._size = 0

    def add(
        self, request: MockRequest, status: int | None, error_code: str | None, fault: Json, *, acted: bool
    ) -> Entry:
        """Log a finished request, without its large parts."""
        if request.size > _MAX_KEPT or len(request.headers) > _MAX_HEADERS:
            request.path, request.query, request.headers, request.size = shorten(request.path), "", {}, 0
        if len(request.body) > _MAX_KEPT:
            request.body = b""
        self.count += 1
        entry = Entry(self.count, time.time(), request, status, error_code, acted, fault)
        self._entries.append(entry)
        request.size += len(request.body) + 32 * len(request.headers)  # bytes in memory, roughly
        self._size += request.size
        while len(self._entries) > KEPT or self._size > _MAX_ALL:
            self._size -= self._entries.popleft().request.size
        return entry

    def as_json(self) -> dict[str, Json]:
        """Return the response of /_mock/request-log."""
        return {
            "count": self.count,
            "dropped": self.count - len(self._entries),
            "entries": [entry.as_json() for entry in self._entries],
        }


def _masked(name: str, value: str) -> str:
    if name == "authorization" and (signed := _SIGNED.fullmatch(value)):
        return signed[1] + _MASK  # keep the names of the signed headers
    if name == "referer":
        return value.partition("?")[0]
    return _MASK if _SECRET.search(name) else value


def _query(query: str) -> str:
    parts = re.split("([&;])", query)
    for index, part in enumerate(parts):
        if _SECRET.search(unquote(part)):
            parts[index] = f"{part.partition('=')[0]}={_MASK}"
    return "".join(parts)


def _body(body: bytes) -> Json:
    try:
        return _without_secrets(read_json(body)) if body else None
    except (UnreadableError, RecursionError):  # it cannot be searched for secrets
        return f"<{len(body)} bytes, not readable as JSON>"


def _without_secrets(value: Json, *, secret: bool = False) -> Json:
    """Mask fields with a secret's name, and all fields within them."""
    if isinstance(value, dict):
        fields: dict[str, Json] = {}
        for name, part in value.items():
            hide = name not in _OPEN and (secret or _SECRET.search(name) is not None)
            fields[name] = _without_secrets(part, secret=hide)
        return fields
    if isinstance(value, list):
        return [_without_secrets(part, secret=secret) for part in value]
    return _MASK if secret and value is not None else value
