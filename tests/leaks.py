"""Every place where an error may show a secret."""

import contextlib
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CANARY = "s3cret"  # each secret of a test begins with it
Check = Callable[..., BaseException]


def shown(error: BaseException) -> Iterator[tuple[str, object]]:
    """Yield each place of an error and its chain that a log, a pickle or an error tracker takes, and what is there."""
    name = type(error).__name__
    yield f"str of {name}", str(error)
    yield f"repr of {name}", repr(error)
    yield f"args of {name}", error.args
    yield f"vars of {name}", vars(error)
    if (response := getattr(error, "response", None)) is not None:
        yield f"response of {name}", (response, response.content, response.headers.raw, response.problem)
    with contextlib.suppress(TypeError, AttributeError):  # not every cause can be pickled
        yield f"pickle of {name}", pickle.dumps(error)
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename)
        if {"huaweicloud_retry", "generated"} & set(file.parts):
            for variable, value in frame.f_locals.items():
                yield f"{variable} in {frame.f_code.co_name}, {file.name}:{line}", value
    for other in (error.__cause__, error.__context__):
        if other is not None:
            yield from shown(other)


def leaks(
    error: BaseException, secrets: set[str], caplog: pytest.LogCaptureFixture, warned: list[Any]
) -> list[str]:
    records = [
        (f"log of {record.name}", f"{record.getMessage()} {vars(record)}") for record in caplog.records
    ]
    places = [*shown(error), *records, *(("a warning", str(each.message)) for each in warned)]
    texts = [(place, text if isinstance(text, str) else repr(text)) for place, text in places]
    return sorted({f"{place}: {text[:300]}" for place, text in texts for secret in secrets if secret in text})
