"""A mock for the session, as new for each test, and the command line, which sends to it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from huaweicloud_retry.testing import Mock, mock_server
from tests.e2e.cli import STATE, Cli


@pytest.fixture(scope="session")
def shared_mock() -> Iterator[Mock]:
    with mock_server() as mock:
        yield mock


@pytest.fixture
def mock(shared_mock: Mock) -> Mock:
    shared_mock.reset()
    return shared_mock


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
