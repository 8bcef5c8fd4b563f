-- cdc_bridge.detach(reservations regclass)
--
-- Detaches capture from a table, its partitions and its children. Changes made from then on are not captured. The change
-- log and the delivery log stay; a capture function that no trigger uses any more is dropped.
--   reservations  the table, also one of attach_related
-- Returns nothing. Safe to repeat; locks nothing where there is no trigger.
-- Locks: ACCESS EXCLUSIVE on each table whose triggers it drops, until the transaction ends: readers wait as well. Its
-- lock_timeout is 200 ms, as everybody else queues behind it; on a time-out, repeat.

create or replace function cdc_bridge.detach(reservations regclass) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '200ms'
as $detach$
declare
  attached record;
  unused regprocedure;
begin
  for attached in
    with recursive member as (
      select reservations::oid as oid
      union
      select i.inhrelid
      from member m
      join pg_inherits i on i.inhparent = m.oid
    )
    select t.tgrelid::regclass as name, t.tgname
    from member m
    join pg_trigger t on t.tgrelid = m.oid
    join pg_proc p on p.oid = t.tgfoid
    where starts_with(t.tgname, 'cdc_bridge_') and p.pronamespace = 'cdc_bridge'::regnamespace
    order by t.tgrelid, t.tgname
  loop
    begin
      execute format('drop trigger %I on %s', attached.tgname, attached.name);
    exception when lock_not_available then
      raise exception 'table % is locked by another session', attached.name
        using errcode = 'lock_not_available', hint = 'Run it again. Who blocks: psql -f sql/ops/blocked-by.sql';
    end;
  end loop;

  delete from cdc_bridge.captured_table t
  using pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.oid = reservations and (t.table_oid = reservations or n.nspname = t.schema_name and c.relname = t.table_name);

  -- What changed before is still delivered.
  update cdc_bridge.related_table r
  set detached_at = now()
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = r.schema_name and c.relname = r.table_name and c.oid = detach.reservations and r.detached_at is null;

  for unused in
    select p.oid::regprocedure
    from pg_proc p
    where p.pronamespace = 'cdc_bridge'::regnamespace and starts_with(p.proname, 'capture_') and p.prorettype = 'trigger'::regtype
      and not exists (select from pg_trigger t where t.tgfoid = p.oid)
  loop
    execute format('drop function %s', unused);
  end loop;
end
$detach$;
revoke all on function cdc_bridge.detach(regclass) from public;
comment on function cdc_bridge.detach(regclass) is 'Detaches change capture from a table; safe to repeat';
