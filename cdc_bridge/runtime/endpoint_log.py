"""Logs each change of an endpoint's state once, however often it is looked at."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import structlog

from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.model import EndpointId

_STOPPED = {"paused", "disabled"}

_log = structlog.get_logger(__name__)


class EndpointLog:
    """What was said of endpoints that are not called here."""

    def __init__(self) -> None:
        self._said: dict[EndpointId, str] = {}
        self._lost: dict[EndpointId, str] = {}

    def seen(self, listed: Sequence[ListedEndpoint]) -> None:
        """Log which endpoints were lost, paused, disabled or resumed since the last look."""
        there = {endpoint.endpoint_id for endpoint in listed}
        self.tell_losses(there)
        self._said = {endpoint_id: said for endpoint_id, said in self._said.items() if endpoint_id in there}
        for endpoint in listed:
            state = "disabled" if endpoint.disabled else "paused" if endpoint.paused else None
            if state is not None:
                self._stopped(endpoint, state)
            elif self._said.get(endpoint.endpoint_id) in _STOPPED:
                _log.info("endpoint resumed", endpoint=endpoint.name)
                del self._said[endpoint.endpoint_id]

    def _stopped(self, endpoint: ListedEndpoint, state: str) -> None:
        if self._said.get(endpoint.endpoint_id) != state:
            _log.warning(
                f"endpoint {state}", endpoint=endpoint.name, remedy=f"cdc-bridge endpoint resume {endpoint.name}"
            )
            self._said[endpoint.endpoint_id] = state

    def cannot_be_called(self, endpoint_id: EndpointId, name: str, problem: str) -> None:
        """Log why an endpoint cannot be called."""
        if self._said.get(endpoint_id) != problem:
            self._said[endpoint_id] = problem
            _log.error("endpoint cannot be called", endpoint=name, problem=problem)

    def taken(self, endpoint_id: EndpointId, name: str, url: str) -> None:
        """Log that an endpoint is called from here now."""
        self._said.pop(endpoint_id, None)
        _log.info("endpoint taken", endpoint=name, url=url)

    def lost(self, endpoint_id: EndpointId, name: str) -> None:
        """Note that an endpoint is not ours any more; whether it was taken or removed, the next look tells."""
        self._lost[endpoint_id] = name

    def tell_losses(self, there: Collection[EndpointId] | None = None) -> None:
        """Log the losses.

        Args:
            there: the endpoints that exist; ``None``: that was not asked, and they are taken to exist.
        """
        for endpoint_id, name in self._lost.items():
            if there is None or endpoint_id in there:
                _log.warning("endpoint taken over by another daemon", endpoint=name)
            else:
                _log.info("endpoint removed", endpoint=name)
        self._lost.clear()
