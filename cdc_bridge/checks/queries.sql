-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: clock
-- The server's time.
select clock_timestamp()

-- name: server
-- Version as a number and as text, and whether the server is a standby.
select current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery()

-- name: live_daemons
-- The live daemons that lease endpoints, whether they get notifications, and how many endpoints each has.
select s.daemon, s.listening, count(*)
from cdc_bridge.endpoint_status s
where s.daemon is not null
group by s.daemon, s.listening
order by s.daemon

-- name: failing_alert
-- Why the last alert could not be sent, by which daemon, and since when it is to be; no row: nothing failed.
select a.problem, a.reported_by, a.reported_at
from cdc_bridge.alert a
where a.problem is not null and exists (
  select from cdc_bridge.daemon d where d.name = a.reported_by and d.alive_until > now()
)

-- name: keys_in_use
-- How many secrets of endpoints are encrypted with which key; null: they are plain text.
select key_id, count(*) from cdc_bridge.endpoint_secret group by key_id order by key_id

-- name: connections_left
-- The role, the database, and how many connections each limit leaves to the role, beside those of others.
select
  quote_ident(current_user),
  quote_ident(current_database()),
  case when r.rolconnlimit = -1 or r.rolsuper then 1000000 else r.rolconnlimit end,
  case when d.datconnlimit = -1 or r.rolsuper then 1000000 else d.datconnlimit - others.here end,
  current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true)::int, 0) - others.anywhere
from pg_roles r
join pg_database d on d.datname = current_database()
cross join lateral (
  select count(*)::int as anywhere, count(*) filter (where a.datid = d.oid)::int as here
  from pg_stat_activity a
  where a.usesysid <> r.oid  -- What kind of session it is, others do not see.
) as others
where r.rolname = session_user

