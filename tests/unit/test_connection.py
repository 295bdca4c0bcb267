"""connect(): the right host, the right credentials, one rule for sending again."""

import asyncio
import logging
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from huaweicloud_retry import AkSkAuth, ConfigurationError, Resend, TokenAuth, connect
from huaweicloud_retry.testing import Mock, mock_server
from huaweicloud_retry_client import APIConnectionError, Client, RateLimitError
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import EngineActionRequest, RetryScriptExecutionRequest

PROJECT, ENGINE = "demo-project", "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
TASK = "0000000059071dbc01591661d3990019"
AT_ONCE = Resend(initial_backoff=0)


@pytest.fixture
def mock() -> Iterator[Mock]:
    with mock_server() as mock:
        yield mock


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials, regions or proxies but those of a test."""
    for name in ("HW_REGION_NAME", "OS_REGION_NAME", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_environment_has_all_that_is_needed(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HW_REGION_NAME", "cn-north-4")
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_CSE_CN_NORTH_4", mock.url)
    monkeypatch.setenv("HUAWEICLOUD_SDK_AK", "mock-ak")
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "mock-sk")
    with connect("cse") as client:
        assert retry_engine.sync(PROJECT, ENGINE, client=client, body=EngineActionRequest()).job_id == 18638
    assert mock.journal()[-1]["headers"]["authorization"].startswith("SDK-HMAC-SHA256 Access=mock-ak, ")


def test_a_password_of_the_environment_is_turned_into_a_token(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "OS_USERNAME": "mock-user",
        "OS_PASSWORD": "mock-password",
        "OS_DOMAIN_NAME": "mock-domain",
        "OS_AUTH_URL": f"{mock.url}/v3",
    }.items():
        monkeypatch.setenv(name, value)
    script = RetryScriptExecutionRequest(task_id=TASK)
    with connect("workspace", region="cn-north-4", endpoint=mock.url) as client:
        assert retry_script_execution.sync(PROJECT, client=client, body=script).task_id == TASK
    assert [entry["operation"] for entry in mock.journal()] == [
        "KeystoneCreateUserTokenByPassword",
        "RetryScriptExecution",
    ]


def test_the_host_is_that_of_the_region_in_the_spec() -> None:
    with connect("CSE", region="cn-north-4", credentials=TokenAuth("t")) as client:
        assert repr(client) == "Client('https://cse.cn-north-4.myhuaweicloud.com', auth=TokenAuth)"
        assert isinstance(client, Client)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"service": "cs", "region": "cn-north-4"},
            r"there is no service 'cs'; did you mean 'cse'\? There are: cse, workspace",
        ),
        ({"service": "cse", "region": "cn-nort-4"}, "cse has no region 'cn-nort-4' .*did you mean 'cn-north-4'"),
        ({"service": "cse"}, "no region: give region=, or set HW_REGION_NAME or OS_REGION_NAME"),
        ({"service": "cse", "endpoint": "http://cse.example.com"}, "plain http to cse.example.com"),
        ({"service": "cse", "endpoint": "cse.example.com"}, "the endpoint must be an http"),
        ({"service": "nope", "endpoint": "https://cse.example.com"}, "there is no service 'nope'"),
    ],
)
def test_what_cannot_be_connected_to_is_said_at_once(arguments: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        connect(**arguments, credentials=TokenAuth("t"))  # type: ignore[arg-type] # as one example


def test_without_credentials_it_is_said_where_they_were_looked_for() -> None:
    with pytest.raises(ConfigurationError, match="no credentials, neither in the environment"):
        connect("cse", region="cn-north-4")


def test_plain_http_may_be_asked_for() -> None:
    with connect("cse", endpoint="http://cse.example.com", credentials=TokenAuth("t"), allow_http=True) as client:
        assert "http://cse.example.com" in repr(client)


def test_what_the_gateway_throttled_is_sent_again_signed_anew(mock: Mock) -> None:
    mock.add_fault(status=429, retry_after=0, times=2)
    with connect("cse", endpoint=mock.url, credentials=AkSkAuth("mock-ak", "mock-sk"), resend=AT_ONCE) as client:
        answer = retry_engine.sync_detailed(PROJECT, ENGINE, client=client, body=EngineActionRequest())
    assert (answer.status_code, answer.attempts, answer.result().job_id) == (200, 3, 18638)
    assert [entry["status"] for entry in mock.journal()] == [429, 429, 200]
    assert mock.state()["projects"][PROJECT]["engines"][ENGINE]["jobs"][0]["retries"] == 1


def test_the_last_refusal_is_raised_and_tells_how_many_there_were(mock: Mock) -> None:
    mock.add_fault(status=429)
    with connect("cse", endpoint=mock.url, credentials=TokenAuth("mock-token"), resend=AT_ONCE) as client:
        with pytest.raises(RateLimitError) as error:
            retry_engine.sync(PROJECT, ENGINE, client=client, body=EngineActionRequest())
        assert error.value.attempts == 3
        for once in (client.with_resend(None), client.with_resend(Resend(max_attempts=1))):
            with pytest.raises(RateLimitError) as error:
                retry_engine.sync(PROJECT, ENGINE, client=once, body=EngineActionRequest())
            assert error.value.attempts == 1
            once.close()  # which closes nothing
        assert client.with_resend(None).with_resend(AT_ONCE)
    assert len(mock.journal()) == 5


def test_the_same_in_asyncio(mock: Mock) -> None:
    mock.add_fault(status=429, times=3)

    async def call() -> tuple[int, int]:
        async with connect("cse", endpoint=mock.url, credentials=TokenAuth("mock-token"), resend=AT_ONCE) as client:
            once = client.with_resend(None)
            body = EngineActionRequest()
            first = await retry_engine.asyncio_detailed(PROJECT, ENGINE, client=once, body=body)
            await once.aclose()
            await client.with_resend(None).aclose()  # which has the open connections, and closes nothing either
            return first.attempts, (
                await retry_engine.asyncio_detailed(PROJECT, ENGINE, client=client, body=body)
            ).attempts

    assert asyncio.run(call()) == (1, 3)


@pytest.mark.parametrize("resend", [None, AT_ONCE])
def test_an_answer_that_never_came_is_not_asked_for_again(mock: Mock, resend: Resend | None) -> None:
    mock.add_fault(close="after")
    with (
        connect("cse", endpoint=mock.url, credentials=TokenAuth("mock-token"), resend=resend) as client,
        pytest.raises(APIConnectionError) as error,
    ):
        retry_engine.sync(PROJECT, ENGINE, client=client, body=EngineActionRequest())
    assert (error.value.outcome_unknown, error.value.attempts, len(mock.journal())) == (True, 1, 1)


def test_a_proxy_of_the_environment_is_used(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", mock.url)  # which answers whatever it is asked to pass on
    credentials = TokenAuth("mock-token")

    async def asynchronous() -> None:
        async with connect(
            "cse", endpoint="http://cse.example.com", credentials=credentials, allow_http=True
        ) as client:
            await retry_engine.asyncio_detailed(PROJECT, ENGINE, client=client, body=EngineActionRequest())

    with connect("cse", endpoint="http://cse.example.com", credentials=credentials, allow_http=True) as client:
        retry_engine.sync_detailed(PROJECT, ENGINE, client=client, body=EngineActionRequest())
    asyncio.run(asynchronous())
    assert [entry["headers"]["host"] for entry in mock.journal()] == ["cse.example.com"] * 2


def test_a_tls_context_is_made_once_in_a_process() -> None:
    code = """
