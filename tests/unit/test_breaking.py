"""codegen/breaking.py says what a change breaks, for whom, and asks for a version and a line in the changelog.

The changes are made in a spec and in packages of this file's own, so that those of the project are free to change.
"""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import griffe
import pytest
import yaml
from ruamel.yaml.comments import CommentedMap, CommentedSeq

import breaking
from breaking import PUBLIC, Pairs, load, missed_by_griffe, python_findings, undeclared
from document import Document
from spec_changes import Comparison
from tests.codegen.project import run_main

ROOT = Path(__file__).parents[2]
CALLERS, SERVERS, BOTH = "callers", "servers", "callers and servers"
GONE = object()  # in place of a value: the key is removed
Changes = dict[str, Any]
"""New values, each by its place: an operation (post, delete), `path`, the name of a schema, and keys from there.

A `.` is short for /properties/, and `~` for a slash in a key.
"""

API = """\
openapi: 3.1.0
info: { title: Jobs, version: 0.1.0 }
paths:
  /v1/{project}/jobs:
    servers:
      - url: https://{region}.org
        variables: { region: { default: north, enum: [north, south] } }
    parameters:
      - { name: project, in: path, required: true, schema: { type: string } }
    post:
      operationId: StartJob
      tags: [Jobs]
      security: [{ AuthToken: [] }, { Signature: [] }]
      parameters:
        - { name: dry, in: query, schema: { type: boolean, default: false } }
        - { name: X-Trace, in: header, schema: { type: string, minLength: 1, maxLength: 64 } }
      requestBody:
        content:
          application/json: { schema: { $ref: '#/components/schemas/NewJob' } }
          text/plain: { schema: { type: string, pattern: '^[a-z]+$' } }
      responses:
        '201':
          description: Started.
          headers: { Location: { schema: { type: string } }, ETag: { required: true, schema: { type: string } } }
          content: { application/json: { schema: { $ref: '#/components/schemas/Job' } } }
        '204': { description: Nothing to do. }
        '409': { description: It runs already. }
    delete:
      operationId: StopJobs
      tags: [Jobs]
      responses: { '204': { description: Stopped. } }
components:
  securitySchemes:
    AuthToken: { type: apiKey, in: header, name: X-Auth-Token }
    Signature: { type: apiKey, in: header, name: Authorization }
  schemas:
    NewJob:
      type: object
      required: [name]
      properties:
        name: { type: string, minLength: 2, maxLength: 63 }
        weight: { type: number, minimum: 0, default: 1 }
        colour: { enum: [red, green] }
        owner: { anyOf: [{ type: string }, { type: 'null' }] }
        steps: { type: array, maxItems: 9, items: { $ref: '#/components/schemas/Step' } }
        secret: { type: string }
    Step:
      type: object
      additionalProperties: false
      properties:
        after: { $ref: '#/components/schemas/Step' }
        run: { type: string }
    Job:
      allOf: [{ $ref: '#/components/schemas/Named' }]
      type: object
      required: [id, state]
      properties:
        id: { type: integer, format: int32 }
        state: { enum: [running, done] }
        part: { type: object, additionalProperties: false, properties: { size: { type: integer } } }
        note: { type: [string, 'null'] }
        log: { oneOf: [{ type: string, maxLength: 5 }, { type: array, items: { type: string } }] }
    Named:
      properties: { title: { type: string } }
"""
SPEC: Any = yaml.safe_load(API)


# --- the spec --------------------------------------------------------------------------------------------------


def changed(spec: Any, changes: Changes) -> Any:
    """A copy with the changes; a key that is not there yet is added."""
    spec = copy.deepcopy(spec)
    for place, value in changes.items():
        first, *steps = place.replace(".", "/properties/").split("/")
        path = next(iter(spec["paths"].values()))
        nodes = {"spec": spec, "path": path, **spec["components"]["schemas"]}
        at = nodes[first] if first in nodes else path[first]
        *way, last = [step.replace("~", "/") for step in steps]
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at[step]
        if value is GONE:
            del at[int(last) if isinstance(at, list) else last]
        elif isinstance(at, list):
            at[int(last) : int(last) + 1] = [copy.deepcopy(value)]
        else:
            at[last] = copy.deepcopy(value)
    return spec


def parsed(spec: Any) -> Document:
    """A spec as Document reads it, but without lines: parsing would take most of the time of these tests."""

    def node(value: Any) -> Any:
        if isinstance(value, dict):
            return CommentedMap({key: node(each) for key, each in value.items()})
        return CommentedSeq(map(node, value)) if isinstance(value, list) else value

    document = object.__new__(Document)
    document.name, document.root = "openapi.yaml", node(spec)
    return document


def compared(before: Changes, changes: Changes) -> list[str]:
    """What the changes break, without file, line and place."""
    old = changed(SPEC, before)
    found = Comparison(parsed(old), parsed(changed(old, changes))).findings()
    return sorted(re.sub(r"^\S+:\d+: | \(at \S+\)", "", line) for line in found)


def at_path(path: str) -> Changes:
    """The operations are at another path."""
    return {"spec/paths": {path: PATH}}


