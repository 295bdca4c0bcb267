"""connect(): service, region, credentials -> a client that resends only requests that were not processed."""

import os
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import httpx

from huaweicloud_retry_client import Client

from .endpoints import check_service, service_url, url_problem
from .runtime.errors import ConfigurationError
from .runtime.redaction import HiddenMapping, Secret
from .runtime.resend import Resend

if TYPE_CHECKING:
    from .contract_check import ContractCheck

_DEFAULT_RESEND = Resend()


def connect(  # noqa: PLR0913 - the settings of a client
    service: Literal["cse", "workspace"],
    *,
    region: str | None = None,
    endpoint: str | None = None,
    credentials: httpx.Auth | None = None,
    timeout: float | httpx.Timeout | None = None,
    resend: Resend | None = _DEFAULT_RESEND,
    headers: Mapping[str, str] | None = None,
    transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
    verify: ssl.SSLContext | str | os.PathLike[str] | bool = True,
    allow_http: bool = False,
    check_contract: Literal["log", "raise"] | None = None,
) -> Client:
    """Return a client of a service.

        with connect("cse", region="cn-north-4") as client:
            job = retry_engine.sync("project", "engine", client=client, body=EngineActionRequest())

    To test without a network, pass `transport=`. Libraries that patch httpx (respx, pytest-httpx) intercept
    nothing without it, and requests are really sent: see `Client`.

    Args:
        service: `cse` or `workspace`. The client refuses operations of the other service, unless `endpoint`
            is given.
        region: Such as cn-north-4; by default HW_REGION_NAME or OS_REGION_NAME of the environment.
        endpoint: The host's URL, instead of the region's.
        credentials: `AkSkAuth`, `PasswordAuth`, `TokenAuth` or any httpx.Auth; by default those of the
            environment or of the profile file ~/.huaweicloud/credentials.
        timeout: Seconds to connect, to write, and for the whole response; or an httpx.Timeout, whose `read`
            is the time for the whole response. 60, and 10 to connect, by default.
        resend: The policy for resending requests; None: resend nothing.
        headers: Sent with each request.
        transport: Any httpx transport, instead of our own.
        verify: True: the CAs of SSL_CERT_FILE, SSL_CERT_DIR or certifi. A path: a file or folder of CAs. An
            ssl.SSLContext: everything else, such as a client certificate. False accepts any certificate, and
            logs a WARNING.
        allow_http: Accept an endpoint that is neither https nor on this machine.
        check_contract: Compare each attempt's request and response with openapi.yaml. "log": each deviation
            is a WARNING of the logger `huaweicloud_retry`, without values of the traffic. "raise" also raises
            an exception. A request that deviates raises APIRequestValidationError and is not sent. A 2xx
            response that deviates raises APIResponseValidationError. Any other status raises its own error,
            and `response.problem` has the deviation. Needs the extra `contract`.

    Raises:
        ConfigurationError: Service, region, endpoint or credentials are missing or wrong; the text says where
            they were looked for, and what to do. Or the environment's CAs or proxies are invalid. Or
            check_contract has another value, or its extra is not installed.
        ValueError: A header cannot be sent; or both transport and verify are given.
    """
    environ, url, hidden_headers = HiddenMapping(os.environ), Secret(endpoint), Secret(headers)
    del endpoint, headers  # a traceback shows the locals of each frame
    check_service(service)
    own_service = service.lower() if url.reveal() is None else None
    if own_service is not None:
        url = Secret(service_url(service, region, environ))
    if problem := url_problem(url.reveal(), allow_http=allow_http):
        raise ConfigurationError(problem)
    return Client(
        url.reveal() or "",
        auth=_found_credentials(region, environ) if credentials is None else credentials,
        timeout=timeout,
        headers=hidden_headers.reveal(),
        transport=transport,
        verify=verify,
        resend=resend,
        service=own_service,
        check=None if check_contract is None else _contract_check(check_contract),
    )


def _found_credentials(region: str | None, environ: Mapping[str, str]) -> httpx.Auth:
    from .credentials import find_credentials  # noqa: PLC0415 - callers with credentials skip this import

    return find_credentials(region, environ)


def _contract_check(mode: str) -> "ContractCheck":
    if mode not in {"log", "raise"}:
        raise ConfigurationError(f'check_contract is {mode!r}; it may be "log", "raise" or None')
    try:
        from .contract_check import ContractCheck  # noqa: PLC0415 - its imports are not in the base install
    except ModuleNotFoundError as error:
        text = f"check_contract: {error}; pip install 'huaweicloud-retry[contract]'"
        raise ConfigurationError(text) from error
    return ContractCheck(refuses=mode == "raise")
