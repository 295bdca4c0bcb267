"""Draws calls that a document allows, and responses that it allows and does not.

calls(operation, direction)  arguments as JSON values by name, and responses: good, invalid in one place, an error
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import unquote

import httpx
import jsonschema_rs
from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.codegen.corpus import Content, Direction, Operation
from tests.codegen.values import values

# Texts that arrive unchanged: the standards have no way, or more than one, to write others.
_TEXTS = {"header": r"^[!-+\--~]+$", "cookie": r"^[\w.-]+$"}
_NOTHING = type("Nothing", (), {"__repr__": lambda _: "nothing"})()
_OTHERS: list[Any] = [_NOTHING, None, True, 7, 1.5, "text", [], {}, [[]], {"a": 1}]


@dataclass(frozen=True)
class DrawnResponse:
    """A response, with its body as JSON; None if there is none."""

    status: int
    body: Any
    content: Content | None
    what: str = "as documented"

    def response(self, _request: httpx.Request | None = None) -> httpx.Response:
        """Return it as a transport does."""
        if self.content is None:
            return httpx.Response(self.status)
        kind, text = self.content.kind, self.body if isinstance(self.body, str) else ""
        text = json.dumps(self.body) if kind == "json" else text
        raw = text.encode("latin-1" if kind == "binary" else "utf-8")
        return httpx.Response(self.status, content=raw, headers={"Content-Type": self.content.media_type})


@dataclass(frozen=True)
class Call:
    """A call, and responses to it: a good one, and, where the document has them, an invalid one and an error."""

    arguments: dict[str, Any]
    good: DrawnResponse
    invalid: DrawnResponse | None
    error: DrawnResponse | None
    mode: str


@st.composite
def calls(draw: DrawFn, operation: Operation, direction: Direction) -> Call:
    """Draw a call, with a good response as that direction has it."""
    good = draw(_drawn_responses(operation, direction, operation.good))
    invalid = draw(_invalid(operation, direction)) if operation.has_json else None
    error = draw(_drawn_responses(operation, direction, operation.bad)) if operation.bad else None
    return Call(draw(_arguments(operation)), good, invalid, error, draw(st.sampled_from(["sync", "async"])))


@st.composite
def _arguments(draw: DrawFn, operation: Operation) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for index, parameter in enumerate(operation.parameters):
        if parameter.get("required") or draw(st.booleans()):
            given[parameter["name"]] = draw(_of_parameter(operation, index))
    if operation.body and (operation.body_required or draw(st.booleans())):
        given["body"] = draw(_of_body(operation, operation.body, "request"))
    return given


@st.composite
def _drawn_responses(
    draw: DrawFn, operation: Operation, direction: Direction, of: list[tuple[int, Content | None]]
) -> DrawnResponse:
    status, content = draw(st.sampled_from(of))
    return DrawnResponse(status, draw(_of_body(operation, content, direction)) if content else None, content)


@st.composite
def _invalid(draw: DrawFn, operation: Operation, direction: Direction) -> DrawnResponse:
    """Draw a response of success whose JSON has a wrong type in one place, or lacks something required."""
    drawn = draw(_drawn_responses(operation, direction, operation.good).filter(lambda each: each.content))
    assert drawn.content
    validator = _validator(operation, drawn.content, direction)
    flaws = [(place, other) for place in _places(drawn.body) for other in _others(place)]
    draw(st.randoms(use_true_random=False)).shuffle(flaws)
    for place, other in flaws:
        body = {"": drawn.body}
        if _change(body, ("", *place), other) and not validator.is_valid(body[""]):
            return DrawnResponse(drawn.status, body[""], drawn.content, f"{other!r} at {place}")
    return reject()


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
    schemas = {"text": {"type": "string"}, "binary": {"type": "string", "format": "binary"}}
    return _values(operation, schemas.get(content.kind, content.schema), direction)


def _values(operation: Operation, schema: dict[str, Any], direction: Direction) -> SearchStrategy[Any]:
    whole = operation.schema(schema, direction)
    return values(whole, jsonschema_rs.Draft202012Validator(whole, validate_formats=True))


@cache
def _validator(
    operation: Operation, content: Content, direction: Direction
) -> jsonschema_rs.Draft202012Validator:
    schema = operation.schema(content.schema, direction)
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


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


def _places(value: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the keys that lead to a value and to each in it."""
    yield ()
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from ((key, *place) for place in _places(value[key]))


def _others(place: tuple[Any, ...]) -> list[Any]:
    return _OTHERS if place and isinstance(place[-1], str) else _OTHERS[1:]


def _change(value: Any, place: tuple[Any, ...], other: Any) -> bool:
    """Put another value into a place of a value, in copies of what is on the way; whether its type is another."""
    for key in place[:-1]:
        value[key] = value[key].copy()
        value = value[key]
    old = value[place[-1]]
    if other is _NOTHING:
        del value[place[-1]]
    else:
        value[place[-1]] = other
    return type(old) is not type(other)
