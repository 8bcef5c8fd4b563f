"""What a receiver proves itself by: a signing secret, and a certificate of a CA of its own."""

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

_CA, _SERVER, _KEY, _SECRET = "ca.pem", "server.pem", "server.key", "secret"


@dataclass(frozen=True, slots=True)
class Identity:
    """A secret and a certificate."""

    secret: str
    """``whsec_...``"""
    ca_file: Path
    """Certificate of the CA that a caller has to trust."""
    tls: ssl.SSLContext


def identity_in(folder: Path, names: Sequence[str], secret: str | None = None) -> Identity:
    """Return what is kept in a folder, made now where it is not there.

    Args:
        folder: where; made if need be.
        names: of hosts, for a certificate that is made.
        secret: the signing secret; ``None``: that of the folder.

    Raises:
        BridgeError: a file in it cannot be read, written or used.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / _SERVER).exists():
            _make_certificate(folder, names)
        tls.load_cert_chain(folder / _SERVER, folder / _KEY)
        secret = secret or _kept_secret(folder / _SECRET)
        secret_key(secret)
    except OSError as error:
        where = error.filename or folder
        raise BridgeError(f"{where} cannot be used: {error.strerror or error}", "Name another folder.") from error
    except ValueError as error:
        raise BridgeError(
            f"the secret in {folder / _SECRET} {error}", "Remove the file to have a new one made."
        ) from None
    return Identity(secret, folder / _CA, tls)


def _make_certificate(folder: Path, names: Sequence[str]) -> None:
    ca = trustme.CA()
    certificate = ca.issue_cert(*names)
    ca.cert_pem.write_to_path(folder / _CA)
    _write_private(folder / _KEY, certificate.private_key_pem.bytes())
    for number, part in enumerate(certificate.cert_chain_pems):
        part.write_to_path(folder / _SERVER, append=number > 0)


def _kept_secret(file: Path) -> str:
    if not file.exists():
        _write_private(file, f"whsec_{b64encode(token_bytes(32)).decode()}\n".encode())
    return file.read_text(encoding="utf-8").strip()


def _write_private(file: Path, content: bytes) -> None:
    file.touch(mode=0o600)
    file.write_bytes(content)
