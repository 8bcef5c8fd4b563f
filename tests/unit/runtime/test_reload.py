from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from cdc_bridge.runtime.reload import TAKEN_UP, changed, without_restart
from cdc_bridge.settings import Settings


def settings(**values: Any) -> Settings:
    return Settings(database_url=SecretStr("host=db"), **values)


def test_only_what_can_change_without_a_restart_is_taken_up() -> None:
    before = settings(log_level="info", batch_size=500)
    after = settings(log_level="debug", batch_size=100, endpoint_url="https://till.example")
    assert changed(before, after) == ["endpoint_url", "batch_size", "log_level"]
    now = without_restart(before, after)
    assert (now.log_level, now.batch_size) == ("debug", 500)
    assert (endpoint := now.endpoint()) is not None
    assert endpoint.url == "https://till.example"


def test_names_that_are_taken_up_are_settings() -> None:
    assert set(Settings.model_fields) >= TAKEN_UP
    assert "endpoint_secret" in TAKEN_UP
    assert not {"database_url", "endpoint_start", "web_port", "lease_seconds"} & TAKEN_UP