PATH = SPEC["paths"]["/v1/{project}/jobs"]
TWO_NAMES = [{**PATH["parameters"][0], "name": name} for name in ("project", "job")]
TWO = at_path("/v1/{project}/{job}/jobs") | {"path/parameters": TWO_NAMES}
HOW = {"name": "how", "in": "query", "schema": {"type": "string"}}
TOKEN, SIGNATURE = PATH["post"]["security"]
STRING, BOOLEAN = {"type": "string"}, {"type": "boolean"}
SOME, MORE = "NewJob/x-at-least-one-of", {"$ref": "#/components/schemas/More"}
LOG = SPEC["components"]["schemas"]["Job"]["properties"]["log"]["oneOf"]

# What is changed, whom it breaks, what is said of it and, if it is not the API above, what was changed before.
BREAKING: list[tuple[Changes, str, str | list[str]] | tuple[Changes, str, str | list[str], Changes]] = [
    ({"path/delete": GONE}, BOTH, "operation StopJobs is gone"),
    ({"delete/operationId": "EndJobs"}, BOTH, "operation StopJobs is gone"),
    ({"path/delete": GONE, "path/put": PATH["delete"]}, BOTH,
     "StopJobs is PUT /v1/{project}/jobs now, was DELETE /v1/{project}/jobs"),
    (at_path("/v2/{project}/jobs"), BOTH,
     ["StartJob is POST /v2/{project}/jobs now, was POST /v1/{project}/jobs",
      "StopJobs is DELETE /v2/{project}/jobs now, was DELETE /v1/{project}/jobs"]),
    (at_path("/v1/{job}/{project}/jobs") | {"path/parameters": TWO_NAMES}, BOTH,
     ["StartJob is POST /v1/{job}/{project}/jobs now, was POST /v1/{project}/{job}/jobs",
      "StopJobs is DELETE /v1/{job}/{project}/jobs now, was DELETE /v1/{project}/{job}/jobs"], TWO),
    ({"path/servers/0/url": "https://{region}.net"}, CALLERS,
     [f"{name} is no longer at https://north.org, https://south.org" for name in ("StartJob", "StopJobs")]),
    ({"path/servers/0/variables/region/enum": ["north"]}, CALLERS,
     [f"{name} is no longer at https://south.org" for name in ("StartJob", "StopJobs")]),
    ({"post/security": [TOKEN]}, BOTH, "apiKey header Authorization no longer authenticates StartJob"),
    ({"delete/security": [TOKEN]}, BOTH, "nothing no longer authenticates StopJobs"),
    ({"post/parameters/0": GONE}, BOTH, "query parameter dry is gone"),
    ({"post/parameters/0/required": True}, BOTH, "query parameter dry is mandatory now"),
    ({"post/parameters/2": {**HOW, "required": True}}, BOTH, "query parameter how is new and mandatory"),
    ({"post/parameters/0/explode": False}, BOTH, "query parameter dry is serialized in another way"),
    ({"post/parameters/1/schema/maxLength": 32}, BOTH, "maxLength was 64, is 32"),
    ({"post/parameters/0/schema/default": True}, CALLERS, "default was false, is true"),
    ({"NewJob.secret/default": "x"}, CALLERS, 'default was none, is "x"'),
    ({"post/requestBody/required": True}, BOTH, "a request body is mandatory now"),
    ({"post/requestBody/content/text~plain": GONE}, BOTH, "request media type text/plain is gone"),
    ({"post/requestBody": GONE}, BOTH, "the request body is gone"),
    ({"post/requestBody/content/text~plain/schema/pattern": "^[0-9]+$"}, BOTH,
     'pattern was "^[a-z]+$", is "^[0-9]+$"'),
    ({"NewJob/required": ["name", "colour"]}, BOTH, "field colour is mandatory now"),
    ({"NewJob/required": ["name", "size"], "NewJob.size": STRING}, BOTH, "field size is new and mandatory"),
    ({"NewJob.secret": GONE}, BOTH, "field secret is gone"),
    ({"NewJob.secret/type": "integer"}, BOTH, "type was string, is integer"),
    ({"NewJob.weight/type": "integer"}, BOTH, "type was integer or number, is integer"),
    ({"NewJob.name/minLength": 3}, BOTH, "minLength was 2, is 3"),
    ({"NewJob.colour/enum": ["red"]}, BOTH, '"green", "red" was possible, "red" is'),
    ({"NewJob.secret": False}, BOTH, "only nothing is possible now"),
    ({"NewJob.secret": {"enum": ["x"]}}, BOTH, 'only "x" is possible now'),
    ({"NewJob.secret/allOf/0/maxLength": 8}, BOTH, "maxLength was 9, is 8",
     {"NewJob.secret": {"allOf": [{"type": "string", "maxLength": 9}, {"maxLength": 20}]}}),
    ({"More/const": "y"}, BOTH, 'not was {"const": "x"}, is {"const": "y"}',
     {"NewJob.secret/not": MORE, "spec/components/schemas/More": {"const": "x"}}),
    ({SOME: ["colour"]}, BOTH, f'{SOME[7:]} was ["colour", "secret"], is ["colour"]', {SOME: ["colour", "secret"]}),
    ({SOME: ["colour", "secret"]}, BOTH, f'{SOME[7:]} was none, is ["colour", "secret"]'),
    ({"NewJob.owner": STRING}, BOTH, 'no alternative accepts all that {"type": "null"} did'),
    ({"Step.run/maxLength": 7}, BOTH, "maxLength was none, is 7"),  # in a schema that contains itself
    ({"NewJob/additionalProperties": False}, BOTH, "unknown fields are refused now"),
    ({"post/responses/204": GONE}, BOTH, "status 204 is gone"),
    ({"post/responses/409": GONE}, SERVERS, "status 409 is gone"),  # which callers then never meet
    ({"post/responses/202": {"description": "Later."}}, CALLERS, "status 202 is new, and is not an error"),
    ({"post/responses/201/headers/Location": GONE}, BOTH, "header Location is gone"),
    ({"post/responses/201/headers/ETag/required": False}, CALLERS, "header ETag may be missing now"),
    ({"post/responses/201/headers/Location/required": True}, SERVERS, "header Location is mandatory now"),
    ({"post/responses/201/content/text~csv": {}}, CALLERS, "response media type text/csv is new"),
    ({"Job/additionalProperties": {"maxLength": 5}}, SERVERS, "maxLength was none, is 5"),
    ({"Job.part/additionalProperties": GONE}, CALLERS, "unknown fields are possible now"),
    ({"Job.note": GONE}, BOTH, "field note is gone"),
    ({"Named.title": GONE}, BOTH, "field title is gone"),
    ({"Job/required": ["id"]}, CALLERS, "field state may be missing now"),
    ({"Job/required": ["id", "state", "note"]}, SERVERS, "field note is mandatory now"),
    ({"Job.id/type": "number"}, CALLERS, "type was integer, is integer or number"),
    ({"Job.id/type": "string"}, BOTH, "type was integer, is string"),
    ({"Job.note/type": "string"}, SERVERS, "type was null or string, is string"),
    ({"Job.id/format": "int64"}, BOTH, 'format was "int32", is "int64"'),
    ({"Job.state/enum": ["running", "done", "failed"]}, CALLERS,
     '"done", "running" was possible, "done", "failed", "running" is'),
    ({"Job.state/enum": ["done"]}, SERVERS, '"done", "running" was possible, "done" is'),
    ({"Job.part.unit": {}}, CALLERS, "field unit is new, and unknown fields were not allowed"),
    ({"Job.log/oneOf": [*LOG, BOOLEAN]}, CALLERS, '{"type": "boolean"} is possible now'),
    # A schema of both a request and a response is reported once, and breaks whom either does.
    *(({"More/type": type_now}, whom, f"type was string, is {told}",
       {"spec/components/schemas/More": STRING, "NewJob.secret": MORE, "Job.note": MORE})
      for type_now, whom, told in ((["string", "null"], CALLERS, "null or string"), ("null", BOTH, "null"))),
]  # fmt: skip


