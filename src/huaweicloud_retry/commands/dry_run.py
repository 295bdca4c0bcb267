"""The requests as they would go out, made by the client itself and caught where the network begins."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import httpx

from huaweicloud_retry.bulk import Item
from huaweicloud_retry.credentials import find_credentials
from huaweicloud_retry.endpoints import service_url, url_problem
from huaweicloud_retry.runtime.errors import ConfigurationError
from huaweicloud_retry_client import Client

_SECRET: Final = ("x-auth-token", "x-security-token", "x-subject-token")
_IAM_PATH: Final = "/v3/auth/tokens"
_IAM_TOKEN: Final = b'{"token": {"issued_at": "2020-01-01T00:00:00Z", "expires_at": "2020-01-02T00:00:00Z"}}'


class _Catcher(httpx.AsyncBaseTransport):
    """In place of the network: keeps what is sent, and answers nothing that counts; in IAM's place a token that is none."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Keep a request, secrets masked."""
        is_iam = request.url.path.endswith(_IAM_PATH)
        body = "***" if is_iam else (await request.aread()).decode()
        headers = {name: _masked(name, value) for name, value in request.headers.items()}
        self.requests.append({"method": request.method, "url": str(request.url), "headers": headers, "body": body})
        if is_iam:
            return httpx.Response(201, headers={"X-Subject-Token": "***"}, content=_IAM_TOKEN)
        return httpx.Response(503)


async def requests_of(
    items: Iterable[Item], environ: Mapping[str, str], settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return what would be sent for the items, one after the other: method, url, headers and body, secrets masked.

    Args:
        items: Each with its region, unless there is an endpoint.
        environ: Where `connect` looks for credentials and hosts.
        settings: `endpoint`, `credentials` and `timeout`, as of `connect`.

    Raises:
        ConfigurationError: as of `connect`.
    """
    catcher = _Catcher()
    for item in items:
        url = settings["endpoint"] or service_url(item.service, item.region, environ)
        if problem := url_problem(url, allow_http=False):
            raise ConfigurationError(problem)
        auth = settings["credentials"] or find_credentials(item.region, environ)
        async with Client(url, auth=auth, timeout=settings["timeout"], transport=catcher) as client:
            await item.send(client)
    return catcher.requests


def as_text(request: Mapping[str, Any]) -> str:
    """Return a request as a person reads it."""
    lines = [f"{request['method']} {request['url']}"]
    lines += [f"{name.title()}: {value}" for name, value in request["headers"].items()]
    return "\n".join([*lines, "", request["body"], ""])


def as_json(requests: list[dict[str, Any]], output: str) -> str:
    """Return requests as `json`, an array, or as `jsonl`."""
    lines = [json.dumps(request) for request in requests]
    return "\n".join(lines) if output == "jsonl" else "[" + ",\n ".join(lines) + "]"


def _masked(name: str, value: str) -> str:
    if name.lower() in _SECRET:
        return "***"
    return re.sub(r"\b(Access|Signature)=[^,\s]+", r"\1=***", value) if name.lower() == "authorization" else value
