"""openapi.yaml -> compiled checks of requests and responses. Knows the spec, and no HTTP framework.

Contract.load()                      finds, reads and compiles the spec, once; SpecError says what is wrong with it
└── match(method, raw_path)          -> Match(operation, path_params) | WrongMethod(allowed) | None: no such path
    └── Operation
        ├── check_request(…)         -> CheckedRequest(problems, body)
        ├── check_response(…)        -> list[Problem]
        ├── check_repeats(…)         -> list[Problem]: is the response about the request?
        ├── error(cause)             -> ErrorCode: status and code, from x-error-codes
        └── example(status, name)    -> Example(status, headers, body): the spec's own answer

A Problem is data, not an exception: whoever checks wants all of them, and decides what they mean.
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
_RANGES: dict[Json, dict[str, Json]] = {  # JSON Schema validators check formats of strings only
    f"int{bits}": {"minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1} for bits in (32, 64)
}


class SpecError(ValueError):
    """The spec cannot be found, read or compiled. One line, naming the file and the place in it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One way in which a message breaks the contract."""

    where: str
    """`path project_id`, `header X-Request-Id`, `body`, `body /action` (a JSON pointer), `status`."""
    what: str
    malformed: bool = False
    """Could not even be read, as opposed to: was read, and is not what the schema says."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class CheckedRequest(NamedTuple):
    """What came of checking a request."""

    problems: list[Problem]
    body: Json
    """The parsed body; None if there is none, or none that could be read."""


class ErrorCode(NamedTuple):
    """One of x-error-codes."""

    status: int
    code: str
    cause: str
    assumed: bool = False
    """Its code is documented nowhere."""
    detail: str = ""


class Limits(NamedTuple):
    """The x-limits, in bytes."""

    body: int = sys.maxsize
    uri: int = sys.maxsize
    header: int = sys.maxsize
    headers: int = sys.maxsize


# --- The checks, compiled ---------------------------------------------------------------------------------------------


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
        """Check the values given: none, one, or for a query parameter any number."""
        # Nearly always there is nothing to put into words.
        if not texts and not self.required:
            return []
        if len(texts) == 1 and self._takes(texts[0]):
            return []
        return self._explain(texts)

    def _takes(self, text: str) -> bool:
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
        """Return the body's value, and what is wrong with it."""
        if not body:
            missing = Problem("body", f"is empty; {self._wanted()} is needed", malformed=True)
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
        """Find the validator of a body, or say why there is none."""
        if content_type is None:
            return f"is missing; the body must be {self._wanted()}"
        media_type, charset = _media_type(content_type)
        # The official SDK sends plain application/json where the page asks for a charset, and is understood:
        # so one JSON media type is as good as another.
        if not _is_json(media_type):
            return f"{shorten(media_type)!r} will not do; the body must be {self._wanted()}"
        if charset not in {"utf-8", "utf8"}:
            return (
                "the charset will not do; JSON is UTF-8"  # a parameter may hold anything, so it is not quoted
            )
        return self.validators.get(media_type) or next(iter(self.validators.values()))

    def _wanted(self) -> str:
        return " or ".join(self.validators)


