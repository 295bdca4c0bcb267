"""Compiles openapi.yaml into checks of requests and responses. Independent of HTTP frameworks.

Contract.load()                      finds, reads and compiles the spec; raises SpecError
└── match(method, raw_path)          -> Match(operation, path_params) | WrongMethod(allowed) | None
    └── Operation
        ├── check_request(…)         -> CheckedRequest(problems, body)
        ├── check_response(…)        -> list[Problem]
        ├── check_repeats(…)         -> list[Problem]: does the response belong to the request?
        ├── error(cause)             -> ErrorCode: status and code, from x-error-codes
        └── example(status, name)    -> Example(status, headers, body): a response in the spec

A Problem is data, not an exception: the caller gets all problems, and decides what they mean.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, Self, cast
from urllib.parse import parse_qsl, unquote

import jsonschema_rs

from .parsing import (
    Json,
    UnreadableError,
    is_unicode,
    pointer,
    read_json,
    read_yaml,
    refuse_constant,
    shorten,
    violations,
)

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_NOT_PARAMETERS = {"accept", "content-type", "authorization"}
_RANGES: dict[Json, dict[str, Json]] = {  # JSON Schema validators only check formats of strings
    f"int{bits}": {"minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1} for bits in (32, 64)
}


class SpecError(ValueError):
    """The spec cannot be found, read or compiled. One line, with the file and the place in it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One violation of the contract."""

    where: str
    """`path project_id`, `header X-Request-Id`, `body`, `body /action` (a JSON pointer), `status`."""
    what: str
    malformed: bool = False
    """It cannot be parsed. False: it was parsed, and does not match the schema."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class CheckedRequest(NamedTuple):
    """The result of checking a request."""

    problems: list[Problem]
    body: Json
    """The parsed body; None if there is none, or if it cannot be parsed."""


class ErrorCode(NamedTuple):
    """One of x-error-codes."""

    status: int
    code: str
    cause: str
    assumed: bool = False
    """Its code is not documented."""
    detail: str = ""


class Limits(NamedTuple):
    """The x-limits, in bytes."""

    body: int = sys.maxsize
    uri: int = sys.maxsize
    header: int = sys.maxsize
    headers: int = sys.maxsize


# --- Compiled checks ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A parameter of a request, or a header of a response."""

    name: str
    location: str  # path, query or header
    required: bool
    types: frozenset[str]
    item_types: frozenset[str]
    validator: jsonschema_rs.Draft202012Validator

    def check(self, texts: Sequence[str]) -> list[Problem]:
        """Check the values of a parameter: none, one or, in a query, any number."""
        # The fast path: nearly all values are valid.
        if not texts and not self.required:
            return []
        if len(texts) == 1 and self._is_valid(texts[0]):
            return []
        return self._explain(texts)

    def _is_valid(self, text: str) -> bool:
        return "string" in self.types and text != "" and text.isascii() and self.validator.is_valid(text)

    def _explain(self, texts: Sequence[str]) -> list[Problem]:
        where = f"{self.location} {self.name}"
        if not texts:
            return [Problem(where, "is missing")]
        if not is_unicode("".join(texts)):
            return [Problem(where, "is not UTF-8 once percent-decoded", malformed=True)]
        if "array" in self.types:
            items = texts if self.location == "query" else [item.strip() for item in texts[0].split(",")]
            return _problems(where, self.validator, [_typed(item, self.item_types) for item in items])
        if len(texts) > 1:
            return [Problem(where, f"is given {len(texts)} times", malformed=True)]
        if self.location == "path" and not texts[0]:
            return [Problem(where, "is empty")]
        return _problems(where, self.validator, _typed(texts[0], self.types))


