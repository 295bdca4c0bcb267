"""The data files of this package."""

from functools import cache
from importlib import resources
from typing import Any, cast

import jsonschema_rs

from huaweicloud_retry.parsing import read_yaml


def data(name: str) -> bytes:
    """Return the bytes of a data file."""
    return resources.files(__package__ or __name__).joinpath(name).read_bytes()


@cache
def validator(name: str, *, secrets: bool = False) -> jsonschema_rs.Draft202012Validator:
    """Compile a schema file. With `secrets`, its messages quote no values."""
    schema = cast("dict[str, Any]", read_yaml(data(name)))
    return jsonschema_rs.Draft202012Validator(schema, mask="it" if secrets else None)
