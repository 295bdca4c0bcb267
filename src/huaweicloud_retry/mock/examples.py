"""Responses from the spec's examples: for operations without a handler, and for `Prefer: code=503`."""

import json
import re

from huaweicloud_retry.contract import Operation

from .response import MockResponse, Refusal

# `Prefer: code=404, example=NAME`, as in Prism. Other preferences are ignored, as RFC 7240 requires.
_PREFERENCE = re.compile(r"""\s*([^=,;\s]+)\s*(?:=\s*("[^"]*"|[^,;\s]*))?\s*(?:[,;]|\s|$)""")


def from_example(operation: Operation, status: int | None = None, name: str | None = None) -> MockResponse:
    """Return the response that the spec shows, by default the successful one.

    Raises:
        LookupError: The spec has no such status or example; the message lists those it has.
    """
    example = operation.example(status, name)
    allow = {"Allow": operation.method} if example.status == 405 else {}  # noqa: PLR2004 - RFC 9110 requires it
    return MockResponse(example.status, example.body, {**allow, **example.headers})


def preferred(operation: Operation, prefer: str) -> MockResponse | None:
    """Return the response that a `Prefer` header selects; None if it selects none.

    Raises:
        Refusal: The spec has no such status or example.
    """
    preferences: dict[str, str] = {}
    for name, value in _PREFERENCE.findall(prefer):
        if value:
            preferences.setdefault(name.lower(), value.strip('"'))  # the first one of a name counts
    code = preferences.get("code")
    if code is None and "example" not in preferences:
        return None
    if code is not None and not re.fullmatch("[0-9]{3}", code):
        raise Refusal("malformed", "Bad request: header Prefer: the code must be a status, such as code=503")
    try:
        return from_example(operation, int(code) if code else None, preferences.get("example"))
    except LookupError as error:
        raise Refusal("malformed", f"Bad request: header Prefer: {error.args[0]}") from error


def successful(operation: Operation) -> MockResponse:
    """Return the spec's example of success.

    Raises:
        Refusal: The spec has none, or its example does not match its schema.
    """
    try:
        response = from_example(operation)
    except LookupError as error:
        raise _bad_example(operation, str(error.args[0])) from error
    content = b"" if response.body is None else json.dumps(response.body).encode()
    headers = {"Content-Type": "application/json", **response.headers}
    if problems := operation.check_response(response.status, headers, content):
        what = f"the one for {response.status} does not match its schema: {problems[0]}"
        raise _bad_example(operation, what)
    return response


def _bad_example(operation: Operation, why: str) -> Refusal:
    what = f"Unexpected error: the response of {operation.id} is the spec's example, but {why}"
    return Refusal("unexpected", what)
