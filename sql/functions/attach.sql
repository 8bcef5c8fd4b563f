-- cdc_bridge.attach(reservations regclass, key name)
--
-- Attaches capture to a table: two statement-level triggers, one for INSERT, one for UPDATE, that append the
-- affected rows to the change log and ring the doorbell if a daemon sleeps.
--   reservations  the table
--   key           its unique, not null column that names a reservation; any type with a text form
-- Returns nothing. Safe to repeat; changes nothing (and locks nothing) when nothing changed.
-- Locks: SHARE ROW EXCLUSIVE on the table while it creates a trigger.
--
-- Statement-level triggers with transition tables also see ON CONFLICT, MERGE and COPY, and cost a bulk update far
-- less than row triggers. The capture function is written out with the key's name in it, as dynamic SQL would be
-- planned anew for every booking.
--
-- The doorbell. A committing NOTIFY takes one lock for the whole cluster across its WAL flush and so puts all
-- commits in a row. Therefore a daemon that goes to sleep takes the advisory lock (52683, 1), and the trigger tries
-- the same lock shared, for the blink of one expression: it gets it when nobody sleeps, and then sends nothing.
-- Writers hold it shared so that they never mistake one another for a sleeper. The CASE makes sure of the order and
-- that no cancelled statement leaves the lock behind.
--
-- What it costs is paid by every booking, so the function is as short as it can be: each expression that PL/pgSQL
-- evaluates has to be made ready anew in each transaction. (The cast to "char" takes the first letter of tg_op, I or U.)

create or replace function cdc_bridge.attach(reservations regclass, key name) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $attach$
declare
  function_name constant text := format('cdc_bridge.%I', 'capture_by_' || key);
  function_body constant text := format($body$
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
$body$, key);
  function_oid regprocedure;
  operation text;
begin
  if not exists (select from pg_attribute a where a.attrelid = reservations and a.attname = key and a.attnum > 0 and not a.attisdropped) then
    raise exception 'table % has no column "%"', reservations, key using errcode = 'undefined_column';
  end if;
  if not exists (
    select
    from pg_index i
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] and a.attname = key
    where i.indrelid = reservations and i.indisunique and i.indnkeyatts = 1 and i.indpred is null
  ) then
    raise exception 'column "%" of table % has no unique index of its own, so it cannot name one reservation', key, reservations
      using errcode = 'invalid_table_definition';
  end if;

  if not exists (select from pg_proc p where p.oid = to_regprocedure(function_name || '()') and p.prosrc = function_body) then
    execute format(
      'create or replace function %s() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as %L',
      function_name, function_body);
    execute format('alter function %s() owner to cdc_bridge_owner', function_name);
    execute format('revoke all on function %s() from public', function_name);
    execute format('comment on function %s() is %L', function_name,
      format('Appends the rows of an INSERT or UPDATE to cdc_bridge.change, by their column "%s"; made by cdc_bridge.attach', key));
  end if;
  function_oid := to_regprocedure(function_name || '()');

  foreach operation in array array['insert', 'update'] loop
    if not exists (
      select from pg_trigger t
      where t.tgrelid = reservations and t.tgname = 'cdc_bridge_' || operation and t.tgfoid = function_oid and t.tgnewtable = 'changed_rows'
    ) then
      execute format(
        'create or replace trigger %I after %s on %s referencing new table as changed_rows for each statement execute function %s()',
        'cdc_bridge_' || operation, operation, reservations, function_name);
    end if;
  end loop;
end
$attach$;
alter function cdc_bridge.attach(regclass, name) owner to cdc_bridge_owner;
revoke all on function cdc_bridge.attach(regclass, name) from public;
comment on function cdc_bridge.attach(regclass, name) is 'Attaches change capture to a table; safe to repeat';
