"""`make contract URL=…` against the mock on another port, which plays the live service, and against worse ones.

It runs in this process, with a `sleep` that does not wait; one test runs it as `make` does.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from huaweicloud_retry import ConfigurationError
from huaweicloud_retry.contract import Contract
from huaweicloud_retry.mock import running
from tests.callers import LoopbackServer, Request, raw_response
from tests.contract import live
from tests.mocks import plain_client

ROOT = Path(__file__).parents[2]
# Each retry fails at once, so that the next is accepted. Not the mock's own credentials, which it shows.
STATE = """
run_time: 0
credentials:
  tokens: {token-that-nobody-may-see: {}}
  access_keys: {LIVE-ACCESS-KEY: {secret_key: key-that-nobody-may-see}}
  users: {live-user: {password: password-that-nobody-may-see, domain: live-domain}}
projects:
  p-1:
    name: cn-north-4
    engines: {e-1: {name: engine, jobs: [{id: 1, status: Error, retries_end: [Error]}]}}
    script_tasks: {t-1: {records: {r-1: {status: FAILED, retries_end: [FAILED]}}}}
"""
TOKEN = {"HW_AUTH_TOKEN": "token-that-nobody-may-see"}
# The project of the request takes precedence over the one of the environment.
KEYS = {"HUAWEICLOUD_SDK_AK": "LIVE-ACCESS-KEY", "HUAWEICLOUD_SDK_SK": "key-that-nobody-may-see"}
KEYS |= {"HUAWEICLOUD_SDK_PROJECT_ID": "p-2"}
PASSWORD = {"HW_USER_NAME": "live-user", "HW_USER_PASSWORD": "password-that-nobody-may-see"}
PASSWORD |= {"HW_DOMAIN_NAME": "live-domain", "HW_PROJECT_NAME": "cn-north-4"}
CSE = {"TAG": "CSE", "PROJECT_ID": "p-1", "ENGINE_ID": "e-1"}
WORKSPACE = {"TAG": "Workspace", "PROJECT_ID": "p-1", "RECORD_ID": "r-1", "TASK_ID": "t-1"}
ONE_ID = WORKSPACE | {"RECORD_ID": ""}
CONFIRM, WRITES = {"CONFIRM": "yes"}, {"CONFIRM": "yes", "ALLOW_WRITES": "yes"}
# The requests before the retry meet this, and so no other fault. A GET meets none: it is of no operation.
AT_FIRST, REFUSED = {"delay": 0, "times": 4}, "400 400 400 400 405"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The mock as the live service."""
    state = tmp_path_factory.mktemp("live") / "state.yaml"
    state.write_text(STATE, encoding="utf-8")
    with running(state=state) as url, plain_client(url, {}) as client:
        yield client


class Ran(NamedTuple):
    code: int
    said: str
    slept: list[float]
    log: list[dict[str, Any]]
    """The mock's request log."""

    @property
    def statuses(self) -> str:
        return " ".join(str(entry["status"]) for entry in self.log)


Run = Callable[..., Ran]


