-- cdc_bridge.faults_of_capture()
--
-- Returns what keeps changes of reservations from being captured, with the statement that mends it; no row: they are
-- captured. The summary of an installation and "cdc-bridge check" show this. The status of endpoints has the short form,
-- cdc_bridge.problem_of_capture().
--   table_name  the table; null: capture is attached to none
--   problem     what is wrong
--   remedy      the statements that mend it; null: the table of the reservations is not known
--   loses       whether changes of attached tables are missing from the change log, as "reconcile --repair" finds
-- Runs with the caller's rights. Locks: none.
--
-- Which table capture is to be attached to, if it is attached to none, the payload's text says: the one whose key it selects
-- as "id", else the one that it reads from first.

create or replace function cdc_bridge.faults_of_capture()
  returns table (table_name text, problem text, remedy text, loses boolean)
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $faults$
  with fired as (
    select
      g.tgrelid as oid,
      array_agg(g.tgname::text order by g.tgname) as names,
      array_agg(g.tgname::text order by g.tgname) filter (where g.tgenabled not in ('O', 'A')) as disabled,
      bool_or(position('Capture is disabled' in p.prosrc) > 0) as is_off,
      min(substr(p.proname, length('capture_by_') + 1)) as key,
      min(encode(g.tgargs, 'escape')) as key_number
    from pg_trigger g
    join pg_proc p on p.oid = g.tgfoid
    where p.pronamespace = 'cdc_bridge'::regnamespace and g.tgname in ('cdc_bridge_insert', 'cdc_bridge_update')
    group by g.tgrelid
  ), named as (
    select
      format('%I.%I', t.schema_name, t.table_name) as name, c.oid, coalesce(c.oid, renamed.oid) as meant, t.table_oid,
      t.key::text as key
    from cdc_bridge.captured_table t
    left join pg_namespace n on n.nspname = t.schema_name
    left join pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
    left join pg_class renamed on renamed.oid = t.table_oid and renamed.relkind in ('r', 'p')
  ), subject as (
    select * from named
    union all
    -- Partitions, children, and tables of a restored database.
    select f.oid::regclass::text, f.oid, f.oid, f.oid, f.key
    from fired f
    where not exists (select from named where named.oid = f.oid)
  ), judged as (
    select
      s.name, s.oid, s.table_oid, f.names, f.disabled, f.key_number, coalesce(f.is_off, false) as is_off, coalesce(f.key, s.key) as key,
      format(
        'select cdc_bridge.attach(%L, %L);',
        coalesce(coalesce(pg_partition_root(s.meant), s.meant)::regclass::text, s.name),
        coalesce(
          (
            select a.attname
            from pg_attribute a
            left join pg_index i on i.indrelid = a.attrelid and i.indisprimary and a.attnum = i.indkey[0]
            where a.attrelid = s.meant and a.attnum > 0 and not a.attisdropped
              and (a.attname = coalesce(f.key, s.key) or a.attnum || '\000' = f.key_number or i.indrelid is not null)
            order by a.attname = coalesce(f.key, s.key) desc, a.attnum || '\000' = f.key_number desc
            limit 1
          ),
          s.key
        )
      ) as attach
    from subject s
    left join fired f on f.oid = s.oid
  ), found (kind, table_name, problem, remedy, loses) as (
    select
      1, j.name,
      case
        when j.oid is null then format('table %s does not exist any more, so nothing is captured', j.name)
        when j.names is not null
          then format('trigger %s is missing on %s',
            case when 'cdc_bridge_insert' = any (j.names) then 'cdc_bridge_update' else 'cdc_bridge_insert' end, j.name)
        when j.oid = j.table_oid
          then format('triggers cdc_bridge_insert and cdc_bridge_update are missing on %s', j.name)
        else format('table %s is another one than capture was attached to, so nothing is captured', j.name)
      end,
      j.attach, true
    from judged j
    where coalesce(cardinality(j.names), 0) < 2
    union all
    -- A column that was renamed is found by its number.
    select
      2, j.name, format('table %s has no column %I any more', j.name, j.key), j.attach,
      not exists (
        select from pg_attribute a where a.attrelid = j.oid and a.attnum || '\000' = j.key_number and not a.attisdropped
      )
    from judged j
    where j.names is not null
      and not exists (select from pg_attribute a where a.attrelid = j.oid and a.attname = j.key and not a.attisdropped)
    union all
    select
      3, j.name, format('trigger %s on %s is disabled', disabled.name, j.name),
      format('alter table %s enable trigger %s;', j.oid::regclass, disabled.name), true
    from judged j
    cross join unnest(j.disabled) as disabled (name)
    union all
    select 4, j.name, 'capture was switched off by cdc_bridge.disable_capture()', 'select cdc_bridge.enable_capture();', true
    from judged j
    where j.is_off
    union all
    select
      5, format('%I.%I', r.schema_name, r.table_name),
      format('changes of %I.%I are not captured: it is another table, or a trigger is missing or disabled', r.schema_name, r.table_name),
      concat(
        (
          select string_agg(format('alter table %s enable trigger %I; ', g.tgrelid::regclass, g.tgname), '' order by g.tgname)
          from pg_trigger g
          join pg_proc p on p.oid = g.tgfoid
          where g.tgrelid = c.oid and p.pronamespace = 'cdc_bridge'::regnamespace and p.proname = 'capture_related_' || r.related_id
            and g.tgenabled not in ('O', 'A')
        ),
        format(
          'select cdc_bridge.attach_related(%s);',
          concat_ws(
            ', ', quote_literal(format('%I.%I', r.schema_name, r.table_name)), 'reservation_key => ' || quote_literal(r.reservation_key),
            'key => ' || quote_literal(r.key), 'via => ' || quote_literal(r.via), 'condition => ' || quote_literal(r.condition),
            'reservations => ' || quote_literal(r.reservations)
          )
        )
      ),
      true
    from cdc_bridge.related_table r
    left join pg_namespace n on n.nspname = r.schema_name
    left join pg_class c on c.relnamespace = n.oid and c.relname = r.table_name
    where r.detached_at is null
      and (
        select count(*)
        from pg_trigger g
        join pg_proc p on p.oid = g.tgfoid
        where g.tgrelid = c.oid and p.pronamespace = 'cdc_bridge'::regnamespace and p.proname = 'capture_related_' || r.related_id
          and g.tgenabled in ('O', 'A')
      ) < case when r.via is null then 3 else 1 end
  ), key as (
    -- Columns that capture can be attached by, of the tables that the payload reads, the likeliest first. Names are compared
    -- as texts: to_regclass() needs a right on the schema, which the daemon's role has not.
    select
      case
        when d.expanded ~* format('\m%s\s*\.\s*"?%s"?\s+(as\s+)?"?id"?\s*(,|--|from\M)', names.alias, names.key)
          or a.attname = 'id' and d.expanded ~* format('\m%s\s*\.\s*"?id"?\s*(,|--|from\M)', names.alias) then 1
        when d.expanded ~* ('\mfrom\s+(only\s+)?' || names.read) then 2
        else 3
      end as rank,
      format('select cdc_bridge.attach(%L, %L);', c.oid::regclass, a.attname) as attach,
      row_number() over (partition by c.oid order by i.indisprimary desc, a.attnum) as number
    from cdc_bridge.payload_definition d
    cross join unnest(d.reads) as read
    join pg_namespace n on starts_with(read, quote_ident(n.nspname) || '.')
    join pg_class c on c.relnamespace = n.oid and format('%I.%I', n.nspname, c.relname) = read and c.relkind in ('r', 'p')
    join pg_index i on i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indpred is null
      and (c.relkind = 'p' or i.indnkeyatts = 1)
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] and a.attnotnull
    cross join lateral (select regexp_replace(read, '(\W)', '\\\1', 'g') as read, regexp_replace(a.attname, '(\W)', '\\\1', 'g') as key) as as_pattern
    cross join lateral (
      select
        as_pattern.read,
        as_pattern.key,
        regexp_replace(
          coalesce(
            (regexp_match(d.expanded, as_pattern.read ||
              '\s+(?:as\s+)?(?!(?:left|right|inner|full|cross|join|where|on|using|natural|union|group|order|limit)\M)("[^"]+"|[a-z_]\w*)', 'i'))[1],
            quote_ident(c.relname)
          ),
          '(\W)', '\\\1', 'g'
        ) as alias
    ) as names
    where d.name = 'reservation'
  ), likely as (
    select distinct on (k.attach) k.rank, k.attach
    from key k
    where k.rank = (select min(rank) from key) and (k.rank = 1 or k.number = 1)
    order by k.attach
  )
  select f.table_name, f.problem, f.remedy, f.loses
  from (
    select * from found
    union all
    select
      0, null, 'capture is not attached to any table',
      (select string_agg(l.attach, case l.rank when 3 then ' or ' else ' ' end order by l.attach) from likely l group by l.rank),
      false
    where not exists (select from judged)
  ) as f
  order by f.kind, f.table_name, f.problem
$faults$;
revoke all on function cdc_bridge.faults_of_capture() from public;
grant execute on function cdc_bridge.faults_of_capture() to cdc_bridge, cdc_bridge_reader;
comment on function cdc_bridge.faults_of_capture() is 'What keeps changes of reservations from being captured, and the statements that mend it';
