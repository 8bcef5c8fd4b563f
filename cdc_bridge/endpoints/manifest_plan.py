"""Decides what a manifest changes of the endpoints in the database. Pure: rows in, plan out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdc_bridge.endpoints.manifest import (
    DECLARED,
    DEFAULT_VALUES,
    SECRET_FILE,
    SIGNED,
    DeclaredEndpoint,
    Fault,
    Manifest,
)
from cdc_bridge.endpoints.manifest_text import ENDPOINTS
from cdc_bridge.endpoints.option import CONCEALED, Kind, Option
from cdc_bridge.endpoints.option_input import is_same_server, stored_value
from cdc_bridge.endpoints.options import UnusableOption
from cdc_bridge.model import EndpointId

_CONCEALING = [option for option in DECLARED.values() if option.conceal is not None]
_HEADERS = [option.name for option in _CONCEALING if option.secret]


@dataclass(frozen=True, slots=True)
class StoredEndpoint:
    """What the database has of an endpoint."""

    endpoint_id: EndpointId
    name: str
    in_settings: bool
    options: Mapping[str, Any] = field(repr=False)
    """The options that a manifest declares, in stored form."""
    secret: str | None = field(default=None, repr=False)
    rotating: bool = field(default=False, compare=False)
    """Whether requests are signed with the previous secret as well."""


@dataclass(frozen=True, slots=True)
class SecretChange:
    """A signing secret that an endpoint gets, or loses."""

    given: str | None = field(default=None, repr=False)
    """It comes from the vendor; ``None``: it is made, if there is to be one."""
    signed: bool = True
    overlap: bool = False
    """Whether requests are signed with the previous one as well for a while."""

    @property
    def how(self) -> str:
        """``made`` here, to be shown once, ``given`` by the vendor, or ``none``."""
        if not self.signed:
            return "none"
        return "made" if self.given is None else "given"


@dataclass(frozen=True, slots=True)
class Addition:
    """An endpoint that is added."""

    name: str
    stored: Mapping[str, Any] = field(repr=False)
    secret: SecretChange


@dataclass(frozen=True, slots=True)
class Change:
    """An endpoint that is changed."""

    endpoint: StoredEndpoint
    stored: Mapping[str, Any] = field(repr=False)
    """All its options as they will be, in stored form."""
    options: tuple[str, ...]
    """Those that change."""
    secret: SecretChange | None
    """``None``: it stays."""
    moves: bool
    """Whether its URL leads to another server."""

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return self.endpoint.name

    def shown(self) -> Iterator[tuple[str, Any, Any, bool]]:
        """Return what may be shown of each change: name, value before and after, whether ``***`` hides a difference."""
        for name in self.options:
            option = DECLARED[name]
            before, after = self.endpoint.options[name], self.stored[name]
            kept = _by_concealed(option, before)
            hidden = any(kept.get(shown, text) != text for shown, text in _by_concealed(option, after).items())
            yield name, option.concealed(before), option.concealed(after), hidden


@dataclass(frozen=True, slots=True)
class Plan:
    """What a manifest changes."""

    added: tuple[Addition, ...]
    changed: tuple[Change, ...]
    removed: tuple[StoredEndpoint, ...]
    unchanged: tuple[StoredEndpoint, ...]
    left: int
    """Endpoints that are not in the manifest and stay."""
    renamed: tuple[tuple[str, str], ...]
    """An endpoint that is not in the manifest, and a new one with the same URL, payload and conditions."""
    faults: tuple[Fault, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.added or self.changed or self.removed)

    @property
    def seen(self) -> Iterator[StoredEndpoint]:
        """The endpoints that it was decided by."""
        yield from (change.endpoint for change in self.changed)
        yield from (*self.removed, *self.unchanged)


def make_plan(
    manifest: Manifest,
    existing: Sequence[StoredEndpoint],
    *,
    prune: bool = False,
    keep_headers: bool = False,
    new_secrets: bool = False,
) -> Plan:
    """Compare a manifest with the endpoints that there are.

    Args:
        manifest: The manifest.
        existing: All endpoints of the database.
        prune: Whether those that are not in the manifest are removed; never that of the settings.
        keep_headers: Whether another server gets the same headers, signed with the same secret.
        new_secrets: Whether a secret is made for each endpoint that moves to another server, without an overlap.
    """
    by_name = {endpoint.name: endpoint for endpoint in existing}
    faults: list[Fault] = []
    added, changed, unchanged = [], [], []
    for name, declared in manifest.endpoints.items():
        stored_before = by_name.get(name)
        if stored_before is None:
            stored = _resolved(name, declared, None, faults)
            added.append(Addition(name, stored, SecretChange(declared.secret, declared.signed)))
        elif stored_before.in_settings:
            faults.append(Fault((ENDPOINTS, name), "it is declared in a daemon's settings, and is changed there only"))
        else:
            stored = _resolved(name, declared, stored_before, faults)
            change = _change(stored_before, declared, stored, faults, keep=keep_headers, new_secret=new_secrets)
            if change.options or change.secret is not None:
                changed.append(change)
            else:
                unchanged.append(stored_before)
    others = [each for each in existing if each.name not in manifest.endpoints and not each.in_settings]
    return Plan(
        tuple(added),
        tuple(changed),
        tuple(others) if prune else (),
        tuple(unchanged),
        0 if prune else len(others),
        _renamed(added, others),
        tuple(faults),
    )


def as_manifest(endpoints: Sequence[StoredEndpoint]) -> dict[str, dict[str, Any]]:
    """Return endpoints as a manifest declares them: what differs from the defaults, and no secret."""
    return {ENDPOINTS: {endpoint.name: _declaration(endpoint) for endpoint in endpoints}}


def declared_options(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options that differ from their defaults, without what must not be shown."""
    return {
        name: option.concealed(stored[name])
        for name, option in DECLARED.items()
        if name not in DEFAULT_VALUES or stored[name] != DEFAULT_VALUES[name]
    }


