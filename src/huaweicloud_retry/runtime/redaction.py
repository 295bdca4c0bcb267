"""Keeps secrets out of texts, reprs, pickles and tracebacks."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from html.entities import name2codepoint
from typing import Final, Generic, Never, Self, TypeVar

T = TypeVar("T")

_LOOKED_AT: Final = (
    1 << 18
)  # bytes of a text that are searched for all ways to write a secret, which takes a while
_LEAST: Final = 6  # characters; so long a start of a secret is masked if the rest is missing
_HEADERS: Final = (
    "x-auth-token",
    "x-security-token",
    "x-subject-token",
    "authorization",
    "proxy-authorization",
)
# The gateway may echo the signed headers of a request in its message, a temporary key's security token among
# them. The name may stand before the value as in a header, in JSON, in JSON within JSON, or in HTML.
# Possessive, so linear.
_NAMED: Final = re.compile(
    r"""(?ix) \b (x-auth-token|x-security-token|x-subject-token|authorization)
    ((?:[\s"'\\]|&\#?\w++;)*+ [:=] (?:[\s"'\\[({]|&\#?\w++;)*+) [^|"'\\\r\n&<]++"""
)
# How JSON, URLs and HTML write a byte or character; each run of backslashes is passed over, as in JSON within
# JSON.
_ESCAPE: Final = re.compile(
    rb"\\++u(d[89ab]..)\\++u(d[c-f]..)|\\++u([\da-f]{4})|\\++|%([\da-f]{2})"
    rb"|&\#(\d{1,7});|&\#x([\da-f]{1,6});|&([a-z]{2,8});",
    re.IGNORECASE,
)
_PAIR, _UNIT, _BYTE, _DECIMAL, _HEXADECIMAL, _NAME = range(2, 8)  # groups of it
_AS_LETTER: Final = bytes.maketrans(b"\b\f\n\r\t", b"bfnrt")  # as JSON writes them, without its backslash


class Secret(Generic[T]):
    """Holds a value that no repr, copy or pickle of this or of what holds it shows."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """Return the value; do not give it a name in a frame that can raise."""
        return self._value

    def __repr__(self) -> str:
        return "<hidden>"

    def __reduce_ex__(self, _protocol: object) -> Never:
        raise TypeError("a secret cannot be pickled")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self


class HiddenMapping(Mapping[str, str]):
    """A mapping, such as the environment, whose repr shows nothing of it."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = Secret(values)

    def __getitem__(self, key: str) -> str:
        return self._values.reveal()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values.reveal())

    def __len__(self) -> int:
        return len(self._values.reveal())

    def __repr__(self) -> str:
        return "<hidden>"


def one_line(text: str, length: int = 500) -> str:
    """Return text fit for a log line: secret headers masked, printable, `length` characters at most."""
    masked = mask_headers(text[:100_000])
    line = " ".join("".join(char if char.isprintable() else " " for char in masked).split())
    return line if len(line) <= length else line[:length] + "…"


def mask_headers(text: str) -> str:
    """Put *** for what follows the name of a header that holds a secret."""
    return _NAMED.sub(r"\1\2***", text)


def header_secrets(headers: Mapping[str, str]) -> list[Secret[str]]:
    """Return what of a request's headers must not show."""
    values = [
        headers[name].rpartition(" ")[2].removeprefix("Signature=") for name in _HEADERS if name in headers
    ]
    return [
        Secret(value) for value in values if len(value) >= _LEAST
    ]  # shorter ones would mask ordinary text


def mask(text: bytes, secret: Secret[str]) -> bytes:
    """Put *** for a secret, and for each part of 6 or more characters from its start, in linear time.

    Found as it is, and as JSON, URLs or HTML escape it, each character in any of these ways.
    """
    plain = secret.reveal().encode(errors="surrogatepass")
    if plain and not plain[:_LEAST].strip(b"\\"):  # which are passed over below
        text = re.sub(rb"\\{%d,}+" % min(_LEAST, len(plain)), b"***", text)
    rest = b""
    # What is behind is kept only if it is plain to see that nothing of the secret is there.
    if len(text) > _LOOKED_AT:
        behind = text[max(0, _LOOKED_AT - 12 * len(plain)) :]
        is_clean = plain[:_LEAST] not in text and not any(mark in behind for mark in (b"\\", b"%", b"&"))
        text, rest = text[:_LOOKED_AT], text[_LOOKED_AT:] if is_clean else b"***"
    view, starts, sources = _unescaped(text)
    spans: list[tuple[int, int]] = []
    # What looks like an escape may be one, or be of the secret itself.
    for sought, least in {(way(plain), len(way(plain[:_LEAST]))) for way in (_read, _taken_as_it_is)}:
        spans += _spans(view, sought, least)
    masked, done = bytearray(), 0
    for span in sorted(spans):
        start, end = (_source(at, starts, sources) for at in span)
        if end > done:
            masked += (
                text[done : max(start, done)].rstrip(b"\\") + b"***"
            )  # with those that escape its first character
            done = end
    return bytes(masked + text[done:] + rest)


def _read(part: bytes) -> bytes:
    return bytes(_unescaped(part)[0])


def _taken_as_it_is(part: bytes) -> bytes:
    return part.replace(b"\\", b"").translate(_AS_LETTER)


def _unescaped(text: bytes) -> tuple[bytearray, list[int], list[int]]:
    """Return the text without escapes, and where each of its pieces begins, in there and in the text."""
    view, starts, sources, done = bytearray(), [0], [0], 0
    for found in _ESCAPE.finditer(text):
        char = b"" if found.lastindex is None else _meaning(found, found.lastindex)
        if char is not None:
            at, end = found.span()
            view += text[done:at]
            if char:
                starts.append(len(view))
                sources.append(at)
                view += char
            starts.append(len(view))
            sources.append(end)
            done = end
    view += text[done:]
    return view.translate(_AS_LETTER), starts, sources


def _meaning(found: re.Match[bytes], kind: int) -> bytes | None:
    digits = found[kind].decode()
    try:
        if kind == _BYTE:
            char = bytes.fromhex(digits)
        elif kind == _PAIR:
            char = bytes.fromhex(found[1].decode() + digits).decode("utf-16-be").encode()
        elif kind == _NAME:
            char = chr(name2codepoint.get(digits, 0) or {"apos": 39}[digits]).encode()
        else:
            char = chr(int(digits, 10 if kind == _DECIMAL else 16)).encode(errors="surrogatepass")
    except (ValueError, LookupError, OverflowError):  # only looks like an escape
        return None
    return char.replace(b"\\", b"")


def _spans(view: bytearray, sought: bytes, least: int) -> list[tuple[int, int]]:
    """Return where the start of `sought` stands, as far as it goes: the algorithm of Knuth, Morris and Pratt."""
    least, spans, borders = min(least, len(sought)), list[tuple[int, int]](), list[int]()
    at = view.find(sought[:least]) if least else -1
    if at >= 0:
        borders = _borders(sought)
    while at >= 0:
        length, end, start, stop = least, at + least, at, at + least
        while length >= least and end < len(view):
            byte = view[end]
            while length and (length == len(sought) or sought[length] != byte):
                length = borders[length - 1]
            length += sought[length] == byte
            end += 1
            if length >= least:
                if end - length > stop:
                    spans.append((start, stop))
                    start = end - length
                stop = end
        spans.append((start, stop))
        at = view.find(sought[:least], end - length) if end < len(view) else -1
    return spans


def _borders(sought: bytes) -> list[int]:
    """Return, for each part from the start, how much of its end is its start again."""
    borders, length = [0], 0
    for byte in sought[1:]:
        while length and sought[length] != byte:
            length = borders[length - 1]
        length += sought[length] == byte
        borders.append(length)
    return borders


def _source(at: int, starts: list[int], sources: list[int]) -> int:
    """Return where a place of the unescaped text stands in the text."""
    piece = bisect_right(starts, at) - 1
    return sources[piece] + at - starts[piece]
