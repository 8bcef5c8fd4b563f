-- Checks that come before any change.

do $preconditions$
declare
  needed constant integer := pg_catalog.current_setting('cdc_bridge.schema_version');
  installed integer;
  prepared boolean;
  stranger text;
begin
  if current_setting('server_version_num')::integer < 150000 then
    raise exception 'cdc-bridge needs PostgreSQL 15 or newer, but this is %', current_setting('server_version')
      using errcode = 'feature_not_supported';
  end if;
  if pg_catalog.pg_is_in_recovery() then
    raise exception 'this is a standby, which is read-only'
      using errcode = 'object_not_in_prerequisite_state', hint = 'Connect to the primary.';
  end if;

  -- One installation at a time: two would conflict over the roles.
  perform pg_catalog.pg_advisory_xact_lock(52683, 0);

  -- Whoever created the schema could have put objects into it that we would run with the owner's rights.
  select pg_catalog.pg_get_userbyid(n.nspowner) into stranger
  from pg_catalog.pg_namespace n
  where n.nspname = 'cdc_bridge' and pg_catalog.pg_get_userbyid(n.nspowner) <> 'cdc_bridge_owner';
  if found then
    raise exception 'schema cdc_bridge already exists and belongs to role %', stranger
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Find out what it is for. If nobody needs it: drop schema cdc_bridge cascade;';
  end if;

  select r.rolname into stranger
  from pg_catalog.pg_roles r
  where r.rolname in ('cdc_bridge', 'cdc_bridge_owner', 'cdc_bridge_loader', 'cdc_bridge_capture', 'cdc_bridge_reader')
    and (
      r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication
      or r.rolbypassrls and r.rolname <> 'cdc_bridge_loader'  -- which needs it where e-Res's tables have policies
      or r.rolcanlogin and r.rolname <> 'cdc_bridge'
    )
  order by 1
  limit 1;
  if found then
    raise exception 'role % already exists and has more rights than cdc-bridge needs', stranger
      using errcode = 'object_not_in_prerequisite_state',
            hint = pg_catalog.format(
              'If it is cdc-bridge''s: alter role %I nosuperuser nobypassrls nocreaterole nocreatedb noreplication%s;',
              stranger, case when stranger <> 'cdc_bridge' then ' nologin' end);
  end if;

  if pg_catalog.to_regclass('cdc_bridge.schema_version') is null then
    return;
  end if;
  select v.version, v.next_prepared_at is not null into installed, prepared
  from cdc_bridge.schema_version v
  order by v.version desc
  limit 1;
  if installed > needed then
    raise exception 'this database has version % of the cdc-bridge schema, newer than version %, which this installs', installed, needed
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Install with the release of cdc-bridge that created it, or a newer one.';
  end if;
  if installed < needed and not (installed = needed - 1 and prepared) then
    raise exception 'this database has version % of the cdc-bridge schema and must be migrated to version % first', installed, needed
      using errcode = 'object_not_in_prerequisite_state',
            hint = pg_catalog.format(
              'Run the files in sql/migrations from %s-before.sql on, then repeat this. "cdc-bridge install" runs them all.',
              pg_catalog.to_char(installed + 1, 'FM0000'));
  end if;
end
$preconditions$;
