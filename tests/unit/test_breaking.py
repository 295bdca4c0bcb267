"""codegen/breaking.py says what a change breaks, for whom, and asks for a version and a line in the changelog.

The changes are made in copies of the tree, to which an API of this file's own is added, so that the wording of
openapi.yaml is free to change.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import griffe
import pytest

from breaking import PUBLIC, load, python_findings, untold
from document import Document
from spec_changes import Comparison

ROOT = Path(__file__).parents[2]
PYTHON_TREES = "src", "generated"
CALLERS, SERVERS, BOTH = "callers", "servers", "callers and servers"

API = """\
openapi: 3.1.0
info: { title: Jobs, version: 0.1.0 }
paths:
  /v1/{project}/jobs:
    servers:
      - url: https://{region}.example.com
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


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file.name}"
    file.write_text(text.replace(old, new), "utf-8")


def git(folder: Path, *arguments: str) -> None:
    identity = "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository of the checkout's tree and the API above, with the tag v0.1.0; not to be changed."""
    folder = tmp_path_factory.mktemp("base") / "a projéct"
    folder.mkdir()
    for name in ("codegen", *PYTHON_TREES):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "openapi.yaml", folder)
    set_version(folder, "0.1.0")
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [0.1.0]\n\n- All there is.\n", "utf-8")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=all there is")
    git(folder, "tag", "v0.1.0")
    return folder


def set_version(folder: Path, version: str) -> None:
    text = (folder / "openapi.yaml").read_text("utf-8")
    (folder / "openapi.yaml").write_text(re.sub(r"(?m)^  version: .*$", f"  version: {version}", text), "utf-8")


@pytest.fixture
def project(base: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(base, tmp_path / base.name))


# --- the spec --------------------------------------------------------------------------------------------------------


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    (tmp_path / "openapi.yaml").write_text(API, "utf-8")
    return tmp_path / "openapi.yaml"


def compared(file: Path, edits: list[str]) -> list[str]:
    """What is found after `old => new`, again and again; of what stands before BASE, if it is there, nothing."""
    before = Document(str(file))
    for each in edits:
        if each == "BASE":
            before = Document(str(file))
        else:
            edit(file, *each.split(" => "))
    return Comparison(before, Document(str(file))).findings()


def breaks(edits: str | list[str], *findings: str, whom: str, name: str, more: Iterable[str] = ()) -> object:
    told = [*(f"{each}; breaks {whom}" for each in findings), *more]
    return pytest.param([edits] if isinstance(edits, str) else edits, told, id=name)


DELETE = API[API.index("    delete:") : API.index("components:")]


