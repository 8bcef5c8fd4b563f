-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: define_probe
-- Beginning of a view that parses a query, and neither plans nor runs it. The query follows, so that nothing is replaced in it.
create temporary view cdc_bridge_probe as

-- name: columns_of_probe
-- Names and types of the columns of that view. A domain counts as the type that it is based on.
select
  a.attname::text,
  coalesce(b.typname, t.typname)::text,
  format_type(a.atttypid, a.atttypmod),
  coalesce(b.typnamespace, t.typnamespace) = 'pg_catalog'::regnamespace
    and coalesce(b.typname, t.typname) in (
      'text', 'varchar', 'bpchar', 'name', 'int2', 'int4', 'int8', 'numeric', 'float4', 'float8', 'timestamptz', 'date', 'bool',
      'uuid', 'json', 'jsonb'
    )
from pg_attribute a
join pg_type t on t.oid = a.atttypid
left join pg_type b on t.typtype = 'd' and b.oid = (
  with recursive base (oid, over) as (
    select t.oid, t.typbasetype union all select o.oid, o.typbasetype from base join pg_type o on o.oid = base.over
  )
  select base.oid from base where base.over = 0
)
where a.attrelid = 'pg_temp.cdc_bridge_probe'::regclass
order by a.attnum

-- name: rights_missing_for_probe
-- Statements that grant cdc_bridge_loader what it needs for that view, and the table that each is about.
select grants.statement, min(grants.relation)
from (
  select
    n.oid as schema, n.nspname, c.oid as relation_oid, c.relname,
    bool_and(has_column_privilege('cdc_bridge_loader', c.oid, d.refobjsubid::int2, 'select'))
      filter (where d.refobjsubid <> 0) as columns_granted
  from pg_rewrite r
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
  join pg_class c on c.oid = d.refobjid and c.oid <> r.ev_class
  join pg_namespace n on n.oid = c.relnamespace
  where r.ev_class = 'pg_temp.cdc_bridge_probe'::regclass
  group by n.oid, n.nspname, c.oid, c.relname
) as read
cross join lateral (select quote_ident(read.nspname) || '.' || quote_ident(read.relname)) as named (relation)
cross join lateral (
  select 'grant usage on schema ' || quote_ident(read.nspname) || ' to cdc_bridge_loader;', 1, named.relation
  where not has_schema_privilege('cdc_bridge_loader', read.schema, 'usage')
  union all
  select 'grant select on ' || named.relation || ' to cdc_bridge_loader;', 2, named.relation
  where not has_table_privilege('cdc_bridge_loader', read.relation_oid, 'select')
    and not coalesce(read.columns_granted, has_any_column_privilege('cdc_bridge_loader', read.relation_oid, 'select'))
) as grants (statement, number, relation)
group by grants.statement, grants.number
order by grants.number, grants.statement

-- name: probe_runs_code
-- Whether that view calls a function or an operator that is not PostgreSQL's own, or makes a value of a type that is not, other than
-- an enumeration: a domain checks its values with any function, null too.
select exists (
  select
  from pg_rewrite r
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
  where r.ev_class = 'pg_temp.cdc_bridge_probe'::regclass
    and (
      d.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass)
      or d.refclassid = 'pg_type'::regclass and not exists (
        select from pg_type t left join pg_type e on e.oid = t.typelem where t.oid = d.refobjid and 'e' in (t.typtype, e.typtype)
      )
    )
)

-- name: is_null
-- Whether an expression is null, in one row.
select (
-- The expression stands here.
) is null from (select) as one

-- name: missing_row
-- What follows for each table that the expression names: no row is read, all columns are null.
 cross join (select (null::public.table_of_e_res).*) as its_alias

-- name: text_of
-- The text that an expression makes, in one row.
select (
-- The expression stands here.
)::text from (select) as one

-- name: row_of_values
-- What follows for each table that the expression names: no row is read, each column that it names has a value of ours.
 cross join (select null as its_column) as its_alias

-- name: tables_of_e_res
-- Schemas and names of all tables and views but PostgreSQL's and ours.
select n.nspname::text, c.relname::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
  and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast', 'cdc_bridge') and n.nspname !~ '^pg_(toast_)?temp_'
order by n.nspname <> 'public', 1, 2

-- name: schemas_of_e_res
-- Names of all schemas but PostgreSQL's and ours.
select n.nspname::text
from pg_namespace n
where n.nspname not in ('pg_catalog', 'information_schema', 'cdc_bridge') and n.nspname !~ '^pg_'
order by n.nspname <> 'public', 1

-- name: table_of_e_res
-- Kind and columns of a table: names, types, and whether each is never null.
select
  c.oid::bigint, c.relkind::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
  array(
    select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum
  ),
  array(
    select format_type(a.atttypid, a.atttypmod)
    from pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    order by a.attnum
  ),
  array(
    select a.attnotnull from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum
  )
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.oid = to_regclass(%(name)s)

-- name: unique_indexes
-- Columns of each unique index of a table, and whether it is about all rows and plain columns. The primary key is the first.
select
  array(
    select a.attname::text
    from unnest(i.indkey[0:i.indnkeyatts - 1]) with ordinality as k (number, place)
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
    order by k.place
  ),
  i.indpred is null and i.indexprs is null
from pg_index i
where i.indrelid = %(table)s::oid and i.indisunique and i.indisvalid
order by not i.indisprimary, i.indexrelid

-- name: foreign_keys
-- Validated foreign keys of a table: its columns, the table that they refer to, and that one's columns.
select
  array(
    select a.attname::text
    from unnest(f.conkey) with ordinality as k (number, place)
    join pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.number
    order by k.place
  ),
  f.confrelid::bigint,
  array(
    select a.attname::text
    from unnest(f.confkey) with ordinality as k (number, place)
    join pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.number
    order by k.place
  )
from pg_constraint f
where f.conrelid = %(table)s::oid and f.contype = 'f' and f.convalidated

-- name: expanded_payload
-- The text of a payload that another one builds on, as the database has it.
select d.expanded from cdc_bridge.payload_definition d where d.name = %(name)s

-- name: payloads_to_build_on
-- Names of the payloads that are defined.
select d.name from cdc_bridge.payload_definition d order by d.name

-- name: how_to_attach
-- The statement that attaches capture to the reservations table, null if that is not known; no row: capture is attached.
select f.remedy from cdc_bridge.faults_of_capture() as f where f.table_name is null
