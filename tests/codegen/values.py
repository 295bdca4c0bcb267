"""Draws JSON values that a schema allows: small ones, so that thousands can be called with."""

from datetime import UTC, timedelta, timezone
from typing import Any

import jsonschema_rs
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

_DEPTH = 4  # from here on, objects have what is required only, and lists are short
_ZONES = [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))]
_FORMATS: dict[str, SearchStrategy[str]] = {
    "date": st.dates().map(str),
    "date-time": st.datetimes(timezones=st.sampled_from(_ZONES)).map(
        lambda t: t.isoformat().replace("+00:00", "Z")
    ),
    "uuid": st.uuids().map(str),
    "binary": st.binary(max_size=64).map(lambda data: data.decode("latin-1")),
}
_SCALARS: SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
_ANYTHING = (
    _SCALARS | st.lists(_SCALARS, max_size=2) | st.dictionaries(st.text(max_size=5), _SCALARS, max_size=2)
)
# Names of fields that the document does not know, which a generated class may use itself.
_NAMES = st.sampled_from(
    ["additional_properties", "to_dict", "self", "from", "job_id", "pet_id", ""]
) | st.text(max_size=5)


@st.composite
def values(draw: DrawFn, root: dict[str, Any], validator: jsonschema_rs.Draft202012Validator) -> Any:
    """Draw a value for a schema that has `components` next to it."""
    value = draw(_value(root, root, 0))
    assume(validator.is_valid(value))
    return value


@st.composite
def _value(draw: DrawFn, root: dict[str, Any], given: dict[str, Any] | bool, depth: int) -> Any:  # noqa: PLR0911 - one for each type
    schema = _whole(root, given)
    for union in ("oneOf", "anyOf"):
        if union in schema:
            rest = {key: each for key, each in schema.items() if key != union}
            return draw(_value(root, _merged(root, rest, draw(st.sampled_from(schema[union]))), depth))
    if "const" in schema or "enum" in schema:
        return draw(st.sampled_from(schema.get("enum") or [schema["const"]]))
    types = schema.get("type") or ("object" if "properties" in schema else None)
    kind = draw(st.sampled_from([types] if isinstance(types, str) else types)) if types else None
    low, high = schema.get("minimum"), schema.get("maximum")
    match kind:
        case "object":
            return draw(_object(root, schema, depth))
        case "array":
            items, least = _value(root, schema.get("items", True), depth + 1), schema.get("minItems", 0)
            return draw(st.lists(items, min_size=least, max_size=max(least, 3 if depth < _DEPTH else 0)))
        case "string":
            text = st.text(min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 12))
            text = st.from_regex(schema["pattern"]) if "pattern" in schema else text
            return draw(_FORMATS.get(schema.get("format", ""), text))
        case "integer":
            return draw(st.integers(low, high))
        case "number":
            return draw(st.integers(-9, 9) | st.floats(low, high, allow_nan=False, allow_infinity=False))
        case "boolean" | "null":
            return draw(st.booleans()) if kind == "boolean" else None
        case _:
            return draw(_ANYTHING)


@st.composite
def _object(draw: DrawFn, root: dict[str, Any], schema: dict[str, Any], depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    properties, required = schema.get("properties", {}), schema.get("required", ())
    for name, each in properties.items():
        if name in required or (each is not False and depth < _DEPTH and draw(st.booleans())):
            made[name] = draw(_value(root, each, depth + 1))
    extra = schema.get("additionalProperties", True)
    if extra is not False and depth < _DEPTH and draw(st.booleans()):
        more = _ANYTHING if extra is True else _value(root, extra, depth + 1)
        made = (
            draw(st.dictionaries(_NAMES.filter(lambda name: name not in properties), more, max_size=2)) | made
        )
    return made


def _whole(root: dict[str, Any], schema: dict[str, Any] | bool) -> dict[str, Any]:
    """Follow references, and put the parts of an allOf together."""
    if isinstance(schema, bool):
        return {}
    if "$ref" in schema:
        target: Any = root
        for key in schema["$ref"].split("/")[1:]:
            target = target[key]
        return _merged(root, {key: each for key, each in schema.items() if key != "$ref"}, target)
    if "allOf" in schema:
        whole = {key: each for key, each in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            whole = _merged(root, whole, part)
        return whole
    return schema


def _merged(root: dict[str, Any], one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    one, other = _whole(root, one), _whole(root, other)
    made = one | other
    if "properties" in one and "properties" in other:
        both = one["properties"].keys() & other["properties"].keys()
        pairs = {name: (one["properties"][name], other["properties"][name]) for name in both}
        merged = {name: False not in pair and _merged(root, *pair) for name, pair in pairs.items()}
        made["properties"] = one["properties"] | other["properties"] | merged
    if "required" in made:
        made["required"] = [*one.get("required", ()), *other.get("required", ())]
    return made
