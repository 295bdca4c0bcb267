"""A request as a line for the shell, which sends it again."""

import shlex
from collections.abc import Mapping

# What curl adds by itself, and what schemathesis and httpx do.
_NOT_SHOWN = {"accept-encoding", "connection", "content-length", "host", "user-agent", "x-schemathesis-testcaseid"}


def curl(method: str, target: str, headers: Mapping[str, str], content: bytes, *, token: str) -> str:
    """Return the line: $URL stands for the server, and $TOKEN for `token`; a signature is not shown.

    Args:
        method: in capitals.
        target: path and query as they are sent.
        headers: those sent.
        content: the body.
        token: the one that must not show.
    """
    words = ["curl -ig --path-as-is", "-I" if method == "HEAD" else f"-X {method}", f'"$URL"{shlex.quote(target)}']
    shown = {name.lower(): value for name, value in headers.items() if name.lower() not in _NOT_SHOWN}
    for name, value in shown.items():
        if name == "x-auth-token" and value == token:
            words.append(f'-H "{name}: $TOKEN"')
        elif name == "authorization" and "Signature=" in value:
            words.append(f"-H '{name}: ***'")
        else:
            words.append(f"-H {shlex.quote(f'{name}: {value}' if value else f'{name};')}")
    if not content:
        return " ".join(words)
    words += [] if "content-type" in shown else ["-H content-type:"]  # or curl would say that it is a form
    text = content.decode(errors="replace")
    if text.isprintable() and "\ufffd" not in text:
        return " ".join([*words, f"--data-raw {shlex.quote(text)}"])
    octal = "".join(f"\\{byte:03o}" for byte in content)
    return " ".join([f"printf '{octal}' |", *words, "--data-binary @-"])
