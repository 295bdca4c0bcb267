"""Authentication as `httpx.Auth` flows. AkSkAuth signs; TokenAuth and PasswordAuth send a token."""

import json
import re
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from datetime import datetime
from functools import reduce
from math import inf
from time import gmtime, monotonic, strftime
from typing import Any, Final, Never, Self

import httpx

from . import signing
from .endpoints import IAM_ENDPOINT, url_problem
from .runtime.errors import APIStatusError, ConfigurationError, IAMAuthenticationError, IAMError
from .runtime.http1 import MAX_BODY
from .runtime.redaction import Secret, mask
from .runtime.response import Response
from .token_cache import StepAuth, Steps, Token, TokenCache

# User-Agent is not signed: proxies rewrite it, which would break the signature.
_SIGNED: Final = frozenset(
    b"host content-type x-sdk-date x-project-id x-security-token x-enterprise-project-id".split()
)
# The gateway's codes for a refused token: wrong (0301); expired or of another region (0307). The prefix
# differs between gateways. https://support.huaweicloud.com/devg-apisign/api-sign-errorcode.html
_REFUSED_TOKEN: Final = re.compile(r"(\w+\.)?030[17]")
_CREATED, _UNAUTHORIZED = 201, 401
_MARGIN: Final = 0.05  # a token is renewed when this part of its lifetime is left,
_MAX_MARGIN: Final = 300.0  # at most this many seconds


class _Auth(httpx.Auth):
    """Holds secrets: it cannot be pickled, and a copy is the same object."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(<hidden>)"

    def __reduce_ex__(self, _protocol: object) -> Never:
        raise TypeError(f"{type(self).__name__} holds a secret and cannot be pickled")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self


class AkSkAuth(_Auth):
    """Sign each request with an access key and its secret key (SDK-HMAC-SHA256), as the official SDK does.

    Signs the method, path, query, body, and the headers Host, Content-Type, X-Sdk-Date, X-Project-Id,
    X-Security-Token and X-Enterprise-Project-ID, exactly as they are sent. X-Project-Id is the project of
    the request; the gateway requires it to be the project in the path.

    Args:
        access_key: The AK.
        secret_key: The SK; never sent.
        project_id: The project for requests of a plain httpx client, which name none.
        security_token: The security token of temporary keys, sent as `X-Security-Token`.

    Raises:
        ValueError: A value cannot be sent in a header. The text does not show it.
    """

    requires_request_body = True

    def __init__(
        self,
        access_key: str,
        secret_key: str,
        *,
        project_id: str | None = None,
        security_token: str | None = None,
    ) -> None:
        given: dict[str, Any] = {
            "access_key": access_key,
            "secret_key": secret_key,
            "project_id": project_id,
            "security_token": security_token,
        }
        required = "access_key", "secret_key"
        hidden: dict[str, Secret[Any]] = {
            name: Secret(value) for name, value in given.items() if value is not None or name in required
        }
        del access_key, secret_key, security_token, given  # a traceback shows the locals of each frame
        for name, value in hidden.items():
            _check_sendable(name, value)
        self._access_key, self._secret_key = hidden["access_key"], hidden["secret_key"]
        self._security_token = hidden.get("security_token")
        self._project_id = project_id

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign and send. Does not repeat after a 401: five wrong signatures lock the key for five minutes."""
        headers = request.headers
        headers["X-Sdk-Date"] = date = strftime(signing.DATE_FORMAT, gmtime())
        if project := request.extensions.get("project_id") or self._project_id:
            headers["X-Project-Id"] = project
        if self._security_token is not None:
            headers["X-Security-Token"] = self._security_token.reveal()
        del headers
        self._sign(request, date)
        yield request

    def _sign(self, request: httpx.Request, date: str) -> None:
        request.headers["Authorization"] = signing.authorization(
            self._access_key.reveal(),
            self._secret_key.reveal(),
            signing.canonical_request(
                request.method,
                request.url.raw_path.decode("ascii"),
                {
                    name.decode(): value.decode(errors="surrogateescape")
                    for name, value in request.headers.raw
                    if name.lower() in _SIGNED
                },
                request.content,
            ),
            date,
        )


