"""What a TLS context takes for a good certificate, what becomes of its keys, and which endpoints share it."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import weakref
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cdc_bridge.transport import tls
from cdc_bridge.transport.tls import TlsContexts, certificates_of, tls_context, use_small_buffers
from tests.bench.usage import resident_megabytes
from tests.support.certificates import Certificates
from tests.unit.runtime.scripted import TILL


def test_keys_of_connections_are_not_logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    context = tls_context(TILL)
    assert context.keylog_filename is None
    assert not (tmp_path / "keys").exists()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats()["x509_ca"] > 0


async def test_connection_takes_little_memory(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SSLProtocol, "max_size", SSLProtocol.max_size)
    use_small_buffers()
    served: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: served.append(writer), "127.0.0.1", 0, ssl=certificates.good)
    async with server:
        _, port = server.sockets[0].getsockname()
        trusting = ssl.create_default_context(cafile=certificates.ca_file)
        before = resident_megabytes(os.getpid())
        opened = [await asyncio.open_connection("localhost", port, ssl=trusting) for _ in range(100)]
        used = 1e6 * (resident_megabytes(os.getpid()) - before)
        for writer in [*served, *(writer for _, writer in opened)]:
            writer.transport.abort()
    assert used / (2 * len(opened)) < 100_000  # The server's connections take as much.


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


def test_endpoints_whose_files_have_the_same_contents_share_a_context(
    certificates: Certificates, tmp_path: Path
) -> None:
    contexts = TlsContexts()
    copy = tmp_path / "copy.pem"
    copy.write_bytes(certificates.ca_file.read_bytes())
    mtls: dict[str, Any] = {
        "client_certificate_file": certificates.client_certificate_file,
        "client_key_file": certificates.client_key_file,
    }
    first = contexts.context_of(replace(TILL, ca_file=certificates.ca_file))
    assert contexts.context_of(replace(TILL, name="bar", url="https://bar.example", ca_file=copy)) is first
    others = [
        contexts.context_of(TILL),
        contexts.context_of(replace(TILL, ca_file=certificates.other_ca_file)),
        contexts.context_of(replace(TILL, ca_file=certificates.ca_file, **mtls)),
        contexts.context_of(replace(TILL, **mtls)),
    ]
    assert len({first, *others}) == 5
    copy.write_bytes(certificates.other_ca_file.read_bytes())
    assert contexts.context_of(replace(TILL, ca_file=copy)) is others[1]


@pytest.mark.parametrize("contents", [None, b""], ids=["missing", "empty"])
def test_file_that_cannot_be_used_is_an_error_whatever_contexts_there_are(
    contents: bytes | None, tmp_path: Path
) -> None:
    contexts = TlsContexts()
    contexts.context_of(TILL)
    file = tmp_path / "client.pem"
    if contents is not None:
        file.write_bytes(contents)
    for endpoint in (replace(TILL, ca_file=file), replace(TILL, client_certificate_file=file)):
        with pytest.raises(OSError, match=r"No such file|NO_CERTIFICATE|no start line|PEM lib"):
            contexts.context_of(endpoint)


def test_file_that_changes_while_it_is_read_makes_no_shared_context(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts, file = TlsContexts(), tmp_path / "ca.pem"
    till = replace(TILL, ca_file=file)
    before, after = certificates.ca_file.read_bytes(), certificates.other_ca_file.read_bytes()

    def load_as_it_changes(endpoint: object) -> ssl.SSLContext:
        file.write_bytes(after)
        return tls_context(till)

    file.write_bytes(before)
    with monkeypatch.context() as patched:
        patched.setattr(tls, "tls_context", load_as_it_changes)
        mixed = contexts.context_of(till)
    file.write_bytes(before)
    assert contexts.context_of(till) is not mixed


def test_unused_contexts_are_dropped_but_for_the_last_few(certificates: Certificates, tmp_path: Path) -> None:
    contexts = TlsContexts()
    till = replace(TILL, ca_file=certificates.ca_file)
    used, unused = contexts.context_of(till), weakref.ref(contexts.context_of(TILL))
    assert contexts.context_of(TILL) is unused()
    for number in range(4):
        file = tmp_path / f"{number}.pem"
        file.write_bytes(certificates.other_ca_file.read_bytes() + b"#" * number)
        contexts.context_of(replace(TILL, ca_file=file))
    gc.collect()
    assert unused() is None
    assert contexts.context_of(till) is used


def test_fingerprint_changes_with_the_contents_of_each_file_and_with_the_system_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: tmp_path / name for name in ("ca_file", "client_certificate_file", "client_key_file")}
    system = tmp_path / "system.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    for file in [*files.values(), system]:
        file.write_bytes(b"one")
    for name, file in files.items():
        options: dict[str, Any] = {name: file}
        till = replace(TILL, **options)
        one = certificates_of(till)
        assert one == certificates_of(till) != certificates_of(TILL)
        file.write_bytes(b"two")
        assert certificates_of(till) not in {one, None}
    one = certificates_of(TILL)
    system.write_bytes(b"of another size")
    assert certificates_of(TILL) not in {one, None}
    files["ca_file"].unlink()
    assert certificates_of(replace(TILL, ca_file=files["ca_file"])) is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_is_resumed_only_if_a_connection_is_given_it_and_ours_are_not(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    """Else a connection could skip the verification of its own endpoint, or present the certificate of another one."""
    write_plain_ca(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.pem")
    server.maximum_version = version
    context = tls_context(replace(TILL, ca_file=tmp_path / "ca.pem"))
    first, second = shake_hands(context, server), shake_hands(context, server)
    assert (first.session_reused, second.session_reused) == (False, False)
    assert shake_hands(context, server, session=first.session).session_reused


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


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLObject:
    """Do the handshake in memory; return the client's end, which has read what the server sends first."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="till.example", session=session),
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
    ends[1].write(b"ready")
    assert ends[0].read() == b"ready"
    return ends[0]
