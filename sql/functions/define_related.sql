-- cdc_bridge.define_related(related_id bigint, enabled boolean)
--
-- Creates the trigger function of a related table. Used by attach_related, enable_capture and disable_capture.
--   related_id  its row in cdc_bridge.related_table
--   enabled     false: a function that does nothing
-- Returns the function. Safe to repeat: an up-to-date function is not replaced. Locks: none on any table.
--
-- Of a child it appends the reservations of the changed rows to the change log, of an update those before and after it. Of a
-- parent it appends the updated rows to cdc_bridge.related_change. For how it names its column, and
-- for the wake-up, see define_capture.sql. A condition is e-Res's columns again: if it fails, every row counts.

create or replace function cdc_bridge.define_related(related_id bigint, enabled boolean) returns regprocedure
  language plpgsql
  security definer  -- so that the function belongs to us
  set search_path = pg_catalog, pg_temp
as $define$
declare
  function_name constant text := format('cdc_bridge.%I', 'capture_related_' || related_id);
  related cdc_bridge.related_table;
  rows_of text;
  insertion text;
  function_body text;
begin
  select * into strict related from cdc_bridge.related_table r where r.related_id = define_related.related_id;
  if related.via is null then
    -- The rows of each kind of statement, and one insertion for each.
    insertion := $insertion$
    insert into cdc_bridge.change (reservation_id, operation, changed_at)
    select distinct named.key, 'U'::"char", captured.cdc_bridge_changed_at
    from (select null::text as %1$I) as without
    cross join %2$s as changed
    cross join lateral (
      select case when pg_typeof(%1$I) = 'bpchar'::regtype then rtrim(concat(%1$I), ' ') else concat(%1$I) end as key
      from (select changed.*) as row_
      where %1$I is not null
    ) as named
    where %3$s;
    cdc_bridge_captured := found;$insertion$;
    function_body := '';
    foreach rows_of in array array['changed_rows', '(select * from changed_rows union all select * from former_rows)', 'former_rows'] loop
      function_body := function_body || format(
        E'\n  %s tg_op = %L then%s',
        case when function_body = '' then 'if' else 'elsif' end,
        case rows_of when 'changed_rows' then 'INSERT' when 'former_rows' then 'DELETE' else 'UPDATE' end,
        case
          when related.condition is null then format(insertion, related.reservation_key, rows_of, 'true')
          else
            E'\n  begin' || format(insertion, related.reservation_key, rows_of, '(' || related.condition || E'\n)')
              || E'\n  exception when others then' || format(insertion, related.reservation_key, rows_of, 'true') || E'\n  end;'
        end
      );
    end loop;
    function_body := function_body || E'\n  end if;';
  else
    function_body := format($insertion$
  insert into cdc_bridge.related_change (related_id, key, changed_at)
  select distinct %2$s, named.key, captured.cdc_bridge_changed_at
  from (select null::text as %1$I) as without
  cross join changed_rows as changed
  cross join lateral (
      select case when pg_typeof(%1$I) = 'bpchar'::regtype then rtrim(concat(%1$I), ' ') else concat(%1$I) end as key
      from (select changed.*) as row_
      where %1$I is not null
    ) as named;
  cdc_bridge_captured := found;$insertion$, related.key, related.related_id);
  end if;
  function_body := case when enabled then format(
    E'\n#variable_conflict use_column\n<<captured>>\ndeclare\n  cdc_bridge_changed_at constant timestamptz := clock_timestamp();\n'
    '  cdc_bridge_captured boolean;\nbegin%s\n  if not cdc_bridge_captured then\n    return null;\n  end if;\n  if (\n'
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
