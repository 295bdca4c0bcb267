"""Outcomes as CSV, for spreadsheets and as input of `hwc-retry bulk`."""

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
_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also full-width


def csv_row(outcome: Mapping[str, Any]) -> str:
    """Return a line, with its end, for the result of `Outcome.to_dict`.

    Spreadsheets read text that begins with = + - or @ as a formula; an apostrophe in front prevents that.
    Only texts of servers get one, not IDs, which `hwc-retry bulk` must read unchanged.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(_cell(name, outcome.get(name)) for name in COLUMNS)
    return line.getvalue()


def _cell(name: str, value: Any) -> Any:
    if name == "seconds" and value is not None:
        return round(value, 3)
    if name in _OF_SERVERS and value is not None:
        text = one_line(value, len(value))  # tabs and line breaks could begin a formula or a row
        return f"'{text}" if text.startswith(_FORMULA) else text
    return value