def _declaration(endpoint: StoredEndpoint) -> dict[str, Any]:
    values = declared_options(endpoint.options)
    return values if endpoint.secret is not None else values | {SIGNED: False}


def _renamed(added: Sequence[Addition], others: Sequence[StoredEndpoint]) -> tuple[tuple[str, str], ...]:
    by_target = {_target(other.options): other.name for other in others}
    pairs = ((by_target.get(_target(addition.stored)), addition.name) for addition in added)
    return tuple((old, new) for old, new in pairs if old is not None)


def _target(stored: Mapping[str, Any]) -> tuple[Any, ...]:
    return stored.get("url"), stored["payload"], tuple(stored["only"])


def _change(
    endpoint: StoredEndpoint,
    declared: DeclaredEndpoint,
    stored: Mapping[str, Any],
    faults: list[Fault],
    *,
    keep: bool,
    new_secret: bool,
) -> Change:
    path = (ENDPOINTS, endpoint.name)
    changing = tuple(
        name
        for name, option in DECLARED.items()
        if name in stored and _differ(option, stored[name], endpoint.options[name])
    )
    moves = "url" in changing and not is_same_server(stored["url"], endpoint.options["url"])
    secret = _secret_change(endpoint, declared, moves=moves, new_secret=new_secret)
    if moves and not keep:
        missing = []
        if any(CONCEALED in line for name in _HEADERS for line in declared.stored[name]):
            missing.append("headers")
        if endpoint.secret is not None and secret is None:
            missing.append("signing secret")
        if missing:
            faults.append(
                Fault(
                    (*path, "url"),
                    f"url leads to another server, and {' and '.join(missing)} of the one before are not sent there: "
                    "give them anew (headers in full, secret_file or --new-secrets), or --keep-headers",
                )
            )
    if secret is not None and secret.overlap and endpoint.rotating:
        faults.append(
            Fault(
                (*path, SECRET_FILE),
                f"{SECRET_FILE} has another secret while a rotation is in progress; to drop the older one now: "
                f"cdc-bridge endpoint rotate-secret {endpoint.name} --now --secret-file FILE",
            )
        )
    return Change(endpoint, stored, changing, secret, moves)


def _secret_change(
    endpoint: StoredEndpoint, declared: DeclaredEndpoint, *, moves: bool, new_secret: bool
) -> SecretChange | None:
    if not declared.signed:
        return None if endpoint.secret is None else SecretChange(signed=False)
    if declared.secret is not None:
        if moves:
            return SecretChange(declared.secret)
        overlap = endpoint.secret is not None
        return None if declared.secret == endpoint.secret else SecretChange(declared.secret, overlap=overlap)
    return SecretChange() if endpoint.secret is None or (moves and new_secret) else None


def _resolved(
    name: str, declared: DeclaredEndpoint, before: StoredEndpoint | None, faults: list[Fault]
) -> Mapping[str, Any]:
    """Put what is stored in place of ``***``."""
    stored = dict(declared.stored)
    for option in _CONCEALING:
        value = stored.get(option.name)
        if value is None:
            continue
        kept = {} if before is None else _by_concealed(option, before.options[option.name])
        texts = value if option.kind is Kind.LINES else [value]
        faults += [
            Fault((ENDPOINTS, name, option.name), _unresolved(option, text, kept))
            for text in texts
            if CONCEALED in text and text not in kept
        ]
        resolved = [kept.get(text, text) if CONCEALED in text else text for text in texts]
        stored[option.name] = resolved if option.kind is Kind.LINES else resolved[0]
    return stored


def _unresolved(option: Option, text: str, kept: Mapping[str, str]) -> str:
    shown = option.concealed([text])[0] if option.kind is Kind.LINES else option.concealed(text)
    if shown in kept:
        return f"{option.name} has {CONCEALED} in a part of what it stands for; write {shown}"
    return f"{option.name} has {CONCEALED}, and nothing is stored that it could stand for: {shown}; give the value"


def _by_concealed(option: Option, stored: Any) -> Mapping[str, str]:
    """Return the texts that are stored, by what is shown of them."""
    if stored is None or option.conceal is None:
        return {}
    return {option.conceal(text): text for text in (stored if option.kind is Kind.LINES else [stored]) if text}


def _differ(option: Option, one: Any, other: Any) -> bool:
    """Return whether two stored values say something else; psql may have written the same in another way."""
    return bool(one != other) and _normal(option, one) != _normal(option, other)


def _normal(option: Option, stored: Any) -> Any:
    """Return a stored value as a command would have written it."""
    try:
        return stored_value(option, stored)
    except UnusableOption:
        return stored
