"""The environment's proxies, chosen for each host, with the syntax of httpx and curl."""

import re
from base64 import b64encode
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

import httpx

from .errors import ConfigurationError
from .redaction import HiddenMapping, Secret

_ENTRY: Final = re.compile(
    r"(?:(https?|all)://)?(\[[\da-fA-F:.]+\]|[^\s:/\[\]@]+)(?::(\d{1,5}))?", re.IGNORECASE
)
_PORTS: Final = {"http": 80, "https": 443}


class Proxies:
    """The proxies of HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, or of the system's settings.

    Args:
        settings: The result of `urllib.request.getproxies`.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = HiddenMapping(settings)  # a proxy's URL may hold a password

    def variable(self, url: httpx.URL) -> str | None:
        """Return the variable whose proxy a URL needs; None: no proxy. This machine never needs one.

        Raises:
            ConfigurationError: NO_PROXY is invalid.
        """
        if not self._settings:
            return None
        scheme = next((each for each in (url.scheme, "all") if self._settings.get(each)), None)
        if scheme is None or is_loopback(url.host):
            return None
        entries = [entry.strip() for entry in self._settings.get("no", "").split(",")]
        is_excluded = any(_matches(entry, url) for entry in entries if entry)
        return None if is_excluded else f"{scheme.upper()}_PROXY"

    def proxy(self, variable: str) -> httpx.Proxy:
        """Return the proxy of a variable.

        Raises:
            ConfigurationError: It is invalid. The text does not show it.
        """
        proxy = self._read(variable.removesuffix("_PROXY").lower())
        if proxy is None:
            text = f"{variable} is not the URL of a proxy, such as http://proxy.example.com:3128"
            raise ConfigurationError(text)
        return proxy

    def secrets(self, variable: str) -> list[Secret[str]]:
        """Return the secrets in a proxy's credentials."""
        auth = self.proxy(variable).raw_auth
        return [] if auth is None else [Secret(auth[1].decode()), Secret(b64encode(b":".join(auth)).decode())]

    def _read(self, scheme: str) -> httpx.Proxy | None:
        text = self._settings[scheme]
        try:
            proxy = httpx.Proxy(text if "://" in text else f"http://{text}")
        except (httpx.InvalidURL, ValueError):
            return None
        is_good = re.fullmatch(r"[\w.:-]+", proxy.url.host) and 0 < (proxy.url.port or 1) < 1 << 16
        return proxy if is_good else None


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine: 127.0.0.0/8, ::1 or localhost."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _matches(entry: str, url: httpx.URL) -> bool:
    """Compare a URL with an entry of NO_PROXY: `*`, a domain with its subdomains, an address or a network."""
    if entry == "*":
        return True
    if network := _network(entry):
        address = _network(url.host)
        return address is not None and address.version == network.version and address[0] in network
    found = _ENTRY.fullmatch(entry)
    if found is None:
        shown = "an entry" if "@" in entry else repr(entry)  # a URL may hold a password
        examples = "such as .example.com or 10.0.0.0/8"
        raise ConfigurationError(f"NO_PROXY has {shown}, which is no domain, address or network, {examples}")
    scheme, host, port = found.groups()
    if scheme is not None and scheme.lower() not in ("all", url.scheme):
        return False
    if int(port or 0) not in (0, url.port or _PORTS[url.scheme]):
        return False
    host = host.strip("[]").lower()
    if host.startswith((".", "*.")):
        return url.host.endswith(host.removeprefix("*"))
    return url.host == host or url.host.endswith(f".{host}")


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text[1:-1] if text[:1] + text[-1:] == "[]" else text, strict=False)
    except ValueError:
        return None
