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
from collections.abc import Callable, Generator, Iterator
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
from tests.mocks import (
    COMMAND,
    CONTRACT,
    ENGINE,
    IAM,
    JSON,
    PAGES,
    RECORD,
    RETRY,
    SCRIPT,
    TASK,
    TOKEN,
    connected,
    error,
    plain_client,
    process,
    send_head,
    token_request,
)

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "openapi.yaml"


@pytest.fixture
def mock(shared_mock: Mock) -> Iterator[httpx.Client]:
    """Sends the right token; the state is fresh."""
    shared_mock.reset()
    with plain_client(shared_mock.url) as client:
        yield client


@pytest.fixture
def stranger(shared_mock: Mock) -> Iterator[httpx.Client]:
    """Sends no token."""
    with plain_client(shared_mock.url, {}) as client:
        yield client


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


NO_TASK = f"The script execution task does not exist; the mock has {TASK}."
FOREIGN = f"The script execution record is not in task {TASK}, which has {RECORD}."
FORM = "the Authorization header must be SDK-HMAC-SHA256 Access=…, SignedHeaders=…, Signature=…"
ACCEPTED = "the mock accepts the token mock-token, or a signature with mock-ak and mock-sk"
# What is wrong with a request, and the end of its error message. Codes and statuses: tests/contract/rules.py.
WHY: list[tuple[dict[str, Any], str]] = [
    ({"json": {"record_id": TASK}}, f"The script execution record does not exist; the mock has {RECORD}."),
    ({"json": {"task_id": RECORD}}, NO_TASK),
    ({"json": {"task_id": TASK, "record_id": "r"}}, FOREIGN),
    ({"json": {}}, "There is nothing to retry: give record_id or task_id."),
    ({"json": {"record_id": 5}}, 'The parameter is invalid: body /record_id: 5 is not of type "string"'),
    ({"content": b"{", "headers": JSON}, "property name enclosed in double quotes, line 1 column 2"),
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
]


@pytest.mark.parametrize(("wrong", "why"), WHY, ids=range(len(WHY)))
def test_an_error_explains_what_is_wrong(
    mock: httpx.Client, stranger: httpx.Client, wrong: dict[str, Any], why: str
) -> None:
    client = mock if {"json", "content"} & wrong.keys() else stranger
    refused = client.post(SCRIPT, **wrong)
    assert why in error(refused)[2]
    assert "s3cret" not in refused.text


def test_an_unknown_path_is_explained_by_those_that_exist(mock: httpx.Client) -> None:
    says = "The API does not exist: POST /nope; the mock has POST /v2/{project_id}/script-exec"
    assert error(mock.post("/nope"))[2].startswith(says)


def test_a_signature_of_another_secret_key_is_shown_the_canonical_request(stranger: httpx.Client) -> None:
    refused = stranger.put(ENGINE, auth=AkSkAuth("mock-ak", "wrong"), json=RETRY)
    shown = refused.json()["error_msg"].split("(line ends shown as |) ")[1].split(";", 1)[0].split("|")
    host = stranger.base_url.netloc.decode()
    assert shown[:5] == ["PUT", f"{ENGINE}/", "", "content-type:application/json", f"host:{host}"]


# --- Below HTTP ---------------------------------------------------------------------------------------------


def test_what_is_not_http_is_refused_and_the_mock_lives_on(mock: httpx.Client) -> None:
    with connected(str(mock.base_url)) as sock:
        sock.sendall(b"\x16\x03\x01 TLS to a plain port\r\n\r\n")
        head, _, body = sock.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\ncontent-type: application/json\r\n" in head
    assert json.loads(body)["error_code"] == "APIGW.0201"
    assert mock.get("/_mock/health").status_code == 200


def test_a_caller_that_hangs_up_half_way_changes_nothing(mock: httpx.Client) -> None:
    with connected(str(mock.base_url)) as sock:
        content_type = "Content-Type: application/json"
        send_head(sock, "PUT", ENGINE, "Content-Length: 19", content_type, "X-Auth-Token: mock-token")
        sock.sendall(b'{"action":')
    assert mock.put(ENGINE, json=RETRY).status_code == 200


# --- A spec that was edited ---------------------------------------------------------------------------------

RETRY_PATH = "/v2/{project_id}/script-executions/retry"


def edited(folder: Path, edit: Callable[[Any], None]) -> Contract:
    spec = json.loads(json.dumps(CONTRACT.document))
    edit(spec)
    file = folder / "openapi.yaml"
    file.write_text(json.dumps(spec), encoding="utf-8")  # which is YAML, too
    return Contract.load(file)


def with_stop(folder: Path, status: str, media_type: object) -> Contract:
    """A spec with one operation more, for which the mock has no handler."""

    def edit(spec: Any) -> None:
        script = spec["paths"][RETRY_PATH]
        responses = {status: {"description": "", "content": {"application/json": media_type}}}
        post = {**script["post"], "operationId": "StopScriptExecution", "responses": responses}
        stop = {"parameters": script["parameters"], "post": post}
        spec["paths"]["/v2/{project_id}/script-executions/stop"] = stop

    return edited(folder, edit)


def test_an_operation_without_handler_is_checked_and_responded_from_its_examples(tmp_path: Path) -> None:
    contract = with_stop(tmp_path, "202", {"examples": {"done": {"value": {"task_id": TASK}}}})
    path = "/v2/any/script-executions/stop"
    with running(contract) as url, plain_client(url) as client:
        response = client.post(path, json={"record_id": RECORD})
        assert (response.status_code, response.json()) == (202, {"task_id": TASK})
        assert error(client.post(path, json={"record_id": 5}))[:2] == (400, "WKS.00211102")
        health = {"name": "huaweicloud-retry-mock", "version": contract.version, "sha256": contract.sha256}
        assert client.get("/_mock/health").json() == health