-- name: missing_rights
-- What the daemon has to do and the current role may not, each with the statement that grants it.
with unusable (name) as (
  select p.oid::regprocedure::text
  from pg_proc p
  where p.pronamespace = 'cdc_bridge'::regnamespace and p.proowner = to_regrole('cdc_bridge_loader')
    and not has_function_privilege(p.oid, 'execute')
)
select needed.what, needed.remedy
from (
  values
    ('use the schema cdc_bridge', 'grant usage on schema cdc_bridge to cdc_bridge', has_schema_privilege('cdc_bridge', 'usage')),
    ('read cdc_bridge.change', 'grant select on cdc_bridge.change to cdc_bridge', has_table_privilege('cdc_bridge.change', 'select')),
    ('read cdc_bridge.endpoint', 'grant select on cdc_bridge.endpoint to cdc_bridge', has_table_privilege('cdc_bridge.endpoint', 'select')),
    ('add to cdc_bridge.endpoint', 'grant insert on cdc_bridge.endpoint to cdc_bridge', has_table_privilege('cdc_bridge.endpoint', 'insert')),
    ('change cdc_bridge.endpoint', 'grant update on cdc_bridge.endpoint to cdc_bridge', has_table_privilege('cdc_bridge.endpoint', 'update')),
    ('remove from cdc_bridge.endpoint', 'grant delete on cdc_bridge.endpoint to cdc_bridge', has_table_privilege('cdc_bridge.endpoint', 'delete')),
    ('draw change numbers', 'grant usage on sequence cdc_bridge.change_seq_seq to cdc_bridge', has_sequence_privilege('cdc_bridge.change_seq_seq', 'usage')),
    ('read cdc_bridge.delivery', 'grant select on cdc_bridge.delivery to cdc_bridge', has_table_privilege('cdc_bridge.delivery', 'select')),
    ('add to cdc_bridge.delivery', 'grant insert on cdc_bridge.delivery to cdc_bridge', has_table_privilege('cdc_bridge.delivery', 'insert')),
    (
      'keep attempts in cdc_bridge.attempt',
      'grant select, insert, delete, update (response) on cdc_bridge.attempt to cdc_bridge',
      has_table_privilege('cdc_bridge.attempt', 'select') and has_table_privilege('cdc_bridge.attempt', 'insert')
        and has_table_privilege('cdc_bridge.attempt', 'delete') and has_any_column_privilege('cdc_bridge.attempt', 'update')
    ),
    (
      'prune change log and delivery log', 'grant execute on all procedures in schema cdc_bridge to cdc_bridge; '
        'grant execute on function cdc_bridge.prune_changes, cdc_bridge.prune_deliveries, cdc_bridge.prunable_delivery_logs, '
        'cdc_bridge.prune_attempts, cdc_bridge.prune_responses to cdc_bridge',
      has_function_privilege('cdc_bridge.prune(interval, interval, bigint, bigint)', 'execute')
        and has_function_privilege('cdc_bridge.prune_changes(interval, xid8, bigint, integer)', 'execute')
        and has_function_privilege('cdc_bridge.prune_deliveries(bigint, interval, interval, bigint, integer)', 'execute')
        and has_function_privilege('cdc_bridge.prunable_delivery_logs(interval, interval)', 'execute')
        and has_function_privilege('cdc_bridge.prune_attempts(interval, timestamptz, bigint, bigint, integer, integer)', 'execute')
        and has_function_privilege('cdc_bridge.prune_responses(integer)', 'execute')
    ),
    (
      'read cdc_bridge.endpoint_status, cdc_bridge.endpoint_position, cdc_bridge.unsettled_delivery and cdc_bridge.endpoint_secret',
      'grant select on cdc_bridge.endpoint_status, cdc_bridge.endpoint_position, cdc_bridge.unsettled_delivery, '
        'cdc_bridge.endpoint_secret to cdc_bridge',
      has_table_privilege('cdc_bridge.endpoint_status', 'select') and has_table_privilege('cdc_bridge.endpoint_position', 'select')
        and has_table_privilege('cdc_bridge.unsettled_delivery', 'select')
        and has_table_privilege('cdc_bridge.endpoint_secret', 'select')
    ),
    (
      'register in cdc_bridge.daemon',
      'grant select, insert, update, delete on cdc_bridge.daemon to cdc_bridge; '
        'grant execute on function cdc_bridge.end_daemon to cdc_bridge',
      has_table_privilege('cdc_bridge.daemon', 'select') and has_table_privilege('cdc_bridge.daemon', 'insert')
        and has_table_privilege('cdc_bridge.daemon', 'update') and has_table_privilege('cdc_bridge.daemon', 'delete')
        and has_function_privilege('cdc_bridge.end_daemon(bigint)', 'execute')
    ),
    ('change cdc_bridge.delivery', 'grant update on cdc_bridge.delivery to cdc_bridge', has_table_privilege('cdc_bridge.delivery', 'update')),
    (
      'read cdc_bridge.payload_definition and cdc_bridge.captured_table',
      'grant select on cdc_bridge.payload_definition, cdc_bridge.captured_table to cdc_bridge',
      has_table_privilege('cdc_bridge.payload_definition', 'select') and has_table_privilege('cdc_bridge.captured_table', 'select')
    ),
    (
      'read and add to cdc_bridge.history',
      'grant select, insert on cdc_bridge.history to cdc_bridge; grant execute on function cdc_bridge.history_of to cdc_bridge',
      has_table_privilege('cdc_bridge.history', 'select') and has_table_privilege('cdc_bridge.history', 'insert')
        and has_function_privilege('cdc_bridge.history_of(text)', 'execute')
    ),
    (
      'read cdc_bridge.related_table and cdc_bridge.related_change',
      'grant select on cdc_bridge.related_table, cdc_bridge.related_change to cdc_bridge',
      has_table_privilege('cdc_bridge.related_table', 'select') and has_table_privilege('cdc_bridge.related_change', 'select')
    ),
    (
      'read, add to and remove from cdc_bridge.idempotency_key',
      'grant select, insert, delete on cdc_bridge.idempotency_key to cdc_bridge',
      has_table_privilege('cdc_bridge.idempotency_key', 'select') and has_table_privilege('cdc_bridge.idempotency_key', 'insert')
        and has_table_privilege('cdc_bridge.idempotency_key', 'delete')
    ),
    (
      'read and write cdc_bridge.alert', 'grant select, insert, update on cdc_bridge.alert to cdc_bridge',
      has_table_privilege('cdc_bridge.alert', 'select') and has_table_privilege('cdc_bridge.alert', 'insert')
        and has_table_privilege('cdc_bridge.alert', 'update')
    ),
    (
      'read, add to and remove from cdc_bridge.access_token',
      'grant select, insert, delete, update (last_used_at) on cdc_bridge.access_token to cdc_bridge',
      has_table_privilege('cdc_bridge.access_token', 'select') and has_table_privilege('cdc_bridge.access_token', 'insert')
        and has_table_privilege('cdc_bridge.access_token', 'delete')
        and has_column_privilege('cdc_bridge.access_token', 'last_used_at', 'update')
    ),
    (
      'read and append to cdc_bridge.audit',
      'grant select, insert (who, via, action, endpoint, details) on cdc_bridge.audit to cdc_bridge',
      has_table_privilege('cdc_bridge.audit', 'select') and has_any_column_privilege('cdc_bridge.audit', 'insert')
        and has_function_privilege('cdc_bridge.prune_audit(integer)', 'execute')
    ),
    (
      'load reservations',
      (select format('grant execute on function %%s to cdc_bridge', string_agg(unusable.name, ', ')) from unusable),
      not exists (select from unusable)
    )
) as needed (what, remedy, granted)
where not needed.granted

