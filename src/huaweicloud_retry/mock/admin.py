"""The mock's own pages under /_mock/, by which tests look behind it and steer it."""

from collections.abc import Callable
from typing import TypeAlias, cast

import jsonschema_rs

from huaweicloud_retry.contract import Contract
from huaweicloud_retry.parsing import UnreadableError, read_json, violations

from .answer import Answer, Refusal
from .faults import Faults, check_faults
from .journal import Journal
from .state import State, read_state

_MAX_AHEAD = 1e9  # seconds, which are 30 years; past the year 9999 dates end
_CLOCK = jsonschema_rs.Draft202012Validator(
    {
        "type": "object",
        "properties": {"advance": {"type": "number", "minimum": 0, "maximum": _MAX_AHEAD}},
        "required": ["advance"],
        "additionalProperties": False,
    }
)
_Page: TypeAlias = Callable[[bytes], Answer]


class Admin:
    """Answers all of /_mock/."""

    def __init__(self, contract: Contract, state: State, faults: Faults, journal: Journal) -> None:
        self._contract = contract
        self._state = state
        self._faults = faults
        self._journal = journal
        self._pages: dict[str, dict[str, _Page]] = {
            "/_mock/health": {"GET": self._health},
            "/_mock/state": {"GET": self._show_state, "PUT": self._replace_state},
            "/_mock/journal": {"GET": self._show_journal},
            "/_mock/faults": {"GET": self._show_faults, "POST": self._add_faults, "DELETE": self._clear_faults},
            "/_mock/clock": {"POST": self._advance_clock},
            "/_mock/reset": {"POST": self._reset},
        }

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answer a request.

        Raises:
            Refusal: there is no such page, or it will not do this.
        """
        page = self._pages.get(path)
        if page is None:
            raise Refusal(404, "MOCK.404", f"{path[:200]} is no page of the mock; it has {', '.join(self._pages)}.")
        if method not in page:
            allowed = ", ".join(page)
            raise Refusal(405, "MOCK.405", f"{path} has only {allowed}.", headers={"Allow": allowed})
        try:
            return page[method](body)
        except UnreadableError as error:
            raise Refusal(400, "MOCK.400", f"The body will not do: {error}") from error

    def _health(self, _: bytes) -> Answer:
        spec = {"version": self._contract.version, "sha256": self._contract.sha256}
        return Answer(200, {"name": "huaweicloud-retry-mock", **spec})

    def _show_state(self, _: bytes) -> Answer:
        return Answer(200, self._state.as_json())

    def _replace_state(self, body: bytes) -> Answer:
        self._state.become(read_state(body))
        return Answer(204)

    def _show_journal(self, _: bytes) -> Answer:
        return Answer(200, self._journal.as_json())

    def _show_faults(self, _: bytes) -> Answer:
        return Answer(200, self._faults.as_json())

    def _add_faults(self, body: bytes) -> Answer:
        self._faults.add(check_faults(self._contract, read_json(body)))
        return Answer(204)

    def _clear_faults(self, _: bytes) -> Answer:
        self._faults.clear()
        return Answer(204)

    def _advance_clock(self, body: bytes) -> Answer:
        asked = read_json(body)
        if violations(_CLOCK, asked):
            raise UnreadableError('it must read {"advance": SECONDS}, from 0 to 1e9')
        ahead = self._state.clock.ahead + cast("dict[str, float]", asked)["advance"]
        if ahead > _MAX_AHEAD:
            raise UnreadableError("the clock goes 1e9 seconds ahead at most")
        self._state.clock.ahead = ahead
        return Answer(200, {"seconds_ahead": self._state.clock.ahead})

    def _reset(self, _: bytes) -> Answer:
        self._state.reset()
        self._faults.reset()
        self._journal.reset()
        return Answer(204)
