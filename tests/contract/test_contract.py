"""Property tests: schemathesis reads openapi.yaml, makes requests that keep and that break it, and holds the answers to it.

`make contract EXAMPLES=1000` makes more of them.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import seed, settings
from schemathesis.config import SchemathesisConfig

from huaweicloud_retry.mock import running

ROOT = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("EXAMPLES") or 100)

# Whatever is retried fails again at once, or only the first retry of each thing would be accepted.
STATE = """
run_time: 0
projects:
  demo-project:
    engines:
      4a1bc63d-4719-4bd3-b1ad-5ee590b05e87: {name: cse-gve7lg, jobs: [{id: 18638, status: Error, retries_end: [Error]}]}
    script_tasks:
      '0000000059071dbc01591661d3990019':
        records: {'0000000059071dbc01591661d3990020': {status: FAILED, retries_end: [FAILED]}}
"""

config = SchemathesisConfig.from_path(ROOT / "tests/contract/schemathesis.toml")
schema = schemathesis.openapi.from_path(ROOT / "openapi.yaml", config=config)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running() as url:
        httpx.put(f"{url}/_mock/state", content=STATE, trust_env=False).raise_for_status()
        yield url


def the_mock_keeps_the_contract(number: int) -> Any:
    @schema.parametrize()
    @seed(number)
    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    def test(case: Any, url: str) -> None:
        case.call_and_validate(base_url=url, headers={"X-Auth-Token": "mock-token"})

    return test


test_the_mock_keeps_the_contract_with_one_seed = the_mock_keeps_the_contract(1)
test_the_mock_keeps_the_contract_with_another = the_mock_keeps_the_contract(2)
test_the_mock_keeps_the_contract_with_a_third = the_mock_keeps_the_contract(3)
