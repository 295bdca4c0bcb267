"""Many calls at once: each has a connection of its own, and whatever becomes of it, the connection is there for the next."""

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest

from huaweicloud_retry import transport
from huaweicloud_retry.testing import Mock, mock_server
from huaweicloud_retry.transport import Transport

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture
def mock() -> Iterator[Mock]:
    with mock_server() as mock:
        yield mock


async def get(client: httpx.AsyncClient, path: str = "/_mock/health") -> int:
    return (await client.get(path)).status_code


def client_for(url: str, **settings: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=Transport(CONTEXT), base_url=url, timeout=httpx.Timeout(30, **settings))


def test_one_after_the_other_share_a_connection_and_those_at_once_do_not(
    mock: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[httpx.AsyncHTTPTransport] = []

    class Counted(httpx.AsyncHTTPTransport):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            made.append(self)

    monkeypatch.setattr(httpx, "AsyncHTTPTransport", Counted)

    async def calls() -> None:
        async with client_for(mock.url) as client:
            for _ in range(5):
                assert await get(client) == 200
            assert len(made) == 1
            assert await asyncio.gather(*(get(client) for _ in range(250))) == [200] * 250
            assert len(made) <= 100

    asyncio.run(calls())


def test_with_all_connections_taken_a_call_waits_and_no_longer_than_it_may(
    mock: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_MOST", 2)
    mock.add_fault(operation="RetryEngine", delay=3600)
    path = "/v2/demo-project/enginemgr/engines/e/actions"

    async def calls() -> None:
        async with client_for(mock.url, pool=0.05) as client:
            slow = [asyncio.create_task(client.put(path)) for _ in range(2)]

            async def until_both_have_theirs() -> None:
                while True:
                    await get(client)

            with pytest.raises(httpx.PoolTimeout, match=r"no connection of 2 became free in 0\.05 s"):
                await until_both_have_theirs()
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            assert [await get(client) for _ in range(3)] == [200] * 3

    asyncio.run(calls())


@pytest.mark.parametrize("spoilt", ["truncated", "not-http", "drip"])
def test_a_connection_that_failed_is_replaced(mock: Mock, monkeypatch: pytest.MonkeyPatch, spoilt: str) -> None:
    monkeypatch.setattr(transport, "_MOST", 1)
    mock._ask("POST", "faults", json={"reply": spoilt, "seconds": 3600} if spoilt == "drip" else {"reply": spoilt})

    async def calls() -> None:
        async with client_for(mock.url, read=0.05) as client:
            for _ in range(3):
                with pytest.raises(httpx.HTTPError):
                    await client.put("/v2/demo-project/enginemgr/engines/e/actions")
                assert await get(client) == 200

    asyncio.run(calls())


def test_a_body_left_unread_gives_the_connection_back(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_MOST", 1)

    async def calls() -> None:
        async with client_for(mock.url, pool=30) as client:
            for _ in range(3):
                async with client.stream("GET", "/docs/swagger-ui-bundle.js") as answer:
                    assert answer.status_code == 200
            async with client.stream("GET", "/openapi.yaml") as answer:
                assert len([chunk async for chunk in answer.aiter_raw(1000)]) > 10

    asyncio.run(calls())


def test_a_body_closed_twice_gives_its_connection_back_once(mock: Mock) -> None:
    async def calls() -> None:
        ours = Transport(CONTEXT)
        async with httpx.AsyncClient(transport=ours, base_url=mock.url) as client:
            async with client.stream("GET", "/openapi.yaml") as answer:
                assert isinstance(answer.stream, httpx.AsyncByteStream)
                await answer.stream.aclose()
            assert ours._free is not None
            assert (ours._free.value, len(ours._idle)) == (100, 1)  # no other sign of it would be certain

    asyncio.run(calls())


def test_it_serves_the_synchronous_world_too(mock: Mock) -> None:
    with httpx.Client(transport=Transport(CONTEXT), base_url=mock.url) as client:
        assert [client.get("/_mock/health").status_code for _ in range(3)] == [200] * 3
    Transport(CONTEXT).close()  # unused


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_serves_both_kinds_of_event_loop(mock: Mock, backend: str) -> None:
    pytest.importorskip(backend)

    async def calls() -> None:
        async with client_for(mock.url) as client, anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(get, client)

    anyio.run(calls, backend=backend)
