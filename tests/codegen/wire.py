"""Reads a request off the wire as OpenAPI 3.1 says, by the document alone. Knows nothing of the generator.

read(operation, request)   the arguments that the request is made of, by name, `body` for the body
as_sent(operation, …)      the arguments without those that cannot be seen on the wire, such as None and []
differences(one, other)    where two JSON values differ
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import unquote, unquote_plus

import httpx

from tests.codegen.corpus import Content, Operation

_OF_THE_CLIENT = {
    *("host", "user-agent", "x-auth-token", "accept", "accept-encoding"),
    *("content-type", "content-length", "transfer-encoding", "cookie"),
}
_DELIMITERS = {"form": ",", "pipeDelimited": r"\||%7C", "spaceDelimited": r"%20|\+"}


def read(operation: Operation, request: httpx.Request) -> dict[str, Any]:
    """Read a request.

    Raises:
        AssertionError: It is not one of this operation.
    """
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    assert request.method == operation.method
    template = re.sub(r"\\{(.*?)\\}", "([^/]+?)", re.escape(operation.path))
    names = re.findall(r"\{(.*?)\}", operation.path)
    found = re.fullmatch(template, path)
    assert found, f"{path} is not of {operation.path}"
    texts = {"path": dict(zip(names, found.groups(), strict=True)), "cookie": _cookies(request)}
    pairs = [
        (unquote_plus(name), text) for name, _, text in (pair.partition("=") for pair in query.split("&"))
    ]
    rest = [name for name, _ in pairs if name]
    values: dict[str, Any] = {}
    for parameter in operation.parameters:
        name, place = parameter["name"], parameter["in"]
        schema = operation.follow(parameter.get("schema", {}))
        if place == "query":
            mine = [pair for pair in pairs if re.fullmatch(rf"{re.escape(name)}(\[\w+\])?", pair[0])]
            values[name] = _of_query(operation, parameter, schema, mine)
            rest = [each for each in rest if each not in dict(mine)]
        elif place == "header":
            values[name] = _split(operation, schema, request.headers.get(name), ",", str.strip)
        else:
            values[name] = _split(operation, schema, texts[place].pop(name, None), ",", unquote)
    declared = {parameter["name"].lower() for parameter in operation.parameters}
    more = {*request.headers} - _OF_THE_CLIENT - declared
    assert (rest, texts["cookie"], more) == ([], {}, set()), "undeclared: query, cookies, headers"
    assert ("x-auth-token" in request.headers) == operation.secured, "credentials"
    accepted = [content.media_type.partition(";")[0] for _, content in operation.good if content]
    accept = request.headers["accept"]
    assert not accepted or any(each in accept for each in accepted), accept
    if request.content or "content-type" in request.headers:
        assert operation.body, "a body that the operation does not have"
        values["body"] = _body(operation, operation.body, request)
    return as_sent(operation, values, values)


def as_sent(operation: Operation, arguments: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    """Leave out what makes no text; put in the defaults that may be sent, if they were."""
    nothing: tuple[Any, ...] = (None, [], {})
    made: dict[str, Any] = {
        name: value for name, value in arguments.items() if value not in nothing or name == "body"
    }
    if operation.body and operation.body.kind in ("multipart", "form") and "body" in made:
        fields = made["body"]
        made["body"] = {name: value for name, value in fields.items() if value != []}
    defaults = {each["name"]: each.get("schema", {}).get("default") for each in operation.parameters}
    return {name: value for name, value in defaults.items() if sent.get(name) == value is not None} | made


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Yield where two JSON values differ. True is not 1; texts that are times may differ in spelling."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for name in one:
            yield from differences(one[name], other[name], f"{place}/{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, each in enumerate(one):
            yield from differences(each, other[index], f"{place}/{index}")
    elif isinstance(one, bool) != isinstance(other, bool) or (one != other and not _are_one_time(one, other)):
        yield f"{place}: {one!r}, not {other!r}"


def _are_one_time(one: Any, other: Any) -> bool:
    try:
        return datetime.fromisoformat(one) == datetime.fromisoformat(other)
    except (TypeError, ValueError):
        return False


def _cookies(request: httpx.Request) -> dict[str, str]:
    header = request.headers.get("cookie", "")
    return {name: text for name, _, text in (pair.partition("=") for pair in header.split("; ")) if name}


def _of_query(
    operation: Operation, parameter: dict[str, Any], schema: dict[str, Any], pairs: list[tuple[str, str]]
) -> Any:
    name, style = parameter["name"], parameter.get("style", "form")
    if style == "deepObject":
        parts = {key[len(name) + 1 : -1]: unquote_plus(text) for key, text in pairs}
        return {key: _typed(operation, schema["properties"][key], text) for key, text in parts.items()}
    texts = [text for key, text in pairs if key == name]
    if _is(schema, "array") and parameter.get("explode", style == "form"):
        return [_typed(operation, schema["items"], unquote_plus(text)) for text in texts]
    assert len(texts) <= 1, f"{name} is given {len(texts)} times"
    text = texts[0] if texts else None
    if "content" in parameter:
        return None if text is None else json.loads(unquote_plus(text))
    return _split(operation, schema, text, _DELIMITERS[style], unquote_plus)


def _split(
    operation: Operation,
    schema: dict[str, Any],
    text: str | None,
    delimiter: str,
    decode: Callable[[str], str],
) -> Any:
    """One text of a parameter that may be an array; split before it is decoded, since items may hold the delimiter."""
    if text is None:
        return None
    if _is(schema, "array"):
        return [_typed(operation, schema["items"], decode(each)) for each in re.split(delimiter, text)]
    return _typed(operation, schema, decode(text))


def _typed(operation: Operation, schema: dict[str, Any], text: str) -> Any:
    schema = operation.follow(schema)
    if _is(schema, "integer") or _is(schema, "number") or _is(schema, "boolean"):
        value = json.loads(text)
        assert isinstance(value, bool) == _is(schema, "boolean"), text
        return value
    return json.loads(text) if _is(schema, "object") else text


def _is(schema: dict[str, Any], kind: str) -> bool:
    types = schema.get("type", "string" if "enum" in schema else ())
    return kind in ([types] if isinstance(types, str) else types)


def _body(operation: Operation, content: Content, request: httpx.Request) -> Any:
    media_type = request.headers["content-type"]
    assert media_type.partition(";")[0] == content.media_type.partition(";")[0]
    schema = operation.follow(content.schema)
    match content.kind:
        case "json":
            return json.loads(request.content)
        case "text":
            return request.content.decode("utf-8")
        case "binary":
            return request.content.decode("latin-1")
        case "form":
            pairs = [pair.partition("=") for pair in request.content.decode("ascii").split("&") if pair]
            parts = [(unquote_plus(name), unquote_plus(text).encode()) for name, _, text in pairs]
        case _:
            parts = _parts(request.content, media_type)
    values: dict[str, Any] = {}
    for name, raw in parts:
        part = operation.follow(schema["properties"][name])
        item = operation.follow(part["items"]) if _is(part, "array") else part
        binary = item.get("format") == "binary"
        value = raw.decode("latin-1") if binary else _typed(operation, item, raw.decode("utf-8"))
        values[name] = [*values.get(name, ()), value] if _is(part, "array") else value
    return values


def _parts(content: bytes, media_type: str) -> list[tuple[str, bytes]]:
    found = re.search(r'boundary="?([^";]+)', media_type)
    assert found, media_type
    first, *parts, last = (b"\r\n" + content).split(b"\r\n--" + found[1].encode())
    assert (first, last.strip()) == (b"", b"--"), "boundaries"
    named: list[tuple[str, bytes]] = []
    for part in parts:
        head, _, raw = part.partition(b"\r\n\r\n")
        name = re.search(rb'; name="([^"]*)"', head)
        assert name, head
        named.append((name[1].decode(), raw))
    return named
