"""How an answer is put on the wire, well or badly. The rest of the mock knows nothing of sockets."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from random import Random
from typing import Any, Literal, NamedTuple, TypeAlias, cast

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Reply: TypeAlias = Literal["truncated", "garbage", "not-http", "drip"]

TRANSPORT = "huaweicloud_retry.transport"
"""The ASGI extension under which the server hands over the connection, for what no HTTP server does by itself."""


class Encoded(NamedTuple):
    """An answer in bytes."""

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes


class Wire:
    """The way back to whoever asked.

    Args:
        scope: of the request, as ASGI has it, like the other two.
        receive: gives the body, and says when the connection is gone.
        send: takes the answer.
    """

    __slots__ = ("_scope", "_send", "receive")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self.receive = receive
        self._send = send

    async def put(self, answer: Encoded) -> None:
        """Send an answer as it should be."""
        await self._send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await self._send({"type": "http.response.body", "body": answer.content})

    async def pause(self, seconds: float) -> bool:
        """Wait, but not for a caller who is gone; returns whether it is. The body must have been read."""
        try:
            async with asyncio.timeout(seconds):
                await self._disconnected()
        except TimeoutError:
            return False
        return True

    async def hang_up(self) -> None:
        """Close the connection after what was sent so far, and wait until it is closed."""
        self._transport.close()
        await self._disconnected()

    async def spoil(self, answer: Encoded, reply: Reply, seconds: float, chance: Random) -> None:
        """Send an answer as it should not be.

        Args:
            answer: the good one.
            reply: `truncated`: half of the body that Content-Length promises, and the end of the connection. `garbage`: a
                body of the same length that is no text. `not-http`: what begins no HTTP answer, and the end. `drip`:
                byte by byte.
            seconds: that a drip takes.
            chance: where garbage comes from.
        """
        status, headers, content = answer
        match reply:
            case "truncated":
                await self._send({"type": "http.response.start", "status": status, "headers": headers})
                half = content[: len(content) // 2]
                await self._send({"type": "http.response.body", "body": half, "more_body": True})
                await self.hang_up()
            case "garbage":
                await self.put(Encoded(status, headers, b"\xff" + chance.randbytes(len(content))[1:]))
            case "not-http":
                self._transport.write(b"\xff" + chance.randbytes(255))
                await self.hang_up()
            case "drip":
                await self._send({"type": "http.response.start", "status": status, "headers": headers})
                for byte in content:
                    if await self.pause(seconds / len(content)):
                        return
                    await self._send({"type": "http.response.body", "body": bytes((byte,)), "more_body": True})
                await self._send({"type": "http.response.body", "body": b""})

    async def _disconnected(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    @property
    def _transport(self) -> asyncio.Transport:
        return cast("asyncio.Transport", self._scope["extensions"][TRANSPORT])
