"""The mock's own endpoints, on real sockets: request log, state, faults, docs, the spec, the lines it logs, `Prefer`."""

import json
import logging
import re
from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry.contract import Operation
from huaweicloud_retry.mock import running
from huaweicloud_retry.mock.request import MockRequest
from huaweicloud_retry.mock.request_log import KEPT, RequestLog
from tests.mocks import CONTRACT, ENGINE, IAM, JSON, RETRY, SCRIPT, TASK, client_for, process
from tests.mocks import token_request as asked

BY_TASK = {"task_id": TASK}
PAGES = {
    "health": "GET, HEAD, OPTIONS",
    "state": "GET, HEAD, PUT, OPTIONS",
    "request-log": "GET, HEAD, OPTIONS",
    "faults": "GET, HEAD, POST, DELETE, OPTIONS",
    "clock": "POST, OPTIONS",
    "reset": "POST, OPTIONS",
}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with running(CONTRACT) as url, client_for(url) as client:
        yield client


@pytest.fixture
def mock(client: httpx.Client) -> httpx.Client:
    """Sends the right token; the state is fresh."""
    assert client.post("/_mock/reset").status_code == 204
    return client


def entries(mock: httpx.Client) -> list[dict[str, Any]]:
    response = mock.get("/_mock/request-log")
    assert response.status_code == 200
    found: list[dict[str, Any]] = response.json()["entries"]
    return found


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
    assert [entry["number"] for entry in found] == list(range(1, 10))
    assert [entry["request_id"] for entry in found] == [
        response.headers["X-Request-Id"] for response in responses
    ]
    assert [found[0]["query"], found[0]["body"], found[3]["body"]] == [
        "a=b%20c",
        RETRY,
        "<1 bytes, not readable as JSON>",
    ]
    assert found[0]["headers"] == {**dict(responses[0].request.headers), "x-auth-token": "***"}
    assert found[2]["fault"] == fault


SECRET = "314159265358979"  # such as may be a number
SIGNED = "SDK-HMAC-SHA256 Access=mock-ak, SignedHeaders=host;x-sdk-date, "
USERS = {"projects": {}, "credentials": {"users": {"u": {"domain": "d", "password": [SECRET]}}}}
# Where a secret may stand: path, headers beside the right token, body.
SECRETS: dict[str, tuple[str, Any, Any]] = {
    "token": (ENGINE, {"X-Auth-Token": SECRET}, RETRY),
    "token twice": (ENGINE, [("X-Auth-Token", SECRET), ("x-auth-token", SECRET)], RETRY),
    "bearer": (ENGINE, {"X-Auth-Token": "", "Authorization": f"Bearer {SECRET}"}, RETRY),
    "signature": (ENGINE, {"Authorization": f"{SIGNED}Signature={SECRET}"}, RETRY),
    "signature in small letters": (ENGINE, {"Authorization": f"{SIGNED}signature={SECRET}"}, RETRY),
    "signature of another form": (ENGINE, {"Authorization": f"SDK-HMAC-SHA256 {SECRET}"}, RETRY),
    "two authorizations": (
        ENGINE,
        [("Authorization", f"{SIGNED}Signature=0"), ("Authorization", SECRET)],
        RETRY,
    ),
    "security token": (ENGINE, {"X-Security-Token": SECRET}, RETRY),
    "other headers": (
        ENGINE,
        {"Cookie": f"a={SECRET}", "Proxy-Authorization": SECRET, "X-Api-Key": SECRET},
        RETRY,
    ),
    "referer": (ENGINE, {"Referer": f"http://a/?token={SECRET}"}, RETRY),
    "IAM": (IAM, {}, asked(SECRET)),
    "IAM, a number": (IAM, {}, asked(int(SECRET))),
    "IAM, a list": (IAM, {}, asked([SECRET])),
    "IAM, in place of the user": (
        IAM,
        {},
        {"auth": {"identity": {"methods": ["password"], "password": SECRET}}},
    ),
    "IAM, in a list": (IAM, {}, {"auth": {"identity": [asked(SECRET)]}}),
    "IAM, a header": (IAM, {"X-Subject-Token": SECRET}, asked()),
    "IAM, a form": (IAM, {"Content-Type": "application/x-www-form-urlencoded"}, f"password={SECRET}"),
    "IAM, cut short": (IAM, JSON, json.dumps(asked(SECRET))[:-1]),
    "IAM, twice": (IAM, JSON, f'{{"password": "{SECRET}", "password": "{SECRET}"}}'),
    "query": (
        f"{ENGINE}?token={SECRET}&X-Auth-Token={SECRET}&secret_key={SECRET}&%70assword={SECRET}",
        {},
        RETRY,
    ),
    "query, api_key": (f"{ENGINE}?api_key={SECRET}", {}, RETRY),
    "query, semicolon": (f"{ENGINE}?a=b;token={SECRET}", {}, RETRY),
    "query of no operation": (f"/nope?token={SECRET}", {"Authorization": SECRET}, None),
    "body": (ENGINE, {}, {"action": "Stop", "token": SECRET, "a": [{"secret_key": SECRET}]}),
    "body, in lists": (ENGINE, {}, {**RETRY, "tokens": [SECRET]}),
    "body, in objects": (ENGINE, {}, {**RETRY, "password": {"value": SECRET}}),
    "body, no JSON": (ENGINE, JSON, f"token={SECRET}"),
    "body, no UTF-8": (ENGINE, JSON, b"\xff" + SECRET.encode()),
    "state": ("/_mock/state", {}, {"projects": {}, "credentials": {"tokens": {SECRET: {}}}}),
    "state, no token": ("/_mock/state", {}, {"projects": {}, "credentials": {"tokens": {SECRET: None}}}),
    "state, no password": ("/_mock/state", {}, USERS),
}


