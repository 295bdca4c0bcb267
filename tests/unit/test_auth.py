"""TokenAuth with a token: it goes into one header, and into no text."""

import asyncio
import logging

import httpx
import pytest

from huaweicloud_retry import TokenAuth

SECRET = "MIIEvAYJKoZIhvcN+/=-_.~"


def echo(request: httpx.Request) -> httpx.Response:
    return httpx.Response(401, json=request.headers.get_list("X-Auth-Token"))


@pytest.mark.parametrize("token", [SECRET, "a b"])
def test_the_token_is_sent_and_a_401_is_final(token: str) -> None:
    with httpx.Client(transport=httpx.MockTransport(echo), headers={"x-auth-token": "old"}) as client:
        response = client.get("http://mock", auth=TokenAuth(token))

    async def call() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.MockTransport(echo), auth=TokenAuth(token)) as client:
            return await client.get("http://mock")

    for each in (response, asyncio.run(call())):
        assert (each.json(), each.history) == ([token], [])


@pytest.mark.parametrize("before", ["", " ", "é", "\N{NO-BREAK SPACE}"])
@pytest.mark.parametrize("after", ["", " ", "\n", "\r\nX-Admin: 1", "\0", "\t", "\x7f"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(before: str, after: str) -> None:
    token = f"{before}{SECRET}{after}" if before or after else ""
    with pytest.raises(ValueError, match="printable ASCII") as refusal:
        TokenAuth(token)
    assert SECRET not in str(refusal.value)


def test_no_log_shows_the_token(caplog: pytest.LogCaptureFixture) -> None:
    auth = TokenAuth(SECRET)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger().warning(
            "%s %r %s %s", auth, auth, vars(auth), [getattr(auth, name) for name in dir(auth)]
        )
    assert "TokenAuth(<hidden>)" in caplog.text
    assert SECRET not in caplog.text
