"""The guides: one for each reader, printed by ``cdc-bridge guide``.

Each text lives in the folder that it describes, where a browser of the repository finds it. A checkout has the SQL
folder beside the package, the wheel inside it (:func:`~cdc_bridge.schema.sql_text.sql_folder`).
"""

from __future__ import annotations

from enum import StrEnum
from importlib.resources import files

from cdc_bridge.schema.sql_text import sql_folder


class Guide(StrEnum):
    """A guide, named after its reader."""

    DBA = "dba"
    MAPPING = "mapping"
    OPERATOR = "operator"
    VENDOR = "vendor"


_OF_THE_SQL_FOLDER = {Guide.DBA: "README.md", Guide.MAPPING: "mapping-guide.md"}
_OF_THE_PACKAGE = {Guide.OPERATOR: "guides/operator.md", Guide.VENDOR: "vendor/guide.md"}


def guide_text(guide: Guide) -> str:
    """Return a guide's Markdown."""
    if guide in _OF_THE_SQL_FOLDER:
        return (sql_folder() / _OF_THE_SQL_FOLDER[guide]).read_text(encoding="utf-8")
    return files("cdc_bridge").joinpath(_OF_THE_PACKAGE[guide]).read_text(encoding="utf-8")
