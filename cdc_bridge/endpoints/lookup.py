"""Finds the endpoint that a command is about, by its name or because there is no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.did_you_mean import did_you_mean
from cdc_bridge.endpoints.status import RESTORED_ELSEWHERE
from cdc_bridge.errors import BridgeError, WrongUsage
from cdc_bridge.model import EndpointId, Events
from cdc_bridge.payload.subscription import Subscription, parse_conditions
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_HOW_TO_ADD_ONE = (
    "The daemon adds that of its settings when it starts. To add another: cdc-bridge endpoint add NAME URL"
)


@dataclass(frozen=True, slots=True)
class EndpointRef:
    """An endpoint, and what a command has to know before it does something to it."""

    endpoint_id: EndpointId
    name: str
    in_settings: bool
    """Declared in a daemon's settings, and changed there only."""
    payload: str
    only: Sequence[str]
    events: Events
    paused: bool
    disabled: bool
    same_cluster: bool
    """Whether its position is made of this cluster's transaction ids."""
    daemon: str | None
    """Host and process id of the live daemon that has leased it."""
    compared_since: datetime
    """Start of a comparison where no time is given: seven days ago, or when it was added, or later if pruned."""
    delivery_log_start: datetime | None
    """Time from which its delivery log is complete; ``None``: it was never pruned."""

    @property
    def subscription(self) -> Subscription:
        """What it gets of the reservations.

        Raises:
            BridgeError: Its conditions cannot be read, as psql wrote something else there.
        """
        try:
            return Subscription(self.payload, parse_conditions(self.only))
        except ValueError as error:
            raise BridgeError(
                f"endpoint {self.name} is invalid: only {error}",
                f"cdc-bridge endpoint set {self.name} --only COLUMN=VALUE",
            ) from None

    @property
    def silence(self) -> str | None:
        """Why nothing is sent at present, and what ends it; ``None``: nothing prevents deliveries."""
        if not self.paused and not self.disabled:
            return None
        why = "responded with 410" if self.disabled else "is paused"
        return f"{self.name} {why}: nothing is sent until you run: cdc-bridge endpoint resume {self.name}"

    def first_comparable(self, since: datetime | None) -> datetime:
        """Return from when on reservations can be compared with its delivery log, of those updated since a time."""
        if since is None:
            return self.compared_since
        return since if self.delivery_log_start is None else max(since, self.delivery_log_start)

    def require_same_cluster(self) -> None:
        """Make sure that its position can be compared with the change log.

        Raises:
            BridgeError: It cannot.
        """
        if not self.same_cluster:
            raise BridgeError(f"{self.name}: {RESTORED_ELSEWHERE}")


async def known_endpoints(connection: AsyncConnection[TupleRow]) -> list[EndpointRef]:
    """Return all endpoints by name."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_queries["known_endpoints"])
        return [EndpointRef(**(row | {"events": Events(row["events"])})) for row in await cursor.fetchall()]


async def resolve_endpoint(connection: AsyncConnection[TupleRow], name: str | None) -> EndpointRef:
    """Return the endpoint of a name, or without one the only endpoint.

    Raises:
        WrongUsage: No name was given and there are several.
        BridgeError: There is none, or none of that name; suggests the nearest name.
    """
    known = await known_endpoints(connection)
    if name is not None:
        for endpoint in known:
            if endpoint.name == name:
                return endpoint
        raise no_such_endpoint(name, [endpoint.name for endpoint in known])
    if not known:
        raise BridgeError("there is no endpoint", _HOW_TO_ADD_ONE)
    if len(known) > 1:
        raise WrongUsage(
            f"there are several endpoints: {_listed([found.name for found in known])}", "Name one: --endpoint NAME"
        )
    return known[0]


def no_such_endpoint(name: str, known: Sequence[str]) -> BridgeError:
    """Return the error for a name that no endpoint has."""
    remedy = f"There are: {_listed(known)}" if known else _HOW_TO_ADD_ONE
    return BridgeError(f"there is no endpoint {name}{did_you_mean(name, known)}", remedy)


def just_removed(endpoint: EndpointRef) -> BridgeError:
    """Return the error for an endpoint that somebody removed while a command worked on it."""
    return BridgeError(f"endpoint {endpoint.name} was just removed by somebody else")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
