"""The file of a journal: its tables, its integrity checks, and a reader.

with JournalReader(Path("engines.journal")) as journal:
    for item in journal.items(): ...
"""

import errno
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple, Self

from huaweicloud_retry.runs import Clock
from huaweicloud_retry.runtime.redaction import one_line

from .clocks import RunClock
from .items import Item, Outcome, Verdict, rfc3339
from .lock import InUseError, Lock

KIND: Final = 0x48575254  # "HWRT": PRAGMA application_id, which marks a file as a journal
FORMAT: Final = 3
CUT_SHORT: Final = "in flight, or about to be, when an earlier run ended"
_VERDICTS: Final[dict[str, Verdict]] = {"accepted": "accepted", "refused": "refused", "unknown": "unknown"}
_NAMED: Final = 10  # damaged rows that a message names
_KEEP: Final = (
    "Nothing was sent. A new journal or an older copy may send items twice: check their jobs and tasks first"
)
_UNWRITABLE: Final = {
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM),
}

# SQLite keeps these texts, and a journal is compared with them: a change, also of a comment, is a new format.
TABLES: Final = (
    """CREATE TABLE about (
    places TEXT,                     -- JSON: what the items are sent to
    input TEXT,                      -- the name of the file that they came from
    duplicates INTEGER,              -- rows of the input that repeat an item
    runs TEXT,                       -- JSON: by number, the clock of each run of which \
something is not known yet
    rows INTEGER,                    -- of `item`
    sum INTEGER,                     -- exclusive or of their checksums
    checksum INTEGER                 -- of all above
)""",
    """CREATE TABLE item (
    number INTEGER PRIMARY KEY,      -- in the order of the input, with gaps for duplicates
    fields TEXT,                     -- of the item, as JSON
    state TEXT,
    may_have_run INTEGER,            -- an earlier attempt, of which nobody knows
    message TEXT,
    status INTEGER,
    error_code TEXT,
    request_id TEXT,
    response TEXT,                   -- JSON
    attempts INTEGER,
    started_at REAL,                 -- seconds since the epoch; of `sending` when that was written
    seconds REAL,                    -- from then to the outcome
    seen TEXT,                       -- what a later look at the service showed
    run INTEGER,                     -- by whose clock started_at is
    ended TEXT,                      -- how the work ended: succeeded or failed; \
running when it was looked at last
    checksum INTEGER,                -- of all above
    digest BLOB UNIQUE               -- of what is retried, and where: by it an item is found
)""",
)


class JournalError(Exception):
    """The journal cannot be used, or can no longer be written. One line: which file, why, and what to do."""

    unwritten: "tuple[Outcome, ...]" = ()
    """Outcomes that the journal lacks. Their items are `sending` there, and `unknown` in the next run."""


class About(NamedTuple):
    """The metadata of a journal."""

    places: str = "{}"
    input: str | None = None
    duplicates: int = 0
    runs: str = "{}"
    rows: int = 0
    sum: int = 0

    def clocks(self) -> dict[int, RunClock]:
        """Return the clock of each run by its number."""
        given: dict[str, tuple[str | None, float, tuple[float, float] | None]] = json.loads(self.runs)
        return {
            int(number): RunClock(boot, offset, None if server is None else Clock(*server))
            for number, (boot, offset, server) in given.items()
        }


class Row(NamedTuple):
    """An item of a journal, and its outcome."""

    number: int
    fields: str
    state: str
    may_have_run: int = 0
    message: str | None = None
    status: int | None = None
    error_code: str | None = None
    request_id: str | None = None
    response: str | None = None
    attempts: int | None = None
    started_at: float | None = None
    seconds: float | None = None
    seen: str | None = None
    run: int | None = None
    ended: str | None = None

    def item(self) -> Item:
        """Return the item."""
        given: dict[str, Any] = json.loads(self.fields)
        return Item(**given)

    def outcome(self) -> Outcome:
        """Return the outcome. `refused` if the item was found not run, and so is planned again."""
        return Outcome(
            item=self.item(),
            verdict=_VERDICTS.get(self.state, "refused"),
            message=self.message or self.seen or "",
            status=self.status,
            error_code=self.error_code,
            request_id=self.request_id,
            response=json.loads(self.response) if self.response else None,
            attempts=self.attempts or 0,
            started_at=self.started_at or 0.0,
            seconds=self.seconds or 0.0,
            seen=self.seen,
            ended=self.ended,
        )

    def with_state(self, state: str) -> "Row":
        """Return the row in another state."""
        return Row(self.number, self.fields, state, *self[3:])

    def reported(self) -> "Row":
        """Return the row in its state between runs: accepted, refused, unknown or planned."""
        if self.state == "sending":
            unknown = Row(self.number, self.fields, "unknown", message=CUT_SHORT)
            return unknown._replace(started_at=self.started_at, run=self.run)
        if self.state == "planned":  # the other fields are of an earlier attempt
            return self.with_state("unknown") if self.may_have_run else self.as_planned(self.seen)
        return self

    def as_planned(self, seen: str | None) -> "Row":
        """Return the row as planned, without the traces of earlier attempts."""
        return Row(self.number, self.fields, "planned", seen=seen)

    def as_sending(self, now: float, run: int) -> "Row":
        """Return the row as about to be sent. If an earlier attempt may have run, its start time is kept."""
        if self.may_have_run and self.started_at is not None:
            return self.with_state("sending")
        return self._replace(state="sending", started_at=now, run=run)


