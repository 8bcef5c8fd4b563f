"""A request's identity and headers, beside those that the endpoint's options add.

``webhook-id`` names one body: it consists of the delivery's number and the body's hash. So a retry, even after a crash
of the daemon, has the same id if it sends the same bytes and another if it does not, and nothing is stored for it.

The number, ``ce-sequence``, is the change's with the server's history in front: after a fail-over to a standby that was
behind, the new server draws numbers again that were delivered, and what is delivered now is newer all the same.

CloudEvents 1.0 in binary mode: the context travels in ``ce-`` headers, the body is the unchanged data
(https://github.com/cloudevents/spec, "HTTP Protocol Binding", 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote

from cdc_bridge.model import Change, History, Seq
from cdc_bridge.transport.signature import sign

# Everything printable in ASCII but the space, the double quote and the percent sign stands for itself.
_UNQUOTED = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"

_MAX_SUBJECT_BYTES = 2048
"""A longer one is replaced by its hash: many servers reject a request with more than 8 kB of headers."""

_SEQUENCE_DIGITS = 20
"""Enough for any bigint, so that sequences compare as text."""

_NUMBERS_OF_A_HISTORY = 10**9
"""A history has its own part of the sequences. A bigint has room for them until the year 2260."""


@dataclass(frozen=True, slots=True)
class Message:
    """A body and what its headers are made from."""

    id: str
    type: str
    source: str
    time: datetime
    body: bytes
    subject: str | None = None
    """The reservation; ``None``: the message is about none."""
    sequence: int | None = None
    """The delivery's place in the order of all; ``None``: the message is about none."""

    def headers(self, at: datetime, secrets: Sequence[bytes]) -> dict[str, str]:
        """Return the headers of an attempt.

        Args:
            at: The time of the attempt.
            secrets: The endpoint's signing keys, the current one first; without any the signature is left out.
        """
        timestamp = int(at.timestamp())
        headers = {
            "content-type": "application/json",
            "webhook-id": self.id,
            "webhook-timestamp": str(timestamp),
            "ce-specversion": "1.0",
            "ce-id": self.id,
            "ce-source": _percent_encoded(self.source),
            "ce-type": self.type,
            "ce-time": self.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        }
        if self.subject is not None:
            headers["ce-subject"] = _subject(self.subject)
        if self.sequence is not None:
            headers["ce-sequence"] = f"{self.sequence:0{_SEQUENCE_DIGITS}d}"
        if secrets:
            headers["webhook-signature"] = sign(self.id, timestamp, self.body, secrets)
        return headers


def compose(change: Change, subject: str, source: str, history: History, body: bytes) -> Message:
    """Return the message about a change."""
    sequence = sequence_of(history, change.seq)
    return Message(
        id=message_id(sequence, body),
        type=f"reservation.{change.operation}",
        source=source,
        time=change.changed_at,
        body=body,
        subject=subject,
        sequence=sequence,
    )


def sequence_of(history: History, seq: Seq) -> int:
    """Return the number of a delivery: it grows with each change of a reservation, and with each history."""
    return history * _NUMBERS_OF_A_HISTORY + seq


def seq_of(sequence: int) -> Seq:
    """Return the number of the change that a delivery is about."""
    return Seq(sequence % _NUMBERS_OF_A_HISTORY)


def history_of(sequence: int) -> History:
    """Return the history that a delivery belongs to."""
    return History(sequence // _NUMBERS_OF_A_HISTORY)


def message_id(sequence: int, body: bytes) -> str:
    """Return the identity of a body."""
    return f"{sequence}-{body_hash(body)}"


def body_hash(body: bytes) -> str:
    """Return a body's fingerprint: the part of the webhook-id behind the number."""
    return sha256(body).hexdigest()[:16]


def _subject(reservation_id: str) -> str:
    """Return what stands for a reservation in a header; CloudEvents knows no empty subject."""
    if 0 < len(reservation_id) <= _MAX_SUBJECT_BYTES:
        encoded = _percent_encoded(reservation_id)
        if len(encoded) <= _MAX_SUBJECT_BYTES:
            return encoded
    return f"sha256:{sha256(reservation_id.encode()).hexdigest()}"


@lru_cache(maxsize=64)  # the source is the same in every request
def _percent_encoded(text: str) -> str:
    return text if text.isascii() and text.isalnum() else quote(text, safe=_UNQUOTED)
