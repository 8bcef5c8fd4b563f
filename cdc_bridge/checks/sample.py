"""Holds a sample of the bodies that would be sent now to the schemas that the vendors agreed on.

Endpoints with the same payload share a sample: a body does not depend on an endpoint's conditions, which only tell
whose reservations are in it. What is found is counted by key and kind. Nothing of a body is kept or shown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator

from cdc_bridge.checks.verdict import Check, failed, ok, warning
from cdc_bridge.database import limit_loading, one_connection, one_loading_connection
from cdc_bridge.endpoints.store import subscriptions
from cdc_bridge.errors import BridgeError, DatabaseUnavailable, StatementFailed
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.column_values import parts_of
from cdc_bridge.payload.definition import RESERVATION, payload_definition
from cdc_bridge.payload.loaded import Loaded
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.payload.selection import Selection, select_reservations
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.payload.suspects import ENDS_SESSIONS
from cdc_bridge.vendor.payload_schema import agreed_schema
from cdc_bridge.vendor.violations import Fault, faults_of, validator_of

NAME = "sample"

_AT_ONCE = 100
"""Bodies in memory at once."""
_KEPT_IDS = 5

Progress = Callable[[int, int, str], None]
"""Takes how many reservations were looked at, of how many, and the payload's name."""


@dataclass(slots=True)
class Tally:
    """How many reservations have something in common, and some of them."""

    count: int = 0
    ids: list[ReservationId] = field(default_factory=list)

    def add(self, id_: ReservationId) -> None:
        """Count one."""
        self.count += 1
        if len(self.ids) < _KEPT_IDS:
            self.ids.append(id_)


@dataclass(slots=True)
class Sample:
    """What was found of the bodies of one payload."""

    payload: str
    bodies: int = 0
    """Those held to the schema."""
    faults: dict[Fault, Tally] = field(default_factory=dict)
    unreadable: dict[str, Tally] = field(default_factory=dict)
    """Reservations that cannot be loaded, by the reason."""
    search_problem: str | None = None
    """Why the table was not searched for more reservations."""
    timed_out: bool = False
    """Whether there was no time to search for more."""
    error: BridgeError | None = None
    """Why there is no sample, or no more of it."""

    def add(self, loaded: Loaded, validator: Draft202012Validator) -> None:
        """Hold bodies to the schema, and count."""
        for id_, reservation in loaded.reservations.items():
            self.bodies += 1
            for fault in faults_of(reservation.body, validator):
                self.faults.setdefault(fault, Tally()).add(id_)
        for id_, reason in loaded.unreadable.items():
            self.unreadable.setdefault(reason, Tally()).add(id_)

    @property
    def check(self) -> Check:
        """The verdict."""
        if self.error is not None:
            return failed(NAME, f'payload "{self.payload}": {self.error.problem}', self.error.remedy)
        problems = [
            f"the table's keys cannot be read ({self.search_problem})" if self.search_problem else "",
            f"{len(self.faults)} fault{'s' * (len(self.faults) != 1)} of the schema" if self.faults else "",
            f"{sum(each.count for each in self.unreadable.values()):,} not loaded" if self.unreadable else "",
        ]
        told = f'payload "{self.payload}": {self.bodies:,} {"body" if self.bodies == 1 else "bodies"}'
        if any(problems):
            remedy = "Correct the mapping, or the data. To see a body and what is wrong with it: cdc-bridge payload ID"
            return failed(NAME, ", ".join([told, *filter(None, problems)]), remedy)
        if not self.bodies and self.timed_out:
            return warning(
                NAME,
                f'payload "{self.payload}": no reservation that an endpoint gets was found in time',
                "Check again once one has changed: those that changed last are looked at first.",
            )
        if not self.bodies:
            return warning(
                NAME,
                f'payload "{self.payload}": there is no reservation that an endpoint gets',
                "Check again once there is one.",
            )
        told += f", as {'the contract' if self.payload == RESERVATION else 'its schema'} has them"
        return ok(NAME, told + "; more were not found in time" * self.timed_out)

    @property
    def details(self) -> list[tuple[str, Tally]]:
        """Each fault and each reason in words, the most frequent first."""
        faults = [
            (f"{fault.key}: {tally.count:,} of {self.bodies:,} {_are(tally)} {fault.kind}", tally)
            for fault, tally in self.faults.items()
        ]
        unreadable = [(f"not loaded: {tally.count:,}: {why}", tally) for why, tally in self.unreadable.items()]
        return sorted(faults, key=_frequency) + sorted(unreadable, key=_frequency)

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "payload": self.payload,
            "bodies": self.bodies,
            "faults": [
                {"key": fault.key, "kind": fault.kind, "count": tally.count, "ids": tally.ids}
                for fault, tally in self.faults.items()
            ],
            "not_loaded": [
                {"reason": why, "count": tally.count, "ids": tally.ids} for why, tally in self.unreadable.items()
            ],
            "search_problem": self.search_problem,
            "timed_out": self.timed_out,
            "problem": self.error.problem if self.error is not None else None,
        }


