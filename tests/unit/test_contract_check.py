"""`connect(…, check_contract=…)`: each attempt is compared with the contract."""

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
    PasswordAuth,
    Resend,
    TokenAuth,
    connect,
)
from huaweicloud_retry.testing import mock_server
from huaweicloud_retry_client import (
    APIResponseValidationError,
    BadRequestError,
    Client,
    InternalServerError,
    RateLimitError,
)
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest
from tests.callers import OPERATIONS, LoopbackServer, raw_response

PROJECT, ENGINE = "demo-project", "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
TOO_LONG = "p" * 65
Connect = Callable[..., Client]


@pytest.fixture
def connected(caplog: pytest.LogCaptureFixture) -> Connect:
    """Makes clients that check; what they log is in `caplog`."""
    caplog.set_level(logging.WARNING, "huaweicloud_retry")

    def make(url: str, **settings: Any) -> Client:
        settings = {"credentials": TokenAuth("mock-token"), "resend": None, **settings}
        return connect("cse", endpoint=url, **settings)

    return make


@pytest.mark.parametrize("mode", ["log", "raise"])
def test_nothing_is_logged_if_the_contract_is_kept(
    caller: Any, connected: Connect, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    arguments = {"project_id": PROJECT, "engine_id": ENGINE}
    with mock_server() as mock:
        # The requests to IAM are not of this contract.
        of = {"domain_name": "mock-domain", "project_name": "cn-north-4", "iam_endpoint": mock.url}
        auth = PasswordAuth("mock-user", "mock-password", **of)
        client = connected(mock.url, check_contract=mode, credentials=auth)
        assert caller.call(OPERATIONS["RetryEngine"], client, **arguments).job_id == 18638
        client = connected(mock.url, check_contract=mode)
        assert isinstance(caller.error(OPERATIONS["RetryEngine"], client, **arguments), BadRequestError)
        assert len(mock.request_log()) == 3
    assert not caplog.records


@pytest.fixture
def checked(caller: Any, connected: Connect) -> Callable[..., Any]:
    """Calls an operation of a server that sends this response; returns it as the client does."""

    def call(mode: str, operation: Any, status: int, body: bytes = b"", path: str = "", **given: Any) -> Any:
        with LoopbackServer(raw_response(status, body)) as server:
            response = caller.detailed(operation, connected(server.url + path, check_contract=mode), **given)
            assert len(server.requests) == 1
        return response

    return call


TOO_LARGE = b'{"id": "e1", "name": "n", "jobId": 2147483648}'
DEVIATION = "body /jobId: the value is greater than the maximum of 2147483647"
LONG_ERROR = b'{"error_msg": "' + b"x" * (1 << 20) + b'"}'


@pytest.mark.parametrize(
    ("status", "body", "what"),
    [
        (200, TOO_LARGE, DEVIATION),
        (200, b"{}".ljust((16 << 20) + 1), "body: has more than 16777216 bytes"),
        (200, b"[" * 100_000, "body: is nested too deeply"),
        (200, b"<html>", "body: is not JSON: Expecting value, line 1 column 1"),
        (500, LONG_ERROR, "body: has more than 1048576 bytes"),
        (418, b"", "status: 418 is not documented; documented are 200, 400, "),
    ],
    ids=["value", "too large", "nested too deeply", "HTML", "error too large", "status"],
)
def test_a_response_that_deviates_is_logged(
    checked: Callable[..., Any], caplog: pytest.LogCaptureFixture, status: int, body: bytes, what: str
) -> None:
    response = checked("raise", OPERATIONS["RetryEngine"], status, body)
    (logged,) = caplog.records
    assert logged.levelno == logging.WARNING
    assert logged.message.startswith(f"RetryEngine: response {status} deviates from the contract: {what}")
    assert (what in str(response.error)) is (status == 200)


def test_log_leaves_the_response_as_it_is(
    checked: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    response = checked("log", OPERATIONS["RetryEngine"], 200, TOO_LARGE)
    assert (response.result().job_id, response.problem, response.error) == (2**31, None, None)
    assert caplog.messages == [f"RetryEngine: response 200 deviates from the contract: {DEVIATION}"]


def test_raise_makes_a_200_that_deviates_an_error_of_unknown_outcome(checked: Callable[..., Any]) -> None:
    response = checked("raise", OPERATIONS["RetryEngine"], 200, TOO_LARGE)
    assert response.parsed is None
    assert isinstance(response.error, APIResponseValidationError)
    assert response.error.outcome_unknown
    assert str(response.error) == f"200, but not what the contract promises: {DEVIATION}"


def test_raise_an_error_that_deviates_keeps_its_class(
    operation: Any, checked: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    response = checked("raise", operation, 400, b'{"error_code": 7}')
    assert type(response.error) is BadRequestError
    assert (response.error.error_code, response.error.outcome_unknown) == ("7", False)
    assert response.problem.split("; ")[1] == 'body /error_code: the value is not of type "string"'
    message = f"{operation.name}: response 400 deviates from the contract: {response.problem}"
    assert caplog.messages == [message]


def test_raise_an_error_whose_body_was_not_read_to_its_end_keeps_its_class_and_content(
    checked: Callable[..., Any],
) -> None:
    response = checked("raise", OPERATIONS["RetryEngine"], 500, LONG_ERROR)
    assert type(response.error) is InternalServerError
    assert response.content == LONG_ERROR[: 1 << 20]


@pytest.mark.parametrize("path", ["", "/huawei/v2"])
def test_log_a_request_that_deviates_is_sent(
    operation: Any, checked: Callable[..., Any], caplog: pytest.LogCaptureFixture, path: str
) -> None:
    checked("log", operation, 200, json.dumps(operation.result).encode(), path, project_id=TOO_LONG)
    (message,) = caplog.messages
    assert message.startswith(f"{operation.name}: the request deviates from the contract: path project_id: ")
    assert message.endswith(": the value is longer than 64 characters")


def test_raise_a_request_that_deviates_is_not_sent(caller: Any, operation: Any, connected: Connect) -> None:
    with LoopbackServer(raw_response(200, b"")) as server:
        client = connected(server.url, check_contract="raise", resend=Resend(initial_backoff=0))
        error = caller.error(operation, client, project_id=TOO_LONG)
        assert server.connections == 0
    assert isinstance(error, APIRequestValidationError)
    assert isinstance(error, ValueError)
    assert (error.outcome_unknown, error.attempts) == (False, 0)
    assert str(error).startswith(f"{operation.name}: the contract does not allow path project_id: ")
    assert str(error).endswith("; nothing was sent")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_each_attempt_is_checked(connected: Connect, caplog: pytest.LogCaptureFixture) -> None:
    engine: dict[str, Any] = {"project_id": TOO_LONG, "engine_id": ENGINE, "body": EngineActionRequest()}
    with mock_server() as mock:
        mock.add_fault(status=429, retry_after=0)
        with connected(mock.url, check_contract="log", resend=Resend()) as client:
            response = retry_engine.sync_detailed(client=client, **engine)
            view = retry_engine.sync_detailed(client=client.with_resend(None), **engine)
    assert (response.attempts, view.attempts) == (3, 1)
    assert len(caplog.records) == 4


def test_a_throttled_request_is_resent_even_if_the_response_deviates(
    caller: Any, operation: Any, connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    with LoopbackServer(raw_response(429, b"{}"), keep_open=True) as server:
        resend = Resend(max_attempts=2, initial_backoff=0)
        client = connected(server.url, check_contract="raise", resend=resend)
        error = caller.error(operation, client)
        assert len(server.requests) == 2
    assert (type(error), error.attempts, len(caplog.records)) == (RateLimitError, 2, 2)


@pytest.mark.parametrize(
    "content", ['{"error_code": ["%s"], "error_msg": {"%s": "%s"}}', '["%s", "%s", "%s"]', '"%s%s%s"']
)
def test_no_value_of_the_traffic_is_logged(
    connected: Connect, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    secret = "s3cret" * 20
    with (
        LoopbackServer(raw_response(400, (content % ((secret,) * 3)).encode())) as server,
        connected(server.url, check_contract="raise", credentials=TokenAuth(secret)) as client,
    ):
        response = retry_engine.sync_detailed("p", "e", client=client, body=EngineActionRequest())
    (message,) = caplog.messages
    assert message == f"RetryEngine: response 400 deviates from the contract: {response.problem}"
    assert "s3cret" not in message


def test_another_mode_is_refused(connected: Connect) -> None:
    with pytest.raises(ConfigurationError, match='check_contract is True; it may be "log", "raise" or None'):
        connected("http://127.0.0.1", check_contract=True)


def test_without_the_extra_the_error_says_what_to_install() -> None:
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
