-- Roles, shared by all databases of the cluster:
--   cdc_bridge_owner   owns everything in the schema cdc_bridge and may read e-Res's three tables; nobody logs in as it
--   cdc_bridge         the daemon: give it a password (psql: \password cdc_bridge) or another way to log in
--   cdc_bridge_reader  looks at the state of deliveries; grant it to whoever watches

do $roles$
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

  -- Giving objects to cdc_bridge_owner asks of a role that is no superuser to be a member of it.
  if not pg_catalog.pg_has_role(current_user, 'cdc_bridge_owner', 'member') then
    execute pg_catalog.format('grant cdc_bridge_owner to %I', current_user);
  end if;
end
$roles$;

create schema if not exists cdc_bridge;
alter schema cdc_bridge owner to cdc_bridge_owner;
comment on schema cdc_bridge is 'cdc-bridge: change capture of e-Res reservations and the ledger of their delivery';
