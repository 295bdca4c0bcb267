"""Fault injection of the mock: what a caller sees of each fault; state and request log say what happened."""

import asyncio
import gc
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from huaweicloud_retry import APIError, TokenAuth
from huaweicloud_retry.contract import Contract
from huaweicloud_retry.mock import running
from huaweicloud_retry.mock.__main__ import main
from huaweicloud_retry.mock.faults import Faults, parse_fault, read_faults
from huaweicloud_retry.parsing import UnreadableError
from huaweicloud_retry_client import Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest

ENGINE_ID = "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
TASK, RECORD = "0000000059071dbc01591661d3990019", "0000000059071dbc01591661d3990020"
USER = {"name": "mock-user", "password": "mock-password", "domain": {"name": "mock-domain"}}
JSON = {"Content-Type": "application/json"}
LONG = 60  # seconds that no test takes


class Call(NamedTuple):
    """A request that the mock accepts."""

    operation: str
    method: str
    path: str
    body: dict[str, Any]

    def raw(self) -> bytes:
        body = json.dumps(self.body)
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: mock-token\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


ENGINE = Call(
    "RetryEngine", "PUT", f"/v2/demo-project/enginemgr/engines/{ENGINE_ID}/actions", {"action": "Retry"}
)
SCRIPT = Call(
    "RetryScriptExecution", "POST", "/v2/demo-project/script-executions/retry", {"record_id": RECORD}
)
BY_PASSWORD = {"auth": {"identity": {"methods": ["password"], "password": {"user": USER}}}}
TOKEN = Call("KeystoneCreateUserTokenByPassword", "POST", "/v3/auth/tokens", BY_PASSWORD)


