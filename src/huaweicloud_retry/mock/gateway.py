"""What the API gateway in front of the services refuses by itself: too much, or from the wrong sender."""

import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from huaweicloud_retry import signing
from huaweicloud_retry.contract import Limits, Operation

from .answer import Refusal
from .iam import LOCKED, Credentials
from .request import Request

MAX_SKEW = timedelta(minutes=15)
_AUTHORIZATION = re.compile(
    rf"{signing.ALGORITHM} Access=(?P<access_key>[^,]+), SignedHeaders=(?P<names>[^,]+), Signature=[0-9a-f]{{64}}"
)

_MAX_JSON = (
    1024 * 1024
)  # bytes, without spaces around it; 12 MiB of small values would take a gigabyte of memory

_TOKEN, _SIGNATURE = frozenset({"AuthToken"}), frozenset({"Signature"})


def check_size(request: Request, limits: Limits) -> None:
    """Refuse what was not read to its end, a URI (414), headers (494) or JSON (413) of too many bytes."""
    if request.refusal:
        raise request.refusal
    if len(request.body) > _MAX_JSON and len(request.body.strip()) > _MAX_JSON:
        raise Refusal("MOCK.413", f"The mock reads {_MAX_JSON} bytes of JSON at most.")
    if request.size <= min(limits):
        return  # none of it can be too large
    uri = len(request.target)
    if uri > limits.uri:
        raise Refusal("uri", f"Request URI too large: {uri} bytes, and {limits.uri} are allowed.")
    largest = max(len(n) + len(v) for n, v in request.headers.items())
    if request.size - uri > limits.headers or largest > limits.header:
        raise too_large_headers(limits)


def too_large_headers(limits: Limits) -> Refusal:
    """Return the refusal of a header that the gateway would not read either."""
    what = f"Request headers too large: one may have {limits.header} bytes, all together {limits.headers}."
    return Refusal("headers", what)


def too_large_body(limits: Limits) -> Refusal:
    """Return the refusal of a body that is larger than the gateway takes."""
    return Refusal("body", f"Request entity too large: {limits.body} bytes are allowed.")


def check_credentials(
    credentials: Credentials, operation: Operation, request: Request, path_params: Mapping[str, str]
) -> None:
    """Refuse a request that none of the operation's security schemes lets in (401), or of another project (403)."""
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
        text = (
            "The token must be updated"
            if cause == "token-expired"
            else "Incorrect IAM authentication information"
        )
        raise Refusal(cause, f"{text}: {why}; {credentials.hint}")
    if request.headers.get("x-project-id", project) != project:
        raise Refusal("project", "The project is unavailable: X-Project-Id is not the project of the path.")


def _wrong_signature(credentials: Credentials, request: Request) -> str:  # noqa: C901, PLR0911 - a way out for each reason
    """Say what is wrong with a signature, in a word on how to mend it; nothing if it is right."""
    headers = request.headers
    value = headers["authorization"]
    found = _AUTHORIZATION.fullmatch(value)
    if not found:
        return (
            f"the Authorization header must read {signing.ALGORITHM} Access=…, SignedHeaders=…, Signature=…"
        )
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
    date, now = headers["x-sdk-date"], datetime.now(UTC)
    try:
        skew = now - datetime.strptime(date, signing.DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return "X-Sdk-Date must read like 20200608T023900Z"
    if abs(skew) > MAX_SKEW:
        return f"the signature has expired: X-Sdk-Date is {date}, and this machine's clock says {now:{signing.DATE_FORMAT}}"
    # Signed is what was sent, and the official SDK sends UTF-8.
    signed = {name: headers[name].encode("latin-1").decode(errors="surrogateescape") for name in names}
    canonical = signing.canonical_request(request.method, request.target, signed, request.body)
    if headers.get("x-sdk-content-sha256") == "UNSIGNED-PAYLOAD":
        canonical = f"{canonical.rpartition(chr(10))[0]}\nUNSIGNED-PAYLOAD"
    security_token = headers.get("x-security-token")
    signed_right = hmac.compare_digest(
        signing.authorization(key.access_key, key.secret_key, canonical, date), value
    )
    if credentials.locks.count(key, right=signed_right and key.security_token in {None, security_token}):
        return ""
    if signed_right:
        return "the access key is a temporary one, whose X-Security-Token is missing or wrong"
    if security_token:
        canonical = canonical.replace(security_token, "***")
    return f"the signature is not that of the canonical request (| for a line's end) {canonical.replace(chr(10), '|')}"
