"""Finds breaking changes between two versions of the spec, and who is affected.

A narrower request refuses what callers send; a wider response may have values that callers do not expect.
Both use the same comparison of schemas; BREAKS has the meaning of each change.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from document import Document, Place, keys_of, short
from plain import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Json = dict[str, Any]
Kind = Literal["narrower", "wider", "gone", "default"]

CALLERS, SERVERS = "callers", "servers"
BOTH = {CALLERS, SERVERS}
BREAKS: dict[tuple[str, Kind], set[str]] = {
    ("request", "narrower"): BOTH,
    ("request", "wider"): set(),
    ("request", "gone"): BOTH,
    ("request", "default"): {CALLERS},  # an omitted value has another meaning now
    ("response", "narrower"): {SERVERS},
    ("response", "wider"): {CALLERS},
    ("response", "gone"): BOTH,
    ("response", "default"): set(),
}
TYPES: dict[type[Any], str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
}
LOWER = {"minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties", "uniqueItems"}
UPPER = {"maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties"}
DEFAULTS = {"minLength": 0, "minItems": 0, "minProperties": 0, "uniqueItems": False}  # of JSON Schema
COMPARED = {"type", "enum", "const", "default", "properties", "required", "additionalProperties", "items"}
# No change of these breaks anybody. References into $defs are compared where they are used.
IGNORED = {
    *("title", "description", "examples", "example", "deprecated", "readOnly", "writeOnly"),
    *("externalDocs", "xml", "$comment", "$defs"),
}
ERRORS = "45d"  # first characters of the statuses that are errors: 4…, 5… and default
ENFORCED = "x-at-least-one-of"  # by the client; other extensions have no effect


class Change(NamedTuple):
    """A difference of two schemas. A narrower schema refuses something that the earlier one accepted."""

    place: Place
    kind: Kind
    reason: str


class ComparedOperation(NamedTuple):
    """An operation, with what it inherits from its path and from the root."""

    path: str
    method: str
    own: Json
    parameters: dict[tuple[str, Any], tuple[Place, Json]]  # by location, and name or position in the path
    hosts: set[str]
    security: set[str]


class Comparison:
    """Compares two specs. `found`: the place in the new spec and the reason -> who is affected."""

    def __init__(self, old: Document, new: Document) -> None:
        self.old, self.new = old, new
        self.found: dict[tuple[Place, str], set[str]] = {}
        olds, news = read_operations(old), read_operations(new)
        for name, was in olds.items():
            if name in news:
                self.operation(name, was, news[name])
            else:
                self.add(("paths", was.path), f"operation {name} is gone", BOTH)

    def findings(self) -> list[str]:
        """Return one line per finding, in the order of the file."""
        lines: list[tuple[int, str]] = []
        for (place, reason), affected in self.found.items():
            text = f"{self.new.at(place, reason)}; breaks {' and '.join(sorted(affected))}"
            lines.append((self.new.find(place)[2], text))
        return [text for _, text in sorted(lines)]

    def add(self, place: Place, reason: str, affected: set[str]) -> None:
        """Add a finding; one that several operations share is added once."""
        if affected:
            self.found.setdefault((self.new.find(place)[0], reason), set()).update(affected)

    def operation(self, name: str, was: ComparedOperation, now: ComparedOperation) -> None:
        place = "paths", now.path, now.method
        titles = [f"{each.method.upper()} {each.path}" for each in (was, now)]
        names = [re.findall("{.*?}", title) for title in titles]
        swapped = names[0] != names[1] and sorted(names[0]) == sorted(names[1])
        # Renaming a path parameter changes nothing on the wire.
        if swapped or len({re.sub("{.*?}", "{}", title) for title in titles}) > 1:
            self.add(place, f"{name} is {titles[1]} now, was {titles[0]}", BOTH)
        if lost := was.hosts - now.hosts:
            self.add(place, f"{name} is no longer at {', '.join(sorted(lost))}", {CALLERS})
        if "nothing" not in now.security:
            for way in was.security - now.security:
                self.add(place, f"{way} no longer authenticates {name}", BOTH)
        self.parameters(was, now, place)
        self.body(was.own.get("requestBody"), now.own.get("requestBody"), (*place, "requestBody"))
        self.responses(was.own.get("responses", {}), now.own.get("responses", {}), (*place, "responses"))

    def parameters(self, olds: ComparedOperation, news: ComparedOperation, place: Place) -> None:
        for key, (at, now) in news.parameters.items():
            was, title = olds.parameters.get(key, (at, Json()))[1], f"{now['in']} parameter {now['name']}"
            if now.get("required") and not was.get("required"):
                self.add(at, f"{title} is {'mandatory now' if was else 'new and mandatory'}", BOTH)
            if was:
                if serialization(was) != serialization(now):
                    self.add(at, f"{title} is serialized in another way", BOTH)
                self.schemas("request", was.get("schema"), now.get("schema"), (*at, "schema"))
                self.content("request", was.get("content", {}), now.get("content", {}), (*at, "content"))
        for key in olds.parameters.keys() - news.parameters:
            was = olds.parameters[key][1]
            self.add(place, f"{was['in']} parameter {was['name']} is gone", BOTH)

    def body(self, old: Any, new: Any, place: Place) -> None:
        was, now = resolved(self.old, old), resolved(self.new, new)
        if now.get("required") and not was.get("required"):
            self.add(place, "a request body is mandatory now", BOTH)
        if was and not now:
            self.add(place, "the request body is gone", BOTH)
        elif was:
            self.content("request", was["content"], now["content"], (*place, "content"))

    def responses(self, olds: Json, news: Json, place: Place) -> None:
        for status in news.keys() - olds:
            if status[0] not in ERRORS:  # callers handle any error status
                self.add((*place, status), f"status {status} is new, and is not an error", {CALLERS})
        for status, old in olds.items():
            key = next((each for each in (status, f"{status[0]}XX", "default") if each in news), None)
            if key is None:
                self.add(place, f"status {status} is gone", {SERVERS} if status[0] in ERRORS else BOTH)
                continue
            was, now = resolved(self.old, old), resolved(self.new, news[key])
            self.headers(was.get("headers", {}), now.get("headers", {}), (*place, key, "headers"))
            self.content("response", was.get("content", {}), now.get("content", {}), (*place, key, "content"))

    def headers(self, olds: Json, news: Json, place: Place) -> None:
        was_named, now_named = ({name.lower(): name for name in each} for each in (olds, news))
        for key in was_named.keys() - now_named:
            self.add(place, f"header {was_named[key]} is gone", BOTH)
        for key, name in now_named.items():
            was, now = resolved(self.old, olds.get(was_named.get(key, ""))), resolved(self.new, news[name])
            if now.get("required") and not was.get("required"):
                self.add((*place, name), f"header {name} is mandatory now", {SERVERS})
            if was.get("required") and not now.get("required"):
                self.add((*place, name), f"header {name} may be missing now", {CALLERS})
            if was:
                self.schemas("response", was.get("schema"), now.get("schema"), (*place, name, "schema"))

    def content(self, way: str, olds: Json, news: Json, place: Place) -> None:
        was, now = ({re.sub(r"\s", "", name).lower(): name for name in each} for each in (olds, news))
        for name in was.keys() - now:
            self.add(place, f"{way} media type {was[name]} is gone", BOTH)
        for name in now.keys() - was:
            if was:
                self.add((*place, now[name]), f"{way} media type {now[name]} is new", BREAKS[way, "wider"])
        for name in was.keys() & now:
            old, new = (each[key[name]].get("schema") for each, key in ((olds, was), (news, now)))
            self.schemas(way, old, new, (*place, now[name], "schema"))

    def schemas(self, way: str, old: Any, new: Any, place: Place) -> None:
        for change in self.changes(old, new, place, frozenset()):
            self.add(change.place, change.reason, BREAKS[way, change.kind])

    def changes(
        self, old: Any, new: Any, place: Place, above: frozenset[tuple[int, int]]
    ) -> Iterator[Change]:
        """Yield every difference of two schemas. `above`: the pairs that contain them, against circles."""
        if (id(old), id(new)) in above:
            return
        above |= {(id(old), id(new))}
        at: Any = new
        while "$ref" in keys_of(at):  # report a shared schema once, at its own place
            place = self.new.target(at["$ref"]) or place
            at = self.new.find(place)[1]
        olds, news = alternatives(self.old, old), alternatives(self.new, new)
        if len(olds) == len(news) == 1:
            yield from self.plain_changes(olds[0], news[0], place, above)
        else:
            yield from self.union_changes(olds, news, place, above)

    def union_changes(
        self, olds: list[Json], news: list[Json], place: Place, above: frozenset[tuple[int, int]]
    ) -> Iterator[Change]:
        """Compare each alternative of a union with each of the other union."""
        lost, gained = [True] * len(olds), [True] * len(news)
        for old_index, old in enumerate(olds):
            for new_index, new in enumerate(news):
                kinds = {change.kind for change in self.plain_changes(old, new, place, above)}
                lost[old_index] &= not kinds.isdisjoint({"narrower", "gone"})
                gained[new_index] &= "wider" in kinds
        for old, is_lost in zip(olds, lost, strict=True):
            if is_lost:
                yield Change(place, "narrower", f"no alternative accepts all that {as_json(old)} did")
        for new, is_gained in zip(news, gained, strict=True):
            if is_gained:
                yield Change(place, "wider", f"{as_json(new)} is possible now")

    def plain_changes(
        self, old: Json, new: Json, place: Place, above: frozenset[tuple[int, int]]
    ) -> Iterator[Change]:
        yield from value_changes(old, new, place)
        default, default_now = old.get("default"), new.get("default")
        if default != default_now:
            yield Change(place, "default", f"default was {as_json(default)}, is {as_json(default_now)}")
        for key in sorted((old.keys() | new) - COMPARED - IGNORED):
            was = expanded(self.old, old.get(key, DEFAULTS.get(key)))
            now = expanded(self.new, new.get(key, DEFAULTS.get(key)))
            if was != now and (key == ENFORCED or not key.startswith("x-")):
                lost, gained = keyword_change(key, was, now)
                yield from both_ways(place, lost, gained, f"{key} was {as_json(was)}, is {as_json(now)}")
        yield from self.field_changes(old, new, place, above)
        if "items" in old or "items" in new:
            yield from self.changes(old.get("items"), new.get("items"), (*place, "items"), above)

    def field_changes(
        self, old: Json, new: Json, place: Place, above: frozenset[tuple[int, int]]
    ) -> Iterator[Change]:
        was, now = old.get("properties", {}), new.get("properties", {})
        needed, needed_now = set(old.get("required", ())), set(new.get("required", ()))
        others, others_now = (schema.get("additionalProperties", True) for schema in (old, new))
        for name in sorted({*was, *now, *needed, *needed_now}):
            at = *place, "properties", name
            if name in was and name not in now:
                yield Change(at, "gone", f"field {name} is gone")
            elif name in needed_now - needed:
                reason = f"field {name} is {'mandatory now' if name in was else 'new and mandatory'}"
                yield Change(at, "narrower", reason)
            elif name in needed - needed_now:
                yield Change(at, "wider", f"field {name} may be missing now")
            if name in now and name not in was and others is False:
                yield Change(at, "wider", f"field {name} is new, and unknown fields were not allowed")
            if name in was and name in now:
                yield from self.changes(was[name], now[name], at, above)
        if others is not False and others_now is not False:
            yield from self.changes(others, others_now, (*place, "additionalProperties"), above)
        elif others is not False:
            yield Change(place, "narrower", "unknown fields are refused now")
        elif others_now is not False:
            yield Change(place, "wider", "unknown fields are possible now")


def value_changes(old: Json, new: Json, place: Place) -> Iterator[Change]:
    """Compare the values of enum and const, else the types."""
    values, values_now = values_of(old), values_of(new)
    if values is not None and values_now is not None:
        reason = f"{listed(values)} was possible, {listed(values_now)} is"
        yield from both_ways(place, values - values_now, values_now - values, reason)
        return
    types, types_now = types_of(old), types_of(new)
    reason = f"type was {' or '.join(sorted(types))}, is {' or '.join(sorted(types_now))}"
    yield from both_ways(place, types - types_now, types_now - types, reason)
    if values_now is not None:
        yield Change(place, "narrower", f"only {listed(values_now)} is possible now")
    if values is not None:
        yield Change(place, "wider", f"not only {listed(values)} is possible now")


def keyword_change(key: str, was: Any, now: Any) -> tuple[bool, bool]:
    """Return whether another value of a keyword makes a schema narrower, and whether wider."""
    if was is None or now is None or key not in {*LOWER, *UPPER, ENFORCED}:
        return now is not None, was is not None  # another pattern, for example, may be both
    if key == ENFORCED:
        return not set(was) <= set(now), not set(now) <= set(was)
    is_narrower = (now > was) == (key in LOWER)
    return is_narrower, not is_narrower


def listed(values: set[str]) -> str:
    return ", ".join(sorted(values)) or "nothing"


def serialization(parameter: Json) -> tuple[str, bool, bool]:
    """Return how a parameter is sent, with OpenAPI's defaults."""
    style = parameter.get("style", "form" if parameter["in"] in ("query", "cookie") else "simple")
    return style, parameter.get("explode", style == "form"), parameter.get("allowReserved", False)


