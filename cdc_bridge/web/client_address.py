"""Who a client is, for limits: an IPv4 address, or the /64 that an IPv6 address is in.

One client has a whole /64 to itself, so a limit on each address would be no limit.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_IPV6_PREFIX_BITS = 64


def client_of(address: str) -> str:
    """Return the client that an address belongs to; an address that cannot be parsed is its own client."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if (mapped := parsed.ipv4_mapped) is not None:
            return str(mapped)
        return str(ip_network((parsed, _IPV6_PREFIX_BITS), strict=False))
    return str(parsed)


def is_in(address: str, network: IPv4Network | IPv6Network | None) -> bool:
    """Return whether an address is in a network."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return network is not None and parsed in network


def forwarded_by_proxy(header_lines: list[str]) -> str | None:
    """Return the address that the nearest proxy added to ``X-Forwarded-For``; ``None``: it added none.

    It wrote the last entry, possibly in a header line of its own. Those before come from the client.
    """
    entry = header_lines[-1].rpartition(",")[2].strip() if header_lines else ""
    host = entry
    if entry.startswith("["):
        host = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:  # Some proxies add the port.
        host = entry.partition(":")[0]
    try:
        return str(ip_address(host))
    except ValueError:
        return None
