"""The mock server, on real sockets: what it responds with, what it refuses and in which words, how it runs and stops.

Each response to an operation of the spec is checked against the spec, by the client that all tests use.
"""

import json
import os
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
from tests.mocks import (
    COMMAND,
    CONTRACT,
    ENGINE,
    ENGINE_ID,
    JSON,
    RECORD,
    RETRY,
    SCRIPT,
    TASK,
    client_for,
    connected,
    error,
    plain_client,
    process,
    send_head,
)

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "openapi.yaml"
BOTH = (("PUT", ENGINE), ("POST", SCRIPT))
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def clients() -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """One that sends the token of a mock, and one that does not."""
    with running(CONTRACT) as url, client_for(url) as known, client_for(url, {}) as stranger:
        yield known, stranger


@pytest.fixture
def mock(clients: tuple[httpx.Client, httpx.Client]) -> httpx.Client:
    """Sends the right token; the state is fresh."""
    clients[0].post("/_mock/reset")
    return clients[0]


@pytest.fixture
def stranger(clients: tuple[httpx.Client, httpx.Client]) -> httpx.Client:
    """Sends no token; the state is fresh, for resetting it needs none."""
    reset = clients[1].post("/_mock/reset")
    assert (reset.status_code, reset.content) == (204, b"")
    return clients[1]


# --- Both operations --------------------------------------------------------------------------------------------------


NO_TASK = f"The script execution task does not exist; the mock has {TASK}."
NOTHING = "There is nothing to retry: give record_id or task_id."


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"record_id": TASK}, f"The script execution record does not exist; the mock has {RECORD}."),
        ({"task_id": RECORD}, NO_TASK),
        ({"task_id": RECORD, "record_id": RECORD}, NO_TASK),
        (
            {"task_id": TASK, "record_id": "r"},
            f"The script execution record is not in task {TASK}, which has {RECORD}.",
        ),
        ({}, NOTHING),
        ({"recordId": RECORD}, NOTHING),
    ],
)
def test_an_unknown_record_or_task_or_none(mock: httpx.Client, body: dict[str, str], says: str) -> None:
    assert error(mock.post(SCRIPT, json=body)) == (404, "WKS.00211902", says)
    assert mock.post(SCRIPT, json={"task_id": TASK}).status_code == 200  # so nothing was run


def test_health_names_the_spec_and_each_response_has_a_request_id_of_its_own(stranger: httpx.Client) -> None:
    answers = [stranger.get("/_mock/health") for _ in range(10)]
    health = {"name": "huaweicloud-retry-mock", "version": CONTRACT.version, "sha256": CONTRACT.sha256}
    assert all(answer.json() == health for answer in answers)
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 10


# --- Credentials ------------------------------------------------------------------------------------------------------

WRONG = "the X-Auth-Token is wrong"
FORM = "the Authorization header must be SDK-HMAC-SHA256 Access=…, SignedHeaders=…, Signature=…"


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "there is no X-Auth-Token and no signature"),
        ({"X-Auth-Token": ""}, WRONG),
        ({"X-Auth-Token": "s3cret"}, WRONG),
        ({"X-Auth-Token": "Mock-Token"}, WRONG),
        ({"Authorization": "Bearer s3cret"}, FORM),
    ],
)
def test_without_the_right_credentials(stranger: httpx.Client, headers: dict[str, str], why: str) -> None:
    for method, path in BOTH:
        refused = stranger.request(method, path, headers=headers, content=b"not even looked at")
        accepted = "the mock accepts the token mock-token, or a signature with mock-ak and mock-sk"
        says = f"Incorrect IAM authentication information: {why}; {accepted}"
        assert error(refused) == (401, "APIGW.0301", says)
        assert refused.json()["request_id"] == refused.headers["X-Request-Id"]
        assert "s3cret" not in refused.text


