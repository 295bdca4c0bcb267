"""`make contract URL=…` against the mock on another port, which plays the live service, and against worse ones.

What must not wait runs in this process, with a clock that only `sleep` moves; the rest as `make` runs it.
"""

import html
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from huaweicloud_retry.contract import Contract
from huaweicloud_retry.mock import running
from tests.contract import live
from tests.mocks import NO_TLS

ROOT = Path(__file__).parents[2]
CONTRACT = Contract.load()

PROJECT, ENGINE = "p-1", "e-1"
RECORD, TASK = "r-1", "t-1"
CSE_PATH = f"/v2/{PROJECT}/enginemgr/engines/{ENGINE}/actions"
WORKSPACE_PATH = f"/v2/{PROJECT}/script-executions/retry"

# Whatever is retried fails again at once, so that each retry is accepted. Not the mock's own credentials, which it tells.
STATE = f"""
run_time: 0
credentials:
  tokens: {{token-that-nobody-may-see: {{}}}}
  access_keys: {{LIVE-ACCESS-KEY: {{secret_key: key-that-nobody-may-see}}}}
  users: {{live-user: {{password: password-that-nobody-may-see, domain: live-domain}}}}
projects:
  {PROJECT}:
    name: cn-north-4
    engines: {{{ENGINE}: {{name: engine, jobs: [{{id: 1, status: Error, retries_end: [Error]}}]}}}}
    script_tasks: {{{TASK}: {{records: {{{RECORD}: {{status: FAILED, retries_end: [FAILED]}}}}}}}}
"""
TOKEN = {"HW_AUTH_TOKEN": "token-that-nobody-may-see"}
KEYS = {"HUAWEICLOUD_SDK_AK": "LIVE-ACCESS-KEY", "HUAWEICLOUD_SDK_SK": "key-that-nobody-may-see"}
PASSWORD = {
    "HW_USER_NAME": "live-user",
    "HW_USER_PASSWORD": "password-that-nobody-may-see",
    "HW_DOMAIN_NAME": "live-domain",
    "HW_PROJECT_NAME": "cn-north-4",
}
RETRY = '{"action": "Retry"}'
OBJECT = '{"action": {"unexpected": "unexpected"}}'
CSE = {"TAG": "CSE", "PROJECT_ID": PROJECT, "ENGINE_ID": ENGINE}
WORKSPACE = {"TAG": "Workspace", "PROJECT_ID": PROJECT, "RECORD_ID": RECORD, "TASK_ID": TASK}
CONFIRM = {"CONFIRM": "yes"}
WRITES = {"CONFIRM": "yes", "ALLOW_WRITES": "yes"}
ENTERPRISE = {"ENTERPRISE_PROJECT_ID": "ep-1"}
# No misbehaviour, but what it meets the next fault does not. A GET meets none, being of no operation.
BEFORE_THE_RETRIES = [{"delay": 0, "times": 4}]


