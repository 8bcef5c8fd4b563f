from __future__ import annotations

import pytest

from cdc_bridge.transport.address_guard import forbidden_reason


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
    ],
)
def test_link_local_metadata_and_multicast_addresses_are_forbidden(address: str) -> None:
    assert "never connected to" in (forbidden_reason(address, only_loopback=False) or "")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "192.168.1.20", "10.0.0.5", "203.0.113.9", "2001:db8::1"])
def test_other_addresses_are_allowed_with_tls(address: str) -> None:
    assert forbidden_reason(address, only_loopback=False) is None


def test_without_tls_only_this_machine_is_allowed() -> None:
    assert forbidden_reason("127.0.0.1", only_loopback=True) is None
    assert forbidden_reason("::1", only_loopback=True) is None
    assert "https://" in (forbidden_reason("192.168.1.20", only_loopback=True) or "")
