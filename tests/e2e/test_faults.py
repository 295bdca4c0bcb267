"""Fault injection of the mock: what a client sees of each fault; state and request log say what happened."""

import asyncio
import gc
import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from huaweicloud_retry import APIError
from huaweicloud_retry.mock.__main__ import main
from huaweicloud_retry.mock.faults import Faults, parse_fault, read_faults
from huaweicloud_retry.parsing import UnreadableError
from huaweicloud_retry.testing import Mock
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest
from tests import mocks
from tests.mocks import (
    CONTRACT,
    ENGINE_ID,
    JSON,
    RECORD,
    TASK,
    connected,
    plain_client,
    process,
    token_request,
)


class Call(NamedTuple):
    """A request that the mock accepts."""

    operation: str
    method: str
    path: str
    body: dict[str, Any]

    @property
    def raw(self) -> bytes:
        body = json.dumps(self.body)
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: mock-token\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


ENGINE = Call("RetryEngine", "PUT", mocks.ENGINE, {"action": "Retry"})
SCRIPT = Call("RetryScriptExecution", "POST", mocks.SCRIPT, {"record_id": RECORD})
TOKEN = Call("KeystoneCreateUserTokenByPassword", "POST", mocks.IAM, token_request())


@pytest.fixture
def mock(mock: Mock, caplog: pytest.LogCaptureFixture) -> Iterator[Mock]:
    """The mock, which has logged no warning by the end of the test."""
    yield mock
    mock.state()  # so that the event loop has had a turn since the last connection was closed
    assert [str(record) for record in caplog.records if record.levelno >= logging.WARNING] == []


def send(http: httpx.Client, call: Call) -> httpx.Response:
    return http.request(call.method, call.path, json=call.body)


