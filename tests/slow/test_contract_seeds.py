"""The mock keeps the contract with three seeds, and a seed repeats its cases."""

import pytest

from tests.contract import suite

EXAMPLES = suite.whole_number("EXAMPLES", 50)
ONE_RULE = ["every_operation_needs_credentials"]  # rules have no seed; test_contract.py tries all


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_mock_keeps_the_contract(seed: int, subtests: pytest.Subtests) -> None:
    with suite.mock() as url:
        outcome = suite.run(url, seed=seed, examples=EXAMPLES, only=ONE_RULE)
    for title, text in suite.by_check(outcome.findings):
        with subtests.test(title):
            pytest.fail(f"{text}\n{suite.REPEATING}")


def test_the_same_seed_makes_the_same_cases() -> None:
    with suite.mock() as url:
        first, second = (suite.run(url, seed=4, examples=10, only=ONE_RULE) for _ in range(2))
    assert first.responses == second.responses
    assert first.cases == second.cases
