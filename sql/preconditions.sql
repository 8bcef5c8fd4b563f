-- What has to be true before anything is touched.

do $preconditions$
declare
  needed constant integer := pg_catalog.current_setting('cdc_bridge.schema_version');
  installed integer;
  prepared boolean;
  stranger text;
begin
  if current_setting('server_version_num')::integer < 150000 then
    raise exception 'cdc-bridge needs PostgreSQL 15 or newer, this is %', current_setting('server_version')
      using errcode = 'feature_not_supported';
  end if;
  if pg_catalog.pg_is_in_recovery() then
    raise exception 'this is a standby, which nothing can be written to'
      using errcode = 'object_not_in_prerequisite_state', hint = 'Connect to the primary.';
  end if;

  -- One installation at a time: two would fail over each other's roles.
  perform pg_catalog.pg_advisory_xact_lock(52683, 0);

  -- Whoever made the schema could have put into it what we would then run with the owner's rights.
  select pg_catalog.pg_get_userbyid(n.nspowner) into stranger
  from pg_catalog.pg_namespace n
  where n.nspname = 'cdc_bridge' and pg_catalog.pg_get_userbyid(n.nspowner) <> 'cdc_bridge_owner';
  if found then
    raise exception 'there is a schema cdc_bridge here already, and it belongs to %', stranger
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'See what it is for. If nobody needs it: drop schema cdc_bridge cascade;';
  end if;

  select r.rolname into stranger
  from pg_catalog.pg_roles r
  where r.rolname in ('cdc_bridge', 'cdc_bridge_owner', 'cdc_bridge_reader')
    and (
      r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb or r.rolreplication
      or r.rolname <> 'cdc_bridge' and r.rolcanlogin
    )
  order by 1
  limit 1;
  if found then
    raise exception 'there is a role % already, which may do more than it has to', stranger
      using errcode = 'object_not_in_prerequisite_state',
            hint = pg_catalog.format(
              'If it is ours: alter role %I nosuperuser nobypassrls nocreaterole nocreatedb noreplication%s;',
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
