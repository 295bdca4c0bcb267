"""`hwc-retry report`: its summary and its output. How a journal is read: test_bulk_journal.py."""

import base64
import csv
import hashlib
import json
import math
import os
import random
import re
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from huaweicloud_retry.bulk import Counts, Item, Outcome, Verdict
from huaweicloud_retry.bulk.journal import Journal
from huaweicloud_retry.bulk.journal_file import JournalReader
from huaweicloud_retry.bulk.report import LISTED, Latency, Summary, Timeline, summarize
from huaweicloud_retry.cli import main
from huaweicloud_retry.commands.output_csv import CSV_HEADER, csv_row
from huaweicloud_retry.commands.wording import duration, sentence, steps
from tests.e2e.cli import Cli, Ran

NOON = 1_700_049_600.0  # 2023-11-15 12:00:00 UTC
TIMES = 2500


def engine(number: int) -> Item:
    return Item(operation="RetryEngine", project_id="p", engine_id=f"engine-{number}")


def record(number: int) -> Item:
    return replace(item_of(f"record-{number}"), region="cn-north-4")


def item_of(id_: str) -> Item:
    return Item(operation="RetryScriptExecution", project_id="p", record_id=id_)


def outcome(item: Item, verdict: Verdict = "accepted", message: str = "job 1", **others: Any) -> Outcome:
    times = {"started_at": NOON, "seconds": 0.25}
    return Outcome(item=item, verdict=verdict, message=message, **{**times, **others})


def refused(item: Item, request_id: str = "id", **others: Any) -> Outcome:
    message = f"400 SVC.1: {item.name} is busy [request id {request_id}]"
    return outcome(item, "refused", message, status=400, error_code="SVC.1", request_id=request_id, **others)


def made(file: Path, outcomes: Iterable[Outcome], planned: Iterable[Item] = ()) -> Path:
    """Make a journal that a bulk has left after its end."""
    known, last = list(outcomes), 0
    with Journal(file) as journal:
        journal.plan([*(each.item for each in known), *planned])
        while rows := journal.planned(last):
            journal.write((), [(row.number, known[row.number - 1]) for row in rows[: len(known) - last]])
            last = rows[-1].number
    return file


