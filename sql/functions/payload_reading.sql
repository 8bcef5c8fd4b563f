-- What else is read by a payload. These run as cdc_bridge_loader, like the functions that load reservations (see
-- define_loader.sql, also for why they are volatile). The statements are put together each time: they are rare, and each
-- needs a plan of its own.
--
-- cdc_bridge.payload_keys(
--   payload text, conditions jsonb, after text, since timestamptz, created boolean, max_rows integer, max_bytes bigint
-- )
--   The keys of the reservations that meet some conditions (payload_condition) after one, in their own order, up to max_rows and
--   max_bytes of keys but at least one; with "since" those updated since then. The time of an update is "updated", or "created"
--   where that is null; with "created" it is always that one. A reservation that has neither is always among them. Where the
--   payload does not have the column, not as metadata either, those of "reservation" count, if it builds on that.
-- cdc_bridge.payload_sizes(payload text, reservation_ids text[])
--   The bytes of the variable-length values of some reservations; null: the payload has no such reservation.
-- cdc_bridge.payload_values(payload text, columns text[], reservation_ids text[])
--   The canonical text (canonical.sql) of some columns of some reservations, for each of their rows; null: the payload has no
--   such reservation. It reads no other columns. Each row has the revision of the payload's definition.
-- cdc_bridge.payload_types(payload text)
--   The present types of the payload's columns, in order, as their names in pg_catalog; null: a type of somebody else.
-- cdc_bridge.load_retyped(payload text, reservation_ids text[], max_bytes bigint)
--   What cdc_bridge.load_<payload> returns, in the present types: after e-Res altered a column's type, until the payload is
--   defined anew. Slower, as it is planned each time.

create or replace function cdc_bridge.payload_keys(
  payload text, conditions jsonb, after text, since timestamptz, created boolean, max_rows integer, max_bytes bigint
) returns setof text
  language plpgsql
  volatile
  security definer
  set search_path = pg_catalog, pg_temp
  set row_security = off
as $keys$
declare
  times constant text[] := case when created then array['created'] else array['updated', 'created'] end;
  definition cdc_bridge.payload_definition;
  base cdc_bridge.payload_definition;
  updated_at text;
begin
  select * into strict definition from cdc_bridge.payload_definition d where d.name = payload;
  select 'coalesce(' || string_agg(format('p.%I', c.name), ', ' order by ltrim(c.name, '@') desc) || ')' into updated_at
  from unnest(definition.columns, definition.types) as c (name, type)
  where ltrim(c.name, '@') = any (times) and c.type = 'timestamptz'
  having bool_or(ltrim(c.name, '@') = times[1]);
  if since is not null and updated_at is null then
    select d.* into base from cdc_bridge.payload_definition d where d.name = cdc_bridge.payload_base(payload);
    select format(
      E'(select coalesce(%s) from (\n%s\n) as b where b.id = p.id limit 1)',
      string_agg(format('b.%I', c.name), ', ' order by ltrim(c.name, '@') desc), base.expanded
    ) into updated_at
    from unnest(base.columns, base.types) as c (name, type)
    where ltrim(c.name, '@') = any (times) and c.type = 'timestamptz'
    having count(*) > 0;
  end if;
  return query execute format(
    E'select page.key from (select %1$s as key, sum(octet_length(%1$s)) over (order by p.id rows unbounded preceding) as bytes '
    'from (\n%2$s\n) as p where %3$s and %4$s and %5$s order by p.id limit $3) as page where page.bytes - octet_length(page.key) < $4',
    'case when pg_typeof(p.id) = ''bpchar''::regtype then rtrim(concat(p.id), '' '') else concat(p.id) end',  -- as captured
    definition.expanded,
    case when after is null then 'true' else format('p.id > $1::%s', definition.key_type) end,
    case when since is null or updated_at is null then 'true' else format('coalesce(%s >= $2, true)', updated_at) end,
    cdc_bridge.payload_condition(payload, conditions)
  ) using after, since, max_rows, max_bytes;
end
$keys$;

create or replace function cdc_bridge.payload_sizes(payload text, reservation_ids text[]) returns table (reservation_id text, bytes bigint)
  language plpgsql
  volatile
  security definer
  set search_path = pg_catalog, pg_temp
  set row_security = off
as $sizes$
declare
  definition cdc_bridge.payload_definition;
begin
  select * into strict definition from cdc_bridge.payload_definition d where d.name = payload;
  return query execute format(
    E'select wanted.key, p.bytes from unnest($1) as wanted (key) left join lateral (\nselect (%s)::bigint as bytes from (\n%s\n) as p '
    'where p.id = wanted.key::%s offset 0) as p on true',
    definition.size, definition.expanded, definition.key_type
  ) using reservation_ids;
end
$sizes$;

