"""The generated client over real TLS, to a server on the loopback interface with a CA of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
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

from huaweicloud_retry_client import APIConnectionError, Client, InternalServerError

if TYPE_CHECKING:
    from tests.unit.conftest import Answering, Operation, World


class Handler(BaseHTTPRequestHandler):
    """Responds to both operations, and closes after each response."""

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
        """Print nothing."""


class TlsServer(ThreadingHTTPServer):
    """`asked` are the bodies of the requests, `refused` why handshakes failed."""

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


def called(world: World, operation: Operation, url: str, verify: Any) -> Any:
    return world.call(operation, Client(url, verify=verify))


def refused(world: World, operation: Operation, url: str, verify: Any) -> APIConnectionError:
    error = world.error(operation, Client(url, verify=verify))
    assert type(error) is APIConnectionError
    return error


# ---- the server's certificate


@pytest.mark.parametrize("kind", ["context", "path", "folder", "False"])
def test_verify_says_which_certificates_are_accepted(
    world: World, operation: Operation, serving: Serving, ca: trustme.CA, tmp_path: Path, kind: str
) -> None:
    file, folder = tmp_path / "ca.pem", tmp_path / "cas"
    folder.mkdir()
    ca.cert_pem.write_to_path(file)
    digest = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", file], check=True, capture_output=True, text=True
    )
    ca.cert_pem.write_to_path(folder / f"{digest.stdout.strip()}.0")
    verify = {"context": trusting(ca), "path": file, "folder": str(folder), "False": False}[kind]
    with serving("127.0.0.1" if verify else "other.example.com") as server:
        response = called(world, operation, server.url, verify)
    assert response.to_dict().items() >= operation.answer.items()
    assert server.asked == [operation.arguments["body"].to_dict()]


def test_ssl_cert_file_says_which_cas_are_accepted(serving: Serving, ca: trustme.CA, tmp_path: Path) -> None:
    code = """
import asyncio, sys
from huaweicloud_retry import APIConnectionError, TokenAuth, connect
from huaweicloud_retry_client.api.cse import retry_engine
from huaweicloud_retry_client.models import EngineActionRequest

client, body = connect("cse", endpoint=sys.argv[1], credentials=TokenAuth("t")), EngineActionRequest()
try:
    print(retry_engine.sync("p1", "e1", client=client, body=body).job_id)
    print(asyncio.run(retry_engine.asyncio("p1", "e1", client=client, body=body)).job_id)
except APIConnectionError as error:
    print(error)
"""
    ca.cert_pem.write_to_path(tmp_path / "good.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with serving() as server:
        for name, printed in (("good", "18638\n18638\n"), ("other", "certificate verify failed")):
            environment = {**os.environ, "SSL_CERT_FILE": str(tmp_path / f"{name}.pem")}
            command = [sys.executable, "-c", code, server.url]
            ran = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            assert printed in ran.stdout


@pytest.mark.parametrize(
    ("certificate", "host", "reason"),
    [
        ({}, "127.0.0.1", "unable to get local issuer certificate"),
        ({"not_before": datetime(2020, 1, 1, tzinfo=UTC), "not_after": datetime(2021, 1, 1, tzinfo=UTC)}, "127.0.0.1", "expired"),
        ({"host": "cse.cn-north-4.myhuaweicloud.com"}, "127.0.0.1", "IP address mismatch, .* not valid for '127.0.0.1'"),
        ({}, "localhost", "Hostname mismatch, certificate is not valid for 'localhost'"),
        ({"newest": ssl.TLSVersion.TLSv1_2}, "127.0.0.1", "alert protocol version"),
    ],
    ids=["unknown CA", "expired", "another address", "another name", "TLS 1.2"],
)  # fmt: skip
def test_a_server_that_cannot_be_trusted_gets_no_request(
    world: World,
    operation: Operation,
    serving: Serving,
    ca: trustme.CA,
    certificate: Any,
    host: str,
    reason: str,
) -> None:
    context = trusting(trustme.CA() if "issuer" in reason else ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if "newest" in certificate else context.minimum_version
    with serving(**certificate) as server:
        for verify in (context, True) if "issuer" in reason else (context,):
            error = refused(world, operation, server.url.replace("127.0.0.1", host), verify)
            assert re.search(f"{reason}.*; nothing was sent$", str(error))
            assert error.outcome_unknown is False
    assert server.asked == []


# ---- the client's certificate

VERSIONS = pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


@VERSIONS
def test_a_client_certificate_by_verify(
    world: World, operation: Operation, serving: Serving, ca: trustme.CA, newest: ssl.TLSVersion
) -> None:
    clients = trustme.CA()
    with serving(clients=clients, newest=newest) as server:
        called(world, operation, server.url, trusting(ca, clients.issue_cert("me@example.com")))
    assert (len(server.asked), server.refused) == (1, [])


# In TLS 1.2 the server refuses within the handshake. In 1.3 the client's part of it is over before the server has looked
# at the certificate: the request is on its way when the refusal comes, as with any other connection that breaks.
@VERSIONS
@pytest.mark.parametrize("of_another_ca", [False, True], ids=["none", "of another CA"])
def test_without_the_client_certificate_the_refusal_is_reported(
    world: World,
    operation: Operation,
    serving: Serving,
    ca: trustme.CA,
    newest: ssl.TLSVersion,
    *,
    of_another_ca: bool,
) -> None:
    certificate = trustme.CA().issue_cert("me@example.com") if of_another_ca else None
    with serving(clients=trustme.CA(), newest=newest) as server:
        error = refused(world, operation, server.url, trusting(ca, certificate))
    assert len(server.refused) == 1
    assert server.asked == []
    missing = "handshake failure" if newest == ssl.TLSVersion.TLSv1_2 else "certificate required"
    assert f"alert {'unknown ca' if of_another_ca else missing}" in str(error)
    assert error.outcome_unknown is (newest == ssl.TLSVersion.TLSv1_3)


# ---- within a response


def test_a_body_that_tls_breaks_off_leaves_the_typed_error_of_the_status(
    world: World, operation: Operation, answering: type[Answering], lazy_stream: type[Any]
) -> None:
    stream = lazy_stream([b'{"error_code":'], failure=ssl.SSLError(1, "[SSL: SSLV3_ALERT_BAD_RECORD_MAC] bad record"))
    error = world.error(operation, Client("https://127.0.0.1", transport=answering(500, stream=stream)))
    assert type(error) is InternalServerError
    assert "cannot be read" in str(error.response.problem)
    assert stream.closed
