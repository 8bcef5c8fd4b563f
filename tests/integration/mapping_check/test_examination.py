"""Everything that is wrong with a mapping is found at once, with its line and what to write instead."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cdc_bridge.mapping_check.examination import Examination, Problem
from cdc_bridge.mapping_check.report import MappingFaulty, MappingVerdict
from cdc_bridge.schema.install import dry_run
from cdc_bridge.schema.sql_text import sql_folder
from tests.e2e.test_mapping_guide import Case, cases
from tests.support.databases import Database
from tests.support.workload import chosen_seed

SHIPPED = (sql_folder() / "mapping.sql").read_text(encoding="utf-8")
NOTHING = Examination((), None)
ATTACH = "select cdc_bridge.attach('public.reservations', 'id');"


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what stands where in the shipped mapping, what is reported, and what to write instead."""

    right: str
    wrong: str
    problem: str
    """Of its line, which is the first one that differs."""
    fix: str
    key: str = ""
    below: int = 0
    """How many lines below the first one that differs."""


def a_line(text: str) -> str:
    return f"  {text},\n"


KINDS = {
    "key is missing": Kind(
        a_line('c.title as "customer.title"'), "", "customer.title is missing", 'c.title as "customer.title",',
        "customer.title", -1,
    ),
    "first key is missing": Kind(
        a_line('c.id as "customer.id"'), "", "customer.id is missing", 'c.id as "customer.id",', "customer.id",
    ),
    "last key is missing": Kind(
        ',\n  k.provider_sid as "call.provider_sid"\n', "\n", "call.provider_sid is missing",
        'k.provider_sid as "call.provider_sid",', "call.provider_sid",
    ),
    "key in another place": Kind(
        a_line("r.room_id") + a_line("r.room_name"), a_line("r.room_name") + a_line("r.room_id"),
        "room_name is in the wrong place: it follows room_id", "", "room_name",
    ),
    "key at the end": Kind(
        '  k.ext_sid as "call.ext_sid",\n  k.provider_sid as "call.provider_sid"\n',
        '  k.provider_sid as "call.provider_sid",\n  k.ext_sid as "call.ext_sid"\n',
        "call.provider_sid is in the wrong place: it follows call.ext_sid", "", "call.provider_sid",
    ),
    "text in place of a number": Kind(
        a_line("r.adults"), a_line("r.status as adults"), "adults is text, not count",
        "nullif(r.status, '')::integer as adults,", "adults",
    ),
    "number cast to text for a key": Kind(
        a_line("r.cust_id"), a_line("coalesce(r.reference::text, '') as cust_id"),
        "cust_id is text such as '1', not keyOrNone", "r.reference as cust_id,", "cust_id",
    ),
    "number cast to text for a flag": Kind(
        a_line("r.requested"), a_line("cast(r.wheelchair as text) as requested"),
        "requested is text such as '1', not flag", "(r.wheelchair <> 0) as requested,", "requested",
    ),
    "time without a zone": Kind(
        a_line("r.datetime"), a_line("r.datetime::timestamp as datetime"),
        'column "datetime" is of type timestamp without time zone, which cannot be written as JSON',
        "r.datetime::timestamp at time zone 'Europe/London' as datetime,",
    ),
    "sum of a date and a time": Kind(
        a_line("r.updated"), a_line("date '2021-02-22' + time '20:30' as updated"),
        'column "updated" is of type timestamp without time zone, which cannot be written as JSON',
        "(date '2021-02-22' + time '20:30') at time zone 'Europe/London' as updated,",
    ),
    "array": Kind(
        a_line("r.tables"), a_line("array[r.tables, '2'] as tables"),
        'column "tables" is of type text[], which cannot be written as JSON',
        "array_to_string(array[r.tables, '2'], ', ') as tables,",
    ),
    "join that can multiply rows": Kind(
        "left join public.calls k on k.call_id = r.call_id\n",
        "left join public.calls k on k.restaurant_id = r.call_id\n",
        "the join of public.calls can multiply rows: no unique index covers (restaurant_id)",
        "left join lateral (select k.* from public.calls k where k.restaurant_id = r.call_id "
        "order by k.call_id limit 1) k on true",
        "public.calls",
    ),
    "object that is never null": Kind(
        a_line('k.number as "call.number"'), a_line("coalesce(k.number, '') as \"call.number\""),
        "call.number is never null, so call is never null, even where there is none",
        'k.number as "call.number",', "call.number",
    ),
    "object that a constant keeps from being null": Kind(
        a_line('k.ext_sid as "call.ext_sid"'), a_line("'none' as \"call.ext_sid\""),
        "call.ext_sid is never null, so call is never null, even where there is none",
        'null::text as "call.ext_sid",', "call.ext_sid",
    ),
    "number that may be null": Kind(
        a_line("r.high_chair"), a_line("null::integer as high_chair"),
        "high_chair may be null, which the contract does not allow", "0 as high_chair,", "high_chair",
    ),
    "unknown column": Kind(
        a_line("r.meal_name"), a_line("r.mealname as meal_name"),
        "column r.mealname does not exist; did you mean r.meal_name?", "r.meal_name as meal_name,",
    ),
    "unknown column under its own name": Kind(
        a_line("r.promotion"), a_line("r.promotions"),
        "column r.promotions does not exist; did you mean r.promotion?", "r.promotion,",
    ),
    "column that nothing is like": Kind(
        a_line("r.allergies"), a_line("r.xyz as allergies"),
        "column r.xyz does not exist, nor is there one like it", "'' as allergies,",
    ),
    "unknown alias": Kind(
        a_line("r.deposit_due"), a_line("x.deposit_due"),
        'missing FROM-clause entry for table "x"; did you mean r.deposit_due?', "r.deposit_due,",
    ),
    "ambiguous column": Kind(
        a_line("r.created"), a_line("created"),
        'column reference "created" is ambiguous; did you mean r.created?', "r.created,",
    ),
    "unknown table": Kind(
        "left join public.customers c on", "left join public.customer c on",
        "table public.customer does not exist; did you mean public.customers?",
        "left join public.customers c on c.id = r.cust_id",
    ),
    "table without its schema": Kind(
        "from public.reservations r\n", "from reservations r\n",
        "table reservations does not exist; did you mean public.reservations?", "from public.reservations r",
    ),
    "comma is missing": Kind(
        a_line("r.walkin"), "  r.walkin\n", "syntax error: a comma is missing", "r.walkin,",
    ),
    "comma too many": Kind(
        a_line("r.vouchers"), "  r.vouchers,,\n", "a comma has no column beside it", "r.vouchers,",
    ),
    "parenthesis is missing": Kind(
        a_line("r.notes"), a_line("coalesce(r.notes, '' as notes"), 'syntax error: "(" is not closed',
        "coalesce(r.notes, '') as notes,",
    ),
    "parenthesis too many": Kind(
        a_line("r.codes"), a_line("coalesce(r.codes, '')) as codes"), 'syntax error: ")" closes nothing',
        "coalesce(r.codes, '') as codes,",
    ),
    "column selected twice": Kind(
        a_line("r.stripe_token"), a_line("r.stripe_token") + a_line("r.vouchers as stripe_token"),
        "stripe_token is selected twice", "", "", 1,
    ),
    "missing right": Kind(
        "public.reservations, public.customers, public.calls to", "public.reservations, public.customers to",
        "role cdc_bridge_loader may not read public.calls", "grant select on public.calls to cdc_bridge_loader;",
        "", 75,
    ),
    "table of a grant": Kind(
        "grant select on public.reservations,", "grant select on public.reservation,",
        "table public.reservation does not exist; did you mean public.reservations?",
        "grant select on public.reservations, public.customers, public.calls to cdc_bridge_loader;",
    ),
    "attached table": Kind(
        ATTACH, "select cdc_bridge.attach('public.reservation', 'id');",
        "table public.reservation does not exist; did you mean public.reservations?",
        ATTACH,
    ),
    "attached key": Kind(
        ATTACH, "select cdc_bridge.attach('public.reservations', 'ref');",
        'table public.reservations has no column "ref"; did you mean id?',
        ATTACH,
    ),
}  # fmt: skip