class Tampered(AkSkAuth):
    """Signs with the mock's keys, and then changes a header."""

    def __init__(self, header: str, change: Callable[[str], str]) -> None:
        super().__init__("mock-ak", "mock-sk", security_token="s3cret")
        self._header = header
        self._change = change

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        signed = next(super().auth_flow(request))
        signed.headers[self._header] = self._change(signed.headers[self._header])
        yield signed


@pytest.mark.parametrize(
    ("why", "auth"),
    [
        ("the Authorization header must be", Tampered("Authorization", lambda value: value[:-1] + "g")),
        (
            "the access key is unknown",
            Tampered("Authorization", lambda value: value.replace("mock-ak", "other")),
        ),
        (
            "does not match the canonical request",
            Tampered("Authorization", lambda value: value[:-4] + "0000"),
        ),
        ("not sent: x-absent", Tampered("Authorization", lambda value: value.replace("host", "x-absent"))),
        (
            "X-Sdk-Date must be signed",
            Tampered("Authorization", lambda value: value.replace(";x-sdk-date", "")),
        ),
        ("does not match the canonical request", Tampered("X-Security-Token", lambda _: "s3cret2")),
        ("X-Sdk-Date must look like", Tampered("X-Sdk-Date", lambda _: "yesterday")),
        ("the signature has expired", Tampered("X-Sdk-Date", lambda _: "20200608T023900Z")),
        ("the signature has expired", Tampered("X-Sdk-Date", lambda _: "29990608T023900Z")),
    ],
    ids=["form", "key", "signature", "absent", "unsigned", "token", "date", "past", "future"],
)
def test_a_wrong_signature_is_told_why(stranger: httpx.Client, why: str, auth: httpx.Auth) -> None:
    refused = stranger.put(ENGINE, auth=auth, json=RETRY)
    assert error(refused)[:2] == (401, "APIGW.0301")
    assert why in refused.json()["error_msg"]
    assert "s3cret" not in refused.text


def test_a_signature_of_another_secret_key_is_shown_the_canonical_request(stranger: httpx.Client) -> None:
    refused = stranger.put(ENGINE, auth=AkSkAuth("mock-ak", "wrong"), json=RETRY)
    shown = refused.json()["error_msg"].split("(line ends shown as |) ")[1].split(";", 1)[0].split("|")
    assert shown[:3] == ["PUT", f"{ENGINE}/", ""]
    assert shown[3:5] == ["content-type:application/json", f"host:{stranger.base_url.netloc.decode()}"]


# --- What the gateway refuses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_another_method_is_refused_with_those_allowed(stranger: httpx.Client, method: str) -> None:
    script, engine = stranger.request(method, SCRIPT), stranger.request(method, ENGINE)
    assert (script.status_code, script.headers["Allow"]) == (405, "POST")
    assert (engine.status_code, engine.headers["Allow"]) == (405, "PUT")
    if method == "HEAD":
        assert script.content == engine.content == b""
        return
    says = (
        f"The method specified in the request is not allowed for this resource: {method}; the path has POST."
    )
    assert error(script)[1:] == ("WKS.00000405", says)
    says = (
        f"The method specified in the request is not allowed for this resource: {method}; the path has PUT."
    )
    assert error(engine)[1:] == ("APIGW.0101", says)


@pytest.mark.parametrize(
    "path", ["/", "/nope", f"{SCRIPT}/", f"/{SCRIPT}", "/v1" + SCRIPT[3:], "/_mock", "/docs/", "/%0A"]
)
def test_an_unknown_path(stranger: httpx.Client, path: str) -> None:
    refused = stranger.post(stranger.base_url.copy_with(raw_path=path.encode()))
    status, code, says = error(refused)
    assert (status, code) == (404, "APIGW.0101")
    assert says.startswith(
        f"The API does not exist: POST {path}; the mock has POST /v2/{{project_id}}/script-exec"
    )
    assert refused.json()["request_id"] == refused.headers["X-Request-Id"]


# --- What breaks the contract -----------------------------------------------------------------------------------------

TEXT, GBK = {"Content-Type": "text/plain"}, {"Content-Type": "application/json;charset=GBK"}


