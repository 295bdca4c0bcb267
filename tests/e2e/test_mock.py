"""The mock server, on real sockets: what it answers, what it refuses and in which words, how it is run and stopped.

Whatever it answers to an operation of the spec is held to the spec here, by the client that all tests use.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from huaweicloud_retry import AkSkAuth
from huaweicloud_retry.contract import Contract, WrongMethod
from huaweicloud_retry.mock import running
from huaweicloud_retry.mock.server import base_url, listen

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "openapi.yaml"
CONTRACT = Contract.load()
ENGINE = "/v2/demo-project/enginemgr/engines/4a1bc63d-4719-4bd3-b1ad-5ee590b05e87/actions"
SCRIPT = "/v2/demo-project/script-executions/retry"
TASK = "0000000059071dbc01591661d3990019"
RECORD = "0000000059071dbc01591661d3990020"
RETRY = {"action": "Retry"}
TOKEN = {"X-Auth-Token": "mock-token"}
JSON = {"Content-Type": "application/json"}
MIB = 1024 * 1024


def hold_to_the_contract(response: httpx.Response, contract: Contract = CONTRACT) -> None:
    response.read()
    request = response.request
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["X-Request-Id"])
    found = contract.match(request.method, request.url.raw_path.partition(b"?")[0].decode())
    if found is None or request.method == "HEAD":
        return
    for operation in found.operations if isinstance(found, WrongMethod) else (found.operation,):
        assert operation.check_response(response.status_code, response.headers, response.content) == []


def client_for(url: str, contract: Contract = CONTRACT, headers: dict[str, str] = TOKEN) -> httpx.Client:
    def check(response: httpx.Response) -> None:
        hold_to_the_contract(response, contract)

    return httpx.Client(base_url=url, headers=headers, event_hooks={"response": [check]}, trust_env=False)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running() as url:
        yield url


@pytest.fixture
def mock(url: str) -> Iterator[httpx.Client]:
    """Sends the right token; the state is fresh."""
    with client_for(url) as client:
        client.post("/_mock/reset")
        yield client


@pytest.fixture
def stranger(url: str) -> Iterator[httpx.Client]:
    """Sends no token."""
    with client_for(url, headers={}) as client:
        yield client


def error(response: httpx.Response) -> tuple[int, str, str]:
    return response.status_code, response.json()["error_code"], response.json()["error_msg"]


# --- RetryEngine ------------------------------------------------------------------------------------------------------


def test_the_failed_job_of_an_engine_is_retried(mock: httpx.Client) -> None:
    answer = mock.put(ENGINE, json=RETRY)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {"id": "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87", "name": "cse-gve7lg", "jobId": 18638}


def test_then_the_job_runs_and_retrying_it_again_is_refused(mock: httpx.Client) -> None:
    mock.put(ENGINE, json=RETRY)
    refused = mock.put(ENGINE, json=RETRY)
    assert refused.status_code == 400
    assert refused.json() == {
        "error_code": "SVCSTG.00501149",
        "error_msg": "The engine has no failed job to retry: job 18638 is Executing.",
        "detail": "engine_id",
    }


@pytest.mark.parametrize("engine_id", ["nope", "..%2F..", "%E5%BC%95"])
def test_an_unknown_engine(mock: httpx.Client, engine_id: str) -> None:
    refused = mock.put(f"/v2/demo-project/enginemgr/engines/{engine_id}/actions", json=RETRY)
    assert refused.status_code == 400
    assert refused.json() == {
        "error_code": "SVCSTG.00501116",
        "error_msg": "Engine instance not found; the mock has 4a1bc63d-4719-4bd3-b1ad-5ee590b05e87.",
        "detail": "engine_id",
    }


def test_of_simultaneous_retries_exactly_one_is_accepted(url: str, mock: httpx.Client) -> None:
    together = threading.Barrier(16)

    def retry(_: int) -> int:
        with client_for(url) as client:
            client.get("/_mock/health")  # so that each has its connection open
            together.wait()
            return client.put(ENGINE, json=RETRY).status_code

    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(retry, range(16))) == [200] + [400] * 15


# --- RetryScriptExecution ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{"record_id": RECORD}, {"task_id": TASK}, {"record_id": RECORD, "task_id": TASK}])
def test_a_failed_script_is_retried_by_record_or_by_task_once(mock: httpx.Client, body: dict[str, str]) -> None:
    accepted = mock.post(SCRIPT, json=body)
    assert (accepted.status_code, accepted.json()) == (200, {"task_id": TASK})
    for again in ({"record_id": RECORD}, {"task_id": TASK}):
        refused = mock.post(SCRIPT, json=again)
        assert refused.status_code == 400
        assert refused.json() == {
            "error_code": "WKS.00211102",
            "error_msg": f"The parameter is invalid: nothing to retry: record {RECORD} is RUNNING.",
        }


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"record_id": TASK}, f"The script execution record does not exist; the mock has {RECORD}."),
        ({"task_id": RECORD}, f"The script execution task does not exist; the mock has {TASK}."),
        ({"task_id": RECORD, "record_id": RECORD}, f"The script execution task does not exist; the mock has {TASK}."),
        (
            {"task_id": TASK, "record_id": "r"},
            f"The script execution record is not of task {TASK}, which has {RECORD}.",
        ),
        ({}, "There is nothing to retry: give record_id or task_id."),
        ({"recordId": RECORD}, "There is nothing to retry: give record_id or task_id."),
    ],
)
def test_an_unknown_record_or_task_or_none(mock: httpx.Client, body: dict[str, str], says: str) -> None:
    assert error(mock.post(SCRIPT, json=body)) == (404, "WKS.00211902", says)
    assert mock.post(SCRIPT, json={"task_id": TASK}).status_code == 200  # so nothing was run


# --- Projects, reset, health ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("project", ["nope", "demo%2Fproject", "DEMO-PROJECT"])
def test_an_unknown_project_is_unavailable_in_the_gateways_words(mock: httpx.Client, project: str) -> None:
    says = "The project is unavailable; the mock has demo-project."
    engine = mock.put(ENGINE.replace("demo-project", project), json=RETRY)
    script = mock.post(SCRIPT.replace("demo-project", project), json={"record_id": RECORD})
    assert error(engine) == error(script) == (403, "APIGW.0310", says)
    assert engine.json()["request_id"] == engine.headers["X-Request-Id"]


def test_reset_makes_everything_failed_again(mock: httpx.Client, stranger: httpx.Client) -> None:
    for _ in range(2):
        assert mock.put(ENGINE, json=RETRY).status_code == 200
        assert mock.post(SCRIPT, json={"task_id": TASK}).status_code == 200
        reset = stranger.post("/_mock/reset")
        assert (reset.status_code, reset.content) == (204, b"")


def test_health_names_the_spec_that_is_served(stranger: httpx.Client) -> None:
    assert stranger.get("/_mock/health").json() == {
        "name": "huaweicloud-retry-mock",
        "version": CONTRACT.version,
        "sha256": CONTRACT.sha256,
    }


@pytest.mark.parametrize(("method", "path", "allowed"), [("POST", "health", "GET"), ("GET", "reset", "POST")])
def test_the_mocks_own_pages_have_one_method_each(mock: httpx.Client, method: str, path: str, allowed: str) -> None:
    refused = mock.request(method, f"/_mock/{path}")
    assert (refused.status_code, refused.headers["Allow"]) == (405, allowed)


# --- What the gateway refuses -----------------------------------------------------------------------------------------


CREDENTIALS = "the mock takes the token mock-token, or a signature with mock-ak and mock-sk"


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "there is no X-Auth-Token and no signature"),
        ({"X-Auth-Token": ""}, "the X-Auth-Token is wrong"),
        ({"X-Auth-Token": "s3cret"}, "the X-Auth-Token is wrong"),
        ({"X-Auth-Token": "Mock-Token"}, "the X-Auth-Token is wrong"),
        (
            {"Authorization": "Bearer s3cret"},
            "the Authorization header must read SDK-HMAC-SHA256 Access=…, SignedHeaders=…, Signature=…",
        ),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("PUT", ENGINE), ("POST", SCRIPT)])
def test_without_the_right_credentials(
    stranger: httpx.Client, method: str, path: str, headers: dict[str, str], why: str
) -> None:
    refused = stranger.request(method, path, headers=headers, content=b"not even looked at")
    says = f"Incorrect IAM authentication information: {why}; {CREDENTIALS}"
    assert error(refused) == (401, "APIGW.0301", says)
    assert refused.json()["request_id"] == refused.headers["X-Request-Id"]
    assert "s3cret" not in refused.text


@pytest.mark.parametrize(
    "auth",
    [
        AkSkAuth("mock-ak", "mock-sk"),
        AkSkAuth("mock-ak", "mock-sk", project_id="demo-project", security_token="tok"),
    ],
)
@pytest.mark.parametrize("path", [ENGINE, f"{ENGINE}?a=b%20c&A=%E4%B8%80"])
def test_a_right_signature_will_do(mock: httpx.Client, stranger: httpx.Client, auth: httpx.Auth, path: str) -> None:
    mock.post("/_mock/reset")
    assert stranger.put(path, auth=auth, json=RETRY, headers={"X-Enterprise-Project-ID": "0"}).status_code == 200


def test_a_signature_covers_an_encoded_slash_as_it_is_sent(stranger: httpx.Client) -> None:
    path = ENGINE.replace("4a1bc63d", "a%2Fb")
    assert stranger.put(path, auth=AkSkAuth("mock-ak", "mock-sk"), json=RETRY).json()["error_code"] == "SVCSTG.00501116"


class Tampered(AkSkAuth):
    """Signs with the mock's keys, and then changes what is sent."""

    def __init__(self, tamper: Callable[[httpx.Request], None]) -> None:
        super().__init__("mock-ak", "mock-sk", security_token="s3cret")
        self._tamper = tamper

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        flow = super().auth_flow(request)
        signed = next(flow)
        self._tamper(signed)
        yield signed