@dataclass
class Service:
    """The mock as the live service."""

    url: str

    def request_log(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = httpx.get(
            f"{self.url}/_mock/request-log", verify=NO_TLS, trust_env=False
        ).json()["entries"]
        return entries

    def misbehave(self, *faults: Mapping[str, Any]) -> None:
        httpx.post(f"{self.url}/_mock/faults", json=faults, verify=NO_TLS, trust_env=False).raise_for_status()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state = tmp_path_factory.mktemp("live") / "state.yaml"
    state.write_text(STATE, encoding="utf-8")
    with running(state=state) as url:
        yield url


@pytest.fixture
def service(url: str) -> Service:
    httpx.post(f"{url}/_mock/reset", verify=NO_TLS, trust_env=False).raise_for_status()
    return Service(url)


@dataclass
class Time:
    """A clock that only `sleep` moves."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list[float])

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class Ran:
    code: int
    said: str


Run = Callable[..., Ran]


@pytest.fixture
def run(service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs in this process; without `settings`, for the engine of the mock, with a token, confirmed."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)

    def do(*settings: Mapping[str, str], time: Time | None = None) -> Ran:
        environ: dict[str, str] = {"URL": service.url}
        for each in settings or (CSE, TOKEN, CONFIRM):
            environ |= each
        time = time or Time()
        code = live.main(environ, time.clock, time.sleep)
        shown = capsys.readouterr()
        return Ran(code, shown.out + shown.err)

    return do


def make(*settings: Mapping[str, str], home: Path) -> subprocess.CompletedProcess[str]:
    """`make contract URL=…`, with what is no credential on the command line."""
    given: dict[str, str] = {}
    for each in settings:
        given |= each
    credentials = {name: value for name, value in given.items() if name[:3] in {"HW_", "HUA"}}
    words = [f"{name}={value}" for name, value in given.items() if name not in credentials]
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONWARNINGS": "error", **credentials}
    return subprocess.run(
        ["make", "--no-print-directory", "contract", *words],
        cwd=ROOT,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def texts(value: Any) -> set[str]:
    """All texts within a JSON value, its keys included."""
    if isinstance(value, dict):
        return set[str]().union(value, *(texts(part) for part in value.values()))
    if isinstance(value, list):
        return set[str]().union(*(texts(part) for part in value))
    return {value} if isinstance(value, str) else set()


# --- The whole of it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "path", "fields", "count"),
    [
        pytest.param(CSE, CSE_PATH, {"action"}, 6, id="CSE"),
        pytest.param(WORKSPACE, WORKSPACE_PATH, {"record_id", "task_id"}, 7, id="Workspace"),
    ],
)
@pytest.mark.parametrize("credentials", [TOKEN, KEYS], ids=["token", "keys"])
def test_a_run_without_writes_is_refused_whatever_it_sends(
    service: Service,
    run: Run,
    settings: dict[str, str],
    path: str,
    fields: set[str],
    count: int,
    credentials: dict[str, str],
) -> None:
    ran = run(settings, credentials, CONFIRM)
    assert ran.code == 0, ran.said
    journal = service.request_log()
    assert len(journal) == count
    assert not any(entry["acted"] for entry in journal)
    assert {entry["outcome"] for entry in journal} == {"refused"}
    assert {(entry["path"], entry["query"]) for entry in journal} == {(path, "")}
    words = {word for entry in journal if isinstance(entry["body"], dict) for word in texts(entry["body"])}
    assert words == {*fields, "unexpected"}
    assert [entry["status"] for entry in journal].index(401) == count - 1
    assert not {"x-auth-token", "authorization"} & set(journal[-1]["headers"])
    assert "nobody-may-see" not in ran.said
    assert "LIVE-ACCESS-KEY" not in ran.said


def test_make_runs_it_with_the_settings_of_its_command_line(service: Service, tmp_path: Path) -> None:
    ran = make(CSE, KEYS, CONFIRM, {"URL": service.url}, home=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    assert len(service.request_log()) == 6


@pytest.mark.parametrize(
    ("settings", "path", "bodies"),
    [
        pytest.param(CSE, CSE_PATH, [{"action": "Retry"}], id="CSE"),
        pytest.param(
            CSE | ENTERPRISE, CSE_PATH, [{"action": "Retry"}] * 2, id="CSE in an enterprise project"
        ),
        pytest.param(WORKSPACE, WORKSPACE_PATH, [{"record_id": RECORD}, {"task_id": TASK}], id="Workspace"),
    ],
)
def test_a_run_with_writes_retries_as_often_as_it_says(
    service: Service, run: Run, settings: dict[str, str], path: str, bodies: list[dict[str, str]]
) -> None:
    ran = run(settings, TOKEN, WRITES)
    assert ran.code == 0, ran.said
    accepted = [entry for entry in service.request_log() if entry["acted"]]
    assert [entry["body"] for entry in accepted] == bodies
    assert {entry["path"] for entry in accepted} == {path}
    assert f"{len(bodies)} REALLY RETRY" in ran.said
    assert ran.said.count("ACTS: ") == len(bodies)


@pytest.mark.parametrize(("given", "sent"), [({}, [None]), (ENTERPRISE, [None, "ep-1"])], ids=["none", "one"])
def test_only_an_enterprise_project_that_was_given_is_named(
    service: Service, run: Run, given: dict[str, str], sent: list[str | None]
) -> None:
    assert run(CSE, TOKEN, WRITES, given).code == 0
    assert [
        entry["headers"].get("x-enterprise-project-id") for entry in service.request_log() if entry["acted"]
    ] == sent


@pytest.mark.parametrize("fault", [{"status": 403}, {"reply": "garbage"}, {"status": 418}], ids=json.dumps)
def test_nothing_is_retried_after_an_answer_that_breaks_the_contract(
    service: Service, run: Run, fault: dict[str, Any]
) -> None:
    service.misbehave({**fault, "times": 1})
    ran = run(CSE, TOKEN, WRITES)
    assert ran.code == 1
    assert "STOPPED: an answer breaks the contract, so nothing is retried.\n" in ran.said
    assert not any(entry["acted"] or entry["body"] == {"action": "Retry"} for entry in service.request_log())


@pytest.mark.parametrize("writes", [{}, {"ALLOW_WRITES": "yes"}])
@pytest.mark.parametrize("confirm", [{}, {"CONFIRM": "no"}])
def test_nothing_is_sent_before_it_is_confirmed(
    service: Service, run: Run, writes: dict[str, str], confirm: dict[str, str]
) -> None:
    ran = run(WORKSPACE, PASSWORD, {"HUAWEICLOUD_SDK_IAM_ENDPOINT": service.url}, writes, confirm)
    assert ran.code == 2
    assert "Nothing was sent. To send these, add CONFIRM=yes" in ran.said
    assert service.request_log() == []


@pytest.mark.parametrize(
    ("credentials", "shown"),
    [
        (TOKEN, "with a token:"),
        (KEYS, f"with the access key LIVE…, which sends X-Project-Id: {PROJECT}:"),
    ],
    ids=["token", "keys"],
)
def test_the_plan_tells_target_credentials_and_each_request(
    service: Service, run: Run, credentials: dict[str, str], shown: str
) -> None:
    said = run(CSE, credentials, {"ALLOW_WRITES": "yes"}, ENTERPRISE).said.splitlines()
    assert said[0] == f"To {service.url}, as CSE, {shown}"
    assert said[1:10] == [
        f"  RetryEngine: PUT {CSE_PATH}",
        f"    1. an object as action, application/json;charset=UTF-8: {OBJECT}  -> 400",
        f"    2. JSON that is cut off, application/json;charset=UTF-8: {OBJECT[:-2]}  -> 400",
        "    3. not JSON, application/json;charset=UTF-8: unexpected  -> 400",
        f"    4. the media type that the official SDK sends, application/json: {OBJECT}  -> 400",
        "    5. GET  -> 404 or 405",
        f"    6. ACTS: a retry, application/json;charset=UTF-8: {RETRY}  -> 200 or 400 or 404",
        f"    7. ACTS: a retry, X-Enterprise-Project-ID: ep-1, application/json;charset=UTF-8: {RETRY}  -> 200 or 400 or 404",
        f"    8. no credentials, application/json;charset=UTF-8: {OBJECT}  -> 401",
    ]
    assert said[10].startswith(
        "8 requests, one after the other, 5 a second at most: 6 of them must be refused."
    )


def test_the_plan_tells_of_the_request_to_iam(service: Service, run: Run) -> None:
    said = run(CSE, PASSWORD, {"HUAWEICLOUD_SDK_IAM_ENDPOINT": service.url}).said.splitlines()
    assert said[0].endswith(" with the password of user live-user, for which IAM gives a token:")
    assert (
        said[1] == f"  POST {service.url}/v3/auth/tokens, with user and password: a token, before the first"
    )
    assert said[9].startswith("6 requests and one to IAM, one after the other")


def test_the_project_is_that_of_the_requests_whatever_the_environment_says(
    service: Service, run: Run
) -> None:
    of_keys = KEYS | {"HUAWEICLOUD_SDK_PROJECT_ID": "p-2"}
    said = run(CSE, of_keys, CONFIRM).said.splitlines()
    assert said[0].endswith(f"with the access key LIVE…, which sends X-Project-Id: {PROJECT}:")
    assert {entry["headers"].get("x-project-id") for entry in service.request_log()[:-1]} == {PROJECT}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ENTERPRISE_PROJECT_ID": "a b"}, "ENTERPRISE_PROJECT_ID: an ID has"),
        ({"URL": ""}, "URL: the endpoint must be an http(s) URL"),
        ({"URL": "http://cse.example.com"}, "URL: plain http is for this machine only; use https"),
        ({"URL": "https://cse.example.com/v2"}, "URL: scheme and host only"),
        ({"TAG": ""}, "TAG: is missing; give CSE or Workspace"),
        ({"TAG": "cse"}, "TAG: there is no 'cse'; give CSE or Workspace"),
        ({"ENGINE_ID": ""}, "TAG=CSE needs ENGINE_ID"),
        ({"PROJECT_ID": "", "ENGINE_ID": ""}, "TAG=CSE needs PROJECT_ID and ENGINE_ID"),
        ({"ENGINE_ID": ".."}, "ENGINE_ID: an ID has"),
        ({"ENGINE_ID": "e/1"}, "ENGINE_ID: an ID has"),
        ({"ENGINE_ID": "e" * 65}, "ENGINE_ID: an ID has"),
        ({"CONFIRM": "y"}, "CONFIRM: must be yes or no"),
        ({"ALLOW_WRITES": "true"}, "ALLOW_WRITES: must be yes or no"),
        (
            {"HW_AUTH_TOKEN": "", "HW_ACCESS_KEY": "ak"},
            "half a credential: the environment has HW_ACCESS_KEY",
        ),
        (
            WORKSPACE | WRITES | {"RECORD_ID": "", "TASK_ID": ""},
            "RetryScriptExecution needs RECORD_ID or TASK_ID",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_told_before_anything_is_sent(
    service: Service, run: Run, change: dict[str, str], told: str
) -> None:
    ran = run(CSE, TOKEN, CONFIRM, change)
    assert ran.code == 2
    assert ran.said.startswith(
        f"make contract: {'ALLOW_WRITES=yes: ' if 'RECORD_ID' in change else ''}{told}"
    )
    assert ran.said.endswith("; nothing was sent\n")
    assert ran.said.count("\n") == 1
    assert service.request_log() == []


def test_without_credentials_nothing_is_sent(
    service: Service, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ran = run(CSE, CONFIRM)
    assert ran.code == 2
    assert "make contract: no credentials, neither in the environment" in ran.said
    assert service.request_log() == []


# --- When it stops ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [{"HW_AUTH_TOKEN": "wrong"}, KEYS | {"HUAWEICLOUD_SDK_SK": "wrong"}], ids=["token", "keys"]
)
def test_wrong_credentials_are_sent_once(service: Service, run: Run, wrong: dict[str, str]) -> None:
    ran = run(CSE, wrong, WRITES)
    assert ran.code == 1
    assert "STOPPED: 401, which was not asked for: check the credentials" in ran.said
    assert [entry["status"] for entry in service.request_log()] == [401]


def test_a_token_that_expires_meanwhile_is_not_renewed(service: Service, run: Run) -> None:
    service.misbehave(
        {"operation": "RetryEngine", "status": 400, "times": 1},
        {"operation": "RetryEngine", "status": 401, "example": "tokenExpired"},
    )
    ran = run(CSE, PASSWORD, {"HUAWEICLOUD_SDK_IAM_ENDPOINT": service.url}, CONFIRM)
    assert ran.code == 1
    assert [entry["status"] for entry in service.request_log()] == [201, 400, 401]


def test_a_password_that_iam_refuses_ends_it(service: Service, run: Run) -> None:
    wrong = PASSWORD | {"HW_USER_PASSWORD": "wrong", "HUAWEICLOUD_SDK_IAM_ENDPOINT": service.url}
    ran = run(CSE, wrong, CONFIRM)
    assert ran.code == 1
    assert "STOPPED: IAM refused to give a token" in ran.said
    assert "curl" not in ran.said
    assert [entry["path"] for entry in service.request_log()] == ["/v3/auth/tokens"]


def test_iam_that_does_not_answer_ends_it_before_anything_is_sent(service: Service, run: Run) -> None:
    with answering(lambda _: (200, b"")) as url:
        pass
    ran = run(CSE, PASSWORD, WRITES, {"HUAWEICLOUD_SDK_IAM_ENDPOINT": url})
    assert ran.code == 1
    assert "STOPPED: no answer of IAM, ConnectError" in ran.said
    assert "curl" not in ran.said
    assert service.request_log() == []


def test_after_a_429_it_waits_as_long_as_asked_and_sends_the_same_again(service: Service, run: Run) -> None:
    service.misbehave({"status": 429, "retry_after": 7, "times": 1})
    time = Time()
    assert run(CSE, TOKEN, CONFIRM, time=time).code == 0
    assert 7 <= time.slept[0] <= 9
    first, second, *others = service.request_log()
    assert (first["status"], second["status"], len(others)) == (429, 400, 5)
    assert first["body"] == second["body"]


def test_a_retry_that_was_refused_with_429_is_accepted_once(service: Service, run: Run) -> None:
    service.misbehave(*BEFORE_THE_RETRIES, {"status": 429, "times": 2})
    assert run(CSE, TOKEN, WRITES, ENTERPRISE).code == 0
    retries = [entry["acted"] for entry in service.request_log() if entry["body"] == {"action": "Retry"}]
    assert retries == [False, False, True, True]


def test_after_five_429_it_stops(service: Service, run: Run) -> None:
    service.misbehave({"status": 429})
    ran = run()
    assert ran.code == 1
    assert "STOPPED: still 429 after 5 attempts" in ran.said
    assert len(service.request_log()) == 5


@pytest.mark.parametrize("fault", [{"close": "before"}, {"reply": "not-http"}, {"reply": "truncated"}])
def test_without_an_answer_it_stops(service: Service, run: Run, fault: dict[str, str]) -> None:
    service.misbehave(fault)
    ran = run()
    assert ran.code == 1
    assert "STOPPED: no answer, RemoteProtocolError" in ran.said
    assert "MAY HAVE" not in ran.said
    assert len(service.request_log()) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"close": "after"},
        {"reply": "truncated"},
        {"reply": "garbage"},
        {"status": 502, "acted": True},
        {"status": 500},
    ],
    ids=json.dumps,
)
def test_no_retry_follows_one_whose_outcome_is_unknown(
    service: Service, run: Run, fault: dict[str, Any]
) -> None:
    service.misbehave(*BEFORE_THE_RETRIES, fault)
    ran = run(CSE, TOKEN, WRITES, ENTERPRISE)
    assert ran.code == 1
    assert "a retry MAY HAVE STARTED" in ran.said or "the outcome of a retry is unknown" in ran.said
    assert [entry["body"] for entry in service.request_log()][5:] == [{"action": "Retry"}]


def test_a_host_that_takes_no_connection_has_not_acted(run: Run) -> None:
    with answering(lambda _: (200, b"")) as url:
        pass
    ran = run(CSE, TOKEN, WRITES, {"URL": url})
    assert ran.code == 1
    assert "STOPPED: no answer, ConnectError" in ran.said
    assert "MAY HAVE" not in ran.said


# --- Services that are not as they should be --------------------------------------------------------------------------


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], tuple[int, bytes]]) -> Generator[str, None, None]:
    """A server that answers so, whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, body = answer(self)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Request-Id", self.headers.get("X-Auth-Token", "1"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_service_that_accepts_anything_is_asked_once(run: Run) -> None:
    asked: list[str] = []

    def accept(request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        asked.append(request.command)
        return 200, json.dumps({"id": ENGINE, "name": "engine", "jobId": 1}).encode()

    with answering(accept) as url:
        ran = run(CSE, TOKEN, WRITES, {"URL": url})
    assert ran.code == 1
    assert "STOPPED: IT MAY HAVE ACTED: 200 to a request that must be refused" in ran.said
    assert f"curl -i -X PUT {url}{CSE_PATH}" in ran.said
    assert asked == ["PUT"]


def by_unicode(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" for char in text)


ESCAPES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": lambda text: text.replace("/", r"\/").replace("=", r"\u003d").replace("+", r"\u002B"),
    "all by number": by_unicode,
    "URL": lambda text: quote(text, safe=""),
    "HTML": lambda text: html.escape(text).replace("/", "&#x2F;").replace("=", "&#61;"),
}
SECRET = "nobody/may+see=" * 20
TEMPORARY = {"HUAWEICLOUD_SDK_AK": "LIVE/ACCESS+KEY=", "HUAWEICLOUD_SDK_SECURITY_TOKEN": SECRET}


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=list(ESCAPES))
@pytest.mark.parametrize("as_json", [True, False], ids=["JSON", "no JSON"])
@pytest.mark.parametrize("credentials", [{"HW_AUTH_TOKEN": SECRET}, KEYS | TEMPORARY], ids=["token", "keys"])
def test_a_service_that_quotes_what_it_is_sent_shows_no_secret(
    run: Run, credentials: dict[str, str], escape: Callable[[str], str], as_json: bool
) -> None:
    seen: set[str] = set()

    def quoting(request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        sent = [
            request.headers.get(name, "") for name in ("X-Auth-Token", "X-Security-Token", "Authorization")
        ]
        sent += re.findall("(?:Access|Signature)=([^,]+)", sent[-1])
        seen.update(filter(None, sent))
        text = " ".join(f"({escape(secret)})" for secret in reversed(sent))
        body = f'{{"error_code": "code", "error_msg": "{text}", "request_id": ["{text}"]}}'
        return 400, (body if as_json else f"<p>{text}</p>").encode()

    with answering(quoting) as url:
        ran = run(CSE, credentials, CONFIRM, {"URL": url})
    assert ran.code == 1
    assert "BREAKS THE CONTRACT: RetryEngine, an object as action" in ran.said
    assert "***" in ran.said
    assert seen
    for secret in seen:
        assert escape(secret)[:20] not in ran.said
        assert secret[:20] not in ran.said


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ({"status": 418}, "status: 418 is not documented"),
        ({"status": 403}, "status: 403, and not 400"),
        ({"status": 500}, "status: 500, and not 400"),
        ({"reply": "garbage"}, "body: is not UTF-8"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_told_with_a_way_to_repeat_it(
    service: Service, run: Run, fault: dict[str, Any], problem: str
) -> None:
    service.misbehave({**fault, "times": 1})
    ran = run()
    assert ran.code == 1
    assert len(service.request_log()) == 6
    report = ran.said.partition("RetryEngine: 6 requests planned; answers: ")[2].splitlines()
    assert report[1].startswith("BREAKS THE CONTRACT: RetryEngine, an object as action: ")
    assert any(line.startswith(f"    {problem}") for line in report[2:-1]), report
    assert report[-1] == (
        f"    curl -i -X PUT {service.url}{CSE_PATH} -H 'accept: application/json' -H 'content-type: application/json;"
        """charset=UTF-8' --data-binary '{"action": {"unexpected": "unexpected"}}' -H "X-Auth-Token: $TOKEN\""""
    )


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (OBJECT, "STOPPED: interrupted.\n"),
        (
            RETRY,
            "STOPPED: interrupted; a retry MAY HAVE STARTED: look at the job or task before anything else.\n",
        ),
    ],
    ids=["refused", "retry"],
)
def test_ctrl_c_ends_it_with_a_report(tmp_path: Path, at: str, told: str) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hang(request: Any) -> tuple[int, bytes]:
        if request.body.decode() == at:
            asked.set()
            go_on.wait()
        return (404 if request.command == "GET" else 400), b'{"error_code": "code", "error_msg": "refused"}'

    with answering(hang) as url:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "URL": url,
            **CSE,
            **TOKEN,
            **WRITES,
            **ENTERPRISE,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.live"],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert asked.wait(30)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=30)
        finally:
            process.kill()
            go_on.set()
    assert process.returncode == 130
    assert told in said
    assert "RetryEngine: 8 requests planned; answers: " in said


# --- How fast, and what may be sent -----------------------------------------------------------------------------------


def test_no_second_sees_more_than_five_requests() -> None:
    time, gone = Time(), list[float]()
    pace = live.Pace(time.clock, time.sleep)
    for work in [0.0, 0.01, 0.15, 0.0, 3.0, 0.0, 0.19, 0.0, 0.0, 0.0, 0.0, 0.0]:
        pace.wait(httpx.Request("GET", "https://cse.example.com"))
        gone.append(time.now)
        time.now += work
    assert all(later - earlier >= 0.999 for earlier, later in zip(gone, gone[5:], strict=False))
    assert gone[5] - gone[4] == 3.0


def test_every_request_is_paced(service: Service, run: Run) -> None:
    service.misbehave({"status": 429, "retry_after": 0, "times": 1})
    time = Time()
    run(CSE, TOKEN, CONFIRM, time=time)
    assert sum(time.slept) == pytest.approx(0.2 * (len(service.request_log()) - 1))


def test_the_request_to_iam_is_paced_too(service: Service, run: Run) -> None:
    time = Time()
    run(CSE, PASSWORD, CONFIRM, {"HUAWEICLOUD_SDK_IAM_ENDPOINT": service.url}, time=time)
    assert len(service.request_log()) == 7
    assert sum(time.slept) == pytest.approx(0.2 * 6)


def request(body: str | bytes, method: str = "PUT", path: str = CSE_PATH, **headers: str) -> httpx.Request:
    named = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return httpx.Request(method, f"https://cse.example.com{path}", content=body, headers=named)


@pytest.mark.parametrize("body", [OBJECT, OBJECT[:-1], OBJECT[:-2], "unexpected"])
def test_what_cannot_act_is_known(body: str) -> None:
    assert live.cannot_act(CONTRACT, request(body))


def test_a_get_cannot_act() -> None:
    assert live.cannot_act(CONTRACT, httpx.Request("GET", f"https://cse.example.com{CSE_PATH}"))


@pytest.mark.parametrize(
    ("sent", "would"),
    [
        pytest.param(request('{"action": "Retry"}'), "it is the retry", id="valid"),
        pytest.param(request(""), "an absent body may count as {}", id="empty"),
        pytest.param(request("{}"), "Retry may be the default", id="no action"),
        pytest.param(request("null"), "may count as absent", id="null"),
        pytest.param(request("[]"), "is an empty object in some languages", id="empty list"),
        pytest.param(request("7"), "has no action, which may be the default", id="number"),
        pytest.param(
            request('[{"unexpected": "unexpected"}]'), "a list of one may count as its item", id="list"
        ),
        pytest.param(request('{"action": null}'), "may count as absent", id="null action"),
        pytest.param(request('{"action": ""}'), "may count as absent", id="empty action"),
        pytest.param(request('{"action": {}}'), "an empty object may count as absent", id="empty object"),
        pytest.param(request('{"action": " rETRY "}'), "case and blanks may not count", id="case"),
        pytest.param(
            request('{"action": "Upgrade"}'), "may be an action that is documented nowhere", id="other action"
        ),
        pytest.param(request('{"action": 0}'), "may be the first of a list of actions", id="ordinal"),
        pytest.param(request('{"action": true}'), "equals any text in some languages", id="true"),
        pytest.param(
            request('{"action": ["Retry"]}'), "a list of one may count as its item", id="list of one"
        ),
        pytest.param(request('{"action": {"unexpected": "Retry"}}'), "somebody may look inside", id="within"),
        pytest.param(request('{"action": {"$ne": "unexpected"}}'), "may be a query", id="operator"),
        pytest.param(
            request('{"Action": {"unexpected": "unexpected"}}'), "is unknown, so action absent", id="name"
        ),
        pytest.param(request(OBJECT[:-1] + ', "action": "Retry"}'), "the last may count", id="twice"),
        pytest.param(
            request(OBJECT[:-1] + ', "type": "Retry"}'), "another field may be the action", id="more"
        ),
        pytest.param(
            request(OBJECT[:-1] + ', "type": {"unexpected": "unexpected"}}'), "nobody knows it", id="unknown"
        ),
        pytest.param(
            request('{"action": "Retry"} unexpected'), "some stop at the first value's end", id="trailing"
        ),
        pytest.param(request('{"action": "Retry"'), "some mend it", id="cut off"),
        pytest.param(
            request('{"action": {"unexpected": '), "mended it may be an empty object", id="cut off early"
        ),
        pytest.param(request('{"action": "\\u0052etry"}'), "is Retry, escaped", id="escaped"),
        pytest.param(
            request('{"action": "Retry"}'.encode("utf-16")), "some find out the encoding", id="UTF-16"
        ),
        pytest.param(request("action=Retry"), "may be read as a form", id="form"),
        pytest.param(request("unexpected: 1"), "may be YAML without an action", id="YAML"),
        pytest.param(
            request(OBJECT, Content_Type="text/plain"), "a body unread may count as absent", id="media type"
        ),
        pytest.param(request(OBJECT, X_HTTP_Method_Override="DELETE"), "is another method", id="override"),
        pytest.param(request(OBJECT, X_Action="Retry"), "nobody knows this header", id="header"),
        pytest.param(request(OBJECT, path=f"{CSE_PATH}?action=Retry"), "the query may count", id="query"),
        pytest.param(request(OBJECT, path=f"{CSE_PATH}/"), "is another path", id="path"),
        pytest.param(request(OBJECT, "POST"), "may be another operation", id="POST"),
        pytest.param(request("", "DELETE"), "may be another operation", id="DELETE"),
        pytest.param(request(OBJECT, "PATCH"), "may be another operation", id="PATCH"),
        pytest.param(request(OBJECT, "GET"), "a GET has no body", id="GET with a body"),
        pytest.param(
            request("{}", "POST", WORKSPACE_PATH), "nobody knows what is retried", id="nothing named"
        ),
        pytest.param(
            request('{"record_id": [{"record_id": "r-1"}]}', "POST", WORKSPACE_PATH),
            "is the page's own",
            id="page",
        ),
        pytest.param(
            request('{"record_id": 1}', "POST", WORKSPACE_PATH), "is an ID that was not given", id="ID"
        ),
        pytest.param(
            request('{"task_id": true}', "POST", WORKSPACE_PATH),
            "equals many IDs in some databases",
            id="SQL",
        ),
    ],
)
def test_whatever_might_act_is_not_known_as_harmless(sent: httpx.Request, would: str) -> None:
    assert not live.cannot_act(CONTRACT, sent), would


def changed(folder: Path, old: str, new: str) -> Contract:
    """The contract with one line that is another."""
    spec = (ROOT / "openapi.yaml").read_text(encoding="utf-8")
    assert spec.count(old) == 1
    file = folder / "openapi.yaml"
    file.write_text(spec.replace(old, new), encoding="utf-8")
    return Contract.load(file)


def test_without_a_field_that_is_required_nothing_is_known_as_harmless(tmp_path: Path) -> None:
    sent = request('{"record_id": {"unexpected": "unexpected"}}', "POST", WORKSPACE_PATH)
    assert live.cannot_act(CONTRACT, sent)
    contract = changed(
        tmp_path, "      x-at-least-one-of: [record_id, task_id]\n", "      required: [task_id]\n"
    )
    assert not live.cannot_act(contract, sent)


def test_with_a_contract_that_allows_what_should_be_refused_there_is_no_plan(tmp_path: Path) -> None:
    contract = changed(tmp_path, "          const: Retry\n", "          type: object\n")
    settings = live.read_settings(contract, CSE | {"URL": "https://cse.example.com"})
    with (
        httpx.Client() as client,
        pytest.raises(live.UsageError, match="these might act, so nothing is sent: an object as action"),
    ):
        live.make_plan(contract, settings, client)
