"""`make contract URL=…` against the mock on another port, which plays the live service, and against worse ones.

It runs in this process, with a clock that only `sleep` moves; what is about the process runs as `make` runs it.
"""

import html
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest

from huaweicloud_retry import ConfigurationError
from huaweicloud_retry.contract import Contract
from huaweicloud_retry.mock import running
from tests.contract import live
from tests.mocks import plain_client

ROOT = Path(__file__).parents[2]
CSE_PATH, WORKSPACE_PATH = "/v2/p-1/enginemgr/engines/e-1/actions", "/v2/p-1/script-executions/retry"
# Whatever is retried fails again at once, so that each retry is accepted. Not the mock's own credentials, which it shows.
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
KEYS = {"HUAWEICLOUD_SDK_AK": "LIVE-ACCESS-KEY", "HUAWEICLOUD_SDK_SK": "key-that-nobody-may-see"}
PASSWORD = {"HW_USER_NAME": "live-user", "HW_USER_PASSWORD": "password-that-nobody-may-see"}
PASSWORD |= {"HW_DOMAIN_NAME": "live-domain", "HW_PROJECT_NAME": "cn-north-4"}
RETRY, OBJECT = '{"action": "Retry"}', '{"action": {"unexpected": "unexpected"}}'
CSE = {"TAG": "CSE", "PROJECT_ID": "p-1", "ENGINE_ID": "e-1"}
WORKSPACE = {"TAG": "Workspace", "PROJECT_ID": "p-1", "RECORD_ID": "r-1", "TASK_ID": "t-1"}
CONFIRM, WRITES = {"CONFIRM": "yes"}, {"CONFIRM": "yes", "ALLOW_WRITES": "yes"}
ENTERPRISE = {"ENTERPRISE_PROJECT_ID": "ep-1"}
# The requests before the retries meet this, and so no other fault. A GET meets none: it is of no operation.
AT_FIRST, REFUSED = {"delay": 0, "times": 4}, "400 400 400 400 405"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    state = tmp_path_factory.mktemp("live") / "state.yaml"
    state.write_text(STATE, encoding="utf-8")
    with running(state=state) as url, plain_client(url, {}) as client:
        yield client


def log_of(service: httpx.Client) -> list[dict[str, Any]]:
    """The mock's request log."""
    entries: list[dict[str, Any]] = service.get("/_mock/request-log").json()["entries"]
    return entries


@pytest.fixture
def service(shared: httpx.Client) -> httpx.Client:
    """The mock as the live service."""
    assert shared.post("/_mock/reset").is_success
    return shared


class Ran(NamedTuple):
    code: int
    said: str
    slept: list[float]


Run = Callable[..., Ran]


