"""What a call returns, and the types that operations and models share."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import (
    IO,
    Any,
    BinaryIO,
    Final,
    Generic,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs
import httpx  # noqa: TC002 - attrs resolves the hints of its classes

from .errors import APIResponseValidationError, APIStatusError, succeeds
from .redaction import one_line

T = TypeVar("T")

_PLAIN: Final = (
    bool,
    int,
    str,
    float,
    NoneType,
    dict,
)  # of these, a value has the very type: bool is an int to isinstance


class Unset:
    """The type of UNSET: a value that was not given, and that is not sent."""

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNSET"

    def __reduce__(self) -> str:
        return "UNSET"  # a copied or unpickled model holds the same object, since models compare by identity


UNSET: Final = Unset()

# What httpx takes for one part of a multipart body.
FileContent = IO[bytes] | bytes | str
FileTypes = tuple[str | None, FileContent, str | None] | tuple[str | None, FileContent, str | None, Mapping[str, str]]
RequestFiles = list[tuple[str, FileTypes]]


@attrs.define
class File:
    """A file to send or received."""

    payload: BinaryIO
    file_name: str | None = None
    mime_type: str | None = None

    def to_tuple(self) -> FileTypes:
        """Return the part as httpx takes it."""
        return self.file_name, self.payload, self.mime_type


def short_repr(_model: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Bound the repr of each field of a model: what the server sends may be of any length."""
    return [field.evolve(repr=_bounded) for field in fields]


def _bounded(value: object) -> str:
    return one_line(repr(value), 200)


@attrs.frozen(kw_only=True)
class Response(Generic[T]):
    """A response of the server, whatever it is: what the `*_detailed` functions return.

    Attributes:
        status_code: HTTP status, 100 to 999.
        headers: Headers of the response; looked up in any case.
        content: The body; at most its first mebibyte. If `error` is not None, secrets of the request that the
            server repeats read *** here and in the headers.
        parsed: The model of a 2xx response that keeps the contract, else None.
        problem: What of the response the contract does not allow, or why its body could not be read; else
            None. Only a 2xx is looked at, unless the client checks the contract.
        attempts: How often the request was sent to get it; above 1 only if it was resent.
    """

    status_code: int
    headers: httpx.Headers = attrs.field(repr=False)
    content: bytes = attrs.field(repr=lambda content: f"<{len(content)} bytes>")
    parsed: T | None = attrs.field(default=None, repr=_bounded)
    problem: str | None = attrs.field(default=None, repr=_bounded)
    attempts: int = 1

    @property
    def error(self) -> APIStatusError | APIResponseValidationError | None:
        """The error that `sync` and `asyncio` raise for this response, or None for a good one."""
        if not succeeds(self.status_code):
            return APIStatusError.of(self)
        return APIResponseValidationError(self) if self.problem is not None else None

    def result(self) -> T:
        """Return the model of a good response.

        Raises:
            APIStatusError: The status is not 2xx.
            APIResponseValidationError: It is 2xx, but the response is not what the contract promises.
        """
        error = self.error
        if error is not None:
            raise error
        return cast("T", self.parsed)


def load_json(content: bytes) -> Any:
    """Read a body.

    Raises:
        ValueError: It is not JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from None


@cache
def _field_types(model: type[Any]) -> list[tuple[str, Any]]:
    # A model's hints name models that its module imports for type checkers only; their package has all of
    # them.
    models = vars(sys.modules[model.__module__.rpartition(".")[0] or model.__module__])
    hints = get_type_hints(model, localns=models)
    return [(field.name, hints[field.name]) for field in attrs.fields(model) if field.init]


@cache
def _described(expected: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """Return the origin and the arguments of a type, and whether it is a model."""
    return get_origin(expected), get_args(expected), attrs.has(expected)


def check_type(value: object, expected: Any, name: str = "the body") -> None:
    """Compare a parsed value with the type that the contract gives it.

    Raises:
        TypeError: It, or something in it, is of another type; the text names the place.
    """
    if not (expected is Any or (type(value) is expected and expected in _PLAIN) or _fits(value, expected, name)):
        raise TypeError(f"{name}: {getattr(expected, '__name__', expected)} expected, got {type(value).__name__}")


def _fits(value: object, expected: Any, name: str) -> bool:
    origin, arguments, is_model = _described(expected)
    if origin in (Union, UnionType):
        return any(_is_one(value, argument, name) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if origin is list and isinstance(value, list):
        for index, item in enumerate(cast("list[object]", value)):
            check_type(item, arguments[0], f"{name}[{index}]")
        return True
    if is_model and isinstance(value, expected):
        for field, field_type in _field_types(expected):
            check_type(getattr(value, field), field_type, field)
        return True
    if origin is not None or expected in _PLAIN:
        return (origin is dict and type(value) is dict) or (expected is float and type(value) is int)
    return isinstance(expected, type) and isinstance(value, expected)


def _is_one(value: object, expected: Any, name: str) -> bool:
    try:
        check_type(value, expected, name)
    except TypeError:
        return False
    return True
