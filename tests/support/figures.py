"""Figures that a test found, such as its duplicates; shown after a run at length, beside what failed."""

from __future__ import annotations

from collections.abc import Callable

Figures = Callable[[str], None]