@dataclass(frozen=True, slots=True)
class _Content:
    """The body of a request or a response."""

    validators: dict[str, jsonschema_rs.Draft202012Validator]  # by media type, without its parameters
    required: bool

    def check(self, content_type: str | None, body: bytes) -> tuple[Json, list[Problem]]:
        """Return the body's value and its problems."""
        if not body:
            missing = Problem("body", f"is empty; {self._expected()} is needed", malformed=True)
            return None, [missing] if self.required else []
        found = self._validator_for(content_type)
        if isinstance(found, str):
            return None, [Problem("header Content-Type", found, malformed=True)]
        try:
            value = read_json(body)
        except UnreadableError as error:
            return None, [Problem("body", str(error), malformed=True)]
        return value, _problems("body", found, value)

    def _validator_for(self, content_type: str | None) -> jsonschema_rs.Draft202012Validator | str:
        """Return the validator of a body, or why there is none."""
        if content_type is None:
            return f"is missing; the body must be {self._expected()}"
        media_type, charset = _media_type(content_type)
        # Any JSON media type is accepted, as by the service: the official SDK sends application/json without
        # the charset that the page requires.
        if not _is_json(media_type):
            return f"{shorten(media_type)!r} is invalid; the body must be {self._expected()}"
        if charset not in {"utf-8", "utf8"}:
            return "the charset is invalid; JSON is UTF-8"  # not quoted: it may hold anything
        return self.validators.get(media_type) or next(iter(self.validators.values()))

    def _expected(self) -> str:
        return " or ".join(self.validators)


class Example(NamedTuple):
    """An example response of the spec."""

    status: int
    headers: dict[str, str]
    """Those that have an example."""
    body: Json
    """None: the response has no body."""


@dataclass(frozen=True, slots=True)
class _Response:
    headers: tuple[_Parameter, ...]
    header_examples: dict[str, str]
    content: _Content | None
    examples: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the spec, with its checks."""

    id: str
    method: str
    """In upper case."""
    path: str
    """The template: `/v2/{project_id}/…`."""
    tags: tuple[str, ...]
    security: tuple[frozenset[str], ...]
    """Names of security schemes: one of these sets is required. Empty: none."""
    error_codes: tuple[ErrorCode, ...] = field(repr=False)
    """Those of its responses, then the gateway's."""
    _repeats: Mapping[str, str] = field(repr=False)
    _parameters: tuple[_Parameter, ...] = field(repr=False)
    _body: _Content | None = field(repr=False)
    _responses: dict[str, _Response] = field(repr=False)

    @property
    def statuses(self) -> tuple[int, ...]:
        """The documented statuses."""
        return tuple(int(status) for status in self._responses if status.isdigit())

    @property
    def takes_body(self) -> bool:
        """Whether a request may have a body."""
        return self._body is not None

    @property
    def acts(self) -> bool:
        """Whether a request changes something; if not, it is safe to resend."""
        return self.method not in {"GET", "HEAD", "OPTIONS"}

    def check_request(
        self, path_params: Mapping[str, str], query: str, headers: Mapping[str, str], body: bytes
    ) -> CheckedRequest:
        """Check a request, except its credentials.

        Args:
            path_params: As returned by `Contract.match`.
            query: The raw query string, without `?`.
            headers: With names in any case.
            body: The bytes as sent; `b""` for none.
        """
        lower = _lower_case(headers)
        asked = parse_qsl(query, keep_blank_values=True, errors="surrogateescape") if query else []
        problems: list[Problem] = []
        for parameter in self._parameters:
            match parameter.location:
                case "path":
                    texts = [path_params[parameter.name]] if parameter.name in path_params else []
                case "query":
                    texts = [value for name, value in asked if name == parameter.name]
                case _:
                    texts = _header(lower, parameter.name)
            problems += parameter.check(texts)
        value: Json = None
        if self._body:
            value, wrong = self._body.check(lower.get("content-type"), body)
            problems += wrong
        return CheckedRequest(problems, value)

    def check_response(self, status: int, headers: Mapping[str, str], body: bytes) -> list[Problem]:
        """Check the status of a response, its documented headers and its body."""
        response = self._response(status)
        if response is None:
            known = ", ".join(self._responses)
            return [Problem("status", f"{status} is not documented; documented are {known}")]
        lower = _lower_case(headers)
        problems = [p for header in response.headers for p in header.check(_header(lower, header.name))]
        if response.content:
            problems += response.content.check(lower.get("content-type"), body)[1]
        elif body:
            problems.append(Problem("body", f"must be empty with status {status}"))
        return problems

    def check_repeats(self, path_params: Mapping[str, str], query: str, body: Json) -> list[Problem]:
        """Check that the body of a 200 repeats values of the request, as x-repeats says."""
        given = {f"path {name}": [value] for name, value in path_params.items()}
        for name, value in parse_qsl(query, keep_blank_values=True):
            given.setdefault(f"query {name}", []).append(value)
        problems: list[Problem] = []
        for place, source in self._repeats.items():
            values = [str(value) for value in _values(body, place.split("/")[1:])]
            if source in given and not set(values) <= set(given[source]):
                problems.append(Problem(f"body {place}", f"is not the {source} of the request"))
        return problems

    def error(self, cause: str) -> ErrorCode:
        """Return the status and code of a cause. Raises LookupError: x-error-codes does not have it."""
        for error in self.error_codes:
            if error.cause == cause:
                return error
        raise LookupError(f"{self.id} has no x-error-codes with the cause {cause!r}")

    def example(self, status: int | None = None, name: str | None = None) -> Example:
        """Return the spec's example response for a status.

        Args:
            status: By default, the first documented one under 300.
            name: The name of the example; by default, the first.

        Raises:
            LookupError: The spec has no such status or example; the message lists those it has.
        """
        if status is None:
            status = next((int(s) for s in self._responses if s.isdigit() and int(s) < 300), None)  # noqa: PLR2004 - 2xx is success
            if status is None:
                raise LookupError(f"{self.id} documents no successful status")
        response = self._response(status)
        if response is None:
            raise LookupError(f"{self.id} documents no status {status}; it has: {', '.join(self._responses)}")
        if name is None and response.content is None:
            return Example(status, response.header_examples, None)
        if name is None:
            name = next(iter(response.examples), None)
        if name not in response.examples:
            wanted = f"no example {shorten(name)!r}" if name else "no example"
            known = ", ".join(response.examples) or "none"
            raise LookupError(f"{self.id} has {wanted} for status {status}; it has: {known}")
        return Example(status, response.header_examples, response.examples[name])

    def _response(self, status: int) -> _Response | None:
        exact = self._responses.get(str(status))
        return exact or self._responses.get(f"{status // 100}XX") or self._responses.get("default")


