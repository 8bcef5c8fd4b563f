-- Whether the shipped mapping can be installed: it is for the tables of example/schema.sql.

do $example$
declare
  missing text;
begin
  if exists (select from cdc_bridge.payload_definition where name = 'reservation')
    or exists (select from pg_catalog.pg_trigger where tgname in ('cdc_bridge_insert', 'cdc_bridge_update'))
  then
    return;  -- It is not installed.
  end if;
  select pg_catalog.string_agg('public.' || t.name, ', ' order by t.number) into missing
  from (values (1, 'reservations'), (2, 'customers'), (3, 'calls')) as t (number, name)
  where pg_catalog.to_regclass('public.' || t.name) is null;
  if missing is not null then
    raise exception 'this database has no %, which the shipped mapping is for', missing
      using errcode = 'undefined_table',
            hint = E'Your tables have other names. Have a mapping proposed, complete it, and install it:\n'
              'cdc-bridge mapping draft > my-mapping.sql\n'
              'cdc-bridge install --mapping my-mapping.sql\n'
              'or: psql -v mapping=my-mapping.sql -f sql/install.sql';
  end if;
end
$example$;