def summary(file: Path) -> Summary:
    with JournalReader(file) as journal:
        return summarize(journal)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "items.journal"


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command in the folder of the journal."""
    return Cli(tmp_path, monkeypatch, capsys)


# What it reads


def test_items_are_counted_by_operation_and_by_what_came_of_them(file: Path) -> None:
    known = [outcome(engine(1)), outcome(engine(2), "unknown"), outcome(record(1)), refused(record(2))]
    told = summary(made(file, known, planned=[item_of('","operation":"RetryEngine"'), record(3), record(3)]))
    engines, scripts = Counts(accepted=1, unknown=1), Counts(accepted=1, refused=1, planned=2)
    assert told.operations == {"RetryEngine": engines, "RetryScriptExecution": scripts}
    assert told.counts == Counts(accepted=2, unknown=1, refused=1, planned=2)
    assert told.duplicates == 1


def test_an_item_that_is_planned_again_has_no_earlier_outcome(file: Path) -> None:
    made(file, [refused(engine(1))])
    with Journal(file) as journal:
        journal.plan([engine(1)])
        journal.begin(retry_refused=True, resend_unknown=False)
    told = summary(file)
    assert (told.counts, told.reasons, told.latency) == (Counts(planned=1), [], {})
    with JournalReader(file) as journal:
        assert [(each["verdict"], each["message"]) for each in journal.items()] == [("planned", None)]


def test_a_file_that_is_no_journal_is_refused_in_one_line(cli: Cli) -> None:
    assert cli("report x") == Ran(2, "", "hwc-retry report: x does not exist: name the journal of a bulk\n")


# Reasons


def test_reasons_are_grouped_whatever_ids_their_messages_have(file: Path) -> None:
    def missing(number: int, other: int) -> Outcome:
        message = f"404 SVC.2: no task of 0f0e0d0c-0b0a-4908-8706-05040302010{number} in {other}"
        return outcome(record(number), "refused", message, status=404, error_code="SVC.2")

    known = [refused(engine(1), "a1"), refused(engine(2), "b2"), refused(record(9), "c3")]
    known += [missing(1, 1234567), missing(2, 7654321), missing(3, 1111111)]
    made(file, [*known, outcome(engine(3), "unknown", "no response within 60 s")])
    assert [(r.operation, r.status, r.error_code, r.message, r.count) for r in summary(file).reasons] == [
        ("RetryEngine", None, None, "no response within 60 s", 1),
        ("RetryScriptExecution", 404, "SVC.2", "no task of … in …", 3),
        ("RetryEngine", 400, "SVC.1", "engine … is busy", 2),
        ("RetryScriptExecution", 400, "SVC.1", "record … is busy", 1),
    ]


def grouped(*texts: tuple[str, str]) -> set[str]:
    """The reasons of refused items, each given by its ID and its message."""
    with TemporaryDirectory() as folder:
        outcomes = [outcome(item_of(id_), "refused", text, status=400) for id_, text in texts]
        return {reason.message for reason in summary(made(Path(folder, "journal"), outcomes)).reasons}


def test_reasons_that_differ_only_in_an_id_are_one() -> None:
    texts = [
        "record {} is busy",
        "record_id={}: busy",
        "no '{}' in [{}]",
        "GET /v2/p/{}/x failed",
        "Record ID: {}.",
    ]
    ids = ["e1", "e10", "e100", "e105", "0f0e0d0c-0b0a-4908-8706-050403020101", "1", "16", "5900", "prod"]
    ids += ["staging-a", "prod_2", "my record 1", "a,b1", 'a"1"', "ä1", "名前1", "x.1-y"]
    for text in texts:
        assert len(grouped(*((id_, text.replace("{}", id_)) for id_ in ids))) == 1, text


def test_an_id_may_be_a_part_of_another(file: Path) -> None:
    items = [replace(item_of(f"r{n}"), task_id=f"r{n} t") for n in range(3)]
    made(file, (outcome(each, "refused", f"'{each.task_id}' is of {each.record_id}") for each in items))
    assert [reason.message for reason in summary(file).reasons] == ["'…' is of …"]


def test_an_id_that_is_an_ordinary_word_or_number_leaves_these_as_they_are() -> None:
    text = "the engine e2 is busy, no more than a job in 60 s. HTTP 400 of SVC.1 and/or engine no longer"
    ids = ["a", "no", "the", "is", "400", "60", ".", "…", "busy", "engine", "SVC", "e", "'", "v2"]
    assert grouped(*((id_, text) for id_ in ids)) == {text}


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
    assert grouped((id_, message)) == {general}


def test_a_reason_keeps_its_first_items_and_of_many_reasons_fewer(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [*map(engine, range(LISTED + 9))]
    made(file, [*map(refused, items), *(outcome(record(n), "refused", chr(97 + n % 20)) for n in range(400))])
    reason, *_ = summary(file).reasons
    assert reason.count == LISTED + 9
    assert [example.item for example in reason.examples] == items[:LISTED]
    assert reason.examples[0] == refused(engine(0))
    monkeypatch.setattr("huaweicloud_retry.bulk.report._KEPT_EXAMPLES", 100)  # of 2000, which take a second
    kept = [len(reason.examples) for reason in summary(file).reasons]
    assert sum(kept) <= 100 + 21 * 10
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
    for seconds in (0.0, 1e-9, 0.25, 1e6):  # of one they are that one
        only = Latency()
        only.add(seconds)
        assert only.percentile(50) == only.percentile(99) == seconds


def timeline(times: Iterable[float]) -> Timeline:
    """What was accepted at these seconds after noon."""
    made = Timeline()
    for each in times:
        made.add(NOON + each, "accepted")
    return made


@pytest.mark.parametrize("apart", [0.001, 0.3, 7, 3600, 1e6])
def test_a_timeline_has_so_many_buckets_however_long_it_is(
    monkeypatch: pytest.MonkeyPatch, apart: float
) -> None:
    monkeypatch.setattr("huaweicloud_retry.bulk.report._KEPT_BUCKETS", 2000)  # of 20,000, which take a second
    long = timeline(number * apart for number in range(TIMES))
    buckets = [bucket["accepted"] for stretch in long.stretches() for bucket in stretch.buckets]
    assert 20 <= len(buckets) <= 200
    assert sum(buckets) == TIMES
    assert long.width * len(buckets) >= TIMES * apart


def test_a_pause_between_two_runs_is_left_out_of_a_timeline() -> None:
    two = timeline(start + number for start in (0, 86_400) for number in range(50))
    assert two.width == 0.001
    first, second = two.stretches()
    assert (first.start, second.start) == (NOON, NOON + 86_400)
    assert two.width == 0.5
    assert [len(first.buckets), len(second.buckets)] == [99, 99]


@pytest.mark.parametrize("times", [(0.0,), (0.0, 0.1, 0.2), (0.0, 0.004), (0.0, 86_400.0)], ids=repr)
def test_a_short_timeline_has_buckets_before_and_after(times: tuple[float, ...]) -> None:
    stretches = timeline(times).stretches()
    assert 20 <= sum(len(stretch.buckets) for stretch in stretches) <= 200
    assert sum(bucket["accepted"] for stretch in stretches for bucket in stretch.buckets) == len(times)
    assert max(stretch.start for stretch in stretches) <= NOON + times[-1]


# What is reported


def test_durations_are_printed_as_a_person_says_them() -> None:
    texts = {0: "0 ms", 0.000512: "0.51 ms", 0.0123: "12 ms", 0.136: "140 ms", 0.999: "1 s", 9.06: "9.1 s"}
    texts |= {30.6: "31 s", 59.9: "1 min", 128: "2 min 8 s", 3599.6: "1 h", 3600 * 1.5: "1 h 30 min"}
    texts |= {86_400 * 2 + 3600 * 3: "2 d 3 h"}
    assert {seconds: duration(seconds) for seconds in texts} == texts


def of(counts: Counts, file: Path, input_: str | None = None) -> Summary:
    nothing: dict[str, Any] = dict.fromkeys(Summary.__dataclass_fields__)
    known = {"file": file, "input": input_, "operations": {"RetryEngine": counts}, "ended": {}}
    return Summary(**{**nothing, **known})


RESOLVE, BULK = "hwc-retry resolve 'my items.journal'", "hwc-retry bulk INPUT --journal 'my items.journal'"
RESEND = [RESOLVE, f"{BULK} --resend-unknown"]


@pytest.mark.parametrize(
    ("counts", "says", "commands"),
    [
        (Counts(accepted=1), "The only item was accepted.", [""]),
        (Counts(accepted=2000), "All 2,000 were accepted.", [""]),
        (
            Counts(accepted=9812, refused=150, unknown=38),
            "9,812 of 10,000 accepted, 150 refused, 38 unknown: check them",
            [*RESEND, f"{BULK} --retry-refused"],
        ),
        (Counts(accepted=1, unknown=1), "1 of 2 accepted, 1 unknown: check it", RESEND),
        (Counts(planned=5), "0 of 5 accepted, 5 not sent yet.", [BULK]),
    ],
)
def test_one_sentence_says_what_happened_and_steps_what_to_do_next(
    counts: Counts, says: str, commands: list[str]
) -> None:
    short = of(counts, Path("my items.journal"))
    assert sentence(short).startswith(says)
    assert [step.command for step in steps(short)] == commands


@pytest.mark.parametrize(
    ("input_", "journal", "command"),
    [
        ("items.csv", "items.csv.journal", "hwc-retry bulk items.csv"),
        ("my items.csv", "a/b.journal", "hwc-retry bulk 'my items.csv' --journal a/b.journal"),
    ],
)
def test_a_hint_names_the_input(input_: str, journal: str, command: str) -> None:
    (step,) = steps(of(Counts(planned=1), Path(journal), input_))
    assert step.command == command


def test_the_input_is_the_file_that_the_items_came_from(file: Path) -> None:
    for name in ("given.csv", None):  # then from standard input
        with Journal(file) as journal:
            journal.plan([engine(1)], input_name=name)
        assert summary(file).input == "given.csv"


TIMEOUT: dict[str, Any] = {"status": 504, "error_code": "APIG.0201", "seconds": 30.0}
OUTCOMES = [
    outcome(engine(1), status=200, response={"id": "e", "name": "n", "jobId": 1}),
    refused(record(1), attempts=3),
    outcome(engine(2), "unknown", "504 APIG.0201: Backend timeout", **TIMEOUT),
]


@pytest.fixture
def journal(file: Path) -> Path:
    return made(file, OUTCOMES, planned=[engine(3)])


@pytest.mark.parametrize("output", ["csv", "jsonl"])
@pytest.mark.usefixtures("journal")
def test_a_list_has_the_items_of_the_input_in_order_or_those_in_some_states(output: str, cli: Cli) -> None:
    def listed(*options: str) -> list[dict[str, Any]]:
        ran = cli(f"report items.journal --output {output}", *options)
        assert ran.code == 0
        lines = ran.out.splitlines()
        return [*csv.DictReader(lines)] if output == "csv" else [*map(json.loads, lines)]

    told = listed()
    items = [{name: each[name] for name in Item.__dataclass_fields__ if each.get(name)} for each in told]
    assert [Item.of(each) for each in items] == [engine(1), record(1), engine(2), engine(3)]
    assert [each["verdict"] for each in told] == ["accepted", "refused", "unknown", "planned"]
    assert not any(told[3][name] for name in ("message", "status", "attempts", "started_at", "seconds"))
    if output == "jsonl":
        assert told[:3] == [each.to_dict() for each in OUTCOMES]
    for only in ("unknown", "refused, unknown", "accepted,planned"):
        assert [each["verdict"] for each in listed("--only", only)] == only.replace(" ", "").split(",")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--only", "refused"], "--only needs --output csv or --output jsonl"),
        (["--only", "refused", "--output", "json"], "--only needs --output csv or --output jsonl"),
        (["--only", "lost"], "'lost' is not one of accepted, refused, unknown, planned"),
        (["--only", ""], "'' is not one of accepted, refused, unknown, planned"),
    ],
)
@pytest.mark.usefixtures("journal")
def test_only_without_a_list_or_with_another_state_is_refused(options: list[str], why: str, cli: Cli) -> None:
    ran = cli("report items.journal", *options)
    assert (ran.code, ran.out, why in ran.err) == (2, "", True)


@pytest.mark.usefixtures("journal")
def test_to_a_pipe_it_writes_json_and_exits_0(cli: Cli) -> None:
    ran = cli("report items.journal")
    told = json.loads(ran.out)
    assert ran.code == 0
    assert told["summary"].startswith("1 of 4 accepted, 1 refused, 1 not sent yet, 1 unknown")
    counts = [told[name] for name in ("items", "accepted", "refused", "unknown", "planned", "resent")]
    assert counts == [4, 1, 1, 1, 1, 1]
    scripts = told["operations"]["RetryScriptExecution"]
    assert scripts == {"accepted": 0, "refused": 1, "unknown": 0, "planned": 0}
    unknown, busy = told["reasons"]
    assert (unknown["verdict"], unknown["message"]) == ("unknown", "Backend timeout")
    assert (busy["verdict"], busy["message"]) == ("refused", "record … is busy")
    assert [item["engine_id"] for item in unknown["items"]] == ["engine-2"]
    assert busy["items"][0]["message"] == "400 SVC.1: record record-1 is busy [request id id]"
    assert "last job" in unknown["advice"]
    assert told["seconds"]["unknown"]["p99"] == 30.0
    assert (told["started_at"], told["ended_at"]) == ("2023-11-15T12:00:00.000Z", "2023-11-15T12:00:30.000Z")


def test_json_of_a_journal_without_a_reason_has_none(file: Path, cli: Cli) -> None:
    made(file, [outcome(engine(1))])
    assert json.loads(cli("report items.journal").out)["reasons"] == []


def test_json_has_all_items_of_each_reason_and_the_rest_of_the_reasons_as_one(
    file: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huaweicloud_retry.bulk.report._REASONS", 3)  # of 1000, which take a second
    items = [*map(engine, range(LISTED + 9))]
    others = (outcome(record(n), "refused", chr(97 + n)) for n in range(6))
    made(file, [outcome(engine(7000)), *map(refused, items), *others])
    first, rest, *single = json.loads(cli("report items.journal").out)["reasons"]
    assert [each["engine_id"] for each in first["items"]] == [item.engine_id for item in items]
    assert (rest["message"], rest["count"], len(rest["items"])) == ("other reasons", 4, 4)
    assert [(each["message"], len(each["items"])) for each in single] == [("a", 1), ("b", 1)]


@pytest.mark.usefixtures("journal")
def test_on_a_terminal_it_is_a_table(cli: Cli) -> None:
    cli.has_terminal(200)
    out = cli("report items.journal").out
    assert out.startswith("1 of 4 accepted, 1 refused, 1 not sent yet, 1 unknown: ")
    assert "\n2023-11-15 12:00:00Z to 2023-11-15 12:00:30Z, 30 s\n" in out
    assert re.search(r"RetryEngine +1 +0 +1 +1\b", out)
    unknown = r"\n1 unknown: 504 APIG.0201 Backend timeout\n(  .*\n)+  engine engine-2\n\n1 refused"
    assert re.search(unknown, out)
    assert "\n1 refused: 400 SVC.1 record … is busy\n  " in out
    assert "\n  hwc-retry report items.journal --output csv --only refused,unknown\n" in out
    assert re.search(r"unknown +30 s", out)
    assert "\n  hwc-retry bulk INPUT --journal items.journal --resend-unknown\n" in out


def test_a_table_has_the_first_items_of_each_reason(file: Path, cli: Cli) -> None:
    made(file, map(refused, map(engine, range(1234))))
    cli.has_terminal(80)
    out = cli("report items.journal").out
    listed = "".join(f"  engine engine-{number}\n" for number in range(10))
    assert "\n1,234 refused: 400 SVC.1 engine … is busy\n" in out
    assert f"\n{listed}  and 1,224 more\n" in out


@pytest.mark.parametrize("columns", [60, 80, 150])
def test_no_word_of_a_table_is_broken(file: Path, columns: int, cli: Cli) -> None:
    ids = [f"0f0e0d0c-0b0a-4908-8706-05040302{number:04}" for number in range(30)]
    long = "SpecificationOfTheEngineIsTooSmallForThat"
    known = [outcome(engine(number)) for number in range(1001)]
    for id_ in ids:
        text = f"C.1: engine {id_} is too small: {long} (cn-north-4.a.com)"
        known.append(outcome(replace(engine(0), engine_id=id_), "refused", text, status=400, seconds=3575.0))
        task = replace(item_of(id_), task_id=id_)
        known.append(outcome(task, "unknown", "504: timeout", status=504, seconds=8e5))
    made(file, known)
    cli.has_terminal(columns)
    out = cli("report items.journal").out
    others = [line for line in out.splitlines() if not line.startswith("  hwc-retry")]  # may be longer
    assert len(out.splitlines()) == len(others) + 4
    assert max(map(len, others)) <= columns
    words = {word for line in others for word in line.replace(",", " ").split()}
    assert words >= {*ids[:10], "RetryScriptExecution", long, "shortest"}
    assert re.search(r"RetryEngine +1,001 +30 +0 +0", out)


def test_a_table_shows_a_servers_text_without_control_characters(file: Path, cli: Cli) -> None:
    made(file, [outcome(engine(1), "unknown", "\x1b[2J\u202e[bold]gone[/bold]")])
    out = cli("report items.journal --output table").out
    assert "[2J [bold]gone[/bold]" in out
    assert not {"\x1b", "\u202e"} & set(out)


@pytest.mark.usefixtures("journal")
def test_a_table_without_rich_says_what_to_install(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich" or "report_table" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    ran = cli("report items.journal --output table")
    assert (ran.code, "pip install 'huaweicloud-retry[cli]'" in ran.err) == (2, True)
    cli.has_terminal()
    assert json.loads(cli("report items.journal").out)["items"] == 4


# CSV


def row(told: dict[str, Any]) -> dict[str, str]:
    (row,) = csv.DictReader([CSV_HEADER, csv_row(told)])
    return row


def test_a_row_of_csv_has_an_outcome() -> None:
    header, line = (CSV_HEADER + csv_row(refused(engine(1), attempts=2).to_dict())).splitlines()
    assert header == (
        "verdict,operation,project_id,region,engine_id,record_id,task_id,enterprise_project_id,"
        "message,status,error_code,request_id,attempts,started_at,seconds,seen,ended"
    )
    message = "400 SVC.1: engine engine-1 is busy [request id id]"
    times = "2,2023-11-15T12:00:00.000Z,0.25,,"
    assert line == f"refused,RetryEngine,p,,engine-1,,,,{message},400,SVC.1,id,{times}"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r\n=", "\uff1d"], ids=repr)
def test_what_a_server_sends_is_no_formula(start: str) -> None:
    told = outcome(engine(1), message=f"{start}1", error_code=f"{start}1", request_id=f"{start}1").to_dict()
    assert {row(told)[name] for name in ("message", "error_code", "request_id")} == {f"'{start.strip()}1"}


@pytest.mark.parametrize(("message", "cell"), [('1 = "1", 2', '1 = "1", 2'), ("a\nb", "a b"), ("", "")])
def test_what_a_server_sends_is_one_cell(message: str, cell: str) -> None:
    assert row(outcome(engine(1), message=message).to_dict())["message"] == cell


@pytest.mark.parametrize("id_", ["=1+1", "-1", '"', "a,b", "007", "5.9071E+25"])
def test_an_id_in_csv_is_as_it_was(id_: str) -> None:
    item = replace(item_of(id_), project_id=id_, task_id=id_, region="cn-north-4")
    told = row(outcome(item).to_dict())
    assert Item.of({name: told[name] for name in item.fields()}) == item


def peak(file: Path) -> int:
    tracemalloc.start()
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            assert main(["report", str(file), "--output", "json"]) == 0
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huaweicloud_retry.bulk.report.LISTED", 50)  # of 500, which take seconds

    def some(number: int) -> Iterator[Outcome]:
        for each in range(number):
            item = engine(each)
            yield (
                refused(item, f"request-{each}", started_at=NOON + each % 100) if each % 2 else outcome(item)
            )

    small, large = (made(tmp_path / f"{number}", some(number)) for number in (200, 1000))
    peak(small)  # what is made once for all is there afterwards
    assert peak(large) < 1.5 * peak(small)  # with 800 outcomes kept it is more than twice as much


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


def test_a_page_replaces_the_one_before_and_goes_with_an_output(journal: Path, cli: Cli) -> None:
    page = cli.folder / cli.write("report.html", "old")
    written = Ran(0, "", "hwc-retry report: report.html written\n")
    assert cli("report items.journal --html report.html") == written
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert cli.files() == [journal.name, page.name]
    ran = cli("report items.journal --html report.html --output jsonl")
    assert (ran.code, len(ran.out.splitlines())) == (0, 4)


@pytest.mark.usefixtures("journal")
def test_a_page_is_well_formed_and_may_load_nothing_but_its_own_style(cli: Cli) -> None:
    cli("report items.journal --html report.html")
    page = Page((cli.folder / "report.html").read_text(encoding="utf-8"))
    (style,) = (text for tag, text in page.texts if tag == "style")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = (each["content"] for _, each in page.elements if "http-equiv" in each)
    own = f"style-src 'sha256-{digest}'"
    assert policy == f"default-src 'none'; img-src data:; {own}; base-uri 'none'; form-action 'none'"
    assert not {"script", "img", "iframe"} & {tag for tag, _ in page.elements}
    links = [str(each.get("href", each.get("src", "#"))) for _, each in page.elements]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not [each for _, each in page.elements if "style" in each]
    title, *_ = (text for tag, text in page.texts if tag == "title")  # then those of the charts
    (heading,) = (text for tag, text in page.texts if tag == "h1")
    assert heading.startswith("1 of 4 accepted, 1 refused, 1 not sent yet, 1 unknown: ")
    assert title == f"{heading} items.journal"
    assert {"Outcomes over time", "Latency"} <= {text for tag, text in page.texts if tag == "h2"}


def test_every_text_of_a_page_is_escaped(file: Path, cli: Cli) -> None:
    nasty = "<script>alert(1)</script>\"'&"
    item, bad = replace(item_of(nasty), region=nasty), f"{nasty}\u202e"
    made(file, [outcome(item, "unknown", bad, error_code=bad, request_id=bad)])
    cli("report items.journal --html report.html")
    html = (cli.folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "\u202e" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;") >= 5


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (".", "is not a file: name another file"),
        ("items.journal", "is the journal: name another file"),
        ("missing/report.html", "cannot be written: No such file or directory"),
        ("items.journal/report.html", "cannot be written: Not a directory"),
    ],
)
def test_an_invalid_place_for_the_page_is_refused(journal: Path, name: str, why: str, cli: Cli) -> None:
    before = journal.read_bytes()
    ran = cli(f"report items.journal --html {name}")
    assert ran == Ran(2, "", f"hwc-retry report: --html {name} {why}\n")
    assert journal.read_bytes() == before
