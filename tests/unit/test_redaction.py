"""Secrets in texts from elsewhere: masked however they are escaped, cut off or overlapping, in linear time."""

import copy
import html
import json
import pickle
import re
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huaweicloud_retry.runtime import redaction
from huaweicloud_retry.runtime.redaction import (
    HiddenMapping,
    Secret,
    header_secrets,
    mask,
    mask_headers,
    one_line,
)

PASSWORD = "s3cret/pass\"word\\1 \t&<'é€\U0001f511"


def as_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def in_unicode_escapes(text: str) -> str:
    units = text.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02X}{units[at + 1]:02x}" for at in range(0, len(units), 2))


ESCAPES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": as_json,
    "JSON, not ASCII only": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON with \\/": lambda text: as_json(text).replace("/", "\\/"),
    "JSON in JSON": lambda text: as_json(as_json(text)),
    "JSON in JSON in JSON": lambda text: as_json(as_json(as_json(text))),
    "JSON, all escaped": in_unicode_escapes,
    "percent": lambda text: quote(text, safe=""),
    "percent, in lower case": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text)),
    "percent, all": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "HTML": html.escape,
    "HTML, decimal": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "HTML, hexadecimal": lambda text: "".join(f"&#x{ord(char):X};" for char in text),
}
escapes = pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)


def masked(text: str, secret: str) -> str:
    return mask(text.encode(errors="surrogatepass"), Secret(secret)).decode(errors="surrogatepass")


@escapes
@pytest.mark.parametrize("secret", [PASSWORD, "token-" + "x" * 3000, "\U0001f511" * 3, "ééé"])
def test_a_secret_is_masked_in_any_escape(escape: Callable[[str], str], secret: str) -> None:
    written = escape(secret)
    for around in ("", "|", '{"a": "', "%4", "&#6", "\\u00"):
        assert masked(f"<{around}|{written}|>", secret) == f"<{around}|***|>"
    assert masked(written + "|" + written, secret) == "***|***"


@escapes
def test_the_start_of_a_secret_is_masked_if_it_has_6_characters(escape: Callable[[str], str]) -> None:
    secret = "0123456789" + PASSWORD
    for length in range(6, 11):
        assert masked(f"<{escape(secret[:length])}~>", secret) == "<***~>"
    assert masked(f"<{escape(secret[:5])}~>", secret) == f"<{escape(secret[:5])}~>"


@pytest.mark.parametrize(
    ("text", "secret", "expected"),
    [
        *((text, "abcabcX", "***") for text in ("abcabcabcX", "abcabcabcabcX", "abcabcabcabc")),
        ("aaaaaaaaab", "aaaaaab", "***"),
        ("aaaaaaXaaaaaaY", "aaaaaaY", "***X***"),
        ("abcdefabcdefgh", "abcdefgh", "***"),
        ("abcdeabcdefgh", "abcdefgh", "abcde***"),
        ("a-b-c-", "a-b-c-d", "***"),
        ("short", "short", "***"),
        ("shor", "short", "shor"),
        ("anything", "", "anything"),
        ("", "s3cret", ""),
    ],
)
def test_starts_that_overlap_are_masked_to_the_last(text: str, secret: str, expected: str) -> None:
    assert re.sub(r"(\*{3})+", "***", masked(text, secret)) == expected


def test_what_is_no_secret_stays_as_it_is() -> None:
    text = bytes(range(256)) * 4 + rb'{"a":"\u00e9\ud83d \\ %zz %4 &#99999999; &nosuch; &#x110000;"}'
    assert mask(text, Secret("s3cret-canary")) == text


def test_backslashes_count_as_characters_of_a_secret() -> None:
    for secret in ("abcde\\fgh", "a\\b\\c\\d", "\\" * 8):
        for escape in (str, as_json):
            assert masked(f"<{escape(secret[:6])}~>", secret) == "<***~>", secret


@pytest.mark.parametrize(
    "secret", ["/s3cret", '"s3cret', "\\s3cret", "\ts3cret", "é-s3cret", "\U0001f511-s3cret"]
)
def test_json_stays_json(secret: str) -> None:
    for written in (as_json(secret), as_json(secret).replace("/", "\\/")):
        text = masked(f'{{"error_code": "c", "error_msg": "{written}"}}', secret)
        assert json.loads(text) == {"error_code": "c", "error_msg": "***"}


SECRETS = st.text(st.sampled_from("ab/\"%&;#u0x'<é\U0001f511"), min_size=6, max_size=20)


