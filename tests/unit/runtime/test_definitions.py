from __future__ import annotations

from dataclasses import replace

import pytest

from cdc_bridge.endpoints.secrets_cipher import NO_KEYS
from cdc_bridge.runtime.definitions import EndpointDefinitions
from tests.unit.runtime.scripted import TILL, listed


def test_row_is_checked_anew_only_if_it_was_changed_or_on_request(checked: list[str]) -> None:
    known = EndpointDefinitions(None, allow_http=False, cipher=NO_KEYS)
    for _ in range(3):
        assert known.of(listed()) == TILL
    assert checked == ["till"]
    known.forget(listed().endpoint_id)
    assert known.of(listed(row={"max_in_flight": 1})) == replace(TILL, max_in_flight=1)
    known.reload(None, allow_http=False, cipher=NO_KEYS)
    known.of(listed(row={"max_in_flight": 1}))
    assert len(checked) == 3


def test_invalid_row_is_checked_each_time_until_it_is_valid(checked: list[str]) -> None:
    known = EndpointDefinitions(None, allow_http=False, cipher=NO_KEYS)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^url "):
            known.of(listed(row={"url": "http://127.0.0.1"}))
    known.reload(None, allow_http=True, cipher=NO_KEYS)
    assert known.of(listed(row={"url": "http://127.0.0.1"})) == replace(TILL, url="http://127.0.0.1")
    assert len(checked) == 3


def test_endpoint_of_the_settings_is_defined_by_the_settings_that_declare_it() -> None:
    known = EndpointDefinitions(TILL, allow_http=False, cipher=NO_KEYS)
    assert known.of(listed(in_settings=True, row={"max_in_flight": 1})) == TILL
    assert known.of(listed(2, "other", in_settings=True)) is None
    known.reload(None, allow_http=False, cipher=NO_KEYS)
    assert known.of(listed(in_settings=True)) is None


def test_every_definition_is_invalid_while_the_payload_cannot_be_loaded_and_valid_as_soon_as_it_can() -> None:
    problem: str | None = "the payload does not fit"
    known = EndpointDefinitions(TILL, allow_http=False, cipher=NO_KEYS, payload_problem=lambda _: problem)
    for endpoint in (listed(), listed(in_settings=True)):
        with pytest.raises(ValueError, match="the payload does not fit"):
            known.of(endpoint)
    assert known.of(listed(2, "other", in_settings=True)) is None
    problem = None
    assert known.of(listed()) == known.of(listed(in_settings=True)) == TILL
