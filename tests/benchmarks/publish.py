"""What docs/performance.md shows of speed, made of one `make bench`: table, chart, the figure for bulk.

`make bench PUBLISH=yes` measures and runs `python -m tests.benchmarks.publish`, for reports/bench.json.
"""

import html
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import FAILED, HERE, REPORTS, ROOT, number, write

PAGE = "docs/performance.md"
CHART = "docs/performance.png"
REPORT = f"{HERE.relative_to(ROOT).as_posix()}/bench.json"
COMMAND = "make bench"
BULK_ITEMS = 10_000  # of the row that the page quotes
BULK = f"bulk-{BULK_ITEMS}"
END = "<!-- bench: end -->"

Report = dict[str, Any]


class RefusedError(Exception):
    """The report, or the page, cannot be published. One line, which says what to do."""


def read(file: Path) -> Report:
    """Return the report of a complete run with the default rounds.

    Raises:
        RefusedError: there is none, it is of another run, or a benchmark failed.
    """
    try:
        report: Report = json.loads(file.read_text(encoding="utf-8"))
        command, rows = report["command"], report["rows"]
    except OSError as error:
        raise RefusedError(f"{file} cannot be read ({error.strerror}): run `{COMMAND}` first") from error
    except (ValueError, LookupError, TypeError) as error:
        raise RefusedError(f"{file} is no report of `{COMMAND}`: run it again") from error
    if command != COMMAND:
        raise RefusedError(
            f"{file} is of `{command}`; publish a plain `{COMMAND}`: all rows, with the default rounds"
        )
    for row in rows:
        if (row["skipped"] or "").startswith(FAILED):
            raise RefusedError(f"{file}: {row['name']} {row['skipped']}: mend it, and run `{COMMAND}` again")
    if not any(row["name"] == BULK and not row["skipped"] for row in rows):
        raise RefusedError(f"{file} has no figures for {BULK}, which {PAGE} quotes")
    return report


def markdown(text: str) -> str:
    """Return a text as it is, and not as markup; it may be from another program."""
    printable = "".join(character if character.isprintable() else " " for character in text).strip()
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(printable, quote=False))


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
    yield "-" if row["ratio"] is None else number(row["ratio"])
    met = {None: "", True: ": met", False: ": **missed**"}[row["meets_aim"]]
    yield f"{markdown(row['aim'])}{met}" if row["aim"] else ""


def speed(report: Report) -> str:
    """Return the text under the heading."""
    rows = report["rows"]
    met = [row["meets_aim"] for row in rows if row["meets_aim"] is not None]
    notes: dict[str, list[str]] = {}
    for row in rows:
        for note in filter(None, (row["note"], row["skipped"] and f"skipped: {row['skipped']}")):
            notes.setdefault(note, []).append(row["what"])
    taken = f"{markdown(report['date'])}, {markdown(report['machine'])}: `{report['command']}`"
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return "\n".join(
        [
            "",
            f"{taken}, all on loopback. {sum(met)} of {len(met)} aims met.",
            "",
            "| what | ours | peer | times better | aim |",
            "|---|---|---|---|---|",
            *(f"| {' | '.join(cells(row))} |" for row in rows),
            "",
            *(f"- {markdown('; '.join(dict.fromkeys(whats)))}: {markdown(n)}." for n, whats in notes.items()),
            f"- Versions: {markdown(versions)}.",
            "",
        ]
    )


def draw(report: Report, file: Path) -> None:
    """Draw how many times better ours is than each peer, and where the aims are."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow, and only publishing needs it

    rows = [row for row in reversed(report["rows"]) if row["ratio"]]
    names = [f"{row['what']} / {row['peer']['name']}: {number(row['ratio'])}" for row in rows]
    colours = ["tab:orange" if row["meets_aim"] is False else "tab:blue" for row in rows]
    picture = Figure(figsize=(11, 1 + 0.25 * len(rows)), layout="constrained")
    axes = picture.subplots()
    axes.barh(range(len(rows)), [row["ratio"] - 1 for row in rows], left=1, color=colours)
    aims = [(row["aim_ratio"], place) for place, row in enumerate(rows) if row["aim_ratio"]]
    axes.plot(*zip(*aims, strict=True), "k|", markersize=10, label="aim")
    axes.set(xscale="log", xlabel="times better than the peer (orange: aim missed)")
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set_xticks([0.25, 0.5, 1, 2, 5, 10, 20], ["0.25", "0.5", "1", "2", "5", "10", "20"])
    axes.axvline(1, color="black", linewidth=0.8)
    axes.margins(x=0.1, y=0.01)
    axes.legend(loc="lower right")
    picture.savefig(file, dpi=100)


def bulk(report: Report) -> str:
    """Return how many calls a second one process made, within a sentence."""
    (row,) = (row for row in report["rows"] if row["name"] == BULK)
    seconds, bound = row["ours"]["median"], row["floor"]["median"]
    took = f"{BULK_ITEMS:,} items in {number(seconds)} s"
    at_best = f"the server's responses allow {number(bound)} s at best"
    return f"{number(BULK_ITEMS / seconds)} retries a second ({took}; {at_best})"


def page(text: str, report: Report) -> str:
    """Return the page with what it says of speed made anew.

    Raises:
        RefusedError: the page lacks the markers around it.
    """
    for name, content in (("table", speed(report)), ("bulk", bulk(report))):
        start = f"<!-- bench: {name} -->"
        before, found, rest = text.partition(start)
        _, ended, after = rest.partition(END)
        if not found or not ended or start in rest:
            raise RefusedError(f"{PAGE} needs {start} once, and {END} after it")
        text = f"{before}{start}{content}{END}{after}"
    return text


def main() -> int:
    """Make the page from the report, and only then write page, chart and report; returns the exit code."""
    file = REPORTS / "bench.json"
    try:
        report = read(file)
        text = page((ROOT / PAGE).read_text(encoding="utf-8"), report)
    except RefusedError as error:
        print(f"nothing was published: {error}", file=sys.stderr)
        return 1
    write(ROOT / PAGE, text)
    draw(report, ROOT / CHART)
    write(ROOT / REPORT, file.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
