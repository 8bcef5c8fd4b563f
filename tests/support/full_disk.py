"""A disk with no space left for one table, made of ``/dev/full``, whose every write the kernel refuses with ENOSPC.

It stands in for a full file system, which takes root to make: PostgreSQL meets the same error at the same place, when
it extends the table's file, and says what it then says (53100, disk_full). The table has to be empty at that moment, as
``/dev/full`` has nothing to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.databases import Database

_FULL = Path("/dev/full")
_FILE = "select current_setting('data_directory') || '/' || pg_relation_filepath(%s)"


@contextmanager
def no_space_for(table: str, database: Database) -> Iterator[None]:
    """Let an empty table not grow for as long as the block runs; only on a server of the test's own."""
    if not _FULL.is_char_device():
        pytest.skip(f"needs {_FULL}")
    database.execute("checkpoint")  # or the next one would flush the file that stands there then
    file = Path(database.value(_FILE, (table,)))
    assert file.stat().st_size == 0, f"{table} is not empty"
    kept = file.with_name(f"{file.name}.kept")
    file.rename(kept)
    file.symlink_to(_FULL)
    _let_sessions_open_files_anew(database)
    try:
        yield
    finally:
        kept.rename(file)
        _let_sessions_open_files_anew(database)


def _let_sessions_open_files_anew(database: Database) -> None:
    # Dropping a database makes every session close its files.
    database.execute("create database to_be_dropped")
    database.execute("drop database to_be_dropped")
