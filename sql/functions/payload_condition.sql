-- cdc_bridge.condition_values(payload text, column_name text, given text[])
--
-- Returns values that an endpoint's option "only" gives for a column of its payload, as the text of an array of the column's
-- type, in which they are compared. Fails if there is no such column, if its type has no equality (json), if a value cannot
-- be one of its type, or if it is another one tomorrow ("today"): daemons ask once. Reads no table of e-Res. Locks: none.
--
-- cdc_bridge.payload_condition(payload text, conditions jsonb)
--
-- Returns such conditions as an expression over p, a row of a payload; null text counts as '', which it is in the JSON.
--   conditions  an object: for each column of the payload the list of its values, as text; null or {}: no condition
-- Fails like condition_values. Locks: none.
--
-- cdc_bridge.canonical_values(payload text, columns text[], given text[])
--
-- Returns the canonical text (canonical.sql) of values for columns of a payload; columns[n] is the one of given[n]. One that
-- condition_values rejects does not hide the others: its canonical text is null, and "problem" says why. Each row has the
-- revision of the payload's definition. Locks: none.
--
-- cdc_bridge.payload_base(payload text)
--
-- Returns "reservation" if a payload builds on it, directly or not; else null. Locks: none.

create or replace function cdc_bridge.condition_values(payload text, column_name text, given text[]) returns text
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $values$
declare
  definition cdc_bridge.payload_definition;
  column_type text;
  list text;
begin
  select * into strict definition from cdc_bridge.payload_definition d where d.name = payload;
  column_type := definition.types[array_position(definition.columns, column_name)];
  if column_type is null then
    raise exception 'payload "%" has no column "%"', payload, column_name using errcode = 'undefined_column';
  end if;
  if column_type in ('json', 'jsonb') then
    raise exception 'column "%" of payload "%" is of type %, which cannot be compared', column_name, payload, column_type
      using errcode = 'feature_not_supported';
  end if;
  if column_type in ('varchar', 'name') then
    column_type := 'text';
  end if;
  if column_type in ('date', 'timestamptz') and array_to_string(given, ' ') ~* '\m(now|today|tomorrow|yesterday)\M' then
    raise exception 'column "%" of payload "%" cannot have such a value: it is another one each day', column_name, payload
      using errcode = 'invalid_parameter_value', hint = 'Put it into the payload: where ...';
  end if;
  begin
    execute format('select %L::pg_catalog.%I[]::text', given, column_type) into list;
  exception when data_exception then
    raise exception 'column "%" of payload "%" cannot have such a value: %', column_name, payload, sqlerrm
      using errcode = 'invalid_parameter_value';
  end;
  return format('%L::pg_catalog.%I[]', list, column_type);
end
$values$;

create or replace function cdc_bridge.payload_condition(payload text, conditions jsonb) returns text
  language sql
  stable
  set search_path = pg_catalog, pg_temp
begin atomic
  select coalesce(
    string_agg(
      format(
        -- Without coalesce an index of e-Res's can be used.
        case when cdc_bridge.canonical_form(d.types[array_position(d.columns, c.key)]) = 'text'
            and (select bool_or(btrim(given.value) = '') from jsonb_array_elements_text(c.value) as given (value))
          then 'coalesce(p.%I, '''') operator(pg_catalog.=) any (%s)'
          else 'p.%I operator(pg_catalog.=) any (%s)'
        end,
        c.key, cdc_bridge.condition_values(payload, c.key, array(select jsonb_array_elements_text(c.value)))
      ),
      ' and ' order by c.key
    ),
    'true'
  )
  from jsonb_each(conditions) as c
  left join cdc_bridge.payload_definition d on d.name = payload;
end;

create or replace function cdc_bridge.canonical_values(payload text, columns text[], given text[])
  returns table (revision text, column_name text, value text, canonical text, problem text)
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $canonical$
#variable_conflict use_column
declare
  definition cdc_bridge.payload_definition;
  of_column record;
  half integer;
begin
  select * into strict definition from cdc_bridge.payload_definition d where d.name = $1;
  for of_column in
    select g.name, array_agg(g.value) as given from unnest($2, $3) as g (name, value) group by g.name
  loop
    begin
      return query execute format(
        'select %L, %L, v.given, cdc_bridge.%I(v.value), null::text from unnest($1, %s) as v (given, value)',
        definition.revision, of_column.name,
        'canonical_' || cdc_bridge.canonical_form(definition.types[array_position(definition.columns, of_column.name)]),
        cdc_bridge.condition_values($1, of_column.name, of_column.given)
      ) using of_column.given;
    exception
      when undefined_column or feature_not_supported then
        return query select definition.revision, of_column.name, v, null::text, sqlerrm from unnest(of_column.given) as v;
      when data_exception then
        half := cardinality(of_column.given) / 2;
        if half = 0 then
          return query select definition.revision, of_column.name, of_column.given[1], null::text, sqlerrm;
        else
          return query
            select c.*
            from (values (of_column.given[:half]), (of_column.given[half + 1:])) as h (given)
            cross join lateral cdc_bridge.canonical_values($1, array_fill(of_column.name, array[cardinality(h.given)]), h.given) as c;
        end if;
    end;
  end loop;
end
$canonical$;

create or replace function cdc_bridge.payload_base(payload text) returns text
  language sql
  stable
  set search_path = pg_catalog, pg_temp
begin atomic
  with recursive below (name) as (
    select unnest(d.builds_on) from cdc_bridge.payload_definition d where d.name = payload
    union
    select unnest(d.builds_on) from below join cdc_bridge.payload_definition d using (name)
  )
  select below.name from below where below.name = 'reservation';
end;

revoke all on function
  cdc_bridge.condition_values(text, text, text[]), cdc_bridge.payload_condition(text, jsonb),
  cdc_bridge.canonical_values(text, text[], text[]), cdc_bridge.payload_base(text)
from public;
grant execute on function
  cdc_bridge.condition_values(text, text, text[]), cdc_bridge.payload_condition(text, jsonb),
  cdc_bridge.canonical_values(text, text[], text[]), cdc_bridge.payload_base(text)
to cdc_bridge, cdc_bridge_loader;
comment on function cdc_bridge.condition_values(text, text, text[]) is 'Values of an endpoint''s condition in the type of a payload''s column';
comment on function cdc_bridge.payload_condition(text, jsonb) is 'Conditions of an endpoint as an expression over a payload''s row';
comment on function cdc_bridge.canonical_values(text, text[], text[]) is 'Canonical text of values for columns of a payload';
comment on function cdc_bridge.payload_base(text) is 'The payload "reservation", if a payload builds on it';
