"""Tables and help on terminals of 80 and 120 columns."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.model import DeliveryState
from tests.support.bridge import run_command
from tests.support.databases import Database
from tests.support.terminal import lines_on_terminal

WIDTHS = (80, 120)
WORDS = {*(status.value for status in EndpointStatus), *(state.value for state in DeliveryState)}

_FILL = """
insert into cdc_bridge.daemon (name, alive_until, listening, position)
values ('a-host-with-a-name-of-30-letter:4194304', now() + interval '1 day', true, pg_current_snapshot());
insert into cdc_bridge.endpoint (
  name, in_settings, url, headers, max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds, position,
  cluster, daemon_id, fencing_token, following, paused_at, disabled_at, problem, failing_since, next_probe_at,
  last_failure_at, last_failure
)
select
  case n % 3 when 0 then rpad('restaurant-' || n || '-', 63, 'x') else 'till-' || n end, false,
  'https://a-vendor-with-a-long-name.example/webhooks/reservations/restaurants/' || n, '{}', 16, false, 15, 5,
  pg_current_snapshot(), (select system_identifier from pg_control_system()),
  case n % 7 when 3 then null else (select max(daemon_id) from cdc_bridge.daemon) end, 1, false,
  case n % 7 when 0 then now() end, case n % 7 when 1 then now() end,
  case n % 7 when 2 then 'the file /etc/cdc-bridge/tls/a-certificate-of-a-vendor.pem cannot be read: denied' end,
  case n % 7 when 4 then now() - interval '1 hour' end, case n % 7 when 4 then now() + interval '1 minute' end,
  case n % 7 when 4 then now() end,
  case n % 7 when 4 then 'cannot connect to a-vendor-with-a-long-name.example:443: nothing listens there' end
from generate_series(1, 40) as n;
insert into cdc_bridge.delivery (
  endpoint_id, seq, reservation_id, operation, changed_at, state, skip_reason, next_attempt_at, attempts, failures,
  last_status, last_error
)
select
  (select min(endpoint_id) from cdc_bridge.endpoint where length(name) = case n % 2 when 0 then 63 else 6 end),
  n * 10000000000000, case n % 5 when 0 then repeat('a-long-id/', 40) else 'R' || n end, 'U', now(),
  (array['queued', 'retrying', 'delivered', 'superseded', 'dead', 'skipped'])[1 + n % 6],
  case n % 6 when 5 then 'deleted' end, case when n % 6 < 2 then now() + interval '1 hour' end, 3, 3,
  case n % 6 when 2 then 200 end,
  case when n % 6 in (1, 4) then 'HTTP 301: redirects are not followed; set the URL to its final address' end
from generate_series(1, 600) as n
"""

COMMANDS = {
    "status": ("status", "--all"),
    "endpoint list": ("endpoint", "list"),
    "endpoint show": ("endpoint", "show", "till-1"),
    "deliveries": ("deliveries", "--limit", "600"),
}


@pytest.fixture
def settings(database: Database) -> dict[str, str]:
    for statement in _FILL.split(";\n"):
        database.execute(statement)
    condition = ",".join(f"Room-{number}" for number in range(60))
    database.execute("""update cdc_bridge.endpoint set "only" = array[%s]""", (f"room_name={condition}",))
    return {"CDC_BRIDGE_DATABASE_URL": database.bridge_url}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", COMMANDS)
async def test_no_line_is_too_long_and_no_word_is_broken(name: str, width: int, settings: dict[str, str]) -> None:
    lines = await lines_on_terminal(width, *COMMANDS[name], **settings)
    assert len(lines) > 20
    assert [line for line in lines if len(line) > width] == []
    _, piped, _ = await run_command(*COMMANDS[name], **settings)
    shown, whole = words_in("\n".join(lines)), words_in(piped)
    # A word that is broken is not there as often as it is without a terminal.
    assert {word for word, number in whole.items() if shown[word] < number} == set()
    assert not WORDS.isdisjoint(shown)


def words_in(text: str) -> Counter[str]:
    """Return the words in a text, but for names, whose parts may be on several lines."""
    return Counter(word for word in re.findall("[A-Za-z]+", text) if len(word) < 30)


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_pipe_gets_a_line_for_each_row(name: str, settings: dict[str, str]) -> None:
    _, piped, _ = await run_command(*COMMANDS[name], **settings)
    rows = {"status": 40, "endpoint list": 40, "deliveries": 600, "endpoint show": 20}
    assert len(piped.splitlines()) >= rows[name]
    assert ("x" * 40 in piped) == (name != "endpoint show")
    if name == "deliveries":
        assert len(piped.splitlines()) == 601


async def test_long_conditions_wrap_beside_their_label(settings: dict[str, str]) -> None:
    lines = await lines_on_terminal(80, "endpoint", "show", "till-1", **settings)
    (first,) = [number for number, line in enumerate(lines) if line.startswith("Conditions")]
    after = lines[first + 1]
    assert after.startswith(" " * 10)
    assert after.strip().startswith("Room-")


@pytest.mark.parametrize("width", WIDTHS)
async def test_results_of_a_check_wrap_beside_their_names(width: int, database: Database) -> None:
    file = f"/nowhere/{'a-folder-with-a-long-name/' * 4}secrets.key"
    settings = {"CDC_BRIDGE_DATABASE_URL": database.bridge_url, "CDC_BRIDGE_SECRETS_KEY_FILE": file}
    lines = await lines_on_terminal(width, "check", **settings)
    assert [line for line in lines if len(line) > width and "->" not in line] == []
    first = next(number for number, line in enumerate(lines) if " encryption " in line)
    assert lines[first + 1].startswith(" " * 19)
    _, piped, _ = await run_command("check", **settings)
    assert file in piped