def exchange(url: str, call: Call) -> bytes:
    """Send a request on a connection of its own; returns what comes until that is closed."""
    with connected(url) as sock:
        sock.sendall(call.raw.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        return sock.makefile("rb").read()


def faults(mock: Mock) -> Any:
    return mock._ask("GET", "faults").json()


def work(mock: Mock, call: Call) -> tuple[str, int]:
    project = mock.state()["projects"]["demo-project"]
    records = project["script_tasks"][TASK]["records"]
    found = project["engines"][ENGINE_ID]["jobs"][0] if call == ENGINE else records[RECORD]
    return found["status"], found["retries"]


# --- What a client sees, and what is true -----------------------------------------------------------------------------


@pytest.mark.parametrize("call", [ENGINE, SCRIPT], ids=lambda call: call.operation)
@pytest.mark.parametrize(
    ("fault", "begins", "acted", "outcome", "status"),
    [
        ({"status": 503}, b"HTTP/1.1 503 ", False, "refused", 503),
        ({"status": 302}, b"HTTP/1.1 302 ", False, "refused", 302),  # no example of the spec
        ({"status": 504, "acted": True}, b"HTTP/1.1 504 ", True, "accepted", 504),
        ({"close": "before"}, b"", False, "unanswered", None),
        ({"close": "after"}, b"", True, "accepted", None),
        ({"reply": "truncated"}, b"HTTP/1.1 200 ", True, "accepted", 200),
        ({"reply": "garbage"}, b"HTTP/1.1 200 ", True, "accepted", 200),
        ({"reply": "not-http"}, b"\xff", True, "accepted", None),
        ({"reply": "drip", "seconds": 0.1}, b"HTTP/1.1 200 ", True, "accepted", 200),
        ({"delay": 0.01}, b"HTTP/1.1 200 ", True, "accepted", 200),
    ],
)  # fmt: skip
def test_state_and_request_log_say_whether_it_acted_and_the_next_request_is_served(
    mock: Mock, call: Call, fault: Any, begins: bytes, acted: bool, outcome: str, status: int | None
) -> None:
    given = {**fault, "operation": call.operation, "times": 1}
    before = work(mock, call)
    mock.add_fault(**given)
    response = exchange(mock.url, call)
    assert (response[: len(begins)], bool(response)) == (begins, bool(begins))
    (entry,) = mock.request_log()
    logged = (entry["operation"], entry["acted"], entry["outcome"], entry["status"], entry["fault"])
    assert logged == (call.operation, acted, outcome, status, given)
    assert (work(mock, call) != before, work(mock, call)[1]) == (acted, int(acted))
    assert exchange(mock.url, call).startswith(b"HTTP/1.1 400 " if acted else b"HTTP/1.1 200 ")
    assert mock.request_log()[1]["fault"] is None


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
def test_a_status_has_an_example_of_the_spec_or_a_body_in_the_gateways_shape(
    mock: Mock, http: httpx.Client, call: Call, fault: Any, code: str | None
) -> None:
    mock.add_fault(**fault, times=1)
    response = send(http, call)
    assert response.status_code == fault["status"]
    if code is not None:
        assert response.json()["error_code"] == (code or "APIGW.0201")
        assert code or response.json()["request_id"] == response.headers["X-Request-Id"]
    assert send(http, call).is_success  # on the same connection


@pytest.mark.parametrize(
    ("fault", "header"),
    [
        ('{"status": 429}', "2"),  # the spec's example
        ('{"status": 429, "retry_after": 7}', "7"),
        ('{"status": 429, "retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}', "Wed, 21 Oct 2015 07:28:00 GMT"),
        ('{"status": 429.0, "retry_after": 7.0}', "7"),  # integers to JSON Schema
    ],
)
def test_retry_after(http: httpx.Client, fault: str, header: str) -> None:
    assert http.post("/_mock/faults", headers=JSON, content=fault).status_code == 204
    response = send(http, ENGINE)
    assert response.headers.get_list("Retry-After") == [header]
    assert response.json()["error_code"] == "APIGW.0308"


def test_a_body_is_cut_in_half_or_is_no_text(mock: Mock, http: httpx.Client) -> None:
    mock.add_fault(reply="truncated", times=2)
    mock.add_fault(reply="garbage")
    head, _, body = exchange(mock.url, ENGINE).partition(b"\r\n\r\n")
    assert f"content-length: {2 * len(body)}".encode() in head
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        send(http, SCRIPT)
    garbage = send(http, TOKEN)
    assert (garbage.status_code, garbage.headers["Content-Type"]) == (201, "application/json")
    with pytest.raises(UnicodeDecodeError):
        garbage.content.decode()


def test_a_drip_comes_piece_by_piece_and_in_the_end_whole(mock: Mock, http: httpx.Client) -> None:
    mock.add_fault(reply="drip", seconds=20, times=1)
    mock.add_fault(reply="drip", seconds=0.1)
    with connected(mock.url) as sock:
        sock.sendall(ENGINE.raw)
        received, bodies = b"", [b""]
        while len(bodies) < 4:
            received += sock.recv(65536)
            body = received.partition(b"\r\n\r\n")[2]
            bodies += [body] if body != bodies[-1] else []
    assert b"\r\ncontent-length: 84\r\n" in received
    assert 3 <= len(bodies[-1]) < 84
    assert send(http, SCRIPT).json() == {"task_id": TASK}


def test_a_gateway_that_gave_up_waiting_hides_a_refusal_of_the_service_but_not_its_own(
    mock: Mock, http: httpx.Client
) -> None:
    send(http, ENGINE)  # so that there is nothing to retry
    mock.add_fault(status=504, acted=True)
    assert send(http, ENGINE).status_code == 504
    assert (mock.request_log()[-1]["acted"], mock.request_log()[-1]["status"], work(mock, ENGINE)[1]) == (
        False,
        504,
        1,
    )
    assert http.put(ENGINE.path, headers={"X-Auth-Token": "wrong"}, content=b"{}").status_code == 401


@pytest.mark.parametrize("status", [302, 400, 404, 429, 499, 500, 501, 502, 503, 504, 505, 561])
def test_no_fault_acts_with_a_status_that_means_not_processed(mock: Mock, status: int) -> None:
    try:
        mock.add_fault(status=status, acted=True)
    except ValueError:
        return
    with pytest.raises(APIError) as raised:
        retry_engine.sync("demo-project", ENGINE_ID, client=mock.cse, body=EngineActionRequest())
    assert (raised.value.outcome_unknown, mock.request_log()[-1]["acted"]) == (True, True)


# --- Which requests meet faults, and how often ------------------------------------------------------------------------


def test_times_counts_down_even_if_requests_come_at_once(mock: Mock, http: httpx.Client) -> None:
    mock.add_fault(status=503, times=3)
    shown = [(faults(mock), send(http, ENGINE).status_code) for _ in range(4)]
    assert shown == [*(([{"status": 503, "times": left}], 503) for left in (3, 2, 1)), ([], 200)]
    mock.add_fault(status=503, times=7)
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda _: exchange(mock.url, ENGINE), range(16)))
    assert sum(response.startswith(b"HTTP/1.1 503 ") for response in responses) == 7


def test_several_faults_meet_requests_in_their_order_each_of_its_operation(
    mock: Mock, http: httpx.Client
) -> None:
    mock.add_fault(status=500, operation="RetryScriptExecution", times=1)
    mock.add_fault(status=502, times=1)
    mock.add_fault(status=504, operation=TOKEN.operation, acted=True, times=1)
    mock.add_fault(status=503)
    calls = (ENGINE, ENGINE, SCRIPT, SCRIPT, TOKEN, TOKEN)
    assert [send(http, call).status_code for call in calls] == [502, 503, 500, 503, 504, 503]
    assert [entry["acted"] for entry in mock.request_log()] == [False, False, False, False, True, False]


