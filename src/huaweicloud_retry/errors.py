"""What is raised before a service is called: settings and requests that will not do, IAM's refusals to give a token."""

import json
import re
from html.entities import codepoint2name

import httpx

from huaweicloud_retry_client.errors import APIError, APIStatusError, AuthenticationError
from huaweicloud_retry_client.types import Response

__all__ = ["APIRequestValidationError", "ConfigurationError", "IAMAuthenticationError", "IAMError"]

_KEPT = 1 << 20  # bytes of a body, as in the client
_UNAUTHORIZED = 401
_ENTITIES = {**codepoint2name, ord("'"): "apos"}
_ADVICE = {
    _UNAUTHORIZED: "check user_name, password and domain_name before you try again: repeated wrong passwords lock the account",
    403: "the IAM user may not get a token: ask the administrator of the account",
    404: "check project_id or project_name, and that the user may use this project",
}


class ConfigurationError(ValueError):
    """A setting is missing or wrong: which one, where it was looked for, and what to do. The text shows no secret."""


class APIRequestValidationError(APIError, ValueError):
    """The contract does not allow this request, and `connect(…, check_contract="raise")` was told to mind. It was not sent.

    The text names each place in the request and shows none of its values.

    Attributes:
        outcome_unknown: always False.
        attempts: always 0.
    """

    outcome_unknown = False
    attempts = 0


class IAMError(APIStatusError):
    """IAM answered, but not with a token: it refused, failed, or cannot be understood. The service was not reached.

    Has what every APIStatusError has; `error_code` is IAM's. None of its texts shows the password or a token.

    Attributes:
        outcome_unknown: always False: the service was sent nothing, or had refused the request before with 401.
    """

    def __init__(self, response: Response[None]) -> None:
        super().__init__(response)
        self.outcome_unknown = False

    def __str__(self) -> str:
        if self.response.problem is not None:
            return f"IAM's answer is no token: {self.status_code}, but {self.response.problem}"
        advice = _ADVICE.get(self.status_code)
        return f"IAM refused to give a token: {super().__str__()}{f'; {advice}' if advice else ''}"


class IAMAuthenticationError(IAMError, AuthenticationError):
    """401 of IAM: it does not know this user, password and account. The object that asked will not ask it again."""


def kept(answer: httpx.Response, body: bytes, *, secret: str = "", problem: str | None = None) -> Response[None]:
    """Return what an error may hold of an answer, whose token is taken out: not a secret that it echoes."""
    body = masked(body, secret)[:_KEPT]
    return Response(status_code=answer.status_code, headers=answer.headers, content=body, problem=problem)


def masked(text: bytes, secret: str) -> bytes:
    """Put *** for a secret, as it is or escaped by the rules of JSON, HTML or URLs, each character in any of these ways."""
    return re.sub(b"".join(map(_escaped, secret)), b"***", text) if secret else text


def _escaped(char: str) -> bytes:
    """Return a pattern of the ways to write a character."""
    plain, code, utf_16 = char.encode(), ord(char), char.encode("utf-16-be")
    units = b"".join(rb"\\{1,4}u%02x%02x" % (high, low) for high, low in zip(utf_16[::2], utf_16[1::2], strict=True))
    percent = b"".join(b"%%%02x" % byte for byte in plain)
    entity = rb"&(?:#0*%d|#x0*%x|%s);" % (code, code, _ENTITIES.get(code, "#").encode())
    in_json = json.dumps(char)[1:-1].encode()
    return rb"(?:\\{0,4}%s|%s|(?i:%s|%s|%s))" % (re.escape(plain), re.escape(in_json), units, percent, entity)


def iam_error(response: Response[None]) -> IAMError:
    """Return the error of the class that fits the status."""
    return (IAMAuthenticationError if response.status_code == _UNAUTHORIZED else IAMError)(response)


def error_code(answer: httpx.Response, body: bytes) -> str:
    """Return the code in an error body of any of the known shapes, or nothing."""
    return APIStatusError(kept(answer, body)).error_code or ""
