"""The one declaration of every endpoint option.

Each field of :class:`Endpoint` but its name is an option. Its type, its default and its :class:`Option` are the whole
declaration, and these derive from it: the settings (``endpoint_...``), the flags of ``endpoint add`` and ``endpoint
set``, the keys of a manifest, the dashboard's form, the columns that statements read and write, ``endpoint show`` and
its JSON, the man page and the example of the settings file. A change of any option restarts the endpoint's pipeline,
over new connections.

To add an option: declare it here, add its column to ``sql/tables/endpoint.sql``, and use it.

The value of an option has two forms. *Stored* is what stands in its column: text for a secret or a file's path, a list
of "Name: value" for headers. *Usable* is what :class:`Endpoint` has: a key, a path, pairs. :func:`endpoint_from` makes
the one into the other, and nothing else makes an :class:`Endpoint`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cdc_bridge.endpoints.option import Group, Option, Setter
from cdc_bridge.endpoints.option_values import (
    ALL,
    HEADER_VALUE,
    QUERY,
    admit_url,
    ca_file_path,
    check_certificate,
    concealed_header,
    concealed_url,
    header_line,
    header_pairs,
    payload_name,
    secret_key,
    well_formed_url,
)
from cdc_bridge.endpoints.proxy_address import CREDENTIALS, concealed_proxy, shown_proxy, usable_proxy
from cdc_bridge.model import Events, without_secrets
from cdc_bridge.payload.definition import RESERVATION
from cdc_bridge.payload.subscription import Condition, Subscription, parse_conditions

NAME_IN_SETTINGS = "default"
"""Name of the endpoint that the settings declare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where deliveries go, and how."""

    name: str
    url: Annotated[
        str,
        Option(
            label="URL",
            help="Address that receives the deliveries, https://... Put secrets into a header, not in here",
            read=well_formed_url,
            mask=without_secrets,
            conceal=concealed_url,
            secret_part=QUERY,
            in_front=True,
            for_vendor=True,
        ),
    ]
    headers: Annotated[
        tuple[tuple[str, str], ...],
        Option(
            label="Headers",
            help='Header of every request, "Name: value"; can be given more than once',
            read=header_pairs,
            write=header_line,
            example="X-Api-Key: ...",
            conceal=concealed_header,
            secret=True,
            secret_part=HEADER_VALUE,
            shown_as="header_names",
            singular="header",
            in_front=True,
        ),
    ] = field(default=(), repr=False)
    secret: Annotated[
        bytes | None,
        Option(
            label="Signing secret",
            help="whsec_ followed by 24 to 64 bytes in base64; without one, requests are not signed",
            read=secret_key,
            secret=True,
            secret_part=ALL,
            shown_as="signed",
            setters=(Setter.SETTINGS,),  # In the database it is made, or taken from a file (admin.py).
            for_vendor=True,
        ),
    ] = field(default=None, repr=False)
    previous_secret: Annotated[
        bytes | None,
        Option(
            label="Previous signing secret",
            help="Secret before a rotation, which signs requests as well as long as it is set",
            read=secret_key,
            secret=True,
            secret_part=ALL,
            shown_as=None,
            setters=(Setter.SETTINGS,),  # In the database a rotation keeps it, and says until when.
        ),
    ] = field(default=None, repr=False)
    previous_secret_until: Annotated[
        datetime | None,
        Option(
            label="Previous secret expires",
            help="Time from which the previous signing secret is not used any more",
            shown_as="rotating_until",
            setters=(),
            for_vendor=True,
        ),
    ] = None
    max_in_flight: Annotated[
        int,
        Option(
            label="Concurrency limit",
            group=Group.PACE,
            help="Maximum number of requests in flight at the same time",
            minimum=1,
            maximum=1000,
            for_vendor=True,
        ),
    ] = 16
    payload: Annotated[
        str,
        Option(
            label="Payload",
            group=Group.CONTENT,
            help="Payload definition that bodies are made by; the mapping defines them",
            read=payload_name,
            for_vendor=True,
        ),
    ] = RESERVATION
    only: Annotated[
        tuple[Condition, ...],
        Option(
            label="Conditions",
            group=Group.CONTENT,
            help="Condition that a reservation has to meet, COLUMN=VALUE or COLUMN=VALUE,VALUE, on a column of the "
            "payload; can be given more than once",
            read=parse_conditions,
            example="room_name=Restaurant,Terrace",
            for_vendor=True,
        ),
    ] = ()
    events: Annotated[
        Events,
        Option(
            label="Events",
            group=Group.CONTENT,
            help="Changes to send: reservations that were created, updated, or both",
            for_vendor=True,
        ),
    ] = Events.BOTH
    skip_unchanged: Annotated[
        bool,
        Option(
            label="Skip unchanged bodies",
            group=Group.CONTENT,
            help="Send nothing if the body is the one that was delivered last for the reservation",
            off="--send-unchanged",
            for_vendor=True,
        ),
    ] = False
    keep_responses: Annotated[
        bool,
        Option(
            label="Keep failed responses",
            help="Keep the first 2 kB of each failed response for 24 hours; it may have guests' data in it",
            off="--drop-responses",
            for_vendor=True,
        ),
    ] = False
    max_per_second: Annotated[
        float | None,
        Option(
            label="Rate limit",
            group=Group.PACE,
            help="Maximum rate of requests, retries and probes included",
            unit="requests per second",
            above=0,
            maximum=10_000,
            for_vendor=True,
        ),
    ] = None
    latest_only: Annotated[
        bool,
        Option(
            label="Combine queued changes",
            group=Group.PACE,
            help="Send one request with the current data for all queued changes of a reservation",
            off="--every-change",
            for_vendor=True,
        ),
    ] = False
    timeout_seconds: Annotated[
        float,
        Option(
            label="Request timeout",
            help="Time limit for a request, connection included",
            unit="seconds",
            above=0,
            maximum=300,
            for_vendor=True,
        ),
    ] = 15
    connect_timeout_seconds: Annotated[
        float,
        Option(
            label="Connection timeout",
            help="Time limit for establishing a connection",
            unit="seconds",
            above=0,
            maximum=300,
            for_vendor=True,
        ),
    ] = 5
    proxy: Annotated[
        str | None,
        Option(
            label="Proxy",
            help="HTTP proxy to connect through, http://user:password@proxy:3128, or none; without this option, "
            "HTTPS_PROXY and NO_PROXY of the environment decide",
            read=usable_proxy,
            mask=shown_proxy,
            conceal=concealed_proxy,
            secret_part=CREDENTIALS,
            absent="as HTTPS_PROXY and NO_PROXY of the daemon's environment say",
        ),
    ] = field(default=None, repr=False)
    ca_file: Annotated[
        Path | None,
        Option(
            label="CA file",
            group=Group.TLS,
            help="PEM file with the CA certificates to trust instead of the system's",
            read=ca_file_path,
            absent="the system's certificates",
        ),
    ] = None
    client_certificate_file: Annotated[
        Path | None,
        Option(
            label="Client certificate file",
            group=Group.TLS,
            help="PEM file with the certificate to present to an endpoint that asks for one (mTLS)",
            read=Path,
        ),
    ] = None
    client_key_file: Annotated[
        Path | None,
        Option(
            label="Client key file",
            group=Group.TLS,
            help="PEM file with the client certificate's private key, if the certificate file has none",
            read=Path,
        ),
    ] = None

    @property
    def shown_url(self) -> str:
        """The URL for logs and the dashboard."""
        return without_secrets(self.url)

    @property
    def subscription(self) -> Subscription:
        """What it gets of the reservations."""
        return Subscription(self.payload, self.only)

    @property
    def files(self) -> tuple[Path | None, ...]:
        """The files of all options that can name one; ``None``: this one does not."""
        return self.ca_file, self.client_certificate_file, self.client_key_file

    def secrets_at(self, now: datetime) -> tuple[bytes, ...]:
        """Return the keys that sign a request, the current one first."""
        rotating = self.previous_secret_until is None or now < self.previous_secret_until
        keys = (self.secret, self.previous_secret if rotating else None)
        return tuple(key for key in keys if key is not None)

    def storable(self) -> dict[str, Any]:
        """Return the stored form of what may be shown: no secret, no query of the URL and no password of a proxy."""
        return {
            option.name: option.shown(option.stored(getattr(self, option.name)))
            for option in OPTIONS.values()
            if not option.secret
        }


class UnusableOption(ValueError):
    """An option has a value that cannot be used."""

    def __init__(self, option: Option, problem: str) -> None:
        super().__init__(f"{option.name} {problem}")
        self.option = option
        self.problem = problem
        """Words that follow the name, which is another in the settings than on the command line."""


def endpoint_from(name: str, stored: Mapping[str, Any], *, allow_http: bool) -> Endpoint:
    """Make an endpoint, and check everything again: in psql, anything can be written.

    Args:
        name: Its name.
        stored: The stored form of its options, by name. What is not among them has its default.
        allow_http: Whether ``http://`` to this machine is allowed.

    Raises:
        UnusableOption: Says which, and never repeats a value that may be secret.
    """
    usable: dict[str, Any] = {}
    for option in OPTIONS.values():
        if option.name in stored:
            with blaming(option):
                usable[option.name] = option.usable(stored[option.name])
    endpoint = Endpoint(name=name, **usable)
    with blaming(OPTIONS["url"]):
        admit_url(endpoint.url, allow_http=allow_http)
    check_client_certificate(endpoint.client_certificate_file, endpoint.client_key_file)
    return endpoint


def unusable_options(stored: Mapping[str, Any], *, allow_http: bool) -> list[UnusableOption]:
    """Return everything that :func:`endpoint_from` finds wrong, not only the first of it."""
    found: list[UnusableOption] = []

    def noted(check: Callable[[], object]) -> None:
        try:
            check()
        except UnusableOption as error:
            found.append(error)

    for option in OPTIONS.values():
        if option.name in stored:
            noted(partial(_usable, option, stored[option.name]))
    wrong = {error.option.name for error in found}
    if "url" not in wrong:
        noted(partial(_admit, stored.get("url"), allow_http=allow_http))
    certificate, key = (stored.get(name) for name in ("client_certificate_file", "client_key_file"))
    if wrong.isdisjoint({"client_certificate_file", "client_key_file"}):
        noted(partial(check_client_certificate, Path(certificate) if certificate else None, Path(key) if key else None))
    return found


def _usable(option: Option, value: Any) -> None:
    with blaming(option):
        option.usable(value)


def _admit(url: Any, *, allow_http: bool) -> None:
    with blaming(OPTIONS["url"]):
        admit_url(str(url), allow_http=allow_http)


def check_client_certificate(certificate_file: Path | None, key_file: Path | None) -> None:
    """Check that certificate and key belong together.

    Raises:
        UnusableOption: One cannot be read, they do not, or the key is alone.
    """
    if certificate_file is not None:
        with blaming(OPTIONS["client_certificate_file"]):
            check_certificate(certificate_file, key_file)
    elif key_file is not None:
        raise UnusableOption(OPTIONS["client_key_file"], "needs a client certificate file")


@contextmanager
def blaming(option: Option) -> Iterator[None]:
    """Name the option whose value cannot be used."""
    try:
        yield
    except ValueError as error:
        raise UnusableOption(option, str(error)) from None


def _declared() -> Iterator[Option]:
    hints = get_type_hints(Endpoint, include_extras=True)
    for declared in fields(Endpoint):
        if get_origin(hints[declared.name]) is Annotated:
            hint, option = get_args(hints[declared.name])
            types = [
                each for each in (get_args(hint) if NoneType in get_args(hint) else [hint]) if each is not NoneType
            ]
            yield replace(
                option,
                name=declared.name,
                value_type=get_origin(types[0]) or types[0],
                optional=NoneType in get_args(hint),
                required=declared.default is MISSING,
                default=None if declared.default is MISSING else declared.default,
            )


OPTIONS: Mapping[str, Option] = {option.name: option for option in _declared()}
"""All options by name, in the order in which they are shown."""


def options_for(setter: Setter) -> list[Option]:
    """Return the options that somebody may set."""
    return [option for option in OPTIONS.values() if setter in option.setters]
