"""codegen/generate.py makes generated/ from openapi.yaml, or says what is wrong and leaves generated/ as it was.

Each test runs the real script on a copy of the tree. Specs are varied by an operation of this file's own, so that the
wording of openapi.yaml is free to change.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import openapi_python_client
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PACKAGE = Path("generated/huaweicloud_retry_client")
STOCK_TEMPLATES = Path(openapi_python_client.__file__).parent / "templates"
ENDPOINT, MODEL = "codegen/templates/endpoint_module.py.jinja", "codegen/templates/model.py.jinja"


def server_of(tag: str) -> dict[str, Any]:
    """What openapi.yaml says of where a service is, as far as it makes code."""
    yaml: Any = YAML(typ="safe")
    for item in yaml.load(ROOT / "openapi.yaml")["paths"].values():
        if any(tag in operation["tags"] for operation in item.values() if "tags" in operation):
            return {key: item["servers"][0][key] for key in ("url", "variables")}
    raise LookupError(tag)


JOB = """\
  /v2/{project_id}/enginemgr/jobs/{job_id}:
    servers: [SERVER]
    post:
      operationId: PokeEngineJob
      tags: [CSE]
      parameters:
        - { name: project_id, in: path, required: true, schema: { type: string } }
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
          description: The job.
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
""".replace("SERVER", json.dumps(server_of("CSE")))  # JSON is YAML, too


@dataclass(frozen=True)
class Project:
    """A copy of what generate.py reads and writes."""

    root: Path

    @property
    def spec(self) -> Path:
        return self.root / "openapi.yaml"

    def start(self, *arguments: str, python: Sequence[str] = (), **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, *python, str(self.root / "codegen/generate.py"), *arguments]
        options = {"cwd": self.root, "encoding": "utf-8", **options}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **options)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def make(self, **options: Any) -> str:
        """Run to success; what it reports."""
        done = self.run(**options)
        assert (done.returncode, done.stderr) == (0, "")
        assert self.leftovers() == []
        return done.stdout

    def generated(self) -> dict[str, bytes]:
        """Everything under generated/."""
        folder = self.root / "generated"
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    def leftovers(self) -> list[Path]:
        return [*self.root.glob(".generated-*")]

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text("utf-8")
        assert old in text
        (self.root / name).write_text(text.replace(old, new, 1), "utf-8")

    def add_path(self, text: str) -> None:
        """Add to the end of `paths`."""
        self.edit("openapi.yaml", "\ncomponents:\n", f"\n{text}\ncomponents:\n")

    def change_spec(self, change: Callable[[Any], object]) -> None:
        """Change the spec as data."""
        yaml: Any = YAML()
        spec = yaml.load(self.spec)
        change(spec)
        yaml.dump(spec, self.spec)

    def line(self, name: str, marker: str) -> int:
        """The number of the one line that has the marker."""
        lines = (self.root / name).read_text("utf-8").splitlines()
        (number,) = (number for number, line in enumerate(lines, 1) if marker in line)
        return number

    def python(self, code: str, folder: str = "generated") -> Any:
        """Run code that uses the generated client, or generate.py, and prints JSON."""
        env = {**os.environ, "PYTHONPATH": str(self.root / folder), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False, encoding="utf-8")
        assert done.stderr == ""
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that is up to date; not to be changed."""
    project = Project(tmp_path_factory.mktemp("made") / "a projéct")
    project.root.mkdir()
    for name in ("openapi.yaml", "requirements.lock"):
        shutil.copy(ROOT / name, project.root / name)
    for name in ("codegen", "generated"):
        shutil.copytree(ROOT / name, project.root / name, ignore=shutil.ignore_patterns("__pycache__"))
    project.make()
    return project


