from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from cdc_bridge.runtime.reload import RELOADABLE, changed, reloaded
from cdc_bridge.settings import Settings


def settings(**values: Any) -> Settings:
    return Settings(database_url=SecretStr("host=db"), **values)


def test_only_what_can_change_without_a_restart_is_reloaded() -> None:
    before = settings(log_level="info", batch_size=500)
    after = settings(log_level="debug", batch_size=100, endpoint_url="https://till.example")
    assert changed(before, after) == ["endpoint_url", "batch_size", "log_level"]
    now = reloaded(before, after)
    assert (now.log_level, now.batch_size) == ("debug", 500)
    assert (endpoint := now.endpoint()) is not None
    assert endpoint.url == "https://till.example"


def test_names_that_are_reloadable_are_settings() -> None:
    assert set(Settings.model_fields) >= RELOADABLE
    assert "endpoint_secret" in RELOADABLE
    assert not {"database_url", "endpoint_start", "web_port", "lease_seconds"} & RELOADABLE
