"""The edits that bring a payload's columns into the contract's order, and add those that are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cdc_bridge.mapping_check.payload_query import PayloadQuery
from cdc_bridge.mapping_check.query_text import Item, QueryText
from cdc_bridge.mapping_check.source import Edit, Source


@dataclass(slots=True)
class _Addition:
    """What comes behind a column that stays; each as it is to stand there, without a comma."""

    texts: list[Source] = field(default_factory=list)


def arrangement_edits(
    query: PayloadQuery,
    parts: QueryText,
    items: Mapping[str, Item],
    behind: Mapping[str, str | None],
    missing: Mapping[str, str],
) -> list[Edit]:
    """Return the edits of the query.

    Args:
        query: The query.
        parts: Its parts.
        items: Those of the contract, by key.
        behind: For each key that is missing or elsewhere: the key that it follows.
        missing: For each key that is missing, the whole column.
    """
    all_items = parts.items
    additions: dict[str | None, _Addition] = {}
    for key, before in behind.items():
        anchor = before
        while anchor is not None and anchor in behind:
            anchor = behind[anchor]
        if key in items:
            text = query.source.part(items[key].start, items[key].end)
        else:
            text = query.source.added(missing[key], items[anchor].end if anchor else all_items[0].start)
        additions.setdefault(anchor, _Addition()).texts.append(text)

    moved = [items[key] for key in behind if key in items]
    staying = [item for item in all_items if item not in moved]
    edits: list[Edit] = []
    edits += [query.removal(item) for item in moved]
    last = all_items[-1]
    at_end = next((anchor for anchor in additions if anchor and staying and items[anchor] is staying[-1]), None)
    if last in staying and at_end is not None:
        edits.append(Edit(last.end, last.end, ","))
    if last not in staying and at_end is None and staying and staying[-1].comma is not None:
        comma = staying[-1].comma
        edits.append(Edit(comma.start, comma.end, ""))
    for anchor, addition in additions.items():
        if anchor is None or not staying:
            edits += _in_front(query, all_items[0], addition.texts, alone=not staying)
        else:
            edits += _behind(query, items[anchor], addition.texts, is_last=anchor == at_end)
    return edits


def _in_front(query: PayloadQuery, item: Item, texts: list[Source], *, alone: bool) -> list[Edit]:
    indentation = query.indentation(item.start) or "  "
    new = Source("", ())
    for number, text in enumerate(texts):
        comma = "" if alone and number + 1 == len(texts) else ","
        new = new + text + query.source.added(f"{comma}\n{indentation}", item.start)
    return [Edit(item.start, item.start, new)]


def _behind(query: PayloadQuery, item: Item, texts: list[Source], *, is_last: bool) -> list[Edit]:
    end = item.comma.end if item.comma is not None else item.end
    on_its_own_line = query.rest_is_blank(end)
    position = query.line(end)[1] if on_its_own_line else end
    indentation = query.indentation(item.start) or "  "
    new = Source("", ())
    for number, text in enumerate(texts):
        comma = "" if is_last and number + 1 == len(texts) else ","
        new = new + query.source.added(f"\n{indentation}" if on_its_own_line else " ", item.start)
        new = new + text + query.source.added(comma, item.start)
    return [Edit(position, position, new)]
