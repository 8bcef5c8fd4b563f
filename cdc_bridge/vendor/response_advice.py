"""What to look at after a failed response: the words of ``trigger`` and ``conformance`` for a vendor."""

from __future__ import annotations

from cdc_bridge.transport.outcome import Delivered, Outcome

UNSIGNED = "The request was not signed: no --secret-file was given."

_CREDENTIALS = (
    "Check that your endpoint has the same secret and the right time, and whether it requires a header "
    "(--header-file) or a client certificate."
)
_PATH = "Check the path of the URL, and that it accepts POST."
_CONTENT = "Your endpoint rejects the content, or what verifies the signature responds with this status too."
_LOG = "See the log of your endpoint."

_BY_STATUS = {
    401: _CREDENTIALS,
    403: _CREDENTIALS,
    404: _PATH,
    405: _PATH,
    407: "A proxy in between asks for authentication.",
    408: _LOG,
    410: "",
    413: "Your endpoint, or a server in front of it, limits the size of bodies.",
    415: "Your endpoint does not accept application/json.",
    429: "",
}


def advice_on(outcome: Outcome) -> str:
    """Return what to look at; empty if the outcome itself says it."""
    if isinstance(outcome, Delivered) or outcome.status is None or outcome.status < 400:
        return ""
    return _BY_STATUS.get(outcome.status, _CONTENT if outcome.status < 500 else _LOG)
