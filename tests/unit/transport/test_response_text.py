"""The beginning of a response as text, whatever its bytes are and whatever its headers say of them."""

from __future__ import annotations

import encodings
import gzip
import pkgutil
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.transport.response_text import KEPT_BYTES, response_text

CHARSETS = [module.name for module in pkgutil.iter_modules(encodings.__path__)]


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b"", "", ""),
        ("Café €".encode(), "", "Café €"),
        ("Café".encode("latin-1"), "text/html;charset=iso-8859-1", "Café"),
        ("Café".encode("latin-1"), 'text/html; a=b; Charset="windows-1252"', "Café"),
        ("Café".encode("latin-1"), "text/plain", "Caf\ufffd"),
        ("Café".encode("utf-16"), "text/plain; charset=utf-16", "Café"),
        (b"Cafe", "text/plain; charset=utf-16", "Cafe"),
        (b"+AGE-", "text/plain; charset=utf-7", "+AGE-"),
        (b"68656c6c6f", "text/plain; charset=hex", "68656c6c6f"),
        (b"abc-", "text/plain; charset=punycode", "abc-"),
        (rb"\x41", "text/plain; charset=unicode_escape", r"\x41"),
        (b"text", "text/plain; charset=no-such-one", "text"),
        (b"a\0b\xffc", "", "ab\ufffdc"),
        (b"\xed\xa0\x80", "", "\ufffd\ufffd\ufffd"),
        (b"\x00\xd8", "text/plain; charset=utf-16-le", "\ufffd"),
    ],
)
def test_charset_is_the_header_s_if_it_is_one_of_text(body: bytes, content_type: str, text: str) -> None:
    assert response_text(body, content_type) == text


def test_character_that_is_cut_off_at_the_end_is_left_out() -> None:
    body = b"x" + "€".encode() * 1000
    assert response_text(body[:KEPT_BYTES]) == "x" + "€" * 682


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_compressed_text_is_read_as_far_as_it_is_there(compress: object) -> None:
    assert callable(compress)
    encoding = "gzip" if compress is gzip.compress else "deflate"
    assert response_text(compress(b"no seat"), "", encoding) == "no seat"
    long = b" ".join(b"%d" % number for number in range(10_000))
    assert response_text(compress(long)[:KEPT_BYTES], "", encoding) == long[:KEPT_BYTES].decode()
    assert response_text(compress(b"x" * 10_000_000)[:KEPT_BYTES], "", f" {encoding.upper()} ") == "x" * KEPT_BYTES
    assert response_text(b"it is not", "", encoding) == "it is not"
    assert response_text(b"it may be", "", "br") == "it may be"


@given(st.binary(max_size=3000), st.sampled_from(CHARSETS), st.sampled_from(["", "gzip", "deflate", "br"]))
def test_anything_becomes_a_text_that_postgresql_takes(body: bytes, charset: str, encoding: str) -> None:
    text = response_text(body, f"text/plain; charset={charset}", encoding)
    assert "\0" not in text
    assert len(text.encode()) <= 4 * KEPT_BYTES
