from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.transport.response_head import read_head


@pytest.mark.parametrize(
    "received",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200",
        b"HTTP/1.1 103 Early Hints\r\n\r\nnoise\r\n",
    ],
)
def test_without_a_whole_status_line_there_is_no_status(received: bytes) -> None:
    assert read_head(received) is None


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_headers_that_are_well_formed_are_read_among_others_that_are_not(end: str) -> None:
    lines = ("HTTP/1.1 429 Slow", "no colon", "Retry-After:  7 ", "bad name: x", "Date: today", "Retry-Af")
    head = read_head(end.join(lines).encode())
    assert head is not None
    assert (head.status, dict(head.headers)) == (429, {"retry-after": "7", "date": "today"})


@pytest.mark.parametrize("filling", [b" ", b"\r", b"\n", b"\r\n", b":", b"a: ", b"HTTP/1.1 100 C\r\n\r\n", b"\xff"])
@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\na:"])
def test_reading_takes_no_long_time_whatever_is_received(start: bytes, filling: bytes) -> None:
    began = time.process_time()
    read_head(start + filling * (300_000 // len(filling)) + b"x")
    assert time.process_time() - began < 0.5


@given(st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 422 N\r\n"]), st.binary())
def test_no_bytes_are_too_strange(start: bytes, rest: bytes) -> None:
    head = read_head(start + rest)
    if start:
        assert head is not None
        assert head.status == (422 if b"422" in start else 200)
        assert head.flaw
