"""The floor under every figure of calls: a server that responds to each request with the same bytes.

`python floor.py PORT [SECONDS]`, after which it responds.
"""

import asyncio
import sys
from typing import cast

import uvloop

# That of both operations.
BODY = (
    b'{"id": "engine-1", "name": "cse-gve7lg", "jobId": 18638, "task_id": "0000000059071dbc01591661d3990019"}'
)
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)


class Floor(asyncio.Protocol):
    """Looks for the end of the headers and for Content-Length, and at nothing else."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own kind is none by name
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, rest = self.received.partition(b"\r\n\r\n")
        if found:
            length = int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0] or 0)
            if len(rest) >= length:
                self.received = rest[length:]
                if self.seconds:
                    asyncio.get_running_loop().call_later(self.seconds, self.transport.write, RESPONSE)
                else:
                    self.transport.write(RESPONSE)


async def main(port: int, seconds: float = 0) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: Floor(seconds), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), *map(float, sys.argv[2:])))
