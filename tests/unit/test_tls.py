"""The generated client over real TLS, to a server on the loopback interface with a CA of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from huaweicloud_retry import Resend, TokenAuth, connect
from huaweicloud_retry_client import APIConnectionError, Client, InternalServerError

if TYPE_CHECKING:
    from tests.unit.conftest import Answering, Operation, World


class Handler(BaseHTTPRequestHandler):
    """Knows both operations, and closes after each answer."""

    def do_PUT(self) -> None:
        server = self.server
        assert isinstance(server, TlsServer)
        server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        body = b'{"task_id":"t1","id":"e1","name":"engine one","jobId":18638}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT  # noqa: N815 - as the base class wants it

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """Nobody reads it."""


class TlsServer(ThreadingHTTPServer):
    """Shakes hands in the connection's own thread; `asked` are the bodies that came, `refused` why hands were not shaken."""

    daemon_threads = False  # so that closing waits for them

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[Any] = []
        self.refused: list[str] = []
        self._context = context

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(10)
        wrapped = self._context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        try:
            wrapped.do_handshake()
        except OSError as error:
            self.refused.append(str(error))
            # Read until the client goes: closing on what it still sends would reset the connection, and a reset may
            # overtake the alert that says why.
            with socket.socket(fileno=wrapped.detach()) as plain, contextlib.suppress(OSError):
                plain.settimeout(10)
                while plain.recv(4096):
                    pass
            return
        with wrapped:
            super().finish_request(wrapped, client_address)


Serving = Callable[..., contextlib.AbstractContextManager[TlsServer]]


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def serving(ca: trustme.CA) -> Serving:
    """Start a server with a certificate of the CA; `clients` is the CA of the client certificates that it insists on."""

    @contextlib.contextmanager
    def serve(
        host: str = "127.0.0.1",
        *,
        clients: trustme.CA | None = None,
        newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
        **certificate: Any,
    ) -> Iterator[TlsServer]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = newest
        ca.issue_cert(host, **certificate).configure_cert(context)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            clients.configure_trust(context)
        with TlsServer(context) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield server
            finally:
                server.shutdown()
                thread.join()

    return serve