create or replace function cdc_bridge.payload_values(
  payload text, columns text[], reservation_ids text[]
) returns table (reservation_id text, revision text, canonical text[])
  language plpgsql
  volatile
  security definer
  set search_path = pg_catalog, pg_temp
  set row_security = off
as $values$
#variable_conflict use_variable
declare
  definition cdc_bridge.payload_definition;
  asked text;
begin
  select * into strict definition from cdc_bridge.payload_definition d where d.name = payload;
  select string_agg(
    format('cdc_bridge.%I(p.%I)',
      'canonical_' || cdc_bridge.canonical_form(definition.types[array_position(definition.columns, c.name)]), c.name),
    ', ' order by c.number
  ) into asked
  from unnest(columns) with ordinality as c (name, number);
  return query execute format(
    E'select wanted.key, %L::text, p.canonical from unnest($1) as wanted (key) left join lateral (\n'
    'select array[%s]::text[] as canonical from (\n%s\n) as p where p.id = wanted.key::%s offset 0) as p on true',
    definition.revision, asked, definition.expanded, definition.key_type
  ) using reservation_ids;
end
$values$;

create or replace function cdc_bridge.payload_types(payload text) returns text[]
  language plpgsql
  volatile
  security definer
  set search_path = pg_catalog, pg_temp
  set row_security = off
as $types$
declare
  definition cdc_bridge.payload_definition;
  types oid[];
begin
  select * into strict definition from cdc_bridge.payload_definition d where d.name = payload;
  execute format(
    E'select array[%s]::oid[] from (select) as one left join (\n%s\n) as p on false',
    (
      select string_agg(format('pg_typeof(p.%I)', c.name), ', ' order by c.number)
      from unnest(definition.columns) with ordinality as c (name, number)
    ),
    definition.expanded
  ) into types;
  return array(
    select case when t.typnamespace = 'pg_catalog'::regnamespace then t.typname::text end
    from unnest(types) with ordinality as present (oid, number)
    join pg_type t using (oid)
    order by present.number
  );
end
$types$;

create or replace function cdc_bridge.load_retyped(payload text, reservation_ids text[], max_bytes bigint) returns setof record
  language plpgsql
  volatile
  security definer
  set search_path = pg_catalog, pg_temp
  set row_security = off
as $load$
declare
  definition cdc_bridge.payload_definition;
begin
  select * into strict definition from cdc_bridge.payload_definition d where d.name = payload;
  return query execute format(
    E'select wanted.key, %L::text, %s from unnest($1) as wanted (key) left join lateral (\nselect p.* from (\n%s\n) as p '
    'where p.id = wanted.key::%s and %s <= $2 offset 0) as p on true',
    definition.revision,
    (
      select string_agg(format('p.%I', c.name), ', ' order by c.number)
      from unnest(definition.columns) with ordinality as c (name, number)
    ),
    definition.expanded, definition.key_type, definition.size
  ) using reservation_ids, max_bytes;
end
$load$;

revoke all on function
  cdc_bridge.payload_keys(text, jsonb, text, timestamptz, boolean, integer, bigint), cdc_bridge.payload_sizes(text, text[]), cdc_bridge.payload_types(text),
  cdc_bridge.payload_values(text, text[], text[]), cdc_bridge.load_retyped(text, text[], bigint)
from public;
grant execute on function
  cdc_bridge.payload_keys(text, jsonb, text, timestamptz, boolean, integer, bigint), cdc_bridge.payload_sizes(text, text[]), cdc_bridge.payload_types(text),
  cdc_bridge.payload_values(text, text[], text[]), cdc_bridge.load_retyped(text, text[], bigint)
to cdc_bridge;
comment on function cdc_bridge.payload_keys(text, jsonb, text, timestamptz, boolean, integer, bigint) is 'Keys of the reservations that meet some conditions, a page at a time';
comment on function cdc_bridge.payload_sizes(text, text[]) is 'Bytes of some reservations';
comment on function cdc_bridge.payload_values(text, text[], text[]) is 'Canonical text of some columns of some reservations';
comment on function cdc_bridge.payload_types(text) is 'Present types of a payload''s columns';
comment on function cdc_bridge.load_retyped(text, text[], bigint) is 'Loads reservations in the present types of a payload''s columns';
grant create on schema cdc_bridge to cdc_bridge_loader;
alter function cdc_bridge.payload_keys(text, jsonb, text, timestamptz, boolean, integer, bigint) owner to cdc_bridge_loader;
alter function cdc_bridge.payload_sizes(text, text[]) owner to cdc_bridge_loader;
alter function cdc_bridge.payload_values(text, text[], text[]) owner to cdc_bridge_loader;
alter function cdc_bridge.payload_types(text) owner to cdc_bridge_loader;
alter function cdc_bridge.load_retyped(text, text[], bigint) owner to cdc_bridge_loader;
revoke create on schema cdc_bridge from cdc_bridge_loader;
