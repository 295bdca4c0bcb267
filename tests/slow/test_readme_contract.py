"""The README's lines for contract testing can be run."""

import sys
from pathlib import Path

import httpx

from huaweicloud_retry.mock import running
from tests.unit.test_readme import ENGINE, shell


def test_the_schemathesis_line() -> None:
    python = Path(sys.executable)
    with running() as url:
        replacements = {
            ".venv/bin/st": f"'{python.parent}/st'",
            "https://cse.cn-north-4.myhuaweicloud.com": url,
            "$TOKEN": "mock-token",
        }
        assert " passed" in shell(".venv/bin/st", replacements)


def test_the_line_for_a_live_endpoint() -> None:
    with running() as url:
        replacements = {
            "make contract": "HW_AUTH_TOKEN=mock-token CONFIRM=yes make contract",
            "https://cse.cn-north-4.myhuaweicloud.com": url,
            "$PROJECT": "demo-project",
            "$ENGINE": ENGINE,
        }
        printed = shell("make contract URL=https", replacements)
        assert "6 requests planned; responses: 4 of 400, 1 of 401, 1 of 405" in printed, printed
        assert not any(
            entry["acted"]
            for entry in httpx.get(f"{url}/_mock/request-log", trust_env=False).json()["entries"]
        )
