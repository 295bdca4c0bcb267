"""A journal's summary as one HTML file: charts in SVG, nothing from outside, no script.

Each chart is there twice, for wide and for narrow windows, so that its text has one size; the stylesheet shows the one that
fits. Whatever is not written here is escaped: IDs are the user's, messages the services' or a proxy's.
"""

import base64
import hashlib
import html
import math
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from itertools import accumulate
from string import Template
from typing import Final, NamedTuple

from huaweicloud_retry.bulk.items import Verdict
from huaweicloud_retry.bulk.report import BINS_A_DECADE, LISTED, VERDICTS, Latency, Listed, Reason, Stretch, Summary
from huaweicloud_retry.runtime.redaction import one_line
from huaweicloud_retry_client import __version__

from .advice import advise
from .wording import duration, list_all, sentence, steps, utc

_MEANS: Final = {
    "unknown": "may have run, or not",
    "refused": "surely did not run",
    "accepted": "the service took it on",
    "planned": "planned, not sent yet",
}
_PERCENTILES: Final = (50, 90, 99)
_REASONS: Final = 25  # that are shown
_BARS_A_DECADE: Final = 10  # of seconds, in the chart of latencies
_LONGEST: Final = 1200  # characters of a text
_LEAST: Final = 1.5  # pixels of what is there at all


class _Size(NamedTuple):
    """A chart's, in pixels, of which the plot leaves a margin on the left and below."""

    name: str
    width: int
    height: int
    left: int = 46
    below: int = 26
    pause: int = 22  # of the room for one

    @property
    def bottom(self) -> int:
        return self.height - self.below

    @property
    def plot(self) -> int:
        return self.width - self.left


_SIZES: Final = (_Size("wide", 1110, 300), _Size("narrow", 340, 240, left=40, pause=14))


def page(summary: Summary, made_at: float) -> str:
    """Return the page.

    Args:
        summary: What it is about.
        made_at: Seconds since the epoch.
    """
    own = resources.files(__package__ or __name__)
    style = (own / "report.css").read_text(encoding="utf-8")
    about = ["1 item" if summary.counts.total == 1 else f"{summary.counts.total:,} items"]
    if summary.duplicates:
        about.append(f"{summary.duplicates:,} more were duplicates, sent once")
    if summary.started_at is not None and summary.ended_at is not None:
        took = duration(summary.ended_at - summary.started_at)
        about.append(f"from {utc(summary.started_at)} to {utc(summary.ended_at)} UTC, {took}")
    if summary.resent:
        about.append(f"{summary.resent:,} took more than one attempt")
    return Template((own / "report.html").read_text(encoding="utf-8")).substitute(
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        title=_text(f"{sentence(summary)} {summary.file.name}"),
        sentence=_text(sentence(summary)),
        about=_text("; ".join(about)),
        main="\n".join(_sections(summary)),
        foot=_text(f"Journal {summary.file}. Times are UTC. Made by hwc-retry {__version__}, {utc(made_at)}."),
    )


def _text(text: str) -> str:
    return html.escape(one_line(text, _LONGEST))


def _sections(summary: Summary) -> Iterator[str]:
    yield _steps(summary)
    yield _tiles(summary)
    if summary.timeline:
        yield _over_time(summary)
    if summary.reasons:
        yield _reasons(summary.reasons)
    if summary.listed["unknown"]:
        yield _list(summary, "unknown")
    if summary.latency:
        yield _latencies(summary.latency)
    if len(summary.operations) > 1:
        yield _operations(summary)
    if summary.listed["refused"]:
        yield _list(summary, "refused")


def _steps(summary: Summary) -> str:
    told = "".join(
        f"<li>{_text(step.text)}{f'<code>{_text(step.command)}</code>' if step.command else ''}</li>"
        for step in steps(summary)
    )
    return f'<ul class="steps{" alarm" if summary.counts.unknown else ""}" aria-label="What to do next">{told}</ul>'


