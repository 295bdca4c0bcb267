"""The mock's memory, on real sockets: what a state file may say, the mock's clock, and the tokens that IAM issues.

Nobody waits: time is put forward. Each run lasts 1000 s or more, so that the seconds of a slow machine do not matter.
What any server does with its state and credentials: tests/contract/rules.py.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry import AkSkAuth
from huaweicloud_retry.mock import running
from huaweicloud_retry.mock.server import StartError
from tests.mocks import CONTRACT, IAM, JSON, plain_client, token_request

STATE = """\
run_time: 1000
credentials:
  tokens: {always: {}, brief: {expires_in: 500}}
  token_lifetime: 5000
  access_keys: {lasting: {secret_key: sk1}, temporary: {secret_key: sk2, security_token: st}}
  users: {ann: {password: a, domain: one}, bob: {password: b, domain: two}}
projects:
  p1:
    name: north
    engines: {e1: {name: one, jobs: [{id: 1, status: Error}, {id: 2, status: Timeout}]}}
    script_tasks: {t1: {records: {r1: {status: FAILED, run_time: 3000}}}}
  p2: {}
"""
ONE_JOB = "projects: {p1: {engines: {e1: {name: n, jobs: [{id: 7, status: %s}]}}}}"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("state") / "state.yaml"
    file.write_text(STATE, encoding="utf-8")
    with running(CONTRACT, state=file) as url:
        yield url


@pytest.fixture
def mock(url: str) -> Iterator[httpx.Client]:
    """Sends the token that never expires; the state is fresh."""
    with plain_client(url, {"X-Auth-Token": "always"}) as client:
        reset = client.post("/_mock/reset")
        assert (reset.status_code, reset.content) == (204, b"")
        yield client


def retry(mock: httpx.Client, **options: Any) -> httpx.Response:
    return mock.put("/v2/p1/enginemgr/engines/e1/actions", json={"action": "Retry"}, **options)


def rerun(mock: httpx.Client) -> int:
    return mock.post("/v2/p1/script-executions/retry", json={"record_id": "r1"}).status_code


def advance(mock: httpx.Client, seconds: float) -> int:
    return mock.post("/_mock/clock", json={"advance": seconds}).status_code


def state(mock: httpx.Client) -> Any:
    return mock.get("/_mock/state").json()


# --- Work and the clock -------------------------------------------------------------------------------------


def test_reset_brings_everything_back_the_clock_too(mock: httpx.Client) -> None:
    before = state(mock)
    assert [retry(mock).status_code, rerun(mock), advance(mock, 1000.5), advance(mock, 10)] == [200] * 4
    assert (before["seconds_ahead"], state(mock)["seconds_ahead"]) == (0, 1010.5)
    assert state(mock)["projects"] != before["projects"]
    mock.put("/_mock/state", headers=JSON, content=ONE_JOB % "Error")
    mock.post("/_mock/faults", json={"status": 503})
    mock.post("/_mock/reset")
    assert [state(mock), mock.get("/_mock/faults").json()] == [before, []]
    assert mock.get("/_mock/request-log").json() == {"count": 0, "dropped": 0, "entries": []}
    assert retry(mock).json()["jobId"] == 2


def test_the_clock_goes_forward_only_and_never_so_far_that_there_are_no_dates(mock: httpx.Client) -> None:
    advances = ("-1", '"1"', "2e9", '1, "by": 1', "true", "null")
    for content in ("", "[]", "{}", *(f'{{"advance": {seconds}}}' for seconds in advances)):
        assert mock.post("/_mock/clock", headers=JSON, content=content).status_code == 400, content
    assert [state(mock)["seconds_ahead"], advance(mock, 1e9), advance(mock, 1)] == [0, 200, 400]
    assert ask(mock).status_code == 201


@pytest.mark.parametrize("path", ["enginemgr/engines/e1", "script-execution-records"])
def test_a_read_meets_faults_and_never_acts(mock: httpx.Client, path: str) -> None:
    faults = [{"status": 504, "acted": True, "times": 1}, {"close": "after", "times": 1}]
    mock.post("/_mock/faults", json=faults)
    assert mock.get(f"/v2/p1/{path}").status_code == 504
    with pytest.raises(httpx.RemoteProtocolError):
        mock.get(f"/v2/p1/{path}")
    assert mock.get(f"/v2/p1/{path}").status_code == 200
    entries = mock.get("/_mock/request-log").json()["entries"]
    outcomes = [(entry["outcome"], entry["acted"]) for entry in entries]
    assert outcomes == [("refused", False), ("unanswered", False), ("read", False)]


# --- State files --------------------------------------------------------------------------------------------

JOB = "projects:\n p:\n  engines: {e: {name: n, jobs: [{id: %s}]}}"
TASKS = "projects:\n p:\n  script_tasks:\n   t: "
TWICE = TASKS + "{records: {r: &r {status: FAILED}}}\n   u: {records: {r: *r}}"
BAD = {
    "": "line 1: null is not of type",
    "engines: {}": "line 1: ",
    "projects: {\n": "is not YAML: line 2, column 1: ",
    "projects: " + "[" * 5000 + "]" * 5000: "is nested too deeply",
    "projects:\n p: {}\n p: {}": "line 3: this key is a duplicate",
    "projects:\n 1: {}\n 0x1: {}": "line 2: this key is not a string in YAML: write it in quotes",  # both would be 1
    "projects:\n p: {size: 5}": "line 2, /projects/p: Additional properties .*'size' was unexpected",
    "projects:\n p: 5": "line 2, /projects/p: 5 is not of type",
    'projects:\n "a\\nb": 5': r"line 2, /projects/a\S+b: 5 is not of type",
    JOB % "1, status: FAILED": 'line 3, /projects/p/engines/e/jobs/0/status: "FAILED" is not one of',
    JOB % "3000000000, status: Error": "line 3, .*/id: 3000000000 is greater than",
    JOB % "1, status: Error, retries_end: [Init]": "line 3, .*/retries_end/0: ",
    JOB % "1, status: Error, run_time: '5'": 'line 3, .*/run_time: "5" is not of type',
    TASKS + "{records: {r: {status: Error}}}": 'line 4, .*/r/status: "Error" is not one of',
    TWICE: "line 5, .*/u/records/r: this record already belongs to task t",
    "projects: {}\nrun_time: -1": "line 2, /run_time: -1 is less than",
    f"run_time: 1{'0' * 400}\n" + ONE_JOB % "Error": "line 1, /run_time: ",
    "projects: {}\ncredentials: {token_lifetime: 1e300}": "line 2, /credentials/token_lifetime: ",
    "projects: {}\ncredentials: {users: {u: {domain: d}}}": "line 2, /credentials/users: ",
}


@pytest.mark.parametrize(("text", "says"), BAD.items(), ids=range(len(BAD)))
def test_an_invalid_state_is_refused_in_one_line_and_changes_nothing(
    mock: httpx.Client, tmp_path: Path, text: str, says: str
) -> None:
    before = state(mock)
    refused = mock.put("/_mock/state", headers=JSON, content=text)
    assert [refused.status_code, state(mock), retry(mock).status_code] == [400, before, 200]
    (file := tmp_path / "state.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(StartError, match=f"^{file}: {says}") as caught, running(CONTRACT, state=file):
        pass
    assert "\n" not in str(caught.value)
    assert refused.json()["error_msg"] == str(caught.value).replace(f"{file}:", "The body is invalid:")


# --- Tokens of IAM ------------------------------------------------------------------------------------------

ANN = ("a", "ann", "one")
WELCOME, WRONG, EXPIRED = (404, "WKS.00211902"), (401, "APIGW.0301"), (401, "APIGW.0307")


def ask(mock: httpx.Client, user: tuple[str, str, str] = ANN, **scope: dict[str, str]) -> httpx.Response:
    return mock.post(IAM, json=token_request(*user, **scope))


def accepts(mock: httpx.Client, token: str | None = None, auth: httpx.Auth | None = None) -> tuple[int, str]:
    """Ask for a record that does not exist: 404 if the credentials are accepted."""
    request = mock.build_request("POST", "/v2/p1/script-executions/retry", json={"record_id": "none"})
    del request.headers["X-Auth-Token"]
    request.headers.update({} if token is None else {"X-Auth-Token": token})
    response = mock.send(request, auth=auth)
    return response.status_code, response.json()["error_code"]


SCOPES: list[tuple[dict[str, dict[str, str]], dict[str, str]]] = [
    ({"project": {"name": "north"}}, {"id": "p1", "name": "north"}),
    ({"project": {"id": "p2"}}, {"id": "p2", "name": "p2"}),
    ({"domain": {"name": "one"}}, {"name": "one"}),
    ({}, {"name": "one"}),
]


@pytest.mark.parametrize(("scope", "granted"), SCOPES)
def test_iam_issues_a_token_of_the_documented_form(
    mock: httpx.Client, scope: dict[str, dict[str, str]], granted: dict[str, str]
) -> None:
    response = ask(mock, ANN, **scope)
    token, kind = response.json()["token"], next(iter(scope), "domain")
    accepted = EXPIRED if granted.get("id") == "p2" else WELCOME  # the path is of p1
    assert accepts(mock, response.headers["X-Subject-Token"]) == accepted
    assert set(token) == {"catalog", "expires_at", "issued_at", "methods", "roles", "user", kind}
    assert granted.items() <= token[kind].items()
    user, domain = token["user"], token["user"]["domain"]
    assert (user["name"], domain["name"], token["methods"]) == ("ann", "one", ["password"])
    assert [set(role) for role in token["roles"]] == [{"id", "name"}]
    issued, expires = (datetime.fromisoformat(token[name]) for name in ("issued_at", "expires_at"))
    assert (expires - issued).total_seconds() == pytest.approx(5000, abs=1e-5)
    assert ask(mock, domain={"id": domain["id"]}).json()["token"]["domain"] == domain


def test_a_token_ends_after_its_lifetime_and_with_its_mock(mock: httpx.Client) -> None:
    old = ask(mock).headers["X-Subject-Token"]
    advance(mock, 4900)
    new = ask(mock).headers["X-Subject-Token"]
    advance(mock, 100)
    assert [accepts(mock, token) for token in (old, new, "brief")] == [EXPIRED, WELCOME, EXPIRED]
    assert "The token must be updated" in retry(mock, headers={"X-Auth-Token": old}).text
    with running(CONTRACT) as url, plain_client(url, {"X-Auth-Token": new}) as other:
        assert retry(other).status_code == 401
    mock.post("/_mock/reset")
    assert accepts(mock, "brief") == WELCOME


def iam_error(refused: httpx.Response) -> tuple[int, str, str]:
    error = refused.json()["error"]
    assert [set(refused.json()), set(error)] == [{"error"}, {"code", "message", "title"}]
    assert (error["code"], "X-Subject-Token" in refused.headers) == (refused.status_code, False)
    return error["code"], error["title"], error["message"]


def test_iam_refuses_unknown_scopes_and_other_methods_in_its_own_shape(mock: httpx.Client) -> None:
    scopes: list[dict[str, dict[str, str]]] = [{"project": {"name": "p1"}}, {"project": {"id": "north"}}]
    for scope in (*scopes, {"domain": {"name": "two"}}):
        assert iam_error(ask(mock, ANN, **scope))[:2] == (404, "Not Found")
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"):
        other = mock.request(method, IAM)
        assert (other.status_code, other.headers["Allow"]) == (405, "POST")


def test_a_wrong_security_token_counts_and_an_unknown_key_does_not(mock: httpx.Client) -> None:
    for _ in range(5):
        assert accepts(mock, auth=AkSkAuth("temporary", "sk2", security_token="no")) == WRONG
        assert accepts(mock, auth=AkSkAuth("nobody", "sk2")) == WRONG
    assert accepts(mock, auth=AkSkAuth("temporary", "sk2", security_token="st")) == WRONG
    assert accepts(mock, auth=AkSkAuth("lasting", "sk1")) == WELCOME


def test_five_wrong_passwords_in_a_row_lock_a_user_for_five_minutes(mock: httpx.Client) -> None:
    wrong = ("b", "ann", "one")
    for user in (*[wrong] * 4, ANN, *[wrong, ("a", "ann", "two")] * 2, ("", "ann", "")):
        ask(mock, user)
    says = "The user is locked: five failures in a row lock it for five minutes of the mock's clock."
    assert iam_error(ask(mock)) == (401, "Unauthorized", says)
    assert ask(mock, ("b", "bob", "two")).status_code == 201
    advance(mock, 300)
    assert ask(mock).status_code == 201


def test_the_credentials_of_a_state_file_are_shown_nowhere(mock: httpx.Client) -> None:
    refused = retry(mock, headers={"X-Auth-Token": "x"}), ask(mock, ("", "ann", ""))
    shown = "".join(response.text for response in (mock.get("/_mock/state"), *refused))
    assert not re.search("always|brief|sk1|sk2|lasting|temporary|bob", shown)