def named(rows: Sequence[Any]) -> list[Any]:
    """Rows as parameters, each named for what it finds."""
    found = [row[2] if isinstance(row[2], str) else row[2][0] for row in rows]
    return [pytest.param(row, id=f"{number} {found[number]}") for number, row in enumerate(rows)]


@pytest.mark.parametrize("row", named(BREAKING))
def test_a_change_of_the_spec_breaks(row: Any) -> None:
    changes, whom, said, *before = row
    findings = [f"{each}; breaks {whom}" for each in ([said] if isinstance(said, str) else said)]
    assert compared(before[0] if before else {}, changes) == findings


def test_one_change_may_break_callers_in_one_way_and_servers_in_another() -> None:
    assert compared({}, {"Job.part/required": ["unit"], "Job.part.unit": {}}) == [
        "field unit is new and mandatory; breaks servers",
        "field unit is new, and unknown fields were not allowed; breaks callers",
    ]


# What each group changes at once. In one that is a pair, the first is how it was before.
HARMLESS: dict[str, Changes | tuple[Changes, Changes]] = {
    "operations and servers": {
        "spec/info/title": "Work",
        "path/get": {**PATH["delete"], "operationId": "ListJobs"},  # no caller has to use it
        "path/servers/0/variables/region/enum": ["north", "south", "west"],
        "post/security": [SIGNATURE, TOKEN],
        "delete/security": [TOKEN, {}],
    },
    "no authentication is needed: to send one does no harm": {"post/security": [{}]},
    "a path parameter's name never travels": at_path("/v1/{it}/jobs") | {"path/parameters/0/name": "it"},
    "parameters": {
        "post/parameters/2": HOW,  # callers may leave it out
        "post/parameters/1/name": "x-trace",
        "post/parameters/1/style": "simple",  # which OpenAPI takes for granted, as the next three
        "post/parameters/0/style": "form",
        "post/parameters/0/explode": True,
        "post/parameters/0/allowReserved": False,
    },
    "requests": {
        "NewJob/required": GONE,
        "NewJob.size": {},
        "NewJob.weight": {"type": ["number", "string"], "default": 1},
        "NewJob.colour/enum": ["green", "red", "blue"],
        "NewJob.owner/anyOf/2": BOOLEAN,
        "NewJob.secret": {**STRING, "minLength": 0, "examples": ["x"], "x-source": "sdk", "deprecated": True},
        "NewJob.steps/uniqueItems": False,
        "NewJob.steps/$defs": {"X": {}},
        "Step/properties": {"run": STRING, "after": {"$ref": "#/components/schemas/Step"}},
        "post/requestBody/content/text~html": {},
        "post/requestBody/content/Text~PLAIN": PATH["post"]["requestBody"]["content"]["text/plain"],
        "post/requestBody/content/text~plain": GONE,
    },
    "the same, said with type in place of anyOf": {"NewJob.owner": {"type": ["string", "null"]}},
    "what JSON Schema takes for granted is no longer said":
        ({"NewJob.secret/minLength": 0}, {"NewJob.secret/minLength": GONE}),
    "more alternatives of what is demanded": ({SOME: ["secret", "colour"]}, {SOME: ["colour", "weight", "secret"]}),
    "responses": {
        "Job/required": ["state", "id"],
        "Job.size": {},  # clients keep what they do not know
        "Job.state/type": "string",  # which the values have anyway
        "Job.id": {"$ref": "#/components/schemas/Id"},
        "spec/components/schemas/Id": {"type": "integer", "format": "int32"},
        "Job/allOf": GONE,
        "Job.title": STRING,  # came by allOf
        "post/responses/201/headers/Age": {"schema": STRING},
        "post/responses/403": {"description": "No."},  # the client has an error for each
        "post/responses/409/description": "Sorry!",
    },
    "an error status is covered by its class":
        {"post/responses/409": GONE, "post/responses/4XX": {"description": "No."}},
    "error statuses are covered by default":
        {"post/responses/409": GONE, "post/responses/default": {"description": "No."}},
}  # fmt: skip


