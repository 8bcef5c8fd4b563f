"""Every reservation that any test receives is held to the contract's schema.

A test whose mapping or data depart from it on purpose says so: ``@pytest.mark.departs_from_contract("why")``.

One thing is left out: the form of keys. Tests name their rows so that they can be read (``R17``); that e-Res's keys are
posted in their form is tested where e-Res's keys are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from cdc_bridge.vendor.contract import schema

_ALL_OF_THE_FIRST = 200
_THEN_ONE_OF = 50
"""Validating takes half a millisecond: where tens of thousands of requests are received, a sample has to do."""

_MOST_SHOWN = 5


class Watch:
    """Looks at the reservations that arrive during a test."""

    def __init__(self, *, departs: bool) -> None:
        self._departs = departs
        self._seen = 0
        self.violations: list[str] = []

    def look_at(self, body: bytes) -> None:
        """Validate a reservation's body, if it is its turn."""
        self._seen += 1
        if self._departs or (self._seen > _ALL_OF_THE_FIRST and self._seen % _THEN_ONE_OF):
            return
        self.violations += violations_of(orjson.loads(body))


_watch = Watch(departs=True)


def look_at_request(headers: Mapping[str, str], body: bytes) -> None:
    """Validate what a receiver was sent, if it is a reservation."""
    if headers.get("ce-type", "").startswith("reservation."):
        look_at_reservation(body)


def look_at_reservation(body: bytes) -> None:
    """Validate a reservation's body, if it is its turn."""
    _watch.look_at(body)


def violations_of(reservation: Any) -> list[str]:
    """Return in what a reservation departs from the contract, the form of its keys left out."""
    return [f"{error.json_path}: {error.message[:200]}" for error in _validator().iter_errors(reservation)]


@cache
def _validator() -> Draft202012Validator:
    without_form_of_keys = schema()
    for form in ("key", "keyOrNone"):
        del without_form_of_keys["$defs"][form]["pattern"]
    return Draft202012Validator(without_form_of_keys)


@contextmanager
def watching(*, departs: bool) -> Iterator[None]:
    """Fail at the end of the block if a reservation was received that is not as the contract has it.

    Args:
        departs: It is so on purpose.
    """
    global _watch  # noqa: PLW0603 - receivers are made in many places, and a test is one at a time
    _watch = Watch(departs=departs)
    yield
    if found := _watch.violations:
        shown = "\n".join(found[:_MOST_SHOWN])
        pytest.fail(f"reservations that are not as the contract has them (on purpose? departs_from_contract):\n{shown}")
