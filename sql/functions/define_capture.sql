-- cdc_bridge.define_capture(key name, enabled boolean)
--
-- Creates the trigger function that appends the rows of an INSERT or UPDATE to the change log and notifies an idle
-- daemon. Used by attach, enable_capture and disable_capture.
--   key      the column that identifies a reservation
--   enabled  false: a function that does nothing, so that capture is off without a lock on any table
-- Returns the function. Safe to repeat: an up-to-date function is not replaced. Locks: none on any table.
--
-- It runs as cdc_bridge_capture, which can append to the change log and nothing else.
--
-- Every booking pays for this function, so it is as short as possible: PL/pgSQL prepares each expression anew in each
-- transaction, and PostgreSQL looks up each function that a statement names. The key's name is written into it, as dynamic
-- SQL would be planned for every booking. (The cast to "char" takes the first letter of tg_op, I or U.) Setting search_path
-- would take a tenth of its time: instead, every function, type and operator is named with its schema.
--
-- It must not fail, whatever e-Res does to its table. So the key is named in a subquery that finds the column of the table,
-- or else, where the key was renamed or dropped, the null beside it. Then the column is looked up by its number, the
-- trigger's argument. Somebody else can define a cast for a type that is not PostgreSQL's own (those have numbers below
-- 16384): concat calls none. The cast also strips the padding of char(n), which comes and goes with the column's type and is
-- no part of the key. e-Res's columns may have any name, so tg_op and our variable are qualified.
--
-- Wake-up. A committing NOTIFY takes a cluster-wide lock across its WAL flush, which serialises commits. So a daemon that
-- is about to sleep holds the advisory lock (52683, 1) exclusively, and the trigger tries the same lock shared, within one
-- expression: if it gets the lock, no daemon sleeps, and it sends nothing. Writers share the lock so that they never take
-- one another for a sleeping daemon. The CASE fixes the order of evaluation and makes sure that a cancelled statement
-- leaves no lock behind. If the notification queue fills up, as a session that listens and never ends its transaction can
-- make it, nothing is sent either, since a full queue makes the commit fail: the daemon reads at intervals in any case.

create or replace function cdc_bridge.define_capture(key name, enabled boolean) returns regprocedure
  language plpgsql
  security definer  -- so that the function belongs to cdc_bridge_owner
  set search_path = pg_catalog, pg_temp
as $define$
declare
  function_name constant text := format('cdc_bridge.%I', 'capture_by_' || key);
  function_body constant text := case when enabled then format($body$
#variable_conflict use_column
<<captured>>
declare
  cdc_bridge_changed_at constant pg_catalog.timestamptz := pg_catalog.clock_timestamp();
  cdc_bridge_key pg_catalog.name;
begin
  insert into cdc_bridge.change (reservation_id, operation, changed_at)
  select named.key, %2$I.tg_op::pg_catalog."char", captured.cdc_bridge_changed_at
  from (select null::pg_catalog.text as %1$I) as without
  cross join changed_rows
  cross join lateral (
    select
      case when pg_catalog.pg_typeof(%1$I)::pg_catalog.oid operator(pg_catalog.<) 16384::pg_catalog.oid
        then %1$I::pg_catalog.text else pg_catalog.concat(%1$I) end as key
    from (select changed_rows.*) as changed
    where %1$I is not null
  ) as named;
  if found and (
    case when pg_catalog.pg_try_advisory_lock_shared(52683, 1) then pg_catalog.pg_advisory_unlock_shared(52683, 1) end
  ) then
    return null;
  end if;

  if not found then
    if not exists (select from changed_rows) then
      return null;
    end if;
    select a.attname into cdc_bridge_key
    from pg_catalog.pg_attribute a
    where a.attrelid operator(pg_catalog.=) tg_relid and a.attnum operator(pg_catalog.=) tg_argv[0]::pg_catalog.int2
      and not a.attisdropped;
    if cdc_bridge_key is null then
      return null;
    end if;
    execute pg_catalog.format(
      'insert into cdc_bridge.change (reservation_id, operation, changed_at) '
      'select case when pg_catalog.pg_typeof(changed_rows.%%1$I)::pg_catalog.oid operator(pg_catalog.<) 16384::pg_catalog.oid '
      'then changed_rows.%%1$I::pg_catalog.text else pg_catalog.concat(changed_rows.%%1$I) end, $1, $2 '
      'from changed_rows where changed_rows.%%1$I is not null', cdc_bridge_key
    ) using tg_op::pg_catalog."char", cdc_bridge_changed_at;
  end if;
  if pg_catalog.pg_notification_queue_usage() operator(pg_catalog.<) 0.5::pg_catalog.float8 then
    notify cdc_bridge_change;
  end if;
  return null;
end
$body$, key, 'capture_by_' || key) else $body$
begin
  -- Capture is disabled: select cdc_bridge.enable_capture();
  return null;
end
$body$ end;
begin
  if not exists (select from pg_proc p where p.oid = to_regprocedure(function_name || '()') and p.prosrc = function_body and p.prosecdef) then
    execute format(
      'create or replace function %s() returns trigger language plpgsql security definer as %L', function_name, function_body);
    execute format('revoke all on function %s() from public', function_name);
    execute format('comment on function %s() is %L', function_name,
      format('Appends the rows of an INSERT or UPDATE to cdc_bridge.change, by their column "%s"; created by cdc_bridge.attach', key));
    grant create on schema cdc_bridge to cdc_bridge_capture;
    execute format('alter function %s() owner to cdc_bridge_capture', function_name);
    revoke create on schema cdc_bridge from cdc_bridge_capture;
  end if;
  return to_regprocedure(function_name || '()');
end
$define$;
revoke all on function cdc_bridge.define_capture(name, boolean) from public;
comment on function cdc_bridge.define_capture(name, boolean) is 'Creates the trigger function of capture, enabled or disabled';
