-- cdc_bridge.detach(reservations regclass)
--
-- Takes capture off a table again, and off its partitions and the tables that inherit from it. Changes made while it is
-- off are not captured. The change log and the ledger stay; a capture function that no trigger uses any more is dropped.
-- Returns nothing. Safe to repeat; locks nothing where there is no trigger.
-- Locks: ACCESS EXCLUSIVE on each table, from the moment its triggers are dropped until the transaction ends: readers wait as
-- well. It is not waited for longer than a fifth of a second, as all that come later wait behind it; then repeat.

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
    where t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update') and p.pronamespace = 'cdc_bridge'::regnamespace
    order by t.tgrelid, t.tgname
  loop
    execute format('drop trigger %I on %s', attached.tgname, attached.name);
  end loop;

  for unused in
    select p.oid::regprocedure
    from pg_proc p
    where p.pronamespace = 'cdc_bridge'::regnamespace and p.proname like 'capture\_by\_%'
      and not exists (select from pg_trigger t where t.tgfoid = p.oid)
  loop
    execute format('drop function %s', unused);
  end loop;
end
$detach$;
revoke all on function cdc_bridge.detach(regclass) from public;
comment on function cdc_bridge.detach(regclass) is 'Takes change capture off a table; safe to repeat';
