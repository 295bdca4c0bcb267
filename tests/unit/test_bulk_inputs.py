"""What a bulk reads: JSON lines or CSV, each line an item; what is wrong is said once for each reason."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from huaweicloud_retry.bulk import Item, Outcome
from huaweicloud_retry.bulk.inputs import InputError, read_items
from huaweicloud_retry.commands.bulk import SAMPLE
from huaweicloud_retry.commands.output_csv import CSV_HEADER
from tests.e2e.cli import Cli

ENGINE = {"operation": "RetryEngine", "project_id": "p", "engine_id": "e"}
BOM = b"\xef\xbb\xbf"


class Reading:
    """What came of reading some lines."""

    def __init__(
        self,
        text: str | bytes,
        flags: Mapping[str, bool] | None = None,
        *,
        is_csv: bool = False,
        **defaults: str,
    ) -> None:
        self.items: list[Item] = []
        self.bad: list[tuple[int, str]] = []
        self.notes: list[tuple[int, str]] = []
        self.error = ""
        settings: dict[str, Any] = {"is_csv": is_csv, "defaults": defaults, **(flags or {})}
        settings["on_bad_line"] = lambda *told: self.bad.append(told)
        settings["on_note"] = lambda *told: self.notes.append(told)
        lines = io.BytesIO(text.encode() if isinstance(text, str) else text)
        try:
            for item in read_items(lines, **settings):
                self.items.append(item)
        except InputError as error:
            self.error = str(error)

    @property
    def names(self) -> list[str]:
        return [item.name for item in self.items]


def table(text: str | bytes, **flags: bool) -> Reading:
    """Read CSV with a project."""
    return Reading(text, flags, is_csv=True, project_id="p")


BAD_HEADER = "the header is invalid; nothing was sent"


def line(**changes: object) -> str:
    """A JSON line of an engine, changed; None takes a field away."""
    given = {name: value for name, value in {**ENGINE, **changes}.items() if value is not None}
    return json.dumps(given) + "\n"


def test_each_line_is_a_json_object() -> None:
    script = '{"operation": "RetryScriptExecution", "project_id": "p", "record_id": "r"}\n'
    read = Reading(BOM + f"{line(region='cn-north-4')}\n{script}".encode())
    assert read.items == [
        Item(operation="RetryEngine", project_id="p", engine_id="e", region="cn-north-4"),
        Item(operation="RetryScriptExecution", project_id="p", record_id="r"),
    ]
    assert not read.error


def test_a_csv_names_its_fields_in_the_first_line_and_leaves_empty_what_is_not_given() -> None:
    text = "operation,project_id,engine_id,task_id\r\nRetryEngine,p,e,\r\n\r\nRetryScriptExecution,p,,t\r\n"
    assert Reading(text, is_csv=True).names == ["engine e", "task t"]


def test_blanks_around_what_a_csv_gives_are_no_part_of_it() -> None:
    read = table('operation , engine_id,task_id\nRetryEngine , "e 1", \n , , \n')
    assert [item.fields() for item in read.items] == [{**ENGINE, "engine_id": "e 1"}]
    assert not read.error


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named_in_the_error(encoding: str) -> None:
    said = "is not UTF-8 text: is it UTF-16? Save the file as UTF-8"
    read = Reading("operation,engine_id\nRetryEngine,e\n".encode(encoding), is_csv=True)
    assert (read.bad, read.error) == ([(1, said)], BAD_HEADER)
    assert Reading('{"operation": "RetryEngine"}'.encode(encoding)).bad == [(1, said)]


def test_defaults_hold_for_what_a_line_does_not_say() -> None:
    own = {"project_id": "own", "region": "own", "enterprise_project_id": "own"}
    text = line(project_id=None) + line(**own) + '{"operation": "RetryScriptExecution", "task_id": "t"}\n'
    read = Reading(text, project_id="p", region="r", enterprise_project_id="0")
    assert [item.fields() for item in read.items] == [
        {**ENGINE, "region": "r", "enterprise_project_id": "0"},
        {**ENGINE, **own},
        {"operation": "RetryScriptExecution", "project_id": "p", "region": "r", "task_id": "t"},
    ]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("{", "is not JSON: Expecting property name enclosed in double quotes at column 2"),
        ("[]", "is no JSON object, such as"),
        ("[" * 90_000, "is nested too deeply"),
        ("9" * 5_000, "has a number with too many digits"),
        ('{"operation": "RetryEngine", "operation": "RetryEngine"}', "has a field twice"),
        (line(operation=None, engine_id=None), "engine_id, record_id or task_id missing"),
        (line(operation=None, task_id="t"), "has engine_id and task_id, of two different operations"),
        (line(operation="Retry"), "operation is 'Retry'; it must be RetryEngine or"),
        (line(operation=["RetryEngine"]), "operation must be a non-empty string"),
        (line(project_id=None), "project_id missing"),
        (line(project_id=".."), "would change the path of the request"),
        (line(engine_id=None), "RetryEngine needs engine_id"),
        (line(operation="RetryScriptExecution", engine_id=None), "needs record_id or task_id"),
        (line(engine_id=5), "engine_id must be a non-empty string"),
        (line(engine_id=""), "engine_id must be a non-empty string"),
        (line(engine_id="\ud800"), "engine_id must be printable, without blanks"),
        (line(engine_id=" e"), "engine_id must be printable, without blanks"),
        (line(engine_id="e" * 1001), "engine_id has 1001 characters; the limit is 1000"),
        (line(enterprise_project_id="ä"), "enterprise_project_id must be printable ASCII"),
        (line(enterprise_project_id="a\n"), "enterprise_project_id must be printable, without blanks"),
        (line(task_id="t"), "has no task_id"),
        (line(name="n"), "no field 'name'; the fields are operation, project_id, engine_id"),
        (line(recordid="r"), "no field 'recordid'; did you mean record_id?"),
        (line(recordId="r"), "no field 'recordId'; did you mean record_id?"),
        (b'{"operation": "\xff"}', "is not UTF-8: invalid start byte at byte 15"),
        ('{"a": "' + "x" * 100_000 + '"}', "has 100010 bytes; the limit is 100000"),
    ],
)
def test_an_invalid_line_is_reported_with_its_number_and_reason(bad: str | bytes, why: str) -> None:
    raw = bad if isinstance(bad, bytes) else bad.removesuffix("\n").encode()
    read = Reading(line().encode() + raw + b"\n" + line().encode())
    ((number, said),) = read.bad
    assert number == 2
    assert why in said
    assert read.error == "1 of 3 lines is invalid; nothing was sent"


def test_a_reason_is_reported_once_with_its_first_line_and_the_others() -> None:
    later = [line(operation=f"b{n}") for n in range(20)]
    lines = ["{", "[]", "{}", line(operation="a"), line(), *later, "[]"]
    read = Reading("\n".join(each.strip() for each in lines))
    others = "; and 20 more lines: 6, 7, 8, 9, 10, 11, 12, 13, 14, …"
    assert read.bad == [
        (1, "is not JSON: Expecting property name enclosed in double quotes at column 2"),
        (2, 'is no JSON object, such as {"engine_id": "…"}; and 1 more line: 26'),
        (3, "engine_id, record_id or task_id missing"),
        (4, f"operation is 'a'; it must be RetryEngine or RetryScriptExecution{others}"),
    ]
    assert read.error == "25 of 26 lines are invalid; nothing was sent"


def test_the_reasons_reported_are_at_most_twenty_and_one_for_all_others() -> None:
    read = Reading("".join(line(**{f"field_{letter}": "x"}) for letter in "abcdefghijklmnopqrstuvwxyz"))
    assert len(read.bad) == 21
    assert read.bad[-1] == (21, "is invalid for another reason; and 5 more lines: 22, 23, 24, 25, 26")
    assert read.error == "26 of 26 lines are invalid; nothing was sent"


FIELDS = "names 1: does a text with commas need quotes?"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("engine_id\ne,more\n", f"has 2 fields, but line 1 {FIELDS}"),
        (b"engine_id\n\xff\n", "is not UTF-8: invalid start byte at byte 0; save the file as UTF-8"),
        ('engine_id\n"e"e\n', "is not CSV: ',' expected after '\"'"),
        ('engine_id\n"e\ne,f"\n', "spans lines 2 to 3: is a quote missing?"),
        ('engine_id\n"e\nf\n', "spans lines 2 to 3: is a quote missing?"),
        ('engine_id\n"e\nf"f\n', "spans lines 2 to 3: is a quote missing?"),
        ("engine_id,Comment\n,see below\n", "engine_id, record_id or task_id missing"),
        ("engine_id,,\ne,,f\n", f"has 3 fields, but line 1 {FIELDS}"),
    ],
)
def test_an_invalid_line_of_csv(text: str | bytes, says: str) -> None:
    assert Reading(text, is_csv=True).bad == [(2, says)]


NO_COLUMN = "the first line must name the columns, such as engine_id or record_id; it is "


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("a, b", NO_COLUMN),
        ("operation, project_id", NO_COLUMN),
        ("0000000059071dbc01591661d3990020", NO_COLUMN),
        ("engine_id,Engine ID", "names engine_id twice"),
        ("recordid", "no column 'recordid'; did you mean record_id?"),
        ("engine_id,regoin", "no column 'regoin'; did you mean region?"),
        ("engine_id,Project", "no column 'Project'; did you mean project_id?"),
        ('engine_id,"a\nb"', "spans lines 1 to 2: is a quote missing?"),
        ('engine_id,"a', "spans lines 1 to 3: is a quote missing?"),
        ('"engine_id"x', "is not CSV: ',' expected after '\"'"),
    ],
)
def test_a_header_that_is_invalid_is_all_that_is_reported(header: str, says: str) -> None:
    read = table(f"{header}\ne,p\n..,p\n")
    ((number, said),) = read.bad
    assert (number, said[: len(says)], read.error) == (1, says, BAD_HEADER)


@pytest.mark.parametrize(
    ("text", "is_csv"), [("engine_id\n", True), ("engine_id,\n,\n", True), ("\n", False), ("", False)]
)
def test_an_input_without_a_line_is_refused(text: str, is_csv: bool) -> None:
    assert Reading(text, is_csv=is_csv).error == "the input is empty: no line with a retry"


# --- What spreadsheets write ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "engine_id\ne\n",
        "Engine ID\ne\n",
        "engine-id\ne\n",
        "EngineId\ne\n",
        "engine_id,,\ne,,\n,,\n",
        "engine_id\ne,,,\n,,,\n",
        "\n,,\nengine_id\ne\n",
        "Region;Engine ID\n;e\n",
        "region\tengine_id\n\te\n",
        "sep=;\r\nengine_id;record_id\r\ne;\r\n",
        '"sep=\t"\nengine_id\trecord_id\ne\t\n',
        f'{CSV_HEADER}refused,RetryEngine,p,,e,,,,"x,y",,,,,,,,\n',
    ],
)
@pytest.mark.parametrize("strict_columns", [False, True])
def test_a_table_is_read_as_spreadsheets_write_it(text: str, strict_columns: bool) -> None:
    for bom in (b"", BOM):
        read = table(bom + text.encode(), strict_columns=strict_columns)
        assert (read.names, read.bad, read.notes, read.error) == (["engine e"], [], [], "")


def test_unknown_columns_are_ignored_with_one_note_or_refused_if_asked_for() -> None:
    text = ',Name,engine_id,Comment\n0,n,e,"a, b"\n1,n,f,\n'
    read = table(text)
    assert (read.names, read.bad) == (["engine e", "engine f"], [])
    assert read.notes == [(1, "ignored columns: column 1 without a name, 'Name', 'Comment'")]
    read = table(text, strict_columns=True)
    assert read.bad == [(1, "unknown columns: column 1 without a name, 'Name', 'Comment'; remove them")]
    assert (read.notes, read.error) == ([], BAD_HEADER)


def test_the_output_of_a_bulk_is_an_input_again() -> None:
    told = Outcome(item=Item(**ENGINE), verdict="refused", message="m", started_at=0, seconds=0).to_dict()
    assert Reading(json.dumps(told)).items == [Item(**ENGINE)]


def test_the_operation_follows_from_the_id() -> None:
    read = table("engine_id,record_id,task_id\ne,,\n,r,\n,,t\n")
    assert [(item.operation, item.name) for item in read.items] == [
        ("RetryEngine", "engine e"),
        ("RetryScriptExecution", "record r"),
        ("RetryScriptExecution", "task t"),
    ]


def test_an_operation_that_is_given_decides_between_ids() -> None:
    text = "engine_id,record_id,operation\ne,r,\ne,r,\n"
    ((number, said),) = table(text).bad
    assert (number, "or give operation=" in said) == (2, True)
    assert Reading(text, is_csv=True, project_id="p", operation="RetryEngine").names == ["engine e"] * 2
    of_the_other = Reading("record_id\nr\n", is_csv=True, project_id="p", operation="RetryEngine")
    assert of_the_other.bad == [(2, "RetryEngine needs engine_id")]


@pytest.mark.parametrize(
    ("id_", "reason"),
    [
        ("5.9071E+25", "a spreadsheet made it a number"),
        ("5,9071E+25", "a spreadsheet made it a number"),
        ("5E+25", "a spreadsheet made it a number"),
        ("59071.0", "a spreadsheet made it a number"),
        ("59071000000000000000000000", "a spreadsheet rounded it to 15 digits"),
        ('="59071"', "it is a formula or an error value"),
        ("#REF!", "it is a formula or an error value"),
        ("'59071", "remove the quotation marks"),
        ("“59071", "remove the quotation marks"),
    ],
)
@pytest.mark.parametrize("field", ["record_id", "project_id"])
def test_an_id_that_a_spreadsheet_damaged_is_refused(id_: str, reason: str, field: str) -> None:
    given = ({"record_id": "r", "project_id": "p", field: each} for each in ("r1", id_, "r2", id_))
    text = "\n".join(map(json.dumps, given))
    read = Reading(text)
    ((number, said),) = read.bad
    assert (number, read.error) == (2, "2 of 4 lines are invalid; nothing was sent")
    assert said.startswith(f"{field} is {id_!r}: {reason}")
    assert said.endswith("; or give allow_odd_ids=True; and 1 more line: 4")
    assert len(Reading(text, {"allow_odd_ids": True}).items) == 4


HEX = "{:032x}".format
UUID = "4a1bc63d-4719-4bd3-b1ad-{:012x}".format


def ids(*given: str) -> str:
    return "\n".join(["record_id", *given, ""])


def test_an_id_of_another_length_than_all_that_look_alike_is_refused() -> None:
    odd = [*map(HEX, range(20)), HEX(20)[2:], *map(HEX, range(30, 50)), HEX(60) + "0", *map(UUID, range(9))]
    text = ids(*odd)
    read = table(text)
    ((number, said),) = read.bad
    assert number == 22
    assert said.startswith("record_id is not 32 characters long, as 40 others are: is a part missing?")
    assert said.endswith("; and 1 more line: 43")
    assert read.error == "2 of 51 lines are invalid; nothing was sent"
    assert not table(text, allow_odd_ids=True).error


def test_a_line_is_counted_once_however_many_of_its_ids_are_odd() -> None:
    rows = [f"{HEX(n)},{HEX(n)}" for n in range(9)]
    read = table("\n".join(["project_id,record_id", *rows, f"{HEX(9)[1:]},{HEX(9)[1:]}", ""]))
    assert (len(read.bad), read.error) == (1, "1 of 10 lines is invalid; nothing was sent")


@pytest.mark.parametrize(
    "given",
    [
        [f"e{n}" for n in range(1, 301)],
        ["7" * n for n in range(1, 30)],
        [HEX(1), HEX(2), HEX(3)[1:]],
        [*map(HEX, range(8)), *[HEX(n)[1:] for n in range(8)]],
        [*map(HEX, range(20)), *map(UUID, range(3)), "e1", "no-such-engine"],
        ["0123456789012345678901234567e123", "12345678901234567890", f"{3_000_000:036}"],
    ],
    ids=["short", "growing", "too few", "no usual length", "two kinds", "digits"],
)
def test_ids_that_differ_by_nature_are_accepted(given: list[str]) -> None:
    read = table(ids(*given))
    assert (len(read.items), read.error) == (len(given), "")


# --- At the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, monkeypatch, capsys)


TO = "--dry-run --output jsonl --region cn-north-4"
EXCEL = "is an Excel workbook; save it as CSV UTF-8"


@pytest.mark.parametrize(
    ("name", "begin", "says"),
    [
        ("in.csv", b"PK\3\4", EXCEL),
        ("in.xlsx", b"", EXCEL),
        ("in.XLS", b"a\tb\n", EXCEL),
        ("in.ods", b"PK\3\4", EXCEL),
        ("in", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", EXCEL),
        ("in.csv.gz", b"\x1f\x8b", "is compressed with gzip; unpack it first"),
        ("in.json", b"[\n", "is a JSON array; give one object on each line"),
    ],
)
def test_another_format_is_refused_by_its_name(cli: Cli, name: str, begin: bytes, says: str) -> None:
    (cli.folder / name).write_bytes(begin)
    ran = cli(f"bulk {name} {TO}")
    assert (ran.code, ran.err.startswith(f"hwc-retry bulk: {name} {says}")) == (2, True)


def test_the_sample_of_the_help_is_an_input(cli: Cli) -> None:
    assert "".join(f"  {row}\n" for row in SAMPLE.splitlines()) in cli("bulk --help").out
    ran = cli(f"bulk {cli.write('in.csv', SAMPLE)} {TO}")
    assert (ran.code, "2 retries" in ran.err) == (0, True)


def test_options_say_how_a_table_is_read(cli: Cli) -> None:
    cli.write("in.csv", "Name,engine_id,record_id\nn,'e,r\n")
    ran = cli(f"bulk in.csv {TO} --operation RetryEngine")
    assert ran.code == 2
    assert ran.err.splitlines() == [
        "in.csv:1: ignored columns: 'Name'",
        'in.csv:2: engine_id is "\'e": remove the quotation marks; or give --allow-odd-ids',
        "hwc-retry bulk: 1 of 1 line is invalid; nothing was sent",
    ]
    for options, code, says in (
        ("--operation RetryEngine --allow-odd-ids", 0, "RetryEngine in cn-north-4: 1"),
        ("--strict-columns", 2, "in.csv:1: unknown columns: 'Name'; remove them\n"),
        ("", 2, "leave one empty, or give --operation\n"),
    ):
        ran = cli(f"bulk in.csv {TO} {options}")
        assert (ran.code, says in ran.err) == (code, True)
