-- The shipped mapping, unless another one is installed. Part of the text that "cdc-bridge install --print" prints; in psql,
-- install.sql has a condition instead.

\ir example-tables.sql
do $first$
begin
  if not exists (select from cdc_bridge.payload_definition where name = 'reservation')
    and not exists (select from pg_catalog.pg_trigger where tgname in ('cdc_bridge_insert', 'cdc_bridge_update'))
  then
    execute $mapping$
-- The mapping stands here.
$mapping$;
  end if;
end
$first$;
