"""Preflight checks: whether the bridge can work, and the command that mends what stands in its way.

``cdc-bridge check`` runs them all and shows them all; the daemon runs at its start those without which it would lose
its way, and stops at the first that fails.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from enum import StrEnum

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.contract import column_names
from cdc_bridge.database import connect, problem_of
from cdc_bridge.delivery.endpoints import definition_of, list_endpoints
from cdc_bridge.delivery.roster import OTHER_CLUSTER
from cdc_bridge.errors import InstallationError, SettingsError
from cdc_bridge.operations.installation.version import SCHEMA_VERSION, installed_version
from cdc_bridge.payload.formats import SUPPORTED_TYPES
from cdc_bridge.queries import queries
from cdc_bridge.settings import Settings

_OLDEST_SERVER = 150_000
_HEARD_WITHIN_SECONDS = 2.0
_INSTALL = "cdc-bridge install"

Connection = AsyncConnection[TupleRow]


class Verdict(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One check's result."""

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as JSON has it."""
        return {name: str(value) for name, value in asdict(self).items()}


def _ok(name: str, detail: str) -> Check:
    return Check(name, Verdict.OK, detail)


def _failed(name: str, detail: str, remedy: str) -> Check:
    return Check(name, Verdict.FAILED, detail, remedy)


async def check_server(connection: Connection) -> Check:
    """PostgreSQL is new enough, and not a standby."""
    number, version, is_standby = await _record(connection, "server")
    if number < _OLDEST_SERVER:
        return _failed("server", f"PostgreSQL {version} is too old", "Upgrade to PostgreSQL 15 or newer.")
    if is_standby:
        return _failed("server", "this is a standby, which nothing can be written to", "Connect to the primary.")
    return _ok("server", f"PostgreSQL {version}")


async def check_installation(connection: Connection) -> Check:
    """The SQL side is here, in a version this daemon works with."""
    name = "installation"
    try:
        version = await installed_version(connection)
    except psycopg.errors.InsufficientPrivilege:
        return _failed(
            name,
            f"role {connection.info.user} may not read cdc_bridge.schema_version",
            "Log in as role cdc_bridge, or run in psql: grant usage on schema cdc_bridge to cdc_bridge; "
            "grant select on cdc_bridge.schema_version to cdc_bridge;",
        )
    if version is None:
        return _failed(name, f"the SQL side is not installed in {connection.info.dbname}", f"Run as a DBA: {_INSTALL}")
    if version.is_too_new:
        return _failed(
            name,
            f"schema version {version.number} is newer than the {SCHEMA_VERSION} this daemon knows",
            "Upgrade cdc-bridge.",
        )
    if version.is_too_old:
        return _failed(
            name,
            f"schema version {version.number} is older than the {SCHEMA_VERSION} needed",
            f"Run as a DBA: {_INSTALL}",
        )
    if version.is_prepared:
        return Check(
            name,
            Verdict.WARNING,
            f"schema version {version.number}, prepared for {SCHEMA_VERSION}: the upgrade is not finished",
            f"When no older daemon runs any more, as a DBA: {_INSTALL} --finish",
        )
    return _ok(name, f"schema version {version.number}")


async def check_rights(connection: Connection) -> Check:
    """The role may do all that the daemon does."""
    role = connection.info.user
    missing = await _records(connection, "missing_rights")
    if not missing:
        return _ok("rights", f"role {role} has every right it needs")
    statements = "; ".join(statement for _, statement in missing)
    return _failed(
        "rights", f"role {role} may not {', '.join(what for what, _ in missing)}", f"Run in psql: {statements};"
    )


async def check_mapping(connection: Connection) -> Check:
    """The payload view has every column of the contract, in types that can be written."""
    name = "mapping"
    types: dict[str, str] = dict(await _records(connection, "view_columns"))
    if not types:
        return _failed(name, "the view cdc_bridge.reservation_payload is not there", f"Run as a DBA: {_INSTALL}")
    contract = column_names()
    if missing := [column for column in contract if column not in types]:
        return _failed(
            name,
            f"the view lacks {_listed(missing)}",
            "Add them to the mapping and run: cdc-bridge install --mapping FILE",
        )
    if strange := [f"{column} ({type_})" for column, type_ in types.items() if type_ not in SUPPORTED_TYPES]:
        return _failed(
            name,
            f"the view has columns of types that cannot be written: {_listed(strange)}",
            "Cast them in the mapping; a timestamp without time zone: x at time zone 'Europe/London'",
        )
    if [column for column in types if column in contract] != contract:
        return Check(
            name,
            Verdict.WARNING,
            "the columns stand in another order than the contract's keys",
            "Order them in the mapping.",
        )
    try:
        await connection.execute(queries["read_nothing_through_view"])
    except psycopg.Error as error:
        return _failed(
            name,
            f"the view cannot be read: {problem_of(error)}",
            "Run in psql, for each of its tables: grant select on TABLE to cdc_bridge_owner;",
        )
    extra = len(types) - len(contract)
    return _ok(name, f"{len(types)} columns" + (f", {extra} beyond the contract" if extra else ""))


async def check_capture(connection: Connection) -> Check:
    """Triggers for INSERT and UPDATE are attached and fire."""
    name = "capture"
    attach = "Run as a DBA: select cdc_bridge.attach('public.reservations', 'id');"
    triggers = await _records(connection, "capture_triggers")
    if not triggers:
        return _failed(name, "capture is not attached to any table", attach)
    tables = sorted({table for table, _, _ in triggers})
    for table in tables:
        present = {trigger: fires for of, trigger, fires in triggers if of == table}
        for trigger in ("cdc_bridge_insert", "cdc_bridge_update"):
            if trigger not in present:
                return _failed(name, f"trigger {trigger} is missing on {table}", attach)
            if not present[trigger]:
                return _failed(
                    name,
                    f"trigger {trigger} on {table} is disabled",
                    f"Run as a DBA: alter table {table} enable trigger {trigger};",
                )
    return _ok(name, f"attached to {', '.join(tables)}")


async def check_doorbell(connection: Connection, settings: Settings) -> Check:
    """A NOTIFY arrives through this way of connecting."""
    name = "doorbell"
    if settings.wake == "poll":
        return Check(
            name, Verdict.SKIPPED, f"not used (wake = poll); the log is read every {settings.poll_interval_seconds:g} s"
        )
    remedy = (
        "Connect to PostgreSQL directly or through a pooler in session mode; or set CDC_BRIDGE_WAKE=poll. "
        f"As it is, the log is read every {settings.poll_interval_seconds:g} s."
    )
    try:
        if await _hears_a_ring(connection, settings.database_url.get_secret_value()):
            return _ok(name, "NOTIFY arrives")
    except psycopg.Error as error:
        return Check(name, Verdict.WARNING, f"LISTEN does not work: {problem_of(error)}", remedy)
    return Check(name, Verdict.WARNING, "NOTIFY does not arrive", remedy)


async def _hears_a_ring(connection: Connection, database_url: str) -> bool:
    words = secrets.token_hex(8)
    await connection.execute(queries["listen"])
    async with await connect(database_url) as other:
        await other.execute(queries["ring"], {"words": words})
    try:
        async with asyncio.timeout(_HEARD_WITHIN_SECONDS):
            async for ring in connection.notifies(timeout=_HEARD_WITHIN_SECONDS):
                if ring.payload == words:
                    return True
    except TimeoutError:
        pass
    return False


def check_declared_endpoint(settings: Settings) -> Check:
    """The endpoint of the settings can be used, if there is one."""
    name = "settings"
    try:
        endpoint = settings.endpoint()
    except SettingsError as error:
        return _failed(name, error.problem, error.remedy)
    if endpoint is None:
        return _ok(name, "declare no endpoint")
    if endpoint.secret is None:
        return Check(
            name,
            Verdict.WARNING,
            f"endpoint {endpoint.name}, {endpoint.shown_url}; calls are not signed",
            "Set CDC_BRIDGE_ENDPOINT_SECRET=whsec_...: "
            "python3 -c \"import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\"",
        )
    return _ok(name, f"endpoint {endpoint.name}, {endpoint.shown_url}")


async def check_endpoints(connection: Connection, settings: Settings) -> Check:
    """There is an endpoint, and each one can be called."""
    name = "endpoints"
    listed = await list_endpoints(connection)
    for row in listed:
        if not row["same_cluster"]:
            return _failed(name, f"{row['name']}: {OTHER_CLUSTER}", "As a DBA: select cdc_bridge.adopt();")
        if row["disabled"]:
            return _failed(
                name,
                f"{row['name']} answered 410 and is not called any more",
                f"When it wants calls again: cdc-bridge endpoint resume {row['name']}",
            )
        if not row["in_settings"]:
            try:
                definition_of(row, allow_http=settings.allow_http)
            except ValueError as error:
                return _failed(name, f"{row['name']}: {error}", f"cdc-bridge endpoint set {row['name']} ...")
    names = [row["name"] + ("" if row["paused_at"] is None else " (paused)") for row in listed]
    if names:
        return _ok(name, _listed(names))
    if settings.endpoint_url is not None:
        return _ok(name, "that of the settings, which no daemon has declared yet")
    return _failed(
        name,
        "there is none, so nothing is called",
        "Set CDC_BRIDGE_ENDPOINT_URL, or: cdc-bridge endpoint add till https://till.example/reservations",
    )


_NEEDED: tuple[Callable[[Connection], Awaitable[Check]], ...] = (
    check_server,
    check_installation,
    check_rights,
    check_mapping,
)


async def require_ready(connection: Connection) -> None:
    """Make sure that the daemon can work.

    Raises:
        InstallationError: it cannot; says what to do.
    """
    for needed in _NEEDED:
        found = await needed(connection)
        if found.verdict is Verdict.FAILED:
            raise InstallationError(found.detail, found.remedy)


async def require_installed(connection: Connection) -> None:
    """Make sure that the SQL side is here; for a command that needs neither the mapping nor all of the daemon's rights.

    Raises:
        InstallationError: it is not; says what to do.
    """
    found = await check_installation(connection)
    if found.verdict is Verdict.FAILED:
        raise InstallationError(found.detail, found.remedy)


async def run_checks(settings: Settings) -> AsyncIterator[Check]:
    """Run every check; those that cannot be judged, because one before them failed, are shown as skipped."""
    yield check_declared_endpoint(settings)
    try:
        connection = await connect(settings.database_url.get_secret_value())
    except psycopg.Error as error:
        yield _failed(
            "database",
            f"cannot be reached: {problem_of(error)}",
            "See that PostgreSQL runs and that CDC_BRIDGE_DATABASE_URL is right.",
        )
        for name in ("server", "installation", "rights", "mapping", "capture", "endpoints", "doorbell"):
            yield Check(name, Verdict.SKIPPED, "needs the database")
        return
    async with connection:
        yield _ok("database", f"{connection.info.dbname} as role {connection.info.user}")
        yield await _answered("server", check_server(connection))
        installation = await _answered("installation", check_installation(connection))
        yield installation
        if installation.verdict is Verdict.FAILED:
            for name in ("rights", "mapping", "capture", "endpoints"):
                yield Check(name, Verdict.SKIPPED, "needs the installation")
        else:
            yield await _answered("rights", check_rights(connection))
            yield await _answered("mapping", check_mapping(connection))
            yield await _answered("capture", check_capture(connection))
            yield await _answered("endpoints", check_endpoints(connection, settings))
        yield await check_doorbell(connection, settings)


async def _answered(name: str, check: Awaitable[Check]) -> Check:
    """Return a check's result; a statement that the database refuses is a fault found, not the end of checking."""
    try:
        return await check
    except psycopg.Error as error:
        return _failed(
            name, f"the database refused to tell: {problem_of(error)}", f"Run as a DBA, to mend the schema: {_INSTALL}"
        )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


async def _record(connection: Connection, name: str) -> TupleRow:
    (record,) = await _records(connection, name)
    return record


async def _records(connection: Connection, name: str) -> list[TupleRow]:
    cursor = await connection.execute(queries[name])
    return await cursor.fetchall()