class Example(NamedTuple):
    """An answer as the spec shows it."""

    status: int
    headers: dict[str, str]
    """Those with an example of their own."""
    body: Json
    """None for an answer without one."""


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
    """In capitals."""
    path: str
    """The template: `/v2/{project_id}/…`."""
    tags: tuple[str, ...]
    security: tuple[frozenset[str], ...]
    """The names of the security schemes: any one of these sets will do. Empty: open to all."""
    error_codes: tuple[ErrorCode, ...] = field(repr=False)
    """Those of its responses, then the gateway's."""
    _repeats: Mapping[str, str] = field(repr=False)
    _parameters: tuple[_Parameter, ...] = field(repr=False)
    _body: _Content | None = field(repr=False)
    _responses: dict[str, _Response] = field(repr=False)

    @property
    def statuses(self) -> tuple[int, ...]:
        """The documented ones."""
        return tuple(int(status) for status in self._responses if status.isdigit())

    @property
    def takes_body(self) -> bool:
        """Whether a request has one."""
        return self._body is not None

    @property
    def acts(self) -> bool:
        """Whether a request changes something; if not, it can be sent any number of times."""
        return self.method not in {"GET", "HEAD", "OPTIONS"}

    def check_request(
        self, path_params: Mapping[str, str], query: str, headers: Mapping[str, str], body: bytes
    ) -> CheckedRequest:
        """Check all of a request but its credentials.

        Args:
            path_params: as `Contract.match` gives them.
            query: the raw query string, without its `?`.
            headers: in any case.
            body: the bytes as sent; `b""` for none.
        """
        lower = _in_small_letters(headers)
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
        """Check an answer, whoever gave it: its status, the documented headers, and its body."""
        response = self._response(status)
        if response is None:
            return [
                Problem("status", f"{status} is not documented; documented are {', '.join(self._responses)}")
            ]
        lower = _in_small_letters(headers)
        problems = [p for header in response.headers for p in header.check(_header(lower, header.name))]
        if response.content:
            problems += response.content.check(lower.get("content-type"), body)[1]
        elif body:
            problems.append(Problem("body", f"there must be none with status {status}"))
        return problems

    def check_repeats(self, path_params: Mapping[str, str], query: str, body: Json) -> list[Problem]:
        """Check that the body of a 200 repeats the request's values where x-repeats says so."""
        given = {f"path {name}": [value] for name, value in path_params.items()}
        for name, value in parse_qsl(query, keep_blank_values=True):
            given.setdefault(f"query {name}", []).append(value)
        return [
            Problem(f"body {place}", f"is not the {source} of the request")
            for place, source in self._repeats.items()
            if source in given
            and any(str(value) not in given[source] for value in _values(body, place.split("/")[1:]))
        ]

    def error(self, cause: str) -> ErrorCode:
        """Return the status and code of a cause. Raises LookupError: x-error-codes has none."""
        for error in self.error_codes:
            if error.cause == cause:
                return error
        raise LookupError(f"{self.id} has no x-error-codes with the cause {cause!r}")

    def example(self, status: int | None = None, name: str | None = None) -> Example:
        """Return the answer that the spec shows for a status, by default the first under 300.

        Args:
            status: a documented one.
            name: of one of its examples; by default the first.

        Raises:
            LookupError: the spec has no such status or example; the text says which it has.
        """
        if status is None:
            status = next((int(s) for s in self._responses if s.isdigit() and int(s) < 300), None)  # noqa: PLR2004 - where success ends in HTTP
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
    """A path and method that the spec has."""

    operation: Operation
    path_params: dict[str, str]
    """Percent-decoded; bytes that are not UTF-8 are lone surrogates, which `check_request` refuses."""


@dataclass(frozen=True, slots=True)
class WrongMethod:
    """A path that the spec has, with another method."""

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
    """The spec as it was read."""
    document: dict[str, Json] = field(repr=False)
    """The spec, parsed."""
    title: str
    version: str
    sha256: str
    """Of the spec's bytes, hexadecimal."""
    operations: tuple[Operation, ...]
    error_codes: tuple[ErrorCode, ...] = field(repr=False)
    """The gateway's."""
    limits: Limits
    check_order: tuple[str, ...]
    """Causes: of several, a request is refused for the first."""
    _routes: tuple[_Route, ...] = field(repr=False)

    @classmethod
    def load(cls, path: Path | None = None, *, hide_values: bool = False) -> Self:
        """Read and compile a spec.

        Args:
            path: by default the spec of this package or, in a checkout, of the project.
            hide_values: no problem quotes what a schema refuses: for real traffic, which may have secrets anywhere.

        Raises:
            SpecError: it cannot be found, read or compiled.
        """
        file = path or _find_spec()
        try:
            raw = file.read_bytes()
            document = read_yaml(raw)
            if not isinstance(document, dict):
                raise SpecError("not a mapping, so no OpenAPI document")  # noqa: TRY301 - one way out for all reasons
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
            # What a complete check of the document would find, which is codegen's job.
            raise SpecError(
                f"{file}: not a valid OpenAPI document ({shorten(repr(error))}); `make` says where it is wrong"
            ) from error

    def error(self, cause: str, operation: Operation | None = None) -> ErrorCode:
        """Return the status and code of a cause: the operation's, its service's or the gateway's.

        Raises:
            LookupError: the spec has none.
        """
        near = [operation] if operation else []
        near += [other for other in self.operations if operation and set(operation.tags) & set(other.tags)]
        own = [error for each in near for error in each.error_codes if error not in self.error_codes]
        for error in (*own, *self.error_codes):
            if error.cause == cause:
                return error
        raise LookupError(f"x-error-codes has no cause {cause!r}")

    def match(self, method: str, raw_path: str) -> Match | WrongMethod | None:
        """Find the operation for a request.

        Args:
            method: in capitals.
            raw_path: still percent-encoded and without query, so that `a%2Fb` is one segment.
        """
        others: list[Operation] = []
        for route in self._routes:
            if found := route.pattern.fullmatch(raw_path):
                for operation in route.operations:
                    if operation.method == method:
                        texts = zip(route.names, found.groups(), strict=True)
                        params = {
                            n: unquote(t, errors="surrogateescape") if "%" in t else t for n, t in texts
                        }
                        return Match(operation, params)
                others += route.operations
        return WrongMethod(tuple(others)) if others else None


