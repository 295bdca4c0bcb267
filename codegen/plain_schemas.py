"""Rewrites schemas for openapi-python-client, so that nothing is lost, or explains why that is impossible.

The generator ignores, for example, text next to a `$ref`, `properties` next to `oneOf`, an allOf in an allOf.
Restrictions of values (`not`, `if`, `pattern` and so on) do not affect types; `check_contract` checks them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from document import keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from document import Document, Place

Schema = dict[str, Any]

FIELDS = {"properties", "required", "additionalProperties", "allOf"}
UNREAD = {
    *("not", "if", "then", "else", "contains", "propertyNames", "patternProperties", "dependentSchemas"),
    *("dependentRequired", "unevaluatedProperties", "unevaluatedItems", "$defs", "$comment"),
}
CONTRADICTING = {"type", "format", "enum", "const", "items", "anyOf", "oneOf"}
# An alternative with one of these does not need the type next to it.
TYPELESS = {"type", "$ref", "const", "enum", "anyOf", "oneOf", "allOf"}
SCALARS = (str, int, bool, type(None))
NAMED = 3  # steps of #/components/schemas/Name, the only kind of reference that the generator follows
MAX_DEPTH = 99  # against circular references

# Information for the templates. The generator passes on keys that begin with x-.
SETS = "x-codegen-sets"
EXACTLY_ONE = "x-codegen-exactly-one"
NEEDED = "x-codegen-needed"
READ_ONLY = "x-codegen-read-only"
TEXTS = "x-codegen-texts"
DEFAULTS = "x-codegen-defaults"


class Schemas:
    """Rewrites the schemas of one document.

    Attributes:
        discriminators: For the schema names of a union: the field that selects the schema, and the schema for
            each of its values; or None.
        problems: Schemas that have no type in Python.
    """

    def __init__(self, spec: Document) -> None:
        self.discriminators: dict[frozenset[str], tuple[str, dict[str, str]] | None] = {}
        self.problems: list[str] = []
        self._spec = spec
        self._source: Any = json.loads(json.dumps(spec.root))
        self._inlined: list[Place] = []

    def refuse(self, place: Place, reason: str) -> None:
        """Record why there can be no client."""
        self.problems.append(self._spec.at(place, reason))

    def at(self, place: Place) -> Any:
        """Return the document's value at a place, as JSON."""
        value = self._source
        for step in place:
            value = value[step]
        return value

    def resolved(self, value: Any) -> Any:
        """Return the target of a reference, with the keys next to it; other values unchanged."""
        siblings: Schema = {}
        for _ in range(MAX_DEPTH):
            if not isinstance(value, dict) or "$ref" not in value:
                break
            reference: Schema = {**value}
            target = self._spec.target(reference.pop("$ref")) or ()
            siblings = {**reference, **siblings}
            value = self.at(target)
        return {**value, **siblings} if siblings else value  # pyright: ignore[reportUnknownVariableType] # JSON

    def plain(self, value: Any, place: Place) -> Schema:
        """Return a schema with the same meaning that the generator understands."""
        if isinstance(value, bool):
            if not value:
                self.refuse(place, "the schema `false` allows nothing; remove it")
            return {}
        if "$ref" in value:
            return self._reference(value, place)
        made: Schema = {key: item for key, item in value.items() if key not in UNREAD}
        if isinstance(made.get("type"), list) and len(made["type"]) == 1:
            made["type"] = made["type"][0]
        if "patternProperties" in value and made.get("additionalProperties") is False:
            made["additionalProperties"] = True
        is_raw = "contentMediaType" in made and "contentEncoding" not in made
        if is_raw and made.get("type", "string") == "string":
            made |= {"type": "string", "format": "binary"}
        if "prefixItems" in made and made.get("items") is False:
            del made["items"]  # it is a tuple
        self._texts(made)
        self._enum(made, place)
        self._const(made, place)
        self._sets(made, place)
        self._pass_on_type(made)
        if spread := self._spread(made, place):
            return self.plain(spread, place)
        self._merge(made, place)
        self._note_fields(made)
        members: list[Any] = made.get("oneOf") or made.get("anyOf") or []
        options: list[Schema] = [each for each in members if isinstance(each, dict)]
        names = [each["$ref"].rpartition("/")[2] for each in options if "$ref" in each]
        # Plain._name_members handles unions of objects.
        if len(names) > 1 and not any({"allOf", "properties"} & set(each) for each in options):
            self.note_discriminator(made.get("discriminator"), {name: name for name in names}, place)
        self._inner(made, place)
        return made

    def _inner(self, made: Schema, place: Place) -> None:
        """Rewrite the schemas in a schema."""
        if "properties" in made:
            source: Schema = made["properties"]
            fields = {name: self.plain(each, (*place, "properties", name)) for name, each in source.items()}
            made["properties"] = fields
            made[TEXTS] = {name: text for name, each in fields.items() if (text := self._text(each))}
            made[DEFAULTS] = {name: each["default"] for name, each in fields.items() if "default" in each}
        for key in ("allOf", "anyOf", "oneOf", "prefixItems"):
            if key not in made:
                continue
            parts: list[Any] = [*made[key]]
            for at, each in enumerate(parts):
                if key != "allOf" or set(each) != {"$ref"}:  # references in allOf stay
                    parts[at] = self.plain(each, (*place, key, at))
            made[key] = parts
        if isinstance(made.get("additionalProperties"), dict):
            extra = made["additionalProperties"]
            made["additionalProperties"] = self.plain(extra, (*place, "additionalProperties"))
        if "items" in made:
            made["items"] = self.plain(made["items"], (*place, "items"))
        if "array" in types_of(made) and not {"items", "prefixItems"} & set(made):
            made["items"] = {}

    def _text(self, schema: Schema) -> str:
        """Return the text about a field. The generator ignores text next to a reference."""
        if "$ref" in schema:
            return ""
        text = f"{'Deprecated. ' if schema.get('deprecated') else ''}{schema.get('description', '')}"
        return f"{text} Example: {schema['example']}.".strip() if "example" in schema else text.strip()

    def _reference(self, value: Schema, place: Place) -> Schema:
        target = self._spec.target(value["$ref"]) or ()
        siblings: Schema = {key: item for key, item in value.items() if key != "$ref" and key not in UNREAD}
        if target[:2] != ("components", "schemas") or len(target) != NAMED:
            if target in self._inlined:
                self.refuse(place, f"{value['$ref']} contains itself; move it to components/schemas")
                return {}
            self._inlined.append(target)
            made = self.plain(self.resolved(value), target)
            self._inlined.pop()
            return made
        reference: Schema = {"$ref": value["$ref"]}
        whole: Any = self.resolved(reference)
        if not isinstance(whole, bool) and "default" in whole:
            siblings.setdefault("default", whole["default"])
        fields = {key: siblings.pop(key) for key in FIELDS if key in siblings}
        if not (siblings or fields):
            return reference
        return self.plain({**siblings, "allOf": [reference, *([fields] if fields else [])]}, place)

    def _texts(self, made: Schema) -> None:
        """Move title, examples and some defaults into texts. Titles, which may repeat, would name classes."""
        title = made.pop("title", "")
        if title and "description" not in made:
            made["description"] = title
        if made.get("examples"):
            made.setdefault("example", made["examples"][0])
        made.pop("examples", None)
        default = made.get("default")
        if "default" in made and (default is None or isinstance(default, dict | list)):
            describe(made, f"Default: {json.dumps(default)}.")
            del made["default"]

    def _enum(self, made: Schema, place: Place) -> None:
        """Turn an enum into one of strings, or of integers: the generator supports no others."""
        if "enum" not in made:
            return
        values = unique(made.pop("enum"))
        kinds = {kind for kind in map(type_of, values) if kind is not type(None)}
        if kinds & {dict, list}:
            self.refuse((*place, "enum"), "an enum of objects or arrays has no type in Python; leave it out")
        elif kinds == {bool}:
            if len(values) == 1:
                made["const"] = values[0]
        elif float in kinds:
            describe(made, f"One of {', '.join(map(str, values))}.")
        elif len(kinds) > 1:
            groups = [[each for each in values if type(each) is kind] for kind in SCALARS]
            made.pop("type", None)
            made["anyOf"] = [{"enum": group} for group in groups if group]
        else:
            made["enum"] = values

    def _const(self, made: Schema, place: Place) -> None:
        """Turn a constant into one that has a type."""
        if "const" not in made:
            return
        const = made["const"]
        if isinstance(const, dict | list):
            reason = "a const that is an object or array has no type in Python; leave it out"
            self.refuse((*place, "const"), reason)
        elif const is None:
            made["type"] = "null"
        elif isinstance(const, float):
            made["type"] = "number"
            describe(made, f"Always {const}.")
        elif isinstance(made.get("type"), str):
            del made["type"]  # with a type, the generator ignores the const
        if not isinstance(const, str | int):
            del made["const"]

    def _sets(self, made: Schema, place: Place) -> None:
        """Note alternatives of required fields, which are not types: the runtime checks them."""
        keys = [key for key in ("anyOf", "oneOf") if key in made and are_sets(made[key])]
        if len(keys) + ("x-at-least-one-of" in made or SETS in made) > 1:
            self.refuse((*place, keys[-1]), "alternatives of required fields can be in a schema once")
        if "x-at-least-one-of" in made:
            made[SETS] = [[name] for name in made["x-at-least-one-of"]]
        for key in keys:
            if key in made:
                made[EXACTLY_ONE] = key == "oneOf"
                made[SETS] = [each["required"] for each in made.pop(key)]

    def _pass_on_type(self, made: Schema) -> None:
        """Copy the type next to alternatives into those that have none."""
        if not isinstance(made.get("type"), str) or made["type"] == "object":
            return
        for key in ("anyOf", "oneOf"):
            if key not in made:
                continue
            alternatives: list[Any] = [*made[key]]
            for at, each in enumerate(alternatives):
                if not isinstance(each, bool) and TYPELESS.isdisjoint(each):
                    alternatives[at] = {"type": made["type"], **each}
            made[key] = alternatives

    def _spread(self, made: Schema, place: Place) -> Schema | None:
        """Copy the fields next to alternatives into each of them."""
        if "anyOf" in made and "oneOf" in made:
            self.refuse(place, "anyOf and oneOf in one schema have no type in Python; leave one of them")
            return None
        key = "anyOf" if "anyOf" in made else "oneOf"
        base = {name: made[name] for name in FIELDS if name in made}
        if key not in made or not base:
            return None
        if "discriminator" in made and len(place) != NAMED:
            reason = "a discriminator and fields next to a union: move the schema to components/schemas"
            self.refuse(place, reason)
        if SETS in made:
            kind = "oneOf" if made.get(EXACTLY_ONE) else "anyOf"
            base[kind] = [{"required": names} for names in made[SETS]]
        moved = *FIELDS, key, "type", SETS, EXACTLY_ONE, "x-at-least-one-of"
        rest: Schema = {name: item for name, item in made.items() if name not in moved}
        return {**rest, key: [{"type": "object", "allOf": [base, each]} for each in made[key]]}

    def _merge(self, made: Schema, place: Place) -> None:
        """Reduce allOf to references to models and one object: the generator would lose parts of others."""
        if not made.get("allOf"):
            return
        references: list[Schema] = []
        self._merge_parts(made, made.pop("allOf"), references, (*place, "allOf"))
        self._sets(made, place)
        if not references:
            return
        for part in references:
            extra: Any = self.resolved(part).get("additionalProperties")
            if isinstance(extra, dict):
                made.setdefault("additionalProperties", extra)
        inherited = [name for part in references for name in self._all_fields(part)[1]]
        own: Schema = made.get("properties", {})
        for name in set(inherited) & set(own):  # the generator can merge enums, but not consts
            if isinstance(own[name], dict) and type_of(own[name].get("const")) in (str, int):
                own[name] = {**own[name], "enum": [own[name]["const"]]}
                del own[name]["const"]
        made["allOf"] = references
        # Otherwise it is the referenced model itself.
        if {"properties", "required", "additionalProperties", SETS} & set(made):
            fields = {key: made.pop(key) for key in ("properties", "required") if key in made}
            made["allOf"] = [*references, {"type": "object", **fields}]

    def _merge_parts(self, made: Schema, parts: list[Any], references: list[Schema], place: Place) -> None:
        for at, part in enumerate(parts):
            if set(part) == {"$ref"} and len(self._spec.target(part["$ref"]) or ()) == NAMED:
                references.append(part)
                continue
            whole: Schema = self.resolved(part)
            for key, item in whole.items():
                if key == "allOf":
                    self._merge_parts(made, item, references, (*place, at, key))
                elif key in ("anyOf", "oneOf") and not are_sets(item):
                    reason = f"{key} inside allOf has no type in Python; put it next to allOf"
                    self.refuse((*place, at, key), reason)
                elif key == "properties":
                    made["properties"] = fields_of_both(made.get("properties", {}), item)
                elif key == "required":
                    made["required"] = unique([*made.get("required", []), *item])
                elif key not in UNREAD and made.setdefault(key, item) != item and key in CONTRADICTING:
                    self.refuse((*place, at, key), f"the parts of allOf have different values of {key}")

    def _note_fields(self, made: Schema) -> None:
        """Note fields that are read only or write only, and give each required field a schema."""
        required, properties = self._all_fields(made)
        missing = [name for name in required if name not in properties]
        if missing and (properties or "object" in types_of(made)):
            made["properties"] = {**made.get("properties", {}), **{name: {} for name in missing}}
        needed, read_only = dict[str, str](), list[str]()
        for name, each in properties.items():
            whole: Any = {} if isinstance(each, bool) else self.resolved(each)
            if whole.get("readOnly"):
                read_only.append(name)
            if name in required and (whole.get("readOnly") or whole.get("writeOnly")):
                needed[name] = "response" if whole.get("readOnly") else "request"
        if read_only:
            made[READ_ONLY] = read_only
        if needed:
            made[NEEDED] = needed
            parts: list[Schema] = [made, *made.get("allOf", [])]
            for part in parts:
                if "required" in part:
                    part["required"] = [name for name in part["required"] if name not in needed]

    def _all_fields(self, schema: Any, depth: int = 0) -> tuple[list[str], Schema]:
        """Return the names of required fields, and the schemas of all, of an object and of its allOf."""
        whole: Any = self.resolved(schema)
        required: list[str] = [*whole.get("required", [])]
        properties: Schema = {**whole.get("properties", {})}
        parts: list[Any] = whole.get("allOf", []) if depth < MAX_DEPTH else []
        for part in parts:
            more, others = self._all_fields(part, depth + 1)
            required, properties = required + more, {**others, **properties}
        return required, properties

    def note_discriminator(self, discriminator: Any, models: dict[str, str], place: Place) -> None:
        """Note which value selects which model of a union.

        Args:
            discriminator: The union's discriminator, or None.
            models: For the name of each schema that it may select, the schema that replaces it.
            place: Place of the union.
        """
        mapping: dict[str, str] = discriminator.get("mapping", {}) if discriminator else {}
        values = {name: name for name in models}
        values |= {key: each.rpartition("/")[2] for key, each in mapping.items()}
        place = (*place, "discriminator") if discriminator else place
        for value, name in values.items():
            if name not in models:
                self.refuse((*place, "mapping", value), f"{name} is not in the union")
                continue
            schema: Any = self.resolved({"$ref": f"#/components/schemas/{name}"})
            if discriminator and {"oneOf", "anyOf"} & {*schema}:
                self.refuse(place, f"{name} is a union itself: list its members instead")
        found = {value: models[name] for value, name in values.items() if name in models}
        noted = (discriminator["propertyName"], found) if discriminator else None
        if self.discriminators.setdefault(frozenset(models.values()), noted) != noted:
            self.refuse(place, f"another union of {', '.join(models)} has another discriminator")


