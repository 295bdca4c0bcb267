"""No secret shows in an error, its chain, its frames, a log record or a warning, whatever goes wrong."""

import base64
import json
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from huaweicloud_retry import AkSkAuth, PasswordAuth, TokenAuth, connect
from huaweicloud_retry_client import Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import EngineActionRequest, RetryScriptExecutionRequest
from tests.connections import Line, Mode, Server
from tests.leaks import CANARY, Check

TOKEN, PASSWORD, KEY = f"{CANARY}-token/+=", f'{CANARY}-pass"word\\é', f"{CANARY}-key"
PROXY_USER = f"user:{CANARY}-proxy"

Reply = Callable[[bytes], bytes | None]  # request -> response; None: a reset


def http(status: int, body: bytes, *headers: bytes) -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join((b"HTTP/1.1 %d X" % status, b"Connection: close", length, *headers, b"", body))


def echoed(request: bytes) -> dict[str, str]:
    head, _, body = request.decode("latin-1").partition("\r\n\r\n")
    return {"error_code": "APIGW.0301", "error_msg": head + body}


def grant(_: bytes, **changes: Any) -> bytes:
    times = {"issued_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z", **changes}
    return http(201, json.dumps({"token": times}).encode(), b"X-Subject-Token: " + TOKEN.encode())


def with_header(status: int, name: bytes) -> Reply:
    def reply(request: bytes) -> bytes:
        in_a_line = b" ".join(request.split(b"\r\n")).replace(b"\0", b"")
        return http(status, b"{}", b"%b: /?%b" % (name, in_a_line))

    return reply


def json_echo(status: int) -> Reply:
    return lambda request: http(status, json.dumps(echoed(request)).encode())


REPLIES: dict[str, Reply] = {
    "reset": lambda _: None,
    "closed": lambda _: b"",
    "timeout": lambda _: b"HTTP/1.1 ",
    "garbage": lambda request: request,
    "raw 400": lambda request: http(400, request),
    "HTML 403": lambda request: http(403, b"<pre>" + request.replace(b'"', b"&quot;"), b"Content-Type: text/html"),
    **{f"JSON {status}": json_echo(status) for status in (400, 401, 404, 429, 500, 200)},
    "JSON in JSON 400": lambda request: http(400, json.dumps({"error_msg": json.dumps(echoed(request))}).encode()),
    "cut off 500": lambda request: http(500, request).replace(b"Content-Length: ", b"Content-Length: 9"),
    "invalid 400": lambda request: b"HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b?" % (len(request), request),
    "redirect": with_header(302, b"Location"),
    "reason 407": lambda request: http(407, b"").replace(b"X", b" ".join(request.split(b"\r\n")), 1),
    "header 400": with_header(400, b"X-Echo"),
    "header 200": with_header(200, b"X-Echo"),
    "X-Request-Id": with_header(500, b"X-Request-Id"),
}  # fmt: skip


def serving(secrets: set[str], service: Reply, iam: Reply = grant) -> Server:
    """The service, IAM and a proxy. Adds to `secrets` those of the requests that come."""
    secrets |= {CANARY, base64.b64encode(PROXY_USER.encode()).decode()}

    def serve(line: Line) -> None:
        received = b""
        while not re.search(rb'"Retry"}$|}}}}$|^CONNECT .*\r\n\r\n$', received, re.DOTALL):
            part = line.socket.recv(1 << 16)
            if not part:
                return
            received += part
        secrets.update(re.findall("Signature=([0-9a-f]{64})", received.decode("latin-1")))
        reply = (iam if b"/v3/auth/tokens" in received.split(b"\r\n")[0] else service)(received)
        if reply is None:
            line.reset()
        elif reply:
            line.socket.sendall(reply)
            if not reply.endswith(b" "):  # else the rest is awaited
                line.socket.shutdown(socket.SHUT_WR)
            while line.socket.recv(1 << 16):
                pass

    return Server(serve)


# ---- calls that fail


def call(mode: Mode, client: Client) -> None:
    try:
        mode.call(client, read=0.1)
    finally:
        mode.close(client)


def password(url: str, **changes: str) -> PasswordAuth:
    return PasswordAuth("user", PASSWORD, **{"domain_name": "d", "iam_endpoint": url, **changes})


