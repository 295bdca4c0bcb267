"""connect(): service, region and credentials -> a ready client that sends again only what surely did not act."""

import copy
import os
import ssl
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs
import httpx

from huaweicloud_retry_client import APIConnectionError, Client, Response

from .endpoints import check_service, check_url, service_url
from .errors import ConfigurationError
from .resend import Resend
from .transport import Transport

if TYPE_CHECKING:
    from .contract_check import ContractCheck

T = TypeVar("T")

_DEFAULT_RESEND = Resend()


class Connection(Client):
    """A client of one service, as `connect` makes it: a `Client` that sends again what surely did not act."""

    __slots__ = ("_check", "_origin", "_resend")

    def __init__(
        self, base_url: str, *, resend: Resend | None, check: "ContractCheck | None" = None, **settings: Any
    ) -> None:
        """Take the settings of `Client`, the rule by which to send again, and what each attempt is held against."""
        super().__init__(base_url, **settings)
        self._resend = resend
        self._check = check
        self._origin: Connection | None = None

    def with_resend(self, resend: Resend | None) -> Self:
        """Return this client with another rule, for single calls. It shares the connections; closing it closes nothing.

        Args:
            resend: None: send nothing again.
        """
        view = copy.copy(self)
        view._resend, view._origin = resend, self._origin or self  # noqa: SLF001 - its own kind
        return view

    def call(
        self, kwargs: Mapping[str, Any], parse: Callable[[int, bytes], T], timeout: float | httpx.Timeout | None
    ) -> Response[T]:
        """Send a request, and again as far as the rule allows; what `sync_detailed` does with its arguments.

        Raises:
            APIConnectionError: No answer came.
        """
        attempt = 1
        while True:
            try:
                answer = self._checked(kwargs, super().call(kwargs, parse, timeout))
            except APIConnectionError as error:
                error.attempts = attempt
                wait = self._wait(attempt, error)
                if wait is None:
                    raise
            else:
                wait = self._wait(attempt, answer)
                if wait is None:
                    return answer if attempt == 1 else attrs.evolve(answer, attempts=attempt)
            time.sleep(wait)
            attempt += 1

    async def acall(
        self,
        kwargs: Mapping[str, Any],
        parse: Callable[[int, bytes], T],
        timeout: float | httpx.Timeout | None,  # noqa: ASYNC109 - as httpx has it
    ) -> Response[T]:
        """Send a request, and again as far as the rule allows; what `asyncio_detailed` does with its arguments.

        Raises:
            APIConnectionError: No answer came.
        """
        import anyio  # noqa: PLC0415 - the synchronous world does without it

        attempt = 1
        while True:
            try:
                answer = self._checked(kwargs, await super().acall(kwargs, parse, timeout))
            except APIConnectionError as error:
                error.attempts = attempt
                wait = self._wait(attempt, error)
                if wait is None:
                    raise
            else:
                wait = self._wait(attempt, answer)
                if wait is None:
                    return answer if attempt == 1 else attrs.evolve(answer, attempts=attempt)
            await anyio.sleep(wait)
            attempt += 1

    def close(self) -> None:
        """Close the synchronous side. The client cannot be used afterwards."""
        if self._origin is None:
            super().close()

    async def aclose(self) -> None:
        """Close both sides. The client cannot be used afterwards."""
        if self._origin is None:
            await super().aclose()

    def _wait(self, attempt: int, outcome: Response[Any] | APIConnectionError) -> float | None:
        return None if self._resend is None else self._resend.wait(attempt, outcome)

    def _request(
        self,
        http: httpx.Client | httpx.AsyncClient,
        timeout: float | httpx.Timeout | None,
        *,
        method: str,
        path: str,
        headers: Mapping[str, str],
        **content: Any,
    ) -> httpx.Request:
        request = super()._request(http, timeout, method=method, path=path, headers=headers, **content)
        if self._check is not None:
            self._check.request(path, request)
        return request

    def _checked(self, kwargs: Mapping[str, Any], answer: Response[T]) -> Response[T]:
        return answer if self._check is None else self._check.answer(kwargs["method"], kwargs["path"], answer)

    def _opened(self) -> httpx.Client:
        return super()._opened() if self._origin is None else self._origin._opened()  # noqa: SLF001 - its own kind

    def _async_opened(self) -> httpx.AsyncClient:
        return super()._async_opened() if self._origin is None else self._origin._async_opened()  # noqa: SLF001 - see above


