"""Rules for URLs, headers, signing secrets and certificate files.

Each function raises ``ValueError`` with words that follow the option's name, and never repeats a value that may be
secret.
"""

from __future__ import annotations

import errno
import re
import ssl
import stat
from base64 import b64decode
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from yarl import URL

from cdc_bridge.endpoints.option import CONCEALED
from cdc_bridge.model import without_secrets

_PAYLOAD = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
SECRET_PREFIX = "whsec_"  # noqa: S105 - the secret comes behind it
_SECRET_BYTES = range(24, 65)
_MAX_FILE_BYTES = 4 * 1024 * 1024

_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_MAX_HOST = 254

_RESERVED_HEADERS = frozenset(
    {
        "connection", "content-encoding", "content-length", "content-type", "expect", "host", "keep-alive",
        "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade",
    }
)  # fmt: skip
_RESERVED_PREFIXES = ("webhook-", "ce-")

ALL = re.compile(r"(.+)", re.DOTALL)
HEADER_VALUE = re.compile(r"[^:]*:[ \t]*(.+)", re.DOTALL)
QUERY = re.compile(r"[^?]*\?(.+)", re.DOTALL)
"""What is secret in a signing secret, in a header's line and in a URL, whatever psql wrote there."""


def header_pair(line: str) -> tuple[str, str]:
    """Return name and value of a header line.

    Raises:
        ValueError: It would break the request, or is one that the bridge sets.
    """
    name, colon, value = line.partition(":")
    name, value = name.strip(), value.strip(" \t")
    if not colon or not _TOKEN.fullmatch(name):
        raise ValueError('has to be "Name: value"')
    if any((ord(character) < 0x20 and character != "\t") or ord(character) == 0x7F for character in value):
        raise ValueError(f"has a control character, such as a line end, in the value of {name}")
    if not value.isascii():
        raise ValueError(f"has a character beyond ASCII in the value of {name}")
    if name.lower() in _RESERVED_HEADERS:
        raise ValueError(f"sets {name}, which belongs to the connection or is set by the bridge itself")
    if name.lower().startswith(_RESERVED_PREFIXES):
        raise ValueError(f"sets {name}, which the bridge sets itself")
    return name, value


def header_pairs(lines: Sequence[object]) -> tuple[tuple[str, str], ...]:
    """Return names and values of an endpoint's header lines.

    Raises:
        ValueError: A line is wrong, or two have the same name, of which one would not be sent.
    """
    texts = [line for line in lines if isinstance(line, str)]
    if len(texts) < len(lines):
        raise ValueError("has to be a list of texts, none of them null")
    headers = tuple(header_pair(line) for line in texts)
    names = [name.lower() for name, _ in headers]
    if len(set(names)) < len(names):
        raise ValueError("has the same header twice")
    return headers


def header_line(header: tuple[str, str]) -> str:
    """Return the line of a header."""
    name, value = header
    return f"{name}: {value}"


def concealed_header(line: str) -> str:
    """Return a header's line without its value."""
    name, colon, _ = line.partition(":")
    return f"{name}: {CONCEALED}" if colon else CONCEALED


def concealed_url(url: str) -> str:
    """Return a URL without its query, which may be secret."""
    shown = without_secrets(url)
    return f"{shown.removesuffix('...')}{CONCEALED}" if shown.endswith("?...") else shown


def payload_name(text: str) -> str:
    """Return the name of a payload definition.

    Raises:
        ValueError: None can have it.
    """
    if not _PAYLOAD.fullmatch(text):
        raise ValueError("has to be the name of a payload definition: lower-case letters, digits and underscores")
    return text


def secret_key(text: str) -> bytes:
    """Return the key in a signing secret.

    Raises:
        ValueError: It is not one.
    """
    if not text.startswith(SECRET_PREFIX):
        raise ValueError("has to begin with whsec_")
    try:
        key = b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        raise ValueError("has to be base64 after whsec_") from None
    if len(key) not in _SECRET_BYTES:
        raise ValueError(f"has to hold 24 to 64 bytes, not {len(key)}")
    return key


def ca_file_path(text: str) -> Path:
    """Return the path of a file of CA certificates.

    Raises:
        ValueError: It cannot be read or holds none.
    """
    path = Path(text)
    try:
        _load_ca_certificates(path, _digest_of(path))
    except ssl.SSLError:
        raise ValueError(f"names {path}, which holds no PEM certificate") from None
    except OSError as error:
        raise ValueError(f"names {path}, which cannot be read: {error.strerror}") from None
    return path


