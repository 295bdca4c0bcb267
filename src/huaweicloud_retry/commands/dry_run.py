"""`--dry-run`: shows the requests of the real client, caught by a transport."""

import argparse
import asyncio
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from huaweicloud_retry.bulk import Item
from huaweicloud_retry.bulk.journal import Journal
from huaweicloud_retry.bulk.runner import Places
from huaweicloud_retry.credentials import find_credentials
from huaweicloud_retry_client import Client

from .exits import CommandError, printing
from .messages import plan_lines

_SECRET: Final = ("x-auth-token", "x-security-token", "x-subject-token")
_IAM_PATH: Final = "/v3/auth/tokens"
_IAM_TOKEN: Final = b'{"token": {"issued_at": "2020-01-01T00:00:00Z", "expires_at": "2020-01-02T00:00:00Z"}}'


class _Catcher(httpx.AsyncBaseTransport):
    """Records requests instead of sending them. IAM responds with a dummy token, services with a 503."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Record a request, secrets masked."""
        is_iam = request.url.path.endswith(_IAM_PATH)
        body = "***" if is_iam else (await request.aread()).decode()
        headers = {name: _masked(name, value) for name, value in request.headers.items()}
        self.requests.append(
            {"method": request.method, "url": str(request.url), "headers": headers, "body": body}
        )
        if is_iam:
            return httpx.Response(201, headers={"X-Subject-Token": "***"}, content=_IAM_TOKEN)
        return httpx.Response(503)


def show_requests(items: Iterable[Item], settings: Mapping[str, Any], output: str | None) -> None:
    """Print the requests of some items, secrets masked.

    Raises:
        ConfigurationError: As in `connect`.
    """
    if output == "csv":
        raise CommandError("requests have no CSV form: choose --output json, jsonl or table")
    places = Places(**settings)
    placed = list(places.place(items))
    requests = asyncio.run(_requests_of(placed, places, settings))
    if output == "table" or (output is None and sys.stdout.isatty()):
        shown = "\n".join(map(_as_text, requests))
    else:
        lines = [json.dumps(request) for request in requests]
        shown = "\n".join(lines) + "\n" if output == "jsonl" else "[" + ",\n ".join(lines) + "]\n"
    with printing():
        sys.stdout.write(shown)


def show_plan(
    options: argparse.Namespace, items: Iterable[Item], settings: Mapping[str, Any], journal: Path | None
) -> None:
    """Read the whole input, and print the plan and the first request.

    Raises:
        ConfigurationError, InputError, JournalError: As in a run.
    """
    numbers: Counter[str] = Counter()
    first: list[Item] = []
    places = Places(**settings)

    def counted() -> Iterator[Item]:
        for item in places.place(items):
            first.extend([] if first else [item])
            where = f"in {item.region}" if item.region else f"at {options.endpoint}"
            numbers[f"{item.operation} {where}"] += 1
            yield item

    with Journal(None, copy_of=journal) as trial:
        plan = trial.plan(counted(), places.target, places.urls)
        counts = trial.begin(retry_refused=options.retry_refused, resend_unknown=options.resend_unknown)
    lines = plan_lines(plan._replace(to_send=counts.planned), journal if plan.resumed else None)
    lines += [f"{what}: {number:,}" for what, number in sorted(numbers.items())]
    lines += [f"{counts.planned:,} would be sent; the first request of the input:"]
    with printing():
        sys.stderr.writelines(f"{options.prog}: {line}\n" for line in lines)
    show_requests(first, settings, options.output)


async def _requests_of(
    items: Iterable[Item], places: Places, settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    catcher = _Catcher()
    for item in items:
        url = places.clients[item.service, item.region].base_url
        auth = settings["credentials"] or find_credentials(item.region, os.environ)
        async with Client(url, auth=auth, timeout=settings["timeout"], transport=catcher) as client:
            await item.send(client)
    return catcher.requests


def _as_text(request: Mapping[str, Any]) -> str:
    lines = [f"{request['method']} {request['url']}"]
    lines += [f"{name.title()}: {value}" for name, value in request["headers"].items()]
    return "\n".join([*lines, "", request["body"], ""])


def _masked(name: str, value: str) -> str:
    if name.lower() in _SECRET:
        return "***"
    if name.lower() == "authorization":
        return re.sub(r"\b(Access|Signature)=[^,\s]+", r"\1=***", value)
    return value
