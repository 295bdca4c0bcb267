"""The journal of a bulk: what is planned, under way, and what came of it, whatever happens."""

import fcntl
import json
import os
import random
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from huaweicloud_retry.bulk import Counts, Item, JournalError, Outcome, Plan, Verdict
from huaweicloud_retry.bulk.journal import Journal
from huaweicloud_retry.bulk.journal_file import JournalReader


def engine(number: int) -> Item:
    return Item(operation="RetryEngine", project_id="p", engine_id=f"e{number}")


ITEMS = [engine(number) for number in range(1, 6)]


def outcome(item: Item, verdict: Verdict) -> Outcome:
    came: dict[str, Any] = {"message": "what came", "status": 200, "error_code": "CODE.1", "request_id": "id"}
    came |= {"response": {"jobId": 1}, "attempts": 2, "started_at": 1_700_000_000.5, "seconds": 0.25}
    return Outcome(item=item, verdict=verdict, **came)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "items.journal"


def begun(file: Path | None, items: list[Item] = ITEMS, **options: Any) -> Journal:
    journal = Journal(file)
    journal.plan(items)
    journal.begin(**{"retry_refused": False, "resend_unknown": False, **options})
    return journal


def sent(journal: Journal, **verdicts: Verdict) -> None:
    """Plan, send the items of these numbers (`n1="accepted"`), and write what came of them."""
    numbers: dict[int, Verdict] = {int(name[1:]): verdict for name, verdict in verdicts.items()}
    planned(journal)
    journal.write(list(numbers), [])
    journal.write([], [(number, outcome(ITEMS[number - 1], each)) for number, each in numbers.items()])


def planned(journal: Journal) -> list[int]:
    return [each.number for each in journal.planned(0)]


def fill(journal: Journal) -> None:
    """Write an item in each state."""
    sent(journal, n1="accepted", n2="refused", n3="unknown")
    journal.write([4], [])


def mixed(file: Path) -> list[dict[str, Any]]:
    """Make a journal that has an item in each state; returns what it says."""
    with begun(file) as journal:
        fill(journal)
    return items_in(file)


def copy_of_running(source: Path, file: Path) -> None:
    """Copy a journal and what undoes its last write, as SIGKILL leaves them."""
    for suffix in ("", "-journal"):
        shutil.copyfile(f"{source}{suffix}", f"{file}{suffix}")
    assert Path(f"{file}-journal").stat().st_size


SPILL = "PRAGMA cache_size = 1"  # of SQLite: what is written goes to the file before it is committed


def killed(file: Path) -> None:
    """Make the same as SIGKILL leaves it in the middle of a write."""
    running = file.with_name("running")
    with begun(running) as journal:
        fill(journal)
        journal._db.execute(SPILL)
        journal._db.execute("BEGIN")
        journal._db.execute("UPDATE item SET state = 'accepted', message = hex(zeroblob(50000))")
        copy_of_running(running, file)


def items_in(file: Path) -> list[dict[str, Any]]:
    with JournalReader(file) as journal:
        return list(journal.items())


# --- What is planned, and what came of it -----------------------------------------------------------------------------


def test_the_input_is_read_once_and_known_again(file: Path) -> None:
    given = [*ITEMS, engine(2), engine(2)]
    with Journal(file) as journal:
        assert journal.plan(given) == Plan(5, 2, before=Counts(planned=5))
        assert journal.planned(0) == [(number, item, False) for number, item in enumerate(ITEMS, start=1)]
    with Journal(file) as journal:
        assert journal.plan(given) == Plan(5, 2, resumed=True, before=Counts(planned=5))
        assert journal.counts() == Counts(planned=5)


@pytest.mark.parametrize(
    ("verdict", "option"), [("accepted", None), ("refused", "retry_refused"), ("unknown", "resend_unknown")]
)
def test_what_was_sent_is_planned_again_only_if_asked_and_never_if_accepted(
    file: Path, verdict: Verdict, option: str | None
) -> None:
    with begun(file) as journal:
        sent(journal, n1=verdict)
    asked: dict[str, Any] = dict.fromkeys([option] if option else [], True)
    others: dict[str, Any] = dict.fromkeys({"retry_refused", "resend_unknown"} - {option}, True)
    for options, first in (({}, 2), (others, 2), (asked, 1 if option else 2)):
        with begun(file, **options) as journal:
            assert planned(journal) == [*range(first, 6)]


