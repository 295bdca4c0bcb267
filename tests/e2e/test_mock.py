"""The mock server, on real sockets: what its errors explain, edited specs, how it starts and stops.

tests/contract/rules.py has what each server must do: statuses, codes, states, credentials and limits.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry import AkSkAuth
from huaweicloud_retry.contract import Contract
from huaweicloud_retry.mock import running
from huaweicloud_retry.mock.__main__ import main
from huaweicloud_retry.mock.server import base_url, listen
from huaweicloud_retry.testing import Mock
from tests import mocks
from tests.mocks import CONTRACT, ENGINE, RECORD, RETRY, SCRIPT, TASK, connected, error, plain_client

ROOT = Path(__file__).parents[2]


# --- What its errors explain --------------------------------------------------------------------------------


class Tampered(AkSkAuth):
    """Signs with the mock's keys, and then changes a header."""

    def __init__(self, header: str, pattern: str, new: str) -> None:
        super().__init__("mock-ak", "mock-sk", security_token="s3cret")
        self._change = header, pattern, new

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        header, pattern, new = self._change
        signed = next(super().auth_flow(request))
        signed.headers[header] = re.sub(pattern, new, signed.headers[header])
        yield signed


NO_RECORD = f"The script execution record does not exist; the mock has {RECORD}."
NO_TASK = f"The script execution task does not exist; the mock has {TASK}."
FOREIGN = f"The script execution record is not in task {TASK}, which has {RECORD}."
NO_API = "The API does not exist: POST /nope; the mock has POST /v2/{project_id}/script-exec"
FORM = "the Authorization header must be SDK-HMAC-SHA256 Access=…, SignedHeaders=…, Signature=…"
ACCEPTED = "the mock accepts the token mock-token, or a signature with mock-ak and mock-sk"
OTHER_KEY = f"(line ends shown as |) POST|{SCRIPT}/||content-type:application/json|host:127.0.0.1:"
# What is wrong with a request, and a part of its error message. Codes and statuses: tests/contract/rules.py.
REQUESTS: list[tuple[dict[str, Any], str]] = [
    ({"json": {"record_id": TASK}}, NO_RECORD),
    ({"json": {"task_id": RECORD}}, NO_TASK),
    ({"json": {"task_id": TASK, "record_id": "r"}}, FOREIGN),
    ({"json": {}}, "There is nothing to retry: give record_id or task_id."),
    ({"json": {"record_id": 5}}, 'The parameter is invalid: body /record_id: 5 is not of type "string"'),
    ({"content": b"{", "headers": mocks.JSON}, "property name enclosed in double quotes, line 1 column 2"),
    ({"url": "/nope"}, NO_API),
    (
        {"json": {"record_id": RECORD}, "headers": {"X-Project-Id": "other"}},
        "X-Project-Id differs from the project in the path.",
    ),
]
CREDENTIALS: list[tuple[dict[str, Any], str]] = [
    ({}, f"there is no X-Auth-Token and no signature; {ACCEPTED}"),
    ({"headers": {"X-Auth-Token": "s3cret"}}, f": the X-Auth-Token is wrong; {ACCEPTED}"),
    ({"headers": {"Authorization": "Bearer s3cret"}}, f": {FORM}; {ACCEPTED}"),
    ({"auth": Tampered("Authorization", ".$", "g")}, "the Authorization header must be"),
    ({"auth": Tampered("Authorization", "mock-ak", "other")}, "the access key is unknown"),
    ({"auth": Tampered("Authorization", "....$", "0000")}, "does not match the canonical request"),
    ({"auth": Tampered("Authorization", "host", "x-absent")}, "not sent: x-absent"),
    ({"auth": Tampered("Authorization", ";x-sdk-date", "")}, "X-Sdk-Date must be signed"),
    ({"auth": Tampered("X-Security-Token", "$", "2")}, "does not match the canonical request"),
    ({"auth": Tampered("X-Sdk-Date", ".*", "yesterday")}, "X-Sdk-Date must look like"),
    ({"auth": Tampered("X-Sdk-Date", "^....", "2020")}, "the signature has expired"),
    ({"auth": AkSkAuth("mock-ak", "wrong"), "json": RETRY}, OTHER_KEY),
]
WHY = [(mocks.TOKEN, *each) for each in REQUESTS] + [({}, *each) for each in CREDENTIALS]


@pytest.mark.parametrize(("token", "wrong", "why"), WHY, ids=range(len(WHY)))
def test_an_error_explains_what_is_wrong(
    mock: Mock, token: dict[str, str], wrong: dict[str, Any], why: str
) -> None:
    with plain_client(mock.url, token) as client:
        refused = client.post(
            wrong.get("url", SCRIPT), **{name: wrong[name] for name in wrong.keys() - {"url"}}
        )
    assert why in error(refused)[2]
    assert "s3cret" not in refused.text


# --- Below HTTP ---------------------------------------------------------------------------------------------