class Match(NamedTuple):
    """A path and method of the spec."""

    operation: Operation
    path_params: dict[str, str]
    """Percent-decoded. Bytes that are not UTF-8 become lone surrogates, which `check_request` reports."""


@dataclass(frozen=True, slots=True)
class WrongMethod:
    """A path of the spec, with a method that it does not have."""

    operations: tuple[Operation, ...]

    @property
    def allowed(self) -> str:
        """The value of an `Allow` header."""
        return ", ".join(dict.fromkeys(operation.method for operation in self.operations))


@dataclass(frozen=True, slots=True)
class _Route:
    """A path of the spec."""

    pattern: re.Pattern[str]
    names: tuple[str, ...]
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Contract:
    """A compiled spec."""

    source: str
    """Where the spec was read from."""
    raw: bytes = field(repr=False)
    """The spec's bytes."""
    document: dict[str, Json] = field(repr=False)
    """The spec, parsed."""
    title: str
    version: str
    sha256: str
    """Of `raw`, hexadecimal."""
    operations: tuple[Operation, ...]
    error_codes: tuple[ErrorCode, ...] = field(repr=False)
    """The gateway's."""
    limits: Limits
    check_order: tuple[str, ...]
    """Causes in order of precedence: a request with several errors is refused for the first."""
    _routes: tuple[_Route, ...] = field(repr=False)

    @classmethod
    def load(cls, path: Path | None = None, *, hide_values: bool = False) -> Self:
        """Read and compile a spec.

        Args:
            path: By default, the spec of this package or, in a checkout, of the project.
            hide_values: Problems quote no values. For real traffic, which may hold secrets.

        Raises:
            SpecError: It cannot be found, read or compiled.
        """
        file = path or _find_spec()
        try:
            raw = file.read_bytes()
            document = read_yaml(raw)
            if not isinstance(document, dict):
                raise SpecError("not a mapping, so not an OpenAPI document")  # noqa: TRY301 - see below
            root: dict[str, Any] = document
            compiler = _Compiler(root, hide_values=hide_values)
            operations = compiler.operations()
            limits: dict[str, Any] = root.get("x-limits", {})
            return cls(
                source=str(file),
                raw=raw,
                document=document,
                title=root["info"]["title"],
                version=root["info"]["version"],
                sha256=hashlib.sha256(raw).hexdigest(),
                operations=operations,
                error_codes=compiler.gateway_codes,
                limits=Limits(**{name: limits[name] for name in Limits._fields if name in limits}),
                check_order=tuple(root.get("x-check-order", ())),
                _routes=_routes(operations),
            )
        except OSError as error:
            raise SpecError(f"{file}: cannot be read: {error.strerror}") from error
        except (SpecError, UnreadableError) as error:
            raise SpecError(f"{file}: {error}") from error
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # codegen validates the document completely.
            what = f"not a valid OpenAPI document ({shorten(repr(error))}); `make` explains where"
            raise SpecError(f"{file}: {what}") from error

    def error(self, cause: str, operation: Operation | None = None) -> ErrorCode:
        """Return the status and code of a cause: from the operation, its service or the gateway.

        Raises:
            LookupError: The spec does not have the cause.
        """
        sources = [operation] if operation else []
        sources += [each for each in self.operations if operation and set(operation.tags) & set(each.tags)]
        own = [error for each in sources for error in each.error_codes if error not in self.error_codes]
        for error in (*own, *self.error_codes):
            if error.cause == cause:
                return error
        raise LookupError(f"x-error-codes has no cause {cause!r}")

    def match(self, method: str, raw_path: str) -> Match | WrongMethod | None:
        """Find the operation for a request.

        Args:
            method: In upper case.
            raw_path: Percent-encoded, so that `a%2Fb` is one segment, and without query.
        """
        others: list[Operation] = []
        for route in self._routes:
            if found := route.pattern.fullmatch(raw_path):
                for operation in route.operations:
                    if operation.method == method:
                        texts = zip(route.names, found.groups(), strict=True)
                        return Match(operation, {name: _decoded(text) for name, text in texts})
                others += route.operations
        return WrongMethod(tuple(others)) if others else None