@pytest.mark.parametrize(
    ("edits", "findings"),
    [
        breaks(f"{DELETE} => ", "operation StopJobs is gone", whom=BOTH, name="an operation is removed"),
        breaks("operationId: StopJobs => operationId: EndJobs", "operation StopJobs is gone", whom=BOTH, name="an operation is renamed"),
        breaks("    delete:\n =>     put:\n", "StopJobs is PUT /v1/{project}/jobs now, was DELETE /v1/{project}/jobs", whom=BOTH, name="another method"),
        breaks(
            "  /v1/{project}/jobs: =>   /v2/{project}/jobs:",
            "StartJob is POST /v2/{project}/jobs now, was POST /v1/{project}/jobs",
            "StopJobs is DELETE /v2/{project}/jobs now, was DELETE /v1/{project}/jobs",
            whom=BOTH,
            name="another path",
        ),
        breaks(
            ["  /v1/{project}/jobs: =>   /v1/{project}/{job}/jobs:", "    post:\n =>       - { name: job, in: path, required: true, schema: { type: string } }\n    post:\n", "BASE", "/{project}/{job}/jobs: => /{job}/{project}/jobs:"],
            "StartJob is POST /v1/{job}/{project}/jobs now, was POST /v1/{project}/{job}/jobs",
            "StopJobs is DELETE /v1/{job}/{project}/jobs now, was DELETE /v1/{project}/{job}/jobs",
            whom=BOTH,
            name="path parameters in another order",
        ),
        breaks("https://{region}.example.com => https://{region}.example.net", "StartJob is no longer at https://north.example.com, https://south.example.com", "StopJobs is no longer at https://north.example.com, https://south.example.com", whom=CALLERS, name="another host"),
        breaks("enum: [north, south] => enum: [north]", "StartJob is no longer at https://south.example.com", "StopJobs is no longer at https://south.example.com", whom=CALLERS, name="a region is removed"),
        breaks("{ AuthToken: [] }, { Signature: [] } => { AuthToken: [] }", "apiKey header Authorization no longer authenticates StartJob", whom=BOTH, name="an alternative of authentication is removed"),
        breaks("operationId: StopJobs => security: [{ AuthToken: [] }]\n      operationId: StopJobs", "nothing no longer authenticates StopJobs", whom=BOTH, name="authentication is demanded"),
        breaks("- { name: dry, in: query, schema: { type: boolean, default: false } } => ", "query parameter dry is gone", whom=BOTH, name="a parameter is removed"),
        breaks("name: dry, in: query, => name: dry, in: query, required: true,", "query parameter dry is mandatory now", whom=BOTH, name="a parameter becomes mandatory"),
        breaks("- { name: dry => - { name: how, in: query, required: true, schema: { type: string } }\n        - { name: dry", "query parameter how is new and mandatory", whom=BOTH, name="a new mandatory parameter"),
        breaks("name: dry, in: query, => name: dry, in: query, explode: false,", "query parameter dry is written another way", whom=BOTH, name="a parameter is written another way"),
        breaks("minLength: 1, maxLength: 64 } }\n      requestBody => minLength: 1, maxLength: 32 } }\n      requestBody", "maxLength was 64, is 32", whom=BOTH, name="a parameter is limited more"),
        breaks("schema: { type: boolean, default: false } => schema: { type: boolean, default: true }", "default was false, is true", whom=CALLERS, name="another default: left out, it means another thing"),
        breaks("secret: { type: string } => secret: { type: string, default: x }", 'default was none, is "x"', whom=CALLERS, name="a default where there was none"),
        breaks("      requestBody:\n        content:\n          application/json: { =>       requestBody:\n        required: true\n        content:\n          application/json: {", "a request body is mandatory now", whom=BOTH, name="a body becomes mandatory"),
        breaks("          text/plain: { schema: { type: string, pattern: '^[a-z]+$' } }\n => ", "request media type text/plain is gone", whom=BOTH, name="a request media type is removed"),
        breaks(API[API.index("      requestBody:") : API.index("      responses:")] + " => ", "the request body is gone", whom=BOTH, name="a body is removed"),
        breaks("Job:\n      allOf: => Job:\n      additionalProperties: { maxLength: 5 }\n      allOf:", "maxLength was none, is 5", whom=SERVERS, name="unknown response fields are limited"),
        breaks("part: { type: object, additionalProperties: false, => part: { type: object,", "fields that are not named here are possible now", whom=CALLERS, name="unknown response fields are possible"),
        breaks("pattern: '^[a-z]+$' => pattern: '^[0-9]+$'", 'pattern was "^[a-z]+$", is "^[0-9]+$"', whom=BOTH, name="another pattern in a request"),
        breaks("required: [name] => required: [name, colour]", "field colour is mandatory now", whom=BOTH, name="a request field becomes mandatory"),
        breaks(["required: [name] => required: [name, size]", "secret: { type: string } => size: { type: string }\n        secret: { type: string }"], "field size is new and mandatory", whom=BOTH, name="a new mandatory request field"),
        breaks("        secret: { type: string }\n => ", "field secret is gone", whom=BOTH, name="a request field is removed"),
        breaks("secret: { type: string } => secret: { type: integer }", "type was string, is integer", whom=BOTH, name="another type of a request field"),
        breaks("weight: { type: number => weight: { type: integer", "type was integer or number, is integer", whom=BOTH, name="a narrower type of a request field"),
        breaks("type: string, minLength: 2 => type: string, minLength: 3", "minLength was 2, is 3", whom=BOTH, name="a request field must be longer"),
        breaks("colour: { enum: [red, green] } => colour: { enum: [red] }", '"green", "red" was possible, "red" is', whom=BOTH, name="a value of a request field is removed"),
        breaks("secret: { type: string } => secret: false", "only nothing is possible now", whom=BOTH, name="a request field is refused"),
        breaks(["secret: { type: string } => secret: { allOf: [{ type: string, maxLength: 9 }, { maxLength: 20 }] }", "BASE", "maxLength: 9 } => maxLength: 8 }"], "maxLength was 9, is 8", whom=BOTH, name="the narrower of two bounds is narrowed"),
        breaks(["secret: { type: string } => secret: { not: { $ref: '#/components/schemas/Bad' } }", "    Named:\n =>     Bad: { const: x }\n    Named:\n", "BASE", "{ const: x } => { type: string }"], 'not was {"const": "x"}, is {"type": "string"}', whom=BOTH, name="a schema that is referred to under not"),
        breaks(["    NewJob:\n      type: object =>     NewJob:\n      type: object\n      x-at-least-one-of: [colour, secret]", "BASE", "[colour, secret] => [colour]"], 'x-at-least-one-of was ["colour", "secret"], is ["colour"]', whom=BOTH, name="an alternative of what is demanded is removed"),
        breaks("secret: { type: string } => secret: { enum: [x] }", 'only "x" is possible now', whom=BOTH, name="a request field gets an enum"),
        breaks("owner: { anyOf: [{ type: string }, { type: 'null' }] } => owner: { type: string }", 'no alternative takes all that {"type": "null"} did', whom=BOTH, name="an alternative of a request field is removed"),
        breaks("        run: { type: string } =>         run: { type: string, maxLength: 7 }", "maxLength was none, is 7", whom=BOTH, name="a request field deep in a schema that contains itself is limited"),
        breaks("    NewJob:\n      type: object =>     NewJob:\n      type: object\n      additionalProperties: false", "fields that are not named here are refused now", whom=BOTH, name="unknown request fields are refused"),
        breaks("    NewJob:\n      type: object =>     NewJob:\n      type: object\n      x-at-least-one-of: [colour, secret]", 'x-at-least-one-of was none, is ["colour", "secret"]', whom=BOTH, name="one of some request fields is demanded, which the client enforces"),
        breaks("        '204': { description: Nothing to do. }\n => ", "status 204 is gone", whom=BOTH, name="a success status is removed"),
        breaks("        '409': { description: It runs already. }\n => ", "status 409 is gone", whom=SERVERS, name="an error status is removed: callers never meet it"),
        breaks("        '409': =>         '202': { description: Later. }\n        '409':", "status 202 is new, and no error", whom=CALLERS, name="a success status is added: callers do not know what to make of it"),
        breaks("Location: { schema: { type: string } }, => ", "header Location is gone", whom=BOTH, name="a response header is removed"),
        breaks("ETag: { required: true, => ETag: {", "header ETag may be missing now", whom=CALLERS, name="a response header becomes optional"),
        breaks("Location: { schema => Location: { required: true, schema", "header Location is mandatory now", whom=SERVERS, name="a response header becomes mandatory"),
        breaks("content: { application/json: { schema: { $ref: '#/components/schemas/Job' } } } => content: { application/json: { schema: { $ref: '#/components/schemas/Job' } }, text/csv: {} }", "response media type text/csv is new", whom=CALLERS, name="a response media type is added"),
        breaks("        note: { type: [string, 'null'] }\n => ", "field note is gone", whom=BOTH, name="a response field is removed"),
        breaks("properties: { title: { type: string } } => properties: {}", "field title is gone", whom=BOTH, name="a response field is removed from a schema that the response is made of"),
        breaks("required: [id, state] => required: [id]", "field state may be missing now", whom=CALLERS, name="a response field becomes optional"),
        breaks("required: [id, state] => required: [id, state, note]", "field note is mandatory now", whom=SERVERS, name="a response field becomes mandatory"),
        breaks("id: { type: integer, format: int32 } => id: { type: number, format: int32 }", "type was integer, is integer or number", whom=CALLERS, name="a wider type of a response field"),
        breaks("id: { type: integer, format: int32 } => id: { type: string, format: int32 }", "type was integer, is string", whom=BOTH, name="another type of a response field"),
        breaks("note: { type: [string, 'null'] } => note: { type: string }", "type was null or string, is string", whom=SERVERS, name="a narrower type of a response field"),
        breaks("format: int32 => format: int64", 'format was "int32", is "int64"', whom=BOTH, name="another format of a response field"),
        breaks("state: { enum: [running, done] } => state: { enum: [running, done, failed] }", '"done", "running" was possible, "done", "failed", "running" is', whom=CALLERS, name="a value of a response field is added"),
        breaks("state: { enum: [running, done] } => state: { enum: [done] }", '"done", "running" was possible, "done" is', whom=SERVERS, name="a value of a response field is removed"),
        breaks("properties: { size: { type: integer } } => properties: { size: { type: integer }, unit: {} }", "field unit is new, where nothing else could be", whom=CALLERS, name="a response field is added where none could be"),
        breaks("properties: { size: { type: integer } } => required: [unit], properties: { size: { type: integer }, unit: {} }", "field unit is new, where nothing else could be", whom=CALLERS, name="a mandatory response field is added where none could be", more=["field unit is new and mandatory; breaks servers"]),
        breaks("{ type: array, items: { type: string } }] => { type: array, items: { type: string } }, { type: boolean }]", '{"type": "boolean"} is possible now', whom=CALLERS, name="an alternative of a response field is added"),
    ],
)  # fmt: skip
def test_a_change_of_the_spec_breaks(spec_file: Path, edits: list[str], findings: list[str]) -> None:
    found = [re.sub(r"^\S+:\d+: | \(at \S+\)", "", line) for line in compared(spec_file, edits)]
    assert sorted(found) == sorted(findings)


