"""Rewrites the spec for openapi-python-client, so that nothing is lost; refuses what has no type in Python.

Resolves references of operations, and simplifies schemas (plain_schemas.py). Keeps what the generator would
not pass to the templates (style, explode, security, media types) in a `GeneratedOperation`.
"""

from __future__ import annotations

import re
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
# The media type by which the generator recognizes a kind of body.
READ_AS = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "multipart": "multipart/form-data",
    "text": "application/json",
    "bytes": "application/octet-stream",
}
FORMS = {media_type: kind for kind, media_type in READ_AS.items() if kind in ("form", "multipart")}
SCHEMAS: dict[str, Any] = {"text": {"type": "string"}, "bytes": {"type": "string", "format": "binary"}}
WILDCARDS = {**READ_AS, "text": "text/plain"}  # what is sent for a range of media types, such as text/*
IGNORED_HEADERS = "accept", "content-type", "authorization"  # OpenAPI: such parameters shall be ignored


class Parameter(NamedTuple):
    """How a parameter is sent."""

    name: str
    location: str
    style: str = "form"
    explode: bool = True
    allow_reserved: bool = False
    is_deprecated: bool = False
    description: str = ""
    example: str = ""
    default: Any = None


class Body(NamedTuple):
    """How a body is sent."""

    kind: str  # json, form, multipart or raw
    media_type: str
    media_types: dict[str, str] = {}  # noqa: RUF012 - never changed
    description: str = ""

    @property
    def arguments(self) -> str:
        """Code of the last arguments of the function that serializes it."""
        return f"{self.media_type!r}, {self.media_types!r}" if self.media_types else repr(self.media_type)


class SuccessResponse(NamedTuple):
    """A response with a 2xx status, or `default` if there is no other."""

    status: str  # 200, 2XX or default
    kind: str  # json, text, bytes or none
    description: str
    headers: list[str]
    accept: str | None


@dataclass
class GeneratedOperation:
    """An operation of the spec, and its generated file."""

    title: str
    place: Place
    name: str
    tag: str = "default"
    file: str = ""
    parameters: dict[tuple[str, str], Parameter] = field(default_factory=dict[tuple[str, str], Parameter])
    body: Body | None = None
    successes: list[SuccessResponse] = field(default_factory=list[SuccessResponse])
    errors: dict[str, str] = field(default_factory=dict[str, str])
    is_deprecated: bool = False
    is_open: bool = False


def is_json(media_type: str) -> bool:
    """Return whether a media type is JSON, or a range that includes it."""
    kind = media_type.partition(";")[0].strip().lower()
    return kind in ("application/json", "*/*", "application/*") or kind.endswith("+json")


def example_of(parameter: dict[str, Any], schema: dict[str, Any]) -> str:
    """Return an example of a parameter, as text."""
    examples = [each["value"] for each in parameter.get("examples", {}).values() if "value" in each]
    examples += [each["example"] for each in (parameter, schema) if "example" in each]
    return str(examples[0]) if examples else ""


