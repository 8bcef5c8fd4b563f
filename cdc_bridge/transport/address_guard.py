"""Which network addresses may be connected to.

Checked when a connection is made, after the name was resolved: a check of the URL alone would miss a name that resolves
to a forbidden address, today or after its DNS entry was changed.

An IPv6 address may stand for an IPv4 address, which a gateway on the way translates it to. It is judged by both.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

_FORBIDDEN = (
    ip_network("169.254.0.0/16"),  # link-local, with the metadata service of most clouds
    ip_network("fe80::/10"),  # link-local
    ip_network("fd00:ec2::/32"),  # metadata, Amazon
    ip_network("fd20:ce::254/128"),  # metadata, Google
    ip_network("100.100.100.200/32"),  # metadata, Alibaba
    ip_network("192.0.0.192/32"),  # metadata, Oracle
    ip_network("168.63.129.16/32"),  # host agent, Azure
    ip_network("0.0.0.0/8"),
    ip_network("::/128"),
    ip_network("224.0.0.0/4"),  # multicast
    ip_network("ff00::/8"),  # multicast
)

_LAST_32_BITS = (
    ip_network("::/96"),  # IPv4-compatible
    ip_network("::ffff:0:0/96"),  # IPv4-mapped
    ip_network("::ffff:0:0:0/96"),  # IPv4-translated (RFC 2765)
    ip_network("64:ff9b::/96"),  # NAT64 (RFC 6052)
)
_LOCAL_NAT64 = ip_network("64:ff9b:1::/48")  # RFC 8215; each network chooses the length of its prefix
_ISATAP = {b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe"}

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]


class ForbiddenAddress(OSError):
    """The endpoint's name resolves to an address that requests are never sent to."""


def forbidden_reason(address: str, *, only_loopback: bool) -> str | None:
    """Return why an address may not be connected to, or ``None``.

    Args:
        address: An IPv4 or IPv6 address.
        only_loopback: Without TLS nothing leaves this machine.
    """
    ip = ip_address(address.partition("%")[0])
    for judged in (ip, *_embedded(ip)):
        if any(judged in network for network in _FORBIDDEN):
            told = str(judged) if judged == ip else f"{ip} stands for {judged}, which"
            return f"{told} is a link-local, metadata or multicast address, which is never connected to"
    if only_loopback and not (ip.is_loopback or (_is_mapped(ip) and all(each.is_loopback for each in _embedded(ip)))):
        return f"{ip} is not this machine, and http:// is for this machine only; use https://"
    return None


def _is_mapped(ip: IPv4Address | IPv6Address) -> bool:
    return isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None


def _embedded(ip: IPv4Address | IPv6Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that an IPv6 address may stand for."""
    if not isinstance(ip, IPv6Address) or ip.is_loopback or ip.is_unspecified:
        return
    packed = ip.packed
    if any(ip in network for network in _LAST_32_BITS) or packed[8:12] in _ISATAP:
        yield IPv4Address(packed[12:])
    if ip in _LOCAL_NAT64:  # after a prefix of 48, 56, 64 or 96 bits; the octet at 8 is not used
        octets = (packed[6:8] + packed[9:11], packed[7:8] + packed[9:12], packed[9:13], packed[12:])
        yield from (IPv4Address(each) for each in octets if each[0])
    if ip.sixtofour is not None:
        yield ip.sixtofour
    if ip.teredo is not None:
        yield from ip.teredo


def shown_address(address: tuple[Any, ...]) -> str:
    """Return an address of a socket with its port, as it stands in a URL."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def guarded_socket_factory(*, only_loopback: bool) -> Callable[[AddressInfo], socket.socket]:
    """Return a factory for aiohttp's connector that makes no socket for a forbidden address."""

    def make_socket(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        if reason := forbidden_reason(address[0], only_loopback=only_loopback):
            raise ForbiddenAddress(reason)
        return socket.socket(family, kind, protocol)

    return make_socket
