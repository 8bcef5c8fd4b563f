"""A peer: how it captures changes, how its worker is run, what it does and does not do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.stage import Capture


@dataclass(frozen=True)
class Abilities:
    """What a receiver of webhooks wants, and who sees to it: the peer, your code, or nobody."""

    joins: str
    """Rows of other tables, such as the guest, in the body."""
    orders: str
    """No request with an older state of a reservation after one with a newer state."""
    signs: str
    retries: str
    """For days, if the receiver is away for so long."""


@dataclass(frozen=True)
class Peer:
    """One of them; the commands are arguments of the Python of ``.venv-peers``."""

    key: str
    """On the command line, in the figures."""
    name: str
    package: str | None
    """Its distribution on PyPI; ``None``: it needs nothing that the bridge does not need."""
    abilities: Abilities
    worker: Sequence[str] | None
    """``None``: it is the bridge, and its worker the daemon."""
    pending: str
    """A statement that counts the changes which it still has to deliver; 0 if nobody knows."""
    remark: str = ""
    """What has to be known to read its figures."""
    capture: Capture = "none"
    """What is in the database before it is set up."""
    set_up: Sequence[Sequence[str]] = ()
    trigger: str = ""
    """SQL that is run after ``set_up``."""
    keeps_backlog: bool = True
    logical_wal: bool = False
    java: bool = False
