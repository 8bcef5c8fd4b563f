"""Examines a mapping file in a DBA's transaction: every fault that it has, with its line and what to write instead.

Each statement is tried by itself. What is wrong with it is corrected, or replaced by something that stands in for it,
and it is tried again; so one fault hides no other, and later statements find what they need. Whoever opens the
transaction rolls it back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.mapping_check.catalog import Catalog
from cdc_bridge.mapping_check.contract_problems import contract_problems
from cdc_bridge.mapping_check.fault import Correction, Fault, Found
from cdc_bridge.mapping_check.lexer import Kind, Token, tokens_of
from cdc_bridge.mapping_check.payload_faults import PayloadFaults
from cdc_bridge.mapping_check.payload_query import PayloadQuery
from cdc_bridge.mapping_check.source import Source
from cdc_bridge.mapping_check.statement_faults import attach_faults, grant_faults, worded
from cdc_bridge.mapping_check.statements import Call, call_in, grant_in, statements_of
from cdc_bridge.mapping_check.trial import Trial
from cdc_bridge.mapping_check.values import zone_in
from cdc_bridge.payload.definition import RESERVATION, payload_definition
from cdc_bridge.queries import load_queries
from cdc_bridge.vendor.contract import column_forms

_queries = load_queries(__name__)

_MOST_TRIES = 200


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of a mapping file, as it is reported."""

    line: int
    problem: str
    key: str
    """Of the payload, or the table of a join; empty: it is about none."""
    rejected: bool
    """The database rejects the mapping, whatever is allowed; otherwise it breaks the contract."""
    action: str
    """What to do; empty: nobody but the author can tell."""
    text: str
    """What to write; empty: nothing is written."""
    note: str
    """What else can be done."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found."""

    problems: tuple[Problem, ...]
    corrected: str | None
    """The file with all corrections; ``None``: something is left that nobody but the author can correct."""

    def not_allowed(self, allowed: Collection[str]) -> tuple[Problem, ...]:
        """Return the problems but those whose keys are allowed."""
        return tuple(problem for problem in self.problems if problem.rejected or problem.key not in allowed)


