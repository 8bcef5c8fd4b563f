"""Why an attempt got no response, in words that name the party at fault and, where there is one, the remedy."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl

import aiohttp

from cdc_bridge.endpoints.options import NAME_IN_SETTINGS, Endpoint
from cdc_bridge.transport.address_guard import ForbiddenAddress
from cdc_bridge.transport.connection import UnaskedBytes
from cdc_bridge.transport.proxy import DIRECTLY, Route
from cdc_bridge.transport.tunnel import ProxyFailed, ProxyUnreachable

_CA_FILE = (
    "--ca-file FILE with cdc-bridge trigger, conformance and endpoint set NAME, or endpoint_ca_file in the settings"
)
_CA_FILE_OF_SETTINGS = "endpoint_ca_file in the settings"
_REMEDIES = (
    ("certificate has expired", "Its owner has to renew the certificate."),
    ("not yet valid", "Its owner has to correct the certificate; or correct this machine's clock."),
    ("mismatch", "The certificate is for another host: correct the URL, or have its owner correct the certificate."),
)
_UNKNOWN_ISSUER = {18, 19, 20, 21}  # X509_V_ERR_..._SELF_SIGNED_CERT, ..._UNABLE_TO_GET_ISSUER_CERT_LOCALLY, ...

_TLS = (
    ("CERTIFICATE_REQUIRED", "the endpoint requires a client certificate"),
    ("UNRECOGNIZED_NAME", "the endpoint has no certificate for this host name"),
    ("PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL", "the endpoint does not offer TLS 1.2 or newer"),
    ("WRONG_VERSION_NUMBER|HTTP_REQUEST|RECORD_LAYER_FAILURE", "the endpoint does not speak TLS at this port"),
    ("ALERT_.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)", "the endpoint rejects our client certificate"),
    ("HANDSHAKE_FAILURE", "the endpoint rejects the TLS handshake; it may require a client certificate"),
    ("KEY_TOO_SMALL|MD_TOO_WEAK", "the endpoint's key or certificate is too weak"),
    ("ALERT", "the endpoint ended TLS with an alert"),
)
_OPENSSL_REASON = re.compile(r"\[(?:\w+: )?(\w+)\]")

_SEVERAL = "Multiple exceptions: "
"""So aiohttp begins its words for the failures of several addresses."""
_OF_AN_ADDRESS = re.compile(r"\[Errno (\d+)\] Connect call failed \('([^']+)'[^)]*\)")

_UNREACHABLE = {
    errno.ECONNREFUSED: "connection refused; nothing listens there",
    errno.ETIMEDOUT: "nothing responds at its address",
    errno.EHOSTUNREACH: "there is no way to it from this machine",
    errno.ENETUNREACH: "there is no way to it from this machine",
    errno.EADDRNOTAVAIL: "this machine has no address to connect from",
}


def timeout_reason(error: TimeoutError, endpoint: Endpoint, route: Route = DIRECTLY) -> str:
    """Return which of an endpoint's time-outs an attempt ran into."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return route.told(f"no connection within {endpoint.connect_timeout_seconds:g} s")
    return route.told(f"no response within {endpoint.timeout_seconds:g} s")


def reason_of(error: Exception, route: Route = DIRECTLY, endpoint: str = "") -> str:
    """Return why an attempt to reach an endpoint of this name failed."""
    match error:
        case ProxyUnreachable(os_error=ForbiddenAddress() as forbidden):
            return f"address of the proxy {error.proxy} not allowed: {forbidden}"
        case ProxyUnreachable(os_error=socket.gaierror() as unknown):
            return f"the name of the proxy {error.proxy} cannot be resolved: {_words(unknown)}"
        case ProxyUnreachable():
            return f"{error}: {_why_no_connection(error.os_error)}"
        case ProxyFailed():
            return str(error)
        case _:
            reason = route.told(_why(error))
            return reason.replace(_CA_FILE, _CA_FILE_OF_SETTINGS) if endpoint == NAME_IN_SETTINGS else reason