CREDENTIALS: dict[str, Callable[[str], httpx.Auth]] = {
    "token": lambda _: TokenAuth(TOKEN),
    "keys": lambda _: AkSkAuth("AK", KEY, security_token=TOKEN),
    "password": password,
}
every_reply = pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)


@every_reply
@pytest.mark.parametrize("credentials", CREDENTIALS.values(), ids=CREDENTIALS)
def test_no_reply_makes_an_error_show_the_credentials(
    check: Check, mode: Mode, credentials: Callable[[str], httpx.Auth], reply: Reply
) -> None:
    secrets: set[str] = set()
    with serving(secrets, reply) as server:
        client = connect("cse", endpoint=server.url, credentials=credentials(server.url), resend=None)
        check(lambda: call(mode, client), secrets)


@pytest.mark.parametrize(
    ("scheme", "reply"),
    [
        *(pytest.param("http", reply, id=f"http {name}") for name, reply in REPLIES.items()),
        *(pytest.param("https", REPLIES[name], id=f"https {name}") for name in ("raw 400", "reason 407")),
    ],
)
def test_no_reply_makes_an_error_show_a_header_of_the_user_or_the_credentials_of_a_proxy(
    check: Check, mode: Mode, scheme: str, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets: set[str] = set()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with serving(secrets, reply) as server:
        monkeypatch.setenv("ALL_PROXY", server.url.replace("//", f"//{PROXY_USER}@"))
        client = connect(
            "cse",
            endpoint=f"{scheme}://cse.test",
            credentials=httpx.Auth(),
            headers=headers,
            allow_http=True,
            resend=None,
        )
        check(lambda: call(mode, client), secrets)


@pytest.mark.parametrize("escaped", [False, True], ids=["plain", "escaped"])
def test_an_accepted_retry_holds_no_secret_that_its_response_repeats(escaped: bool) -> None:
    token = f"{TOKEN}/+"

    def echo(request: httpx.Request) -> httpx.Response:
        body = json.dumps({"id": "e", "name": "e", "jobId": 1, "note": request.headers["X-Auth-Token"]})
        return httpx.Response(200, text=body.replace("/", r"\/") if escaped else body)

    transport = httpx.MockTransport(echo)
    auth = TokenAuth(token)
    client = connect("cse", endpoint="https://cse.test", credentials=auth, transport=transport)
    response = retry_engine.sync_detailed("p", "e", client=client, body=EngineActionRequest())
    assert response.result().job_id == 1
    assert json.loads(response.content)["note"] == "***"
    assert response.result().additional_properties == {"note": "***"}


TOKEN_HEADER = b"X-Subject-Token: " + TOKEN.encode()
OF_IAM: dict[str, Reply] = {
    **REPLIES,
    "no lifetime": lambda _: http(201, b"{}", TOKEN_HEADER),
    "the token in the body": lambda _: http(201, json.dumps({"token": TOKEN}).encode(), TOKEN_HEADER),
    "the token for a date": lambda _: grant(_, expires_at=TOKEN),
    "another project": lambda _: grant(_, project={"id": "another"}),
    "201 echo": lambda request: http(201, request),
}


@pytest.mark.parametrize("iam", OF_IAM.values(), ids=OF_IAM)
def test_no_reply_of_iam_makes_an_error_show_password_or_token(check: Check, mode: Mode, iam: Reply) -> None:
    secrets: set[str] = set()
    with serving(secrets, REPLIES["JSON 401"], iam) as server:
        client = connect("cse", endpoint=server.url, credentials=password(server.url), resend=None)
        check(lambda: call(mode, client), secrets)


INVALID: list[dict[str, Any]] = [
    {"project_id": ".."},
    {"project_id": "x" * 70_000},
    {"body": RetryScriptExecutionRequest()},
    {"body": RetryScriptExecutionRequest(task_id="\ud800")},
    {"timeout": -1},
]


def test_no_error_before_a_request_is_sent_shows_a_secret(check: Check, mode: Mode) -> None:
    with Server(Line.reset) as server:
        url = server.url
        for auth in (
            TokenAuth(lambda: f"{TOKEN}\n"),
            TokenAuth(lambda: {"token": TOKEN}),  # type: ignore[arg-type,return-value] # what a user may get wrong
            password(url, project_id="another"),
            AkSkAuth("AK", KEY, security_token=TOKEN),
        ):
            client = connect("cse", endpoint=url, credentials=auth, resend=None)
            check(lambda client=client: call(mode, client))
    # now nothing listens there
    check(lambda: call(mode, connect("cse", endpoint=url, credentials=password(url), resend=None)))
    check(lambda: call(mode, Client(url, auth=TokenAuth(TOKEN), headers={"X-Other": TOKEN})))
    client = connect("workspace", region="cn-north-4", credentials=TokenAuth(TOKEN))
    check(lambda: mode.call(client))  # an operation of another service
    for invalid in INVALID:
        arguments = {"project_id": "p", "body": RetryScriptExecutionRequest(task_id="t"), **invalid}
        check(lambda given=arguments: retry_script_execution.sync(client=client, **given))
    mode.close(client)
    check(lambda: mode.call(client))


# ---- settings that are invalid

URL = f"https://user:{CANARY}-password@host.test"
BROKEN = f"{TOKEN}\r\n"


KEYS = {"HUAWEICLOUD_SDK_AK": "AK", "HUAWEICLOUD_SDK_SK": KEY}
LOGIN = {"HW_USER_NAME": "user", "HW_USER_PASSWORD": PASSWORD, "HW_DOMAIN_NAME": "d"}
OF_PROXY = [f"ftp://user:{CANARY}", f"socks5://user:{CANARY}", f"user:{CANARY}\n"]


@pytest.mark.parametrize(
    "environ",
    [
        {"HUAWEICLOUD_SDK_SK": KEY},
        {"HUAWEICLOUD_SDK_AK": "AK", "HUAWEICLOUD_SDK_SECURITY_TOKEN": TOKEN},
        {**KEYS, "HUAWEICLOUD_SDK_SK": f"{KEY}\n"},
        {**KEYS, "HUAWEICLOUD_SDK_SECURITY_TOKEN": BROKEN},
        {**KEYS, "HUAWEICLOUD_SDK_REGION_CSE_CN_NORTH_4": URL},
        *({**KEYS, name: f"{url}@proxy.test"} for name in ("HTTPS_PROXY", "ALL_PROXY") for url in OF_PROXY),
        *(
            {**KEYS, "HTTPS_PROXY": f"http://user:{CANARY}@{host}"}
            for host in ("", "a:port", "a:99999", "[a")
        ),
        {**KEYS, "HTTPS_PROXY": f"http://user:{CANARY}@proxy.test", "NO_PROXY": "10.0.0.0/99"},
        {"HW_AUTH_TOKEN": BROKEN},
        {"HW_USER_PASSWORD": PASSWORD},
        {**LOGIN, "HW_USER_PASSWORD": f"{PASSWORD}\udcff"},
        {**LOGIN, "HUAWEICLOUD_SDK_IAM_ENDPOINT": URL},
        {**LOGIN, "HW_AUTH_URL": "http://host.test"},
    ],
)
def test_no_variable_is_shown(
    check: Check, environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert isinstance(check(lambda: connect("cse", region="cn-north-4")), ValueError)


@pytest.mark.usefixtures("new_tls_settings")
def test_missing_cas_show_no_password_of_a_proxy(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{CANARY}@proxy.test")
    check(lambda: connect("cse", region="cn-north-4", credentials=TokenAuth(TOKEN)))


@pytest.mark.parametrize(
    "text",
    [
        f"[basic]\nak = AK\n{KEY}\n",
        f"{KEY}\n",
        f"[basic]\nsk = {KEY}\nsk = {KEY}\nak = AK\n",
        f"[basic]\nsk = {KEY}\n[basic]\nak = AK\n",
        f"[basic]\nsk = {KEY}%(no)s\nak = AK\n",
        f"[basic]\nsk = {KEY}%\nak = AK\n",
        f"[basic]\nsk = {KEY}\n",
        f"[basic]\nak = AK\nsk = {KEY}\n  {KEY}\n",
        f"[basic]\nak = AK\nsk = {KEY}\nsecurity_token = é{TOKEN}\n",
        f"[basic]\nak = AK\nsk = {KEY}\udcff\n",
    ],
)
def test_no_line_of_the_file_is_shown(
    check: Check, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "credentials"
    file.write_bytes(text.encode(errors="surrogateescape"))
    monkeypatch.setenv("HUAWEICLOUD_SDK_CREDENTIALS_FILE", str(file))
    assert isinstance(check(lambda: connect("cse", region="cn-north-4")), ValueError)
