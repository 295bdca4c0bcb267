"""Retry the failed work that a CSV file lists: `python bulk_retry.py failed.csv`."""

import asyncio
import csv
import os
import sys
from pathlib import Path

from huaweicloud_retry.bulk import Bulk, Counts, Item


async def retry_all(table: Path) -> Counts:
    """Retry each line once, however often this runs with the same journal; return the counts."""
    project = os.environ["HW_PROJECT_ID"]
    with table.open(encoding="utf-8", newline="") as lines:
        items = [
            Item(
                operation="RetryEngine" if line["engine_id"] else "RetryScriptExecution",
                project_id=project,
                engine_id=line["engine_id"] or None,
                record_id=line["record_id"] or None,
            )
            for line in csv.DictReader(lines)
        ]
    bulk = Bulk(items, journal=table.with_suffix(".journal"), rate=50.0)
    async for outcome in bulk:
        print(outcome.verdict, outcome.item.name, outcome.message)
    if bulk.halted:
        print("not all was sent:", bulk.halted, file=sys.stderr)
    return bulk.counts


if __name__ == "__main__":
    print(asyncio.run(retry_all(Path(sys.argv[1]))))
