"""SVG charts for the summary of a journal.

Each is drawn for wide and for narrow windows, so that its text has the same size; the stylesheet shows one of
them.
"""

import html
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from huaweicloud_retry.bulk.items import Verdict, rfc3339
from huaweicloud_retry.bulk.report import BINS_A_DECADE, VERDICTS, Latency, Stretch

from .wording import PERCENTILES, duration, utc

_BARS_A_DECADE: Final = 10  # log scale of the latency chart
_LEAST: Final = 1.5  # pixels: minimum height of a bar
_MINUTE, _DAY = 60_000, 86_400_000  # milliseconds
_STEPS: Final = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000),
    *(600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000, _DAY),
)


class Size(NamedTuple):
    """Dimensions of a chart and its plot, in pixels."""

    name: str
    width: int
    height: int
    bottom: int
    left: int
    plot: int
    pause: int


_SIZES: Final = (Size("wide", 1110, 300, 274, 46, 1064, 22), Size("narrow", 340, 240, 214, 40, 300, 14))


def svg(name: str, title: str, about: str, draw: Callable[[Size], Iterable[str]]) -> str:
    """Return a chart in both sizes."""
    return "".join(
        f'<svg class="{size.name}" viewBox="0 0 {size.width} {size.height}" role="img" '
        f'aria-labelledby="{name}-{size.name}-title {name}-{size.name}-desc">'
        f'<title id="{name}-{size.name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-{size.name}-desc">{html.escape(about)}</desc>{"".join(draw(size))}</svg>'
        for size in _SIZES
    )


def draw_time(size: Size, stretches: list[Stretch], width: float) -> Iterator[str]:
    """Draw outcomes over time, in buckets of `width` seconds."""
    slots = sum(len(stretch.buckets) for stretch in stretches)
    slot = (size.plot - size.pause * (len(stretches) - 1)) / slots
    plot = _Plot(size, max(bucket.total() for each in stretches for bucket in each.buckets), top=34, gap=12)
    yield from plot.grid()
    places: list[tuple[float, float]] = []  # time and x of each bucket
    starts: list[tuple[float, float]] = []  # time and x of each stretch
    x, end = float(size.left), stretches[0].start
    for start, buckets in stretches:
        if starts:
            yield plot.pause(x, duration(start - end))
            x += size.pause
        starts.append((start, x))
        for number, bucket in enumerate(buckets):
            at = start + number * width
            if bucket:
                yield from plot.bar(x, slot, bucket, utc(at, exact=width < 1))
                if bucket["unknown"]:
                    half = min(6.0, max(2.5, slot * 0.8))  # half the width of a diamond above the bars
                    sides = f"l{half:.1f} {half:.1f} {-half:.1f} {half:.1f} {-half:.1f} {-half:.1f}z"
                    yield f'<path class="unknown" d="M{x + slot / 2:.1f} {14 - half:.1f}{sides}"/>'
            places.append((at, x))
            x += slot
        end = start + len(buckets) * width
    step = _time_step(round(width * 1000), slots, size.plot)
    has_days = utc(stretches[0].start)[:10] != utc(end)[:10]
    form = ("%d %b " if has_days else "") + ("%H:%M:%S" if step < _MINUTE else "%H:%M")
    is_exact = width * slots < 10 and not has_days  # noqa: PLR2004 - seconds
    rounds = (each for each in places if round(each[0] * 1000) % step == 0)
    for at, place in (*starts, (end, x), *rounds):
        plot.label(place, rfc3339(at)[11:23] if is_exact else utc(at, form))
    yield from plot.labels