class Mock:
    """A client of a mock that runs."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(
            base_url=url, headers={"X-Auth-Token": "mock-token"}, trust_env=False, timeout=LONG
        )

    def connected(self) -> socket.socket:
        address = self.http.base_url.host, self.http.base_url.port or 0
        return socket.create_connection(address, timeout=LONG)

    def ask(self, call: Call) -> bytes:
        """Send a request on a connection of its own; returns what comes until that is closed."""
        with self.connected() as sock:
            sock.sendall(call.raw().replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            return sock.makefile("rb").read()

    def send(self, call: Call) -> httpx.Response:
        return self.http.request(call.method, call.path, json=call.body)

    def add(self, *faults: dict[str, Any]) -> None:
        assert self.http.post("/_mock/faults", json=faults).status_code == 204

    def page(self, name: str) -> Any:
        return self.http.get(f"/_mock/{name}").json()

    @property
    def request_log(self) -> Any:
        return self.page("request-log")["entries"]

    def work(self, call: Call) -> tuple[str, int]:
        project = self.page("state")["projects"]["demo-project"]
        records = project["script_tasks"][TASK]["records"]
        work = project["engines"][ENGINE_ID]["jobs"][0] if call == ENGINE else records[RECORD]
        return work["status"], work["retries"]

    def statuses(self, *calls: Call) -> list[int]:
        return [self.send(call).status_code for call in calls]


@pytest.fixture(scope="module")
def shared() -> Iterator[Mock]:
    with running() as url:
        mock = Mock(url)
        with mock.http:
            yield mock


@pytest.fixture
def mock(shared: Mock, caplog: pytest.LogCaptureFixture) -> Iterator[Mock]:
    """Fresh at the start of a test; has logged no warning by its end."""
    shared.http.post("/_mock/reset")
    yield shared
    shared.page("health")  # so that the event loop has had a turn since the last connection was closed
    assert [str(record) for record in caplog.records if record.levelno >= logging.WARNING] == []


class Process:
    """The mock as a process."""

    def __init__(self, stderr: Path, *options: str) -> None:
        command = [sys.executable, "-W", "error", "-m", "huaweicloud_retry.mock", "--port", "0", "--quiet"]
        with stderr.open("w") as file:
            self._process = subprocess.Popen(
                [*command, *options], stdout=subprocess.PIPE, stderr=file, text=True
            )
        assert self._process.stdout is not None
        ready = re.match(r"mock ready at (\S+)", self._process.stdout.readline())
        assert ready, stderr.read_text()
        self._stderr = stderr
        self.mock = Mock(ready[1])

    def must_stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        out, _ = self._process.communicate(timeout=LONG)
        assert (out, self._stderr.read_text(), self._process.returncode) == ("", "", 0)

    def kill(self) -> None:
        self.mock.http.close()
        self._process.kill()
        self._process.communicate()


# --- What a caller sees, and what is true -----------------------------------------------------------------------------


@pytest.mark.parametrize("call", [ENGINE, SCRIPT], ids=lambda call: call.operation)
@pytest.mark.parametrize(
    ("fault", "begins", "acted", "outcome", "status"),
    [
        ({"status": 503}, b"HTTP/1.1 503 ", False, "refused", 503),
        ({"status": 302}, b"HTTP/1.1 302 ", False, "refused", 302),  # and is no example of the spec
        ({"status": 504, "acted": True}, b"HTTP/1.1 504 ", True, "accepted", 504),
        ({"close": "before"}, b"", False, "unanswered", None),
        ({"close": "after"}, b"", True, "accepted", None),
        ({"reply": "truncated"}, b"HTTP/1.1 200 ", True, "accepted", 200),
        ({"reply": "garbage"}, b"HTTP/1.1 200 ", True, "accepted", 200),
        ({"reply": "not-http"}, b"\xff", True, "accepted", None),
        ({"reply": "drip", "seconds": 0.1}, b"HTTP/1.1 200 ", True, "accepted", 200),
        ({"delay": 0.01}, b"HTTP/1.1 200 ", True, "accepted", 200),
    ],
)
def test_state_and_journal_say_whether_it_acted_and_the_next_request_is_served(
    mock: Mock,
    call: Call,
    fault: dict[str, Any],
    begins: bytes,
    acted: bool,
    outcome: str,
    status: int | None,
) -> None:
    given = {**fault, "operation": call.operation, "times": 1}
    failed = mock.work(call)
    mock.add(given)
    answer = mock.ask(call)
    assert (answer[: len(begins)], bool(answer)) == (begins, bool(begins))
    (entry,) = mock.request_log
    expected = {
        "operation": call.operation,
        "acted": acted,
        "outcome": outcome,
        "status": status,
        "fault": given,
    }
    assert {name: entry[name] for name in expected} == expected
    assert (mock.work(call) != failed, mock.work(call)[1]) == (acted, int(acted))
    assert mock.ask(call).startswith(b"HTTP/1.1 400 " if acted else b"HTTP/1.1 200 ")
    assert mock.request_log[1]["fault"] is None


@pytest.mark.parametrize(
    ("call", "fault", "code"),
    [
        (ENGINE, {"status": 503}, "APIG.0613"),
        (SCRIPT, {"status": 503}, "WKS.00050902"),
        (ENGINE, {"status": 400}, "SVCSTG.00501116"),  # the first
        (ENGINE, {"status": 400, "example": "wrongState"}, "SVCSTG.00501149"),
        (SCRIPT, {"status": 401, "example": "notAuthorized"}, "WKS.00211302"),
        *((call, {"status": status}, "") for call in (ENGINE, TOKEN) for status in (302, 418, 561)),
        (ENGINE, {"status": 304}, None),  # has no body
        (TOKEN, {"status": 503}, ""),
    ],
)
def test_a_status_has_the_specs_example_or_a_body_of_the_gateways_shape_and_the_connection_goes_on(
    mock: Mock, call: Call, fault: dict[str, Any], code: str | None
) -> None:
    mock.add({**fault, "times": 1})
    answer, status = mock.send(call), fault["status"]
    assert answer.status_code == status
    if code:
        assert answer.json()["error_code"] == code
    elif code is not None:
        what = {
            "error_code": "APIGW.0201",
            "error_msg": f"Unexpected error: an injected fault, status {status}.",
        }
        assert answer.json() == {**what, "request_id": answer.headers["X-Request-Id"]}
    assert mock.send(call).is_success  # on the same connection


@pytest.mark.parametrize(
    ("fault", "header"),
    [
        ('{"status": 429}', "2"),  # the spec's example
        ('{"status": 429, "retry_after": 7}', "7"),
        ('{"status": 429, "retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}', "Wed, 21 Oct 2015 07:28:00 GMT"),
        (
            '{"status": 429.0, "retry_after": 7.0}',
            "7",
        ),  # whole numbers to JSON Schema, however they are written
    ],
)
def test_retry_after(mock: Mock, fault: str, header: str) -> None:
    assert mock.http.post("/_mock/faults", headers=JSON, content=fault).status_code == 204
    answer = mock.send(ENGINE)
    assert answer.headers.get_list("Retry-After") == [header]
    assert answer.json()["error_code"] == "APIGW.0308"


def test_half_a_body_is_sent_or_one_that_is_no_text(mock: Mock) -> None:
    mock.add({"reply": "truncated", "times": 2}, {"reply": "garbage"})
    head, _, body = mock.ask(ENGINE).partition(b"\r\n\r\n")
    assert f"content-length: {2 * len(body)}".encode() in head
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        mock.send(SCRIPT)
    garbage = mock.send(TOKEN)
    assert (garbage.status_code, garbage.headers["Content-Type"]) == (201, "application/json")
    with pytest.raises(UnicodeDecodeError):
        garbage.content.decode()


def test_a_drip_comes_piece_by_piece_and_in_the_end_whole(mock: Mock) -> None:
    mock.add({"reply": "drip", "seconds": 20, "times": 1}, {"reply": "drip", "seconds": 0.1})
    with mock.connected() as sock:
        sock.sendall(ENGINE.raw())
        received, bodies = b"", [b""]
        while len(bodies) < 4:
            received += sock.recv(65536)
            body = received.partition(b"\r\n\r\n")[2]
            bodies += [body] if body != bodies[-1] else []
    assert b"\r\ncontent-length: 84\r\n" in received
    assert 3 <= len(bodies[-1]) < 84
    assert mock.send(SCRIPT).json() == {"task_id": TASK}


def test_a_gateway_that_gave_up_waiting_does_not_know_of_a_refusal_either(mock: Mock) -> None:
    mock.send(ENGINE)  # so that there is nothing to retry
    mock.add({"status": 504, "acted": True})
    assert mock.send(ENGINE).status_code == 504
    assert (mock.request_log[-1]["acted"], mock.request_log[-1]["status"], mock.work(ENGINE)[1]) == (
        False,
        504,
        1,
    )
    # But whom it lets in it knows before.
    refused = mock.http.put(ENGINE.path, headers={"X-Auth-Token": "wrong"}, content=b"{}")
    assert refused.status_code == 401


# --- Whom faults meet, and how often ----------------------------------------------------------------------------------


def test_times_counts_down_even_if_requests_come_at_once(mock: Mock) -> None:
    mock.add({"status": 503, "times": 3})
    shown = [(mock.page("faults"), mock.send(ENGINE).status_code) for _ in range(4)]
    assert shown == [*(([{"status": 503, "times": left}], 503) for left in (3, 2, 1)), ([], 200)]
    mock.add({"status": 503, "times": 7})
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(mock.ask, [ENGINE] * 16))
    assert sum(answer.startswith(b"HTTP/1.1 503 ") for answer in answers) == 7


def test_several_meet_requests_in_their_order_each_of_its_operation(mock: Mock) -> None:
    mock.add({"status": 500, "operation": "RetryScriptExecution", "times": 1}, {"status": 502, "times": 1})
    mock.add({"status": 504, "operation": TOKEN.operation, "acted": True, "times": 1}, {"status": 503})
    assert mock.statuses(ENGINE, ENGINE, SCRIPT, SCRIPT, TOKEN, TOKEN) == [502, 503, 500, 503, 504, 503]
    assert [entry["acted"] for entry in mock.request_log] == [False, False, False, False, True, False]


def test_faults_for_all_meet_no_unknown_path_no_wrong_method_and_no_page_of_the_mock(mock: Mock) -> None:
    mock.add({"close": "before", "times": 1})
    unknown = [
        ("GET", "/nope", 404),
        ("GET", ENGINE.path, 405),
        ("GET", TOKEN.path, 405),
        ("POST", "/_mock", 404),
    ]
    own = [("GET", "/docs", 200), ("GET", "/_mock/health", 200), ("GET", "/_mock/nope", 404)]
    for method, path, status in unknown + own:
        assert mock.http.request(method, path).status_code == status
    assert [(entry["status"], entry["fault"]) for entry in mock.request_log] == [
        (status, None) for _, _, status in unknown
    ]
    assert mock.page("faults") == [{"close": "before", "times": 1}]


def test_a_share_of_the_requests_is_the_same_for_the_same_seed_and_after_a_reset() -> None:
    def met(faults: Faults) -> list[bool]:
        return [faults.pick("RetryEngine") is not None for _ in range(60)]

    half = [{"status": 503, "share": 0.5}]
    faults = Faults(half, seed=7)
    expected = met(faults)
    faults.reset()
    assert met(faults) == met(Faults(half, seed=7)) == expected
    assert met(Faults(half, seed=8)) != expected
    assert 10 < sum(expected) < 50


# --- Where they come from, and how they go ----------------------------------------------------------------------------


def test_a_file_the_command_line_and_requests_and_a_reset_that_goes_back_to_the_start(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text("- status: 500 # once\n  times: 1\n", encoding="utf-8")
    options = ("--fault", "status=502,operation=RetryEngine,times=1", "--fault", "status=503,share=0.5")
    process = Process(tmp_path / "stderr", "--faults", str(tmp_path / "faults.yaml"), *options, "--seed", "7")
    mock = process.mock
    engine, half = {"status": 502, "operation": "RetryEngine", "times": 1}, {"status": 503, "share": 0.5}
    started = [{"status": 500, "times": 1}, engine, half]
    chance = Faults([half], seed=7)
    by_chance = [503 if chance.pick(TOKEN.operation) else 201 for _ in range(20)]
    try:
        assert (
            mock.http.post("/_mock/faults", json={"close": "after"}).status_code == 204
        )  # one, not in a list
        assert mock.page("faults") == [*started, {"close": "after"}]
        assert mock.http.delete("/_mock/faults").status_code == 204
        assert (mock.page("faults"), mock.statuses(ENGINE), len(mock.request_log)) == ([], [200], 1)
        assert mock.http.post("/_mock/reset").status_code == 204
        assert (mock.page("faults"), mock.request_log, mock.work(ENGINE)[1]) == (started, [], 0)
        assert mock.statuses(ENGINE, ENGINE, *[TOKEN] * 20) == [500, 502, *by_chance]
        process.must_stop()
    finally:
        process.kill()


BAD: list[tuple[Any, str]] = [  # as the second of a list
    ({"status": 503, "colour": 1}, "/1: Additional properties are not allowed ('colour' was unexpected)"),
    ({"close": "before", "status": 503}, "/1/status: not together with close"),
    ({"close": "before", "seconds": 2}, '/1: "reply" is a'),
    ({"reply": "garbage", "seconds": 2}, "/1/seconds: only with reply: drip"),
    (
        {"status": 503, "operation": "Nope"},
        "/1/operation: there is no Nope; there are RetryScriptExecution, RetryEngine",
    ),
    (
        {"status": 400, "example": "nope"},
        "/1/example: RetryScriptExecution has no example 'nope' for status 400",
    ),
    ({"status": 418, "example": "nope"}, "/1/example: RetryScriptExecution documents no status 418"),
    ({"status": 503, "share": 0}, "/1/share: 0 is less than or equal to the minimum of 0"),
    ({"status": 503, "share": 2}, "/1/share: 2 is greater than the maximum of 1"),
    ({"status": 200}, "/1/status: 200 is less than the minimum of 300"),
    ({"status": 600}, "/1/status: 600 is greater than the maximum of 599"),
    ({"times": 2}, "/1: it needs one of close, status, reply and delay"),
]


@cache
def contract() -> Contract:
    return Contract.load()


def refusal_of_a_request(mock: Mock, body: str) -> str:
    refused = mock.http.post("/_mock/faults", headers=JSON, content=body)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "MOCK.400")
    assert mock.page("faults") == []
    start, _, problem = refused.json()["error_msg"].partition("The body is invalid: ")
    assert start == ""
    return str(problem)


def refusal_of_an_option(text: str) -> str:
    with pytest.raises(UnreadableError) as refused:
        parse_fault(contract(), text)
    return str(refused.value)


def refusal_of_a_file(content: str) -> str:
    with pytest.raises(UnreadableError) as refused:
        read_faults(contract(), content.encode())
    return str(refused.value)


@pytest.mark.parametrize(("fault", "says"), BAD)
def test_an_invalid_fault_is_refused_with_its_place_and_nothing_is_added(
    mock: Mock, fault: dict[str, Any], says: str
) -> None:
    assert refusal_of_a_request(mock, json.dumps([{"status": 503}, fault])).startswith(says)
    option = ",".join(f"{name}={value}" for name, value in fault.items())
    assert says.removeprefix("/1").removeprefix(": ") in refusal_of_an_option(option)
    file = f"# comment\n- status: 503\n- {json.dumps(fault)}\n"
    assert refusal_of_a_file(file).startswith(f"line 3, {says}")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('[{"status": 503}, {}]', "/1: "),
        ('[{"status": 503}, null]', "/1: null is not"),
        ("", "is not JSON: "),
        ("{", "is not JSON: "),
    ],
)
def test_an_invalid_body_is_refused_and_nothing_is_added(mock: Mock, body: str, says: str) -> None:
    assert refusal_of_a_request(mock, body).startswith(says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be NAME=VALUE"),
        ("status=", '/status: null is not of type "integer"'),
        ("status=[", "is not YAML: line "),
        ("status=503,status=504", "/status: is a duplicate"),
        (os.fsdecode(b"status=503,example=\xff"), ""),
    ],
)
def test_an_invalid_option_is_refused(text: str, says: str) -> None:
    assert says in refusal_of_an_option(text)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", 'line 1: null is not of type "array"'),
        ("- status: 503\n- [\n", "is not YAML: line 3, "),
        ("- status: 503\n  status: 504\n", "line 2: this key is a duplicate"),
        pytest.param("[" * 100_000, "", id="deep"),
    ],
)
def test_an_invalid_file_is_refused_with_the_number_of_the_line(content: str, says: str) -> None:
    assert refusal_of_a_file(content).startswith(says)


@pytest.mark.parametrize("option", ["--fault", "--faults"])
def test_the_command_refuses_invalid_faults_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("- colour: 1\n", encoding="utf-8")
    code = main(["--port", "0", "--quiet", option, str(file) if option == "--faults" else "colour=1\n2"])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    start = "python -m huaweicloud_retry.mock: "
    assert err.startswith(f"{start}{file}: line 1, " if option == "--faults" else f"{start}--fault colour=1")


# --- What is still under way when somebody goes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "acted"),
    [
        (("--delay", "3600"), 0),
        (("--fault", "delay=3600"), 0),
        (("--fault", "reply=drip,seconds=3600,times=2"), 1),
    ],
    ids=["delay", "fault", "drip"],
)
def test_it_stops_during_delays_and_drips_whether_or_not_the_caller_is_gone(
    tmp_path: Path, options: tuple[str, ...], acted: int
) -> None:
    process = Process(tmp_path / "stderr", *options)
    mock = process.mock
    try:
        with mock.connected() as stays, mock.connected() as goes:
            for sock, call in ((stays, ENGINE), (goes, SCRIPT)):
                sock.sendall(call.raw())
                if acted:
                    assert sock.recv(13) == b"HTTP/1.1 200 "
            goes.close()
            # A delay holds up no other request, and an unknown path has none.
            assert mock.http.get("/nope").status_code == 404
            assert mock.work(ENGINE)[1] == acted
            process.must_stop()
    finally:
        process.kill()


@pytest.mark.parametrize(
    "fault", [{"close": "before"}, {"close": "after"}, {"reply": "truncated"}, {"reply": "not-http"}]
)
def test_a_connection_closed_by_a_fault_serves_no_second_request(mock: Mock, fault: dict[str, Any]) -> None:
    mock.add({**fault, "times": 1})
    with mock.connected() as sock:
        sock.sendall(ENGINE.raw() + ENGINE.raw())
        sock.makefile("rb").read()
    assert len(mock.request_log) == 1


def test_a_drip_whose_caller_hangs_up_leaves_no_task_behind(mock: Mock) -> None:
    def tasks() -> set[str]:
        found = [thing for thing in gc.get_objects() if isinstance(thing, asyncio.Task) and not thing.done()]
        return {task.get_name() for task in found if "Connections.serve" in repr(task)}

    others = tasks()
    mock.add({"reply": "drip", "seconds": 12})  # a byte every seventh of a second
    with mock.connected() as sock:
        sock.sendall(ENGINE.raw())
        sock.recv(1)
        dripping = tasks() - others
        assert len(dripping) == 1
    assert any(not tasks() & dripping for _ in range(1000) if mock.page("health"))


def test_a_delayed_request_is_processed_although_the_caller_is_gone(mock: Mock) -> None:
    mock.add({"delay": 0.2, "times": 1})
    with mock.connected() as sock:
        sock.sendall(ENGINE.raw())
        assert any(not mock.page("faults") for _ in range(10_000))  # the request has come
    assert any(mock.request_log for _ in range(10_000))
    assert mock.request_log[0]["acted"]


# --- What the generated client makes of it: test_calls.py has the rest ---


@pytest.mark.parametrize("status", [302, 400, 404, 429, 499, 500, 501, 502, 503, 504, 505, 561])
def test_no_fault_acts_and_then_answers_what_by_the_contract_means_that_nothing_was_run(
    mock: Mock, status: int
) -> None:
    if mock.http.post("/_mock/faults", json={"status": status, "acted": True}).status_code == 204:
        with Client(mock.url, auth=TokenAuth("mock-token")) as client, pytest.raises(APIError) as raised:
            retry_engine.sync("demo-project", ENGINE_ID, client=client, body=EngineActionRequest())
        assert raised.value.outcome_unknown
        assert mock.request_log[-1]["acted"]