def send(client: httpx.Client, case: str) -> str:
    path, headers, body = SECRETS[case]
    given: dict[str, Any] = {"content" if isinstance(body, str | bytes) else "json": body, "headers": headers}
    return client.request("POST" if path == IAM else "PUT", path, **given).text


@pytest.mark.parametrize("case", SECRETS)
def test_a_secret_is_shown_nowhere_wherever_it_stands(
    mock: httpx.Client, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "huaweicloud_retry")
    response = send(mock, case)
    pages = "".join(
        mock.get(f"/_mock/{page}").text for page in ("request-log", "state", "health", "faults", "nope")
    )
    assert (len(entries(mock)), len(caplog.records)) == ((0, 0) if case.startswith("state") else (1, 1))
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
    of_small, of_large = small.as_json(), large.as_json()
    assert (of_small["count"], of_small["dropped"], KEPT) == (10_100, 100, 10_000)
    for log, count in (of_small, 10_100), (of_large, 1400):
        shown: Any = log["entries"]
        kept = len(shown)
        assert [each["path"] for each in shown] == [f"/{number}" for number in range(count - kept, count)]
        assert (log["count"], log["dropped"]) == (count, count - kept)
    assert 1000 < kept < 1400


def test_the_request_log_keeps_no_large_bodies_headers_or_urls(mock: httpx.Client) -> None:
    large = "x" * 30_000
    mock.put(ENGINE, json={**RETRY, "a": large})
    mock.put(f"{ENGINE}?a={large}", json=RETRY, headers={"X-A": large})
    mock.get(f"/{large}")
    mock.get(
        "/nope", headers={f"X-{number}": "" for number in range(70)}
    )  # whose memory is not in their bytes
    assert [entry["method"] for entry in entries(mock)] == ["PUT", "PUT", "GET", "GET"]
    assert [len(entry["headers"]) > 0 for entry in entries(mock)] == [True, False, False, False]
    assert len(mock.get("/_mock/request-log").content) < 10_000


def test_the_request_log_can_be_read_however_deep_a_body_is(mock: httpx.Client) -> None:
    for depth in 100, 300, 700, 5000:
        for path in SCRIPT, IAM, "/nope":
            mock.post(path, content=b"[" * depth + b"]" * depth, headers=JSON)
    assert [entry["status"] for entry in entries(mock)] == [400, 400, 404] * 4


# --- The other pages ----------------------------------------------------------------------------------------


def test_each_page_names_its_methods_to_whoever_uses_another(mock: httpx.Client) -> None:
    for page, allowed in PAGES.items():
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - set(allowed.split(", ")):
            refused = mock.request(method, f"/_mock/{page}")
            assert (refused.status_code, refused.headers["Allow"]) == (405, allowed)
        assert all(
            mock.request(method, f"/_mock/{page}").status_code in {200, 204, 400}
            for method in allowed.split(", ")
        )
    for path in "", "nope", "state/", "State", "state/x", "%73tate":
        unknown = mock.get(f"/_mock/{path}")
        assert (unknown.status_code, unknown.json()["error_code"]) == (404, "MOCK.404")
        assert all(f"/_mock/{page}" in unknown.json()["error_msg"] for page in PAGES)