async def sample_payloads(
    database_url: str, number: int, on_progress: Progress = lambda *_: None
) -> AsyncIterator[Sample]:
    """Load a sample of reservations by each payload that an endpoint gets, and hold the bodies to its schema.

    Args:
        database_url: The database, with cdc-bridge installed.
        number: Reservations of each payload; all, if there are fewer.
        on_progress: Called as the sample grows.

    Raises:
        DatabaseUnavailable: The database does not respond.
    """
    of_payload: dict[str, list[Subscription]] = {}
    async with one_connection(database_url) as connection:
        for subscription in await subscriptions(connection):
            of_payload.setdefault(subscription.payload, []).append(subscription)
    total = number * len(of_payload)
    for position, (payload, several) in enumerate(sorted(of_payload.items())):
        sample = Sample(payload)
        done = position * number
        on_progress(done, total, payload)
        try:
            validator, selected = await _prepare(database_url, payload, several, number)
            sample.search_problem, sample.timed_out = selected.problem, selected.timed_out
            async for loaded in _loaded(database_url, payload, selected.reservation_ids):
                sample.add(loaded, validator)
                done += len(loaded.reservations) + len(loaded.unreadable)
                on_progress(done, total, payload)
        except BridgeError as error:
            if isinstance(error, DatabaseUnavailable):
                raise
            sample.error = error
        yield sample


async def _prepare(
    database_url: str, payload: str, several: Collection[Subscription], number: int
) -> tuple[Draft202012Validator, Selection]:
    async with one_connection(database_url) as connection, one_loading_connection(database_url) as loading:
        await ReservationLoader(Subscription(payload)).require_valid(loading)
        validator = validator_of(agreed_schema(await payload_definition(connection, payload)))
        return validator, await select_reservations(connection, loading, several, number)


async def _loaded(database_url: str, payload: str, reservation_ids: Sequence[ReservationId]) -> AsyncIterator[Loaded]:
    """Load reservations, some at a time."""
    loader = ReservationLoader(Subscription(payload))
    left = deque(reservation_ids[start : start + _AT_ONCE] for start in range(0, len(reservation_ids), _AT_ONCE))
    while left:
        part = left.popleft()
        loaded = await _load(database_url, loader, part)
        if loaded is not None:
            yield loaded
            if loaded.postponed:
                left.appendleft(list(loaded.postponed))
        elif len(part) > 1:
            left.extendleft(parts_of(part))
        else:
            yield Loaded(unreadable={part[0]: ENDS_SESSIONS})


async def _load(database_url: str, loader: ReservationLoader, part: Sequence[ReservationId]) -> Loaded | None:
    """Load reservations in a session of their own; ``None``: it failed for all; one of them may end sessions."""
    connected = False
    try:
        async with one_loading_connection(database_url) as loading:
            connected = True
            await limit_loading(loading)
            return await (loader.load(loading, part) if len(part) > 1 else loader.load_each(loading, part))
    except (DatabaseUnavailable, StatementFailed):
        if not connected:
            raise
        return None


def _are(tally: Tally) -> str:
    return "is" if tally.count == 1 else "are"


def _frequency(detail: tuple[str, Tally]) -> int:
    return -detail[1].count
