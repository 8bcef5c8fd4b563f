"""A mapping is a part of one transaction, and the installation's text goes on behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_bridge.errors import BridgeError
from cdc_bridge.schema.sql_text import install_text

GRANT = "grant usage on schema res to cdc_bridge_loader"


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    return tmp_path / "mapping.sql"


@pytest.mark.parametrize(
    "statement",
    [
        "begin;",
        "COMMIT;",
        "start transaction isolation level serializable;",
        "rollback to savepoint before;",
        f"{GRANT}; commit;",
        "/* all of it */ commit and chain;",
        "prepare transaction 'mapping';",
        "end",
    ],
)
def test_mapping_that_ends_the_transaction_is_rejected(statement: str, mapping: Path) -> None:
    mapping.write_text(f"{GRANT};\n{statement}\n")
    with pytest.raises(BridgeError, match="the installation is one transaction"):
        install_text(mapping)


@pytest.mark.parametrize(
    "statement",
    [
        "create function f() returns int language plpgsql as $$ begin\n  return 1;\nend; $$;",
        "create function f() returns int language sql begin atomic select 1; end;",
        "-- begin;\nselect 'x; commit;', \"; commit\";",
        "select case when true then 1\nend;",
    ],
)
def test_words_of_other_statements_are_none_of_a_transaction(statement: str, mapping: Path) -> None:
    mapping.write_text(f"{statement}\n")
    assert statement in install_text(mapping)


@pytest.mark.parametrize("text", [GRANT, f"{GRANT}\n", f"{GRANT};", f"{GRANT}; -- the end"])
def test_what_follows_a_mapping_stands_by_itself(text: str, mapping: Path) -> None:
    mapping.write_text(text)
    assert f"{text}\n;\n" in install_text(mapping)


def test_mark_of_the_byte_order_is_not_a_part_of_the_mapping(mapping: Path) -> None:
    mapping.write_text(GRANT, encoding="utf-8-sig")
    assert "\ufeff" not in install_text(mapping)
