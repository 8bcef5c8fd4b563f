"""Times that somebody types into a form."""

from __future__ import annotations

from datetime import UTC, datetime

from cdc_bridge.errors import WrongUsage


def instant(text: str, label: str) -> datetime | None:
    """Parse a time; ``None``: there is none. Without a zone it is UTC: a browser's script sends the zone as well.

    Raises:
        WrongUsage: It is no time.
    """
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise WrongUsage(f"{label} has to be a time such as 2026-07-01T18:30") from None
