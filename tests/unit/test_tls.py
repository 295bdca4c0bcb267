"""The client over TLS, to a server on the loopback interface with a CA of its own."""

import re
import ssl
import subprocess
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from huaweicloud_retry import APIConnectionError, APIError, ConfigurationError, TokenAuth, connect
from tests.connections import Mode, Server, client_of

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("newest", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
PAST = {"not_before": datetime(2020, 1, 1, tzinfo=UTC), "not_after": datetime(2021, 1, 1, tzinfo=UTC)}


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def server_of(
    ca: trustme.CA,
    host: str = "127.0.0.1",
    *,
    clients: trustme.CA | None = None,
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    **certificate: Any,
) -> Server:
    """Return a server with a certificate of the CA; `clients` is the CA of the client certificates that it requires."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    ca.issue_cert(host, **certificate).configure_cert(context)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        clients.configure_trust(context)
    return Server(tls=context)


def trusting(ca: trustme.CA, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """Return a context such as a user makes for a CA, and perhaps a client certificate, of their own."""
    context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    if certificate:
        certificate.configure_cert(context)
    return context


def error_of(mode: Mode, url: str, verify: ssl.SSLContext | None) -> APIError:
    with client_of(mode, url, verify) as client:
        error = mode.error(client)
    assert type(error) is APIConnectionError
    return error


# ---- the server's certificate


def verify_setting(kind: str, ca: trustme.CA, folder: Path) -> Any:
    file = folder / "ca.pem"
    ca.cert_pem.write_to_path(file)
    if kind == "folder":  # in which OpenSSL finds a CA by a hash of its name
        command = ["openssl", "x509", "-hash", "-noout", "-in", str(file)]
        digest = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        ca.cert_pem.write_to_path(folder / f"{digest}.0")
    settings = {"context": trusting(ca), "path": file, "text": str(file), "folder": folder}
    return settings.get(kind, kind == "True")


@pytest.mark.parametrize("kind", ["context", "path", "text", "folder", "True", "False"])
def test_verify_says_which_certificates_are_accepted(
    mode: Mode, ca: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    verify = verify_setting(kind, ca, tmp_path)
    with server_of(ca, "127.0.0.1" if verify else "other.example.com") as server:
        client = connect("cse", endpoint=server.url, credentials=TokenAuth("t"), verify=verify, resend=None)
        if verify is True:
            assert "CERTIFICATE_VERIFY_FAILED" in str(mode.error(client))
        else:
            assert mode.call(client) == 7
        mode.close(client)
    warnings = [
        record.message.partition(":")[0] for record in caplog.records if record.levelname == "WARNING"
    ]
    assert warnings == (["verify=False"] if verify is False else [])


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("SSL_CERT_FILE", "good.pem", ""),
        ("SSL_CERT_FILE", "other.pem", "certificate verify failed"),
        ("SSL_CERT_FILE", "gone", "No such file or directory; check SSL_CERT_FILE$"),
        ("SSLKEYLOGFILE", "gone/file", "No such file or directory; check SSLKEYLOGFILE$"),
    ],
)
@pytest.mark.usefixtures("new_tls_settings")
def test_the_environment_says_which_cas_are_accepted(
    mode: Mode,
    ca: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    says: str,
) -> None:
    ca.cert_pem.write_to_path(tmp_path / "good.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    monkeypatch.setenv(variable, str(tmp_path / value))
    errors = (APIConnectionError, ConfigurationError)
    with server_of(ca) as server, pytest.raises(errors, match=says) if says else nullcontext():
        client = connect("cse", endpoint=server.url, credentials=TokenAuth("t"))
        assert mode.call(client) == 7
        mode.close(client)


@pytest.mark.parametrize(
    ("certificate", "host", "reason"),
    [
        ({}, "127.0.0.1", "unable to get local issuer certificate"),
        (PAST, "127.0.0.1", "expired"),
        ({"host": "cse.example.com"}, "127.0.0.1", "IP address mismatch, .* not valid for '127.0.0.1'"),
        ({}, "localhost", "Hostname mismatch, certificate is not valid for 'localhost'"),
        ({"newest": TLS_1_2}, "127.0.0.1", "alert protocol version"),
    ],
    ids=["unknown CA", "expired", "another address", "another name", "TLS 1.2"],
)
def test_an_untrusted_server_gets_no_request(
    mode: Mode, ca: trustme.CA, certificate: Any, host: str, reason: str
) -> None:
    is_unknown = "issuer" in reason
    context = trusting(trustme.CA() if is_unknown else ca)
    context.minimum_version = TLS_1_3 if "newest" in certificate else context.minimum_version
    with server_of(ca, **certificate) as server:
        for verify in (context, None) if is_unknown else (context,):
            error = error_of(mode, server.url.replace("127.0.0.1", host), verify)
            assert re.search(f"{reason}.*; nothing was sent$", str(error))
            assert error.outcome_unknown is False
    assert server.requests == []


# ---- the client's certificate


@VERSIONS
def test_a_client_certificate_by_verify(mode: Mode, ca: trustme.CA, newest: ssl.TLSVersion) -> None:
    clients = trustme.CA()
    with server_of(ca, clients=clients, newest=newest) as server:
        verify = trusting(ca, clients.issue_cert("me@example.com"))
        with client_of(mode, server.url, verify) as client:
            assert mode.call(client) == 7
    assert (server.requests, server.refusals) == ([7], [])


# In TLS 1.2 the server refuses within the handshake. In 1.3 the client's part of it is over before the server has
# looked at the certificate: the request is on its way when the refusal comes, as on any connection that breaks.
@VERSIONS
@pytest.mark.parametrize("of_another_ca", [False, True], ids=["none", "of another CA"])
def test_without_the_client_certificate_the_refusal_is_reported(
    mode: Mode, ca: trustme.CA, newest: ssl.TLSVersion, *, of_another_ca: bool
) -> None:
    certificate = trustme.CA().issue_cert("me@example.com") if of_another_ca else None
    with server_of(ca, clients=trustme.CA(), newest=newest) as server:
        error = error_of(mode, server.url, trusting(ca, certificate))
    assert (server.requests, len(server.refusals)) == ([], 1)
    missing = "handshake failure" if newest == TLS_1_2 else "certificate required"
    assert f"alert {'unknown ca' if of_another_ca else missing}" in str(error)
    assert error.outcome_unknown is (newest == TLS_1_3)
