"""The journal of a bulk: what is planned, under way, and what came of it, whatever happens."""

import json
import os
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from huaweicloud_retry.bulk import Counts, Item, JournalError, Outcome, Plan, Verdict
from huaweicloud_retry.bulk.journal import Journal


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
        answer={"jobId": 1},
        attempts=2,
        started_at=1_700_000_000.5,
        seconds=0.25,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "items.journal"


def begun(file: Path | None, *, retry_refused: bool = False, resend_unknown: bool = False) -> Journal:
    journal = Journal(file)
    journal.plan(ITEMS)
    journal.begin(retry_refused=retry_refused, resend_unknown=resend_unknown)
    return journal


def test_the_input_is_taken_in_once_and_known_again(file: Path) -> None:
    with Journal(file) as journal:
        assert journal.plan([*ITEMS, engine(2), engine(2)]) == Plan(5, 2, resumed=False, before=Counts(planned=5))
        assert journal.planned(0) == [(number, item, False) for number, item in enumerate(ITEMS, start=1)]
    with Journal(file) as journal:
        assert journal.plan([*ITEMS, engine(2), engine(2)]) == Plan(5, 2, resumed=True, before=Counts(planned=5))
        assert journal.counts() == Counts(planned=5)


@pytest.mark.parametrize("other", [ITEMS[:-1], [*ITEMS, engine(9)], ITEMS[::-1], [*ITEMS, engine(1)]])
def test_the_journal_of_another_input_is_refused(file: Path, other: list[Item]) -> None:
    begun(file).close()
    with pytest.raises(JournalError, match=r"is the journal of another input \(5 items\): give another"):
        Journal(file).plan(other)
    with begun(file) as journal:
        assert journal.counts().total == 5


def test_what_was_accepted_is_never_planned_again(file: Path) -> None:
    with begun(file) as journal:
        journal.write([1], [])
        journal.write([], [(1, outcome(ITEMS[0], "accepted"))])
    with begun(file, retry_refused=True, resend_unknown=True) as journal:
        assert [each.number for each in journal.planned(0)] == [2, 3, 4, 5]


@pytest.mark.parametrize("verdict", ["refused", "unknown"])
def test_what_was_refused_or_is_unknown_is_planned_again_only_if_asked(file: Path, verdict: Verdict) -> None:
    with begun(file) as journal:
        journal.write([1], [(1, outcome(ITEMS[0], verdict))])
    with begun(file) as journal:
        assert [each.number for each in journal.planned(0)] == [2, 3, 4, 5]
    other = {"refused": "resend_unknown", "unknown": "retry_refused"}[verdict]
    with begun(file, **{other: True}) as journal:
        assert [each.number for each in journal.planned(0)] == [2, 3, 4, 5]
    own = {"refused": "retry_refused", "unknown": "resend_unknown"}[verdict]
    with begun(file, **{own: True}) as journal:
        assert [each.number for each in journal.planned(0)] == [1, 2, 3, 4, 5]


def test_what_was_under_way_when_a_run_ended_is_unknown(file: Path) -> None:
    with begun(file) as journal:
        journal.write([1, 2], [])
    with begun(file) as journal:
        assert journal.counts() == Counts(planned=3, unknown=2)


def test_what_was_not_sent_after_all_stays_planned(file: Path) -> None:
    with begun(file) as journal:
        journal.write([1, 2], [])
        journal.write([], [], unsent=[2])
        assert journal.counts() == Counts(planned=4, unknown=1)
        assert [each.number for each in journal.planned(0)] == [2, 3, 4, 5]


def test_all_of_an_outcome_is_kept(file: Path) -> None:
    with begun(file) as journal:
        journal.write([], [(3, outcome(ITEMS[2], "accepted"))])
    with closing(sqlite3.connect(file)) as db:
        row = db.execute("SELECT * FROM item WHERE number = 3").fetchone()
    fields, _, *rest = row[1:]
    assert json.loads(fields) == ITEMS[2].fields()
    assert rest == ["accepted", 0, "what came", 200, "CODE.1", "id", '{"jobId": 1}', 2, 1_700_000_000.5, 0.25]


