"""Text that may be shown: what a terminal, a log viewer or a browser would obey or hide is escaped.

Ids, notes, headers and error texts are written by others. Controls, marks of writing direction, characters that show
nothing, private and unassigned ones become escapes; letters of every script stay as they are. The notation is JSON's:
JSON stays valid, with the same value.
"""

from __future__ import annotations

import re
import unicodedata

# Letters and marks that show nothing: fillers, joiners and variation selectors.
_INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_SUSPECT = re.compile(rf"[{_INVISIBLE}]|[^\w -~]")
_IS_INVISIBLE = re.compile(f"[{_INVISIBLE}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escaped(text: str, *, keep: str = "") -> str:
    """Return a text with everything escaped that does not show itself as it is.

    Args:
        text: The text, of any origin.
        keep: Characters to keep, such as the line breaks of a text that is ours.
    """
    return _SUSPECT.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(character: str) -> str:
    if not _IS_INVISIBLE.match(character) and (character.isprintable() or unicodedata.category(character) == "Zs"):
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return _SHORT.get(character) or "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
