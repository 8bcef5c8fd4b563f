-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: clock
-- The server's time.
select clock_timestamp()

-- name: server
-- Version as a number and as text, and whether the server is a standby.
select current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery()

-- name: missing_rights
-- What the daemon has to do and the current role may not, each with the statement that grants it.
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
      'prune change log and delivery log', 'grant execute on all procedures in schema cdc_bridge to cdc_bridge; '
        'grant execute on function cdc_bridge.prune_changes, cdc_bridge.prune_deliveries, cdc_bridge.prunable_delivery_logs to cdc_bridge',
      has_function_privilege('cdc_bridge.prune(interval, interval, bigint, bigint)', 'execute')
        and has_function_privilege('cdc_bridge.prune_changes(interval, xid8, bigint, integer)', 'execute')
        and has_function_privilege('cdc_bridge.prune_deliveries(bigint, interval, interval, bigint, integer)', 'execute')
        and has_function_privilege('cdc_bridge.prunable_delivery_logs(interval)', 'execute')
    ),
    (
      'read cdc_bridge.endpoint_status and cdc_bridge.unsettled_delivery',
      'grant select on cdc_bridge.endpoint_status, cdc_bridge.unsettled_delivery to cdc_bridge',
      has_table_privilege('cdc_bridge.endpoint_status', 'select') and has_table_privilege('cdc_bridge.unsettled_delivery', 'select')
    ),
    ('change cdc_bridge.delivery', 'grant update on cdc_bridge.delivery to cdc_bridge', has_table_privilege('cdc_bridge.delivery', 'update')),
    (
      'read the view cdc_bridge.reservation_payload', 'grant select on cdc_bridge.reservation_payload to cdc_bridge',
      case when to_regclass('cdc_bridge.reservation_payload') is null then true
           else has_table_privilege(to_regclass('cdc_bridge.reservation_payload'), 'select') end
    )
) as needed (what, remedy, granted)
where not needed.granted

-- name: partitions_without_capture
-- Partitions and children without capture of tables with capture; each with the topmost of these tables and its key.
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
select family.oid::regclass::text, family.top::regclass::text, family.key
from family
join pg_class c on c.oid = family.oid
where family.oid not in (select captured.oid from captured) and c.relpersistence <> 't'
order by 1

-- name: hidden_by_row_security
-- Tables read by the payload view, directly or through other views, whose row security may hide rows from the role that
-- reads them: the owner of the view that names the table, or the daemon's for a view with security_invoker.
with recursive readers (oid, reader) as (
  select
    v.oid,
    case
      when exists (
        select from pg_options_to_table(v.reloptions) o where o.option_name = 'security_invoker' and o.option_value::boolean
      ) then current_user::regrole::oid
      else v.relowner
    end
  from pg_class v
  where v.relkind = 'v'
), reads (oid, reader) as (
  select to_regclass('cdc_bridge.reservation_payload')::oid, null::oid
  union
  select d.refobjid, readers.reader
  from reads
  join readers using (oid)
  join pg_rewrite r on r.ev_class = reads.oid
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
)
select distinct c.oid::regclass::text, reads.reader::regrole::text
from reads
join pg_class c using (oid)
join pg_roles o on o.oid = reads.reader
where c.relkind in ('r', 'p') and c.relrowsecurity and not o.rolbypassrls and not o.rolsuper
  and (c.relowner <> reads.reader or c.relforcerowsecurity)
  and not exists (
    select
    from pg_policy y
    where y.polrelid = c.oid and y.polpermissive and y.polcmd in ('r', '*') and pg_get_expr(y.polqual, y.polrelid) = 'true'
      and y.polroles && array[0::oid, reads.reader]
  )
order by 1, 2

-- name: captured_unread
-- Tables with capture that the payload view does not read, neither through another view nor as a partition or child.
with recursive reads (oid) as (
  select to_regclass('cdc_bridge.reservation_payload')::oid
  union
  select d.refobjid
  from reads
  join pg_rewrite r on r.ev_class = reads.oid
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
), family (oid) as (
  select reads.oid from reads
  union
  select i.inhrelid from pg_inherits i join family on family.oid = i.inhparent
)
select distinct t.tgrelid::regclass::text
from pg_trigger t
join pg_proc p on p.oid = t.tgfoid
join pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'cdc_bridge' and t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update')
  and t.tgrelid not in (select family.oid from family)
  and to_regclass('cdc_bridge.reservation_payload') is not null
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
    role.rolname = 'cdc_bridge_owner'
    and 'true' in (coalesce(to_jsonb(m) ->> 'set_option', 'true'), to_jsonb(m) ->> 'inherit_option')  -- since PostgreSQL 16
    or member.rolname in ('cdc_bridge', 'cdc_bridge_owner')
  )
order by 2, 1

-- name: read_nothing_through_view
-- Reads the payload view with all privileges that takes, and returns no row.
select * from cdc_bridge.reservation_payload limit 0