async def examined(database: Database, text: str, folder: Path) -> Examination:
    """Return what is wrong with a mapping."""
    file = folder / "my-mapping.sql"
    file.write_text(text, encoding="utf-8")
    try:
        await dry_run(database.url, file, lambda _: None, verdict=MappingVerdict(file))
    except MappingFaulty as error:
        return error.examination
    return NOTHING


def with_faults(*kinds: Kind) -> tuple[str, list[tuple[int, Kind]]]:
    """Return the shipped mapping with faults, and the line of each."""
    text = SHIPPED
    for kind in kinds:
        assert text.count(kind.right) == 1, kind.right
        text = text.replace(kind.right, kind.wrong)
    lines: list[tuple[int, Kind]] = []
    for kind in kinds:
        before = SHIPPED[: SHIPPED.index(kind.right)]
        for other in kinds:
            if SHIPPED.index(other.right) < SHIPPED.index(kind.right):
                before = before.replace(other.right, other.wrong)
        lines.append((before.count("\n") + 1 + kind.below, kind))
    return text, lines


def _overlap(text: str, other: str) -> bool:
    """Return whether two parts of the shipped mapping have a character in common."""
    start, other_start = SHIPPED.index(text), SHIPPED.index(other)
    return start < other_start + len(other) and other_start < start + len(text)


