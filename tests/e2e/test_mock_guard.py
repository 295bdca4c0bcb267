"""A mock next to a browser and on a network: whom it serves, what may change it, and what it holds at most.

Seen from raw sockets. tests/slow has the same with a real browser, and with attacks that last.
"""

import json
import re
import select
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from huaweicloud_retry.mock import running
from huaweicloud_retry.mock.app import App
from huaweicloud_retry.mock.faults import Faults
from huaweicloud_retry.mock.server import serving
from huaweicloud_retry.mock.state import State
from huaweicloud_retry.mock.wire import MAX_CONNECTIONS
from huaweicloud_retry.testing import Mock
from tests.mocks import (
    COMMAND,
    CONTRACT,
    ENGINE,
    IAM,
    JSON,
    RETRY,
    TOKEN,
    connected,
    error,
    plain_client,
    process,
    send_head,
)

MIB = 1024 * 1024
FOREIGN = {"Origin": "http://evil.test"}
ADMIN: list[tuple[str, str, dict[str, object]]] = [
    ("POST", "/_mock/reset", {}),
    ("POST", "/_mock/faults", {"status": 503}),
    ("POST", "/_mock/clock", {"advance": 60}),
    ("PUT", "/_mock/state", {"projects": {}}),
    ("DELETE", "/_mock/faults", {}),
]
CHUNKED = f"PUT {ENGINE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


@pytest.fixture
def url(shared_mock: Mock) -> str:
    """Of a mock whose state is fresh."""
    shared_mock.reset()
    return shared_mock.url


@pytest.fixture
def mock(url: str) -> Iterator[httpx.Client]:
    with plain_client(url) as client:
        yield client


@contextmanager
def impatient() -> Iterator[str]:
    """Run a mock that waits for nobody."""
    with serving(App(CONTRACT, State(), Faults()), timeout=0.2) as url:
        yield url


def received(sock: socket.socket) -> bytes:
    """Read until the mock closes."""
    return sock.makefile("rb").read()


def status_of(url: str, *lines: str, path: str = "/_mock/state") -> int:
    with connected(url) as sock:
        sock.sendall("\r\n".join([f"GET {path} HTTP/1.1", *lines, "Connection: close", "", ""]).encode())
        return int(received(sock).split(b" ", 2)[1])


# --- Which pages may change something ---

FORM = "A change needs Content-Type: application/json, which forms cannot send."
WHY: list[tuple[dict[str, str], str]] = [
    ({}, FORM),
    ({"Content-Type": "text/plain"}, FORM),
    ({"Content-Type": "application/x-www-form-urlencoded"}, FORM),
    (FOREIGN, "Pages of 'http://evil.test' may not make changes"),
    ({**FOREIGN, **JSON}, "Pages of 'http://evil.test' may not make changes"),
    ({"Origin": "null", **JSON}, "Pages of 'null' may not make changes"),
    ({"Origin": "http://localhost:3000", **JSON}, "start the mock with --cors ORIGIN."),
]


@pytest.mark.parametrize(("headers", "why"), WHY, ids=range(len(WHY)))
def test_a_change_from_a_form_or_a_foreign_page_is_refused(
    mock: httpx.Client, headers: dict[str, str], why: str
) -> None:
    before = [mock.get(f"/_mock/{page}").json() for page in ("state", "faults")]
    for method, path, body in ADMIN:
        refused = mock.request(method, path, content=json.dumps(body), headers=headers)
        status, code, says = error(refused)
        assert (status, code, why in says) == (403, "MOCK.403", True), path
    assert [mock.get(f"/_mock/{page}").json() for page in ("state", "faults")] == before


def test_a_change_from_a_script_or_the_mocks_own_page_is_made(mock: httpx.Client, url: str) -> None:
    for method, path, body in ADMIN:
        for origin in {}, {"Origin": url}:
            assert mock.request(method, path, json=body, headers=origin).is_success, path
    headers = {"Content-Type": "application/yaml"}
    assert mock.put("/_mock/state", content=b"projects: {p: {}}", headers=headers).status_code == 204


# --- Under which names it is served ---


