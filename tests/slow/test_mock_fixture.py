"""The pytest fixture in the environments that people run it in: a pytest of its own each time."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEST = """
import httpx, pytest
from huaweicloud_retry import connect, TokenAuth
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest

PROJECT, ENGINE = "demo-project", "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"


@pytest.mark.parametrize("number", range(4))
def test_a_job_is_retried(huaweicloud_mock, number):
    assert retry_engine.sync(PROJECT, ENGINE, client=huaweicloud_mock.cse, body=EngineActionRequest()).job_id == 18638
    assert [entry["outcome"] for entry in huaweicloud_mock.request_log()] == ["accepted"]
    huaweicloud_mock.set_state("projects: {}")
    huaweicloud_mock.add_fault(status=503)
    huaweicloud_mock.clear_faults()
    huaweicloud_mock.advance(1)
    assert huaweicloud_mock.state()["projects"] == {}
    print("MOCK", huaweicloud_mock.url)


@pytest.mark.anyio
async def test_a_job_is_retried_async(huaweicloud_mock):
    async with huaweicloud_mock.cse as client:
        assert (await retry_engine.asyncio(PROJECT, ENGINE, client=client, body=EngineActionRequest())).job_id == 18638
"""
# What pytest-socket does with --allow-hosts=127.0.0.1,::1: it guards connect(). Not that plugin itself, which nothing else
# here needs and which would be one more package in the lock.
ONLY_LOOPBACK = """
import ipaddress, socket, pytest

connect = socket.socket.connect


def guarded(self, address):
    if self.family != socket.AF_UNIX and not ipaddress.ip_address(address[0]).is_loopback:
        raise RuntimeError(f"a connection to {address}")
    return connect(self, address)


socket.socket.connect = guarded


@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
NOWHERE = "http://192.0.2.1:9"  # no proxy is there


def run(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_example.py").write_text(TEST, encoding="utf-8")
    (folder / "conftest.py").write_text(ONLY_LOOPBACK, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-rP", "-W", "error", "-p", "huaweicloud_retry.testing"]
    kept = {name: value for name, value in os.environ.items() if not re.search("(?i)_proxy$|PYTEST", name)}
    kept |= environment
    command += options
    return subprocess.run(
        command, cwd=folder, env=kept, capture_output=True, text=True, check=False, timeout=180
    )


def test_each_worker_of_xdist_has_a_mock_of_its_own_whatever_proxies_the_environment_has(
    tmp_path: Path,
) -> None:
    proxies = {"HTTP_PROXY": NOWHERE, "http_proxy": NOWHERE, "ALL_PROXY": "socks5://192.0.2.1:9"}
    ran = run(tmp_path, "--numprocesses", "2", **proxies, NO_PROXY="fd00::/8")
    assert "5 passed" in ran.stdout, ran.stdout + ran.stderr
    urls = [line for line in ran.stdout.splitlines() if line.startswith("MOCK ")]
    assert (len(urls), len(set(urls))) == (4, 2)
