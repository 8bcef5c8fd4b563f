"""The ways of alerts that the settings name; a reload may change them."""

from __future__ import annotations

from functools import partial

from cdc_bridge.alerts.channel import Channel
from cdc_bridge.alerts.command import run_alert_command, secrets_of
from cdc_bridge.alerts.webhook import post_alert
from cdc_bridge.alerts.wording import Alert
from cdc_bridge.settings import Settings

_MOST_RUNS = 10
"""Of a command for one alert: it may do its work each time, and fail afterwards."""


class AlertChannels:
    """Alerts people in the ways that the settings name."""

    def __init__(self) -> None:
        self._channels: dict[tuple[str, str], Channel] = {}

    async def use(self, settings: Settings) -> None:
        """Use what the settings name; what is unchanged goes on."""
        wanted = dict(_named(settings))
        for key in self._channels.keys() - wanted.items():
            await self._channels.pop(key).close()
        for name, value in wanted.items():
            if (name, value) in self._channels:
                continue
            if name == "alert_url":
                channel = Channel(name, partial(post_alert, value))
            else:
                run = partial(run_alert_command, value, secrets=secrets_of(settings))
                channel = Channel(name, run, most_attempts=_MOST_RUNS)
            self._channels[name, value] = channel

    def __bool__(self) -> bool:
        """Whether there is anybody to alert."""
        return bool(self._channels)

    @property
    def unsent(self) -> bool:
        """Whether an alert is still to be sent."""
        return any(channel.unsent for channel in self._channels.values())

    def problem(self) -> str | None:
        """Return why alerts do not arrive; ``None``: nothing failed."""
        problems = [f"{name}: {it.problem}" for (name, _), it in self._channels.items() if it.problem is not None]
        return "; ".join(problems) or None

    def tell(self, alert: Alert) -> None:
        """Send an alert in every way."""
        for channel in self._channels.values():
            channel.tell(alert)

    async def close(self) -> None:
        """Stop sending."""
        for channel in self._channels.values():
            await channel.close()


def _named(settings: Settings) -> list[tuple[str, str]]:
    named = []
    if settings.alert_url is not None:
        named.append(("alert_url", settings.alert_url.get_secret_value()))
    if settings.alert_command is not None:
        named.append(("alert_command", settings.alert_command))
    return named
