"""Certificates: a CA of the tests, and server certificates good and bad."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme


@dataclass(frozen=True)
class Certificates:
    """Server-side TLS contexts, and files with the CAs that a client trusts."""

    ca_file: Path
    other_ca_file: Path
    good: ssl.SSLContext
    expired: ssl.SSLContext
    for_another_host: ssl.SSLContext


def _server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    ca, other_ca = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    other_ca.cert_pem.write_to_path(folder / "other-ca.pem")
    return Certificates(
        ca_file=folder / "ca.pem",
        other_ca_file=folder / "other-ca.pem",
        good=_server_context(ca.issue_cert("localhost", "127.0.0.1")),
        expired=_server_context(ca.issue_cert("localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC))),
        for_another_host=_server_context(ca.issue_cert("till.example")),
    )
