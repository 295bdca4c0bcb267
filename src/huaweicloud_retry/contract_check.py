"""Checks each request and response of a program against the contract: `connect(…, check_contract=…)`.

Not checked: credentials, the requests of an auth (a token fetch), and the 401 after which it renews a token.
"""

import logging
from collections.abc import Iterable
from functools import cache
from typing import TypeVar

import attrs
import httpx

from .contract import Contract, Match, Problem
from .runtime.errors import APIRequestValidationError
from .runtime.redaction import one_line
from .runtime.response import Response

T = TypeVar("T")

_UNREAD = "its body "  # begins the client's message about an incomplete body

logger = logging.getLogger("huaweicloud_retry")


class ContractCheck:
    """Logs deviations.

    Args:
        refuses: Raise for a request that deviates, and set `problem` of a response that deviates.

    Raises:
        SpecError: There is no spec, or it cannot be compiled.
    """

    def __init__(self, *, refuses: bool) -> None:
        self._contract = _contract()
        self._refuses = refuses

    def request(self, path: str, request: httpx.Request) -> None:
        """Check a request before it is sent.

        Args:
            path: Without the path of the base URL.
            request: Without the headers of the auth.

        Raises:
            APIRequestValidationError: It deviates, and `refuses` is set.
        """
        match = self._contract.match(request.method, path)
        if not isinstance(match, Match):
            return
        operation, query = match.operation, request.url.query.decode()
        checked = operation.check_request(match.path_params, query, request.headers, request.content)
        if not checked.problems:
            return
        text = _text(checked.problems)
        logger.warning("%s: the request deviates from the contract: %s", operation.id, text)
        if self._refuses:
            what = f"{operation.id}: the contract does not allow {text}; nothing was sent"
            raise APIRequestValidationError(what)

    def response(self, method: str, path: str, response: Response[T]) -> Response[T]:
        """Check a response, and return it; with `refuses`, deviations are in its `problem`.

        Args:
            method: The method of the request.
            path: Its path, without the path of the base URL.
            response: As read by the client.
        """
        match = self._contract.match(method, path)
        if not isinstance(match, Match):
            return response
        problems = match.operation.check_response(response.status_code, response.headers, response.content)
        if response.problem is not None and (response.problem.startswith(_UNREAD) or not problems):
            others = (problem for problem in problems if not problem.where.startswith("body"))
            problems = [*others, Problem("body", response.problem.removeprefix(_UNREAD))]
        if not problems:
            return response
        text = _text(problems)
        operation_id, status = match.operation.id, response.status_code
        logger.warning("%s: response %d deviates from the contract: %s", operation_id, status, text)
        return attrs.evolve(response, parsed=None, problem=text) if self._refuses else response


@cache
def _contract() -> Contract:
    """Return one contract for the whole process: compiling it takes longer than a call."""
    return Contract.load(hide_values=True)


def _text(problems: Iterable[Problem]) -> str:
    return one_line("; ".join(map(str, problems)))
