"""Runs all checks, or those that the daemon requires at its start."""

from __future__ import annotations

import platform
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial

import psycopg

from cdc_bridge import __version__
from cdc_bridge.checks.capture import check_capture
from cdc_bridge.checks.encryption import check_encryption
from cdc_bridge.checks.endpoints import check_declared_endpoint, check_endpoints
from cdc_bridge.checks.environment import check_clock, check_reachability, check_settings_files
from cdc_bridge.checks.mapping import check_mapping
from cdc_bridge.checks.schema import check_installation, check_rights, check_roles, check_server
from cdc_bridge.checks.sessions import check_connections, check_pooler
from cdc_bridge.checks.verdict import Check, Connection, Verdict, failed, ok
from cdc_bridge.checks.wake_up import check_wake_up
from cdc_bridge.connection_origin import connection_origin
from cdc_bridge.database import one_connection, problem_of, unreachable
from cdc_bridge.endpoints.store import subscriptions
from cdc_bridge.errors import DatabaseUnavailable, InstallationError, SettingsError
from cdc_bridge.schema.version import INSTALL
from cdc_bridge.sessions import LoadingConnection, connect, connect_to_load
from cdc_bridge.settings import Settings

_REQUIRED: tuple[Callable[[Connection], Awaitable[Check]], ...] = (
    check_server,
    check_connections,
    check_installation,
    check_rights,
)
_DAEMON_ROLE = "cdc_bridge"
_OF_THE_INSTALLATION = ("installation", "rights", "roles", "mapping", "capture", "encryption", "endpoints")


async def require_ready(connection: Connection) -> None:
    """Make sure that the daemon can work.

    Raises:
        InstallationError: It cannot; says what to do.
    """
    for check in _REQUIRED:
        found = await check(connection)
        if found.verdict is Verdict.FAILED:
            raise InstallationError(found.detail, found.remedy)


async def require_sessions(database_url: str) -> None:
    """Make sure that sessions are the daemon's own.

    Raises:
        DatabaseUnavailable: PostgreSQL does not respond or rejects the login, or a pooler has no session left.
        SettingsError: A pooler shares sessions.
    """
    async with one_connection(database_url) as session:
        found = await check_pooler(session, database_url)
    if found.verdict is Verdict.FAILED:
        raise SettingsError(found.detail, found.remedy)


async def run_checks(settings: Settings) -> AsyncIterator[Check]:
    """Run every check; those that depend on one that failed are skipped."""
    yield ok("cdc-bridge", f"{__version__}, Python {platform.python_version()}, {ssl.OPENSSL_VERSION}")
    yield check_declared_endpoint(settings)
    yield check_settings_files(settings)
    try:
        connection = await connect(settings.database_url.get_secret_value())
    except psycopg.Error as error:
        found = unreachable(error, settings.database_url.get_secret_value())
        origin = connection_origin(settings.database_url.get_secret_value(), error)
        yield failed("database", f"{found.problem}; tried as {origin}", found.remedy)
        for name in ("sessions", "server", "connections", "clock", *_OF_THE_INSTALLATION, "wake-up"):
            yield Check(name, Verdict.SKIPPED, "needs the database")
        return
    checked = partial(_checked, role=connection.info.user)
    async with connection:
        yield ok("database", f"{connection.info.dbname} as role {connection.info.user}")
        yield await checked("sessions", check_pooler(connection, settings.database_url.get_secret_value()))
        yield await checked("server", check_server(connection))
        yield await checked("connections", check_connections(connection))
        yield await checked("clock", check_clock(connection))
        installation = await checked("installation", check_installation(connection))
        yield installation
        if installation.verdict is Verdict.FAILED:
            for name in _OF_THE_INSTALLATION[1:]:
                yield Check(name, Verdict.SKIPPED, "needs the installation")
        else:
            yield await checked("rights", check_rights(connection))
            yield await checked("roles", check_roles(connection))
            causes: list[Check] = []
            for name, check in (
                ("mapping", _check_mapping(connection, settings)),
                ("capture", check_capture(connection)),
                ("encryption", check_encryption(connection, settings)),
            ):
                causes.append(await checked(name, check))
                yield causes[-1]
            yield await checked("endpoints", check_endpoints(connection, settings, causes))
            with suppress(psycopg.Error):  # The check before has reported it.
                for reached in await check_reachability(connection, settings):
                    yield reached
        yield await check_wake_up(connection, settings)


async def _check_mapping(connection: Connection, settings: Settings) -> Check:
    in_use = await subscriptions(connection)
    async with await connect_to_load(settings.database_url.get_secret_value()) as loading:
        return await check_mapping(LoadingConnection(loading), in_use)


async def _checked(name: str, check: Awaitable[Check], *, role: str) -> Check:
    """Return a check's result; a statement that PostgreSQL rejects fails the check, and the others go on."""
    try:
        return await check
    except DatabaseUnavailable as error:
        return failed(name, error.problem, error.remedy)
    except psycopg.errors.InsufficientPrivilege as error:
        if role != _DAEMON_ROLE:
            told = f"role {role} may not see that ({problem_of(error)}), the daemon's role may"
            return Check(name, Verdict.SKIPPED, told, f"Log in as role {_DAEMON_ROLE}.")
        return _rejected(name, error)
    except psycopg.Error as error:
        return _rejected(name, error)


def _rejected(name: str, error: psycopg.Error) -> Check:
    return failed(
        name,
        f"PostgreSQL rejected the check: {problem_of(error)}",
        f"Run as a DBA, to repair the schema: {INSTALL}",
    )
