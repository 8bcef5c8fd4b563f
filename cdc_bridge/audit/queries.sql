-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: append_audit
-- Appends entries to the audit log; time and role are the database's.
insert into cdc_bridge.audit (who, via, action, endpoint, details)
select %(who)s, %(via)s, done.action, done.endpoint, done.details::jsonb
from unnest(%(actions)s::text[], %(endpoints)s::text[], %(details)s::text[]) with ordinality as done (action, endpoint, details, place)
order by done.place

-- name: audit_entries
-- A page of the audit log, newest first.
select audit_id, at, who, role::text, via, action, endpoint, details
from cdc_bridge.audit
where at >= coalesce(%(since)s::timestamptz, '-infinity')
  and (at, audit_id) < (coalesce(%(before_at)s::timestamptz, 'infinity'), coalesce(%(before_id)s::bigint, 0))
order by at desc, audit_id desc
limit %(limit)s
