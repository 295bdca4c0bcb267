"""What the API gateway in front of the services refuses itself: size limits and credentials."""

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from huaweicloud_retry import signing
from huaweicloud_retry.contract import Limits, Operation

from .iam import LOCKED, AccessKey, Credentials
from .request import MockRequest
from .response import Refusal

MAX_SKEW = timedelta(minutes=15)
_AUTHORIZATION = re.compile(
    rf"{signing.ALGORITHM} Access=(?P<access_key>[^,]+), SignedHeaders=(?P<names>[^,]+), "
    r"Signature=[0-9a-f]{64}"
)
# Bytes, without spaces around the JSON: 12 MiB of small values would take a gigabyte of memory.
_MAX_JSON = 1024 * 1024
_TOKEN, _SIGNATURE = frozenset({"AuthToken"}), frozenset({"Signature"})


def check_size(request: MockRequest, limits: Limits) -> None:
    """Refuse a request that was not read completely, and a large URI (414), header (494) or JSON (413)."""
    if request.refusal:
        raise request.refusal
    if len(request.body) > _MAX_JSON and len(request.body.strip()) > _MAX_JSON:
        raise Refusal("MOCK.413", f"The mock accepts {_MAX_JSON} bytes of JSON at most.")
    if request.size <= min(limits):
        return  # none of it can be too large
    uri = len(request.target)
    if uri > limits.uri:
        raise Refusal("uri", f"Request URI too large: {uri} bytes, and {limits.uri} are allowed.")
    largest = max(len(name) + len(value) for name, value in request.headers.items())
    if request.size - uri > limits.headers or largest > limits.header:
        raise too_large_headers(limits)


def too_large_headers(limits: Limits) -> Refusal:
    """Return the refusal for headers that exceed the gateway's limits."""
    what = f"Request headers too large: one may have {limits.header} bytes, all together {limits.headers}."
    return Refusal("headers", what)


def too_large_body(limits: Limits) -> Refusal:
    """Return the refusal for a body that exceeds the gateway's limit."""
    return Refusal("body", f"Request entity too large: {limits.body} bytes are allowed.")


def check_credentials(
    credentials: Credentials, operation: Operation, request: MockRequest, path_params: Mapping[str, str]
) -> None:
    """Refuse wrong credentials (401), and an X-Project-Id that is not the path's project (403)."""
    if not operation.security or frozenset() in operation.security:
        return
    project = path_params.get("project_id")
    cause, why = "credentials", "there is no X-Auth-Token and no signature"
    token = request.headers.get("x-auth-token")
    if token is not None and _TOKEN in operation.security:
        cause, why = credentials.wrong_token(token, project) or ("", "")
    elif "authorization" in request.headers and _SIGNATURE in operation.security:
        why = _wrong_signature(credentials, request)
    if why:
        text = "Incorrect IAM authentication information"
        if cause == "token-expired":
            text = "The token must be updated"
        raise Refusal(cause, f"{text}: {why}; {credentials.hint}")
    if request.headers.get("x-project-id", project) != project:
        raise Refusal(
            "project", "The project is unavailable: X-Project-Id differs from the project in the path."
        )


def _wrong_signature(credentials: Credentials, request: MockRequest) -> str:
    """Return what is wrong with a signature and how to correct it; empty if it is valid."""
    headers = request.headers
    found = _AUTHORIZATION.fullmatch(headers["authorization"])
    if not found:
        return f"the Authorization header must be {signing.ALGORITHM} Access=…, SignedHeaders=…, Signature=…"
    key = credentials.access_keys.get(found["access_key"])
    if key is None:
        return "the access key is unknown"
    if credentials.locks.holds(key):
        return f"AK access failed to reach the limit, forbidden: {LOCKED}"
    names = found["names"].split(";")
    if absent := [name for name in names if name not in headers]:
        return f"signed, but not sent: {', '.join(absent)}"
    if "x-sdk-date" not in names:
        return "X-Sdk-Date must be signed"
    return _wrong_date(headers["x-sdk-date"]) or _other_signature(credentials, key, names, request)


def _wrong_date(date: str) -> str:
    now = datetime.now(UTC)
    try:
        skew = now - datetime.strptime(date, signing.DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return "X-Sdk-Date must look like 20200608T023900Z"
    if abs(skew) > MAX_SKEW:
        clock = now.strftime(signing.DATE_FORMAT)
        return f"the signature has expired: X-Sdk-Date is {date}, and this machine's clock says {clock}"
    return ""


def _other_signature(
    credentials: Credentials, key: AccessKey, names: Sequence[str], request: MockRequest
) -> str:
    """Compare a signature with the expected one, and count the failures of its access key."""
    headers = request.headers
    # The official SDK signs and sends UTF-8.
    signed = {name: headers[name].encode("latin-1").decode(errors="surrogateescape") for name in names}
    canonical = signing.canonical_request(request.method, request.target, signed, request.body)
    if headers.get("x-sdk-content-sha256") == "UNSIGNED-PAYLOAD":
        canonical = f"{canonical.rpartition(chr(10))[0]}\nUNSIGNED-PAYLOAD"
    expected = signing.authorization(key.access_key, key.secret_key, canonical, headers["x-sdk-date"])
    signed_right = hmac.compare_digest(expected, headers["authorization"])
    security_token = headers.get("x-security-token")
    if credentials.locks.count(key, right=signed_right and key.security_token in {None, security_token}):
        return ""
    if signed_right:
        return "the access key is a temporary one, whose X-Security-Token is missing or wrong"
    if security_token:
        canonical = canonical.replace(security_token, "***")
    canonical = canonical.replace(chr(10), "|")
    return f"the signature does not match the canonical request (line ends shown as |) {canonical}"
