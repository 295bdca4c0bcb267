"""The command line, which sends to the mock."""

import json
from pathlib import Path

import pytest

from huaweicloud_retry.testing import Mock
from tests.e2e.cli import STATE, Cli


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