def test_what_was_in_flight_when_a_run_ended_is_unknown_unless_it_was_not_sent_after_all(file: Path) -> None:
    with begun(file) as journal:
        planned(journal)
        journal.write([1, 2, 3], [])
        journal.write([], [], unsent=[2])
        assert journal.counts() == Counts(planned=3, unknown=2)
        assert planned(journal) == [2, 4, 5]
    with begun(file) as journal:
        assert journal.counts() == Counts(planned=3, unknown=2)


def test_all_of_an_outcome_is_kept(file: Path) -> None:
    with begun(file) as journal:
        sent(journal, n3="accepted")
    assert items_in(file)[2] == json.loads(json.dumps(outcome(ITEMS[2], "accepted").to_dict()))


def test_without_a_file_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    with begun(None) as journal:
        sent(journal, n1="accepted")
        assert journal.counts() == Counts(planned=4, accepted=1)
    assert list(tmp_path.iterdir()) == []


def test_what_is_unknown_stays_so_until_it_is_accepted(file: Path) -> None:
    with begun(file) as journal:
        sent(journal, n1="unknown", n2="unknown")
    with begun(file, resend_unknown=True) as journal:
        assert [each.may_have_run for each in journal.planned(0)] == [True, True, False, False, False]
        assert journal.counts() == Counts(planned=3, unknown=2)
        journal.write([1], [(1, outcome(ITEMS[0], "accepted"))])
    with begun(file) as journal:
        assert journal.counts() == Counts(planned=3, accepted=1, unknown=1)
        assert planned(journal) == [3, 4, 5]
    assert items_in(file)[1]["message"] == "what came"  # as it was before it was to be sent again


# --- Another input ----------------------------------------------------------------------------------------------------


def test_rows_that_are_new_in_the_input_are_added_and_the_order_does_not_matter(file: Path) -> None:
    mixed(file)
    more = [engine(9), *reversed(ITEMS), engine(9), engine(8)]
    with Journal(file) as journal:
        before = Counts(planned=1, accepted=1, refused=1, unknown=2)
        known = 1_700_000_000.75
        assert journal.plan(more) == Plan(7, 1, resumed=True, before=before, added=2, accepted_at=known)
        journal.begin(retry_refused=False, resend_unknown=False)
        assert [each.item for each in journal.planned(0)] == [ITEMS[4], engine(9), engine(8)]


def test_an_item_is_sent_as_it_is_first_given(file: Path) -> None:
    def items(number: str) -> list[Item]:
        given = Item(operation="RetryEngine", project_id="p", engine_id="e", enterprise_project_id=number)
        return [given, *map(engine, range(500)), replace(given, enterprise_project_id="again")]

    for number in ("1", "2"):
        with Journal(file) as journal:
            assert journal.plan(items(number)).duplicates == 1
            first = journal.planned(0)[0]
            assert first.item.enterprise_project_id == number
    with Journal(file) as journal:
        journal.plan(items("2"))
        journal.planned(0)
        journal.write([1], [(1, outcome(first.item, "accepted"))])
    with Journal(file) as journal:
        journal.plan(items("3"))
    assert items_in(file)[0]["enterprise_project_id"] == "2"  # as it was accepted


def test_rows_that_are_gone_from_the_input_are_named_and_left_as_they_are(file: Path) -> None:
    before = mixed(file)
    with Journal(file) as journal:
        plan = journal.plan(ITEMS[:1])
        assert (plan.items, plan.before, plan.vanished) == (1, Counts(accepted=1), 4)
        assert plan.vanished_names == ("engine e2 (refused)", "engine e3 (unknown)", "engine e4 (unknown)")
        counts = journal.begin(retry_refused=True, resend_unknown=True)
        assert (counts, journal.planned(0), journal.counts()) == (Counts(accepted=1), [], Counts(accepted=1))
    assert items_in(file) == before


