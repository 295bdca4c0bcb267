"""Property tests: schemathesis reads openapi.yaml, makes requests that keep and that break it, and holds the mock's answers to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from huaweicloud_retry.mock import running
from hypothesis import settings

SPEC = Path(__file__).parents[2] / "openapi.yaml"
schema = schemathesis.openapi.from_path(SPEC)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running() as url:
        yield url


@schema.parametrize()
@settings(max_examples=100, derandomize=True, deadline=None)
def test_the_mock_keeps_the_contract(case: Any, url: str) -> None:
    case.call_and_validate(base_url=url, headers={"X-Auth-Token": "mock-token"})
