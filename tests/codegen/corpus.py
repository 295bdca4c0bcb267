"""Documents of other services' kinds, and the clients that codegen/generate.py makes of them.

operations()         what the documents under specs/ say
└── Operation        one operation; schema(…) is a schema as one direction sees it
client_of(spec, …)   generates and imports the client of a document, once
└── Client.call(…)   calls a generated function with JSON values, and returns JSON

What goes over the wire is read by wire.py, and drawn by cases.py; neither knows the generator.
"""

import asyncio
import contextlib
import fcntl
import importlib
import inspect
import io
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from functools import cache
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import httpx
import pytest

from huaweicloud_retry.auth import TokenAuth
from huaweicloud_retry.parsing import read_yaml
from huaweicloud_retry.runtime.response import File, Unset

ROOT = Path(__file__).parents[2]
SPECS = {file.stem: file for file in sorted(Path(__file__).with_name("specs").glob("*.yaml"))}
PACKAGE = "huaweicloud_retry_client"
METHODS = "get", "put", "post", "delete", "head", "patch"

Direction = Literal["request", "response"]
_HIDDEN = {"request": "readOnly", "response": "writeOnly"}
_BITS = {"int32": 31, "int64": 63}
_UNLISTED = {
    str: {"type": "string", "pattern": "^unlisted"},
    int: {"type": "integer", "minimum": 1000},
    bool: {"type": "boolean"},
}


# --- What the documents say -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Content:
    """A body: its media type as the document spells it, and its schema."""

    media_type: str
    schema: dict[str, Any]

    @property
    def kind(self) -> str:
        """`json`, `multipart`, `form`, `text` or `binary`."""
        plain = self.media_type.partition(";")[0]
        kinds = {"multipart/form-data": "multipart", "application/x-www-form-urlencoded": "form", "text/plain": "text"}
        return "json" if plain.endswith("json") else kinds.get(plain, "binary")


@dataclass(frozen=True, eq=False)
class Operation:
    """An operation of a document. Its parameters, bodies and responses have no references, their schemas may."""

    spec: str
    id: str
    tag: str
    method: str
    path: str
    deprecated: bool
    secured: bool
    parameters: list[dict[str, Any]] = field(repr=False)
    body: Content | None = field(repr=False)
    body_required: bool = field(repr=False)
    responses: dict[str, Content | None] = field(repr=False)

    def schema(self, schema: dict[str, Any], direction: Direction) -> dict[str, Any]:
        """A schema that stands alone, without the fields that the direction does not have."""
        return {**_directed(schema, direction), "components": {"schemas": _schemas(self.spec, direction)}}

    def follow(self, schema: dict[str, Any]) -> dict[str, Any]:
        """What a reference points to."""
        return _follow(document(self.spec), schema)

    @property
    def good(self) -> list[tuple[int, Content | None]]:
        """Each status of success, with its body."""
        exact = [(int(status), content) for status, content in self.responses.items() if status[0] == "2"]
        return exact or [(200, self.responses["default"])]

    @property
    def has_json(self) -> bool:
        """Whether a response of success has a JSON body."""
        return any(content is not None and content.kind == "json" for _, content in self.good)

    @property
    def bad(self) -> list[tuple[int, Content | None]]:
        """A status for each documented error, with its body."""
        statuses = {"5XX": 503, "default": 418 if len(self.responses) > 1 else 200}
        found = [(statuses.get(status) or int(status), content) for status, content in self.responses.items()]
        return [(status, content) for status, content in found if status >= 400]


@cache
def document(spec: str) -> Any:
    """A document, parsed."""
    return read_yaml(SPECS[spec].read_bytes())


@cache
def operations(spec: str) -> tuple[Operation, ...]:
    """The operations of a document."""
    paths: dict[str, Any] = document(spec)["paths"]
    return tuple(
        _operation(spec, method, path, item) for path, item in paths.items() for method in METHODS if method in item
    )