def harmless(*edits: str, name: str) -> object:
    return pytest.param(edits, id=name)


@pytest.mark.parametrize(
    "edits",
    [
        harmless("secret: { type: string } => secret: { type: string, minLength: 0 }\n      x-at-least-one-of: [secret, colour]", "BASE", "[secret, colour] => [colour, weight, secret]", "minLength: 0 } => }", name="more alternatives of what is demanded, in another order"),
        harmless("secret: { type: string } => secret: { type: string, minLength: 0, xml: { name: s } }", "maxItems: 9, => maxItems: 9, uniqueItems: false, $defs: { X: {} },", name="what JSON Schema takes for granted is said"),
        harmless("{ name: dry, in: query, => { name: dry, in: query, style: form, explode: true, allowReserved: false,", "in: header, schema => in: header, style: simple, explode: false, schema", name="what OpenAPI takes for granted is said"),
        harmless("        '409': =>         4XX:", name="an error status is told by its class"),
        harmless("        '409': =>         default:", name="error statuses are told by default"),
        harmless("{ AuthToken: [] }, { Signature: [] } => {}", name="no authentication is needed: to send one does no harm"),
        harmless("title: Jobs => title: Work", name="another title"),
        harmless("description: It runs already. => description: Sorry!", name="another description"),
        harmless("secret: { type: string } => secret: { type: string, examples: [x], x-source: sdk, deprecated: true }", name="examples, extensions and a deprecation"),
        harmless("required: [id, state] => required: [state, id]", "colour: { enum: [red, green] } => colour: { enum: [green, red] }", name="another order"),
        harmless("        after: { $ref: '#/components/schemas/Step' }\n        run: { type: string } =>         run: { type: string }\n        after: { $ref: '#/components/schemas/Step' }", name="fields in another order"),
        harmless("{ AuthToken: [] }, { Signature: [] } => { Signature: [] }, { AuthToken: [] }, {}", name="an alternative of authentication is added"),
        harmless("    delete:\n =>     get: { operationId: ListJobs, responses: { '200': { description: All. } } }\n    delete:\n", name="an operation is added: nobody has to call it"),
        harmless("enum: [north, south] => enum: [north, south, west]", name="a region is added"),
        harmless("- { name: dry => - { name: how, in: query, schema: { type: string } }\n        - { name: dry", name="an optional parameter is added: callers may leave it out"),
        harmless("/v1/{project}/jobs => /v1/{where}/jobs", "{ name: project, in: path, => { name: where, in: path,", name="another name of a path parameter, which never travels"),
        harmless("{ name: X-Trace => { name: x-trace", name="a header in another case"),
        harmless("secret: { type: string } => secret: { type: string }\n        size: { type: string }", name="an optional request field is added"),
        harmless("      required: [name]\n => ", name="a request field becomes optional"),
        harmless("weight: { type: number, minimum: 0 => weight: { type: [number, string]", name="a wider type of a request field"),
        harmless("colour: { enum: [red, green] } => colour: { enum: [red, green, blue] }", name="a value of a request field is added"),
        harmless("owner: { anyOf: [{ type: string }, { type: 'null' }] } => owner: { type: [string, 'null'] }", name="the same, said with type in place of anyOf"),
        harmless("owner: { anyOf: [{ type: string }, { type: 'null' }] } => owner: { anyOf: [{ type: string }, { type: 'null' }, { type: boolean }] }", name="an alternative of a request field is added"),
        harmless("          text/plain: { schema =>           text/html: {}\n          text/plain: { schema", name="a request media type is added"),
        harmless("          application/json: { schema: { $ref: '#/components/schemas/NewJob' } } =>           Application/JSON: { schema: { $ref: '#/components/schemas/NewJob' } }", name="a media type in another case"),
        harmless("        '409': =>         '403': { description: No. }\n        '409':", name="an error status is added: the client has an error for each"),
        harmless("Location: { schema => Age: { schema: { type: string } }, Location: { schema", name="a response header is added"),
        harmless("        note: { type: [string, 'null'] } =>         note: { type: [string, 'null'] }\n        size: { type: integer }", name="an optional response field is added: clients keep what they do not know"),
        harmless("      allOf: [{ $ref: '#/components/schemas/Named' }]\n => ", "        note: { type =>         title: { type: string }\n        note: { type", name="a field that came by allOf is written out"),
        harmless("id: { type: integer, format: int32 } => id: { $ref: '#/components/schemas/Id' }", "    Named:\n =>     Id: { type: integer, format: int32 }\n    Named:\n", name="a schema moves and is referred to"),
        harmless("state: { enum: [running, done] } => state: { type: string, enum: [running, done] }", name="a type is said that the values have anyway"),
    ],
)  # fmt: skip
def test_a_change_of_the_spec_is_harmless(spec_file: Path, edits: list[str]) -> None:
    assert compared(spec_file, edits) == []