class Plain:
    """The spec as the generator reads it.

    Attributes:
        root: The document for the generator.
        operations: What the templates need in addition.
        schemas: The rewritten schemas and their problems.
        notes: Messages about output that may surprise.
    """

    def __init__(self, spec: Document) -> None:
        self.spec = spec
        self.schemas = Schemas(spec)
        self.operations: list[GeneratedOperation] = []
        self.notes: list[str] = []
        source: Any = spec.root
        self.root: dict[str, Any] = {key: source[key] for key in ("openapi", "info") if key in source}
        named: Any = source.get("components", {}).get("schemas", {})
        places = {name: ("components", "schemas", name) for name in named}
        schemas = {name: self.schemas.plain(self.schemas.at(place), place) for name, place in places.items()}
        self._name_members(schemas)
        self.root["components"] = {"schemas": schemas}
        paths = [path for path in source.get("paths", {}) if path.startswith("/")]
        self.root["paths"] = {path: self._item(path, ("paths", path)) for path in paths}
        if not self.operations:
            self.refuse((), "no paths with operations: there is nothing to make a client of")

    def _name_members(self, schemas: dict[str, Any]) -> None:
        """Name the objects in a named union: the generator would generate their content twice, and fail."""
        for name, schema in [*schemas.items()]:
            key = "anyOf" if "anyOf" in schema else "oneOf"
            models: dict[str, str] = {}  # referenced schema -> the schema that replaces it
            for at, member in enumerate(schema.get(key, ())):
                parts: list[Any] = member.get("allOf", [])
                references = [each["$ref"].rpartition("/")[2] for each in parts if "$ref" in each]
                own = f"{name}_{references[0]}" if references else f"{name}_type_{at}"
                if "$ref" in member:
                    referenced = member["$ref"].rpartition("/")[2]
                    models[referenced] = referenced
                is_object = "object" in types_of(member) or "properties" in member or len(parts) > 1
                if is_object and own not in schemas:
                    schemas[own], schema[key][at] = member, {"$ref": f"#/components/schemas/{own}"}
                    models |= dict.fromkeys(references[:1], own)
            if "discriminator" in schema and any(name != own for name, own in models.items()):
                place = "components", "schemas", name
                self.schemas.note_discriminator(schema["discriminator"], models, place)

    def refuse(self, place: Place, reason: str) -> None:
        """Record why there can be no client."""
        self.schemas.refuse(place, reason)

    def _item(self, path: str, place: Place) -> dict[str, Any]:
        for char in "?#":
            if char in path:
                self.refuse(place, f"a path has no {char}: declare a parameter in the query")
        item = self.schemas.resolved(self.schemas.at(place))
        common = item.get("parameters", [])
        made: dict[str, Any] = {}
        for method in METHODS:
            if method in item:
                texts = [item.get("summary"), item.get("description"), item[method].get("description")]
                value = {**item[method], "description": "\n\n".join(text.strip() for text in texts if text)}
                made[method] = self._operation(path, method, value, common, (*place, method))
        return made

    def _operation(
        self, path: str, method: str, value: dict[str, Any], common: list[Any], place: Place
    ) -> dict[str, Any]:
        tags = value.get("tags") or ["default"]
        title, name = f"{method.upper()} {path}", value.get("operationId", "")
        operation = GeneratedOperation(title, place, name, tags[0])
        operation.is_deprecated = value.get("deprecated", False)
        operation.is_open = self._is_open(value, place)
        self.operations.append(operation)
        if len(tags) > 1:
            self.refuse((*place, "tags"), f"{title} has {len(tags)} tags; a tag is a service, so leave one")
        made: dict[str, Any] = {key: value[key] for key in ("summary", "description") if key in value}
        if "externalDocs" in value:
            link = f"See {value['externalDocs']['url']}"
            made["description"] = f"{made.get('description', '')}\n\n{link}".strip()
        if name:
            made["operationId"] = name
        made["tags"] = tags[:1]
        made["parameters"] = self._parameters(operation, value.get("parameters", []), common)
        if "requestBody" in value:
            body = self._body(operation, self.schemas.resolved(value["requestBody"]))
            made |= {"requestBody": body} if body else {}
        responses = value.get("responses") or {"default": {"description": ""}}
        made["responses"] = self._responses(operation, responses, method)
        return made

    def _is_open(self, value: dict[str, Any], place: Place) -> bool:
        """Return whether an operation needs no credentials, which only `security: []` can say."""
        security: list[dict[str, Any]] | None = value.get("security", self.spec.root.get("security") or None)
        schemes = self.spec.root.get("components", {}).get("securitySchemes", {})
        where = (*place, "security") if "security" in value else ("security",)
        for name in {name for alternative in security or () for name in alternative} - set(schemes):
            self.refuse(where, f"there is no security scheme {name}")
        if security is None and schemes:
            known = ", ".join(schemes)
            reason = f"no security; name one of {known}, or write `security: []` if it needs no credentials"
            self.refuse(place, reason)
        if security and any(security) and {} in security:
            reason = "{} makes credentials optional; leave it out, or write `security: []` if none are needed"
            self.refuse(where, reason)
        return security is not None and not any(security)

    def _parameters(
        self, operation: GeneratedOperation, own: list[Any], common: list[Any]
    ) -> list[dict[str, Any]]:
        made: dict[tuple[str, str], dict[str, Any]] = {}
        places: list[tuple[Any, Place]] = [
            *((each, (*operation.place, "parameters", at)) for at, each in enumerate(own)),
            *((each, (*operation.place[:-1], "parameters", at)) for at, each in enumerate(common)),
        ]
        for each, place in places:
            value = self.schemas.resolved(each)
            location, name = value["in"], value["name"]
            if (location, name) in made:
                continue
            if location == "header" and name.lower() in IGNORED_HEADERS:
                reason = f"the parameter {name} is ignored, as OpenAPI says: it is set anyway"
                self.notes.append(self.spec.at(place, reason))
                continue
            schema, sent = self._parameter(value, place)
            operation.parameters[location, name] = sent
            required = value.get("required", False)
            made[location, name] = {"name": name, "in": location, "required": required, "schema": schema}
        return list(made.values())

    def _parameter(self, value: dict[str, Any], place: Place) -> tuple[dict[str, Any], Parameter]:
        """Return the schema of a parameter, and how it is sent."""
        location = value["in"]
        given, style = value.get("schema", {}), value.get("style", STYLES[location][0])
        if "content" in value:
            given, style = next(iter(value["content"].values())).get("schema", {}), "json"
        explode = value.get("explode", style == "form")
        if reason := self._unsendable(value, given, style, explode=explode):
            self.refuse(place, reason)
        schema: dict[str, Any] = {} if isinstance(given, bool) else given
        whole: Any = self.schemas.resolved(schema)
        texts = {key: value[key] for key in ("description", "example") if key in value}
        made = self.schemas.plain({**schema, **texts}, (*place, "schema"))
        if made.get("format") == "binary":
            del made["format"]  # a parameter is text
        sent = Parameter(
            name=value["name"],
            location=location,
            style=style,
            explode=explode,
            allow_reserved=value.get("allowReserved", False),
            is_deprecated=value.get("deprecated", False) or whole.get("deprecated", False),
            description=made.get("description") or whole.get("description", ""),
            example=example_of(value, whole),
            default=made.get("default"),
        )
        return made, sent

    def _unsendable(self, parameter: dict[str, Any], schema: Any, style: str, *, explode: bool) -> str | None:
        """Return why a parameter cannot be sent, or None."""
        location = parameter["in"]
        if location == "header" and parameter["name"].lower() == "cookie":
            return "a header Cookie is made of the parameters with `in: cookie`; declare them"
        if style == "json" and (location != "query" or not is_json(next(iter(parameter["content"])))):
            return "a parameter with `content` is made for JSON in the query only; use `schema`"
        if style not in ("json", *STYLES[location]):
            return f"style {style} is not one of {location} parameters: {', '.join(STYLES[location])}"
        if isinstance(schema, bool):
            return None if schema else "the schema `false` allows nothing; remove it"
        is_of_parts = {"array", "object"} & set(types_of(self.schemas.resolved(schema)))
        if location == "cookie" and explode and is_of_parts:
            return "a cookie of several values needs explode: false"
        return None

    def _body(self, operation: GeneratedOperation, value: dict[str, Any]) -> dict[str, Any] | None:
        place = (*operation.place, "requestBody", "content")
        content: dict[str, Any] = value["content"]
        if not content:
            return None
        chosen = next(filter(is_json, content), next(iter(content)))
        if not is_json(chosen) and len(content) > 1:
            self.refuse(place, f"none of {', '.join(content)} is JSON; leave one of them")
        media, place = content[chosen], (*place, chosen)
        schema: Any = media.get("schema", {})
        kind = self._kind(chosen, schema)
        is_form, is_bool = kind in ("form", "multipart"), isinstance(schema, bool)
        if kind == "" or (is_form and (is_bool or "object" not in (types_of(schema) or ["object"]))):
            self.refuse(place, f"of {chosen} a schema of {'objects' if kind else 'strings'} can be sent only")
            return None
        whole: Any = {} if isinstance(schema, bool) else self.schemas.resolved(schema)
        texts = whole.get("description", ""), value.get("description", "")
        description = " ".join(text.strip() for text in dict.fromkeys(texts))
        media_type = WILDCARDS[kind] if "*" in chosen else chosen
        media_types = self._media_types(media, place) if kind in ("form", "multipart") else {}
        writer = "raw" if kind in ("text", "bytes") else kind
        operation.body = Body(writer, media_type, media_types if kind == "multipart" else {}, description)
        made = SCHEMAS.get(kind) or self.schemas.plain(schema, (*place, "schema"))
        return {"required": value.get("required", False), "content": {READ_AS[kind]: {"schema": made}}}

    def _kind(self, media_type: str, schema: Any) -> str:
        """Return the kind of a body: json, form, multipart, text, bytes; or "" if it is not supported."""
        whole: Any = {} if isinstance(schema, bool) else self.schemas.resolved(schema)
        kind, _, parameters = media_type.partition(";")
        kind = kind.strip().lower()
        is_string = types_of(whole) in ([], ["string"]) and not FIELDS & set(whole)
        if types_of(whole) == ["string"] and whole.get("format") == "binary":
            return "bytes"
        if is_json(media_type):
            return "json"
        if kind in FORMS:
            return FORMS[kind]
        charset = re.search(r"charset\s*=\s*[\"']?([\w-]+)", parameters, re.IGNORECASE)
        is_utf8 = charset is None or charset[1].lower() in ("utf-8", "utf8", "us-ascii")
        if not is_string or (kind.startswith("text/") and not is_utf8):
            return ""
        return "text" if kind.startswith("text/") else "bytes"

    def _media_types(self, media: dict[str, Any], place: Place) -> dict[str, str]:
        """Return the media types of single fields of a form."""
        made: dict[str, str] = {}
        for name, encoding in media.get("encoding", {}).items():
            for key in set(encoding) - {"contentType"}:
                self.refuse((*place, "encoding", name, key), f"encoding with {key} is not made; leave it out")
            if "*" not in (media_type := encoding.get("contentType", "*").partition(",")[0].strip()):
                made[name] = media_type
        return made

    def _responses(self, operation: GeneratedOperation, value: dict[str, Any], method: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        has_success = any(status.startswith("2") for status in value)
        for status, each in value.items():
            if status.startswith("x-"):  # an extension
                continue
            response, place = self.schemas.resolved(each), (*operation.place, "responses", status)
            description = response.get("description", "")
            made[status] = {"description": description}  # the body of an error has no model
            if not (status.startswith("2") or (status == "default" and not has_success)):
                operation.errors[status] = description
                continue
            content: dict[str, Any] = {} if method == "head" else response.get("content", {})
            kind, accept, media = self._media(content, place)
            headers = [self._header_text(*header) for header in response.get("headers", {}).items()]
            operation.successes.append(SuccessResponse(status, kind, description, headers, accept))
            if media:
                made[status]["content"] = media
        operation.successes.sort(key=lambda each: ("X" in each.status, each.status == "default", each.status))
        return made

    def _header_text(self, name: str, header: Any) -> str:
        text = self.schemas.resolved(header).get("description", "").strip().rstrip(".")
        return f"{name} ({text})" if text else name

    def _media(self, content: dict[str, Any], place: Place) -> tuple[str, str | None, dict[str, Any]]:
        """Return a response's kind (json, text, bytes, none), its Accept, and the generator's content."""
        if not content:
            return "none", None, {}
        chosen = next(filter(is_json, content), next(iter(content)))
        if not is_json(chosen) and len(content) > 1:
            self.refuse((*place, "content"), f"none of {', '.join(content)} is JSON; leave one of them")
        place = (*place, "content", chosen)
        schema = content[chosen].get("schema", {})
        kind = self._kind(chosen, schema)
        if kind not in ("json", "text", "bytes"):
            self.refuse(place, f"of {chosen} a schema of strings, in UTF-8, can be read only")
            return "none", None, {}
        made = SCHEMAS.get(kind) or self.schemas.plain(schema, (*place, "schema"))
        return kind, chosen, {READ_AS[kind]: {"schema": made}}