@pytest.fixture(scope="session")
def with_job(made: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """The same after JOB was added and the client made anew, and what that reported; not to be changed."""
    project = Project(tmp_path_factory.mktemp("with_job") / made.root.name)
    shutil.copytree(made.root, project.root)
    project.add_path(JOB)
    (project.root / PACKAGE / "api/cse/retry_engine.py").write_text("", "utf-8")
    (project.root / PACKAGE / "stray.py").write_text("", "utf-8")
    return project, project.make()


@pytest.fixture
def project(made: Project, tmp_path: Path) -> Project:
    """A project that is up to date."""
    shutil.copytree(made.root, tmp_path / made.root.name)
    return Project(tmp_path / made.root.name)


def assert_refused(project: Project, *expected: tuple[str, str], run: Callable[[], Any] | None = None) -> None:
    """It exits with 2, says on stderr exactly the expected (`file:line`, part of the reason), and has changed nothing."""
    before, stamp = project.generated(), (project.root / ".codegen/stamp").read_bytes()
    done = run() if run else project.run()
    *lines, last = done.stderr.splitlines()
    assert last == "refused; generated/ is as it was", done.stderr
    for line, (place, reason) in zip(lines, expected, strict=True):
        assert line.startswith(f"{place}: ")
        assert reason in line
        assert " object at 0x" not in line
    assert (done.returncode, done.stdout) == (2, "")
    assert project.generated() == before
    assert (project.root / ".codegen/stamp").read_bytes() == stamp
    assert project.leftovers() == []


# --- what it makes ---------------------------------------------------------------------------------------------------


def test_makes_a_module_for_each_operation_and_nothing_else(made: Project) -> None:
    files = {name for name in made.generated() if not name.startswith(f"{PACKAGE.name}/models/")}
    assert files == {
        f"{PACKAGE.name}/{name}"
        for name in (
            "__init__.py",
            "api/__init__.py",
            "api/cse/__init__.py",
            "api/cse/retry_engine.py",
            "api/workspace/__init__.py",
            "api/workspace/retry_script_execution.py",
            "client.py",
            "errors.py",
            "py.typed",
            "servers.py",
            "types.py",
        )
    }


def test_fields_of_models_are_keyword_only(made: Project) -> None:
    code = """
import json
from huaweicloud_retry_client import models
positional = []
for name in models.__all__:
    try:
        getattr(models, name)("a")
        positional.append(name)
    except TypeError as error:
        assert "takes 1 positional argument but 2 were given" in str(error), error
print(json.dumps([len(models.__all__), positional]))
"""
    count, positional = made.python(code)
    assert count > 0
    assert positional == []


def test_reports_what_changed(with_job: tuple[Project, str]) -> None:
    project, report = with_job
    assert report.splitlines() == [
        "  + api/cse/poke_engine_job.py",
        "  ~ api/cse/retry_engine.py",
        "  ~ models/__init__.py",
        "  + models/poke_engine_job_body.py",
        "  + models/poke_engine_job_response_200.py",
        "  + models/poke_engine_job_response_200_owner.py",
        "  + models/poke_engine_job_response_200_steps_item.py",
        "  - stray.py",
        "  POST /v2/{project_id}/script-executions/retry -> api/workspace/retry_script_execution.py",
        "  PUT /v2/{project_id}/enginemgr/engines/{engine_id}/actions -> api/cse/retry_engine.py",
        "  POST /v2/{project_id}/enginemgr/jobs/{job_id} -> api/cse/poke_engine_job.py",
        f"{PACKAGE}: {len(project.generated())} files, 8 changed",
    ]


def test_makes_the_same_bytes_wherever_and_however_it_runs(made: Project, project: Project, tmp_path: Path) -> None:
    shutil.rmtree(project.root / "generated")
    (tmp_path / "ruff").mkdir()
    for file in (tmp_path / "ruff/ruff.toml", tmp_path / "ruff.toml", project.root / "ruff.toml"):
        file.write_text("line-length = 60\n[format]\nquote-style = 'single'\n", "utf-8")
    (project.root / ".gitignore").write_text("*\n", "utf-8")
    (project.root / ".git").mkdir()  # without it ruff ignores .gitignore
    settings = {"RUFF_OUTPUT_FILE": str(tmp_path / "out"), "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    python = {"PYTHONHASHSEED": "1", "PYTHONPATH": str(made.root / "generated"), "PYTHONWARNINGS": "error"}
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", **settings, **python}
    project.make(cwd=tmp_path, env=env)
    assert project.generated() == made.generated()
    assert not (tmp_path / "out").exists()


def test_writes_lf_and_utf_8(made: Project) -> None:
    for data in made.generated().values():
        data.decode("utf-8")
        assert b"\r" not in data


# --- a spec change changes the client --------------------------------------------------------------------------------


def test_a_new_operation_can_be_called(with_job: tuple[Project, str]) -> None:
    project, _ = with_job
    code = """
import httpx, json
from huaweicloud_retry_client import Client
from huaweicloud_retry_client.api.cse import poke_engine_job
from huaweicloud_retry_client.models import PokeEngineJobBody, PokeEngineJobResponse200StepsItem

def answer(request):
    sent.append([request.method, str(request.url), json.loads(request.content)])
    return httpx.Response(200, json={"id": 7, "owner": {"name": "o"}, "steps": [{"seconds": 1.5}]})

sent = []
client = Client("http://mock", transport=httpx.MockTransport(answer))
job = poke_engine_job.sync("p1", 7, client=client, body=PokeEngineJobBody(force=True), view="long")
assert isinstance(job.steps[0], PokeEngineJobResponse200StepsItem)
print(json.dumps([sent, job.id, job.owner.name, job.steps[0].seconds, job.to_dict()]))
"""
    assert project.python(code) == [
        [["POST", "http://mock/v2/p1/enginemgr/jobs/7?view=long", {"force": True}]],
        7,
        "o",
        1.5,
        {"id": 7, "owner": {"name": "o"}, "steps": [{"seconds": 1.5}]},
    ]


def test_a_new_field_is_in_the_model(project: Project) -> None:
    def add_field(spec: Any) -> None:
        spec["components"]["schemas"]["EngineActionResponse"]["properties"]["startedBy"] = {"type": "string"}

    project.change_spec(add_field)
    project.make()
    body = {"id": "e1", "name": "n", "jobId": 7, "startedBy": "me"}
    code = f"""
import json
from huaweicloud_retry_client.models import EngineActionResponse
model = EngineActionResponse.from_dict({body!r})
print(json.dumps([model.started_by, model.additional_properties, model.to_dict()]))
"""
    assert project.python(code) == ["me", {}, body]


def test_a_removed_operation_is_gone_and_a_renamed_one_has_its_new_name_only(project: Project) -> None:
    def remove_and_rename(spec: Any) -> None:
        for path, item in list(spec["paths"].items()):
            if "put" in item:
                del spec["paths"][path]
            else:
                item["post"]["operationId"] = "RunScriptAgain"

    project.change_spec(remove_and_rename)
    project.make()
    assert {name for name in project.generated() if "/api/" in name} == {
        f"{PACKAGE.name}/api/{name}"
        for name in ("__init__.py", "workspace/__init__.py", "workspace/run_script_again.py")
    }


SERVERS = "import json; from huaweicloud_retry_client.servers import SERVERS; print(json.dumps(SERVERS))"


def test_the_hosts_of_each_service_are_those_of_the_spec(made: Project) -> None:
    servers = {tag: server_of(tag) for tag in ("Workspace", "CSE")}
    expected = {tag.lower(): [each["url"], each["variables"]["region"]["enum"]] for tag, each in servers.items()}
    assert made.python(SERVERS) == expected


def test_a_changed_server_changes_the_hosts(project: Project) -> None:
    def change_servers(spec: Any) -> None:
        for item in spec["paths"].values():
            if "put" in item:
                item["servers"][0]["url"] = "https://cse.{region}.example.com"
                item["servers"][0]["variables"]["region"]["enum"] = ["cn-north-4", "moon-1"]
            else:  # an operation's own servers take the place of the path's
                item["post"]["servers"] = [{"url": "https://one.example.com"}]

    project.change_spec(change_servers)
    assert "  ~ servers.py\n" in project.make()
    assert project.python(SERVERS) == {
        "workspace": ["https://one.example.com", []],
        "cse": ["https://cse.{region}.example.com", ["cn-north-4", "moon-1"]],
    }


# --- when there is nothing to do -------------------------------------------------------------------------------------

CANNOT_GENERATE = ("-S",)  # without site-packages: exit code 0 shows that nothing was to be done, 2 that something was


def test_does_nothing_when_nothing_changed(project: Project) -> None:
    before = {path: path.stat().st_mtime_ns for path in project.root.rglob("*")}
    assert project.make(python=CANNOT_GENERATE) == f"nothing to do: {PACKAGE} is what openapi.yaml makes\n"
    assert {path: path.stat().st_mtime_ns for path in project.root.rglob("*")} == before


def test_leaves_a_tree_alone_that_comes_out_the_same(project: Project) -> None:
    before = {path: path.stat().st_mtime_ns for path in (project.root / "generated").rglob("*")}
    project.edit("openapi.yaml", "openapi:", "# a comment\nopenapi:")
    report = project.make()
    assert report.endswith(f"{PACKAGE}: {len(project.generated())} files, none changed\n")
    assert {path: path.stat().st_mtime_ns for path in (project.root / "generated").rglob("*")} == before
    assert project.make(python=CANNOT_GENERATE).startswith("nothing to do")


@pytest.mark.parametrize(
    "name",
    [
        "openapi.yaml",
        "requirements.lock",
        "codegen/config.yaml",
        "codegen/generate.py",
        ENDPOINT,
        MODEL,
        str(PACKAGE / "client.py"),
        str(PACKAGE / "models/stray.py"),
    ],
)
def test_a_changed_or_added_file_is_something_to_do(project: Project, name: str) -> None:
    with (project.root / name).open("ab") as file:
        file.write(b"\n")
    assert project.run(python=CANNOT_GENERATE).returncode == 2


@pytest.mark.parametrize(
    "name", ["openapi.yaml", "codegen/config.yaml", ENDPOINT, str(PACKAGE / "py.typed"), ".codegen"]
)
def test_a_deleted_file_is_something_to_do(project: Project, name: str) -> None:
    file = project.root / name
    shutil.rmtree(file) if file.is_dir() else file.unlink()
    assert project.run(python=CANNOT_GENERATE).returncode == 2


def test_a_bytecode_cache_is_nothing_to_do(project: Project) -> None:
    cache = project.root / PACKAGE / "models/__pycache__"
    cache.mkdir()
    (cache / "error.cpython-311.pyc").write_bytes(b"\0")
    assert project.run(python=CANNOT_GENERATE).returncode == 0


# --- what it refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        pytest.param(None, 1, "no such file", id="missing"),
        pytest.param(b"", 1, "empty", id="empty"),
        pytest.param(b"# a comment\n", 1, "empty", id="only a comment"),
        pytest.param(b"- openapi: 3.1.0\n", 1, "not a mapping", id="a list"),
        pytest.param(b"openapi: 3.1.0\ninfo: caf\xe9\n", 2, "not UTF-8", id="latin-1"),
        pytest.param("openapi: 3.1.0\n".encode("utf-16"), 1, "not UTF-8", id="utf-16"),
        pytest.param(b"openapi: 3.1.0\ninfo: a: b\n", 2, "not allowed here", id="no YAML"),
        pytest.param(
            b"openapi: 3.1.0\ninfo: [\npaths: {}\n", 4, "a flow sequence from line 2", id="a bracket not closed"
        ),
        pytest.param(b"openapi: 3.1.0\n\tinfo: x\n", 2, "cannot start any token", id="a tab"),
        pytest.param(b"openapi: 3.1.0\ninfo: \x07\n", 2, "#x0007", id="a control character"),
        pytest.param(b"info: {}\npaths: {}\ninfo: {}\n", 3, 'duplicate key "info"', id="a key twice"),
        pytest.param(b"paths: {}\n---\npaths: {}\n", 2, "another document", id="two documents"),
        pytest.param(b"paths: *gone\n", 1, "undefined alias", id="an alias of nothing"),
        pytest.param(b"info: {}\npaths: {}\n", 1, "it is None", id="no version"),
        pytest.param(b"info: {}\nopenapi: 3.2.0\n", 2, "it is 3.2.0", id="a version too new"),
        pytest.param(b"openapi: 3.1.0\ninfo: {title: t, version: 1.0.0}\ncomponents: {}\n", 1, "paths", id="no paths"),
    ],
)
def test_refuses_a_file_that_is_no_spec(project: Project, data: bytes | None, line: int, reason: str) -> None:
    if data is None:
        project.spec.unlink()
    else:
        project.spec.write_bytes(data)
    assert_refused(project, (f"openapi.yaml:{line}", reason))