-- name: faults_of_capture
-- What keeps changes from being captured, the statements that mend it, and whether changes are lost; each table once.
select f.problem, f.remedy, f.loses from cdc_bridge.faults_of_capture() as f

-- name: captured_tables
-- The tables that have capture.
select distinct t.tgrelid::regclass::text
from pg_trigger t
join pg_proc p on p.oid = t.tgfoid
where p.pronamespace = to_regnamespace('cdc_bridge') and t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update')
order by 1

-- name: problem_of_capture
-- The reason that the status of endpoints has, if changes are not captured.
select cdc_bridge.problem_of_capture()

-- name: may_do_more
-- Why a role can do more than the daemon's has to; null: it cannot.
select case
  when r.rolsuper then 'is a superuser'
  when pg_has_role(r.oid, to_regrole('cdc_bridge_owner'), 'member') then 'is a member of cdc_bridge_owner'
end
from pg_roles r
where r.rolname = current_user

-- name: partitions_without_capture
-- Partitions and children without capture of tables with capture; each with the statement that attaches all of its family.
with recursive captured as (
  select distinct t.tgrelid as oid, substr(p.proname, length('capture_by_') + 1)::text as key
  from pg_trigger t
  join pg_proc p on p.oid = t.tgfoid
  join pg_namespace n on n.oid = p.pronamespace
  where n.nspname = 'cdc_bridge' and t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update')
), family as (
  select c.oid, c.oid as top, c.key
  from captured c
  where not exists (select from pg_inherits i join captured parent on parent.oid = i.inhparent where i.inhrelid = c.oid)
  union
  select i.inhrelid, family.top, family.key from pg_inherits i join family on family.oid = i.inhparent
)
select family.oid::regclass::text, format('select cdc_bridge.attach(%%L, %%L);', family.top::regclass, family.key), c.relispartition
from family
join pg_class c on c.oid = family.oid
where family.oid not in (select captured.oid from captured) and c.relpersistence <> 't'
order by 1

-- name: views_read
-- Those of some relations that are views, whose definition belongs to somebody else.
select format('%%I.%%I', n.nspname, c.relname)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where format('%%I.%%I', n.nspname, c.relname) = any (%(names)s::text[]) and c.relkind = 'v'
order by 1

-- name: related_waiting
-- Tables of attach_related whose changed rows have waited for a minute.
select format('%%I.%%I', r.schema_name, r.table_name), count(*), min(c.changed_at)
from cdc_bridge.related_change c
join cdc_bridge.related_table r using (related_id)
group by 1
having min(c.changed_at) < now() - interval '1 minute'
order by 3

-- name: captured_unread
-- Tables with capture that the payload does not name: neither they nor a table that they are a partition or child of.
with recursive family (oid) as (
  select c.oid
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where format('%%I.%%I', n.nspname, c.relname) in (
    select unnest(d.reads) from cdc_bridge.payload_definition d where d.name = 'reservation'
  )
  union
  select i.inhrelid from pg_inherits i join family on family.oid = i.inhparent
)
select distinct t.tgrelid::regclass::text, format('select cdc_bridge.detach(%%L);', t.tgrelid::regclass)
from pg_trigger t
join pg_proc p on p.oid = t.tgfoid
join pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'cdc_bridge' and t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update')
  and t.tgrelid not in (select family.oid from family)
  and not exists (
    select
    from cdc_bridge.payload_definition d
    cross join unnest(d.reads) as read
    join pg_namespace s on starts_with(read, quote_ident(s.nspname) || '.')
    join pg_class v on v.relkind = 'v' and v.relnamespace = s.oid and format('%%I.%%I', s.nspname, v.relname) = read
    where d.name = 'reservation'
  )
order by 1

-- name: strange_roles
-- Members of the role that owns the schema, and the roles that the daemon's role and the owner are members of: each as
-- (member, role). Superusers are left out, and so is whoever created a role without being able to act as it.
select quote_ident(member.rolname), quote_ident(role.rolname)
from pg_auth_members m
join pg_roles member on member.oid = m.member
join pg_roles role on role.oid = m.roleid
where not member.rolsuper
  and (
    role.rolname in ('cdc_bridge_owner', 'cdc_bridge_loader', 'cdc_bridge_capture') and member.rolname <> 'cdc_bridge_owner'
    and 'true' in (coalesce(to_jsonb(m) ->> 'set_option', 'true'), to_jsonb(m) ->> 'inherit_option')  -- since PostgreSQL 16
    or member.rolname in ('cdc_bridge', 'cdc_bridge_loader', 'cdc_bridge_capture')
    or member.rolname = 'cdc_bridge_owner' and role.rolname not in ('cdc_bridge_loader', 'cdc_bridge_capture')
  )
order by 2, 1