@pytest.mark.parametrize("changes", HARMLESS.values(), ids=HARMLESS)
def test_these_changes_of_the_spec_are_harmless(changes: Any) -> None:
    before, after = changes if isinstance(changes, tuple) else ({}, changes)
    assert compared(before, after) == []


def test_what_breaks_is_reported_once_with_file_line_and_place(tmp_path: Path) -> None:
    """Although NewJob and Step itself lead there."""
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(API, "utf-8")
    new.write_text(API.replace("run: { type: string", "run: { type: string, maxLength: 7"), "utf-8")
    line = API[: API.index("run: {")].count("\n") + 1
    place = "#/components/schemas/Step/properties/run"
    assert Comparison(Document(str(old)), Document(str(new))).findings() == [
        f"{new}:{line}: maxLength was none, is 7 (at {place}); breaks callers and servers"
    ]


# --- the Python surface ----------------------------------------------------------------------------------------

A, G = "huaweicloud_retry", "huaweicloud_retry_client"
INIT, INNER, CORE, TESTING, MOCK = (
    f"src/{A}/{name}.py" for name in ("__init__", "inner", "core", "testing", "mock/__init__")
)
CLIENT, MODELS, ENGINE, CALLS = (
    f"generated/{G}/{name}.py" for name in ("__init__", "models/__init__", "models/engine", "api/calls")
)
SOURCES = {
    INNER: "class Inner: ...\n",
    INIT: """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from .core import APIError, Client, NotFound, Resend, StatusError, Token, connect
__all__ = ["APIError", "Client", "NotFound", "Resend", "StatusError", "Token", "connect"]
""",
    CORE: """
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar
import attrs, httpx
T = TypeVar("T")
class _Once(httpx.SyncByteStream): ...
class _Auth(httpx.Auth): ...
class Token(_Auth):
    def __init__(self, token: str | Callable[[], str]) -> None: ...
class Client:
    def __init__(self, *, auth: httpx.Auth | None = None, headers: Mapping[str, str]) -> None: ...
    def close(self) -> None: ...
def connect(service: Literal["a"], *, region: str | None = None, http: bool = False) -> Client:
    'Return a client.'
class APIError(Exception):
    attempts: int = 1
    def __repr__(self) -> str: ...
class StatusError(APIError):
    @staticmethod
    def of(status: int) -> "StatusError": ...
class NotFound(StatusError): ...
@dataclass(frozen=True, kw_only=True)
class Resend:
    attempts: int = 3
    backoff: float = 1.0
    def wait(self, attempt: int) -> float: ...
@attrs.frozen(kw_only=True)
class Response(Generic[T]):
    @property
    def error(self) -> str | None: ...
    def result(self) -> T: ...
""",
    TESTING: """
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypedDict
import pytest
class Entry(TypedDict):
    method: str
    status: int | None
    outcome: Literal["yes", "no"]
class Fault(TypedDict, total=False):
    close: Literal["before", "after"]
class Mock:
    def advance(self, seconds: float) -> None: ...
    def entries(self) -> list[Entry]: ...
    def state(self) -> dict[str, Any]: ...
@contextmanager
def server() -> Iterator[Mock]: ...
@pytest.fixture
def _mock() -> Iterator[Mock]: ...
""",
    MOCK: """
from ..core import connect as running
__all__ = ["running"]
""",
    CLIENT: f"""
from {A}.core import Client, NotFound, Response
__version__ = "0.1.0"
__all__ = ["Client", "NotFound", "Response", "__version__"]
""",
    MODELS: """
from .engine import Engine, EngineRequest
__all__ = ("Engine", "EngineRequest")
""",
    ENGINE: """
from typing import Any, Literal, TypeVar
from attrs import define as _define
from attrs import field as _field
T = TypeVar("T", bound="Engine")
@_define(kw_only=True)
class Engine:
    job: int
    more: dict[str, Any] = _field(init=False, factory=dict)
    @classmethod
    def of(cls: type[T], data: dict[str, Any]) -> T: ...
@_define(kw_only=True, repr=False)
class EngineRequest:
    action: Literal["Retry"] = "Retry"
    task: str | None = None
""",
    f"generated/{G}/api/__init__.py": "",
    CALLS: """
import httpx
def _parse(response: httpx.Response) -> str: ...
def sync() -> str: ...
async def asyncio() -> str: ...
""",
}


