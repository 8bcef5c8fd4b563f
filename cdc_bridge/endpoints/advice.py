"""What deserves a look though all may be well: told on the page, and by no alarm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from cdc_bridge.endpoints.overview import EndpointNow


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to know of an endpoint, and what can be done."""

    endpoint: str
    text: str
    remedy: str
    since: datetime | None = None


def remarks(endpoints: Sequence[EndpointNow]) -> list[Remark]:
    """Return what there is to know of endpoints that are not as one would want them."""
    return [remark for endpoint in endpoints for remark in _of(endpoint)]


def _of(endpoint: EndpointNow) -> Iterator[Remark]:
    name = endpoint.name
    match endpoint.state:
        case "backing off":
            yield Remark(
                name,
                f"does not take calls: {endpoint.problem or endpoint.last_failure or 'it fails'}",
                "It is tried again by itself, and nothing is lost. A test call shows its answer.",
                endpoint.since,
            )
        case "paused":
            yield Remark(name, "is paused", "What is committed meanwhile is sent when it is resumed.", endpoint.since)
        case "no daemon":
            yield Remark(
                name, "is called by no daemon", "If that stays so, see that the daemon runs that is to call it."
            )
        case _:
            pass
    if endpoint.waiting:
        yield Remark(
            name,
            f"has refused {_deliveries(endpoint.waiting)}, to be tried again",
            "The list of its deliveries that wait says which, and what it answered.",
        )
    if missed := (endpoint.reconciled_missing or 0) + (endpoint.reconciled_stale or 0):
        yield Remark(
            name,
            f"did not have {missed:,} reservations as they stand, when that was compared last",
            f"cdc-bridge reconcile --endpoint {name} --repair has them called.",
        )
    if endpoint.dead:
        yield Remark(
            name,
            f"has refused {_deliveries(endpoint.dead)} for good",
            "When their cause is mended, send its dead letters again.",
        )


def _deliveries(number: int) -> str:
    return f"{number:,} {'delivery' if number == 1 else 'deliveries'}"
