"""The summary of a journal as one HTML file with SVG charts, without scripts and external resources.

All foreign text is escaped: IDs of the user, messages of services and proxies.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from string import Template
from typing import Final

from huaweicloud_retry.bulk import Outcome
from huaweicloud_retry.bulk.report import VERDICTS, Latency, Reason, Summary, without_request_id
from huaweicloud_retry.runtime.redaction import one_line
from huaweicloud_retry_client import __version__

from .advice import advise
from .report_charts import bar_name, draw_latency, draw_time, latency_bars, svg
from .wording import (
    ENDINGS,
    LATENCIES,
    OPERATIONS,
    duration,
    endings,
    latencies,
    list_all,
    operations,
    sentence,
    steps,
    utc,
)

_MEANS: Final = {
    "unknown": "may have been processed",
    "refused": "not processed",
    "accepted": "accepted by the service",
    "planned": "not sent yet",
}
_REASONS: Final = 25  # that are shown
_LONGEST: Final = 1200  # characters of a text


def page(summary: Summary, made_at: float) -> str:
    """Return the page.

    Args:
        summary: Summary of the journal.
        made_at: Time of the report, in seconds since the epoch.
    """
    own = resources.files(__package__ or __name__)
    style = (own / "report.css").read_text(encoding="utf-8")
    about = ["1 item" if summary.counts.total == 1 else f"{summary.counts.total:,} items"]
    if summary.duplicates:
        about.append(f"{summary.duplicates:,} duplicates, sent once")
    if summary.started_at is not None and summary.ended_at is not None:
        took = duration(summary.ended_at - summary.started_at)
        about.append(f"from {utc(summary.started_at)} to {utc(summary.ended_at)}, {took}")
    if summary.resent:
        about.append(f"{summary.resent:,} with more than one attempt")
    return Template((own / "report.html").read_text(encoding="utf-8")).substitute(
        style=style,
        hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        title=_text(f"{sentence(summary)} {summary.file.name}"),
        sentence=_text(sentence(summary)),
        about=_text("; ".join(about)),
        main="\n".join(_sections(summary)),
        foot=_text(f"Journal {summary.file}. Times are UTC. hwc-retry {__version__}, {utc(made_at)}."),
    )


def _text(text: str) -> str:
    return html.escape(one_line(text, _LONGEST))


def _sections(summary: Summary) -> Iterator[str]:
    yield _steps(summary)
    yield _tiles(summary)
    if summary.timeline:
        yield _over_time(summary)
    if summary.reasons:
        yield _reasons(summary)
    if summary.latency:
        yield _latencies(summary)
    if summary.ended:
        yield _section("endings", "Results of the accepted work", _table(ENDINGS, endings(summary)))
    if len(summary.operations) > 1:
        yield _section("operations", "By operation", _table(OPERATIONS, operations(summary)))


def _steps(summary: Summary) -> str:
    listed = ""
    for step in steps(summary):
        command = f"<code>{_text(step.command)}</code>" if step.command else ""
        listed += f"<li>{_text(step.text)}{command}</li>"
    alarm = " alarm" if summary.counts.unknown else ""
    return f'<ul class="steps{alarm}" aria-label="What to do next">{listed}</ul>'


def _tiles(summary: Summary) -> str:
    tiles: list[str] = []
    for name, means in _MEANS.items():
        count = getattr(summary.counts, name)
        which = ': <a href="#reasons">which</a>' if count and name in {"unknown", "refused"} else ""
        if count or name != "planned":
            some = " some" if count else ""
            tiles.append(
                f'<div class="tile {name}{some}">'
                f"<dt>{name.replace('planned', 'not sent').capitalize()}</dt><dd><strong>{count:,}</strong> "
                f'<span class="quiet percent">{_percent(count, summary.counts.total)}</span>'
                f'<div class="quiet">{means}{which}</div></dd></div>'
            )
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def _percent(count: int, total: int) -> str:
    percent = count / total * 100 if total else 0.0
    if count and (percent < 0.1 or (count < total and percent > 99.9)):  # noqa: PLR2004 - not 0 or 100
        return "under 0.1 %" if percent < 1 else "over 99.9 %"
    return f"{percent:.1f} %"


def _section(name: str, title: str, body: str, *, about: str = "") -> str:
    shown = f'<p class="quiet">{_text(about)}</p>' if about else ""
    return f'<section id="{name}"><h2>{_text(title)}</h2>{shown}{body}</section>'


def _key(verdicts: Iterable[str]) -> str:
    listed = "".join(f'<li class="{verdict}">{verdict}</li>' for verdict in verdicts)
    return f'<ul class="key">{listed}</ul>'


def _figures(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return f"<details><summary>The figures</summary>{_table(head, rows)}</details>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the first column is the header of each row."""
    top = "".join(f'<th scope="col">{_text(name)}</th>' for name in head[1:])
    body = ""
    for name, *figures in rows:
        cells = "".join(f"<td>{_text(figure)}</td>" for figure in figures)
        body += f'<tr><th scope="row">{_text(name)}</th>{cells}</tr>'
    return (
        '<div class="scroll" tabindex="0"><table class="figures">'
        f"<thead><tr><td>{_text(head[0])}</td>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _over_time(summary: Summary) -> str:
    title, width = "Outcomes over time", summary.width
    verdicts = [verdict for verdict in VERDICTS if verdict in summary.latency]
    about = f"Number of outcomes per {duration(width)}; times are UTC."
    about += " ◆ marks unknown outcomes." if "unknown" in verdicts else ""
    about += " A dotted line is a pause." if len(summary.timeline) > 1 else ""
    rows = (
        (utc(start + number * width, exact=width < 1), *(f"{bucket[verdict]:,}" for verdict in VERDICTS))
        for start, buckets in summary.timeline
        for number, bucket in enumerate(buckets)
        if bucket
    )
    chart = svg("time", title, about, lambda size: draw_time(size, summary.timeline, width))
    return _section("time", title, _key(verdicts) + chart + _figures(("From", *VERDICTS), rows), about=about)


def _latencies(summary: Summary) -> str:
    title, latency = "Latency", summary.latency
    bars, together = latency_bars(latency), Latency.together(latency.values())
    half, most = duration(together.percentile(50)), duration(together.percentile(99))
    about = (
        "From the first attempt to the outcome, including backoffs and resends. "
        f"Half took up to {half}, 99 % up to {most}."
    )
    rows = ((bar_name(bar), *(f"{bars[bar][verdict]:,}" for verdict in VERDICTS)) for bar in sorted(bars))
    chart = _key(latency) + svg("latency", title, about, lambda size: draw_latency(size, bars, together))
    figures = _table(LATENCIES, latencies(summary)) + _figures(("Took", *VERDICTS), rows)
    return _section("latency", title, chart + figures, about=about)


def _reasons(summary: Summary) -> str:
    most = max(reason.count for reason in summary.reasons)
    listed = "".join(_reason(summary, reason, most) for reason in summary.reasons[:_REASONS])
    more = len(summary.reasons) - _REASONS
    rest = f'<p class="quiet">{more:,} more reasons, with fewer items each.</p>' if more > 0 else ""
    about = "Why items are unknown or refused, by operation, status, error code and message. … replaces IDs."
    return _section("reasons", "Reasons", f'<ol class="reasons">{listed}</ol>{rest}', about=about)


def _reason(summary: Summary, reason: Reason, most: int) -> str:
    what = " ".join(str(part) for part in (reason.status, reason.error_code) if part is not None)
    width = max(0.5, reason.count / most * 100)
    is_open = " open" if reason.verdict == "unknown" else ""
    rest = ""
    if reason.count > len(reason.examples):
        all_ = f'<code class="command">{_text(list_all(summary, reason.verdict))}</code>'
        rest = f"<p>The first {len(reason.examples):,} of {reason.count:,}. All:{all_}</p>"
    return (
        f'<li class="{reason.verdict}"><div class="head"><div><span class="label">{reason.verdict}</span>'
        f"<strong>{_text(what)}</strong> {_text(reason.message)}</div><strong>{reason.count:,}</strong></div>"
        '<svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{reason.verdict}" x="0" y="0" width="{width:.2f}" height="1"/></svg>'
        f"<div>{_text(advise(reason.examples[0]))}</div>"
        f"<details{is_open}><summary>Items of {_text(reason.operation)}</summary>"
        '<div class="scroll" tabindex="0"><table class="items"><thead><tr><th scope="col">Item</th>'
        '<th scope="col">Result</th><th scope="col">Sent</th></tr></thead>'
        f"<tbody>{''.join(map(_item, reason.examples))}</tbody></table></div>{rest}</details></li>"
    )


def _item(outcome: Outcome) -> str:
    item = outcome.item
    where = f"project {item.project_id} in {item.region}" if item.region else f"project {item.project_id}"
    request = f'<div class="quiet">request id {_text(outcome.request_id)}</div>' if outcome.request_id else ""
    return (
        f'<tr><td>{_text(item.name)}<div class="quiet">{_text(where)}</div></td>'
        f"<td>{_text(without_request_id(outcome.message))}{request}</td>"
        f"<td>{utc(outcome.started_at) if outcome.started_at else ''}</td></tr>"
    )