# Mistakes in one operation each. All of one kind are told at once; the next kind is looked for when there are none.
# What stands in JOB, what stands there instead, the line that is to be named, and part of the reason.
MISTAKES = {
    "what JSON does not have, and references": [
        ("'200':", "200:", "200:", "the key 200 is not text"),
        ("example: 7", "example: 2026-01-02", "2026-01-02", "JSON has no date"),
        ("{ type: number }", "{ $ref: '#/components/schemas/Gone' }", "Gone", "points to nothing"),
        ("{ type: number }", "{ $ref: other.yaml }", "other.yaml", "leaves this file"),
        ("{ type: number }", "{ $ref: 'http://a.b/c#/d' }", "a.b", "leaves this file"),
    ],
    "the shape of OpenAPI": [
        ("tags: [CSE]", "tags: [CSE]\n      sumary: x", "sumary", "'sumary' was unexpected"),
        ("description: The job.", "x-no: x", "'200':", "'description' is a required property"),
        ("in: query", "in: queri", "queri", "'queri' is not one of"),
    ],
    "the rules of OpenAPI": [
        ("{ type: number }", "{ type: nuber }", "nuber", "'nuber' is not one of"),
        ("default: short", "default: 5", "default: 5", "5 is not of type 'string'"),
        ("name: job_id", "name: jobid", "post:", "'job_id' for 'post' operation"),
        ("view\n          in: query", "job_id\n          in: path\n          required: true", "parameters:", "Duplicate parameter"),
    ],
    "how the generator reads OpenAPI": [
        ("{ type: boolean }", "{ type: bolean }", "bolean", "Input should be 'string', 'number'"),
    ],
    "names": [
        ("operationId: PokeEngineJob", "summary: x", "post:", "has no operationId"),
        ("PokeEngineJob", "RetryEngine", "operationId: ", "operationId RetryEngine is that of PUT /v2/"),
        ("PokeEngineJob", "retry_engine", "operationId: ", "api/cse/retry_engine.py is that of PUT /v2/"),
    ],
    "what the generator leaves out": [
        ("application/json:\n            s", "text/csv:\n            s", "post:", "Unsupported content type text/csv"),
        ("application/json:\n              s", "image/png:\n              s", "'200':", "Unsupported content_type image/png"),
        ("items: ", "x-items: ", "steps:", "type array must have items"),
    ],
    "code that does not work": [
        ("name: view", "name: body", "post:", "duplicate argument 'body'"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("mistakes", MISTAKES.values(), ids=MISTAKES)
def test_refuses_a_spec_and_names_the_line(project: Project, mistakes: Sequence[tuple[str, str, str, str]]) -> None:
    expected: list[tuple[str, str]] = []
    for number, (old, new, marker, reason) in enumerate(mistakes):
        text = JOB.replace(old, new, 1)
        assert text != JOB
        text = text.replace("/jobs/", f"/jobs{number}/").replace("PokeEngineJob\n", f"PokeEngineJob{number}\n")
        project.add_path(text)
        (offset,) = (offset for offset, line in enumerate(text.splitlines()) if marker in line)
        expected.append((f"openapi.yaml:{project.line('openapi.yaml', f'/jobs{number}/') + offset}", reason))
    assert_refused(project, *expected)


@pytest.mark.parametrize(
    "servers",
    [
        pytest.param([{"url": "https://other.{region}.com", "variables": server_of("CSE")["variables"]}], id="a URL"),
        pytest.param([{**server_of("CSE"), "variables": {"region": {"default": "a", "enum": ["a"]}}}], id="regions"),
        pytest.param([], id="none, so that those of the spec hold"),
    ],
)
def test_refuses_two_operations_of_a_service_with_different_servers(project: Project, servers: Any) -> None:
    project.add_path(JOB.replace(json.dumps([server_of("CSE")]), json.dumps(servers)))
    place = f"openapi.yaml:{project.line('openapi.yaml', 'operationId: PokeEngineJob') - 1}"
    reason = "POST /v2/{project_id}/enginemgr/jobs/{job_id} has other servers than the rest of CSE"
    assert_refused(project, (place, reason))


def test_gives_the_json_pointer_of_the_place(project: Project) -> None:
    project.add_path(JOB.replace("{ type: boolean }", "{ type: bolean }"))
    pointer = "#/paths/~1v2~1{project_id}~1enginemgr~1jobs~1{job_id}/post/requestBody/content/application~1json/schema"
    place = f"openapi.yaml:{project.line('openapi.yaml', 'bolean')}"
    assert_refused(project, (place, f"(at {pointer}/properties/force/type)"))


@pytest.mark.parametrize(
    ("schemas", "expected"),
    [
        pytest.param(["One: { type: object, required: 1 }"], {"One:": "1 is not of type 'array'"}, id="no JSON schema"),
        pytest.param(
            ["Twice_: { type: object }", "Twice: { type: object }", "Many: { type: array }"],
            {"Twice:": "duplicate models", "Many:": "must have items"},
            id="left out by the generator",
        ),
        pytest.param(
            ["JobID: { type: object }", "JobId: { type: object }"], {"JobID": "cannot import"}, id="one module"
        ),
    ],
)
def test_refuses_a_named_schema_and_names_its_line(
    project: Project, schemas: Sequence[str], expected: Mapping[str, str]
) -> None:
    project.edit("openapi.yaml", "\n  schemas:\n", "\n    ".join(["\n  schemas:", *schemas, "\n"]))
    lines = {marker: project.line("openapi.yaml", f"    {marker}") for marker in expected}
    assert_refused(project, *((f"openapi.yaml:{line}", expected[marker]) for marker, line in lines.items()))


def test_refuses_references_that_go_in_a_circle(project: Project) -> None:
    circle = "    A: { $ref: '#/components/schemas/B' }\n    B: { $ref: '#/components/schemas/A' }\n"
    project.edit("openapi.yaml", "\n  schemas:\n", f"\n  schemas:\n{circle}")
    assert_refused(project, ("openapi.yaml:1", "something contains itself"))


def test_refuses_an_operation_that_the_generator_passes_over_in_silence(project: Project) -> None:
    moved = JOB.replace("\n", "\n  ").replace("/v2/{project_id}/enginemgr/jobs/{job_id}", "Job")
    project.add_path("  /v2/{project_id}/enginemgr/jobs/{job_id}:\n    $ref: '#/components/pathItems/Job'\n")
    project.edit("openapi.yaml", "\ncomponents:\n", f"\ncomponents:\n  pathItems:\n  {moved.rstrip()}\n")
    place = f"openapi.yaml:{project.line('openapi.yaml', 'operationId: PokeEngineJob') - 1}"
    assert_refused(project, (place, "the generator left out POST /v2/{project_id}/enginemgr/jobs/{job_id}"))


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        pytest.param(None, 1, "no such file", id="missing"),
        pytest.param("", 1, "empty", id="empty"),
        pytest.param("post_hooks: [\n", 2, "<stream end>", id="no YAML"),
        pytest.param("post_hooks: []\npost_hoks: []\n", 2, "no setting post_hoks", id="a setting that is not known"),
        pytest.param("post_hooks: []\nhttp_timeout: soon\n", 2, "valid integer", id="a value that does not fit"),
    ],
)
def test_refuses_a_broken_config(project: Project, text: str | None, line: int, reason: str) -> None:
    config = project.root / "codegen/config.yaml"
    if text is None:
        config.unlink()
    else:
        config.write_text(text, "utf-8")
    assert_refused(project, (f"codegen/config.yaml:{line}", reason))


def test_refuses_a_file_that_belongs_to_no_operation(project: Project) -> None:
    project.edit("codegen/config.yaml", "post_hooks: []", "post_hooks: [touch api/surprise.py]")
    assert_refused(project, ("openapi.yaml:1", "the generator made api/surprise.py, which no operation asks for"))


def test_refuses_a_tool_without_a_pin(project: Project) -> None:
    project.edit("requirements.lock", "\nruff==", "\nruff>=")
    assert_refused(project, ("requirements.lock:1", "no pin for ruff; `make lock` adds it"))


@pytest.mark.parametrize("tool", ["openapi-python-client", "ruff"])
def test_refuses_tools_other_than_the_pinned_ones(project: Project, tool: str) -> None:
    project.edit("requirements.lock", f"\n{tool}==", f"\n{tool}==99.")
    place = f"requirements.lock:{project.line('requirements.lock', f'{tool}==')}"
    assert_refused(project, (place, f"{tool} 99."))


def test_refuses_to_go_without_the_pinned_tools_and_says_how_to_get_them(project: Project) -> None:
    project.edit("openapi.yaml", "openapi:", "# a comment\nopenapi:")
    tools = ("openapi-python-client", "openapi-spec-validator", "ruamel-yaml", "ruff")
    places = [f"requirements.lock:{project.line('requirements.lock', f'{tool}==')}" for tool in tools]
    expected = [(place, "none is installed; run this by `make`") for place in places]
    assert_refused(project, *expected, run=partial(project.run, python=CANNOT_GENERATE))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        pytest.param("async def asyncio_detailed(", "async def other(", "it has no asyncio_detailed", id="no asyncio_detailed"),
        pytest.param("def _parse(", 'import re, warnings\n\nwarnings.warn("old")\n\n\ndef _parse(', "UserWarning: old", id="a warning"),
        pytest.param("def _parse(", 'DIGIT = "\\d"\n\n\ndef _parse(', "invalid escape sequence", id="a syntax warning"),
    ],
)  # fmt: skip
def test_refuses_code_that_does_not_work_and_names_the_operations(
    project: Project, old: str, new: str, reason: str
) -> None:
    project.edit(ENDPOINT, old, new)
    operations = ("operationId: RetryScriptExecution", "operationId: RetryEngine")
    lines = [project.line("openapi.yaml", operation) - 1 for operation in operations]
    assert_refused(project, *((f"openapi.yaml:{line}", reason) for line in lines))


