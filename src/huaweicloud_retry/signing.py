"""SDK-HMAC-SHA256: signs a request with an access key (AK) and its secret key (SK).

canonical request -> its hash, in the string to sign -> HMAC with the secret key -> the Authorization header
Source: https://support.huaweicloud.com/intl/en-us/devg-apisign/api-sign-algorithm-002.html. It uses no HTTP
library: the client signs with it, and the mock verifies.
"""

import hashlib
import hmac
import string
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

ALGORITHM = "SDK-HMAC-SHA256"
DATE_FORMAT = "%Y%m%dT%H%M%SZ"
"""Format of X-Sdk-Date, in UTC. The gateway accepts a difference of 15 minutes in either direction."""

_UNESCAPED: Final = string.ascii_letters + string.digits + "-._~/"  # in a path


def canonical_request(method: str, target: str, headers: Mapping[str, str], body: bytes) -> str:
    """Return the six parts of a request that a signature covers, one per line.

    Args:
        method: In upper case.
        target: Path and query as they are sent, percent-encoded, so that `a%2Fb` stays one segment.
        headers: The headers to sign, including Host and X-Sdk-Date; names in any case.
        body: As it is sent.
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
        access_key: The AK.
        secret_key: The SK.
        request: The result of `canonical_request`.
        date: The value of X-Sdk-Date, one of the signed headers.
    """
    digest = hashlib.sha256(request.encode(errors="surrogateescape")).hexdigest()
    to_sign = f"{ALGORITHM}\n{date}\n{digest}"
    signature = hmac.digest(secret_key.encode(), to_sign.encode(), "sha256").hex()
    names = request.rsplit("\n", 2)[1]
    return f"{ALGORITHM} Access={access_key}, SignedHeaders={names}, Signature={signature}"


def _path(path: str) -> str:
    """Normalize the percent-encoding of a path."""
    if not path.strip(_UNESCAPED):
        return path
    return "/".join(_quoted(unquote(segment, errors="surrogateescape")) for segment in path.split("/"))


def _quoted(text: str) -> str:
    return quote(text, safe="~", errors="surrogateescape")


def _query(query: str) -> str:
    # The page says to encode first, then sort. The official SDK sorts first, and the gateway accepts that.
    pairs = sorted(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs)