class _TokenAuth(_Auth, StepAuth):
    """Sends a token. Requests that need the same token share one fetch."""

    _renews_fresh = False
    """Whether to fetch another token if the gateway refuses one that was fetched for the same request."""

    def __init__(self) -> None:
        self._cache = TokenCache()

    def _key(self, request: httpx.Request) -> str | None:
        """Return the project whose token a request needs; None: all requests use one token."""
        raise NotImplementedError

    def _fetch(self, request: httpx.Request, key: str | None, *, blocking: bool) -> Steps[Token]:
        raise NotImplementedError

    def steps(self, request: httpx.Request, *, blocking: bool) -> Steps[None]:
        key = self._key(request)

        def fetch() -> Steps[Token]:
            return self._fetch(request, key, blocking=blocking)

        token, is_fresh = yield from self._cache.get(key, fetch, blocking=blocking)
        response: httpx.Response = yield _with_token(request, token)
        if response.status_code != _UNAUTHORIZED or (is_fresh and not self._renews_fresh):
            return
        body: Secret[bytes] = yield response
        if not _REFUSED_TOKEN.fullmatch(APIStatusError(_masked_response(response, body)).error_code or ""):
            return
        self._cache.forget(key, token)
        if not isinstance(request.stream, httpx.ByteStream):  # other streams can be read only once
            return
        token, _ = yield from self._cache.get(key, fetch, blocking=blocking)
        yield _with_token(request, token)


class TokenAuth(_TokenAuth):
    """Send your own token as `X-Auth-Token`.

    Args:
        token: The token of an IAM user, valid for 24 hours in its region. Or a function that returns one: it
            is called at first use, and again, once per request, when the gateway responds 401 with code 0301
            or 0307. It may block: async calls run it in a worker thread. Requests that wait for a token share
            one call, and each raises what it raises. It must not use this object.

    Raises:
        ValueError: `token` cannot be sent in a header. The text does not show it. If a function returned the
            token, the request raises this.
    """

    _renews_fresh = True

    def __init__(self, token: str | Callable[[], str]) -> None:
        super().__init__()
        self._token: Token | None = None
        self._function: Callable[[], str] | None = None
        if isinstance(token, str) or not callable(token):
            secret = Secret(token)
            del token
            _check_sendable("token", secret)
            self._token = Token(secret, inf)
        else:
            self._function = token

    def steps(self, request: httpx.Request, *, blocking: bool) -> Steps[None]:
        if self._token is None:
            yield from super().steps(request, blocking=blocking)
        else:
            yield _with_token(request, self._token)

    def _key(self, request: httpx.Request) -> str | None:  # noqa: ARG002 - one token for all projects
        return None

    def _fetch(self, request: httpx.Request, key: str | None, *, blocking: bool) -> Steps[Token]:  # noqa: ARG002
        function = self._function
        secret: Secret[str] = yield lambda: Secret(function and function())
        _check_sendable("token", secret)
        return Token(secret, inf)