def set_header(name: str, change: Callable[[str], str]) -> Callable[[httpx.Request], None]:
    def tamper(request: httpx.Request) -> None:
        request.headers[name] = change(request.headers.get(name, ""))

    return tamper


@pytest.mark.parametrize(
    ("tamper", "why"),
    [
        (set_header("Authorization", lambda value: value[:-1] + "g"), "the Authorization header must read"),
        (set_header("Authorization", lambda value: value.replace("mock-ak", "other")), "the access key is unknown"),
        (set_header("Authorization", lambda value: value[:-4] + "0000"), "is not that of the canonical request"),
        (set_header("Authorization", lambda value: value.replace("host", "x-absent")), "not sent: x-absent"),
        (set_header("Authorization", lambda value: value.replace("host;", "")), "Host and X-Sdk-Date must be signed"),
        (set_header("X-Security-Token", lambda _: "s3cret2"), "is not that of the canonical request"),
        (set_header("X-Sdk-Date", lambda _: "yesterday"), "X-Sdk-Date must read like"),
        (set_header("X-Sdk-Date", lambda _: "20200608T023900Z"), "the signature has expired"),
        (set_header("X-Sdk-Date", lambda _: "29990608T023900Z"), "the signature has expired"),
    ],
)
def test_a_wrong_signature_is_told_why(
    stranger: httpx.Client, tamper: Callable[[httpx.Request], None], why: str
) -> None:
    refused = stranger.put(ENGINE, auth=Tampered(tamper), json=RETRY)
    assert error(refused)[:2] == (401, "APIGW.0301")
    assert why in refused.json()["error_msg"]
    assert "s3cret" not in refused.text


