"""Times as people give them on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import typer


def instant(text: str | None, option: str) -> datetime | None:
    """Read a date, or a date and time, of ISO 8601. Without a zone it is UTC, and that is said.

    Args:
        text: as it was given; ``None``: it was not.
        option: what gave it.

    Raises:
        typer.BadParameter: it is none.
    """
    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text.strip())
        at = given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text} is not a time, as 2026-07-01, 2026-07-01T18:30 or 2026-07-01T18:30:00+01:00", param_hint=option
        ) from None
    if given.tzinfo is None:
        typer.echo(f"{option} names no time zone and is taken as {at:%Y-%m-%d %H:%M:%S} UTC.", err=True)
    return at
