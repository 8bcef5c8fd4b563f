-- cdc_bridge.captured_table: the tables that capture was attached to, by name.
--
-- The name is what the DBA gave. If another table has that name tomorrow (dropped and created again, or swapped by copy and
-- rename), it has no triggers, and the status of every endpoint says so. Partitions and children are not listed.

create table if not exists cdc_bridge.captured_table (
  schema_name name        not null,
  table_name  name        not null,
  table_oid   oid         not null,
  key         name        not null,
  attached_at timestamptz not null default now(),
  primary key (schema_name, table_name)
);
comment on table cdc_bridge.captured_table is 'Tables that capture was attached to, by name';
comment on column cdc_bridge.captured_table.table_oid is 'The table that it was, by which a rename is recognised';
comment on column cdc_bridge.captured_table.key is 'The column that identifies a reservation';
