"""Specs that say something else than openapi.yaml: spec.yaml, which says how. spec_checks.py finds them."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import generate
from document import Refused
from huaweicloud_retry.parsing import read_yaml
from tests import spec_checks

TEXT = (Path(__file__).parents[2] / "openapi.yaml").read_text("utf-8")


@dataclass(frozen=True)
class Mutant:
    what: str
    patch: dict[str, Any] = field(default_factory=dict[str, Any])
    edit: Sequence[str] = ()

    def spec(self) -> Any:
        """openapi.yaml with the change."""
        text = TEXT
        if self.edit:
            old, new = self.edit
            assert text.count(old) == 1, f"{self.what!r}: openapi.yaml has {old!r} {text.count(old)} times"
            text = text.replace(old, new)
        spec = read_yaml(text.encode())
        changed = merged(spec, self.patch)
        assert self.edit or changed != spec, f"{self.what!r} changes nothing"
        return changed


def mutants() -> list[Mutant]:
    described = cast("list[dict[str, Any]]", read_yaml(Path(__file__).with_name("spec.yaml").read_bytes()))
    return [Mutant(**mutant) for mutant in described]


def refusals(spec: Any) -> Iterator[str]:
    """What `make` refuses."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(spec, file)
        file.flush()
        try:
            generate.read_spec(file.name)
        except Refused as refused:
            yield from (line.partition(": ")[2] for line in refused.args)  # the line is one of the copy


def first_finding(mutant: Mutant) -> tuple[str, str]:
    """Which check finds it, and what that says; what takes longest comes last."""
    spec = mutant.spec()
    checks: list[Callable[[Any], Iterator[str]]] = [*spec_checks.CHECKS, refusals]
    for check in checks:
        for finding in check(spec):
            return check.__name__, finding
    return "", ""


def merged(target: Any, patch: Any) -> Any:
    """Apply a merge patch, as RFC 7396 describes it; in a list, the keys are indexes."""
    if not isinstance(patch, dict):
        return patch
    if isinstance(target, list):
        items = merged({str(index): item for index, item in enumerate(target)}, patch)
        return [items[index] for index in sorted(items, key=int)]
    result: dict[str, Any] = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
