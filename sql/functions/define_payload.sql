-- cdc_bridge.define_payload(name text, query text)
--
-- Defines a payload: what becomes the body of a request.
--   name   lower-case letters, digits and underscores; 'reservation' is the one that endpoints get by default
--   query  a SELECT with one row per reservation. Its columns, in order, are the JSON's keys, and a dot nests. A column whose
--          name begins with @ is metadata: not sent, but an endpoint can be limited to some of its values. "id" is the
--          reservations table's key itself. {other} in place of a table stands for another payload:
--          select r.id, r.status from {reservation} r where r.walkin = 'F'
-- Returns nothing. Safe to repeat: a definition that is in place is not touched. With another query it replaces the
-- definition, and those that build on it are defined anew. Running daemons continue with the new one.
-- Rejects, before it changes anything, a query that cannot be a payload, and one that cdc_bridge_loader may not read.
-- Locks: none on e-Res's tables that a writer would notice (ACCESS SHARE, for an instant).
--
-- The function that loads reservations has a string body and is PL/pgSQL: its plan is cached, and PostgreSQL records no
-- dependency on what it reads. So e-Res can alter, drop and replace its tables and columns. If the query no longer fits,
-- loading fails and the endpoints are invalid, until it fits or is defined anew. Changes are kept, and no retry is used up.
--
-- To learn its columns, the query is made a view for an instant. That parses it, and neither plans nor runs it: what the
-- owner of e-Res's tables put behind their names must not run in a DBA's session.