NO_EXAMPLE = "StopScriptExecution has no example for status 200; it has: none"
WRONG_EXAMPLE = 'the one for 200 does not match its schema: body: [1] is not of type "object"'


@pytest.mark.parametrize(
    ("media_type", "why"), [({}, NO_EXAMPLE), ({"schema": {"type": "object"}, "example": [1]}, WRONG_EXAMPLE)]
)
def test_without_a_good_example_the_spec_is_named_as_what_is_at_fault(
    tmp_path: Path, media_type: dict[str, object], why: str
) -> None:
    with running(with_stop(tmp_path, "200", media_type)) as url, plain_client(url) as client:
        response = client.post("/v2/any/script-executions/stop", json={})
    says = f"Unexpected error: the response of StopScriptExecution is the spec's example, but {why}"
    assert error(response) == (500, "APIGW.0201", says)


def test_an_operation_without_security_is_open(tmp_path: Path) -> None:
    contract = edited(tmp_path, lambda spec: spec["paths"][RETRY_PATH]["post"].update(security=[]))
    with running(contract) as url, plain_client(url, {}) as client:
        assert client.post(SCRIPT, json={"task_id": TASK}).status_code == 200


def test_an_internal_error_is_a_500_in_the_shape_of_the_spec_with_its_traceback_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def without_engine_id(spec: Any) -> None:  # which the handler counts on
        item = spec["paths"].pop("/v2/{project_id}/enginemgr/engines/{engine_id}/actions")
        spec["paths"]["/v2/{project_id}/enginemgr/actions"] = {**item, "parameters": item["parameters"][:1]}

    contract = edited(tmp_path, without_engine_id)
    with running(contract) as url, plain_client(url) as client:
        response = client.put("/v2/demo-project/enginemgr/actions?q=s3cret", json=RETRY)
        assert client.get("/_mock/health").status_code == 200
    says = "Unexpected error: internal error of the mock; see its stderr."
    assert error(response) == (500, "APIGW.0201", says)
    (record,) = caplog.records
    where = f"PUT '/v2/demo-project/enginemgr/actions', request {response.headers['X-Request-Id']}"
    assert record.getMessage() == f"internal error in {where}"
    assert "KeyError: 'engine_id'" in caplog.text
    assert not re.search("s3cret|mock-token", caplog.text)


# --- In a thread --------------------------------------------------------------------------------------------


def test_it_stops_with_its_block_even_if_that_fails_and_although_callers_are_still_connected() -> None:
    before, sockets = threading.active_count(), list[socket.socket]()
    with suppress(ZeroDivisionError), running(CONTRACT) as url, plain_client(url) as client:
        sockets += [connected(url), connected(url)]
        send_head(sockets[1], "PUT", ENGINE, "Content-Length: 19", "X-Auth-Token: mock-token")
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
    options = "--quiet", "--no-admin"
    with ExitStack() as connections, process(*options, stop=signal.SIGINT) as (url, lines):
        client = connections.enter_context(plain_client(url, {"X-Auth-Token": "s3cret"}))
        assert client.put(ENGINE, json=RETRY, headers=TOKEN).status_code == 200
        assert client.post(IAM, json=token_request()).status_code == 201
        client.put(f"{ENGINE}?token=s3cret", content=b"s3cret")
        client.put(ENGINE, headers={"Authorization": "SDK-HMAC-SHA256 Signature=s3cret"}, content=b"s3cret")
        with connected(url) as sock:
            sock.sendall(b"s3cret\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 400"
        for page, methods in PAGES.items():
            for method in methods.split(", "):
                assert client.request(method, f"/_mock/{page}").status_code == 404
        half = connections.enter_context(connected(url))
        send_head(half, "PUT", ENGINE, "Content-Length: 19", "X-Auth-Token: mock-token")
        assert client.get("/docs").status_code == 200  # by now the mock waits for the rest
    assert lines == []


def test_why_it_cannot_start_is_reported_in_one_line(
    mock: httpx.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "state.yaml").write_bytes(b"projects: {p: {name: \xff}}")
    port, hint = mock.base_url.port, "; choose another --port, or 0 for a free one\n"
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


WRONG_OPTIONS = [
    ("--port", "is not a port: give 0 to 65535", ["65536", "-1", "http"]),
    ("--delay", "is not a number of seconds from 0 to 3600", ["-1", "3601", "nan", "soon"]),
    ("--allow-host", "is not a host name, such as mock.test", ["", "a:80", "http://a", "*", "a b", "."]),
    ("--cors", "is not an origin, such as http://localhost:3000", ["*", "a:3000", "http://a/", "null"]),
]


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [(option, value, says) for option, says, values in WRONG_OPTIONS for value in values],
)
def test_an_invalid_option_is_refused(
    option: str, value: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([f"{option}={value}"])
    assert f"argument {option}: {value!r} {says}\n" in capsys.readouterr().err


def test_a_broken_spec_is_reported_in_one_line(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src")
    broken = SPEC.read_text(encoding="utf-8").replace("\npaths:\n", "\npaths: [\n")
    (tmp_path / "openapi.yaml").write_text(broken, encoding="utf-8")
    command, environment = [*COMMAND, "--port", "0"], {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
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
