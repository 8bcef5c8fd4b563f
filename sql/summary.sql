-- What is installed, and what is next: one line a row. psql prints it at the end of install.sql, "cdc-bridge install" too.

select line
from (
  select 1, format('Schema cdc_bridge, version %s, is installed in %s.', max(v.version), current_database())
  from cdc_bridge.schema_version v
  union all
  select 2, format('Capture is attached to %s.', attached.name)
  from (
    select distinct t.tgrelid::regclass::text as name
    from pg_trigger t
    join pg_proc p on p.oid = t.tgfoid
    where p.pronamespace = 'cdc_bridge'::regnamespace and t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update')
  ) as attached
  union all
  select 3, format('Changes of %I.%I are changes of reservations.', r.schema_name, r.table_name)
  from cdc_bridge.related_table r
  where r.detached_at is null
  union all
  select 4, format('Payload %s has %s keys.', d.name, (select count(*) from unnest(d.columns) as c where c not like '@%'))
  from cdc_bridge.payload_definition d
  union all
  select 5, 'Roles: cdc_bridge for the daemon, cdc_bridge_reader for whoever monitors; without'
  union all
  select 6, 'login cdc_bridge_owner, cdc_bridge_loader and cdc_bridge_capture.'
  union all
  select next.number, next.step
  from (
    values
      (7, 'Next:'),
      (8, '  1. A password for the daemon''s role, in psql: \password cdc_bridge'),
      (9, '  2. The body of a reservation, by its key: cdc-bridge payload ID'),
      (10, '  3. The daemon, as role cdc_bridge: cdc-bridge guide operator')
  ) as next (number, step)
  where not exists (select from cdc_bridge.endpoint)
) as summary (number, line)
order by number, line;
