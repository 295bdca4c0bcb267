"""The official SDK, unchanged, as a client of the mock; and its signer as a second opinion on ours."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from huaweicloudsdkcore.sdk_request import SdkRequest  # type: ignore[import-untyped] # it has no types
from huaweicloudsdkcore.signer.signer import Signer  # type: ignore[import-untyped] # it has no types

from huaweicloud_retry import AkSkAuth
from huaweicloud_retry.mock import running
from huaweicloud_retry.signing import authorization, canonical_request

SIGNATURES = int(os.environ.get("SIGNATURES", "500"))  # the slow suite has more
ODD = "é 1%2~+&?#;'引"  # every kind of character that a segment of a path has to encode, but for the slash
FAILED = {"status": "FAILED", "script_id": "s", "resource_id": "d", "reason": "No disk.", "output": "df"}
JOBS = [{"id": 7, "status": "Error"}]
PROJECT = {
    "engines": {id_: {"name": "cse-1", "jobs": JOBS} for id_ in ("engine", ODD, "a/b")}
    | {"read": {"name": "cse-2", "jobs": [{"id": 8, "status": "Timeout", "reason": "No node."}]}},
    "script_tasks": {
        "task": {"records": {"record": {"status": "FAILED"}, ODD: {"status": "FAILED"}}},
        "read": {"records": {f"read-{number}": FAILED for number in (1, 2)}},
    },
}
# In a process of its own: the SDK takes seconds to import, warns, and writes into the home of its user.
SCRIPT = """
import importlib, json, sys
met = []
sys.addaudithook(lambda event, args: met.append(args[1]) if event == "socket.connect" else
                 met.append(args[0]) if event == "socket.getaddrinfo" else None)
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
url, calls = json.loads(sys.argv[1])
came = {}
for name, (package, client, method, request, body, sk, project, arguments, content) in calls.items():
    sdk = importlib.import_module(package)
    built = getattr(sdk, client).new_builder().with_credentials(BasicCredentials("mock-ak", sk, project))
    try:
        content = {"body": getattr(sdk, body)(**content)} if body else {}
        asked = getattr(sdk, request)(**arguments, **content)
        came[name] = getattr(built.with_endpoints([url]).build(), method)(asked).to_json_object()
    except ClientRequestException as error:
        came[name] = [error.status_code, error.error_code, error.error_msg, str(error)]
print(json.dumps({"came": came, "met": met}))
"""
RETRY = {"action": "Retry"}
CSE, WORKSPACE = ("huaweicloudsdkcse.v1", "CseClient"), ("huaweicloudsdkworkspace.v2", "WorkspaceClient")


def engine(engine_id: str, sk: str = "mock-sk", **headers: str) -> list[Any]:
    names = (*CSE, "retry_engine", "RetryEngineRequest", "EngineAdditionalActionReq")
    return [*names, sk, "demo-project", {"engine_id": engine_id, **headers}, RETRY]


def script(project: str = "demo-project", **body: str) -> list[Any]:
    names = (*WORKSPACE, "retry_script_execution", "RetryScriptExecutionRequest", "RetryScriptExecutionReq")
    return [*names, "mock-sk", project, {}, body]


def read(service: tuple[str, str], method: str, **arguments: object) -> list[Any]:
    request = "".join(part.capitalize() for part in method.split("_")) + "Request"
    return [*service, method, request, "", "mock-sk", "demo-project", arguments, {}]


LIST = "script_task_id=read&status=FAILED&limit=1&offset=1"
READS = {  # each by the path that is read
    "enginemgr/engines/read": read(CSE, "show_engine", engine_id="read"),
    "enginemgr/engines/read/jobs/8": read(CSE, "show_engine_job", engine_id="read", job_id="8"),
    f"script-execution-records?{LIST}": read(
        WORKSPACE, "list_script_records", script_task_id="read", status="FAILED", limit=1, offset=1
    ),
    "script-execution-records/read-2": read(WORKSPACE, "show_script_record_detail", record_id="read-2"),
}
EXPECTED: dict[str, tuple[list[Any], Any]] = {  # calls, and what comes of them
    "engine": (engine("engine", x_enterprise_project_id="0"), {"id": "engine", "name": "cse-1", "jobId": 7}),
    "engine again": (engine("engine"),
        [400, "SVCSTG.00501149", "The engine has no failed job to retry: job 7 is Executing."]),
    "unknown engine": (engine("nope"), [400, "SVCSTG.00501116"]),
    "odd engine": (engine(ODD), {"id": ODD, "name": "cse-1", "jobId": 7}),
    "script": (script(record_id="record"), {"task_id": "task"}),
    "script again": (script(record_id="record"), [400, "WKS.00211102"]),
    "unknown script": (script(task_id="nope"), [404, "WKS.00211902"]),
    "odd script": (script(record_id=ODD, task_id="task"), {"task_id": "task"}),
    "no project": (script("nope ~%", task_id="task"), [403, "APIGW.0310"]),  # not a wrong signature
    "no ASCII": (script("é", task_id="task"), [403, "APIGW.0310"]),  # in the path, and in X-Project-Id
}  # fmt: skip
OTHERS = {"slash": engine("a/b"), "wrong key": engine("engine", sk="s3cret-but-wrong"), **READS}
CALLS = {name: call for name, (call, _) in EXPECTED.items()} | OTHERS


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state = tmp_path_factory.mktemp("state") / "state.yaml"
    state.write_text(json.dumps({"projects": {"demo-project": PROJECT}}), encoding="utf-8")
    with running(state=state) as url:
        yield url


@pytest.fixture(scope="module")
def came(url: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What came of each call."""
    home = tmp_path_factory.mktemp("home")
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    command = [sys.executable, "-c", SCRIPT, json.dumps([url, CALLS])]
    ran = subprocess.run(command, capture_output=True, check=False, env={**environment, "HOME": str(home)})
    assert ran.returncode == 0, ran.stderr.decode()
    result = json.loads(ran.stdout)
    assert {str(met) for met in result["met"]} == {"127.0.0.1", str(["127.0.0.1", httpx.URL(url).port])}
    assert [file.name for file in home.rglob("*") if file.is_file()] == ["application_id"]
    return result["came"]