def test_faults_are_added_shown_counted_and_taken_away(mock: httpx.Client) -> None:
    twice, ever = {"operation": "RetryEngine", "status": 503, "times": 2}, {"status": 502}
    assert [mock.post("/_mock/faults", json=given).status_code for given in ([twice], ever)] == [204, 204]
    refused = mock.post("/_mock/faults", json=[{"status": 503}, {"status": 200}])
    assert refused.status_code == 400
    assert refused.json()["error_msg"].startswith("The body is invalid: /1/status: ")
    assert [mock.put(ENGINE, json=RETRY).status_code, mock.post(SCRIPT, json=BY_TASK).status_code] == [
        503,
        502,
    ]
    assert mock.get("/_mock/faults").json() == [{**twice, "times": 1}, ever]
    assert [mock.put(ENGINE, json=RETRY).status_code for _ in range(2)] == [503, 502]
    assert mock.delete("/_mock/faults").status_code == 204
    assert [mock.put(ENGINE, json=RETRY).status_code, mock.get("/_mock/faults").json()] == [200, []]


def test_a_response_that_has_no_body_by_http_is_sent_without(mock: httpx.Client) -> None:
    mock.post("/_mock/faults", json={"status": 304})
    assert [mock.post(IAM, json=asked()).status_code for _ in range(2)] == [304, 304]  # on one connection


def test_the_spec_is_served_as_it_is(mock: httpx.Client) -> None:
    as_yaml, as_json = mock.get("/openapi.yaml"), mock.get("/openapi.json")
    assert as_yaml.content == CONTRACT.raw == (Path(__file__).parents[2] / "openapi.yaml").read_bytes()
    assert as_json.json() == CONTRACT.document
    types = [response.headers["Content-Type"] for response in (as_yaml, as_json)]
    assert types == ["application/yaml", "application/json"]
    assert [mock.post(f"/openapi.{kind}").headers["Allow"] for kind in ("yaml", "json")] == [
        "GET, HEAD, OPTIONS"
    ] * 2


DOCS = {
    "/docs": "text/html",
    "/docs/docs.css": "text/css",
    "/docs/docs.js": "text/javascript",
    "/docs/swagger-ui.css": "text/css",
    "/docs/swagger-ui-bundle.js": "text/javascript",
}


def test_the_docs_page_is_served_and_may_load_nothing_but_its_own_files(mock: httpx.Client) -> None:
    for path, kind in DOCS.items():
        response = mock.get(path)
        assert (response.status_code, response.headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
        policy = response.headers["Content-Security-Policy"]
        assert policy == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )


def test_all_that_the_docs_page_names_is_the_mocks_and_exists(mock: httpx.Client) -> None:
    named = re.findall(r'(?:src|href)="(?!data:)([^"]*)"', mock.get("/docs").text)
    links = ["/openapi.yaml", "/openapi.json", "/_mock/health", "/_mock/state", "/_mock/request-log"]
    assert sorted(named) == sorted([*links, *list(DOCS)[1:]])
    assert [mock.get(path).status_code for path in named] == [200] * len(named)
    assert not re.search("https?://", mock.get("/docs/docs.css").text + mock.get("/docs/docs.js").text)


# --- Prefer -------------------------------------------------------------------------------------------------


DOCUMENT: Any = CONTRACT.document


def follow(node: Any) -> Any:
    while "$ref" in node:
        _, *steps = node["$ref"].split("/")
        node = reduce(getitem, steps, DOCUMENT)
    return node


def described(operation: Operation) -> Any:
    return DOCUMENT["paths"][operation.path][operation.method.lower()]


def documented() -> Iterator[tuple[str, int, str, object]]:
    """The operation, status, name and body of each example in the spec."""
    for operation in CONTRACT.operations:
        for status, response in described(operation)["responses"].items():
            for name, example in follow(response)["content"]["application/json"]["examples"].items():
                yield operation.id, int(status), name, follow(example)["value"]


def shown(operation: Operation) -> tuple[str, str, Any]:
    """The request that the spec shows: method, path and body."""
    parameters = [follow(each) for each in DOCUMENT["paths"][operation.path]["parameters"]]
    path = operation.path.format(**{each["name"]: each["example"] for each in parameters})
    content = described(operation).get("requestBody", {"content": {}})["content"]
    bodies = [
        follow(example)["value"] for media in content.values() for example in media["examples"].values()
    ]
    return operation.method, path, bodies[0] if bodies else None


CALLS = {operation.id: shown(operation) for operation in CONTRACT.operations}


