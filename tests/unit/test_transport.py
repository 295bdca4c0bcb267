"""What carries the requests: each call has a connection of its own, and whatever becomes of it, there is one for the next."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import httpx
import pytest
import trustme
import uvloop

from huaweicloud_retry.testing import Mock, mock_server
from huaweicloud_retry.transport import Transport, core

ACTIONS = "/v2/demo-project/enginemgr/engines/e/actions"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

T = TypeVar("T")
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a thread that need not be waited for."""
    return await anyio.to_thread.run_sync(function, *arguments, limiter=anyio.CapacityLimiter(1))


class InThreads(httpx.AsyncBaseTransport):
    """Our synchronous side, each request and each read of a body in a thread, so that one test holds both worlds."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await in_thread(self._transport.handle_request, request)
        assert isinstance(answer.stream, httpx.SyncByteStream)
        answer.stream = BodyInThreads(answer.stream)
        return answer

    async def aclose(self) -> None:
        self._transport.close()


class BodyInThreads(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = iter(self._stream)
        while (part := await in_thread(lambda: next(parts, None))) is not None:
            yield part

    async def aclose(self) -> None:
        await in_thread(self._stream.close)


@dataclass
class World:
    name: str

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if self.name == "uvloop" else None) as runner:
            runner.run(work)

    def client(self, url: str, tls: ssl.SSLContext | None = None, **settings: float) -> httpx.AsyncClient:
        ours = Transport(lambda: tls or context())
        transport = InThreads(ours) if self.name == "threads" else ours
        return httpx.AsyncClient(transport=transport, base_url=url, timeout=httpx.Timeout(30, **settings))


@pytest.fixture(params=["asyncio", "uvloop", "threads"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.fixture(params=["asyncio", "uvloop"])
def tasks(request: pytest.FixtureRequest) -> World:
    """Those worlds in which a call can be cancelled."""
    return World(request.param)


@pytest.fixture
def mock() -> Iterator[Mock]:
    with mock_server() as mock:
        yield mock


@contextlib.asynccontextmanager
async def peer(each: Peer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve each connection by a function of the test's own; yields the URL."""
    writers: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await each(reader, writer)
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        tasks.append(asyncio.create_task(serve(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls, limit=1 << 26) as server:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*tasks)


async def asked(reader: asyncio.StreamReader) -> bytes:
    """Read the head of a request."""
    return await reader.readuntil(b"\r\n\r\n")


class Answering:
    """A peer that answers with the same bytes; `connections` is how many there were, `ended` how many the client has closed."""

    def __init__(self, answer: bytes = ANSWER, answers: int | None = None) -> None:
        self.connections = self.ended = 0
        self._answer = answer
        self._answers = answers

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for _ in count() if self._answers is None else range(self._answers):
            try:
                await asked(reader)
                writer.write(self._answer)
                await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                self.ended += 1
                return


async def turns(number: int = 100) -> None:
    """Let the event loop turn: what was sent over the loopback interface is there at the next turn."""
    for _ in range(number):
        await asyncio.sleep(0)


async def get(client: httpx.AsyncClient, path: str = "/_mock/health") -> int:
    return (await client.get(path)).status_code


def test_one_after_the_other_share_a_connection_and_those_at_once_do_not(world: World) -> None:
    async def calls() -> None:
        answering = Answering()
        async with peer(answering) as url, world.client(url) as client:
            for _ in range(5):
                assert await get(client) == 200
            assert answering.connections == 1
            assert await asyncio.gather(*(get(client) for _ in range(250))) == [200] * 250
            assert 1 < answering.connections <= 100

    world.run(calls())


def test_another_host_has_connections_of_its_own(world: World) -> None:
    async def calls() -> None:
        one, other = Answering(), Answering()
        async with peer(one) as url, peer(other) as other_url, world.client(url) as client:
            for _ in range(3):
                assert await get(client) == await get(client, other_url) == 200
            assert (one.connections, other.connections) == (1, 1)

    world.run(calls())


def test_with_all_connections_taken_a_call_waits_and_no_longer_than_it_may(
    mock: Mock, monkeypatch: pytest.MonkeyPatch, tasks: World
) -> None:
    monkeypatch.setattr(core, "MOST", 2)
    mock.add_fault(operation="RetryEngine", delay=3600)

    async def calls() -> None:
        async with tasks.client(mock.url, pool=0.05) as client:
            slow = [asyncio.create_task(client.put(ACTIONS)) for _ in range(2)]

            async def until_both_have_theirs() -> None:
                while True:
                    await get(client)

            with pytest.raises(httpx.PoolTimeout, match=r"no connection of 2 became free in 0\.05 s"):
                await until_both_have_theirs()
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            assert [await get(client) for _ in range(3)] == [200] * 3

    tasks.run(calls())


def test_a_call_that_waits_for_a_connection_gets_the_next_that_becomes_free(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    monkeypatch.setattr(core, "MOST", 1)

    async def calls() -> None:
        answering = Answering()
        async with peer(answering) as url, world.client(url) as client:
            assert await asyncio.gather(*(get(client) for _ in range(20))) == [200] * 20
        assert answering.connections == 1

    world.run(calls())


@pytest.mark.parametrize("spoilt", ["truncated", "not-http", "drip"])
def test_a_connection_that_failed_is_replaced(
    mock: Mock, monkeypatch: pytest.MonkeyPatch, spoilt: str, world: World
) -> None:
    monkeypatch.setattr(core, "MOST", 1)
    mock._ask("POST", "faults", json={"reply": spoilt, "seconds": 3600} if spoilt == "drip" else {"reply": spoilt})
    failure = httpx.ReadTimeout if spoilt == "drip" else httpx.RemoteProtocolError

    async def calls() -> None:
        async with world.client(mock.url, read=0.5, pool=30) as client:
            for _ in range(3):
                with pytest.raises(failure):
                    await client.put(ACTIONS)
                assert await get(client) == 200

    world.run(calls())


def test_a_cancelled_call_gives_its_place_back_but_not_its_connection(
    monkeypatch: pytest.MonkeyPatch, tasks: World
) -> None:
    monkeypatch.setattr(core, "MOST", 1)

    async def calls() -> None:
        arrived = asyncio.Event()

        async def silent_at_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asked(reader)
            if arrived.is_set():
                writer.write(ANSWER)
            arrived.set()
            assert await reader.read() == b""  # the client has closed it

        async with peer(silent_at_first) as url, tasks.client(url) as client:
            call = asyncio.create_task(get(client))
            await arrived.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await get(client) == 200

    tasks.run(calls())


@pytest.mark.parametrize("connections_before", [0, 1])
def test_wherever_a_call_is_cancelled_its_place_is_free_again_and_its_connection_closed(
    monkeypatch: pytest.MonkeyPatch, tasks: World, connections_before: int
) -> None:
    monkeypatch.setattr(core, "MOST", 1)

    async def calls() -> None:
        for turn in range(25):
            answering = Answering()
            async with peer(answering) as url, tasks.client(url) as client:
                for _ in range(connections_before):
                    assert await get(client) == 200
                call = asyncio.create_task(get(client))
                await turns(turn)
                call.cancel()
                await asyncio.wait([call])
                assert await get(client) == 200
                await turns()
                assert answering.connections - answering.ended == 1

    tasks.run(calls())


def test_a_body_left_unread_gives_the_place_back(mock: Mock, monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr(core, "MOST", 1)

    async def calls() -> None:
        async with world.client(mock.url, pool=30) as client:
            for _ in range(3):
                async with client.stream("GET", "/docs/swagger-ui-bundle.js") as answer:
                    assert answer.status_code == 200
            async with client.stream("GET", "/openapi.yaml") as answer:
                assert len([chunk async for chunk in answer.aiter_raw(1000)]) > 10

    world.run(calls())


def test_a_body_closed_twice_gives_its_place_back_once(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr(core, "MOST", 1)

    async def calls() -> None:
        async with peer(Answering()) as url, world.client(url, pool=0.05) as client:
            async with client.stream("GET", "/") as answer:
                assert isinstance(answer.stream, httpx.AsyncByteStream)
                await answer.stream.aclose()
            async with client.stream("GET", "/"):
                with pytest.raises(httpx.PoolTimeout):
                    await get(client)

    world.run(calls())


def test_a_connection_whose_closing_is_cancelled_is_closed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tasks: World
) -> None:
    monkeypatch.setattr(core, "MOST", 1)

    async def calls() -> None:
        answering = Answering()
        async with peer(answering) as url, tasks.client(url) as client:
            answer = await client.send(client.build_request("GET", "/"), stream=True)
            closing = asyncio.create_task(answer.aclose())
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            await turns()
            assert answering.ended == 1
            assert await get(client) == 200

    tasks.run(calls())


def test_an_idle_connection_that_the_peer_has_closed_is_not_used_again(world: World) -> None:
    async def calls() -> None:
        closes_after_one = Answering(answers=1)
        async with peer(closes_after_one) as url, world.client(url) as client:
            for n in range(1, 4):
                assert await get(client) == 200
                assert closes_after_one.connections == n
                await turns()

    world.run(calls())


def test_what_comes_on_an_idle_connection_is_no_answer_to_the_next_request(world: World) -> None:
    async def calls() -> None:
        may_talk = asyncio.Event()

        async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asked(reader)
            writer.write(ANSWER)
            await may_talk.wait()
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            await reader.read()

        async with peer(talkative) as url, world.client(url) as client:
            assert await get(client) == 200
            may_talk.set()
            await turns()
            assert await get(client) == 200

    world.run(calls())


def test_a_connection_idle_for_too_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr(core, "IDLE_FOR", 0.0)

    async def calls() -> None:
        answering = Answering()
        async with peer(answering) as url, world.client(url) as client:
            assert [await get(client) for _ in range(3)] == [200] * 3
            await turns()
            assert (answering.connections, answering.ended) == (3, 2)

    world.run(calls())


def test_closing_closes_what_is_idle(world: World) -> None:
    async def calls() -> None:
        ended = asyncio.Event()

        async def until_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await Answering(answers=1)(reader, writer)
            assert await reader.read() == b""
            ended.set()

        async with peer(until_the_end) as url:
            async with world.client(url) as client:
                assert await get(client) == 200
                assert not ended.is_set()
            await ended.wait()

    world.run(calls())


def test_nobody_listens(world: World) -> None:
    async def calls() -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        async with world.client(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(httpx.ConnectError, match=f"{port}|refused"):
                await get(client)

    world.run(calls())


def test_a_name_that_is_none_is_no_connection(world: World) -> None:
    async def calls() -> None:
        async with world.client(f"http://{'a' * 64}.invalid") as client:
            with pytest.raises(httpx.ConnectError):
                await get(client)

    world.run(calls())


def test_nobody_shakes_hands_in_time(world: World) -> None:
    async def calls() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            del writer
            await reader.read()

        async with peer(silent) as url, world.client(url.replace("http", "https"), connect=0.05) as client:
            with pytest.raises(
                httpx.ConnectTimeout, match=r"no connection within 0\.05 s|handshake operation timed out"
            ):
                await get(client)

    world.run(calls())


def test_no_answer_in_time(world: World) -> None:
    async def calls() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            del writer
            await reader.read()

        async with peer(silent) as url, world.client(url, read=0.05) as client:
            with pytest.raises(httpx.ReadTimeout):
                await get(client)

    world.run(calls())


def test_a_peer_that_takes_nothing(world: World) -> None:
    async def calls() -> None:
        done = asyncio.Event()

        async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            del reader
            writer.transport.pause_reading()  # type: ignore[attr-defined] # of a stream, it can
            await done.wait()

        async with peer(deaf) as url, world.client(url, write=0.05) as client:
            with pytest.raises(httpx.WriteTimeout):
                await client.put("/", content=b"x" * (1 << 25))
            done.set()

    world.run(calls())


def test_a_peer_that_goes_while_it_is_sent_to(world: World) -> None:
    async def calls() -> None:
        async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asked(reader)
            writer.transport.pause_reading()  # type: ignore[attr-defined] # of a stream, it can
            await turns()

        async with peer(gone) as url, world.client(url) as client:
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                await client.put("/", content=b"x" * (1 << 25))

    world.run(calls())


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", httpx.RemoteProtocolError),
        (ANSWER[:-1], httpx.RemoteProtocolError),
        (b"\x16\x03\x01 this is no HTTP\r\n\r\n", httpx.RemoteProtocolError),
    ],
)
def test_a_peer_that_ends_too_early(said: bytes, failure: type[Exception], world: World) -> None:
    async def calls() -> None:
        async with peer(Answering(said, answers=1)) as url, world.client(url) as client:
            with pytest.raises(failure):
                await get(client)

    world.run(calls())


def test_a_connection_that_is_reset(world: World) -> None:
    async def calls() -> None:
        async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asked(reader)
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # closing is resetting

        async with peer(reset) as url, world.client(url) as client:
            with pytest.raises(httpx.ReadError):
                await get(client)

    world.run(calls())


def test_an_answer_that_comes_before_all_was_sent_is_an_answer(world: World) -> None:
    async def calls() -> None:
        async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asked(reader)
            writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.write_eof()
            await reader.read(1)

        class Endless(httpx.AsyncByteStream, httpx.SyncByteStream):
            def __iter__(self) -> Iterator[bytes]:
                yield from (b"x" * (1 << 16) for _ in range(1000))

            async def __aiter__(self) -> AsyncIterator[bytes]:
                for part in self:
                    yield part
                    await asyncio.sleep(0)

        async with peer(hasty) as url, world.client(url) as client:
            request = client.build_request("PUT", "/", headers={"Transfer-Encoding": "chunked"})
            request.stream = Endless()
            assert (await client.send(request)).status_code == 413

    world.run(calls())


@pytest.mark.parametrize("size", [1 << 20, 10_000_000])
def test_a_long_body_arrives_as_it_was_sent(size: int, world: World) -> None:
    body = bytes(range(256)) * (size // 256)

    async def calls() -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        async with peer(Answering(answer)) as url, world.client(url) as client:
            for _ in range(3):
                assert (await client.get("/")).content == body

    world.run(calls())


def test_a_long_request_arrives_as_it_was_sent(world: World) -> None:
    body = bytes(range(256)) * 100_000

    async def calls() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asked(reader)
            came = await reader.readexactly(len(body))
            writer.write(b"HTTP/1.1 %d \r\nContent-Length: 0\r\n\r\n" % (200 if came == body else 400))
            await reader.read()

        async with peer(echo) as url, world.client(url) as client:
            assert (await client.put("/", content=body)).status_code == 200

    world.run(calls())


def test_a_body_that_nobody_reads_holds_up_the_peer(world: World) -> None:
    chunk, chunks = b"x" * (1 << 16), 1 << 10

    async def calls() -> None:
        sent = 0

        async def eager(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await asked(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(chunk) * chunks))
            for _ in range(chunks):
                writer.write(chunk)
                await writer.drain()
                sent += 1
            await reader.read()

        async with peer(eager) as url, world.client(url) as client, client.stream("GET", "/") as answer:
            await turns(10 * chunks)  # in which all of it could come
            assert sent < chunks
            assert sum([len(part) async for part in answer.aiter_raw()]) == len(chunk) * chunks

    world.run(calls())


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def test_it_speaks_tls_and_trusts_whom_the_context_trusts(authority: trustme.CA, world: World) -> None:
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(trusting)

    async def calls() -> None:
        answering = Answering()
        async with peer(answering, server) as url, world.client(url, trusting) as client:
            assert [await get(client) for _ in range(3)] == [200] * 3
            assert await asyncio.gather(*(get(client) for _ in range(20))) == [200] * 20
        async with peer(answering, server) as url, world.client(url) as client:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await get(client)

    world.run(calls())


def test_a_certificate_for_another_host_is_refused(authority: trustme.CA, world: World) -> None:
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context()
    authority.issue_cert("elsewhere.example").configure_cert(server)
    authority.configure_trust(trusting)

    async def calls() -> None:
        async with peer(Answering(), server) as url, world.client(url, trusting) as client:
            with pytest.raises(httpx.ConnectError, match=r"127\.0\.0\.1"):
                await get(client)

    world.run(calls())


def test_it_offers_http_1_1_only(authority: trustme.CA, world: World) -> None:
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context()
    server.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(trusting)
    chosen: list[Any] = []

    async def calls() -> None:
        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            chosen.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
            await Answering(answers=1)(reader, writer)

        async with peer(note, server) as url, world.client(url, trusting) as client:
            assert await get(client) == 200

    world.run(calls())
    assert chosen == ["http/1.1"]


def test_it_serves_the_synchronous_world_too(mock: Mock) -> None:
    with httpx.Client(transport=Transport(context), base_url=mock.url) as client:
        assert [client.get("/_mock/health").status_code for _ in range(3)] == [200] * 3
    Transport(context).close()  # unused


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_serves_both_kinds_of_event_loop(mock: Mock, backend: str) -> None:
    async def calls() -> None:
        async with World(backend).client(mock.url) as client, anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(get, client)
        await Transport(context).aclose()  # unused

    anyio.run(calls, backend=backend)
