"""The exceptions of connecting and calling.

    ConfigurationError (ValueError)       a setting is missing or wrong
    APIError                              outcome_unknown: may the request have been processed?
    ├── APIRequestValidationError         the contract does not allow the request (ValueError, too)
    ├── APIConnectionError                no response: no connection, or it broke
    │   └── APITimeoutError               no response in time
    ├── APIStatusError                    status_code, error_code, error_msg, detail, request_id, response
    │   ├── BadRequestError               400
    │   ├── AuthenticationError           401
    │   ├── PermissionDeniedError         403
    │   ├── NotFoundError                 404
    │   ├── MethodNotAllowedError         405
    │   ├── RateLimitError                429, retry_after
    │   ├── InternalServerError           500 to 599
    │   └── IAMError                      IAM gave no token
    │       └── IAMAuthenticationError    IAM responded 401 (AuthenticationError, too)
    └── APIResponseValidationError        2xx, but not what the contract promises

Each error has a text of one line, can be pickled and copied, and holds only method and URL of the request.
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
    """A setting is missing or wrong. The text says which, where it was looked for, and what to do."""


class APIError(Exception):
    """Any failure of a call.

    Attributes:
        outcome_unknown: True: the request may have been processed, but no response says so. Look at the task
            or job before you resend it. False: it was not processed, or it only reads (GET or HEAD) and can
            be resent at any time.
        attempts: The number of attempts to send the request; above 1 only if it was resent.
    """

    outcome_unknown: bool = True
    attempts: int = 1

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class APIRequestValidationError(APIError, ValueError):
    """The contract does not allow this request. Raised with `check_contract="raise"`; nothing was sent.

    The text names each wrong place in the request and shows none of its values.

    Attributes:
        outcome_unknown: Always False.
        attempts: Always 0.
    """

    outcome_unknown = False
    attempts = 0


class APIConnectionError(APIError):
    """No response: no connection, or it broke. `__cause__` is httpx's exception, unless it shows a secret."""

    def __init__(self, message: str, outcome_unknown: bool) -> None:
        super().__init__(message, outcome_unknown)
        self.outcome_unknown = outcome_unknown

    def __str__(self) -> str:
        return one_line(str(self.args[0]), 1200)


class APITimeoutError(APIConnectionError):
    """No connection, or no complete response, in time."""


class APIStatusError(APIError):
    """The server responded with a status other than 2xx.

    Attributes:
        status_code: HTTP status.
        error_code: The service's or gateway's code, such as SVCSTG.00501116 or APIGW.0308; None if the body
            has none.
        error_msg: Its message; the body's text (at most 500 characters) if the body's format is unknown.
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
        self.outcome_unknown = not (response.read_only or refuses(self.status_code))

    @staticmethod
    def of(response: Response[Any]) -> APIStatusError:
        """Return the error for the response's status."""
        status = response.status_code
        by_status = InternalServerError if 500 <= status < 600 else APIStatusError  # noqa: PLR2004 - HTTP's
        return _BY_STATUS.get(status, by_status)(response)

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        message = self.error_msg or "no message"
        what = str(self.status_code)
        if self.error_code and self.error_code != what:  # IAM repeats the status as its code
            what = one_line(f"{what} {self.error_code}").rstrip()
        return f"{what}: {one_line(message + detail)}{_request_id_text(self.request_id)}"


class BadRequestError(APIStatusError):
    """400: the request is wrong, or the state of the resource does not allow it."""


class AuthenticationError(APIStatusError):
    """401: missing, wrong or expired credentials, or a token of another region.

    Attributes:
        clock_ahead: Seconds by which this machine's clock was ahead of the server's Date header when the
            error was created; None without that header. Signatures are valid for 15 minutes before and
            after; from 5 minutes on, the text mentions the difference.
    """

    def __init__(self, response: Response[Any]) -> None:
        super().__init__(response)
        date = _date(response.headers.get("Date"))
        self.clock_ahead = (datetime.now(UTC) - date).total_seconds() if date else None

    def __str__(self) -> str:
        ahead = self.clock_ahead or 0.0
        if abs(ahead) < 300:  # noqa: PLR2004 - seconds, see above
            return super().__str__()
        difference = f"{abs(ahead) / 60:.0f} minutes {'ahead of' if ahead > 0 else 'behind'}"
        return f"{super().__str__()}; this machine's clock is {difference} the server's"


