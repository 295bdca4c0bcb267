"""The mock's own endpoints, on real sockets: request log, docs, the spec, the lines it logs, `Prefer`."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry.mock.request import MockRequest
from huaweicloud_retry.mock.request_log import KEPT, RequestLog
from huaweicloud_retry.testing import Mock
from tests import mocks
from tests.mocks import CONTRACT, ENGINE, IAM, JSON, PAGES, RETRY, SCRIPT, TASK, client_for, connected
from tests.mocks import token_request as asked


@pytest.fixture
def http(mock: Mock) -> Iterator[httpx.Client]:
    """Sends the right token to the mock, which is in its initial state; each response keeps the contract."""
    with client_for(mock.url) as client:
        yield client


def entries(http: httpx.Client) -> Any:
    return http.get("/_mock/request-log").json()["entries"]


# --- Request log --------------------------------------------------------------------------------------------

CAME_OF_IT = f"""\
PUT {ENGINE} RetryEngine accepted 200 None True
PUT {ENGINE} RetryEngine refused 400 SVCSTG.00501149 False
POST {SCRIPT} RetryScriptExecution accepted 504 APIGW.0201 True
POST {SCRIPT} RetryScriptExecution refused 400 APIGW.0201 False
DELETE {SCRIPT} None refused 405 WKS.00000405 False
POST {IAM} KeystoneCreateUserTokenByPassword accepted 201 None True
POST {IAM} KeystoneCreateUserTokenByPassword refused 401 None False
GET /nope None refused 404 APIGW.0101 False
PUT {ENGINE} RetryEngine refused 401 APIGW.0301 False"""


def test_the_request_log_has_what_was_asked_in_order_and_what_came_of_it(http: httpx.Client) -> None:
    fault = {"operation": "RetryScriptExecution", "status": 504, "acted": True, "times": 1}
    http.post("/_mock/faults", json=fault)
    responses = [http.put(f"{ENGINE}?a=b%20c", json=RETRY), http.put(ENGINE, json=RETRY)]
    responses += [http.post(SCRIPT, json={"task_id": TASK}), http.post(SCRIPT, content=b"{")]
    responses += [http.delete(SCRIPT), http.post(IAM, json=asked()), http.post(IAM, json=asked("wrong"))]
    responses += [http.get("/nope"), http.put(ENGINE, headers={"X-Auth-Token": "wrong"})]
    for page in "/_mock/health", "/docs", "/openapi.yaml":  # which are none of the services'
        http.get(page)
    found = entries(http)
    columns = ("method", "path", "operation", "outcome", "status", "error_code", "acted")
    assert "\n".join(" ".join(str(entry[column]) for column in columns) for entry in found) == CAME_OF_IT
    expected = list(enumerate((response.headers["X-Request-Id"] for response in responses), 1))
    assert [(entry["number"], entry["request_id"]) for entry in found] == expected
    assert [found[0]["query"], found[0]["body"]] == ["a=b%20c", RETRY]
    assert found[0]["headers"] == {**dict(responses[0].request.headers), "x-auth-token": "***"}
    assert (found[3]["body"], found[2]["fault"]) == ("<1 bytes, not readable as JSON>", fault)


SECRET = "314159265358979"  # such as may be a number
# Names of headers, parameters and fields that hold secrets.
NAMES = ["X-Security-Token", "Proxy-Authorization", "Cookie", "X-Signature", "X-Api-Key", "api_key"]
NAMES += ["ACCESS-KEY", "secret_key", "password", "pwd", "credentials", "sk"]
SECRET_EACH = dict.fromkeys(NAMES, SECRET)
SIGNED = "SDK-HMAC-SHA256 Access=mock-ak, SignedHeaders=host;x-sdk-date, "
USERS = {"users": {"u": {"domain": "d", "password": [SECRET]}}}
# Where a secret may be: path, headers next to the right token, body.
SECRETS: list[tuple[str, Any, Any]] = [
    (ENGINE, {"X-Auth-Token": SECRET}, RETRY),
    (ENGINE, [("X-Auth-Token", SECRET), ("x-auth-token", SECRET)], RETRY),
    (ENGINE, {"Authorization": f"{SIGNED}Signature={SECRET.zfill(64)}"}, RETRY),
    (ENGINE, {"Authorization": f"{SIGNED}signature={SECRET}"}, RETRY),
    (ENGINE, {"Authorization": f"SDK-HMAC-SHA256 {SECRET}"}, RETRY),
    (ENGINE, [("Authorization", f"{SIGNED}Signature=0"), ("Authorization", SECRET)], RETRY),
    (ENGINE, SECRET_EACH, RETRY),
    (ENGINE, {"Referer": f"http://a/?token={SECRET}"}, RETRY),
    (IAM, {}, asked(SECRET)),
    (IAM, {}, asked(int(SECRET))),
    (IAM, {}, asked([SECRET])),
    (IAM, {}, {"auth": {"identity": {"methods": ["password"], "password": SECRET}}}),
    (IAM, {}, {"auth": {"identity": [asked(SECRET)]}}),
    (IAM, {"X-Subject-Token": SECRET}, asked()),
    (IAM, {"Content-Type": "application/x-www-form-urlencoded"}, f"password={SECRET}"),
    (IAM, JSON, json.dumps(asked(SECRET))[:-1]),
    (IAM, JSON, f'{{"password": "{SECRET}", "password": "{SECRET}"}}'),
    (f"{ENGINE}?{'&'.join(f'{name}={SECRET}' for name in NAMES)}&%70assword={SECRET}", {}, RETRY),
    (f"{ENGINE}?a=b;token={SECRET}", {}, RETRY),
    (f"/nope?token={SECRET}", {"Authorization": SECRET}, None),
    (ENGINE, {}, {"action": "Stop", "token": SECRET, "a": [SECRET_EACH]}),
    (ENGINE, {}, {**RETRY, "tokens": [SECRET], "password": {"value": SECRET}}),
    (ENGINE, JSON, b"\xff" + SECRET.encode()),
    ("/_mock/state", {}, {"projects": {}, "credentials": {"tokens": {SECRET: {}}}}),
    ("/_mock/state", {}, {"projects": {}, "credentials": {"tokens": {SECRET: None}}}),
    ("/_mock/state", {}, {"projects": {}, "credentials": USERS}),
]


def send(client: httpx.Client, path: str, headers: Any, body: Any) -> str:
    given: dict[str, Any] = {"content" if isinstance(body, str | bytes) else "json": body, "headers": headers}
    return client.request("POST" if path == IAM else "PUT", path, **given).text


@pytest.mark.parametrize("case", SECRETS, ids=range(len(SECRETS)))
def test_a_secret_is_shown_nowhere_wherever_it_is(
    http: httpx.Client, case: tuple[str, Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "huaweicloud_retry")
    response = send(http, *case)
    pages = "".join(http.get(f"/_mock/{page}").text for page in ("request-log", "state"))
    logged = not case[0].startswith("/_mock/")
    assert (len(entries(http)), len(caplog.records)) == (logged, logged)
    shown = {"response": response, "pages": pages, "log": caplog.text}
    assert [place for place, text in shown.items() if SECRET in text] == []


def test_the_request_log_keeps_the_last_10000_requests_or_fewer_large_ones() -> None:
    for count, size, fewest, most in (10_100, 0, KEPT, KEPT), (1400, 4000, 1000, 1399):
        log = RequestLog()
        for number in range(count):
            request = MockRequest("PUT", f"/{number}", [(b"a", b"a" * size)])
            request.body = b"a" * size
            log.add(request, 404, None, None, acted=False)
        shown: Any = log.as_json()
        kept = len(shown["entries"])
        paths = [entry["path"] for entry in shown["entries"]]
        assert paths == [f"/{number}" for number in range(count - kept, count)]
        assert (shown["count"], shown["dropped"]) == (count, count - kept)
        assert fewest <= kept <= most


def test_the_request_log_keeps_no_large_bodies_headers_or_urls(http: httpx.Client) -> None:
    large = "x" * 30_000
    http.put(ENGINE, json={**RETRY, "a": large})
    http.put(f"{ENGINE}?a={large}", json=RETRY, headers={"X-A": large})
    http.get(f"/{large}")
    http.get("/nope", headers={f"X-{number}": "" for number in range(70)})  # more memory than their bytes
    found = [(entry["method"], entry["headers"] == {}) for entry in entries(http)]
    assert found == [("PUT", False), ("PUT", True), ("GET", True), ("GET", True)]
    assert len(http.get("/_mock/request-log").content) < 10_000


def test_the_request_log_can_be_read_however_deep_a_body_is(http: httpx.Client) -> None:
    for depth in 100, 300, 700, 5000:
        for path in SCRIPT, IAM, "/nope":
            http.post(path, content=b"[" * depth + b"]" * depth, headers=JSON)
    assert [entry["status"] for entry in entries(http)] == [400, 400, 404] * 4


# --- The other pages ----------------------------------------------------------------------------------------


def test_each_page_names_its_methods_if_another_is_used(http: httpx.Client) -> None:
    for page, allowed in PAGES.items():
        methods = allowed.split(", ")
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - {*methods}:
            refused = http.request(method, f"/_mock/{page}")
            assert (refused.status_code, refused.headers["Allow"]) == (405, allowed)
        assert http.options(f"/_mock/{page}").headers["Allow"] == allowed
        assert {http.request(method, f"/_mock/{page}").status_code for method in methods} <= {200, 204, 400}
    for path in ("", "nope", "state/", "State", "state/x", "%73tate"):
        unknown = http.get(f"/_mock/{path}")
        assert (unknown.status_code, unknown.json()["error_code"]) == (404, "MOCK.404")
        assert all(f"/_mock/{page}" in unknown.json()["error_msg"] for page in PAGES)


FILES = {
    "/docs": "text/html; charset=utf-8",
    "/docs/docs.css": "text/css; charset=utf-8",
    "/docs/docs.js": "text/javascript; charset=utf-8",
    "/docs/swagger-ui.css": "text/css; charset=utf-8",
    "/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "/openapi.json": "application/json",
    "/openapi.yaml": "application/yaml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@pytest.mark.parametrize(("path", "kind"), FILES.items())
def test_a_file_has_its_type_and_a_policy_and_is_only_read(http: httpx.Client, path: str, kind: str) -> None:
    methods = ("GET", "HEAD", "OPTIONS", "POST")
    got, head, options, post = responses = [http.request(method, path) for method in methods]
    assert [response.status_code for response in responses] == [200, 200, 204, 405]
    assert options.headers["Allow"] == post.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert (got.headers["Content-Type"], got.headers["Content-Security-Policy"]) == (kind, POLICY)
    assert got.headers["Content-Length"] == head.headers["Content-Length"] == str(len(got.content))


def test_the_spec_is_served_as_it_is(http: httpx.Client) -> None:
    raw = (Path(__file__).parents[2] / "openapi.yaml").read_bytes()
    assert http.get("/openapi.yaml").content == CONTRACT.raw == raw
    assert http.get("/openapi.json").json() == CONTRACT.document


def test_the_docs_page_names_and_may_load_only_files_of_the_mock(http: httpx.Client) -> None:
    named = re.findall(r'(?:src|href)="(?!data:)([^"]*)"', http.get("/docs").text)
    pages = ["/_mock/health", "/_mock/state", "/_mock/request-log"]
    assert sorted(named) == sorted([*pages, *FILES.keys() - {"/docs"}])
    assert not re.search("https?://", http.get("/docs/docs.css").text + http.get("/docs/docs.js").text)


BUILT_IN = ["mock-token", "mock-ak mock-sk", "mock-user mock-password"]
TOKENS_AND_USER = "credentials: {tokens: {s3cret: {}, b: {}}, users: {ann: {password: s3cret, domain: d}}}"


@pytest.mark.parametrize(
    ("credentials", "token", "expected"),
    [
        ("", "mock-token", BUILT_IN),
        (TOKENS_AND_USER, "", ["2, in", "none", "ann"]),
        ("credentials: {access_keys: {'<b>': {secret_key: s3cret}}}", "", ["0, in", "&lt;b&gt;", "none"]),
    ],
    ids=["none", "tokens and a user", "a key"],
)
def test_the_docs_page_shows_the_built_in_credentials_or_the_names_of_a_state_file_and_no_secret(
    http: httpx.Client, credentials: str, token: str, expected: list[str]
) -> None:
    content = f"projects: {{}}\n{credentials}"
    http.put("/_mock/state", content=content, headers={"Content-Type": "application/yaml"})
    page = http.get("/docs").text
    assert re.findall('data-token="(.*?)"', page) == [token]
    shown = re.findall("<dd>(.*?)</dd>", page)
    assert all(text.startswith(start) for text, start in zip(shown, expected, strict=True))
    assert "s3cret" not in page


# --- Prefer -------------------------------------------------------------------------------------------------

IDS = {"engine_id": mocks.ENGINE_ID, "job_id": "18638", "record_id": mocks.RECORD}
BODIES: dict[str, Any] = {"RetryEngine": RETRY, "RetryScriptExecution": {"task_id": TASK}}
OPERATIONS = {each.id: each for each in CONTRACT.operations}


def prefer(
    http: httpx.Client, wishes: str, operation: str = "RetryEngine", project: str = "demo-project"
) -> httpx.Response:
    """Send the valid request of an operation with preferences; a | is between two header lines."""
    of = OPERATIONS[operation]
    path = of.path.format(project_id=project, **IDS)
    headers = [("Prefer", wish) for wish in wishes.split(" | ")]
    return http.request(of.method, path, json=BODIES.get(operation), headers=headers)


FORCED = [("RetryEngine", 200, "example"), ("ListScriptRecords", 200, "read")]
FORCED += [("RetryEngine", 503, "refused"), ("RetryScriptExecution", 405, "refused")]


@pytest.mark.parametrize(("operation", "status", "outcome"), FORCED)
def test_a_response_of_the_spec_can_be_had_and_changes_no_state(
    http: httpx.Client, operation: str, status: int, outcome: str
) -> None:
    before, body = http.get("/_mock/state").json(), OPERATIONS[operation].example(status).body
    response = prefer(http, f"code={status}", operation)
    assert isinstance(body, dict)
    assert response.json() | {"request_id": ""} == body | {"request_id": ""}
    assert (response.status_code, "Allow" in response.headers) == (status, status == 405)
    assert http.get("/_mock/state").json() == before
    assert [(entry["outcome"], entry["acted"]) for entry in entries(http)] == [(outcome, False)]


# Of the same preference twice the first counts, by RFC 7240.
WISHES = {
    (503, "APIG.0613"): ["code=503", 'code="503"', 'code = "503";a=b', "wait=10, CODE=503"],
    (503, "error_code"): ["code=503, code=404", "respond-async | code=503"],
    (400, "SVCSTG.00501149"): ["code=400, example=wrongState", 'EXAMPLE="wrongState" | Code=400'],
    (200, "jobId"): ["code=200"],
    (200, "string"): ["example=page", 'example="page"'],
    (400, "it has: 200, 400, 401"): ["code=418", "code=600"],
    (400, "it has: accepted, page"): ["example=nope", 'example="accepted by all"'],
    (400, "it has: unknownEngine, wrongState"): ["code=400, example=page"],
}


@pytest.mark.parametrize(
    ("wish", "expected"), [(wish, key) for key, wishes in WISHES.items() for wish in wishes]
)
def test_a_preference_is_read_as_http_has_it_and_what_the_spec_does_not_have_is_refused(
    http: httpx.Client, wish: str, expected: tuple[int, str]
) -> None:
    response = prefer(http, wish)
    assert (response.status_code, expected[1] in response.text) == (expected[0], True)
    assert http.put(ENGINE, json=RETRY).status_code == 200  # nothing was retried before


OTHERS = ["respond-async", "return=minimal", "statuscode=503", 'note="a, code=503"', "", "code"]


@pytest.mark.parametrize("other", OTHERS)
def test_other_preferences_are_ignored(http: httpx.Client, other: str) -> None:
    assert [prefer(http, other).status_code for _ in range(2)] == [200, 400]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_credentials_and_the_request_are_checked_before_prefer(http: httpx.Client, operation: str) -> None:
    for wish in ("code=503", "code=418"):
        invalid = prefer(http, wish, operation, project="x" * 65)
        assert [invalid.status_code, "Prefer" in invalid.text] == [400, False]
    http.headers["X-Auth-Token"] = "x"
    assert [prefer(http, wish, operation).status_code for wish in ("code=503", "code=418")] == [401, 401]


# --- As a process -------------------------------------------------------------------------------------------

LINES = [
    f"PUT {ENGINE}: 200, accepted",
    f"PUT {ENGINE}: 400 SVCSTG.00501149, refused",
    "GET /nope%0Anope%1B: 404 APIGW.0101, refused",
    "malformed: Bad request: Invalid HTTP request received.",
]


def test_a_line_for_each_request_without_secrets() -> None:
    with mocks.process() as (url, lines), client_for(url) as client:
        client.put(f"{ENGINE}?a=b", json=RETRY)
        client.put(ENGINE, json=RETRY)
        client.get("/nope%0Anope%1B")
        with connected(url) as sock:
            sock.sendall(f"{SECRET}\r\n\r\n".encode())
            assert sock.recv(12) == b"HTTP/1.1 400"
        for case in SECRETS:
            send(client, *case)
    assert SECRET not in "".join(lines)
    assert len(lines) == len(LINES) + sum(not path.startswith("/_mock/") for path, _, _ in SECRETS)
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines[: len(LINES)]] == LINES
