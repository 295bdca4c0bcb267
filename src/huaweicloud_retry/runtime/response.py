"""The response of a call."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

import attrs
import httpx  # noqa: TC002 - attrs resolves the hints of its classes

from .errors import APIResponseValidationError, APIStatusError, succeeds
from .models import bounded

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Response(Generic[T]):
    """A response of the server with any status: what the `*_detailed` functions return.

    Attributes:
        status_code: HTTP status, 100 to 999.
        headers: Headers of the response; names in any case.
        content: The body; at most 16 MiB, of an error 1 MiB. If `error` is not None, secrets of the request
            that the server repeats are *** here and in the headers.
        parsed: The model of a 2xx response that matches the contract, else None.
        problem: How the response breaks the contract, or why its body could not be read; else None. Only 2xx
            responses are checked, unless the client checks the contract.
        attempts: The number of attempts to send the request; above 1 only if it was resent.
        read_only: The request was a GET or HEAD, so it changed nothing.
    """

    status_code: int
    headers: httpx.Headers = attrs.field(repr=False)
    content: bytes = attrs.field(repr=lambda content: f"<{len(content)} bytes>")
    parsed: T | None = attrs.field(default=None, repr=bounded)
    problem: str | None = attrs.field(default=None, repr=bounded)
    attempts: int = 1
    read_only: bool = attrs.field(default=False, repr=False)

    @property
    def error(self) -> APIStatusError | APIResponseValidationError | None:
        """The error that `sync` and `asyncio` raise for this response; None for success."""
        if not succeeds(self.status_code):
            return APIStatusError.of(self)
        return APIResponseValidationError(self) if self.problem is not None else None

    def result(self) -> T:
        """Return the model of a successful response.

        Raises:
            APIStatusError: The status is not 2xx.
            APIResponseValidationError: It is 2xx, but the response is not what the contract promises.
        """
        error = self.error
        if error is not None:
            raise error
        return cast("T", self.parsed)
