"""How long the tests of faults are: short with all other tests, or at length (``make test-faults``)."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

LENGTH_VARIABLE = "CDC_BRIDGE_TEST_LENGTH"

AT_LENGTH = os.environ.get(LENGTH_VARIABLE) == "long"


def chosen(short: T, long: T) -> T:
    """Return what belongs to the chosen length."""
    return long if AT_LENGTH else short
