-- cdc_bridge.define_capture(key name, enabled boolean)
--
-- Creates the trigger function that appends the rows of an INSERT or UPDATE to the change log and notifies an idle
-- daemon. Used by attach, enable_capture and disable_capture.
--   key      the column that identifies a reservation
--   enabled  false: a function that does nothing, so that capture is off without a lock on any table
-- Returns the function. Safe to repeat: an up-to-date function is not replaced. Locks: none on any table.
--
-- Every booking pays for this function, so it is as short as possible: PL/pgSQL prepares each expression anew in each
-- transaction. The key's name is written into it, as dynamic SQL would be planned for every booking. (The cast to "char"
-- takes the first letter of tg_op, I or U.) e-Res's table may have columns named like the variables, hence
-- variable_conflict.
--
-- Wake-up. A committing NOTIFY takes a cluster-wide lock across its WAL flush, which serialises commits. So a daemon that
-- is about to sleep holds the advisory lock (52683, 1) exclusively, and the trigger tries the same lock shared, within one
-- expression: if it gets the lock, no daemon sleeps, and it sends nothing. Writers share the lock so that they never take
-- one another for a sleeping daemon. The CASE fixes the order of evaluation and makes sure that a cancelled statement
-- leaves no lock behind.

create or replace function cdc_bridge.define_capture(key name, enabled boolean) returns regprocedure
  language plpgsql
  security definer  -- so that the function belongs to cdc_bridge_owner
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
      format('Appends the rows of an INSERT or UPDATE to cdc_bridge.change, by their column "%s"; created by cdc_bridge.attach', key));
  end if;
  return to_regprocedure(function_name || '()');
end
$define$;
revoke all on function cdc_bridge.define_capture(name, boolean) from public;
comment on function cdc_bridge.define_capture(name, boolean) is 'Creates the trigger function of capture, enabled or disabled';
