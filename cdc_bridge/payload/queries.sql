-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice. All but payload_definition, defined_payloads,
-- payload_condition and sample run by run_isolated, and name everything with its schema.

-- name: payload_definition
-- The definition of a payload.
select d.name, cdc_bridge.payload_base(d.name) as base, d.columns, d.types, d.reads, d.functions, d.revision
from cdc_bridge.payload_definition d
where d.name = %(name)s

-- name: defined_payloads
-- The names of all payloads.
select name from cdc_bridge.payload_definition order by name

-- name: payload_condition
-- The conditions of an endpoint as an expression over p, a row of its payload.
select cdc_bridge.payload_condition(%(payload)s, %(conditions)s::text::jsonb)

-- name: load_reservations
-- Some reservations, each led by an endpoint's fencing token in the same snapshot, a mark, null if it does not meet the endpoint's
-- conditions, its key as it was given and the definition's revision. The columns are null where there is no such reservation
-- or it has more bytes.
select
  (select cdc_bridge.fencing_token(%(endpoint_id)s::pg_catalog.int8)),
  case when {condition} then 'wanted' end,
  p.*
from cdc_bridge.{loader}(%(reservation_ids)s::pg_catalog.text[], %(max_bytes)s::pg_catalog.int8) as p {names}

-- name: load_retyped
-- The same in the present types of the columns.
select
  (select cdc_bridge.fencing_token(%(endpoint_id)s::pg_catalog.int8)),
  case when {condition} then 'wanted' end,
  p.*
from cdc_bridge.load_retyped({payload}, %(reservation_ids)s::pg_catalog.text[], %(max_bytes)s::pg_catalog.int8)
  as p (cdc_bridge_key pg_catalog.text, cdc_bridge_revision pg_catalog.text, {declared})

-- name: payload_sizes
-- The bytes of some reservations, as their values of variable length have them; null: the payload has no such reservation. And
-- why changes are not captured now, while the tables are locked and so are those that have their names.
select sizes.reservation_id, sizes.bytes, (select cdc_bridge.problem_of_capture())
from cdc_bridge.payload_sizes(%(payload)s::pg_catalog.text, %(reservation_ids)s::pg_catalog.text[]) as sizes

-- name: payload_filtered
-- Those of some reservations that an endpoint does not get, and whether they are known to exist; null: they are not. (A
-- session that loads reservations reads booleans as the text that bodies have.)
select filtered.reservation_id, case when filtered.established then 'exists' end
from cdc_bridge.payload_filtered(
  %(payload)s::pg_catalog.text, %(conditions)s::pg_catalog.jsonb, %(reservation_ids)s::pg_catalog.text[]
) as filtered

-- name: payload_types
-- The present types of the payload's columns.
select cdc_bridge.payload_types(%(payload)s::pg_catalog.text)

-- name: payload_keys
-- The next keys of the reservations that an endpoint gets, or of those updated or created since a time.
select keys.key
from cdc_bridge.payload_keys(
  %(payload)s::pg_catalog.text, %(conditions)s::pg_catalog.jsonb, %(after)s::pg_catalog.text,
  %(since)s::pg_catalog.timestamptz, %(created)s::pg_catalog.bool, %(limit)s::pg_catalog.int4, %(max_bytes)s::pg_catalog.int8
) as keys (key)

-- name: count_keys
-- The number of them.
select pg_catalog.count(*)
from cdc_bridge.payload_keys(
  %(payload)s::pg_catalog.text, %(conditions)s::pg_catalog.jsonb, null, %(since)s::pg_catalog.timestamptz,
  %(created)s::pg_catalog.bool, null, pg_catalog.int8 '9223372036854775807'
)

-- name: sample
-- Some reservations: those that an endpoint got lately, so they could be loaded then, and the newest in the change log.
with delivered as (
  select distinct d.reservation_id
  from (
    select state, reservation_id from cdc_bridge.delivery where endpoint_id = %(endpoint_id)s order by seq desc limit 100
  ) as d
  where d.state = 'delivered'
  limit 3
)
select reservation_id from delivered
union
select c.reservation_id
from (select reservation_id from cdc_bridge.change order by xid desc, seq desc limit 5) as c