def write(folder: Path, sources: dict[str, str]) -> Path:
    for name, text in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


def edited(*edits: tuple[str, str | None]) -> dict[str, str]:
    """The sources after `old => new` in a file, or without it."""
    sources = dict(SOURCES)
    for file, change in edits:
        if change is None:
            del sources[file]
        else:
            old, new = change.split(" => ")
            assert sources[file].count(old) == 1, f"{old!r} is {sources[file].count(old)} times in {file}"
            sources[file] = sources[file].replace(old, new)
    return sources


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, griffe.Module]:
    return load(write(tmp_path_factory.mktemp("before"), SOURCES))


LOST, REMOVED, NEEDED, ADDED = (
    "Public object was removed", "Parameter was removed", "Parameter is now required", "Parameter was added as required"
)  # fmt: skip

# A file, what is changed in it, and what is then found.
PYTHON_BREAKING: list[tuple[str, str | None, str | list[str]]] = [
    (INIT, "Token, connect\n__all__ =>  connect\n__all__", f"{A}.Token: {LOST}"),
    (INIT, '"Token",  => ', f"{A}.Token: is no longer public"),
    (MOCK, '["running"] => []', f"{A}.mock.running: is no longer public"),
    (CORE, "class Token => class Tokens", f"{A}.Token: is imported from {A}.core.Token, where it is gone"),
    (CORE, "NotFound => Missing",
     [f"{each}.NotFound: is imported from {A}.core.NotFound, where it is gone" for each in (A, G)]),
    (TESTING, "_mock => _fake", f"{A}.testing._mock: {LOST}"),  # a fixture, which pytest finds by its name
    (TESTING, "    method: str\n => ", f"{A}.testing.Entry.method: {LOST}"),
    (TESTING, "int | None => int | str | None", f"{A}.testing.Entry.status: is int | str | None now, was int | None"),
    (CALLS, None, f"{G}.api.calls: {LOST}"),
    (CALLS, "def sync => def run", f"{G}.api.calls.sync: {LOST}"),
    (CALLS, "async def => def", f"{G}.api.calls.asyncio: is not async now"),
    (TESTING, "@contextmanager\n => ", f"{A}.testing.server: is not contextmanager now"),
    (CORE, "    @staticmethod\n => ", f"{A}.core.StatusError.of: is not staticmethod now"),
    (ENGINE, "    @classmethod\n => ", f"{G}.models.engine.Engine.of: is not classmethod now"),
    (ENGINE, "True)\n => True, frozen=True)\n", f"{G}.models.engine.Engine: is frozen now"),
    (CORE, "@attrs.frozen => @attrs.define", f"{A}.core.Response: is mutable now"),
    (TESTING, "Entry(TypedDict => Entry(TypedDict, total=False", f"{A}.testing.Entry: keys may be missing now"),
    (TESTING, ", total=False => ", f"{A}.testing.Fault: keys are mandatory now"),
    (TESTING, '"before", "after" => "after"',
     f"{A}.testing.Fault.close: takes Literal['after'] now, took Literal['before', 'after']"),
    (CORE, "-> Client => -> Client | None", f"{A}.core.connect: returns Client | None now, returned Client"),
    (CORE, " region: str | None = None, => ", f"{A}.core.connect(region): {REMOVED}"),
    (CORE, "region: str | None = None => region: str | None", f"{A}.core.connect(region): {NEEDED}"),
    (CORE, "*, region => *, zone: str, region", f"{A}.core.connect(zone): {ADDED}"),
    (CORE, 'service: Literal["a"], *, => *, service: Literal["a"],',
     f"{A}.core.connect(service): Parameter kind was changed"),
    (CORE, "region: str | None = None => region: str = ''", f"{A}.core.connect(region): takes str now, took str | None"),
    (CORE, "str | Callable[[], str] => str",
     f"{A}.core.Token.__init__(token): takes str now, took str | Callable[[], str]"),
    (CORE, "attempts: int = 3 => attempts: int", f"{A}.core.Resend.__init__(attempts): {NEEDED}"),
    (CORE, "-> T => -> T | None", f"{A}.core.Response.result: returns T | None now, returned T"),
    (TESTING, '"yes", "no" => "yes", "no", "so"',
     f"{A}.testing.Entry.outcome: is Literal['yes', 'no', 'so'] now, was Literal['yes', 'no']"),
    (ENGINE, "    more: dict[str, Any] = _field(init=False, factory=dict)\n => ", f"{G}.models.engine.Engine.more: {LOST}"),
    (CORE, "def close => def _close", f"{A}.core.Client.close: {LOST}"),
    (CORE, "auth: httpx.Auth | None = None,  => ", f"{A}.core.Client.__init__(auth): {REMOVED}"),
    (TESTING, "class Mock:\n    def advance(self, seconds: float => class Mock(_Mock): ...\nclass _Mock:\n    def advance(self",
     f"{A}.testing._Mock.advance(seconds): {REMOVED}"),
    (CORE, "    @property\n => ", f"{A}.core.Response.error: Public object points to a different kind of object"),
    (CORE, "_Auth(httpx.Auth) => _Auth", f"{A}.core.Token: is no longer a Auth"),
    (CORE, "NotFound(StatusError) => NotFound(APIError)",
     f"{A}.core.NotFound: is no longer a StatusError"),
    (CORE, "    attempts: int = 1\n => ", f"{A}.core.APIError.attempts: {LOST}"),
    (ENGINE, "task: str | None = None => task: str",
     [f"{G}.models.engine.EngineRequest.__init__(task): {NEEDED}",
      f"{G}.models.engine.EngineRequest.__init__(task): takes str now, took str | None"]),
    (ENGINE, "task: => kind: str\n    task:", f"{G}.models.engine.EngineRequest.__init__(kind): {ADDED}"),
    (ENGINE, "job: int => work: int",
     [f"{G}.models.engine.Engine.__init__(job): {REMOVED}",
      f"{G}.models.engine.Engine.__init__(work): {ADDED}", f"{G}.models.engine.Engine.job: {LOST}"]),
    (ENGINE, "job: int => job: int | None", f"{G}.models.engine.Engine.job: is int | None now, was int"),
]  # fmt: skip


