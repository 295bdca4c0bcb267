"""One call after the other, and many at once: ours beside what people use in its place."""

from collections.abc import Callable

from tests.benchmarks.contenders import CONTENDERS
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
    python,
    server,
)

SOCKET = "raw socket"
STREAMS = "asyncio streams"
SDK = "official SDK"
ONE_CALL = "one call, sync, token, resending on"
HTTPX_SYNC = "httpx, .json()"
URLLIB3 = "urllib3, .json()"
HTTPX = "httpx.AsyncClient"
OVER_AIOHTTP = "httpx over aiohttp"
KEYS = "ours, AK/SK"


def rounds(names: dict[str, str], calls: int, at_once: int) -> Callable[[Effort], Samples]:
    """Measure contenders, given by the name of each side, against the floor."""

    def run(effort: Effort) -> Samples:
        with server(floor) as url:

            def side(name: str) -> Callable[[], float]:
                some, wide = effort.count(calls), min(at_once, 4) if effort.smoke else at_once
                if effort.smoke:  # in this process: starting another takes longer than the calls
                    return lambda: CONTENDERS[name](url, some, wide)
                return lambda: float(
                    python("-m", "tests.benchmarks.contenders", name, url, str(some), str(wide))
                )

            return alternate(effort, {side_name: side(name) for side_name, name in names.items()})

    return run


def at_once(number: int) -> Benchmark:
    def row(name: str, peer: str, aim: Aim | None = None, ours: str = "ours", note: str = "") -> Row:
        what = f"{number} calls at once, async, {'AK/SK' if ours == KEYS else 'token'}"
        return Row(
            f"concurrent-{number}-{name}", what, "us a call", peer, STREAMS, ours=ours, aim=aim, note=note
        )

    rows = [
        row("httpx", HTTPX, at_least(8)),
        row("httpx-aiohttp", OVER_AIOHTTP, at_most(1)),
        row("aiohttp", "aiohttp", at_most(1.3)),
        row("sdk", SDK, at_least(2), KEYS, "the SDK's asynchronous client has eight threads"),
    ]
    names = {
        "ours": "async_ours_token",
        HTTPX: "async_httpx",
        OVER_AIOHTTP: "async_httpx_aiohttp",
        "aiohttp": "async_aiohttp",
        KEYS: "async_ours_keys",
        SDK: "async_sdk",
        STREAMS: "async_streams",
    }
    return Benchmark(f"concurrent-{number}", rows, rounds(names, 2000, number))


BENCHMARKS = [
    Benchmark(
        "call-token",
        [
            Row("call-token", ONE_CALL, "us", HTTPX_SYNC, SOCKET, aim=at_most(0.4)),
            Row("call-token-urllib3", ONE_CALL, "us", URLLIB3, SOCKET, aim=at_most(0.65)),
        ],
        rounds(
            {
                "ours": "sync_ours_token",
                HTTPX_SYNC: "sync_httpx",
                URLLIB3: "sync_urllib3",
                SOCKET: "sync_socket",
            },
            2000,
            1,
        ),
    ),
    Benchmark(
        "call-keys",
        [Row("call-keys", "one call, sync, AK/SK, resending on", "us", SDK, SOCKET, aim=at_least(5))],
        rounds({"ours": "sync_ours_keys", SDK: "sync_sdk", SOCKET: "sync_socket"}, 2000, 1),
    ),
    at_once(32),
    at_once(256),
]
