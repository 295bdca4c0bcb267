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
PHRASES = [
    # what a status says of the retry
    "4xx: refused; nothing was run.",
    "503: refused before anything was run.",
    "500, 502, 504, or no response: unknown.",
    # what the pages say otherwise than each other, or than the SDK, where it applies
    "array of objects",  # record_id
    "500 on another",  # 0103 to 0105
    "`job_id`",  # jobId
    "the API definition and the SDK do not",  # CSE detail
    "errorCode and errorMessage",
    "The SDK sends plain `application/json`",
    "the SDK sends it for neither",  # X-Auth-Token
    "`.com` where Terraform's provider says `.eu`",
    "na-mexico-1, which the SDK does not",
    'English error code page gives "Bad Request"',
    "WKS.00211102 has two",
    "come with status 200",
    "general status page lists 404",
    "do not agree with each other",  # statuses of script records
    "Modify in the API definition is Configure",
    "PreInit is on the page of the job list only",
    "The pages of 2026 say String",  # times of script records
]
# The examples of the two pages: operation, status or request, value.
PAGE_EXAMPLES: list[tuple[str, str, Any]] = [
    ("RetryScriptExecution", "200", {"task_id": "0000000059071dbc01591661d3990019"}),
    ("RetryEngine", "request", {"action": "Retry"}),
    ("RetryEngine", "200", {"id": "string", "name": "string", "jobId": 0}),
]
WRONG_EXAMPLE = {"record_id": [{"record_id": "record_id"}]}  # of the Workspace page, against its own table
METHODS = "get", "put", "post", "delete", "options", "head", "patch", "trace"
TEXTS = {"description", "title", "summary", "example", "examples"}
FIELDS = {"properties", "required"}


def operations(spec: Any) -> dict[str, tuple[str, str, Any]]:
    """Path, method and operation, by operation ID."""
    return {
        each.get("operationId", f"{method} {path}"): (path, method, {"parameters": [], "tags": [], **each})
        for path, item in spec["paths"].items()
        for method, each in item.items()
        if method in METHODS
    }


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


def typed(schema: Any) -> str:
    """A schema in words: its types, then all other keywords, so that no restriction stays unseen."""
    if not isinstance(schema, dict):
        return json.dumps(schema)
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    words = [" or ".join(schema["type"]) if isinstance(schema.get("type"), list) else schema.get("type", "")]
    for key, value in schema.items():
        if key in ("anyOf", "oneOf", "allOf"):
            words.append((" and " if key == "allOf" else " or ").join(map(typed, value)))
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
    return " ".join([*filter(None, words), *(["(assumed)"] if "x-assumption" in schema else [])])


def others(value: Any, *known: str) -> list[str]:
    """Keys that are neither known nor texts nor extensions, with their values."""
    unknown = [key for key in value if key not in TEXTS | {*known} and not key.startswith("x-")]
    return [f"{key}={value[key]}" for key in unknown]


def without_fields(schema: Any) -> Any:
    """A schema without its fields, which have a table of their own."""
    whole = {key: value for key, value in schema.items() if key not in FIELDS}
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
    """What a spec says, in the rows of spec_facts.md. The last cell of each has the descriptions."""

    def __init__(self, spec: Any) -> None:
        self.spec = spec
        self.operations = operations(spec)
        self.tags: dict[str, set[str]] = {"all": {*self.operations}}
        for name, (_, _, operation) in self.operations.items():
            self.tags.setdefault(" ".join(operation["tags"]), set()).add(name)

    def content(self, value: Any) -> str:
        """Media types, and what is in them."""
        return ", ".join(
            " ".join([kind, typed(media.get("schema", {})), *others(media, "schema")])
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
            request = " ".join([method.upper(), path, *others(operation, *known)])
            body = resolved(self.spec, operation.get("requestBody", {}))
            required = "required " if body.get("required") else "optional " if body else ""
            security = " or ".join(" and ".join(each) or "nothing" for each in operation.get("security", ()))
            action = operation.get("x-iam-action", {})
            iam = " ".join(action.get(key, "") for key in ("action", "access-level", "resource-type"))
            yield (
                *(name, " ".join(operation["tags"]), request, required + self.content(body), security, iam),
                *(
                    operation.get("x-source", ""),
                    f"{operation.get('summary')} {operation.get('description')}",
                ),
            )

    def table_parameters(self) -> Iterator[Row]:
        return self.of_operations(
            (name, self.parameter(resolved(self.spec, each)))
            for name, (path, _, operation) in self.operations.items()
            for each in [*self.spec["paths"][path].get("parameters", ()), *operation["parameters"]]
        )

    def parameter(self, value: Any) -> Row:
        more = others(value, "name", "in", "required", "schema")
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
            value.get("description", ""),
        )

    def table_responses(self) -> Iterator[Row]:
        return self.of_operations(
            (name, (status, *self.response(resolved(self.spec, each))))
            for name, (_, _, operation) in self.operations.items()
            for status, each in operation.get("responses", {}).items()
        )

    def response(self, value: Any) -> Row:
        headers, texts = list[str](), [value.get("description", "")]
        for name, each in value.get("headers", {}).items():
            header = resolved(self.spec, each)
            headers.append(" ".join([name, typed(header.get("schema", {})), *others(header, "schema")]))
            texts.append(header.get("description", ""))
        return self.content(value), ", ".join(headers), value.get("x-source", ""), " ".join(texts)

    def table_schemas(self) -> Iterator[Row]:
        for name, schema in self.spec["components"]["schemas"].items():
            text = schema.get("description", "")
            yield name, typed(without_fields(schema)), schema.get("x-source", ""), text

    def table_fields(self) -> Iterator[Row]:
        for name, schema in self.spec["components"]["schemas"].items():
            for field, each, required in fields(schema):
                kind = "required" if required else "optional"
                yield name, field, kind, typed(each), each.get("description", "")

    def table_credentials(self) -> Iterator[Row]:
        for name, scheme in self.spec["components"]["securitySchemes"].items():
            yield name, " ".join(others(scheme)), scheme.get("x-source", ""), scheme.get("description", "")

    def table_hosts(self) -> Iterator[Row]:
        for each in self.spec["servers"]:
            yield "mock", each.get("url", ""), "", "", each.get("description", "")
        yield from self.of_operations(
            (name, (each.get("url", ""), region.get("default", ""), " ".join(region.get("enum", ())), ""))
            for name, (path, _, operation) in self.operations.items()
            for each in operation.get("servers") or self.spec["paths"][path].get("servers", ())
            for region in [each.get("variables", {}).get("region", {})]
        )

    def table_errors(self) -> Iterator[Row]:
        """The errors that have an example."""
        return self.of_operations(
            (name, (value["error_code"], status, f"{value.get('error_msg')} {value.get('detail', '')}"))
            for name, (_, _, operation) in self.operations.items()
            for status, each in operation.get("responses", {}).items()
            for media in resolved(self.spec, each).get("content", {}).values()
            for example in media.get("examples", {}).values()
            if "error_code" in (value := resolved(self.spec, example).get("value", {}))
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
        pages = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in lines]
        made = [tuple(map(flat, row)) for row in getattr(tables, f"table_{title.lower()}")()]
        yield from differences(title, pages, made)


