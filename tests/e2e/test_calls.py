"""Hundreds of calls under every kind of fault, and thousands in `make test-slow`: what each reports is what happened.

The mock's state has for each engine how often its job was run, its request log which fault a request met. Each call
has an engine of its own, so that each run belongs to one call.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from huaweicloud_retry import AkSkAuth, Resend, TokenAuth, connect
from huaweicloud_retry.mock import running
from huaweicloud_retry.testing import Mock
from huaweicloud_retry_client import APIConnectionError, APIError, APIStatusError
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest

CALLS = int(os.environ.get("CALLS", "400"))
AT_ONCE = 32
TIMEOUT = 0.5  # seconds for the whole response; the slow faults take an hour
FAULTS: list[dict[str, Any]] = [
    {"status": 429, "retry_after": 0, "share": 0.25},  # often enough for three in a row
    {"status": 429, "share": 0.05},
    {"status": 503, "share": 0.05},
    {"status": 500, "share": 0.03},
    {"status": 502, "acted": True, "share": 0.03},
    {"status": 504, "acted": True, "share": 0.03},
    {"status": 561, "share": 0.03},
    {"status": 401, "share": 0.03},
    {"status": 302, "share": 0.03},
    {"close": "before", "share": 0.05},
    {"close": "after", "share": 0.05},
    {"reply": "truncated", "share": 0.05},
    {"reply": "garbage", "share": 0.05},
    {"reply": "not-http", "share": 0.05},
    {"reply": "drip", "seconds": 3600, "share": 0.01},
    {"delay": 3600, "share": 0.01},
    {"delay": 0.01, "share": 0.05},
]


def engine_id(number: int) -> str:
    return f"engine-{number:05}"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(seed=1) as url:
        yield url


@pytest.fixture
def mock(url: str) -> Iterator[Mock]:
    """Has an engine with a failed job for each call, and misbehaves in all ways."""
    engines = {engine_id(n): {"name": "e", "jobs": [{"id": n, "status": "Error"}]} for n in range(CALLS)}
    with Mock(url) as mock:
        mock.reset()
        mock.set_state(json.dumps({"run_time": 1e8, "projects": {"p": {"engines": engines}}}))
        for fault in FAULTS:
            mock.add_fault(**fault)
        yield mock


def says_unknown(error: APIError) -> str:
    return "unknown" if error.outcome_unknown else "refused"


def synchronous(url: str) -> list[str | APIError]:
    auth = AkSkAuth("mock-ak", "mock-sk")
    with connect(
        "cse", endpoint=url, credentials=auth, timeout=TIMEOUT, resend=Resend(initial_backoff=0)
    ) as client:

        def call(number: int) -> str | APIError:
            try:
                job = retry_engine.sync("p", engine_id(number), client=client, body=EngineActionRequest())
            except APIError as error:
                return error
            assert job.job_id == number
            return "accepted"

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(call, range(CALLS)))


def asynchronous(url: str) -> list[str | APIError]:
    async def calls() -> list[str | APIError]:
        turn = asyncio.Semaphore(AT_ONCE)
        auth = TokenAuth("mock-token")
        async with connect(
            "cse", endpoint=url, credentials=auth, timeout=TIMEOUT, resend=Resend(initial_backoff=0)
        ) as client:

            async def call(number: int) -> str | APIError:
                async with turn:
                    try:
                        job = await retry_engine.asyncio(
                            "p", engine_id(number), client=client, body=EngineActionRequest()
                        )
                    except APIError as error:
                        return error
                assert job.job_id == number
                return "accepted"

            return await asyncio.gather(*map(call, range(CALLS)))

    return asyncio.run(calls())


def times_run(mock: Mock) -> list[int]:
    engines = mock.state()["projects"]["p"]["engines"]
    return [engines[engine_id(number)]["jobs"][0]["retries"] for number in range(CALLS)]


@pytest.mark.parametrize("calls", [synchronous, asynchronous])
def test_every_call_reports_what_happened(mock: Mock, calls: Any) -> None:
    outcomes = calls(mock.url)
    mock.clear_faults()
    met: dict[str, list[Any]] = {}
    for entry in mock.request_log():
        met.setdefault(entry["path"].split("/")[5], []).append(entry)
    kinds: Counter[str] = Counter()
    for number, (outcome, ran) in enumerate(zip(outcomes, times_run(mock), strict=True)):
        entries = met[engine_id(number)]
        last, told = entries[-1], (outcome, [entry["fault"] for entry in entries])
        assert ran <= 1, told  # nothing was accepted twice
        if outcome == "accepted":
            kinds["accepted"] += 1
            assert ran == 1, told
            attempts = len(entries)
        else:
            assert isinstance(outcome, APIError)
            kinds[f"{type(outcome).__name__} {says_unknown(outcome)}"] += 1
            attempts = outcome.attempts
            if ran:
                assert outcome.outcome_unknown, told
            # The outcome is known only if the response says so.
            is_refusal = isinstance(outcome, APIStatusError) and outcome.status_code in {400, 401, 429, 503}
            assert outcome.outcome_unknown == (not is_refusal), told
        # Only 429 was resent, and what was not sent at all, such as over a connection that the mock has just closed: this
        # does not reach it. Three attempts at most, and each is counted.
        assert len(entries) <= attempts <= 3, told
        assert all(entry["status"] == 429 for entry in entries[:-1]), told
        assert last["acted"] == bool(ran), told
    assert sum(kinds.values()) == CALLS
    assert {
        "accepted",
        "APIConnectionError unknown",
        "APITimeoutError unknown",
        "APIResponseValidationError unknown",
        "RateLimitError refused",
        "AuthenticationError refused",
        "InternalServerError refused",
        "InternalServerError unknown",
        "APIStatusError unknown",
    } <= set(kinds), kinds


def test_without_a_connection_all_attempts_are_made_and_nothing_is_unknown() -> None:
    with running() as url:
        pass  # so that nobody listens there now
    auth = TokenAuth("mock-token")
    with connect("cse", endpoint=url, credentials=auth, resend=Resend(initial_backoff=0)) as client:
        with pytest.raises(APIConnectionError) as error:
            retry_engine.sync("p", "e", client=client, body=EngineActionRequest())
        assert (error.value.attempts, error.value.outcome_unknown) == (3, False)
        assert isinstance(error.value.__cause__, httpx.ConnectError)
        with pytest.raises(APIConnectionError) as error:
            retry_engine.sync("p", "e", client=client.with_resend(None), body=EngineActionRequest())
        assert error.value.attempts == 1
