"""The form of an endpoint's options: what was typed into it, and the options that follow.

What is secret or may be, the values of headers, the query of a URL and a proxy's password, is never sent back: those
fields are empty, and leave things as they are unless something is typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from cdc_bridge.endpoints.details import EndpointRecord
from cdc_bridge.endpoints.option import Kind, Option, Setter
from cdc_bridge.endpoints.option_input import Given
from cdc_bridge.endpoints.options import options_for
from cdc_bridge.errors import WrongUsage
from cdc_bridge.web.notices import LABELS

FIELDS = options_for(Setter.OPERATOR)


@dataclass(frozen=True, slots=True)
class EndpointForm:
    """Contents of the form."""

    typed: Mapping[str, str]
    """The text in each option's field; of a switch ``on`` or nothing."""
    shown: Mapping[str, str]
    """What stood in the fields when the form was shown: only what differs is a change, so that of two people who change
    one endpoint at once neither takes back what the other did."""
    dropped: frozenset[str] = frozenset()
    """Options that are to have no value any more."""
    name: str = ""
    from_oldest: bool = False
    signed: bool = True
    vendor_secret: str = field(default="", repr=False)
    """Secret that the vendor made; empty: one is made."""
    keep_headers: bool = False
    """Whether another server gets the same headers, signed with the same secret."""
    new_secret: bool = False

    @classmethod
    def empty(cls) -> Self:
        """Return the form of a new endpoint, with the defaults."""
        return cls(typed={option.name: _text(option.default) for option in FIELDS}, shown={})

    @classmethod
    def of(cls, record: EndpointRecord) -> Self:
        """Return the form of an endpoint as it is."""
        texts = {option.name: _text(record.options[option.name]) for option in FIELDS if option.sent_back}
        return cls(typed=dict.fromkeys((option.name for option in FIELDS), "") | texts, shown=texts)

    @classmethod
    def sent(cls, sent: Mapping[str, str]) -> Self:
        """Return what was typed."""
        names = [option.name for option in FIELDS]
        return cls(
            typed={name: _one_newline(sent.get(name, "")) for name in names},
            shown={name: _one_newline(sent[f"shown_{name}"]) for name in names if f"shown_{name}" in sent},
            dropped=frozenset(name for name in names if f"drop_{name}" in sent),
            name=sent.get("name", "").strip(),
            from_oldest=sent.get("start", "").strip() == "oldest",
            signed="signed" in sent,
            vendor_secret=sent.get("vendor_secret", "").strip(),
            keep_headers="keep_headers" in sent,
            new_secret="new_secret" in sent,
        )

    @property
    def lost(self) -> list[str]:
        """Labels of the fields that were filled in and are not sent back."""
        labels = [one.label for one in FIELDS if not one.sent_back and not one.required and self.typed[one.name]]
        return [*labels, *([LABELS["secret_file"]] if self.vendor_secret else ())]

    def given(self, before: EndpointRecord | None = None) -> Given:
        """Return the options that follow.

        Args:
            before: The endpoint as it is; then only what differs is among them.

        Raises:
            WrongUsage: A number was expected.
        """
        shown = {} if before is None else {**EndpointForm.of(before).shown, **self.shown}
        return {
            option.name: self._value(option)
            for option in FIELDS
            if option.name in self.dropped or self._is_given(option, shown, new=before is None)
        }

    def _is_given(self, option: Option, shown: Mapping[str, str], *, new: bool) -> bool:
        text = self.typed[option.name]
        if option.sent_back and not new:
            return text != shown[option.name]
        return bool(text) or (new and (option.required or (option.kind is Kind.NUMBER and not option.optional)))

    def _value(self, option: Option) -> Any:
        text = self.typed[option.name]
        match option.kind:
            case Kind.NUMBER if text or not option.optional:
                return number(text, option.name, option.value_type)
            case Kind.SWITCH:
                return bool(text)
            case Kind.LINES:
                return tuple(line.strip() for line in text.splitlines() if line.strip())
            case _:
                return text


def number(text: str, name: str, number_type: type = float) -> Any:
    """Return a number that was typed into the field of a name.

    Raises:
        WrongUsage: It is not one.
    """
    try:
        return number_type(text.strip())
    except ValueError:
        raise WrongUsage(f"{LABELS[name]} has to be a number") from None


def _one_newline(sent: str) -> str:
    """Return a field's text; browsers end a line with two characters, and not everywhere."""
    return "\n".join(line.rstrip() for line in sent.strip().splitlines())


def _text(value: Any) -> str:
    """Return the text of a field for an option's value."""
    match value:
        case None | ():
            return ""
        case bool():
            return "on" if value else ""
        case float():
            return f"{value:g}"
        case tuple() | list():
            return "\n".join(map(str, value))
        case _:
            return str(value)
