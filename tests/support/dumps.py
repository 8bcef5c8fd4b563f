"""PostgreSQL's own programs: what pg_dump says of a schema, and a script run by psql."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.databases import Database


def schema_of(database: Database, programs: Path) -> str:
    """Return pg_dump's account of the schema."""
    dumped = subprocess.run(
        [programs / "pg_dump", "--schema-only", "--dbname", database.url], capture_output=True, check=True, text=True
    )
    return re.sub(r"^\\(un)?restrict .*$", "", dumped.stdout, flags=re.MULTILINE)


def run_psql(database: Database, programs: Path, *arguments: str, script: str = "") -> str:
    """Run psql as a superuser; return what it printed.

    Raises:
        subprocess.CalledProcessError: A statement failed; ``stderr`` says why.
    """
    ran = subprocess.run(
        [programs / "psql", "--dbname", database.url, "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", *arguments],
        input=script, capture_output=True, check=True, text=True,
    )  # fmt: skip
    return ran.stdout
