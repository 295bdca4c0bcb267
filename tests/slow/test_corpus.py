"""Clients of other services' kinds: both type checkers are content, and random calls keep the documents both ways.

CASES=1000 makes more cases for each operation; SEED=2 others, and SEED=random others each time, and prints the seed.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from functools import cache
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from openapi_spec_validator import validate

from huaweicloud_retry.contract import Contract, Match
from tests.codegen import cases
from tests.codegen.corpus import EACH, SPECS, Operation, client_of, document, of_each
from tests.codegen.loop import check
from tests.codegen.project import ROOT
from tests.contract.suite import whole_number

BY_CONTRACT = {
    "pets",
    "service",
    "unions",
}  # the others have cookies, files or styles that contract.py does not read
CASES = whole_number("CASES", 20)
SEED = secrets.randbelow(2**32) if os.environ.get("SEED") == "random" else whole_number("SEED", 1)
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of what failed
MANY = settings(
    max_examples=CASES,
    phases=[Phase.generate],  # to shrink takes minutes; a failure names the place
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@cache
def contract(spec: str) -> Contract:
    return Contract.load(SPECS[spec])


@pytest.mark.parametrize("spec", SPECS)
def test_the_documents_are_valid(spec: str) -> None:
    validate(document(spec))


@of_each(EACH)
def test_random_calls_keep_the_document(
    operation: Operation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    client = client_of(operation.spec, tmp_path_factory)

    @MANY
    @seed(SEED)
    @given(cases.calls(operation, "response"))
    def run(call: cases.Call) -> None:
        request, response = check(client, operation, call)
        if operation.spec in BY_CONTRACT:
            assert by_contract(operation, request, response) == []

    print(f"SEED={SEED}")
    run()


def by_contract(operation: Operation, request: httpx.Request, response: httpx.Response) -> list[str]:
    """What the project's own contract.py finds wrong."""
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    match = contract(operation.spec).match(request.method, path)
    assert isinstance(match, Match)
    assert match.operation.id == operation.id
    asked = match.operation.check_request(match.path_params, query, request.headers, request.content).problems
    told = match.operation.check_response(response.status_code, response.headers, response.content)
    return [str(problem) for problem in [*asked, *told]]


@of_each(EACH)
def test_values_that_are_not_listed_come_back_as_they_are(
    operation: Operation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    client = client_of(operation.spec, tmp_path_factory)

    @MANY
    @seed(SEED)
    @given(cases.calls(operation, "open response"))
    def run(call: cases.Call) -> None:
        check(client, operation, call)

    print(f"SEED={SEED}")
    run()


@pytest.mark.parametrize("spec", SPECS)
def test_mypy_is_content(spec: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    generated = client_of(spec, tmp_path_factory).folder
    assert (
        _checked("mypy", "--strict", "--no-incremental", "--config-file=", str(generated), cwd=generated)
        == ""
    )


@pytest.mark.parametrize("spec", SPECS)
def test_pyright_is_content(spec: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    generated = client_of(spec, tmp_path_factory).folder
    settings = {"typeCheckingMode": "strict", "include": ["."], "extraPaths": [str(ROOT / "src")]}
    (generated / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    assert _checked("basedpyright", "--pythonpath", sys.executable, cwd=generated) == ""


def _checked(*command: str, cwd: Path) -> str:
    """Run a type checker; what it finds."""
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr
