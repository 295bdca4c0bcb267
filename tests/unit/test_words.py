"""What users read has the field's standard terms, and one word for one thing."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROSE = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])
SOURCES = [ROOT / "openapi.yaml", *sorted((ROOT / "src").rglob("*.py"))]

# Each with the word to write in its place.
UNWANTED = re.compile(
    r"""\b(?:
      answer(?:s|ed|ing)?                        # response, respond
    | worlds?                                    # sync and async
    | will\s+not\s+do                            # is invalid
    | surely\s+did\s+not\s+act                   # was not processed
    | may\s+have\s+acted                         # may have been processed
    | sen(?:d|ds|t|ding)\s+again                 # resend
    | (?:first|longest)\s+waits?                 # initial backoff, maximum backoff
    | pace[ds]? | senders? | keepers?            # rate limiter, workers, journal writer
    | lets?\s+in                                 # accepts
    | getting\s+of | (?<!single-)(?<!in\s)flights?  # token fetch, single-flight fetch
    | pages\s+of\s+the\s+mock | mock's\s+(?:pages|journal)  # admin endpoints, request log
    | misbehav\w+ | looking\s+behind\s+it | steering\s+it  # fault injection, request log, admin API
    | told | says?\s+why                         # reported, logged; explains
    | who(?:so)?ever                             # the caller, the consumer, the reader
    | whole\s+numbers?                           # integer
    | small\s+letters | in\s+capitals            # lower case, upper case
    | besides?                                   # next to; also
    | as\s+it\s+should\s+not                     # internal error
    | intentions?                                # is written to the journal before it is sent
    | taken\s+in                                 # read, loaded
    | bites?                                     # detects
    )\b""",
    re.VERBOSE | re.IGNORECASE,
)


def texts(file: Path) -> Iterator[tuple[int, str]]:
    """The texts of a file that users read, each with the line that it begins in."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        yield 1, re.sub("`[^`\n]+`", "``", text)  # names in code are no words
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def findings(file: Path) -> list[str]:
    found = []
    for first, written in texts(file):
        text = re.sub(r"[ \t]*\n[ \t]*", "\n", written)  # a term may go on in the next line
        for match in UNWANTED.finditer(text):
            line = first + text.count("\n", 0, match.start())
            found.append(f"{file.relative_to(ROOT)}:{line}: {match[0]!r}")
    return found


@pytest.mark.parametrize("file", PROSE, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_what_users_read_has_the_standard_words(file: Path) -> None:
    assert findings(file) == []


def test_docstrings_messages_and_help_have_the_standard_words() -> None:
    assert [finding for file in SOURCES for finding in findings(file)] == []


def test_an_unwanted_word_is_found_and_others_are_not() -> None:
    for text in ("the answer is", "it will\n  not do", "besides", "a flight", "sent again", "world"):
        assert UNWANTED.search(text), text
    for text in ("in flight", "single-flight fetch", "space", "unanswered", "inside", "response"):
        assert not UNWANTED.search(text), text
