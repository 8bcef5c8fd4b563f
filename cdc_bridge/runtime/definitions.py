"""Cache of endpoint definitions: a row is checked once, as the check reads certificates from files."""

from __future__ import annotations

from collections.abc import Callable

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.secrets_cipher import SecretsCipher
from cdc_bridge.endpoints.store import ListedEndpoint, endpoint_of_row
from cdc_bridge.model import EndpointId
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.transport.proxy import route_of


class EndpointDefinitions:
    """The definition of each endpoint, from its row or from this daemon's settings."""

    def __init__(
        self,
        declared: Endpoint | None,
        *,
        allow_http: bool,
        cipher: SecretsCipher,
        payload_problem: Callable[[Subscription], str | None] = lambda _: None,
    ) -> None:
        """Start with an empty cache.

        Args:
            declared: The endpoint that the settings declare, if they do.
            allow_http: Whether ``http://`` to this machine is allowed.
            cipher: Decrypts the secrets in rows.
            payload_problem: Says why what an endpoint gets cannot be loaded at present.
        """
        self._payload_problem = payload_problem
        self._declared = declared
        self._allow_http = allow_http
        self._cipher = cipher
        self._known: dict[EndpointId, Endpoint] = {}

    def reload(self, declared: Endpoint | None, *, allow_http: bool, cipher: SecretsCipher) -> None:
        """Apply changed settings and keys, and check every row and its files anew."""
        self._declared = declared
        self._allow_http = allow_http
        self._cipher = cipher
        self._known.clear()

    def of(self, endpoint: ListedEndpoint) -> Endpoint | None:
        """Return an endpoint's definition; ``None``: another daemon's settings declare it.

        Raises:
            ValueError: A value is invalid, the environment's proxy or the payload; says which one.
        """
        definition = self._definition_of(endpoint)
        if definition is not None and (problem := self._payload_problem(definition.subscription)):
            raise ValueError(problem)
        return definition

    def _definition_of(self, endpoint: ListedEndpoint) -> Endpoint | None:
        if endpoint.in_settings:
            return _routable(self._declared) if self._declared and self._declared.name == endpoint.name else None
        known = self._known.get(endpoint.endpoint_id)
        if known is None:
            definition = endpoint_of_row(endpoint.row, self._cipher, allow_http=self._allow_http)
            known = self._known[endpoint.endpoint_id] = _routable(definition)
        return known

    def forget(self, endpoint_id: EndpointId) -> None:
        """Check an endpoint's row anew next time: it has changed, or is gone."""
        self._known.pop(endpoint_id, None)


def _routable(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that this process can send to, as far as its environment goes.

    Raises:
        ValueError: The environment names a proxy that cannot be used.
    """
    route_of(endpoint)
    return endpoint