# --- From the document to the checks ----------------------------------------------------------------------------------


class _Compiler:
    """Follows references and compiles each distinct schema once."""

    def __init__(self, root: dict[str, Any], *, hide_values: bool) -> None:
        self._root = root
        self._mask = "the value" if hide_values else None
        # Beside each schema compiled, so that its `#/components/schemas/…` references resolve.
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
        declared = [self._follow(p) for p in (*item.get("parameters", ()), *operation.get("parameters", ()))]
        # The operation's own replace the path's, and three headers are not parameters to OpenAPI.
        parameters = {(p["in"], p["name"]): p for p in declared if p["name"].lower() not in _NOT_PARAMETERS}
        if odd := {name for location, name in parameters if location == "path"} ^ set(_names(path)):
            raise SpecError(f"{where}: its path and its path parameters differ in {', '.join(sorted(odd))}")
        body = self._follow(operation["requestBody"]) if "requestBody" in operation else None
        responses = {str(status): self._follow(r) for status, r in operation["responses"].items()}
        security: list[dict[str, Any]] = operation.get("security", self._root.get("security", []))
        return Operation(
            id=where,
            method=method.upper(),
            path=path,
            tags=tuple(operation.get("tags", ())),
            security=tuple(frozenset(alternative) for alternative in security),
            error_codes=_error_codes({s: r.get("x-error-codes", ()) for s, r in responses.items()})
            + self.gateway_codes,
            _repeats=responses.get("200", {}).get("x-repeats", {}),
            _parameters=tuple(
                self._parameter(f"{where}, parameter {p['name']}", p) for p in parameters.values()
            ),
            _body=self._content(f"{where}, request body", body, "readOnly") if body else None,
            _responses={
                status: self._response(f"{where}, response {status}", r) for status, r in responses.items()
            },
        )

    def _parameter(self, where: str, parameter: dict[str, Any]) -> _Parameter:
        location: str = parameter["in"]
        schema = parameter.get("schema")
        types = self._types(schema)
        if location not in {"path", "query", "header"} or schema is None or "object" in types:
            raise SpecError(
                f"{where}: only path, query and header parameters with a schema of a plain type are understood"
            )
        items = self._types(self._follow(schema).get("items")) if "array" in types else frozenset[str]()
        required: bool = parameter.get("required", False)
        return _Parameter(parameter["name"], location, required, types, items, self._validator(where, schema))

    def _response(self, where: str, response: dict[str, Any]) -> _Response:
        headers = {name: self._follow(header) for name, header in response.get("headers", {}).items()}
        examples: dict[str, Json] = {}
        for media in response.get("content", {}).values():
            examples |= {name: self._follow(e)["value"] for name, e in media.get("examples", {}).items()}
            if "example" in media:
                examples["example"] = media["example"]
        return _Response(
            headers=tuple(
                self._parameter(f"{where}, header {name}", {"name": name, "in": "header"} | header)
                for name, header in headers.items()
            ),
            header_examples={
                name: str(header["example"]) for name, header in headers.items() if "example" in header
            },
            content=self._content(where, response, "writeOnly") if response.get("content") else None,
            examples=examples,
        )

    def _content(self, where: str, holder: dict[str, Any], absent: str) -> _Content:
        content: dict[str, dict[str, Any]] = holder["content"]
        if not content or not all(_is_json(_media_type(name)[0]) for name in content):
            raise SpecError(f"{where}: only JSON is understood, and not {', '.join(content) or 'nothing'}")
        return _Content(
            {
                _media_type(name)[0]: self._validator(f"{where}, {name}", media.get("schema", True), absent)
                for name, media in content.items()
            },
            required=absent == "writeOnly" or holder.get("required", False),
        )

    def _validator(
        self, where: str, schema: dict[str, Any] | bool, absent: str = ""
    ) -> jsonschema_rs.Draft202012Validator:
        """Compile a schema; fields that are `absent` (readOnly in a request, writeOnly in a response) are not required."""
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
                raise SpecError(f"{where}: its schema will not do: {shorten(error.message)}") from error
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
                raise SpecError(
                    f"$ref {reference!r}: only references within this file that end somewhere are followed"
                )
            seen.append(reference)
            target: Any = self._root
            try:
                for key in unquote(reference).split("/")[1:]:
                    target = target[key.replace("~1", "/").replace("~0", "~")]
            except LookupError:
                raise SpecError(f"$ref {reference!r}: there is nothing of that name") from None
            node = target
        return node


