"""Whom a browser may speak for. Any web page can send requests to this machine, under a name of its own (DNS rebinding)."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address

from .answer import Answer, Refusal
from .request import Request

_HOST = re.compile(r"(\[[\da-fA-F:.]+\]|[\w.-]+)(?::\d*)?")
_EXPOSED = "Allow, Retry-After, X-Request-Id, X-Subject-Token"


class Guard:
    """Refuses requests under a foreign name, and changes that a foreign page asks for.

    `hosts` are served beside localhost, loopback addresses and the address of the connection; pages of `origins`, such as
    `http://localhost:3000`, may read responses and change things.
    """

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._hosts = {"localhost", *(host.lower() for host in hosts)} - {""}
        self._origins = frozenset(origins)

    def check_host(self, request: Request) -> None:
        """Refuse a foreign name (403)."""
        name = _name(request.headers.get("host", ""))
        if name not in self._hosts and name != request.address and not is_loopback(name):
            what = f"Host {name[:200] or 'is missing or malformed, and'} is not served: start the mock with --allow-host."
            raise Refusal("MOCK.403", what)

    def check_change(self, request: Request) -> None:
        """Refuse what a foreign page, or a form, could have sent (403)."""
        origin, content_type = request.headers.get("origin"), request.headers.get("content-type")
        if origin not in {None, f"http://{request.headers['host']}", *self._origins}:
            what = f"Pages of {origin!r:.200} may change nothing here: start the mock with --cors ORIGIN."
            raise Refusal("MOCK.403", what)
        media_type = (content_type or "").partition(";")[0].strip().lower()
        if media_type not in {"application/json", "application/yaml"} and (
            request.body or content_type is not None
        ):
            raise Refusal(
                "MOCK.403", "A change needs Content-Type: application/json, which forms cannot send."
            )

    def preflight(self, request: Request) -> Answer | None:
        """Answer the question whether a page may send a request, if it may."""
        headers, asked = request.headers, "access-control-request-"
        if (
            request.method != "OPTIONS"
            or headers.get("origin") not in self._origins
            or f"{asked}method" not in headers
        ):
            return None
        names = {"Access-Control-Allow-Headers": headers.get(f"{asked}headers", "")}
        return Answer(204, None, {"Access-Control-Allow-Methods": headers[f"{asked}method"], **names})

    def headers(self, request: Request) -> dict[str, str]:
        """Return what lets a page read the response."""
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
    """Return the name in a Host header, without the port; nothing if it is malformed."""
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").lower().removesuffix(".") if found else ""


@lru_cache(maxsize=100)
def is_loopback(name: str) -> bool:
    """Say whether an address is of this machine alone."""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
