from __future__ import annotations

from datetime import UTC, datetime

from structlog.testing import capture_logs

from cdc_bridge.model import Change, Operation, ReservationId, Seq
from cdc_bridge.pipeline.in_flight import InFlight
from cdc_bridge.pipeline.telemetry import FLAW_AGAIN_SECONDS, Telemetry
from cdc_bridge.transport.outcome import Attempt, Delivered

NOW = datetime.now(UTC)
DELIVERY = InFlight(Change(Seq(1), ReservationId("R"), Operation.UPDATED, NOW))


def test_each_flaw_of_responses_is_logged_once_an_hour() -> None:
    telemetry = Telemetry("till", None)
    logged = []
    for at, flaw in [(0, "a"), (1, "b"), (2, "a"), (3, None), (FLAW_AGAIN_SECONDS, "a"), (FLAW_AGAIN_SECONDS, "b")]:
        with capture_logs() as lines:
            telemetry.attempted(DELIVERY, Attempt("1-0", NOW, 0.1, Delivered(200), flaw), at)
        logged += [(at, line["flaw"]) for line in lines if line["event"] == "malformed response"]
    assert logged == [(0, "a"), (1, "b"), (FLAW_AGAIN_SECONDS, "a")]
