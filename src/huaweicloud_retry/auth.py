"""How a request proves who sends it: `httpx.Auth` flows, one generator each for sync and async clients."""

from collections.abc import Generator

import httpx


class TokenAuth(httpx.Auth):
    """Send a token you already have as `X-Auth-Token`.

    Raises:
        ValueError: `token` cannot stand in a header. The text does not show it.
    """

    def __init__(self, token: str) -> None:
        if not (token and token.isascii() and token.isprintable() and token == token.strip()):
            raise ValueError("the token must be printable ASCII, not empty, without blanks or line breaks around it")

        # In a closure, so that neither repr(), vars() nor a debugger's dump of this object shows it.
        def sign(request: httpx.Request) -> None:
            request.headers["X-Auth-Token"] = token

        self._sign = sign

    def __repr__(self) -> str:
        return "TokenAuth(<hidden>)"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header and send; a 401 is left to the caller."""
        self._sign(request)
        yield request