def test_what_breaks_is_told_once_with_file_line_and_place(spec_file: Path) -> None:
    """Although NewJob and Step itself lead there."""
    (found,) = compared(spec_file, ["        run: { type: string } =>         run: { type: string, maxLength: 7 }"])
    (line,) = (number for number, text in enumerate(spec_file.read_text("utf-8").splitlines(), 1) if "run: {" in text)
    place = "#/components/schemas/Step/properties/run"
    assert found == f"{spec_file}:{line}: maxLength was none, is 7 (at {place}); breaks {BOTH}"


def test_a_schema_that_several_share_is_told_once(spec_file: Path) -> None:
    (found,) = compared(
        spec_file,
        [
            "        run: { type: string } =>         run: { $ref: '#/components/schemas/Text' }",
            "secret: { type: string } => secret: { $ref: '#/components/schemas/Text' }",
            "    Named:\n =>     Text: { type: string }\n    Named:\n",
            "BASE",
            "Text: { type: string } => Text: { type: integer }",
        ],
    )
    assert found.endswith(f"type was string, is integer (at #/components/schemas/Text); breaks {BOTH}")


def test_a_schema_of_both_a_request_and_a_response_breaks_whom_either_does(spec_file: Path) -> None:
    edits = [
        "properties: { title: { type: string } } => properties: { title: { $ref: '#/components/schemas/Text' } }",
        "secret: { type: string } => secret: { $ref: '#/components/schemas/Text' }",
        "    Named:\n =>     Text: { type: string }\n    Named:\n",
    ]
    assert compared(spec_file, edits) == []
    (found,) = compared(spec_file, ["Text: { type: string } => Text: { type: [string, 'null'] }"])
    assert found.endswith(f"breaks {CALLERS}")


# --- the Python surface ----------------------------------------------------------------------------------------------


INIT, CONNECTION = "src/huaweicloud_retry/__init__.py", "src/huaweicloud_retry/connection.py"
AUTH, TESTING = "src/huaweicloud_retry/auth.py", "src/huaweicloud_retry/testing.py"
MOCK = "src/huaweicloud_retry/mock/__init__.py"
# Not public, but the names above and in huaweicloud_retry_client stand for what is in here.
CLIENT, ERRORS = "src/huaweicloud_retry/runtime/client.py", "src/huaweicloud_retry/runtime/errors.py"
RESEND, RESPONSE = "src/huaweicloud_retry/runtime/resend.py", "src/huaweicloud_retry/runtime/response.py"
OPERATION = "generated/huaweicloud_retry_client/api/cse/retry_engine.py"
REQUEST = "generated/huaweicloud_retry_client/models/retry_script_execution_request.py"
MODEL = "generated/huaweicloud_retry_client/models/engine_action_response.py"


@pytest.fixture(scope="module")
def before(base: Path) -> dict[str, griffe.Module]:
    return load(base)


@pytest.fixture
def tree(base: Path, tmp_path: Path) -> Path:
    """A copy of the packages, to be changed."""
    for name in PYTHON_TREES:
        shutil.copytree(base / name, tmp_path / name)
    return tmp_path


def change(file: Path, edits: list[str]) -> None:
    """`old => new` in a file, again and again, or the end of it."""
    for each in edits:
        if each == "rm":
            file.unlink()
        else:
            edit(file, *each.split(" => "))


def python_breaks(file: str, edits: str | list[str], *findings: str, name: str) -> object:
    return pytest.param(
        file, edits if isinstance(edits, list) else [edits], [f"{each}; breaks callers" for each in findings], id=name
    )


