"""Address, port and TLS of the HTTP server, from the settings: never open to other machines without protection."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from pydantic import SecretStr

from cdc_bridge.checks.verdict import Check, failed_by, ok, warning
from cdc_bridge.endpoints.option_values import check_certificate
from cdc_bridge.errors import SettingsError
from cdc_bridge.settings import PREFIX, Settings
from cdc_bridge.web.client_address import is_in

LEAST_TOKEN_CHARACTERS = 20
_MAKE_ONE = "Make one: openssl rand -hex 24"


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Address, port and TLS of the HTTP server."""

    address: str
    port: int
    tls: ssl.SSLContext | None
    proxy: IPv4Network | IPv6Network | None
    """Addresses of the HTTPS proxy in front of it."""

    @property
    def is_local(self) -> bool:
        """Whether no other machine reaches the server, not even through a proxy."""
        return ip_address(self.address).is_loopback and self.proxy is None

    @property
    def over_https(self) -> bool:
        """Whether browsers use HTTPS."""
        return self.tls is not None or self.proxy is not None

    def is_proxy(self, address: str) -> bool:
        """Whether an address is the proxy's."""
        return is_in(address, self.proxy)

    @property
    def url(self) -> str:
        """URL of the server on this machine."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}"


def listen_settings(settings: Settings) -> ListenSettings | None:
    """Return address, port and TLS; ``None``: there is no server.

    Raises:
        SettingsError: The server would be open to other machines without protection, or the certificate or a token
            cannot be used.
    """
    problems = [*_token_problems(settings)]
    tls, proxy, address, is_local = None, None, settings.web_address.strip(), True
    try:
        is_local = ip_address(address).is_loopback
    except ValueError:
        told, remedy = "is not an IP address", "For example 127.0.0.1, or 0.0.0.0 for all interfaces."
        problems.append(SettingsError(f"{settings.called('web_address')} {told}", remedy))
    try:
        proxy = _proxy(settings)
    except SettingsError as error:
        problems.append(error)
    try:
        tls = _tls(settings)
    except SettingsError as error:
        problems.append(error)
    if problems:
        raise SettingsError.of(problems)
    if not is_local or proxy is not None:
        if all(token is None for token in tokens_of(settings).values()):
            raise SettingsError(
                f"{PREFIX}WEB_TOKEN is not set, and other machines could reach the dashboard", _MAKE_ONE
            )
        if tls is None and proxy is None:
            raise SettingsError(
                f"{settings.called('web_address')} {address} is reached by other machines, and without TLS",
                f"Set {PREFIX}WEB_CERTIFICATE_FILE; or, behind a proxy that does HTTPS, {PREFIX}WEB_PROXY_ADDRESS.",
            )
    if not settings.web_port:
        return None
    return ListenSettings(address, settings.web_port, tls, proxy)


def check_dashboard(settings: Settings) -> Check | None:
    """The dashboard can be served with these settings; ``None``: they do not mention it."""
    if not any(name.startswith("web_") for name in settings.model_fields_set):
        return None
    try:
        listen = listen_settings(settings)
    except SettingsError as error:
        return failed_by("dashboard", error)
    if listen is None:
        return warning("dashboard", "off, as web_port is not set", f"Set {PREFIX}WEB_PORT, 9187 for example.")
    api = "the API and " if settings.web_api_token is not None else ""
    if settings.web_token is None:
        return ok("dashboard", f"without web_token, open to named tokens only; {api}metrics at {listen.url}")
    return ok("dashboard", f"{listen.url}, with the API" if api else listen.url)


def tokens_of(settings: Settings) -> dict[str, SecretStr | None]:
    """Return the tokens in the settings, by name."""
    return {
        "web_token": settings.web_token,
        "web_api_token": settings.web_api_token,
    }


def _token_problems(settings: Settings) -> Iterator[SettingsError]:
    names: dict[str, str] = {}
    for name, token in tokens_of(settings).items():
        if token is None:
            continue
        called, text = settings.called(name), token.get_secret_value()
        if len(text) < LEAST_TOKEN_CHARACTERS:
            told = f"{called} is shorter than {LEAST_TOKEN_CHARACTERS} characters, and could be guessed"
            yield SettingsError(told, _MAKE_ONE)
        elif text in names:
            yield SettingsError(f"{called} is the same as {names[text]}", _MAKE_ONE)
        names[text] = called


def _proxy(settings: Settings) -> IPv4Network | IPv6Network | None:
    if settings.web_proxy_address is None:
        return None
    try:
        return ip_network(settings.web_proxy_address.strip())
    except ValueError:
        raise SettingsError(
            f"{settings.called('web_proxy_address')} is neither an IP address nor a network",
            "For example 127.0.0.1 or 10.1.2.0/28.",
        ) from None


def _tls(settings: Settings) -> ssl.SSLContext | None:
    certificate_file, key_file = settings.web_certificate_file, settings.web_key_file
    if certificate_file is None:
        if key_file is not None:
            raise SettingsError(f"{settings.called('web_key_file')} is set, but {PREFIX}WEB_CERTIFICATE_FILE is not")
        return None
    try:
        check_certificate(certificate_file, key_file)
    except ValueError as error:
        raise SettingsError(f"{settings.called('web_certificate_file')} {error}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(certificate_file, key_file)
    return context