def test_a_signature_of_another_secret_key_is_shown_the_canonical_request(stranger: httpx.Client) -> None:
    refused = stranger.put(ENGINE, auth=AkSkAuth("mock-ak", "wrong"), json=RETRY)
    shown = refused.json()["error_msg"].split("(| for a line's end) ")[1].split(";", 1)[0].split("|")
    assert shown[:3] == ["PUT", f"{ENGINE}/", ""]
    assert shown[3:5] == ["content-type:application/json", f"host:{stranger.base_url.netloc.decode()}"]


@pytest.mark.parametrize("changed", [{"content": b'{"action":"Retry" }'}, {"params": {"a": "b"}}])
def test_a_signature_covers_body_and_query(stranger: httpx.Client, changed: dict[str, Any]) -> None:
    signed = stranger.build_request("PUT", ENGINE, json=RETRY)
    next(AkSkAuth("mock-ak", "mock-sk").auth_flow(signed))
    headers = {name: signed.headers[name] for name in ("Authorization", "X-Sdk-Date", "Content-Type")}
    assert stranger.put(ENGINE, headers=headers, **{"content": signed.content, **changed}).status_code == 401
    assert stranger.put(ENGINE, headers=headers, content=signed.content).status_code != 401


def test_the_token_header_is_written_in_any_case(stranger: httpx.Client) -> None:
    with_token = stranger.post(SCRIPT, headers={"x-auth-TOKEN": "mock-token"}, json={})
    assert with_token.status_code == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_another_method_is_refused_with_those_allowed(stranger: httpx.Client, method: str) -> None:
    script, engine = stranger.request(method, SCRIPT), stranger.request(method, ENGINE)
    assert (script.status_code, script.headers["Allow"]) == (405, "POST")
    assert (engine.status_code, engine.headers["Allow"]) == (405, "PUT")
    if method == "HEAD":
        assert script.content == engine.content == b""
    else:
        assert error(script)[1:] == (
            "WKS.00000405",
            f"The method specified in the request is not allowed for this resource: {method}; the path has POST.",
        )
        assert error(engine)[1:] == (
            "APIGW.0101",
            f"The API does not exist with this method: {method}; the path has PUT.",
        )


