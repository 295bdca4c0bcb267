"""One call after the other, many at once, and signing: ours, and what people use instead."""

from collections.abc import Callable
from typing import Any

from tests.benchmarks import contenders as by
from tests.benchmarks.measure import (
    Aim,
    Benchmark,
    Effort,
    Row,
    Samples,
    alternate,
    at_least,
    at_most,
    floor,
    server,
)

CALLS, SIGNATURES = 2000, 20_000
SOCKET = "raw socket"
STREAMS = "asyncio streams"
SDK = "official SDK"
ONE_CALL = "one call, sync, token, resending on"
HTTPX_SYNC = "httpx, .json()"
URLLIB3 = "urllib3, .json()"
HTTPX = "httpx.AsyncClient"
OVER_AIOHTTP = "httpx over aiohttp"
KEYS = "ours, AK/SK"

Sides = dict[str, tuple[Any, ...]]
"""By name: a function of contenders.py, and more arguments for it."""


def rounds(sides: Sides, at_once: int = 1) -> Callable[[Effort], Samples]:
    """Measure contenders against the floor."""

    def run(effort: Effort) -> Samples:
        many, wide = effort.count(CALLS), min(at_once, 4) if effort.smoke else at_once
        with server(floor) as url:

            def side(function: Callable[..., float], *more: str) -> Callable[[], float]:
                return lambda: effort.alone(function, url, many, wide, *more)

            return alternate(effort, {name: side(*given) for name, given in sides.items()})

    return run


def at_once(number: int) -> Benchmark:
    def row(name: str, peer: str, aim: Aim, ours: str = "ours", note: str = "") -> Row:
        what = f"{number} calls at once, async, {'AK/SK' if ours == KEYS else 'token'}"
        name = f"concurrent-{number}-{name}"
        return Row(name, what, "us a call", peer, STREAMS, ours=ours, aim=aim, note=note)

    rows = [
        row("httpx", HTTPX, at_least(8)),
        row("httpx-aiohttp", OVER_AIOHTTP, at_most(1)),
        row("aiohttp", "aiohttp", at_most(1.3)),
        row("sdk", SDK, at_least(2), KEYS, "the SDK's asynchronous client has eight threads"),
    ]
    sides: Sides = {
        "ours": (by.async_ours, "token"),
        HTTPX: (by.async_httpx,),
        OVER_AIOHTTP: (by.async_httpx_aiohttp,),
        "aiohttp": (by.async_aiohttp,),
        KEYS: (by.async_ours, "keys"),
        SDK: (by.async_sdk,),
        STREAMS: (by.async_streams,),
    }
    return Benchmark(f"concurrent-{number}", rows, rounds(sides, number))


def signing(effort: Effort) -> Samples:
    times = effort.count(SIGNATURES)
    return alternate(
        effort,
        {
            "ours": lambda: effort.alone(by.sign_ours, times),
            SDK: lambda: effort.alone(by.sign_sdk, times),
        },
    )


BENCHMARKS = [
    Benchmark(
        "call-token",
        [
            Row("call-token", ONE_CALL, "us", HTTPX_SYNC, SOCKET, aim=at_most(0.4)),
            Row("call-token-urllib3", ONE_CALL, "us", URLLIB3, SOCKET, aim=at_most(0.65)),
        ],
        rounds(
            {
                "ours": (by.sync_ours, "token"),
                HTTPX_SYNC: (by.sync_httpx,),
                URLLIB3: (by.sync_urllib3,),
                SOCKET: (by.sync_socket,),
            }
        ),
    ),
    Benchmark(
        "call-keys",
        [Row("call-keys", "one call, sync, AK/SK, resending on", "us", SDK, SOCKET, aim=at_least(5))],
        rounds({"ours": (by.sync_ours, "keys"), SDK: (by.sync_sdk,), SOCKET: (by.sync_socket,)}),
    ),
    at_once(32),
    at_once(256),
    Benchmark("signing", [Row("signing", "signing one request, AK/SK", "us", SDK, aim=at_least(2))], signing),
]