def check_certificate(certificate_file: Path, key_file: Path | None) -> None:
    """Check that a certificate and its private key can be used.

    Args:
        certificate_file: PEM file with the certificate.
        key_file: PEM file with its key; ``None``: it is in the same file.

    Raises:
        ValueError: One cannot be read, or they do not belong together.
    """
    try:
        digests = [_digest_of(file) for file in (certificate_file, key_file) if file is not None]
        _load_certificate(certificate_file, key_file, tuple(digests))
    except ssl.SSLError:
        key = key_file or certificate_file
        raise ValueError(
            f"names {certificate_file}: no PEM certificate is in it, or {key} does not hold its key without a password"
        ) from None
    except OSError as error:
        raise ValueError(f"names {certificate_file}, but it or its key cannot be read: {error.strerror}") from None


# Thousands of endpoints may name the same file, and each load takes half a millisecond. Failures are not kept.


@lru_cache(maxsize=100)
def _load_ca_certificates(path: Path, _digest: bytes) -> None:
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)


@lru_cache(maxsize=100)
def _load_certificate(certificate_file: Path, key_file: Path | None, _digests: tuple[bytes, ...]) -> None:
    # Without a password's callback OpenSSL would ask for it on the terminal.
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate_file, key_file, password=lambda: "")


def _digest_of(path: Path) -> bytes:
    """Return a digest of a file's contents.

    A pipe, a device or something huge is not read: it would block the daemon.

    Raises:
        OSError: It cannot be read, or is not a small regular file.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    if found.st_size > _MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, "it is too large for certificates")
    return sha256(path.read_bytes()).digest()


def well_formed_url(text: str) -> str:
    """Return an endpoint's URL.

    Raises:
        ValueError: It is not one.
    """
    if any(character.isspace() or not character.isprintable() for character in text.strip()):
        # urlsplit would drop line ends and tabs in silence, and so judge another URL than the one that is sent to.
        raise ValueError("has a space or a control character in it")
    try:
        url, host, port = urlsplit(text.strip()), URL(text.strip()).raw_host, urlsplit(text.strip()).port
    except ValueError:
        raise ValueError("is not a URL") from None
    if url.username is not None or url.password is not None:
        raise ValueError("has a user name or password in it; put credentials into a header of the endpoint")
    if url.scheme not in {"http", "https"} or "://" not in text:
        raise ValueError("has to begin with https:// (http:// is for localhost only)")
    if not host:
        raise ValueError("names no host; it has to look like https://till.example/reservations")
    if "#" in text:
        raise ValueError("has a fragment (#...), which is never sent; leave it out")
    if port == 0:
        raise ValueError("has port 0, which nothing can listen at")
    require_host(host)
    return text.strip()


def require_host(host: str) -> None:
    """Check that a host is a name that DNS can hold, or an address in its full form.

    Resolvers take ``127.1``, ``0x7f.0.0.1`` and ``2130706433`` for addresses, and the client refuses them.
    """
    if ":" in host:
        return  # urlsplit has read it as an IPv6 address
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            ip_address(host)
        except ValueError:
            raise ValueError("names an IPv4 address that is not four numbers from 0 to 255, as in 192.0.2.1") from None
    elif len(host) > _MAX_HOST or not all(map(_LABEL.fullmatch, host.removesuffix(".").split("."))):
        raise ValueError("names a host that cannot be a host's name")


def same_origin(one: str, other: str) -> bool:
    """Return whether two URLs lead to the same server: scheme, host and port."""
    return origin(one) == origin(other)


def origin(text: str) -> tuple[str, str, int | None]:
    """Return what a URL has of its server: scheme, host and port.

    Raises:
        ValueError: It is not a URL.
    """
    url = urlsplit(text)
    return url.scheme, url.hostname or "", url.port or {"https": 443, "http": 80}.get(url.scheme)


def admit_url(url: str, *, allow_http: bool) -> None:
    """Check that a URL may be sent to: over TLS, or on this machine if that is allowed.

    Raises:
        ValueError: It may not.
    """
    address = urlsplit(url)
    if address.scheme == "https":
        return
    if not allow_http:
        raise ValueError(
            "has to begin with https://; for development on this machine, CDC_BRIDGE_ALLOW_HTTP=true allows http://localhost"
        )
    if not is_loopback(address.hostname or ""):
        raise ValueError(
            "has to begin with https://; http:// is allowed to this machine only (localhost, 127.0.0.1, [::1])"
        )


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is this machine's own, whatever the resolver says."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
