-- cdc_bridge.define_related(related_id bigint, enabled boolean)
--
-- Creates the trigger function of a related table. Used by attach_related, enable_capture and disable_capture.
--   related_id  its row in cdc_bridge.related_table
--   enabled     false: a function that does nothing
-- Returns the function. Safe to repeat: an up-to-date function is not replaced. Locks: none on any table.
--
-- It appends to cdc_bridge.related_change: of a child the reservations of the changed rows, of an update those before and
-- after it; of a parent the keys of the updated rows. It does not append to the change log itself: numbers there have to
-- grow in the order in which the changes of one reservation commit, which the row lock of the reservation sees to, and here
-- nothing locks it. For how the column is named, and for the wake-up, see define_capture.sql. A condition is e-Res's columns
-- again: if it fails, every row counts.

create or replace function cdc_bridge.define_related(related_id bigint, enabled boolean) returns regprocedure
  language plpgsql
  security definer  -- so that the function belongs to us
  set search_path = pg_catalog, pg_temp
as $define$
declare
  function_name constant text := format('cdc_bridge.%I', 'capture_related_' || related_id);
  related cdc_bridge.related_table;
  operation record;
  insertion text;
  function_body text := '';
begin
  select * into strict related from cdc_bridge.related_table r where r.related_id = define_related.related_id;
  for operation in
    select * from (
      values ('INSERT', 'changed_rows'), ('UPDATE', '(select * from changed_rows union all select * from former_rows)'), ('DELETE', 'former_rows')
    ) as o (name, rows_of)
    where related.via is null
    union all
    select 'UPDATE', 'changed_rows' where related.via is not null
  loop
    insertion := format($insertion$
    insert into cdc_bridge.related_change (related_id, key, changed_at)
    select distinct %4$s, named.key, captured.cdc_bridge_changed_at
    from (select null::text as %1$I) as without
    cross join %2$s as changed
    cross join lateral (
      select case when pg_typeof(%1$I) = 'bpchar'::regtype then rtrim(concat(%1$I), ' ') else concat(%1$I) end as key
      from (select changed.*) as row_
      where %1$I is not null
    ) as named
    where %3$s;
    cdc_bridge_captured := found;$insertion$, coalesce(related.reservation_key, related.key), operation.rows_of, '%s', related.related_id);
    function_body := function_body || format(
      E'\n  %s tg_op = %L then%s',
      case when function_body = '' then 'if' else 'elsif' end,
      operation.name,
      case
        when related.via is not null or related.condition is null then replace(insertion, '%s', 'true')
        else
          E'\n  begin' || replace(insertion, '%s', '(' || related.condition || E'\n)')
            || E'\n  exception when others then' || replace(insertion, '%s', 'true') || E'\n  end;'
      end
    );
  end loop;
  function_body := case when enabled then format(
    E'\n#variable_conflict use_column\n<<captured>>\ndeclare\n  cdc_bridge_changed_at constant timestamptz := clock_timestamp();\n'
    '  cdc_bridge_captured boolean;\nbegin%s\n  end if;\n  if not cdc_bridge_captured then\n    return null;\n  end if;\n  if (\n'
    '    case when pg_try_advisory_lock_shared(52683, 1) then not pg_advisory_unlock_shared(52683, 1) else pg_notification_queue_usage() < 0.5 end\n'
    '  ) then\n    notify cdc_bridge_change;\n  end if;\n  return null;\nend\n', function_body)
  else E'\nbegin\n  -- Capture is disabled: select cdc_bridge.enable_capture();\n  return null;\nend\n' end;

  if not exists (select from pg_proc p where p.oid = to_regprocedure(function_name || '()') and p.prosrc = function_body) then
    execute format(
      'create or replace function %s() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as %L',
      function_name, function_body);
    execute format('revoke all on function %s() from public', function_name);
    execute format('comment on function %s() is %L', function_name,
      format('Captures changes of %I.%I; created by cdc_bridge.attach_related', related.schema_name, related.table_name));
    grant create on schema cdc_bridge to cdc_bridge_capture;
    execute format('alter function %s() owner to cdc_bridge_capture', function_name);
    revoke create on schema cdc_bridge from cdc_bridge_capture;
  end if;
  return to_regprocedure(function_name || '()');
end
$define$;
revoke all on function cdc_bridge.define_related(bigint, boolean) from public;
comment on function cdc_bridge.define_related(bigint, boolean) is 'Creates the trigger function of a related table';
