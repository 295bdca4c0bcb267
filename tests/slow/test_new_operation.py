"""An operation that only reads needs openapi.yaml alone: client, mock, contract suite and docs page follow it."""

from pathlib import Path
from typing import Any

import pytest

from huaweicloud_retry import TokenAuth
from huaweicloud_retry.contract import Contract
from huaweicloud_retry.mock import running
from tests.codegen.project import Generated, new_project
from tests.contract import checks, suite
from tests.mocks import client_for

ADDED = """
  /v2/{project_id}/script-execution-tasks:
    servers: *workspace
    parameters:
      - $ref: '#/components/parameters/ProjectId'
    get:
      operationId: ListScriptTasks
      tags: [Workspace]
      summary: List script execution tasks.
      security:
        - AuthToken: []
        - Signature: []
      parameters:
        - $ref: '#/components/parameters/Limit'
        - $ref: '#/components/parameters/ScriptNames'
      responses:
        '200':
          description: A page of tasks.
          content:
            application/json:
              schema:
                type: object
                required: [count]
                properties:
                  count: { type: integer }
              examples:
                one: { value: { count: 1 } }
        '400': { $ref: '#/components/responses/ScriptBadRequest' }
        '401': { $ref: '#/components/responses/ScriptUnauthorized' }
        '403': { $ref: '#/components/responses/ScriptForbidden' }
        '404': { $ref: '#/components/responses/ScriptNotFound' }
        '405': { $ref: '#/components/responses/ScriptMethodNotAllowed' }
        '429': { $ref: '#/components/responses/Throttled' }
        '503': { $ref: '#/components/responses/ScriptUnavailable' }
"""


ALONE = ("--include-operation-id", "ListScriptTasks")
# A rule that knows the new operation; others are about single ones.
ABOUT_EACH = ["every_operation_needs_credentials"]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of openapi.yaml with one operation more."""
    file = tmp_path_factory.mktemp("spec") / "openapi.yaml"
    before, after = suite.SPEC.read_text("utf-8").split("\ncomponents:\n")
    file.write_text(f"{before}{ADDED}\ncomponents:\n{after}", "utf-8")
    return file


def test_the_client_has_it_and_the_mock_responds_with_the_example(spec: Path, tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", spec.read_text("utf-8"))
    assert "script-execution-tasks -> api/workspace/list_script_tasks.py" in project.make()
    made = Generated(project.root / "generated")
    with running(Contract.load(spec)) as url, made.entered():
        with made.module("").Client(url, auth=TokenAuth("mock-token")) as client:
            page = made.module("api.workspace.list_script_tasks").sync(
                "demo-project", client=client, limit=5, script_name=["a", "b"]
            )
        assert page.to_dict() == {"count": 1}


def test_the_contract_suite_tests_it(spec: Path) -> None:
    short: dict[str, Any] = {"seed": 1, "examples": 1, "spec": spec, "only": ABOUT_EACH}
    with running(Contract.load(spec), state=checks.STATE) as url:
        outcome = suite.run(url, **short, options=("--phases", "examples,coverage", *ALONE))
    assert not [each.text for each in outcome.findings if "ListScriptTasks" in each.text]
    statuses = {status for id_, status in outcome.responses if id_ == "ListScriptTasks"}
    assert statuses >= {200, 400, 401, 403, 404, 405, 429, 503}
    with suite.mock() as url:  # which does not have it
        found = suite.run(url, **short, options=("--phases", "examples")).findings
    assert any("/script-execution-tasks" in each.curl for each in found)


def test_the_docs_page_lists_it(spec: Path) -> None:
    with running(Contract.load(spec)) as url, client_for(url) as client:
        assert "/openapi.json" in client.get("/docs/docs.js").text
        shown = client.get("/openapi.json").json()["paths"]["/v2/{project_id}/script-execution-tasks"]
    assert shown["get"]["operationId"] == "ListScriptTasks"
