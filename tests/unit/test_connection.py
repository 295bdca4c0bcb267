"""connect(): host, credentials, project, TLS settings, and the policy for resending."""

import asyncio
import hashlib
import json
import logging
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import trustme
from cryptography import x509

import huaweicloud_retry
from huaweicloud_retry import (
    AkSkAuth,
    APIConnectionError,
    ConfigurationError,
    RateLimitError,
    Resend,
    TokenAuth,
    connect,
)
from huaweicloud_retry.mock import running
from huaweicloud_retry.runtime import errors
from huaweicloud_retry.testing import Mock, mock_server
from huaweicloud_retry_client import Client, __version__
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import EngineActionRequest, RetryScriptExecutionRequest

PROJECT, ENGINE = "demo-project", "4a1bc63d-4719-4bd3-b1ad-5ee590b05e87"
JOB = {"id": ENGINE, "name": "engine", "jobId": 18638}
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


class Gateway(httpx.MockTransport):
    """IAM and a service in one; keeps what the service is sent, and the scopes of the tokens."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.scopes: list[Any] = []
        super().__init__(self._respond)

    def _respond(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/v3/auth/tokens":
            self.requests.append(request)
            return httpx.Response(200, json=JOB)
        self.scopes.append(json.loads(request.content)["auth"]["scope"])
        token = {"issued_at": "2020-01-04T09:05:22Z", "expires_at": "2020-01-05T09:05:22Z"}
        return httpx.Response(201, json={"token": token}, headers={"X-Subject-Token": "token"})


# --- Service, credentials and project ---


def test_the_package_has_all_exceptions_and_the_version() -> None:
    all_ = {name: each for name, each in vars(errors).items() if isinstance(each, type)}
    exceptions = {name: each for name, each in all_.items() if issubclass(each, Exception)}
    assert len(exceptions) == 16
    assert {name: getattr(huaweicloud_retry, name) for name in exceptions} == exceptions
    assert {*exceptions, "__version__"} <= set(huaweicloud_retry.__all__)
    assert huaweicloud_retry.__version__ == __version__


@SYNC_AND_ASYNC
def test_keys_of_the_environment_sign_for_the_project_of_the_request(
    sends: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"AK": "ak", "SK": "sk", "PROJECT_ID": "projectA"}.items():
        monkeypatch.setenv(f"HUAWEICLOUD_SDK_{name}", value)
    gateway = Gateway()
    sends(connect("cse", region="cn-north-4", transport=gateway), "projectB")
    (request,) = gateway.requests
    assert request.url.host == "cse.cn-north-4.myhuaweicloud.com"
    assert request.url.path == f"/v2/projectB/enginemgr/engines/{ENGINE}/actions"
    assert request.headers.get_list("X-Project-Id") == ["projectB"]
    assert "x-project-id" in request.headers["Authorization"]


@SYNC_AND_ASYNC
def test_a_password_of_the_environment_gets_a_token_of_the_project_of_the_request(
    sends: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HW_USER_NAME", "HW_USER_PASSWORD", "HW_DOMAIN_NAME", "HW_PROJECT_ID"):
        monkeypatch.setenv(name, "projectA")
    monkeypatch.setenv("HUAWEICLOUD_SDK_PROJECT_ID", "projectA")
    gateway = Gateway()
    sends(connect("cse", region="cn-north-4", transport=gateway), "projectB")
    assert gateway.scopes == [{"project": {"id": "projectB"}}]
    assert [request.headers["X-Auth-Token"] for request in gateway.requests] == ["token"]


@pytest.mark.parametrize(
    ("service", "other", "arguments"),
    [
        ("cse", retry_script_execution, {"body": RetryScriptExecutionRequest(task_id="t")}),
        ("CSE", retry_script_execution, {"body": RetryScriptExecutionRequest(task_id="t")}),
        ("workspace", retry_engine, {"engine_id": ENGINE, "body": EngineActionRequest()}),
    ],
)
def test_an_operation_of_another_service_is_sent_only_to_an_endpoint(
    service: Any, other: ModuleType, arguments: dict[str, Any]
) -> None:
    gateway = Gateway()
    settings: dict[str, Any] = {"credentials": TokenAuth("t"), "transport": gateway}
    client = connect(service, region="cn-north-4", **settings)
    for call in (
        other.sync_detailed,
        lambda *given, **named: asyncio.run(other.asyncio_detailed(*given, **named)),
    ):
        with pytest.raises(ValueError, match=f"this client is for {service.lower()}, .*; nothing was sent"):
            call(PROJECT, client=client, **arguments)
        assert gateway.requests == []
        call(PROJECT, client=connect(service, endpoint="https://one.example.com", **settings), **arguments)
        assert gateway.requests.pop().url.host == "one.example.com"


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
        assert isinstance(client, Client)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"service": "cs", "region": "cn-north-4"},
            r"there is no service 'cs'; did you mean 'cse'\? There are: cse, workspace",
        ),
        (
            {"service": "cse", "region": "cn-nort-4"},
            "cse has no region 'cn-nort-4' .*did you mean 'cn-north-4'",
        ),
        ({"service": "cse"}, "no region: give region=, or set HW_REGION_NAME or OS_REGION_NAME"),
        ({"service": "cse", "endpoint": "http://cse.example.com"}, "plain http to cse.example.com"),
        ({"service": "cse", "endpoint": "cse.example.com"}, "the endpoint must be an http"),
        ({"service": "nope", "endpoint": "https://cse.example.com"}, "there is no service 'nope'"),
    ],
)
def test_an_invalid_setting_is_reported_at_once(arguments: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        connect(**arguments, credentials=TokenAuth("t"))  # type: ignore[arg-type]  # as one example


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


def test_the_last_refusal_is_raised_with_the_number_of_attempts(mock: Mock) -> None:
    mock.add_fault(status=429, retry_after=0)
    with connect("cse", endpoint=mock.url, credentials=TokenAuth("mock-token"), resend=AT_ONCE) as client:
        for once in (client.with_resend(None), client.with_resend(Resend(max_attempts=1))):
            assert send(once).error.attempts == 1
            once.close()  # closes nothing
        with pytest.raises(RateLimitError) as error:
            send(client).result()
    assert (error.value.attempts, len(mock.request_log())) == (3, 5)


@pytest.mark.parametrize("resend", [None, AT_ONCE])
def test_a_request_without_a_response_is_not_resent(mock: Mock, resend: Resend | None) -> None:
    mock.add_fault(close="after")
    with (
        connect("cse", endpoint=mock.url, credentials=TokenAuth("mock-token"), resend=resend) as client,
        pytest.raises(APIConnectionError) as error,
    ):
        send(client)
    assert (error.value.outcome_unknown, error.value.attempts, len(mock.request_log())) == (True, 1, 1)


# --- The way there ---


@SYNC_AND_ASYNC
def test_a_proxy_of_the_environment_is_used(
    sends: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(allow_hosts=["cse.example.com"]) as url, Mock(url) as proxy:
        monkeypatch.setenv("http_proxy", url)  # responds to any request that it is to pass on
        auth = TokenAuth("mock-token")
        with connect("cse", endpoint="http://cse.example.com", credentials=auth, allow_http=True) as client:
            sends(client)
        assert [entry["headers"]["host"] for entry in proxy.request_log()] == ["cse.example.com"]


CA = trustme.CA()


@pytest.fixture(scope="module")
def tls() -> Iterator[str]:
    """The URL of a service whose certificate is of CA."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(JOB).encode())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - as the base class has it
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert("127.0.0.1").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def verify_setting(kind: str, folder: Path) -> Any:
    certificate = CA.cert_pem.bytes()
    (folder / "ca.pem").write_bytes(certificate)
    # In a folder, OpenSSL finds a CA by the hash of its name in lower case.
    name = x509.load_pem_x509_certificate(certificate).subject
    lower = x509.Name([x509.NameAttribute(each.oid, str(each.value).lower()) for each in name])
    digest = hashlib.sha1(lower.public_bytes()[2:]).digest()
    (folder / f"{int.from_bytes(digest[:4], 'little'):08x}.0").write_bytes(certificate)
    context = ssl.create_default_context(cadata=certificate.decode())
    settings = {
        "file": folder / "ca.pem",
        "text": str(folder / "ca.pem"),
        "folder": folder,
        "context": context,
    }
    return settings.get(kind, kind == "True")


