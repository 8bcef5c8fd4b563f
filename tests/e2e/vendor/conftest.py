"""Fixtures of the contract's tests."""

from __future__ import annotations

import pytest

from tests.e2e.vendor.sent import SentRequests
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.receiver import Receiver


@pytest.fixture
def sent_requests(
    database: Database,
    bridges: Bridges,
    endpoint: EndpointCommands,
    receiver: Receiver,
    bridge_settings: dict[str, str],
) -> SentRequests:
    return SentRequests(database, bridges, endpoint, receiver, bridge_settings)
