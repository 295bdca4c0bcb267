"""`make bench` measures like with like, and says of each row what came of it. tests/slow runs it once."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import bench, contenders, environments, floor
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

SMOKE = Effort(rounds=1, seconds=1, smoke=True)


# ---- like is measured with like


@contextmanager
def recorder() -> Iterator[tuple[str, list[bytes]]]:
    """Run a server that keeps the requests and answers as the floor does; yields its URL, and the requests."""
    requests: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            received = b""
            while came := connection.recv(65536):
                received += came
                if received.endswith(contenders.BODY):
                    requests.append(received)
                    received = b""
                    connection.sendall(floor.ANSWER)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # closed
                return
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", requests
        listening.shutdown(socket.SHUT_RDWR)


def sent_by(name: str) -> tuple[bytes, set[bytes], bytes]:
    """Return the first line, the headers and the body that a client sends."""
    with recorder() as (url, requests):
        contenders.CONTENDERS[name](url, 1, 1)
    head, _, body = requests[0].partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = {line.partition(b": ")[0].lower() + b": " + line.partition(b": ")[2] for line in lines}
    # A port of its own; and that it is kept open, which goes without saying.
    return first, {line for line in headers if not line.startswith((b"host:", b"connection:"))}, body


@pytest.mark.parametrize(
    "name",
    [
        "sync_httpx",
        "sync_socket",
        "async_ours_token",
        "async_httpx",
        "async_httpx_aiohttp",
        "async_aiohttp",
        "async_streams",
    ],
)
def test_all_clients_with_a_token_send_the_same_request(name: str) -> None:
    assert sent_by(name) == sent_by("sync_ours_token")


def test_what_starts_is_measured_without_what_only_the_tests_have(tmp_path: Path) -> None:
    code = "import huaweicloud_retry.connection, sys; print(*sys.modules)"
    python = environments.ours(tmp_path)
    loaded = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "httpx" in loaded
    assert not {"trio", "rich", "click"} & set(loaded)


# ---- what a row says

SAMPLES: Samples = {"ours": [2.0, 1.0, 6.0], "theirs": [4.0, 5.0, 4.0], "least": [0.5]}


def row(**about: Any) -> Row:
    return Row("name", "what", "ms", "theirs", **about)


def test_a_row_has_the_median_and_the_range_of_each_side() -> None:
    said = row(floor="least").result(SAMPLES)
    assert said["ours"] == {"median": 2.0, "min": 1.0, "max": 6.0, "samples": [2.0, 1.0, 6.0]}
    assert said["peer"] == {
        "name": "theirs",
        "median": 4.0,
        "min": 4.0,
        "max": 5.0,
        "samples": [4.0, 5.0, 4.0],
    }
    assert said["floor"] == {"name": "least", "median": 0.5, "min": 0.5, "max": 0.5, "samples": [0.5]}


@pytest.mark.parametrize(("more_is_better", "ratio"), [(False, 2.0), (True, 0.5)])
def test_the_ratio_says_how_many_times_better_ours_is(more_is_better: bool, ratio: float) -> None:
    assert row(more_is_better=more_is_better).result(SAMPLES)["ratio"] == ratio


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.09344, "0.0934"), (9.996, "10"), (99.97, "100"), (999.7, "1,000"), (12209.3, "12,209")],
)
def test_a_figure_has_three_digits_and_all_of_a_large_number(value: float, said: str) -> None:
    assert number(value) == said


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
)
def test_an_aim_is_met_or_not_by_the_medians(aim: Aim | None, met: bool | None) -> None:
    said = row(aim=aim).result(SAMPLES)
    assert said["meets_aim"] is met
    if aim:
        assert (said["ratio"] >= said["aim_ratio"]) is met


# ---- what cannot be measured


def test_a_row_whose_tool_is_missing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    def run(effort: Effort) -> Samples:
        raise UnavailableError("no wrk: apt-get install wrk")

    rows, failed = bench.measure(Benchmark("name", [row(aim=at_least(2))], run), SMOKE)
    assert not failed
    assert (rows[0]["skipped"], rows[0]["ours"]["median"]) == ("no wrk: apt-get install wrk", None)
    assert (rows[0]["ratio"], rows[0]["meets_aim"]) == (None, None)
    bench.show(rows)
    assert "name: skipped: no wrk: apt-get install wrk" in capsys.readouterr().out


def test_a_benchmark_that_fails_leaves_the_others_their_figures(capsys: pytest.CaptureFixture[str]) -> None:
    def run(effort: Effort) -> Samples:
        raise RuntimeError("an answer was none\nof success")

    rows, failed = bench.measure(Benchmark("name", [row()], run), SMOKE)
    assert failed
    assert rows[0]["skipped"] == "failed: an answer was none"
    assert "of success" in capsys.readouterr().err