@pytest.mark.parametrize(
    "path", ["/", "/nope", f"{SCRIPT}/", f"/{SCRIPT}", "/v1" + SCRIPT[3:], "/_mock", "/docs/", "/%0A"]
)
def test_an_unknown_path(stranger: httpx.Client, path: str) -> None:
    refused = stranger.post(stranger.base_url.copy_with(raw_path=path.encode()))
    status, code, says = error(refused)
    assert (status, code) == (404, "APIGW.0101")
    assert says.startswith(f"The API does not exist: POST {path}; the mock has POST /v2/{{project_id}}/script-exec")
    assert refused.json()["request_id"] == refused.headers["X-Request-Id"]


def padded(size: int) -> bytes:
    return json.dumps(RETRY).encode().ljust(size)


def test_a_body_of_12_mib_is_read(mock: httpx.Client) -> None:
    assert mock.put(ENGINE, headers=JSON, content=padded(12 * MIB)).status_code == 200


@pytest.mark.parametrize("declared", [True, False], ids=["with Content-Length", "chunked"])
def test_a_larger_one_is_refused(mock: httpx.Client, declared: bool) -> None:
    content = padded(12 * MIB + 1)
    refused = mock.put(ENGINE, headers=JSON, content=content if declared else iter([content]))
    assert error(refused) == (413, "APIGW.0201", "Request entity too large: 12582912 bytes are allowed.")
    assert mock.put(ENGINE, json=RETRY).status_code == 200  # on the same connection, and nothing was run


def test_a_body_declared_too_large_is_refused_before_it_is_sent(url: str) -> None:
    with connected(url) as sock:
        send_head(sock, "PUT", ENGINE, f"Content-Length: {13 * MIB}", "X-Auth-Token: mock-token")
        assert sock.recv(12) == b"HTTP/1.1 413"