def test_refuses_a_model_template_that_it_does_not_know(project: Project) -> None:
    stock = (STOCK_TEMPLATES / "model.py.jinja").read_text("utf-8")
    (project.root / MODEL).write_text(stock.replace("@_attrs_define\n", "@_attrs_define()\n"), "utf-8")
    assert_refused(project, ("codegen/generate.py:1", "(1, 0), not (1, 1)"))


# --- --check ---------------------------------------------------------------------------------------------------------


def test_check_says_in_one_line_that_all_is_current(project: Project) -> None:
    shutil.rmtree(project.root / ".codegen")
    done = project.run("--check")
    assert (done.returncode, done.stdout) == (0, f"{PACKAGE} is what openapi.yaml makes\n")
    assert not (project.root / ".codegen/stamp").exists()


def test_check_shows_what_differs_and_how_to_mend_it(project: Project) -> None:
    package = project.root / PACKAGE
    (package / "models/stray.py").write_text("STRAY = 1\n", "utf-8")
    (package / "py.typed").unlink()
    project.edit(str(PACKAGE / "client.py"), "\nclass Client", "\n# by hand\nclass Client")
    before, stamp = project.generated(), (project.root / ".codegen/stamp").read_bytes()

    done = project.run("--check")

    assert done.returncode == 1
    diff, _, summary = done.stdout.partition(f"{PACKAGE}/client.py: ")
    assert f"--- {PACKAGE}/client.py\n" in diff
    assert "\n-# by hand\n" in diff
    assert "\n-STRAY = 1\n" in diff
    assert summary.splitlines() == [
        "changed",
        f"{PACKAGE}/models/stray.py: not made from the spec",
        f"{PACKAGE}/py.typed: missing",
        f"{PACKAGE} is not what openapi.yaml makes; mend it by: make",
    ]
    assert (project.generated(), (project.root / ".codegen/stamp").read_bytes()) == (before, stamp)
    assert project.leftovers() == []


