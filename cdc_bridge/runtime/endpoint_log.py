"""Logs what becomes of endpoints: each change once, however often the endpoints are listed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import structlog

from cdc_bridge.checks.endpoints import NO_ENDPOINT, NO_ENDPOINT_REMEDY
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.model import EndpointId
from cdc_bridge.transport.proxy import route_of

_STOPPED = {"paused", "disabled"}
_MOST_NAMED = 20

_log = structlog.get_logger(__name__)


class EndpointLog:
    """What was logged of each endpoint that this daemon does not deliver to."""

    def __init__(self) -> None:
        self._logged: dict[EndpointId, str] = {}
        self._lost: dict[EndpointId, str] = {}
        self._none_logged = False

    def listed(self, changed: Sequence[ListedEndpoint], existing: Collection[EndpointId]) -> None:
        """Log which endpoints were lost, paused, disabled or resumed since the last list, and that there is none.

        Args:
            changed: Those that somebody has changed.
            existing: All that there are.
        """
        self.report_losses(existing)
        if not existing and not self._none_logged:
            _log.warning("no endpoint", problem=NO_ENDPOINT, remedy=NO_ENDPOINT_REMEDY)
        self._none_logged = not existing
        self._logged = {endpoint_id: text for endpoint_id, text in self._logged.items() if endpoint_id in existing}
        for endpoint in changed:
            state = "disabled" if endpoint.disabled else "paused" if endpoint.paused else None
            if state is not None:
                self._stopped(endpoint, state)
            elif self._logged.get(endpoint.endpoint_id) in _STOPPED:
                _log.info("endpoint resumed", endpoint=endpoint.name)
                del self._logged[endpoint.endpoint_id]

    def _stopped(self, endpoint: ListedEndpoint, state: str) -> None:
        if self._logged.get(endpoint.endpoint_id) != state:
            _log.warning(
                f"endpoint {state}", endpoint=endpoint.name, remedy=f"cdc-bridge endpoint resume {endpoint.name}"
            )
            self._logged[endpoint.endpoint_id] = state

    def invalid(self, endpoint_id: EndpointId, name: str, problem: str) -> None:
        """Log why an endpoint is invalid."""
        if self._logged.get(endpoint_id) != problem:
            self._logged[endpoint_id] = problem
            _log.error("endpoint invalid", endpoint=name, problem=problem)

    def assigned(self, endpoints: Sequence[tuple[EndpointId, Endpoint]]) -> None:
        """Log that this daemon delivers to endpoints from now on, directly or through a proxy; of many, how many."""
        for endpoint_id, endpoint in endpoints:
            self._logged.pop(endpoint_id, None)
            if len(endpoints) <= _MOST_NAMED:
                route = str(route_of(endpoint))
                _log.info("endpoint assigned", endpoint=endpoint.name, url=endpoint.shown_url, route=route)
        if len(endpoints) > _MOST_NAMED:
            _log.info("endpoints assigned", endpoints=len(endpoints))

    def lost(self, endpoint_id: EndpointId, name: str) -> None:
        """Note a lost lease; the next list tells whether another daemon has it or the endpoint was removed."""
        self._lost[endpoint_id] = name

    def report_losses(self, existing: Collection[EndpointId] | None = None) -> None:
        """Log the lost leases.

        Args:
            existing: The endpoints that exist; ``None``: not known, so all are taken to exist.
        """
        if len(self._lost) > _MOST_NAMED:
            _log.warning("endpoint leases lost", endpoints=len(self._lost))
            self._lost.clear()
        for endpoint_id, name in self._lost.items():
            if existing is None or endpoint_id in existing:
                _log.warning("endpoint lease lost", endpoint=name)
            else:
                _log.info("endpoint removed", endpoint=name)
        self._lost.clear()