@pytest.mark.parametrize(
    ("headers", "body", "says"),
    [
        (JSON, b"", "body: is empty; application/json is needed"),
        (JSON, b"{", "body: is not JSON: Expecting property name enclosed in double quotes, line 1 column 2"),
        (JSON, b"\xff", "body: is not UTF-8: invalid start byte at byte 0"),
        (JSON, b"[NaN]", "body: is not JSON: NaN is no number"),
        (JSON, b"[" * MIB, "body: is nested too deeply"),
        ({}, b"{}", "header Content-Type: is missing; the body must be application/json"),
        (TEXT, b"{}", "header Content-Type: 'text/plain' is invalid; the body must be application/json"),
        (GBK, b"{}", "header Content-Type: the charset is invalid; JSON is UTF-8"),
    ],
    ids=["empty", "cut short", "no UTF-8", "NaN", "deep", "no type", "text", "charset"],
)
def test_what_does_not_parse_is_refused_in_the_gateways_words(
    mock: httpx.Client, headers: dict[str, str], body: bytes, says: str
) -> None:
    for method, path in BOTH:
        refused = mock.request(method, path, headers=headers, content=body)
        assert error(refused) == (400, "APIGW.0201", f"Bad request: {says}")
        assert refused.json()["request_id"] == refused.headers["X-Request-Id"]


def test_what_breaks_the_schema_is_refused_in_the_words_of_the_service_if_it_has_any(
    mock: httpx.Client,
) -> None:
    script = mock.post(SCRIPT, json={"record_id": [{"record_id": "r"}], "task_id": ""})
    says = (
        'The parameter is invalid: body /record_id: [{"record_id":"r"}] is not of type "string"; '
        'body /task_id: "" is shorter than 1 character'
    )
    assert error(script) == (400, "WKS.00211102", says)
    engine = mock.put(ENGINE, json={"action": "Stop"})
    assert error(engine) == (
        400,
        "APIGW.0201",
        'The parameter is invalid: body /action: "Retry" was expected',
    )


ENTERPRISE = "X-Enterprise-Project-ID"
TWICE = [(ENTERPRISE, "a" * 40), (ENTERPRISE, "b" * 40)]  # a header sent twice counts as one with a comma


@pytest.mark.parametrize(
    ("engine_id", "headers", "says"),
    [
        ("", {}, "path engine_id: is empty"),
        (ENGINE_ID, {ENTERPRISE: ""}, f'header {ENTERPRISE}: "" is shorter than 1 character'),
        (ENGINE_ID, TWICE, f'header {ENTERPRISE}: "{"a" * 40}, {"b" * 40}" is longer than 64 characters'),
    ],
)
def test_invalid_parameters(mock: httpx.Client, engine_id: str, headers: Any, says: str) -> None:
    refused = mock.put(ENGINE.replace(ENGINE_ID, engine_id), headers=headers, json=RETRY)
    assert error(refused) == (400, "APIGW.0201", f"The parameter is invalid: {says}")


# --- Below HTTP -------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_an_offer_of_another_protocol_is_passed_over(
    mock: httpx.Client, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As Java's HttpClient makes one with every request, unless it is told not to."""
    assert (
        mock.put(ENGINE, json=RETRY, headers={"Connection": "Upgrade", "Upgrade": protocol}).status_code
        == 200
    )
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


# --- A spec that was edited -------------------------------------------------------------------------------------------

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
        spec["paths"]["/v2/{project_id}/script-executions/stop"] = {
            "parameters": script["parameters"],
            "post": post,
        }

    return edited(folder, edit)


def test_an_operation_without_handler_is_checked_and_answered_from_its_examples(tmp_path: Path) -> None:
    contract = with_stop(tmp_path, "202", {"examples": {"done": {"value": {"task_id": TASK}}}})
    path = "/v2/any/script-executions/stop"
    with (
        running(contract) as url,
        client_for(url, contract=contract) as client,
        plain_client(url) as unchecked,
    ):
        answer = client.post(path, json={"record_id": RECORD})
        assert (answer.status_code, answer.json()) == (202, {"task_id": TASK})
        refused = unchecked.post(
            path, json={"record_id": 5}
        )  # with a status that this operation does not list
        assert error(refused)[:2] == (400, "WKS.00211102")
        assert client.get("/_mock/health").json()["sha256"] == contract.sha256