@pytest.fixture
def run(
    service: httpx.Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Runs in this process, for the mock's engine, with IAM at the mock."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))  # to read the machine's CAs takes longer than a run

    def do(*settings: Mapping[str, str], faults: Any = ()) -> Ran:
        url = str(service.base_url)
        environ = {"URL": url, "HUAWEICLOUD_SDK_IAM_ENDPOINT": url, **CSE}
        for each in settings:
            environ |= each
        assert service.post("/_mock/reset").is_success
        assert service.post("/_mock/faults", json=faults).is_success
        slept: list[float] = []
        code = live.main(environ, slept.append)
        shown = capsys.readouterr()
        log = service.get("/_mock/request-log").json()["entries"]
        return Ran(code, shown.out + shown.err, slept, log)

    return do


# --- The plan -----------------------------------------------------------------------------------------------

RETRY, OBJECT = '{"action": "Retry"}', '{"action": {"unexpected": "unexpected"}}'
RECORD, TASK = OBJECT.replace("action", "record_id"), OBJECT.replace("action", "task_id")
BOTH = f"{RECORD[:-1]}, {TASK[1:]}"
CSE_PLAN = "/v2/p-1/enginemgr/engines/e-1/actions", [OBJECT, OBJECT[:-2], "unexpected", OBJECT, ""]
SCRIPT_PLAN = "/v2/p-1/script-executions/retry", [RECORD, TASK, BOTH, BOTH[:-2], "unexpected", ""]
SCRIPT_RETRIES = ['{"record_id": "r-1"}', '{"task_id": "t-1"}']


@pytest.mark.parametrize(
    ("path", "refused", "settings", "retries"),
    [
        pytest.param(*CSE_PLAN, CSE | KEYS, [], id="CSE"),
        pytest.param(*CSE_PLAN, CSE | TOKEN | WRITES, [RETRY], id="CSE, with writes"),
        pytest.param(*SCRIPT_PLAN, WORKSPACE | TOKEN, [], id="Workspace"),
        pytest.param(*SCRIPT_PLAN, WORKSPACE | KEYS | WRITES, SCRIPT_RETRIES, id="Workspace, with writes"),
        pytest.param(*SCRIPT_PLAN, ONE_ID | TOKEN | WRITES, SCRIPT_RETRIES[1:], id="Workspace, one ID"),
    ],
)
def test_the_plan_is_printed_and_sent_only_if_confirmed_and_only_its_retries_act(
    service: httpx.Client, run: Run, path: str, refused: Any, settings: Any, retries: Any
) -> None:
    planned = run(settings, {"CONFIRM": "no"})
    assert (planned.code, planned.log) == (2, [])
    bodies = [*refused, *retries, refused[0]]
    lines = [shlex.split(line) for line in planned.said.splitlines() if line.startswith("     curl")]
    assert [words[-1] if "--data-raw" in words else "" for words in lines] == bodies
    assert ["x-auth-token: $TOKEN" in words for words in lines] == [True] * (len(bodies) - 1) + [False]
    auth = "TokenAuth" if "HW_AUTH_TOKEN" in settings else "AkSkAuth"
    assert f" at URL={service.base_url}, with {auth}:\n" in planned.said
    assert f"5 a second at most: {len(refused) + 1} must be refused.\n" in planned.said
    assert (f"{len(retries)} REALLY RETRY, each sent once" in planned.said) == bool(retries)
    assert planned.said.count("ACTS: ") == len(retries)
    assert planned.said.endswith("Nothing was sent. To send these, add CONFIRM=yes\n")

    ran = run(settings, CONFIRM)
    assert ran.code == 0, ran.said
    assert {(entry["path"], entry["query"]) for entry in ran.log} == {(path, "")}
    sent = [entry["body"] for entry in ran.log if isinstance(entry["body"], dict)]
    assert sent == [json.loads(body) for body in bodies if body.endswith("}")]
    acted = [entry["acted"] for entry in ran.log]
    assert acted == [False] * len(refused) + [True] * len(retries) + [False]
    assert [entry["status"] == 401 for entry in ran.log] == [False] * (len(bodies) - 1) + [True]
    assert not {"x-auth-token", "authorization"} & set(ran.log[-1]["headers"])
    assert not re.search("nobody-may-see|LIVE-ACCESS-KEY", planned.said + ran.said)


def test_each_operation_that_acts_has_a_plan() -> None:
    assert set(live.TABLE) == {operation.id for operation in live.CONTRACT.operations if operation.acts}


def test_a_contract_in_which_a_planned_request_is_valid_has_no_plan(tmp_path: Path) -> None:
    spec = (ROOT / "openapi.yaml").read_text(encoding="utf-8")
    assert spec.count("          const: Retry\n") == 1
    changed = spec.replace("          const: Retry\n", "          type: object\n")
    (file := tmp_path / "openapi.yaml").write_text(changed, encoding="utf-8")
    settings = live.read_settings(Contract.load(file), CSE | {"URL": "https://cse.example.com"})
    with httpx.Client() as client, pytest.raises(ConfigurationError, match="this might act, so nothing is"):
        live.make_plan(settings, client)


BAD: list[tuple[dict[str, str], str]] = [
    ({"URL": ""}, "URL: give https:// and a host, no path; http is for this machine only"),
    ({"URL": "http://cse.example.com"}, "URL: give https://"),
    ({"URL": "https://cse.example.com/v2"}, "URL: give https://"),
    ({"TAG": "cse"}, "TAG: give CSE or Workspace, not 'cse'"),
    ({"ENGINE_ID": ""}, "TAG=CSE needs PROJECT_ID and ENGINE_ID"),
    ({"ENGINE_ID": ".."}, "ENGINE_ID: an ID has"),
    ({"ENGINE_ID": "e" * 65}, "ENGINE_ID: an ID has"),
    ({"CONFIRM": "y"}, "CONFIRM: must be yes or no"),
    ({"ALLOW_WRITES": "true"}, "ALLOW_WRITES: must be yes or no"),
    ({"HW_AUTH_TOKEN": ""}, "no credentials, neither in the environment"),
    (ONE_ID | WRITES | {"TASK_ID": ""}, "ALLOW_WRITES=yes needs RECORD_ID or TASK_ID"),
]


@pytest.mark.parametrize(("change", "why"), BAD)
def test_a_setting_that_is_missing_or_wrong_is_reported_before_anything_is_sent(
    run: Run, change: Any, why: str
) -> None:
    ran = run(TOKEN, CONFIRM, change)
    assert (ran.code, ran.log) == (2, [])
    assert re.fullmatch(rf"make contract: {re.escape(why)}[^\n]*; nothing was sent\n", ran.said)


def test_five_requests_a_second_are_sent_and_after_a_429_it_waits_as_long_as_asked(run: Run) -> None:
    throttled = {"status": 429, "retry_after": 7, "times": 2}
    ran = run(PASSWORD, WRITES, faults=[AT_FIRST | {"times": 5}, throttled])
    assert (ran.code, ran.statuses) == (0, f"201 {REFUSED} 429 429 200 401")
    assert ran.slept.count(0.2) == len(ran.log)
    assert [7 <= seconds <= 9 for seconds in ran.slept if seconds != 0.2] == [True, True]


# --- When it stops ------------------------------------------------------------------------------------------

UNAUTHORIZED, NO_RESPONSE = "401 to credentials: check them", "no response to http.*, RemoteProtocolError: "
ACTED = "; IT MAY HAVE ACTED: look at the job or task first."
NO_IAM = PASSWORD | {"HUAWEICLOUD_SDK_IAM_ENDPOINT": "http://127.0.0.1:9"}
EXPIRED = {"operation": "RetryEngine", "status": 401, "example": "tokenExpired"}
GATEWAY = {"status": 502, "acted": True}
# Settings, faults, why it stops, and the statuses in the mock's request log.
STOPS: dict[str, tuple[dict[str, str], list[dict[str, Any]], str, str]] = {
    "a wrong token": ({"HW_AUTH_TOKEN": "wrong"}, [], UNAUTHORIZED, "401"),
    "a wrong key": (KEYS | {"HUAWEICLOUD_SDK_SK": "wrong"}, [], UNAUTHORIZED, "401"),
    "an expired token, which is not renewed": (PASSWORD, [EXPIRED], UNAUTHORIZED, "201 401"),
    "a wrong password": (PASSWORD | {"HW_USER_PASSWORD": "no"}, [], "IAM refused to give", "401"),
    "no IAM": (NO_IAM, [], "no response to http://127.0.0.1:9/v3/auth/tokens.* ConnectError", ""),
    "429 five times": (TOKEN, [{"status": 429}], "still 429 after 5 attempts", "429 429 429 429 429"),
    "no response": (TOKEN, [{"close": "before"}], NO_RESPONSE, "None"),
    "a wrong status": (TOKEN, [{"status": 403}], "a response breaks the contract", "403 403 403 403 405"),
    "no response to a retry": (TOKEN, [AT_FIRST, {"close": "after"}], NO_RESPONSE, f"{REFUSED} None"),
    "no JSON after a retry": (TOKEN, [AT_FIRST, {"reply": "garbage"}], "200 to a retry", f"{REFUSED} 200"),
    "502 to a retry": (TOKEN, [AT_FIRST, GATEWAY], "502 to a retry", f"{REFUSED} 502"),
}


@pytest.mark.parametrize("case", STOPS)
def test_it_stops_and_says_if_a_retry_may_have_been_processed(run: Run, case: str) -> None:
    settings, faults, why, statuses = STOPS[case]
    ran = run(settings, WRITES, faults=faults)
    assert (ran.code, ran.statuses) == (1, statuses)
    assert re.search(f"STOPPED at [16]\\.: {why}", ran.said), ran.said
    assert (ACTED in ran.said) == statuses.startswith(REFUSED)


def test_ctrl_c_ends_it_with_a_report(run: Run) -> None:
    def interrupting(request: Request) -> bytes:
        if request.body.decode() == RETRY:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        status = 404 if request.line.startswith(b"GET") else 400
        return raw_response(status, b'{"error_code": "code", "error_msg": "refused"}')

    with LoopbackServer(interrupting, keep_open=True) as server:
        ran = run(TOKEN, WRITES, {"URL": server.url})
    assert ran.code == 130
    assert f"STOPPED at 6.: interrupted{ACTED}\n7 requests planned; responses: 4 of 400" in ran.said


def test_a_service_that_accepts_anything_gets_one_request(run: Run) -> None:
    with LoopbackServer(raw_response(200, b'{"id": "e-1", "name": "engine", "jobId": 1}')) as server:
        ran = run(TOKEN, WRITES, {"URL": server.url})
    assert (ran.code, len(server.requests)) == (1, 1)
    assert f"STOPPED at 1.: 200 to an object as action{ACTED}" in ran.said


# --- What it shows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ({"status": 418}, "status: 418 is not documented"),
        ({"status": 429, "retry_after": "soon"}, "Retry-After is 'soon'"),
    ],
    ids=["status", "header"],
)
def test_a_response_that_breaks_the_contract_is_reported_by_its_number_in_the_plan(
    run: Run, fault: dict[str, Any], problem: str
) -> None:
    ran = run(TOKEN, CONFIRM, faults=[{**fault, "times": 1}])
    assert ran.code == 1
    report = ran.said.partition("6 requests planned; responses: ")[2].splitlines()
    assert report[1].startswith("BREAKS THE CONTRACT: 1. an object as action: ")
    assert any(line.startswith(f"     {problem}") for line in report[2:]), report


