"""What the mock answers: an Answer, or a Refusal raised anywhere on the way to one."""

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Literal, NamedTuple

from huaweicloud_retry.contract import Contract, ErrorCode, Operation
from huaweicloud_retry.parsing import Json

_encode = json.JSONEncoder(check_circular=False).encode  # nothing here can be, and the check takes a while


class Encoded(NamedTuple):
    """A response in bytes, and how to send it."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    how: Literal["whole", "truncated", "bare", "nothing", "drip"] = "whole"
    """`truncated`: half of the body that Content-Length promises. `bare`: the body without a header. `drip`: the body
    byte by byte. After all but `whole` and `drip` the connection is closed."""
    seconds: float = 0  # that a drip takes


class Answer(NamedTuple):
    """An answer before it is put on the wire."""

    status: int
    body: Json = None  # None for no body at all
    headers: Mapping[str, str] = {}  # beside Content-Type, Content-Length and X-Request-Id; nobody changes it
    acted: bool = False  # something was run, made or issued: sending the same again could do so a second time

    def encoded(self, request_id: str, more: Mapping[str, str] = {}) -> Encoded:
        """Return it in bytes, with more headers."""
        # The spec's examples may show a request ID, but this request has its own.
        body = self.body
        if isinstance(body, dict) and "error_code" in body and "request_id" in body:
            body = {**body, "request_id": request_id}
        headers = {name: value for name, value in self.headers.items() if name.lower() != "x-request-id"}
        headers |= {"x-request-id": request_id, **more}
        if body is None or self.status == 304:  # noqa: PLR2004 - which has none in HTTP, whatever a fault says
            return Encoded(self.status, headers, b"")
        return Encoded(self.status, {**headers, "content-type": "application/json"}, _encode(body).encode())


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """A response other than success. Its cause is one of the spec's x-error-codes, or a code of the mock itself (`MOCK.404`).

    The message says what is wrong and what to do.
    """

    def __init__(self, cause: str, error_msg: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{cause}: {error_msg}")
        self.cause, self.error_msg, self.headers = cause, error_msg, headers or {}

    def answer(self, request_id: str, contract: Contract, operation: Operation | None = None) -> Answer:
        """Return the error body of the spec."""
        if self.cause.startswith("MOCK."):
            error = ErrorCode(int(self.cause.removeprefix("MOCK.")), self.cause, self.cause)
        else:
            error = contract.error(self.cause, operation)
        body: dict[str, Json] = {"error_code": error.code, "error_msg": self.error_msg}
        if error.detail:
            body["detail"] = error.detail
        if error.code.startswith("APIG"):  # the gateway's
            body["request_id"] = request_id
        return Answer(error.status, body, self.headers)


def some(ids: Iterable[str]) -> str:
    """Name a few, so that a caller sees what would do."""
    first = list(islice(ids, 4))
    return ", ".join([*first[:3], *(["…"] if len(first) > 3 else [])]) or "none"  # noqa: PLR2004 - a few
