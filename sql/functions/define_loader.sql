-- cdc_bridge.define_loader(payload text)
--
-- Creates the function cdc_bridge.load_<payload>(reservation_ids text[], max_bytes bigint), which loads reservations. Used by
-- define_payload. It returns, for each key, the key as it was given, the definition's revision, and the payload's columns.
-- These are null if there is no such reservation, and if its values have more than max_bytes: cdc_bridge.payload_sizes
-- tells which. A key that cannot be one of the key column's type is an error.
-- Returns nothing. Safe to repeat: a function that is up to date is not replaced. Locks: none on any table.
--
-- It is volatile so that it takes its snapshot after its locks: if e-Res rewrites a table (alter column ... type) while a load
-- waits for it, an older snapshot would find the table empty.
--
-- It runs as cdc_bridge_loader, with all code that e-Res's tables bring along. row_security is off so that a policy makes it
-- fail, as a row that is hidden would look deleted. One plan serves all keys, and each key is looked up by itself: OFFSET
-- keeps PostgreSQL from joining the whole table, where a value of one row would make the others fail. Its own names are no
-- column's: a column that e-Res has dropped must not be taken for one of them.

create or replace function cdc_bridge.define_loader(payload text) returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $define$
declare
  signature constant text := format('cdc_bridge.%I(text[], bigint)', 'load_' || payload);
  definition cdc_bridge.payload_definition;
  result text;
  function_body text;
begin
  select * into strict definition from cdc_bridge.payload_definition d where d.name = payload;
  select
    string_agg(format('cdc_bridge_%s pg_catalog.%I', c.number, c.type), ', ' order by c.number),
    format(
      E'\n#variable_conflict use_column\nbegin\n  return query\n  select wanted.key, %L::text, %s\n'
      '  from unnest($1) as wanted (key)\n  left join lateral (\n  select p.* from (\n%s\n  ) as p\n'
      '  where p.id = wanted.key::%s and %s <= $2\n  offset 0\n  ) as p on true;\nend\n',
      definition.revision, string_agg(format('p.%I', c.name), ', ' order by c.number),
      definition.expanded, definition.key_type, definition.size
    )
  into result, function_body
  from unnest(definition.columns, definition.types) with ordinality as c (name, type, number);
  if exists (select from pg_proc p where p.oid = to_regprocedure(signature) and p.prosrc = function_body) then
    return;
  end if;

  execute format('drop function if exists %s', signature);
  execute format(
    'create function %s returns table (cdc_bridge_key text, cdc_bridge_revision text, %s) language plpgsql volatile '
    'security definer rows 16 set search_path = pg_catalog, pg_temp set row_security = off '
    'set plan_cache_mode = force_generic_plan set jit = off as %L',
    signature, result, function_body
  );
  execute format('revoke all on function %s from public', signature);
  execute format('grant execute on function %s to cdc_bridge', signature);
  execute format('comment on function %s is %L', signature,
    format('Loads reservations by the payload "%s"; created by cdc_bridge.define_payload', payload));
  grant create on schema cdc_bridge to cdc_bridge_loader;
  execute format('alter function %s owner to cdc_bridge_loader', signature);
  revoke create on schema cdc_bridge from cdc_bridge_loader;
end
$define$;
revoke all on function cdc_bridge.define_loader(text) from public;
comment on function cdc_bridge.define_loader(text) is 'Creates the function that loads reservations by a payload';