def test_what_is_not_http_is_refused_and_the_mock_lives_on(http: httpx.Client) -> None:
    with connected(str(http.base_url)) as sock:
        sock.sendall(b"\x16\x03\x01 TLS to a plain port\r\n\r\n")
        head, _, body = sock.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\ncontent-type: application/json\r\n" in head
    assert json.loads(body)["error_code"] == "APIGW.0201"
    assert http.get("/_mock/health").status_code == 200


def test_a_caller_that_hangs_up_half_way_changes_nothing(http: httpx.Client) -> None:
    with connected(str(http.base_url)) as sock:
        content_type = "Content-Type: application/json"
        mocks.send_head(sock, "PUT", ENGINE, "Content-Length: 19", content_type, "X-Auth-Token: mock-token")
        sock.sendall(b'{"action":')
    assert http.put(ENGINE, json=RETRY).status_code == 200


# --- A spec that was edited ---------------------------------------------------------------------------------

# Operations for which the mock has no handler: the status and the content of their response.
NEW: dict[str, tuple[int, dict[str, Any]]] = {
    "StopScript": (202, {"examples": {"done": {"value": {"task_id": TASK}}}}),
    "HasNoExample": (200, {}),
    "HasWrongExample": (200, {"schema": {"type": "object"}, "example": [1]}),
}


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Contract, httpx.Client]]:
    """New operations, RetryScriptExecution without security, RetryEngine without the engine in its path."""
    spec: Any = json.loads(json.dumps(CONTRACT.document))
    paths = spec["paths"]
    script = paths["/v2/{project_id}/script-executions/retry"]
    for id_, (status, content) in NEW.items():
        responses = {str(status): {"description": "", "content": {"application/json": content}}}
        post = {**script["post"], "operationId": id_, "responses": responses}
        paths[f"/v2/{{project_id}}/{id_}"] = {"parameters": script["parameters"], "post": post}
    script["post"]["security"] = []
    engine = paths.pop("/v2/{project_id}/enginemgr/engines/{engine_id}/actions")
    paths["/v2/{project_id}/actions"] = {**engine, "parameters": engine["parameters"][:1]}
    file = tmp_path_factory.mktemp("spec") / "openapi.yaml"
    file.write_text(json.dumps(spec), encoding="utf-8")  # which is YAML, too
    contract = Contract.load(file)
    with running(contract) as url, plain_client(url) as client:
        yield contract, client


def test_an_operation_without_handler_is_checked_and_responded_from_its_examples(
    edited: tuple[Contract, httpx.Client],
) -> None:
    contract, client = edited
    response = client.post("/v2/any/StopScript", json={"record_id": RECORD})
    assert (response.status_code, response.json()) == (202, {"task_id": TASK})
    assert error(client.post("/v2/any/StopScript", json={"record_id": 5}))[:2] == (400, "WKS.00211102")
    health = {"name": "huaweicloud-retry-mock", "version": contract.version, "sha256": contract.sha256}
    assert client.get("/_mock/health").json() == health


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ("HasNoExample", "HasNoExample has no example for status 200; it has: none"),
        ("HasWrongExample", 'the one for 200 does not match its schema: body: [1] is not of type "object"'),
    ],
)
def test_without_a_good_example_the_spec_is_named_as_what_is_at_fault(
    edited: tuple[Contract, httpx.Client], operation: str, why: str
) -> None:
    says = f"Unexpected error: the response of {operation} is the spec's example, but {why}"
    assert error(edited[1].post(f"/v2/any/{operation}", json={})) == (500, "APIGW.0201", says)


def test_an_operation_without_security_is_open(edited: tuple[Contract, httpx.Client]) -> None:
    with plain_client(str(edited[1].base_url), {}) as client:
        assert client.post(SCRIPT, json={"task_id": TASK}).status_code == 200


def test_an_internal_error_is_a_500_in_the_shape_of_the_spec_with_its_traceback_in_the_log(
    edited: tuple[Contract, httpx.Client], caplog: pytest.LogCaptureFixture
) -> None:
    client = edited[1]
    response = client.put("/v2/demo-project/actions?q=s3cret", json=RETRY)  # the handler expects an engine
    assert client.get("/_mock/health").status_code == 200
    says = "Unexpected error: internal error of the mock; see its stderr."
    assert error(response) == (500, "APIGW.0201", says)
    (record,) = caplog.records
    where = f"PUT '/v2/demo-project/actions', request {response.headers['X-Request-Id']}"
    assert record.getMessage() == f"internal error in {where}"
    assert "KeyError: 'engine_id'" in caplog.text
    assert not re.search("s3cret|mock-token", caplog.text)


# --- In a thread --------------------------------------------------------------------------------------------