def both_ways(place: Place, lost: object, gained: object, reason: str) -> Iterator[Change]:
    """Yield a change for what is no longer allowed, and one for what is allowed now."""
    if lost:
        yield Change(place, "narrower", reason)
    if gained:
        yield Change(place, "wider", reason)


def resolved(document: Document, value: Any) -> Json:
    """Return the target of a reference; the keys next to it take precedence."""
    if value is None or "$ref" not in value:
        return dict(value or {})
    siblings = {key: item for key, item in value.items() if key != "$ref"}
    return resolved(document, document.find(document.target(value["$ref"]) or ())[1]) | siblings


def merged(document: Document, value: Any) -> Json:
    """Return a schema with its references and its allOf merged into it."""
    if not isinstance(value, dict):  # true, false or None
        return {"enum": []} if value is False else {}
    own = resolved(document, value)
    whole: Json = {}
    for part in (*(merged(document, each) for each in own.pop("allOf", ())), own):
        fields = {**whole.get("properties", {}), **part.get("properties", {})}
        required = [*whole.get("required", ()), *part.get("required", ())]
        folded: Json = {key: both for key, both in (("properties", fields), ("required", required)) if both}
        folded |= {key: max(whole[key], part[key]) for key in LOWER & whole.keys() & part.keys()}
        folded |= {key: min(whole[key], part[key]) for key in UPPER & whole.keys() & part.keys()}
        whole |= part | folded
    return whole


