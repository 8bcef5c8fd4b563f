"""What counts as this process's own exhaustion, and what does not."""

from __future__ import annotations

import errno
import os
import resource
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from cdc_bridge.transport import exhaustion
from cdc_bridge.transport.exhaustion import exhausted_resource, lowest_free_descriptor
from cdc_bridge.transport.tls import tls_context
from tests.unit.runtime.scripted import TILL

KEY = ConnectionKey("till.example", 443, True, True, None, None, None)


def connecting(error: OSError) -> Exception:
    return aiohttp.ClientConnectorError(KEY, error)


def resolving(error: OSError) -> Exception:
    return aiohttp.ClientConnectorDNSError(KEY, error)


def raised_for(error: BaseException) -> Exception:
    outer = ConnectionError("connection lost")
    outer.__cause__ = error
    return outer


def of_openssl(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL] {reason.lower()}")
    error.reason = reason
    return error


@pytest.fixture
def no_descriptor() -> Iterator[None]:
    """Leaves the process none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = lowest_free_descriptor()
    assert lowest_free is not None
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Says what the kernel tells of its sockets."""
    monkeypatch.setattr(exhaustion, "_PORT_RANGE", tmp_path / "range")
    monkeypatch.setattr(exhaustion, "_SOCKETS", tmp_path / "sockets")
    (tmp_path / "range").write_text("32768\t60999\n")
    return lambda figures: cast(
        "None", (tmp_path / "sockets").write_text(f"sockets: used 9\nTCP: {figures}\nUDP: inuse 1\n")
    )


@pytest.mark.parametrize(
    ("error", "of"),
    [
        (connecting(OSError(errno.EMFILE, "Too many open files")), "file descriptors"),
        (connecting(OSError(errno.ENFILE, "Too many open files in system")), "file descriptors"),
        (connecting(OSError(errno.ENOBUFS, "No buffer space available")), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (MemoryError(), "memory"),
        (raised_for(MemoryError()), "memory"),
        (resolving(socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure")), "memory"),
        (resolving(OSError(errno.EMFILE, "Too many open files")), "file descriptors"),
        (RuntimeError("can't start new thread"), "threads"),
        (of_openssl("MALLOC_FAILURE"), "memory"),
        (connecting(of_openssl("ERR_R_MALLOC_FAILURE")), "memory"),
    ],
)
def test_error_that_says_so_is_our_own_exhaustion(error: Exception, of: str) -> None:
    assert (exhausted_resource(error) or "").startswith(of)


@pytest.mark.parametrize(
    "error",
    [
        connecting(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")),
        connecting(OSError(errno.ENETUNREACH, "Network is unreachable")),
        connecting(OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")),
        resolving(socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
        resolving(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")),
        resolving(socket.gaierror(errno.ENOMEM, "another number than errno's")),
        of_openssl("CERTIFICATE_VERIFY_FAILED"),
        ssl.SSLError(errno.ENOMEM, "another number than errno's"),
        RuntimeError("Session is closed"),
        aiohttp.ServerDisconnectedError(),
    ],
)
def test_any_other_error_is_not(error: Exception) -> None:
    assert exhausted_resource(error) is None


@pytest.mark.parametrize(
    "error",
    [
        resolving(socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
        resolving(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")),
        resolving(OSError(errno.EBUSY, "Device or resource busy")),
        of_openssl("CERTIFICATE_VERIFY_FAILED"),
    ],
)
@pytest.mark.usefixtures("no_descriptor")
def test_error_that_does_not_say_so_is_our_own_exhaustion_while_there_is_no_descriptor(error: Exception) -> None:
    assert (exhausted_resource(error) or "").startswith("file descriptors (limit ")


@pytest.mark.usefixtures("no_descriptor")
def test_certificates_of_the_system_are_not_taken_for_none_while_there_is_no_descriptor() -> None:
    with pytest.raises(OSError, match="Too many open files"):
        tls_context(TILL)


def test_local_ports_are_used_up_if_the_kernel_has_that_many_connections(ports: Callable[[str], None]) -> None:
    error = connecting(OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"))
    ports("inuse 200 orphan 0 tw 28000 alloc 210 mem 1")
    assert exhausted_resource(error) == "local ports"
    ports("inuse 20 orphan 0 tw 3 alloc 21 mem 1")
    assert exhausted_resource(error) is None, "this machine has no IPv6 address"


def test_lowest_free_descriptor_is_free_again() -> None:
    first = lowest_free_descriptor()
    assert first == lowest_free_descriptor()
    assert first is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first)