@pytest.mark.parametrize("call", EXPECTED)
def test_it_gets_the_responses_of_the_services(came: Any, call: str) -> None:
    found, (_, expected) = came[call], EXPECTED[call]
    assert (found[: len(expected)] if isinstance(found, list) else found) == expected


def test_a_wrong_secret_key_is_shown_the_canonical_request_and_no_secret(came: Any) -> None:
    status, code, says, text = came["wrong key"]
    assert (status, code) == (401, "APIGW.0301")
    assert "|/v2/demo-project/enginemgr/engines/engine/actions/||" in says
    assert "s3cret" not in text


def test_an_id_with_a_slash_is_signed_by_the_sdk_as_two_segments_but_by_us_as_it_is_sent(
    url: str, came: Any
) -> None:
    path = "/v2/demo-project/enginemgr/engines/a%2Fb/actions"
    status, code, says, _ = came["slash"]
    assert (status, code) == (401, "APIGW.0301")
    assert f"PUT|{path}/||" in says  # what was sent, and what the mock therefore expects to be signed
    sent = SdkRequest("PUT", "http", "host", path, query_params=[], header_params={})
    signed = Signer(SimpleNamespace(ak="ak", sk="sk"))._process_canonical_uri(sent)
    assert signed == f"{path}/".replace("%2F", "/")
    ours = httpx.put(url + path, auth=AkSkAuth("mock-ak", "mock-sk"), json=RETRY, trust_env=False)
    assert (ours.status_code, ours.json()["id"]) == (200, "a/b")


@pytest.mark.parametrize("path", READS)
def test_it_reads_what_the_mock_shows(url: str, came: Any, path: str) -> None:
    token = {"X-Auth-Token": "mock-token"}
    shown = httpx.get(f"{url}/v2/demo-project/{path}", headers=token, trust_env=False).json()
    assert without_nulls(came[path]) == without_nulls(shown)
    assert len(shown) > 1


def without_nulls(value: Any) -> Any:
    """The SDK leaves them out."""
    if isinstance(value, list):
        return [without_nulls(each) for each in value]
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return value


def test_random_requests_have_the_signature_that_the_sdk_gives_them() -> None:
    chance = random.Random(20200608)
    alphabet = "aZ09-._~ +&=?#%;:@!$'()*,/\\\"<>[]{}|^`\t\0éß一😀\u202e"

    def text(least: int, letters: str = alphabet) -> str:
        return "".join(chance.choices(letters, k=chance.randint(least, 6)))

    for _ in range(SIGNATURES):
        method = chance.choice(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
        segments = [text(0, alphabet.replace("/", "")) for _ in range(chance.randint(1, 5))]
        path = "".join(f"/{quote(segment, safe='')}" for segment in segments)
        query = [(text(0), text(0)) for _ in range(chance.randint(0, 4))]
        query += [(name, text(0)) for name, _ in query[:2]]  # repeated
        headers = {"Host": "cse.test", "X-Sdk-Date": f"20200608T0239{chance.randint(10, 59)}Z"}
        headers |= {f"X-{text(1, 'aBc-9')}-{i}": text(0, "aZ \té一,;:=") for i in range(chance.randint(0, 4))}
        types = {"Content-Type": "application/json"}, {"content-type": "application/json;x=y"}
        headers |= chance.choice([{}, *types])
        body = text(0).encode() * chance.randint(0, 3)
        sdks = SdkRequest(method, "https", "cse.test", path, "", list(query), dict(headers), body)
        theirs = Signer(SimpleNamespace(ak="AK", sk="SK")).sign(sdks).header_params["Authorization"]
        chance.shuffle(query)
        pairs = [f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query]
        target = path + "?" * bool(query) + "&".join(pairs)
        canonical = canonical_request(method, target, headers, body)
        ours = authorization("AK", "SK", canonical, headers["X-Sdk-Date"])
        assert ours == theirs, (method, target, headers, body)
