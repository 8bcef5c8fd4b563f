-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice. All but payload_definition, defined_payloads,
-- canonical_values, sample and last_changed run by run_isolated, and name everything with its schema.

-- name: payload_definition
-- The definition of a payload.
select d.name, cdc_bridge.payload_base(d.name) as base, d.columns, d.types, d.reads, d.functions, d.revision
from cdc_bridge.payload_definition d
where d.name = %(name)s

-- name: defined_payloads
-- The names of all payloads.
select name from cdc_bridge.payload_definition order by name

-- name: canonical_values
-- The canonical text of values for columns of a payload, or why there is none.
select c.revision, c.column_name, c.value, c.canonical, c.problem
from cdc_bridge.canonical_values(%(payload)s::text, %(columns)s::text[], %(values)s::text[]) as c

-- name: load_reservations
-- Some reservations, each led by whether the daemon is registered in the same snapshot, its key as it was given and the
-- definition's revision, and followed by the canonical text of the columns that conditions are about. The columns are null
-- where there is no such reservation or it has more bytes.
select (select cdc_bridge.is_registered(%(daemon_id)s::pg_catalog.int8)), p.* {canonical}
from cdc_bridge.{loader}(%(reservation_ids)s::pg_catalog.text[], %(max_bytes)s::pg_catalog.int8) as p

-- name: load_retyped
-- The same in the present types of the columns.
select (select cdc_bridge.is_registered(%(daemon_id)s::pg_catalog.int8)), p.* {canonical}
from cdc_bridge.load_retyped(
  %(payload)s::pg_catalog.text, %(reservation_ids)s::pg_catalog.text[], %(max_bytes)s::pg_catalog.int8
) as p (cdc_bridge_key pg_catalog.text, cdc_bridge_revision pg_catalog.text, {declared})

-- name: payload_values
-- The canonical text of some columns of some reservations, each led by its key as it was given and the definition's revision,
-- and followed by why changes are not captured now, if the payload has no such reservation.
select
  v.reservation_id, v.revision, v.canonical,
  case when v.canonical is null then (select cdc_bridge.problem_of_capture()) end
from cdc_bridge.payload_values(
  %(payload)s::pg_catalog.text, %(columns)s::pg_catalog.text[], %(reservation_ids)s::pg_catalog.text[]
) as v

-- name: payload_values_of_few
-- The same of a few reservations: the plan of the function that loads them is cached, so that this is faster, though it reads
-- their other columns as well.
select
  p.cdc_bridge_key, p.cdc_bridge_revision, case when {key} is not null then array[{canonical}]::pg_catalog.text[] end,
  case when {key} is null then (select cdc_bridge.problem_of_capture()) end
from cdc_bridge.{loader}(%(reservation_ids)s::pg_catalog.text[], pg_catalog.int8 '9223372036854775807') as p

-- name: payload_sizes
-- The bytes of some reservations, as their values of variable length have them; null: the payload has no such reservation. And
-- why changes are not captured now, while the tables are locked and so are those that have their names.
select sizes.reservation_id, sizes.bytes, (select cdc_bridge.problem_of_capture())
from cdc_bridge.payload_sizes(%(payload)s::pg_catalog.text, %(reservation_ids)s::pg_catalog.text[]) as sizes

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

-- name: last_changed
-- The reservations of the last changes, newest first; one that changed several times comes several times.
select reservation_id from cdc_bridge.change order by xid desc, seq desc limit %(limit)s
