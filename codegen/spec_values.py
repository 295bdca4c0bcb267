"""Finds examples, defaults, enums and consts that break their own schema, and unused components.

openapi-spec-validator checks some defaults only; this module applies its validators to all values.
"""
# ruff: noqa: PLC0415 - imports at first use: they take a second, and a run may have nothing to do

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import quote

from plain import is_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from document import Document, Place

Node = dict[str, Any]

# Keys whose value maps names, which may be `default` or `example`, too.
NAMES = {
    *("properties", "patternProperties", "dependentSchemas", "$defs", "mapping", "paths", "pathItems"),
    *("webhooks", "schemas", "responses", "parameters", "requestBodies", "headers", "securitySchemes"),
    *("links", "callbacks", "content", "encoding", "variables"),
}
LITERAL = {"example", "examples", "default", "enum", "const", "value"}  # hold values, not OpenAPI objects
# Components that have no effect without a reference. Schemas become models; credentials may be for later.
REFERRED = {
    *("parameters", "headers", "responses", "requestBodies"),
    *("examples", "links", "callbacks", "pathItems"),
}
OWN = "content", "headers", "parameters"  # their items have a `schema`, and are not schemas


class Claim(NamedTuple):
    """A value that must match a schema."""

    what: str
    place: Place
    value: Any
    schema: Place


def value_problems(spec: Document) -> Iterator[str]:
    """Find examples, defaults, enums and consts that break their schema."""
    root: Node = json.loads(json.dumps(spec.root))  # without ruamel's comments
    errors_of = _validator(root)
    for place, part in _parts((), root):
        for claim in _claims(spec, place, part):
            for error in errors_of(claim):
                inner = (*claim.place, *error.absolute_path)
                line = spec.find(claim.schema)[2]
                yield spec.at(inner, f"{claim.what} breaks its schema (line {line}): {error.message}")


def unused_problems(spec: Document) -> Iterator[str]:
    """Find components that no `$ref` names."""
    parts: list[Any] = [part for _, part in spec.walk((), spec.root)]
    named: set[Any] = {part["$ref"] for part in parts if isinstance(part, dict) and "$ref" in part}
    targets = {target[:3] for each in named if (target := spec.target(each))}
    components: Node = spec.root.get("components", {})
    for kind in REFERRED & components.keys():
        for name in components[kind]:
            if ("components", kind, name) not in targets:
                yield spec.at(("components", kind, name), f"nothing uses {name}; refer to it, or remove it")


def _validator(root: Node) -> Callable[[Claim], list[Any]]:
    """Return a function that validates a value by OpenAPI's rules (formats, `nullable`, one-way fields)."""
    from openapi_schema_validator import OAS30Validator, OAS31Validator

    jsonschema: Any = import_module("jsonschema.validators")  # these two have no types
    referencing: Any = import_module("referencing.jsonschema")
    stock: Any = OAS30Validator if root["openapi"].startswith("3.0") else OAS31Validator
    # JSON Schema's own: OpenAPI's follow discriminators, and do not support all forms of them.
    plain = {key: jsonschema.Draft202012Validator.VALIDATORS[key] for key in ("allOf", "anyOf", "oneOf")}
    kind: Any = jsonschema.extend(stock, {**plain, "required": OAS30Validator.VALIDATORS["required"]})
    document = referencing.DRAFT202012.create_resource(root)
    registry: Any = referencing.EMPTY_REGISTRY.with_resource("urn:spec", document)

    def errors_of(claim: Claim) -> list[Any]:
        pointer = "".join("/" + quote(str(key).replace("~", "~0").replace("/", "~1")) for key in claim.schema)
        schema = {"$ref": f"urn:spec#{pointer}"}
        validator = kind(schema, registry=registry, format_checker=stock.FORMAT_CHECKER)
        return list(validator.iter_errors(claim.value))

    return errors_of


def _parts(place: Place, value: Any, *, is_names: bool = False) -> Iterator[tuple[Place, Node]]:
    """Yield every object of OpenAPI or JSON Schema in a value. Does not follow references."""
    if isinstance(value, list):
        for index, item in enumerate(cast("list[object]", value)):
            yield from _parts((*place, index), item)
    if not isinstance(value, dict):
        return
    part = cast("Node", value)
    if not is_names:
        yield place, part
    for key, child in part.items():
        if is_names or not (key in LITERAL or key.startswith("x-")):
            yield from _parts((*place, key), child, is_names=not is_names and key in NAMES)


def _claims(spec: Document, place: Place, part: Node) -> Iterator[Claim]:
    """Yield the values in a part that must match a schema."""
    name = _name(place, part)
    schema = _schema_of(place, part)
    # An example that is not JSON may be the text of the body.
    as_text = place[-2:-1] == ("content",) and not is_json(place[-1])
    for at, value in _examples(spec, place, part) if schema else ():
        if not (as_text and isinstance(value, str)):
            yield Claim(f"the example of {name}", at, value, schema)
    for key in ("default", "const"):
        if key in part:
            yield Claim(f"the {key} of {name}", (*place, key), part[key], place)
    values: list[Any] = part.get("enum", []) if "const" not in part else []  # the const must be in the enum
    for index, value in enumerate(values):
        yield Claim(f"the enum of {name}", (*place, "enum", index), value, place)


def _schema_of(place: Place, part: Node) -> Place:
    """Return the place of the schema for a part's examples: the part itself, if it is a schema; or ()."""
    if "schema" in part:
        return (*place, "schema")
    if "in" in part and "content" in part:
        media_type = next(iter(part["content"]))
        return (*place, "content", media_type, "schema") if "schema" in part["content"][media_type] else ()
    return () if place == ("components",) or place[-2:-1] in [(key,) for key in OWN] else place


def _examples(spec: Document, place: Place, part: Node) -> Iterator[tuple[Place, Any]]:
    if "example" in part:
        yield (*place, "example"), part["example"]
    examples: Any = part.get("examples", ())
    if isinstance(examples, list):  # in a schema
        for index, each in enumerate(cast("list[object]", examples)):
            yield (*place, "examples", index), each
        return
    for name in examples:
        real, value, _ = spec.find((*place, "examples", name, "value"))  # follows a reference
        if real[-1] == "value":  # otherwise it has an externalValue
            yield real, value


def _name(place: Place, part: Node) -> str:
    """Name a part as a reader of the spec would."""
    if "name" in part and "in" in part:
        return str(part["name"])
    keys = [str(key) for key in place if isinstance(key, str) and key not in NAMES]
    return keys[-1] if keys else "it"
