"""A mock that runs for long: 60,000 requests of good and bad kinds leave no 5xx, no memory and no socket behind."""

import asyncio
import json
import re
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.mocks import COMMAND, ENGINE, IAM, RECORD, RETRY, SCRIPT, TASK, token_request

CONNECTIONS = 16
ROUNDS = 188  # of 20 requests on each connection: 60,000 altogether
WARM_UP = 40  # rounds; after that the request log, the largest thing in memory, is full

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system has no /proc")


def request(method: str, path: str, body: object = None, *headers: str, token: str = "mock-token") -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = headers or ("Content-Type: application/json",)
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"X-Auth-Token: {token}", *given]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


KINDS = [
    (request("PUT", ENGINE, RETRY), {200, 400}),
    (request("PUT", ENGINE, RETRY, "Content-Type: application/json", "Prefer: code=429"), {429}),
    (request("PUT", ENGINE, {"action": "Stop"}), {400}),
    (request("PUT", ENGINE, b'{"action":'), {400}),
    (request("PUT", ENGINE, RETRY, "Content-Type: text/plain"), {400}),
    (request("PUT", ENGINE, RETRY, token="wrong"), {401}),
    (request("PUT", ENGINE.replace("4a1bc63d", "%E5%BC%95"), RETRY), {400}),
    (request("POST", SCRIPT, {"record_id": RECORD}), {200, 400}),
    (request("POST", SCRIPT, {"task_id": TASK}), {200, 400}),
    (request("POST", SCRIPT, {}), {404}),
    (request("POST", SCRIPT, b"x" * 50_000), {400}),
    (request("POST", SCRIPT + "?" + "q" * 33_000, {}), {414}),
    (request("POST", SCRIPT, {}, f"X-Large: {'h' * 33_000}"), {494}),
    (request("GET", SCRIPT), {405}),
    (request("GET", "/nowhere"), {404}),
    (request("POST", IAM, token_request()), {201}),
    (request("POST", IAM, {"auth": {}}), {400}),
    (request("GET", "/openapi.json"), {200}),
    (request("GET", "/_mock/health"), {200}),
    (request("GET", "/_mock/state"), {200}),
]


async def converse(port: int, rounds: int) -> None:
    """Send each kind in turn on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(rounds):
        for sent, statuses in KINDS:
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
            assert length, head
            body = await reader.readexactly(int(length[1]))
            assert int(head[9:12]) in statuses, (sent[:200], head, body[:500])
    writer.close()
    await writer.wait_closed()


async def load(port: int, rounds: int) -> None:
    await asyncio.gather(*(converse(port, rounds) for _ in range(CONNECTIONS)))


def resident(pid: int) -> float:
    """Resident memory in MiB."""
    found = re.search(r"(?m)^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    assert found
    return int(found[1]) / 1024


def open_files(pid: int, port: int) -> int:
    """Count the mock's open files once it has noticed which clients are gone."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        client.get("/_mock/health")
        client.get("/_mock/health")  # a turn of its loop later
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_60_000_requests_leave_no_memory_and_no_socket_behind() -> None:
    command = [*COMMAND, "--port", "0", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as mock:
        try:
            assert mock.stdout
            port = int(re.findall(r"http://127\.0\.0\.1:(\d+)", mock.stdout.readline())[0])
            files = open_files(mock.pid, port)
            asyncio.run(load(port, WARM_UP))
            warm = resident(mock.pid)
            asyncio.run(load(port, ROUNDS - WARM_UP))
            after = resident(mock.pid)
            print(f"resident {warm:.1f} MiB after warm-up, {after:.1f} MiB at the end")
            assert after - warm < 4  # MiB
            assert open_files(mock.pid, port) == files
        finally:
            mock.send_signal(signal.SIGTERM)
        assert mock.communicate(timeout=60) == ("", "")
    assert mock.returncode == 0
