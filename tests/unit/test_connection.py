"""connect(): host, credentials, project, and what it passes to the client. TLS: test_tls; proxies: test_proxies."""

import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry import AkSkAuth, ConfigurationError, Resend, TokenAuth, connect
from huaweicloud_retry.testing import Mock
from tests.callers import ACCEPTED, ENGINE, Caller, FixedResponse, Operation

PROJECT, ENGINE_ID = "demo-project", "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"  # of the mock
MOCKED = {"project_id": PROJECT, "engine_id": ENGINE_ID}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials, regions, CAs or proxies but those of a test."""
    names = ("HW_REGION_NAME", "OS_REGION_NAME", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
    for name in (*names, "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


# --- Service, credentials and project ---


@pytest.mark.parametrize(
    ("service", "of_it"), [("CSE", "RetryEngine"), ("workspace", "RetryScriptExecution")]
)
def test_an_endpoint_takes_operations_of_any_service(
    caller: Caller, operation: Operation, service: Any, of_it: str
) -> None:
    wire = FixedResponse(content=ACCEPTED)
    settings: dict[str, Any] = {"credentials": TokenAuth("t"), "transport": wire}
    client = connect(service, region="cn-north-4", **settings).with_resend(None)
    if operation.name != of_it:
        with pytest.raises(ValueError, match=f"this client is for {service.lower()}, .*; nothing was sent"):
            caller.call(operation, client)
        assert wire.requests == []
        client = connect(service, endpoint="https://one.example.com", **settings)
    assert type(caller.call(operation, client)) is operation.model


def test_the_environment_suffices(caller: Caller, mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HW_REGION_NAME", "cn-north-4")
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_CSE_CN_NORTH_4", mock.url)
    monkeypatch.setenv("HUAWEICLOUD_SDK_AK", "mock-ak")
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "mock-sk")
    assert caller.call(ENGINE, connect("cse"), **MOCKED).job_id == 18638
    assert mock.request_log()[-1]["headers"]["authorization"].startswith("SDK-HMAC-SHA256 Access=mock-ak, ")


def test_the_host_is_that_of_the_region_in_the_spec() -> None:
    with connect("cse", region="cn-north-4", credentials=TokenAuth("t")) as client:
        assert repr(client) == "Client('https://cse.cn-north-4.myhuaweicloud.com', auth=TokenAuth)"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"service": "cs", "region": "cn-north-4"}, "no service 'cs'; did you mean 'cse'"),
        ({"region": "cn-nort-4"}, "no region 'cn-nort-4' .*did you mean 'cn-north-4'"),
        ({}, "no region: give region=, or set HW_REGION_NAME or OS_REGION_NAME"),
        ({"endpoint": "http://cse.example.com"}, "plain http to cse.example.com"),
        ({"endpoint": "cse.example.com"}, "the endpoint must be an http"),
        ({"service": "nope", "endpoint": "https://cse.example.com"}, "no service 'nope'"),
        ({"region": "cn-north-4", "verify": "gone.pem"}, "gone.pem has no CAs .*No such file"),
        ({"region": "cn-north-4", "verify": __file__}, "test_connection.py has no CAs"),
        ({"region": "cn-north-4", "verify": 3}, "verify is 3; it may be True, False, a path"),
    ],
)
def test_an_invalid_setting_is_reported_at_once(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        connect(**{"service": "cse", **arguments}, credentials=TokenAuth("t"))


def test_without_credentials_the_error_names_all_places() -> None:
    with pytest.raises(ConfigurationError, match="no credentials, neither in the environment"):
        connect("cse", region="cn-north-4")


# --- Resending ---


def test_a_throttled_request_is_resent_with_a_new_signature(caller: Caller, mock: Mock) -> None:
    mock.add_fault(status=429, retry_after=0, times=2)
    auth = AkSkAuth("mock-ak", "mock-sk")
    client = connect("cse", endpoint=mock.url, credentials=auth, resend=Resend(initial_backoff=0))
    response = caller.detailed(ENGINE, client, **MOCKED)
    assert (response.status_code, response.attempts, response.result().job_id) == (200, 3, 18638)
    assert [entry["status"] for entry in mock.request_log()] == [429, 429, 200]
    assert mock.state()["projects"][PROJECT]["engines"][ENGINE_ID]["jobs"][0]["retries"] == 1


@pytest.mark.usefixtures("new_tls_settings")
def test_a_tls_context_is_made_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ssl.SSLContext] = []
    load = ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, *paths: Any) -> None:
        made.append(context)
        load(context, *paths)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    for region in ("cn-north-4", "cn-east-3", "cn-south-1"):
        connect("cse", region=region, credentials=TokenAuth("t"))
    assert len(made) == 1


def test_headers_and_timeout_are_those_of_the_client() -> None:
    wire = FixedResponse(content=ACCEPTED)
    settings: dict[str, Any] = {"timeout": httpx.Timeout(5, read=3), "headers": {"X-Test": "yes"}}
    client = connect("cse", endpoint="https://a.test", credentials=TokenAuth("t"), transport=wire, **settings)
    Caller("sync").call(ENGINE, client)
    (request,) = wire.requests
    assert request.headers["X-Test"] == "yes"
    assert request.extensions["timeout"] == httpx.Timeout(5, read=3).as_dict()