@pytest.mark.parametrize(
    ("file", "edits", "findings"),
    [
        python_breaks(INIT, ['    "TokenAuth",\n => ', "import AkSkAuth, PasswordAuth, TokenAuth => import AkSkAuth, PasswordAuth"], "huaweicloud_retry.TokenAuth: Public object was removed", name="a name that is loaded at first use is removed"),
        python_breaks(INIT, '    "TokenAuth",\n => ', "huaweicloud_retry.TokenAuth: is not public any more", name="a name is no longer in __all__"),
        python_breaks(MOCK, '__all__ = ["running"] => __all__ = []', "huaweicloud_retry.mock.running: is not public any more", name="the mock is no longer in __all__"),
        python_breaks(CONNECTION, "def connect( => def connect_(", "huaweicloud_retry.connect: is imported from huaweicloud_retry.connection.connect, where it is gone", name="a name is gone from the module that it is imported from"),
        python_breaks(ERRORS, "class NotFoundError(APIStatusError): => class MissingError(APIStatusError):", *(f"{package}.NotFoundError: is imported from huaweicloud_retry.runtime.errors.NotFoundError, where it is gone" for package in ("huaweicloud_retry", "huaweicloud_retry_client")), name="an error is renamed behind its imports"),
        python_breaks(TESTING, "    def huaweicloud_mock( =>     def a_mock(", "huaweicloud_retry.testing.huaweicloud_mock: Public object was removed", name="the fixture is renamed"),
        python_breaks(TESTING, "    method: str\n => ", "huaweicloud_retry.testing.JournalEntry.method: Public object was removed", name="a key of a TypedDict is removed"),
        python_breaks(TESTING, "    status: int | None\n =>     status: int | str | None\n", "huaweicloud_retry.testing.JournalEntry.status: is int | str | None now, was int | None", name="a wider type of a key of a TypedDict"),
        python_breaks(OPERATION, "rm", "huaweicloud_retry_client.api.cse.retry_engine: Public object was removed", name="the module of an operation is removed"),
        python_breaks(OPERATION, "def sync( => def synchronous(", "huaweicloud_retry_client.api.cse.retry_engine.sync: Public object was removed", name="a function of an operation is renamed"),
        python_breaks(OPERATION, "async def asyncio( => def asyncio(", "huaweicloud_retry_client.api.cse.retry_engine.asyncio: is not async now", name="a function is no longer to be awaited"),
        python_breaks(TESTING, "@contextmanager\n => ", "huaweicloud_retry.testing.mock_server: is not contextmanager now", name="a context manager is no longer one"),
        python_breaks(ERRORS, "    @staticmethod\n    def of( =>     def of(", "huaweicloud_retry.runtime.errors.APIStatusError.of: is not staticmethod now", name="a static method needs an object"),
        python_breaks(MODEL, "    @classmethod\n => ", "huaweicloud_retry_client.models.engine_action_response.EngineActionResponse.from_dict: is not classmethod now", name="a class method needs an object"),
        python_breaks(MODEL, "@_attrs_define( => @_attrs_define(frozen=True, ", "huaweicloud_retry_client.models.engine_action_response.EngineActionResponse: is frozen now", name="fields can no longer be set"),
        python_breaks(RESPONSE, "@attrs.frozen( => @attrs.define(", "huaweicloud_retry.runtime.response.Response: is mutable now", name="what could be hashed cannot be"),
        python_breaks(TESTING, "class JournalEntry(TypedDict): => class JournalEntry(TypedDict, total=False):", "huaweicloud_retry.testing.JournalEntry: keys may be missing now", name="keys of what is read may be missing"),
        python_breaks(TESTING, "class Fault(TypedDict, total=False): => class Fault(TypedDict):", "huaweicloud_retry.testing.Fault: keys are mandatory now", name="keys of what is sent are mandatory"),
        python_breaks(TESTING, 'close: Literal["before", "after"] => close: Literal["before"]', "huaweicloud_retry.testing.Fault.close: takes Literal['before'] now, took Literal['before', 'after']", name="a value of a key of what is sent is removed"),
        python_breaks(CONNECTION, ") -> Client:\n => ) -> Client | None:\n", "huaweicloud_retry.connection.connect: returns Client | None now, returned Client", name="what is returned may be None"),
        python_breaks(CONNECTION, "    endpoint: str | None = None,\n => ", "huaweicloud_retry.connection.connect(endpoint): Parameter was removed", name="a parameter is removed"),
        python_breaks(CONNECTION, "    region: str | None = None,\n    endpoint =>     region: str | None,\n    endpoint", "huaweicloud_retry.connection.connect(region): Parameter is now required", name="a parameter becomes mandatory"),
        python_breaks(CONNECTION, "    region: str | None = None,\n    endpoint =>     zone: str,\n    region: str | None = None,\n    endpoint", "huaweicloud_retry.connection.connect(zone): Parameter was added as required", name="a new mandatory parameter"),
        python_breaks(CONNECTION, '    service: Literal["cse", "workspace"],\n    *,\n =>     *,\n    service: Literal["cse", "workspace"],\n', "huaweicloud_retry.connection.connect(service): Parameter kind was changed", name="a positional parameter becomes keyword-only"),
        python_breaks(CONNECTION, "    endpoint: str | None = None,\n =>     endpoint: str = '',\n", "huaweicloud_retry.connection.connect(endpoint): takes str now, took str | None", name="a narrower type of a parameter"),
        python_breaks(AUTH, "def __init__(self, token: str | Callable[[], str]) => def __init__(self, token: str)", "huaweicloud_retry.auth.TokenAuth.__init__(token): takes str now, took str | Callable[[], str]", name="a narrower type of an argument of a class"),
        python_breaks(RESEND, "    max_attempts: int = 3 =>     max_attempts: int", "huaweicloud_retry.runtime.resend.Resend.__init__(max_attempts): Parameter is now required", name="a field of a dataclass becomes mandatory"),
        python_breaks(RESPONSE, "    def result(self) -> T: =>     def result(self) -> T | None:", "huaweicloud_retry.runtime.response.Response.result: returns T | None now, returned T", name="what a generic class returns may be None"),
        python_breaks(TESTING, 'outcome: Literal["accepted", "refused", "example", "unanswered"] => outcome: Literal["accepted", "refused", "example", "unanswered", "other"]', "huaweicloud_retry.testing.JournalEntry.outcome: is Literal['accepted', 'refused', 'example', 'unanswered', 'other'] now, was Literal['accepted', 'refused', 'example', 'unanswered']", name="a value of a key of a TypedDict is added"),
        python_breaks(MODEL, "    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)\n => ", "huaweicloud_retry_client.models.engine_action_response.EngineActionResponse.additional_properties: Public object was removed", name="a field of a model that is no argument is removed"),
        python_breaks(CLIENT, '    def close(self) -> None:\n        """Close =>     def _close(self) -> None:\n        """Close', "huaweicloud_retry_client.client.Client.close: Public object was removed", name="a method is removed"),
        python_breaks(CLIENT, "        auth: httpx.Auth | None = None,\n        timeout =>         timeout", "huaweicloud_retry.runtime.client.Client.__init__(auth): Parameter was removed", name="a parameter of an inherited method is removed"),
        python_breaks(TESTING, ["class Mock: => class _Mock:\n    def advance(self) -> None: ...\n\n\nclass Mock(_Mock):", "    def advance(self, seconds =>     def _advance(self, seconds"], "huaweicloud_retry.testing._Mock.advance(seconds): Parameter was removed", name="a method is inherited now, and has fewer parameters"),
        python_breaks(RESPONSE, "    @property\n    def error(self) =>     def error(self)", "huaweicloud_retry.runtime.response.Response.error: Public object points to a different kind of object", name="a property becomes a method"),
        python_breaks(AUTH, "class _Auth(httpx.Auth): => class _Auth:", "huaweicloud_retry.auth.AkSkAuth: is no longer a Auth", name="the base class of a private base class is removed"),
        python_breaks(ERRORS, "class NotFoundError(APIStatusError): => class NotFoundError(APIError):", "huaweicloud_retry.runtime.errors.NotFoundError: is no longer a APIStatusError", name="an error is no longer caught by the same except"),
        python_breaks(ERRORS, "    attempts: int = 1\n\n    def __repr__ =>     def __repr__", "huaweicloud_retry.runtime.errors.APIError.attempts: Public object was removed", name="an attribute of an error is removed"),
        python_breaks(REQUEST, "    task_id: str | Unset = UNSET\n =>     task_id: str\n", "huaweicloud_retry_client.models.retry_script_execution_request.RetryScriptExecutionRequest.__init__(task_id): Parameter is now required", "huaweicloud_retry_client.models.retry_script_execution_request.RetryScriptExecutionRequest.__init__(task_id): takes str now, took str | Unset", name="a field of a model becomes mandatory"),
        python_breaks(REQUEST, "    task_id: str | Unset = UNSET\n =>     kind: str\n    task_id: str | Unset = UNSET\n", "huaweicloud_retry_client.models.retry_script_execution_request.RetryScriptExecutionRequest.__init__(kind): Parameter was added as required", name="a new mandatory field of a model"),
        python_breaks(MODEL, "    job_id: int\n =>     job: int\n", "huaweicloud_retry_client.models.engine_action_response.EngineActionResponse.job_id: Public object was removed", "huaweicloud_retry_client.models.engine_action_response.EngineActionResponse.__init__(job_id): Parameter was removed", "huaweicloud_retry_client.models.engine_action_response.EngineActionResponse.__init__(job): Parameter was added as required", name="a field of a model is renamed"),
        python_breaks(MODEL, "    job_id: int\n =>     job_id: int | None\n", "huaweicloud_retry_client.models.engine_action_response.EngineActionResponse.job_id: is int | None now, was int", name="a field of a model may be None"),
    ],
)  # fmt: skip
def test_a_change_of_python_breaks_callers(
    before: dict[str, griffe.Module], tree: Path, file: str, edits: list[str], findings: list[str]
) -> None:
    change(tree / file, edits)
    assert python_findings(before, load(tree)) == sorted(findings)


