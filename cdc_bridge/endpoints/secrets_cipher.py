"""Encrypts the secrets of endpoints with the keys of ``secrets_key_file``. Pure: keys and texts in, texts out.

An encrypted text is ``encrypted1.KEY.DATA``. KEY is eight hexadecimal digits that name the key, the beginning of its
SHA-256. DATA is base64url without padding: a random nonce of 12 bytes, and what AES-256-GCM (NIST SP 800-38D) makes of
the text in UTF-8, its tag of 16 bytes at the end. The associated data is what the text belongs to, its parts with a NUL
in between: a text that is moved elsewhere cannot be decrypted there.

A random nonce is safe for 2^32 texts under one key, more than any number of endpoints leads to.

The first key of the file encrypts, and all of them decrypt: so several daemons and commands can change to another key
one after the other. Whoever has no key reads and writes plain text.
"""

from __future__ import annotations

import pkgutil
import re
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from secrets import token_bytes
from typing import Protocol

_KEY_BYTES = 32
_NONCE_BYTES = 12
_ENCRYPTED = re.compile(r"encrypted1\.([0-9a-f]{8})\.([A-Za-z0-9_-]+)")


class Aead(Protocol):
    """Authenticated encryption with one key: ``AESGCM`` of the package cryptography."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return data encrypted, with its tag behind it."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return what was encrypted; raises ``InvalidTag`` if that was something else."""


class Undecryptable(ValueError):
    """An encrypted text cannot be read here. The words follow the name of what it is."""


def key_id_of(text: str) -> str | None:
    """Return the name of the key that a text is encrypted with; ``None``: it is plain."""
    match = _ENCRYPTED.fullmatch(text)
    return None if match is None else match[1]


def keys_in(text: str) -> list[bytes]:
    """Return the keys in a key file: one on each line, but empty lines and those that begin with ``#``.

    Raises:
        ValueError: There is none, or a line is none. The words follow the file's name, and repeat nothing of it.
    """
    keys = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            key = b64decode(line.strip(), validate=True)
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise ValueError(
                f"has to have {_KEY_BYTES} random bytes in base64 on line {number}: openssl rand -base64 32"
            )
        keys.append(key)
    if not keys:
        raise ValueError("has no key in it; to make one: openssl rand -base64 32")
    return keys


class SecretsCipher:
    """Encrypts and decrypts texts, each for what it belongs to."""

    def __init__(
        self,
        keys: Sequence[bytes] = (),
        *,
        random: Callable[[int], bytes] = token_bytes,
        without_keys: str = "the setting secrets_key_file is not set",
    ) -> None:
        """Prepare to work with some keys.

        Args:
            keys: The first encrypts, all decrypt. Without any, texts stay plain.
            random: Makes some random bytes.
            without_keys: Why there are no keys, if there are none.

        Raises:
            ModuleNotFoundError: There are keys, and the package cryptography is not installed.
        """
        self._random = random
        self._without_keys = without_keys
        self._aeads: dict[str, Aead] = {}
        if keys:
            # Not above: it takes 8 MB, and an installation without keys need not have it.
            aead = pkgutil.resolve_name("cryptography.hazmat.primitives.ciphers.aead:AESGCM")
            self._wrong_tag: type[Exception] = pkgutil.resolve_name("cryptography.exceptions:InvalidTag")
            self._aeads = {sha256(key).hexdigest()[:8]: aead(key) for key in keys}

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The names of the keys, that of the one that encrypts first."""
        return tuple(self._aeads)

    @property
    def newest(self) -> str | None:
        """The name of the key that encrypts; ``None``: texts stay plain."""
        return next(iter(self._aeads), None)

    def encrypt(self, text: str, *belongs_to: str) -> str:
        """Return a text encrypted for what it belongs to; as it is, if there is no key or it is encrypted already."""
        if self.newest is None or key_id_of(text) is not None:
            return text
        nonce = self._random(_NONCE_BYTES)
        data = nonce + self._aeads[self.newest].encrypt(nonce, text.encode(), _associated(belongs_to))
        return f"encrypted1.{self.newest}.{urlsafe_b64encode(data).decode().rstrip('=')}"

    def decrypt(self, text: str, *belongs_to: str) -> str:
        """Return a text that was encrypted for what it belongs to; one that is plain as it is.

        Raises:
            Undecryptable: The key is not here, or the text was encrypted for something else or changed since.
        """
        match = _ENCRYPTED.fullmatch(text)
        if match is None:
            return text
        key_id, data = match.groups()
        if not self._aeads:
            raise Undecryptable(f"is encrypted with key {key_id}, and {self._without_keys}")
        if key_id not in self._aeads:
            raise Undecryptable(
                f"is encrypted with key {key_id}, which is not in secrets_key_file: add that key and restart the "
                "daemon, or set another value"
            )
        try:
            whole = urlsafe_b64decode(data + "=" * (-len(data) % 4))
            decrypt = self._aeads[key_id].decrypt
            return decrypt(whole[:_NONCE_BYTES], whole[_NONCE_BYTES:], _associated(belongs_to)).decode()
        except (ValueError, self._wrong_tag):
            raise Undecryptable(
                f"cannot be decrypted with key {key_id}: it was changed, or written for another endpoint, server or "
                "option; set it again"
            ) from None


NO_KEYS = SecretsCipher()
"""Reads and writes plain text."""


def _associated(belongs_to: Sequence[str]) -> bytes:
    return "\0".join(belongs_to).encode()  # PostgreSQL's text has no NUL in it.