@pytest.mark.parametrize("row", named(PYTHON_BREAKING))
def test_a_change_of_python_breaks_callers(
    before: dict[str, griffe.Module], tmp_path: Path, row: Any
) -> None:
    file, change, said = row
    findings = [f"{each}; breaks callers" for each in ([said] if isinstance(said, str) else said)]
    assert python_findings(before, load(write(tmp_path, edited((file, change))))) == findings


PYTHON_HARMLESS: list[tuple[str, str | None]] = [
    (INNER, None),
    (INIT, '"connect"] => "connect", "other"]'),
    (INIT, "connect\n__all__ => connect\n    from .core import _Auth as other\n__all__"),
    (CORE, "Return a client. => Return it."),
    (CORE, "http: bool = False => http: Union['bool', bool] = True, patience: float = 1"),
    (CORE, ", region: str | None = None => "),
    (CORE, ") -> Client: => , region: httpx.URL | typing.Optional[str] = None) -> 'Client':"),
    (CORE, "httpx.Auth | None => None | httpx.Auth"),
    (CORE, "headers: Mapping[str, str]) => headers: typing.Mapping[str, str], **more: object)"),
    (CORE, "class _Auth => class _Base"),
    (CORE, "Token(_Auth) => Token(_Base)"),
    (CORE, "    attempts: int = 3\n => "),
    (CORE, "backoff: float = 1.0 => backoff: float = 1.0\n    attempts: int = 3"),
    (CORE, "attempt: int) => attempt: float)"),
    (CORE, "    def __repr__(self) -> str: ...\n => "),  # which every class has
    (TESTING, "list[Entry] => List[Entry]"),
    (TESTING, "dict[str, Any] => Dict[str, Any]"),
    (TESTING, '"yes", "no" => "no"'),  # what is only read
    (TESTING, '"after" => "after", "never"'),  # what is only sent
    (TESTING, "seconds: float => seconds: Any"),
    (TESTING, "Entry(TypedDict => Entry(TypedDict, total=True"),
    (CLIENT, "0.1.0 => 0.2.0"),
    (ENGINE, "cls: type[T] => cls"),
    (ENGINE, "-> T => -> Self"),
    (ENGINE, '["Retry"] => ["Retry", "Stop"]'),  # what is only sent
    (ENGINE, "task: => kind: str = ''\n    task:"),
    (CALLS, "_parse(response: httpx => _read(response: http"),
    (CALLS, "import httpx => import httpx as http"),
    (CORE, "class _Once(httpx.SyncByteStream): ...\n => "),
]


