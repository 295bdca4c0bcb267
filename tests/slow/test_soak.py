"""A mock that runs for long: 200,000 requests of good and bad kinds leave no 5xx, no memory and no socket behind."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest

CONNECTIONS = 16
ROUNDS = 625  # of 20 requests on each connection: 200,000 altogether
WARM_UP = 125  # rounds; after that the journal, the largest thing in memory, is full
PROJECT = "/v2/demo-project"
ENGINE = f"{PROJECT}/enginemgr/engines/4a1bc63d-4719-4bd3-b1ad-5ee590b05e87/actions"
SCRIPT = f"{PROJECT}/script-executions/retry"
RECORD, TASK = "0000000059071dbc01591661d3990020", "0000000059071dbc01591661d3990019"
PASSWORD = {"user": {"name": "mock-user", "password": "mock-password", "domain": {"name": "mock-domain"}}}
IAM = {"auth": {"identity": {"methods": ["password"], "password": PASSWORD}}}

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="this system has no /proc to look into"
)


def request(method: str, path: str, body: object = None, *headers: str, token: str = "mock-token") -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        f"X-Auth-Token: {token}",
        f"Content-Length: {len(content)}",
    ]
    return "\r\n".join([*lines, *(headers or ("Content-Type: application/json",)), "", ""]).encode() + content


KINDS = [
    (request("PUT", ENGINE, {"action": "Retry"}), {200, 400}),
    (
        request("PUT", ENGINE, {"action": "Retry"}, "Content-Type: application/json", "Prefer: code=429"),
        {429},
    ),
    (request("PUT", ENGINE, {"action": "Stop"}), {400}),
    (request("PUT", ENGINE, b'{"action":'), {400}),
    (request("PUT", ENGINE, {"action": "Retry"}, "Content-Type: text/plain"), {400}),
    (request("PUT", ENGINE, {"action": "Retry"}, token="wrong"), {401}),
    (request("PUT", ENGINE.replace("4a1bc63d", "%E5%BC%95"), {"action": "Retry"}), {400}),
    (request("POST", SCRIPT, {"record_id": RECORD}), {200, 400}),
    (request("POST", SCRIPT, {"task_id": TASK}), {200, 400}),
    (request("POST", SCRIPT, {}), {404}),
    (request("POST", SCRIPT, b"x" * 50_000), {400}),
    (request("POST", SCRIPT + "?" + "q" * 33_000, {}), {414}),
    (request("POST", SCRIPT, {}, f"X-Large: {'h' * 33_000}"), {494}),
    (request("GET", SCRIPT), {405}),
    (request("GET", "/nowhere"), {404}),
    (request("POST", "/v3/auth/tokens", IAM), {201}),
    (request("POST", "/v3/auth/tokens", {"auth": {}}), {400}),
    (request("GET", "/openapi.json"), {200}),
    (request("GET", "/_mock/health"), {200}),
    (request("GET", "/_mock/state"), {200}),
]


async def converse(port: int, rounds: int, seen: Counter[int]) -> None:
    """Send each kind in turn on one connection, as long as it is told."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(rounds):
        for sent, statuses in KINDS:
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
            assert length, head
            body = await reader.readexactly(int(length[1]))
            status = int(head[9:12])
            assert status in statuses, (sent[:200], head, body[:500])
            seen[status] += 1
    writer.close()
    await writer.wait_closed()


async def load(port: int, rounds: int) -> Counter[int]:
    seen: Counter[int] = Counter()
    await asyncio.gather(*(converse(port, rounds, seen) for _ in range(CONNECTIONS)))
    return seen


def resident(pid: int) -> float:
    """Resident memory in MiB."""
    found = re.search(
        r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.MULTILINE
    )
    assert found
    return int(found[1]) / 1024


def open_files(pid: int, port: int) -> int:
    """Count what the mock has open while it answers one caller, whose predecessors it has noticed to be gone."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        client.get("/_mock/health")
        client.get("/_mock/health")  # a turn of its loop later
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_the_mock_answers_200_000_requests_and_is_none_the_larger_for_it() -> None:
    command = [sys.executable, "-W", "error", "-m", "huaweicloud_retry.mock", "--port", "0", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as mock:
        try:
            assert mock.stdout
            port = int(re.findall(r"http://127\.0\.0\.1:(\d+)", mock.stdout.readline())[0])
            files = open_files(mock.pid, port)
            asyncio.run(load(port, WARM_UP))
            warm = resident(mock.pid)
            seen = asyncio.run(load(port, ROUNDS - WARM_UP))
            after = resident(mock.pid)
            print(f"{dict(seen)}; resident {warm:.1f} MiB after warm-up, {after:.1f} MiB at the end")
            assert not [status for status in seen if status >= 500]
            assert after - warm < 4  # MiB
            assert open_files(mock.pid, port) == files
        finally:
            mock.send_signal(signal.SIGTERM)
        assert mock.communicate(timeout=30) == ("", "")
    assert mock.returncode == 0
