"""Each fault of HTTP once, sync or async, and some hundred calls at once: each call reports what happened.

tests/slow/test_chaos.py has every fault in every mode, and thousands of calls.
"""

import asyncio

import pytest

from huaweicloud_retry import APIConnectionError, Resend, TokenAuth, connect
from tests.e2e.chaos import ATTEMPTS, MODES, ROTATED, Server, call_async, call_sync, check_fault, check_many


@pytest.mark.parametrize(("fault", "mode"), ROTATED)
def test_after_each_fault_the_client_makes_good_calls(fault: str, mode: str) -> None:
    check_fault(fault, mode)


@pytest.mark.parametrize("mode", MODES)
def test_each_of_many_calls_reports_what_happened(mode: str) -> None:
    check_many(mode, workers=16, number=200)


@pytest.mark.parametrize("mode", ["sync", "asyncio"])
def test_without_a_server_nothing_was_sent_and_each_attempt_is_counted(mode: str) -> None:
    with Server() as server:
        url = server.url
    client = connect("cse", endpoint=url, credentials=TokenAuth("t"), resend=Resend(initial_backoff=0))
    outcome = call_sync(client, "e") if mode == "sync" else asyncio.run(call_async(client, "e"))
    assert isinstance(outcome, APIConnectionError)
    assert (outcome.outcome_unknown, outcome.attempts) == (False, ATTEMPTS)
