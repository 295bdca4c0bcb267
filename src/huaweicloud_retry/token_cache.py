"""A token cache with single-flight fetches, and the sync and async drivers of its auth flow."""

import copy
import os
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from contextlib import closing, suppress
from time import monotonic
from typing import Any, NamedTuple, TypeAlias, TypeVar

import httpx

from .runtime.redaction import Secret

T = TypeVar("T")


class Token(NamedTuple):
    value: Secret[str]
    renew_at: float
    """On the monotonic clock."""
    project: str | None = None
    """The ID of its project, if IAM sent it."""


class Fetch(Future[Token | None]):
    """A running token fetch, shared by all waiting requests; None: it was cancelled, start another."""

    def __init__(self, key: str | None) -> None:
        super().__init__()
        self.key = key
        self.thread = threading.get_ident()
        self.process = os.getpid()

    def can_be_waited_for(self, *, blocking: bool) -> bool:
        """Return whether this fetch will end. A thread must not wait for a task of its own event loop."""
        is_own = blocking and self.thread == threading.get_ident()
        return not (self.done() or is_own or self.process != os.getpid())  # a fork copies no other thread

    def end(self, outcome: Token | BaseException) -> None:
        """Set the result for all waiting requests."""
        if isinstance(outcome, Exception):
            self.set_exception(outcome)
        else:
            self.set_result(outcome if isinstance(outcome, Token) else None)

    def outcome(self) -> Token | None:
        """Return the token; raise the fetch's error, in a copy for each waiting request."""
        error = self.exception()
        if error is None:
            return self.result()
        try:
            own = copy.copy(error)
        except Exception:  # noqa: BLE001 - an exception class may do anything when it is copied
            own = error
        own.__cause__ = error.__cause__ or error.__context__
        raise own

    async def wait(self) -> None:
        """Wait for the end, in any event loop."""
        import anyio.lowlevel  # noqa: PLC0415 - sync calls do not need it

        token: Any = anyio.lowlevel.current_token()
        loop = getattr(token, "native_token", token)  # wrapped since anyio 4.11
        is_trio = hasattr(loop, "run_sync_soon")
        call_soon = loop.run_sync_soon if is_trio else loop.call_soon_threadsafe
        event = anyio.Event()

        def wake(_: object) -> None:
            with suppress(RuntimeError):  # the event loop has ended
                call_soon(event.set)

        self.add_done_callback(wake)
        await event.wait()


# The steps of an auth flow: send a request, read a response, wait for a fetch, call a blocking function.
Steps: TypeAlias = Generator[httpx.Request | httpx.Response | Fetch | Callable[[], object], Any, T]


class TokenCache:
    """Tokens by project, fetched one at a time, so that a wrong password is tried once for all projects."""

    def __init__(self) -> None:
        # Reentrant: the garbage collector may close an abandoned flow, which takes the lock, in a thread
        # that already holds it.
        self._lock = threading.RLock()
        self._tokens: dict[str | None, Token] = {}
        self._fetch: Fetch | None = None

    def get(
        self, key: str | None, fetch: Callable[[], Steps[Token]], *, blocking: bool
    ) -> Steps[tuple[Token, bool]]:
        """Return the token, and whether it was fetched for this request."""
        while True:
            own: Fetch | None = None
            outcome: Token | BaseException = GeneratorExit()
            try:
                with self._lock:
                    token, waiting = self._tokens.get(key), self._fetch
                    if token is not None and monotonic() < token.renew_at:
                        return token, False
                    if waiting is None or not waiting.can_be_waited_for(blocking=blocking):
                        own = self._fetch = Fetch(key)
                if own is not None:
                    outcome = yield from fetch()
                    return outcome, True
            except BaseException as error:
                outcome = error
                raise
            finally:
                if own is not None:
                    self._end(own, outcome)
            assert waiting is not None  # noqa: S101 - else it is our own
            yield waiting
            if waiting.key == key and (came := waiting.outcome()) is not None:
                return came, True

    def forget(self, key: str | None, token: Token) -> None:
        """Remove a token, so that the next request fetches another. Keeps a newer token."""
        with self._lock:
            if self._tokens.get(key) is token:
                del self._tokens[key]

    def _end(self, own: Fetch, outcome: Token | BaseException) -> None:
        try:
            with self._lock:
                if isinstance(outcome, Token):
                    self._tokens[own.key] = outcome
                self._fetch = None if self._fetch is own else self._fetch
        finally:  # even if Ctrl-C comes now
            own.end(outcome)


class StepAuth(httpx.Auth):
    """Runs the steps of an auth flow, sync or async."""

    def steps(self, request: httpx.Request, *, blocking: bool) -> Steps[None]:
        """Return the steps of a flow; `blocking`: a thread waits for each step."""
        raise NotImplementedError

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request with a token. Waits by blocking the thread."""
        steps = self.steps(request, blocking=True)
        with closing(steps), suppress(StopIteration):
            step = next(steps)
            while True:
                came: object = None
                try:
                    if isinstance(step, httpx.Request):
                        came = yield step
                    elif isinstance(step, httpx.Response):
                        came = Secret(step.read())
                    elif isinstance(step, Fetch):
                        step.exception()  # waits
                    else:
                        came = step()
                except Exception as error:  # noqa: BLE001 - the steps handle it
                    step = steps.throw(_with_request(error, step))
                else:
                    step = steps.send(came)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the request with a token. Blocks no event loop, neither asyncio's nor trio's."""
        steps = self.steps(request, blocking=False)
        with closing(steps), suppress(StopIteration):
            step = next(steps)
            while True:
                came: object = None
                try:
                    if isinstance(step, httpx.Request):
                        came = yield step
                    elif isinstance(step, httpx.Response):
                        came = Secret(await step.aread())
                    elif isinstance(step, Fetch):
                        await step.wait()
                    else:
                        from anyio import to_thread  # noqa: PLC0415 - see Fetch.wait

                        came = await to_thread.run_sync(step, abandon_on_cancel=True)
                except Exception as error:  # noqa: BLE001 - see above
                    step = steps.throw(_with_request(error, step))
                else:
                    step = steps.send(came)


def _with_request(error: Exception, step: object) -> Exception:
    """Set on an error which request failed, without its headers: other requests may raise a copy of it."""
    if isinstance(error, httpx.RequestError) and isinstance(step, httpx.Request):
        error.request = httpx.Request(step.method, step.url)
    return error