def test_a_uri_of_32_kib_is_read_and_a_longer_one_is_not(mock: httpx.Client) -> None:
    room = 32 * 1024 - len(SCRIPT + "?")
    assert mock.post(SCRIPT + "?" + "q" * room, json={}).status_code == 404
    refused = mock.post(SCRIPT + "?" + "q" * (room + 1), json={})
    assert error(refused) == (414, "APIGW.0201", "Request URI too large: 32769 bytes, and 32768 are allowed.")


@pytest.mark.parametrize(
    "headers", [{"X-A": "a" * 32 * 1024}, {f"X-{i}": "a" * 26 * 1024 for i in range(5)}], ids=["one", "all"]
)
def test_headers_too_large(mock: httpx.Client, headers: dict[str, str]) -> None:
    refused = mock.post(SCRIPT, headers=headers, json={})
    says = "Request headers too large: one may have 32768 bytes, all together 131072."
    assert error(refused) == (494, "APIGW.0201", says)


def test_large_headers_within_the_limits_pass(mock: httpx.Client) -> None:
    assert mock.post(SCRIPT, headers={f"X-{i}": "a" * 31 * 1024 for i in range(4)}, json={}).status_code == 404


# --- What breaks the contract -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body", "says"),
    [
        (JSON, b"", "body: is empty; application/json is needed"),
        (JSON, b"{", "body: is not JSON: Expecting property name enclosed in double quotes, line 1 column 2"),
        (JSON, b"\xff", "body: is not UTF-8: invalid start byte at byte 0"),
        (JSON, b"[NaN]", "body: is not JSON: NaN is no number"),
        (JSON, b"[" * MIB, "body: is nested too deeply"),
        ({}, b"{}", "header Content-Type: is missing; the body must be application/json"),
        (
            {"Content-Type": "text/plain"},
            b"{}",
            "header Content-Type: 'text/plain' will not do; the body must be application/json",
        ),
        (
            {"Content-Type": "application/json;charset=GBK"},
            b"{}",
            "header Content-Type: the charset will not do; JSON is UTF-8",
        ),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("PUT", ENGINE), ("POST", SCRIPT)])
def test_what_does_not_parse_is_refused_in_the_gateways_words(
    mock: httpx.Client, method: str, path: str, headers: dict[str, str], body: bytes, says: str
) -> None:
    refused = mock.request(method, path, headers=headers, content=body)
    assert error(refused) == (400, "APIGW.0201", f"Bad request: {says}")
    assert refused.json()["request_id"] == refused.headers["X-Request-Id"]


def test_what_breaks_the_schema_is_refused_in_the_words_of_the_service_if_it_has_any(mock: httpx.Client) -> None:
    script = mock.post(SCRIPT, json={"record_id": [{"record_id": "r"}], "task_id": ""})
    says = (
        'The parameter is invalid: body /record_id: [{"record_id":"r"}] is not of type "string"; '
        'body /task_id: "" is shorter than 1 character'
    )
    assert error(script) == (400, "WKS.00211102", says)
    engine = mock.put(ENGINE, json={"action": "Stop"})
    assert error(engine) == (400, "APIGW.0201", 'Bad request: body /action: "Retry" was expected')


@pytest.mark.parametrize(
    ("path", "headers", "says"),
    [
        ("/v2/demo-project/enginemgr/engines//actions", {}, "path engine_id: is empty"),
        ("/v2/demo-project/enginemgr/engines/%ff/actions", {}, "path engine_id: is not UTF-8 once percent-decoded"),
        (
            ENGINE,
            {"X-Enterprise-Project-ID": ""},
            'header X-Enterprise-Project-ID: "" is shorter than 1 character',
        ),
    ],
)
def test_parameters_that_will_not_do(mock: httpx.Client, path: str, headers: dict[str, str], says: str) -> None:
    assert error(mock.put(path, headers=headers, json=RETRY)) == (400, "APIGW.0201", f"Bad request: {says}")


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json;charset=UTF-8", "application/json; charset=utf8"]
)
def test_plain_json_passes_as_it_does_for_the_official_sdk(mock: httpx.Client, content_type: str) -> None:
    body = json.dumps(RETRY).encode()
    assert mock.put(ENGINE, headers={"Content-Type": content_type}, content=body).status_code == 200


