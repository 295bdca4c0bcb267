"""Misbehaviour on demand: which request meets which fault. What the faults are: faults.schema.yaml beside this file."""

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
from .answer import Answer, Encoded
from .data import validator
from .examples import shown

Description: TypeAlias = dict[str, Any]
"""One item of a list that faults.schema.yaml allows."""

_SCHEMA = "faults.schema.yaml"


class Fault:
    """A fault that waits for its requests."""

    def __init__(self, given: Description) -> None:
        self.given = given
        self.operation: str | None = given.get("operation")
        self.left: int | None = given.get("times")  # requests that it will still meet; None for all
        self.share: float = given.get("share", 1)
        self.delay: float = given.get("delay", 0)
        self.close: Literal["before", "after"] | None = given.get("close")
        self.status: int | None = given.get("status")
        self.acted: bool = given.get("acted", False)
        self.reply: Literal["truncated", "garbage", "not-http", "drip"] | None = given.get("reply")
        self.seconds: float = given.get("seconds", 5)

    @property
    def prevents_acting(self) -> bool:
        """Whether the request is not even looked at."""
        return self.close == "before" or (self.status is not None and not self.acted)

    def answer(self, operation: Operation | None, request_id: str) -> Answer:
        """Return the answer of its status: the spec's example or, if it has none, a body of the gateway's shape."""
        status = self.status or 0
        retry_after = {"Retry-After": str(self.given["retry_after"])} if "retry_after" in self.given else {}
        body: dict[str, Json] = {
            "error_code": "APIGW.0201",
            "error_msg": f"Unexpected error: a fault, of status {status}.",
        }
        answer = Answer(status, {**body, "request_id": request_id})
        if operation is not None:
            with suppress(LookupError):
                answer = shown(operation, status, self.given.get("example"))
        return answer._replace(headers={**answer.headers, **retry_after})

    def spoil(self, response: Encoded, chance: Random) -> Encoded:
        """Return a good response as it goes out."""
        if self.close:
            return response._replace(how="nothing")
        if self.reply == "drip":
            return response._replace(how="drip", seconds=self.seconds)
        if self.reply == "garbage":  # of the same length, and no text
            return response._replace(content=b"\xff" + chance.randbytes(len(response.content))[1:])
        if self.reply == "not-http":
            return response._replace(content=b"\xff" + chance.randbytes(255), how="bare")
        return response._replace(how=self.reply or "whole")

    def as_json(self) -> dict[str, Json]:
        """Return what /_mock/faults shows: as it was given, with what is left of `times`."""
        return self.given if self.left is None else {**self.given, "times": self.left}


class Faults:
    """Those in force, in their order. A reset brings back those of the start; a seed makes chance repeatable."""

    def __init__(self, start: Sequence[Description] = (), seed: int | None = None) -> None:
        self._start, self._seed = start, seed
        self.chance = Random(seed)  # noqa: S311 - no secret
        self._waiting = [Fault(given) for given in start]

    def reset(self) -> None:
        self.chance.seed(self._seed)
        self._waiting = [Fault(given) for given in self._start]

    def clear(self) -> None:
        """Behave, until the next reset."""
        self._waiting = []

    def add(self, descriptions: Iterable[Description]) -> None:
        """Put faults behind those in force."""
        self._waiting += [Fault(given) for given in descriptions]

    def pick(self, operation_id: str) -> Fault | None:
        """Return the first that meets this request of an operation, and count it."""
        for fault in self._waiting:
            if fault.operation in {None, operation_id} and (
                fault.share >= 1 or self.chance.random() < fault.share
            ):
                if fault.left is not None:
                    fault.left -= 1
                    if not fault.left:
                        self._waiting.remove(fault)
                return fault
        return None

    def as_json(self) -> list[Json]:
        """Return what /_mock/faults shows."""
        return [fault.as_json() for fault in self._waiting]


def check_faults(contract: Contract, value: Json) -> list[Description]:
    """Return a list of faults, or a list of the one fault that is given.

    Raises:
        UnreadableError: with a JSON pointer and the reason.
    """
    value = value if isinstance(value, list) else [value]
    for path, what, _ in violations(validator(_SCHEMA), value) or _senseless(contract, value):
        raise UnreadableError(f"{pointer(path) or '/'}: {what}")
    return cast("list[Description]", with_integers(value))


def read_faults(contract: Contract, raw: bytes) -> list[Description]:
    """Read a file of faults. Raises UnreadableError: with the line and the reason."""
    return cast("list[Description]", read_checked(raw, validator(_SCHEMA), partial(_senseless, contract)))


def parse_fault(contract: Contract, text: str) -> Description:
    """Read a fault from the command line: `status=503,operation=RetryEngine,times=3`.

    Raises:
        UnreadableError: with the reason.
    """
    given: dict[str, Json] = {}
    for field in re.split(",(?=[^, ]*=)", text):  # a date has a comma too
        name, equals, value = field.partition("=")
        if not (name and equals):
            raise UnreadableError("must read NAME=VALUE,NAME=VALUE")
        if name in given:
            raise UnreadableError(f"/{name}: is given twice")
        given[name] = read_yaml(value.encode(errors="surrogateescape"))
    try:
        (fault,) = check_faults(contract, given)
    except UnreadableError as error:
        raise UnreadableError(str(error).removeprefix("/0").removeprefix(": ")) from error
    return fault


def _senseless(contract: Contract, faults: Any) -> Iterator[Violation]:
    """Find what the schema cannot say: contradictions, and what the contract does not have."""
    for index, given in enumerate(cast("list[Description]", faults)):
        ways = [way for way in ("close", "status", "reply") if way in given]
        status = given.get("status", 0)
        if len(ways) > 1:
            yield Violation([index, ways[1]], f"not together with {ways[0]}")
        if not ways and "delay" not in given:
            yield Violation([index], "it needs one of close, status, reply and delay")
        if given.get("acted") and (status in {501, 503, 505} or 400 <= status < 499):  # noqa: PLR2004 - see the schema
            yield Violation([index, "acted"], f"a {status} says that nothing was run")
        if "seconds" in given and given["reply"] != "drip":
            yield Violation([index, "seconds"], "only a drip takes any")
        asked = given.get("operation")
        having = [operation for operation in contract.operations if asked in {None, operation.id}]
        if not having and asked != iam.OPERATION:
            ids = ", ".join([*(operation.id for operation in contract.operations), iam.OPERATION])
            yield Violation([index, "operation"], f"there is no {asked}; there are {ids}")
        if "example" in given and (why := _no_example(having, int(status), given["example"])):
            yield Violation([index, "example"], why)


def _no_example(operations: Iterable[Operation], status: int, name: str) -> str | None:
    """Say why none of the operations has an example; None if one has it."""
    reasons: list[str] = []
    for operation in operations:
        try:
            shown(operation, status, name)
        except LookupError as error:
            reasons.append(error.args[0])
        else:
            return None
    return "; ".join(reasons) or "the spec has none for this operation"
