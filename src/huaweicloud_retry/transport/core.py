"""What the transports of both worlds share."""

from typing import Any, Final, TypeAlias

import httpcore
import httpx

MOST: Final = 100  # connections at once, and
IDLE_FOR: Final = 5.0  # seconds that an idle one may be used again: both as httpx's own defaults

Origin: TypeAlias = tuple[bytes, bytes, int]
"""Where a connection leads to: scheme, host and port."""

FAILURES: Final = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)
"""What may become of a connection."""


def as_httpx(error: Exception) -> httpx.TransportError:
    """Return the error that httpx has for one of `FAILURES`."""
    kind: type[httpx.TransportError] = getattr(httpx, type(error).__name__)  # they have the same names
    return kind(str(error))


def nothing_free(seconds: float | None) -> httpx.PoolTimeout:
    """Return the error for a request that no connection became free for."""
    return httpx.PoolTimeout(f"no connection of {MOST} became free in {seconds} s")


def timeout(request: httpx.Request, of: str) -> float | None:
    """Return the seconds that a request has for one of connect, read, write and pool; None: all the time there is."""
    timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
    return timeouts.get(of)


def to_httpcore(request: httpx.Request) -> httpcore.Request:
    """Return a request as httpcore has it."""
    url = request.url
    return httpcore.Request(
        request.method,
        httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


def origin(url: httpcore.URL) -> Origin:
    """Return where a connection for this URL leads to."""
    found = url.origin
    return found.scheme, found.host, found.port


def to_httpx(answer: httpcore.Response, stream: httpx.SyncByteStream | httpx.AsyncByteStream) -> httpx.Response:
    """Return an answer as httpx has it, but for its body."""
    extensions: Any = answer.extensions  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - a bare dict
    return httpx.Response(answer.status, headers=answer.headers, stream=stream, extensions=extensions)
