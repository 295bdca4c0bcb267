"""Recorded traffic, a HAR file -> how it deviates from the contract.

The format, 1.2: https://w3c.github.io/web-performance/specs/HAR/Overview.html
A HAR of a browser holds the traffic of many pages, so an entry is only of this contract if its path is, whatever the host and
whatever stands before the path. Credentials are not looked at: exporters leave them out, so that their absence says nothing.
No finding quotes a value of a body, a parameter or a header other than Content-Type.
"""

import binascii
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from .contract import Contract, Match, Problem, WrongMethod
from .parsing import Json, UnreadableError, shorten

# Which part of a HAR's request or response a problem is in, by the first word of its place.
_OF_REQUEST = {"path": "url", "query": "url", "header": "headers", "body": "postData"}
_OF_RESPONSE = {"status": "status", "header": "headers", "body": "content"}


class Finding(NamedTuple):
    """Something to say about an entry."""

    where: str
    """A JSON pointer into the HAR."""
    operation: str
    what: str
    deviates: bool = True
    """False: it could not be checked."""

    def __str__(self) -> str:
        return f"{self.where}: {self.operation}: {self.what}"


@dataclass(slots=True)
class Report:
    """What came of checking a HAR."""

    findings: list[Finding] = field(default_factory=list[Finding])
    """In the order of the file."""
    requests: Counter[str] = field(default_factory=Counter[str])
    """How many there were, by operation."""
    passed_over: int = 0
    """Entries that are not of the contract."""

    def deviations(self, operation: str | None = None) -> int:
        """Count those of an operation, or all."""
        return sum(f.deviates and operation in {None, f.operation} for f in self.findings)


def check(raw: bytes, contract: Contract) -> Report:
    """Hold each request and response of a HAR against a contract.

    Args:
        raw: the file.
        contract: one loaded with `hide_values`, if the findings are for other eyes than the file.

    Raises:
        UnreadableError: it is no HAR; the text says where it is none.
    """
    report = Report()
    for number, entry in enumerate(_entries(raw)):
        where = f"/log/entries/{number}"
        request = _member(entry, "request", where)
        method, url = request.get("method"), request.get("url")
        if not (isinstance(method, str) and isinstance(url, str)):
            raise UnreadableError(f"is no HAR: {where}/request must have a method and a url")
        path, query = _split(url)
        found = None if method == "OPTIONS" else _match(contract, method, path)  # a browser asks so before it sends
        if found is None:
            report.passed_over += 1
        elif isinstance(found, WrongMethod):
            operation = " or ".join(each.id for each in found.operations)
            report.requests[operation] += 1
            what = f"{shorten(method)!r} is not documented; the path has {found.allowed}"
            report.findings.append(Finding(f"{where}/request/method", operation, what))
        else:
            report.requests[found.operation.id] += 1
            report.findings += _check_request(f"{where}/request", found, query, request)
            report.findings += _check_response(f"{where}/response", found, _member(entry, "response", where))
    return report


def _entries(raw: bytes) -> Sequence[Json]:
    try:
        # More lenient than read_json, which is for the bodies within: what a stranger's page sent need not be whole text.
        document: Json = json.loads(raw)
    except RecursionError as error:
        raise UnreadableError("is nested too deeply") from error
    except ValueError as error:
        raise UnreadableError(f"is not JSON: {error}") from error
    match document:
        case {"log": {"entries": list(entries)}}:
            return entries
        case _:
            raise UnreadableError("is no HAR: there is no list at /log/entries")


def _member(holder: Json, name: str, where: str) -> dict[str, Json]:
    member = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(member, dict):
        raise UnreadableError(f"is no HAR: there is no object at {where}/{name}")
    return member


def _split(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
    except ValueError:  # which is nobody's path
        return "", ""
    return parts.path, parts.query


def _match(contract: Contract, method: str, path: str) -> Match | WrongMethod | None:
    """Find the operation, behind whatever path a base URL has."""
    segments = path.split("/")[1:]
    for count in sorted({operation.path.count("/") for operation in contract.operations}, reverse=True):
        if found := contract.match(method, "/" + "/".join(segments[-count:])):
            return found
    return None


def _check_request(where: str, found: Match, query: str, request: dict[str, Json]) -> Iterator[Finding]:
    operation = found.operation
    body = _sent(request, f"{where}/postData")
    checked = operation.check_request(found.path_params, query, _headers(request, where), body or b"")
    yield from _findings(where, _OF_REQUEST, operation.id, checked.problems, body)


def _check_response(where: str, found: Match, response: dict[str, Json]) -> Iterator[Finding]:
    operation, status = found.operation, response.get("status")
    if not isinstance(status, int):
        raise UnreadableError(f"is no HAR: {where}/status is no whole number")
    if status <= 0:  # blocked, aborted or without connection; 0 in browsers, -1 in Playwright
        yield Finding(where, operation.id, "no answer came, so none was checked", deviates=False)
        return
    body = _received(response, f"{where}/content")
    problems = operation.check_response(status, _headers(response, where), body or b"")
    yield from _findings(where, _OF_RESPONSE, operation.id, problems, body)


def _findings(
    where: str, parts: dict[str, str], operation: str, problems: Iterable[Problem], body: bytes | None
) -> Iterator[Finding]:
    for problem in problems:
        part = problem.where.partition(" ")[0]
        if part != "body" or body is not None:
            yield Finding(f"{where}/{parts[part]}", operation, str(problem))
    if body is None:
        what = "the body was not recorded, so it was not checked"
        yield Finding(f"{where}/{parts['body']}", operation, what, deviates=False)


def _headers(message: dict[str, Json], where: str) -> dict[str, str]:
    """Return the headers in small letters; those given more than once joined, as HTTP reads them."""
    headers = message.get("headers")
    if not isinstance(headers, list):
        raise UnreadableError(f"is no HAR: there is no list at {where}/headers")
    values: dict[str, dict[str, None]] = {}
    for number, header in enumerate(headers):
        match header:
            case {"name": str(name), "value": str(value)}:
                values.setdefault(name.lower(), {})[value] = None  # once: exporters may write down two views of one
            case _:
                raise UnreadableError(f"is no HAR: {where}/headers/{number} must have a name and a value")
    return {name: ", ".join(several) for name, several in values.items()}


def _sent(request: dict[str, Json], where: str) -> bytes | None:
    """Return the body of a request; None if it was not recorded."""
    data = request.get("postData")
    body = _text(data, where)
    if body is None and isinstance(data, dict) and data.get("params"):
        return b"name=value"  # a form, of which HAR keeps no text: this is enough to see that it is no JSON
    return b"" if body is None and request.get("bodySize") == 0 else body


def _received(response: dict[str, Json], where: str) -> bytes | None:
    """Return the body of a response, unpacked; None if it was not recorded."""
    content = response.get("content")
    body = _text(content, where)
    return b"" if body is None and isinstance(content, dict) and content.get("size") == 0 else body


def _text(holder: Json, where: str) -> bytes | None:
    """Return what is written down of a body; of none or nothing, only the size says whether there was one."""
    text, encoding = (holder.get("text"), holder.get("encoding")) if isinstance(holder, dict) else (None, None)
    if not isinstance(text, str) or not text:
        return None
    if not encoding:
        return text.encode(errors="surrogatepass")
    if encoding != "base64":
        raise UnreadableError(f"is no HAR: {where}/encoding is none that is understood, which is base64")
    try:
        return binascii.a2b_base64(text)
    except ValueError as error:
        raise UnreadableError(f"is no HAR: {where}/text is not base64") from error
