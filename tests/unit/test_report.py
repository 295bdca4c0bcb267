"""`hwc-retry report`: what a journal tells, whoever left it, and how it is told."""

import base64
import csv
import hashlib
import json
import math
import os
import random
import re
import shutil
import sqlite3
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, redirect_stdout, suppress
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from huaweicloud_retry.bulk import Counts, Item, JournalError, Outcome, Verdict
from huaweicloud_retry.bulk.journal import Journal
from huaweicloud_retry.bulk.journal_file import JournalReader
from huaweicloud_retry.bulk.report import LISTED, Latency, Summary, Timeline, summarize
from huaweicloud_retry.cli import main
from huaweicloud_retry.commands.output_csv import CSV_HEADER, csv_row
from huaweicloud_retry.commands.wording import duration, sentence, steps

NOON = 1_700_049_600.0  # 2023-11-15 12:00:00 UTC
NOBODY = 65534
TIMES = 2500


def engine(number: int) -> Item:
    return Item(operation="RetryEngine", project_id="p", engine_id=f"engine-{number}")


def record(number: int) -> Item:
    return Item(
        operation="RetryScriptExecution", project_id="p", record_id=f"record-{number}", region="cn-north-4"
    )


def outcome(item: Item, verdict: Verdict = "accepted", message: str = "job 1", **others: Any) -> Outcome:
    return Outcome(
        item=item, verdict=verdict, message=message, **{"started_at": NOON, "seconds": 0.25, **others}
    )


def refused(item: Item, request_id: str = "id", **others: Any) -> Outcome:
    message = f"400 SVC.1: {item.name} is busy [request id {request_id}]"
    return outcome(item, "refused", message, status=400, error_code="SVC.1", request_id=request_id, **others)


def made(file: Path, outcomes: Iterable[Outcome], planned: Iterable[Item] = ()) -> Path:
    """Make a journal that a bulk has left after its end."""
    outcomes = list(outcomes)
    with Journal(file) as journal:
        journal.plan([*(each.item for each in outcomes), *planned])
        journal.begin(retry_refused=False, resend_unknown=False)
        write(journal, outcomes)
    return file


def write(journal: Journal, outcomes: list[Outcome]) -> None:
    """Write the outcomes of the first items."""
    last = 0
    while last < len(outcomes) and (
        rows := [row for row in journal.planned(last) if row.number <= len(outcomes)]
    ):
        journal.write((), [(row.number, outcomes[row.number - 1]) for row in rows])
        last = rows[-1].number


def killed(file: Path, folder: Path, outcomes: Iterable[Outcome], under_way: Item) -> Path:
    """Make a journal as SIGKILL leaves it in the middle of writing: what undoes that is in the file beside it."""
    outcomes = list(outcomes)
    with Journal(folder / "running") as journal:
        journal.plan([*(each.item for each in outcomes), under_way])
        write(journal, outcomes)
        journal.planned(0)
        journal.write([len(outcomes) + 1], [])
        journal._db.execute("PRAGMA cache_size = 1")  # so that it is written before it is committed
        journal._db.execute("BEGIN")
        journal._db.execute("UPDATE item SET state = 'accepted', message = hex(zeroblob(50000))")
        shutil.copyfile(folder / "running", file)
        shutil.copyfile(folder / "running-journal", f"{file}-journal")
    assert Path(f"{file}-journal").stat().st_size
    return file


def summary(file: Path) -> Summary:
    with JournalReader(file) as journal:
        return summarize(journal)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "items.journal"


# What it reads


def test_items_are_counted_by_operation_and_by_what_came_of_them(file: Path) -> None:
    made(
        file,
        [outcome(engine(1)), outcome(engine(2), "unknown"), outcome(record(1)), refused(record(2))],
        planned=[record(3), record(3)],
    )
    told = summary(file)
    assert told.operations == {
        "RetryEngine": Counts(accepted=1, unknown=1),
        "RetryScriptExecution": Counts(accepted=1, refused=1, planned=1),
    }
    assert told.counts == Counts(accepted=2, unknown=1, refused=1, planned=1)
    assert told.duplicates == 1


def test_an_operation_is_not_mistaken_for_what_stands_in_an_id(file: Path) -> None:
    item = Item(operation="RetryScriptExecution", project_id="p", record_id='","operation":"RetryEngine"')
    assert summary(made(file, [outcome(item)])).operations.keys() == {"RetryScriptExecution"}


