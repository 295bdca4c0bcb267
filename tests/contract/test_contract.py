"""The contract suite within pytest: each case that fails is a test that fails, with a curl line to repeat it.

`EXAMPLES=1000 pytest tests/contract` makes more cases.
"""

import os
import subprocess

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


def test_the_same_seed_makes_the_same_cases() -> None:
    with suite.mock() as url:
        first, second = (suite.run(url, seed=4, examples=10) for _ in range(2))
    assert first.answers == second.answers
    assert first.cases == second.cases


# --- make contract ----------------------------------------------------------------------------------------------------


def make_contract(**environment: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "contract"]
    return subprocess.run(
        command, cwd=suite.ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_the_command_counts_the_answers_and_writes_reports_without_secrets() -> None:
    run = make_contract(EXAMPLES="10", SEED="random")
    assert run.returncode == 0, run.stdout
    header, engine, script = run.stdout.split("Answers by status:\n\n")[1].splitlines()[:3]
    assert header.split() == [
        "200",
        "400",
        "401",
        "403",
        "404",
        "405",
        "413",
        "414",
        "429",
        "494",
        "500",
        "502",
        "503",
        "504",
    ]
    for line, operation in ((engine, "RetryEngine"), (script, "RetryScriptExecution")):
        name, *counts = line.split()
        assert name == operation
        assert all(int(count) > 0 for count in counts)
    reports = [suite.REPORTS / "contract.xml", suite.REPORTS / "contract" / "index.html"]
    for text in (run.stdout, *(report.read_text("utf-8") for report in reports)):
        assert "RetryEngine" in text or "/actions" in text
        assert "mock-token" not in text
        assert "mock-sk" not in text


@pytest.mark.parametrize("setting", [{"EXAMPLES": "many"}, {"EXAMPLES": "0"}, {"SEED": "-1"}])
def test_a_number_that_is_none_is_refused(setting: dict[str, str]) -> None:
    ((name, value),) = setting.items()
    run = make_contract(**setting)
    assert run.returncode == 2
    assert f"{name}='{value}': a whole number above 0 is needed" in run.stderr
