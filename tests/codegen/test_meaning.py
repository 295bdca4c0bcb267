"""What a document says, the generated client does: on the wire, in the types, and in the docs.

One document has a piece for each thing that OpenAPI can say; it is generated once for all tests here.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import json
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from huaweicloud_retry.auth import TokenAuth
from huaweicloud_retry.runtime.errors import APIResponseValidationError, APIStatusError
from huaweicloud_retry.runtime.parameters import File
from tests.codegen.project import Generated, Project, generated_once, new_project

NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
ID = UUID("00000000-0000-0000-0000-00000000002a")

HEAD = """\
openapi: 3.1.0
info: { title: Meanings, version: 0.1.0 }
servers: [{ url: 'http://test' }]
security: [{ Token: [] }]
paths:
"""
PATHS = """\
  /path/{i}/{b}/{d}/{t}/{u}/{e}/{l}/{o}:
    get:
      operationId: Path
      parameters:
        - { name: i, in: path, required: true, schema: { type: integer } }
        - { name: b, in: path, required: true, schema: { type: boolean } }
        - { name: d, in: path, required: true, schema: { type: string, format: date } }
        - { name: t, in: path, required: true, schema: { type: string, format: date-time } }
        - { name: u, in: path, required: true, schema: { type: string, format: uuid } }
        - { name: e, in: path, required: true, schema: { type: string, enum: [on, off] } }
        - { name: l, in: path, required: true, schema: { type: array, items: { type: string } } }
        - { name: o, in: path, required: true, explode: true, schema: { $ref: '#/components/schemas/Point' } }
      responses: { '204': { description: Done. } }
  /styles/{label}/{matrix}/{spread}:
    get:
      operationId: Styles
      parameters:
        - { name: label, in: path, required: true, style: label, schema: { type: array, items: { type: string } } }
        - { name: matrix, in: path, required: true, style: matrix, schema: { type: string } }
        - { name: spread, in: path, required: true, style: matrix, explode: true, schema: { $ref: '#/components/schemas/Many' } }
      responses: { '204': { description: Done. } }
  /query:
    get:
      operationId: Query
      parameters:
        - { name: each, in: query, schema: { $ref: '#/components/schemas/Many' } }
        - { name: comma, in: query, explode: false, schema: { $ref: '#/components/schemas/Many' } }
        - { name: pipe, in: query, style: pipeDelimited, explode: false, schema: { $ref: '#/components/schemas/Many' } }
        - { name: space, in: query, style: spaceDelimited, explode: false, schema: { $ref: '#/components/schemas/Many' } }
        - { name: deep, in: query, style: deepObject, explode: true, schema: { $ref: '#/components/schemas/Point' } }
        - { name: point, in: query, schema: { $ref: '#/components/schemas/Point' } }
        - { name: flat, in: query, explode: false, schema: { $ref: '#/components/schemas/Point' } }
        - { name: where, in: query, content: { application/json: { schema: { $ref: '#/components/schemas/Point' } } } }
        - { name: raw, in: query, allowReserved: true, schema: { type: string } }
        - { name: flag, in: query, schema: { type: boolean } }
        - { name: since, in: query, schema: { type: string, format: date-time } }
        - { name: maybe, in: query, schema: { type: [string, 'null'] } }
        - { name: sort, in: query, schema: { type: string, enum: [asc, ASC, a-b, a_b], default: asc } }
        - { name: mixed, in: query, schema: { enum: [1, a, a] } }
      responses: { '204': { description: Done. } }
  /defaults:
    get:
      operationId: Defaults
      parameters:
        - { name: quotes, in: query, schema: { type: string, default: 'a"b\\c' } }
        - { name: number, in: query, schema: { type: [string, integer], default: 5 } }
        - { name: text, in: query, schema: { type: [integer, string], default: '5' } }
        - { name: time, in: query, schema: { type: string, format: date-time, default: '2026-01-02T12:00:00Z' } }
        - { name: timeout, in: query, schema: { type: number, default: 5 } }
        - { name: request_timeout, in: query, schema: { type: boolean, default: true } }
      responses: { '204': { description: Done. } }
  /names/{path}:
    parameters: [{ name: path, in: path, required: true, schema: { type: string } }]
    get:
      operationId: Names
      parameters: [NAMES]
      responses: { '204': { description: Done. } }
  /headers:
    get:
      operationId: Headers
      parameters:
        - { name: X-Date, in: header, schema: { type: string, format: date } }
        - { name: X-Time, in: header, schema: { type: string, format: date-time } }
        - { name: X-Uuid, in: header, schema: { type: string, format: uuid } }
        - { name: X-Flag, in: header, schema: { type: boolean } }
        - { name: X-Null, in: header, schema: { type: [string, 'null'] } }
        - { name: X-List, in: header, schema: { type: array, items: { type: integer } } }
        - { name: X-Default, in: header, schema: { $ref: '#/components/schemas/Zero' } }
        - { name: X-Text, in: header, schema: { type: string } }
        - { name: Accept, in: header, schema: { type: string } }
        - { name: session, in: cookie, schema: { type: string } }
        - { name: n, in: cookie, schema: { type: integer } }
        - { name: b, in: cookie, schema: { type: boolean } }
        - { name: l, in: cookie, explode: false, schema: { type: array, items: { type: string } } }
      responses: { '204': { description: Done. } }
  /open:
    get:
      operationId: Open
      security: []
      responses: { '204': { description: Done. } }
  /nobody:
    get:
      operationId: Nobody
      security: [{}]
      responses: { '204': { description: Done. } }
  /image:
    post:
      operationId: PostImage
      requestBody: { required: true, content: { image/*: { schema: { type: string, format: binary } } } }
      responses: { '200': { description: Bytes., content: { '*/*': { schema: { type: string, format: binary } } } } }
  /null:
    post:
      operationId: PostNull
      requestBody: { required: true, content: { application/json: { schema: { type: 'null' } } } }
      responses: { '200': { description: Null., content: { application/json: { schema: { type: 'null' } } } } }
  /octets:
    put:
      operationId: PutOctets
      requestBody: { required: true, content: { application/octet-stream: { schema: { type: string, format: binary } } } }
      responses: { '200': { description: Bytes., content: { image/png: {} } } }
  /text:
    post:
      operationId: PostText
      requestBody: { content: { text/plain: { schema: { type: string } } } }
      responses: { '200': { description: Text., content: { text/csv: { schema: { type: string } } } } }
  /form:
    post:
      operationId: PostForm
      requestBody:
        required: true
        content: { application/x-www-form-urlencoded: { schema: { $ref: '#/components/schemas/Form' } } }
      responses: { '204': { description: Done. } }
  /upload:
    post:
      operationId: Upload
      requestBody:
        required: true
        content:
          multipart/form-data:
            encoding: { picture: { contentType: image/png } }
            schema:
              type: object
              required: [file]
              properties:
                file: { type: string, format: binary }
                picture: { type: string, contentMediaType: image/png }
                more: { type: array, items: { type: string, format: binary } }
                flag: { type: boolean }
                'on': { type: string, format: date }
                tags: { type: array, items: { type: string } }
                meta: { $ref: '#/components/schemas/Point' }
      responses: { '204': { description: Done. } }
  /choose:
    post:
      operationId: Choose
      requestBody: { content: { application/json: { schema: { $ref: '#/components/schemas/AtLeast' } } } }
      responses: { '204': { description: Done. } }
    put:
      operationId: ChooseMany
      requestBody:
        required: true
        content: { application/json: { schema: { type: array, items: { $ref: '#/components/schemas/AtLeast' } } } }
      responses: { '204': { description: Done. } }
  /one:
    post:
      operationId: ExactlyOne
      requestBody:
        required: true
        content:
          application/xml: { schema: { type: object } }
          application/json: { schema: { $ref: '#/components/schemas/ExactlyOne' } }
      responses: { '204': { description: Done. } }
  /account:
    put:
      operationId: PutAccount
      requestBody: { required: true, content: { application/json: { schema: { $ref: '#/components/schemas/Account' } } } }
      responses: { '200': { description: OK., content: { application/json: { schema: { $ref: '#/components/schemas/Account' } } } } }
  /several:
    post:
      operationId: Several
      responses:
        '200': { description: Done., content: { application/json: { schema: { $ref: '#/components/schemas/Point' } } } }
        '202': { description: Taken., content: { application/json: { schema: { $ref: '#/components/schemas/Many' } } } }
        '204': { description: Nothing. }
        4XX: { description: Wrong., content: { application/xml: { schema: { type: object } } } }
  /default:
    get:
      operationId: Default
      responses: { default: { description: A point., content: { application/json: { schema: { $ref: '#/components/schemas/Point' } } } } }
  /old:
    get:
      operationId: Old
      deprecated: true
      summary: 'Show the "engine"'
      description: Ends in \\
      parameters:
        - { name: lim, in: query, deprecated: true, description: How many at most., schema: { type: integer }, example: 5 }
        - { name: many, in: query, schema: { type: array, items: { type: string }, default: [a] } }
      responses:
        '200':
          description: The engine.
          headers: { X-Total: { schema: { type: integer } } }
          content: { text/plain: { schema: { type: string } }, application/json: { schema: { type: string } } }
  x-paths: { get: 1 }
  /odd/{job.id}/{1st}:
    get:
      operationId: Odd
      parameters:
        - { name: job.id, in: path, required: true, schema: { type: string, default: a } }
        - { name: 1st, in: path, required: true, schema: { type: string } }
      responses: { x-responses: 1, '204': { description: Done. } }
  /nameless/{id}:
    parameters: [{ name: id, in: path, required: true, schema: { type: string } }]
    delete: { tags: [Other], servers: [{ url: 'https://{a}.{region}.com', variables: { a: { default: x }, region: { default: r } } }] }
"""
NAMES = [
    "params", "headers", "client", "timeout", "body", "self", "kwargs", "json", "data", "content", "response", "status_code", "k",
    "v", "httpx", "cast", "sync", "sync_detailed", "UNSET", "url", "path_segment", "_write", "Any", "class", "datetime", "X-Odd name",
]  # fmt: skip
SCHEMAS = """\
components:
  securitySchemes: { Token: { type: apiKey, in: header, name: X-Auth-Token } }
  schemas:
    Zero: { type: string, default: '0' }
    Many: { type: array, items: { type: string } }
    Point: { type: object, properties: { x: { type: integer }, y: { type: integer } } }
    Form: { type: object, required: [a], properties: { a: { type: string }, b: { type: boolean }, c: { $ref: '#/components/schemas/Many' } } }
    AtLeast: { type: object, x-at-least-one-of: [n, force], properties: { n: { type: integer }, force: { type: boolean } } }
    ExactlyOne: { type: object, properties: { a: { type: string }, b: { type: string } }, oneOf: [{ required: [a] }, { required: [b] }] }
    Account:
      type: object
      required: [id, name, password]
      properties:
        id: { type: integer, readOnly: true }
        name: { type: string }
        password: { type: string, writeOnly: true }
"""
TAKEN = ("Response", "Client", "Unset", "File", "Any", "Model")  # names of schemas that the code uses itself
RESPONSES: dict[str, str] = {
    "Enum": "{ $ref: '#/components/schemas/Job' }",
    "Points": "{ type: array, items: { $ref: '#/components/schemas/Point' } }",
    "PointsField": "{ type: object, required: [a], properties: { a: { type: array, items: { $ref: '#/components/schemas/Point' } } } }",
    "Typed": "{ type: object, additionalProperties: { type: integer } }",
    "Closed": "{ type: object, properties: { a: { type: string } }, additionalProperties: false }",
    "Kinds": "{ oneOf: [{ $ref: '#/components/schemas/One' }, { $ref: '#/components/schemas/Two' }] }",
    "Shape": "{ oneOf: [{ $ref: '#/components/schemas/Circle' }, { $ref: '#/components/schemas/Square' }, { type: 'null' }] }",
    "Spread": "{ type: object, properties: { id: { type: integer } }, required: [id], oneOf: [{ $ref: '#/components/schemas/Circle' },"
    " { $ref: '#/components/schemas/Square' }] }",
    "Either": "{ type: object, properties: { a: { type: string }, b: { type: string } }, anyOf: [{ required: [a] }, { required: [b] }] }",
    "Formats": "{ type: object, properties: { d: { type: string, format: date }, t: { type: string, format: date-time },"
    " u: { type: string, format: uuid }, n: { type: number }, i: { type: integer }, y: { type: string, format: byte } } }",
    "Nulls": "{ type: object, required: [a, o], properties: { a: { type: [string, 'null'] }, o: { oneOf: ["
    "{ $ref: '#/components/schemas/Point' }, { type: 'null' }] }, e: { type: [string, 'null'], enum: [x, null] },"
    " m: { type: [string, integer] }, l: { type: [array, 'null'], items: { type: string } } } }",
    "Named": "{ type: object, properties: { d: { type: string }, cls: { type: string }, self: { type: string }, to_dict: { type: string },"
    " from_dict: { type: string }, additional_properties: { type: string }, field_dict: { type: string }, T: { type: string },"
    " src_dict: { type: string }, additional_keys: { type: string }, class: { type: string }, UNSET: { type: string } } }",
    "Narrowed": "{ allOf: [{ $ref: '#/components/schemas/Base' }, { properties: { name: { const: rex } } }] }",
    "Titled": "{ type: object, title: Point, properties: { t: { type: string, title: Point } } }",
    "Parent": "{ allOf: [{ $ref: '#/components/schemas/Base' }, { type: object, required: [b], properties: { b: { type: string } } }] }",
    "RefAndMore": "{ $ref: '#/components/schemas/Base', properties: { c: { type: integer } }, required: [c], description: More. }",
    "AnyList": "{ type: array }",
    "Anything": "{}",
    "True": "true",
    "Inline": "{ type: object, properties: { a: { $ref: '#/components/schemas/Base/properties/name' } } }",
    "Floats": "{ type: object, properties: { e: { type: number, enum: [0.5, 1.5] }, c: { const: 1.5 }, b: { const: true }, n: { const: null } } }",
    "Kid": "{ allOf: [{ $ref: '#/components/schemas/Job' }, { properties: { scheduling: { const: 1 } } }] }",
    "SpreadSets": "{ type: object, properties: { a: { type: string }, b: { type: string } }, x-at-least-one-of: [a, b],"
    " oneOf: [{ $ref: '#/components/schemas/Circle' }, { $ref: '#/components/schemas/Square' }] }",
    "OrAll": "{ anyOf: [{ $ref: '#/components/schemas/Circle' }, true] }",
    "Pair": "{ type: array, prefixItems: [{ type: string }, { type: integer }], items: false }",
    "DateOrId": "{ type: string, anyOf: [{ format: date }, { format: uuid }] }",
    "Numbered": "{ oneOf: [{ $ref: '#/components/schemas/First' }, { $ref: '#/components/schemas/Second' }],"
    " discriminator: { propertyName: n, mapping: { '1': '#/components/schemas/First', '2': Second } } }",
    "Merged": "{ allOf: [{ type: string }, { maxLength: 5 }] }",
    "Required": "{ type: object, required: [gone] }",
    "Patterns": "{ type: object, additionalProperties: false, patternProperties: { '^x': { type: string } }, properties: { a: { type: string } } }",
    **{
        name: f"{{ $ref: '#/components/schemas/{name}' }}"
        for name in ("Moved", "Animal", "Pet", "Tree", "Mixed")
    },
    **{f"{name}Schema": f"{{ $ref: '#/components/schemas/{name}' }}" for name in TAKEN},
}
MORE_SCHEMAS = """\
    Job:
      type: object
      required: [status]
      properties:
        status: { $ref: '#/components/schemas/Status', description: What it does now. }
        former: { type: string, deprecated: true, description: Before. }
        scheduling: { type: integer, enum: [0, 1] }
        actions: { type: array, items: { type: string, enum: [ForceDelete, Retry] } }
        kind: { const: engine }
        two: { const: 2 }
    Status: { description: What jobs do., type: string, enum: [Init, Finished] }
    Pet:
      oneOf: [{ $ref: '#/components/schemas/Cat' }, { $ref: '#/components/schemas/Dog' }]
      discriminator: { propertyName: kind, mapping: { cat: '#/components/schemas/Cat', dog: '#/components/schemas/Dog' } }
    Cat: { type: object, required: [kind], properties: { kind: { type: string }, name: { type: string } } }
    Dog: { type: object, required: [kind], properties: { kind: { type: string }, name: { type: string } } }
    Moved: { anyOf: [{ type: object, required: [to], properties: { to: { type: object, properties: { x: { type: integer } } } } }, { type: string }] }
    Animal:
      type: object
      required: [kind]
      properties: { kind: { type: string }, legs: { type: integer } }
      discriminator: { propertyName: kind }
      anyOf: [{ $ref: '#/components/schemas/Circle' }, { $ref: '#/components/schemas/Square' }]
    One: { type: object, required: [kind], properties: { kind: { const: one } } }
    Two: { type: object, required: [kind], properties: { kind: { const: two } } }
    Circle: { type: object, properties: { radius: { type: integer } } }
    Square: { type: object, properties: { side: { type: integer } } }
    Mixed:
      oneOf:
        - { $ref: '#/components/schemas/Cat' }
        - { allOf: [{ $ref: '#/components/schemas/Dog' }, { properties: { age: { type: integer } } }] }
      discriminator: { propertyName: kind }
    First: { type: object, required: [n], properties: { n: { type: integer }, x: { type: integer } } }
    Second: { type: object, required: [n], properties: { n: { type: integer }, x: { type: string } } }
    Base: { type: object, required: [name], properties: { name: { type: string } }, additionalProperties: { type: integer } }
    Tree: { type: object, properties: { children: { type: array, items: { $ref: '#/components/schemas/Tree' } } } }
"""


def document() -> str:
    """Put the pieces together."""
    names = ", ".join(f"{{ name: '{name}', in: query, schema: {{ type: string }} }}" for name in NAMES)
    spec = HEAD + PATHS.replace("NAMES", names)
    for name, schema in RESPONSES.items():
        content = f"content: {{ application/json: {{ schema: {schema} }} }}"
        responses = f"responses: {{ '200': {{ description: OK., {content} }} }}"
        spec += f"  /read/{name}:\n    get: {{ operationId: Read{name}, tags: [Read], {responses} }}\n"
    model = "{ type: object, required: [a], properties: { a: { type: string } } }"
    return spec + SCHEMAS + MORE_SCHEMAS + "".join(f"    {name}: {model}\n" for name in TAKEN)


@dataclass
class Meaning:
    """The client of the document, and what it sent."""

    generated: Generated
    report: str
    sent: list[httpx.Request] = field(default_factory=list[httpx.Request])

    def call(
        self, module: str, *given: Any, respond: Any = None, is_async: bool = False, **options: Any
    ) -> Any:
        """Call an operation; the server responds with JSON, or with a response."""
        status = 204 if respond is None else 200

        def handle(request: httpx.Request) -> httpx.Response:
            self.sent.append(request)
            return respond if isinstance(respond, httpx.Response) else httpx.Response(status, json=respond)

        with self.generated.entered():
            api = self.generated.module(f"api.{module}")
            transport = httpx.MockTransport(handle)
            made = self.generated.module("").Client(
                "http://test", auth=TokenAuth("t0ken"), transport=transport
            )
            called = (api.asyncio if is_async else api.sync)(*given, client=made, **options)
            return asyncio.run(called) if is_async else called

    def target(self, module: str, *arguments: Any, **options: Any) -> str:
        """Call an operation, and return path and query as they were sent."""
        self.call(f"default.{module}", *arguments, **options)
        return self.sent[-1].url.raw_path.decode()

    def model(self, name: str, /, **fields: Any) -> Any:
        with self.generated.entered():
            return getattr(self.generated.module("models"), name)(**fields)

    def read(self, name: str, response: Any) -> Any:
        return self.call(f"read.read_{name}", respond=httpx.Response(200, content=json.dumps(response)))

    def source(self, path: str) -> str:
        return (self.generated.folder / "huaweicloud_retry_client" / path).read_text("utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Generated, str]:
    project, ran = generated_once(tmp_path_factory, "meaning", document())
    assert (ran.code, ran.err) == (0, "")
    return Generated(project.root / "generated"), ran.out


@pytest.fixture
def meaning(made: tuple[Generated, str]) -> Meaning:
    """The client, with nothing sent yet."""
    return Meaning(*made)


# --- parameters ---


def test_a_value_in_the_path_is_written_as_its_type_has_it(meaning: Meaning) -> None:
    point = meaning.model("Point", x=1, y=2)
    sent = meaning.target("path", 7, True, NOON.date(), NOON, ID, "on", ["a", "b c/d"], point)
    assert sent == f"/path/7/true/2026-01-02/2026-01-02T12%3A00%3A00%2B00%3A00/{ID}/on/a,b%20c%2Fd/x=1,y=2"


def test_the_path_follows_label_and_matrix_and_its_names_may_have_any_characters(meaning: Meaning) -> None:
    assert (
        meaning.target("styles", ["a", "b"], "m", ["c", "d"]) == "/styles/.a,b/;matrix=m/;spread=c;spread=d"
    )
    assert meaning.target("odd", "a", "b") == "/odd/a/b"


@pytest.mark.parametrize(
    ("name", "value", "query"),
    [
        ("each", ["a", "b,c"], "each=a&each=b%2Cc"),
        ("each", [], ""),
        ("comma", ["x", "y,z"], "comma=x,y%2Cz"),
        ("pipe", ["x", "y"], "pipe=x%7Cy"),
        ("space", ["x", "y"], "space=x%20y"),
        ("deep", {"x": 1, "y": 2}, "deep%5Bx%5D=1&deep%5By%5D=2"),
        ("point", {"x": 1, "y": 2}, "x=1&y=2"),
        ("flat", {"x": 1, "y": 2}, "flat=x,1,y,2"),
        ("where", {"x": 1}, "where=%7B%22x%22%3A1%7D"),
        ("raw", "a/b?c&d e", "raw=a/b?c%26d%20e"),
        ("flag", False, "flag=false"),
        ("since", NOON, "since=2026-01-02T12%3A00%3A00%2B00%3A00"),
        ("maybe", None, ""),
        ("sort", "ASC", "sort=ASC"),
        ("sort", "a_b", "sort=a_b"),
        ("mixed", 1, "mixed=1"),
        ("mixed", "a", "mixed=a"),
    ],
)
def test_a_value_in_the_query_follows_style_and_explode(
    meaning: Meaning, name: str, value: Any, query: str
) -> None:
    given = meaning.model("Point", **value) if isinstance(value, dict) else value
    with meaning.generated.entered():
        unset = meaning.generated.module("").UNSET
    sent = meaning.target("query", **{"sort": unset, name: given})
    assert sent == f"/query?{query}".rstrip("?")


def test_a_default_is_sent(meaning: Meaning) -> None:
    assert meaning.target("query") == "/query?sort=asc"
    sent = meaning.target("defaults")
    time = "2026-01-02T12%3A00%3A00%2B00%3A00"
    assert sent == f"/defaults?quotes=a%22b%5Cc&number=5&text=5&time={time}&timeout=5&request_timeout=true"
    assert "number: int | str | Unset = 5," in meaning.source("api/default/defaults.py")


@pytest.mark.parametrize(
    ("operation", "name", "value", "error", "reason"),
    [
        ("query", "sort", "up", TypeError, "sort"),
        ("query", "mixed", 2, TypeError, "mixed"),
        ("query", "mixed", True, TypeError, "mixed"),
        ("query", "flag", "yes", TypeError, "flag"),
        ("query", "each", "a", TypeError, "each"),
        ("query", "since", NOON.replace(tzinfo=None), ValueError, "time zone"),
        ("headers", "x_text", "a\r\nX-Evil: 1", ValueError, "X-Text"),
    ],
)
def test_an_argument_that_the_document_does_not_allow_is_refused(
    meaning: Meaning, operation: str, name: str, value: object, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        meaning.target(operation, **{name: value})
    assert meaning.sent == []


def test_every_parameter_arrives_under_its_own_name(meaning: Meaning) -> None:
    with meaning.generated.entered():
        function = meaning.generated.module("api.default.names").sync
    others = {"path", "client", "request_timeout", "return"}
    arguments = [name for name in function.__annotations__ if name not in others]
    assert len(arguments) == len(NAMES)
    sent = meaning.target("names", "p", **{name: f"v{at}" for at, name in enumerate(arguments)})
    expected = {name: f"v{at}" for at, name in enumerate(NAMES)}
    assert dict(httpx.QueryParams(sent.partition("?")[2])) == expected


def test_headers_and_cookies_are_written_as_their_types_have_them(meaning: Meaning) -> None:
    times = {"x_date": NOON.date(), "x_time": NOON, "x_uuid": ID}
    given = {**times, "x_flag": True, "x_null": None, "x_list": [1, 2]}
    meaning.target("headers", **given, session="a;b", n=1, b=True, l=["x", "y"])
    headers = meaning.sent[-1].headers
    assert {name: headers[name] for name in headers if name.startswith("x-") and name != "x-auth-token"} == {
        "x-date": "2026-01-02",
        "x-time": "2026-01-02T12:00:00+00:00",
        "x-uuid": str(ID),
        "x-flag": "true",
        "x-list": "1,2",
        "x-default": "0",  # of the schema that is referred to
    }
    assert headers["cookie"] == "session=a%3Bb; n=1; b=true; l=x,y"
    assert re.search(r"note: openapi.yaml:\d+: the parameter Accept is ignored", meaning.report)


def test_no_credentials_are_sent_to_an_operation_without_security(meaning: Meaning) -> None:
    meaning.target("open_")
    meaning.target("nobody")
    meaning.target("query")
    assert ["x-auth-token" in request.headers for request in meaning.sent] == [False, False, True]


# --- bodies ---


OCTETS = "application/octet-stream"
BODIES: dict[str, tuple[Any, bytes, bytes, Any, tuple[str, str]]] = {
    "put_octets": (b"\xff\0", b"\xff\0", b"\0" * (3 << 20), b"\0" * (3 << 20), (OCTETS, "image/png")),
    "post_image": (b"\xff", b"\xff", b"\xfe", b"\xfe", (OCTETS, "*/*")),
    "post_null": (None, b"null", b"null", None, ("application/json", "application/json")),
    "post_text": ("ä", "ä".encode(), b"a,b", "a,b", ("text/plain", "text/csv")),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("operation", BODIES)
def test_bodies_go_out_and_come_back(meaning: Meaning, operation: str, is_async: bool) -> None:
    body, content, response, returned, types = BODIES[operation]
    respond = httpx.Response(200, content=response)
    came = meaning.call(f"default.{operation}", body=body, respond=respond, is_async=is_async)
    sent = meaning.sent[-1]
    assert (came, sent.content) == (returned, content)
    assert (sent.headers["content-type"], sent.headers["accept"]) == types


def test_without_a_body_there_is_no_content_type(meaning: Meaning) -> None:
    meaning.call("default.post_text", respond=httpx.Response(200))
    assert "content-type" not in meaning.sent[-1].headers


def test_a_form_is_written_as_openapi_has_it(meaning: Meaning) -> None:
    meaning.target("post_form", body=meaning.model("Form", a="x y&z", b=True, c=["1", "2"]))
    assert meaning.sent[-1].content == b"a=x%20y%26z&b=true&c=1&c=2"
    assert meaning.sent[-1].headers["content-type"] == "application/x-www-form-urlencoded"


def test_each_part_of_an_upload_is_written_as_its_type_has_it(meaning: Meaning) -> None:
    boundary = b"--+++\r\n"
    body = meaning.model(
        "UploadBody",
        file=File(io.BytesIO(boundary), "a.bin"),
        picture=File(b"png"),
        more=[File(b"1", "1.txt"), File(b"2", "2.txt")],
        flag=True,
        on=NOON.date(),
        tags=["a", "b"],
        meta=meaning.model("Point", x=1),
    )
    meaning.target("upload", body=body)
    request = meaning.sent[-1]
    mark = request.headers["content-type"].partition("boundary=")[2].encode()
    parts = request.content.split(b"--" + mark)[1:-1]
    expected = [
        (b'name="file"; filename="a.bin"', boundary),
        (b'name="picture"; filename="file"\r\nContent-Type: image/png', b"png"),
        (b'name="more"; filename="1.txt"', b"1"),
        (b'name="more"; filename="2.txt"', b"2"),
        (b'name="flag"', b"true"),
        (b'name="on"', b"2026-01-02"),
        (b'name="tags"', b"a"),
        (b'name="tags"', b"b"),
        (b'name="meta"\r\nContent-Type: application/json', b'{"x":1}'),
    ]
    for part, (head, value) in zip(parts, expected, strict=True):
        assert head in part
        assert part.endswith(b"\r\n\r\n" + value + b"\r\n")


def test_one_of_the_alternatives_has_to_be_given_whatever_its_value(meaning: Meaning) -> None:
    meaning.target("choose")  # an optional body may be left out
    for fields in ({"n": 0}, {"force": False}):
        meaning.target("choose", body=meaning.model("AtLeast", **fields))
        meaning.target("choose_many", body=[meaning.model("AtLeast", **fields)])
    empty, both = meaning.model("AtLeast"), meaning.model("ExactlyOne", a="1", b="2")
    for operation, body in (("choose", empty), ("choose_many", [empty]), ("exactly_one", both)):
        with pytest.raises(ValueError, match="needs"):
            meaning.target(operation, body=body)
    assert len(meaning.sent) == 5


def test_read_only_and_write_only_fields_go_one_way(meaning: Meaning) -> None:
    account = meaning.model("Account", name="n", password="p", id=7)
    came = meaning.call("default.put_account", body=account, respond={"id": 7, "name": "n"})
    assert meaning.sent[-1].read() == b'{"name":"n","password":"p"}'
    assert came.to_dict() == {"id": 7, "name": "n"}
    with pytest.raises(ValueError, match="needs password"):
        meaning.call("default.put_account", body=meaning.model("Account", name="n"), respond={})
    with pytest.raises(APIResponseValidationError, match="'id' is missing"):
        meaning.call("default.put_account", body=account, respond={"name": "n"})


def test_a_value_of_another_type_is_refused_before_it_is_sent(meaning: Meaning) -> None:
    for body in (meaning.model("AtLeast", n="1"), {"n": 1}, None):
        with pytest.raises(TypeError):
            meaning.target("choose", body=body)
    assert meaning.sent == []


# --- responses ---


def test_each_status_of_success_has_its_own_type(meaning: Meaning) -> None:
    point = meaning.call("default.several", respond=httpx.Response(200, json={"x": 1}))
    many = meaning.call("default.several", respond=httpx.Response(202, json=["a"]))
    nothing = meaning.call("default.several", respond=httpx.Response(204))
    assert (point.x, many, nothing) == (1, ["a"], None)
    assert "-> Point | list[str] | None:" in meaning.source("api/default/several.py")
    assert meaning.sent[-1].headers["accept"] == "application/json"
    with pytest.raises(APIStatusError):
        meaning.call("default.several", respond=httpx.Response(404, text="<xml/>"))


def test_a_default_response_is_that_of_success_and_json_is_read_where_there_is_json(meaning: Meaning) -> None:
    assert meaning.call("default.default", respond={"x": 1}).x == 1
    with warnings.catch_warnings(action="ignore"):
        assert meaning.call("default.old", respond="yes") == "yes"
    assert meaning.sent[-1].headers["accept"] == "application/json"


UNLISTED = {"status": "PreInit", "scheduling": 7, "actions": ["Retry", "Other"], "kind": "group", "two": 3}
ROUND_TRIPS: list[tuple[str, Any]] = [
    ("enum", {"status": "Init", "scheduling": 0, "actions": [], "kind": "engine", "two": 2}),
    ("enum", UNLISTED),
    ("points", [{"x": 1}, {}]),
    ("typed", {"a": 1}),
    ("closed", {"a": "1"}),
    ("shape", {"side": 1}),
    ("shape", None),
    ("spread", {"id": 1, "side": 2}),
    ("either", {"b": "1"}),
    ("formats", {"d": "2026-01-02", "t": "2026-01-02T12:00:00+00:00", "u": str(ID), "n": 1, "i": 2, "y": "YQ=="}),
    ("nulls", {"a": None, "o": None, "e": None, "m": 1, "l": None}),
    ("nulls", {"a": "x", "o": {"x": 1}, "e": "y", "m": "1", "l": ["z"]}),
    ("named", {name: name for name in ("d", "cls", "self", "to_dict", "from_dict", "additional_properties", "field_dict", "T")}),
    ("named", {name: name for name in ("src_dict", "additional_keys", "class", "UNSET", "more")}),
    ("parent", {"name": "n", "b": "b", "more": 1}),
    ("narrowed", {"name": "rex"}),
    ("titled", {"t": "a"}),
    ("ref_and_more", {"name": "n", "c": 1}),
    ("moved", {"to": {"x": 1}}),
    ("animal", {"kind": "Square", "legs": 4, "radius": 1}),
    ("any_list", [1, "a", None]),
    ("anything", {"a": [1]}),
    ("true", None),
    ("inline", {"a": "b"}),
    ("floats", {"e": 2.5, "c": 2.5, "b": True, "n": None}),
    ("kid", {"status": "Init", "scheduling": 1}),
    ("pair", ["a", 1]),
    ("or_all", 1),
    ("mixed", {"kind": "Dog", "age": 1}),
    ("spread_sets", {"a": "1", "side": 2}),
    ("numbered", {"n": 2, "x": "a"}),
    ("tree", {"children": [{"children": []}]}),
    ("merged", "abc"),
    ("required", {"gone": [1]}),
    ("patterns", {"a": "1", "xyz": "2"}),
    *((f"{name}_schema", {"a": "1"}) for name in ("response", "client", "unset", "file", "any", "model")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "response"), ROUND_TRIPS)
def test_what_the_document_allows_is_read_and_written_again(
    meaning: Meaning, name: str, response: Any
) -> None:
    def written(value: Any) -> Any:
        if isinstance(value, list):
            return [written(each) for each in value]
        return value.to_dict() if hasattr(value, "to_dict") else value

    assert written(meaning.read(name, response)) == response


BROKEN = [
    ("enum", {"status": 1}, "status: "),
    ("points", {}, "list.* expected, got dict"),
    ("points", "", "list.* expected, got str"),
    ("points", [{"x": "1"}], "x: int expected, got str"),
    ("points_field", {"a": {}}, "a: list.* expected, got dict"),
    ("points_field", {"a": ""}, "a: list.* expected, got str"),
    ("typed", {"a": "1"}, "a: int expected, got str"),
    ("closed", {"b": 1}, "'b' is not a field"),
    ("shape", [], "expected, got list"),
    ("either", {}, "needs a or b"),
    ("formats", {"d": "2026-13-01"}, "d: date expected"),
    ("formats", {"t": "today"}, "t: datetime expected"),
    ("formats", {"u": "1"}, "u: UUID expected"),
    ("formats", {"i": 1.5}, "i: int expected, got float"),
    ("formats", {"i": True}, "i: int expected, got bool"),
    ("nulls", {"a": None}, "'o' is missing"),
    ("parent", {"name": "n"}, "'b' is missing"),
    ("parent", {"name": "n", "b": "b", "more": "1"}, "more: int expected, got str"),
    ("ref_and_more", {"name": "n"}, "'c' is missing"),
    ("required", {}, "'gone' is missing"),
    ("pet", {"name": "n"}, "'kind' is missing"),
    ("pet", {"kind": "cow"}, "kind: one of .* expected, got 'cow'"),
    ("moved", {"to": {"x": "1"}}, "x: int expected, got str"),
    ("animal", {"kind": "Square", "side": "1"}, "side: int expected, got str"),
    ("spread_sets", {"side": 2}, "expected, got dict"),
    ("mixed", {"kind": "Dog", "age": "1"}, "age: int expected, got str"),
    ("date_or_id", "x", "date | UUID expected"),
    ("numbered", {"n": 1, "x": "a"}, "x: int expected, got str"),
    ("numbered", {"n": True}, "n: one of .* expected, got True"),
    ("tree", {"children": [{"children": 1}]}, "children: list.* expected, got int"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "response", "reason"), BROKEN)
def test_what_the_document_does_not_allow_is_an_error_that_names_the_place(
    meaning: Meaning, name: str, response: Any, reason: str
) -> None:
    with pytest.raises(APIResponseValidationError, match=reason):
        meaning.read(name, response)


@pytest.mark.parametrize(
    ("name", "response", "model"),
    [
        ("date_or_id", "2026-01-02", "date"),  # of a type next to a union
        ("date_or_id", str(ID), "UUID"),
        ("pet", {"kind": "dog", "name": "n"}, "Dog"),  # by a discriminator
        ("pet", {"kind": "cat", "name": "n"}, "Cat"),
        ("pet", {"kind": "Dog", "name": "n"}, "Dog"),
        ("animal", {"kind": "Square", "radius": 1}, "AnimalSquare"),
        ("shape", {"side": 1}, "Square"),  # the model that knows the fields
        ("shape", {"radius": 1}, "Circle"),
        ("kinds", {"kind": "one"}, "One"),  # the model that lists the value
        ("kinds", {"kind": "two"}, "Two"),
        ("kinds", {"kind": "new"}, "One"),
        ("file_schema", {"a": "1"}, "FileModel"),  # a name that is taken
    ],
)
def test_a_response_has_the_model_that_fits(meaning: Meaning, name: str, response: Any, model: str) -> None:
    assert type(meaning.read(name, response)).__name__ == model


def test_a_field_whose_name_is_taken_gets_a_mark(meaning: Meaning) -> None:
    named = meaning.read("named", {"to_dict": "a", "self": "b"})
    assert (named.to_dict_, named.self_) == ("a", "b")


def test_types_and_texts_of_a_model(meaning: Meaning) -> None:
    job = meaning.source("models/job.py")
    for line in (
        "status: Status | str\n",
        "scheduling: JobScheduling | int | Unset = UNSET",
        'kind: Literal["engine"] | str | Unset',
        '"""What it does now."""',  # next to the reference, in place of that of the schema
        '"""Deprecated. Before."""',
    ):
        assert line in job
    assert '"""What jobs do."""' in meaning.source("models/status.py")


# --- docs, names and servers ---


def test_deprecation_is_documented_and_warned_of_where_it_is_used(meaning: Meaning) -> None:
    for options, expected in (({}, ["GET /old"]), ({"lim": 1}, ["GET /old", "lim of GET /old"])):
        for is_async in (False, True):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                meaning.call("default.old", respond="", is_async=is_async, **options)
            found = [each for each in caught if each.category is DeprecationWarning]
            assert [str(each.message) for each in found] == [f"{what} is deprecated" for what in expected]
            assert {each.filename for each in found} <= {__file__, asyncio.events.__file__}


def test_the_texts_of_the_document_are_in_the_docstring(meaning: Meaning) -> None:
    with meaning.generated.entered():
        text = meaning.generated.module("api.default.old").sync.__doc__
    assert text.splitlines()[0] == 'Show the "engine"'
    parameter = "Deprecated. How many at most. Example: 5."
    for part in ("Deprecated.", "Ends in \\", parameter, 'Default: ["a"].', "Headers: X-Total."):
        assert part in text


def test_an_operation_without_a_name_gets_one_of_method_and_path_and_servers_their_defaults(
    meaning: Meaning,
) -> None:
    assert re.search(r"note: openapi.yaml:\d+: DELETE /nameless/{id} has no operationId", meaning.report)
    assert meaning.call("other.delete_nameless_id", "7", respond=httpx.Response(200)) is None
    with meaning.generated.entered():
        servers = meaning.generated.module("servers").SERVERS
    assert (servers["other"], servers["read"]) == (("https://x.{region}.com", []), ("http://test", []))


# --- refused ---

SECURITY = "components:\n  securitySchemes: { Token: { type: apiKey, in: header, name: X-Auth-Token } }\n  schemas:\n"
NAMES_TWICE = {  # pieces of an operation, or a schema, and the reason why it is refused; a table for each stage
    "parameters: [{ name: a, in: query, schema: { type: string } }, { name: A, in: query, schema: { type: string } }]": "both become a",
    "{ type: object, properties: { jobId: { type: string }, job_id: { type: string } } }": "both become job_id in Python",
}
CIRCLES = {
    "{ $ref: '#/components/schemas/S0' }": "S0 contains itself as a whole",
    "{ oneOf: [{ $ref: '#/components/schemas/S2' }] }": "S1 contains itself as a whole",
    "{ allOf: [{ $ref: '#/components/schemas/S1' }] }": "S2 contains itself as a whole",
}
PIECES = {
    "tags: [One, Two]": "has 2 tags",
    "parameters: [{ name: a, in: header, content: { application/json: { schema: {} } } }]": "for JSON in the query only",
    "parameters: [{ name: a, in: cookie, schema: { type: array, items: {} } }]": "needs explode: false",
    "requestBody: { content: { application/xml: { schema: { type: object } } } }": "of application/xml a schema of strings",
    "parameters: [{ name: Cookie, in: header, schema: { type: string } }]": "is made of the parameters with `in: cookie`",
    "parameters: [{ name: a, in: query, schema: false }]": "allows nothing",
    "security: [{ Nope: [] }]": "there is no security scheme Nope",
    "requestBody: { content: { text/plain; charset=latin-1: { schema: { type: string } } } }": "of text/plain; charset=latin-1",
    "requestBody: { content: { multipart/form-data: { schema: true } } }": "a schema of objects",
    "requestBody: { content: { text/plain: {}, text/csv: {} } }": "none of text/plain, text/csv is JSON",
    "requestBody: { content: { multipart/form-data: { schema: { type: array, items: {} } } } }": "a schema of objects",
    "{ enum: [{ a: 1 }] }": "an enum of objects",
    "{ const: [1] }": "a const that is an object or array",
    "{ anyOf: [{ type: string }], oneOf: [{ type: string }] }": "anyOf and oneOf in one schema",
    "{ allOf: [{ type: object, oneOf: [{ type: object }] }] }": "oneOf inside allOf",
    "{ allOf: [{ type: string }, { type: integer }] }": "different values of type",
    "{ type: object, properties: { a: false } }": "allows nothing",
    "{ anyOf: [{ required: [a] }, { required: [b] }], x-at-least-one-of: [c, d] }": "alternatives of required fields can be in a schema once",
}


@pytest.mark.parametrize("pieces", [NAMES_TWICE, CIRCLES, PIECES], ids=["names", "circles", "pieces"])
def test_what_has_no_type_in_python_is_refused_with_its_line(tmp_path: Path, pieces: dict[str, str]) -> None:
    spec, schemas = HEAD, [piece for piece in pieces if piece[0] == "{"]
    for at, piece in enumerate(piece for piece in pieces if piece[0] != "{"):
        operation = f"operationId: O{at}, {piece}, responses: {{ '204': {{ description: Done. }} }}"
        spec += f"  /o{at}:\n    post: {{ {operation} }}\n"
    spec += SECURITY + "".join(f"    S{at}: {piece}\n" for at, piece in enumerate(schemas))
    assert_refused(new_project(tmp_path / "project", spec), spec, [*pieces.values()])


UNIONS = """\
    A: { type: object, properties: { t: { type: string }, s: { type: string } } }
    B: { type: object, properties: { t: { type: string }, s: { type: string } } }
    U: { oneOf: [{ $ref: '#/components/schemas/A' }, { $ref: '#/components/schemas/B' }], discriminator: { propertyName: t } }
"""
REFUSED_UNIONS = {
    "{ oneOf: [REF/A' }, REF/B' }], discriminator: { propertyName: s } }": "another union of A, B has another discriminator",
    "{ oneOf: [REF/A' }, REF/B' }] }": "another union of A, B has another discriminator",
    "{ oneOf: [REF/U' }, REF/V' }], discriminator: { propertyName: t } }": "U is a union itself",
    "{ oneOf: [REF/A' }, REF/V' }], discriminator: { propertyName: t, mapping: { a: Gone } } }": "Gone is not in the union",
}


def test_a_discriminator_that_cannot_be_followed_is_refused_with_its_line(tmp_path: Path) -> None:
    spec = (
        HEAD + "  /a:\n    get: { operationId: A, responses: { '204': { description: Done. } } }\n" + SECURITY
    )
    spec += UNIONS + "    V: { type: object, properties: { t: { type: string } } }\n"
    for at, piece in enumerate(REFUSED_UNIONS):
        spec += (
            f"    S{at}: {piece.replace('REF', chr(123) + ' $ref: ' + chr(39) + '#/components/schemas')}\n"
        )
    assert_refused(new_project(tmp_path / "project", spec), spec, [*REFUSED_UNIONS.values()])


def assert_refused(project: Project, spec: str, reasons: list[str]) -> None:
    ran = project.run()
    *lines, _last = ran.err.splitlines()
    assert (ran.code, ran.out, project.generated(), len(lines)) == (2, "", {}, len(reasons)), ran.err
    for line, reason in zip(lines, reasons, strict=True):
        assert reason in line
        number = int(line.split(":")[1])
        assert re.match(r" +(/|post|S\d|jobId)", spec.splitlines()[number - 1]), line


@pytest.mark.parametrize("paths", ["", "paths: {}\n"])
def test_a_document_without_paths_is_refused_in_one_line(tmp_path: Path, paths: str) -> None:
    spec = "openapi: 3.1.0\ninfo: { title: None, version: 0.1.0 }\ncomponents: {}\n" + paths
    ran = new_project(tmp_path / "project", spec).run()
    assert ran.code == 2
    assert ran.err.splitlines()[:-1] == [
        "openapi.yaml:1: no paths with operations: there is nothing to make a client of"
    ]