def reported(problems: tuple[Problem, ...]) -> list[str]:
    return [f"{problem.line}: {problem.problem}" for problem in problems]


@pytest.mark.parametrize("name", KINDS)
async def test_fault_is_named_with_its_line_and_what_to_write_instead(
    name: str, database: Database, tmp_path: Path
) -> None:
    kind = KINDS[name]
    if name == "missing right":
        database.execute("revoke select on public.calls from cdc_bridge_loader")
    text, [(line, _)] = with_faults(kind)
    found = await examined(database, text, tmp_path)
    assert reported(found.problems) == [f"{line}: {kind.problem}"]
    (problem,) = found.problems
    assert (problem.text.strip(), "" if problem.rejected else problem.key) == (kind.fix, kind.key)
    assert found.corrected is not None
    assert await examined(database, found.corrected, tmp_path) == NOTHING


TEN = [
    "key is missing", "unknown column", "time without a zone", "text in place of a number", "comma is missing",
    "parenthesis is missing", "object that is never null", "unknown table", "table of a grant", "attached table",
]  # fmt: skip


@pytest.mark.parametrize("installed", [False, True])
async def test_ten_faults_at_once_are_each_named_with_their_lines(
    database: Database, example_database: Database, tmp_path: Path, *, installed: bool
) -> None:
    subject = database if installed else example_database
    text, lines = with_faults(*(KINDS[name] for name in TEN))
    found = await examined(subject, text, tmp_path)
    assert reported(found.problems) == [
        f"{line}: {kind.problem}" for line, kind in sorted(lines, key=lambda each: each[0])
    ]
    assert found.corrected is not None
    assert await examined(subject, found.corrected, tmp_path) == NOTHING


@pytest.mark.parametrize("number", range(6))
async def test_any_mixture_is_named_at_once_and_passes_once_it_is_corrected(
    number: int, database: Database, tmp_path: Path
) -> None:
    chosen = random.Random(chosen_seed() + number)
    # Two faults of one key are one, and what is missing in front of everything has no line of its own.
    names = [name for name in KINDS if name not in {"missing right", "first key is missing"}]
    kinds: list[Kind] = []
    for kind in (KINDS[name] for name in chosen.sample(names, len(names))):
        if len(kinds) < 15 and not any(_overlap(kind.right, other.right) for other in kinds):
            kinds.append(kind)
    text, lines = with_faults(*kinds)
    found = await examined(database, text, tmp_path)
    assert sorted(reported(found.problems)) == sorted(f"{line}: {kind.problem}" for line, kind in lines)
    assert found.corrected is not None
    assert await examined(database, found.corrected, tmp_path) == NOTHING


