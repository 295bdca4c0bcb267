"""How a request proves who sends it: `httpx.Auth` flows, one generator each for sync and async clients.

What is secret is kept in a closure, so that neither repr(), vars() nor a debugger's dump of the object shows it.
"""

import json
import re
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import aclosing, closing, suppress
from datetime import datetime
from functools import partial
from math import inf
from time import gmtime, monotonic, strftime
from typing import TYPE_CHECKING, Any, NamedTuple, Never, Self, TypeAlias, TypeVar, cast

import httpx

from . import signing
from .endpoints import IAM_ENDPOINT, check_url
from .errors import error_code, iam_error, kept

if TYPE_CHECKING:
    from huaweicloud_retry_client.types import Response

T = TypeVar("T")

# User-Agent is left out: proxies rewrite it, and then the signature would not fit.
_SIGNED = ("host", "content-type", "x-sdk-date", "x-project-id", "x-security-token", "x-enterprise-project-id")


# The gateway's codes for a token that will not do: wrong, and expired or of another region. What stands before the
# digits differs between gateways. https://support.huaweicloud.com/devg-apisign/api-sign-errorcode.html
_REFUSED_TOKEN = re.compile(r"(\w+\.)?030[17]")
_LARGEST_LOOKED_AT = 1 << 16  # bytes, of a 401's body; the gateway's own have some hundred
_CREATED = 201
_UNAUTHORIZED = 401
_MARGIN = 0.05  # the part of its lifetime that a token has left when it is renewed ...
_LONGEST_MARGIN = 300.0  # ... but no more than this many seconds


class _Token(NamedTuple):
    value: str
    renew_at: float
    """On the monotonic clock."""

    def __repr__(self) -> str:
        return "_Token(<hidden>)"


