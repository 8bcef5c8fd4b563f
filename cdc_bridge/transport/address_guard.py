"""Which network addresses may be connected to.

Checked when a connection is made, after the name was resolved: a check of the URL alone would miss a name that resolves
to a forbidden address, today or after its DNS entry was changed.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

_FORBIDDEN = (
    ip_network("169.254.0.0/16"),  # link-local, with the metadata service of most clouds
    ip_network("fe80::/10"),  # link-local
    ip_network("fd00:ec2::254/128"),  # metadata, Amazon
    ip_network("100.100.100.200/32"),  # metadata, Alibaba
    ip_network("192.0.0.192/32"),  # metadata, Oracle
    ip_network("168.63.129.16/32"),  # host agent, Azure
    ip_network("0.0.0.0/8"),
    ip_network("::/128"),
    ip_network("224.0.0.0/4"),  # multicast
    ip_network("ff00::/8"),  # multicast
)

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]


class ForbiddenAddress(OSError):
    """The endpoint's name resolves to an address that requests are never sent to."""


def forbidden_reason(address: str, *, only_loopback: bool) -> str | None:
    """Return why an address may not be connected to, or ``None``.

    Args:
        address: An IPv4 or IPv6 address.
        only_loopback: Without TLS nothing leaves this machine.
    """
    ip = _unmapped(address)
    if any(ip in network for network in _FORBIDDEN):
        return f"{ip} is a link-local, metadata or multicast address, which is never connected to"
    if only_loopback and not ip.is_loopback:
        return f"{ip} is not this machine, and http:// is for this machine only; use https://"
    return None


def _unmapped(address: str) -> IPv4Address | IPv6Address:
    ip = ip_address(address.partition("%")[0])
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def guarded_socket_factory(*, only_loopback: bool) -> Callable[[AddressInfo], socket.socket]:
    """Return a factory for aiohttp's connector that makes no socket for a forbidden address."""

    def make_socket(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        if reason := forbidden_reason(address[0], only_loopback=only_loopback):
            raise ForbiddenAddress(reason)
        return socket.socket(family, kind, protocol)

    return make_socket
