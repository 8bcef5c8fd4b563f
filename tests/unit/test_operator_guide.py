"""What the operator guide says of settings, commands and files is so."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from cdc_bridge.audit.actor import Via
from cdc_bridge.guides import Guide, guide_text
from cdc_bridge.model import DeliveryState
from cdc_bridge.packaging.service_files import KEYS_FOLDER, unit_text
from cdc_bridge.pipeline.retry_schedule import SCHEDULE_SECONDS
from cdc_bridge.settings import PREFIX, Settings
from cdc_bridge.settings_sources import CREDENTIALS_FOLDER, DEFAULT_CONFIG, UNIT_FILE
from tests.e2e.test_cli import ENDPOINT_COMMANDS
from tests.support.generated import OPERATOR_GUIDE, PROJECT, README, generated_part
from tests.support.guide_tables import METRICS_PART, SETTINGS_PART, metrics_table, settings_table

GUIDE = guide_text(Guide.OPERATOR)
DOCUMENTS = [README, PROJECT / "sql" / "README.md", PROJECT / "sql" / "mapping-guide.md", OPERATOR_GUIDE]


def first_column(heading: str) -> list[str]:
    """Return the words in code in the first column of the table with this heading."""
    rows = GUIDE.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `([a-z]+)` \|", rows, flags=re.MULTILINE)


def test_table_of_settings_is_that_of_the_declarations() -> None:
    assert generated_part(OPERATOR_GUIDE, SETTINGS_PART) == f"\n{settings_table()}\n", "make man brings it up to date"
    rows = re.findall(rf"^\| `({PREFIX}[A-Z_]+)` \|", GUIDE, flags=re.MULTILINE)
    assert rows == [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]


def test_table_of_metrics_is_that_of_the_declarations() -> None:
    assert generated_part(OPERATOR_GUIDE, METRICS_PART) == f"\n{metrics_table()}\n", "make man brings it up to date"


def log_events() -> Iterator[str]:
    """Yield the event of each log call in the product, a placeholder in it as an asterisk."""
    for module in (PROJECT / "cdc_bridge").rglob("*.py"):
        for call in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and call.args and ast.unparse(call.func).startswith(("_log.", "(_log.")):
                yield from _texts(call.args[0])
            elif isinstance(call, ast.Call) and ast.unparse(call.func) == "LimitedLog":
                yield from _texts(call.args[1])


def _texts(event: ast.expr) -> Iterator[str]:
    match event:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from (*_texts(body), *_texts(orelse))
        case ast.JoinedStr(values=values):
            yield "".join(str(value.value) if isinstance(value, ast.Constant) else "*" for value in values)


def test_every_log_event_is_explained_and_no_other() -> None:
    logged = set(log_events())
    logged |= {"delivery rejected", "delivery failed", "endpoint paused", "endpoint disabled"}
    logged |= {
        f"{part} {state}" for part in ("mapping", "capture", "installation") for state in ("broken", "works again")
    }
    logged |= {"mapping incomplete", "capture incomplete"}
    logged |= {f"{via} change" for via in Via if via is not Via.COMMAND}
    table = GUIDE.partition("\n| event |")[2].partition("\n\n")[0]
    events = re.findall(r"^\| ([^|]+) \|", table, flags=re.MULTILINE)
    explained = {event for row in events for event in re.findall(r"`([^`]+)`", row)}
    assert len(explained) > 40
    assert explained == logged - {"endpoint *", "* change", "* broken", "* incomplete", "* works again"}


def test_every_setting_that_a_document_names_exists() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {f"{PREFIX}CONFIG"}
    for document in DOCUMENTS:
        named = set(re.findall(rf"(?<![A-Z_]){PREFIX}[A-Z_]*[A-Z]", document.read_text(encoding="utf-8")))
        assert named <= known, document


def test_every_command_about_endpoints_is_named_and_no_other() -> None:
    assert set(re.findall(r"cdc-bridge endpoint ([a-z-]+)", GUIDE)) == set(ENDPOINT_COMMANDS)


def test_every_state_of_a_delivery_is_explained() -> None:
    assert first_column("state") == [
        "queued", "retrying", "delivered", "superseded", "dead", "skipped"
    ]  # fmt: skip
    assert set(first_column("state")) == set(DeliveryState)


def test_every_status_of_an_endpoint_is_explained() -> None:
    assert first_column("status") == [
        "healthy", "degraded", "failing", "paused", "disabled", "unassigned", "invalid"
    ]  # fmt: skip


def test_number_and_time_of_the_attempts_are_those_of_the_schedule() -> None:
    assert "eleven attempts over two days" in GUIDE
    assert len(SCHEDULE_SECONDS) + 1 == 11
    assert 1.5 < sum(SCHEDULE_SECONDS) / 86_400 < 2.5


def test_files_of_the_service_are_named_as_the_unit_has_them() -> None:
    unit = unit_text(Path("/opt/cdc-bridge/bin/cdc-bridge"))
    named = set(re.findall(r"/etc/(?:cdc-bridge|systemd)(?:[\w/.-]*\w)?", GUIDE))
    assert named == {
        *(str(path) for path in (DEFAULT_CONFIG.parent, DEFAULT_CONFIG, UNIT_FILE, KEYS_FOLDER)),
        *(
            f"{CREDENTIALS_FOLDER}/{name}"
            for name in ("alert_url", "database_url", "endpoint_secret", "web_token", "web_api_token")
        ),
        str(CREDENTIALS_FOLDER),
        *(f"{KEYS_FOLDER}/secrets.{suffix}" for suffix in ("key", "new")),
        f"{UNIT_FILE}.d",
    }
    assert f"/run/credentials/{UNIT_FILE.name}/tls_till.pem" in GUIDE
    assert f"LoadCredential=tls:{KEYS_FOLDER}\n" in unit
    assert f"as user `{re.findall(r'^User=(.*)$', unit, re.MULTILINE)[0]}`" in GUIDE
