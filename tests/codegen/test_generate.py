"""codegen/generate.py makes generated/ from openapi.yaml, or says what is wrong and changes nothing.

Each test has a small project with a spec of this file's own, so that the wording of openapi.yaml is free to
change. Most call main() in this process; the script runs where a test is about processes and signals.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

import generate
from tests.codegen.project import LOCK, PACKAGE, STAMP, Generated, Project, Ran, generated_once

SPEC_FILE, CONFIG = "openapi.yaml", "codegen/config.yaml"
ENDPOINT = "codegen/templates/endpoint_module.py.jinja"

QUERY = "view\n          in: query"
HOST = "{ url: 'https://jobs.{region}.com', variables: { region: { default: a, enum: [a, b] } } }"
JOB = """\
  /jobs/{job_id}:
    servers: [HOST]
    post:
      operationId: PokeJob
      tags: [Jobs]
      parameters:
        - { name: job_id, in: path, required: true, schema: { type: integer } }
        - name: view
          in: query
          schema:
            type: string
            default: short
      requestBody:
        required: true
        content:
          application/json:
            schema: { type: object, properties: { force: { type: boolean } } }
      responses:
        '200':
          description: The jöb.
          content:
            application/json:
              schema:
                type: object
                required: [id, owner, steps]
                properties:
                  id: { type: integer, example: 7 }
                  owner: { type: object, required: [name], properties: { name: { type: string } } }
                  steps:
                    type: array
                    items: { type: object, required: [seconds], properties: { seconds: { type: number } } }
