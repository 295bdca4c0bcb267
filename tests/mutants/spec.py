"""Specs that say something else than openapi.yaml: spec.yaml, which says how."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from huaweicloud_retry.parsing import read_yaml
from tests.contract import suite


@dataclass(frozen=True)
class Mutant:
    what: str
    patch: dict[str, Any]
    survives: str = ""


def mutants() -> list[Mutant]:
    described = cast("list[dict[str, Any]]", read_yaml(Path(__file__).with_name("spec.yaml").read_bytes()))
    return [Mutant(**mutant) for mutant in described]


def write(mutant: Mutant, file: Path) -> None:
    """Write openapi.yaml with the mutant's change."""
    spec = read_yaml(suite.SPEC.read_bytes())
    changed = merged(spec, mutant.patch)
    assert changed != spec, f"{mutant.what!r} changes nothing"
    file.write_text(json.dumps(changed), encoding="utf-8")


def merged(target: Any, patch: Any) -> Any:
    """Apply a merge patch, as RFC 7396 describes it."""
    if not isinstance(patch, dict):
        return patch
    result: dict[str, Any] = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