def test_these_changes_of_python_are_harmless(before: dict[str, griffe.Module], tmp_path: Path) -> None:
    assert python_findings(before, load(write(tmp_path, edited(*PYTHON_HARMLESS)))) == []


def test_what_the_project_exports_is_compared() -> None:
    compared: Pairs = {}
    for package in load(ROOT).values():
        assert [*missed_by_griffe(package, package, compared)] == []
    ours = "auth.AkSkAuth", "connection.connect", "runtime.errors.NotFoundError", "testing.mock_server"
    theirs = (
        "api.cse.retry_engine.asyncio",
        "client.Client",
        "models.engine_action_request.EngineActionRequest",
    )
    expected = {*(f"{A}.{each}" for each in ours), *(f"{G}.{each}" for each in theirs)}
    assert {path for path, _ in compared} >= expected


def test_what_readme_and_docs_import_from_is_public() -> None:
    pages = "".join(file.read_text("utf-8") for file in (ROOT / "README.md", *ROOT.glob("docs/*.md")))
    modules = set(re.findall(r"^from (huaweicloud_\S+) import", pages, re.MULTILINE))
    assert modules
    assert {module for module in modules if not PUBLIC.fullmatch(module)} == set()


# --- the version and the changelog -----------------------------------------------------------------------------

OLD = "# Changelog\n\n## [Unreleased]\n\n- Old.\n\n## [0.1.0]\n\n- Older.\n"
NEW = OLD.replace("- Old.", "- New.\n- Old.")
RAISE, TELL, LOWER = "it must be", "say there what breaks", "must not go down"


TITLES = "0.2.0 - 2026-01-31", "v0.2.0", "[0.2.0] - 2026-01-31", "[unreleased]"


@pytest.mark.parametrize(
    ("was", "now", "changelog", "missing"),
    [
        ("0.1.0", "0.1.0", OLD, [RAISE, TELL]),
        ("0.1.0", "0.1.0", NEW, [RAISE]),
        ("0.1.0", "0.1.1", NEW, [RAISE]),
        *((was, now, NEW, []) for was, now in (("0.1.5", "0.2.0"), ("0.9.0", "0.10.0"), ("0.1.0", "1.0.0"))),
        ("1.2.0", "1.3.0", NEW, [RAISE]),
        ("1.2.0", "2.0.0", NEW, []),
        ("0.2.0", "0.1.9", NEW, [LOWER]),  # whether or not anything breaks
        ("0.1.0", "0.2.0", "", [TELL]),
        ("0.1.0", "0.2.0", OLD.replace("[Unreleased]", "[0.2.0]"), [TELL]),
        ("0.1.0", "0.2.0", OLD.replace("- Older.", "- New.\n- Older."), [TELL]),  # under an older version
        ("0.1.0", "0.2.0", OLD.replace("- Old.", "-  Old. "), [TELL]),
        ("0.1.0", "0.2.0", NEW.replace("- New.", "<!--\n- New.\n-->"), [TELL]),
        ("0.1.0", "0.2.0", NEW.replace("- New", "* New"), []),
        *(("0.1.0", "0.2.0", NEW.replace("[Unreleased]", title), []) for title in TITLES),
    ],
)
def test_what_breaks_needs_the_next_version_and_a_new_entry(
    was: str, now: str, changelog: str, missing: list[str]
) -> None:
    old, new = (parsed({"info": {"version": version}}) for version in (was, now))
    lines = [*undeclared("v", (old, OLD), (new, changelog), breaks=True)]
    assert [reason in line for line, reason in zip(lines, missing, strict=True)] == [True] * len(missing)
    without = [*undeclared("v", (old, OLD), (new, OLD), breaks=False)]
    assert without == [line for line in lines if LOWER in line]


# --- the command -----------------------------------------------------------------------------------------------


# The API without StartJob.
STOP = API.partition("    post:\n")[0] + API[API.index("    delete:\n") : API.index("components:\n")]
COMMIT = """
git init --quiet
git config user.name test; git config user.email test@localhost; git config commit.gpgsign false
git add .; git commit --quiet --message='all there is'; git tag v0.1.0
"""