def test_check_sees_a_changed_spec_and_keeps_its_diff_short(project: Project) -> None:
    project.add_path(JOB)
    done = project.run("--check")
    assert done.returncode == 1
    assert f"{PACKAGE}/api/cse/poke_engine_job.py: missing\n" in done.stdout
    assert " lines more\n" in done.stdout
    assert len(done.stdout.splitlines()) < 120


def test_check_refuses_as_make_does(project: Project) -> None:
    project.spec.write_bytes(b"")
    assert_refused(project, ("openapi.yaml:1", "empty"), run=partial(project.run, "--check"))


# --- when it is cut short --------------------------------------------------------------------------------------------


def in_the_middle(project: Project) -> subprocess.Popen[str]:
    """A run that has written its new tree, and is about to format and check it."""
    # A shell's background job, which the tests may be, passes on that SIGINT is to be ignored.
    process = project.start(preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL))
    deadline = time.monotonic() + 30
    while not [*project.root.glob(f".generated-*/{PACKAGE.name}/py.typed")]:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        os.sched_yield()
    return process


def test_ctrl_c_changes_nothing(project: Project) -> None:
    project.add_path(JOB)
    before = project.generated()
    with in_the_middle(project) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "interrupted; generated/ is as it was\n")
    assert project.generated() == before
    assert project.leftovers() == []


