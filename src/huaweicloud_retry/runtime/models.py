"""The base of generated models: JSON to typed values and back.

load        JSON -> values of the annotated types, or an error that names the field
dump        values -> JSON
check_type  compares values with the annotated types, before they are sent
Model       base class of generated models; OpenModel keeps fields that the contract does not know
"""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
from functools import cache
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    Self,
    TypeGuard,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

import attrs

from .redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

# Values must have exactly this type: to isinstance, a bool is an int.
_PLAIN: Final = (bool, int, str, float, NoneType, dict)
_DATE: Final = r"\d{4}-\d\d-\d\d"
_DATE_TIME: Final = re.compile(_DATE + r"[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


class Unset:
    """The type of UNSET: the value was not given, and is not sent."""

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNSET"

    def __reduce__(self) -> str:
        return "UNSET"  # copies and pickles keep the same object, which is compared by identity


UNSET: Final = Unset()


class Discriminator:
    """Names the field that selects the model of a union.

    Args:
        field: Name of the field in JSON.
        models: For each value of the field, the name of the model.
    """

    def __init__(self, field: str, models: dict[str, str]) -> None:
        self.field = field
        self.models = models


class Model:
    """Base class of generated models."""

    __slots__ = ()

    _sets: tuple[tuple[str, ...], ...] = ()
    """Sets of fields, by their names in JSON; at least one set must be complete."""
    _exactly_one: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        return _dump_model(self, is_request=False)

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """Make a model from a JSON object.

        Raises:
            KeyError: A required field is missing.
            TypeError: A value has another type, or the contract forbids a field.
        """
        return cast("Self", _load_model(cls, dict(src_dict), cls.__name__, is_response=False))


class OpenModel(Model):
    """Model that keeps fields that the contract does not know, in `additional_properties`."""

    __slots__ = ()

    additional_properties: dict[str, Any]

    @property
    def additional_keys(self) -> list[str]:
        """Names of the fields that the contract does not know."""
        return list(self.additional_properties)

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties


def short_repr(_model: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Limit the repr of each field of a model: the server may send values of any length."""
    return [field.evolve(repr=bounded) for field in fields]


def bounded(value: object) -> str:
    """Return a repr of at most 200 characters, in one line."""
    return one_line(repr(value), 200)


# --- JSON to values ---


def load_json(content: bytes, expected: Any) -> Any:
    """Read the body of a response.

    Raises:
        ValueError: It is not JSON, or nested too deeply to be read.
        KeyError: A required field is missing.
        TypeError: A value has another type.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    return load(value, expected, is_response=True)


def load(value: Any, expected: Any, name: str = "the body", *, is_response: bool = False) -> Any:
    """Convert a JSON value to an annotated type.

    Args:
        value: The result of json.loads.
        expected: The type, such as `list[Job] | None`.
        name: Name of the value, for errors.
        is_response: A response has fields that are read only, and may lack those that are write only.

    Raises:
        KeyError: A required field is missing.
        TypeError: The value, or one in it, has another type; the text names it.
    """
    if _is_plain(value, expected):
        return value
    kind = _kind(expected)
    if kind.origin is Union:
        return _load_union(value, kind, name, is_response=is_response)
    if kind.origin is list and is_list(value):
        item = kind.arguments[0]
        return [load(each, item, f"{name}[{at}]", is_response=is_response) for at, each in enumerate(value)]
    if kind.is_model and is_object(value):
        return _load_model(expected, value, name, is_response=is_response)
    return _load_scalar(value, dict if kind.is_model else expected, name)


def _load_scalar(value: object, expected: Any, name: str) -> Any:
    if type(value) is str and expected in _FROM_TEXT:
        try:
            return _FROM_TEXT[expected](value)
        except ValueError:
            raise TypeError(f"{name}: {_name(expected)} expected, got {bounded(value)}") from None
    if expected is int and isinstance(value, float) and value.is_integer():
        return int(value)  # to JSON Schema, 5.0 is an integer
    check_type(value, expected, name)
    return value


def _load_union(value: object, kind: _Kind, name: str, *, is_response: bool) -> Any:
    """Convert to the first type of the union that fits; among models, to the one that fits best."""
    arguments = tuple(each for each in kind.arguments if each is not Unset)
    if len(arguments) == 1:
        return load(value, arguments[0], name, is_response=is_response)
    if kind.discriminator is not None and is_object(value):
        arguments = (_selected_model(value, kind, kind.discriminator, name),)
    found: list[Any] = []
    failures: list[Exception] = []
    for argument in arguments:
        try:
            loaded = load(value, argument, name, is_response=is_response)
        except (KeyError, TypeError) as error:
            if isinstance(value, _kind(argument).json_type):
                failures.append(error)  # more precise than "no type fits"
        else:
            if not isinstance(loaded, Model):
                return loaded
            found.append(loaded)
    if found:
        return min(found, key=_misfit)
    raise failures[0] if len(failures) == 1 else _mismatch(name, kind.expected, value)


def _misfit(model: Any) -> tuple[int, int]:
    """Count values outside their Literal types, which often distinguish models, and unknown fields."""
    unlisted = 0
    for field in _fields(_type(model))[0]:
        kinds = map(_kind, _kind(field.type).arguments)
        options = [each.arguments for each in kinds if each.origin is Literal]
        value = getattr(model, field.name)
        if options and isinstance(value, str | int) and not any(value in listed for listed in options):
            unlisted += 1
    return unlisted, len(getattr(model, "additional_properties", ()))


def _selected_model(value: dict[str, Any], kind: _Kind, discriminator: Discriminator, name: str) -> Any:
    found = value[discriminator.field]
    wanted = discriminator.models.get(str(found)) if type(found) in (str, int) else None
    for argument in kind.arguments:
        if wanted is not None and _name(argument) == wanted:
            return argument
    listing = _listing(tuple(discriminator.models))
    raise TypeError(f"{name}.{discriminator.field}: one of {listing} expected, got {bounded(found)}")


def _load_model(model: Any, value: dict[str, Any], name: str, *, is_response: bool) -> Any:
    rest, given = dict(value), dict[str, Any]()
    fields, extra = _fields(model)
    for field in fields:
        if field.json_name in rest:
            item = rest.pop(field.json_name)
            given[field.name] = load(item, field.type, field.json_name, is_response=is_response)
        elif field.is_required or (is_response and field.needed_in == "response"):
            raise KeyError(field.json_name)
        else:
            given[field.name] = UNSET
    if rest and extra is None:
        raise TypeError(f"{name}: {bounded(min(rest))} is not a field of {model.__name__}")
    loaded = model(**given)
    if extra is not None:
        more = {key: load(item, extra, key, is_response=is_response) for key, item in rest.items()}
        loaded.additional_properties = more
    if is_response and (problem := _sets_problem(loaded)):
        raise TypeError(problem)
    return loaded


# --- values to JSON ---


def dump_json(value: object, expected: Any) -> Any:
    """Return the JSON of a request's body.

    Raises:
        TypeError: The body, or a value in it, does not have the annotated type.
        ValueError: A field that a request needs was not given, or a time has no time zone.
    """
    check_type(value, expected)
    return dump(value, is_request=True)


def dump(value: Any, *, is_request: bool = False) -> Any:
    """Convert a value to JSON; for a request, without read-only fields.

    Raises:
        ValueError: A field that a request needs was not given, or a time in it has no time zone.
    """
    if isinstance(value, Model):
        return _dump_model(value, is_request=is_request)
    if is_list(value):
        return [dump(item, is_request=is_request) for item in value]
    if is_object(value):
        return {key: dump(item, is_request=is_request) for key, item in value.items()}
    if is_request and isinstance(value, dt.datetime):
        return time_text(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def time_text(value: dt.datetime) -> str:
    """Return a time in the format of RFC 3339.

    Raises:
        ValueError: It has no time zone.
    """
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone: give one, such as tzinfo=datetime.UTC")
    return value.isoformat()


def _dump_model(model: Any, *, is_request: bool) -> dict[str, Any]:
    if is_request and (problem := _sets_problem(model)):
        raise ValueError(problem)
    fields, extra = _fields(_type(model))
    made: dict[str, Any] = {}
    if extra is not None:
        made |= {key: dump(item, is_request=is_request) for key, item in model.additional_properties.items()}
    for field in fields:
        value = getattr(model, field.name)
        if value is not UNSET and not (is_request and field.is_read_only):
            made[field.json_name] = dump(value, is_request=is_request)
        elif is_request and field.needed_in == "request":
            raise ValueError(f"{type(model).__name__} needs {field.name} in a request")
    return made


def _sets_problem(model: Any) -> str | None:
    """Return which sets of fields are possible, if none of them was given."""
    sets = cast("tuple[tuple[str, ...], ...]", model._sets)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    if not sets:
        return None
    names = {field.json_name: field.name for field in _fields(_type(model))[0]}
    extra = getattr(model, "additional_properties", {})
    present = {key for key, name in names.items() if getattr(model, name, UNSET) is not UNSET}
    present.update(extra)
    given = sum(present.issuperset(keys) for keys in sets)
    if given == 1 or (given and not model._exactly_one):  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        return None
    choice = " or ".join([" and ".join([names.get(key, key) for key in keys]) for keys in sets])
    return f"{type(model).__name__} needs {choice}; {'more than one' if given else 'neither'} was given"


# --- types ---


def check_type(value: object, expected: Any, name: str = "the body") -> None:
    """Compare a value with an annotated type.

    Raises:
        TypeError: The value, or one in it, has another type; the text names it.
    """
    if _is_plain(value, expected):
        return
    kind = _kind(expected)
    if kind.origin is Literal:
        if not any(value == each and type(value) is type(each) for each in kind.arguments):  # True == 1
            raise TypeError(f"{name}: one of {_listing(kind.arguments)} expected, got {bounded(value)}")
    elif kind.origin is Union:
        if not any(_is_one(value, argument, name) for argument in kind.arguments):
            raise _mismatch(name, expected, value)
    elif not _is_of(value, expected, kind):
        raise _mismatch(name, expected, value)
    elif kind.is_model:
        _check_model(value)
    elif is_list(value) or is_object(value):
        keys = range(len(value)) if is_list(value) else list(value)
        for key in keys if kind.arguments else ():
            check_type(cast("Any", value)[key], kind.arguments[-1], f"{name}[{key!r}]")


def _is_plain(value: object, expected: Any) -> bool:
    if expected is Any or (value is None and expected is None):
        return True
    return type(value) is expected and expected in _PLAIN


def _is_of(value: object, expected: Any, kind: _Kind) -> bool:
    if kind.is_model or expected is dt.date:  # to isinstance, a datetime is a date
        return type(value) is expected
    if expected is float:
        return type(value) is int
    return expected is not None and expected not in _PLAIN and isinstance(value, kind.origin or expected)


def _check_model(model: Any) -> None:
    fields, extra = _fields(_type(model))
    for field in fields:
        check_type(getattr(model, field.name), field.type, field.name)
    if extra is not None:
        for key, item in model.additional_properties.items():
            check_type(item, extra, key)


def _type(value: object) -> Any:
    return cast("Any", type(value))


def _is_one(value: object, expected: Any, name: str) -> bool:
    try:
        check_type(value, expected, name)
    except TypeError:
        return False
    return True


class _Field(NamedTuple):
    name: str
    json_name: str
    type: Any
    is_required: bool
    needed_in: str | None
    is_read_only: bool


@cache
def _fields(model: Any) -> tuple[list[_Field], Any]:
    """Return the fields of a model, and the type of fields that the contract does not know, or None."""
    # A model's module imports other models only for type checkers; the package has all of them.
    package: Any = sys.modules[model.__module__.rpartition(".")[0] or model.__module__]
    models: dict[str, Any] = {name: getattr(package, name) for name in getattr(package, "__all__", ())}
    hints = get_type_hints(model, localns=models, include_extras=True)
    fields = [
        _Field(
            field.name,
            field.metadata.get("name", field.name),
            hints[field.name],
            Unset not in _kind(hints[field.name]).arguments,
            field.metadata.get("needed_in"),
            field.metadata.get("read_only", False),
        )
        for field in attrs.fields(model)
        if field.init
    ]
    extra = get_args(hints["additional_properties"])[1] if issubclass(model, OpenModel) else None
    return fields, extra


class _Kind(NamedTuple):
    """An annotated type, taken apart."""

    expected: Any
    origin: Any
    arguments: tuple[Any, ...]
    is_model: bool
    discriminator: Discriminator | None
    json_type: type | tuple[()]


@cache
def _kind(expected: Any) -> _Kind:
    origin, arguments, discriminator = get_origin(expected), get_args(expected), None
    if origin is Annotated:
        expected, discriminator = arguments[:2]
        origin, arguments = get_origin(expected), get_args(expected)
    if origin in (Union, UnionType):
        flat: list[Any] = []
        for argument in arguments:
            inner = _kind(argument)
            flat += inner.arguments if inner.origin is Union else (argument,)
            discriminator = discriminator or inner.discriminator
        origin, arguments = Union, tuple(flat)
    is_model = isinstance(expected, type) and issubclass(expected, Model)
    json_type: type | tuple[()] = origin if origin in (list, dict) else ()
    if is_model:
        json_type = dict
    return _Kind(expected, origin, arguments, is_model, discriminator, json_type)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Return whether a value is a list; for type checkers, a list[Any]."""
    return isinstance(value, list)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Return whether a value is a dict; for type checkers, a JSON object."""
    return isinstance(value, dict)


def _listing(listed: tuple[Any, ...]) -> str:
    return one_line(", ".join(map(repr, listed)), 200)


def _mismatch(name: str, expected: Any, value: object) -> TypeError:
    return TypeError(f"{name}: {_name(expected)} expected, got {type(value).__name__}")


def _name(expected: Any) -> str:
    kind = _kind(expected)
    if kind.origin is Union:
        return " | ".join([_name(each) for each in kind.arguments if each is not Unset])
    return str(getattr(expected, "__name__", None) or expected)


def _date(text: str) -> dt.date:
    if not re.fullmatch(_DATE, text, re.ASCII):
        raise ValueError
    return dt.date.fromisoformat(text)


def _date_time(text: str) -> dt.datetime:
    if not _DATE_TIME.fullmatch(text):
        raise ValueError
    return dt.datetime.fromisoformat(text.upper())


_FROM_TEXT: Final[dict[Any, Any]] = {dt.date: _date, dt.datetime: _date_time, UUID: UUID}
