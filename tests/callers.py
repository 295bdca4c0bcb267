"""Calls of both operations, sync and async, and what responds: a transport in the process, or a server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import httpx
import pytest

from huaweicloud_retry.parsing import read_yaml
from huaweicloud_retry_client import Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.api.workspace import retry_script_execution
from huaweicloud_retry_client.models import (
    EngineActionRequest,
    EngineActionResponse,
    RetryScriptExecutionRequest,
    RetryScriptExecutionResponse,
)

SPEC: Any = read_yaml((Path(__file__).parents[1] / "openapi.yaml").read_bytes())


@dataclass(frozen=True)
class Operation:
    """An operation of the contract, arguments that it takes, and what it then sends and gets."""

    name: str
    module: ModuleType
    arguments: Mapping[str, Any]
    method: str
    path: str
    model: type[Any]
    result: Mapping[str, Any]


OPERATIONS = {
    each.name: each
    for each in (
        Operation(
            name="RetryScriptExecution",
            module=retry_script_execution,
            arguments={"project_id": "p1", "body": RetryScriptExecutionRequest(record_id="r1")},
            method="POST",
            path="/v2/p1/script-executions/retry",
            model=RetryScriptExecutionResponse,
            result={"task_id": "t1"},
        ),
        Operation(
            name="RetryEngine",
            module=retry_engine,
            arguments={"project_id": "p1", "engine_id": "e1", "body": EngineActionRequest()},
            method="PUT",
            path="/v2/p1/enginemgr/engines/e1/actions",
            model=EngineActionResponse,
            result={"id": "e1", "name": "engine one", "jobId": 18638},
        ),
    )
}
ENGINE = OPERATIONS["RetryEngine"]  # where only the runtime decides, one operation suffices
# A good response to either operation.
ACCEPTED = b'{"task_id":"t1","id":"e1","name":"engine one","jobId":18638}'
LOCAL = "http://127.0.0.1"
SECRET = "s3cret-canary"
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER: closing resets


Changes = Mapping[str, Any]
"""Arguments in place of those of the operation."""


@dataclass(frozen=True)
class Caller:
    """`sync` or `asyncio`. Each method closes the client and returns what the operation returned."""

    name: str

    def call(self, operation: Operation, client: Client, **changes: Any) -> Any:
        """Call `sync` or `asyncio`."""
        return self.calls(operation, client, changes)[0]

    def detailed(self, operation: Operation, client: Client, **changes: Any) -> Any:
        """Call `sync_detailed` or `asyncio_detailed`."""
        return self.calls(operation, client, changes, function="_detailed")[0]

    def error(self, operation: Operation, client: Client, **changes: Any) -> Any:
        """Call, and return what it raises."""
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each test says what it expects
            self.call(operation, client, **changes)
        return caught.value

    def calls(self, operation: Operation, client: Client, *changes: Changes, function: str = "") -> list[Any]:
        """Call once for each set of changed arguments, one after the other, with the same client."""
        do = getattr(operation.module, self.name + function)
        arguments = [{**operation.arguments, **change, "client": client} for change in changes]
        if self.name == "sync":
            with client:
                return [do(**each) for each in arguments]

        async def run() -> list[Any]:
            async with client:
                return [await do(**each) for each in arguments]

        return asyncio.run(run())


@dataclass
class LazyBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body, sync and async, made while it is read; `read` counts the chunks that were taken."""

    chunks: Iterable[bytes]
    failure: Exception | None = None
    read: int = 0
    closed: bool = False

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.read += 1
            yield chunk
        if self.failure:
            raise self.failure

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


class Token(httpx.Auth):
    """Adds a header, with the next of several values for each request."""

    def __init__(self, *values: str, header: str = "X-Auth-Token") -> None:
        self._values = iter(values)
        self._header = header

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers[self._header] = next(self._values)
        yield request


Headers = Mapping[str, str] | Sequence[tuple[bytes, bytes]]


@dataclass
class FixedResponse(httpx.MockTransport):
    """A transport with the same response to every request, unread as from a network."""

    status: int = 200
    content: bytes = b""
    headers: Headers = field(default_factory=dict[str, str])
    failure: Exception | None = None
    stream: LazyBody | None = None
    requests: list[httpx.Request] = field(default_factory=list)
    closed: int = 0

    def __post_init__(self) -> None:
        super().__init__(self._respond)

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.failure:
            raise self.failure
        stream = self.stream or LazyBody([self.content])
        return httpx.Response(self.status, headers=self.headers, stream=stream)

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


@dataclass(frozen=True)
class Request:
    """A request as it came over the wire."""

    line: bytes
    headers: list[bytes]
    body: bytes

    def header(self, name: str) -> list[bytes]:
        pairs = (line.split(b": ", 1) for line in self.headers)
        return [value for key, value in pairs if key.lower() == name.lower().encode()]


class LoopbackServer:
    """A real socket on the loopback interface that keeps its requests and responds with the bytes given, or made.

    Without `keep_open` it closes the connection after a response, with `reset` by a reset. `response=None`: there is
    none. After the response it sends each byte of `drip` by itself, 10 ms apart.
    """

    def __init__(
        self,
        response: bytes | Callable[[Request], bytes] | None,
        *,
        keep_open: bool = False,
        reset: bool = False,
        drip: bytes = b"",
    ) -> None:
        self.requests: list[Request] = []
        self.asked, self.responded = threading.Event(), threading.Event()
        self._response = response
        self._keep_open = keep_open
        self._reset = reset
        self._drip = drip
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._port: int = self._listener.getsockname()[1]
        self._stop = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def connections(self) -> int:
        """How many were opened so far."""
        return len(self._open)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End every connection and wait until that is done."""
        if self._stop.is_set():
            return
        self._stop.set()
        socket.create_connection(("127.0.0.1", self._port)).close()  # wakes accept()
        self._threads[0].join()
        for connection, thread in zip(self._open, self._threads[1:], strict=True):
            with contextlib.suppress(OSError):  # the client has closed it
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._stop.is_set():
                connection.close()
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with (
            connection,
            connection.makefile("rb") as stream,
            contextlib.suppress(OSError),
        ):  # the client may go away
            while line := stream.readline():
                self._one(connection, line, stream)
                if not self._keep_open:
                    break

    def _one(self, connection: socket.socket, line: bytes, stream: Any) -> None:
        headers = [raw.rstrip(b"\r\n") for raw in takewhile(lambda raw: raw.strip(), stream)]
        length = sum(int(raw.split(b":")[1]) for raw in headers if raw.lower().startswith(b"content-length:"))
        self.requests.append(Request(line.rstrip(b"\r\n"), headers, stream.read(length)))
        self.asked.set()
        if self._response is None:
            self._stop.wait(60)  # or a client without a timeout would wait for ever
        else:
            made = self._response(self.requests[-1]) if callable(self._response) else self._response
            connection.sendall(made)
            self.responded.set()
            if self._reset:  # with what closes the connection
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            for byte in self._drip:
                if self._stop.wait(0.01):
                    break
                connection.sendall(bytes([byte]))


def raw_response(status: int, body: bytes, *headers: str) -> bytes:
    """A response as it goes over the wire."""
    lines = [
        f"HTTP/1.1 {status} Status",
        f"Content-Length: {len(body)}",
        "Content-Type: application/json",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
