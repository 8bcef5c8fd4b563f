-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: load_reservations
-- The payload of some reservations, each led by its key as text and an endpoint's fencing token in the same snapshot. The
-- cast makes it use the key's index whatever its type.
select
  p."id"::text,
  (select e.fencing_token::text from cdc_bridge.endpoint e where e.endpoint_id = %(endpoint_id)s),
  p.*
from cdc_bridge.reservation_payload p
where p."id" = any (%(reservation_ids)s::text[]::{key_type}[])

-- name: key_type
-- The type of the reservations' key, as written in a cast. (Not as regtype writes it: "character" would be char(1).)
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
