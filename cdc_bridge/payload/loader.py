"""Loads those of the reservations that one subscriber gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg

from cdc_bridge.database import condition_of
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.conditions import KnownConditions
from cdc_bridge.payload.large_bodies import LargeBodies
from cdc_bridge.payload.loaded import MAX_BODY_BYTES, ROOM_BYTES, Loaded
from cdc_bridge.payload.payload_loader import PayloadLoader, load_alone
from cdc_bridge.payload.pending_load import PendingLoad
from cdc_bridge.payload.subscription import EVERYTHING, Subscription
from cdc_bridge.sessions import LoadingConnection


class ReservationLoader:
    """Loads reservations for commands and checks, each on a connection of its own."""

    def __init__(
        self,
        subscription: Subscription = EVERYTHING,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        describe: Callable[[psycopg.Error], str] = condition_of,
    ) -> None:
        """Prepare to load.

        Args:
            subscription: What is wanted.
            max_body_bytes: Size of a body that is not sent any more.
            describe: Words an error of a row; the default leaves out what may be a guest's.
        """
        self._subscription = subscription
        self._loader = PayloadLoader(
            subscription.payload, KnownConditions(), LargeBodies(), max_body_bytes=max_body_bytes, describe=describe
        )

    async def load(
        self,
        connection: LoadingConnection,
        reservation_ids: Sequence[ReservationId],
        *,
        room_bytes: int = ROOM_BYTES,
        snapshot: str | None = None,
    ) -> Loaded:
        """Return those of the reservations that are wanted; one that cannot be loaded does not hide the others.

        Args:
            connection: The connection.
            reservation_ids: Their keys.
            room_bytes: What is left of :data:`ROOM_BYTES`. What does not fit is postponed.
            snapshot: A snapshot that another transaction exported, to read in; ``None``: a new one for each query.

        Raises:
            PayloadInvalid: The payload is not defined, what it reads is no longer there, or a condition does not fit.
        """
        pending = PendingLoad(reservation_ids, self._subscription, room_bytes=room_bytes)
        failures = await self._loader.load(connection, {id_: [pending] for id_ in reservation_ids}, snapshot)
        for id_, why in failures.unreadable.items():
            pending.unreadable(id_, why)
        return await pending.loaded()

    async def load_each(self, connection: LoadingConnection, reservation_ids: Sequence[ReservationId]) -> Loaded:
        """Load each reservation by itself: whatever fails, while the session lasts, is that one's fault.

        Raises:
            PayloadInvalid: The payload is not defined, or what it reads is no longer there.
        """
        pending = PendingLoad(reservation_ids, self._subscription)
        for id_ in reservation_ids:
            failures = await load_alone(self._loader, connection, {id_: [pending]})
            for unreadable, why in failures.unreadable.items():
                pending.unreadable(unreadable, why)
        return await pending.loaded()

    async def require_valid(self, connection: LoadingConnection) -> None:
        """Make sure that the payload's query fits e-Res's tables; reads no reservation.

        Raises:
            PayloadInvalid: It does not.
        """
        await self._loader.require_valid(connection)
