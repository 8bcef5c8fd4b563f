-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: is_installed
-- Whether cdc-bridge is installed; reads the catalogs, which takes no right on the schema.
select exists (
  select
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'cdc_bridge' and c.relname = 'schema_version'
)

-- name: schema_version
-- The installed version, and whether the first part of the migration to the next one was run.
select v.version, v.next_prepared_at is not null
from cdc_bridge.schema_version v
order by v.version desc
limit 1

-- name: has_mapping
-- Whether a mapping is installed.
select exists (select from cdc_bridge.payload_definition d where d.name = 'reservation')

-- name: has_capture
-- Whether a table has capture.
select exists (
  select
  from pg_trigger t
  join pg_proc p on p.oid = t.tgfoid
  where p.pronamespace = to_regnamespace('cdc_bridge') and t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update')
)

-- name: note_mapping
-- Lets the preconditions of an installation know the text of the mapping (blank: the installed one is kept), and the version.
select set_config('cdc_bridge.mapping', %(mapping)s, false), set_config('cdc_bridge.schema_version', %(version)s, false)

-- name: mapping_notes
-- What is unfinished in the payloads, a line each.
select note from cdc_bridge.mapping_notes() as note

-- name: wait_briefly
-- Bounds the wait for locks of what is only shown.
set lock_timeout = '2s'

-- name: count_kept
-- Rows of the change log and of the delivery log.
select
  (select count(*) from cdc_bridge.change),
  (select count(*) from cdc_bridge.delivery)

-- name: losses_of_uninstall
-- What is lost if cdc-bridge is uninstalled now, a line each.
select loss from cdc_bridge.losses_of_uninstall() as loss

-- name: blocking_sessions
-- The sessions that block another one, and the lock it waits for. A prepared transaction has the pid 0.
select
  coalesce(waits.relation::regclass::text, 'an object') as lock,
  blocking.pid,
  a.usename::text as role,
  a.application_name as application,
  a.state,
  a.xact_start as since
from unnest(pg_blocking_pids(%(pid)s)) as blocking (pid)
left join pg_stat_activity a on a.pid = blocking.pid
left join pg_locks waits on waits.pid = %(pid)s and not waits.granted
order by a.xact_start

-- name: installed_objects
-- Everything that an installation creates, as kind and name, with a fingerprint of its definition.
select 'role ' || r.rolname as name, '' as fingerprint
from pg_roles r
where r.rolname in ('cdc_bridge', 'cdc_bridge_owner', 'cdc_bridge_loader', 'cdc_bridge_capture', 'cdc_bridge_reader')
union all
select 'schema ' || n.nspname, coalesce(n.nspacl::text, '') from pg_namespace n where n.nspname = 'cdc_bridge'
union all
select
  case c.relkind when 'r' then 'table ' when 'v' then 'view ' when 'i' then 'index ' else 'sequence ' end
    || c.oid::regclass::text,
  concat(
    c.relacl, c.reloptions,
    case c.relkind when 'v' then pg_get_viewdef(c.oid) when 'i' then pg_get_indexdef(c.oid) end,
    (
      select string_agg(concat_ws(' ', a.attname, a.atttypid, a.attnotnull, a.attacl), ',' order by a.attnum)
      from pg_attribute a
      where a.attrelid = c.oid and a.attnum > 0
    )
  )
from pg_class c
where c.relnamespace = to_regnamespace('cdc_bridge') and c.relkind in ('r', 'v', 'i', 'S')
union all
select case p.prokind when 'p' then 'procedure ' else 'function ' end || p.oid::regprocedure, concat(p.proacl, pg_get_functiondef(p.oid))
from pg_proc p
where p.pronamespace = to_regnamespace('cdc_bridge')
union all
select format('trigger %s on %s', t.tgname, t.tgrelid::regclass), concat(t.tgenabled, pg_get_triggerdef(t.oid))
from pg_trigger t
join pg_proc p on p.oid = t.tgfoid
where p.pronamespace = to_regnamespace('cdc_bridge')
union all
select format('right of %s on %s: %s', r.rolname, c.oid::regclass, lower(granted.privilege_type)), ''
from pg_class c
cross join lateral aclexplode(c.relacl) as granted
join pg_roles r on r.oid = granted.grantee
where r.rolname in ('cdc_bridge', 'cdc_bridge_owner', 'cdc_bridge_loader', 'cdc_bridge_capture', 'cdc_bridge_reader')
  and c.relnamespace is distinct from to_regnamespace('cdc_bridge')

-- name: locks_on_other_tables
-- Locks of this transaction on tables outside our schema that can block others.
select l.relation::regclass::text, l.mode
from pg_locks l
join pg_class c on c.oid = l.relation
join pg_namespace n on n.oid = c.relnamespace
where l.pid = pg_backend_pid() and l.locktype = 'relation' and c.relkind in ('r', 'p')
  and n.nspname not in ('cdc_bridge', 'pg_catalog', 'information_schema')
  and l.mode not in ('AccessShareLock', 'RowShareLock')
order by 1, 2
