"""Settings that change while the daemon runs (SIGHUP): which of them it can take up, and which only a restart does."""

from __future__ import annotations

from dataclasses import dataclass

from cdc_bridge.settings import Settings

TAKEN_UP = frozenset(
    name for name in Settings.model_fields if name.startswith("endpoint_") and name != "endpoint_start"
) | {
    "allow_http",
    "dead_letter_retention_days",
    "log_level",
    "max_lag_seconds",
    "reconcile_interval_seconds",
    "reconcile_repair",
    "retention_days",
}
"""Settings that can change without a restart."""


@dataclass(slots=True)
class CurrentSettings:
    """The settings as they are now, for parts of the daemon that ask again and again."""

    now: Settings


def changed(before: Settings, after: Settings) -> list[str]:
    """Return the names of the settings that differ."""
    return [name for name in Settings.model_fields if getattr(before, name) != getattr(after, name)]


def without_restart(before: Settings, after: Settings) -> Settings:
    """Return the settings before with those of after that can change without a restart."""
    return before.model_copy(update={name: getattr(after, name) for name in changed(before, after) if name in TAKEN_UP})
