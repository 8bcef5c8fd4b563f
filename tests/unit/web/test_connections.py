"""Which connection yields to a new one."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator

import pytest

from cdc_bridge.web.connections import Connection, ConnectionLimits, to_displace


@pytest.fixture
def descriptor() -> Iterator[socket.socket]:
    with socket.socket() as unused:
        yield unused


def connections(descriptor: socket.socket, *clients: str, trusted: bool = False) -> list[Connection]:
    return [
        Connection(descriptor, client, False, float(number), None, trusted=trusted)
        for number, client in enumerate(clients)
    ]


def test_place_is_free_below_the_limits(descriptor: socket.socket) -> None:
    taken = connections(descriptor, "a", "a", "b")
    assert to_displace("a", taken, most=4, most_of_client=3) is None
    assert to_displace("a", taken, most=4) is None


def test_client_with_the_most_connections_loses_its_oldest(descriptor: socket.socket) -> None:
    taken = connections(descriptor, "b", "a", "a", "c")
    assert to_displace("d", taken, most=4) is taken[1]
    assert to_displace("a", taken, most=4) is taken[1]


def test_client_at_its_own_limit_takes_the_place_of_none_but_its_own(descriptor: socket.socket) -> None:
    taken = connections(descriptor, "b", "b", "b", "a", "a")
    assert to_displace("a", taken, most=100, most_of_client=2) is taken[3]
    assert to_displace("a", taken, most=5, most_of_client=2) is taken[3]


def test_trusted_connections_do_not_count_among_their_clients_and_yield_last(descriptor: socket.socket) -> None:
    trusted = connections(descriptor, "a", "a", "a", trusted=True)
    assert to_displace("a", trusted, most=4, most_of_client=2) is None
    stranger = Connection(descriptor, "a", False, 99.0, None)
    assert to_displace("a", [*trusted, stranger], most=4, most_of_client=2) is stranger
    trusted[0].handling = True
    assert to_displace("b", trusted, most=3) is trusted[1]
    for each in trusted:
        each.handling = True
    assert to_displace("b", trusted, most=3) is trusted[0]


def test_limits_are_a_share_of_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, silent, of_one_client in [(65_536, 64, 32), (1024, 64, 32), (256, 16, 8), (-1, 64, 32)]:
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        limits = ConnectionLimits.of_process()
        assert (limits.silent, limits.served, limits.of_one_client) == (silent, silent, of_one_client)
