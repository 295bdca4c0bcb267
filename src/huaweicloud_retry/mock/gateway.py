"""What the API gateway in front of the services refuses by itself: too much, or from the wrong sender."""

import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from huaweicloud_retry import signing
from huaweicloud_retry.contract import Operation

from .answer import Refusal
from .iam import LOCKED, Credentials
from .request import Request

MAX_SKEW = timedelta(minutes=15)
_AUTHORIZATION = re.compile(
    rf"{signing.ALGORITHM} Access=(?P<access_key>[^,]+), SignedHeaders=(?P<names>[^,]+), Signature=[0-9a-f]{{64}}"
)

# Bytes, from the gateway's error table.
MAX_URI = MAX_HEADER = 32 * 1024
MAX_HEADERS, MAX_BODY = 128 * 1024, 12 * 1024 * 1024
_MAX_JSON = 1024 * 1024  # without spaces around it; 12 MiB of small values would take a gigabyte of memory

_TOKEN, _SIGNATURE = frozenset({"AuthToken"}), frozenset({"Signature"})


def check_size(request: Request) -> None:
    """Refuse what was not read to its end, a URI (414), headers (494) or JSON (413) of too many bytes."""
    if request.refusal:
        raise request.refusal
    if len(request.body) > _MAX_JSON and len(request.body.strip()) > _MAX_JSON:
        raise Refusal(413, "MOCK.413", f"The mock reads {_MAX_JSON} bytes of JSON at most.")
    if request.size <= MAX_HEADER:
        return  # none of it can be too large
    uri = len(request.target)
    if uri > MAX_URI:
        raise Refusal(414, "APIGW.0201", f"Request URI too large: {uri} bytes, and {MAX_URI} are allowed.")
    if request.size - uri > MAX_HEADERS or max(len(n) + len(v) for n, v in request.headers.items()) > MAX_HEADER:
        raise too_large_headers()


def too_large_headers() -> Refusal:
    """Return the refusal of a header that the gateway would not read either."""
    what = f"Request headers too large: one may have {MAX_HEADER} bytes, all together {MAX_HEADERS}."
    return Refusal(494, "APIGW.0201", what)


def too_large_body() -> Refusal:
    """Return the refusal of a body of more than 12 MiB."""
    return Refusal(413, "APIGW.0201", f"Request entity too large: {MAX_BODY} bytes are allowed.")


def check_credentials(
    credentials: Credentials, operation: Operation, request: Request, path_params: Mapping[str, str]
) -> None:
    """Refuse a request that none of the operation's security schemes lets in (401), or of another project (403)."""
    if not operation.security or frozenset() in operation.security:
        return
    project = path_params.get("project_id")
    code, why = "APIGW.0301", "there is no X-Auth-Token and no signature"
    token = request.headers.get("x-auth-token")
    if token is not None and _TOKEN in operation.security:
        code, why = credentials.wrong_token(token, project) or ("", "")
    elif "authorization" in request.headers and _SIGNATURE in operation.security:
        why = _wrong_signature(credentials, request)
    if why:
        text = "The token must be updated" if code == "APIGW.0307" else "Incorrect IAM authentication information"
        raise Refusal(401, code, f"{text}: {why}; {credentials.hint}")
    if request.headers.get("x-project-id", project) != project:
        raise Refusal(403, "APIGW.0310", "The project is unavailable: X-Project-Id is not the project of the path.")


def _wrong_signature(credentials: Credentials, request: Request) -> str:  # noqa: C901, PLR0911 - a way out for each reason
    """Say what is wrong with a signature, in a word on how to mend it; nothing if it is right."""
    headers = request.headers
    value = headers["authorization"]
    found = _AUTHORIZATION.fullmatch(value)
    if not found:
        return f"the Authorization header must read {signing.ALGORITHM} Access=…, SignedHeaders=…, Signature=…"
    key = credentials.access_keys.get(found["access_key"])
    if key is None:
        return "the access key is unknown"
    if credentials.locks.holds(key):
        return f"AK access failed to reach the limit, forbidden: {LOCKED}"
    names = found["names"].split(";")
    if absent := [name for name in names if name not in headers]:
        return f"signed, but not sent: {', '.join(absent)}"
    if not {"host", "x-sdk-date"} <= set(names):
        return "Host and X-Sdk-Date must be signed"
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
    signed_right = hmac.compare_digest(signing.authorization(key.access_key, key.secret_key, canonical, date), value)
    if credentials.locks.count(key, right=signed_right and key.security_token in {None, security_token}):
        return ""
    if signed_right:
        return "the access key is a temporary one, whose X-Security-Token is missing or wrong"
    if security_token:
        canonical = canonical.replace(security_token, "***")
    return f"the signature is not that of the canonical request (| for a line's end) {canonical.replace(chr(10), '|')}"