# Longer than what is shown of a response: what is cut would not be found.
SECRET = "nobody/may+see=" * 20
TEMPORARY = {"HUAWEICLOUD_SDK_AK": "LIVE/ACCESS+KEY=", "HUAWEICLOUD_SDK_SECURITY_TOKEN": SECRET}


@pytest.mark.parametrize("credentials", [{"HW_AUTH_TOKEN": SECRET}, KEYS | TEMPORARY], ids=["token", "keys"])
def test_a_service_that_quotes_what_it_is_sent_shows_no_secret(run: Run, credentials: dict[str, str]) -> None:
    seen: set[str] = set()

    def quoting(request: Request) -> bytes:
        names = ("X-Auth-Token", "X-Security-Token", "Authorization")
        sent = [value.decode() for name in names for value in request.header(name)]
        sent += re.findall("(?:Access|Signature)=([^,]+)", " ".join(sent))
        seen.update(sent)
        text = " ".join(reversed(sent))
        body = json.dumps({"error_code": "code", "error_msg": text, "request_id": [text]}).replace("/", r"\/")
        body = f"<p>{text}</p>" if len(server.requests) % 2 else body
        return raw_response(400, body.encode(), f"X-Request-Id: {sent[0] if sent else 1}")

    with LoopbackServer(quoting, keep_open=True) as server:
        ran = run(credentials, CONFIRM, {"URL": server.url})
    assert (ran.code, len(server.requests)) == (1, 6)
    assert "BREAKS THE CONTRACT: 1. an object as action: " in ran.said
    assert "***" in ran.said
    assert not [secret for secret in seen if secret[:15] in ran.said.replace("\\", "")]


def test_make_runs_it_with_the_settings_of_its_command_line(service: httpx.Client, tmp_path: Path) -> None:
    service.post("/_mock/reset")
    words = [f"{name}={value}" for name, value in (CSE | CONFIRM | {"URL": service.base_url}).items()]
    command = ["make", "--no-print-directory", "contract", *words]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONWARNINGS": "error", **KEYS}
    ran = subprocess.run(
        command, cwd=ROOT, env=environ, check=False, capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    assert len(service.get("/_mock/request-log").json()["entries"]) == 6
