"""A journal's summary as one JSON object, with all items of each reason, in bounded memory."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any

from huaweicloud_retry.bulk.items import rfc3339
from huaweicloud_retry.bulk.journal import Counts
from huaweicloud_retry.bulk.journal_file import JournalError
from huaweicloud_retry.bulk.report import Latency, Reason, Summary, other_reasons, reason_key

from .advice import advise
from .wording import ENDED, PERCENTILES, sentence


def pieces(summary: Summary, items: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the text of the object in parts. Each reason has all its items, in the form of `Outcome.to_dict`.

    The items are sorted in a temporary file, since there can be a million of them.

    Args:
        summary: Summary of the journal.
        items: All refused and unknown items.

    Raises:
        JournalError: The temporary file cannot be written.
    """
    numbers = {reason.key: number for number, reason in enumerate(summary.reasons)}
    try:
        with closing(sqlite3.connect("")) as db:
            db.execute("CREATE TABLE item (reason INTEGER, text TEXT)")
            rows = ((_number(each, numbers), json.dumps(each)) for each in items)
            db.executemany("INSERT INTO item VALUES (?, ?)", rows)
            db.execute("CREATE INDEX by_reason ON item (reason)")
            yield json.dumps(_totals(summary), indent=2).removesuffix("\n}") + ',\n  "reasons": ['
            for number, reason in enumerate(summary.reasons):
                yield f'{"," * bool(number)}\n    {json.dumps(_reason(reason)).removesuffix("}")}, "items": ['
                texts = db.execute("SELECT text FROM item WHERE reason = ? ORDER BY rowid", (number,))
                yield from (f"{',' * bool(place)}\n      {text}" for place, (text,) in enumerate(texts))
                yield "]}"
            yield "]\n}\n"
    except sqlite3.Error as error:
        raise JournalError(f"the items cannot be sorted by reason in a temporary file: {error}") from error


def _number(item: dict[str, Any], numbers: dict[Any, int]) -> int:
    key = reason_key(item["verdict"], item, item["message"], item["status"], item["error_code"])
    return numbers[key if key in numbers else other_reasons(key)]


def _totals(summary: Summary) -> dict[str, Any]:
    return {
        "journal": str(summary.file),
        "summary": sentence(summary),
        "items": summary.counts.total,
        "duplicates": summary.duplicates,
        **_counts(summary.counts),
        **_ended(summary.all_ended),
        "resent": summary.resent,
        "started_at": None if summary.started_at is None else rfc3339(summary.started_at),
        "ended_at": None if summary.ended_at is None else rfc3339(summary.ended_at),
        "operations": {
            name: _counts(counts) | _ended(summary.ended.get(name))
            for name, counts in summary.operations.items()
        },
        "seconds": {verdict: _seconds(each) for verdict, each in summary.latency.items()},
    }


def _counts(counts: Counts) -> dict[str, int]:
    return {state: getattr(counts, state) for state in ("accepted", "refused", "unknown", "planned")}


def _ended(ended: Mapping[str, int] | None) -> dict[str, dict[str, int]]:
    """Return how the work ended, if it was followed."""
    return {"ended": {each: ended.get(each, 0) for each in ENDED}} if ended else {}


def _seconds(latency: Latency) -> dict[str, float]:
    exact = {
        "shortest": latency.shortest,
        "mean": latency.total / latency.count,
        **{f"p{percent}": latency.percentile(percent) for percent in PERCENTILES},
        "longest": latency.longest,
    }
    return {name: round(seconds, 6) for name, seconds in exact.items()}


def _reason(reason: Reason) -> dict[str, Any]:
    parts = dict(zip(("verdict", "operation", "status", "error_code", "message"), reason.key, strict=True))
    return {**parts, "count": reason.count, "advice": advise(reason.examples[0])}
