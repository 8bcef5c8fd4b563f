-- cdc_bridge.enable_capture()
--
-- Switches capture on again after cdc_bridge.disable_capture().
-- Returns on how many tables capture is on now. Safe to repeat.
-- Locks: none on any table.

create or replace function cdc_bridge.enable_capture() returns bigint
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $enable$
declare
  attached record;
begin
  for attached in
    select distinct t.tgrelid::regclass as reservations, substr(p.proname, length('capture_by_') + 1)::name as key
    from pg_trigger t
    join pg_proc p on p.oid = t.tgfoid
    where t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update') and p.pronamespace = 'cdc_bridge'::regnamespace
  loop
    perform cdc_bridge.attach(attached.reservations, attached.key);
  end loop;
  return (
    select count(distinct t.tgrelid)
    from pg_trigger t
    join pg_proc p on p.oid = t.tgfoid
    where t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update') and p.pronamespace = 'cdc_bridge'::regnamespace
  );
end
$enable$;
revoke all on function cdc_bridge.enable_capture() from public;
comment on function cdc_bridge.enable_capture() is 'Switches capture on again; safe to repeat';
