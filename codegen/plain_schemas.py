"""Rewrites schemas into what openapi-python-client reads without loss, or says why it cannot.

The generator ignores what it does not know: text beside a `$ref`, `properties` beside `oneOf`, an allOf in an allOf.
Restrictions of values (`not`, `if`, `pattern` and so on) are no matter of types; `check_contract` looks at them.
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
TYPELESS = {
    "type",
    "$ref",
    "const",
    "enum",
    "anyOf",
    "oneOf",
    "allOf",
}  # with any, the type beside says nothing new
SCALARS = (str, int, bool, type(None))
NAMED = 3  # steps of #/components/schemas/Name, the one kind of reference that the generator follows
DEEP = 99  # against circles

# What the generator has no place for. It passes on what begins with x-.
SETS = "x-codegen-sets"
EXACTLY_ONE = "x-codegen-exactly-one"
NEEDED = "x-codegen-needed"
READ_ONLY = "x-codegen-read-only"
TEXTS = "x-codegen-texts"
DEFAULTS = "x-codegen-defaults"


class Schemas:
    """Rewrites the schemas of one document.

    Attributes:
        discriminators: For the names of the schemas of a union: the field that tells them apart, and for each of its
            values the schema; or None.
        problems: What has no type in Python.
    """

    def __init__(self, spec: Document) -> None:
        self.discriminators: dict[frozenset[str], tuple[str, dict[str, str]] | None] = {}
        self.problems: list[str] = []
        self._spec = spec
        self._source: Any = json.loads(json.dumps(spec.root))
        self._inlined: list[Place] = []

    def refuse(self, place: Place, reason: str) -> None:
        """Note why there can be no client."""
        self.problems.append(self._spec.at(place, reason))

    def at(self, place: Place) -> Any:
        """Return what the document has at a place, as JSON."""
        value = self._source
        for step in place:
            value = value[step]
        return value

    def resolved(self, value: Any) -> Any:
        """Return what a reference points to, with the text beside it; anything else as it is."""
        beside: Schema = {}
        for _ in range(DEEP):
            if not isinstance(value, dict) or "$ref" not in value:
                break
            reference: Schema = {**value}
            target = self._spec.target(reference.pop("$ref")) or ()
            beside = {**reference, **beside}
            value = self.at(target)
        return {**value, **beside} if beside else value  # pyright: ignore[reportUnknownVariableType] # JSON

    def plain(self, value: Any, place: Place) -> Schema:
        """Return a schema that means the same to the generator."""
        if isinstance(value, bool):
            if not value:
                self.refuse(place, "the schema `false` allows nothing; leave out what has it")
            return {}
        if "$ref" in value:
            return self._reference(value, place)
        made: Schema = {key: item for key, item in value.items() if key not in UNREAD}
        if isinstance(made.get("type"), list) and len(made["type"]) == 1:
            made["type"] = made["type"][0]
        if "patternProperties" in value and made.get("additionalProperties") is False:
            made["additionalProperties"] = True
        if (
            "contentMediaType" in made
            and "contentEncoding" not in made
            and made.get("type", "string") == "string"
        ):
            made |= {"type": "string", "format": "binary"}
        if "prefixItems" in made and made.get("items") is False:
            del made["items"]  # so it is a tuple
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
        # Plain.py names those.
        if len(names) > 1 and not any({"allOf", "properties"} & set(each) for each in options):
            self.note_discriminator(made.get("discriminator"), {name: name for name in names}, place)
        self._inner(made, place)
        return made

    def _inner(self, made: Schema, place: Place) -> None:
        """Rewrite the schemas in a schema."""
        if "properties" in made:
            fields: Schema = made["properties"]
            made["properties"] = {
                name: self.plain(each, (*place, "properties", name)) for name, each in fields.items()
            }
            made[TEXTS] = {
                name: text for name, each in made["properties"].items() if (text := self._text(each))
            }
            made[DEFAULTS] = {
                name: each["default"] for name, each in made["properties"].items() if "default" in each
            }
        for key in ("allOf", "anyOf", "oneOf", "prefixItems"):
            if key in made:
                is_merged = key == "allOf"  # its references stay as they are
                made[key] = [
                    each if is_merged and set(each) == {"$ref"} else self.plain(each, (*place, key, at))
                    for at, each in enumerate(made[key])
                ]
        if isinstance(made.get("additionalProperties"), dict):
            made["additionalProperties"] = self.plain(
                made["additionalProperties"], (*place, "additionalProperties")
            )
        if "items" in made:
            made["items"] = self.plain(made["items"], (*place, "items"))
        if "array" in types_of(made) and not {"items", "prefixItems"} & set(made):
            made["items"] = {}

    def _text(self, schema: Schema) -> str:
        """Return the text about a field. The generator ignores text beside a reference."""
        if "$ref" in schema:
            return ""
        text = f"{'Deprecated. ' if schema.get('deprecated') else ''}{schema.get('description', '')}"
        return f"{text} Example: {schema['example']}.".strip() if "example" in schema else text.strip()

    def _reference(self, value: Schema, place: Place) -> Schema:
        target = self._spec.target(value["$ref"]) or ()
        beside: Schema = {key: item for key, item in value.items() if key != "$ref" and key not in UNREAD}
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
            beside.setdefault("default", whole["default"])
        fields = {key: beside.pop(key) for key in FIELDS if key in beside}
        if not (beside or fields):
            return reference
        return self.plain({**beside, "allOf": [reference, *([fields] if fields else [])]}, place)

    def _texts(self, made: Schema) -> None:
        """Make text of what is no type. A title would name the class, and another schema may have the same."""
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
        """Bring an enumeration into one of text, or of integers: the generator makes no other."""
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
        """Bring a constant into one that has a type."""
        if "const" not in made:
            return
        const = made["const"]
        if isinstance(const, dict | list):
            self.refuse(
                (*place, "const"), "a const that is an object or array has no type in Python; leave it out"
            )
        elif const is None:
            made["type"] = "null"
        elif isinstance(const, float):
            made["type"] = "number"
            describe(made, f"Always {const}.")
        elif isinstance(made.get("type"), str):
            del made["type"]  # or the generator looks no further
        if not isinstance(const, str | int):
            del made["const"]

    def _sets(self, made: Schema, place: Place) -> None:
        """Alternatives of required fields are no types; the runtime looks at them."""
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
        """A type beside alternatives is that of each which names none."""
        if not isinstance(made.get("type"), str) or made["type"] == "object":
            return
        for key in ("anyOf", "oneOf"):
            if key in made:
                made[key] = [
                    each
                    if isinstance(each, bool) or not TYPELESS.isdisjoint(each)
                    else {"type": made["type"], **each}
                    for each in made[key]
                ]

    def _spread(self, made: Schema, place: Place) -> Schema | None:
        """Fields beside alternatives belong to each of them."""
        if "anyOf" in made and "oneOf" in made:
            self.refuse(place, "anyOf and oneOf in one schema have no type in Python; leave one of them")
            return None
        key = "anyOf" if "anyOf" in made else "oneOf"
        base = {name: made[name] for name in FIELDS if name in made}
        if key not in made or not base:
            return None
        if "discriminator" in made and len(place) != NAMED:
            self.refuse(
                place, "a discriminator and fields beside a union: move the schema to components/schemas"
            )
        if SETS in made:  # which are of each, too
            base["oneOf" if made.get(EXACTLY_ONE) else "anyOf"] = [
                {"required": names} for names in made[SETS]
            ]
        not_of_all = *FIELDS, key, "type", SETS, EXACTLY_ONE, "x-at-least-one-of"
        rest: Schema = {name: item for name, item in made.items() if name not in not_of_all}
        return {**rest, key: [{"type": "object", "allOf": [base, each]} for each in made[key]]}

    def _merge(self, made: Schema, place: Place) -> None:
        """Leave in allOf references to models and one object beside them: of others the generator takes half."""
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
        for name in set(inherited) & set(own):  # the generator merges enumerations, and no constants
            if isinstance(own[name], dict) and type_of(own[name].get("const")) in (str, int):
                own[name] = {**own[name], "enum": [own[name]["const"]]}
                del own[name]["const"]
        made["allOf"] = references
        # Else it is the model of the reference.
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
                    self.refuse(
                        (*place, at, key), f"{key} inside allOf has no type in Python; put it beside allOf"
                    )
                elif key == "properties":
                    made["properties"] = fields_of_both(made.get("properties", {}), item)
                elif key == "required":
                    made["required"] = unique([*made.get("required", []), *item])
                elif key not in UNREAD and made.setdefault(key, item) != item and key in CONTRADICTING:
                    self.refuse((*place, at, key), f"the parts of allOf have different values of {key}")

    def _note_fields(self, made: Schema) -> None:
        """Note the fields that go one way only, and give each required field a schema."""
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
        parts: list[Any] = whole.get("allOf", []) if depth < DEEP else []
        for part in parts:
            more, others = self._all_fields(part, depth + 1)
            required, properties = required + more, {**others, **properties}
        return required, properties

    def note_discriminator(self, told: Any, models: dict[str, str], place: Place) -> None:
        """Note which value names which model of a union.

        Args:
            told: The discriminator, or None.
            models: For the name of each schema that it may name, that of the schema in its place.
            place: Of the union.
        """
        mapping: dict[str, str] = told.get("mapping", {}) if told else {}
        values = {
            **{name: name for name in models},
            **{key: each.rpartition("/")[2] for key, each in mapping.items()},
        }
        place = (*place, "discriminator") if told else place
        for value, name in values.items():
            if name not in models:
                self.refuse((*place, "mapping", value), f"{name} is not in the union")
            elif told and {"oneOf", "anyOf"} & {*self.resolved({"$ref": f"#/components/schemas/{name}"})}:
                self.refuse(place, f"{name} is a union itself: name what is in it")
        found = {value: models[name] for value, name in values.items() if name in models}
        noted = (told["propertyName"], found) if told else None
        if self.discriminators.setdefault(frozenset(models.values()), noted) != noted:
            self.refuse(place, f"another union of {', '.join(models)} has another discriminator")


def circles(spec: Document) -> list[str]:
    """Find schemas that contain themselves not in a field, but as a whole: they mean nothing, or everything."""
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
    """Every schema that a value of a schema has to fit, or may."""
    if isinstance(schema, dict):
        whole = cast("Schema", schema)
        yield whole
        for key in ("allOf", "anyOf", "oneOf"):
            for each in whole.get(key, ()):
                yield from wholes_of(each)


def type_of(value: object) -> Any:
    """Return the type of a value, which type checkers shall not follow further."""
    return type(value)


def types_of(schema: Schema) -> list[str]:
    """Return the types that a schema names."""
    types: Any = schema.get("type", [])
    return [*types] if isinstance(types, list) else [types]


def describe(schema: Schema, text: str) -> None:
    """Add to the description."""
    schema["description"] = f"{schema.get('description', '')} {text}".strip()


def are_sets(options: list[Any]) -> bool:
    """Say whether alternatives name required fields, and nothing else."""
    return bool(options) and all(not isinstance(each, bool) and [*each] == ["required"] for each in options)


def unique(values: list[Any]) -> list[Any]:
    """Return each value once; True is not 1."""
    made: list[Any] = []
    for value in values:
        if not any(value == other and type(value) is type(other) for other in made):
            made.append(value)
    return made


def fields_of_both(one: Schema, other: Schema) -> Schema:
    """Return the fields of two objects. A field in both has to fit both."""
    both = {
        name: {"allOf": [one[name], other[name]]}
        for name in one
        if name in other and one[name] != other[name]
    }
    return {**one, **other, **both}