NO_EXAMPLE = "StopScriptExecution has no example for status 200; it has: none"
WRONG_EXAMPLE = 'the one for 200 does not match its schema: body: [1] is not of type "object"'


@pytest.mark.parametrize(
    ("media_type", "why"), [({}, NO_EXAMPLE), ({"schema": {"type": "object"}, "example": [1]}, WRONG_EXAMPLE)]
)
def test_without_a_good_example_the_spec_is_named_as_what_is_at_fault(
    tmp_path: Path, media_type: dict[str, object], why: str
) -> None:
    with running(with_stop(tmp_path, "200", media_type)) as url, plain_client(url) as client:
        answer = client.post("/v2/any/script-executions/stop", json={})
    says = f"Unexpected error: the response of StopScriptExecution is the spec's example, but {why}"
    assert error(answer) == (500, "APIGW.0201", says)


def test_an_operation_without_security_is_open(tmp_path: Path) -> None:
    contract = edited(tmp_path, lambda spec: spec["paths"][RETRY_PATH]["post"].update(security=[]))
    with running(contract) as url, client_for(url, {}, contract) as client:
        assert client.post(SCRIPT, json={"task_id": TASK}).status_code == 200


def test_an_internal_error_is_a_500_in_the_shape_of_the_spec_with_its_traceback_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def without_engine_id(spec: Any) -> None:  # which the handler counts on
        item = spec["paths"].pop("/v2/{project_id}/enginemgr/engines/{engine_id}/actions")
        spec["paths"]["/v2/{project_id}/enginemgr/actions"] = {**item, "parameters": item["parameters"][:1]}

    contract = edited(tmp_path, without_engine_id)
    with running(contract) as url, client_for(url, contract=contract) as client:
        answer = client.put("/v2/demo-project/enginemgr/actions?q=s3cret", json=RETRY)
        assert client.get("/_mock/health").status_code == 200
    says = "Unexpected error: internal error of the mock; see its stderr."
    assert error(answer) == (500, "APIGW.0201", says)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"internal error in PUT '/v2/demo-project/enginemgr/actions', request {answer.headers['X-Request-Id']}"
    )
    assert "KeyError: 'engine_id'" in caplog.text
    assert "s3cret" not in caplog.text
    assert "mock-token" not in caplog.text


# --- In a thread ------------------------------------------------------------------------------------------------------


def test_two_mocks_have_an_address_and_a_state_each() -> None:
    with running(CONTRACT) as one, running() as two:
        assert one != two
        for url in (one, two):
            with client_for(url) as client:
                assert client.put(ENGINE, json=RETRY).status_code == 200


def test_it_stops_with_its_block_even_if_that_fails_and_although_callers_are_still_connected() -> None:
    before = threading.active_count()
    open_sockets: list[socket.socket] = []
    urls: list[str] = []

    def fail() -> None:
        with running(CONTRACT) as url, client_for(url) as client:
            urls.append(url)
            open_sockets.extend([connected(url), connected(url)])
            send_head(open_sockets[1], "PUT", ENGINE, "Content-Length: 19", "X-Auth-Token: mock-token")
            client.get("/_mock/health")  # by now the mock waits for the rest of the other
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert threading.active_count() == before
    for sock in open_sockets:
        with sock, suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        connected(urls[0])