def _operation(spec: str, method: str, path: str, item: dict[str, Any]) -> Operation:
    root, own = document(spec), item[method]
    body = _follow(root, own.get("requestBody", {}))
    return Operation(
        spec=spec,
        id=own["operationId"],
        tag=own["tags"][0],
        method=method.upper(),
        path=path,
        deprecated=own.get("deprecated", False),
        secured=bool(own.get("security", root["security"])),
        parameters=[_follow(root, each) for each in (*item.get("parameters", ()), *own.get("parameters", ()))],
        body=_content(body),
        body_required=body.get("required", False),
        responses={status: _content(_follow(root, each)) for status, each in own["responses"].items()},
    )


def _content(holder: dict[str, Any]) -> Content | None:
    for media_type, media in holder.get("content", {}).items():
        return Content(media_type, media.get("schema", {}))
    return None


def _follow(root: Any, node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target = root
        for key in node["$ref"].split("/")[1:]:
            target = target[key]
        node = target
    return node


@cache
def _schemas(spec: str, direction: Direction) -> dict[str, Any]:
    schemas: dict[str, Any] = document(spec)["components"].get("schemas", {})
    return {name: _directed(schema, direction) for name, schema in schemas.items()}


def _directed(schema: Any, direction: Direction) -> Any:
    """Take out of a schema what the direction does not have, and write formats of integers as ranges.

    In responses, enums and constants are open: a server may know more values than the document.
    """
    if isinstance(schema, list):
        return [_directed(each, direction) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _directed(each, direction) for key, each in schema.items()}
    if isinstance(properties := made.get("properties"), dict):
        hidden = {name for name, each in properties.items() if each.get(_HIDDEN[direction])}
        made["properties"] = {name: name not in hidden and each for name, each in properties.items()}
        made["required"] = [name for name in made.get("required", ()) if name not in hidden]
    if bits := _BITS.get(str(made.get("format"))):
        made = {"minimum": -(2**bits), "maximum": 2**bits - 1} | made
    return _opened(made) if direction == "response" else made


def _opened(schema: dict[str, Any]) -> dict[str, Any]:
    const = schema.get("const")  # one of text tells the members of a union apart
    listed = schema.get("enum", [] if const is None or isinstance(const, str) else [const])
    return {"anyOf": [schema, _UNLISTED[type(listed[0])]]} if listed else schema


EACH = [each for spec in SPECS for each in operations(spec)]


def of_each(operations: Iterable[Operation]) -> pytest.MarkDecorator:
    """Run a test for each operation."""
    return pytest.mark.parametrize("operation", [*operations], ids=lambda each: f"{each.spec}-{each.id}")


# --- The clients ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Client:
    """A generated client. All have one package name, so it is among the imported modules only within `entered`."""

    folder: Path
    modules: dict[str, ModuleType] = field(default_factory=dict[str, ModuleType])

    @contextlib.contextmanager
    def entered(self) -> Generator[None]:
        """Import from this client, not from that of the project."""
        kept = _taken_out()
        sys.modules.update(self.modules)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.syspath_prepend(str(self.folder))
                yield
        finally:
            self.modules.update(_taken_out())
            sys.modules.update(kept)

    def module(self, operation: Operation) -> Any:
        """The generated module of an operation."""
        files = (self.folder / PACKAGE / "api").glob("*/*.py")
        (file,) = (file for file in files if _plain(file.stem) == _plain(operation.id))
        return importlib.import_module(f"{PACKAGE}.api.{file.parent.name}.{file.stem}")

    def call(
        self,
        operation: Operation,
        arguments: dict[str, Any],
        respond: Callable[[httpx.Request], httpx.Response],
        world: str = "sync",
    ) -> Any:
        """Call an operation with JSON values by parameter name (`body` for the body); what it returns, as JSON."""
        with self.entered(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            function = getattr(self.module(operation), world)
            hints = get_type_hints(function)
            names = {_plain(name): name for name in inspect.signature(function).parameters}
            given = {names[_plain(name)]: value for name, value in arguments.items()}
            if operation.body and operation.body.kind == "multipart" and "body" in given:
                given["body"] = _with_bytes(operation, given["body"])
            given = {name: to_python(value, hints[name]) for name, value in given.items()}
            client_class = importlib.import_module(PACKAGE).Client
            client = client_class("http://test", auth=TokenAuth("t0ken"), transport=httpx.MockTransport(respond))
            returned = function(**given, client=client)
            returned = from_python(asyncio.run(returned) if world == "asyncio" else returned)
        if operation.deprecated != any(each.category is DeprecationWarning for each in caught):
            raise AssertionError(
                f"deprecated: {operation.deprecated}; warnings: {[str(each.message) for each in caught]}"
            )
        return returned


_clients: dict[str, Client] = {}


def client_of(spec: str, factory: pytest.TempPathFactory) -> Client:
    """Generate the client of a document, once for all workers of pytest-xdist."""
    if spec not in _clients:
        base = factory.getbasetemp()
        folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "corpus" / spec
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "openapi.yaml").exists():
                shutil.copytree(ROOT / "codegen", folder / "codegen", ignore=shutil.ignore_patterns("__pycache__"))
                shutil.copy(ROOT / "requirements.lock", folder)
                shutil.copy(SPECS[spec], folder / "openapi.yaml")
                command = [sys.executable, str(folder / "codegen/generate.py")]
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
                (folder / "report").write_text(f"{done.returncode}\n{done.stdout}{done.stderr}", "utf-8")
        _clients[spec] = Client(folder / "generated")
    report = (_clients[spec].folder.parent / "report").read_text("utf-8")
    if not report.startswith("0\n"):
        pytest.fail(f"{spec}.yaml makes no client: {report}", pytrace=False)
    return _clients[spec]


def _taken_out() -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in [*sys.modules] if name.split(".")[0] == PACKAGE}


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