def test_without_a_file_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    with begun(None) as journal:
        journal.write([1], [(1, outcome(ITEMS[0], "accepted"))])
        assert journal.counts() == Counts(planned=4, accepted=1)
    assert list(tmp_path.iterdir()) == []


def test_what_is_unknown_stays_so_until_it_is_accepted(file: Path) -> None:
    with begun(file) as journal:
        journal.write([1, 2], [(1, outcome(ITEMS[0], "unknown")), (2, outcome(ITEMS[1], "unknown"))])
    with begun(file, resend_unknown=True) as journal:
        assert [each.may_have_run for each in journal.planned(0)] == [True, True, False, False, False]
        assert journal.counts() == Counts(planned=3, unknown=2)
        journal.write([1], [(1, outcome(ITEMS[0], "accepted"))])
    with begun(file) as journal:
        assert journal.counts() == Counts(planned=3, accepted=1, unknown=1)
        assert [each.number for each in journal.planned(0)] == [3, 4, 5]


def test_each_commit_waits_for_the_disk(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        full = 2  # https://www.sqlite.org/pragma.html#pragma_synchronous; only a loss of power would show it otherwise
        assert journal._db.execute("PRAGMA synchronous").fetchone() == (full,)


def test_all_that_was_written_is_in_the_one_file(file: Path, tmp_path: Path) -> None:
    with begun(file) as journal:
        journal.write([1], [(1, outcome(ITEMS[0], "accepted"))])
        other = tmp_path / "elsewhere"
        other.write_bytes(file.read_bytes())
        with begun(other) as copy:
            assert copy.counts() == Counts(planned=4, accepted=1)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["elsewhere", "items.journal"]


@pytest.mark.parametrize("replaced", [True, False])
def test_a_journal_that_is_taken_away_is_noticed(file: Path, tmp_path: Path, replaced: bool) -> None:
    with begun(file) as journal:
        file.rename(tmp_path / "elsewhere")
        if replaced:
            file.write_bytes(b"")
        with pytest.raises(JournalError, match="was removed, or another put in its place, while it was in use"):
            journal.write([1], [])


# --- What may go wrong ------------------------------------------------------------------------------------------------


def test_a_journal_that_is_in_use_is_refused(file: Path) -> None:
    with begun(file):
        assert why_not(file) == f"{file} is in use by another process"
    assert why_not(file) == ""


def why_not(file: Path) -> str:
    try:
        Journal(file).close()
    except JournalError as error:
        return str(error)
    return ""


def test_a_bad_input_leaves_no_journal(file: Path) -> None:
    def items() -> Iterator[Item]:
        yield ITEMS[0]
        raise ValueError("line 2 will not do")

    with pytest.raises(ValueError, match="line 2 will not do"):
        Journal(file).plan(items())
    assert list(file.parent.iterdir()) == []


def test_a_file_whose_run_was_killed_before_all_was_planned_is_as_good_as_new(file: Path, tmp_path: Path) -> None:
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


def test_another_database_is_refused(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE mine (x)")
    assert why_not(file) == f"{file} is a database, but no journal: give another --journal"


def test_a_journal_of_another_version_is_refused(file: Path) -> None:
    begun(file).close()
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 99")
    assert why_not(file) == f"{file} was written by another version: give another --journal"


def test_what_is_no_database_is_refused_and_left_as_it_is(file: Path) -> None:
    file.write_text("my notes, which are much longer than the header of a database\n" * 100, "utf-8")
    before = file.read_bytes()
    assert f"{file} is damaged, or no journal" in why_not(file)
    assert file.read_bytes() == before


def test_a_damaged_journal_is_refused(file: Path) -> None:
    with Journal(file) as journal:
        journal.plan(engine(number) for number in range(5000))
    content = bytearray(file.read_bytes())
    content[8192 : len(content) // 2] = os.urandom(len(content) // 2 - 8192)
    file.write_bytes(content)
    assert f"{file} is damaged, or no journal" in why_not(file)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "items.journal"
    assert why_not(file) == (
        f"{file} cannot be written: unable to open database file; "
        "is there room on the disk, and may this user write to the folder?"
    )


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