FOREIGN_TABLES = """
create schema res;
create table res.guest (
  guest_no bigint primary key, last_name text not null, email text, visits integer, vip boolean
);
create table res.booking (
  booking_no bigint primary key, guest_no bigint references res.guest (guest_no), arrives_at timestamp not null,
  pax smallint not null, kids smallint, remarks text, deposit_pence integer, room uuid
);
create table res.phone_call (
  call_no bigint primary key, booking_no bigint not null references res.booking (booking_no), number text not null,
  ext_sid text
);
"""
FOREIGN_MAPPING = """grant usage on schema res to cdc_bridge_loader;
grant select on res.booking, res.guest to cdc_bridge_loader;
select cdc_bridge.define_payload('reservation', '
select
  g.guest_no as "customer.id",
  g.last_name as "customer.surname",
  coalesce(g.email, '''') as "customer.email",
  g.visits as "customer.visits",
  g.vip as "customer.vip",
  b.booking_no as id, b.guest_no as cust_id,
  b.room as room_id,
  b.arrives_at as datetime,
  b.pax as adults,
  b.kids as children,
  b.remarks as notes,
  b.deposit_pence / 100.0 as deposit_due,
  p.call_no as "call.call_id",
  p.number as "call.number"
from res.booking b
left join res.guest g on g.guest_no = b.guest_no
left join res.phone_call p on p.booking_no = b.booking_no
');
select cdc_bridge.attach('res.booking', 'booking_no');
"""
FOREIGN_FAULTS = {
    "5: customer.title is missing": 'null::text as "customer.title",',
    "7: customer.email is never null, so customer is never null, even where there is none": (
        '  g.email as "customer.email",'
    ),
    "8: customer.visits may be null, which the contract does not allow": (
        '  case when g.guest_no is not null then coalesce(g.visits, 0) end as "customer.visits",'
    ),
    "9: customer.vip may be null, which the contract does not allow": (
        '  case when g.guest_no is not null then coalesce(g.vip, false) end as "customer.vip",'
    ),
    "10: reference is missing": "0 as reference,",
    '12: column "datetime" is of type timestamp without time zone, which cannot be written as JSON': (
        "  b.arrives_at at time zone ''Europe/London'' as datetime,"
    ),
    "14: children may be null, which the contract does not allow": "  coalesce(b.kids, 0) as children,",
    "14: web is missing": "''F'' as web,",
    "16: deposit_due may be null, which the contract does not allow": (
        "  coalesce(b.deposit_pence / 100.0, 0) as deposit_due,"
    ),
    "17: call.restaurant_id is missing": 'null::text as "call.restaurant_id",',
    "21: the join of res.phone_call can multiply rows: no unique index covers (booking_no)": (
        "left join lateral (select p.* from res.phone_call p where p.booking_no = b.booking_no order by p.call_no "
        "limit 1) p on true"
    ),
    "21: role cdc_bridge_loader may not read res.phone_call": "grant select on res.phone_call to cdc_bridge_loader;",
}
"""Some of those that are found, with what to write."""


async def test_mapping_of_other_tables_is_judged_by_their_catalogue(example_database: Database, tmp_path: Path) -> None:
    example_database.execute(FOREIGN_TABLES)
    found = await examined(example_database, FOREIGN_MAPPING, tmp_path)
    written = {f"{problem.line}: {problem.problem}": problem.text for problem in found.problems}
    assert FOREIGN_FAULTS.items() <= written.items()
    assert found.corrected is not None
    assert await examined(example_database, found.corrected, tmp_path) == NOTHING


