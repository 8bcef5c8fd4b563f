"""The reservations, as the pipelines of all endpoints load them: those that want the same payload share its queries.

A reservation that several endpoints want is read once, and they share its body. What is known of rows that are at fault
is known for all endpoints of a payload.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from time import monotonic

import psycopg

from cdc_bridge.database import ServerDatabase
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.model import EndpointId, ReservationId
from cdc_bridge.payload.batches import Batches
from cdc_bridge.payload.conditions import KnownConditions
from cdc_bridge.payload.definition import INSTALL_MAPPING
from cdc_bridge.payload.large_bodies import LargeBodies
from cdc_bridge.payload.loaded import Loaded
from cdc_bridge.payload.payload_loader import LONGEST_LOAD_SECONDS, Failures, PayloadLoader, load_alone
from cdc_bridge.payload.pending_load import PendingLoad, Waiting, report
from cdc_bridge.payload.sample import sample_reservations
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.payload.suspects import ENDS_SESSIONS, SuspectReservations
from cdc_bridge.sessions import LoadingConnection

_MOST_QUERIES = 2
"""Of one payload at once: the others that need a session do not wait for it."""
_SAMPLE = 5
"""How many other reservations tell whether the payload is at fault."""

FoundInvalid = Callable[[Subscription, PayloadInvalid], None]


class SharedReservations:
    """The reservations, for all endpoints of a daemon, as long as one server serves the database."""

    def __init__(
        self,
        database: ServerDatabase,
        *,
        daemon_id: int | None,
        max_body_bytes: int,
        suspects: Mapping[str, SuspectReservations],
        found_invalid: FoundInvalid,
        conditions: KnownConditions | None = None,
    ) -> None:
        """Prepare to load.

        Args:
            database: Has the reservations.
            daemon_id: The daemon's, which has to be registered; ``None``: that is not checked.
            max_body_bytes: Size of a body that is not sent any more.
            suspects: For each payload, the reservations that may end sessions when they are loaded. They outlive the
                server, which such a one may have ended.
            found_invalid: Called when what an endpoint gets cannot be loaded; with a subscription without conditions
                if no endpoint with that payload gets anything.
            conditions: Those that were resolved for routing, so that an endpoint's first load finds its own; ``None``:
                there is no router.
        """
        self._database = database
        self._conditions = KnownConditions() if conditions is None else conditions
        self._daemon_id = daemon_id
        self._max_body_bytes = max_body_bytes
        self._suspects = suspects
        self._found_invalid = found_invalid
        self._large_bodies = LargeBodies()
        self._payloads: dict[str, _PayloadReservations] = {}

    def of(self, endpoint_id: EndpointId, subscription: Subscription) -> EndpointReservations:
        """Return the reservations as one endpoint loads them."""
        payload = subscription.payload
        if payload not in self._payloads:
            loader = PayloadLoader(
                payload,
                self._conditions,
                self._large_bodies,
                max_body_bytes=self._max_body_bytes,
                daemon_id=self._daemon_id,
            )
            self._payloads[payload] = _PayloadReservations(
                self._database, loader, self._suspects[payload], self._found_invalid
            )
        return EndpointReservations(self._payloads[payload], endpoint_id, subscription)


class EndpointReservations:
    """The reservations, as one endpoint loads them."""

    def __init__(self, shared: _PayloadReservations, endpoint_id: EndpointId, subscription: Subscription) -> None:
        self._shared = shared
        self._endpoint_id = endpoint_id
        self._subscription = subscription

    async def load(self, reservation_ids: Sequence[ReservationId], room_bytes: int) -> Loaded:
        """Return those of the reservations that the endpoint gets, as they are in snapshots taken from now on.

        Raises:
            PayloadInvalid: The payload is not defined, what it reads is no longer there, it fails for every row, or a
                condition does not fit it.
            LeaseLost: The daemon is not registered any more.
            ServerReplaced: Another server has taken over.
            StatementFailed: A statement failed for a reason that waiting does not solve.
        """
        pending = PendingLoad(reservation_ids, self._subscription, endpoint_id=self._endpoint_id, room_bytes=room_bytes)
        return await self._shared.load(pending, reservation_ids)


class _PayloadReservations:
    """The reservations by one payload."""

    def __init__(
        self,
        database: ServerDatabase,
        loader: PayloadLoader,
        suspects: SuspectReservations,
        found_invalid: FoundInvalid,
    ) -> None:
        self._database = database
        self._loader = loader
        self._found_invalid = found_invalid
        self._everything = Subscription(loader.payload)
        self._invalid: PayloadInvalid | None = None
        """Why nothing could be loaded, whatever the endpoint."""
        self._suspects = suspects
        self._batches = Batches(self._run, _MOST_QUERIES)
        self._suspect_batches = Batches(self._run, 1)

    async def load(self, pending: PendingLoad, reservation_ids: Sequence[ReservationId]) -> Loaded:
        alone = {id_ for id_ in reservation_ids if self._suspects.is_alone(id_)}
        self._batches.put(pending, [id_ for id_ in reservation_ids if id_ not in alone])
        self._suspect_batches.put(pending, alone)
        try:
            return await pending.loaded()
        except PayloadInvalid as error:
            self._found_invalid(self._everything if error is self._invalid else pending.subscription, error)
            raise
        except asyncio.CancelledError:
            pending.abandon()
            self._batches.abandoned()
            self._suspect_batches.abandoned()
            raise

    async def _run(self, batch: Waiting) -> None:
        try:
            await self._attribute(batch, await self._database.load_patiently(partial(self._load, batch=batch)))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait raise it
            if isinstance(error, PayloadInvalid) and not error.evidence:
                self._invalid = error
            for loads in batch.values():
                for pending in loads:
                    pending.fail(error)

    async def _load(self, connection: LoadingConnection, batch: Waiting) -> Failures:
        left = {id_: loads for id_, loads in batch.items() if any(pending.wants(id_) for pending in loads)}
        alone = [id_ for id_ in left if self._suspects.is_alone(id_)]
        together = {id_: loads for id_, loads in left.items() if id_ not in alone}
        until = monotonic() + LONGEST_LOAD_SECONDS
        failures = Failures()
        if together:
            failures.add(await self._watch(self._loader.load(connection, together), together))
        for id_ in alone:
            if monotonic() > until:
                report(left[id_], id_, PendingLoad.postponed)
            elif self._suspects.is_left_out(id_):
                report(left[id_], id_, partial(PendingLoad.unreadable, why=ENDS_SESSIONS, alone_at_fault=True))
            else:
                one = {id_: left[id_]}
                failures.add(await self._watch(load_alone(self._loader, connection, one), one))
        return failures

    async def _watch(self, load: Awaitable[Failures], batch: Waiting) -> Failures:
        """Await a load, and count those that it did not get to if it fails as if the database were away."""
        try:
            failures = await load
        except psycopg.Error:
            self._suspects.failed(id_ for id_, loads in batch.items() if any(pending.wants(id_) for pending in loads))
            raise
        self._suspects.slow(failures.slow)
        self._suspects.passed(id_ for id_ in batch if id_ not in failures.unreadable)
        return failures

    async def _attribute(self, batch: Waiting, failures: Failures) -> None:
        """Say who is at fault where something could not be loaded: the reservations, or the payload."""
        if not failures.unreadable:
            return
        works = failures.payload_works or await self._works(batch, failures.unreadable)
        for id_, why in failures.unreadable.items():
            report(batch[id_], id_, partial(PendingLoad.unreadable, why=why, alone_at_fault=works))

    async def _works(self, batch: Waiting, unreadable: Mapping[ReservationId, str]) -> bool:
        """Return whether other reservations can be loaded; if there are too few to tell, they cannot.

        Raises:
            PayloadInvalid: They cannot.
        """
        an_endpoint = next(pending.endpoint_id for id_ in unreadable for pending in batch[id_])
        sample = await self._database.patiently(partial(sample_reservations, endpoint_id=an_endpoint))
        failed: list[ReservationId] = []
        for id_ in [id_ for id_ in sample if id_ not in unreadable][:_SAMPLE]:
            one = {id_: [PendingLoad([id_], self._everything)]}
            found = await self._database.load_patiently(partial(self._load, batch=one))
            if found.payload_works:
                return True
            failed += found.unreadable
        number = len(unreadable) + len(failed)
        if number <= _SAMPLE // 2:
            return False
        raise PayloadInvalid(
            f'the payload "{self._loader.payload}" fails for each of {number} reservations: '
            f"{next(iter(unreadable.values()))}",
            f"Correct the mapping and run as a DBA: {INSTALL_MAPPING}",
            evidence=[*unreadable, *failed][:_SAMPLE],
        )
