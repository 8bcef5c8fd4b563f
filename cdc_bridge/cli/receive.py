"""``cdc-bridge receive``."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from jsonschema import Draft202012Validator

from cdc_bridge.cli.schema_file import SchemaOption, schema_in, unusable_schema
from cdc_bridge.console import print_line, print_lines
from cdc_bridge.endpoints.option_input import checked_secret, secret_line_of
from cdc_bridge.errors import BridgeError, WrongUsage
from cdc_bridge.own_files import own_folder
from cdc_bridge.vendor.receive.identity import Identity, identity_in
from cdc_bridge.vendor.receive.receiver import Behaviour, ReceivedRequest, Receiver
from cdc_bridge.vendor.receive.server import ReceiverServer
from cdc_bridge.vendor.violations import validator_of

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}


def receive(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 8443,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 receives from other machines too.")
    ] = "127.0.0.1",
    secret_file: Annotated[
        Path | None,
        typer.Option(
            "--secret-file",
            metavar="FILE",
            allow_dash=True,
            help="File with the signing secret, whsec_...; - is standard input. Default: a new one.",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Folder that keeps secret and certificate for the next start."),
    ] = None,
    fail: Annotated[
        int | None, typer.Option("--fail", metavar="STATUS", min=200, max=599, help="Respond with this status.")
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Close the connection without a response.")] = False,
    every: Annotated[
        int, typer.Option("--every", metavar="N", min=1, help="Apply --fail and --drop to every N-th request only.")
    ] = 1,
    slow: Annotated[str, typer.Option("--slow", metavar="TIME", help="Delay every response: 5s, 200ms.")] = "0s",
    forward_to: Annotated[
        str | None,
        typer.Option("--forward-to", metavar="URL", help="Forward valid requests, and return that server's response."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Save headers and body of each request in a file.")
    ] = None,
    schema: SchemaOption = None,
    pretty: Annotated[
        bool, typer.Option("--pretty", help="Print each body too, as indented JSON, and every violation of the schema.")
    ] = False,
) -> None:
    """Receive and verify webhooks on this machine.

    Prints URL, secret and CA file first: give them to the bridge or to cdc-bridge conformance. Then prints a line per
    request: whether the signature is valid, whether it is a duplicate or out of order, where the body violates the
    schema. Use --save and --pretty with invented data only: bodies are guests' data.

    Example: cdc-bridge receive --fail 503 --every 3
    """
    behaviour = Behaviour(fail, drop, every, _seconds(slow), forward_to and _url(forward_to), save and _folder(save))
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cdc-bridge-receive-")))
        secret = None if secret_file is None else checked_secret(secret_line_of(secret_file))
        validator = None if schema is None else _validator(schema)
        names = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
        identity = identity_in(folder, names, secret)
        asyncio.run(_serve(host, port, identity, behaviour, validator, pretty=pretty))


async def _serve(
    host: str,
    port: int,
    identity: Identity,
    behaviour: Behaviour,
    validator: Draft202012Validator | None,
    *,
    pretty: bool,
) -> None:
    def show(received: ReceivedRequest) -> None:
        print_line(_line(received))
        if pretty:
            for violation in received.violations:
                print_line(f"  {violation}")
            print_lines(_indented(received.body))

    server = ReceiverServer(Receiver(identity.secret, behaviour, show, validator), identity.tls, host, port)
    await server.start()
    try:
        name = "localhost" if host in {"127.0.0.1", "::1"} else socket.gethostname()
        print_line(f"URL      https://{name}:{server.port}/")
        print_line(f"secret   {identity.secret}")
        print_line(f"CA file  {identity.ca_file}")
        print_line("Waiting for requests. Press Ctrl-C to stop.")
        stopped = asyncio.Event()
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signal_number, stopped.set)
        await stopped.wait()
    finally:
        await server.stop()


def _line(received: ReceivedRequest) -> str:
    status = "no response" if received.status is None else str(received.status)
    about = f"{received.subject} #{received.sequence}" if received.subject else received.message_id
    remarks = [f"signature {received.signature}", *received.remarks]
    if received.violations:
        first, *others = received.violations
        remarks.append(f"violates the schema: {first}{f' (and {len(others)} more)' if others else ''}")
    type_ = received.type or "(no ce-type)"
    return f"{received.at.astimezone():%H:%M:%S} {status} {type_} {about}: {'; '.join(remarks)}"


def _indented(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return repr(body[:2000])


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|)", text.strip())
    if found is None:
        raise typer.BadParameter(f"{text} is not a time such as 5s or 200ms", param_hint="--slow")
    return float(found[1]) * _UNITS[found[2]]


def _url(text: str) -> str:
    if re.match("https?://.", text) is None:
        raise WrongUsage(f"--forward-to {text} is not a URL such as http://localhost:8080/reservations")
    return text


def _folder(folder: Path) -> Path:
    try:
        own_folder(folder)
    except OSError as error:
        raise BridgeError(f"--save {folder} cannot be used: {error.strerror}", "Choose another folder.") from None
    return folder


def _validator(file: Path) -> Draft202012Validator:
    try:
        return validator_of(schema_in(file))
    except ValueError as error:
        raise unusable_schema(file, str(error)) from None
