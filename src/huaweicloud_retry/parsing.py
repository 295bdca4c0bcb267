"""Text -> JSON values, strictly: request bodies, and YAML files that people write. Knows no spec and no HTTP.

read_json(body)                 what all JSON readers read alike, or UnreadableError
read_yaml(raw)                  YAML 1.2 that stands for JSON, or UnreadableError
read_checked(raw, validator)    a YAML file that keeps a schema, or UnreadableError with the line
violations(validator, value)    where and how a value breaks a schema
"""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, cast

import jsonschema_rs
import yaml

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_MAX_TEXT = 200  # characters of a message, or of a JSON pointer: both may quote what the caller sent
_MAX_VIOLATIONS = 10  # of one value: after that, more are no help
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class UnreadableError(ValueError):
    """Not what it should be, or not what all readers read alike. The text goes on from the name of the thing: `is …`."""


class Violation(NamedTuple):
    """One way in which a value breaks a schema."""

    path: Sequence[str | int]
    """The steps to the place."""
    what: str


def read_json(body: bytes) -> Json:
    """Parse a JSON text.

    Raises:
        UnreadableError: not UTF-8, not JSON, or read in different ways by different readers.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise UnreadableError(f"is not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        value: Json = _DECODER.decode(text)
        # Only an escape can bring half a surrogate pair into UTF-8 text.
        whole = not _SURROGATE.search(text) or is_unicode(json.dumps(value, ensure_ascii=False))
    except UnreadableError:
        raise
    except json.JSONDecodeError as error:
        raise UnreadableError(f"is not JSON: {error.msg}, line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise UnreadableError("is nested too deeply") from error
    except ValueError as error:
        raise UnreadableError(f"has a number with more than {sys.get_int_max_str_digits()} digits") from error
    if not whole:
        raise UnreadableError("has half a surrogate pair (\\ud800 to \\udfff), which is no text")
    return value


def read_yaml(raw: bytes) -> Json:
    """Parse a YAML 1.2 document that stands for JSON; keys become strings.

    Raises:
        UnreadableError: it is not YAML, or holds what JSON cannot.
    """
    try:
        value: object = yaml.load(raw, _Yaml12Loader)  # noqa: S506 - a safe loader
        return cast("Json", json.loads(json.dumps(value, allow_nan=False)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UnreadableError(f"is not YAML: {where}{error.problem}") from error
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise UnreadableError(f"is not YAML that stands for JSON: {' '.join(str(error).split())}") from error


def read_checked(raw: bytes, validator: jsonschema_rs.Draft202012Validator) -> Json:
    """Parse a YAML document that somebody wrote by hand, and hold it to a schema.

    Raises:
        UnreadableError: with the line, as `line 3, /projects/p: …`.
    """
    value = read_yaml(raw)
    root = yaml.compose(raw, _Yaml12Loader)
    if root is not None and (twice := _key_twice(root)):
        raise UnreadableError(f"line {_line(twice)}: the key {shorten(repr(twice.value))} stands here a second time")
    for path, what in violations(validator, value):
        where = f", {found}" if (found := pointer(path)) else ""
        raise UnreadableError(f"line {_line(_node_at(root, path)) if root else 1}{where}: {what}")
    return value


def violations(validator: jsonschema_rs.Draft202012Validator, value: Json) -> list[Violation]:
    """Return what is wrong with a value, ten things at most.

    Raises:
        UnreadableError: nested deeper than jsonschema-rs goes, which is 255 levels, less than Python's parser.
    """
    try:
        if validator.is_valid(value):
            return []
        errors = list(islice(validator.iter_errors(value), _MAX_VIOLATIONS))
    except ValueError as error:
        raise UnreadableError("is nested too deeply") from error
    return [Violation(error.instance_path, shorten(error.message)) for error in errors]


def pointer(steps: Iterable[str | int]) -> str:
    """Return a JSON pointer, cut if it is long; the whole document's is empty."""
    return shorten("".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps))


def shorten(text: str) -> str:
    """Cut the middle out of a long text: the reason is at one end, and which one differs."""
    half = _MAX_TEXT // 2
    return text if len(text) <= _MAX_TEXT else f"{text[:half]}…{text[-half:]}"


def is_unicode(text: str) -> bool:
    """Say whether a text can be encoded, so has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- JSON -------------------------------------------------------------------------------------------------------------


def refuse_constant(name: str) -> Json:
    """Refuse NaN and Infinity, which Python's reader takes; for its `parse_constant`."""
    raise UnreadableError(f"is not JSON: {name} is no number")


def _refuse_duplicates(pairs: list[tuple[str, Json]]) -> Json:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise UnreadableError(f"has the field {shorten(json.dumps(name))} twice in one object")
            seen.add(name)
    return value


_DECODER = json.JSONDecoder(parse_constant=refuse_constant, object_pairs_hook=_refuse_duplicates)


# --- YAML -------------------------------------------------------------------------------------------------------------


class _Yaml12Loader(yaml.CSafeLoader):
    """YAML 1.2, as OpenAPI asks and codegen reads; in 1.1, PyYAML's own, `no` is false and `2025-01-01` a date."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {  # noqa: RUF012 - as PyYAML's own
        None: [  # whatever the first character
            (f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})\Z"))
            for tag, pattern in (
                ("bool", "true|True|TRUE|false|False|FALSE"),
                ("null", "|~|null|Null|NULL"),
                ("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
                ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"),
                ("merge", "<<"),
            )
        ]
    }


def _int12(loader: _Yaml12Loader, node: yaml.ScalarNode) -> int:
    text: str = loader.construct_scalar(node)
    return int(text, 0) if text[1:2] in {"o", "x"} else int(text)  # 0777 is octal in 1.1 only


_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _int12)


def _key_twice(node: yaml.Node) -> yaml.ScalarNode | None:
    """Find a key that a mapping has twice, of which YAML's readers silently keep one."""
    parts: list[Any] = node.value if isinstance(node, yaml.CollectionNode) else []
    seen: set[Any] = set()
    for part in parts:
        key, child = part if isinstance(node, yaml.MappingNode) else (None, part)
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                return key
            seen.add(key.value)
        if found := _key_twice(child):
            return found
    return None


def _node_at(node: yaml.Node, path: Sequence[str | int]) -> yaml.Node:
    """Follow the steps as far as they lead, which merge keys may cut short."""
    for step in path:
        if isinstance(node, yaml.MappingNode):
            parts: list[Any] = [child for key, child in node.value if key.value == step]
        else:
            parts = node.value[step:] if isinstance(node, yaml.SequenceNode) and isinstance(step, int) else []
        if not parts:
            break
        node = parts[0]
    return node


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1
