-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. They read the
-- catalogue only: whoever may connect may run them, and no row of e-Res's tables is read.

-- name: catalogue_tables
-- The tables that somebody made, without partitions: schema, name, comment, rows as of the last ANALYZE (-1: unknown), and
-- whether it is partitioned.
select c.oid::bigint, n.nspname, c.relname, obj_description(c.oid, 'pg_class'), partitioned.rows, c.relkind = 'p'
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
cross join lateral (
  select case c.relkind
    when 'p' then (
      select coalesce(sum(leaf.reltuples), 0) from pg_partition_tree(c.oid) t join pg_class leaf on leaf.oid = t.relid where t.isleaf
    )
    else c.reltuples
  end::bigint as rows
) as partitioned
where c.relkind in ('r', 'p')
  and not c.relispartition
  and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema', 'cdc_bridge')
  and n.nspname not like 'pg\_%%'
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by n.nspname, c.relname

-- name: catalogue_others
-- What has rows and is not among those tables: schema, name, what it is, and what is below it, which is what a view reads, or
-- the table that a partition is of.
select
  c.oid::bigint, n.nspname, c.relname,
  case
    when c.relispartition then 'partition'
    else case c.relkind when 'v' then 'view' when 'm' then 'materialized view' else 'foreign table' end
  end,
  case
    when c.relispartition then array[pg_partition_root(c.oid)::oid::bigint]
    else array(
      select distinct d.refobjid::bigint
      from pg_rewrite w
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass
      where w.ev_class = c.oid and d.refobjid <> c.oid
    )
  end
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where (c.relkind in ('v', 'm', 'f') or c.relkind in ('r', 'p') and c.relispartition)
  and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema', 'cdc_bridge')
  and n.nspname not like 'pg\_%%'
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by n.nspname, c.relname

-- name: catalogue_columns
-- The columns of tables: table, name, type that it is based on, its kind, type as it is written, longest text, whether it
-- is never null, comment, the labels of an enumeration, and whether its default is the current time. A type that
-- somebody made is named with its schema, as its name may be that of another one; citext and arrays are known by their
-- names alone.
select
  a.attrelid::bigint, a.attname,
  case when b.typnamespace = 'pg_catalog'::regnamespace or b.typname = 'citext' or b.typcategory = 'A' then b.typname::text
    else b.typnamespace::regnamespace || '.' || quote_ident(b.typname) end,
  b.typcategory = 'E', format_type(a.atttypid, a.atttypmod),
  case when b.typname in ('bpchar', 'varchar') and greatest(a.atttypmod, t.typtypmod) > 4
    then greatest(a.atttypmod, t.typtypmod) - 4 end,
  a.attnotnull or t.typnotnull,
  col_description(a.attrelid, a.attnum),
  array(select e.enumlabel::text from pg_enum e where e.enumtypid = b.oid order by e.enumsortorder),
  coalesce(
    pg_get_expr(d.adbin, d.adrelid) ~* '\m(now\(\)|current_timestamp|localtimestamp|(clock|statement|transaction)_timestamp\(\))',
    false
  )
from pg_attribute a
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
join pg_type t on t.oid = a.atttypid
join pg_type b on b.oid = (
  with recursive base (oid, over) as (
    select t.oid, t.typbasetype union all select o.oid, o.typbasetype from base join pg_type o on o.oid = base.over
  )
  select base.oid from base where base.over = 0
)
where a.attrelid = any (%(tables)s::oid[]) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum

-- name: catalogue_keys
-- What is unique in tables, primary keys first: table, whether it is the primary key, columns.
select i.indrelid::bigint, i.indisprimary, names.columns
from pg_index i
cross join lateral (
  select array_agg(a.attname::text order by k.place) as columns
  from unnest(i.indkey::int2[]) with ordinality as k (number, place)
  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
  where k.place <= i.indnkeyatts
) as names
where i.indrelid = any (%(tables)s::oid[]) and i.indisunique and i.indpred is null and i.indexprs is null and i.indisvalid
order by i.indrelid, i.indisprimary desc, cardinality(names.columns), i.indexrelid

-- name: catalogue_foreign_keys
-- Foreign keys of tables: table, columns, referenced table and columns.
select
  f.conrelid::bigint,
  array(select a.attname::text from unnest(f.conkey) with ordinality as k (number, place)
    join pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.number order by k.place),
  f.confrelid::bigint,
  array(select a.attname::text from unnest(f.confkey) with ordinality as k (number, place)
    join pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.number order by k.place)
from pg_constraint f
where f.contype = 'f' and f.conparentid = 0 and f.conrelid = any (%(tables)s::oid[])
order by f.conrelid, f.conname

-- name: catalogue_checks
-- Check constraints on one column: table, column, condition.
select c.conrelid::bigint, a.attname, pg_get_expr(c.conbin, c.conrelid)
from pg_constraint c
join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
where c.contype = 'c' and cardinality(c.conkey) = 1 and c.conrelid = any (%(tables)s::oid[])

-- name: time_zones
-- The names of the time zones that PostgreSQL knows.
select name from pg_timezone_names order by name
