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
        "fd00:ec2::23",  # credentials of a pod, Amazon
        "fd20:ce::254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1:a9fe:a9:fe00::",  # behind a prefix of 48 bits
        "64:ff9b:1:a9:fe:a9fe::",  # of 56
        "64:ff9b:1::a9:fea9:fe00:0",  # of 64
        "::a9fe:a9fe",
        "::ffff:0:a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "2002:e000:1::",
        "2001:0:a9fe:a9fe:8000:63bf:3fff:fdd2",  # Teredo: the server
        "2001:0:4136:e378:8000:63bf:5601:5601",  # Teredo: the client
        "2001:db8::5efe:a9fe:a9fe",
        "2001:db8::200:5efe:a9fe:a9fe",
        "100.100.100.200",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
    ],
)
def test_link_local_metadata_and_multicast_addresses_are_forbidden(address: str) -> None:
    assert "never connected to" in (forbidden_reason(address, only_loopback=False) or "")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "192.168.1.20",
        "10.0.0.5",
        "203.0.113.9",
        "2001:db8::1",
        "64:ff9b::808:808",
        "64:ff9b:1::a00:5",
        "64:ff9b:1:a00:0:500::",
        "2002:808:808::1",
        "::ffff:10.0.0.5",
        "2001:db8::5efe:a00:5",
    ],
)
def test_other_addresses_are_allowed_with_tls(address: str) -> None:
    assert forbidden_reason(address, only_loopback=False) is None


def test_without_tls_only_this_machine_is_allowed() -> None:
    assert forbidden_reason("127.0.0.1", only_loopback=True) is None
    assert forbidden_reason("::1", only_loopback=True) is None
    assert forbidden_reason("::ffff:127.0.0.1", only_loopback=True) is None
    assert "https://" in (forbidden_reason("2002:7f00:1::", only_loopback=True) or "")
    assert "https://" in (forbidden_reason("192.168.1.20", only_loopback=True) or "")
