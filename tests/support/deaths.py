"""What a dead daemon left behind: deliveries that the endpoint has and the delivery log does not."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.bridge import Bridge
from tests.support.databases import Database
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.waiting import until

_SESSIONS = "select count(*) from pg_stat_activity where datname = current_database() and usename = 'cdc_bridge'"
_SETTLED = "select seq from cdc_bridge.delivery where state not in ('queued', 'retrying')"


@dataclass(frozen=True)
class LeftBehind:
    """Changes by their numbers; exactly these will be delivered again."""

    answered: frozenset[int]
    """The daemon had the endpoint's response, and had not recorded it."""
    under_way: frozenset[int]
    """The endpoint had the delivery, and the daemon did not know it."""
    by_others_before: frozenset[int] = frozenset()
    """Left behind by daemons that died before, and not delivered by this one."""

    @property
    def changes(self) -> frozenset[int]:
        return self.answered | self.under_way | self.by_others_before

    def __str__(self) -> str:
        return f"{len(self.under_way)} under way and {len(self.answered)} with a response and not recorded"


async def left_behind(bridge: Bridge, database: Database, receiver: Receiver, since: int = 0) -> LeftBehind:
    """Take stock after a daemon's death, when all that it had sent has arrived.

    Args:
        bridge: The dead daemon, which logged at level debug.
        database: Where the delivery log is.
        receiver: The endpoint.
        since: How many deliveries the endpoint had when this daemon was started.
    """
    await until(lambda: receiver.connections == 0, "the receiver has read all that was sent")
    await until(lambda: database.value(_SESSIONS) == 0, "the dead daemon's sessions have ended")
    settled = {seq for (seq,) in database.execute(_SETTLED)}
    unrecorded = {request.seq for request in receiver.delivered} - settled
    its_own = {request.seq for request in receiver.delivered[since:]} & unrecorded
    concluded = {line["seq"] for line in bridge.log if line["event"] == "delivered"}
    return LeftBehind(
        answered=frozenset(its_own & concluded),
        under_way=frozenset(its_own - concluded),
        by_others_before=frozenset(unrecorded - its_own),
    )


def ports_of(pid: int) -> set[int]:
    """Return the local ports of a process's connections."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            sockets.add(str(descriptor.readlink()))
    connections = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {int(local.partition(":")[2], 16) for _, local, *others in connections if f"socket:[{others[7]}]" in sockets}


def repeated(before: list[ReceivedRequest], after: list[ReceivedRequest]) -> list[int]:
    """Return the changes delivered after a death that had been delivered before, as often as they were."""
    known = {request.seq for request in before}
    return sorted(request.seq for request in after if request.seq in known)