class PasswordAuth(_TokenAuth):
    """Fetch a token from IAM with a password at first use, send it as `X-Auth-Token`, and renew it in time.

    The client that needs the token requests it from IAM (`POST /v3/auth/tokens`), with the timeout of its own
    request. Tokens are kept in memory. A token is renewed when less than 5 % of its lifetime, at most 5
    minutes, is left. It is also renewed once when the gateway responds 401 with code 0301 or 0307, unless it
    was fetched for the same request. Threads and tasks that share this object share its tokens and token
    fetches. A 401 from IAM is final: this object then always raises the same error and sends no more requests
    to IAM, since repeated wrong passwords lock the account.

    Source: https://support.huaweicloud.com/intl/en-us/api-iam/iam_30_0001.html

    Args:
        user_name: Name of the IAM user; a HUAWEI ID itself gets no token.
        password: Password of the IAM user; sent to `iam_endpoint` only, never to a redirect's target.
        domain_name: Name of the account that the user belongs to.
        project_id: Limits the tokens to this project. Requests for another project raise an error and are
            not sent.
        project_name: The same by name. A region's default project has the region's name, such as cn-north-4.
            Without both, each project gets its own token. Requests of a plain httpx client name no project:
            they get a token for the whole account, which only global services accept.
        iam_endpoint: https, or http on this machine. Tokens of the default are valid in all regions; those of
            https://iam.<region>.myhuaweicloud.com in that region. Europe has
            https://iam.eu-west-101.myhuaweicloud.eu.

    Raises:
        ValueError: A value is empty or not Unicode text; both project_id and project_name are given;
            `iam_endpoint` is invalid. The text shows no secret.

    Requests that use it also raise:
        IAMAuthenticationError: IAM responded with 401.
        IAMError: IAM responded with another error, or without a token.
        ConfigurationError: The request is for another project than the token.
        httpx.RequestError: IAM cannot be reached; from the generated Client, an APIConnectionError.
    """

    def __init__(  # noqa: PLR0913 - what IAM needs
        self,
        user_name: str,
        password: str,
        *,
        domain_name: str,
        project_id: str | None = None,
        project_name: str | None = None,
        iam_endpoint: str = IAM_ENDPOINT,
    ) -> None:
        super().__init__()
        self._password = Secret(password)
        url = Secret(iam_endpoint)  # it may hold a password by mistake
        del password, iam_endpoint
        _check_text("user_name", Secret(user_name))
        _check_text("domain_name", Secret(domain_name))
        _check_text("password", self._password)
        self._project: dict[str, str] = {}
        for key, value in (("id", project_id), ("name", project_name)):
            if value is not None:
                _check_text(f"project_{key}", Secret(value))
                self._project[key] = value
        if len(self._project) > 1:
            raise ValueError("give project_id or project_name, not both")
        if problem := url_problem(url.reveal(), allow_http=False):
            raise ConfigurationError(problem)
        self._url = httpx.URL(url.reveal().rstrip("/") + "/v3/auth/tokens?nocatalog=true")
        self._user_name, self._domain_name = user_name, domain_name
        self._refusal: Response[None] | None = None

    def _key(self, request: httpx.Request) -> str | None:
        project: str | None = request.extensions.get("project_id")
        fixed = self._project.get("id")
        if None not in (project, fixed) and project != fixed:
            raise ConfigurationError(_wrong_project(fixed, project))
        return None if self._project else project

    def _fetch(self, request: httpx.Request, key: str | None, *, blocking: bool) -> Steps[Token]:
        if self._refusal is not None:
            raise IAMAuthenticationError(self._refusal)
        trace = _StatusTrace()
        token_request = self._token_request(request, key, trace.sync if blocking else trace.asynchronous)
        try:
            response: httpx.Response = yield token_request
            received = monotonic()
            # Removed from the headers, so that the response's history does not show it.
            token = Secret(response.headers.pop("X-Subject-Token", ""))
            body: Secret[bytes] = yield response
        except GeneratorExit:
            # An event hook of the client raised, or the call was cancelled.
            if _UNAUTHORIZED in (trace.status, token_request.extensions.get("status")):
                self._refusal = _masked_response(httpx.Response(_UNAUTHORIZED), Secret(b""))
            raise
        if response.status_code != _CREATED:
            refusal = _masked_response(response, body, self._password)
            if response.status_code != _UNAUTHORIZED:
                raise IAMError(refusal)
            self._refusal = refusal
            raise IAMAuthenticationError(refusal)
        problem: str | None = response.extensions.get("problem")
        lifetime, project = 0.0, None
        try:
            _check_sendable("X-Subject-Token", token)
            lifetime, project = _lifetime_and_project(body)
        except ValueError as error:
            problem = problem or str(error)
        if problem is not None:
            raise IAMError(_masked_response(response, body, self._password, token, problem=problem))
        return Token(token, received + lifetime - min(_MARGIN * lifetime, _MAX_MARGIN), project)

    def _token_request(
        self, waiting: httpx.Request, key: str | None, trace: Callable[..., object]
    ) -> httpx.Request:
        project = self._project or ({} if key is None else {"id": key})
        scope = {"project": project} if project else {"domain": {"name": self._domain_name}}
        stream = _OneTimeBody(Secret(self._body(scope)))
        headers = {
            "Host": self._url.netloc.decode("ascii"),  # httpx adds no Host and no length to a stream
            "Content-Type": "application/json;charset=utf8",
            "Content-Length": str(len(stream)),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": waiting.headers.get("User-Agent", "huaweicloud-retry"),
        }
        extensions = {"timeout": waiting.extensions.get("timeout", {}), "trace": trace}
        return httpx.Request("POST", self._url, headers=headers, stream=stream, extensions=extensions)

    def _body(self, scope: dict[str, Any]) -> bytes:
        domain = {"name": self._domain_name}
        user = {"name": self._user_name, "password": self._password.reveal(), "domain": domain}
        identity = {"methods": ["password"], "password": {"user": user}}
        return json.dumps({"auth": {"identity": identity, "scope": scope}}).encode()