def shell(folder: Path, commands: str) -> str:
    command = ["sh", "-ec", commands]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git repository of a small API and the packages above, with the tag v0.1.0."""
    folder = write(tmp_path / "a projéct", {**SOURCES, "openapi.yaml": STOP, "CHANGELOG.md": OLD})
    shell(folder, COMMIT)
    return folder


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), "utf-8")


def test_it_compares_with_the_working_tree_and_leaves_the_repository_as_it_was(project: Path) -> None:
    state = "git status --porcelain --ignored; git for-each-ref; git worktree list; git stash list"
    edit(project / "openapi.yaml", "title: Jobs", "title: Work")
    before = shell(project, state)
    assert run_main(breaking, project, "v0.1.0") == (
        0,
        "changes since v0.1.0 that break callers or servers: none\n",
        "",
    )
    assert shell(project, state) == before


def test_it_exits_1_until_version_and_changelog_say_what_breaks(project: Path) -> None:
    edit(project / "openapi.yaml", "StopJobs", "EndJobs")
    edit(project / INIT, '"Token", ', "")
    found = [
        "openapi.yaml:4: operation StopJobs is gone (at #/paths/~1v1~1{project}~1jobs); breaks callers and servers",
        f"{A}.Token: is no longer public; breaks callers",
        "changes since v0.1.0 that break callers or servers: 2",
    ]
    code, out, err = run_main(breaking, project, "v0.1.0")
    *lines, version, changelog = out.splitlines()
    assert (code, err, lines) == (1, "", found)
    assert version.startswith("openapi.yaml:2: ")
    assert changelog.startswith("CHANGELOG.md:1: ")

    edit(project / "openapi.yaml", "version: 0.1.0", "version: 0.2.0")
    edit(project / "CHANGELOG.md", "## [Unreleased]\n", "## [0.2.0]\n\n- `StopJobs` is `EndJobs` now.\n")
    assert run_main(breaking, project, "v0.1.0") == (0, "\n".join([*found, ""]), "")


UNKNOWN = "git knows no such commit"


# What is changed, in the shell; which BASE is given, and what is then said.
REFUSALS: dict[str, tuple[str, str, str]] = {
    "an unknown ref": ("", "v9", f"BASE=v9: {UNKNOWN}"),
    "an option of git's": ("", "--output=x", f"BASE=--output=x: {UNKNOWN}"),
    "a file": ("", "HEAD:openapi.yaml", f"BASE=HEAD:openapi.yaml: {UNKNOWN}"),
    "no checkout": ("rm -r .git", "v0.1.0", "{project} cannot be read as a git checkout: fatal: not a git"),
    "a commit without a spec": (
        "git rm -q --cached openapi.yaml; git commit -qm gone",
        "HEAD",
        "BASE=HEAD: there is no openapi.yaml in that commit",
    ),
    "a commit with a broken spec": (
        "sed -i.old s/Jobs]/2026-01-01]/ openapi.yaml; git commit -qam bad; git checkout -q v0.1.0 openapi.yaml",
        "HEAD",
        "HEAD:openapi.yaml:12: JSON has no date",
    ),
    "Python that is none": (f"echo ] >{MOCK}", "HEAD", f"{MOCK}:1: unmatched ']'"),
    "a NUL": (f"printf '\\0' >{MOCK}", "HEAD", f"{MOCK}:1: source code string cannot contain null"),
    "another OpenAPI": ("sed -i.old s/3.1.0/3.0.3/ openapi.yaml", "HEAD", "openapi.yaml:1: only "),
    "no version": ("sed -i.old s/0.1.0/next/ openapi.yaml", "HEAD", "openapi.yaml:2: the version is next"),
    "no text": ("printf '\\377' >CHANGELOG.md", "HEAD", "CHANGELOG.md:1: not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize(("prepare", "base", "said"), REFUSALS.values(), ids=REFUSALS)
def test_it_exits_2_and_says_what_is_wrong(
    project: Path, monkeypatch: pytest.MonkeyPatch, prepare: str, base: str, said: str
) -> None:
    (project.parent / "C:").mkdir()  # a colon, as there is one in every path of Windows
    monkeypatch.setattr(tempfile, "tempdir", str(project.parent / "C:"))
    shell(project, prepare)
    code, out, err = run_main(breaking, project, "--", base)
    assert (code, out) == (2, "")
    assert err.startswith(said.format(project=project))


def test_the_script_needs_a_base() -> None:
    command = [sys.executable, str(ROOT / "codegen/breaking.py"), "--", ""]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert ran.stderr.startswith("BASE is missing: which commit to compare with?")


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        ('"$0" -c "$1" | true; exit ${PIPESTATUS[0]}', 1, ""),
        ('"$0" -c "$1" >/dev/full', 2, "standard output: No space left on device\n"),
    ],
    ids=["a reader that has seen enough changes nothing", "a full disk is said"],
)
def test_a_full_disk_is_an_error_and_a_reader_that_stops_is_none(shell: str, code: int, said: str) -> None:
    """For each command that shows its output as breaking.py does."""
    show = "import sys, document; sys.exit(document.show(1, ['a line'] * 10_000))"
    command = ["bash", "-c", shell, sys.executable, show]
    ran = subprocess.run(command, cwd=ROOT / "codegen", check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (code, said)


@pytest.mark.parametrize("base", ["v0.1.0", 'it\'s-"$HOME"-$(id)-`id`-a;b', ""])
def test_make_checks_the_client_first_and_hands_over_the_base_as_it_is(tmp_path: Path, base: str) -> None:
    """Python of another spec would be compared as if nothing had changed."""
    write(tmp_path, {"openapi.yaml": ""})
    options = f"BASE={base}", "PY=echo", "READY=openapi.yaml", "DEV=openapi.yaml", "--assume-old=openapi.yaml"
    command = ["make", "--no-print-directory", f"--makefile={ROOT / 'Makefile'}", "breaking", *options]
    ran = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert ran.stdout == f"codegen/generate.py --check\ncodegen/breaking.py -- {base}\n"
