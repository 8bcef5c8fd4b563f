"""Clients of addresses, and what a proxy adds."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from cdc_bridge.web.client_address import client_of, forwarded_by_proxy, is_in


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("nonsense", "nonsense"),
    ],
)
def test_client_is_an_address_or_a_network_of_ipv6(address: str, client: str) -> None:
    assert client_of(address) == client


def test_address_of_the_proxy_is_known_in_each_form() -> None:
    assert is_in("10.1.2.3", ip_network("10.1.2.0/28"))
    assert is_in("::ffff:10.1.2.3", ip_network("10.1.2.0/28"))
    assert is_in("fd00::1", ip_network("fd00::1"))
    assert not is_in("10.1.2.77", ip_network("10.1.2.0/28"))
    assert not is_in("fd00::1", ip_network("10.1.2.0/28"))
    assert not is_in("", ip_network("0.0.0.0/0"))
    assert not is_in("10.1.2.3", None)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ([], None),
        ([""], None),
        (["192.0.2.7"], "192.0.2.7"),
        (["10.0.0.1, 192.0.2.7"], "192.0.2.7"),
        (["10.0.0.1", "10.0.0.2,192.0.2.7 "], "192.0.2.7"),
        (["192.0.2.7:51234"], "192.0.2.7"),
        (["[2001:db8::1]:51234"], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["192.0.2.7, unknown"], None),
        (["192.0.2.7, x\x1b[2J"], None),
    ],
)
def test_last_entry_is_the_one_that_the_proxy_added(lines: list[str], address: str | None) -> None:
    assert forwarded_by_proxy(lines) == address
