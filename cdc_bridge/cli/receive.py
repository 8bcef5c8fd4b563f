"""``cdc-bridge receive``."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cdc_bridge.vendor.receive.identity import Identity
    from cdc_bridge.vendor.receive.receiver import Behaviour, Received

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}


def receive(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0: any that is free.")] = 8443,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0: calls from other machines, too.")
    ] = "127.0.0.1",
    secret_file: Annotated[
        Path | None,
        typer.Option("--secret-file", metavar="FILE", help="File with the signing secret; else one is made."),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Folder that keeps secret and certificate for the next time."),
    ] = None,
    fail: Annotated[
        int | None, typer.Option("--fail", metavar="STATUS", min=200, max=599, help="Answer with this status.")
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Close the connection without an answer.")] = False,
    every: Annotated[
        int, typer.Option("--every", metavar="N", min=1, help="With --fail and --drop: each N-th call only.")
    ] = 1,
    slow: Annotated[str, typer.Option("--slow", metavar="TIME", help="Answer so much later: 5s, 200ms.")] = "0s",
    forward_to: Annotated[
        str | None, typer.Option("--forward-to", metavar="URL", help="Pass good calls on, and answer as that does.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write headers and body of each call into a file.")
    ] = None,
    pretty: Annotated[
        bool,
        typer.Option(
            "--pretty", help="Print each body as well, as indented JSON, and all in which it departs from the schema."
        ),
    ] = False,
) -> None:
    """Receive calls on this machine, for development: over HTTPS, with a line for each and what is to be said of it.

    That is whether the signature is right, whether the call is a repeat or older than what was there, and where its
    body departs from the contract's schema. Prints URL, secret and the CA's file first: what the bridge, or cdc-bridge
    conformance, has to be given. Bodies are guests' data: --save and --pretty are for invented ones.

    Example: cdc-bridge receive --fail 503 --every 3
    """
    try:
        from cdc_bridge.vendor.receive.identity import identity_in  # noqa: PLC0415
        from cdc_bridge.vendor.receive.receiver import Behaviour  # noqa: PLC0415
    except ModuleNotFoundError as error:
        from cdc_bridge.errors import BridgeError  # noqa: PLC0415

        raise BridgeError(f"{error.name} is not installed", "pip install 'cdc-bridge[receive]'") from error
    behaviour = Behaviour(fail, drop, every, _seconds(slow), forward_to and _url(forward_to), save)
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cdc-bridge-receive-")))
        secret = None if secret_file is None else _read(secret_file)
        names = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
        asyncio.run(_serve(host, port, identity_in(folder, names, secret), behaviour, pretty=pretty))


async def _serve(host: str, port: int, identity: Identity, behaviour: Behaviour, *, pretty: bool) -> None:
    from aiohttp import web  # noqa: PLC0415

    from cdc_bridge.errors import BridgeError  # noqa: PLC0415
    from cdc_bridge.vendor.receive.receiver import Receiver  # noqa: PLC0415

    def tell(received: Received) -> None:
        typer.echo(_line(received))
        if pretty:
            typer.echo("".join(f"  {violation}\n" for violation in received.violations) + _indented(received.body))

    runner = web.AppRunner(
        Receiver(identity.secret, behaviour, tell).application(), access_log=None, shutdown_timeout=1
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, ssl_context=identity.tls).start()
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise BridgeError(f"{host}:{port} cannot be had: {why}", "Choose another --port.") from error
        name = "localhost" if host in {"127.0.0.1", "::1"} else socket.gethostname()
        typer.echo(f"URL      https://{name}:{runner.addresses[0][1]}/")
        typer.echo(f"secret   {identity.secret}")
        typer.echo(f"CA file  {identity.ca_file}")
        typer.echo("Calls are told here; Ctrl-C ends it.")
        stopped = asyncio.Event()
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signal_number, stopped.set)
        await stopped.wait()
    finally:
        await runner.cleanup()


def _line(received: Received) -> str:
    answer = "no answer" if received.status is None else str(received.status)
    about = f"{received.subject} #{received.sequence}" if received.subject else received.message_id
    told = [f"signature {received.signature}", *received.remarks]
    if received.violations:
        first, *others = received.violations
        told.append(f"not as the schema has it: {first}{f' (and {len(others)} more)' if others else ''}")
    return f"{received.at.astimezone():%H:%M:%S} {answer} {received.type or '(no ce-type)'} {about}: {'; '.join(told)}"


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
    from cdc_bridge.errors import WrongUsage  # noqa: PLC0415

    if re.match("https?://.", text) is None:
        raise WrongUsage(f"--forward-to {text} is not a URL such as http://localhost:8080/calls")
    return text


def _read(file: Path) -> str:
    from cdc_bridge.endpoints.option_values import secret_key  # noqa: PLC0415
    from cdc_bridge.errors import WrongUsage  # noqa: PLC0415

    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"--secret-file {file} cannot be read: {error}") from None
    try:
        secret_key(secret)
    except ValueError as error:
        raise WrongUsage(f"--secret-file {error}") from None
    return secret
