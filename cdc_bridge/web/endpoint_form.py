"""The form of an endpoint's options: what was typed into it, and the options that follow.

What is secret or may be, the values of headers and the query of an address, is never sent back: those fields are empty,
and leave things as they are unless something is typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from cdc_bridge.endpoints.details import EndpointOptionsNow
from cdc_bridge.endpoints.options import EndpointOptions
from cdc_bridge.errors import WrongUsage
from cdc_bridge.settings import Settings
from cdc_bridge.web.notices import LABELS

_NUMBERS = ("max_in_flight", "timeout_seconds", "connect_timeout_seconds")
_FILES = ("ca_file", "client_certificate_file", "client_key_file")


@dataclass(frozen=True, slots=True)
class EndpointForm:
    """What stands in the form."""

    name: str
    url: str
    headers: str
    """One a line."""
    drop_headers: bool
    numbers: Mapping[str, str]
    files: Mapping[str, str]
    latest_only: bool
    from_oldest: bool
    signed: bool
    shown: Mapping[str, str]
    """What stood in the fields when the form was shown: only what differs is a change, so that of two people who change
    one endpoint at once none takes back what the other did."""

    @classmethod
    def empty(cls) -> Self:
        """Return the form of an endpoint that is not there yet, with the settings' defaults."""
        defaults = {name: Settings.model_fields[f"endpoint_{name}"].default for name in _NUMBERS}
        return cls(
            name="", url="", headers="", drop_headers=False,
            numbers={name: f"{value:g}" for name, value in defaults.items()},
            files=dict.fromkeys(_FILES, ""),
            latest_only=False, from_oldest=False, signed=True, shown={},
        )  # fmt: skip

    @classmethod
    def of(cls, options: EndpointOptionsNow) -> Self:
        """Return the form of an endpoint as it is."""
        numbers = {name: f"{getattr(options, name):g}" for name in _NUMBERS}
        files = {name: getattr(options, name) or "" for name in _FILES}
        return cls(
            name="", url="", headers="", drop_headers=False, numbers=numbers, files=files,
            latest_only=options.latest_only, from_oldest=False, signed=True,
            shown=numbers | files | {"latest_only": "on" if options.latest_only else ""},
        )  # fmt: skip

    @classmethod
    def sent(cls, sent: Mapping[str, str]) -> Self:
        """Return what was typed."""

        def text(name: str) -> str:
            return sent.get(name, "").strip()

        return cls(
            name=text("name"),
            url=text("url"),
            headers=text("headers"),
            drop_headers="drop_headers" in sent,
            numbers={name: text(name) for name in _NUMBERS},
            files={name: text(name) for name in _FILES},
            latest_only="latest_only" in sent,
            from_oldest=text("start") == "oldest",
            signed="signed" in sent,
            shown={
                name: text(f"shown_{name}") for name in (*_NUMBERS, *_FILES, "latest_only") if f"shown_{name}" in sent
            },
        )

    def options(self, before: EndpointOptionsNow | None = None) -> EndpointOptions:
        """Return the options that follow.

        Args:
            before: those of the endpoint as it is; then only what differs is among them.

        Raises:
            WrongUsage: a number is none.
        """
        typed = {**self.numbers, **self.files, "latest_only": "on" if self.latest_only else ""}
        if before is not None:
            shown = {**EndpointForm.of(before).shown, **self.shown}
            changed = [name for name in typed if typed[name] != shown[name]]
        else:
            changed = [name for name in typed if typed[name] or name in _NUMBERS]
        given: dict[str, Any] = {name: typed[name] for name in changed}
        given |= {name: _number(typed[name], name) for name in changed if name in _NUMBERS}
        given |= {name: self.latest_only for name in changed if name == "latest_only"}
        lines = tuple(line.strip() for line in self.headers.splitlines() if line.strip())
        if lines or self.drop_headers:
            given["headers"] = lines
        if self.url or before is None:
            given["url"] = self.url
        return EndpointOptions(**given)

    @staticmethod
    def number(sent: Mapping[str, str], name: str) -> float:
        """Return a number that was typed into another form.

        Raises:
            WrongUsage: it is none.
        """
        return _number(sent.get(name, "").strip(), name)


def _number(text: str, name: str) -> float | int:
    try:
        return int(text) if name == "max_in_flight" else float(text)
    except ValueError:
        raise WrongUsage(f"{LABELS[name]} has to be a number") from None
