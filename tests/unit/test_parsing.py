"""Files that people write: errors name the line. JSON bodies are read in test_contract.py."""

import jsonschema_rs
import pytest

from huaweicloud_retry.parsing import UnreadableError, pointer, read_checked, read_yaml, shorten

LISTS = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}}}
SCHEMA = jsonschema_rs.Draft202012Validator(
    {"type": "object", "properties": {"engines": LISTS}, "additionalProperties": False}
)
ALIASES = "".join(
    f"  {b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
)


def test_a_good_file_is_read_as_yaml_1_2() -> None:
    assert read_checked(b"engines:\n  no: [1, 0o17]\n  2025-01-01: []\n", SCHEMA) == {
        "engines": {"no": [1, 15], "2025-01-01": []}
    }


def test_scalars_are_those_of_yaml_1_2() -> None:
    texts: dict[str, object] = {
        "no": "no",
        "2026-11-21": "2026-11-21",
        "12:30": "12:30",
        "0777": 777,
        "0x1F": 31,
    }
    texts |= {
        "0o17": 15,
        "-5": -5,
        "1e3": 1000.0,
        "True": True,
        "~": None,
        "''": "",
        "'1'": "1",
        "0.1.0": "0.1.0",
    }
    read = read_yaml(f"[{', '.join(texts)}]".encode())
    assert repr(read) == repr([*texts.values()])  # 1 equals True and 1.0


def test_a_whole_number_written_with_a_point_is_an_integer() -> None:
    read = read_checked(b"engines: {a: [5.0]}", SCHEMA)
    assert repr(read) == "{'engines': {'a': [5]}}"  # 5.0 would equal 5, and then be 5.0 in a response


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "engines:\n  a: [1]\n  b:\n    - 2\n    - x\n",
            'line 5, /engines/b/1: "x" is not of type "integer"',
        ),
        ("engines:\n  a: 5\n", 'line 2, /engines/a: 5 is not of type "array"'),
        (
            "engines: {}\ntasks: {}\n",
            "line 2: Additional properties are not allowed ('tasks' was unexpected)",
        ),
        ("- 1\n", 'line 1: [1] is not of type "object"'),
        ("", 'line 1: null is not of type "object"'),
        ("engines:\n  a/b~c: 5\n", 'line 2, /engines/a~1b~0c: 5 is not of type "array"'),
        ("engines:\n  1: []\n", "line 2: this key is not a string in YAML: write it in quotes"),
        ("engines:\n  b:\n    - x\n", 'line 3, /engines/b/0: "x" is not'),
        ("engines: {a: " + "[" * 100_000, "is nested too deeply, or too large"),
        ("engines:\n  a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + ALIASES, "is nested too deeply, or too large"),
        ("engines:\n  a: [1]\n  b: [2]\n  a: [3]\n", "line 4: "),
        ("engines:\n  a: [1\n", "is not YAML: line 3, column 1: did not find expected ',' or ']'"),
        ("engines: !!python/name:os.system\n", "is not YAML: line 1, column 10: could not determine"),
        ("engines: {a: [.nan]}\n", 'line 1, /engines/a/0: ".nan" is not of type "integer"'),
        ("engines: {a: &loop [*loop]}\n", "has values that JSON does not have"),
        # an error in what a merge key brought is that of the mapping that has the key
        ("engines:\n  <<: &more\n    a: 5\n", "line 1, /engines/a: 5 is not"),
        (b"engines: \xff", "is not YAML: "),
    ],
    ids=range(17),
)
def test_an_invalid_file_is_reported_with_place_and_reason(text: str | bytes, says: str) -> None:
    with pytest.raises(UnreadableError) as error:
        read_checked(text.encode() if isinstance(text, str) else text, SCHEMA)
    assert str(error.value).startswith(says)


def test_long_texts_lose_their_middle() -> None:
    assert shorten("a" * 200) == "a" * 200
    assert shorten("a" * 100 + "x" + "b" * 100) == "a" * 100 + "…" + "b" * 100
    assert len(pointer(["x" * 500])) == 201
    assert pointer([]) == ""