@pytest.mark.parametrize(
    "host",
    ["evil.test", "evil.test:80", "127.0.0.1.evil.test", "192.0.2.1", "a@127.0.0.1", "a!.evil.test", ""],
)
def test_a_foreign_host_is_refused_on_every_path(mock: httpx.Client, host: str) -> None:
    for path in ("/_mock/state", "/_mock/request-log", "/docs", "/openapi.json", ENGINE, IAM, "/nope"):
        assert mock.get(path, headers={"Host": host}).status_code == 403, path


def test_a_request_without_a_host_or_with_two_is_refused(url: str) -> None:
    assert [status_of(url), status_of(url, "Host: localhost", "Host: evil.test")] == [403, 403]


def test_localhost_and_loopback_addresses_are_served(mock: httpx.Client) -> None:
    for host in ("localhost", "LocalHost:1", "localhost.", "127.0.0.1", "127.8.9.1:80", "[::1]:80"):
        assert mock.get("/docs", headers={"Host": host}).status_code == 200, host


def test_a_refused_host_is_explained_with_the_option(mock: httpx.Client) -> None:
    says = "Host mock.test is not accepted: start the mock with --allow-host."
    assert error(mock.put(ENGINE, json=RETRY, headers={"Host": "mock.test"})) == (403, "MOCK.403", says)


def test_an_empty_name_allows_no_malformed_host() -> None:
    with running(CONTRACT, allow_hosts=["", "ok.test"]) as url:
        hosts = ("", "a!.evil.test", "Ok.Test")
        assert [status_of(url, f"Host: {host}") for host in hosts] == [403, 403, 200]


# --- On a network ---


