-- cdc_bridge.disable_capture()
--
-- The emergency switch: nothing is captured until cdc_bridge.enable_capture() is called. What e-Res writes meanwhile is
-- missing from the change log; "cdc-bridge reconcile --repair" delivers it afterwards. The triggers stay; their function
-- is replaced by one that does nothing.
-- Returns the number of tables whose capture is off. Safe to repeat.
-- Locks: none on any table, so it neither waits for a writer nor makes one wait. Statements already under way are still
-- captured.

create or replace function cdc_bridge.disable_capture() returns bigint
  language sql
  set search_path = pg_catalog, pg_temp
begin atomic
  select count(distinct cdc_bridge.define_capture(substr(p.proname, length('capture_by_') + 1)::name, false))
  from pg_proc p
  where p.pronamespace = 'cdc_bridge'::regnamespace and starts_with(p.proname, 'capture_by_');
  select count(cdc_bridge.define_related(r.related_id, false)) from cdc_bridge.related_table r;
  select count(distinct t.tgrelid)
  from pg_trigger t
  join pg_proc p on p.oid = t.tgfoid
  where p.pronamespace = 'cdc_bridge'::regnamespace and starts_with(p.proname, 'capture_');
end;
revoke all on function cdc_bridge.disable_capture() from public;
comment on function cdc_bridge.disable_capture() is 'Switches capture off without a lock on any table; safe to repeat';
