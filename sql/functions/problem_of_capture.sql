-- cdc_bridge.problem_of_capture()
--
-- Returns why changes of reservations are not captured now; null: they are. It compares capture with the names that it was
-- attached to: another table under such a name has no triggers, nor has a child table that was made later. (Partitions are
-- written through their parent, so one without triggers is no problem.) Shows no secret; runs with the caller's rights.
-- Locks: none. It is volatile so that it sees what is there after the locks of the statement that asks.

create or replace function cdc_bridge.problem_of_capture() returns text
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $problem$
declare
  found_problem text;
begin
  if not exists (select from cdc_bridge.captured_table) then
    return 'capture is not attached to any table';
  end if;
  with captured as (
    select format('%I.%I', t.schema_name, t.table_name) as name, c.oid
    from cdc_bridge.captured_table t
    left join pg_namespace n on n.nspname = t.schema_name
    left join pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
  ), needed (name, oid) as (
    select captured.name, captured.oid from captured
    union all
    select format('%I.%I', n.nspname, k.relname), k.oid
    from captured
    join pg_inherits i on i.inhparent = captured.oid
    join pg_class k on k.oid = i.inhrelid
    join pg_namespace n on n.oid = k.relnamespace
    where not k.relispartition and k.relpersistence <> 't'
  )
  select 'capture is not attached to table ' || min(needed.name) || ', or is switched off' into found_problem
  from needed
  where (
    select count(*)
    from pg_trigger g
    join pg_proc p on p.oid = g.tgfoid
    where g.tgrelid = needed.oid and g.tgname in ('cdc_bridge_insert', 'cdc_bridge_update') and g.tgenabled in ('O', 'A')
      and p.pronamespace = 'cdc_bridge'::regnamespace and position('Capture is disabled' in p.prosrc) = 0
  ) < 2;
  return found_problem;
end
$problem$;
revoke all on function cdc_bridge.problem_of_capture() from public;
grant execute on function cdc_bridge.problem_of_capture() to cdc_bridge, cdc_bridge_reader;
comment on function cdc_bridge.problem_of_capture() is 'Why changes of reservations are not captured now; null: they are';