# --- Compiling ----------------------------------------------------------------------------------------------


class _Compiler:
    """Resolves references and compiles each distinct schema once."""

    def __init__(self, root: dict[str, Any], *, hide_values: bool) -> None:
        self._root = root
        self._mask = "the value" if hide_values else None
        # Added to each compiled schema, so that its `#/components/schemas/…` references resolve.
        self._shared: dict[str, Json] = {
            "components": {"schemas": root.get("components", {}).get("schemas", {})}
        }
        self._compiled: dict[str, jsonschema_rs.Draft202012Validator] = {}
        self.gateway_codes = _error_codes(root.get("x-error-codes", {}))

    def operations(self) -> tuple[Operation, ...]:
        return tuple(
            self._operation(path, method, item, item[method])
            for path, item in self._root["paths"].items()
            for method in _METHODS
            if method in item
        )

    def _operation(
        self, path: str, method: str, item: dict[str, Any], operation: dict[str, Any]
    ) -> Operation:
        where: str = operation.get("operationId", f"{method.upper()} {path}")
        body = self._follow(operation["requestBody"]) if "requestBody" in operation else None
        responses = {str(status): self._follow(r) for status, r in operation["responses"].items()}
        security: list[dict[str, Any]] = operation.get("security", self._root.get("security", []))
        own_codes = _error_codes({status: r.get("x-error-codes", ()) for status, r in responses.items()})
        return Operation(
            id=where,
            method=method.upper(),
            path=path,
            tags=tuple(operation.get("tags", ())),
            security=tuple(frozenset(alternative) for alternative in security),
            error_codes=own_codes + self.gateway_codes,
            _repeats=responses.get("200", {}).get("x-repeats", {}),
            _parameters=self._parameters(where, path, item, operation),
            _body=self._content(f"{where}, request body", body, "readOnly") if body else None,
            _responses={s: self._response(f"{where}, response {s}", r) for s, r in responses.items()},
        )

    def _parameters(
        self, where: str, path: str, item: dict[str, Any], operation: dict[str, Any]
    ) -> tuple[_Parameter, ...]:
        """Compile the parameters of an operation; those of its path come first, and it may redefine them."""
        declared = [self._follow(p) for p in (*item.get("parameters", ()), *operation.get("parameters", ()))]
        # OpenAPI ignores parameters with the names of these headers.
        parameters = {(p["in"], p["name"]): p for p in declared if p["name"].lower() not in _NOT_PARAMETERS}
        if odd := {name for location, name in parameters if location == "path"} ^ set(_names(path)):
            raise SpecError(f"{where}: its path and its path parameters differ in {', '.join(sorted(odd))}")
        return tuple(self._parameter(f"{where}, parameter {p['name']}", p) for p in parameters.values())

    def _parameter(self, where: str, parameter: dict[str, Any]) -> _Parameter:
        location: str = parameter["in"]
        schema = parameter.get("schema")
        types = self._types(schema)
        if location not in {"path", "query", "header"} or schema is None or "object" in types:
            raise SpecError(f"{where}: only path, query and header parameters of a plain type are supported")
        items = self._types(self._follow(schema).get("items")) if "array" in types else frozenset[str]()
        required: bool = parameter.get("required", False)
        return _Parameter(parameter["name"], location, required, types, items, self._validator(where, schema))

    def _response(self, where: str, response: dict[str, Any]) -> _Response:
        headers = {name: self._follow(header) for name, header in response.get("headers", {}).items()}
        parameters = [
            self._parameter(f"{where}, header {name}", {"name": name, "in": "header"} | header)
            for name, header in headers.items()
        ]
        examples: dict[str, Json] = {}
        for media in response.get("content", {}).values():
            examples |= {name: self._follow(e)["value"] for name, e in media.get("examples", {}).items()}
            if "example" in media:
                examples["example"] = media["example"]
        return _Response(
            headers=tuple(parameters),
            header_examples={name: str(h["example"]) for name, h in headers.items() if "example" in h},
            content=self._content(where, response, "writeOnly") if response.get("content") else None,
            examples=examples,
        )

    def _content(self, where: str, holder: dict[str, Any], absent: str) -> _Content:
        content: dict[str, dict[str, Any]] = holder["content"]
        if not content or not all(_is_json(_media_type(name)[0]) for name in content):
            raise SpecError(f"{where}: only JSON is supported, not {', '.join(content) or 'nothing'}")
        validators = {
            _media_type(name)[0]: self._validator(f"{where}, {name}", media.get("schema", True), absent)
            for name, media in content.items()
        }
        return _Content(validators, required=absent == "writeOnly" or holder.get("required", False))

    def _validator(
        self, where: str, schema: dict[str, Any] | bool, absent: str = ""
    ) -> jsonschema_rs.Draft202012Validator:
        """Compile a schema. Fields marked `absent` (readOnly or writeOnly) are not required."""
        key = absent + json.dumps(schema, sort_keys=True)
        if key not in self._compiled:
            whole = _with_ranges(schema if isinstance(schema, bool) else schema | self._shared)
            if absent:
                self._allow_absence(whole, absent)
            try:
                self._compiled[key] = jsonschema_rs.Draft202012Validator(
                    cast("dict[str, Any] | bool", whole), validate_formats=True, mask=self._mask
                )
            except jsonschema_rs.ValidationError as error:
                raise SpecError(f"{where}: its schema is invalid: {shorten(error.message)}") from error
        return self._compiled[key]

    def _allow_absence(self, schema: Json, absent: str) -> None:
        if isinstance(schema, list):
            for part in schema:
                self._allow_absence(part, absent)
        if not isinstance(schema, dict):
            return
        required, fields = schema.get("required"), schema.get("properties")
        if isinstance(required, list) and isinstance(fields, dict):
            known = {name: self._follow(field) for name, field in fields.items() if isinstance(field, dict)}
            hidden = {name for name, field in known.items() if field.get(absent)}
            hidden |= {
                name for name, field in fields.items() if isinstance(field, dict) and field.get(absent)
            }
            schema["required"] = [name for name in required if name not in hidden]
        for keyword, part in schema.items():
            if keyword not in _HOLD_DATA:
                self._allow_absence(part, absent)

    def _types(self, schema: dict[str, Any] | bool | None) -> frozenset[str]:
        if not isinstance(schema, dict):
            return frozenset()
        types: str | list[str] = self._follow(schema).get("type", [])
        return frozenset([types] if isinstance(types, str) else types)

    def _follow(self, node: dict[str, Any]) -> dict[str, Any]:
        seen: list[str] = []
        while isinstance(reference := node.get("$ref"), str):
            if not reference.startswith("#/") or reference in seen:
                raise SpecError(f"$ref {reference!r}: it is circular, or outside this file")
            seen.append(reference)
            target: Any = self._root
            try:
                for key in unquote(reference).split("/")[1:]:
                    target = target[key.replace("~1", "/").replace("~0", "~")]
            except LookupError:
                raise SpecError(f"$ref {reference!r}: its target does not exist") from None
            node = target
        return node


