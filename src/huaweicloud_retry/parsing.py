"""Strict parsing of request bodies (JSON) and hand-written files (YAML). Knows no spec and no HTTP.

read_json(body)                 JSON that all parsers read alike, or UnreadableError
read_yaml(raw)                  YAML 1.2 with JSON values only, or UnreadableError
read_checked(raw, …)            a YAML file that matches a schema, or UnreadableError with the line
violations(validator, value)    where and how a value breaks a schema
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, cast

import jsonschema_rs
import yaml

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_MAX_TEXT = 200  # characters of a message, or of a JSON pointer: both may quote the caller's text
_MAX_VIOLATIONS = 10  # reported for one value
_MAX_DEPTH = 100  # of YAML: its parsers recurse, in C and in Python
_MAX_NODES = 1_000_000  # of YAML with its aliases expanded; a few lines of them can become gigabytes
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class UnreadableError(ValueError):
    """Text is invalid, or parsers read it differently. The message starts with a verb: `is not JSON`."""


class Violation(NamedTuple):
    """One way in which a value breaks a schema."""

    path: Sequence[str | int]
    what: str
    key: Sequence[str] = ()
    """The key that is not allowed at `path`."""


def read_json(body: bytes) -> Json:
    """Parse a JSON text.

    Raises:
        UnreadableError: It is not UTF-8 or JSON, or parsers read it differently.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise UnreadableError(f"is not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        value: Json = _DECODER.decode(text)
        # In UTF-8 text, half a surrogate pair can only be an escape.
        whole = not _SURROGATE.search(text) or is_unicode(json.dumps(value, ensure_ascii=False))
    except UnreadableError:
        raise
    except json.JSONDecodeError as error:
        text = f"is not JSON: {error.msg}, line {error.lineno} column {error.colno}"
        raise UnreadableError(text) from error
    except RecursionError as error:
        raise UnreadableError("is nested too deeply") from error
    except ValueError as error:
        raise UnreadableError(f"has a number with more than {sys.get_int_max_str_digits()} digits") from error
    if not whole:
        raise UnreadableError("has half a surrogate pair (\\ud800 to \\udfff), which is not text")
    return value


def read_yaml(raw: bytes) -> Json:
    """Parse a YAML 1.2 document that has JSON values only; keys become strings.

    Raises:
        UnreadableError: It is not YAML, or has values that JSON does not have.
    """
    try:
        _check_extent(raw)
        value: object = yaml.load(raw, _Yaml12Loader)  # noqa: S506 - a safe loader
        return cast("Json", json.loads(json.dumps(value, allow_nan=False)))
    except UnreadableError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UnreadableError(f"is not YAML: {where}{error.problem}") from error
    except yaml.YAMLError as error:  # such as an invalid byte
        raise UnreadableError(f"is not YAML: {' '.join(str(error).split())}") from error
    except (TypeError, ValueError) as error:
        raise UnreadableError(
            f"has values that JSON does not have: {' '.join(str(error).split())}"
        ) from error


def read_checked(
    raw: bytes,
    validator: jsonschema_rs.Draft202012Validator,
    more: Callable[[Any], Iterable[Violation]] = lambda _: (),
    hidden: tuple[str, jsonschema_rs.Draft202012Validator] | None = None,
) -> Json:
    """Parse a hand-written YAML document, and validate it against a schema.

    Args:
        raw: The document.
        validator: The schema.
        more: Further checks, called with a value that matches the schema.
        hidden: A top-level field whose names and values no message may quote, and a validator of the same
            schema that quotes no values.

    Raises:
        UnreadableError: With the line: `line 3, /projects/p: …`.
    """
    value = read_yaml(raw)
    root = yaml.compose(raw, _Yaml12Loader)
    if root is not None and (bad := _bad_key(root)):
        raise UnreadableError(f"line {_line(bad[0])}: {bad[1]}")
    for path, what, key in violations(validator, value) or more(value):
        line = _line(_place_of(root, [*path, *key])) if root else 1
        where, reason = pointer(path), what
        if hidden and path[:1] == [hidden[0]]:
            where = pointer(path[:2])
            reason = "there is an unknown field" if key else violations(hidden[1], value)[0].what
        raise UnreadableError(f"line {line}{where and ', '}{where}: {reason}")
    return with_integers(value)


def with_integers(value: Json) -> Json:
    """Turn 5.0 into 5: to JSON Schema both are integers."""
    if isinstance(value, dict):
        return {name: with_integers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [with_integers(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def violations(validator: jsonschema_rs.Draft202012Validator, value: Json) -> list[Violation]:
    """Return what is wrong with a value, ten violations at most.

    Raises:
        UnreadableError: It has more than 255 levels, the limit of jsonschema-rs.
    """
    try:
        if validator.is_valid(value):
            return []
        errors = list(islice(validator.iter_errors(value), _MAX_VIOLATIONS))
    except ValueError as error:
        raise UnreadableError("is nested too deeply") from error
    return [
        Violation(e.instance_path, shorten(e.message), getattr(e.kind, "unexpected", [])[:1]) for e in errors
    ]


def pointer(steps: Iterable[str | int]) -> str:
    """Return a JSON pointer on one line, shortened; the whole document's is empty."""
    text = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return shorten(escape_unprintable(text))


def escape_unprintable(text: str) -> str:
    r"""Escape characters that are not printable, as `\n` or `\x07`."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def shorten(text: str) -> str:
    """Cut the middle out of a long text: the reason may be at either end."""
    half = _MAX_TEXT // 2
    return text if len(text) <= _MAX_TEXT else f"{text[:half]}…{text[-half:]}"


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can encode a text: it has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- JSON ---


def refuse_constant(name: str) -> Json:
    """Refuse NaN and Infinity, which Python's parser accepts; for its `parse_constant`."""
    raise UnreadableError(f"is not JSON: {name} is not a number")


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


# --- YAML ---


class _Yaml12Loader(yaml.CSafeLoader):
    """YAML 1.2, as OpenAPI requires; in PyYAML's YAML 1.1, `no` is false and `2025-01-01` a date."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {  # noqa: RUF012 - as PyYAML's own
        None: [  # with any first character
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
    return int(text, 0) if text[1:2] in {"o", "x"} else int(text)  # 0777 is octal only in YAML 1.1


_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _int12)


def _check_extent(raw: bytes) -> None:
    """Refuse YAML that is nested too deeply for the parsers, or too large when its aliases are expanded."""
    open_nodes: list[tuple[Any, int]] = []  # for each collection: its anchor, and the nodes before it
    sizes: dict[str, int] = {}
    nodes: int = 0
    for event in yaml.parse(raw, _Yaml12Loader):
        if isinstance(event, yaml.AliasEvent):
            nodes += sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, nodes))
            nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = nodes - before
        else:
            nodes += 1
        if len(open_nodes) > _MAX_DEPTH or nodes > _MAX_NODES:
            raise UnreadableError("is nested too deeply, or too large")


def _bad_key(node: yaml.Node) -> tuple[yaml.Node, str] | None:
    """Find a key that would become another key, or is a duplicate, which YAML's parsers drop silently."""
    parts: list[Any] = node.value if isinstance(node, yaml.CollectionNode) else []
    seen: set[Any] = set()
    for part in parts:
        key, child = part if isinstance(node, yaml.MappingNode) else (None, part)
        if key is not None:
            if key.value in seen:
                return key, "this key is a duplicate"
            if key.tag not in {"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"}:
                return key, "this key is not a string in YAML: write it in quotes"
            seen.add(key.value)
        if found := _bad_key(child):
            return found
    return None


def _place_of(node: yaml.Node, path: Sequence[str | int]) -> yaml.Node:
    """Follow a path as far as possible (merge keys may end it early); a field's place is that of its key."""
    place = node
    for step in path:
        found: list[Any] = []
        if isinstance(node, yaml.MappingNode):
            found = [pair for pair in node.value if pair[0].value == step]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            found = [(item, item) for item in node.value[step:]]
        if not found:
            break
        place, node = found[0]
    return place


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1
