"""The value of the option ``proxy``, and of the environment's variables for it: a proxy's address and credentials.

No message and no text for display repeats user or password, however the value is malformed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from yarl import URL

from cdc_bridge.endpoints.option import CONCEALED
from cdc_bridge.endpoints.option_values import require_host

NO_PROXY_AT_ALL = "none"

_HTTP = "http://"
_HTTP_PORT = 80
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
CREDENTIALS = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?(.+)@[^@]*", re.DOTALL)
"""What is secret in the option's value, whatever psql wrote there."""
_EXAMPLE = "http://proxy:3128 or http://user:password@proxy:3128"


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """An HTTP proxy."""

    host: str
    port: int
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    """User and password; ``None``: it gets none."""

    def __str__(self) -> str:
        """Return its URL for display, without credentials."""
        return f"{_HTTP}{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def proxy_address(text: str) -> ProxyAddress:
    """Return the proxy that a URL names; one without a scheme is of ``http://``.

    Raises:
        ValueError: No proxy of this kind can be used, or it is not a URL; the words follow the name of the value.
    """
    given = text.strip()
    if any(character.isspace() or not character.isprintable() for character in given):
        raise ValueError("has a space or a control character in it")
    scheme = _SCHEME.match(given)
    if scheme is not None and scheme[0].lower() == "https://":
        raise ValueError(
            "has to begin with http://: a proxy is not connected to over TLS; TLS with the endpoint goes through it"
        )
    if scheme is not None and scheme[0].lower() != _HTTP:
        raise ValueError(f"has to be an HTTP proxy, {_EXAMPLE}; no other kind, such as SOCKS, is supported")
    return _parsed(given if scheme is not None else f"{_HTTP}{given}")


def _parsed(given: str) -> ProxyAddress:
    try:
        url = urlsplit(given)
        userinfo, _, address = url.netloc.rpartition("@")
        host, port = URL(f"{_HTTP}{address}").raw_host, urlsplit(f"{_HTTP}{address}").port
    except ValueError:
        raise ValueError(_malformed(given)) from None
    if "@" in url.path + url.query + url.fragment:
        raise ValueError(_malformed(given))
    if not host:
        raise ValueError(f"names no host; it has to look like {_EXAMPLE}")
    if url.path.strip("/") or url.query or url.fragment:
        raise ValueError(f"has something behind the proxy's port; it has to look like {_EXAMPLE}")
    if port == 0:
        raise ValueError("has port 0, which nothing can listen at")
    require_host(host)
    return ProxyAddress(host, _HTTP_PORT if port is None else port, _credentials(userinfo))


def _malformed(given: str) -> str:
    if "@" in given and not set("/?#").isdisjoint(_SCHEME.sub("", given, count=1).rpartition("@")[0]):
        return "has a /, ? or # in its user or password; write it as %2F, %3F or %23"
    return f"is not a URL with a host and a port; it has to look like {_EXAMPLE}"


def _credentials(userinfo: str) -> tuple[str, str] | None:
    if not userinfo:
        return None
    user, _, password = userinfo.partition(":")
    try:
        user, password = unquote(user, errors="strict"), unquote(password, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("has a user or password that is not UTF-8") from None
    if ":" in user:
        raise ValueError("has a colon in its user, which a proxy would take for the end of it")
    if not (user + password).isprintable():
        raise ValueError("has a control character in its user or password")
    return user, password


def usable_proxy(text: str) -> str | None:
    """Return the option's value as it is stored; ``None``, for an empty text: the environment decides.

    Raises:
        ValueError: It cannot be used; the words follow the option's name.
    """
    given = text.strip()
    if not given:
        return None
    if given.lower() == NO_PROXY_AT_ALL:
        return NO_PROXY_AT_ALL
    proxy_address(given)
    return given


def shown_proxy(text: str) -> str:
    """Return the option's value for display, without user and password; psql may have written any text."""
    try:
        given = usable_proxy(text)
        return given or "" if given in {None, NO_PROXY_AT_ALL} else str(proxy_address(text))
    except ValueError:
        return "***"


def concealed_proxy(text: str) -> str:
    """Return the option's value with one mark in place of user and password; psql may have written any text."""
    try:
        given = usable_proxy(text)
        if given in {None, NO_PROXY_AT_ALL} or proxy_address(text).credentials is None:
            return given or ""
        return str(proxy_address(text)).replace(_HTTP, f"{_HTTP}{CONCEALED}@", 1)
    except ValueError:
        return CONCEALED
