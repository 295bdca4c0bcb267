"""A request, as far as all of the mock needs it."""

from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huaweicloud_retry.contract import Operation

    from .answer import Refusal

_ids = Random()  # noqa: S311 - of requests: no secrets


class Request:
    """A request, from its method, its path with query, percent-encoded, and its header fields."""

    def __init__(self, method: str, target: str, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.id = f"{_ids.getrandbits(128):032x}"
        self.method = method
        self.path, _, self.query = target.partition("?")
        values: dict[str, list[str]] = {}  # of the headers, names in lower case
        self.size = len(target)  # bytes, of what comes before the body
        for name, value in fields:
            self.size += len(name) + len(value)
            key, text = name.decode("ascii").lower(), value.decode("latin-1")
            values.setdefault(key, []).append(text)
        self.headers = {key: ", ".join(texts) for key, texts in values.items()}  # as HTTP has it
        self.body = b""
        self.address = ""  # of this machine, at which it arrived
        self.keep_alive = True  # the connection serves another one after this
        self.refusal: Refusal | None = None  # why it was not read to its end
        self.gave_up = False  # the caller hung up before there was a response
        self.operation: str | None = None  # the ID of the operation, once it is known
        self.near: Operation | None = None  # one that has the path, but another method

    @property
    def target(self) -> str:
        """Path and query as they arrived."""
        return f"{self.path}?{self.query}" if self.query else self.path
