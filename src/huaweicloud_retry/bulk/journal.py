"""What was planned and sent, and what came of it, in an SQLite file that survives a crash at any moment.

planned ── sending ──┬── accepted     never sent again
                     ├── refused      sent again only if asked
                     └── unknown      sent again only if asked; so is `sending` of a run that was killed

An item that was unknown once and is sent again may have been processed before: only `accepted` settles that, and until
then it is unknown.

A request is written to the journal before it is sent, an outcome before it is reported; many of them share one fsync.
Each row has a checksum of all that it says, and the journal has the sum of them: a journal that is not as it was
written is refused before anything is sent. Nothing in it is secret: IDs, and what the services responded.
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
    checksum,
    connected,
    damaged_rows,
    digest,
    explained,
    is_empty,
    verified,
)
from .lock import Lock

_CHUNK: Final = (
    500  # rows that are in memory at a time, and values of a statement: SQLite once took 999 at most
)
_NAMED: Final = 3  # items that a message names
# What this run is about: the rows of its input, which need not be all of the journal.
_SEEN: Final = "CREATE TEMP TABLE seen (number INTEGER PRIMARY KEY)"
_OF_INPUT: Final = "number IN (SELECT number FROM seen)"
_INSERT: Final = (
    "INSERT INTO item (number, fields, state, may_have_run, checksum, digest) VALUES (?, ?, ?, ?, ?, ?)"
)
_CHANGED: Final = Row._fields[1:]
_UPDATE: Final = f"UPDATE item SET {' = ?, '.join(_CHANGED)} = ?, checksum = ? WHERE number = ?"  # noqa: S608 - our own SQL
Which: TypeAlias = Literal["unknown", "running"]
"""Items whose outcome is unknown; or that were accepted, and of which it is not known how they ended."""
_WHICH: Final[dict[Which, str]] = {
    "unknown": "state = 'unknown'",
    "running": "state = 'accepted' AND coalesce(ended, 'running') = 'running'",
}
_REPORTED_STATE: Final = (
    "CASE WHEN state = 'sending' OR (state = 'planned' AND may_have_run) THEN 'unknown' ELSE state END"
)


class Planned(NamedTuple):
    """An item that is to be sent."""

    number: int
    item: Item
    may_have_run: bool


class Counts(NamedTuple):
    """How many items are in which state."""

    planned: int = 0
    sending: int = 0
    accepted: int = 0
    refused: int = 0
    unknown: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


class Plan(NamedTuple):
    """What a run is about.

    Attributes:
        items: Different items of the input.
        duplicates: Rows of the input that repeat one of them; each item is sent once.
        resumed: The journal has items of an earlier run.
        before: What earlier runs left of the input, without what is new in it.
        added: Items that are new in the input since the journal was made.
        vanished: Items of the journal that the input does not have any more. They are left as they are.
        vanished_names: The first of them, with their states.
        accepted_at: Seconds since the epoch, when the last item of the input was accepted; or None.
        to_send: Items that this run sends.
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
    """One journal, open to be written. For one thread at a time.

    Args:
        file: None: a temporary one, gone at the end.
        copy_of: For a temporary one: begin with what this journal has, if it is there.

    Raises:
        JournalError: It is in use, damaged, no journal, or cannot be opened.
    """

    def __init__(self, file: Path | None, *, copy_of: Path | None = None) -> None:
        self._file = file
        self._name = file or copy_of
        self._was_there = False
        self._lock: Lock | None = None
        self._in_flight: dict[int, Row] = {}  # as they are in the file, from `planned` until they are done
        with explained(file):
            if file is not None:
                if os.path.exists(file) and not os.path.isfile(file):  # noqa: PTH110, PTH113 - Path's raise where one may not look
                    raise JournalError(f"{file} is no file: name one for the journal")
                self._lock = Lock(file)
            try:
                if file is not None:
                    self._look_at(file)
                # Absolute: of names such as ":memory:" and "file:…" SQLite would make no file.
                self._db = connected(file.absolute() if file else "", check_same_thread=False)
                self._open(copy_of)
            except BaseException:
                self.close()
                raise

    def _look_at(self, file: Path) -> None:
        self._was_there = os.path.exists(file)  # noqa: PTH110 - see above; not before it is locked
        if self._was_there and _is_left(file, self._lock is not None and self._lock.was_left):
            self._was_there = False
        if self._was_there and file.stat().st_nlink > 1:
            raise JournalError(f"{file} has another name, too (a hard link): remove one, or name a copy")

    def _open(self, copy_of: Path | None) -> None:
        # Exclusive: a second line of defence, if somebody removes the lock's file.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        # No write-ahead log, although it is quicker: all that was written is in the one file, and who moves or copies it
        # after a crash, without what stands next to it, does not lose what was accepted.
        self._db.execute("PRAGMA journal_mode = TRUNCATE")
        self._db.execute(f"PRAGMA synchronous = {'FULL' if self._file else 'OFF'}")
        self._db.execute("PRAGMA fullfsync = ON")  # for macOS, whose fsync leaves it in the cache of the disk
        original = copy_of if copy_of and os.path.exists(copy_of) else None  # noqa: PTH110 - see above
        if original and not _is_left(original, Path(f"{original}.lock").exists()):
            with JournalReader(original, may_be_empty=True) as reader:
                reader.copy_to(self._db)
            self._was_there = True
        self._db.execute(_SEEN)
        self._db.execute("BEGIN IMMEDIATE")
        if self._was_there and self._file is not None and self._lock is not None:
            # A run that was killed at its first write: SQLite has undone that by now.
            self._was_there = not _is_left(self._file, self._lock.was_left)
        if not self._was_there:
            self._db.execute(f"PRAGMA application_id = {KIND}")  # from now on the file is not empty
        self._is_new = is_empty(self._db, self._file)
        self._about = About() if self._is_new else verified(self._db, self._file)
        self._db.execute(f"PRAGMA user_version = {FORMAT}")  # fails if it cannot be written
        self._db.execute("COMMIT")
        self._identity = self._looked_up()
        self._clocks = self._about.clocks()
        self._run = 0  # none yet

    def _looked_up(self) -> tuple[int, int] | None:
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
        """Read the whole input: what the journal has keeps its state, what is new is planned.

        Args:
            items: All of them.
            target: Returns what an item is known by, however else it was given before.
            places: Called when all were read; returns what is sent where, which must be as in earlier runs.
            input_name: The name of the file that they come from.

        Raises:
            JournalError: Earlier runs sent to another place; or it cannot be written.
        """
        try:
            with self._transaction():
                if self._is_new:
                    for statement in (*TABLES, "INSERT INTO about DEFAULT VALUES"):
                        self._execute(statement)
                known = self._about.rows
                given, added = self._take(items, target)
                merged = self._merged(places())
                ((found,),) = self._execute("SELECT count(*) FROM seen")
                self._about = self._about._replace(
                    places=json.dumps(merged), input=input_name or self._about.input, duplicates=given - found
                )
                return self._plan(known, added if known else 0, given - found, found)
        except BaseException:
            self.close(remove=not self._was_there)
            raise

    def _take(self, items: Iterable[Item], target: Callable[[Item], str]) -> tuple[int, int]:
        """Add what is new, and note what is seen; returns how many were given, and how many are new."""
        ((last,),) = self._execute("SELECT coalesce(max(number), 0) FROM item")
        given, source = 0, iter(items)
        number: int = last
        while taken := list(islice(source, _CHUNK)):
            given += len(taken)
            chunk: dict[bytes, str] = {}
            for item in taken:
                chunk.setdefault(digest(target(item)), item.key)
            known = self._known(list(chunk))
            new: list[tuple[Any, ...]] = []
            total = self._about.sum
            for id_, key in chunk.items():
                if id_ not in known:
                    number += 1
                    check = checksum(row := Row(number, key, "planned"))
                    total ^= check
                    new.append((*row[:4], check, id_))
            self._execute_many(_INSERT, new)
            self._about = self._about._replace(rows=self._about.rows + len(new), sum=total)
            # What is to be sent is sent as it is first given now, such as with another enterprise project.
            changed = [(row, chunk[id_]) for id_, (row, is_seen) in known.items() if not is_seen]
            changed = [(row, key) for row, key in changed if row.state != "accepted" and row.fields != key]
            self._store((row, row._replace(fields=key)) for row, key in changed)
            seen = [row.number for row, _ in known.values()] + [row[0] for row in new]
            self._execute_many("INSERT OR IGNORE INTO seen VALUES (?)", [(each,) for each in seen])
        return given, number - last

    def _known(self, digests: list[bytes]) -> dict[bytes, tuple[Row, bool]]:
        """Return the rows that there are, and whether this input had them before."""
        marks = ",".join("?" * len(digests))
        query = SELECT.replace(" FROM", f", {_OF_INPUT}, digest FROM") + f" WHERE digest IN ({marks})"
        return {
            id_: (Row(*values), bool(is_seen)) for *values, is_seen, id_ in self._execute(query, *digests)
        }

    def _merged(self, places: Mapping[str, str]) -> dict[str, str]:
        known: dict[str, str] = json.loads(self._about.places)
        for what, place in places.items():
            if known.get(what, place) != place:
                raise JournalError(
                    f"{self._name} was sent to {known[what]} ({what}), and this run sends to {place}: "
                    "give region= and endpoint= as before, or another journal="
                )
        return {**known, **places}

    def _plan(self, known: int, added: int, duplicates: int, found: int) -> Plan:
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
        """Say of what an earlier run left in flight that its outcome is unknown, and plan again what is to be.

        Returns:
            How many items of the input are in which state, those to be sent again among the planned ones.
        """
        with self._transaction():
            self._change("state = 'sending'", Row.reported)
            self._change("state = 'planned' AND may_have_run", Row.reported)
            self._forget_clocks()
            if retry_refused:
                self._change(f"state = 'refused' AND {_OF_INPUT}", lambda row: row.with_state("planned"))
            if resend_unknown:
                self._change(
                    f"state = 'unknown' AND {_OF_INPUT}",
                    lambda row: row._replace(state="planned", may_have_run=1),
                )
            return self._counts("state")

    def _forget_clocks(self) -> None:
        """Keep the clocks of runs of which something is not known yet."""
        query = f"SELECT DISTINCT run FROM item WHERE {' OR '.join(_WHICH.values())}"  # noqa: S608 - our own SQL
        kept = {run for (run,) in self._execute(query)}
        self._clocks = {run: clock for run, clock in self._clocks.items() if run in kept}

    def _change(self, which: str, change: Callable[[Row], Row]) -> None:
        last = 0
        while rows := self._rows(which, last):
            self._store((row, change(row)) for row in rows)
            last = rows[-1].number

    def _rows(self, which: str, after: int) -> list[Row]:
        query = f"{SELECT_CHECKED} WHERE number > ? AND {which} ORDER BY number LIMIT {_CHUNK}"
        found = [(Row(*values), check) for *values, check in self._execute(query, after)]
        if damaged := [row.number for row, check in found if checksum(row) != check]:
            raise damaged_rows(self._file, damaged)  # since the journal was opened
        return [row for row, _ in found]

    def planned(self, after: int) -> list[Planned]:
        """Return the next items of the input that are planned, in its order."""
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
        """Write durably what is about to be sent, what came of it, and what was not sent after all.

        Args:
            sending: The numbers of items.
            outcomes: By number.
            unsent: The numbers of items.
            clock: What responses have said of the servers' clocks.

        Raises:
            JournalError: It cannot be written, or is not the file any more that it was.
        """
        before = self._in_flight
        now = time.time()
        self._note_clock(clock)
        after = {number: before[number].sent(now, self._run) for number in sending}
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
        """Note what is known of the clocks of this run; after the clock was set, it counts as another run."""
        now = RunClock.now()
        if self._run not in self._clocks or self._clocks[self._run].was_set(now):
            self._run = 1 + max(self._clocks, default=0)
            self._clocks[self._run] = now
        self._clocks[self._run] = self._clocks[self._run]._replace(server=server)

    def _check_identity(self) -> None:
        if self._looked_up() != self._identity or not (self._lock is None or self._lock.is_held()):
            raise JournalError(
                f"{self._file}, or its .lock, was removed or replaced while it was in use: "
                "put the journal back before the next run, or what was accepted is sent again"
            )

    # --- What became of items that were sent ---

    def clock_of(self, row: Row) -> RunClock | None:
        """Return the clock of the run that sent an item."""
        return None if row.run is None else self._clocks.get(row.run)

    def take_up(self, places: Callable[[Iterable[Item]], Mapping[str, str]]) -> None:
        """Be about all items of the journal, instead of an input.

        Args:
            places: Takes those that may be looked at; returns where they are looked at, which must be as in earlier runs.

        Raises:
            JournalError: Earlier runs sent to another place; or it cannot be written.
        """
        if self._is_new:
            raise JournalError(f"{self._name} is empty: the input was not read, and nothing was sent")
        with self._transaction():
            self._execute("INSERT OR IGNORE INTO seen SELECT number FROM item")
            self._change("state = 'sending' OR (state = 'planned' AND may_have_run)", Row.reported)
            merged = self._merged(places(row.item() for row in self._all("state IN ('accepted', 'unknown')")))
            self._about = self._about._replace(places=json.dumps(merged))

    def _all(self, which: str) -> Iterator[Row]:
        last = 0
        while rows := self._rows(which, last):
            yield from rows
            last = rows[-1].number

    def next(self, which: Which, after: int) -> list[Row]:
        """Return the next items of a kind."""
        return self._rows(f"{_WHICH[which]} AND {_OF_INPUT}", after)

    def count(self, which: Which) -> int:
        """Return how many there are of a kind."""
        ((count,),) = self._execute(f"SELECT count(*) FROM item WHERE {_WHICH[which]} AND {_OF_INPUT}")  # noqa: S608 - our own SQL
        return int(count)

    def ended(self) -> Counter[str]:
        """Count the items of the input that were accepted by how they ended; `running` if that is not known."""
        query = f"SELECT coalesce(ended, 'running'), count(*) FROM item WHERE state = 'accepted' AND {_OF_INPUT} GROUP BY 1"  # noqa: S608 - our own SQL
        return Counter(dict(self._execute(query)))

    def settle(self, changes: Sequence[tuple[Row, Row]]) -> None:
        """Write durably what was found out about items.

        Args:
            changes: Each row as it was returned, and as it is now.

        Raises:
            JournalError: As of `write`.
        """
        self._check_identity()
        with self._transaction():
            self._store(changes)

    def counts(self) -> Counts:
        """Count the items of the input by state; what is in flight, or to be sent again as unknown, is unknown."""
        return self._counts(_REPORTED_STATE)

    def _counts(self, state: str) -> Counts:
        query = f"SELECT {state}, count(*) FROM item WHERE {_OF_INPUT} GROUP BY 1"  # noqa: S608 - our own SQL
        return Counts(**dict(self._execute(query)))

    def close(self, *, remove: bool = False) -> None:
        """Close it. All that was written is durable already.

        Args:
            remove: The file, too: there is nothing in it.
        """
        with suppress(sqlite3.Error, UnicodeDecodeError, AttributeError):  # the last: it could not be opened
            try:
                self._db.rollback()
                self._db.execute(
                    "PRAGMA journal_mode = DELETE"
                )  # which is empty, and would stay next to the file
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

    # Errors of SQLite are explained here and not around a transaction, in which the caller's items are made.

    def _execute(self, statement: str, *values: Any) -> list[Any]:
        with explained(self._file):
            return self._db.execute(statement, values).fetchall()

    def _execute_many(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        with explained(self._file):
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


def _is_left(file: Path, has_lock: bool) -> bool:
    """Say whether a run was killed when it had just made the file."""
    return has_lock and not file.stat().st_size


def _with_outcome(row: Row, outcome: Outcome) -> Row:
    started_at: float = outcome.started_at
    seconds: float | None = outcome.seconds
    if outcome.verdict == "unknown" and row.may_have_run and row.started_at is not None:
        # A later look has to begin at the first attempt.
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