def circles(spec: Document) -> list[str]:
    """Find schemas that contain themselves as a whole, not in a field: they have no meaning."""
    found: list[str] = []
    real, named, _ = spec.find(("components", "schemas"))
    for name in keys_of(named) if len(real) == NAMED - 1 else ():
        seen, waiting = set[Any](), [cast("Place", ("components", "schemas", name))]
        while waiting:
            place = waiting.pop()
            for each in wholes_of(spec.find(place)[1]):
                target = spec.target(each["$ref"]) if "$ref" in each else None
                if target is not None and target == ("components", "schemas", name):
                    found.append(spec.at(target, f"{name} contains itself as a whole; put it into a field"))
                    waiting.clear()
                    break
                if target is not None and target not in seen:
                    seen.add(target)
                    waiting.append(target)
    return found


def wholes_of(schema: Any) -> Iterator[Schema]:
    """Yield a schema and those combined with it: a value must match them, or may."""
    if isinstance(schema, dict):
        whole = cast("Schema", schema)
        yield whole
        for key in ("allOf", "anyOf", "oneOf"):
            for each in whole.get(key, ()):
                yield from wholes_of(each)


def type_of(value: object) -> Any:
    """Return the type of a value as Any, for type checkers."""
    return type(value)


def types_of(schema: Schema) -> list[str]:
    """Return the types that a schema names."""
    types: Any = schema.get("type", [])
    return [*types] if isinstance(types, list) else [types]


def describe(schema: Schema, text: str) -> None:
    """Add to the description."""
    schema["description"] = f"{schema.get('description', '')} {text}".strip()


def are_sets(options: list[Any]) -> bool:
    """Return whether alternatives only name required fields."""
    return bool(options) and all(not isinstance(each, bool) and [*each] == ["required"] for each in options)


def unique(values: list[Any]) -> list[Any]:
    """Return each value once; True is not 1."""
    made: list[Any] = []
    for value in values:
        if not any(value == other and type(value) is type(other) for other in made):
            made.append(value)
    return made


def fields_of_both(one: Schema, other: Schema) -> Schema:
    """Return the fields of two objects. A field in both must match both schemas."""
    differing = [name for name in one if name in other and one[name] != other[name]]
    return {**one, **other, **{name: {"allOf": [one[name], other[name]]} for name in differing}}
