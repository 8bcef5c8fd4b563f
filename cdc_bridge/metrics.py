"""The figures that Prometheus reads. No label has values without a bound."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

_REGISTRY = CollectorRegistry()

RECONCILED = Gauge(
    "cdc_bridge_reconciled_reservations",
    "Reservations by how they stood when e-Res's rows were last compared with what was delivered",
    ["endpoint", "standing"],
    registry=_REGISTRY,
)
RECONCILED_AT = Gauge(
    "cdc_bridge_reconciled_timestamp_seconds",
    "When e-Res's rows were last compared with what was delivered",
    ["endpoint"],
    registry=_REGISTRY,
)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def exposition() -> bytes:
    """Return all figures in Prometheus' text format."""
    return generate_latest(_REGISTRY)
