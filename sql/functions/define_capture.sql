-- cdc_bridge.define_capture(key name, enabled boolean)
--
-- Writes the trigger function that appends the rows of an INSERT or UPDATE to the change log and rings the doorbell if a
-- daemon sleeps; for attach, enable_capture and disable_capture.
--   key      the column that names a reservation
--   enabled  false: a function that does nothing, so that capture is off without a lock on any table
-- Returns the function. Safe to repeat; writes nothing when nothing changed. Locks: none on any table.
--
-- The key's name is written out, as dynamic SQL would be planned anew for every booking. What the function costs is paid
-- by every booking, so it is as short as it can be: each expression that PL/pgSQL evaluates has to be made ready anew in
-- each transaction. (The cast to "char" takes the first letter of tg_op, I or U.) e-Res's table may have columns that are
-- called as the variables are, so it is said which of them is meant.
--
-- The doorbell. A committing NOTIFY takes one lock for the whole cluster across its WAL flush and so puts all
-- commits in a row. Therefore a daemon that goes to sleep takes the advisory lock (52683, 1), and the trigger tries
-- the same lock shared, for the blink of one expression: it gets it when nobody sleeps, and then sends nothing.
-- Writers hold it shared so that they never mistake one another for a sleeper. The CASE makes sure of the order and
-- that no cancelled statement leaves the lock behind.

create or replace function cdc_bridge.define_capture(key name, enabled boolean) returns regprocedure
  language plpgsql
  security definer  -- so that the owner makes what is the owner's
  set search_path = pg_catalog, pg_temp
as $define$
declare
  function_name constant text := format('cdc_bridge.%I', 'capture_by_' || key);
  function_body constant text := case when enabled then format($body$
#variable_conflict use_variable
declare
  changed_at constant timestamptz := clock_timestamp();
begin
  insert into cdc_bridge.change (reservation_id, operation, changed_at)
  select changed_rows.%I::text, tg_op::"char", changed_at
  from changed_rows;
  if not found
    or (case when pg_try_advisory_lock_shared(52683, 1) then pg_advisory_unlock_shared(52683, 1) else false end)
  then
    return null;
  end if;
  notify cdc_bridge_change;
  return null;
end
$body$, key) else $body$
begin
  -- Capture is disabled: select cdc_bridge.enable_capture();
  return null;
end
$body$ end;
begin
  if not exists (select from pg_proc p where p.oid = to_regprocedure(function_name || '()') and p.prosrc = function_body and p.prosecdef) then
    execute format(
      'create or replace function %s() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as %L',
      function_name, function_body);
    execute format('revoke all on function %s() from public', function_name);
    execute format('comment on function %s() is %L', function_name,
      format('Appends the rows of an INSERT or UPDATE to cdc_bridge.change, by their column "%s"; made by cdc_bridge.attach', key));
  end if;
  return to_regprocedure(function_name || '()');
end
$define$;
revoke all on function cdc_bridge.define_capture(name, boolean) from public;
comment on function cdc_bridge.define_capture(name, boolean) is 'Writes the trigger function of capture, on or off';
