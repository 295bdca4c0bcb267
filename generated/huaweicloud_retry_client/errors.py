"""Everything that an operation raises once its arguments are right.

    APIError                              outcome_unknown: may the service have acted?
    ├── APIConnectionError                no answer came
    │   └── APITimeoutError               ... in time
    ├── APIStatusError                    status_code, error_code, error_msg, detail, request_id, response
    │   ├── BadRequestError               400
    │   ├── AuthenticationError           401
    │   ├── PermissionDeniedError         403
    │   ├── NotFoundError                 404
    │   ├── MethodNotAllowedError         405
    │   ├── RateLimitError                429, retry_after
    │   └── InternalServerError           500 to 599
    └── APIResponseValidationError        2xx, but not what the contract promises

Each error reads in one line, can be pickled and copied, and holds nothing of the request but its method and URL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from .types import Response

# The gateway may echo the signed headers of a request in its message, a temporary key's security token among them.
_SECRET = re.compile(
    r"""(?ix) \b(x-auth-token|x-security-token|x-subject-token|authorization) (["']?\s*[:=]\s*) [^|"'\r\n]+"""
)
_LINE_LENGTH = 500


def _one_line(text: str) -> str:
    """Return text fit for a log line: masked, printable, bounded."""
    masked = _SECRET.sub(r"\1\2***", text[:100_000])
    line = " ".join("".join(char if char.isprintable() else " " for char in masked).split())
    return line if len(line) <= _LINE_LENGTH else line[:_LINE_LENGTH] + "…"


class APIError(Exception):
    """Any failure of a call.

    Attributes:
        outcome_unknown: True if the service may have acted on the request although no answer says so. Then look at
            the task or job before sending the request again. False: it surely did not act.
    """

    outcome_unknown: bool = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class APIConnectionError(APIError):
    """No answer came: no connection, or one that broke. `__cause__` is httpx's exception."""

    def __init__(self, message: str, outcome_unknown: bool) -> None:
        super().__init__(message, outcome_unknown)
        self.outcome_unknown = outcome_unknown

    def __str__(self) -> str:
        return _one_line(str(self.args[0]))


class APITimeoutError(APIConnectionError):
    """No connection, or no answer, in time."""


class APIStatusError(APIError):
    """The server answered with a status other than 2xx.

    Attributes:
        status_code: HTTP status.
        error_code: The service's or gateway's code, such as SVCSTG.00501116 or APIGW.0308; None if the body has none.
        error_msg: Its message; the body's text (at most 500 characters) where the body is none of the known shapes.
        detail: Location details (CSE), or None.
        request_id: From the body or the X-Request-Id header, or None.
        response: The whole answer.
    """

    def __init__(self, response: Response[Any]) -> None:
        super().__init__(response)
        self.response = response
        self.status_code: int = response.status_code
        body = _read(response.content)
        # IAM and older pages: {"error": {"code", "message", "title"}}, {"errorCode", "errorMessage"}
        self.error_code = _pick(body, "error_code", "errorCode", "code")
        self.error_msg = _pick(body, "error_msg", "errorMessage", "errorMsg", "message", "title")
        if self.error_msg is None:
            self.error_msg = _one_line(response.content[:4096].decode(errors="replace"))
        self.detail = _pick(body, "detail")
        self.request_id = _pick(body, "request_id") or response.headers.get("X-Request-Id")
        # https://www.rfc-editor.org/rfc/rfc9110#section-15: 4xx refuses the request, and 501, 503 and 505 do not take it up.
        # 499 is the gateway's word for a caller that went away, which says nothing about the service behind it.
        refused = 400 <= self.status_code < 500 and self.status_code != 499
        self.outcome_unknown = not (refused or self.status_code in (501, 503, 505))

    @staticmethod
    def of(response: Response[Any]) -> APIStatusError:
        """Return the error of the class that fits the status."""
        status = response.status_code
        by_status = InternalServerError if 500 <= status < 600 else APIStatusError
        return _BY_STATUS.get(status, by_status)(response)

    def __str__(self) -> str:
        code = f" {self.error_code}" if self.error_code else ""
        detail = f" ({self.detail})" if self.detail else ""
        request_id = f" [request id {self.request_id[:100]}]" if self.request_id else ""
        return f"{self.status_code}{_one_line(code)}: {_one_line(f'{self.error_msg}{detail}')}{_one_line(request_id)}"


class BadRequestError(APIStatusError):
    """400: the request is wrong, or the state of the thing does not allow it."""


class AuthenticationError(APIStatusError):
    """401: missing, wrong or expired credentials, or a token of another region."""


class PermissionDeniedError(APIStatusError):
    """403: the IAM user may not do this."""


class NotFoundError(APIStatusError):
    """404: no such record, task, or API."""


class MethodNotAllowedError(APIStatusError):
    """405: not a method of the path; from the gateway also a used-up quota (0501) or a frozen app (0502)."""


class RateLimitError(APIStatusError):
    """429: refused by the gateway before the service saw the request.

    Attributes:
        retry_after: Seconds to wait by the Retry-After header (a number or a date), or None. Not documented by Huawei
            Cloud, whose advice is to wait 2 to 5 seconds.
    """

    def __init__(self, response: Response[Any]) -> None:
        super().__init__(response)
        self.retry_after = _seconds(response.headers.get("Retry-After"), response.headers.get("Date"))


class InternalServerError(APIStatusError):
    """500 to 599."""


class APIResponseValidationError(APIError):
    """The server did answer 2xx, but not what the contract promises.

    Most likely the retry went through; a proxy's or portal's page with status 200 looks the same, so outcome_unknown.

    Attributes:
        status_code: HTTP status.
        problem: What is wrong with the answer.
        request_id: From the X-Request-Id header, or None.
        response: The whole answer, body kept.
    """

    def __init__(self, response: Response[Any]) -> None:
        super().__init__(response)
        self.response = response
        self.status_code: int = response.status_code
        self.problem = str(response.problem)
        self.request_id: str | None = response.headers.get("X-Request-Id")

    def __str__(self) -> str:
        request_id = f" [request id {self.request_id[:100]}]" if self.request_id else ""
        return (
            f"{self.status_code}, but not what the contract promises: {_one_line(self.problem)}{_one_line(request_id)}"
        )


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    429: RateLimitError,
}


def _read(content: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    inner = fields.get("error")
    return cast("dict[str, Any]", inner) if isinstance(inner, dict) else fields


def _pick(body: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = body.get(name)
        if type(value) in (str, int) and value != "":
            return _SECRET.sub(r"\1\2***", str(value))
    return None


def _seconds(value: str | None, date: str | None) -> float | None:
    """Read Retry-After; a date is held against the server's own clock where it tells it."""
    if value is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return float(value)
    try:
        now = parsedate_to_datetime(date) if date else datetime.now(UTC)
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):  # no date, or one with and one without a time zone
        return None


__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "InternalServerError",
    "MethodNotAllowedError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
]
