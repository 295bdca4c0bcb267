"""How a request proves who sends it: `httpx.Auth` flows, one generator each for sync and async clients.

AkSkAuth signs; TokenAuth and PasswordAuth send a token.
"""

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

# User-Agent is left out: proxies rewrite it, and then the signature would be wrong.
_SIGNED: Final = frozenset(
    (
        b"host",
        b"content-type",
        b"x-sdk-date",
        b"x-project-id",
        b"x-security-token",
        b"x-enterprise-project-id",
    )
)
# The gateway's codes for a refused token: wrong, and expired or of another region. The prefix differs between
# gateways. https://support.huaweicloud.com/devg-apisign/api-sign-errorcode.html
_REFUSED_TOKEN: Final = re.compile(r"(\w+\.)?030[17]")
_CREATED, _UNAUTHORIZED = 201, 401
_MARGIN: Final = 0.05  # the part of its lifetime that a token has left when it is renewed …
_MAX_MARGIN: Final = 300.0  # … but no more than this many seconds


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

    Signs what is sent, an encoded slash in a path included: method, path, query, body, and of the headers
    Host, Content-Type, X-Sdk-Date, X-Project-Id, X-Security-Token and X-Enterprise-Project-ID. X-Project-Id
    is the project of the request; the gateway demands that it is the one in the path.

    Args:
        access_key: The AK.
        secret_key: The SK; never sent.
        project_id: For requests that do not tell their project, which are those of a plain httpx client.
        security_token: Of temporary keys, sent as `X-Security-Token`.

    Raises:
        ValueError: One of them cannot stand in a header. The text does not show it.
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
            _check(name, value)
        self._access_key, self._secret_key = hidden["access_key"], hidden["secret_key"]
        self._security_token = hidden.get("security_token")
        self._project_id = project_id

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign and send; a 401 is left to the caller: five wrong signatures lock the key for five minutes."""
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
    """Sends a token that is fetched once for all that need it."""

    _renews_fresh = False
    """Whether to fetch another if the gateway refuses one that was fetched for this very request."""

    def __init__(self) -> None:
        self._cache = TokenCache()

    def _key(self, request: httpx.Request) -> str | None:
        """Return the project whose token a request needs; None: there is one token for all."""
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
        if not _REFUSED_TOKEN.fullmatch(APIStatusError(_kept(response, body)).error_code or ""):
            return
        self._cache.forget(key, token)
        if not isinstance(request.stream, httpx.ByteStream):  # any other may be used up
            return
        token, _ = yield from self._cache.get(key, fetch, blocking=blocking)
        yield _with_token(request, token)


class TokenAuth(_TokenAuth):
    """Send a token that you have, or can get, as `X-Auth-Token`.

    Args:
        token: Of an IAM user; valid for 24 hours, in its region. Or a function that returns one: it is called
            at first use, and again, once per request, when the gateway responds 401 with code 0301 or 0307.
            It may block: async calls run it in a worker thread. It runs once for all requests that wait for
            it, and must not use this object itself. What it raises reaches all of them.

    Raises:
        ValueError: `token` cannot stand in a header. The text does not show it. Of a function's token, the
            request raises it.
    """

    _renews_fresh = True

    def __init__(self, token: str | Callable[[], str]) -> None:
        super().__init__()
        self._token: Token | None = None
        self._function: Callable[[], str] | None = None
        if isinstance(token, str) or not callable(token):
            secret = Secret(token)
            del token
            _check("token", secret)
            self._token = Token(secret, inf)
        else:
            self._function = token

    def steps(self, request: httpx.Request, *, blocking: bool) -> Steps[None]:
        if self._token is None:
            yield from super().steps(request, blocking=blocking)
        else:
            yield _with_token(request, self._token)

    def _key(self, request: httpx.Request) -> str | None:  # noqa: ARG002 - as of any project
        return None

    def _fetch(self, request: httpx.Request, key: str | None, *, blocking: bool) -> Steps[Token]:  # noqa: ARG002
        function = self._function
        secret: Secret[str] = yield lambda: Secret(function and function())
        _check("token", secret)
        return Token(secret, inf)


class PasswordAuth(_TokenAuth):
    """Fetch a token from IAM with a password at first use, send it as `X-Auth-Token`, and renew it in time.

    IAM is asked (`POST /v3/auth/tokens`) by the client whose request needs the token, with that request's
    timeout. Tokens are kept in memory; one is renewed when less than 5 % of its lifetime, at most 5 minutes,
    is left, and once when the gateway responds 401 with code 0301 or 0307 to a token that was not fetched for
    this very request. All threads and tasks that share an object share its tokens, and one request to IAM. A
    401 of IAM is final: the object raises the same error ever after and asks no more, since repeated wrong
    passwords lock the account.

    Source: https://support.huaweicloud.com/intl/en-us/api-iam/iam_30_0001.html

    Args:
        user_name: Of the IAM user; a HUAWEI ID itself gets no token.
        password: Of the IAM user; sent to `iam_endpoint` only, wherever that redirects.
        domain_name: Of the account that the user belongs to.
        project_id: Tokens are for this project only, and requests for another one are refused before they are
            sent.
        project_name: Or for the one of this name; a region's default project has its name, such as
            cn-north-4. Without either, there is a token for the project of each request; for requests that do
            not tell it, which are those of a plain httpx client, one for the whole account, which only global
            services accept.
        iam_endpoint: https, or http on this machine. The default's tokens are valid in all regions; those of
            https://iam.<region>.myhuaweicloud.com in that region. Europe has
            https://iam.eu-west-101.myhuaweicloud.eu.

    Raises:
        ValueError: One of them is empty or no Unicode text; both a project's ID and its name are given;
            `iam_endpoint` is invalid. The text shows no secret.

    A request with it also raises:
        IAMAuthenticationError: IAM refused with 401.
        IAMError: It refused otherwise, or its response has no token.
        ConfigurationError: The request is for another project than the token.
        httpx.RequestError: IAM cannot be reached; from the generated Client, an APIConnectionError.
    """

    def __init__(  # noqa: PLR0913 - what IAM asks for, and where it is
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
        del password
        url, iam_endpoint = Secret(iam_endpoint), "<hidden>"  # which may have a password by mistake
        projects = {"id": project_id, "name": project_name}
        self._project: dict[str, str] = {name: value for name, value in projects.items() if value is not None}
        given = {"user_name": user_name, "domain_name": domain_name}
        for name, value in {
            **given,
            **{f"project_{name}": value for name, value in self._project.items()},
        }.items():
            _check_text(name, Secret(value))
        _check_text("password", self._password)
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
            raise ConfigurationError(_other_project(fixed, project))
        return None if self._project else project

    def _fetch(self, request: httpx.Request, key: str | None, *, blocking: bool) -> Steps[Token]:
        if self._refusal is not None:
            raise IAMAuthenticationError(self._refusal)
        watch = _Watch()
        asking = self._token_request(request, key, watch.sync if blocking else watch.asynchronous)
        try:
            response: httpx.Response = yield asking
            received = monotonic()
            token = Secret(
                response.headers.pop("X-Subject-Token", "")
            )  # or it would show in the history of the response
            body: Secret[bytes] = yield response
        except GeneratorExit:
            # A hook of the client raised, or it was cancelled.
            if _UNAUTHORIZED in (watch.status, asking.extensions.get("status")):
                self._refusal = _kept(httpx.Response(_UNAUTHORIZED), Secret(b""))
            raise
        if response.status_code != _CREATED:
            refusal = _kept(response, body, self._password)
            if response.status_code == _UNAUTHORIZED:
                self._refusal = refusal
            raise (IAMAuthenticationError if response.status_code == _UNAUTHORIZED else IAMError)(refusal)
        problem: str | None = response.extensions.get("problem")
        lifetime, project = 0.0, None
        try:
            _check("X-Subject-Token", token)
            lifetime, project = _described(body)
        except ValueError as error:
            problem = problem or str(error)
        if problem is not None:
            raise IAMError(_kept(response, body, self._password, token, problem=problem))
        return Token(token, received + lifetime - min(_MARGIN * lifetime, _MAX_MARGIN), project)

    def _token_request(
        self, cause: httpx.Request, key: str | None, trace: Callable[..., object]
    ) -> httpx.Request:
        project = self._project or ({} if key is None else {"id": key})
        scope = {"project": project} if project else {"domain": {"name": self._domain_name}}
        stream = _Once(Secret(self._body(scope)))
        headers = {
            "Host": self._url.netloc.decode("ascii"),  # httpx adds neither this nor the length to a stream
            "Content-Type": "application/json;charset=utf8",
            "Content-Length": str(len(stream)),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": cause.headers.get("User-Agent", "huaweicloud-retry"),
        }
        extensions = {"timeout": cause.extensions.get("timeout", {}), "trace": trace}
        return httpx.Request("POST", self._url, headers=headers, stream=stream, extensions=extensions)

    def _body(self, scope: dict[str, Any]) -> bytes:
        identity = {
            "methods": ["password"],
            "password": {
                "user": {
                    "name": self._user_name,
                    "password": self._password.reveal(),
                    "domain": {"name": self._domain_name},
                }
            },
        }
        return json.dumps({"auth": {"identity": identity, "scope": scope}}).encode()


class _Once(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that shows nowhere, and goes to the host that it is meant for: not on to where that redirects."""

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


