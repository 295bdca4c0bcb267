"""What the API gateway in front of the services refuses by itself: too much, or from the wrong sender."""

from collections.abc import Mapping
from contextlib import aclosing

from starlette.requests import Request

from huaweicloud_retry.contract import Operation

from .state import Refusal

TOKEN = "mock-token"  # noqa: S105 - a dummy, printed at start
"""The one X-Auth-Token that the mock takes."""

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


def check_credentials(operation: Operation, headers: Mapping[str, str]) -> None:
    """Refuse a request that none of the operation's security schemes lets in (401)."""
    if not operation.security or frozenset() in operation.security:
        return
    token = headers.get("x-auth-token")
    if frozenset({"AuthToken"}) in operation.security and token == TOKEN:
        return
    if token is not None:
        why = "the X-Auth-Token is wrong"
    elif "authorization" in headers:
        why = "this version of the mock checks tokens only, no signatures"
    else:
        why = "there is no X-Auth-Token"
    raise Refusal(401, "APIGW.0301", f"Incorrect IAM authentication information: {why}; send X-Auth-Token: {TOKEN}")


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
