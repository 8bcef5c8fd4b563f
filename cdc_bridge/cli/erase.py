"""``cdc-bridge erase``."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from cdc_bridge.audit.actor import of_command
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, database_url_from
from cdc_bridge.console import print_line
from cdc_bridge.deliveries.erase import Erasure
from cdc_bridge.deliveries.erase import erase as erase_reservation
from cdc_bridge.model import ReservationId
from cdc_bridge.schema.session import command_session


def erase(
    reservation_id: Annotated[str, typer.Argument(metavar="RESERVATION", help="The reservation's key.")],
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Erase a reservation from the change log and the delivery log.

    For a guest who asks for erasure, once e-Res has erased the reservation or changed its key. What is still to be
    delivered stays, and the exit code is 1: run it again when it is settled.

    Example: cdc-bridge erase graham@example.org
    """
    url = database_url_from(config, database_url)
    erased = asyncio.run(_run(url, ReservationId(reservation_id)))
    print_line(f"Erased: {erased.changes_erased} changes, {erased.deliveries_erased} deliveries.")
    if not erased.complete:
        print_line(
            f"Still to be delivered: {erased.changes_left} changes, {erased.deliveries_left} deliveries. "
            f'Run it again when they are settled; see: cdc-bridge deliveries --reservation "{reservation_id}"',
            err=True,
        )
        raise typer.Exit(1)


async def _run(url: str, reservation_id: ReservationId) -> Erasure:
    async with command_session(url) as connection:
        return await erase_reservation(connection, reservation_id, by=of_command())