def _error_codes(by_status: Mapping[str, Any]) -> tuple[ErrorCode, ...]:
    return tuple(
        ErrorCode(
            int(status),
            each["code"],
            each["cause"],
            each.get("x-source") == "assumption",
            each.get("detail", ""),
        )
        for status, codes in by_status.items()
        for each in codes
    )


def _values(value: Json, steps: Sequence[str]) -> list[Json]:
    """Return what is at a JSON pointer (`*`: in each item), as far as there is anything."""
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

    # The more a segment spells out, the earlier, as OpenAPI asks: /all, then /{id}.{ext}, then /{id}.
    def generality(path: str) -> list[int]:
        return [
            ("{" in segment) + (re.fullmatch(r"\{[^{}]*\}", segment) is not None)
            for segment in path.split("/")
        ]

    return tuple(
        _Route(
            pattern=re.compile(
                "([^/]*)".join(re.escape(literal) for literal in re.split(r"\{[^{}]*\}", path))
            ),
            names=tuple(_names(path)),
            operations=tuple(paths[path]),
        )
        for path in sorted(paths, key=generality)
    )


_HOLD_DATA = {"const", "enum", "default", "example", "examples"}
_HOLD_NAMES = {"properties", "patternProperties", "$defs", "dependentSchemas", "schemas"}


def _with_ranges(schema: Json, *, names: bool = False) -> Json:
    """Write the range that an integer format stands for into a schema, where a validator sees it.

    Args:
        schema: any part of a schema.
        names: its keys are names that somebody chose, not keywords.
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


# --- Reading ----------------------------------------------------------------------------------------------------------


def _find_spec() -> Path:
    packaged = resources.files(__package__ or __name__) / "openapi.yaml"
    checkout = Path(__file__).parents[2] / "openapi.yaml"
    for candidate in (packaged, checkout):
        if isinstance(candidate, Path) and candidate.is_file():
            return candidate
    raise SpecError(
        f"openapi.yaml is neither in the package nor at {checkout}; is the installation complete?"
    )


def _typed(text: str, types: frozenset[str]) -> Json:
    """Turn the text of a parameter into what its schema speaks of; text that is not that stays text."""
    if not types or "string" in types:
        return text
    if text != text.strip() or ("integer" in types and not re.fullmatch("-?[0-9]+|null|true|false", text)):
        return text  # to JSON blanks are none, and to JSON Schema 1.0 is an integer
    try:
        value: Json = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, str | list | dict) else value


def _problems(where: str, validator: jsonschema_rs.Draft202012Validator, value: Json) -> list[Problem]:
    try:
        return [
            Problem(f"{where} {pointer(path)}".rstrip(), what)
            for path, what, _ in violations(validator, value)
        ]
    except UnreadableError as error:
        return [Problem(where, str(error), malformed=True)]


def _in_small_letters(headers: Mapping[str, str]) -> Mapping[str, str]:
    return (
        headers
        if all(map(str.islower, headers))
        else {name.lower(): value for name, value in headers.items()}
    )


def _header(lower: Mapping[str, str], name: str) -> list[str]:
    value = lower.get(name.lower())
    return [] if value is None else [value]


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


@lru_cache(maxsize=100)  # there are few, and each comes with every request
def _media_type(content_type: str) -> tuple[str, str]:
    """Split a Content-Type into media type and charset (UTF-8 where none is named), in small letters."""
    media_type, *parameters = content_type.lower().split(";")
    charset = "utf-8"
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "charset":
            charset = value.strip('"')
    return media_type.strip(), charset
