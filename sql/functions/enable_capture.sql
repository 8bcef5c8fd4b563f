-- cdc_bridge.enable_capture()
--
-- Switches capture on again after cdc_bridge.disable_capture().
-- Returns the number of tables whose capture is on. Safe to repeat. Locks: none on any table.

create or replace function cdc_bridge.enable_capture() returns bigint
  language sql
  set search_path = pg_catalog, pg_temp
begin atomic
  select count(distinct cdc_bridge.define_capture(substr(p.proname, length('capture_by_') + 1)::name, true))
  from pg_proc p
  where p.pronamespace = 'cdc_bridge'::regnamespace and starts_with(p.proname, 'capture_by_');
  select count(cdc_bridge.define_related(r.related_id, true)) from cdc_bridge.related_table r;
  select count(distinct t.tgrelid)
  from pg_trigger t
  join pg_proc p on p.oid = t.tgfoid
  where p.pronamespace = 'cdc_bridge'::regnamespace and starts_with(p.proname, 'capture_');
end;
revoke all on function cdc_bridge.enable_capture() from public;
comment on function cdc_bridge.enable_capture() is 'Switches capture on again; safe to repeat';