@pytest.fixture
def run(service: httpx.Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs in this process, for the mock's engine, with IAM at the mock."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)

    def do(*settings: Mapping[str, str]) -> Ran:
        environ = {"URL": str(service.base_url), "HUAWEICLOUD_SDK_IAM_ENDPOINT": str(service.base_url), **CSE}
        for each in settings:
            environ |= each
        slept: list[float] = []
        code = live.main(environ, lambda: sum(slept), slept.append)
        shown = capsys.readouterr()
        return Ran(code, shown.out + shown.err, slept)

    return do


def texts(value: Any) -> set[str]:
    """All texts within a JSON value, its keys included."""
    if isinstance(value, dict):
        return set[str]().union(value, *(texts(part) for part in value.values()))
    return {value} if isinstance(value, str) else set()


# --- The plan -----------------------------------------------------------------------------------------------

NO_VALUE = '{"unexpected": "unexpected"}'
RECORD, TASK = f'{{"record_id": {NO_VALUE}}}', f'{{"task_id": {NO_VALUE}}}'
BOTH = f'{{"record_id": {NO_VALUE}, "task_id": {NO_VALUE}}}'
CSE_BODIES = [OBJECT, OBJECT[:-2], "unexpected", OBJECT, "", RETRY, RETRY, OBJECT]
WORKSPACE_BODIES = [RECORD, TASK, BOTH, BOTH[:-2], "unexpected", "", RECORD]


@pytest.mark.parametrize(
    ("settings", "first", "bodies", "last"),
    [
        (
            KEYS | ENTERPRISE | {"ALLOW_WRITES": "yes", "HUAWEICLOUD_SDK_PROJECT_ID": "p-2"},
            "RetryEngine at URL={url}, with an access key, which sends X-Project-Id: p-1:",
            CSE_BODIES,
            "8 requests, 5 a second at most: 6 must be refused.\n2 REALLY RETRY, each sent once",
        ),
        (
            PASSWORD | WORKSPACE | {"CONFIRM": "no"},
            "RetryScriptExecution at URL={url}, with a token from {url}:",
            WORKSPACE_BODIES,
            "7 requests, 5 a second at most: 7 must be refused.\n",
        ),
    ],
    ids=["CSE", "Workspace"],
)
def test_the_plan_has_each_request_as_a_curl_line_and_nothing_is_sent_unconfirmed(
    service: httpx.Client, run: Run, settings: Any, first: str, bodies: list[str], last: str
) -> None:
    ran = run(settings)
    assert (ran.code, log_of(service)) == (2, [])
    lines = [shlex.split(line) for line in ran.said.splitlines() if line.startswith("     curl")]
    assert [words[-1] if "--data-raw" in words else "" for words in lines] == bodies
    assert ["x-auth-token: $TOKEN" in words for words in lines] == [True] * (len(bodies) - 1) + [False]
    assert [any("ep-1" in word for word in words) for words in lines].count(True) == bodies.count(RETRY) / 2
    assert ran.said.startswith(first.format(url=service.base_url))
    assert last in ran.said
    assert ran.said.endswith("Nothing was sent. To send these, add CONFIRM=yes\n")


def test_each_operation_that_acts_has_a_plan() -> None:
    assert set(live.TABLE) == {operation.id for operation in Contract.load().operations if operation.acts}


@pytest.mark.parametrize("credentials", [TOKEN, KEYS], ids=["token", "keys"])
@pytest.mark.parametrize(
    ("settings", "path", "fields", "count"),
    [(CSE, CSE_PATH, {"action"}, 6), (WORKSPACE, WORKSPACE_PATH, {"record_id", "task_id"}, 7)],
    ids=["CSE", "Workspace"],
)
def test_a_run_without_writes_is_refused_whatever_it_sends(
    service: httpx.Client, run: Run, settings: Any, path: str, fields: set[str], count: int, credentials: Any
) -> None:
    ran = run(settings, credentials, CONFIRM)
    assert ran.code == 0, ran.said
    log = log_of(service)
    assert [(entry["outcome"], entry["acted"], entry["path"], entry["query"]) for entry in log] == [
        ("refused", False, path, "")
    ] * count
    words = set[str]().union(*(texts(entry["body"]) for entry in log if isinstance(entry["body"], dict)))
    assert words == {*fields, "unexpected"}
    assert [entry["status"] for entry in log].index(401) == count - 1
    assert not {"x-auth-token", "authorization"} & set(log[-1]["headers"])
    assert not re.search("nobody-may-see|LIVE-ACCESS-KEY", ran.said)


@pytest.mark.parametrize(
    ("settings", "bodies", "enterprise"),
    [
        (CSE, [{"action": "Retry"}], [None]),
        (CSE | ENTERPRISE, [{"action": "Retry"}] * 2, [None, "ep-1"]),
        (WORKSPACE, [{"record_id": "r-1"}, {"task_id": "t-1"}], [None, None]),
    ],
    ids=["CSE", "CSE in an enterprise project", "Workspace"],
)
def test_a_run_with_writes_retries_as_often_as_it_says(
    service: httpx.Client, run: Run, settings: Any, bodies: list[Any], enterprise: list[str | None]
) -> None:
    ran = run(settings, TOKEN, WRITES)
    assert ran.code == 0, ran.said
    accepted = [entry for entry in log_of(service) if entry["acted"]]
    assert [entry["body"] for entry in accepted] == bodies
    assert [entry["headers"].get("x-enterprise-project-id") for entry in accepted] == enterprise
    assert f"{len(bodies)} REALLY RETRY" in ran.said
    assert ran.said.count("ACTS: ") == len(bodies)


BAD: list[tuple[dict[str, str], str]] = [
    ({"ENTERPRISE_PROJECT_ID": "a b"}, "ENTERPRISE_PROJECT_ID: an ID has"),
    ({"URL": ""}, "URL: the endpoint must be an http(s) URL"),
    ({"URL": "http://cse.example.com"}, "URL: plain http is for this machine only; use https"),
    ({"URL": "https://cse.example.com/v2"}, "URL: scheme and host only"),
    ({"TAG": ""}, "TAG: is missing; give CSE or Workspace"),
    ({"TAG": "cse"}, "TAG: there is no 'cse'; give CSE or Workspace"),
    ({"PROJECT_ID": "", "ENGINE_ID": ""}, "TAG=CSE needs PROJECT_ID and ENGINE_ID"),
    ({"ENGINE_ID": ".."}, "ENGINE_ID: an ID has"),
    ({"ENGINE_ID": "e" * 65}, "ENGINE_ID: an ID has"),
    ({"CONFIRM": "y"}, "CONFIRM: must be yes or no"),
    ({"ALLOW_WRITES": "true"}, "ALLOW_WRITES: must be yes or no"),
    (
        {"HW_AUTH_TOKEN": "", "HW_ACCESS_KEY": "ak"},
        "incomplete credentials: the environment has HW_ACCESS_KEY",
    ),
    ({"HW_AUTH_TOKEN": ""}, "no credentials, neither in the environment"),
    (
        WORKSPACE | WRITES | {"RECORD_ID": "", "TASK_ID": ""},
        "ALLOW_WRITES=yes: RetryScriptExecution needs RECORD_ID or TASK_ID",
    ),
]


@pytest.mark.parametrize(("change", "why"), BAD)
def test_a_setting_that_is_missing_or_wrong_is_reported_before_anything_is_sent(
    service: httpx.Client, run: Run, change: Any, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ran = run(TOKEN, CONFIRM, change)
    assert (ran.code, log_of(service)) == (2, [])
    assert re.fullmatch(rf"make contract: {re.escape(why)}[^\n]*; nothing was sent\n", ran.said)


def test_a_contract_in_which_a_planned_request_is_valid_has_no_plan(tmp_path: Path) -> None:
    spec = (ROOT / "openapi.yaml").read_text(encoding="utf-8")
    assert spec.count("          const: Retry\n") == 1
    changed = spec.replace("          const: Retry\n", "          type: object\n")
    (file := tmp_path / "openapi.yaml").write_text(changed, encoding="utf-8")
    contract = Contract.load(file)
    settings = live.read_settings(contract, CSE | {"URL": "https://cse.example.com"})
    with (
        httpx.Client() as client,
        pytest.raises(ConfigurationError, match="this might act, so nothing is sent"),
    ):
        live.make_plan(contract, settings, client)


# --- When it stops ------------------------------------------------------------------------------------------

UNAUTHORIZED = "401 to credentials: check them"
UNKNOWN = "the outcome of a retry is unknown: look at the job or task first"
STARTED = "no response, RemoteProtocolError.*; a retry MAY HAVE STARTED"
EXPIRED = {"operation": "RetryEngine", "status": 401, "example": "tokenExpired"}
# Settings, faults, why it stops, and the statuses in the mock's request log.
STOPS: dict[str, tuple[dict[str, str], list[dict[str, Any]], str, str]] = {
    "a wrong token": ({"HW_AUTH_TOKEN": "wrong"}, [], UNAUTHORIZED, "401"),
    "a wrong key": (KEYS | {"HUAWEICLOUD_SDK_SK": "wrong"}, [], UNAUTHORIZED, "401"),
    "an expired token, which is not renewed": (PASSWORD, [EXPIRED], UNAUTHORIZED, "201 401"),
    "a wrong password": (PASSWORD | {"HW_USER_PASSWORD": "no"}, [], "IAM refused to give a token", "401"),
    "429 five times": (TOKEN, [{"status": 429}], "still 429 after 5 attempts", "429 429 429 429 429"),
    "no response": (TOKEN, [{"close": "before"}], "no response, RemoteProtocolError", "None"),
    "a wrong status": (TOKEN, [{"status": 403}], "a response breaks the contract", "403 403 403 403 405"),
    "no response to a retry": (TOKEN, [AT_FIRST, {"close": "after"}], STARTED, f"{REFUSED} None"),
    "half a response to a retry": (TOKEN, [AT_FIRST, {"reply": "truncated"}], STARTED, f"{REFUSED} 200"),
    "no JSON after a retry": (TOKEN, [AT_FIRST, {"reply": "garbage"}], UNKNOWN, f"{REFUSED} 200"),
    "502 to a retry": (TOKEN, [AT_FIRST, {"status": 502, "acted": True}], UNKNOWN, f"{REFUSED} 502"),
}


@pytest.mark.parametrize("case", STOPS)
def test_it_stops(service: httpx.Client, run: Run, case: str) -> None:
    settings, faults, why, statuses = STOPS[case]
    service.post("/_mock/faults", json=faults)
    ran = run(settings, WRITES, ENTERPRISE)
    assert ran.code == 1
    assert re.search(f"STOPPED at .*{why}", ran.said), ran.said
    assert " ".join(str(entry["status"]) for entry in log_of(service)) == statuses
    assert ("MAY HAVE" in ran.said) == ("MAY HAVE" in why)


@pytest.mark.parametrize("what", ["URL", "HUAWEICLOUD_SDK_IAM_ENDPOINT"])
def test_a_host_that_accepts_no_connection_has_not_acted(service: httpx.Client, run: Run, what: str) -> None:
    with responding(lambda _: (200, b"")) as url:
        pass
    ran = run(PASSWORD, WRITES, {what: url})
    assert ran.code == 1
    assert f"STOPPED at 1.: no response{'' if what == 'URL' else ' of IAM'}, ConnectError" in ran.said
    assert "MAY HAVE" not in ran.said
    assert all(entry["path"] == "/v3/auth/tokens" for entry in log_of(service))


def test_after_a_429_it_waits_as_long_as_asked_and_a_retry_is_accepted_once(
    service: httpx.Client, run: Run
) -> None:
    service.post("/_mock/faults", json=[AT_FIRST, {"status": 429, "retry_after": 7, "times": 2}])
    ran = run(TOKEN, WRITES, ENTERPRISE)
    assert ran.code == 0
    assert len([seconds for seconds in ran.slept if 7 <= seconds <= 9]) == 2
    retries = [entry["acted"] for entry in log_of(service) if entry["body"] == {"action": "Retry"}]
    assert retries == [False, False, True, True]


def test_every_request_is_sent_at_least_a_fifth_of_a_second_after_the_one_before(
    service: httpx.Client, run: Run
) -> None:
    service.post(
        "/_mock/faults", json=[{"operation": "RetryEngine", "status": 429, "retry_after": 0, "times": 1}]
    )
    ran = run(PASSWORD, CONFIRM)
    assert len(log_of(service)) == 8
    assert sum(ran.slept) == pytest.approx(0.2 * 7)


# --- Services that break the contract -----------------------------------------------------------------------


@contextmanager
def responding(respond: Callable[[Any], tuple[int, bytes]]) -> Generator[str, None, None]:
    """A server that responds so to any request."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, body = respond(self)
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


def test_a_service_that_accepts_anything_gets_one_request(run: Run) -> None:
    methods: list[str] = []

    def accept(request: Any) -> tuple[int, bytes]:
        methods.append(request.command)
        return 200, b'{"id": "e-1", "name": "engine", "jobId": 1}'

    with responding(accept) as url:
        ran = run(TOKEN, WRITES, {"URL": url})
    assert (ran.code, methods) == (1, ["PUT"])
    assert "STOPPED at 1.: IT MAY HAVE ACTED: 200 to a request that must be refused" in ran.said


ESCAPES: list[Callable[[str], str]] = [
    str,
    lambda text: text.replace("/", r"\/").replace("=", r"\u003d").replace("+", r"\u002B"),
    lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    lambda text: quote(text, safe=""),
    lambda text: html.escape(text).replace("/", "&#x2F;").replace("=", "&#61;"),
]
SECRET = "nobody/may+see=" * 20
TEMPORARY = {"HUAWEICLOUD_SDK_AK": "LIVE/ACCESS+KEY=", "HUAWEICLOUD_SDK_SECURITY_TOKEN": SECRET}


@pytest.mark.parametrize("credentials", [{"HW_AUTH_TOKEN": SECRET}, KEYS | TEMPORARY], ids=["token", "keys"])
def test_a_service_that_quotes_what_it_is_sent_shows_no_secret(run: Run, credentials: dict[str, str]) -> None:
    seen: set[str] = set()

    def quoting(request: Any) -> tuple[int, bytes]:
        sent = [
            request.headers.get(name, "") for name in ("X-Auth-Token", "X-Security-Token", "Authorization")
        ]
        sent += re.findall("(?:Access|Signature)=([^,]+)", sent[-1])
        seen.update(filter(None, sent))
        escape = ESCAPES[len(requests) % len(ESCAPES)]
        requests.append(escape)
        text = " ".join(f"({escape(secret)})" for secret in reversed(sent))
        body = f'{{"error_code": "code", "error_msg": "{text}", "request_id": ["{text}"]}}'
        return 400, (body if len(requests) % 2 else f"<p>{text}</p>").encode()

    requests: list[Any] = []
    with responding(quoting) as url:
        ran = run(credentials, CONFIRM, {"URL": url})
    assert (ran.code, len(requests)) == (1, 6)
    assert "BREAKS THE CONTRACT: 1. an object as action: " in ran.said
    assert "***" in ran.said
    for secret in seen:
        assert not [escape for escape in ESCAPES if escape(secret)[:20] in ran.said]


@pytest.mark.parametrize(
    ("fault", "problem"),
    [({"status": 418}, "status: 418 is not documented"), ({"reply": "garbage"}, "body: is not UTF-8")],
)
def test_a_response_that_breaks_the_contract_is_reported_by_its_number_in_the_plan(
    service: httpx.Client, run: Run, fault: dict[str, Any], problem: str
) -> None:
    service.post("/_mock/faults", json=[{**fault, "times": 1}])
    ran = run(TOKEN, CONFIRM)
    assert (ran.code, len(log_of(service))) == (1, 6)
    report = ran.said.partition("6 requests planned; responses: ")[2].splitlines()
    assert report[1].startswith("BREAKS THE CONTRACT: 1. an object as action: ")
    assert any(line.startswith(f"     {problem}") for line in report[2:]), report


# --- As a process -------------------------------------------------------------------------------------------


def test_make_runs_it_with_the_settings_of_its_command_line(service: httpx.Client, tmp_path: Path) -> None:
    words = [f"{name}={value}" for name, value in (CSE | CONFIRM | {"URL": service.base_url}).items()]
    command = ["make", "--no-print-directory", "contract", *words]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONWARNINGS": "error", **KEYS}
    ran = subprocess.run(
        command, cwd=ROOT, env=environ, check=False, capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    assert len(log_of(service)) == 6


def test_ctrl_c_ends_it_with_a_report(tmp_path: Path) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hang_at_the_retry(request: Any) -> tuple[int, bytes]:
        if request.body.decode() == RETRY:
            asked.set()
            go_on.wait()
        return (404 if request.command == "GET" else 400), b'{"error_code": "code", "error_msg": "refused"}'

    with responding(hang_at_the_retry) as url:
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "URL": url, **CSE, **TOKEN, **WRITES}
        command = [sys.executable, "-m", "tests.contract.live"]
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
        try:
            assert asked.wait(60)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            go_on.set()
    assert process.returncode == 130
    assert "STOPPED at 6.: interrupted; a retry MAY HAVE STARTED: look at the job or task" in said
    assert "7 requests planned; responses: " in said