def _error_codes(by_status: Mapping[str, Any]) -> tuple[ErrorCode, ...]:
    found: list[ErrorCode] = []
    for status, codes in by_status.items():
        for each in codes:
            assumed = each.get("x-source") == "assumption"
            code = ErrorCode(int(status), each["code"], each["cause"], assumed, each.get("detail", ""))
            found.append(code)
    return tuple(found)


def _values(value: Json, steps: Sequence[str]) -> list[Json]:
    """Return the values at a JSON pointer (`*`: in each item), if there are any."""
    if not steps:
        return [] if value is None else [value]
    if isinstance(value, list) and steps[0] == "*":
        return [found for item in value for found in _values(item, steps[1:])]
    return _values(value[steps[0]], steps[1:]) if isinstance(value, dict) and steps[0] in value else []


def _names(path: str) -> list[str]:
    return re.findall(r"\{([^{}]*)\}", path)


def _routes(operations: Iterable[Operation]) -> tuple[_Route, ...]:
    paths: dict[str, list[Operation]] = {}
    for operation in operations:
        paths.setdefault(operation.path, []).append(operation)

    routes: list[_Route] = []
    for path in sorted(paths, key=_generality):
        literals = [re.escape(literal) for literal in re.split(r"\{[^{}]*\}", path)]
        routes.append(_Route(re.compile("([^/]*)".join(literals)), tuple(_names(path)), tuple(paths[path])))
    return tuple(routes)


