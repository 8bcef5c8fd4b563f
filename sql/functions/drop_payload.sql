-- cdc_bridge.drop_payload(name text)
--
-- Drops a payload. Endpoints that have it are invalid until it is defined again, and lose nothing.
-- Returns nothing. Fails if another payload builds on it, or if there is none of that name. Locks: none on any table of e-Res.

create or replace function cdc_bridge.drop_payload(name text) returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $drop$
#variable_conflict use_variable
declare
  dependents text;
  statements text;
begin
  lock table cdc_bridge.payload_definition in share row exclusive mode;
  select string_agg(d.name, ', ' order by d.name),
    string_agg(format('select cdc_bridge.drop_payload(%L);', d.name), E'\n' order by d.name)
  into dependents, statements
  from cdc_bridge.payload_definition d
  where drop_payload.name = any (d.builds_on);
  if dependents is not null then
    raise exception 'payload "%" is used by %', name, dependents
      using errcode = 'dependent_objects_still_exist', hint = E'Redefine these first, or drop them:\n' || statements;
  end if;
  delete from cdc_bridge.payload_definition d where d.name = drop_payload.name;
  if not found then
    raise exception 'there is no payload "%"', name
      using errcode = 'undefined_object',
            hint = coalesce('There are: ' || (select string_agg(d.name, ', ' order by d.name) from cdc_bridge.payload_definition d), '');
  end if;
  execute format('drop function if exists cdc_bridge.%I(text[], bigint)', 'load_' || name);
end
$drop$;
revoke all on function cdc_bridge.drop_payload(text) from public;
comment on function cdc_bridge.drop_payload(text) is 'Drops a payload';