@SYNC_AND_ASYNC
@pytest.mark.parametrize("kind", ["file", "text", "folder", "context", "True", "False"])
def test_verify(
    tls: str, sends: Callable[..., Any], kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    verify = verify_setting(kind, tmp_path)
    with connect("cse", endpoint=tls, credentials=TokenAuth("t"), verify=verify, resend=None) as client:
        if verify is True:
            with pytest.raises(APIConnectionError, match=r"CERTIFICATE_VERIFY_FAILED.*nothing was sent"):
                sends(client)
        else:
            assert sends(client).status_code == 200
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert [text.partition(":")[0] for text in warnings] == (["verify=False"] if kind == "False" else [])


@pytest.mark.parametrize(
    ("verify", "says"),
    [
        ("gone.pem", "verify: gone.pem has no CAs that can be read: .*No such file"),
        (__file__, "verify: .*test_connection.py has no CAs that can be read"),
        (3, "verify is 3; it may be True, False, a path of CAs or an ssl.SSLContext"),
    ],
)
def test_an_invalid_verify_is_reported_at_once(verify: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        connect("cse", region="cn-north-4", credentials=TokenAuth("t"), verify=verify)


def in_a_new_process(code: str) -> str:
    """Run it where no TLS context was made yet, as that is kept for the whole process."""
    code = f"import os, ssl\nfrom huaweicloud_retry import ConfigurationError, TokenAuth, connect\n{code}"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSLKEYLOGFILE"])
def test_a_tls_setting_of_the_environment_that_cannot_be_used_is_reported_at_once(
    variable: str, tmp_path: Path
) -> None:
    printed = in_a_new_process(f"""
os.environ[{variable!r}] = {str(tmp_path / "gone" / "file")!r}
try:
    connect("cse", region="cn-north-4", credentials=TokenAuth("t"))
except ConfigurationError as error:
    print(error)
""")
    assert printed.startswith("the TLS settings of the environment cannot be used: No such file")
    assert printed.endswith(f"; check {variable}\n")


def test_a_tls_context_is_made_once_in_a_process() -> None:
    assert (
        in_a_new_process("""
made = []
original = ssl.SSLContext.load_verify_locations
ssl.SSLContext.load_verify_locations = lambda *a, **k: (made.append(1), original(*a, **k))
for region in ("cn-north-4", "cn-east-3", "cn-south-1"):
    connect("cse", region=region, credentials=TokenAuth("t"))
print(len(made))
""")
        == "1\n"
    )


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


# --- Secrets ---


@SYNC_AND_ASYNC
@pytest.mark.parametrize("secret_key", ["mock-sk", "wrong"])
def test_keys_are_not_shown(
    mock: Mock, sends: Callable[..., Any], caplog: pytest.LogCaptureFixture, secret_key: str
) -> None:
    caplog.set_level(logging.DEBUG)
    credentials = AkSkAuth("mock-ak", secret_key, security_token="s3cret-security-token")
    mock.add_fault(status=429, retry_after=0, times=1)
    with connect("cse", endpoint=mock.url, credentials=credentials, resend=AT_ONCE) as client:
        response = sends(client)
    shown = [
        credentials,
        vars(credentials),
        client,
        response,
        response.error,
        getattr(response.error, "args", ()),
    ]
    text = caplog.text + "".join(f"{each!r}{each!s}" for each in shown)
    assert "attempt 1 of 3" in text
    text = text.replace("a signature with mock-ak and mock-sk", "")  # of the mock's message
    assert [secret for secret in (secret_key, "s3cret-security-token") if secret in text] == []
