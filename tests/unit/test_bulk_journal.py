"""The journal of a bulk: what is planned, under way, and what came of it, whatever happens."""

import fcntl
import json
import os
import random
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
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
    return Outcome(
        item=item,
        verdict=verdict,
        message="what came",
        status=200,
        error_code="CODE.1",
        request_id="id",
        response={"jobId": 1},
        attempts=2,
        started_at=1_700_000_000.5,
        seconds=0.25,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "items.journal"


def begun(
    file: Path | None, items: list[Item] = ITEMS, *, retry_refused: bool = False, resend_unknown: bool = False
) -> Journal:
    journal = Journal(file)
    journal.plan(items)
    journal.begin(retry_refused=retry_refused, resend_unknown=resend_unknown)
    return journal


def sent(journal: Journal, **verdicts: Verdict) -> None:
    """Plan, send the items of these numbers (`n1="accepted"`), and write what came of them."""
    numbers = {int(name[1:]): verdict for name, verdict in verdicts.items()}
    planned(journal)
    journal.write(list(numbers), [])
    journal.write([], [(number, outcome(ITEMS[number - 1], each)) for number, each in numbers.items()])


def planned(journal: Journal) -> list[int]:
    return [each.number for each in journal.planned(0)]


def mixed(file: Path) -> list[dict[str, Any]]:
    """Write a journal that has an item in each state; returns what it says."""
    with begun(file) as journal:
        sent(journal, n1="accepted", n2="refused", n3="unknown")
        journal.write([4], [])
    return items_in(file)


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
    others = {name: name != option for name in ("retry_refused", "resend_unknown")}
    given: list[dict[str, Any]] = [{}, others]
    for options in given:
        with begun(file, **options) as journal:
            assert planned(journal) == [2, 3, 4, 5]
    if option:
        asked: dict[str, Any] = {option: True}
        with begun(file, **asked) as journal:
            assert planned(journal) == [1, 2, 3, 4, 5]


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
        return [given, *map(engine, range(1000)), replace(given, enterprise_project_id="again")]

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


def why_not(file: Path) -> str:
    """Why it cannot be opened."""
    try:
        Journal(file).close()
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
            with pytest.raises(JournalError, match="is in use"):
                JournalReader(name)
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


@pytest.mark.parametrize("name", [".", "/dev/null"])
def test_a_path_that_is_no_file_is_refused(name: str) -> None:
    assert why_not(Path(name)) == f"{name} is not a file: name one for the journal"


def test_a_file_that_is_empty_is_no_journal_unless_a_run_was_killed_when_it_began(file: Path) -> None:
    mixed(file)
    os.truncate(file, 0)
    assert why_not(file) == f"{file} is empty, not a journal: remove it if nothing was sent with it"
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


@pytest.mark.parametrize(
    "error", [ValueError("of the input"), sqlite3.OperationalError("of the input")], ids=repr
)
def test_an_input_that_fails_leaves_no_journal(file: Path, error: Exception) -> None:
    with pytest.raises(type(error), match="of the input"):
        Journal(file).plan(spoilt(error))
    assert list(file.parent.iterdir()) == []


def test_a_file_whose_run_was_killed_before_all_was_planned_is_as_good_as_new(
    file: Path, tmp_path: Path
) -> None:
    def items() -> Iterator[Item]:
        yield from map(engine, range(3000))
        for suffix in ("", "-journal"):  # as SIGKILL leaves them
            shutil.copyfile(f"{tmp_path / 'running'}{suffix}", f"{file}{suffix}")

    with Journal(tmp_path / "running") as journal:
        journal._db.execute("PRAGMA cache_size = 1")  # so that it is written before it is committed
        journal.plan(items())
    assert file.stat().st_size > 100_000
    with begun(file) as journal:
        assert journal.counts() == Counts(planned=5)


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("CREATE TABLE mine (x)", "is a database, but not a journal: name another file"),
        ("PRAGMA user_version = 99", "has format 99 and this version reads 3: use the version that wrote it"),
    ],
)
def test_another_database_or_version_is_refused(file: Path, statement: str, why: str) -> None:
    if "version" in statement:
        begun(file).close()
    changed(file, statement)
    assert why_not(file) == f"{file} {why}"