def test_faults_meet_no_unknown_path_no_wrong_method_and_no_admin_endpoint(
    mock: Mock, http: httpx.Client
) -> None:
    mock.add_fault(close="before", times=1)
    unknown = [
        ("GET", "/nope", 404),
        ("GET", ENGINE.path, 405),
        ("GET", TOKEN.path, 405),
        ("POST", "/_mock", 404),
    ]
    own = [("GET", "/docs", 200), ("GET", "/_mock/health", 200), ("GET", "/_mock/nope", 404)]
    for method, path, status in unknown + own:
        assert http.request(method, path).status_code == status
    assert [(entry["status"], entry["fault"]) for entry in mock.request_log()] == [
        (each[2], None) for each in unknown
    ]
    assert faults(mock) == [{"close": "before", "times": 1}]


def test_a_share_is_the_same_for_the_same_seed_and_after_a_reset() -> None:
    def met(faults: Faults) -> list[bool]:
        return [faults.pick("RetryEngine") is not None for _ in range(60)]

    half = [{"status": 503, "share": 0.5}]
    faults = Faults(half, seed=7)
    expected = met(faults)
    faults.reset()
    assert met(faults) == met(Faults(half, seed=7)) == expected
    assert met(Faults(half, seed=8)) != expected
    assert 10 < sum(expected) < 50


# --- Where faults come from, and which are refused --------------------------------------------------------------------


def test_a_reset_restores_the_faults_of_the_file_and_the_options(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text("- status: 500 # once\n  times: 1\n", encoding="utf-8")
    engine, half = {"status": 502, "operation": "RetryEngine", "times": 1}, {"status": 503, "share": 0.5}
    started = [{"status": 500, "times": 1}, engine, half]
    options = ("--fault", "status=502,operation=RetryEngine,times=1", "--fault", "status=503,share=0.5")
    chance = Faults([half], seed=7)
    by_chance = [503 if chance.pick(TOKEN.operation) else 201 for _ in range(20)]
    file = str(tmp_path / "faults.yaml")
    command = ("--quiet", "--faults", file, *options, "--seed", "7")
    with process(*command) as (url, lines), Mock(url) as mock, plain_client(url) as http:
        assert http.post("/_mock/faults", json={"close": "after"}).is_success  # one, not in a list
        assert faults(mock) == [*started, {"close": "after"}]
        mock.clear_faults()
        assert (faults(mock), send(http, ENGINE).status_code, len(mock.request_log())) == ([], 200, 1)
        mock.reset()
        assert (faults(mock), mock.request_log(), work(mock, ENGINE)[1]) == (started, [], 0)
        statuses = [send(http, call).status_code for call in (ENGINE, ENGINE, *[TOKEN] * 20)]
    assert (statuses, lines) == ([500, 502, *by_chance], [])


def refusal_of_a_request(http: httpx.Client, body: str) -> str:
    refused = http.post("/_mock/faults", headers=JSON, content=body)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "MOCK.400")
    assert http.get("/_mock/faults").json() == []
    return str(refused.json()["error_msg"].partition(": ")[2])


def refusal_of_an_option(text: str) -> str:
    with pytest.raises(UnreadableError) as refused:
        parse_fault(CONTRACT, text)
    return str(refused.value)


def refusal_of_a_file(content: str) -> str:
    with pytest.raises(UnreadableError) as refused:
        read_faults(CONTRACT, content.encode())
    return str(refused.value)


@pytest.mark.parametrize(
    ("fault", "place", "says"),
    [
        ({"status": 503, "colour": 1}, "", "Additional properties are not allowed ('colour' was unexpected)"),
        ({"close": "before", "status": 503}, "/status", "not together with close"),
        ({"close": "before", "seconds": 2}, "", '"reply" is a'),
        ({"reply": "garbage", "seconds": 2}, "/seconds", "only with reply: drip"),
        ({"status": 503, "operation": "Nope"}, "/operation", "there is no Nope; there are RetryScriptExecution"),
        ({"status": 400, "example": "nope"}, "/example", "RetryScriptExecution has no example 'nope' for status 400"),
        ({"status": 418, "example": "nope"}, "/example", "RetryScriptExecution documents no status 418"),
        ({"status": 503, "share": 0}, "/share", "0 is less than or equal to the minimum of 0"),
        ({"status": 503, "share": 2}, "/share", "2 is greater than the maximum of 1"),
        ({"status": 200}, "/status", "200 is less than the minimum of 300"),
        ({"status": 600}, "/status", "600 is greater than the maximum of 599"),
        ({"times": 2}, "", "it needs one of close, status, reply and delay"),
    ],
)  # fmt: skip
def test_an_invalid_fault_is_refused_with_its_place_and_nothing_is_added(
    http: httpx.Client, fault: dict[str, Any], place: str, says: str
) -> None:
    assert refusal_of_a_request(http, json.dumps([{"status": 503}, fault])).startswith(f"/1{place}: {says}")
    option = refusal_of_an_option(",".join(f"{name}={value}" for name, value in fault.items()))
    assert f"{place}: {says}".removeprefix(": ") in option
    file = f"# comment\n- status: 503\n- {json.dumps(fault)}\n"
    assert refusal_of_a_file(file).startswith(f"line 3, /1{place}: {says}")


