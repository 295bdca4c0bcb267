"""A request to the mock."""

from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huaweicloud_retry.contract import Operation

    from .response import Refusal

_ids = Random()  # noqa: S311 - request IDs are no secrets


class MockRequest:
    """A request: its method, its path and query, percent-encoded, and its header fields."""

    def __init__(self, method: str, target: str, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.id = f"{_ids.getrandbits(128):032x}"
        self.method = method
        self.path, _, self.query = target.partition("?")
        values: dict[str, list[str]] = {}  # of the headers, names in lower case
        self.size = len(target)  # bytes of path, query and headers
        for name, value in fields:
            self.size += len(name) + len(value)
            key, text = name.decode("ascii").lower(), value.decode("latin-1")
            values.setdefault(key, []).append(text)
        self.headers = {key: ", ".join(texts) for key, texts in values.items()}  # RFC 9110
        self.body = b""
        self.address = ""  # the address of this machine that the caller used
        self.keep_alive = True  # the connection stays open
        self.refusal: Refusal | None = None  # why it was not read completely
        self.gave_up = False  # the caller closed the connection before the response
        self.operation: str | None = None  # the operationId, once it is known
        self.near: Operation | None = None  # an operation with this path and another method

    @property
    def target(self) -> str:
        """Path and query as received."""
        return f"{self.path}?{self.query}" if self.query else self.path
