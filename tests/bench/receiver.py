"""Receivers: nginx where the rate counts, and one of our own that notes arrivals, and responds late or never.

Ours is a process of its own, ``python -m tests.bench.receiver FILE`` (certificate chain and key). It prints its port,
and then, for each line that it reads: for ``arrived``, when requests have arrived since the last such line; for
``counts``, how many since the last such line; for ``message``, the last one. The beginning of the path says how it
responds: ``/0`` at once, ``/50`` after 50 ms, ``/never``.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypedDict

import orjson

from cdc_bridge.demo.throwaway_postgres import end_with_parent
from tests.support.fast_server import Connection, allow_many_connections, path_of, tls_of

_RESPONSE = b"HTTP/1.1 204 No Content\r\n\r\n"
_SUBJECT = re.compile(rb"\r\nce-subject: *([^\r]*)", re.IGNORECASE)
_START_PATIENCE_SECONDS = 10.0

_NGINX = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  keepalive_timeout 600s;
  keepalive_requests 100000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    location / {{ return 204; }}
  }}
}}
"""


def nginx_program() -> str | None:
    """Return where nginx is, if it is installed."""
    return shutil.which(
        "nginx", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    )


@contextmanager
def nginx(folder: Path, certificate: Path) -> Iterator[str]:
    """Run nginx, which responds 204 to everything; yields its URL.

    Args:
        folder: for its own files.
        certificate: chain and key.
    """
    program = nginx_program()
    assert program is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir()
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=folder, port=port, certificate=certificate))
    process = subprocess.Popen(
        [program, "-e", folder / "error.log", "-c", configuration],
        stderr=subprocess.DEVNULL,
        preexec_fn=_begin_as_child,  # noqa: PLW1509 - two system calls
    )
    try:
        _wait_for_port(port, process, folder / "error.log")
        yield f"https://localhost:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _begin_as_child() -> None:
    end_with_parent()
    allow_many_connections()


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nginx does not start: {log.read_text()}") from None
            time.sleep(0.02)
        else:
            return


class Message(TypedDict):
    """A request: its body, and its headers without host and length."""

    headers: dict[str, str]
    body: str


class Receiver:
    """The receiver of our own, seen from outside."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process = process
        self.url = url
        """Without a path."""

    async def arrived(self) -> dict[str, int]:
        """Return the reservations that arrived since the last call, and when, by the monotonic clock in ns."""
        found: dict[str, int] = await self._ask("arrived")
        return found

    async def counts(self) -> dict[str, int]:
        """Return how many requests arrived for each reservation since the last call."""
        found: dict[str, int] = await self._ask("counts")
        return found

    async def last_message(self) -> Message:
        """Return the last request."""
        found: Message = await self._ask("message")
        return found

    async def _ask(self, what: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n".encode())
        return orjson.loads(await self._process.stdout.readline())


@asynccontextmanager
async def started_receiver(certificate: Path) -> AsyncIterator[Receiver]:
    """Run a receiver of our own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.receiver", certificate,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=64 * 1024 * 1024,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        port = int(await process.stdout.readline())
        yield Receiver(process, f"https://localhost:{port}")
    finally:
        process.stdin.close()
        await process.wait()


class _Arrived:
    def __init__(self) -> None:
        self.at: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        self._last = b"", b""

    def take(self, head: bytes, body: bytes) -> None:
        if subject := _SUBJECT.search(head):
            reservation_id = subject[1].decode()
            self.at[reservation_id] = time.monotonic_ns()
            self.counts[reservation_id] += 1
        self._last = head, body

    def tell(self, what: str) -> Any:
        if what == "message":
            head, body = self._last
            lines = [line.split(": ", 1) for line in head.decode().splitlines()[1:]]
            headers = {name: value for name, value in lines if name.lower() not in {"host", "content-length"}}
            return {"headers": headers, "body": body.decode()}
        if what == "counts":
            counted, self.counts = self.counts, Counter()
            return counted
        told, self.at = self.at, {}
        return told


def _respond_as_asked(how: bytes, connection: Connection) -> None:
    if how == b"0":
        connection.respond(_RESPONSE)
    elif how != b"never":
        asyncio.get_running_loop().call_later(int(how) / 1000, connection.respond, _RESPONSE)


async def _serve(certificate: str) -> None:
    allow_many_connections()
    arrived = _Arrived()

    def receive(head: bytes, body: bytes, connection: Connection) -> None:
        arrived.take(head, body)
        _respond_as_asked(path_of(head).partition(b"/")[0], connection)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(receive), "127.0.0.1", 0, ssl=tls_of(certificate))
    questions = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    print(server.sockets[0].getsockname()[1], flush=True)
    while question := await questions.readline():
        sys.stdout.buffer.write(orjson.dumps(arrived.tell(question.decode().strip())) + b"\n")
        sys.stdout.buffer.flush()
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
