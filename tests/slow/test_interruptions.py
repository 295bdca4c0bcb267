"""Thousands of calls that are interrupted or cancelled at any moment: the client loses no connection, nor a response."""

import os

import pytest

from huaweicloud_retry.runtime import http1
from tests.connections import Mode, check_cancellations, check_interrupts

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def test_a_client_survives_thousands_of_interrupts() -> None:
    check_interrupts(2000)


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_a_client_survives_thousands_of_cancellations(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "MAX_CONNECTIONS", 1)
    mode = Mode(name)
    with mode.runner:
        check_cancellations(mode, 2000)