import ssl
made = []
original = ssl.SSLContext.load_verify_locations
ssl.SSLContext.load_verify_locations = lambda *a, **k: (made.append(1), original(*a, **k))
from huaweicloud_retry import TokenAuth, connect
for region in ("cn-north-4", "cn-east-3", "cn-south-1"):
    connect("cse", region=region, credentials=TokenAuth("t"))._opened()
print(len(made))
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "1\n"


def test_headers_and_timeout_are_the_clients(mock: Mock) -> None:
    mock.add_fault(delay=3600)
    settings = {"endpoint": mock.url, "credentials": TokenAuth("mock-token")}
    with (
        connect("cse", **settings, timeout=httpx.Timeout(5, read=0.05), headers={"X-Test": "yes"}) as client,  # type: ignore[arg-type] # as above
        pytest.raises(APIConnectionError, match="ReadTimeout"),
    ):
        retry_engine.sync(PROJECT, ENGINE, client=client, body=EngineActionRequest())
    mock.clear_faults()
    assert mock.journal()[-1]["headers"]["x-test"] == "yes"


@pytest.mark.parametrize("secret_key", ["mock-sk", "wrong"])
def test_keys_show_nowhere(mock: Mock, caplog: pytest.LogCaptureFixture, secret_key: str) -> None:
    secrets = {secret_key, "s3cret-security-token"}
    caplog.set_level(logging.DEBUG)
    credentials = AkSkAuth("mock-ak", secret_key, security_token="s3cret-security-token")
    shown: list[object] = [credentials, vars(credentials)]
    mock.add_fault(status=429, retry_after=0, times=1)

    async def asynchronous() -> None:
        async with connect("cse", endpoint=mock.url, credentials=credentials, resend=AT_ONCE) as client:
            answer = await retry_engine.asyncio_detailed(PROJECT, ENGINE, client=client, body=EngineActionRequest())
            shown.extend([client, answer, answer.error, getattr(answer.error, "args", ())])

    with connect("cse", endpoint=mock.url, credentials=credentials, resend=AT_ONCE) as client:
        answer = retry_engine.sync_detailed(PROJECT, ENGINE, client=client, body=EngineActionRequest())
        shown += [client, answer, answer.error, getattr(answer.error, "args", ())]
    asyncio.run(asynchronous())
    text = caplog.text + "".join(f"{each!r}{each!s}" for each in shown)
    assert "attempt 1 of 3" in text
    assert [secret for secret in secrets if secret in text.replace("a signature with mock-ak and mock-sk", "")] == []
    with pytest.raises((TypeError, AttributeError)):
        pickle.dumps(credentials)
