"""What a token permits, and who has it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Right(StrEnum):
    """What a token permits; each right includes those before it."""

    VIEW = "view"
    """View statuses and deliveries; no reservation's content, and change nothing."""
    CONTENT = "content"
    """View the content of reservations as well."""
    CHANGE = "change"
    """View and change everything."""

    def includes(self, other: Right) -> bool:
        """Whether this right covers another."""
        order = [*Right]
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever has a token."""

    name: str
    """For the logs; of a token from the settings, the setting's name."""
    right: Right
    endpoint: str | None = None
    """The one endpoint that it is for; ``None``: all, and what is not of an endpoint."""
    token_id: int | None = None
    """``None``: the token stands in the settings."""
    expires_at: datetime | None = None
    """``None``: when it is removed."""