def connect(  # noqa: PLR0913 - what there is to choose
    service: str,
    *,
    region: str | None = None,
    endpoint: str | None = None,
    credentials: httpx.Auth | None = None,
    timeout: float | httpx.Timeout | None = None,
    resend: Resend | None = _DEFAULT_RESEND,
    headers: Mapping[str, str] | None = None,
    verify: ssl.SSLContext | None = None,
    allow_http: bool = False,
    check_contract: Literal["log", "raise"] | None = None,
) -> Connection:
    """Return a ready client of a service.

        with connect("cse", region="cn-north-4") as client:
            job = retry_engine.sync("project", "engine", client=client, body=EngineActionRequest())

    Args:
        service: `cse` or `workspace`.
        region: Such as cn-north-4; by default HW_REGION_NAME or OS_REGION_NAME of the environment.
        endpoint: The host's URL, in place of the one that the region has.
        credentials: `AkSkAuth`, `PasswordAuth`, `TokenAuth` or any httpx.Auth; by default what the environment or the
            profile file ~/.huaweicloud/credentials has.
        timeout: Seconds for each of connect, read, write and pool, or an httpx.Timeout; 60, and 10 to connect, by default.
        resend: What may be sent again, and when; None: nothing.
        headers: Sent with each request.
        verify: An ssl.SSLContext for a CA or client certificate of your own. By default what httpx trusts: its bundle of
            CAs, or SSL_CERT_FILE or SSL_CERT_DIR of the environment. One context serves all connections of the client.
        allow_http: Take an endpoint that is neither https nor on this machine's loopback.
        check_contract: Hold each attempt's request and answer against openapi.yaml. "log": each deviation is a WARNING of
            the logger `huaweicloud_retry`, without values of the traffic. "raise": besides, a request that deviates is not
            sent but raises APIRequestValidationError; of an answer, `problem` says what deviates, which makes a 2xx an
            APIResponseValidationError; any other status raises its own error. Needs the extra `contract`.

    Raises:
        ConfigurationError: Service, region, endpoint or credentials are missing or wrong; the text says where they were
            looked for, and what to do. Or check_contract is neither, or what it needs is not installed.
    """
    check_service(service)
    url = service_url(service, region, os.environ) if endpoint is None else endpoint
    check_url(url, allow_http=allow_http)
    if credentials is None:
        from .credentials import find_credentials  # noqa: PLC0415 - who brings them need not wait for this import

        credentials = find_credentials(region, os.environ, Path.home())
    tls: Callable[[], ssl.SSLContext] = _tls if verify is None else lambda: verify
    if urlsplit(url).scheme == "https":
        tls()  # what is wrong with the CAs is to be known now
    # httpx takes proxies from the environment only if it is left to make the transport.
    settings: dict[str, Any] = {"verify": tls()} if _has_proxy(url) else {"transport": Transport(tls)}
    check = None if check_contract is None else _contract_check(check_contract)
    return Connection(url, auth=credentials, timeout=timeout, headers=headers, resend=resend, check=check, **settings)


def _contract_check(mode: str) -> "ContractCheck":
    if mode not in {"log", "raise"}:
        raise ConfigurationError(f'check_contract is {mode!r}; it may be "log", "raise" or None')
    try:
        from .contract_check import ContractCheck  # noqa: PLC0415 - what it imports is no part of the base install
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"check_contract: {error}; pip install 'huaweicloud-retry[contract]'") from error
    return ContractCheck(refuses=mode == "raise")


@cache
def _tls() -> ssl.SSLContext:
    """One for the whole process: making it reads all CAs, which takes longer than a call."""
    return httpx.create_ssl_context()


def _has_proxy(url: str) -> bool:
    parts = urlsplit(url)
    return bool(getproxies().keys() & {parts.scheme, "all"}) and not proxy_bypass(parts.hostname or "")
