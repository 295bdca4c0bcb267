"""The contract suite within pytest: each case that fails is a test that fails, with a curl line to repeat it.

`EXAMPLES=1000 pytest tests/contract` makes more cases.
"""

import pytest

from tests.contract import suite

EXAMPLES = suite.whole_number("EXAMPLES", 100)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_mock_keeps_the_contract(seed: int, subtests: pytest.Subtests) -> None:
    with suite.mock() as url:
        outcome = suite.run(url, seed=seed, examples=EXAMPLES)
    for finding in outcome.findings:
        with subtests.test(f"{finding.check} in {finding.operation}"):
            pytest.fail(f"case {finding.after}, phase {finding.phase}: {finding.text}")
