"""A request, as far as all of the mock needs it."""

from .wire import Scope


class Request:
    """A request; its body is read only once it is known to be wanted."""

    __slots__ = ("body", "gave_up", "headers", "id", "method", "operation", "path", "query", "size")

    def __init__(self, scope: Scope, id_: str) -> None:
        raw_path: bytes = scope["raw_path"]
        raw_query: bytes = scope["query_string"]
        self.id = id_
        self.method: str = scope["method"]
        self.path = raw_path.decode("ascii")
        self.query = raw_query.decode("ascii")
        self.headers: dict[str, str] = {}
        """Names in small letters; one sent more than once is joined, as HTTP has it."""
        self.size = len(raw_path) + len(raw_query)
        """Bytes, of what comes before the body."""
        for name, value in scope["headers"]:
            self.size += len(name) + len(value)
            key, text = name.decode("ascii"), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text
        self.body = b""
        self.gave_up = False
        """The caller hung up before there was an answer."""
        self.operation: str | None = None
        """The ID of the operation, once it is known."""

    @property
    def target(self) -> str:
        """Path and query as they arrived."""
        return f"{self.path}?{self.query}" if self.query else self.path
