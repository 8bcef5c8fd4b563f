"""Why an attempt got no response, in words that name the remedy where there is one."""

from __future__ import annotations

import ssl

import aiohttp

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.transport.address_guard import ForbiddenAddress

_CA_FILE = "endpoint_ca_file in the settings, or --ca-file FILE with cdc-bridge endpoint set NAME and conformance"
_UNKNOWN_ISSUER = {18, 19, 20, 21}  # X509_V_ERR_..._SELF_SIGNED_CERT, ..._UNABLE_TO_GET_ISSUER_CERT_LOCALLY, ...


def timeout_reason(error: TimeoutError, endpoint: Endpoint) -> str:
    """Return which of an endpoint's time-outs an attempt ran into."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection within {endpoint.connect_timeout_seconds:g} s"
    return f"no response within {endpoint.timeout_seconds:g} s"


def reason_of(error: Exception) -> str:  # noqa: PLR0911 - one for each kind of failure
    """Return why an attempt failed."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return certificate_reason(error.certificate_error)
        case aiohttp.ClientConnectorSSLError():
            return f"TLS failed: {error.os_error}"
        case aiohttp.ClientConnectorDNSError():
            return f"the name {error.host} cannot be resolved: {error.os_error.strerror or error.os_error}"
        case aiohttp.ClientConnectorError(os_error=ForbiddenAddress() as forbidden):
            return f"address not allowed: {forbidden}"
        case aiohttp.ClientConnectorError():
            return f"cannot connect to {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
        case aiohttp.ServerDisconnectedError():
            return "the endpoint closed the connection without a response"
        case aiohttp.ClientResponseError():
            return "the response is not HTTP"
        case ForbiddenAddress():
            return f"address not allowed: {error}"
        case _:
            return f"the connection failed: {type(error).__name__}"


def certificate_reason(error: Exception) -> str:
    """Return why an endpoint's certificate failed verification."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"the endpoint's certificate cannot be verified: {error}"
    reason = f"the endpoint's certificate cannot be verified: {error.verify_message}"
    if error.verify_code in _UNKNOWN_ISSUER:
        return f"{reason}; if a private CA issued it, name that CA's file: {_CA_FILE}"
    return reason
