"""What a session in the portal may ask for, and what the vendor is told."""

from __future__ import annotations

import pytest
from multidict import MultiDict

from cdc_bridge.endpoints.options import OPTIONS
from cdc_bridge.errors import (
    BridgeError,
    Conflict,
    DatabaseUnavailable,
    InstallationError,
    NotFound,
    StatementFailed,
    WrongUsage,
)
from cdc_bridge.web import portal
from cdc_bridge.web.portal import MOST_CHANGES, NamedBy, NotAdmitted, VendorLimit, redirection, told


def by_path(**names: str) -> str | None:
    return redirection("till", NamedBy.PATH, "/x", names, MultiDict())


def by_query(*query: tuple[str, str]) -> str | None:
    return redirection("till", NamedBy.QUERY, "/deliveries", {}, MultiDict(query))


def test_path_is_admitted_if_it_names_the_endpoint() -> None:
    assert by_path(name="till") is None
    assert by_path(endpoint="till", seq="7") is None


@pytest.mark.parametrize(
    "names",
    [{}, {"name": ""}, {"name": "rival"}, {"name": "Till"}, {"name": "till "}, {"name": "till\0"}, {"seq": "till"},
     {"name": "till", "endpoint": "rival"}, {"name": "till", "endpoint": "till"}, {"name": "till/../rival"}],
    ids=str,
)  # fmt: skip
def test_path_that_names_another_one_or_none_is_not(names: dict[str, str]) -> None:
    with pytest.raises(NotAdmitted):
        by_path(**names)


def test_query_is_admitted_if_it_names_the_endpoint_and_completed_if_it_names_none() -> None:
    assert by_query(("endpoint", "till"), ("state", "dead")) is None
    assert by_query(("endpoint", "till"), ("of", "till/7")) is None
    assert by_query() == "/deliveries?endpoint=till"
    assert by_query(("endpoint", ""), ("state", "dead")) == "/deliveries?endpoint=till&state=dead"
    assert by_query(("of", "till/7")) == "/deliveries?endpoint=till&of=till%2F7"
    assert by_query(("reservation", "a&endpoint=rival")) == "/deliveries?endpoint=till&reservation=a%26endpoint%3Drival"


@pytest.mark.parametrize(
    "query",
    [
        [("endpoint", "rival")],
        [("endpoint", "till"), ("endpoint", "rival")],
        [("endpoint", "rival"), ("endpoint", "till")],
        [("endpoint", "till"), ("endpoint", "till")],
        [("endpoint", ""), ("endpoint", "")],
        [("endpoint", " till")],
        [("endpoint", "till"), ("of", "rival/7")],
        [("endpoint", "till"), ("of", "till/7"), ("of", "rival/7")],
        [("endpoint", "till"), ("of", "7")],
        [("endpoint", "till"), ("of", "till/rival/7")],
        [("endpoint", "till"), ("of", " till/7")],
        [("of", "rival/7")],
    ],
    ids=str,
)
def test_query_that_names_another_one_is_not(query: list[tuple[str, str]]) -> None:
    with pytest.raises(NotAdmitted):
        by_query(*query)


def test_handler_that_does_not_say_how_it_is_asked_is_closed() -> None:
    with pytest.raises(NotAdmitted):
        redirection("till", None, "/endpoints/till", {"name": "till"}, MultiDict())


def test_first_page_leads_to_that_of_the_endpoint() -> None:
    assert redirection("till", NamedBy.HOME, "/", {}, MultiDict()) == "/endpoints/till"


@pytest.mark.parametrize(
    "error",
    [NotFound("there is no endpoint til, did you mean rival?"), DatabaseUnavailable("10.0.0.5 does not respond"),
     InstallationError("role x"), StatementFailed("a statement failed"), BridgeError("/etc/ssl/till.pem")],
)  # fmt: skip
def test_error_that_may_be_about_something_else_is_not_told(error: BridgeError) -> None:
    assert error.problem not in told(error)
    assert "rival" not in told(error)


def test_error_about_what_was_asked_for_is_told_without_its_remedy() -> None:
    assert told(Conflict("7 was delivered", "cdc-bridge replay")) == "7 was delivered"
    assert told(WrongUsage("There is no state x")) == "There is no state x"


def test_vendor_sees_the_options_that_say_so_and_no_secret_nor_file_nor_proxy() -> None:
    assert {name for name, option in OPTIONS.items() if not option.for_vendor} == {
        "headers", "previous_secret", "proxy", "ca_file", "client_certificate_file", "client_key_file",
    }  # fmt: skip
    assert OPTIONS["secret"].json_key == "signed"


def test_changes_of_a_vendor_are_limited_and_those_of_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = VendorLimit()
    assert [limit.note("till", 0.5 * number) for number in range(MOST_CHANGES)] == [0.0] * MOST_CHANGES
    assert limit.note("till", 20.0) == 40.0
    assert limit.note("rival", 20.0) == 0.0
    assert limit.note("till", 60.0) == 0.0
    monkeypatch.setattr(portal, "_MOST_ENDPOINTS", 3)
    for number in range(10):
        limit.note(f"e{number}", 0.0)
    assert len(limit._at) == 3
