"""What the changes from one version of the spec to another break, and for whom.

A request takes part contravariantly: a narrower one refuses what callers send. A response does so covariantly: a wider one
holds what callers never met. One comparison of schemas serves both, and BREAKS says what either means to whom.
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
    ("request", "default"): {CALLERS},  # what they leave out means another thing now
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
UNSAID = {
    "minLength": 0,
    "minItems": 0,
    "minProperties": 0,
    "uniqueItems": False,
}  # what JSON Schema takes them for
COMPARED = {"type", "enum", "const", "default", "properties", "required", "additionalProperties", "items"}
SILENT = {
    "title",
    "description",
    "examples",
    "example",
    "deprecated",
    "readOnly",
    "writeOnly",
    "externalDocs",
    "xml",
    "$comment",
    "$defs",  # what is referred to there is compared where it is
}
ERRORS = "45d"  # begin the statuses that are none of success: 4…, 5… and default
ENFORCED = "x-at-least-one-of"  # by the client; other extensions bind nobody


class Change(NamedTuple):
    """A difference of two schemas. A narrower one refuses something that the earlier one took."""

    place: Place
    kind: Kind
    reason: str


class Operation(NamedTuple):
    """An operation, with what it takes over from its path and from the root."""

    path: str
    method: str
    own: Json
    parameters: dict[tuple[str, Any], tuple[Place, Json]]  # by what tells them apart on the wire
    hosts: set[str]
    security: set[str]


class Comparison:
    """`found` is what breaks: the place in the new spec and the reason, and whom."""

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
        """A line each, in the order of the file."""
        lines = [
            (self.new.find(place)[2], self.new.at(place, told), whom)
            for (place, told), whom in self.found.items()
        ]
        return [f"{line}; breaks {' and '.join(sorted(whom))}" for _, line, whom in sorted(lines)]

    def add(self, place: Place, reason: str, whom: set[str]) -> None:
        """What several operations share is told once."""
        if whom:
            self.found.setdefault((self.new.find(place)[0], reason), set()).update(whom)

    def operation(self, name: str, was: Operation, now: Operation) -> None:
        place = "paths", now.path, now.method
        titles = [f"{each.method.upper()} {each.path}" for each in (was, now)]
        names = [re.findall("{.*?}", title) for title in titles]
        swapped = names[0] != names[1] and sorted(names[0]) == sorted(names[1])
        # The names in it never travel.
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

    def parameters(self, olds: Operation, news: Operation, place: Place) -> None:
        for key, (at, now) in news.parameters.items():
            was, title = olds.parameters.get(key, (at, Json()))[1], f"{now['in']} parameter {now['name']}"
            if now.get("required") and not was.get("required"):
                self.add(at, f"{title} is {'mandatory now' if was else 'new and mandatory'}", BOTH)
            if was:
                if spelling(was) != spelling(now):
                    self.add(at, f"{title} is written another way", BOTH)
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
            if status[0] not in ERRORS:  # a new error is an error to callers, whichever it is
                self.add((*place, status), f"status {status} is new, and no error", {CALLERS})
        for status, old in olds.items():
            key = next((each for each in (status, f"{status[0]}XX", "default") if each in news), None)
            if key is None:
                self.add(place, f"status {status} is gone", {SERVERS} if status[0] in ERRORS else BOTH)
                continue
            was, now = resolved(self.old, old), resolved(self.new, news[key])
            self.headers(was.get("headers", {}), now.get("headers", {}), (*place, key, "headers"))
            self.content("response", was.get("content", {}), now.get("content", {}), (*place, key, "content"))

    def headers(self, olds: Json, news: Json, place: Place) -> None:
        was_named, now_named = (
            {name.lower(): name for name in each} for each in (olds, news)
        )  # in whatever case
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
        """Every difference. `above` are the pairs that lead here: a schema may contain itself."""
        if (id(old), id(new)) in above:
            return
        above |= {(id(old), id(new))}
        was, now = alternatives(self.old, old), alternatives(self.new, new)
        at: Any = new
        while "$ref" in keys_of(at):  # what several share is told once, where it is
            place = self.new.target(at["$ref"]) or place
            at = self.new.find(place)[1]
        pairs = [[[*self.plain_changes(a, b, place, above)] for b in now] for a in was]
        if len(was) == len(now) == 1:
            yield from pairs[0][0]
            return
        for each, row in zip(was, pairs, strict=True):
            if all(any(change.kind in ("narrower", "gone") for change in pair) for pair in row):
                yield Change(place, "narrower", f"no alternative takes all that {told(each)} did")
        for index, each in enumerate(now):
            if all(any(change.kind == "wider" for change in row[index]) for row in pairs):
                yield Change(place, "wider", f"{told(each)} is possible now")

    def plain_changes(
        self, old: Json, new: Json, place: Place, above: frozenset[tuple[int, int]]
    ) -> Iterator[Change]:
        values, values_now = values_of(old), values_of(new)
        if values is not None and values_now is not None:
            reason = f"{listed(values)} was possible, {listed(values_now)} is"
            yield from both_ways(place, values - values_now, values_now - values, reason)
        else:
            types, types_now = types_of(old), types_of(new)
            reason = f"type was {' or '.join(sorted(types))}, is {' or '.join(sorted(types_now))}"
            yield from both_ways(place, types - types_now, types_now - types, reason)
            if values_now is not None:
                yield Change(place, "narrower", f"only {listed(values_now)} is possible now")
            if values is not None:
                yield Change(place, "wider", f"not only {listed(values)} is possible now")
        if old.get("default") != new.get("default"):
            yield Change(
                place, "default", f"default was {told(old.get('default'))}, is {told(new.get('default'))}"
            )
        for key in sorted((old.keys() | new) - COMPARED - SILENT):
            was = expanded(self.old, old.get(key, UNSAID.get(key)))
            now = expanded(self.new, new.get(key, UNSAID.get(key)))
            if was != now and (key == ENFORCED or not key.startswith("x-")):
                if was is None or now is None or key not in {*LOWER, *UPPER, ENFORCED}:
                    lost, gained = (
                        now is not None,
                        was is not None,
                    )  # of another pattern nobody knows which way it went
                elif key == ENFORCED:
                    lost, gained = not set(was) <= set(now), not set(now) <= set(was)
                else:
                    lost = (now > was) == (key in LOWER)
                    gained = not lost
                yield from both_ways(place, lost, gained, f"{key} was {told(was)}, is {told(now)}")
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
                yield Change(
                    at,
                    "narrower",
                    f"field {name} is {'mandatory now' if name in was else 'new and mandatory'}",
                )
            elif name in needed - needed_now:
                yield Change(at, "wider", f"field {name} may be missing now")
            if name in now and name not in was and others is False:
                yield Change(at, "wider", f"field {name} is new, where nothing else could be")
            if name in was and name in now:
                yield from self.changes(was[name], now[name], at, above)
        if others is not False and others_now is not False:
            yield from self.changes(others, others_now, (*place, "additionalProperties"), above)
        elif others is not False:
            yield Change(place, "narrower", "fields that are not named here are refused now")
        elif others_now is not False:
            yield Change(place, "wider", "fields that are not named here are possible now")


def listed(values: set[str]) -> str:
    return ", ".join(sorted(values)) or "nothing"


def spelling(parameter: Json) -> tuple[str, bool, bool]:
    """How a parameter is written on the wire; OpenAPI says what holds if it is not said."""
    style = parameter.get("style", "form" if parameter["in"] in ("query", "cookie") else "simple")
    return style, parameter.get("explode", style == "form"), parameter.get("allowReserved", False)


def both_ways(place: Place, lost: object, gained: object, reason: str) -> Iterator[Change]:
    """A change by what is allowed no longer, and what is allowed now."""
    if lost:
        yield Change(place, "narrower", reason)
    if gained:
        yield Change(place, "wider", reason)


def resolved(document: Document, value: Any) -> Json:
    """What a reference leads to; what stands beside it goes first."""
    if value is None or "$ref" not in value:
        return dict(value or {})
    beside = {key: item for key, item in value.items() if key != "$ref"}
    return resolved(document, document.find(document.target(value["$ref"]) or ())[1]) | beside


def merged(document: Document, value: Any) -> Json:
    """A schema with its references and its allOf folded in."""
    if not isinstance(value, dict):  # true, false or none at all
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
    """What is compared as it stands, with the targets of its references, but for those that lead back, and no titles."""
    if isinstance(value, list):
        return [expanded(document, each, above) for each in cast("Iterable[Any]", value)]
    if not isinstance(value, dict):
        return value
    reference = cast("Json", value).get("$ref")
    if isinstance(reference, str) and reference not in above:
        return expanded(document, resolved(document, value), (*above, reference))
    parts = cast("Json", value).items()
    return {
        key: expanded(document, part, above)
        for key, part in parts
        if key not in SILENT or isinstance(part, dict)
    }


def alternatives(document: Document, value: Any) -> list[Json]:
    """What anyOf or oneOf let choose from, each with what is said beside them."""
    whole = merged(document, value)
    choice: Iterable[Any] = whole.pop("anyOf", None) or whole.pop("oneOf", None) or [{}]
    return [merged(document, {"allOf": [whole, each]}) for each in choice]


def values_of(schema: Json) -> set[str] | None:
    """What const or enum leave, as JSON."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return (
        None
        if values is None
        else {json.dumps(value, sort_keys=True, ensure_ascii=False) for value in values}
    )


