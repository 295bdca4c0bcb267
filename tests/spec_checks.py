"""What holds openapi.yaml: each of `CHECKS` takes a spec, and yields what is wrong with it, a line each.

`facts` compares the tables of spec_facts.md with the same tables made of the spec.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

Row: TypeAlias = tuple[str, ...]

FACTS = Path(__file__).with_name("spec_facts.md").read_text("utf-8")
TOLD = [
    # what a status says of the retry
    "4xx: refused; nothing was run.",
    "503: refused before anything was run.",
    "500, 502, 504, or no answer: unknown.",
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
        operation.get("operationId", f"{method} {path}"): (path, method, {"parameters": [], "tags": [], **operation})
        for path, item in spec["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def resolved(spec: Any, node: Any) -> Any:
    """What a reference points to; anything else as it is."""
    while "$ref" in node:
        target = spec
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
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
    return [f"{key}={each}" for key, each in value.items() if key not in TEXTS | {*known} and not key.startswith("x-")]


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
    """What a spec says, in the rows of spec_facts.md. The last cell of a row is the text that goes with it."""

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
            yield next((tag for tag, all_of in self.tags.items() if all_of == {*names}), " ".join(sorted(names))), *row

    def table_operations(self) -> Iterator[Row]:
        for name, (path, method, operation) in self.operations.items():
            body = resolved(self.spec, operation.get("requestBody", {}))
            sent = f"{'required' if body.get('required') else 'optional'} {self.content(body)}" if body else ""
            security = " or ".join(" and ".join(each) or "nothing" for each in operation.get("security", ()))
            action = operation.get("x-iam-action", {})
            iam = flat(f"{action.get('action')} {action.get('access-level', '')} {action.get('resource-type', '')}")
            known = "operationId", "parameters", "requestBody", "responses", "security", "servers", "tags"
            request = " ".join([method.upper(), path, *others(operation, *known)])
            text = f"{operation.get('summary')} {operation.get('description')}"
            yield name, " ".join(operation["tags"]), request, sent, security, iam, operation.get("x-source", ""), text

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
        return value["name"], value["in"], required, kind, value.get("x-source", ""), value.get("description", "")

    def table_responses(self) -> Iterator[Row]:
        return self.of_operations(
            (name, (status, *self.response(resolved(self.spec, each))))
            for name, (_, _, operation) in self.operations.items()
            for status, each in operation["responses"].items()
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
            yield name, typed(without_fields(schema)), schema.get("x-source", ""), schema.get("description", "")

    def table_fields(self) -> Iterator[Row]:
        for name, schema in self.spec["components"]["schemas"].items():
            for field, each, required in fields(schema):
                kind = "required" if required else "optional"
                yield name, field, kind, typed(each), each.get("description", "")

    def table_credentials(self) -> Iterator[Row]:
        for name, scheme in self.spec["components"]["securitySchemes"].items():
            yield name, " ".join(others(scheme)), scheme.get("x-source", ""), scheme.get("description", "")

    def table_hosts(self) -> Iterator[Row]:
        yield from (("mock", each["url"], "", "", each.get("description", "")) for each in self.spec["servers"])
        yield from self.of_operations(
            (name, (each["url"], region.get("default", ""), " ".join(region.get("enum", ())), ""))
            for name, (path, _, operation) in self.operations.items()
            for each in operation.get("servers") or self.spec["paths"][path].get("servers", ())
            for region in [each.get("variables", {}).get("region", {})]
        )

    def table_errors(self) -> Iterator[Row]:
        """The error codes of the examples, each with its status."""
        rows: dict[Row, None] = {}
        for _, _, operation in self.operations.values():
            for status, each in operation["responses"].items():
                for media in resolved(self.spec, each).get("content", {}).values():
                    for example in media.get("examples", {}).values():
                        value = resolved(self.spec, example)["value"]
                        if "error_code" in value:
                            told = f"{value.get('error_msg')} {value.get('detail', '')}".strip()
                            rows[value["error_code"], status, told] = None
        yield from rows


def facts(spec: Any) -> Iterator[str]:
    """The facts: the spec has each, and no others."""
    tables = Tables(spec)
    for title, body in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", FACTS, re.MULTILINE | re.DOTALL):
        told = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in body.splitlines() if line[:2] == "| "]
        made = [tuple(map(flat, row)) for row in getattr(tables, f"table_{title.lower()}")()]
        yield from differences(title, told[1:], made)


def differences(title: str, told: list[Row], made: list[Row]) -> Iterator[str]:
    """Where two tables differ. What the last cell of a row tells has to be in that of the same row of the other."""
    texts = {row[:-1]: row[-1] for row in made}
    unlisted = [row for row in texts if row not in {each[:-1] for each in told}]
    for *cells, text in told:
        row = tuple(cells)
        if row not in texts:
            near = next((each for each in unlisted if each[:2] == row[:2]), None)
            yield f"{title}: by the facts {' | '.join(row)}; by the spec {' | '.join(near) if near else 'there is none'}"
            if near:
                unlisted.remove(near)
        for part in text.split(" … ") if row in texts else ():
            if part not in texts[row]:
                yield f"{title}: the description of {' '.join(row[:2])} does not say {part!r}: {texts[row]}"
    for row in unlisted:
        yield f"{title}: the facts have no {' | '.join(row)}"


def examples(spec: Any) -> Iterator[str]:
    """The examples of the pages."""
    known = operations(spec)
    for name, place, value in PAGE_EXAMPLES:
        operation = known.get(name, ("", "", {}))[2]
        body = operation.get("requestBody", {}) if place == "request" else operation.get("responses", {}).get(place, {})
        given = [each for media in body.get("content", {}).values() for each in media.get("examples", {}).values()]
        if value not in [resolved(spec, each)["value"] for each in given]:
            yield f"{name}, {place}: the page's example {json.dumps(value)} is missing"
    body = known.get("RetryScriptExecution", ("", "", {}))[2].get("requestBody", {})
    if body.get("x-page-example") != WRONG_EXAMPLE:
        yield f"RetryScriptExecution: x-page-example is not the page's {json.dumps(WRONG_EXAMPLE)}"


def sources(spec: Any) -> Iterator[str]:
    """Each source is in the legend, and is one of something."""
    named = {node["x-source"] for node in walk(spec) if "x-source" in node}
    legend = {*spec["info"]["x-sources"]}
    yield from (f"x-source {name} is not in the legend, info.x-sources" for name in named - legend)
    yield from (f"the legend has {name}, which is the x-source of nothing" for name in legend - named)


def texts(spec: Any) -> Iterator[str]:
    """What is told in words: of each operation, of each parameter, and what has no place in a table."""
    acting, *reading = re.split(r"\w+ only reads?,", spec["info"]["description"])
    for name, (path, method, operation) in operations(spec).items():
        tag = " ".join(operation["tags"])
        line = rf"\| `{name}` \| {tag}( \(.*\))? \| `{method.upper()} {re.escape(path)}` \|"
        if not re.search(line, " ".join(reading) if method == "get" else acting):
            yield f"{name}: info.description does not say that it {'only reads' if method == 'get' else 'acts'}"
        action = operation.get("x-iam-action", {}).get("action")
        for text in (f"IAM action: {action}", "Official page: https://support.huaweicloud.com/"):
            if text not in operation.get("description", ""):
                yield f"{name}: the description does not say {text!r}"
    for name, parameter in spec["components"]["parameters"].items():
        if parameter["schema"].get("description") != parameter["description"]:
            yield f"parameter {name}: the schema has another description, and that is the one of the client"
    told = flat(" ".join(each for node in walk(spec) for each in node.values() if isinstance(each, str)))
    yield from (f"no description says {each!r}" for each in TOLD if each not in told)


CHECKS: list[Callable[[Any], Iterator[str]]] = [facts, examples, sources, texts]
