"""What the API gateway in front of the services refuses by itself: too much, or from the wrong sender."""

import hmac
import re
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from starlette.requests import Request

from huaweicloud_retry import signing
from huaweicloud_retry.contract import Operation

from .state import Refusal

# Dummies, printed at start: the one token that the mock takes, and the one pair of keys.
TOKEN = "mock-token"  # noqa: S105 - see above
ACCESS_KEY = "mock-ak"
SECRET_KEY = "mock-sk"  # noqa: S105 - see above

MAX_SKEW = timedelta(minutes=15)
_AUTHORIZATION = re.compile(
    rf"{signing.ALGORITHM} Access=(?P<access_key>[^,]+), SignedHeaders=(?P<names>[^,]+), Signature=[0-9a-f]{{64}}"
)

# Bytes, from the gateway's error table.
MAX_URI = 32 * 1024
MAX_HEADER = 32 * 1024
MAX_HEADERS = 128 * 1024
MAX_BODY = 12 * 1024 * 1024


def check_size(uri: int, headers: list[tuple[bytes, bytes]]) -> None:
    """Refuse a URI of too many bytes (414), or headers too large (494)."""
    if uri > MAX_URI:
        raise Refusal(414, "APIGW.0201", f"Request URI too large: {uri} bytes, and {MAX_URI} are allowed.")
    sizes = [len(name) + len(value) for name, value in headers]
    if sum(sizes) > MAX_HEADERS or max(sizes, default=0) > MAX_HEADER:
        what = f"Request headers too large: one may have {MAX_HEADER} bytes, all together {MAX_HEADERS}."
        raise Refusal(494, "APIGW.0201", what)


def check_credentials(operation: Operation, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
    """Refuse a request that none of the operation's security schemes lets in (401).

    Args:
        operation: what is asked for.
        method: in capitals.
        target: path and query as they arrived.
        headers: names in small letters.
        body: as it arrived; a signature covers it.
    """
    if not operation.security or frozenset() in operation.security:
        return
    token = headers.get("x-auth-token")
    if token is not None and frozenset({"AuthToken"}) in operation.security:
        why = "" if token == TOKEN else "the X-Auth-Token is wrong"
    elif "authorization" in headers and frozenset({"Signature"}) in operation.security:
        why = _wrong_signature(method, target, headers, body)
    else:
        why = "there is no X-Auth-Token and no signature"
    if why:
        # Not in the form of a header: what shows error texts masks those, as this client does.
        hint = f"the mock takes the token {TOKEN}, or a signature with {ACCESS_KEY} and {SECRET_KEY}"
        raise Refusal(401, "APIGW.0301", f"Incorrect IAM authentication information: {why}; {hint}")


def _wrong_signature(  # noqa: PLR0911 - a way out for each reason
    method: str, target: str, headers: Mapping[str, str], body: bytes
) -> str:
    """Say what is wrong with a signature, in a word on how to mend it; nothing if it is right."""
    value = headers["authorization"]
    found = _AUTHORIZATION.fullmatch(value)
    if not found:
        return f"the Authorization header must read {signing.ALGORITHM} Access=…, SignedHeaders=…, Signature=…"
    if found["access_key"] != ACCESS_KEY:
        return "the access key is unknown"
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
        return f"the signature has expired: X-Sdk-Date is {date}, and the mock's clock says {now:{signing.DATE_FORMAT}}"
    canonical = signing.canonical_request(method, target, {name: headers[name] for name in names}, body)
    if hmac.compare_digest(signing.authorization(ACCESS_KEY, SECRET_KEY, canonical, date), value):
        return ""
    if secret := headers.get("x-security-token"):
        canonical = canonical.replace(secret, "***")
    return f"the signature is not that of the canonical request (| for a line's end) {canonical.replace(chr(10), '|')}"


async def read_body(request: Request) -> bytes:
    """Read the body, but no more than is allowed (413). The server throws away what is left unread."""
    too_large = Refusal(413, "APIGW.0201", f"Request entity too large: {MAX_BODY} bytes are allowed.")
    if int(request.headers.get("content-length", "0")) > MAX_BODY:
        raise too_large
    body = bytearray()
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_BODY:
                raise too_large
    return bytes(body)