def types_of(schema: Json) -> set[str]:
    values, types = values_of(schema), schema.get("type")
    if types is None and values is not None:
        types = [
            next((TYPES[each] for each in TYPES if type(item) is each), "object")
            for item in map(json.loads, values)
        ]
    names = (
        {types}
        if isinstance(types, str)
        else set(cast("Iterable[str]", types or (*TYPES.values(), "object")))
    )
    return names | {"integer"} if "number" in names else names


def told(value: Any) -> str:
    return "none" if value is None else short(json.dumps(value, ensure_ascii=False))


def read_operations(document: Document) -> dict[str, Operation]:
    """By operationId."""
    found: dict[str, Operation] = {}
    for path in document.root.get("paths", {}):
        for method in METHODS:
            place, own, _ = document.find(("paths", path, method))
            if place[-1] == method:
                above = document.find(place[:-1])[1]
                parameters = {}
                for at, owner in ((place[:-1], above), (place, own)):
                    for index, each in enumerate(owner.get("parameters", ())):
                        parameter = resolved(document, each)
                        key = parameter["name"].lower() if parameter["in"] == "header" else parameter["name"]
                        if parameter["in"] == "path":
                            key = path.partition(f"{{{key}}}")[0].count("{")
                        parameters[parameter["in"], key] = (*at, "parameters", index), parameter
                servers = own.get("servers") or above.get("servers") or document.root.get("servers", ())
                security = own.get("security", document.root.get("security"))
                ways = {way_told(document, way) for way in security or [Json()]}
                found[own.get("operationId", f"{method} {path}")] = Operation(
                    path, method, own, parameters, hosts(servers), ways
                )
    return found


def hosts(servers: Iterable[Json]) -> set[str]:
    """URLs, one for each value that a variable in them is limited to."""
    found: set[str] = set()
    for server in servers:
        urls = {server["url"]}
        for name, variable in server.get("variables", {}).items():
            values = variable.get("enum", [f"{{{name}}}"])
            urls = {url.replace(f"{{{name}}}", value) for url in urls for value in values}
        found |= urls
    return found


def way_told(document: Document, way: Json) -> str:
    """A way to authenticate, by what it puts on the wire."""
    parts: list[str] = []
    for name, scopes in way.items():
        scheme = resolved(document, document.root["components"]["securitySchemes"][name])
        parts.append(
            " ".join(
                [str(scheme[key]) for key in ("type", "scheme", "in", "name") if key in scheme]
                + sorted(scopes)
            )
        )
    return " with ".join(sorted(parts)) or "nothing"
