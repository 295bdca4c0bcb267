"""A stateful double of both services, driven by openapi.yaml: for trying things out and for tests.

Not the live service: everything is in memory, nothing is retried, and the checks are those of the spec.
`python -m huaweicloud_retry.mock` runs it; `with running() as url:` runs it inside a test.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .server import running

__all__ = ["running"]


def __getattr__(name: str) -> object:
    # At first use only: `python -m` must get as far as `__main__`, which says what is missing without a traceback.
    if name != "running":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from .server import running  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}; pip install 'huaweicloud-retry[mock]'", name=error.name
        ) from error
    return running
