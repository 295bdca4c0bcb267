"""Each request and answer of a running program, held against the contract: `connect(…, check_contract=…)`.

Credentials are not looked at: whether they will do, the answer says. Nor is what an auth sends and gets by
itself, such as IAM's token, or the 401 after which it renews one.
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

_UNREAD = "its body "  # so the client begins what it says of a body that it could not read to its end

logger = logging.getLogger("huaweicloud_retry")


class ContractCheck:
    """Logs what deviates.

    Args:
        refuses: raise at a request that deviates, and note on an answer what does.

    Raises:
        SpecError: there is no spec to check against, or it cannot be compiled.
    """

    def __init__(self, *, refuses: bool) -> None:
        self._contract = _contract()
        self._refuses = refuses

    def request(self, path: str, request: httpx.Request) -> None:
        """Check a request that is about to be sent.

        Args:
            path: without that of the base URL.
            request: as it is before the auth adds to it.

        Raises:
            APIRequestValidationError: it deviates, and this refuses.
        """
        match = self._contract.match(request.method, path)
        if not isinstance(match, Match):
            return
        operation, query = match.operation, request.url.query.decode()
        problems = operation.check_request(
            match.path_params, query, request.headers, request.content
        ).problems
        if not problems:
            return
        text = _text(problems)
        logger.warning("%s: the request deviates from the contract: %s", operation.id, text)
        if self._refuses:
            raise APIRequestValidationError(
                f"{operation.id}: the contract does not allow {text}; nothing was sent"
            )

    def response(self, method: str, path: str, response: Response[T]) -> Response[T]:
        """Check a response, and return it with what was found noted on it, if this refuses.

        Args:
            method: of the request, as `path`.
            path: without that of the base URL.
            response: as the client read it.
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
        logger.warning(
            "%s: response %d deviates from the contract: %s", match.operation.id, response.status_code, text
        )
        return attrs.evolve(response, parsed=None, problem=text) if self._refuses else response


@cache
def _contract() -> Contract:
    """One for the whole process: compiling it takes longer than a call."""
    return Contract.load(hide_values=True)


def _text(problems: Iterable[Problem]) -> str:
    return one_line("; ".join(map(str, problems)))
