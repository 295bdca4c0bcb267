"""Serializes the parameters (in each style of OpenAPI) and bodies of generated operations.

Source: https://spec.openapis.org/oas/v3.1.0#style-values. None and UNSET are not sent.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import secrets
import sys
import warnings
from enum import Enum
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

import attrs
import httpx

from .models import Model, Unset, check_type, dump, dump_json, is_list, is_object, time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_RESERVED = ":/?[]@!$'()*,;"  # not escaped with allowReserved; without the characters that end a value
_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
_COOKIE = "!#$%&'()*+-./:<=>?@[]^_`{|}~"  # not escaped in a cookie (RFC 6265)


@attrs.define
class File:
    """A file to send.

    Attributes:
        payload: Its bytes, or a file opened in binary mode, which is read to its end.
        file_name: The name that is sent.
        mime_type: Such as image/png; by default, guessed from the name.
    """

    payload: IO[bytes] | bytes
    file_name: str | None = None
    mime_type: str | None = None


def text(value: object) -> str:
    """Return the text of a single value in a parameter.

    Raises:
        ValueError: A time has no time zone.
    """
    if isinstance(value, dt.datetime):
        return time_text(value)
    if isinstance(value, Enum):
        return text(value.value)
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | float | Model | list | dict):
        return _json(cast("Any", value))
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def _json(value: Any) -> str:
    dumped = dump(value, is_request=True)
    return json.dumps(dumped, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _members(value: object) -> list[str] | list[tuple[str, str]] | str:
    """Return the items of a list, the fields of an object, or a single value."""
    if isinstance(value, Model | dict):
        fields = cast("dict[str, Any]", dump(value, is_request=True))
        return [(name, text(item)) for name, item in fields.items() if item is not None]
    return [text(item) for item in value] if is_list(value) else text(value)


def _is_absent(value: object) -> bool:
    return value is None or isinstance(value, Unset)


def _joined(value: object, separator: str, encode: Callable[[str], str], *, explode: bool) -> str:
    """Join the items, or the fields as `name,value`; with explode, as `name=value`."""
    members = _members(value)
    if isinstance(members, str):
        return encode(members)
    pair = "=" if explode else separator
    return separator.join([encode(m) if isinstance(m, str) else pair.join(map(encode, m)) for m in members])


def _quoted(value: str) -> str:
    return quote(value, safe="")


def path(name: str, value: object, style: str = "simple", *, explode: bool = False) -> str:
    """Return a value as one segment of the path.

    Raises:
        ValueError: It is empty, `.` or `..`, percent-encoded or not: servers and proxies remove such
            segments, and the request would go to another path. Or it is None, or UTF-8 cannot encode it.
    """
    if isinstance(value, str) and style == "simple":
        return path_segment(name, value)
    if _is_absent(value):
        raise _changes_path(name, value)
    if style == "simple":
        made = _joined(value, ",", _quoted, explode=explode)
        if made in ("", ".", ".."):
            raise _changes_path(name, value)
        return made
    members = _members(value)
    if style == "label":
        return "." + _joined(value, "." if explode else ",", _quoted, explode=explode)
    if isinstance(members, str):
        return f";{name}={_quoted(members)}"
    if not explode:
        return f";{name}={_joined(value, ',', _quoted, explode=False)}"
    pairs = [(name, member) if isinstance(member, str) else member for member in members]
    return "".join([f";{_quoted(key)}={_quoted(item)}" for key, item in pairs])


def _changes_path(name: str, value: object) -> ValueError:
    return ValueError(
        f"{name} is {value!r}, which would change the path of the request; "
        "give a value that is not empty, '.' or '..'"
    )


def path_segment(name: str, value: object) -> str:
    """Quote a value so that it arrives as one segment of the path. Raises the errors of `path`."""
    written = "" if value is None else str(value)
    if _PLAIN_SEGMENT.fullmatch(written):  # a short cut for most IDs
        return written
    decoded, encoded = unquote(written), written
    while decoded != encoded:
        decoded, encoded = unquote(decoded), decoded
    if decoded in ("", ".", ".."):
        raise _changes_path(name, value)
    return _quoted(written)


def query(
    name: str, value: object, style: str = "form", *, explode: bool = True, allow_reserved: bool = False
) -> list[str]:
    """Return a parameter's pairs of the query, percent-encoded.

    Args:
        name: Name in the contract.
        value: A value, a list or an object.
        style: `form`, `spaceDelimited`, `pipeDelimited`, `deepObject`; `json` for a parameter with `content`.
        explode: One pair for each item of a list, or field of an object.
        allow_reserved: Do not escape reserved characters.
    """
    key, safe = _quoted(name), _RESERVED if allow_reserved else ""

    def encode(member: str) -> str:
        return quote(member, safe=safe)

    if _is_absent(value):
        return []
    if style == "json":
        return [f"{key}={encode(_json(value))}"]
    if style == "deepObject":
        return [f"{inner}={encode(item)}" for inner, item in _deep(key, dump(value, is_request=True))]
    members = _members(value)
    if isinstance(members, str):
        return [f"{key}={encode(members)}"]
    if explode:
        pairs = [(name, member) if isinstance(member, str) else member for member in members]
        return [f"{_quoted(each)}={encode(item)}" for each, item in pairs]
    separator = {"spaceDelimited": "%20", "pipeDelimited": "%7C"}.get(style, ",")
    return [f"{key}={_joined(value, separator, encode, explode=False)}"] if members else []


def _deep(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if is_object(value):
        for name, item in value.items():
            yield from _deep(f"{key}%5B{_quoted(name)}%5D", item)
    elif is_list(value):
        for item in value:
            yield from _deep(key, item)
    elif value is not None:
        yield key, text(value)


def header(name: str, value: object, *, explode: bool = False) -> dict[str, str]:
    """Return a parameter as a header, if it has a value."""
    return {} if _is_absent(value) else {name: _joined(value, ",", str, explode=explode)}


def cookies(*pairs: tuple[str, object]) -> dict[str, str]:
    """Return parameters as a Cookie header, if any has a value."""

    def encode(member: str) -> str:
        return quote(member, safe=_COOKIE)

    given = [(name, value) for name, value in pairs if not _is_absent(value)]
    sent = [f"{name}={_joined(value, ',', encode, explode=False)}" for name, value in given]
    return {"Cookie": "; ".join(sent)} if sent else {}


def json_body(body: object, expected: Any, media_type: str) -> dict[str, Any]:
    """Return a body in JSON, and its media type.

    Raises:
        TypeError: The body, or a value in it, does not have the annotated type.
        ValueError: A field that a request needs was not given, or a time has no time zone.
    """
    return {"json": dump_json(body, expected), "media_type": media_type}


def raw_body(body: object, expected: Any, media_type: str) -> dict[str, Any]:
    """Return a body of bytes or text, and its media type. Raises the errors of `json_body`."""
    check_type(body, expected)
    content = body.encode() if isinstance(body, str) else body
    return {"content": content, "media_type": media_type}


def form_body(body: object, expected: Any, media_type: str) -> dict[str, Any]:
    """Return a body in the format of HTML forms, and its media type. Raises the errors of `json_body`."""
    fields = cast("dict[str, Any]", dump_json(body, expected))
    pairs: list[str] = []
    for name, item in fields.items():
        pairs += query(name, json.dumps(item) if is_object(item) else item)
    return {"content": "&".join(pairs).encode(), "media_type": media_type}


def multipart_body(
    body: object, expected: Any, _media_type: str, media_types: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return a body of several parts, and its media type. Raises the errors of `json_body`.

    Args:
        body: Each field becomes a part; a list becomes a part for each item.
        expected: Its type.
        _media_type: multipart/form-data, to which a boundary is added.
        media_types: Media types of single fields, if the contract names them.
    """
    check_type(body, expected)
    parts: list[tuple[str, Any]] = []
    for name, value in dump(body, is_request=True).items():
        media_type = (media_types or {}).get(name)
        items = value if is_list(value) else [value]
        parts += [(name, _part(item, media_type)) for item in items if item is not None]
    if not parts:  # httpx makes no multipart body without parts
        boundary = secrets.token_hex(16)
        media_type = f"multipart/form-data; boundary={boundary}"
        return {"content": f"--{boundary}--\r\n".encode(), "media_type": media_type}
    # The body is made once, for all attempts: a file can be read only once.
    request = httpx.Request("POST", "http://multipart", files=parts)
    return {"content": request.read(), "media_type": request.headers["Content-Type"]}


def _part(item: Any, media_type: str | None) -> tuple[Any, ...]:
    if isinstance(item, File):
        payload = item.payload if isinstance(item.payload, bytes) else item.payload.read()
        return item.file_name or "file", payload, item.mime_type or media_type
    is_json = is_object(item)
    return None, text(item).encode(), media_type or ("application/json" if is_json else None)


def warn_deprecated(what: str) -> None:
    """Warn the caller of an operation that the contract marks as deprecated."""
    frame, level = sys._getframe(1), 2  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] # skip_file_prefixes came with 3.12
    module = frame.f_code.co_filename
    while frame.f_back is not None and frame.f_code.co_filename == module:
        frame, level = frame.f_back, level + 1
    warnings.warn(f"{what} is deprecated", DeprecationWarning, stacklevel=level)
