"""Which connection yields to a new one."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator

import pytest

from cdc_bridge.web.connections import Connection, most_connections, to_displace, to_reject

LATER = 1000.0


@pytest.fixture
def descriptor() -> Iterator[socket.socket]:
    with socket.socket() as unused:
        yield unused


def connections(
    descriptor: socket.socket, *clients: str, trusted: bool = False, ready: bool = False
) -> list[Connection]:
    return [
        Connection(descriptor, client, float(number), None, trusted=trusted, ready=ready)
        for number, client in enumerate(clients)
    ]


def test_client_with_the_most_connections_loses_its_oldest(descriptor: socket.socket) -> None:
    served = connections(descriptor, "b", "a", "a", "c")
    assert to_displace("d", served, LATER) is served[1]
    assert to_displace("a", served, LATER) is served[1]


def test_client_with_the_most_waits_until_its_oldest_had_a_moment_and_others_do_not(descriptor: socket.socket) -> None:
    served = connections(descriptor, "a", "a", "a", "c")
    assert to_displace("a", served, 0.4) is None
    assert to_displace("a", served, 0.6) is served[0]
    assert to_displace("b", served, 0.4) is served[0]
    alone = connections(descriptor, "a", "b", "c")
    assert to_displace("d", alone, 0.4) is None
    assert to_displace("d", alone, 0.6) is alone[0]


def test_trusted_connections_do_not_count_among_their_clients_and_yield_last(descriptor: socket.socket) -> None:
    trusted = connections(descriptor, "a", "a", "a", trusted=True)
    stranger = Connection(descriptor, "b", 99.0, None)
    assert to_displace("b", [*trusted, stranger], LATER) is stranger
    trusted[0].handling = True
    assert to_displace("b", trusted, LATER) is trusted[1]
    for each in trusted:
        each.handling = True
    assert to_displace("b", trusted, LATER) is trusted[0]
    assert to_displace("b", trusted, 9.0) is None  # Its handler has had little time.


def test_of_those_that_wait_the_oldest_silent_one_of_the_client_with_most_is_rejected(
    descriptor: socket.socket,
) -> None:
    waiting = connections(descriptor, "b", "b", "b", "c", "a", "a")
    for each in waiting[:2]:
        each.ready = True
    assert to_reject(waiting, LATER) is waiting[4]
    waiting[4].ready = True
    assert to_reject(waiting, LATER) is waiting[2]
    assert to_reject(waiting, 2.05) is None


def test_limits_are_a_share_of_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, served, waiting in [(65_536, 64, 192), (1024, 64, 192), (256, 32, 32), (-1, 64, 192), (8, 4, 4)]:
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert most_connections() == (served, waiting)
