"""What docs/performance.md shows of `make bench` is of one report, of a complete run, and of nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import publish
from tests.benchmarks.measure import ROOT, Row, Samples, at_least
from tests.benchmarks.publish import PAGE, REPORT, RefusedError

SAMPLES: Samples = {"ours": [2000.0, 1900.0, 2500.0], "theirs": [4000.0, 5000.0, 4000.0], "least": [1000.0]}
BULK = Row(publish.BULK, "bulk: 10,000 items", "s", "theirs", "least")


def row(what: str = "one call", **about: Any) -> Row:
    return Row("call-1", what, "us a call", **{"peer": "theirs", **about})


def report(*rows: dict[str, Any], **changes: Any) -> publish.Report:
    head = {"date": "2023-11-15", "machine": "a machine", "command": "make bench"}
    return {**head, "versions": {"peer": "1.2.3"}, "rows": [BULK.result(SAMPLES), *rows], **changes}


def test_the_page_says_of_speed_what_the_committed_report_says() -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    assert publish.page(text, publish.read(ROOT / REPORT)) == text


def test_a_row_has_figures_with_their_range_a_ratio_and_whether_the_aim_is_met() -> None:
    shown = publish.speed(report(row(aim=at_least(2.5), note="why").result(SAMPLES)))
    assert (
        "| one call | 2,000 µs a call <sub>1,900 to 2,500</sub> "
        "| theirs: 4,000 µs a call <sub>4,000 to 5,000</sub> | 2 | at least 2.5 times better: **missed** |\n"
        in shown
    )
    assert "2023-11-15, a machine: `make bench`, all on loopback. 0 of 1 aims met.\n" in shown
    assert "- one call: why.\n- Versions: peer 1.2.3.\n" in shown


@pytest.mark.parametrize(
    ("samples", "skipped", "line"),
    [
        ({"ours": [2.0], "theirs": [4.0]}, "", "| one call | 2 µs a call | theirs: 4 µs a call | 2 |  |"),
        ({"ours": [2.0], "theirs": []}, "", "| one call | 2 µs a call | theirs: - | - |  |"),
        ({}, "no wrk: apt-get install wrk", "| one call | skipped | theirs: - | - |  |"),
    ],
)
def test_what_was_not_measured_is_not_shown(samples: Samples, skipped: str, line: str) -> None:
    shown = publish.speed(report(row().result(samples, skipped or None)))
    assert line in shown.splitlines()
    assert f"- one call: skipped: {skipped}." in shown or not skipped


def test_names_and_reasons_are_shown_as_they_are() -> None:
    odd = "a|b <i>&amp;</i> *c* [d](e) `f` --> \"g\" 'h' \\"
    escaped = "a\\|b &lt;i&gt;&amp;amp;&lt;/i&gt; \\*c\\* \\[d\\](e) \\`f\\` --&gt; \"g\" 'h' \\\\"
    shown = publish.speed(report(row(odd, note="\x1b[31mred\nline").result({"ours": [2.0], "theirs": [4.0]})))
    assert f"\n| {escaped} | 2 µs a call |" in shown
    assert f"- {escaped}: \\[31mred line." in shown


def test_the_sentence_on_bulk_has_its_figures_from_the_row() -> None:
    assert (
        publish.bulk(report())
        == "5 retries a second (10,000 items in 2,000 s; the server's responses allow 1,000 s at best)"
    )


FAILED = row().result({}, "failed: a response was none")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (report(command="bench --rounds 2"), "is of `bench --rounds 2`; publish a plain `make bench`"),
        (report(FAILED), "call-1 failed: a response was none: mend it, and run `make bench` again"),
        (
            report(rows=[BULK.result({}, "no /proc")]),
            "has no figures for bulk-10000, which docs/performance.md quotes",
        ),
        ([], "is no report of `make bench`"),
        (None, "cannot be read (No such file or directory): run `make bench` first"),
    ],
)
def test_a_report_that_is_not_of_a_complete_run_is_refused(
    given: object, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "bench.json"
    if given is not None:
        file.write_text(json.dumps(given), encoding="utf-8")
    with pytest.raises(RefusedError, match=re.escape(reason)):
        publish.read(file)


@pytest.mark.parametrize("start", ["<!-- bench: table -->", "<!-- bench: bulk -->"])
def test_a_page_without_its_markers_is_refused(start: str) -> None:
    text = "<!-- bench: bulk -->0<!-- bench: end -->\n<!-- bench: table -->\n<!-- bench: end -->\n"
    assert "5 retries a second" in publish.page(text, report())
    for wrong in (text.replace(start, ""), text.replace(start, start * 2), text.replace(publish.END, "")):
        with pytest.raises(RefusedError, match="once, and <!-- bench: end --> after it"):
            publish.page(wrong, report())
