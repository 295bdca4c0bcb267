"""Many retries at once, without losing or repeating one.

    items = [Item(operation="RetryEngine", project_id="…", engine_id=engine_id) for engine_id in engine_ids]
    async for outcome in Bulk(items, journal=Path("engines.journal"), region="cn-north-4"):
        print(outcome.verdict, outcome.item.name, outcome.message)

Item            one retry to be sent
Bulk            sends many: so many at a time, so many a second, and nothing twice
Followup        settles what is unknown afterwards, and waits until what was accepted has ended
Outcome         what came of one: accepted, refused or unknown
Counts          how many there are of each
Plan            what a run is about
JournalError    the journal cannot be used
"""

from .followup import Followup
from .items import Item, Outcome, Verdict
from .journal import Counts, Plan
from .journal_file import JournalError
from .runner import Bulk

__all__ = ["Bulk", "Counts", "Followup", "Item", "JournalError", "Outcome", "Plan", "Verdict"]
