"""A receiver's identity: a signing secret, and a certificate issued by a CA of its own."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes

import trustme

from cdc_bridge.endpoints.option_values import secret_key
from cdc_bridge.errors import BridgeError
from cdc_bridge.own_files import own_folder, read_own, refuse_link, write_own

_CA, _SERVER, _KEY, _SECRET = "ca.pem", "server.pem", "server.key", "secret"


@dataclass(frozen=True, slots=True)
class Identity:
    """Signing secret and certificate."""

    secret: str
    """``whsec_...``"""
    ca_file: Path
    """Certificate of the CA that a client has to trust."""
    tls: ssl.SSLContext


def identity_in(folder: Path, names: Sequence[str], secret: str | None = None) -> Identity:
    """Return the identity kept in a folder; create what is missing.

    Args:
        folder: The folder; created if missing. Nobody else may write to it.
        names: Host names for a new certificate.
        secret: The signing secret; ``None`` takes that of the folder.

    Raises:
        BridgeError: A file in it cannot be read, written or used.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        own_folder(folder)
        for name in (_CA, _SERVER, _KEY, _SECRET):
            refuse_link(folder / name)
        if not (folder / _SERVER).exists():
            _make_certificate(folder, names)
        tls.load_cert_chain(folder / _SERVER, folder / _KEY)
        secret = secret or _kept_secret(folder / _SECRET)
        secret_key(secret)
    except OSError as error:
        where = error.filename or folder
        raise BridgeError(f"{where} cannot be used: {error.strerror or error}", "Choose another folder.") from error
    except ValueError as error:
        raise BridgeError(
            f"the secret in {folder / _SECRET} {error}", "Delete the file; a new secret is created then."
        ) from None
    return Identity(secret, folder / _CA, tls)


def _make_certificate(folder: Path, names: Sequence[str]) -> None:
    ca = trustme.CA()
    certificate = ca.issue_cert(*names)
    write_own(folder / _CA, ca.cert_pem.bytes(), 0o644)
    write_own(folder / _KEY, certificate.private_key_pem.bytes())
    write_own(folder / _SERVER, b"".join(part.bytes() for part in certificate.cert_chain_pems), 0o644)


def _kept_secret(file: Path) -> str:
    if not file.exists():
        write_own(file, f"whsec_{b64encode(token_bytes(32)).decode()}\n".encode())
    return read_own(file).decode().strip()
