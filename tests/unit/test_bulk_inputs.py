"""What a bulk reads: JSON lines or CSV, each line an item or a word on why it is none."""

import json

import pytest

from huaweicloud_retry.bulk import Item
from huaweicloud_retry.bulk.inputs import InputError, read_items

ENGINE = {"operation": "RetryEngine", "project_id": "p", "engine_id": "e"}
BOM = b"\xef\xbb\xbf"


class Reading:
    """What came of reading some lines."""

    def __init__(self, text: str | bytes, *, is_csv: bool = False, **defaults: str) -> None:
        self.items: list[Item] = []
        self.bad: list[tuple[int, str]] = []
        self.error = ""
        raw = text.encode() if isinstance(text, str) else text
        lines = raw.splitlines(keepends=True)
        try:
            for item in read_items(
                lines, is_csv=is_csv, defaults=defaults, on_bad_line=lambda number, why: self.bad.append((number, why))
            ):
                self.items.append(item)
        except InputError as error:
            self.error = str(error)


def line(**changes: object) -> str:
    """A JSON line of an engine, changed; None takes a field away."""
    return json.dumps({name: value for name, value in {**ENGINE, **changes}.items() if value is not None}) + "\n"


def test_each_line_is_a_json_object() -> None:
    script = '{"operation": "RetryScriptExecution", "project_id": "p", "record_id": "r"}\n'
    read = Reading(f"{line(region='cn-north-4')}\n{script}")
    assert read.items == [
        Item(operation="RetryEngine", project_id="p", engine_id="e", region="cn-north-4"),
        Item(operation="RetryScriptExecution", project_id="p", record_id="r"),
    ]
    assert not read.error


def test_a_csv_names_its_fields_in_the_first_line_and_leaves_empty_what_is_not_given() -> None:
    read = Reading(
        "operation,project_id,engine_id,task_id\r\nRetryEngine,p,e,\r\n\r\nRetryScriptExecution,p,,t\r\n", is_csv=True
    )
    assert [item.name for item in read.items] == ["engine e", "task t"]


def test_blanks_around_what_a_csv_gives_are_no_part_of_it() -> None:
    read = Reading('operation , engine_id,task_id\nRetryEngine , "e 1", \n , , \n', is_csv=True, project_id="p")
    assert [item.fields() for item in read.items] == [{**ENGINE, "engine_id": "e 1"}]
    assert not read.error


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_called_so(encoding: str) -> None:
    said = "is not UTF-8 text: is it UTF-16?"
    assert Reading("operation,engine_id\n".encode(encoding), is_csv=True).error == f"line 1 {said}"
    assert Reading('{"operation": "RetryEngine"}'.encode(encoding)).bad == [(1, said)]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert Reading(BOM + b"operation,project_id,engine_id\nRetryEngine,p,e\n", is_csv=True).items
    assert Reading(BOM + line().encode()).items


def test_defaults_hold_for_what_a_line_does_not_say() -> None:
    read = Reading(
        line(project_id=None)
        + line(project_id="own", region="own", enterprise_project_id="own")
        + '{"operation": "RetryScriptExecution", "task_id": "t"}\n',
        project_id="p",
        region="r",
        enterprise_project_id="0",
    )
    assert [item.fields() for item in read.items] == [
        {**ENGINE, "region": "r", "enterprise_project_id": "0"},
        {**ENGINE, "project_id": "own", "region": "own", "enterprise_project_id": "own"},
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
        (line(operation=None), "operation is missing: RetryEngine or RetryScriptExecution"),
        (line(operation="Retry"), "operation is 'Retry'; it must be RetryEngine or"),
        (line(operation=["RetryEngine"]), "operation must be text, and not empty"),
        (line(project_id=None), "project_id missing"),
        (line(project_id=".."), "cannot be a segment of the path"),
        (line(engine_id=None), "RetryEngine needs engine_id"),
        (line(operation="RetryScriptExecution", engine_id=None), "needs record_id or task_id"),
        (line(engine_id=5), "engine_id must be text, and not empty"),
        (line(engine_id=""), "engine_id must be text, and not empty"),
        (line(engine_id="\ud800"), "engine_id must be printable, without blanks"),
        (line(engine_id=" e"), "engine_id must be printable, without blanks"),
        (line(engine_id="e" * 1001), "engine_id has 1001 characters, and 1000 are allowed"),
        (line(enterprise_project_id="ä"), "enterprise_project_id must be printable ASCII"),
        (line(enterprise_project_id="a\n"), "enterprise_project_id must be printable, without blanks"),
        (line(task_id="t"), "has no task_id"),
        (line(name="n"), "there is no field 'name'"),
        (b'{"operation": "\xff"}', "is not UTF-8: invalid start byte at byte 15"),
        ('{"a": "' + "x" * 100_000 + '"}', "has 100010 bytes, and 100000 are allowed"),
    ],
)
def test_a_line_that_will_not_do_is_told_with_its_number_and_reason(bad: str | bytes, why: str) -> None:
    raw = bad if isinstance(bad, bytes) else bad.removesuffix("\n").encode()
    read = Reading(line().encode() + raw + b"\n" + line().encode())
    ((number, said),) = read.bad
    assert number == 2
    assert why in said
    assert read.error == "1 of 3 lines will not do; nothing was sent"


def test_all_bad_lines_are_told() -> None:
    read = Reading("{\n[]\n{}\n")
    assert [number for number, _ in read.bad] == [1, 2, 3]
    assert read.error == "3 of 3 lines will not do; nothing was sent"


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("engine_id\ne,more\n", (2, "has 2 fields, and line 1 names 1")),
        (b"engine_id\n\xff\n", (2, "is not UTF-8: invalid start byte at byte 0")),
        ('engine_id\n"e"e\n', (2, "is not CSV: ',' expected after '\"'")),
        ('engine_id\n"e\ne,f"\n', (2, "spans lines 2 to 3: is a quote missing?")),
        ('engine_id\n"e\nf\n', (2, "spans lines 2 to 3: is a quote missing?")),
        ('engine_id\n"e\nf"f\n', (2, "spans lines 2 to 3: is a quote missing?")),
    ],
)
def test_a_csv_line_that_will_not_do(text: str | bytes, bad: tuple[int, str]) -> None:
    assert Reading(text, is_csv=True).bad == [bad]


@pytest.mark.parametrize("header", ["", "a,b", "operation,project_id", "engine_id,engine_id"])
def test_a_csv_needs_a_header(header: str) -> None:
    assert "line 1 must name the fields" in Reading(f"{header}\nRetryEngine,p\n", is_csv=True).error


@pytest.mark.parametrize(("text", "is_csv"), [("engine_id\n", True), ("\n", False)])
def test_an_input_without_a_line_is_refused(text: str, is_csv: bool) -> None:
    assert Reading(text, is_csv=is_csv).error == "there is nothing in it: no line with a retry"
