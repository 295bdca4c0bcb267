"""Everything that connecting and calling raise.

    ConfigurationError (ValueError)       a setting is missing or wrong
    APIError                              outcome_unknown: may the request have been processed?
    ├── APIRequestValidationError         the contract does not allow the request (ValueError, too)
    ├── APIConnectionError                no response: no connection, or a broken one
    │   └── APITimeoutError               … in time
    ├── APIStatusError                    status_code, error_code, error_msg, detail, request_id, response
    │   ├── BadRequestError               400
    │   ├── AuthenticationError           401
    │   ├── PermissionDeniedError         403
    │   ├── NotFoundError                 404
    │   ├── MethodNotAllowedError         405
    │   ├── RateLimitError                429, retry_after
    │   ├── InternalServerError           500 to 599
    │   └── IAMError                      IAM gave no token
    │       └── IAMAuthenticationError    … 401 (AuthenticationError, too)
    └── APIResponseValidationError        2xx, but not what the contract promises

Each error reads in one line, can be pickled and copied, and holds nothing of the request but its method and
URL.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast

from .redaction import mask_headers, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .response import Response


class ConfigurationError(ValueError):
    """A setting is missing or wrong: which, where it was looked for, what to do. It shows no secret."""


class APIError(Exception):
    """Any failure of a call.

    Attributes:
        outcome_unknown: True if the request may have been processed although no response says so. Then look
            at the task or job before you send it again. False: it was not processed, or it only reads (GET or
            HEAD) and can be sent again at any time.
        attempts: How often the request was sent, or tried to be; above 1 only if it was resent.
    """

    outcome_unknown: bool = True
    attempts: int = 1

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class APIRequestValidationError(APIError, ValueError):
    """The contract does not allow this request, and `check_contract="raise"` was given. It was not sent.

    The text names each place in the request and shows none of its values.

    Attributes:
        outcome_unknown: Always False.
        attempts: Always 0.
    """

    outcome_unknown = False
    attempts = 0


class APIConnectionError(APIError):
    """No response: no connection, or one that broke. `__cause__` is httpx's exception, if safe to show."""

    def __init__(self, message: str, outcome_unknown: bool) -> None:
        super().__init__(message, outcome_unknown)
        self.outcome_unknown = outcome_unknown

    def __str__(self) -> str:
        return one_line(str(self.args[0]), 1200)


class APITimeoutError(APIConnectionError):
    """No connection, or no whole response, in time."""


class APIStatusError(APIError):
    """The server responded with a status other than 2xx.

    Attributes:
        status_code: HTTP status.
        error_code: The service's or gateway's code, such as SVCSTG.00501116 or APIGW.0308; None if the body
            has none.
        error_msg: Its message; the body's text (at most 500 characters) if the body has none of the known
            shapes.
        detail: Location details (CSE), or None.
        request_id: From the body or the X-Request-Id header, or None.
        response: The whole response.
    """

    def __init__(self, response: Response[Any]) -> None:
        super().__init__(response)
        self.response = response
        self.attempts = response.attempts
        self.status_code: int = response.status_code
        body = _read(response.content)
        # IAM and older pages: {"error": {"code", "message", "title"}}, {"errorCode", "errorMessage"}
        self.error_code = _pick(body, "error_code", "errorCode", "code")
        message = _pick(body, "error_msg", "errorMessage", "errorMsg", "message", "title")
        self.error_msg: str = one_line(_text(response)) if message is None else message
        self.detail = _pick(body, "detail")
        self.request_id: str | None = _pick(body, "request_id") or response.headers.get("X-Request-Id")
        self.outcome_unknown = not (response.only_read or refuses(self.status_code))

    @staticmethod
    def of(response: Response[Any]) -> APIStatusError:
        """Return the error of the class that fits the status."""
        status = response.status_code
        by_status = InternalServerError if 500 <= status < 600 else APIStatusError  # noqa: PLR2004 - of HTTP
        return _BY_STATUS.get(status, by_status)(response)

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        message = self.error_msg or "no message"
        code = (
            self.error_code if self.error_code != str(self.status_code) else None
        )  # IAM's is the status again
        what = one_line(f"{self.status_code} {code or ''}").rstrip()
        return f"{what}: {one_line(message + detail)}{_quoted(self.request_id)}"


class BadRequestError(APIStatusError):
    """400: the request is wrong, or the state of the resource does not allow it."""


class AuthenticationError(APIStatusError):
    """401: missing, wrong or expired credentials, or a token of another region.

    Attributes:
        clock_ahead: Seconds that this machine's clock was ahead of the server's Date header when the error
            was made, or None without one. A signature is valid for 15 minutes either way; from 5 on, the text
            mentions it.
    """

    def __init__(self, response: Response[Any]) -> None:
        super().__init__(response)
        date = _date(response.headers.get("Date"))
        self.clock_ahead = (datetime.now(UTC) - date).total_seconds() if date else None

    def __str__(self) -> str:
        ahead = self.clock_ahead or 0.0
        if abs(ahead) < 300:  # noqa: PLR2004 - seconds, see above
            return super().__str__()
        way = "ahead of" if ahead > 0 else "behind"
        return (
            f"{super().__str__()}; this machine's clock is {abs(ahead) / 60:.0f} minutes {way} the server's"
        )