def test_what_was_under_way_when_a_process_was_killed_is_unknown(file: Path, tmp_path: Path) -> None:
    killed(file, tmp_path, [outcome(engine(1)), refused(engine(2))], under_way=engine(3))
    assert summary(file).counts == Counts(accepted=1, refused=1, unknown=1)
    with JournalReader(file) as journal:
        *_, last = journal.items()
    assert (last["verdict"], last["engine_id"], last["attempts"]) == ("unknown", "engine-3", None)
    assert last["message"] == "in flight, or about to be, when an earlier run ended"


def test_what_is_planned_again_tells_nothing_of_its_earlier_outcome(file: Path) -> None:
    made(file, [refused(engine(1))])
    with Journal(file) as journal:
        journal.plan([engine(1)])
        journal.begin(retry_refused=True, resend_unknown=False)
    told = summary(file)
    assert (told.counts, told.reasons, told.latency) == (Counts(planned=1), [], {})
    with JournalReader(file) as journal:
        assert [(each["verdict"], each["message"]) for each in journal.items()] == [("planned", None)]


def test_reading_changes_neither_the_journal_nor_what_a_killed_process_left_beside_it(
    file: Path, tmp_path: Path
) -> None:
    killed(file, tmp_path, [outcome(engine(1))], under_way=engine(2))
    beside = Path(f"{file}-journal")
    before = file.read_bytes(), beside.read_bytes()
    summary(file)
    assert (file.read_bytes(), beside.read_bytes()) == before
    with Journal(file) as journal:
        assert journal.plan([engine(1), engine(2)]).before == Counts(accepted=1, unknown=1)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody may write there meanwhile."""
    for each in folder.iterdir():
        each.chmod(0o444)
    folder.chmod(0o555)
    root = os.geteuid() == 0  # may write anywhere, so somebody else reads
    try:
        if root:
            os.seteuid(NOBODY)
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.mark.parametrize("was_killed", [False, True])
def test_a_journal_in_a_read_only_folder_is_read(tmp_path: Path, was_killed: bool) -> None:
    with TemporaryDirectory() as name:  # which, other than tmp_path, somebody else may look into
        folder = Path(name)
        folder.chmod(0o755)
        file, known = folder / "items.journal", [outcome(engine(1))]
        if was_killed:
            killed(file, tmp_path, known, under_way=engine(2))
        else:
            made(file, known)
        before = sorted(folder.iterdir())
        with read_only(folder):
            assert summary(file).counts == Counts(accepted=1, unknown=int(was_killed))
            assert sorted(folder.iterdir()) == before


def test_a_journal_that_a_bulk_is_at_work_with_is_in_use(file: Path) -> None:
    with Journal(file) as journal:
        journal.plan([engine(1)])
        with pytest.raises(JournalError, match=r"items\.journal is in use by another run or report"):
            JournalReader(file)


def changed(statement: str) -> Callable[[Path], object]:
    """Return what makes a journal, and changes it."""

    def make(file: Path) -> None:
        made(file, [outcome(engine(1))])
        with closing(sqlite3.connect(file)) as db:
            db.execute(statement)
            db.commit()

    return make


def database(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE item (number)")


def overwritten(content: Callable[[bytearray], bytes]) -> Callable[[Path], object]:
    """Return what makes a journal, and puts something in place of a page: given is another page."""

    def make(file: Path) -> None:
        made(file, map(refused, map(engine, range(200))))
        raw = bytearray(file.read_bytes())
        first, second, *_ = (at for at in range(4096, len(raw), 4096) if raw[at] == 13)  # a leaf of a table
        raw[second : second + 4096] = content(raw[first : first + 4096])
        file.write_bytes(raw)

    return make


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(lambda file: None, "does not exist", id="missing"),
        pytest.param(Path.mkdir, "is not a file", id="folder"),
        pytest.param(
            lambda file: file.write_text("operation\n" * 100), "is damaged, or not a journal", id="text"
        ),
        pytest.param(
            Path.touch, "is empty, not a journal: remove it if nothing was sent with it", id="empty"
        ),
        pytest.param(database, "is a database, but not a journal", id="database"),
        pytest.param(
            changed("PRAGMA user_version = 1"), "has format 1 and this version reads 3", id="version"
        ),
        pytest.param(overwritten(lambda page: bytes(len(page))), "is damaged", id="zeros"),
        pytest.param(overwritten(bytes), "is damaged", id="the same items twice"),
        pytest.param(changed("UPDATE item SET state = 'lost'"), "is damaged", id="state"),
        pytest.param(changed("UPDATE item SET started_at = 'yesterday'"), "is damaged", id="no time"),
        pytest.param(changed("UPDATE item SET seconds = -1e300"), "is damaged", id="no such time"),
    ],
)
def test_what_is_no_journal_is_refused_in_one_line(
    file: Path, make: Callable[[Path], object], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(file)
    assert main(["report", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"hwc-retry report: {file} {why}")
    assert err.count("\n") == 1


# Reasons


def test_reasons_are_grouped_whatever_ids_their_messages_have(file: Path) -> None:
    uuid = "0f0e0d0c-0b0a-4908-8706-05040302010"
    other = "404 SVC.2: no task of {} in {}"
    made(
        file,
        [
            refused(engine(1), "a1"),
            refused(engine(2), "b2"),
            refused(record(9), "c3"),
            outcome(record(1), "refused", other.format(f"{uuid}1", 1234567), status=404, error_code="SVC.2"),
            outcome(record(2), "refused", other.format(f"{uuid}2", 7654321), status=404, error_code="SVC.2"),
            outcome(record(3), "refused", other.format(f"{uuid}3", 1111111), status=404, error_code="SVC.2"),
            outcome(engine(3), "unknown", "no answer within 60 s"),
        ],
    )
    assert [(r.operation, r.status, r.error_code, r.message, r.count) for r in summary(file).reasons] == [
        ("RetryEngine", None, None, "no answer within 60 s", 1),
        ("RetryScriptExecution", 404, "SVC.2", "no task of … in …", 3),
        ("RetryEngine", 400, "SVC.1", "engine … is busy", 2),
        ("RetryScriptExecution", 400, "SVC.1", "record … is busy", 1),
    ]


def test_a_reason_has_the_first_items_as_examples(file: Path) -> None:
    made(file, map(refused, map(engine, range(LISTED + 9))))
    (reason,) = summary(file).reasons
    assert reason.count == LISTED + 9
    assert [example.item for example in reason.examples] == [engine(number) for number in range(LISTED)]
    assert reason.examples[0] == refused(engine(0))


def item_of(id_: str) -> Item:
    return Item(operation="RetryScriptExecution", project_id="p", record_id=id_)


def grouped(*texts: tuple[str, str]) -> list[str]:
    """The reasons of refused items, each given by its ID and its message."""
    with TemporaryDirectory() as folder:
        outcomes = [outcome(item_of(id_), "refused", text, status=400) for id_, text in texts]
        return [reason.message for reason in summary(made(Path(folder, "journal"), outcomes)).reasons]


@pytest.mark.parametrize(
    "ids",
    [
        ("e1", "e10", "e100"),
        ("e105", "e16", "0f0e0d0c-0b0a-4908-8706-050403020101"),
        ("1", "16", "5900"),
        ("prod", "staging-a", "prod_2"),
        ("my record 1", "a,b1", 'a"1"'),
        ("ä1", "名前1", "x.1-y"),
    ],
    ids=" ".join,
)
def test_reasons_that_differ_only_in_an_id_are_one(ids: tuple[str, ...]) -> None:
    for text in (
        "record {} is busy",
        "record_id={}: busy",
        "no '{}' in [{}]",
        "GET /v2/p/{}/retry failed",
        "Record ID: {}.",
    ):
        assert len(grouped(*((id_, text.format(*[id_] * text.count("{}"))) for id_ in ids))) == 1, text


def test_an_id_may_be_a_part_of_another(file: Path) -> None:
    items = [
        Item(operation="RetryScriptExecution", project_id="p", record_id=f"r{n}", task_id=f"r{n} t")
        for n in range(3)
    ]
    made(file, (outcome(each, "refused", f"'{each.task_id}' is of {each.record_id}") for each in items))
    assert [reason.message for reason in summary(file).reasons] == ["'…' is of …"]


@pytest.mark.parametrize(
    "id_", ["a", "no", "the", "is", "400", "60", ".", "…", "busy", "engine", "SVC", "e", "'", "v2"]
)
def test_an_id_that_is_an_ordinary_word_or_number_leaves_these_as_they_are(id_: str) -> None:
    text = (
        "the engine e2 is busy, no more than a job in 60 s. HTTP 400 of SVC.1 and/or engine no longer there"
    )
    assert grouped((id_, text)) == [text]


@pytest.mark.parametrize(
    ("id_", "message", "general"),
    [
        ("e1", "e1 of e10, the1, e1.5, 1e1, e1-x, x-e1", "… of e10, the1, e1.5, 1e1, e1-x, x-e1"),
        ("e1", "e1", "…"),
        ("e1", "'e1' (e1) e1, e1: /e1/ e1. e1's", "'…' (…) …, …: /…/ …. …'s"),
        ("e1e1", "e1e1 e1e1e1", "… e1e1e1"),
        ("the", "the record 'the' is the one, record_id=the", "the record '…' is the one, record_id=…"),
        ("400", "400 of record 400", "400 of record …"),
        ("x", "job 18638 failed after job 7", "job … failed after job …"),
    ],
)
def test_an_id_is_replaced_where_it_is_a_whole_word(id_: str, message: str, general: str) -> None:
    assert grouped((id_, message)) == [general]


def test_reasons_without_end_become_one(file: Path) -> None:
    letters = [f"{chr(97 + n // 676)}{chr(97 + n // 26 % 26)}{chr(97 + n % 26)}" for n in range(1200)]
    made(file, (outcome(engine(n), "refused", letters[n]) for n in range(1200)))
    first, *rest = summary(file).reasons
    assert (first.message, first.count) == ("other reasons", 200)
    assert len(rest) == 1000


def test_many_reasons_have_fewer_examples_each(file: Path) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    made(file, (outcome(engine(n), "refused", letters[n % 20]) for n in range(20 * 150)))
    kept = [len(reason.examples) for reason in summary(file).reasons]
    assert sum(kept) <= 2000 + 20 * 10
    assert min(kept) >= 10


# Latencies and times


def test_percentiles_are_as_good_as_exact() -> None:
    chance = random.Random(1)
    all_ = sorted(chance.lognormvariate(0, 2) for _ in range(5000))
    latency = Latency()
    for seconds in all_:
        latency.add(seconds)
    for percent in (1, 50, 90, 99, 100):
        exact = all_[math.ceil(len(all_) * percent / 100) - 1]
        assert latency.percentile(percent) == pytest.approx(exact, rel=0.012)
    assert (latency.shortest, latency.longest) == (all_[0], all_[-1])


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.25, 1e6])
def test_percentiles_of_one_are_that_one(seconds: float) -> None:
    latency = Latency()
    latency.add(seconds)
    assert latency.percentile(50) == latency.percentile(99) == seconds


@pytest.mark.parametrize("apart", [0.001, 0.3, 7, 3600, 1e6])
def test_a_timeline_has_so_many_buckets_however_long_it_is(
    monkeypatch: pytest.MonkeyPatch, apart: float
) -> None:
    monkeypatch.setattr("huaweicloud_retry.bulk.report._KEPT_BUCKETS", 2000)  # of 20,000, which take a second
    timeline = Timeline()
    for number in range(TIMES):
        timeline.add(NOON + number * apart, "accepted")
    stretches = timeline.stretches()
    buckets = [bucket["accepted"] for stretch in stretches for bucket in stretch.buckets]
    assert 20 <= len(buckets) <= 200
    assert sum(buckets) == TIMES
    assert timeline.width * len(buckets) >= TIMES * apart


def test_a_pause_between_two_runs_is_left_out_of_a_timeline() -> None:
    timeline = Timeline()
    for start in (NOON, NOON + 86_400):
        for number in range(50):
            timeline.add(start + number, "accepted")
    assert timeline.width == 0.001
    first, second = timeline.stretches()
    assert (first.start, second.start) == (NOON, NOON + 86_400)
    assert timeline.width == 0.5
    assert [len(first.buckets), len(second.buckets)] == [99, 99]


@pytest.mark.parametrize("apart", [(0.0,), (0.0, 0.1, 0.2), (0.0, 0.004), (0.0, 86_400.0)], ids=repr)
def test_a_short_timeline_has_buckets_before_and_after(apart: tuple[float, ...]) -> None:
    timeline = Timeline()
    for each in apart:
        timeline.add(NOON + each, "accepted")
    stretches = timeline.stretches()
    assert 20 <= sum(len(stretch.buckets) for stretch in stretches) <= 200
    assert sum(bucket["accepted"] for stretch in stretches for bucket in stretch.buckets) == len(apart)
    for stretch in stretches:
        assert stretch.start <= NOON + apart[-1]


# What is reported


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 ms"),
        (0.000512, "0.51 ms"),
        (0.0123, "12 ms"),
        (0.136, "140 ms"),
        (0.999, "1 s"),
        (9.06, "9.1 s"),
        (30.6, "31 s"),
        (59.9, "1 min"),
        (128, "2 min 8 s"),
        (3599.6, "1 h"),
        (3600 * 1.5, "1 h 30 min"),
        (86_400 * 2 + 3600 * 3, "2 d 3 h"),
    ],
)
def test_durations_are_told_as_a_person_says_them(seconds: float, told: str) -> None:
    assert duration(seconds) == told


RESOLVE = "hwc-retry resolve 'my items.journal'"


@pytest.mark.parametrize(
    ("counts", "told", "options"),
    [
        (Counts(accepted=1), "The only item was accepted.", []),
        (Counts(accepted=2000), "All 2,000 were accepted.", []),
        (
            Counts(accepted=9812, refused=150, unknown=38),
            "9,812 of 10,000 accepted, 150 refused, 38 unknown: check them before you resend them.",
            [RESOLVE, "--resend-unknown", "--retry-refused"],
        ),
        (
            Counts(accepted=1, unknown=1),
            "1 of 2 accepted, 1 unknown: check it before you resend it.",
            [RESOLVE, "--resend-unknown"],
        ),
        (Counts(planned=5), "0 of 5 accepted, 5 not sent yet.", [""]),
    ],
)
def test_one_sentence_says_what_happened_and_steps_what_to_do_next(
    counts: Counts, told: str, options: list[str]
) -> None:
    short = of(counts, Path("my items.journal"))
    assert sentence(short) == told
    bulk = "hwc-retry bulk INPUT --journal 'my items.journal'"
    commands = [each if each == RESOLVE else f"{bulk} {each}".rstrip() for each in options]
    assert [step.command for step in steps(short)] == (commands or [""])


def of(counts: Counts, file: Path, input_: str | None = None) -> Summary:
    nothing: dict[str, Any] = dict.fromkeys(Summary.__dataclass_fields__)
    return Summary(
        **{**nothing, "file": file, "input": input_, "operations": {"RetryEngine": counts}, "ended": {}}
    )


@pytest.mark.parametrize(
    ("input_", "journal", "command"),
    [
        ("items.csv", "items.csv.journal", "hwc-retry bulk items.csv"),
        ("my items.csv", "a/b.journal", "hwc-retry bulk 'my items.csv' --journal a/b.journal"),
        (None, "b.journal", "hwc-retry bulk INPUT --journal b.journal"),
    ],
)
def test_a_hint_names_the_input(input_: str | None, journal: str, command: str) -> None:
    (step,) = steps(of(Counts(planned=1), Path(journal), input_))
    assert step.command == command


def test_the_input_is_the_file_that_the_items_came_from(file: Path) -> None:
    with Journal(file) as journal:
        journal.plan([engine(1)], input_name="given.csv")
    assert summary(file).input == "given.csv"
    with Journal(file) as journal:
        journal.plan([engine(1)])  # from standard input
    assert summary(file).input == "given.csv"


OUTCOMES = [
    outcome(engine(1), status=200, response={"id": "e", "name": "n", "jobId": 1}),
    refused(record(1), attempts=3),
    outcome(
        engine(2),
        "unknown",
        "504 APIG.0201: Backend timeout",
        status=504,
        error_code="APIG.0201",
        seconds=30.0,
    ),
]


@pytest.fixture
def journal(file: Path) -> Path:
    return made(file, OUTCOMES, planned=[engine(3)])


def test_json_lines_have_every_item_in_the_order_of_the_input(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(journal), "--output", "jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    *told, last = map(json.loads, lines)
    assert told == [{**each.to_dict(), "started_at": "2023-11-15T12:00:00.000Z"} for each in OUTCOMES]
    assert (last["verdict"], last["engine_id"], last["message"]) == ("planned", "engine-3", None)


def test_csv_has_every_item_in_the_order_of_the_input(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(journal), "--output", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [each["verdict"] for each in rows] == ["accepted", "refused", "unknown", "planned"]
    items = [{name: each[name] for name in Item.__dataclass_fields__ if each[name]} for each in rows]
    assert [Item.of(each) for each in items] == [engine(1), record(1), engine(2), engine(3)]
    assert rows[1]["started_at"] == "2023-11-15T12:00:00.000Z"
    assert not any(rows[3][name] for name in ("message", "status", "attempts", "started_at", "seconds"))


@pytest.mark.parametrize(
    ("only", "states"),
    [
        ("unknown", ["unknown"]),
        ("refused, unknown", ["refused", "unknown"]),
        ("accepted,planned", ["accepted", "planned"]),
    ],
)
@pytest.mark.parametrize("output", ["csv", "jsonl"])
def test_only_some_states_are_listed(
    journal: Path, output: str, only: str, states: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(journal), "--output", output, "--only", only]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = csv.DictReader(lines) if output == "csv" else map(json.loads, lines)
    assert [each["verdict"] for each in rows] == states


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--only", "refused"], "--only needs --output csv or --output jsonl"),
        (["--only", "refused", "--output", "json"], "--only needs --output csv or --output jsonl"),
        (["--only", "lost"], "argument --only: 'lost' is not one of accepted, refused, unknown, planned"),
        (["--only", ""], "argument --only: '' is not one of accepted, refused, unknown, planned"),
    ],
)
def test_only_without_a_list_or_with_another_state_is_refused(
    journal: Path, options: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with suppress(SystemExit):  # argparse's
        assert main(["report", str(journal), *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert why in err


def test_where_it_is_piped_it_is_json_and_0_says_that_there_is_a_report(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(journal)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["summary"].startswith("1 of 4 accepted, 1 refused, 1 not sent yet, 1 unknown")
    assert [told[state] for state in ("items", "accepted", "refused", "unknown", "planned")] == [
        4,
        1,
        1,
        1,
        1,
    ]
    assert told["resent"] == 1
    assert told["operations"]["RetryScriptExecution"] == {
        "accepted": 0,
        "refused": 1,
        "unknown": 0,
        "planned": 0,
    }
    assert [(reason["verdict"], reason["message"]) for reason in told["reasons"]] == [
        ("unknown", "Backend timeout"),
        ("refused", "record … is busy"),
    ]
    assert [[item["engine_id"] for item in told["reasons"][0]["items"]]] == [["engine-2"]]
    assert told["reasons"][1]["items"][0]["message"] == "400 SVC.1: record record-1 is busy [request id id]"
    assert told["reasons"][0]["advice"].startswith("Check the engine's last job before you resend this")
    assert told["seconds"]["unknown"]["p99"] == 30.0
    assert (told["started_at"], told["ended_at"]) == ("2023-11-15T12:00:00.000Z", "2023-11-15T12:00:30.000Z")


def test_json_has_all_items_of_each_reason(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = (outcome(engine(9000 + n), "refused", chr(97 + n)) for n in range(3))
    made(file, [outcome(engine(7000)), *(refused(engine(n)) for n in range(LISTED + 9)), *others])
    assert main(["report", str(file), "--output", "json"]) == 0
    reasons = json.loads(capsys.readouterr().out)["reasons"]
    assert (
        [reason["count"] for reason in reasons]
        == [len(reason["items"]) for reason in reasons]
        == [LISTED + 9, 1, 1, 1]
    )
    assert [each["engine_id"] for each in reasons[0]["items"]] == [f"engine-{n}" for n in range(LISTED + 9)]


def test_json_of_a_journal_without_a_reason_has_none(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(file, [outcome(engine(1))])
    assert main(["report", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["reasons"] == []


def test_json_with_reasons_without_end_has_all_items(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    letters = [f"{chr(97 + n // 676)}{chr(97 + n // 26 % 26)}{chr(97 + n % 26)}" for n in range(1200)]
    made(file, (outcome(engine(n), "refused", letters[n]) for n in range(1200)))
    assert main(["report", str(file)]) == 0
    first, *rest = json.loads(capsys.readouterr().out)["reasons"]
    assert (first["message"], len(first["items"]), len(rest)) == ("other reasons", 200, 1000)


def table(journal: Path, columns: int, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.stdout, "isatty", lambda: True)
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("TTY_COMPATIBLE", "0")
        assert main(["report", str(journal)]) == 0
    return capsys.readouterr().out


def test_on_a_terminal_it_is_a_table(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table(journal, 200, capsys)
    assert out.startswith(
        "1 of 4 accepted, 1 refused, 1 not sent yet, 1 unknown: check it before you resend it.\n"
        "2023-11-15 12:00:00Z to 2023-11-15 12:00:30Z, 30 s\n"
    )
    assert re.search(r"RetryEngine +1 +0 +1 +1\b", out)
    assert "\n1 unknown: 504 APIG.0201 Backend timeout\n  Check the engine's last job" in out
    assert "\n1 refused: 400 SVC.1 record … is busy\n  Only failed work can" in out
    assert "\n  engine engine-2\n\n1 refused" in out
    assert f"\n  hwc-retry report {journal} --output csv --only refused,unknown\n" in out
    assert re.search(r"unknown +30 s", out)
    assert f"\n  hwc-retry bulk INPUT --journal {journal} --resend-unknown\n" in out


def test_a_table_has_the_first_items_of_each_reason(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(file, map(refused, map(engine, range(1234))))
    listed = "".join(f"  engine engine-{number}\n" for number in range(10))
    out = table(file, 80, capsys)
    assert "\n1,234 refused: 400 SVC.1 engine … is busy\n" in out
    assert f"\n{listed}  and 1,224 more\n" in out


@pytest.mark.parametrize("columns", [60, 80, 150])
def test_no_word_of_a_table_is_broken(file: Path, columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [f"0f0e0d0c-0b0a-4908-8706-05040302{number:04}" for number in range(30)]
    items = [Item(operation="RetryEngine", project_id="p", engine_id=id_) for id_ in ids]
    records = [
        Item(operation="RetryScriptExecution", project_id="p", record_id=id_, task_id=id_) for id_ in ids
    ]
    text = "SVCSTG.00501149: {} cannot be upgraded because SpecificationOfTheEngineIsTooSmall (cn-north-4.example.com)"
    made(
        file,
        [
            *(
                outcome(each, "refused", text.format(each.name), status=400, seconds=3570.0 + 5)
                for each in items
            ),
            *(outcome(each, "unknown", "504: timeout", status=504, seconds=86_400 * 9.3) for each in records),
            *(outcome(engine(number)) for number in range(1001)),
        ],
    )
    out = table(file, columns, capsys)
    commands = [line for line in out.splitlines() if line.startswith("  hwc-retry") and str(file) in line]
    others = [line for line in out.splitlines() if line not in commands]
    assert max(map(len, others)) <= columns
    words = {word for line in others for word in line.replace(",", " ").split()}
    for word in (
        *ids[:10],
        "RetryScriptExecution",
        "SpecificationOfTheEngineIsTooSmall",
        "accepted",
        "shortest",
    ):
        assert word in words
    assert re.search(r"RetryEngine +1,001 +30 +0 +0", out)
    assert len(commands) == 4


def test_a_table_shows_a_servers_text_and_obeys_none_of_it(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(file, [outcome(engine(1), "unknown", "\x1b[2J\u202e[bold]gone[/bold]")])
    assert main(["report", str(file), "--output", "table"]) == 0
    out = capsys.readouterr().out
    assert "[2J [bold]gone[/bold]" in out
    assert not {"\x1b", "\u202e"} & set(out)


def test_a_table_without_rich_says_what_to_install(
    journal: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [
        name for name in sys.modules if name == "rich" or name.startswith("rich.") or "report_table" in name
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert main(["report", str(journal), "--output", "table"]) == 2
    assert capsys.readouterr().err.endswith("; pip install 'huaweicloud-retry[cli]', or --output json\n")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["report", str(journal)]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == 4


# CSV


def row(told: dict[str, Any]) -> dict[str, str]:
    (row,) = csv.DictReader([CSV_HEADER, csv_row(told)])
    return row


def test_a_row_of_csv_has_an_outcome() -> None:
    assert (CSV_HEADER + csv_row(refused(engine(1), attempts=2).to_dict())).splitlines() == [
        (
            "verdict,operation,project_id,region,engine_id,record_id,task_id,enterprise_project_id,"
            "message,status,error_code,request_id,attempts,started_at,seconds,seen,ended"
        ),
        (
            "refused,RetryEngine,p,,engine-1,,,,400 SVC.1: engine engine-1 is busy [request id id],400,SVC.1,id,2,"
            "2023-11-15T12:00:00.000Z,0.25,,"
        ),
    ]


@pytest.mark.parametrize(
    ("message", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'=1"),
        ("\r\n=1", "'=1"),
        ("\uff1d1", "'\uff1d1"),  # full-width
        ('1 = "1", 2', '1 = "1", 2'),
        ("a\nb", "a b"),
        ("", ""),
    ],
    ids=repr,
)
def test_what_a_server_sends_is_no_formula_and_no_row_of_its_own(message: str, cell: str) -> None:
    told = outcome(engine(1), message=message, error_code=message, request_id=message).to_dict()
    read = row(told)
    assert (read["message"], read["error_code"], read["request_id"]) == (cell, cell, cell)


@pytest.mark.parametrize("id_", ["=1+1", "-1", '"', "a,b", "007", "5.9071E+25"])
def test_an_id_in_csv_is_as_it_was(id_: str) -> None:
    item = Item(
        operation="RetryScriptExecution", project_id=id_, record_id=id_, task_id=id_, region="cn-north-4"
    )
    read = {name: value for name, value in row(outcome(item).to_dict()).items() if value}
    assert Item.of({name: read[name] for name in item.fields()}) == item


def peak(file: Path) -> int:
    tracemalloc.start()
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            assert main(["report", str(file), "--output", "json"]) == 0
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_journal(tmp_path: Path) -> None:
    def some(number: int) -> Iterator[Outcome]:
        for each in range(number):
            item = engine(each)
            yield (
                refused(item, f"request-{each}", started_at=NOON + each % 100) if each % 2 else outcome(item)
            )

    small, large = (made(tmp_path / f"{number}", some(number)) for number in (1500, 6000))
    peak(small)  # what is made once for all is there afterwards
    assert peak(large) < 1.1 * peak(small)


# The page; in a browser: tests/slow/test_report_page.py


class Page(HTMLParser):
    """A page's elements, each with its attributes, and its texts, each with its element; well-formed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br"}:  # which have no end
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.append((self.open[-1], data))


