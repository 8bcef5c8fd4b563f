-- What is installed, what has changed, what is wrong with it, and what is next: one line a row. psql prints it at the end of
-- install.sql, "cdc-bridge install" too, in the transaction of the installation: that has noted in settings of its own what
-- there was before, and what it has repaired.

with before (name, query, columns) as (
  select p.key, p.value ->> 'query', array(select jsonb_array_elements_text(p.value -> 'columns'))
  from jsonb_each(coalesce(nullif(current_setting('cdc_bridge.payloads_before', true), ''), '{}')::jsonb) as p
), line (name, is_new, code, keys) as (
  select d.name, version.is_new, l.code, l.keys
  from cdc_bridge.payload_definition d
  join before b on b.name = d.name and b.query <> d.query
  cross join lateral (values (true, d.query, d.columns), (false, b.query, b.columns)) as version (is_new, query, columns)
  cross join lateral cdc_bridge.query_lines(version.query, version.columns) as l
  where l.code <> ''
), changed (name, keys) as (
  select l.name, l.keys
  from line l
  where not exists (select from line o where o.name = l.name and o.is_new <> l.is_new and (o.code, o.keys) = (l.code, l.keys))
), payload (name, is_same, number_of_keys, changes) as (
  select
    d.name,
    b.query = d.query,
    (select count(*) from unnest(d.columns) as c where c not like '@%'),
    coalesce(
      nullif(concat_ws('; ', cdc_bridge.listed(changed_keys.names), case when clauses.are_changed then 'what it reads from' end), ''),
      'in its comments only'
    )
  from cdc_bridge.payload_definition d
  left join before b on b.name = d.name
  cross join lateral (
    select array_agg(of_key.name order by of_key.place, of_key.name) as names
    from (
      select k.name, array_position(d.columns, k.name) as place
      from changed c
      cross join unnest(c.keys) as k (name)
      where c.name = d.name
      group by k.name
    ) as of_key
  ) as changed_keys
  cross join lateral (
    select bool_or(c.keys = '{}') as are_changed from changed c where c.name = d.name
  ) as clauses
), fault as (
  select f.* from cdc_bridge.faults_of_capture() as f
)
select line
from (
  select
    1, 1::bigint,
    format('Schema cdc_bridge, version %s, is installed in %s%s.', max(v.version), current_database(),
      case when current_setting('cdc_bridge.version_before', true) = max(v.version)::text then ' (as before)' end)
  from cdc_bridge.schema_version v
  union all
  select 2, 1, format('Capture is attached to %s.', attached.name)
  from (
    select distinct t.tgrelid::regclass::text as name
    from pg_trigger t
    join pg_proc p on p.oid = t.tgfoid
    where p.pronamespace = 'cdc_bridge'::regnamespace and t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update')
  ) as attached
  where attached.name not in (select f.table_name from fault f where f.table_name is not null)
  union all
  select 3, 1, format('Capture is repaired: %s. Then: cdc-bridge reconcile --repair', repaired)
  from current_setting('cdc_bridge.repaired', true) as repaired
  where repaired <> ''
  union all
  select 4, 2 * f.number + told.number, told.line
  from (
    select row_number() over (order by g.problem) as number, g.problem, bool_or(g.loses) as loses, string_agg(g.remedy, ' ') as remedy
    from (select distinct on (problem, remedy) * from fault order by problem, remedy, table_name) as g
    group by g.problem
  ) as f
  cross join lateral (
    values
      (1, format('Capture is NOT complete: %s.', f.problem)),
      (2, '  Run: ' || f.remedy || case when f.loses then ' Then: cdc-bridge reconcile --repair' else '' end)
  ) as told (number, line)
  where told.line is not null
  union all
  select 5, 1, format('Changes of %I.%I are changes of reservations.', r.schema_name, r.table_name)
  from cdc_bridge.related_table r
  where r.detached_at is null and format('%I.%I', r.schema_name, r.table_name) not in (select f.table_name from fault f where f.table_name is not null)
  union all
  select
    6, 1,
    case
      when p.is_same is null then format('Payload %s has %s keys.', p.name, p.number_of_keys)
      when p.is_same then format('Payload %s has %s keys (as before).', p.name, p.number_of_keys)
      else format('Payload %s is replaced, and has %s keys. Changed: %s.', p.name, p.number_of_keys, p.changes)
    end
  from payload p
  union all
  select 7, n.number, n.line from cdc_bridge.mapping_notes() with ordinality as n (line, number)
  union all
  select 8, kept.number, kept.line
  from (
    values
      (1, 'The installed mapping is kept. To replace it: cdc-bridge install --mapping FILE,'),
      (2, 'or: psql -v mapping=FILE -f sql/install.sql')
  ) as kept (number, line)
  where btrim(coalesce(current_setting('cdc_bridge.mapping', true), '')) = ''
    and exists (select from before b where b.name = 'reservation') and not exists (select from payload p where p.is_same is not true)
  union all
  select 9, 1, 'Roles: cdc_bridge for the daemon, cdc_bridge_reader for whoever monitors; without'
  union all
  select 9, 2, 'login cdc_bridge_owner, cdc_bridge_loader and cdc_bridge_capture.'
  union all
  select 10, next.number, next.step
  from (
    values
      (1, 'Next:'),
      (2, '  1. A password for the daemon''s role, in psql: \password cdc_bridge'),
      (3, '  2. The body of a reservation, by its key: cdc-bridge payload ID'),
      (4, '  3. The daemon, as role cdc_bridge: cdc-bridge guide operator')
  ) as next (number, step)
  where not exists (select from cdc_bridge.endpoint)
) as summary (part, number, line)
order by part, number, line;