def _generality(path: str) -> list[int]:
    """Sort concrete paths first, as OpenAPI requires: /all, then /{id}.{ext}, then /{id}."""
    segments = path.split("/")
    return [("{" in each) + (re.fullmatch(r"\{[^{}]*\}", each) is not None) for each in segments]


_HOLD_DATA = {"const", "enum", "default", "example", "examples"}
_HOLD_NAMES = {"properties", "patternProperties", "$defs", "dependentSchemas", "schemas"}


def _with_ranges(schema: Json, *, names: bool = False) -> Json:
    """Add the range of each integer format to a schema, since validators ignore these formats.

    Args:
        schema: Any part of a schema.
        names: Its keys are names of fields or schemas, not keywords.
    """
    if isinstance(schema, list):
        return [_with_ranges(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {name: _with_ranges(part) for name, part in schema.items()}
    done = {
        keyword: part if keyword in _HOLD_DATA else _with_ranges(part, names=keyword in _HOLD_NAMES)
        for keyword, part in schema.items()
    }
    if bounds := _RANGES.get(done.get("format")):
        others = done.get("allOf")
        done["allOf"] = [*others, bounds] if isinstance(others, list) else [bounds]
    return done


# --- Reading ------------------------------------------------------------------------------------------------


def _find_spec() -> Path:
    packaged = resources.files(__package__ or __name__) / "openapi.yaml"
    checkout = Path(__file__).parents[2] / "openapi.yaml"
    for candidate in (packaged, checkout):
        if isinstance(candidate, Path) and candidate.is_file():
            return candidate
    raise SpecError(f"openapi.yaml is neither in the package nor at {checkout}: install the package again")


def _typed(text: str, types: frozenset[str]) -> Json:
    """Convert the text of a parameter to a type of its schema, if it has that form."""
    if not types or "string" in types:
        return text
    if text != text.strip() or ("integer" in types and not re.fullmatch("-?[0-9]+|null|true|false", text)):
        return text  # JSON ignores spaces, and JSON Schema accepts 1.0 as an integer
    try:
        value: Json = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, str | list | dict) else value


def _problems(where: str, validator: jsonschema_rs.Draft202012Validator, value: Json) -> list[Problem]:
    try:
        found = violations(validator, value)
    except UnreadableError as error:
        return [Problem(where, str(error), malformed=True)]
    return [Problem(f"{where} {pointer(path)}".rstrip(), what) for path, what, _ in found]


def _lower_case(headers: Mapping[str, str]) -> Mapping[str, str]:
    if all(map(str.islower, headers)):
        return headers
    return {name.lower(): value for name, value in headers.items()}


def _decoded(segment: str) -> str:
    return unquote(segment, errors="surrogateescape") if "%" in segment else segment


def _header(lower: Mapping[str, str], name: str) -> list[str]:
    value = lower.get(name.lower())
    return [] if value is None else [value]


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


@lru_cache(maxsize=100)  # there are few, repeated in each request
def _media_type(content_type: str) -> tuple[str, str]:
    """Split a Content-Type into media type and charset (default: UTF-8), in lower case."""
    media_type, *parameters = content_type.lower().split(";")
    charset = "utf-8"
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "charset":
            charset = value.strip('"')
    return media_type.strip(), charset