class _Flight(Future[_Token | None]):
    """One getting of a token: whoever needs it first gets it, all others wait for the result; None: it was given up.

    It also keeps what httpcore tells of the request by its trace extension, since httpx tells an auth flow nothing of
    why it ends: https://www.encode.io/httpcore/extensions/#trace
    """

    def __init__(self, *, blocking: bool) -> None:
        super().__init__()
        self.blocking = blocking
        self.thread = threading.get_ident()
        self.status = 0
        """Of the answer, even if the flow did not live to see it."""
        self.failure: tuple[str, str] | None = None
        """Why no answer came: the name of the exception, the same in httpcore and httpx, and its text."""
        self.request: httpx.Request | None = None

    def watch(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(".failed"):
            self.failure = type(info["exception"]).__name__, str(info["exception"])
        elif event.endswith(".receive_response_headers.complete"):
            self.status = next(part for part in info["return_value"] if isinstance(part, int))
            info["return_value"] = self.status  # httpcore logs it next, and X-Subject-Token would be in it

    async def awatch(self, event: str, info: dict[str, Any]) -> None:
        self.watch(event, info)

    def give_up(self) -> None:
        """End without a token: let the others fail alike if there is no answer to be had, else one of them take over."""
        name, text = self.failure or ("", "")
        kind = getattr(httpx, name, None)
        if isinstance(kind, type) and issubclass(kind, httpx.RequestError):
            self.set_exception(kind(text, request=self.request))
        else:  # most likely cancelled
            self.set_result(None)

    async def wait(self) -> _Token | None:
        import anyio.lowlevel  # noqa: PLC0415 - the synchronous world does without it

        token: Any = anyio.lowlevel.current_token()
        loop = getattr(token, "native_token", token)  # wrapped since anyio 4.11
        soon = loop.run_sync_soon if hasattr(loop, "run_sync_soon") else loop.call_soon_threadsafe  # trio, asyncio
        event = anyio.Event()

        def wake(_: object) -> None:
            with suppress(RuntimeError):  # that loop has ended, and its tasks with it
                soon(event.set)

        self.add_done_callback(wake)
        await event.wait()
        return self.result()


class _Take(NamedTuple):
    """Take a body off the line, for it holds a connection that others may need; the response is as if unread."""

    response: httpx.Response
    keep: bool

    def sync(self) -> bytes:
        if self.response.is_stream_consumed:  # by an event hook
            return self.response.content
        body, stream = bytearray(), cast("httpx.SyncByteStream", self.response.stream)
        with closing(stream), suppress(httpx.RequestError):  # what came has to do: the status says enough
            for part in stream if self.keep else ():
                body += part
        self.response.stream = httpx.ByteStream(bytes(body))
        return bytes(body)

    async def asynchronous(self) -> bytes:
        if self.response.is_stream_consumed:
            return self.response.content
        body, stream = bytearray(), cast("httpx.AsyncByteStream", self.response.stream)
        async with aclosing(stream):
            with suppress(httpx.RequestError):
                if self.keep:
                    async for part in stream:
                        body += part
        self.response.stream = httpx.ByteStream(bytes(body))
        return bytes(body)


# What an auth flow does, without how: a request to send, a body to take, a flight to wait for, a function that may block.
_Steps: TypeAlias = Generator[httpx.Request | _Take | _Flight | Callable[[], object], Any, T]


class _StepAuth(httpx.Auth):
    """Does the steps of a flow in either world. Cannot be pickled; a copy is the same object, with the same token."""

    def __init__(self, steps: Callable[[httpx.Request, bool], _Steps[None]]) -> None:
        self._steps = steps

    def __repr__(self) -> str:
        return f"{type(self).__name__}(<hidden>)"

    def __reduce_ex__(self, _protocol: object) -> Never:
        raise TypeError(f"{type(self).__name__} holds a secret and cannot be pickled")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Do as `sync_auth_flow` does."""
        return self.sync_auth_flow(request)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request with a token; waits, if need be, by blocking the thread."""
        steps = self._steps(request, True)
        with closing(steps), suppress(StopIteration):
            step = next(steps)
            while True:
                if isinstance(step, httpx.Request):
                    came: object = yield step
                elif isinstance(step, _Take):
                    came = step.sync()
                else:
                    came = step.result() if isinstance(step, _Flight) else step()
                step = steps.send(came)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the request with a token; blocks no event loop, be it asyncio's or trio's."""
        steps = self._steps(request, False)
        with closing(steps), suppress(StopIteration):
            step = next(steps)
            while True:
                if isinstance(step, httpx.Request):
                    came: object = yield step
                elif isinstance(step, _Take):
                    came = await step.asynchronous()
                elif isinstance(step, _Flight):
                    came = await step.wait()
                else:
                    from anyio import to_thread  # noqa: PLC0415 - see _Flight.wait

                    came = await to_thread.run_sync(step, abandon_on_cancel=True)
                step = steps.send(came)


def _shared(  # noqa: C901 - two functions that share a state which nobody else may see
    get: Callable[[httpx.Request, _Flight], _Steps[_Token]], *, renew_fresh: bool
) -> Callable[[httpx.Request, bool], _Steps[None]]:
    """Return the steps of a flow whose token is got once for all that need it, and again when it will not do.

    Args:
        get: the steps to a token.
        renew_fresh: also when the flow that is told so has just got it.
    """
    # Reentrant: the garbage collector may end a forgotten flow, which then takes the lock, while its thread holds it.
    lock = threading.RLock()
    token: _Token | None = None
    flight: _Flight | None = None

    def current(request: httpx.Request, blocking: bool) -> _Steps[tuple[_Token, bool]]:
        """Return the token, and whether it came just now."""
        nonlocal token, flight
        while True:
            with lock:
                if token is not None and monotonic() < token.renew_at:
                    return token, False
                # No thread waits for itself: for a task of its own event loop, which stands still while it waits.
                if flight is None or (blocking and flight.thread == threading.get_ident()):
                    own = flight = _Flight(blocking=blocking)
                    break
                under_way = flight
            came: _Token | None = yield under_way
            if came is not None:
                return came, True
        try:
            got = yield from get(request, own)
        except BaseException as error:
            with lock:
                flight = None
            if isinstance(error, Exception):
                own.set_exception(error)
            else:
                own.give_up()
            raise
        with lock:
            token, flight = got, None
        own.set_result(got)
        return got, True

    def steps(request: httpx.Request, blocking: bool) -> _Steps[None]:
        nonlocal token
        used, fresh = yield from current(request, blocking)
        request.headers["X-Auth-Token"] = used.value
        answer: httpx.Response = yield request
        if (fresh and not renew_fresh) or not (yield from _refuses_token(answer)):
            return
        with lock:
            token = None if token is used else token
        if isinstance(request.stream, httpx.ByteStream):  # any other may be used up
            used, _ = yield from current(request, blocking)
            request.headers["X-Auth-Token"] = used.value
            yield request

    return steps


def _refuses_token(answer: httpx.Response) -> _Steps[bool]:
    """Say whether the gateway wants another token; if so, the answer holds no connection any more."""
    if answer.status_code != _UNAUTHORIZED:
        return False
    length = answer.headers.get("Content-Length")
    if length is None or "Content-Encoding" in answer.headers:  # nobody knows how much it is, unpacked
        yield _Take(answer, keep=False)
        return True
    if not (length.isdecimal() and len(length) < 9 and int(length) <= _LARGEST_LOOKED_AT):  # noqa: PLR2004 - for int()
        return False
    body: bytes = yield _Take(answer, keep=True)
    return bool(_REFUSED_TOKEN.fullmatch(error_code(answer, body)))


class TokenAuth(_StepAuth):
    """Send a token that you have, or can get, as `X-Auth-Token`.

    Args:
        token: of an IAM user; valid for 24 hours, in its region. Or a function that returns one: it is called at first
            use, and again, once per request, when the gateway answers 401 with code 0301 or 0307. It may block: in
            the asynchronous world it runs in a worker thread. It runs once for all requests that wait for it, and
            must not use this object itself. What it raises reaches all of them.

    Raises:
        ValueError: `token` cannot stand in a header. The text does not show it. Of a function's token, the request
            raises it.
    """

    def __init__(self, token: str | Callable[[], str]) -> None:
        if isinstance(token, str):
            _check("token", token)
            super().__init__(partial(_send_with, lambda: token))
            return

        def called() -> str | Exception:
            try:
                return token()
            except Exception as error:  # noqa: BLE001 - raised again within the flow, which tells those that wait
                return error

        def get(_request: httpx.Request, _flight: _Flight) -> _Steps[_Token]:
            came: str | Exception = yield called
            if isinstance(came, Exception):
                raise came
            _check("token", came)
            return _Token(came, inf)

        super().__init__(_shared(get, renew_fresh=True))


def _send_with(token: Callable[[], str], request: httpx.Request, _blocking: bool) -> _Steps[None]:
    request.headers["X-Auth-Token"] = token()
    yield request


class PasswordAuth(_StepAuth):
    """Get a token from IAM with a password at first use, send it as `X-Auth-Token`, and renew it in time.

    IAM is asked (`POST /v3/auth/tokens`) by the httpx client whose request needs the token, with that request's
    timeout. The token is kept in memory; it is renewed when less than 5 % of its lifetime, at most 5 minutes, is left,
    and once when the gateway answers 401 with code 0301 or 0307 to a token that was not got for this very request. All
    threads and tasks that share an object share its token, and one request to IAM. A 401 of IAM is final: the object
    raises the same error ever after and asks no more, since repeated wrong passwords lock the account.

    Source: https://support.huaweicloud.com/intl/en-us/api-iam/iam_30_0001.html

    Args:
        user_name: of the IAM user; a HUAWEI ID itself gets no token.
        password: of the IAM user; sent to `iam_endpoint` only, wherever that redirects.
        domain_name: of the account that the user belongs to.
        project_id: the token is for this project.
        project_name: or for the one of this name; a region's default project has its name, such as cn-north-4.
            Without either, the token is for the whole account, and good for global services only.
        iam_endpoint: https, or http on this machine. The default's tokens are valid in all regions; those of
            https://iam.<region>.myhuaweicloud.com in that region. Europe has https://iam.eu-west-101.myhuaweicloud.eu.

    Raises:
        ValueError: one of them is empty or no Unicode text; both a project's ID and its name are given; `iam_endpoint`
            will not do. The text shows no secret.

    A request with it also raises:
        IAMAuthenticationError: IAM refused with 401.
        IAMError: it refused otherwise, or its answer is no token.
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
        given = {"user_name": user_name, "password": password, "domain_name": domain_name}
        projects = {"id": project_id, "name": project_name}
        project = {name: value for name, value in projects.items() if value is not None}
        for name, value in {**given, **{f"project_{name}": value for name, value in project.items()}}.items():
            _check_text(name, value)
        if len(project) > 1:
            raise ValueError("give project_id or project_name, not both")
        check_url(iam_endpoint, allow_http=False)
        url = httpx.URL(iam_endpoint.rstrip("/") + "/v3/auth/tokens?nocatalog=true")
        domain = {"name": domain_name}
        user = {"name": user_name, "password": password, "domain": domain}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": project} if project else {"domain": domain}
        body = json.dumps({"auth": {"identity": identity, "scope": scope}}).encode()
        refusal: Response[None] | None = None

        def get(request: httpx.Request, flight: _Flight) -> _Steps[_Token]:
            nonlocal refusal
            if refusal is not None:
                raise iam_error(refusal)
            flight.request = _token_request(url, body, request, flight)
            try:
                answer: httpx.Response = yield flight.request
                received = monotonic()
                yield _Take(answer, keep=True)
            except GeneratorExit:
                if flight.status == _UNAUTHORIZED:  # and a hook of the client raised, or it was cancelled
                    refusal = kept(httpx.Response(flight.status), b"")
                raise
            content = answer.read()
            value = answer.headers.pop("X-Subject-Token", "")  # or it would show in the history of the last response
            if answer.status_code == _CREATED:
                try:
                    _check("X-Subject-Token", value)
                    lifetime = _lifetime(content)
                except ValueError as error:
                    raise iam_error(kept(answer, content, secret=password, problem=str(error))) from None
                return _Token(value, received + lifetime - min(_MARGIN * lifetime, _LONGEST_MARGIN))
            response = kept(answer, content, secret=password)
            if answer.status_code == _UNAUTHORIZED:
                refusal = response
            raise iam_error(response)

        super().__init__(_shared(get, renew_fresh=False))


class _Once(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that shows nowhere, and goes to the host that it is meant for: not on to where that redirects."""

    def __init__(self, body: bytes) -> None:
        left = [body]

        def take() -> bytes:
            if not left:
                raise httpx.TooManyRedirects("IAM redirects, but the password goes to iam_endpoint only")
            return left.pop()

        self._take = take

    def __iter__(self) -> Iterator[bytes]:
        yield self._take()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._take()


def _token_request(url: httpx.URL, body: bytes, cause: httpx.Request, flight: _Flight) -> httpx.Request:
    headers = {
        "Host": url.netloc.decode("ascii"),  # httpx adds neither this nor the length to a stream
        "Content-Type": "application/json;charset=utf8",
        "Content-Length": str(len(body)),
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": cause.headers.get("User-Agent", "huaweicloud-retry"),
    }
    watch = flight.watch if flight.blocking else flight.awatch
    extensions = {"timeout": cause.extensions.get("timeout", {}), "trace": watch}
    return httpx.Request("POST", url, headers=headers, stream=_Once(body), extensions=extensions)


def _lifetime(content: bytes) -> float:
    try:
        token = json.loads(content)["token"]
        issued, expires = (datetime.fromisoformat(token[name]) for name in ("issued_at", "expires_at"))
        lifetime = (expires - issued).total_seconds()
    except (ValueError, LookupError, TypeError, RecursionError):
        lifetime = 0.0
    if lifetime <= 0:
        raise ValueError("its body does not say when the token was issued and when, later, it expires")
    return lifetime


class AkSkAuth(httpx.Auth):
    """Sign each request with an access key and its secret key (SDK-HMAC-SHA256), as the official SDK does.

    Signs what is sent, an encoded slash in a path included: method, path, query, body, and of the headers Host,
    Content-Type, X-Sdk-Date, X-Project-Id, X-Security-Token and X-Enterprise-Project-ID.

    Args:
        access_key: the AK.
        secret_key: the SK; never sent.
        project_id: sent as `X-Project-Id`; needed for users with several projects.
        security_token: of temporary keys, sent as `X-Security-Token`.

    Raises:
        ValueError: one of them cannot stand in a header. The text does not show it.
    """

    requires_request_body = True

    def __init__(
        self, access_key: str, secret_key: str, *, project_id: str | None = None, security_token: str | None = None
    ) -> None:
        _check("access_key", access_key)
        _check("secret_key", secret_key)
        own = {"X-Project-Id": project_id, "X-Security-Token": security_token}
        given = {name: value for name, value in own.items() if value is not None}
        for name, value in given.items():
            _check(name, value)

        def sign(request: httpx.Request) -> None:
            # A clock more than 15 minutes off is refused with 401.
            date = strftime(signing.DATE_FORMAT, gmtime())
            request.headers.update({**given, "X-Sdk-Date": date})
            signed = {name: value for name, value in request.headers.items() if name in _SIGNED}
            target = request.url.raw_path.decode("ascii")
            canonical = signing.canonical_request(request.method, target, signed, request.content)
            request.headers["Authorization"] = signing.authorization(access_key, secret_key, canonical, date)

        self._sign = sign

    def __repr__(self) -> str:
        return "AkSkAuth(<hidden>)"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign and send; a 401 is left to the caller: five wrong signatures lock the key for five minutes."""
        self._sign(request)
        yield request


def _check_text(name: str, value: str) -> None:
    if not value or any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"the {name} must be text, and not empty")


def _check(name: str, value: str) -> None:
    if not (value and value.isascii() and value.isprintable() and value == value.strip()):
        raise ValueError(f"the {name} must be printable ASCII, not empty, without blanks or line breaks around it")