@settings(max_examples=50, deadline=None)
@given(SECRETS, st.sampled_from(list(ESCAPES.values())), st.text('ab\\"x;|', max_size=5), st.data())
def test_no_start_of_a_secret_survives(
    secret: str, escape: Callable[[str], str], noise: str, data: st.DataObject
) -> None:
    start = secret[: data.draw(st.integers(6, len(secret)))]
    result = masked(f"{noise}|{escape(start)}|{noise}{escape(secret)}", secret)
    assert "***" in result
    assert escape(secret[:6]) not in result


# ---- linear time


def work(text: bytes, secret: Secret[str]) -> int:
    """Count the lines that Python runs to mask a secret: the cost, on any machine."""
    lines = 0

    def trace(_frame: Any, event: str, _argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        mask(text, secret)
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        *(("a" * 2000 + "b", "a"), ("ab" * 1000 + "c", "ab"), ("aaaaaab", "aaaaaa"), ("\\" * 7 + "x", "\\")),
        ("correct-horse-battery-staple", "correct-horse-battery-stapl"),
        *(("s3cret-canary", text) for text in ("\\u", "&#1;%41\\u0041", "s3cre")),
    ],
    ids=range(8),
)
def test_four_times_the_text_is_four_times_the_work(secret: str, text: str) -> None:
    once, four = [work((text * size).encode(), Secret(secret)) for size in (500, 2000)]
    assert four <= 4.2 * once + 10_000


@pytest.mark.parametrize(
    "text",
    ["x-auth-token" * 80_000, "x-auth-token: " + '"\\ ' * 300_000, "x-auth-token&#" * 70_000, "\0" * 10**6],
)
def test_a_hostile_text_becomes_one_line_at_once(text: str) -> None:
    assert len(one_line(text)) <= 501
    assert mask_headers(text) is not None  # the old expression did not end


# ---- texts for logs


@pytest.mark.parametrize(
    "text",
    [
        "X-Auth-Token: s3cret",
        "x-security-token:s3cret\r\nHost: h",
        "host:h|x-auth-token:s3cret|x:1",
        '{"X-Auth-Token": "s3cret"}',
        '{\\"X-Auth-Token\\": [\\"s3cret\\"]}',
        "{&quot;Authorization&quot;:&quot;s3cret&quot;}",
        "X-Subject-Token=s3cret",
        "Authorization: SDK-HMAC-SHA256 Access=a, SignedHeaders=b, Signature=s3cret",
    ],
)
def test_what_follows_the_name_of_a_secret_header_is_masked(text: str) -> None:
    assert "s3cret" not in mask_headers(text)
    assert "***" in one_line(f"refused: {text}")


def test_a_line_is_printable_and_bounded() -> None:
    assert one_line("a\r\nb\t c\0\x1b[31m\u2028d\ud800") == "a b c [31m d"
    assert one_line("x" * 501) == "x" * 500 + "…"
    assert one_line("x" * 500) == "x" * 500
    assert one_line("abcdef", 3) == "abc…"


def test_the_secrets_of_a_request_are_its_token_its_signature_and_its_security_token() -> None:
    headers = {"x-auth-token": "token-1", "x-security-token": "token-2", "x-other": "other-1"}
    headers["authorization"] = "SDK-HMAC-SHA256 Access=a, SignedHeaders=b, Signature=0123abcd"
    headers["proxy-authorization"] = "Basic dXNlcjpw"
    expected = ["token-1", "token-2", "0123abcd", "dXNlcjpw"]
    assert [secret.reveal() for secret in header_secrets(headers)] == expected
    assert header_secrets({"x-auth-token": "t"}) == []  # it would mask ordinary text


# ---- holders of secrets


@pytest.mark.parametrize(
    "holder", [Secret("s3cret"), HiddenMapping({"name": "s3cret"})], ids=["Secret", "HiddenMapping"]
)
def test_a_holder_never_shows_its_secret(holder: object) -> None:
    assert "s3cret" not in f"{holder} {holder!s} {[holder]} {getattr(holder, '__dict__', {})}"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(holder, protocol)
    for copied in (copy.copy(holder), copy.deepcopy(holder)):
        assert repr(copied) == "<hidden>"


def test_a_holder_returns_its_secret_on_request() -> None:
    secret, mapping = Secret("s3cret"), HiddenMapping({"name": "s3cret"})
    assert (secret.reveal(), copy.deepcopy(secret).reveal()) == ("s3cret", "s3cret")
    assert (mapping["name"], list(mapping), len(mapping)) == ("s3cret", ["name"], 1)


@escapes
def test_what_is_far_behind_is_kept_if_it_is_clean(
    escape: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redaction, "_SEARCHED", 1 << 12)
    secret, filler = "s3cret-canary", "x" * (1 << 12)
    assert masked(f"{filler}tail", secret) == f"{filler}tail"
    for at in (0, 3, 6, 12):
        text = masked(f"{filler[at:]}{escape(secret)}tail", secret)
        assert escape(secret)[6:] not in text
