"""A mapping that breaks the contract is refused before anything changes; all that is wrong is named at once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from cdc_bridge.schema.sql_text import sql_folder
from tests.support.bridge import run_command
from tests.support.databases import Database

DEFINITION = "select query from cdc_bridge.payload_definition where name = 'reservation'"
BREACHES = {
    '  c.title as "customer.title",\n': "",
    '  c.notes as "customer.notes",\n': '  c.id as "customer.note",\n',
    "  r.reference,\n": "  r.reference::text as reference,\n",
    "  r.adults,\n": "  null::boolean as adults,\n",
}
NAMED = [
    "customer.title is missing",
    "customer.notes is missing",
    "reference is text, not count",
    "adults is bool, not count",
]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    text = (sql_folder() / "mapping.sql").read_text()
    for correct, wrong in BREACHES.items():
        assert correct in text
        text = text.replace(correct, wrong)
    file = tmp_path / "mapping.sql"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    "command", [("install", "--mapping"), ("install", "--dry-run", "--mapping"), ("mapping", "check")], ids=" ".join
)
async def test_everything_wrong_is_named_and_nothing_is_changed(
    command: tuple[str, ...], broken: Path, database: Database
) -> None:
    before = database.value(DEFINITION)
    code, output, errors = await run_command(*command, str(broken), CDC_BRIDGE_DATABASE_URL=database.url)
    assert code == 1
    for problem in NAMED:
        assert problem in " ".join(errors.split())
    assert "Nothing was changed." in errors
    assert database.value(DEFINITION) == before
    assert "Traceback" not in output + errors


async def test_breach_that_the_vendor_knows_of_can_be_allowed_by_key(broken: Path, database: Database) -> None:
    allowed = ("--allow-incomplete", "customer.title, customer.notes,reference")
    arguments = ("install", "--mapping", str(broken), *allowed)
    code, _, errors = await run_command(*arguments, CDC_BRIDGE_DATABASE_URL=database.url)
    assert (code, "adults is bool" in errors, "customer.title" in errors) == (1, True, False)
    arguments = (*arguments[:-1], arguments[-1] + ",adults")
    code, _, errors = await run_command(*arguments, CDC_BRIDGE_DATABASE_URL=database.url)
    assert (code, errors) == (0, "")
    assert "customer.note" in database.value(DEFINITION)


async def test_columns_in_another_order_are_named(tmp_path: Path, database: Database) -> None:
    text = (sql_folder() / "mapping.sql").read_text()
    file = tmp_path / "mapping.sql"
    file.write_text(text.replace("  r.id,\n  r.cust_id,\n", "  r.cust_id,\n  r.id,\n"))
    code, _, errors = await run_command("mapping", "check", str(file), CDC_BRIDGE_DATABASE_URL=database.url)
    assert (code, "cust_id is in the wrong place: it follows id" in " ".join(errors.split())) == (1, True)


async def test_types_that_cannot_be_written_are_all_named(tmp_path: Path, database: Database) -> None:
    text = (sql_folder() / "mapping.sql").read_text()
    file = tmp_path / "mapping.sql"
    for column, type_ in {
        "notes": "bytea",
        "adults": "interval",
        "datetime": "timestamp",
        "duration": "int4range",
    }.items():
        text = text.replace(f"  r.{column},\n", f"  null::{type_} as {column},\n")
    file.write_text(text)
    code, _, errors = await run_command("install", "--mapping", str(file), CDC_BRIDGE_DATABASE_URL=database.url)
    assert code == 1
    for column in ("notes", "adults", "datetime", "duration"):
        assert f'column "{column}"' in " ".join(errors.split())


async def test_mapping_that_fits_is_said_to(database: Database) -> None:
    file = sql_folder() / "mapping.sql"
    code, output, _ = await run_command("mapping", "check", str(file), CDC_BRIDGE_DATABASE_URL=database.url)
    assert (code, output) == (0, "The mapping fits e-Res's tables and the contract.\n")


@pytest.mark.parametrize("command", [("mapping", "check"), ("install", "--dry-run", "--mapping")], ids=" ".join)
async def test_lines_that_still_have_a_todo_are_named_though_they_fit(
    command: tuple[str, ...], tmp_path: Path, example_database: Database
) -> None:
    text = (sql_folder() / "mapping.sql").read_text()
    file = tmp_path / "mapping.sql"
    file.write_text(text.replace("  r.cancelled,\n", "  'F' as cancelled,  -- TODO no source found.\n"))
    url = {"CDC_BRIDGE_DATABASE_URL": example_database.url}
    told = [
        "Payload reservation still has 1 line with TODO, which is sent as it stands:",
        "  cancelled",
        "  for example 'F' as cancelled",
    ]
    code, output, errors = await run_command(*command, str(file), **url)
    assert (code, errors) == (0, "")
    assert "\n".join(told) in output
    if command == ("mapping", "check"):
        _, output, _ = await run_command(*command, "--json", str(file), **url)
        assert json.loads(output) == {"problems": [], "corrected": None, "notes": told}


async def test_mapping_without_attach_is_not_installed(tmp_path: Path, example_database: Database) -> None:
    text = (sql_folder() / "mapping.sql").read_text()
    file = tmp_path / "mapping.sql"
    file.write_text(text.replace("select cdc_bridge.attach('public.reservations', 'id');", ""))
    for command in (("mapping", "check"), ("install", "--dry-run", "--mapping"), ("install", "--mapping")):
        code, _, errors = await run_command(*command, str(file), CDC_BRIDGE_DATABASE_URL=example_database.url)
        assert code == 1
        assert "the mapping attaches capture to no table, so nothing would be sent" in " ".join(errors.split())
        assert "select cdc_bridge.attach('public.reservations', 'id');" in errors
    assert example_database.value("select to_regnamespace('cdc_bridge') is null")


async def test_report_reads_well_at_80_columns(
    broken: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(broken.parent)
    code, output, errors = await run_command("mapping", "check", "mapping.sql", CDC_BRIDGE_DATABASE_URL=database.url)
    assert (code, output) == (1, "")
    assert [line for line in errors.splitlines() if len(line) > 80] == []
    assert errors == REPORT


REPORT = """\
cdc-bridge: the mapping has 4 problems
            mapping.sql:28: customer.title is missing
              add below line 28:
                c.title as "customer.title",
            mapping.sql:40: customer.notes is missing
              add below line 40:
                c.notes as "customer.notes",
            mapping.sql:56: reference is text, not count
              write:
                nullif(r.reference::text, '')::integer as reference,
            mapping.sql:63: adults is bool, not count
              write:
                0 as adults,
            Nothing was changed. Correct it and run this again.
            If the vendor knows: cdc-bridge install --allow-incomplete
            customer.title,customer.notes,reference,adults
