"""The clients that calls are measured with, each in a process of its own, where nothing of the others is loaded.

`python -m tests.benchmarks.contenders NAME URL CALLS AT_ONCE` prints the microseconds that a call takes. Imports stand where they
are used for that reason. All of them send RetryEngine with the headers and the body that ours sends, but for the official
SDK, which has its own.
"""
# ruff: noqa: PLC0415 - see above

import asyncio
import socket
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

PATH = "/v2/p/enginemgr/engines/e/actions"
BODY = b'{"action":"Retry"}'
HEADERS = {
    "User-Agent": "huaweicloud-retry/0.1.0",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json;charset=UTF-8",
    "Accept": "application/json",
    "X-Auth-Token": "mock-token",
}
ANSWERED = 18638
"""The job that the floor tells of: who does not find it has not read the answer."""


def timed(call: Callable[[], object], calls: int, expected: object = ANSWERED) -> float:
    """Return the microseconds of one call of many, one after the other."""
    for _ in range(calls // 5 + 1):  # warm
        if (came := call()) != expected:
            raise RuntimeError(f"a call gave {came}, and not {expected}")
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls * 1e6


async def timed_at_once(call: Callable[[], Awaitable[object]], calls: int, at_once: int) -> float:
    """Return the microseconds of one call of many, so many of them under way at any time."""

    async def one_after_the_other(left: Any) -> None:
        for _ in left:
            await call()

    if await call() != ANSWERED:
        raise RuntimeError(f"a call did not give {ANSWERED}")
    warm = iter(range(max(calls // 5, at_once)))
    await asyncio.gather(*(one_after_the_other(warm) for _ in range(at_once)))
    start = time.perf_counter()
    left = iter(range(calls))
    await asyncio.gather(*(one_after_the_other(left) for _ in range(at_once)))
    return (time.perf_counter() - start) / calls * 1e6


# ---- one after the other


def sync_ours(url: str, calls: int, credentials: Any) -> float:
    from huaweicloud_retry import connect
    from huaweicloud_retry_client.api.cse import retry_engine
    from huaweicloud_retry_client.models import EngineActionRequest

    with connect("cse", endpoint=url, credentials=credentials) as client:
        return timed(
            lambda: retry_engine.sync("p", "e", client=client, body=EngineActionRequest()).job_id, calls
        )


def sync_ours_token(url: str, calls: int, _at_once: int) -> float:
    from huaweicloud_retry import TokenAuth

    return sync_ours(url, calls, TokenAuth("mock-token"))


def sync_ours_keys(url: str, calls: int, _at_once: int) -> float:
    from huaweicloud_retry import AkSkAuth

    return sync_ours(url, calls, AkSkAuth("mock-ak", "mock-sk", project_id="p"))


def sync_httpx(url: str, calls: int, _at_once: int) -> float:
    import httpx

    with httpx.Client(base_url=url, trust_env=False) as client:
        return timed(lambda: client.put(PATH, content=BODY, headers=HEADERS).json()["jobId"], calls)


def sync_urllib3(url: str, calls: int, _at_once: int) -> float:
    import urllib3

    with urllib3.PoolManager() as pool:
        return timed(
            lambda: pool.request("PUT", url + PATH, body=BODY, headers=HEADERS, retries=False).json()[
                "jobId"
            ],
            calls,
        )


def sync_sdk(url: str, calls: int, _at_once: int) -> float:
    client, request = sdk(url, "CseClient")
    return timed(lambda: client.retry_engine(request()).job_id, calls)


def sync_socket(url: str, calls: int, _at_once: int) -> float:
    host, port, sent = raw(url)
    with socket.create_connection((host, port)) as connection:

        def call() -> object:
            connection.sendall(sent)
            return answered(connection.recv(65536))

        return timed(call, calls)


def raw(url: str) -> tuple[str, int, bytes]:
    """Return the host, the port, and the bytes of a request."""
    parts = urlsplit(url)
    lines = [f"{name}: {value}" for name, value in HEADERS.items()]
    head = [f"PUT {PATH} HTTP/1.1", f"Host: {parts.netloc}", *lines, f"Content-Length: {len(BODY)}", "\r\n"]
    return parts.hostname or "", parts.port or 0, "\r\n".join(head).encode() + BODY


def answered(came: bytes) -> object:
    """Look for the job without reading the answer."""
    return ANSWERED if b'"jobId": %d' % ANSWERED in came else came


def sdk(url: str, kind: str) -> tuple[Any, Callable[[], Any]]:
    """Return a client of the official SDK, and what makes a request for it."""
    import huaweicloudsdkcse.v1 as cse  # type: ignore[import-untyped] # it has no types
    from huaweicloudsdkcore.auth.credentials import BasicCredentials  # type: ignore[import-untyped] # see above

    built = getattr(cse, kind).new_builder().with_credentials(BasicCredentials("mock-ak", "mock-sk", "p"))
    body = cse.EngineAdditionalActionReq
    return built.with_endpoints([url]).build(), lambda: cse.RetryEngineRequest(
        engine_id="e", body=body(action="Retry")
    )


# ---- many at once


def async_ours(url: str, calls: int, at_once: int, credentials: Any) -> float:
    from huaweicloud_retry import connect
    from huaweicloud_retry_client.api.cse import retry_engine
    from huaweicloud_retry_client.models import EngineActionRequest

    async def main() -> float:
        async with connect("cse", endpoint=url, credentials=credentials) as client:

            async def call() -> int:
                return (
                    await retry_engine.asyncio("p", "e", client=client, body=EngineActionRequest())
                ).job_id

            return await timed_at_once(call, calls, at_once)

    return asyncio.run(main())


def async_ours_token(url: str, calls: int, at_once: int) -> float:
    from huaweicloud_retry import TokenAuth

    return async_ours(url, calls, at_once, TokenAuth("mock-token"))


def async_ours_keys(url: str, calls: int, at_once: int) -> float:
    from huaweicloud_retry import AkSkAuth

    return async_ours(url, calls, at_once, AkSkAuth("mock-ak", "mock-sk", project_id="p"))


def async_httpx(url: str, calls: int, at_once: int, kind: Any = None) -> float:
    import httpx

    async def main() -> float:
        # Without waiting for a connection in vain, which stock httpx gives up after 5 seconds.
        async with (kind or httpx.AsyncClient)(base_url=url, trust_env=False, timeout=60) as client:

            async def call() -> object:
                return (await client.put(PATH, content=BODY, headers=HEADERS)).json()["jobId"]

            return await timed_at_once(call, calls, at_once)

    return asyncio.run(main())


def async_httpx_aiohttp(url: str, calls: int, at_once: int) -> float:
    from httpx_aiohttp import HttpxAiohttpClient

    return async_httpx(url, calls, at_once, HttpxAiohttpClient)


def async_aiohttp(url: str, calls: int, at_once: int) -> float:
    import aiohttp

    async def main() -> float:
        async with aiohttp.ClientSession(url, headers=HEADERS) as client:

            async def call() -> object:
                async with client.put(PATH, data=BODY) as answer:
                    return (await answer.json())["jobId"]

            return await timed_at_once(call, calls, at_once)

    return asyncio.run(main())


def async_streams(url: str, calls: int, at_once: int) -> float:
    host, port, sent = raw(url)
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call() -> object:
        reader, writer = idle.pop() if idle else await asyncio.open_connection(host, port)
        writer.write(sent)
        came = await reader.read(65536)
        idle.append((reader, writer))
        return answered(came)

    async def main() -> float:
        took = await timed_at_once(call, calls, at_once)
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        return took

    return asyncio.run(main())


def async_sdk(url: str, calls: int, at_once: int) -> float:
    """Keep so many under way; the SDK gives a future for each, and has eight threads for all of them."""
    client, request = sdk(url, "CseAsyncClient")

    def all_of(count: int) -> None:
        under_way: deque[Any] = deque()
        for n in range(count + at_once):
            if n >= at_once and under_way and under_way.popleft().result().job_id != ANSWERED:
                raise RuntimeError(f"a call did not give {ANSWERED}")
            if n < count:
                under_way.append(client.retry_engine_async(request()))

    all_of(max(calls // 5, at_once))  # warm
    start = time.perf_counter()
    all_of(calls)
    return (time.perf_counter() - start) / calls * 1e6


CONTENDERS: dict[str, Callable[[str, int, int], float]] = {
    each.__name__: each
    for each in (
        sync_ours_token,
        sync_ours_keys,
        sync_httpx,
        sync_urllib3,
        sync_sdk,
        sync_socket,
        async_ours_token,
        async_ours_keys,
        async_httpx,
        async_httpx_aiohttp,
        async_aiohttp,
        async_sdk,
        async_streams,
    )
}

if __name__ == "__main__":
    name, url, calls, at_once = sys.argv[1:]
    print(CONTENDERS[name](url, int(calls), int(at_once)))
