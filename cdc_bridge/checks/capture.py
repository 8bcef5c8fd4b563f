"""Check of capture: its triggers, their function and its key column."""

from __future__ import annotations

from cdc_bridge.checks.verdict import Check, Connection, failed, listed, ok, records, warning

_NAME = "capture"

_REPEAT = "Run as a DBA, with your mapping's file: cdc-bridge install --mapping FILE"


async def check_capture(connection: Connection) -> Check:
    """Triggers for INSERT and UPDATE are attached, fire and capture."""
    if faults := await records(connection, "faults_of_capture"):
        problems = dict.fromkeys(problem for problem, _, _ in faults)
        remedies = dict.fromkeys(remedy for _, remedy, _ in faults if remedy)
        then = " Then: cdc-bridge reconcile --repair" if any(loses for _, _, loses in faults) else ""
        return failed(_NAME, "; ".join(problems), f"Run as a DBA: {' '.join(remedies)}{then}" if remedies else _REPEAT)
    tables = [table for (table,) in await records(connection, "captured_tables")]
    return await _warning(connection) or ok(_NAME, f"attached to {', '.join(tables)}")


async def _warning(connection: Connection) -> Check | None:
    if without := await records(connection, "partitions_without_capture"):
        tables = listed([table for table, _, _ in without])
        problem = f"writes to {tables} by name, not through the parent table, are not captured"
        remedy = "Run as a DBA: " + " ".join(sorted({attach for _, attach, _ in without}))
        # Rows of partitions are written through the parent; those of a child table are written to it.
        return (warning if all(is_partition for *_, is_partition in without) else failed)(_NAME, problem, remedy)
    if unread := await records(connection, "captured_unread"):
        return warning(
            _NAME,
            f"capture is attached to {listed([table for table, _ in unread])}, which the mapping does not read",
            "If e-Res keeps no reservations there now, run as a DBA: " + " ".join(statement for _, statement in unread),
        )
    for table, number, since in await records(connection, "related_waiting"):
        return warning(
            _NAME,
            f"{number} changed rows of {table} wait for their reservations to be found since {since:%Y-%m-%d %H:%M}",
            "The daemon's log says why.",
        )
    return None
