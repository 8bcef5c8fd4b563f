-- Roles, shared by all databases of the cluster:
--   cdc_bridge_owner    owns everything in the schema cdc_bridge but the functions of the next two; cannot log in
--   cdc_bridge_loader   reads the tables that the mapping names, and nothing else; the functions that load reservations run as
--                       this role, and with them whatever code e-Res's tables bring along; cannot log in
--   cdc_bridge_capture  appends to the change log, and nothing else; the capture functions run as this role; cannot log in
--   cdc_bridge          the daemon; give it a password (psql: \password cdc_bridge) or another way to log in
--   cdc_bridge_reader   reads the state of endpoints and deliveries; grant it to people and monitoring

do $roles$
declare
  role_before constant text := pg_catalog.current_setting('role');
  ours text;
begin
  foreach ours in array array['cdc_bridge_owner', 'cdc_bridge_loader', 'cdc_bridge_capture', 'cdc_bridge', 'cdc_bridge_reader'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = ours) then
      execute pg_catalog.format('create role %I %s', ours, case ours when 'cdc_bridge' then 'login' else 'nologin' end);
    end if;
  end loop;

  -- From PostgreSQL 16, who did not create the roles needs the ADMIN option for them.
  begin
    -- The owner defines the functions of these two.
    foreach ours in array array['cdc_bridge_loader', 'cdc_bridge_capture'] loop
      if not pg_catalog.pg_has_role('cdc_bridge_owner', ours, 'usage') then
        execute pg_catalog.format('grant %I to cdc_bridge_owner', ours);
      end if;
    end loop;

    -- A role that is not a superuser has to be a member of cdc_bridge_owner to create objects as it. (Since PostgreSQL 16 the
    -- creator of a role is a member, but without SET; so it is tried, not looked up.)
    begin
      set local role cdc_bridge_owner;
      perform pg_catalog.set_config('role', role_before, true);
    exception when insufficient_privilege then
      execute pg_catalog.format('grant cdc_bridge_owner to %I', current_user);
    end;
  exception when insufficient_privilege then
    raise exception 'role % may not act as cdc_bridge_owner', current_user
      using errcode = 'insufficient_privilege',
            hint = pg_catalog.format(
              E'As a superuser, or as the role that created the roles of cdc-bridge:\n'
              'grant cdc_bridge_owner, cdc_bridge_loader, cdc_bridge_capture, cdc_bridge, cdc_bridge_reader to %I with admin option;',
              current_user);
  end;
end
$roles$;
