"""What is wrong with a statement of a mapping file other than a payload's query: grants, ``attach`` and all others."""

from __future__ import annotations

import re

from cdc_bridge.did_you_mean import nearest
from cdc_bridge.mapping_check.catalog import Catalog, Table
from cdc_bridge.mapping_check.fault import Correction, Fault, Found
from cdc_bridge.mapping_check.lexer import Token, tokens_of
from cdc_bridge.mapping_check.source import Edit, Source
from cdc_bridge.mapping_check.statements import Argument, Call, Grant
from cdc_bridge.mapping_check.trial import Rejection, Trial
from cdc_bridge.sql_names import quoted

_TABLE_OF = {"key": "reservations", "reservation_key": "related", "via": "reservations"}
"""For an argument that names a column: the argument that names its table."""
_HAVE_ONE_PROPOSED = (
    "If your tables have other names, have a mapping proposed: cdc-bridge mapping draft > my-mapping.sql"
)


async def grant_faults(trial: Trial, catalog: Catalog, statement: Source, grant: Grant) -> list[Found]:
    """Try a grant for each of its objects alone, so that each one that does not exist is named."""
    text = statement.text
    rejected: dict[int, tuple[Rejection, str | None]] = {}
    for number, tokens in enumerate(grant.objects):
        head, tail = text[slice(*grant.head)], text[slice(*grant.tail)]
        written = text[tokens[0].start : tokens[-1].end]
        rejection = await trial.run(f"{head} {written} {tail}")
        if rejection is not None:
            is_unknown = rejection.sqlstate in {"42P01", "3F000"}
            meant = await _object_meant(catalog, tokens, of_schemas=grant.of_schemas) if is_unknown else None
            rejected[number] = rejection, meant
    # If there is nothing to grant a right on, nothing that could stand there is known.
    is_hopeless = len(rejected) == len(grant.objects) and not any(meant for _, meant in rejected.values())
    found: list[Found] = []
    for number, (rejection, meant) in rejected.items():
        tokens = grant.objects[number]
        place = statement.place(tokens[0].start)
        if is_hopeless:
            found.append(Found(Fault(place, worded(rejection), text=rejection.hint)))
            continue
        if meant is None:
            start, end = tokens[0].start, tokens[-1].end
            if number:
                start = grant.objects[number - 1][-1].end
            else:
                end = grant.objects[1][0].start
            fault = Fault(place, worded(rejection), correction=Correction.WRITE)
            found.append(Found(fault, (Edit(start, end, ""),)))
            continue
        fault = Fault(place, f"{worded(rejection)}; did you mean {meant}?", correction=Correction.WRITE)
        found.append(Found(fault, (Edit(tokens[0].start, tokens[-1].end, meant),)))
    return found


async def _object_meant(catalog: Catalog, tokens: tuple[Token, ...], *, of_schemas: bool) -> str | None:
    if of_schemas:
        return await catalog.schema_meant(tokens[0].name)
    return await catalog.table_meant([token.name for token in tokens if token.text != "."])


async def attach_faults(
    catalog: Catalog, statement: Source, invoked: Call, rejection: Rejection, captured: str | None
) -> list[Found]:
    """Return what is wrong with the arguments of ``attach`` or ``attach_related``, which was rejected.

    Args:
        catalog: Finds names that were likely meant.
        statement: The statement.
        invoked: The function with its arguments.
        rejection: What PostgreSQL says.
        captured: The table that capture is attached to, if there is one only.
    """
    found: list[Found] = []
    tables: dict[str, Table | None] = {}
    for name in ("reservations", "related"):
        if name not in invoked.arguments:
            continue
        argument = invoked.arguments[name]
        tables[name] = await catalog.table(argument.value)
        if tables[name] is None:
            path = [token.name for token in tokens_of(argument.value) if token.is_name]
            meant = await catalog.table_meant(path) if path else None
            problem = f"table {argument.value} does not exist"
            found.append(_replaced(statement, argument, problem, meant, _HAVE_ONE_PROPOSED))
            tables[name] = await catalog.table(meant) if meant is not None else None
    if invoked.function == "attach_related" and "reservations" not in invoked.arguments and captured is not None:
        tables["reservations"] = await catalog.table(captured)
    for name, table_name in _TABLE_OF.items():
        argument_ = invoked.arguments.get(name)
        table = tables.get("related" if invoked.function == "attach_related" and name == "key" else table_name)
        if argument_ is None or table is None or argument_.value in table.columns:
            continue
        meant = nearest(argument_.value, table.columns)
        if name == "key" and table.unique and len(table.unique[0]) == 1:
            meant = table.unique[0][0]
        problem = f'table {table.name} has no column "{argument_.value}"'
        found.append(_replaced(statement, argument_, problem, meant))
    table = tables.get("reservations")
    if not found and invoked.function == "attach" and table is not None and "key" in invoked.arguments:
        found += _unfit_key(statement, invoked.arguments["key"], table, rejection)
    return found


def _unfit_key(statement: Source, argument: Argument, table: Table, rejection: Rejection) -> list[Found]:
    """Return why a column cannot be the key; ``attach`` names one reason only."""
    problems = {rejection.problem: rejection.hint}
    if not table.columns[argument.value] and "nullable" not in rejection.problem:
        problems[f'column "{argument.value}" of table {table.name} is nullable'] = ""
    if (argument.value,) not in table.unique and "unique" not in rejection.problem and "index" not in rejection.problem:
        problems[f'column "{argument.value}" of table {table.name} has no unique index of its own'] = (
            f"create unique index concurrently on {table.name} ({quoted(argument.value)});"
        )
    place = statement.place(argument.token.start)
    primary = table.unique[0][0] if table.unique and len(table.unique[0]) == 1 else None
    if primary is not None and primary != argument.value and table.columns[primary]:
        edit = Edit(argument.token.start, argument.token.end, f"'{primary}'")
        first, *others = problems
        return [
            Found(Fault(place, first, correction=Correction.WRITE), (edit,)),
            *(Found(Fault(place, other, correction=Correction.WRITE)) for other in others),
        ]
    return [Found(Fault(place, problem, text=hint)) for problem, hint in problems.items()]


def _replaced(statement: Source, argument: Argument, problem: str, meant: str | None, note: str = "") -> Found:
    place = statement.place(argument.token.start)
    if meant is None:
        return Found(Fault(place, problem, text=note))
    literal = "'" + meant.replace("'", "''") + "'"
    edit = Edit(argument.token.start, argument.token.end, literal)
    return Found(Fault(place, f"{problem}; did you mean {meant}?", correction=Correction.WRITE), (edit,))


def worded(rejection: Rejection) -> str:
    """Return what PostgreSQL says, with the word for a table that people use."""
    return re.sub(r'^relation "(.*)" does not exist$', r"table \1 does not exist", rejection.problem)
