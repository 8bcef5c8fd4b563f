from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.table_layout import TableTexts, lay_out, wrap

COLUMNS = {"name": "left", "status": "left", "lag": "right", "last failure": "left"}
BELOW = ("last failure", "lag")
TILL = ("till", "failing, next attempt 12:00:01", "5 min", "cannot connect to till.example:443: connection refused")
BAR = ("bar", "healthy", "0 s", "")
LONG = ("n" * 63, *TILL[1:])


def laid_out(rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    texts = TableTexts(COLUMNS, [[(text, "") for text in row] for row in rows], BELOW)  # type: ignore[arg-type]
    return ["".join(text for text, _ in line) for line in lay_out(texts, width, len)]


def test_table_with_room_has_a_line_for_each_row() -> None:
    assert laid_out([TILL, BAR], 120) == [
        "name  status                            lag  last failure",
        "till  failing, next attempt 12:00:01  5 min  cannot connect to till.example:443: connection refused",
        "bar   healthy                           0 s",
    ]


def test_prose_wraps_between_words_first() -> None:
    assert laid_out([TILL, BAR], 80) == [
        "name  status                            lag  last failure",
        "till  failing, next attempt 12:00:01  5 min  cannot connect to till.example:443:",
        "                                             connection refused",
        "bar   healthy                           0 s",
    ]


def test_what_has_no_room_stands_below_its_row_with_its_heading() -> None:
    assert laid_out([TILL, BAR], 50) == [
        "name  status                            lag",
        "till  failing, next attempt 12:00:01  5 min",
        "  last failure: cannot connect to",
        "  till.example:443: connection refused",
        "bar   healthy                           0 s",
    ]


def test_long_name_stands_above_its_row_and_moves_no_other() -> None:
    lines = laid_out([TILL, LONG], 80)
    assert lines[:3] == laid_out([TILL], 80)
    assert lines[3] == "n" * 63
    assert lines[4].startswith("      failing, next attempt 12:00:01  5 min  cannot connect to")


def test_without_a_terminal_a_row_is_a_line_however_long() -> None:
    heading, row, _ = laid_out([LONG, BAR], None)
    assert row == "  ".join(LONG)
    assert heading.index("status") == row.index("failing")


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_nothing_is_left_out_at_any_width(width: int) -> None:
    shown = " ".join(laid_out([LONG, BAR, TILL], width))
    for text in (*LONG, *TILL, *BAR):
        squeezed = re.sub(r"\s", "", text)
        assert squeezed in re.sub(r"\s|·|name|status|lag:?|lastfailure:", "", shown) or all(
            word in shown for word in text.split()
        )


def test_word_longer_than_a_line_is_broken_behind_a_separator() -> None:
    assert wrap("room=Restaurant,Terrace,Bar", 16, len) == ["room=Restaurant,", "Terrace,Bar"]
    assert wrap("see " + "x" * 25, 10, len) == ["see xxxxxx", "x" * 10, "x" * 9]


texts = st.text(alphabet="ab, :/é", max_size=150)


@given(st.lists(st.tuples(texts, texts, texts, texts), max_size=8), st.integers(min_value=12, max_value=200))
def test_no_line_exceeds_the_width(rows: list[tuple[str, str, str, str]], width: int) -> None:
    assert [line for line in laid_out(rows, width) if len(line) > width] == []


@given(texts, st.integers(min_value=1, max_value=60))
def test_wrapped_text_keeps_every_character(text: str, width: int) -> None:
    lines = wrap(text, width, len)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(len(line) <= width for line in lines)
