"""The mock keeps the contract with three seeds, and a seed repeats its cases."""

import pytest

from tests.contract import suite

EXAMPLES = suite.whole_number("EXAMPLES", 100)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_mock_keeps_the_contract(seed: int, subtests: pytest.Subtests) -> None:
    with suite.mock() as url:
        outcome = suite.run(url, seed=seed, examples=EXAMPLES)
    for title, text in suite.by_case(outcome.findings):
        with subtests.test(title):
            pytest.fail(f"{text}\n{suite.REPEATING}")


def test_the_same_seed_makes_the_same_cases() -> None:
    with suite.mock() as url:
        first, second = (suite.run(url, seed=4, examples=10) for _ in range(2))
    assert first.answers == second.answers
    assert first.cases == second.cases
