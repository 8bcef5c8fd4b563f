"""Who changes something."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from enum import StrEnum

from cdc_bridge.own_files import user_name

_MAX_CHARACTERS = 300


class Via(StrEnum):
    """The way that somebody came."""

    DASHBOARD = "dashboard"
    API = "api"
    PORTAL = "portal"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, for the audit log."""

    who: str
    """Name of the token; of a command, the user of the operating system and the host."""
    via: Via
    address: str | None = None
    """Address of the client; ``None``: there is none."""


def of_command() -> Actor:
    """Return who runs this command."""
    user = user_name(os.getuid())
    # The name alone says little of whoever became root.
    before = os.environ.get("SUDO_USER", "")
    who = f"{user}@{socket.gethostname()}" if before in {"", user} else f"{before} as {user}@{socket.gethostname()}"
    return Actor(who.encode(errors="replace").decode().replace("\0", "")[:_MAX_CHARACTERS], Via.COMMAND)
