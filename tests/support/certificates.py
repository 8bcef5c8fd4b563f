"""Certificates: a CA of the tests, server certificates good and bad, and one of a client."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificates:
    """Server-side TLS contexts, and files with the CAs that a client trusts and the certificate it shows."""

    ca_file: Path
    other_ca_file: Path
    client_certificate_file: Path
    client_key_file: Path
    server_certificate_file: Path
    """That of ``good``, for a program that reads it by itself."""
    server_key_file: Path
    good: ssl.SSLContext
    ends_soon: ssl.SSLContext
    expired: ssl.SSLContext
    for_another_host: ssl.SSLContext
    asks_for_a_certificate: ssl.SSLContext


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Return the context of a server that shows a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def issue_all(folder: Path) -> Certificates:
    """Issue them, with files in a folder."""
    ca, other_ca = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    other_ca.cert_pem.write_to_path(folder / "other-ca.pem")
    client = ca.issue_cert("bridge@restaurant.example")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client-key.pem")
    server = ca.issue_cert("localhost", "127.0.0.1")
    server.cert_chain_pems[0].write_to_path(folder / "server.pem")
    server.private_key_pem.write_to_path(folder / "server-key.pem")
    asks_for_a_certificate = server_context(ca.issue_cert("localhost", "127.0.0.1"))
    asks_for_a_certificate.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(asks_for_a_certificate)
    return Certificates(
        ca_file=folder / "ca.pem",
        other_ca_file=folder / "other-ca.pem",
        client_certificate_file=folder / "client.pem",
        client_key_file=folder / "client-key.pem",
        server_certificate_file=folder / "server.pem",
        server_key_file=folder / "server-key.pem",
        good=server_context(server),
        ends_soon=server_context(ca.issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=9, hours=12))),
        expired=server_context(ca.issue_cert("localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC))),
        for_another_host=server_context(ca.issue_cert("till.example")),
        asks_for_a_certificate=asks_for_a_certificate,
    )
