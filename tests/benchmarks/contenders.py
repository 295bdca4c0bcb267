"""The clients that calls are measured with. Each returns the microseconds that one call takes.

`Effort.alone` runs each in a process of its own, so imports stand where they are used. All of them send
RetryEngine with the headers and the body that ours sends, except the official SDK, which has its own.
"""
# ruff: noqa: PLC0415 - see above

import asyncio
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from time import gmtime, strftime
from types import SimpleNamespace
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
JOB_ID = 18638  # in the floor's response: a client that does not return it has not read the response


def timed(call: Callable[[], object], calls: int, expected: object = JOB_ID) -> float:
    """Return the microseconds of one call of many, one after the other."""
    for _ in range(calls // 5 + 1):  # warm
        if (result := call()) != expected:
            raise RuntimeError(f"a call returned {result}, not {expected}")
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls * 1e6


async def timed_at_once(call: Callable[[], Awaitable[object]], calls: int, at_once: int) -> float:
    """Return the microseconds of one call of many, so many of them in flight at any time."""

    async def call_each(left: Iterator[int]) -> None:
        for _ in left:
            await call()

    async def call_all(left: Iterator[int]) -> None:
        await asyncio.gather(*(call_each(left) for _ in range(at_once)))

    if (result := await call()) != JOB_ID:
        raise RuntimeError(f"a call returned {result}, not {JOB_ID}")
    await call_all(iter(range(max(calls // 5, at_once))))  # warm
    start = time.perf_counter()
    await call_all(iter(range(calls)))
    return (time.perf_counter() - start) / calls * 1e6


def timed_async(opened: Callable[[], Any], call: Callable[[Any], Any], calls: int, at_once: int) -> float:
    """Measure calls with a client, which is opened in the event loop that uses it."""

    async def main() -> float:
        async with opened() as client:
            return await timed_at_once(lambda: call(client), calls, at_once)

    return asyncio.run(main())


# ---- ours


def ours(url: str, auth: str) -> Any:
    from huaweicloud_retry import AkSkAuth, TokenAuth, connect

    credentials = (
        TokenAuth("mock-token") if auth == "token" else AkSkAuth("mock-ak", "mock-sk", project_id="p")
    )
    return connect("cse", endpoint=url, credentials=credentials)


def sync_ours(url: str, calls: int, _at_once: int, auth: str) -> float:
    from huaweicloud_retry_client.api.cse import retry_engine
    from huaweicloud_retry_client.models import EngineActionRequest

    with ours(url, auth) as client:
        return timed(
            lambda: retry_engine.sync("p", "e", client=client, body=EngineActionRequest()).job_id, calls
        )


def async_ours(url: str, calls: int, at_once: int, auth: str) -> float:
    from huaweicloud_retry_client.api.cse import retry_engine
    from huaweicloud_retry_client.models import EngineActionRequest

    async def call(client: Any) -> int:
        return (await retry_engine.asyncio("p", "e", client=client, body=EngineActionRequest())).job_id

    return timed_async(lambda: ours(url, auth), call, calls, at_once)


# ---- others, one call after the other


def sync_httpx(url: str, calls: int, _at_once: int) -> float:
    import httpx

    with httpx.Client(base_url=url, trust_env=False) as client:
        return timed(lambda: client.put(PATH, content=BODY, headers=HEADERS).json()["jobId"], calls)


def sync_urllib3(url: str, calls: int, _at_once: int) -> float:
    import urllib3

    with urllib3.PoolManager() as pool:

        def call() -> object:
            response = pool.request("PUT", url + PATH, body=BODY, headers=HEADERS, retries=False)
            return response.json()["jobId"]

        return timed(call, calls)


def sync_sdk(url: str, calls: int, _at_once: int) -> float:
    client, request = sdk(url, "CseClient")
    return timed(lambda: client.retry_engine(request()).job_id, calls)


def sync_socket(url: str, calls: int, _at_once: int) -> float:
    host, port, sent = raw(url)
    with socket.create_connection((host, port)) as connection:

        def call() -> object:
            connection.sendall(sent)
            return job_id(connection.recv(65536))

        return timed(call, calls)


def raw(url: str) -> tuple[str, int, bytes]:
    """Return the host, the port, and the bytes of a request."""
    parts = urlsplit(url)
    lines = [f"{name}: {value}" for name, value in HEADERS.items()]
    head = [f"PUT {PATH} HTTP/1.1", f"Host: {parts.netloc}", *lines, f"Content-Length: {len(BODY)}", "\r\n"]
    return parts.hostname or "", parts.port or 0, "\r\n".join(head).encode() + BODY


def job_id(received: bytes) -> object:
    """Look for the job without parsing the response."""
    return JOB_ID if b'"jobId": %d' % JOB_ID in received else received


def sdk(url: str, kind: str) -> tuple[Any, Callable[[], Any]]:
    """Return a client of the official SDK, and what makes a request for it."""
    import huaweicloudsdkcse.v1 as cse  # type: ignore[import-untyped] # it has no types
    from huaweicloudsdkcore.auth.credentials import BasicCredentials  # type: ignore[import-untyped] # see above

    built = getattr(cse, kind).new_builder().with_credentials(BasicCredentials("mock-ak", "mock-sk", "p"))
    body = cse.EngineAdditionalActionReq
    return built.with_endpoints([url]).build(), lambda: cse.RetryEngineRequest(
        engine_id="e", body=body(action="Retry")
    )


# ---- others, many at once


async def put(client: Any) -> object:
    return (await client.put(PATH, content=BODY, headers=HEADERS)).json()["jobId"]


def async_httpx(url: str, calls: int, at_once: int) -> float:
    import httpx

    # Stock httpx gives up waiting for a connection after 5 seconds.
    return timed_async(
        lambda: httpx.AsyncClient(base_url=url, trust_env=False, timeout=60), put, calls, at_once
    )


def async_httpx_aiohttp(url: str, calls: int, at_once: int) -> float:
    from httpx_aiohttp import HttpxAiohttpClient

    return timed_async(
        lambda: HttpxAiohttpClient(base_url=url, trust_env=False, timeout=60), put, calls, at_once
    )


def async_aiohttp(url: str, calls: int, at_once: int) -> float:
    import aiohttp

    async def call(client: aiohttp.ClientSession) -> object:
        async with client.put(PATH, data=BODY) as response:
            return (await response.json())["jobId"]

    return timed_async(lambda: aiohttp.ClientSession(url, headers=HEADERS), call, calls, at_once)


def async_streams(url: str, calls: int, at_once: int) -> float:
    host, port, sent = raw(url)
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call() -> object:
        reader, writer = idle.pop() if idle else await asyncio.open_connection(host, port)
        writer.write(sent)
        received = await reader.read(65536)
        idle.append((reader, writer))
        return job_id(received)

    async def main() -> float:
        took = await timed_at_once(call, calls, at_once)
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        return took

    return asyncio.run(main())


def async_sdk(url: str, calls: int, at_once: int) -> float:
    """Keep so many in flight; the SDK gives a future for each, and has eight threads for all of them."""
    client, request = sdk(url, "CseAsyncClient")

    def call_all(count: int) -> None:
        in_flight: deque[Any] = deque()
        for n in range(count + at_once):
            if n >= at_once and in_flight and in_flight.popleft().result().job_id != JOB_ID:
                raise RuntimeError(f"a call did not return {JOB_ID}")
            if n < count:
                in_flight.append(client.retry_engine_async(request()))

    call_all(max(calls // 5, at_once))  # warm
    start = time.perf_counter()
    call_all(calls)
    return (time.perf_counter() - start) / calls * 1e6


# ---- signing. Both read the clock, so the results are compared by length.
# tests/e2e/test_official_sdk.py compares the signatures themselves.

SIGNED = {"Host": "cse.test", "Content-Type": "application/json;charset=UTF-8", "X-Project-Id": "p"}
SIGNATURE = "SDK-HMAC-SHA256 Access=AK, SignedHeaders=content-type;host;x-project-id;x-sdk-date, Signature="
LENGTH = len(SIGNATURE) + 64


def sign_ours(times: int) -> float:
    from huaweicloud_retry.signing import DATE_FORMAT, authorization, canonical_request

    def sign() -> int:
        date = strftime(DATE_FORMAT, gmtime())
        canonical = canonical_request("PUT", PATH, {**SIGNED, "X-Sdk-Date": date}, BODY)
        return len(authorization("AK", "SK", canonical, date))

    return timed(sign, times, LENGTH)


def sign_sdk(times: int) -> float:
    from huaweicloudsdkcore.sdk_request import SdkRequest  # type: ignore[import-untyped] # it has no types
    from huaweicloudsdkcore.signer.signer import Signer  # type: ignore[import-untyped] # it has no types

    signer = Signer(SimpleNamespace(ak="AK", sk="SK"))

    def sign() -> int:
        # The signer writes into the headers that it gets.
        request = SdkRequest("PUT", "https", "cse.test", PATH, "", [], {**SIGNED}, BODY)
        return len(signer.sign(request).header_params["Authorization"])

    return timed(sign, times, LENGTH)
