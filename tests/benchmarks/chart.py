"""The figures of `make bench` as a picture: how many times better ours is than each peer, on a log scale.

Written by hand, so that it is a small file that needs nothing else: no script, no font, nothing from elsewhere. It brings its
own background, since GitHub's theme need not be that of the reader's system, which is what an image is told.
"""

import html
import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# By the first word of a row's name.
TOPICS = {
    "call": "Calls",
    "concurrent": "Calls",
    "signing": "Calls",
    "first": "Starting, and what is installed",
    "import": "Starting, and what is installed",
    "help": "Starting, and what is installed",
    "size": "Starting, and what is installed",
    "modules": "Starting, and what is installed",
    "mock": "The mock",
    "make": "Regenerating and testing",
    "contract": "Regenerating and testing",
    "bulk": "Bulk",
}
STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1b2330 }
.strong { font-weight: 600 }
.quiet { fill: #566172 }
.card { fill: #fff; stroke: #d9dfe8 }
.grid { stroke: #d9dfe8 }
.one, .aim { stroke: #1b2330 }
.aim { stroke-width: 2 }
.range { stroke: #566172; stroke-width: 2 }
.better { fill: #4f86c6 }
.worse { fill: #c77700 }
@media (prefers-color-scheme: dark) {
text { fill: #e6eaf0 }
.quiet { fill: #9aa5b4 }
.card { fill: #14181f; stroke: #2c3440 }
.grid { stroke: #2c3440 }
.one, .aim { stroke: #e6eaf0 }
.range { stroke: #9aa5b4 }
.better { fill: #5b8fcf }
.worse { fill: #e8a33d }
}"""
TITLE = "How many times better ours is than each peer"
LEGEND = (
    "Bars: medians, on a log scale; to the right of 1 ours is better. Thin lines: our worst round beside the peer's best, and "
    "our best beside its worst. Ticks: the aim."
)
THICK = 10


@dataclass(frozen=True)
class Layout:
    """Where things are, in pixels: from the left, or from the top of a row."""

    width: int
    letters: int
    """That fit in a line."""
    bars: tuple[int, int]
    """Where they begin and end at most."""
    row: int
    """How high."""
    bar: int
    ratio: tuple[int, int]
    """The end of its number, and the line on which it stands."""
    scale: int
    """How far below a topic its numbers are."""


WIDE = Layout(width=880, letters=130, bars=(364, 604), row=22, bar=6, ratio=(650, 15), scale=0)
NARROW = Layout(width=400, letters=48, bars=(20, 380), row=56, bar=38, ratio=(52, 30), scale=20)


@dataclass(frozen=True)
class Scale:
    """Of ratios, logarithmic."""

    ticks: list[float]
    """Of which the first is at the left end, the last at the right one."""
    ends: tuple[int, int]

    @classmethod
    def of(cls, ratios: list[float], ends: tuple[int, int]) -> "Scale":
        """Return the scale on which all of them are, and 1."""
        ticks = [float(f"{digit}e{power}") for power in range(-6, 7) for digit in (1, 2, 5)]
        first = max(tick for tick in ticks if tick <= min(*ratios, 0.5))
        last = min(tick for tick in ticks if tick >= max(*ratios, 2))
        return cls([tick for tick in ticks if first <= tick <= last], ends)

    def x(self, ratio: float) -> float:
        """Return where it is, in pixels."""
        left, right = self.ends
        share = math.log(ratio / self.ticks[0]) / math.log(self.ticks[-1] / self.ticks[0])
        return left + share * (right - left)


def plain(text: str) -> str:
    """Return the text in one line, without what cannot be printed: some of it comes from other programs."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def ratio_text(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.1f}"


def spread(row: dict[str, Any]) -> tuple[float, float]:
    """Return the ratio of our worst round to the peer's best, and of our best to its worst."""
    worse, better = (row["ours"], row["peer"]) if row["more_is_better"] else (row["peer"], row["ours"])
    return worse["min"] / better["max"], worse["max"] / better["min"]


def told(row: dict[str, Any]) -> str:
    aim = {True: ", as aimed at", False: ", less than aimed at", None: ""}[row["meets_aim"]]
    return plain(f"{row['what']}: {ratio_text(row['ratio'])} times as good as {row['peer']['name']}{aim}")


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    """Return the element; the content is escaped already if it has markup."""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{content}</text>'


def vertical(kind: str, x: float, top: float, bottom: float) -> str:
    return f'<path class="{kind}" d="M{x:.1f} {top:g}V{bottom:g}"/>'


def drawn(row: dict[str, Any], y: float, layout: Layout, scale: Scale) -> Iterator[str]:
    """Draw one row, whose top is at y."""
    top, bottom = y + layout.bar, y + layout.bar + THICK
    for tick in scale.ticks:
        yield vertical("grid", scale.x(tick), top - 6, bottom + 6)
    one, end = scale.x(1), scale.x(row["ratio"])
    kind = "better" if row["ratio"] >= 1 else "worse"
    yield f"<g><title>{html.escape(told(row))}</title>"
    yield f'<rect class="{kind}" x="{min(one, end):.1f}" y="{top}" width="{abs(end - one):.1f}" height="{THICK}"/>'
    yield vertical("one", one, top - 6, bottom + 6)
    low, high = map(scale.x, spread(row))
    yield f'<path class="range" d="M{low:.1f} {top + THICK / 2:g}H{high:.1f}"/>'
    if row["aim_ratio"] is not None:
        yield vertical("aim", scale.x(row["aim_ratio"]), top - 3, bottom + 3)
    x, line = layout.ratio
    yield text(16, y + 15, html.escape(plain(row["what"])))
    yield text(x, y + line, ratio_text(row["ratio"]), "strong", "end")
    yield text(x + 8, y + line, html.escape(plain(row["peer"]["name"])), "quiet")
    yield "</g>"


def svg(report: dict[str, Any], layout: Layout) -> str:
    """Return the picture of the rows that have a ratio, by topic."""
    topics: dict[str, list[dict[str, Any]]] = {}
    for row in report["rows"]:
        if row["ratio"] is not None:
            topics.setdefault(TOPICS.get(row["name"].partition("-")[0], "Others"), []).append(row)
    shown = [row for rows in topics.values() for row in rows]
    reached = [ratio for row in shown for ratio in (*spread(row), row["aim_ratio"] or 1)]
    scale = Scale.of([1, *reached], layout.bars)

    y = 28
    elements = [text(16, y, TITLE, "strong")]
    for about in (LEGEND, f"{report['date']}, {report['machine']}: {report['command']}, all on loopback"):
        for line in textwrap.wrap(plain(about), layout.letters):
            y += 17
            elements.append(text(16, y, html.escape(line), "quiet"))
    for topic, rows in topics.items():
        y += 30
        elements.append(text(16, y, topic, "strong"))
        y += layout.scale
        elements += [text(scale.x(tick), y, f"{tick:g}", "quiet", "middle") for tick in scale.ticks]
        y += 8
        for row in rows:
            elements += drawn(row, y, layout, scale)
            y += layout.row
    height = y + 12
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {layout.width} {height}" width="{layout.width}" '
    return "\n".join(
        [
            f'{start}height="{height}" role="img" aria-labelledby="title told">',
            f'<title id="title">{TITLE}</title>',
            f'<desc id="told">{html.escape(". ".join(map(told, shown)))}.</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="card" x="0.5" y="0.5" width="{layout.width - 1}" height="{height - 1}" rx="8"/>',
            *elements,
            "</svg>\n",
        ]
    )
