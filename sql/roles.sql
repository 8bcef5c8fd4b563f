-- Roles, shared by all databases of the cluster:
--   cdc_bridge_owner   owns everything in the schema cdc_bridge and may read the tables that the mapping names; cannot log in
--   cdc_bridge         the daemon; give it a password (psql: \password cdc_bridge) or another way to log in
--   cdc_bridge_reader  reads the state of endpoints and deliveries; grant it to people and monitoring

do $roles$
declare
  role_before constant text := pg_catalog.current_setting('role');
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'cdc_bridge_owner') then
    create role cdc_bridge_owner nologin;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'cdc_bridge') then
    create role cdc_bridge login;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'cdc_bridge_reader') then
    create role cdc_bridge_reader nologin;
  end if;

  -- A role that is not a superuser has to be a member of cdc_bridge_owner to create objects as it. (Since PostgreSQL 16 the
  -- creator of a role is a member, but without SET; so it is tried, not looked up.)
  begin
    set local role cdc_bridge_owner;
    perform pg_catalog.set_config('role', role_before, true);
  exception when insufficient_privilege then
    execute pg_catalog.format('grant cdc_bridge_owner to %I', current_user);
  end;
end
$roles$;
