"""Related tables: changes of child rows and of parents count as changes of reservations."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from cdc_bridge.schema.sql_text import uninstall_text
from tests.support.databases import Database

CHANGES = """
select reservation_id, operation::text from cdc_bridge.change
union all select key, 'U' from cdc_bridge.related_change order by 1
"""
PARENTS = "select key from cdc_bridge.related_change order by related_change_id"
CHILD = "select cdc_bridge.attach_related('public.order_lines', reservation_key => 'reservation_id')"
PARENT = "select cdc_bridge.attach_related('public.customers', key => 'id', via => 'cust_id')"


@pytest.fixture(autouse=True)
def tables(database: Database) -> None:
    database.execute("insert into customers (id) values ('C'), ('D')")
    database.execute(
        "insert into reservations (id, cust_id, reference) values ('R', 'C', 1), ('S', 'C', 2), ('T', 'D', 3)"
    )
    database.execute(
        "create table public.order_lines (line integer primary key, kind text not null default 'table', "
        "reservation_id text references reservations (id) on update cascade on delete cascade)"
    )
    database.execute("create index on reservations (cust_id)")
    database.execute("truncate cdc_bridge.change")


def changes(database: Database) -> list[tuple[str, str]]:
    found = database.execute(CHANGES)
    database.execute("truncate cdc_bridge.change, cdc_bridge.related_change")
    return found


def test_nothing_is_captured_unless_it_is_asked_for(database: Database) -> None:
    database.execute("insert into order_lines values (1, 'table', 'R')")
    database.execute("update customers set phone = '1'")
    assert changes(database) == []


def test_child_rows_are_changes_of_their_reservation(database: Database) -> None:
    database.execute(CHILD)
    database.execute("insert into order_lines values (1, 'table', 'R'), (2, 'table', 'R'), (3, 'table', null)")
    assert changes(database) == [("R", "U")]
    database.execute("update order_lines set kind = 'dish' where line = 1")
    assert changes(database) == [("R", "U")]
    database.execute("update order_lines set reservation_id = 'S' where line = 1")
    assert sorted(changes(database)) == [("R", "U"), ("S", "U")]
    database.execute("delete from order_lines where line = 1")
    assert changes(database) == [("S", "U")]
    database.execute("delete from order_lines where line = 99")
    assert changes(database) == []


def test_copy_merge_and_cascades_are_seen(database: Database) -> None:
    database.execute(CHILD)
    with (
        psycopg.connect(database.url, autocommit=True) as connection,
        connection.cursor() as cursor,
        cursor.copy("copy order_lines (line, reservation_id) from stdin") as copy,
    ):
        for line, reservation in enumerate(["R", "S", "R"]):
            copy.write_row((line, reservation))
    assert sorted(changes(database)) == [("R", "U"), ("S", "U")]
    database.execute(
        "merge into order_lines l using (values (0), (7)) as w (line) on w.line = l.line "
        "when matched then update set kind = 'm' when not matched then insert values (w.line, 'm', 'T')"
    )
    assert sorted(changes(database)) == [("R", "U"), ("T", "U")]
    database.execute("update reservations set id = 'Q' where id = 'R'")
    assert set(changes(database)) == {("Q", "U"), ("R", "U")}
    database.execute("delete from reservations where id = 'Q'")
    assert changes(database) == [("Q", "U")]


def test_condition_of_a_child_selects_rows_and_cannot_make_a_statement_fail(database: Database) -> None:
    database.execute(
        "select cdc_bridge.attach_related('public.order_lines', reservation_key => 'reservation_id', "
        "condition => 'changed.kind <> ''draft''')"
    )
    database.execute("insert into order_lines values (1, 'draft', 'R'), (2, 'table', 'S')")
    assert changes(database) == [("S", "U")]
    database.execute("update order_lines set kind = 'draft' where line = 2")
    assert changes(database) == [("S", "U")]  # It was none before.
    database.execute("alter table order_lines rename kind to sort")
    database.execute("insert into order_lines values (3, 'draft', 'T')")
    assert changes(database) == [("T", "U")]


def test_child_whose_column_is_renamed_or_dropped_does_not_fail(database: Database) -> None:
    database.execute(CHILD)
    database.execute("alter table order_lines rename reservation_id to booking")
    database.execute("insert into order_lines values (1, 'table', 'R')")
    assert changes(database) == []
    database.execute("alter table order_lines drop column booking")
    database.execute("insert into order_lines values (2, 'table')")
    assert changes(database) == []


def test_parent_leaves_one_row_for_each_that_was_updated(database: Database) -> None:
    database.execute(PARENT)
    database.execute("insert into customers (id) values ('E')")
    database.execute("update customers set phone = '1' where id in ('C', 'D')")
    assert sorted(key for (key,) in database.execute(PARENTS)) == ["C", "D"]


def test_emergency_switch_disables_related_tables_too(database: Database) -> None:
    database.execute(CHILD)
    database.execute(PARENT)
    assert database.value("select cdc_bridge.disable_capture()") == 3
    database.execute("insert into order_lines values (1, 'table', 'R')")
    database.execute("update customers set phone = '1'")
    assert changes(database) == []
    assert database.value("select cdc_bridge.enable_capture()") == 3
    database.execute("update order_lines set kind = 'k'")
    assert changes(database) == [("R", "U")]


def test_attaching_again_changes_nothing_and_another_condition_replaces_the_function(database: Database) -> None:
    triggers = "select oid, tgfoid from pg_trigger where tgname like 'cdc\\_bridge\\_%' order by 1"
    database.execute(CHILD)
    before = database.execute(triggers)
    database.execute(CHILD)
    assert database.execute(triggers) == before
    database.execute(CHILD.replace(")", ", condition => 'changed.kind = ''x''')"))
    database.execute("insert into order_lines values (1, 'y', 'R')")
    assert changes(database) == []
    assert database.execute(triggers) == before


def test_detach_ends_it_and_leaves_the_reservations_captured(database: Database) -> None:
    database.execute(CHILD)
    database.execute("select cdc_bridge.detach('public.order_lines')")
    database.execute("insert into order_lines values (1, 'table', 'R')")
    assert changes(database) == []
    database.execute("update reservations set adults = 4 where id = 'R'")
    assert changes(database) == [("R", "U")]
    assert database.value("select detached_at is not null from cdc_bridge.related_table") is True
    assert database.value("select count(*) from pg_proc where proname like 'capture\\_related%'") == 0


@pytest.mark.parametrize(
    ("statement", "error", "said"),
    [
        ("attach_related('public.order_lines')", errors.InvalidParameterValue, "reservation_key, or key and via"),
        ("attach_related('public.order_lines', key => 'line')", errors.InvalidParameterValue, "key and via"),
        ("attach_related('public.order_lines', reservation_key => 'nothing')", errors.UndefinedColumn, '"nothing"'),
        ("attach_related('public.order_lines', reservation_key => 'line')", errors.DatatypeMismatch, "type integer"),
        (
            "attach_related('public.customers', key => 'id', via => 'room_id')",
            errors.ObjectNotInPrerequisiteState,
            "no index",
        ),
        (
            "attach_related('public.order_lines', reservation_key => 'reservation_id', condition => 'chnged.kind = 1')",
            errors.UndefinedTable,
            "chnged",
        ),
        (
            "attach_related('public.customers', key => 'id', via => 'cust_id', condition => 'reservation.nothing')",
            errors.UndefinedColumn,
            "nothing",
        ),
        (
            "attach_related('cdc_bridge.change', reservation_key => 'reservation_id')",
            errors.FeatureNotSupported,
            "e-Res",
        ),
    ],
)
def test_what_cannot_work_is_refused(statement: str, error: type[psycopg.Error], said: str, database: Database) -> None:
    with pytest.raises(error, match=said):
        database.execute(f"select cdc_bridge.{statement}")
    assert database.value("select count(*) from pg_trigger where tgname ~ '^cdc_bridge_.*_[0-9]+$'") == 0


def test_uninstalling_removes_the_triggers_of_related_tables(database: Database) -> None:
    database.execute(CHILD)
    database.execute(uninstall_text())
    assert database.value("select count(*) from pg_trigger where not tgisinternal") == 0


async def test_reservations_of_a_parent_are_found_by_an_index(
    database: Database,
) -> None:
    database.execute(
        "insert into customers (id) select 'P' || n from generate_series(1, 2000) n;"
        "insert into reservations (id, cust_id, reference) "
        "select 'P' || n || '-' || m, 'P' || n, 1 from generate_series(1, 2000) n, generate_series(1, 5) m;"
        "analyze reservations"
    )
    database.execute(PARENT)
    query: str = database.value("select cdc_bridge.related_query(r) from cdc_bridge.related_table r")
    for name, value in (("$1", "'P7'"), ("$2", "'P7-2'"), ("$3", "500")):
        query = query.replace(name, value)
    assert database.execute(query) == [("P7-3",), ("P7-4",), ("P7-5",)]
    plan = "\n".join(line for (line,) in database.execute(f"explain {query}"))
    assert "reservations_cust_id_idx" in plan
    assert "Seq Scan" not in plan


def test_detaching_one_table_leaves_the_alarm_of_another(database: Database) -> None:
    database.execute("create table b2 (id text primary key); create table b3 (id text primary key)")
    for table in ("b2", "b3"):
        database.execute(f"select cdc_bridge.attach('{table}', 'id')")
    database.execute("drop table b2")
    database.execute("select cdc_bridge.detach('b3'); select cdc_bridge.attach('reservations', 'id')")
    problem = database.value("select cdc_bridge.problem_of_capture()")
    assert problem == "capture is not attached to table public.b2, or is switched off"


def test_table_that_is_renamed_is_attached_under_its_new_name(database: Database) -> None:
    database.execute("alter table reservations rename to bookings")
    assert database.value("select cdc_bridge.problem_of_capture() is not null")
    database.execute("select cdc_bridge.attach('bookings', 'id')")
    assert database.value("select cdc_bridge.problem_of_capture()") is None