class PermissionDeniedError(APIStatusError):
    """403: the IAM user may not do this."""


class NotFoundError(APIStatusError):
    """404: no such record, task, or API."""


class MethodNotAllowedError(APIStatusError):
    """405: not a method of the path; from the gateway also a used-up quota (0501) or a frozen app (0502)."""


class RateLimitError(APIStatusError):
    """429: refused by the gateway before the service saw the request.

    Attributes:
        retry_after: Seconds to wait by the Retry-After header (a number or a date), or None. Not documented
            by Huawei Cloud, whose advice is to wait 2 to 5 seconds.
    """

    def __init__(self, response: Response[Any]) -> None:
        super().__init__(response)
        self.retry_after = _seconds(response.headers.get("Retry-After"), response.headers.get("Date"))


class InternalServerError(APIStatusError):
    """500 to 599."""


class IAMError(APIStatusError):
    """IAM gave no token: it refused, failed, or its response is none. The service was not reached.

    Has what every APIStatusError has; `error_code` is IAM's. None of its texts shows the password or a token.

    Attributes:
        outcome_unknown: Always False: nothing was sent to the service, or the service had refused it before
            with 401.
    """

    def __init__(self, response: Response[Any]) -> None:
        super().__init__(response)
        self.outcome_unknown = False

    def __str__(self) -> str:
        if self.response.problem is not None:
            return f"IAM's response has no token: {self.status_code}, but {one_line(self.response.problem)}"
        advice = _IAM_ADVICE.get(self.status_code)
        return f"IAM refused to give a token: {super().__str__()}{f'; {advice}' if advice else ''}"


class IAMAuthenticationError(IAMError, AuthenticationError):
    """401 of IAM: it does not know this user, password and account. `PasswordAuth` asks it no more."""


class APIResponseValidationError(APIError):
    """The server responded with 2xx, but not with what the contract promises.

    Most likely the retry went through; a proxy's or portal's page with status 200 looks the same, so
    outcome_unknown, unless the operation only reads.

    Attributes:
        status_code: HTTP status.
        problem: What is wrong with the response.
        request_id: From the X-Request-Id header, or None.
        response: The whole response, body kept.
    """

    def __init__(self, response: Response[Any]) -> None:
        super().__init__(response)
        self.response = response
        self.attempts = response.attempts
        self.status_code: int = response.status_code
        self.outcome_unknown = not response.only_read
        self.problem = str(response.problem)
        self.request_id: str | None = response.headers.get("X-Request-Id")

    def __str__(self) -> str:
        problem = one_line(self.problem)
        return f"{self.status_code}, but not what the contract promises: {problem}{_quoted(self.request_id)}"


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    429: RateLimitError,
}
_IAM_ADVICE = {
    401: "check user_name, password and domain_name before you try again: repeated wrong passwords lock the account",
    403: "the IAM user may not get a token: ask the administrator of the account",
    404: "check the project, and that the user may use it",
}


def succeeds(status: int) -> bool:
    """Say whether a status is 2xx."""
    return 200 <= status < 300  # noqa: PLR2004 - of HTTP


def refuses(status: int) -> bool:
    """Say whether a status means that the request was not processed.

    4xx refuses it, and 501, 503 and 505 do not take it up (RFC 9110, section 15). 499 is the gateway's for a
    caller that went away, which says nothing about the service behind it.
    """
    return (400 <= status < 500 and status != 499) or status in (501, 503, 505)  # noqa: PLR2004 - see above


def _quoted(request_id: str | None) -> str:
    return f" [request id {one_line(request_id, 100)}]" if request_id else ""


def _read(content: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    inner = fields.get("error")
    return cast("dict[str, Any]", inner) if isinstance(inner, dict) else fields


def _text(response: Response[Any]) -> str:
    start = response.content[:4096]
    charset = re.search(r"charset=[\"']?([\w-]+)", response.headers.get("Content-Type", ""))
    try:
        return start.decode(charset[1] if charset else "utf-8", errors="replace")
    # An unknown charset, or one that cannot replace what it does not know.
    except (
        LookupError,
        UnicodeError,
    ):
        return start.decode(errors="replace")


def _pick(body: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = body.get(name)
        if type(value) in (str, int) and value != "":
            return mask_headers(str(value))
    return None


def _seconds(value: str | None, date: str | None) -> float | None:
    """Read Retry-After; a date is compared with the server's own clock if there is one."""
    if value is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return float(value)
    then, now = _date(value), _date(date) or datetime.now(UTC)
    return max(0.0, (then - now).total_seconds()) if then else None


def _date(value: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(value or "")
    except (ValueError, TypeError, OverflowError):  # TypeError: not a date at all, in some versions of Python
        return None
    return date if date.tzinfo else None
