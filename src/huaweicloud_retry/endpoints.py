"""The URLs of services and of IAM, by region.

Nothing here reads `os.environ`: the environment is an argument.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from huaweicloud_retry_client.servers import SERVERS

from .runtime.errors import ConfigurationError
from .runtime.proxies import is_loopback

IAM_ENDPOINT: Final = "https://iam.myhuaweicloud.com"
"""Its tokens are valid in all regions. The SDK's fallback (huaweicloudsdkcore 3.1.219, auth/internal.py)."""

REGION_VARIABLES: Final = ("HW_REGION_NAME", "OS_REGION_NAME")
"""Terraform's; the official SDK has none. Source: terraform-provider-huaweicloud, docs/index.md."""

# fmt: off
IAM_REGIONS: Final = (
    "ae-ad-1", "af-south-1", "ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4",
    "cn-east-2", "cn-east-3", "cn-east-4", "cn-east-5", "cn-north-1", "cn-north-12", "cn-north-2",
    "cn-north-4", "cn-north-9", "cn-south-1", "cn-south-2", "cn-southwest-2", "eu-west-0", "la-north-2",
    "la-south-2", "me-east-1", "my-kualalumpur-1", "na-mexico-1", "ru-moscow-1", "sa-brazil-1", "tr-west-1",
)
# fmt: on
"""The regions that have their own IAM host. Source: huaweicloudsdkcore 3.1.219, auth/endpoint.py."""

_IAM_VARIABLES: Final = ("HUAWEICLOUD_SDK_IAM_ENDPOINT", "HW_AUTH_URL", "OS_AUTH_URL")
_NETLOC: Final = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?", re.ASCII)
_GOOD_URL: Final = (
    "must be an http(s) URL, such as https://cse.cn-north-4.myhuaweicloud.com, without user or query"
)


def find_region(region: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the given region, else the environment's, else None."""
    return region or next((value for name in REGION_VARIABLES if (value := environ.get(name))), None)


def check_service(service: object) -> None:
    """Check that the contract has a service.

    Raises:
        ConfigurationError: It has not. The text names the closest match, and all services.
    """
    if not isinstance(service, str) or service.lower() not in SERVERS:
        raise ConfigurationError(f"there is no service {service!r}{_suggestion(str(service), SERVERS)}")


def service_url(service: str, region: str | None, environ: Mapping[str, str]) -> str:
    """Return the base URL of a service, without a slash at its end.

    Args:
        service: `cse` or `workspace`, in any case.
        region: By default HW_REGION_NAME, else OS_REGION_NAME.
        environ: `HUAWEICLOUD_SDK_REGION_<SERVICE>_<REGION>` overrides the host, as in the official SDK
            (huaweicloudsdkcore 3.1.219, region/provider.py). If it lists several hosts, the first is used.

    Raises:
        ConfigurationError: There is no region; the service or region is unknown; the override is not a URL.
    """
    check_service(service)
    template, regions = SERVERS[service.lower()]
    name = find_region(region, environ)
    if not name:
        raise ConfigurationError(f"no region: give region=, or set {' or '.join(REGION_VARIABLES)}")
    variable = f"HUAWEICLOUD_SDK_REGION_{service}_{name}".upper().replace("-", "_")
    if environ.get(variable):
        return _url_in(variable, environ)
    if name not in regions:
        where = "region=" if region else next(each for each in REGION_VARIABLES if environ.get(each))
        raise ConfigurationError(
            f"{service.lower()} has no region {name!r} ({where}){_suggestion(str(name), regions)}; "
            "endpoint= takes any host"
        )
    return template.replace("{region}", name)


def iam_url(region: str | None, environ: Mapping[str, str]) -> str:
    """Return the URL of IAM, without a slash or `/v3` at its end.

    Args:
        region: By default the environment's. Without one, or if it has no IAM host, the global host is used.
        environ: HUAWEICLOUD_SDK_IAM_ENDPOINT, HW_AUTH_URL and OS_AUTH_URL take precedence, in this order.

    Raises:
        ConfigurationError: One of them is not a URL.
    """
    for variable in _IAM_VARIABLES:
        if environ.get(variable):
            return _url_in(variable, environ).removesuffix("/v3")
    name = find_region(region, environ)
    return f"https://iam.{name}.myhuaweicloud.com" if name in IAM_REGIONS else IAM_ENDPOINT


def url_problem(url: object, *, allow_http: bool) -> str | None:
    """Return what is wrong with a host's URL, or None. Does not show the URL: it may hold a password.

    http is wrong, unless it is allowed or the host is this machine.
    """
    scheme, host = _parts(url) if isinstance(url, str) else ("", "")
    if not host:
        return f"the endpoint {_GOOD_URL}"
    if scheme == "http" and not allow_http and not is_loopback(host):
        return (
            f"plain http to {host} would send the credentials unencrypted: use https, "
            "or allow_http=True on a network of your own"
        )
    return None


def _url_in(variable: str, environ: Mapping[str, str]) -> str:
    url = _completed(environ[variable])
    if url is None:
        raise ConfigurationError(f"{variable} {_GOOD_URL}")
    return url


def _completed(text: str) -> str | None:
    first = text.split(",", maxsplit=1)[0].strip()
    url = first if "://" in first else f"https://{first}"  # as the official SDK does
    return url.rstrip("/") if _parts(url)[1] else None


def _parts(url: str) -> tuple[str, str]:
    """Return scheme and host; two empty strings if the URL is invalid."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        return "", ""
    # urlsplit ignores line breaks and text after a bracket, so its host may differ from the one connected to.
    is_strict = _NETLOC.fullmatch(parts.netloc) and re.fullmatch(r"[!-~]+", url)
    if not is_strict or parts.query or parts.fragment or scheme not in ("http", "https") or port == 0:
        return "", ""
    return scheme, host


def _suggestion(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only an error needs it

    closest = get_close_matches(name.lower(), known, 1)
    there = f"did you mean {closest[0]!r}? There" if closest else "there"
    return f"; {there} are: {', '.join(sorted(known))}"
