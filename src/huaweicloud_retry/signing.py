"""SDK-HMAC-SHA256, the signature of a request made with an access key (AK) and its secret key (SK).

canonical request -> its hash, in the string to sign -> HMAC with the secret key -> the Authorization header
Source: https://support.huaweicloud.com/intl/en-us/devg-apisign/api-sign-algorithm-002.html. Knows no HTTP library, so that
who sends and who checks a signature can share it.
"""

import hashlib
import hmac
import string
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

ALGORITHM = "SDK-HMAC-SHA256"
DATE_FORMAT = "%Y%m%dT%H%M%SZ"
"""Of X-Sdk-Date, in UTC. The gateway takes 15 minutes of difference, either way."""

_AS_IT_IS: Final = string.ascii_letters + string.digits + "-._~/"  # in a path


def canonical_request(method: str, target: str, headers: Mapping[str, str], body: bytes) -> str:
    """Return the six parts of a request that a signature covers, a line each.

    Args:
        method: in capitals.
        target: path and query as they are sent, percent-encoded, so that `a%2Fb` stays one segment.
        headers: those to sign, Host and X-Sdk-Date among them; names in any case.
        body: as it is sent.
    """
    path, _, query = target.partition("?")
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    names = sorted(lower)
    return "\n".join(
        (
            method,
            _path(path).removesuffix("/") + "/",
            _query(query) if query else "",
            "".join([f"{name}:{lower[name]}\n" for name in names]),
            ";".join(names),
            hashlib.sha256(body).hexdigest(),
        )
    )


def authorization(access_key: str, secret_key: str, request: str, date: str) -> str:
    """Return the value of the Authorization header.

    Args:
        access_key: the AK.
        secret_key: the SK.
        request: what `canonical_request` gives.
        date: the value of X-Sdk-Date, which is among the headers signed.
    """
    to_sign = "\n".join(
        (ALGORITHM, date, hashlib.sha256(request.encode(errors="surrogateescape")).hexdigest())
    )
    signature = hmac.digest(secret_key.encode(), to_sign.encode(), "sha256").hex()
    names = request.rsplit("\n", 2)[1]
    return f"{ALGORITHM} Access={access_key}, SignedHeaders={names}, Signature={signature}"


def _path(path: str) -> str:
    """Bring what is percent-encoded in one way or another into the one form that is signed."""
    if not path.strip(_AS_IT_IS):
        return path
    return "/".join(_quoted(unquote(segment, errors="surrogateescape")) for segment in path.split("/"))


def _quoted(text: str) -> str:
    return quote(text, safe="~", errors="surrogateescape")


def _query(query: str) -> str:
    # Sorted before they are encoded: the page says after, and the official SDK, which the gateway understands, before.
    pairs = sorted(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs)