def _time_step(width: int, slots: int, plot: int) -> int:
    """Return the milliseconds between labels: a round multiple of a bucket, with room for each."""
    wanted = width * slots / max(1, plot // 130)
    fits = (step for step in _STEPS if step >= wanted and step % width == 0)
    return next(fits, max(width, _DAY) * math.ceil(wanted / max(width, _DAY)))


def _ticks(most: int) -> list[int]:
    """Return 0 and round numbers, up to the first that is at least `most`."""
    power = 10 ** max(0, len(str(most)) - 1)
    round_steps = (max(1, power // 5), max(1, power // 2), power, 2 * power)
    step = next(each for each in round_steps if each * 5 >= most)
    return list(range(0, most + step, step))


def _short(count: int) -> str:
    return f"{count // 1000}k" if count >= 10_000 and not count % 1000 else f"{count:,}"  # noqa: PLR2004


class _Plot:
    """Common parts of the charts: a grid, stacked bars, and labels at least `gap` pixels apart."""

    def __init__(self, size: Size, most: int, top: int, gap: int) -> None:
        self._size = size
        self._ticks = _ticks(most)
        self._top = top
        self._scale = (size.bottom - top) / self._ticks[-1]
        self._gap = gap
        self._taken: list[tuple[float, float, str]] = []
        self.labels: list[str] = []

    def grid(self) -> Iterator[str]:
        size = self._size
        for tick in self._ticks:
            y = size.bottom - tick * self._scale
            kind = "grid" if tick else "axis"
            yield f'<line class="{kind}" x1="{size.left}" x2="{size.width}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text x="{size.left - 7}" y="{y + 4:.1f}" text-anchor="end">{_short(tick)}</text>'

    def bar(self, x: float, slot: float, counts: Mapping[Verdict, int], when: str) -> Iterator[str]:
        listed = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in VERDICTS if counts[verdict])
        y = float(self._size.bottom)
        yield f"<g><title>{when}: {listed}</title>"
        for verdict in VERDICTS:
            if counts[verdict]:
                height = max(_LEAST, counts[verdict] * self._scale)
                y -= height
                box = f'x="{x:.2f}" y="{y:.1f}" width="{slot * 0.88:.2f}" height="{height:.1f}"'
                yield f'<rect class="{verdict}" {box}/>'
        # The title appears over the whole column, not only over the bar.
        box = f'x="{x:.2f}" y="{self._top}" width="{slot:.2f}" height="{self._size.bottom - self._top}"'
        yield f'<rect class="hit" {box}/></g>'

    def pause(self, x: float, length: str) -> str:
        middle = x + self._size.pause / 2
        line = f'x1="{middle:.1f}" x2="{middle:.1f}" y1="{self._top}" y2="{self._size.bottom}"'
        return f'<g><title>pause of {length}</title><line class="pause" {line}/></g>'

    def label(self, x: float, text: str) -> None:
        """Add a label below the axis, unless it overlaps or repeats another."""
        half = len(text) * 3.6  # half of its width at 13 px
        middle = min(max(x, half + 4), self._size.width - half)
        left, right = middle - half - self._gap, middle + half + self._gap
        if any(text == other or (right >= begin and left <= end) for begin, end, other in self._taken):
            return
        self._taken.append((middle - half, middle + half, text))
        bottom = self._size.bottom
        self.labels.append(
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>'
            f'<text x="{middle:.1f}" y="{self._size.height - 4}" text-anchor="middle">{text}</text>'
        )


def latency_bars(latency: dict[Verdict, Latency]) -> dict[int, Counter[Verdict]]:
    """Return the number of outcomes by bar."""
    bars: dict[int, Counter[Verdict]] = {}
    for verdict, each in latency.items():
        for bin_, count in each.bins.items():
            bars.setdefault(bin_ * _BARS_A_DECADE // BINS_A_DECADE, Counter())[verdict] += count
    return bars


def _edge(bar: int) -> float:
    return float(10 ** (bar / _BARS_A_DECADE))


def bar_name(bar: int) -> str:
    """Return the range of latency of a bar."""
    return f"{duration(_edge(bar))} to {duration(_edge(bar + 1))}"


def draw_latency(size: Size, bars: dict[int, Counter[Verdict]], together: Latency) -> Iterator[str]:
    """Draw the distribution of the latency."""
    first, last = min(bars) - 1, max(bars) + 2
    missing = max(0, _BARS_A_DECADE - (last - first))  # at least one decade
    first, last = first - missing // 2, last + missing - missing // 2
    slot = size.plot / (last - first)
    plot = _Plot(size, max(counts.total() for counts in bars.values()), top=20 * len(PERCENTILES), gap=14)

    def place(seconds: float) -> float:
        return size.left + (math.log10(seconds) * _BARS_A_DECADE - first) * slot

    yield from plot.grid()
    for bar, counts in sorted(bars.items()):
        yield from plot.bar(place(_edge(bar)), slot, counts, bar_name(bar))
    for row, percent in enumerate(PERCENTILES):
        seconds = together.percentile(percent)
        x, y = place(max(seconds, _edge(first))), 14 + row * 18
        left, anchor = (-6, "end") if x > size.width * 0.5 else (6, "start")
        yield f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 10}" y2="{size.bottom}"/>'
        text = f"{percent} % within {duration(seconds)}"
        yield f'<text class="strong" x="{x + left:.1f}" y="{y}" text-anchor="{anchor}">{text}</text>'
    for factor in (1, 5, 2):  # in order of priority
        for power in range(first // _BARS_A_DECADE, last // _BARS_A_DECADE + 1):
            seconds = factor * 10.0**power
            if _edge(first) <= seconds <= _edge(last):
                plot.label(place(seconds), duration(seconds))
    yield from plot.labels
