-- cdc_bridge.detach(reservations regclass)
--
-- Takes capture off a table again, and off its partitions: the first step of an uninstall, or where capture is to be on
-- another table. (To switch it off for a while, cdc_bridge.disable_capture() takes no lock.) Changes made while it is off
-- are not captured. The change log and the ledger stay.
-- Returns nothing. Safe to repeat.
-- Locks: ACCESS EXCLUSIVE on each table that has the triggers, until commit; writers and readers wait.

create or replace function cdc_bridge.detach(reservations regclass) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $detach$
declare
  found record;
begin
  for found in
    with recursive family as (
      select reservations::oid as oid
      union all
      select i.inhrelid from pg_inherits i join family on family.oid = i.inhparent
    )
    select t.tgname as trigger, t.tgrelid::regclass as attached
    from pg_trigger t
    join family on family.oid = t.tgrelid
    where t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update')
    order by t.tgrelid, t.tgname
  loop
    execute format('drop trigger %I on %s', found.trigger, found.attached);
  end loop;
end
$detach$;
revoke all on function cdc_bridge.detach(regclass) from public;
comment on function cdc_bridge.detach(regclass) is 'Takes change capture off a table; safe to repeat';
