"""The reservations, as the pipeline of one endpoint loads them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic

import psycopg

from cdc_bridge.database import ServerDatabase
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.model import EndpointId, ReservationId
from cdc_bridge.payload.definition import INSTALL_MAPPING
from cdc_bridge.payload.loader import LONGEST_LOAD_SECONDS, ROOM_BYTES, Loaded, ReservationLoader
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection, Session

_queries = load_queries(__name__)

Load = Callable[[LoadingConnection, Sequence[ReservationId]], Awaitable[Loaded]]

_ALONE_AFTER = 2
_LEFT_OUT_AFTER = 3
_MOST_SUSPECTS = 10_000
_SAMPLE = 5
"""How many other reservations tell whether the payload is at fault."""
_ENDS_SESSIONS = "PostgreSQL ended the session each time that it was loaded"


class SuspectReservations:
    """Reservations of an endpoint whose loads failed as if the database were away. They outlive its pipeline.

    As a rule it was away, and they have nothing to do with it. But a row can do that as well: by a function that fails
    under an odd SQLSTATE, or by a fault of PostgreSQL or an extension that ends all sessions of the server. So one that
    was twice among those that were being loaded is loaded by itself, and one that failed again is left out once.
    """

    def __init__(self) -> None:
        self._failures: dict[ReservationId, int] = {}

    def is_alone(self, id_: ReservationId) -> bool:
        """Return whether a reservation is to be loaded by itself."""
        return self._failures.get(id_, 0) >= _ALONE_AFTER

    def is_left_out(self, id_: ReservationId) -> bool:
        """Return whether a reservation is not to be loaded now; the next time it is tried once more."""
        if self._failures.get(id_, 0) < _LEFT_OUT_AFTER:
            return False
        self._failures[id_] = _ALONE_AFTER
        return True

    async def watch(
        self, load: Load, connection: LoadingConnection, reservation_ids: Sequence[ReservationId]
    ) -> Loaded:
        """Load reservations, and count it if that fails."""
        try:
            loaded = await load(connection, reservation_ids)
        except psycopg.Error:
            if len(self._failures) < _MOST_SUSPECTS:
                self._failures |= {id_: self._failures.get(id_, 0) + 1 for id_ in reservation_ids}
            raise
        for id_ in reservation_ids:
            if id_ not in loaded.unreadable:
                self._failures.pop(id_, None)
        return loaded


class EndpointReservations:
    """The reservations, as the pipeline of one endpoint loads them."""

    def __init__(
        self,
        database: ServerDatabase,
        endpoint_id: EndpointId,
        subscription: Subscription,
        *,
        max_body_bytes: int,
        suspects: SuspectReservations,
        found_invalid: Callable[[PayloadInvalid], None],
    ) -> None:
        """Prepare to load.

        Args:
            database: Has the reservations.
            endpoint_id: The endpoint.
            subscription: What it gets.
            max_body_bytes: Size of a body that is not sent any more.
            suspects: Those whose loads failed as if the database were away.
            found_invalid: Called when the payload cannot be loaded.
        """
        self._database = database
        self._endpoint_id = endpoint_id
        self._payload = subscription.payload
        self._loader = ReservationLoader(subscription, max_body_bytes=max_body_bytes)
        self._suspects = suspects
        self._found_invalid = found_invalid

    async def load(self, reservation_ids: Sequence[ReservationId], room_bytes: int) -> Loaded:
        """Return those of the reservations that the endpoint gets, and its fencing token.

        Raises:
            PayloadInvalid: The payload is not defined, or what it reads is no longer there, or it fails for every row.
        """
        try:
            loaded = await self._database.load_patiently(
                partial(self._load, reservation_ids=reservation_ids, room_bytes=room_bytes)
            )
            return await self._attribute(loaded)
        except PayloadInvalid as error:
            self._found_invalid(error)
            raise

    async def _load(
        self, connection: LoadingConnection, reservation_ids: Sequence[ReservationId], room_bytes: int
    ) -> Loaded:
        load = partial(self._loader.load, endpoint_id=self._endpoint_id, room_bytes=room_bytes)
        load_alone = partial(self._loader.load_each, endpoint_id=self._endpoint_id, room_bytes=room_bytes)
        together = [id_ for id_ in reservation_ids if not self._suspects.is_alone(id_)]
        until = monotonic() + LONGEST_LOAD_SECONDS
        loaded = await self._suspects.watch(load, connection, together) if together else Loaded({}, None)
        for id_ in [id_ for id_ in reservation_ids if id_ not in together]:
            if monotonic() > until:
                more = Loaded({}, None, postponed=frozenset({id_}))
            elif self._suspects.is_left_out(id_):
                more = Loaded({}, None, {id_: _ENDS_SESSIONS}, alone_at_fault=frozenset({id_}))
            else:
                more = await self._suspects.watch(load_alone, connection, [id_])
            loaded = loaded.with_more(more)
        return loaded

    async def _attribute(self, loaded: Loaded) -> Loaded:
        """Say who is at fault if nothing could be loaded: the reservations, or the payload."""
        unreadable = {id_: why for id_, why in loaded.unreadable.items() if id_ not in loaded.alone_at_fault}
        if loaded.reservations or not unreadable:
            return loaded
        others = [id_ for id_ in await self._database.patiently(self._sample) if id_ not in unreadable]
        failed: list[ReservationId] = []
        for id_ in others[:_SAMPLE]:
            load = partial(self._load, reservation_ids=[id_], room_bytes=ROOM_BYTES)
            found = await self._database.load_patiently(load)
            if id_ in found.reservations:
                return loaded.with_more(Loaded({}, None, alone_at_fault=frozenset(unreadable)))
            if id_ in found.unreadable and id_ not in found.alone_at_fault:
                failed.append(id_)
        number = len(unreadable) + len(failed)
        if number <= _SAMPLE // 2:
            return loaded  # Too few to tell.
        raise PayloadInvalid(
            f'the payload "{self._payload}" fails for each of {number} reservations: {next(iter(unreadable.values()))}',
            f"Correct the mapping and run as a DBA: {INSTALL_MAPPING}",
            evidence=[*unreadable, *failed][:_SAMPLE],
        )

    async def _sample(self, connection: Session) -> list[ReservationId]:
        cursor = await connection.execute(_queries["sample"], {"endpoint_id": self._endpoint_id})
        return [ReservationId(id_) for (id_,) in await cursor.fetchall()]


async def newest_changed(connection: Session) -> list[ReservationId]:
    """Return the reservations that changed last."""
    cursor = await connection.execute(_queries["sample"], {"endpoint_id": None})
    return [ReservationId(id_) for (id_,) in await cursor.fetchall()]
