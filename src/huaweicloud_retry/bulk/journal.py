"""Items and their outcomes, in an SQLite file that survives a crash at any moment.

planned ── sending ──┬── accepted     never resent
                     ├── refused      resent only on request
                     └── unknown      resent only on request; so are items that a killed run left in `sending`

An unknown item that is resent stays unknown until it is accepted: its first request may have been processed.

A request is written to the journal before it is sent, an outcome before it is reported; many writes share one
fsync. Each row has a checksum, and the journal has the sum of all checksums: a damaged journal is refused
before anything is sent. The journal holds no secrets, only IDs and responses of the services.
"""

import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self, TypeAlias

from huaweicloud_retry.runs import Clock

from .clocks import RunClock
from .items import Item, Outcome
from .journal_file import (
    FORMAT,
    KIND,
    SELECT,
    SELECT_CHECKED,
    TABLES,
    About,
    JournalError,
    JournalReader,
    Row,
    as_journal_errors,
    checksum,
    damaged_rows,
    digest,
    is_empty,
    open_database,
    verify,
)
from .lock import Lock

_CHUNK: Final = 500  # rows in memory, and values of a statement: old versions of SQLite allow 999
_NAMED: Final = 3  # items that a message names
# The rows of this run's input, which can be a part of the journal.
_SEEN: Final = "CREATE TEMP TABLE seen (number INTEGER PRIMARY KEY)"
_OF_INPUT: Final = "number IN (SELECT number FROM seen)"
_INSERT: Final = (
    "INSERT INTO item (number, fields, state, may_have_run, checksum, digest) VALUES (?, ?, ?, ?, ?, ?)"
)
_CHANGED: Final = Row._fields[1:]
_UPDATE: Final = f"UPDATE item SET {' = ?, '.join(_CHANGED)} = ?, checksum = ? WHERE number = ?"  # noqa: S608 - our own SQL
Which: TypeAlias = Literal["unknown", "running"]
"""Items with an unknown outcome, or accepted items whose end is not known."""
_WHICH: Final[dict[Which, str]] = {
    "unknown": "state = 'unknown'",
    "running": "state = 'accepted' AND coalesce(ended, 'running') = 'running'",
}
_REPORTED_STATE: Final = (
    "CASE WHEN state = 'sending' OR (state = 'planned' AND may_have_run) THEN 'unknown' ELSE state END"
)


class Planned(NamedTuple):
    """An item to send."""

    number: int
    item: Item
    may_have_run: bool


class Counts(NamedTuple):
    """Number of items in each state."""

    planned: int = 0
    sending: int = 0
    accepted: int = 0
    refused: int = 0
    unknown: int = 0

    @property
    def total(self) -> int:
        """Number of all items."""
        return sum(self)


class Plan(NamedTuple):
    """What a run will send.

    Attributes:
        items: Number of distinct items in the input.
        duplicates: Rows of the input that repeat an item; each item is sent once.
        resumed: The journal has items of an earlier run.
        before: The items of the input that the journal had before, by state.
        added: Number of items that the journal did not have before.
        vanished: Number of items in the journal that are no longer in the input. They stay unchanged.
        vanished_names: The first of them, with their states.
        accepted_at: When the last item of the input was accepted, in seconds since the epoch; or None.
        to_send: Number of items that this run sends.
    """

    items: int
    duplicates: int = 0
    resumed: bool = False
    before: Counts = Counts()
    added: int = 0
    vanished: int = 0
    vanished_names: tuple[str, ...] = ()
    accepted_at: float | None = None
    to_send: int = 0