class _Examiner:
    def __init__(self, connection: AsyncConnection[TupleRow], text: str, *, installed: bool) -> None:
        self._trial = Trial(connection)
        self._catalog = Catalog(connection)
        self._file = text
        self._installed = installed
        self._zone = zone_in(text)
        self._faults: list[Fault] = []
        self._captured: list[str] = []
        self._failed_payloads: set[str] = set()
        self._found_reservation = False

    async def examine(self) -> Examination:
        parts = [await self._statement(part) for part in statements_of(Source.of_file(self._file))]
        if not self._found_reservation:
            await self._judge_definition()
        if parts and not any(token.is_word("attach") for token in tokens_of(self._file)):
            parts.append(await self._unattached())
        corrected = Source("", ())
        for part in parts:
            corrected = corrected + part
        return self._reported(corrected)

    async def _statement(self, statement: Source) -> Source:
        """Find the faults of a statement, and run it corrected; return it corrected."""
        first = next((token.start for token in tokens_of(statement.text)), 0)
        before, statement = statement.part(0, first), statement.part(first)
        tried: set[str] = set()
        while statement.text not in tried and len(tried) < _MOST_TRIES:
            tried.add(statement.text)
            found = await self._faults_of(statement)
            self._faults += [each.fault for each in found if each.fault is not None and each.fault not in self._faults]
            statements = [each.before for each in found if each.before]
            for each in statements:
                before = before + statement.added(f"{each}\n", 0)
                if await self._trial.run(each) is None:
                    tried.clear()
            statement = statement.edited(edit for each in found for edit in each.edits)
        return before + statement

    async def _judge_definition(self) -> None:
        """Judge what is defined, where the file does not define it in a way that can be read."""
        place = max(0, self._file.find("define_payload"))
        try:
            missing, misfits = contract_problems(await payload_definition(self._trial.connection, RESERVATION))
        except PayloadInvalid:
            self._faults.append(Fault(place, f'the mapping does not define the payload "{RESERVATION}"'))
        else:
            self._faults += [Fault(place, problem, key, rejected=False) for key, problem in (missing | misfits).items()]

    async def _unattached(self) -> Source:
        """Report it if capture is attached to no table, not by an earlier mapping either; return what to add."""
        cursor = await self._trial.connection.execute(_queries["how_to_attach"])
        found = await cursor.fetchone()
        if found is None:
            return Source("", ())
        end = len(self._file.rstrip())
        problem = "the mapping attaches capture to no table, so nothing would be sent"
        (statement,) = found
        if statement is None:
            self._faults.append(Fault(end - 1, problem, text="Add: select cdc_bridge.attach('SCHEMA.TABLE', 'KEY');"))
            return Source("", ())
        self._faults.append(Fault(end - 1, problem, correction=Correction.BELOW, text=statement))
        return Source.of_file(self._file).added(f"\n{statement}\n", end - 1)

    async def _faults_of(self, statement: Source) -> list[Found]:
        tokens = tokens_of(statement.text)
        if not tokens or all(token.is_symbol(";") for token in tokens):
            return []
        if tokens[-1].kind is Kind.UNCLOSED:
            token = tokens[-1]
            return [Found(Fault(statement.place(token.start), f"syntax error: {token.text} is not closed"))]
        invoked = call_in(tokens)
        if invoked is not None and invoked.function == "define_payload" and "query" in invoked.arguments:
            return await self._payload_faults(statement, invoked, statement.place(tokens[0].start))
        return [] if self._installed else await self._faults_of_run(statement, tokens, invoked)

    async def _faults_of_run(self, statement: Source, tokens: Sequence[Token], invoked: Call | None) -> list[Found]:
        """Run a statement, and return what is wrong with it."""
        grant = grant_in(tokens)
        if grant is not None and (found := await grant_faults(self._trial, self._catalog, statement, grant)):
            return found
        rejection = await self._trial.run(statement.text)
        if rejection is None:
            if invoked is not None and invoked.function == "attach":
                self._captured.append(invoked.arguments["reservations"].value)
            return []
        if invoked is not None and invoked.function in {"attach", "attach_related"}:
            captured = self._captured[0] if len(self._captured) == 1 else None
            if found := await attach_faults(self._catalog, statement, invoked, rejection, captured):
                return found
        position = tokens[0].start if rejection.position is None else rejection.position
        return [Found(Fault(statement.place(position), worded(rejection), text=rejection.hint))]

    async def _payload_faults(self, statement: Source, invoked: Call, place: int) -> list[Found]:
        name = invoked.arguments["name"].value if "name" in invoked.arguments else ""
        argument = invoked.arguments["query"]
        self._found_reservation = self._found_reservation or name == RESERVATION
        query = PayloadQuery.of(statement, argument)
        if self._failed_payloads & {base for _, _, base in query.payloads}:
            self._failed_payloads.add(name)  # It is judged once those are right.
            return []
        forms = column_forms() if name == RESERVATION else {}
        payload = PayloadFaults(self._trial, self._catalog, query, forms, self._zone)
        found = [
            Found(query.fault_in_statement(each.fault), [query.in_statement(edit) for edit in each.edits], each.before)
            for each in await payload.found()
        ]
        if found or self._installed:
            if any(each.fault is not None and not each.edits and not each.before for each in found):
                self._failed_payloads.add(name)
            return found
        rejection = await self._trial.run(statement.text)
        if rejection is None:
            self._failed_payloads.discard(name)
            return []
        self._failed_payloads.add(name)
        return [Found(Fault(place, worded(rejection), text=rejection.hint))]

    def _reported(self, corrected: Source) -> Examination:
        complete = all(fault.correction is not Correction.NONE for fault in self._faults)
        order = sorted(range(len(self._faults)), key=lambda number: (self._faults[number].place, number))
        problems = tuple(self._problem(self._faults[number], corrected) for number in order)
        return Examination(tuple(dict.fromkeys(problems)), corrected.text if complete else None)

    def _problem(self, fault: Fault, corrected: Source) -> Problem:
        line = self._line(fault.place)
        action, text, note = "", "", ""
        match fault.correction:
            case Correction.WRITE:
                action, text, note = "write", self._corrected_line(fault.place, corrected), fault.text
            case Correction.BELOW:
                action, text = f"add below line {line}", fault.text
            case Correction.BEHIND:
                action, text = f"add behind {fault.anchor}", fault.text
            case Correction.ABOVE:
                action, text = f"add above line {self._first_line(fault)}", fault.text
            case Correction.MOVE:
                action = f"move it {fault.text}"
            case Correction.REMOVE:
                action = "remove it"
            case Correction.NONE:
                note = fault.text
        return Problem(line, fault.problem, fault.key, fault.rejected, action, text, note)

    def _first_line(self, fault: Fault) -> int:
        """Return the line that the statement of a fault begins on, if what is added is a statement."""
        if not fault.text.startswith("grant "):
            return self._line(fault.place)
        position = 0
        for part in statements_of(Source.of_file(self._file)):
            if position <= fault.place < position + len(part):
                tokens = tokens_of(part.text)
                return self._line(position + (tokens[0].start if tokens else 0))
            position += len(part)
        return self._line(fault.place)

    def _line(self, place: int) -> int:
        return self._file.count("\n", 0, place) + 1

    def _corrected_line(self, place: int, corrected: Source) -> str:
        """Return what stands in the corrected file where a line stood."""
        start = self._file.rfind("\n", 0, place) + 1
        end = self._file.find("\n", place)
        end = len(self._file) if end < 0 else end
        lines: list[str] = []
        position = 0
        for line in corrected.text.splitlines(keepends=True):
            places = corrected.at[position : position + len(line)]
            own = any(start <= at < end and not character.isspace() for at, character in zip(places, line, strict=True))
            replaced = any(at < 0 and start <= ~at < end for at in places) and not any(at >= 0 for at in places[:-1])
            if own or (replaced and not lines):
                lines.append(line.rstrip())
            position += len(line)
        return "\n".join(lines)


async def examine(connection: AsyncConnection[TupleRow], text: str, *, installed: bool) -> Examination:
    """Find everything that is wrong with a mapping.

    Args:
        connection: A DBA's, in a transaction in which the schema without the mapping is installed.
        text: The mapping.
        installed: The mapping is installed as well, so that its statements need not be run.
    """
    return await _Examiner(connection, text, installed=installed).examine()
