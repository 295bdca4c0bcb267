"""Property tests: schemathesis reads openapi.yaml, makes requests that keep and that break it, and holds the answers to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import settings
from schemathesis.config import SchemathesisConfig

from huaweicloud_retry.mock import running

ROOT = Path(__file__).parents[2]
config = SchemathesisConfig.from_path(ROOT / "tests/contract/schemathesis.toml")
schema = schemathesis.openapi.from_path(ROOT / "openapi.yaml", config=config)


@pytest.fixture(scope="module")
def mock() -> Iterator[httpx.Client]:
    with running() as url, httpx.Client(base_url=url) as client:
        yield client


@schema.parametrize()
@settings(max_examples=100, derandomize=True, deadline=None)
def test_the_mock_keeps_the_contract(case: Any, mock: httpx.Client) -> None:
    mock.post("/_mock/reset").raise_for_status()  # or only the first retry of each thing would be accepted
    case.call_and_validate(base_url=str(mock.base_url), headers={"X-Auth-Token": "mock-token"})
