"""What holds openapi.yaml: each of `CHECKS` takes a spec, and yields what is wrong with it, a line each.

`facts` compares the tables of spec_facts.md with the same tables made of the spec.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from jsonschema_rs import validator_for

Row: TypeAlias = tuple[str, ...]

FACTS = Path(__file__).with_name("spec_facts.md").read_text("utf-8")
METHODS = "get", "put", "post", "delete", "options", "head", "patch", "trace"
TEXTS = "title", "summary", "description"


def operations(spec: Any) -> dict[str, tuple[str, str, Any]]:
    """Path, method and operation, by operation ID."""
    return {
        each.get("operationId", f"{method} {path}"): (path, method, {"parameters": [], "tags": [], **each})
        for path, item in spec["paths"].items()
        for method, each in item.items()
        if method in METHODS
    }


def bodies(operation: Any) -> dict[str, Any]:
    return {"request": operation.get("requestBody", {}), **operation.get("responses", {})}


def resolved(spec: Any, node: Any) -> Any:
    """What a reference points to; anything else as it is."""
    while "$ref" in node:
        target = spec
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target.get(part, {})
        node = target
    return node


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a value."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def flat(text: object) -> str:
    return " ".join(str(text).split())


def unescaped(cell: str) -> str:
    return cell.strip().replace(r"\|", "|")


def typed(schema: Any) -> str:
    """A schema in words: its types, then all other keywords, so that no restriction stays unseen."""
    if not isinstance(schema, dict):
        return json.dumps(schema)
    words = [" or ".join(schema["type"]) if isinstance(schema.get("type"), list) else schema.get("type", "")]
    for key, value in schema.items():
        if key in ("anyOf", "oneOf", "allOf"):
            words.append((" and " if key == "allOf" else " or ").join(map(typed, value)))
        elif key == "$ref":
            words.append(value.rpartition("/")[2])
        elif key == "items":
            words.append(f"of {typed(value)}")
        elif key == "format":
            words.append(value)
        elif key == "enum":
            words.append(f"enum {' '.join(map(str, value))}")
        elif key == "x-at-least-one-of":
            words.append(f"at least one of {' '.join(value)}")
        elif key != "type":
            words += others({key: value})
    return " ".join(filter(None, words))


def others(value: Any, *known: str) -> list[str]:
    """Keys that are neither known nor texts, with their values."""
    return [f"{key}={value[key]}" for key in value if key not in {*TEXTS, *known}]


def said(*values: Any) -> str:
    """All texts of values."""
    return " ".join(value[key] for value in values for key in TEXTS if key in value)


def leaves(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Place and value of everything in a mapping that is none itself."""
    if not isinstance(node, dict):
        yield place, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{place} {key}".strip())


def without_fields(schema: Any) -> Any:
    """A schema without what has a table or column of its own."""
    whole = {key: value for key, value in schema.items() if key not in ("properties", "required", "x-source")}
    return {**whole, "allOf": [*map(without_fields, whole["allOf"])]} if "allOf" in whole else whole


def fields(schema: Any) -> Iterator[tuple[str, Any, bool]]:
    """Fields of an object, those of allOf included: name, schema, whether it is required."""
    for part in schema.get("allOf", ()):
        yield from fields(part)
    required = schema.get("required", [])
    properties: dict[str, Any] = schema.get("properties", {})
    for name in dict.fromkeys([*properties, *required]):
        yield name, properties.get(name, {}), name in required