def test_a_killed_run_changes_nothing_and_the_next_cleans_up(project: Project) -> None:
    project.add_path(JOB)
    before = project.generated()
    with in_the_middle(project) as process:
        process.kill()
        process.communicate(timeout=30)
    assert project.generated() == before
    assert project.leftovers() != []
    assert "+ api/cse/poke_engine_job.py" in project.make()


def test_a_client_that_a_killed_run_had_moved_aside_is_put_back(project: Project) -> None:
    before = project.generated()
    (project.root / ".generated-killed").mkdir()
    (project.root / PACKAGE).rename(project.root / ".generated-killed/before")
    (project.root / "generated").rmdir()
    assert project.make(python=CANNOT_GENERATE).startswith("nothing to do")
    assert project.generated() == before


# The two renames take microseconds, too little to hit them from outside; so swap() is called by itself.


def test_a_swap_that_fails_half_way_is_taken_back(project: Project) -> None:
    before = project.generated()
    code = """
import generate, json
(generate.ROOT / ".generated-test").mkdir()
try:
    generate.swap(generate.ROOT / "gone", generate.ROOT / ".generated-test/before")
except FileNotFoundError as error:
    print(json.dumps(error.filename))
"""
    assert project.python(code, "codegen") == str(project.root / "gone")
    assert project.generated() == before


