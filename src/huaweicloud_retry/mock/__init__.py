"""A stateful mock of both services, driven by openapi.yaml, for tests and experiments.

Not the live service: its state is in memory, it retries nothing, and it checks what the spec says.
Run it with `python -m huaweicloud_retry.mock`, or in a test with `with running() as url:`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .server import running

__all__ = ["running"]


def __getattr__(name: str) -> object:
    # A lazy import: `__main__` must run without these packages, to report which one is missing.
    if name != "running":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from .server import running  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}; pip install 'huaweicloud-retry[mock]'", name=error.name
        ) from error
    return running
