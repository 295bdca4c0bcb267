"""A client, and a server on a real socket that keeps each request; where local time is not UTC."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from huaweicloud_retry import TokenAuth
from huaweicloud_retry.mock.server import serving
from huaweicloud_retry_client import Client
from tests.contract.calls import TOKEN, Callers, Wire


@pytest.fixture(scope="module", autouse=True)
def _time_zone() -> Iterator[None]:
    """Run all tests where local time is not UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Kathmandu")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(scope="module")
def server() -> Iterator[Wire]:
    wire = Wire()
    with serving(wire) as wire.url:
        yield wire


@pytest.fixture
def wire(server: Wire) -> Wire:
    server.given = None
    server.statuses.clear()
    return server


@pytest.fixture
def callers(wire: Wire) -> Iterator[Callers]:
    with asyncio.Runner() as loop:
        yield Callers(wire, loop)


@pytest.fixture
def client(callers: Callers) -> Iterator[Client]:
    client = Client(callers.wire.url, auth=TokenAuth(TOKEN))
    yield client
    callers.loop.run(client.aclose())
