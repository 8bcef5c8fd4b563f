from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from cdc_bridge.escaping import escaped
from tests.support.hostile import HOSTILE, LETTERS, SURROGATES


def test_letters_of_every_script_stay_as_they_are() -> None:
    text = LETTERS + r" \ \u202e ' \" <b> [red]"
    assert escaped(text) == text


@pytest.mark.parametrize("character", HOSTILE + SURROGATES)
def test_control_or_unseen_character_becomes_ascii(character: str) -> None:
    shown = escaped(character)
    assert shown.isascii()
    assert shown.isprintable()
    assert json.loads(f'"{shown}"') == character


def test_nothing_unprintable_is_left_but_spaces() -> None:
    left = {each for each in escaped("".join(map(chr, range(sys.maxunicode + 1)))) if not each.isprintable()}
    assert {unicodedata.category(each) for each in left} == {"Zs"}


def test_json_stays_json_with_the_same_value() -> None:
    value = {HOSTILE: [LETTERS + HOSTILE, '"\\\u202e"']}
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=2)):
        shown = escaped(text, keep="\n")
        assert json.loads(shown) == value
        assert escaped(shown, keep="\n") == shown
        assert "\x7f" not in shown


def test_line_breaks_are_kept_only_if_they_are_ours() -> None:
    assert escaped("a\nb\tc\r") == r"a\nb\tc\r"
    assert escaped("a\nb\x1b", keep="\n") == "a\nb\\u001b"
