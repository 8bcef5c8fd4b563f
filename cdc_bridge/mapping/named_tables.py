"""Which table somebody names for a role; and why a name cannot be meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from cdc_bridge.did_you_mean import did_you_mean
from cdc_bridge.errors import NotFound, WrongUsage
from cdc_bridge.mapping.catalogue import Catalogue, Other, Table
from cdc_bridge.mapping.tables import ranked

NONE = "none"
"""In place of a table's name: there is none."""

_OPTIONS = {"reservation": "--table", "customer": "--customer", "call": "--call"}
_MOST_SHOWN = 30
"""Tables that an error names."""


def named_table(
    catalogue: Catalogue, role: str, name: str, others: Mapping[str, Table | None] = MappingProxyType({})
) -> Table | None:
    """Return the table that somebody names for a role; ``None``: there is none.

    Args:
        catalogue: The catalogue.
        role: The role.
        name: The name.
        others: The tables that have other roles, named or guessed. With a second role, a row would be joined to itself,
            or twice by the same column: each customer would be a call as well.

    Raises:
        NotFound: Nothing has that name.
        WrongUsage: Several tables have it, or what has it is no table by itself or has another role.
    """
    if name == NONE and role != "reservation":
        return None
    found = catalogue.named(name) or catalogue.others_named(name)
    if not found:
        tables = list(map(str, catalogue.tables.values()))
        shown = ", ".join([*tables[:_MOST_SHOWN], *(["..."] if len(tables) > _MOST_SHOWN else [])])
        known = [*tables, *(each.name for each in catalogue.tables.values())]
        raise NotFound(f"there is no table {name}{did_you_mean(name, known)}", f"Tables: {shown}")
    if len(found) > 1:
        raise WrongUsage(f"there are several tables {name}: write {_either(found)}")
    (one,) = found
    if isinstance(one, Other):
        raise _unfit(one, role, catalogue.tables_below(one), others)
    for other_role, table in others.items():
        if one is table:
            raise WrongUsage(
                f"{one} cannot hold the {role}s: it is the table of the {other_role}s",
                f"Name another one, or none: {_OPTIONS[role]} TABLE; or another one for the {other_role}s: "
                f"{_OPTIONS[other_role]} TABLE",
            )
    return one


def _unfit(other: Other, role: str, below: Sequence[Table], others: Mapping[str, Table | None]) -> WrongUsage:
    """Return the error of something that is no table by itself, with the tables below it that may be meant."""
    option = _OPTIONS[role]
    if other.kind == "partition":
        return WrongUsage(f"{other} is a partition", f"Name its whole table: {option} {_either(below)}")
    free = [table for table in below if table not in others.values()]
    likely = f"{option} {_either(ranked(role, free) or free)}" if free else ""
    if role != "reservation":
        return WrongUsage(
            f"{other} is a {other.kind}: nothing in the catalogue says how it is joined",
            f"Draft with a table below it, and write the {other.kind} in its place: {likely}"
            if likely
            else f"Draft without it, and join it by hand: {option} {NONE}",
        )
    if likely:
        remedy = f"Name the table below it: {likely}"
    elif other.kind == "foreign table":
        remedy = "Draft in the database that holds the table, and install cdc-bridge there."
    else:
        remedy = f"Name the table that e-Res writes to: {option} SCHEMA.TABLE"
    return WrongUsage(f"{other} is a {other.kind}: capture can be attached to tables only", remedy)


def _either(tables: Iterable[object]) -> str:
    return " or ".join(map(str, tables))