def test_a_header_sent_twice_counts_as_one_with_a_comma(mock: httpx.Client) -> None:
    twice = [("X-Enterprise-Project-ID", "a" * 40), ("X-Enterprise-Project-ID", "b" * 40)]
    status, _, says = error(mock.put(ENGINE, headers=twice, json=RETRY))
    assert status == 400
    assert f'"{"a" * 40}, {"b" * 40}" is longer than 64 characters' in says


def test_each_answer_has_a_request_id_of_its_own(mock: httpx.Client) -> None:
    ids = {mock.get("/_mock/health").headers["X-Request-Id"] for _ in range(10)}
    assert len(ids) == 10


# --- Below HTTP -------------------------------------------------------------------------------------------------------


def connected(url: str) -> socket.socket:
    address = httpx.URL(url)
    return socket.create_connection((address.host, address.port or 0), timeout=30)


def send_head(sock: socket.socket, method: str, path: str, *lines: str) -> None:
    sock.sendall("\r\n".join([f"{method} {path} HTTP/1.1", "Host: mock", *lines, "", ""]).encode())


def test_what_is_not_http_is_refused_and_the_mock_lives_on(url: str, mock: httpx.Client) -> None:
    with connected(url) as sock:
        sock.sendall(b"\x16\x03\x01 TLS to a plain port\r\n\r\n")
        head, _, body = sock.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n")
    assert json.loads(body)["error_code"] == "APIGW.0201"
    assert mock.get("/_mock/health").status_code == 200


def test_a_caller_that_hangs_up_half_way_changes_nothing(url: str, mock: httpx.Client) -> None:
    with connected(url) as sock:
        send_head(
            sock, "PUT", ENGINE, "Content-Length: 19", "Content-Type: application/json", "X-Auth-Token: mock-token"
        )
        sock.sendall(b'{"action":')
    assert mock.put(ENGINE, json=RETRY).status_code == 200


# --- A spec that was edited -------------------------------------------------------------------------------------------


def edited(folder: Path, edit: Callable[[Any], None]) -> Contract:
    spec = yaml.safe_load(SPEC.read_bytes())
    edit(spec)
    file = folder / "openapi.yaml"
    file.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return Contract.load(file)


def third_operation(responses: object) -> Callable[[Any], None]:
    def edit(spec: Any) -> None:
        script = spec["paths"]["/v2/{project_id}/script-executions/retry"]
        post = {**script["post"], "operationId": "StopScriptExecution", "responses": responses}
        spec["paths"]["/v2/{project_id}/script-executions/stop"] = {"parameters": script["parameters"], "post": post}

    return edit


def test_an_operation_without_handler_is_checked_and_answered_from_its_examples(tmp_path: Path) -> None:
    content = {"application/json": {"examples": {"done": {"value": {"task_id": TASK}}}}}
    contract = edited(tmp_path, third_operation({"202": {"description": "", "content": content}}))
    with running(contract) as url, client_for(url, contract) as client:
        answer = client.post("/v2/any/script-executions/stop", json={"record_id": RECORD})
        assert (answer.status_code, answer.json()) == (202, {"task_id": TASK})
        assert client.get("/_mock/health").json()["sha256"] == contract.sha256
    with running(contract) as url, httpx.Client(base_url=url, headers=TOKEN, trust_env=False) as client:
        refused = client.post("/v2/any/script-executions/stop", json={"record_id": 5})
        assert error(refused)[:2] == (400, "WKS.00211102")


