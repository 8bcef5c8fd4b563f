"""Text that a terminal would obey or hide, as a writer of ids and notes can plant it."""

from __future__ import annotations

import re

TITLE_AND_CLEAR = "\x1b]0;PWNED\x07\x1b[2J"
CONTROLS = "".join(map(chr, [*range(1, 0x20), *range(0x7F, 0xA0)]))
DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
UNSEEN = "\u00ad\u034f\u115f\u180e\u200b\u200c\u200d\u2060\u2061\u3164\ufe0f\ufeff\ufff9\U000e0001\U000e0041\U000e0100"
BREAKS = "\x0b\x0c\r\x85\u2028\u2029"
PRIVATE = "\ue000\U000f0000\U0010fffd"
SURROGATES = "\udfff\ud800"

HOSTILE = TITLE_AND_CLEAR + CONTROLS + DIRECTIONS + UNSEEN + BREAKS + PRIVATE
"""Whatever PostgreSQL can store."""
UNSAFE = frozenset(HOSTILE + SURROGATES) - frozenset(map(chr, range(0x20, 0x7F)))
LETTERS = "Zoë 李 דָּנִי عَبْد Ωß ﬁ 🎂 e\u0301\u00a0\u3000"
"""Names as people have them."""

_OWN_CONTROLS = re.compile(r"\x1b\[\??[0-9;]*[mlhKA]")


def raw_in(printed: str, *, on_terminal: bool = False) -> set[str]:
    """Return what a command printed and should have escaped; line breaks and, on a terminal, colours are its own."""
    text = _OWN_CONTROLS.sub("", printed).replace("\r", "") if on_terminal else printed
    return {character for character in text if character in UNSAFE and character != "\n"}
