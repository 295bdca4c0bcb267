"""TokenAuth: the token goes into one header, and nowhere else."""

import asyncio
import copy
import logging
import pickle

import httpx
import pytest

from huaweicloud_retry import TokenAuth

SECRET = "MIIEvAYJKoZIhvcN+/=-_.~"


def echo(request: httpx.Request) -> httpx.Response:
    return httpx.Response(401, json=request.headers.get_list("X-Auth-Token"))


def test_a_sync_client_sends_the_token() -> None:
    with httpx.Client(transport=httpx.MockTransport(echo), auth=TokenAuth(SECRET)) as client:
        assert client.get("http://mock").json() == [SECRET]


def test_an_async_client_sends_the_token() -> None:
    async def call() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.MockTransport(echo), auth=TokenAuth(SECRET)) as client:
            return await client.get("http://mock")

    assert asyncio.run(call()).json() == [SECRET]


def test_it_takes_the_place_of_a_token_that_is_there() -> None:
    with httpx.Client(transport=httpx.MockTransport(echo), headers={"x-auth-token": "old"}) as client:
        assert client.get("http://mock", auth=TokenAuth(SECRET)).json() == [SECRET]


def test_a_401_is_not_sent_again() -> None:
    flow = TokenAuth(SECRET).auth_flow(httpx.Request("GET", "http://mock"))
    next(flow)
    with pytest.raises(StopIteration):
        flow.send(httpx.Response(401))


@pytest.mark.parametrize(
    "token",
    [
        "",
        " ",
        f" {SECRET}",
        f"{SECRET} ",
        f"{SECRET}\n",
        f"{SECRET}\r\nX-Admin: 1",
        f"{SECRET}\0",
        f"{SECRET}\t",
        f"{SECRET}\x7f",
        f"{SECRET}é",
        f"{SECRET}\N{NO-BREAK SPACE}",
    ],
)
def test_what_cannot_stand_in_a_header_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as refusal:
        TokenAuth(token)
    assert SECRET not in str(refusal.value)


def test_blanks_within_a_token_are_its_own_business() -> None:
    with httpx.Client(transport=httpx.MockTransport(echo), auth=TokenAuth("a b")) as client:
        assert client.get("http://mock").json() == ["a b"]


def test_nothing_that_a_log_might_print_shows_the_token(caplog: pytest.LogCaptureFixture) -> None:
    auth = TokenAuth(SECRET)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger().warning("%s %r %s %s", auth, auth, vars(auth), [getattr(auth, name) for name in dir(auth)])
    assert "TokenAuth(<hidden>)" in caplog.text
    assert SECRET not in caplog.text


def test_it_cannot_be_pickled_into_a_file_or_a_queue() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)) as refusal:
        pickle.dumps(TokenAuth(SECRET))
    assert SECRET not in str(refusal.value)


def test_it_can_be_copied() -> None:
    with httpx.Client(transport=httpx.MockTransport(echo), auth=copy.deepcopy(TokenAuth(SECRET))) as client:
        assert client.get("http://mock").json() == [SECRET]
