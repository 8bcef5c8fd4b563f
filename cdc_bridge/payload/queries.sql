-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a percent sign of SQL's own is written twice.

-- name: load_reservations
-- The payload of some reservations, each led by its key as text, the snapshot that all of them are read in, the newest
-- transaction that the change log has in it, and an endpoint's fencing_token at that instant. The cast lets the key's index serve
-- whatever its type.
select
  p."id"::text,
  (select pg_current_snapshot()::text),
  (select c.xid::text from cdc_bridge.change c order by c.xid desc limit 1),
  (select e.fencing_token::text from cdc_bridge.endpoint e where e.endpoint_id = %(endpoint_id)s),
  p.*
from cdc_bridge.reservation_payload p
where p."id" = any (%(reservation_ids)s::text[]::{key_type}[])

-- name: key_type
-- The type of the reservations' key, as a cast spells it. (Not as regtype does: "character" would be char(1).)
select format('%I.%I', n.nspname, t.typname)
from pg_attribute a
join pg_type t on t.oid = a.atttypid
join pg_namespace n on n.oid = t.typnamespace
where a.attrelid = to_regclass('cdc_bridge.reservation_payload') and a.attname = 'id' and not a.attisdropped

-- name: payload_columns
-- The columns of the payload view, in their order, with their types.
select a.attname::text, t.typname::text
from pg_attribute a
join pg_type t on t.oid = a.atttypid
where a.attrelid = to_regclass('cdc_bridge.reservation_payload') and a.attnum > 0 and not a.attisdropped
order by a.attnum