def python_harmless(file: str, *edits: str, name: str) -> object:
    return pytest.param(file, [*edits], id=name)


@pytest.mark.parametrize(
    ("file", "edits"),
    [
        python_harmless(CONNECTION, '    """Return a ready client of a service. =>     """Return a client.', name="another docstring"),
        python_harmless(CONNECTION, "    allow_http: bool = False, =>     allow_http: bool = True,", name="another default: what was called so can be called so"),
        python_harmless(CONNECTION, "    allow_http: bool = False,\n => ", "    *,\n    region: str | None = None,\n    endpoint =>     *,\n    allow_http: bool = False,\n    region: str | None = None,\n    endpoint", name="keyword-only parameters in another order"),
        python_harmless(CONNECTION, "    allow_http: bool = False, =>     allow_http: bool = False,\n    patience: float = 1,", name="an optional parameter is added"),
        python_harmless(CONNECTION, "    endpoint: str | None = None,\n =>     endpoint: httpx.URL | str | None = None,\n", name="a wider type of a parameter"),
        python_harmless(CLIENT, "        timeout: float | httpx.Timeout | None = None,\n        headers: Mapping[str, str] | None = None,\n        transport =>         timeout: httpx.Timeout | None | float = None,\n        headers: typing.Mapping[str, str] | None = None,\n        transport", name="types in another order, or spelt with their module"),
        python_harmless(INIT, '    "connect",\n] =>     "connect",\n    "other",\n]', "    from .runtime.resend import Resend =>     from .runtime.resend import Resend\n    from .signing import sign as other", name="a name is added"),
        python_harmless(CONNECTION, "    endpoint: str | None = None,\n =>     endpoint: typing.Optional[str] = None,\n", "    allow_http: bool = False, =>     allow_http: Union[None, 'bool'] = False,", ") -> Client:\n => ) -> 'Client':\n", name="types in another spelling"),
        python_harmless(TESTING, "-> list[JournalEntry] => -> List[JournalEntry]", "-> dict[str, Any]: => -> Dict[str, Any]:", name="types by their old names"),
        python_harmless(AUTH, "class _Once(httpx.SyncByteStream, httpx.AsyncByteStream): => class _Another:", name="a private class is removed"),
        python_harmless(AUTH, "class _TokenAuth( => class _HasToken(", "class TokenAuth(_TokenAuth): => class TokenAuth(_HasToken):", "class PasswordAuth(_TokenAuth): => class PasswordAuth(_HasToken):", name="a private base class is renamed"),
        python_harmless(RESEND, "    max_attempts: int = 3\n    initial_backoff: float = 1.0 =>     initial_backoff: float = 1.0\n    max_attempts: int = 3", name="keyword-only fields in another order"),
        python_harmless("src/huaweicloud_retry/signing.py", "rm", name="an internal module is removed"),
        python_harmless("src/huaweicloud_retry/mock/state.py", "rm", name="a module of the mock is removed, of which running() is all that is public"),
        python_harmless(OPERATION, "def _parse( => def _read(", name="a private function is renamed"),
        python_harmless(OPERATION, "import httpx\n => import httpx as http\n", name="an import is spelt another way"),
        python_harmless(REQUEST, "    task_id: str | Unset = UNSET\n =>     task_id: str | Unset = UNSET\n    kind: str | Unset = UNSET\n", name="an optional field is added to a model"),
        python_harmless("generated/huaweicloud_retry_client/__init__.py", '__version__ = "0.1.0" => __version__ = "0.2.0"', name="another version"),
        python_harmless(CLIENT, "        check: ContractCheck | None = None,\n    ) =>         check: ContractCheck | None = None,\n        **more: object,\n    )", name="more keywords are taken"),
        python_harmless(RESEND, "    def wait(self, attempt: int, =>     def wait(self, attempt: float,", name="a float is taken where an int was"),
        python_harmless(TESTING, 'outcome: Literal["accepted", "refused", "example", "unanswered"] => outcome: Literal["refused", "accepted", "example"]', name="a value of what is only read is removed"),
        python_harmless(TESTING, "    def set_state(self, state: str | Path) -> None: =>     def set_state(self, state: Any) -> None:", name="anything is taken"),
        python_harmless("generated/huaweicloud_retry_client/models/engine_action_request.py", '    action: Literal["Retry"] = "Retry" =>     action: Literal["Retry", "Stop"] = "Retry"', name="a value of what is only sent is added"),
        python_harmless(TESTING, 'close: Literal["before", "after"] => close: Literal["before", "after", "never"] | None', name="a value of a key of what is only sent is added"),
        python_harmless(TESTING, "class JournalEntry(TypedDict): => class JournalEntry(TypedDict, total=True):", name="a default is spelt out"),
        python_harmless(MODEL, "    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T: =>     def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:", name="Self is spelt another way"),
        python_harmless(ERRORS, "    attempts: int = 1\n\n    def __repr__ =>     attempts: int = 1\n\n    def _repr", name="a method that every class has is left to the base class"),
        python_harmless(TESTING, "    def state(self) -> dict[str, Any]: =>     def state(self) -> dict[str, Any]:  # as the mock has it", name="a comment"),
    ],
)  # fmt: skip
def test_a_change_of_python_is_harmless(
    before: dict[str, griffe.Module], tree: Path, file: str, edits: list[str]
) -> None:
    change(tree / file, edits)
    assert python_findings(before, load(tree)) == []


