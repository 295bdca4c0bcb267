"""The client's side of the contract: tokens, keys and passwords, where they go, and that they show nowhere."""

import asyncio
import json
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from huaweicloud_retry import (
    AkSkAuth,
    APIRequestValidationError,
    ConfigurationError,
    IAMAuthenticationError,
    IAMError,
    PasswordAuth,
    Resend,
    TokenAuth,
    connect,
)
from huaweicloud_retry.mock.response import Encoded
from huaweicloud_retry_client import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    BadRequestError,
    Client,
    PermissionDeniedError,
)
from tests.callers import (
    ACCEPTED,
    ENGINE,
    SECRET,
    Caller,
    FixedResponse,
    LoopbackServer,
    Request,
    raw_response,
)
from tests.connections import cancelled_and_called_again, turns
from tests.contract.calls import (
    ALL,
    KEYS,
    MODULES,
    TOKEN,
    Callers,
    Operation,
    Wire,
    calls_of_the_spec,
    each_operation,
    whole,
)
from tests.leaks import Check, shown


@dataclass
class Cloud:
    """IAM and a service in one. The service refuses with the codes, one after the other, then it accepts."""

    iam: bytes
    codes: list[str] = field(default_factory=list[str])
    pause: float = 0
    log: str = ""
    """What was asked: I for IAM, S for the service."""
    now: float = 0

    def __call__(self, request: Request) -> bytes:
        if b"/v3/auth/tokens" in request.line:
            self.log += "I"
            return self.iam
        self.log += "S"
        self.now += self.pause
        if (code := self.codes.pop(0) if self.codes else "") == "lost":
            return b""
        if code:
            status, _, code = code.rpartition(" ")
            return raw_response(int(status or 401), json.dumps({"error_code": code}).encode())
        return raw_response(200, ACCEPTED)

    def auth(self, kind: str, url: str) -> httpx.Auth:
        def function() -> str:
            with pytest.raises(RuntimeError, match="no running event loop"):  # which it may not block
                asyncio.get_running_loop()
            self.log += "I"
            return TOKEN

        if kind == "password":
            return PasswordAuth("u", "canary-passw0rd", domain_name="d", iam_endpoint=url)
        return {"function": TokenAuth(function), "token": TokenAuth(TOKEN), "keys": KEYS}[kind]


def granted(seconds: float = 86400) -> bytes:
    """IAM's response with a token that is valid for so long."""
    issued = datetime(2026, 1, 1, tzinfo=UTC)
    times = {"issued_at": issued.isoformat(), "expires_at": (issued + timedelta(seconds=seconds)).isoformat()}
    return raw_response(201, json.dumps({"token": times}).encode(), f"X-Subject-Token: {TOKEN}")


@pytest.mark.parametrize(
    ("kind", "lifetime", "pause", "codes", "statuses", "log"),
    [
        # renewed when 5 % of the lifetime are left, at most 5 minutes
        *(("password", life, used, [], [200] * 2, "ISS") for life, used in ((240, 227), (600, 569), (86400, 86099))),
        *(("password", life, used, [], [200] * 2, "ISIS") for life, used in ((240, 229), (600, 571), (86400, 86101))),
        # renewed once when the gateway reports it as invalid, unless it was fetched for the same request
        *(("password", 600, 0, ["", code], [200] * 2, "ISSIS") for code in ("APIGW.0301", "APIG.0307", "APIC.0307")),
        *(("password", 600, 0, ["", code], [200, 401], "ISS") for code in ("APIGW.0303", "WKS.00210301", "03011")),
        ("password", 600, 0, ["", "APIG.0301", "APIG.0301"], [200, 401], "ISSIS"),
        ("password", 600, 0, ["", "403 APIGW.0301"], [200, 403], "ISS"),
        ("password", 600, 0, ["APIGW.0301"], [401], "IS"),
        ("function", 0, 0, ["APIGW.0301"], [200], "ISIS"),
        ("function", 0, 0, ["APIGW.0307"] * 2, [401], "ISIS"),
        ("token", 0, 0, ["APIGW.0301"], [401], "S"),
        ("keys", 0, 0, ["APIGW.0301"], [401], "S"),
    ],
)  # fmt: skip
def test_a_token_is_used_as_long_as_it_is_valid_and_renewed_once(
    caller: Caller, kind: str, lifetime: float, pause: float, codes: list[str], statuses: list[int], log: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    cloud = Cloud(granted(lifetime), [*codes], pause)
    for module in ("auth", "token_cache"):
        monkeypatch.setattr(f"huaweicloud_retry.{module}.monotonic", lambda: cloud.now)
    with LoopbackServer(cloud, keep_open=True) as server:
        client = Client(server.url, auth=cloud.auth(kind, server.url))
        responses = caller.calls(ENGINE, client, *({} for _ in statuses), function="_detailed")
    assert ([each.status_code for each in responses], cloud.log) == (statuses, log)


def test_a_response_that_is_lost_after_a_renewal_leaves_the_outcome_unknown(caller: Caller) -> None:
    cloud = Cloud(granted(), ["APIGW.0301", "lost"])

    def closing(request: Request) -> bytes:
        return cloud(request).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)

    with LoopbackServer(closing) as server:
        client = Client(server.url, auth=cloud.auth("function", server.url), resend=Resend(initial_backoff=0))
        error = caller.error(ENGINE, client)
    assert (type(error), error.outcome_unknown, cloud.log) == (APIConnectionError, True, "ISIS")


