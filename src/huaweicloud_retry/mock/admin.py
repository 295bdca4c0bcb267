"""The mock's admin endpoints under /_mock/: request log, state, faults, clock."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from huaweicloud_retry.contract import Contract
from huaweicloud_retry.parsing import Json, UnreadableError, read_json

from .faults import Faults, check_faults
from .guard import Guard
from .request import MockRequest
from .request_log import RequestLog
from .response import MockResponse, Refusal
from .state import State, read_state

_MAX_BODY = 512 * 1024  # bytes
_MAX_AHEAD = 1e9  # seconds, about 30 years: Python's dates end with the year 9999
_Read: TypeAlias = Callable[[bytes], Any]
_Change: TypeAlias = Callable[[Any], Json]


class Admin:
    """Handles all of /_mock/."""

    def __init__(
        self, contract: Contract, state: State, faults: Faults, log: RequestLog, guard: Guard
    ) -> None:
        self._state = state
        self._resets = state.reset, faults.reset, log.reset
        self._guard = guard
        self._reading = asyncio.Lock()
        health = {"name": "huaweicloud-retry-mock", "version": contract.version, "sha256": contract.sha256}
        self._shows: dict[str, Callable[[], Json]] = {
            "/_mock/health": lambda: cast("Json", health),
            "/_mock/state": state.as_json,
            "/_mock/request-log": log.as_json,
            "/_mock/faults": faults.as_json,
        }
        # Two functions for each: one parses the body in a thread, one makes the change on the event loop.
        self._changes: dict[tuple[str, str], tuple[_Read, _Change]] = {
            ("PUT", "/_mock/state"): (read_state, state.become),
            ("POST", "/_mock/faults"): (lambda body: check_faults(contract, read_json(body)), faults.add),
            ("DELETE", "/_mock/faults"): (bytes, lambda _: faults.clear()),
            ("POST", "/_mock/clock"): (_read_clock, self._advance_clock),
            ("POST", "/_mock/reset"): (bytes, self._reset),
        }

    async def respond(self, request: MockRequest) -> MockResponse:
        """Return the response to a request. Raises Refusal: unknown path or method, or an invalid body."""
        method, path = request.method, request.path
        changes = [name for name, of in self._changes if of == path]
        methods = [*(["GET", "HEAD"] if path in self._shows else []), *changes, "OPTIONS"]
        if methods == ["OPTIONS"]:
            known = ", ".join(dict.fromkeys([*self._shows, *(of for _, of in self._changes)]))
            raise Refusal("MOCK.404", f"{path[:200]} is not an admin endpoint; the mock has {known}.")
        if method not in methods:
            allowed = ", ".join(methods)
            raise Refusal("MOCK.405", f"{path} has only {allowed}.", headers={"Allow": allowed})
        if method == "OPTIONS":
            return MockResponse(204, None, {"Allow": ", ".join(methods)})
        if method not in changes:
            return MockResponse(200, self._shows[path]())
        self._guard.check_change(request)
        if request.refusal:
            raise request.refusal
        if len(request.body) > _MAX_BODY:
            what = f"The body has {len(request.body)} bytes; {path} accepts {_MAX_BODY}."
            raise Refusal("MOCK.413", what)
        read, change = self._changes[method, path]
        try:
            async with self._reading:
                body = change(await asyncio.to_thread(read, request.body))
        except UnreadableError as error:
            raise Refusal("MOCK.400", f"The body is invalid: {error}") from error
        return MockResponse(204 if body is None else 200, body)

    def _advance_clock(self, seconds: float) -> Json:
        ahead = self._state.ahead + seconds
        if ahead > _MAX_AHEAD:
            raise UnreadableError("the clock goes 1e9 seconds ahead at most")
        self._state.ahead = ahead
        return {"seconds_ahead": ahead}

    def _reset(self, _: bytes) -> None:
        for reset in self._resets:
            reset()


def _read_clock(body: bytes) -> float:
    value = read_json(body)
    if isinstance(value, dict) and list(value) == ["advance"]:
        seconds = value["advance"]
        if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= _MAX_AHEAD:
            return seconds
    raise UnreadableError('it must be {"advance": SECONDS}, from 0 to 1e9')
