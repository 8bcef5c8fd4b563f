-- Checks that come before any change. A hint's lines that end with a semicolon can be run as they stand.

do $preconditions$
declare
  needed constant integer := pg_catalog.current_setting('cdc_bridge.schema_version');
  installed integer;
  prepared boolean;
  stranger text;
  statements text;
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
            hint = E'Find out what it is for. If nobody needs it:\ndrop schema cdc_bridge cascade;';
  end if;

  select
    pg_catalog.string_agg(r.rolname, ', ' order by r.rolname),
    pg_catalog.string_agg(
      pg_catalog.format(
        'alter role %I nosuperuser nobypassrls nocreaterole nocreatedb noreplication%s;',
        r.rolname, case when r.rolname <> 'cdc_bridge' then ' nologin' end
      ),
      E'\n' order by r.rolname
    )
  into stranger, statements
  from pg_catalog.pg_roles r
  where r.rolname in ('cdc_bridge', 'cdc_bridge_owner', 'cdc_bridge_loader', 'cdc_bridge_capture', 'cdc_bridge_reader')
    and (
      r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication
      or r.rolbypassrls and r.rolname <> 'cdc_bridge_loader'  -- which needs it where e-Res's tables have policies
      or r.rolcanlogin and r.rolname <> 'cdc_bridge'
    );
  if stranger is not null then
    raise exception 'role % already exists and has more rights than cdc-bridge needs', stranger
      using errcode = 'object_not_in_prerequisite_state', hint = E'If it is cdc-bridge''s:\n' || statements;
  end if;

  select pg_catalog.concat_ws(
    E'\n',
    case
      when not r.rolcreaterole and (
        select pg_catalog.count(*) from pg_catalog.pg_roles ours
        where ours.rolname in ('cdc_bridge', 'cdc_bridge_owner', 'cdc_bridge_loader', 'cdc_bridge_capture', 'cdc_bridge_reader')
      ) < 5
      then pg_catalog.format('alter role %I createrole;', current_user)
    end,
    case
      when pg_catalog.to_regnamespace('cdc_bridge') is null
        and not pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create')
      then pg_catalog.format('grant create on database %I to %I;', pg_catalog.current_database(), current_user)
    end
  )
  into statements
  from pg_catalog.pg_roles r
  where r.rolname = current_user and not r.rolsuper;
  if statements <> '' then
    raise exception 'role % has too few rights to install', current_user
      using errcode = 'insufficient_privilege', hint = E'As a superuser:\n' || statements;
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