def _tiles(summary: Summary) -> str:
    counts = summary.counts
    shown = {
        "unknown": counts.unknown,
        "refused": counts.refused,
        "accepted": counts.accepted,
        "planned": counts.planned,
    }
    if not counts.planned:
        del shown["planned"]
    tiles = "".join(
        f'<div class="tile {name}{" some" if count else ""}"><dt>{name.capitalize() if name != "planned" else "Not sent"}'
        f'</dt><dd><strong>{count:,}</strong> <span class="quiet percent">{_percent(count, counts.total)}</span>'
        f'<div class="quiet">{_MEANS[name]}{_which(name) if count else ""}</div></dd></div>'
        for name, count in shown.items()
    )
    ratio = [(name, max(count / counts.total, 0.006)) for name, count in shown.items() if count]
    whole = sum(part for _, part in ratio)
    starts = accumulate((part / whole * 100 for _, part in ratio), initial=0.0)
    bars = "".join(
        f'<rect class="{name}" x="{start:.2f}" y="0" width="{part / whole * 100:.2f}" height="1"/>'
        for (name, part), start in zip(ratio, starts, strict=False)
    )
    return (
        f'<dl class="tiles">{tiles}</dl>'
        f'<svg class="share" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">{bars}</svg>'
    )


def _which(name: str) -> str:
    return f': <a href="#{name}">which</a>' if name in {"unknown", "refused"} else ""


def _percent(count: int, total: int) -> str:
    percent = count / total * 100 if total else 0.0
    if count and (percent < 0.1 or (count < total and percent > 99.9)):  # noqa: PLR2004 - nothing is rounded to none or all
        return "under 0.1 %" if percent < 1 else "over 99.9 %"
    return f"{percent:.1f} %"


def _section(name: str, title: str, body: str, *, about: str = "") -> str:
    told = f'<p class="quiet">{_text(about)}</p>' if about else ""
    return f'<section id="{name}"><h2>{_text(title)}</h2>{told}{body}</section>'


def _key(verdicts: Iterable[str]) -> str:
    return "".join(['<ul class="key">', *(f'<li class="{verdict}">{verdict}</li>' for verdict in verdicts), "</ul>"])


