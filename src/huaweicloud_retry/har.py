"""Recorded traffic, a HAR file -> how it deviates from the contract.

The format, 1.2: https://w3c.github.io/web-performance/specs/HAR/Overview.html
A HAR of a browser holds the traffic of many pages, so an entry is only of this contract if its path is, whatever the host and
whatever stands before the path. Credentials are not looked at: exporters leave them out, so that their absence says nothing.
No finding quotes a value of a body, a parameter or a header other than Content-Type.
"""

import binascii
import json
import re
import zlib
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
_NOT_RECORDED = "was not recorded, or not whole"
_LARGEST = 1 << 24  # bytes of a body, unpacked; those of the contract have a few hundred
_ZLIB_FORMATS = {
    "gzip": (31,),
    "x-gzip": (31,),
    "deflate": (15, -15),
}  # wbits; senders differ on what deflate is
_BINARY = re.compile(
    rb"[\0-\x08\x0e-\x1f]|\xef\xbf\xbd"
)  # the latter is U+FFFD, in place of a byte that is no text


class _OddError(Exception):
    """A part of an entry is not as HAR has it: its JSON pointer, and in what."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(where, what)
        self.where, self.what = where, what


class Finding(NamedTuple):
    """Something to say about an entry."""

    where: str
    """A JSON pointer into the HAR."""
    operation: str
    """Empty if the entry is too odd to tell."""
    what: str
    deviates: bool = True
    """False: it could not be checked."""

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.where, self.operation, self.what)))


@dataclass(slots=True)
class Report:
    """What came of checking a HAR."""

    findings: list[Finding] = field(default_factory=list[Finding])
    """In the order of the file."""
    requests: Counter[str] = field(default_factory=Counter[str])
    """How many were checked in whole or in part, by operation."""
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
        try:
            _check_entry(where, entry, contract, report)
        except _OddError as error:
            report.findings.append(_unchecked(error, "", "entry"))
    return report


def _check_entry(where: str, entry: Json, contract: Contract, report: Report) -> None:
    request = _member(entry, "request", where)
    method, url = request.get("method"), request.get("url")
    if not (isinstance(method, str) and isinstance(url, str)):
        raise _OddError(f"{where}/request", "has no method or no url")
    path, query = _split(url)
    found = (
        None if method == "OPTIONS" else _match(contract, method, path)
    )  # a browser asks so before it sends
    if found is None:
        report.passed_over += 1
        return
    if isinstance(found, WrongMethod):
        operation = " or ".join(each.id for each in found.operations)
        report.requests[operation] += 1
        what = (
            f"{shorten(method)!r} is not documented; the path has {found.allowed}; the answer was not checked"
        )
        report.findings.append(Finding(f"{where}/request/method", operation, what))
        return
    operation, checked = found.operation.id, False
    parts = {
        "request": _check_request(where, found, query, request),
        "response": _check_response(where, found, entry),
    }
    for name, findings in parts.items():
        try:
            report.findings += findings
            checked = True
        except _OddError as error:
            report.findings.append(_unchecked(error, operation, name))
    if checked:
        report.requests[operation] += 1


def _unchecked(error: _OddError, operation: str, part: str) -> Finding:
    return Finding(error.where, operation, f"{error.what}, so the {part} was not checked", deviates=False)


def _entries(raw: bytes) -> Sequence[Json]:
    for magic, kind in ((b"PK\3\4", "a zip archive"), (b"\x1f\x8b", "compressed with gzip")):
        if raw.startswith(magic):
            raise UnreadableError(f"is {kind}: unpack it first")
    try:
        # More lenient than read_json, which is for the bodies within: what a stranger's page sent need not be text.
        document: Json = json.loads(raw.decode(json.detect_encoding(raw), "replace"), strict=False)
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
        raise _OddError(f"{where}/{name}", "is no object")
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


def _check_request(entry_at: str, found: Match, query: str, request: dict[str, Json]) -> Iterator[Finding]:
    operation, where = found.operation, f"{entry_at}/request"
    body = _sent(request, f"{where}/postData")
    headers, content = _headers(request, "postData", where), b"" if isinstance(body, str) else body
    checked = operation.check_request(found.path_params, query, headers, content)
    yield from _findings(where, _OF_REQUEST, operation.id, checked.problems, body)


def _check_response(entry_at: str, found: Match, entry: Json) -> Iterator[Finding]:
    response, where = _member(entry, "response", entry_at), f"{entry_at}/response"
    operation, status = found.operation, response.get("status")
    if not isinstance(status, int) or isinstance(status, bool):
        raise _OddError(f"{where}/status", "is no whole number")
    if status <= 0:  # blocked, aborted or without connection; 0 in browsers, -1 in Playwright
        yield Finding(where, operation.id, "no answer came, so none was checked", deviates=False)
        return
    headers = _headers(response, "content", where)
    body = _received(response, f"{where}/content", headers.get("content-encoding", ""))
    content = b"" if isinstance(body, str) else body
    problems = operation.check_response(status, headers, content)
    if _size(response) > len(content) and any(p.where == "body" and p.malformed for p in problems):
        body = _NOT_RECORDED if isinstance(body, bytes) else body  # cut by the exporter
    yield from _findings(where, _OF_RESPONSE, operation.id, problems, body)


def _findings(
    where: str, parts: dict[str, str], operation: str, problems: Iterable[Problem], body: bytes | str
) -> Iterator[Finding]:
    for problem in problems:
        part = problem.where.partition(" ")[0]
        if part != "body" or isinstance(body, bytes):
            yield Finding(f"{where}/{parts[part]}", operation, str(problem))
    if isinstance(body, str):
        what = f"the body {body}, so it was not checked"
        yield Finding(f"{where}/{parts['body']}", operation, what, deviates=False)


def _headers(message: dict[str, Json], content: str, where: str) -> dict[str, str]:
    """Return the headers in lower case; those given more than once joined, as HTTP reads them.

    Some exporters leave all of them out, browsers some of a request's, and say only what `content` is.
    """
    headers = message.get("headers")
    if not isinstance(headers, list):
        raise _OddError(f"{where}/headers", "is no list")
    values: dict[str, dict[str, None]] = {}
    for number, header in enumerate(headers):
        match header:
            case {"name": str(name), "value": str(value)}:
                values.setdefault(name.lower(), {})[value] = (
                    None  # once: exporters may write down two views of one
                )
            case _:
                raise _OddError(f"{where}/headers/{number}", "has no name or no value")
    match message.get(content):
        case {"mimeType": str(media_type)} if media_type and (content == "postData" or not values):
            values.setdefault("content-type", {media_type: None})
        case _:
            pass
    # Two views may spell the Content-Type differently; it cannot have two values.
    return {
        name: next(iter(each)) if name == "content-type" else ", ".join(each) for name, each in values.items()
    }


def _sent(request: dict[str, Json], where: str) -> bytes | str:
    """Return the body of a request, or why it cannot be checked."""
    data = request.get("postData")
    body = _text(data, where)
    if body is None and isinstance(data, dict) and data.get("params"):
        return b"name=value"  # a form, of which HAR keeps no text: this is enough to see that it is no JSON
    if body is None:
        return b"" if request.get("bodySize") == 0 else _NOT_RECORDED
    return body


def _received(response: dict[str, Json], where: str, encodings: str) -> bytes | str:
    """Return the body of a response, unpacked, or why it cannot be checked."""
    body = _text(response.get("content"), where)
    if body is None:
        # A size of 0 alone may also be that of a body which the browser kept no longer.
        return b"" if _size(response) == 0 and response.get("bodySize") == 0 else _NOT_RECORDED
    for encoding in reversed(encodings.lower().split(",")):
        if not _is_packed(body):  # most exporters unpack it, and keep the header
            break
        unpacked = _unpacked(body, encoding.strip())
        if isinstance(unpacked, str):
            return unpacked
        body = unpacked
    return body


def _is_packed(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return True
    return _BINARY.search(body[:16]) is not None


def _unpacked(body: bytes, encoding: str) -> bytes | str:
    """Undo one Content-Encoding; returns why not, if it cannot be done."""
    if encoding in {"", "identity"}:
        return body
    for wbits in _ZLIB_FORMATS.get(encoding, ()):
        unpacker = zlib.decompressobj(wbits)
        try:
            unpacked = unpacker.decompress(body, _LARGEST)
        except zlib.error:
            continue
        if unpacker.eof:
            return unpacked
        return _NOT_RECORDED if len(unpacked) < _LARGEST else f"has more than {_LARGEST} bytes, unpacked"
    name = encoding if encoding in {*_ZLIB_FORMATS, "br", "zstd"} else "an encoding"
    return f"is packed with {name} and could not be unpacked"


def _size(response: dict[str, Json]) -> int:
    """Return how long the body was, unpacked; -1 if that is not known."""
    match response.get("content"):
        case {"size": int(size)}:
            return size
        case _:
            return -1


def _text(holder: Json, where: str) -> bytes | None:
    """Return what is written down of a body; of none or nothing, only the size says whether there was one."""
    text, encoding = (
        (holder.get("text"), holder.get("encoding")) if isinstance(holder, dict) else (None, None)
    )
    if not isinstance(text, str) or not text:
        return None
    if not encoding:
        return text.encode(errors="surrogatepass")
    if encoding != "base64":
        raise _OddError(f"{where}/encoding", "is none that is understood, which is base64")
    try:
        return binascii.a2b_base64(text)
    except ValueError as error:
        raise _OddError(f"{where}/text", "is not base64") from error