def test_what_is_no_fault_is_refused(http: httpx.Client) -> None:
    for body, says in {
        '[{"status": 503}, {}]': "/1: ",
        '[{"status": 503}, null]': "/1: null is not",
        "": "is not JSON: ",
        "{": "is not JSON: ",
    }.items():
        assert refusal_of_a_request(http, body).startswith(says), body
    for text, says in {
        "": "NAME=VALUE",
        "status=": '/status: null is not of type "integer"',
        "status=[": "is not YAML: line ",
        "status=503,status=504": "/status: is a duplicate",
        os.fsdecode(b"status=503,example=\xff"): "",
    }.items():
        assert says in refusal_of_an_option(text), text
    for content, says in {
        "": 'line 1: null is not of type "array"',
        "- status: 503\n- [\n": "is not YAML: line 3, ",
        "- status: 503\n  status: 504\n": "line 2: ",
        "[" * 100_000: "",
    }.items():
        assert refusal_of_a_file(content).startswith(says), content[:99]


@pytest.mark.parametrize("option", ["--fault", "--faults"])
def test_the_command_refuses_invalid_faults_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("- colour: 1\n", encoding="utf-8")
    code = main(["--port", "0", "--quiet", option, str(file) if option == "--faults" else "colour=1\n2"])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert (f"{file}: line 1, " if option == "--faults" else "--fault colour=1") in err
    assert ("; the fields are operation, times, share, delay," in err) == (option == "--fault")


# --- Clients that hang up, and a mock that stops ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "acted"),
    [("--delay 3600", 0), ("--fault delay=3600", 0), ("--fault reply=drip,seconds=3600,times=2", 1)],
)
def test_the_mock_stops_during_delays_and_drips(options: str, acted: int) -> None:
    with (
        process("--quiet", *options.split()) as (url, lines),
        connected(url) as stays,
        connected(url) as goes,
        plain_client(url) as http,
        Mock(url) as mock,
    ):
        for sock, call in ((stays, ENGINE), (goes, SCRIPT)):
            sock.sendall(call.raw)
            if acted:
                assert sock.recv(13) == b"HTTP/1.1 200 "
        goes.close()
        assert http.get("/nope").status_code == 404  # a delay holds up no other request
        assert work(mock, ENGINE)[1] == acted
    assert lines == []


@pytest.mark.parametrize(
    "fault", [{"close": "before"}, {"close": "after"}, {"reply": "truncated"}, {"reply": "not-http"}], ids=str
)
def test_a_connection_that_a_fault_closes_serves_no_second_request(mock: Mock, fault: Any) -> None:
    mock.add_fault(**fault, times=1)
    with connected(mock.url) as sock:
        sock.sendall(ENGINE.raw + ENGINE.raw)
        sock.makefile("rb").read()
    assert len(mock.request_log()) == 1


def test_a_drip_whose_client_hangs_up_leaves_no_task_behind(mock: Mock) -> None:
    def tasks() -> set[str]:
        found = [thing for thing in gc.get_objects() if isinstance(thing, asyncio.Task) and not thing.done()]
        return {task.get_name() for task in found if "Connections.serve" in repr(task)}

    others = tasks()
    mock.add_fault(reply="drip", seconds=12)  # a byte every seventh of a second
    with connected(mock.url) as sock:
        sock.sendall(ENGINE.raw)
        sock.recv(1)
        dripping = tasks() - others
        assert len(dripping) == 1
    assert any(not tasks() & dripping for _ in range(1000) if mock.state())


def test_a_delayed_request_is_processed_although_the_client_is_gone(mock: Mock) -> None:
    mock.add_fault(delay=0.2, times=1)
    with connected(mock.url) as sock:
        sock.sendall(ENGINE.raw)
        assert any(not faults(mock) for _ in range(10_000))  # the request has come
    assert any(mock.request_log() for _ in range(10_000))
    assert mock.request_log()[0]["acted"]