def differences(title: str, pages: list[Row], made: list[Row]) -> Iterator[str]:
    """Where a spec differs from the pages. The descriptions only have to contain the text of the pages."""
    texts = {row[:-1]: row[-1] for row in made}
    unlisted = [row for row in texts if row not in {each[:-1] for each in pages}]
    for *cells, text in pages:
        row = tuple(cells)
        if row not in texts:
            near = next((each for each in unlisted if each[:2] == row[:2]), None)
            yield f"{title}: the pages say: {shown(row)}. The spec says: {shown(near) if near else 'nothing'}"
            if near:
                unlisted.remove(near)
        for part in text.split(" … ") if row in texts else ():
            if part not in texts[row]:
                yield f"{title}: the description of {' '.join(row[:2])} does not say {part!r}: {texts[row]}"
    yield from (f"{title}: the pages say nothing of: {shown(row)}" for row in unlisted)


def shown(row: Row) -> str:
    return ", ".join(filter(None, row))


def examples(spec: Any) -> Iterator[str]:
    """The examples of the pages are there, each body has one, and all have documented values only."""
    known = operations(spec)
    components = closed(spec["components"])
    for name, (_, _, operation) in known.items():
        bodies = {"request": operation.get("requestBody"), **operation.get("responses", {})}
        for place, body in bodies.items():
            content = resolved(spec, body or {}).get("content", {})
            given = [each for media in content.values() for each in media.get("examples", {}).values()]
            values = [resolved(spec, each).get("value") for each in given]
            if content and not values:
                yield f"{name}, {place}: no example"
            for value in values:
                schema = next(iter(content.values())).get("schema", {})
                for error in validator_for({**closed(schema), "components": components}).iter_errors(value):
                    yield f"{name}, {place}: an example is not as documented: {flat(error)}"
            for at, of, value in PAGE_EXAMPLES:
                if (at, of) == (name, place) and value not in values:
                    yield f"{name}, {place}: the page's example {json.dumps(value)} is missing"
    body = known.get("RetryScriptExecution", ("", "", {}))[2].get("requestBody", {})
    if body.get("x-page-example") != WRONG_EXAMPLE:
        yield f"RetryScriptExecution: x-page-example is not the page's {json.dumps(WRONG_EXAMPLE)}"


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
    """Descriptions: of each operation, of each parameter, and phrases that belong to no table."""
    acting, *reading = re.split(r"\w+ only reads?,", spec["info"]["description"])
    for name, (path, method, operation) in operations(spec).items():
        tag = " ".join(operation["tags"])
        line = rf"\| `{name}` \| {tag}( \(.*\))? \| `{method.upper()} {re.escape(path)}` \|"
        if not re.search(line, " ".join(reading) if method == "get" else acting):
            effect = "only reads" if method == "get" else "acts"
            yield f"{name}: info.description does not say that it {effect}"
        action = operation.get("x-iam-action", {}).get("action")
        for text in (f"IAM action: {action}", "Official page: https://support.huaweicloud.com/"):
            if text not in operation.get("description", ""):
                yield f"{name}: the description does not say {text!r}"
    tags = {each["name"] for each in spec.get("tags", ())}
    used = {tag for _, _, operation in operations(spec).values() for tag in operation["tags"]}
    yield from (f"the tag {name} is not both listed and used" for name in tags ^ used)
    for name, parameter in spec["components"]["parameters"].items():
        if parameter["schema"].get("description") != parameter.get("description"):
            yield f"parameter {name}: the schema has another description, and that is the one of the client"
    strings = [each for node in walk(spec) for each in node.values() if isinstance(each, str)]
    everything = flat(" ".join(strings))
    yield from (f"no description says {each!r}" for each in PHRASES if each not in everything)


CHECKS: list[Callable[[Any], Iterator[str]]] = [facts, examples, sources, texts]