def test_a_journal_is_about_one_place_for_each_thing_that_is_sent(file: Path) -> None:
    with Journal(file) as journal:
        journal.plan(ITEMS, places=lambda: {"cse": "http://a"})
    for other in ({"cse": "http://b"}, {"cse": "http://b", "workspace": "http://a"}):
        with pytest.raises(JournalError, match=r"http://a \(cse\), but this run sends to http://b"):
            Journal(file).plan(ITEMS, places=other.copy)
    with Journal(file) as journal:
        assert journal.plan(ITEMS, places=lambda: {"workspace": "http://b"}).resumed
    with pytest.raises(JournalError, match="workspace"):
        Journal(file).plan(ITEMS, places=lambda: {"workspace": "http://c"})


def test_a_trial_begins_with_what_a_journal_has_and_does_not_change_it(file: Path) -> None:
    before = mixed(file)
    with Journal(None, copy_of=file) as trial:
        assert trial.plan([*ITEMS, engine(9)]).added == 1
    assert items_in(file) == before
    with Journal(None, copy_of=file.with_name("nowhere")) as trial:
        assert not trial.plan(ITEMS).resumed


# --- The file ---------------------------------------------------------------------------------------------------------


def test_each_commit_waits_for_the_disk(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        full = 2  # https://www.sqlite.org/pragma.html#pragma_synchronous; only a loss of power would show it otherwise
        assert journal._db.execute("PRAGMA synchronous").fetchone() == (full,)


def test_all_that_was_written_is_in_the_one_file(file: Path, tmp_path: Path) -> None:
    with begun(file) as journal:
        sent(journal, n1="accepted")
        other = tmp_path / "elsewhere"
        other.write_bytes(file.read_bytes())
        with begun(other) as copy:
            assert copy.counts() == Counts(planned=4, accepted=1)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["elsewhere", "items.journal"]


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody may write there meanwhile."""
    for each in folder.iterdir():
        each.chmod(0o444)
    folder.chmod(0o555)
    root = os.geteuid() == 0  # may write anywhere, so somebody else acts
    try:
        if root:
            os.seteuid(65534)
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder which, other than tmp_path, somebody else may look into."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("make", [mixed, killed])
@pytest.mark.parametrize("may_write", [True, False])
def test_reading_changes_no_file_and_needs_no_permission_to_write(
    open_folder: Path, make: Callable[[Path], object], may_write: bool
) -> None:
    file = open_folder / "items.journal"
    make(file)
    before = {each: each.read_bytes() for each in open_folder.iterdir()}
    with nullcontext() if may_write else read_only(open_folder):
        items = items_in(file)
    assert [each["verdict"] for each in items] == ["accepted", "refused", "unknown", "unknown", "planned"]
    assert (items[3]["engine_id"], items[3]["attempts"]) == ("e4", None)
    assert items[3]["message"] == "in flight, or about to be, when an earlier run ended"
    assert {each: each.read_bytes() for each in open_folder.iterdir()} == before
    with Journal(file) as journal:
        assert journal.plan(ITEMS).before == Counts(planned=1, accepted=1, refused=1, unknown=2)


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_can_only_be_read_is_refused(open_folder: Path, there: bool) -> None:
    file = open_folder / "items.journal"
    if there:
        mixed(file)
    with read_only(open_folder):
        assert f"{file} cannot be written: " in why_not(file)


@pytest.mark.parametrize("loss", ["lock", "removed", "replaced"])
def test_a_journal_or_lock_that_is_taken_away_is_noticed(file: Path, tmp_path: Path, loss: str) -> None:
    with begun(file) as journal:
        planned(journal)
        if loss == "lock":
            Path(f"{file}.lock").unlink()
        else:
            file.rename(tmp_path / "elsewhere")
        if loss == "replaced":
            file.write_bytes(b"")
        with pytest.raises(JournalError, match=r"or its \.lock, was removed or replaced while it was in use"):
            journal.write([1], [])


# --- What may go wrong ------------------------------------------------------------------------------------------------


def why_not(file: Path, opened: type[Journal | JournalReader] = Journal) -> str:
    """Why it cannot be opened."""
    try:
        opened(file).close()
    except JournalError as error:
        return str(error)
    return ""


def spoilt(error: Exception) -> Iterator[Item]:
    """An input that fails in its second line."""
    yield ITEMS[0]
    raise error


def test_a_journal_that_is_in_use_is_refused(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    with begun(file):
        file.read_bytes()  # with which this process loses the lock that SQLite has
        for name in (file, link):
            assert why_not(name) == f"{name} is in use by another run or report"
            assert "is in use" in why_not(name, JournalReader)
    assert why_not(file) == why_not(link) == ""
    with JournalReader(file), JournalReader(file):
        pass


def test_what_a_killed_run_left_of_its_lock_is_taken_over(file: Path) -> None:
    Path(f"{file}.lock").touch()
    with begun(file):
        assert "is in use" in why_not(file)
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_lock_file_of_another_kind_is_ignored(file: Path) -> None:
    mixed(file)
    os.mkfifo(f"{file}.lock")
    assert len(items_in(file)) == 5
    assert why_not(file) == ""


def test_a_journal_that_another_run_made_in_the_meantime_is_not_removed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def late(handle: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        mixed(file)
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(ValueError, match="line 2"):
        Journal(file).plan(spoilt(ValueError("line 2")))
    assert len(items_in(file)) == 5


@pytest.mark.parametrize("name", [":memory:", "file:journal?mode=memory", "file::memory:"])
def test_any_name_is_that_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    mixed(Path(name))
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_an_empty_file_next_to_a_lock_is_of_a_run_that_was_killed_when_it_began(file: Path) -> None:
    file.touch()
    Path(f"{file}.lock").touch()
    assert why_not(file) == ""
    with begun(file) as journal:  # which is not empty any more
        assert journal.counts() == Counts(planned=5)


def test_a_second_name_for_a_journal_is_refused(file: Path) -> None:
    begun(file).close()
    other = file.with_name("other")
    other.hardlink_to(file)
    for name in (file, other):
        assert why_not(name) == f"{name} has another name, too (a hard link): remove one, or name a copy"


def test_an_input_that_fails_leaves_no_journal_and_its_error_is_as_it_was(file: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="of the input"):
        Journal(file).plan(spoilt(sqlite3.OperationalError("of the input")))
    assert list(file.parent.iterdir()) == []


def test_a_file_whose_run_was_killed_before_all_was_planned_is_as_good_as_new(file: Path) -> None:
    running = file.with_name("running")

    def items() -> Iterator[Item]:
        yield from map(engine, range(3000))
        copy_of_running(running, file)

    with Journal(running) as journal:
        journal._db.execute(SPILL)
        journal.plan(items())
    assert file.stat().st_size > 100_000
    with begun(file) as journal:
        assert journal.counts() == Counts(planned=5)


def changed(file: Path, statements: str) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.executescript(statements)


def but(statements: str) -> Callable[[Path], None]:
    """Return what makes a journal and changes it."""

    def make(file: Path) -> None:
        mixed(file)
        changed(file, statements)

    return make


ROWS = "is damaged: rows that do not match their checksums"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Path.mkdir, "is not a file: name "),
        (os.mkfifo, "is not a file: name "),
        (Path.touch, "is empty, not a journal: remove it if nothing was sent with it"),
        (lambda file: file.write_text("my notes\n" * 1000), "is damaged, or not a journal"),
        (
            lambda file: changed(file, "CREATE TABLE mine (x)"),
            "is a database, but not a journal: name another file",
        ),
        (
            but("PRAGMA user_version = 99"),
            "has format 99 and this version reads 3: use the version that wrote it",
        ),
        (but("UPDATE item SET state = 'planned' WHERE number IN (1, 3)"), f"{ROWS}: 1, 3. Nothing was sent."),
        (but("UPDATE item SET fields = replace(fields, 'e2', 'e7')"), f"{ROWS}: 2. "),
        (but("UPDATE item SET ended = 'failed' WHERE number = 5"), f"{ROWS}: 5. "),
        (but("DELETE FROM item WHERE number = 2"), "is damaged: some of its rows are missing, or older"),
        (but("UPDATE about SET sum = 1"), "is damaged: its metadata does not match its checksum"),
        (but("DELETE FROM about"), "is damaged: its metadata does not match its checksum"),
    ],
    ids=[
        "folder",
        "pipe",
        "empty",
        "text",
        "database",
        "version",
        "state",
        "item",
        "end",
        "row",
        "sum",
        "metadata",
    ],
)
def test_what_is_no_journal_or_was_changed_is_refused_and_left_as_it_is(
    file: Path, make: Callable[[Path], object], why: str
) -> None:
    make(file)
    before = file.read_bytes() if file.is_file() else b""
    for opened in (Journal, JournalReader):
        assert why_not(file, opened).startswith(f"{file} {why}")
    assert not before or file.read_bytes() == before


# --- Damage -----------------------------------------------------------------------------------------------------------

PAGE = 4096  # bytes, of SQLite
Damage = Callable[[bytearray, random.Random], None]


def overwrite(content: bytearray, chance: random.Random) -> None:
    at, size = chance.randrange(len(content) - 64), chance.choice((1, 2, 8, 64))
    content[at : at + size] = chance.randbytes(size)


def shift(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content))
    if chance.random() < 0.5:
        del content[at]
    else:
        content.insert(at, chance.randrange(256))


def truncate(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


def replace_a_page(content: bytearray, chance: random.Random) -> None:
    one, other = (PAGE * chance.randrange(len(content) // PAGE) for _ in range(2))
    content[other : other + PAGE] = chance.choice((bytes(PAGE), content[one : one + PAGE]))


def spoil_the_schema(content: bytearray, chance: random.Random) -> None:
    # SQLite quotes it in its messages.
    at = content.index(chance.choice((b"about", b"item", b"CREATE", b"INTEGER,  ", b"TEXT,   ")))
    content[at + chance.randrange(4)] = chance.choice((0xFF, 0x80, ord('"')))


DAMAGES: list[Damage] = [spoil_the_schema, overwrite, shift, truncate, replace_a_page]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_journal_is_refused_or_says_the_same(tmp_path: Path, damage: Damage) -> None:
    chance, whole, refused = random.Random(damage.__name__), tmp_path / "whole", 0
    items = [engine(number) for number in range(300)]
    with begun(whole, items) as journal:
        numbers = planned(journal)
        journal.write(numbers[:200], [(n, outcome(items[n - 1], "accepted")) for n in numbers[:100]])
    said, content = items_in(whole), whole.read_bytes()
    for number in range(25):
        damaged = bytearray(content)
        damage(damaged, chance)
        file = tmp_path / str(number)
        file.write_bytes(damaged)
        try:
            with begun(file, items) as journal:
                assert planned(journal) == numbers[200:]
            assert items_in(file) == said
        except JournalError:
            refused += 1
            assert not Path(f"{file}.lock").exists()
            with pytest.raises(JournalError, match=r"\A.*\Z"):  # one line
                JournalReader(file)
    assert refused > 4


def test_a_row_that_is_older_than_the_others_is_found(file: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    with begun(file) as journal:
        shutil.copyfile(file, old)
        sent(journal, n1="accepted")
    changed(
        file,
        f"""ATTACH '{old}' AS old; DELETE FROM item WHERE number = 1;
            INSERT INTO item SELECT * FROM old.item WHERE number = 1""",
    )
    assert "some of its rows are missing, or older than the others" in why_not(file)


# --- A place where it cannot be ---------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "items.journal"
    assert why_not(file).startswith(f"{file} cannot be written: No such file or directory: {file}.lock")


def test_a_disk_that_is_full_while_planning_leaves_no_journal(file: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        journal = Journal(file)
        journal._db.execute(SPILL)
        with pytest.raises(JournalError, match=r"cannot be written: .*is there room on the disk") as caught:
            journal.plan(map(engine, range(10_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(file) in str(caught.value)
    assert list(file.parent.iterdir()) == []
