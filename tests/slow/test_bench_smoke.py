"""`make bench` runs. What the figures are is not tested."""

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks import bench, publish
from tests.benchmarks.measure import ROOT


def test_the_smoke_run_measures_each_row_that_needs_neither_a_registry_nor_minutes(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tests.benchmarks.bench", "--smoke", "--report", str(file)]
    ran = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(file.read_text(encoding="utf-8"))
    assert set(report) == {"date", "machine", "command", "versions", "rows"}
    rows = {row["name"]: row for row in report["rows"]}
    assert list(rows) == [row.name for benchmark in bench.BENCHMARKS for row in benchmark.rows]
    left_out = {name for name, row in rows.items() if row["skipped"]}
    assert left_out == {"mock-throughput", "mock-start", "make-edited", "make-unchanged", "contract"}
    for name in rows.keys() - left_out:
        sides = [side for side in (rows[name]["ours"], rows[name]["peer"], rows[name]["floor"]) if side]
        assert all(side["min"] > 0 for side in sides), name
    assert all(row["what"] in ran.stdout for row in rows.values())


def test_the_chart_of_the_committed_report_is_a_small_picture(tmp_path: Path) -> None:
    file = tmp_path / "chart.png"
    publish.draw(publish.read(ROOT / publish.REPORT), file)
    assert file.read_bytes().startswith(b"\x89PNG")
    assert file.stat().st_size < 200_000
