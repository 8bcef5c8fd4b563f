"""What README says of settings and commands is so."""

from __future__ import annotations

import re
from pathlib import Path

from cdc_bridge.packaging.service_files import KEYS_FOLDER, UNIT_FILE, unit_text
from cdc_bridge.packaging.settings_example import CREDENTIALS_FOLDER
from cdc_bridge.settings import PREFIX, Settings
from cdc_bridge.settings_sources import DEFAULT_CONFIG
from tests.bench.publishing import published_cost_table, published_table
from tests.unit.cli.test_cli import ENDPOINT_COMMANDS

_PROJECT = Path(__file__).parents[2]
README = (_PROJECT / "README.md").read_text(encoding="utf-8")
DBA_README = (_PROJECT / "sql" / "README.md").read_text(encoding="utf-8")


def row_of(name: str) -> str:
    """Return the row that README has to have of a setting."""
    field = Settings.model_fields[name]
    default = "" if field.is_required() or field.default in (None, ()) else f"`{str(field.default).lower()}`"
    return f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |"


def test_every_setting_is_in_the_table_with_its_default_and_meaning() -> None:
    rows = re.findall(rf"^\| `{PREFIX}.*$", README, flags=re.MULTILINE)
    assert rows == [row_of(name) for name in Settings.model_fields]


def test_nothing_that_readme_names_as_a_setting_is_unknown() -> None:
    named = {name for name in re.findall(rf"\b{PREFIX}[A-Z_]+", README) if not name.startswith(f"{PREFIX}TEST_")}
    assert named <= {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {f"{PREFIX}CONFIG"}


def test_files_that_readme_leads_to_are_there() -> None:
    folder = Path(__file__).parents[2]
    assert [link for link in re.findall(r"\]\(([^)#:]+)\)", README) if not (folder / link).exists()] == []


def test_its_table_of_figures_is_that_of_the_run_whose_figures_are_kept() -> None:
    assert published_table() in README


def test_what_a_dba_is_told_that_a_write_costs_is_of_the_same_run() -> None:
    assert published_cost_table() in DBA_README


def test_every_command_about_endpoints_is_named_and_no_other() -> None:
    assert set(re.findall(r"cdc-bridge endpoint ([a-z-]+)", README)) == set(ENDPOINT_COMMANDS)


def test_files_of_the_service_are_named_as_the_unit_has_them() -> None:
    unit = unit_text(Path("/opt/cdc-bridge/bin/cdc-bridge"))
    named = set(re.findall(r"/etc/(?:cdc-bridge|systemd)(?:[\w/.-]*\w)?", README))
    assert named == {
        *(str(path) for path in (DEFAULT_CONFIG.parent, DEFAULT_CONFIG, UNIT_FILE, KEYS_FOLDER)),
        *(f"{CREDENTIALS_FOLDER}{name}" for name in ("", "/database_url", "/endpoint_secret", "/web_token")),
        f"{UNIT_FILE}.d",
    }
    assert f"/run/credentials/{UNIT_FILE.name}/tls_till.pem" in README
    assert f"LoadCredential=tls:{KEYS_FOLDER}\n" in unit
    assert f"runuser -u {re.findall(r'^User=(.*)$', unit, re.MULTILINE)[0]} " in README