def prefer(
    mock: httpx.Client, *wishes: str, operation: str = "RetryEngine", **options: Any
) -> httpx.Response:
    method, path, body = CALLS[operation]
    path = options.pop("path", path)
    headers = [*options.pop("headers", {}).items(), *(("Prefer", wish) for wish in wishes)]
    return mock.request(method, path, **{"json": body, "headers": headers, **options})


@pytest.mark.parametrize(("operation", "status", "name", "body"), list(documented()))
def test_each_response_of_the_spec_can_be_had_and_changes_no_state(
    mock: httpx.Client, operation: str, status: int, name: str, body: Any
) -> None:
    before = mock.get("/_mock/state").json()
    response = prefer(mock, f"code={status}, example={name}", operation=operation)
    own = {"request_id": response.headers["X-Request-Id"]} if "request_id" in body else {}
    assert [response.status_code, response.json(), "Allow" in response.headers] == [
        status,
        body | own,
        status == 405,
    ]
    assert prefer(mock, f"code={status}", operation=operation).status_code == status
    assert mock.get("/_mock/state").json() == before
    entry = entries(mock)[0]
    success = "read" if entry["method"] == "GET" else "example"
    assert [entry["outcome"], entry["acted"]] == ["refused" if status >= 400 else success, False]
    assert response.headers.get_list("X-Request-Id") == [entry["request_id"]]


WRONG_STATE, UNAVAILABLE = "SVCSTG.00501149", "APIG.0613"
READ_AS = {  # a | is between two header lines; of the same preference twice the first counts, by RFC 7240
    **dict.fromkeys(("code=400, example=wrongState", 'EXAMPLE="wrongState" | Code=400'), WRONG_STATE),
    **dict.fromkeys(("code=503", 'code="503"', 'code = "503";a=b', "wait=10, CODE=503"), UNAVAILABLE),
    **dict.fromkeys(("respond-async | code=503", "code=503, code=404"), UNAVAILABLE),
    **dict.fromkeys(("code=200", "example=page", 'example="page"')),
}


@pytest.mark.parametrize(("wishes", "code"), READ_AS.items())
def test_the_preference_is_read_as_http_has_it(mock: httpx.Client, wishes: str, code: str | None) -> None:
    response = prefer(mock, *wishes.split(" | "))
    assert [response.json().get("error_code"), mock.put(ENGINE, json=RETRY).status_code] == [code, 200]


@pytest.mark.parametrize(
    "other", ["respond-async", "return=minimal", "statuscode=503", 'note="a, code=503"', "", "code"]
)
def test_other_preferences_are_ignored(mock: httpx.Client, other: str) -> None:
    assert [prefer(mock, other).status_code for _ in range(2)] == [200, 400]


HAS = {"code=418": "200, 400, 401", "code=600": "200, 400, 401", "example=nope": "accepted, page"}
HAS |= {"code=400, example=page": "unknownEngine, wrongState", 'example="accepted by all"': "accepted, page"}


@pytest.mark.parametrize(("wish", "has"), HAS.items())
def test_what_the_spec_does_not_have_is_refused_with_what_it_has(
    mock: httpx.Client, wish: str, has: str
) -> None:
    refused = prefer(mock, wish)
    assert (refused.status_code, refused.json().get("error_code")) == (400, "APIGW.0201")
    assert has in refused.json()["error_msg"]
    assert mock.put(ENGINE, json=RETRY).status_code == 200


@pytest.mark.parametrize("operation", CALLS)
def test_credentials_and_the_request_are_checked_before(mock: httpx.Client, operation: str) -> None:
    for wish in "code=503", "code=418":
        assert prefer(mock, wish, operation=operation, headers={"X-Auth-Token": "x"}).status_code == 401
        too_long = CALLS[operation][1].replace("demo-project", "x" * 65)
        invalid = prefer(mock, wish, operation=operation, path=too_long)
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
            send(client, case)
    assert SECRET not in "".join(lines)
    assert len(lines) == 5 + sum(not case.startswith("state") for case in SECRETS)
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines[:5]] == LINES


def test_no_admin_takes_the_pages_away_and_nothing_else_and_quiet_the_lines() -> None:
    with process("--quiet", "--no-admin") as (url, lines), client_for(url) as client:
        for page, methods in PAGES.items():
            for method in methods.split(", "):
                assert client.request(method, f"/_mock/{page}").status_code == 404
        assert [client.get(path).status_code for path in ("/docs", "/openapi.yaml", "/openapi.json")] == [
            200
        ] * 3
        assert [client.put(ENGINE, json=RETRY).status_code, client.post(IAM, json=asked()).status_code] == [
            200,
            201,
        ]
    assert lines == []
