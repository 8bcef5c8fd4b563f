"""How requests go: by the option, or by HTTPS_PROXY and NO_PROXY of the environment."""

from __future__ import annotations

import pytest

from cdc_bridge.endpoints.proxy_address import ProxyAddress
from cdc_bridge.transport.proxy import DIRECTLY, Route, route

TILL = "https://till.example/reservations"
PROXY = ProxyAddress("proxy", 3128)
PASSWORD = "unmistakable-password"


@pytest.mark.parametrize(
    ("option", "environment", "expected"),
    [
        (None, {}, DIRECTLY),
        ("http://proxy:3128", {}, Route(PROXY)),
        ("proxy:3128", {"HTTPS_PROXY": "other:1", "NO_PROXY": "*"}, Route(PROXY)),
        ("none", {"HTTPS_PROXY": "proxy:3128"}, DIRECTLY),
        (None, {"HTTPS_PROXY": "proxy:3128"}, Route(PROXY, "HTTPS_PROXY")),
        (None, {"https_proxy": "proxy:3128"}, Route(PROXY, "https_proxy")),
        (None, {"https_proxy": "proxy:3128", "HTTPS_PROXY": "other:1"}, Route(PROXY, "https_proxy")),
        (None, {"https_proxy": "", "HTTPS_PROXY": "other:1"}, DIRECTLY),
        (None, {"HTTPS_PROXY": " "}, DIRECTLY),
        (None, {"HTTP_PROXY": "proxy:3128", "http_proxy": "proxy:3128", "ALL_PROXY": "proxy:3128"}, DIRECTLY),
        (None, {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": ""}, Route(PROXY, "HTTPS_PROXY")),
        (None, {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": "till.example"}, Route(None, "NO_PROXY")),
        (None, {"HTTPS_PROXY": "proxy:3128", "no_proxy": "x,till.example"}, Route(None, "no_proxy")),
        (None, {"HTTPS_PROXY": "proxy:3128", "no_proxy": "x", "NO_PROXY": "*"}, Route(PROXY, "HTTPS_PROXY")),
        (None, {"HTTPS_PROXY": "socks5://proxy:1080", "NO_PROXY": "till.example"}, Route(None, "NO_PROXY")),
        ("none", {"HTTPS_PROXY": "socks5://proxy:1080"}, DIRECTLY),
    ],
)
def test_option_goes_before_the_environment(option: str | None, environment: dict[str, str], expected: Route) -> None:
    assert route(TILL, option, environment) == expected


@pytest.mark.parametrize(
    ("exceptions", "url", "direct"),
    [
        ("*", TILL, True),
        ("localhost, *", TILL, True),
        (".example", TILL, True),
        ("example", TILL, True),
        ("*.example", TILL, True),
        ("TILL.Example", TILL, True),
        ("till.example", "https://TILL.example./x", True),
        ("till.example:443", TILL, True),
        ("till.example:8443", TILL, False),
        ("till.example:8443", "https://till.example:8443/x", True),
        ("ill.example", TILL, False),
        ("till.example.org", TILL, False),
        ("other till.example", TILL, True),
        ("a b,\tc\n,,", TILL, False),
        ("10.0.0.0/8", "https://10.1.2.3/x", True),
        ("10.0.0.0/8", "https://11.1.2.3/x", False),
        ("10.0.0.1/8", "https://10.1.2.3/x", True),
        ("10.1.2.3", "https://10.1.2.3:8443/x", True),
        ("10.1.2.3:8443", "https://10.1.2.3:8443/x", True),
        ("10.0.0.0/8", "https://ten.example/x", False),
        ("10.0.0.0/40,x/y,/", "https://10.1.2.3/x", False),
        ("2001:db8::/32", "https://[2001:db8::1]/x", True),
        ("[2001:db8::1]", "https://[2001:DB8:0::1]:8443/x", True),
        ("10.0.0.0/8", "https://[2001:db8::1]/x", False),
        ("::/0", "https://10.1.2.3/x", False),
        ("b\u00fccher.example", "https://till.example/x", False),
    ],
)
def test_no_proxy_names_hosts_domains_and_ranges(exceptions: str, url: str, *, direct: bool) -> None:
    found = route(url, None, {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": exceptions})
    assert found == (Route(None, "NO_PROXY") if direct else Route(PROXY, "HTTPS_PROXY"))


@pytest.mark.parametrize("host", ["localhost", "localhost.", "x.localhost", "127.0.0.1", "[::1]", "127.8.8.8"])
def test_endpoint_on_this_machine_has_no_proxy_from_the_environment(host: str) -> None:
    assert route(f"https://{host}:8443/", None, {"HTTPS_PROXY": "proxy:3128"}) == DIRECTLY
    assert route(f"https://{host}:8443/", "proxy:3128", {}) == Route(PROXY)


@pytest.mark.parametrize("option", [None, "http://proxy:3128"])
def test_http_to_this_machine_has_no_proxy(option: str | None) -> None:
    assert route("http://localhost:8080/", option, {"HTTPS_PROXY": "proxy:1", "HTTP_PROXY": "proxy:1"}) == DIRECTLY


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (f"socks5://user:{PASSWORD}@proxy:1080", "HTTPS_PROXY in the environment has to be an HTTP proxy"),
        (f"https://user:{PASSWORD}@proxy", "HTTPS_PROXY in the environment has to begin with http://"),
        (f"user:{PASSWORD}@proxy:x", "HTTPS_PROXY in the environment is not a URL"),
    ],
)
def test_proxy_that_cannot_be_used_never_means_directly(value: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as rejected:
        route(TILL, None, {"HTTPS_PROXY": value})
    assert PASSWORD not in str(rejected.value)
    with pytest.raises(ValueError, match=words.removeprefix("HTTPS_PROXY in the environment ")):
        route(TILL, value, {})


def test_way_is_told() -> None:
    through = Route(ProxyAddress("proxy", 3128, ("user", PASSWORD)))
    assert [str(each) for each in (DIRECTLY, Route(None, "NO_PROXY"), Route(PROXY, "HTTPS_PROXY"), through)] == [
        "directly",
        "directly (NO_PROXY)",
        "through the proxy http://proxy:3128 (HTTPS_PROXY)",
        "through the proxy http://proxy:3128",
    ]
    assert DIRECTLY.told("it failed") == "it failed"
    assert through.told("it failed") == "it failed (through the proxy http://proxy:3128)"
    assert PASSWORD not in repr(through)
