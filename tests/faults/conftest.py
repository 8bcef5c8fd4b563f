"""A PostgreSQL of the test's own, to be killed and broken, with what belongs to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from tests.support.bridge import Bridges
from tests.support.databases import Database, install_bridge, load_example
from tests.support.figures import Figures
from tests.support.hosted import Hosted
from tests.support.load import Load
from tests.support.receiver import Receiver
from tests.support.server import Server


@pytest.fixture
def durable_database(durable_server: ThrowawayPostgres) -> Database:
    """The example e-Res with the bridge installed, on a server that writes as production does."""
    database = Database(Server("own", durable_server.url, durable_server.binaries), "postgres")
    load_example(database)
    install_bridge(database)
    return database


@pytest.fixture
def durable_load(durable_database: Database, receiver: Receiver, figures: Figures) -> Load:
    """A load on that server."""
    return Load(durable_database, receiver, figures)


@pytest.fixture
async def durable_bridges(durable_database: Database, bridge_settings: dict[str, str]) -> AsyncIterator[Bridges]:
    """Starts daemons on that server."""
    bridges = Bridges(bridge_settings | {"CDC_BRIDGE_DATABASE_URL": durable_database.bridge_url}, durable_database)
    yield bridges
    await bridges.close()


@pytest.fixture
def hosted(database: Database, figures: Figures) -> Hosted:
    """Restaurants in the test's database."""
    return Hosted(database, figures)


@pytest.fixture
async def hosted_bridges(bridge_settings: dict[str, str], database: Database) -> AsyncIterator[Bridges]:
    """Starts daemons on that database, whose settings declare no endpoint."""
    bridges = Bridges(without_endpoint(bridge_settings), database)
    yield bridges
    await bridges.close()


def without_endpoint(settings: dict[str, str]) -> dict[str, str]:
    """Return settings that declare no endpoint, of a daemon that logs no delivery."""
    kept = {name: value for name, value in settings.items() if not name.startswith("CDC_BRIDGE_ENDPOINT_")}
    return kept | {"CDC_BRIDGE_LOG_LEVEL": "info"}
