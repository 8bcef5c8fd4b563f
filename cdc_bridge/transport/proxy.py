"""Decides how requests to an endpoint go: directly, or through a proxy.

The option ``proxy`` comes first. Without it, the environment's ``HTTPS_PROXY`` and ``NO_PROXY`` decide, as they do for
curl and most other programs, in lower or in upper case. What cannot be used is an error, and never means directly:
whoever names a proxy may rely on it.

Only requests over TLS go through a proxy, so it sees neither headers nor body. The environment names none for an
endpoint on this machine: a proxy on another machine would connect to itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it

from yarl import URL

from cdc_bridge.endpoints.option_values import is_loopback
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.proxy_address import NO_PROXY_AT_ALL, ProxyAddress, proxy_address

_PROXY = ("https_proxy", "HTTPS_PROXY")
_EXCEPTIONS = ("no_proxy", "NO_PROXY")
_SEPARATOR = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class Route:
    """How requests go."""

    proxy: ProxyAddress | None = None
    """``None``: directly."""
    variable: str | None = None
    """The environment variable that decided; ``None``: the option did, or nothing."""

    def __str__(self) -> str:
        """Return it for people."""
        way = "directly" if self.proxy is None else f"through the proxy {self.proxy}"
        return way if self.variable is None else f"{way} ({self.variable})"

    def told(self, reason: str) -> str:
        """Return why a request failed, and whose fault it may be as well: the proxy's that it went through."""
        return reason if self.proxy is None else f"{reason} (through the proxy {self.proxy})"


DIRECTLY = Route()


def route_of(endpoint: Endpoint) -> Route:
    """Return how this process's requests to an endpoint go.

    Raises:
        ValueError: Its environment names a proxy that cannot be used; repeats neither user nor password.
    """
    return route(endpoint.url, endpoint.proxy, os.environ)


def route(url: str, option: str | None, environment: Mapping[str, str]) -> Route:
    """Return how requests to an endpoint go.

    Args:
        url: The endpoint's.
        option: Value of its option ``proxy``.
        environment: Variables of the process.

    Raises:
        ValueError: The environment names a proxy that cannot be used; repeats neither user nor password.
    """
    if urlsplit(url).scheme != "https" or option == NO_PROXY_AT_ALL:
        return DIRECTLY
    if option is not None:
        return Route(proxy_address(option))
    return _route_of_environment(url, environment)


def _route_of_environment(url: str, environment: Mapping[str, str]) -> Route:
    variable, value = _variable(_PROXY, environment)
    host, port = (URL(url).raw_host or "").rstrip("."), URL(url).port
    if variable is None or is_loopback(host):
        return DIRECTLY
    exception, exceptions = _variable(_EXCEPTIONS, environment)
    if exception is not None and _is_excepted(host, port, exceptions):
        return Route(None, exception)
    try:
        return Route(proxy_address(value), variable)
    except ValueError as error:
        raise ValueError(f"{variable} in the environment {error}") from None


def _variable(names: tuple[str, str], environment: Mapping[str, str]) -> tuple[str | None, str]:
    """Return name and value of a variable; that in lower case goes before the other, and an empty one is none."""
    name = next((name for name in names if name in environment), None)
    value = "" if name is None else environment[name].strip()
    return (name, value) if value else (None, "")


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    # Some write *.example for .example, and [::1] as in a URL.
    names = [name.removeprefix("*.").strip("[]") for name in _SEPARATOR.split(exceptions) if name]
    if "*" in names or _is_in_a_range(host, names):
        return True
    return bool(proxy_bypass_environment(f"{host}:{port}", {"no": ",".join(names)}))


def _is_in_a_range(host: str, names: list[str]) -> bool:
    """Return whether a host is an address in a range such as 10.0.0.0/8; the standard library knows none."""
    with suppress(ValueError):
        ip = ip_address(host)
        return any(ip in network for network in _networks(names))
    return False


def _networks(names: list[str]) -> Iterator[IPv4Network | IPv6Network]:
    for name in names:
        with suppress(ValueError):
            yield ip_network(name, strict=False)
