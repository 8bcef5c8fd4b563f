"""Reads the head of a response that an HTTP parser rejects, and says what is wrong with the response.

The status line says what the endpoint did with a request. Whatever follows it can be wrong in many ways: lengths that
contradict one another, a body where none belongs, headers without an end. It costs the connection, never the verdict.
What is said about it is our own words: a response may repeat the request's body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_HEADER_BYTES = 8190
MOST_HEADERS = 128

BODY_CUT_OFF = "a body that ends too early"
BODY_TOO_LONG = "a body that does not end within 64 KiB and 1 s"
BYTES_BEHIND = "bytes behind its end"
BYTES_UNASKED = "bytes before the request"

_STATUS_LINE = re.compile(rb"[\r\n]*HTTP/1\.\d (\d{3})(?: [^\n]*|\r)?\n")
_END = re.compile(rb"\r?\n\r?\n")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_WITHOUT_BODY = (204, 304)


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What can be read of a response."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Those that are well-formed."""
    flaw: str
    """What is wrong: a noun phrase."""


def read_head(received: bytes) -> ResponseHead | None:
    """Return the head of a malformed response; ``None``: there is no whole status line but those of interim responses.

    Args:
        received: What was received since the request was sent; it may be cut off.
    """
    position = 0
    while (line := _STATUS_LINE.match(received, position)) is not None:
        status = int(line[1])
        end = _END.search(received, line.end() - 1)
        if status == 101 or not 100 <= status < 200:
            if end is None:
                return _read(status, received[line.end() :], None)
            return _read(status, received[line.end() : end.start()], received[end.end() :])
        if end is None:
            return None
        position = end.end()
    return None


def _read(status: int, head: bytes, rest: bytes | None) -> ResponseHead:
    lines = [line for line in head.split(b"\n") if line.strip(b"\r")]
    if rest is None and not head.endswith(b"\n"):
        del lines[-1:]  # cut off
    headers = tuple(header for line in lines if (header := _header(line)) is not None)
    return ResponseHead(status, headers, _flaw(status, lines, headers, rest))


def _header(line: bytes) -> tuple[str, str] | None:
    name, colon, value = line.partition(b":")
    if not colon or b"\0" in value or not _NAME.fullmatch(name):
        return None
    return name.decode().lower(), value.strip().decode("latin-1")


def _flaw(  # noqa: PLR0911 - one for each kind
    status: int, lines: list[bytes], headers: tuple[tuple[str, str], ...], rest: bytes | None
) -> str:
    if any(len(line) > LONGEST_HEADER_BYTES for line in lines):
        return f"a header of more than {LONGEST_HEADER_BYTES} bytes"
    if len(lines) > MOST_HEADERS:
        return f"more than {MOST_HEADERS} headers"
    lengths = [value for name, value in headers if name == "content-length"]
    is_encoded = any(name == "transfer-encoding" for name, _ in headers)
    if is_encoded and lengths:
        return "Content-Length beside Transfer-Encoding"
    if flaw := _flaw_of_length(lengths):
        return flaw
    if len(headers) < len(lines):
        return "a malformed header"
    if rest is None:
        return "headers that end too early"
    if not rest:
        return "a Transfer-Encoding that cannot be read" if is_encoded else "a malformed status line"
    if status in _WITHOUT_BODY:
        return f"a body, which HTTP {status} does not allow"
    if is_encoded:
        return "a malformed chunk"
    return "more body than its Content-Length, which counts bytes" if lengths else BYTES_BEHIND


def _flaw_of_length(lengths: list[str]) -> str | None:
    if len(lengths) > 1 or any("," in length for length in lengths):
        return "Content-Length more than once"
    if any(not (length.isascii() and length.isdigit()) for length in lengths):
        return "a Content-Length that is not a number"
    return None
