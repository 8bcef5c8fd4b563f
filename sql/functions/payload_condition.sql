-- cdc_bridge.payload_condition(payload text, conditions jsonb)
--
-- Returns the conditions that an endpoint's option "only" makes, as an expression over p, a row of a payload.
--   conditions  an object: for each column of the payload the list of its values, as text; null or {}: no condition
-- Each value is compared in the column's type; null text counts as '', which it is in the JSON. Fails if there is no such
-- column, if its type has no equality (json), if a value cannot be one of its type, or if it is another one tomorrow
-- ("today"): daemons ask once. Reads no table of e-Res. Locks: none.
--
-- cdc_bridge.payload_base(payload text)
--
-- Returns "reservation" if a payload builds on it, directly or not; else null. Locks: none.

create or replace function cdc_bridge.payload_condition(payload text, conditions jsonb) returns text
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $condition$
declare
  definition cdc_bridge.payload_definition;
  condition record;
  column_type text;
  list text;
  expressions text[] := '{}';
begin
  select * into strict definition from cdc_bridge.payload_definition d where d.name = payload;
  for condition in
    select c.key as name, array(select jsonb_array_elements_text(c.value)) as given
    from jsonb_each(coalesce(conditions, '{}')) as c
    order by c.key
  loop
    column_type := definition.types[array_position(definition.columns, condition.name)];
    if column_type is null then
      raise exception 'payload "%" has no column "%"', payload, condition.name using errcode = 'undefined_column';
    end if;
    if column_type in ('json', 'jsonb') then
      raise exception 'column "%" of payload "%" is of type %, which cannot be compared', condition.name, payload, column_type
        using errcode = 'feature_not_supported';
    end if;
    if column_type in ('varchar', 'name') then
      column_type := 'text';
    end if;
    if column_type in ('date', 'timestamptz')
      and array_to_string(condition.given, ' ') ~* '\m(now|today|tomorrow|yesterday)\M'
    then
      raise exception 'column "%" of payload "%" cannot have such a value: it is another one each day', condition.name, payload
        using errcode = 'invalid_parameter_value', hint = 'Put it into the payload: where ...';
    end if;
    begin
      execute format('select %L::pg_catalog.%I[]::text', condition.given, column_type) into list;
    exception when data_exception then
      raise exception 'column "%" of payload "%" cannot have such a value: %', condition.name, payload, sqlerrm
        using errcode = 'invalid_parameter_value';
    end;
    expressions := expressions || format(
      case when column_type in ('text', 'bpchar')
        then 'coalesce(p.%I, '''') operator(pg_catalog.=) any (%L::pg_catalog.%I[])'
        else 'p.%I operator(pg_catalog.=) any (%L::pg_catalog.%I[])'
      end,
      condition.name, list, column_type
    );
  end loop;
  return coalesce(nullif(array_to_string(expressions, ' and '), ''), 'true');
end
$condition$;

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

revoke all on function cdc_bridge.payload_condition(text, jsonb), cdc_bridge.payload_base(text) from public;
grant execute on function cdc_bridge.payload_condition(text, jsonb), cdc_bridge.payload_base(text) to cdc_bridge, cdc_bridge_loader;
comment on function cdc_bridge.payload_condition(text, jsonb) is 'Conditions of an endpoint as an expression over a payload''s row';
comment on function cdc_bridge.payload_base(text) is 'The payload "reservation", if a payload builds on it';
