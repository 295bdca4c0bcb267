"""A request as a line for the shell, which sends it again without showing a secret."""

import re
import shlex
from collections.abc import Collection, Mapping

# What curl adds by itself, and what schemathesis and httpx do.
_NOT_SHOWN = {"accept-encoding", "connection", "content-length", "host", "user-agent"}
_NOT_SHOWN |= {"x-schemathesis-testcaseid"}
_CREDENTIALS = {"x-auth-token", "x-security-token", "x-subject-token", "authorization", "cookie"}
_PART = 12  # letters; so many of a secret tell something of it
_SIGNATURE = re.compile(r"\b(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{64}\b")


def hidden(text: str, secrets: Collection[str]) -> str:
    """Replace secrets, parts of them, also in another case, and signatures by ***."""
    lower = text.lower()
    parts = {
        s[at : at + _PART] for s in map(str.lower, secrets) for at in range(max(1, len(s) - _PART + 1))
    } - {""}
    sizes = {len(part) for part in parts}
    spans = [(at, at + size) for at in range(len(lower)) for size in sizes if lower[at : at + size] in parts]
    spans += [found.span() for found in _SIGNATURE.finditer(lower)]
    shown, end = "", 0
    for start, stop in sorted(spans):
        shown += text[end:start] + "***" if start >= end else ""
        end = max(end, stop)
    return shown + text[end:]


def curl(
    method: str,
    target: str,
    headers: Mapping[str, str],
    content: bytes,
    *,
    token: str,
    secrets: Collection[str] = (),
) -> str:
    """Return the line: $URL stands for the server, and $TOKEN for `token`; no other credentials are shown.

    Args:
        method: in capitals.
        target: path and query as they are sent.
        headers: those sent.
        content: the body.
        token: the one that the shell has.
        secrets: others that must not show.
    """
    secrets = {token, *secrets}

    def word(text: str, before: str = "") -> str:
        for longer in (each for each in secrets if token and token in each != token):
            text = text.replace(longer, "***")
        parts = [hidden(part, secrets) for part in (text.split(token) if token else [text])]
        parts[0] = before + parts[0]
        return '"$TOKEN"'.join(shlex.quote(part) if part else "" for part in parts)

    url = f'"$URL"{word(target)}' if target[:1] == "/" else f'"$URL" --request-target {word(target)}'
    words = ["curl -ig --path-as-is", "-I" if method == "HEAD" else f"-X {method}", url]
    shown = {name.lower(): value for name, value in headers.items() if name.lower() not in _NOT_SHOWN}
    for name, value in shown.items():
        if name in _CREDENTIALS and value and token not in value:
            words.append(f"-H '{name}: ***'")
        else:
            words.append(f"-H {word(value, f'{name}: ')}" if value else f"-H '{name};'")
    if not content or method == "HEAD":  # with which curl sends no body
        return " ".join(words)
    words += [] if "content-type" in shown else ["-H content-type:"]  # or curl would say that it is a form
    text = content.decode(errors="replace")
    if text.isprintable() and "\ufffd" not in text:
        return " ".join([*words, f"--data-raw {word(text)}"])
    octal = "".join(f"\\{byte:03o}" for byte in hidden(content.decode("latin-1"), secrets).encode("latin-1"))
    return " ".join([f"printf '{octal}' |", *words, "--data-binary @-"])
