"""Generated parts of the documents: each stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
README = PROJECT / "README.md"
DBA_GUIDE = PROJECT / "sql" / "README.md"
MAP = PROJECT / "cdc_bridge" / "README.md"
VENDOR_GUIDE = PROJECT / "cdc_bridge" / "vendor" / "guide.md"
OPERATOR_GUIDE = PROJECT / "cdc_bridge" / "guides" / "operator.md"


def generated_part(file: Path, name: str) -> str:
    """Return a generated part as it stands in a document.

    Raises:
        RuntimeError: The document does not have exactly one place for it.
    """
    found = _part(name).findall(file.read_text(encoding="utf-8"))
    if len(found) != 1:
        raise RuntimeError(f"{file} needs exactly one place marked: generated: {name}")
    return str(found[0][1])


def replace_generated_part(file: Path, name: str, text: str) -> None:
    """Write a generated part into a document.

    Raises:
        RuntimeError: The document does not have exactly one place for it.
    """
    if generated_part(file, name) != f"\n{text}\n":
        document = file.read_text(encoding="utf-8")
        replaced = _part(name).sub(lambda part: f"{part[1]}\n{text}\n{part[3]}", document)
        file.write_text(replaced, encoding="utf-8")


def _part(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- generated: {re.escape(name)} -->\n)(.*?)(<!-- end -->)", re.DOTALL)
