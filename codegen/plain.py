"""Rewrites the spec into what openapi-python-client reads without loss, and refuses what it has no types for.

References of operations are resolved, and schemas are spelled out (plain_schemas.py). What the generator would not pass
on (style, explode, security, media types) is kept in an `Operation`, for the templates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from plain_schemas import FIELDS, Schemas, types_of

if TYPE_CHECKING:
    from document import Document, Place

METHODS = "get", "put", "post", "delete", "options", "head", "patch", "trace"
STYLES = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
IGNORED_HEADERS = "accept", "content-type", "authorization"  # OpenAPI: such a definition shall be ignored


class Parameter(NamedTuple):
    """How a parameter is sent."""

    name: str
    location: str
    style: str = "form"
    explode: bool = True
    allow_reserved: bool = False
    is_deprecated: bool = False


class Body(NamedTuple):
    """How a body is sent."""

    kind: str  # json, form, multipart or raw
    media_type: str
    media_types: dict[str, str] = {}  # noqa: RUF012 - nobody changes it

    @property
    def arguments(self) -> str:
        """Code of the last arguments of the function that writes it."""
        return f"{self.media_type!r}, {self.media_types!r}" if self.media_types else repr(self.media_type)


class Success(NamedTuple):
    """A response of success."""

    status: str  # 200, 2XX or default
    kind: str  # json, text, bytes or none
    description: str
    headers: list[str]
    accept: str | None


@dataclass
class Operation:
    """An operation of the spec, and the file that must come of it."""

    title: str
    place: Place
    name: str
    tag: str = "default"
    file: str = ""
    parameters: dict[tuple[str, str], Parameter] = field(default_factory=dict[tuple[str, str], Parameter])
    body: Body | None = None
    successes: list[Success] = field(default_factory=list[Success])
    errors: dict[str, str] = field(default_factory=dict[str, str])
    is_deprecated: bool = False
    is_open: bool = False


def is_json(media_type: str) -> bool:
    """Say whether a media type is JSON; any (`*/*`) counts as it."""
    kind = media_type.partition(";")[0].strip().lower()
    return kind in ("application/json", "*/*", "application/*") or kind.endswith("+json")


class Plain:
    """The spec as the generator reads it.

    Attributes:
        root: The document for the generator.
        operations: What the templates have to know besides.
        schemas: What was found in the schemas.
        notes: What is made otherwise than one may expect.
    """

    def __init__(self, spec: Document) -> None:
        self.spec = spec
        self.schemas = Schemas(spec)
        self.operations: list[Operation] = []
        self.notes: list[str] = []
        source: Any = spec.root
        self.root: dict[str, Any] = {key: source[key] for key in ("openapi", "info") if key in source}
        named: Any = source.get("components", {}).get("schemas", {})
        places = {name: ("components", "schemas", name) for name in named}
        self.root["components"] = {
            "schemas": {name: self.schemas.plain(self.schemas.at(place), place) for name, place in places.items()}
        }
        self._name_members(self.root["components"]["schemas"])
        self.root["paths"] = {path: self._item(path, ("paths", path)) for path in source.get("paths", {})}
        if not self.operations:
            self.refuse((), "no paths with operations: there is nothing to make a client of")

    def _name_members(self, schemas: dict[str, Any]) -> None:
        """Name the objects in a named union: the generator makes what is in them twice, and fails."""
        for name, schema in [*schemas.items()]:
            key = "anyOf" if "anyOf" in schema else "oneOf"
            models: dict[str, str] = {}  # by the reference that each was made of
            for at, member in enumerate(schema.get(key, ())):
                references = [each["$ref"].rpartition("/")[2] for each in member.get("allOf", ()) if "$ref" in each]
                title = member.get("title", schema.get("title"))
                label = f"type_{at}" if title == schema.get("title") else title
                own = f"{name}_{references[0] if references else label}"
                if ("object" in types_of(member) or "properties" in member) and own not in schemas:
                    schemas[own], schema[key][at] = member, {"$ref": f"#/components/schemas/{own}"}
                    models |= dict.fromkeys(references[:1], own)
            if "discriminator" in schema and models:
                self.schemas.note_discriminator(schema["discriminator"], models)

    def refuse(self, place: Place, reason: str) -> None:
        """Note why there can be no client."""
        self.schemas.refuse(place, reason)

    def _item(self, path: str, place: Place) -> dict[str, Any]:
        if "?" in path or "#" in path:
            self.refuse(place, f"a path has no {'?' if '?' in path else '#'}: declare a parameter in the query")
        item = self.schemas.resolved(self.schemas.at(place))
        common = item.get("parameters", [])
        made: dict[str, Any] = {}
        for method in METHODS:
            if method in item:
                made[method] = self._operation(path, method, item[method], common, (*place, method))
        return made

    def _operation(
        self, path: str, method: str, value: dict[str, Any], common: list[Any], place: Place
    ) -> dict[str, Any]:
        tags = value.get("tags") or ["default"]
        operation = Operation(f"{method.upper()} {path}", place, value.get("operationId", ""), tags[0])
        operation.is_deprecated = value.get("deprecated", False)
        operation.is_open = value.get("security", self.spec.root.get("security")) == []
        self.operations.append(operation)
        if len(tags) > 1:
            self.refuse((*place, "tags"), f"{operation.title} has {len(tags)} tags; a tag is a service, so leave one")
        made: dict[str, Any] = {key: value[key] for key in ("summary", "description") if key in value}
        if operation.name:
            made["operationId"] = operation.name
        made["tags"] = tags[:1]
        made["parameters"] = self._parameters(operation, value.get("parameters", []), common)
        if "requestBody" in value and (body := self._body(operation, self.schemas.resolved(value["requestBody"]))):
            made["requestBody"] = body
        made["responses"] = self._responses(
            operation, value.get("responses") or {"default": {"description": ""}}, method
        )
        return made

    def _parameters(self, operation: Operation, own: list[Any], common: list[Any]) -> list[dict[str, Any]]:
        made: dict[tuple[str, str], dict[str, Any]] = {}
        places: list[tuple[Any, Place]] = [
            *((each, (*operation.place, "parameters", at)) for at, each in enumerate(own)),
            *((each, (*operation.place[:-1], "parameters", at)) for at, each in enumerate(common)),
        ]
        for each, place in places:
            value = self.schemas.resolved(each)
            key = value["in"], value["name"]
            if key in made:
                continue
            if key[0] == "header" and key[1].lower() in IGNORED_HEADERS:
                self.notes.append(
                    self.spec.at(place, f"the parameter {key[1]} is ignored, as OpenAPI says: it is set anyway")
                )
                continue
            schema, style = value.get("schema", {}), value.get("style", STYLES[key[0]][0])
            if "content" in value:
                media_type = next(iter(value["content"]))
                schema, style = value["content"][media_type].get("schema", {}), "json"
                if not is_json(media_type) or key[0] != "query":
                    self.refuse(place, "a parameter with `content` is made for JSON in the query only; use `schema`")
            elif style not in STYLES[key[0]]:
                self.refuse(place, f"style {style} is not one of {key[0]} parameters: {', '.join(STYLES[key[0]])}")
            explode = value.get("explode", style == "form")
            if key[0] == "cookie" and explode and not isinstance(schema, bool) and self._is_of_parts(schema):
                self.refuse(place, "a cookie of several values needs explode: false")
            reserved, is_deprecated = value.get("allowReserved", False), value.get("deprecated", False)
            operation.parameters[key] = Parameter(key[1], key[0], style, explode, reserved, is_deprecated)
            texts = {name: value[name] for name in ("description", "example") if name in value}
            schema = texts if isinstance(schema, bool) else {**schema, **texts}
            made[key] = {
                "name": key[1],
                "in": key[0],
                "required": value.get("required", False),
                "schema": self.schemas.plain(schema, (*place, "schema")),
            }
        return list(made.values())

    def _is_of_parts(self, schema: Any) -> bool:
        return bool({"array", "object"} & set(types_of(self.schemas.resolved(schema))))

    def _body(self, operation: Operation, value: dict[str, Any]) -> dict[str, Any] | None:
        place = (*operation.place, "requestBody", "content")
        content = value["content"]
        chosen = next((each for each in content if is_json(each)), next(iter(content), None))
        if chosen is None:
            return None
        if not is_json(chosen) and len(content) > 1:
            self.refuse(place, f"none of {', '.join(content)} is JSON; leave one of them")
        media, place = content[chosen], (*place, chosen)
        schema, kind = media.get("schema", {}), chosen.partition(";")[0].strip().lower()
        media_type, as_read = ("application/json" if "*" in chosen else chosen), "application/json"
        if is_json(chosen):
            body = Body("json", media_type)
        elif kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
            body, as_read = self._form(media, kind, place), kind
            if self.schemas.resolved(schema).get("type", "object") != "object":
                self.refuse(place, f"{kind} needs a schema of type object")
        elif not self._is_text(schema):
            self.refuse(place, f"of {chosen} a schema of strings can be sent only; what has fields is sent as JSON")
            return None
        else:
            body = Body("raw", media_type)
            schema = {"type": "string"} if kind.startswith("text/") else {"type": "string", "format": "binary"}
            as_read = "application/json" if kind.startswith("text/") else "application/octet-stream"
        operation.body = body
        made = {as_read: {"schema": self.schemas.plain(schema, (*place, "schema"))}}
        return {"required": value.get("required", False), "content": made}

    def _form(self, media: dict[str, Any], kind: str, place: Place) -> Body:
        media_types: dict[str, str] = {}
        for name, encoding in media.get("encoding", {}).items():
            for key in set(encoding) - {"contentType"}:
                self.refuse((*place, "encoding", name, key), f"encoding with {key} is not made; leave it out")
            if "contentType" in encoding:
                media_types[name] = encoding["contentType"].partition(",")[0].strip()
        multipart = kind.startswith("multipart/")
        return Body("multipart" if multipart else "form", kind, media_types if multipart else {})

    def _is_text(self, schema: Any) -> bool:
        return self.schemas.resolved(schema).get("type", "string") == "string" and not FIELDS & set(
            self.schemas.resolved(schema)
        )

    def _responses(self, operation: Operation, value: dict[str, Any], method: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        has_success = any(status.startswith("2") for status in value)
        for status, each in value.items():
            response, place = self.schemas.resolved(each), (*operation.place, "responses", status)
            description = response.get("description", "")
            made[status] = {"description": description}  # the body of an error has no model
            if not (status.startswith("2") or (status == "default" and not has_success)):
                operation.errors[status] = description
                continue
            content: dict[str, Any] = {} if method == "head" else response.get("content", {})
            kind, accept, media = self._media(content, place)
            operation.successes.append(Success(status, kind, description, list(response.get("headers", {})), accept))
            if media:
                made[status]["content"] = media
        operation.successes.sort(key=lambda each: ("X" in each.status, each.status == "default", each.status))
        return made

    def _media(self, content: dict[str, Any], place: Place) -> tuple[str, str | None, dict[str, Any]]:
        """Return what a response holds (json, text, bytes, none), what to accept, and the content for the generator."""
        chosen = next((each for each in content if is_json(each)), next(iter(content), None))
        if chosen is None:
            return "none", None, {}
        place = (*place, "content", chosen)
        schema = content[chosen].get("schema", {})
        if is_json(chosen):
            return "json", chosen, {"application/json": {"schema": self.schemas.plain(schema, (*place, "schema"))}}
        if not self._is_text(schema):
            self.refuse(place, f"of {chosen} a schema of strings can be read only; what has fields is read as JSON")
        if chosen.startswith("text/"):
            return "text", chosen, {"text/plain": {"schema": {"type": "string"}}}
        return "bytes", chosen, {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