class PermissionDeniedError(APIStatusError):
    """403: the IAM user may not do this."""


class NotFoundError(APIStatusError):
    """404: no such record, task, or API."""


class MethodNotAllowedError(APIStatusError):
    """405: the path does not have this method; or the gateway: quota used up (0501), app frozen (0502)."""


class RateLimitError(APIStatusError):
    """429: the gateway refused the request; the service did not receive it.

    Attributes:
        retry_after: Seconds to wait, from the Retry-After header (a number or a date), or None. Huawei Cloud
            does not document the header; its advice is to wait 2 to 5 seconds.
    """

    def __init__(self, response: Response[Any]) -> None:
        super().__init__(response)
        self.retry_after = _seconds(response.headers.get("Retry-After"), response.headers.get("Date"))


class InternalServerError(APIStatusError):
    """500 to 599."""


class IAMError(APIStatusError):
    """IAM gave no token: it refused or failed, or its response has none. The service processed nothing.

    Has the attributes of APIStatusError; `error_code` is IAM's. No text shows the password or a token.

    Attributes:
        outcome_unknown: Always False: nothing was sent to the service, or the service responded 401.
    """

    def __init__(self, response: Response[Any]) -> None:
        super().__init__(response)
        self.outcome_unknown = False

    def __str__(self) -> str:
        if self.response.problem is not None:
            return f"IAM's response has no token: {self.status_code}, but {one_line(self.response.problem)}"
        text = f"IAM refused to give a token: {super().__str__()}"
        advice = _IAM_ADVICE.get(self.status_code)
        return f"{text}; {advice}" if advice else text


class IAMAuthenticationError(IAMError, AuthenticationError):
    """401 of IAM: user, password or account is wrong. `PasswordAuth` sends no more requests to IAM."""


class APIResponseValidationError(APIError):
    """The server responded with 2xx, but not with what the contract promises.

    Most likely the retry was accepted. But a page of a proxy or login portal with status 200 looks the same,
    so outcome_unknown is True, unless the operation only reads.

    Attributes:
        status_code: HTTP status.
        problem: What is wrong with the response.
        request_id: From the X-Request-Id header, or None.
        response: The whole response, with its body.
    """

    def __init__(self, response: Response[Any]) -> None:
        super().__init__(response)
        self.response = response
        self.attempts = response.attempts
        self.status_code: int = response.status_code
        self.outcome_unknown = not response.read_only
        self.problem = str(response.problem)
        self.request_id: str | None = response.headers.get("X-Request-Id")

    def __str__(self) -> str:
        problem = one_line(self.problem)
        request_id = _request_id_text(self.request_id)
        return f"{self.status_code}, but not what the contract promises: {problem}{request_id}"


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    429: RateLimitError,
}
_IAM_ADVICE = {
    401: (
        "check user_name, password and domain_name before you try again: "
        "repeated wrong passwords lock the account"
    ),
    403: "the IAM user may not get a token: ask the administrator of the account",
    404: "check the project, and that the user may use it",
}


def succeeds(status: int) -> bool:
    """Return whether a status is 2xx."""
    return 200 <= status < 300  # noqa: PLR2004 - HTTP's


def refuses(status: int) -> bool:
    """Return whether a status means that the request was not processed.

    These are 4xx, 501, 503 and 505 (RFC 9110, section 15), but not 499: the gateway logs it when the caller
    disconnects, and the service may have processed the request.
    """
    return (400 <= status < 500 and status != 499) or status in (501, 503, 505)  # noqa: PLR2004 - see above


def _request_id_text(request_id: str | None) -> str:
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
    except (LookupError, UnicodeError):  # an unknown charset, or one without errors="replace"
        return start.decode(errors="replace")


def _pick(body: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = body.get(name)
        if type(value) in (str, int) and value != "":
            return mask_headers(str(value))
    return None


def _seconds(value: str | None, date: str | None) -> float | None:
    """Read Retry-After. A date is compared with the server's clock, if there is a Date header."""
    if value is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return float(value)
    then, now = _date(value), _date(date) or datetime.now(UTC)
    return max(0.0, (then - now).total_seconds()) if then else None


def _date(value: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(value or "")
    except (ValueError, TypeError, OverflowError):  # TypeError: not a date, in some versions of Python
        return None
    return date if date.tzinfo else None
