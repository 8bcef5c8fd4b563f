"""The beginning of a response's body as text, whatever its bytes are: for endpoints whose failed responses are kept."""

from __future__ import annotations

import codecs
import re
import zlib
from contextlib import suppress

KEPT_BYTES = 2048
"""So much of a body is kept."""

_CHARSET = re.compile(r""";\s*charset\s*=\s*"?([\w.:+-]{1,40})""", re.IGNORECASE)
_OF_TEXT = ("utf", "ascii", "iso8859", "cp", "koi8", "mac", "shift_jis", "euc_", "iso2022", "gb", "big5", "hz")
"""Python has others, which make texts of no bytes or are slow."""
_GZIP_OR_ZLIB = 47


def response_text(body: bytes, content_type: str = "", content_encoding: str = "") -> str:
    """Return the beginning of a body as text, with a replacement character for what is none, and without NUL.

    Args:
        body: The first bytes of it.
        content_type: The header; without a charset that is known it is UTF-8.
        content_encoding: The header. What is compressed in another way than by gzip and deflate is not text.
    """
    if content_encoding.strip().lower() in {"gzip", "x-gzip", "deflate"}:
        body = _decompressed(body)
    try:
        text = _decoded(body, _charset_of(content_type))
    except UnicodeError:  # UTF-16 without its mark: "replace" does not help
        text = _decoded(body, "utf-8")
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _decoded(body: bytes, charset: str) -> str:
    decoder = codecs.getincrementaldecoder(charset)("replace")
    # A character that is cut off at the end is left out, unless it is the whole body.
    return decoder.decode(body[:KEPT_BYTES], final=len(body) < KEPT_BYTES)


def _decompressed(body: bytes) -> bytes:
    """Return what a compressed body begins with, as far as it can be read; never much, however much it stands for."""
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(body, KEPT_BYTES)
    except zlib.error:
        return body


def _charset_of(content_type: str) -> str:
    if (charset := _CHARSET.search(content_type)) is not None:
        with suppress(LookupError):
            found = codecs.lookup(charset[1])
            if found.name.replace("-", "_").startswith(_OF_TEXT) and found.name != "utf-7":
                return found.name
    return "utf-8"