class _OneTimeBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that can be sent once, so it is not sent to a redirect's target. No repr shows it."""

    def __init__(self, body: Secret[bytes]) -> None:
        self._body: Secret[bytes] | None = body
        self._length = len(body.reveal())

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        body, self._body = self._body, None
        if body is None:
            raise httpx.TooManyRedirects("IAM redirects, but the password goes to iam_endpoint only")
        yield body.reveal()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


class _StatusTrace:
    """Reads the status of IAM's response before httpx: https://www.encode.io/httpcore/extensions/#trace."""

    status = 0
    """Needed if the auth flow is closed before it receives the response."""

    def sync(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(".receive_response_headers.complete"):
            self.status = next(part for part in info["return_value"] if isinstance(part, int))
            info["return_value"] = self.status  # httpcore logs this value; the headers hold the token

    async def asynchronous(self, event: str, info: dict[str, Any]) -> None:
        self.sync(event, info)


def _with_token(request: httpx.Request, token: Token) -> httpx.Request:
    project: str | None = request.extensions.get("project_id")
    if None not in (project, token.project) and project != token.project:
        raise ConfigurationError(_wrong_project(token.project, project))
    request.headers["X-Auth-Token"] = token.value.reveal()
    return request


def _wrong_project(fixed: str | None, requested: str | None) -> str:
    return (
        f"the credentials are for project {fixed}, and the request is for {requested}; nothing was sent. "
        "Give PasswordAuth no project: it then gets a token for each project"
    )


def _masked_response(
    response: httpx.Response, body: Secret[bytes], *secrets: Secret[str], problem: str | None = None
) -> Response[None]:
    """Return a response without the secrets that it repeats, for an error to hold."""

    def masked(text: bytes) -> bytes:
        return reduce(mask, secrets, text)

    headers = httpx.Headers([(name, masked(value)) for name, value in response.headers.raw])
    content = masked(body.reveal()[:MAX_BODY])
    return Response(status_code=response.status_code, headers=headers, content=content, problem=problem)


def _lifetime_and_project(body: Secret[bytes]) -> tuple[float, str | None]:
    """Return the lifetime of a token in seconds, and the ID of its project."""
    try:
        token: dict[str, Any] = json.loads(body.reveal())["token"]
        issued, expires = (datetime.fromisoformat(token[name]) for name in ("issued_at", "expires_at"))
        lifetime = (expires - issued).total_seconds()
        of_project: dict[str, Any] = token.get("project") or {}
        project: Any = of_project.get("id")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        lifetime, project = 0.0, None
    if lifetime <= 0:
        raise ValueError("its body does not say when the token was issued, and when it expires after that")
    return lifetime, project if isinstance(project, str) else None


def _check_text(name: str, value: Secret[Any]) -> None:
    if not isinstance(value.reveal(), str) or not value.reveal() or not is_unicode(value.reveal()):
        raise ValueError(f"the {name} must be text, and not empty")


def _check_sendable(name: str, value: Secret[str]) -> None:
    if not is_sendable(value.reveal()):
        raise ValueError(
            f"the {name} must be printable ASCII, not empty, without blanks or line breaks around it"
        )


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can encode a text: it has no half of a surrogate pair."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def is_sendable(value: object) -> bool:
    """Return whether a value can be sent in a header."""
    if not isinstance(value, str) or not value:
        return False
    return value.isascii() and value.isprintable() and value == value.strip()