SELECT: Final = f"SELECT {', '.join(Row._fields)} FROM item"  # noqa: S608 - our own SQL
SELECT_CHECKED: Final = SELECT.replace(" FROM", ", checksum FROM")


def checksum(values: tuple[Any, ...]) -> int:
    """Return a 64-bit checksum of the values and their types."""
    hashed = hashlib.blake2b(ascii(tuple(values)).encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "big", signed=True)  # SQLite's integers are signed


def digest(target: str) -> bytes:
    """Return the key by which an item is found."""
    return hashlib.blake2b(target.encode(), digest_size=16).digest()


def open_database(database: Path | str, **settings: Any) -> sqlite3.Connection:
    """Open a database. Damaged text can be read; its checksum reveals it."""
    db: sqlite3.Connection = sqlite3.connect(database, isolation_level=None, timeout=0, **settings)
    db.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
    return db


def is_empty(db: sqlite3.Connection, file: Path | None) -> bool:
    """Return whether a journal has no tables yet: its run was killed while it read the input.

    Raises:
        JournalError: The file is no journal, or has another format.
    """
    (kind,), (format_,) = (
        db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if kind == KIND and not tables:
        return True
    if kind == 0 and not tables:
        raise JournalError(f"{file} is empty, not a journal: remove it if nothing was sent with it")
    if kind != KIND:
        raise JournalError(f"{file} is a database, but not a journal: name another file")
    if format_ != FORMAT:
        raise JournalError(
            f"{file} has format {format_} and this version reads {FORMAT}: use the version that wrote it"
        )
    return False


def verify(db: sqlite3.Connection, file: Path | None) -> About:
    """Check all checksums of a journal; returns its metadata.

    Raises:
        JournalError: The journal is damaged; the text names the rows.
        sqlite3.Error: SQLite found damage.
    """
    (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()  # covers the index of the digests
    if found != "ok":
        raise sqlite3.DatabaseError(found)
    query = "SELECT sql FROM sqlite_master WHERE type <> 'index' ORDER BY rowid"
    tables = [sql for (sql,) in db.execute(query)]
    about = db.execute("SELECT * FROM about").fetchall() if tables == list(TABLES) else []
    if len(about) != 1 or checksum(about[0][:-1]) != about[0][-1]:
        raise JournalError(f"{file} is damaged: its metadata does not match its checksum. {_KEEP}")
    damaged: list[int] = []
    count = total = 0
    for *values, check in db.execute(SELECT_CHECKED):
        if checksum(tuple(values)) != check:
            damaged.append(values[0])
        else:
            count, total = count + 1, total ^ check
    metadata = About(*about[0][:-1])
    if damaged:
        raise damaged_rows(file, damaged)
    if (count, total) != (metadata.rows, metadata.sum):
        raise JournalError(
            f"{file} is damaged: some of its rows are missing, or older than the others. {_KEEP}"
        )
    return metadata


def damaged_rows(file: Path | None, numbers: list[int]) -> JournalError:
    """Return the error that names the damaged rows."""
    more = f" and {len(numbers) - _NAMED:,} more" if numbers[_NAMED:] else ""
    named = ", ".join(map(str, numbers[:_NAMED]))
    return JournalError(f"{file} is damaged: rows that do not match their checksums: {named}{more}. {_KEEP}")


@contextmanager
def as_journal_errors(file: Path | None, *, reading: bool = False) -> Generator[None, None, None]:
    """Turn errors of SQLite and of the system into a `JournalError`."""
    name = file or "the temporary journal"
    try:
        yield
    except InUseError as error:
        raise JournalError(f"{name} is in use by another run or report") from error
    # UnicodeDecodeError: an error text of SQLite can quote damaged text.
    except (sqlite3.Error, UnicodeDecodeError) as error:
        code: int | None = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary == sqlite3.SQLITE_BUSY:
            raise JournalError(f"{name} is in use by another run or report") from error
        if primary in _UNWRITABLE and not reading:
            hint = "is there room on the disk, and may this user write to the folder?"
            raise JournalError(f"{name} cannot be written: {error}; {hint}") from error
        is_input = os.path.isfile(f"{name}.journal")  # noqa: PTH113 - Path's raises if a name is too long
        hint = f"; did you mean {name}.journal?" if is_input else "."
        raise JournalError(
            f"{name} is damaged, or not a journal: {one_line(str(error))}{hint} {_KEEP}"
        ) from error
    except OSError as error:
        what, which = "read" if reading else "written", f": {error.filename}" if error.filename else ""
        hint = "is it on a local disk?"
        raise JournalError(f"{name} cannot be {what}: {error.strerror}{which}; {hint}") from error


class JournalReader:
    """A journal, open for reading while no run uses it. Changes no file.

    Args:
        file: The journal.
        may_be_empty: Accept a journal whose input was not read yet.

    Attributes:
        file: The journal.
        about: Its metadata.

    Raises:
        JournalError: The file is in use, damaged, not a journal, or cannot be read.
    """

    about = About()

    def __init__(self, file: Path, *, may_be_empty: bool = False) -> None:
        with as_journal_errors(file, reading=True), ExitStack() as stack:
            check_is_file(file)
            # Do not test by opening: on close, this process would lose the SQLite lock of its own Bulk.
            if not os.access(file, os.R_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            with suppress(FileNotFoundError, PermissionError):  # no lock file, or that of another user
                stack.enter_context(Lock(file, shared=True))
            self._db = _open_for_reading(file, stack)
            self._db.execute("BEGIN")  # all reads see the same state
            if not is_empty(self._db, file):
                self.about = verify(self._db, file)
            elif not may_be_empty:
                raise JournalError(f"{file} is empty: the input was not read, and nothing was sent")
            self.file, self._stack = file, stack.pop_all()

    def rows(self) -> Iterator[Row]:
        """Yield each item in the order of the journal, in its state between runs.

        Raises:
            JournalError: The journal can no longer be read.
        """
        with as_journal_errors(self.file, reading=True):
            for values in self._db.execute(f"{SELECT} ORDER BY number"):
                yield Row(*values).reported()

    def items(self) -> Iterator[dict[str, Any]]:
        """Yield each item in the form of `Outcome.to_dict`; the verdict of an unsent item is `planned`.

        Raises:
            JournalError: The journal can no longer be read.
        """
        for row in self.rows():
            yield {
                "verdict": row.state,
                **json.loads(row.fields),
                "message": row.message,
                "status": row.status,
                "error_code": row.error_code,
                "request_id": row.request_id,
                "response": row.response and json.loads(row.response),
                "attempts": row.attempts,
                "started_at": None if row.started_at is None else rfc3339(row.started_at),
                "seconds": row.seconds,
                "seen": row.seen,
                "ended": row.ended,
            }

    def copy_to(self, db: sqlite3.Connection) -> None:
        """Copy the journal to another database.

        Raises:
            JournalError: The journal cannot be read, or the copy cannot be written.
        """
        with as_journal_errors(self.file, reading=True):
            self._db.backup(db)

    def close(self) -> None:
        """Close the journal."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_is_file(file: Path) -> None:
    """Raise a `JournalError` if there is no such file."""
    if not file.is_file():
        what = "is not a file" if file.exists() else "does not exist"
        raise JournalError(f"{file} {what}: name the journal of a bulk")


def _open_for_reading(file: Path, stack: ExitStack) -> sqlite3.Connection:
    """Open a journal for reading, also in a folder where SQLite cannot create files."""

    def opened(path: Path, how: str) -> sqlite3.Connection:
        db = stack.enter_context(closing(open_database(f"{path.resolve().as_uri()}?{how}", uri=True)))
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return db

    try:
        return opened(file, "mode=ro")
    except sqlite3.OperationalError as error:
        code: int | None = getattr(error, "sqlite_errorcode", None)
        if code is None or code & 0xFF not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
            raise
    rollback = Path(f"{file.resolve()}-journal")
    if not rollback.exists() or not rollback.stat().st_size:
        return opened(file, "immutable=1")
    # A process was killed while it wrote. SQLite rolls the write back: in a copy, since we only read.
    copy = Path(stack.enter_context(TemporaryDirectory(prefix="hwc-retry-")), "journal")
    shutil.copyfile(file, copy)
    shutil.copyfile(rollback, f"{copy}-journal")
    return opened(copy, "mode=rw")