@pytest.mark.parametrize(("host", "start"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_an_address_as_a_url(host: str, start: str) -> None:
    try:
        sock = listen(host, 0)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with sock:
        assert base_url(sock) == f"{start}{sock.getsockname()[1]}"
        assert sock.proto == socket.IPPROTO_TCP  # or asyncio leaves Nagle's algorithm on: 40 ms a response


# --- As a command -----------------------------------------------------------------------------------------------------


def test_ctrl_c_stops_the_process_although_callers_are_connected_and_no_secret_was_written() -> None:
    with ExitStack() as connections, process("--quiet", stop=signal.SIGINT) as (url, lines):
        client = connections.enter_context(client_for(url, {"X-Auth-Token": "s3cret"}))
        assert client.put(ENGINE, json=RETRY, headers={"X-Auth-Token": "mock-token"}).status_code == 200
        client.put(f"{ENGINE}?token=s3cret", content=b"s3cret")
        client.put(ENGINE, headers={"Authorization": "SDK-HMAC-SHA256 Signature=s3cret"}, content=b"s3cret")
        with connected(url) as sock:
            sock.sendall(b"s3cret\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 400"
        half = connections.enter_context(connected(url))
        send_head(half, "PUT", ENGINE, "Content-Length: 19", "X-Auth-Token: mock-token")
        client.get("/_mock/health")  # by now the mock waits for the rest
    assert lines == []


def test_sigterm_right_after_the_line_stops_it_as_well() -> None:
    with process("--quiet") as (_, lines):
        pass
    assert lines == []


def test_why_it_cannot_listen_is_told_in_one_line(
    mock: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    start, port = "python -m huaweicloud_retry.mock: cannot listen on", str(mock.base_url.port)
    hint = "; choose another --port, or 0 for a free one\n"
    assert main(["--quiet", "--port", port]) == 2
    assert capsys.readouterr() == ("", f"{start} 127.0.0.1 port {port}: Address already in use{hint}")
    assert main(["--quiet", "--host", "192.0.2.1", "--port", "0"]) == 2  # of another machine
    assert capsys.readouterr() == ("", f"{start} 192.0.2.1 port 0: Cannot assign requested address{hint}")


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_what_is_no_port(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([f"--port={port}"])
    assert f"argument --port: {port!r} is not a port" in capsys.readouterr().err


def test_a_broken_spec_is_told_in_one_line(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src")
    broken = SPEC.read_text(encoding="utf-8").replace("\npaths:\n", "\npaths: [\n")
    (tmp_path / "openapi.yaml").write_text(broken, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    ran = subprocess.run(
        [*COMMAND, "--port", "0"], capture_output=True, text=True, check=False, env=environment
    )
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert ran.stderr.startswith(
        f"python -m huaweicloud_retry.mock: {tmp_path}/openapi.yaml: is not YAML: line "
    )


# Runs the command and, as a test would, takes `running` from its package: each time as if a package was not installed.
WITHOUT = """
import runpy, sys

for name in sys.argv[1:]:
    for loaded in [module for module in sys.modules if module.startswith("huaweicloud_retry")]:
        del sys.modules[loaded]
    sys.modules.pop(name, None)
    sys.modules[name] = None
    sys.argv[1:] = ["--port", "0"]
    try:
        runpy.run_module("huaweicloud_retry.mock", run_name="__main__")
    except SystemExit as end:
        print(end.code)
    try:
        from huaweicloud_retry.mock import running
    except ModuleNotFoundError as error:
        print(error.name, error, file=sys.stderr)
    del sys.modules[name]
sys.argv[1:] = ["--help"]
sys.modules["jsonschema_rs"] = None
runpy.run_module("huaweicloud_retry.mock", run_name="__main__")
"""


def test_without_the_extra_one_line_says_what_to_install_and_help_is_given() -> None:
    names = ["httptools", "jsonschema_rs", "yaml", "mkdocs_swagger_ui_tag"]
    command = [sys.executable, "-W", "error", "-c", WITHOUT, *names]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    expected: list[str] = []
    for name in names:
        says = f"import of {name} halted; None in sys.modules; pip install 'huaweicloud-retry[mock]'"
        expected += [f"python -m huaweicloud_retry.mock: {says}", f"{name} {says}"]
    assert ran.stderr.splitlines() == expected
    assert ran.returncode == 0
    assert ran.stdout.startswith("2\n" * len(names) + "usage: python -m huaweicloud_retry.mock ")
    assert "--port" in ran.stdout
