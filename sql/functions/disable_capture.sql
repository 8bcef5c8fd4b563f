-- cdc_bridge.disable_capture()
--
-- The emergency switch: nothing is captured any more until cdc_bridge.enable_capture() is called. What e-Res writes
-- meanwhile is not captured; "cdc-bridge reconcile --repair" finds it afterwards. The triggers stay; what they call is
-- replaced by a function that does nothing.
-- Returns on how many tables capture is off now. Safe to repeat.
-- Locks: none on any table, so it neither waits for a writer nor makes one wait. A statement that is under way is still
-- captured, every later one is not.

create or replace function cdc_bridge.disable_capture() returns bigint
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $disable$
declare
  capture regprocedure;
begin
  for capture in
    select distinct t.tgfoid
    from pg_trigger t
    where t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update')
      and t.tgfoid in (select p.oid from pg_proc p where p.pronamespace = 'cdc_bridge'::regnamespace)
  loop
    execute format(
      'create or replace function %s returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as %L',
      capture, E'\nbegin\n  -- Capture is disabled.\n  return null;\nend\n');
  end loop;
  return (
    select count(distinct t.tgrelid)
    from pg_trigger t
    where t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update')
      and t.tgfoid in (select p.oid from pg_proc p where p.pronamespace = 'cdc_bridge'::regnamespace)
  );
end
$disable$;
revoke all on function cdc_bridge.disable_capture() from public;
comment on function cdc_bridge.disable_capture() is 'Switches capture off without a lock on any table; safe to repeat';
