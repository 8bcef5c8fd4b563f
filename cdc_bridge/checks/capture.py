"""Check of capture: its triggers, their function and its key column."""

from __future__ import annotations

from cdc_bridge.capture.triggers import Trigger, capture_triggers
from cdc_bridge.checks.verdict import Check, Connection, failed, listed, ok, records, warning

_NAME = "capture"

_REPEAT = "Run as a DBA, with your mapping's file: cdc-bridge install --mapping FILE"
_TRIGGERS = ("cdc_bridge_insert", "cdc_bridge_update")


async def check_capture(connection: Connection) -> Check:
    """Triggers for INSERT and UPDATE are attached, fire and capture."""
    triggers = await capture_triggers(connection)
    if lost := await records(connection, "lost_tables"):
        table, exists, attach = lost[0]
        what = "is another one than capture was attached to" if exists else "does not exist any more"
        return failed(
            _NAME,
            f"table {table} {what}, so nothing is captured",
            f"Run as a DBA: {attach} Then: cdc-bridge reconcile --repair",
        )
    if not triggers:
        statements = [statement for (statement,) in await records(connection, "attachable")]
        remedy = f"Run as a DBA, for e-Res's reservations: {' or '.join(statements)}" if statements else _REPEAT
        return failed(_NAME, "capture is not attached to any table", remedy)
    tables = sorted({trigger.table for trigger in triggers})
    for table in tables:
        problem = _problem_of(table, {trigger.name: trigger for trigger in triggers if trigger.table == table})
        if problem is not None:
            return failed(_NAME, *problem)
    return await _warning(connection) or ok(_NAME, f"attached to {', '.join(tables)}")


async def _warning(connection: Connection) -> Check | None:
    if lost := await records(connection, "lost_related"):
        return failed(
            _NAME,
            f"changes of {listed([table for table, _ in lost])} are not captured: it is another table, or a trigger is "
            "disabled",
            f"Run as a DBA: {' '.join(statements for _, statements in lost)} Then: cdc-bridge reconcile --repair",
        )
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


def _problem_of(table: str, triggers: dict[str, Trigger]) -> tuple[str, str] | None:
    any_trigger = next(iter(triggers.values()))
    for name in _TRIGGERS:
        if name not in triggers:
            return f"trigger {name} is missing on {table}", f"Run as a DBA: {any_trigger.attach}"
        trigger = triggers[name]
        if not trigger.has_key:
            return (
                f"table {table} has no column {trigger.key} any more",
                f"Run as a DBA: {trigger.attach}",
            )
        if not trigger.fires:
            return (
                f"trigger {name} on {table} is disabled",
                f"Run as a DBA: alter table {table} enable trigger {name};",
            )
        if not trigger.captures:
            return (
                "capture was switched off by cdc_bridge.disable_capture()",
                "Run as a DBA: select cdc_bridge.enable_capture(); then: cdc-bridge reconcile --repair",
            )
    return None