class Journal:
    """One journal, open for writing. For one thread at a time.

    Args:
        file: The file; None: a temporary one.
        copy_of: For a temporary one: a journal to start from, if it exists.

    Raises:
        JournalError: The file is in use, damaged, not a journal, or cannot be opened.
    """

    def __init__(self, file: Path | None, *, copy_of: Path | None = None) -> None:
        self._file = file
        self._name = file or copy_of
        self._existed = False
        self._lock: Lock | None = None
        self._in_flight: dict[int, Row] = {}  # as stored, from `planned` until the outcome is written
        with as_journal_errors(file):
            if file is not None:
                if os.path.exists(file) and not os.path.isfile(file):  # noqa: PTH110, PTH113 - Path's raise without permission
                    raise JournalError(f"{file} is not a file: name one for the journal")
                self._lock = Lock(file)
            try:
                if file is not None:
                    self._check_file(file)
                # Absolute: SQLite would create no file for names such as ":memory:" and "file:…".
                self._db = open_database(file.absolute() if file else "", check_same_thread=False)
                self._open(copy_of)
            except BaseException:
                self.close()
                raise

    def _check_file(self, file: Path) -> None:
        self._existed = os.path.exists(file)  # noqa: PTH110 - see above; only once it is locked
        if self._existed and _is_unwritten(file, self._lock is not None and self._lock.was_left):
            self._existed = False
        if self._existed and file.stat().st_nlink > 1:
            raise JournalError(f"{file} has another name, too (a hard link): remove one, or name a copy")

    def _open(self, copy_of: Path | None) -> None:
        # Exclusive: still safe if the lock file is removed.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        # No write-ahead log, although it is faster: after a crash, a copy of the one file is complete.
        self._db.execute("PRAGMA journal_mode = TRUNCATE")
        self._db.execute(f"PRAGMA synchronous = {'FULL' if self._file else 'OFF'}")
        self._db.execute("PRAGMA fullfsync = ON")  # on macOS, fsync does not flush the cache of the disk
        original = copy_of if copy_of and os.path.exists(copy_of) else None  # noqa: PTH110 - see above
        if original and not _is_unwritten(original, Path(f"{original}.lock").exists()):
            with JournalReader(original, may_be_empty=True) as reader:
                reader.copy_to(self._db)
            self._existed = True
        self._db.execute(_SEEN)
        self._db.execute("BEGIN IMMEDIATE")
        if self._existed and self._file is not None and self._lock is not None:
            # SQLite has by now rolled back the first write of a killed run.
            self._existed = not _is_unwritten(self._file, self._lock.was_left)
        if not self._existed:
            self._db.execute(f"PRAGMA application_id = {KIND}")  # from now on the file is not empty
        self._is_new = is_empty(self._db, self._file)
        self._about = About() if self._is_new else verify(self._db, self._file)
        self._db.execute(f"PRAGMA user_version = {FORMAT}")  # fails if the file cannot be written
        self._db.execute("COMMIT")
        self._identity = self._file_identity()
        self._clocks = self._about.clocks()
        self._run = 0  # none yet

    def _file_identity(self) -> tuple[int, int] | None:
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def plan(
        self,
        items: Iterable[Item],
        target: Callable[[Item], str] = lambda item: item.target,
        places: Callable[[], Mapping[str, str]] = dict,
        *,
        input_name: str | None = None,
    ) -> Plan:
        """Read the whole input: new items are planned, known items keep their state.

        Args:
            items: All items.
            target: Returns the identity of an item.
            places: Called after the last item; returns the URL of each service, which must be as in earlier
                runs.
            input_name: The name of the input file.

        Raises:
            JournalError: Earlier runs sent to another URL; or the journal cannot be written.
        """
        try:
            with self._transaction():
                if self._is_new:
                    for statement in (*TABLES, "INSERT INTO about DEFAULT VALUES"):
                        self._execute(statement)
                known = self._about.rows
                given = self._read(items, target)
                added = self._about.rows - known
                merged = self._merged_places(places())
                ((found,),) = self._execute("SELECT count(*) FROM seen")
                self._about = self._about._replace(
                    places=json.dumps(merged), input=input_name or self._about.input, duplicates=given - found
                )
                return self._make_plan(known, added if known else 0, given - found, found)
        except BaseException:
            self.close(remove=not self._existed)
            raise

    def _read(self, items: Iterable[Item], target: Callable[[Item], str]) -> int:
        """Add new items, and mark all as seen; returns the number of items, duplicates included."""
        count, source = 0, iter(items)
        while chunk := list(islice(source, _CHUNK)):
            count += len(chunk)
            fields: dict[bytes, str] = {}
            for item in chunk:
                fields.setdefault(digest(target(item)), item.key)
            known = self._find(list(fields))
            new = self._insert({id_: key for id_, key in fields.items() if id_ not in known})
            changes: list[tuple[Row, Row]] = []
            for id_, (row, is_seen) in known.items():
                # Headers can differ from earlier runs: the first row of this input counts.
                if not is_seen and row.state != "accepted" and row.fields != fields[id_]:
                    changes.append((row, row._replace(fields=fields[id_])))
            self._store(changes)
            seen = [*(row.number for row, _ in known.values()), *new]
            self._execute_many("INSERT OR IGNORE INTO seen VALUES (?)", [(number,) for number in seen])
        return count

    def _find(self, digests: list[bytes]) -> dict[bytes, tuple[Row, bool]]:
        """Return the known rows by digest, and whether this input had them before."""
        marks = ",".join("?" * len(digests))
        query = SELECT.replace(" FROM", f", {_OF_INPUT}, digest FROM") + f" WHERE digest IN ({marks})"
        found = self._execute(query, *digests)
        return {id_: (Row(*values), bool(is_seen)) for *values, is_seen, id_ in found}

    def _insert(self, fields: Mapping[bytes, str]) -> list[int]:
        """Add items by digest; returns their numbers."""
        ((last,),) = self._execute("SELECT coalesce(max(number), 0) FROM item")
        rows, total = list[tuple[Any, ...]](), self._about.sum
        for number, (id_, key) in enumerate(fields.items(), start=last + 1):
            row = Row(number, key, "planned")
            check = checksum(row)
            total ^= check
            rows.append((*row[:4], check, id_))
        self._execute_many(_INSERT, rows)
        self._about = self._about._replace(rows=self._about.rows + len(rows), sum=total)
        return [row[0] for row in rows]

    def _merged_places(self, places: Mapping[str, str]) -> dict[str, str]:
        known: dict[str, str] = json.loads(self._about.places)
        for what, place in places.items():
            if known.get(what, place) != place:
                raise JournalError(
                    f"{self._name} was sent to {known[what]} ({what}), but this run sends to {place}: "
                    "give region= and endpoint= as before, or use another journal"
                )
        return {**known, **places}

    def _make_plan(self, known: int, added: int, duplicates: int, found: int) -> Plan:
        query = f"{SELECT} WHERE NOT {_OF_INPUT} ORDER BY number LIMIT {_NAMED}"
        vanished = [Row(*values).reported() for values in self._execute(query)]
        accepted = f"SELECT max(started_at + seconds) FROM item WHERE state = 'accepted' AND {_OF_INPUT}"  # noqa: S608 - our own SQL
        ((accepted_at,),) = self._execute(accepted)
        before = self._counts(_REPORTED_STATE)
        return Plan(
            items=found,
            duplicates=duplicates,
            resumed=known > 0,
            before=before._replace(planned=before.planned - added),
            added=added,
            vanished=self._about.rows - found,
            vanished_names=tuple(f"{row.item().name} ({row.state})" for row in vanished),
            accepted_at=accepted_at,
        )

    def begin(self, *, retry_refused: bool, resend_unknown: bool) -> Counts:
        """Mark items that an earlier run left in flight as unknown, and plan resends that are requested.

        Returns:
            Number of items of the input by state; items to resend are planned.
        """
        with self._transaction():
            self._change("state = 'sending'", Row.reported)
            self._change("state = 'planned' AND may_have_run", Row.reported)
            self._drop_clocks()
            if retry_refused:
                self._change(f"state = 'refused' AND {_OF_INPUT}", lambda row: row.with_state("planned"))
            if resend_unknown:
                self._change(
                    f"state = 'unknown' AND {_OF_INPUT}",
                    lambda row: row._replace(state="planned", may_have_run=1),
                )
            return self._counts("state")

    def _drop_clocks(self) -> None:
        """Keep only the clocks of runs with unknown or running items."""
        query = f"SELECT DISTINCT run FROM item WHERE {' OR '.join(_WHICH.values())}"  # noqa: S608 - our own SQL
        kept = {run for (run,) in self._execute(query)}
        self._clocks = {run: clock for run, clock in self._clocks.items() if run in kept}

    def _change(self, which: str, change: Callable[[Row], Row]) -> None:
        for rows in self._chunks(which):
            self._store((row, change(row)) for row in rows)

    def _chunks(self, which: str) -> Iterator[list[Row]]:
        last = 0
        while rows := self._rows(which, last):
            yield rows
            last = rows[-1].number

    def _rows(self, which: str, after: int) -> list[Row]:
        query = f"{SELECT_CHECKED} WHERE number > ? AND {which} ORDER BY number LIMIT {_CHUNK}"
        found = [(Row(*values), check) for *values, check in self._execute(query, after)]
        if damaged := [row.number for row, check in found if checksum(row) != check]:
            raise damaged_rows(self._file, damaged)  # damaged after the journal was opened
        return [row for row, _ in found]

    def planned(self, after: int) -> list[Planned]:
        """Return the next planned items of the input, in its order."""
        rows = self._rows(f"state = 'planned' AND {_OF_INPUT}", after)
        self._in_flight.update((row.number, row) for row in rows)
        return [Planned(row.number, row.item(), bool(row.may_have_run)) for row in rows]

    def write(
        self,
        sending: Sequence[int],
        outcomes: Sequence[tuple[int, Outcome]],
        unsent: Sequence[int] = (),
        clock: Clock | None = None,
    ) -> None:
        """Write which items will be sent, their outcomes, and which items were not sent; then call fsync.

        Args:
            sending: Numbers of items.
            outcomes: Outcomes with the numbers of their items.
            unsent: Numbers of items.
            clock: Offset of the servers' clocks, from responses.

        Raises:
            JournalError: The journal cannot be written, or its file was replaced.
        """
        before = self._in_flight
        now = time.time()
        self._note_clock(clock)
        after = {number: before[number].as_sending(now, self._run) for number in sending}
        after |= {number: _with_outcome(before[number], outcome) for number, outcome in outcomes}
        after |= {number: before[number].with_state("planned") for number in unsent}
        self._check_identity()
        with self._transaction():
            self._about = self._about._replace(runs=json.dumps(self._clocks))
            self._store((before[number], row) for number, row in after.items())
        before.update(after)
        for number in (*unsent, *(number for number, _ in outcomes)):
            del before[number]

    def _note_clock(self, server: Clock | None) -> None:
        """Store the clocks of this run; when the clock is set, a new run begins."""
        now = RunClock.now()
        if self._run not in self._clocks or self._clocks[self._run].was_set(now):
            self._run = 1 + max(self._clocks, default=0)
            self._clocks[self._run] = now
        self._clocks[self._run] = self._clocks[self._run]._replace(server=server)

    def _check_identity(self) -> None:
        if self._file_identity() != self._identity or not (self._lock is None or self._lock.is_held()):
            raise JournalError(
                f"{self._file}, or its .lock, was removed or replaced while it was in use: "
                "put the journal back before the next run, or accepted items are sent twice"
            )

    # --- For Followup ---

    def clock_of(self, row: Row) -> RunClock | None:
        """Return the clock of the run that sent an item."""
        return None if row.run is None else self._clocks.get(row.run)

    def select_all(self, places: Callable[[Iterable[Item]], Mapping[str, str]]) -> None:
        """Use all items of the journal, instead of the items of an input.

        Args:
            places: Receives accepted and unknown items; returns the URL of each service, as in earlier runs.

        Raises:
            JournalError: Earlier runs sent to another URL; or the journal cannot be written.
        """
        if self._is_new:
            raise JournalError(f"{self._name} is empty: the input was not read, and nothing was sent")
        with self._transaction():
            self._execute("INSERT OR IGNORE INTO seen SELECT number FROM item")
            self._change("state = 'sending' OR (state = 'planned' AND may_have_run)", Row.reported)
            sent = (row.item() for rows in self._chunks("state IN ('accepted', 'unknown')") for row in rows)
            self._about = self._about._replace(places=json.dumps(self._merged_places(places(sent))))

    def next_rows(self, which: Which, after: int) -> list[Row]:
        """Return the next items of a kind."""
        return self._rows(f"{_WHICH[which]} AND {_OF_INPUT}", after)

    def count(self, which: Which) -> int:
        """Return the number of items of a kind."""
        ((count,),) = self._execute(f"SELECT count(*) FROM item WHERE {_WHICH[which]} AND {_OF_INPUT}")  # noqa: S608 - our own SQL
        return int(count)

    def ended(self) -> Counter[str]:
        """Count accepted items of the input by how they ended; `running` if that is not known."""
        accepted = f"FROM item WHERE state = 'accepted' AND {_OF_INPUT}"
        query = f"SELECT coalesce(ended, 'running'), count(*) {accepted} GROUP BY 1"
        return Counter(dict(self._execute(query)))

    def update(self, changes: Sequence[tuple[Row, Row]]) -> None:
        """Write changed rows, and call fsync.

        Args:
            changes: Each row as it was read, and as it is now.

        Raises:
            JournalError: As in `write`.
        """
        self._check_identity()
        with self._transaction():
            self._store(changes)

    def counts(self) -> Counts:
        """Count the items of the input by state; items in flight, or planned to be resent, are unknown."""
        return self._counts(_REPORTED_STATE)

    def _counts(self, state: str) -> Counts:
        query = f"SELECT {state}, count(*) FROM item WHERE {_OF_INPUT} GROUP BY 1"  # noqa: S608 - our own SQL
        return Counts(**dict(self._execute(query)))

    def close(self, *, remove: bool = False) -> None:
        """Close the journal.

        Args:
            remove: Delete the file, which has no items.
        """
        with suppress(
            sqlite3.Error, UnicodeDecodeError, AttributeError
        ):  # AttributeError: it was never opened
            try:
                self._db.rollback()
                self._db.execute("PRAGMA journal_mode = DELETE")  # deletes SQLite's file next to the journal
            finally:
                self._db.close()
        if self._lock is not None and self._file is not None:
            if remove:
                self._file.unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Not around a whole transaction: errors of the caller's items are not errors of the journal.

    def _execute(self, statement: str, *values: Any) -> list[Any]:
        with as_journal_errors(self._file):
            return self._db.execute(statement, values).fetchall()

    def _execute_many(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        with as_journal_errors(self._file):
            self._db.executemany(statement, rows)

    def _store(self, changes: Iterable[tuple[Row, Row]]) -> None:
        total, rows = self._about.sum, list[tuple[Any, ...]]()
        for before, after in changes:
            check = checksum(after)
            total ^= checksum(before) ^ check
            rows.append((*after[1:], check, after.number))
        self._execute_many(_UPDATE, rows)
        self._about = self._about._replace(sum=total)

    @contextmanager
    def _transaction(self) -> Generator[None, None, None]:
        before = self._about
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            names = (*About._fields, "checksum")
            query = f"UPDATE about SET ({', '.join(names)}) = ({', '.join('?' * len(names))})"  # noqa: S608 - our own SQL
            self._execute(query, *self._about, checksum(self._about))
            self._execute("COMMIT")
        except BaseException:
            self._about = before
            with suppress(sqlite3.Error):  # a full disk has ended it already
                self._db.rollback()
            raise


def _is_unwritten(file: Path, has_lock: bool) -> bool:
    """Return whether a run was killed right after it created the file."""
    return has_lock and not file.stat().st_size


def _with_outcome(row: Row, outcome: Outcome) -> Row:
    started_at: float = outcome.started_at
    seconds: float | None = outcome.seconds
    if outcome.verdict == "unknown" and row.may_have_run and row.started_at is not None:
        # `resolve` has to look from the first attempt on.
        started_at, seconds = row.started_at, None
    return Row(
        row.number,
        row.fields,
        outcome.verdict,
        row.may_have_run,
        outcome.message,
        outcome.status,
        outcome.error_code,
        outcome.request_id,
        None if outcome.response is None else json.dumps(outcome.response),
        outcome.attempts,
        started_at,
        seconds,
        run=row.run,
    )