@pytest.mark.parametrize(
    "module",
    sorted(set(re.findall(r"^from (huaweicloud_\S+) import", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))),
)
def test_what_the_readme_imports_from_is_public(module: str) -> None:
    assert PUBLIC.fullmatch(module)


# --- the version and the changelog -----------------------------------------------------------------------------------


RAISE, TELL = "it must be", "say there what breaks"
OLD = "# Changelog\n\n## [Unreleased]\n\n- Old.\n\n## [0.1.0]\n\n- Older.\n"
NEW = OLD.replace("- Old.", "- New.\n- Old.")


@pytest.mark.parametrize(
    ("was", "now", "changelog", "missing"),
    [
        pytest.param("0.1.0", "0.1.0", OLD, [RAISE, TELL], id="neither"),
        pytest.param("0.1.0", "0.1.0", NEW, [RAISE], id="the changelog alone"),
        pytest.param("0.1.0", "0.1.1", NEW, [RAISE], id="a patch release while 0.x"),
        pytest.param("0.1.0", "0.2.0", NEW, [], id="a minor release while 0.x"),
        pytest.param("0.1.5", "0.2.0", NEW, [], id="a minor release while 0.x, with a smaller patch number"),
        pytest.param("0.9.0", "0.10.0", NEW, [], id="a minor release of two digits"),
        pytest.param("0.1.0", "1.0.0", NEW, [], id="the first major release"),
        pytest.param("1.2.0", "1.3.0", NEW, [RAISE], id="a minor release after 1.0"),
        pytest.param("1.2.0", "2.0.0", NEW, [], id="a major release after 1.0"),
        pytest.param("0.2.0", "0.1.9", NEW, ["must not go down"], id="a version that goes down"),
        pytest.param("0.1.0", "0.2.0", OLD, [TELL], id="the version alone"),
        pytest.param("0.1.0", "0.2.0", "", [TELL], id="no changelog"),
        pytest.param("0.1.0", "0.2.0", OLD.replace("[Unreleased]", "[0.2.0]"), [TELL], id="old entries under a new name"),
        pytest.param("0.1.0", "0.2.0", OLD.replace("- Older.", "- New.\n- Older."), [TELL], id="an entry under an older version"),
        pytest.param("0.1.0", "0.2.0", NEW.replace("[Unreleased]", "0.2.0 - 2026-01-31"), [], id="a version without brackets"),
        pytest.param("0.1.0", "0.2.0", NEW.replace("[Unreleased]", "v0.2.0"), [], id="a version with a v"),
        pytest.param("0.1.0", "0.2.0", NEW.replace("[Unreleased]", "[unreleased]"), [], id="lower case"),
        pytest.param("0.1.0", "0.2.0", NEW.replace("- New", "* New"), [], id="another bullet"),
        pytest.param("0.1.0", "0.2.0", NEW.replace("- New.", "<!--\n- New.\n-->"), [TELL], id="an entry in a comment"),
        pytest.param("0.1.0", "0.2.0", OLD.replace("- Old.", "-  Old. "), [TELL], id="an old entry with other spaces"),
        pytest.param("0.1.0", "0.2.0", NEW.replace("[Unreleased]", "[0.2.0] - 2026-01-31"), [], id="an entry under the new version, with its date"),
    ],
)  # fmt: skip
def test_breaking_changes_need_a_version_and_an_entry(
    tmp_path: Path, was: str, now: str, changelog: str, missing: list[str]
) -> None:
    old, new = (tmp_path / name for name in ("old.yaml", "new.yaml"))
    for file, version in ((old, was), (new, now)):
        file.write_text(API.replace("version: 0.1.0", f"version: {version}"), "utf-8")
    said = [*untold("v", (Document(str(old)), OLD), (Document(str(new)), changelog), breaks=True)]
    assert [reason in line for line, reason in zip(said, missing, strict=True)] == [True] * len(missing)


@pytest.mark.parametrize(("now", "missing"), [("0.1.0", 0), ("0.0.9", 1)])
def test_without_breaking_changes_the_version_only_must_not_go_down(spec_file: Path, now: str, missing: int) -> None:
    old = Document(str(spec_file))
    edit(spec_file, "version: 0.1.0", f"version: {now}")
    assert len([*untold("v", (old, OLD), (Document(str(spec_file)), OLD), breaks=False)]) == missing


# --- the command -----------------------------------------------------------------------------------------------------


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(project / "codegen/breaking.py"), *arguments]
    return subprocess.run(command, cwd=project.parent, check=False, capture_output=True, encoding="utf-8")


REMOVED = "openapi.yaml", "operationId: RetryEngine\n", "operationId: RestartEngine\n"


def test_it_compares_with_the_working_tree_and_exits_0_if_nothing_breaks(project: Path) -> None:
    edit(project / "openapi.yaml", "  title: Huawei Cloud retry operations", "  title: Something else")
    ran = run(project, "v0.1.0")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "changes since v0.1.0 that break callers or servers: none\n"


def test_it_exits_1_and_says_what_is_missing(project: Path) -> None:
    edit(project / REMOVED[0], *REMOVED[1:])
    edit(project / INIT, '    "TokenAuth",\n', "")
    ran = run(project, "v0.1.0")
    spec, python, count, version, changelog = ran.stdout.splitlines()
    assert (ran.returncode, ran.stderr) == (1, "")
    assert re.match(
        r"openapi\.yaml:\d+: operation RetryEngine is gone \(at #/paths/\S+\); breaks callers and servers$", spec
    )
    assert python == "huaweicloud_retry.TokenAuth: is not public any more; breaks callers"
    assert count == "changes since v0.1.0 that break callers or servers: 2"
    assert version.endswith(
        "the version was 0.1.0 at v0.1.0; with these changes it must be 0.2.0 or more (at #/info/version)"
    )
    assert (
        changelog
        == "CHANGELOG.md:1: nothing was added under [0.1.0] or [Unreleased] since v0.1.0; say there what breaks"
    )


