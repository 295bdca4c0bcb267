"""Documents of other services' kinds, as a test sees them. Knows nothing of the generator but how to start it.

EACH                 the operations of the documents under specs/
└── Operation        schema(…) is a schema as one direction sees it
client_of(spec, …)   generates the client of a document, once

What goes over the wire is read by wire.py, and drawn by cases.py; loop.py calls.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest

from huaweicloud_retry.parsing import read_yaml
from tests.codegen.project import PACKAGE, Generated, generated_once

SPECS = {file.stem: file for file in sorted(Path(__file__).with_name("specs").glob("*.yaml"))}
METHODS = "get", "put", "post", "delete", "head", "patch"

Direction = Literal["request", "response", "open response"]
_HIDDEN = {"request": "readOnly", "response": "writeOnly", "open response": "writeOnly"}
_CHECKED = {"date", "date-time", "uuid", "binary"}
_RANGES = {f"int{bits}": {"minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1} for bits in (32, 64)}
_UNLISTED = {
    str: {"type": "string", "pattern": "^unlisted"},
    int: {"type": "integer", "minimum": 1000},
    bool: {"type": "boolean"},
}


@dataclass(frozen=True, eq=False)
class Content:
    """A body: its media type as the document spells it, and its schema."""

    media_type: str
    schema: dict[str, Any]

    @property
    def kind(self) -> str:
        """`json`, `multipart`, `form`, `text` or `binary`."""
        plain = self.media_type.partition(";")[0]
        kinds = {
            "multipart/form-data": "multipart",
            "application/x-www-form-urlencoded": "form",
            "text/plain": "text",
        }
        return "json" if plain.endswith("json") else kinds.get(plain, "binary")


@dataclass(frozen=True, eq=False)
class Operation:
    """An operation of a document. Its parameters, bodies and responses have no references, their schemas may."""

    spec: str
    id: str
    tag: str
    method: str
    path: str
    deprecated: bool
    secured: bool
    parameters: list[dict[str, Any]] = field(repr=False)
    body: Content | None = field(repr=False)
    body_required: bool = field(repr=False)
    responses: dict[str, Content | None] = field(repr=False)

    def schema(self, schema: dict[str, Any], direction: Direction) -> dict[str, Any]:
        """A schema that stands alone, without the fields that the direction does not have."""
        made = _directed(schema, direction, _told_by(self.spec))
        return {**made, "components": {"schemas": _schemas(self.spec, direction)}}

    def follow(self, schema: dict[str, Any]) -> dict[str, Any]:
        """What a reference points to."""
        return _follow(document(self.spec), schema)

    def warns(self, arguments: Iterable[str]) -> bool:
        """Whether a call with these arguments uses something that is deprecated."""
        old = {each["name"] for each in self.parameters if each.get("deprecated")}
        return self.deprecated or not old.isdisjoint(arguments)

    @property
    def good(self) -> list[tuple[int, Content | None]]:
        """Each status of success, with its body."""
        found = [(status, content) for status, content in self.responses.items() if status[0] == "2"]
        exact = [(200 if status == "2XX" else int(status), content) for status, content in found]
        return exact or [(200, self.responses["default"])]

    @property
    def has_json(self) -> bool:
        """Whether a response of success has JSON that can be wrong."""
        return any(content and content.kind == "json" and content.schema for _, content in self.good)

    @property
    def bad(self) -> list[tuple[int, Content | None]]:
        """A status for each documented error, with its body."""
        statuses = {"2XX": 200, "5XX": 503, "default": 418 if len(self.responses) > 1 else 200}
        found = [(statuses.get(status) or int(status), content) for status, content in self.responses.items()]
        return [(status, content) for status, content in found if status >= 400]


@cache
def document(spec: str) -> Any:
    """A document, parsed."""
    return read_yaml(SPECS[spec].read_bytes())


@cache
def operations(spec: str) -> tuple[Operation, ...]:
    """The operations of a document."""
    paths: dict[str, Any] = document(spec)["paths"]
    each = ((path, method, item) for path, item in paths.items() for method in METHODS if method in item)
    return tuple(_operation(spec, method, path, item) for path, method, item in each)


def _operation(spec: str, method: str, path: str, item: dict[str, Any]) -> Operation:
    root, own = document(spec), item[method]
    body = _follow(root, own.get("requestBody", {}))
    parameters = [_follow(root, each) for each in (*item.get("parameters", ()), *own.get("parameters", ()))]
    return Operation(
        spec=spec,
        id=own["operationId"],
        tag=own["tags"][0],
        method=method.upper(),
        path=path,
        deprecated=own.get("deprecated", False),
        secured=bool(own.get("security", root["security"])),
        parameters=[*{(each["in"], each["name"]): each for each in parameters}.values()],
        body=_content(body),
        body_required=body.get("required", False),
        responses={status: _content(_follow(root, each)) for status, each in own["responses"].items()},
    )


def _content(holder: dict[str, Any]) -> Content | None:
    given = holder.get("content", {}).items()
    contents = [Content(media_type, media.get("schema", {})) for media_type, media in given]
    return next((each for each in contents if each.kind == "json"), contents[0] if contents else None)


def _follow(root: Any, node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target = root
        for key in node["$ref"].split("/")[1:]:
            target = target[key]
        node = target
    return node


@cache
def _schemas(spec: str, direction: Direction) -> dict[str, Any]:
    schemas: dict[str, Any] = document(spec)["components"].get("schemas", {})
    return {name: _directed(schema, direction, _told_by(spec)) for name, schema in schemas.items()}


@cache
def _told_by(spec: str) -> frozenset[str]:
    """Name the fields that tell the members of unions apart; no other value will do for them."""
    return frozenset(re.findall(r'"propertyName": "(.*?)"', json.dumps(document(spec))))


def _directed(schema: Any, direction: Direction, told: frozenset[str]) -> Any:
    """Take out of a schema what the direction does not have, and the formats that clients need not check.

    In an open response, enums and constants are open: a server may know more values than the document.
    """
    if isinstance(schema, list):
        return [_directed(each, direction, told) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed: Direction = "response" if direction == "open response" else direction
    made = {key: _directed(each, closed if key in told else direction, told) for key, each in schema.items()}
    if isinstance(properties := made.get("properties"), dict):
        hidden = {name for name, each in properties.items() if each.get(_HIDDEN[direction])}
        made["properties"] = {name: name not in hidden and each for name, each in properties.items()}
        made["required"] = [name for name in made.get("required", ()) if name not in hidden]
    if isinstance(name := made.get("format"), str) and name not in _CHECKED:
        del made["format"]
        made = _RANGES.get(name, {}) | made
    return _opened(made) if direction == "open response" else made


def _opened(schema: dict[str, Any]) -> dict[str, Any]:
    listed = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return {"anyOf": [schema, _UNLISTED[type(listed[0])]]} if listed else schema


EACH = [each for spec in SPECS for each in operations(spec)]


def of_each(operations: Iterable[Operation]) -> pytest.MarkDecorator:
    """Run a test for each operation."""
    return pytest.mark.parametrize("operation", [*operations], ids=lambda each: f"{each.spec}-{each.id}")


_clients: dict[str, tuple[Generated, str]] = {}


def client_of(spec: str, factory: pytest.TempPathFactory) -> Generated:
    """Generate the client of a document, once."""
    if spec not in _clients:
        project, ran = generated_once(factory, spec, SPECS[spec].read_text("utf-8"))
        _clients[spec] = Generated(project.root / PACKAGE.parent), ran.err
    client, refusal = _clients[spec]
    if refusal:
        pytest.fail(f"{spec}.yaml makes no client: {refusal}", pytrace=False)
    return client
