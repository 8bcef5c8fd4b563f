"""Bytes to be written in place of an HTTP response, made by Hypothesis: noise, and what is nearly HTTP.

Left out are responses that would disable or pause the endpoint: 410, and those with Retry-After.
"""

from __future__ import annotations

from hypothesis import strategies as st

from tests.support.raw_receiver import RawResponse

_VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"HTTP/9.9", b"http/1.1", b"HTTP/1.1\0", b""])
_STATUSES = st.sampled_from(
    [0, 1, 99, 100, 101, 102, 103, 199, 200, 204, 206, 299, 300, 304, 399, 400, 422, 500, 599, 999]
)
_LINE_ENDS = st.sampled_from([b"\r\n", b"\n", b"\r", b"\r\n\r\n", b""])
_STATUS_LINES = st.builds(
    lambda version, status, phrase: version + b" %d " % status + phrase, _VERSIONS, _STATUSES, st.binary(max_size=10)
)
_ODD_HEADERS = [
    b"content-length: 5",
    b"content-length: -1",
    b"content-length: 5, 6",
    b"content-length: 99999999999999999999",
    b"transfer-encoding: chunked",
    b"transfer-encoding: gzip, chunked",
    b"content-encoding: gzip",
    b"connection: close",
    b"connection: keep-alive",
    b"connection: upgrade",
    b"upgrade: websocket",
    b"location: ://\xff",
    b"set-cookie: a=\xff; expires=never",
    b"date: not a date",
    b"x: " + b"y" * 9000,
    b" folded: line",
    b": no name",
    b"\xffname: value",
]
_ODD_BODIES = [b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b"-1\r\n", b"FFFFFFFFFFFFFFFFF\r\n", b"x" * 100_000]
_ALMOST_HTTP = st.builds(
    lambda line, end, headers, body: line + end + b"".join(header + end for header in headers) + end + body,
    _STATUS_LINES,
    _LINE_ENDS,
    st.lists(st.binary(max_size=40) | st.sampled_from(_ODD_HEADERS), max_size=4),
    st.binary(max_size=60) | st.sampled_from(_ODD_BODIES),
)

raw_responses = st.builds(
    RawResponse, data=st.binary(max_size=200) | _ALMOST_HTTP, closes=st.sampled_from([True] * 9 + [False])
)
