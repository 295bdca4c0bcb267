"""Fault injection: which fault applies to which request. faults.schema.yaml describes the faults."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any, Literal, TypeAlias, cast

from huaweicloud_retry.contract import Contract, Operation
from huaweicloud_retry.parsing import (
    Json,
    UnreadableError,
    Violation,
    pointer,
    read_checked,
    read_yaml,
    violations,
    with_integers,
)

from . import iam
from .data import data, validator
from .examples import from_example
from .response import Encoded, MockResponse

FaultDescription: TypeAlias = dict[str, Any]
"""One item of a list that is valid by faults.schema.yaml."""

_SCHEMA = "faults.schema.yaml"


class Fault:
    """An injected fault."""

    def __init__(self, given: FaultDescription) -> None:
        self.given = given
        self.operation: str | None = given.get("operation")
        self.left: int | None = given.get("times")  # how many more requests it applies to; None: all
        self.share: float = given.get("share", 1)
        self.delay: float = given.get("delay", 0)
        self.close: Literal["before", "after"] | None = given.get("close")
        self.status: int | None = given.get("status")
        self.acted: bool = given.get("acted", False)
        self.reply: Literal["truncated", "garbage", "not-http", "drip"] | None = given.get("reply")
        self.seconds: float = given.get("seconds", 5)

    @property
    def prevents_acting(self) -> bool:
        """Whether the request is not processed at all."""
        return self.close == "before" or (self.status is not None and not self.acted)

    def response(self, operation: Operation | None, request_id: str) -> MockResponse:
        """Return the response with its status: the spec's example or, without one, a gateway error."""
        status = self.status or 0
        retry_after = {"Retry-After": str(self.given["retry_after"])} if "retry_after" in self.given else {}
        body: dict[str, Json] = {
            "error_code": "APIGW.0201",
            "error_msg": f"Unexpected error: an injected fault, status {status}.",
        }
        response = MockResponse(status, {**body, "request_id": request_id})
        if operation is not None:
            with suppress(LookupError):
                response = from_example(operation, status, self.given.get("example"))
        return response._replace(headers={**response.headers, **retry_after})

    def spoil(self, response: Encoded, chance: Random) -> Encoded:
        """Apply the fault to a response that is about to be sent."""
        if self.close:
            return response._replace(how="nothing")
        if self.reply == "drip":
            return response._replace(how="drip", seconds=self.seconds)
        if self.reply == "garbage":  # of the same length; 0xff is invalid in UTF-8
            return response._replace(content=b"\xff" + chance.randbytes(len(response.content))[1:])
        if self.reply == "not-http":
            return response._replace(content=b"\xff" + chance.randbytes(255), how="bare")
        return response._replace(how=self.reply or "whole")

    def as_json(self) -> dict[str, Json]:
        """Return the fault for /_mock/faults; `times` counts down."""
        return self.given if self.left is None else {**self.given, "times": self.left}


class Faults:
    """The active faults, in order. A reset restores the initial ones; a seed makes chance repeatable."""

    def __init__(self, start: Sequence[FaultDescription] = (), seed: int | None = None) -> None:
        self._start, self._seed = start, seed
        self.random = Random(seed)  # noqa: S311 - no secret
        self._active = [Fault(given) for given in start]

    def reset(self) -> None:
        self.random.seed(self._seed)
        self._active = [Fault(given) for given in self._start]

    def clear(self) -> None:
        """Remove all faults until the next reset."""
        self._active = []

    def add(self, descriptions: Iterable[FaultDescription]) -> None:
        """Add faults after the active ones."""
        self._active += [Fault(given) for given in descriptions]

    def pick(self, operation_id: str) -> Fault | None:
        """Return the first fault that applies to this request of an operation, and count the request."""
        for fault in self._active:
            if fault.operation not in {None, operation_id}:
                continue
            if fault.share < 1 and self.random.random() >= fault.share:
                continue
            if fault.left is not None:
                fault.left -= 1
                if not fault.left:
                    self._active.remove(fault)
            return fault
        return None

    def as_json(self) -> list[Json]:
        """Return the response of /_mock/faults."""
        return [fault.as_json() for fault in self._active]


def check_faults(contract: Contract, value: Json) -> list[FaultDescription]:
    """Validate one fault or a list of faults, and return a list.

    Raises:
        UnreadableError: With a JSON pointer and the reason.
    """
    value = value if isinstance(value, list) else [value]
    for path, what, unknown in violations(validator(_SCHEMA), value) or _contradictions(contract, value):
        hint = f"; the fields are {', '.join(_fields())}" if unknown else ""
        raise UnreadableError(f"{pointer(path) or '/'}: {what}{hint}")
    return cast("list[FaultDescription]", with_integers(value))


def _fields() -> list[str]:
    schema: Any = read_yaml(data(_SCHEMA))
    return list(schema["items"]["properties"])


def read_faults(contract: Contract, raw: bytes) -> list[FaultDescription]:
    """Read a file of faults. Raises UnreadableError: with the line and the reason."""
    checked = read_checked(raw, validator(_SCHEMA), partial(_contradictions, contract))
    return cast("list[FaultDescription]", checked)


def parse_fault(contract: Contract, text: str) -> FaultDescription:
    """Parse a fault from the command line: `status=503,operation=RetryEngine,times=3`.

    Raises:
        UnreadableError: With the reason.
    """
    given: dict[str, Json] = {}
    for field in re.split(",(?=[^, ]*=)", text):  # a date has a comma too
        name, equals, value = field.partition("=")
        if not (name and equals):
            raise UnreadableError("must be NAME=VALUE,NAME=VALUE")
        if name in given:
            raise UnreadableError(f"/{name}: is a duplicate")
        given[name] = read_yaml(value.encode(errors="surrogateescape"))
    try:
        (fault,) = check_faults(contract, given)
    except UnreadableError as error:
        raise UnreadableError(str(error).removeprefix("/0").removeprefix(": ")) from error
    return fault


def _contradictions(contract: Contract, faults: Any) -> Iterator[Violation]:
    """Find what the schema cannot: contradictory fields, and names that are not in the contract."""
    for index, given in enumerate(cast("list[FaultDescription]", faults)):
        kinds = [name for name in ("close", "status", "reply") if name in given]
        status = given.get("status", 0)
        if len(kinds) > 1:
            yield Violation([index, kinds[1]], f"not together with {kinds[0]}")
        if not kinds and "delay" not in given:
            yield Violation([index], "it needs one of close, status, reply and delay")
        if given.get("acted") and (status in {501, 503, 505} or 400 <= status < 499):  # noqa: PLR2004 - see the schema
            yield Violation([index, "acted"], f"a {status} means that nothing was run")
        if "seconds" in given and given["reply"] != "drip":
            yield Violation([index, "seconds"], "only with reply: drip")
        operation_id = given.get("operation")
        having = [each for each in contract.operations if operation_id in {None, each.id}]
        if not having and operation_id != iam.OPERATION:
            ids = ", ".join([*(each.id for each in contract.operations), iam.OPERATION])
            yield Violation([index, "operation"], f"there is no {operation_id}; there are {ids}")
        if "example" in given and (why := _no_example(having, int(status), given["example"])):
            yield Violation([index, "example"], why)


def _no_example(operations: Iterable[Operation], status: int, name: str) -> str | None:
    """Explain why no operation has this example; None if one has it."""
    reasons: list[str] = []
    for operation in operations:
        try:
            operation.example(status, name)
        except LookupError as error:
            reasons.append(error.args[0])
        else:
            return None
    return "; ".join(reasons) or "the spec has none for this operation"
