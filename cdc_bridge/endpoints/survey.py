"""What there is to say of all endpoints, however many: how many have which status, and which are in trouble.

The database judges all of them in one statement, which returns numbers and a few ids. Figures are read only of those
that are shown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.endpoints.overview import ASSIGNED_WITHIN, EndpointOverview, overviews_of
from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.model import EndpointId
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_WORST_FIRST = (
    EndpointStatus.INVALID,
    EndpointStatus.DISABLED,
    EndpointStatus.UNASSIGNED,
    EndpointStatus.FAILING,
    EndpointStatus.DEGRADED,
    EndpointStatus.PAUSED,
    EndpointStatus.HEALTHY,
)
"""As the statement ranks them."""
NAMED_OF_A_KIND = 10
"""Endpoints of each kind of trouble that are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Search:
    """Which endpoints are looked for, and in which order; at most ``limit`` of them."""

    text: str = ""
    """Part of the name, of the URL or of the conditions."""
    statuses: Collection[EndpointStatus] = ()
    """Empty: whatever the status is."""
    by_name: bool = False
    """By name; else those in trouble come first, the worst before others, and of them the most behind."""
    limit: int | None = None
    """``None``: all of them."""
    offset: int = 0


NOBODY = Search(limit=0)
PAGE = 50
"""Endpoints that a page of a list has, where nobody says another number."""
FIRST_PAGE = Search(limit=PAGE)


@dataclass(frozen=True, slots=True)
class OtherEndpoints:
    """All that are not named, together."""

    by_status: Mapping[EndpointStatus, int]
    lag_seconds: float
    """The longest, of those that are neither paused nor disabled; 0: nothing is behind."""
    backlog: int
    """The largest."""
    pending: int
    """Of all together, as the next one."""
    dead: int
    last_success_at: datetime | None
    """The latest, as the next one."""
    last_failure_at: datetime | None


@dataclass(frozen=True, slots=True)
class EndpointSurvey:
    """All endpoints at one moment."""

    by_status: Mapping[EndpointStatus, int]
    """How many have a status, those in trouble first; statuses that none has are left out."""
    by_problem: Mapping[EndpointStatus, int]
    """How many have got nothing for so long that it is reported, by their status."""
    late: int
    """How many are further behind than the limit; paused and disabled ones are left out."""
    number_in_trouble: int
    """How many are not healthy, or late; those that somebody paused are left out."""
    in_trouble: Sequence[EndpointOverview]
    """Some of each kind, the worst first."""
    others: OtherEndpoints
    """All but these."""
    matching: int
    """How many were found that a search is for."""
    page: Sequence[EndpointOverview]
    """Some of them."""

    @property
    def number(self) -> int:
        """How many endpoints there are."""
        return sum(self.by_status.values())

    @property
    def counted(self) -> str:
        """How many have which status, for people; those in trouble first."""
        return ", ".join(f"{number:,} {status}" for status, number in self.by_status.items())


async def survey(
    connection: AsyncConnection[TupleRow], max_lag_seconds: float, search: Search = NOBODY
) -> EndpointSurvey:
    """Judge all endpoints, and return figures of those in trouble and of those that are looked for.

    Args:
        connection: To the database. A reader's rights suffice.
        max_lag_seconds: Lag from which an endpoint counts as late; and how long it may be failing or unassigned.
        search: Of whom to return a page; default: nobody.
    """
    asked = {
        "search": "".join(filter(str.isprintable, search.text)).strip() or None,
        "statuses": [str(status) for status in search.statuses] or None,
        "max_lag_seconds": max_lag_seconds,
        "settling_seconds": ASSIGNED_WITHIN.total_seconds(),
        "most_named": NAMED_OF_A_KIND,
        "by_name": search.by_name,
        "limit": search.limit,
        "offset": search.offset,
    }
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_queries["survey_endpoints"], asked)
        (row,) = await cursor.fetchall()
    overviews = await overviews_of(connection, {*row["named"], *row["page"]})
    return EndpointSurvey(
        by_status=_numbers(row["by_status"]),
        by_problem=_numbers(row["by_problem"]),
        late=row["late"],
        number_in_trouble=row["number_in_trouble"],
        in_trouble=_present(row["named"], overviews),
        others=OtherEndpoints(
            _numbers(row["others_by_status"]),
            lag_seconds=row["others_lag_seconds"],
            backlog=row["others_backlog"],
            pending=row["others_pending"],
            dead=row["others_dead"],
            last_success_at=row["others_last_success_at"],
            last_failure_at=row["others_last_failure_at"],
        ),
        matching=row["matching"],
        page=_present(row["page"], overviews),
    )


def _numbers(found: Mapping[str, Any] | None) -> dict[EndpointStatus, int]:
    return {status: found[status] for status in _WORST_FIRST if status in found} if found else {}


def _present(
    endpoint_ids: Sequence[EndpointId], overviews: Mapping[EndpointId, EndpointOverview]
) -> list[EndpointOverview]:
    """Return endpoints in an order, without those that were removed meanwhile."""
    return [overviews[endpoint_id] for endpoint_id in endpoint_ids if endpoint_id in overviews]
