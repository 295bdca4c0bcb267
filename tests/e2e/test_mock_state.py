"""The mock's memory, on real sockets: what a state file may say, how work runs and ends, who is let in and for how long.

Nobody waits: time is put forward. Each run lasts 1000 s or more, so that the seconds of a slow machine do not matter.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry import AkSkAuth
from huaweicloud_retry.mock import running
from huaweicloud_retry.mock.server import StartError
from tests.mocks import COMMAND, JSON, plain_client

STATE = """\
run_time: 1000
credentials:
  tokens: {always: {}, brief: {expires_in: 500}, other: {project: p2}}
  token_lifetime: 5000
  access_keys: {lasting: {secret_key: sk1}, temporary: {secret_key: sk2, security_token: st}}
  users: {ann: {password: a, domain: one}, bob: {password: b, domain: two}}
projects:
  p1:
    name: north
    engines:
      e1: {name: one, jobs: [{id: 1, status: Error}, {id: 2, status: Timeout, retries_end: [Error, Timeout, Finished]}]}
      e2: {name: two, jobs: [{id: 3, status: Error}, {id: 4, status: Finished}]}
      e3: {name: three, jobs: [{id: 5, status: Init, run_time: 3000}]}
    script_tasks:
      t1:
        records:
          r1: {status: FAILED}
          r2: {status: FAILED, run_time: 3000, retries_end: [FAILED, SUCCESS]}
          r3: {status: SUCCESS}
          r4: {status: WAITING}
      t2: {records: {r5: {status: FAILED}}}
  p2: {}
