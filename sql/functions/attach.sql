-- cdc_bridge.attach(reservations regclass, key name)
--
-- Attaches capture to a table: two statement-level triggers, one for INSERT, one for UPDATE, that append the
-- affected rows to the change log and ring the doorbell if a daemon sleeps.
--   reservations  the table; of a partitioned one its partitions get the triggers as well
--   key           its unique, not null column that names a reservation; any type with a text form
-- Returns nothing. Safe to repeat; changes nothing (and locks nothing) when nothing changed. With another key than before
-- the triggers are replaced. Switches capture on where it was disabled.
-- Locks: SHARE ROW EXCLUSIVE on each table on which it creates a trigger, until commit.
--
-- Statement-level triggers with transition tables also see ON CONFLICT, MERGE and COPY, and cost a bulk update far
-- less than row triggers. Only the triggers of the table that a statement names fire. So a partition needs its own, for
-- statements that name it, and one that is added later needs attach once more ("cdc-bridge check" tells).

create or replace function cdc_bridge.attach(reservations regclass, key name) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $attach$
declare
  relation constant pg_class := (select c from pg_class c where c.oid = reservations);
  function_oid regprocedure;
  attached regclass;
  operation text;
  unused regprocedure;
begin
  if relation.relkind not in ('r', 'p') or relation.relpersistence = 't'
    or relation.relnamespace in (select n.oid from pg_namespace n where n.nspname in ('cdc_bridge', 'pg_catalog', 'information_schema'))
  then
    raise exception '% is not a table that reservations can be in', reservations
      using errcode = 'wrong_object_type', hint = 'Name the table that e-Res writes reservations to, not a view of it.';
  end if;
  if not exists (select from pg_attribute a where a.attrelid = reservations and a.attname = key and a.attnum > 0 and not a.attisdropped) then
    raise exception 'table % has no column "%"', reservations, key using errcode = 'undefined_column';
  end if;
  -- Part of a partitioned table's key is always what it is partitioned by; the other part has to be ours, and come first,
  -- so that a reservation is found by the index.
  if not exists (
    select
    from pg_index i
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] and a.attname = key
    where i.indrelid = reservations and i.indisunique and i.indisvalid and i.indpred is null
      and (i.indnkeyatts = 1 or relation.relkind = 'p' or relation.relispartition)
  ) then
    raise exception 'column "%" of table % has no unique index of its own, so it cannot name one reservation', key, reservations
      using errcode = 'invalid_table_definition', hint = 'Name its primary key, or make a unique index on the column.';
  end if;
  -- A row without a key could not be written down, and e-Res's statement would fail.
  if not exists (select from pg_attribute a where a.attrelid = reservations and a.attname = key and a.attnotnull) then
    raise exception 'column "%" of table % may be null, so it cannot name a reservation', key, reservations
      using errcode = 'invalid_table_definition', hint = 'Name its primary key.';
  end if;
  if octet_length('capture_by_' || key) > 63 then
    raise exception 'the name of column "%" of table % is too long', key, reservations using errcode = 'name_too_long';
  end if;

  function_oid := cdc_bridge.define_capture(key, true);

  for attached in
    with recursive family as (
      select reservations::oid as oid
      union all
      select i.inhrelid from pg_inherits i join family on family.oid = i.inhparent
    )
    select c.oid from family join pg_class c using (oid) where c.relkind in ('r', 'p') order by c.oid
  loop
    foreach operation in array array['insert', 'update'] loop
      if not exists (
        select from pg_trigger t
        where t.tgrelid = attached and t.tgname = 'cdc_bridge_' || operation and t.tgfoid = function_oid and t.tgnewtable = 'changed_rows'
      ) then
        execute format(
          'create or replace trigger %I after %s on %s referencing new table as changed_rows for each statement execute function %s',
          'cdc_bridge_' || operation, operation, attached, function_oid);
      end if;
    end loop;
  end loop;

  for unused in
    select p.oid
    from pg_proc p
    where p.pronamespace = 'cdc_bridge'::regnamespace and starts_with(p.proname, 'capture_by_') and p.oid <> function_oid
      and not exists (select from pg_trigger t where t.tgfoid = p.oid)
  loop
    execute format('drop function %s', unused);
  end loop;
end
$attach$;
revoke all on function cdc_bridge.attach(regclass, name) from public;
comment on function cdc_bridge.attach(regclass, name) is 'Attaches change capture to a table; safe to repeat';
