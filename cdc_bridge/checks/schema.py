"""Checks of the server, the schema's version and the privileges of the roles."""

from __future__ import annotations

from cdc_bridge.checks.verdict import (
    Check,
    Connection,
    failed,
    listed,
    ok,
    record,
    records,
    warning,
)
from cdc_bridge.connection_origin import URL_VARIABLE
from cdc_bridge.errors import InstallationError
from cdc_bridge.schema.version import INSTALL, SCHEMA_VERSION, require_installed

_OLDEST_SERVER = 150_000


async def check_server(connection: Connection) -> Check:
    """PostgreSQL is new enough, and not a standby."""
    number, version, is_standby = await record(connection, "server")
    if number < _OLDEST_SERVER:
        return failed("server", f"PostgreSQL {version} is too old", "Upgrade to PostgreSQL 15 or newer.")
    if is_standby:
        return failed("server", "this is a standby, which is read-only", "Connect to the primary.")
    return ok("server", f"PostgreSQL {version}")


async def check_installation(connection: Connection) -> Check:
    """The schema is installed in a version that this daemon works with."""
    name = "installation"
    try:
        version = await require_installed(connection)
    except InstallationError as error:
        return failed(name, error.problem, error.remedy)
    if version.is_prepared:
        return warning(
            name,
            f"schema version {version.number}, prepared for {SCHEMA_VERSION}: the upgrade is not finished",
            f"When no older daemon runs any more, as a DBA: {INSTALL} --finish",
        )
    return ok(name, f"schema version {version.number}")


async def check_rights(connection: Connection) -> Check:
    """The role has every privilege that the daemon needs, and is not one that can do anything."""
    role = connection.info.user
    missing = await records(connection, "missing_rights")
    if not missing:
        (more,) = await record(connection, "may_do_more")
        if more is None:
            return ok("rights", f"role {role} has every privilege it needs")
        return warning(
            "rights",
            f"role {role} {more}; the daemon should connect as cdc_bridge",
            f"Name role cdc_bridge in {URL_VARIABLE}.",
        )
    statements = "; ".join(statement for _, statement in missing)
    return failed(
        "rights",
        f"role {role} may not {', '.join(what for what, _ in missing)}",
        f"Run in psql: {statements};" if role == "cdc_bridge" else "Log in as role cdc_bridge.",
    )


async def check_roles(connection: Connection) -> Check:
    """Nobody is a member of the bridge's roles without need, and they are members of no other."""
    name = "roles"
    found = await records(connection, "strange_roles")
    more = [(member, role) for member, role in found if role != "cdc_bridge_owner" or member == "cdc_bridge"]
    if more:
        return warning(
            name,
            f"{listed([f'{member} has the privileges of {role}' for member, role in more])}, which it does not need",
            "Run in psql: " + " ".join(f"revoke {role} from {member};" for member, role in more),
        )
    if members := [member for member, _ in found]:
        return ok(name, f"members of cdc_bridge_owner, who can read guest data and secrets: {listed(members)}")
    return ok(name, "no membership beyond what is needed")
