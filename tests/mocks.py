"""What the tests of the mock share: its built-in state, and clients that hold each response to the contract."""

import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from huaweicloud_retry.contract import Contract, WrongMethod

CONTRACT = Contract.load()
ENGINE_ID = "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
ENGINE = f"/v2/demo-project/enginemgr/engines/{ENGINE_ID}/actions"
SCRIPT = "/v2/demo-project/script-executions/retry"
IAM = "/v3/auth/tokens"
TASK, RECORD = "0000000059071dbc01591661d3990019", "0000000059071dbc01591661d3990020"
RETRY = {"action": "Retry"}
TOKEN, JSON = {"X-Auth-Token": "mock-token"}, {"Content-Type": "application/json"}
PAGES = {  # the admin endpoints, with their methods
    "health": "GET, HEAD, OPTIONS",
    "state": "GET, HEAD, PUT, OPTIONS",
    "request-log": "GET, HEAD, OPTIONS",
    "faults": "GET, HEAD, POST, DELETE, OPTIONS",
    "clock": "POST, OPTIONS",
    "reset": "POST, OPTIONS",
}
COMMAND = [sys.executable, "-W", "error", "-m", "huaweicloud_retry.mock"]
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # to read the machine's CAs takes longer than most tests


def plain_client(url: str, headers: dict[str, str] = TOKEN) -> httpx.Client:
    return httpx.Client(base_url=url, headers=headers, trust_env=False, verify=NO_TLS, timeout=60)


def client_for(url: str, headers: dict[str, str] = TOKEN, contract: Contract = CONTRACT) -> httpx.Client:
    """A client that checks each response of an operation against the contract."""

    def check(response: httpx.Response) -> None:
        response.read()
        request = response.request
        assert re.fullmatch(r"[0-9a-f]{32}", response.headers["X-Request-Id"])
        found = contract.match(request.method, request.url.raw_path.partition(b"?")[0].decode())
        if found is None or request.method == "HEAD":
            return
        for operation in found.operations if isinstance(found, WrongMethod) else (found.operation,):
            assert operation.check_response(response.status_code, response.headers, response.content) == []

    client = plain_client(url, headers)
    client.event_hooks = {"response": [check]}
    return client


def error(response: httpx.Response) -> tuple[int, str, str]:
    return response.status_code, response.json()["error_code"], response.json()["error_msg"]


def token_request(
    password: object = "mock-password",
    user: str = "mock-user",
    domain: str = "mock-domain",
    /,
    **scope: dict[str, str],
) -> dict[str, Any]:
    """What IAM wants to read."""
    who = {"name": user, "password": password, "domain": {"name": domain}}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": who}}}
    return {"auth": {**auth, "scope": scope} if scope else auth}


def connected(url: str) -> socket.socket:
    address = httpx.URL(url)
    return socket.create_connection((address.host, address.port or 0), timeout=60)


def send_head(sock: socket.socket, method: str, path: str, *lines: str) -> None:
    sock.sendall("\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode())


@contextmanager
def process(*options: str, stop: signal.Signals = signal.SIGTERM) -> Iterator[tuple[str, list[str]]]:
    """Run the mock as a process and stop it by a signal.

    Yields its URL and a list that has, once it is stopped, the lines it wrote to stderr.
    """
    lines: list[str] = []
    with subprocess.Popen(
        [*COMMAND, "--port", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as mock:
        try:
            assert mock.stdout
            ready = mock.stdout.readline()
            found = re.fullmatch(r"mock ready at (http://[\d.]+:\d+) \(.*; Ctrl-C stops it\)\n", ready)
            assert found, ready
            yield found[1], lines
            mock.send_signal(stop)
            out, err = mock.communicate(timeout=60)
            lines += err.splitlines()
            assert (mock.returncode, out) == (0, "")
        finally:
            mock.kill()
