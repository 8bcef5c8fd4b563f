"""Finds the endpoint that a command is about, by its name or because there is no other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.did_you_mean import did_you_mean
from cdc_bridge.endpoints.options import OPTIONS
from cdc_bridge.endpoints.status import RESTORED_ELSEWHERE
from cdc_bridge.errors import BridgeError, Conflict, NotFound, WrongUsage
from cdc_bridge.model import EndpointId, Events
from cdc_bridge.payload.subscription import Subscription, parse_conditions
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_MOST_NAMES = 500
"""Names on either side in the alphabet among which the nearest is looked for: each takes some 30 µs."""
_NAMED = 8
_MOST_TOLD = 50
"""Names up to which the first ones are listed if one is not among them."""

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
        """Why nothing is sent at present; ``None``: nothing prevents deliveries."""
        if not self.paused and not self.disabled:
            return None
        why = "responded with 410" if self.disabled else "is paused"
        return f"endpoint {self.name} {why}: nothing is sent until it is resumed"

    def first_comparable(self, since: datetime | None) -> datetime:
        """Return from when on reservations can be compared with its delivery log, of those updated since a time."""
        if since is None:
            return self.compared_since
        return since if self.delivery_log_start is None else max(since, self.delivery_log_start)

    def require_same_cluster(self) -> None:
        """Make sure that its position can be compared with the change log.

        Raises:
            Conflict: It cannot.
        """
        if not self.same_cluster:
            raise Conflict(f"{self.name}: {RESTORED_ELSEWHERE}")


async def known_endpoints(connection: AsyncConnection[TupleRow], name: str | None = None) -> list[EndpointRef]:
    """Return all endpoints by name, or the one of a name if it is there."""
    if name is not None and not (name.isascii() and name.isprintable()):
        return []  # No endpoint can have that name, and PostgreSQL accepts no NUL.
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_queries["known_endpoints"], {"name": name})
        return [EndpointRef(**(row | {"events": Events(row["events"])})) for row in await cursor.fetchall()]


async def resolve_endpoint(connection: AsyncConnection[TupleRow], name: str | None) -> EndpointRef:
    """Return the endpoint of a name, or without one the only endpoint.

    Raises:
        WrongUsage: No name was given and there are several.
        NotFound: There is none, or none of that name; suggests the nearest name.
    """
    if name is not None:
        for endpoint in await known_endpoints(connection, name):
            return endpoint
        raise await no_such_endpoint(connection, name)
    names = await _some_names(connection)
    if not names:
        raise NotFound("there is no endpoint", _HOW_TO_ADD_ONE)
    if len(names) > 1:
        raise WrongUsage(f"there are several endpoints: {listed_names(names)}", "Name one: --endpoint NAME")
    return await resolve_endpoint(connection, names[0])


async def no_such_endpoint(connection: AsyncConnection[TupleRow], name: str) -> NotFound:
    """Return the error for a name that no endpoint has."""
    known = await _some_names(connection, near=name)
    remedy = f"There are: {listed_names(known)}" if known else _HOW_TO_ADD_ONE
    if len(known) > _MOST_TOLD:
        remedy = "To find it: cdc-bridge endpoint list --search TEXT"
    return NotFound(f"there is no endpoint {name}{did_you_mean(name, known)}", remedy)


async def number_of_endpoints(connection: AsyncConnection[TupleRow]) -> int:
    """Return how many endpoints there are."""
    cursor = await connection.execute(_queries["number_of_endpoints"])
    ((number,),) = await cursor.fetchall()
    return int(number)


async def _some_names(connection: AsyncConnection[TupleRow], near: str | None = None) -> list[str]:
    near = None if near is None else "".join(filter(str.isprintable, near))  # PostgreSQL accepts no NUL.
    cursor = await connection.execute(_queries["some_names"], {"near": near, "limit": _MOST_NAMES})
    return [name for (name,) in await cursor.fetchall()]


def just_removed(endpoint: EndpointRef) -> NotFound:
    """Return the error for an endpoint that somebody removed while a command worked on it."""
    return NotFound(f"endpoint {endpoint.name} was just removed by somebody else")


def listed_names(names: Sequence[str]) -> str:
    """Return the first of some names as text, and how many there are beside them."""
    shown = ", ".join(names[:_NAMED])
    left = len(names) - _NAMED
    return shown if left <= 0 else f"{shown} and {left if len(names) < _MOST_NAMES else 'many'} more"


def require_not_of_settings(endpoint: EndpointRef, changed: Iterable[str]) -> None:
    """Make sure that an endpoint's options are changed in the database.

    Args:
        endpoint: The endpoint.
        changed: Options that are to change.

    Raises:
        Conflict: They are changed in a daemon's settings only.
    """
    if endpoint.in_settings:
        options = [OPTIONS[name] for name in changed]
        variables = ", ".join(option.variable for option in options)
        names = ", ".join(option.setting for option in options)
        by_credential = any(option.secret for option in options)
        place = "files in /etc/cdc-bridge/credentials" if by_credential else "/etc/cdc-bridge/config.toml"
        raise Conflict(
            f"endpoint {endpoint.name} is declared in a daemon's settings, and is changed there only",
            f"Set {variables} where that daemon runs. For the systemd service: {names} in {place}, and then "
            f"systemctl {'restart' if by_credential else 'reload'} cdc-bridge",
        )
