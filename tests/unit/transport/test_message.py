"""Headers of a request, read back by the libraries a vendor would use."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import orjson
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from cdc_bridge.model import Change, History, Operation, ReservationId, Seq
from cdc_bridge.transport.message import Message, compose, seq_of, sequence_of

HISTORY = History(3)
KEY, OLD_KEY = b"k" * 32, b"o" * 32
BODY = '{"id":"R1","notes":"Großer Tisch 🎉"}'.encode()
CHANGED_AT = datetime(2026, 11, 24, 18, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))


def change(operation: Operation = Operation.CREATED) -> Change:
    return Change(Seq(42), ReservationId("r1"), operation, CHANGED_AT)


def message(subject: str = "R1", source: str = "/e-res/trelawney", operation: Operation = Operation.CREATED) -> Message:
    return compose(change(operation), subject, source, HISTORY, BODY)


def whsec(key: bytes) -> str:
    return "whsec_" + b64encode(key).decode()


def test_signature_verifies_with_standardwebhooks() -> None:
    headers = message().headers(datetime.now(UTC), [KEY])
    assert Webhook(whsec(KEY)).verify(BODY.decode(), headers) == orjson.loads(BODY)


def test_signature_does_not_verify_with_another_key_or_body() -> None:
    headers = message().headers(datetime.now(UTC), [KEY])
    with pytest.raises(WebhookVerificationError):
        Webhook(whsec(OLD_KEY)).verify(BODY.decode(), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(whsec(KEY)).verify(BODY.decode() + " ", headers)


def test_both_keys_verify_during_a_rotation() -> None:
    headers = message().headers(datetime.now(UTC), [KEY, OLD_KEY])
    assert headers["webhook-signature"].count("v1,") == 2
    for key in (KEY, OLD_KEY):
        Webhook(whsec(key)).verify(BODY.decode(), headers)


def test_without_a_secret_there_is_no_signature_but_the_id_stays() -> None:
    headers = message().headers(datetime.now(UTC), [])
    assert "webhook-signature" not in headers
    assert headers["webhook-id"] == message().id


def test_timestamp_is_that_of_the_attempt_in_whole_seconds() -> None:
    at = datetime(2026, 11, 24, 12, 0, 0, 999999, tzinfo=UTC)
    assert message().headers(at, [KEY])["webhook-timestamp"] == str(int(at.timestamp()))


def test_same_change_and_body_have_the_same_id_and_another_body_another() -> None:
    assert compose(change(), "R1", "/s", HISTORY, BODY).id == message().id
    assert compose(change(), "R1", "/s", HISTORY, BODY + b" ").id != message().id
    assert message().id.startswith("3000000042-")
    assert len(message().id) == len("3000000042-") + 16


@pytest.mark.parametrize(
    ("operation", "type_"), [(Operation.CREATED, "reservation.created"), (Operation.UPDATED, "reservation.updated")]
)
def test_cloudevents_sdk_reads_the_headers(operation: Operation, type_: str) -> None:
    headers = message(operation=operation).headers(datetime.now(UTC), [KEY])
    event = from_http_event(HTTPMessage(headers, BODY))
    assert event.get_id() == message().id
    assert event.get_type() == type_
    assert event.get_source() == "/e-res/trelawney"
    assert event.get_subject() == "R1"
    assert event.get_time() == CHANGED_AT
    assert event.get_extension("sequence") == "00000000003000000042"
    assert event.get_data() == orjson.loads(BODY)


def test_subject_in_any_script_travels_percent_encoded() -> None:
    headers = message(subject='Tisch "ä" 100%').headers(datetime.now(UTC), [])
    assert headers["ce-subject"] == "Tisch%20%22%C3%A4%22%20100%25"
    assert from_http_event(HTTPMessage(headers, BODY)).get_subject() == 'Tisch "ä" 100%'


@pytest.mark.parametrize(
    ("subject", "header"),
    [
        ("x" * 2048, "x" * 2048),
        ("x" * 2049, f"sha256:{sha256(b'x' * 2049).hexdigest()}"),
        ("\u202e" * 227 + "x" * 5, "%E2%80%AE" * 227 + "x" * 5),
        ("\u202e" * 228, f"sha256:{sha256(228 * chr(0x202E).encode()).hexdigest()}"),
        ("", f"sha256:{sha256(b'').hexdigest()}"),
        ("\x01\x1b\n\t\x7f", "%01%1B%0A%09%7F"),
        (" {a,b} ", "%20{a,b}%20"),
        ("\N{PILE OF POO}", "%F0%9F%92%A9"),
    ],
    ids=["longest", "longer", "longest when encoded", "longer when encoded", "empty", "controls", "blanks", "emoji"],
)
def test_subject_is_a_header_of_a_sane_length_whatever_the_key(subject: str, header: str) -> None:
    assert message(subject).headers(CHANGED_AT, [])["ce-subject"] == header


def test_sequences_compare_as_text_and_fit_64_bits() -> None:
    def sequence(history: int, seq: int) -> str:
        change = Change(Seq(seq), ReservationId("r"), Operation.UPDATED, CHANGED_AT)
        message = compose(change, "R", "/s", History(history), BODY)
        return message.headers(datetime.now(UTC), [])["ce-sequence"]

    now = int(datetime.now(UTC).timestamp())
    assert sequence(now, 9) < sequence(now, 10) < sequence(now, 10**9 - 1) < sequence(now + 1, 1)
    assert int(sequence(int(datetime(2260, 1, 1, tzinfo=UTC).timestamp()), 10**9 - 1)) < 2**63


@given(st.integers(0, 9 * 10**9), st.integers(1, 10**9 - 1))
def test_change_is_found_by_the_number_of_its_delivery(history: int, seq: int) -> None:
    assert seq_of(sequence_of(History(history), Seq(seq))) == seq


def test_number_drawn_again_after_a_fail_over_is_higher_and_another_id() -> None:
    again = compose(change(), "R1", "/s", History(HISTORY + 1), BODY)
    assert again.sequence is not None
    assert again.sequence > (message().sequence or 0)
    assert again.id != message().id