""".replace("HOST", HOST)
SPEC = f"""\
openapi: 3.1.0
info: {{ title: Jobs, version: 0.1.0 }}
servers: [{{ url: https://example.com }}]
paths:
  /scripts:
    post:
      operationId: RunScript
      tags: [Scripts]
      requestBody: {{ content: {{ application/json: {{ schema: {{ $ref: '#/components/schemas/Script' }} }} }} }}
      responses: {{ '204': {{ description: It runs. }} }}
  /jobs:
    servers: [{HOST}]
    delete:
      operationId: StopJobs
      tags: [Jobs]
      responses: {{ '204': {{ description: Stopped. }} }}
{JOB}
components:
  schemas:
    Script: {{ type: object, properties: {{ name: {{ type: string }} }} }}
"""
FILES = {
    *("__init__.py", "client.py", "errors.py", "py.typed", "servers.py", "types.py", "api/__init__.py"),
    *("api/jobs/__init__.py", "api/jobs/poke_job.py", "api/jobs/stop_jobs.py"),
    *("api/scripts/__init__.py", "api/scripts/run_script.py"),
    *("models/__init__.py", "models/poke_job_body.py", "models/poke_job_response_200.py", "models/script.py"),
    *("models/poke_job_response_200_owner.py", "models/poke_job_response_200_steps_item.py"),
}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that is up to date; not to be changed."""
    project, ran = generated_once(tmp_path_factory, "a projéct", SPEC)
    assert (ran.code, ran.err) == (0, "")
    return project


@pytest.fixture
def project(made: Project, tmp_path: Path) -> Project:
    """A project that is up to date."""
    shutil.copytree(made.root, tmp_path / made.root.name)
    return Project(tmp_path / made.root.name)


def assert_refused(project: Project, *expected: tuple[str, str], options: Sequence[str] = ()) -> None:
    """It exits with 2, says on stderr exactly the expected (`file:line`, part of the reason), and changes nothing."""
    before = project.state()
    ran = project.run(*options)
    *lines, last = ran.err.splitlines()
    assert last == "refused; generated/ is unchanged", ran.err
    for line, (place, reason) in zip(lines, expected, strict=True):
        assert line.startswith(f"{place}: ")
        assert reason in line
        assert " object at 0x" not in line
    assert (ran.code, ran.out, project.state()) == (2, "", before)


def in_the_middle(project: Project, command: str) -> None:
    """Let a run call a command when it has written its new tree."""
    project.edit(("post_hooks: []", f'post_hooks: ["echo && {command}"]'), file=CONFIG)


# --- what it makes ---------------------------------------------------------------------------------------------


def test_makes_a_module_for_each_operation_and_a_model_for_each_schema(made: Project) -> None:
    files = made.generated()
    assert files.keys() == FILES
    assert "The jöb." in files["api/jobs/poke_job.py"].decode("utf-8")
    assert not any(b"\r" in data for data in files.values())


def test_the_client_can_be_called_and_its_models_take_keywords_only(project: Project) -> None:
    sent: list[object] = []

    def respond(request: httpx.Request) -> httpx.Response:
        sent.append((request.method, str(request.url), json.loads(request.content)))
        return httpx.Response(200, json=response)

    response = {"id": 7, "owner": {"name": "o"}, "steps": [{"seconds": 1.5}]}
    client = Generated(project.root / "generated")
    with client.entered():
        package, models = client.module(""), client.module("models")
        job = client.module("api.jobs.poke_job").sync(
            7,
            client=package.Client("http://mock", transport=httpx.MockTransport(respond)),
            body=models.PokeJobBody(force=True),
            view="long",
        )
        for name in models.__all__:
            with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
                getattr(models, name)("a")
    assert sent == [("POST", "http://mock/jobs/7?view=long", {"force": True})]
    assert isinstance(job.steps[0], models.PokeJobResponse200StepsItem)
    assert (job.owner.name, job.to_dict(), package.__version__) == ("o", response, "0.1.0")


def test_a_changed_spec_changes_the_client_and_the_report_says_how(project: Project) -> None:
    script = "Script: { type: object, properties: {"
    project.edit(
        ("    delete:\n      operationId: StopJobs", "    put:\n      operationId: EndJobs"),
        ("operationId: RunScript", "servers: [{ url: https://one.com }]\n      operationId: RunScript"),
        (script, f"{script} startedBy: {{ type: string }},"),
        *[(HOST, HOST.replace(".com", ".org").replace("[a, b]", "[a]"))] * 2,
    )
    (project.root / PACKAGE / "api/jobs/poke_job.py").write_text("by hand", "utf-8")
    (project.root / PACKAGE / "stray.py").write_text("", "utf-8")
    assert project.make().splitlines() == [
        "  + api/jobs/end_jobs.py",
        "  ~ api/jobs/poke_job.py",
        "  - api/jobs/stop_jobs.py",
        "  ~ models/script.py",
        "  ~ servers.py",
        "  - stray.py",
        "  POST /scripts -> api/scripts/run_script.py",
        "  PUT /jobs -> api/jobs/end_jobs.py",
        "  POST /jobs/{job_id} -> api/jobs/poke_job.py",
        f"{PACKAGE}: {len(FILES)} files, 6 changed",
    ]
    assert project.generated().keys() == {*FILES, "api/jobs/end_jobs.py"} - {"api/jobs/stop_jobs.py"}
    assert b"started_by: str | Unset = _field(default=UNSET" in project.generated()["models/script.py"]
    assert runpy.run_path(str(project.root / PACKAGE / "servers.py"))["SERVERS"] == {
        "scripts": ("https://one.com", []),  # an operation's own servers take the place of all others
        "jobs": ("https://jobs.{region}.org", ["a"]),
    }


def test_makes_the_same_bytes_wherever_it_runs_and_after_another_run_was_killed(
    made: Project, project: Project, tmp_path: Path
) -> None:
    """Two start at once and take turns. The first is killed, so the second cleans up and makes the client."""
    shutil.rmtree(project.root / "generated")
    (tmp_path / "ruff").mkdir()
    for file in (tmp_path / "ruff/ruff.toml", tmp_path / "ruff.toml", project.root / "ruff.toml"):
        file.write_text("line-length = 60\n[format]\nquote-style = 'single'\n", "utf-8")
    (project.root / ".gitignore").write_text("*\n", "utf-8")
    (project.root / ".git").mkdir()  # without it ruff ignores .gitignore
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "LC_ALL": "C"}
    env |= {"PYTHONHASHSEED": "1", "PYTHONPATH": str(made.root / "generated"), "PYTHONWARNINGS": "error"}
    env |= {"RUFF_OUTPUT_FILE": str(tmp_path / "out")}
    in_the_middle(project, "rm ../../first && kill -KILL $PPID || true")
    (project.root / "first").touch()
    with project.start(cwd=tmp_path, env=env) as one, project.start(cwd=tmp_path, env=env) as other:
        ran = [(*process.communicate(timeout=120), process.returncode) for process in (one, other)]
    (report, *made_well), killed = sorted(ran, key=lambda each: -each[-1])
    assert (made_well, killed) == (["", 0], ("", "", -signal.SIGKILL))
    assert report.endswith(f"{PACKAGE}: {len(FILES)} files, {len(FILES)} changed\n")
    assert (project.generated(), project.leftovers()) == (made.generated(), [])
    assert not (tmp_path / "out").exists()


# --- when there is nothing to do -------------------------------------------------------------------------------


@pytest.fixture
def no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its tools, a run exits with 0 if there is nothing to do, and with 2 if there is something."""

    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_does_nothing_when_nothing_changed(project: Project) -> None:
    cache = project.root / PACKAGE / "models/__pycache__"
    cache.mkdir()
    (cache / "script.cpython-311.pyc").write_bytes(b"\0")
    before = {path: path.stat().st_mtime_ns for path in project.root.rglob("*")}
    nothing = Ran(0, f"nothing to do: {PACKAGE} matches openapi.yaml\n", "")
    assert project.script(python=["-S", "-B"]) == project.run() == nothing
    assert {path: path.stat().st_mtime_ns for path in project.root.rglob("*")} == before


def test_a_run_that_makes_the_same_leaves_the_tree_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path may be a reference. On Windows, the generator writes CRLF, and another run may have the lock."""
    seen: list[object] = []

    def locking(lock: int, mode: str, count: int) -> None:
        file = project.root / ".codegen/lock"
        seen.append((mode, count, os.path.samestat(os.fstat(lock), file.stat())))
        if len(seen) == 1:
            raise PermissionError

    windows: Any = ModuleType("msvcrt")
    windows.locking, windows.LK_NBLCK = locking, "LK_NBLCK"
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    in_the_middle(project, r"sed -i 's/$/\\r/' *.py api/*/*.py models/*.py")
    moved = JOB.replace("\n", "\n  ").replace("/jobs/{job_id}", "Job").rstrip()
    project.edit(
        (JOB, "  /jobs/{job_id}:\n    $ref: '#/components/pathItems/Job'\n"),
        ("\ncomponents:\n", f"\ncomponents:\n  pathItems:\n  {moved}\n"),
    )
    before = {path: path.stat().st_mtime_ns for path in (project.root / "generated").rglob("*")}
    assert project.make().endswith(f"{PACKAGE}: {len(FILES)} files, none changed\n")
    assert seen == [("LK_NBLCK", 1, True)] * 2
    assert {path: path.stat().st_mtime_ns for path in (project.root / "generated").rglob("*")} == before
    assert project.make().startswith("nothing to do")


CLIENT, STRAY, TYPED = (str(PACKAGE / name) for name in ("client.py", "models/stray.py", "py.typed"))


CHANGED = ["openapi.yaml", LOCK, CONFIG, "codegen/generate.py", ENDPOINT, CLIENT, STRAY]
DELETED = ["openapi.yaml", CONFIG, ENDPOINT, TYPED, STAMP]


@pytest.mark.usefixtures("no_tools")
@pytest.mark.parametrize(
    ("name", "deleted"), [*((name, False) for name in CHANGED), *((name, True) for name in DELETED)]
)
def test_a_file_that_is_changed_added_or_deleted_is_something_to_do(
    project: Project, name: str, deleted: bool
) -> None:
    file = project.root / name
    if deleted:
        file.unlink()
    else:
        file.write_bytes((file.read_bytes() if file.exists() else b"") + b"\n")
    assert project.run().code == 2


# --- what it refuses -------------------------------------------------------------------------------------------

HEAD = b"openapi: 3.1.0\n"


@pytest.mark.parametrize(
    ("file", "data", "line", "reason"),
    [
        ("openapi.yaml", None, 1, "no such file"),
        ("openapi.yaml", b"", 1, "empty"),
        ("openapi.yaml", b"- openapi: 3.1.0\n", 1, "not a mapping"),
        ("openapi.yaml", HEAD + b"info: caf\xe9\n", 2, "not UTF-8"),
        ("openapi.yaml", HEAD.decode().encode("utf-16"), 1, "not UTF-8"),
        ("openapi.yaml", HEAD + b"info: a: b\n", 2, "not allowed here"),
        ("openapi.yaml", HEAD + b"info: [\npaths: {}\n", 4, "a flow sequence from line 2"),
        ("openapi.yaml", HEAD + b"\tinfo: x\n", 2, "cannot start any token"),
        ("openapi.yaml", HEAD + b"info: \x07\n", 2, "#x0007"),
        ("openapi.yaml", b"info: {}\npaths: {}\ninfo: {}\n", 3, 'duplicate key "info"'),
        ("openapi.yaml", b"paths: {}\n---\npaths: {}\n", 2, "another document"),
        ("openapi.yaml", b"paths: *gone\n", 1, "undefined alias"),
        ("openapi.yaml", b"info: {}\npaths: {}\n", 1, "it is None"),
        ("openapi.yaml", b"info: {}\nopenapi: 3.2.0\n", 2, "it is 3.2.0"),
        ("openapi.yaml", HEAD + b"info: {title: t, version: 1.0.0}\ncomponents: {}\n", 1, "paths"),
        (CONFIG, None, 1, "no such file"),
        (CONFIG, b"post_hooks: []\npost_hoks: []\n", 2, "no setting post_hoks"),
        (CONFIG, b"post_hooks: []\nhttp_timeout: soon\n", 2, "valid integer"),
    ],
    ids=str,
)
def test_refuses_a_file_that_it_cannot_read(
    project: Project, file: str, data: bytes | None, line: int, reason: str
) -> None:
    (project.root / file).unlink()
    if data is not None:
        (project.root / file).write_bytes(data)
    assert_refused(project, (f"{file}:{line}", reason))


# Mistakes in one operation each. All of one kind are told at once; then the next kind is looked for.
# Text of JOB, the text in its place, the line that is to be named, and part of the reason.
POINTER = "#/paths/~1jobs1~1{job_id}/post/requestBody/content/application~1json/schema/properties/force/type"
MISTAKES = {
    "what JSON does not have, and references": [
        ("'200':", "200:", "200:", "the key 200 is not text"),
        ("example: 7", "example: 2026-01-02", "2026-01-02", "JSON has no date"),
        ("{ type: number }", "{ $ref: '#/components/schemas/Gone' }", "Gone", "points to nothing"),
        ("{ type: number }", "{ $ref: other.yaml }", "other.yaml", "leaves this file"),
        ("{ type: number }", "{ $ref: 'http://a.b/c#/d' }", "a.b", "leaves this file"),
    ],
    "the shape of OpenAPI": [
        ("tags: [Jobs]", "tags: [Jobs]\n      sumary: x", "sumary", "'sumary' was unexpected"),
        ("description: The jöb.", "x-no: x", "'200':", "'description' is a required property"),
        ("in: query", "in: queri", "queri", "'queri' is not one of"),
    ],
    "the rules of OpenAPI": [
        ("{ type: number }", "{ type: nuber }", "nuber", "'nuber' is not one of"),
        ("default: short", "default: 5", "default: 5", "5 is not of type 'string'"),
        ("name: job_id", "name: jobid", "post:", "'job_id' for 'post' operation"),
        (QUERY, QUERY.replace("view", "job_id").replace("query", "path\n          required: true"),
         "parameters:", "Duplicate parameter"),
    ],
    "values that break their own schema": [
        ("{ type: number }", "{ type: number, example: soon }", "soon", "example of seconds breaks its schema"),
        ("{ type: number }", "{ type: number, examples: [1, soon] }", "soon", "'soon' is not of type 'number'"),
        ("{ type: number }", "{ type: number, format: int32, enum: [2147483648] }", "int32", "is not a 'int32'"),
        ("{ type: boolean }", "{ enum: ['no', 'yes'], const: 'on' }", "'on'", "const of force breaks its schema"),
        ("{ type: boolean }", "{ type: array, items: { enum: [a], default: b } }", "b }", "default of items breaks its"),
        ("{ type: boolean }", "{ additionalProperties: { type: string, default: 1 } }", "1 }", "1 is not of type 'string'"),
        ("json:\n            ", "json:\n            example: { force: 1 }\n            ", "force: 1", "1 is not of type 'boolean'"),
        ("integer } }", "integer }, example: seven }", "seven", "example of job_id breaks its schema"),
        ("default: short", "default: short\n          examples: { one: { value: 1 } }", "one", "1 is not of type 'string'"),
        ("description: The jöb.", "description: x\n          headers: { X: { schema: { const: a }, example: b } }",
         "headers", "'a' was expected"),
        ("default: a, enum: [a, b]", "default: c, enum: [a, b]", "servers", "default of region breaks its schema"),
    ],
    "how the generator reads OpenAPI": [
        ("{ type: boolean }", "{ type: bolean }", "bolean", "Input should be 'string', 'number'"),
        ("{ type: boolean }", "{ type: bolean }", "bolean", f"(at {POINTER})"),
    ],
    "names": [
        ("PokeJob", "StopJobs", "operationId: ", "has operationId StopJobs, too"),
        ("PokeJob", "stop_jobs", "operationId: ", "has api/jobs/stop_jobs.py, too"),
    ],
    "media types": [
        ("n:\n            schema", "x:\n            schema", "jsox", "of application/jsox a schema of strings can be sent"),
        ("n:\n              schema", "x:\n              schema", "jsox", "of application/jsox a schema of strings, in UTF-8, can be read"),
    ],
    "other servers than another operation of the service has": [
        (HOST, HOST.replace("jobs", "other"), "post:", "job_id} has other servers than the rest of Jobs"),
        (HOST, HOST.replace("[a, b]", "[a]"), "post:", "job_id} has other servers than the rest of Jobs"),
        (HOST, "", "post:", "job_id} has other servers than the rest of Jobs"),  # but those of the whole spec
    ],
}  # fmt: skip


def another_job(number: int = 0, old: str = "", new: str = "") -> str:
    """Another operation like JOB, with an edit."""
    assert old in JOB
    text = JOB.replace(old, new, 1)
    return text.replace("/jobs/", f"/jobs{number}/").replace("PokeJob\n", f"PokeJob{number}\n")


@pytest.mark.parametrize("mistakes", MISTAKES.values(), ids=MISTAKES)
def test_refuses_a_spec_and_names_the_line(
    project: Project, mistakes: Sequence[tuple[str, str, str, str]]
) -> None:
    expected: list[tuple[str, str]] = []
    for number, (old, new, marker, reason) in enumerate(mistakes):
        text = another_job(number, old, new)
        project.add_path(text)
        (offset,) = (offset for offset, line in enumerate(text.splitlines()) if marker in line)
        expected.append((project.place(f"/jobs{number}/", below=offset), reason))
    assert_refused(project, *expected)


def schemas(*lines: str) -> tuple[str, str]:
    return "\n  schemas:\n", "\n    ".join(["\n  schemas:", *lines, "\n"])


CREDENTIALS = ("components:\n", "components:\n  securitySchemes: { Token: { type: http, scheme: bearer } }\n")
FAR = "json:\n            examples: { x: { $ref: '#/components/examples/Far' } }\n            "
EXAMPLES = "components:\n  examples:\n    Far: { value: { force: 1 } }\n    Lost: { value: 1 }\n"
EACH = "operationId: RunScript", "operationId: StopJobs", "operationId: PokeJob"
IS_DELETE = "(endpoint.method == 'delete')"
# The edits of files, and the reasons why they are refused: a line that is to be named, or the one `below` it.
EDITS: dict[str, tuple[dict[str, list[tuple[str, str]]], list[tuple[str, int, str]]]] = {
    "examples": (
        {SPEC_FILE: [("json:\n            ", FAR), ("components:\n", EXAMPLES)]},
        [("Far: {", 0, "1 is not of type 'boolean'"), ("Lost: {", 0, "nothing uses Lost")],
    ),
    "credentials": (
        {SPEC_FILE: [CREDENTIALS, ("RunScript", "RunScript\n      security: [{ Token: [] }, {}]"),
                     ("StopJobs", "StopJobs\n      security: []")]},  # which says that it needs none
        [("{ Token: [] }, {}", 0, "{} makes credentials optional"), ("PokeJob", -1, "no security; name one of Token")],
    ),
    "no JSON schema": (
        {SPEC_FILE: [schemas("One: { type: object, required: 1 }")]}, [("One:", 0, "1 is not of type 'array'")],
    ),
    "a name twice": (
        {SPEC_FILE: [schemas("Twice_: { type: object }", "Twice: { type: object }")]},
        [("Twice:", 0, "duplicate models")],
    ),
    "a circle": (
        {SPEC_FILE: [schemas("A: { $ref: '#/components/schemas/B' }", "B: { $ref: '#/components/schemas/A' }")]},
        [("A: {", 0, "A contains itself"), ("B: {", 0, "B contains itself")],
    ),
    "a file of no operation, and a syntax warning": (
        {CONFIG: [("post_hooks: []", "post_hooks: [touch api/surprise.py]")],
         ENDPOINT: [("def _parse(", 'DIGIT = "\\d"\n\ndef _parse(')]},
        [("openapi: 3", 0, "made api/surprise.py, which no operation asks for"),
         *((each, -1, "invalid escape sequence") for each in EACH)],
    ),
    "a module twice": (
        {SPEC_FILE: [schemas("JobID: { type: object }", "JobId: { type: object }")]}, [("JobID", 0, "cannot import")],
    ),
    "a missing function and a warning": (
        {ENDPOINT: [
            ("def _parse(", f'{{{{ {IS_DELETE} or "import warnings; warnings.warn(1)" }}}}\n\n\ndef _parse('),
            ("async def asyncio_detailed(", f"async def {{{{ 'other' if {IS_DELETE} else 'asyncio_detailed' }}}}("),
        ]},
        [(EACH[0], -1, "UserWarning: 1"), (EACH[1], -1, "it has no asyncio_detailed"),
         (EACH[2], -1, "UserWarning: 1")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("edits", "reasons"), EDITS.values(), ids=EDITS)
def test_refuses_an_edit_and_names_the_line(
    project: Project, edits: dict[str, list[tuple[str, str]]], reasons: list[tuple[str, int, str]]
) -> None:
    for file, pairs in edits.items():
        project.edit(*pairs, file=file)
    assert_refused(project, *((project.place(marker, below=below), why) for marker, below, why in reasons))


def test_lint_and_check_refuse_what_a_run_does(project: Project) -> None:
    assert project.run("--lint") == Ran(0, "", "")
    project.edit(("example: 7", "example: seven"))
    for option in ("--lint", "--check"):
        assert_refused(
            project, (project.place("seven"), "'seven' is not of type 'integer'"), options=[option]
        )


@pytest.mark.usefixtures("no_tools")
def test_refuses_to_run_without_its_tools_and_says_how_to_get_them(project: Project) -> None:
    project.edit(("openapi:", "# a comment\nopenapi:"))
    tools = ("openapi-python-client", "openapi-spec-validator", "ruamel-yaml", "ruff")
    missing = [(project.place(f"{tool}==", LOCK), "none is installed; run `make`") for tool in tools]
    assert_refused(project, *missing)


def test_refuses_tools_other_than_the_pinned_ones(project: Project) -> None:
    project.edit(("\nruff==", "\nruff>="), ("\nruamel-yaml==", "\nruamel-yaml==99."), file=LOCK)
    unpinned = f"{LOCK}:1", "no pin for ruff; `make lock` adds it"
    assert_refused(project, unpinned, (project.place("ruamel-yaml==", LOCK), "ruamel-yaml 99."))


# --- --check ---------------------------------------------------------------------------------------------------


def test_check_says_in_one_line_that_all_is_current(project: Project) -> None:
    (project.root / STAMP).unlink()
    before = project.state()
    assert project.run("--check") == Ran(0, f"{PACKAGE} matches openapi.yaml\n", "")
    assert project.state() == before


def test_check_shows_what_differs_and_how_to_mend_it(project: Project) -> None:
    (project.root / STRAY).write_text("STRAY = 1\n" * 200, "utf-8")
    (project.root / TYPED).unlink()
    project.edit(("\nclass Client", "\n# by hand\nclass Client"), file=CLIENT)
    project.edit(("The jöb.", "A jöb."))
    before = project.state()
    ran = project.run("--check")
    diff, _, summary = ran.out.partition(" lines more\n")
    for line in (
        "The jöb.",
        "A jöb.",
        f"--- {CLIENT}\n+++ client.py as ",
        "\n-# by hand\n",
        "\n-STRAY = 1\n",
    ):
        assert line in diff
    assert len(diff.splitlines()) < 120
    *files, last = summary.splitlines()
    changed = f"{PACKAGE}/api/jobs/poke_job.py: changed", f"{CLIENT}: changed"
    assert files == [*changed, f"{STRAY}: not made from the spec", f"{TYPED}: missing"]
    assert last.endswith("run: make")
    assert (ran.code, ran.err, project.state()) == (1, "", before)


# --- when it is cut short --------------------------------------------------------------------------------------


def test_ctrl_c_changes_nothing(project: Project) -> None:
    in_the_middle(project, "kill -INT $PPID")
    before = project.state()
    assert project.run() == Ran(130, "", "interrupted; generated/ is unchanged\n")
    assert project.state() == before


def test_a_client_that_a_killed_run_had_moved_aside_is_put_back(project: Project) -> None:
    before = project.state()
    (project.root / ".generated-killed").mkdir()
    (project.root / PACKAGE).rename(project.root / ".generated-killed/before")
    (project.root / "generated").rmdir()
    assert project.make().startswith("nothing to do")
    assert project.state() == before


# The two renames take microseconds, too little to hit them from outside; so swap() is called by itself.


def test_a_swap_that_fails_half_way_is_taken_back(project: Project) -> None:
    before = project.state()
    with project.entered(), pytest.raises(FileNotFoundError, match="gone"):
        generate.swap(project.root / "gone", project.root / "aside")
    assert project.state() == before


@pytest.mark.parametrize("windows", [False, True])
def test_no_signal_comes_between_the_two_renames(
    project: Project, monkeypatch: pytest.MonkeyPatch, windows: bool
) -> None:
    new, before = project.root / "new", project.root / "before"
    new.mkdir()
    signals = {signal.SIGINT} if windows else {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    with project.entered(), monkeypatch.context() as patch:
        if windows:
            patch.delattr(signal, "pthread_sigmask")
            patch.delattr(signal, "SIGHUP")
        generate.swap(new, before)
        for number in signals:
            signal.raise_signal(number)  # ignored on Windows; here
            assert windows or signal.sigwait({number}) == number  # so it was blocked
    assert project.generated() == {}
    assert generate.read_tree(before).keys() == FILES


# --- when the disk will not take it ----------------------------------------------------------------------------


def test_a_read_only_disk_is_reported_if_there_is_something_to_write(project: Project) -> None:
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 77'
    unshare = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    command = [
        *unshare,
        f'{mount}; exec "$2" -B "$1/codegen/generate.py"',
        "sh",
        str(project.root),
        sys.executable,
    ]
    run = partial(subprocess.run, command, capture_output=True, encoding="utf-8", check=False)
    if not shutil.which("unshare") or (ran := run()).returncode == 77 or ran.stderr.startswith("unshare"):
        pytest.skip("this machine does not let a test have a mount in a namespace of its own")
    assert (ran.returncode, ran.stderr, ran.stdout[:13]) == (0, "", "nothing to do")
    project.add_path(another_job())
    before = project.state()
    ran = run()
    assert (ran.returncode, ran.stdout, project.state()) == (2, "", before)
    assert ran.stderr.startswith("refused: Read-only file system: ")
    assert ran.stderr.endswith("; generated/ is unchanged\n")
    assert ran.stderr.count("\n") == 1


# As on a full disk, which takes a machine that lets a test have one: a limit on the size of a file.
@pytest.mark.parametrize(
    ("limit", "reason"),
    [(4_000, "refused: File too large"), (40_000, "ruff format failed (2): error: Failed to write api/")],
    ids=["the generator", "ruff"],
)
def test_a_file_that_cannot_grow_changes_nothing(project: Project, limit: int, reason: str) -> None:
    long = f"LONG = [{'1,' * 8_000}]"  # formatting makes it 60 kB
    project.edit(("def _parse(", f"{long}\n\n\ndef _parse("), file=ENDPOINT)
    before, (soft, hard) = project.state(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        ran = project.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (ran.code, ran.out, project.state()) == (2, "", before)
    assert ran.err.startswith(reason)
    assert ran.err.endswith("; generated/ is unchanged\n")
