"""Checks recorded traffic, a HAR file, against the contract.

The format, 1.2: https://w3c.github.io/web-performance/specs/HAR/Overview.html
A browser records many pages: an entry is checked if its path ends with a path of the contract, on any host.
Credentials are not checked: exporters leave them out.
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

# The part of a HAR's request or response, by the first word of a problem's place.
_OF_REQUEST = {"path": "url", "query": "url", "header": "headers", "body": "postData"}
_OF_RESPONSE = {"status": "status", "header": "headers", "body": "content"}
_NOT_RECORDED = "was not recorded, or only in part"
_MAX_BODY = 1 << 24  # bytes after decompression; the bodies of the contract have a few hundred
_WBITS = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}  # of zlib; deflate has two forms in practice
_BINARY = re.compile(rb"[\0-\x08\x0e-\x1f]|\xef\xbf\xbd")  # the last is U+FFFD, in place of an invalid byte


class _EntryError(Exception):
    """A part of an entry is invalid: its JSON pointer, and the reason."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(where, what)
        self.where, self.what = where, what


class Finding(NamedTuple):
    """A deviation of an entry, or a part that cannot be checked."""

    where: str
    """A JSON pointer into the HAR."""
    operation: str
    """Empty if the entry is invalid."""
    what: str
    deviates: bool = True
    """False: it could not be checked."""

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.where, self.operation, self.what)))


@dataclass(slots=True)
class Report:
    """The result of checking a HAR."""

    findings: list[Finding] = field(default_factory=list[Finding])
    """In the order of the file."""
    requests: Counter[str] = field(default_factory=Counter[str])
    """How many were checked, at least in part, by operation."""
    skipped: int = 0
    """Entries that are not for an operation of the contract."""

    def deviations(self, operation: str | None = None) -> int:
        """Count the deviations of an operation, or all."""
        return sum(f.deviates and operation in {None, f.operation} for f in self.findings)


def check(raw: bytes, contract: Contract) -> Report:
    """Check each request and response of a HAR against a contract.

    Args:
        raw: The file's bytes.
        contract: Load it with `hide_values`, if others than the owner of the file see the findings.

    Raises:
        UnreadableError: It is not a HAR; the message explains where.
    """
    report = Report()
    for number, entry in enumerate(_entries(raw)):
        where = f"/log/entries/{number}"
        try:
            _check_entry(where, entry, contract, report)
        except _EntryError as error:
            report.findings.append(_unchecked(error, "", "entry"))
    return report


def _check_entry(where: str, entry: Json, contract: Contract, report: Report) -> None:
    request = _member(entry, "request", where)
    method, url = request.get("method"), request.get("url")
    if not (isinstance(method, str) and isinstance(url, str)):
        raise _EntryError(f"{where}/request", "has no method or no url")
    path, query = _split(url)
    # OPTIONS: a CORS preflight request of the browser.
    found = None if method == "OPTIONS" else _match(contract, method, path)
    if found is None:
        report.skipped += 1
        return
    if isinstance(found, WrongMethod):
        operation = " or ".join(each.id for each in found.operations)
        report.requests[operation] += 1
        what = f"{shorten(method)!r} is not documented; the path has {found.allowed}"
        what += "; the response was not checked"
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
        except _EntryError as error:
            report.findings.append(_unchecked(error, operation, name))
    if checked:
        report.requests[operation] += 1


def _unchecked(error: _EntryError, operation: str, part: str) -> Finding:
    return Finding(error.where, operation, f"{error.what}, so the {part} was not checked", deviates=False)


def _entries(raw: bytes) -> Sequence[Json]:
    for magic, kind in ((b"PK\3\4", "a zip archive"), (b"\x1f\x8b", "compressed with gzip")):
        if raw.startswith(magic):
            raise UnreadableError(f"is {kind}: unpack it first")
    try:
        # More lenient than read_json, which parses bodies: other pages may have sent invalid text.
        document: Json = json.loads(raw.decode(json.detect_encoding(raw), "replace"), strict=False)
    except RecursionError as error:
        raise UnreadableError("is nested too deeply") from error
    except ValueError as error:
        raise UnreadableError(f"is not JSON: {error}") from error
    match document:
        case {"log": {"entries": list(entries)}}:
            return entries
        case _:
            raise UnreadableError("is not a HAR: there is no list at /log/entries")


