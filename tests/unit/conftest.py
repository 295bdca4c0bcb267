"""What runs a test for both operations, and sync and async; servers; and no proxy of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache

import pytest

from huaweicloud_retry.runtime import transport
from tests.callers import ACCEPTED, OPERATIONS, LoopbackServer, Operation, raw_response


@pytest.fixture(scope="session", params=OPERATIONS)
def operation(request: pytest.FixtureRequest) -> Operation:
    return OPERATIONS[request.param]


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    """Responds to both operations with 200, and tries to set a cookie."""
    response = raw_response(200, ACCEPTED, "Set-Cookie: session=1; Path=/")
    with LoopbackServer(response, keep_open=True) as running:
        yield running


@pytest.fixture
def new_tls_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process has not read the TLS settings of the environment yet, and has none."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(transport, "_default_context", cache(transport._default_context.__wrapped__))


@pytest.fixture(scope="session", autouse=True)
def no_proxy_of_the_machine() -> Iterator[None]:
    """A proxy of the machine that runs the tests does not get between them and the loopback interface."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        yield