"""
ONE_JOB = "projects: {p1: {engines: {e1: {name: n, jobs: [{id: 7, status: %s}]}}}}"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("state") / "state.yaml"
    file.write_text(STATE, encoding="utf-8")
    with running(state=file) as url:
        yield url


@pytest.fixture
def mock(url: str) -> Iterator[httpx.Client]:
    """Sends the token that never expires; the state is fresh."""
    with plain_client(url, {"X-Auth-Token": "always"}) as client:
        assert client.post("/_mock/reset").status_code == 204
        yield client


def retry(mock: httpx.Client, engine: str = "e1", **options: Any) -> httpx.Response:
    return mock.put(f"/v2/p1/enginemgr/engines/{engine}/actions", json={"action": "Retry"}, **options)


def rerun(mock: httpx.Client, **body: str) -> int:
    return mock.post("/v2/p1/script-executions/retry", json=body).status_code


def advance(mock: httpx.Client, seconds: float) -> None:
    assert mock.post("/_mock/clock", json={"advance": seconds}).status_code == 200


def work(mock: httpx.Client) -> str:
    """Each job and record with the first letters of its status and how often it was retried."""
    project = mock.get("/_mock/state").json()["projects"]["p1"]
    every = [(job["id"], job) for engine in project["engines"].values() for job in engine["jobs"]]
    every += [item for task in project["script_tasks"].values() for item in task["records"].items()]
    return " ".join(f"{name}={about['status'][:2]}{about['retries']}" for name, about in every)


START = "1=Er0 2=Ti0 3=Er0 4=Fi0 5=In0 r1=FA0 r2=FA0 r3=SU0 r4=WA0 r5=FA0"


# --- Work ---------------------------------------------------------------------------------------------------


def test_reset_brings_everything_back_the_clock_too(mock: httpx.Client) -> None:
    before = mock.get("/_mock/state").json()
    assert [retry(mock).status_code, rerun(mock, task_id="t1")] == [200, 200]
    for seconds in 1000.5, 10:
        advance(mock, seconds)
    assert mock.get("/_mock/state").json()["seconds_ahead"] == 1010.5
    for body in (
        "",
        "[]",
        "{}",
        '{"advance": -1}',
        '{"advance": "1"}',
        '{"advance": 2e9}',
        '{"advance": 1, "by": 1}',
    ):
        assert mock.post("/_mock/clock", headers=JSON, content=body).status_code == 400
    assert mock.get("/_mock/state").json()["seconds_ahead"] == 1010.5
    mock.put("/_mock/state", headers=JSON, content=ONE_JOB % "Error")
    mock.post("/_mock/faults", json={"status": 503})
    mock.post("/_mock/reset")
    assert [mock.get("/_mock/state").json(), before["seconds_ahead"], work(mock)] == [before, 0, START]
    assert mock.get("/_mock/request-log").json() == {"count": 0, "dropped": 0, "entries": []}
    assert [mock.get("/_mock/faults").json(), retry(mock).status_code, work(mock)[6:11]] == [[], 200, "2=Ex1"]


def test_work_has_the_times_of_the_mocks_clock(mock: httpx.Client) -> None:
    advance(mock, 5000)
    now = parsedate_to_datetime(retry(mock).headers["Date"]).timestamp()
    assert rerun(mock, record_id="r2") == 200
    job, record = "/v2/p1/enginemgr/engines/e1/jobs/2", "/v2/p1/script-execution-records/r2"
    runs = mock.get(job).json()
    assert (runs["status"], runs["endTime"]) == ("Executing", None)
    assert now * 1000 <= runs["startTime"] <= (now + 60) * 1000
    advance(mock, 3000)
    assert mock.get(job).json()["endTime"] == pytest.approx(runs["startTime"] + 1_000_000, abs=1)
    shown = mock.get(record).json()
    began, ended = (datetime.fromisoformat(shown[name]) for name in ("start_time", "end_time"))
    assert 2999 <= (ended - began).total_seconds() <= 3001


@pytest.mark.parametrize(
    "path", ["enginemgr/engines/e1", "enginemgr/engines/e1/jobs/2", "script-execution-records"]
)
def test_a_read_meets_faults_and_never_acts(mock: httpx.Client, path: str) -> None:
    faults = [{"status": 504, "acted": True, "times": 1}, {"close": "after", "times": 1}]
    mock.post("/_mock/faults", json=faults)
    assert mock.get(f"/v2/p1/{path}").status_code == 504
    with pytest.raises(httpx.RemoteProtocolError):
        mock.get(f"/v2/p1/{path}")
    assert mock.get(f"/v2/p1/{path}").status_code == 200
    entries = mock.get("/_mock/request-log").json()["entries"]
    assert [(entry["outcome"], entry["acted"]) for entry in entries] == [
        ("refused", False),
        ("unanswered", False),
        ("read", False),
    ]


# --- State files --------------------------------------------------------------------------------------------

JOB, TASKS = (
    "projects:\n p:\n  engines: {e: {name: n, jobs: [{id: %s}]}}",
    "projects:\n p:\n  script_tasks:\n   t: ",
)
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


@pytest.mark.parametrize(("text", "says"), BAD.items())
def test_a_state_that_will_not_do_is_refused_in_one_line_and_changes_nothing(
    mock: httpx.Client, tmp_path: Path, text: str, says: str
) -> None:
    refused = mock.put("/_mock/state", headers=JSON, content=text)
    assert [refused.status_code, work(mock), retry(mock).status_code] == [400, START, 200]
    (file := tmp_path / "state.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(StartError, match=f"^{file}: {says}") as caught, running(state=file):
        pass
    assert "\n" not in str(caught.value)
    assert refused.json()["error_msg"] == str(caught.value).replace(f"{file}:", "The body is invalid:")


def test_the_command_reports_a_wrong_state_file_in_one_line(tmp_path: Path) -> None:
    (file := tmp_path / "state.yaml").write_bytes(b"projects: {p: {name: \xff}}")
    for path, says in (file, "is not YAML.*invalid .*UTF-8"), (tmp_path, "cannot be read: Is a directory"):
        command = [*COMMAND, "--port", "0", "--state", str(path)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
        assert re.match(f"python -m huaweicloud_retry.mock: {path}: {says}", ran.stderr)


# --- Who is let in ------------------------------------------------------------------------------------------

ANN = ("ann", "a", "one")
WELCOME, WRONG, EXPIRED = (404, "WKS.00211902"), (401, "APIGW.0301"), (401, "APIGW.0307")


def asked(user: tuple[str, str, str] = ANN, **scope: dict[str, str]) -> dict[str, Any]:
    who = {"name": user[0], "password": user[1], "domain": {"name": user[2]}}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": who}}}
    return {"auth": {**auth, "scope": scope} if scope else auth}


def ask(mock: httpx.Client, user: tuple[str, str, str] = ANN, **scope: dict[str, str]) -> httpx.Response:
    return mock.post("/v3/auth/tokens", json=asked(user, **scope))


def let_in(mock: httpx.Client, token: str | None = None, auth: httpx.Auth | None = None) -> tuple[int, str]:
    """Ask for a record that there is not: 404 to whoever is let in."""
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
def test_iam_gives_a_token_of_the_documented_form_which_lets_in(
    mock: httpx.Client, scope: dict[str, dict[str, str]], granted: dict[str, str]
) -> None:
    response = ask(mock, ANN, **scope)
    token, kind = response.json()["token"], next(iter(scope), "domain")
    comes_in = (
        EXPIRED if granted.get("id") == "p2" else WELCOME
    )  # in the words of the gateway; the path is of p1
    assert (response.status_code, let_in(mock, response.headers["X-Subject-Token"])) == (201, comes_in)
    assert set(token) == {"catalog", "expires_at", "issued_at", "methods", "roles", "user", kind}
    assert granted.items() <= token[kind].items()
    assert [token["user"]["name"], token["user"]["domain"]["name"], token["methods"]] == [
        "ann",
        "one",
        ["password"],
    ]
    assert token["roles"]
    assert all(set(role) == {"id", "name"} for role in token["roles"])
    times = [token["issued_at"], token["expires_at"]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time) for time in times)
    issued, expires = map(datetime.fromisoformat, times)
    assert (expires - issued).total_seconds() == pytest.approx(5000, abs=1e-5)
    domain = token["user"]["domain"]
    assert ask(mock, domain={"id": domain["id"]}).json()["token"]["domain"] == domain


def test_tokens_expire_by_the_mocks_clock(mock: httpx.Client) -> None:
    first = ask(mock)
    advance(mock, 4900)
    second = ask(mock)
    old, new = first.headers["X-Subject-Token"], second.headers["X-Subject-Token"]
    assert [let_in(mock, token) for token in (old, new, "always", "brief")] == [
        WELCOME,
        WELCOME,
        WELCOME,
        EXPIRED,
    ]
    advance(mock, 100)
    assert [let_in(mock, token) for token in (old, new)] == [EXPIRED, WELCOME]
    issued = [datetime.fromisoformat(response.json()["token"]["issued_at"]) for response in (first, second)]
    assert (issued[1] - issued[0]).total_seconds() >= 4900
    says = retry(mock, headers={"X-Auth-Token": old}).json()["error_msg"]
    assert says.startswith("The token must be updated")
    mock.post("/_mock/reset")
    assert let_in(mock, "brief") == WELCOME


def test_no_time_is_too_far_ahead_for_a_token(mock: httpx.Client) -> None:
    for _ in range(260):  # the year 9999 and beyond, if it is let so far
        mock.post("/_mock/clock", json={"advance": 1e9})
    assert ask(mock).status_code == 201


def test_a_forged_or_altered_token_is_wrong_and_so_is_that_of_another_mock(mock: httpx.Client) -> None:
    token = ask(mock).headers["X-Subject-Token"]
    later = str(int(token[0]) + 1) + token[1:]
    altered = [
        later,
        token[1:],
        token[:-1],
        f"{token}0",
        f"{token}.",
        token.upper(),
        f"{later[:16]}..",
        f"{token}, {token}",
    ]
    for forged in *altered, "", ".", "..", "...", "mock-token", "Always", "always,":
        assert let_in(mock, forged) == WRONG, forged
    with (
        running() as url,
        plain_client(url, {"X-Auth-Token": token}) as other,
    ):
        assert retry(other).status_code == 401
    assert let_in(mock, token) == WELCOME


def iam_error(refused: httpx.Response) -> tuple[int, str, str]:
    error = refused.json()["error"]
    assert [set(refused.json()), set(error)] == [{"error"}, {"code", "message", "title"}]
    assert (error["code"], "X-Subject-Token" in refused.headers) == (refused.status_code, False)
    return error["code"], error["title"], error["message"]


def test_iam_refuses_in_its_own_shape_whom_it_does_not_know(mock: httpx.Client) -> None:
    for user in (
        ("ann", "b", "one"),
        ("ann", "a", "two"),
        ("eve", "a", "one"),
        ("ANN", "a", "one"),
        ("ann", "", "one"),
    ):
        assert iam_error(ask(mock, user)) == (401, "Unauthorized", "The username or password is wrong.")
    for kind, wanted in (
        ("project", {"name": "p1"}),
        ("project", {"id": "north"}),
        ("domain", {"name": "two"}),
    ):
        assert iam_error(ask(mock, ANN, **{kind: wanted}))[:2] == (404, "Not Found")
    assert [ask(mock).status_code, ask(mock, ("bob", "b", "two")).status_code] == [201, 201]
    for method in "GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS":
        other = mock.request(method, "/v3/auth/tokens")
        assert [other.status_code, other.headers["Allow"]] == [405, "POST"]


def test_iam_refuses_in_its_own_shape_what_it_cannot_read(mock: httpx.Client) -> None:
    both = {"id": "p1", "name": "north"}
    bodies = [json.dumps(asked(project=project)) for project in ({}, both, {"id": "p1", "x": ""})]
    bodies += [json.dumps(asked(project={"id": "p1"}, domain={"name": "one"})), json.dumps(asked())[:-1]]
    bodies += [
        json.dumps(asked()).replace(*change) for change in (('["password"]', '["token"]'), ('"a"', "5"))
    ]
    bodies += [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"auth": {}}',
        '{"auth": 5}',
        "[" * 5000,
        '{"auth": 1, "auth": 1}',
    ]
    for body in bodies:
        headers = {"Content-Type": "application/json;charset=utf8"}
        status, title, message = iam_error(mock.post("/v3/auth/tokens", content=body, headers=headers))
        assert (status, title, message[:28]) == (400, "Bad Request", "The request body is invalid:"), body
    untyped = mock.post("/v3/auth/tokens", content=json.dumps(asked()))
    form = mock.post("/v3/auth/tokens", data={"auth": "a"})
    assert iam_error(untyped)[:2] == iam_error(form)[:2] == (400, "Bad Request")


def test_a_wrong_security_token_counts_and_an_outdated_or_unknown_key_does_not(mock: httpx.Client) -> None:
    for _ in range(5):
        assert let_in(mock, auth=AkSkAuth("temporary", "sk2", security_token="no")) == WRONG
        assert let_in(mock, auth=AkSkAuth("nobody", "sk2")) == WRONG
    assert let_in(mock, auth=AkSkAuth("temporary", "sk2", security_token="st")) == WRONG
    assert let_in(mock, auth=AkSkAuth("lasting", "sk1")) == WELCOME


def test_five_wrong_passwords_in_a_row_lock_a_user_for_five_minutes(mock: httpx.Client) -> None:
    for user in (
        [("ann", "b", "one")] * 4 + [ANN] + [("ann", "b", "one"), ("ann", "a", "two")] * 2 + [("ann", "", "")]
    ):
        ask(mock, user)
    says = "The user is locked: five failures in a row lock it for five minutes of the mock's clock."
    assert iam_error(ask(mock)) == (401, "Unauthorized", says)
    assert ask(mock, ("bob", "b", "two")).status_code == 201
    advance(mock, 300)
    assert ask(mock).status_code == 201


def test_the_credentials_of_a_state_file_are_told_to_nobody(mock: httpx.Client) -> None:
    told = (
        mock.get("/_mock/state").text
        + retry(mock, headers={"X-Auth-Token": "x"}).text
        + ask(mock, ("ann", "", "")).text
    )
    assert not re.search("always|brief|sk1|sk2|lasting|temporary|bob", told)
