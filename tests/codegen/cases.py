"""Draws calls and responses that a document allows, and responses that it does not.

arguments(operation)        arguments of a call, as JSON values by name
responses(operation, …)     a response of success; errors(operation): of failure
broken(operation)           a response of success with one thing of a wrong type, or missing
"""

import json
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, timedelta, timezone
from functools import cache
from typing import Any
from urllib.parse import unquote

import httpx
import jsonschema_rs
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from schemathesis.generation.jsonschema.builder import build

from tests.codegen.corpus import Content, Direction, Operation

_ZONES = [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))]
_FORMATS: dict[str, SearchStrategy[str]] = {
    "date": st.dates().map(str),
    "date-time": st.datetimes(timezones=st.sampled_from(_ZONES)).map(lambda t: t.isoformat().replace("+00:00", "Z")),
    "uuid": st.uuids().map(str),
    "binary": st.binary(max_size=64).map(lambda data: data.decode("latin-1")),
}
# Texts that arrive unchanged: the standards have no way, or more than one, to write others.
_TEXTS = {"header": r"^[!-+\--~]+$", "cookie": r"^[\w.-]+$"}
_OTHERS: list[Any] = [None, True, 7, 1.5, "text", [], {}, [[]], {"a": 1}]


@dataclass(frozen=True)
class Answer:
    """A response, with its body as JSON; None if there is none."""

    status: int
    body: Any
    content: Content | None
    flaw: str = "a body"

    def response(self, _request: httpx.Request | None = None) -> httpx.Response:
        """Return it as a transport does."""
        if self.content is None:
            return httpx.Response(self.status)
        kind, text = self.content.kind, self.body if isinstance(self.body, str) else ""
        raw = (
            json.dumps(self.body).encode() if kind == "json" else text.encode("utf-8" if kind == "text" else "latin-1")
        )
        return httpx.Response(self.status, content=raw, headers={"Content-Type": self.content.media_type})


@st.composite
def arguments(draw: DrawFn, operation: Operation) -> dict[str, Any]:
    """Draw the arguments of a call."""
    given: dict[str, Any] = {}
    for index, parameter in enumerate(operation.parameters):
        if parameter.get("required") or draw(st.booleans()):
            given[parameter["name"]] = draw(_of_parameter(operation, index))
    if operation.body and (operation.body_required or draw(st.booleans())):
        given["body"] = draw(_of_body(operation, operation.body, "request"))
    return given


@st.composite
def responses(draw: DrawFn, operation: Operation, direction: Direction) -> Answer:
    """Draw a response of success."""
    return draw(_answers(operation, direction, *operation.good))


@st.composite
def errors(draw: DrawFn, operation: Operation) -> Answer:
    """Draw a documented response of failure."""
    return draw(_answers(operation, "open response", *operation.bad))


@st.composite
def _answers(draw: DrawFn, operation: Operation, direction: Direction, *of: tuple[int, Content | None]) -> Answer:
    status, content = draw(st.sampled_from(of))
    return Answer(status, draw(_of_body(operation, content, direction)) if content else None, content)


@st.composite
def broken(draw: DrawFn, operation: Operation) -> Answer:
    """Draw a response of success whose JSON has a wrong type in one place, or lacks something required."""
    answer = draw(responses(operation, "open response"))
    body = {"": deepcopy(answer.body)}
    holder, key = draw(st.sampled_from([*_places(body)]))
    if isinstance(holder, dict) and holder is not body and draw(st.booleans()):
        flaw = f"no {key!r}"
        del holder[key]
    else:
        other = draw(st.sampled_from(_OTHERS))
        assume(type(other) is not type(holder[key]))
        flaw = f"{key!r}: {other!r} instead of {holder[key]!r}"
        holder[key] = other
    assume(answer.content and not _validator(operation, answer.content).is_valid(body[""]))
    return Answer(answer.status, body[""], answer.content, flaw)


@cache
def _of_parameter(operation: Operation, index: int) -> SearchStrategy[Any]:
    parameter = operation.parameters[index]
    schema, place = parameter.get("schema"), parameter["in"]
    if schema is None:
        schema = parameter["content"]["application/json"]["schema"]
    drawn = _values(operation, _only_with(schema, _TEXTS[place]) if place in _TEXTS else schema, "request")
    return drawn.filter(_is_segment) if place == "path" else drawn


@cache
def _of_body(operation: Operation, content: Content, direction: Direction) -> SearchStrategy[Any]:
    schema = {"json": content.schema, "text": {"type": "string"}, "binary": {"type": "string", "format": "binary"}}
    return _values(operation, schema.get(content.kind, content.schema), direction)


def _values(operation: Operation, schema: dict[str, Any], direction: Direction) -> SearchStrategy[Any]:
    whole: Any = operation.schema(schema, direction)
    return build(whole, draft=jsonschema_rs.Draft202012, formats=_FORMATS)


@cache
def _validator(operation: Operation, content: Content) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(operation.schema(content.schema, "open response"), validate_formats=True)


def _only_with(schema: dict[str, Any], pattern: str) -> dict[str, Any]:
    """Narrow what a parameter of text, or a list of texts, may be."""
    if schema.get("type") == "array":
        return schema | {"items": _only_with(schema["items"], pattern)}
    is_free = "string" in schema.get("type", ()) and not schema.keys() & {"enum", "format", "pattern"}
    return schema | {"pattern": pattern} if is_free else schema


def _is_segment(value: Any) -> bool:
    """Whether a value can be a segment of a path; others the client refuses."""
    text, decoded = str(value), unquote(str(value))
    while decoded != text:
        text, decoded = decoded, unquote(decoded)
    return text not in ("", ".", "..")


def _places(value: Any) -> Any:
    """Yield each place within a value, as what holds it and the key."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])
