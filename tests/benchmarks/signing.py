"""Signing one request: ours beside the official SDK's signer, which it gives the same signature as.

`python -m tests.benchmarks.signing SIDE TIMES` prints the microseconds of one, in a process of its own.
"""
# ruff: noqa: PLC0415 - imports stand where they are used: a side loads nothing of the other

import sys
from collections.abc import Callable
from types import SimpleNamespace

from tests.benchmarks.contenders import BODY, PATH, timed
from tests.benchmarks.measure import Benchmark, Effort, Row, Samples, alternate, at_least, python

SDK = "official SDK"
HEADERS = {"Host": "cse.test", "Content-Type": "application/json;charset=UTF-8", "X-Project-Id": "p"}
# Both take the time of now, which is not the same for both: so signatures are compared by length here, and by value in
# tests/e2e/test_official_sdk.py.
LENGTH = (
    len("SDK-HMAC-SHA256 Access=AK, SignedHeaders=content-type;host;x-project-id;x-sdk-date, Signature=") + 64
)


def ours(times: int) -> float:
    from time import gmtime, strftime

    from huaweicloud_retry.signing import DATE_FORMAT, authorization, canonical_request

    def sign() -> int:
        date = strftime(DATE_FORMAT, gmtime())
        canonical = canonical_request("PUT", PATH, {**HEADERS, "X-Sdk-Date": date}, BODY)
        return len(authorization("AK", "SK", canonical, date))

    return timed(sign, times, LENGTH)


def theirs(times: int) -> float:
    from huaweicloudsdkcore.sdk_request import SdkRequest  # type: ignore[import-untyped] # it has no types
    from huaweicloudsdkcore.signer.signer import Signer  # type: ignore[import-untyped] # it has no types

    signer = Signer(SimpleNamespace(ak="AK", sk="SK"))

    def sign() -> int:
        request = SdkRequest(
            "PUT", "https", "cse.test", PATH, "", [], {**HEADERS}, BODY
        )  # it writes into them
        return len(signer.sign(request).header_params["Authorization"])

    return timed(sign, times, LENGTH)


SIDES: dict[str, Callable[[int], float]] = {"ours": ours, SDK: theirs}


def run(effort: Effort) -> Samples:
    times = effort.count(20_000)

    def side(name: str) -> Callable[[], float]:
        if effort.smoke:  # in this process: starting another takes longer than the signatures
            return lambda: SIDES[name](times)
        return lambda: float(python("-m", "tests.benchmarks.signing", name, str(times)))

    return alternate(effort, {name: side(name) for name in SIDES})


BENCHMARKS = [
    Benchmark("signing", [Row("signing", "signing one request, AK/SK", "us", SDK, aim=at_least(2))], run)
]

if __name__ == "__main__":
    print(SIDES[sys.argv[1]](int(sys.argv[2])))
