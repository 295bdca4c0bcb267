"""How a request proves who sends it: `httpx.Auth` flows, one generator each for sync and async clients.

What is secret is kept in a closure, so that neither repr(), vars() nor a debugger's dump of the object shows it.
"""

from collections.abc import Generator
from datetime import UTC, datetime

import httpx

from . import signing

# User-Agent is left out: proxies rewrite it, and then the signature would not fit.
_SIGNED = ("host", "content-type", "x-sdk-date", "x-project-id", "x-security-token", "x-enterprise-project-id")


class TokenAuth(httpx.Auth):
    """Send a token you already have as `X-Auth-Token`.

    Args:
        token: of an IAM user; valid for 24 hours, in its region.

    Raises:
        ValueError: `token` cannot stand in a header. The text does not show it.
    """

    def __init__(self, token: str) -> None:
        _check("token", token)

        def add(request: httpx.Request) -> None:
            request.headers["X-Auth-Token"] = token

        self._add = add

    def __repr__(self) -> str:
        return "TokenAuth(<hidden>)"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header and send; a 401 is left to the caller."""
        self._add(request)
        yield request


class AkSkAuth(httpx.Auth):
    """Sign each request with an access key and its secret key (SDK-HMAC-SHA256), as the official SDK does.

    Signs what is sent, an encoded slash in a path included: method, path, query, body, and of the headers Host,
    Content-Type, X-Sdk-Date, X-Project-Id, X-Security-Token and X-Enterprise-Project-ID.

    Args:
        access_key: the AK.
        secret_key: the SK; never sent.
        project_id: sent as `X-Project-Id`; needed for users with several projects.
        security_token: of temporary keys, sent as `X-Security-Token`.

    Raises:
        ValueError: one of them cannot stand in a header. The text does not show it.
    """

    requires_request_body = True

    def __init__(
        self, access_key: str, secret_key: str, *, project_id: str | None = None, security_token: str | None = None
    ) -> None:
        _check("access_key", access_key)
        _check("secret_key", secret_key)
        own = {"X-Project-Id": project_id, "X-Security-Token": security_token}
        given = {name: value for name, value in own.items() if value is not None}
        for name, value in given.items():
            _check(name, value)

        def sign(request: httpx.Request) -> None:
            # A clock more than 15 minutes off is refused with 401.
            date = datetime.now(UTC).strftime(signing.DATE_FORMAT)
            request.headers.update({**given, "X-Sdk-Date": date})
            signed = {name: request.headers[name] for name in _SIGNED if name in request.headers}
            target = request.url.raw_path.decode("ascii")
            canonical = signing.canonical_request(request.method, target, signed, request.content)
            request.headers["Authorization"] = signing.authorization(access_key, secret_key, canonical, date)

        self._sign = sign

    def __repr__(self) -> str:
        return "AkSkAuth(<hidden>)"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign and send; a 401 is left to the caller: five wrong signatures lock the key for five minutes."""
        self._sign(request)
        yield request


def _check(name: str, value: str) -> None:
    if not (value and value.isascii() and value.isprintable() and value == value.strip()):
        raise ValueError(f"the {name} must be printable ASCII, not empty, without blanks or line breaks around it")
