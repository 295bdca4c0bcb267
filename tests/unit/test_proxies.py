"""The proxies of the environment, chosen for the host of each request."""

from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from huaweicloud_retry import APIConnectionError, ConfigurationError, PasswordAuth, TokenAuth, connect
from huaweicloud_retry.runtime.proxies import Proxies
from huaweicloud_retry_client import Client
from tests.connections import Line, Mode, Server, response

NO_TUNNEL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"


class Recorder(NamedTuple):
    """A proxy or a service: `asked` has the first line of each request, by connection. It grants no tunnel."""

    host: str
    asked: list[list[str]]


def started() -> Iterator[Recorder]:
    asked: list[list[str]] = []

    def serve(line: Line) -> None:
        lines: list[str] = []
        asked.append(lines)
        received = b""
        while part := line.socket.recv(1 << 16):
            received += part
            is_tunnel = received.startswith(b"CONNECT")
            if received.endswith(b"\r\n\r\n" if is_tunnel else b"}"):
                lines.append(received.split(b"\r\n")[0].decode())
                line.socket.sendall(NO_TUNNEL if is_tunnel else response(7))
                received = b""

    with Server(serve) as server:
        yield Recorder(server.url.removeprefix("http://"), asked)


proxy = pytest.fixture(started, name="proxy")
service = pytest.fixture(started, name="service")


def three_calls(mode: Mode, client: Client) -> list[int | None]:
    try:
        return [mode.call(client) for _ in range(3)]
    finally:
        mode.close(client)


def client_of(endpoint: str, how: httpx.Auth | None = None) -> Client:
    return connect("cse", endpoint=endpoint, credentials=how or TokenAuth("t"), allow_http=True, resend=None)


# ---- which requests go through a proxy


@pytest.mark.parametrize("url", ["http://{proxy}", "ftp://invalid.test", "socks5://invalid.test"])
def test_no_proxy_is_asked_for_this_machine_nor_looked_at(
    mode: Mode, proxy: Recorder, service: Recorder, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, url.format(proxy=proxy.host))
    assert three_calls(mode, client_of(f"http://{service.host}")) == [7] * 3
    assert (proxy.asked, len(service.asked)) == ([], 1)


def test_a_proxy_gets_a_connection_for_each_request(
    mode: Mode, proxy: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.host)  # the name cse.test is known to the proxy only
    assert three_calls(mode, client_of("http://cse.test")) == [7] * 3
    assert proxy.asked == [["PUT http://cse.test/v2/p/enginemgr/engines/7/actions HTTP/1.1"]] * 3


def test_of_a_refused_tunnel_nothing_was_sent(
    mode: Mode, proxy: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
    with pytest.raises(APIConnectionError, match="; nothing was sent") as caught:
        three_calls(mode, client_of("https://cse.test"))
    assert caught.value.outcome_unknown is False
    assert proxy.asked == [["CONNECT cse.test:443 HTTP/1.1"]]


def test_iam_has_its_own_way_even_if_the_service_needs_no_proxy(
    mode: Mode, proxy: Recorder, service: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
    monkeypatch.setenv("NO_PROXY", "cse.test")
    for endpoint in ("https://cse.test", f"http://{service.host}"):
        auth = PasswordAuth("user", "password", domain_name="domain", iam_endpoint="https://iam.test")
        with pytest.raises(APIConnectionError, match=r"iam.test.*; the request was not processed") as caught:
            three_calls(mode, client_of(endpoint, auth))
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
        *(
            ({"all": "a"}, f"http://{host}", None)
            for host in ("localhost", "127.9.9.9", "[::1]:80", "LOCALHOST")
        ),
        ({"no": "*"}, "https://a.test", None),
    ],
)
def test_the_variable_is_the_schemes_or_all(settings: dict[str, str], url: str, expected: str | None) -> None:
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
        (" a.test , ,b.test,", "a.test b.test", "c.test"),
    ],
)
def test_no_proxy_takes_domains_addresses_and_networks(entry: str, direct: str, proxied: str) -> None:
    proxies = Proxies({"https": "proxy", "no": entry})
    for hosts, expected in ((direct, None), (proxied, "HTTPS_PROXY")):
        for host in hosts.split():
            assert proxies.variable(httpx.URL(f"https://{host}")) == expected, host


# ---- settings that are invalid


INVALID = [
    "10.0.0.0/33",
    "fd00::/200",
    "a b",
    "user:s3cret@example.com",
    "[::1",
    "a.test:port",
    "http://",
    "a/b",
]


@pytest.mark.parametrize("entry", INVALID)
def test_connect_refuses_an_invalid_no_proxy(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test")
    monkeypatch.setenv("NO_PROXY", f"other.test,{entry}")
    with pytest.raises(ConfigurationError, match=r"NO_PROXY has .*, which is no domain, address or network"):
        client_of("https://cse.test")


INVALID_URLS = [f"http://{host}" for host in ("", "proxy.test:port", "proxy.test:99999", "[proxy.test")]
INVALID_URLS += ["ftp://proxy.test", "user:password\n@proxy.test"]


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("url", "problem"),
    [
        *((url, "is not the URL of a proxy") for url in INVALID_URLS),
        ("socks5://proxy.test", r"is a SOCKS proxy, .* pip install 'httpx\[socks\]'"),
    ],
)
def test_an_invalid_proxy_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str, problem: str
) -> None:
    """Without showing it: test_secrets."""
    monkeypatch.setenv(name, url)
    with pytest.raises(ConfigurationError, match=f"^{name} {problem}"):
        client_of("https://cse.test")
