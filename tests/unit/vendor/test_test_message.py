"""The test request: what a vendor's libraries make of it, and what its response means."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook

from cdc_bridge.transport.outcome import Delivered, Failed, judge
from cdc_bridge.vendor.contract import example
from cdc_bridge.vendor.test_message import TEST_TYPE, compose_test_request, meaning_of

KEY = b"k" * 32
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_vendors_libraries_read_and_verify_it() -> None:
    now = datetime.now(UTC)  # Not that of the import: the library refuses what is older than five minutes.
    message = compose_test_request(now, "/cdc-bridge/eres")
    headers = message.headers(now, [KEY])
    assert Webhook("whsec_" + b64encode(KEY).decode()).verify(message.body.decode(), headers).keys() == {"test"}
    event = from_http_event(HTTPMessage(headers, message.body))
    assert event.get_type() == TEST_TYPE
    assert event.get_source() == "/cdc-bridge/eres"
    assert event.get_time() == now


def test_nothing_in_it_is_a_reservation() -> None:
    message = compose_test_request(NOW, "/s")
    assert orjson.loads(message.body).keys().isdisjoint(example())
    assert not any(name in message.headers(NOW, [KEY]) for name in ("ce-subject", "ce-sequence"))
    assert not TEST_TYPE.startswith("reservation")


def test_each_one_has_an_id_of_its_own_that_no_change_has() -> None:
    ids = {compose_test_request(NOW + timedelta(microseconds=n), "/s").id for n in range(10)}
    assert len(ids) == 10
    assert all(id_.startswith("0-") for id_ in ids)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (200, "accepts requests"),
        (204, "accepts requests"),
        (302, "redirects"),
        (400, "it has accepted no delivery yet"),
        (401, "Check header, secret"),
        (403, "Check header"),
        (404, "Check its path"),
        (410, "wants no more requests"),
        (418, "rejects the test request"),
        (422, "rejects a body that is not a reservation"),
        (429, "asks for a pause"),
        (500, "out of order"),
        (599, "out of order"),
    ],
)
def test_every_response_has_a_meaning(status: int, words: str) -> None:
    outcome = judge(status, {}, NOW)
    assert words in meaning_of(outcome)
    assert isinstance(outcome, Delivered) is (status < 300)


@pytest.mark.parametrize("status", [400, 402, 405, 409, 413, 415, 421, 422, 451])
@pytest.mark.parametrize("sample", [False, True])
def test_rejection_by_an_endpoint_that_rejects_everything_is_no_good_news(status: int, *, sample: bool) -> None:
    meaning = meaning_of(judge(status, {}, NOW), sample=sample, accepts=False)
    assert "It accepts nothing" in meaning
    assert "right" not in meaning


def test_rejection_by_an_endpoint_that_accepts_reservations_proves_url_and_tls() -> None:
    assert "URL and TLS are right" in meaning_of(judge(400, {}, NOW), accepts=True)
    assert "accepts" not in meaning_of(judge(503, {}, NOW), accepts=False)


def test_missing_response_has_a_meaning() -> None:
    assert meaning_of(Failed(None, "cannot connect")) == "There was no response."
