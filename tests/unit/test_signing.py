"""Signatures: the published vectors are met, and AkSkAuth signs what is sent."""

import hashlib
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from huaweicloud_retry import AkSkAuth
from huaweicloud_retry.signing import DATE_FORMAT, authorization, canonical_request
from huaweicloud_retry_client import Client
from tests.callers import ENGINE, Caller, FixedResponse

SECRET = "s3cret-canary/+="
DATE = "20200608T023900Z"
SDK_HOST = {"Host": "service.endpoint.myhuaweicloud.com"}
OWN = {"Content-Type": "application/json", "X-Project-Id": "ProjectId"}
WORKSPACE = {"Host": "workspace.cn-north-4.myhuaweicloud.com"} | OWN
CSE = {"Host": "cse.cn-north-4.myhuaweicloud.com"} | OWN


RETRY = "/v2/ProjectId/script-executions/retry"
ACTIONS = "/v2/ProjectId/enginemgr/engines/e1/actions"
RECORDS = "/v2/ProjectId/script-execution-records?limit=10&resource_id=a&resource_id=b&script_task_id=t%201"


@pytest.mark.parametrize(
    ("request_", "headers", "body", "signature"),
    [
        # from the official SDK's own tests (huaweicloudsdkcore, test_signer.py)
        ("GET /resources?size=1", SDK_HOST, b"", "cfb4171acec81de07d50e53d57eb77edd537414d66ddb1d7d780f128e12cd842"),
        ("POST /resources?size=1", SDK_HOST, b'{"name":"test","id":1}',
         "436b1ac0a1ae03705934bb70ef2f2e09f7bfed2117d731a38235053199323a1f"),
        # computed with that SDK's signer, 3.1.219
        (f"POST {RETRY}", WORKSPACE, b'{"record_id": "r1"}',
         "b4dedaa791a08db7466c29ccd14a4ac9f363088670e5a3a3a8a39dcb9f98d74f"),
        (f"PUT {ACTIONS}", CSE | {"X-Enterprise-Project-ID": "0"}, b'{"action": "Retry"}',
         "a065691b545171360e2287c3aa97c3b701bae8ab9cda27a9a62b081de326073b"),
        (f"GET {RECORDS}", WORKSPACE, b"", "109d426ce17b8ead69519bfef7620ecb842e9902634b30e5faef6484758e9ae5"),
        (f"POST {RETRY}", WORKSPACE | {"X-Security-Token": "tok"}, b'{"task_id": "t1"}',
         "8114096f9d6246acc157928723a2ce7588484a71e0dd959783ef4b7723986bdb"),
    ],
)  # fmt: skip
def test_known_signatures(request_: str, headers: dict[str, str], body: bytes, signature: str) -> None:
    method, target = request_.split(" ")
    canonical = canonical_request(method, target, headers | {"X-Sdk-Date": DATE}, body)
    value = authorization("AccessKey", "SecretKey", canonical, DATE)
    names = ";".join(sorted(name.lower() for name in [*headers, "X-Sdk-Date"]))
    assert value == f"SDK-HMAC-SHA256 Access=AccessKey, SignedHeaders={names}, Signature={signature}"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a%2Fb", "/a%2Fb/", ""),  # what is sent as one segment is signed as one; the official SDK signs two
        ("/a%2fb~%7e", "/a%2Fb~~/", ""),
        ("/%E4%B8%80%FF/", "/%E4%B8%80%FF/", ""),
        ("/", "/", ""),
        (
            "/?limit=1&enable=true&test=%E4%B8%80%20%28%26%3D%3F%21%23%25.%2A%29&path=%2Ftmp%2F123&multi=2&multi=1",
            "/",
            "enable=true&limit=1&multi=1&multi=2&path=%2Ftmp%2F123&test=%E4%B8%80%20%28%26%3D%3F%21%23%25.%2A%29",
        ),
        ("/?b&a=", "/", "a=&b="),
        ("/?a=1+2", "/", "a=1%202"),
        ("/?%C3%9F=1&a=2", "/", "a=2&%C3%9F=1"),  # sorted before they are encoded, as the official SDK does
    ],
)
def test_the_signed_form_of_path_and_query(target: str, path: str, query: str) -> None:
    assert canonical_request("GET", target, {}, b"").split("\n")[1:3] == [path, query]


def test_header_names_are_sorted_in_lower_case_and_values_trimmed() -> None:
    lines = canonical_request("GET", "/", {"X-B": " 2 ", "Host": "h", "x-a": "1"}, b"").split("\n")
    assert lines[3:8] == ["host:h", "x-a:1", "x-b:2", "", "host;x-a;x-b"]
    assert lines[8:] == [hashlib.sha256(b"").hexdigest()]


# --- AkSkAuth ---


def verify(request: httpx.Request, access_key: str, secret_key: str) -> list[str]:
    """Compute the signature from what arrived, as a gateway does; return the names of the signed headers."""
    names = request.headers["Authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    signed = {name: request.headers[name] for name in names}
    canonical = canonical_request(request.method, request.url.raw_path.decode(), signed, request.content)
    expected = authorization(access_key, secret_key, canonical, request.headers["X-Sdk-Date"])
    assert request.headers["Authorization"] == expected
    return names


def test_what_arrives_is_what_was_signed(caller: Caller) -> None:
    wire = FixedResponse(401, b'{"error_code": "APIGW.0301"}')
    auth = AkSkAuth("AK", SECRET, project_id="another", security_token="tok")
    arguments = {"project_id": "p/1", "engine_id": "e 1", "x_enterprise_project_id": "0"}
    caller.detailed(ENGINE, Client("https://cse.test", auth=auth, transport=wire), **arguments)
    (request,) = wire.requests  # a 401 is final: five wrong signatures lock the key
    names = "content-type host x-enterprise-project-id x-project-id x-sdk-date x-security-token"
    assert sorted(verify(request, "AK", SECRET)) == names.split()
    assert (request.headers["X-Project-Id"], request.headers["X-Security-Token"]) == ("p/1", "tok")
    sent = datetime.strptime(request.headers["X-Sdk-Date"], DATE_FORMAT).replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - sent) < timedelta(minutes=15)


@pytest.mark.parametrize("project", [None, "p1"])
def test_a_plain_httpx_client_sends_the_project_of_the_credentials(project: str | None) -> None:
    wire = FixedResponse()
    with httpx.Client(auth=AkSkAuth("AK", SECRET, project_id=project), transport=wire) as http:
        http.post("https://cse.test/a%2Fb?x=1", content=iter([b"one", b"two"]))
    (request,) = wire.requests
    assert request.content == b"onetwo"
    signed = verify(request, "AK", SECRET)
    assert signed == ["host", *(["x-project-id"] if project else []), "x-sdk-date"]  # and not the User-Agent
    assert request.headers.get("X-Project-Id") == project


@pytest.mark.parametrize("wrong", ["", f"{SECRET}\n", f" {SECRET}", f"{SECRET}é"])
@pytest.mark.parametrize("name", ["access_key", "secret_key", "project_id", "security_token"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(name: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be printable ASCII") as refused:
        AkSkAuth(**{"access_key": "AK", "secret_key": "SK", name: wrong})
    assert SECRET not in str(refused.value)
