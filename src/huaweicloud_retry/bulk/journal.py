"""What was intended and what came of it, in an SQLite file that survives a crash at any moment.

planned ── sending ──┬── accepted       never sent again
                     ├── refused        again only if asked
                     └── unknown        again only if asked; so is `sending` of a run that ended without a word

What was unknown once and is sent again may have run before: nothing but `accepted` makes that certain, so it is unknown until then.

An intention is durable before its request is sent, an outcome before it is reported; many of them share one fsync.
Without a file all is kept in a temporary one, so that memory does not grow with the input either. Nothing here is secret:
IDs, and what the services answered.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from .items import Item, Outcome

KIND: Final = 0x48575254  # "HWRT": PRAGMA application_id, by which a file says what it is
FORMAT: Final = 1
CUT_SHORT: Final = "under way, or about to be, when an earlier run ended"
_CHUNK: Final = 1000  # rows that are in memory at a time

_UNWRITABLE: Final = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM,
}  # fmt: skip

_SCHEMA: Final = f"""
PRAGMA application_id = {KIND};
PRAGMA user_version = {FORMAT};
CREATE TABLE input (items INTEGER, duplicates INTEGER, sha256 TEXT);
CREATE TABLE item (
    number INTEGER PRIMARY KEY,      -- in the order of the input
    fields TEXT NOT NULL,            -- of the item, as JSON
    digest BLOB NOT NULL UNIQUE,     -- of the fields: the same item is there once
    state TEXT NOT NULL DEFAULT 'planned',
    may_have_run INTEGER NOT NULL DEFAULT 0,  -- an earlier attempt, of which nobody knows
    message TEXT, status INTEGER, error_code TEXT, request_id TEXT,
    answer TEXT,                     -- JSON
    attempts INTEGER,
    started_at REAL,                 -- seconds since the epoch
    seconds REAL                     -- from then to the outcome
);
"""

TOLD_STATE: Final = "CASE WHEN state = 'sending' OR (state = 'planned' AND may_have_run) THEN 'unknown' ELSE state END"
"""SQL: the state of an item, for who is told of it when no run is under way."""


class Planned(NamedTuple):
    """An item that is to be sent."""

    number: int
    item: Item
    may_have_run: bool


class JournalError(Exception):
    """The journal cannot be used, or not be written any more. One line: which, why, and what to do."""

    unwritten: Sequence[Outcome] = ()
    """What came of items and is not in the journal, where they are `sending`: unknown to the next run."""


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


@dataclass(frozen=True, slots=True)
class Plan:
    """What the input is about."""

    items: int
    """Different ones."""
    duplicates: int
    """What stood there once more."""
    resumed: bool
    """The journal knows this input from an earlier run."""
    before: Counts
    """What earlier runs have left."""


class Journal:
    """One journal, open. For one thread at a time.

    Args:
        file: None: a temporary one, gone at the end.

    Raises:
        JournalError: it is in use, damaged, no journal, or cannot be opened.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._was_there = file is not None and os.path.exists(file)  # noqa: PTH110 - Path's raises where one may not look
        with self._explained():
            self._db = sqlite3.connect(file or "", isolation_level=None, check_same_thread=False, timeout=0)
        try:
            with self._explained():
                self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        # Exclusive: a second process is refused, and a killed one leaves nothing that would have to be cleared away.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        # No write-ahead log, although it is quicker: all that was written is in the one file, and who moves or copies it after
        # a crash, without what stands beside it, does not lose what was accepted.
        self._db.execute("PRAGMA journal_mode = TRUNCATE")
        self._db.execute(f"PRAGMA synchronous = {'FULL' if self._file else 'OFF'}")
        self._db.execute("PRAGMA fullfsync = ON")  # for macOS, whose fsync leaves it in the cache of the disk
        self._db.execute("BEGIN IMMEDIATE")
        (kind,), (format_,) = (self._db.execute(f"PRAGMA {p}").fetchone() for p in ("application_id", "user_version"))
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        self._is_new = kind == 0 and not tables  # so is one whose first process was killed before it had planned all
        if not self._is_new:
            if kind != KIND:
                raise JournalError(f"{self._file} is a database, but no journal: give another --journal")
            if format_ != FORMAT:
                raise JournalError(f"{self._file} was written by another version: give another --journal")
            (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(" ".join(found.split()))
            self._db.execute(f"PRAGMA user_version = {FORMAT}")  # says at once if it cannot be written
        self._db.execute("COMMIT")
        self._identity = self._looked_up()

    def _looked_up(self) -> tuple[int, int] | None:
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def plan(self, items: Iterable[Item]) -> Plan:
        """Take in the whole input, or find that it is the one that this journal has.

        Raises:
            JournalError: it is another one, or cannot be written.
        """
        try:
            with self._explained():
                return self._take(items) if self._is_new else self._compare(items)
        except BaseException:
            self.close()
            if self._file is not None and not self._was_there:
                self._file.unlink(missing_ok=True)
            raise

    def _take(self, items: Iterable[Item]) -> Plan:
        whole, given, rows = hashlib.sha256(), 0, _rows(items)
        self._db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";\n"):
            self._db.execute(statement)
        while chunk := list(islice(rows, _CHUNK)):
            given += len(chunk)
            for _, digest in chunk:
                whole.update(digest)
            self._db.executemany("INSERT OR IGNORE INTO item (fields, digest) VALUES (?, ?)", chunk)
        (taken,) = self._db.execute("SELECT count(*) FROM item").fetchone()
        self._db.execute("INSERT INTO input VALUES (?, ?, ?)", (taken, given - taken, whole.hexdigest()))
        self._db.execute("COMMIT")
        return Plan(taken, given - taken, resumed=False, before=self._counts(TOLD_STATE))

    def _compare(self, items: Iterable[Item]) -> Plan:
        whole = hashlib.sha256()
        for _, digest in _rows(items):
            whole.update(digest)
        taken, duplicates, known = self._db.execute("SELECT items, duplicates, sha256 FROM input").fetchone()
        if whole.hexdigest() != known:
            raise JournalError(f"{self._file} is the journal of another input ({taken} items): give another --journal")
        return Plan(taken, duplicates, resumed=True, before=self._counts(TOLD_STATE))

    def begin(self, *, retry_refused: bool, resend_unknown: bool) -> Counts:
        """Say of what an earlier run left under way that its outcome is unknown, and plan again what is to be.

        Returns:
            How many items are in which state, those to be sent again among the planned ones.
        """
        with self._transaction():
            self._db.execute(
                # Without what is left of an earlier outcome, if it was sent again after that.
                "UPDATE item SET state = 'unknown', message = ?, status = NULL, error_code = NULL, request_id = NULL, "
                "answer = NULL, attempts = NULL, started_at = NULL, seconds = NULL WHERE state = 'sending'",
                (CUT_SHORT,),
            )
            self._db.execute("UPDATE item SET state = 'unknown' WHERE state = 'planned' AND may_have_run")
            if retry_refused:
                self._db.execute("UPDATE item SET state = 'planned' WHERE state = 'refused'")
            if resend_unknown:
                self._db.execute("UPDATE item SET state = 'planned', may_have_run = 1 WHERE state = 'unknown'")
            return self._counts("state")

    def planned(self, after: int) -> list[Planned]:
        """Return the next items that are planned, in the order of the input."""
        query = "SELECT number, fields, may_have_run FROM item WHERE number > ? AND state = 'planned' ORDER BY number LIMIT ?"
        with self._explained():
            rows = self._db.execute(query, (after, _CHUNK)).fetchall()
        return [Planned(number, _item(text), bool(may_have_run)) for number, text, may_have_run in rows]

    def write(
        self, sending: Sequence[int], outcomes: Sequence[tuple[int, Outcome]], unsent: Sequence[int] = ()
    ) -> None:
        """Write down, durably, what is about to be sent, what came of it, and what was not sent after all."""
        rows = [
            (
                *(o.verdict, o.message, o.status, o.error_code, o.request_id, o.answer and json.dumps(o.answer)),
                *(o.attempts, o.started_at, o.seconds, number),
            )
            for number, o in outcomes
        ]
        if self._looked_up() != self._identity:
            raise JournalError(f"{self._file} was removed, or another put in its place, while it was in use")
        with self._transaction():
            self._db.executemany("UPDATE item SET state = 'sending' WHERE number = ?", [(n,) for n in sending])
            self._db.executemany(
                "UPDATE item SET state = ?, message = ?, status = ?, error_code = ?, request_id = ?, answer = ?, "
                "attempts = ?, started_at = ?, seconds = ? WHERE number = ?",
                rows,
            )
            self._db.executemany("UPDATE item SET state = 'planned' WHERE number = ?", [(n,) for n in unsent])

    def counts(self) -> Counts:
        """Count the items by state; what is under way, or to be sent again because it is unknown, is unknown."""
        with self._explained():
            return self._counts(TOLD_STATE)

    def _counts(self, state: str) -> Counts:
        return Counts(**dict(self._db.execute(f"SELECT {state}, count(*) FROM item GROUP BY 1")))  # noqa: S608 - our own SQL

    def close(self) -> None:
        """Close it. All that was written is durable already."""
        with suppress(sqlite3.Error):
            self._db.rollback()
            self._db.execute("PRAGMA journal_mode = DELETE")  # which is empty, and would stay beside the file
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Generator[None, None, None]:
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Generator[None, None, None]:
        """Say of SQLite's errors what they mean here."""
        try:
            yield
        except sqlite3.Error as error:
            name = self._file or "the temporary journal"
            code = getattr(error, "sqlite_errorcode", None)
            primary = code & 0xFF if code is not None else None  # the rest tells details
            if primary == sqlite3.SQLITE_BUSY:
                raise JournalError(f"{name} is in use by another process") from error
            if primary in _UNWRITABLE:
                hint = "is there room on the disk, and may this user write to the folder?"
                raise JournalError(f"{name} cannot be written: {error}; {hint}") from error
            raise JournalError(
                f"{name} is damaged, or no journal: {error}; keep it to look at, and give another --journal"
            ) from error


def _rows(items: Iterable[Item]) -> Iterator[tuple[str, bytes]]:
    for item in items:
        key = item.key
        yield key, hashlib.blake2b(key.encode(), digest_size=16).digest()


def _item(text: str) -> Item:
    given: dict[str, Any] = json.loads(text)
    return Item(**given)
