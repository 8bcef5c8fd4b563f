"""TLS contexts, shared by the endpoints that trust the same CAs and present the same certificate.

A context with the system's CA certificates takes 10 to 30 ms to load, and up to a megabyte. So endpoints whose files
have the same contents share one, and a changed file makes another one. The last few are kept even if no endpoint uses
them at present.

A context holds nothing of one endpoint: name and verification belong to each connection. OpenSSL resumes a client's
session only if the connection is given one, and ours are given none.
"""

from __future__ import annotations

import errno
import os
import ssl
from asyncio.sslproto import SSLProtocol
from collections import deque
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from weakref import WeakValueDictionary

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.transport.exhaustion import lowest_free_descriptor

_KEPT_UNUSED = 4
_BUFFER_BYTES = 32 * 1024
"""A TLS record has 16 kB at most (RFC 8446, section 5.1)."""


class TlsContexts:
    """Makes the TLS contexts of endpoints, and shares them."""

    def __init__(self) -> None:
        self._used: WeakValueDictionary[bytes, ssl.SSLContext] = WeakValueDictionary()
        self._kept: deque[ssl.SSLContext] = deque(maxlen=_KEPT_UNUSED)

    def context_of(self, endpoint: Endpoint) -> ssl.SSLContext:
        """Return the context for an endpoint's connections.

        Raises:
            OSError: A certificate file cannot be read, or holds none (``ssl.SSLError`` is an ``OSError``).
        """
        certificates = certificates_of(endpoint)
        context = None if certificates is None else self._used.get(certificates)
        if context is None:
            context = tls_context(endpoint)
            if certificates is None or certificates != certificates_of(endpoint):
                return context  # A file changed meanwhile: it is unknown which contents were loaded.
            self._used[certificates] = context
        if context not in self._kept:
            self._kept.append(context)
        return context


def use_small_buffers() -> None:
    """Have the TLS connections of this process use little memory: asyncio takes 256 kB for each to decrypt into."""
    SSLProtocol.max_size = _BUFFER_BYTES


def certificates_of(endpoint: Endpoint) -> bytes | None:
    """Return a fingerprint of all certificates and keys that an endpoint uses; ``None``: a file cannot be read."""
    try:
        contents = [None if path is None else path.read_bytes() for path in endpoint.files]
    except OSError:
        return None
    if endpoint.ca_file is None:
        contents.append(_system_store())
    hashes = [None if content is None else sha256(content).digest() for content in contents]
    return sha256(repr(hashes).encode()).digest()


def _system_store() -> bytes:
    """Return what changes with the system's CA certificates, which are too many to be read each time."""
    paths = ssl.get_default_verify_paths()
    states = []
    for path in (paths.cafile, paths.capath):
        with suppress(OSError):
            found = Path(path or "").stat()
            states.append((path, found.st_ino, found.st_size, found.st_mtime_ns))
    return repr(states).encode()


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return a TLS context that verifies an endpoint and holds our client certificate for it.

    Raises:
        OSError: A certificate file cannot be read, or holds none.
    """
    # Not ssl.create_default_context, which writes the keys of every connection to $SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Not what Python has as a default: with VERIFY_X509_STRICT, an upgrade would reject many private CAs.
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST
    if endpoint.ca_file is None:
        context.load_default_certs()
        if lowest_free_descriptor() is None:  # Then OpenSSL loads none, and does not say so.
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    else:
        context.load_verify_locations(endpoint.ca_file)
    if endpoint.client_certificate_file is not None:
        # Without a password callback OpenSSL would ask for it on the terminal.
        context.load_cert_chain(endpoint.client_certificate_file, endpoint.client_key_file, password=lambda: "")
    return context
