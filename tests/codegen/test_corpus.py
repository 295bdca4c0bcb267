"""Clients of other services' kinds: each is generated and called, and keeps its document both ways."""

from __future__ import annotations

from functools import cache

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import validate

from huaweicloud_retry.contract import Contract, Match
from tests.codegen import cases
from tests.codegen.corpus import EACH, SPECS, Operation, client_of, document, of_each
from tests.codegen.loop import check

BY_CONTRACT = {"pets", "service", "unions"}  # the others have cookies, files or styles that contract.py does not read
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of what failed
FEW = settings(
    max_examples=3,
    derandomize=True,
    phases=[Phase.generate],
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
def test_an_operation_keeps_its_document(operation: Operation, tmp_path_factory: pytest.TempPathFactory) -> None:
    client = client_of(operation.spec, tmp_path_factory)

    @FEW
    @given(cases.calls(operation, "response"))
    def run(call: cases.Call) -> None:
        request, response = check(client, operation, call)
        if operation.spec in BY_CONTRACT:
            assert by_contract(operation, request, response) == []

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
