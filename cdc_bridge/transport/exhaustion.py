"""Tells whether an attempt failed because this process, or its machine, ran out of something: no endpoint's fault.

An error says what ran out, or nothing does: without a descriptor no name can be resolved and no CA certificate be read,
which looks like the endpoint's fault. So it is also tried whether there is a descriptor left.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import aiohttp

_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_SOCKETS = Path("/proc/net/sockstat")

_MEMORY = "memory"
_MEMORY_ERRORS = {errno.ENOMEM, errno.ENOBUFS}
_DESCRIPTOR_ERRORS = {errno.EMFILE, errno.ENFILE}


def descriptor_limit() -> int:
    """Return how many descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def lowest_free_descriptor() -> int | None:
    """Return the lowest free descriptor, below which all are in use; ``None``: none is free."""
    try:
        descriptor = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return None
    os.close(descriptor)
    return descriptor


def exhausted_resource(error: BaseException) -> str | None:
    """Return what this process ran out of, if that is why an attempt got no response."""
    for cause in _causes_of(error):
        if (found := _resource_of(cause)) is not None:
            return found
    return _descriptors() if lowest_free_descriptor() is None else None


def _resource_of(error: BaseException) -> str | None:  # noqa: PLR0911 - one for each kind of error
    match error:
        case MemoryError() | socket.gaierror(errno=socket.EAI_MEMORY):
            return _MEMORY
        case RuntimeError() if "start new thread" in str(error):
            return "threads"
        case ssl.SSLError():
            return _MEMORY if "MALLOC" in (getattr(error, "reason", None) or "") else None
        case socket.gaierror():
            return None  # Its numbers are not those of errno.
        case OSError() if error.errno in _MEMORY_ERRORS:
            return _MEMORY
        case OSError() if error.errno in _DESCRIPTOR_ERRORS:
            return _descriptors()
        case OSError(errno=errno.EADDRNOTAVAIL) if _ports_are_used_up():
            return "local ports"
        case _:
            return None


def _causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was raised for, or that aiohttp wrapped or joined."""
    seen: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop(0)
        if one is None or one in seen:
            continue
        seen.append(one)
        if isinstance(one, aiohttp.ClientConnectorError):
            pending.append(one.os_error)  # It has that one's number, but not its kind.
        else:
            yield one
        pending += [one.__cause__, one.__context__]
        pending += one.exceptions if isinstance(one, BaseExceptionGroup) else ()


def _descriptors() -> str:
    return f"file descriptors (limit {descriptor_limit():,})"


def _ports_are_used_up() -> bool:
    """Return whether most local ports are in use. If not, this machine has no address of the endpoint's kind."""
    try:
        low, high = map(int, _PORT_RANGE.read_text().split())
        words = next(line.split() for line in _SOCKETS.read_text().splitlines() if line.startswith("TCP:"))
    except (OSError, ValueError, StopIteration):
        return False
    figures = dict(zip(words[1::2], map(int, words[2::2]), strict=False))
    return figures.get("inuse", 0) + figures.get("tw", 0) >= (high - low) // 2