class _Watch:
    """Sees the head of IAM's response before httpx: https://www.encode.io/httpcore/extensions/#trace."""

    status = 0
    """For when the auth flow does not live to see it."""

    def sync(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(".receive_response_headers.complete"):
            self.status = next(part for part in info["return_value"] if isinstance(part, int))
            info["return_value"] = self.status  # httpcore logs it next, and the token would be in it

    async def asynchronous(self, event: str, info: dict[str, Any]) -> None:
        self.sync(event, info)


def _with_token(request: httpx.Request, token: Token) -> httpx.Request:
    project: str | None = request.extensions.get("project_id")
    if None not in (project, token.project) and project != token.project:
        raise ConfigurationError(_other_project(token.project, project))
    request.headers["X-Auth-Token"] = token.value.reveal()
    return request


def _other_project(fixed: str | None, asked: str | None) -> str:
    return (
        f"the credentials are for project {fixed}, and the request is for {asked}: give PasswordAuth no project, and it gets "
        "a token for each that is asked for; nothing was sent"
    )


def _kept(
    response: httpx.Response, body: Secret[bytes], *secrets: Secret[str], problem: str | None = None
) -> Response[None]:
    """Return what an error may hold of a response: no secret that it repeats."""

    def masked(text: bytes) -> bytes:
        return reduce(mask, secrets, text)

    headers = httpx.Headers([(name, masked(value)) for name, value in response.headers.raw])
    content = masked(body.reveal()[:MAX_BODY])
    return Response(status_code=response.status_code, headers=headers, content=content, problem=problem)


def _described(body: Secret[bytes]) -> tuple[float, str | None]:
    """Return the lifetime of a token in seconds, and the ID of its project."""
    try:
        token: dict[str, Any] = json.loads(body.reveal())["token"]
        issued, expires = (datetime.fromisoformat(token[name]) for name in ("issued_at", "expires_at"))
        lifetime = (expires - issued).total_seconds()
        described: dict[str, Any] = token.get("project") or {}
        project: Any = described.get("id")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        lifetime, project = 0.0, None
    if lifetime <= 0:
        raise ValueError("its body does not say when the token was issued and when, later, it expires")
    return lifetime, project if isinstance(project, str) else None


def _check_text(name: str, value: Secret[Any]) -> None:
    if (
        not isinstance(value.reveal(), str)
        or not value.reveal()
        or any("\ud800" <= char <= "\udfff" for char in value.reveal())
    ):
        raise ValueError(f"the {name} must be text, and not empty")


def _check(name: str, value: Secret[str]) -> None:
    if not is_sendable(value.reveal()):
        raise ValueError(
            f"the {name} must be printable ASCII, not empty, without blanks or line breaks around it"
        )


def is_sendable(value: object) -> bool:
    """Say whether a value can stand in a header."""
    return (
        isinstance(value, str)
        and bool(value)
        and value.isascii()
        and value.isprintable()
        and value == value.strip()
    )