def other_address() -> str:
    """An address of this machine that is not loopback; found without a packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(sock.getsockname()[0])


@pytest.mark.parametrize(("options", "admin"), [((), 404), (("--admin",), 200)])
def test_a_mock_for_the_network_warns_and_keeps_its_admin_endpoints_to_itself(
    options: tuple[str, ...], admin: int
) -> None:
    command = [*COMMAND, "--port", "0", "--quiet", "--host", "0.0.0.0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as mock:
        try:
            assert mock.stdout
            (port,) = re.findall(r"^mock ready at http://0\.0\.0\.0:(\d+) ", mock.stdout.readline())
            with plain_client(f"http://127.0.0.1:{port}") as client:
                assert client.get("/_mock/state").status_code == admin
                assert client.put(ENGINE, json=RETRY).status_code == 200
                assert client.get("/docs", headers={"Host": "evil.test"}).status_code == 403
            address = other_address()  # to which the request is sent: accepted as a host, too
            assert status_of(f"http://{address}:{port}", f"Host: {address}", path="/docs") == 200
        finally:
            mock.terminate()
        err = mock.communicate(timeout=60)[1]
    endpoints = "admin endpoints" if admin == 200 else "no admin endpoints, see --admin"
    what = f"accepts requests from other machines: operations, tokens, docs, {endpoints}"
    assert err == f"warning: http://0.0.0.0:{port} {what}\n"


# --- CORS ---

PAGE = "http://localhost:3000"
PREFLIGHT = {
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "content-type,x-auth-token",
}


def cors(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-")}


def test_without_cors_no_page_of_another_origin_may_read_or_send(mock: httpx.Client) -> None:
    asked = mock.request("OPTIONS", ENGINE, headers={"Origin": PAGE, **PREFLIGHT})
    responded = mock.put(ENGINE, json=RETRY, headers={"Origin": PAGE})
    assert (asked.status_code, asked.headers["Allow"]) == (405, "PUT")
    assert cors(asked) == cors(responded) == cors(mock.get("/_mock/state", headers={"Origin": PAGE})) == {}


def test_the_command_accepts_more_hosts_and_the_pages_of_one_origin_and_127_1_is_not_the_network() -> None:
    hosts = ("Mock.Test.", "[2001:db8::1]")
    options = ["--host", "127.1", "--cors", "http://LocalHost:3000"]
    options += [option for host in hosts for option in ("--allow-host", host)]
    with process("--quiet", *options) as (url, lines), plain_client(url, {**TOKEN, "Origin": PAGE}) as client:
        for host in ("mock.test", "mock.test:80", "[2001:db8::1]:80", "localhost"):
            assert client.get("/docs", headers={"Host": host}).status_code == 200, host
        asked = client.request("OPTIONS", ENGINE, headers=PREFLIGHT)
        assert asked.status_code == 204
        assert cors(asked)["access-control-allow-methods"] == "PUT"
        assert cors(asked)["access-control-allow-headers"] == "content-type,x-auth-token"
        others = client.put(ENGINE, json=RETRY), client.put(ENGINE), client.get("/docs"), client.post(IAM)
        for response in (*others, asked):
            assert response.headers["Access-Control-Allow-Origin"] == PAGE
            assert "X-Request-Id" in response.headers["Access-Control-Expose-Headers"]
            assert response.headers["Vary"] == "Origin"
        assert client.post("/_mock/reset", json={}).status_code == 204
        client.headers["Origin"] = "http://localhost:3001"
        other = client.get("/_mock/state")
        assert (cors(other), other.headers["Vary"]) == ({}, "Origin")
        assert client.post("/_mock/reset", json={}).status_code == 403
    assert lines == []


# --- What it holds ---


@pytest.mark.parametrize(
    "begin",
    [
        b"GET / HTTP/1.1\r\nX-A: " + b"a" * MIB,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50_000,
        b"GET /" + b"a" * MIB,
        CHUNKED + b"1;" + b"a" * MIB,
        CHUNKED + b"0\r\nX-Trailer: " + b"a" * MIB,
    ],
    ids=["header", "headers", "target", "chunk extension", "trailer"],
)
def test_a_head_or_framing_without_end_is_refused_at_once_and_not_read_on(url: str, begin: bytes) -> None:
    with connected(url) as sock:
        sock.sendall(begin)
        assert received(sock).startswith(b"HTTP/1.1 494 ")


def test_more_than_1000_header_fields_are_refused_and_the_connection_serves_on(mock: httpx.Client) -> None:
    for count, status in (990, 404), (1010, 494):
        assert mock.get("/nope", headers={f"x{number}": "" for number in range(count)}).status_code == status


def test_bodies_under_way_are_bounded_all_together_and_small_ones_still_pass(
    url: str, mock: httpx.Client
) -> None:
    with ExitStack() as open_:
        bodies = [open_.enter_context(connected(url)) for _ in range(5)]
        for sock in bodies:
            send_head(sock, "PUT", ENGINE, f"Content-Length: {12 * MIB}", "Content-Type: application/json")
            sock.sendall(b" " * 11 * MIB)
        refused, _, _ = select.select(bodies, [], [], 60)  # one, the last that the mock has read
        assert [sock.recv(12) for sock in refused] == [b"HTTP/1.1 503"]
        assert mock.put(ENGINE, json={**RETRY, "a": "a" * 50_000}).status_code == 200
        outcome = mock.get("/_mock/request-log").json()["entries"][0]
        assert (outcome["status"], outcome["error_code"]) == (503, "MOCK.503")
    large = json.dumps(RETRY).encode().ljust(12 * MIB)
    for _ in range(200):  # all are given back, once the mock has noticed
        if mock.put(ENGINE, headers=JSON, content=large).status_code != 503:
            break
    else:
        pytest.fail("the bodies of connections that are gone still count")


def test_bodies_that_were_read_count_no_more_while_their_connections_are_open(url: str) -> None:
    large = json.dumps(RETRY).encode().ljust(12 * MIB)
    with ExitStack() as open_:
        clients = [open_.enter_context(plain_client(url)) for _ in range(5)]
        assert 503 not in {each.put(ENGINE, headers=JSON, content=large).status_code for each in clients}


@pytest.mark.parametrize(
    ("begun", "drip"),
    [(b"P", b""), (b"GET / HTTP/1.1\r\nX-A: ", b"a"), (CHUNKED, b"1\r\na\r\n")],
    ids=["line", "header", "body"],
)
def test_a_request_that_does_not_arrive_in_time_is_given_up_with_408_however_steadily_it_comes(
    begun: bytes, drip: bytes
) -> None:
    with impatient() as url, connected(url) as sock:
        sock.sendall(begun)
        for _ in range(1000):
            if select.select([sock], [], [], 0.05 if drip else 60)[0]:
                break
            sock.sendall(drip)
        head, _, body = received(sock).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"\r\nconnection: close" in head
    assert json.loads(body)["error_msg"] == "The request was not complete within 0.2 seconds."


def test_a_connection_more_than_the_mock_takes_gets_503_and_those_before_are_served() -> None:
    with running(CONTRACT) as url, ExitStack() as open_:
        first = open_.enter_context(connected(url))
        for _ in range(MAX_CONNECTIONS - 1):
            open_.enter_context(connected(url))
        with connected(url) as sock:
            assert received(sock).startswith(b"HTTP/1.1 503 ")
        send_head(first, "GET", "/_mock/health")
        assert first.recv(12) == b"HTTP/1.1 200"


def test_a_state_is_bounded_and_read_aside(url: str, mock: httpx.Client) -> None:
    state = "projects:\n" + "".join(f"  p{number}: {{}}\n" for number in range(5_000))
    yaml = {"Content-Type": "application/yaml"}
    large = mock.put("/_mock/state", content=state + "#" * MIB, headers=yaml)
    assert error(large)[:2] == (413, "MOCK.413")
    with connected(url) as sock:  # the mock serves others while it reads this one
        lines = f"Content-Length: {len(state)}", "Content-Type: application/yaml"
        send_head(sock, "PUT", "/_mock/state", *lines)
        sock.sendall(state.encode())
        assert len(mock.get("/_mock/state").json()["projects"]) == 1
        assert sock.recv(12) == b"HTTP/1.1 204"
    assert len(mock.get("/_mock/state").json()["projects"]) == 5_000


def test_callers_that_reset_their_connections_leave_no_line_in_the_log(
    mock: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    mock.post("/_mock/faults", json={"delay": 0.01})
    request = f"PUT {ENGINE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode()
    for sent in (b"GET / HTT", request, request * 3, request + b"\x00", b"\x00\r\n\r\n") * 20:
        with connected(str(mock.base_url)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() resets
            sock.sendall(sent)
    mock.delete("/_mock/faults")
    for _ in range(20):
        mock.get("/_mock/health")
    assert [each.getMessage() for each in caplog.records if each.levelname in {"WARNING", "ERROR"}] == []


def test_json_that_would_take_a_gigabyte_of_memory_is_not_read(mock: httpx.Client) -> None:
    body = b"[" + b"{}," * 700_000 + b"{}]"
    for method, path in ("PUT", ENGINE), ("POST", IAM):
        assert error(mock.request(method, path, content=body, headers=JSON))[:2] == (413, "MOCK.413")


def test_requests_that_come_at_once_keep_nobody_waiting(url: str, mock: httpx.Client) -> None:
    number, request = 1500, b"GET /nope HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(50):
        assert mock.post("/_mock/reset").status_code == 204
        with connected(url) as sock:
            sock.sendall(request * number)
            served = mock.get("/_mock/request-log").json()["count"]
        if 0 < served < number:  # between two of them
            return
    pytest.fail("all that came at once was served first")


# --- HTTP ---


@pytest.mark.parametrize(
    "end", ["1.1\r\nConnection: Upgrade, close", "1.0\r\nConnection: Upgrade"], ids=["close", "HTTP/1.0"]
)
def test_requests_that_offer_an_upgrade_are_served_without_however_many_come_at_once(
    url: str, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    def offer(version: str) -> str:
        return f"GET /nope HTTP/{version}\r\nHost: localhost\r\nUpgrade: h2c\r\n\r\n"

    with connected(url) as sock:
        sock.sendall((offer("1.1\r\nConnection: upgrade") * 300 + offer(end)).encode())
        assert re.findall(rb"HTTP/1.1 (\d+) ", received(sock)) == [b"404"] * 301  # and the end
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
