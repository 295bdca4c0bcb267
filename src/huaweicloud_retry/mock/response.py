"""The mock's responses: MockResponse, and Refusal, an exception that becomes one."""

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Literal, NamedTuple

from huaweicloud_retry.contract import Contract, ErrorCode, Operation
from huaweicloud_retry.parsing import Json

_encode = json.JSONEncoder(check_circular=False).encode  # the check is slow, and no body is circular


class Encoded(NamedTuple):
    """A response in bytes, and how to send it."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    how: Literal["whole", "truncated", "bare", "nothing", "drip"] = "whole"
    """`truncated`: half of the body that Content-Length promises. `bare`: only the body. `drip`: the body
    byte by byte. All except `whole` and `drip` close the connection."""
    seconds: float = 0  # the duration of a drip


class MockResponse(NamedTuple):
    """A response before it is encoded."""

    status: int
    body: Json = None  # None: no body
    headers: Mapping[str, str] = {}  # without Content-Type, Content-Length and X-Request-Id; never changed
    acted: bool = False  # something was run, created or issued: resending the request could do it twice

    def encoded(self, request_id: str, more: Mapping[str, str] = {}) -> Encoded:
        """Encode it, with more headers."""
        # The spec's examples may show a request ID, but this request has its own.
        body = self.body
        if isinstance(body, dict) and "error_code" in body and "request_id" in body:
            body = {**body, "request_id": request_id}
        headers = {name: value for name, value in self.headers.items() if name.lower() != "x-request-id"}
        headers |= {"x-request-id": request_id, **more}
        if body is None or self.status == 304:  # noqa: PLR2004 - in HTTP, a 304 never has a body
            return Encoded(self.status, headers, b"")
        return Encoded(self.status, {**headers, "content-type": "application/json"}, _encode(body).encode())


class Refusal(Exception):  # noqa: N818 - a response, not an error of the mock
    """An error response. Its cause is one of the spec's x-error-codes, or a code of the mock (`MOCK.404`).

    The message says what is wrong and what to do.
    """

    def __init__(self, cause: str, error_msg: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{cause}: {error_msg}")
        self.cause, self.error_msg, self.headers = cause, error_msg, headers or {}

    def response(
        self, request_id: str, contract: Contract, operation: Operation | None = None
    ) -> MockResponse:
        """Return the spec's error body with its status."""
        if self.cause.startswith("MOCK."):
            error = ErrorCode(int(self.cause.removeprefix("MOCK.")), self.cause, self.cause)
        else:
            error = contract.error(self.cause, operation)
        body: dict[str, Json] = {"error_code": error.code, "error_msg": self.error_msg}
        if error.detail:
            body["detail"] = error.detail
        if error.code.startswith("APIG"):  # a code of the gateway
            body["request_id"] = request_id
        return MockResponse(error.status, body, self.headers)


def some(ids: Iterable[str]) -> str:
    """List the first three, as examples of valid values."""
    first = list(islice(ids, 4))
    return ", ".join([*first[:3], *(["…"] if len(first) > 3 else [])]) or "none"  # noqa: PLR2004 - see above
