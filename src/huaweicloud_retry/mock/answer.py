"""What the mock answers: an Answer, or a Refusal raised anywhere on the way to one."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple

from huaweicloud_retry.parsing import Json


class Answer(NamedTuple):
    """An answer before it is put on the wire."""

    status: int
    body: Json = None
    """None for no body at all."""
    headers: Mapping[str, str] = {}  # nobody changes it
    """Beside Content-Type, Content-Length and X-Request-Id."""
    acted: bool = False
    """Something was run, made or issued: sending the same again could do so a second time."""


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """An answer other than success, in the terms of the spec.

    Attributes:
        status: the HTTP status.
        error_code: of the service, or of the gateway if it begins with `APIGW.`.
        error_msg: what is wrong and what to do.
        detail: where, for the CSE service.
        headers: to send beside the usual ones.
    """

    def __init__(
        self,
        status: int,
        error_code: str,
        error_msg: str,
        *,
        detail: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {error_code}: {error_msg}")
        self.status = status
        self.error_code = error_code
        self.error_msg = error_msg
        self.detail = detail
        self.headers = headers or {}

    def answer(self, request_id: str) -> Answer:
        """Return the error body of the spec."""
        body: dict[str, Json] = {"error_code": self.error_code, "error_msg": self.error_msg}
        if self.detail is not None:
            body["detail"] = self.detail
        if self.error_code.startswith("APIGW."):
            body["request_id"] = request_id
        return Answer(self.status, body, self.headers)


def some(ids: Iterable[str]) -> str:
    """Name a few, so that a caller sees what would do."""
    first = list(islice(ids, 4))
    return ", ".join([*first[:3], *(["…"] if len(first) > 3 else [])]) or "none"  # noqa: PLR2004 - a few
