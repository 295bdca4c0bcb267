"""The mock's own endpoints, on real sockets: request log, docs, the spec, the lines it logs, `Prefer`."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry.mock import running
from huaweicloud_retry.mock.request import MockRequest
from huaweicloud_retry.mock.request_log import KEPT, RequestLog
from huaweicloud_retry.testing import Mock
from tests.mocks import (
    CONTRACT,
    ENGINE,
    ENGINE_ID,
    IAM,
    JSON,
    PAGES,
    RECORD,
    RETRY,
    SCRIPT,
    TASK,
    client_for,
    plain_client,
    process,
)
from tests.mocks import token_request as asked

BY_TASK = {"task_id": TASK}


@pytest.fixture
def mock(shared_mock: Mock) -> Iterator[httpx.Client]:
    """Sends the right token; the state is fresh."""
    shared_mock.reset()
    with client_for(shared_mock.url) as client:
        yield client


def entries(mock: httpx.Client) -> Any:
    return mock.get("/_mock/request-log").json()["entries"]


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


def test_the_request_log_has_what_was_asked_in_order_and_what_came_of_it(mock: httpx.Client) -> None:
    fault = {"operation": "RetryScriptExecution", "status": 504, "acted": True, "times": 1}
    mock.post("/_mock/faults", json=fault)
    responses = [mock.put(f"{ENGINE}?a=b%20c", json=RETRY), mock.put(ENGINE, json=RETRY)]
    responses += [mock.post(SCRIPT, json=BY_TASK), mock.post(SCRIPT, content=b"{"), mock.delete(SCRIPT)]
    responses += [mock.post(IAM, json=asked()), mock.post(IAM, json=asked("wrong"))]
    responses += [mock.get("/nope"), mock.put(ENGINE, headers={"X-Auth-Token": "wrong"})]
    for page in "/_mock/health", "/docs", "/openapi.yaml":  # which are none of the services'
        mock.get(page)
    found = entries(mock)
    columns = ("method", "path", "operation", "outcome", "status", "error_code", "acted")
    assert "\n".join(" ".join(str(entry[column]) for column in columns) for entry in found) == CAME_OF_IT
    expected = list(enumerate((response.headers["X-Request-Id"] for response in responses), 1))
    assert [(entry["number"], entry["request_id"]) for entry in found] == expected
    assert [found[0]["query"], found[0]["body"]] == ["a=b%20c", RETRY]
    assert found[0]["headers"] == {**dict(responses[0].request.headers), "x-auth-token": "***"}
    assert (found[3]["body"], found[2]["fault"]) == ("<1 bytes, not readable as JSON>", fault)


SECRET = "314159265358979"  # such as may be a number
SIGNED = "SDK-HMAC-SHA256 Access=mock-ak, SignedHeaders=host;x-sdk-date, "
IDENTITY = {"methods": ["password"], "password": SECRET}
USERS = {"users": {"u": {"domain": "d", "password": [SECRET]}}}
# Where a secret may be: path, headers next to the right token, body.
SECRETS: list[tuple[str, Any, Any]] = [
    (ENGINE, {"X-Auth-Token": SECRET}, RETRY),
    (ENGINE, [("X-Auth-Token", SECRET), ("x-auth-token", SECRET)], RETRY),
    (ENGINE, {"X-Auth-Token": "", "Authorization": f"Bearer {SECRET}"}, RETRY),
    (ENGINE, {"Authorization": f"{SIGNED}Signature={SECRET.zfill(64)}"}, RETRY),
    (ENGINE, {"Authorization": f"{SIGNED}signature={SECRET}"}, RETRY),
    (ENGINE, {"Authorization": f"SDK-HMAC-SHA256 {SECRET}"}, RETRY),
    (ENGINE, [("Authorization", f"{SIGNED}Signature=0"), ("Authorization", SECRET)], RETRY),
    (ENGINE, {"X-Security-Token": SECRET}, RETRY),
    (ENGINE, {"Cookie": f"a={SECRET}", "Proxy-Authorization": SECRET, "X-Api-Key": SECRET}, RETRY),
    (ENGINE, {"Referer": f"http://a/?token={SECRET}"}, RETRY),
    (IAM, {}, asked(SECRET)),
    (IAM, {}, asked(int(SECRET))),
    (IAM, {}, asked([SECRET])),
    (IAM, {}, {"auth": {"identity": IDENTITY}}),
    (IAM, {}, {"auth": {"identity": [asked(SECRET)]}}),
    (IAM, {"X-Subject-Token": SECRET}, asked()),
    (IAM, {"Content-Type": "application/x-www-form-urlencoded"}, f"password={SECRET}"),
    (IAM, JSON, json.dumps(asked(SECRET))[:-1]),
    (IAM, JSON, f'{{"password": "{SECRET}", "password": "{SECRET}"}}'),
    (f"{ENGINE}?token={SECRET}&X-Auth-Token={SECRET}&secret_key={SECRET}&%70assword={SECRET}", {}, RETRY),
    (f"{ENGINE}?api_key={SECRET}", {}, RETRY),
    (f"{ENGINE}?a=b;token={SECRET}", {}, RETRY),
    (f"/nope?token={SECRET}", {"Authorization": SECRET}, None),
    (ENGINE, {}, {"action": "Stop", "token": SECRET, "a": [{"secret_key": SECRET}]}),
    (ENGINE, {}, {**RETRY, "tokens": [SECRET]}),
    (ENGINE, {}, {**RETRY, "password": {"value": SECRET}}),
    (ENGINE, JSON, f"token={SECRET}"),
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
    mock: httpx.Client, case: tuple[str, Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "huaweicloud_retry")
    response = send(mock, *case)
    pages = "".join(mock.get(f"/_mock/{page}").text for page in ("request-log", "state"))
    logged = not case[0].startswith("/_mock/")
    assert (len(entries(mock)), len(caplog.records)) == (logged, logged)
    shown = {"response": response, "pages": pages, "log": caplog.text}
    assert [place for place, text in shown.items() if SECRET in text] == []


def test_the_request_log_keeps_the_last_10000_requests_or_fewer_large_ones() -> None:
    small, large = RequestLog(), RequestLog()
    for number in range(10_100):
        small.add(MockRequest("GET", f"/{number}"), 404, None, None, acted=False)
    for number in range(1400):
        request = MockRequest("PUT", f"/{number}", [(b"a", b"a" * 3500)])
        request.body = b"a" * 4000
        large.add(request, 404, None, None, acted=False)
    for log, count, fewest, most in (small, 10_100, KEPT, KEPT), (large, 1400, 1000, 1399):
        shown: Any = log.as_json()
        kept = len(shown["entries"])
        paths = [entry["path"] for entry in shown["entries"]]
        assert paths == [f"/{number}" for number in range(count - kept, count)]
        assert (shown["count"], shown["dropped"]) == (count, count - kept)
        assert fewest <= kept <= most


def test_the_request_log_keeps_no_large_bodies_headers_or_urls(mock: httpx.Client) -> None:
    large = "x" * 30_000
    mock.put(ENGINE, json={**RETRY, "a": large})
    mock.put(f"{ENGINE}?a={large}", json=RETRY, headers={"X-A": large})
    mock.get(f"/{large}")
    mock.get("/nope", headers={f"X-{number}": "" for number in range(70)})  # more memory than their bytes
    found = [(entry["method"], entry["headers"] == {}) for entry in entries(mock)]
    assert found == [("PUT", False), ("PUT", True), ("GET", True), ("GET", True)]
    assert len(mock.get("/_mock/request-log").content) < 10_000


def test_the_request_log_can_be_read_however_deep_a_body_is(mock: httpx.Client) -> None:
    for depth in 100, 300, 700, 5000:
        for path in SCRIPT, IAM, "/nope":
            mock.post(path, content=b"[" * depth + b"]" * depth, headers=JSON)
    assert [entry["status"] for entry in entries(mock)] == [400, 400, 404] * 4


# --- The other pages ----------------------------------------------------------------------------------------


def test_each_page_names_its_methods_if_another_is_used(mock: httpx.Client) -> None:
    for page, allowed in PAGES.items():
        methods = allowed.split(", ")
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - {*methods}:
            refused = mock.request(method, f"/_mock/{page}")
            assert (refused.status_code, refused.headers["Allow"]) == (405, allowed)
        assert mock.options(f"/_mock/{page}").headers["Allow"] == allowed
        assert {mock.request(method, f"/_mock/{page}").status_code for method in methods} <= {200, 204, 400}
    for path in ("", "nope", "state/", "State", "state/x", "%73tate"):
        unknown = mock.get(f"/_mock/{path}")
        assert (unknown.status_code, unknown.json()["error_code"]) == (404, "MOCK.404")
        assert all(f"/_mock/{page}" in unknown.json()["error_msg"] for page in PAGES)


def test_head_is_get_without_the_body(mock: httpx.Client) -> None:
    for path in ("/docs", "/openapi.yaml", "/_mock/health"):
        got, head, options = (mock.request(method, path) for method in ("GET", "HEAD", "OPTIONS"))
        assert (head.status_code, head.content, options.status_code) == (200, b"", 204)
        for name in ("Content-Type", "Content-Length"):
            assert head.headers[name] == got.headers[name]
        assert mock.get(path).content == got.content  # nothing is left on the connection


def test_the_spec_is_served_as_it_is(mock: httpx.Client) -> None:
    as_yaml, as_json = mock.get("/openapi.yaml"), mock.get("/openapi.json")
    assert as_yaml.content == CONTRACT.raw == (Path(__file__).parents[2] / "openapi.yaml").read_bytes()
    assert as_json.json() == CONTRACT.document
    types = [response.headers["Content-Type"] for response in (as_yaml, as_json)]
    assert types == ["application/yaml", "application/json"]
    for method in ("POST", "OPTIONS"):
        assert mock.request(method, "/openapi.yaml").headers["Allow"] == "GET, HEAD, OPTIONS"


DOCS = {
    "/docs": "text/html",
    "/docs/docs.css": "text/css",
    "/docs/docs.js": "text/javascript",
    "/docs/swagger-ui.css": "text/css",
    "/docs/swagger-ui-bundle.js": "text/javascript",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def test_the_docs_page_names_and_may_load_only_files_of_the_mock(mock: httpx.Client) -> None:
    for path, kind in DOCS.items():
        response = mock.get(path)
        assert (response.status_code, response.headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
        assert response.headers["Content-Security-Policy"] == POLICY
    named = re.findall(r'(?:src|href)="(?!data:)([^"]*)"', mock.get("/docs").text)
    links = ["/openapi.yaml", "/openapi.json", "/_mock/health", "/_mock/state", "/_mock/request-log"]
    assert sorted(named) == sorted([*links, *list(DOCS)[1:]])
    assert [mock.get(path).status_code for path in links] == [200] * len(links)
    assert not re.search("https?://", mock.get("/docs/docs.css").text + mock.get("/docs/docs.js").text)


BUILT_IN = ["mock-token", "mock-ak mock-sk", "mock-user mock-password"]
TOKENS_AND_USER = "tokens: {s3cret: {}, b: {}}, users: {ann: {password: s3cret, domain: d}}"


@pytest.mark.parametrize(
    ("credentials", "token", "expected"),
    [
        ("", "mock-token", BUILT_IN),
        (f"credentials: {{{TOKENS_AND_USER}}}", "", ["2, in", "none", "ann"]),
        ("credentials: {access_keys: {'<b>': {secret_key: s3cret}}}", "", ["0, in", "&lt;b&gt;", "none"]),
    ],
    ids=["none", "tokens and a user", "a key"],
)
def test_the_docs_page_shows_the_built_in_credentials_or_the_names_of_a_state_file_and_no_secret(
    tmp_path: Path, credentials: str, token: str, expected: list[str]
) -> None:
    (file := tmp_path / "state.yaml").write_text(f"projects: {{}}\n{credentials}", encoding="utf-8")
    with running(CONTRACT, state=file) as url, plain_client(url) as client:
        page = client.get("/docs").text
    assert re.findall('data-token="(.*?)"', page) == [token]
    shown = re.findall("<dd>(.*?)</dd>", page)
    assert all(text.startswith(start) for text, start in zip(shown, expected, strict=True))
    assert "s3cret" not in page


# --- Prefer -------------------------------------------------------------------------------------------------


IDS = {"project_id": "demo-project", "engine_id": ENGINE_ID, "job_id": "18638", "record_id": RECORD}
BODIES: dict[str, Any] = {"RetryEngine": RETRY, "RetryScriptExecution": BY_TASK}
OPERATIONS = {each.id: each for each in CONTRACT.operations}


def prefer(
    mock: httpx.Client, *wishes: str, operation: str = "RetryEngine", **options: Any
) -> httpx.Response:
    of = OPERATIONS[operation]
    path = of.path.format(**(IDS | options.pop("ids", {})))
    headers = [*options.pop("headers", {}).items(), *(("Prefer", wish) for wish in wishes)]
    return mock.request(of.method, path, json=BODIES.get(operation), headers=headers)


@pytest.mark.parametrize(
    ("operation", "status", "outcome"),
    [
        ("RetryEngine", 200, "example"),
        ("ListScriptRecords", 200, "read"),
        ("RetryEngine", 503, "refused"),
        ("RetryScriptExecution", 405, "refused"),
    ],
)
def test_a_response_of_the_spec_can_be_had_and_changes_no_state(
    mock: httpx.Client, operation: str, status: int, outcome: str
) -> None:
    before, body = mock.get("/_mock/state").json(), OPERATIONS[operation].example(status).body
    response = prefer(mock, f"code={status}", operation=operation)
    assert isinstance(body, dict)
    own = {"request_id": response.headers["X-Request-Id"]} if "request_id" in body else {}
    assert (response.status_code, response.json()) == (status, {**body, **own})
    assert ("Allow" in response.headers) == (status == 405)
    assert mock.get("/_mock/state").json() == before
    assert [(entry["outcome"], entry["acted"]) for entry in entries(mock)] == [(outcome, False)]


# Of the same preference twice the first counts, by RFC 7240; a | is between two header lines.
UNAVAILABLE = ["code=503", 'code="503"', 'code = "503";a=b', "wait=10, CODE=503", "code=503, code=404"]
FORCED = dict.fromkeys([*UNAVAILABLE, "respond-async | code=503"], (503, "APIG.0613"))
WRONG_STATE = ["code=400, example=wrongState", 'EXAMPLE="wrongState" | Code=400']
FORCED |= dict.fromkeys(WRONG_STATE, (400, "SVCSTG.00501149"))
FORCED |= {"code=200": (200, "jobId"), "example=page": (200, "string"), 'example="page"': (200, "string")}
FORCED |= dict.fromkeys(["code=418", "code=600"], (400, "it has: 200, 400, 401"))
FORCED |= dict.fromkeys(["example=nope", 'example="accepted by all"'], (400, "it has: accepted, page"))
FORCED["code=400, example=page"] = (400, "it has: unknownEngine, wrongState")


@pytest.mark.parametrize(("wishes", "expected"), FORCED.items())
def test_the_preference_is_read_as_http_has_it_and_what_the_spec_does_not_have_is_refused(
    mock: httpx.Client, wishes: str, expected: tuple[int, str]
) -> None:
    response = prefer(mock, *wishes.split(" | "))
    assert (response.status_code, expected[1] in response.text) == (expected[0], True)
    assert mock.put(ENGINE, json=RETRY).status_code == 200  # nothing was retried before


@pytest.mark.parametrize(
    "other", ["respond-async", "return=minimal", "statuscode=503", 'note="a, code=503"', "", "code"]
)
def test_other_preferences_are_ignored(mock: httpx.Client, other: str) -> None:
    assert [prefer(mock, other).status_code for _ in range(2)] == [200, 400]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_credentials_and_the_request_are_checked_before_prefer(mock: httpx.Client, operation: str) -> None:
    for wish in ("code=503", "code=418"):
        assert prefer(mock, wish, operation=operation, headers={"X-Auth-Token": "x"}).status_code == 401
        invalid = prefer(mock, wish, operation=operation, ids={"project_id": "x" * 65})
        assert [invalid.status_code, "Prefer" in invalid.text] == [400, False]


# --- As a process -------------------------------------------------------------------------------------------

LINES = [
    f"PUT {ENGINE}: 200, accepted",
    f"PUT {ENGINE}: 400 SVCSTG.00501149, refused",
    f"POST {IAM}: 201, accepted",
    "GET /nope%0Anope%1B: 404 APIGW.0101, refused",
    f"PUT {ENGINE}: 503 APIG.0613, refused",
]


def test_a_line_for_each_request_without_secrets() -> None:
    with process() as (url, lines), client_for(url) as client:
        client.put(f"{ENGINE}?a=b", json=RETRY)
        client.put(ENGINE, json=RETRY)
        client.post(IAM, json=asked())
        client.get("/nope%0Anope%1B")
        prefer(client, "code=503")
        for case in SECRETS:
            send(client, *case)
    assert SECRET not in "".join(lines)
    assert len(lines) == 5 + sum(not path.startswith("/_mock/") for path, _, _ in SECRETS)
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines[:5]] == LINES