def _figures(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return f"<details><summary>The figures</summary>{_table(head, rows)}</details>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column names what the others have figures of."""
    first, *others = head
    top = "".join(f'<th scope="col">{_text(name)}</th>' for name in others)
    body = "".join(
        "".join(
            [f'<tr><th scope="row">{_text(row[0])}</th>', *(f"<td>{_text(figure)}</td>" for figure in row[1:]), "</tr>"]
        )
        for row in rows
    )
    return (
        '<div class="scroll" tabindex="0"><table class="figures">'
        f"<thead><tr><td>{_text(first)}</td>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _svg(size: _Size, name: str, title: str, told: str, drawn: Iterable[str]) -> str:
    id_ = f"{name}-{size.name}"
    return (
        f'<svg class="{size.name}" viewBox="0 0 {size.width} {size.height}" role="img" '
        f'aria-labelledby="{id_}-title {id_}-desc"><title id="{id_}-title">{_text(title)}</title>'
        f'<desc id="{id_}-desc">{_text(told)}</desc>{"".join(drawn)}</svg>'
    )


# Outcomes over time


def _over_time(summary: Summary) -> str:
    stretches, width = summary.timeline, summary.width
    verdicts = [verdict for verdict in VERDICTS if verdict in summary.latency]
    days = len({utc(at, "%j") for at in (summary.started_at or 0.0, summary.ended_at or 0.0)}) > 1
    paused = " A dotted line stands for a pause." if len(stretches) > 1 else ""
    marks = " ◆ marks where some are unknown." if "unknown" in verdicts else ""
    told = f"How many outcomes were known in each {duration(width)}; times are UTC.{marks}{paused}"
    charts = "".join(
        _svg(size, "time", "Outcomes over time", told, _draw_time(size, stretches, width, days=days)) for size in _SIZES
    )
    rows = (
        (utc(start + i * width), *(f"{count:,}" for count in bucket.values()))
        for start, buckets in stretches
        for i, bucket in enumerate(buckets)
        if any(bucket.values())
    )
    return _section(
        "time", "Outcomes over time", _key(verdicts) + charts + _figures(("From (UTC)", *VERDICTS), rows), about=told
    )


def _draw_time(size: _Size, stretches: list[Stretch], width: float, *, days: bool) -> Iterator[str]:
    slots = sum(len(stretch.buckets) for stretch in stretches)
    slot = min(40.0, (size.plot - size.pause * (len(stretches) - 1)) / slots)
    most = max(sum(bucket.values()) for stretch in stretches for bucket in stretch.buckets)
    plot = _Plot(size, most, top=34, gap=12)
    yield from plot.grid()
    form = ("%d %b " if days else "") + ("%H:%M:%S" if width < 60 else "%H:%M")  # noqa: PLR2004 - seconds
    places: list[tuple[float, float]] = []  # where on the axis, and when
    x = float(size.left)
    for number, (start, buckets) in enumerate(stretches):
        if number:
            before = stretches[number - 1]
            yield plot.pause(x, duration(start - (before.start + len(before.buckets) * width)))
            x += size.pause
        plot.label(x, utc(start, form))
        for i, bucket in enumerate(buckets):
            if any(bucket.values()):
                yield from plot.bar(x, slot, bucket, utc(start + i * width))
                if bucket["unknown"]:
                    yield _diamond(x + slot / 2, 14, min(6.0, max(2.5, slot * 0.8)))  # in a lane of their own
            places.append((x, start + i * width))
            x += slot
    step = _time_step(width, slots, size.plot)
    for place, at in places:
        if at % step < width / 2:
            plot.label(place, utc(at, form))
    yield from plot.labels


def _time_step(width: float, slots: int, plot: int) -> float:
    """Return how far apart times are told: round, and with room for each."""
    wanted = width * slots / max(1, plot // 130)
    round_ = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)
    return next((step for step in round_ if step >= wanted), 86_400 * math.ceil(wanted / 86_400))


def _diamond(x: float, y: float, half: float) -> str:
    return f'<path class="unknown" d="M{x:.1f} {y - half:.1f}l{half:.1f} {half:.1f} {-half:.1f} {half:.1f} {-half:.1f} {-half:.1f}z"/>'


def _ticks(most: int) -> list[int]:
    """Return 0 and round numbers up to the first that is not below the most."""
    power = 10 ** max(0, len(str(most)) - 1)
    step = next(s for s in (max(1, power // 5), max(1, power // 2), power, 2 * power) if s * 5 >= most)
    return list(range(0, most + step, step))


def _short(count: int) -> str:
    return f"{count // 1000}k" if count >= 10_000 and count % 1000 == 0 else f"{count:,}"  # noqa: PLR2004 - narrow margin


class _Plot:
    """What charts of counts have in common: a grid, stacked bars, and labels below of which none covers another.

    Args:
        most: outcomes in a bar.
        top: pixels above the plot.
        gap: pixels between labels.
    """

    def __init__(self, size: _Size, most: int, top: int, gap: int) -> None:
        self._size = size
        self._ticks = _ticks(most)
        self._top = top
        self._scale = (size.bottom - top) / self._ticks[-1]
        self._gap = gap
        self._taken: list[tuple[float, float]] = []
        self.labels: list[str] = []

    def grid(self) -> Iterator[str]:
        size = self._size
        for tick in self._ticks:
            y = size.bottom - tick * self._scale
            kind = "grid" if tick else "axis"
            yield f'<line class="{kind}" x1="{size.left}" x2="{size.width}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text x="{size.left - 7}" y="{y + 4:.1f}" text-anchor="end">{_short(tick)}</text>'

    def bar(self, x: float, slot: float, counts: dict[Verdict, int], when: str) -> Iterator[str]:
        told = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items() if count)
        y = float(self._size.bottom)
        yield f"<g><title>{_text(when)}: {told}</title>"
        for verdict, count in counts.items():
            if count:
                height = max(_LEAST, count * self._scale)
                y -= height
                yield f'<rect class="{verdict}" x="{x:.2f}" y="{y:.1f}" width="{slot * 0.88:.2f}" height="{height:.1f}"/>'
        # Whoever points anywhere above a bar means it.
        height = self._size.bottom - self._top
        yield f'<rect class="hit" x="{x:.2f}" y="{self._top}" width="{slot:.2f}" height="{height}"/></g>'

    def pause(self, x: float, told: str) -> str:
        middle = x + self._size.pause / 2
        line = f'x1="{middle:.1f}" x2="{middle:.1f}" y1="{self._top}" y2="{self._size.bottom}"'
        return f'<g><title>pause of {told}</title><line class="pause" {line}/></g>'

    def label(self, x: float, text: str) -> None:
        half = len(text) * 3.6  # half of what it takes at 13 px
        middle = min(max(x, half + 4), self._size.width - half)
        left, right = middle - half - self._gap, middle + half + self._gap
        if all(right < begin or left > end for begin, end in self._taken):
            self._taken.append((middle - half, middle + half))
            bottom = self._size.bottom
            self.labels.append(
                f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>'
                f'<text x="{middle:.1f}" y="{self._size.height - 4}" text-anchor="middle">{_text(text)}</text>'
            )


# Latencies


def _latencies(latency: dict[Verdict, Latency]) -> str:
    together = Latency.together(latency.values())
    told = (
        f"From the first attempt until the outcome was known, waits and further attempts included. Half took "
        f"{duration(together.percentile(50))} or less, 99 % {duration(together.percentile(99))} or less."
    )
    bars: dict[int, dict[Verdict, int]] = {}
    for verdict, each in latency.items():
        for bin_, count in each.bins.items():
            bar = bars.setdefault(bin_ * _BARS_A_DECADE // BINS_A_DECADE, dict.fromkeys(VERDICTS, 0))
            bar[verdict] += count
    charts = "".join(
        _svg(size, "latency", "How long outcomes took", told, _draw_latency(size, bars, together)) for size in _SIZES
    )
    measures = {
        "outcomes": [f"{each.count:,}" for each in latency.values()],
        "shortest": [duration(each.shortest) for each in latency.values()],
        **{f"{p} % within": [duration(each.percentile(p)) for each in latency.values()] for p in _PERCENTILES},
        "longest": [duration(each.longest) for each in latency.values()],
    }
    table = _table(("", *latency), ((name, *figures) for name, figures in measures.items()))
    rows = (
        (f"{duration(_edge(bar))} to {duration(_edge(bar + 1))}", *(f"{bars[bar][verdict]:,}" for verdict in VERDICTS))
        for bar in sorted(bars)
    )
    body = f"{_key(latency)}{charts}{table}{_figures(('Took', *VERDICTS), rows)}"
    return _section("latency", "How long outcomes took", body, about=told)


def _edge(bar: int) -> float:
    return float(10 ** (bar / _BARS_A_DECADE))


def _draw_latency(size: _Size, bars: dict[int, dict[Verdict, int]], together: Latency) -> Iterator[str]:
    first, last = min(bars) - 1, max(bars) + 2
    missing = max(0, _BARS_A_DECADE - (last - first))  # a decade at least, so that there is something to compare with
    first, last = first - missing // 2, last + missing - missing // 2
    slot = size.plot / (last - first)
    plot = _Plot(size, max(sum(bar.values()) for bar in bars.values()), top=20 * len(_PERCENTILES), gap=14)

    def place(seconds: float) -> float:
        return size.left + (math.log10(seconds) * _BARS_A_DECADE - first) * slot

    yield from plot.grid()
    for bar, counts in sorted(bars.items()):
        when = f"{duration(_edge(bar))} to {duration(_edge(bar + 1))}"
        yield from plot.bar(place(_edge(bar)), slot, counts, when)
    for row, percent in enumerate(_PERCENTILES):
        seconds = together.percentile(percent)
        x, y = place(max(seconds, _edge(first))), 14 + row * 18
        left, anchor = (-6, "end") if x > size.width * 0.5 else (6, "start")
        yield f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 10}" y2="{size.bottom}"/>'
        text = f"{percent} % within {duration(seconds)}"
        yield f'<text class="strong" x="{x + left:.1f}" y="{y}" text-anchor="{anchor}">{text}</text>'
    for factor in (1, 5, 2):  # the first is told wherever there is room
        for power in range(first // _BARS_A_DECADE, last // _BARS_A_DECADE + 1):
            seconds = factor * 10.0**power
            if _edge(first) <= seconds <= _edge(last):
                plot.label(place(seconds), duration(seconds))
    yield from plot.labels


# Reasons, operations, items


def _reasons(reasons: list[Reason]) -> str:
    most = max(reason.count for reason in reasons)
    told = "".join(_reason(reason, most) for reason in reasons[:_REASONS])
    more = len(reasons) - _REASONS
    rest = f'<p class="quiet">and {more:,} more, with fewer items each</p>' if more > 0 else ""
    about = "Grouped by operation, status, error code and message; … stands for what differs from item to item, such as an ID."
    return _section("reasons", "Reasons", f'<ol class="reasons">{told}</ol>{rest}', about=about)


def _reason(reason: Reason, most: int) -> str:
    what = " ".join(str(part) for part in (reason.status, reason.error_code) if part is not None)
    width = max(0.5, reason.count / most * 100)
    return (
        f'<li class="{reason.verdict}"><div class="head"><div><span class="label">{reason.verdict}</span>'
        f"<strong>{_text(what)}</strong> {_text(reason.message)}</div><strong>{reason.count:,}</strong></div>"
        f'<svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{reason.verdict}" x="0" y="0" width="{width:.2f}" height="1"/></svg>'
        f"<div>{_text(advise(reason.examples[0]))}</div>"
        f'<div class="quiet">{_text(reason.operation)}, such as {_text(reason.examples[0].item.name)}</div></li>'
    )


def _operations(summary: Summary) -> str:
    by_state = {
        name: [f"{getattr(counts, state):,}" for counts in summary.operations.values()]
        for state, name in (
            ("unknown", "unknown"),
            ("refused", "refused"),
            ("accepted", "accepted"),
            ("planned", "not sent"),
        )
    }
    table = _table(("", *summary.operations), ((name, *figures) for name, figures in by_state.items()))
    return _section("operations", "By operation", table)


def _list(summary: Summary, verdict: Verdict) -> str:
    rows = "".join(map(_item, summary.listed[verdict]))
    head = '<th scope="col">Item</th><th scope="col">What came of it</th><th scope="col">Sent (UTC)</th>'
    table = f'<div class="scroll" tabindex="0"><table class="items"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    count = getattr(summary.counts, verdict)
    if count > LISTED:
        table += (
            f"<p>These are the first {LISTED:,} of {count:,}. All of them:"
            f'<code class="command">{_text(list_all(summary, verdict))}</code></p>'
        )
    if verdict == "refused":
        return _section(verdict, f"{count:,} refused", f"<details><summary>List them</summary>{table}</details>")
    about = "Sent, or about to be, and no answer says whether it was taken on. Look at the job or task itself."
    return _section(verdict, f"{count:,} unknown", table, about=about)


def _item(listed: Listed) -> str:
    item = listed.item
    where = f"project {item.project_id}{f' in {item.region}' if item.region else ''}"
    request = f'<div class="quiet">request id {_text(listed.request_id)}</div>' if listed.request_id else ""
    when = "" if listed.started_at is None else utc(listed.started_at)
    return (
        f'<tr><td>{_text(item.name)}<div class="quiet">{_text(where)}</div></td>'
        f"<td>{_text(listed.message)}{request}</td><td>{when}</td></tr>"
    )