def trusting(ca: trustme.CA, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """A context such as a user makes for a CA, and perhaps a client certificate, of their own."""
    context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    if certificate:
        certificate.configure_cert(context)
    return context


def directly(url: str, context: ssl.SSLContext | None) -> Client:
    return Client(url, verify=context or True)


def by_connect(url: str, context: ssl.SSLContext | None) -> Client:
    return connect("cse", endpoint=url, credentials=TokenAuth("t"), verify=context, resend=Resend(initial_backoff=0))


Made = Callable[[str, "ssl.SSLContext | None"], Client]


@pytest.fixture(params=[directly, by_connect])
def made(request: pytest.FixtureRequest) -> Made:
    """Both ways to a client, which have connections of different makes."""
    made: Made = request.param
    return made


def refused(
    world: World, operation: Operation, made: Made, url: str, context: ssl.SSLContext | None
) -> APIConnectionError:
    error = world.error(operation, made(url, context))
    assert type(error) is APIConnectionError
    return error


# ---- the server's certificate


def test_a_ca_of_ones_own_by_verify(
    world: World, operation: Operation, made: Made, serving: Serving, ca: trustme.CA
) -> None:
    with serving() as server:
        answer = world.call(operation, made(server.url, trusting(ca)))
    assert answer.to_dict().items() >= operation.answer.items()
    assert server.asked == [operation.arguments["body"].to_dict()]


def test_a_ca_of_ones_own_by_the_environment(serving: Serving, ca: trustme.CA, tmp_path: Path) -> None:
    code = """
import asyncio, sys
from huaweicloud_retry import TokenAuth, connect
from huaweicloud_retry_client import APIConnectionError, Client
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest

async def call(client):
    async with client:
        return await retry_engine.asyncio("p1", "e1", client=client, body=EngineActionRequest())

try:
    with Client(sys.argv[1]) as client:
        print(retry_engine.sync("p1", "e1", client=client, body=EngineActionRequest()).job_id)
    print(asyncio.run(call(Client(sys.argv[1]))).job_id)
    with connect("cse", endpoint=sys.argv[1], credentials=TokenAuth("t")) as client:
        print(retry_engine.sync("p1", "e1", client=client, body=EngineActionRequest()).job_id)
    print(asyncio.run(call(connect("cse", endpoint=sys.argv[1], credentials=TokenAuth("t")))).job_id)
except APIConnectionError as error:
    print(error)
"""
    good, other = tmp_path / "ca.pem", tmp_path / "other.pem"
    ca.cert_pem.write_to_path(good)
    trustme.CA().cert_pem.write_to_path(other)
    with serving() as server:
        printed = [
            subprocess.run(
                [sys.executable, "-c", code, server.url],
                env={**os.environ, "SSL_CERT_FILE": str(file)},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for file in (good, other)
        ]
    assert printed[0] == "18638\n" * 4
    assert "certificate verify failed" in printed[1]


def test_another_ca_is_refused(world: World, operation: Operation, made: Made, serving: Serving) -> None:
    with serving() as server:
        error = refused(world, operation, made, server.url, trusting(trustme.CA()))
    assert "certificate verify failed: unable to get local issuer certificate" in str(error)
    assert error.outcome_unknown is False
    assert str(error).endswith("; nothing was sent")
    assert server.asked == []


def test_the_cas_of_the_machine_do_not_know_ours(
    world: World, operation: Operation, made: Made, serving: Serving
) -> None:
    with serving() as server:
        error = refused(world, operation, made, server.url, None)
    assert "certificate verify failed" in str(error)
    assert error.outcome_unknown is False
    assert server.asked == []


def test_an_expired_certificate_is_refused(
    world: World, operation: Operation, made: Made, serving: Serving, ca: trustme.CA
) -> None:
    with serving(not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2021, 1, 1, tzinfo=UTC)) as server:
        error = refused(world, operation, made, server.url, trusting(ca))
    assert "certificate verify failed: certificate has expired" in str(error)
    assert error.outcome_unknown is False
    assert server.asked == []


@pytest.mark.parametrize(
    ("certified", "called", "reason"),
    [
        ("cse.cn-north-4.myhuaweicloud.com", "127.0.0.1", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ("127.0.0.1", "localhost", "Hostname mismatch, certificate is not valid for 'localhost'"),
    ],
)  # fmt: skip
def test_another_host_name_is_refused(
    world: World,
    operation: Operation,
    made: Made,
    serving: Serving,
    ca: trustme.CA,
    certified: str,
    called: str,
    reason: str,
) -> None:
    with serving(certified) as server:
        error = refused(world, operation, made, server.url.replace("127.0.0.1", called), trusting(ca))
    assert reason in str(error)
    assert error.outcome_unknown is False
    assert server.asked == []


def test_a_server_that_is_too_old_is_refused(
    world: World, operation: Operation, made: Made, serving: Serving, ca: trustme.CA
) -> None:
    context = trusting(ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with serving(newest=ssl.TLSVersion.TLSv1_2) as server:
        error = refused(world, operation, made, server.url, context)
    assert "alert protocol version" in str(error)
    assert error.outcome_unknown is False
    assert server.asked == []


def test_verify_false_takes_any_certificate(world: World, operation: Operation, serving: Serving) -> None:
    with serving("other.example.com") as server:
        world.call(operation, Client(server.url, verify=False))
    assert len(server.asked) == 1


# ---- the client's certificate

VERSIONS = pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


@VERSIONS
def test_a_client_certificate_by_verify(
    world: World, operation: Operation, made: Made, serving: Serving, ca: trustme.CA, newest: ssl.TLSVersion
) -> None:
    clients = trustme.CA()
    with serving(clients=clients, newest=newest) as server:
        world.call(operation, made(server.url, trusting(ca, clients.issue_cert("me@example.com"))))
    assert (len(server.asked), server.refused) == (1, [])


# In TLS 1.2 the server refuses within the handshake. In 1.3 the client's part of it is over before the server has looked
# at the certificate: the request is on its way when the refusal comes, and looks like any other connection that broke.
# The server's thread surely did not act, but nobody on this side can know: what refuses may as well stand behind it.
@VERSIONS
@pytest.mark.parametrize("of_another_ca", [False, True], ids=["none", "of another CA"])
def test_without_the_client_certificate_the_refusal_is_reported(
    world: World,
    operation: Operation,
    made: Made,
    serving: Serving,
    ca: trustme.CA,
    newest: ssl.TLSVersion,
    *,
    of_another_ca: bool,
) -> None:
    certificate = trustme.CA().issue_cert("me@example.com") if of_another_ca else None
    with serving(clients=trustme.CA(), newest=newest) as server:
        error = refused(world, operation, made, server.url, trusting(ca, certificate))
    assert len(server.refused) == 1
    assert server.asked == []
    missing = "handshake failure" if newest == ssl.TLSVersion.TLSv1_2 else "certificate required"
    assert f"alert {'unknown ca' if of_another_ca else missing}" in str(error)
    assert error.outcome_unknown is (newest == ssl.TLSVersion.TLSv1_3)


# ---- in the middle of an answer


def test_a_body_that_tls_breaks_off_leaves_the_typed_error_of_the_status(
    world: World, operation: Operation, answering: type[Answering], lazy_stream: type[Any]
) -> None:
    stream = lazy_stream([b'{"error_code":'], failure=ssl.SSLError(1, "[SSL: SSLV3_ALERT_BAD_RECORD_MAC] bad record"))
    error = world.error(operation, Client("https://127.0.0.1", transport=answering(500, stream=stream)))
    assert type(error) is InternalServerError
    assert "cannot be read" in str(error.response.problem)
    assert stream.closed