ONLY_THE_AUTHOR: dict[str, tuple[dict[str, str], list[str]]] = {
    "function that does not exist": (
        {"  r.adults,\n": "  nowhere(r.adults) as adults,\n", "  r.notes,\n": "  upper(r.notes) + as notes,\n"},
        ["64: function nowhere(integer) does not exist", '73: syntax error at or near "as"'],
    ),
    "join that is misspelt": (
        {"left join public.calls": "left jion public.calls", '  c.title as "customer.title",\n': ""},
        ["28: customer.title is missing", '98: syntax error at or near "jion"'],
    ),
    "quotes that are not closed": ({"$query$);": ");"}, ["26: syntax error: $query$ is not closed"]),
    "statements that are none": (
        {ATTACH: f"selec 1;\n\\set x 1\n{ATTACH}", "  r.adults,\n": "  r.adults::text as adults,\n"},
        ["64: adults is text, not count", '102: syntax error at or near "selec"', '103: syntax error at or near "\\"'],
    ),
    "union": (
        {"$query$);": "union all\nselect 1\n$query$);"},
        ["101: each UNION query must have the same number of columns"],
    ),
    "condition of the whole": (
        {"$query$);": "where r.xyz = 1\n$query$);", "  r.adults,\n": "  r.adults::text as adults,\n"},
        ["64: adults is text, not count", "100: column r.xyz does not exist"],
    ),
    "condition of a join": (
        {"c.id = r.cust_id": "nowhere(c.id) = r.cust_id", "k.call_id = r.call_id": "k.call_id = r.reference"},
        ["98: function nowhere(text) does not exist", "99: operator does not exist: text = integer"],
    ),
    "table that nothing is like": (
        {"public.calls k": "public.xyz k", "  r.adults,\n": "  r.adults::text as adults,\n"},
        ["64: adults is text, not count", "99: table public.xyz does not exist"],
    ),
    "names that cannot be keys": (
        {
            "  r.vouchers,\n": '  r.vouchers,\n  r.notes as "customer",\n  r.notes as "a..b",\n'
            "  r.notes as cdc_bridge_x,\n"
        },
        [
            '88: "customer" is a value and has keys of its own, as "customer.id"',
            '89: column "a..b" has an empty key', '90: column "cdc_bridge_x" has a name that is ours',
        ],
    ),
    "name of a payload": ({"'reservation',": "'Reservation',"}, ['26: "Reservation" cannot be the name of a payload']),
    "payloads that build on it": (
        {
            ATTACH: "select cdc_bridge.define_payload('a', $$select r.id, r.nots from {reservation} r, {xyz} x$$);\n"
            "select cdc_bridge.define_payload('b', $$\nselect r.notes, now()::timestamp as t from {reservation} r$$);",
            "  r.adults,\n": "  r.adultss as adults,\n",
        },
        [
            "64: column r.adultss does not exist; did you mean r.adults?",
            "102: column r.nots does not exist; did you mean r.notes?", "102: payload {xyz} is not defined",
            '103: payload "b" has no column "id" that can be a key',
            '104: column "t" is of type timestamp without time zone, which cannot be written as JSON',
        ],
    ),
    "related tables": (
        {
            ATTACH: ATTACH + "\nselect cdc_bridge.attach_related('public.customer', key => 'idd', via => 'custid');\n"
            "select cdc_bridge.attach_related('public.calls', reservation_key => 'xyz');",
        },
        [
            "103: table public.customer does not exist; did you mean public.customers?",
            '103: table public.customers has no column "idd"; did you mean id?',
            '103: table public.reservations has no column "custid"; did you mean cust_id?',
            '104: table public.calls has no column "xyz"',
        ],
    ),
    "key that may be null": (
        {ATTACH: "select cdc_bridge.attach('public.reservations', 'call_id');"},
        [
            '102: column "call_id" of table public.reservations is nullable, and a booking with a null key would fail',
            '102: column "call_id" of table public.reservations has no unique index of its own',
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ONLY_THE_AUTHOR)
async def test_what_only_the_author_can_correct_hides_nothing_else(
    name: str, database: Database, tmp_path: Path
) -> None:
    changes, expected = ONLY_THE_AUTHOR[name]
    text = SHIPPED
    for right, wrong in changes.items():
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    found = await examined(database, text, tmp_path)
    assert reported(found.problems) == expected


NOT_ATTACHED = "the mapping attaches capture to no table, so nothing would be sent"


@pytest.mark.parametrize("faulty", [False, True])
async def test_missing_attach_is_named_with_the_statement_to_add(
    example_database: Database, tmp_path: Path, *, faulty: bool
) -> None:
    text = SHIPPED.replace(ATTACH, "-- attach it later")
    if faulty:
        text = text.replace("  r.adults,\n", "  r.adultss as adults,\n")
    found = await examined(example_database, text, tmp_path)
    *_, problem = found.problems
    assert (problem.problem, problem.action, problem.text) == (NOT_ATTACHED, "add below line 102", ATTACH)
    assert len(found.problems) == (2 if faulty else 1)
    assert found.corrected is not None
    assert await examined(example_database, found.corrected, tmp_path) == NOTHING


async def test_mapping_without_attach_is_right_where_an_earlier_one_has_attached(
    database: Database, tmp_path: Path
) -> None:
    assert await examined(database, SHIPPED.replace(ATTACH, ""), tmp_path) == NOTHING


async def test_mapping_of_tables_that_are_all_unknown_gets_no_advice_that_names_them(
    empty_database: Database, tmp_path: Path
) -> None:
    found = await examined(empty_database, SHIPPED, tmp_path)
    assert [problem.problem for problem in found.problems] == [
        "table public.reservations does not exist",
        "table public.customers does not exist",
        "table public.calls does not exist",
        "table public.reservations does not exist",
        "table public.reservations does not exist",
    ]
    assert {problem.text for problem in found.problems} == {""}
    assert "cdc-bridge mapping draft > my-mapping.sql" in found.problems[-1].note


@pytest.mark.parametrize(
    ("layout", "line"),
    [
        (lambda text: text.replace("\n", "\r\n"), 28),
        (lambda text: text.replace("\nselect\n", "\nwith one as (select 1)\nselect\n"), 29),
        (lambda text: text.replace("$query$", "'"), 28),
        (lambda text: text.replace("$query$", "$$").replace("  c.", "    c."), 28),
        (lambda text: " ".join(text[text.index("grant") :].split()), 1),
        (lambda text: text.replace("  c.id", "  /* the ; of 'guests' ( */ c.id"), 28),
    ],
)  # fmt: skip
async def test_layout_does_not_matter(
    layout: Callable[[str], str], line: int, database: Database, tmp_path: Path
) -> None:
    text = SHIPPED.replace('  c.title as "customer.title",\n', "").replace(
        "  r.id,\n  r.cust_id,", "  r.cust_id,\n  r.id,"
    )
    text = text.replace("  r.adults,", "  r.adultss as adults,").replace("-- If all", "-- if all")
    found = await examined(database, layout(text), tmp_path)
    assert (found.problems[0].key, found.problems[0].line) == ("customer.title", line)
    assert {problem.key for problem in found.problems} == {"customer.title", "cust_id", "adults"}
    assert found.corrected is not None
    assert await examined(database, found.corrected, tmp_path) == NOTHING


async def test_columns_of_a_star_are_written_one_by_one(database: Database, tmp_path: Path) -> None:
    database.execute(
        "alter table reservations alter column adults type text; alter table reservations drop column notes"
    )
    before, _, after = SHIPPED.partition("  r.id,\n")
    text = f"{before}  r.*,\n{after[after.index('  k.call_id') :]}"
    found = await examined(database, text, tmp_path)
    assert [problem.problem for problem in found.problems] == ["adults is text, not count", "notes is missing"]
    assert found.corrected is not None
    assert await examined(database, found.corrected, tmp_path) == NOTHING


OTHER_TYPES = """
alter table reservations add number bigint not null default 0, add code numeric(10, 0) not null default 0,
  add uid uuid not null default gen_random_uuid(), add yes boolean not null default true
"""


@pytest.mark.parametrize(
    ("key", "expression", "text", "fix"),
    [
        ("cust_id", "r.number::text", "'1'", "r.number as cust_id,"),
        ("cust_id", "'G' || r.number", "'G1'", "r.number as cust_id,"),
        ("cust_id", "r.code::varchar(32)", "'1'", "r.code as cust_id,"),
        ("cust_id", "r.uid::text", "'5d9db746-4f1e-447a-93d3-9450253c67b2'", "r.uid as cust_id,"),
        ("cust_id", "md5(r.number::text)", "'c4ca4238a0b923820dcc509a6f75849b'", "r.number as cust_id,"),
        ("cust_id", "r.number || '-' || r.code", "'1-1'", ""),
        ("cust_id", "'920'", "'920'", ""),
        ("web", "r.yes::text", "'true'", "r.yes as web,"),
        ("web", "case when r.yes then 'Y' else 'N' end", "'Y'", ""),  # It may say the opposite of the column.
        ("web", "'N'", "'N'", ""),
    ],
)
async def test_text_that_is_no_key_and_no_flag_is_a_fault(
    key: str, expression: str, text: str, fix: str, database: Database, tmp_path: Path
) -> None:
    database.execute(OTHER_TYPES)
    wrong = SHIPPED.replace(f"  r.{key},\n", f"  {expression} as {key},\n")
    # What only the author can correct does not hide what comes after it.
    found = await examined(database, wrong.replace("r.high_chair,", "null::int as high_chair,"), tmp_path)
    is_text = "is the text" if expression.endswith("'") and "r." not in expression else "is text such as"
    form = {"cust_id": "keyOrNone", "web": "flag"}[key]
    (problem, _) = found.problems
    assert [each.problem for each in found.problems] == [
        f"{key} {is_text} {text}, not {form}", "high_chair may be null, which the contract does not allow"
    ]  # fmt: skip
    assert (problem.key, problem.rejected, problem.text.strip()) == (key, False, fix)
    assert found.not_allowed([key, "high_chair"]) == ()
    assert (found.corrected is None) == (fix == "")


@pytest.mark.parametrize(
    "line",
    [
        "upper(md5(r.number::text)) as cust_id",
        "lpad(r.number::text, 32, '0') as cust_id",
        "upper(replace(r.uid::text, '-', '')) as cust_id",
        "case r.number when 5 then '5D9DB7464F1E447A93D39450253C67B2' else '' end as cust_id",
        "r.number as cust_id",
        "r.uid as cust_id",
        "r.notes || r.number as cust_id",  # Nobody knows what the notes are.
        "case r.number when 1 then 'T' else 'F' end as web",
        "case when r.yes then 'T' else 'F' end as web",
        "r.yes::text as notes",
    ],
)
async def test_text_that_is_as_the_contract_has_it_is_right(line: str, database: Database, tmp_path: Path) -> None:
    database.execute(OTHER_TYPES)
    text = SHIPPED.replace(f"  r.{line.rpartition(' ')[2]},\n", f"  {line},\n")
    assert text != SHIPPED
    assert await examined(database, text, tmp_path) == NOTHING


async def test_file_without_a_payload_is_no_mapping(example_database: Database, tmp_path: Path) -> None:
    found = await examined(example_database, "select 1;", tmp_path)
    assert reported(found.problems) == [
        '1: the mapping does not define the payload "reservation"',
        f"1: {NOT_ATTACHED}",
    ]
    assert found.corrected is None


async def test_nothing_of_e_res_is_run_and_no_row_is_read(database: Database, tmp_path: Path) -> None:
    database.execute(
        "create sequence public.runs; "  # It counts what is rolled back as well.
        "create function public.trap(text) returns text language plpgsql immutable as "
        "$$ begin perform nextval('public.runs'); raise 'it ran'; end $$; "
        "create domain public.trapped as text check (public.trap(value) <> ''); "
        "create view public.guests as select id, public.trap(surname) as surname from public.customers; "
        "grant select on public.guests to cdc_bridge_loader; revoke select on public.customers from postgres"
    )
    text = SHIPPED.replace("k.number as", "coalesce(public.trap(k.number), '') as")
    text = text.replace("  r.status,", "  (r.status::public.trapped)::text as status,").replace(
        "k.ext_sid as", "(k.ext_sid::public.trapped)::text as"
    )
    text = text.replace("  r.notes,", "  public.trap('x') as notes,").replace(
        "  r.adults,", "  public.trap('3') as adults,"
    )
    text = text.replace("  r.cust_id,", "  public.trap(r.reference::text) as cust_id,")
    found = await examined(database, text, tmp_path)
    assert reported(found.problems) == ["64: adults is text, not count"]
    assert database.value("select is_called from public.runs") is False


@pytest.mark.parametrize("case", cases(), ids=str)
async def test_worked_cases_of_the_guide_are_right(case: Case, example_database: Database, tmp_path: Path) -> None:
    example_database.execute(case.e_res)
    assert await examined(example_database, case.mapping, tmp_path) == NOTHING
