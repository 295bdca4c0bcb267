"""`connect(…, check_contract=…)`: each attempt held against the contract, while the program goes on as it would without."""

import json
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from huaweicloud_retry import (
    APIRequestValidationError,
    ConfigurationError,
    Connection,
    PasswordAuth,
    Resend,
    TokenAuth,
    connect,
)
from huaweicloud_retry.testing import mock_server
from huaweicloud_retry_client import APIResponseValidationError, BadRequestError, InternalServerError, RateLimitError
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest

PROJECT, ENGINE = "demo-project", "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
TOO_LONG = "p" * 65
Connect = Callable[..., Connection]


@pytest.fixture
def connected(caplog: pytest.LogCaptureFixture) -> Connect:
    """A client that checks, of whichever service; what it logs is in `caplog`."""
    caplog.set_level(logging.WARNING, "huaweicloud_retry")

    def make(url: str, **settings: Any) -> Connection:
        settings = {"credentials": TokenAuth("mock-token"), "resend": None, **settings}
        return connect("cse", endpoint=url, **settings)

    return make


@pytest.mark.parametrize("mode", ["log", "raise"])
def test_what_keeps_the_contract_goes_through_unremarked(
    world: Any, connected: Connect, caplog: pytest.LogCaptureFixture, operations: Any, mode: str
) -> None:
    arguments = {"project_id": PROJECT, "engine_id": ENGINE}
    with mock_server() as mock:
        # The requests to IAM are no matter of this contract.
        auth = PasswordAuth(
            "mock-user", "mock-password", domain_name="mock-domain", project_name="cn-north-4", iam_endpoint=mock.url
        )
        client = connected(mock.url, check_contract=mode, credentials=auth)
        assert world.call(operations["RetryEngine"], client, **arguments).job_id == 18638
        client = connected(mock.url, check_contract=mode)
        assert isinstance(world.error(operations["RetryEngine"], client, **arguments), BadRequestError)
        assert len(mock.journal()) == 3
    assert not caplog.records


