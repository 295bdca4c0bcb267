"""Outcomes as CSV: opens in a spreadsheet, and is an input of `hwc-retry bulk` again."""

import csv
import io
from collections.abc import Mapping
from typing import Any, Final

from huaweicloud_retry.runtime.redaction import one_line

COLUMNS: Final = (
    *("verdict", "operation", "project_id", "region", "engine_id", "record_id", "task_id"),
    *("enterprise_project_id", "message", "status", "error_code", "request_id"),
    *("attempts", "started_at", "seconds", "seen", "ended"),
)
CSV_HEADER: Final = f"{','.join(COLUMNS)}\n"
_OF_SERVERS: Final = frozenset({"message", "error_code", "request_id", "seen"})
_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # full-width ones, too


def csv_row(told: Mapping[str, Any]) -> str:
    """Return one line, with its end, of what `Outcome.to_dict` has.

    A spreadsheet takes text that begins with = + - or @ for a formula; an apostrophe before it marks it as
    text. Only what servers send gets one: IDs are read again by `hwc-retry bulk`.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(_cell(name, told.get(name)) for name in COLUMNS)
    return line.getvalue()


def _cell(name: str, value: Any) -> Any:
    if name == "seconds" and value is not None:
        return round(value, 3)
    if name in _OF_SERVERS and value is not None:
        text = one_line(value, len(value))  # without tabs and line ends, which could begin a formula or a row
        return f"'{text}" if text.startswith(_FORMULA) else text
    return value
