"""Send many retries. None is lost, none is sent twice.

    items = [Item(operation="RetryEngine", project_id="…", engine_id=engine_id) for engine_id in engine_ids]
    async for outcome in Bulk(items, journal=Path("engines.journal"), region="cn-north-4"):
        print(outcome.verdict, outcome.item.name, outcome.message)

Item            one retry
Bulk            sends many, with limits for concurrency and rate
Followup        resolves unknown outcomes afterwards, and waits for the end of accepted work
Outcome         the result of one item: accepted, refused or unknown
Counts          number of items in each state
Plan            what a run will send
JournalError    the journal cannot be used
"""

from .followup import Followup
from .items import Item, Outcome, Verdict
from .journal import Counts, Plan
from .journal_file import JournalError
from .runner import Bulk

__all__ = ["Bulk", "Counts", "Followup", "Item", "JournalError", "Outcome", "Plan", "Verdict"]
