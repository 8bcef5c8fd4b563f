"""What the TLS context takes for a good certificate, and what becomes of its keys."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cdc_bridge.transport.client import tls_context
from tests.unit.runtime.scripted import TILL


def test_keys_of_connections_are_not_logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    context = tls_context(TILL)
    assert context.keylog_filename is None
    assert not (tmp_path / "keys").exists()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats()["x509_ca"] > 0


def test_verification_does_not_depend_on_the_version_of_python() -> None:
    """Python 3.13 added VERIFY_X509_STRICT and VERIFY_X509_PARTIAL_CHAIN to some contexts."""
    assert tls_context(TILL).verify_flags == ssl.VERIFY_X509_TRUSTED_FIRST


def test_private_ca_without_key_identifiers_is_accepted(tmp_path: Path) -> None:
    write_plain_ca(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.pem")
    context = tls_context(replace(TILL, ca_file=tmp_path / "ca.pem"))
    shake_hands(context, server)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with pytest.raises(ssl.SSLCertVerificationError, match="Key Identifier"):
        shake_hands(context, server)


def write_plain_ca(folder: Path) -> None:
    """Issue a certificate as scripts around OpenSSL do: no key identifier in it, nor in its CA's."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, now = name("Restaurant CA"), datetime.now(UTC)

    def certificate(of: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(ca_name, of, public, x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))

    ca = certificate(ca_name, ca_key.public_key()).add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    leaf = certificate(name("till"), key.public_key()).add_extension(
        x509.SubjectAlternativeName([x509.DNSName("till.example")]), False
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem) + private)


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Do the handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="till.example"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting: list[Callable[[], None]] = [end.do_handshake for end in ends]
    for _ in range(10):
        for step in list(waiting):
            try:
                step()
                waiting.remove(step)
            except ssl.SSLWantReadError:
                pass
    assert waiting == []
