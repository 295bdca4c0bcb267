"""openapi.yaml says what the documented pages say, contradicts itself nowhere, and is read one way only."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import huaweicloud_retry_client
from generate import read_spec
from huaweicloud_retry.parsing import read_yaml
from tests import spec_checks

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "openapi.yaml").read_bytes()
SPEC: Any = read_yaml(TEXT)


@pytest.mark.parametrize("check", spec_checks.CHECKS)
def test_says_what_the_pages_say(check: Callable[[Any], Iterator[str]]) -> None:
    assert [*check(SPEC)] == []


def test_contradicts_itself_nowhere_and_reads_the_same_to_each_parser() -> None:
    plain = read_spec()
    assert plain.notes == []
    # The generator and the mock read YAML 1.2, most tools YAML 1.1: an unquoted `no` or 1_000 would part them.
    assert plain.spec.root == SPEC == yaml.load(TEXT, yaml.CSafeLoader)


def test_the_version_is_stated_once() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in pyproject["project"]
    assert pyproject["tool"]["hatch"]["version"]["path"] == "openapi.yaml"
    assert huaweicloud_retry_client.__version__ == SPEC["info"]["version"]
