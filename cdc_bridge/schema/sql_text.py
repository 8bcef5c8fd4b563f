"""The SQL that a DBA runs: the files of ``sql/`` with the files that they name put in their places.

It is the very text that ``--print`` shows, that ``cdc-bridge install`` runs, and that psql runs from the files.
"""

from __future__ import annotations

import re
from importlib.resources import as_file, files
from pathlib import Path

from cdc_bridge.errors import BridgeError
from cdc_bridge.schema.version import SCHEMA_VERSION

_INCLUDE = re.compile(r"^\\ir (?P<file>\S+)\n", re.MULTILINE)
_CHOICE_OF_MAPPING = re.compile(r"^\\if .*^\\endif\n", re.MULTILINE | re.DOTALL)
_COMMIT = re.compile(r"^commit;\n", re.MULTILINE)
_MAPPING = "mapping.sql"
_TRANSACTION_CONTROL = re.compile(
    r"^\s*((begin|commit|end|rollback|abort)(\s+(work|transaction))?\s*;|start\s+transaction\b)",
    re.IGNORECASE | re.MULTILINE,
)


def sql_folder() -> Path:
    """Return the folder of SQL files: the package's, or in a checkout the repository's."""
    with as_file(files("cdc_bridge")) as package:
        packaged = package / "sql"
        return packaged if packaged.is_dir() else package.parent / "sql"


def install_text(mapping: Path | None = None, *, keep_mapping: bool = False) -> str:
    """Return the SQL that installs, in one piece.

    Args:
        mapping: another mapping than the one for the example schema.
        keep_mapping: leave the mapping out; the one in the database stays.

    Raises:
        BridgeError: the mapping cannot be read.
    """
    text = (sql_folder() / "install.sql").read_text(encoding="utf-8")
    chosen = "" if keep_mapping else _mapping_text(mapping)
    return _expanded(_CHOICE_OF_MAPPING.sub(lambda _: chosen, text))


def uninstall_text() -> str:
    """Return the SQL that takes everything out again."""
    return _expanded((sql_folder() / "uninstall.sql").read_text(encoding="utf-8"))


def upgrade_texts(version: int) -> list[tuple[str, str]]:
    """Return the migrations from a version up to where this release's daemon comes in, each with its file's name."""
    steps = [(number, part) for number in range(version + 1, SCHEMA_VERSION + 1) for part in ("before", "after")]
    return [(_migration(number, part), _migration_text(number, part)) for number, part in steps[:-1]]


def after_text() -> str:
    """Return the part of the last migration that comes after this release's daemon."""
    return _migration_text(SCHEMA_VERSION, "after")


def without_commit(text: str) -> str:
    """Return a text that leaves open the transaction in which it does all its work."""
    return _COMMIT.sub("", text)


def _migration(version: int, part: str) -> str:
    return f"migrations/{version:04}-{part}.sql"


def _migration_text(version: int, part: str) -> str:
    return _expanded((sql_folder() / _migration(version, part)).read_text(encoding="utf-8"))


def _mapping_text(mapping: Path | None) -> str:
    path = mapping or sql_folder() / _MAPPING
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BridgeError(
            f"the mapping {path} cannot be read: {error}", "Name a file with SQL: --mapping FILE"
        ) from error
    if found := _TRANSACTION_CONTROL.search(text):
        raise BridgeError(
            f'the mapping {path} has "{found[0].strip()}" in it, and the installation is one transaction',
            "Take it out.",
        )
    return text


def _expanded(text: str) -> str:
    return _INCLUDE.sub(lambda match: (sql_folder() / match["file"]).read_text(encoding="utf-8"), text)