def at_once(caller: Caller, client: Client, changes: list[dict[str, Any]]) -> list[Any]:
    """Call once for each set of changed arguments, all at the same time; return what they return or raise."""
    all_began = threading.Barrier(len(changes))

    def in_thread(change: dict[str, Any]) -> Any:
        all_began.wait(60)
        try:
            return ENGINE.module.sync(client=client, **{**ENGINE.arguments, **change})
        except APIError as error:
            return error

    async def in_tasks() -> list[Any]:
        calls = (ENGINE.module.asyncio(client=client, **{**ENGINE.arguments, **each}) for each in changes)
        async with client:
            return [*await asyncio.gather(*calls, return_exceptions=True)]

    if caller.name == "asyncio":
        return asyncio.run(in_tasks())
    with client, ThreadPoolExecutor(len(changes)) as pool:
        return [*pool.map(in_thread, changes)]


@pytest.mark.parametrize(("iam", "log"), [(granted(), "I" + 10 * "S"), (raw_response(401, b"{}"), "I")])
def test_calls_at_once_share_one_fetch(caller: Caller, iam: bytes, log: str) -> None:
    cloud = Cloud(iam)
    with LoopbackServer(cloud, keep_open=True) as server:
        made = at_once(caller, Client(server.url, auth=cloud.auth("password", server.url)), [{}] * 10)
    assert {type(each) for each in made} == {ENGINE.model if "S" in log else IAMAuthenticationError}
    assert cloud.log == log


def test_calls_at_once_for_two_projects_have_a_token_each(caller: Caller) -> None:
    def respond(request: Request) -> bytes:
        if b"/v3/auth/tokens" in request.line:
            project = json.loads(request.body)["auth"]["scope"]["project"]["id"]
            return granted().replace(TOKEN.encode(), project.encode())
        project, (token,) = request.line.split(b"/")[2], request.header("X-Auth-Token")
        return raw_response(400 if project == token else 403, b'{"error_msg": "no %b"}' % token)

    with LoopbackServer(respond, keep_open=True) as server:
        auth = PasswordAuth("u", "canary-passw0rd", domain_name="d", iam_endpoint=server.url)
        projects = [{"project_id": f"canary-p{number % 2}"} for number in range(10)]
        made = at_once(caller, Client(server.url, auth=auth), projects)
    assert {(type(each), each.error_msg) for each in made} == {(BadRequestError, "no ***")}
    assert len(server.requests) == 12


def test_a_late_401_to_an_old_token_leaves_the_new_one(caller: Caller) -> None:
    late_came, released = threading.Event(), threading.Event()
    fetches: list[Request] = []

    def respond(request: Request) -> bytes:
        if b"/v3/auth/tokens" in request.line:
            fetches.append(request)
            return granted().replace(TOKEN.encode(), b"%d" % len(fetches))
        if b"/first/" in request.line or request.header("X-Auth-Token") == [b"2"]:
            return raw_response(200, ACCEPTED)
        if b"/late/" in request.line:
            late_came.set()
            released.wait(60)
        return raw_response(401, b'{"error_code": "APIGW.0307"}')

    def call(engine: str) -> Any:
        arguments = {**ENGINE.arguments, "engine_id": engine, "client": client}
        if caller.name == "sync":
            return asyncio.to_thread(partial(ENGINE.module.sync, **arguments))
        return ENGINE.module.asyncio(**arguments)

    async def three() -> list[Any]:
        first = await call("first")
        late = asyncio.create_task(call("late"))
        await asyncio.to_thread(late_came.wait, 60)
        other = await call("other")
        released.set()
        return [first, other, await late]

    with LoopbackServer(respond, keep_open=True) as server, asyncio.Runner() as runner:
        client = Client(server.url, auth=PasswordAuth("u", "p", domain_name="d", iam_endpoint=server.url))
        made = runner.run(three())
        client.close()
        runner.run(client.aclose())
    assert {type(each) for each in made} == {ENGINE.model}
    assert len(fetches) == 2