"""


async def test_json_has_the_problems_and_the_corrected_file(broken: Path, database: Database) -> None:
    arguments = ("mapping", "check", str(broken), "--json")
    code, output, errors = await run_command(*arguments, CDC_BRIDGE_DATABASE_URL=database.url)
    assert (code, errors) == (1, "")
    found = json.loads(output)
    assert found["problems"][0] == {
        "key": "customer.title",
        "line": 28,
        "problem": "customer.title is missing",
        "action": "add below line 28",
        "fix": 'c.title as "customer.title",',
        "note": None,
    }
    await asyncio.to_thread(broken.write_text, found["corrected"])
    code, output, errors = await run_command(*arguments, CDC_BRIDGE_DATABASE_URL=database.url)
    assert (code, json.loads(output), errors) == (0, {"problems": [], "corrected": None, "notes": []}, "")


async def test_what_postgresql_rejects_cannot_be_allowed(tmp_path: Path, database: Database) -> None:
    text = (sql_folder() / "mapping.sql").read_text()
    file = tmp_path / "mapping.sql"
    text = text.replace("  r.datetime,\n", "  r.datetime::timestamp as datetime,\n")
    file.write_text(text.replace("  r.adults,\n", "  r.notes as adults,\n"))
    arguments = ("install", "--mapping", str(file), "--allow-incomplete", "datetime,adults")
    code, _, errors = await run_command(*arguments, CDC_BRIDGE_DATABASE_URL=database.url)
    assert (code, '"datetime"' in errors, "adults" in errors, "--allow" in errors) == (1, True, False, False)
