"""Finds the endpoint that a command is about, by its name or because there is no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.endpoints.status import OTHER_CLUSTER
from cdc_bridge.errors import BridgeError, WrongUsage
from cdc_bridge.model import EndpointId
from cdc_bridge.queries import load_queries
from cdc_bridge.setting_values import nearest

_queries = load_queries(__name__)

_HOW_TO_GET_ONE = "The daemon declares that of its settings when it starts. Another: cdc-bridge endpoint add NAME URL"


@dataclass(frozen=True, slots=True)
class EndpointRef:
    """An endpoint, and what a command has to know before it gives it work."""

    endpoint_id: EndpointId
    name: str
    paused: bool
    disabled: bool
    same_cluster: bool
    """Whether its position is made of this cluster's transaction ids."""
    compared_since: datetime
    """From when on it is compared where no time is named: seven days ago, or when it was added, or later if pruned."""
    delivery_log_start: datetime | None
    """From when on its ledger has everything; ``None``: it was never pruned."""

    @property
    def silence(self) -> str | None:
        """Why nothing is called at present, and what ends it; ``None``: nothing keeps it from being called."""
        if not self.paused and not self.disabled:
            return None
        why = "is paused" if self.paused else "answered 410"
        return f"{self.name} {why}: nothing is called until you run: cdc-bridge endpoint resume {self.name}"

    def first_comparable(self, since: datetime | None) -> datetime:
        """Return from when on reservations can be compared with its ledger, of those updated since a time."""
        if since is None:
            return self.compared_since
        return since if self.delivery_log_start is None else max(since, self.delivery_log_start)

    def require_same_cluster(self) -> None:
        """Make sure that its position can be compared with the change log.

        Raises:
            BridgeError: it cannot.
        """
        if not self.same_cluster:
            raise BridgeError(f"{self.name}: {OTHER_CLUSTER}")


async def known_endpoints(connection: AsyncConnection[TupleRow]) -> list[EndpointRef]:
    """Return all endpoints by name.

    Raises:
        psycopg.Error: the database could not be read.
    """
    cursor = await connection.execute(_queries["known_endpoints"])
    return [EndpointRef(*record) for record in await cursor.fetchall()]


async def resolve_endpoint(connection: AsyncConnection[TupleRow], name: str | None) -> EndpointRef:
    """Return the endpoint of a name, or without one the only endpoint.

    Raises:
        WrongUsage: no name was given and there are several.
        BridgeError: there is none, or none of that name; says which name comes near.
        psycopg.Error: the database could not be read.
    """
    known = await known_endpoints(connection)
    if name is not None:
        for endpoint in known:
            if endpoint.name == name:
                return endpoint
        raise no_such_endpoint(name, [endpoint.name for endpoint in known])
    if not known:
        raise BridgeError("there is no endpoint", _HOW_TO_GET_ONE)
    if len(known) > 1:
        raise WrongUsage(
            f"there are several endpoints: {_listed([found.name for found in known])}", "Name one: --endpoint NAME"
        )
    return known[0]


def no_such_endpoint(name: str, known: Sequence[str]) -> BridgeError:
    """Return what to say of a name that no endpoint has."""
    remedy = f"There are: {_listed(known)}" if known else _HOW_TO_GET_ONE
    return BridgeError(f"there is no endpoint {name}{nearest(name, known)}", remedy)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
