"""The command line, which sends to the mock, and a plain HTTP client of the mock."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from huaweicloud_retry.testing import Mock
from tests.e2e.cli import STATE, Cli
from tests.mocks import plain_client


@pytest.fixture
def http(mock: Mock) -> Iterator[httpx.Client]:
    """Sends the right token to the mock, which is in its initial state."""
    with plain_client(mock.url) as client:
        yield client


@pytest.fixture
def idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command without an endpoint."""
    return Cli(tmp_path, monkeypatch, capsys)


@pytest.fixture
def cli(idle: Cli, mock: Mock) -> Cli:
    """The command, which sends to the mock."""
    mock.set_state(json.dumps(STATE))
    idle.url = mock.url
    return idle
