"""The file of a journal: its tables, the checks that it is as it was written, and who reads it.

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

KIND: Final = 0x48575254  # "HWRT": PRAGMA application_id, by which a file says what it is
FORMAT: Final = 3
CUT_SHORT: Final = "in flight, or about to be, when an earlier run ended"
_VERDICTS: Final[dict[str, Verdict]] = {"accepted": "accepted", "refused": "refused", "unknown": "unknown"}
_NAMED: Final = 10  # damaged rows that a message names
_KEEP: Final = "Nothing was sent. A new journal or an older copy may send items twice: look at their jobs and tasks first"
_UNWRITABLE: Final = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM,
}  # fmt: skip

TABLES: Final = (
    """CREATE TABLE about (
    places TEXT,                     -- JSON: what the items are sent to
    input TEXT,                      -- the name of the file that they came from
    duplicates INTEGER,              -- rows of the input that repeat an item
    runs TEXT,                       -- JSON: by number, the clock of each run of which something is not known yet
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
    ended TEXT,                      -- how the work ended: succeeded or failed; running when it was looked at last
    checksum INTEGER,                -- of all above
    digest BLOB UNIQUE               -- of what is retried, and where: by it an item is found
)""",
)


class JournalError(Exception):
    """The journal cannot be used, or not be written any more. One line: which, why, and what to do."""

    unwritten: "tuple[Outcome, ...]" = ()
    """Outcomes that are not in the journal. Their items are `sending` there: unknown to the next run."""


class About(NamedTuple):
    """What a journal says of itself."""

    places: str = "{}"
    input: str | None = None
    duplicates: int = 0
    runs: str = "{}"
    rows: int = 0
    sum: int = 0

    def clocks(self) -> dict[int, RunClock]:
        """Return the clocks of runs by their number."""
        given: dict[str, tuple[str | None, float, tuple[float, float] | None]] = json.loads(self.runs)
        return {
            int(number): RunClock(boot, offset, None if server is None else Clock(*server))
            for number, (boot, offset, server) in given.items()
        }


class Row(NamedTuple):
    """An item of a journal, and what came of it."""

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
        """Return what came of it. One that was found not run is `refused`, and planned."""
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
        """Return the row as it is reported while no run is at work: accepted, refused, unknown or planned."""
        if self.state == "sending":
            return Row(
                self.number,
                self.fields,
                "unknown",
                message=CUT_SHORT,
                started_at=self.started_at,
                run=self.run,
            )
        if self.state == "planned":  # the rest is of an earlier attempt
            return self.with_state("unknown") if self.may_have_run else self.planned(self.seen)
        return self

    def planned(self, seen: str | None) -> "Row":
        """Return the row as one that is yet to be sent, and never was, for all that is known."""
        return Row(self.number, self.fields, "planned", seen=seen)

    def sent(self, now: float, run: int) -> "Row":
        """Return the row as one that is about to be sent. Of an item that may have run, the first time counts."""
        if self.may_have_run and self.started_at is not None:
            return self.with_state("sending")
        return self._replace(state="sending", started_at=now, run=run)


SELECT: Final = f"SELECT {', '.join(Row._fields)} FROM item"  # noqa: S608 - our own SQL
SELECT_CHECKED: Final = SELECT.replace(" FROM", ", checksum FROM")


def checksum(values: tuple[Any, ...]) -> int:
    """Return 64 bits that change with any of the values, or with the type of one."""
    hashed = hashlib.blake2b(ascii(tuple(values)).encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "big", signed=True)  # as SQLite has integers


def digest(target: str) -> bytes:
    """Return what an item is found by."""
    return hashlib.blake2b(target.encode(), digest_size=16).digest()


def connected(database: Path | str, **settings: Any) -> sqlite3.Connection:
    """Open a database. Text that is damaged is read all the same, and found by its checksum."""
    db: sqlite3.Connection = sqlite3.connect(database, isolation_level=None, timeout=0, **settings)
    db.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
    return db


def is_empty(db: sqlite3.Connection, file: Path | None) -> bool:
    """Say whether the input of a journal was not read yet, as when its run was killed while it read.

    Raises:
        JournalError: It is no journal, or one of another version.
    """
    (kind,), (format_,) = (
        db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if kind == KIND and not tables:
        return True
    if kind == 0 and not tables:
        raise JournalError(f"{file} is empty, which no journal is: remove it if nothing was sent with it")
    if kind != KIND:
        raise JournalError(f"{file} is a database, but no journal: name another file")
    if format_ != FORMAT:
        raise JournalError(
            f"{file} has format {format_} and this version reads {FORMAT}: use the version that wrote it"
        )
    return False


def verified(db: sqlite3.Connection, file: Path | None) -> About:
    """Return what a journal says of itself, if all of it is as it was written.

    Raises:
        JournalError: It is not; the text says which rows.
        sqlite3.Error: It is not, and SQLite says so.
    """
    (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()  # the index over the digests, too
    if found != "ok":
        raise sqlite3.DatabaseError(found)
    tables = [
        sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE type <> 'index' ORDER BY rowid")
    ]
    about = db.execute("SELECT * FROM about").fetchall() if tables == list(TABLES) else []
    if len(about) != 1 or checksum(about[0][:-1]) != about[0][-1]:
        raise JournalError(f"{file} is damaged: what it says of itself does not match its checksum. {_KEEP}")
    damaged: list[int] = []
    count = total = 0
    for *values, check in db.execute(SELECT_CHECKED):
        if checksum(tuple(values)) != check:
            damaged.append(values[0])
        else:
            count, total = count + 1, total ^ check
    own = About(*about[0][:-1])
    if damaged:
        raise damaged_rows(file, damaged)
    if (count, total) != (own.rows, own.sum):
        raise JournalError(
            f"{file} is damaged: some of its rows are missing, or older than the others. {_KEEP}"
        )
    return own


def damaged_rows(file: Path | None, numbers: list[int]) -> JournalError:
    """Return the error that names the rows."""
    more = f" and {len(numbers) - _NAMED:,} more" if numbers[_NAMED:] else ""
    named = ", ".join(map(str, numbers[:_NAMED]))
    return JournalError(f"{file} is damaged: rows that do not match their checksums: {named}{more}. {_KEEP}")


@contextmanager
def explained(file: Path | None, *, reading: bool = False) -> Generator[None, None, None]:
    """Say of SQLite's and the system's errors what they mean for a journal.

    Raises:
        JournalError: In place of them.
    """
    name = file or "the temporary journal"
    try:
        yield
    except InUseError as error:
        raise JournalError(f"{name} is in use by another run or report") from error
    except (
        sqlite3.Error,
        UnicodeDecodeError,
    ) as error:  # the latter: of SQLite's text, which quotes the file
        code: int | None = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None  # the rest tells details
        if primary == sqlite3.SQLITE_BUSY:
            raise JournalError(f"{name} is in use by another run or report") from error
        if primary in _UNWRITABLE and not reading:
            hint = "is there room on the disk, and may this user write to the folder?"
            raise JournalError(f"{name} cannot be written: {error}; {hint}") from error
        raise JournalError(f"{name} is damaged, or no journal: {one_line(str(error))}. {_KEEP}") from error
    except OSError as error:
        what, which = "read" if reading else "written", f": {error.filename}" if error.filename else ""
        raise JournalError(
            f"{name} cannot be {what}: {error.strerror}{which}; is it on a local disk?"
        ) from error


class JournalReader:
    """A journal that no run is at work with, open to be read. Neither it nor what SQLite keeps next to it is changed.

    Args:
        file: The journal's.
        may_be_empty: The input need not have been read yet.

    Attributes:
        file: The journal's.
        about: What it says of itself.

    Raises:
        JournalError: It is in use, damaged, no journal, or cannot be read.
    """

    about = About()

    def __init__(self, file: Path, *, may_be_empty: bool = False) -> None:
        with explained(file, reading=True), ExitStack() as stack:
            if not file.is_file():
                raise JournalError(
                    f"{file} is {'no file' if file.exists() else 'not there'}: name a bulk's journal"
                )
            # Not opened and closed, with which this process would lose SQLite's lock of a Bulk of its own.
            if not os.access(file, os.R_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            with suppress(FileNotFoundError, PermissionError):  # no run was killed, or one of another user
                stack.enter_context(Lock(file, shared=True))
            self._db = _readable(file, stack)
            self._db.execute("BEGIN")  # from the first to the last look, nobody changes it
            if not is_empty(self._db, file):
                self.about = verified(self._db, file)
            elif not may_be_empty:
                raise JournalError(f"{file} is empty: the input was not read, and nothing was sent")
            self.file, self._stack = file, stack.pop_all()

    def rows(self) -> Iterator[Row]:
        """Yield each item in the order of the journal, as it is reported.

        Raises:
            JournalError: It cannot be read any more.
        """
        with explained(self.file, reading=True):
            for values in self._db.execute(f"{SELECT} ORDER BY number"):
                yield Row(*values).reported()

    def items(self) -> Iterator[dict[str, Any]]:
        """Yield each item as `Outcome.to_dict` has it; its verdict is `planned` if it is yet to be sent.

        Raises:
            JournalError: It cannot be read any more.
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
        """Copy it to another database.

        Raises:
            JournalError: It cannot be read, or the copy not be written.
        """
        with explained(self.file, reading=True):
            self._db.backup(db)

    def close(self) -> None:
        """Close it."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _readable(file: Path, stack: ExitStack) -> sqlite3.Connection:
    """Open a journal to be read, also in a folder where SQLite cannot make the file that readers share."""

    def opened(path: Path, how: str) -> sqlite3.Connection:
        db = stack.enter_context(closing(connected(f"{path.resolve().as_uri()}?{how}", uri=True)))
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return db

    try:
        return opened(file, "mode=ro")
    except sqlite3.OperationalError as error:
        code: int | None = getattr(error, "sqlite_errorcode", None)
        if code is None or code & 0xFF not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
            raise
    beside = Path(f"{file.resolve()}-journal")
    if not beside.exists() or not beside.stat().st_size:
        return opened(file, "immutable=1")
    # A process was killed while it wrote, and with this SQLite undoes what it had begun: not here, where we only read.
    copy = Path(stack.enter_context(TemporaryDirectory(prefix="hwc-retry-")), "journal")
    shutil.copyfile(file, copy)
    shutil.copyfile(beside, f"{copy}-journal")
    return opened(copy, "mode=rw")