class Tables:
    """What a spec says, in the rows of spec_facts.md. The last cell of each has the texts."""

    def __init__(self, spec: Any) -> None:
        self.spec = spec
        self.operations = operations(spec)
        self.tags: dict[str, set[str]] = {"all": {*self.operations}}
        for name, (_, _, operation) in self.operations.items():
            self.tags.setdefault(" ".join(operation["tags"]), set()).add(name)

    def content(self, value: Any) -> str:
        """Media types, and what is in them."""
        return ", ".join(
            " ".join([kind, typed(media.get("schema", {})), *others(media, "schema", "examples")])
            for kind, media in value.get("content", {}).items()
        )

    def of_operations(self, rows: Iterable[tuple[str, Row]]) -> Iterator[Row]:
        """Put rows that several operations have into one, whose first cell names them all."""
        owners: dict[Row, list[str]] = {}
        for name, row in rows:
            owners.setdefault(row, []).append(name)
        for row, names in owners.items():
            tag = next((tag for tag, all_of in self.tags.items() if all_of == {*names}), "")
            yield tag or " ".join(sorted(names)), *row

    def table_operations(self) -> Iterator[Row]:
        for name, (path, method, operation) in self.operations.items():
            known = "operationId", "parameters", "requestBody", "responses", "security", "servers", "tags"
            request = [method.upper(), path, *others(operation, *known, "x-iam-action", "x-source")]
            content = resolved(self.spec, operation.get("requestBody", {}))
            required = "required" if content.get("required") else "optional" if content else ""
            body = [required, self.content(content), *others(content, "required", "content")]
            security = " or ".join(" and ".join(each) or "nothing" for each in operation.get("security", ()))
            iam = " ".join(others(operation.get("x-iam-action", {})))
            yield (
                *(name, " ".join(operation["tags"]), " ".join(request), " ".join(body), security, iam),
                *(operation.get("x-source", ""), said(operation, content)),
            )

    def table_parameters(self) -> Iterator[Row]:
        return self.of_operations(
            (name, self.parameter(resolved(self.spec, each)))
            for name, (path, _, operation) in self.operations.items()
            for each in [*self.spec["paths"][path].get("parameters", ()), *operation["parameters"]]
        )

    def parameter(self, value: Any) -> Row:
        more = others(value, "name", "in", "required", "schema", "x-server-default", "x-source")
        if "x-server-default" in value:
            more.append(f"(by default {json.dumps(value['x-server-default'])})")
        required = "required" if value.get("required") else "optional"
        kind = " ".join([typed(value.get("schema", {})), *more])
        return (
            value.get("name", ""),
            value.get("in", ""),
            required,
            kind,
            value.get("x-source", ""),
            said(value),
        )

    def table_responses(self) -> Iterator[Row]:
        return self.of_operations(
            (name, (status, *self.response(resolved(self.spec, each))))
            for name, (_, _, operation) in self.operations.items()
            for status, each in operation.get("responses", {}).items()
        )

    def response(self, value: Any) -> Row:
        headers = {name: resolved(self.spec, each) for name, each in value.get("headers", {}).items()}
        names = ", ".join(
            " ".join([name, typed(header.get("schema", {})), *others(header, "schema")])
            for name, header in headers.items()
        )
        return self.content(value), names, value.get("x-source", ""), said(value, *headers.values())

    def table_schemas(self) -> Iterator[Row]:
        for name, schema in self.spec["components"]["schemas"].items():
            yield name, typed(without_fields(schema)), schema.get("x-source", ""), said(schema)

    def table_fields(self) -> Iterator[Row]:
        for name, schema in self.spec["components"]["schemas"].items():
            for field, each, required in fields(schema):
                kind = "required" if required else "optional"
                yield name, field, kind, typed(each), said(each)

    def table_credentials(self) -> Iterator[Row]:
        for name, scheme in self.spec["components"]["securitySchemes"].items():
            yield name, " ".join(others(scheme, "x-source")), scheme.get("x-source", ""), said(scheme)

    def table_hosts(self) -> Iterator[Row]:
        for each in self.spec["servers"]:
            yield "mock", each.get("url", ""), "", "", "", said(each)
        yield from self.of_operations(
            (name, (each.get("url", ""), *self.region(region), said(each, region)))
            for name, (path, _, operation) in self.operations.items()
            for each in operation.get("servers") or self.spec["paths"][path].get("servers", ())
            for region in [each.get("variables", {}).get("region", {})]
        )

    def region(self, value: Any) -> Row:
        return value.get("default", ""), " ".join(value.get("enum", ())), value.get("x-source", "")

    def table_places(self) -> Iterator[Row]:
        """What is in no other table, but for the version."""
        known = "servers", "paths", "components", "x-error-codes", "x-limits"
        info, tags = self.spec["info"], self.spec.get("tags", ())
        parts = dict(enumerate(info.get("description", "").split("\n## ")))
        root = {**self.spec, "info": {**info, "description": parts}, "tags": dict(enumerate(tags))}
        for place, value in leaves({key: root[key] for key in root if key not in known}):
            if place != "info version":
                yield place, value

    def table_examples(self) -> Iterator[Row]:
        """The examples of bodies, as JSON."""
        return self.of_operations(
            (name, (place, json.dumps(example.get("value")), example.get("x-source", ""), said(example)))
            for name, (_, _, operation) in self.operations.items()
            for place, body in bodies(operation).items()
            for media in resolved(self.spec, body).get("content", {}).values()
            for each in media.get("examples", {}).values()
            for example in [resolved(self.spec, each)]
        )

    def table_links(self) -> Iterator[Row]:
        """Where a response leads, and what it repeats of its request (x-repeats)."""
        for name, (_, _, operation) in self.operations.items():
            for status, each in operation.get("responses", {}).items():
                response = resolved(self.spec, each)
                for link, value in response.get("links", {}).items():
                    given = {**value.get("parameters", {}), **value.get("requestBody", {})}
                    yield name, status, link, value["operationId"], " ".join(others(given)), ""
                for place, source in response.get("x-repeats", {}).items():
                    yield name, status, "repeats", place, source, ""

    def table_limits(self) -> Iterator[Row]:
        limits = self.spec.get("x-limits", {})
        for name in limits.keys() - {"x-source"}:
            yield name, str(limits[name]), limits.get("x-source", ""), ""

    def table_codes(self) -> Iterator[Row]:
        """x-error-codes: those of the gateway, then those of the services."""
        for status, errors in self.spec.get("x-error-codes", {}).items():
            yield from (("gateway", status, *self.code(error)) for error in errors)
        yield from self.of_operations(
            (name, (status, *self.code(error)))
            for name, (_, _, operation) in self.operations.items()
            for status, each in operation.get("responses", {}).items()
            for error in resolved(self.spec, each).get("x-error-codes", ())
        )

    def code(self, error: Any) -> Row:
        return error["code"], error["cause"], error.get("detail", ""), error.get("x-source", ""), ""


