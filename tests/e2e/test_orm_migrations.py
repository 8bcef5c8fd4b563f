"""e-Res's own upgrades, as ORMs write them, go through while capture is on, and nothing is lost.

Alembic's and Django's operations are run by these libraries. Those of ActiveRecord, Sequelize and TypeORM are the
statements that they send. All run as the role that owns e-Res's tables and has no right on anything of ours.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import django  # type: ignore[import-untyped]
import psycopg
import pytest
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.operations import Operations
from django.conf import settings as django_settings  # type: ignore[import-untyped]
from django.db import connections, models  # type: ignore[import-untyped]

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.waiting import until

DEPLOYER = "cdc_bridge_test_deployer"
_numbers = itertools.count()


@dataclass
class Deployer:
    """The role that upgrades e-Res."""

    database: Database

    @property
    def url(self) -> str:
        return self.database.server.url_for(self.database.name, user=DEPLOYER, password=DEPLOYER)

    def execute(self, statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statements.encode())

    def book(self, number: int) -> None:
        self.execute(
            f"insert into reservations (id, cust_id) values ('R{number}', 'C');"
            f"update reservations set duration = {number} where id = 'R{number}'"
        )

    def alembic(self, migrate: Callable[[Operations], Any]) -> None:
        engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(self.url))
        with engine.begin() as connection:
            migrate(Operations(MigrationContext.configure(connection)))
        engine.dispose()

    def django(self, migrate: Callable[[Any], Any]) -> None:
        if not django_settings.configured:
            django_settings.configure(USE_TZ=True, DATABASES={"default": {"ENGINE": "django.db.backends.postgresql"}})
            django.setup()
        parameters = psycopg.conninfo.conninfo_to_dict(self.url)
        names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
        connections["default"].close()
        connections.settings["default"] |= {name: parameters[key] for name, key in names.items()}
        del connections["default"]
        try:
            with connections["default"].schema_editor() as editor:
                migrate(editor)
        finally:
            connections["default"].close()


@pytest.fixture
def deployer(database: Database) -> Iterator[Deployer]:
    database.execute(f"create role {DEPLOYER} login password '{DEPLOYER}'")
    database.execute(f"grant create on database {database.name} to {DEPLOYER}")
    database.execute(f"grant create on schema public to {DEPLOYER}")
    for table in ("reservations", "customers", "calls"):
        database.execute(f"alter table {table} owner to {DEPLOYER}")
    database.execute("alter table reservations alter column reference set default 1")
    database.execute("insert into customers (id) values ('C')")
    yield Deployer(database)
    database.execute(f"drop owned by {DEPLOYER} cascade; drop role {DEPLOYER}")


def field(kind: type[models.Field[Any, Any]], name: str, **options: Any) -> models.Field[Any, Any]:
    made = kind(**options)
    made.set_attributes_from_name(name)
    return made


def model(table: str, **fields: models.Field[Any, Any]) -> Any:
    meta = type("Meta", (), {"db_table": table, "app_label": "eres", "managed": False})
    key = {"id": models.TextField(primary_key=True)}
    return type(f"Model{next(_numbers)}", (models.Model,), {**key, **fields, "Meta": meta, "__module__": __name__})


def altered(old: models.Field[Any, Any], new: models.Field[Any, Any], name: str) -> Callable[[Any], None]:
    """Return Django's migration that alters a field of the reservations."""

    def migrate(editor: Any) -> None:
        table = model("reservations", **{name: old})
        new.set_attributes_from_name(new.db_column or name)
        new.model = table
        editor.alter_field(table, table._meta.get_field(name), new, strict=False)

    return migrate


@dataclass
class Migration:
    """An upgrade, and what takes it back if the payload does not fit any more."""

    name: str
    run: Callable[[Deployer], None]
    back: Callable[[Deployer], None] | None = None

    def __str__(self) -> str:
        return self.name


def by_alembic(
    name: str, run: Callable[[Operations], Any], back: Callable[[Operations], Any] | None = None
) -> Migration:
    return Migration(
        f"Alembic: {name}",
        lambda deployer: deployer.alembic(run),
        None if back is None else lambda deployer: deployer.alembic(back),
    )


def by_django(name: str, run: Callable[[Any], Any], back: Callable[[Any], Any] | None = None) -> Migration:
    return Migration(
        f"Django: {name}",
        lambda deployer: deployer.django(run),
        None if back is None else lambda deployer: deployer.django(back),
    )


def sql(name: str, run: str, back: str | None = None) -> Migration:
    return Migration(
        name, lambda deployer: deployer.execute(run), None if back is None else lambda deployer: deployer.execute(back)
    )


