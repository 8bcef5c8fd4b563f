"""The SQL that a DBA runs: the files of ``sql/`` with their includes expanded.

``--print`` shows this text, ``cdc-bridge install`` runs it, and psql runs the same from the files. In between stand
psql's own commands, which keep it from printing a line for each statement: what runs without psql has none of them.
"""

from __future__ import annotations

import re
from importlib.resources import as_file, files
from pathlib import Path

from cdc_bridge.errors import BridgeError
from cdc_bridge.schema.version import SCHEMA_VERSION

_INCLUDE = re.compile(r"^\\ir (?P<file>\S+)\n", re.MULTILINE)
_MAPPING_CONDITION = re.compile(r"^\\if .*^\\endif\n", re.MULTILINE | re.DOTALL)
_OF_PSQL = re.compile(r"^\\(set|unset|pset) .*\n", re.MULTILINE)
_COMMIT = re.compile(r"^commit;\n", re.MULTILINE)
_MAPPING = "mapping.sql"
_FIRST_MAPPING = "first-mapping.sql"
_NO_STATEMENT = re.compile(
    r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"[^"]*"|(\$(?:[a-z_]\w*)?\$).*?\1|\bbegin\s+atomic\b.*?\bend\b""",
    re.IGNORECASE | re.DOTALL,
)
"""Comments, strings, names, and the statements of a function: what stands there begins or ends no transaction."""
_TRANSACTION_CONTROL = re.compile(
    r"(?:^|;)\s*((?:begin|commit|end|rollback|abort|(?:start|prepare)\s+transaction)\b[^;]*;?)", re.IGNORECASE
)


def sql_folder() -> Path:
    """Return the folder of SQL files: the package's, or in a checkout the repository's."""
    with as_file(files("cdc_bridge")) as package:
        packaged = package / "sql"
        return packaged if packaged.is_dir() else package.parent / "sql"


def install_text(mapping: Path | None = None, *, keep_mapping: bool = False, for_psql: bool = False) -> str:
    """Return the SQL that installs, in one piece.

    Args:
        mapping: The mapping file; ``None``: the shipped one, for the example schema, unless there is one already.
        keep_mapping: Leave the mapping out; the one in the database stays.
        for_psql: Keep psql's own commands.

    Raises:
        BridgeError: The mapping cannot be read.
    """
    text = (sql_folder() / "install.sql").read_text(encoding="utf-8")
    if not for_psql:
        text = _OF_PSQL.sub("", text)
    if keep_mapping:
        step = ""
    elif mapping is None:
        first = (sql_folder() / _FIRST_MAPPING).read_text(encoding="utf-8")
        step = first.replace("-- The mapping stands here.\n", mapping_text(None))
        if for_psql:
            step = f"\\if :{{?mapping}}\n\\i :mapping\n\\else\n{step}\\endif\n"
    else:
        step = mapping_text(mapping)
    return _expanded(_MAPPING_CONDITION.sub(lambda _: step, text))


def summary_text() -> str:
    """Return the query that says what is installed and what is next."""
    return (sql_folder() / "summary.sql").read_text(encoding="utf-8")


def uninstall_text() -> str:
    """Return the SQL that uninstalls."""
    return _expanded((sql_folder() / "uninstall.sql").read_text(encoding="utf-8"))


def preconditions_text() -> str:
    """Return the SQL that fails if an installation would; it changes nothing, and takes the setting of the version."""
    return (sql_folder() / "preconditions.sql").read_text(encoding="utf-8")


def uninstall_preconditions_text() -> str:
    """Return the SQL that fails if the role may not uninstall; it changes nothing."""
    return (sql_folder() / "uninstall-preconditions.sql").read_text(encoding="utf-8")


def upgrade_texts(version: int) -> list[tuple[str, str]]:
    """Return the migrations to run before this release's daemon starts, as (file name, SQL).

    Args:
        version: The version that is installed.
    """
    steps = [(number, part) for number in range(version + 1, SCHEMA_VERSION + 1) for part in ("before", "after")]
    return [(_migration(number, part), _migration_text(number, part)) for number, part in steps[:-1]]


def finish_text() -> str:
    """Return the part of the last migration that runs after this release's daemon has started.

    Raises:
        BridgeError: This version has no migration.
    """
    if not (sql_folder() / _migration(SCHEMA_VERSION, "after")).exists():
        raise BridgeError(f"there is no upgrade to finish: version {SCHEMA_VERSION} of the schema has no migration")
    return _migration_text(SCHEMA_VERSION, "after")


def without_commit(text: str) -> str:
    """Return an installation's text without its final commit."""
    return _COMMIT.sub("", text)


def _migration(version: int, part: str) -> str:
    return f"migrations/{version:04}-{part}.sql"


def _migration_text(version: int, part: str) -> str:
    return _expanded((sql_folder() / _migration(version, part)).read_text(encoding="utf-8"))


def mapping_text(mapping: Path | None) -> str:
    """Return the SQL of a mapping.

    Args:
        mapping: Its file; ``None``: the shipped one.

    Raises:
        BridgeError: It cannot be read, or begins or ends a transaction.
    """
    path = mapping or sql_folder() / _MAPPING
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BridgeError(
            f"the mapping {path} cannot be read: {error}", "Name a file with SQL: --mapping FILE"
        ) from error
    if match := _TRANSACTION_CONTROL.search(_NO_STATEMENT.sub(" ", text)):
        raise BridgeError(
            f'the mapping {path} contains "{" ".join(match[1].split())}", but the installation is one transaction',
            "Remove it.",
        )
    # What follows it is neither a part of its last statement nor of a comment.
    return text if text.endswith(";\n") else f"{text}\n;\n"


def _expanded(text: str) -> str:
    return _INCLUDE.sub(lambda match: (sql_folder() / match["file"]).read_text(encoding="utf-8"), text)