def expanded(document: Document, value: Any, above: tuple[str, ...] = ()) -> Any:
    """Return a value with its references replaced, except circular ones, and without ignored keys."""
    if isinstance(value, list):
        return [expanded(document, each, above) for each in cast("Iterable[Any]", value)]
    if not isinstance(value, dict):
        return value
    reference = cast("Json", value).get("$ref")
    if isinstance(reference, str) and reference not in above:
        return expanded(document, resolved(document, value), (*above, reference))
    fields = cast("Json", value)
    kept = [key for key in fields if key not in IGNORED or isinstance(fields[key], dict)]
    return {key: expanded(document, fields[key], above) for key in kept}


def alternatives(document: Document, value: Any) -> list[Json]:
    """Return the alternatives of anyOf or oneOf, each merged with the keys next to them."""
    whole = merged(document, value)
    choice: Iterable[Any] = whole.pop("anyOf", None) or whole.pop("oneOf", None) or [{}]
    return [merged(document, {"allOf": [whole, each]}) for each in choice]


def values_of(schema: Json) -> set[str] | None:
    """Return the possible values by const or enum, as JSON; None: any."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is None:
        return None
    return {json.dumps(value, sort_keys=True, ensure_ascii=False) for value in values}


def types_of(schema: Json) -> set[str]:
    values, types = values_of(schema), schema.get("type")
    if types is None and values is not None:
        kinds: list[type[Any]] = [type(json.loads(value)) for value in values]
        types = [TYPES.get(kind, "object") for kind in kinds]
    if isinstance(types, str):
        types = [types]
    names = set(cast("Iterable[str]", types or (*TYPES.values(), "object")))
    return names | {"integer"} if "number" in names else names


def as_json(value: Any) -> str:
    return "none" if value is None else short(json.dumps(value, ensure_ascii=False))


def read_operations(document: Document) -> dict[str, ComparedOperation]:
    """Return the operations by operationId."""
    found: dict[str, ComparedOperation] = {}
    for path in document.root.get("paths", {}):
        for method in METHODS:
            place, own, _ = document.find(("paths", path, method))
            if place[-1] != method:
                continue
            above = document.find(place[:-1])[1]
            parameters: dict[tuple[str, Any], tuple[Place, Json]] = {}
            for at, owner in ((place[:-1], above), (place, own)):
                for index, each in enumerate(owner.get("parameters", ())):
                    parameter = resolved(document, each)
                    parameters[parameter_key(parameter, path)] = (*at, "parameters", index), parameter
            servers = own.get("servers") or above.get("servers") or document.root.get("servers", ())
            security = own.get("security", document.root.get("security"))
            ways = {authentication(document, way) for way in security or [Json()]}
            operation = ComparedOperation(path, method, own, parameters, hosts(servers), ways)
            found[own.get("operationId", f"{method} {path}")] = operation
    return found


def parameter_key(parameter: Json, path: str) -> tuple[str, Any]:
    """Return what identifies a parameter: location, and name; in the path, its position."""
    location, name = parameter["in"], parameter["name"]
    if location == "path":
        return location, path.partition(f"{{{name}}}")[0].count("{")
    return location, name.lower() if location == "header" else name


def hosts(servers: Iterable[Json]) -> set[str]:
    """Return the URLs, with each value of the variables in them."""
    found: set[str] = set()
    for server in servers:
        urls = {server["url"]}
        for name, variable in server.get("variables", {}).items():
            values = variable.get("enum", [f"{{{name}}}"])
            urls = {url.replace(f"{{{name}}}", value) for url in urls for value in values}
        found |= urls
    return found


def authentication(document: Document, way: Json) -> str:
    """Describe a way to authenticate by what is sent."""
    parts: list[str] = []
    for name, scopes in way.items():
        scheme = resolved(document, document.root["components"]["securitySchemes"][name])
        sent = [str(scheme[key]) for key in ("type", "scheme", "in", "name") if key in scheme]
        parts.append(" ".join([*sent, *sorted(scopes)]))
    return " with ".join(sorted(parts)) or "nothing"
