"""The data files beside these modules."""

from functools import cache
from importlib import resources
from typing import Any, cast

import jsonschema_rs

from huaweicloud_retry.parsing import read_yaml


def data(name: str) -> bytes:
    """Return the bytes of a file of this package."""
    return resources.files(__package__ or __name__).joinpath(name).read_bytes()


@cache
def validator(name: str, *, secrets: bool = False) -> jsonschema_rs.Draft202012Validator:
    """Return a schema file of this package, compiled; if the values that it describes are secrets, no message quotes one."""
    schema = cast("dict[str, Any]", read_yaml(data(name)))
    return jsonschema_rs.Draft202012Validator(schema, mask="it" if secrets else None)
