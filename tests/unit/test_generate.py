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

JOB = """\
  /v2/{project_id}/enginemgr/jobs/{job_id}:
    post:
      operationId: PokeEngineJob
      tags: [CSE]
      parameters:
        - { name: project_id, in: path, required: true, schema: { type: string } }
        - { name: job_id, in: path, required: true, schema: { type: integer } }
        - { name: view, in: query, schema: { type: string, default: short } }
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
"""


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

    def python(self, code: str) -> Any:
        """Run code that uses the generated client and prints JSON."""
        env = {**os.environ, "PYTHONPATH": str(self.root / "generated"), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False, encoding="utf-8")
        assert done.stderr == ""
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that is up to date; not to be changed."""
    project = Project(tmp_path_factory.mktemp("made") / "project")
    project.root.mkdir()
    for name in ("openapi.yaml", "requirements.lock"):
        shutil.copy(ROOT / name, project.root / name)
    for name in ("codegen", "generated"):
        shutil.copytree(ROOT / name, project.root / name, ignore=shutil.ignore_patterns("__pycache__"))
    project.make()
    return project


@pytest.fixture
def project(made: Project, tmp_path: Path) -> Project:
    """A project that is up to date."""
    shutil.copytree(made.root, tmp_path / "project")
    return Project(tmp_path / "project")


def assert_refused(project: Project, *expected: tuple[str, str], run: Callable[[], Any] | None = None) -> None:
    """It exits with 2, says on stderr exactly the expected (`file:line`, part of the reason), and has changed nothing."""
    before, stamp = project.generated(), (project.root / ".codegen/stamp").read_bytes()
    done = run() if run else project.run()
    *lines, last = done.stderr.splitlines()
    assert last == "refused; generated/ is as it was", done.stderr
    for line, (place, reason) in zip(lines, expected, strict=True):
        assert line.startswith(f"{place}: ")
        assert reason in line
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
            "types.py",
        )
    }


def test_fields_of_models_are_keyword_only(made: Project) -> None:
    code = """
import json
from huaweicloud_retry_client import models
failures = []
for name in models.__all__:
    try:
        getattr(models, name)("a", "b", "c", "d")
    except TypeError as error:
        failures.append("positional argument" in str(error))
