"""The virtual environment of the peers, and who can take part on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.peers.bridge import BRIDGE
from tests.bench.peers.naive import PEER as NAIVE
from tests.bench.peers.on_debezium import PEER as DEBEZIUM
from tests.bench.peers.on_pgqueuer import PEER as PGQUEUER
from tests.bench.peers.on_procrastinate import PEER as PROCRASTINATE
from tests.bench.peers.peer import Peer
from tests.support.launcher import PROJECT

CONTESTANTS = (BRIDGE, NAIVE, PROCRASTINATE, PGQUEUER, DEBEZIUM)
"""In the order of the table's columns."""

_PYTHON = PROJECT / ".venv-peers" / "bin" / "python"
_VERSION = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
_JAVA = "import jpype; jpype.startJVM(); print(jpype.JClass('java.lang.System').getProperty('java.version'))"
_OLDEST_JAVA = 17


def python_of(peer: Peer) -> Path:
    """Return the interpreter that runs a peer's programs."""
    return Path(sys.executable) if peer.package is None else _PYTHON


def why_not(peer: Peer) -> str | None:
    """Return why a peer cannot take part on this machine; nothing if it can."""
    if not python_of(peer).exists():
        return "its packages are not installed; make bench-peers installs them"
    if peer.java:
        java = java_version(peer)
        if java is None or int(java.partition(".")[0]) < _OLDEST_JAVA:
            return f"it needs Java {_OLDEST_JAVA} or newer, and there is {java or 'none'}"
    return None


def heading(peer: Peer) -> str:
    """Return a peer's name and version."""
    version = None if peer.package is None else _output(peer, "-c", _VERSION, peer.package)
    return f"{peer.name} {version}" if version else peer.name


def java_version(peer: Peer) -> str | None:
    """Return the version of the Java that a peer finds; nothing if it finds none."""
    return _output(peer, "-c", _JAVA)


def _output(peer: Peer, *arguments: str) -> str | None:
    command: Sequence[str | Path] = [python_of(peer), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.stdout.strip() if ended.returncode == 0 else None
