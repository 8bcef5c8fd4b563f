"""Where the page and the figures are served, decided from the settings: never to other machines without protection."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cdc_bridge.checks.verdict import Check, failed, ok, warning
from cdc_bridge.endpoints.option_values import check_certificate
from cdc_bridge.errors import SettingsError
from cdc_bridge.settings import PREFIX, Settings

LEAST_TOKEN_CHARACTERS = 20
_MAKE_ONE = "Make one: openssl rand -hex 24"


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to serve, and how browsers come there."""

    address: str
    port: int
    tls: ssl.SSLContext | None
    behind_proxy: bool

    @property
    def to_this_machine_only(self) -> bool:
        """Whether no other machine reaches it, be it through a proxy."""
        return ip_address(self.address).is_loopback and not self.behind_proxy

    @property
    def over_https(self) -> bool:
        """Whether browsers speak HTTPS."""
        return self.tls is not None or self.behind_proxy

    @property
    def url(self) -> str:
        """Where it is on this machine."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}"


def listening_of(settings: Settings) -> Listening | None:
    """Return where to serve; ``None``: nowhere.

    Raises:
        SettingsError: it would be without protection, or the certificate or a token cannot be used.
    """
    _check_tokens(settings)
    tls = _tls(settings.web_certificate_file, settings.web_key_file)
    address = settings.web_address.strip()
    try:
        is_loopback = ip_address(address).is_loopback
    except ValueError:
        raise SettingsError(
            f"{PREFIX}WEB_ADDRESS is no address", "For example 127.0.0.1, or 0.0.0.0 for all of this machine's."
        ) from None
    if not is_loopback or settings.web_behind_proxy:
        if settings.web_token is None and settings.web_view_token is None:
            raise SettingsError(f"{PREFIX}WEB_TOKEN is not set, and other machines would reach the page", _MAKE_ONE)
        if tls is None and not settings.web_behind_proxy:
            raise SettingsError(
                f"{PREFIX}WEB_ADDRESS {address} is reached by other machines, and all could be read on its way",
                f"Set {PREFIX}WEB_CERTIFICATE_FILE; or, where a proxy does HTTPS, {PREFIX}WEB_BEHIND_PROXY=true.",
            )
    if not settings.web_port:
        return None
    return Listening(address, settings.web_port, tls, settings.web_behind_proxy)


def check_page(settings: Settings) -> Check | None:
    """The page can be served as the settings have it; ``None``: they say nothing of it."""
    if not any(name.startswith("web_") for name in settings.model_fields_set):
        return None
    try:
        listening = listening_of(settings)
    except SettingsError as error:
        return failed("page", error.problem, error.remedy)
    if listening is None:
        return warning("page", "is not served, as web_port is not set", f"Set {PREFIX}WEB_PORT, 9187 for example.")
    if settings.web_token is None and settings.web_view_token is None:
        return ok("page", f"none, as there is no token; figures at {listening.url}")
    return ok("page", listening.url)


def _check_tokens(settings: Settings) -> None:
    tokens = {"WEB_TOKEN": settings.web_token, "WEB_VIEW_TOKEN": settings.web_view_token}
    for name, token in tokens.items():
        if token is not None and len(token.get_secret_value()) < LEAST_TOKEN_CHARACTERS:
            raise SettingsError(
                f"{PREFIX}{name} is shorter than {LEAST_TOKEN_CHARACTERS} characters, and could be guessed", _MAKE_ONE
            )
    if settings.web_token is not None and settings.web_token == settings.web_view_token:
        raise SettingsError(f"{PREFIX}WEB_VIEW_TOKEN is the same as {PREFIX}WEB_TOKEN", _MAKE_ONE)


def _tls(certificate_file: Path | None, key_file: Path | None) -> ssl.SSLContext | None:
    if certificate_file is None:
        if key_file is not None:
            raise SettingsError(f"{PREFIX}WEB_KEY_FILE is set, but {PREFIX}WEB_CERTIFICATE_FILE is not")
        return None
    try:
        check_certificate(certificate_file, key_file)
    except ValueError as error:
        raise SettingsError(f"{PREFIX}WEB_CERTIFICATE_FILE {error}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate_file, key_file)
    return context
