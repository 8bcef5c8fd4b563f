-- Repairs what attach and attach_related were asked for: creates the triggers that were dropped since, or that a partition
-- made since has not got. Nothing else is captured than was asked for: capture that was switched off stays off, a trigger
-- that was disabled stays disabled, and a table that was replaced by another one of its name is not attached unasked. What
-- cannot be repaired is left as it is, and the summary says so.

do $repair$
declare
  lost record;
  repaired text[] := '{}';
begin
  perform pg_catalog.set_config('cdc_bridge.repaired', '', true);
  if exists (
    select
    from pg_catalog.pg_proc p
    where p.pronamespace = 'cdc_bridge'::regnamespace and p.prorettype = 'trigger'::regtype
      and p.prosrc like '%Capture is disabled%'
  ) then
    return;
  end if;

  for lost in
    with recursive captured as (
      select t.table_oid, t.key
      from cdc_bridge.captured_table t
      join pg_catalog.pg_class c on c.oid = t.table_oid and c.relname = t.table_name and c.relkind in ('r', 'p')
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname = t.schema_name
      where exists (select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attname = t.key and not a.attisdropped)
    ), member (top, oid) as (
      select captured.table_oid, captured.table_oid from captured
      union
      select m.top, i.inhrelid from member m join pg_catalog.pg_inherits i on i.inhparent = m.oid
    ), incomplete as (
      select m.top, pg_catalog.string_agg(m.oid::regclass::text, ', ' order by m.oid) as names
      from member m
      join pg_catalog.pg_class c on c.oid = m.oid and c.relkind in ('r', 'p') and c.relpersistence <> 't'
      where (
        select pg_catalog.count(*)
        from pg_catalog.pg_trigger g
        join pg_catalog.pg_proc p on p.oid = g.tgfoid
        where g.tgrelid = m.oid and g.tgname in ('cdc_bridge_insert', 'cdc_bridge_update') and p.pronamespace = 'cdc_bridge'::regnamespace
      ) < 2
      group by m.top
    )
    select
      i.names,
      pg_catalog.format('select cdc_bridge.attach(%L, %L)', captured.table_oid::regclass, captured.key) as statement
    from incomplete i
    join captured on captured.table_oid = i.top
    union all
    -- Of a table of attach_related the name alone is known; so it has to have one of its triggers.
    select
      pg_catalog.format('%I.%I', r.schema_name, r.table_name),
      pg_catalog.format(
        'select cdc_bridge.attach_related(%L, %L, %L, %L, %L, %L)',
        c.oid::regclass, r.reservation_key, r.key, r.via, r.condition, r.reservations
      )
    from cdc_bridge.related_table r
    join pg_catalog.pg_namespace n on n.nspname = r.schema_name
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = r.table_name
    cross join lateral (
      select pg_catalog.count(*) as number
      from pg_catalog.pg_trigger g
      join pg_catalog.pg_proc p on p.oid = g.tgfoid
      where g.tgrelid = c.oid and p.pronamespace = 'cdc_bridge'::regnamespace and p.proname = 'capture_related_' || r.related_id
    ) as triggers
    where r.detached_at is null and r.via is null and triggers.number between 1 and 2
    order by 1
  loop
    begin
      execute lost.statement;
      repaired := repaired || lost.names;
    exception
      when lock_not_available or deadlock_detected then
        raise;
      when others then
        raise warning 'capture is not repaired on %: %', lost.names, sqlerrm;
    end;
  end loop;
  perform pg_catalog.set_config('cdc_bridge.repaired', pg_catalog.array_to_string(repaired, ', '), true);
end
$repair$;