def test_ctrl_c_does_not_come_between_the_two_renames(project: Project) -> None:
    code = """
import generate, json, os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
new, before = generate.ROOT / "new", generate.ROOT / ".generated-test/before"
before.parent.mkdir()
new.mkdir()
generate.swap(new, before)
os.kill(os.getpid(), signal.SIGINT)
print(json.dumps(len(generate.read_tree(before))))
"""
    count = len(project.generated())
    assert project.python(code, "codegen") == count
    assert project.generated() == {}


def test_two_at_once_take_turns(project: Project) -> None:
    project.add_path(JOB)
    with project.start() as first, project.start() as second:
        reports = [process.communicate(timeout=60)[0].splitlines()[-1] for process in (first, second)]
    assert sorted(report.partition(":")[0] for report in reports) == [str(PACKAGE), "nothing to do"]
    assert project.leftovers() == []


# --- when the disk will not take it ----------------------------------------------------------------------------------

# Runs as root of its own mount namespace: a disk that is as small, or as closed, as a disk can be.
ON_A_DISK = """
import json, os, shutil, subprocess, sys
source, disk, free = sys.argv[1], sys.argv[2], int(sys.argv[3])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=True)
shutil.copytree(source, disk, dirs_exist_ok=True)
if free < 0:
    subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)
else:
    room = os.statvfs(disk)
    with open(disk + "/ballast", "wb") as ballast:
        ballast.write(bytes(max(0, room.f_bavail * room.f_bsize - free * 1024)))
done = subprocess.run([sys.executable, disk + "/codegen/generate.py"], capture_output=True, encoding="utf-8")
shutil.copytree(disk + "/generated", source + "/generated after", ignore=shutil.ignore_patterns("__pycache__"))
print(json.dumps([done.returncode, done.stdout, done.stderr, sorted(os.listdir(disk))]))
"""


