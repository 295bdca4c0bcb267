"""Reads openapi.yaml, or another YAML file, and says by line what is wrong with it."""
# ruff: noqa: PLC0415 - imports stand where they are used: a run with nothing to do must not pay a second for them

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


class Refused(Exception):  # noqa: N818 - no fault of this program
    """What a person has to mend before there can be a client: one line a problem."""


class Document:
    """A YAML file that knows the line of everything in it."""

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
            slip: Any = error  # its parts have no types
            reason = str(slip.problem).partition(" with value ")[0]  # which for a key found twice may be long
            start, mark = slip.context_mark, slip.problem_mark or slip.context_mark
            began = f"{slip.context} from line {start.line + 1}: " if start else ""
            raise Refused(f"{name}:{mark.line + 1}: {began}{short(reason)}") from None
        except YAMLError as error:  # of a control character, which has a position in place of a mark
            line = text.count("\n", 0, getattr(error, "position", 0)) + 1
            raise Refused(f"{name}:{line}: {short(error)}") from None
        if not isinstance(self.root, dict):
            raise Refused(f"{name}:1: {'empty' if self.root is None else 'not a mapping of keys to values'}")

    def walk(self, place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
        """A thing and everything in it."""
        yield place, value
        for key in keys_of(value):
            yield from self.walk((*place, key), value[key])

    def find(self, place: Place) -> tuple[Place, Any, int]:
        """Place, value and line of the last thing on the way to `place`.

        Validators and the generator look through references, and put steps of their own into their paths; a step that
        the file does not have is left out.
        """
        real: Place = ()
        value, line = self.root, 1
        for key in place:
            if (
                key not in keys_of(value)
                and "$ref" in keys_of(value)
                and (target := self.target(value["$ref"]))
            ):
                real, value, line = self.find(target)
            if key in keys_of(value):
                lines: Any = value.lc.data or {}
                line = lines.get(key, [line - 1])[0] + 1  # a merged key (<<) has no line of its own
                real, value = (*real, key), value[key]
        return real, value, line

    def target(self, reference: object) -> Place | None:
        """Where a `$ref` points to, if that is in this file."""
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
        """A problem as it is shown: file, line, reason, JSON pointer."""
        real, _, line = self.find(place)
        pointer = "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in real)
        return f"{self.name}:{line}: {short(reason)}" + (f" (at #{pointer})" if pointer else "")


def keys_of(value: Any) -> Collection[Any]:
    """What leads further into a value."""
    if isinstance(value, dict):
        return cast("dict[object, Any]", value)
    return range(len(cast("list[object]", value))) if isinstance(value, list) else ()


def short(text: object) -> str:
    """One line, and no screenful: validators like to quote whole schemas."""
    line = " ".join(str(text).split())
    return line if len(line) <= REASON_LENGTH else line[:REASON_LENGTH] + "..."


def show(code: int, lines: Iterable[str]) -> int:
    """Print what a command has to say: refusals to stderr. Returns its exit code, 2 if nothing could be printed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # the spec may have characters that the terminal does not
            stream.reconfigure(errors="backslashreplace")
    try:
        print(*lines, sep="\n", file=sys.stderr if code > 1 else sys.stdout, flush=True)
    except OSError as error:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or Python complains once more at its end
        if error.errno not in (errno.EPIPE, errno.EINVAL):  # a reader has seen enough; Windows says EINVAL
            code = 2
            print(f"standard output: {error.strerror}", file=sys.stderr)
    return code


def refuse(problems: Iterable[str]) -> None:
    """All problems of one stage at once, in the order of the file; the next stage would only trip over them."""
    lines = {
        problem: int(re.findall(r":(\d+): ", problem)[0]) for problem in problems
    }  # such as "C:\spec.yaml:7: …"
    if lines:
        raise Refused(*sorted(lines, key=lambda problem: (lines[problem], problem)))


def yaml_problems(spec: Document) -> Iterator[str]:
    """What JSON does not have, and references: on these the validator fails without a place, or asks the network."""
    for place, value in spec.walk((), spec.root):
        for key, item in cast("dict[object, Any]", value).items() if isinstance(value, dict) else ():
            if not isinstance(key, str):
                yield spec.at((*place, key), f"the key {key} is not text; put it in quotes: '{key}'")
            elif key == "$ref" and isinstance(item, str) and spec.target(item) is None:
                where = (
                    "points to nothing" if item.startswith("#") else "leaves this file; copy its target here"
                )
                yield spec.at((*place, key), f"$ref {item} {where}")
        if not isinstance(value, dict | list | str | int | float | None):
            yield spec.at(place, f"JSON has no {type(value).__name__}; put it in quotes")


def openapi_problems(spec: Document) -> Iterator[str]:
    """Where it breaks OpenAPI's own rules; every error that there is."""
    os.environ["OPENAPI_SPEC_VALIDATOR_SCHEMA_VALIDATOR_BACKEND"] = (
        "jsonschema"  # the one whose errors give causes
    )
    from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator
    from openapi_spec_validator.validation.exceptions import DuplicateOperationIDError

    version = str(spec.root.get("openapi"))
    if not re.fullmatch(r"3\.[01]\.\d+", version):
        raise Refused(
            spec.at(("openapi",), f"openapi must be the version of OpenAPI, 3.0.x or 3.1.x; it is {version}")
        )
    stock: Any = OpenAPIV30SpecValidator if version.startswith("3.0") else OpenAPIV31SpecValidator
    rules = {keyword: placed(keyword, rule) for keyword, rule in stock.keyword_validators.items()}
    validator = type("PlacedValidator", (stock,), {"keyword_validators": rules})(spec.root)
    found: dict[Place, str] = {}
    errors = list(validator.schema_validator.iter_errors(spec.root))
    # These rules take the shape for granted.
    for whole in errors or validator.root_validator(validator.schema_path):
        error = whole
        while error.context:  # of "fits none of these", the one that comes furthest is the one that was meant
            error = max(error.context, key=lambda cause: len(cause.absolute_path))
        place = (*getattr(whole, "place", ()), *error.absolute_path)
        # Said of the whole, meant of a key.
        if error.validator in ("additionalProperties", "unevaluatedProperties"):
            place = next(((*place, key) for key in spec.find(place)[1] if f"'{key}'" in error.message), place)
        if not isinstance(error, DuplicateOperationIDError):  # naming_problems() tells where the other one is
            found.setdefault(spec.find(place)[0], error.message)
    return (spec.at(place, message) for place, message in found.items())


def reading_problems(spec: Document, root: Any) -> Iterator[str]:
    """Where the generator, which reads the spec its own way, fails at once and gives no lines."""
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
    """The validator's rules beyond JSON Schema give their errors no place, but the path they are called with is one."""
    from jsonschema_path import SchemaPath

    def register(registry: Any) -> Any:
        check = rule(registry)

        def checked(*args: Any, **options: Any) -> Iterator[Any]:
            path = next(each.parts for each in args if isinstance(each, SchemaPath))
            for error in check(*args, **options):
                if not hasattr(error, "place"):  # or a rule further in has set it
                    error.place = (*path, "default") if keyword == "default" else path
                yield error

        return checked

    return register