@pytest.mark.parametrize(
    ("media_type", "why"),
    [
        ({}, "StopScriptExecution has no example for status 200; it has: none"),
        (
            {"schema": {"type": "object"}, "example": [1]},
            'that for 200 breaks its own schema: body: [1] is not of type "object"',
        ),
    ],
)
def test_without_a_good_example_the_spec_is_named_as_what_is_at_fault(
    tmp_path: Path, media_type: dict[str, object], why: str
) -> None:
    responses = {"200": {"description": "", "content": {"application/json": media_type}}}
    contract = edited(tmp_path, third_operation(responses))
    with running(contract) as url, httpx.Client(base_url=url, headers=TOKEN, trust_env=False) as client:
        answer = client.post("/v2/any/script-executions/stop", json={})
    says = f"Unexpected error: the mock answers StopScriptExecution from the spec's examples, but {why}"
    assert error(answer) == (500, "APIGW.0201", says)


def test_an_operation_without_security_is_open(tmp_path: Path) -> None:
    def open_up(spec: Any) -> None:
        spec["paths"]["/v2/{project_id}/script-executions/retry"]["post"]["security"] = []

    contract = edited(tmp_path, open_up)
    with running(contract) as url, client_for(url, contract, headers={}) as client:
        assert client.post(SCRIPT, json={"task_id": TASK}).status_code == 200


def test_an_internal_error_is_a_500_in_the_shape_of_the_spec_with_its_traceback_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def without_engine_id(spec: Any) -> None:  # which the handler counts on
        item = spec["paths"].pop("/v2/{project_id}/enginemgr/engines/{engine_id}/actions")
        spec["paths"]["/v2/{project_id}/enginemgr/actions"] = {**item, "parameters": item["parameters"][:1]}

    contract = edited(tmp_path, without_engine_id)
    with running(contract) as url, client_for(url, contract) as client:
        answer = client.put("/v2/demo-project/enginemgr/actions?q=s3cret", json=RETRY)
        assert client.get("/_mock/health").status_code == 200
    says = "Unexpected error: the mock's own fault; its stderr says more."
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
    with running() as one, running() as two:
        assert one != two
        for url in (one, two):
            assert httpx.put(url + ENGINE, headers=TOKEN, json=RETRY, trust_env=False).status_code == 200


def test_it_stops_with_its_block_even_if_that_fails() -> None:
    before = threading.active_count()
    urls: list[str] = []

    def fail() -> None:
        with running() as url:
            urls.append(url)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        connected(urls[0])


def is_closed(sock: socket.socket) -> bool:
    """Wait for the other end to say something, or to hang up."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_it_stops_although_callers_are_still_connected() -> None:
    with running() as url:
        idle, half = connected(url), connected(url)
        send_head(half, "PUT", ENGINE, "Content-Length: 19", "X-Auth-Token: mock-token")
        httpx.get(f"{url}/_mock/health", trust_env=False)  # by now the mock waits for the rest of the other
    with idle, half:
        assert is_closed(idle)
        assert is_closed(half)


@pytest.mark.parametrize(("host", "start"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_an_address_as_a_url(host: str, start: str) -> None:
    try:
        sock = listen(host, 0)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with sock:
        assert base_url(sock) == f"{start}{sock.getsockname()[1]}"


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with listen("127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP  # or asyncio leaves Nagle's algorithm on: 40 ms an answer


# --- As a process -----------------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-W", "error", "-m", "huaweicloud_retry.mock"]
READY = re.compile(r"mock ready at (http://127\.0\.0\.1:\d+) \((.*); Ctrl-C stops it\)\n")


@pytest.fixture
def start() -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Starts the mock as a process and waits for its line; kills what a failing test leaves behind."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*options: str) -> tuple[subprocess.Popen[str], str]:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        process = subprocess.Popen(
            [*COMMAND, "--quiet", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        processes.append(process)
        assert process.stdout is not None
        ready = READY.fullmatch(process.stdout.readline())
        assert ready
        return process, ready[1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_process_says_when_it_is_ready_answers_and_stops_cleanly(start: Start, stop: signal.Signals) -> None:
    process, url = start("--port", "0")
    with client_for(url) as client:
        assert client.put(ENGINE, json=RETRY).status_code == 200
        process.send_signal(stop)  # with a connection open
        assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0


def test_a_signal_right_after_the_line_stops_it_as_well(start: Start) -> None:
    process, _ = start("--port", "0")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0


def test_half_a_request_does_not_keep_it_from_stopping(start: Start) -> None:
    process, url = start("--port", "0")
    with connected(url) as sock, client_for(url) as client:
        send_head(sock, "PUT", ENGINE, "Content-Length: 19", "X-Auth-Token: mock-token")
        client.get("/_mock/health")  # by now the mock waits for the rest
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0


def test_it_writes_no_secret_anywhere(start: Start) -> None:
    process, url = start("--port", "0")
    with client_for(url, headers={"X-Auth-Token": "s3cret"}) as client:
        client.put(f"{ENGINE}?token=s3cret", content=b"s3cret")
        client.put(ENGINE, headers={"Authorization": "SDK-HMAC-SHA256 Signature=s3cret"}, content=b"s3cret")
    with connected(url) as sock:
        sock.sendall(b"s3cret\r\n\r\n")
        assert sock.recv(12) == b"HTTP/1.1 400"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (out, err) == ("", "")


def failing(*command: str, **env: str) -> str:
    """Run a command that must fail with exit code 2 and one line on stderr, which is returned."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **env}, timeout=30)
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    return line


