"""Every fault of HTTP in every mode, and thousands of calls: each call reports what happened."""

import pytest

from tests.e2e.chaos import FAULTS, MODES, ROTATED, check_fault, check_many

REST = [
    (fault, mode) for fault in FAULTS for mode in MODES if (fault, mode) not in ROTATED
]  # fast suite: ROTATED


@pytest.mark.parametrize(("fault", "mode"), REST)
def test_each_fault_in_every_mode(fault: str, mode: str) -> None:
    check_fault(fault, mode)


@pytest.mark.parametrize("workers", [1, 8, 64])
@pytest.mark.parametrize("mode", MODES)
def test_each_of_thousands_of_calls_reports_what_happened(mode: str, workers: int) -> None:
    check_many(mode, workers, number=560)