MIGRATIONS = [
    by_alembic(
        "alter_column type", lambda op: op.alter_column("reservations", "reference", type_=sqlalchemy.BigInteger())
    ),
    by_alembic(
        "alter_column length", lambda op: op.alter_column("reservations", "notes", type_=sqlalchemy.String(2000))
    ),
    by_alembic(
        "add_column", lambda op: op.add_column("reservations", sqlalchemy.Column("seated", sqlalchemy.DateTime()))
    ),
    by_alembic("create_index", lambda op: op.create_index("ix_room", "reservations", ["room_id"])),
    by_alembic("nullable", lambda op: op.alter_column("reservations", "meal_name", nullable=True)),
    by_alembic(
        "rename column",
        lambda op: op.alter_column("reservations", "adults", new_column_name="covers"),
        lambda op: op.alter_column("reservations", "covers", new_column_name="adults"),
    ),
    by_alembic(
        "drop_column",
        lambda op: op.drop_column("reservations", "allergies"),
        lambda op: op.add_column(
            "reservations", sqlalchemy.Column("allergies", sqlalchemy.Text(), nullable=False, server_default="")
        ),
    ),
    by_alembic(
        "rename_table",
        lambda op: op.rename_table("customers", "guests"),
        lambda op: op.rename_table("guests", "customers"),
    ),
    by_django(
        "AlterField to BigIntegerField",
        altered(models.IntegerField(), models.BigIntegerField(), "children"),
    ),
    by_django("AlterField to CharField", altered(models.TextField(), models.CharField(max_length=200), "room_name")),
    by_django(
        "RenameField",
        altered(models.TextField(), models.TextField(db_column="kind"), "type"),
        altered(models.TextField(db_column="kind"), models.TextField(db_column="type"), "kind"),
    ),
    by_django(
        "AddField",
        lambda editor: editor.add_field(
            model("reservations"), field(models.CharField, "source", max_length=20, null=True)
        ),
    ),
    by_django(
        "RemoveField",
        lambda editor: editor.remove_field(
            (table := model("reservations", promotion=models.TextField())), table._meta.get_field("promotion")
        ),
        lambda editor: editor.execute("alter table reservations add column promotion text not null default ''"),
    ),
    sql(
        "ActiveRecord: change_column",
        'ALTER TABLE "reservations" ALTER COLUMN "vouchers" TYPE character varying',
    ),
    sql(
        "ActiveRecord: change_column to text, then bigint",
        'ALTER TABLE "customers" ALTER COLUMN "visits" TYPE bigint',
    ),
    sql(
        "ActiveRecord: rename_column",
        'ALTER TABLE "customers" RENAME COLUMN "surname" TO "last_name"',
        'ALTER TABLE "customers" RENAME COLUMN "last_name" TO "surname"',
    ),
    sql(
        "Sequelize: sync({alter: true})",
        'ALTER TABLE "public"."reservations" ALTER COLUMN "web" SET NOT NULL;'
        'ALTER TABLE "public"."reservations" ALTER COLUMN "web" DROP DEFAULT;'
        'ALTER TABLE "public"."reservations" ALTER COLUMN "web" TYPE VARCHAR(255);'
        'ALTER TABLE "public"."reservations" ALTER COLUMN "web" SET DEFAULT \'F\'',
    ),
    sql(
        "TypeORM: a type is changed by dropping the column and adding it",
        'ALTER TABLE "reservations" DROP COLUMN "meal_name";'
        'ALTER TABLE "reservations" ADD "meal_name" character varying NOT NULL DEFAULT \'\'',
    ),
    sql(
        "a table is dropped and created again, without our right on it",
        "alter table reservations drop constraint if exists reservations_call_id_fkey; drop table calls;"
        "create table calls (call_id text primary key, restaurant_id text not null default '', number text not null "
        "default '', ext_sid text not null default '', provider_sid text not null default '')",
        "grant select on calls to cdc_bridge_loader",
    ),
    sql(
        "a table is moved to another schema",
        "create schema archive; alter table customers set schema archive",
        "alter table archive.customers set schema public",
    ),
    sql(
        "the reservations table is renamed",
        "alter table reservations rename to bookings; create view reservations as select * from bookings",
        "drop view reservations; alter table bookings rename to reservations",
    ),
    sql(
        "a column becomes a zone-less timestamp",
        "alter table reservations alter column requested type text, alter column datetime type timestamp",
        "alter table reservations alter column datetime type timestamptz using datetime at time zone 'UTC'",
    ),
]


async def status_of(bridges: Bridges) -> tuple[str, str]:
    _, output, _ = await run_command("endpoint", "list", "--json", **bridges.settings)
    (endpoint,) = json.loads(output)
    return endpoint["status"], endpoint["reason"] or ""


@pytest.mark.slow
@pytest.mark.parametrize("migration", MIGRATIONS, ids=str)
async def test_upgrade_goes_through_and_nothing_is_lost(
    migration: Migration, deployer: Deployer, database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    bridge = await bridges.start()
    deployer.book(1)
    await receiver.wait_for_delivered(1)
    await asyncio.to_thread(migration.run, deployer)
    deployer.book(2)
    if migration.back is not None:
        line = await bridge.wait_for_log("endpoint invalid")
        assert "does not fit" in line["problem"] or "written otherwise" in line["problem"]

        def invalid() -> bool:
            status = "select status from cdc_bridge.endpoint_status"
            return bool(database.value(status) == "invalid")

        await until(invalid, "the endpoint is invalid")
        status, reason = await status_of(bridges)
        assert (status, reason) == ("invalid", line["problem"])
        await bridge.wait_for_log("mapping broken")
        await asyncio.to_thread(migration.back, deployer)
    requests = await receiver.wait_for_delivered(2)
    assert [request.reservation_id for request in requests] == ["R1", "R2"]
    assert requests[-1].json["duration"] == 2
    deployer.book(3)
    await receiver.wait_for_delivered(3)
    await until(lambda: database.value("select status from cdc_bridge.endpoint_status") == "healthy", "it is healthy")
    assert database.value("select coalesce(sum(failures), 0) from cdc_bridge.delivery") == 0
    assert await bridge.terminate() == 0