# --- JSON <-> the generated code's types; binary strings are latin-1 in JSON --------------------------------------------


def to_python(value: Any, hint: Any) -> Any:
    """Build the value of an annotated type that a JSON value stands for.

    Raises:
        TypeError, ValueError, KeyError: It stands for none.
    """
    match get_origin(hint) or hint:
        case origin if origin in (Union, UnionType):
            return _first_that_fits(value, get_args(hint))
        case origin if origin is Any or origin is Unset:
            return value
        case origin if origin is Literal:
            return next(each for each in get_args(hint) if (type(each), each) == (type(value), value))
        case origin if origin is list and isinstance(value, list):
            return [to_python(each, *get_args(hint)) for each in value]
        case origin if origin is dict and isinstance(value, dict):
            return {name: to_python(each, get_args(hint)[1]) for name, each in value.items()}
        case origin if origin in (datetime, date):
            return origin.fromisoformat(value)
        case origin if origin is bytes:
            return value.encode("latin-1")
        case origin if origin is File:
            return File(io.BytesIO(value.encode("latin-1")), file_name="file", mime_type="application/octet-stream")
        case origin if hasattr(origin, "from_dict") and isinstance(value, dict):
            return origin.from_dict(value)
        case origin if origin is UUID or issubclass(origin, Enum):
            return origin(value)
        case origin if type(value) is origin or (origin, type(value)) == (float, int):
            return value
    raise TypeError(f"{value!r} is no {hint}")


def _first_that_fits(value: Any, hints: Iterable[Any]) -> Any:
    for hint in hints:
        if hint is not Unset:
            with contextlib.suppress(TypeError, ValueError, KeyError, StopIteration, AttributeError):
                return to_python(value, hint)
    raise TypeError(f"{value!r} is none of {hints}")


def _with_bytes(operation: Operation, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a multipart body as `from_dict` takes them: files as bytes."""
    properties = operation.follow(operation.body.schema if operation.body else {})["properties"]
    made = dict(fields)
    for name, value in fields.items():
        if properties[name].get("format") == "binary":
            made[name] = value.encode("latin-1")
        elif properties[name].get("items", {}).get("format") == "binary":
            made[name] = [each.encode("latin-1") for each in value]
    return made


def from_python(value: Any) -> Any:
    """Return what a value is as JSON."""
    if hasattr(value, "to_dict"):
        return from_python(value.to_dict())
    if isinstance(value, dict):
        return {name: from_python(each) for name, each in value.items()}
    if isinstance(value, list):
        return [from_python(each) for each in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, File):
        return value.payload.read().decode("latin-1")
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
