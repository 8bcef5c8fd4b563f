from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest

from cdc_bridge.mapping.words import SURE, TAKEN_FROM, slug, terms, vocabulary, words_of
from cdc_bridge.vendor.contract import column_forms


@pytest.mark.parametrize(
    "name", ["first_name", "firstName", "FirstName", "FIRST_NAME", "first-names", "First Name", "fst_nm"], ids=str
)
def test_spelling_does_not_matter(name: str) -> None:
    assert words_of(name) == ("first", "name")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Gäste", "gaeste"),
        ("Straße", "strasse"),
        ("Reservierungen", "Reservierung"),
        ("prenotazioni", "prenotazione"),
        ("annulée", "annulé"),
        ("kundennr", "kunden_nummer"),
        ("guestid", "guest_id"),
        ("allergies", "allergy"),
    ],
)
def test_forms_of_a_word_are_the_same(one: str, other: str) -> None:
    assert words_of(one) == words_of(other)


@pytest.mark.parametrize("name", ["mahlzeit", "paid", "void", "grid"])
def test_word_that_looks_like_a_compound_stays_whole(name: str) -> None:
    assert words_of(name) == (name,)


def test_name_of_fillers_alone_keeps_a_word() -> None:
    assert words_of("is_at") == ("is",)


@pytest.mark.parametrize(
    ("key", "name", "comment"),
    [
        ("datetime", "starts_at", ""),
        ("datetime", "Beginn", ""),
        ("customer.firstname", "prénom", ""),
        ("customer.surname", "apellidos", ""),
        ("customer.postcode", "PLZ", ""),
        ("allergies", "allergie_note", ""),
        ("adults", "volwassenen", ""),
        ("high_chair", "khs", "Kinderhochstuhl, Anzahl"),
        ("walkin", "lk", "Laufkundschaft"),
        ("customer.title", "form_of_address", ""),
        ("customer.title", "SALUTN", ""),
        ("customer.address1", "ADDR_LN_1", ""),
        ("customer.postcode", "PSTCD", ""),
        ("customer.postcode", "kod_pocztowy", ""),
        ("customer.regular", "RGLR_IND", ""),
        ("customer.inspector", "mystery_diner", ""),
        ("customer.terms_agreed", "t_and_c_at", ""),
        ("customer.surname", "sukunimi", ""),
        ("taken_by", "TKN_BY", ""),
        ("datetime", "data_e_hora", ""),
        ("children", "antal_boern", ""),
        ("allergies", "food_alerts", ""),
        ("cancelled", "avbokad", ""),
        ("arrived", "ARVD_TMSTMP", ""),
        ("departed", "went_at", ""),
        ("deleted", "struck_off", ""),
        ("amount_spend", "valor_da_conta", ""),
        ("deposit_paid", "deposit_captured", ""),
        ("vouchers", "darkovy_poukaz", ""),
    ],
)
def test_column_is_recognised(key: str, name: str, comment: str) -> None:
    assert vocabulary().keys[key].likeness(words_of(name), (), words_of(comment) if comment else ()) >= TAKEN_FROM


@pytest.mark.parametrize("key", sorted(vocabulary().keys))
def test_name_without_a_gap_is_recognised(key: str) -> None:
    """PostgreSQL makes lastname of LastName without quotes."""
    known = tomllib.loads(files("cdc_bridge.mapping").joinpath("vocabulary.toml").read_text(encoding="utf-8"))
    terms_ = vocabulary().keys[key]
    for name in [*known["keys"][key].get("names", ()), *known["keys"][key].get("weak", ())]:
        assert terms_.likeness(words_of(name.replace(" ", ""))) >= TAKEN_FROM, name


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("datetime", "birth_date"),
        ("reference", "table_number"),
        ("status", "payment_state"),
        ("customer.title", "job_title"),
        ("type", "card_type"),
    ],
)
def test_common_word_among_others_is_not_enough(key: str, name: str) -> None:
    assert vocabulary().keys[key].likeness(words_of(name)) < TAKEN_FROM


def test_context_in_front_says_nothing() -> None:
    names = terms(["status"])
    assert names.likeness(words_of("booking_status"), {"booking"}) > SURE
    assert names.likeness(words_of("payment_status"), {"booking"}) < TAKEN_FROM


def test_weak_term_counts_half() -> None:
    assert terms(["surname"], ["name"]).likeness(("name",)) == pytest.approx(0.55)


@pytest.mark.parametrize("name", ["no_mailing", "optOut", "DO_NOT_EMAIL", "keine_werbung", "uitgeschreven"])
def test_column_that_says_the_opposite_is_recognised(name: str) -> None:
    assert vocabulary().other("customer.mailing", "inverse").says(words_of(name))


@pytest.mark.parametrize("unit", ["hundredths", "hours", "seconds", "milliseconds"])
def test_time_is_no_unit(unit: str) -> None:
    """The words hora and ora mean both, and turn_time is in minutes."""
    assert "time" not in vocabulary().units[unit]


def test_every_key_of_the_vocabulary_is_one_of_the_contract() -> None:
    of_tables = {"id", "cust_id", "customer.id", "call.call_id", "call.restaurant_id"}
    assert set(vocabulary().keys) == set(column_forms()) - of_tables


def test_slug_is_an_identifier() -> None:
    assert slug("Öffnungs Zeiten-2") == "offnungs_zeiten_2"
