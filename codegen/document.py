"""Reads openapi.yaml, or another YAML file, and reports problems with their lines."""
# ruff: noqa: PLC0415 - imports at first use: they take a second, and a run may have nothing to do

from __future__ import annotations

import errno
import io
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

Place = tuple[Any, ...]  # keys and indexes from the root of a YAML file

ROOT = Path(__file__).resolve().parent.parent
REASON_LENGTH = 300


class Refused(Exception):  # noqa: N818 - not an error of this program
    """Problems that the user must fix before a client can be made: one line per problem."""


class Document:
    """A YAML file with the line of each value."""

    def __init__(self, name: str) -> None:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        self.name, text = name, ""
        try:
            text = (ROOT / name).read_bytes().decode("utf-8")
            reader: Any = YAML()
            self.root: Any = reader.load(text)
        except FileNotFoundError:
            raise Refused(f"{name}:1: no such file; `git checkout {name}` brings the last one back") from None
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise Refused(f"{name}:{line}: not UTF-8 ({error.reason}); save the file as UTF-8") from None
        except MarkedYAMLError as error:
            untyped: Any = error
            # Without the value of a duplicate key, which may be long.
            reason = str(untyped.problem).partition(" with value ")[0]
            start, mark = untyped.context_mark, untyped.problem_mark or untyped.context_mark
            began = f"{untyped.context} from line {start.line + 1}: " if start else ""
            raise Refused(f"{name}:{mark.line + 1}: {began}{short(reason)}") from None
        except YAMLError as error:  # a control character, which has a position instead of a mark
            line = text.count("\n", 0, getattr(error, "position", 0)) + 1
            raise Refused(f"{name}:{line}: {short(error)}") from None
        if not isinstance(self.root, dict):
            raise Refused(f"{name}:1: {'empty' if self.root is None else 'not a mapping of keys to values'}")

    def walk(self, place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
        """Yield a value and everything in it."""
        yield place, value
        for key in keys_of(value):
            yield from self.walk((*place, key), value[key])

    def find(self, place: Place) -> tuple[Place, Any, int]:
        """Return place, value and line at the end of `place`.

        Follows references, as the paths of validators and of the generator do. Skips steps that the file does
        not have: those paths have steps of their own.
        """
        real: Place = ()
        value, line = self.root, 1
        for key in place:
            keys = keys_of(value)
            if key not in keys and "$ref" in keys and (target := self.target(value["$ref"])):
                real, value, line = self.find(target)
            if key in keys_of(value):
                lines: Any = value.lc.data or {}
                line = lines.get(key, [line - 1])[0] + 1  # a merged key (<<) has no line of its own
                real, value = (*real, key), value[key]
        return real, value, line

    def target(self, reference: object) -> Place | None:
        """Return the place that a `$ref` points to, if it is in this file."""
        from urllib.parse import unquote

        place, value = list[Any](), self.root
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return None
        for step in reference[2:].split("/"):
            index = step.isdecimal() and isinstance(keys_of(value), range)
            place.append(int(step) if index else unquote(step).replace("~1", "/").replace("~0", "~"))
            if place[-1] not in keys_of(value):
                return None
            value = value[place[-1]]
        return tuple(place)

    def at(self, place: Place, reason: object) -> str:
        """Return a problem as it is shown: file, line, reason, JSON pointer."""
        real, _, line = self.find(place)
        pointer = "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in real)
        return f"{self.name}:{line}: {short(reason)}" + (f" (at #{pointer})" if pointer else "")


def keys_of(value: Any) -> Collection[Any]:
    """Return the keys or indexes of a value."""
    if isinstance(value, dict):
        return cast("dict[object, Any]", value)
    return range(len(cast("list[object]", value))) if isinstance(value, list) else ()


def short(text: object) -> str:
    """Return text in one line, shortened: validators may quote whole schemas."""
    line = " ".join(str(text).split())
    return line if len(line) <= REASON_LENGTH else line[:REASON_LENGTH] + "..."


def show(code: int, lines: Iterable[str]) -> int:
    """Print a command's output: refusals to stderr. Return its exit code, 2 if printing failed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # the terminal may lack characters of the spec
            stream.reconfigure(errors="backslashreplace")
    try:
        print(*lines, sep="\n", file=sys.stderr if code > 1 else sys.stdout, flush=True)
    except OSError as error:
        # Python would report the error again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno not in (errno.EPIPE, errno.EINVAL):  # the reader closed the pipe; EINVAL on Windows
            code = 2
            print(f"standard output: {error.strerror}", file=sys.stderr)
    return code


def refuse(problems: Iterable[str]) -> None:
    """Raise all problems of one stage together, in the order of the file."""
    # The line number, as in "C:\spec.yaml:7: …".
    lines = {problem: int(re.findall(r":(\d+): ", problem)[0]) for problem in problems}
    if lines:
        raise Refused(*sorted(lines, key=lambda problem: (lines[problem], problem)))


def yaml_problems(spec: Document) -> Iterator[str]:
    """Find values that JSON does not have, and bad references: the validator reports no place for these."""
    for place, value in spec.walk((), spec.root):
        for key, item in cast("dict[object, Any]", value).items() if isinstance(value, dict) else ():
            if not isinstance(key, str):
                yield spec.at((*place, key), f"the key {key} is not text; put it in quotes: '{key}'")
            elif key == "$ref" and isinstance(item, str) and spec.target(item) is None:
                is_local = item.startswith("#")
                where = "points to nothing" if is_local else "leaves this file; copy its target here"
                yield spec.at((*place, key), f"$ref {item} {where}")
        if not isinstance(value, dict | list | str | int | float | None):
            yield spec.at(place, f"JSON has no {type(value).__name__}; put it in quotes")


def openapi_problems(spec: Document) -> Iterator[str]:
    """Find all violations of the OpenAPI specification."""
    # Only this backend's errors have causes.
    os.environ["OPENAPI_SPEC_VALIDATOR_SCHEMA_VALIDATOR_BACKEND"] = "jsonschema"
    from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator
    from openapi_spec_validator.validation.exceptions import DuplicateOperationIDError

    version = str(spec.root.get("openapi"))
    if not re.fullmatch(r"3\.[01]\.\d+", version):
        reason = f"openapi must be the version of OpenAPI, 3.0.x or 3.1.x; it is {version}"
        raise Refused(spec.at(("openapi",), reason))
    stock: Any = OpenAPIV30SpecValidator if version.startswith("3.0") else OpenAPIV31SpecValidator
    rules = {keyword: placed(keyword, rule) for keyword, rule in stock.keyword_validators.items()}
    validator = type("PlacedValidator", (stock,), {"keyword_validators": rules})(spec.root)
    found: dict[Place, str] = {}
    errors = list(validator.schema_validator.iter_errors(spec.root))
    # The validator's further rules need a spec that matches the schema.
    for whole in errors or validator.root_validator(validator.schema_path):
        error = whole
        while error.context:  # if no alternative fits, the one with the deepest error was probably intended
            error = max(error.context, key=lambda cause: len(cause.absolute_path))
        place = (*getattr(whole, "place", ()), *error.absolute_path)
        # These errors are reported for the object, but are about one of its keys.
        if error.validator in ("additionalProperties", "unevaluatedProperties"):
            place = next(((*place, key) for key in spec.find(place)[1] if f"'{key}'" in error.message), place)
        if not isinstance(error, DuplicateOperationIDError):  # naming_problems() reports both places
            found.setdefault(spec.find(place)[0], error.message)
    return (spec.at(place, message) for place, message in found.items())


def reading_problems(spec: Document, root: Any) -> Iterator[str]:
    """Find what the generator's models do not accept; its own errors have no lines."""
    from openapi_python_client.schema import OpenAPI
    from pydantic import ValidationError

    found: dict[Place, str] = {}
    try:
        OpenAPI.model_validate(root)
    except ValidationError as failure:
        for each in failure.errors():
            absent = f"{each['loc'][-1]}: " if each["type"] == "missing" else ""
            found.setdefault(spec.find(each["loc"])[0], f"{absent}{each['msg']}")
    return (spec.at(place, message) for place, message in found.items())


def placed(keyword: str, rule: Any) -> Any:
    """Add places to the errors of the validator's own rules, which have them in their arguments."""
    from jsonschema_path import SchemaPath

    def register(registry: Any) -> Any:
        check = rule(registry)

        def checked(*args: Any, **options: Any) -> Iterator[Any]:
            path = next(each.parts for each in args if isinstance(each, SchemaPath))
            for error in check(*args, **options):
                if not hasattr(error, "place"):  # an inner rule may have set it
                    error.place = (*path, "default") if keyword == "default" else path
                yield error

        return checked

    return register