def test_a_taken_port_is_told_in_one_line(url: str) -> None:
    port = url.rpartition(":")[2]
    assert failing(*COMMAND, "--port", port) == (
        f"python -m huaweicloud_retry.mock: cannot listen on 127.0.0.1 port {port}: Address already in use; "
        "choose another --port, or 0 for a free one"
    )


def test_an_address_of_another_machine_is_told_in_one_line() -> None:
    line = failing(*COMMAND, "--host", "192.0.2.1", "--port", "0")
    assert line.startswith(
        "python -m huaweicloud_retry.mock: cannot listen on 192.0.2.1 port 0: Cannot assign requested address"
    )


def test_a_broken_spec_is_told_in_one_line(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src")
    broken = SPEC.read_text(encoding="utf-8").replace("\npaths:\n", "\npaths: [\n")
    (tmp_path / "openapi.yaml").write_text(broken, encoding="utf-8")
    line = failing(*COMMAND, "--port", "0", PYTHONPATH=str(tmp_path / "src"))
    assert line.startswith(f"python -m huaweicloud_retry.mock: {tmp_path}/openapi.yaml: is not YAML: line ")


@pytest.mark.parametrize("missing", ["uvicorn", "httptools", "jsonschema_rs", "yaml", "mkdocs_swagger_ui_tag"])
def test_without_the_extra_one_line_says_what_to_install(missing: str) -> None:
    code = f"import runpy, sys; sys.modules[{missing!r}] = None; runpy.run_module('huaweicloud_retry.mock', run_name='__main__')"
    line = failing(sys.executable, "-W", "error", "-c", code)
    assert line.startswith("python -m huaweicloud_retry.mock: ")
    assert missing in line
    assert line.endswith("; pip install 'huaweicloud-retry[mock]'")


def test_a_test_that_needs_the_extra_is_told_as_well() -> None:
    code = "import sys; sys.modules['yaml'] = None; from huaweicloud_retry.mock import running"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr.endswith("; pip install 'huaweicloud-retry[mock]'\n")


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_what_is_no_port(port: str) -> None:
    ran = subprocess.run([*COMMAND, f"--port={port}"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert f"argument --port: {port!r} is no port" in ran.stderr


def test_its_help_needs_no_extra() -> None:
    code = "import runpy, sys; sys.modules['uvicorn'] = None; runpy.run_module('huaweicloud_retry.mock', run_name='__main__')"
    ran = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0
    assert "--port" in ran.stdout
