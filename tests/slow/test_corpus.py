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
from typing import get_args

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from huaweicloud_retry.contract import Contract, Match
from tests.codegen import cases
from tests.codegen.corpus import EACH, SPECS, Direction, Operation, client_of, of_each
from tests.codegen.loop import check
from tests.codegen.project import ROOT
from tests.contract.suite import whole_number

# The others have cookies, files or styles that contract.py does not read.
BY_CONTRACT = {"pets", "service", "unions"}
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


@pytest.mark.parametrize("direction", get_args(Direction)[1:])
@of_each(EACH)
def test_random_calls_keep_the_document(
    operation: Operation, direction: Direction, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In an open response, values that the document does not list come back as they are."""
    client = client_of(operation.spec, tmp_path_factory)

    def run(call: cases.Call) -> None:
        request, response = check(client, operation, call)
        if operation.spec in BY_CONTRACT and direction == "response":
            assert by_contract(operation, request, response) == []

    print(f"SEED={SEED}")
    MANY(seed(SEED)(given(cases.calls(operation, direction))(run)))()


def by_contract(operation: Operation, request: httpx.Request, response: httpx.Response) -> list[str]:
    """What the project's own contract.py finds wrong."""
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    match = contract(operation.spec).match(request.method, path)
    assert isinstance(match, Match)
    assert match.operation.id == operation.id
    asked = match.operation.check_request(match.path_params, query, request.headers, request.content).problems
    told = match.operation.check_response(response.status_code, response.headers, response.content)
    return [str(problem) for problem in [*asked, *told]]


def checked(*command: str, cwd: Path) -> str:
    """Run a type checker; what it finds."""
    ran = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


@pytest.mark.parametrize("spec", SPECS)
def test_mypy_finds_nothing(spec: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = client_of(spec, tmp_path_factory).folder
    command = ("mypy", "--strict", "--no-incremental", "--config-file=", str(folder))
    assert checked(*command, cwd=folder) == ""


def test_pyright_finds_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    folders = [client_of(spec, tmp_path_factory).folder for spec in SPECS]
    common = folders[0].parents[1]
    roots = [{"root": str(each.relative_to(common)), "extraPaths": [str(ROOT / "src")]} for each in folders]
    include = [each["root"] for each in roots]
    settings = {"typeCheckingMode": "strict", "include": include, "executionEnvironments": roots}
    (common / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    assert checked("basedpyright", "--pythonpath", sys.executable, cwd=common) == ""