create or replace function cdc_bridge.define_payload(name text, query text) returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $define$
#variable_conflict use_variable
declare
  -- A comment, a literal or a quoted name; or a payload in braces.
  outside_quotes constant text :=
    '(--[^\n]*|/\*(?:[^*]|\*+[^*/])*\*+/|''(?:[^'']|'''')*''|"(?:[^"]|"")*")|\{([a-z][a-z0-9_]*)\}';
  no_name constant text := '(?:^|$|[^\w"])';
  given constant text := regexp_replace(query, '[\s;]+$', '');
  before cdc_bridge.payload_definition;
  after cdc_bridge.payload_definition;
  base text;
  without_domains text;
  missing text;
  grants text;
  problem text;
  dependent record;
begin
  if name is null or name !~ '^[a-z][a-z0-9_]{0,39}$' then
    raise exception '"%" cannot be the name of a payload', name
      using errcode = 'invalid_name', hint = 'Use lower-case letters, digits and underscores, at most 40, beginning with a letter.';
  end if;
  lock table cdc_bridge.payload_definition in share row exclusive mode;
  select * into before from cdc_bridge.payload_definition d where d.name = define_payload.name;

  after.name := name;
  after.query := query;
  after.expanded := given;
  after.builds_on := array(
    select distinct token[2] from regexp_matches(given, outside_quotes, 'g') as token where token[2] is not null order by 1
  );
  foreach base in array after.builds_on loop
    if not exists (select from cdc_bridge.payload_definition d where d.name = base) then
      raise exception 'payload "%" builds on {%}, which is not defined', name, base
        using errcode = 'undefined_object',
              hint = format('Define %s first. Defined are: %s.', base,
                coalesce((select string_agg(d.name, ', ' order by d.name) from cdc_bridge.payload_definition d), 'none'));
    end if;
    if exists (
      with recursive below (name) as (
        select base
        union
        select b from below join cdc_bridge.payload_definition d using (name) cross join unnest(d.builds_on) as b
      )
      select from below where below.name = define_payload.name
    ) then
      raise exception 'payload "%" would build on itself through {%}', name, base using errcode = 'invalid_recursion';
    end if;
  end loop;
  if cardinality(after.builds_on) > 0 then
    select string_agg(
      case when token[2] is null then token[1]
      else E'(\n' || (select d.expanded from cdc_bridge.payload_definition d where d.name = token[2]) || E'\n)' end,
      '' order by number
    )
    into after.expanded
    from regexp_matches(given, outside_quotes || '|(.)', 'gs') with ordinality as found (parts, number)
    cross join lateral (select array[coalesce(parts[1], parts[3]), parts[2]]) as split (token);
  end if;

  -- The columns, and what the query reads and calls.
  drop view if exists cdc_bridge.payload_to_define;
  begin
    execute format(E'create view cdc_bridge.payload_to_define as select p.* from (\n%s\n) as p', after.expanded);
  exception when insufficient_privilege then  -- on a schema, so that its tables are not known
    problem := sqlerrm;
    -- The message names one schema. All schemas and tables that the query names are granted together.
    select string_agg(distinct format('grant usage on schema %I to cdc_bridge_loader;', n.nspname), E'\n')
        || coalesce(E'\n' || string_agg(distinct format('grant select on %I.%I to cdc_bridge_loader;', n.nspname, c.relname), E'\n'), '')
    into grants
    from pg_namespace n
    left join pg_class c
      on c.relnamespace = n.oid and c.relkind in ('r', 'p', 'v', 'm', 'f')
      and after.expanded ~* (no_name || regexp_replace(format('%I.%I', n.nspname, c.relname), '(\W)', '\\\1', 'g') || no_name)
    where not has_schema_privilege('cdc_bridge_owner', n.oid, 'usage')
      and after.expanded ~* (no_name || regexp_replace(quote_ident(n.nspname), '(\W)', '\\\1', 'g') || '\.');
    if grants is null then
      raise;
    end if;
    raise exception 'payload "%": %', name, problem
      using errcode = 'insufficient_privilege', hint = E'In the mapping, in front of this:\n' || grants;
  end;
  select
    case when bool_or(t.typtype = 'd') then
      string_agg(format(case t.typtype when 'd' then 'p.%1$I::pg_catalog.%2$I as %1$I' else 'p.%1$I' end, a.attname, b.typname),
        ', ' order by a.attnum)
    end,
    array_agg(a.attname::text order by a.attnum),
    array_agg(coalesce(b.typname, t.typname)::text order by a.attnum),
    coalesce(
      string_agg(
        case
          when coalesce(b.typname, t.typname) in ('text', 'varchar', 'bpchar', 'name')
            then format('coalesce(pg_catalog.octet_length(p.%I::pg_catalog.text), 0)', a.attname)
          -- What is stored compressed is measured as it is sent.
          when coalesce(b.typname, t.typname) in ('json', 'jsonb', 'numeric')
            then format(
              'coalesce(case when pg_catalog.pg_column_size(p.%1$I) > 500 then pg_catalog.octet_length(p.%1$I::pg_catalog.text)'
              ' else pg_catalog.pg_column_size(p.%1$I) end, 0)', a.attname)
        end,
        ' + ' order by a.attnum
      ),
      '0'
    ),
    string_agg(
      format('column "%s" is of type %s, which cannot be written as JSON', a.attname, format_type(a.atttypid, a.atttypmod))
        || case when t.typname = 'timestamp' then format(': write x at time zone ''Europe/London'' as "%s"', a.attname) else '' end,
      '; ' order by a.attnum
    ) filter (
      where coalesce(b.typnamespace, t.typnamespace) <> 'pg_catalog'::regnamespace
        or coalesce(b.typname, t.typname) <> all (array[
          'text', 'varchar', 'bpchar', 'name', 'int2', 'int4', 'int8', 'numeric', 'float4', 'float8', 'timestamptz', 'date', 'bool',
          'uuid', 'json', 'jsonb'
        ])
    )
  into without_domains, after.columns, after.types, after.size, problem
  from pg_attribute a
  join pg_type t on t.oid = a.atttypid
  left join pg_type b on t.typtype = 'd' and b.oid = (
    with recursive base (oid, over) as (
      select t.oid, t.typbasetype union all select o.oid, o.typbasetype from base join pg_type o on o.oid = base.over
    )
    select base.oid from base where base.over = 0
  )
  where a.attrelid = 'cdc_bridge.payload_to_define'::regclass;
  -- A domain is read as the type that it is based on.
  if without_domains is not null then
    after.expanded := format(E'select %s from (\n%s\n) as p', without_domains, after.expanded);
  end if;

  select
    coalesce(array_agg(distinct format('%I.%I', n.nspname, c.relname)) filter (where c.oid is not null), '{}'),
    coalesce(array_agg(distinct d.refobjid::regprocedure::text) filter (where d.refclassid = 'pg_proc'::regclass), '{}'),
    string_agg(distinct format('%I.%I', n.nspname, c.relname), ', ') filter (where c.oid is not null and not rights.granted),
    string_agg(distinct format(E'grant usage on schema %I to cdc_bridge_loader;\n', n.nspname), '')
        filter (where c.oid is not null and not rights.granted)
      || string_agg(distinct format('grant select on %I.%I to cdc_bridge_loader;', n.nspname, c.relname), E'\n')
        filter (where c.oid is not null and not rights.granted)
  into after.reads, after.functions, missing, grants
  from pg_rewrite r
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
  left join pg_class c on d.refclassid = 'pg_class'::regclass and c.oid = d.refobjid and c.oid <> r.ev_class
  left join pg_namespace n on n.oid = c.relnamespace
  cross join lateral (
    select has_schema_privilege('cdc_bridge_loader', n.oid, 'usage')
      and (has_table_privilege('cdc_bridge_loader', c.oid, 'select') or has_any_column_privilege('cdc_bridge_loader', c.oid, 'select'))
      as granted
  ) as rights
  where r.ev_class = 'cdc_bridge.payload_to_define'::regclass and d.refclassid in ('pg_class'::regclass, 'pg_proc'::regclass);
  drop view cdc_bridge.payload_to_define;

  if problem is not null then
    raise exception 'payload "%": %', name, problem
      using errcode = 'feature_not_supported', hint = 'Cast it in the mapping, for example to text.';
  end if;
  if missing is not null then
    raise exception 'payload "%": role cdc_bridge_loader may not read %', name, missing
      using errcode = 'insufficient_privilege', hint = E'In the mapping, in front of this:\n' || grants;
  end if;
  after.key_type := case after.types[array_position(after.columns, 'id')]
    when 'uuid' then 'uuid'
    when 'numeric' then 'numeric'
    when 'int2' then 'int8' when 'int4' then 'int8' when 'int8' then 'int8'  -- Keys stay comparable if e-Res widens the column.
    when 'bpchar' then 'bpchar'
    when 'text' then 'text' when 'varchar' then 'text' when 'name' then 'text'
  end;
  if after.key_type is null then
    raise exception 'payload "%" has no column "id" that can be a key', name
      using errcode = 'undefined_column',
            hint = 'Select the key of the reservations table itself, without an expression, as id.';
  end if;
  select format('"%s" is a value and has keys of its own, as "%s"', parent, child) into problem
  from unnest(after.columns) as parent
  join unnest(after.columns) as child on starts_with(child, parent || '.')
  limit 1;
  if problem is null then
    select format('column "%s" has an empty key', c) into problem from unnest(after.columns) as c where '' = any (string_to_array(c, '.')) limit 1;
  end if;
  if problem is null then
    select format('column "%s" has a name that is ours', c) into problem from unnest(after.columns) as c where starts_with(c, 'cdc_bridge_') limit 1;
  end if;
  if problem is null then
    select format('column "%s" would be sent: metadata has its @ in front, as in "@%s"', c, replace(c, '.@', '.')) into problem
    from unnest(after.columns) as c
    where c not like '@%' and c like '%.@%'
    limit 1;
  end if;
  if problem is not null then
    raise exception 'payload "%": %', name, problem using errcode = 'invalid_column_definition';
  end if;

  after.revision := left(encode(sha256(convert_to(after::text, 'UTF8')), 'hex'), 16);
  if before.revision is not distinct from after.revision
    and to_regprocedure(format('cdc_bridge.%I(text[], bigint)', 'load_' || name)) is not null
  then
    return;
  end if;

  after.defined_at := now();
  delete from cdc_bridge.payload_definition d where d.name = define_payload.name;
  insert into cdc_bridge.payload_definition values (after.*);
  perform cdc_bridge.define_loader(name);

  for dependent in
    select d.name, d.query from cdc_bridge.payload_definition d where define_payload.name = any (d.builds_on) order by d.name
  loop
    perform cdc_bridge.define_payload(dependent.name, dependent.query);
  end loop;
end
$define$;
revoke all on function cdc_bridge.define_payload(text, text) from public;
comment on function cdc_bridge.define_payload(text, text) is 'Defines what becomes the body of a request; safe to repeat';
