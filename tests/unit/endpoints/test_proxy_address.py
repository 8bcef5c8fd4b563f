"""The value that names a proxy: what can be used, and that nothing repeats its user or password."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.endpoints.options import OPTIONS, Endpoint, UnusableOption, endpoint_from
from cdc_bridge.endpoints.proxy_address import ProxyAddress, proxy_address, shown_proxy, usable_proxy

USER, PASSWORD = "unmistakable-user", "unmistakable-password"
CREDENTIALS = f"{USER}:{PASSWORD}@"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://proxy:3128", ProxyAddress("proxy", 3128)),
        ("HTTP://Proxy:3128/", ProxyAddress("proxy", 3128)),
        ("proxy:3128", ProxyAddress("proxy", 3128)),
        (" proxy ", ProxyAddress("proxy", 80)),
        ("http://192.0.2.1:8080", ProxyAddress("192.0.2.1", 8080)),
        ("http://[2001:db8::1]:8080", ProxyAddress("2001:db8::1", 8080)),
        ("http://b\u00fccher.example:1", ProxyAddress("xn--bcher-kva.example", 1)),
        ("http://user:password@proxy:3128", ProxyAddress("proxy", 3128, ("user", "password"))),
        ("user:password@proxy:3128", ProxyAddress("proxy", 3128, ("user", "password"))),
        ("http://user@proxy:3128", ProxyAddress("proxy", 3128, ("user", ""))),
        ("http://:password@proxy:3128", ProxyAddress("proxy", 3128, ("", "password"))),
        ("http://@proxy:3128", ProxyAddress("proxy", 3128)),
        ("http://user:p@ss:word@proxy:3128", ProxyAddress("proxy", 3128, ("user", "p@ss:word"))),
        (
            "http://us%40er:%3A%2F%3f%23%25%C3%BC+x@proxy:3128",
            ProxyAddress("proxy", 3128, ("us@er", ":/?#%\u00fc+x")),
        ),
        ("http://user:100%@proxy:3128", ProxyAddress("proxy", 3128, ("user", "100%"))),
    ],
)
def test_address_and_credentials_are_read(text: str, address: ProxyAddress) -> None:
    assert proxy_address(text) == address


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"https://{CREDENTIALS}proxy:3128", "TLS with the endpoint goes through it"),
        (f"socks5://{CREDENTIALS}proxy:1080", "such as SOCKS"),
        (f"socks5h://{CREDENTIALS}proxy:1080", "such as SOCKS"),
        (f"http://{CREDENTIALS}:3128", "names no host|is not a URL"),
        (f"http://{CREDENTIALS}", "names no host|is not a URL"),
        (f"{CREDENTIALS}proxy:port", "is not a URL"),
        (f"{CREDENTIALS}proxy:65536", "is not a URL"),
        (f"{CREDENTIALS}proxy:-1", "is not a URL"),
        (f"{CREDENTIALS}proxy:0", "port 0"),
        (f"{CREDENTIALS}proxy:3128/path", "behind the proxy's port"),
        (f"{CREDENTIALS}proxy:3128?{PASSWORD}", "behind the proxy's port"),
        (f"{CREDENTIALS}proxy:3128#{PASSWORD}", "behind the proxy's port"),
        (f"http://{USER}:{PASSWORD}/x@proxy:3128", "write it as %2F"),
        (f"http://{USER}:{PASSWORD}#x@proxy:3128", "write it as %2F, %3F or %23"),
        (f"http://{USER}:1?{PASSWORD}@proxy:3128", "write it as %2F"),
        (f"http://{USER}:{PASSWORD} x@proxy:3128", "a space or a control character"),
        (f"http://{USER}:{PASSWORD}\r\nx@proxy:3128", "a space or a control character"),
        (f"http://{USER}:{PASSWORD}%0d%0aX-Injected:1@proxy:3128", "control character in its user"),
        (f"http://{USER}:{PASSWORD}%ff@proxy:3128", "not UTF-8"),
        (f"http://{USER}%3Ax:{PASSWORD}@proxy:3128", "colon in its user"),
        (f"http://{CREDENTIALS}[::1:3128", "is not a URL"),
        (f"http://{CREDENTIALS}127.1:3128", "four numbers"),
        (f"http://{CREDENTIALS}pro..xy:3128", "cannot be a host's name"),
        (f"http://{USER}:{PASSWORD}", "is not a URL"),
        ("://", "names no host|is not a URL"),
        ("http://", "names no host|is not a URL"),
    ],
)
def test_what_cannot_be_used_is_rejected_without_a_word_of_its_credentials(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as rejected:
        proxy_address(text)
    assert USER not in str(rejected.value)
    assert PASSWORD not in str(rejected.value)
    assert rejected.value.__cause__ is None
    with pytest.raises(UnusableOption) as unusable:
        endpoint_from("till", {"url": "https://till.example", "proxy": text}, allow_http=False)
    assert USER not in str(unusable.value)
    assert PASSWORD not in str(unusable.value)
    assert shown_proxy(text) == "***"


@given(
    st.text(st.sampled_from("ap0:/@[]?#%. \n\\-") | st.characters(), max_size=20).map(f"http://{CREDENTIALS}".__add__)
)
def test_no_text_is_shown_or_rejected_with_its_credentials(text: str) -> None:
    told = shown_proxy(text)
    try:
        told += str(proxy_address(text)) + repr(proxy_address(text))
    except ValueError as error:
        told += str(error)
    assert USER not in told
    assert PASSWORD not in told


@pytest.mark.parametrize(("text", "stored"), [("", None), ("  ", None), ("none", "none"), (" NONE ", "none")])
def test_empty_value_leaves_it_to_the_environment_and_none_to_nobody(text: str, stored: str | None) -> None:
    assert usable_proxy(text) == stored
    assert shown_proxy(text) == (stored or "")


def test_proxy_s_name_may_be_none_with_a_scheme() -> None:
    assert proxy_address("http://none") == ProxyAddress("none", 80)


def test_credentials_are_stored_and_not_shown() -> None:
    given = f"http://{CREDENTIALS}proxy:3128"
    endpoint = endpoint_from("till", {"url": "https://till.example", "proxy": given}, allow_http=False)
    assert endpoint.proxy == given
    assert OPTIONS["proxy"].shown(given) == "http://proxy:3128"
    assert endpoint.storable()["proxy"] == "http://proxy:3128"
    assert PASSWORD not in repr(endpoint) + repr(proxy_address(given)) + str(proxy_address(given))
    assert OPTIONS["proxy"].shown(None) is None


def test_address_is_shown_with_its_port() -> None:
    assert str(proxy_address("user@[::1]")) == "http://[::1]:80"
    assert shown_proxy(f"{CREDENTIALS}proxy") == "http://proxy:80"


def test_default_is_the_environment() -> None:
    assert Endpoint(name="till", url="https://till.example").proxy is None
