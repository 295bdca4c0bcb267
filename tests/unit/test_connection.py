"""connect(): host, credentials, project, and what it passes to the client. TLS: test_tls; proxies: test_proxies."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from huaweicloud_retry import AkSkAuth, APIConnectionError, ConfigurationError, Resend, TokenAuth, connect
from huaweicloud_retry.testing import Mock, mock_server
from huaweicloud_retry_client import Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import EngineActionRequest, RetryScriptExecutionRequest
from tests.callers import FixedResponse

PROJECT, ENGINE = "demo-project", "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
AT_ONCE = Resend(initial_backoff=0)


def send(client: Client, project: str = PROJECT) -> Any:
    return retry_engine.sync_detailed(project, ENGINE, client=client, body=EngineActionRequest())


def send_in_asyncio(client: Client, project: str = PROJECT) -> Any:
    async def main() -> Any:
        async with client:
            body = EngineActionRequest()
            return await retry_engine.asyncio_detailed(project, ENGINE, client=client, body=body)

    return asyncio.run(main())


SYNC_AND_ASYNC = pytest.mark.parametrize("sends", [send, send_in_asyncio], ids=["sync", "async"])


@pytest.fixture
def mock() -> Iterator[Mock]:
    with mock_server() as mock:
        yield mock


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials, regions, CAs or proxies but those of a test."""
    names = ("HW_REGION_NAME", "OS_REGION_NAME", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
    for name in (*names, "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


# --- Service, credentials and project ---


@pytest.mark.parametrize(
    ("service", "other", "arguments"),
    [
        ("CSE", retry_script_execution, {"body": RetryScriptExecutionRequest(task_id="t")}),
        ("workspace", retry_engine, {"engine_id": ENGINE, "body": EngineActionRequest()}),
    ],
)
def test_an_operation_of_another_service_is_sent_only_to_an_endpoint(
    service: Any, other: ModuleType, arguments: dict[str, Any]
) -> None:
    wire = FixedResponse(200, b"{}")
    settings: dict[str, Any] = {"credentials": TokenAuth("t"), "transport": wire}
    client = connect(service, region="cn-north-4", **settings)
    with pytest.raises(ValueError, match=f"this client is for {service.lower()}, .*; nothing was sent"):
        other.sync_detailed(PROJECT, client=client, **arguments)
    assert wire.requests == []
    anywhere = connect(service, endpoint="https://one.example.com", **settings)
    other.sync_detailed(PROJECT, client=anywhere, **arguments)
    assert wire.requests[0].url.host == "one.example.com"


def test_the_environment_has_all_that_is_needed(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HW_REGION_NAME", "cn-north-4")
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_CSE_CN_NORTH_4", mock.url)
    monkeypatch.setenv("HUAWEICLOUD_SDK_AK", "mock-ak")
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "mock-sk")
    with connect("cse") as client:
        assert send(client).result().job_id == 18638
    assert mock.request_log()[-1]["headers"]["authorization"].startswith("SDK-HMAC-SHA256 Access=mock-ak, ")


def test_the_host_is_that_of_the_region_in_the_spec() -> None:
    with connect("cse", region="cn-north-4", credentials=TokenAuth("t")) as client:
        assert repr(client) == "Client('https://cse.cn-north-4.myhuaweicloud.com', auth=TokenAuth)"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"service": "cs", "region": "cn-north-4"}, "no service 'cs'; did you mean 'cse'"),
        ({"service": "cse", "region": "cn-nort-4"}, "no region 'cn-nort-4' .*did you mean 'cn-north-4'"),
        ({"service": "cse"}, "no region: give region=, or set HW_REGION_NAME or OS_REGION_NAME"),
        ({"service": "cse", "endpoint": "http://cse.example.com"}, "plain http to cse.example.com"),
        ({"service": "cse", "endpoint": "cse.example.com"}, "the endpoint must be an http"),
        ({"service": "nope", "endpoint": "https://cse.example.com"}, "no service 'nope'"),
        (
            {"service": "cse", "region": "cn-north-4", "verify": "gone.pem"},
            "gone.pem has no CAs .*No such file",
        ),
        ({"service": "cse", "region": "cn-north-4", "verify": __file__}, "test_connection.py has no CAs"),
        (
            {"service": "cse", "region": "cn-north-4", "verify": 3},
            "verify is 3; it may be True, False, a path",
        ),
    ],
)
def test_an_invalid_setting_is_reported_at_once(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        connect(**arguments, credentials=TokenAuth("t"))


def test_without_credentials_the_error_says_where_they_were_looked_for() -> None:
    with pytest.raises(ConfigurationError, match="no credentials, neither in the environment"):
        connect("cse", region="cn-north-4")


# --- Resending ---


@SYNC_AND_ASYNC
def test_a_request_that_the_gateway_throttled_is_resent_with_a_new_signature(
    mock: Mock, sends: Callable[..., Any]
) -> None:
    mock.add_fault(status=429, retry_after=0, times=2)
    auth = AkSkAuth("mock-ak", "mock-sk")
    with connect("cse", endpoint=mock.url, credentials=auth, resend=AT_ONCE) as client:
        response = sends(client)
    assert (response.status_code, response.attempts, response.result().job_id) == (200, 3, 18638)
    assert [entry["status"] for entry in mock.request_log()] == [429, 429, 200]
    assert mock.state()["projects"][PROJECT]["engines"][ENGINE]["jobs"][0]["retries"] == 1


def test_a_tls_context_is_made_once_in_a_process() -> None:
    code = """
import ssl
from huaweicloud_retry import TokenAuth, connect
made = []
original = ssl.SSLContext.load_verify_locations
ssl.SSLContext.load_verify_locations = lambda *a, **k: (made.append(1), original(*a, **k))
for region in ("cn-north-4", "cn-east-3", "cn-south-1"):
    connect("cse", region=region, credentials=TokenAuth("t"))
print(len(made))
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "1\n"


def test_headers_and_timeout_are_those_of_the_client(mock: Mock) -> None:
    mock.add_fault(delay=3600)
    timeout = httpx.Timeout(5, read=0.05)
    settings: dict[str, Any] = {"timeout": timeout, "headers": {"X-Test": "yes"}}
    with (
        connect("cse", endpoint=mock.url, credentials=TokenAuth("mock-token"), **settings) as client,
        pytest.raises(APIConnectionError, match="ReadTimeout"),
    ):
        send(client)
    mock.clear_faults()
    assert mock.request_log()[-1]["headers"]["x-test"] == "yes"
