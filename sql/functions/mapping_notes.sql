-- cdc_bridge.query_lines(query text, columns text[])
--
-- Returns the lines of a payload's query, each with the keys that it belongs to: those of the columns that end on it, or,
-- where none does, on the next line that has one. What follows the columns (from, joins, conditions) belongs to no key.
--   query    the text of a payload
--   columns  its columns
-- Returns each line's number, its code without comments (of a line with nothing else that of its column), its keys, and
-- whether its comment has a TODO. Locks: none.

create or replace function cdc_bridge.query_lines(query text, columns text[])
  returns table (number bigint, code text, keys text[], is_todo boolean)
  language sql
  immutable
  set search_path = pg_catalog, pg_temp
as $lines$
  with line as (
    select
      l.number,
      btrim(regexp_replace(regexp_replace(l.text, '--.*', ''), '\s+', ' ', 'g'), ' ,') as code,
      l.text ~ '--.*\mTODO\M' as is_todo
    from regexp_split_to_table(query, '\n') with ordinality as l (text, number)
  ), named as (
    select
      l.*,
      l.code ~* '^(from|left|right|inner|full|cross|natural|join|where|on|and|or|union|group|having|order|limit)\M' as is_clause,
      array(
        select c.name
        from regexp_matches(
          l.code, '(?:\mas |(?:^|[ ,])(?:\w+|"[^"]+")\.|(?:^|,) ?)("[^"]+"|\w+) ?(?=,|$)', 'gi'
        ) as written
        join unnest(columns) as c (name)
          on c.name = case when written[1] like '"%' then btrim(written[1], '"') else lower(written[1]) end
      ) as keys
    from line l
  ), placed as (
    select
      n.*,
      -- The next line that ends a column, or that begins a clause.
      min(n.number) filter (where n.is_clause or n.keys <> '{}') over (order by n.number rows between current row and unbounded following)
        as ends_at
    from named n
  )
  select
    p.number,
    coalesce(nullif(p.code, ''), case when not e.is_clause then e.code end, ''),
    case when e.is_clause or e.keys is null then '{}' else e.keys end,
    p.is_todo
  from placed p
  left join named e on e.number = p.ends_at
  order by p.number
$lines$;
revoke all on function cdc_bridge.query_lines(text, text[]) from public;
comment on function cdc_bridge.query_lines(text, text[]) is 'The lines of a payload''s query, each with the keys that it belongs to';

-- cdc_bridge.listed(names text[])
--
-- Returns names as a part of a sentence: of many, the first ones and how many more there are.

create or replace function cdc_bridge.listed(names text[]) returns text
  language sql
  immutable
  set search_path = pg_catalog, pg_temp
as $listed$
  select array_to_string(names[1:5], ', ')
    || case when cardinality(names) > 5 then format(' and %s more', cardinality(names) - 5) else '' end
$listed$;
revoke all on function cdc_bridge.listed(text[]) from public;
comment on function cdc_bridge.listed(text[]) is 'Names as a part of a sentence';

-- cdc_bridge.mapping_notes()
--
-- Returns what is unfinished in the payloads, a line for a person each: the lines that still have a TODO, as those of
-- "cdc-bridge mapping draft" for which no column was found. Such a line is sent as it stands. Locks: none.

create or replace function cdc_bridge.mapping_notes() returns setof text
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $notes$
  with todo as (
    select d.name, d.columns, l.*
    from cdc_bridge.payload_definition d
    cross join lateral cdc_bridge.query_lines(d.query, d.columns) as l
    where l.is_todo
  ), key as (
    -- What is sent as a value comes before what is sent as nothing.
    select t.name, of_key.name as key, bool_and(t.code ~* '^null\M') as is_null, min(array_position(t.columns, of_key.name)) as place
    from todo t
    cross join unnest(t.keys) as of_key (name)
    group by t.name, of_key.name
  )
  select note.line
  from (select t.name, count(*) as lines from todo t group by t.name) as counted
  cross join lateral (
    values
      (1, format('Payload %s still has %s with TODO, %s sent as it stands:', counted.name,
        case counted.lines when 1 then '1 line' else counted.lines || ' lines' end,
        case counted.lines when 1 then 'which is' else 'each of which is' end)),
      (2, (
        select '  ' || cdc_bridge.listed(array_agg(k.key order by k.is_null, k.place)) from key k where k.name = counted.name
      )),
      (3, (
        select '  for example ' || t.code
        from todo t
        where t.name = counted.name and t.code ~* '\mas ["\w.]+$' and t.code !~* '^null\M' and length(t.code) <= 60
        order by t.code !~ '^''', t.number
        limit 1
      ))
  ) as note (number, line)
  where note.line is not null
  order by counted.name <> 'reservation', counted.name, note.number
$notes$;
revoke all on function cdc_bridge.mapping_notes() from public;
comment on function cdc_bridge.mapping_notes() is 'What is unfinished in the payloads';
