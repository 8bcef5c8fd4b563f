"""``cdc-bridge trigger``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cdc_bridge.cli.endpoint_options import given_options, with_flags_for
from cdc_bridge.cli.options import JsonOption
from cdc_bridge.cli.tried_endpoint import TRIED_OPTIONS, TriedSecretOption, tried_endpoint
from cdc_bridge.console import print_json, print_line, print_lines
from cdc_bridge.endpoints.option import CONCEALED
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.transport.outcome import Delivered
from cdc_bridge.vendor.response_advice import UNSIGNED
from cdc_bridge.vendor.test_message import told_flaw
from cdc_bridge.vendor.trigger import Event, Exchange, consequence_of, send_invented


@with_flags_for(*TRIED_OPTIONS)
def trigger(
    event: Annotated[Event, typer.Argument(help="What happened to the reservation.", show_default=False)],
    to: Annotated[
        str, typer.Option("--to", metavar="URL", help="URL of the endpoint, https://...", show_default=False)
    ],
    secret_file: TriedSecretOption = None,
    json_: JsonOption = False,
    **options: Any,
) -> None:
    """Send one invented reservation to an endpoint, signed.

    Prints the request and the response, and what the response means for the bridge. created, updated and cancelled are
    about one reservation, each a newer change of it; walk-in is about another. Use a test endpoint, not a live till.
    Needs no database. Exit code 0: the response was 2xx.

    Example: cdc-bridge trigger created --to https://till.example/test --secret-file secret
    """
    endpoint = tried_endpoint("trigger", to, secret_file, given_options(options))
    exchange = asyncio.run(send_invented(endpoint, event))
    if json_:
        print_json(_as_json(endpoint, exchange))
    else:
        _print(endpoint, exchange)
    raise typer.Exit(0 if isinstance(exchange.attempt.outcome, Delivered) else 1)


def _print(endpoint: Endpoint, exchange: Exchange) -> None:
    if exchange.request_headers:
        print_line(f"POST {endpoint.shown_url}")
        _print_headers(_shown_headers(endpoint, exchange))
        print_line()
        print_lines(json.dumps(json.loads(exchange.message.body), indent=2, ensure_ascii=False))
        print_line(f"(Indented here; sent as {len(exchange.message.body):,} bytes without line breaks.)")
        print_line()
    print_line(f"{_told(exchange)}, after {_milliseconds(exchange)} ms")
    _print_headers(exchange.response_headers)
    if exchange.attempt.response:
        print_line()
        print_lines(exchange.attempt.response)
    print_line()
    print_line(_meaning(endpoint, exchange))


def _print_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        print_line(f"  {name}: {value}")


def _as_json(endpoint: Endpoint, exchange: Exchange) -> dict[str, Any]:
    outcome = exchange.attempt.outcome
    return {
        "url": endpoint.shown_url,
        "delivered": isinstance(outcome, Delivered),
        "request": {"headers": _shown_headers(endpoint, exchange), "body": exchange.message.body.decode()},
        "response": {
            "status": outcome.status,
            "headers": exchange.response_headers,
            "body": exchange.attempt.response,
            "milliseconds": _milliseconds(exchange),
        },
        "reason": None if isinstance(outcome, Delivered) else outcome.reason,
        "meaning": _meaning(endpoint, exchange),
    }


def _shown_headers(endpoint: Endpoint, exchange: Exchange) -> dict[str, str]:
    """Return what was sent, but for the values that the endpoint's own headers have: output is passed on."""
    secret = {name.lower() for name, _ in endpoint.headers}
    return {name: CONCEALED if name in secret else value for name, value in exchange.request_headers.items()}


def _told(exchange: Exchange) -> str:
    outcome = exchange.attempt.outcome
    if isinstance(outcome, Delivered):
        return f"HTTP {outcome.status}"
    return outcome.reason if outcome.status is not None else f"No response: {outcome.reason}"


def _milliseconds(exchange: Exchange) -> int:
    return round(exchange.attempt.duration_seconds * 1000)


def _meaning(endpoint: Endpoint, exchange: Exchange) -> str:
    outcome = exchange.attempt.outcome
    meaning = consequence_of(outcome) + told_flaw(exchange.attempt.flaw)
    if endpoint.secret is None and outcome.status is not None:
        meaning += f" {UNSIGNED}"
    return meaning
