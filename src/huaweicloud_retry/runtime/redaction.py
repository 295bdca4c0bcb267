"""Keeps secrets out of texts, reprs, pickles and tracebacks."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from html.entities import name2codepoint
from typing import Final, Generic, Never, Self, TypeVar

T = TypeVar("T")

_SEARCHED: Final = 1 << 18  # bytes of a text that are searched for escaped secrets, which is slow
_LEAST: Final = 6  # characters: a secret's start of this length is masked, even if the rest is missing
_HEADERS: Final = (
    "x-auth-token",
    "x-security-token",
    "x-subject-token",
    "authorization",
    "proxy-authorization",
)
# The gateway's message may repeat the signed headers of a request, including a security token. Matches a
# header's name and value, also in JSON, JSON within JSON, or HTML. Possessive quantifiers: linear time.
_NAMED: Final = re.compile(
    r"""(?ix) \b (x-auth-token|x-security-token|x-subject-token|authorization)
    ((?:[\s"'\\]|&\#?\w++;)*+ [:=] (?:[\s"'\\[({]|&\#?\w++;)*+) [^|"'\\\r\n&<]++"""
)
# The escapes of JSON, URLs and HTML. Runs of backslashes are skipped, for JSON within JSON.
_ESCAPE: Final = re.compile(
    rb"\\++u(d[89ab]..)\\++u(d[c-f]..)|\\++u([\da-f]{4})|\\++|%([\da-f]{2})"
    rb"|&\#(\d{1,7});|&\#x([\da-f]{1,6});|&([a-z]{2,8});",
    re.IGNORECASE,
)
_PAIR, _UNIT, _BYTE, _DECIMAL, _HEXADECIMAL, _NAME = range(2, 8)  # groups of _ESCAPE
_AS_LETTER: Final = bytes.maketrans(b"\b\f\n\r\t", b"bfnrt")  # JSON's escapes without the backslash


class Secret(Generic[T]):
    """Holds a value that no repr and no pickle shows; a copy is the same object."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """Return the value. Do not assign it to a local variable: a traceback may show that."""
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
    """A mapping, such as the environment, whose repr shows nothing."""

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
    """Return text for one log line: printable, secret headers masked, `length` characters at most."""
    masked = mask_headers(text[:100_000])
    line = " ".join("".join(char if char.isprintable() else " " for char in masked).split())
    return line if len(line) <= length else line[:length] + "…"


def mask_headers(text: str) -> str:
    """Replace the values of headers that hold secrets by ***."""
    return _NAMED.sub(r"\1\2***", text)


def header_secrets(headers: Mapping[str, str]) -> list[Secret[str]]:
    """Return the secrets in a request's headers."""
    found = [headers[name] for name in _HEADERS if name in headers]
    values = [value.rpartition(" ")[2].removeprefix("Signature=") for value in found]
    return [Secret(value) for value in values if len(value) >= _LEAST]  # shorter ones occur in ordinary text


def mask(text: bytes, secret: Secret[str]) -> bytes:
    """Replace a secret, and any start of it from 6 characters on, by ***, in linear time.

    Finds it plain, and escaped as in JSON, URLs or HTML, in any mixture.
    """
    plain = secret.reveal().encode(errors="surrogatepass")
    if plain and not plain[:_LEAST].strip(b"\\"):  # the search below skips backslashes
        text = re.sub(rb"\\{%d,}+" % min(_LEAST, len(plain)), b"***", text)
    rest = b""
    # The rest of a long text is kept only if it clearly has no part of the secret.
    if len(text) > _SEARCHED:
        behind = text[max(0, _SEARCHED - 12 * len(plain)) :]
        is_clean = plain[:_LEAST] not in text and not any(mark in behind for mark in (b"\\", b"%", b"&"))
        text, rest = text[:_SEARCHED], text[_SEARCHED:] if is_clean else b"***"
    view, starts, sources = _unescaped(text)
    spans: list[tuple[int, int]] = []
    # Characters of the secret may look like an escape, so search for it with and without unescaping.
    for sought, least in {(way(plain), len(way(plain[:_LEAST]))) for way in (_unescaped_part, _literal_part)}:
        spans += _spans(view, sought, least)
    masked, done = bytearray(), 0
    for span in sorted(spans):
        start, end = (_source(at, starts, sources) for at in span)
        if end > done:
            # Drop the backslashes that escape its first character, too.
            masked += text[done : max(start, done)].rstrip(b"\\") + b"***"
            done = end
    return bytes(masked + text[done:] + rest)


def _unescaped_part(part: bytes) -> bytes:
    return bytes(_unescaped(part)[0])


def _literal_part(part: bytes) -> bytes:
    return part.replace(b"\\", b"").translate(_AS_LETTER)


def _unescaped(text: bytes) -> tuple[bytearray, list[int], list[int]]:
    """Return the text without escapes, and the start of each piece in it and in the original text."""
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
    except (ValueError, LookupError, OverflowError):  # it is not an escape
        return None
    return char.replace(b"\\", b"")


def _spans(view: bytearray, sought: bytes, least: int) -> list[tuple[int, int]]:
    """Return the spans that match a start of `sought`, with the algorithm of Knuth, Morris and Pratt."""
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
    """Return, for each start of `sought`, how many bytes at its end equal those at its beginning."""
    borders, length = [0], 0
    for byte in sought[1:]:
        while length and sought[length] != byte:
            length = borders[length - 1]
        length += sought[length] == byte
        borders.append(length)
    return borders


def _source(at: int, starts: list[int], sources: list[int]) -> int:
    """Return the position in the original text of a position in the unescaped text."""
    piece = bisect_right(starts, at) - 1
    return sources[piece] + at - starts[piece]
