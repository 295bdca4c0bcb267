"""Protects the mock from web pages: any page can send requests to this machine, even by its own host name."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address

from .request import MockRequest
from .response import MockResponse, Refusal

_HOST = re.compile(r"(\[[\da-fA-F:.]+\]|[\w.-]+)(?::\d*)?")
_EXPOSED = "Allow, Retry-After, X-Request-Id, X-Subject-Token"


class Guard:
    """Refuses requests to foreign host names (DNS rebinding), and changes by foreign pages (CSRF).

    It accepts `hosts`, localhost, loopback addresses and the address of the connection. Pages of `origins`,
    such as `http://localhost:3000`, may read responses and make changes.
    """

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._hosts = {"localhost", *(host.lower() for host in hosts)} - {""}
        self._origins = frozenset(origins)

    def check_host(self, request: MockRequest) -> None:
        """Refuse a foreign host name (403)."""
        name = _name(request.headers.get("host", ""))
        if name not in self._hosts and name != request.address and not is_loopback(name):
            what = f"{name[:200]} is not accepted" if name else "is missing or malformed"
            raise Refusal("MOCK.403", f"Host {what}: start the mock with --allow-host.")

    def check_change(self, request: MockRequest) -> None:
        """Refuse a change that a foreign page, or a form, could have sent (403)."""
        origin, content_type = request.headers.get("origin"), request.headers.get("content-type")
        if origin not in {None, f"http://{request.headers['host']}", *self._origins}:
            what = f"Pages of {origin!r:.200} may not make changes: start the mock with --cors ORIGIN."
            raise Refusal("MOCK.403", what)
        media_type = (content_type or "").partition(";")[0].strip().lower()
        given = request.body or content_type is not None
        if given and media_type not in {"application/json", "application/yaml"}:
            what = "A change needs Content-Type: application/json, which forms cannot send."
            raise Refusal("MOCK.403", what)

    def preflight(self, request: MockRequest) -> MockResponse | None:
        """Return the response to a CORS preflight request of an allowed origin; None: it is not one."""
        headers = request.headers
        method = headers.get("access-control-request-method")
        if request.method != "OPTIONS" or method is None or headers.get("origin") not in self._origins:
            return None
        allowed = {"Access-Control-Allow-Headers": headers.get("access-control-request-headers", "")}
        return MockResponse(204, None, {"Access-Control-Allow-Methods": method, **allowed})

    def headers(self, request: MockRequest) -> dict[str, str]:
        """Return the headers that allow a page to read the response."""
        origin = request.headers.get("origin")
        if origin is None or origin not in self._origins:
            return {"Vary": "Origin"} if self._origins else {}
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": _EXPOSED,
        }


@lru_cache(maxsize=100)
def _name(host: str) -> str:
    """Return the name in a Host header, without the port; empty if it is malformed."""
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").lower().removesuffix(".") if found else ""


@lru_cache(maxsize=100)
def is_loopback(name: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