print(json.dumps(failures))
"""
    failures = made.python(code)
    assert failures
    assert all(failures)


def test_reports_what_changed(project: Project) -> None:
    project.add_path(JOB)
    (project.root / PACKAGE / "api/cse/retry_engine.py").write_text("", "utf-8")
    (project.root / PACKAGE / "stray.py").write_text("", "utf-8")
    assert project.make().splitlines() == [
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
    for settings in (tmp_path / "ruff/ruff.toml", tmp_path / "ruff.toml", project.root / "ruff.toml"):
        settings.write_text("line-length = 60\n[format]\nquote-style = 'single'\n", "utf-8")
    (project.root / ".gitignore").write_text("*\n", "utf-8")
    settings = {"RUFF_CONFIG": "ruff.toml", "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    python = {"PYTHONHASHSEED": "1", "PYTHONPATH": str(made.root / "generated"), "PYTHONWARNINGS": "error"}
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", **settings, **python}
    project.make(cwd=tmp_path, env=env)
    assert project.generated() == made.generated()


def test_writes_lf_and_utf_8(made: Project) -> None:
    for data in made.generated().values():
        data.decode("utf-8")
        assert b"\r" not in data


# --- a spec change changes the client --------------------------------------------------------------------------------


def test_a_new_operation_can_be_called(project: Project) -> None:
    project.add_path(JOB)
    project.make()
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


# --- when there is nothing to do -------------------------------------------------------------------------------------

CANNOT_GENERATE = ("-S",)  # without site-packages: exit code 0 shows that nothing was to be done, 2 that something was


def test_does_nothing_when_nothing_changed(project: Project) -> None:
    before = {path: path.stat().st_mtime_ns for path in project.root.rglob("*")}
    assert project.make(python=CANNOT_GENERATE) == f"nothing to do: {PACKAGE} is what openapi.yaml makes\n"
    assert {path: path.stat().st_mtime_ns for path in project.root.rglob("*")} == before


def test_takes_no_time_to_do_nothing(project: Project) -> None:
    def seconds() -> float:
        started = time.perf_counter()
        project.make()
        return time.perf_counter() - started

    assert min(seconds() for _ in range(3)) < 0.5


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


@pytest.mark.parametrize("name", ["openapi.yaml", "codegen/config.yaml", ENDPOINT, str(PACKAGE / "py.typed"), ".codegen"])
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
        pytest.param(b"openapi: 3.1.0\ninfo: [\npaths: {}\n", 3, "while parsing a flow sequence from line 2", id="no YAML"),
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


@pytest.mark.parametrize(
    ("old", "new", "marker", "reason"),
    [
        # what JSON does not have
        pytest.param("'200':", "200:", " 200:", "the key 200 is not text", id="a status without quotes"),
        pytest.param("example: 7", "example: 2026-01-02", "2026-01-02", "JSON has no date", id="a date without quotes"),
        # references
        pytest.param("{ type: number }", "{ $ref: '#/components/schemas/Gone' }", "Gone", "points to nothing", id="to nothing"),
        pytest.param("{ type: number }", "{ $ref: other.yaml }", "other.yaml", "leaves this file", id="to a file"),
        pytest.param("{ type: number }", "{ $ref: 'http://a.b/c#/d' }", "a.b", "leaves this file", id="to a URL"),
        # OpenAPI
        pytest.param("tags: [CSE]", "tags: [CSE]\n      sumary: x", "sumary", "'sumary' was unexpected", id="an unknown key"),
        pytest.param("description: The job.", "x-no: x", "'200':", "'description' is a required", id="a key not there"),
        pytest.param("{ type: number }", "{ type: nuber }", "nuber", "'nuber' is not one of", id="an unknown type"),
        pytest.param("{ type: boolean }", "{ type: bolean }", "bolean", "Input should be", id="an unknown type in a body"),
        pytest.param("default: short", "default: 5", "default: 5", "5 is not of type 'string'", id="a default of another type"),
        pytest.param("name: job_id", "name: jobid", "post:", "'job_id' for 'post'", id="a path parameter not declared"),
        pytest.param("name: view, in: query", "name: project_id, in: path, required: true", "parameters:", "Duplicate", id="twice"),
        # names
        pytest.param("operationId: PokeEngineJob", "summary: x", "post:", "has no operationId", id="no operationId"),
        pytest.param("PokeEngineJob", "RetryEngine", "operationId: ", "PUT /v2/", id="an operationId taken"),
        pytest.param("PokeEngineJob", "retry_engine", "operationId: ", "PUT /v2/", id="a module taken"),
        # what the generator cannot make
        pytest.param("application/json:\n            s", "text/csv:\n            s", "post:", "content type text/csv", id="a body"),
        pytest.param("application/json:\n              s", "image/png:\n              s", "'200':", "image/png", id="an answer"),
        pytest.param("items: ", "x-items: ", "steps:", "type array must have items", id="an array of what"),
        # what comes out as code that does not work
        pytest.param("name: view", "name: body", "post:", "duplicate argument 'body'", id="an argument twice"),
    ],
)  # fmt: skip
def test_refuses_a_spec_and_names_the_line(project: Project, old: str, new: str, marker: str, reason: str) -> None:
    text = JOB.replace(old, new, 1)
    assert text != JOB
    project.add_path(text)
    (offset,) = (offset for offset, line in enumerate(text.splitlines()) if marker in line)
    first = project.line("openapi.yaml", "enginemgr/jobs")
    assert_refused(project, (f"openapi.yaml:{first + offset}", reason))
