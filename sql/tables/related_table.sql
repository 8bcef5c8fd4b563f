-- cdc_bridge.related_table: tables whose changes are changes of reservations, as cdc_bridge.attach_related has them.
--
--   child    each row belongs to one reservation: its column "reservation_key" has the reservation's key
--   parent   each row belongs to many: their column "via" has the row's "key"

create table if not exists cdc_bridge.related_table (
  related_id       bigint      not null generated always as identity primary key,
  schema_name      name        not null,
  table_name       name        not null,
  reservation_key  name,
  key              name,
  via              name,
  condition        text,
  reservations     text        not null,
  reservations_key name        not null,
  attached_at      timestamptz not null default now(),
  detached_at      timestamptz,
  check ((reservation_key is null) <> (via is null)),
  check ((key is null) = (via is null))
);
create unique index if not exists related_table_name
  on cdc_bridge.related_table (schema_name, table_name, coalesce(reservation_key, ''), coalesce(via, ''));
comment on table cdc_bridge.related_table is 'Tables whose changes are changes of reservations';
comment on column cdc_bridge.related_table.reservation_key is 'Of a child: the column with the reservation''s key';
comment on column cdc_bridge.related_table.key is 'Of a parent: the column that the reservations refer to';
comment on column cdc_bridge.related_table.via is 'Of a parent: the reservations'' column that refers to it';
comment on column cdc_bridge.related_table.condition is 'Which rows count, of a child its own as "changed", of a parent the reservations as "reservation"';
comment on column cdc_bridge.related_table.reservations is 'The reservations table, qualified';
comment on column cdc_bridge.related_table.reservations_key is 'Its key';
comment on column cdc_bridge.related_table.detached_at is 'When it was detached; what changed before is still delivered';

-- cdc_bridge.related_change: changed rows of related tables whose reservations are not in the change log yet. A daemon adds
-- them, those of a parent in pieces, as there may be ten thousand, and removes the row at the end.

create table if not exists cdc_bridge.related_change (
  related_change_id bigint      not null generated always as identity primary key,
  related_id        bigint      not null,
  key               text        not null,
  changed_at        timestamptz not null,
  done_up_to        text
) with (autovacuum_vacuum_scale_factor = 0.05);
comment on table cdc_bridge.related_change is 'Changed rows of related tables whose reservations are not all in the change log yet';
comment on column cdc_bridge.related_change.key is 'Of a child the reservation''s key, of a parent its own, as text';
comment on column cdc_bridge.related_change.done_up_to is 'The last reservation that is in the change log; null: none is';
