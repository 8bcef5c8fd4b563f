"""What the value of a setting, or of an endpoint's option, has to be where a type alone does not say it.

Each function raises ``ValueError`` with words that follow the name of it, and never repeats a value.
"""

from __future__ import annotations

import binascii
import difflib
import errno
import re
import ssl
import stat
from base64 import b64decode
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SECRET_PREFIX = "whsec_"  # noqa: S105
_SECRET_BYTES = range(24, 65)
_MOST_FILE_BYTES = 4 * 1024 * 1024

_NOT_YOURS = frozenset(
    {
        "connection", "content-encoding", "content-length", "content-type", "expect", "host", "keep-alive",
        "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade",
    }
)  # fmt: skip
_RESERVED_PREFIXES = ("webhook-", "ce-")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return what to add to "there is no such name": the known one that is likely meant, if there is one."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def header_lines(value: object) -> object:
    """Return one header or a list of them as a list."""
    if value is None or value == "":
        return ()
    return (value,) if isinstance(value, str) else value


def checked_header(line: str) -> tuple[str, str]:
    """Return name and value of a header line.

    Raises:
        ValueError: it would break the request, or is one that the bridge sets.
    """
    name, colon, value = line.partition(":")
    name, value = name.strip(), value.strip(" \t")
    if not colon or not _TOKEN.fullmatch(name):
        raise ValueError('has to be "Name: value"')
    if any((ord(character) < 0x20 and character != "\t") or ord(character) == 0x7F for character in value):
        raise ValueError(f"has a control character, such as a line end, in the value of {name}")
    if not value.isascii():
        raise ValueError(f"has a character beyond ASCII in the value of {name}")
    if name.lower() in _NOT_YOURS:
        raise ValueError(f"sets {name}, which belongs to the connection or is set by the bridge itself")
    if name.lower().startswith(_RESERVED_PREFIXES):
        raise ValueError(f"sets {name}, which the bridge sets itself")
    return name, value


def checked_headers(lines: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return names and values of an endpoint's header lines.

    Raises:
        ValueError: as of :func:`checked_header`; or two have the same name, of which one would not be sent.
    """
    headers = tuple(checked_header(line) for line in lines)
    names = [name.lower() for name, _ in headers]
    if len(set(names)) < len(names):
        raise ValueError("has the same header twice")
    return headers


def decoded_secret(text: str) -> bytes:
    """Return the key in a signing secret.

    Raises:
        ValueError: it is not one.
    """
    if not text.startswith(_SECRET_PREFIX):
        raise ValueError("has to begin with whsec_")
    try:
        key = b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("has to be base64 behind whsec_") from None
    if len(key) not in _SECRET_BYTES:
        raise ValueError(f"has to hold 24 to 64 bytes, not {len(key)}")
    return key


def checked_conninfo(text: str) -> dict[str, object]:
    """Return the parameters in a libpq conninfo.

    Raises:
        ValueError: it is none.
    """
    try:
        parameters = conninfo_to_dict(text)
    except psycopg.ProgrammingError:
        # psycopg's own words repeat a part of the text, which may be the password.
        parameters = {}
    if not parameters:
        raise ValueError("is not a libpq conninfo: postgresql://user@host/database, or host=... dbname=... user=...")
    return dict(parameters)


def checked_ca_file(path: Path) -> Path:
    """Return the path of a file of CA certificates.

    Raises:
        ValueError: it cannot be read or holds none.
    """
    try:
        _require_small_file(path)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError(f"names {path}, which holds no PEM certificate") from None
    except OSError as error:
        raise ValueError(f"names {path}, which cannot be read: {error.strerror}") from None
    return path


def check_client_certificate(certificate_file: Path, key_file: Path | None) -> None:
    """Check that a client certificate can be shown.

    Raises:
        ValueError: it or its key cannot be read, or they do not belong together.
    """
    try:
        for file in filter(None, (certificate_file, key_file)):
            _require_small_file(file)
        # Without a password's callback OpenSSL would ask for it on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate_file, key_file, password=lambda: "")
    except ssl.SSLError:
        key = key_file or certificate_file
        raise ValueError(
            f"names {certificate_file}: no PEM certificate is in it, or {key} does not hold its key without a password"
        ) from None
    except OSError as error:
        raise ValueError(f"names {certificate_file}, but it or its key cannot be read: {error.strerror}") from None


def _require_small_file(path: Path) -> None:
    """Make sure that reading a file ends: a pipe, a device or something huge would keep the daemon waiting.

    Raises:
        OSError: it cannot be read, or is none of the files that are meant.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if found.st_size > _MOST_FILE_BYTES:
        raise OSError(errno.EFBIG, "it is too large for certificates")


def checked_url(text: str, *, allow_http: bool) -> str:
    """Return an endpoint's URL.

    Raises:
        ValueError: it is not one that may be called.
    """
    if any(character.isspace() or not character.isprintable() for character in text.strip()):
        # urlsplit would drop line ends and tabs in silence, and so judge another URL than the one that is called.
        raise ValueError("has a space or a control character in it")
    try:
        url = urlsplit(text.strip())
        host, _ = url.hostname, url.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if url.username is not None or url.password is not None:
        raise ValueError("has a user name or password in it; put what proves who you are into a header of the endpoint")
    if not host:
        raise ValueError("names no host; it has to look like https://till.example/reservations")
    if url.fragment:
        raise ValueError("has a fragment (#...), which is never sent; leave it out")
    if url.scheme == "http":
        _check_http(host, allow_http=allow_http)
    elif url.scheme != "https":
        raise ValueError("has to begin with https://")
    return text.strip()


def _check_http(host: str, *, allow_http: bool) -> None:
    if not allow_http:
        raise ValueError(
            "has to begin with https://; for development on this machine, CDC_BRIDGE_ALLOW_HTTP=true admits http://localhost"
        )
    if not _is_loopback(host):
        raise ValueError(
            "has to begin with https://; http:// is admitted to this machine only (localhost, 127.0.0.1, [::1])"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