def on_a_disk(project: Project, disk: Path, free: int) -> tuple[int, str, str]:
    """Run on a copy on a disk with so many kilobytes free, read-only if negative; exit code and output."""
    unshare = ["unshare", "--mount", "--map-root-user"]
    disk.mkdir()
    mount = [*unshare, "mount", "-t", "tmpfs", "tmpfs", str(disk)]
    if not shutil.which("unshare") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a test have a disk of its own: no mount in a namespace of its own")
    command = [*unshare, sys.executable, "-c", ON_A_DISK, str(project.root), str(disk), str(free)]
    done = subprocess.run(command, capture_output=True, check=False, encoding="utf-8")
    assert done.stderr == ""
    code, out, err, names = json.loads(done.stdout)
    assert not [name for name in names if name.startswith(".generated-")]
    return code, out, err


@pytest.mark.parametrize(
    ("free", "reason"),
    [
        pytest.param(0, "No space left on device", id="full"),
        pytest.param(60, "No space left on device", id="full while the generator writes"),
        pytest.param(-1, "Read-only file system", id="read-only"),
    ],
)
def test_a_disk_that_takes_nothing_changes_nothing(project: Project, tmp_path: Path, free: int, reason: str) -> None:
    project.add_path(JOB)
    before = project.generated()
    code, out, err = on_a_disk(project, tmp_path / "disk", free)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"refused: {reason}")
    assert err.endswith("; generated/ is as it was\n")
    after = Project(project.root / "generated after")
    assert {str(f.relative_to(after.root)): f.read_bytes() for f in after.root.rglob("*") if f.is_file()} == before


# Works on every machine, where a disk of one's own does not: a limit on the size of a file.
@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        pytest.param(4_000, "refused: File too large", id="the generator"),
        pytest.param(80_000, "ruff format failed (2): error: Failed to write api/", id="ruff"),
    ],
)
def test_a_file_that_cannot_grow_changes_nothing(project: Project, limit: int, reason: str) -> None:
    project.edit(ENDPOINT, "def _parse(", f"LONG = [{'1,' * 30_000}]\n\n\ndef _parse(")  # formatting makes it 200 kB
    before = project.generated()
    done = project.run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(reason)
    assert done.stderr.endswith("; generated/ is as it was\n")
    assert project.generated() == before
    assert project.leftovers() == []
