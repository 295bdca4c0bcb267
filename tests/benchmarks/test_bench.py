"""`make bench` measures like with like, and reports what each row gave. tests/slow runs it once."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import bench, contenders, floor, starting
from tests.benchmarks.measure import (
    Aim,
    Benchmark,
    Effort,
    Row,
    Samples,
    UnavailableError,
    at_least,
    at_most,
    number,
)
from tests.callers import LoopbackServer

SMOKE = Effort(rounds=1, seconds=1, smoke=True)


def sent_by(contender: Callable[..., float], *more: str) -> tuple[bytes, set[bytes], bytes]:
    """Return the first line, the headers and the body that a client sends."""
    with LoopbackServer(floor.RESPONSE, keep_open=True) as server:
        contender(server.url, 1, 1, *more)
    sent = server.requests[0]
    headers = {line.partition(b": ")[0].lower() + b": " + line.partition(b": ")[2] for line in sent.headers}
    # The port differs, and whether keep-alive, the default, is written down.
    return sent.line, {line for line in headers if not line.startswith((b"host:", b"connection:"))}, sent.body


OTHERS = ["sync_httpx", "sync_socket", "async_httpx", "async_httpx_aiohttp", "async_aiohttp", "async_streams"]


@pytest.mark.parametrize("name", OTHERS)
def test_all_clients_with_a_token_send_the_same_request(name: str) -> None:
    ours = sent_by(contenders.sync_ours, "token")
    assert sent_by(getattr(contenders, name)) == ours == sent_by(contenders.async_ours, "token")


def test_what_starts_is_measured_without_what_only_the_tests_have(tmp_path: Path) -> None:
    code = "import huaweicloud_retry.connection, sys; print(*sys.modules)"
    command = [starting.ours(tmp_path), "-c", code]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert "httpx" in loaded
    assert not {"trio", "rich", "click"} & set(loaded)


SAMPLES: Samples = {"ours": [2.0, 1.0, 6.0], "theirs": [4.0, 5.0, 4.0], "least": [0.5]}


def result(**about: Any) -> dict[str, Any]:
    return Row("name", "what", "ms", "theirs", **about).result(SAMPLES)


def test_a_row_has_the_median_and_the_range_of_each_side() -> None:
    row = result(floor="least")
    assert row["ours"] == {"median": 2.0, "min": 1.0, "max": 6.0, "samples": SAMPLES["ours"]}
    assert (row["peer"]["name"], row["peer"]["median"]) == ("theirs", 4.0)
    assert (row["floor"]["name"], row["floor"]["max"]) == ("least", 0.5)


@pytest.mark.parametrize(("more_is_better", "ratio"), [(False, 2.0), (True, 0.5)])
def test_the_ratio_says_how_many_times_better_ours_is(more_is_better: bool, ratio: float) -> None:
    assert result(more_is_better=more_is_better)["ratio"] == ratio


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.09344, "0.0934"), (9.996, "10"), (99.97, "100"), (999.7, "1,000"), (12209.3, "12,209")],
)
def test_a_figure_has_three_digits_and_all_of_a_large_number(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("aim", "met"),
    [
        (at_least(2), True),
        (at_least(2.1), False),
        (at_most(0.5), True),
        (at_most(0.4), False),
        (Aim("at most 2 ms", most=2), True),
        (Aim("at most 1 ms", most=1), False),
        (None, None),
    ],
    ids=lambda value: value.text if isinstance(value, Aim) else str(value),
)
def test_an_aim_is_met_or_not_by_the_medians(aim: Aim | None, met: bool | None) -> None:
    assert result(aim=aim)["meets_aim"] is met


@pytest.mark.parametrize(
    ("error", "reason", "failed"),
    [
        (UnavailableError("no wrk: apt-get install wrk"), "no wrk: apt-get install wrk", False),
        (RuntimeError("a response was none\nof success"), "failed: a response was none", True),
    ],
    ids=["a tool is missing", "it fails"],
)
def test_a_benchmark_without_figures_leaves_the_others_theirs(
    error: Exception, reason: str, failed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(effort: Effort) -> Samples:
        raise error

    row = Row("name", "what", "ms", "theirs", aim=at_least(2))
    (measured,), this_failed = bench.measure(Benchmark("name", [row], run), SMOKE)
    assert this_failed is failed
    assert (measured["skipped"], measured["ours"]["median"], measured["ratio"]) == (reason, None, None)
    assert ("of success" in capsys.readouterr().err) is failed