def test_it_stops_with_its_block_even_if_that_fails_and_although_callers_are_still_connected() -> None:
    before, sockets = threading.active_count(), list[socket.socket]()
    with suppress(ZeroDivisionError), running(CONTRACT) as url, plain_client(url) as client:
        sockets += [connected(url), connected(url)]
        mocks.send_head(sockets[1], "PUT", ENGINE, "Content-Length: 19", "X-Auth-Token: mock-token")
        client.get("/_mock/health")  # by now the mock waits for the rest of the request
        raise ZeroDivisionError
    assert threading.active_count() == before
    for sock in sockets:
        with sock, suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        connected(url)


@pytest.mark.parametrize(("host", "start"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_an_address_as_a_url(host: str, start: str) -> None:
    try:
        sock = listen(host, 0)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with sock:
        assert base_url(sock) == f"{start}{sock.getsockname()[1]}"
        assert sock.proto == socket.IPPROTO_TCP  # or asyncio leaves Nagle's algorithm on: 40 ms a response


# --- As a command -------------------------------------------------------------------------------------------


def test_ctrl_c_stops_it_with_callers_connected_no_admin_has_no_admin_endpoints_and_quiet_no_lines() -> None:
    command = mocks.process("--quiet", "--no-admin", stop=signal.SIGINT)
    with ExitStack() as connections, command as (url, lines):
        client = connections.enter_context(plain_client(url))
        assert [client.put(ENGINE, json=RETRY).status_code for _ in range(2)] == [200, 400]
        with connected(url) as sock:
            sock.sendall(b"no HTTP\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 400"
        for page, methods in mocks.PAGES.items():
            for method in methods.split(", "):
                assert client.request(method, f"/_mock/{page}").status_code == 404
        half = connections.enter_context(connected(url))
        mocks.send_head(half, "PUT", ENGINE, "Content-Length: 19", "X-Auth-Token: mock-token")
        assert client.get("/docs").status_code == 200  # by now the mock waits for the rest
    assert lines == []


def test_why_it_cannot_start_is_reported_in_one_line(
    mock: Mock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "state.yaml").write_bytes(b"projects: {p: {name: \xff}}")
    port, hint = httpx.URL(mock.url).port, "; choose another --port, or 0 for a free one\n"
    for options, says in {
        f"--port {port}": f"cannot listen on 127.0.0.1 port {port}: Address already in use{hint}",
        # The address of another machine.
        "--host 192.0.2.1": f"cannot listen on 192.0.2.1 port 8000: Cannot assign requested address{hint}",
        f"--state {file}": f"{file}: is not YAML",
        f"--state {tmp_path}": f"{tmp_path}: cannot be read: Is a directory\n",
    }.items():
        assert main(["--quiet", *options.split()]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"python -m huaweicloud_retry.mock: {says}")


@pytest.mark.parametrize(
    ("option", "values", "says"),
    [
        ("--port", ["65536", "-1", "http"], "is not a port: give 0 to 65535"),
        ("--delay", ["-1", "3601", "nan", "soon"], "is not a number of seconds from 0 to 3600"),
        ("--allow-host", ["", "a:80", "http://a", "*", "a b", "."], "is not a host name, such as mock.test"),
        ("--cors", ["*", "a:3000", "http://a/", "null"], "is not an origin, such as http://localhost:3000"),
    ],
)
def test_an_invalid_option_is_refused(
    option: str, values: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in values:
        with pytest.raises(SystemExit, match="2"):
            main([f"{option}={value}"])
        assert f"argument {option}: {value!r} {says}\n" in capsys.readouterr().err


def test_a_broken_spec_is_reported_in_one_line(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src")
    broken = (ROOT / "openapi.yaml").read_text(encoding="utf-8").replace("\npaths:\n", "\npaths: [\n")
    (tmp_path / "openapi.yaml").write_text(broken, encoding="utf-8")
    command, environ = [*mocks.COMMAND, "--port", "0"], {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    says = f"python -m huaweicloud_retry.mock: {tmp_path}/openapi.yaml: is not YAML: line "
    assert ran.stderr.startswith(says)


# Runs the command, and takes `running` from its package as a test would, as if a package was not installed.
WITHOUT = """
import runpy, sys

sys.modules["mkdocs_swagger_ui_tag"] = None
for options in ["--help"], ["--port", "0"]:
    sys.argv[1:] = options
    try:
        runpy.run_module("huaweicloud_retry.mock", run_name="__main__")
    except SystemExit as end:
        print(end.code)
from huaweicloud_retry.mock import running
"""


def test_without_the_extra_one_line_says_what_to_install_and_help_is_given() -> None:
    command = [sys.executable, "-W", "error", "-c", WITHOUT]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stdout.startswith("usage: python -m huaweicloud_retry.mock ")
    assert ran.stdout.endswith("\n0\n2\n")
    missing = "import of mkdocs_swagger_ui_tag halted; None in sys.modules"
    says = f"{missing}; pip install 'huaweicloud-retry[mock]'"
    first, *_, last = ran.stderr.splitlines()
    assert first == f"python -m huaweicloud_retry.mock: {says}"
    assert last == f"ModuleNotFoundError: {says}"