def facts(spec: Any) -> Iterator[str]:
    """The spec has each row of the tables, and no others."""
    tables = Tables(spec)
    for title, body in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", FACTS, re.MULTILINE | re.DOTALL):
        lines = [line for line in body.splitlines() if line.startswith("| ")][1:]
        pages = [tuple(map(unescaped, re.split(r"(?<!\\)\|", line)[1:-1])) for line in lines]
        made = [tuple(map(flat, row)) for row in getattr(tables, f"table_{title.lower()}")()]
        yield from differences(title, pages, made)


def differences(title: str, pages: list[Row], made: list[Row]) -> Iterator[str]:
    """Where a spec differs from the pages."""
    texts = {row[:-1]: row[-1] for row in made}
    unlisted = [row for row in texts if row not in {each[:-1] for each in pages}]
    for *cells, text in pages:
        row = tuple(cells)
        if row not in texts:
            near = next((each for each in unlisted if each[:2] == row[:2]), None)
            yield f"{title}: the pages say: {shown(row)}. The spec says: {shown(near) if near else 'nothing'}"
            if near:
                unlisted.remove(near)
        elif text != texts[row]:
            yield f"{title}: the text of {' '.join(row[:2])} has to be {text!r}, and is {texts[row]!r}"
    yield from (f"{title}: the pages say nothing of: {shown(row)}" for row in unlisted)


def shown(row: Row) -> str:
    return ", ".join(filter(None, row))


def examples(spec: Any) -> Iterator[str]:
    """Each body has an example, and all have documented values only."""
    components = closed(spec["components"])
    for name, (_, _, operation) in operations(spec).items():
        for place, body in bodies(operation).items():
            content = resolved(spec, body).get("content", {})
            given = [each for media in content.values() for each in media.get("examples", {}).values()]
            values = [resolved(spec, each).get("value") for each in given]
            if content and not values:
                yield f"{name}, {place}: no example"
            for value in values:
                schema = next(iter(content.values())).get("schema", {})
                for error in validator_for({**closed(schema), "components": components}).iter_errors(value):
                    yield f"{name}, {place}: an example is not as documented: {flat(error)}"


def closed(node: Any) -> Any:
    """Schemas, of which enums that are open to other values (`anyOf: [enum, string]`) are not."""
    if isinstance(node, list):
        return [*map(closed, node)]
    if not isinstance(node, dict):
        return node
    if "anyOf" in node and "$ref" in node["anyOf"][0]:
        return {"anyOf": [node["anyOf"][0], {"type": "null"}]}
    return {key: closed(value) for key, value in node.items()}


def sources(spec: Any) -> Iterator[str]:
    """Each source is in the legend, and is one of something."""
    named = {node["x-source"] for node in walk(spec) if "x-source" in node}
    legend = {*spec["info"]["x-sources"]}
    yield from (f"x-source {name} is not in the legend, info.x-sources" for name in named - legend)
    yield from (f"the legend has {name}, which is the x-source of nothing" for name in legend - named)


def texts(spec: Any) -> Iterator[str]:
    """info.description has each operation where it belongs; tags and parameters agree with themselves."""
    acting, *reading = re.split(r"\w+ only reads?,", spec["info"]["description"])
    for name, (path, method, operation) in operations(spec).items():
        tag = " ".join(operation["tags"])
        line = rf"\| `{name}` \| {tag}( \(.*\))? \| `{method.upper()} {re.escape(path)}` \|"
        if not re.search(line, " ".join(reading) if method == "get" else acting):
            effect = "only reads" if method == "get" else "acts"
            yield f"{name}: info.description does not say that it {effect}"
    tags = {each["name"] for each in spec.get("tags", ())}
    used = {tag for _, _, operation in operations(spec).values() for tag in operation["tags"]}
    yield from (f"the tag {name} is not both listed and used" for name in tags ^ used)
    for name, parameter in spec["components"]["parameters"].items():
        if parameter["schema"].get("description") != parameter.get("description"):
            yield f"parameter {name}: the schema has another description, and that is the one of the client"


CHECKS: list[Callable[[Any], Iterator[str]]] = [facts, examples, sources, texts]