def changed(file: Path, statements: str) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.executescript(statements)


def test_a_file_that_is_no_database_is_refused_and_not_changed(file: Path) -> None:
    file.write_text("my notes, which are much longer than the header of a database\n" * 100, "utf-8")
    before = file.read_bytes()
    assert f"{file} is damaged, or not a journal" in why_not(file)
    assert file.read_bytes() == before


# --- Damage -----------------------------------------------------------------------------------------------------------

PAGE = 4096  # bytes, of SQLite
Damage = Callable[[bytearray, random.Random], None]


def flip_a_bit(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


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


def lose_a_page(content: bytearray, chance: random.Random) -> None:
    at = PAGE * chance.randrange(len(content) // PAGE)
    content[at : at + PAGE] = bytes(PAGE)


def copy_a_page(content: bytearray, chance: random.Random) -> None:
    one, other = (PAGE * chance.randrange(len(content) // PAGE) for _ in range(2))
    content[other : other + PAGE] = content[one : one + PAGE]


def swap_words(content: bytearray, chance: random.Random) -> None:
    # Of the kind that no check of SQLite finds.
    pairs = (b"accepted", b"planned\0"), (b"RetryEngine", b"RetryEngina"), (b"refused", b"planned")
    for one, other in pairs:
        if chance.random() < 0.5:
            content[:] = content.replace(one, other, 1)


def spoil_the_schema(content: bytearray, chance: random.Random) -> None:
    # SQLite quotes it in its messages.
    at = content.index(chance.choice((b"about", b"item", b"CREATE", b"INTEGER,  ", b"TEXT,   ")))
    content[at + chance.randrange(4)] = chance.choice((0xFF, 0x80, ord('"')))


DAMAGES: list[Damage] = [spoil_the_schema, flip_a_bit, overwrite, shift, truncate]
DAMAGES += [lose_a_page, copy_a_page, swap_words]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_journal_is_refused_or_says_the_same(tmp_path: Path, damage: Damage) -> None:
    chance, whole, refused = random.Random(damage.__name__), tmp_path / "whole", 0
    items = [engine(number) for number in range(300)]
    with begun(whole, items) as journal:
        numbers = planned(journal)
        journal.write(numbers[:200], [(n, outcome(items[n - 1], "accepted")) for n in numbers[:100]])
    said, content = items_in(whole), whole.read_bytes()
    for number in range(40):
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


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (
            "UPDATE item SET state = 'planned' WHERE number IN (1, 3)",
            "rows that do not match their checksums: 1, 3",
        ),
        ("DELETE FROM item WHERE number = 2", ""),
        ("UPDATE about SET sum = 1", ""),
        ("DELETE FROM about", ""),
    ],
)
def test_a_row_that_is_changed_or_missing_or_a_sum_that_is_wrong_is_found(
    file: Path, statement: str, says: str
) -> None:
    mixed(file)
    changed(file, statement)
    assert f"is damaged: {says}" in why_not(file)


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


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_can_only_be_read_is_refused(there: bool) -> None:
    with TemporaryDirectory() as name:
        file = Path(name) / "items.journal"
        if there:
            begun(file).close()
            file.chmod(0o444)
        Path(name).chmod(0o555)
        root = os.geteuid() == 0  # whom no permission holds, so somebody else writes
        try:
            if root:
                os.seteuid(65534)
            said = why_not(file)
        finally:
            if root:
                os.seteuid(0)
            Path(name).chmod(0o755)
    assert f"{file} cannot be written: " in said


def test_a_disk_that_is_full_while_planning_leaves_no_journal(file: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        with pytest.raises(JournalError, match=r"cannot be written: .*is there room on the disk") as caught:
            Journal(file).plan(engine(number) for number in range(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(file) in str(caught.value)
    assert list(file.parent.iterdir()) == []