def _why(error: Exception) -> str:  # noqa: C901, PLR0911 - one for each kind of failure
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return certificate_reason(error.certificate_error)
        case aiohttp.ClientConnectorDNSError():
            return f"the name {error.host} cannot be resolved: {_words(error.os_error)}"
        case aiohttp.ClientConnectorError(os_error=ForbiddenAddress() as forbidden):
            return f"address not allowed: {forbidden}"
        case aiohttp.ClientConnectorError():
            return f"cannot connect to {error.host}:{error.port}: {_why_no_connection(error.os_error)}"
        case aiohttp.ServerDisconnectedError():
            return "the endpoint closed the connection without a response"
        case aiohttp.ClientResponseError():
            return "the response is not HTTP"
        case UnaskedBytes():
            return "the endpoint sent bytes before it got the request; they count for nothing"
        case aiohttp.InvalidURL() | UnicodeError():
            return "the endpoint's URL cannot be used"
        case aiohttp.ClientOSError(errno=None, __cause__=OSError() as cause):
            return _why_lost(cause)  # aiohttp's own words have the URL in them, with a query that may be secret.
        case OSError():
            return _why_lost(error)
        case aiohttp.ClientConnectionError():
            return "the connection was closed by this daemon"
        case _:
            return "the request cannot be made with the endpoint's options"


def remedy_of(reason: str) -> str:
    """Return who does what about a reason, as a sentence; empty: the reason says it, or nobody knows."""
    return next((remedy for words, remedy in _REMEDIES if words in reason), "")


def certificate_reason(error: Exception) -> str:
    """Return why an endpoint's certificate failed verification."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"the endpoint's certificate cannot be verified: {error}"
    reason = f"the endpoint's certificate cannot be verified: {error.verify_message}"
    if error.verify_code in _UNKNOWN_ISSUER:
        return f"{reason}; if a private CA issued it, name that CA's file: {_CA_FILE}"
    return reason


def _why_no_connection(error: OSError) -> str:
    if (words := _tls_words(error)) is not None:
        return words
    if error.errno in _UNREACHABLE:
        return _UNREACHABLE[error.errno]
    # asyncio has none of the details for what ends a handshake; TCP alone ends in one of the above.
    if isinstance(error, ConnectionAbortedError):
        return "the endpoint did not finish the TLS handshake in time"
    if isinstance(error, ConnectionError):
        return "the endpoint closed the connection during the TLS handshake; this port may not speak HTTPS"
    return _words(error)


def _why_lost(error: OSError) -> str:
    if (words := _tls_words(error)) is not None:
        return words
    if isinstance(error, ConnectionError) or error.errno in {errno.ECONNRESET, errno.EPIPE}:
        return "the endpoint reset the connection without a response"
    return f"the connection failed: {_words(error)}"


def _tls_words(error: OSError) -> str | None:
    """Return what OpenSSL says about an error; ``None``: it is not OpenSSL's. aiohttp passes on the text alone."""
    if isinstance(error, ssl.SSLEOFError):
        return "the endpoint closed the connection without ending TLS"
    found = _OPENSSL_REASON.match(error.strerror or "")
    if found is None:
        return f"TLS failed: {_words(error)}" if isinstance(error, ssl.SSLError) else None
    words = next((words for pattern, words in _TLS if re.search(pattern, found[1])), "TLS with the endpoint failed")
    return f"{words} ({found[1].lower().replace('_', ' ')})"


def _words(error: OSError) -> str:
    """Return what the operating system says about an error: never nothing."""
    if str(error).startswith(_SEVERAL):
        told = str(error).removeprefix(_SEVERAL)
        return _OF_AN_ADDRESS.sub(lambda found: f"{found[2]}: {os.strerror(int(found[1]))}", told)
    if isinstance(error, socket.gaierror) or error.errno is None or error.errno <= 0:
        told = error.strerror or " ".join(map(str, error.args))
        return told if told and "://" not in told else "no reason is known"
    return os.strerror(error.errno)