def test_a_page_replaces_the_one_before_and_goes_with_an_output(
    journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "report.html"
    page.write_text("old", encoding="utf-8")
    assert main(["report", str(journal), "--html", str(page)]) == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert capsys.readouterr() == ("", f"hwc-retry report: {page} written\n")
    assert not list(tmp_path.glob(".hwc-retry-*"))
    assert main(["report", str(journal), "--html", str(page), "--output", "jsonl"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_a_page_is_well_formed_and_may_load_nothing_but_its_own_style(journal: Path, tmp_path: Path) -> None:
    main(["report", str(journal), "--html", str(tmp_path / "report.html")])
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    (style,) = (text for tag, text in page.texts if tag == "style")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = (each["content"] for _, each in page.elements if "http-equiv" in each)
    own = f"style-src 'sha256-{digest}'"
    assert policy == f"default-src 'none'; img-src data:; {own}; base-uri 'none'; form-action 'none'"
    assert not {"script", "img", "iframe"} & {tag for tag, _ in page.elements}
    links = [str(each.get("href", each.get("src", "#"))) for _, each in page.elements]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not [each for _, each in page.elements if "style" in each]
    said = "1 of 4 accepted, 1 refused, 1 not sent yet, 1 unknown: check it before you resend it."
    assert {("h1", said), ("title", f"{said} items.journal")} <= set(page.texts)
    assert {("h2", "Outcomes over time"), ("h2", "Latency")} <= set(page.texts)


def test_what_is_written_here_and_there_is_escaped(file: Path, tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>\"'&\u202e"
    in_ids = nasty.removesuffix("\u202e")
    item = Item(operation="RetryScriptExecution", project_id="p", record_id=in_ids, region=in_ids)
    made(file, [outcome(item, "unknown", nasty, error_code=nasty, request_id=nasty)])
    page = tmp_path / "report.html"
    main(["report", str(file), "--html", str(page)])
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "\u202e" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;") >= 5


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is not a file: name another file"),
        ("items.journal", "is the journal: name another file"),
        ("missing/report.html", "cannot be written: No such file or directory"),
        ("items.journal/report.html", "cannot be written: Not a directory"),
    ],
)
def test_a_place_that_will_not_do_is_refused_in_one_line(
    journal: Path, tmp_path: Path, name: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = journal.read_bytes()
    assert main(["report", str(journal), "--html", str(tmp_path / name)]) == 2
    assert capsys.readouterr() == ("", f"hwc-retry report: --html {tmp_path / name} {why}\n")
    assert journal.read_bytes() == before