def _member(holder: Json, name: str, where: str) -> dict[str, Json]:
    member = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(member, dict):
        raise _EntryError(f"{where}/{name}", "is not an object")
    return member


def _split(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
    except ValueError:  # no operation has an empty path
        return "", ""
    return parts.path, parts.query


def _match(contract: Contract, method: str, path: str) -> Match | WrongMethod | None:
    """Find the operation. The path may begin with that of a base URL."""
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
        raise _EntryError(f"{where}/status", "is not an integer")
    if status <= 0:  # blocked, aborted or without connection; 0 in browsers, -1 in Playwright
        yield Finding(where, operation.id, "there was no response, so none was checked", deviates=False)
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
    """Return the headers in lower case; repeated ones are joined, as in HTTP.

    Some exporters leave headers out: then the Content-Type is in `content`.
    """
    headers = message.get("headers")
    if not isinstance(headers, list):
        raise _EntryError(f"{where}/headers", "is not a list")
    values: dict[str, dict[str, None]] = {}
    for number, header in enumerate(headers):
        match header:
            case {"name": str(name), "value": str(value)}:
                # A set: exporters may record a header twice.
                values.setdefault(name.lower(), {})[value] = None
            case _:
                raise _EntryError(f"{where}/headers/{number}", "has no name or no value")
    match message.get(content):
        case {"mimeType": str(media_type)} if media_type and (content == "postData" or not values):
            values.setdefault("content-type", {media_type: None})
        case _:
            pass
    joined = {name: ", ".join(each) for name, each in values.items()}
    if "content-type" in values:  # recorded twice, it may be spelled differently
        joined["content-type"] = next(iter(values["content-type"]))
    return joined


def _sent(request: dict[str, Json], where: str) -> bytes | str:
    """Return the body of a request, or why it cannot be checked."""
    data = request.get("postData")
    body = _text(data, where)
    if body is None and isinstance(data, dict) and data.get("params"):
        return b"name=value"  # a form, recorded without its text: any text will show that it is not JSON
    if body is None:
        return b"" if request.get("bodySize") == 0 else _NOT_RECORDED
    return body


def _received(response: dict[str, Json], where: str, encodings: str) -> bytes | str:
    """Return the decompressed body of a response, or why it cannot be checked."""
    body = _text(response.get("content"), where)
    if body is None:
        # A size of 0 may also mean that the browser did not keep the body.
        return b"" if _size(response) == 0 and response.get("bodySize") == 0 else _NOT_RECORDED
    for encoding in reversed(encodings.lower().split(",")):
        if not _is_compressed(body):  # most exporters decompress it, and keep the header
            break
        decoded = _decompressed(body, encoding.strip())
        if isinstance(decoded, str):
            return decoded
        body = decoded
    return body


def _is_compressed(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return True
    return _BINARY.search(body[:16]) is not None


def _decompressed(body: bytes, encoding: str) -> bytes | str:
    """Undo one Content-Encoding, or return why this is not possible."""
    if encoding in {"", "identity"}:
        return body
    for wbits in _WBITS.get(encoding, ()):
        decompressor = zlib.decompressobj(wbits)
        try:
            decoded = decompressor.decompress(body, _MAX_BODY)
        except zlib.error:
            continue
        if decompressor.eof:
            return decoded
        return _NOT_RECORDED if len(decoded) < _MAX_BODY else f"has more than {_MAX_BODY} bytes, decompressed"
    name = encoding if encoding in {*_WBITS, "br", "zstd"} else "an unknown encoding"
    return f"is compressed with {name} and cannot be decompressed"


def _size(response: dict[str, Json]) -> int:
    """Return the length of the decompressed body; -1 if unknown."""
    match response.get("content"):
        case {"size": int(size)}:
            return size
        case _:
            return -1


def _text(holder: Json, where: str) -> bytes | None:
    """Return the recorded text of a body. None: it was empty, or not recorded; its size shows which."""
    text = holder.get("text") if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or not isinstance(text, str) or not text:
        return None
    encoding = holder.get("encoding")
    if not encoding:
        return text.encode(errors="surrogatepass")
    if encoding != "base64":
        raise _EntryError(f"{where}/encoding", "is not base64, the only one supported")
    try:
        return binascii.a2b_base64(text)
    except ValueError as error:
        raise _EntryError(f"{where}/text", "is not base64") from error
