"""Which part of each option is encrypted, and where it can be decrypted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import sampled_from, text

from cdc_bridge.endpoints.option import Option
from cdc_bridge.endpoints.options import OPTIONS, UnusableOption
from cdc_bridge.endpoints.secrets_cipher import NO_KEYS, SecretsCipher, key_id_of
from cdc_bridge.endpoints.stored_secrets import WITH_SECRETS, decrypted, encrypted, secrets_in

CIPHER = SecretsCipher([bytes(32)])
URL = "https://till.example/reservations?token=of-the-url"
PLAIN: dict[str, Any] = {
    "name": "till",
    "url": URL,
    "headers": ["X-Api-Key: of-a-header", "X-Tenant:5"],
    "secret": "whsec_of-signatures",
    "previous_secret": "whsec_of-before",
    "proxy": "http://user:of-the-proxy@proxy:3128",
    "max_in_flight": 3,
    "ca_file": None,
}
SECRETS = ["token=of-the-url", "of-a-header", "5", "whsec_of-signatures", "whsec_of-before", "user:of-the-proxy"]


@pytest.fixture
def row() -> dict[str, Any]:
    return encrypted(CIPHER, "till", PLAIN, url=URL)


def test_every_option_that_is_not_shown_whole_has_a_secret_part_and_no_other() -> None:
    assert [*WITH_SECRETS] == [option for option in OPTIONS.values() if option.secret or option.mask is not None]


def test_secrets_are_encrypted_and_nothing_else(row: dict[str, Any]) -> None:
    assert sorted(secrets_in(PLAIN)) == sorted(SECRETS)
    assert [key_id_of(secret) for secret in secrets_in(row)] == [CIPHER.newest] * len(SECRETS)
    assert [secret for secret in SECRETS if len(secret) > 1 and secret in str(row)] == []
    assert row["url"].startswith("https://till.example/reservations?encrypted1.")
    assert [line.partition("encrypted1.")[0] for line in row["headers"]] == ["X-Api-Key: ", "X-Tenant:"]
    assert (row["proxy"][:18], row["proxy"][-11:]) == ("http://encrypted1.", "@proxy:3128")
    assert (row["max_in_flight"], row["ca_file"], row["name"]) == (3, None, "till")
    assert decrypted(CIPHER, row) == PLAIN


def test_what_may_be_shown_takes_no_key(row: dict[str, Any]) -> None:
    for option in WITH_SECRETS:
        if option.conceal is not None:
            assert option.concealed(row[option.name]) == option.concealed(PLAIN[option.name])
        if option.mask is not None:
            assert option.shown(row[option.name]) == option.shown(PLAIN[option.name])


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"name": "bar"}, "url"),
        ({"url": "https://other.example/reservations"}, "headers"),
        ({"url": "https://till.example:8443/"}, "headers"),
        ({"url": "https://till.example:port/"}, "headers"),
    ],
)
def test_row_cannot_be_made_another_endpoint_s_or_lead_to_another_server(
    change: dict[str, Any], option: str, row: dict[str, Any]
) -> None:
    with pytest.raises(UnusableOption, match=f"^{option} cannot be decrypted"):
        decrypted(CIPHER, row | change)


def test_secret_cannot_be_moved_to_another_header_proxy_or_url(row: dict[str, Any]) -> None:
    line = row["headers"][0]
    for name, value in (
        ("headers", [line.replace("X-Api-Key", "X-Other")]),
        ("headers", [f"X-Other: {line.partition(': ')[2]}"]),
        ("proxy", row["proxy"].replace("proxy:3128", "other:3128")),
        ("proxy", f"http://{row['secret']}@proxy:3128"),
        ("url", row["url"].replace("till.example", "other.example")),
        ("secret", line.partition(": ")[2]),
    ):
        with pytest.raises(UnusableOption, match=f"^{name} cannot be decrypted"):
            decrypted(CIPHER, row | {name: value})


def test_rotation_moves_the_secret_as_it_is_stored(row: dict[str, Any]) -> None:
    assert decrypted(CIPHER, row | {"previous_secret": row["secret"]})["previous_secret"] == PLAIN["secret"]


def test_rest_of_a_path_may_change_where_the_query_is_plain() -> None:
    row = encrypted(CIPHER, "till", {"headers": PLAIN["headers"]}, url="https://till.example")
    assert (
        decrypted(CIPHER, {**row, "name": "till", "url": "https://TILL.example:443/v2"})["headers"] == PLAIN["headers"]
    )


def test_plain_values_among_encrypted_ones_are_read(row: dict[str, Any]) -> None:
    assert decrypted(CIPHER, row | {"secret": "whsec_of-psql"})["secret"] == "whsec_of-psql"
    assert decrypted(NO_KEYS, PLAIN) == encrypted(NO_KEYS, "till", PLAIN, url=URL) == PLAIN


def test_what_cannot_be_decrypted_stays_as_it_is_where_that_is_asked_for(row: dict[str, Any]) -> None:
    assert decrypted(NO_KEYS, row, keep_others=True) == row
    with pytest.raises(
        UnusableOption, match=r"^url is encrypted with key .*, and the setting secrets_key_file is not set"
    ):
        decrypted(NO_KEYS, row)


@given(
    sampled_from(WITH_SECRETS), text(), sampled_from(["{}", "x: {}", "http://{}", "{}@x", "https://x?{}", "{}: x@y?z"])
)
def test_whatever_psql_wrote_comes_back(option: Option, written: str, around: str) -> None:
    value = around.format(written)
    stored: dict[str, Any] = {"name": "till", "url": URL, option.name: value}
    if option.name == "headers":
        stored["headers"] = [value, None, [value]]
    assert decrypted(CIPHER, encrypted(CIPHER, "till", stored, url=stored["url"])) == stored
