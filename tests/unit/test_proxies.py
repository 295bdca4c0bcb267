"""The proxies of the environment, chosen for the host of each request."""

import asyncio
import contextlib
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from huaweicloud_retry import APIConnectionError, ConfigurationError, PasswordAuth, TokenAuth, connect
from huaweicloud_retry.runtime.proxies import Proxies
from huaweicloud_retry_client import Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest

RESPONSE = b'{"id":"e","name":"n","jobId":7}'
NO_TUNNEL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(RESPONSE), RESPONSE)


class Server:
    """A proxy or a service: `asked` has the first line of each request, by connection. It grants no tunnel."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                sock, lines = self._listener.accept()[0], list[str]()
                self.asked.append(lines)
                threading.Thread(target=self._serve, args=(sock, lines)).start()

    def _serve(self, sock: socket.socket, lines: list[str]) -> None:
        with sock, contextlib.suppress(OSError):
            received = b""
            while part := sock.recv(1 << 16):
                received += part
                is_tunnel = received.startswith(b"CONNECT")
                if received.endswith(b"\r\n\r\n" if is_tunnel else b"}"):
                    lines.append(received.split(b"\r\n")[0].decode())
                    sock.sendall(NO_TUNNEL if is_tunnel else OK)
                    received = b""

    def stop(self) -> None:
        with contextlib.suppress(OSError):  # see test_transport
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.thread.join()


def started() -> Iterator[Server]:
    server = Server()
    server.thread.start()
    yield server
    server.stop()


proxy = pytest.fixture(started, name="proxy")
service = pytest.fixture(started, name="service")

World = Callable[[Client], list[int]]


def in_threads(client: Client) -> list[int]:
    with client:
        body = EngineActionRequest()
        return [retry_engine.sync("p", "e", client=client, body=body).job_id or 0 for _ in range(3)]


def in_tasks(client: Client) -> list[int]:
    async def calls() -> list[int]:
        async with client:
            body = EngineActionRequest()
            return [(await retry_engine.asyncio("p", "e", client=client, body=body)).job_id or 0 for _ in range(3)]

    return asyncio.run(calls())


@pytest.fixture(params=[in_threads, in_tasks], ids=["sync", "asyncio"])
def world(request: pytest.FixtureRequest) -> World:
    made: World = request.param
    return made


def client_of(endpoint: str, credentials: httpx.Auth | None = None) -> Client:
    return connect("cse", endpoint=endpoint, credentials=credentials or TokenAuth("t"), allow_http=True, resend=None)


# ---- which requests go through a proxy


def test_this_machine_is_never_asked_for_by_a_proxy(
    world: World, proxy: Server, service: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.host}")
    monkeypatch.setenv("all_proxy", f"http://{proxy.host}")
    assert world(client_of(f"http://{service.host}")) == [7] * 3
    assert (proxy.asked, len(service.asked)) == ([], 1)


def test_each_request_through_a_proxy_has_a_connection_of_its_own(
    world: World, proxy: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.host)  # the name cse.test is known to the proxy only
    assert world(client_of("http://cse.test")) == [7] * 3
    assert proxy.asked == [["PUT http://cse.test/v2/p/enginemgr/engines/e/actions HTTP/1.1"]] * 3


def test_of_a_tunnel_that_is_refused_nothing_was_sent(
    world: World, proxy: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:s3cret-password@{proxy.host}")
    with pytest.raises(APIConnectionError, match="; nothing was sent") as caught:
        world(client_of("https://cse.test"))
    assert caught.value.outcome_unknown is False
    assert proxy.asked == [["CONNECT cse.test:443 HTTP/1.1"]]
    assert leaks(caught.value, "s3cret-password") == []


def test_iam_has_its_own_way_even_if_the_service_needs_no_proxy(
    world: World, proxy: Server, service: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
    monkeypatch.setenv("NO_PROXY", "cse.test")
    for endpoint in ("https://cse.test", f"http://{service.host}"):
        auth = PasswordAuth("user", "password", domain_name="domain", iam_endpoint="https://iam.test")
        with pytest.raises(APIConnectionError, match=r"iam.test.*; the request was not processed") as caught:
            world(client_of(endpoint, auth))
        assert caught.value.outcome_unknown is False
    assert (proxy.asked, service.asked) == ([["CONNECT iam.test:443 HTTP/1.1"]] * 2, [])


@pytest.mark.parametrize(
    ("settings", "url", "expected"),
    [
        ({}, "https://a.test", None),
        ({"http": "h"}, "https://a.test", None),
        ({"https": "h", "all": "a"}, "https://a.test", "HTTPS_PROXY"),
        ({"https": "", "all": "a"}, "https://a.test", "ALL_PROXY"),
        ({"http": "h", "all": "a"}, "http://a.test", "HTTP_PROXY"),
        *(({"all": "a"}, f"http://{host}", None) for host in ("localhost", "127.9.9.9", "[::1]:80", "LOCALHOST")),
        ({"no": "*"}, "https://a.test", None),
    ],
)
def test_the_variable_is_that_of_the_scheme_else_all_proxy(
    settings: dict[str, str], url: str, expected: str | None
) -> None:
    assert Proxies(settings).variable(httpx.URL(url)) == expected


@pytest.mark.parametrize(
    ("entry", "direct", "proxied"),
    [
        ("*", "a.test 10.0.0.1 [fd00::1]", ""),
        (
            "example.com",
            "example.com EXAMPLE.com a.example.com",
            "badexample.com example.com.test example.org",
        ),
        ("Example.COM", "example.com a.example.com", "example.org"),
        (".example.com", "a.example.com a.b.example.com", "example.com badexample.com"),
        ("*.example.com", "a.example.com a.b.example.com", "example.com badexample.com"),
        ("example.com:8443", "example.com:8443 a.example.com:8443", "example.com example.com:443"),
        ("example.com:443", "example.com example.com:443", "example.com:8443"),
        ("https://example.com", "example.com", "example.org"),
        ("http://example.com", "", "example.com"),
        ("10.0.0.0/8", "10.0.0.1 10.255.255.255", "11.0.0.1 example.com"),
        ("10.1.2.3", "10.1.2.3", "10.1.2.4 110.1.2.3"),
        ("10.1.2.3:8443", "10.1.2.3:8443", "10.1.2.3"),
        ("fd00::/8", "[fd00::1] [fdff::]:8443", "[fe80::1] 10.0.0.1"),
        ("[fd00::1]", "[fd00::1] [fd00:0::1]:8443", "[fd00::2]"),
        ("fd00::1", "[fd00::1]", "[fd00::2]"),
        ("[fd00::1]:8443", "[fd00::1]:8443", "[fd00::1]"),
        ("[::1]", "[::1]", "example.com"),
        (" a.test , ,b.test,", "a.test b.test", "c.test"),
    ],
)
def test_no_proxy_takes_domains_addresses_and_networks(entry: str, direct: str, proxied: str) -> None:
    proxies = Proxies({"https": "proxy", "no": entry})
    for hosts, expected in ((direct, None), (proxied, "HTTPS_PROXY")):
        for host in hosts.split():
            assert proxies.variable(httpx.URL(f"https://{host}")) == expected, host


# ---- settings that are invalid


def leaks(error: BaseException | None, secret: str) -> list[str]:
    """Return what shows a secret of an error, its chain, and the variables of our frames."""
    found = [f"{type(error).__name__}: {error}"] if secret in f"{error!r} {error}" else []
    if error is None:
        return found
    for frame in traceback.TracebackException.from_exception(error, capture_locals=True).stack:
        if "/huaweicloud_retry" in frame.filename:
            found += [f"{frame.name}: {name}" for name, value in (frame.locals or {}).items() if secret in value]
    return found + leaks(error.__cause__, secret) + leaks(error.__context__, secret)


@pytest.mark.parametrize(
    "entry",
    [
        "10.0.0.0/33",
        "fd00::/200",
        "a b",
        "user:s3cret@example.com",
        "[::1",
        "a.test:port",
        "http://",
        "a/b",
        "::g",
    ],
)
def test_connect_refuses_an_invalid_no_proxy(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test")
    monkeypatch.setenv("NO_PROXY", f"other.test,{entry}")
    with pytest.raises(ConfigurationError, match=r"NO_PROXY has .*, which is no domain, address or network"):
        client_of("https://cse.test")


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://user:s3cret-password@", "is not the URL of a proxy"),
        ("http://user:s3cret-password@proxy.test:port", "is not the URL of a proxy"),
        ("http://user:s3cret-password@proxy.test:99999", "is not the URL of a proxy"),
        ("ftp://user:s3cret-password@proxy.test", "is not the URL of a proxy"),
        ("http://user:s3cret-password@[proxy.test", "is not the URL of a proxy"),
        ("user:s3cret-password\n@proxy.test", "is not the URL of a proxy"),
        (
            "socks5://user:s3cret-password@proxy.test",
            r"is a SOCKS proxy, which needs socksio: pip install 'httpx\[socks\]'",
        ),
    ],
)
def test_connect_refuses_an_invalid_proxy_and_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str, problem: str
) -> None:
    monkeypatch.setenv(name, url)
    with pytest.raises(ConfigurationError, match=f"^{name} {problem}") as caught:
        client_of("https://cse.test")
    assert leaks(caught.value, "s3cret-password") == []


def test_a_proxy_that_no_request_of_the_client_needs_is_not_looked_at(
    world: World, service: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"HTTPS_PROXY": "ftp://proxy.test", "ALL_PROXY": "socks5://proxy.test"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert world(client_of(f"http://{service.host}")) == [7] * 3