def test_by_log_an_answer_that_deviates_is_a_warning_and_otherwise_as_ever(
    world: Any, operations: Any, connected: Connect, loopback: Any, on_the_wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with loopback(on_the_wire(200, b'{"id": "e1", "name": "n", "jobId": 2147483648}')) as server:
        answer = world.detailed(operations["RetryEngine"], connected(server.url, check_contract="log"))
    assert (answer.result().job_id, answer.problem, answer.error) == (2**31, None, None)
    assert caplog.messages == [
        "RetryEngine: answer 200 deviates from the contract: body /jobId: the value is greater than the maximum of 2147483647"
    ]
    assert caplog.records[0].levelno == logging.WARNING


def test_by_raise_a_200_that_deviates_is_an_error_whose_outcome_is_unknown(
    world: Any, operations: Any, connected: Connect, loopback: Any, on_the_wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"id": "e1", "name": "n", "jobId": 2147483648}'
    with loopback(on_the_wire(200, body)) as server:
        error = world.error(operations["RetryEngine"], connected(server.url, check_contract="raise"))
        answer = world.detailed(operations["RetryEngine"], connected(server.url, check_contract="raise"))
    assert isinstance(error, APIResponseValidationError)
    assert error.outcome_unknown
    assert str(error) == (
        "200, but not what the contract promises: body /jobId: the value is greater than the maximum of 2147483647"
    )
    assert (answer.parsed, answer.content, str(answer.error)) == (None, body, str(error))
    assert len(caplog.records) == 2


def test_by_raise_an_error_that_deviates_stays_the_error_it_is(
    world: Any, operation: Any, connected: Connect, loopback: Any, on_the_wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with loopback(on_the_wire(400, b'{"error_code": 7}')) as server:
        error = world.error(operation, connected(server.url, check_contract="raise"))
    assert type(error) is BadRequestError
    assert (error.error_code, error.outcome_unknown) == ("7", False)
    assert error.response.problem == (
        'body: "error_msg" is a required property; body /error_code: the value is not of type "string"'
    )
    assert caplog.messages == [f"{operation.name}: answer 400 deviates from the contract: {error.response.problem}"]


def test_a_status_that_is_not_documented_deviates(
    world: Any, operation: Any, connected: Connect, loopback: Any, on_the_wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with loopback(on_the_wire(418, b"")) as server:
        assert world.detailed(operation, connected(server.url, check_contract="log")).status_code == 418
    assert caplog.messages[0].startswith(
        f"{operation.name}: answer 418 deviates from the contract: status: 418 is not "
    )


def test_by_log_a_request_that_deviates_is_sent(
    world: Any, operation: Any, connected: Connect, loopback: Any, on_the_wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with loopback(on_the_wire(200, json.dumps(operation.answer).encode())) as server:
        world.call(operation, connected(server.url, check_contract="log"), project_id=TOO_LONG)
        assert len(server.requests) == 1
    assert caplog.messages == [
        f"{operation.name}: the request deviates from the contract: path project_id: the value is longer than 64 characters"
    ]


def test_by_raise_a_request_that_deviates_is_not_sent(
    world: Any, operation: Any, connected: Connect, loopback: Any, on_the_wire: Any
) -> None:
    with loopback(on_the_wire(200, b"")) as server:
        client = connected(server.url, check_contract="raise", resend=Resend(initial_backoff=0))
        error = world.error(operation, client, project_id=TOO_LONG)
        assert server.connections == 0
    assert isinstance(error, APIRequestValidationError)
    assert isinstance(error, ValueError)
    assert (error.outcome_unknown, error.attempts) == (False, 0)
    assert str(error) == (
        f"{operation.name}: the contract does not allow path project_id: the value is longer than 64 characters; nothing was sent"
    )
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_each_attempt_is_checked_and_sent_again_as_ever(connected: Connect, caplog: pytest.LogCaptureFixture) -> None:
    engine: dict[str, Any] = {"project_id": TOO_LONG, "engine_id": ENGINE, "body": EngineActionRequest()}
    with mock_server() as mock:
        mock.add_fault(status=429, retry_after=0)
        with connected(mock.url, check_contract="log", resend=Resend()) as client:
            answer = retry_engine.sync_detailed(client=client, **engine)
            view = retry_engine.sync_detailed(client=client.with_resend(None), **engine)
    assert (answer.attempts, view.attempts) == (3, 1)
    assert len(caplog.records) == 4


def test_a_throttled_answer_that_deviates_is_sent_again_as_ever(
    world: Any, operation: Any, connected: Connect, loopback: Any, on_the_wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with loopback(on_the_wire(429, b"{}"), keep_open=True) as server:
        client = connected(server.url, check_contract="raise", resend=Resend(max_attempts=2, initial_backoff=0))
        error = world.error(operation, client)
        assert len(server.requests) == 2
    assert (type(error), error.attempts, len(caplog.records)) == (RateLimitError, 2, 2)


def test_the_endpoints_own_path_does_no_harm(
    world: Any, operation: Any, connected: Connect, loopback: Any, on_the_wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with loopback(on_the_wire(418, b"")) as server:
        world.detailed(operation, connected(f"{server.url}/huawei/v2", check_contract="log"), project_id=TOO_LONG)
    assert [message.partition(" deviates")[0] for message in caplog.messages] == [
        f"{operation.name}: the request",
        f"{operation.name}: answer 418",
    ]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b'{"id": "e1", "name": "n", "jobId": 1}' + b" " * (1 << 20), "has more than 1048576 bytes"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"<html>", "is not JSON: Expecting value, line 1 column 1"),
    ],
    ids=["as much as was read will do", "nested too deeply", "HTML"],
)
def test_a_success_that_cannot_be_read_is_logged_in_the_contracts_words(
    world: Any,
    operations: Any,
    connected: Connect,
    loopback: Any,
    on_the_wire: Any,
    caplog: pytest.LogCaptureFixture,
    body: bytes,
    what: str,
) -> None:
    with loopback(on_the_wire(200, body)) as server:
        error = world.error(operations["RetryEngine"], connected(server.url, check_contract="raise"))
    assert caplog.messages == [f"RetryEngine: answer 200 deviates from the contract: body: {what}"]
    assert str(error) == f"200, but not what the contract promises: body: {what}"


def test_of_a_body_that_was_not_read_to_its_end_the_reason_is_said(
    world: Any, operation: Any, connected: Connect, loopback: Any, on_the_wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"error_msg": "' + b"x" * (1 << 20) + b'"}'
    with loopback(on_the_wire(500, body)) as server:
        error = world.error(operation, connected(server.url, check_contract="raise"))
    assert isinstance(error, InternalServerError)
    assert error.response.content == body[: 1 << 20]
    assert caplog.messages == [
        f"{operation.name}: answer 500 deviates from the contract: body: has more than 1048576 bytes"
    ]


@pytest.mark.parametrize(
    "content", ['{"error_code": ["%s"], "error_msg": {"%s": "%s"}}', '["%s", "%s", "%s"]', '"%s%s%s"']
)
def test_no_value_of_the_traffic_is_logged_or_noted(
    connected: Connect, loopback: Any, on_the_wire: Any, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    secret = "s3cret" * 20
    with (
        loopback(on_the_wire(400, (content % ((secret,) * 3)).encode())) as server,
        connected(server.url, check_contract="raise", credentials=TokenAuth(secret)) as client,
    ):
        answer = retry_engine.sync_detailed("p", "e", client=client, body=EngineActionRequest())
    (message,) = caplog.messages
    assert message == f"RetryEngine: answer 400 deviates from the contract: {answer.problem}"
    assert "s3cret" not in message


def test_another_mode_is_refused(connected: Connect) -> None:
    with pytest.raises(ConfigurationError, match='check_contract is True; it may be "log", "raise" or None'):
        connected("http://127.0.0.1", check_contract=True)


def test_without_what_it_needs_it_says_what_to_install() -> None:
    code = """
import sys
from huaweicloud_retry import ConfigurationError, TokenAuth, connect
connect("cse", region="cn-north-4", credentials=TokenAuth("t"))
assert not {"jsonschema_rs", "yaml"} & set(sys.modules)
sys.modules["jsonschema_rs"] = None
try:
    connect("cse", region="cn-north-4", credentials=TokenAuth("t"), check_contract="log")
except ConfigurationError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.startswith("check_contract: ")
    assert ran.stdout.endswith("; pip install 'huaweicloud-retry[contract]'\n")