def test_a_fetch_that_is_cancelled_is_taken_over() -> None:
    asked, released = threading.Event(), threading.Event()

    def respond(request: Request) -> bytes:
        if b"/v3/auth/tokens" in request.line:
            if not asked.is_set():  # the first one
                asked.set()
                released.wait(60)
            return granted()
        return raw_response(200, ACCEPTED)

    async def run(client: Client) -> Any:
        async with client:
            first, second = (
                asyncio.create_task(ENGINE.module.asyncio(client=client, **ENGINE.arguments))
                for _ in range(2)
            )
            await asyncio.to_thread(asked.wait, 60)
            await turns(10)
            first.cancel()
            await asyncio.wait([first])
            return await second

    with LoopbackServer(respond, keep_open=True) as server:
        auth = PasswordAuth("u", "p", domain_name="d", iam_endpoint=server.url)
        assert type(asyncio.run(run(Client(server.url, auth=auth)))) is ENGINE.model
        released.set()


@pytest.mark.parametrize("service", ["cse", "workspace"])
@each_operation
def test_a_client_of_connect_is_for_the_operations_of_its_service(
    operation: Operation, service: Any, callers: Callers
) -> None:
    transport = FixedResponse(content=b"{}")
    settings: dict[str, Any] = {"credentials": TokenAuth(TOKEN), "transport": transport}
    of_region = connect(service, region="cn-north-4", **settings)
    of_endpoint = connect(service, endpoint="https://other.example.com/", **settings)
    for function in callers.functions(operation):
        transport.requests.clear()
        if operation.document["tags"][0].lower() == service:
            function(client=of_region, **whole(operation).arguments())
        else:
            with pytest.raises(ValueError, match=f"this client is for {service}, .*; nothing was sent"):
                function(client=of_region, **whole(operation).arguments())
        function(client=of_endpoint, **whole(operation).arguments())
        hosts = [request.url.host.partition(".")[0] for request in transport.requests]
        assert hosts == [service, "other"][-len(hosts) :]
        assert len(hosts) == 1 + (operation.document["tags"][0].lower() == service)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Without credentials."""
    for name in [name for name in os.environ if name.startswith(("HUAWEICLOUD_SDK_", "HW_", "OS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


@pytest.mark.parametrize(
    "names",
    ["HUAWEICLOUD_SDK_AK HUAWEICLOUD_SDK_SK", "HW_ACCESS_KEY HW_SECRET_KEY", "OS_ACCESS_KEY OS_SECRET_KEY"],
)
def test_keys_and_a_region_of_the_environment_are_used(names: str, environment: pytest.MonkeyPatch) -> None:
    access, secret = names.split()
    token = f"{access.rpartition('_A')[0]}_SECURITY_TOKEN"
    for name, value in {access: "ak", secret: "canary-sk", token: "canary-st"}.items():
        environment.setenv(name, value)
    environment.setenv("HUAWEICLOUD_SDK_REGION_CSE_MOON_1", "https://cse.example.com")
    transport = FixedResponse(403, b"{}")
    Caller("sync").error(ENGINE, connect("cse", region="moon-1", transport=transport))
    (request,) = transport.requests
    assert request.headers["Authorization"].startswith("SDK-HMAC-SHA256 Access=ak, ")
    assert (request.headers["X-Security-Token"], request.url.host) == ("canary-st", "cse.example.com")


def test_an_empty_variable_is_none(environment: pytest.MonkeyPatch) -> None:
    for name in (
        "HUAWEICLOUD_SDK_AK",
        "HUAWEICLOUD_SDK_SK",
        "HW_ACCESS_KEY",
        "HW_SECRET_KEY",
        "HW_AUTH_TOKEN",
    ):
        environment.setenv(name, "")
    environment.setenv("OS_AUTH_TOKEN", TOKEN)
    transport = FixedResponse(403, b"{}")
    Caller("sync").error(ENGINE, connect("cse", region="cn-north-4", transport=transport))
    assert transport.requests[0].headers["X-Auth-Token"] == TOKEN


def test_half_a_credential_is_refused_and_no_other_is_taken(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OS_AUTH_TOKEN", TOKEN)
    for half in ("HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_AK", "HW_SECRET_KEY", "HW_ACCESS_KEY"):
        with environment.context() as of_half:
            of_half.setenv(half, "canary-half")
            with pytest.raises(ConfigurationError, match=half):
                connect("cse", region="cn-north-4", transport=FixedResponse())


GIVEN = {
    "HUAWEICLOUD_SDK_IAM_ENDPOINT": "1.example.com:8443/v3",
    "HW_AUTH_URL": "https://2.example.com/id/v3/",
}
GIVEN |= {"OS_AUTH_URL": "http://127.0.0.1:8003"}
LOGIN = {"HW_USER_NAME": "canary-user", "HW_USER_PASSWORD": "canary-passw0rd", "HW_DOMAIN_NAME": "d"}


@pytest.mark.parametrize(
    ("region", "given", "url"),
    [
        ("cn-north-4", {}, "https://iam.cn-north-4.myhuaweicloud.com"),
        ("cn-north-11", {}, "https://iam.myhuaweicloud.com"),
        ("cn-north-4", {"HW_AUTH_URL": "https://iam3.example.com:8003/v3"}, "https://iam3.example.com:8003"),
        *(("cn-north-4", dict([*GIVEN.items()][at:]), url) for at, url in enumerate(
            ("https://1.example.com:8443", "https://2.example.com/id", "http://127.0.0.1:8003"))),
    ],
)  # fmt: skip
def test_a_token_is_asked_for_at_the_url_of_iam(
    region: str, given: dict[str, str], url: str, environment: pytest.MonkeyPatch
) -> None:
    for name, value in {**LOGIN, **given}.items():
        environment.setenv(name, value)
    transport = FixedResponse(403, b"{}")
    error = Caller("sync").error(ENGINE, connect("cse", region=region, transport=transport))
    (request,) = transport.requests
    assert (type(error), str(request.url)) == (IAMError, f"{url}/v3/auth/tokens?nocatalog=true")


def test_iam_gives_a_token_for_a_password(caller: Caller, wire: Wire) -> None:
    auth = PasswordAuth("canary-user", "canary-passw0rd", domain_name="d", iam_endpoint=wire.url)
    known = calls_of_the_spec(next(each for each in ALL if each.contract.id == "RetryEngine"))[0]
    assert caller.call(ENGINE, Client(wire.url, auth=auth), **known.path).job_id == -2147483648


def test_a_wrong_password_is_sent_once(caller: Caller) -> None:
    with LoopbackServer(raw_response(401, b"{}"), keep_open=True) as server:
        auth = PasswordAuth("u", "wrong", domain_name="d", iam_endpoint=server.url)
        projects = [{"project_id": f"p{number}"} for number in range(10)]
        errors = [
            *at_once(caller, Client(server.url, auth=auth), projects),
            caller.error(ENGINE, Client(server.url, auth=auth)),
        ]
    assert {type(error) for error in errors} == {IAMAuthenticationError}
    assert len(server.requests) == 1


def test_a_wrong_password_is_sent_once_even_if_the_call_is_cancelled() -> None:
    server = LoopbackServer(b"HTTP/1.1 401 X\r\nContent-Length: 9\r\n\r\n{", keep_open=True)
    auth = PasswordAuth("u", "wrong", domain_name="d", iam_endpoint=server.url)
    assert type(cancelled_and_called_again(server, auth)) is IAMAuthenticationError
    assert len(server.requests) == 1


def test_a_proxy_is_chosen_for_each_host_and_its_password_shows_nowhere(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = b'{"error_msg": "Pr0xy-Pa55", "error_code": "Pr0xy-Pa55"}'
    with LoopbackServer(raw_response(403, told)) as proxy, LoopbackServer(granted()) as iam:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:Pr0xy-Pa55@{proxy.host}")
        monkeypatch.setenv("NO_PROXY", "example.test")
        here = iam.url.replace("127.0.0.1", "localhost")
        auth = PasswordAuth("u", "p", domain_name="d", iam_endpoint=here)
        of_host = "http://notexample.test"
        error = caller.error(ENGINE, connect("cse", endpoint=of_host, credentials=auth, allow_http=True))
        assert ([each.line.split(b" ")[0] for each in iam.requests], len(proxy.requests)) == ([b"POST"], 1)
        assert proxy.requests[0].line.startswith(f"PUT {of_host}/v2/".encode())
    assert type(error) is PermissionDeniedError
    assert not [value for _, value in shown(error) if "Pr0xy" in repr(value)]


def test_check_contract_refuses_what_deviates_and_shows_no_value(caller: Caller) -> None:
    body = b'{"id": "canary-1", "name": "n", "jobId": %d}'
    with LoopbackServer(lambda _: raw_response(200, bodies.pop())) as server:
        bodies = [body % (1 << 31), body.replace(b"}", b', "id": "canary-2"}') % 1]
        settings: dict[str, Any] = {
            "credentials": TokenAuth(TOKEN),
            "allow_http": True,
            "check_contract": "raise",
        }
        for _ in range(2):
            error = caller.error(ENGINE, connect("cse", endpoint=server.url, **settings))
            assert (type(error), error.outcome_unknown) == (APIResponseValidationError, True)
            assert not re.search("canary|2147483648", str(error))
        records = replace(ENGINE, module=MODULES["list_script_records"], arguments={"project_id": "p"})
        client = connect("workspace", endpoint=server.url, **settings)
        assert type(caller.error(records, client, offset=1 << 31)) is APIRequestValidationError
        assert len(server.requests) == 2


# ---- secrets


@pytest.mark.parametrize("auth", [TokenAuth(TOKEN), KEYS], ids=["token", "security token"])
@pytest.mark.parametrize("status", [200, 201, 400, 401, 500])
def test_no_repr_or_error_shows_a_token(caller: Caller, status: int, wire: Wire, auth: httpx.Auth) -> None:
    echo = json.dumps({"error_code": TOKEN, "error_msg": f"No {TOKEN} here", "id": TOKEN}).encode()
    headers = {"x-echo": TOKEN, "x-request-id": TOKEN}
    content = ACCEPTED.replace(b"}", b',"x":"canary-body"}') if status == 200 else echo
    wire.given = Encoded(status, headers, content)
    client = Client(wire.url, auth=auth)
    result = caller.detailed(ENGINE, client)
    texts = [repr(client), repr(attrs.evolve(result, parsed=None))]
    if error := result.error:
        texts += [repr(value) for _, value in shown(error)]
    assert not [text for text in texts if "canary" in text]


@pytest.mark.parametrize("auth", [TokenAuth(TOKEN), KEYS], ids=["token", "security token"])
def test_no_error_without_a_response_shows_a_token(caller: Caller, auth: httpx.Auth) -> None:
    for part in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"):
        with LoopbackServer(part) as server:
            error = caller.error(ENGINE, Client(server.url, auth=auth))
        assert not [place for place, value in shown(error) if "canary" in repr(value)]


URL, BROKEN = f"https://user:{SECRET}@host.test", f"{SECRET}\r\n"
HOST: dict[str, Any] = {"endpoint": "https://host.test", "credentials": TokenAuth("t")}


@pytest.mark.parametrize(
    "fail",
    [
        lambda: TokenAuth(BROKEN),
        lambda: AkSkAuth(BROKEN, SECRET),
        lambda: AkSkAuth("AK", BROKEN),
        lambda: AkSkAuth("AK", SECRET, security_token=BROKEN),
        lambda: AkSkAuth("AK", SECRET, project_id="\n"),
        lambda: PasswordAuth("user", f"{SECRET}\ud800", domain_name="d"),
        lambda: PasswordAuth("", SECRET, domain_name="d"),
        *(partial(PasswordAuth, "user", SECRET, **{"domain_name": "d", **wrong}) for wrong in (
            {"domain_name": ""}, {"iam_endpoint": URL}, {"iam_endpoint": "http://host.test"}, {"project_id": "a", "project_name": "b"})),
        lambda: Client(URL),
        lambda: Client(f"https://host.test/?{SECRET}"),
        lambda: Client("https://host.test", headers={"X-A": BROKEN}),
        lambda: Client("", headers={"X-A": SECRET}),
        lambda: Client("https://host.test", headers={"X-A": SECRET}, verify="/nowhere"),
        lambda: Client("https://host.test", headers={"X-A": SECRET}, timeout=-1),
        *(partial(connect, "cse", **{**HOST, "endpoint": wrong}) for wrong in (URL, f"{SECRET}-no-url", f"http://host.test:{SECRET}")),
        lambda: connect("cse", **HOST, headers={"X-A": BROKEN}),
        lambda: connect("cse", **HOST, headers={"X-A": SECRET}, check_contract="no"),  # type: ignore[arg-type]
        lambda: connect("cse", region="cn-nowhere", headers={"X-A": SECRET}),
        lambda: connect("no", region="cn-north-4", headers={"X-A": SECRET}),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_no_invalid_setting_is_shown(check: Check, fail: Callable[[], object]) -> None:
    assert isinstance(check(fail), ValueError)
