"""What the README shows of `make bench` is of one report, of a complete run, and of nothing else."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks import chart, publish
from tests.benchmarks.measure import ROOT, Row, Samples, at_least
from tests.benchmarks.publish import CHARTS, README, REPORT, RefusedError

Report = dict[str, Any]

SAMPLES: Samples = {"ours": [2000.0, 1900.0, 2500.0], "theirs": [4000.0, 5000.0, 4000.0], "least": [1000.0]}
BULK = Row(publish.BULK, "bulk: 10,000 items", "s", "theirs", "least")
MARKERS = (
    "# Title\n\nIt does <!-- bench: bulk -->0<!-- bench: end -->.\n\n<!-- bench: table -->\nold\n<!-- bench: end -->\n"
)


def report(*rows: Report) -> Report:
    head = {"date": "2023-11-15", "machine": "a machine", "command": "make bench", "versions": {"peer": "1.2.3"}}
    return {**head, "rows": [BULK.result(SAMPLES), *rows]}


def row(name: str = "call-1", what: str = "one call", **about: Any) -> Row:
    return Row(name, what, "us a call", **{"peer": "theirs", **about})


def checkout(folder: Path, given: Report | str) -> Path:
    """Make one that has markers in its README and nothing published; returns the file of the report."""
    (folder / publish.FOLDER).mkdir(parents=True)
    (folder / README).write_text(MARKERS, encoding="utf-8")
    file = folder / "given.json"
    file.write_text(given if isinstance(given, str) else json.dumps(given), encoding="utf-8")
    return file


def line(told: str, start: str) -> str:
    (found,) = (each for each in told.splitlines() if each.startswith(start))
    return found


def drawn(content: Report, layout: chart.Layout = chart.WIDE) -> tuple[list[str], ET.Element]:
    """Return the texts of the picture and the picture, as an XML parser reads it."""
    picture = ET.fromstring(chart.svg(content, layout))
    return [each.text or "" for each in picture.iter("{http://www.w3.org/2000/svg}text")], picture


def bars(picture: ET.Element) -> list[str]:
    return [each.attrib["class"] for each in picture.iter("{http://www.w3.org/2000/svg}rect")][1:]  # after the card


# ---- what is committed


def committed() -> Report:
    return publish.read(ROOT / REPORT)


def test_the_readme_says_of_speed_what_the_committed_report_says() -> None:
    text = (ROOT / README).read_text(encoding="utf-8")
    assert publish.readme(text, committed()) == text


@pytest.mark.parametrize("name", CHARTS)
def test_the_charts_are_what_the_committed_report_makes(name: str) -> None:
    assert (ROOT / name).read_bytes() == chart.svg(committed(), CHARTS[name]).encode()


def test_the_readme_shows_the_charts_and_has_no_marker_where_it_would_end_a_paragraph() -> None:
    text = (ROOT / README).read_text(encoding="utf-8")
    assert set(re.findall(r'(?:src|srcset)="([^"]+)"', text)) == set(CHARTS)
    assert "\n<!-- bench: bulk" not in text


# ---- what is published


def test_a_report_is_published_in_whole(tmp_path: Path) -> None:
    file = checkout(tmp_path, report(row().result(SAMPLES)))
    publish.publish(file, tmp_path)
    assert (tmp_path / REPORT).read_bytes() == file.read_bytes()
    assert all((tmp_path / name).read_text(encoding="utf-8").startswith("<svg ") for name in CHARTS)
    text = (tmp_path / README).read_text(encoding="utf-8")
    assert "old" not in text
    assert "2023-11-15, a machine: `make bench`, all on loopback." in text
    assert "- Versions: peer 1.2.3." in text
    assert {file.name for file in (tmp_path / publish.FOLDER).iterdir()} == {
        Path(name).name for name in (*CHARTS, REPORT)
    }


def test_publishing_again_changes_nothing(tmp_path: Path) -> None:
    file = checkout(tmp_path, report())
    publish.publish(file, tmp_path)
    once = (tmp_path / README).read_bytes()
    publish.publish(file, tmp_path)
    assert (tmp_path / README).read_bytes() == once


def test_a_row_has_the_figures_with_their_range_the_ratio_and_whether_the_aim_is_met() -> None:
    told = publish.speed(report(row(aim=at_least(2.5), note="why").result(SAMPLES)))
    assert line(told, "| one call") == (
        "| one call | 2,000 µs a call <sub>1,900 to 2,500</sub> | theirs: 4,000 µs a call <sub>4,000 to 5,000</sub> | 2.00 "
        "| at least 2.5 times better: **missed** |"
    )
    assert "- one call: why." in told
    assert "0 of 1 aims met." in told


def test_a_figure_of_one_sample_has_no_range() -> None:
    told = publish.speed(report(row().result({"ours": [2.0], "theirs": [4.0]})))
    assert line(told, "| one call") == "| one call | 2 µs a call | theirs: 4 µs a call | 2.00 |  |"


def test_the_sentence_on_bulk_has_its_figures_from_the_row() -> None:
    assert publish.bulk(report()) == "5 a second (10,000 items in 2,000 s; the server's answers allow 1,000 s at best)"


def test_a_row_that_was_skipped_is_in_the_table_with_its_reason_and_has_no_bar() -> None:
    content = report(row(aim=at_least(2)).result({}, "no wrk: apt-get install wrk"))
    told = publish.speed(content)
    assert line(told, "| one call") == "| one call | skipped | theirs: - | - | at least 2 times better |"
    assert "- one call: skipped: no wrk: apt-get install wrk." in told
    assert "0 of 0 aims met." in told
    texts, picture = drawn(content)
    assert "one call" not in texts
    assert len(bars(picture)) == 1


def test_a_row_without_figures_of_its_peer_shows_ours_and_has_no_bar() -> None:
    content = report(row().result({"ours": [2.0], "theirs": []}))
    assert line(publish.speed(content), "| one call") == "| one call | 2 µs a call | theirs: - | - |  |"
    assert len(bars(drawn(content)[1])) == 1


def test_names_and_reasons_are_shown_as_they_are() -> None:
    odd = "a|b <i>&amp;</i> *c* [d](e) `f` --> \"g\" 'h' \\"
    content = report(
        row(what=odd, peer=odd, note="\x1b[31mred\nline").result({"ours": [2.0], odd: [4.0]}),
        row("other", "other").result({}, "\x1b[31mred\nline"),
    )
    told = publish.speed(content)
    escaped = "a\\|b &lt;i&gt;&amp;amp;&lt;/i&gt; \\*c\\* \\[d\\](e) \\`f\\` --&gt; \"g\" 'h' \\\\"
    assert line(told, "| a").startswith(f"| {escaped} | 2 µs a call | {escaped}: 4 µs a call |")
    assert "- other: skipped: \\[31mred line." in told
    for layout in CHARTS.values():
        texts, _ = drawn(content, layout)
        assert texts.count(odd) == 2


# ---- the picture


@pytest.mark.parametrize(
    ("more_is_better", "kind", "spread"), [(False, "better", (1.6, 5000 / 1900)), (True, "worse", (0.38, 0.625))]
)
def test_a_bar_says_whether_ours_is_better_and_how_far_the_rounds_lie_apart(
    more_is_better: bool, kind: str, spread: tuple[float, float]
) -> None:
    said = row(more_is_better=more_is_better).result(SAMPLES)
    assert bars(drawn(report(said))[1]) == ["better", kind]
    assert chart.spread(said) == pytest.approx(spread)


def test_the_scale_is_logarithmic_and_has_all_that_is_shown() -> None:
    scale = chart.Scale.of([0.3, 12], (0, 100))
    assert scale.ticks == [0.2, 0.5, 1, 2, 5, 10, 20]
    assert [scale.x(0.2), scale.x(2), scale.x(20)] == pytest.approx([0, 50, 100])


def test_rows_stand_by_topic_and_unknown_ones_among_the_others() -> None:
    content = report(*(row(name, name).result(SAMPLES) for name in ("call-a", "odd-b", "signing")))
    texts, _ = drawn(content, chart.NARROW)
    shown = [
        text
        for text in texts
        if text in {"Bulk", "Calls", "Others", "bulk: 10,000 items", "call-a", "odd-b", "signing"}
    ]
    assert shown == ["Bulk", "bulk: 10,000 items", "Calls", "call-a", "signing", "Others", "odd-b"]


def test_the_picture_is_told_to_those_who_do_not_see_it_and_loads_nothing() -> None:
    _, picture = drawn(report(row(aim=at_least(2.5)).result(SAMPLES)))
    labels = [picture.find(f".//*[@id='{id_}']") for id_ in picture.attrib["aria-labelledby"].split()]
    title, told = (label.text if label is not None else None for label in labels)
    assert title == chart.TITLE
    assert (
        told
        == "bulk: 10,000 items: 2.00 times as good as theirs. one call: 2.00 times as good as theirs, less than aimed at."
    )
    assert re.findall(r"https?:\S*|url\S*|href|@import|<script", ET.tostring(picture, encoding="unicode")) == [
        'http://www.w3.org/2000/svg"'
    ]


# ---- what is refused


def changed(change: Callable[[Report], object]) -> str:
    content = copy.deepcopy(report(row().result(SAMPLES)))
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            changed(lambda it: it.update(command="python -m tests.benchmarks.bench --rounds 2")),
            "is of `python -m tests.benchmarks.bench --rounds 2`, and what is published is of a plain `make bench`",
        ),
        (
            changed(lambda it: it["rows"].append(row("name").result({}, "failed: an answer was none"))),
            "name failed: an answer was none: mend it, and run `make bench` again",
        ),
        (changed(lambda it: it["rows"][1].pop("aim_ratio")), "has a row with other fields than rows have now"),
        (changed(lambda it: it["rows"].__setitem__(0, BULK.result({}, "no /proc"))), "has no figures for bulk-10000"),
        (changed(lambda it: it["rows"].pop(0)), "has no figures for bulk-10000, which the README quotes"),
        (changed(lambda it: it.pop("rows")), "is no report of `make bench`"),
        ("[]", "is no report of `make bench`"),
        ('{"rows": [', "is no JSON"),
    ],
)
def test_a_report_that_is_not_of_a_complete_run_is_refused(given: str, reason: str, tmp_path: Path) -> None:
    file = checkout(tmp_path, given)
    with pytest.raises(RefusedError, match=re.escape(reason)):
        publish.publish(file, tmp_path)
    assert (tmp_path / README).read_text(encoding="utf-8") == MARKERS
    assert not list((tmp_path / publish.FOLDER).iterdir())


def test_without_a_report_there_is_nothing_to_publish(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.publish", str(tmp_path / "bench.json")]
    ran = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    reason = f"{tmp_path}/bench.json cannot be read (No such file or directory): run `make bench` first"
    assert (ran.returncode, ran.stderr) == (1, f"nothing was published: {reason}\n")


@pytest.mark.parametrize("marker", ["<!-- bench: table -->", "<!-- bench: bulk -->"])
@pytest.mark.parametrize("times", [0, 2])
def test_a_readme_without_its_markers_is_refused(marker: str, times: int) -> None:
    with pytest.raises(RefusedError, match=f"needs {marker} once"):
        publish.readme(MARKERS.replace(marker, marker * times), report())


def test_a_readme_whose_block_never_ends_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    file = checkout(tmp_path, report())
    (tmp_path / README).write_text(MARKERS.rpartition(publish.END)[0], encoding="utf-8")
    with pytest.raises(RefusedError, match="and <!-- bench: end --> after it"):
        publish.publish(file, tmp_path)
    assert not list((tmp_path / publish.FOLDER).iterdir())


def test_a_partial_run_is_refused_before_it_is_measured() -> None:
    ran = subprocess.run(
        ["make", "-n", "bench", "PUBLISH=yes", "ROUNDS=2"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert ran.returncode == 2
    assert "PUBLISH=yes is for all rows with the default rounds: leave out ROUNDS and ONLY" in ran.stderr
    assert "tests.benchmarks" not in ran.stdout