def test_it_exits_0_and_says_what_breaks_if_version_and_changelog_say_so(project: Path) -> None:
    edit(project / REMOVED[0], *REMOVED[1:])
    set_version(project, "0.2.0")
    edit(project / "CHANGELOG.md", "## [Unreleased]\n", "## [0.2.0]\n\n- `RetryEngine` is `RestartEngine` now.\n")
    ran = run(project, "HEAD")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "operation RetryEngine is gone" in ran.stdout


def test_it_leaves_the_repository_as_it_was(project: Path) -> None:
    def state() -> list[str]:
        return [
            subprocess.run(["git", *command.split()], cwd=project, check=True, capture_output=True, text=True).stdout
            for command in ("status --porcelain --ignored", "for-each-ref", "worktree list", "stash list")
        ]

    edit(project / REMOVED[0], *REMOVED[1:])
    before = state()
    run(project, "v0.1.0")
    assert [line for line in state()[0].splitlines() if "__pycache__" not in line] == before[0].splitlines()
    assert state()[1:] == before[1:]


UNKNOWN = (
    "git knows no such commit; if it is on a server, `git fetch --tags` brings it, "
    "or `git fetch --unshallow` if the clone is shallow"
)


def no_checkout(project: Path) -> None:
    shutil.rmtree(project / ".git")


def no_spec(project: Path) -> None:
    git(project, "rm", "--quiet", "--cached", "openapi.yaml")
    git(project, "commit", "--quiet", "--message=no spec")


def broken_old_spec(project: Path) -> None:
    text = (project / "openapi.yaml").read_text("utf-8")
    (project / "openapi.yaml").write_text("openapi: [\n", "utf-8")
    git(project, "commit", "--quiet", "--all", "--message=broken")
    (project / "openapi.yaml").write_text(text, "utf-8")


@pytest.mark.parametrize(
    ("prepare", "base_ref", "said"),
    [
        pytest.param(None, "", "BASE is missing: which commit to compare with? make breaking BASE=<git ref>", id="no BASE"),
        pytest.param(None, "v9", "BASE=v9: {unknown}", id="an unknown ref"),
        pytest.param(None, "--output=x", "BASE=--output=x: {unknown}", id="no ref but an option of git's"),
        pytest.param(None, "HEAD:openapi.yaml", "BASE=HEAD:openapi.yaml: {unknown}", id="a file"),
        pytest.param(no_checkout, "v0.1.0", "{project} cannot be read as a git checkout: fatal: not a git repository", id="no git checkout"),
        pytest.param(no_spec, "HEAD", "BASE=HEAD: there is no openapi.yaml in that commit", id="a commit without a spec"),
        pytest.param(broken_old_spec, "HEAD", "HEAD:openapi.yaml:2: ", id="a commit with a broken spec"),
        pytest.param(lambda project: (project / INIT).write_text("]", "utf-8"), "HEAD", f"{INIT}:1: unmatched ']'", id="Python that is none"),
        pytest.param(lambda project: edit(project / INIT, "__all__ = [", "__all__ = [\0"), "HEAD", f"{INIT}:1: source code string cannot contain null bytes", id="Python with a NUL"),
        pytest.param(lambda project: (project / "CHANGELOG.md").write_bytes(b"\xff"), "HEAD", "CHANGELOG.md:1: not UTF-8; save the file as UTF-8", id="a changelog that is no text"),
        pytest.param(lambda project: edit(project / "openapi.yaml", "openapi: 3.1.0", "openapi: 3.0.3"), "HEAD", "openapi.yaml:1: only specs of OpenAPI 3.1 can be compared", id="another OpenAPI"),
        pytest.param(lambda project: set_version(project, "next"), "HEAD", ": the version is next; three numbers are needed, such as 0.2.0", id="a version that is none"),
    ],
)  # fmt: skip
def test_it_exits_2_and_says_what_is_wrong(
    project: Path, prepare: Callable[[Path], None] | None, base_ref: str, said: str
) -> None:
    if prepare is not None:
        prepare(project)
    ran = run(project, "--", base_ref)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert re.match(rf"(openapi\.yaml:\d+)?{re.escape(said.format(project=project, unknown=UNKNOWN))}", ran.stderr), (
        ran.stderr
    )
    assert "Traceback" not in ran.stderr


def test_a_reader_that_has_seen_enough_changes_nothing(project: Path) -> None:
    edit(project / REMOVED[0], *REMOVED[1:])
    command = f"'{sys.executable}' '{project}/codegen/breaking.py' v0.1.0 | true; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (1, "")


def test_a_disk_that_is_full_is_said(project: Path) -> None:
    command = f"'{sys.executable}' '{project}/codegen/breaking.py' v0.1.0 >/dev/full"
    ran = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (2, "standard output: No space left on device\n")


def make(python: str, project: Path, base_ref: str) -> subprocess.CompletedProcess[str]:
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, project)
    options = f"BASE={base_ref}", f"PY={python}", "READY=openapi.yaml", "DEV=openapi.yaml", "--assume-old=openapi.yaml"
    command = ["make", "--no-print-directory", "breaking", *options]
    return subprocess.run(command, cwd=project, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("base_ref", ["v0.1.0", 'it\'s-"$HOME"-$(id)-`id`-a;b', ""])
def test_make_hands_over_the_base_as_it_is(project: Path, base_ref: str) -> None:
    assert make("echo", project, base_ref).stdout.endswith(f"codegen/breaking.py -- {base_ref}\n")


def test_make_refuses_a_client_that_is_not_of_this_spec(project: Path) -> None:
    """Its Python would be compared as if nothing had changed."""
    edit(project / REMOVED[0], *REMOVED[1:])
    ran = make(sys.executable, project, "v0.1.0")
    assert ran.returncode == 2
    assert ran.stdout.endswith("is not what openapi.yaml makes; mend it by: make\n")
