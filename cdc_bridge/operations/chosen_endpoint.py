"""Finds the endpoint that a command is about, by its name or because there is no other."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.delivery.roster import OTHER_CLUSTER
from cdc_bridge.errors import BridgeError, WrongUsage
from cdc_bridge.model import EndpointId
from cdc_bridge.queries import queries


@dataclass(frozen=True, slots=True)
class ChosenEndpoint:
    """An endpoint, and what a command has to know before it gives it work."""

    endpoint_id: EndpointId
    name: str
    paused: bool
    disabled: bool
    same_cluster: bool
    """Whether its position is made of this cluster's transaction ids."""
    comparable_since: datetime
    """From when on the ledger can be expected to have every change: seven days ago, or when it was added."""

    @property
    def silence(self) -> str | None:
        """Why nothing is called at present, and what ends it; ``None``: nothing keeps it from being called."""
        if not self.paused and not self.disabled:
            return None
        why = "is paused" if self.paused else "answered 410"
        return f"{self.name} {why}: nothing is called until you run: cdc-bridge endpoint resume {self.name}"

    def require_same_cluster(self) -> None:
        """Make sure that its position can be compared with the change log.

        Raises:
            BridgeError: it cannot.
        """
        if not self.same_cluster:
            raise BridgeError(f"{self.name}: {OTHER_CLUSTER}")


async def known_endpoints(connection: AsyncConnection[TupleRow]) -> list[ChosenEndpoint]:
    """Return all endpoints by name.

    Raises:
        psycopg.Error: the database could not be read.
    """
    cursor = await connection.execute(queries["known_endpoints"])
    return [ChosenEndpoint(*record) for record in await cursor.fetchall()]


async def choose_endpoint(connection: AsyncConnection[TupleRow], name: str | None) -> ChosenEndpoint:
    """Return the endpoint of a name, or without one the only endpoint.

    Raises:
        WrongUsage: no name was given and there are several.
        BridgeError: there is none, or none of that name; says which name comes near.
        psycopg.Error: the database could not be read.
    """
    known = await known_endpoints(connection)
    if not known:
        raise BridgeError("there is no endpoint", "The daemon declares that of its settings when it starts.")
    if name is not None:
        return next((endpoint for endpoint in known if endpoint.name == name), None) or _refuse(name, known)
    if len(known) > 1:
        raise WrongUsage(f"there are several endpoints: {names_of(known)}", "Name one: --endpoint NAME")
    return known[0]


def names_of(endpoints: Sequence[ChosenEndpoint]) -> str:
    """Return the names, the first of them if there are many."""
    shown = ", ".join(endpoint.name for endpoint in endpoints[:8])
    return shown if len(endpoints) <= 8 else f"{shown} and {len(endpoints) - 8} more"


def _refuse(name: str, known: Sequence[ChosenEndpoint]) -> ChosenEndpoint:
    near = difflib.get_close_matches(name, [endpoint.name for endpoint in known], n=1, cutoff=0.5)
    raise BridgeError(
        f"there is no endpoint {name}" + (f"; did you mean {near[0]}?" if near else f", but {names_of(known)}")
    )
