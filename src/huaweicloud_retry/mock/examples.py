"""Answers as the spec shows them: to operations without a handler, and to whoever prefers one (`Prefer: code=503`)."""

import json
import re

from huaweicloud_retry.contract import Operation

from .answer import Answer, Refusal

# `Prefer: code=404, example=NAME`, as Prism's users know it; other preferences are ignored, as RFC 7240 asks.
_PREFERENCE = re.compile(r"""\s*([^=,;\s]+)\s*(?:=\s*("[^"]*"|[^,;\s]*))?\s*(?:[,;]|\s|$)""")


def shown(operation: Operation, status: int | None = None, name: str | None = None) -> Answer:
    """Return an answer of the spec's, by default the successful one.

    Raises:
        LookupError: the spec has no such status or example; the text says which it has.
    """
    example = operation.example(status, name)
    allow = {"Allow": operation.method} if example.status == 405 else {}  # noqa: PLR2004 - RFC 9110 asks for it
    return Answer(example.status, example.body, {**allow, **example.headers})


def preferred(operation: Operation, prefer: str) -> Answer | None:
    """Return the answer that a `Prefer` header asks for; None if it asks for none.

    Raises:
        Refusal: the spec has no such status or example.
    """
    wishes: dict[str, str] = {}
    for name, value in _PREFERENCE.findall(prefer):
        if value:
            wishes.setdefault(name.lower(), value.strip('"'))  # the first of a name counts
    code = wishes.get("code")
    if code is None and "example" not in wishes:
        return None
    if code is not None and not re.fullmatch("[0-9]{3}", code):
        raise Refusal("malformed", "Bad request: header Prefer: the code must be a status, such as code=503")
    try:
        return shown(operation, int(code) if code else None, wishes.get("example"))
    except LookupError as error:
        raise Refusal("malformed", f"Bad request: header Prefer: {error.args[0]}") from error


def successful(operation: Operation) -> Answer:
    """Return the spec's example of success, which must keep its own schema.

    Raises:
        Refusal: it does not, or there is none: the spec is at fault.
    """
    try:
        answer = shown(operation)
    except LookupError as error:
        raise _spec_at_fault(operation, str(error.args[0])) from error
    content = b"" if answer.body is None else json.dumps(answer.body).encode()
    headers = {"Content-Type": "application/json", **answer.headers}
    if problems := operation.check_response(answer.status, headers, content):
        raise _spec_at_fault(operation, f"that for {answer.status} breaks its own schema: {problems[0]}")
    return answer


def _spec_at_fault(operation: Operation, why: str) -> Refusal:
    what = f"Unexpected error: the mock answers {operation.id} from the spec's examples, but {why}"
    return Refusal("unexpected", what)
