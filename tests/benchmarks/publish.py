"""What the README says of speed, made from one report of `make bench`: bench.json, the charts, the table, the figure for bulk.

`make bench PUBLISH=yes` measures, and then runs `python -m tests.benchmarks.publish`, which takes reports/bench.json.
"""

import argparse
import html
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks import chart
from tests.benchmarks.chart import plain, ratio_text
from tests.benchmarks.measure import FAILED, HERE, REPORTS, ROOT, Row, number, write

README = "README.md"
FOLDER = HERE.relative_to(ROOT).as_posix()
REPORT = f"{FOLDER}/bench.json"
CHARTS = {f"{FOLDER}/bench.svg": chart.WIDE, f"{FOLDER}/bench-narrow.svg": chart.NARROW}
COMMAND = "make bench"
BULK_ITEMS = 10_000  # of the row that the README quotes
BULK = f"bulk-{BULK_ITEMS}"
END = "<!-- bench: end -->"


class RefusedError(Exception):
    """The report, or the README, is not fit for publishing. One line, which says what to do."""


def read(file: Path) -> dict[str, Any]:
    """Return the report of a complete run with the default rounds.

    Raises:
        RefusedError: it is none, or a benchmark failed.
    """
    again = f"run `{COMMAND}` again"
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RefusedError(f"{file} cannot be read ({error.strerror}): run `{COMMAND}` first") from error
    except ValueError as error:
        raise RefusedError(f"{file} is no JSON ({error}): {again}") from error
    if not isinstance(report, dict) or not {"date", "machine", "command", "versions", "rows"} <= report.keys():
        raise RefusedError(f"{file} is no report of `{COMMAND}`")
    if report["command"] != COMMAND:
        raise RefusedError(
            f"{file} is of `{report['command']}`, and what is published is of a plain `{COMMAND}`: all rows, with the "
            "default rounds"
        )
    fields = Row(name="", what="", unit="", peer="").result({}, "").keys()
    for row in report["rows"]:
        if row.keys() != fields:
            raise RefusedError(f"{file} has a row with other fields than rows have now: {again}")
        if row["skipped"] and row["skipped"].startswith(FAILED):
            raise RefusedError(f"{file}: {row['name']} {row['skipped']}: mend it, and {again}")
    if not any(row["name"] == BULK and not row["skipped"] for row in report["rows"]):
        raise RefusedError(f"{file} has no figures for {BULK}, which the README quotes")
    return report


def markdown(text: str) -> str:
    """Return a text as it is, and not as markup; it may be from another program."""
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(plain(text), quote=False))


def figure(side: dict[str, Any], unit: str) -> str:
    if side["median"] is None:
        return "-"
    low, high = number(side["min"]), number(side["max"])
    across = "" if low == high else f" <sub>{low} to {high}</sub>"
    return f"{number(side['median'])} {markdown(unit).replace('us', 'µs', 1)}{across}"


def cells(row: dict[str, Any]) -> Iterator[str]:
    yield markdown(row["what"])
    yield "skipped" if row["skipped"] else figure(row["ours"], row["unit"])
    yield f"{markdown(row['peer']['name'])}: {figure(row['peer'], row['unit'])}"
    yield "-" if row["ratio"] is None else ratio_text(row["ratio"])
    met = {None: "", True: ": met", False: ": **missed**"}[row["meets_aim"]]
    yield f"{markdown(row['aim'])}{met}" if row["aim"] else ""


def speed(report: dict[str, Any]) -> str:
    """Return what stands under the heading."""
    rows = report["rows"]
    met = [row["meets_aim"] for row in rows if row["meets_aim"] is not None]
    notes: dict[str, list[str]] = {}
    for row in rows:
        for said in filter(None, (row["note"], row["skipped"] and f"skipped: {row['skipped']}")):
            notes.setdefault(said, []).append(row["what"])
    taken = f"{markdown(report['date'])}, {markdown(report['machine'])}: `{report['command']}`, all on loopback."
    wide, narrow = CHARTS
    return "\n".join(
        [
            "",
            "<picture>",
            f'<source media="(max-width: 600px)" srcset="{narrow}">',
            f'<img src="{wide}" alt="{chart.TITLE}; the table below has the figures">',
            "</picture>",
            "",
            f"{taken} {sum(met)} of {len(met)} aims met.",
            "",
            "| what | ours | peer | times better | aim |",
            "|---|---|---|---|---|",
            *(f"| {' | '.join(cells(row))} |" for row in rows),
            "",
            *(f"- {markdown('; '.join(dict.fromkeys(whats)))}: {markdown(note)}." for note, whats in notes.items()),
            f"- Versions: {markdown(', '.join(f'{name} {version}' for name, version in report['versions'].items()))}.",
            "",
        ]
    )


def bulk(report: dict[str, Any]) -> str:
    """Return how many calls a second one process made, within a sentence."""
    (row,) = (row for row in report["rows"] if row["name"] == BULK)
    seconds, bound = row["ours"]["median"], row["floor"]["median"]
    took = f"{BULK_ITEMS:,} items in {number(seconds)} s; the server's answers allow {number(bound)} s at best"
    return f"{number(BULK_ITEMS / seconds)} a second ({took})"


def readme(text: str, report: dict[str, Any]) -> str:
    """Return the README with what it says of speed made anew.

    Raises:
        RefusedError: the README has not the markers between which that stands.
    """
    for name, content in (("table", speed(report)), ("bulk", bulk(report))):
        start = f"<!-- bench: {name} -->"
        before, found, rest = text.partition(start)
        _, ended, after = rest.partition(END)
        if not found or not ended or start in rest:
            raise RefusedError(f"README.md needs {start} once, and {END} after it")
        text = f"{before}{start}{content}{END}{after}"
    return text


def publish(file: Path, root: Path) -> None:
    """Make all from a report, and only then write it into a checkout.

    Raises:
        RefusedError: the report or the README is not fit for it; nothing was written.
    """
    report = read(file)
    made = {name: chart.svg(report, layout) for name, layout in CHARTS.items()}
    made[README] = readme((root / README).read_text(encoding="utf-8"), report)
    made[REPORT] = file.read_text(encoding="utf-8")
    for name, text in made.items():
        write(root / name, text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.publish", description=__doc__)
    parser.add_argument("report", nargs="?", type=Path, default=REPORTS / "bench.json", help="(default: %(default)s)")
    file: Path = parser.parse_args().report
    try:
        publish(file, ROOT)
    except RefusedError as error:
        print(f"nothing was published: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
